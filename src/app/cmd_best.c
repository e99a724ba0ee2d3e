/* quern best: the winning schedule of each task from the log, and which rung of the ladder it stands on. */
#include <stdio.h>

#include "cli.h"

static void print_best(struct work *w, const struct db_row *r, const char *trace, const char *rung)
{
    bool exact = rung[0] == 'e' && rung[1] == 'x';
    if (w->s->o->json) {
        print_json(json_pack("{s:i, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "v", 1, "task", w->task->token,
                             "target", w->s->target->name, "threads", w->threads, "median_ns",
                             json_number(exact ? r->median : NAN), "ci_lo_ns", json_number(exact ? r->ci_lo : NAN), "ci_hi_ns",
                             json_number(exact ? r->ci_hi : NAN), "gflops", json_number(exact ? r->gflops : NAN),
                             "executed_gflops", json_number(exact ? r->executed_gflops : NAN), "roofline_pct",
                             json_number(exact ? r->roofline_pct : NAN), "record", exact ? r->id : "", "rung", rung, "schedule", trace));
        return;
    }
    if (exact)
        printf("# %s\n# %.2f us  [%.2f, %.2f]  %.1f GFLOP/s  %.1f%% of the %s roof  record %.8s  rung: exact record\n", w->task->token,
               r->median / 1e3, r->ci_lo / 1e3, r->ci_hi / 1e3, r->gflops, r->roofline_pct, r->roof, r->id);
    else
        printf("# %s\n# not tuned on this machine; rung: estimate, from the analytic model; `quern tune %s` measures\n", w->task->token,
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
