/* recipe: what a naive nest tells about verifying it.
 *
 *     conv2d, C = 64, 3x3: a sum of products, 576 deep;
 *                          inputs of -8..8 keep |sum| <= 576*64 < 2^24: exact
 *     winograd F(4,3):     tables with sixths: not exact, error budget 12 sqrt(64) 2^-24
 *
 * One walk carries, for every expression, a bound on |value| when inputs are integers of at most
 * `a`, and whether the value then is an exact integer. The largest a in 8..1 for which every
 * partial result stays exact is the magnitude; if none does, data come from the budget's side
 * (impulses, random reals).
 *
 * A sum's error grows with the root of its terms as long as they round this way and that. Terms
 * made with a rounded statistic, (x - mean)^2, are often all the same, and then every addition
 * rounds the same way: a sum of n such terms, one after the other, may be n/4 units off, and the
 * reference's own is.
 *
 * Which of two sums is smaller depends on their last bits where they are as good as equal, and those on the order
 * of the terms: an argmin of distances, a cast of a sum (`undecided`).
 *
 * log(a - b) has no error bound at all where a and b meet: what is verified there is that results are
 * alike, not how far they can be trusted (focal loss with targets between 0 and 1).
 *
 * Invariant: `exact` is only said when every order of summation gives the same bits. */
#include <math.h>
#include <string.h>

#include "dsl/dsl.h"

struct bound {
    double mag; /* |value| <= mag */
    bool exact; /* an integer, exactly represented, in any order of evaluation */
};

/* What happens to the result of a reduction afterwards. The bound of a sum of products, which is
 * the same nest run on squares, survives sums and max; scaling leaves errors relative to the
 * output's norm; a clamp or a selection does not: where large terms cancel, the sum's error is all
 * that is left of the output. */
enum after { AFTER_NOTHING, AFTER_SUM, AFTER_SCALED, AFTER_BENT };

/* What was found of an expression in the statement at hand, by its id: shared parts are looked at once. */
struct found {
    uint32_t bound_at, after_at, loose_at; /* number of the look; 0: never */
    struct bound bound;
    enum after after;
    bool loose;
};

struct walk {
    const struct nest *n;
    double a; /* magnitude tried */
    const struct task *t;
    struct bound *tensor; /* by index in n->tensor */
    enum after *after;    /* likewise */
    bool *loose;          /* likewise: a schedule decides its last bits */
    struct found *found;  /* by expression */
    uint32_t look;        /* a new one whenever what is known of tensors changes */
    bool *product;        /* likewise: products, which a sum may take up before they are rounded */
    bool transcendental, fractional, products, reduces;
    bool jumps; /* a rounded value decides: a floor or a selection may fall on the other side */
    bool steep; /* a logarithm of terms that may cancel: near zero it magnifies their rounding */
};

static int tensor_at(const struct nest *n, const struct tensor *t)
{
    for (int i = 0; i < n->ntensor; i++)
        if (n->tensor[i] == t) return i;
    return -1;
}

static double exact_limit(enum dtype d)
{
    switch (d) {
    case TYPE_F64:
        return 9007199254740992.0;
    case TYPE_F32:
        return 16777216.0;
    case TYPE_F16:
        return 2048.0;
    case TYPE_BF16:
        return 256.0;
    default:
        return INFINITY; /* integers wrap, always exactly */
    }
}

static struct bound clip(struct bound b, enum dtype d)
{
    if (isnan(b.mag)) b.mag = INFINITY; /* nothing times something without a bound */
    if (!(b.mag < exact_limit(d))) b.exact = false;
    return b;
}

static struct bound table_bound(struct walk *w, const struct tensor *t)
{
    struct bound b = {0, true};
    int64_t n = 1, ext = 0;
    for (int i = 0; i < t->rank; i++) n *= expr_is_int(t->extent[i], &ext) ? ext : 1;
    for (int64_t i = 0; i < n; i++) {
        b.mag = fmax(b.mag, fabs(t->table[i]));
        if (t->table[i] != nearbyint(t->table[i])) b.exact = false;
    }
    if (!b.exact) w->fractional = true;
    return b;
}

static struct bound input_bound(struct walk *w, const struct tensor *t)
{
    const struct task_tensor *tt = w->t ? task_tensor(w->t, t->name) : NULL;
    if (tt && tt->ranged)
        return (struct bound){fmax(fabs((double)tt->lo), fabs((double)tt->hi - 1)), true};
    return (struct bound){w->a, true};
}

static struct bound bound_of(struct walk *w, const struct expr *e);

static struct bound bound_load(struct walk *w, const struct expr *e)
{
    const struct tensor *t = e->u.tensor;
    struct bound b;
    if (t->scope == SCOPE_TABLE)
        b = table_bound(w, t);
    else if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST)
        b = input_bound(w, t);
    else
        b = w->tensor[tensor_at(w->n, t)];
    if (e->op == OP_LOADC) {
        struct bound d = bound_of(w, e->a[1]);
        b = (struct bound){fmax(b.mag, d.mag), b.exact && d.exact};
    }
    return b;
}

static struct bound bound_arith(struct walk *w, const struct expr *e)
{
    struct bound x = bound_of(w, e->a[0]), y = e->n > 1 ? bound_of(w, e->a[1]) : x;
    bool both = x.exact && y.exact;
    switch (e->op) {
    case OP_ADD:
    case OP_SUB:
        return (struct bound){x.mag + y.mag, both};
    case OP_MUL:
        return (struct bound){x.mag * y.mag, both};
    case OP_MIN:
    case OP_MAX:
        return (struct bound){fmax(x.mag, y.mag), both};
    case OP_FLOOR:
    case OP_CEIL:
    case OP_ROUND:
    case OP_TRUNC:
        if (!x.exact) w->jumps = true;
        return x;
    case OP_NEG:
    case OP_ABS:
        return x;
    case OP_SELECT: {
        if (!x.exact) w->jumps = true;
        struct bound z = bound_of(w, e->a[2]);
        return (struct bound){fmax(y.mag, z.mag), x.exact && y.exact && z.exact};
    }
    case OP_FMA: {
        struct bound z = bound_of(w, e->a[2]);
        return (struct bound){x.mag * y.mag + z.mag, both && z.exact};
    }
    default:
        return (struct bound){INFINITY, false};
    }
}

/* A sum or difference of rounded terms within the expression, not behind a tensor. */
static bool cancels(struct walk *w, const struct expr *e)
{
    if (e->op == OP_LOAD || e->op == OP_LOADC || !dtype_is_float((enum dtype)e->type.dtype))
        return false;
    if (e->op == OP_ADD || e->op == OP_SUB)
        return !bound_of(w, e->a[0]).exact || !bound_of(w, e->a[1]).exact;
    bool some = false;
    for (int i = 0; i < e->n; i++) some = some || cancels(w, e->a[i]);
    return some;
}

static struct bound find_bound(struct walk *w, const struct expr *e)
{
    enum dtype d = (enum dtype)e->type.dtype;
    if (e->op == OP_LOAD || e->op == OP_LOADC) return clip(bound_load(w, e), d);
    if (e->op == OP_INT) return (struct bound){fabs((double)e->u.i), true};
    if (e->op == OP_REAL) {
        bool whole = e->u.f == nearbyint(e->u.f);
        if (!whole) w->fractional = true;
        return (struct bound){isinf(e->u.f) ? 0 : fabs(e->u.f),
                              whole}; /* infinities are identities */
    }
    if (op_is_predicate((enum op)e->op) || d == TYPE_B1) {
        bool exact = true;
        for (int i = 0; i < e->n; i++) exact &= bound_of(w, e->a[i]).exact;
        return (struct bound){1, exact};
    }
    if (e->op >= OP_EXP && e->op <= OP_COS) {
        w->transcendental = true;
        w->steep |= e->op == OP_LOG && cancels(w, e->a[0]);
        bound_of(w, e->a[0]);
        return (struct bound){INFINITY, false};
    }
    if (e->op == OP_CAST) {
        struct bound b = bound_of(w, e->a[0]);
        if (!dtype_is_float(d) && !b.exact) w->jumps = true;
        if (!dtype_is_float(d) && b.exact) b.mag = fmin(b.mag, ldexp(1, dtype_bits(d)));
        return clip(b, d);
    }
    if (e->op == OP_VAR) return (struct bound){ldexp(1, 24), true};
    if (!dtype_is_float(d)) { /* integer arithmetic is exact as long as its operands are */
        struct bound b = {ldexp(1, dtype_bits(d)), true};
        for (int i = 0; i < e->n; i++) b.exact &= bound_of(w, e->a[i]).exact;
        struct bound tight =
            e->op == OP_ADD || e->op == OP_SUB || e->op == OP_MUL ? bound_arith(w, e) : b;
        b.mag = fmin(b.mag, tight.mag);
        return b;
    }
    if (e->op == OP_DIV || e->op == OP_SQRT) {
        w->fractional = true;
        for (int i = 0; i < e->n; i++) bound_of(w, e->a[i]);
        return (struct bound){INFINITY, false};
    }
    return clip(bound_arith(w, e), d);
}

static struct bound bound_of(struct walk *w, const struct expr *e)
{
    struct found *f = &w->found[e->id];
    if (f->bound_at == w->look) return f->bound;
    f->bound = find_bound(w, e);
    f->bound_at = w->look;
    return f->bound;
}

/* Elements one UPDATE folds into one result, and its longest loop. */
static double update_depth(struct walk *w, const struct stmt *s, int64_t *longest)
{
    double depth = 1;
    for (; s; s = s->parent) {
        int64_t lo = 0, hi = 1;
        if (s->kind != ST_FOR || !s->u.loop.reduce) continue;
        if (!expr_is_int(s->u.loop.lo, &lo) || !expr_is_int(s->u.loop.hi, &hi)) {
            lo = 0;
            hi = 1;
            for (int i = 0; w->t && i < w->t->ndyn; i++) hi = i64_max(hi, w->t->dyn[i]);
        }
        depth *= (double)i64_max(hi - lo, 1);
        *longest = i64_max(*longest, hi - lo);
    }
    return depth;
}

static enum after after_of(struct walk *w, const struct expr *e);

static enum after find_after(struct walk *w, const struct expr *e)
{
    enum after worst = AFTER_NOTHING;
    for (int i = 0; i < e->n; i++) {
        enum after a = after_of(w, e->a[i]);
        worst = a > worst ? a : worst;
    }
    int at = e->op == OP_LOAD || e->op == OP_LOADC ? tensor_at(w->n, e->u.tensor) : -1;
    if (at >= 0) return w->after[at] > worst ? w->after[at] : worst;
    if (worst == AFTER_NOTHING || e->op == OP_ADD || e->op == OP_MAX || e->op == OP_CAST)
        return worst;
    bool scaled =
        e->op == OP_SUB || e->op == OP_NEG || e->op == OP_MUL || e->op == OP_DIV || e->op == OP_FMA;
    return scaled && worst < AFTER_BENT ? AFTER_SCALED : AFTER_BENT;
}

static enum after after_of(struct walk *w, const struct expr *e)
{
    struct found *f = &w->found[e->id];
    if (f->after_at == w->look) return f->after;
    f->after = find_after(w, e);
    f->after_at = w->look;
    return f->after;
}

static bool multiplied(struct walk *w, const struct expr *e)
{
    bool loads = e->op == OP_LOAD || e->op == OP_LOADC;
    if (e->op == OP_NEG) return multiplied(w, e->a[0]);
    return e->op == OP_MUL || (loads && w->product[tensor_at(w->n, e->u.tensor)]);
}

/* Do the last bits of e depend on how it is computed: in which order terms are added, whether a product is rounded
 * before it is added, how an exponential is expanded? */
static bool loose_of(struct walk *w, const struct expr *e)
{
    struct found *f = &w->found[e->id];
    if (f->loose_at == w->look) return f->loose;
    bool real = dtype_is_float((enum dtype)e->type.dtype),
         some = e->op >= OP_EXP && e->op <= OP_COS;
    int at = e->op == OP_LOAD || e->op == OP_LOADC ? tensor_at(w->n, e->u.tensor) : -1;
    if (real && (e->op == OP_ADD || e->op == OP_SUB))
        some = multiplied(w, e->a[0]) || multiplied(w, e->a[1]);
    if (at >= 0) some = w->loose[at];
    for (int i = 0; i < e->n && !some; i++) some = loose_of(w, e->a[i]);
    f->loose_at = w->look;
    return f->loose = some;
}

static bool is_product(const struct expr *e)
{
    return e->op == OP_MUL || (e->op == OP_CAST && is_product(e->a[0]));
}

struct stage_walk {
    struct walk *w;
    double *depth; /* by tensor: elements below one value of it */
    int64_t longest;
    double nested; /* terms of the longest sum over what an earlier reduction has rounded */
};

static void deepest(const struct expr *e, void *ctx)
{
    void **p = ctx;
    struct stage_walk *sw = p[0];
    double *d = p[1];
    int i = e->op == OP_LOAD || e->op == OP_LOADC ? tensor_at(sw->w->n, e->u.tensor) : -1;
    if (i >= 0) *d = fmax(*d, sw->depth[i]);
}

static void walk_update(struct stage_walk *sw, struct stmt *s)
{
    struct walk *w = sw->w;
    double n = update_depth(w, s, &sw->longest);
    w->reduces = true;
    for (int i = 0; i < s->u.update.n; i++, w->look++) {
        int at = tensor_at(w->n, s->u.update.tensor[i]);
        enum dtype d = (enum dtype)s->u.update.tensor[i]->type.dtype;
        double below = 1;
        void *ctx[2] = {sw, &below};
        struct bound b = bound_of(w, s->u.update.value[i]);
        expr_walk(s->u.update.value[i], deepest, ctx);
        sw->depth[at] = fmax(sw->depth[at], n * below);
        enum after after =
            after_of(w, s->u.update.value[i]); /* a product of sums is what reduce_k counts */
        w->after[at] = after <= AFTER_SCALED ? AFTER_SUM : after;
        bool added =
            s->u.update.op == RED_SUM || s->u.update.op == RED_PROD || s->u.update.op == RED_USER;
        w->loose[at] |= added && dtype_is_float(d) && n > 1;
        for (int k = 0; k < s->u.update.n; k++) w->loose[at] |= loose_of(w, s->u.update.value[k]);
        if (s->u.update.op == RED_SUM) {
            if (below > 1 && !b.exact) sw->nested = fmax(sw->nested, n);
            b.mag *= n;
            w->products &= is_product(s->u.update.value[i]);
        } else if (s->u.update.op == RED_PROD) {
            b.mag = dtype_is_float(d) ? pow(fmax(b.mag, 1), n) : b.mag;
            w->products = false;
        } else {
            w->products = false;
        }
        if (s->u.update.op == RED_USER) {
            for (int k = 0; k < s->u.update.n; k++) bound_of(w, s->u.update.combine[k]);
            b = (struct bound){INFINITY, !dtype_is_float(d) && b.exact};
        }
        b = clip(b, d);
        w->tensor[at] = (struct bound){fmax(w->tensor[at].mag, b.mag),
                                       b.exact && (w->tensor[at].exact || w->tensor[at].mag == 0)};
    }
}

/* A recurrence adds up along its loop: integers wrap exactly, reals have no bound that helps. */
static struct bound walk_scan(struct stage_walk *sw, struct stmt *s, struct bound b)
{
    for (struct stmt *f = s->parent; f; f = f->parent) {
        int64_t lo = 0, hi = 0;
        if (f->kind != ST_FOR || !f->u.loop.ordered) continue;
        bool known = expr_is_int(f->u.loop.lo, &lo) && expr_is_int(f->u.loop.hi, &hi);
        for (int i = 0; !known && sw->w->t && i < sw->w->t->ndyn; i++)
            hi = i64_max(hi, sw->w->t->dyn[i]);
        sw->longest = i64_max(sw->longest, hi - lo);
    }
    sw->w->products = false;
    bool real = dtype_is_float((enum dtype)s->u.store.tensor->type.dtype);
    return real ? (struct bound){INFINITY, false} : b;
}

static bool walk_stmt(struct stmt *s, void *ctx)
{
    struct stage_walk *sw = ctx;
    struct walk *w = sw->w;
    w->look++;
    if (s->kind == ST_UPDATE) walk_update(sw, s);
    if (s->kind == ST_STORE) {
        int at = tensor_at(w->n, s->u.store.tensor);
        double below = 1;
        void *c[2] = {sw, &below};
        struct bound b =
            clip(bound_of(w, s->u.store.value), (enum dtype)s->u.store.tensor->type.dtype);
        if (expr_uses_tensor(s->u.store.value, s->u.store.tensor)) b = walk_scan(sw, s, b);
        expr_walk(s->u.store.value, deepest, c);
        enum after after = after_of(w, s->u.store.value);
        if (after > w->after[at]) w->after[at] = after;
        w->loose[at] |= loose_of(w, s->u.store.value);
        w->product[at] |= multiplied(w, s->u.store.value);
        sw->depth[at] = fmax(sw->depth[at], below);
        bool seen = w->tensor[at].mag != 0;
        w->tensor[at] = (struct bound){fmax(w->tensor[at].mag, b.mag),
                                       b.exact && (!seen || w->tensor[at].exact)};
    }
    return true;
}

static bool try_magnitude(const struct nest *n, const struct task *t, double a,
                          struct data_recipe *out)
{
    struct walk w = {.n = n, .a = a, .t = t, .products = true};
    size_t count = (size_t)n->ntensor + 1;
    w.tensor = mem_new(count * sizeof *w.tensor);
    w.after = mem_new(count * sizeof *w.after);
    w.loose = mem_new(count * sizeof *w.loose);
    w.found = mem_new(((size_t)n->ir->next_expr + 1) * sizeof *w.found);
    w.product = mem_new(count * sizeof *w.product);
    struct stage_walk sw = {.w = &w, .depth = mem_new(count * sizeof(double)), .longest = 1};
    for (int i = 0; i < n->ntensor; i++) sw.depth[i] = 1;
    stmt_walk(n->body, walk_stmt, &sw);
    bool exact = true;
    double depth = 1;
    enum after after = AFTER_NOTHING;
    for (int i = 0; i < n->ntensor; i++) {
        after = w.after[i] > after ? w.after[i] : after;
        bool made = n->tensor[i]->scope == SCOPE_OUT || n->tensor[i]->scope == SCOPE_TEMP;
        if (made && !w.tensor[i].exact && w.tensor[i].mag != 0) exact = false;
        depth = fmax(depth, sw.depth[i]);
        bool integer = !dtype_is_float((enum dtype)n->tensor[i]->type.dtype);
        if (w.loose[i] && n->tensor[i]->scope == SCOPE_OUT && integer && i < 64)
            out->undecided |= UINT64_C(1) << i;
    }
    out->exact = exact;
    out->magnitude = exact ? (int64_t)a : 1;
    out->depth = depth < 9e18 ? (int64_t)depth : INT64_MAX;
    out->budget_depth = sw.longest;
    out->nested = exact ? 0 : sw.nested;
    out->sum_of_products = w.reduces && w.products && after <= AFTER_SUM;
    out->bent = after == AFTER_BENT || w.jumps;
    out->transcendental = w.transcendental;
    out->steep = w.steep;
    out->fractional = w.fractional;
    mem_free(sw.depth);
    mem_free(w.tensor);
    mem_free(w.after);
    mem_free(w.loose);
    mem_free(w.found);
    mem_free(w.product);
    return exact;
}

void dsl_recipe(const struct nest *naive, const struct task *t, struct data_recipe *out)
{
    static const double FACTOR[] = {[TOL_DEFAULT] = 12, [TOL_TIGHT] = 4, [TOL_LOOSE] = 50};
    *out = (struct data_recipe){0};
    for (int a = 8; a >= 1; a--)
        if (try_magnitude(naive, t, a, out)) break;
    int64_t c = 0;
    bool channels =
        t && task_int(t, "C", &c); /* the op's own channel count, the same for every algorithm */
    double depth = channels && c > 0 ? (double)c : (double)out->budget_depth;
    double factor = FACTOR[t ? t->tol : TOL_DEFAULT];
    out->tol = factor * fmax(sqrt(fmax(depth, 1)), out->nested / 48) * ldexp(1, -24);
}

void dsl_data_range(const struct task_tensor *t, const struct data_recipe *r, int64_t *lo,
                    int64_t *hi)
{
    int64_t most = r->exact ? r->magnitude : 4;
    bool some = task_tensor_range(t, lo, hi);
    if (!t->ranged) {
        *lo = i64_max(*lo, -most);
        *hi = i64_min(*hi, most);
    }
    if (!some) *hi = *lo; /* of no elements */
}

/* ---- constant stages ------------------------------------------------------------------------- */

struct reads {
    const struct nest *n;
    bool constant;
};

static bool defined_const(const struct nest *n, const struct tensor *t);

static void see_read(const struct expr *e, void *ctx)
{
    struct reads *r = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    enum scope s = e->u.tensor->scope;
    if (s == SCOPE_CONST || s == SCOPE_TABLE || s == SCOPE_PACKED) return;
    if (s == SCOPE_TEMP && defined_const(r->n, e->u.tensor)) return;
    r->constant = false;
}

static void see_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, see_read, ctx); }

static bool see_stmt(struct stmt *s, void *ctx)
{
    struct reads *r = ctx;
    stmt_exprs(s, see_slot, r);
    if (s->kind == ST_STORE && s->u.store.tensor->scope == SCOPE_OUT) r->constant = false;
    if (s->kind == ST_UPDATE && s->u.update.tensor[0]->scope == SCOPE_OUT) r->constant = false;
    return r->constant;
}

bool dsl_stage_is_const(const struct nest *n, const struct stmt *stage)
{
    struct reads r = {n, true};
    stmt_walk((struct stmt *)stage, see_stmt, &r);
    return r.constant;
}

struct writes {
    const struct tensor *t;
    bool found;
};

static bool see_write(struct stmt *s, void *ctx)
{
    struct writes *w = ctx;
    if (s->kind == ST_STORE) w->found |= s->u.store.tensor == w->t;
    for (int i = 0; s->kind == ST_UPDATE && i < s->u.update.n; i++)
        w->found |= s->u.update.tensor[i] == w->t;
    return !w->found;
}

/* Every stage that writes t is constant (stages read only earlier ones, so this ends). */
static bool defined_const(const struct nest *n, const struct tensor *t)
{
    for (int i = 0; i < n->body->u.block.n; i++) {
        struct stmt *s = n->body->u.block.p[i];
        struct writes w = {t, false};
        stmt_walk(s, see_write, &w);
        if (w.found && !dsl_stage_is_const(n, s)) return false;
    }
    return true;
}
