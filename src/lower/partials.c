/* Partials: a reduction along vector lanes adds in lanes, and folds them once, at its end.
 *
 * Requires: updates as stores, guards moved (peel, tighten); before flatten.
 * Provides: for the outermost reduce loop of such a chain a register tile of partial results: one
 * vector for each unrolled iteration (so that several chains of additions run side by side, and their
 * results are added in pairs), for each element of the unrolled pure loops inside. Only the last loop,
 * over the finished tile, is still a reduction over lanes, which vectorise makes one HSUM, HMAX or HMIN.
 *
 *     for c in 0..9 reduce                          alloc reg y.part: f32[8]
 *       for v in 0..8 reduce vector                   for l in 0..8 vector
 *         y[m] = y[m] + x[m, c*8 + v]      -->          y.part[l] = 0.0
 *                                                     for c in 0..9 reduce
 *                                                       for v in 0..8 vector
 *                                                         y.part[v] = y.part[v] + x[m, c*8 + v]
 *                                                     for l in 0..8 reduce vector
 *                                                       y[m] = y[m] + y.part[l]
 *
 * A register tile of few vectors, along what is not reduced, waits for the addition before; unrolled terms go to
 * vectors of their own:
 *
 *     for p in 0..196 reduce                        alloc reg acc.part: f32[64]
 *       for u in 0..4 unroll reduce                   ..
 *         for v in 0..16 vector          -->          for p in 0..196 reduce
 *           acc[v] = acc[v] + x[p*4 + u, v]             for u in 0..4 unroll reduce
 *                                                         for v in 0..16 vector
 *                                                           acc.part[u*16 + v] = acc.part[u*16 + v] + x[p*4 + u, v]
 *                                                     .. in pairs; acc[v] = acc[v] + acc.part[v]
 *
 * A sum's terms come in another order, which `reproducible` forbids: pass_updates has then made
 * the vector loop serial. A guard over a reduce variable keeps its place around the terms and does
 * not hold for the last loop. The chain stays as it is where the tile would not fit the registers, or
 * where the lanes are the whole of it. */
#include "lower/chain.h"

enum {
    ENOUGH = 8, /* registers: an addition each keeps every unit busy until the first is there */
    OTHERS = 4  /* registers that what is added up needs */
};

struct partial {
    struct low *l;
    struct chain c;
    enum reduce op;
    const struct expr *rest;
    struct tensor *tile;
};

/* value = T[idx] (+) rest, and rest does not read T */
static bool split_value(struct partial *p)
{
    const struct stmt *s = p->c.leaf;
    const struct expr *v = s->u.store.value;
    struct tensor *t = s->u.store.tensor;
    if (v->op != OP_ADD && v->op != OP_MAX && v->op != OP_MIN) return false;
    p->op = v->op == OP_ADD ? RED_SUM : v->op == OP_MAX ? RED_MAX : RED_MIN;
    for (int i = 0; i < 2; i++) {
        const struct expr *old = v->a[i];
        bool same = old->op == OP_LOAD && old->u.tensor == t;
        for (int d = 0; d < t->rank && same; d++) same = old->a[d] == s->u.store.idx[d];
        p->rest = v->a[1 - i];
        if (same && !expr_uses_tensor(p->rest, t)) return true;
    }
    return false;
}

/* Subscripts moved by terms and by elements side by side, as in windows: what these share is better
 * added once (share), as are elements that read the same. */
struct windows {
    const struct chain *c;
    bool any, moved;
};

static void look_load(const struct expr *e, void *ctx)
{
    struct windows *w = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    for (int d = expr_load_first(e); d < e->n; d++)
        for (int i = 0; i < w->c->n; i++) {
            const struct stmt *s = w->c->s[i];
            if (s->kind != ST_FOR || s->u.loop.reduce || s == w->c->vec) continue;
            bool moved = expr_uses_var(e->a[d], s->u.loop.var);
            w->moved |= moved;
            w->any |= moved && chain_on_reduce(w->c, e->a[d]);
        }
}

/* Are there so few vectors in the register tile that unrolled terms had better go to others? */
static bool widen(struct partial *p)
{
    struct chain *c = &p->c;
    const struct tensor *t = c->leaf->u.store.tensor;
    bool real = dtype_is_float((enum dtype)t->type.dtype);
    for (int i = 0; i < c->n; i++)
        if (c->s[i]->kind == ST_IF) return false;
    if (t->scope != SCOPE_REG || c->terms < CHAIN_OFTEN) return false;
    if (real && p->op == RED_SUM && p->l->o->reproducible) return false;
    struct windows w = {.c = c};
    expr_walk(p->rest, look_load, &w);
    if (w.any || (c->pure > 1 && !w.moved)) return false;
    c->side = i64_min(c->side, ENOUGH / (c->pure * chain_registers(p->l, c, t)));
    return c->side > 1;
}

static bool find_partial(struct partial *p, struct stmt *top)
{
    struct chain *c = &p->c;
    if (!chain_find(p->l, top, c) || c->leaf->kind != ST_STORE || !split_value(p)) return false;
    if (c->wide && !widen(p)) return false;
    int64_t each = chain_registers(p->l, c, c->leaf->u.store.tensor) * c->pure;
    if (each * c->side > p->l->t->vregs - OTHERS) c->side = 1;
    return each * c->side <= p->l->t->vregs && !(c->wide && c->side == 1);
}

/* ---- building -------------------------------------------------------------------------------- */

static const struct expr *combine(const struct partial *p, const struct expr *a,
                                  const struct expr *b)
{
    enum op op = p->op == RED_SUM ? OP_ADD : p->op == RED_MAX ? OP_MAX : OP_MIN;
    return expr_binary(p->l->ir, op, a, b);
}

/* tile[to] = the identity, or (+)= tile[from] */
static struct stmt *tile_store(void *ctx, const struct expr *to, const struct expr *from)
{
    struct partial *p = ctx;
    struct ir *ir = p->l->ir;
    const struct expr *value =
        from ? combine(p, expr_load(ir, p->tile, &to, 1), expr_load(ir, p->tile, &from, 1))
             : reduce_identity_of(ir, p->op, 0, p->tile->type);
    return stmt_store(ir, p->tile, &to, value);
}

/* The old store, of the tile's lanes instead of the term. */
static struct stmt *end_store(void *ctx, const struct expr *at, const struct expr *lane)
{
    struct partial *p = ctx;
    struct ir *ir = p->l->ir;
    struct stmt *leaf = p->c.leaf, *vec = p->c.vec;
    struct tensor *t = leaf->u.store.tensor;
    const struct expr *old = expr_load(ir, t, leaf->u.store.idx, t->rank);
    struct stmt *s =
        stmt_store(ir, t, leaf->u.store.idx, combine(p, old, expr_load(ir, p->tile, &at, 1)));
    s = chain_loop(p->l, lane->u.var, p->c.lanes, LOOP_VECTOR, s);
    s->u.loop.reduce = vec->u.loop.reduce;
    if (p->c.wide) stmt_subst(ir, s, vec->u.loop.var, expr_add(ir, lane, vec->u.loop.lo));
    return s;
}

/* The chain's own store goes to the tile. */
static void redirect(struct partial *p)
{
    struct ir *ir = p->l->ir;
    const struct expr *at = chain_at(p->l, &p->c);
    const struct expr *value = combine(p, expr_load(ir, p->tile, &at, 1), p->rest);
    stmt_replace(p->c.leaf, stmt_store(ir, p->tile, &at, value));
    p->c.vec->u.loop.reduce = false;
}

static struct stmt *partials_stmt(struct low *l, struct stmt *s, void *ctx)
{
    struct partial p = {.l = l};
    struct ir *ir = l->ir;
    (void)ctx;
    if (!find_partial(&p, s)) return s;
    struct tensor *t = p.c.leaf->u.store.tensor;
    const struct expr *size = expr_int(ir, p.c.pure * p.c.side * p.c.lanes);
    p.tile = tensor_new(ir, arena_printf(ir->arena, "%s%s", t->name, fresh_suffix(l, "part")),
                        t->type, SCOPE_REG, 1, &size);
    struct stmt *all = stmt_block(ir), *last = chain_end(l, &p.c, end_store, &p);
    redirect(&p);
    block_append(ir, all, chain_start(l, &p.c, tile_store, &p));
    block_append(ir, all, s);
    chain_halve(l, &p.c, all, tile_store, &p);
    block_append(ir, all, last);
    return stmt_alloc(ir, p.tile, all);
}

enum rc pass_partials(struct low *l)
{
    rewrite_both(l, partials_stmt, NULL);
    return RC_OK;
}
