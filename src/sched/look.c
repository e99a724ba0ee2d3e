/* look: questions about a nest that legality and edits share. Nothing here edits a statement,
 * except guard_stmt, the one way a guard comes into being.
 *
 *     for y.ko in 0..3                loop_of_var(leaf, ki) -> the second loop
 *       for y.ki in 0..32             leaf_in_bounds(ir, env_without(n, leaf, guard), leaf)
 *         if y.ko*32 + y.ki < 92        -> may the guard go?
 *           y[y.ko*32 + y.ki] = ...
 *
 * Invariants: answers are conservative; "surely" means proved by ir's env. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sched/private.h"

bool refuse(struct plan *p, enum reject code, const char *fmt, ...)
{
    va_list ap;
    p->r->code = code;
    va_start(ap, fmt);
    vsnprintf(p->r->detail, sizeof p->r->detail, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- statements ------------------------------------------------------------------------------ */

bool stmt_is_leaf(const struct stmt *s) { return s->kind == ST_STORE || s->kind == ST_UPDATE; }

struct leaves {
    struct stmt **out;
    int n, max;
};

static bool find_leaf(struct stmt *s, void *ctx)
{
    struct leaves *l = ctx;
    if (!stmt_is_leaf(s)) return true;
    if (l->n < l->max) l->out[l->n] = s;
    l->n++;
    return false;
}

int stmt_leaves(struct stmt *s, struct stmt **out, int max)
{
    struct leaves l = {out, 0, max};
    stmt_walk(s, find_leaf, &l);
    return l.n;
}

struct stmt *stmt_sole(struct stmt *s)
{
    while (s->kind == ST_BLOCK && s->u.block.n == 1) s = s->u.block.p[0];
    return s;
}

struct stmt *stage_leaf(struct stmt *stage)
{
    struct stmt *s = stmt_sole(stage->u.stage.body);
    while (s->kind == ST_FOR || s->kind == ST_IF) s = stmt_sole(*stmt_body(s));
    return stmt_is_leaf(s) ? s : NULL;
}

int leaf_targets(const struct stmt *leaf, struct tensor **out)
{
    if (leaf->kind == ST_STORE) {
        out[0] = leaf->u.store.tensor;
        return 1;
    }
    for (int i = 0; i < leaf->u.update.n; i++) out[i] = leaf->u.update.tensor[i];
    return leaf->u.update.n;
}

const struct expr **leaf_idx(const struct stmt *leaf)
{
    return leaf->kind == ST_STORE ? leaf->u.store.idx : leaf->u.update.idx;
}

bool leaf_writes(const struct stmt *leaf, const struct tensor *t)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int n = leaf_targets(leaf, target);
    for (int i = 0; i < n; i++)
        if (target[i] == t) return true;
    return false;
}

struct stmt *loop_of_var(struct stmt *s, const struct var *v)
{
    for (; s; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.var == v) return s;
    return NULL;
}

bool stmt_below_kind(struct stmt *s, enum loop_kind kind)
{
    for (; s; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.kind == kind) return true;
    return false;
}

bool loop_extent(const struct stmt *loop, int64_t *extent)
{
    int64_t lo, hi;
    if (!expr_is_int(loop->u.loop.lo, &lo) || !expr_is_int(loop->u.loop.hi, &hi)) return false;
    *extent = hi > lo ? hi - lo : 0;
    return true;
}

struct stmt *stage_untouched(struct stmt *stage)
{
    struct stmt *leaf = stage_leaf(stage);
    if (!leaf) return NULL;
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(leaf, target);
    const struct expr **idx = leaf_idx(leaf);
    int pure = 0;
    for (struct stmt *s = leaf->parent; s != stage; s = s->parent) {
        int64_t lo;
        if (s->kind == ST_BLOCK) continue;
        if (s->kind != ST_FOR || s->u.loop.kind != LOOP_SERIAL || s->u.loop.tail != TAIL_NONE ||
            s->u.loop.ordered)
            return NULL;
        if (!expr_is_int(s->u.loop.lo, &lo) || lo != 0) return NULL;
        if (!s->u.loop.reduce) pure++;
    }
    if (pure != target[0]->rank) return NULL;
    for (int d = 0; d < target[0]->rank; d++) {
        if (idx[d]->op != OP_VAR) return NULL;
        struct stmt *loop = loop_of_var(leaf, idx[d]->u.var);
        if (!loop || loop->u.loop.reduce || loop->u.loop.hi != target[0]->extent[d]) return NULL;
        for (int e = 0; e < d; e++)
            if (idx[e] == idx[d]) return NULL;
    }
    return leaf;
}

struct tensor_use {
    const struct tensor *t;
    bool reads, writes;
};

static void find_read(const struct expr **slot, void *ctx)
{
    struct tensor_use *u = ctx;
    if (expr_uses_tensor(*slot, u->t)) u->reads = true;
}

static bool find_use(struct stmt *s, void *ctx)
{
    struct tensor_use *u = ctx;
    stmt_exprs(s, find_read, u);
    if (stmt_is_leaf(s) && leaf_writes(s, u->t)) u->writes = true;
    return true;
}

bool stmt_reads(struct stmt *s, const struct tensor *t)
{
    struct tensor_use u = {t, false, false};
    stmt_walk(s, find_use, &u);
    return u.reads;
}

bool stmt_writes(struct stmt *s, const struct tensor *t)
{
    struct tensor_use u = {t, false, false};
    stmt_walk(s, find_use, &u);
    return u.writes;
}

struct alloc_search {
    const struct tensor *t;
    struct stmt *found;
};

static bool find_alloc(struct stmt *s, void *ctx)
{
    struct alloc_search *a = ctx;
    if (s->kind == ST_ALLOC && s->u.alloc.tensor == a->t) a->found = s;
    return !a->found;
}

struct stmt *alloc_of(const struct nest *n, const struct tensor *t)
{
    struct alloc_search a = {t, NULL};
    stmt_walk(n->body, find_alloc, &a);
    if (!a.found) stmt_walk(n->pack, find_alloc, &a);
    return a.found;
}

bool nest_name_used(const struct nest *n, const char *name)
{
    for (int i = 0; i < n->ndyn; i++)
        if (strcmp(n->dyn[i]->name, name) == 0) return true;
    return nest_loop(n, name) || nest_stage(n, name) || nest_tensor(n, name);
}

/* ---- expressions ----------------------------------------------------------------------------- */

const struct expr *expr_lt(struct ir *ir, const struct expr *a, const struct expr *b)
{
    return expr_binary(ir, OP_LT, a, b);
}
const struct expr *expr_ge0(struct ir *ir, const struct expr *a)
{
    return expr_binary(ir, OP_LE, expr_int(ir, 0), a);
}
const struct expr *expr_tidy(struct ir *ir, const struct expr *e)
{
    return expr_simplify(ir, NULL, e);
}

static bool under_min(const struct expr *e, const struct var *v, bool below)
{
    if (e->op == OP_VAR) return below && e->u.var == v;
    bool here = below || e->op == OP_MIN;
    for (int i = 0; i < e->n; i++)
        if (under_min(e->a[i], v, here)) return true;
    return false;
}

bool leaf_overlaps(const struct stmt *leaf, const struct var *v)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(leaf, target);
    for (int d = 0; d < target[0]->rank; d++)
        if (under_min(leaf_idx(leaf)[d], v, false)) return true;
    return false;
}

bool uses_own_reduce(struct stmt *leaf, const struct expr *e)
{
    for (struct stmt *s = leaf->parent; s && s->kind != ST_STAGE; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.reduce && expr_uses_var(e, s->u.loop.var)) return true;
    return false;
}

int64_t tensor_const_elements(const struct tensor *t)
{
    int64_t n = 1, v = 0;
    for (int d = 0; d < t->rank; d++) {
        if (!expr_is_int(t->extent[d], &v)) return -1;
        if (v < 0 || __builtin_mul_overflow(n, v, &n)) return INT64_MAX;
    }
    return n;
}

/* ---- bounds ---------------------------------------------------------------------------------- */

bool load_in_bounds(struct ir *ir, const struct env *env, const struct tensor *t,
                    const struct expr *const *idx)
{
    for (int d = 0; d < t->rank; d++)
        if (!env_proves(env, expr_ge0(ir, idx[d])) ||
            !env_proves(env, expr_lt(ir, idx[d], t->extent[d])))
            return false;
    return true;
}

struct bounds_check {
    struct ir *ir;
    const struct env *env;
    struct nest *n;
    struct stmt *leaf;
    const struct stmt *skip;
    bool ok;
};

static void check_load(const struct expr *e, void *ctx)
{
    struct bounds_check *b = ctx;
    if (!b->ok || (e->op != OP_LOAD && e->op != OP_LOADC)) return;
    const struct env *env = b->env;
    if (e->op == OP_LOADC) {
        struct env *inner = env_without(b->n, b->leaf, b->skip);
        env_fact(inner, e->a[0]);
        env = inner;
    }
    b->ok = load_in_bounds(b->ir, env, e->u.tensor, e->a + expr_load_first(e));
}

/* All accesses of leaf surely inside their tensors, without the guard `skip`. */
bool leaf_safe_without(struct nest *n, struct stmt *leaf, const struct stmt *skip)
{
    struct ir *ir = n->ir;
    struct env *env = env_without(n, leaf, skip);
    struct bounds_check b = {ir, env, n, leaf, skip, true};
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int nt = leaf_targets(leaf, target);
    struct env *start = env_start(n, leaf, skip);
    for (int i = 0; i < nt && b.ok; i++)
        b.ok = load_in_bounds(ir, start, target[i], leaf_idx(leaf));
    if (leaf->kind == ST_STORE) {
        if (b.ok) expr_walk(leaf->u.store.value, check_load, &b);
    } else {
        for (int i = 0; i < nt && b.ok; i++) expr_walk(leaf->u.update.value[i], check_load, &b);
    }
    return b.ok;
}

/* Which guards' facts to leave out besides `skip`. */
enum { FACTS_ALL, FACTS_START = 1, FACTS_LANES = 2 };

static bool uses_vector(struct stmt *s, const struct expr *e)
{
    for (s = s->parent; s; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.kind == LOOP_VECTOR && expr_uses_var(e, s->u.loop.var))
            return true;
    return false;
}

static struct env *env_facts(struct nest *n, struct stmt *s, const struct stmt *skip, int without)
{
    struct stmt *path[64];
    int depth = 0;
    for (struct stmt *at = s->parent; at; at = at->parent) {
        bool says = at->kind == ST_FOR || at->kind == ST_IF;
        if ((without & FACTS_START) && at->kind == ST_IF && uses_own_reduce(s, at->u.cond.cond))
            continue;
        if ((without & FACTS_LANES) && at->kind == ST_IF && uses_vector(s, at->u.cond.cond))
            continue;
        if (says && at != skip && depth < (int)QN_COUNT(path)) path[depth++] = at;
    }
    struct env *env = env_new(n->ir);
    for (int i = 0; i < n->ndyn; i++) env_fact(env, expr_ge0(n->ir, expr_var(n->ir, n->dyn[i])));
    while (depth-- > 0) {
        struct stmt *at = path[depth];
        if (at->kind == ST_FOR)
            env_put(env, at->u.loop.var, at->u.loop.lo, at->u.loop.hi);
        else
            env_fact(env, at->u.cond.cond);
    }
    return env;
}

struct env *env_without(struct nest *n, struct stmt *s, const struct stmt *skip)
{
    return env_facts(n, s, skip, FACTS_ALL);
}
struct env *env_start(struct nest *n, struct stmt *s, const struct stmt *skip)
{
    return env_facts(n, s, skip, FACTS_START);
}

struct env *env_uniform(struct nest *n, struct stmt *s, bool start)
{
    return env_facts(n, s, NULL, FACTS_LANES | (start ? FACTS_START : 0));
}

/* ---- the one edit ---------------------------------------------------------------------------- */

void stmt_wrap(struct stmt *s, struct stmt *by)
{
    stmt_replace(s, by);
    *stmt_body(by) = s;
    s->parent = by;
}

void guard_stmt(struct nest *n, struct stmt *s, const struct expr *cond)
{
    stmt_wrap(s, stmt_if(n->ir, cond, NULL));
}

void nest_drop_tensor(struct nest *n, const struct tensor *t)
{
    int to = 0;
    for (int i = 0; i < n->ntensor; i++)
        if (n->tensor[i] != t) n->tensor[to++] = n->tensor[i];
    n->ntensor = to;
}
