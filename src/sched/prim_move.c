/* Do it: stages that move. compute_at makes a stage local to a loop of its readers; inline makes it
 * vanish.
 *
 *     compute_at acc y.p reg
 *       stage acc                                 for y.p in 0..7
 *         for acc.p in 0..7                         alloc reg acc: f32[1]
 *           for acc.c .. reduce                       stage acc
 *             acc[acc.p] += x[acc.p, acc.c]   ->        for acc.p in 0..1
 *       stage y                                           for acc.c .. reduce
 *         for y.p in 0..7                                   acc[acc.p] += x[y.p + acc.p, acc.c]
 *           y[y.p] = acc[y.p] + 1                     y[y.p] = acc[0] + 1
 *
 * Invariants: the moved stage's loops keep their names and run from 0 over the box; subscripts of
 * its tensor are relative to the box, in the stage and in its readers; a leaf that may leave the
 * tensor's real extents is guarded (sched_finish drops the guard where nothing needs it). */
#include "sched/private.h"

/* ---- reads rewritten ------------------------------------------------------------------------- */

struct rebase {
    struct tensor *const *t;
    int n;
    const struct region *box;
};

static const struct expr *rebase_load(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct rebase *r = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return NULL;
    for (int i = 0; i < r->n; i++) {
        if (e->u.tensor != r->t[i]) continue;
        const struct expr *idx[REGION_RANK];
        const struct expr *const *old = e->a + expr_load_first(e);
        for (int d = 0; d < r->box->rank; d++)
            idx[d] = expr_tidy(ir, expr_sub(ir, old[d], r->box->lo[d]));
        return e->op == OP_LOAD ? expr_load(ir, r->t[i], idx, r->box->rank)
                                : expr_loadc(ir, r->t[i], e->a[0], e->a[1], idx, r->box->rank);
    }
    return NULL;
}

/* ---- compute_at ------------------------------------------------------------------------------ */

/* The stage's loops shrink to the box; its leaf is guarded where the box may leave the tensor. */
static void shrink_to_box(struct plan *p, const struct expr *const *full)
{
    struct nest *n = p->n;
    struct ir *ir = n->ir;
    const struct expr *at[REGION_RANK];
    for (int d = 0; d < p->box.rank; d++) {
        const struct expr **idx = leaf_idx(p->leaf);
        const struct var *old = idx[d]->u.var,
                         *v = var_new(ir, old->name,
                                      old->type); /* a substitute must not hold what it replaces */
        struct stmt *loop = loop_of_var(p->leaf, old);
        at[d] = expr_add(ir, p->box.lo[d], expr_var(ir, v));
        loop->u.loop.var = v;
        loop->u.loop.hi = p->box.extent[d];
        stmt_subst(ir, p->stage, old, at[d]);
        idx[d] = expr_var(ir, v);
    }
    for (int d = 0; d < p->box.rank; d++) {
        const struct expr *conds[2] = {expr_ge0(ir, at[d]), expr_lt(ir, at[d], full[d])};
        for (int i = 0; i < 2; i++)
            if (!env_proves(env_without(n, p->leaf, NULL), conds[i]))
                guard_stmt(n, p->leaf, conds[i]);
    }
}

void body_prepend(struct nest *n, struct stmt *loop, struct stmt *stage, struct tensor *const *t,
                  int nt)
{
    struct stmt *body = loop->u.loop.body;
    if (body->kind != ST_BLOCK) {
        struct stmt *block = stmt_block(n->ir);
        stmt_replace(body, block);
        block_append(n->ir, block, body);
        body = block;
    }
    block_insert(n->ir, body, 0, stage);
    for (int i = nt - 1; i >= 0; i--) stmt_wrap(loop->u.loop.body, stmt_alloc(n->ir, t[i], NULL));
}

/* requires: an untouched top-level stage, all of whose readers lie below LOOP and read a box of
 * constant size. before and after: the head of this file. */
void apply_COMPUTE_AT(struct plan *p)
{
    struct nest *n = p->n;
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    const struct expr *full[REGION_RANK];
    int nt = leaf_targets(p->leaf, target);
    for (int d = 0; d < p->box.rank; d++) full[d] = target[0]->extent[d];

    struct rebase r = {target, nt, &p->box};
    stmt_map_exprs(n->ir, p->at->u.loop.body, rebase_load, &r);
    for (int i = 0; i < nt; i++) {
        const struct expr **extent = ARENA_ARRAY(n->ir->arena, const struct expr *, p->box.rank);
        for (int d = 0; d < p->box.rank; d++) extent[d] = p->box.extent[d];
        nest_drop_tensor(n, target[i]);
        target[i]->scope = p->scope;
        target[i]->extent = extent;
        target[i]->nlayout = 0;
        target[i]->layout = NULL;
    }
    stmt_remove(n->ir, p->stage);
    body_prepend(n, p->at, p->stage, target, nt);
    shrink_to_box(p, full);
}

/* ---- inline ---------------------------------------------------------------------------------- */

struct inliner {
    const struct tensor *t;
    int rank;
    const struct var *v[REGION_RANK];
    const struct expr *value;
};

/* Under a condition the memory the value reads may be touched only where the condition holds. */
static const struct expr *condition_load(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct expr *cond = ctx;
    if (e->op == OP_LOAD)
        return expr_loadc(ir, e->u.tensor, cond, expr_const(ir, e->type, 0), e->a, e->n);
    if (e->op == OP_LOADC)
        return expr_loadc(ir, e->u.tensor, expr_and(ir, cond, e->a[0]), e->a[1], e->a + 2,
                          e->n - 2);
    return NULL;
}

static const struct expr *inline_load(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct inliner *in = ctx;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != in->t) return NULL;
    const struct expr *value = in->value;
    for (int d = 0; d < in->rank; d++)
        value = expr_subst(ir, value, in->v[d], e->a[expr_load_first(e) + d]);
    if (e->op == OP_LOAD) return value;
    return expr_select(ir, e->a[0], expr_map(ir, value, condition_load, (void *)e->a[0]), e->a[1]);
}

/* requires: an untouched elementwise stage that defines a temporary.
 * before: t[i] = f(x[i]);  y[j] = t[j+1] * 2
 * after:  y[j] = f(x[j+1]) * 2
 * A read `t[..] if c else d` becomes select(c, f(x[..] if c else 0), d). */
void apply_INLINE(struct plan *p)
{
    struct nest *n = p->n;
    struct inliner in = {p->tensor, p->tensor->rank, {NULL}, p->leaf->u.store.value};
    for (int d = 0; d < in.rank; d++) in.v[d] = p->leaf->u.store.idx[d]->u.var;
    stmt_remove(n->ir, p->stage);
    nest_drop_tensor(n, p->tensor);
    stmt_map_exprs(n->ir, n->body, inline_load, &in);
}
