/* jobs: verify, screen, calibrate. The race is race.c.
 *
 *   SCREEN: one child, two stages: tier 1 on guarded operands, then pack, warm-up, estimate and
 *           epochs on naturally aligned ones
 *
 * The outputs of the last timed call are compared in full with
 * the reference, so what was timed is what was verified.
 *
 * Invariant: every reply carries the layers that were on. */
#include "sandbox/jobs.h"

#include <string.h>

#include "base/proc.h"

void job_init(struct nursery *n, struct job *job, struct arena *a, const struct wire_limits *l,
              uint64_t seed)
{
    uint64_t ram = n->keeper.memory / 4 * 3, cap = l->memory ? l->memory : UINT64_C(4) << 30;
    *job = (struct job){.k = &n->keeper, .a = a, .seed = seed, .cold = l->cache == CACHE_COLD};
    job->threads = l->threads == 0 ? 1 : l->threads > POOL_MAX ? POOL_MAX : l->threads;
    job->memory = cap < ram ? cap : ram;
    job->timeout_ns = (int64_t)(l->timeout_ms ? l->timeout_ms : 10000) * 1000000;
    job->cpus = l->cpus & n->keeper.cpus;
    if (job->cpus == 0) { /* the last ones: the first CPU serves interrupts */
        uint32_t left = job->threads;
        for (int i = 63; i >= 0 && left > 0; i--)
            if (n->keeper.cpus >> i & 1) job->cpus |= UINT64_C(1) << i, left--;
    }
}

/* Without a mandatory layer no code is run. */
static bool allowed(struct nursery *n, struct arena *a, struct wire_outcome *o)
{
    *o = (struct wire_outcome){.layers = n->keeper.layers, .index = -1};
    uint32_t missing = sandbox_mandatory() & ~n->keeper.layers;
    if (missing == 0) return true;
    int first = 0;
    while (!(missing >> first & 1)) first++;
    o->verdict = VERDICT_NO_SANDBOX;
    o->text = arena_printf(a, "sandbox layer '%s' does not work here, so no code is run",
                           sandbox_layer_info((enum sandbox_layer)first)->name);
    return false;
}

void job_verify(struct nursery *n, struct arena *a, const struct wire_verify *m,
                struct wire_result *r)
{
    struct job job;
    int64_t t0 = clock_ns();
    if (!allowed(n, a, &r->outcome)) return;
    job_init(n, &job, a, &m->limits, m->seed);
    struct task *t = cache_task(&n->cache, &m->task, &job, &r->outcome);
    if (t) verify_tier(&job, t, &m->blob, m->tier ? m->tier : 1, 0, 0, &r->outcome);
    r->wall_ns = (uint64_t)(clock_ns() - t0);
}

static void take_samples(struct arena *a, const struct kid *kid, struct wire_result *r)
{
    const struct ctl *c = kid->ctl;
    uint32_t n = c->samples_n < CTL_SAMPLES ? c->samples_n : CTL_SAMPLES;
    r->samples = (struct wire_f64s){ARENA_ARRAY(a, double, n), n};
    memcpy(r->samples.p, c->samples, n * sizeof(double));
    r->iters = c->iters;
    r->pack_ns = (double)c->pack_ns;
}

static void screen_child(struct job *job, struct task *t, const struct wire_screen *m,
                         struct kid *kid, struct wire_result *r)
{
    struct wire_outcome *o = &r->outcome;
    const struct check_case *c = check_at(&t->t, 1, 0);
    if (!verify_answer(job, t, kid, 0, c, o)) return;
    o->checks = o->tier = 1;
    struct ctl *ctl = kid->ctl;
    ctl->cmd = CMD_TIME;
    ctl->stage = 1;
    ctl->pack = ctl->warm = 1;
    ctl->iters = 0;
    ctl->epoch_ns = m->epoch_ns ? m->epoch_ns : 100000;
    ctl->epochs = m->epochs ? m->epochs : 5;
    ctl->stop_ns = m->incumbent_ns * (m->slow_factor > 0 ? m->slow_factor : 1.5);
    kid_command(kid);
    if (!verify_timed(job, t, kid, o)) return;
    take_samples(job->a, kid, r);
    o->where = "timed";
    o->verdict = ctl->stopped ? VERDICT_SLOW : VERDICT_OK;
    if (ctl->stopped) o->text = arena_printf(job->a, "above %.0f ns", ctl->stop_ns);
}

void job_screen(struct nursery *n, struct arena *a, const struct wire_screen *m,
                struct wire_result *r)
{
    struct job job;
    struct child_spec spec;
    struct kid kid;
    int64_t t0 = clock_ns();
    struct wire_outcome *o = &r->outcome;
    if (!allowed(n, a, o)) return;
    job_init(n, &job, a, &m->limits, m->seed);
    struct task *t = cache_task(&n->cache, &m->task, &job, o);
    if (t && verify_blob(&job, t, &m->blob, o) &&
        verify_prepare(&job, t, &m->blob, check_at(&t->t, 1, 0), true, 0, &spec, o) &&
        kid_start(&n->keeper, &kid, &spec, 0, o)) {
        screen_child(&job, t, m, &kid, r);
        kid_stop(&kid);
    }
    r->wall_ns = (uint64_t)(clock_ns() - t0);
}

static const char *const LEVELS[4] = {"l1", "l2", "l3", "mem"};

/* Half a level is surely inside it; memory is four times the last level, at most 256 MiB. */
static void footprints(const struct keeper *k, uint64_t out[4])
{
    uint64_t last = 1 << 20;
    for (int i = 0; i < 3; i++) {
        out[i] = k->cache_bytes[i] / 2 & ~UINT64_C(4095);
        if (k->cache_bytes[i] > last) last = k->cache_bytes[i];
    }
    out[3] = last * 4 < (256u << 20) ? last * 4 : 256u << 20;
}

static void report_calibration(struct arena *a, const struct ctl *c, struct wire_calibration *r)
{
    r->fma = ARENA_ARRAY(a, struct wire_fma_peak, 8);
    r->levels = ARENA_ARRAY(a, struct wire_bandwidth, 8);
    for (size_t i = 0; calib_isa_at(i) && i < QN_COUNT(c->fma_gflops); i++)
        r->fma[r->fma_n++] = (struct wire_fma_peak){calib_isa_at(i)->name, c->fma_gflops[i]};
    for (int i = 0; i < 4; i++)
        if (c->gbps[i] > 0)
            r->levels[r->levels_n++] =
                (struct wire_bandwidth){LEVELS[i], c->footprint[i], c->gbps[i]};
    r->clock_ghz = c->clock_ghz;
}

/* Child that runs our own loops: no blob, one scratch area of `bytes`. */
static bool calibration_child(struct job *job, int slot, uint64_t bytes, struct child_spec *spec,
                              struct ctl **ctl)
{
    if (!keeper_slot(job->k, slot, 0)) return false;
    keeper_spec(job->k, spec, slot, NULL);
    spec->threads = job->threads;
    spec->cpus = job->cpus;
    spec->cpu_seconds = 3600;
    spec->stages_n = 1;
    spec->stages[0] = (struct stage){.align = ALIGN_LEFT};
    *ctl = (struct ctl *)(void *)job->k->slots[slot].base;
    return stage_add(&spec->stages[0], &job->k->window, "area", PLACE_SCRATCH, bytes, PAGE);
}

void job_calibrate(struct nursery *n, struct arena *a, const struct wire_calibrate *m,
                   struct wire_calibration *r)
{
    struct wire_limits limits = {.threads = m->threads, .cpus = m->cpus};
    struct wire_outcome o = {.verdict = VERDICT_NO_MEMORY, .text = "no memory for the calibration"};
    struct job job;
    struct child_spec spec;
    struct ctl *ctl;
    struct kid kid;
    uint64_t area[4];
    job_init(n, &job, a, &limits, 0);
    footprints(&n->keeper, area);
    if (calibration_child(&job, 0, area[3] * job.threads, &spec, &ctl)) {
        memcpy(ctl->footprint, area, sizeof area);
        ctl->cmd = CMD_CALIBRATE;
        ctl->epoch_ns = (uint64_t)(m->budget_ms ? m->budget_ms : 100) * 1000000;
        if (kid_start(&n->keeper, &kid, &spec, 0, &o)) {
            enum kid_event event =
                kid_wait(&n->keeper, &kid, (int64_t)ctl->epoch_ns + INT64_C(60000000000));
            o.verdict = VERDICT_OK;
            if (event == KID_DONE)
                report_calibration(a, ctl, r);
            else
                kid_explain(&kid, event, a, &o);
            kid_stop(&kid);
        }
    }
    r->verdict = o.verdict;
    r->text = o.verdict == VERDICT_OK ? NULL : o.text;
}

bool fma_child(struct job *job, struct kid *kid, struct child_spec *spec, uint64_t reps)
{
    struct ctl *ctl;
    struct wire_outcome o = {0};
    if (!calibration_child(job, WIRE_MAX_ENTRIES, 0, spec, &ctl)) return false;
    ctl->cmd = CMD_FMA;
    ctl->iters = reps;
    if (!kid_start(job->k, kid, spec, WIRE_MAX_ENTRIES, &o)) return false;
    if (kid_wait(job->k, kid, INT64_C(10000000000)) == KID_DONE) return true;
    kid_stop(kid);
    return false;
}
