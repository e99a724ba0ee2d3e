/* Pairs: an argmax along vector lanes keeps the best of each lane, value and index, and picks among
 * them at its end.
 *
 * Requires: inits placed and guards moved (peel, tighten); before updates, which write the pairs of
 * a lane out as selects.
 * Provides: for the outermost reduce loop of such a chain two register tiles, one vector of values
 * and one of indices for each unrolled iteration. After the last term: the best value of the lanes,
 * the first index among the lanes that hold it, and one update of the target by these.
 *
 *     for c in 0..9 reduce                             alloc reg v.pair, i.pair: 8 lanes
 *       for l in 0..8 vector reduce           -->        v.pair[l] = -inf, i.pair[l] = largest
 *         {v, i}[m] argmax= {x[m, c*8+l], c*8+l}         for c in 0..9 reduce
 *                                                          for l in 0..8 vector
 *                                                            {v.pair, i.pair}[l] argmax= {x[..], c*8+l}
 *                                                        best[0] max= v.pair[l]     over lanes
 *                                                        first[0] min= select(v.pair[l] == best[0],
 *                                                                             i.pair[l], largest)
 *                                                        {v, i}[m] argmax= {best[0], first[0]}
 *
 * Invariants: the order of terms does not count (of equal values the smallest index wins; a NaN
 * never does), so `reproducible` need not forbid it. Chains that stay as they are become serial. */
#include "lower/chain.h"

struct pair {
    struct low *l;
    struct chain c;
    enum reduce op, best; /* ARGMAX and MAX, or ARGMIN and MIN */
    struct tensor *tile[2];
};

enum { OTHERS = 8 }; /* registers that comparing and choosing needs */

static bool find_pair(struct pair *p, struct stmt *top)
{
    struct chain *c = &p->c;
    if (!chain_find(p->l, top, c) || c->wide || c->leaf->kind != ST_UPDATE) return false;
    p->op = c->leaf->u.update.op;
    if (p->op != RED_ARGMAX && p->op != RED_ARGMIN) return false;
    p->best = p->op == RED_ARGMAX ? RED_MAX : RED_MIN;
    int64_t each = 0;
    for (int i = 0; i < 2; i++) each += chain_registers(p->l, c, c->leaf->u.update.tensor[i]);
    if (c->pure * c->side * each > p->l->t->vregs - OTHERS) c->side = 1;
    return c->pure * c->side * each <= p->l->t->vregs;
}

static struct stmt *update_pair(struct pair *p, struct tensor *const *t,
                                const struct expr *const *idx, const struct expr *const *value)
{
    struct stmt *s = stmt_update(p->l->ir, p->op, t[0], idx, value[0]);
    s->u.update.n = 2;
    s->u.update.tensor[1] = t[1];
    s->u.update.value[1] = value[1];
    s->u.update.started = true;
    return s;
}

/* both tiles at `to`: the identity, or the better of it and what is at `from` */
static struct stmt *tile_stmt(void *ctx, const struct expr *to, const struct expr *from)
{
    struct pair *p = ctx;
    struct ir *ir = p->l->ir;
    const struct expr *value[2];
    struct stmt *both = stmt_block(ir);
    for (int i = 0; i < 2; i++) {
        value[i] = from ? expr_load(ir, p->tile[i], &from, 1)
                        : reduce_identity_of(ir, p->op, i, p->tile[i]->type);
        if (!from) block_append(ir, both, stmt_store(ir, p->tile[i], &to, value[i]));
    }
    return from ? update_pair(p, p->tile, &to, value) : both;
}

static struct tensor *tile_new(struct pair *p, const struct tensor *like, const char *kind,
                               int64_t n)
{
    struct ir *ir = p->l->ir;
    const struct expr *size = expr_int(ir, n);
    const char *name = arena_printf(ir->arena, "%s%s", like->name, fresh_suffix(p->l, kind));
    return tensor_new(ir, name, like->type, SCOPE_REG, 1, &size);
}

/* t[0] = the identity of op; t[0] (op)= value over lanes */
static void fold_lanes(struct pair *p, struct stmt *block, struct tensor *t, enum reduce op,
                       const struct expr *value, const struct var *lane)
{
    struct ir *ir = p->l->ir;
    const struct expr *at = expr_int(ir, 0);
    block_append(ir, block, stmt_store(ir, t, &at, reduce_identity_of(ir, op, 0, t->type)));
    struct stmt *s = stmt_update(ir, op, t, &at, value);
    s->u.update.started = true;
    s = chain_loop(p->l, lane, p->c.lanes, LOOP_VECTOR, s);
    s->u.loop.reduce = true;
    block_append(ir, block, s);
}

static struct stmt *end_stmt(void *ctx, const struct expr *at, const struct expr *lane)
{
    struct pair *p = ctx;
    struct ir *ir = p->l->ir;
    struct stmt *leaf = p->c.leaf, *all = stmt_block(ir);
    struct tensor *best = tile_new(p, leaf->u.update.tensor[0], "best", 1);
    struct tensor *first = tile_new(p, leaf->u.update.tensor[1], "first", 1);
    const struct expr *zero = expr_int(ir, 0), *value[2], *v = expr_load(ir, p->tile[0], &at, 1);
    fold_lanes(p, all, best, p->best, v, lane->u.var);
    value[0] = expr_load(ir, best, &zero, 1);
    const struct var *again = chain_var(p->l, "l");
    const struct expr *i =
        expr_select(ir, expr_binary(ir, OP_EQ, v, value[0]), expr_load(ir, p->tile[1], &at, 1),
                    reduce_identity_of(ir, RED_MIN, 0, first->type));
    i = expr_subst(ir, i, lane->u.var, expr_var(ir, again));
    fold_lanes(p, all, first, RED_MIN, i, again);
    value[1] = expr_load(ir, first, &zero, 1);
    block_append(ir, all, update_pair(p, leaf->u.update.tensor, leaf->u.update.idx, value));
    return stmt_alloc(ir, best, stmt_alloc(ir, first, all));
}

/* The chain's own update goes to the tiles, which loops that subscript them do not reduce any more. */
static void redirect(struct pair *p)
{
    struct chain *c = &p->c;
    const struct expr *at = chain_at(p->l, c);
    stmt_replace(c->leaf, update_pair(p, p->tile, &at, c->leaf->u.update.value));
    for (int i = 0; i < c->n; i++)
        if (c->s[i]->kind == ST_FOR && expr_uses_var(at, c->s[i]->u.loop.var))
            c->s[i]->u.loop.reduce = false;
}

static struct stmt *pairs_stmt(struct low *l, struct stmt *s, void *ctx)
{
    struct pair p = {.l = l};
    struct ir *ir = l->ir;
    (void)ctx;
    if (!find_pair(&p, s)) return s;
    struct stmt *leaf = p.c.leaf, *all = stmt_block(ir);
    for (int i = 0; i < 2; i++)
        p.tile[i] = tile_new(&p, leaf->u.update.tensor[i], "pair", p.c.pure * p.c.side * p.c.lanes);
    struct stmt *last = chain_end(l, &p.c, end_stmt, &p);
    redirect(&p);
    block_append(ir, all, chain_start(l, &p.c, tile_stmt, &p));
    block_append(ir, all, s);
    chain_halve(l, &p.c, all, tile_stmt, &p);
    block_append(ir, all, last);
    return stmt_alloc(ir, p.tile[0], stmt_alloc(ir, p.tile[1], all));
}

enum rc pass_pairs(struct low *l)
{
    rewrite_both(l, pairs_stmt, NULL);
    return RC_OK;
}
