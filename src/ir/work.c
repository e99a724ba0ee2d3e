/* Work: how many operations an op asks for, and how many bytes it declares, counted from the naive
 * nest.
 *
 *   conv 56x56x64x64, 3x3, pad 1:
 *     2 * 64 * 64 * (166 valid (p, r)) * (166 valid (q, s)) + the rest
 *
 * A statement counts once per iteration in which its IFs hold and the conditions of all its guarded
 * loads hold. Conjuncts that share no loop variable are counted apart and multiplied; loops that
 * share a conjunct (or a bound) are enumerated together. So padding in two dimensions costs 168 +
 * 168 steps.
 *
 * Invariants: exact for guards without loads while a group has at most POINTS points (above that
 * its guards count as true); constant stages (which read only const tensors) are not counted: they
 * run once, in the pack phase. Each distinct operation of a value counts once: + - * / 1, fma 2,
 * exp and the like 1; min, max, select and index arithmetic 0; each reduction step 1. */
#include <string.h>

#include "ir/private.h"

enum { LOOPS = 48, CONDS = 64, POINTS = 4000000 };

struct counter {
    const struct nest *n;
    struct ir *ir;
    const struct stmt *loop[LOOPS]; /* around the statement, outermost first */
    int group[LOOPS], nloops;
    const struct expr *cond[CONDS];
    int cond_group[CONDS], ncond;
    const int64_t *dyn;
    int64_t at[LOOPS];
    bool bound[LOOPS];
    int64_t points;
    bool over, unknown;
    struct idmap constant; /* tensors that only constants reach */
    double flops;
};

/* ---- evaluation at a point ------------------------------------------------------------------- */

static int loop_of(const struct counter *c, const struct var *v)
{
    for (int i = 0; i < c->nloops; i++)
        if (c->loop[i]->u.loop.var == v) return i;
    return -1;
}

static int64_t eval_var(struct counter *c, const struct var *v)
{
    int i = loop_of(c, v);
    if (i >= 0) return c->at[i];
    for (i = 0; i < c->n->ndyn; i++)
        if (c->n->dyn[i] == v) return c->dyn ? c->dyn[i] : 0;
    c->unknown = true;
    return 0;
}

static int64_t eval(struct counter *c, const struct expr *e)
{
    union scalar a[3] = {{0}, {0}, {0}}, out = {0};
    if (e->op == OP_INT) return e->u.i;
    if (e->op == OP_VAR) return eval_var(c, e->u.var);
    if (e->op == OP_LOAD || e->op == OP_LOADC || e->op == OP_REAL || e->n > 3 ||
        e->type.lanes != 1) {
        c->unknown = true;
        return 0;
    }
    for (int i = 0; i < e->n; i++) a[i].i = eval(c, e->a[i]);
    if (e->op == OP_SELECT) return a[0].i ? a[1].i : a[2].i;
    if (dtype_is_float((enum dtype)e->a[0]->type.dtype) ||
        dtype_is_float((enum dtype)e->type.dtype) ||
        !scalar_eval((enum op)e->op, (enum dtype)e->type.dtype, (enum dtype)e->a[0]->type.dtype,
                     (int)e->u.i, a, &out))
        c->unknown = true;
    return out.i;
}

/* ---- grouping -------------------------------------------------------------------------------- */

/* Union of the groups of every loop whose variable e uses; returns the group or -1. */
static int unite(struct counter *c, const struct expr *e, int with)
{
    for (int i = 0; i < c->nloops; i++) {
        if (!expr_uses_var(e, c->loop[i]->u.loop.var)) continue;
        int from = c->group[i];
        if (with < 0) with = from;
        for (int j = 0; j < c->nloops && from != with; j++)
            if (c->group[j] == from) c->group[j] = with;
    }
    return with;
}

static void make_groups(struct counter *c)
{
    for (int i = 0; i < c->nloops; i++) c->group[i] = i;
    for (int i = 0; i < c->nloops; i++) {
        unite(c, c->loop[i]->u.loop.lo, c->group[i]);
        unite(c, c->loop[i]->u.loop.hi, c->group[i]);
    }
    for (int i = 0; i < c->ncond; i++) unite(c, c->cond[i], -1);
    for (int i = 0; i < c->ncond; i++) c->cond_group[i] = unite(c, c->cond[i], -1);
}

static bool conds_hold(struct counter *c, int group, int level)
{
    for (int i = 0; i < c->ncond; i++) {
        if (c->cond_group[i] != group) continue;
        bool ready = true, fresh = level < 0;
        for (int j = 0; j < c->nloops && ready; j++) {
            if (!expr_uses_var(c->cond[i], c->loop[j]->u.loop.var)) continue;
            ready = c->bound[j];
            fresh = fresh || j == level;
        }
        if (!ready || !fresh) continue; /* decided at the innermost loop it uses */
        c->unknown = false;
        int64_t v = eval(c, c->cond[i]);
        if (!c->unknown && !v) return false;
    }
    return true;
}

/* Points of the loops of one group from `level` on. */
static double count_group(struct counter *c, int group, int level, bool guarded)
{
    while (level < c->nloops && c->group[level] != group) level++;
    if (level == c->nloops) return 1;
    int64_t lo = eval(c, c->loop[level]->u.loop.lo), hi = eval(c, c->loop[level]->u.loop.hi);
    double sum = 0;
    c->bound[level] = true;
    for (c->at[level] = lo; c->at[level] < hi && !c->over; c->at[level]++) {
        if (++c->points > POINTS) c->over = true;
        if (!guarded || conds_hold(c, group, level))
            sum += count_group(c, group, level + 1, guarded);
    }
    c->bound[level] = false;
    return sum;
}

static bool group_is_plain(const struct counter *c, int group)
{
    int members = 0;
    for (int i = 0; i < c->ncond; i++)
        if (c->cond_group[i] == group) return false;
    for (int i = 0; i < c->nloops; i++) members += c->group[i] == group;
    return members == 1;
}

static double count_points(struct counter *c)
{
    double n = 1;
    make_groups(c);
    for (int i = 0; i < c->ncond; i++) { /* conditions of no loop */
        if (c->cond_group[i] >= 0) continue;
        c->unknown = false;
        int64_t v = eval(c, c->cond[i]);
        if (!c->unknown && !v) return 0;
    }
    for (int g = 0; g < c->nloops; g++) {
        bool used = false;
        for (int i = 0; i < c->nloops; i++) used = used || c->group[i] == g;
        if (!used) continue;
        c->points = 0;
        c->over = false;
        if (group_is_plain(c, g)) {
            n *=
                (double)i64_max(0, eval(c, c->loop[g]->u.loop.hi) - eval(c, c->loop[g]->u.loop.lo));
            continue;
        }
        double points = count_group(c, g, 0, true);
        if (c->over) { /* too many to enumerate: the box without guards */
            points = 1;
            for (int i = 0; i < c->nloops; i++)
                if (c->group[i] == g)
                    points *= (double)i64_max(0, eval(c, c->loop[i]->u.loop.hi) -
                                                     eval(c, c->loop[i]->u.loop.lo));
        }
        n *= points;
    }
    return n;
}

/* ---- one statement --------------------------------------------------------------------------- */

static void add_cond(struct counter *c, const struct expr *e)
{
    if (e->op == OP_AND) {
        add_cond(c, e->a[0]);
        add_cond(c, e->a[1]);
    } else if (c->ncond < CONDS) {
        c->cond[c->ncond++] = e;
    }
}

static int op_cost(const struct expr *e)
{
    switch ((enum op)e->op) {
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
        return 1;
    case OP_FMA:
        return 2;
    case OP_SQRT:
    case OP_EXP:
    case OP_LOG:
    case OP_TANH:
    case OP_ERF:
    case OP_SIGMOID:
    case OP_SIN:
    case OP_COS:
        return 1;
    default:
        return 0;
    }
}

/* Operations of a value, each distinct node once; subscripts and conditions are not entered. */
static int value_cost(struct counter *c, struct nodeset *seen, const struct expr *e)
{
    int cost = op_cost(e);
    if (!nodeset_add(seen, e)) return 0;
    if (e->op == OP_LOAD) return 0;
    if (e->op == OP_LOADC) {
        add_cond(c, e->a[0]);
        return value_cost(c, seen, e->a[1]);
    }
    for (int i = e->op == OP_SELECT ? 1 : 0; i < e->n; i++) cost += value_cost(c, seen, e->a[i]);
    return cost;
}

/* LETs around s are replaced by their values. */
static const struct expr *without_lets(struct counter *c, const struct stmt *s,
                                       const struct expr *e)
{
    for (const struct stmt *p = s->parent; p; p = p->parent)
        if (p->kind == ST_LET) e = expr_subst(c->ir, e, p->u.let.var, p->u.let.value);
    return e;
}

static void enter(struct counter *c, const struct stmt *s)
{
    c->nloops = c->ncond = 0;
    for (const struct stmt *p = s->parent; p; p = p->parent) {
        if (p->kind == ST_FOR && c->nloops < LOOPS) c->loop[c->nloops++] = p;
        if (p->kind == ST_IF) add_cond(c, without_lets(c, p, p->u.cond.cond));
    }
    for (int i = 0; i < c->nloops / 2; i++) {
        const struct stmt *swap = c->loop[i];
        c->loop[i] = c->loop[c->nloops - 1 - i];
        c->loop[c->nloops - 1 - i] = swap;
    }
}

static bool count_stmt(struct stmt *s, void *ctx)
{
    struct counter *c = ctx;
    struct nodeset seen;
    double ops = 0;
    const struct tensor *t = s->kind == ST_STORE    ? s->u.store.tensor
                             : s->kind == ST_UPDATE ? s->u.update.tensor[0]
                                                    : NULL;
    if (!t || idmap_get(&c->constant, t->id)) return true;
    enter(c, s);
    nodeset_init(&seen);
    if (s->kind == ST_STORE) ops = value_cost(c, &seen, without_lets(c, s, s->u.store.value));
    for (int i = 0; s->kind == ST_UPDATE && i < s->u.update.n; i++) {
        ops += value_cost(c, &seen, without_lets(c, s, s->u.update.value[i]));
        if (s->u.update.op == RED_USER)
            ops += value_cost(c, &seen, s->u.update.combine[i]);
        else
            ops += i == 0;
    }
    nodeset_fini(&seen);
    if (ops > 0) c->flops += ops * count_points(c);
    return true;
}

/* ---- constant stages ------------------------------------------------------------------------- */

struct reads {
    struct counter *c;
    bool only_constants;
};

static void note_read(const struct expr *e, void *ctx)
{
    struct reads *r = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    const struct tensor *t = e->u.tensor;
    if (t->scope == SCOPE_CONST || t->scope == SCOPE_TABLE || idmap_get(&r->c->constant, t->id))
        return;
    r->only_constants = false;
}

static void note_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, note_read, ctx); }

/* In tree order: a temp all of whose writers read constants is constant, so far. */
static bool note_writer(struct stmt *s, void *ctx)
{
    struct counter *c = ctx;
    struct reads r = {c, true};
    if (s->kind != ST_STORE && s->kind != ST_UPDATE) return true;
    int n = s->kind == ST_UPDATE ? s->u.update.n : 1;
    for (int i = 0; i < n; i++) {
        struct tensor *t = s->kind == ST_STORE ? s->u.store.tensor : s->u.update.tensor[i];
        if (i == 0) stmt_exprs(s, note_slot, &r);
        bool temp = t->scope == SCOPE_TEMP || t->scope == SCOPE_PACKED;
        idmap_put(&c->constant, t->id, r.only_constants && temp ? t : NULL);
    }
    return true;
}

void nest_work(const struct nest *n, const int64_t *dyn, double *flops, double *bytes)
{
    struct counter c = {.n = n, .ir = n->ir, .dyn = dyn};
    stmt_walk(n->body, note_writer, &c);
    stmt_walk(n->body, count_stmt, &c);
    if (flops) *flops = c.flops;
    double total = 0;
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        if (t->scope != SCOPE_IN && t->scope != SCOPE_CONST && t->scope != SCOPE_OUT) continue;
        c.nloops = 0;
        double size = dtype_bytes((enum dtype)t->type.dtype);
        for (int d = 0; d < t->rank; d++) size *= (double)eval(&c, t->extent[d]);
        total += size;
    }
    if (bytes) *bytes = total;
    idmap_fini(&c.constant);
}
