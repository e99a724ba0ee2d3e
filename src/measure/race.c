/* race: bookkeeping and rules; the statistics are stats.c's, the clock is somebody else's.
 *
 *   asking --next--> waiting --round...--> asking | ended
 *
 * Invariant: entry `ref` (the incumbent, or the first alive if it died) is never dropped, because
 * every crowning is a statement about it. */
#include "measure/race.h"

#include <math.h>

#include "measure/stats.h"

static const struct sm_state STATES[RACE_STATE_COUNT] = {
    [RACE_ASKING] = {"asking", SM(RACE_WAITING) | SM(RACE_ENDED)},
    [RACE_WAITING] = {"waiting", SM(RACE_ASKING) | SM(RACE_ENDED)},
    [RACE_ENDED] = {"ended", 0},
};

static double or_else(double v, double other) { return v > 0 ? v : other; }
static int or_int(int v, int other) { return v > 0 ? v : other; }

void race_init(struct race *r, const struct race_config *cfg, int n)
{
    QN_CHECK(n >= 1 && n <= RACE_MAX, "%d entries", n);
    *r = (struct race){.n = n};
    struct race_config *c = &r->cfg;
    if (cfg) *c = *cfg;
    c->alpha = or_else(c->alpha, 0.002);
    c->alpha_drop = or_else(c->alpha_drop, 0.01);
    c->drop_ratio = or_else(c->drop_ratio, 1.15);
    c->drop_rounds = or_int(c->drop_rounds, 3);
    c->min_rounds = or_int(c->min_rounds, 5);
    c->max_rounds = or_int(c->max_rounds, 151);
    if (c->max_rounds < c->min_rounds) c->max_rounds = c->min_rounds;
    c->batch = or_int(c->batch, 1);
    c->tie_width = or_else(c->tie_width, 0.005);
    c->noisy_width = or_else(c->noisy_width, 0.05);
    r->columns = n + c->calibrated;
    for (int i = 0; i < n; i++) {
        struct race_entry *e = &r->entries[i];
        e->median_ns = e->ratio = e->fma = NAN;
        e->ns_lo = e->ratio_lo = e->fma_lo = -INFINITY;
        e->ns_hi = e->ratio_hi = e->fma_hi = INFINITY;
    }
    sm_init(&r->sm, STATES, RACE_STATE_COUNT, RACE_ASKING);
}

void race_free(struct race *r) { vec_free(&r->ns); }

static int alive_count(const struct race *r)
{
    int alive = 0;
    for (int i = 0; i < r->n; i++) alive += r->entries[i].fate == RACE_LIVE;
    return alive;
}

/* The incumbent while it lives. */
static int reference(const struct race *r)
{
    if (r->entries[0].fate != RACE_DEAD) return 0;
    for (int i = 0; i < r->n; i++)
        if (r->entries[i].fate == RACE_LIVE) return i;
    return 0;
}

/* Logs of the paired ratios a/b; the number of rounds both ran in. */
static size_t paired(const struct race *r, int a, int b, double *out)
{
    size_t n = 0;
    for (int k = 0; k < r->rounds; k++) {
        double x = r->ns.p[(size_t)k * r->columns + a], y = r->ns.p[(size_t)k * r->columns + b];
        if (x > 0 && y > 0) out[n++] = log(x / y);
    }
    return n;
}

void race_compare(const struct race *r, int a, int b, double alpha, double *ratio, double *lo,
                  double *hi)
{
    double *d = mem_new(((size_t)r->rounds + 1) * sizeof *d);
    size_t n = paired(r, a, b, d);
    *ratio = exp(stats_median_interval(d, n, alpha, lo, hi));
    *lo = exp(*lo);
    *hi = exp(*hi);
    mem_free(d);
}

static double crown_alpha(const struct race *r) { return r->cfg.alpha / (r->n > 1 ? r->n - 1 : 1); }

static void own_times(struct race *r, int i)
{
    struct race_entry *e = &r->entries[i];
    double *d = mem_new(((size_t)r->rounds + 1) * sizeof *d);
    size_t n = 0;
    for (int k = 0; k < r->rounds; k++) {
        double x = r->ns.p[(size_t)k * r->columns + i];
        if (x > 0) d[n++] = x;
    }
    e->rounds = (int)n;
    if (r->cfg.calibrated) race_compare(r, i, r->n, r->cfg.alpha, &e->fma, &e->fma_lo, &e->fma_hi);
    e->median_ns = stats_median_interval(d, n, r->cfg.alpha, &e->ns_lo, &e->ns_hi);
    mem_free(d);
}

static void update_stats(struct race *r)
{
    int ref = reference(r);
    r->leader = ref;
    for (int i = 0; i < r->n; i++) {
        struct race_entry *e = &r->entries[i];
        if (e->fate == RACE_DEAD) continue;
        race_compare(r, i, ref, crown_alpha(r), &e->ratio, &e->ratio_lo, &e->ratio_hi);
    }
    for (int i = 0; i < r->n; i++) {
        const struct race_entry *e = &r->entries[i];
        if (e->fate == RACE_LIVE && e->ratio < r->entries[r->leader].ratio) r->leader = i;
    }
}

/* Plainly slower in every round so far? */
static bool far_behind(const struct race *r, int i)
{
    double *d = mem_new(((size_t)r->rounds + 1) * sizeof *d);
    size_t n = paired(r, i, r->leader, d);
    bool far = n >= (size_t)r->cfg.drop_rounds;
    for (size_t k = 0; k < n && far; k++) far = d[k] >= log(r->cfg.drop_ratio);
    mem_free(d);
    return far;
}

static void drop_losers(struct race *r)
{
    int ref = reference(r);
    for (int i = 0; i < r->n; i++) {
        struct race_entry *e = &r->entries[i];
        double ratio, lo, hi;
        if (e->fate != RACE_LIVE || i == r->leader || i == ref) continue;
        race_compare(r, i, r->leader, r->cfg.alpha_drop, &ratio, &lo, &hi);
        if (lo > 1 || far_behind(r, i)) e->fate = RACE_DROPPED;
    }
}

static bool crowned(const struct race *r)
{
    return r->leader != reference(r) && r->entries[r->leader].ratio_hi < 1;
}

/* Nothing more to learn: every rival still running is tied with the leader. */
static bool settled(const struct race *r)
{
    int ref = reference(r);
    for (int i = 0; i < r->n; i++) {
        double ratio, lo, hi;
        if (r->entries[i].fate != RACE_LIVE || i == r->leader) continue;
        if (i == ref && crowned(r)) continue;
        race_compare(r, i, r->leader, r->cfg.alpha_drop, &ratio, &lo, &hi);
        if (!(hi / lo - 1 < r->cfg.tie_width)) return false;
    }
    return true;
}

static bool too_wide(const struct race *r)
{
    int ref = reference(r), rival = r->leader;
    for (int i = 0; rival == ref && i < r->n; i++)
        if (i != ref && r->entries[i].fate == RACE_LIVE) rival = i;
    const struct race_entry *e = &r->entries[rival];
    if (rival != ref) return !(e->ratio_hi / e->ratio_lo - 1 < r->cfg.noisy_width);
    return r->cfg.calibrated && !(e->fma_hi / e->fma_lo - 1 < r->cfg.noisy_width);
}

static void finish(struct race *r)
{
    for (int i = 0; i < r->n; i++) own_times(r, i);
    r->separated = crowned(r);
    r->winner = r->separated ? r->leader : reference(r);
    r->noisy = !r->separated && r->rounds >= r->cfg.max_rounds && too_wide(r);
    sm_move(&r->sm, RACE_ENDED);
}

static bool over(const struct race *r)
{
    int alive = alive_count(r);
    if (alive == 0 || r->rounds >= r->cfg.max_rounds) return true;
    return r->rounds >= r->cfg.min_rounds && (alive == 1 || settled(r));
}

struct race_action race_next(struct race *r)
{
    QN_CHECK(r->sm.state != RACE_WAITING, "%d rounds are still due", r->due);
    if (r->sm.state == RACE_ASKING && over(r)) finish(r);
    if (r->sm.state == RACE_ENDED) return (struct race_action){.kind = RACE_DONE};
    struct race_action a = {.kind = RACE_STEP};
    if (r->cfg.session_rounds > 0 && r->session >= r->cfg.session_rounds) {
        r->session = 0;
        return (struct race_action){.kind = RACE_REOPEN};
    }
    for (int i = 0; i < r->n; i++)
        if (r->entries[i].fate == RACE_LIVE) a.live |= UINT64_C(1) << i;
    if (r->cfg.calibrated) a.live |= UINT64_C(1) << r->n;
    a.rounds = (int)i64_min(r->cfg.batch, r->cfg.max_rounds - r->rounds);
    if (r->cfg.session_rounds > 0)
        a.rounds = (int)i64_min(a.rounds, r->cfg.session_rounds - r->session);
    r->due = a.rounds;
    sm_move(&r->sm, RACE_WAITING);
    return a;
}

void race_round(struct race *r, const double *ns)
{
    QN_CHECK(r->sm.state == RACE_WAITING && r->due > 0, "a round nobody asked for");
    for (int i = 0; i < r->columns; i++) vec_push(&r->ns, ns[i]);
    r->rounds++;
    r->session++;
    update_stats(r);
    drop_losers(r);
    if (--r->due == 0) sm_move(&r->sm, RACE_ASKING);
}

void race_dead(struct race *r, int entry)
{
    QN_CHECK(entry >= 0 && entry < r->n, "entry %d", entry);
    r->entries[entry].fate = RACE_DEAD;
    if (r->rounds > 0) update_stats(r);
    if (r->sm.state == RACE_ENDED && (r->winner == entry || r->leader == entry)) {
        r->separated = crowned(r); /* the runner-up takes its place only with its own interval */
        r->winner = r->separated ? r->leader : reference(r);
    }
}

bool race_impossible(const struct race_roof *roof, double ns)
{
    double work = roof->peak_gflops > 0 ? roof->executed_flops / (1.05 * roof->peak_gflops) : 0;
    double move = roof->gbps > 0 ? roof->bytes / (1.1 * roof->gbps) : 0;
    return ns < work || ns < move;
}

bool screen_slow(const double *ns, size_t n, double incumbent_ns, double factor)
{
    if (n == 0 || !(incumbent_ns > 0)) return false;
    double best = ns[0];
    for (size_t i = 1; i < n; i++)
        if (ns[i] < best) best = ns[i];
    return best > incumbent_ns * (factor > 0 ? factor : 1.5);
}
