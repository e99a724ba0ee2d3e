/* cg_c_mem: where tensors live in C, element access, and stores.
 *
 *   y[ramp(i*16, 1, 16)] = v under ramp(..) < n
 *     ->  for (l..) { if (i * 16 + l < n) { y[i * 16 + l] = v[l]; } }
 *
 * Invariants: an element is touched only where the kernel says so; a vector store reads all it
 * needs before it writes any lane. */
#include <string.h>

#include "codegen/cg_c.h"

/* ---- bases ----------------------------------------------------------------------------------- */

static const char *temp_base(struct cc *c, const struct tensor *t)
{
    int64_t at = t->scratch_at + (t->scratch_per_worker ? c->k->scratch_a : 0);
    const char *type = cc_memory_type((enum dtype)t->type.dtype);
    if (t->scratch_per_worker && c->fn->worker)
        return cc_fmt(c, "((%s *)(void *)(scratch + %lld + %s * %lld))", type, (long long)at,
                      c->fn->worker, (long long)c->k->scratch_b);
    return cc_fmt(c, "((%s *)(void *)(scratch + %lld))", type, (long long)at);
}

/* A pointer declared at the top of the function. */
static const char *temp_name(struct cc *c, const struct tensor *t)
{
    const char *name = c->fn->base[t->id] = cc_name(c, t->name);
    buf_printf(&c->fn->head, "    %s *const %s = %s;\n", cc_memory_type((enum dtype)t->type.dtype),
               name, cc_bare(c, temp_base(c, t)));
    return name;
}

static const char *table_base(struct cc *c, const struct tensor *t)
{
    if (c->table[t->id]) return c->table[t->id];
    int64_t n = 0;
    enum dtype d = (enum dtype)t->type.dtype;
    if (t->rank != 1 || !expr_is_int(t->extent[0], &n))
        return cc_fail(c, "c.form", "table '%s' is not flat", t->name);
    const char *name = cc_name(c, t->name);
    buf_printf(&c->tables, "static const %s %s[%lld] = {",
               d == TYPE_F16 || d == TYPE_BF16 ? "float" : cc_memory_type(d), name, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        bool real = dtype_is_float(d);
        double v = real ? expr_real(c->ir, type_of(d), t->table[i])->u.f
                        : t->table[i]; /* rounded to the type */
        const char *text =
            real ? cc_real(c, d, v) : cc_int(c, d == TYPE_B1 ? TYPE_U8 : d, (int64_t)v);
        if (!strncmp(text, "qn_", 3) || strstr(text, "qn_inf"))
            return cc_fail(c, "c.op", "table '%s' holds no finite number", t->name);
        buf_printf(&c->tables, "%s%s", i == 0 ? "" : i % 8 ? ", " : ",\n    ", text);
    }
    buf_puts(&c->tables, "};\n");
    return c->table[t->id] = name;
}

const char *cc_base(struct cc *c, const struct tensor *t)
{
    if (t->scope == SCOPE_TABLE) return table_base(c, t);
    if (c->fn->base[t->id]) return c->fn->base[t->id];
    if (t->scope == SCOPE_TEMP) return temp_name(c, t);
    return cc_fail(c, "c.form", "tensor '%s' has no memory here", t->name);
}

const char *cc_element(struct cc *c, const struct tensor *t, const char *at)
{
    return cc_fmt(c, "%s[%s]", cc_base(c, t), cc_bare(c, at));
}

const char *cc_get(struct cc *c, enum dtype d, const char *element)
{
    switch (d) {
    case TYPE_F16:
        cc_need(c, "qn_get_f16");
        return cc_fmt(c, "qn_get_f16(%s)", element);
    case TYPE_BF16:
        cc_need(c, "qn_get_bf16");
        return cc_fmt(c, "qn_get_bf16(%s)", element);
    case TYPE_B1:
        return cc_fmt(c, "(%s != 0)", element);
    default:
        return element;
    }
}

const char *cc_put(struct cc *c, enum dtype d, const char *value)
{
    switch (d) {
    case TYPE_F16:
        cc_need(c, "qn_put_f16");
        return cc_fmt(c, "qn_put_f16(%s)", cc_bare(c, value));
    case TYPE_BF16:
        cc_need(c, "qn_put_bf16");
        return cc_fmt(c, "qn_put_bf16(%s)", cc_bare(c, value));
    case TYPE_B1:
        return cc_fmt(c, "(uint8_t)%s", value);
    default:
        return value;
    }
}

/* A table of a narrow float holds its values as float: they are exact. */
static const char *get_from(struct cc *c, const struct tensor *t, const char *element)
{
    bool plain =
        t->scope == SCOPE_TABLE && (t->type.dtype == TYPE_F16 || t->type.dtype == TYPE_BF16);
    return plain ? element : cc_get(c, (enum dtype)t->type.dtype, element);
}

const char *cc_load_element(struct cc *c, const struct tensor *t, const struct expr *at)
{
    return get_from(c, t,
                    at->type.lanes > 1 ? cc_element(c, t, cc_expr(c, at)) : cc_at(c, t, at, 0));
}

const char *cc_reg(struct cc *c, const struct tensor *t, const struct expr *at)
{
    int64_t i = 0, n = 0;
    if (!c->fn->reg[t->id])
        return cc_fail(c, "c.form", "register tile '%s' is used outside its allocation", t->name);
    if (!expr_is_int(at, &i) || !expr_is_int(t->extent[0], &n) || i < 0 || i >= n)
        return cc_fail(c, "c.form",
                       "register tile '%s' has a subscript that is not a constant inside it",
                       t->name);
    return c->fn->reg[t->id][i];
}

/* ---- stores ---------------------------------------------------------------------------------- */

struct aliases {
    const struct tensor *t;
    const struct expr *at;
    bool other; /* t is read at another subscript */
};

static void find_alias(const struct expr *e, void *ctx)
{
    struct aliases *a = ctx;
    if ((e->op == OP_LOAD || e->op == OP_LOADC) && e->u.tensor == a->t &&
        e->a[expr_load_first(e)] != a->at)
        a->other = true;
}

/* Does the value read the stored tensor at other places than the one each lane writes? */
static bool reads_elsewhere(const struct stmt *s, const struct expr *mask)
{
    struct aliases a = {s->u.store.tensor, s->u.store.idx[0], false};
    expr_walk(s->u.store.value, find_alias, &a);
    expr_walk(s->u.store.idx[0], find_alias, &a);
    if (mask) expr_walk(mask, find_alias, &a);
    return a.other;
}

static void assign(struct cc *c, const struct stmt *s, const char *lvalue, const char *value)
{
    cc_line(c, "%s = %s;", lvalue,
            cc_bare(c, cc_put(c, (enum dtype)s->u.store.tensor->type.dtype, value)));
}

/* Lane by lane; `held`: an array or vector that already has the values, or NULL. */
static void store_lanes(struct cc *c, const struct stmt *s, const struct expr *mask,
                        const char *held)
{
    const struct tensor *t = s->u.store.tensor;
    uint32_t saved;
    c->lane = cc_lane_open(c, s->u.store.value->type.lanes, &saved);
    if (mask) {
        cc_line(c, "if (%s) {", cc_bare(c, cc_expr(c, mask)));
        c->fn->depth++;
        c->guarded++;
    }
    const char *at = cc_expr(c, s->u.store.idx[0]);
    const char *v = held ? cc_fmt(c, "%s[%s]", held, c->lane) : cc_expr(c, s->u.store.value);
    assign(c, s, cc_element(c, t, at), v);
    if (mask) {
        c->guarded--;
        c->fn->depth--;
        cc_line(c, "}");
    }
    cc_lane_close(c, saved);
}

/* All lanes' values first, then the writes. */
static void store_held(struct cc *c, const struct stmt *s, const struct expr *mask)
{
    const struct expr *value = s->u.store.value;
    const char *t = cc_name(c, "t");
    uint32_t saved;
    cc_line(c, "%s %s[%d];", cc_value_type((enum dtype)value->type.dtype), t, value->type.lanes);
    c->lane = cc_lane_open(c, value->type.lanes, &saved);
    cc_line(c, "%s[%s] = %s;", t, c->lane, cc_bare(c, cc_expr(c, value)));
    cc_lane_close(c, saved);
    store_lanes(c, s, mask, t);
}

static void store_reg(struct cc *c, const struct stmt *s, const struct expr *mask)
{
    const struct tensor *t = s->u.store.tensor;
    const char *r = cc_reg(c, t, s->u.store.idx[0]);
    if (c->failed) return;
    if (t->type.lanes == 1) {
        cc_line(c, "%s = %s;", r, cc_bare(c, cc_expr(c, s->u.store.value)));
        return;
    }
    if (!mask && c->vector && cc_is_vector_type(c, t->type)) {
        cc_line(c, "%s = %s;", r, cc_bare(c, cc_vector(c, s->u.store.value)));
        return;
    }
    uint32_t saved;
    c->lane = cc_lane_open(c, t->type.lanes, &saved);
    if (mask) cc_line(c, "if (%s) {", cc_bare(c, cc_expr(c, mask)));
    if (mask) c->fn->depth++;
    cc_line(c, "%s[%s] = %s;", r, c->lane, cc_bare(c, cc_expr(c, s->u.store.value)));
    if (mask) c->fn->depth--;
    if (mask) cc_line(c, "}");
    cc_lane_close(c, saved);
}

/* A GNU vector, contiguous: one store, or one masked store. False: lane by lane instead. */
static bool store_wide(struct cc *c, const struct stmt *s, const struct expr *mask)
{
    const struct tensor *t = s->u.store.tensor;
    struct type type = s->u.store.value->type;
    struct access_info a;
    const char *name, *elem, *mtype;
    if (!c->vector || !cc_is_vector_type(c, type)) return false;
    access_classify(c->ir, s->u.store.idx[0], &a);
    if (a.kind != ACCESS_CONTIGUOUS) return false;
    if (mask) {
        if (!cc_masked_builtin(c, type, true, &name, &elem, &mtype)) return false;
        const char *bits = cc_kmask(c, mask);
        if (!bits) return false;
        const char *v = cc_vector(c, s->u.store.value);
        const char *at = cc_at(c, t, a.base, 0);
        cc_line(c, "%s((void *)&%s, (%s)%s, (%s)%s);", name, at, elem, v, mtype, bits);
        return true;
    }
    const char *v = cc_vector(c, s->u.store.value);
    cc_line(c, "*(%s *)(void *)&%s = %s;", cc_unaligned_type(c, type), cc_at(c, t, a.base, 0),
            cc_bare(c, v));
    return true;
}

void cc_store(struct cc *c, const struct stmt *s, const struct expr *mask)
{
    const struct tensor *t = s->u.store.tensor;
    if (t->rank != 1) {
        cc_fail(c, "c.form", "tensor '%s' is not flat", t->name);
        return;
    }
    c->lane = NULL;
    if (t->scope == SCOPE_REG) {
        store_reg(c, s, mask);
    } else if (s->u.store.value->type.lanes == 1) {
        const char *v = cc_expr(c, s->u.store.value);
        assign(c, s, cc_at(c, t, s->u.store.idx[0], 0), v);
    } else if (!store_wide(c, s, mask)) {
        if (c->vector && cc_is_vector_type(c, s->u.store.value->type)) {
            const char *v = cc_vector(c, s->u.store.value), *held = cc_name(c, "t");
            cc_line(c, "const %s %s = %s;", cc_vector_type(c, s->u.store.value->type), held,
                    cc_bare(c, v));
            store_lanes(c, s, mask, held);
        } else if (reads_elsewhere(s, mask)) {
            store_held(c, s, mask);
        } else {
            store_lanes(c, s, mask, NULL);
        }
    }
    c->lane = NULL;
    if (t->scope != SCOPE_REG) c->epoch++;
}
