/* Spans: how small and how large a real number can be, as its expression alone tells.
 *
 *     max(sqrt(s), 1e-12)              1e-12 .. 2^64
 *     max(top[0], 1e-20) / 127.0       7.9e-23 .. 2.7e36
 *     s[0], stored as the above        the same
 *     x[i] + 1.0                       nothing is known: 0 .. infinity
 *
 * Of the first three it is known, too, that they are positive.
 *
 * A value is looked at SPAN_STEPS deep in all: shared parts of an expression are looked at anew each
 * time, and beyond that nothing is said.
 *
 * Invariant: least and most are said of finite, non-zero values only; a temporary's span holds for every
 * value that is stored to it, and of one whose values depend on itself nothing is known. */
#include <float.h>
#include <math.h>

#include "lower/private.h"

static const struct span unknown = {0, INFINITY, false};

void spans_fini(struct spans *s) { vec_free(&s->known); }

static struct span either(struct span a, struct span b)
{
    return (struct span){fmin(a.least, b.least), fmax(a.most, b.most), a.positive && b.positive};
}

struct stored {
    struct spans *s;
    const struct tensor *t;
    struct span all;
};

static bool look_stored(struct stmt *s, void *ctx)
{
    struct stored *f = ctx;
    if (s->kind == ST_STORE && s->u.store.tensor == f->t)
        f->all = either(f->all, span_of(f->s, s->u.store.value));
    return true;
}

static struct span span_loaded(struct spans *s, const struct tensor *t)
{
    struct stored f = {s, t, {INFINITY, 0, true}};
    if (t->scope != SCOPE_TEMP && t->scope != SCOPE_STACK && t->scope != SCOPE_REG) return unknown;
    for (size_t i = 0; i < s->known.n; i++)
        if (s->known.p[i].t == t) return s->known.p[i].span;
    size_t at = s->known.n;
    vec_push(&s->known, ((struct span_of_tensor){t, unknown}));
    stmt_walk(s->n->body, look_stored, &f);
    s->known.p[at].span = f.all;
    return f.all;
}

static struct span span_const(double v)
{
    return v == 0 ? (struct span){INFINITY, 0, false} : (struct span){fabs(v), fabs(v), v > 0};
}

static bool positive(const struct expr *e)
{
    if (e->op == OP_SPLAT) e = e->a[0];
    return e->op == OP_REAL && e->u.f > 0 && isfinite(e->u.f);
}

/* max(x, c) with c > 0 is at least c. */
static struct span span_max(struct spans *s, const struct expr *e)
{
    struct span a = span_of(s, e->a[0]), b = span_of(s, e->a[1]);
    double most = fmax(a.most, b.most);
    if (positive(e->a[1])) return (struct span){b.least, most, true};
    return positive(e->a[0]) ? (struct span){a.least, most, true} : either(a, b);
}

static struct span span_scaled(struct spans *s, const struct expr *e)
{
    if (!positive(e->a[1])) return unknown;
    struct span a = span_of(s, e->a[0]);
    bool wide = e->type.dtype == TYPE_F64;
    double by = span_of(s, e->a[1]).least;
    if (e->op == OP_DIV) by = 1 / by;
    double least = a.least * by, most = fmin(a.most, wide ? DBL_MAX : FLT_MAX) * by;
    bool normal = least >= (wide ? DBL_MIN : FLT_MIN); /* else it may become zero */
    return (struct span){least, most, a.positive && normal};
}

static struct span span_sqrt(struct spans *s, const struct expr *e)
{
    struct span a = span_of(s, e->a[0]); /* of the smallest and the largest number there is */
    return e->type.dtype == TYPE_F64 ? (struct span){0x1p-537, 0x1p512, a.positive}
                                     : (struct span){0x1p-75, 0x1p64, a.positive};
}

static struct span span_negated(struct spans *s, const struct expr *e)
{
    struct span a = span_of(s, e->a[0]);
    return (struct span){a.least, a.most, false};
}

struct span span_of(struct spans *s, const struct expr *e)
{
    if (s->steps++ >= SPAN_STEPS) return unknown;
    switch ((enum op)e->op) {
    case OP_REAL:
        return span_const(e->u.f);
    case OP_SPLAT:
    case OP_ABS:
        return span_of(s, e->a[0]);
    case OP_NEG:
        return span_negated(s, e);
    case OP_SQRT:
        return span_sqrt(s, e);
    case OP_CAST:
        return dtype_is_int((enum dtype)e->a[0]->type.dtype) ? (struct span){1, 0x1p64, false}
                                                             : unknown;
    case OP_SELECT:
        return either(span_of(s, e->a[1]), span_of(s, e->a[2]));
    case OP_MAX:
        return span_max(s, e);
    case OP_MUL:
    case OP_DIV:
        return span_scaled(s, e);
    case OP_LOAD:
        return span_loaded(s, e->u.tensor);
    default:
        return unknown;
    }
}
