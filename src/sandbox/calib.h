/* calib: loops whose speed is known to be the machine's: multiply-adds, a chain of adds, reads. */
#ifndef QN_SANDBOX_CALIB_H
#define QN_SANDBOX_CALIB_H

#include "base/base.h"
#include "sandbox/pool.h"

/* Instruction sets, widest first. */
struct calib_isa {
    const char *name;
    bool (*usable)(void);
    void (*fma)(uint64_t reps);
    double flops;                                 /* per repetition */
    void (*read)(const uint8_t *p, size_t bytes); /* bytes a multiple of 1024, p 64-byte aligned */
};

const struct calib_isa *calib_isa_at(size_t i); /* NULL past the end; only usable ones are listed */
/* Nanoseconds of `reps` repetitions on every thread at once (the slowest thread; all start
 * together). */
uint64_t calib_fma(const struct calib_isa *isa, const struct par *par, uint64_t reps);
/* Clock from a chain of dependent register adds, one per cycle. */
double calib_clock_ghz(uint64_t adds);
/* GB/s reading `bytes` per thread `passes` times; each thread has its own part of p. */
double calib_read_gbps(const struct calib_isa *isa, const struct par *par, uint8_t *p, size_t bytes,
                       uint64_t passes);

#endif
