/* The folding constructors: what schedules and passes build with. They fold constants and cheap
 * identities on the spot, so that index arithmetic stays small before any simplifier has run.
 *
 *   (i + 3) - 3 -> i      i * 1 -> i      min(x, x) -> x      5 / 2 -> 2      c ? x : x -> x
 *   1.0 + v * -1.0 -> 1.0 - v
 *
 * Invariants: the value never changes (integers modulo their width; floats except the sign of a
 * zero); a constant operand of + * min max & | ^ == != stands on the right; exp .. cos are never
 * folded, because their meaning is their expansion. */
#include "ir/private.h"

static bool is_const(const struct expr *e) { return e->op == OP_INT || e->op == OP_REAL; }

/* The constant that all lanes of e hold, if so. */
static const struct expr *uniform(const struct expr *e)
{
    if (e->op == OP_SPLAT) e = e->a[0];
    return is_const(e) ? e : NULL;
}

static union scalar scalar_of(const struct expr *e)
{
    return e->op == OP_REAL ? (union scalar){.f = e->u.f} : (union scalar){.i = e->u.i};
}

static const struct expr *const_of(struct ir *ir, struct type t, union scalar v)
{
    return dtype_is_float(t.dtype) ? expr_real(ir, t, v.f) : expr_int_of(ir, t, v.i);
}

static bool is_number(const struct expr *c, double v)
{
    return c && (c->op == OP_REAL ? c->u.f == v : (double)c->u.i == v && c->u.i == (int64_t)v);
}

static const struct expr *fold_const(struct ir *ir, enum op op, struct type type, int mode,
                                     const struct expr *const *a, int n)
{
    union scalar in[3], out = {0};
    const struct expr *c = NULL;
    for (int i = 0; i < n; i++) {
        c = uniform(a[i]);
        if (!c) return NULL;
        in[i] = scalar_of(c);
    }
    if ((op >= OP_EXP && op <= OP_COS) || !c) return NULL;
    if (!scalar_eval(op, type.dtype, a[0]->type.dtype, mode, in, &out)) return NULL;
    return const_of(ir, type, out);
}

/* e = base + *c modulo the width, for integer scalars; base NULL for a constant. */
static const struct expr *split_const(const struct expr *e, int64_t *c)
{
    int64_t k = 0;
    *c = 0;
    if (expr_is_int(e, c)) return NULL;
    if (e->op == OP_ADD && expr_is_int(e->a[1], &k)) {
        *c = k;
        return e->a[0];
    }
    if (e->op == OP_SUB && expr_is_int(e->a[1], &k)) {
        *c = (int64_t)(0 - (uint64_t)k);
        return e->a[0];
    }
    return e;
}

static const struct expr *plus_const(struct ir *ir, const struct expr *e, int64_t c)
{
    c = int_wrap(e->type.dtype, c);
    if (c == 0) return e;
    bool minus = c < 0 && c != INT64_MIN;
    const struct expr *a[2] = {e, expr_int_of(ir, e->type, minus ? -c : c)};
    return expr_make(ir, minus ? OP_SUB : OP_ADD, e->type, a, 2, NULL);
}

static const struct expr *fold_add(struct ir *ir, enum op op, const struct expr *x,
                                   const struct expr *y)
{
    bool sub = op == OP_SUB;
    if (is_number(uniform(y), 0)) return x;
    if (!sub && is_number(uniform(x), 0)) return y;
    if (dtype_is_float(
            x->type.dtype)) { /* sums of negated terms stay sums: passes look for those */
        bool turned = !sub && x->op == OP_NEG && uniform(y);
        return turned ? expr_binary(ir, OP_SUB, y, x->a[0]) : NULL;
    }
    if (sub && x == y) return expr_int_of(ir, x->type, 0);
    if (x->type.lanes > 1) {
        if (sub) return NULL;
        if (x->op == OP_SPLAT && y->op == OP_RAMP) {
            const struct expr *swap = x;
            x = y;
            y = swap;
        }
        if (x->op == OP_RAMP && y->op == OP_SPLAT)
            return expr_ramp(ir, expr_binary(ir, OP_ADD, x->a[0], y->a[0]), x->a[1], x->type.lanes);
        return NULL;
    }
    int64_t cx = 0, cy = 0;
    const struct expr *bx = split_const(x, &cx), *by = split_const(y, &cy);
    uint64_t c = sub ? (uint64_t)cx - (uint64_t)cy : (uint64_t)cx + (uint64_t)cy;
    if (!by) return plus_const(ir, bx, (int64_t)c);
    if (!bx) return NULL;
    if (sub && bx == by) return expr_int_of(ir, x->type, (int64_t)c);
    if (sub && bx->op == OP_ADD && bx->a[0] == by) return plus_const(ir, bx->a[1], (int64_t)c);
    if (sub && bx->op == OP_ADD && bx->a[1] == by) return plus_const(ir, bx->a[0], (int64_t)c);
    if (!sub && by->op == OP_SUB && by->a[1] == bx) return plus_const(ir, by->a[0], (int64_t)c);
    if (!sub && bx->op == OP_SUB && bx->a[1] == by) return plus_const(ir, bx->a[0], (int64_t)c);
    return NULL;
}

static const struct expr *fold_mul(struct ir *ir, const struct expr *x, const struct expr *y)
{
    const struct expr *c = uniform(y), *inner = NULL;
    if (is_number(c, 1)) return x;
    if (is_number(uniform(x), 1)) return y;
    if (dtype_is_float(x->type.dtype)) return is_number(c, -1) ? expr_unary(ir, OP_NEG, x) : NULL;
    if (is_number(c, 0)) return y;
    if (x->type.lanes > 1) {
        if (x->op == OP_RAMP && y->op == OP_SPLAT)
            return expr_ramp(ir, expr_binary(ir, OP_MUL, x->a[0], y->a[0]),
                             expr_binary(ir, OP_MUL, x->a[1], y->a[0]), x->type.lanes);
        return NULL;
    }
    if (c && x->op == OP_MUL && (inner = uniform(x->a[1])))
        return expr_binary(ir, OP_MUL, x->a[0],
                           expr_int_of(ir, x->type,
                                       (int64_t)((uint64_t)inner->u.i * (uint64_t)c->u.i)));
    return NULL;
}

static const struct expr *fold_divmod(struct ir *ir, enum op op, const struct expr *x,
                                      const struct expr *y)
{
    const struct expr *c = uniform(y);
    if (is_number(c, 1)) {
        if (op == OP_DIV) return x;
        return expr_int_of(ir, x->type, 0);
    }
    if (dtype_is_float(x->type.dtype) || !c || c->u.i == 0) return NULL;
    if (is_number(uniform(x), 0)) return x;
    /* (q*c)/c needs no overflow, which only index arithmetic promises. */
    if (x->type.dtype == TYPE_S64 && x->op == OP_MUL && x->a[1] == y)
        return op == OP_DIV ? x->a[0] : expr_int_of(ir, x->type, 0);
    if (op == OP_MOD && x->op == OP_MOD && x->a[1] == y) return x;
    return NULL;
}

static const struct expr *fold_logic(struct ir *ir, enum op op, const struct expr *x,
                                     const struct expr *y)
{
    const struct expr *c = uniform(y);
    if (x == y) return op == OP_XOR ? expr_int_of(ir, x->type, 0) : x;
    if (!c) return NULL;
    bool zero = c->u.i == 0, ones = c->u.i == int_wrap(x->type.dtype, -1);
    if (zero) return op == OP_AND ? y : x;
    if (ones && op == OP_AND) return x;
    if (ones && op == OP_OR) return y;
    if (ones && op == OP_XOR) return expr_unary(ir, OP_NOT, x);
    return NULL;
}

static const struct expr *fold_compare(struct ir *ir, enum op op, const struct expr *x,
                                       const struct expr *y)
{
    struct type t = type_vec(TYPE_B1, x->type.lanes);
    if (x == y && !dtype_is_float(x->type.dtype))
        return expr_int_of(ir, t, op == OP_EQ || op == OP_LE);
    if (x->type.dtype != TYPE_S64 || x->type.lanes > 1) return NULL;
    int64_t cx = 0, cy = 0, d = 0;
    const struct expr *bx = split_const(x, &cx), *by = split_const(y, &cy);
    if (!bx || bx != by || __builtin_sub_overflow(cx, cy, &d)) return NULL;
    bool r = op == OP_EQ ? d == 0 : op == OP_NE ? d != 0 : op == OP_LT ? d < 0 : d <= 0;
    return expr_bool(ir, r);
}

static const struct expr *fold_binary(struct ir *ir, enum op op, const struct expr *x,
                                      const struct expr *y)
{
    switch (op) {
    case OP_ADD:
    case OP_SUB:
        return fold_add(ir, op, x, y);
    case OP_MUL:
        return fold_mul(ir, x, y);
    case OP_DIV:
    case OP_MOD:
        return fold_divmod(ir, op, x, y);
    case OP_MIN:
    case OP_MAX:
        return x == y ? x : NULL;
    case OP_AND:
    case OP_OR:
    case OP_XOR:
        return fold_logic(ir, op, x, y);
    case OP_SHL:
    case OP_SHR:
    case OP_RSHR:
        return is_number(uniform(y), 0) ? x : NULL;
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
        return fold_compare(ir, op, x, y);
    default:
        return NULL;
    }
}

const struct expr *expr_binary(struct ir *ir, enum op op, const struct expr *a,
                               const struct expr *b)
{
    if (op_is_commutative(op) && uniform(a) && !uniform(b)) {
        const struct expr *swap = a;
        a = b;
        b = swap;
    }
    const struct expr *pair[2] = {a, b};
    struct type t = op_is_predicate(op) ? type_vec(TYPE_B1, a->type.lanes) : a->type;
    const struct expr *r = NULL;
    const char *why = expr_type_error(op, t, pair, 2, NULL);
    QN_CHECK(!why, "%s: %s", op_name(op), why);
    r = fold_const(ir, op, t, 0, pair, 2);
    if (!r) r = fold_binary(ir, op, a, b);
    return r ? r : expr_make(ir, op, t, pair, 2, NULL);
}

const struct expr *expr_unary(struct ir *ir, enum op op, const struct expr *a)
{
    struct type t = a->type;
    if (op == OP_HSUM || op == OP_HMAX || op == OP_HMIN)
        t.lanes = 1;
    else {
        const struct expr *r = fold_const(ir, op, t, 0, &a, 1);
        if (r) return r;
        if ((op == OP_NEG || op == OP_NOT) && a->op == op) return a->a[0];
        if (op == OP_NOT && t.dtype == TYPE_B1 && a->a[0] && (a->op == OP_EQ || a->op == OP_NE))
            return expr_binary(ir, a->op == OP_EQ ? OP_NE : OP_EQ, a->a[0], a->a[1]);
        if (op == OP_NOT && (a->op == OP_LT || a->op == OP_LE) &&
            !dtype_is_float(a->a[0]->type.dtype))
            return expr_binary(ir, a->op == OP_LT ? OP_LE : OP_LT, a->a[1], a->a[0]);
    }
    return expr_make(ir, op, t, &a, 1, NULL);
}

const struct expr *expr_select(struct ir *ir, const struct expr *c, const struct expr *a,
                               const struct expr *b)
{
    const struct expr *known = uniform(c), *x[3] = {c, a, b};
    if (known && type_eq(a->type, b->type)) return known->u.i ? a : b;
    if (a == b) return a;
    return expr_make(ir, OP_SELECT, a->type, x, 3, NULL);
}

const struct expr *expr_fma(struct ir *ir, const struct expr *a, const struct expr *b,
                            const struct expr *c)
{
    const struct expr *x[3] = {a, b, c};
    const struct expr *r = fold_const(ir, OP_FMA, a->type, 0, x, 3);
    return r ? r : expr_make(ir, OP_FMA, a->type, x, 3, NULL);
}

const struct expr *expr_cast(struct ir *ir, struct type t, enum cast_mode mode,
                             const struct expr *a)
{
    int64_t m = mode;
    if (type_eq(t, a->type)) return a;
    QN_CHECK(t.lanes == a->type.lanes, "cast from %d to %d lanes", a->type.lanes, t.lanes);
    const struct expr *r = fold_const(ir, OP_CAST, t, mode, &a, 1);
    return r ? r : expr_make(ir, OP_CAST, t, &a, 1, &m);
}

const struct expr *expr_ramp(struct ir *ir, const struct expr *base, const struct expr *stride,
                             int lanes)
{
    const struct expr *x[2] = {base, stride};
    if (lanes == 1) return base;
    if (is_number(uniform(stride), 0)) return expr_splat(ir, base, lanes);
    return expr_make(ir, OP_RAMP, type_vec(base->type.dtype, lanes), x, 2, NULL);
}

const struct expr *expr_splat(struct ir *ir, const struct expr *a, int lanes)
{
    if (lanes == 1) return a;
    return expr_make(ir, OP_SPLAT, type_vec(a->type.dtype, lanes), &a, 1, NULL);
}

const struct expr *expr_add(struct ir *ir, const struct expr *a, const struct expr *b)
{
    return expr_binary(ir, OP_ADD, a, b);
}

const struct expr *expr_sub(struct ir *ir, const struct expr *a, const struct expr *b)
{
    return expr_binary(ir, OP_SUB, a, b);
}

const struct expr *expr_mul(struct ir *ir, const struct expr *a, const struct expr *b)
{
    return expr_binary(ir, OP_MUL, a, b);
}

const struct expr *expr_and(struct ir *ir, const struct expr *a, const struct expr *b)
{
    if (!a || !b) return a ? a : b;
    return expr_binary(ir, OP_AND, a, b);
}
