/* contest: several functions timed against each other in one process, fairly.
 *
 *   struct contestant c[2] = {{"jit", run_jit, &a}, {"gcc", run_c, &b}};
 *   contest_run(c, 2, 31, 2.0);      c[1].median_ns, c[1].ratio = median over rounds of c[0] / c[1]
 *
 * Invariants: every round times every contestant once, in an order drawn anew; a sample is a batch
 * of calls of about batch_ms after one call that warms the caches; ratios are paired by round, so
 * what disturbs a whole round cancels. */
#ifndef QN_BENCH_CONTEST_H
#define QN_BENCH_CONTEST_H

#include <stdint.h>

enum { CONTEST_ROUNDS_MAX = 512, CONTESTANTS_MAX = 16 };

struct contestant {
    const char *name;
    void (*run)(void *ctx);
    void *ctx;
    /* results */
    double median_ns, best_ns;
    double ratio; /* median over rounds of (time of contestant 0) / (own time): above 1 is faster */
    int64_t batch;
    double ns[CONTEST_ROUNDS_MAX];
};

void contest_run(struct contestant *c, int n, int rounds, double batch_ms);
double contest_median(const double *v, int n);

#endif
