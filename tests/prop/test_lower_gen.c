/* Random operators under random legal schedules: the kernel computes what the naive nest means, and
 * so does the reference path. All three are run by the interpreter on small integers: equal
 * bits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/gen.h"
#include "lib/lower_run.h"

struct tally {
    int cases, refused;
};

static void fail_case(uint64_t seed, const char *what, const struct nest *n, const struct trace *t,
                      const struct err *e)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    nest_print(&b, n);
    trace_print(&b, t);
    ck_abort_msg("seed %llu, %s: %s: %s\n%s", (unsigned long long)seed, what, e->code, e->msg, b.p);
}

/* RC_FAIL: lower refused the candidate. */
static enum rc run_kernel(const struct nest *naive, const struct trace *t, uint64_t seed,
                          const struct gen_info *info, struct gen_result *out, struct err *e)
{
    struct ir *ir = ir_new();
    struct nest *n = nest_clone(ir, naive);
    struct target target = lower_target(seed % 2);
    struct lower_options o = {.verify_each = true, .dyn = info->dyn};
    struct kernel k;
    struct rejection why;
    enum rc rc = RC_OK;
    if (t) {
        ck_assert_int_eq(sched_apply(n, t, &why), RC_OK);
        rc = lower(n, &target, &o, &k, e);
    } else {
        rc = lower_naive(n, &target, NULL, &k, e);
        if (rc == RC_OK) rc = nest_verify(n, NEST_KERNEL, e);
    }
    if (rc == RC_OK) rc = gen_run(n, seed, info, out, e);
    ir_free(ir);
    return rc;
}

static void one_case(uint64_t seed, struct gen_stats *stats, struct tally *tally)
{
    struct rng r;
    struct ir *ir = ir_new();
    struct gen_info info;
    struct gen_result want = {0}, got = {0};
    struct err e = {0};
    rng_seed(&r, seed);
    struct nest *n = gen_nest(ir, &r, &gen_default, &info);
    struct trace *t = gen_trace(n, &info, &r, stats);
    ck_assert_int_eq(gen_run(n, seed, &info, &want, &e), RC_OK);
    tally->cases++;
    enum rc rc = run_kernel(n, t, seed, &info, &got, &e);
    bool refused = rc == RC_FAIL && strncmp(e.code, "lower.", 6) == 0;
    refused |= strcmp(e.code, "interp.budget") == 0; /* the schedule copies too much to run here */
    if (refused && getenv("QN_SHOW")) printf("%s\n", e.code);
    tally->refused += refused;
    if (!refused && (rc != RC_OK || !gen_same(&want, &got))) fail_case(seed, "kernel", n, t, &e);
    gen_result_free(&got);
    rc = run_kernel(n, NULL, seed, &info, &got, &e);
    refused = rc == RC_FAIL && strcmp(e.code, "lower.scratch_dynamic") == 0;
    if (!refused && (rc != RC_OK || !gen_same(&want, &got))) fail_case(seed, "naive", n, t, &e);
    gen_result_free(&got);
    gen_result_free(&want);
    trace_free(t);
    ir_free(ir);
}

START_TEST(kernel_is_nest)
{
    struct gen_stats *stats = mem_new(sizeof *stats);
    struct tally t = {.cases = 0};
    const char *only = getenv("QN_SEED"), *many = getenv("QN_CASES");
    int n = many ? (int)strtol(many, NULL, 10) : 250;
    if (only)
        one_case(strtoull(only, NULL, 10), stats, &t);
    else
        for (int i = 0; i < n; i++) one_case((uint64_t)_i * 1000003 + (uint64_t)i, stats, &t);
    if (getenv("QN_SHOW")) printf("%d cases, %d refused by lower\n", t.cases, t.refused);
    ck_assert_int_le(t.refused, t.cases / 5 + 1);
    mem_free(stats);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_gen");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 200);
    tcase_add_loop_test(t, kernel_is_nest, 0, 4);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
