/* cli_cc: a C compiler of this machine, for emitted kernels: compile FILE.c with its FILE_test.c,
 * run it.
 *
 *   cc_test("kernels", "conv2d_C64", &compiler, e)     kernels/conv2d_C64.c and _test.c, compiled
 *                                                      in a folder of its own
 *
 * The compiler is $CC, else the first of cc, gcc, clang that answers. Nothing is written beside the
 * files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/proc.h"
#include "cli.h"

enum { CC_TIMEOUT_MS = 180000, CC_OUTPUT = 1200 };

static bool answers(const char *cc)
{
    const char *argv[] = {cc, "--version", NULL};
    char *out = NULL;
    int code = 1;
    enum rc rc = proc_run(argv, NULL, 10000, 4096, &out, &code, NULL);
    mem_free(out);
    return rc == RC_OK && code == 0;
}

enum rc cc_find(const char **out, struct err *e)
{
    const char *named = getenv("CC");
    const char *const tried[] = {named && *named ? named : "cc", "gcc", "clang", "clang-19"};
    for (size_t i = 0; i < QN_COUNT(tried); i++)
        if (answers(tried[i])) {
            *out = tried[i];
            return RC_OK;
        }
    return err_set(e, RC_FAIL, "cc.none",
                   "no C compiler was found ($CC, cc, gcc, clang); install one, for example gcc");
}

static enum rc step(const char *const *argv, const char *cwd, enum rc bad, const char *code,
                    const char *what, struct err *e)
{
    char *out = NULL;
    int status = 0;
    enum rc rc = proc_run(argv, cwd, CC_TIMEOUT_MS, CC_OUTPUT, &out, &status, e);
    if (rc == RC_OK && status != 0)
        rc = err_set(e, bad, code, "%s (status %d):\n%s", what, status, out);
    mem_free(out);
    return rc;
}

enum rc cc_test(const char *dir, const char *stem, const char **compiler, struct err *e)
{
    char c[2200], test[2200], tmp[256], program[300], what[1024];
    const char *base = getenv("TMPDIR");
    enum rc rc = cc_find(compiler, e);
    if (rc != RC_OK) return rc;
    snprintf(tmp, sizeof tmp, "%.200s/quern-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(tmp))
        return err_set(e, RC_FAIL, "cc.tmp", "cannot make a folder like '%s'; set TMPDIR", tmp);
    snprintf(program, sizeof program, "%s/test", tmp);
    snprintf(c, sizeof c, "%s.c", stem);
    snprintf(test, sizeof test, "%s_test.c", stem);
    const char *compile[] = {*compiler, "-std=c11", "-O2", "-o", program, c, test, "-lm", NULL};
    const char *run[] = {program, NULL};
    snprintf(what, sizeof what, "%s refuses %.400s/%.400s", *compiler, dir, c);
    rc = step(compile, dir, RC_FAIL, "cc.compile", what, e);
    snprintf(what, sizeof what, "%.400s/%.400s computes something else", dir, c);
    if (rc == RC_OK) rc = step(run, NULL, RC_MISMATCH, "cc.test", what, e);
    unlink(program);
    rmdir(tmp);
    return rc;
}

static enum rc write_text(const char *dir, const char *stem, const char *suffix,
                          const struct buf *b, struct err *e)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s%s", dir, stem, suffix);
    return fs_write(path, b->p, b->n, e);
}

static void forget(const char *dir, const char *stem, const char *suffix)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s%s", dir, stem, suffix);
    unlink(path);
}

enum rc cc_test_texts(const struct emitted *em, const char **compiler, struct err *e)
{
    static const char *const suffixes[] = {".c", ".h", "_test.c"};
    const struct buf *const texts[] = {&em->c, &em->h, &em->test};
    const char *base = getenv("TMPDIR");
    char dir[230];
    snprintf(dir, sizeof dir, "%.200s/quern-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(dir))
        return err_set(e, RC_FAIL, "cc.tmp", "cannot make a folder like '%s'; set TMPDIR", dir);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < QN_COUNT(suffixes) && rc == RC_OK; i++)
        rc = write_text(dir, em->symbol, suffixes[i], texts[i], e);
    if (rc == RC_OK) rc = cc_test(dir, em->symbol, compiler, e);
    for (size_t i = 0; i < QN_COUNT(suffixes); i++) forget(dir, em->symbol, suffixes[i]);
    rmdir(dir);
    return rc;
}
