/* An installed quern is whole: programs in bin, data in share/quern, found from any folder.
 *
 *   cmake --install build --prefix P;  cd / && P/bin/quern ops    lists conv2d
 *
 * Invariant: nothing of the build or source tree is used afterwards (PATH and QUERN_DATA say
 * nothing). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/proc.h"

static char prefix[64];

static char *run(const char *const *argv, int *code)
{
    char *out = NULL;
    struct err e = {0};
    ck_assert_msg(proc_run(argv, "/", 60000, 1 << 18, &out, code, &e) == RC_OK, "%s", e.msg);
    return out;
}

static const char *in_prefix(const char *path)
{
    static char full[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(full[turn], sizeof full[turn], "%s/%s", prefix, path);
    return full[turn];
}

static void install(void)
{
    int code;
    snprintf(prefix, sizeof prefix, "/tmp/quern-install-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(prefix));
    unsetenv("QUERN_DATA");
    const char *const argv[] = {"cmake", "--install", QN_BIN_DIR "/..", "--prefix", prefix, NULL};
    char *out = run(argv, &code);
    ck_assert_msg(code == 0, "%s", out);
    mem_free(out);
}

static void uninstall(void)
{
    int code;
    const char *const argv[] = {"rm", "-rf", prefix, NULL};
    mem_free(run(argv, &code));
}

START_TEST(files_are_there)
{
    static const char *const FILES[] = {"bin/quern",           "bin/quern-runner",
                                        "bin/quern-worker",    "share/quern/schedules",
                                        "share/quern/targets", "share/quern/tuning-db/schema.sql"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++)
        ck_assert_msg(fs_exists(in_prefix(FILES[i])), "%s was not installed", FILES[i]);
}
END_TEST

START_TEST(finds_its_data)
{
    int code;
    const char *const ops[] = {in_prefix("bin/quern"), "ops", NULL};
    char *out = run(ops, &code);
    ck_assert_msg(code == 0, "%s", out);
    ck_assert_ptr_nonnull(strstr(out, "conv2d"));
    ck_assert_ptr_nonnull(strstr(out, "matmul"));
    mem_free(out);
}
END_TEST

START_TEST(finds_its_programs)
{
    int code;
    char db[256];
    snprintf(db, sizeof db, "%s/log.db", prefix);
    setenv("QUERN_DB", db, 1);
    const char *const verify[] = {in_prefix("bin/quern"), "verify", "matmul:M=7,N=5,K=3", NULL};
    char *out = run(verify, &code);
    ck_assert_msg(code == 0, "exit %d: %s", code, out);
    mem_free(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("install");
    TCase *t = tcase_create("install");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, install, uninstall);
    tcase_add_test(t, files_are_there);
    tcase_add_test(t, finds_its_data);
    tcase_add_test(t, finds_its_programs);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
