/* codegen: which instructions accesses to memory become - masked windows, stores past the caches, prefetches -
 * and that their results stay those of the interpreter. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "lib/codegen_run.h"

/* Lanes apart under a mask come out of whole vectors loaded under masks, of at most four; what no lane that runs
 * wants is not touched: operands end at a page that cannot be. */
START_TEST(masked_windows_without_gathers)
{
    static const struct {
        const char *at, *when;
        bool whole; /* else gathered */
    } rows[] = {
        {"ramp(i * 64 - 1, 2, 16)", "splat(0, 16) <= ramp(i * 64 - 1, 2, 16)", true},
        {"ramp(i * 61 + 3, 3, 16)", "ramp(i * 61 + 3, 3, 16) < splat(256, 16)", true},
        {"ramp(i * 66, 4, 16)", "ramp(i * 66, 4, 16) < splat(256, 16)", true},
        {"ramp(i * 64 + 30, -2, 16)", "ramp(i * 64, 1, 16) < splat(n[i] + i * 64, 16)", true},
        {"ramp(i * 60, 5, 16)", "ramp(i * 60, 5, 16) < splat(256, 16)", false},
    };
    for (size_t i = 0; i < QN_COUNT(rows) && cgrun_host_is_v4(); i++) {
        struct buf b, s;
        struct cgrun r;
        buf_init(&b, 1 << 16);
        buf_init(&s, 1 << 20);
        buf_printf(
            &b,
            "nest t\nin     x: f32[256]\nin     n: s64[4]\nout    y: f32[64]\nfor i in 0..4\n"
            "  y[ramp(i * 16, 1, 16)] = (x[%s] if %s else splat(7.0, 16))\n",
            rows[i].at, rows[i].when);
        struct codegen_options o = {.s = &s};
        cgrun_open(&r, b.p);
        ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
        for (int fill = 0; fill < 8; fill++) {
            cgrun_fill(&r, CGRUN_SMALL, (uint64_t)fill);
            for (int k = 0; k < 4; k++) ((int64_t *)r.buf[1])[k] = (fill * 5 + k * 3) % 18;
            memcpy(r.want[1], r.buf[1], r.bytes[1]);
            ck_assert_msg(cgrun_check(&r, NULL) == 0, "%s", b.p);
        }
        ck_assert_msg((cgrun_count(s.p, "vgather") == 0) == rows[i].whole, "%s%s", b.p, s.p);
        cgrun_close(&r);
        buf_fini(&b);
        buf_fini(&s);
    }
}
END_TEST

/* Whole vectors on the grid of an aligned result go past the caches, fenced before the function that
 * stored them returns; the odd element, the vector off the grid, the local array do not. A result
 * that is not aligned is stored by the other body. */
START_TEST(stores_past_the_caches)
{
    static const struct {
        const char *text;
        int streamed, fences;
    } rows[] = {
        {"nest t\nin     x: f32[64]\nout    y: f32[64]\nfor i in 0..4\n  y[ramp(i * 16, 1, 16)] = "
         "x[ramp(i * 16, 1, 16)] * splat(2.0, 16)\n",
         1, 1},
        {"nest t\nin     x: f32[65]\nout    y: f32[65]\nfor i in 0..4\n  y[ramp(i * 16, 1, 16)] = "
         "x[ramp(i * 16, 1, 16)] * splat(2.0, 16)\ny[64] = x[64]\n",
         1, 1},
        {"nest t\nin     x: f32[64]\nout    y: f32[64]\nfor i in 0..4 parallel\n  y[ramp(i * 16, "
         "1, "
         "16)] = x[ramp(i * 16, 1, 16)] * splat(2.0, 16)\n",
         1, 1},
        {"nest t\nin     x: f32[64]\nout    y: f32[64]\ny[0] = x[0]\nfor i in 0..3\n  y[ramp(i * "
         "16 "
         "+ 1, 1, 16)] = x[ramp(i * 16 + 1, 1, 16)]\nfor k in 49..64\n  y[k] = x[k]\n",
         0, 0},
    };
    if (!cgrun_host_is_v4()) return;
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        struct buf s;
        struct cgrun r;
        buf_init(&s, 1 << 20);
        struct codegen_options o = {.stream = true, .s = &s};
        cgrun_open(&r, rows[i].text);
        ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
        ck_assert_msg(cgrun_count(s.p, "vmovntps") == rows[i].streamed &&
                          cgrun_count(s.p, "sfence") == rows[i].fences,
                      "row %zu\n%.800s", i, s.p);
        cgrun_fill(&r, CGRUN_SMALL, 3);
        ck_assert_int_eq(cgrun_check(&r, NULL), 0);
        cgrun_close(&r);
        buf_fini(&s);
    }
}
END_TEST

struct asking {
    const char *text;
    int prefetches;
};

/* So many of one kind and none of the other, and the right results. The operands end at a page that cannot be
 * touched. */
static void check_prefetches(const struct asking *rows, size_t n,
                             const struct codegen_options *choice, const char *kind,
                             const char *other)
{
    for (size_t i = 0; i < n && cgrun_host_is_v4(); i++) {
        struct buf s;
        struct cgrun r;
        struct codegen_options o = *choice;
        buf_init(&s, 1 << 20);
        o.list = i % 2;
        o.s = &s;
        cgrun_open(&r, rows[i].text);
        ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
        ck_assert_msg(cgrun_count(s.p, kind) == rows[i].prefetches, "row %zu\n%.1500s", i, s.p);
        ck_assert_int_eq(cgrun_count(s.p, other), 0);
        cgrun_fill(&r, CGRUN_SMALL, 3);
        ck_assert_int_eq(cgrun_check(&r, NULL), 0);
        cgrun_close(&r);
        buf_fini(&s);
    }
}

/* As prefetch_a_page_ahead, for the next turn of the loop around the innermost that does not reduce. */
START_TEST(prefetch_the_next_turn)
{
    static const struct asking rows[] = {
        /* two lines for the next i */
        {"nest t\nin     x: f32[256]\nout    y: f32[128]\nfor i in 0..4\n  for k in 0..2\n"
         "    y[ramp(i * 32 + k * 16, 1, 16)] = x[ramp(i * 64 + k * 32, 1, 16)] + x[ramp(i * 64 + "
         "k * 32 + "
         "16, 1, 16)]\n",
         2},
        /* no loop around; x does not move with i */
        {"nest t\nin     x: f32[64]\nout    y: f32[64]\nfor i in 0..4\n  y[ramp(i * 16, 1, 16)] = "
         "x[ramp(i "
         "* 16, 1, 16)]\n",
         0},
        {"nest t\nin     x: f32[32]\nout    y: f32[128]\nfor i in 0..4\n  for k in 0..2\n"
         "    y[ramp(i * 32 + k * 16, 1, 16)] = x[ramp(k * 16, 1, 16)]\n",
         0},
        /* an index of the next turn is not read: behind the last one is nothing */
        {"nest t\nin     ids: s32[1024]\nin     x: f32[512]\nout    y: f32[32768]\nfor i in "
         "0..1024\n"
         "  for k in 0..2\n    y[ramp(i * 32 + k * 16, 1, 16)] = x[ramp(max(min(cast(s64, ids[i]), "
         "15), 0) * 32 "
         "+ k * 16, 1, 16)]\n",
         0},
        /* nor divided by 4 - 4 */
        {"nest t\nin     x: f32[512]\nout    y: f32[128]\nfor i in 0..4\n  for k in 0..2\n"
         "    y[ramp(i * 32 + k * 16, 1, 16)] = x[ramp(12 / (4 - i) * 32 + k * 16, 1, 16)]\n",
         0},
        /* r reduces: k is the innermost, i turns */
        {"nest t\nin     x: f32[512]\nout    y: f32[128]\nfor i in 0..4\n  for k in 0..2\n"
         "    y[ramp(i * 32 + k * 16, 1, 16)] = splat(0.0, 16)\n    for r in 0..4 reduce\n"
         "      y[ramp(i * 32 + k * 16, 1, 16)] = y[ramp(i * 32 + k * 16, 1, 16)] + x[ramp(i * 128 "
         "+ r * 32 + "
         "k * 16, 1, 16)]\n",
         1},
    };
    const struct codegen_options turn = {.prefetch_turn = true};
    check_prefetches(rows, QN_COUNT(rows), &turn, "prefetcht1", "prefetcht0");
}
END_TEST

/* Each line of what an iteration reads of an operand once, whichever loads read it; nothing outside
 * loops, of what the loop does not move, of local arrays and results. The operands end at a page that
 * cannot be touched: asking for what lies behind it does no harm. */
START_TEST(prefetch_a_page_ahead)
{
    static const struct asking rows[] = {
        {"nest t\nin     x: f32[256]\nout    y: f32[128]\nfor i in 0..4\n  y[ramp(i * 32, 1, 16)] "
         "= "
         "x[ramp(i * 64, 2, 16)] + x[ramp(i * 64 + 1, 2, 16)]\n  y[ramp(i * 32 + 16, 1, 16)] = "
         "x[ramp(i "
         "* 64 + 32, 1, 16)] + x[ramp(i * 64 + 48, 1, 16)]\n",
         4},
        /* far apart: not what lies between */
        {"nest t\nin     x: f32[8192]\nout    y: f32[64]\nfor i in 0..4\n  y[ramp(i * 16, 1, 16)] "
         "= "
         "x[ramp(i * 16, 1, 16)] + x[ramp(i * 16 + 8000, 1, 16)]\n",
         2},
        {"nest t\nin     x: f32[64]\nin     w: f32[16]\nout    y: f32[64]\nfor i in 0..4\n  "
         "y[ramp(i "
         "* 16, 1, 16)] = x[ramp(i * 16, 1, 16)] * w[ramp(0, 1, 16)]\n",
         1},
        {"nest t\nin     x: f32[16]\nout    y: f32[16]\ny[ramp(0, 1, 16)] = x[ramp(0, 1, 16)]\n",
         0},
        {"nest t\nin     x: f32[64]\nout    y: f32[64]\nout    z: f32[64]\nfor i in 0..4\n  "
         "y[ramp(i "
         "* 16, 1, 16)] = x[ramp(0, 1, 16)]\nfor k in 0..4\n  z[ramp(k * 16, 1, 16)] = y[ramp(k * "
         "16, "
         "1, 16)]\n",
         0},
    };
    const struct codegen_options page = {.prefetch = true};
    check_prefetches(rows, QN_COUNT(rows), &page, "prefetcht0", "prefetcht1");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("codegen_mem");
    TCase *t = tcase_create("memory");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, masked_windows_without_gathers);
    tcase_add_test(t, stores_past_the_caches);
    tcase_add_test(t, prefetch_a_page_ahead);
    tcase_add_test(t, prefetch_the_next_turn);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
