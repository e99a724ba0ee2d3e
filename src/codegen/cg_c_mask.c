/* cg_c_mask: conditions of a whole vector: as lanes of 0 and -1, or as bits for AVX-512 masked
 * moves.
 *
 *   ramp(i*16, 1, 16) < splat(37)   ->   qn_prefix(37 - i * 16, 16)
 *
 * Invariants: index comparisons become one scalar difference; a condition without a cheap form of
 * bits has none (NULL), and its accesses go lane by lane. */
#include <stdlib.h>

#include "codegen/cg_c.h"

static bool lane_form(const struct expr *e, const struct expr **base, int64_t *stride)
{
    *base = e->a[0];
    *stride = 0;
    if (e->op == OP_SPLAT) return true;
    return e->op == OP_RAMP && expr_is_int(e->a[1], stride) && *stride > -256 && *stride < 256;
}

/* base0 + s0*lane < base1 + s1*lane as a comparison of narrow lanes with one clamped difference. */
static const char *mask_of_lanes(struct cc *c, const struct expr *e, struct type mt)
{
    const struct expr *b0, *b1;
    int64_t s0, s1;
    if (e->a[0]->type.dtype != TYPE_S64 || !lane_form(e->a[0], &b0, &s0) ||
        !lane_form(e->a[1], &b1, &s1))
        return NULL;
    int64_t most = llabs(s0 - s1) * mt.lanes + 2;
    int bits = cc_bytes(mt) * 8;
    if (bits < 64 && most >= INT64_C(1) << (bits - 1)) return NULL;
    cc_need(c, "qn_clamp_s64");
    const char *x = cc_expr(c, b0), *y = cc_expr(c, b1);
    const char *d =
        cc_fmt(c, "((%s)qn_clamp_s64(%s - %s, -%lld, %lld))", cc_value_type((enum dtype)mt.dtype),
               y, x, (long long)most, (long long)most);
    return cc_fmt(c, "((%s)(%s %s %s))", cc_vector_type(c, mt), cc_steps(c, mt, s0 - s1),
                  e->op == OP_LT ? "<" : "<=", cc_splat(c, mt, d));
}

static const char *mask_compare(struct cc *c, const struct expr *e, struct type mt)
{
    static const char *const ops[4] = {"==", "!=", "<", "<="};
    struct type t = e->a[0]->type;
    if (e->op == OP_LT || e->op == OP_LE) {
        const char *m = mask_of_lanes(c, e, mt);
        if (m) return m;
    }
    if (!cc_is_vector_type(c, t)) return NULL;
    struct type own = cc_int_like(t, true);
    const char *x = cc_vector(c, e->a[0]), *y = cc_vector(c, e->a[1]);
    const char *m = cc_fmt(c, "((%s)(%s %s %s))", cc_vector_type(c, own), x, ops[e->op - OP_EQ], y);
    if (cc_bytes(own) == cc_bytes(mt)) return m;
    return cc_fmt(c, "__builtin_convertvector(%s, %s)", m, cc_vector_type(c, mt));
}

const char *cc_mask(struct cc *c, const struct expr *e, int bytes)
{
    static const enum dtype by_bytes[9] = {
        [1] = TYPE_S8, [2] = TYPE_S16, [4] = TYPE_S32, [8] = TYPE_S64};
    struct type mt = type_vec(by_bytes[bytes], e->type.lanes);
    const char *m = NULL;
    if (e->op == OP_VAR && c->alias[e->u.var->id]) return cc_mask(c, c->alias[e->u.var->id], bytes);
    switch ((enum op)e->op) {
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
        m = mask_compare(c, e, mt);
        break;
    case OP_AND:
        m = cc_fmt(c, "(%s & %s)", cc_mask(c, e->a[0], bytes), cc_mask(c, e->a[1], bytes));
        break;
    case OP_OR:
        m = cc_fmt(c, "(%s | %s)", cc_mask(c, e->a[0], bytes), cc_mask(c, e->a[1], bytes));
        break;
    case OP_NOT:
        m = cc_fmt(c, "(~%s)", cc_mask(c, e->a[0], bytes));
        break;
    case OP_SPLAT:
        m = cc_splat(c, mt,
                     cc_fmt(c, "((%s)(%s ? -1 : 0))", cc_value_type((enum dtype)mt.dtype),
                            cc_expr(c, e->a[0])));
        break;
    default:
        break;
    }
    return m ? m : cc_by_lanes(c, e, mt, true);
}

/* Bits of a comparison that is true for a prefix or a suffix of the lanes. */
static const char *kmask_compare(struct cc *c, const struct expr *e)
{
    const struct expr *b0, *b1;
    int64_t s0, s1;
    int lanes = e->type.lanes;
    if (e->a[0]->type.dtype != TYPE_S64 || !lane_form(e->a[0], &b0, &s0) ||
        !lane_form(e->a[1], &b1, &s1))
        return NULL;
    const char *x = cc_expr(c, b0), *y = cc_expr(c, b1);
    cc_need(c, "qn_prefix");
    if (s0 == 1 && s1 == 0) /* x + l < y: lanes below y - x (or up to it) */
        return cc_fmt(c, "qn_prefix(%s - %s%s, %d)", y, x, e->op == OP_LE ? " + 1" : "", lanes);
    if (s0 == 0 && s1 == 1) /* x < y + l: lanes above x - y */
        return cc_fmt(c, "(~qn_prefix(%s - %s%s, %d))", x, y, e->op == OP_LT ? " + 1" : "", lanes);
    return NULL;
}

const char *cc_kmask(struct cc *c, const struct expr *e)
{
    if (e->op == OP_VAR) return c->is_bits[e->u.var->id] ? c->fn->var[e->u.var->id] : NULL;
    if (e->op == OP_LT || e->op == OP_LE) return kmask_compare(c, e);
    if (e->op == OP_SPLAT) return cc_fmt(c, "(%s ? ~UINT64_C(0) : 0)", cc_expr(c, e->a[0]));
    if (e->op != OP_AND && e->op != OP_OR && e->op != OP_NOT) return NULL;
    const char *a = cc_kmask(c, e->a[0]);
    if (!a || e->op == OP_NOT) return a ? cc_fmt(c, "(~%s)", a) : NULL;
    const char *b = cc_kmask(c, e->a[1]);
    return b ? cc_fmt(c, "(%s %c %s)", a, e->op == OP_AND ? '&' : '|', b) : NULL;
}

/* AVX-512 masked moves, which gcc and clang name alike. */
static const struct {
    char suffix[8];
    enum dtype d;
    int lanes;
    const char *mask;
} masked[] = {
    {"ps512", TYPE_F32, 16, "uint16_t"}, {"ps256", TYPE_F32, 8, "uint8_t"},
    {"ps128", TYPE_F32, 4, "uint8_t"},   {"pd512", TYPE_F64, 8, "uint8_t"},
    {"pd256", TYPE_F64, 4, "uint8_t"},   {"pd128", TYPE_F64, 2, "uint8_t"},
    {"si512", TYPE_S32, 16, "uint16_t"}, {"si256", TYPE_S32, 8, "uint8_t"},
    {"si128", TYPE_S32, 4, "uint8_t"},
};

bool cc_masked_builtin(struct cc *c, struct type t, bool store, const char **name,
                       const char **elem, const char **mask)
{
    enum dtype d = t.dtype == TYPE_U32 ? TYPE_S32 : (enum dtype)t.dtype;
    for (size_t i = 0; i < QN_COUNT(masked) && c->avx512; i++) {
        if (masked[i].d != d || masked[i].lanes != t.lanes) continue;
        *name = cc_fmt(c, "__builtin_ia32_%s%s%s_mask", store ? "store" : "load",
                       masked[i].suffix[0] == 's' ? "dqu" : "u", masked[i].suffix);
        *elem = cc_vector_type(c, type_vec(d, t.lanes));
        *mask = masked[i].mask;
        return true;
    }
    return false;
}
