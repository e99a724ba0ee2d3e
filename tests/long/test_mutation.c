/* Of the deliberate faults in lowering and legality (mutation/faults.txt), at most one goes
 * unnoticed by the suites. mutation/mutate.sh does the work; its table is also left in mutation.txt
 * of the build.
 *
 *   parallel_reduce                8 s  found by unit.sched
 *
 * Invariants: the tree under test is a copy; every fault fits one line and compiles. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/proc.h"

enum { LIMIT_S = 3 * 3600 }; /* CTest's own limit is shorter */

START_TEST(faults_are_noticed)
{
    int code;
    char *out = NULL;
    struct err e = {0};
    const char *const argv[] = {"bash", QN_SOURCE_DIR "/tests/mutation/mutate.sh", "run", NULL};
    ck_assert_msg(proc_run(argv, "/", LIMIT_S * 1000, 1 << 20, &out, &code, &e) == RC_OK, "%s",
                  e.msg);
    printf("%s", out);
    ck_assert_int_eq(fs_write(QN_BIN_DIR "/../mutation.txt", out, strlen(out), NULL), RC_OK);
    ck_assert_msg(code == 0, "faults go unnoticed, or do not fit (the table above)");
    mem_free(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mutation");
    TCase *t = tcase_create("mutation");
    tcase_set_timeout(t, LIMIT_S);
    tcase_add_test(t, faults_are_noticed);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
