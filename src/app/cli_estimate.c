/* cli_estimate: the analytic time of a schedule, and the schedule that is best by it: the rung for
 * tasks that nobody has tuned. */
#include <string.h>

#include "cli.h"
#include "tune/model.h"
#include "tune/tune.h"

double work_model_ns(struct work *w, const char *trace)
{
    struct trace *t;
    struct ir *ir;
    struct kernel k = {0};
    struct err e;
    double ns = -1;
    if (trace_parse("(schedule)", trace, strlen(trace), &t, NULL) != RC_OK) return -1;
    if (compile_kernel(w->task, w->s->target, t, &ir, NULL, &k, NULL, NULL, &e) == RC_OK) {
        ns = model_time_ns(k.nest, w->s->target);
        ir_free(ir);
    }
    trace_free(t);
    return ns;
}

static double estimate_ns(void *ctx, const char *trace) { return work_model_ns(ctx, trace); }

enum rc work_estimate(struct work *w, char **text, struct err *e)
{
    struct plan plan;
    enum rc rc = compile_plan(w->task, w->s->target, w->threads, w->s->schedules, &plan, e);
    if (rc != RC_OK) return rc;
    struct tune_ops ops = {.ctx = w, .estimate = estimate_ns};
    struct tune_options o;
    struct tune_summary sum;
    tune_effort("estimate", &o);
    o.seed = w->s->o->seed;
    rc = tune_run(plan.space, plan.n, NULL, 0, &ops, &o, &sum, e);
    if (rc == RC_OK) *text = mem_strdup(sum.trace);
    tune_summary_fini(&sum);
    plan_fini(&plan);
    return rc;
}
