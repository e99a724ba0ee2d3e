/* lib: operators by name, read from <dir>/<op>/<op>.op on first use, from texts, or from paths.
 *
 *     op_lib_find(lib, "conv2d")      schedules/conv2d/conv2d.op
 *     op_lib_find(lib, "./my.op")     a path, only where allowed; the file holds one operator
 *
 * Invariants: parsed files live until op_lib_free; an operator's pointer never changes once
 * found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/scan.h"
#include "base/vec.h"
#include "dsl/ast.h"

enum { FILE_MAX = 1 << 20 };

struct op_lib {
    char *dir;
    bool allow_paths;
    VEC(struct op_file *) file;
    VEC(char *) path; /* path[i] != NULL: file[i] was opened by that name */
    VEC(const char *) names;
    char **folder;
    size_t nfolder;
};

static bool is_path(const char *name)
{
    size_t n = strlen(name);
    return strchr(name, '/') || name[0] == '.' || (n > 3 && strcmp(name + n - 3, ".op") == 0);
}

/* Sub-folders that hold an operator of their name. */
static void list_folders(struct op_lib *lib)
{
    char **names = NULL;
    size_t n = 0;
    struct err e = {0};
    if (!lib->dir || fs_list(lib->dir, "", &names, &n, &e) != RC_OK) return;
    lib->folder = mem_new((n + 1) * sizeof *lib->folder);
    for (size_t i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s/%s.op", lib->dir, names[i], names[i]);
        if (fs_exists(path)) lib->folder[lib->nfolder++] = mem_strdup(names[i]);
    }
    fs_list_free(names, n);
}

enum rc op_lib_new(const char *dir, bool allow_paths, struct op_lib **out, struct err *e)
{
    if (dir && !fs_exists(dir))
        return err_set(e, RC_INPUT, "dsl.no_folder", "there is no folder '%s' of operators", dir);
    struct op_lib *lib = mem_new(sizeof *lib);
    lib->dir = dir ? mem_strdup(dir) : NULL;
    lib->allow_paths = allow_paths;
    list_folders(lib);
    *out = lib;
    return RC_OK;
}

void op_lib_free(struct op_lib *lib)
{
    if (!lib) return;
    for (size_t i = 0; i < lib->file.n; i++) {
        dsl_free(lib->file.p[i]);
        mem_free(lib->path.p[i]);
    }
    for (size_t i = 0; i < lib->nfolder; i++) mem_free(lib->folder[i]);
    mem_free(lib->folder);
    mem_free(lib->dir);
    vec_free(&lib->file);
    vec_free(&lib->path);
    vec_free(&lib->names);
    mem_free(lib);
}

static enum rc add_file(struct op_lib *lib, const char *file, const char *text, size_t len,
                        const char *path, struct err *e)
{
    struct op_file *f = NULL;
    enum rc rc = dsl_parse(file, text, len, &f, e);
    if (rc != RC_OK) return rc;
    vec_push(&lib->file, f);
    vec_push(&lib->path, path ? mem_strdup(path) : NULL);
    return RC_OK;
}

enum rc op_lib_add(struct op_lib *lib, const char *file, const char *text, size_t len,
                   struct err *e)
{
    return add_file(lib, file, text, len, NULL, e);
}

static enum rc read_file(struct op_lib *lib, const char *path, bool typed, const char *shown,
                         struct err *e)
{
    char *text = NULL;
    size_t len = 0;
    enum rc rc = fs_read(path, FILE_MAX, &text, &len, e);
    if (rc != RC_OK) return rc;
    rc = add_file(lib, shown, text, len, typed ? path : NULL, e);
    mem_free(text);
    return rc;
}

static enum rc find_path(struct op_lib *lib, const char *name, const struct operator** out,
                         struct err *e)
{
    if (!lib->allow_paths)
        return err_set(e, RC_INPUT, "task.path",
                       "'%s' is a path; only the command line opens operator files", name);
    const struct op_file *f = NULL;
    for (size_t i = 0; i < lib->file.n; i++)
        if (lib->path.p[i] && strcmp(lib->path.p[i], name) == 0) f = lib->file.p[i];
    if (!f) {
        enum rc rc = read_file(lib, name, true, name, e);
        if (rc != RC_OK) return rc;
        f = lib->file.p[lib->file.n - 1];
    }
    if (f->nop != 1)
        return err_set(e, RC_INPUT, "task.one_op",
                       "'%s' holds %d operators; a file named in a task holds exactly one", name,
                       f->nop);
    *out = f->op[0];
    return RC_OK;
}

static const struct operator* loaded(const struct op_lib *lib, const char *name)
{
    for (size_t i = lib->file.n; i-- > 0;) {
        if (lib->path.p[i]) continue;
        for (int k = 0; k < lib->file.p[i]->nop; k++)
            if (strcmp(lib->file.p[i]->op[k]->name, name) == 0) return lib->file.p[i]->op[k];
    }
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *const *op_lib_names(struct op_lib *lib, int *n)
{
    lib->names.n = 0;
    for (size_t i = 0; i < lib->nfolder; i++) vec_push(&lib->names, lib->folder[i]);
    for (size_t i = 0; i < lib->file.n; i++)
        for (int k = 0; !lib->path.p[i] && k < lib->file.p[i]->nop; k++)
            vec_push(&lib->names, lib->file.p[i]->op[k]->name);
    if (lib->names.n) qsort(lib->names.p, lib->names.n, sizeof *lib->names.p, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < lib->names.n; i++)
        if (kept == 0 || strcmp(lib->names.p[kept - 1], lib->names.p[i]) != 0)
            lib->names.p[kept++] = lib->names.p[i];
    lib->names.n = kept;
    *n = (int)kept;
    return lib->names.p;
}

enum rc op_lib_find(struct op_lib *lib, const char *name, const struct operator** out,
                    struct err *e)
{
    if (is_path(name)) return find_path(lib, name, out, e);
    *out = loaded(lib, name);
    if (*out) return RC_OK;
    for (size_t i = 0; i < lib->nfolder; i++) {
        char path[4096], shown[256];
        if (strcmp(lib->folder[i], name) != 0) continue;
        snprintf(path, sizeof path, "%s/%s/%s.op", lib->dir, name, name);
        snprintf(shown, sizeof shown, "%s.op", name);
        enum rc rc = read_file(lib, path, false, shown, e);
        if (rc != RC_OK) return rc;
        *out = loaded(lib, name);
        if (*out) return RC_OK;
        return err_set(e, RC_INPUT, "task.unknown_op", "'%s' does not define the operator '%s'",
                       path, name);
    }
    int n = 0;
    const char *const *names = op_lib_names(lib, &n);
    char hint[96];
    did_you_mean(hint, sizeof hint, name, names, (size_t)n);
    return err_set(e, RC_INPUT, "task.unknown_op",
                   "there is no operator '%.60s'%s; `quern ops` lists them", name, hint);
}

bool op_lib_own(struct op_lib *lib, const struct operator* op)
{
    char mine[HASH_ID_LEN + 1], theirs[HASH_ID_LEN + 1];
    const struct operator* shipped = NULL;
    struct err e;
    bool typed = false;
    for (size_t i = 0; i < lib->file.n; i++)
        typed =
            typed || (lib->path.p[i] && lib->file.p[i]->nop == 1 && lib->file.p[i]->op[0] == op);
    if (!typed || op_lib_find(lib, op->name, &shipped, &e) != RC_OK) return typed;
    operator_id(op, mine);
    operator_id(shipped, theirs);
    return strcmp(mine, theirs) != 0;
}
