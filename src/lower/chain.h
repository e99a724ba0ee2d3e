/* A chain: the loops and guards of one reduction, from its outermost reduce loop down to its only
 * statement; and the tile of partial results that takes the place of its target inside.
 *
 *     for c in 0..9 reduce                tile element (m*2 + u), lane v
 *       for m in 0..3 unroll
 *         for u in 0..2 unroll reduce
 *           for v in 0..8 vector reduce
 *             y[m] += ..                leaf
 *
 * chain_find finds it (partials, pairs); the others write what both need around their own
 * statements: the start of the tile, the subscript of the leaf, the fold of elements in pairs, and
 * the loops of what happens after the last term. Statements belong to the pass's ir. */
#ifndef QN_LOWER_CHAIN_H
#define QN_LOWER_CHAIN_H

#include "lower/private.h"

enum { CHAIN_MOST = 64, CHAIN_OFTEN = 8 };

struct chain {
    struct stmt *s[CHAIN_MOST], *leaf, *vec;
    int n;
    int64_t lanes, pure,
        side;      /* elements of the unrolled pure loops; of the unrolled reduce ones */
    int64_t terms; /* iterations of the serial reduce loops; CHAIN_OFTEN, if more or dynamic */
    bool again;    /* does a reduce loop beside that of the lanes run more than once? */
    bool wide;     /* lanes along what is not reduced */
};

/* leaf: a STORE or UPDATE whose target no reduce loop moves. The caller may make `side` smaller:
 * unrolled iterations then take turns. */
bool chain_find(const struct low *l, struct stmt *top, struct chain *c);
bool chain_on_reduce(const struct chain *c, const struct expr *e);
/* Registers that a vector of the lanes takes in a tile of t's elements. */
int64_t chain_registers(const struct low *l, const struct chain *c, const struct tensor *t);

typedef struct stmt *chain_fn(void *ctx, const struct expr *to, const struct expr *from);

const struct var *chain_var(struct low *l, const char *kind);
struct stmt *chain_loop(struct low *l, const struct var *v, int64_t n, enum loop_kind kind,
                        struct stmt *body);
/* fn's statement (from: NULL) for every lane of every element. */
struct stmt *chain_start(struct low *l, const struct chain *c, chain_fn *fn, void *ctx);
/* What the leaf subscripts in the tile. */
const struct expr *chain_at(struct low *l, const struct chain *c);
/* fn's statements (from -> to) until each pure element has one of its `side` left, the first. */
void chain_halve(struct low *l, const struct chain *c, struct stmt *block, chain_fn *fn, void *ctx);
/* fn's statement (to: what is left of a pure element; from: the variable of its lanes, which fn binds),
 * below copies of the pure loops and of the guards that speak of no reduce loop, with the variables of
 * these copies instead of the chain's. */
struct stmt *chain_end(struct low *l, const struct chain *c, chain_fn *fn, void *ctx);

#endif
