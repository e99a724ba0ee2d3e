/* race: up to 16 verified candidates asleep on their futexes; exactly one steps at a time.
 *
 *   open:   fork all, tier 1, one verified call on the timed operands, estimate -> iters for all
 *   round:  in a fresh random order: wake one, it runs warm-up + iters calls, its answer comes, and
 *           the next
 *   close:  compare every survivor's timed outputs with the reference; kill all
 *
 * The reference run of task.c and the FMA child share one slot, so all expected outputs are made
 * before the FMA child starts. Invariant: an entry that failed once never runs again. */
#include <math.h>
#include <string.h>

#include "base/proc.h"
#include "base/rng.h"
#include "sandbox/jobs.h"

enum { WARM_BELOW_NS = 20000000 }; /* a call longer than this warms itself */

void race_drop(struct nursery *n)
{
    struct race_job *race = &n->race;
    for (int i = 0; i < race->n; i++) kid_stop(&race->entries[i].kid);
    kid_stop(&race->fma);
    arena_free(race->a);
    memset(race, 0, sizeof *race);
}

static void kill_entry(struct race_entry_state *e)
{
    kid_stop(&e->kid);
    e->alive = false;
}

/* Verified on guarded and on timed operands, then timed once. */
static bool start_entry(struct race_job *race, int i, int tier)
{
    struct job *job = &race->job;
    struct race_entry_state *e = &race->entries[i];
    const struct wire_blob *blob = &e->blob;
    struct wire_outcome *o = &e->outcome;
    struct task *t = race->task;
    const struct check_case *first = check_at(&t->t, 1, 0), *timed = check_timed(&t->t);
    if (!verify_blob(job, t, blob, o)) return false;
    /* In the entry's own slot: the others' hold the control pages of children that sleep on them.
     */
    if (tier > 1 && !verify_tier(job, t, blob, tier, 1, i, o)) return false;
    if (!verify_prepare(job, t, blob, first, true, i, &e->spec, o)) return false;
    if (!kid_start(job->k, &e->kid, &e->spec, i, o)) return false;
    if (!verify_answer(job, t, &e->kid, 0, first, o)) return false;
    e->kid.ctl->cmd = CMD_RUN;
    e->kid.ctl->stage = 1;
    kid_command(&e->kid);
    if (!verify_answer(job, t, &e->kid, 1, timed, o)) return false;
    e->kid.ctl->cmd = CMD_TIME;
    e->kid.ctl->iters = 1;
    e->kid.ctl->epochs = 3;
    kid_command(&e->kid);
    if (!verify_timed(job, t, &e->kid, o)) return false;
    o->checks++;
    o->tier = (uint8_t)(tier > 1 ? tier : 1);
    o->verdict = VERDICT_OK;
    return true;
}

static double first_time(const struct race_entry_state *e)
{
    const double *s = e->kid.ctl->samples;
    double best = s[0];
    for (int i = 1; i < 3; i++)
        if (s[i] < best) best = s[i];
    return best;
}

/* One iteration count for all, from the fastest. */
static void choose_iters(struct race_job *race, uint64_t asked, uint64_t epoch_ns,
                         const double *first)
{
    double fastest = INFINITY;
    for (int i = 0; i < race->n; i++)
        if (race->entries[i].alive && first[i] < fastest) fastest = first[i];
    double want = (double)epoch_ns / (fastest > 1 ? fastest : 1);
    race->iters = asked ? asked : want < 1 ? 1 : want > 1e6 ? 1000000 : (uint64_t)want + 1;
}

static void start_fma(struct race_job *race, uint64_t epoch_ns, struct wire_race_ready *r)
{
    race->fma_reps = 2000;
    if (!fma_child(&race->job, &race->fma, &race->fma_spec, race->fma_reps)) return;
    double ns = race->fma.ctl->samples[0];
    double want = (double)race->fma_reps * (double)epoch_ns / (ns > 1 ? ns : 1);
    race->fma_reps = want < 100 ? 100 : want > 1e8 ? 100000000 : (uint64_t)want;
    race->fma_alive = true;
    r->fma_flops = calib_isa_at(0)->flops * (double)race->fma_reps * race->job.threads;
}

void job_race_open(struct nursery *n, struct arena *a, const struct wire_race_open *m,
                   struct wire_race_ready *r)
{
    struct race_job *race = &n->race;
    race_drop(n);
    race->open = true;
    race->a = arena_new();
    race->n = (int)m->entries_n;
    race->calibrate = m->calibrate != 0;
    job_init(n, &race->job, race->a, &m->limits, m->seed);
    struct wire_outcome whole = {.layers = n->keeper.layers, .index = -1};
    uint32_t missing = sandbox_mandatory() & ~n->keeper.layers;
    if (missing)
        whole.verdict = VERDICT_NO_SANDBOX,
        whole.text = "a mandatory sandbox layer does not work here";
    else
        race->task = cache_task(&n->cache, &m->task, &race->job, &whole);
    r->entries = ARENA_ARRAY(a, struct wire_outcome, WIRE_MAX_ENTRIES);
    r->entries_n = m->entries_n;
    r->first_ns = (struct wire_f64s){ARENA_ARRAY(a, double, WIRE_MAX_ENTRIES), m->entries_n};
    uint64_t epoch_ns = m->epoch_ns ? m->epoch_ns : 1000000;
    for (int i = 0; i < race->n; i++) {
        struct race_entry_state *e = &race->entries[i];
        e->outcome = whole;
        e->blob = m->entries[i].blob;
        e->alive = race->task && start_entry(race, i, m->tier ? m->tier : 1);
        r->first_ns.p[i] = e->alive ? first_time(e) : NAN;
        if (!e->alive) kill_entry(e);
        r->entries[i] = e->outcome;
    }
    choose_iters(race, m->iters, epoch_ns, r->first_ns.p);
    r->iters = race->iters;
    if (race->calibrate && race->task) start_fma(race, epoch_ns, r);
}

static double step_fma(struct race_job *race)
{
    if (!race->fma_alive) return NAN;
    race->fma.ctl->iters = race->fma_reps;
    kid_command(&race->fma);
    if (kid_wait(race->job.k, &race->fma, race->job.timeout_ns) == KID_DONE)
        return race->fma.ctl->samples[0];
    kid_stop(&race->fma);
    race->fma_alive = false;
    return NAN;
}

/* NaN when it died; *died tells. */
static double step_entry(struct race_job *race, int i, bool *died)
{
    struct race_entry_state *e = &race->entries[i];
    struct ctl *c = e->kid.ctl;
    c->cmd = CMD_TIME;
    c->stage = 1;
    c->pack = 0;
    c->epochs = 1;
    c->stop_ns = 0;
    c->iters = race->iters;
    c->warm = c->samples[0] < WARM_BELOW_NS;
    kid_command(&e->kid);
    enum kid_event event = kid_wait(race->job.k, &e->kid, race->job.timeout_ns);
    if (event == KID_DONE && c->status == 0) return c->samples[0];
    if (event == KID_DONE) {
        e->outcome.verdict = VERDICT_BAD_ARGS;
        e->outcome.text = "returned nonzero while timed";
    } else {
        kid_explain(&e->kid, event, race->a, &e->outcome);
    }
    kill_entry(e);
    *died = true;
    return NAN;
}

void job_race_round(struct nursery *n, struct arena *a, const struct wire_race_round *m,
                    struct wire_race_samples *r)
{
    struct race_job *race = &n->race;
    uint32_t columns = (uint32_t)race->n + race->calibrate;
    uint32_t rounds = columns == 0                             ? 0
                      : m->rounds < WIRE_MAX_SAMPLES / columns ? m->rounds
                                                               : WIRE_MAX_SAMPLES / columns;
    uint8_t *order = arena_alloc(a, (size_t)rounds * columns + 1);
    struct rng rng;
    rng_seed(&rng, m->seed);
    r->rounds = rounds;
    r->columns = columns;
    r->ns = (struct wire_f64s){ARENA_ARRAY(a, double, rounds *columns), rounds * columns};
    r->order = (struct wire_bytes){order, rounds * columns};
    r->dead = ARENA_ARRAY(a, struct wire_race_dead, WIRE_MAX_ENTRIES);
    memset(order, 255, (size_t)rounds * columns);
    for (uint32_t k = 0; k < rounds; k++) {
        double *row = r->ns.p + (size_t)k * columns;
        uint8_t turn[WIRE_MAX_ENTRIES + 1];
        for (uint32_t i = 0; i < columns; i++) turn[i] = (uint8_t)i, row[i] = NAN;
        rng_shuffle(&rng, turn, columns, 1);
        for (uint32_t at = 0; at < columns; at++) {
            int i = turn[at];
            bool died = false;
            if (!(m->live >> i & 1)) continue;
            if (i == race->n)
                row[i] = step_fma(race);
            else if (race->entries[i].alive)
                row[i] = step_entry(race, i, &died);
            else
                continue;
            order[(size_t)k * columns + i] = (uint8_t)at;
            if (died)
                r->dead[r->dead_n++] =
                    (struct wire_race_dead){(uint32_t)i, race->entries[i].outcome};
        }
    }
}

void job_race_close(struct nursery *n, struct arena *a, struct wire_race_done *r)
{
    struct race_job *race = &n->race;
    r->entries = ARENA_ARRAY(a, struct wire_outcome, WIRE_MAX_ENTRIES);
    r->entries_n = (uint32_t)race->n;
    for (int i = 0; i < race->n; i++) {
        struct race_entry_state *e = &race->entries[i];
        const struct check_case *c = race->task ? check_timed(&race->task->t) : NULL;
        const struct expect *x = NULL;
        if (e->alive)
            x = task_expect(&race->job, race->task, c->recipe, check_seed(&race->job, c),
                            &e->outcome);
        if (x && !verify_outputs(&race->job, race->task, &e->spec.stages[1], c, x, &e->outcome)) {
            if (e->outcome.verdict != VERDICT_OOB_ACCESS)
                e->outcome.verdict = VERDICT_NONDETERMINISTIC;
        } else if (x) {
            e->outcome.crc = verify_crc(&e->spec.stages[1]);
        }
        r->entries[i] = e->outcome;
        if (r->entries[i].text) r->entries[i].text = arena_strdup(a, r->entries[i].text);
    }
    race_drop(n);
}
