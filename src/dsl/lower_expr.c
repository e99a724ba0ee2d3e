/* lower_expr: names, operators and conversions of the operator language to IR expressions.
 *
 *     x[n] * scale + 1        x is f32, scale = 3 is known: mul(x[n], 3.0), add 1.0
 *
 * Typing: two data operands must have one type (f16 and bf16 are read as f32); what is known, and
 * extents, take the type of their neighbour; indices are s64 data. Booleans come from comparisons.
 * Nothing converts silently except known values, so every loss of precision is visible in the
 * text. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dsl/lower_int.h"

bool low_fail(struct lower *L, const struct node *n, const char *code, const char *fmt, ...)
{
    char msg[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    dsl_error(L->e, L->file, n->line, n->col, code, "%s", msg);
    return false;
}

/* ---- conversions ----------------------------------------------------------------------------- */

int64_t low_int_max(enum dtype d)
{
    int bits = dtype_bits(d) - dtype_is_signed(d);
    return bits >= 63 ? INT64_MAX : (INT64_C(1) << bits) - 1;
}

bool low_int_fits(enum dtype d, int64_t v)
{
    if (d == TYPE_B1) return v == 0 || v == 1;
    return v >= (dtype_is_signed(d) ? -low_int_max(d) - 1 : 0) && v <= low_int_max(d);
}

static bool value_to_type(struct lower *L, const struct node *n, const struct value *v,
                          enum dtype d, const struct expr **out)
{
    struct type t = type_of(d);
    if (v->kind == VALUE_INT && dtype_is_float(d)) {
        *out = expr_real(L->ir, t, (double)v->i);
        return true;
    }
    if (v->kind == VALUE_INT) {
        if (!low_int_fits(d, v->i))
            return low_fail(L, n, "dsl.literal", "%lld does not fit in %s", (long long)v->i,
                            dtype_name(d));
        *out = d == TYPE_B1 ? expr_bool(L->ir, v->i != 0) : expr_int_of(L->ir, t, v->i);
        return true;
    }
    if (v->kind == VALUE_REAL && dtype_is_float(d)) {
        *out = expr_real(L->ir, t, v->f);
        return true;
    }
    if (v->kind == VALUE_REAL)
        return low_fail(L, n, "dsl.type", "a real number meets %s here; write the cast you mean",
                        dtype_name(d));
    return low_fail(L, n, "dsl.type", "a %s is not a number",
                    v->kind == VALUE_LIST ? "list" : "symbol");
}

/* A free value in type d: constants become constants of d, so a select of two numbers costs no
 * cast. */
static const struct expr *convert_free(struct lower *L, const struct expr *e, enum dtype d)
{
    if (e->op == OP_INT) return expr_const(L->ir, type_of(d), (double)e->u.i);
    if (e->op == OP_REAL) return expr_const(L->ir, type_of(d), e->u.f);
    if (e->op == OP_SELECT)
        return expr_select(L->ir, e->a[0], convert_free(L, e->a[1], d),
                           convert_free(L, e->a[2], d));
    return expr_cast(L->ir, type_of(d), CAST_PLAIN, e);
}

/* A known value in type d. 1/2 among reals is hardly ever meant to be 0. */
static bool known_to_type(struct lower *L, const struct node *n, const struct low *v, enum dtype d,
                          const struct expr **out)
{
    if (v->floored && dtype_is_float(d))
        return low_fail(L, n, "dsl.floored",
                        "the quotient of integers is rounded down, to %lld, before it meets %s; "
                        "write a real in it (1.0/2), or the integer",
                        (long long)v->v.i, dtype_name(d));
    return value_to_type(L, n, &v->v, d, out);
}

bool low_to_type(struct lower *L, const struct node *n, const struct low *v, enum dtype d,
                 const struct expr **out)
{
    if (v->kind == LOW_VALUE) return known_to_type(L, n, v, d, out);
    enum dtype from = (enum dtype)v->e->type.dtype;
    if (from == d) {
        *out = v->e;
        return true;
    }
    bool adapts = v->kind == LOW_FREE && d != TYPE_B1 && (dtype_is_float(d) || from == TYPE_S64);
    if (d == TYPE_B1)
        return low_fail(L, n, "dsl.type",
                        "this is %s where a truth value is needed; compare it: v != 0",
                        dtype_name(from));
    if (!adapts)
        return low_fail(L, n, "dsl.type", "this is %s where %s is needed; write %s(...)",
                        dtype_name(from), dtype_name(d), dtype_name(d));
    *out = convert_free(L, v->e, d);
    return true;
}

bool low_to_typed(struct lower *L, const struct node *n, const struct low *v,
                  const struct expr **out)
{
    enum dtype d = v->kind != LOW_VALUE     ? (enum dtype)v->e->type.dtype
                   : v->v.kind == VALUE_INT ? TYPE_S64
                                            : TYPE_F32;
    return low_to_type(L, n, v, d, out);
}

bool lower_index(struct lower *L, const struct node *n, const struct binding *env,
                 const struct expr **out)
{
    struct low v;
    if (!lower_node(L, n, env, &v)) return false;
    if (v.kind == LOW_TYPED && dtype_is_int((enum dtype)v.e->type.dtype)) {
        *out = expr_cast(L->ir, type_of(TYPE_S64), CAST_PLAIN, v.e);
        return true;
    }
    if (v.kind == LOW_TYPED)
        return low_fail(L, n, "dsl.type", "a subscript is an integer, not %s",
                        dtype_name((enum dtype)v.e->type.dtype));
    return low_to_type(L, n, &v, TYPE_S64, out);
}

/* FREE operands: s64, or f64 as soon as a real is involved. */
static bool free_operand(struct lower *L, const struct node *n, const struct low *v, bool real,
                         const struct expr **out)
{
    if (v->kind == LOW_VALUE) return known_to_type(L, n, v, real ? TYPE_F64 : TYPE_S64, out);
    *out = real ? convert_free(L, v->e, TYPE_F64) : v->e;
    return true;
}

static bool is_real(const struct low *v)
{
    return v->kind == LOW_VALUE ? v->v.kind == VALUE_REAL
                                : dtype_is_float((enum dtype)v->e->type.dtype);
}

static void find_load(const struct expr *e, void *ctx)
{
    if (e->op == OP_LOAD || e->op == OP_LOADC) *(bool *)ctx = true;
}

/* Operands of two types: the more common slip is an index, which is s64, beside data. */
bool low_mix_fail(struct lower *L, const struct node *n, const struct node *const at[2],
                  const struct expr *const e[2])
{
    const char *name[2];
    for (int i = 0; i < 2; i++) name[i] = dtype_name((enum dtype)e[i]->type.dtype);
    for (int i = 0; i < 2; i++) {
        bool data = false;
        expr_walk(e[i], find_load, &data);
        if (data || e[i]->type.dtype != TYPE_S64) continue;
        if (at[i]->kind == NODE_NAME)
            return low_fail(L, n, "dsl.type",
                            "%s and %s do not mix: '%s' counts, in s64; write %s(%s)", name[0],
                            name[1], at[i]->name, name[!i], at[i]->name);
        return low_fail(L, n, "dsl.type",
                        "%s and %s do not mix: one side is made of indices, s64; write %s(..)",
                        name[0], name[1], name[!i]);
    }
    return low_fail(L, n, "dsl.type", "%s and %s do not mix; write the cast you mean", name[0],
                    name[1]);
}

/* Both operands as expressions of one type. */
static bool unify(struct lower *L, const struct node *n, const struct low *a, const struct low *b,
                  const struct expr **x, const struct expr **y, bool *adapts)
{
    *adapts = a->kind != LOW_TYPED && b->kind != LOW_TYPED;
    if (*adapts) {
        bool real = is_real(a) || is_real(b);
        return free_operand(L, n->a[0], a, real, x) && free_operand(L, n->a[1], b, real, y);
    }
    if (a->kind == LOW_TYPED && b->kind == LOW_TYPED && a->e->type.dtype != b->e->type.dtype)
        return low_mix_fail(L, n, (const struct node *const[]){n->a[0], n->a[1]},
                            (const struct expr *const[]){a->e, b->e});
    enum dtype d = (enum dtype)(a->kind == LOW_TYPED ? a : b)->e->type.dtype;
    return low_to_type(L, n->a[0], a, d, x) && low_to_type(L, n->a[1], b, d, y);
}

/* ---- operators ------------------------------------------------------------------------------- */

static bool operand_ok(enum oper op, enum dtype d)
{
    bool logical = op == OPER_AND || op == OPER_OR || op == OPER_LNOT;
    if (logical) return d == TYPE_B1;
    if (op == OPER_EQ || op == OPER_NE) return true;
    if (op == OPER_MOD || op == OPER_SHL || op == OPER_SHR) return dtype_is_int(d);
    if (op == OPER_BAND || op == OPER_BOR || op == OPER_BXOR || op == OPER_BNOT)
        return !dtype_is_float(d);
    return d != TYPE_B1;
}

static bool check_operand(struct lower *L, const struct node *n, enum dtype d)
{
    if (operand_ok(n->oper, d)) return true;
    bool power = n->oper == OPER_BXOR && dtype_is_float(d);
    return low_fail(L, n, "dsl.type", "'%s' does not take %s%s", oper_infos[n->oper].spelling,
                    dtype_name(d), power ? "; powers are products, x*x" : "");
}

static bool divides_by_zero(enum oper op, const struct expr *y)
{
    int64_t v = 0;
    return (op == OPER_DIV || op == OPER_MOD) && expr_is_int(y, &v) && v == 0;
}

static bool lower_binary(struct lower *L, const struct node *n, const struct binding *env,
                         struct low *out)
{
    struct low a, b;
    const struct expr *x, *y;
    bool adapts = false;
    const char *why = NULL;
    if (!lower_node(L, n->a[0], env, &a) || !lower_node(L, n->a[1], env, &b)) return false;
    if (a.kind == LOW_VALUE && b.kind == LOW_VALUE) {
        *out = (struct low){.kind = LOW_VALUE, .floored = value_floors(n->oper, &a.v, &b.v)};
        return value_binary(n->oper, &a.v, &b.v, &out->v, &why) ||
               low_fail(L, n, "dsl.value", "%s", why);
    }
    enum oper op = n->oper;
    if (op == OPER_AND || op == OPER_OR) {
        if (!low_to_type(L, n->a[0], &a, TYPE_B1, &x) || !low_to_type(L, n->a[1], &b, TYPE_B1, &y))
            return false;
    } else if (!unify(L, n, &a, &b, &x, &y, &adapts)) {
        return false;
    }
    if (!check_operand(L, n, (enum dtype)x->type.dtype)) return false;
    if (divides_by_zero(op, y)) return low_fail(L, n, "dsl.value", "division by zero");
    if ((op == OPER_SHL || op == OPER_SHR) && b.kind == LOW_VALUE &&
        (b.v.i < 0 || b.v.i >= dtype_bits((enum dtype)x->type.dtype)))
        return low_fail(L, n, "dsl.value", "a shift by %lld does not fit %s", (long long)b.v.i,
                        dtype_name((enum dtype)x->type.dtype));
    bool swap = op == OPER_GT || op == OPER_GE;
    const struct expr *e = expr_binary(L->ir, oper_infos[op].ir, swap ? y : x, swap ? x : y);
    *out = (struct low){.kind = adapts && e->type.dtype != TYPE_B1 ? LOW_FREE : LOW_TYPED, .e = e};
    return true;
}

static bool lower_unary(struct lower *L, const struct node *n, const struct binding *env,
                        struct low *out)
{
    struct low a;
    if (!lower_node(L, n->a[0], env, &a)) return false;
    if (a.kind == LOW_VALUE) {
        if (a.v.kind == VALUE_REAL && n->oper == OPER_NEG)
            *out = (struct low){.kind = LOW_VALUE, .v = value_real(-a.v.f)};
        else if (a.v.kind != VALUE_INT || a.v.i == INT64_MIN)
            return low_fail(L, n, "dsl.value", "this operator needs an integer");
        else
            *out = (struct low){.kind = LOW_VALUE,
                                .v = value_int(n->oper == OPER_NEG    ? -a.v.i
                                               : n->oper == OPER_LNOT ? a.v.i == 0
                                                                      : ~a.v.i)};
        return true;
    }
    if (!check_operand(L, n, (enum dtype)a.e->type.dtype)) return false;
    *out = (struct low){.kind = a.kind, .e = expr_unary(L->ir, oper_infos[n->oper].ir, a.e)};
    return true;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool lower_name(struct lower *L, const struct node *n, const struct binding *env,
                       struct low *out)
{
    for (; env; env = env->up)
        if (strcmp(env->name, n->name) == 0) {
            *out = env->v;
            return true;
        }
    const struct named_value *v = scope_find(&L->s, n->name);
    if (v && v->dyn && v->def) {
        struct low d;
        if (!lower_node(L, v->def, NULL, &d)) return false;
        *out = d;
        return true;
    }
    for (int i = 0; v && v->dyn && i < L->ndyn; i++)
        if (strcmp(L->dyn[i].name, n->name) == 0) {
            *out = (struct low){.kind = LOW_FREE, .e = expr_var(L->ir, L->dyn[i].var)};
            return true;
        }
    *out = (struct low){.kind = LOW_VALUE};
    return eval_value(&L->s, n, &out->v);
}

static bool lower_case(struct lower *L, const struct node *n, const struct binding *env,
                       struct low *out)
{
    for (int i = 0; i + 1 < n->n; i += 2) {
        bool hit = false;
        if (!eval_cond(&L->s, n->a[i], &hit)) return false;
        if (hit) return lower_node(L, n->a[i + 1], env, out);
    }
    return lower_node(L, n->a[n->n - 1], env, out);
}

bool lower_node(struct lower *L, const struct node *n, const struct binding *env, struct low *out)
{
    if (--L->budget < 0)
        return low_fail(L, n, "dsl.limit", "this operator expands to too large an expression");
    switch (n->kind) {
    case NODE_INT:
        *out = (struct low){.kind = LOW_VALUE, .v = value_int(n->i)};
        return true;
    case NODE_REAL:
        *out = (struct low){.kind = LOW_VALUE, .v = value_real(n->f)};
        return true;
    case NODE_NAME:
        return lower_name(L, n, env, out);
    case NODE_LIST:
        return low_fail(L, n, "dsl.type", "a list is not a number; make a table of it");
    case NODE_UNARY:
        return lower_unary(L, n, env, out);
    case NODE_BINARY:
        return lower_binary(L, n, env, out);
    case NODE_CALL:
        return lower_call(L, n, env, out);
    case NODE_READ:
        return lower_read(L, n, NULL, env, out);
    case NODE_ELSE:
        return lower_read(L, n->a[0], n->a[1], env, out);
    case NODE_CASE:
        return lower_case(L, n, env, out);
    case NODE_REDUCE:
        return lower_reduce(L, n, env, out);
    }
    return false;
}
