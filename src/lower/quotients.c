/* Quotients: what is divided again and again by one number is multiplied by its reciprocal.
 *
 * Requires: vectorised and unrolled statements; before math, whose own divisions are each of another number.
 * Provides: no vector x / d where d is the same in all lanes, does not change in the innermost loop
 * around, or divides something else there too.
 *
 *     for n in 0..4                                      for n in 0..4
 *       y[ramp(n*16, 1, 16)] =                     -->     y[ramp(n*16, 1, 16)] =
 *         x[ramp(n*16, 1, 16)] / splat(sqrt(s), 16)          x[..] * splat(1.0 / sqrt(s), 16)
 *
 * Division is an order of magnitude slower than multiplication on every machine; what does not
 * change the back ends take out of the loop. Four forms, with r = 1 / d:
 *
 *     x * r                          within 1.5 ulp of the quotient
 *     (x * k) * (1 / (d * k))        where r may overflow or lose digits: k is 2^64 for small d, 2^-64
 *                                    for large ones, else 1 (f64: 512)
 *     q = x * r; q + (x - q*d) * r   rounded as the quotient itself (Markstein 1990; it needs fma); q
 *                                    where that is NaN, for infinities, or a zero, which would lose
 *                                    its sign. Below a cast to an integer or a comparison nobody sees
 *                                    that sign, and both corrections are clamped to numbers instead,
 *                                    which costs less. Used where the last digit
 *                                    may count: a step decides (below casts to integers, floor ..
 *                                    trunc and comparisons), a temporary holds the result (a mean
 *                                    that is subtracted from what it is the mean of), or d is a
 *                                    number (the average of ones is one)
 *     x * r + x * rest               rounded to 8 bits, the quotient itself so rounded: rest is what r
 *                                    lacks, (1 - d*r) / d, and the sum is rounded once (fma). Tried for all
 *                                    2^23 significands of d, all steps n + 1/2 < 512 and x around d * step
 *                                    (above 2^100 or so the rest loses digits):
 *                                    not one differs (with rest = (1 - d*r) * r one does, for 16 bits 792).
 *                                    Below a cast to the nearest s8 or u8, of a positive d no larger than the
 *                                    largest number by the largest byte; x is clamped between the bounds of
 *                                    the byte times d (of numbers: -infinity by more than 2^128 / 128 is -127),
 *                                    and the cast is told that its operand fits
 *
 * Invariants: `reproducible` keeps every division. Where the last digit may count, a quotient has the
 * bits of the division or stays one. */
#include <math.h>

#include "base/vec.h"
#include "lower/private.h"

struct reads_of_all { /* outputs that a later statement loads */
    VEC(const struct tensor *) all;
};

/* How much of a quotient counts: all but the last digit; that too; not the sign of a zero, though. */
enum digits { DIGITS_BUT_LAST, DIGITS_ALL, DIGITS_ANY_ZERO };

struct quotients {
    struct low *l;
    struct spans *spans;
    const struct reads_of_all *loaded;
    const struct stmt *loop;        /* the innermost around; NULL: none */
    struct changes changes;         /* of what is below it */
    VEC(const struct expr *) once;  /* divisors seen */
    VEC(const struct expr *) often; /* ... more than once */
    struct memo to[DIGITS_ANY_ZERO + 1];
    bool result; /* the statement stores what the caller gets and nothing else reads */
};

/* ---- the forms ------------------------------------------------------------------------- */

/* Is 1 / d a normal number for every d but 0? */
static bool has_reciprocal(struct spans *spans, const struct expr *d)
{
    bool wide = d->type.dtype == TYPE_F64;
    spans->steps = 0;
    struct span s = span_of(spans, d);
    return s.least >= (wide ? 0x1p-1020 : 0x1p-124) && s.most <= (wide ? 0x1p1020 : 0x1p124);
}

static const struct expr *real_like(struct ir *ir, const struct expr *e, double v)
{
    return expr_to_lanes(ir, expr_real(ir, type_of((enum dtype)e->type.dtype), v), e->type.lanes);
}

static const struct expr *reciprocal(struct ir *ir, const struct expr *d)
{
    return expr_binary(ir, OP_DIV, real_like(ir, d, 1), d);
}

/* What brings d near 1 as far as it must be. */
static const struct expr *scale_of(struct ir *ir, const struct expr *d)
{
    double far = d->type.dtype == TYPE_F64 ? 0x1p512 : 0x1p64;
    const struct expr *size = expr_unary(ir, OP_ABS, d), *one = real_like(ir, d, 1);
    const struct expr *small = expr_binary(ir, OP_LT, size, real_like(ir, d, 1 / far)),
                      *large = expr_binary(ir, OP_LT, real_like(ir, d, far), size);
    return expr_select(ir, small, real_like(ir, d, far),
                       expr_select(ir, large, real_like(ir, d, 1 / far), one));
}

/* x, and a number where it is none: with it the correction of an infinity is that infinity. Choices, since
 * what MIN and MAX make of NaN is open. */
static const struct expr *number_of(struct ir *ir, const struct expr *x)
{
    double far = lower_number_most(x->type.dtype == TYPE_F64);
    const struct expr *least = real_like(ir, x, -far), *most = real_like(ir, x, far);
    x = expr_select(ir, expr_binary(ir, OP_LT, least, x), x, least);
    return expr_select(ir, expr_binary(ir, OP_LT, x, most), x, most);
}

/* q + (x - q*d) * r, of infinities and a zero's sign guarded by a comparison; if nobody asks for that sign,
 * by a clamp. */
static const struct expr *corrected(struct ir *ir, const struct expr *x, const struct expr *d,
                                    const struct expr *r, bool any_zero)
{
    const struct expr *q = expr_binary(ir, OP_MUL, x, r);
    const struct expr *rest = expr_binary(ir, OP_SUB, x, expr_binary(ir, OP_MUL, q, d));
    if (any_zero) { /* of infinities, and of d = 0, where r is one */
        rest = number_of(ir, rest);
        r = expr_to_lanes(ir, number_of(ir, r->op == OP_SPLAT ? r->a[0] : r), x->type.lanes);
    }
    const struct expr *better = expr_binary(ir, OP_ADD, q, expr_binary(ir, OP_MUL, rest, r));
    if (any_zero) return better;
    const struct expr *size = expr_unary(ir, OP_ABS, better);
    return expr_select(ir, expr_binary(ir, OP_LT, real_like(ir, q, 0), size), better, q);
}

/* x / d in another form; NULL: it stays. */
static const struct expr *product(struct quotients *q, const struct expr *x, const struct expr *d,
                                  enum digits digits)
{
    struct ir *ir = q->l->ir;
    int lanes = x->type.lanes;
    const struct expr *one = d->op == OP_SPLAT ? d->a[0] : d; /* scalars are splatted last */
    bool plain = has_reciprocal(q->spans, d);
    if (one->op == OP_REAL && digits == DIGITS_BUT_LAST) digits = DIGITS_ALL;
    bool exact = digits != DIGITS_BUT_LAST;
    if (exact && (!plain || !target_fuses(q->l->t))) return NULL;
    const struct expr *k = plain ? NULL : scale_of(ir, one);
    const struct expr *r = reciprocal(ir, k ? expr_binary(ir, OP_MUL, one, k) : one);
    r = expr_to_lanes(ir, r, lanes);
    if (exact) return corrected(ir, x, d, r, digits == DIGITS_ANY_ZERO);
    if (k) x = expr_binary(ir, OP_MUL, x, expr_to_lanes(ir, k, lanes));
    return expr_binary(ir, OP_MUL, x, r);
}

/* ---- which divisors -------------------------------------------------------------------------- */

static bool is_quotient(const struct expr *e)
{
    bool real = e->type.dtype == TYPE_F32 || e->type.dtype == TYPE_F64;
    return e->op == OP_DIV && real && e->type.lanes > 1 && e->a[0]->op != OP_SPLAT;
}

struct reads {
    const struct quotients *q;
    bool changed;
};

static void look_changed(const struct expr *e, void *ctx)
{
    struct reads *r = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC)
        r->changed |= changes_tensor(&r->q->changes, e->u.tensor);
}

static bool invariant(const struct quotients *q, const struct expr *d)
{
    struct reads r = {.q = q};
    if (!q->loop || expr_uses_var(d, q->loop->u.loop.var)) return false;
    if (changes_var(&q->changes, d)) return false;
    expr_walk(d, look_changed, &r);
    return !r.changed;
}

static bool again(const struct quotients *q, const struct expr *d)
{
    bool often = d->op == OP_SPLAT;
    for (size_t i = 0; i < q->often.n && !often; i++) often = q->often.p[i] == d;
    return often || invariant(q, d);
}

/* ---- one loop body at a time ----------------------------------------------------------------- */

/* What counts of e's operands, if `digits` do of e: all where a step decides. */
static enum digits digits_below(const struct expr *e, enum digits digits)
{
    bool from_real = e->n && dtype_is_float((enum dtype)e->a[0]->type.dtype),
         to_real = dtype_is_float((enum dtype)e->type.dtype),
         rounds = e->op >= OP_FLOOR && e->op <= OP_TRUNC;
    if (from_real && ((e->op == OP_CAST && !to_real) || op_is_predicate((enum op)e->op)))
        return DIGITS_ANY_ZERO;
    if (digits == DIGITS_BUT_LAST)
        return from_real && (rounds || (e->op == OP_BITCAST && !to_real)) ? DIGITS_ALL : digits;
    bool keeps = rounds || e->op == OP_CAST || e->op == OP_ADD || e->op == OP_SUB ||
                 e->op == OP_MUL || e->op == OP_NEG || e->op == OP_ABS || e->op == OP_MIN ||
                 e->op == OP_MAX || e->op == OP_SELECT; /* zeros of both signs alike */
    return keeps ? digits : DIGITS_ALL;
}

/* Is e the nearest of 8 bits to a quotient of f32? */
static bool is_byte_of_quotient(const struct quotients *q, const struct expr *e)
{
    return e->op == OP_CAST && (e->type.dtype == TYPE_S8 || e->type.dtype == TYPE_U8) &&
           cast_rounds_even((int)e->u.i) && e->a[0]->type.dtype == TYPE_F32 &&
           is_quotient(e->a[0]) && again(q, e->a[0]->a[1]);
}

/* `cast` of x / d as the sum of two products, of which none becomes infinite; NULL: not known to be right. */
static const struct expr *byte_of_products(struct quotients *q, const struct expr *cast,
                                           const struct expr *x, const struct expr *d)
{
    struct ir *ir = q->l->ir;
    int lanes = x->type.lanes;
    const struct expr *one = d->op == OP_SPLAT ? d->a[0] : d;
    if (!target_fuses(q->l->t) || !has_reciprocal(q->spans, d)) return NULL;
    q->spans->steps = 0;
    struct span span = span_of(q->spans, d);
    double far = lower_number_most(false), least = cast->type.dtype == TYPE_S8 ? -128 : 0;
    bool finite =
        span.most <= far / (least + 255) * (1 + 0x1p-20); /* far / 127 may be rounded up */
    if (!span.positive || !finite) return NULL;
    const struct expr *bound[2];
    for (int i = 0; i < 2; i++) {
        const struct expr *v = real_like(ir, one, least + i * 255);
        bound[i] = expr_binary(ir, OP_MUL, one, v);
        if (least + i * 255 != 0)
            bound[i] =
                expr_binary(ir, i ? OP_MIN : OP_MAX, bound[i], real_like(ir, one, i ? far : -far));
        bound[i] = expr_to_lanes(ir, bound[i], lanes);
    }
    x = expr_select(ir, expr_binary(ir, OP_LT, x, bound[0]), bound[0], x); /* NaN passes */
    x = expr_select(ir, expr_binary(ir, OP_LT, bound[1], x), bound[1], x);
    const struct expr *r = reciprocal(ir, one);
    const struct expr *rest = expr_fma(ir, expr_unary(ir, OP_NEG, one), r, real_like(ir, one, 1));
    rest = expr_to_lanes(ir, expr_binary(ir, OP_DIV, rest, one), lanes);
    const struct expr *sum =
        expr_fma(ir, x, expr_to_lanes(ir, r, lanes), expr_binary(ir, OP_MUL, x, rest));
    return expr_cast(ir, cast->type, CAST_FITS_ROUND_EVEN, sum);
}

static const struct expr *take(struct quotients *q, const struct expr *e, enum digits digits);

/* NULL: not such a cast, or it must go the common way. */
static const struct expr *take_byte(struct quotients *q, const struct expr *e)
{
    if (!is_byte_of_quotient(q, e)) return NULL;
    enum digits below = digits_below(e->a[0], digits_below(e, DIGITS_ALL));
    return byte_of_products(q, e, take(q, e->a[0]->a[0], below), take(q, e->a[0]->a[1], below));
}

static const struct expr *take(struct quotients *q, const struct expr *e, enum digits digits)
{
    struct memo *memo = &q->to[digits];
    const struct expr *to = memo_get(memo, e), *a[16];
    if (to || e->n == 0) return to ? to : e;
    if ((to = take_byte(q, e))) {
        memo_put(memo, e, to);
        return to;
    }
    enum digits below = digits_below(e, digits);
    bool changed = false;
    for (int i = 0; i < e->n; i++) {
        a[i] = take(q, e->a[i], below);
        changed |= a[i] != e->a[i];
    }
    if (is_quotient(e) && again(q, e->a[1])) to = product(q, a[0], a[1], digits);
    if (!to) to = changed ? expr_with(q->l->ir, e, a) : e;
    memo_put(memo, e, to);
    return to;
}

static void count(const struct expr *e, void *ctx)
{
    struct quotients *q = ctx;
    if (!is_quotient(e)) return;
    for (size_t i = 0; i < q->once.n; i++)
        if (q->once.p[i] == e->a[1]) {
            vec_push(&q->often, e->a[1]);
            return;
        }
    vec_push(&q->once, e->a[1]);
}

static void count_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, count, ctx); }

/* The loop's own statements are counted, of inner loops only what they store. */
static bool look(struct stmt *s, void *ctx)
{
    struct quotients *q = ctx;
    changes_note(&q->changes, s);
    bool own = true;
    for (const struct stmt *p = s; p && p != q->loop; p = p->parent) own &= p->kind != ST_FOR;
    if (own) stmt_exprs(s, count_slot, q);
    return true;
}

static void take_slot(const struct expr **slot, void *ctx)
{
    struct quotients *q = ctx;
    *slot = take(q, *slot, q->result ? DIGITS_BUT_LAST : DIGITS_ALL);
}

static void take_body(struct quotients *outer, const struct stmt *loop, struct stmt *body);

static bool take_stmt(struct stmt *s, void *ctx)
{
    struct quotients *q = ctx;
    if (s->kind == ST_FOR) {
        take_body(q, s, s->u.loop.body);
        return false;
    }
    q->result = s->kind == ST_STORE && s->u.store.tensor->scope == SCOPE_OUT;
    for (size_t i = 0; i < q->loaded->all.n && q->result; i++)
        q->result = q->loaded->all.p[i] != s->u.store.tensor;
    if (q->once.n) stmt_exprs(s, take_slot, q);
    return true;
}

static void take_body(struct quotients *outer, const struct stmt *loop, struct stmt *body)
{
    struct quotients q = {.l = outer->l,
                          .spans = outer->spans,
                          .loaded = outer->loaded,
                          .loop = loop};
    stmt_walk(body, look, &q);
    stmt_walk(body, take_stmt, &q);
    for (int i = 0; i <= DIGITS_ANY_ZERO; i++) memo_fini(&q.to[i]);
    changes_fini(&q.changes);
    vec_free(&q.once);
    vec_free(&q.often);
}

static void note_load(const struct expr *e, void *ctx)
{
    struct reads_of_all *r = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC)
        if (e->u.tensor->scope == SCOPE_OUT) vec_push(&r->all, e->u.tensor);
}

static void note_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, note_load, ctx); }

static bool note_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, note_slot, ctx);
    return true;
}

enum rc pass_quotients(struct low *l)
{
    struct spans spans = {.n = l->n};
    struct reads_of_all loaded = {0};
    struct quotients q = {.l = l, .spans = &spans, .loaded = &loaded};
    stmt_walk(l->n->body, note_stmt, &loaded);
    if (!l->o->reproducible) take_body(&q, NULL, l->n->body);
    spans_fini(&spans);
    vec_free(&loaded.all);
    return RC_OK;
}
