/* lower: the kernel against the scheduled nest it came from, both run by the interpreter: operators
 * under every tail policy and mark.
 *
 *   test_lower_mem.c    what becomes of their tensors, what is refused
 *   test_lower_math.c   exp and its kin
 *   test_lower_text.c   the text of each pass */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

/* ---- matmul under every tail policy ---------------------------------------------------------- */

static void matmul(const char *nest, const char *no_tail, const char *ni_tail, int masks)
{
    char text[4096];
    snprintf(text, sizeof text, nest, no_tail, ni_tail);
    struct lower_case c = {.target = lower_target(masks)};
    lower_same(text, &c);
    lower_case_free(&c);
}

START_TEST(matmul_tails)
{
    static const char *nest =
        "nest mm\n"
        "in     a: f32[7, 5]\n"
        "in     b: f32[5, 41]\n"
        "out    y: f32[7, 41]\n"
        "stage y\n"
        "  for mo in 0..3 %s\n"
        "    for no in 0..3 peel\n"
        "      alloc reg acc: f32[3, 16]\n"
        "        stage acc\n"
        "          for k in 0..5 reduce\n"
        "            for mi in 0..3 unroll\n"
        "              for ni in 0..16 vector\n"
        "                if mo * 3 + mi < 7 & no * 16 + ni < 41\n"
        "                  acc[mi, ni] += a[mo * 3 + mi, k] * b[k, no * 16 + ni]\n"
        "        stage y.out\n"
        "          for mi2 in 0..3 unroll\n"
        "            for ni2 in 0..16 vector %s\n"
        "              if mo * 3 + mi2 < 7 & no * 16 + ni2 < 41\n"
        "                y[mo * 3 + mi2, no * 16 + ni2] = acc[mi2, ni2]\n";
    static const char *tails[] = {"", "guard", "peel"}, *inner[] = {"", "mask"};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            for (int masks = 0; masks < 2; masks++) matmul(nest, tails[i], inner[j], masks);
}
END_TEST

START_TEST(matmul_masked)
{
    lower_both("nest mm\n"
               "in     a: f32[4, 5]\n"
               "in     b: f32[5, 41]\n"
               "out    y: f32[4, 41]\n"
               "stage y\n"
               "  for no in 0..3\n"
               "    alloc reg acc: f32[4, 16]\n"
               "      stage acc\n"
               "        for k in 0..5 reduce\n"
               "          for mi in 0..4 unroll\n"
               "            for ni in 0..16 vector mask\n"
               "              if no * 16 + ni < 41\n"
               "                acc[mi, ni] += a[mi, k] * b[k, no * 16 + ni]\n"
               "      stage y.out\n"
               "        for mi2 in 0..4 unroll\n"
               "          for ni2 in 0..16 vector mask\n"
               "            if no * 16 + ni2 < 41\n"
               "              y[mi2, no * 16 + ni2] = acc[mi2, ni2]\n");
}
END_TEST

START_TEST(matmul_shift)
{
    lower_both("nest mm\n"
               "in     a: f32[7, 5]\n"
               "in     b: f32[5, 41]\n"
               "out    y: f32[7, 41]\n"
               "stage y\n"
               "  for no in 0..3\n"
               "    for m in 0..7 parallel\n"
               "      alloc reg acc: f32[16]\n"
               "        stage acc\n"
               "          for k in 0..5 reduce\n"
               "            for ni in 0..16 vector\n"
               "              acc[ni] += a[m, k] * b[k, min(no * 16, 25) + ni]\n"
               "        stage y.out\n"
               "          for ni2 in 0..16 vector\n"
               "            y[m, min(no * 16, 25) + ni2] = acc[ni2]\n");
}
END_TEST

/* ---- convolution ----------------------------------------------------------------------------- */

START_TEST(conv_borders)
{
    static const char *nest = "nest conv\n"
                              "in     x: f32[9, 11, 5]\n"
                              "in     w: f32[3, 3, 5, 8]\n"
                              "out    y: f32[9, 11, 8]\n"
                              "stage y\n"
                              "  for p in 0..9 parallel\n"
                              "    for qo in 0..3%s\n"
                              "      alloc reg acc: f32[4, 8]\n"
                              "        stage acc\n"
                              "          for r in 0..3 reduce\n"
                              "            for s in 0..3 reduce\n"
                              "              for c in 0..5 reduce\n"
                              "                for q in 0..4 unroll\n"
                              "                  for k in 0..8 vector\n"
                              "                    if qo * 4 + q < 11\n"
                              "                      acc[q, k] += (x[p + r - 1, qo * 4 + q + s - "
                              "1, c] if 0 <= p + r - 1 & p + r - 1 < 9 & 0 <= qo * 4 + q + s - 1 & "
                              "qo * 4 + q + s - 1 < 11 else 0.0) * w[r, s, c, k]\n"
                              "        stage y.out\n"
                              "          for q2 in 0..4 unroll\n"
                              "            for k2 in 0..8 vector\n"
                              "              if qo * 4 + q2 < 11\n"
                              "                y[p, qo * 4 + q2, k2] = acc[q2, k2]\n";
    char text[4096];
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, nest, i ? " peel" : "");
        lower_both(text);
        struct lower_case c = {.target = lower_target(true)};
        lower_same(text, &c);
        ck_assert_double_eq(c.kernel.flops, 2.0 * 25 * 31 * 5 * 8);
        lower_case_free(&c);
    }
}
END_TEST

START_TEST(conv_vector_columns)
{
    lower_both(
        "nest conv\n"
        "in     x: f32[3, 19]\n"
        "in     w: f32[4, 3, 3]\n"
        "out    y: f32[4, 19]\n"
        "stage y\n"
        "  for qo in 0..3\n"
        "    for k in 0..4\n"
        "      for c in 0..3 reduce\n"
        "        for s in 0..3 reduce\n"
        "          for q in 0..8 vector\n"
        "            if qo * 8 + q < 19\n"
        "              y[k, qo * 8 + q] += (x[c, qo * 8 + q + s - 1] if 0 <= qo * 8 + q + s - 1 & "
        "qo * 8 + q + s - 1 < 19 else 0.0) * w[k, c, s]\n");
}
END_TEST

START_TEST(max_pool)
{
    lower_both(
        "nest pool\n"
        "in     x: f32[9, 9, 8]\n"
        "out    y: f32[5, 5, 8]\n"
        "stage y\n"
        "  for p in 0..5\n"
        "    for q in 0..5\n"
        "      for r in 0..3 unroll reduce\n"
        "        for s in 0..3 reduce\n"
        "          for c in 0..8 vector\n"
        "            y[p, q, c] max= (x[p * 2 + r - 1, q * 2 + s - 1, c] if 0 <= p * 2 + r - 1 & "
        "p * 2 + r - 1 < 9 & 0 <= q * 2 + s - 1 & q * 2 + s - 1 < 9 else f32(-inf))\n");
}
END_TEST

/* ---- choices that leave nothing -------------------------------------------------------------- */

/* A triangle, a band, the other triangle; the row in lanes, the column in lanes, neither; a choice
 * inside a product; a maximum whose default is its identity, and one whose default is not. */
START_TEST(triangles)
{
    static const char *const value[] = {
        "select(j <= i, a[i * 24 + j] * x[j], 0.0)",
        "select(i <= j, a[i * 24 + j] * x[j], 0.0)",
        "select(i - 3 <= j & j <= i + 2, a[i * 24 + j], 0.0) * x[j]",
        "select(j * 2 < i + 5 & j != 4, a[i * 24 + j] * x[j], 0.0)",
        "select(i / 3 <= j / 2, a[i * 24 + j] * x[j], 0.0)",
        "select(x[j] < a[i] & j <= i, a[i * 24 + j] * x[j], 0.0)",
        "select(j <= i, a[i * 24 + j], 1.0) * x[j]",
        "select(j <= i, a[i * 24 + j], 0.0) * x[j] + x[i]",
    };
    static const char *const loops[] = {
        "  for i in 0..24\n    for j in 0..24 reduce\n      y[i] %s= %s\n",
        "  for i in 0..24\n    for jo in 0..6 reduce\n      for ji in 0..4 vector reduce\n        "
        "y[i] "
        "%s= %s\n",
        "  for io in 0..3\n    for j in 0..24 reduce\n      for ii in 0..8 vector\n        y[io * "
        "8 + "
        "ii] %s= %s\n",
        "  for i in 0..24\n    for jo in 0..5 reduce\n      for ji in 0..5 unroll reduce\n        "
        "if jo "
        "* 5 + ji < 24\n          y[i] %s= %s\n",
        "  for io in 0..12\n    for jo in 0..6 reduce\n      for ii in 0..2 unroll\n        for ji "
        "in "
        "0..4 vector reduce\n          y[io * 2 + ii] %s= %s\n",
        "  for io in 0..3 vector\n    for j in 0..24 reduce\n      for ii in 0..8\n        y[io * "
        "8 + "
        "ii] %s= %s\n",
    };
    static const char *const names[][2] = {{"i", "j"},
                                           {"i", "(jo * 4 + ji)"},
                                           {"(io * 8 + ii)", "j"},
                                           {"i", "(jo * 5 + ji)"},
                                           {"(io * 2 + ii)", "(jo * 4 + ji)"},
                                           {"(io * 8 + ii)", "j"}};
    for (size_t k = 0; k < QN_COUNT(value); k++) {
        for (size_t l = 0; l < QN_COUNT(loops); l++) {
            for (int op = 0; op < 3; op++) {
                char term[512], body[1024], text[2048];
                size_t n = 0;
                for (const char *p = value[k]; *p; p++) {
                    bool alone = !(p > value[k] && p[-1] >= 'a' && p[-1] <= 'z') &&
                                 !(p[1] >= 'a' && p[1] <= 'z');
                    const char *name = alone && *p == 'i'   ? names[l][0]
                                       : alone && *p == 'j' ? names[l][1]
                                                            : NULL;
                    n += (size_t)snprintf(term + n, sizeof term - n, name ? "%s" : "%.1s",
                                          name ? name : p);
                }
                char *zero = strstr(term, ", 0.0)");
                if (op && zero) { /* for a maximum: the identity, or a number */
                    char rest[256];
                    snprintf(rest, sizeof rest, "%s", zero + 6);
                    snprintf(zero, sizeof term - (size_t)(zero - term), ", %s)%s",
                             op == 1 && !*rest ? "f32(-inf)" : "0.5", rest);
                }
                snprintf(body, sizeof body, loops[l], op ? "max" : "+", term);
                snprintf(
                    text, sizeof text,
                    "nest tri\nin     a: f32[576]\nin     x: f32[24]\nout    y: f32[24]\nstage "
                    "y\n%s",
                    body);
                lower_both(text);
            }
        }
    }
}
END_TEST

/* ---- reductions over lanes, several targets -------------------------------------------------- */

START_TEST(reduce_lanes)
{
    static const char *nest = "nest red\n"
                              "in     x: f32[3, 21]\n"
                              "out    y: f32[3]\n"
                              "stage y\n"
                              "  for m in 0..3\n"
                              "    for ko in 0..3%s reduce\n"
                              "      for ki in 0..8 vector%s reduce\n"
                              "        if ko * 8 + ki < 21\n"
                              "          y[m] %s= x[m, ko * 8 + ki]\n";
    static const char *ops[] = {"+", "max", "min", "*"};
    char text[2048];
    for (int o = 0; o < 4; o++)
        for (int peel = 0; peel < 3; peel++) {
            snprintf(text, sizeof text, nest, peel == 1 ? " peel" : "", peel == 2 ? " mask" : "",
                     ops[o]);
            lower_both(text);
        }
}
END_TEST

START_TEST(argmax)
{
    lower_both("nest arg\n"
               "in     x: s32[6, 37]\n"
               "out    v: s32[6]\n"
               "out    i: s32[6]\n"
               "stage v\n"
               "  for m in 0..6\n"
               "    for k in 0..37 vector reduce\n"
               "      {v, i}[m] argmax= {x[m, k], cast(s32, k)}\n");
    lower_both("nest arg\n"
               "in     x: s32[5, 24]\n"
               "out    v: s32[24]\n"
               "out    i: s32[24]\n"
               "stage v\n"
               "  for no in 0..3\n"
               "    for k in 0..5 reduce\n"
               "      for n in 0..8 vector\n"
               "        {v, i}[no * 8 + n] argmin= {x[k, no * 8 + n], cast(s32, k)}\n");
}
END_TEST

/* Softmax statistics in one pass: running maximum and rescaled sum, a reduction the user
 * defines. */
START_TEST(user_reduction)
{
    struct lower_case c = {.target = lower_target(true), .tol = 1e-5};
    lower_same("nest online\n"
               "in     x: f32[3, 8, 11]\n"
               "out    m: f32[3, 8]\n"
               "out    s: f32[3, 8]\n"
               "stage m\n"
               "  for i in 0..3\n"
               "    for k in 0..11 unroll reduce\n"
               "      for j in 0..8 vector\n"
               "        {m, s}[i, j] user= {x[i, j, k], 1.0} from {f32(-1e30), 0.0} with {am, as}, "
               "{bm, bs}: "
               "{max(am, bm), as * exp(am - max(am, bm)) + bs * exp(bm - max(am, bm))}\n",
               &c);
    lower_case_free(&c);
}
END_TEST

START_TEST(gather_and_tables)
{
    lower_both("nest gather\n"
               "in     x: f32[40]\n"
               "in     i: u8[24]\n"
               "out    y: f32[24]\n"
               "out    z: f32[24]\n"
               "table  g: f32[4] = {1, -2, 3, 0.5}\n"
               "stage y\n"
               "  for jo in 0..3\n"
               "    for j in 0..8 vector\n"
               "      y[jo * 8 + j] = x[cast(s64, i[jo * 8 + j]) * 5] * g[j % 4]\n"
               "stage z\n"
               "  for k in 0..24 vector\n"
               "    z[k] = (x[k + 20] if k < 20 else 7.0)\n");
}
END_TEST

START_TEST(small_types)
{
    static const char *nest =
        "nest small\n"
        "in     a: %s[5, 24]\n"
        "in     b: %s[24]\n"
        "out    y: s32[5]\n"
        "out    z: %s[5, 24]\n"
        "stage y\n"
        "  for m in 0..5\n"
        "    for ko in 0..3 reduce\n"
        "      for k in 0..8 vector reduce\n"
        "        y[m] += cast(s32, a[m, ko * 8 + k]) * cast(s32, b[ko * 8 + k])\n"
        "stage z\n"
        "  for m2 in 0..5\n"
        "    for k2 in 0..24 vector\n"
        "      z[m2, k2] = select(a[m2, k2] < b[k2], a[m2, k2], max(b[k2], a[m2, 23 - k2]))\n";
    static const char *types[] = {"f32", "f64", "f16", "bf16", "s64", "s32", "s16",
                                  "s8",  "u64", "u32", "u16",  "u8",  "s4",  "u4"};
    for (size_t i = 0; i < QN_COUNT(types); i++) {
        char text[2048];
        snprintf(text, sizeof text, nest, types[i], types[i], types[i]);
        lower_both(text);
    }
}
END_TEST

START_TEST(private_lanes)
{
    lower_both("nest own\n"
               "in     x: f32[4, 24]\n"
               "out    y: f32[24]\n"
               "stage y\n"
               "  for no in 0..3\n"
               "    for n in 0..8 vector\n"
               "      alloc stack t: f32[4]\n"
               "        stage t\n"
               "          for j in 0..4\n"
               "            t[j] = x[j, no * 8 + n] * 2.0\n"
               "        stage y.out\n"
               "          for j2 in 0..4 reduce\n"
               "            y[no * 8 + n] += t[j2]\n");
}
END_TEST

/* ---- extents of every kind ------------------------------------------------------------------- */

START_TEST(odd_vectors)
{
    char text[1024];
    for (int n = 1; n < 150; n = n < 20 ? n + 1 : n + 23) {
        snprintf(text, sizeof text,
                 "nest odd\nin     x: f32[%d]\nout    y: f32[%d]\nstage y\n  for i in 0..%d "
                 "vector\n    y[i] = x[i] * 2.0\n",
                 n, n, n);
        lower_both(text);
    }
}
END_TEST

START_TEST(dynamic)
{
    static const char *text = "nest dyn\n"
                              "dyn    N\n"
                              "in     x: f32[N, 3]\n"
                              "out    y: f32[N]\n"
                              "stage y\n"
                              "  for io in 0..(N + 7) / 8 parallel%s\n"
                              "    for ii in 0..8 vector\n"
                              "      for k in 0..3 reduce\n"
                              "        if io * 8 + ii < N\n"
                              "          y[io * 8 + ii] += x[io * 8 + ii, k]\n";
    char nest[1024];
    for (int peel = 0; peel < 2; peel++)
        for (int n = 0; n < 20; n++)
            for (int masks = 0; masks < 2; masks++) {
                snprintf(nest, sizeof nest, text, peel ? " peel" : "");
                struct lower_case c = {.target = lower_target(masks), .dyn = {n}};
                lower_same(nest, &c);
                lower_case_free(&c);
            }
}
END_TEST

/* Without masks a guard on lanes is cut off at the loop around: full vectors, then 8 + 1 of the
 * 9 left. */
START_TEST(no_masks)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(false)};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "kernel";
    lower_same("nest tail\n"
               "in     x: f32[41]\n"
               "out    y: f32[41]\n"
               "stage y\n"
               "  for io in 0..3 parallel\n"
               "    for ii in 0..16 vector mask\n"
               "      if io * 16 + ii < 41\n"
               "        y[io * 16 + ii] = x[io * 16 + ii] + 1.0\n",
               &c);
    ck_assert_str_eq(b.p, "nest tail\n"
                          "in     x: f32[41]\n"
                          "out    y: f32[41]\n"
                          "for io in 0..2 parallel\n"
                          "  y[ramp(io * 16, 1, 16)] = x[ramp(io * 16, 1, 16)] + splat(1.0, 16)\n"
                          "y[ramp(32, 1, 8)] = x[ramp(32, 1, 8)] + splat(1.0, 8)\n"
                          "y[40] = x[40] + 1.0\n");
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

/* ---- the reference --------------------------------------------------------------------------- */

START_TEST(naive)
{
    static const char *text = "nest mm\n"
                              "in     a: f32[7, 3]\n"
                              "in     b: f32[3, 5]\n"
                              "out    y: f32[7, 5]\n"
                              "temp   s: f32[7, 5]\n"
                              "stage s\n"
                              "  for m in 0..7\n"
                              "    for n in 0..5\n"
                              "      for k in 0..3 reduce\n"
                              "        s[m, n] += a[m, k] * b[k, n]\n"
                              "stage y\n"
                              "  for m2 in 0..7\n"
                              "    for n2 in 0..5\n"
                              "      y[m2, n2] = exp(s[m2, n2])\n";
    struct ir *ir = ir_new();
    struct nest *n = lower_parse(ir, text), *k = nest_clone(ir, n);
    struct target t = lower_target(true);
    struct kernel out;
    struct err e = {0};
    ck_assert_msg(lower_naive(k, &t, NULL, &out, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(nest_verify(k, NEST_KERNEL, &e) == RC_OK, "%s", e.msg);
    ck_assert_int_eq(out.scratch_a, 192);
    void **bufs = lower_buffers(k, NULL, 1, NULL);
    ck_assert_int_eq(nest_interp(k, 0, bufs, NULL, 1 << 20, &e), RC_OK);
    const float *a = bufs[0], *b = bufs[1], *y = bufs[2];
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 5; j++) {
            float s = 0;
            for (int q = 0; q < 3; q++) s += a[i * 3 + q] * b[q * 5 + j];
            ck_assert_float_eq(y[i * 5 + j],
                               (float)exp((double)s)); /* f64 inside: correctly rounded here */
        }
    lower_buffers_free(k, bufs);
    ir_free(ir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower");
    TCase *t = tcase_create("lower");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, matmul_tails);
    tcase_add_test(t, matmul_masked);
    tcase_add_test(t, matmul_shift);
    tcase_add_test(t, conv_borders);
    tcase_add_test(t, conv_vector_columns);
    tcase_add_test(t, max_pool);
    tcase_add_test(t, triangles);
    tcase_add_test(t, reduce_lanes);
    tcase_add_test(t, argmax);
    tcase_add_test(t, user_reduction);
    tcase_add_test(t, gather_and_tables);
    tcase_add_test(t, small_types);
    tcase_add_test(t, private_lanes);
    tcase_add_test(t, odd_vectors);
    tcase_add_test(t, dynamic);
    tcase_add_test(t, no_masks);
    tcase_add_test(t, naive);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
