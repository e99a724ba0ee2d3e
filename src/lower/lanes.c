/* Expressions of a vectorised loop: the variable becomes a ramp, what depends on it gets lanes.
 *
 *     x[i*32 + j] * s     over j = 0..3   ->   x[ramp(i*32, 1, 4)] * splat(s, 4)
 *     b[(i*8 + j) / 4]    over j = 0..3   ->   splat(b[i*2], 4)
 *
 * Invariants: what does not depend on the loop stays the same scalar node; memory is touched only
 * for lanes that run: a load under a mask is a guarded load, and a scalar load there needs a lane
 * that runs or an offset proved to be inside its tensor. */
#include "lower/lanes.h"

void lanes_fail(struct lanes *x, const char *why)
{
    if (!x->why) x->why = why;
}

struct tensor *lanes_mine(struct lanes *x, const struct tensor *t)
{
    for (size_t i = 0; i < x->mine.n; i++)
        if (x->mine.p[i].from == t) return (struct tensor *)x->mine.p[i].to;
    return NULL;
}

static bool depends(const struct lanes *x, const struct expr *e)
{
    if (expr_uses_var(e, x->v)) return true;
    for (size_t i = 0; i < x->var.n; i++)
        if (expr_uses_var(e, x->var.p[i].from)) return true;
    return false;
}

/* ---- index arithmetic ------------------------------------------------------------------------ */

/* base + stride*lane with a constant stride. */
static bool affine(const struct expr *e, const struct expr **base, int64_t *stride)
{
    *stride = 0;
    if (e->type.lanes == 1 || e->op == OP_SPLAT) {
        *base = e->op == OP_SPLAT ? e->a[0] : e;
        return true;
    }
    *base = e->a[0];
    return e->op == OP_RAMP && expr_is_int(e->a[1], stride);
}

static const struct expr *ramp(struct lanes *x, const struct expr *base, int64_t stride)
{
    return stride ? expr_ramp(x->l->ir, base, expr_int(x->l->ir, stride), x->n) : base;
}

static const struct expr *ramp_divmod(struct lanes *x, enum op op, const struct expr *b, int64_t s,
                                      int64_t c)
{
    struct ir *ir = x->l->ir;
    const struct expr *t = NULL, *by = expr_int(ir, c);
    int64_t rem = 0;
    if (s % c == 0) {
        if (op == OP_DIV) return ramp(x, expr_binary(ir, OP_DIV, b, by), s / c);
        return expr_binary(ir, OP_MOD, b, by);
    }
    if (!expr_split_multiple(ir, b, c, &t, &rem)) return NULL;
    int64_t first = i64_floordiv(rem, c), last = i64_floordiv(rem + s * (x->n - 1), c);
    if (first == last)
        return op == OP_DIV ? expr_add(ir, t, expr_int(ir, first))
                            : ramp(x, expr_int(ir, rem - first * c), s);
    const struct expr *within = ramp(x, expr_int(ir, rem), s);
    within = expr_make(ir, op, within->type,
                       (const struct expr *[]){within, expr_splat(ir, by, x->n)}, 2, NULL);
    return op == OP_MOD ? within : expr_binary(ir, OP_ADD, expr_splat(ir, t, x->n), within);
}

/* NULL: no better form than the operator on splatted operands. */
static const struct expr *index_binary(struct lanes *x, enum op op, const struct expr *a,
                                       const struct expr *b)
{
    struct ir *ir = x->l->ir;
    const struct expr *pa = NULL, *pb = NULL;
    int64_t sa = 0, sb = 0, c = 0;
    if (a->type.dtype != TYPE_S64 || !affine(a, &pa, &sa) || !affine(b, &pb, &sb)) return NULL;
    switch (op) {
    case OP_ADD:
        return ramp(x, expr_add(ir, pa, pb), sa + sb);
    case OP_SUB:
        return ramp(x, expr_sub(ir, pa, pb), sa - sb);
    case OP_MUL:
        if (sb == 0 && expr_is_int(pb, &c)) return ramp(x, expr_mul(ir, pa, pb), sa * c);
        if (sa == 0 && expr_is_int(pa, &c)) return ramp(x, expr_mul(ir, pb, pa), sb * c);
        return NULL;
    case OP_DIV:
    case OP_MOD:
        if (sb != 0 || !expr_is_int(pb, &c) || c <= 0) return NULL;
        return ramp_divmod(x, op, pa, sa, c);
    default:
        return NULL;
    }
}

const struct expr *lanes_index(struct lanes *x, const struct expr *e)
{
    const struct expr *base = NULL;
    int64_t off[LANES_MAX];
    if (e->type.lanes == 1 || !lanes_of(x->l->ir, e, &base, off)) return e;
    int64_t s = off[1] - off[0];
    for (int i = 1; i < x->n; i++)
        if (off[i] - off[i - 1] != s) return e;
    base = expr_simplify(x->l->ir, NULL, expr_add(x->l->ir, base, expr_int(x->l->ir, off[0])));
    return ramp(x, base, s);
}

/* ---- loads ----------------------------------------------------------------------------------- */

const struct expr *lanes_any(struct lanes *x, const struct expr *cond, int *side)
{
    const struct expr *conj[CONJ_MAX], *any = NULL;
    int n = expr_conjuncts(cond, conj);
    *side = 0;
    for (int i = 0; i < n; i++) {
        struct linear lin;
        bool clean = false;
        if (!depends(x, conj[i])) {
            any = expr_and(x->l->ir, any, conj[i]);
            continue;
        }
        bool known = expr_uses_var(conj[i], x->v) && cond_linear(x->l->ir, conj[i], &lin);
        int64_t k = known ? linear_take(&lin, x->v, &clean) : 0;
        int mine = !clean || k == 0 ? 2 : k < 0 ? -1 : 1;
        *side = *side == 0 || *side == mine ? mine : 2;
        if (*side == 2) return NULL;
        const struct expr *at = k < 0 ? x->lo : expr_sub(x->l->ir, x->hi, expr_int(x->l->ir, 1));
        any = expr_and(x->l->ir, any, expr_subst(x->l->ir, conj[i], x->v, at));
    }
    return any;
}

bool lanes_scalar_safe(struct lanes *x, const struct tensor *t, const struct expr *at)
{
    struct ir *ir = x->l->ir;
    if (!x->mask || x->mask_side == 1 || x->mask_side == -1) return true;
    struct env *env = env_at(ir, x->l->n, x->at);
    return env_proves(env, expr_binary(ir, OP_LE, expr_int(ir, 0), at)) &&
           env_proves(env, expr_binary(ir, OP_LT, at, t->extent[0]));
}

static const struct expr *zero_of(struct ir *ir, struct type t) { return expr_const(ir, t, 0); }

/* Constant subscripts inside a constant extent: there is nothing a mask would protect. */
static bool always_inside(struct lanes *x, const struct tensor *t, const struct expr *at)
{
    const struct expr *base = NULL;
    int64_t off[LANES_MAX], first = 0, n = 0;
    if (!lanes_of(x->l->ir, at, &base, off)) return false;
    if (!expr_is_int(base, &first) || !expr_is_int(t->extent[0], &n)) return false;
    for (int i = 0; i < x->n; i++)
        if (first + off[i] < 0 || first + off[i] >= n) return false;
    return true;
}

static const struct expr *lanes_load(struct lanes *x, const struct expr *e)
{
    struct ir *ir = x->l->ir;
    const struct tensor *t = e->u.tensor, *mine = lanes_mine(x, t);
    const struct expr *at = lanes_expr(x, e->a[0]);
    if (mine) {
        at = expr_mul(ir, at, expr_int_of(ir, at->type, x->n));
        at = expr_binary(ir, OP_ADD, expr_to_lanes(ir, at, x->n), ramp(x, expr_int(ir, 0), 1));
        at = lanes_index(x, at);
        return expr_load(ir, mine, &at, 1);
    }
    at = lanes_index(x, at);
    if (at->type.lanes == 1) {
        if (!lanes_scalar_safe(x, t, at))
            lanes_fail(x, "a scalar is read where perhaps no lane runs");
        return at == e->a[0] ? e : expr_load(ir, t, &at, 1);
    }
    if (!x->mask || t->scope == SCOPE_REG || always_inside(x, t, at))
        return expr_load(ir, t, &at, 1);
    return expr_loadc(ir, t, x->mask, zero_of(ir, type_vec((enum dtype)t->type.dtype, x->n)), &at,
                      1);
}

static const struct expr *lanes_loadc(struct lanes *x, const struct expr *e)
{
    struct ir *ir = x->l->ir;
    const struct expr *cond = lanes_expr(x, e->a[0]), *def = lanes_expr(x, e->a[1]);
    const struct expr *at = lanes_index(x, lanes_expr(x, e->a[2])), *any = NULL;
    int side = 0;
    if (lanes_mine(x, e->u.tensor)) {
        lanes_fail(x, "a guarded load of a lane's own tensor");
        return e;
    }
    if (cond->type.lanes > 1 && !x->l->t->masks) lanes_fail(x, "the target has no masked loads");
    if (at->type.lanes == 1 && cond->type.lanes == 1) {
        if (!lanes_scalar_safe(x, e->u.tensor, at))
            lanes_fail(x, "a scalar is read where perhaps no lane runs");
        if (def->type.lanes == 1) return expr_loadc(ir, e->u.tensor, cond, def, &at, 1);
        const struct expr *one = expr_loadc(ir, e->u.tensor, cond, zero_of(ir, e->type), &at, 1);
        return expr_select(ir, cond, expr_splat(ir, one, x->n), def);
    }
    if (at->type.lanes == 1) {
        if (x->mask || !(any = lanes_any(x, e->a[0], &side))) {
            lanes_fail(x, "one element is read under a condition on lanes");
            return e;
        }
        const struct expr *one = expr_loadc(ir, e->u.tensor, any, zero_of(ir, e->type), &at, 1);
        return expr_select(ir, cond, expr_splat(ir, one, x->n), expr_to_lanes(ir, def, x->n));
    }
    if (x->mask) cond = expr_and(ir, x->mask, expr_to_lanes(ir, cond, x->n));
    return expr_loadc(ir, e->u.tensor, cond, expr_to_lanes(ir, def, x->n), &at, 1);
}

/* ---- everything ------------------------------------------------------------------------------ */

static const struct expr *lanes_var(struct lanes *x, const struct expr *e)
{
    if (e->u.var == x->v) return ramp(x, x->lo, 1);
    for (size_t i = 0; i < x->var.n; i++)
        if (x->var.p[i].from == e->u.var) return expr_var(x->l->ir, x->var.p[i].to);
    return e;
}

const struct expr *lanes_expr(struct lanes *x, const struct expr *e)
{
    if (e->n == 0) return e->op == OP_VAR ? lanes_var(x, e) : e;
    bool loads = x->mask || x->mine.n > 0; /* then a load without the variable may still change */
    if (!loads && !depends(x, e)) return e;
    const struct expr *to = memo_get(&x->memo, e), *a[16];
    if (to) return to;
    bool changed = false;
    if (e->op == OP_LOAD || e->op == OP_LOADC) {
        to = e->op == OP_LOAD ? lanes_load(x, e) : lanes_loadc(x, e);
    } else {
        for (int i = 0; i < e->n; i++) {
            a[i] = lanes_expr(x, e->a[i]);
            changed |= a[i] != e->a[i];
        }
        to = changed && e->n == 2 ? index_binary(x, (enum op)e->op, a[0], a[1]) : NULL;
        if (!to) to = changed ? expr_with(x->l->ir, e, a) : e;
        bool traps =
            (e->op == OP_DIV || e->op == OP_MOD) && !dtype_is_float((enum dtype)e->type.dtype);
        if (traps && x->mask && to->type.lanes > 1 && to->n == 2 && to->op == e->op &&
            a[1]->op != OP_INT)
            lanes_fail(x, "an integer division under a mask");
    }
    memo_put(&x->memo, e, to);
    return to;
}
