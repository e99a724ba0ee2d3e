/* Tree helpers of the passes: a rewriting walk, facts about loops, and proving guards away.
 *
 *   rewrite(l, block, fn, ctx)   fn sees each statement after its children and returns
 *                                what replaces it
 *
 * Invariants: parent links are right above the statement fn sees, so env_at works there; a body
 * emptied by fn takes its loop, IF, let or alloc with it, up to the root block. */
#include <string.h>

#include "lower/private.h"

bool stmt_is_empty(const struct stmt *s)
{
    return !s || (s->kind == ST_BLOCK && s->u.block.n == 0);
}

struct stmt *stmt_only(struct stmt *body)
{
    if (body->kind != ST_BLOCK) return body;
    return body->u.block.n == 1 ? body->u.block.p[0] : NULL;
}

struct stmt *stmt_mask(struct stmt *s)
{
    struct stmt *p = s->parent;
    while (p && p->kind == ST_BLOCK) p = p->parent;
    return p && p->kind == ST_IF && p->u.cond.cond->type.lanes > 1 ? p : NULL;
}

/* ---- rewriting ------------------------------------------------------------------------------- */

static struct stmt *rewrite_stmt(struct low *l, struct stmt *s, rewrite_fn *fn, void *ctx);

static void rewrite_block(struct low *l, struct stmt *s, rewrite_fn *fn, void *ctx)
{
    int n = s->u.block.n, kept = 0;
    bool spliced = false;
    struct stmt **to = ARENA_ARRAY(l->ir->arena, struct stmt *, n);
    for (int i = 0; i < n; i++) {
        struct stmt *by = rewrite_stmt(l, s->u.block.p[i], fn, ctx);
        if (stmt_is_empty(by)) continue;
        spliced |= by->kind == ST_BLOCK;
        to[kept++] = by;
    }
    s->u.block.n = 0;
    if (!spliced) {
        for (int i = 0; i < kept; i++) {
            s->u.block.p[i] = to[i];
            to[i]->parent = s;
        }
        s->u.block.n = kept;
        return;
    }
    for (int i = 0; i < kept; i++) block_append(l->ir, s, to[i]);
}

static struct stmt *rewrite_stmt(struct low *l, struct stmt *s, rewrite_fn *fn, void *ctx)
{
    struct stmt **body = stmt_body(s);
    if (s->kind == ST_BLOCK) {
        rewrite_block(l, s, fn, ctx);
        if (s->u.block.n == 0) return NULL;
    } else if (body) {
        struct stmt *by = rewrite_stmt(l, *body, fn, ctx);
        if (stmt_is_empty(by)) return NULL;
        *body = by;
        by->parent = s;
    }
    struct stmt *parent = s->parent, *by = fn(l, s, ctx);
    if (by) by->parent = parent; /* so that the parent's siblings still see a whole tree */
    return by;
}

void rewrite(struct low *l, struct stmt *root, rewrite_fn *fn, void *ctx)
{
    QN_CHECK(root->kind == ST_BLOCK, "a root is a block");
    rewrite_block(l, root, fn, ctx);
}

void rewrite_both(struct low *l, rewrite_fn *fn, void *ctx)
{
    rewrite(l, l->n->body, fn, ctx);
    rewrite(l, l->n->pack, fn, ctx);
}

void map_both(struct low *l, expr_map_fn *fn, void *ctx)
{
    stmt_map_exprs(l->ir, l->n->body, fn, ctx);
    stmt_map_exprs(l->ir, l->n->pack, fn, ctx);
}

/* ---- loops ----------------------------------------------------------------------------------- */

bool loop_is_const(const struct stmt *loop, int64_t *lo, int64_t *hi)
{
    return expr_is_int(loop->u.loop.lo, lo) && expr_is_int(loop->u.loop.hi, hi);
}

bool loop_constant_extent(const struct stmt *loop, int64_t *n)
{
    struct linear a, b;
    if (!linear_of(loop->u.loop.hi, &a) || !linear_of(loop->u.loop.lo, &b) || a.n != b.n)
        return false;
    for (int i = 0; i < a.n; i++)
        if (linear_coef(&b, a.atom[i]) != a.coef[i]) return false;
    *n = a.c - b.c;
    return true;
}

void changes_note(struct changes *c, const struct stmt *s)
{
    if (s->kind == ST_LET) vec_push(&c->var, s->u.let.var);
    if (s->kind == ST_STORE) vec_push(&c->tensor, s->u.store.tensor);
}

bool changes_tensor(const struct changes *c, const struct tensor *t)
{
    for (size_t i = 0; i < c->tensor.n; i++)
        if (c->tensor.p[i] == t) return true;
    return false;
}

bool changes_var(const struct changes *c, const struct expr *e)
{
    for (size_t i = 0; i < c->var.n; i++)
        if (expr_uses_var(e, c->var.p[i])) return true;
    return false;
}

void changes_fini(struct changes *c)
{
    vec_free(&c->var);
    vec_free(&c->tensor);
}

const char *fresh_suffix(struct low *l, const char *kind)
{
    return arena_printf(l->ir->arena, ".%s%d", kind, l->copies++);
}

struct stmt *copy_fresh(struct low *l, const struct stmt *s, const char *kind)
{
    return stmt_clone(l->ir, s, fresh_suffix(l, kind));
}

/* ---- proving --------------------------------------------------------------------------------- */

struct env *env_near(struct low *l, struct near *near, const struct stmt *s)
{
    const struct stmt *parent = s->parent;
    while (parent && parent->kind == ST_BLOCK && parent->parent) parent = parent->parent;
    if (!near->env || near->parent != parent) {
        near->env = env_at(l->ir, l->n, s);
        near->parent = parent;
    }
    return near->env;
}

/* The conjuncts of cond that env does not prove; NULL: one is surely false. */
static const struct expr *unproved(struct ir *ir, const struct env *env, const struct expr *cond)
{
    const struct expr *conj[CONJ_MAX];
    int n = expr_conjuncts(cond, conj), kept = 0;
    for (int i = 0; i < n; i++) {
        if (conj[i]->type.lanes == 1) {
            if (env_proves(env, conj[i])) continue;
            if (env_proves(env, expr_unary(ir, OP_NOT, conj[i]))) return NULL;
        }
        conj[kept++] = conj[i];
    }
    return kept == n ? cond : expr_all(ir, conj, kept);
}

struct prove {
    struct low *l;
    struct near near;
    struct env *env;
};

/* Loads under a guard and choices by what is known of the loops. */
static bool is_guarded(const struct expr *e)
{
    if (e->op != OP_LOADC && e->op != OP_SELECT) return false;
    const struct expr *c = e->a[0];
    if (e->op == OP_LOADC) return true;
    bool whole = c->op == OP_AND || (c->n == 2 && c->a[0]->type.dtype == TYPE_S64);
    return whole && c->type.lanes == 1;
}

static const struct expr *prove_load(struct ir *ir, const struct expr *e, void *ctx)
{
    struct prove *p = ctx;
    if (!is_guarded(e)) return NULL;
    const struct expr *cond = unproved(ir, p->env, e->a[0]);
    if (e->op == OP_SELECT) {
        if (!cond) return e->a[2];
        return cond == e->a[0] ? NULL : expr_select(ir, cond, e->a[1], e->a[2]);
    }
    if (!cond) return e->a[1];
    return cond == e->a[0] ? NULL : expr_loadc(ir, e->u.tensor, cond, e->a[1], e->a + 2, e->n - 2);
}

static void note_guard(const struct expr *e, void *ctx)
{
    if (is_guarded(e)) *(bool *)ctx = true;
}

static void prove_slot(const struct expr **slot, void *ctx)
{
    bool guarded = false;
    expr_walk(*slot, note_guard, &guarded);
    struct prove *p = ctx;
    if (guarded) *slot = expr_map(p->l->ir, *slot, prove_load, p);
}

static void note_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, note_guard, ctx); }

/* Parents first: what an outer IF says helps the inner ones. Returns false if s can never run. */
static bool prove_stmt(struct prove *p, struct stmt *s)
{
    if (s->kind == ST_IF) {
        const struct expr *cond = unproved(p->l->ir, env_near(p->l, &p->near, s), s->u.cond.cond);
        if (!cond) return false;
        s->u.cond.cond = cond;
    }
    bool guarded = false;
    stmt_exprs(s, note_slot, &guarded);
    if (guarded) {
        p->env = env_near(p->l, &p->near, s);
        stmt_exprs(s, prove_slot, p);
    }
    struct stmt **body = stmt_body(s);
    if (body && !prove_stmt(p, *body)) return false;
    if (s->kind != ST_BLOCK) return true;
    int kept = 0;
    for (int i = 0; i < s->u.block.n; i++)
        if (prove_stmt(p, s->u.block.p[i])) s->u.block.p[kept++] = s->u.block.p[i];
    s->u.block.n = kept;
    return kept > 0;
}

static struct stmt *drop_true_if(struct low *l, struct stmt *s, void *ctx)
{
    int64_t known = 0;
    (void)l, (void)ctx;
    if (s->kind != ST_IF || !expr_is_int(s->u.cond.cond, &known)) return s;
    return known ? s->u.cond.then : NULL;
}

void prove_guards(struct low *l)
{
    struct prove p = {.l = l};
    prove_stmt(&p, l->n->body);
    prove_stmt(&p, l->n->pack);
    rewrite_both(l, drop_true_if, NULL);
    l->dead_code_gone = true;
}

bool under_vector_loop(const struct stmt *s, const struct expr *e)
{
    for (const struct stmt *p = s->parent; p; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_VECTOR && expr_uses_var(e, p->u.loop.var))
            return true;
    return false;
}

const struct expr *cond_somewhere(struct low *l, const struct stmt *loop, const struct stmt *s,
                                  const struct expr *conj)
{
    struct linear x;
    bool clean = false;
    if (!cond_linear(l->ir, conj, &x)) return NULL;
    for (const struct stmt *p = s->parent; p != loop; p = p->parent) {
        if (p->kind != ST_FOR) continue;
        const struct expr *e = linear_expr(l->ir, &x);
        if (!expr_uses_var(e, p->u.loop.var)) continue;
        int64_t k = linear_take(&x, p->u.loop.var, &clean);
        if (!clean) return NULL;
        const struct expr *last = expr_sub(l->ir, p->u.loop.hi, expr_int(l->ir, 1));
        e = expr_subst(l->ir, e, p->u.loop.var, k > 0 ? last : p->u.loop.lo);
        if (!linear_of(e, &x)) return NULL;
    }
    const struct expr *e = linear_expr(l->ir, &x);
    return under_vector_loop(loop, e) ? NULL : expr_binary(l->ir, OP_LE, expr_int(l->ir, 0), e);
}
