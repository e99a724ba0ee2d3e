/* Vectorise: a vector loop of n iterations becomes one copy of its body with n lanes.
 *
 * Requires: flat tensors; no UPDATE; vector loops with constant extents, where they have one.
 * Provides: no VECTOR loop. Extents that are no power of two become several (9 = 8 + 1), long ones
 * a loop of full vectors and a rest. Conditions on lanes become masks: a masked store or guarded
 * loads; a store to a register under a mask selects. A reduction over the loop becomes HSUM, HMAX
 * or HMIN. A parallel loop inside another becomes serial. A loop that cannot be lanes becomes
 * serial (unrolled if it touches registers); so does the outer of two nested vector loops.
 *
 *     for j in 0..16 vector
 *       acc[q*16 + j] = acc[q*16 + j] + x[k] * w[k*16 + j]
 *     -->
 *     acc[ramp(q*16, 1, 16)] = acc[ramp(q*16, 1, 16)] + splat(x[k], 16) * w[ramp(k*16, 1, 16)] */
#include "lower/lanes.h"

static struct stmt *lanes_stmt(struct lanes *x, struct stmt *s);

static struct stmt *lanes_block(struct lanes *x, struct stmt *s)
{
    struct stmt *b = stmt_block(x->l->ir);
    for (int i = 0; i < s->u.block.n && !x->why; i++) {
        struct stmt *c = lanes_stmt(x, s->u.block.p[i]);
        if (c) block_append(x->l->ir, b, c);
    }
    return b;
}

static struct stmt *lanes_for(struct lanes *x, struct stmt *s)
{
    x->at = s;
    const struct expr *lo = lanes_expr(x, s->u.loop.lo), *hi = lanes_expr(x, s->u.loop.hi);
    if (lo->type.lanes > 1 || hi->type.lanes > 1 || s->u.loop.kind == LOOP_PARALLEL) {
        lanes_fail(x, "an inner loop's bounds depend on the lane, or it is parallel");
        return NULL;
    }
    struct stmt *to = stmt_for(x->l->ir, s->u.loop.var, lo, hi, lanes_stmt(x, s->u.loop.body));
    to->u.loop.kind = s->u.loop.kind;
    to->u.loop.tail = s->u.loop.tail;
    to->u.loop.reduce = s->u.loop.reduce;
    to->u.loop.ordered = s->u.loop.ordered;
    return to;
}

static struct stmt *lanes_if(struct lanes *x, struct stmt *s)
{
    const struct expr *conj[CONJ_MAX], *uniform = NULL, *mask = NULL, *mine = NULL;
    int n = expr_conjuncts(s->u.cond.cond, conj), side = 0;
    struct ir *ir = x->l->ir;
    x->at = s;
    for (int i = 0; i < n; i++) {
        const struct expr *c = lanes_expr(x, conj[i]);
        if (c->type.lanes == 1) {
            uniform = expr_and(ir, uniform, c);
            continue;
        }
        mask = expr_and(ir, mask, c);
        mine = expr_and(ir, mine, conj[i]);
    }
    const struct expr *outer_mask = x->mask;
    int outer_side = x->mask_side;
    if (mask) {
        if (!x->l->t->masks) lanes_fail(x, "the target has no masked stores");
        const struct expr *any = lanes_any(x, mine, &side);
        if (any) uniform = expr_and(ir, uniform, any);
        x->mask = expr_and(ir, outer_mask, mask);
        x->mask_side = outer_side == 0 || outer_side == side ? side : 2;
        memo_clear(&x->memo);
    }
    struct stmt *body = lanes_stmt(x, s->u.cond.then);
    if (mask) {
        x->mask = outer_mask;
        x->mask_side = outer_side;
        memo_clear(&x->memo);
    }
    return uniform && body ? stmt_if(ir, uniform, body) : body;
}

static struct stmt *lanes_let(struct lanes *x, struct stmt *s)
{
    x->at = s;
    const struct expr *value = lanes_expr(x, s->u.let.value);
    const struct var *v = s->u.let.var;
    if (value->type.lanes > 1) {
        v = var_new(x->l->ir, v->name, value->type);
        struct lane_pair p = {s->u.let.var, v};
        vec_push(&x->var, p);
    }
    return stmt_let(x->l->ir, v, value, lanes_stmt(x, s->u.let.body));
}

static struct stmt *lanes_alloc(struct lanes *x, struct stmt *s)
{
    const struct tensor *t = s->u.alloc.tensor;
    const struct expr *n = expr_mul(x->l->ir, t->extent[0], expr_int(x->l->ir, x->n));
    struct tensor *mine = tensor_new(x->l->ir, t->name, t->type, t->scope, 1, &n);
    struct lane_pair p = {t, mine};
    vec_push(&x->mine, p);
    memo_clear(&x->memo);
    return stmt_alloc(x->l->ir, mine, lanes_stmt(x, s->u.alloc.body));
}

/* value = T[at] (+) rest: the rest, or NULL. */
static const struct expr *self_term(const struct stmt *s)
{
    const struct expr *v = s->u.store.value;
    if (v->op != OP_ADD && v->op != OP_MAX && v->op != OP_MIN) return NULL;
    for (int i = 0; i < 2; i++) {
        const struct expr *old = v->a[i], *rest = v->a[1 - i];
        if (old->op == OP_LOAD && old->u.tensor == s->u.store.tensor &&
            old->a[0] == s->u.store.idx[0] && !expr_uses_tensor(rest, s->u.store.tensor))
            return rest;
    }
    return NULL;
}

static struct stmt *lanes_reduce(struct lanes *x, struct stmt *s, const struct expr *at)
{
    struct ir *ir = x->l->ir;
    const struct expr *rest = self_term(s), *old = expr_load(ir, s->u.store.tensor, &at, 1);
    if (!rest || !x->loop->u.loop.reduce) {
        lanes_fail(x, "all lanes store to one element");
        return NULL;
    }
    if (!lanes_scalar_safe(x, s->u.store.tensor, at))
        lanes_fail(x, "a store where perhaps no lane runs");
    enum op op = (enum op)s->u.store.value->op;
    const struct expr *term = expr_to_lanes(ir, lanes_expr(x, rest), x->n);
    const struct expr *none =
        op == OP_ADD ? expr_const(ir, term->type, 0) : expr_splat(ir, old, x->n);
    if (x->mask) term = expr_select(ir, x->mask, term, none);
    term = expr_unary(ir, op == OP_ADD ? OP_HSUM : op == OP_MAX ? OP_HMAX : OP_HMIN, term);
    return stmt_store(ir, s->u.store.tensor, &at, expr_binary(ir, op, old, term));
}

/* Is it all the same to masked-off lanes of a register whether the sum is taken? (They add 0 *
 * x.) */
static bool adds_nothing(const struct lanes *x, const struct expr *e)
{
    switch ((enum op)e->op) {
    case OP_LOADC:
        return e->a[0] == x->mask && e->a[1]->op == OP_SPLAT && expr_is_zero(e->a[1]->a[0]);
    case OP_MUL:
        return adds_nothing(x, e->a[0]) || adds_nothing(x, e->a[1]);
    case OP_NEG:
    case OP_CAST:
        return adds_nothing(x, e->a[0]);
    default:
        return false;
    }
}

struct first_store {
    const struct tensor *t;
    const struct stmt *found;
};

static bool find_store(struct stmt *s, void *ctx)
{
    struct first_store *f = ctx;
    if (!f->found && s->kind == ST_STORE && s->u.store.tensor == f->t) f->found = s;
    return !f->found;
}

/* Does nothing write these elements before s does? Then lanes that do not run may hold anything. */
static bool writes_first(const struct stmt *s)
{
    struct linear at;
    int64_t n = 0, reach = 1;
    const struct stmt *p = s->parent;
    if (expr_uses_tensor(s->u.store.value, s->u.store.tensor)) return false;
    if (!linear_of(s->u.store.idx[0], &at)) return false;
    for (; p && !(p->kind == ST_ALLOC && p->u.alloc.tensor == s->u.store.tensor); p = p->parent) {
        if (p->kind != ST_FOR)
            continue; /* from the innermost loop out, each turn must move past the last */
        int64_t k = 0;
        for (int i = 0; i < at.n; i++)
            if (at.atom[i]->op == OP_VAR && at.atom[i]->u.var == p->u.loop.var) k = at.coef[i];
        if (k < reach || !loop_constant_extent(p, &n)) return false;
        reach = k * n;
    }
    if (!p) return false;
    struct first_store f = {.t = s->u.store.tensor};
    stmt_walk(p->u.alloc.body, find_store, &f);
    return f.found == s;
}

static const struct expr *keep_masked(struct lanes *x, const struct stmt *s, const struct tensor *t,
                                      const struct expr *at, const struct expr *value)
{
    const struct expr *old = expr_load(x->l->ir, t, &at, 1);
    bool sum = value->op == OP_ADD && (value->a[0] == old || value->a[1] == old);
    if (sum && adds_nothing(x, value->a[value->a[0] == old])) return value;
    return writes_first(s) ? value : expr_select(x->l->ir, x->mask, value, old);
}

/* A lane that reads what another lane writes in the same turn (a shifted tail overlaps) must run
 * after it. */
static bool lanes_meet(struct lanes *x, const struct expr *at)
{
    const struct expr *base = NULL;
    int64_t off[LANES_MAX];
    if (at->op == OP_RAMP) return false;
    if (!lanes_of(x->l->ir, at, &base, off)) return true;
    for (int i = 1; i < x->n; i++)
        for (int j = 0; j < i; j++)
            if (off[i] == off[j]) return true;
    return false;
}

static struct stmt *lanes_store(struct lanes *x, struct stmt *s)
{
    struct ir *ir = x->l->ir;
    struct tensor *t = s->u.store.tensor, *mine = lanes_mine(x, t);
    x->at = s;
    const struct expr *at = lanes_expr(x, s->u.store.idx[0]);
    if (mine) {
        at = expr_mul(ir, at, expr_int_of(ir, at->type, x->n));
        at = expr_binary(ir, OP_ADD, expr_to_lanes(ir, at, x->n),
                         expr_ramp(ir, expr_int(ir, 0), expr_int(ir, 1), x->n));
        t = mine;
    }
    at = lanes_index(x, at);
    if (at->type.lanes == 1) {
        const struct expr *value = lanes_expr(x, s->u.store.value);
        bool once =
            value->type.lanes == 1 && !x->loop->u.loop.reduce && !expr_uses_tensor(value, t);
        if (once && (x->mask_side == 0 || x->mask_side == 1 || x->mask_side == -1))
            return stmt_store(ir, t, &at, value);
        return lanes_reduce(x, s, at);
    }
    if (expr_uses_tensor(s->u.store.value, s->u.store.tensor) && lanes_meet(x, at))
        lanes_fail(x, "lanes may update one element");
    const struct expr *value = expr_to_lanes(ir, lanes_expr(x, s->u.store.value), x->n);
    if (x->mask && t->scope == SCOPE_REG) value = keep_masked(x, s, t, at, value);
    struct stmt *store = stmt_store(ir, t, &at, value);
    return x->mask && t->scope != SCOPE_REG ? stmt_if(ir, x->mask, store) : store;
}

static struct stmt *lanes_stmt(struct lanes *x, struct stmt *s)
{
    if (x->why) return NULL;
    switch (s->kind) {
    case ST_BLOCK:
        return lanes_block(x, s);
    case ST_STAGE:
        return stmt_stage(x->l->ir, s->u.stage.name, lanes_stmt(x, s->u.stage.body));
    case ST_FOR:
        return lanes_for(x, s);
    case ST_IF:
        return lanes_if(x, s);
    case ST_LET:
        return lanes_let(x, s);
    case ST_ALLOC:
        return lanes_alloc(x, s);
    case ST_STORE:
        return lanes_store(x, s);
    default:
        lanes_fail(x, "an update is left");
        return NULL;
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool find_reg(struct stmt *s, void *ctx)
{
    if (s->kind == ST_STORE && s->u.store.tensor->scope == SCOPE_REG) *(bool *)ctx = true;
    return true;
}

/* One vector of the loop's present bounds, or the loop made scalar. The loop keeps its parent
 * link. */
static struct stmt *one_vector(struct low *l, struct stmt *loop, int n)
{
    if (n == 1) {
        stmt_subst(l->ir, loop->u.loop.body, loop->u.loop.var, loop->u.loop.lo);
        return loop->u.loop.body;
    }
    struct lanes x = {.l = l, .loop = loop, .v = loop->u.loop.var, .n = n};
    x.lo = loop->u.loop.lo;
    x.hi = loop->u.loop.hi;
    struct stmt *to = lanes_stmt(&x, loop->u.loop.body);
    memo_fini(&x.memo);
    vec_free(&x.var);
    vec_free(&x.mine);
    if (!x.why) return to;
    bool reg = false;
    stmt_walk(loop->u.loop.body, find_reg, &reg);
    loop->u.loop.kind = reg ? LOOP_UNROLL : LOOP_SERIAL;
    return loop;
}

static int vector_cap(const struct low *l, struct stmt *loop)
{
    struct stmt *s = loop->u.loop.body;
    int bits = 32;
    while (s && s->kind != ST_STORE) s = s->kind == ST_BLOCK ? s->u.block.p[0] : *stmt_body(s);
    if (s) bits = dtype_bits((enum dtype)s->u.store.tensor->type.dtype);
    int n = (int)i64_min(LANES_MAX, i64_max(1, l->t->vector_bits / (bits < 8 ? 8 : bits)));
    while (n & (n - 1)) n &= n - 1;
    return n;
}

/* A copy of the loop over [lo + at, lo + at + n), in the loop's place as far as its parents go. */
static struct stmt *slice(struct low *l, struct stmt *loop, const struct expr *at, int64_t n)
{
    struct stmt *s = copy_fresh(l, loop, "v");
    s->parent = loop->parent;
    s->u.loop.lo = expr_add(l->ir, loop->u.loop.lo, at);
    s->u.loop.hi = expr_add(l->ir, s->u.loop.lo, expr_int(l->ir, n));
    return s;
}

static struct stmt *split_vector(struct low *l, struct stmt *loop, int64_t n)
{
    struct ir *ir = l->ir;
    struct stmt *all = stmt_block(ir);
    int64_t at = 0, cap = n > LANES_MAX ? vector_cap(l, loop) : LANES_MAX;
    if (n > LANES_MAX && cap > 1) {
        const struct var *v =
            var_new(ir,
                    arena_printf(ir->arena, "%s%s", loop->u.loop.var->name, fresh_suffix(l, "o")),
                    type_of(TYPE_S64));
        struct stmt *body = stmt_block(ir), *outer = NULL;
        outer = stmt_for(ir, v, expr_int(ir, 0), expr_int(ir, n / cap), body);
        outer->parent = loop->parent;
        outer->u.loop.reduce = loop->u.loop.reduce;
        struct stmt *full = slice(l, loop, expr_mul(ir, expr_var(ir, v), expr_int(ir, cap)), cap);
        full->parent = body;
        block_append(ir, body, one_vector(l, full, (int)cap));
        block_append(ir, all, outer);
        at = n / cap * cap;
    }
    for (; at < n;) {
        int64_t w = cap;
        while (w > n - at) w /= 2;
        block_append(ir, all, one_vector(l, slice(l, loop, expr_int(ir, at), w), (int)w));
        at += w;
    }
    return all;
}

static struct stmt *vector_stmt(struct low *l, struct stmt *s, void *ctx)
{
    int64_t n = 0;
    (void)ctx;
    if (s->kind != ST_FOR || s->u.loop.kind != LOOP_VECTOR) return s;
    s->u.loop.kind = LOOP_SERIAL; /* what it stays if nothing better comes */
    if (s->u.loop.ordered || !loop_constant_extent(s, &n)) return s;
    if (n <= 0) return NULL;
    if (n <= LANES_MAX && (n & (n - 1)) == 0) return one_vector(l, s, (int)n);
    return split_vector(l, s, n);
}

/* Of nested vector loops only the innermost becomes lanes; of nested parallel ones the outermost
 * is shared. */
static bool mark_outer(struct stmt *s, void *ctx)
{
    int64_t n = 0;
    (void)ctx;
    if (s->kind != ST_FOR) return true;
    for (struct stmt *p = s->parent; p && s->u.loop.kind == LOOP_PARALLEL; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_PARALLEL) s->u.loop.kind = LOOP_SERIAL;
    for (struct stmt *p = s->parent; p && s->u.loop.kind == LOOP_VECTOR; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_VECTOR)
            p->u.loop.kind = loop_constant_extent(p, &n) ? LOOP_UNROLL : LOOP_SERIAL;
    return true;
}

enum rc pass_vectorize(struct low *l)
{
    stmt_walk(l->n->body, mark_outer, NULL);
    stmt_walk(l->n->pack, mark_outer, NULL);
    rewrite_both(l, vector_stmt, NULL);
    return RC_OK;
}
