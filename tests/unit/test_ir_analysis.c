/* ir's analyses on nests as schedules make them: linear forms, what the simplifier and the prover
 * can do with real index arithmetic, regions of conv tiles, and work counted against brute
 * force. */
#include <check.h>
#include <string.h>

#include "base/proc.h"
#include "ir/ir.h"
#include "lib/ir_util.h"

static struct ir *ir;

static void setup(void) { ir = ir_new(); }
static void teardown(void) { ir_free(ir); }

/* The store below a stack of loops whose names index arithmetic uses. */
static const char loops[] = "nest t\n"
                            "dyn N\n"
                            "out y: f32[100]\n"
                            "for ko in 0..4\n"
                            "  for ki in 0..16\n"
                            "    for p in 0..56\n"
                            "      for r in 0..3\n"
                            "        for qo in 0..5\n"
                            "          for qi in 0..min(14, 57 - qo * 14)\n"
                            "            for n in 0..N\n"
                            "              y[0] = 0.0\n";

static struct nest *nest;
static struct env *env;

static void open_loops(void)
{
    nest = ir_util_nest(ir, loops);
    struct stmt *s = nest_loop(nest, "n");
    env = env_at(ir, nest, s->u.loop.body);
}

static const char *simplified(const char *text)
{
    return ir_util_expr(expr_simplify(ir, env, ir_util_parse_expr(ir, nest, text)));
}

static const struct {
    const char *from, *to;
} simple[] = {
    {"(ko * 16 + ki) / 16", "ko"},
    {"(ko * 16 + ki) % 16", "ki"},
    {"(ko * 16 + ki) / 64", "0"},
    {"(ko * 16 + ki) / 8", "ko * 2 + ki / 8"},
    {"(ko * 16 + ki) / 8 * 8 + (ko * 16 + ki) % 8", "ko * 16 + ki"},
    {"(p * 2 + r - 1) * 56 + p - p * 113", "r * 56 - 56"},
    {"min(p, 55)", "p"},
    {"max(p + r - 1, -1)", "p + r - 1"},
    {"min(p + 4, N) - p", "min(N - p, 4)"},
    {"min(qo * 14 + 14, 57) - qo * 14", "min(57 - qo * 14, 14)"},
    {"(p * 6 + r * 2) / 4", "(p * 3 + r) / 2"},
    {"(p * 6 + r * 2) % 4", "(p * 3 + r) % 2 * 2"},
    {"p / 4 / 5", "p / 20"},
    {"(p + 56) % 56", "p"},
    {"(p - 1) / 4 + (1 - 1)", "(p - 1) / 4"},
    {"min(min(p, N), 60)", "min(N, p)"},
    {"max(min(p, 3), 5)", "5"},
    {"0 <= p * 2 + r & p * 2 + r < 113", "true"},
    {"0 <= p + r - 1 & p + r - 1 < 56", "1 <= p + r & p + r < 57"},
    {"0 <= p + 1 & p + r - 1 < 56", "p + r < 57"},
    {"qo * 14 + qi < 57", "true"},
    {"qo * 14 + qi < 56", "qo * 14 + qi < 56"},
    {"n < N", "true"},
    {"N <= n", "false"},
    {"0 < N", "true"},
    {"p < min(N, 70)", "p < N"},
    {"p * 4 + 1 == r * 2", "false"},
    {"p < 3 & p < 7", "p < 3"},
    {"p < 3 | p < 7", "p < 7"},
    {"1 <= p & p < 1", "false"},
    {"p + r < 9 & 9 < r + p", "false"},
    {"p < 5 | 4 <= p", "true"},
    {"p < 5 | 6 <= p", "p < 5 | 6 <= p"},
    {"p * 3 < 7", "p < 3"},
    {"p != p + 1", "true"},
    {"ki + 3 == 2 - ko", "false"},
};

START_TEST(simplifier_on_index_arithmetic)
{
    open_loops();
    ck_assert_str_eq(simplified(simple[_i].from), simple[_i].to);
}
END_TEST

START_TEST(facts_of_guards_are_known_below_them)
{
    nest = ir_util_nest(ir, "nest t\nout y: f32[57]\n"
                            "for qo in 0..5\n  for qi in 0..14\n    if qo * 14 + qi < 57\n"
                            "      let q = qo * 14 + qi\n        y[q] = 0.0\n");
    struct stmt *store = *stmt_body(nest->body->u.block.p[0]);
    while (store->kind != ST_STORE) store = *stmt_body(store);
    env = env_at(ir, nest, store);
    ck_assert(env_proves(env, ir_util_parse_expr(ir, nest, "q < 57")));
    ck_assert(env_proves(env, ir_util_parse_expr(ir, nest, "0 <= q")));
    ck_assert(env_proves(env, ir_util_parse_expr(ir, nest, "qo * 14 + qi <= 56")));
    ck_assert(!env_proves(env, ir_util_parse_expr(ir, nest, "q < 56")));
    ck_assert_str_eq(simplified("min(qo * 14 + qi, 56)"), "qo * 14 + qi");
}
END_TEST

START_TEST(linear_forms)
{
    open_loops();
    struct linear l;
    ck_assert(
        linear_of(ir_util_parse_expr(ir, nest, "(p * 2 + r - 1) * 56 - p / 4 + 7 - r * 56"), &l));
    ck_assert_int_eq(l.n, 2);
    ck_assert_int_eq(l.c, -49);
    ck_assert_int_eq(linear_coef(&l, expr_var(ir, nest_loop(nest, "p")->u.loop.var)), 112);
    ck_assert_str_eq(ir_util_expr(linear_expr(ir, &l)), "p * 112 - p / 4 - 49");
}
END_TEST

/* ---- regions --------------------------------------------------------------------------------- */

static void check_region(const char *text, const char *at, const char *tensor, bool write,
                         const char *want)
{
    struct nest *n = ir_util_nest(ir, text);
    struct stmt *s = nest_loop(n, at);
    struct region r;
    const char *why = NULL;
    struct buf b;
    ck_assert_msg(s != NULL, "no loop %s", at);
    bool ok = write ? region_write(n, s, nest_tensor(n, tensor), &r, &why)
                    : region_read(n, s, nest_tensor(n, tensor), &r, &why);
    if (!ok) {
        ck_assert_str_eq(why, want);
        return;
    }
    buf_init(&b, 4096);
    for (int d = 0; d < r.rank; d++) {
        if (d) buf_puts(&b, ", ");
        expr_print(&b, r.lo[d]);
        buf_puts(&b, " +: ");
        expr_print(&b, r.extent[d]);
    }
    ck_assert_str_eq(b.p, want);
    buf_fini(&b);
}

static const char conv[] =
    "nest conv\n"
    "in x: f32[58, 58, 16]\n"
    "out y: f32[28, 28]\n"
    "stage y\n"
    "  for po in 0..7\n"
    "    for pi in 0..4\n"
    "      for q in 0..28\n"
    "        for r in 0..3 reduce\n"
    "          for s in 0..3 reduce\n"
    "            for c in 0..16 reduce\n"
    "              y[po * 4 + pi, q] += (x[(po * 4 + pi) * 2 + r * 2 - 1, q * 2 + s - 1, c] if "
    "0 <= q * 2 + s - 1 else 0.0)\n";

START_TEST(regions_of_conv_tiles)
{
    check_region(conv, "pi", "x", false, "po * 8 - 1 +: 11, -1 +: 57, 0 +: 16");
    check_region(conv, "q", "x", false, "po * 8 + pi * 2 - 1 +: 5, -1 +: 57, 0 +: 16");
    check_region(conv, "c", "x", false,
                 "po * 8 + pi * 2 + r * 2 - 1 +: 1, q * 2 + s - 1 +: 1, 0 +: 16");
    check_region(conv, "pi", "y", true, "po * 4 +: 4, 0 +: 28");
    check_region(conv, "po", "y", true, "0 +: 28, 0 +: 28");
}
END_TEST

START_TEST(regions_of_tails)
{
    /* shift: the last tile moves back */
    check_region("nest t\nin x: f32[60]\nout y: f32[57]\nfor qo in 0..5\n  for qi in 0..14\n    "
                 "for s in 0..3\n"
                 "      y[min(qo * 14, 43) + qi] = x[min(qo * 14, 43) + qi + s]\n",
                 "qi", "x", false, "min(qo * 14, 43) +: 16");
    /* guard: the box ignores it */
    check_region("nest t\nin x: f32[60]\nout y: f32[57]\nfor qo in 0..5\n  for qi in 0..14\n    if "
                 "qo * 14 + qi < 57\n"
                 "      y[qo * 14 + qi] = x[qo * 14 + qi + 1]\n",
                 "qi", "x", false, "qo * 14 + 1 +: 14");
    /* clipped loop: symbolic upper bound */
    check_region("nest t\nin x: f32[60]\nout y: f32[57]\nfor qo in 0..5\n  for qi in 0..min(14, 57 "
                 "- qo * 14)\n"
                 "    y[qo * 14 + qi] = x[qo * 14 + qi]\n",
                 "qi", "x", false, "qo * 14 +: 14");
    check_region("nest t\nin x: f32[60]\nout y: f32[57]\nfor qo in 0..5\n  for qi in 0..min(14, 57 "
                 "- qo * 14)\n"
                 "    y[qo * 14 + qi] = x[qo * 14 + qi]\n",
                 "qo", "x", false, "0 +: 57");
}
END_TEST

START_TEST(regions_of_several_accesses_lets_and_blocks)
{
    check_region("nest t\nin x: f32[64]\nout y: f32[60]\nfor i in 0..15\n  let b = i * 4\n    for "
                 "j in 0..4\n"
                 "      y[b + j] = x[b + j] + x[b + j + 3] - x[b + j + 1]\n",
                 "i", "x", false, "0 +: 63");
    check_region("nest t\nin x: f32[64]\nout y: f32[60]\nfor i in 0..15\n  for j in 0..4\n    let "
                 "b = i * 4 + j\n"
                 "      y[b] = x[b] + x[b + 3]\n",
                 "j", "x", false, "i * 4 +: 7");
    check_region("nest t\nin x: f32[4, 16]\nout y: f32[64]\nfor i in 0..4\n  for j in 0..16\n"
                 "    y[i * 16 + j] = x[(i * 16 + j) / 16, (i * 16 + j) % 16]\n",
                 "j", "x", false, "i +: 1, 0 +: 16");
    check_region("nest t\nin x: f32[22, 3]\nout y: f32[64]\nfor i in 0..8\n  for j in 0..8\n"
                 "    y[i * 8 + j] = x[(i * 8 + j) / 3, (i * 8 + j) % 3]\n",
                 "j", "x", false, "i * 8 / 3 +: 4, 0 +: 3");
    check_region("nest t\ndyn N\nin x: f32[N]\nout y: f32[N]\nfor i in 0..N\n  y[i] = x[i]\n", "i",
                 "x", false, "0 +: N");
}
END_TEST

START_TEST(regions_refused)
{
    check_region(
        "nest t\nin x: f32[64]\nin k: s64[8]\nout y: f32[8]\nfor i in 0..8\n  y[i] = x[k[i]]\n",
        "i", "x", false, "a subscript is itself read from a tensor");
    check_region("nest t\nin x: f32[64]\nout y: f32[8]\nfor i in 0..8\n  y[i] = x[i * i]\n", "i",
                 "x", false, "a subscript multiplies a loop variable by something not constant");
    check_region(
        "nest t\ndyn N\nin x: f32[N]\nout y: f32[8]\nfor i in 0..8\n  y[i] = x[i] + x[N - 1 - i]\n",
        "i", "x", false, "the accesses lie at places whose distance is not known");
    check_region("nest t\nin x: f32[64]\nout y: f32[8]\nfor i in 0..8\n  y[i] = 0.0\n", "i", "x",
                 false, "the tensor is not read there");
}
END_TEST

/* ---- work ------------------------------------------------------------------------------------ */

static double brute_conv(int h, int k, int stride, int pad, int c)
{
    double taps = 0;
    int p = (h + 2 * pad - k) / stride + 1;
    for (int i = 0; i < p; i++)
        for (int r = 0; r < k; r++)
            for (int j = 0; j < p; j++)
                for (int s = 0; s < k; s++) {
                    int y = i * stride + r - pad, x = j * stride + s - pad;
                    taps += y >= 0 && y < h && x >= 0 && x < h;
                }
    return taps * c * c * 2;
}

static void conv_text(struct buf *b, int h, int k, int stride, int pad, int c)
{
    int p = (h + 2 * pad - k) / stride + 1;
    buf_printf(b,
               "nest conv\nin x: f32[1, %d, %d, %d]\nconst w: f32[%d, %d, %d, %d]\nout y: f32[1, "
               "%d, %d, %d]\n",
               h, h, c, k, k, c, c, p, p, c);
    buf_puts(b, "temp a: f32[1]\nstage y\n  for n in 0..1\n");
    buf_printf(b, "    for p in 0..%d\n      for q in 0..%d\n        for k in 0..%d\n", p, p, c);
    buf_printf(b,
               "          for r in 0..%d reduce\n            for s in 0..%d reduce\n              "
               "for c in 0..%d reduce\n",
               k, k, c);
    buf_printf(b, "                y[n, p, q, k] += (x[n, p * %d + r - %d, q * %d + s - %d, c] if ",
               stride, pad, stride, pad);
    buf_printf(b,
               "0 <= p * %d + r - %d & p * %d + r - %d < %d & 0 <= q * %d + s - %d & q * %d + s - "
               "%d < %d else 0.0)",
               stride, pad, stride, pad, h, stride, pad, stride, pad, h);
    buf_puts(b, " * w[r, s, c, k]\n");
}

START_TEST(work_of_padded_conv_equals_brute_force)
{
    static const int shape[][5] = {
        {56, 3, 1, 1, 64}, {13, 3, 2, 1, 5}, {7, 7, 1, 3, 3}, {9, 2, 3, 0, 4}, {5, 5, 1, 4, 1}};
    for (size_t i = 0; i < QN_COUNT(shape); i++) {
        const int *s = shape[i];
        struct buf b;
        double flops = 0, bytes = 0;
        buf_init(&b, 1 << 16);
        conv_text(&b, s[0], s[1], s[2], s[3], s[4]);
        nest_work(ir_util_nest(ir, b.p), NULL, &flops, &bytes);
        ck_assert_double_eq(flops, brute_conv(s[0], s[1], s[2], s[3], s[4]));
        int p = (s[0] + 2 * s[3] - s[1]) / s[2] + 1;
        ck_assert_double_eq(bytes,
                            4.0 * (s[0] * s[0] * s[4] + s[1] * s[1] * s[4] * s[4] + p * p * s[4]));
        buf_fini(&b);
    }
}
END_TEST

START_TEST(work_counts_dyn_constant_stages_and_values)
{
    struct nest *n = ir_util_nest(
        ir, "nest t\ndyn N\nin x: f32[N, 8]\nconst w: f32[8]\nout y: f32[N, 8]\ntemp u: f32[8]\n"
            "stage u\n  for j in 0..8\n    u[j] = w[j] * 2.0 + 1.0\n"
            "stage y\n  for i in 0..N\n    for k in 0..8\n      if k < 5\n"
            "        y[i, k] = max((x[i, k] - u[k]) * u[k] / 3.0, 0.0)\n");
    int64_t dyn = 11;
    double flops = 0, bytes = 0;
    nest_work(n, &dyn, &flops, &bytes);
    ck_assert_double_eq(flops, 11 * 5 * 3);
    ck_assert_double_eq(bytes, 4 * (11 * 8 + 8 + 11 * 8));
}
END_TEST

START_TEST(simplifier_and_work_are_fast)
{
    struct buf b;
    double flops = 0, bytes = 0;
    buf_init(&b, 1 << 16);
    conv_text(&b, 56, 3, 1, 1, 64);
    struct nest *n = ir_util_nest(ir, b.p);
    int64_t t0 = clock_ns();
    nest_work(n, NULL, &flops, &bytes);
    int64_t t1 = clock_ns();
    ck_assert_int_lt(t1 - t0, 50000000); /* measured 0.2 ms */
    struct stmt *inner = nest_loop(n, "c")->u.loop.body;
    for (int i = 0; i < 20; i++) {
        struct env *e = env_at(ir, n, inner);
        expr_simplify(ir, e, inner->u.update.value[0]);
    }
    ck_assert_int_lt(clock_ns() - t1, 50000000); /* measured below 1 ms */
    buf_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ir_analysis");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, simplifier_on_index_arithmetic, 0, (int)QN_COUNT(simple));
    tcase_add_test(t, facts_of_guards_are_known_below_them);
    tcase_add_test(t, linear_forms);
    tcase_add_test(t, regions_of_conv_tiles);
    tcase_add_test(t, regions_of_tails);
    tcase_add_test(t, regions_of_several_accesses_lets_and_blocks);
    tcase_add_test(t, regions_refused);
    tcase_add_test(t, work_of_padded_conv_equals_brute_force);
    tcase_add_test(t, work_counts_dyn_constant_stages_and_values);
    tcase_add_test(t, simplifier_and_work_are_fast);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
