/* gen_nest: a random operator as a naive nest. Each stage picks its loops, then a sum of products
 * of loads; a load of a new input picks its subscripts first and takes whatever extents they need,
 * a load of an earlier stage is guarded where it may leave it. See gen.h. */
#include <stdio.h>
#include <string.h>

#include "lib/gen.h"

const struct gen_options gen_default = {.max_points = 900, .max_stages = 3, .dyn = 0.06};

enum { VARS = 8, LOADS = 3 };

struct gen {
    struct ir *ir;
    struct rng *r;
    const struct gen_options *o;
    struct gen_info *info;
    struct nest *n;
    struct tensor *made[GEN_STAGES + 2]; /* temporaries so far */
    struct tensor *other; /* the second result of the stage that made the last, or NULL */
    int nmade, inputs;
    const struct expr *dyn;
    /* of the stage being built */
    const struct var *var[VARS];
    const struct expr *extent[VARS];
    int64_t size[VARS]; /* constant extent; of a dynamic one: 0 */
    int pure, reduce, points;
    int scan; /* the loop a recurrence runs along; -1: none */
    struct env *env;
    bool only_const;
};

static int64_t pick(struct gen *g, int64_t lo, int64_t hi) { return rng_range(g->r, lo, hi); }
static bool chance(struct gen *g, double p) { return rng_chance(g->r, p); }
static const struct expr *var_expr(struct gen *g, int i) { return expr_var(g->ir, g->var[i]); }

/* ---- loops ----------------------------------------------------------------------------------- */

static int64_t random_extent(struct gen *g, int64_t most)
{
    static const int64_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11,
                                    12, 13, 16, 17, 19, 23, 29, 31, 32, 33};
    int64_t e = sizes[pick(g, 0, QN_COUNT(sizes) - 1)];
    if (chance(g, 0.15)) e = 1 + (e > 8 ? e % 3 : 0);
    return e > most ? i64_max(1, most) : e;
}

static void add_loop(struct gen *g, const char *stage, const char *kind, int i, bool dynamic)
{
    int at = g->pure + g->reduce;
    char name[32];
    snprintf(name, sizeof name, "%s.%s%d", stage, kind, i);
    g->var[at] = var_new(g->ir, arena_strdup(g->ir->arena, name), type_of(TYPE_S64));
    if (dynamic) {
        g->extent[at] = g->dyn;
        g->size[at] = 0;
        g->points *= 7;
    } else {
        int64_t e = random_extent(g, g->o->max_points / g->points);
        g->extent[at] = expr_int(g->ir, e);
        g->size[at] = e;
        g->points *= (int)e;
    }
    env_put(g->env, g->var[at], expr_int(g->ir, 0), g->extent[at]);
}

static void begin_stage(struct gen *g, const char *stage, int rank, int reduces)
{
    g->pure = g->reduce = 0;
    g->points = 1;
    g->scan = -1;
    g->env = env_new(g->ir);
    if (g->dyn) env_fact(g->env, expr_binary(g->ir, OP_LE, expr_int(g->ir, 0), g->dyn));
    int dynamic = g->dyn && chance(g, 0.7) ? (int)pick(g, 0, rank - 1) : -1;
    for (int i = 0; i < rank; i++, g->pure++) add_loop(g, stage, "i", i, i == dynamic);
    for (int i = 0; i < reduces; i++, g->reduce++) add_loop(g, stage, "k", i, false);
}

static struct stmt *wrap_loops(struct gen *g, const char *stage, struct stmt *leaf)
{
    for (int i = g->pure + g->reduce - 1; i >= 0; i--) {
        leaf = stmt_for(g->ir, g->var[i], expr_int(g->ir, 0), g->extent[i], leaf);
        leaf->u.loop.reduce = i >= g->pure;
        leaf->u.loop.ordered = i == g->scan;
    }
    return stmt_stage(g->ir, stage, leaf);
}

/* ---- loads ----------------------------------------------------------------------------------- */

static const struct expr *random_subscript(struct gen *g, int var)
{
    struct ir *ir = g->ir;
    const struct expr *v = var_expr(g, var);
    int vars = g->pure + g->reduce;
    double dice = rng_unit(g->r);
    if (dice < 0.6) return v;
    if (dice < 0.85) { /* strided and shifted, as a convolution's */
        const struct expr *e = expr_mul(ir, v, expr_int(ir, pick(g, 1, 3)));
        if (chance(g, 0.7))
            e = expr_add(ir, e,
                         expr_mul(ir, var_expr(g, (int)pick(g, 0, vars - 1)),
                                  expr_int(ir, pick(g, 1, 2))));
        return expr_add(ir, e, expr_int(ir, pick(g, -2, 2)));
    }
    if (dice < 0.91) return expr_binary(ir, OP_DIV, v, expr_int(ir, pick(g, 2, 4)));
    if (dice < 0.97) return expr_binary(ir, OP_MOD, v, expr_int(ir, pick(g, 2, 5)));
    return expr_int(ir, pick(g, 0, 2));
}

static const struct expr *bounds_cond(struct gen *g, const struct expr *e,
                                      const struct expr *extent)
{
    struct ir *ir = g->ir;
    const struct expr *lo = expr_binary(ir, OP_LE, expr_int(ir, 0), e),
                      *hi = expr_binary(ir, OP_LT, e, extent);
    const struct expr *cond = NULL;
    if (!env_proves(g->env, lo)) cond = lo;
    if (!env_proves(g->env, hi)) cond = expr_and(ir, cond, hi);
    return cond;
}

static const struct expr *small_const(struct gen *g, struct type t, int64_t lo, int64_t hi)
{
    bool negative = dtype_is_float(t.dtype) || dtype_is_signed(t.dtype);
    return expr_const(g->ir, t, (double)pick(g, negative ? lo : 0, hi));
}

/* A new input (or constant) whose extents fit the subscripts; with luck smaller ones and a
 * guard. */
static const struct expr *load_input(struct gen *g, struct type t, const int *order, int norder)
{
    struct ir *ir = g->ir;
    int rank = (int)pick(g, 1, 3);
    if (norder > rank && chance(g, 0.6)) rank = norder > 4 ? 4 : norder;
    const struct expr *idx[4], *extent[4], *cond = NULL;
    for (int d = 0; d < rank; d++) {
        const struct expr *e = random_subscript(g, order[d % norder]);
        struct range range = expr_range(g->env, e);
        if (range.hi == INT64_MAX || range.lo == INT64_MIN) { /* follows the dynamic extent */
            int64_t c = pick(g, 0, 2);
            e = expr_add(ir, var_expr(g, order[d % norder]), expr_int(ir, c));
            if (g->size[order[d % norder]])
                extent[d] = expr_int(ir, g->size[order[d % norder]] + c);
            else
                extent[d] = expr_add(ir, g->dyn, expr_int(ir, c));
        } else {
            bool pad = chance(g, 0.45);
            if (range.lo < 0 && !pad) {
                e = expr_add(ir, e, expr_int(ir, -range.lo));
                range = expr_range(g->env, e);
            }
            int64_t need = range.hi + 1;
            if (pad && need > 2) need -= pick(g, 0, 2);
            extent[d] = expr_int(ir, i64_max(1, need));
        }
        idx[d] = e;
        const struct expr *c = bounds_cond(g, e, extent[d]);
        if (c) cond = expr_and(ir, cond, c);
    }
    char name[16];
    bool constant = g->only_const || chance(g, 0.35);
    for (int d = 0; d < rank; d++) {
        int64_t v;
        if (!expr_is_int(extent[d], &v)) constant = false;
    }
    snprintf(name, sizeof name, "%c%d", constant ? 'w' : 'x', g->inputs++);
    struct tensor *in = tensor_new(ir, name, t, constant ? SCOPE_CONST : SCOPE_IN, rank, extent);
    if (rank > 1 && chance(g, 0.1)) { /* stored with the first two dimensions swapped */
        in->nlayout = rank;
        in->layout = ARENA_ARRAY(ir->arena, struct layout_term, rank);
        for (int d = 0; d < rank; d++)
            in->layout[d] = (struct layout_term){d < 2 ? 1 - d : d, 1, 0};
    }
    nest_add_tensor(g->n, in);
    return cond ? expr_loadc(ir, in, cond, small_const(g, t, -2, 2), idx, rank)
                : expr_load(ir, in, idx, rank);
}

static const struct expr *clamp(struct gen *g, const struct expr *e, int64_t most)
{
    bool negative = dtype_is_float(e->type.dtype) || dtype_is_signed(e->type.dtype);
    const struct expr *hi = expr_const(g->ir, e->type, (double)most),
                      *lo = expr_const(g->ir, e->type, negative ? (double)-most : 0);
    return expr_binary(g->ir, OP_MAX, expr_binary(g->ir, OP_MIN, e, hi), lo);
}

/* An earlier stage's tensor, guarded where the subscript may leave it, clamped to stay small. */
static const struct expr *load_made(struct gen *g, struct tensor *t, const int *order, int norder)
{
    struct ir *ir = g->ir;
    const struct expr *idx[4], *cond = NULL;
    for (int d = 0; d < t->rank; d++) {
        int64_t have, v = order[d % norder];
        bool fixed = expr_is_int(t->extent[d], &have);
        for (int i = 0; i < norder && chance(g, 0.8);
             i++) /* rather a variable of the same extent */
            if (g->extent[order[i]] == t->extent[d]) v = order[i];
        const struct expr *e = chance(g, 0.75) ? var_expr(g, (int)v) : random_subscript(g, (int)v);
        if (fixed && have == 1) e = expr_int(ir, 0);
        idx[d] = e;
        const struct expr *c = bounds_cond(g, e, t->extent[d]);
        if (c) cond = expr_and(ir, cond, c);
    }
    const struct expr *load =
        cond ? expr_loadc(ir, t, cond, small_const(g, t->type, -2, 2), idx, t->rank)
             : expr_load(ir, t, idx, t->rank);
    return clamp(g, load, 5);
}

static const struct expr *random_load(struct gen *g, struct type t, const int *order, int norder,
                                      bool old)
{
    if (old && g->nmade && !g->only_const) {
        struct tensor *from =
            g->made[chance(g, 0.7) ? g->nmade - 1 : (int)pick(g, 0, g->nmade - 1)];
        const struct expr *e = load_made(g, from, order, norder);
        return type_eq(e->type, t) ? e : expr_cast(g->ir, t, CAST_PLAIN, e);
    }
    return load_input(g, t, order, norder);
}

/* Sums and products of loads; every variable is offered to some load. */
static const struct expr *random_value(struct gen *g, struct type t, bool last)
{
    int order[VARS], n = g->pure + g->reduce;
    for (int i = 0; i < n; i++) order[i] = i;
    rng_shuffle(g->r, order, (size_t)n, sizeof order[0]);
    int loads = (int)pick(g, 1, LOADS);
    const struct expr *value = NULL;
    for (int i = 0; i < loads; i++) {
        const struct expr *e =
            random_load(g, t, order + (i && n > 1 ? 1 : 0), i && n > 1 ? n - 1 : n,
                        i == 0 ? g->nmade > 0 : chance(g, 0.3));
        if (!value)
            value = e;
        else if (chance(g, 0.6))
            value = expr_binary(g->ir, OP_MUL, value, e);
        else if (chance(g, 0.5))
            value = expr_binary(g->ir, OP_ADD, value, e);
        else
            value = expr_binary(g->ir, chance(g, 0.5) ? OP_MAX : OP_MIN, value, e);
    }
    if (chance(g, 0.15))
        value = expr_select(g->ir, expr_binary(g->ir, OP_LT, small_const(g, t, 0, 1), value), value,
                            small_const(g, t, -3, 3));
    (void)last;
    return value;
}

/* ---- stages ---------------------------------------------------------------------------------- */

static struct tensor *new_temp(struct gen *g, const char *name, struct type t, const char *suffix)
{
    char full[32];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    struct tensor *s = tensor_new(g->ir, full, t, SCOPE_TEMP, g->pure, g->extent);
    nest_add_tensor(g->n, s);
    return s;
}

static enum reduce random_reduce(struct gen *g, enum dtype d)
{
    static const enum reduce kinds[] = {RED_SUM, RED_SUM, RED_SUM,    RED_MAX,    RED_MIN, RED_PROD,
                                        RED_ANY, RED_ANY, RED_ARGMAX, RED_ARGMIN, RED_USER};
    enum reduce op = kinds[pick(g, 0, QN_COUNT(kinds) - 1)];
    if (op == RED_ANY && dtype_is_float(d)) return RED_SUM;
    return op;
}

/* Two results at once: a sum and a maximum, as a tuple reduction of the user. */
static void user_parts(struct gen *g, struct stmt *u, const struct expr *value)
{
    struct type t = value->type;
    static const char *const names[] = {"l0", "l1", "r0", "r1"};
    const struct var *v[4];
    char name[64];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", u->u.update.tensor[0]->name, names[i]);
        v[i] = var_new(g->ir, arena_strdup(g->ir->arena, name), t);
    }
    for (int i = 0; i < 2; i++) {
        u->u.update.value[i] = value;
        u->u.update.lhs[i] = v[i];
        u->u.update.rhs[i] = v[2 + i];
        u->u.update.combine[i] = expr_binary(g->ir, i ? OP_MAX : OP_ADD, expr_var(g->ir, v[i]),
                                             expr_var(g->ir, v[2 + i]));
    }
    u->u.update.identity[0] = expr_const(g->ir, t, 0);
    u->u.update.identity[1] = dtype_is_float(t.dtype)
                                  ? expr_const(g->ir, t, -1e30)
                                  : expr_int_of(g->ir, t, dtype_is_signed(t.dtype) ? -100 : 0);
}

static void reduce_stage(struct gen *g, const char *name, int rank, struct type t)
{
    struct ir *ir = g->ir;
    begin_stage(g, name, rank, chance(g, 0.6) ? 1 : 2);
    enum reduce op = random_reduce(g, (enum dtype)t.dtype);
    struct type acc = t;
    if (t.dtype == TYPE_S8 || t.dtype == TYPE_U8 || t.dtype == TYPE_S16)
        acc = chance(g, 0.7) ? type_of(TYPE_S32) : t;
    const struct expr *value = random_value(g, t, false), *idx[4];
    if (op == RED_PROD) value = clamp(g, value, g->points > 400 ? 1 : 2);
    if (!type_eq(acc, t)) value = expr_cast(ir, acc, CAST_PLAIN, value);
    for (int d = 0; d < rank; d++) idx[d] = var_expr(g, d);
    struct tensor *target = new_temp(g, name, acc, "");
    struct stmt *u = stmt_update(ir, op, target, idx, value);
    g->made[g->nmade++] = target;
    g->info->reduces[op] = g->info->reduction = true;
    g->other = NULL;
    if (op == RED_ARGMAX || op == RED_ARGMIN) {
        const struct expr *at = var_expr(g, g->pure);
        for (int i = 1; i < g->reduce; i++)
            at = expr_add(ir, expr_mul(ir, at, g->extent[g->pure + i]), var_expr(g, g->pure + i));
        u->u.update.n = 2;
        u->u.update.tensor[1] = new_temp(g, name, type_of(TYPE_S32), "_at");
        u->u.update.value[1] = expr_cast(ir, type_of(TYPE_S32), CAST_PLAIN, at);
        if (chance(g, 0.7)) g->made[g->nmade - 1] = u->u.update.tensor[1];
    }
    if (op == RED_USER) {
        u->u.update.n = 2;
        u->u.update.tensor[1] = new_temp(g, name, acc, "_max");
        user_parts(g, u, value);
        if (chance(g, 0.5)) g->made[g->nmade - 1] = u->u.update.tensor[1];
    }
    if (u->u.update.n == 2) g->other = u->u.update.tensor[g->made[g->nmade - 1] == target];
    block_append(ir, g->n->body, wrap_loops(g, name, u));
}

/* What an earlier step of the scan defined: any element along the loops inside it. */
static const struct expr *earlier(struct gen *g, const struct tensor *t)
{
    const struct expr *idx[4], *cond = NULL;
    for (int d = 0; d < t->rank; d++) {
        idx[d] = var_expr(g, d);
        if (d == g->scan) idx[d] = expr_sub(g->ir, idx[d], expr_int(g->ir, pick(g, 1, 2)));
        if (d > g->scan && chance(g, 0.4))
            idx[d] = random_subscript(g, (int)pick(g, 0, g->pure - 1));
        const struct expr *c = bounds_cond(g, idx[d], t->extent[d]);
        if (c) cond = expr_and(g->ir, cond, c);
    }
    return clamp(g, expr_loadc(g->ir, t, cond, small_const(g, t->type, -2, 2), idx, t->rank), 5);
}

static void plain_stage(struct gen *g, const char *name, int rank, struct type t)
{
    const struct expr *idx[4];
    begin_stage(g, name, rank, 0);
    const struct expr *value = random_value(g, t, false);
    for (int d = 0; d < rank; d++) idx[d] = var_expr(g, d);
    struct tensor *target = new_temp(g, name, t, "");
    g->other = NULL;
    if (chance(g, 0.08)) {
        g->scan = (int)pick(g, 0, rank - 1);
        value = expr_binary(g->ir, chance(g, 0.5) ? OP_ADD : OP_MAX, value, earlier(g, target));
        g->info->scan = true;
    }
    g->made[g->nmade++] = target;
    block_append(g->ir, g->n->body, wrap_loops(g, name, stmt_store(g->ir, target, idx, value)));
}

/* Of a stage with two results, the other one is now and then read too, here or a little further on.
 */
static const struct expr *read_other(struct gen *g, const struct expr *const *idx,
                                     const struct expr *value)
{
    struct ir *ir = g->ir;
    struct tensor *t = g->other;
    struct rng own = *g->r;
    if (!t || !rng_chance(&own, 0.3)) return value;
    const struct expr *at[4], *cond = NULL;
    int d = (int)rng_range(&own, 0, t->rank - 1);
    for (int i = 0; i < t->rank; i++) at[i] = idx[i];
    at[d] = expr_add(ir, at[d], expr_int(ir, rng_range(&own, 0, 2)));
    cond = bounds_cond(g, at[d], t->extent[d]);
    const struct expr *e = cond ? expr_loadc(ir, t, cond, expr_const(ir, t->type, 1), at, t->rank)
                                : expr_load(ir, t, at, t->rank);
    e = clamp(g, e, 5);
    if (!type_eq(e->type, value->type)) e = expr_cast(ir, value->type, CAST_PLAIN, e);
    return expr_binary(ir, OP_ADD, value, e);
}

/* The output: like the last temporary where there is one, so that tiles have something to fuse. */
static void output_stage(struct gen *g, int rank, struct type t)
{
    const struct expr *idx[4];
    struct ir *ir = g->ir;
    struct tensor *last = g->nmade ? g->made[g->nmade - 1] : NULL;
    if (last && chance(g, 0.75)) {
        rank = last->rank;
        g->pure = g->reduce = 0;
        g->points = 1;
        g->scan = -1;
        g->env = env_new(ir);
        if (g->dyn) env_fact(g->env, expr_binary(ir, OP_LE, expr_int(ir, 0), g->dyn));
        for (int i = 0; i < rank; i++, g->pure++) {
            char name[16];
            snprintf(name, sizeof name, "y.i%d", i);
            g->var[i] = var_new(ir, arena_strdup(ir->arena, name), type_of(TYPE_S64));
            g->extent[i] = last->extent[i];
            if (!expr_is_int(last->extent[i], &g->size[i])) g->size[i] = 0;
            env_put(g->env, g->var[i], expr_int(ir, 0), g->extent[i]);
            idx[i] = var_expr(g, i);
        }
        const struct expr *load = clamp(g, expr_load(ir, last, idx, rank), 7);
        if (!type_eq(load->type, t)) load = expr_cast(ir, t, CAST_PLAIN, load);
        int order[4] = {0, 1, 2, 3};
        if (chance(g, 0.4))
            load = expr_binary(ir, OP_ADD, load, random_load(g, t, order, rank, false));
        struct tensor *y = tensor_new(ir, "y", t, SCOPE_OUT, rank, g->extent);
        nest_add_tensor(g->n, y);
        load = read_other(g, idx, load);
        block_append(ir, g->n->body, wrap_loops(g, "y", stmt_store(ir, y, idx, load)));
    } else {
        begin_stage(g, "y", rank, 0);
        const struct expr *value = random_value(g, t, true);
        for (int d = 0; d < rank; d++) idx[d] = var_expr(g, d);
        struct tensor *y = tensor_new(ir, "y", t, SCOPE_OUT, rank, g->extent);
        nest_add_tensor(g->n, y);
        block_append(ir, g->n->body, wrap_loops(g, "y", stmt_store(ir, y, idx, value)));
    }
    g->info->rank = rank;
}

struct nest *gen_nest(struct ir *ir, struct rng *r, const struct gen_options *o,
                      struct gen_info *info)
{
    static const enum dtype dtypes[] = {TYPE_F32, TYPE_F32, TYPE_F32, TYPE_F64, TYPE_S32,
                                        TYPE_S8,  TYPE_U8,  TYPE_S16, TYPE_S64, TYPE_U32};
    static const char *const names[] = {"a", "b", "c"};
    struct gen g = {.ir = ir, .r = r, .o = o, .info = info, .n = nest_new(ir, "random")};
    memset(info, 0, sizeof *info);
    info->dtype = dtypes[rng_range(r, 0, QN_COUNT(dtypes) - 1)];
    struct type t = type_of(info->dtype);
    if (rng_chance(r, o->dyn)) {
        const struct var *v = var_new(ir, "D", type_of(TYPE_S64));
        nest_add_dyn(g.n, v);
        g.dyn = expr_var(ir, v);
        info->dyn[0] = rng_range(r, 0, 13);
    }
    int stages = (int)rng_range(r, 0, o->max_stages - 1);
    if (stages == 1 && rng_chance(r, 0.35)) stages = 2;
    if (stages == 0 && rng_chance(r, 0.6)) stages = 1;
    for (int i = 0; i < stages; i++) {
        int rank = (int)rng_range(r, 1, 4);
        g.only_const = !g.dyn && i == 0 && stages > 1 && rng_chance(r, 0.25);
        if (rng_chance(r, i == 0 && stages > 1 ? 0.55 : 0.7))
            reduce_stage(&g, names[i], rank, t);
        else
            plain_stage(&g, names[i], rank, t);
        g.only_const = false;
    }
    output_stage(&g, (int)rng_range(r, 1, 4), t);
    info->stages = stages + 1;
    return g.n;
}
