/* keeper: the nursery's hold on its children: start, command, wait, kill, explain.
 *
 *   kid_start(&keeper, &k, &spec, slot, &outcome)      forked, first command running
 *   kid_wait(&keeper, &k, timeout_ns) == KID_DONE      it answered; k.ctl has the answer
 *   kid_command(&k)                                    next command (fill k.ctl first)
 *   kid_explain(&k, event, arena, &outcome)            verdict of a death
 *   kid_stop(&k)                                       SIGKILL and reap, always safe
 *
 * Invariants: every started kid is stopped exactly once; a kid that does not answer in time is
 * killed; no wait is without a limit; nothing here trusts a control page beyond its bounds. */
#ifndef QN_SANDBOX_KEEPER_H
#define QN_SANDBOX_KEEPER_H

#include "sandbox/child.h"

enum { SLOTS = WIRE_MAX_ENTRIES + 1 };

struct keeper {
    _Atomic uint32_t *bell; /* rung by children and by SIGCHLD */
    struct window window;
    struct shm slots[SLOTS]; /* control page and outputs of one child each */
    uint32_t layers;
    uint64_t cpus;   /* this process may use */
    uint64_t memory; /* RAM */
    uint64_t cache_bytes[3];
    uint64_t jobs; /* children started */
};

struct kid {
    pid_t pid; /* 0: none */
    int pidfd;
    int slot;
    bool reaped, killed; /* killed: by us */
    int status;
    struct ctl *ctl;
    const struct child_spec *spec;
};

enum kid_event { KID_DONE, KID_DIED, KID_TIMEOUT };

bool keeper_init(struct keeper *k, uint32_t layers);
/* A slot whose shared memory holds the control page and then bytes; zeroed control page. */
bool keeper_slot(struct keeper *k, int slot, size_t bytes);
/* Gives the memory of large slots back. */
void keeper_trim(struct keeper *k);
/* Places control page, code and stack; call before stage_add for a new child. */
void keeper_spec(struct keeper *k, struct child_spec *s, int slot, const struct wire_blob *blob);

/* Forks. ctl of the slot must hold the first command. false: *o says why. */
bool kid_start(struct keeper *k, struct kid *kid, const struct child_spec *s, int slot,
               struct wire_outcome *o);
enum kid_event kid_wait(struct keeper *k, struct kid *kid, int64_t timeout_ns);
void kid_command(struct kid *kid);
void kid_stop(struct kid *kid);
/* Verdict and sentence for a kid that died or was killed on timeout. texts live in the arena. */
void kid_explain(struct kid *kid, enum kid_event event, struct arena *a, struct wire_outcome *o);

#endif
