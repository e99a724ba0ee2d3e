/* keeper: one child at a time is waited for, through a doorbell.
 *
 * The bell is a shared word that children increment after storing an answer and that the SIGCHLD
 * handler increments too, so "answered or died" is one futex wait without a lost wake-up: the value
 * is read before both conditions are tested. */
#include "sandbox/keeper.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "sandbox/blob.h"
#include "sandbox/facts.h"
#include "sandbox/futex.h"
#include "sandbox/sandbox.h"

static _Atomic uint32_t *BELL; /* for the handler */

static void on_child(int sig) { atomic_fetch_add(BELL, 1); }

static uint64_t allowed_cpus(void)
{
    cpu_set_t set;
    uint64_t mask = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    for (int i = 0; i < 64; i++)
        if (CPU_ISSET(i, &set)) mask |= UINT64_C(1) << i;
    return mask ? mask : 1;
}

bool keeper_init(struct keeper *k, uint32_t layers)
{
    *k = (struct keeper){.layers = layers, .cpus = allowed_cpus()};
    for (int i = 0; i < SLOTS; i++) k->slots[i].fd = -1;
    k->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    facts_caches(k->cache_bytes);
    void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || !window_reserve(&k->window)) return false;
    BELL = k->bell = p;
    struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP | SA_RESTART};
    return sigaction(SIGCHLD, &sa, NULL) == 0;
}

bool keeper_slot(struct keeper *k, int slot, size_t bytes)
{
    struct shm *s = &k->slots[slot];
    if (s->len < CTL_BYTES + bytes && !shm_resize(s, CTL_BYTES + bytes)) return false;
    memset(s->base, 0, sizeof(struct ctl));
    return true;
}

void keeper_trim(struct keeper *k)
{
    for (int i = 0; i < SLOTS; i++)
        if (k->slots[i].len > (4u << 20)) shm_free(&k->slots[i]);
}

void keeper_spec(struct keeper *k, struct child_spec *s, int slot, const struct wire_blob *blob)
{
    *s = (struct child_spec){.blob = blob,
                             .ctl_fd = k->slots[slot].fd,
                             .bell = k->bell,
                             .layers = k->layers};
    struct window *w = &k->window;
    w->used = GUARD;
    s->ctl_at = w->base + w->used;
    w->used += CTL_BYTES + GUARD;
    s->stack_at = w->base + w->used;
    w->used += CHILD_STACK + GUARD;
    s->code_at = w->base + w->used;
    w->used += (blob ? blob_map_len(blob) : 0) + GUARD;
    memcpy(s->cache_bytes, k->cache_bytes, sizeof s->cache_bytes);
    s->parent = getpid();
}

bool kid_start(struct keeper *k, struct kid *kid, const struct child_spec *s, int slot,
               struct wire_outcome *o)
{
    *kid = (struct kid){.slot = slot,
                        .pidfd = -1,
                        .ctl = (struct ctl *)(void *)k->slots[slot].base,
                        .spec = s};
    atomic_store(&kid->ctl->go, 1);
    pid_t pid = fork();
    if (pid < 0) {
        o->verdict = VERDICT_NO_MEMORY;
        o->text = "the runner cannot fork";
        return false;
    }
    if (pid == 0) child_main(s);
    k->jobs++;
    kid->pid = pid;
#ifdef SYS_pidfd_open
    if (k->layers & (UINT32_C(1) << LAYER_PIDFD)) kid->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
#endif
    return true;
}

static bool kid_reap(struct kid *kid, bool block)
{
    if (kid->reaped) return true;
    pid_t got;
    do got = waitpid(kid->pid, &kid->status, block ? 0 : WNOHANG);
    while (got < 0 && errno == EINTR);
    kid->reaped = got == kid->pid || (got < 0 && errno == ECHILD);
    return kid->reaped;
}

enum kid_event kid_wait(struct keeper *k, struct kid *kid, int64_t timeout_ns)
{
    int64_t end = clock_ns() + timeout_ns;
    uint32_t want = atomic_load(&kid->ctl->go);
    for (;;) {
        uint32_t seen = atomic_load(k->bell);
        if (atomic_load(&kid->ctl->done) == want) return KID_DONE;
        if (kid_reap(kid, false)) return atomic_load(&kid->ctl->done) == want ? KID_DONE : KID_DIED;
        int64_t left = end - clock_ns();
        if (left <= 0) {
            kid->killed = true;
            kid_stop(kid);
            return KID_TIMEOUT;
        }
        futex_wait(k->bell, seen, left);
    }
}

void kid_command(struct kid *kid)
{
    atomic_fetch_add(&kid->ctl->go, 1);
    futex_wake(&kid->ctl->go, 1);
}

void kid_stop(struct kid *kid)
{
    if (kid->pid == 0) return;
    if (!kid->reaped) {
#ifdef SYS_pidfd_send_signal
        if (kid->pidfd < 0 || syscall(SYS_pidfd_send_signal, kid->pidfd, SIGKILL, NULL, 0) != 0)
#endif
            kill(kid->pid, SIGKILL);
        kill(-kid->pid, SIGKILL); /* its group; without the filter it might have forked */
        kid_reap(kid, true);
    }
    if (kid->pidfd >= 0) close(kid->pidfd);
    kid->pidfd = -1;
    kid->pid = 0;
}

static const char *const PHASES[PHASE_COUNT] = {"starting",         "mapping its buffers",
                                                "loading its code", "starting its threads",
                                                "locking down",     "running"};

static void explain_setup(const struct ctl *c, struct arena *a, struct wire_outcome *o)
{
    uint32_t phase = c->phase < PHASE_COUNT ? c->phase : 0;
    bool memory = c->setup_errno == ENOMEM && phase <= PHASE_LOAD;
    o->verdict = memory ? VERDICT_OOM : VERDICT_RUNNER_BUG;
    o->text =
        arena_printf(a, "the child failed while %s: %s", PHASES[phase], strerror(c->setup_errno));
}

static void explain_segv(const struct kid *kid, const struct ctl_fault *f, struct arena *a,
                         struct wire_outcome *o)
{
    const struct child_spec *s = kid->spec;
    const uint8_t *addr = (const uint8_t *)(uintptr_t)f->addr;
    char text[256];
    o->verdict = VERDICT_OOB_ACCESS;
    int64_t from_sp = (int64_t)(f->addr - f->sp);
    bool in_stack = addr >= s->stack_at - GUARD && addr < s->stack_at;
    stage_describe(s->stages, s->stages_n, addr, f->write, text, sizeof text);
    if (f->code == SI_KERNEL) {
        snprintf(text, sizeof text, "misaligned vector access or wild pointer");
    } else if (in_stack || (from_sp > -(64 << 10) && from_sp < (64 << 10))) {
        o->verdict = VERDICT_STACK_OVERFLOW;
        snprintf(text, sizeof text, "needs more than %d KiB of stack", CHILD_STACK >> 10);
    } else if (s->blob && addr >= s->code_at && addr < s->code_at + blob_map_len(s->blob)) {
        snprintf(text, sizeof text, "write into its own code");
    }
    o->text = arena_printf(a, "%s (code offset 0x%llx)", text,
                           (unsigned long long)(f->ip - (uint64_t)(uintptr_t)s->code_at));
}

static void explain_fault(const struct kid *kid, struct arena *a, struct wire_outcome *o)
{
    struct ctl_fault f = kid->ctl->fault;
    unsigned long long at = (unsigned long long)(f.ip - (uint64_t)(uintptr_t)kid->spec->code_at);
    switch (f.sig) {
    case SIGSEGV:
    case SIGBUS:
        explain_segv(kid, &f, a, o);
        break;
    case SIGILL:
    case SIGTRAP:
        o->verdict = VERDICT_ILLEGAL_INSN;
        o->text = arena_printf(a, "illegal instruction at code offset 0x%llx", at);
        break;
    case SIGFPE:
        o->verdict = VERDICT_FPE;
        o->text = arena_printf(a, "integer division by zero or overflow at code offset 0x%llx", at);
        break;
    default:
        o->verdict = VERDICT_CRASH;
        o->text = arena_printf(a, "signal %d", f.sig);
    }
}

static void explain_signal(int sig, struct arena *a, struct wire_outcome *o)
{
    static const struct {
        int sig;
        enum verdict verdict;
        const char *text;
    } known[] = {
        {SIGSYS, VERDICT_FORBIDDEN_SYSCALL, "made a system call outside the allow-list"},
        {SIGXCPU, VERDICT_TIMEOUT, "used up its CPU time"},
        {SIGKILL, VERDICT_OOM, "killed by the system, out of memory"},
        {SIGSEGV, VERDICT_OOB_ACCESS, "memory fault that also broke its fault handler"},
        {SIGILL, VERDICT_ILLEGAL_INSN, "illegal instruction"},
        {SIGFPE, VERDICT_FPE, "integer division by zero or overflow"},
    };
    o->verdict = VERDICT_CRASH;
    o->text = NULL;
    for (size_t i = 0; i < QN_COUNT(known); i++)
        if (known[i].sig == sig) o->verdict = (uint8_t)known[i].verdict, o->text = known[i].text;
    if (!o->text) o->text = arena_printf(a, "killed by signal %d", sig);
}

void kid_explain(struct kid *kid, enum kid_event event, struct arena *a, struct wire_outcome *o)
{
    if (event == KID_TIMEOUT || kid->killed) {
        o->verdict = VERDICT_TIMEOUT;
        o->text = "did not finish in time";
        return;
    }
    int st = kid->status;
    int left = WIFEXITED(st) ? WEXITSTATUS(st) : -1;
    if (WIFSIGNALED(st)) {
        explain_signal(WTERMSIG(st), a, o);
    } else if (left > 128 && kid->ctl->fault.sig == left - 128) {
        explain_fault(kid, a, o);
    } else if (left == 100 && kid->ctl->phase < PHASE_READY) {
        explain_setup(kid->ctl, a, o);
    } else if (kid->ctl->phase < PHASE_READY) {
        o->verdict = VERDICT_RUNNER_BUG;
        o->text = arena_printf(a, "the child left with status %d during setup", left);
    } else {
        o->verdict = VERDICT_CRASH;
        o->text = arena_printf(a, "left through exit(%d)", left);
    }
}
