/* The reference's only change of shape: the innermost parallel loop of a reduction moves inside its
 * reduce loops, so that a compiler's vectoriser finds unit strides. Runs in lower_naive alone.
 *
 *     for k in 0..64                             for k.row in 0..64
 *       acc[k] = 0.0                               acc[k.row] = 0.0
 *       for c in 0..16 reduce               -->  for c in 0..16 reduce
 *         acc[k] = acc[k] + x[c] * w[c*64 + k]      for k in 0..64
 *                                                    acc[k] = acc[k] + x[c] * w[c*64 + k]
 *
 * Every element still adds the same terms in the same order, so the results are the same bits.
 *
 * Requires: flat subscripts, updates as stores. A loop moves only if no bound inside depends on it,
 * every access in it has stride 0 or 1 (a row of a matrix that is read along its columns would
 * touch a cache line an element), and what it reads of its own outputs is the element it writes. */
#include "lower/private.h"

struct row {
    const struct stmt *store[UPDATE_TARGETS + 1];
    int nstore;
    const struct var *v;
    bool ok;
};

/* Stride of a flat subscript along v; -1: not known. */
static int64_t stride_along(const struct expr *idx, const struct var *v)
{
    struct linear l;
    bool clean;
    if (!expr_uses_var(idx, v)) return 0;
    if (!linear_of(idx, &l)) return -1;
    int64_t k = linear_take(&l, v, &clean);
    return clean ? k : -1;
}

static void check_load(const struct expr *e, void *ctx)
{
    struct row *r = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    const struct expr *idx = e->a[expr_load_first(e)];
    int64_t stride = stride_along(idx, r->v);
    r->ok = r->ok && (stride == 0 || stride == 1);
    for (int i = 0; i < r->nstore; i++)
        if (r->store[i]->u.store.tensor == e->u.tensor && r->store[i]->u.store.idx[0] != idx)
            r->ok = false;
}

static void check_loads(const struct expr **slot, void *ctx) { expr_walk(*slot, check_load, ctx); }

static bool find_store(struct stmt *s, void *ctx)
{
    struct row *r = ctx;
    if (s->kind == ST_STORE) {
        if (r->nstore == (int)QN_COUNT(r->store))
            r->ok = false;
        else
            r->store[r->nstore++] = s;
        r->ok = r->ok && s->u.store.tensor->rank == 1 && stride_along(s->u.store.idx[0], r->v) == 1;
    } else if (s->kind != ST_BLOCK && s->kind != ST_LET) {
        r->ok = false;
    }
    return true;
}

static bool check_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, check_loads, ctx);
    return true;
}

/* The reduce loops below `loop`, which starts with stores; NULL if it is not of that shape. */
static struct stmt *reduce_chain(const struct stmt *loop, struct stmt **innermost)
{
    struct stmt *body = loop->u.loop.body, *first;
    if (loop->u.loop.reduce || loop->u.loop.ordered || body->kind != ST_BLOCK ||
        body->u.block.n < 2)
        return NULL;
    for (int i = 0; i + 1 < body->u.block.n; i++)
        if (body->u.block.p[i]->kind != ST_STORE) return NULL;
    first = body->u.block.p[body->u.block.n - 1];
    *innermost = NULL;
    for (struct stmt *s = first; s && s->kind == ST_FOR; s = stmt_only(s->u.loop.body)) {
        const struct var *v = loop->u.loop.var;
        if (!s->u.loop.reduce || expr_uses_var(s->u.loop.lo, v) || expr_uses_var(s->u.loop.hi, v))
            return NULL;
        *innermost = s;
    }
    return *innermost ? first : NULL;
}

static struct stmt *row_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    struct stmt *innermost, *first;
    int64_t n;
    if (s->kind != ST_FOR || !(first = reduce_chain(s, &innermost))) return s;
    if (loop_constant_extent(s, &n) && n < 4) return s;
    struct row r = {.v = s->u.loop.var, .ok = true};
    stmt_walk(innermost->u.loop.body, find_store, &r);
    if (r.ok) stmt_walk(innermost->u.loop.body, check_stmt, &r);
    if (!r.ok) return s;

    struct stmt *body = s->u.loop.body, *both = stmt_block(l->ir);
    body->u.block.n--; /* the chain leaves */
    block_append(l->ir, both, copy_fresh(l, s, "row"));
    s->u.loop.body = innermost->u.loop.body;
    s->u.loop.body->parent = s;
    struct stmt *inner = stmt_block(l->ir);
    block_append(l->ir, inner, s);
    innermost->u.loop.body = inner;
    inner->parent = innermost;
    block_append(l->ir, both, first);
    return both;
}

enum rc pass_rows(struct low *l)
{
    rewrite_both(l, row_stmt, NULL);
    return RC_OK;
}
