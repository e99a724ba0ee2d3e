/* client_race: the race's state machine over one runner.
 *
 *   RACE_OPEN -> READY -> { ROUND -> SAMPLES }* -> CLOSE -> DONE      once per session
 *
 * Invariant: whatever happens, `out` holds every sample that came and one outcome per entry. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/proc.h"
#include "measure/client.h"

struct racing {
    struct client *c;
    const struct wire_race_open *open;
    struct client_race *out;
    int64_t deadline;
    uint64_t seed;
};

static int left_ms(const struct racing *g)
{
    int64_t ms = (g->deadline - clock_ns()) / 1000000;
    return ms < 1 ? 1 : ms > 1 << 30 ? 1 << 30 : (int)ms;
}

/* The race as a whole failed. */
static void world(struct racing *g, const struct client_reply *r)
{
    g->out->world =
        r->type == WIRE_RESULT ? (enum verdict)r->result->outcome.verdict : VERDICT_RUNNER_BUG;
    snprintf(g->out->text, sizeof g->out->text, "%s",
             r->type == WIRE_RESULT ? r->result->outcome.text
                                    : "the runner answered something else");
}

static void take_outcome(struct racing *g, int i, const struct wire_outcome *o)
{
    struct arena *a = g->out->arena;
    struct wire_outcome *mine = &g->out->outcomes[i];
    *mine = *o;
    mine->text = arena_strdup(a, o->text);
    mine->where = arena_strdup(a, o->where);
    mine->buffer = arena_strdup(a, o->buffer);
    if (o->verdict != VERDICT_OK && g->out->race.entries[i].fate != RACE_DEAD)
        race_dead(&g->out->race, i);
}

/* RC_OK with out->world set when the runner failed. */
static enum rc ask(struct racing *g, enum wire_type type, const void *msg, enum wire_type want,
                   struct client_reply *r, struct err *e)
{
    enum rc rc = client_call(g->c, type, msg, left_ms(g), r, e);
    if (rc == RC_OK && r->type != want) world(g, r);
    return rc;
}

static enum rc open_session(struct racing *g, struct err *e)
{
    struct client_reply r;
    struct client_race *out = g->out;
    struct wire_race_open open = *g->open;
    if (out->iters) open.iters = out->iters; /* every session steps equally long */
    enum rc rc = ask(g, WIRE_RACE_OPEN, &open, WIRE_RACE_READY, &r, e);
    if (rc || out->world != VERDICT_OK) return rc;
    if (r.ready->entries_n != g->open->entries_n) {
        out->world = VERDICT_RUNNER_BUG;
        return RC_OK;
    }
    out->iters = r.ready->iters;
    out->fma_flops = r.ready->fma_flops;
    for (uint32_t i = 0; i < r.ready->entries_n; i++)
        if (out->race.entries[i].fate != RACE_DEAD) take_outcome(g, (int)i, &r.ready->entries[i]);
    return RC_OK;
}

static enum rc close_session(struct racing *g, struct err *e)
{
    struct client_reply r;
    struct wire_race_close close = {0};
    enum rc rc = ask(g, WIRE_RACE_CLOSE, &close, WIRE_RACE_DONE, &r, e);
    if (rc || g->out->world != VERDICT_OK) return rc;
    for (uint32_t i = 0; i < r.done->entries_n && i < g->open->entries_n; i++)
        if (g->out->race.entries[i].fate != RACE_DEAD) take_outcome(g, (int)i, &r.done->entries[i]);
    return RC_OK;
}

static void take_peak(struct client_race *out, const double *row, uint32_t columns)
{
    double ns = row[columns - 1];
    if (out->fma_flops > 0 && ns > 0 && out->fma_flops / ns > out->peak_gflops)
        out->peak_gflops = out->fma_flops / ns;
}

static enum rc step(struct racing *g, const struct race_action *act, struct err *e)
{
    struct client_reply r;
    struct race *race = &g->out->race;
    struct wire_race_round m = {.rounds = (uint32_t)act->rounds,
                                .live = act->live,
                                .seed = ++g->seed};
    enum rc rc = ask(g, WIRE_RACE_ROUND, &m, WIRE_RACE_SAMPLES, &r, e);
    if (rc || g->out->world != VERDICT_OK) return rc;
    const struct wire_race_samples *s = r.samples;
    if (s->columns != (uint32_t)race->columns || s->rounds != m.rounds ||
        s->ns.n != s->columns * s->rounds) {
        g->out->world = VERDICT_RUNNER_BUG;
        snprintf(g->out->text, sizeof g->out->text,
                 "the runner's samples do not match the question");
        return RC_OK;
    }
    for (uint32_t k = 0; k < s->rounds; k++) {
        const double *row = s->ns.p + (size_t)k * s->columns;
        if (race->cfg.calibrated) take_peak(g->out, row, s->columns);
        race_round(race, row);
    }
    for (uint32_t i = 0; i < s->dead_n; i++)
        if (s->dead[i].entry < g->open->entries_n)
            take_outcome(g, (int)s->dead[i].entry, &s->dead[i].outcome);
    return RC_OK;
}

enum rc client_race(struct client *c, const struct wire_race_open *open,
                    const struct race_config *cfg, int deadline_ms, struct client_race *out,
                    struct err *e)
{
    struct racing g = {.c = c, .open = open, .out = out, .seed = open->seed * 1000003};
    struct race_config config = cfg ? *cfg : (struct race_config){0};
    config.calibrated = open->calibrate != 0;
    g.deadline = clock_ns() + (int64_t)(deadline_ms > 0 ? deadline_ms : 600000) * 1000000;
    memset(out, 0, sizeof *out);
    out->arena = arena_new();
    race_init(&out->race, &config, (int)open->entries_n);
    enum rc rc = open_session(&g, e);
    while (rc == RC_OK && out->world == VERDICT_OK) {
        struct race_action act = race_next(&out->race);
        if (act.kind == RACE_STEP) {
            rc = step(&g, &act, e);
            continue;
        }
        rc = close_session(&g, e);
        if (act.kind == RACE_DONE || rc || out->world != VERDICT_OK) break;
        rc = open_session(&g, e);
    }
    if (out->race.noisy && out->world == VERDICT_OK) out->world = VERDICT_NOISY;
    return rc;
}

void client_race_free(struct client_race *r)
{
    race_free(&r->race);
    arena_free(r->arena);
    memset(r, 0, sizeof *r);
}
