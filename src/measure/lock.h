/* lock: one timing at a time per set of cores, across all quern processes of a user.
 *
 *   struct core_lock l;
 *   core_lock_take(&l, cpus, true, &e);     waits, after one log line that says for whom
 *   ... time ...
 *   core_lock_drop(&l);
 *
 * One flock'ed file per CPU in /run/user/UID or /tmp/quern-UID (mode 0700), taken in ascending
 * order, so two overlapping sets cannot deadlock. The kernel releases them when a process dies. The
 * files are close-on-exec and stay behind empty on purpose: unlinking a lock file races. */
#ifndef QN_MEASURE_LOCK_H
#define QN_MEASURE_LOCK_H

#include "base/err.h"

struct core_lock {
    uint64_t cpus;
    int fd[64]; /* -1: not held */
};

/* wait = false: RC_FAIL "lock.busy" at once when another process holds a core. */
enum rc core_lock_take(struct core_lock *l, uint64_t cpus, bool wait, struct err *e);
void core_lock_drop(struct core_lock *l); /* of a zeroed lock: nothing */
/* The CPUs a job with cpus == 0 and `threads` threads runs on, given the runner's mask. */
uint64_t core_pick(uint64_t allowed, uint32_t threads);

#endif
