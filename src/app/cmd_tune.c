/* quern tune: binds the search loop (tune.h) to the compile worker, the runner and the log.
 *
 *   submit/receive -> worker          screen/race -> runner          record/commit -> log
 *
 * A task that another quern tunes is left to it; a finished run measures nothing and says so; a stopped one
 * goes on where it was (the log's rows replay the search). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/proc.h"
#include "cli.h"
#include "cli_plant.h"
#include "tune/tune.h"

struct binding {
    struct work *w;
    struct db_run run;
    struct arena *a;
    struct map *recorded; /* "phase:trace hash" -> row of an earlier life */
    int64_t deadline_ns, last_line_ns;
    bool line_open;
    double fma_flops; /* of one step of the FMA loop in the last race */
    int races; /* the last try takes an interval as wide as it comes: a wide one is better than none */
    struct planted *planted; /* QUERN_PLANT (plant.h), NULL: none */
};

/* ---- builder ---------------------------------------------------------------------------------- */

static enum rc bind_submit(void *ctx, uint64_t id, const char *trace, struct err *e)
{
    struct binding *b = ctx;
    return worker_submit(b->w->s->worker, id, trace, COMPILE_BLOB, e);
}

static enum rc bind_receive(void *ctx, uint64_t *id, struct tune_built *out, struct err *e)
{
    struct binding *b = ctx;
    struct compile_result *r = mem_new(sizeof *r);
    enum rc rc = worker_receive(b->w->s->worker, id, r, -1, e);
    memset(out, 0, sizeof *out);
    out->handle = r;
    if (rc != RC_OK) {
        compile_result_fini(r);
        mem_free(r);
        out->handle = NULL;
        return rc;
    }
    if (b->planted) planted_next(b->planted, r);
    out->ok = r->status == COMPILE_OK;
    out->flops = r->flops;
    out->build_ns = r->build_ns;
    out->spills = r->art.vector_stack_refs;
    snprintf(out->code, sizeof out->code, "%s", r->code);
    snprintf(out->msg, sizeof out->msg, "%.399s", r->msg);
    snprintf(out->hash, sizeof out->hash, "%s", r->art.hash);
    return RC_OK;
}

static void bind_drop(void *ctx, void *handle)
{
    (void)ctx;
    compile_result_fini(handle);
    mem_free(handle);
}

static double bind_estimate(void *ctx, const char *trace)
{
    struct binding *b = ctx;
    return work_model_ns(b->w, trace);
}

/* ---- bench ------------------------------------------------------------------------------------ */

static void from_outcome(struct tune_measured *m, const struct wire_outcome *o)
{
    const struct verdict_info *v = verdict_info(o->verdict);
    memset(m, 0, sizeof *m);
    snprintf(m->verdict, sizeof m->verdict, "%s", verdict_name(o->verdict));
    m->world = v && v->side == SIDE_WORLD;
    m->tier = o->tier;
    m->max_err = o->max_err;
    m->bound = o->bound;
    m->worst = o->worst;
    m->crc = o->crc;
    m->ns = m->lo = m->hi = m->fma = NAN;
    m->verify_ns = m->run_ns = -1;
    snprintf(m->error, sizeof m->error, "%.399s", o->text ? o->text : "");
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void keep_samples(struct tune_measured *m, const double *ns, size_t n)
{
    double sorted[TUNE_SAMPLES];
    m->nsample = 0;
    for (size_t i = 0; i < n && m->nsample < TUNE_SAMPLES; i++)
        if (!isnan(ns[i])) m->samples[m->nsample++] = ns[i];
    if (m->nsample == 0) return;
    memcpy(sorted, m->samples, sizeof(double) * (size_t)m->nsample);
    qsort(sorted, (size_t)m->nsample, sizeof *sorted, compare_double);
    m->ns = sorted[m->nsample / 2];
    m->lo = sorted[0];
    m->hi = sorted[m->nsample - 1];
}

static enum rc bind_screen(void *ctx, const char *trace, const struct tune_built *built, double incumbent_ns,
                           struct tune_measured *out, struct err *e)
{
    struct binding *b = ctx;
    const struct wire_task *job;
    enum rc rc = work_job(b->w, trace, &job, e);
    if (rc != RC_OK) return rc;
    struct arena *a = arena_new();
    struct wire_screen m = {.task = *job, .limits = {.threads = (uint32_t)b->w->threads}, .seed = b->w->s->o->seed,
                            .incumbent_ns = incumbent_ns, .epochs = incumbent_ns > 500000 ? 2 : 4};
    job_blob(&m.blob, built->handle, b->w->s->target, a);
    struct client_reply r;
    int64_t start = clock_ns();
    rc = client_call(b->w->s->runner, WIRE_SCREEN, &m, 60000, &r, e);
    if (rc == RC_OK) {
        from_outcome(out, &r.result->outcome);
        /* Screening overlaps with compiling: the least disturbed sample is the best one. */
        keep_samples(out, r.result->samples.p, r.result->samples.n);
        if (out->nsample) out->ns = out->lo;
        out->run_ns = clock_ns() - start;
    }
    arena_free(a);
    return rc;
}

static void race_row(struct binding *b, const struct client_race *r, int i, struct tune_measured *m)
{
    const struct race_entry *x = &r->race.entries[i];
    from_outcome(m, &r->outcomes[i]);
    if (r->world != VERDICT_OK) {
        snprintf(m->verdict, sizeof m->verdict, "%s", verdict_name(r->world));
        snprintf(m->error, sizeof m->error, "%.399s", r->text);
        m->world = true;
    }
    (void)b;
    double ns[1024];
    size_t n = 0;
    for (int k = 0; k < r->race.rounds && n < QN_COUNT(ns); k++) ns[n++] = r->race.ns.p[k * r->race.columns + i];
    keep_samples(m, ns, n);
    m->ns = x->median_ns;
    if (isfinite(x->ns_lo) && isfinite(x->ns_hi)) { /* else too few rounds for an interval: the range stands */
        m->lo = x->ns_lo;
        m->hi = x->ns_hi;
    }
    m->fma = x->fma;
}

static enum rc bind_race(void *ctx, int n, const char *const *trace, const struct tune_built *built,
                         struct tune_measured *out, int *winner, bool *separated, struct err *e)
{
    struct binding *b = ctx;
    const struct compile_result *blobs[16];
    const struct wire_task *job;
    struct client_race *race = mem_new(sizeof *race);
    for (int i = 0; i < n; i++) blobs[i] = built[i].handle;
    *winner = -1;
    /* One tolerance for all: the loosest of the finalists' algorithms is the task's own. */
    enum rc rc = work_job(b->w, trace[0], &job, e);
    for (int i = 1; i < n && rc == RC_OK && job->exact; i++) rc = work_job(b->w, trace[i], &job, e);
    worker_pause(b->w->s->worker, true);
    if (rc == RC_OK) rc = work_race(b->w, n, job, blobs, 3, 61, n == 1 || b->races++ >= 2 ? 10 : 0.25, race, e);
    worker_pause(b->w->s->worker, false);
    if (rc == RC_OK) {
        b->fma_flops = race->fma_flops;
        for (int i = 0; i < n; i++) race_row(b, race, i, &out[i]);
        *winner = race->world == VERDICT_OK ? race->race.winner : -1;
        *separated = race->race.separated;
        if (*winner >= 0 && strcmp(out[*winner].verdict, "ok") != 0) *winner = -1;
        client_race_free(race);
    }
    mem_free(race);
    return rc;
}

/* ---- log -------------------------------------------------------------------------------------- */

static const char *phase_name(enum tune_phase p)
{
    return p == TUNE_RACE ? "race" : p == TUNE_SCREEN ? "screen" : "build";
}

static bool bind_recorded(void *ctx, enum tune_phase phase, const char *trace_hash, char blob_hash[33],
                          struct tune_measured *m)
{
    struct binding *b = ctx;
    char key[64];
    if (!b->recorded) return false;
    snprintf(key, sizeof key, "%s:%s", phase_name(phase), trace_hash);
    const struct db_row *r = map_get(b->recorded, key);
    if (!r) return false;
    memset(m, 0, sizeof *m);
    snprintf(m->verdict, sizeof m->verdict, "%s", r->verdict);
    m->tier = r->tier;
    m->ns = r->median;
    m->lo = r->ci_lo;
    m->hi = r->ci_hi;
    m->fma = NAN;
    m->max_err = r->max_err;
    m->bound = r->bound;
    m->worst = NAN;
    m->crc = r->out_crc;
    snprintf(blob_hash, 33, "%s", r->blob_hash);
    return true;
}

static enum rc bind_record(void *ctx, int64_t step, enum tune_phase phase, const char *trace, const struct tune_built *built,
                           const struct tune_measured *m, struct err *e)
{
    struct binding *b = ctx;
    struct db_row r;
    db_row_init(&r);
    r.trace = trace;
    r.blob_hash = built->hash;
    r.step = step;
    r.phase = phase == TUNE_RACE ? DB_RACE : phase == TUNE_SCREEN ? DB_SCREEN : DB_BUILD;
    r.seed = b->w->s->o->seed;
    r.verdict = m->verdict;
    r.world = m->world;
    r.tier = m->tier;
    r.error = b->planted ? planted_error(b->planted, built->hash, m->error) : m->error;
    r.samples = m->samples;
    r.sample_n = (size_t)m->nsample;
    r.median = m->ns;
    r.ci_lo = m->lo;
    r.ci_hi = m->hi;
    r.max_err = m->max_err;
    r.bound = m->bound;
    r.out_crc = m->crc;
    r.build_ns = built->build_ns;
    r.run_ns = m->run_ns;
    r.verify_ns = m->verify_ns;
    if (isfinite(m->ns) && m->ns > 0) {
        const char *roof = "";
        /* A race times the FMA loop in its own rounds: that peak counts, however busy the machine was. */
        double ideal = phase == TUNE_RACE && m->fma > 0 ? work_roof_at(b->w, built->flops, b->fma_flops * m->fma / m->ns, &roof)
                                                        : work_roof_ns(b->w, built->flops, &roof);
        r.gflops = b->w->flops / m->ns;
        r.executed_gflops = built->flops / m->ns;
        r.roofline_pct = 100 * ideal / m->ns;
        r.roof = roof;
    }
    return db_put(b->w->s->db, &b->run, &r, e);
}

static enum rc bind_commit(void *ctx, struct err *e)
{
    struct binding *b = ctx;
    return db_commit(b->w->s->db, e);
}

static bool bind_stop(void *ctx)
{
    struct binding *b = ctx;
    db_tick(b->w->s->db, NULL);
    return interrupted != 0;
}

static void bind_progress(void *ctx, const struct tune_progress *p)
{
    struct binding *b = ctx;
    int64_t now = clock_ns();
    bool tty = on_tty();
    if (b->w->s->o->quiet || now - b->last_line_ns < (tty ? 100 : 30000) * INT64_C(1000000)) return;
    if (!tty && b->last_line_ns == 0) {
        b->last_line_ns = now;
        return;
    }
    b->last_line_ns = now;
    double rate = p->elapsed_s > 0 ? (double)p->step / p->elapsed_s : 0;
    double eta = rate > 0 ? (double)(p->trials - p->step) / rate : 0;
    fprintf(stderr, "%s%-8s %4" PRId64 "/%" PRId64 " tried  best %8.1f us  %5.1f GFLOP/s  %3" PRId64 " failed  %5.1f/s  ETA %3.0f s%s",
            tty ? "\r\033[K" : "", p->phase, p->step, p->trials, p->best_ns / 1e3, p->best_ns > 0 ? b->w->flops / p->best_ns : 0,
            p->failures, rate, eta > 0 ? eta : 0, tty ? "" : "\n");
    b->line_open = tty;
}

/* ---- one task --------------------------------------------------------------------------------- */

static void read_recorded(struct binding *b)
{
    b->recorded = map_new();
    for (size_t i = 0; i < b->run.row_n; i++) {
        const struct db_row *r = &b->run.rows[i];
        char key[64];
        snprintf(key, sizeof key, "%s:%s", r->phase == DB_RACE ? "race" : r->phase == DB_SCREEN ? "screen" : "build",
                 r->trace_hash);
        if (!r->world) map_put(b->recorded, key, (void *)r);
    }
}

enum { SEEDS = 4 };
static const char seed_mark[] = "\f"; /* between the traces a run's cursor holds */

/* Seeds of a fresh run come from the log and go into its cursor; a resumed run takes them from there, because
 * the log may have grown since and the proposals must not change. */
static enum rc seeds_of(struct binding *b, const char **seeds, int *n, struct err *e)
{
    struct work *w = b->w;
    *n = 0;
    if (b->run.state == DB_RUN_RESUMED) {
        char *text = arena_strndup(b->a, b->run.cursor, b->run.cursor_n);
        while (*text && *n < SEEDS) {
            size_t len = strcspn(text, seed_mark);
            seeds[(*n)++] = arena_strndup(b->a, text, len);
            text += len + (text[len] != 0);
        }
        return RC_OK;
    }
    struct db_rows rows;
    enum rc rc = db_seeds(w->s->db, operator_name(w->task->op), 1, b->a, &rows, e);
    if (rc != RC_OK) return rc;
    struct buf cursor;
    buf_init(&cursor, DB_MAX_TEXT);
    for (size_t i = 0; i < rows.n && *n < SEEDS; i++) {
        if (cursor.n + strlen(rows.p[i].trace) + 2 > DB_MAX_TEXT) continue;
        buf_printf(&cursor, "%s%s", *n ? seed_mark : "", rows.p[i].trace);
        seeds[(*n)++] = rows.p[i].trace;
    }
    db_run_cursor(w->s->db, &b->run, cursor.p, cursor.n);
    buf_fini(&cursor);
    return RC_OK;
}

static enum rc search(struct binding *b, const struct tune_options *o, struct tune_summary *sum, struct err *e)
{
    struct work *w = b->w;
    struct plan plan;
    const char *seeds[SEEDS];
    int nseed;
    enum rc rc = compile_plan(w->task, w->s->target, w->threads, w->s->schedules, &plan, e);
    if (rc != RC_OK) return rc;
    rc = seeds_of(b, seeds, &nseed, e);
    struct tune_ops ops = {
        .ctx = b, .submit = bind_submit, .receive = bind_receive, .drop = bind_drop, .queue = 6, .screen = bind_screen,
        .race = bind_race, .recorded = bind_recorded, .record = bind_record, .commit = bind_commit,
        .estimate = bind_estimate, .stop = bind_stop, .progress = bind_progress,
    };
    if (rc == RC_OK) rc = tune_run(plan.space, plan.n, seeds, nseed, &ops, o, sum, e);
    if (b->line_open) fprintf(stderr, "\r\033[K");
    plan_fini(&plan);
    return rc;
}

/* What `quern best` will say from now on. */
static enum rc standing(struct binding *b, struct db_row *row, struct report *r, struct err *e)
{
    bool found = false;
    enum rc rc = db_best(b->w->s->db, b->w->key_id, b->a, row, &found, e);
    *r = found ? report_row(row) : report_none("exact");
    return rc;
}

static enum rc already_done(struct binding *b, struct err *e)
{
    struct db_row row;
    struct report r;
    struct tune_summary none = {0};
    enum rc rc = standing(b, &row, &r, e);
    if (rc != RC_OK) return rc;
    tune_print_end(b->w, &r, &none, "finished before");
    if (!b->w->s->o->json) printf("  already tuned with these options (%s); nothing was measured\n", b->run.why);
    say("quern: `--seed %" PRIu64 "` or more `--trials` starts another search\n", b->w->s->o->seed + 1);
    return RC_OK;
}

static void claimed_elsewhere(struct work *w, const struct db_claim *c)
{
    struct report r = report_none("exact");
    struct tune_summary none = {0};
    char why[160];
    snprintf(why, sizeof why, "left to process %" PRId64 "%s%s, which is tuning it", c->pid, *c->who ? " of " : "", c->who);
    tune_print_end(w, &r, &none, why);
}

static enum rc tune_options_of(const struct options *o, struct tune_options *out, char *text, size_t n, struct err *e)
{
    const char *effort = o->effort ? o->effort : "default";
    if (!tune_effort(effort, out))
        return err_set(e, RC_INPUT, "cli.value", "--effort is one of estimate, quick, default, full; not '%.40s'", effort);
    if (o->trials > 0) out->trials = o->trials;
    if (o->trials > 0 && out->trials > 96) out->good_pct = 1000; /* asked for more: never stop early */
    out->seed = o->seed;
    out->time_s = o->time_s;
    snprintf(text, n, "effort=%s trials=%" PRId64, effort, out->trials);
    return RC_OK;
}

/* The search of a claimed run, from calibration to the crowned record. */
static enum rc tune_claimed(struct binding *b, struct tune_options *o, struct err *e)
{
    struct work *w = b->w;
    struct session *s = w->s;
    struct tune_summary sum = {0};
    struct report r;
    struct db_row row;
    const char *roof;
    if (b->run.state == DB_RUN_RESUMED) say("quern: going on with an earlier run of %s (%zu results)\n", w->task->token, b->run.row_n);
    read_recorded(b);
    enum rc rc = session_calibrate(s, e);
    if (rc == RC_OK) {
        o->roof_ns = work_roof_ns(w, w->flops, &roof);
        rc = search(b, o, &sum, e);
    }
    if (rc == RC_INTERRUPTED && db_commit(s->db, NULL) == RC_OK) tune_say_resume(w);
    if (rc == RC_OK) rc = standing(b, &row, &r, e);
    if (rc == RC_OK) rc = db_run_finish(s->db, &b->run, r.record, sum.why, e);
    if (rc == RC_OK) tune_print_summary(w, &r, &sum);
    tune_summary_fini(&sum);
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
    struct binding b = {.w = &w, .a = arena_new()};
    struct db_claim claim = {0};
    rc = work_open(&w, s, token, true, e);
    if (rc == RC_OK) rc = session_can_time(s, e);
    if (rc == RC_OK) rc = session_db(s, DB_WRITE, e);
    if (rc == RC_OK) rc = planted_read(getenv("QUERN_PLANT"), &b.planted, e);
    if (rc == RC_OK) rc = db_claim(s->db, &w.key, 60000, &claim, e);
    if (rc == RC_OK && !claim.mine) {
        claimed_elsewhere(&w, &claim);
    } else if (rc == RC_OK) {
        rc = db_run_open(s->db, &w.key, o.seed, options_text, b.a, &b.run, e);
        if (rc == RC_OK) rc = b.run.state == DB_RUN_FINISHED ? already_done(&b, e) : tune_claimed(&b, &o, e);
        db_release(s->db, &w.key, NULL);
    }
    if (b.recorded) map_free(b.recorded);
    planted_free(b.planted);
    arena_free(b.a);
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
