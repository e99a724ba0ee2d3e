/* See dsl_util.h. */
#include "lib/dsl_util.h"

#include <check.h>
#include <string.h>

struct op_lib *dsl_util_lib(void)
{
    struct op_lib *lib = NULL;
    struct err e = {0};
    enum rc rc = op_lib_new(QN_SOURCE_DIR "/schedules", true, &lib, &e);
    ck_assert_msg(rc == RC_OK, "%s", e.msg);
    return lib;
}

static struct dsl_run *open_in(struct op_lib *lib, const char *token, const char *algorithm,
                               const char *params)
{
    struct dsl_run *r = mem_new(sizeof *r);
    struct err e = {0};
    r->lib = lib;
    enum rc rc = task_parse(token, lib, NULL, &r->task, &e);
    ck_assert_msg(rc == RC_OK, "%s: %s", token, e.msg);
    r->ir = ir_new();
    rc = dsl_lower(r->ir, r->task, algorithm, params, &r->nest, &e);
    ck_assert_msg(rc == RC_OK, "%s: %s", token, e.msg);
    rc = nest_verify(r->nest, NEST_NAIVE, &e);
    ck_assert_msg(rc == RC_OK, "%s: %s", token, e.msg);
    for (int i = 0; i < r->task->ntensor; i++) {
        ck_assert_str_eq(r->nest->tensor[i]->name, r->task->tensor[i].name);
        r->buf[i] = mem_new((size_t)r->task->tensor[i].bytes + 1);
    }
    return r;
}

struct dsl_run *dsl_run_open(const char *token, const char *algorithm, const char *params)
{
    return open_in(dsl_util_lib(), token, algorithm, params);
}

struct dsl_run *dsl_run_text(const char *text, const char *token, const char *algorithm,
                             const char *params)
{
    struct op_lib *lib = NULL;
    struct err e = {0};
    op_lib_new(NULL, false, &lib, &e);
    enum rc rc = op_lib_add(lib, "t.op", text, strlen(text), &e);
    ck_assert_msg(rc == RC_OK, "%s", e.msg);
    return open_in(lib, token, algorithm, params);
}

void dsl_run_close(struct dsl_run *r)
{
    for (int i = 0; i < r->task->ntensor; i++) mem_free(r->buf[i]);
    task_free(r->task);
    ir_free(r->ir);
    op_lib_free(r->lib);
    mem_free(r);
}

static int at(const struct dsl_run *r, const char *tensor)
{
    for (int i = 0; i < r->task->ntensor; i++)
        if (strcmp(r->task->tensor[i].name, tensor) == 0) return i;
    ck_abort_msg("no tensor %s", tensor);
    return -1;
}

void *dsl_run_buf(struct dsl_run *r, const char *tensor) { return r->buf[at(r, tensor)]; }
int64_t dsl_run_count(const struct dsl_run *r, const char *tensor)
{
    return r->task->tensor[at(r, tensor)].elements;
}

static void fill(struct dsl_run *r, struct rng *g, int lo, int hi, bool real)
{
    for (int i = 0; i < r->task->ntensor; i++) {
        const struct task_tensor *t = &r->task->tensor[i];
        if (t->dtype != TYPE_F32 || t->scope == SCOPE_OUT) continue;
        float *p = r->buf[i];
        for (int64_t k = 0; k < t->elements; k++)
            p[k] = real ? (float)(2 * rng_unit(g) - 1) : (float)rng_range(g, lo, hi);
    }
}

void dsl_run_fill_int(struct dsl_run *r, struct rng *g, int lo, int hi)
{
    fill(r, g, lo, hi, false);
}
void dsl_run_fill_unit(struct dsl_run *r, struct rng *g) { fill(r, g, 0, 0, true); }

void dsl_run_go(struct dsl_run *r)
{
    struct err e = {0};
    enum rc rc = nest_interp(r->nest, 0, r->buf, r->task->dyn, 100000000, &e);
    ck_assert_msg(rc == RC_OK, "%s: %s", r->task->token, e.msg);
}

const char *dsl_util_code(const char *text, const char *token, const char *algorithm,
                          const char *params, char msg[1600])
{
    static char code[64];
    struct op_lib *lib = NULL;
    struct task *t = NULL;
    struct err e = {0};
    enum rc rc = text ? op_lib_new(NULL, false, &lib, &e)
                      : op_lib_new(QN_SOURCE_DIR "/schedules", true, &lib, &e);
    if (rc == RC_OK && text) rc = op_lib_add(lib, "t.op", text, strlen(text), &e);
    if (rc == RC_OK && token) rc = task_parse(token, lib, NULL, &t, &e);
    if (rc == RC_OK && token && algorithm) {
        struct ir *ir = ir_new();
        struct nest *n = NULL;
        rc = dsl_lower(ir, t, algorithm, params, &n, &e);
        ir_free(ir);
    }
    memcpy(code, rc == RC_OK ? "" : e.code, rc == RC_OK ? 1 : sizeof e.code);
    memcpy(msg, e.msg, sizeof e.msg);
    task_free(t);
    op_lib_free(lib);
    return code;
}
