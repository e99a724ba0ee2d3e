/* contest: rounds of samples in random order. See contest.h for the rules. */
#include "contest.h"

#include <stdlib.h>
#include <string.h>

#include "base/proc.h"
#include "base/rng.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double contest_median(const double *v, int n)
{
    double sorted[CONTEST_ROUNDS_MAX];
    QN_CHECK(n > 0 && n <= CONTEST_ROUNDS_MAX, "median of %d values", n);
    memcpy(sorted, v, sizeof *v * (size_t)n);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static double time_batch(struct contestant *c, int64_t batch)
{
    int64_t begin = clock_ns();
    for (int64_t i = 0; i < batch; i++) c->run(c->ctx);
    return (double)(clock_ns() - begin);
}

/* Calls that fill about batch_ms, found by doubling. */
static void choose_batch(struct contestant *c, double batch_ms)
{
    double want = batch_ms * 1e6, t;
    for (c->batch = 1; (t = time_batch(c, c->batch)) < want / 4 && c->batch < (1 << 24);)
        c->batch *= 2;
    double per_call = t / (double)c->batch;
    c->batch = per_call > 0 ? (int64_t)(want / per_call) : c->batch;
    if (c->batch < 1) c->batch = 1;
}

void contest_run(struct contestant *c, int n, int rounds, double batch_ms)
{
    QN_CHECK(n > 0 && n <= CONTESTANTS_MAX && rounds > 0 && rounds <= CONTEST_ROUNDS_MAX,
             "%d contestants, %d rounds", n, rounds);
    struct rng rng;
    int order[CONTESTANTS_MAX];
    rng_seed(&rng, 1);
    for (int i = 0; i < n; i++) {
        order[i] = i;
        choose_batch(&c[i], batch_ms);
    }
    for (int round = 0; round < rounds; round++) {
        rng_shuffle(&rng, order, (size_t)n, sizeof *order);
        for (int i = 0; i < n; i++) {
            struct contestant *x = &c[order[i]];
            x->run(x->ctx);
            x->ns[round] = time_batch(x, x->batch) / (double)x->batch;
        }
    }
    for (int i = 0; i < n; i++) {
        double ratio[CONTEST_ROUNDS_MAX];
        c[i].best_ns = c[i].ns[0];
        for (int round = 0; round < rounds; round++) {
            ratio[round] = c[0].ns[round] / c[i].ns[round];
            if (c[i].ns[round] < c[i].best_ns) c[i].best_ns = c[i].ns[round];
        }
        c[i].median_ns = contest_median(c[i].ns, rounds);
        c[i].ratio = contest_median(ratio, rounds);
    }
}
