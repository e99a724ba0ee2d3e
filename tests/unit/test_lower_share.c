/* lower: what overlapping windows have in common is added up once (share.c). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

/* `n` windows of `wide` at every `step`, in registers, over `rows` rows: y[w] OP= VALUE. */
static void windows(char *text, size_t size, const char *type, int n, int wide, int step, int rows,
                    const char *update)
{
    snprintf(text, size,
             "nest w\nin     x: %s[%d, %d, 16]\nout    y: %s[%d, 16]\nalloc reg t: %s[%d, 16]\n"
             "  stage t\n    for i in 0..%d reduce\n      for k in 0..%d unroll reduce\n"
             "        for w in 0..%d unroll\n          for l in 0..16 vector\n"
             "            t[w, l] %s\n"
             "  stage y\n    for v in 0..%d unroll\n      for m in 0..16 vector\n"
             "        y[v, m] = t[v, m]\n",
             type, rows, (n - 1) * step + wide, type, n, type, n, rows, wide, n, update, n);
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word)) n++;
    return n;
}

START_TEST(golden_share)
{
    char text[1000];
    windows(text, sizeof text, "f32", 2, 3, 2, 9, "max= x[i, w * 2 + k, l]");
    lower_golden("share", text,
                 "nest w\nin     x: f32[720]\nout    y: f32[32]\n"
                 "alloc reg t: f32x16[2]\n"
                 "  t[0] = splat(f32(-inf), 16)\n"
                 "  t[1] = splat(f32(-inf), 16)\n"
                 "  alloc reg t.share0: f32x16[1]\n"
                 "    t.share0[0] = splat(f32(-inf), 16)\n"
                 "    for i in 0..9 reduce\n"
                 "      t[0] = max(t[0], x[ramp(i * 80, 1, 16)])\n"
                 "      t.share0[0] = max(t.share0[0], x[ramp(i * 80 + 32, 1, 16)])\n"
                 "      t[0] = max(t[0], x[ramp(i * 80 + 16, 1, 16)])\n"
                 "      t[1] = max(t[1], x[ramp(i * 80 + 48, 1, 16)])\n"
                 "      t[1] = max(t[1], x[ramp(i * 80 + 64, 1, 16)])\n"
                 "    t[0] = max(t[0], t.share0[0])\n"
                 "    t[1] = max(t[1], t.share0[0])\n"
                 "  y[ramp(0, 1, 16)] = t[0]\n"
                 "  y[ramp(16, 1, 16)] = t[1]\n");
}
END_TEST

/* Every operation and type that is shared, and what is not: terms of one result, too few rows, sums of reals in
 * their own order, results that read each other. */
START_TEST(which_windows_share)
{
    static const struct {
        const char *type, *update;
        int n, wide, step, rows;
        bool reproducible;
        int sets; /* partial results */
    } rows[] = {
        {"f32", "max= x[i, w + k, l]", 4, 3, 1, 9, false, 4},
        {"f32", "min= x[i, w + k, l]", 4, 3, 1, 9, false, 4},
        {"f32", "+= x[i, w + k, l] * 2.0", 4, 3, 1, 9, false, 4},
        {"f32", "+= x[i, w + k, l]", 4, 3, 1, 9, true, 0},
        {"f32", "max= x[i, w + k, l]", 4, 3, 1, 9, true, 4},
        {"s32", "max= x[i, w * 2 + k, l]", 5, 3, 2, 9, false, 4},
        {"s32", "min= x[i, w * 2 + k, l]", 5, 3, 2, 9, true, 4},
        {"s32", "+= x[i, w + k, l]", 3, 3, 1, 4, true, 3},
        {"s64", "min= x[i, w + k, l]", 3, 3, 1, 4, false, 3},
        {"f32", "max= x[i, w * 3 + k, l]", 3, 3, 3, 9, false, 0}, /* nothing in common */
        {"f32", "max= x[i, w * 2 + k, l]", 3, 3, 2, 1, false, 0}, /* would need more */
        {"f32", "max= x[i, k, l]", 3, 3, 1, 2, false, 1},         /* all terms in common */
        {"f32", "max= x[i, 0, l]", 3, 3, 1, 9, false, 1},         /* each three times */
    };
    for (size_t k = 0; k < QN_COUNT(rows); k++) {
        char text[1000], update[100];
        snprintf(update, sizeof update, "%s", rows[k].update);
        windows(text, sizeof text, rows[k].type, rows[k].n, rows[k].wide, rows[k].step,
                rows[k].rows, update);
        struct buf b;
        struct lower_case c = {.target = lower_target(true), .dump = &b, .dump_pass = "share"};
        c.reproducible = rows[k].reproducible;
        buf_init(&b, 1 << 20);
        lower_same(text, &c);
        const char *at = b.n ? strstr(b.p, ".share") : NULL;
        int sets = 0;
        if (at) sscanf(strchr(at, '['), "[%d]", &sets);
        ck_assert_msg(sets == rows[k].sets, "row %zu: %d partial results\n%s", k, sets,
                      b.n ? b.p : text);
        ck_assert_int_eq(count(b.n ? b.p : "", "alloc reg t.share"), rows[k].sets > 0);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* One tile, two operations: nothing is shared. */
START_TEST(operations_differ)
{
    lower_golden("share",
                 "nest w\nin     x: f32[9, 16]\nout    y: f32[2, 16]\nalloc reg t: f32[2, 16]\n"
                 "  for a in 0..2 unroll\n    for b in 0..16 vector\n      t[a, b] = 0.0\n"
                 "  for i in 0..9 reduce\n    for l in 0..16 vector\n"
                 "      t[0, l] = t[0, l] + x[i, l]\n"
                 "    for k in 0..16 vector\n"
                 "      t[1, k] = max(t[1, k], x[i, k])\n"
                 "  for v in 0..2 unroll\n    for m in 0..16 vector\n"
                 "      y[v, m] = t[v, m]\n",
                 "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_share");
    TCase *t = tcase_create("share");
    tcase_add_test(t, golden_share);
    tcase_add_test(t, which_windows_share);
    tcase_add_test(t, operations_differ);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
