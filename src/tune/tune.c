/* tune: the loop. Proposals come from search.c; this file builds, screens, records and finally
 * races them.
 *
 *   search_next ──submit──► builder ──receive──► screen ──► record ──► search_result
 *        ▲                                          │
 *        └────── the next proposals, while the bench is busy with this one
 *
 * The invariants are those of tune.h. */
#include "tune/tune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/proc.h"
#include "tune/search.h"

const char *const tune_effort_names[4] = {"estimate", "quick", "default", "full"};

bool tune_effort(const char *word, struct tune_options *out)
{
    static const struct tune_options table[] = {
        {.effort = "estimate",
         .trials = 0,
         .draft = 400,
         .first = 1,
         .starts = 0,
         .finalists = 0,
         .good_pct = 100},
        {.effort = "quick",
         .trials = 16,
         .draft = 300,
         .first = 8,
         .starts = 1,
         .polish = 0,
         .polish_patience = 0,
         .finalists = 4,
         .good_pct = 97},
        {.effort = "default",
         .trials = 192,
         .draft = 400,
         .first = 16,
         .starts = 2,
         .polish = 256,
         .polish_patience = 64,
         .finalists = 8,
         .good_pct = 99},
        {.effort = "full",
         .trials = 2000,
         .draft = 3000,
         .first = 64,
         .starts = 6,
         .polish = 1000,
         .polish_patience = 200,
         .finalists = 16,
         .good_pct = 101},
    };
    for (size_t i = 0; i < QN_COUNT(table); i++)
        if (strcmp(table[i].effort, word) == 0) {
            *out = table[i];
            return true;
        }
    return false;
}

struct loop {
    const struct tune_ops *ops;
    const struct tune_options *o;
    struct search search;
    struct map *blobs; /* blob hash -> the point that was measured with it */
    struct tune_summary *out;
    double incumbent_ns, roof_ns; /* roof_ns: of what the incumbent executes */
    int64_t start_ns;
    struct flight { /* candidates on their way, a ring, oldest first */
        struct point *p;
        bool recorded; /* in an earlier life of this run: the builder has no such request */
    } flight[TUNE_QUEUE];
    int first, flying, landing; /* landing: the one that is taken now, 0 or 1 */
    int64_t trials;
    bool polishing;
    int uncommitted;
    char why[400]; /* of the last candidate that was not well */
    bool closing;  /* no more proposals, and nothing in flight is measured */
};

static double elapsed_s(const struct loop *l) { return (double)(clock_ns() - l->start_ns) * 1e-9; }

static void count_verdict(struct tune_summary *out, const char *name)
{
    int i = 0;
    while (i < out->nverdict && strcmp(out->verdict[i].name, name) != 0) i++;
    if (i == (int)QN_COUNT(out->verdict)) return;
    if (i == out->nverdict)
        snprintf(out->verdict[out->nverdict++].name, sizeof out->verdict[i].name, "%s", name);
    out->verdict[i].n++;
}

static void report(struct loop *l, const char *phase)
{
    if (!l->ops->progress) return;
    int64_t failures = 0;
    for (int i = 0; i < l->out->nverdict; i++) failures += l->out->verdict[i].n;
    struct tune_progress p = {
        .candidates = l->out->candidates,
        .measurements = l->out->measurements,
        .failures = failures,
        .duplicates = l->out->duplicates,
        .trials = l->trials,
        .step = l->out->steps,
        .best_ns = l->incumbent_ns,
        .phase = phase,
        .elapsed_s = elapsed_s(l),
    };
    l->ops->progress(l->ops->ctx, &p);
}

static bool is(const struct tune_measured *m, const char *verdict)
{
    return strcmp(m->verdict, verdict) == 0;
}

/* One result into the search and the counters. "slow" is a valid, correct candidate that will not
 * lead. */
static void account(struct loop *l, struct point *p, const char *blob_hash,
                    const struct tune_measured *m)
{
    double ns = is(m, "ok") || is(m, "slow") ? m->ns : NAN;
    if (!is(m, "ok")) count_verdict(l->out, m->verdict);
    if (!is(m, "ok")) snprintf(l->why, sizeof l->why, "%s", m->error[0] ? m->error : m->verdict);
    if (*blob_hash) {
        map_put(l->blobs, blob_hash, p);
        l->out->candidates++;
    }
    if (!isnan(m->ns)) l->out->measurements++;
    l->out->steps++;
    search_result(&l->search, p, ns);
    if (!is(m, "ok") || (l->incumbent_ns > 0 && ns >= l->incumbent_ns)) return;
    l->incumbent_ns = ns;
    bool skips = m->flops > 0 && m->flops < l->o->roof_flops;
    l->roof_ns = l->o->roof_ns * (skips ? m->flops / l->o->roof_flops : 1);
}

static void refusal(struct tune_measured *m, const struct tune_built *b)
{
    bool illegal = strncmp(b->code, "worker.", 7) != 0 && strncmp(b->code, "llvm.", 5) != 0;
    memset(m, 0, sizeof *m);
    m->ns = m->lo = m->hi = m->fma = m->max_err = m->bound = m->worst = NAN;
    m->crc = m->verify_ns = m->run_ns = -1;
    snprintf(m->verdict, sizeof m->verdict, "%s", illegal ? "illegal" : "compile_error");
    snprintf(m->error, sizeof m->error, "%.40s: %.340s", b->code, b->msg);
}

/* ---- one candidate after the other ----------------------------------------------------------- */

/* The result of an earlier life of this run: looked up, not consumed. */
static bool find_recorded(struct loop *l, const struct point *p, char blob_hash[33],
                          struct tune_measured *m)
{
    return l->ops->recorded(l->ops->ctx, TUNE_SCREEN, p->hash, blob_hash, m) ||
           l->ops->recorded(l->ops->ctx, TUNE_BUILD, p->hash, blob_hash, m);
}

/* Fills the queue as far as trials and the search allow. */
static enum rc propose(struct loop *l, struct err *e)
{
    enum rc rc = RC_OK;
    while (rc == RC_OK && !l->closing && l->flying < l->ops->queue &&
           l->out->steps + l->landing + l->flying < l->trials) {
        struct tune_measured m;
        char blob_hash[33];
        struct point *p = search_next(&l->search);
        if (!p) break;
        struct flight *f = &l->flight[(l->first + l->flying) % TUNE_QUEUE];
        *f = (struct flight){p, find_recorded(l, p, blob_hash, &m)};
        if (!f->recorded) rc = l->ops->submit(l->ops->ctx, 0, p->trace, e);
        if (rc == RC_OK) l->flying++;
    }
    return rc;
}

static enum rc commit(struct loop *l, int at_least, struct err *e)
{
    if (l->uncommitted < at_least) return RC_OK;
    l->uncommitted = 0;
    return l->ops->commit(l->ops->ctx, e);
}

/* While the bench is busy the search goes on and the log is saved; a failure of the world is tried
 * again. */
static enum rc screen(struct loop *l, const struct point *p, const struct tune_built *b,
                      struct tune_measured *m, struct err *e)
{
    for (int tries = 0; tries < 3; tries++) {
        enum rc rc = l->ops->screen(l->ops->ctx, p->trace, b, l->incumbent_ns, p->nudged, e);
        if (rc != RC_OK) return rc;
        if (tries == 0) rc = propose(l, e);
        if (rc == RC_OK) rc = commit(l, TUNE_COMMIT, e);
        enum rc done = l->ops->screened(l->ops->ctx, m, rc == RC_OK ? e : NULL);
        if (rc == RC_OK) rc = done;
        if (rc != RC_OK || !m->world) return rc;
    }
    return RC_OK;
}

/* A built candidate: a duplicate, a refusal, or something to screen. Proposals come before the
 * result is accounted, screened or not, so that a replay makes them with the same knowledge. */
static enum rc take_built(struct loop *l, struct point *p, const struct tune_built *b,
                          struct err *e)
{
    struct tune_measured m;
    bool same = b->ok && !p->still && map_get(l->blobs, b->hash);
    enum rc rc = b->ok && !same ? screen(l, p, b, &m, e) : propose(l, e);
    if (same) {
        l->out->duplicates++;
        search_result(&l->search, p, NAN); /* the first of them stands for it */
        return rc;
    }
    if (!b->ok) refusal(&m, b);
    m.flops = b->flops;
    if (rc == RC_OK)
        rc = l->ops->record(l->ops->ctx, l->out->steps, b->ok ? TUNE_SCREEN : TUNE_BUILD, p->trace,
                            b, &m, e);
    if (rc != RC_OK) return rc;
    l->uncommitted++;
    account(l, p, b->ok ? b->hash : "", &m);
    return RC_OK;
}

static enum rc take_recorded(struct loop *l, struct point *p, struct err *e)
{
    struct tune_measured m;
    char blob_hash[33];
    enum rc rc = propose(l, e);
    find_recorded(l, p, blob_hash, &m);
    l->out->replayed++;
    account(l, p, blob_hash, &m);
    return rc;
}

/* The oldest candidate in flight. */
static enum rc land(struct loop *l, struct err *e)
{
    struct flight f = l->flight[l->first];
    l->first = (l->first + 1) % TUNE_QUEUE;
    l->flying--;
    l->landing = 1;
    uint64_t id;
    struct tune_built b = {0};
    enum rc rc = f.recorded ? RC_OK : l->ops->receive(l->ops->ctx, &id, &b, e);
    if (rc == RC_OK && !l->closing)
        rc = f.recorded ? take_recorded(l, f.p, e) : take_built(l, f.p, &b, e);
    if (b.handle) l->ops->drop(l->ops->ctx, b.handle);
    l->landing = 0;
    return rc;
}

static bool out_of_time(const struct loop *l)
{
    return l->o->time_s > 0 && elapsed_s(l) >= l->o->time_s;
}

/* Schedules enough? */
static bool searched(struct loop *l)
{
    if (l->out->steps >= l->o->trials)
        l->out->why = "trials";
    else if (l->roof_ns > 0 && l->roof_ns / l->incumbent_ns * 100 >= l->o->good_pct)
        l->out->why = "roofline";
    else
        return false;
    return true;
}

/* Takes the step from searching to polishing, and from there to the end. */
static void budget(struct loop *l)
{
    if (out_of_time(l)) {
        l->out->why = "time";
        l->closing = true;
    } else if (!l->polishing && searched(l)) {
        l->polishing = true;
        l->closing = !search_polish(&l->search);
        if (!l->closing) l->trials = l->out->steps + l->flying + l->o->polish;
    }
}

/* Until the search has nothing left, the budget is spent or somebody says stop. */
static enum rc screen_all(struct loop *l, struct err *e)
{
    enum rc rc = propose(l, e);
    while (rc == RC_OK && l->flying > 0) {
        if (l->ops->stop && l->ops->stop(l->ops->ctx)) l->closing = l->out->interrupted = true;
        rc = land(l, e);
        if (rc == RC_OK && !l->closing) budget(l);
        if (rc == RC_OK && l->flying == 0) rc = propose(l, e); /* a phase may have ended */
        report(l, search_phase_name(&l->search));
    }
    enum rc saved = commit(l, 1, rc == RC_OK ? e : NULL);
    return rc == RC_OK ? saved : rc;
}

/* ---- the final ------------------------------------------------------------------------------- */

struct final {
    int n;
    const char *trace[16];
    struct tune_built built[16];
    struct tune_measured m[16];
};

static void final_drop(struct loop *l, struct final *f)
{
    for (int i = 0; i < f->n; i++)
        if (f->built[i].handle) l->ops->drop(l->ops->ctx, f->built[i].handle);
}

static enum rc final_add(struct loop *l, struct final *f, const struct point *p, struct err *e)
{
    uint64_t id;
    struct tune_built *b = &f->built[f->n];
    memset(b, 0, sizeof *b);
    enum rc rc = l->ops->submit(l->ops->ctx, 0, p->trace, e);
    if (rc == RC_OK) rc = l->ops->receive(l->ops->ctx, &id, b, e);
    if (rc != RC_OK) return rc;
    if (b->ok)
        f->trace[f->n++] = p->trace;
    else if (b->handle)
        l->ops->drop(l->ops->ctx, b->handle);
    return RC_OK;
}

/* Builds the best few again, one after the other: orders of operations that gained, which are many and alike,
 * few of them, then schedules. */
static enum rc final_build(struct loop *l, struct final *f, struct err *e)
{
    enum { ORDERS = 4 };
    enum rc rc = RC_OK;
    int most = (int)i64_min(l->o->finalists, QN_COUNT(f->trace));
    struct point *p;
    for (int rank = 0; rank < ORDERS && f->n < most && rc == RC_OK; rank++)
        if ((p = search_best_order(&l->search, rank)) != NULL) rc = final_add(l, f, p, e);
    for (int rank = 0; f->n < most && rc == RC_OK; rank++) {
        p = search_best(&l->search, rank);
        if (!p || (rank > 0 && p->ns > 1.15 * search_best(&l->search, 0)->ns)) break;
        rc = final_add(l, f, p, e);
    }
    return rc;
}

/* A finished race of this run is replayed whole or not at all. */
static bool final_recorded(struct loop *l, struct final *f, int *winner)
{
    *winner = -1;
    for (int i = 0; i < f->n; i++) {
        char hash[33], blob[33];
        hash_id(hash, f->trace[i], strlen(f->trace[i]));
        if (!l->ops->recorded(l->ops->ctx, TUNE_RACE, hash, blob, &f->m[i])) return false;
        if (is(&f->m[i], "ok") && (*winner < 0 || f->m[i].ns < f->m[*winner].ns)) *winner = i;
    }
    return f->n > 0;
}

static enum rc final_race(struct loop *l, struct err *e)
{
    struct final *f = mem_new(sizeof *f);
    int winner = -1;
    bool separated = false;
    enum rc rc = final_build(l, f, e);
    if (rc == RC_OK && f->n == 0)
        rc = err_set(e, RC_FAIL, "tune.none",
                     "no candidate survived; `quern log` has the verdicts%s%s",
                     l->why[0] ? "; the last one's: " : "", l->why);
    if (rc == RC_OK && !final_recorded(l, f, &winner)) {
        l->trials = l->out->steps;
        report(l, "race");
        for (int tries = 0; tries < 3 && winner < 0 && rc == RC_OK;
             tries++) { /* again only if the world was in the way */
            rc = l->ops->race(l->ops->ctx, f->n, f->trace, f->built, f->m, &winner, &separated, e);
            if (rc == RC_OK && winner < 0 && !f->m[0].world) break;
        }
        for (int i = 0; i < f->n && rc == RC_OK; i++) {
            rc = l->ops->record(l->ops->ctx, l->out->steps, TUNE_RACE, f->trace[i], &f->built[i],
                                &f->m[i], e);
            if (!is(&f->m[i], "ok")) count_verdict(l->out, f->m[i].verdict);
            l->out->steps++;
        }
        if (rc == RC_OK) rc = l->ops->commit(l->ops->ctx, e);
    }
    if (rc == RC_OK && winner < 0)
        rc = err_set(e, RC_FAIL, "tune.none",
                     "no finalist passed the last verification (%s: %.200s)", f->m[0].verdict,
                     f->m[0].error);
    if (rc == RC_OK) {
        l->out->trace = mem_strdup(f->trace[winner]);
        l->out->best = f->m[winner];
        l->out->built = f->built[winner];
        l->out->built.handle = NULL;
        l->out->separated = separated;
    }
    final_drop(l, f);
    mem_free(f);
    return rc;
}

/* effort estimate: the analytically best point, not measured. */
static enum rc estimate_only(struct loop *l, struct err *e)
{
    const struct point *p = search_next(&l->search);
    if (!p) return err_set(e, RC_FAIL, "tune.none", "no legal schedule was found");
    l->out->trace = mem_strdup(p->trace);
    l->out->best.ns = p->estimate;
    l->out->best.lo = l->out->best.hi = l->out->best.fma = NAN;
    l->out->why = "estimate";
    return RC_OK;
}

static enum rc measured(struct loop *l, struct err *e)
{
    enum rc rc = screen_all(l, e);
    if (rc == RC_OK && l->out->interrupted) {
        l->out->why = "interrupted";
        rc = err_set(e, RC_INTERRUPTED, "tune.interrupted",
                     "interrupted; everything measured is saved");
    }
    return rc == RC_OK ? final_race(l, e) : rc;
}

enum rc tune_run(struct space *const *spaces, int nspace, const char *const *seeds, int nseed,
                 const struct tune_ops *ops, const struct tune_options *o, struct tune_summary *out,
                 struct err *e)
{
    struct loop l = {.ops = ops,
                     .o = o,
                     .out = out,
                     .blobs = map_new(),
                     .start_ns = clock_ns(),
                     .trials = o->trials};
    memset(out, 0, sizeof *out);
    out->why = "converged";
    search_init(&l.search, spaces, nspace, seeds, nseed, o, ops->estimate, ops->ctx);
    enum rc rc = o->trials == 0 ? estimate_only(&l, e) : measured(&l, e);
    out->wall_s = elapsed_s(&l);
    search_fini(&l.search);
    map_free(l.blobs);
    return rc;
}

void tune_summary_fini(struct tune_summary *s)
{
    mem_free(s->trace);
    s->trace = NULL;
}
