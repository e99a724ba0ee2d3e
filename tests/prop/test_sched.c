/* The promise of sched: a trace that is accepted does not change what an operator computes.
 *
 *   random operator × random legal trace: interp(scheduled) == interp(naive), bit for bit.
 *
 * QUERN_PROP_CASES sets the number of cases, QUERN_PROP_SEED the first seed; a failure prints the
 * seed, the naive nest, the trace and the scheduled nest. The table at the end shows what was
 * covered. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/gen.h"
#include "sched/private.h"

enum { DEFAULT_CASES = 24000, FULL_CASES = 24000, CELL = 100 };

static int64_t env_int(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    return s && *s ? strtoll(s, NULL, 10) : fallback;
}

static void show(const char *what, const struct nest *naive, const struct trace *t,
                 const struct nest *n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    nest_print(&b, naive);
    buf_putc(&b, '\n');
    if (t) trace_print(&b, t);
    buf_putc(&b, '\n');
    if (n) nest_print(&b, n);
    printf("%s\n%s\n", what, b.p);
    buf_fini(&b);
}

/* parse(print(t)) prints the same text, and so does the scheduled nest. */
static bool texts_return(const struct trace *t, const struct nest *n)
{
    struct buf a, b;
    struct trace *back = NULL;
    struct nest *again = NULL;
    struct err e = {0};
    struct ir *ir = ir_new();
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    trace_print(&a, t);
    bool same = trace_parse("trace", a.p, a.n, &back, &e) == RC_OK;
    if (same) trace_print(&b, back);
    same = same && strcmp(a.p, b.p) == 0;
    buf_reset(&a);
    buf_reset(&b);
    nest_print(&a, n);
    if (same && nest_parse(ir, "nest", a.p, a.n, &again, &e) == RC_OK) nest_print(&b, again);
    same = same && strcmp(a.p, b.p) == 0;
    if (!same) printf("%s\n", e.msg);
    if (back) trace_free(back);
    ir_free(ir);
    buf_fini(&a);
    buf_fini(&b);
    return same;
}

static bool one_case(uint64_t seed, struct gen_stats *stats)
{
    struct rng r;
    struct gen_info info;
    struct err e = {0};
    struct rejection rej;
    struct gen_result want, got;
    rng_seed(&r, seed);
    struct ir *ir = ir_new(), *ir2 = ir_new();
    struct nest *naive = gen_nest(ir, &r, &gen_default, &info), *n = nest_clone(ir2, naive);
    bool ok = nest_verify(naive, NEST_NAIVE, &e) == RC_OK &&
              gen_run(naive, seed, &info, &want, &e) == RC_OK;
    if (!ok) show(e.msg, naive, NULL, NULL);
    if (ok) {
        struct trace *t = gen_trace(naive, &info, &r, stats);
        gen_count(stats, naive, &info, t);
        ok = sched_apply(n, t, &rej) == RC_OK;
        ok = ok && nest_verify(n, NEST_SCHEDULED, &e) == RC_OK &&
             gen_run(n, seed, &info, &got, &e) == RC_OK;
        bool long_run = !ok && strcmp(e.code, "interp.budget") ==
                                   0; /* a copy far larger than the tensor: slow, not wrong */
        if (!ok && !long_run) show(e.msg, naive, t, n);
        if (ok && !gen_same(&want, &got)) {
            ok = false;
            show("the scheduled nest computes something else", naive, t, n);
        }
        if (ok && seed % 16 == 0 && !texts_return(t, n)) {
            ok = false;
            show("a text does not return", naive, t, n);
        }
        if (ok) gen_result_free(&got);
        ok |= long_run;
        gen_result_free(&want);
        trace_free(t);
    }
    ir_free(ir);
    ir_free(ir2);
    if (!ok) printf("seed %" PRIu64 "\n", seed);
    return ok;
}

/* Cells no trace can reach: what is never accepted. */
static bool unreachable_row(int row)
{
    return row == gen_row(&(struct step){.prim = PRIM_PREFETCH}) ||
           row == gen_row(&(struct step){.prim = PRIM_TENSORIZE});
}

static int64_t thin_cells(const struct gen_stats *s)
{
    static const enum dtype dtypes[] = {TYPE_F32, TYPE_F64, TYPE_S32, TYPE_S8,
                                        TYPE_U8,  TYPE_S16, TYPE_S64, TYPE_U32};
    int64_t thin = 0;
    for (int r = 0; r < GEN_ROWS; r++) {
        if (unreachable_row(r)) continue;
        for (int i = 1; i <= 3; i++) {
            bool needs_two = !(r < POLICY_COUNT) &&
                             i == 1; /* one elementwise stage has nothing to move or reduce */
            if (!needs_two && s->by_stages[r][i] < CELL)
                thin++, printf("thin: %s, %d stages: %" PRId64 "\n", gen_row_name(r), i,
                               s->by_stages[r][i]);
        }
        for (int i = 1; i < GEN_RANKS; i++)
            if (s->by_rank[r][i] < CELL)
                thin++, printf("thin: %s, rank %d: %" PRId64 "\n", gen_row_name(r), i,
                               s->by_rank[r][i]);
        for (size_t i = 0; i < QN_COUNT(dtypes); i++)
            if (s->by_dtype[r][dtypes[i]] < CELL)
                thin++, printf("thin: %s, %s: %" PRId64 "\n", gen_row_name(r),
                               dtype_name(dtypes[i]), s->by_dtype[r][dtypes[i]]);
        bool one_result = r == gen_row(&(struct step){.prim = PRIM_RFACTOR}) ||
                          r == gen_row(&(struct step){.prim = PRIM_COLUMNS}) ||
                          r == gen_row(&(struct step){.prim = PRIM_ACCUMULATE});
        for (int i = 0; i < GEN_REDUCES; i++)
            if (!(one_result && i >= RED_ARGMAX) && s->by_reduce[r][i] < CELL)
                thin++, printf("thin: %s, reduction %d: %" PRId64 "\n", gen_row_name(r), i,
                               s->by_reduce[r][i]);
    }
    return thin;
}

/* The inner split's guard may not go: its iteration 7 is the outer loop's next 0, and would be
 * added twice; or multiplied in, or combined. */
START_TEST(found_before)
{
    static const char *const updates[] = {
        "a[a.i] += x[a.i, a.k]", "a[a.i] *= x[a.i, a.k]",
        "{a, b}[a.i] user= {x[a.i, a.k], 1.0} from {0.0, 0.0} with {l0, l1}, {r0, r1}: "
        "{l0 + r0, l1 + r1}"};
    static const char steps[] =
        "algorithm direct\nsplit y.i 16 pad o i\ncompute_at a o scratch\nreorder a.k a.i\n"
        "split a.i 7 guard l0 l1\nsplit l1 8 guard l2 l3\n";
    char text[512];
    bool pair = _i == 2;
    snprintf(text, sizeof text,
             "nest t\nin     x: f32[16, 3]\nout    y: f32[16]\ntemp   a: f32[16]\n%s"
             "stage a\n  for a.i in 0..16\n    for a.k in 0..3 reduce\n      %s\n"
             "stage y\n  for y.i in 0..16\n    y[y.i] = a[y.i]%s\n",
             pair ? "temp   b: f32[16]\n" : "", updates[_i], pair ? " + b[y.i]" : "");
    struct ir *ir = ir_new(), *ir2 = ir_new();
    struct nest *naive;
    struct trace *t;
    struct rejection why;
    struct err e = {0};
    struct gen_info info = {.stages = 2};
    struct gen_result want, got;
    ck_assert_int_eq(nest_parse(ir, "t", text, strlen(text), &naive, &e), RC_OK);
    ck_assert_int_eq(trace_parse("t", steps, strlen(steps), &t, &e), RC_OK);
    struct nest *n = nest_clone(ir2, naive);
    ck_assert_int_eq(sched_apply(n, t, &why), RC_OK);
    ck_assert_int_eq(gen_run(naive, 1, &info, &want, &e), RC_OK);
    ck_assert_int_eq(gen_run(n, 1, &info, &got, &e), RC_OK);
    ck_assert(gen_same(&want, &got));
    gen_result_free(&want);
    gen_result_free(&got);
    trace_free(t);
    ir_free(ir);
    ir_free(ir2);
}
END_TEST

START_TEST(scheduled_equals_naive)
{
    int64_t cases = env_int("QUERN_PROP_CASES", DEFAULT_CASES), bad = 0;
    uint64_t seed = (uint64_t)env_int("QUERN_PROP_SEED", 1);
    struct gen_stats *s = mem_new(sizeof *s);
    for (int64_t i = 0; i < cases && bad < 3; i++) bad += !one_case(seed + (uint64_t)i, s);
    gen_print(s);
    ck_assert_int_eq(bad, 0);
    if (cases >= FULL_CASES) {
        int64_t steps = 0;
        for (int i = 0; i < 5; i++) steps += s->length[i];
        ck_assert_int_le(2 * steps, s->cases);              /* median of at least 5 steps */
        ck_assert_int_ge(10 * s->imperfect, 3 * s->splits); /* 30 % of the splits do not divide */
        ck_assert_int_ge(5 * s->refused, s->proposals);     /* 20 % of the proposals are refused */
        ck_assert_int_eq(thin_cells(s), 0);
    }
    mem_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prop.sched");
    TCase *tc = tcase_create("interp");
    tcase_set_timeout(tc, 240);
    tcase_add_loop_test(tc, found_before, 0, 3);
    tcase_add_test(tc, scheduled_equals_naive);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
