/* quern tune: one task after the other, from its claim in the log to the crowned record.
 *
 *   claim ──► run (new, stopped or finished) ──► calibrate ──► tune_run (cli_bind.h) ──► standing
 *
 * A task that another quern tunes is left to it; a finished run measures nothing and says so; a
 * stopped one goes on where it was (the log's rows replay the search). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/proc.h"
#include "cli_bind.h"

struct tuning {
    struct tune_binding bind;
    struct plan plan;
    struct work *w;
    struct db_run run;
    struct arena *a;
};

/* ---- one task -------------------------------------------------------------------------------- */

enum { SEEDS = 4 };
static const char seed_mark[] = "\f"; /* between the traces a run's cursor holds */

/* Seeds of a fresh run come from the log and go into its cursor; a resumed run takes them from
 * there, because the log may have grown since and the proposals must not change. */
static enum rc seeds_of(struct tuning *t, const char **seeds, int *n, struct err *e)
{
    struct work *w = t->w;
    *n = 0;
    if (t->run.state == DB_RUN_RESUMED) {
        char *text = arena_strndup(t->a, t->run.cursor, t->run.cursor_n);
        while (*text && *n < SEEDS) {
            size_t len = strcspn(text, seed_mark);
            seeds[(*n)++] = arena_strndup(t->a, text, len);
            text += len + (text[len] != 0);
        }
        return RC_OK;
    }
    struct db_rows rows;
    enum rc rc = db_seeds(w->s->db, operator_name(w->task->op), 1, t->a, &rows, e);
    if (rc != RC_OK) return rc;
    struct buf cursor;
    buf_init(&cursor, DB_MAX_TEXT);
    for (size_t i = 0; i < rows.n && *n < SEEDS; i++) {
        if (cursor.n + strlen(rows.p[i].trace) + 2 > DB_MAX_TEXT) continue;
        buf_printf(&cursor, "%s%s", *n ? seed_mark : "", rows.p[i].trace);
        seeds[(*n)++] = rows.p[i].trace;
    }
    db_run_cursor(w->s->db, &t->run, cursor.p, cursor.n);
    buf_fini(&cursor);
    return RC_OK;
}

static enum rc search(struct tuning *t, struct tune_options *o, struct tune_summary *sum,
                      struct err *e)
{
    const struct plan *plan = &t->plan;
    const char *seeds[SEEDS];
    int nseed;
    /* Another algorithm may need fewer operations than the op's own: no roof then. */
    for (int i = 0; i < plan->n; i++)
        if (strcmp(space_algorithm(plan->space[i]), "direct") != 0) o->roof_ns = 0;
    enum rc rc = seeds_of(t, seeds, &nseed, e);
    struct tune_ops ops = tune_bind(&t->bind);
    if (rc == RC_OK) rc = tune_run(plan->space, plan->n, seeds, nseed, &ops, o, sum, e);
    tune_bind_quiet(&t->bind);
    return rc;
}

/* What `quern best` will say from now on. */
static enum rc standing(struct tuning *t, struct db_row *row, struct report *r, struct err *e)
{
    bool found = false;
    enum rc rc = db_best(t->w->s->db, t->w->key_id, t->a, row, &found, e);
    *r = found ? report_row(row) : report_none("exact");
    return rc;
}

static enum rc already_done(struct tuning *t, struct err *e)
{
    struct db_row row;
    struct report r;
    struct tune_summary none = {0};
    enum rc rc = standing(t, &row, &r, e);
    if (rc != RC_OK) return rc;
    tune_print_end(t->w, &r, &none, "finished before");
    if (!t->w->s->o->json)
        printf("  already tuned with these options (%s); nothing was measured\n", t->run.why);
    say("quern: `--seed %" PRIu64 "` or more `--trials` starts another search\n",
        t->w->s->o->seed + 1);
    return RC_OK;
}

static void claimed_elsewhere(struct work *w, const struct db_claim *c)
{
    struct report r = report_none("exact");
    struct tune_summary none = {0};
    char why[160];
    snprintf(why, sizeof why, "left to process %" PRId64 "%s%s, which is tuning it", c->pid,
             *c->who ? " of " : "", c->who);
    tune_print_end(w, &r, &none, why);
}

static enum rc tune_options_of(const struct options *o, struct tune_options *out, char *text,
                               size_t n, struct err *e)
{
    const char *effort = o->effort ? o->effort : "default";
    if (!tune_effort(effort, out))
        return err_set(e, RC_INPUT, "cli.value",
                       "--effort is one of estimate, quick, default, full; not '%.40s'", effort);
    if (o->trials > 0) {
        out->trials = o->trials;
        out->polish = (int)i64_min(out->polish, o->trials);
        out->good_pct = 1000; /* asked for so many: the roof is no reason to stop */
    }
    out->seed = o->seed;
    out->time_s = o->time_s;
    snprintf(text, n, "effort=%s trials=%" PRId64, effort, out->trials);
    return RC_OK;
}

/* The search of a claimed run, from calibration to the crowned record. */
static enum rc tune_claimed(struct tuning *t, struct tune_options *o, struct err *e)
{
    struct work *w = t->w;
    struct session *s = w->s;
    struct tune_summary sum = {0};
    struct report r;
    struct db_row row;
    const char *roof;
    if (t->run.state == DB_RUN_RESUMED)
        say("quern: going on with an earlier run of %s (%zu results)\n", w->task->token,
            t->run.row_n);
    enum rc rc = tune_bind_open(&t->bind, w, &t->run, e);
    if (rc == RC_OK) rc = session_calibrate(s, e);
    if (rc == RC_OK) {
        /* The FMA peak is a limit; a cache level's bandwidth, measured by one stream, is not. */
        double ideal = work_roof_ns(w, w->flops, &roof);
        o->roof_ns = strcmp(roof, "fma") == 0 ? ideal : 0;
        o->roof_flops = w->flops;
        rc = search(t, o, &sum, e);
    }
    if (rc == RC_INTERRUPTED && db_commit(s->db, NULL) == RC_OK) tune_say_resume(w);
    if (rc == RC_OK) rc = standing(t, &row, &r, e);
    if (rc == RC_OK) rc = db_run_finish(s->db, &t->run, r.record, sum.why, e);
    if (rc == RC_OK) tune_print_summary(w, &r, &sum);
    tune_summary_fini(&sum);
    tune_bind_close(&t->bind);
    return rc;
}

/* --effort estimate: nothing is measured and nothing logged. */
static enum rc tune_estimate(struct session *s, const char *token, struct err *e)
{
    struct work w;
    char *trace = NULL;
    struct tune_summary none = {0};
    int64_t start = clock_ns();
    enum rc rc = work_open(&w, s, token, false, e);
    if (rc == RC_OK) rc = work_estimate(&w, &trace, e);
    if (rc == RC_OK) {
        struct report r = report_none("estimate");
        r.ns = work_model_ns(&w, trace);
        r.gflops = w.flops / r.ns;
        none.wall_s = (double)(clock_ns() - start) * 1e-9;
        tune_print_end(&w, &r, &none, "estimate");
        say("quern: by the analytic model; nothing was measured\n");
    }
    mem_free(trace);
    work_close(&w);
    return rc;
}

static enum rc tune_task(void *ctx, const char *token, struct err *e)
{
    struct session *s = ctx;
    struct work w;
    struct tune_options o;
    char options_text[128];
    enum rc rc = tune_options_of(s->o, &o, options_text, sizeof options_text, e);
    if (rc != RC_OK) return rc;
    if (o.trials == 0) return tune_estimate(s, token, e);
    struct tuning t = {.w = &w, .a = arena_new()};
    struct db_claim claim = {0};
    rc = work_open(&w, s, token, true, e);
    if (rc == RC_OK) rc = session_can_time(s, e);
    if (rc == RC_OK) rc = session_db(s, DB_WRITE, e);
    if (rc == RC_OK) rc = compile_plan(w.task, s->target, w.threads, s->schedules, &t.plan, e);
    if (rc == RC_OK) { /* another .sched text is another search */
        size_t used = strlen(options_text);
        snprintf(options_text + used, sizeof options_text - used, " spaces=%.16s", t.plan.id);
    }
    if (rc == RC_OK) rc = db_claim(s->db, &w.key, 60000, &claim, e);
    if (rc == RC_OK && !claim.mine) {
        claimed_elsewhere(&w, &claim);
    } else if (rc == RC_OK) {
        rc = db_run_open(s->db, &w.key, o.seed, options_text, t.a, &t.run, e);
        if (rc == RC_OK)
            rc = t.run.state == DB_RUN_FINISHED ? already_done(&t, e) : tune_claimed(&t, &o, e);
        db_release(s->db, &w.key, NULL);
    }
    plan_fini(&t.plan);
    arena_free(t.a);
    work_close(&w);
    return rc;
}

enum rc cmd_tune(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    if (rc == RC_OK) rc = for_each_task(o, tune_task, &s, e);
    session_close(&s);
    return rc;
}
