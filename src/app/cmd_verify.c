/* quern verify: compiles one schedule of each task and has the runner check it at tier 3, for every
 * seed; an emitted FILE.c is compiled with its own test and run. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "cli.h"
#include "compile/sizes.h"

/* What to do about an own operator that is right and rounds too much; a range is asked of the first input
 * that has none. */
static void say_rounding(const struct task *t)
{
    const struct task_tensor *x = NULL;
    for (int i = 0; i < t->ntensor && !x; i++)
        if (t->tensor[i].scope == SCOPE_IN && !t->tensor[i].ranged) x = &t->tensor[i];
    say("quern: rounding alone can do this, where large values cancel or an angle is large: "
        "compute "
        "those in f64");
    if (x)
        say("; or, if data like these cannot occur, say which can: in %s[...]: %s in 0..2", x->name,
            dtype_name(x->dtype));
    say(" (DSL.txt, how it is verified)\n");
}

/* sizes: values of dynamic extents it was checked at; 0: there are none. */
static void print_verdict(struct work *w, const struct wire_outcome *o, const char *rung, int sizes)
{
    bool ok = o->verdict == VERDICT_OK;
    if (w->s->o->json) {
        print_json(json_pack("{s:i, s:s, s:b, s:o, s:o, s:o, s:s, s:s, s:s, s:i}", "v", 1, "task",
                             w->task->token, "ok", ok, "max_err", json_number(o->max_err), "bound",
                             json_number(o->bound), "worst", json_number(o->worst), "verdict",
                             verdict_name(o->verdict), "text", o->text ? o->text : "", "rung", rung,
                             "sizes", sizes));
        return;
    }
    char at[40] = "";
    if (sizes > 1) snprintf(at, sizeof at, " at %d sizes", sizes);
    printf("%s  %s  tier %d, %" PRIu32 " checks%s, error at most %.2f of its bound  schedule: %s\n",
           ok ? "ok" : verdict_name(o->verdict), w->task->token, o->tier, o->checks, at, o->worst,
           rung);
    if (!ok) printf("  %s\n", o->text ? o->text : "");
    if (o->verdict == VERDICT_WRONG_RESULT && w->task->own && o->worst < 1000)
        say_rounding(w->task);
}

/* The kernel, compiled at the tuning point, on one row of other dynamic extents. */
static enum rc verify_size(struct work *w, const int64_t *dyn, const char *trace,
                           const struct compile_result *r, struct wire_outcome *sum, struct err *e)
{
    struct work other;
    struct wire_outcome o = {0};
    char *token = task_resized(w->task, dyn);
    enum rc rc = work_open(&other, w->s, token, true, e);
    if (rc == RC_OK) work_patience(&other);
    if (rc == RC_OK) rc = work_verify(&other, trace, r, &o, e);
    if (rc == RC_OK) {
        sum->checks += o.checks;
        sum->worst = fmax(sum->worst, o.worst);
        if (o.verdict != VERDICT_OK) print_verdict(&other, &o, "of the tuning point", 1);
        rc = outcome_error(&other, &o, e);
    }
    work_close(&other);
    mem_free(token);
    return rc;
}

/* All sizes of a task with dynamic extents but the tuning point; their checks are added to *sum. */
static enum rc verify_sizes(struct work *w, const char *trace_text, const struct compile_result *r,
                            struct wire_outcome *sum, int *count, struct err *e)
{
    struct ir *ir = NULL;
    struct trace *trace = NULL;
    struct nest *naive;
    struct kernel k;
    struct check_sizes sizes = {0};
    enum rc rc = trace_parse("(schedule)", trace_text, strlen(trace_text), &trace, e);
    if (rc == RC_OK)
        rc = compile_kernel(w->task, w->s->target, trace, &ir, &naive, &k, NULL, NULL, e);
    if (rc == RC_OK)
        check_sizes(w->task, naive, trace, target_lanes(w->s->target, 32), w->s->lib, ir->arena,
                    &sizes);
    for (int i = 0; i + 1 < sizes.n && rc == RC_OK; i++)
        rc = verify_size(w, sizes.dyn + i * sizes.ndyn, trace_text, r, sum, e);
    *count = sizes.n;
    trace_free(trace);
    ir_free(ir);
    return rc;
}

static enum rc verify_task(void *ctx, const char *token, struct err *e)
{
    struct session *s = ctx;
    struct work w;
    struct wire_outcome outcome = {0};
    struct compile_result r = {0};
    struct db_row row;
    char *trace = NULL;
    const char *rung = "";
    int sizes = 0;
    enum rc rc = work_open(&w, s, token, true, e);
    if (rc == RC_OK) rc = work_schedule(&w, s->o->schedule, &trace, &rung, &row, e);
    if (rc == RC_OK) rc = work_compile(&w, trace, COMPILE_BLOB | COMPILE_VERIFY, &r, e);
    if (rc == RC_OK) work_patience(&w);
    if (rc == RC_OK) rc = work_verify(&w, trace, &r, &outcome, e);
    if (rc == RC_OK && outcome.verdict == VERDICT_OK && w.task->ndyn)
        rc = verify_sizes(&w, trace, &r, &outcome, &sizes, e);
    if (rc == RC_OK) {
        print_verdict(&w, &outcome, rung, sizes);
        rc = outcome_error(&w, &outcome, e);
    }
    compile_result_fini(&r);
    mem_free(trace);
    work_close(&w);
    return rc;
}

/* An emitted file: its own test, compiled here. */
static enum rc verify_file(const struct options *o, const char *path, struct err *e)
{
    char dir[2048], stem[2048], test[2100];
    const char *compiler = "";
    const char *slash = strrchr(path, '/');
    if (strlen(path) >= sizeof dir - 10)
        return err_set(e, RC_INPUT, "verify.file", "the path is too long");
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (slash == path) snprintf(dir, sizeof dir, "/");
    snprintf(stem, sizeof stem, "%s", slash ? slash + 1 : path);
    stem[strlen(stem) - 2] = 0;
    size_t n = strlen(stem);
    if (n > 5 && strcmp(stem + n - 5, "_test") == 0) stem[n - 5] = 0;
    snprintf(test, sizeof test, "%.*s%s_test.c", slash ? (int)(slash - path + 1) : 0, path, stem);
    if (!fs_exists(path)) return err_set(e, RC_INPUT, "fs.open", "cannot open '%s'", path);
    if (!fs_exists(test))
        return err_set(
            e, RC_INPUT, "verify.no_test",
            "'%s' is not there: quern emit writes it beside the kernel, and it is what is run",
            test);
    enum rc rc = cc_test(dir, stem, &compiler, e);
    if (rc != RC_OK && rc != RC_MISMATCH) return rc;
    bool ok = rc == RC_OK;
    if (o->json)
        print_json(json_pack("{s:i, s:s, s:b, s:n, s:n, s:n, s:s}", "v", 1, "task", path, "ok", ok,
                             "max_err", "bound", "worst", "compiler", compiler));
    else
        printf("%s  %s  compiled by %s, against plain loops\n", ok ? "ok" : "wrong_result", path,
               compiler);
    return rc;
}

enum rc cmd_verify(const struct options *o, struct err *e)
{
    struct session s;
    struct options tasks = *o;
    enum rc rc = RC_OK;
    tasks.n = 0;
    tasks.arg = mem_new(sizeof(char *) * (size_t)(o->n + 1));
    for (int i = 0; i < o->n && rc == RC_OK; i++) {
        size_t n = strlen(o->arg[i]);
        if (n > 2 && strcmp(o->arg[i] + n - 2, ".c") == 0)
            rc = verify_file(o, o->arg[i], e);
        else
            tasks.arg[tasks.n++] = o->arg[i];
    }
    if (rc == RC_OK && (tasks.n || o->n == 0)) {
        rc = session_open(&s, &tasks, e);
        if (rc == RC_OK) rc = for_each_task(&tasks, verify_task, &s, e);
        session_close(&s);
    }
    mem_free(tasks.arg);
    return rc;
}
