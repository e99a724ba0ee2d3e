/* The list of deliberate faults fits the tree: each old piece of code stands in its file exactly
 * once, so that the long run (long.mutation) means what it says. And the check notices when one
 * does not.
 *
 *   old  if (a < b)   and a file with `if (a <= b)`   ->   off: not in src/x.c: if (a < b)
 *
 * Invariant: the planted trees hold nothing but the list and one file. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/proc.h"

static char tree[64];

static char *check(const char *root, const char *least, int *code)
{
    char *out = NULL;
    struct err e = {0};
    const char *const argv[] = {"bash",  QN_SOURCE_DIR "/tests/mutation/mutate.sh",
                                "check", root,
                                least,   NULL};
    ck_assert_msg(proc_run(argv, "/", 60000, 1 << 16, &out, code, &e) == RC_OK, "%s", e.msg);
    return out;
}

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", tree, path);
    *strrchr(full, '/') = 0;
    ck_assert_int_eq(fs_mkdirs(full, NULL), RC_OK);
    full[strlen(full)] = '/';
    ck_assert_int_eq(fs_write(full, text, strlen(text), NULL), RC_OK);
}

static void make_tree(void)
{
    snprintf(tree, sizeof tree, "/tmp/quern-faults-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(tree));
}

static void remove_tree(void)
{
    const char *const argv[] = {"rm", "-rf", tree, NULL};
    int code;
    proc_run(argv, NULL, 10000, 100, NULL, &code, NULL);
}

START_TEST(every_fault_fits)
{
    int code;
    char *out = check(QN_SOURCE_DIR, "20", &code);
    ck_assert_msg(code == 0, "%s", out);
    mem_free(out);
}
END_TEST

#define FAULT "fault off\nbreaks the order\nfile src/x.c\n"

static const struct {
    const char *list, *text, *want;
    int code;
} CASES[] = {
    {FAULT "old  if (a < b)\nnew  if (a <= b)\n", "    if (a < b)\n  x;\n",
     "1 faults, each fits one place", 0},
    {FAULT "old  if (a < b)\nnew  if (a <= b)\n", "if (a <= b)\n",
     "off: not in src/x.c: if (a < b)", 1},
    {FAULT "old  if (a < b)\nnew  if (a <= b)\n", "if (a < b)\nx;\n  if (a < b)\n",
     "off: more than once in src/x.c: if (a < b)", 1},
    {FAULT "after x;\nold  if (a < b)\nnew  if (a <= b)\n", "if (a < b)\nx;\n  if (a < b)\n",
     "1 faults, each fits one place", 0},
    {FAULT "after y;\nold  if (a < b)\nnew  if (a <= b)\n", "if (a < b)\nx;\n  if (a < b)\n",
     "off: not in src/x.c: if (a < b)", 1},
    {FAULT "old  if (a < b)\nnew  if (a <= b)\n", "y; if (a\n    < b) x;\n",
     "1 faults, each fits one place", 0},
    {FAULT "old  \"a\\n%s\" & b\nnew  b\n", "\"a\\n%s\" & b\n", "1 faults, each fits one place", 0},
    {FAULT "old  x\nnew  x\n", "x\n", "off: old and new are the same", 1},
    {FAULT "old  x\n", "x\n", "off: breaks, file, old and new are needed", 1},
    {"fault off\nbreaks b\nfile src/gone.c\nold x\nnew y\n", "x\n", "off: there is no src/gone.c",
     1},
    {FAULT "old x\nnew y\n\n" FAULT "old x\nnew y\n", "x\n", "stand there twice", 1},
    {"", "x\n", "0 faults, at least 1 are wanted", 1},
};

START_TEST(what_does_not_fit_is_named)
{
    int code;
    put("tests/mutation/faults.txt", CASES[_i].list);
    put("src/x.c", CASES[_i].text);
    char *out = check(tree, "1", &code);
    ck_assert_msg(strstr(out, CASES[_i].want) != NULL, "wanted '%s' in:\n%s", CASES[_i].want, out);
    ck_assert_int_eq(code, CASES[_i].code);
    mem_free(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mutation");
    TCase *t = tcase_create("mutation");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, make_tree, remove_tree);
    tcase_add_test(t, every_fault_fits);
    tcase_add_loop_test(t, what_does_not_fit_is_named, 0, sizeof CASES / sizeof *CASES);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
