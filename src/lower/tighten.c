/* Tighten: guards move out of the loops they do not concern, and become bounds of those they do.
 *
 * Requires: guards as IFs (guard_taps), peel done.
 * Provides: loops that run exactly their guarded iterations where that is affine; loops of one
 * iteration replaced by their value; IFs as far out as they can go. Vector loops (unless the
 * target lacks masks) and unrolled loops whose bounds would not be constant keep the IF inside.
 *
 *     for r in 0..3 reduce                       for r in max(0, 1 - p)..min(3, 57 - p) reduce
 *       for c in 0..64 reduce            -->       for c in 0..64 reduce
 *         if 0 <= p + r - 1 & p + r - 1 < 56         acc[0] += ..
 *           acc[0] += .. */
#include "lower/private.h"

static bool binds_vector_var(const struct stmt *s, const struct expr *e)
{
    for (const struct stmt *p = s->parent; p; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_VECTOR && expr_uses_var(e, p->u.loop.var))
            return true;
    return false;
}

/* Tries to make the conjunct a bound of the loop. */
static bool into_bounds(struct low *l, struct stmt *loop, const struct expr *conj,
                        struct near *near)
{
    struct linear rest;
    bool clean = false;
    if (conj->type.lanes != 1 || expr_has_load(conj) || binds_vector_var(loop, conj)) return false;
    if (loop->u.loop.kind == LOOP_VECTOR && l->t->masks) return false;
    if (!cond_linear(l->ir, conj, &rest)) return false;
    int64_t k = linear_take(&rest, loop->u.loop.var, &clean), known = 0;
    if (!clean || k == 0) return false;
    const struct expr *lo = loop->u.loop.lo, *hi = loop->u.loop.hi,
                      *at = linear_bound(l->ir, &rest, k);
    struct env *env = env_near(l, near, loop);
    if (k > 0)
        lo = expr_simplify(l->ir, env, expr_binary(l->ir, OP_MAX, lo, at));
    else
        hi = expr_simplify(l->ir, env, expr_binary(l->ir, OP_MIN, hi, at));
    bool fixed = loop->u.loop.kind == LOOP_VECTOR || loop->u.loop.kind == LOOP_UNROLL;
    if (fixed && !(expr_is_int(lo, &known) && expr_is_int(hi, &known))) return false;
    loop->u.loop.lo = lo;
    loop->u.loop.hi = hi;
    return true;
}

/* The IF that is all of a body, or NULL. */
static struct stmt *sole_if(struct stmt *body)
{
    struct stmt *s = stmt_only(body);
    return s && s->kind == ST_IF ? s : NULL;
}

static void set_body(struct stmt *s, struct stmt *body)
{
    *stmt_body(s) = body;
    body->parent = s;
}

/* `s` (FOR, LET, ALLOC) around a sole IF: moves out what does not concern s. */
static struct stmt *hoist(struct low *l, struct stmt *s, const struct var *v, struct near *near)
{
    struct stmt *cond = sole_if(*stmt_body(s));
    if (!cond) return s;
    const struct expr *conj[CONJ_MAX], *out = NULL, *in = NULL;
    int n = expr_conjuncts(cond->u.cond.cond, conj);
    for (int i = 0; i < n; i++) {
        bool moves = !(v && expr_uses_var(conj[i], v)) && !expr_has_load(conj[i]);
        if (moves)
            out = expr_and(l->ir, out, conj[i]);
        else if (s->kind != ST_FOR || !into_bounds(l, s, conj[i], near))
            in = expr_and(l->ir, in, conj[i]);
    }
    if (in)
        cond->u.cond.cond = in;
    else
        set_body(s, cond->u.cond.then);
    if (!out) return s;
    struct stmt *parent = s->parent, *wrap = stmt_if(l->ir, out, s);
    wrap->parent = parent;
    return wrap;
}

static struct stmt *merge_ifs(struct low *l, struct stmt *s)
{
    struct stmt *inner = sole_if(s->u.cond.then);
    int64_t known = 0;
    if (expr_is_int(s->u.cond.cond, &known)) return known ? s->u.cond.then : NULL;
    if (!inner) return s;
    s->u.cond.cond = expr_and(l->ir, s->u.cond.cond, inner->u.cond.cond);
    set_body(s, inner->u.cond.then);
    return s;
}

/* A block of IFs: the conjuncts common to all of them go around the block. */
static struct stmt *factor_block(struct low *l, struct stmt *s)
{
    const struct expr *common[CONJ_MAX], *conj[CONJ_MAX];
    int n = 0;
    if (s->u.block.n < 2) return s;
    for (int i = 0; i < s->u.block.n; i++) {
        struct stmt *c = s->u.block.p[i];
        if (c->kind != ST_IF) return s;
        int m = expr_conjuncts(c->u.cond.cond, i ? conj : common), kept = 0;
        if (i == 0) n = m;
        for (int k = 0; k < n; k++) {
            bool found = i == 0;
            for (int j = 0; j < m && i > 0; j++) found |= conj[j] == common[k];
            if (found && !expr_has_load(common[k])) common[kept++] = common[k];
        }
        n = kept;
    }
    if (n == 0) return s;
    for (int i = 0; i < s->u.block.n; i++) {
        struct stmt *c = s->u.block.p[i];
        const struct expr *rest = NULL;
        int m = expr_conjuncts(c->u.cond.cond, conj);
        for (int j = 0; j < m; j++) {
            bool is_common = false;
            for (int k = 0; k < n; k++) is_common |= conj[j] == common[k];
            if (!is_common) rest = expr_and(l->ir, rest, conj[j]);
        }
        c->u.cond.cond = rest ? rest : expr_bool(l->ir, true);
    }
    struct stmt *parent = s->parent, *wrap = stmt_if(l->ir, expr_all(l->ir, common, n), s);
    wrap->parent = parent;
    return wrap;
}

static struct stmt *tighten_stmt(struct low *l, struct stmt *s, void *ctx)
{
    int64_t lo = 0, hi = 0;
    switch (s->kind) {
    case ST_IF:
        return merge_ifs(l, s);
    case ST_LET:
        return hoist(l, s, s->u.let.var, ctx);
    case ST_ALLOC:
        return hoist(l, s, NULL, ctx);
    case ST_BLOCK:
        return s->parent && s->parent->kind != ST_STAGE ? factor_block(l, s) : s;
    case ST_FOR:
        break;
    default:
        return s;
    }
    struct stmt *by = hoist(l, s, s->u.loop.var, ctx);
    if (!loop_is_const(s, &lo, &hi)) return by;
    if (lo >= hi) return NULL;
    if (hi - lo > 1 || s->u.loop.kind == LOOP_PARALLEL) return by;
    stmt_subst(l->ir, s->u.loop.body, s->u.loop.var, s->u.loop.lo);
    if (by == s) return s->u.loop.body;
    set_body(by, s->u.loop.body);
    return by;
}

/* IFs true by construction after factoring disappear with the next proof. */
enum rc pass_tighten(struct low *l)
{
    struct near near = {0};
    rewrite_both(l, tighten_stmt, &near);
    prove_guards(l);
    return RC_OK;
}
