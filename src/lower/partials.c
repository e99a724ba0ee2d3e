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
 * not hold for the last loop: like a start, it may touch every element the updates may. Invariants:
 * nothing moves out of a loop that runs other statements; the chain stays as it is where the tile
 * would not fit the registers, or where the lanes are the whole of it. */
#include "lower/private.h"

enum {
    CHAIN = 64,
    ENOUGH = 8, /* vectors that an addition each keeps every unit busy with, until the first is there */
    OFTEN = 8   /* terms of each, or the last additions cost more than was gained */
};

/* One chain of loops and guards down to one store. */
struct chain {
    struct stmt *s[CHAIN], *store, *vec;
    int n;
    int64_t lanes, pure,
        side;   /* elements of the unrolled pure loops; of the unrolled reduce ones */
    int64_t terms; /* iterations of the serial reduce loops; many, if dynamic */
    bool again; /* does a reduce loop beside that of the lanes run more than once? */
    enum reduce op;
    const struct expr *rest;
};

static bool is_for(const struct stmt *s, enum loop_kind kind, bool reduce)
{
    return s->kind == ST_FOR && s->u.loop.kind == kind && s->u.loop.reduce == reduce &&
           !s->u.loop.ordered;
}

/* May the chain go on through s? */
static bool is_link(const struct stmt *s)
{
    int64_t n;
    if (s->kind == ST_IF) return true;
    if (is_for(s, LOOP_UNROLL, false)) return loop_constant_extent(s, &n) && n > 0;
    return is_for(s, LOOP_SERIAL, true) || is_for(s, LOOP_UNROLL, true) ||
           is_for(s, LOOP_VECTOR, true) || is_for(s, LOOP_VECTOR, false);
}

/* Is a reduce loop above s part of the same chain? */
static bool has_outer(const struct stmt *s)
{
    for (const struct stmt *p = s->parent; p; p = p->parent) {
        if (p->kind == ST_BLOCK) {
            if (p->u.block.n > 1) return false;
            continue;
        }
        if (!is_link(p)) return false;
        if (p->kind == ST_FOR && p->u.loop.reduce) return true;
    }
    return false;
}

/* value = T[idx] (+) rest, and rest does not read T */
static bool split_value(struct chain *c)
{
    const struct stmt *s = c->store;
    const struct expr *v = s->u.store.value;
    struct tensor *t = s->u.store.tensor;
    if (v->op != OP_ADD && v->op != OP_MAX && v->op != OP_MIN) return false;
    c->op = v->op == OP_ADD ? RED_SUM : v->op == OP_MAX ? RED_MAX : RED_MIN;
    for (int i = 0; i < 2; i++) {
        const struct expr *old = v->a[i];
        bool same = old->op == OP_LOAD && old->u.tensor == t;
        for (int d = 0; d < t->rank && same; d++) same = old->a[d] == s->u.store.idx[d];
        c->rest = v->a[1 - i];
        if (same && !expr_uses_tensor(c->rest, t)) return true;
    }
    return false;
}

static bool on_reduce(const struct chain *c, const struct expr *e)
{
    for (int i = 0; i < c->n; i++)
        if (c->s[i]->kind == ST_FOR && c->s[i]->u.loop.reduce &&
            expr_uses_var(e, c->s[i]->u.loop.var))
            return true;
    return false;
}

/* Lanes along what is not reduced. */
static bool is_wide(const struct chain *c) { return !c->vec->u.loop.reduce; }

/* Are there so few vectors in the register tile that unrolled terms had better go to others? */
static bool widen(const struct low *l, struct chain *c)
{
    const struct tensor *t = c->store->u.store.tensor;
    bool real = dtype_is_float((enum dtype)t->type.dtype);
    for (int i = 0; i < c->n; i++)
        if (c->s[i]->kind == ST_IF) return false;
    if (t->scope != SCOPE_REG || c->terms < OFTEN) return false;
    if (real && c->op == RED_SUM && l->o->reproducible) return false;
    c->side = i64_min(c->side, ENOUGH / c->pure);
    return c->side > 1;
}

static bool find_chain(const struct low *l, struct stmt *top, struct chain *c)
{
    struct stmt *s = top;
    *c = (struct chain){.pure = 1, .side = 1, .terms = 1};
    for (; s && s->kind != ST_STORE; s = stmt_only(*stmt_body(s))) {
        int64_t n = 0;
        if (!is_link(s) || c->n == CHAIN) return false;
        c->s[c->n++] = s;
        if (s->kind != ST_FOR) continue;
        bool fixed = loop_constant_extent(s, &n);
        if (s->u.loop.kind == LOOP_VECTOR) {
            if (c->vec || !fixed || n < 2 || n > LANES_MAX || (n & (n - 1))) return false;
            c->vec = s;
            c->lanes = n;
        } else if (s->u.loop.kind == LOOP_SERIAL) {
            c->again |= !fixed || n > 1;
            c->terms = i64_min(OFTEN, c->terms * (fixed ? n : OFTEN));
        } else if (!fixed || n < 1 || n > 256) {
            return false;
        } else if (s->u.loop.reduce) {
            c->side *= n;
            c->again |= n > 1;
        } else {
            c->pure *= n;
        }
        if (c->pure > 256 || c->side > 256) return false;
    }
    c->store = s;
    if (!s || !c->vec || !c->again || !split_value(c)) return false;
    for (int d = 0; d < s->u.store.tensor->rank; d++)
        if (on_reduce(c, s->u.store.idx[d])) return false;
    for (int i = 0; i < c->n && !l->t->masks; i++)
        if (c->s[i]->kind == ST_IF && expr_uses_var(c->s[i]->u.cond.cond, c->vec->u.loop.var))
            return false;          /* lanes of a register without masks would become scalars */
    for (int i = 0; i < c->n; i++) /* the last loop runs after the reduce loops */
        if (c->s[i]->kind == ST_FOR && !c->s[i]->u.loop.reduce && on_reduce(c, c->s[i]->u.loop.lo))
            return false;
    if (is_wide(c) && !widen(l, c)) return false;
    if (c->pure * c->side > l->t->vregs - 4) c->side = 1;
    return c->pure * c->side <= l->t->vregs;
}

/* ---- building -------------------------------------------------------------------------------- */

struct tile {
    struct low *l;
    struct tensor *t;
    int64_t lanes;
};

static const struct expr *tile_at(const struct tile *k, const struct expr *element,
                                  const struct expr *lane)
{
    struct ir *ir = k->l->ir;
    return expr_add(ir, expr_mul(ir, element, expr_int(ir, k->lanes)), lane);
}

static struct stmt *loop_of(struct low *l, const struct var *v, int64_t lo, int64_t hi,
                            enum loop_kind kind, struct stmt *body)
{
    struct stmt *s = stmt_for(l->ir, v, expr_int(l->ir, lo), expr_int(l->ir, hi), body);
    s->u.loop.kind = kind;
    return s;
}

static const struct var *fresh_var(struct low *l, const char *kind)
{
    struct ir *ir = l->ir;
    return var_new(ir, arena_printf(ir->arena, "part%s", fresh_suffix(l, kind)), type_of(TYPE_S64));
}

static const struct expr *combine(struct ir *ir, enum reduce op, const struct expr *a,
                                  const struct expr *b)
{
    return expr_binary(ir, op == RED_SUM ? OP_ADD : op == RED_MAX ? OP_MAX : OP_MIN, a, b);
}

/* for e in 0..elements: for l in lanes: tile[e, l] = the identity */
static struct stmt *start(const struct tile *k, const struct chain *c)
{
    struct low *l = k->l;
    const struct var *e = fresh_var(l, "e"), *lane = fresh_var(l, "l");
    const struct expr *at = tile_at(k, expr_var(l->ir, e), expr_var(l->ir, lane));
    struct stmt *like = stmt_update(l->ir, c->op, k->t, &at, c->rest);
    struct stmt *s = stmt_store(l->ir, k->t, &at, reduce_identity(l->ir, like, 0));
    s = loop_of(l, lane, 0, k->lanes, LOOP_VECTOR, s);
    return loop_of(l, e, 0, c->pure * c->side, LOOP_UNROLL, s);
}

/* for p in 0..pure: for i in 0..upper: tile[p*side + i] (+)= tile[p*side + lower + i], from the upper half
 * of `count` vectors to the lower one. */
static struct stmt *halve(const struct tile *k, const struct chain *c, int64_t count)
{
    struct low *l = k->l;
    struct ir *ir = l->ir;
    int64_t lower = (count + 1) / 2;
    const struct var *p = fresh_var(l, "p"), *i = fresh_var(l, "i"), *lane = fresh_var(l, "l");
    const struct expr *first = expr_mul(ir, expr_var(ir, p), expr_int(ir, c->side));
    first = expr_add(ir, first, expr_var(ir, i));
    const struct expr *to = tile_at(k, first, expr_var(ir, lane));
    const struct expr *from =
        tile_at(k, expr_add(ir, first, expr_int(ir, lower)), expr_var(ir, lane));
    struct stmt *s =
        stmt_store(ir, k->t, &to,
                   combine(ir, c->op, expr_load(ir, k->t, &to, 1), expr_load(ir, k->t, &from, 1)));
    s = loop_of(l, lane, 0, k->lanes, LOOP_VECTOR, s);
    s = loop_of(l, i, 0, count - lower, LOOP_UNROLL, s);
    return loop_of(l, p, 0, c->pure, LOOP_UNROLL, s);
}

/* The old store, of the tile's lanes instead of the term, below the chain's pure loops and the
 * guards that speak of no reduce loop. */
static struct stmt *fold(const struct tile *k, const struct chain *c)
{
    struct low *l = k->l;
    struct ir *ir = l->ir;
    struct tensor *t = c->store->u.store.tensor;
    const struct var *from[CHAIN], *to[CHAIN], *lane = fresh_var(l, "l");
    const struct expr *element = expr_int(ir, 0);
    int nvar = 0;
    for (int i = 0; i < c->n; i++) {
        struct stmt *s = c->s[i];
        int64_t n = 0;
        if (s->kind != ST_FOR || s->u.loop.reduce || s == c->vec) continue;
        loop_constant_extent(s, &n);
        from[nvar] = s->u.loop.var;
        to[nvar++] = fresh_var(l, "p");
        const struct expr *step = expr_sub(ir, expr_var(ir, to[nvar - 1]), s->u.loop.lo);
        element = expr_add(ir, expr_mul(ir, element, expr_int(ir, n)), step);
    }
    element = expr_mul(ir, element, expr_int(ir, c->side));
    const struct expr *at = tile_at(k, element, expr_var(ir, lane));
    const struct expr *old = expr_load(ir, t, c->store->u.store.idx, t->rank);
    struct stmt *fold = stmt_store(ir, t, c->store->u.store.idx,
                                   combine(ir, c->op, old, expr_load(ir, k->t, &at, 1)));
    fold = loop_of(l, lane, 0, k->lanes, LOOP_VECTOR, fold);
    fold->u.loop.reduce = c->vec->u.loop.reduce;
    stmt_subst(ir, fold, c->vec->u.loop.var, expr_add(ir, expr_var(ir, lane), c->vec->u.loop.lo));
    int v = nvar;
    for (int i = c->n - 1; i >= 0; i--) {
        struct stmt *s = c->s[i];
        if (s->kind == ST_IF) {
            const struct expr *conj[CONJ_MAX];
            int n = expr_conjuncts(s->u.cond.cond, conj);
            for (int j = 0; j < n; j++)
                if (!on_reduce(c, conj[j])) fold = stmt_if(ir, conj[j], fold);
        } else if (!s->u.loop.reduce && s != c->vec) {
            v--;
            fold = stmt_for(ir, to[v], s->u.loop.lo, s->u.loop.hi, fold);
            fold->u.loop.kind = LOOP_UNROLL;
        }
    }
    for (int i = 0; i < nvar; i++) stmt_subst(ir, fold, from[i], expr_var(ir, to[i]));
    return fold;
}

/* The chain's own store goes to the tile. */
static void redirect(const struct tile *k, const struct chain *c)
{
    struct ir *ir = k->l->ir;
    const struct expr *pure = expr_int(ir, 0), *side = expr_int(ir, 0);
    for (int i = 0; i < c->n; i++) {
        struct stmt *s = c->s[i];
        int64_t n = 0;
        if (s->kind != ST_FOR || s->u.loop.kind != LOOP_UNROLL) continue;
        loop_constant_extent(s, &n);
        const struct expr **sum = s->u.loop.reduce ? &side : &pure;
        const struct expr *step = expr_sub(ir, expr_var(ir, s->u.loop.var), s->u.loop.lo);
        *sum = expr_add(ir, expr_mul(ir, *sum, expr_int(ir, n)), step);
    }
    const struct expr *element = expr_mul(ir, pure, expr_int(ir, c->side));
    if (is_wide(c)) side = expr_binary(ir, OP_MOD, side, expr_int(ir, c->side));
    if (c->side > 1) element = expr_add(ir, element, side);
    const struct expr *lane = expr_sub(ir, expr_var(ir, c->vec->u.loop.var), c->vec->u.loop.lo);
    const struct expr *at = tile_at(k, element, lane);
    struct stmt *store =
        stmt_store(ir, k->t, &at, combine(ir, c->op, expr_load(ir, k->t, &at, 1), c->rest));
    stmt_replace(c->store, store);
    c->vec->u.loop.reduce = false;
}

static struct stmt *partials_stmt(struct low *l, struct stmt *s, void *ctx)
{
    struct chain c;
    (void)ctx;
    if (s->kind != ST_FOR || !s->u.loop.reduce || has_outer(s) || !find_chain(l, s, &c)) return s;
    struct ir *ir = l->ir;
    struct tensor *t = c.store->u.store.tensor;
    const struct expr *size = expr_int(ir, c.pure * c.side * c.lanes);
    struct tile k = {.l = l, .lanes = c.lanes};
    k.t = tensor_new(ir, arena_printf(ir->arena, "%s%s", t->name, fresh_suffix(l, "part")), t->type,
                     SCOPE_REG, 1, &size);
    struct stmt *all = stmt_block(ir);
    struct stmt *last = fold(&k, &c);
    redirect(&k, &c);
    block_append(ir, all, start(&k, &c));
    block_append(ir, all, s);
    for (int64_t n = c.side; n > 1; n = (n + 1) / 2) block_append(ir, all, halve(&k, &c, n));
    block_append(ir, all, last);
    return stmt_alloc(ir, k.t, all);
}

enum rc pass_partials(struct low *l)
{
    rewrite_both(l, partials_stmt, NULL);
    return RC_OK;
}
