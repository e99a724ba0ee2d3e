/* lower: how tensors are laid out, copied, shared and packed; what is refused; and how the work
 * grows. Kernels are compared with the nest they came from, both run by the interpreter. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

static struct lower_case plain(void) { return (struct lower_case){.target = lower_target(true)}; }

/* ---- access classes -------------------------------------------------------------------------- */

static struct access_info classify(struct ir *ir, const char *subscript)
{
    char text[512];
    snprintf(text, sizeof text,
             "nest t\nin     x: f32[4096]\nout    y: f32[64]\nfor i in 0..4\n  for j in 0..4\n    "
             "y[ramp(0, 1, 8)] = x[%s]\n",
             subscript);
    struct nest *n = lower_parse(ir, text);
    struct stmt *s = nest_loop(n, "j");
    s = s->u.loop.body;
    while (s->kind == ST_BLOCK) s = s->u.block.p[0];
    struct access_info info;
    access_classify(ir, s->u.store.value->a[0], &info);
    return info;
}

START_TEST(access_classes)
{
    struct ir *ir = ir_new();
    struct access_info a = classify(ir, "ramp(i * 8, 1, 8)");
    ck_assert_int_eq(a.kind, ACCESS_CONTIGUOUS);
    a = classify(ir, "ramp(i, 2, 8)");
    ck_assert_int_eq(a.kind, ACCESS_STRIDED);
    ck_assert_int_eq(a.span, 15);
    a = classify(ir, "ramp(i + 9, -1, 8)");
    ck_assert_int_eq(a.kind, ACCESS_STRIDED);
    ck_assert_int_eq(a.stride, -1);
    a = classify(ir, "splat(i * 8, 8) + ramp(0, 1, 8) / splat(4, 8)");
    ck_assert_int_eq(a.kind, ACCESS_PERMUTE);
    ck_assert_int_eq(a.span, 2);
    static const int quarter[8] = {0, 0, 0, 0, 1, 1, 1, 1};
    ck_assert_mem_eq(a.perm, quarter, sizeof quarter);
    a = classify(ir, "ramp(i * 8, 1, 8) / splat(4, 8) * splat(4, 8) + (splat(3, 8) - ramp(i * 8, "
                     "1, 8) % splat(4, 8))");
    ck_assert_int_eq(a.kind, ACCESS_PERMUTE);
    static const int swap[8] = {3, 2, 1, 0, 7, 6, 5, 4};
    ck_assert_mem_eq(a.perm, swap, sizeof swap);
    a = classify(ir, "ramp(i, 1, 8) / splat(5, 8)");
    ck_assert_int_eq(a.kind, ACCESS_GATHER);
    a = classify(ir, "ramp(i, 100, 8)");
    ck_assert_int_eq(a.kind, ACCESS_GATHER);
    ir_free(ir);
}
END_TEST

/* ---- windows --------------------------------------------------------------------------------- */

/* The plan for x[SUBSCRIPT of 8 lanes] in the first store of `for i`, beside the statements in
 * `more`. */
static enum window_fit plan(const char *subscript, const char *more, struct window *w)
{
    struct ir *ir = ir_new();
    char text[1024];
    snprintf(text, sizeof text,
             "nest t\nin     x: f32[4096]\nout    y: f32[64]\nfor i in 0..4\n  "
             "y[ramp(0, 1, 8)] = x[%s]\n%s",
             subscript, more);
    struct stmt *s = nest_loop(lower_parse(ir, text), "i")->u.loop.body;
    while (s->kind == ST_BLOCK) s = s->u.block.p[0];
    struct access_info a;
    struct reach r = {.ir = ir};
    access_classify(ir, s->u.store.value->a[0], &a);
    enum window_fit fit = window_plan(&r, s, s->u.store.value->u.tensor, &a, 8, 8, w);
    reach_fini(&r);
    ir_free(ir);
    return fit;
}

#define PAIRS(base)                                                                               \
    "splat(" base ", 8) + (ramp(0, 1, 8) / splat(2, 8) * splat(4, 8) + ramp(0, 1, 8) % splat(2, " \
    "8))"

START_TEST(windows)
{
    struct window w;
    static const uint8_t vector[8] = {0, 0, 0, 0, 1, 1, 1, 1}, low[8] = {0, 1, 4, 5, 0, 1, 4, 5},
                         high[8] = {2, 3, 6, 7, 2, 3, 6, 7}, late[8] = {0, 1, 4, 5, 2, 3, 6, 7};
    /* alone it spans 14 elements: the second vector ends with the last of them */
    ck_assert_int_eq(plan(PAIRS("i * 16"), "", &w), WINDOW_WHOLE);
    ck_assert_int_eq(w.n, 2);
    ck_assert_int_eq(w.start[0], 0);
    ck_assert_int_eq(w.start[1], 6);
    ck_assert_mem_eq(w.vector, vector, 8);
    ck_assert_mem_eq(w.lane, late, 8);
    /* with its neighbour 16 elements are read: both find theirs in the same two vectors */
    const char *beside = "  y[ramp(8, 1, 8)] = x[" PAIRS("i * 16 + 2") "]\n";
    ck_assert_int_eq(plan(PAIRS("i * 16"), beside, &w), WINDOW_WHOLE);
    ck_assert_int_eq(w.n, 2);
    ck_assert_int_eq(w.start[1], 8);
    ck_assert_mem_eq(w.lane, low, 8);
    beside = "  y[ramp(8, 1, 8)] = x[" PAIRS("i * 16") "]\n";
    ck_assert_int_eq(plan(PAIRS("i * 16 + 2"), beside, &w), WINDOW_WHOLE);
    ck_assert_int_eq(w.start[0], -2);
    ck_assert_int_eq(w.start[1], 6);
    ck_assert_mem_eq(w.vector, vector, 8);
    ck_assert_mem_eq(w.lane, high, 8);
    /* what may not run, or is not the same place in every iteration, adds nothing */
    static const char *const nothing[] = {
        "  if i < 2\n    y[ramp(8, 1, 8)] = x[" PAIRS("i * 16 + 2") "]\n",
        "  for j in 0..i\n    y[ramp(8, 1, 8)] = x[" PAIRS("i * 16 + 2") "]\n",
        "  y[ramp(8, 1, 8)] = (x[" PAIRS("i * 16 + 2") "] if i < 2 else splat(0.0, 8))\n",
        "  y[ramp(8, 1, 8)] = x[" PAIRS("i * 15 + 18") "]\n",
    };
    for (size_t k = 0; k < QN_COUNT(nothing); k++) {
        ck_assert_int_eq(plan(PAIRS("i * 16"), nothing[k], &w), WINDOW_WHOLE);
        ck_assert_msg(w.start[1] == 6, "case %zu: %lld", k, (long long)w.start[1]);
    }
    /* a vector is longer than the span: only where more may be read */
    ck_assert_int_eq(plan("splat(i * 4, 8) + ramp(0, 1, 8) / splat(2, 8)", "", &w), WINDOW_SHORT);
    ck_assert_int_eq(w.span, 4);
    ck_assert_int_eq(plan("splat(i * 4, 8) + ramp(0, 1, 8) / splat(2, 8)",
                          "  y[ramp(8, 1, 8)] = x[ramp(i * 4 - 4, 1, 8)]\n", &w),
                     WINDOW_WHOLE);
    ck_assert_int_eq(w.n, 1);
    ck_assert_int_eq(w.start[0], -4);
    ck_assert_int_eq(plan("splat(8, 8) + ramp(0, 1, 8) / splat(2, 8)", "", &w), WINDOW_WHOLE);
    ck_assert_int_eq(w.start[0], 0);
    /* backwards: base is lane 0, the window begins where it ends */
    ck_assert_int_eq(plan("ramp(i + 70, -3, 8)", "", &w), WINDOW_WHOLE);
    ck_assert_int_eq(w.first, -21);
    ck_assert_int_eq(w.sel[0], 21);
    ck_assert_int_eq(w.n, 3);
    ck_assert_int_eq(w.start[2], -7);
}
END_TEST

START_TEST(strided_and_permuted)
{
    lower_both("nest perm\n"
               "in     x: f32[64]\n"
               "in     s: f32[8]\n"
               "out    a: f32[16]\n"
               "out    b: f32[32]\n"
               "out    c: f32[32]\n"
               "out    d: f32[64]\n"
               "stage a\n"
               "  for i in 0..16 vector\n"
               "    a[i] = x[i * 3 + 2] + x[63 - i]\n"
               "stage b\n"
               "  for j in 0..32 vector\n"
               "    b[j] = x[j / 4 * 4 + (3 - j % 4)] * s[j / 4]\n"
               "stage c\n"
               "  for ko in 0..4\n"
               "    for ki in 0..8 vector\n"
               "      c[ko * 8 + ki] = x[(ko * 8 + ki) % 16 * 2] + x[(ko * 8 + ki) / 5]\n"
               "stage d\n"
               "  for m in 0..64 vector\n"
               "    d[m % 8 * 8 + m / 8] = x[m]\n");
}
END_TEST

START_TEST(layouts)
{
    lower_both("nest nchwc\n"
               "in     x: f32[2, 20] store 0,1/8,1%8\n"
               "out    y: f32[2, 20]\n"
               "out    z: f32[2, 20] store 1/4,0,1%4\n"
               "stage y\n"
               "  for n in 0..2\n"
               "    for co in 0..3 peel\n"
               "      for ci in 0..8 vector\n"
               "        if co * 8 + ci < 20\n"
               "          y[n, co * 8 + ci] = x[n, co * 8 + ci]\n"
               "stage z\n"
               "  for n2 in 0..2\n"
               "    for c2 in 0..20 vector\n"
               "      z[n2, c2] = x[n2, c2] + x[n2, 19 - c2]\n");
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static const struct tensor *temp(const struct nest *n, const char *name)
{
    const struct tensor *t = nest_tensor(n, name);
    ck_assert_ptr_nonnull(t);
    return t;
}

START_TEST(scratch_overlay)
{
    struct lower_case c = plain();
    lower_same("nest chain\n"
               "in     x: f32[100]\n"
               "out    y: f32[100]\n"
               "temp   a: f32[100]\n"
               "temp   b: f32[100]\n"
               "temp   d: f32[100]\n"
               "stage a\n"
               "  for i in 0..100\n"
               "    a[i] = x[i] + 1.0\n"
               "stage b\n"
               "  for i2 in 0..100\n"
               "    b[i2] = a[99 - i2] * 2.0\n"
               "stage d\n"
               "  for i3 in 0..100\n"
               "    d[i3] = b[99 - i3] + 3.0\n"
               "stage y\n"
               "  for i4 in 0..100\n"
               "    y[i4] = d[99 - i4]\n",
               &c);
    ck_assert_int_eq(c.kernel.scratch_a, 2 * 448);
    ck_assert_int_eq(c.kernel.scratch_b, 0);
    const struct nest *n = c.kernel.nest;
    ck_assert_int_eq(temp(n, "a")->scratch_at, temp(n, "d")->scratch_at);
    ck_assert_int_ne(temp(n, "a")->scratch_at, temp(n, "b")->scratch_at);
    lower_case_free(&c);
}
END_TEST

START_TEST(scratch_per_worker)
{
    struct lower_case c = plain();
    lower_same("nest par\n"
               "in     x: f32[6, 16]\n"
               "out    y: f32[6, 16]\n"
               "temp   all: f32[6, 16]\n"
               "stage all\n"
               "  for i0 in 0..6\n"
               "    for j0 in 0..16 vector\n"
               "      all[i0, j0] = x[i0, j0] + 1.0\n"
               "stage y\n"
               "  for i in 0..6 parallel\n"
               "    alloc temp t: f32[16]\n"
               "      stage t\n"
               "        for j in 0..16 vector\n"
               "          t[j] = all[i, j] * 2.0\n"
               "      stage y.out\n"
               "        for j2 in 0..16\n"
               "          y[i, j2] = t[15 - j2]\n",
               &c);
    ck_assert_int_eq(c.kernel.scratch_a, 384);
    ck_assert_int_eq(c.kernel.scratch_b, 64);
    ck_assert(temp(c.kernel.nest, "t")->scratch_per_worker);
    lower_case_free(&c);
}
END_TEST

START_TEST(scratch_bounded)
{
    for (int n = 0; n < 30; n += 7) {
        struct lower_case c = {.target = lower_target(true), .dyn = {n}};
        lower_same("nest block\n"
                   "dyn    N\n"
                   "in     x: f32[N]\n"
                   "out    y: f32[N]\n"
                   "stage y\n"
                   "  for io in 0..(N + 7) / 8\n"
                   "    alloc temp t: f32[min(N, 8)]\n"
                   "      stage t\n"
                   "        for i in 0..min(N, 8)\n"
                   "          if io * 8 + i < N\n"
                   "            t[i] = x[io * 8 + i] + 1.0\n"
                   "      stage y.out\n"
                   "        for i2 in 0..8\n"
                   "          if io * 8 + i2 < N\n"
                   "            y[io * 8 + i2] = t[i2] * 2.0\n",
                   &c);
        ck_assert_int_eq(c.kernel.scratch_a, 64);
        lower_case_free(&c);
    }
}
END_TEST

START_TEST(loop_carried_life)
{
    struct lower_case c = plain();
    lower_same("nest carried\n"
               "in     x: f32[4]\n"
               "out    y: f32[4]\n"
               "temp   a: f32[4]\n"
               "temp   b: f32[4]\n"
               "stage a\n"
               "  for i in 0..4\n"
               "    a[i] = x[i]\n"
               "stage y\n"
               "  for t in 0..4\n"
               "    stage b\n"
               "      for j in 0..4\n"
               "        b[j] = a[j] + 1.0\n"
               "    stage y.out\n"
               "      y[t] = b[t]\n",
               &c);
    const struct nest *n = c.kernel.nest; /* a is read in every turn: b may not sit on it */
    ck_assert_int_ne(temp(n, "a")->scratch_at, temp(n, "b")->scratch_at);
    lower_case_free(&c);
}
END_TEST

START_TEST(pack_phase)
{
    lower_both("nest packed\n"
               "in     x: f32[4, 5]\n"
               "const  w: f32[5, 41]\n"
               "out    y: f32[4, 41]\n"
               "packed wp: f32[3, 5, 16]\n"
               "stage y\n"
               "  for no in 0..3\n"
               "    alloc reg acc: f32[4, 16]\n"
               "      stage acc\n"
               "        for k in 0..5 reduce\n"
               "          for m in 0..4 unroll\n"
               "            for n in 0..16 vector\n"
               "              acc[m, n] += x[m, k] * wp[no, k, n]\n"
               "      stage y.out\n"
               "        for m2 in 0..4 unroll\n"
               "          for n2 in 0..16 vector mask\n"
               "            if no * 16 + n2 < 41\n"
               "              y[m2, no * 16 + n2] = acc[m2, n2]\n"
               "pack\n"
               "  stage wp\n"
               "    for po in 0..3\n"
               "      for pk in 0..5\n"
               "        for pn in 0..16\n"
               "          wp[po, pk, pn] = (w[pk, po * 16 + pn] if po * 16 + pn < 41 else 0.0)\n");
}
END_TEST

/* A local copy that no iteration left reads goes, and its stores with it. */
START_TEST(unread_copy)
{
    struct buf b;
    struct lower_case c = plain();
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "kernel";
    lower_same("nest copy\n"
               "in     x: f32[8]\n"
               "out    y: f32[4]\n"
               "stage y\n"
               "  for io in 0..2 unroll\n"
               "    alloc stack t: f32[4]\n"
               "      stage t\n"
               "        for tj in 0..4\n"
               "          t[tj] = x[io * 4 + tj]\n"
               "      for ii in 0..4\n"
               "        if io * 4 + ii < 4\n"
               "          y[io * 4 + ii] = t[ii]\n",
               &c);
    const char *first = strstr(b.p, "alloc");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(first + 1, "alloc"));
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

START_TEST(nested_parallel)
{
    struct buf b;
    struct lower_case c = plain();
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "kernel";
    lower_same("nest two\n"
               "in     x: f32[4, 4]\n"
               "out    y: f32[4, 4]\n"
               "stage y\n"
               "  for i in 0..4 parallel\n"
               "    for j in 0..4 parallel\n"
               "      y[i, j] = x[i, j]\n",
               &c);
    ck_assert_ptr_nonnull(strstr(b.p, "for i in 0..4 parallel"));
    ck_assert_ptr_nonnull(strstr(b.p, "for j in 0..4\n"));
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void refused(const char *text, const char *code, int64_t max_nodes)
{
    struct ir *ir = ir_new();
    struct nest *n = lower_parse(ir, text);
    struct target t = lower_target(true);
    struct lower_options o = {.max_nodes = max_nodes, .verify_each = true};
    struct kernel k;
    struct err e = {0};
    ck_assert_int_eq(lower(n, &t, &o, &k, &e), RC_FAIL);
    ck_assert_str_eq(e.code, code);
    ck_assert(strlen(e.msg) > 20);
    ir_free(ir);
}

START_TEST(refusals)
{
    refused("nest big\nin     x: f32[4096]\nout    y: f32[4096]\nstage y\n  for i in 0..4096 "
            "unroll\n    y[i] = x[i]\n",
            "lower.too_big", 5000);
    refused("nest r\nin     x: f32[9000]\nout    y: f32[9000]\nstage y\n  alloc reg t: f32[9000]\n "
            "   stage t\n"
            "      for i in 0..9000\n        t[i] = x[i]\n    stage y.out\n      for j in "
            "0..9000\n        y[j] = t[j]\n",
            "lower.reg_tile", 0);
    refused("nest r\nin     x: f32[9000]\nout    y: f32[9000]\nstage y\n  alloc stack t: "
            "f32[9000]\n    stage t\n"
            "      for i in 0..9000\n        t[i] = x[i]\n    stage y.out\n      for j in "
            "0..9000\n        y[j] = t[j]\n",
            "lower.stack", 0);
    refused("nest d\ndyn    N\nin     x: f32[N]\nout    y: f32[N]\ntemp   t: f32[N]\nstage t\n  "
            "for i in 0..N\n"
            "    t[i] = x[i]\nstage y\n  for j in 0..N\n    y[j] = t[N - 1 - j]\n",
            "lower.scratch_dynamic", 0);
}
END_TEST

/* A register tile that cannot be one becomes an array, and still computes the same. */
START_TEST(demoted_tile)
{
    lower_both("nest demote\n"
               "in     x: f32[16]\n"
               "out    y: f32[16]\n"
               "stage y\n"
               "  alloc reg t: f32[16]\n"
               "    stage t\n"
               "      for i in 0..16 vector\n"
               "        t[i] = x[i]\n"
               "    stage y.out\n"
               "      for j in 0..16\n"
               "        y[j] = t[15 - j]\n");
}
END_TEST

/* ---- speed ----------------------------------------------------------------------------------- */

START_TEST(work_is_linear)
{
    static const char *nest = "nest big\nin     x: f32[%d]\nout    y: f32[%d]\nstage y\n  for i in "
                              "0..%d unroll\n    y[i] = x[i] * 2.0\n";
    char text[512];
    int64_t nodes[2];
    for (int i = 0; i < 2; i++) {
        int n = i ? 8000 : 1000;
        snprintf(text, sizeof text, nest, n, n, n);
        struct ir *ir = ir_new();
        struct nest *s = lower_parse(ir, text);
        struct target t = lower_target(true);
        struct kernel k;
        struct err e = {0};
        ck_assert_int_eq(lower(s, &t, NULL, &k, &e), RC_OK);
        nodes[i] = k.nodes;
        ck_assert_int_lt(ir->next_expr, 20 * n);
        ir_free(ir);
    }
    ck_assert_int_lt(nodes[1], 9 * nodes[0]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_mem");
    TCase *t = tcase_create("lower_mem");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, access_classes);
    tcase_add_test(t, windows);
    tcase_add_test(t, strided_and_permuted);
    tcase_add_test(t, layouts);
    tcase_add_test(t, scratch_overlay);
    tcase_add_test(t, scratch_per_worker);
    tcase_add_test(t, scratch_bounded);
    tcase_add_test(t, loop_carried_life);
    tcase_add_test(t, pack_phase);
    tcase_add_test(t, unread_copy);
    tcase_add_test(t, nested_parallel);
    tcase_add_test(t, refusals);
    tcase_add_test(t, demoted_tile);
    tcase_add_test(t, work_is_linear);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
