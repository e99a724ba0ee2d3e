/* Convolutions of every awkward shape, schedules drawn uniformly from their spaces: tier 2 for all
 * of them.
 *
 * C, K, H, W from 1..130, R and S in {1,2,3,5,7}, stride 1-3, pads 0-3 a side, dilation 1-2,
 * groups, both layouts, epilogues. Half of the spaces are hand-written, the others derived.
 * QUERN_PROP_CASES tasks, QUERN_PROP_SEED the first seed; QUERN_LONG=1: 500 tasks and no time
 * limit. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/e2e.h"
#include "lib/e2e_shapes.h"

static int64_t env_int(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    return s && *s ? strtoll(s, NULL, 10) : fallback;
}

/* What this suite found, made small. */
static const struct {
    const char *token, *trace;
    int threads;
} found[] = {
    /* A condition hoisted out of a loop used a minimum computed inside it. */
    {"conv2d:N=1,H=2,W=3,C=1,K=1,R=2,S=1,pad_l=2,pad_r=2",
     "algorithm direct\nsplit y.q 6 shift y.qo y.qi\ncompute_at acc y.qo reg\n"
     "reorder acc.r acc.s acc.c acc.n acc.p acc.q acc.k\nunroll acc.q\nunroll y.qi\n",
     1},
};

START_TEST(found_before)
{
    char why[512];
    struct e2e *x = e2e_open();
    enum verdict v = e2e_check(x, found[_i].token, found[_i].trace, found[_i].threads, why);
    ck_assert_msg(v == VERDICT_OK, "%s\n%s%s", found[_i].token, found[_i].trace, why);
    e2e_close(x);
}
END_TEST

static struct e2e_work *padded(struct e2e *x, int64_t left, int64_t right)
{
    struct e2e_shape s = {.op = "conv2d"};
    e2e_put(&s, "H", 9, 1);
    e2e_put(&s, "W", 11, 1);
    e2e_put(&s, "C", 5, 1);
    e2e_put(&s, "K", 7, 1);
    e2e_put(&s, "R", 1, 1);
    e2e_put(&s, "S", 3, 1);
    e2e_put(&s, "pad_l", left, 0);
    e2e_put(&s, "pad_r", right, 0);
    struct e2e_work *w = e2e_work_new(x, &s, 1, 1);
    e2e_submit(x, w);
    e2e_collect(x, w);
    return w;
}

/* A kernel of the same shapes that pads on the other side must not pass. */
START_TEST(planted_error_is_found)
{
    struct e2e *x = e2e_open();
    struct e2e_work *a = padded(x, 1, 0), *b = padded(x, 0, 1);
    ck_assert_int_eq(a->n, E2E_EACH);
    ck_assert_int_eq(b->n, E2E_EACH);
    for (int i = 0; i < E2E_EACH; i++) {
        struct compile_result r = a->c[i].r;
        a->c[i].r = b->c[i].r;
        b->c[i].r = r;
    }
    ck_assert_int_eq(e2e_verify(x, a), E2E_EACH);
    for (int i = 0; i < E2E_EACH; i++)
        ck_assert_int_eq(a->c[i].outcome.verdict, VERDICT_WRONG_RESULT);
    e2e_work_free(a);
    e2e_work_free(b);
    e2e_close(x);
}
END_TEST

START_TEST(every_schedule_is_right)
{
    bool patient = getenv("QUERN_LONG") != NULL;
    struct e2e *x = e2e_open();
    int bad = e2e_run(x, e2e_conv, (uint64_t)env_int("QUERN_PROP_SEED", 1),
                      env_int("QUERN_PROP_CASES", 500), patient ? 3000 : 140);
    e2e_print(&x->stats);
    struct e2e_space t = e2e_total(&x->stats);
    ck_assert_int_eq(bad, 0);
    ck_assert_int_eq((int)worker_restarts(x->worker), 0);
    if (x->stats.tasks >= 50) {
        ck_assert_int_ge(10 * t.tail, 6 * t.kept);
        ck_assert_int_ge(10 * t.packed, 3 * t.kept);
        ck_assert_int_le(20 * x->stats.thin, x->stats.tasks);
    }
    e2e_close(x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop.conv");
    TCase *t = tcase_create("tier2");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 3600 : 400);
    tcase_add_loop_test(t, found_before, 0, QN_COUNT(found));
    tcase_add_test(t, planted_error_is_found);
    tcase_add_test(t, every_schedule_is_right);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
