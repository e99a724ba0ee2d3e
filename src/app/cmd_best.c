/* quern best: the winning schedule of each task from the log, and which rung of the ladder it
 * stands on. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static void print_best(struct work *w, const struct db_row *row, const char *trace,
                       const char *rung)
{
    bool exact = strcmp(rung, "exact") == 0, logged = exact || strcmp(rung, "screened") == 0;
    struct report r = logged ? report_row(row) : report_none(rung);
    r.rung = rung;
    if (!logged) {
        r.ns = work_model_ns(w, trace);
        r.gflops = r.ns > 0 ? w->flops / r.ns : NAN;
    }
    if (w->s->o->json) {
        json_t *o = report_json(w, &r);
        json_object_set_new(o, "schedule", json_string(trace));
        print_json(o);
        return;
    }
    printf("# %s\n# ", w->task->token);
    report_print(&r);
    if (exact)
        printf("  rung: exact record\n");
    else if (logged)
        printf(
            "  rung: screened, by a search that did not come to its race; go on with: quern tune "
            "%s\n",
            w->task->spelled);
    else
        printf(
            "  rung: estimate, by the analytic model; not tuned on this machine: quern tune %s\n",
            w->task->spelled);
    fputs(trace, stdout);
}

static enum rc best_task(void *ctx, const char *token, struct err *e)
{
    struct session *s = ctx;
    struct work w;
    struct db_row row = {0};
    char *trace = NULL;
    const char *rung = "";
    enum rc rc = work_open(&w, s, token, false, e);
    if (rc == RC_OK) rc = work_schedule(&w, NULL, &trace, &rung, &row, e);
    if (rc == RC_OK) print_best(&w, &row, trace, rung);
    mem_free(trace);
    work_close(&w);
    return rc;
}

enum rc cmd_best(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    if (rc == RC_OK) rc = for_each_task(o, best_task, &s, e);
    session_close(&s);
    return rc;
}
