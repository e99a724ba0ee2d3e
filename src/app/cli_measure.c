/* cli_measure: races for commands, and what their numbers mean.
 *
 *   executed_gflops   work the lowered kernel really executes / time
 *   gflops            FLOPs of the op's valid taps / time
 *   roofline_pct      ideal time on the binding roof / time; the roofs are the FMA peak of the same
 *                     rounds and the bandwidth of the level that holds the operands */
#include <math.h>
#include <string.h>

#include "cli.h"

static const char *level_name(int i)
{
    static const char *const names[] = {"l1", "l2", "l3", "mem"};
    return i < (int)QN_COUNT(names) ? names[i] : "mem";
}

/* Bandwidth of the first level whose footprint reaches `bytes`. */
static double bandwidth(const struct session *s, double bytes, const char **name)
{
    for (int i = 0; i < s->levels; i++)
        if ((double)s->level[i].bytes >= bytes || i == s->levels - 1) {
            *name = level_name(i);
            return s->level[i].gbps;
        }
    *name = "";
    return 0;
}

double work_roof_at(struct work *w, double executed, double peak_gflops, const char **roof)
{
    const char *level;
    double gbps = bandwidth(w->s, w->bytes, &level);
    double fma = peak_gflops > 0 ? executed / peak_gflops : 0;
    double mem = gbps > 0 ? w->bytes / gbps : 0;
    *roof = mem > fma ? level : "fma";
    return fmax(fma, mem);
}

double work_roof_ns(struct work *w, double executed, const char **roof)
{
    return work_roof_at(w, executed, w->s->fma_gflops * w->threads, roof);
}

enum rc work_race(struct work *w, int n, const struct wire_task *job,
                  const struct compile_result *const *blobs, int tier, int rounds,
                  double noisy_width, struct client_race *out, struct err *e)
{
    struct wire_entry entries[WIRE_MAX_ENTRIES] = {0};
    for (int i = 0; i < n; i++) {
        entries[i].id = (uint64_t)i;
        job_blob(&entries[i].blob, blobs[i], w->s->target, w->a);
    }
    struct wire_race_open open = {
        .task = *job,
        .entries = entries,
        .entries_n = (uint32_t)n,
        .limits = {.threads = (uint32_t)w->threads},
        .seed = w->s->o->seed,
        .tier = (uint8_t)tier,
        .calibrate = 1,
    };
    struct race_config cfg = {.max_rounds = rounds,
                              .min_rounds = n == 1 ? rounds : 0,
                              .noisy_width = noisy_width,
                              .calibrated = true};
    struct core_lock lock = {0};
    const struct wire_hello *hello = client_hello(w->s->runner);
    enum rc rc = core_lock_take(&lock, core_pick(hello->cpu_mask, (uint32_t)w->threads), true, e);
    if (rc != RC_OK) return rc;
    rc = client_race(w->s->runner, &open, &cfg, 120000, out, e);
    core_lock_drop(&lock);
    return rc;
}

void work_timing(struct work *w, const struct client_race *r, int entry,
                 const struct compile_result *blob, struct timing *out)
{
    const struct race_entry *x = &r->race.entries[entry];
    *out = (struct timing){
        .median_ns = x->median_ns,
        .lo_ns = x->ns_lo,
        .hi_ns = x->ns_hi,
        .rounds = x->rounds,
        .noisy = r->race.noisy,
        .gflops = w->flops / x->median_ns,
        .executed_gflops = blob->flops / x->median_ns,
        .fma = x->fma,
        .roof = "",
    };
    /* One FMA-loop step does fma_flops; x->fma is (kernel time) / (step time), paired by round. */
    double peak = x->fma > 0 ? r->fma_flops * x->fma / x->median_ns : r->peak_gflops;
    out->peak_gflops = peak;
    double ideal = work_roof_at(w, blob->flops, peak, &out->roof);
    out->roofline_pct = 100 * ideal / x->median_ns;
}

void work_patience(const struct work *w)
{
    enum { PLAIN_GFLOPS_PER_MINUTE = 30 }; /* of plain loops */
    double gflop = w->flops / 1e9;
    if (gflop < 2) return;
    say("quern: %s goes through plain loops first: %.0f GFLOP, perhaps %.0f s\n", w->task->token,
        gflop, gflop * 60 / PLAIN_GFLOPS_PER_MINUTE);
}

enum rc work_verify(struct work *w, const char *trace, const struct compile_result *r,
                    struct wire_outcome *out, struct err *e)
{
    const struct wire_task *job;
    enum rc rc = work_job(w, trace, &job, e);
    for (int64_t i = 0; i < w->s->o->seeds && rc == RC_OK; i++) {
        struct wire_verify m = {.task = *job,
                                .limits = {.threads = (uint32_t)w->threads},
                                .tier = 3,
                                .seed = w->s->o->seed + (uint64_t)i};
        job_blob(&m.blob, r, w->s->target, w->a);
        struct client_reply reply;
        rc = client_call(w->s->runner, WIRE_VERIFY, &m, 120000, &reply, e);
        if (rc != RC_OK) return rc;
        *out = reply.result->outcome;
        out->text = arena_strdup(w->a, out->text ? out->text : "");
        if (out->verdict != VERDICT_OK) break;
    }
    return rc;
}

enum rc outcome_error(const struct work *w, const struct wire_outcome *o, struct err *e)
{
    const struct verdict_info *v = verdict_info(o->verdict);
    if (o->verdict == VERDICT_OK) return RC_OK;
    return err_set(e, v && v->side == SIDE_WORLD ? RC_FAIL : RC_MISMATCH, verdict_name(o->verdict),
                   "%s: %s", w->task->token, o->text);
}
