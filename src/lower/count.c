/* Counting what a kernel executes and how large it is.
 *
 *   for i in 0..4 { y[ramp(i*8, 1, 8)] = fma(..) }   -> 64 flops (8 lanes, 2 each, 4 turns)
 *
 * flops: adds, subtractions, multiplications (fma 2) of values, all lanes, integer or float; subscripts,
 * conditions and bounds are free. Exact while bounds and conditions are affine in loop variables: a loop
 * whose body depends on its variable is walked turn by turn, up to a budget, then by its middle turn. */
#include <math.h>

#include "lower/private.h"

struct counter {
    int64_t *value; /* by variable id */
    bool *known;
    uint32_t nvar;
    int64_t turns;  /* left to spend on walking */
};

/* ---- evaluating index expressions ------------------------------------------------------------- */

static bool eval(const struct counter *c, const struct expr *e, int64_t *out)
{
    int64_t x = 0, y = 0;
    if (e->type.lanes != 1) return false;
    if (expr_is_int(e, out)) return true;
    if (e->op == OP_VAR) {
        if (e->u.var->id >= c->nvar || !c->known[e->u.var->id]) return false;
        *out = c->value[e->u.var->id];
        return true;
    }
    if (e->n != 2 || !eval(c, e->a[0], &x) || !eval(c, e->a[1], &y)) return false;
    switch ((enum op)e->op) {
    case OP_ADD: *out = x + y; return true;
    case OP_SUB: *out = x - y; return true;
    case OP_MUL: *out = x * y; return true;
    case OP_DIV: *out = y ? i64_floordiv(x, y) : 0; return y != 0;
    case OP_MOD: *out = y ? i64_floormod(x, y) : 0; return y != 0;
    case OP_MIN: *out = i64_min(x, y); return true;
    case OP_MAX: *out = i64_max(x, y); return true;
    case OP_LT: *out = x < y; return true;
    case OP_LE: *out = x <= y; return true;
    case OP_EQ: *out = x == y; return true;
    case OP_NE: *out = x != y; return true;
    case OP_AND: *out = x & y; return true;
    case OP_OR: *out = x | y; return true;
    default: return false;
    }
}

/* ---- flops ------------------------------------------------------------------------------------ */

struct sum {
    struct memo seen;
    double flops;
};

static void add_node(struct sum *s, const struct expr *e)
{
    if (e->n == 0 || e->op == OP_LOAD || memo_get(&s->seen, e)) return;
    memo_put(&s->seen, e, e);
    if (e->op == OP_LOADC) {
        add_node(s, e->a[1]);
        return;
    }
    bool cond = e->op == OP_SELECT || e->type.dtype == TYPE_B1;
    for (int i = cond && e->op == OP_SELECT ? 1 : 0; i < e->n && e->type.dtype != TYPE_B1; i++) add_node(s, e->a[i]);
    switch ((enum op)e->op) {
    case OP_ADD: case OP_SUB: case OP_MUL: s->flops += e->type.lanes; break;
    case OP_FMA: s->flops += 2.0 * e->type.lanes; break;
    case OP_HSUM: s->flops += e->a[0]->type.lanes - 1; break;
    default: break;
    }
}

static double value_flops(const struct expr *e)
{
    struct sum s = {.flops = 0};
    add_node(&s, e);
    memo_fini(&s.seen);
    return s.flops;
}

struct uses {
    const struct var *v;
    bool found;
};

static void bound_slot(const struct expr **slot, void *ctx)
{
    struct uses *u = ctx;
    if (expr_uses_var(*slot, u->v)) u->found = true;
}

/* Do bounds or conditions below depend on v? Lets of index type count as dependence. */
static bool find_dependence(struct stmt *s, void *ctx)
{
    struct uses *u = ctx;
    bool shapes = s->kind == ST_FOR || s->kind == ST_IF || (s->kind == ST_LET && s->u.let.var->type.dtype == TYPE_S64);
    if (shapes) stmt_exprs(s, bound_slot, u);
    return !u->found;
}

static double count_stmt(struct counter *c, struct stmt *s);

static void set(struct counter *c, const struct var *v, bool known, int64_t value)
{
    if (v->id >= c->nvar) return;
    c->known[v->id] = known;
    c->value[v->id] = value;
}

static double count_loop(struct counter *c, struct stmt *s)
{
    int64_t lo = 0, hi = 0;
    if (!eval(c, s->u.loop.lo, &lo) || !eval(c, s->u.loop.hi, &hi) || lo >= hi) return 0;
    struct uses u = {.v = s->u.loop.var};
    stmt_walk(s->u.loop.body, find_dependence, &u);
    double total = 0;
    if (!u.found || c->turns < hi - lo) {
        set(c, s->u.loop.var, true, lo + (hi - lo) / 2);
        total = (double)(hi - lo) * count_stmt(c, s->u.loop.body);
    } else {
        c->turns -= hi - lo;
        for (int64_t i = lo; i < hi; i++) {
            set(c, s->u.loop.var, true, i);
            total += count_stmt(c, s->u.loop.body);
        }
    }
    set(c, s->u.loop.var, false, 0);
    return total;
}

static double count_stmt(struct counter *c, struct stmt *s)
{
    double total = 0;
    int64_t v = 0;
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) total += count_stmt(c, s->u.block.p[i]);
        return total;
    case ST_FOR: return count_loop(c, s);
    case ST_IF:
        if (eval(c, s->u.cond.cond, &v) && !v) return 0;
        return count_stmt(c, s->u.cond.then);
    case ST_LET:
        set(c, s->u.let.var, eval(c, s->u.let.value, &v), v);
        total = dtype_is_float((enum dtype)s->u.let.value->type.dtype) ? value_flops(s->u.let.value) : 0;
        return total + count_stmt(c, s->u.let.body);
    case ST_STORE: return value_flops(s->u.store.value);
    default: return *stmt_body(s) ? count_stmt(c, *stmt_body(s)) : 0;
    }
}

double count_flops(const struct nest *n, const int64_t *dyn)
{
    struct counter c = {.nvar = n->ir->next_var, .turns = 100000};
    c.value = mem_new(c.nvar * sizeof *c.value);
    c.known = mem_new(c.nvar * sizeof *c.known);
    for (int i = 0; i < n->ndyn; i++) set(&c, n->dyn[i], dyn != NULL, dyn ? dyn[i] : 0);
    double flops = count_stmt(&c, n->body);
    mem_free(c.value);
    mem_free(c.known);
    return flops;
}

/* ---- size ------------------------------------------------------------------------------------- */

struct size {
    struct memo seen;
    int64_t n;
};

static void size_node(struct size *z, const struct expr *e)
{
    if (memo_get(&z->seen, e)) return;
    memo_put(&z->seen, e, e);
    z->n++;
    for (int i = 0; i < e->n; i++) size_node(z, e->a[i]);
}

static void size_slot(const struct expr **slot, void *ctx) { size_node(ctx, *slot); }

static bool size_stmt(struct stmt *s, void *ctx)
{
    struct size *z = ctx;
    z->n += s->kind != ST_BLOCK;
    stmt_exprs(s, size_slot, z);
    return true;
}

int64_t count_nodes(const struct nest *n)
{
    struct size z = {.n = 0};
    stmt_walk(n->body, size_stmt, &z);
    stmt_walk(n->pack, size_stmt, &z);
    memo_fini(&z.seen);
    return z.n;
}
