/* lower_call: casts, builtin functions and defs.
 *
 *     s8(v, sat, round_even)     CAST with its mode
 *     def relu(v) = max(v, 0)    relu(e) lowers the body with v bound to e: a macro with
 *                                typed arguments */
#include <float.h>
#include <math.h>
#include <string.h>

#include "dsl/lower_int.h"

static bool typed(struct low *out, const struct expr *e)
{
    *out = (struct low){.kind = LOW_TYPED, .e = e};
    return true;
}

static bool cast_mode(const struct node *n, enum cast_mode *out)
{
    bool sat = false, even = false, away = false;
    for (int i = 1; i < n->n; i++) {
        sat |= strcmp(n->a[i]->name, "sat") == 0;
        even |= strcmp(n->a[i]->name, "round_even") == 0;
        away |= strcmp(n->a[i]->name, "round_away") == 0;
    }
    *out = sat ? (even   ? CAST_SAT_ROUND_EVEN
                  : away ? CAST_SAT_ROUND_AWAY
                         : CAST_SAT)
               : (even   ? CAST_ROUND_EVEN
                  : away ? CAST_ROUND_AWAY
                         : CAST_PLAIN);
    return !(even && away);
}

/* f16 and bf16 are stored, not computed in: a cast to one rounds and comes back as f32. */
static const struct expr *make_cast(struct lower *L, enum dtype d, enum cast_mode mode,
                                    const struct expr *e)
{
    e = expr_cast(L->ir, type_of(d), mode, e);
    return d == TYPE_F16 || d == TYPE_BF16 ? expr_cast(L->ir, type_of(TYPE_F32), CAST_PLAIN, e) : e;
}

static bool lower_cast(struct lower *L, const struct node *n, enum dtype d,
                       const struct binding *env, struct low *out)
{
    struct low v;
    const struct expr *e;
    enum cast_mode mode;
    if (!cast_mode(n, &mode))
        return low_fail(L, n, "dsl.cast", "a cast rounds to even or away from zero, not both");
    if (!lower_node(L, n->a[0], env, &v)) return false;
    if (v.kind == LOW_VALUE && v.v.kind == VALUE_INT && d != TYPE_F16 && d != TYPE_BF16 &&
        !low_to_type(L, n, &v, d, &e))
        return false;
    if (v.kind == LOW_VALUE && v.v.kind == VALUE_INT && d != TYPE_F16 && d != TYPE_BF16)
        return typed(out, e);
    if (v.kind == LOW_VALUE && v.v.kind == VALUE_REAL) {
        if (!low_to_type(L, n, &v, TYPE_F64, &e)) return false;
    } else if (!low_to_typed(L, n, &v, &e)) {
        return false;
    }
    if (d == TYPE_B1)
        return low_fail(L, n, "dsl.type", "a truth value comes from a comparison: v != 0");
    if (e->type.dtype == TYPE_B1) { /* true is 1 */
        const struct expr *one = expr_const(L->ir, type_of(d), 1),
                          *zero = expr_const(L->ir, type_of(d), 0);
        return typed(out, expr_select(L->ir, e, one, zero));
    }
    return typed(out, make_cast(L, d, mode, e));
}

static bool lower_def(struct lower *L, const struct node *n, const struct item *def,
                      const struct binding *env, struct low *out)
{
    struct binding arg[DSL_ARGS];
    const struct binding *inner = NULL;
    for (int i = 0; i < n->n; i++) {
        arg[i] = (struct binding){.name = def->names[i], .up = inner};
        if (!lower_node(L, n->a[i], env, &arg[i].v)) return false;
        inner = &arg[i];
    }
    /* reductions remember their environment, so it must outlive this call */
    struct binding *kept = NULL;
    for (int i = 0; i < n->n; i++) {
        struct binding *b = ARENA_NEW(L->ir->arena, struct binding);
        *b = arg[i];
        b->up = kept;
        kept = b;
    }
    return lower_node(L, def->value, kept, out);
}

static const struct item *find_def(struct lower *L, const char *name)
{
    const struct item *it = L->al ? body_find(&L->al->body, ITEM_DEF, name) : NULL;
    return it ? it : body_find(&L->t->op->body, ITEM_DEF, name);
}

/* lowest(T), highest(T): infinities for floats, so that they are identities of max and min */
static bool lower_limit(struct lower *L, const struct node *n, enum dtype d, struct low *out)
{
    bool low = n->name[0] == 'l';
    if (dtype_is_float(d))
        return typed(out, expr_real(L->ir, type_of(d == TYPE_F64 ? d : TYPE_F32),
                                    low ? -INFINITY : INFINITY));
    if (!dtype_is_int(d)) return low_fail(L, n, "dsl.type", "%s has no limits", dtype_name(d));
    if (d == TYPE_U64 && !low) return typed(out, expr_int_of(L->ir, type_of(d), -1));
    int64_t max = low_int_max(d);
    return typed(out,
                 expr_int_of(L->ir, type_of(d), low ? (dtype_is_signed(d) ? -max - 1 : 0) : max));
}

static bool lower_bitcast(struct lower *L, const struct node *n, enum dtype d,
                          const struct binding *env, struct low *out)
{
    struct low v;
    if (!lower_node(L, n->a[1], env, &v)) return false;
    if (v.kind != LOW_TYPED || dtype_bits((enum dtype)v.e->type.dtype) != dtype_bits(d) ||
        d == TYPE_B1 || d == TYPE_F16 || d == TYPE_BF16)
        return low_fail(L, n, "dsl.type", "bitcast needs data of as many bits as %s",
                        dtype_name(d));
    if (v.e->type.dtype == d) return typed(out, v.e);
    return typed(out, expr_make(L->ir, OP_BITCAST, type_of(d), &v.e, 1, NULL));
}

/* Arguments from `from` on, as expressions of one type; known ones and extents follow the data.
 * Without data they are s64 or f32, or s64 or f64 where the neighbour of the call still decides. */
static bool lower_args(struct lower *L, const struct node *n, int from, const struct low *v,
                       bool adapts, const struct expr **e)
{
    enum dtype d = TYPE_COUNT;
    bool real = false;
    int first = from;
    for (int i = from; i < n->n; i++) {
        if (v[i].kind == LOW_TYPED && d != TYPE_COUNT && d != (enum dtype)v[i].e->type.dtype)
            return low_mix_fail(L, n, (const struct node *const[]){n->a[first], n->a[i]},
                                (const struct expr *const[]){v[first].e, v[i].e});
        if (v[i].kind == LOW_TYPED && d == TYPE_COUNT) first = i;
        if (v[i].kind == LOW_TYPED) d = (enum dtype)v[i].e->type.dtype;
        real |= v[i].kind == LOW_VALUE ? v[i].v.kind == VALUE_REAL
                                       : dtype_is_float((enum dtype)v[i].e->type.dtype);
    }
    if (d == TYPE_COUNT) d = !real ? TYPE_S64 : adapts ? TYPE_F64 : TYPE_F32;
    for (int i = from; i < n->n; i++)
        if (!low_to_type(L, n->a[i], &v[i], d, &e[i])) return false;
    return true;
}

/* No data in it: its neighbour decides the type, as it does for max(8, 1). */
static bool is_free(const struct low *v, int from, int n)
{
    for (int i = from; i < n; i++)
        if (v[i].kind == LOW_TYPED) return false;
    return true;
}

static bool give(struct low *out, bool adapts, const struct expr *e)
{
    *out = (struct low){.kind = adapts ? LOW_FREE : LOW_TYPED, .e = e};
    return true;
}

static bool takes(enum op op, enum dtype d)
{
    switch (op) {
    case OP_MIN:
    case OP_MAX:
    case OP_ABS:
        return d != TYPE_B1;
    case OP_POPCOUNT:
    case OP_RSHR:
        return dtype_is_int(d);
    default:
        return dtype_is_float(d);
    }
}

static bool lower_select(struct lower *L, const struct node *n, const struct low *v,
                         struct low *out)
{
    const struct expr *e[3], *cond;
    if (v[0].kind == LOW_VALUE) {
        *out = v[0].v.i ? v[1] : v[2];
        return true;
    }
    if (!low_to_type(L, n->a[0], &v[0], TYPE_B1, &cond)) return false;
    bool adapts = is_free(v, 1, 3);
    if (!lower_args(L, n, 1, v, adapts, e)) return false;
    return give(out, adapts, expr_select(L->ir, cond, e[1], e[2]));
}

static bool lower_builtin(struct lower *L, const struct node *n, const struct low *v,
                          struct low *out)
{
    const struct expr *e[3] = {0};
    int arity = 0;
    enum op op = builtin_op(n->name, &arity);
    if (arity == 1 && v[0].kind == LOW_FREE && !takes(op, TYPE_S64)) /* a real, as sqrt(8) is */
        return low_to_type(L, n->a[0], &v[0], TYPE_F32, &e[0]) &&
               typed(out, expr_unary(L->ir, op, e[0]));
    bool clamp = strcmp(n->name, "clamp") == 0, ceildiv = strcmp(n->name, "ceildiv") == 0;
    bool adapts =
        (clamp || ceildiv || op == OP_MIN || op == OP_MAX || op == OP_ABS) && is_free(v, 0, n->n);
    if (!lower_args(L, n, 0, v, adapts, e)) return false;
    enum dtype d = (enum dtype)e[0]->type.dtype;
    if (clamp) {
        if (d == TYPE_B1)
            return low_fail(L, n, "dsl.type", "clamp does not take %s", dtype_name(d));
        return give(out, adapts,
                    expr_binary(L->ir, OP_MIN, expr_binary(L->ir, OP_MAX, e[0], e[1]), e[2]));
    }
    if (ceildiv) {
        int64_t by = 0;
        if (!dtype_is_int(d) || !expr_is_int(e[1], &by) || by < 1)
            return low_fail(L, n, "dsl.type",
                            "ceildiv needs integers and a known positive divisor");
        const struct expr *up =
            expr_binary(L->ir, OP_ADD, e[0], expr_int_of(L->ir, type_of(d), by - 1));
        return give(out, adapts, expr_binary(L->ir, OP_DIV, up, e[1]));
    }
    if (!takes(op, d))
        return low_fail(L, n, "dsl.type", "%s does not take %s", n->name, dtype_name(d));
    if (op == OP_RSHR && v[1].kind == LOW_VALUE && (v[1].v.i < 0 || v[1].v.i >= dtype_bits(d)))
        return low_fail(L, n, "dsl.value", "a shift by %lld does not fit %s", (long long)v[1].v.i,
                        dtype_name(d));
    return give(out, adapts,
                arity == 1 ? expr_unary(L->ir, op, e[0]) : expr_binary(L->ir, op, e[0], e[1]));
}

bool lower_call(struct lower *L, const struct node *n, const struct binding *env, struct low *out)
{
    struct low v[DSL_ARGS];
    struct value known[DSL_ARGS];
    enum dtype d = TYPE_COUNT;
    const struct item *def = find_def(L, n->name);
    if (def) return lower_def(L, n, def, env, out);
    int arity = 0;
    bool builtin = builtin_op(n->name, &arity) != OP_COUNT || builtin_is_special(n->name, &arity);
    if (!builtin) {
        if (!dtype_of_name(&L->s, n->name, &d))
            return low_fail(L, n, "dsl.dtype", "'%s' is not a dtype here", n->name);
        return lower_cast(L, n, d, env, out);
    }
    bool by_type = strcmp(n->name, "bitcast") == 0 || strcmp(n->name, "lowest") == 0 ||
                   strcmp(n->name, "highest") == 0;
    if (by_type) {
        if (!dtype_of_name(&L->s, n->a[0]->name, &d))
            return low_fail(L, n->a[0], "dsl.dtype", "'%s' is not a dtype here", n->a[0]->name);
        return n->n == 1 ? lower_limit(L, n, d, out) : lower_bitcast(L, n, d, env, out);
    }
    bool all_known = true;
    for (int i = 0; i < n->n; i++) {
        if (!lower_node(L, n->a[i], env, &v[i])) return false;
        all_known &= v[i].kind == LOW_VALUE;
        known[i] = v[i].v;
    }
    const char *why = NULL;
    *out = (struct low){.kind = LOW_VALUE};
    if (all_known && value_call(n->name, n->n, known, &out->v, &why)) return true;
    if (strcmp(n->name, "select") == 0) return lower_select(L, n, v, out);
    return lower_builtin(L, n, v, out);
}
