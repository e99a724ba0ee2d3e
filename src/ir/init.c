/* Reductions: identities, combining, and making the implicit start of an UPDATE explicit.
 *
 *   for m in 0..7                      for m in 0..7
 *     for k in 0..3 reduce               for n.init in 0..5
 *       for n in 0..5          ->          y[m, n.init] = 0.0
 *         y[m, n] += a[..]               for k in 0..3 reduce
 *                                          for n in 0..5
 *                                            y[m, n] += a[..] started
 *
 * Invariants: after nest_place_inits each UPDATE is `started` and a second call changes nothing; an
 * init covers every element its updates touch; guards that mention a reduce variable are
 * dropped. */
#include <math.h>

#include "ir/private.h"

static const struct expr *least(struct ir *ir, struct type t)
{
    if (dtype_is_float(t.dtype)) return expr_real(ir, t, -INFINITY);
    return expr_int_of(ir, t, dtype_int_min((enum dtype)t.dtype));
}

static const struct expr *greatest(struct ir *ir, struct type t)
{
    if (dtype_is_float(t.dtype)) return expr_real(ir, t, INFINITY);
    return expr_int_of(ir, t, t.dtype == TYPE_U64 ? -1 : dtype_int_max((enum dtype)t.dtype));
}

const struct expr *reduce_identity_of(struct ir *ir, enum reduce op, int i, struct type t)
{
    switch (op) {
    case RED_SUM:
    case RED_ANY:
        return expr_const(ir, t, 0);
    case RED_PROD:
        return expr_const(ir, t, 1);
    case RED_MAX:
        return least(ir, t);
    case RED_MIN:
        return greatest(ir, t);
    case RED_ARGMAX:
        return i == 0 ? least(ir, t) : greatest(ir, t);
    case RED_ARGMIN:
        return greatest(ir, t);
    case RED_USER:
        break;
    }
    QN_UNREACHABLE("reduction %d", op);
}

const struct expr *reduce_identity(struct ir *ir, const struct stmt *update, int i)
{
    if (update->u.update.op == RED_USER) return update->u.update.identity[i];
    return reduce_identity_of(ir, update->u.update.op, i, update->u.update.tensor[i]->type);
}

static const struct expr *combine_arg(struct ir *ir, enum reduce op, int i,
                                      const struct expr *const *old,
                                      const struct expr *const *value)
{
    bool max = op == RED_ARGMAX;
    const struct expr *better =
        expr_binary(ir, OP_LT, max ? old[0] : value[0], max ? value[0] : old[0]);
    const struct expr *tie = expr_and(ir, expr_binary(ir, OP_EQ, value[0], old[0]),
                                      expr_binary(ir, OP_LT, value[1], old[1]));
    return expr_select(ir, expr_binary(ir, OP_OR, better, tie), value[i], old[i]);
}

const struct expr *reduce_combine(struct ir *ir, const struct stmt *update, int i,
                                  const struct expr *const *old, const struct expr *const *value)
{
    const struct expr *e = NULL;
    switch (update->u.update.op) {
    case RED_SUM:
        return expr_binary(ir, OP_ADD, old[i], value[i]);
    case RED_PROD:
        return expr_binary(ir, OP_MUL, old[i], value[i]);
    case RED_MAX:
        return expr_binary(ir, OP_MAX, old[i], value[i]);
    case RED_MIN:
        return expr_binary(ir, OP_MIN, old[i], value[i]);
    case RED_ANY:
        return expr_binary(ir, OP_OR, old[i], value[i]);
    case RED_ARGMAX:
    case RED_ARGMIN:
        return combine_arg(ir, update->u.update.op, i, old, value);
    case RED_USER:
        e = update->u.update.combine[i];
        for (int j = 0; j < update->u.update.n; j++) {
            e = expr_subst(ir, e, update->u.update.lhs[j], old[j]);
            e = expr_subst(ir, e, update->u.update.rhs[j], value[j]);
        }
        return e;
    }
    QN_UNREACHABLE("reduction %d", update->u.update.op);
}

/* ---- placing the starts ---------------------------------------------------------------------- */

enum { PATH_MAX_DEPTH = 128 };

/* The statements between the place of the init and the update, outermost first. */
struct path {
    struct stmt *s[PATH_MAX_DEPTH];
    int n;
    struct stmt *place; /* init goes just before it */
};

static bool allocates_target(const struct stmt *s, const struct stmt *update)
{
    for (int i = 0; i < update->u.update.n; i++)
        if (s->u.alloc.tensor == update->u.update.tensor[i]) return true;
    return false;
}

static void path_of(struct path *path, struct stmt *update)
{
    struct stmt *chain[PATH_MAX_DEPTH];
    int n = 0, keep = 0;
    path->place = update;
    path->n = 0;
    for (struct stmt *s = update->parent; s; s = s->parent) {
        if (s->kind == ST_ALLOC && allocates_target(s, update)) break;
        QN_CHECK(n < PATH_MAX_DEPTH, "a nest deeper than %d", PATH_MAX_DEPTH);
        chain[n++] = s;
        if (s->kind == ST_FOR && s->u.loop.reduce) {
            path->place = s;
            keep = n;
        }
    }
    while (keep > 0) path->s[path->n++] = chain[--keep];
}

struct rename {
    const struct var *from[PATH_MAX_DEPTH], *to[PATH_MAX_DEPTH];
    int n;
    const struct var *dead[PATH_MAX_DEPTH]; /* reduce variables and lets that depend on them */
    int ndead;
};

static bool mentions_dead(const struct rename *r, const struct expr *e)
{
    for (int i = 0; i < r->ndead; i++)
        if (expr_uses_var(e, r->dead[i])) return true;
    return false;
}

static const struct expr *renamed(struct ir *ir, const struct rename *r, const struct expr *e)
{
    for (int i = 0; i < r->n; i++) e = expr_subst(ir, e, r->from[i], expr_var(ir, r->to[i]));
    return e;
}

static const struct var *rename_var(struct ir *ir, struct rename *r, const struct var *v)
{
    const struct var *to = var_new(ir, arena_printf(ir->arena, "%s.init", v->name), v->type);
    r->from[r->n] = v;
    r->to[r->n++] = to;
    return to;
}

/* The conjuncts of a guard that mention no reduce variable; NULL if none is left. */
static const struct expr *live_guard(struct ir *ir, const struct rename *r, const struct expr *cond)
{
    if (!mentions_dead(r, cond)) return renamed(ir, r, cond);
    if (cond->op != OP_AND) return NULL;
    return expr_and(ir, live_guard(ir, r, cond->a[0]), live_guard(ir, r, cond->a[1]));
}

/* The copy of one statement of the path around `body`; body itself where nothing is needed. */
static struct stmt *wrap(struct ir *ir, struct rename *r, const struct stmt *s, struct stmt ***hole)
{
    struct stmt *to = NULL;
    const struct expr *cond = NULL, *lo = NULL, *hi = NULL;
    if (s->kind == ST_FOR && s->u.loop.reduce) r->dead[r->ndead++] = s->u.loop.var;
    if (s->kind == ST_LET && mentions_dead(r, s->u.let.value))
        r->dead[r->ndead++] = s->u.let.var;
    else if (s->kind == ST_LET) {
        lo = renamed(ir, r, s->u.let.value);
        to = stmt_let(ir, rename_var(ir, r, s->u.let.var), lo, NULL);
    }
    if (s->kind == ST_FOR && !s->u.loop.reduce) {
        QN_CHECK(!mentions_dead(r, s->u.loop.lo) && !mentions_dead(r, s->u.loop.hi),
                 "bounds of %s depend on a reduction around it", s->u.loop.var->name);
        lo = renamed(ir, r, s->u.loop.lo);
        hi = renamed(ir, r, s->u.loop.hi);
        to = stmt_for(ir, rename_var(ir, r, s->u.loop.var), lo, hi, NULL);
        to->u.loop.kind = s->u.loop.kind;
        to->u.loop.tail = s->u.loop.tail;
        to->u.loop.ordered = s->u.loop.ordered;
    }
    if (s->kind == ST_IF && (cond = live_guard(ir, r, s->u.cond.cond)))
        to = stmt_if(ir, cond, NULL);
    if (!to) return NULL;
    **hole = to;
    *hole = stmt_body(to);
    return to;
}

static struct stmt *stores_of(struct ir *ir, const struct rename *r, const struct stmt *update)
{
    struct stmt *block = stmt_block(ir);
    const struct expr *idx[REGION_RANK];
    for (int i = 0; i < update->u.update.tensor[0]->rank; i++)
        idx[i] = renamed(ir, r, update->u.update.idx[i]);
    for (int i = 0; i < update->u.update.n; i++)
        block_append(ir, block,
                     stmt_store(ir, update->u.update.tensor[i], idx,
                                reduce_identity(ir, update, i)));
    return update->u.update.n == 1 ? block->u.block.p[0] : block;
}

static void place(struct ir *ir, struct stmt *update)
{
    struct path path;
    struct rename r = {.n = 0, .ndead = 0};
    struct stmt *init = NULL, **hole = &init, *parent = NULL;
    path_of(&path, update);
    for (int i = 0; i < path.n; i++) {
        struct stmt *to = wrap(ir, &r, path.s[i], &hole);
        if (to) to->parent = parent;
        if (to) parent = to;
    }
    *hole = stores_of(ir, &r, update);
    (*hole)->parent = parent;
    struct stmt *at = path.place, *around = at->parent;
    if (around->kind == ST_BLOCK) {
        block_insert(ir, around, (int)(stmt_child_slot(around, at) - around->u.block.p), init);
    } else {
        struct stmt *block = stmt_block(ir);
        stmt_replace(at, block);
        block_append(ir, block, init);
        block_append(ir, block, at);
    }
    update->u.update.started = true;
}

struct updates {
    struct stmt **p;
    int n, cap;
};

static bool collect(struct stmt *s, void *ctx)
{
    struct updates *u = ctx;
    if (s->kind != ST_UPDATE || s->u.update.started) return true;
    if (u->n == u->cap) {
        int cap = u->cap ? 2 * u->cap : 16;
        u->p = mem_grow(u->p, (size_t)u->cap * sizeof *u->p, (size_t)cap * sizeof *u->p);
        u->cap = cap;
    }
    u->p[u->n++] = s;
    return true;
}

void nest_place_inits(struct nest *n)
{
    struct updates u = {0};
    stmt_walk(n->body, collect, &u);
    stmt_walk(n->pack, collect, &u);
    for (int i = 0; i < u.n; i++) place(n->ir, u.p[i]);
    mem_free(u.p);
}
