/* Do it: copies with a layout of their own. cache copies the box read below a loop each time that
 * loop comes round; pack copies a constant once, in the pack phase, with dimensions for the loops
 * outside.
 *
 *     cache x y.p scratch                     for y.p in 0..56
 *       for y.p in 0..56                        alloc temp x.cache: f32[3, 58]
 *         .. (x[y.p+r-1, q+s-1] if     ->         stage x.cache
 *              inside(x) else 0.0) ..               for x.cache.0 in 0..3
 *                                                     for x.cache.1 in 0..58
 *                                                       x.cache[x.cache.0, x.cache.1] =
 *                                                          (x[y.p + x.cache.0 - 1, ..] if ..
 *                                                           else 0.0)
 *                                                .. x.cache[r, q+s] ..
 *
 * Invariants: the copy holds every element of the box; what lies outside the tensor holds the
 * reads' default (0 if they have none); a read keeps its condition unless being inside the tensor
 * implies it. */
#include "sched/private.h"

/* ---- the copy stage -------------------------------------------------------------------------- */

/* `dst[lead.., order(v)] = src[lo + v]`, with loops lead.. then dimensions in order; lo is over
 * `lead` variables. */
static struct stmt *copy_stage(struct plan *p, struct tensor *dst, const struct expr *const *lo,
                               struct stmt *const *lead_loop)
{
    struct ir *ir = p->n->ir;
    int rank = p->box.rank, lead = p->nlead;
    struct stmt *stage = stmt_stage(ir, p->name[0], NULL), *at = stage;
    const struct expr *to[REGION_RANK], *from[REGION_RANK], *cond = NULL;
    for (int i = 0; i < lead + rank; i++) {
        struct stmt *loop;
        if (i < lead) {
            loop = lead_loop[i];
        } else {
            int d = p->order[i - lead];
            const struct var *v =
                var_new(ir, arena_printf(ir->arena, "%s.%d", p->name[0], d), type_of(TYPE_S64));
            loop = stmt_for(ir, v, expr_int(ir, 0), p->box.extent[d], NULL);
            from[d] = expr_tidy(ir, expr_add(ir, lo[d], expr_var(ir, v)));
        }
        to[i] = expr_var(ir, loop->u.loop.var);
        *stmt_body(at) = loop;
        loop->parent = at;
        at = loop;
    }
    for (int d = 0; d < rank; d++) {
        cond = expr_and(ir, cond, expr_ge0(ir, from[d]));
        cond = expr_and(ir, cond, expr_lt(ir, from[d], p->tensor->extent[d]));
    }
    struct stmt *leaf =
        stmt_store(ir, dst, to, expr_loadc(ir, p->tensor, cond, p->fill, from, rank));
    *stmt_body(at) = leaf;
    leaf->parent = at;
    return stage;
}

/* Once in its place: only the conditions that are not always true stay. */
static void relax_copy(struct plan *p, struct stmt *stage)
{
    struct ir *ir = p->n->ir;
    struct stmt *leaf = stage_leaf(stage);
    const struct expr *value = leaf->u.store.value, *cond = NULL;
    struct env *env = env_without(p->n, leaf, NULL);
    for (int d = 0; d < p->box.rank; d++) {
        const struct expr *conds[2] = {expr_ge0(ir, value->a[2 + d]),
                                       expr_lt(ir, value->a[2 + d], p->tensor->extent[d])};
        for (int i = 0; i < 2; i++)
            if (!env_proves(env, conds[i])) cond = expr_and(ir, cond, conds[i]);
    }
    leaf->u.store.value = cond ? expr_loadc(ir, p->tensor, cond, p->fill, value->a + 2, p->box.rank)
                               : expr_load(ir, p->tensor, value->a + 2, p->box.rank);
}

/* ---- the reads ------------------------------------------------------------------------------- */

struct redirect {
    struct plan *p;
    struct tensor *dst;
    struct stmt *stmt; /* whose expression is being rewritten */
};

static bool proves_all(const struct env *env, const struct expr *cond)
{
    if (cond->op == OP_AND) return proves_all(env, cond->a[0]) && proves_all(env, cond->a[1]);
    return env_proves(env, cond);
}

/* Does being inside the tensor imply the read's condition? Then the copy's fill stands for the
 * default. */
static bool inside_implies(const struct redirect *r, const struct expr *load)
{
    struct ir *ir = r->p->n->ir;
    struct env *env = env_without(r->p->n, r->stmt, NULL);
    for (int d = 0; d < r->p->box.rank; d++) {
        env_fact(env, expr_ge0(ir, load->a[2 + d]));
        env_fact(env, expr_lt(ir, load->a[2 + d], r->p->tensor->extent[d]));
    }
    return proves_all(env, load->a[0]);
}

static const struct expr *redirect_load(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct redirect *r = ctx;
    const struct plan *p = r->p;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != p->tensor) return NULL;
    const struct expr *idx[REGION_RANK];
    const struct expr *const *old = e->a + expr_load_first(e);
    int rank = p->box.rank;
    for (int i = 0; i < p->nlead; i++) idx[i] = expr_var(ir, p->lead[i]->u.loop.var);
    for (int j = 0; j < rank; j++) {
        int d = p->order[j];
        idx[p->nlead + j] = expr_tidy(ir, expr_sub(ir, old[d], p->box.lo[d]));
    }
    bool plain = e->op == OP_LOAD || (e->a[1] == p->fill && inside_implies(r, e));
    return plain ? expr_load(ir, r->dst, idx, p->nlead + rank)
                 : expr_loadc(ir, r->dst, e->a[0], e->a[1], idx, p->nlead + rank);
}

static void redirect_slot(const struct expr **slot, void *ctx)
{
    struct redirect *r = ctx;
    if (expr_uses_tensor(*slot, r->p->tensor))
        *slot = expr_map(r->p->n->ir, *slot, redirect_load, r);
}

static bool redirect_stmt(struct stmt *s, void *ctx)
{
    struct redirect *r = ctx;
    r->stmt = s;
    stmt_exprs(s, redirect_slot, r);
    return true;
}

/* ---- cache and pack -------------------------------------------------------------------------- */

static struct tensor *copy_tensor(struct plan *p, enum scope scope)
{
    struct ir *ir = p->n->ir;
    const struct expr *extent[REGION_RANK];
    for (int i = 0; i < p->nlead; i++) extent[i] = p->lead[i]->u.loop.hi;
    for (int j = 0; j < p->box.rank; j++) extent[p->nlead + j] = p->box.extent[p->order[j]];
    return tensor_new(ir, p->name[0], p->tensor->type, scope, p->nlead + p->box.rank, extent);
}

/* requires: below the place the tensor is read over a box of constant size, and not written.
 * before and after: the head of this file. At the root (`.`) the copy stands before the first
 * reader. */
void apply_CACHE(struct plan *p)
{
    struct nest *n = p->n;
    p->nlead = 0;
    struct tensor *dst = copy_tensor(p, p->scope);
    struct redirect r = {p, dst, NULL};
    struct stmt *stage = copy_stage(p, dst, p->box.lo, NULL);
    stmt_walk(p->at ? p->at->u.loop.body : n->body, redirect_stmt, &r);
    if (p->at) {
        body_prepend(n, p->at, stage, &dst, 1);
    } else {
        int at = 0;
        while (n->body->u.block.p[at] != p->front) at++;
        block_insert(n->ir, n->body, at, stage);
        nest_add_tensor(n, dst);
    }
    relax_copy(p, stage);
}

static void pack_stage(struct plan *p)
{
    struct nest *n = p->n;
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int nt = leaf_targets(p->leaf, target);
    stmt_remove(n->ir, p->stage);
    block_append(n->ir, n->pack, p->stage);
    for (int i = 0; i < nt; i++) {
        nest_drop_tensor(n, target[i]);
        target[i]->scope = SCOPE_PACKED;
        nest_add_tensor(n, target[i]);
    }
}

/* requires: a constant (or packed) tensor read over a box of constant size below the place.
 * before: for ko in 0..3: for c: for ki in 0..32: .. w[c, ko*32 + ki] ..        pack w ko
 * after:  pack phase: w.pack[ko, c, ki] = w[c, ko*32 + ki] (0 beyond w);  .. w.pack[ko, c, ki] ..
 * With a stage instead: the stage itself moves to the pack phase and its tensor becomes packed. */
void apply_PACK(struct plan *p)
{
    struct nest *n = p->n;
    struct ir *ir = n->ir;
    if (p->leaf) {
        pack_stage(p);
        return;
    }
    struct tensor *dst = copy_tensor(p, SCOPE_PACKED);
    struct stmt *lead[REGION_RANK];
    const struct expr *lo[REGION_RANK];
    for (int d = 0; d < p->box.rank; d++) lo[d] = p->box.lo[d];
    for (int i = 0; i < p->nlead; i++) {
        const struct var *old = p->lead[i]->u.loop.var;
        const struct var *v =
            var_new(ir, arena_printf(ir->arena, "%s.%s", p->name[0], old->name), type_of(TYPE_S64));
        lead[i] = stmt_for(ir, v, expr_int(ir, 0), p->lead[i]->u.loop.hi, NULL);
        for (int d = 0; d < p->box.rank; d++) lo[d] = expr_subst(ir, lo[d], old, expr_var(ir, v));
    }
    struct stmt *stage = copy_stage(p, dst, lo, lead);
    struct redirect r = {p, dst, NULL};
    stmt_walk(p->at ? p->at->u.loop.body : n->body, redirect_stmt, &r);
    block_append(ir, n->pack, stage);
    nest_add_tensor(n, dst);
    relax_copy(p, stage);
}
