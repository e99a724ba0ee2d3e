/* futex: sleeping and waking on a shared word, without errno games. */
#ifndef QN_SANDBOX_FUTEX_H
#define QN_SANDBOX_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

/* Sleeps while *word == seen, at most timeout_ns (< 0: for ever); may wake early for no reason. */
static inline void futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, timeout_ns < 0 ? NULL : &ts, NULL, 0);
}
static inline void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

#if defined(__x86_64__)
static inline void cpu_pause(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static inline void cpu_pause(void) { __asm__ volatile("yield"); }
#else
static inline void cpu_pause(void) { __asm__ volatile("" ::: "memory"); }
#endif

#endif
