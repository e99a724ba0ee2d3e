/* cg_c_stmt: statements, scopes and lane loops.
 *
 *   alloc reg acc: f32x16[28]   ->   v_f32x16 acc_0 = {0}; ... acc_27
 *                                    named, so that they stay in registers
 *
 * Invariants: a C block is a scope; uses are counted over the stores of one block before the first
 * of them is printed, so that what is used twice is named before its first use. */
#include <string.h>

#include "codegen/cg_c.h"

void cc_scope_push(struct cc *c, uint32_t *saved)
{
    *saved = c->fn->scope;
    vec_push(&c->scope_open, 1);
    c->fn->scope = (uint32_t)c->scope_open.n - 1;
}

void cc_scope_pop(struct cc *c, uint32_t saved)
{
    c->scope_open.p[c->fn->scope] = 0;
    c->fn->scope = saved;
}

void cc_function(struct cc *c, struct cc_fn *f, struct buf *body)
{
    memset(f, 0, sizeof *f);
    f->o = body;
    f->depth = 1;
    f->serial = ++c->next_fn;
    f->base = ARENA_ARRAY(c->a, const char *, c->ir->next_tensor + 1);
    f->reg = ARENA_ARRAY(c->a, const char **, c->ir->next_tensor + 1);
    f->var = ARENA_ARRAY(c->a, const char *, c->ir->next_var + 1);
    vec_push(&c->scope_open, 1);
    f->scope = (uint32_t)c->scope_open.n - 1;
    buf_init(&f->head, 1 << 20);
    c->fn = f;
}

void cc_function_end(struct cc *c, struct cc_fn *outer)
{
    struct cc_fn *f = c->fn;
    buf_put(&c->funcs, f->head.p, f->head.n);
    buf_put(&c->funcs, f->o->p, f->o->n);
    buf_puts(&c->funcs, "}\n\n");
    if (f->head.full || f->o->full)
        cc_fail(c, "c.too_big", "the emitted file would be larger than its limit");
    buf_fini(&f->head);
    c->scope_open.p[f->scope] = 0;
    c->fn = outer;
}

const char *cc_lane_open(struct cc *c, int lanes, uint32_t *saved)
{
    const char *l = cc_name(c, "l");
    if (!c->vector) cc_line(c, "QN_LANES");
    cc_line(c, "for (int %s = 0; %s < %d; %s++) {", l, l, lanes, l);
    c->fn->depth++;
    cc_scope_push(c, saved);
    return l;
}

void cc_lane_close(struct cc *c, uint32_t saved)
{
    cc_scope_pop(c, saved);
    c->fn->depth--;
    cc_line(c, "}");
    c->lane = NULL;
}

/* ---- counting -------------------------------------------------------------------------------- */

static void count_slot(const struct expr **slot, void *ctx) { cc_count(ctx, *slot, false); }
static void recount_slot(const struct expr **slot, void *ctx) { cc_count(ctx, *slot, true); }

static void count_stmt(struct cc *c, struct stmt *s)
{
    c->stmt = ++c->next_stamp;
    if (s->kind == ST_STORE || s->kind == ST_LET || s->kind == ST_IF) stmt_exprs(s, count_slot, c);
    if (s->kind == ST_STORE) cc_count_address(c, s->u.store.tensor, s->u.store.idx[0]);
    if (s->kind == ST_IF && s->u.cond.cond->type.lanes > 1) count_stmt(c, s->u.cond.then);
    if (s->kind == ST_BLOCK)
        for (int i = 0; i < s->u.block.n; i++) count_stmt(c, s->u.block.p[i]);
}

/* What reads memory or registers is shared within one statement only: counted again when its turn
 * comes. */
static void open_stmt(struct cc *c, struct stmt *s)
{
    c->stmt = ++c->next_stamp;
    if (s->kind == ST_STORE || s->kind == ST_LET || s->kind == ST_IF)
        stmt_exprs(s, recount_slot, c);
    if (s->kind != ST_IF || s->u.cond.cond->type.lanes == 1) return;
    s = s->u.cond.then;
    if (s->kind == ST_BLOCK && s->u.block.n == 1) s = s->u.block.p[0];
    if (s->kind == ST_STORE) stmt_exprs(s, recount_slot, c);
}

/* ---- statements ------------------------------------------------------------------------------ */

static void print_body(struct cc *c, struct stmt *body)
{
    uint32_t saved;
    c->fn->depth++;
    cc_scope_push(c, &saved);
    c->epoch++;
    cc_stmt(c, body);
    c->epoch++;
    cc_scope_pop(c, saved);
    c->fn->depth--;
}

static void print_for(struct cc *c, struct stmt *s)
{
    int64_t a = 0, b = 0;
    const struct expr *lo = s->u.loop.lo, *hi = s->u.loop.hi;
    bool known = expr_is_int(lo, &a) && expr_is_int(hi, &b);
    if (known && a >= b) return;
    if (s->u.loop.kind == LOOP_PARALLEL && !c->fn->parallel) {
        cc_parallel(c, s);
        return;
    }
    env_put(c->env, s->u.loop.var, lo, hi);
    const char *from = cc_bare(c, cc_expr(c, lo)), *to = cc_bare(c, cc_expr(c, hi)),
               *v = cc_name(c, s->u.loop.var->name);
    if (hi->n) { /* evaluated once */
        const char *end = cc_name(c, "end");
        cc_line(c, "const int64_t %s = %s;", end, to);
        to = end;
    }
    cc_line(c, "for (int64_t %s = %s; %s < %s; %s++) {", v, from, v, to, v);
    c->fn->var[s->u.loop.var->id] = v;
    print_body(c, s->u.loop.body);
    cc_line(c, "}");
}

static void print_if(struct cc *c, struct stmt *s)
{
    const struct expr *cond = s->u.cond.cond;
    struct stmt *then = s->u.cond.then;
    if (cond->type.lanes > 1) {
        if (then->kind == ST_BLOCK && then->u.block.n == 1) then = then->u.block.p[0];
        if (then->kind != ST_STORE)
            cc_fail(c, "c.form", "a vector condition guards more than one store");
        else
            cc_store(c, then, cond);
        return;
    }
    cc_line(c, "if (%s) {", cc_bare(c, cc_expr(c, cond)));
    print_body(c, then);
    cc_line(c, "}");
}

struct reg_reads {
    const struct tensor *t;
    bool *read; /* by element */
};

static void note_reg_read(const struct expr *e, void *ctx)
{
    struct reg_reads *r = ctx;
    int64_t i = 0;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != r->t) return;
    if (expr_is_int(e->a[e->n - 1], &i)) r->read[i] = true;
}

static void note_reg_slot(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, note_reg_read, ctx);
}

static bool note_reg_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, note_reg_slot, ctx);
    return true;
}

/* Compilers warn of a variable that is only set (the last rows of a tile that has fewer). */
static void mention_unread(struct cc *c, const struct stmt *s, int64_t n)
{
    const struct tensor *t = s->u.alloc.tensor;
    struct reg_reads r = {t, ARENA_ARRAY(c->a, bool, n)};
    stmt_walk(s->u.alloc.body, note_reg_stmt, &r);
    for (int64_t i = 0; i < n; i++)
        if (!r.read[i]) cc_line(c, "(void)%s;", c->fn->reg[t->id][i]);
}

static void print_reg(struct cc *c, const struct tensor *t, int64_t n)
{
    const char **names = ARENA_ARRAY(c->a, const char *, n);
    bool vector = c->vector && cc_is_vector_type(c, t->type);
    for (int64_t i = 0; i < n; i++) {
        names[i] = cc_name(c, n > 1 ? cc_fmt(c, "%s_%lld", t->name, (long long)i) : t->name);
        if (vector)
            cc_line(c, "%s %s = {0};", cc_vector_type(c, t->type), names[i]);
        else if (t->type.lanes > 1)
            cc_line(c, "%s %s[%d] = {0};", cc_value_type((enum dtype)t->type.dtype), names[i],
                    t->type.lanes);
        else
            cc_line(c, "%s %s = 0;", cc_value_type((enum dtype)t->type.dtype), names[i]);
    }
    c->fn->reg[t->id] = names;
}

static void print_alloc(struct cc *c, struct stmt *s)
{
    const struct tensor *t = s->u.alloc.tensor;
    int64_t n = 0;
    if (t->scope != SCOPE_TEMP) {
        if (t->rank != 1 || !expr_is_int(t->extent[0], &n) || n <= 0 || n > 1 << 20) {
            cc_fail(c, "c.form", "'%s' is not a flat array of a known size", t->name);
            return;
        }
        if (t->scope == SCOPE_REG) {
            print_reg(c, t, n);
            mention_unread(c, s, n);
        } else {
            c->fn->base[t->id] = cc_name(c, t->name);
            cc_line(c, "%s %s[%lld];", cc_memory_type((enum dtype)t->type.dtype),
                    c->fn->base[t->id], (long long)n);
        }
    }
    cc_stmt(c, s->u.alloc.body);
}

struct use {
    const struct var *v;
    bool found;
};

static void use_slot(const struct expr **slot, void *ctx)
{
    struct use *u = ctx;
    if (!u->found && expr_uses_var(*slot, u->v)) u->found = true;
}

static bool use_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, use_slot, ctx);
    return !((struct use *)ctx)->found;
}

/* A vector variable: bits for a mask of AVX-512 moves, a vector where the type has one, else an
 * array of lanes. */
static const char *let_vector(struct cc *c, const struct var *v, const struct expr *value)
{
    bool mask = value->type.dtype == TYPE_B1;
    if (mask && c->vector && cc_reads(c, value) == 0) c->alias[v->id] = value;
    const char *bits = mask && c->avx512 && c->vector ? cc_kmask(c, value) : NULL;
    const char *text = bits ? bits : cc_is_vector_type(c, value->type) ? cc_vector(c, value) : NULL;
    const char *name = cc_name(c, v->name), *type = cc_value_type((enum dtype)value->type.dtype);
    if (text) {
        cc_line(c, "const %s %s = %s;", bits ? "uint64_t" : cc_vector_type(c, value->type), name,
                cc_bare(c, text));
        c->is_bits[v->id] = bits != NULL;
        if (c->alias[v->id]) cc_line(c, "(void)%s;", name); /* its readers may repeat the value */
        return name;
    }
    uint32_t saved;
    cc_line(c, "%s %s[%d];", type, name, value->type.lanes);
    c->lane = cc_lane_open(c, value->type.lanes, &saved);
    cc_line(c, "%s[%s] = %s;", name, c->lane, cc_bare(c, cc_expr(c, value)));
    cc_lane_close(c, saved);
    if (c->alias[v->id]) cc_line(c, "(void)%s;", name);
    return name;
}

static void print_let(struct cc *c, struct stmt *s)
{
    const struct var *v = s->u.let.var;
    const struct expr *value = s->u.let.value;
    struct use u = {v, false};
    stmt_walk(s->u.let.body, use_stmt, &u);
    if (u.found && value->type.lanes > 1) {
        c->fn->var[v->id] = let_vector(c, v, value);
    } else if (u.found) {
        const char *text = cc_bare(c, cc_expr(c, value)), *name = cc_name(c, v->name);
        cc_line(c, "const %s %s = %s;", cc_value_type((enum dtype)value->type.dtype), name, text);
        c->fn->var[v->id] = name;
        if (type_eq(value->type, type_of(TYPE_S64)))
            env_put(c->env, v, value, expr_add(c->ir, value, expr_int(c->ir, 1)));
    }
    cc_stmt(c, s->u.let.body);
}

static void print_one(struct cc *c, struct stmt *s)
{
    if (c->failed) return;
    if (s->kind != ST_BLOCK) open_stmt(c, s);
    c->at = s;
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) print_one(c, s->u.block.p[i]);
        break;
    case ST_STAGE:
        cc_stmt(c, s->u.stage.body);
        break;
    case ST_FOR:
        print_for(c, s);
        break;
    case ST_IF:
        print_if(c, s);
        break;
    case ST_LET:
        print_let(c, s);
        break;
    case ST_ALLOC:
        print_alloc(c, s);
        break;
    case ST_STORE:
        cc_store(c, s, NULL);
        break;
    case ST_UPDATE:
        cc_fail(c, "c.form", "an update was not lowered");
        break;
    }
}

void cc_stmt(struct cc *c, struct stmt *s)
{
    if (c->failed) return;
    uint32_t region = c->region;
    c->region = ++c->next_stamp;
    count_stmt(c, s);
    print_one(c, s);
    c->region = region;
}
