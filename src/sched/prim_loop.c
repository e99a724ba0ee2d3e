/* Do it: the edits of loops. Legality has filled the plan (legal_loop.c); nothing here can fail.
 *
 *     split y.k 32 guard y.ko y.ki
 *       for y.k in 0..92                 for y.ko in 0..3
 *         y[y.k] = f(y.k)          ->      for y.ki in 0..32
 *                                            if y.ko*32 + y.ki < 92
 *                                              y[y.ko*32 + y.ki] = f(y.ko*32 + y.ki)
 *
 * Invariants: guards stand directly around leaves, so that bands of loops stay perfect; a loop's
 * kind, tail, reduce and ordered flags go where SCHED.txt says. */
#include <stdio.h>
#include <string.h>

#include "sched/private.h"

static const struct expr *loop_var(struct nest *n, const struct stmt *loop)
{
    return expr_var(n->ir, loop->u.loop.var);
}

static const struct var *new_var(struct nest *n, const char *name)
{
    return var_new(n->ir, arena_strdup(n->ir->arena, name), type_of(TYPE_S64));
}

/* ---- split ----------------------------------------------------------------------------------- */

/* The mark an already marked loop hands to its inner half; the new policy's own mark comes on
 * top. */
static void split_tails(struct stmt *outer, struct stmt *inner, enum tail old, enum policy policy,
                        bool guarded)
{
    outer->u.loop.tail = TAIL_NONE;
    inner->u.loop.tail = old;
    if (!guarded) return;
    switch (policy) {
    case POLICY_GUARD:
        outer->u.loop.tail = TAIL_GUARD;
        break;
    case POLICY_PEEL:
        outer->u.loop.tail = TAIL_PEEL;
        break;
    case POLICY_PAD:
        outer->u.loop.tail = TAIL_PAD;
        break;
    case POLICY_MASK:
        inner->u.loop.tail = TAIL_MASK;
        break;
    default:
        break;
    }
}

/* requires: a serial loop lo..hi of N iterations.
 * before: for v in lo..hi: S(v)
 * after:  for o in 0..ceil(N/F): for i in 0..F: if o*F+i < N: S(lo + o*F + i)
 *         no `if` where F divides N;  shift: S(lo + min(o*F, N-F) + i) and no `if` */
void apply_SPLIT(struct plan *p)
{
    struct nest *n = p->n;
    struct ir *ir = n->ir;
    struct stmt *outer = p->loop[0];
    const struct var *old = outer->u.loop.var, *vo = new_var(n, p->name[0]),
                     *vi = new_var(n, p->name[1]);
    const struct expr *factor = expr_int(ir, p->factor), *lo = outer->u.loop.lo;
    const struct expr *extent = expr_sub(ir, outer->u.loop.hi, lo),
                      *first = expr_mul(ir, expr_var(ir, vo), factor);
    int64_t count = 0;
    bool divides = loop_extent(outer, &count) && count % p->factor == 0;
    if (p->policy == POLICY_SHIFT && !divides)
        first = expr_binary(ir, OP_MIN, first, expr_sub(ir, extent, factor));
    const struct expr *at = expr_add(ir, first, expr_var(ir, vi));

    struct stmt *inner = stmt_for(ir, vi, expr_int(ir, 0), factor, NULL);
    inner->u.loop.reduce = outer->u.loop.reduce;
    inner->u.loop.ordered = outer->u.loop.ordered;
    stmt_wrap(outer->u.loop.body, inner);
    enum tail old_tail = outer->u.loop.tail;
    outer->u.loop.var = vo;
    outer->u.loop.lo = expr_int(ir, 0);
    outer->u.loop.hi =
        expr_binary(ir, OP_DIV, expr_add(ir, extent, expr_int(ir, p->factor - 1)), factor);
    stmt_subst(ir, inner->u.loop.body, old, expr_add(ir, lo, at));

    bool guarded = !divides && p->policy != POLICY_SHIFT;
    split_tails(outer, inner, old_tail, p->policy, guarded);
    if (!guarded) return;
    int nleaf = stmt_leaves(inner, NULL, 0);
    struct stmt **leaf = ARENA_ARRAY(ir->arena, struct stmt *, nleaf);
    stmt_leaves(inner, leaf, nleaf);
    for (int i = 0; i < nleaf; i++) guard_stmt(n, leaf[i], expr_lt(ir, at, extent));
}

/* ---- fuse and reorder ------------------------------------------------------------------------ */

/* requires: b is the whole body of a, both serial from 0, both pure or both reduce, b's extent B
 * constant.
 * before: for a in 0..A: for b in 0..B: S(a, b)
 * after:  for f in 0..A*B: S(f / B, f % B) */
void apply_FUSE(struct plan *p)
{
    struct nest *n = p->n;
    struct ir *ir = n->ir;
    struct stmt *a = p->loop[0], *b = p->loop[1];
    const struct var *f = new_var(n, p->name[0]);
    const struct expr *by = b->u.loop.hi, *fused = expr_var(ir, f);
    struct stmt *body = b->u.loop.body;
    stmt_subst(ir, body, a->u.loop.var, expr_binary(ir, OP_DIV, fused, by));
    stmt_subst(ir, body, b->u.loop.var, expr_binary(ir, OP_MOD, fused, by));
    bool pad = a->u.loop.tail == TAIL_PAD || b->u.loop.tail == TAIL_PAD;
    a->u.loop.var = f;
    a->u.loop.hi = expr_mul(ir, a->u.loop.hi, by);
    a->u.loop.tail = pad ? TAIL_PAD : TAIL_NONE;
    a->u.loop.body = body;
    body->parent = a;
}

/* requires: all in one perfect band; none crosses an ordered loop; bounds independent; no overlap
 * below a reduce loop.
 * before: for a: for b: for c: S     reorder c a
 * after:  for c: for b: for a: S     (they permute within the positions they occupy) */
void apply_REORDER(struct plan *p)
{
    struct stmt *slot[STEP_ARGS];
    for (int i = 0; i < p->nloop; i++) { /* by depth: insertion sort, outermost first */
        int at = i;
        for (; at > 0 && stmt_is_ancestor(p->loop[i], slot[at - 1]); at--) slot[at] = slot[at - 1];
        slot[at] = p->loop[i];
    }
    struct stmt was[STEP_ARGS];
    for (int i = 0; i < p->nloop; i++) was[i] = *p->loop[i];
    for (int i = 0; i < p->nloop; i++) {
        struct stmt *body = slot[i]->u.loop.body;
        slot[i]->u.loop = was[i].u.loop;
        slot[i]->u.loop.body = body;
    }
}

/* ---- marks ----------------------------------------------------------------------------------- */

/* before: for v in 0..16: S    after: for v in 0..16 vector: S
 * (lower makes S work on 16 lanes) */
void apply_VECTORIZE(struct plan *p) { p->loop[0]->u.loop.kind = LOOP_VECTOR; }
/* before: for v in 0..4: S     after: for v in 0..4 unroll: S
 * (lower writes S out four times) */
void apply_UNROLL(struct plan *p) { p->loop[0]->u.loop.kind = LOOP_UNROLL; }
/* before: for v in 0..N: S     after: for v in 0..N parallel: S
 * (lower hands iterations to par->run) */
void apply_PARALLEL(struct plan *p) { p->loop[0]->u.loop.kind = LOOP_PARALLEL; }

/* ---- rfactor --------------------------------------------------------------------------------- */

/* `y.sum.m` of stage y.sum becomes `NAME.m`; another name becomes `NAME.<all of it>`. */
bool rfactor_name(const struct stmt *stage, const char *name, const struct stmt *loop, char *out,
                  size_t size)
{
    const char *old = loop->u.loop.var->name, *prefix = stage->u.stage.name;
    size_t n = strlen(prefix);
    if (strncmp(old, prefix, n) == 0 && old[n] == '.') old += n + 1;
    int len = snprintf(out, size, "%s.%s", name, old);
    return len >= 0 && (size_t)len < size;
}

/* The pure loop of columns, NULL for rfactor and accumulate: in the stage of partial results it and
 * the reduce loop p->loop[0] are one loop u. */
static const struct stmt *columns_of(const struct plan *p) { return p->loop[1]; }

/* Is dimension d of the result the one whose columns are reduced first? */
static bool column_dim(const struct plan *p, int d)
{
    const struct stmt *g = columns_of(p);
    return g && expr_uses_var(p->leaf->u.update.idx[d], g->u.loop.var);
}

/* groups times the elements of each */
static const struct expr *columns_before(const struct plan *p, const struct expr *groups)
{
    return expr_mul(p->n->ir, groups, p->loop[0]->u.loop.hi);
}

/* Subscripts in full: g*E + c of the loop u is u. */
static void tidy_slot(const struct expr **slot, void *ctx) { *slot = expr_tidy(ctx, *slot); }

/* The stage of partial results: every loop renamed, the factored one (if any) pure or, of columns,
 * gone into the pure one; every guard kept. */
static struct stmt *partial_stage(struct plan *p, struct tensor *partial)
{
    struct ir *ir = p->n->ir;
    struct stmt *chain[96], *stage = stmt_stage(ir, p->name[0], NULL), *at = stage;
    int n = 0, rank = p->leaf->u.update.tensor[0]->rank;
    for (struct stmt *s = p->leaf->parent; s != p->stage && n < (int)QN_COUNT(chain); s = s->parent)
        if ((s->kind == ST_FOR && !(columns_of(p) && s == p->loop[0])) || s->kind == ST_IF)
            chain[n++] = s;
    const struct expr *idx[REGION_RANK], *last = NULL, *column = NULL;
    struct stmt *leaf = stmt_update(ir, p->leaf->u.update.op, p->leaf->u.update.tensor[0],
                                    p->leaf->u.update.idx, p->leaf->u.update.value[0]);
    for (int i = n - 1; i >= 0; i--) {
        struct stmt *s = chain[i], *copy;
        if (s->kind == ST_IF) {
            copy = stmt_if(ir, s->u.cond.cond, NULL);
        } else {
            char name[NAME_MAX_LEN + 1];
            QN_CHECK(rfactor_name(p->stage, p->name[0], s, name, sizeof name), "name of %s",
                     s->u.loop.var->name);
            copy = stmt_for(ir, new_var(p->n, name), s->u.loop.lo, s->u.loop.hi, NULL);
            copy->u.loop.reduce = s->u.loop.reduce && s != p->loop[0];
            copy->u.loop.tail = s->u.loop.tail;
            copy->u.loop.ordered = s->u.loop.ordered;
            if (s == p->loop[0]) last = loop_var(p->n, copy);
            if (s == columns_of(p)) copy->u.loop.hi = columns_before(p, s->u.loop.hi);
        }
        *stmt_body(at) = copy;
        copy->parent = at;
        at = copy;
    }
    *stmt_body(at) = leaf;
    leaf->parent = at;
    struct stmt *now = stage;
    for (int i = n - 1; i >= 0; i--) { /* rename inside: bounds, guards, subscripts, value */
        now = *stmt_body(now);
        if (now->kind != ST_FOR) continue;
        const struct expr *v = loop_var(p->n, now);
        if (chain[i] == columns_of(p)) {
            const struct expr *each = p->loop[0]->u.loop.hi;
            column = v;
            stmt_subst(ir, stage, p->loop[0]->u.loop.var, expr_binary(ir, OP_MOD, v, each));
            v = expr_binary(ir, OP_DIV, v, each);
        }
        stmt_subst(ir, stage, chain[i]->u.loop.var, v);
    }
    for (int d = 0; d < rank; d++) idx[d] = column_dim(p, d) ? column : leaf->u.update.idx[d];
    if (last) idx[rank] = last;
    struct stmt *by = stmt_update(ir, leaf->u.update.op, partial, idx, leaf->u.update.value[0]);
    stmt_replace(leaf, by);
    if (column) stmt_exprs(by, tidy_slot, ir);
    return stage;
}

/* The old stage keeps its pure loops and the factored one (if any); guards over the other reduce
 * loops go. */
static void shrink_stage(struct plan *p, struct tensor *partial)
{
    struct ir *ir = p->n->ir;
    struct tensor *t = p->leaf->u.update.tensor[0];
    const struct expr *idx[REGION_RANK];
    for (int d = 0; d < t->rank; d++) {
        idx[d] = p->leaf->u.update.idx[d];
        if (column_dim(p, d))
            idx[d] = expr_add(ir, columns_before(p, idx[d]), loop_var(p->n, p->loop[0]));
    }
    if (p->loop[0] && !columns_of(p)) idx[t->rank] = loop_var(p->n, p->loop[0]);
    const struct expr *load = expr_load(ir, partial, idx, partial->rank);
    struct stmt *s = p->leaf->parent;
    if (p->loop[0])
        p->leaf->u.update.value[0] = load;
    else
        stmt_replace(p->leaf, stmt_store(ir, t, idx, load));
    while (s != p->stage) {
        struct stmt *up = s->parent;
        bool gone = s->kind == ST_FOR && s->u.loop.reduce && s != p->loop[0];
        if (s->kind == ST_IF)
            for (struct stmt *l = s->parent; l != p->stage; l = l->parent)
                if (l->kind == ST_FOR && l->u.loop.reduce && l != p->loop[0] &&
                    expr_uses_var(s->u.cond.cond, l->u.loop.var))
                    gone = true;
        if (gone) {
            struct stmt *body = *stmt_body(s);
            stmt_replace(s, body);
        }
        s = up;
    }
}

/* Tensor and stage `name` before p->stage, which then reads them. */
static void insert_partial(struct plan *p, int rank, const struct expr *const *extent)
{
    struct tensor *partial = tensor_new(p->n->ir, p->name[0], p->leaf->u.update.tensor[0]->type,
                                        SCOPE_TEMP, rank, extent);
    nest_add_tensor(p->n, partial);
    struct stmt *stage = partial_stage(p, partial), *body = p->n->body;
    shrink_stage(p, partial);
    int at = 0;
    while (body->u.block.p[at] != p->stage) at++;
    block_insert(p->n->ir, body, at, stage);
}

/* requires: v and r reduce loops of constant extent in a top-level stage of sum, prod, max, min or
 * any.
 * before: for i: for v in 0..V: for r: y[i] += f(i, v, r)
 * after:  stage NAME: for i: for v in 0..V: for r: NAME[i, v] += f(i, v, r)
 *         stage y:    for i: for v in 0..V: y[i] += NAME[i, v] */
void apply_RFACTOR(struct plan *p)
{
    struct tensor *t = p->leaf->u.update.tensor[0];
    const struct expr *extent[REGION_RANK];
    for (int d = 0; d < t->rank; d++) extent[d] = t->extent[d];
    extent[t->rank] = p->loop[0]->u.loop.hi;
    insert_partial(p, t->rank + 1, extent);
}

/* requires: an untouched top-level reduction with one result, with another reduce loop than c.
 * before: for g in 0..G: for r: for c in 0..E: y[g] += f(g, r, c)
 * after:  stage NAME: for u in 0..G*E: for r: NAME[u] += f(u / E, r, u % E)
 *         stage y:    for g: for c: y[g] += NAME[g*E + c]
 * where f reads x[.., g*E + c], which is now x[.., u]: vectors of whole width, however small E. */
void apply_COLUMNS(struct plan *p)
{
    struct tensor *t = p->leaf->u.update.tensor[0];
    const struct expr *extent[REGION_RANK];
    for (int d = 0; d < t->rank; d++)
        extent[d] = column_dim(p, d) ? columns_before(p, t->extent[d]) : t->extent[d];
    insert_partial(p, t->rank, extent);
}

/* requires: an untouched top-level reduction with one result.
 * before: for i: for r: y[i] += f(i, r)
 * after:  stage NAME: for i: for r: NAME[i] += f(i, r);   stage y: for i: y[i] = NAME[i]
 * so that NAME can be computed in registers inside a tile of y. */
void apply_ACCUMULATE(struct plan *p)
{
    struct tensor *t = p->leaf->u.update.tensor[0];
    insert_partial(p, t->rank, t->extent);
}
