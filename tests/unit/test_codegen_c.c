/* The C back end: both forms, real compilers with every warning an error, against the interpreter bit for bit. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/codegen_c_run.h"
#include "lib/codegen_cases.h"

static const struct {
    const char *cc, *std;
    enum c_form form;
} ways[] = {
    {"gcc", "-std=c11", C_VECTOR},
    {"clang-19", "-std=c11", C_VECTOR},
    {"gcc", "-std=c99", C_PORTABLE},
    {"clang-14", "-std=c99", C_PORTABLE},
};
enum { WAYS = QN_COUNT(ways) };

START_TEST(access_forms)
{
    static struct crun x;
    crun_open(&x, ways[_i].cc, ways[_i].std, ways[_i].form);
    for (int k = 0; k < CASE_ACCESS; k++) crun_add(&x, case_access[k], CGRUN_SMALL);
    ck_assert_int_eq(crun_check(&x, NULL), 0);
    crun_close(&x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("codegen_c");
    TCase *c = tcase_create("c");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, access_forms, 0, WAYS);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
