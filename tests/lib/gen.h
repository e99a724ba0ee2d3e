/* gen: random small operators, random legal schedules for them, and running both in the
 * interpreter.
 *
 *   struct gen_info info; struct nest *n = gen_nest(ir, &rng, &gen_default, &info);
 *   struct trace *t = gen_trace(n, &info, &rng, &stats);
 *   struct gen_result want, got; gen_run(n, 1, &info, &want, &e); ... gen_same(&want, &got)
 *
 * Operators: 1 to 3 stages, ranks 1 to 4, extents with primes and ones, every reduction kind,
 * recurrences, padded and strided reads, floordiv and mod subscripts, constant stages, now and then
 * a dynamic extent. Values are small integers (clamped between stages), so that any order of
 * summation gives the same bits. */
#ifndef QN_TEST_GEN_H
#define QN_TEST_GEN_H

#include "base/rng.h"
#include "ir/ir.h"
#include "sched/sched.h"

struct gen_options {
    int max_points; /* of one stage, reductions counted in */
    int max_stages; /* reductions and elementwise stages before the output */
    double dyn;     /* chance of a dynamic extent */
};
extern const struct gen_options gen_default;

enum { GEN_REDUCES = RED_USER + 1, GEN_STAGES = 4, GEN_RANKS = 5 };
struct gen_info {
    int stages; /* equations, the output's included */
    int rank;   /* of the output */
    enum dtype dtype;
    bool reduces[GEN_REDUCES]; /* kinds in it */
    bool reduction;            /* any of them */
    bool scan;                 /* a stage is a recurrence */
    int64_t dyn[1];            /* value of the dynamic extent, if nest->ndyn */
};

struct nest *gen_nest(struct ir *ir, struct rng *r, const struct gen_options *o,
                      struct gen_info *info);

/* What traces held, counted over many cases: rows are primitives (split once per tail policy). */
enum { GEN_ROWS = PRIM_COUNT + 5 };
struct gen_stats {
    int64_t cases, steps, splits, imperfect, proposals, refused, forced, fine, finish_refused;
    int64_t length[64]; /* histogram of trace lengths */
    int64_t code[REJECT_COUNT];
    int64_t by_stages[GEN_ROWS][GEN_STAGES + 1], by_rank[GEN_ROWS][GEN_RANKS],
        by_dtype[GEN_ROWS][TYPE_COUNT], by_reduce[GEN_ROWS][GEN_REDUCES + 1];
};
/* A legal trace: sched_apply accepts it on a copy of the naive nest. */
struct trace *gen_trace(const struct nest *naive, const struct gen_info *info, struct rng *r,
                        struct gen_stats *stats);
void gen_count(struct gen_stats *s, const struct nest *naive, const struct gen_info *info,
               const struct trace *t);
int gen_row(const struct step *s);
const char *gen_row_name(int row);
void gen_print(const struct gen_stats *s);

/* Outputs of a nest on data made from `seed` (pack phase first), in declaration order. */
struct gen_result {
    int n;
    struct {
        const char *name;
        uint8_t *p;
        size_t bytes;
    } out[4];
};
enum rc gen_run(const struct nest *n, uint64_t seed, const struct gen_info *info,
                struct gen_result *out, struct err *e);
bool gen_same(const struct gen_result *a, const struct gen_result *b);
void gen_result_free(struct gen_result *r);
/* Its parts, for running machine code on the same data. */
int64_t gen_elements(const struct nest *n, const struct tensor *t, const int64_t *dyn);
void gen_fill(const struct tensor *t, uint64_t seed, uint8_t *p, int64_t elements);
void gen_drop_signs(const struct tensor *t, uint8_t *p, int64_t elements); /* -0 becomes 0 */

#endif
