/* child: set up, lock down, then obey commands until killed.
 *
 *   fork -> map stages -> load code -> close descriptors -> threads -> rlimits -> seccomp
 *        -> small stack -> first command -> done, bell -> sleep on `go` -> ...
 *
 * Invariants: after PHASE_LOCK only the eight calls of seccomp.c are made, and nothing allocates;
 * the timed loop holds no code of ours but the call and two clock reads; the outputs are poisoned
 * before the last timed call, so a kernel that works only once cannot leave the right answer
 * behind. */
#include "sandbox/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/proc.h"
#include "sandbox/blob.h"
#include "sandbox/calib.h"
#include "sandbox/futex.h"
#include "sandbox/sandbox.h"
#include "sandbox/seccomp.h"

enum { ALT_STACK = 64 << 10, ALT_MAX = POOL_MAX };

static const struct child_spec *SPEC;
static struct ctl *CTL;
static struct par PAR;
static kernel_fn *KERNEL, *PACK;
static void *BUFFERS[2][STAGE_MAX_PLACES];
static void *SCRATCH[2];
static uint8_t *ALT_BASE;

QN_NORETURN static void leave(int why)
{
    CTL->setup_errno = why;
    _exit(100);
}

/* Writes down where and why, then leaves; the nursery turns it into a sentence. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
    struct ctl_fault f = {.sig = sig,
                          .code = info->si_code,
                          .addr = (uint64_t)(uintptr_t)info->si_addr};
    const ucontext_t *uc = context;
#if defined(__x86_64__)
    f.ip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    f.sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
    f.write = (uc->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#elif defined(__aarch64__)
    f.ip = uc->uc_mcontext.pc;
    f.sp = uc->uc_mcontext.sp;
    const uint32_t *r = (const uint32_t *)(const void *)uc->uc_mcontext.__reserved;
    if (r[0] == 0x45535201) f.write = (r[2] & 64) != 0; /* ESR_MAGIC, WnR */
#else
    (void)uc;
#endif
    CTL->fault = f;
    /* not _exit: sanitizers hook functions that do not return, with calls the filter forbids */
    for (;;) syscall(SYS_exit_group, 128 + sig);
}

static void use_alt_stack(int worker)
{
    stack_t st = {.ss_sp = ALT_BASE + (size_t)worker * ALT_STACK, .ss_size = ALT_STACK};
    sigaltstack(&st, NULL);
}

static void catch_faults(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    for (int sig = 1; sig < 32; sig++)
        if (sig != SIGKILL && sig != SIGSTOP) signal(sig, SIG_DFL);
    for (size_t i = 0; i < QN_COUNT(signals); i++) sigaction(signals[i], &sa, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    use_alt_stack(0);
}

static void map_place(const struct place *p, uint8_t poison, bool fill)
{
    if (p->map_len == 0) return;
    int prot = PROT_READ | (p->kind == PLACE_INPUT ? 0 : PROT_WRITE);
    int flags = MAP_FIXED | (p->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (mmap(p->at, p->map_len, prot, flags, p->fd, (off_t)p->fd_off) == MAP_FAILED) leave(errno);
    if (p->fd < 0 && fill) memset(p->at, poison, p->map_len);
}

static void map_stages(void)
{
    for (int k = 0; k < SPEC->stages_n; k++) {
        const struct stage *s = &SPEC->stages[k];
        for (int i = 0; i < s->n; i++) {
            const struct place *p = &s->places[i];
            map_place(p, s->poison, s->align != ALIGN_TIMED);
            if (p->kind == PLACE_SCRATCH)
                SCRATCH[k] = p->at + p->off;
            else
                BUFFERS[k][i] = p->at + p->off;
        }
    }
}

static void close_all(void)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 0u, ~0u, 0u) == 0) return;
#endif
    for (int fd = 0; fd < 1024; fd++) close(fd);
}

static void limit(int what, rlim_t value)
{
    struct rlimit r = {value, value};
    if (setrlimit((__rlimit_resource_t)what, &r) != 0) leave(errno);
}

static void lock_down(void)
{
    CTL->phase = PHASE_LOCK;
    limit(RLIMIT_CPU, SPEC->cpu_seconds);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_NOFILE, 0);
    limit(RLIMIT_NPROC, 0);
    limit(RLIMIT_MEMLOCK, 0);
    limit(RLIMIT_AS, PAGE); /* below what is mapped: nothing more can be */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) leave(errno);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) leave(errno);
    if (SPEC->layers & (UINT32_C(1) << LAYER_SECCOMP)) {
        int why = seccomp_apply();
        if (why) leave(why);
    }
    CTL->phase = PHASE_READY;
}

static const struct par *par_or_null(void) { return SPEC->threads > 1 ? &PAR : NULL; }

static int32_t call_kernel(uint32_t stage)
{
    return KERNEL(BUFFERS[stage], SPEC->dyn, SCRATCH[stage], par_or_null());
}

static void poison_outputs(const struct stage *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->places[i].kind == PLACE_OUTPUT)
            memset(s->places[i].at + s->places[i].off, s->poison, s->places[i].bytes);
}

static int32_t call_pack(uint32_t stage)
{
    if (!PACK) return 0;
    int64_t t0 = clock_ns();
    int32_t status = PACK(BUFFERS[stage], SPEC->dyn, SCRATCH[stage], par_or_null());
    CTL->pack_ns = (uint64_t)(clock_ns() - t0);
    return status;
}

/* Evicts one range from every cache level. */
static void flush_range(const uint8_t *p, size_t n)
{
#if defined(__x86_64__)
    for (size_t i = 0; i < n; i += 64) __builtin_ia32_clflush(p + i);
    __builtin_ia32_mfence();
#elif defined(__aarch64__)
    for (size_t i = 0; i < n; i += 64) __asm__ volatile("dc civac, %0" ::"r"(p + i) : "memory");
    __asm__ volatile("dsb ish" ::: "memory");
#else
    (void)p, (void)n;
#endif
}

static uint64_t time_cold(const struct stage *s, uint32_t stage, uint64_t iters)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < iters; i++) {
        if (i + 1 == iters) poison_outputs(s);
        for (int k = 0; k < s->n; k++) flush_range(s->places[k].at, s->places[k].map_len);
        int64_t t0 = clock_ns();
        CTL->status |= call_kernel(stage);
        sum += (uint64_t)(clock_ns() - t0);
    }
    return sum;
}

/* The last call starts from poisoned outputs; poisoning is not timed. */
static uint64_t time_hot(const struct stage *s, uint32_t stage, uint64_t iters)
{
    int32_t status = 0;
    int64_t t0 = clock_ns();
    for (uint64_t i = 1; i < iters; i++) status |= call_kernel(stage);
    int64_t t1 = clock_ns();
    poison_outputs(s);
    int64_t t2 = clock_ns();
    status |= call_kernel(stage);
    int64_t t3 = clock_ns();
    CTL->status |= status;
    return (uint64_t)((t1 - t0) + (t3 - t2));
}

static double time_step(uint32_t stage, uint64_t iters)
{
    const struct stage *s = &SPEC->stages[stage];
    uint64_t ns = CTL->cold ? time_cold(s, stage, iters) : time_hot(s, stage, iters);
    return (double)ns / (double)iters;
}

static void do_time(void)
{
    uint32_t stage = CTL->stage;
    uint64_t iters = CTL->iters;
    for (uint32_t i = 0; i < CTL->warm; i++) CTL->status |= call_kernel(stage);
    if (iters == 0) {
        double est = time_step(stage, 1), again;
        if (CTL->stop_ns > 0 && est > CTL->stop_ns && (again = time_step(stage, 1)) < est)
            est = again;
        CTL->estimate_ns = est;
        if (CTL->stop_ns > 0 && est > CTL->stop_ns) {
            CTL->stopped = 1;
            CTL->samples[CTL->samples_n++] = est;
            CTL->iters = 1;
            return;
        }
        double want = (double)CTL->epoch_ns / (est > 1 ? est : 1);
        iters = want < 1 ? 1 : want > 1e6 ? 1000000 : (uint64_t)want + 1;
    }
    double best = 0;
    for (uint32_t i = 0; i < CTL->epochs && i < CTL_SAMPLES; i++) {
        double ns = time_step(stage, iters);
        CTL->samples[CTL->samples_n++] = ns;
        if (best == 0 || ns < best) best = ns;
        if (CTL->stop_ns > 0 && i >= 1 && best > CTL->stop_ns) {
            CTL->stopped = 1;
            break;
        }
    }
    CTL->iters = iters;
}

enum { FMA_REPS = 4000, FMA_TRIES = 16, CHAIN_ADDS = 100000, BIG_ROUNDS = 3 };

/* Short tries, many of them: the best is the one no neighbour disturbed. */
static void calibrate_fma(void)
{
    for (int i = 0; i < FMA_TRIES; i++) {
        for (size_t k = 0; calib_isa_at(k) && k < QN_COUNT(CTL->fma_gflops); k++) {
            const struct calib_isa *isa = calib_isa_at(k);
            double flops = isa->flops * FMA_REPS * SPEC->threads;
            double rate = flops / (double)calib_fma(isa, par_or_null(), FMA_REPS);
            if (rate > CTL->fma_gflops[k]) CTL->fma_gflops[k] = rate;
        }
        double ghz = calib_clock_ghz(CHAIN_ADDS);
        if (ghz > CTL->clock_ghz) CTL->clock_ghz = ghz;
    }
}

/* Half of L3 may not be ours: neighbours use it, too. Four times L2 is enough to be outside of it. */
static size_t read_area(int level)
{
    size_t bytes = CTL->footprint[level], beyond = level == 2 ? 8 * CTL->footprint[1] : 0;
    return beyond && beyond < bytes ? beyond : bytes;
}

static void calibrate_reads(int round)
{
    uint8_t *area = SPEC->stages[0].places[0].at;
    size_t area_len = SPEC->stages[0].places[0].map_len / SPEC->threads;
    for (int level = 0; level < 4; level++) {
        size_t bytes = read_area(level);
        if (bytes == 0 || bytes > area_len || (bytes > (8u << 20) && round >= BIG_ROUNDS)) continue;
        uint64_t passes = (1u << 20) / bytes + 1;
        calib_read_gbps(calib_isa_at(0), par_or_null(), area, bytes, 1);
        double gbps = calib_read_gbps(calib_isa_at(0), par_or_null(), area, bytes, passes);
        if (gbps > CTL->gbps[level]) CTL->gbps[level] = gbps;
    }
}

static void do_calibrate(void)
{
    int64_t end = clock_ns() + (int64_t)CTL->epoch_ns;
    memset(SPEC->stages[0].places[0].at, 1, SPEC->stages[0].places[0].map_len); /* real pages */
    for (int round = 0; round < BIG_ROUNDS || clock_ns() < end; round++) {
        calibrate_fma();
        calibrate_reads(round);
    }
}

static void obey(void)
{
    CTL->status = 0;
    CTL->samples_n = CTL->stopped = 0;
    switch (CTL->cmd) {
    case CMD_RUN: {
        CTL->status = call_pack(CTL->stage);
        int64_t t0 = clock_ns();
        if (CTL->status == 0) CTL->status = call_kernel(CTL->stage);
        CTL->estimate_ns = (double)(clock_ns() - t0);
        break;
    }
    case CMD_TIME:
        if (CTL->pack) CTL->status = call_pack(CTL->stage);
        if (CTL->status == 0) do_time();
        break;
    case CMD_FMA:
        CTL->samples[CTL->samples_n++] =
            (double)calib_fma(calib_isa_at(0), par_or_null(), CTL->iters);
        break;
    case CMD_CALIBRATE:
        do_calibrate();
        break;
    }
}

static void serve(void)
{
    for (uint32_t seen = 0;;) {
        uint32_t go;
        while ((go = atomic_load(&CTL->go)) == seen) futex_wait(&CTL->go, seen, -1);
        seen = go;
        obey();
        atomic_store(&CTL->done, seen);
        atomic_fetch_add(SPEC->bell, 1);
        futex_wake(SPEC->bell, 1);
    }
}

static void set_up(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != SPEC->parent) _exit(101);
    setpgid(0, 0);
    int rw = PROT_READ | PROT_WRITE;
    CTL = mmap(SPEC->ctl_at, CTL_BYTES, rw, MAP_SHARED | MAP_FIXED, SPEC->ctl_fd, 0);
    if (CTL == MAP_FAILED) _exit(102);
    CTL->phase = PHASE_MAP;
    map_stages();
    CTL->phase = PHASE_LOAD;
    int priv = MAP_PRIVATE | MAP_ANONYMOUS;
    if (mmap(SPEC->stack_at, CHILD_STACK, rw, priv | MAP_FIXED, -1, 0) == MAP_FAILED) leave(errno);
    ALT_BASE = mmap(NULL, (size_t)ALT_STACK * SPEC->threads, rw, priv | MAP_NORESERVE, -1, 0);
    if (ALT_BASE == MAP_FAILED) leave(errno);
    if (SPEC->blob) {
        if (!blob_load(SPEC->blob, SPEC->code_at)) leave(errno);
        KERNEL = (kernel_fn *)(uintptr_t)(SPEC->code_at + SPEC->blob->kernel);
        if (SPEC->blob->pack >= 0)
            PACK = (kernel_fn *)(uintptr_t)(SPEC->code_at + SPEC->blob->pack);
    }
    CTL->phase = PHASE_THREADS;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < 64; i++)
        if (SPEC->cpus >> i & 1) CPU_SET(i, &set);
    if (SPEC->cpus)
        sched_setaffinity(0, sizeof set, &set); /* best effort: a CPU may have gone offline */
    close_all();
    catch_faults();
    if (SPEC->threads > 1 && !pool_start(&PAR, (int)SPEC->threads, use_alt_stack)) leave(EAGAIN);
}

static void on_own_stack(void)
{
    lock_down();
    serve();
}

/* The kernel runs on a small stack of its own with guards, so that a runaway recursion is told
 * apart from other stores. The switch comes before the filter because setcontext sets the signal
 * mask. */
void child_main(const struct child_spec *s)
{
    static ucontext_t context;
    SPEC = s;
    set_up();
    getcontext(&context);
    context.uc_stack.ss_sp = SPEC->stack_at;
    context.uc_stack.ss_size = CHILD_STACK;
    context.uc_link = NULL;
    makecontext(&context, on_own_stack, 0);
    setcontext(&context);
    _exit(103);
}
