/* Chain: what partials and pairs share (chain.h).
 *
 * Invariants: nothing moves out of a loop that runs other statements. A guard over a reduce
 * variable keeps its place around the terms and does not hold for what happens after them: like a
 * start, it may touch every element the terms may. */
#include "lower/chain.h"

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

bool chain_on_reduce(const struct chain *c, const struct expr *e)
{
    for (int i = 0; i < c->n; i++)
        if (c->s[i]->kind == ST_FOR && c->s[i]->u.loop.reduce &&
            expr_uses_var(e, c->s[i]->u.loop.var))
            return true;
    return false;
}

static bool is_leaf(const struct stmt *s) { return s->kind == ST_STORE || s->kind == ST_UPDATE; }

static bool add_loop(struct chain *c, struct stmt *s)
{
    int64_t n = 0;
    bool fixed = loop_constant_extent(s, &n);
    if (s->u.loop.kind == LOOP_VECTOR) {
        if (c->vec || !fixed || n < 2 || n > LANES_MAX || (n & (n - 1))) return false;
        c->vec = s;
        c->lanes = n;
    } else if (s->u.loop.kind == LOOP_SERIAL) {
        c->again |= !fixed || n > 1;
        c->terms = i64_min(CHAIN_OFTEN, c->terms * (fixed ? n : CHAIN_OFTEN));
    } else if (!fixed || n < 1 || n > 256) {
        return false;
    } else if (s->u.loop.reduce) {
        c->side *= n;
        c->again |= n > 1;
    } else {
        c->pure *= n;
    }
    return c->pure <= 256 && c->side <= 256;
}

bool chain_find(const struct low *l, struct stmt *top, struct chain *c)
{
    struct stmt *s = top;
    *c = (struct chain){.pure = 1, .side = 1, .terms = 1};
    if (top->kind != ST_FOR || !top->u.loop.reduce || has_outer(top)) return false;
    for (; s && !is_leaf(s); s = stmt_only(*stmt_body(s))) {
        if (!is_link(s) || c->n == CHAIN_MOST) return false;
        c->s[c->n++] = s;
        if (s->kind == ST_FOR && !add_loop(c, s)) return false;
    }
    c->leaf = s;
    if (!s || !c->vec || !c->again) return false;
    c->wide = !c->vec->u.loop.reduce;
    bool store = s->kind == ST_STORE;
    const struct tensor *t = store ? s->u.store.tensor : s->u.update.tensor[0];
    for (int d = 0; d < t->rank; d++)
        if (chain_on_reduce(c, store ? s->u.store.idx[d] : s->u.update.idx[d])) return false;
    for (int i = 0; i < c->n && !l->t->masks; i++)
        if (c->s[i]->kind == ST_IF && expr_uses_var(c->s[i]->u.cond.cond, c->vec->u.loop.var))
            return false;          /* lanes of a register without masks would become scalars */
    for (int i = 0; i < c->n; i++) /* the pure loops run again after the reduce loops */
        if (c->s[i]->kind == ST_FOR && !c->s[i]->u.loop.reduce &&
            chain_on_reduce(c, c->s[i]->u.loop.lo))
            return false;
    return true;
}

int64_t chain_registers(const struct low *l, const struct chain *c, const struct tensor *t)
{
    int64_t bits = c->lanes * 8 * dtype_bytes((enum dtype)t->type.dtype);
    return (bits + l->t->vector_bits - 1) / l->t->vector_bits;
}

/* ---- building -------------------------------------------------------------------------------- */

const struct var *chain_var(struct low *l, const char *kind)
{
    struct ir *ir = l->ir;
    return var_new(ir, arena_printf(ir->arena, "part%s", fresh_suffix(l, kind)), type_of(TYPE_S64));
}

struct stmt *chain_loop(struct low *l, const struct var *v, int64_t n, enum loop_kind kind,
                        struct stmt *body)
{
    struct stmt *s = stmt_for(l->ir, v, expr_int(l->ir, 0), expr_int(l->ir, n), body);
    s->u.loop.kind = kind;
    return s;
}

static const struct expr *tile_at(struct low *l, const struct chain *c, const struct expr *element,
                                  const struct expr *lane)
{
    return expr_add(l->ir, expr_mul(l->ir, element, expr_int(l->ir, c->lanes)), lane);
}

struct stmt *chain_start(struct low *l, const struct chain *c, chain_fn *fn, void *ctx)
{
    const struct var *e = chain_var(l, "e"), *lane = chain_var(l, "l");
    const struct expr *at = tile_at(l, c, expr_var(l->ir, e), expr_var(l->ir, lane));
    struct stmt *s = chain_loop(l, lane, c->lanes, LOOP_VECTOR, fn(ctx, at, NULL));
    return chain_loop(l, e, c->pure * c->side, LOOP_UNROLL, s);
}

const struct expr *chain_at(struct low *l, const struct chain *c)
{
    struct ir *ir = l->ir;
    const struct expr *pure = expr_int(ir, 0), *side = expr_int(ir, 0);
    int64_t sides = 1;
    for (int i = 0; i < c->n; i++) {
        struct stmt *s = c->s[i];
        int64_t n = 0;
        if (s->kind != ST_FOR || s->u.loop.kind != LOOP_UNROLL) continue;
        loop_constant_extent(s, &n);
        const struct expr **sum = s->u.loop.reduce ? &side : &pure;
        if (s->u.loop.reduce) sides *= n;
        const struct expr *step = expr_sub(ir, expr_var(ir, s->u.loop.var), s->u.loop.lo);
        *sum = expr_add(ir, expr_mul(ir, *sum, expr_int(ir, n)), step);
    }
    const struct expr *element = expr_mul(ir, pure, expr_int(ir, c->side));
    if (c->side < sides) side = expr_binary(ir, OP_MOD, side, expr_int(ir, c->side));
    if (c->side > 1) element = expr_add(ir, element, side);
    const struct expr *lane = expr_sub(ir, expr_var(ir, c->vec->u.loop.var), c->vec->u.loop.lo);
    return tile_at(l, c, element, lane);
}

/* for p in 0..pure: for i in 0..upper: tile[p*side + lower + i] -> tile[p*side + i], from the upper
 * half of `count` vectors to the lower one. */
static struct stmt *halve(struct low *l, const struct chain *c, int64_t count, chain_fn *fn,
                          void *ctx)
{
    struct ir *ir = l->ir;
    int64_t lower = (count + 1) / 2;
    const struct var *p = chain_var(l, "p"), *i = chain_var(l, "i"), *lane = chain_var(l, "l");
    const struct expr *first = expr_mul(ir, expr_var(ir, p), expr_int(ir, c->side));
    first = expr_add(ir, first, expr_var(ir, i));
    const struct expr *to = tile_at(l, c, first, expr_var(ir, lane));
    first = expr_add(ir, first, expr_int(ir, lower));
    const struct expr *from = tile_at(l, c, first, expr_var(ir, lane));
    struct stmt *s = chain_loop(l, lane, c->lanes, LOOP_VECTOR, fn(ctx, to, from));
    s = chain_loop(l, i, count - lower, LOOP_UNROLL, s);
    return chain_loop(l, p, c->pure, LOOP_UNROLL, s);
}

void chain_halve(struct low *l, const struct chain *c, struct stmt *block, chain_fn *fn, void *ctx)
{
    for (int64_t n = c->side; n > 1; n = (n + 1) / 2)
        block_append(l->ir, block, halve(l, c, n, fn, ctx));
}

struct stmt *chain_end(struct low *l, const struct chain *c, chain_fn *fn, void *ctx)
{
    struct ir *ir = l->ir;
    const struct var *from[CHAIN_MOST], *to[CHAIN_MOST];
    const struct expr *element = expr_int(ir, 0), *lane = expr_var(ir, chain_var(l, "l"));
    int nvar = 0;
    for (int i = 0; i < c->n; i++) {
        struct stmt *s = c->s[i];
        int64_t n = 0;
        if (s->kind != ST_FOR || s->u.loop.reduce || s == c->vec) continue;
        loop_constant_extent(s, &n);
        from[nvar] = s->u.loop.var;
        to[nvar++] = chain_var(l, "p");
        const struct expr *step = expr_sub(ir, expr_var(ir, to[nvar - 1]), s->u.loop.lo);
        element = expr_add(ir, expr_mul(ir, element, expr_int(ir, n)), step);
    }
    element = expr_mul(ir, element, expr_int(ir, c->side));
    struct stmt *end = fn(ctx, tile_at(l, c, element, lane), lane);
    int v = nvar;
    for (int i = c->n - 1; i >= 0; i--) {
        struct stmt *s = c->s[i];
        if (s->kind == ST_IF) {
            const struct expr *conj[CONJ_MAX];
            int n = expr_conjuncts(s->u.cond.cond, conj);
            for (int j = 0; j < n; j++)
                if (!chain_on_reduce(c, conj[j])) end = stmt_if(ir, conj[j], end);
        } else if (!s->u.loop.reduce && s != c->vec) {
            v--;
            end = stmt_for(ir, to[v], s->u.loop.lo, s->u.loop.hi, end);
            end->u.loop.kind = LOOP_UNROLL;
        }
    }
    for (int i = 0; i < nvar; i++) stmt_subst(ir, end, from[i], expr_var(ir, to[i]));
    return end;
}
