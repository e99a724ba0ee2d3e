/* Counting what a kernel executes and how large it is.
 *
 *   for i in 0..4 { y[ramp(i*8, 1, 8)] = fma(..) }   -> 64 flops (8 lanes, 2 each, 4 turns)
 *
 * flops: adds, subtractions, multiplications (fma 2) of values, all lanes, integer or float;
 * subscripts, conditions and bounds are free. Exact while bounds and conditions are affine in loop
 * variables: a loop whose body depends on its variable is walked turn by turn, up to a budget,
 * then by its middle turn. */
#include <math.h>

#include "lower/private.h"

struct counter {
    int64_t *value; /* by variable id */
    bool *known;
    uint8_t *shapes; /* by variable id: do bounds or conditions below its loop use it? */
    uint32_t nvar;
    float *flops;         /* by expression id, plus one; 0 = not computed */
    uint32_t *seen, walk; /* by expression id: number of the walk that met it last */
    int64_t turns;        /* left to spend on walking */
};
enum { SHAPES_UNKNOWN, SHAPES_NO, SHAPES_YES };

/* ---- evaluating index expressions ------------------------------------------------------------ */

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
    case OP_ADD:
        *out = x + y;
        return true;
    case OP_SUB:
        *out = x - y;
        return true;
    case OP_MUL:
        *out = x * y;
        return true;
    case OP_DIV:
        *out = y ? i64_floordiv(x, y) : 0;
        return y != 0;
    case OP_MOD:
        *out = y ? i64_floormod(x, y) : 0;
        return y != 0;
    case OP_MIN:
        *out = i64_min(x, y);
        return true;
    case OP_MAX:
        *out = i64_max(x, y);
        return true;
    case OP_LT:
        *out = x < y;
        return true;
    case OP_LE:
        *out = x <= y;
        return true;
    case OP_EQ:
        *out = x == y;
        return true;
    case OP_NE:
        *out = x != y;
        return true;
    case OP_AND:
        *out = x & y;
        return true;
    case OP_OR:
        *out = x | y;
        return true;
    default:
        return false;
    }
}

/* ---- flops ----------------------------------------------------------------------------------- */

static double add_node(struct counter *c, const struct expr *e)
{
    double n = 0;
    if (e->n == 0 || e->op == OP_LOAD || e->type.dtype == TYPE_B1 || c->seen[e->id] == c->walk)
        return 0;
    c->seen[e->id] = c->walk;
    if (e->op == OP_LOADC) return add_node(c, e->a[1]);
    for (int i = 0; i < e->n; i++) n += add_node(c, e->a[i]);
    switch ((enum op)e->op) {
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
        return n + e->type.lanes;
    case OP_FMA:
        return n + 2.0 * e->type.lanes;
    case OP_HSUM:
        return n + e->a[0]->type.lanes - 1;
    default:
        return n;
    }
}

/* Of one value, shared parts once. */
static double value_flops(struct counter *c, const struct expr *e)
{
    if (c->flops[e->id] == 0) {
        c->walk++;
        c->flops[e->id] = (float)add_node(c, e) + 1;
    }
    return c->flops[e->id] - 1;
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
    bool shapes = s->kind == ST_FOR || s->kind == ST_IF ||
                  (s->kind == ST_LET && s->u.let.var->type.dtype == TYPE_S64);
    if (shapes) stmt_exprs(s, bound_slot, u);
    return !u->found;
}

static bool depends(struct counter *c, struct stmt *loop)
{
    const struct var *v = loop->u.loop.var;
    if (v->id < c->nvar && c->shapes[v->id] != SHAPES_UNKNOWN)
        return c->shapes[v->id] == SHAPES_YES;
    struct uses u = {.v = v};
    stmt_walk(loop->u.loop.body, find_dependence, &u);
    if (v->id < c->nvar) c->shapes[v->id] = u.found ? SHAPES_YES : SHAPES_NO;
    return u.found;
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
    double total = 0;
    if (!depends(c, s) || c->turns < hi - lo) {
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
    case ST_FOR:
        return count_loop(c, s);
    case ST_IF:
        if (eval(c, s->u.cond.cond, &v) && !v) return 0;
        return count_stmt(c, s->u.cond.then);
    case ST_LET:
        set(c, s->u.let.var, eval(c, s->u.let.value, &v), v);
        total = dtype_is_float((enum dtype)s->u.let.value->type.dtype)
                    ? value_flops(c, s->u.let.value)
                    : 0;
        return total + count_stmt(c, s->u.let.body);
    case ST_STORE:
        return value_flops(c, s->u.store.value);
    default:
        return *stmt_body(s) ? count_stmt(c, *stmt_body(s)) : 0;
    }
}

double count_flops(const struct nest *n, const int64_t *dyn)
{
    struct counter c = {.nvar = n->ir->next_var, .turns = 100000};
    c.value = mem_new(c.nvar * sizeof *c.value);
    c.known = mem_new(c.nvar * sizeof *c.known);
    c.shapes = mem_new(c.nvar * sizeof *c.shapes);
    c.flops = mem_new(n->ir->next_expr * sizeof *c.flops);
    c.seen = mem_new(n->ir->next_expr * sizeof *c.seen);
    for (int i = 0; i < n->ndyn; i++) set(&c, n->dyn[i], dyn != NULL, dyn ? dyn[i] : 0);
    double flops = count_stmt(&c, n->body);
    mem_free(c.value);
    mem_free(c.known);
    mem_free(c.shapes);
    mem_free(c.flops);
    mem_free(c.seen);
    return flops;
}

/* ---- size ------------------------------------------------------------------------------------ */

struct size {
    bool *seen; /* by expression id */
    int64_t n;
};

static void size_node(struct size *z, const struct expr *e)
{
    if (z->seen[e->id]) return;
    z->seen[e->id] = true;
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
    struct size z = {.seen = mem_new(n->ir->next_expr)};
    stmt_walk(n->body, size_stmt, &z);
    stmt_walk(n->pack, size_stmt, &z);
    mem_free(z.seen);
    return z.n;
}
