/* plan: which schedule spaces may be tried for a task.
 *
 *   conv2d, layout=nhwc  ->  schedules/conv2d/nhwc.sched (its `when` holds) for algorithm direct;
 *                            a derived space for each algorithm no file covers; only derived ones
 *                            for a user's own operator, whatever its name
 *
 * Invariants: at least one space; files are read in name order: the plan is the same everywhere. */
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "compile/compile.h"

enum { SCHED_FILE_MAX = 256 << 10 };

void compile_facts(const struct task *task, const struct target *t, int threads, struct facts *f)
{
    f->n = 0;
    for (int i = 0; i < task->nkey; i++) {
        const struct task_key *k = &task->key[i];
        char name[80];
        if (k->value.kind == VALUE_INT) facts_put(f, k->name, k->value.i);
        if (k->value.kind == VALUE_SYMBOL) { /* layout=nhwc -> layout.nhwc = 1 */
            snprintf(name, sizeof name, "%s.%s", k->name, k->value.symbol);
            facts_put(f, name, 1);
        }
    }
#define X(field, key, def, what) facts_put(f, "target." key, t->field);
    TARGET_FACTS(X)
#undef X
    facts_put(f, "target.lanes", target_lanes(t, 32));
    facts_put(f, "threads", threads);
}

static void add_space(struct plan *p, struct space *s, const char *text, size_t n)
{
    struct buf b;
    p->space[p->n++] = s;
    buf_init(&b, n + sizeof p->id + 1);
    buf_printf(&b, "%s\n", p->id);
    buf_put(&b, text, n);
    hash_id(p->id, b.p, b.n);
    buf_fini(&b);
}

static enum rc add_file(const struct facts *f, const char *path, const char *label,
                        struct plan *out, struct err *e)
{
    char *text;
    size_t n;
    struct space *s;
    enum rc rc = fs_read(path, SCHED_FILE_MAX, &text, &n, e);
    if (rc != RC_OK) return rc;
    rc = space_parse(label, text, n, f, &s, e);
    if (rc == RC_OK && s) add_space(out, s, text, n);
    mem_free(text);
    return rc;
}

static enum rc add_files(const struct task *task, const struct facts *f, const char *dir,
                         struct plan *out, struct err *e)
{
    char folder[1024], path[1300];
    char **names;
    size_t n;
    enum rc rc = RC_OK;
    snprintf(folder, sizeof folder, "%s/%s", dir, operator_name(task->op));
    if (fs_list(folder, ".sched", &names, &n, NULL) != RC_OK)
        return RC_OK; /* an operator without schedules */
    for (size_t i = 0; i < n && rc == RC_OK && out->n < PLAN_SPACES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        rc = add_file(f, path, names[i], out, e);
    }
    fs_list_free(names, n);
    return rc;
}

static bool covers(const struct plan *p, const char *algorithm)
{
    for (int i = 0; i < p->n; i++)
        if (strcmp(space_algorithm(p->space[i]), algorithm) == 0) return true;
    return false;
}

static enum rc add_derived(const struct task *task, const struct facts *f, const char *algorithm,
                           struct plan *out, struct err *e)
{
    struct ir *ir = ir_new();
    struct nest *n;
    struct space *s = NULL;
    enum rc rc = dsl_lower(ir, task, algorithm, "", &n, e);
    if (rc == RC_OK) rc = space_derive(n, algorithm, f, &s, e);
    if (rc == RC_OK && s) add_space(out, s, space_text(s), strlen(space_text(s)));
    ir_free(ir);
    return rc;
}

enum rc compile_plan(const struct task *task, const struct target *t, int threads, const char *dir,
                     struct plan *out, struct err *e)
{
    struct facts *f = mem_new(sizeof *f);
    struct algo algos[8];
    memset(out, 0, sizeof *out);
    compile_facts(task, t, threads, f);
    enum rc rc = dir && !task->own ? add_files(task, f, dir, out, e) : RC_OK;
    int n = task_algorithms(task, algos, QN_COUNT(algos));
    for (int i = 0; i < n && i < (int)QN_COUNT(algos) && rc == RC_OK && out->n < PLAN_SPACES; i++) {
        if (covers(out, algos[i].name)) continue;
        struct err local = {0};
        enum rc one = add_derived(task, f, algos[i].name, out, &local);
        if (one != RC_OK && i == 0) { /* the operator's own body must always lower */
            if (e) *e = local;
            rc = one;
        } else if (one != RC_OK) {
            log_info("algorithm %s: %s", algos[i].name, local.msg);
        }
    }
    mem_free(f);
    if (rc == RC_OK && out->n == 0)
        rc = err_set(e, RC_INTERNAL, "plan.empty", "no schedule space for %s", task->token);
    if (rc != RC_OK) plan_fini(out);
    return rc;
}

void plan_fini(struct plan *p)
{
    for (int i = 0; i < p->n; i++) space_free(p->space[i]);
    p->n = 0;
}
