/* seccomp: eight calls are allowed, everything else kills the process at once.
 *
 *   load arch;  != ours -> kill;  load nr;  == exit_group -> allow;  ...  -> kill
 *
 * What the eight are for: leaving (exit, exit_group), sleeping until the next command and waking
 * the nursery (futex, restart_syscall, clock_nanosleep, sched_yield), timing where the vDSO cannot
 * (clock_gettime), returning from the fault handler (rt_sigreturn). Results travel through shared
 * memory, so no write. x32 calls carry bit 30 in the number and so match nothing. */
#include "sandbox/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALLOW(nr) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define HEAD(ours)                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)), \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (ours), 1, 0),                   \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),                 \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define TAIL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static const struct sock_filter FILTER[] = {
#if defined(__x86_64__)
    HEAD(AUDIT_ARCH_X86_64),
    ALLOW(202), /* futex */
    ALLOW(228), /* clock_gettime */
    ALLOW(231), /* exit_group */
    ALLOW(60),  /* exit */
    ALLOW(15),  /* rt_sigreturn */
    ALLOW(230), /* clock_nanosleep */
    ALLOW(24),  /* sched_yield */
    ALLOW(219), /* restart_syscall */
#elif defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)
#if defined(__aarch64__)
    HEAD(AUDIT_ARCH_AARCH64),
#else
    HEAD(AUDIT_ARCH_RISCV64),
#endif
    ALLOW(98),  /* futex */
    ALLOW(113), /* clock_gettime */
    ALLOW(94),  /* exit_group */
    ALLOW(93),  /* exit */
    ALLOW(139), /* rt_sigreturn */
    ALLOW(115), /* clock_nanosleep */
    ALLOW(124), /* sched_yield */
    ALLOW(128), /* restart_syscall */
#elif defined(__arm__)
    HEAD(AUDIT_ARCH_ARM),
    ALLOW(240), /* futex */
    ALLOW(422), /* futex_time64 */
    ALLOW(263), /* clock_gettime */
    ALLOW(403), /* clock_gettime64 */
    ALLOW(248), /* exit_group */
    ALLOW(1),   /* exit */
    ALLOW(173), /* rt_sigreturn */
    ALLOW(119), /* sigreturn */
    ALLOW(265), /* clock_nanosleep */
    ALLOW(407), /* clock_nanosleep_time64 */
    ALLOW(158), /* sched_yield */
    ALLOW(0),   /* restart_syscall */
#endif
    TAIL,
};

size_t seccomp_allowed(void) { return QN_COUNT(FILTER) < 6 ? 0 : (QN_COUNT(FILTER) - 5) / 2; }

int seccomp_apply(void)
{
    if (seccomp_allowed() == 0) return ENOSYS;
    struct sock_fprog prog = {.len = QN_COUNT(FILTER), .filter = (struct sock_filter *)FILTER};
    /* TSYNC: the worker threads exist already and must not stay outside */
    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    return rc == 0 ? 0 : rc > 0 ? EAGAIN : errno;
}
