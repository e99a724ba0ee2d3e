/* bind: see cli_bind.h. */
#include "cli_bind.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/proc.h"

/* ---- builder --------------------------------------------------------------------------------- */

static enum rc bind_submit(void *ctx, uint64_t id, const char *trace, struct err *e)
{
    struct tune_binding *b = ctx;
    return worker_submit(b->w->s->worker, id, trace, COMPILE_BLOB, e);
}

static enum rc bind_receive(void *ctx, uint64_t *id, struct tune_built *out, struct err *e)
{
    struct tune_binding *b = ctx;
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
    struct tune_binding *b = ctx;
    return work_model_ns(b->w, trace);
}

/* ---- bench ----------------------------------------------------------------------------------- */

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

/* Samples are a tenth of a millisecond, or one call that is longer. Careful: as many as make eight
 * milliseconds. Of 0, an unknown time, few. */
static uint32_t epochs_of(double incumbent_ns, bool careful)
{
    uint32_t few = incumbent_ns > 500000 ? 2 : 4;
    double n = incumbent_ns > 0 ? 8e6 / fmax(incumbent_ns, 1e5) : 0;
    return !careful || n < few ? few : n > TUNE_SAMPLES ? TUNE_SAMPLES : (uint32_t)n;
}

static enum rc bind_screen(void *ctx, const char *trace, const struct tune_built *built,
                           double incumbent_ns, bool careful, struct err *e)
{
    struct tune_binding *b = ctx;
    const struct wire_task *job;
    enum rc rc = work_job(b->w, trace, &job, e);
    if (rc != RC_OK) return rc;
    struct arena *a = arena_new();
    struct wire_screen m = {
        .task = *job,
        .limits = {.threads = (uint32_t)b->w->threads},
        .seed = b->w->s->o->seed,
        .incumbent_ns = incumbent_ns,
        .epochs = epochs_of(incumbent_ns, careful),
    };
    job_blob(&m.blob, built->handle, b->w->s->target, a);
    b->screen_ns = clock_ns();
    b->careful = careful;
    rc = client_submit(b->w->s->runner, WIRE_SCREEN, &m, 60000, e);
    arena_free(a);
    return rc;
}

/* The mean of the lower two thirds. A short kernel has more than one time: a loop settles in one of several ways
 * through the queues of the processor, and stays there until an interrupt comes; what is usual is a mean of
 * them. */
static double usual(const struct tune_measured *m)
{
    double sorted[TUNE_SAMPLES], sum = 0;
    int n = (m->nsample * 2 + 2) / 3;
    memcpy(sorted, m->samples, sizeof sorted);
    qsort(sorted, (size_t)m->nsample, sizeof *sorted, compare_double);
    for (int i = 0; i < n; i++) sum += sorted[i];
    return sum / n;
}

static enum rc bind_screened(void *ctx, struct tune_measured *out, struct err *e)
{
    struct tune_binding *b = ctx;
    struct client_reply r;
    enum rc rc = client_wait(b->w->s->runner, &r, e);
    if (rc != RC_OK) return rc;
    from_outcome(out, &r.result->outcome);
    /* Screening overlaps with compiling: the least disturbed sample is the best one. */
    keep_samples(out, r.result->samples.p, r.result->samples.n);
    if (out->nsample) out->ns = b->careful ? usual(out) : out->lo;
    out->run_ns = clock_ns() - b->screen_ns;
    return RC_OK;
}

static void race_row(const struct client_race *r, int i, struct tune_measured *m)
{
    const struct race_entry *x = &r->race.entries[i];
    from_outcome(m, &r->outcomes[i]);
    if (r->world != VERDICT_OK) {
        snprintf(m->verdict, sizeof m->verdict, "%s", verdict_name(r->world));
        snprintf(m->error, sizeof m->error, "%.399s", r->text);
        m->world = true;
    }
    double ns[1024];
    size_t n = 0;
    for (int k = 0; k < r->race.rounds && n < QN_COUNT(ns); k++)
        ns[n++] = r->race.ns.p[k * r->race.columns + i];
    keep_samples(m, ns, n);
    m->ns = x->median_ns;
    if (isfinite(x->ns_lo) &&
        isfinite(x->ns_hi)) { /* else too few rounds for an interval: the range stands */
        m->lo = x->ns_lo;
        m->hi = x->ns_hi;
    }
    m->fma = x->fma;
}

static enum rc bind_race(void *ctx, int n, const char *const *trace, const struct tune_built *built,
                         struct tune_measured *out, int *winner, bool *separated, struct err *e)
{
    struct tune_binding *b = ctx;
    const struct compile_result *blobs[16];
    const struct wire_task *job;
    struct client_race *race = mem_new(sizeof *race);
    for (int i = 0; i < n; i++) blobs[i] = built[i].handle;
    *winner = -1;
    /* One tolerance for all: the loosest of the finalists' algorithms is the task's own. */
    enum rc rc = work_job(b->w, trace[0], &job, e);
    for (int i = 1; i < n && rc == RC_OK && job->exact; i++) rc = work_job(b->w, trace[i], &job, e);
    worker_pause(b->w->s->worker, true);
    if (rc == RC_OK)
        rc = work_race(b->w, n, job, blobs, 3, 61, n == 1 || b->races++ >= 2 ? 10 : 0.25, race, e);
    worker_pause(b->w->s->worker, false);
    if (rc == RC_OK) {
        b->fma_flops = race->fma_flops;
        for (int i = 0; i < n; i++) race_row(race, i, &out[i]);
        *winner = race->world == VERDICT_OK ? race->race.winner : -1;
        *separated = race->race.separated;
        if (*winner >= 0 && strcmp(out[*winner].verdict, "ok") != 0) *winner = -1;
        client_race_free(race);
    }
    mem_free(race);
    return rc;
}

/* ---- log ------------------------------------------------------------------------------------- */

static const char *phase_name(enum tune_phase p)
{
    return p == TUNE_RACE ? "race" : p == TUNE_SCREEN ? "screen" : "build";
}

static bool bind_recorded(void *ctx, enum tune_phase phase, const char *trace_hash,
                          char blob_hash[33], struct tune_measured *m)
{
    struct tune_binding *b = ctx;
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
    m->flops = isfinite(r->executed_gflops) ? r->executed_gflops * r->median : 0;
    m->worst = NAN;
    m->crc = r->out_crc;
    snprintf(blob_hash, 33, "%s", r->blob_hash);
    return true;
}

static enum rc bind_record(void *ctx, int64_t step, enum tune_phase phase, const char *trace,
                           const struct tune_built *built, const struct tune_measured *m,
                           struct err *e)
{
    struct tune_binding *b = ctx;
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
        /* A race times the FMA loop in its own rounds: that peak counts, however busy it was. */
        double ideal = phase == TUNE_RACE && m->fma > 0
                           ? work_roof_at(b->w, built->flops, b->fma_flops * m->fma / m->ns, &roof)
                           : work_roof_ns(b->w, built->flops, &roof);
        r.gflops = b->w->flops / m->ns;
        r.executed_gflops = built->flops / m->ns;
        r.roofline_pct = 100 * ideal / m->ns;
        r.roof = roof;
    }
    return db_put(b->w->s->db, b->run, &r, e);
}

static enum rc bind_commit(void *ctx, struct err *e)
{
    struct tune_binding *b = ctx;
    return db_commit(b->w->s->db, e);
}

static bool bind_stop(void *ctx)
{
    struct tune_binding *b = ctx;
    db_tick(b->w->s->db, NULL);
    return interrupted != 0;
}

/* ---- progress -------------------------------------------------------------------------------- */

static void bind_progress(void *ctx, const struct tune_progress *p)
{
    struct tune_binding *b = ctx;
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
    char left[24] = "";
    if (eta >= 1) snprintf(left, sizeof left, "  ETA %.0f s", eta);
    fprintf(stderr, /* at most 79 columns: a longer line would wrap and pile up */
            "%s%-7s %3" PRId64 "/%" PRId64 " tried  best %.1f us %.1f GFLOP/s  %" PRId64
            " dropped  %.0f/s%s%s",
            tty ? "\r\033[K" : "", p->phase, p->step, p->trials, p->best_ns / 1e3,
            p->best_ns > 0 ? b->w->flops / p->best_ns : 0, p->failures, rate, left,
            tty ? "" : "\n");
    b->line_open = tty;
}

void tune_bind_quiet(struct tune_binding *b)
{
    if (b->line_open) fprintf(stderr, "\r\033[K");
    b->line_open = false;
}

/* ---- the door -------------------------------------------------------------------------------- */

static void read_recorded(struct tune_binding *b)
{
    b->recorded = map_new();
    for (size_t i = 0; i < b->run->row_n; i++) {
        const struct db_row *r = &b->run->rows[i];
        char key[64];
        snprintf(key, sizeof key, "%s:%s",
                 r->phase == DB_RACE     ? "race"
                 : r->phase == DB_SCREEN ? "screen"
                                         : "build",
                 r->trace_hash);
        if (!r->world) map_put(b->recorded, key, (void *)r);
    }
}

enum rc tune_bind_open(struct tune_binding *b, struct work *w, struct db_run *run, struct err *e)
{
    *b = (struct tune_binding){.w = w, .run = run};
    enum rc rc = planted_read(getenv("QUERN_PLANT"), &b->planted, e);
    if (rc == RC_OK) read_recorded(b);
    return rc;
}

void tune_bind_close(struct tune_binding *b)
{
    if (b->recorded) map_free(b->recorded);
    planted_free(b->planted);
}

struct tune_ops tune_bind(struct tune_binding *b)
{
    return (struct tune_ops){
        .ctx = b,
        .submit = bind_submit,
        .receive = bind_receive,
        .drop = bind_drop,
        .queue = 6,
        .screen = bind_screen,
        .screened = bind_screened,
        .race = bind_race,
        .recorded = bind_recorded,
        .record = bind_record,
        .commit = bind_commit,
        .estimate = bind_estimate,
        .stop = bind_stop,
        .progress = bind_progress,
    };
}
