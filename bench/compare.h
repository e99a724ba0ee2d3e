/* compare: one kernel from several makers, timed interleaved in one process.
 *
 * A peer is a row of `peers` in compare.c: it prepares itself for a task (weights packed, code
 * compiled) or declines, and then runs on the shared operands as often as asked. Operands are the
 * task's tensors in declaration order, plain row-major; every peer writes the same outputs, which
 * are compared once. */
#ifndef QN_COMPARE_BENCH_H
#define QN_COMPARE_BENCH_H

#include <fenv.h>

#include "cli.h"

struct bench_task {
    struct work *w;
    void **buf; /* task->ntensor operands, 64-byte aligned */
    int threads;
    const char *schedule;          /* quern's */
    const char *hand;              /* --hand FILE.c, or NULL */
    struct compile_result *winner; /* its blob */
    char dir[64];                  /* a temporary folder for compiled C */
};

struct entry {
    const char *name;
    void *state;
    void (*run)(void *state);
    void (*fini)(void *state);
    /* It runs in the floating-point mode its library set when it was loaded: gcc -ffast-math makes
     * denormals zero for the whole process, which would change everyone else's times. */
    fenv_t fp;
    bool roof; /* computes nothing: no peer to beat, and its outputs mean nothing */
};

/* Fills *out, or returns false with a reason in why[200] when the peer cannot do the task. */
typedef bool peer_open_fn(struct bench_task *t, struct entry *out, char *why);

peer_open_fn peer_quern, peer_c_gcc, peer_c_clang, peer_naive_gcc, peer_naive_clang,
    peer_dnnl_direct, peer_dnnl_winograd, peer_openblas, peer_eager, peer_eager_fixed, peer_stream,
    peer_hand_gcc, peer_hand_clang, peer_hand_mvec;

/* bench/NAME.c as a library, by clang-19 -O3 -march=native; NULL with a reason. dlclose. */
void *bench_compile(struct bench_task *t, const char *name, char *why);

#endif
