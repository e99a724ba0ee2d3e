/* Simplification of index arithmetic and conditions, under what an environment knows.
 *
 *   ko in 0..4, ki in 0..16:   (ko*16 + ki)/16 -> ko        (ko*16 + ki)%16 -> ki
 *   p in 0..56, r in 0..3:     0 <= p + r & p + r < 58 -> true
 *   1 <= i & i < 1 -> false
 *   min(i + 4, n) - i          -> min(4, n - i)
 *
 * One rule function per operator; each gets a node whose children are simple and returns an equal
 * node. Sums go through the linear normal form, so equal sums become the same pointer. Rules only
 * cancel or use ranges; none makes an expression longer except the normal form itself.
 *
 * Invariants: the value is kept wherever the environment holds; simplify(simplify(e)) ==
 * simplify(e) (the driver repeats until nothing changes); each distinct node is visited once per
 * environment. */
#include "ir/private.h"

enum { PASSES = 6 };

static const struct expr *simple(struct env *env, const struct expr *e);

static int64_t gcd(int64_t a, int64_t b)
{
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* gcd of all coefficients; 0 without terms or with one that has no positive counterpart. */
static int64_t linear_gcd(const struct linear *l)
{
    int64_t g = 0;
    for (int i = 0; i < l->n; i++) {
        if (l->coef[i] == INT64_MIN) return 1;
        g = gcd(g, l->coef[i]);
    }
    return g;
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* k*c*(x/c) + k*(x%c) -> k*x */
static bool join_divmod(struct linear *l)
{
    for (int i = 0; i < l->n; i++) {
        const struct expr *m = l->atom[i];
        int64_t c = 0, k = l->coef[i], scaled = 0;
        if (m->op != OP_MOD || !expr_is_int(m->a[1], &c) || __builtin_mul_overflow(k, c, &scaled))
            continue;
        for (int j = 0; j < l->n; j++) {
            const struct expr *d = l->atom[j];
            struct linear x, to = *l;
            if (d->op != OP_DIV || d->a[0] != m->a[0] || d->a[1] != m->a[1] || l->coef[j] != scaled)
                continue;
            linear_drop(&to, m);
            linear_drop(&to, d);
            if (!linear_of(m->a[0], &x) || !linear_add(&to, &x, k)) continue;
            *l = to;
            return true;
        }
    }
    return false;
}

/* min(a, b) + rest -> min(a + rest, b + rest) where that cancels terms. */
static const struct expr *push_into_minmax(struct env *env, const struct linear *l)
{
    for (int i = 0; i < l->n; i++) {
        const struct expr *m = l->atom[i];
        struct linear a, b, rest = *l;
        if ((m->op != OP_MIN && m->op != OP_MAX) || (l->coef[i] != 1 && l->coef[i] != -1)) continue;
        if (!linear_of(m->a[0], &a) || !linear_of(m->a[1], &b)) continue;
        int before = a.n + b.n, k = (int)l->coef[i];
        linear_drop(&rest, m);
        struct linear ra = rest, rb = rest;
        if (rest.n == 0 || !linear_add(&ra, &a, k) || !linear_add(&rb, &b, k) ||
            ra.n + rb.n >= before + rest.n)
            continue;
        bool min = (m->op == OP_MIN) == (k > 0);
        return simple(env, expr_binary(env->ir, min ? OP_MIN : OP_MAX, linear_expr(env->ir, &ra),
                                       linear_expr(env->ir, &rb)));
    }
    return NULL;
}

static const struct expr *simple_sum(struct env *env, const struct expr *e)
{
    struct linear l;
    if (!linear_of(e, &l) || (l.n == 1 && l.atom[0] == e)) return e;
    while (join_divmod(&l))
        ;
    const struct expr *m = push_into_minmax(env, &l);
    return m ? m : linear_expr(env->ir, &l);
}

/* ---- division -------------------------------------------------------------------------------- */

/* x = c*q + r: takes out of x every term whose coefficient c divides; r keeps a constant with |r.c|
 * < c. */
static bool split_multiple(const struct linear *x, int64_t c, struct linear *q, struct linear *r)
{
    *q = (struct linear){.n = 0, .c = x->c / c};
    *r = (struct linear){.n = 0, .c = x->c % c};
    for (int i = 0; i < x->n; i++) {
        bool whole = x->coef[i] % c == 0;
        if (!linear_add_atom(whole ? q : r, x->atom[i], whole ? x->coef[i] / c : x->coef[i]))
            return false;
    }
    return true;
}

/* Does r lie in one block [k*c, (k+1)*c)? */
static bool one_block(const struct env *env, const struct linear *r, int64_t c, int64_t *k)
{
    struct range range = linear_range(env, r);
    bool finite = range.lo != INT64_MIN && range.hi != INT64_MAX;
    if (finite && range.lo <= range.hi && i64_floordiv(range.lo, c) == i64_floordiv(range.hi, c)) {
        *k = i64_floordiv(range.lo, c);
        return true;
    }
    struct linear below = {.n = 0, .c = c - 1};
    *k = 0;
    if (range.hi < 0 || range.lo >= c || r->n < 1) return false;
    return env_proves_nonneg(env, r) && linear_add(&below, r, -1) && env_proves_nonneg(env, &below);
}

/* (g*y + r0)/(g*d) = (y + floor(r0/g))/d; the same for % when g divides r0. Divides r by g. */
static int64_t common_factor(const struct linear *r, int64_t c, bool exact)
{
    int64_t g = gcd(linear_gcd(r), c);
    if (exact) g = gcd(g, r->c);
    return g < 1 ? 1 : g;
}

static void divide(struct linear *r, int64_t g)
{
    for (int i = 0; i < r->n; i++) r->coef[i] /= g;
    r->c = i64_floordiv(r->c, g);
}

static const struct expr *simple_div(struct env *env, const struct expr *e)
{
    struct ir *ir = env->ir;
    struct linear x, q, r;
    int64_t c = 0, inner = 0, k = 0, product = 0;
    if (!expr_is_int(e->a[1], &c) || c <= 0 || !linear_of(e->a[0], &x)) return e;
    if (!split_multiple(&x, c, &q, &r)) return e;
    if (one_block(env, &r, c, &k)) {
        if (__builtin_add_overflow(q.c, k, &q.c)) return e;
        return simple_sum(env, linear_expr(ir, &q));
    }
    int64_t g = common_factor(&r, c, false);
    divide(&r, g);
    c /= g;
    const struct expr *num = linear_expr(ir, &r);
    if (c != 1 && num->op == OP_DIV && expr_is_int(num->a[1], &inner) && inner > 0 &&
        !__builtin_mul_overflow(inner, c, &product)) {
        num = num->a[0]; /* (x/a)/b = x/(a*b) */
        c = product;
    }
    const struct expr *d = expr_binary(ir, OP_DIV, num, expr_int(ir, c));
    if (q.n == 0 && q.c == 0) return d;
    return simple_sum(env, expr_add(ir, linear_expr(ir, &q), d));
}

static const struct expr *simple_mod(struct env *env, const struct expr *e)
{
    struct ir *ir = env->ir;
    struct linear x, q, r;
    int64_t c = 0, inner = 0, k = 0, shift = 0;
    if (!expr_is_int(e->a[1], &c) || c <= 0 || !linear_of(e->a[0], &x)) return e;
    if (!split_multiple(&x, c, &q, &r)) return e;
    if (one_block(env, &r, c, &k)) {
        if (__builtin_mul_overflow(k, c, &shift) || __builtin_sub_overflow(r.c, shift, &r.c))
            return e;
        return simple_sum(env, linear_expr(ir, &r));
    }
    int64_t g = common_factor(&r, c, true);
    divide(&r, g);
    const struct expr *num = linear_expr(ir, &r);
    c /= g;
    if (num->op == OP_MOD && expr_is_int(num->a[1], &inner) && inner > 0 && inner % c == 0)
        num = num->a[0];
    return expr_mul(ir, expr_binary(ir, OP_MOD, num, expr_int(ir, c)), expr_int(ir, g));
}

/* ---- min, max -------------------------------------------------------------------------------- */

/* a >= b always? */
static bool covers(const struct env *env, const struct expr *a, const struct expr *b)
{
    struct linear l, m;
    return linear_of(a, &l) && linear_of(b, &m) && linear_add(&l, &m, -1) &&
           env_proves_nonneg(env, &l);
}

static const struct expr *simple_minmax(struct env *env, const struct expr *e)
{
    const struct expr *x = e->a[0], *y = e->a[1];
    enum op op = (enum op)e->op;
    bool min = op == OP_MIN;
    if (covers(env, x, y)) return min ? y : x;
    if (covers(env, y, x)) return min ? x : y;
    for (int side = 0; side < 2; side++) { /* min(min(a, b), c) where c decides against a or b */
        const struct expr *in = side ? y : x, *out = side ? x : y;
        if (in->op != op) continue;
        for (int i = 0; i < 2; i++) {
            const struct expr *a = in->a[i], *b = in->a[1 - i];
            if (covers(env, min ? a : out, min ? out : a))
                return simple(env, expr_binary(env->ir, op, b, out));
            if (covers(env, min ? out : a, min ? a : out)) return in;
        }
    }
    int64_t c =
        0; /* one order for equal meanings; constants stay right, where the constructor puts them */
    if (x->id > y->id && !expr_is_int(y, &c)) return expr_binary(env->ir, op, y, x);
    return e;
}

/* ---- comparisons ----------------------------------------------------------------------------- */

/* l >= 0 as `negatives <= positives + c`, the constant on the side where it is not negative. */
static const struct expr *compare_expr(struct ir *ir, const struct linear *l)
{
    struct linear neg = {.n = 0, .c = 0}, pos = {.n = 0, .c = 0};
    for (int i = 0; i < l->n; i++) {
        bool minus = l->coef[i] < 0;
        linear_add_atom(minus ? &neg : &pos, l->atom[i], minus ? -l->coef[i] : l->coef[i]);
    }
    if (pos.n == 0) { /* neg <= c: neg < c + 1 */
        if (l->c == INT64_MAX) return expr_bool(ir, true);
        pos.c = l->c + 1;
        return expr_binary(ir, OP_LT, linear_expr(ir, &neg), linear_expr(ir, &pos));
    }
    if (neg.n == 0) { /* 0 <= pos + c: -c <= pos */
        if (l->c == INT64_MIN) return expr_bool(ir, false);
        neg.c = -l->c;
        return expr_binary(ir, OP_LE, linear_expr(ir, &neg), linear_expr(ir, &pos));
    }
    if (l->c >= 0) {
        pos.c = l->c;
        return expr_binary(ir, OP_LE, linear_expr(ir, &neg), linear_expr(ir, &pos));
    }
    neg.c = -(l->c + 1);
    return expr_binary(ir, OP_LT, linear_expr(ir, &neg), linear_expr(ir, &pos));
}

/* k*min(a, b) + rest >= 0 with k > 0 holds for both; likewise -k*max(a, b). */
static const struct expr *split_compare(struct env *env, const struct linear *l)
{
    for (int i = 0; i < l->n; i++) {
        const struct expr *m = l->atom[i];
        int64_t k = l->coef[i];
        if (!(m->op == OP_MIN && k > 0) && !(m->op == OP_MAX && k < 0)) continue;
        const struct expr *part[2] = {NULL, NULL};
        for (int side = 0; side < 2; side++) {
            struct linear to = *l, x;
            linear_drop(&to, m);
            if (!linear_of(m->a[side], &x) || !linear_add(&to, &x, k)) return NULL;
            part[side] =
                expr_binary(env->ir, OP_LE, expr_int(env->ir, 0), linear_expr(env->ir, &to));
        }
        return simple(env, expr_and(env->ir, part[0], part[1]));
    }
    return NULL;
}

static const struct expr *simple_less(struct env *env, const struct expr *e)
{
    struct ir *ir = env->ir;
    struct linear l, never = {.n = 0, .c = -1};
    if (!linear_of_compare(e, &l)) return e;
    while (join_divmod(&l))
        ;
    int64_t g = linear_gcd(&l);
    if (g > 1) divide(&l, g);
    if (env_proves_nonneg(env, &l)) return expr_bool(ir, true);
    if (linear_add(&never, &l, -1) && env_proves_nonneg(env, &never)) return expr_bool(ir, false);
    if (l.n == 0) return e;
    for (int i = 0; i < l.n; i++)
        if (l.coef[i] == INT64_MIN) return e;
    const struct expr *split = split_compare(env, &l);
    return split ? split : compare_expr(ir, &l);
}

static const struct expr *simple_equal(struct env *env, const struct expr *e)
{
    struct ir *ir = env->ir;
    struct linear l, minus = {.n = 0, .c = -1}, pos = {.n = 0, .c = 0}, neg = {.n = 0, .c = 0};
    bool ne = e->op == OP_NE;
    if (!linear_of_compare(e, &l)) return e;
    while (join_divmod(&l))
        ;
    if (l.n == 0) return expr_bool(ir, (l.c == 0) != ne);
    int64_t g = linear_gcd(&l);
    if (g > 1 && l.c % g != 0) return expr_bool(ir, ne);
    if (g > 1) divide(&l, g);
    struct linear above = l;
    if (!linear_add(&minus, &l, -1) || __builtin_sub_overflow(above.c, 1, &above.c)) return e;
    if (env_proves_nonneg(env, &above) || env_proves_nonneg(env, &minus))
        return expr_bool(ir, ne); /* l > 0 or l < 0 */
    above.c = l.c;
    minus.c += 1;
    if (env_proves_nonneg(env, &above) && env_proves_nonneg(env, &minus)) return expr_bool(ir, !ne);
    int64_t sign = l.coef[0] > 0 ? 1 : -1; /* the oldest atom stands left */
    for (int i = 0; i < l.n; i++) {
        if (l.coef[i] == INT64_MIN) return e;
        int64_t k = sign * l.coef[i];
        linear_add_atom(k > 0 ? &pos : &neg, l.atom[i], k > 0 ? k : -k);
    }
    if (l.c == INT64_MIN) return e;
    neg.c = -sign * l.c;
    return expr_binary(ir, ne ? OP_NE : OP_EQ, linear_expr(ir, &pos), linear_expr(ir, &neg));
}

/* base + stride*lane against base' + stride'*lane: linear in the lane, so its two ends decide. */
static bool lane_form(const struct expr *e, int lane, struct linear *out)
{
    struct linear stride;
    if (e->op == OP_SPLAT) return linear_of(e->a[0], out);
    if (e->op != OP_RAMP) return false;
    return linear_of(e->a[0], out) && linear_of(e->a[1], &stride) && linear_add(out, &stride, lane);
}

static const struct expr *simple_less_vector(struct env *env, const struct expr *e)
{
    int lanes = e->type.lanes;
    bool yes = true, no = true;
    for (int end = 0; end < 2; end++) {
        struct linear l, m, never = {.n = 0, .c = -1};
        int lane = end ? lanes - 1 : 0;
        if (!lane_form(e->a[1], lane, &l) || !lane_form(e->a[0], lane, &m) ||
            !linear_add(&l, &m, -1))
            return e;
        if (e->op == OP_LT && __builtin_sub_overflow(l.c, 1, &l.c)) return e;
        yes = yes && env_proves_nonneg(env, &l);
        no = no && linear_add(&never, &l, -1) && env_proves_nonneg(env, &never);
    }
    return yes || no ? expr_int_of(env->ir, e->type, yes) : e;
}

/* ---- logic ----------------------------------------------------------------------------------- */

enum { CONJUNCTS = 24 };

static int collect(const struct expr *e, enum op op, const struct expr **out, int n)
{
    if (n < 0) return -1;
    if (e->op == op) return collect(e->a[1], op, out, collect(e->a[0], op, out, n));
    for (int i = 0; i < n; i++)
        if (out[i] == e) return n;
    if (n == CONJUNCTS) return -1;
    out[n] = e;
    return n + 1;
}

/* Does a imply b? Both comparisons: b - a is never negative. */
static bool implies(const struct env *env, const struct expr *a, const struct expr *b)
{
    struct linear l, m;
    bool less = (a->op == OP_LT || a->op == OP_LE) && (b->op == OP_LT || b->op == OP_LE);
    return less && linear_of_compare(b, &l) && linear_of_compare(a, &m) && linear_add(&l, &m, -1) &&
           linear_range(env, &l).lo >= 0;
}

/* Two comparisons l >= 0 and m >= 0: never both (for OP_AND), or always one of them (for OP_OR). */
static bool settles(const struct env *env, enum op op, const struct expr *a, const struct expr *b)
{
    struct linear l, m;
    bool less = (a->op == OP_LT || a->op == OP_LE) && (b->op == OP_LT || b->op == OP_LE);
    if (!less || !linear_of_compare(a, &l) || !linear_of_compare(b, &m) || !linear_add(&l, &m, 1))
        return false;
    struct range r = linear_range(env, &l);
    return op == OP_AND ? r.hi < 0 : r.lo >= -1;
}

static const struct expr *simple_logic(struct env *env, const struct expr *e)
{
    const struct expr *part[CONJUNCTS], *r = NULL;
    enum op op = (enum op)e->op;
    int n = collect(e, op, part, 0);
    if (n < 0) return e;
    for (int i = 0; i < n; i++) {
        bool needless = false;
        for (int j = 0; j < n && !needless; j++) {
            if (j == i || !part[j]) continue;
            if (settles(env, op, part[i], part[j])) return expr_bool(env->ir, op == OP_OR);
            needless =
                op == OP_AND ? implies(env, part[j], part[i]) : implies(env, part[i], part[j]);
        }
        if (needless) part[i] = NULL;
    }
    for (int i = 0; i < n; i++)
        if (part[i]) r = r ? expr_binary(env->ir, op, r, part[i]) : part[i];
    return r;
}

/* ---- the driver ------------------------------------------------------------------------------ */

static const struct expr *simple_other(struct env *env, const struct expr *e)
{
    switch ((enum op)e->op) {
    case OP_SELECT:
        if (e->a[1] == e->a[2]) return e->a[1];
        if (e->type.dtype == TYPE_B1 && e->type.lanes == 1 && e->a[1]->op == OP_INT &&
            e->a[2]->op == OP_INT)
            return e->a[1]->u.i ? e->a[0] : expr_unary(env->ir, OP_NOT, e->a[0]);
        return e;
    case OP_LOADC:
        if (e->a[0]->op == OP_SPLAT && e->a[0]->a[0]->op == OP_INT)
            return e->a[0]->a[0]->u.i ? expr_load(env->ir, e->u.tensor, e->a + 2, e->n - 2)
                                      : e->a[1];
        return e->a[0]->op == OP_INT && !e->a[0]->u.i ? e->a[1] : e;
    default:
        return e;
    }
}

static const struct expr *simple_node(struct env *env, const struct expr *e)
{
    bool index = e->n == 2 && type_eq(e->a[0]->type, type_of(TYPE_S64));
    switch ((enum op)e->op) {
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
        return index ? simple_sum(env, e) : e;
    case OP_NEG:
        return type_eq(e->type, type_of(TYPE_S64)) ? simple_sum(env, e) : e;
    case OP_DIV:
        return index ? simple_div(env, e) : e;
    case OP_MOD:
        return index ? simple_mod(env, e) : e;
    case OP_MIN:
    case OP_MAX:
        return index ? simple_minmax(env, e) : e;
    case OP_LT:
    case OP_LE:
        if (e->type.lanes > 1 && e->a[0]->type.dtype == TYPE_S64) return simple_less_vector(env, e);
        return index ? simple_less(env, e) : e;
    case OP_EQ:
    case OP_NE:
        return index ? simple_equal(env, e) : e;
    case OP_AND:
    case OP_OR:
        return type_eq(e->type, type_of(TYPE_B1)) ? simple_logic(env, e) : e;
    default:
        return simple_other(env, e);
    }
}

static const struct expr *simple(struct env *env, const struct expr *e)
{
    if (e->op == OP_VAR && type_eq(e->type, type_of(TYPE_S64))) { /* a loop that runs once */
        struct range r = expr_range(env, e);
        return r.lo == r.hi && r.lo != INT64_MIN && r.lo != INT64_MAX ? expr_int(env->ir, r.lo) : e;
    }
    if (e->n == 0) return e;
    const struct expr *known = idmap_get(&env->simple, e->id), *a[16], *to = e;
    if (known) return known;
    bool changed = false;
    for (int i = 0; i < e->n; i++) {
        a[i] = simple(env, e->a[i]);
        changed |= a[i] != e->a[i];
    }
    if (changed) to = expr_rebuild(env->ir, e, a);
    to = simple_node(env, to);
    if (to->type.dtype == TYPE_B1 && to->op != OP_INT && env->nfact_exprs && env_proves(env, to))
        to = expr_bool(env->ir, true);
    idmap_put(&env->simple, e->id, to);
    return to;
}

const struct expr *expr_simplify(struct ir *ir, const struct env *env, const struct expr *e)
{
    if (!env) {
        if (!ir->nothing) ir->nothing = env_new(ir);
        env = ir->nothing;
    }
    for (int pass = 0; pass < PASSES; pass++) {
        const struct expr *to = simple((struct env *)env, e);
        if (to == e) return e;
        e = to;
    }
    return e;
}
