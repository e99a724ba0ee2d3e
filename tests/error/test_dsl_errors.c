/* Every error code of the operator language and of task tokens has a must-fail case.
 *
 *   tests/error/dsl/rank.op     the text; a first line "# task: t:N=3 direct" goes on to a task,
 *                               then lowering
 *   tests/error/dsl/rank.err    the code, then the message to the byte
 *
 * QUERN_BLESS=1 rewrites the .err files; read what changed before you commit it.
 *
 * Invariants: the codes in the sources, in the catalogue of DSL.txt and in the cases are the same
 * set. */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/map.h"
#include "lib/dsl_util.h"

#define CASES QN_SOURCE_DIR "/tests/error/dsl"

static char *read_file(const char *path, size_t *n)
{
    char *text = NULL;
    struct err e = {0};
    ck_assert_msg(fs_read(path, 1 << 20, &text, n, &e) == RC_OK, "%s", e.msg);
    return text;
}

/* "# task: TOKEN [ALGORITHM [PARAMS]]" */
static void fails_with(const char *text, char *out, size_t n)
{
    char line[512] = "", token[256] = "", algorithm[64] = "", params[128] = "", msg[1600];
    if (strncmp(text, "# task: ", 8) == 0)
        snprintf(line, sizeof line, "%.*s", (int)strcspn(text + 8, "\n"), text + 8);
    sscanf(line, "%255s %63s %127[^\n]", token, algorithm, params);
    const char *code =
        dsl_util_code(text, token[0] ? token : NULL, algorithm[0] ? algorithm : NULL, params, msg);
    snprintf(out, n, "%s\n%s\n", code, code[0] ? msg : "(no error)");
}

static void check_case(const char *name)
{
    char path[1024], got[2048];
    size_t n = 0;
    struct err e = {0};
    snprintf(path, sizeof path, CASES "/%s", name);
    char *text = read_file(path, &n);
    fails_with(text, got, sizeof got);
    mem_free(text);
    snprintf(path + strlen(path) - 3, 8, ".err");
    if (getenv("QUERN_BLESS")) fs_write(path, got, strlen(got), &e);
    char *want = read_file(path, &n);
    ck_assert_msg(strcmp(got, want) == 0, "%s: got\n%swant\n%s", name, got, want);
    mem_free(want);
}

START_TEST(every_case_fails_as_written)
{
    char **names = NULL;
    size_t n = 0;
    struct err e = {0};
    ck_assert_int_eq(fs_list(CASES, ".op", &names, &n, &e), RC_OK);
    ck_assert_uint_gt(n, 80);
    for (size_t i = 0; i < n; i++) check_case(names[i]);
    fs_list_free(names, n);
}
END_TEST

/* dsl.word and task.word between `open` marks of a text */
static void collect(struct map *codes, const char *text, const char *open)
{
    size_t len = strlen(open);
    for (const char *p = text; (p = strstr(p, open)); p++) {
        char code[64];
        size_t n = 0;
        const char *at = p + len;
        if (strncmp(at, "dsl.", 4) != 0 && strncmp(at, "task.", 5) != 0) continue;
        while (n < sizeof code - 1 &&
               (islower((unsigned char)at[n]) || at[n] == '_' || at[n] == '.'))
            n++;
        memcpy(code, at, n);
        code[n] = 0;
        map_put(codes, code, codes);
    }
}

static void collect_files(struct map *codes, const char *dir, const char *suffix, const char *open)
{
    char **names = NULL, path[1024];
    size_t n = 0, len = 0;
    struct err e = {0};
    ck_assert_int_eq(fs_list(dir, suffix, &names, &n, &e), RC_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        char *text = read_file(path, &len), *marked = mem_new(len + 2);
        marked[0] = '\n'; /* so that a first line counts as one */
        memcpy(marked + 1, text, len);
        collect(codes, marked, open);
        mem_free(marked);
        mem_free(text);
    }
    fs_list_free(names, n);
}

static void check_subset(const struct map *a, const struct map *b, const char *what)
{
    for (size_t i = 0; i < map_count(a); i++)
        ck_assert_msg(map_get(b, map_key(a, i)), "%s %s", map_key(a, i), what);
}

START_TEST(codes_catalogue_and_cases_agree)
{
    struct map *source = map_new(), *catalogue = map_new(), *cases = map_new();
    collect_files(source, QN_SOURCE_DIR "/src/dsl", ".c", "\"");
    collect_files(catalogue, QN_SOURCE_DIR "/src/dsl", "DSL.txt", "\n  ");
    collect_files(cases, CASES, ".err", "\n");
    map_put(cases, "dsl.no_folder", cases); /* below */
    map_put(cases, "task.one_op", cases);
    check_subset(source, catalogue, "is not in the catalogue of DSL.txt");
    check_subset(catalogue, source, "is in the catalogue and nowhere in the sources");
    check_subset(catalogue, cases, "has no case");
    map_free(source);
    map_free(catalogue);
    map_free(cases);
}
END_TEST

START_TEST(library_errors)
{
    struct op_lib *lib = NULL;
    const struct operator* op = NULL;
    struct err e = {0};
    char path[] = "/tmp/quern-dsl-XXXXXX", token[64];
    ck_assert_int_eq(op_lib_new("/nowhere/at/all", false, &lib, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "dsl.no_folder");
    int fd = mkstemp(path);
    const char *two = "op a { out y[2]: f32\n y[n] = 0 }\nop b { out y[2]: f32\n y[n] = 0 }\n";
    ck_assert(write(fd, two, strlen(two)) > 0);
    close(fd);
    op_lib_new(NULL, true, &lib, &e);
    ck_assert_int_eq(op_lib_find(lib, path, &op, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "task.one_op");
    snprintf(token, sizeof token, "%s.op", path);
    ck_assert_int_eq(op_lib_find(lib, token, &op, &e), RC_INPUT);
    ck_assert_ptr_nonnull(strstr(e.msg, "cannot"));
    unlink(path);
    op_lib_free(lib);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dsl_errors");
    TCase *t = tcase_create("errors");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_case_fails_as_written);
    tcase_add_test(t, codes_catalogue_and_cases_agree);
    tcase_add_test(t, library_errors);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
