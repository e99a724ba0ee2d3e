/* pool: workers made by clone before the filter closes, woken through one futex word.
 *
 *   run(ctx, body, arg, 10), 2 threads:  each takes the next i from one counter until it reaches 10
 *
 * Invariants: no pthread, no thread-local storage of its own (all threads share the main thread's,
 * so nothing here may fail through errno); run returns only when every worker has left the body;
 * workers spin briefly, then sleep, so that the 15 waiting children of a race cost nothing. */
#include "sandbox/pool.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "sandbox/futex.h"

enum { STACK_BYTES = 64 << 10, GUARD_BYTES = 64 << 10, SPINS = 4000 };

static struct pool {
    _Alignas(64) _Atomic uint32_t generation; /* of run; workers wait for it to move */
    _Alignas(64) _Atomic uint32_t left;       /* workers still inside */
    _Alignas(64) _Atomic int64_t next;
    _Atomic uint32_t sleepers;
    int threads;
    int32_t (*body)(void *arg, int64_t i, int64_t worker);
    void *arg;
    int64_t n;
    void (*setup)(int worker);
} POOL;

static void take_turns(int64_t worker)
{
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&POOL.next, 1, memory_order_relaxed);
        if (i >= POOL.n) return;
        POOL.body(POOL.arg, i, worker);
    }
}

static void await_change(_Atomic uint32_t *word, uint32_t seen, _Atomic uint32_t *sleepers)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen) return;
        cpu_pause();
    }
    if (sleepers) atomic_fetch_add(sleepers, 1);
    while (atomic_load_explicit(word, memory_order_acquire) == seen) futex_wait(word, seen, -1);
    if (sleepers) atomic_fetch_sub(sleepers, 1);
}

static int worker_main(void *arg)
{
    int64_t worker = (int64_t)(intptr_t)arg;
    if (POOL.setup) POOL.setup((int)worker);
    uint32_t seen = 0;
    atomic_fetch_sub(&POOL.left, 1); /* ready */
    futex_wake(&POOL.left, 1);
    for (;;) {
        await_change(&POOL.generation, seen, &POOL.sleepers);
        seen++;
        take_turns(worker);
        if (atomic_fetch_sub(&POOL.left, 1) == 1) futex_wake(&POOL.left, 1);
    }
    return 0;
}

static void await_left(void)
{
    for (uint32_t left; (left = atomic_load(&POOL.left)) != 0;)
        await_change(&POOL.left, left, NULL);
}

static void pool_run(void *ctx, int32_t (*body)(void *, int64_t, int64_t), void *arg, int64_t n)
{
    if (n <= 0) return;
    POOL.body = body;
    POOL.arg = arg;
    POOL.n = n;
    atomic_store(&POOL.next, 0);
    atomic_store(&POOL.left, (uint32_t)POOL.threads - 1);
    atomic_fetch_add(&POOL.generation, 1);
    if (atomic_load(&POOL.sleepers) > 0) futex_wake(&POOL.generation, POOL.threads);
    take_turns(0);
    await_left();
}

bool pool_start(struct par *par, int threads, void (*setup)(int worker))
{
    QN_CHECK(threads >= 1 && threads <= POOL_MAX, "%d threads", threads);
    POOL.threads = threads;
    POOL.setup = setup;
    atomic_store(&POOL.left, (uint32_t)threads - 1);
    for (int w = 1; w < threads; w++) {
        uint8_t *p =
            mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return false;
        if (mprotect(p + GUARD_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE) != 0) return false;
        int flags =
            CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
        if (clone(worker_main, p + GUARD_BYTES + STACK_BYTES, flags, (void *)(intptr_t)w) < 0)
            return false;
    }
    await_left();
    *par = (struct par){.run = pool_run, .ctx = NULL, .threads = threads};
    return true;
}
