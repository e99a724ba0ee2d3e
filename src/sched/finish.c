/* finish: what only the whole schedule shows. Guards that protect nothing go, `pad` splits are held
 * to their promise, register tiles and the stack are checked, and index arithmetic is simplified.
 *
 *     alloc reg acc: f32[14, 32]
 *       ..  if y.ko*32 + acc.k < 92
 *             acc[acc.q, acc.k] += x.cache[..] * w.pack[y.ko, .., acc.k]
 *
 *     the guard goes: acc and w.pack are padded, x.cache is read inside, and whoever reads
 *     acc[.., k] beyond 92 guards itself
 *
 * A guard may go if its leaf writes only a local tensor, no reduce loop of its own stage is in it
 * (else garbage would be added in), it bounds a subscript of what is added to, no loop with a peel
 * tail is in it (lower trims those), nothing below can trap, and every access stays inside its
 * tensor without it.
 *
 * Invariants: what is dropped changes only elements that no guarded reader asks for. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "sched/private.h"

struct finish {
    struct nest *n;
    struct rejection *r;
    struct stmt *stmt; /* being rewritten or checked */
    struct env *env, *start;
    int shared; /* expressions of the statement still to come that its start shares */
};

static enum rc reject(struct finish *f, enum reject code, const char *fmt, ...) QN_PRINTF(3, 4);
static enum rc reject(struct finish *f, enum reject code, const char *fmt, ...)
{
    va_list ap;
    f->r->code = code;
    f->r->step = -1;
    va_start(ap, fmt);
    vsnprintf(f->r->detail, sizeof f->r->detail, fmt, ap);
    va_end(ap);
    return RC_INPUT;
}

static struct stmt **all_leaves(struct nest *n, int *count)
{
    *count = stmt_leaves(n->body, NULL, 0);
    struct stmt **leaf = ARENA_ARRAY(n->ir->arena, struct stmt *, *count);
    stmt_leaves(n->body, leaf, *count);
    return leaf;
}

/* ---- simplification -------------------------------------------------------------------------- */

static void simplify_slot(const struct expr **slot, void *ctx)
{
    struct finish *f = ctx;
    bool start = f->shared-- > 0;
    if ((*slot)->op == OP_INT || (*slot)->op == OP_REAL) return;
    if (start && !f->start) f->start = env_uniform(f->n, f->stmt, true);
    if (!start && !f->env) f->env = env_uniform(f->n, f->stmt, false);
    *slot = expr_simplify(f->n->ir, start ? f->start : f->env, *slot);
}

static bool simplify_stmt(struct stmt *s, void *ctx)
{
    struct finish *f = ctx;
    f->stmt = s;
    f->env = f->start = NULL;
    f->shared = 0;
    if (s->kind == ST_UPDATE) f->shared = s->u.update.tensor[0]->rank; /* subscripts come first */
    if (s->kind == ST_IF && !uses_own_reduce(s, s->u.cond.cond)) f->shared = 1;
    stmt_exprs(s, simplify_slot, f);
    return true;
}

static void unwrap(struct stmt *guard)
{
    struct stmt *body = guard->u.cond.then;
    stmt_replace(guard, body);
}

static void simplify_all(struct finish *f)
{
    int n;
    stmt_walk(f->n->body, simplify_stmt, f);
    stmt_walk(f->n->pack, simplify_stmt, f);
    struct stmt **leaf = all_leaves(f->n, &n);
    for (int i = 0; i < n; i++) {
        struct stmt *s = leaf[i]->parent;
        while (s->kind == ST_IF || s->kind == ST_BLOCK) {
            struct stmt *up = s->parent;
            int64_t always;
            if (!up || (s->kind == ST_BLOCK && s->u.block.n > 1)) break;
            if (s->kind == ST_IF && expr_is_int(s->u.cond.cond, &always) && always) unwrap(s);
            s = up;
        }
    }
}

struct ones {
    struct stmt *loop[64];
    int n;
};

static bool find_one(struct stmt *s, void *ctx)
{
    struct ones *o = ctx;
    int64_t extent;
    if (s->kind == ST_FOR && loop_extent(s, &extent) && extent == 1 &&
        o->n < (int)QN_COUNT(o->loop))
        o->loop[o->n++] = s;
    return true;
}

/* A loop of one iteration is its body: subscripts of register tiles become constant. */
static void drop_ones(struct nest *n, struct stmt *root)
{
    struct ones o;
    do {
        o.n = 0;
        stmt_walk(root, find_one, &o);
        for (int i = 0; i < o.n; i++) {
            struct stmt *body = o.loop[i]->u.loop.body;
            stmt_subst(n->ir, body, o.loop[i]->u.loop.var, o.loop[i]->u.loop.lo);
            stmt_replace(o.loop[i], body);
        }
    } while (o.n > 0);
}

/* ---- guards ---------------------------------------------------------------------------------- */

static bool leaf_is_local(const struct nest *n, const struct stmt *leaf)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int nt = leaf_targets(leaf, target);
    for (int i = 0; i < nt; i++)
        if (!alloc_of(n, target[i])) return false;
    return true;
}

static bool leaf_may_trap(const struct stmt *leaf)
{
    if (leaf->kind == ST_STORE) return expr_may_trap(leaf->u.store.value);
    bool trap = false;
    for (int i = 0; i < leaf->u.update.n; i++) {
        trap |= expr_may_trap(leaf->u.update.value[i]);
        trap |= leaf->u.update.op == RED_USER && expr_may_trap(leaf->u.update.combine[i]);
    }
    return trap;
}

static bool cond_has_tail(struct stmt *leaf, const struct expr *cond, enum tail tail)
{
    for (struct stmt *s = leaf->parent; s; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.tail == tail && expr_uses_var(cond, s->u.loop.var))
            return true;
    return false;
}

/* `below < bound` in one dimension of the target, shifted by what is fixed outside its allocation?
 * Then what the guard keeps out writes elements of its own. */
static bool bounds_target(const struct expr *cond, struct stmt *leaf, const struct stmt *alloc,
                          const struct expr *subscript)
{
    struct linear d, bound, m;
    if (cond->op != OP_LT && cond->op != OP_LE) return false;
    if (!linear_of(cond->a[0], &d) || !linear_of(cond->a[1], &bound) || !linear_of(subscript, &m))
        return false;
    struct linear *parts[] = {&bound, &m};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < parts[k]->n; i++) {
            int at = 0;
            while (at < d.n && d.atom[at] != parts[k]->atom[i]) at++;
            if (at == LINEAR_TERMS) return false;
            if (at == d.n) {
                d.atom[d.n] = parts[k]->atom[i];
                d.coef[d.n++] = 0;
            }
            d.coef[at] -= parts[k]->coef[i];
        }
    for (int i = 0; i < d.n; i++) {
        if (d.coef[i] == 0) continue;
        struct stmt *loop = d.atom[i]->op == OP_VAR ? loop_of_var(leaf, d.atom[i]->u.var) : NULL;
        if (!loop || stmt_is_ancestor(alloc, loop)) return false;
    }
    return true;
}

/* Without this guard the leaf might add to an element of the tile twice: split by 7, then the 7 by
 * 8, iteration 7 of one is iteration 0 of the next. */
static bool adds_twice(struct finish *f, struct stmt *leaf, const struct expr *cond)
{
    if (leaf->kind != ST_UPDATE) return false;
    enum reduce op = leaf->u.update.op;
    if (op != RED_SUM && op != RED_PROD && op != RED_USER) return false;
    if (cond->op == OP_AND)
        return adds_twice(f, leaf, cond->a[0]) || adds_twice(f, leaf, cond->a[1]);
    const struct tensor *t = leaf->u.update.tensor[0];
    const struct stmt *alloc = alloc_of(f->n, t);
    for (int i = 0; i < t->rank && alloc; i++)
        if (bounds_target(cond, leaf, alloc, leaf->u.update.idx[i])) return false;
    return true;
}

static enum rc drop_leaf_guards(struct finish *f, struct stmt *leaf)
{
    if (!leaf_is_local(f->n, leaf) || leaf_may_trap(leaf)) return RC_OK;
    for (struct stmt *s = leaf->parent, *up; s && (s->kind == ST_IF || s->kind == ST_BLOCK);
         s = up) {
        up = s->parent;
        if (s->kind == ST_BLOCK && s->u.block.n > 1) break;
        if (s->kind != ST_IF) continue;
        const struct expr *cond = s->u.cond.cond;
        bool reduce = uses_own_reduce(leaf, cond);
        if (env_proves(reduce ? env_without(f->n, leaf, s) : env_start(f->n, leaf, s), cond)) {
            unwrap(s);
            continue;
        }
        if (reduce || cond_has_tail(leaf, cond, TAIL_PEEL) || adds_twice(f, leaf, cond)) continue;
        if (leaf_safe_without(f->n, leaf, s)) {
            unwrap(s);
        } else if (cond_has_tail(leaf, cond, TAIL_PAD)) {
            struct tensor *target[UPDATE_TARGETS] = {NULL};
            leaf_targets(leaf, target);
            return reject(f, REJECT_PAD_UNSAFE, "the leaf that writes '%s'", target[0]->name);
        }
    }
    return RC_OK;
}

/* ---- register tiles and the stack ------------------------------------------------------------ */

struct tile {
    struct finish *f;
    const struct tensor *t;
    struct stmt *leaf;
    int lanes; /* 0 = no access seen yet */
    enum rc rc;
};

/* One access: constant, unrolled and at most one vector variable; whole vectors, the same
 * everywhere. */
static void check_access(struct tile *t, const struct expr *const *idx)
{
    struct ir *ir = t->f->n->ir;
    const struct expr *flat = expr_int(ir, 0);
    int64_t v;
    for (int d = 0; d < t->t->rank; d++) {
        QN_CHECK(expr_is_int(t->t->extent[d], &v), "extent of %s", t->t->name);
        flat = expr_add(ir, expr_mul(ir, flat, expr_int(ir, v)), idx[d]);
    }
    struct linear l;
    if (!linear_of(flat, &l)) {
        t->rc = reject(t->f, REJECT_REG_LOOPS, "'%s'", t->t->name);
        return;
    }
    int64_t lanes = 1, shared = l.c;
    for (int i = 0; i < l.n; i++) {
        struct stmt *loop = l.atom[i]->op == OP_VAR ? loop_of_var(t->leaf, l.atom[i]->u.var) : NULL;
        enum loop_kind kind = loop ? loop->u.loop.kind : LOOP_SERIAL;
        if (kind != LOOP_UNROLL && kind != LOOP_VECTOR) {
            t->rc = reject(t->f, REJECT_REG_LOOPS, "'%s' follows '%s'", t->t->name,
                           loop ? loop->u.loop.var->name : "a computed subscript");
            return;
        }
        if (kind == LOOP_VECTOR && l.coef[i] == 1 && lanes == 1 && loop_extent(loop, &lanes))
            continue;
        if (kind == LOOP_VECTOR) lanes = -1;
        shared = shared | l.coef[i];
    }
    bool whole = lanes > 0 && (shared & (lanes - 1)) == 0 && (t->lanes == 0 || t->lanes == lanes);
    if (!whole) t->rc = reject(t->f, REJECT_REG_SHAPE, "'%s'", t->t->name);
    t->lanes = (int)lanes;
}

static void check_tile_load(const struct expr *e, void *ctx)
{
    struct tile *t = ctx;
    if (t->rc == RC_OK && (e->op == OP_LOAD || e->op == OP_LOADC) && e->u.tensor == t->t)
        check_access(t, e->a + expr_load_first(e));
}

static void check_tile_slot(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, check_tile_load, ctx);
}

static enum rc check_tile(struct finish *f, struct stmt *alloc)
{
    struct tile t = {f, alloc->u.alloc.tensor, NULL, 0, RC_OK};
    int n = stmt_leaves(alloc, NULL, 0);
    struct stmt **leaf = ARENA_ARRAY(f->n->ir->arena, struct stmt *, n);
    stmt_leaves(alloc, leaf, n);
    for (int i = 0; i < n && t.rc == RC_OK; i++) {
        t.leaf = leaf[i];
        if (leaf_writes(leaf[i], t.t)) check_access(&t, leaf_idx(leaf[i]));
        if (t.rc == RC_OK) stmt_exprs(leaf[i], check_tile_slot, &t);
    }
    if (t.rc != RC_OK) return t.rc;
    int64_t elements = tensor_const_elements(t.t), lanes = t.lanes ? t.lanes : 1;
    if (elements % lanes != 0)
        return reject(f, REJECT_REG_SHAPE, "'%s' has %" PRId64 " elements in vectors of %" PRId64,
                      t.t->name, elements, lanes);
    if (elements / lanes > REG_MAX)
        return reject(f, REJECT_REG_COUNT, "'%s' would take %" PRId64 " registers", t.t->name,
                      elements / lanes);
    return RC_OK;
}

struct locals {
    struct finish *f;
    int64_t stack;
    enum rc rc;
};

static bool check_alloc(struct stmt *s, void *ctx)
{
    struct locals *l = ctx;
    if (s->kind != ST_ALLOC || l->rc != RC_OK) return l->rc == RC_OK;
    const struct tensor *t = s->u.alloc.tensor;
    if (t->scope == SCOPE_REG) l->rc = check_tile(l->f, s);
    if (t->scope != SCOPE_STACK) return l->rc == RC_OK;
    int64_t elements = tensor_const_elements(t);
    l->stack +=
        elements < STACK_MAX ? elements * dtype_bytes((enum dtype)t->type.dtype) : STACK_MAX + 1;
    if (l->stack > STACK_MAX) l->rc = reject(l->f, REJECT_STACK_BYTES, "with '%s'", t->name);
    return l->rc == RC_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

enum rc sched_finish(struct nest *n, struct rejection *r)
{
    struct finish f = {.n = n, .r = r};
    int count;
    *r = (struct rejection){.step = -1};
    struct stmt **leaf = all_leaves(n, &count);
    for (int i = 0; i < count;
         i++) /* before anything is simplified: a guard's facts may hide what it protects */
        if (drop_leaf_guards(&f, leaf[i]) != RC_OK) return RC_INPUT;
    drop_ones(n, n->body);
    drop_ones(n, n->pack);
    simplify_all(&f);
    struct locals l = {&f, 0, RC_OK};
    stmt_walk(n->body, check_alloc, &l);
    if (l.rc == RC_OK) stmt_walk(n->pack, check_alloc, &l);
    return l.rc;
}
