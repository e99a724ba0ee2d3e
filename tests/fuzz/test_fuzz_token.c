/* The task token's door: any bytes give a task or an error; the canonical token of a task is a
 * token of the same task, to the byte. */
#include <check.h>
#include <string.h>

#include "base/arena.h"
#include "dsl/dsl.h"
#include "lib/fuzz.h"

static struct op_lib *lib;

static int token_one(const uint8_t *p, size_t n)
{
    struct task *t = NULL, *again = NULL;
    struct err e = {0};
    char *token = mem_new(n + 1);
    memcpy(token, p, n); /* a token ends at its first zero byte */
    int ok = task_parse(token, lib, NULL, &t, &e) == RC_OK;
    if (ok) {
        QN_CHECK(task_parse(t->token, lib, NULL, &again, &e) == RC_OK,
                 "canonical token of '%s' is refused: %s", token, e.msg);
        QN_CHECK(strcmp(again->token, t->token) == 0, "'%s' and '%s'", again->token, t->token);
        for (int i = 0; i < t->ntensor; i++)
            QN_CHECK(t->tensor[i].bytes >= 0 && t->tensor[i].bytes <= t->max_bytes, "%s", t->token);
        task_free(again);
    } else {
        QN_CHECK(e.rc == RC_INPUT && e.code[0] && e.msg[0], "refused without a reason");
    }
    task_free(t);
    mem_free(token);
    return ok;
}

START_TEST(token_survives)
{
    struct err e = {0};
    ck_assert_int_eq(op_lib_new(QN_SOURCE_DIR "/schedules", false, &lib, &e), RC_OK);
    ck_assert_int_gt(fuzz_run("token", token_one, fuzz_seconds()), 1000);
    op_lib_free(lib);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fuzz_token");
    TCase *t = tcase_create("token");
    tcase_set_timeout(t, fuzz_seconds() + 60);
    tcase_add_test(t, token_survives);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
