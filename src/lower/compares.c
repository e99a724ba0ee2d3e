/* Compares: lanes are compared in the width of the vector, not as 64-bit indices.
 *
 * Requires: all passes that read conditions on lanes (peel .. hoist) are done.
 * Provides: no comparison of s64 vectors whose lanes differ from a scalar by constants, unless the
 * constants are large. What is left of the indices is one scalar, as narrow as the constants allow.
 *
 *     ramp(i*16, 1, 16) < splat(n, 16)   -->   cast(s32, ramp(0, 1, 16)) <
 *                                                splat(cast_sat(s32, n - i*16), 16)
 *
 * A vector register holds 8 such indices or 16 of s32, 64 of s8: a mask costs one comparison instead
 * of several whose results are put together. All masks of one loop share the scalar.
 *
 * Invariant: lane + base < limit exactly if lane < limit - base; the difference saturates beyond all
 * lanes, so every comparison keeps its result. */
#include "lower/private.h"

struct compares {
    struct low *l;
    struct env *env;
};

/* A type that holds `most` and more, no wider than a lane of a vector register if possible. */
static bool width_for(const struct low *l, int lanes, int64_t most, enum dtype *out)
{
    static const enum dtype types[] = {TYPE_S8, TYPE_S16, TYPE_S32};
    for (size_t i = 0; i < QN_COUNT(types); i++) {
        int bits = dtype_bits(types[i]);
        *out = types[i];
        if (bits < 32 && bits < l->t->vector_bits / lanes) continue;
        if (most < (INT64_C(1) << (bits - 2))) return true;
    }
    return false;
}

static const struct expr *narrow(struct ir *ir, const struct expr *e, void *ctx)
{
    struct compares *c = ctx;
    const struct expr *base[2];
    int64_t off[2][LANES_MAX], d[LANES_MAX], most = 0;
    enum dtype type;
    bool compares = e->op == OP_EQ || e->op == OP_NE || e->op == OP_LT || e->op == OP_LE;
    int lanes = e->type.lanes;
    if (!compares || lanes == 1 || e->a[0]->type.dtype != TYPE_S64) return NULL;
    for (int k = 0; k < 2; k++)
        if (!lanes_of(ir, e->a[k], &base[k], off[k])) return NULL;
    for (int i = 0; i < lanes; i++) {
        if (__builtin_sub_overflow(off[0][i], off[1][i], &d[i])) return NULL;
        most = i64_max(most, d[i] < 0 ? -d[i] : d[i]);
    }
    if (!width_for(c->l, lanes, most, &type)) return NULL;
    bool turned =
        d[lanes - 1] < d[0]; /* lanes count upwards: most then compare with the same ones */
    for (int i = 0; i < lanes && turned; i++) d[i] = -d[i];
    const struct expr *lane = lanes_make(ir, expr_int(ir, 0), d, lanes);
    if (!lane) return NULL;
    const struct expr *gap = expr_sub(ir, base[!turned], base[turned]);
    gap = expr_simplify(ir, c->env, gap);
    struct range r = expr_range(c->env, gap);
    int64_t end = INT64_C(1) << (dtype_bits(type) - 1);
    bool fits = r.lo >= -end && r.hi < end;
    gap = expr_cast(ir, type_of(type), fits ? CAST_PLAIN : CAST_SAT, gap);
    gap = expr_splat(ir, gap, lanes);
    lane = expr_cast(ir, type_vec(type, lanes), CAST_PLAIN, lane);
    return expr_binary(ir, (enum op)e->op, turned ? gap : lane, turned ? lane : gap);
}

static void find(const struct expr *e, void *ctx)
{
    *(bool *)ctx |=
        op_is_predicate((enum op)e->op) && e->type.lanes > 1 && e->a[0]->type.dtype == TYPE_S64;
}

static void find_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, find, ctx); }

static void narrow_slot(const struct expr **slot, void *ctx)
{
    struct compares *c = ctx;
    *slot = expr_map(c->l->ir, *slot, narrow, c);
}

static bool narrow_stmt(struct stmt *s, void *ctx)
{
    struct low *l = ctx;
    bool any = false;
    stmt_exprs(s, find_slot, &any);
    if (!any) return true;
    struct compares c = {l, env_at(l->ir, l->n, s)};
    stmt_exprs(s, narrow_slot, &c);
    return true;
}

enum rc pass_compares(struct low *l)
{
    stmt_walk(l->n->body, narrow_stmt, l);
    stmt_walk(l->n->pack, narrow_stmt, l);
    return RC_OK;
}
