/* Regions: the box of a tensor that a statement reads or writes, over all loops inside it.
 *
 *   for p in 0..14 / for r in 0..3:  x[po*14 + p + r - 1]     from outside p and r:
 *   lo = po*14 - 1, extent = 16
 *
 * How: each access's subscripts are bounded below and above by replacing inner variables, innermost
 * first, by the bound that is extreme (which may be symbolic); a min or max with inner variables
 * splits the bound in two. Boxes of several accesses are joined where their starts differ by known
 * amounts. Guards (IF, LOADC) only shrink what is touched, so they are ignored: a region covers at
 * least the truth.
 *
 * Invariants: lo and extent mention no variable bound inside the statement; a region is never too
 * small (the tests compare it with brute force). Anything not understood is refused with a
 * sentence. */
#include "ir/private.h"

enum { INNER = 48, BRANCHES = 32 };

struct inner { /* a loop or LET inside the statement, outermost first */
    const struct var *var;
    const struct expr *lo, *hi, *value;
};

struct finder {
    const struct nest *nest;
    struct ir *ir;
    struct env *env; /* outside the statement */
    const struct tensor *t;
    bool write;
    struct stmt *root;
    struct region *out;
    int found;
    const char *why;
    /* of the access being bounded */
    struct inner in[INNER];
    int n;
    uint64_t vars; /* bits of inner variables */
    struct env *inside;
    int branches;
};

static bool is_inner(const struct finder *f, const struct expr *e)
{
    if (!(e->vars & f->vars)) return false;
    for (int i = 0; i < f->n; i++)
        if (expr_uses_var(e, f->in[i].var)) return true;
    return false;
}

static int inner_index(const struct finder *f, const struct expr *e)
{
    if (e->op != OP_VAR) return -1;
    for (int i = 0; i < f->n; i++)
        if (f->in[i].var == e->u.var) return i;
    return -1;
}

static const struct expr *refuse(struct finder *f, const char *why)
{
    if (!f->why) f->why = why;
    return NULL;
}

static const struct expr *bound(struct finder *f, const struct linear *l, bool upper);

static const struct expr *bound_of(struct finder *f, const struct expr *e, bool upper)
{
    struct linear l;
    if (!linear_of(e, &l)) return refuse(f, "a subscript has too many terms");
    return bound(f, &l, upper);
}

/* l with atom (coefficient k) replaced by `by` + shift. */
static const struct expr *bound_with(struct finder *f, const struct linear *l,
                                     const struct expr *atom, int64_t k, const struct expr *by,
                                     int64_t shift, bool upper)
{
    struct linear to = *l, m;
    linear_drop(&to, atom);
    if (!linear_of(by, &m)) return refuse(f, "a subscript has too many terms");
    m.c += shift;
    if (!linear_add(&to, &m, k)) return refuse(f, "a subscript has too many terms");
    return bound(f, &to, upper);
}

static const struct expr *bound_minmax(struct finder *f, const struct linear *l,
                                       const struct expr *e, int64_t k, bool upper)
{
    if (++f->branches > BRANCHES) return refuse(f, "a subscript has too many min and max");
    const struct expr *x = bound_with(f, l, e, k, e->a[0], 0, upper);
    const struct expr *y = x ? bound_with(f, l, e, k, e->a[1], 0, upper) : NULL;
    if (!y) return NULL;
    bool min = (e->op == OP_MIN) == (k > 0);
    return expr_binary(f->ir, min ? OP_MIN : OP_MAX, x, y);
}

/* x / c and x % c with inner variables in x: the quotient is monotone, the remainder lies in
 * 0..c-1. */
static const struct expr *bound_divmod(struct finder *f, const struct linear *l,
                                       const struct expr *e, int64_t k, bool upper)
{
    int64_t c = 0;
    bool up = upper == (k > 0);
    if (!expr_is_int(e->a[1], &c) || c <= 0)
        return refuse(f, "a subscript divides by something not constant");
    if (e->op == OP_MOD) {
        struct range r = expr_range(f->inside, e);
        return bound_with(f, l, e, k, expr_int(f->ir, up ? r.hi : r.lo), 0, upper);
    }
    const struct expr *x = bound_of(f, e->a[0], up);
    if (!x) return NULL;
    return bound_with(f, l, e, k, expr_binary(f->ir, OP_DIV, x, e->a[1]), 0, upper);
}

static const struct expr *bound_atom(struct finder *f, const struct linear *l, const struct expr *e,
                                     int64_t k, bool upper)
{
    switch ((enum op)e->op) {
    case OP_MIN:
    case OP_MAX:
        return bound_minmax(f, l, e, k, upper);
    case OP_DIV:
    case OP_MOD:
        return bound_divmod(f, l, e, k, upper);
    case OP_LOAD:
    case OP_LOADC:
        return refuse(f, "a subscript is itself read from a tensor");
    case OP_MUL:
        return refuse(f, "a subscript multiplies a loop variable by something not constant");
    default:
        return refuse(f, "a subscript is not quasi-affine");
    }
}

/* A bound of l without inner variables; NULL after refusing. */
static const struct expr *bound(struct finder *f, const struct linear *l, bool upper)
{
    int last = -1, at = -1;
    for (int i = 0; i < l->n; i++) {
        const struct expr *e = l->atom[i];
        if (!is_inner(f, e)) continue;
        int index = inner_index(f, e);
        if (index < 0) return bound_atom(f, l, e, l->coef[i], upper);
        if (index > last) {
            last = index;
            at = i;
        }
    }
    if (at < 0) return linear_expr(f->ir, l);
    const struct inner *v = &f->in[last];
    int64_t k = l->coef[at];
    if (v->value) return bound_with(f, l, l->atom[at], k, v->value, 0, upper);
    bool high = upper == (k > 0);
    return bound_with(f, l, l->atom[at], k, high ? v->hi : v->lo, high ? -1 : 0, upper);
}

/* ---- joining boxes --------------------------------------------------------------------------- */

struct only_dyn {
    const struct nest *n;
    bool yes;
};

static void note_var(const struct expr *e, void *ctx)
{
    struct only_dyn *o = ctx;
    bool dyn = e->op != OP_VAR;
    for (int i = 0; i < o->n->ndyn; i++) dyn = dyn || o->n->dyn[i] == e->u.var;
    o->yes = o->yes && dyn;
}

/* Extent as a constant, or an expression of dyn extents when there is no constant bound. */
static const struct expr *extent_of(struct finder *f, const struct expr *lo, const struct expr *hi)
{
    const struct expr *e =
        expr_simplify(f->ir, f->env, expr_add(f->ir, expr_sub(f->ir, hi, lo), expr_int(f->ir, 1)));
    if (expr_is_int(e, NULL)) return e;
    struct range r = expr_range(f->env, e);
    if (r.hi != INT64_MAX && r.hi >= 0) return expr_int(f->ir, r.hi);
    struct only_dyn o = {f->nest, true};
    expr_walk(e, note_var, &o);
    return o.yes ? e : refuse(f, "the extent of the box depends on a loop outside");
}

/* *lo, *extent := the hull with another interval; false if their distance is unknown. */
static bool join(struct finder *f, const struct expr **lo, const struct expr **extent,
                 const struct expr *lo2, const struct expr *extent2)
{
    int64_t a = 0, b = 0;
    struct range d = expr_range(f->env, expr_simplify(f->ir, f->env, expr_sub(f->ir, lo2, *lo)));
    bool sized = expr_is_int(*extent, &a) && expr_is_int(extent2, &b);
    if (*lo == lo2 && *extent == extent2) return true;
    if (!sized || d.lo == INT64_MIN || d.hi == INT64_MAX) return false;
    if (d.lo >= 0) {
        *extent = expr_int(f->ir, i64_max(a, d.hi + b));
        return true;
    }
    if (d.hi <= 0) { /* lo = lo2 + -d */
        *lo = lo2;
        *extent = expr_int(f->ir, i64_max(b, a - d.lo));
        return true;
    }
    return false;
}

static void add_access(struct finder *f, const struct expr *const *idx, int rank)
{
    for (int d = 0; d < rank && !f->why; d++) {
        if (idx[d]->type.lanes != 1) {
            refuse(f, "a subscript is a vector");
            return;
        }
        f->branches = 0;
        const struct expr *e = expr_simplify(f->ir, f->inside, idx[d]);
        const struct expr *lo = bound_of(f, e, false), *hi = lo ? bound_of(f, e, true) : NULL;
        if (!hi) return;
        lo = expr_simplify(f->ir, f->env, lo);
        const struct expr *extent = extent_of(f, lo, expr_simplify(f->ir, f->env, hi));
        if (!extent) return;
        if (f->found == 0) {
            f->out->lo[d] = lo;
            f->out->extent[d] = extent;
        } else if (!join(f, &f->out->lo[d], &f->out->extent[d], lo, extent)) {
            refuse(f, "the accesses lie at places whose distance is not known");
        }
    }
    f->found++;
}

/* ---- finding accesses ------------------------------------------------------------------------ */

static void add_inner(struct finder *f, const struct stmt *s)
{
    if (f->n == INNER) {
        refuse(f, "the nest is too deep");
        return;
    }
    if (s->kind == ST_FOR)
        f->in[f->n++] = (struct inner){s->u.loop.var, s->u.loop.lo, s->u.loop.hi, NULL};
    else
        f->in[f->n++] = (struct inner){s->u.let.var, NULL, NULL, s->u.let.value};
    f->vars |= UINT64_C(1) << (f->in[f->n - 1].var->id & 63);
}

static struct env *inside_env(struct finder *f)
{
    struct env *env = env_new(f->ir);
    for (int i = 0; i < f->env->n; i++) {
        const struct env_entry *e = &f->env->entry[i];
        if (e->value)
            env_let(env, e->var, e->value);
        else
            env_put(env, e->var, e->lo, e->hi);
        env->entry[env->n - 1].range = e->range;
    }
    for (int i = 0; i < f->n; i++) {
        if (f->in[i].value)
            env_let(env, f->in[i].var, f->in[i].value);
        else
            env_put(env, f->in[i].var, f->in[i].lo, f->in[i].hi);
    }
    return env;
}

/* The loops and lets between the root (included) and s (excluded), and what is known there. */
static void enter(struct finder *f, const struct stmt *s)
{
    const struct stmt *path[INNER];
    int depth = 0;
    f->n = 0;
    f->vars = 0;
    for (const struct stmt *p = s->parent; p && s != f->root; p = p->parent) {
        if (p->kind == ST_FOR || p->kind == ST_LET) {
            if (depth == INNER) {
                refuse(f, "the nest is too deep");
                return;
            }
            path[depth++] = p;
        }
        if (p == f->root) break;
    }
    while (depth > 0) add_inner(f, path[--depth]);
    f->inside = inside_env(f);
}

struct load_visit {
    struct finder *f;
    struct stmt *s;
    bool entered;
};

static void visit_load(const struct expr *e, void *ctx)
{
    struct load_visit *v = ctx;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != v->f->t || v->f->why) return;
    if (!v->entered) enter(v->f, v->s);
    v->entered = true;
    if (!v->f->why) add_access(v->f, e->a + expr_load_first(e), v->f->t->rank);
}

static void visit_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, visit_load, ctx); }

static bool visit_stmt(struct stmt *s, void *ctx)
{
    struct finder *f = ctx;
    struct load_visit v = {f, s, false};
    if (f->why) return false;
    if (!f->write) {
        stmt_exprs(s, visit_slot, &v);
        return true;
    }
    if (s->kind == ST_STORE && s->u.store.tensor == f->t) {
        enter(f, s);
        if (!f->why) add_access(f, s->u.store.idx, f->t->rank);
    }
    for (int i = 0; s->kind == ST_UPDATE && i < s->u.update.n; i++) {
        if (s->u.update.tensor[i] != f->t) continue;
        enter(f, s);
        if (!f->why) add_access(f, s->u.update.idx, f->t->rank);
        break;
    }
    return true;
}

static bool region_find(const struct nest *n, struct stmt *s, const struct tensor *t, bool write,
                        struct region *out, const char **why)
{
    struct finder f = {.nest = n, .ir = n->ir, .t = t, .write = write, .root = s, .out = out};
    f.env = env_at(n->ir, n, s);
    out->rank = t->rank;
    stmt_walk(s, visit_stmt, &f);
    if (!f.why && f.found == 0)
        f.why = write ? "the tensor is not written there" : "the tensor is not read there";
    if (why) *why = f.why;
    return !f.why;
}

bool region_read(const struct nest *n, struct stmt *s, const struct tensor *t, struct region *out,
                 const char **why)
{
    return region_find(n, s, t, false, out, why);
}

bool region_write(const struct nest *n, struct stmt *s, const struct tensor *t, struct region *out,
                  const char **why)
{
    return region_find(n, s, t, true, out, why);
}
