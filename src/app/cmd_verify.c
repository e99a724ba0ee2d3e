/* quern verify: compiles one schedule of each task and has the runner check it at tier 3, for every seed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "cli.h"

static void print_verdict(struct work *w, const struct wire_outcome *o, const char *rung)
{
    bool ok = o->verdict == VERDICT_OK;
    if (w->s->o->json) {
        print_json(json_pack("{s:i, s:s, s:b, s:o, s:o, s:o, s:s, s:s, s:s}", "v", 1, "task", w->task->token, "ok", ok,
                             "max_err", json_number(o->max_err), "bound", json_number(o->bound), "worst",
                             json_number(o->worst), "verdict", verdict_name(o->verdict), "text", o->text ? o->text : "", "rung", rung));
        return;
    }
    printf("%s  %s  tier %d, %" PRIu32 " checks, error at most %.2f of its bound  schedule: %s\n", ok ? "ok" : verdict_name(o->verdict),
           w->task->token, o->tier, o->checks, o->worst, rung);
    if (!ok) printf("  %s (error %.3g, bound %.3g)\n", o->text ? o->text : "", o->max_err, o->bound);
}

static enum rc check_blob(struct work *w, const char *trace, const struct compile_result *r, struct wire_outcome *out,
                          struct arena *a, struct err *e)
{
    const struct wire_task *job;
    enum rc rc = work_job(w, trace, &job, e);
    int64_t seeds = w->s->o->seeds ? w->s->o->seeds : 1;
    for (int64_t i = 0; i < seeds && rc == RC_OK; i++) {
        struct wire_verify m = {.task = *job, .limits = {.threads = (uint32_t)w->threads}, .tier = 3, .seed = w->s->o->seed + (uint64_t)i};
        job_blob(&m.blob, r, w->s->target, a);
        struct client_reply reply;
        rc = client_call(w->s->runner, WIRE_VERIFY, &m, 120000, &reply, e);
        if (rc != RC_OK) return rc;
        *out = reply.result->outcome;
        out->text = arena_strdup(a, out->text ? out->text : "");
        if (out->verdict != VERDICT_OK) break;
    }
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
    enum rc rc = work_open(&w, s, token, true, e);
    if (rc == RC_OK) rc = work_schedule(&w, s->o->schedule, &trace, &rung, &row, e);
    if (rc == RC_OK) rc = work_compile(&w, trace, COMPILE_BLOB | COMPILE_VERIFY, &r, e);
    if (rc == RC_OK) rc = check_blob(&w, trace, &r, &outcome, w.a, e);
    if (rc == RC_OK) {
        print_verdict(&w, &outcome, rung);
        const struct verdict_info *v = verdict_info(outcome.verdict);
        if (outcome.verdict != VERDICT_OK)
            rc = err_set(e, v && v->side == SIDE_WORLD ? RC_FAIL : RC_MISMATCH, verdict_name(outcome.verdict), "%s: %s",
                         w.task->token, outcome.text);
    }
    compile_result_fini(&r);
    mem_free(trace);
    work_close(&w);
    return rc;
}

enum rc cmd_verify(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    if (rc == RC_OK) rc = for_each_task(o, verify_task, &s, e);
    session_close(&s);
    return rc;
}
