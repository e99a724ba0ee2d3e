/* The state of vectorising one loop, shared by lanes.c (expressions) and vectorize.c
 * (statements). */
#ifndef QN_LOWER_LANES_H
#define QN_LOWER_LANES_H

#include "base/vec.h"
#include "lower/private.h"

struct lane_pair {
    const void *from, *to;
};

struct lanes {
    struct low *l;
    const struct stmt *loop;
    const struct var *v;
    int n;
    const struct expr *lo, *hi; /* v is lo + 0..n-1 */
    const struct expr *mask;    /* b1 vector, NULL = all lanes run */
    int mask_side;    /* -1: lane 0 runs if any does; 1: the last lane; 0: no mask; 2: unknown */
    struct memo memo; /* valid for the present mask */
    VEC(struct lane_pair) var;  /* LETs that became vectors */
    VEC(struct lane_pair) mine; /* tensors allocated inside: one copy a lane */
    const struct stmt *at;      /* original statement whose expressions are being turned */
    const char *why;            /* set: this loop cannot be lanes */
};

/* The expression for all lanes at once; scalar if it does not depend on the loop. */
const struct expr *lanes_expr(struct lanes *x, const struct expr *e);
/* Simplest form of a vector subscript: scalar, ramp, or as it is. */
const struct expr *lanes_index(struct lanes *x, const struct expr *e);
/* A scalar that holds iff cond (over the loop variable) holds for some lane; side as mask_side. */
const struct expr *lanes_any(struct lanes *x, const struct expr *cond, int *side);
/* May one scalar element be touched although perhaps no lane runs? */
bool lanes_scalar_safe(struct lanes *x, const struct tensor *t, const struct expr *at);
struct tensor *lanes_mine(struct lanes *x, const struct tensor *t);
void lanes_fail(struct lanes *x, const char *why);

#endif
