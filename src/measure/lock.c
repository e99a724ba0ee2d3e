/* lock: flock on one file per CPU. See lock.h.
 *
 *   /run/user/1000/quern/cpu1.lock */
#include "measure/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* A folder of ours, mode 0700: /tmp is shared, so a stranger's folder of that name is refused. */
static enum rc lock_dir(char *out, size_t n, struct err *e)
{
    struct stat st;
    unsigned uid = (unsigned)geteuid();
    for (int i = 0; i < 2; i++) {
        snprintf(out, n, i == 0 ? "/run/user/%u/quern" : "/tmp/quern-%u", uid);
        if (mkdir(out, 0700) != 0 && errno != EEXIST) continue;
        if (lstat(out, &st) != 0 || !S_ISDIR(st.st_mode)) continue;
        if (st.st_uid == uid && (st.st_mode & 077) == 0) return RC_OK;
    }
    return err_set(e, RC_FAIL, "lock.dir",
                   "no private folder for lock files: '%s' is not ours alone", out);
}

static enum rc take_one(int cpu, const char *dir, bool wait, int *fd, struct err *e)
{
    char path[128];
    snprintf(path, sizeof path, "%s/cpu%d.lock", dir, cpu);
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f < 0)
        return err_set(e, RC_FAIL, "lock.open", "cannot open '%s': %s", path, strerror(errno));
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        if (!wait || errno != EWOULDBLOCK) {
            close(f);
            return err_set(e, RC_FAIL, "lock.busy", "another quern is timing on CPU %d", cpu);
        }
        log_warn("another quern is timing on CPU %d; waiting for it", cpu);
        int rc;
        do rc = flock(f, LOCK_EX);
        while (rc != 0 && errno == EINTR);
        if (rc != 0) {
            close(f);
            return err_set(e, RC_FAIL, "lock.busy", "cannot lock '%s': %s", path, strerror(errno));
        }
    }
    *fd = f;
    return RC_OK;
}

enum rc core_lock_take(struct core_lock *l, uint64_t cpus, bool wait, struct err *e)
{
    char dir[96];
    *l = (struct core_lock){.cpus = cpus};
    for (int i = 0; i < 64; i++) l->fd[i] = -1;
    enum rc rc = lock_dir(dir, sizeof dir, e);
    for (int cpu = 0; cpu < 64 && rc == RC_OK; cpu++)
        if (cpus >> cpu & 1) rc = take_one(cpu, dir, wait, &l->fd[cpu], e);
    if (rc) core_lock_drop(l);
    return rc;
}

void core_lock_drop(struct core_lock *l)
{
    if (l->cpus == 0) return;
    for (int i = 0; i < 64; i++)
        if (l->fd[i] >= 0) close(l->fd[i]);
    *l = (struct core_lock){0};
}

uint64_t core_pick(uint64_t allowed, uint32_t threads)
{
    uint64_t out = 0;
    uint32_t left = threads ? threads : 1;
    for (int i = 63; i >= 0 && left > 0; i--)
        if (allowed >> i & 1) out |= UINT64_C(1) << i, left--;
    return out;
}
