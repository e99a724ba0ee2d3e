/* lower: what a recurrence stored in the turn before stays in a register (carry): the text it leaves, what it
 * leaves alone, and that results are the same. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

START_TEST(golden_row)
{
    lower_golden("carry",
                 "nest sum\ndyn    T\nin     x: f32[T]\nout    y: f32[T]\nstage y\n"
                 "  for t in 0..T ordered\n"
                 "    y[t] = (y[t - 1] if 1 <= t else 0.0) + x[t]\n",
                 "nest sum\ndyn    T\nin     x: f32[T]\nout    y: f32[T]\n"
                 "alloc reg y.carry0: f32[1]\n"
                 "  if 0 < T\n"
                 "    y.carry0[0] = 0.0\n"
                 "    for t in 0..T ordered\n"
                 "      let y.carry1 = y.carry0[0]\n"
                 "        let y.carry2 = y.carry1 + x[t]\n"
                 "          y[t] = y.carry2\n"
                 "          y.carry0[0] = y.carry2\n");
}
END_TEST

/* Vectors across the row, two rows side by side, and a start that is read from memory. */
START_TEST(golden_lanes_and_rows)
{
    lower_golden("carry",
                 "nest sum\nin     x: f32[9, 8]\nout    y: f32[9, 8]\nstage y\n"
                 "  for t in 0..9 ordered\n    for c in 0..8 vector\n"
                 "      y[t, c] = (y[t - 1, c] if 1 <= t else 0.5) + x[t, c]\n",
                 "nest sum\nin     x: f32[72]\nout    y: f32[72]\n"
                 "alloc reg y.carry0: f32x8[1]\n"
                 "  y.carry0[0] = splat(0.5, 8)\n"
                 "  for t in 0..9 ordered\n"
                 "    let y.carry1 = y.carry0[0]\n"
                 "      let y.carry2 = y.carry1 + x[ramp(t * 8, 1, 8)]\n"
                 "        y[ramp(t * 8, 1, 8)] = y.carry2\n"
                 "        y.carry0[0] = y.carry2\n");
    lower_golden("carry",
                 "nest sum\nin     x: f32[2, 9]\nout    y: f32[2, 9]\nstage y\n"
                 "  for t in 0..9 ordered\n    for m in 0..2 unroll\n"
                 "      y[m, t] = (y[m, t - 1] if 1 <= t else 0.0) + x[m, t]\n",
                 "nest sum\nin     x: f32[18]\nout    y: f32[18]\n"
                 "alloc reg y.carry0: f32[1]\n"
                 "  alloc reg y.carry2: f32[1]\n"
                 "    y.carry0[0] = 0.0\n"
                 "    y.carry2[0] = 0.0\n"
                 "    for t in 0..9 ordered\n"
                 "      let y.carry1 = y.carry0[0]\n"
                 "        let y.carry3 = y.carry2[0]\n"
                 "          let y.carry4 = y.carry1 + x[t]\n"
                 "            y[t] = y.carry4\n"
                 "            y.carry0[0] = y.carry4\n"
                 "          let y.carry5 = y.carry3 + x[t + 9]\n"
                 "            y[t + 9] = y.carry5\n"
                 "            y.carry2[0] = y.carry5\n");
    lower_golden("carry",
                 "nest sum\nin     x: f32[9]\nout    y: f32[9]\nstage y\n"
                 "  y[0] = 7.0\n  for t in 1..9 ordered\n    y[t] = y[t - 1] + x[t]\n",
                 "nest sum\nin     x: f32[9]\nout    y: f32[9]\ny[0] = 7.0\n"
                 "alloc reg y.carry0: f32[1]\n"
                 "  y.carry0[0] = y[0]\n"
                 "  for t in 1..9 ordered\n"
                 "    let y.carry1 = y.carry0[0]\n"
                 "      let y.carry2 = y.carry1 + x[t]\n"
                 "        y[t] = y.carry2\n"
                 "        y.carry0[0] = y.carry2\n");
}
END_TEST

/* The value of the turn before is read again after this turn's is stored: by another store, by another element. */
START_TEST(read_after_the_store)
{
    static const char *const body[] = {
        "    y[t] = (y[t - 1] if 1 <= t else 0.0) + x[t]\n"
        "    z[t] = (y[t - 1] if 1 <= t else 0.0) * 2.0\n",
        "    y[t] = (y[t - 1] if 1 <= t else 0.0) + x[t]\n"
        "    if x[t] < 1.0\n      z[t] = (y[t - 1] if 1 <= t else 0.0) + y[t]\n",
    };
    for (size_t i = 0; i < QN_COUNT(body); i++) {
        char text[512];
        struct buf b;
        struct lower_case c = {.target = lower_target(true), .dump = &b, .dump_pass = "carry"};
        snprintf(text, sizeof text,
                 "nest sum\nin     x: f32[9]\nout    y: f32[9]\nout    z: f32[9]\nstage y\n"
                 "  for i in 0..9\n    z[i] = 0.0\n  for t in 0..9 ordered\n%s",
                 body[i]);
        buf_init(&b, 1 << 16);
        lower_same(text, &c);
        ck_assert_msg(strstr(b.p, "alloc reg") != NULL, "%s", b.p);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* Two turns back, a store that a condition may skip, a place that a later store of the turn writes again, a condition
 * that does not hold from the second turn on, lanes that overlap; what is read first is made in the turn, or is not read
 * in the first. */
START_TEST(left_alone)
{
    static const char *const body[] = {
        "    y[t] = (y[t - 2] if 2 <= t else 0.0) + x[t]\n",
        "    if x[t] < 1.0\n      y[t] = (y[t - 1] if 1 <= t else 0.0) + x[t]\n",
        "    y[t] = (y[t - 1] if 1 <= t else 0.0) + x[t]\n    y[t] = x[t]\n",
        "    y[t] = (y[t - 1] if 3 <= t else 0.0) + x[t]\n",
        "    z[t] = x[t] * 2.0\n    y[t] = (y[t - 1] if 1 <= t else z[t]) + x[t]\n",
        "    let a = x[t] * 2.0\n      y[t] = (y[t - 1] if 1 <= t else a) + x[t]\n",
        "    z[t] = (y[t - 1] if 1 <= t else 0.0)\n    if x[t] < 1.0\n      y[t] = x[t]\n",
        "    if 1 <= t\n      z[t] = y[t - 1]\n    if t < 1\n      z[t] = 0.0\n    y[t] = x[t]\n",
    };
    for (size_t i = 0; i < QN_COUNT(body); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "nest sum\nin     x: f32[9]\nout    y: f32[9]\nout    z: f32[9]\nstage y\n"
                 "  for i in 0..9\n    z[i] = 0.0\n    y[i] = 1.0\n  for t in 0..9 ordered\n%s",
                 body[i]);
        lower_golden("carry", text, "");
    }
    lower_golden("carry",
                 "nest over\nin     x: f32[9, 8]\nout    y: f32[80]\nstage y\n"
                 "  for t in 0..9 ordered\n    for c in 0..8 vector\n"
                 "      y[t * 4 + c] = (y[t * 4 + c - 4] if 1 <= t else 0.0) + x[t, c]\n"
                 "    for d in 0..8 vector\n      y[t * 4 + d + 2] = x[t, d]\n",
                 "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_carry");
    TCase *t = tcase_create("carry");
    tcase_add_test(t, golden_row);
    tcase_add_test(t, golden_lanes_and_rows);
    tcase_add_test(t, read_after_the_store);
    tcase_add_test(t, left_alone);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
