/* Matrix products of every awkward shape, schedules drawn uniformly from their spaces: tier 2 for
 * all of them.
 *
 * M, N, K from 1..130, batches, a constant and a plain right operand, epilogues; the hand-written
 * space and the derived one. QUERN_PROP_CASES tasks, QUERN_PROP_SEED the first seed; QUERN_LONG=1:
 * no time limit. */
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

START_TEST(every_schedule_is_right)
{
    bool patient = getenv("QUERN_LONG") != NULL;
    struct e2e *x = e2e_open();
    int bad = e2e_run(x, e2e_matmul, (uint64_t)env_int("QUERN_PROP_SEED", 1),
                      env_int("QUERN_PROP_CASES", patient ? 500 : 250), patient ? 2000 : 55);
    e2e_print(&x->stats);
    struct e2e_space t = e2e_total(&x->stats);
    ck_assert_int_eq(bad, 0);
    ck_assert_int_eq((int)worker_restarts(x->worker), 0);
    if (x->stats.tasks >= 50) {
        ck_assert_int_ge(10 * t.tail, 6 * t.kept);
        ck_assert_int_ge(10 * t.packed, 2 * t.kept);
        ck_assert_int_le(20 * x->stats.thin, x->stats.tasks);
    }
    e2e_close(x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop.matmul");
    TCase *t = tcase_create("tier2");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 2500 : 180);
    tcase_add_test(t, every_schedule_is_right);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
