/* search: seeds, draft, descent, exploration. See search.h, and the literature named at each step.
 *
 *   draft      sample points of every space, rank them by the analytic model, screen the best few
 *              and some far ones
 *   descend    coordinate descent over ordered knobs (Droplet search, TACO 2024: reaches what
 *              population methods reach with a fraction of the trials, given a good start): the
 *              neighbours of the best point, best estimate first; a better one becomes the centre
 *   explore    mutations of the ten fastest, while budget is left
 *   polish     the fastest whose operations we order ourselves, with few of them moved (nudge=17.203):
 *              what gains is kept and moved again. Which operation meets which in the queues of a
 *              processor is worth some per cent, and no model of ours tells. */
#include "tune/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A step counts from 1 % on: screening noise is of that order. */
static const double gain_needed = 0.99;
static const double gain_of_order = 0.998; /* of careful screening */

/* ---- points ---------------------------------------------------------------------------------- */

/* The point with this trace, made if new (*fresh). Takes `text`. */
static struct point *point_of(struct search *s, char *text, int space, const int *choice,
                              bool *fresh)
{
    char hash[33];
    hash_id(hash, text, strlen(text));
    struct point *p = map_get(s->by_hash, hash);
    *fresh = !p;
    if (p) {
        mem_free(text);
        return p;
    }
    p = mem_new(sizeof *p);
    p->space = space;
    if (choice) memcpy(p->choice, choice, sizeof p->choice);
    p->trace = text;
    memcpy(p->hash, hash, sizeof hash);
    p->ns = NAN;
    p->nudged = strstr(text, " nudge=") != NULL;
    p->estimate = s->estimate(s->estimate_ctx, text);
    map_put(s->by_hash, hash, p);
    vec_push(&s->points, p);
    return p;
}

/* Takes t. */
static struct point *point_of_trace(struct search *s, struct trace *t, int space, const int *choice,
                                    bool *fresh)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    trace_print(&b, t);
    trace_free(t);
    char *text = mem_strdup(b.p);
    buf_fini(&b);
    return point_of(s, text, space, choice, fresh);
}

/* NULL if the space's requirements fail. */
static struct point *point_at(struct search *s, int space, const int *choice, bool *fresh)
{
    *fresh = false;
    struct trace *t = space_trace(s->spaces[space], choice);
    return t ? point_of_trace(s, t, space, choice, fresh) : NULL;
}

static int by_estimate(const void *a, const void *b)
{
    const struct point *x = *(struct point *const *)a, *y = *(struct point *const *)b;
    if (x->estimate != y->estimate) return x->estimate < y->estimate ? -1 : 1;
    return strcmp(x->hash, y->hash);
}

static bool faster(const struct point *a, const struct point *b)
{
    return a->ns != b->ns ? a->ns < b->ns : strcmp(a->hash, b->hash) < 0;
}

/* ---- draft ----------------------------------------------------------------------------------- */

static void random_choice(struct search *s, int space, int *choice)
{
    const struct space *sp = s->spaces[space];
    memset(choice, 0, sizeof(int) * SPACE_KNOBS);
    for (int k = 0; k < space_knobs(sp) && k < SPACE_KNOBS; k++)
        choice[k] = (int)rng_range(&s->rng, 0, space_knob_values(sp, k) - 1);
}

/* All points of a small space, in odometer order. */
static void draft_all(struct search *s, int space)
{
    const struct space *sp = s->spaces[space];
    int choice[SPACE_KNOBS] = {0}, n = space_knobs(sp);
    for (;;) {
        bool fresh;
        struct point *p = point_at(s, space, choice, &fresh);
        if (p && fresh && p->estimate >= 0) vec_push(&s->draft, p);
        int k = 0;
        while (k < n && ++choice[k] == space_knob_values(sp, k)) choice[k++] = 0;
        if (k == n) return;
    }
}

static void draft_sample(struct search *s, int space, int want)
{
    int got = 0;
    for (int tries = 0; tries < want * 8 && got < want; tries++) {
        int choice[SPACE_KNOBS];
        bool fresh;
        random_choice(s, space, choice);
        struct point *p = point_at(s, space, choice, &fresh);
        if (!p || !fresh) continue;
        got++;
        if (p->estimate >= 0) vec_push(&s->draft, p);
    }
}

static void draft_make(struct search *s)
{
    int each = s->o->draft / s->nspace;
    for (int i = 0; i < s->nspace; i++) {
        if (space_size(s->spaces[i]) <= each)
            draft_all(s, i);
        else
            draft_sample(s, i, each);
    }
    if (s->draft.n) qsort(s->draft.p, s->draft.n, sizeof *s->draft.p, by_estimate);
    /* Every fourth of the first ones comes from further down: the model may be wrong about a
     * structure. */
    size_t first = (size_t)s->o->first;
    for (size_t i = 3; i < first && first < s->draft.n; i += 4) {
        size_t j =
            (size_t)rng_range(&s->rng, (int64_t)first,
                              (int64_t)i64_min((int64_t)s->draft.n, (int64_t)first * 16) - 1);
        struct point *swap = s->draft.p[i];
        s->draft.p[i] = s->draft.p[j];
        s->draft.p[j] = swap;
    }
}

/* ---- descent --------------------------------------------------------------------------------- */

static int distance(const struct search *s, const struct point *a, const struct point *b)
{
    if (a->space != b->space) return SPACE_KNOBS;
    int d = 0;
    for (int k = 0; k < space_knobs(s->spaces[a->space]) && k < SPACE_KNOBS; k++)
        d += a->choice[k] != b->choice[k];
    return d;
}

/* Neighbours: each knob one and two steps up and down, new ones, best estimate first. */
static void look_around(struct search *s, struct point *centre)
{
    s->centre = centre;
    centre->was_centre = true;
    s->around.n = 0;
    s->around_at = 0;
    const struct space *sp = s->spaces[centre->space];
    static const int steps[] = {1, -1, 2, -2};
    for (int k = 0; k < space_knobs(sp) && k < SPACE_KNOBS; k++)
        for (size_t i = 0; i < QN_COUNT(steps); i++) {
            int choice[SPACE_KNOBS];
            bool fresh;
            memcpy(choice, centre->choice, sizeof choice);
            choice[k] += steps[i];
            if (choice[k] < 0 || choice[k] >= space_knob_values(sp, k)) continue;
            struct point *p = point_at(s, centre->space, choice, &fresh);
            if (p && !p->proposed && p->estimate >= 0) vec_push(&s->around, p);
        }
    if (s->around.n) qsort(s->around.p, s->around.n, sizeof *s->around.p, by_estimate);
}

/* A whole neighbourhood failed to gain 1 %: if the fastest point of all is a little faster than the
 * centre, its own neighbourhood is still unknown. */
static void settle(struct search *s)
{
    struct point *best = search_best(s, 0);
    if (best && best->space >= 0 && !best->was_centre) look_around(s, best);
}

/* The fastest point no descent began near. */
static struct point *next_start(struct search *s)
{
    for (int rank = 0;; rank++) {
        struct point *p = search_best(s, rank);
        if (!p) return NULL;
        if (p->space < 0) continue;
        bool far = true;
        for (size_t i = 0; i < s->begun.n && far; i++) far = distance(s, p, s->begun.p[i]) >= 2;
        if (far) return p;
    }
}

static bool begin_descent(struct search *s)
{
    if ((int)s->begun.n >= s->o->starts) return false;
    struct point *p = next_start(s);
    if (!p) return false;
    vec_push(&s->begun, p);
    look_around(s, p);
    return true;
}

/* ---- exploration ----------------------------------------------------------------------------- */

static struct point *mutate(struct search *s)
{
    for (int tries = 0; tries < 64; tries++) {
        struct point *p = search_best(s, (int)rng_range(&s->rng, 0, 9));
        int choice[SPACE_KNOBS], space;
        if (p && p->space >= 0 && !rng_chance(&s->rng, 0.1)) {
            space = p->space;
            memcpy(choice, p->choice, sizeof choice);
            int n = (int)rng_range(&s->rng, 1, 3);
            for (int i = 0; i < n; i++) {
                int k = (int)rng_range(&s->rng, 0, space_knobs(s->spaces[space]) - 1);
                if (k < SPACE_KNOBS)
                    choice[k] =
                        (int)rng_range(&s->rng, 0, space_knob_values(s->spaces[space], k) - 1);
            }
        } else {
            space = (int)rng_range(&s->rng, 0, s->nspace - 1);
            random_choice(s, space, choice);
        }
        bool fresh;
        struct point *q = point_at(s, space, choice, &fresh);
        if (q && !q->proposed && q->estimate >= 0) return q;
    }
    return NULL;
}

/* ---- polish ---------------------------------------------------------------------------------- */

/* The rank-th fastest point whose order is ours and stays, if it is near the fastest of all. NULL of slow
 * kernels, whose time is not that of one loop. */
static struct point *to_polish(const struct search *s, int rank)
{
    static const double near = 1.05 /* polishing rarely gains more */, slow_ns = 5e6;
    if (s->ranked.n == 0 || s->ranked.p[0]->ns > slow_ns) return NULL;
    for (size_t i = 0; i < s->ranked.n && s->ranked.p[i]->ns <= near * s->ranked.p[0]->ns; i++) {
        struct point *p = s->ranked.p[i];
        bool ours = strstr(p->trace, " order=list") && strstr(p->trace, " misched=off");
        if (ours && rank-- == 0) return p;
    }
    return NULL;
}

/* One nudge more than p has; if it has all, another last one. */
static struct point *nudged(struct search *s, const struct point *p, int number)
{
    char list[80], *end = list;
    struct err e = {0};
    struct trace *t;
    if (trace_parse("(point)", p->trace, strlen(p->trace), &t, &e) != RC_OK) return NULL;
    snprintf(list, sizeof list, "%s", trace_choice(t, "nudge", ""));
    int dots = 0;
    for (char *c = list; *c; c++) dots += *c == '.';
    if (dots + 1 == TRACE_NUDGES) *strrchr(list, '.') = 0;
    end += strlen(list);
    snprintf(end, sizeof list - (size_t)(end - list), "%s%d", *list ? "." : "", number);
    trace_choose(t, "nudge", list);
    bool fresh;
    return point_of_trace(s, t, -1, NULL, &fresh);
}

/* Each base as it is, for a time of the kind that nudged ones have; then moves of the bases in turn; then of
 * what is fastest. */
static struct point *next_polish(struct search *s)
{
    enum { BASES = 4, FIRST = 32 };
    int i = s->polished;
    if (i >= s->o->polish || s->unmoved >= s->o->polish_patience) return NULL;
    struct point *from = i < BASES + FIRST || s->orders.n == 0 ? NULL : s->orders.p[0];
    if (!from && !(from = to_polish(s, i % BASES)) && !(from = to_polish(s, 0))) return NULL;
    s->polished++;
    s->unmoved++;
    struct point *p = nudged(s, from, i < BASES ? 0 : (int)rng_range(&s->rng, 1, TRACE_NUDGE_MOST));
    if (p) p->still = i < BASES;
    return p;
}

bool search_polish(struct search *s)
{
    if (s->o->polish == 0 || !to_polish(s, 0)) return false;
    s->phase = SEARCH_POLISH;
    return true;
}

/* ---- the door -------------------------------------------------------------------------------- */

void search_init(struct search *s, struct space *const *spaces, int nspace,
                 const char *const *seeds, int nseed, const struct tune_options *o,
                 double (*estimate)(void *, const char *), void *ctx)
{
    memset(s, 0, sizeof *s);
    s->spaces = spaces;
    s->nspace = nspace;
    s->seeds = seeds;
    s->nseed = nseed;
    s->o = o;
    s->estimate = estimate;
    s->estimate_ctx = ctx;
    s->by_hash = map_new();
    rng_seed(&s->rng, o->seed);
}

void search_fini(struct search *s)
{
    for (size_t i = 0; i < s->points.n; i++) {
        mem_free(s->points.p[i]->trace);
        mem_free(s->points.p[i]);
    }
    vec_free(&s->points);
    vec_free(&s->ranked);
    vec_free(&s->orders);
    vec_free(&s->draft);
    vec_free(&s->around);
    vec_free(&s->begun);
    map_free(s->by_hash);
}

static struct point *next_seed(struct search *s)
{
    while (s->seed_at < (size_t)s->nseed) {
        bool fresh;
        struct point *p = point_of(s, mem_strdup(s->seeds[s->seed_at++]), -1, NULL, &fresh);
        if (fresh && p->estimate >= 0) return p;
    }
    return NULL;
}

/* Nothing a space proposes is legal (an extent of zero, say): the operator as it is written always
 * is. */
static struct point *bare(struct search *s)
{
    bool fresh;
    char text[128];
    snprintf(text, sizeof text, "algorithm %s\n", space_algorithm(s->spaces[0]));
    s->bare = true;
    struct point *p = point_of(s, mem_strdup(text), -1, NULL, &fresh);
    return p->proposed ? NULL : p;
}

/* One more point in the present phase, or NULL when the phase has none to give now. */
static struct point *next_point(struct search *s)
{
    switch (s->phase) {
    case SEARCH_SEEDS:
        return next_seed(s);
    case SEARCH_DRAFT:
        if (s->draft_at < (size_t)s->o->first && s->draft_at < s->draft.n)
            return s->draft.p[s->draft_at++];
        return NULL;
    case SEARCH_DESCEND:
        if (s->out == 0 && s->around_at == s->around.n) settle(s);
        return s->around_at < s->around.n ? s->around.p[s->around_at++] : NULL;
    case SEARCH_EXPLORE: {
        struct point *p = mutate(s);
        return p || s->ranked.n || s->bare || s->out ? p : bare(s);
    }
    case SEARCH_POLISH:
        return next_polish(s);
    case SEARCH_END:
        break;
    }
    return NULL;
}

/* The present phase is used up (and every result is in): what follows? */
static void next_phase(struct search *s)
{
    switch (s->phase) {
    case SEARCH_SEEDS:
        draft_make(s);
        s->phase = SEARCH_DRAFT;
        break;
    case SEARCH_DRAFT:
    case SEARCH_DESCEND:
        if (begin_descent(s))
            s->phase = SEARCH_DESCEND;
        else
            s->phase = SEARCH_EXPLORE;
        break;
    case SEARCH_EXPLORE:
        if (!search_polish(s)) s->phase = SEARCH_END;
        break;
    case SEARCH_POLISH:
        s->phase = SEARCH_END;
        break;
    case SEARCH_END:
        break;
    }
}

struct point *search_next(struct search *s)
{
    while (s->phase != SEARCH_END) {
        struct point *p;
        while ((p = next_point(s)) && p->proposed) continue;
        if (p) {
            p->proposed = true;
            s->out++;
            return p;
        }
        if (s->out > 0) return NULL;
        next_phase(s);
    }
    return NULL;
}

static void rank(struct point **all, size_t n)
{
    for (size_t i = n - 1; i > 0 && faster(all[i], all[i - 1]); i--) {
        struct point *p = all[i];
        all[i] = all[i - 1];
        all[i - 1] = p;
    }
}

void search_result(struct search *s, struct point *p, double ns)
{
    p->ns = ns;
    s->out--;
    if (isnan(ns)) return;
    if (p->still) {
        s->yardstick = s->yardstick > 0 ? fmin(s->yardstick, ns) : ns;
        return;
    }
    if (p->nudged) {
        vec_push(&s->orders, p);
        rank(s->orders.p, s->orders.n);
        if (s->gained > 0 && ns > gain_of_order * s->gained) return;
        s->gained = ns;
        s->unmoved = 0;
        return;
    }
    vec_push(&s->ranked, p);
    rank(s->ranked.p, s->ranked.n);
    if (s->phase == SEARCH_DESCEND && p->space >= 0 && ns < s->centre->ns * gain_needed)
        look_around(s, p);
}

struct point *search_best(const struct search *s, int rank)
{
    return (size_t)rank < s->ranked.n ? s->ranked.p[rank] : NULL;
}

struct point *search_best_order(const struct search *s, int rank)
{
    if ((size_t)rank >= s->orders.n || s->ranked.n == 0) return NULL;
    double than = s->yardstick > 0 ? gain_of_order * s->yardstick : s->ranked.p[0]->ns;
    return s->orders.p[rank]->ns < than ? s->orders.p[rank] : NULL;
}

const char *search_phase_name(const struct search *s)
{
    static const char *const names[] = {"seeds", "draft", "descend", "explore", "polish", "end"};
    return names[s->phase];
}
