/* Math: exp, log, tanh, erf, sigmoid, sin and cos become arithmetic the machine and the
 * interpreter share, so that both compute the same bits; no library is ever called.
 *
 * Requires: nothing. (After unroll, so that masks and lanes are final; before fma, which improves
 * it.)
 * Provides: no EXP..COS; of c ? f(a) : f(b), with f or a part of it one of these, one f(c ? a : b);
 * of 1 + tanh(u) a logistic function, a * sigmoid(x) one division. Values used several times are
 * LETs in front of the statement. Bounds: math.def. On the reference path f32 is computed in f64 and
 * rounded once.
 *
 *     y[i] = exp(x[i])   -->   let y.m0 = x[i] * 1.442695 + 12582912.0
 *                                let y.m1 = x[i] - (y.m0 - 12582912.0) * 0.693145 - ..
 *                                  y[i] = select(x[i] < -87.3, 0.0, bitcast(f32, ..)) */
#include <math.h>

#include "lower/private.h"

struct poly {
    int n;
    double c[24];
};

#define COEFFICIENTS(...) \
    (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), { __VA_ARGS__ }
#define POLY(name, ...) static const struct poly poly_##name = {COEFFICIENTS(__VA_ARGS__)};
#include "lower/math.def"
#undef POLY

/* Builder of one expansion: the element type, how many lanes, and the layout of its bits. */
struct m {
    struct ir *ir;
    struct type t, i; /* the float type and the integer type of its width */
    bool wide;        /* f64 */
    bool fma;         /* a*b + c will be rounded once */
};

typedef const struct expr *E; /* inside this file formulas are long enough */

static E num(const struct m *m, double v) { return expr_real(m->ir, m->t, v); }
static E whole(const struct m *m, int64_t v) { return expr_int_of(m->ir, m->i, v); }
static E bin(const struct m *m, enum op op, E a, E b) { return expr_binary(m->ir, op, a, b); }
static E add(const struct m *m, E a, E b) { return bin(m, OP_ADD, a, b); }
static E sub(const struct m *m, E a, E b) { return bin(m, OP_SUB, a, b); }
static E mul(const struct m *m, E a, E b) { return bin(m, OP_MUL, a, b); }
static E quo(const struct m *m, E a, E b) { return bin(m, OP_DIV, a, b); }
static E pick(const struct m *m, E c, E a, E b) { return expr_select(m->ir, c, a, b); }
static E less(const struct m *m, E a, E b) { return bin(m, OP_LT, a, b); }
static E magnitude(const struct m *m, E a) { return expr_unary(m->ir, OP_ABS, a); }
static E not_above(const struct m *m, E a, E b) { return bin(m, OP_LE, a, b); }
static E minus(const struct m *m, E a) { return expr_unary(m->ir, OP_NEG, a); }
static E bits(const struct m *m, E a) { return expr_make(m->ir, OP_BITCAST, m->i, &a, 1, NULL); }
static E from_bits(const struct m *m, E a)
{
    return expr_make(m->ir, OP_BITCAST, m->t, &a, 1, NULL);
}

static E poly_by(const struct m *m, const struct poly *p, E x, int step)
{
    int i = (p->n - 1) / step * step;
    E by = step == 2 ? mul(m, x, x) : x, r = NULL;
    for (; i >= 0; i -= step) {
        E c = num(m, p->c[i]);
        if (step == 2 && i + 1 < p->n) c = add(m, mul(m, x, num(m, p->c[i + 1])), c);
        r = r ? add(m, mul(m, r, by), c) : c;
    }
    return r;
}

/* c0 + c1 x + c2 xx + ..: by pairs (c0 + c1 x) + xx ((c2 + c3 x) + xx ..), which is one operation more
 * than Horner's rule if nothing else needs xx, and half as long from the first to the last: a processor
 * that looks a few hundred operations ahead waits for what depends on each other. Unfused, Horner's rule
 * rounds less. */
static E poly(const struct m *m, const struct poly *p, E x)
{
    return poly_by(m, p, x, m->fma && p->n > 3 ? 2 : 1);
}

static E horner(const struct m *m, const struct poly *p, E x) { return poly_by(m, p, x, 1); }

static double ln2_hi(const struct m *m) { return m->wide ? 0x1.62e42fee00000p-1 : 0x1.62e4p-1; }
static double ln2_lo(const struct m *m) { return m->wide ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cp-20; }

static bool real_of(E e, double *out)
{
    if (e->op == OP_SPLAT) e = e->a[0];
    if (e->op == OP_REAL) *out = e->u.f;
    return e->op == OP_REAL;
}

/* The smaller of x and c; of NaN, NaN (which MIN leaves open). */
static E at_most(const struct m *m, E x, double c)
{
    return pick(m, less(m, num(m, c), x), num(m, c), x);
}

/* ... the larger one. */
static E at_least(const struct m *m, E x, double c)
{
    return pick(m, less(m, x, num(m, c)), num(m, c), x);
}

/* Where an argument can lie. */
struct within {
    double low, high;
};

static const struct within anywhere = {-INFINITY, INFINITY};

/* What x itself says: max(min(v, hi), lo), min(max(v, lo), hi), one of them alone, at_most, or the
 * negative of one. */
static struct within within_of(E x)
{
    struct within w = anywhere;
    double c = 0;
    if (x->op == OP_NEG) {
        w = within_of(x->a[0]);
        return (struct within){-w.high, -w.low};
    }
    bool chosen = x->op == OP_SELECT && x->a[0]->op == OP_LT && x->a[0]->a[0] == x->a[1] &&
                  x->a[0]->a[1] == x->a[2];
    if (chosen && real_of(x->a[1], &c)) {
        w = within_of(x->a[2]);
        return (struct within){fmin(w.low, c), fmin(w.high, c)};
    }
    if (x->op != OP_MIN && x->op != OP_MAX) return w;
    bool right = real_of(x->a[1], &c);
    if (!right && !real_of(x->a[0], &c)) return w;
    w = within_of(x->a[!right]); /* bounds may cross: max(min(v, 50), 200) is 200 */
    if (x->op == OP_MIN) return (struct within){fmin(w.low, c), fmin(w.high, c)};
    return (struct within){fmax(w.low, c), fmax(w.high, c)};
}

/* x - k ln2. One step where k is small and its product is not rounded; else ln2 is taken in two
 * parts, of which the first times k is exact. */
static E without_powers(const struct m *m, E x, E k, double most)
{
    if (m->fma && !m->wide && most <= 8) return sub(m, x, mul(m, k, num(m, 0.6931471805599453)));
    return sub(m, sub(m, x, mul(m, k, num(m, ln2_hi(m)))), mul(m, k, num(m, ln2_lo(m))));
}

/* x = k ln2 + r; e^x = 2^k e^r. The product is two roundings in all where 2^k is a number; else k is
 * added to the exponent of e^r, which is right as long as the result is a normal number. Below and
 * above, where x can be there, it is 0 and infinity. (Results rounded to denormals would cost x86 a
 * detour through microcode, ten times the whole vector.) */
static E expand_exp(const struct m *m, E x, struct within w)
{
    bool turned = x->op == OP_NEG; /* then its operand is compared, and nothing turned for that */
    struct within own = within_of(x);
    /* the arguments of the smallest normal and the largest number */
    double least = m->wide ? -708.3964185322641 : -87.33654022216797,
           most = m->wide ? 709.782712893384 : 88.72283172607422;
    w = (struct within){fmax(w.low, own.low), fmin(w.high, own.high)};
    bool scales = m->fma && w.high <= (m->wide ? 709 : 88);
    int digits = m->wide ? 52 : 23, bias = m->wide ? 1023 : 127;
    /* adding it leaves the nearest integer in the low bits, as an exponent if that is wanted */
    E magic = num(m, (m->wide ? 0x1.8p52 : 0x1.8p23) + (scales ? bias : 0));
    E t = add(m, mul(m, x, num(m, 1.4426950408889634)), magic), k = sub(m, t, magic);
    E r = without_powers(m, x, k, fmax(-w.low, w.high)), one = num(m, 1);
    /* the shift drops what magic has above k */
    E up = bin(m, OP_SHL, bits(m, t), whole(m, digits));
    const struct poly *p = m->wide ? &poly_exp_f64 : scales ? &poly_exp_short : &poly_exp_f32;
    E more = add(m, r, mul(m, mul(m, r, r), poly(m, p, r)));
    E y = scales ? add(m, mul(m, more, from_bits(m, up)), from_bits(m, up))
                 : from_bits(m, bin(m, OP_ADD, bits(m, add(m, more, one)), up));
    if (w.low < least) y = pick(m, less(m, x, num(m, least)), num(m, 0), y);
    /* what is not below it is above or NaN, whose digits may have become an exponent */
    E below = turned ? not_above(m, num(m, -most), x->a[0]) : not_above(m, x, num(m, most));
    if (w.high > most) y = pick(m, below, y, add(m, x, num(m, INFINITY)));
    return y;
}

/* log(1 + f) + k ln2, smallest parts first. In f32 a polynomial; in f64 one of s = f / (2 + f), which
 * needs half the terms. */
static E log_narrow(const struct m *m, E f, E k)
{
    E bent = sub(m, mul(m, f, poly(m, &poly_log_f32, f)), num(m, 0.5));
    E small = add(m, mul(m, mul(m, f, f), bent), mul(m, k, num(m, ln2_lo(m))));
    return add(m, mul(m, k, num(m, ln2_hi(m))), add(m, f, small));
}

static E log_wide(const struct m *m, E f, E k)
{
    E s = quo(m, f, add(m, f, num(m, 2))), z = mul(m, s, s), hf = mul(m, mul(m, f, f), num(m, 0.5));
    E t = add(m, mul(m, s, add(m, hf, mul(m, z, poly(m, &poly_log_f64, z)))),
              mul(m, k, num(m, ln2_lo(m))));
    return sub(m, mul(m, k, num(m, ln2_hi(m))), sub(m, sub(m, hf, t), f));
}

/* x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2): the bits of x less those of sqrt(1/2) have k
 * as their exponent. */
static E expand_log(const struct m *m, E x)
{
    int digits = m->wide ? 52 : 23;
    bool tame = within_of(x).low >= (m->wide ? 0x1p-1022 : 0x1p-126);
    E small = less(m, x, num(m, m->wide ? 0x1p-1022 : 0x1p-126)),
      scale = num(m, m->wide ? 0x1p54 : 0x1p25);
    E b = bits(m, tame ? x : pick(m, small, mul(m, x, scale), x));
    E above = bin(m, OP_SUB, b, whole(m, m->wide ? 0x3fe6a09e667f3bcd : 0x3f3504f3));
    E exponent = bin(m, OP_AND, above, whole(m, -(INT64_C(1) << digits)));
    E e = bin(m, OP_SHR, above, whole(m, digits));
    if (!tame) e = bin(m, OP_SUB, e, pick(m, small, whole(m, m->wide ? 54 : 25), whole(m, 0)));
    E k = expr_cast(m->ir, m->t, CAST_PLAIN, e);
    E f = sub(m, from_bits(m, bin(m, OP_SUB, b, exponent)), num(m, 1));
    E y = m->wide ? log_wide(m, f, k) : log_narrow(m, f, k);
    E beyond = sub(m, x, num(m, m->wide ? 0x1.fffffffffffffp1023 : 0x1.fffffep127));
    y = pick(m, less(m, y, beyond), beyond, y); /* of infinity, that */
    if (tame) return y;
    y = pick(m, bin(m, OP_EQ, x, num(m, 0)), num(m, -INFINITY), y);
    return pick(m, not_above(m, num(m, 0), x), y, num(m, NAN));
}

static E signed_as(const struct m *m, E y, E x)
{
    return pick(m, less(m, x, num(m, 0)), minus(m, y), y);
}

/* With e = exp(2a) - 1 = 2^k (exp(r) - 1) + (2^k - 1), which loses nothing near 0: e/(e + 2). Beyond
 * a = 9.2 it is 1. */
static E tanh_narrow(const struct m *m, E x)
{
    E a = at_most(m, magnitude(m, x), 9.2), magic = num(m, 0x1.8p23), one = num(m, 1);
    E t = add(m, mul(m, a, num(m, 2 * 1.4426950408889634)), magic), k = sub(m, t, magic);
    E r = sub(m, add(m, a, a), mul(m, k, num(m, 0.6931471805599453)));
    E p = add(m, r, mul(m, mul(m, r, r), poly(m, &poly_exp_f32, r)));
    E scale = from_bits(m, bin(m, OP_ADD, bits(m, one), bin(m, OP_SHL, bits(m, t), whole(m, 23))));
    E e = add(m, mul(m, scale, p), sub(m, scale, one));
    return signed_as(m, quo(m, e, add(m, e, num(m, 2))), x);
}

static E expand_tanh(const struct m *m, E x)
{
    if (!m->wide && m->fma) return tanh_narrow(m, x);
    E a = magnitude(m, x), z = mul(m, x, x);
    E small =
        add(m, mul(m, mul(m, poly(m, m->wide ? &poly_tanh_f64 : &poly_tanh_f32, z), z), x), x);
    E e = expand_exp(m, mul(m, at_most(m, a, 30), num(m, 2)), (struct within){0, 60});
    E large = sub(m, num(m, 1), quo(m, num(m, 2), add(m, e, num(m, 1))));
    return pick(m, not_above(m, num(m, 0.625), a), signed_as(m, large, x), small);
}

/* 2^k (p + 1), with k in the low bits of t and a float's bias below it, and 1 more. For k = -127 the
 * power is 0, for 128 infinity, and so is the sum: bounds of x are clamps, which x86 does beside
 * multiplications, not comparisons, which it does instead of them. */
static E one_plus_scaled(const struct m *m, E p, E t)
{
    E power = from_bits(m, bin(m, OP_SHL, bits(m, t), whole(m, 23)));
    return add(m, mul(m, p, power), num(m, 1));
}

enum { BIAS = 127 };

/* 1 + e^-x, where what is added to 1 may be short of a digit. e^-x is 0 from 88 on, and infinity where
 * 1 over it would be a denormal. */
static E one_plus_power(const struct m *m, E x)
{
    if (m->wide || !m->fma)
        return add(m, expand_exp(m, minus(m, at_most(m, x, m->wide ? 700 : 87)), anywhere),
                   num(m, 1));
    x = minus(m, at_least(m, at_most(m, x, 88), -89));
    E magic = num(m, 0x1.8p23 + BIAS), t = add(m, mul(m, x, num(m, 1.4426950408889634)), magic);
    E r = without_powers(m, x, sub(m, t, magic), 89);
    E p = add(m, mul(m, mul(m, r, r), poly(m, &poly_exp_f32, r)), add(m, r, num(m, 1)));
    return one_plus_scaled(m, p, t);
}

/* 1 + e^-2u, so that 2 / (1 + e^-2u) = 1 + tanh(u) is within 2.5 units of the last place, of small results
 * within 2.5 (1 + |u|): 2^z with z rounded once. */
static E one_plus_square(const struct m *m, E u)
{
    double by = 1;
    if (m->wide || !m->fma) return one_plus_power(m, add(m, u, u));
    if (u->op == OP_MUL && real_of(u->a[1], &by)) u = u->a[0];
    E z = mul(m, u, num(m, by * -2 * 1.4426950408889634)), magic = num(m, 0x1.8p23 + BIAS);
    z = at_most(m, at_least(m, z, -127), 128);
    E t = add(m, z, magic), f = sub(m, z, sub(m, t, magic));
    return one_plus_scaled(m, add(m, mul(m, f, horner(m, &poly_exp2_short, f)), num(m, 1)), t);
}

static E expand_sigmoid(const struct m *m, E x) { return quo(m, num(m, 1), one_plus_power(m, x)); }

static E expand_erf(const struct m *m, E x)
{
    E a = magnitude(m, x), c = NULL;
    E small = add(m, mul(m, poly(m, m->wide ? &poly_erf_f64 : &poly_erf_f32, mul(m, x, x)), x), x);
    if (m->wide) {
        a = at_most(m, a, 6);
        E t = quo(m, sub(m, a, num(m, 2)), add(m, a, num(m, 2)));
        E e = expand_exp(m, minus(m, mul(m, a, a)), (struct within){-36, 0});
        c = quo(m, mul(m, e, poly(m, &poly_erfc_f64, t)), add(m, a, num(m, 1)));
    } else {
        a = at_most(m, a, 4);
        c = expand_exp(m, poly(m, &poly_erfc_f32, a), (struct within){-20, 0});
    }
    return pick(m, not_above(m, num(m, 1), a), signed_as(m, sub(m, num(m, 1), c), x), small);
}

/* x = k pi/2 + r with pi/2 in three pieces. In f32 k's last bits are those of t, and r is kept in
 * bounds for the sake of |x| > 10^7, where k is no longer right: the result is a cosine of something. */
static E sincos_narrow(const struct m *m, E x, bool cosine)
{
    E magic = num(m, 0x1.8p23), t = add(m, mul(m, x, num(m, 0.63661977236758134)), magic);
    E k = sub(m, t, magic), one = whole(m, 1);
    E r = sub(m, x, mul(m, k, num(m, 0x1.921fb6p+0)));
    r = add(m, r, mul(m, k, num(m, 0x1.777a5cp-25)));
    r = add(m, r, mul(m, k, num(m, 0x1.ee59dap-50)));
    r = at_least(m, at_most(m, r, 1), -1);
    E z = mul(m, r, r), s = add(m, mul(m, mul(m, r, z), poly(m, &poly_sin_f32, z)), r);
    E c = add(m, mul(m, mul(m, z, z), poly(m, &poly_cos_f32, z)),
              sub(m, num(m, 1), mul(m, z, num(m, 0.5))));
    E odd = bin(m, OP_EQ, bin(m, OP_AND, bits(m, t), one), one);
    E y = cosine ? pick(m, odd, s, c) : pick(m, odd, c, s);
    E q = cosine ? bin(m, OP_ADD, bits(m, t), one) : bits(m, t);
    E sign = bin(m, OP_SHL, bin(m, OP_AND, q, whole(m, 2)), whole(m, 30));
    return from_bits(m, bin(m, OP_XOR, bits(m, y), sign));
}

static E expand_sincos(const struct m *m, E x, bool cosine)
{
    if (!m->wide) return sincos_narrow(m, x, cosine);
    E k = expr_unary(m->ir, OP_ROUND, mul(m, x, num(m, 0.63661977236758134)));
    E r = sub(m, x, mul(m, k, num(m, 0x1.921fb544p+0)));
    r = sub(m, r, mul(m, k, num(m, 0x1.0b4611a6p-34)));
    r = sub(m, r, mul(m, k, num(m, 0x1.3198a2e037073p-69)));
    E z = mul(m, r, r);
    E s = add(m, mul(m, mul(m, poly(m, &poly_sin_f64, z), z), r), r);
    E c = sub(m, num(m, 1),
              sub(m, mul(m, z, num(m, 0.5)), mul(m, mul(m, z, z), poly(m, &poly_cos_f64, z))));
    E q = expr_cast(m->ir, m->i, CAST_PLAIN, k);
    if (cosine) q = bin(m, OP_ADD, q, whole(m, 1));
    E odd = bin(m, OP_EQ, bin(m, OP_AND, q, whole(m, 1)), whole(m, 1));
    E y = pick(m, odd, c, s);
    return pick(m, bin(m, OP_EQ, bin(m, OP_AND, q, whole(m, 2)), whole(m, 2)), minus(m, y), y);
}

static E expand(const struct m *m, enum op op, E x)
{
    switch (op) {
    case OP_EXP:
        return expand_exp(m, x, anywhere);
    case OP_LOG:
        return expand_log(m, x);
    case OP_TANH:
        return expand_tanh(m, x);
    case OP_ERF:
        return expand_erf(m, x);
    case OP_SIGMOID:
        return expand_sigmoid(m, x);
    case OP_SIN:
        return expand_sincos(m, x, false);
    case OP_COS:
        return expand_sincos(m, x, true);
    default:
        QN_UNREACHABLE("%s has no expansion", op_name(op));
    }
}

static struct m maker(const struct low *l, bool wide, int lanes)
{
    return (struct m){.ir = l->ir,
                      .t = type_vec(wide ? TYPE_F64 : TYPE_F32, lanes),
                      .i = type_vec(wide ? TYPE_S64 : TYPE_S32, lanes),
                      .wide = wide,
                      .fma = l->t->fma && !l->naive};
}

static E math_expand(const struct low *l, E e)
{
    struct ir *ir = l->ir;
    int lanes = e->type.lanes;
    bool narrow = e->type.dtype == TYPE_F16 || e->type.dtype == TYPE_BF16;
    bool turns = e->op == OP_SIN || e->op == OP_COS;
    bool wide = e->type.dtype == TYPE_F64 || l->naive || (turns && !target_fuses(l->t));
    struct m m = maker(l, wide, lanes);
    E x = expr_cast(ir, m.t, CAST_PLAIN, e->a[0]);
    E y = expand(&m, (enum op)e->op, x);
    if (narrow && wide) y = expr_cast(ir, type_vec(TYPE_F32, lanes), CAST_PLAIN, y);
    return expr_cast(ir, e->type, CAST_PLAIN, y);
}

/* ---- lets for what is used twice ------------------------------------------------------------- */

struct share {
    struct low *l;
    struct memo uses,
        to; /* node -> number of parents as an integer node; node -> its replacement */
    const char *name;
    struct stmt *outer, *inner;
};

static bool worth_a_let(const struct expr *e)
{
    if (e->n == 0 || e->op == OP_LOAD || e->op == OP_LOADC || e->op == OP_SPLAT || e->op == OP_RAMP)
        return false;
    return true;
}

static void count_uses(struct share *s, const struct expr *e)
{
    const struct expr *seen = memo_get(&s->uses, e);
    memo_put(&s->uses, e, expr_int(s->l->ir, seen ? seen->u.i + 1 : 1));
    if (seen || e->op == OP_LOAD || e->op == OP_LOADC) return;
    for (int i = 0; i < e->n; i++) count_uses(s, e->a[i]);
}

static const struct expr *share_node(struct share *s, const struct expr *e)
{
    struct ir *ir = s->l->ir;
    const struct expr *to = memo_get(&s->to, e), *a[16];
    if (to) return to;
    bool changed = false;
    for (int i = 0; i < e->n && e->op != OP_LOAD && e->op != OP_LOADC; i++) {
        a[i] = share_node(s, e->a[i]);
        changed |= a[i] != e->a[i];
    }
    to = changed ? expr_with(ir, e, a) : e;
    if (memo_get(&s->uses, e)->u.i > 1 && worth_a_let(to)) {
        const char *name = arena_printf(ir->arena, "%s%s", s->name, fresh_suffix(s->l, "m"));
        const struct var *v = var_new(ir, name, to->type);
        struct stmt *let = stmt_let(ir, v, to, NULL);
        if (s->inner)
            block_append(ir, s->inner->u.let.body, let);
        else
            s->outer = let;
        s->inner = let;
        to = expr_var(ir, v);
    }
    memo_put(&s->to, e, to);
    return to;
}

/* ---- one expansion for two arms -------------------------------------------------------------- */

static void note_math(const struct expr *e, void *ctx)
{
    if (e->op >= OP_EXP && e->op <= OP_COS) *(bool *)ctx = true;
}

static bool has_math(E e)
{
    bool any = false;
    expr_walk(e, note_math, &any);
    return any;
}

enum { ARM_STEPS = 200 }; /* shared parts are looked at anew each time */

/* c ? a : b, where one operator makes both: the operator of the chosen operands. */
static E one_arm(struct ir *ir, E c, E a, E b, int *steps)
{
    E x[16];
    if (a == b) return a;
    if ((*steps)++ >= ARM_STEPS) return expr_select(ir, c, a, b);
    bool same = a->op == b->op && a->n == b->n && a->n > 0 && type_eq(a->type, b->type) &&
                a->op != OP_LOAD && a->op != OP_LOADC && a->op != OP_SPLAT && a->op != OP_RAMP;
    if (!same || a->u.i != b->u.i || !has_math(a) || !has_math(b)) return expr_select(ir, c, a, b);
    for (int i = 0; i < a->n; i++) {
        if (!type_eq(a->a[i]->type, b->a[i]->type)) return expr_select(ir, c, a, b);
        x[i] = one_arm(ir, c, a->a[i], b->a[i], steps);
    }
    return expr_with(ir, a, x);
}

/* ---- logistic functions ---------------------------------------------------------------------- */

/* sigmoid(x) = 1 / (1 + e^-x) and 1 + tanh(u) = 2 / (1 + e^-2u), of which nothing is lost where tanh(u)
 * is near -1: the number above, *below its divisor. 0: e is neither. */
static int logistic(struct low *l, E e, E *below)
{
    double one = 0;
    bool shifted = e->op == OP_ADD && e->a[0]->op == OP_TANH && real_of(e->a[1], &one) && one == 1;
    bool real = e->type.dtype == TYPE_F32 || e->type.dtype == TYPE_F64;
    if (!real || (e->op != OP_SIGMOID && !shifted)) return 0;
    struct m m = maker(l, e->type.dtype == TYPE_F64, e->type.lanes);
    *below = shifted ? one_plus_square(&m, e->a[0]->a[0]) : one_plus_power(&m, e->a[0]);
    return shifted ? 2 : 1;
}

/* k * e / below: k goes into a constant factor of e that stays at most 1, so that nothing overflows;
 * else below what divides. */
static E ratio(struct ir *ir, int k, E e, E below)
{
    struct m m = {.ir = ir, .t = e->type};
    double c = 1;
    if (k == 1) return quo(&m, e, below);
    if (real_of(e, &c)) return quo(&m, num(&m, c * k), below);
    if (e->op != OP_MUL || !real_of(e->a[1], &c) || fabs(c * k) > 1)
        return quo(&m, e, mul(&m, below, num(&m, 1.0 / k)));
    return quo(&m, c * k == 1 ? e->a[0] : mul(&m, e->a[0], num(&m, c * k)), below);
}

/* a * sigmoid(x) = a / (1 + e^-x): one rounding and one operation less, where nothing else needs the
 * sigmoid. */
static const struct expr *scaled_node(struct ir *ir, const struct expr *e, void *ctx)
{
    struct share *s = ctx;
    for (int i = 0; i < 2 && e->op == OP_MUL; i++) {
        const struct expr *uses = memo_get(&s->uses, e->a[i]), *below = NULL;
        int above = uses && uses->u.i == 1 ? logistic(s->l, e->a[i], &below) : 0;
        if (above) return ratio(ir, above, e->a[!i], below);
    }
    return NULL;
}

static const struct expr *shifted_node(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct expr *below = NULL;
    int above = e->op == OP_ADD ? logistic(ctx, e, &below) : 0;
    struct m m = {.ir = ir, .t = e->type};
    return above ? quo(&m, num(&m, above), below) : NULL;
}

static const struct expr *arms_node(struct ir *ir, const struct expr *e, void *ctx)
{
    (void)ctx;
    bool both = e->op == OP_SELECT && has_math(e->a[1]) && has_math(e->a[2]);
    int steps = 0;
    E one = both ? one_arm(ir, e->a[0], e->a[1], e->a[2], &steps) : NULL;
    return one && one->op != OP_SELECT ? one : NULL;
}

/* e with fewer operators to expand, or cheaper ones. */
static const struct expr *merged(struct share *s, const struct expr *e)
{
    struct ir *ir = s->l->ir;
    e = expr_map(ir, e, arms_node, NULL);
    count_uses(s, e);
    e = expr_map(ir, e, scaled_node, s);
    memo_fini(&s->uses);
    return expr_map(ir, e, shifted_node, s->l);
}

static const struct expr *expand_node(struct ir *ir, const struct expr *e, void *ctx)
{
    (void)ir;
    return e->op >= OP_EXP && e->op <= OP_COS ? math_expand(ctx, e) : NULL;
}

static bool under_mask(const struct stmt *s)
{
    const struct stmt *p = s->parent;
    if (p && p->kind == ST_BLOCK && p->u.block.n == 1) p = p->parent;
    return p && p->kind == ST_IF && p->u.cond.cond->type.lanes > 1;
}

/* Statement s with its value's expansions; LETs go around `around` (s, or the mask that guards
 * it). */
static struct stmt *expand_stmt(struct low *l, struct stmt *s, struct stmt *around)
{
    bool any = false;
    const struct expr **value = s->kind == ST_STORE ? &s->u.store.value : &s->u.let.value;
    expr_walk(*value, note_math, &any);
    if (!any) return around;
    struct share c = {.l = l,
                      .name = s->kind == ST_STORE ? s->u.store.tensor->name : s->u.let.var->name};
    const struct expr *e = l->naive ? *value : merged(&c, *value);
    e = expr_map(l->ir, e, expand_node, l);
    count_uses(&c, e);
    *value = share_node(&c, e);
    memo_fini(&c.uses);
    memo_fini(&c.to);
    if (!c.outer) return around;
    struct stmt *parent = around->parent;
    block_append(l->ir, c.inner->u.let.body, around);
    c.outer->parent = parent;
    return c.outer;
}

static struct stmt *math_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind == ST_LET || (s->kind == ST_STORE && !under_mask(s))) return expand_stmt(l, s, s);
    if (s->kind != ST_IF || s->u.cond.cond->type.lanes == 1) return s;
    struct stmt *store = stmt_only(s->u.cond.then);
    QN_CHECK(store && store->kind == ST_STORE, "a mask guards one store");
    return expand_stmt(l, store, s);
}

enum rc pass_math(struct low *l)
{
    rewrite_both(l, math_stmt, NULL);
    return RC_OK;
}
