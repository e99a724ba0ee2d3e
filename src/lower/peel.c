/* Peel: a loop marked so is cut into the part where every guard below holds, and the ends.
 *
 * Requires: loops with plain bounds (before tighten), guards as IFs and guarded loads.
 * Provides: no loop marked `peel`; guards that hold in the main part are gone from it. An end of
 * one iteration has its variable replaced by the value. The part in front (a left border) exists
 * only if a guard needs it. On a target without masks, loops that move a guard on lanes count as
 * marked, and unrolled ones are unrolled here, so that each copy is left with the lanes it has.
 * Loops over blocks of a dynamic extent come later, as a pass of their own (peel_blocks).
 *
 *     for yo in 0..5 peel                     for yo in 0..4
 *       for yi in 0..14                         for yi in 0..14
 *         if yo*14 + yi < 57         -->          y[yo*14 + yi] = ..
 *           y[yo*14 + yi] = ..                for yi.tail0 in 0..14
 *                                               if yi.tail0 + 56 < 57
 *                                                 y[yi.tail0 + 56] = .. */
#include "lower/private.h"

struct cut {
    struct low *l;
    struct stmt *loop;
    const struct expr *lo, *hi; /* of the main part, before clamping */
};

/* Replaces the variables bound between s and the loop by whichever bound makes `e` smallest. */
static const struct expr *worst_case(struct cut *c, const struct expr *e, const struct stmt *s)
{
    for (const struct stmt *p = s; p != c->loop; p = p->parent) {
        if (p->kind == ST_LET && expr_uses_var(e, p->u.let.var)) return NULL;
        if (p->kind != ST_FOR || !expr_uses_var(e, p->u.loop.var)) continue;
        struct linear l;
        bool clean = false;
        if (!linear_of(e, &l)) return NULL;
        int64_t k = linear_take(&l, p->u.loop.var, &clean);
        if (!clean) return NULL;
        const struct expr *at =
            k > 0 ? p->u.loop.lo : expr_sub(c->l->ir, p->u.loop.hi, expr_int(c->l->ir, 1));
        e = expr_subst(c->l->ir, e, p->u.loop.var, at);
    }
    return e;
}

/* lo <= var < hi restricted so that the conjunct holds throughout; keeps what it had if that
 * leaves nothing. */
static void restrict_to(struct cut *c, const struct expr *conj, const struct stmt *s)
{
    struct ir *ir = c->l->ir;
    struct linear l;
    bool clean = false;
    if (!expr_uses_var(conj, c->loop->u.loop.var) || !cond_linear(ir, conj, &l)) return;
    const struct expr *e = worst_case(c, linear_expr(ir, &l), s);
    if (!e || !linear_of(e, &l)) return;
    int64_t k = linear_take(&l, c->loop->u.loop.var, &clean), a = 0, b = 0;
    if (!clean || k == 0) return;
    const struct expr *lo = c->lo, *hi = c->hi, *at = linear_bound(ir, &l, k);
    if (k > 0)
        lo = expr_simplify(ir, NULL, expr_binary(ir, OP_MAX, lo, at));
    else
        hi = expr_simplify(ir, NULL, expr_binary(ir, OP_MIN, hi, at));
    if (expr_is_int(lo, &a) && expr_is_int(hi, &b) && a >= b) return;
    c->lo = lo;
    c->hi = hi;
}

/* What holds anyway, in the main part of a loop around for one, is no reason to cut. */
static void restrict_by(struct cut *c, const struct expr *cond, const struct stmt *s)
{
    const struct expr *conj[CONJ_MAX];
    int n = expr_conjuncts(cond, conj);
    const struct env *env = NULL;
    for (int i = 0; i < n; i++) {
        if (conj[i]->type.lanes > 1 || !expr_uses_var(conj[i], c->loop->u.loop.var)) continue;
        if (!env) env = env_at(c->l->ir, c->l->n, s);
        if (!env_proves(env, conj[i])) restrict_to(c, conj[i], s);
    }
}

struct visit {
    struct cut *c;
    const struct stmt *s;
};

static void visit_node(const struct expr *e, void *ctx)
{
    struct visit *v = ctx;
    if (e->op == OP_LOADC) restrict_by(v->c, e->a[0], v->s);
}

static void visit_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, visit_node, ctx); }

static bool visit_stmt(struct stmt *s, void *ctx)
{
    struct visit v = {ctx, s};
    if (s->kind == ST_IF) restrict_by(ctx, s->u.cond.cond, s);
    stmt_exprs(s, visit_slot, &v);
    return true;
}

/* The loop over [lo, hi), or its body with the variable replaced, or nothing. */
static struct stmt *part(struct low *l, struct stmt *loop, const struct expr *lo,
                         const struct expr *hi)
{
    int64_t a = 0, b = 0, n = 0;
    if (expr_is_int(lo, &a) && expr_is_int(hi, &b) && a >= b) return NULL;
    loop->u.loop.lo = lo;
    loop->u.loop.hi = hi;
    loop->u.loop.tail = TAIL_NONE;
    if (!loop_constant_extent(loop, &n) || n != 1) return loop;
    stmt_subst(l->ir, loop->u.loop.body, loop->u.loop.var, lo);
    return loop->u.loop.body;
}

static struct stmt *cut_loop(struct low *l, struct stmt *loop)
{
    struct ir *ir = l->ir;
    struct cut c = {l, loop, loop->u.loop.lo, loop->u.loop.hi};
    const struct expr *lo = loop->u.loop.lo, *hi = loop->u.loop.hi;
    stmt_walk(loop->u.loop.body, visit_stmt, &c);
    loop->u.loop.tail = TAIL_NONE;
    if (c.lo == lo && c.hi == hi) return loop;
    struct env *env = env_at(ir, l->n, loop);
    const struct expr *b0 = lo, *b1 = hi;
    if (c.lo != lo) b0 = expr_simplify(ir, env, expr_binary(ir, OP_MIN, c.lo, hi));
    if (c.hi != hi)
        b1 = expr_simplify(ir, env, expr_binary(ir, OP_MAX, b0, expr_binary(ir, OP_MIN, c.hi, hi)));
    int64_t known = 0;
    bool fixed = loop->u.loop.kind == LOOP_VECTOR || loop->u.loop.kind == LOOP_UNROLL;
    if (fixed && !(expr_is_int(b0, &known) && expr_is_int(b1, &known))) return loop;
    struct stmt *head = c.lo != lo ? copy_fresh(l, loop, "head") : NULL;
    struct stmt *tail = c.hi != hi ? copy_fresh(l, loop, "tail") : NULL;
    /* With bounds as simple as they are: where one is beyond the other, the loop is empty. */
    const struct expr *last = expr_simplify(ir, env, expr_binary(ir, OP_MIN, c.hi, hi));
    struct stmt *all = stmt_block(ir),
                *main = fixed ? part(l, loop, b0, b1) : part(l, loop, c.lo, last);
    if (head) head = part(l, head, lo, b0);
    if (tail) tail = part(l, tail, b1, hi);
    if (head) block_append(ir, all, head);
    if (main) block_append(ir, all, main);
    if (tail) block_append(ir, all, tail);
    return all;
}

/* Parents first: in an end, the variable is a constant and inner cuts come out exact. */
static void peel_stmt(struct low *l, struct stmt *s)
{
    if (s->kind == ST_BLOCK) {
        for (int i = 0; i < s->u.block.n; i++) {
            struct stmt *loop = s->u.block.p[i];
            if (loop->kind == ST_FOR && loop->u.loop.tail == TAIL_PEEL) {
                struct stmt *mark = stmt_block(l->ir);
                s->u.block.p[i] =
                    mark; /* the loop keeps its parent link: env_at needs the way up */
                struct stmt *by = cut_loop(l, loop);
                mark->parent = s;
                stmt_replace(mark, by);
                i--;
                continue;
            }
            peel_stmt(l, loop);
        }
        return;
    }
    struct stmt **body = stmt_body(s);
    if (!body) return;
    if ((*body)->kind != ST_BLOCK) {
        struct stmt *block = stmt_block(l->ir), *old = *body;
        *body = block;
        block->parent = s;
        block_append(l->ir, block, old);
    }
    peel_stmt(l, *body);
}

/* ---- targets without masks ------------------------------------------------------------------- */

/* A guard on lanes would make its vector loop scalar: the loop around that moves the guard is
 * cut instead. */
static void mark_for(const struct expr *cond, const struct stmt *s)
{
    const struct expr *conj[CONJ_MAX];
    int n = expr_conjuncts(cond, conj);
    for (int i = 0; i < n; i++) {
        bool lanes = false;
        for (const struct stmt *p = s->parent; p; p = p->parent) {
            if (p->kind != ST_FOR || !expr_uses_var(conj[i], p->u.loop.var)) continue;
            if (lanes && !p->u.loop.reduce && p->u.loop.kind != LOOP_UNROLL) {
                ((struct stmt *)p)->u.loop.tail = TAIL_PEEL;
                break;
            }
            lanes |= p->u.loop.kind == LOOP_VECTOR;
        }
    }
}

static bool against_dynamic(const struct low *l, const struct expr *cond)
{
    for (int i = 0; i < l->n->ndyn; i++)
        if (expr_uses_var(cond, l->n->dyn[i])) return true;
    return false;
}

struct marks {
    const struct low *blocks; /* only guards of blocks of a dynamic extent; NULL: all */
    const struct stmt *s;
};

static void mark_guard(const struct marks *m, const struct expr *cond)
{
    if (!m->blocks || against_dynamic(m->blocks, cond)) mark_for(cond, m->s);
}

static void mark_node(const struct expr *e, void *ctx)
{
    if (e->op == OP_LOADC) mark_guard(ctx, e->a[0]);
}

static void mark_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, mark_node, ctx); }

static bool in_a_block(const struct stmt *s)
{
    bool alloc = false;
    for (const struct stmt *p = s; p; p = p->parent) {
        if (alloc && p->kind == ST_FOR) return true;
        alloc |= p->kind == ST_ALLOC && p->u.alloc.tensor->scope != SCOPE_STACK;
    }
    return false;
}

static bool mark_stmt(struct stmt *s, void *ctx)
{
    struct marks m = {ctx, s};
    if (m.blocks && !in_a_block(s)) return true;
    if (s->kind == ST_IF) mark_guard(&m, s->u.cond.cond);
    stmt_exprs(s, mark_slot, &m);
    return true;
}

/* Does one conjunct ask for the variable of the loop and for lanes of a vector inside it? */
struct spread {
    const struct stmt *loop, *at;
    bool found;
};

static void look_guard(const struct expr *cond, struct spread *f)
{
    const struct expr *conj[CONJ_MAX];
    int n = expr_conjuncts(cond, conj);
    for (int i = 0; i < n; i++) {
        if (!expr_uses_var(conj[i], f->loop->u.loop.var)) continue;
        for (const struct stmt *p = f->at; p != f->loop; p = p->parent)
            f->found |= p->kind == ST_FOR && p->u.loop.kind == LOOP_VECTOR &&
                        expr_uses_var(conj[i], p->u.loop.var);
    }
}

static void look_node(const struct expr *e, void *ctx)
{
    if (e->op == OP_LOADC) look_guard(e->a[0], ctx);
}

static void look_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, look_node, ctx); }

static bool look_stmt(struct stmt *s, void *ctx)
{
    struct spread *f = ctx;
    f->at = s;
    if (s->kind == ST_IF) look_guard(s->u.cond.cond, f);
    stmt_exprs(s, look_slot, f);
    return !f->found;
}

static struct stmt *unroll_guarded(struct low *l, struct stmt *s, void *ctx)
{
    int64_t lo = 0, hi = 0;
    struct spread f = {.loop = s};
    (void)ctx;
    if (s->kind != ST_FOR || s->u.loop.kind != LOOP_UNROLL || !loop_is_const(s, &lo, &hi)) return s;
    stmt_walk(s->u.loop.body, look_stmt, &f);
    if (!f.found) return s;
    struct stmt *all = stmt_block(l->ir);
    for (int64_t i = lo; i < hi; i++) {
        struct stmt *one = copy_fresh(l, s, "p");
        block_append(l->ir, all, part(l, one, expr_int(l->ir, i), expr_int(l->ir, i + 1)));
    }
    return all;
}

/* ---- the two passes -------------------------------------------------------------------------- */

/* Stages that share blocks of a dynamic extent stand under guards until contract has made the blocks: a loop
 * cut before would leave stages that cannot be joined. */
enum rc pass_peel_blocks(struct low *l)
{
    if (!l->n->ndyn || !l->t->masks) return RC_OK;
    stmt_walk(l->n->body, mark_stmt, l);
    peel_stmt(l, l->n->body);
    prove_guards(l);
    return RC_OK;
}

enum rc pass_peel(struct low *l)
{
    if (!l->t->masks) {
        stmt_walk(l->n->body, mark_stmt, NULL);
        stmt_walk(l->n->pack, mark_stmt, NULL);
    }
    peel_stmt(l, l->n->body);
    peel_stmt(l, l->n->pack);
    prove_guards(l);
    if (!l->t->masks) {
        rewrite_both(l, unroll_guarded, NULL);
        prove_guards(l);
    }
    return RC_OK;
}
