/* search: which candidate next. A state machine without I/O: results in, traces out.
 *
 *   search_init(&s, ...);
 *   while ((p = search_next(&s))) search_result(&s, p, measure(p->trace));
 *
 * search_polish ends the search for schedules; points from then on are the fastest ones with their operations in
 * slightly other orders.
 *
 * Several points may be out at once; then NULL means "not before another result is in".
 *
 * Invariant: no clock and no address enters; only the seed, the results and the order of the calls.
 */
#ifndef QN_SEARCH_H
#define QN_SEARCH_H

#include "base/map.h"
#include "base/rng.h"
#include "base/vec.h"
#include "tune/tune.h"

struct point {
    int space; /* -1: a seed trace outside every space */
    int choice[SPACE_KNOBS];
    char *trace; /* mem_free */
    char hash[33];
    double estimate; /* ns, analytic */
    double ns;       /* measured; NaN: not yet or failed */
    bool proposed, was_centre;
    bool nudged; /* an order of operations of another point; its time is of a careful screening */
    bool still;  /* that point's own order, measured again: its blob is known */
};

enum search_phase {
    SEARCH_SEEDS,
    SEARCH_DRAFT,
    SEARCH_DESCEND,
    SEARCH_EXPLORE,
    SEARCH_POLISH,
    SEARCH_END
};

struct search {
    struct space *const *spaces;
    int nspace;
    const struct tune_options *o;
    double (*estimate)(void *ctx, const char *trace);
    void *estimate_ctx;
    struct rng rng;
    enum search_phase phase;
    VEC(struct point *) points; /* all ever proposed or drafted, in order */
    struct map *by_hash;
    VEC(struct point *) ranked; /* measured and valid, fastest first */
    VEC(struct point *) draft;  /* unmeasured, best estimate first */
    size_t draft_at, seed_at;
    struct point *centre;       /* of the descent */
    VEC(struct point *) around; /* its neighbours, in order of trial */
    size_t around_at;
    VEC(struct point *) begun; /* starts of descents so far */
    const char *const *seeds;
    int nseed;
    VEC(struct point *) orders; /* measured and valid nudged ones, fastest first */
    int polished, unmoved;      /* orders tried; since the last that gained */
    double gained;              /* its time; 0: none yet */
    double yardstick;           /* the least time of a still one; 0: none */
    int out;                    /* proposed points whose result is not in */
    bool bare;                  /* the unscheduled operator was proposed */
};

void search_init(struct search *s, struct space *const *spaces, int nspace,
                 const char *const *seeds, int nseed, const struct tune_options *o,
                 double (*estimate)(void *, const char *), void *ctx);
void search_fini(struct search *s);
/* A new point, which lives as long as the search. NULL: none before the result of one that is out;
 * with none out: nothing left to try. */
struct point *search_next(struct search *s);
/* Leaves what it was doing for the last phase; false: there is nothing to polish. */
bool search_polish(struct search *s);
void search_result(struct search *s, struct point *p, double ns); /* NaN: it failed */
struct point *search_best(const struct search *s,
                          int rank); /* rank-th fastest that is not nudged, NULL if fewer */
/* Of the nudged ones that are faster than what they were made of; NULL: fewer. (Without such a measurement:
 * than the fastest of all.) */
struct point *search_best_order(const struct search *s, int rank);
const char *search_phase_name(const struct search *s);

#endif
