/* Contract: a temporary of which each iteration of a loop uses a block of its own becomes one block.
 *
 * Requires: stages dissolved and joined (join); before flatten, while subscripts have dimensions.
 * Provides: such a temporary is an ALLOC in the body of the innermost loop that holds all its uses
 * and is no vector loop, as large as the block. All blocks share its memory, which so stays in the cache; and it no longer
 * grows with the loop, whose extent may be dynamic.
 *
 *     temp s: f32[256, 1000]                         for mo in 0..64
 *     for mo in 0..64                                  alloc temp s: f32[4, 1000]
 *       for mi in 0..4                                   for mi in 0..4
 *         for n in 0..1000                                 for n in 0..1000
 *           s[mo*4 + mi, n] = ..               -->           s[mi, n] = ..
 *       for ki in 0..4                                   for ki in 0..4
 *         for n in 0..1000                                 for n in 0..1000
 *           y[..] = exp(s[mo*4 + ki, n]) ..                  y[..] = exp(s[ki, n]) ..
 *
 * A block of a few vectors whose subscripts stay inside it whatever guards say becomes registers.
 *
 * Invariants: every loop around the block moves it in one dimension, by at least its size there (a
 * mixed radix where several move it in the same), so that no two iterations share an element: what
 * an iteration reads it has written, as an element is defined once and before it is read. In the
 * dimensions that shrink all reads lie inside what is written. */
#include <string.h>

#include "base/vec.h"
#include "lower/private.h"

enum { SMALL = 8 }; /* vector registers */

struct uses {
    const struct tensor *t;
    struct stmt *common; /* the innermost statement around all uses */
    bool here;
};

static void look_slot(const struct expr **slot, void *ctx)
{
    struct uses *u = ctx;
    u->here |= expr_uses_tensor(*slot, u->t);
}

static bool look_stmt(struct stmt *s, void *ctx)
{
    struct uses *u = ctx;
    u->here = s->kind == ST_STORE && s->u.store.tensor == u->t;
    stmt_exprs(s, look_slot, u);
    if (!u->here) return true;
    if (!u->common) u->common = s;
    while (u->common != s && !stmt_is_ancestor(u->common, s)) u->common = u->common->parent;
    return true;
}

static struct stmt *loop_around(struct stmt *s)
{
    do s = s->parent;
    while (s && s->kind != ST_FOR);
    return s;
}

/* The innermost loop around s that is in no vector loop: lanes have no memory of their own. */
static struct stmt *serial_around(struct stmt *s)
{
    struct stmt *out = loop_around(s);
    for (struct stmt *p = out; p; p = loop_around(p))
        if (p->u.loop.kind == LOOP_VECTOR) out = loop_around(p);
    return out;
}

/* ---- is the block the iteration's own? ------------------------------------------------------- */

static bool own_block(const struct nest *n, const struct tensor *t, struct region *w,
                      struct stmt *loop)
{
    int64_t span[REGION_RANK] = {0}, trips = 0, step = 0; /* 0: moved by no loop yet */
    struct stmt *body = loop->u.loop.body;
    for (; loop; loop = loop_around(loop)) {
        bool known = loop_constant_extent(loop, &trips);
        if (known && trips == 1 && !loop->u.loop.reduce) continue;
        int d = box_moved(w, loop->u.loop.var, &step);
        if (d < 0 || loop->u.loop.reduce) return false;
        if (span[d] == 0 && !box_clip(n, body, t, true, w, d, step)) return false;
        if (step < span[d]) return false;
        if (!known || __builtin_mul_overflow(step, trips, &span[d])) span[d] = INT64_MAX;
    }
    return true;
}

/* ---- shrinking ------------------------------------------------------------------------------- */

struct shrink {
    struct ir *ir;
    struct tensor *t;
    const struct expr *lo[REGION_RANK]; /* NULL: the dimension stays */
    const struct expr *extent[REGION_RANK];
};

static const struct expr *inner_index(const struct shrink *k, const struct expr *e, int d)
{
    return k->lo[d] ? expr_simplify(k->ir, NULL, expr_sub(k->ir, e, k->lo[d])) : e;
}

static const struct expr *shrink_load(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct shrink *k = ctx;
    const struct expr *idx[REGION_RANK];
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != k->t) return NULL;
    int first = expr_load_first(e);
    for (int d = 0; d < k->t->rank; d++) idx[d] = inner_index(k, e->a[first + d], d);
    return first ? expr_loadc(ir, k->t, e->a[0], e->a[1], idx, k->t->rank)
                 : expr_load(ir, k->t, idx, k->t->rank);
}

static bool shrink_store(struct stmt *s, void *ctx)
{
    struct shrink *k = ctx;
    if (s->kind == ST_STORE && s->u.store.tensor == k->t)
        for (int d = 0; d < k->t->rank; d++)
            s->u.store.idx[d] = inner_index(k, s->u.store.idx[d], d);
    return true;
}

/* Which dimensions shrink to the block that the loop's body writes; false: none, or not sure. */
static bool plan(const struct nest *n, struct stmt *loop, struct shrink *k)
{
    struct region w, r;
    const char *why = NULL;
    bool any = false;
    if (!region_write(n, loop->u.loop.body, k->t, &w, &why) || !own_block(n, k->t, &w, loop))
        return false;
    if (!region_read(n, loop->u.loop.body, k->t, &r, &why)) return false;
    for (int d = 0; d < w.rank; d++) {
        int64_t have, need, off;
        bool fixed = expr_is_int(w.extent[d], &need);
        bool less = fixed && (!expr_is_int(k->t->extent[d], &have) || need < have);
        k->lo[d] = k->extent[d] = NULL;
        if (!less) continue;
        const struct expr *gap = expr_simplify(k->ir, NULL, expr_sub(k->ir, r.lo[d], w.lo[d]));
        if (!expr_is_int(gap, &off) || off < 0) return false;
        if (!box_clip(n, loop->u.loop.body, k->t, false, &r, d, need - off)) return false;
        k->lo[d] = w.lo[d];
        k->extent[d] = w.extent[d];
        any = true;
    }
    return any;
}

static void drop(struct nest *n, int at)
{
    n->ntensor--;
    memmove(n->tensor + at, n->tensor + at + 1, (size_t)(n->ntensor - at) * sizeof *n->tensor);
}

/* ---- in registers? --------------------------------------------------------------------------- */

/* A register is read and written whatever guards say: are all subscripts inside the block by the bounds of their
 * loops alone? */
struct inside {
    struct low *l;
    const struct tensor *t;
    const struct stmt *loop, *s;
    bool all;
};

static void inside_box(struct inside *x, const struct expr *const *idx)
{
    struct env *env = env_new(x->l->ir);
    for (const struct stmt *p = x->s; p && p != x->loop; p = p->parent)
        if (p->kind == ST_FOR) env_put(env, p->u.loop.var, p->u.loop.lo, p->u.loop.hi);
    for (int d = 0; d < x->t->rank; d++) {
        int64_t n = 0;
        struct range r = expr_range(env, idx[d]);
        x->all &= expr_is_int(x->t->extent[d], &n) && r.lo >= 0 && r.hi < n;
    }
}

static void inside_node(const struct expr *e, void *ctx)
{
    struct inside *x = ctx;
    if ((e->op == OP_LOAD || e->op == OP_LOADC) && e->u.tensor == x->t)
        inside_box(x, e->a + expr_load_first(e));
}

static void inside_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, inside_node, ctx); }

static bool inside_stmt(struct stmt *s, void *ctx)
{
    struct inside *x = ctx;
    x->s = s;
    stmt_exprs(s, inside_slot, x);
    if (s->kind == ST_STORE && s->u.store.tensor == x->t) inside_box(x, s->u.store.idx);
    return x->all;
}

/* A block of a few vectors may live in registers (regs makes it an array again where it cannot). */
static bool is_small(const struct low *l, const struct tensor *t)
{
    int64_t bytes = dtype_bytes((enum dtype)t->type.dtype), n = 0;
    for (int d = 0; d < t->rank; d++) {
        if (!expr_is_int(t->extent[d], &n) || n > 4096) return false;
        bytes *= n;
    }
    return bytes * 8 <= SMALL * l->t->vector_bits;
}

static bool contract(struct low *l, struct tensor *t)
{
    struct uses u = {.t = t}, packed = {.t = t};
    stmt_walk(l->n->body, look_stmt, &u);
    stmt_walk(l->n->pack, look_stmt, &packed);
    if (!u.common || packed.common) return false;
    struct shrink k = {.ir = l->ir, .t = t};
    struct stmt *loop = serial_around(u.common);
    while (loop && !plan(l->n, loop, &k)) loop = loop_around(loop);
    if (!loop) return false;
    stmt_walk(loop, shrink_store, &k);
    stmt_map_exprs(l->ir, loop, shrink_load, &k);
    for (int d = 0; d < t->rank; d++)
        if (k.extent[d]) t->extent[d] = k.extent[d];
    struct inside x = {.l = l, .t = t, .loop = loop, .all = is_small(l, t)};
    stmt_walk(loop->u.loop.body, inside_stmt, &x);
    if (x.all) t->scope = SCOPE_REG;
    struct stmt *body = loop->u.loop.body, *alloc = stmt_alloc(l->ir, t, body);
    loop->u.loop.body = alloc;
    alloc->parent = loop;
    return true;
}

enum rc pass_contract(struct low *l)
{
    for (int i = 0; i < l->n->ntensor;) {
        struct tensor *t = l->n->tensor[i];
        bool fits = t->scope == SCOPE_TEMP && t->nlayout == 0 && t->rank <= REGION_RANK;
        if (fits && contract(l, t))
            drop(l->n, i);
        else
            i++;
    }
    return RC_OK;
}
