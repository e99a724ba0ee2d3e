/* lower: quotients that become products, comparisons of lanes: the text that the two passes leave of a
 * small nest. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

/* What a temporary holds, or an output that is read again, is rounded as the division rounds; without
 * fma it stays one. */
START_TEST(golden_quotients_of_temporaries)
{
    static const char *const text =
        "nest mean\nin     x: f32[8, 4]\nin     d: f32[8]\nout    y: f32[8, 4]\n"
        "%s   m: f32[8, 4]\nstage m\n  for i in 0..8\n    for j in 0..4 vector\n"
        "      m[i, j] = x[i, j] / sqrt(d[i])\nstage y\n  for k in 0..8\n"
        "    for l in 0..4\n      y[k, l] = x[k, l] - m[7 - k, 3 - l]\n";
    for (int way = 0; way < 4; way++) {
        int fma = way & 1;
        char nest[600];
        snprintf(nest, sizeof nest, text, way & 2 ? "out " : "temp");
        struct buf b;
        struct lower_case c = {.target = lower_target(true), .tol = 1e-6};
        c.target.fma = fma;
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "quotients";
        lower_same(nest, &c);
        const char *want = "m[ramp(i * 4, 1, 4)] = select(splat(0.0, 4) < abs(x[ramp(i * 4, 1, 4)] "
                           "* splat(1.0 / sqrt(d[i]), 4) + (";
        ck_assert_msg(fma ? strstr(b.p, want) != NULL : b.n == 0, "%s", b.p);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* Lanes are compared as wide as they are: the indices become one scalar. */
START_TEST(golden_compares)
{
    static const char *const nest = "nest compares\n"
                                    "in     x: f32[600]\n"
                                    "in     t: s32[8]\n"
                                    "out    y: f32[8, 64]\n"
                                    "stage y\n"
                                    "  for i in 0..8\n"
                                    "    for j in 0..%d vector\n"
                                    "      y[i, j] = select(%s, x[j], 1.0)\n";
    static const struct {
        int lanes;
        const char *cond, *want;
    } cases[] = {
        {16, "i * 16 + j < 100", "cast(s32, ramp(0, 1, 16)) < splat(cast(s32, 100 - i * 16), 16)"},
        {16, "100 <= i * 16 + j",
         "splat(cast(s32, 100 - i * 16), 16) <= cast(s32, ramp(0, 1, 16))"},
        {16, "cast(s64, t[i]) == i + j",
         "splat(cast_sat(s32, cast(s64, t[i]) - i), 16) == cast(s32, ramp(0, 1, 16))"},
        {16, "2 * j + 3 < j + i", "cast(s32, ramp(0, 1, 16)) < splat(cast(s32, i - 3), 16)"},
        {16, "j * 1000000000 < i", NULL},       /* as wide as it is */
        {16, "x[j] < 1.0", NULL},               /* not indices */
        {16, "cast(s64, t[j % 8]) == j", NULL}, /* lanes that data decide */
    };
    for (size_t i = 0; i < QN_COUNT(cases); i++) {
        char text[1024], want[1024];
        snprintf(text, sizeof text, nest, cases[i].lanes, cases[i].cond);
        struct buf b;
        struct lower_case c = {.target = lower_target(true)};
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "compares";
        lower_same(text, &c);
        snprintf(want, sizeof want, "= select(%s,", cases[i].want ? cases[i].want : "");
        ck_assert_msg(cases[i].want ? strstr(b.p, want) != NULL : b.n == 0, "%s\n%s", want, b.p);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* 64 lanes of bytes are compared as bytes. */
START_TEST(golden_compares_bytes)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(true)};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "compares";
    lower_same("nest bytes\nin     x: s8[200]\nout    y: s8[200]\nstage y\n  for i in 0..4\n"
               "    for j in 0..64 vector mask\n      if i * 64 + j < 200\n"
               "        y[i * 64 + j] = x[i * 64 + j]\n",
               &c);
    ck_assert_msg(strstr(b.p,
                         "if cast(s8, ramp(0, 1, 64)) < splat(cast_sat(s8, 200 - i * 64), 64)"),
                  "%s", b.p);
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

/* What the lanes share, what does not change in the loop, and what divides twice, is inverted; a
 * divisor used once stays one. Nothing is known of d: it is brought near 1 first. */
START_TEST(golden_quotients)
{
    static const char *const nest = "nest quotients\n"
                                    "in     x: f32[8, 4]\n"
                                    "in     d: f32[8]\n"
                                    "out    y: f32[8, 4]\n"
                                    "stage y\n"
                                    "  for i in 0..8\n"
                                    "    for j in 0..4 vector\n"
                                    "      y[i, j] = %s\n";
    static const struct {
        const char *value, *want;
    } cases[] = {
        {"x[i, j] / sqrt(d[i])", "x[ramp(i * 4, 1, 4)] * splat(1.0 / sqrt(d[i]), 4)"},
        {"x[i, j] / (max(d[i], 0.5) / 127.0)",
         "x[ramp(i * 4, 1, 4)] * splat(1.0 / (max(d[i], 0.5) / 127.0), 4)"},
        {"x[i, j] / (max(d[i], -0.5) / 127.0)", /* which may be next to nothing */
         "x[ramp(i * 4, 1, 4)] * splat(select(abs(max(d[i], -0.5) / 127.0) < 5.421011e-20, "
         "1.8446744e+19, "
         "select(1.8446744e+19 < abs(max(d[i], -0.5) / 127.0), 5.421011e-20, 1.0)), 4) * splat(1.0 "
         "/ "
         "(max(d[i], -0.5) / 127.0 * select(abs(max(d[i], -0.5) / 127.0) < 5.421011e-20, "
         "1.8446744e+19, "
         "select(1.8446744e+19 < abs(max(d[i], -0.5) / 127.0), 5.421011e-20, 1.0))), 4)"},
        {"x[i, j] / d[i]",
         "x[ramp(i * 4, 1, 4)] * splat(select(abs(d[i]) < 5.421011e-20, 1.8446744e+19, "
         "select(1.8446744e+19 < abs(d[i]), 5.421011e-20, 1.0)), 4) * splat(1.0 / (d[i] * "
         "select(abs(d[i]) < 5.421011e-20, 1.8446744e+19, select(1.8446744e+19 < abs(d[i]), "
         "5.421011e-20, 1.0))), 4)"},
        {"x[i, j] / 3.0",
         "select(splat(0.0, 4) < abs(x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) + (x[ramp(i * 4, "
         "1, 4)] - "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) * splat(3.0, 4)) * splat(0.33333334, 4)), "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) + (x[ramp(i * 4, 1, 4)] "
         "- "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) * splat(3.0, 4)) * splat(0.33333334, 4), "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4))"},
        {"x[i, j] / sqrt(d[j])", "x[ramp(i * 4, 1, 4)] * (splat(1.0, 4) / sqrt(d[ramp(0, 1, 4)]))"},
        {"(x[i, j] + 1.0) / sqrt(x[i, j]) - (x[i, j] + 2.0) / sqrt(x[i, j])",
         "(x[ramp(i * 4, 1, 4)] + splat(1.0, 4)) * (splat(1.0, 4) / sqrt(x[ramp(i * 4, 1, 4)])) - "
         "(x[ramp(i * 4, 1, 4)] + splat(2.0, 4)) * (splat(1.0, 4) / sqrt(x[ramp(i * 4, 1, 4)]))"},
        {"cast(f32, bitcast(s32, x[i, j] / d[i]))", NULL}, /* cannot be corrected */
        {"x[i, j] / sqrt(x[i, j])", NULL},
        {"2.0 / sqrt(d[i])", NULL},
        {"floor(x[i, j] / d[i])", NULL}, /* cannot be corrected */
    };
    for (size_t i = 0; i < QN_COUNT(cases); i++) {
        char text[1024], want[1024];
        snprintf(text, sizeof text, nest, cases[i].value);
        snprintf(want, sizeof want,
                 "nest quotients\nin     x: f32[32]\nin     d: f32[8]\nout    y: f32[32]\n"
                 "for i in 0..8\n  y[ramp(i * 4, 1, 4)] = %s\n",
                 cases[i].want);
        lower_golden_within("quotients", text, cases[i].want ? want : "", 1e-6);
    }
}
END_TEST

/* Which bytes are known to be the nearest to a sum of products: of positive divisors, none too large. */
START_TEST(golden_quotients_of_bytes)
{
    static const struct {
        const char *value;
        bool sum;
    } rows[] = {
        {"cast_sat_even(s8, x[i, j] / (max(d[i], 1e-20) / 127.0))", true},
        {"cast_even(s8, x[i, j] / sqrt(max(d[i], 1e-20)))", true},
        {"cast_sat_even(u8, x[i, j] / (max(d[i], 1e-20) / 255.0))", true},
        {"cast_sat_even(u8, x[i, j] / (max(d[i], 1e-20) / 127.0))",
         false}, /* 255 * d is too large */
        {"cast_sat_even(s8, x[i, j] / max(d[i], 1e-20))", false},
        {"cast_sat_even(s8, x[i, j] / sqrt(d[i]))", false}, /* may be zero */
        {"cast_sat_even(s8, x[i, j] / neg(sqrt(max(d[i], 1e-20))))", false},
        {"cast_sat_even(s16, x[i, j] / (max(d[i], 1e-20) / 127.0))", false},
        {"cast_sat_away(s8, x[i, j] / (max(d[i], 1e-20) / 127.0))", false},
        {"cast_sat(s8, x[i, j] / (max(d[i], 1e-20) / 127.0))", false},
    };
    for (size_t k = 0; k < QN_COUNT(rows); k++) {
        char nest[600];
        snprintf(nest, sizeof nest,
                 "nest b\nin     x: f32[8, 4]\nin     d: f32[8]\nout    y: s32[8, 4]\nstage y\n"
                 "  for i in 0..8\n    for j in 0..4 vector\n      y[i, j] = cast(s32, %s)\n",
                 rows[k].value);
        struct buf b;
        struct lower_case c = {.target = lower_target(true), .tol = 1e-6};
        c.target.fma = 1;
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "quotients";
        lower_same(nest, &c);
        bool sum = b.n && strstr(b.p, "cast_fits_even") != NULL;
        ck_assert_msg(sum == rows[k].sum, "%s: %s", rows[k].value, b.n ? b.p : "");
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_arith");
    TCase *t = tcase_create("golden");
    tcase_add_test(t, golden_quotients_of_temporaries);
    tcase_add_test(t, golden_compares);
    tcase_add_test(t, golden_compares_bytes);
    tcase_add_test(t, golden_quotients);
    tcase_add_test(t, golden_quotients_of_bytes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
