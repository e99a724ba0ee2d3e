/* search: which candidate next. A state machine without I/O: results in, batches of traces out.
 *
 *   search_init(&s, ...);  while ((n = search_batch(&s, batch, 16)) > 0) for (...)
 * search_result(&s, &batch[i], ns);
 *
 * Invariant: no clock, no address and no order of arrival enters; only the seed and the results. */
#ifndef QN_SEARCH_H
#define QN_SEARCH_H

#include "base/map.h"
#include "base/rng.h"
#include "base/vec.h"
#include "tune/tune.h"

enum { SEARCH_KNOBS = 32, SEARCH_BATCH = 16 };

struct point {
    int space; /* -1: a seed trace outside every space */
    int choice[SEARCH_KNOBS];
    char *trace; /* mem_free */
    char hash[33];
    double estimate; /* ns, analytic */
    double ns;       /* measured; NaN: not yet or failed */
    bool measured;
    bool was_centre;
};

enum search_phase { SEARCH_SEEDS, SEARCH_DRAFT, SEARCH_DESCEND, SEARCH_EXPLORE, SEARCH_END };

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
    bool bare; /* the unscheduled operator was proposed */
};

void search_init(struct search *s, struct space *const *spaces, int nspace,
                 const char *const *seeds, int nseed, const struct tune_options *o,
                 double (*estimate)(void *, const char *), void *ctx);
void search_fini(struct search *s);
/* Up to SEARCH_BATCH new points; 0: nothing left to try. Pointers live as long as the search. */
int search_batch(struct search *s, struct point **out);
void search_result(struct search *s, struct point *p, double ns); /* NaN: it failed */
struct point *search_best(const struct search *s,
                          int rank); /* rank-th fastest measured, NULL if fewer */
const char *search_phase_name(const struct search *s);

#endif
