/* cg_c_vec: vector expressions as values of GNU vector types.
 *
 *   fma(cc_splat(a[k]), b[ramp(j, 1, 16)], acc[3])   ->   a[k] * *(const u_f32x16 *)&b[j] + acc_3
 *
 * Invariants: a node without a vector form becomes a vector variable filled lane by lane, so every
 * kernel can be said; no vector wider than the machine's registers is passed to a function (its ABI would depend
 * on flags). */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "codegen/cg_c.h"

enum { VECTOR_BYTES_MAX = 256, LANES_MAX = 64 };

int cc_bytes(struct type t) { return dtype_bytes((enum dtype)t.dtype); }

bool cc_is_vector_type(struct cc *c, struct type t)
{
    enum dtype d = (enum dtype)t.dtype;
    int n = t.lanes, size = n * cc_bytes(t);
    bool plain = d == TYPE_F64 || d == TYPE_F32 || (dtype_is_int(d) && dtype_bits(d) >= 8);
    return c->vector && plain && n > 1 && n <= LANES_MAX && (n & (n - 1)) == 0 && size >= 8 &&
           size <= VECTOR_BYTES_MAX;
}

static void declare_type(struct cc *c, struct type t)
{
    const char *key =
        cc_fmt(c, "v_%s", cc_fmt(c, "%sx%d", dtype_name((enum dtype)t.dtype), t.lanes));
    if (map_get(c->have, key)) return;
    map_put(c->have, key, c);
    const char *elem = cc_memory_type((enum dtype)t.dtype);
    int size = t.lanes * cc_bytes(t);
    buf_printf(&c->types, "typedef %s %s __attribute__((vector_size(%d)));\n", elem, key, size);
    buf_printf(&c->types,
               "typedef %s u_%s __attribute__((vector_size(%d), aligned(%d), may_alias));\n", elem,
               key + 2, size, cc_bytes(t));
}

const char *cc_vector_type(struct cc *c, struct type t)
{
    declare_type(c, t);
    return cc_fmt(c, "v_%sx%d", dtype_name((enum dtype)t.dtype), t.lanes);
}

const char *cc_unaligned_type(struct cc *c, struct type t)
{
    declare_type(c, t);
    return cc_fmt(c, "u_%sx%d", dtype_name((enum dtype)t.dtype), t.lanes);
}

struct type cc_int_like(struct type t, bool is_signed)
{
    static const enum dtype s[9] = {[1] = TYPE_S8, [2] = TYPE_S16, [4] = TYPE_S32, [8] = TYPE_S64};
    static const enum dtype u[9] = {[1] = TYPE_U8, [2] = TYPE_U16, [4] = TYPE_U32, [8] = TYPE_U64};
    return type_vec(is_signed ? s[cc_bytes(t)] : u[cc_bytes(t)], t.lanes);
}

bool cc_fits_register(struct cc *c, struct type t)
{
    return t.lanes * cc_bytes(t) * 8 <= c->t->vector_bits;
}

/* A new vector variable with this value. */
const char *cc_hold(struct cc *c, struct type t, const char *text)
{
    const char *name = cc_name(c, "t");
    cc_line(c, "const %s %s = %s;", cc_vector_type(c, t), name, cc_bare(c, text));
    return name;
}

/* A loaded vector that is used again: gcc would load it again, as a memory operand of each use. */
static const char *keep(struct cc *c, struct type t, const char *text)
{
    const char *name = cc_name(c, "t");
    cc_line(c, "%s %s = %s;", cc_vector_type(c, t), name, cc_bare(c, text));
    cc_line(c, "QN_KEEP(%s);", name);
    return name;
}

static bool is_identifier(const char *s)
{
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              *s == '_'))
            return false;
    return true;
}

static void put_repeated(struct buf *b, const char *text, int n)
{
    for (int i = 0; i < n; i++) buf_printf(b, "%s%s", i ? ", " : "", text);
}

const char *cc_splat(struct cc *c, struct type t, const char *x)
{
    const char *type = cc_vector_type(c, t), *elem = cc_value_type((enum dtype)t.dtype);
    struct buf b;
    if (cc_fits_register(c, t)) {
        const char *name = cc_fmt(c, "qn_splat_%s", type + 2);
        if (!map_get(c->have, name)) {
            map_put(c->have, name, c);
            buf_printf(&c->helpers, "QN_FN static inline %s %s(%s x)\n{\n    return (%s){", type,
                       name, elem, type);
            put_repeated(&c->helpers, "x", t.lanes);
            buf_puts(&c->helpers, "};\n}\n\n");
        }
        return cc_fmt(c, "%s(%s)", name, cc_bare(c, x));
    }
    if (!is_identifier(x)) {
        const char *name = cc_name(c, "s");
        cc_line(c, "const %s %s = %s;", elem, name, cc_bare(c, x));
        x = name;
    }
    buf_init(&b, 1 << 20);
    buf_printf(&b, "((%s){", type);
    put_repeated(&b, x, t.lanes);
    buf_puts(&b, "})");
    const char *text = arena_strdup(c->a, b.p);
    buf_fini(&b);
    return text;
}

/* {0, s, 2s, ...} */
const char *cc_steps(struct cc *c, struct type t, int64_t stride)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "((%s){", cc_vector_type(c, t));
    for (int i = 0; i < t.lanes; i++)
        buf_printf(&b, "%s%lld", i ? ", " : "", (long long)(stride * i));
    buf_puts(&b, "})");
    const char *text = arena_strdup(c->a, b.p);
    buf_fini(&b);
    return text;
}

/* A vector variable computed lane by lane. */
const char *cc_by_lanes(struct cc *c, const struct expr *e, struct type t, bool mask)
{
    const char *name = cc_name(c, "t"), *outer = c->lane;
    uint32_t saved;
    cc_line(c, "%s %s = {0};", cc_vector_type(c, t), name);
    c->lane = cc_lane_open(c, t.lanes, &saved);
    const char *text = cc_expr(c, e);
    if (mask) text = cc_fmt(c, "(%s ? -1 : 0)", text);
    cc_line(c, "%s[%s] = %s;", name, c->lane, cc_bare(c, text));
    cc_lane_close(c, saved);
    c->lane = outer;
    return name;
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* An operand of a float operator: a splat may stay a scalar, which both compilers broadcast. */
static const char *operand(struct cc *c, const struct expr *e)
{
    enum cc_shape shape;
    bool literal =
        e->op == OP_SPLAT && dtype_is_float((enum dtype)e->type.dtype) && !cc_recall(c, e, &shape);
    return literal ? cc_expr(c, e->a[0]) : cc_vector(c, e);
}

static const char *float_binary(struct cc *c, const struct expr *e, char op)
{
    bool both = e->a[0]->op == OP_SPLAT && e->a[1]->op == OP_SPLAT;
    const char *x = both ? cc_vector(c, e->a[0]) : operand(c, e->a[0]);
    return cc_fmt(c, "(%s %c %s)", x, op, operand(c, e->a[1]));
}

static const char *fma_text(struct cc *c, const struct expr *e)
{
    bool both = e->a[0]->op == OP_SPLAT && e->a[1]->op == OP_SPLAT;
    const char *x = both ? cc_vector(c, e->a[0]) : operand(c, e->a[0]), *y = operand(c, e->a[1]);
    return cc_fmt(c, "(%s * %s + %s)", x, y, operand(c, e->a[2]));
}

static const char *int_binary(struct cc *c, const struct expr *e, const char *op)
{
    const char *u = cc_vector_type(c, cc_int_like(e->type, false));
    const char *x = cc_vector(c, e->a[0]), *y = cc_vector(c, e->a[1]);
    return cc_fmt(c, "((%s)((%s)%s %s (%s)%s))", cc_vector_type(c, e->type), u, x, op, u, y);
}

static const char *pick(struct cc *c, struct type t, const char *mask, const char *x, const char *y)
{
    const char *it = cc_vector_type(c, cc_int_like(t, true)),
               *m = is_identifier(mask) ? mask : cc_hold(c, cc_int_like(t, true), mask);
    return cc_fmt(c, "((%s)((%s & (%s)%s) | (~%s & (%s)%s)))", cc_vector_type(c, t), m, it, x, m,
                  it, y);
}

static const char *min_max(struct cc *c, const struct expr *e)
{
    if (dtype_is_float((enum dtype)e->type.dtype) && cc_fits_register(c, e->type)) {
        const char *a = cc_vector(c, e->a[0]);
        return cc_vfn_min_max(c, e->op == OP_MAX, e->type, a, cc_vector(c, e->a[1]));
    }
    struct type it = cc_int_like(e->type, true);
    const char *x = cc_vector(c, e->a[0]), *y = cc_vector(c, e->a[1]);
    if (!is_identifier(x)) x = cc_hold(c, e->type, x);
    if (!is_identifier(y)) y = cc_hold(c, e->type, y);
    return pick(c, e->type,
                cc_fmt(c, "((%s)(%s %c %s))", cc_vector_type(c, it), x, e->op == OP_MIN ? '<' : '>',
                       y),
                x, y);
}

static const char *select_vector(struct cc *c, const struct expr *e)
{
    if (e->a[0]->type.lanes == 1) {
        const char *cond = cc_expr(c, e->a[0]), *x = cc_vector(c, e->a[1]),
                   *y = cc_vector(c, e->a[2]);
        const char *type = cc_vector_type(c, e->type); /* a load has its unaligned cousin */
        return cc_fmt(c, "(%s ? (%s)%s : (%s)%s)", cond, type, x, type, y);
    }
    const char *m = cc_mask(c, e->a[0], cc_bytes(e->type)), *x = cc_vector(c, e->a[1]),
               *y = cc_vector(c, e->a[2]);
    return pick(c, e->type, m, x, y);
}

/* To 8 or 16 bits with saturation: the bounds in s32, for which whole registers of operands must fit one. */
static const char *saturate(struct cc *c, const struct expr *e)
{
    struct ir *ir = c->ir;
    const struct expr *x = e->a[0];
    struct type wide = type_vec(TYPE_S32, x->type.lanes);
    int bits = dtype_bits((enum dtype)e->type.dtype), mode = (int)e->u.i;
    bool real = x->type.dtype == TYPE_F32, away = cast_rounds_away(mode);
    if ((bits != 8 && bits != 16) || away || (!real && x->type.dtype != TYPE_S32)) return NULL;
    if (!cc_is_vector_type(c, x->type) || !cc_fits_register(c, x->type)) return NULL;
    if (real) x = expr_cast(ir, wide, cast_rounds_even(mode) ? CAST_SAT_ROUND_EVEN : CAST_SAT, x);
    const struct expr *lo = expr_int_of(ir, wide, dtype_int_min((enum dtype)e->type.dtype)),
                      *hi = expr_int_of(ir, wide, dtype_int_max((enum dtype)e->type.dtype));
    x = expr_binary(ir, OP_MIN, expr_binary(ir, OP_MAX, x, lo), hi);
    return cc_fmt(c, "__builtin_convertvector(%s, %s)", cc_vector(c, x),
                  cc_vector_type(c, e->type));
}

static const char *convert(struct cc *c, const struct expr *e)
{
    struct type from = e->a[0]->type;
    bool real_from = dtype_is_float((enum dtype)from.dtype),
         real_to = dtype_is_float((enum dtype)e->type.dtype);
    bool saturates = e->u.i != CAST_PLAIN && !real_to;
    bool even = cast_rounds_even((int)e->u.i), cut = e->u.i == CAST_PLAIN || e->u.i == CAST_SAT;
    if (from.dtype == TYPE_F32 && e->type.dtype == TYPE_S32 && (even || cut) &&
        cc_is_vector_type(c, from) && cc_fits_register(c, from)) {
        const char *x = cc_vector(c, e->a[0]);
        return cc_vfn_to_s32(c, from, even ? cc_vfn_round(c, OP_ROUND, from, x) : x);
    }
    if (saturates) return saturate(c, e);
    if (!cc_is_vector_type(c, from) || (real_from && !real_to)) return NULL;
    const char *x = cc_vector(c, e->a[0]);
    return type_eq(from, e->type)
               ? x
               : cc_fmt(c, "__builtin_convertvector(%s, %s)", x, cc_vector_type(c, e->type));
}

static const char *ramp(struct cc *c, const struct expr *e)
{
    int64_t stride = 0;
    if (!expr_is_int(e->a[1], &stride) || llabs(stride) * e->type.lanes > 100) return NULL;
    const char *base = cc_splat(c, e->type, cc_expr(c, e->a[0])),
               *u = cc_vector_type(c, cc_int_like(e->type, false));
    return cc_fmt(c, "((%s)((%s)%s + (%s)%s))", cc_vector_type(c, e->type), u, base, u,
                  cc_steps(c, cc_int_like(e->type, true), stride));
}

static const char *unary_text(struct cc *c, const struct expr *e)
{
    struct type ut = cc_int_like(e->type, false);
    bool real = dtype_is_float((enum dtype)e->type.dtype);
    const char *x = cc_vector(c, e->a[0]), *u = cc_vector_type(c, ut),
               *v = cc_vector_type(c, e->type);
    if (e->op == OP_NOT) return cc_fmt(c, "((%s)~(%s)%s)", v, u, x);
    if (e->op == OP_NEG) return real ? cc_fmt(c, "(-%s)", x) : cc_fmt(c, "((%s)-(%s)%s)", v, u, x);
    const char *all = cc_bytes(e->type) == 8 ? "UINT64_C(0x7fffffffffffffff)"
                                             : "UINT32_C(0x7fffffff)"; /* |x| of a float */
    return cc_fmt(c, "((%s)((%s)%s & %s))", v, u, x, cc_splat(c, ut, all));
}

/* The vector form of one node, or NULL. */
static const char *node(struct cc *c, const struct expr *e)
{
    bool real = dtype_is_float((enum dtype)e->type.dtype);
    switch ((enum op)e->op) {
    case OP_VAR:
        return c->fn->var[e->u.var->id];
    case OP_SPLAT:
        return cc_splat(c, e->type, cc_expr(c, e->a[0]));
    case OP_RAMP:
        return ramp(c, e);
    case OP_LOAD:
        return e->u.tensor->scope == SCOPE_REG ? cc_reg(c, e->u.tensor, e->a[0])
                                               : cc_load_vector(c, e);
    case OP_LOADC:
        return e->u.tensor->scope == SCOPE_REG ? NULL : cc_load_guarded(c, e);
    case OP_ADD:
        return real ? float_binary(c, e, '+') : int_binary(c, e, "+");
    case OP_SUB:
        return real ? float_binary(c, e, '-') : int_binary(c, e, "-");
    case OP_MUL:
        return real ? float_binary(c, e, '*') : int_binary(c, e, "*");
    case OP_DIV:
        return real ? float_binary(c, e, '/') : NULL;
    case OP_FMA:
        return fma_text(c, e);
    case OP_AND:
        return int_binary(c, e, "&");
    case OP_OR:
        return int_binary(c, e, "|");
    case OP_XOR:
        return int_binary(c, e, "^");
    case OP_SHL:
        return int_binary(c, e, "<<");
    case OP_SHR:
        return cc_fmt(c, "(%s >> %s)", cc_vector(c, e->a[0]), cc_vector(c, e->a[1]));
    case OP_MIN:
    case OP_MAX:
        return min_max(c, e);
    case OP_NEG:
    case OP_NOT:
        return unary_text(c, e);
    case OP_ABS:
        return real ? unary_text(c, e) : NULL;
    case OP_FLOOR:
    case OP_CEIL:
    case OP_ROUND:
    case OP_TRUNC: {
        if (!cc_fits_register(c, e->type)) return NULL;
        const char *x = cc_vector(c, e->a[0]);
        return cc_vfn_round(c, (enum op)e->op, e->type, x);
    }
    case OP_SELECT:
        return select_vector(c, e);
    case OP_CAST:
        return convert(c, e);
    case OP_BITCAST:
        if (!cc_is_vector_type(c, e->a[0]->type)) return NULL;
        return cc_fmt(c, "((%s)%s)", cc_vector_type(c, e->type), cc_vector(c, e->a[0]));
    default:
        return NULL;
    }
}

const char *cc_vector(struct cc *c, const struct expr *e)
{
    enum cc_shape shape;
    if (c->failed) return "0";
    const char *name = cc_recall(c, e, &shape);
    if (name && shape == CC_VECTOR) return name;
    bool named = cc_worth_naming(c, e), table = e->op == OP_LOAD &&
                                                e->u.tensor->scope == SCOPE_TABLE &&
                                                !cc_same_form((enum dtype)e->type.dtype);
    const char *text = table ? NULL : node(c, e);
    if (!text) text = cc_by_lanes(c, e, e->type, false);
    if (named && !is_identifier(text))
        text = e->op == OP_LOAD && cc_fits_register(c, e->type) ? keep(c, e->type, text)
                                                                : cc_hold(c, e->type, text);
    if (named) cc_remember(c, e, text, CC_VECTOR);
    return text;
}
