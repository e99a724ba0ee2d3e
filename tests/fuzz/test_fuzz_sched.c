/* The doors of sched: traces as they arrive from files, logs and workers, and .sched spaces.
 *
 * Whatever the bytes: an error with a position, or a trace that prints and parses back, and that a
 * nest either takes (then the verifier agrees) or refuses with a code. A space that reads gives
 * traces or nothing for random choices, and each of those prints and parses. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "lib/fuzz.h"
#include "sched/sched.h"

static const char NEST[] =
    "nest n\n"
    "in     x: f32[9, 4]\n"
    "const  w: f32[3, 4, 10]\n"
    "out    y: f32[9, 10]\n"
    "temp   acc: f32[9, 10]\n"
    "stage acc\n"
    "  for acc.p in 0..9\n"
    "    for acc.k in 0..10\n"
    "      for acc.r in 0..3 reduce\n"
    "        for acc.c in 0..4 reduce\n"
    "          acc[acc.p, acc.k] += (x[acc.p + acc.r - 1, acc.c] if 0 <= acc.p + acc.r - 1 & acc.p "
    "+ acc.r - 1 < 9 else 0.0) * w[acc.r, acc.c, acc.k]\n"
    "stage y\n"
    "  for y.p in 0..9\n"
    "    for y.k in 0..10\n"
    "      y[y.p, y.k] = acc[y.p, y.k]\n";

static void check_returns(const struct trace *t)
{
    struct buf a, b;
    struct trace *back;
    struct err e = {0};
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    trace_print(&a, t);
    QN_CHECK(trace_parse("again", a.p, a.n, &back, &e) == RC_OK,
             "a printed trace does not parse: %s\n%s", e.msg, a.p);
    trace_print(&b, back);
    QN_CHECK(strcmp(a.p, b.p) == 0, "a trace changes on its way:\n%s\n%s", a.p, b.p);
    trace_free(back);
    buf_fini(&a);
    buf_fini(&b);
}

static int trace_one(const uint8_t *p, size_t n)
{
    struct trace *t;
    struct err e = {0};
    if (trace_parse("fuzz", (const char *)p, n, &t, &e) != RC_OK) {
        QN_CHECK(e.rc == RC_INPUT && strncmp(e.code, "trace.", 6) == 0 && e.msg[0],
                 "error without a code: %s", e.msg);
        return 0;
    }
    check_returns(t);
    if (t->n <= 40) { /* long ones only cost time */
        struct ir *ir = ir_new();
        struct nest *nest;
        struct rejection r;
        QN_CHECK(nest_parse(ir, "nest", NEST, strlen(NEST), &nest, &e) == RC_OK, "%s", e.msg);
        if (sched_apply(nest, t, &r) == RC_OK) {
            QN_CHECK(nest_verify(nest, NEST_SCHEDULED, &e) == RC_OK, "%s", e.msg);
        } else {
            struct buf b;
            buf_init(&b, 1 << 20);
            QN_CHECK(r.code > REJECT_NONE && r.code < REJECT_COUNT, "refused without a code");
            sched_explain(&b, nest, t, &r);
            buf_fini(&b);
        }
        ir_free(ir);
    }
    trace_free(t);
    return 1;
}

static int space_one(const uint8_t *p, size_t n)
{
    struct facts *f = mem_new(sizeof *f);
    struct space *s;
    struct err e = {0};
    struct rng r;
    facts_put(f, "K", 92);
    facts_put(f, "N", 1);
    facts_put(f, "layout.nhwc", 1);
    facts_put(f, "target.vregs", 32);
    facts_put(f, "target.lanes", 16);
    facts_put(f, "threads", 2);
    enum rc rc = space_parse("fuzz", (const char *)p, n, f, &s, &e);
    mem_free(f);
    if (rc != RC_OK) {
        QN_CHECK(e.rc == RC_INPUT && e.code[0] && strncmp(e.msg, "fuzz", 4) == 0,
                 "error without a position: %s", e.msg);
        return 0;
    }
    rng_seed(&r, n);
    for (int i = 0; i < 8 && s; i++) {
        int choice[64];
        for (int k = 0; k < space_knobs(s); k++)
            choice[k] = (int)rng_range(&r, 0, space_knob_values(s, k) - 1);
        struct trace *t = space_trace(s, choice);
        QN_CHECK((t != NULL) == space_allows(s, choice), "allowed and not allowed");
        if (t) check_returns(t);
        if (t) trace_free(t);
    }
    space_free(s);
    return 1;
}

static int seconds(void)
{
    int s = fuzz_seconds();
    return getenv("QUERN_FUZZ_SECONDS") ? s : s / 2 > 10 ? s / 2 : 10;
}

START_TEST(traces_survive) { ck_assert_int_gt(fuzz_run("trace", trace_one, seconds()), 1000); }
END_TEST

START_TEST(spaces_survive) { ck_assert_int_gt(fuzz_run("space", space_one, seconds()), 1000); }
END_TEST

int main(void)
{
    Suite *suite = suite_create("fuzz.fuzz_sched");
    TCase *tc = tcase_create("sched");
    tcase_set_timeout(tc, 90);
    tcase_add_test(tc, traces_survive);
    tcase_add_test(tc, spaces_survive);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
