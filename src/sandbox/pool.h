/* pool: the `par` of kernel ABI v1 inside a candidate's child: a fixed set of bare threads. */
#ifndef QN_SANDBOX_POOL_H
#define QN_SANDBOX_POOL_H

#include "base/base.h"

enum { POOL_MAX = 64 };

/* Layout fixed by kernel ABI v1. */
struct par {
    void (*run)(void *ctx, int32_t (*body)(void *arg, int64_t i, int64_t worker), void *arg,
                int64_t n);
    void *ctx;
    int64_t threads;
};

/* Starts threads - 1 threads (the caller is worker 0). Must precede seccomp. false: cannot. `setup`
 * runs first in each new thread, with its worker number. */
bool pool_start(struct par *par, int threads, void (*setup)(int worker));

#endif
