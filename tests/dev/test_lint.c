/* ./dev lint finds what it says it finds: each case plants one violation in a tree of its own.
 *
 *   src/ir/bad.c includes "db/db.h"   ->   src/ir/bad.c:2: room ir may not know room db
 *
 * Invariant: the tree without the planted file is clean, so each message is the plant's. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/proc.h"

static char tree[64];

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", tree, path);
    *strrchr(full, '/') = 0;
    ck_assert_int_eq(fs_mkdirs(full, NULL), RC_OK);
    full[strlen(full)] = '/';
    ck_assert_int_eq(fs_write(full, text, strlen(text), NULL), RC_OK);
}

static char *lint(int *code)
{
    char dev[128];
    char *out = NULL;
    struct err e = {0};
    snprintf(dev, sizeof dev, "%s/dev", tree);
    const char *const argv[] = {"bash", dev, "lint", NULL};
    ck_assert_msg(proc_run(argv, tree, 60000, 1 << 16, &out, code, &e) == RC_OK, "%s", e.msg);
    return out;
}

static void make_tree(void)
{
    char *text;
    size_t n;
    snprintf(tree, sizeof tree, "/tmp/quern-lint-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(tree));
    ck_assert_int_eq(fs_read(QN_SOURCE_DIR "/dev", 1 << 20, &text, &n, NULL), RC_OK);
    put("dev", text);
    mem_free(text);
    ck_assert_int_eq(fs_read(QN_SOURCE_DIR "/CMakeLists.txt", 1 << 20, &text, &n, NULL), RC_OK);
    put("CMakeLists.txt", text);
    mem_free(text);
    put("src/ir/good.c",
        "/* good */\n#include \"base/err.h\"\n#include \"ir/ir.h\"\n"
        "/* strcpy(a, b) in a comment, */ static const char *t = \"system(1)\";\n");
    put("src/base/arena.c", "/* base may */\nvoid *f(void) { return malloc(3); }\n");
    put("tests/unit/test_x.c",
        "/* x */\nstatic void helper(int v)\n{\n    ck_assert_int_eq(v, 1);\n}\n"
        "START_TEST(direct) { helper(1); }\nEND_TEST\n");
    put("tests/budgets.txt", "# suite seconds\nunit.x 3\n");
}

static void remove_tree(void)
{
    const char *const argv[] = {"rm", "-rf", tree, NULL};
    int code;
    proc_run(argv, NULL, 10000, 100, NULL, &code, NULL);
}

START_TEST(clean_tree_passes)
{
    int code;
    char *out = lint(&code);
    ck_assert_msg(code == 0, "%s", out);
    ck_assert_ptr_nonnull(strstr(out, "lint: clean"));
    mem_free(out);
}
END_TEST

static const struct {
    const char *path, *text, *want;
} PLANTS[] = {
    {"src/ir/bad.c", "/* b */\n#include \"db/db.h\"\n",
     "src/ir/bad.c:2: room ir may not know room db"},
    {"src/ir/bad.c", "/* b */\n#include \"private.h\"\n",
     "src/ir/bad.c:2: include as \"ir/file.h\""},
    {"src/ir/bad.c", "/* b */\n#include <llvm-c/Core.h>\n",
     "src/ir/bad.c:2: only codegen may include this"},
    {"src/app/bad.c", "/* b */\n#include <sqlite3.h>\n",
     "src/app/bad.c:2: only db may include this"},
    {"src/ir/bad.c", "/* b */\nvoid f(void)\n{\n    strcpy(a, b);\n}\n",
     "src/ir/bad.c:4: banned call"},
    {"src/ir/bad.c", "/* b */\nint g(char *s) { return atoi(s); }\n",
     "src/ir/bad.c:2: banned call"},
    {"src/ir/bad.c", "/* b */\nvoid *f(void) { return malloc(3); }\n",
     "src/ir/bad.c:2: memory comes from base"},
    {"src/ir/bad.c", "/* b */\nint main(void)\n{\n}\n", "src/ir/bad.c:2: only app has programs"},
    {"src/ir/bad.c", "int x;\n", "src/ir/bad.c:1: must open with a block comment"},
    {"src/ir/bad.c",
     "/* TO"
     "DO: later */\n",
     "src/ir/bad.c:1: unfinished"},
    {"src/ir/bad.c",
     "/* see /ro"
     "ot/notes */\n",
     "src/ir/bad.c:1: a path of one machine"},
    {"tests/unit/test_x.c", "/* x */\nSTART_TEST(idle)\n{\n    run();\n}\nEND_TEST\n",
     "tests/unit/test_x.c:2: test idle asserts nothing"},
    {"tests/unit/test_y.c", "/* y */\n", "tests/budgets.txt: no line for unit.y"},
    {"tests/budgets.txt", "unit.x 3\nunit.gone 4\n", "tests/budgets.txt: unit.gone has no suite"},
    {"tests/budgets.txt", "unit.x 3\nunit.x 4\n", "tests/budgets.txt: unit.x stands there twice"},
};

START_TEST(plant_is_found)
{
    int code;
    put(PLANTS[_i].path, PLANTS[_i].text);
    char *out = lint(&code);
    ck_assert_msg(strstr(out, PLANTS[_i].want) != NULL, "wanted '%s' in:\n%s", PLANTS[_i].want,
                  out);
    ck_assert_ptr_nonnull(strstr(out, "dev: 1 violations"));
    ck_assert_int_eq(code, 1);
    mem_free(out);
}
END_TEST

START_TEST(long_file_and_function)
{
    struct {
        char *p;
        size_t n;
    } text = {mem_new(40000), 0};
    text.n += (size_t)snprintf(text.p, 100, "/* long */\nvoid f(void)\n{\n");
    for (int i = 0; i < 160; i++) text.n += (size_t)snprintf(text.p + text.n, 100, "    f();\n");
    text.n += (size_t)snprintf(text.p + text.n, 100, "}\n");
    for (int i = 0; i < 900; i++) text.n += (size_t)snprintf(text.p + text.n, 100, "int x%d;\n", i);
    put("src/ir/bad.c", text.p);
    mem_free(text.p);
    int code;
    char *out = lint(&code);
    ck_assert_int_eq(code, 1);
    ck_assert_ptr_nonnull(
        strstr(out, "src/ir/bad.c:3: function of 162 lines (150 at most): void f(void)"));
    ck_assert_ptr_nonnull(strstr(out, "src/ir/bad.c: 1064 lines (1000 at most)"));
    mem_free(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lint");
    TCase *t = tcase_create("lint");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, make_tree, remove_tree);
    tcase_add_test(t, clean_tree_passes);
    tcase_add_loop_test(t, plant_is_found, 0, sizeof PLANTS / sizeof *PLANTS);
    tcase_add_test(t, long_file_and_function);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
