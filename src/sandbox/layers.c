/* layers: which parts of the sandbox work here, found by trying them, each in a child of its own.
 *
 *   seccomp:  the child applies the filter, then calls getpid; it must die of SIGSYS
 *
 * Invariant: a layer counts as working only after it was seen to stop what it is there to stop, or
 * where that cannot be tried cheaply, after the kernel accepted it. */
#include "sandbox/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/sandbox.h"
#include "sandbox/seccomp.h"
#include "sandbox/stage.h"

enum { NOBODY = 65534 };

static const struct layer_info LAYERS[] = {
#define LAYER(NAME, name, mandatory, text) {name, text, mandatory},
#include "sandbox/layers.def"
};

const struct layer_info *sandbox_layer_info(enum sandbox_layer l)
{
    QN_CHECK((size_t)l < QN_COUNT(LAYERS), "layer %d", (int)l);
    return &LAYERS[l];
}

uint32_t sandbox_mandatory(void)
{
    uint32_t mask = 0;
    for (int i = 0; i < LAYER_COUNT; i++)
        if (LAYERS[i].mandatory) mask |= UINT32_C(1) << i;
    return mask;
}

bool layer_drop_uid(void)
{
    if (geteuid() != 0 && getuid() != 0) return true;
    if (setgroups(0, NULL) != 0) return false;
    if (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)
        return false;
    return setuid(0) != 0 && getuid() == NOBODY && getgid() == NOBODY;
}

bool layer_landlock(void)
{
#ifdef SYS_landlock_create_ruleset
    struct {
        uint64_t fs;
    } attr = {.fs = (UINT64_C(1) << 13) - 1}; /* every right of ABI 1 */
    long fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (fd < 0) return false;
    bool ok = syscall(SYS_landlock_restrict_self, (int)fd, 0) == 0;
    close((int)fd);
    return ok;
#else
    return false;
#endif
}

/* The tries. Each runs in a child; exit status 0 means yes, unless its table row says otherwise. */
static int try_uid(void)
{
    /* only worth a bit when something was dropped or there was nothing to drop */
    return layer_drop_uid() ? 0 : 1;
}
static int try_privs(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
               ? 0
               : 1;
}
static int try_dump(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0
                                                                                              : 1;
}
static int try_death(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 ? 0 : 1; }
static int try_limits(void)
{
    struct rlimit page = {PAGE, PAGE}, none = {0, 0};
    if (setrlimit(RLIMIT_AS, &page) != 0 || setrlimit(RLIMIT_NOFILE, &none) != 0) return 1;
    if (setrlimit(RLIMIT_CORE, &none) != 0) return 1;
    void *p = mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED && dup(0) < 0 ? 0 : 1;
}
static int try_guard(void)
{
    uint8_t *p = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, PAGE, PROT_READ | PROT_WRITE) != 0) return 1;
    ((volatile uint8_t *)p)[PAGE - 1] = 1;
    ((volatile uint8_t *)p)[PAGE] = 1; /* must not return */
    return 1;
}
static int try_seccomp(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || seccomp_apply() != 0) return 1;
    syscall(SYS_getpid); /* must not return */
    return 1;
}
static int try_pidfd(void)
{
#ifdef SYS_pidfd_open
    return syscall(SYS_pidfd_open, getpid(), 0) >= 0 ? 0 : 1;
#else
    return 1;
#endif
}
static int try_landlock(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !layer_landlock()) return 1;
    return open("/proc/self/status", O_RDONLY) < 0 ? 0 : 1;
}

static const struct
try {
    int (*run)(void);
    int signal; /* it must die of this one; 0: exit 0 */
}
TRIES[LAYER_COUNT] = {
    [LAYER_UID_DROP] = {try_uid, 0},         [LAYER_NO_NEW_PRIVS] = {try_privs, 0},
    [LAYER_NOT_DUMPABLE] = {try_dump, 0},    [LAYER_PDEATHSIG] = {try_death, 0},
    [LAYER_RLIMITS] = {try_limits, 0},       [LAYER_GUARD_PAGES] = {try_guard, SIGSEGV},
    [LAYER_SECCOMP] = {try_seccomp, SIGSYS}, [LAYER_PIDFD] = {try_pidfd, 0},
    [LAYER_LANDLOCK] = {try_landlock, 0},
};

static bool works(const struct try *t)
{
    int status = 0;
    pid_t pid = fork();
    if (pid < 0) return false;
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        _exit(t->run());
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return t->signal ? WIFSIGNALED(status) && WTERMSIG(status) == t->signal
                     : WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

uint32_t sandbox_probe(void)
{
    uint32_t mask = 0;
    for (int i = 0; i < LAYER_COUNT; i++)
        if (TRIES[i].run && works(&TRIES[i])) mask |= UINT32_C(1) << i;
    return mask;
}
