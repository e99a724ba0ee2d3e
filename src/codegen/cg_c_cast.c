/* cg_c_cast: conversions between types, saturating and rounding, as ir/scalar.c has them.
 *
 *   cast_sat(s8, x: s32)  ->  ((int8_t)qn_clamp_s64(x, -128, 127))
 *
 * Invariants: no conversion is undefined in C: floats are clamped before they become integers; a
 * value of f16 or bf16 is rounded once. */
#include "codegen/cg_c.h"

static const char *float_to_int(struct cc *c, enum dtype to, int mode, const char *x, bool f64)
{
    bool even = cast_rounds_even(mode), away = cast_rounds_away(mode);
    if (!f64 && to == TYPE_S32 && !away) {
        cc_need(c, "qn_to_s32");
        return cc_fmt(c, "qn_to_s32(%s)",
                      cc_bare(c, even ? cc_call_float(c, TYPE_F32, c->sse41 ? "hround" : "round", x,
                                                      NULL)
                                      : x));
    }
    if (!f64) x = cc_fmt(c, "(double)%s", x);
    const char *v = x;
    if (even) v = cc_call_float(c, TYPE_F64, "round", x, NULL);
    if (away) v = cc_call_float(c, TYPE_F64, "away", x, NULL);
    if (to == TYPE_B1) {
        if (mode == CAST_PLAIN) return cc_fmt(c, "(%s != 0.0)", v);
        if (mode == CAST_SAT) v = cc_call_float(c, TYPE_F64, "trunc", x, NULL);
        cc_need(c, "qn_to_u64");
        cc_need(c, "qn_abs_f64");
        return cc_fmt(c, "(qn_to_u64(qn_abs_f64(%s)) != 0)", cc_bare(c, v));
    }
    if (to == TYPE_U64) {
        cc_need(c, "qn_to_u64");
        return cc_fmt(c, "qn_to_u64(%s)", cc_bare(c, v));
    }
    cc_need(c, "qn_to_s64");
    const char *call = cc_fmt(c, "qn_to_s64(%s, %s, %s, %s, %s)", cc_bare(c, v),
                              cc_real(c, TYPE_F64, (double)dtype_int_min(to)),
                              cc_real(c, TYPE_F64, (double)dtype_int_max(to)),
                              cc_bare(c, cc_int(c, TYPE_S64, dtype_int_min(to))),
                              cc_bare(c, cc_int(c, TYPE_S64, dtype_int_max(to))));
    return to == TYPE_S64 ? call : cc_fmt(c, "((%s)%s)", cc_value_type(to), call);
}

static const char *int_to_int(struct cc *c, enum dtype to, enum dtype from, int mode, const char *x)
{
    if (to == TYPE_B1) return cc_fmt(c, "(%s != 0)", x);
    if (to == from) return x;
    if (cast_saturates(mode) && from != TYPE_B1) {
        if (from == TYPE_U64) {
            cc_need(c, "qn_clamp_u64");
            return cc_fmt(c, "((%s)qn_clamp_u64(%s, %s))", cc_value_type(to), cc_bare(c, x),
                          cc_int(c, TYPE_U64, dtype_int_max(to)));
        }
        cc_need(c, "qn_clamp_s64");
        return cc_fmt(c, "((%s)qn_clamp_s64(%s, %s, %s))", cc_value_type(to), cc_bare(c, x),
                      cc_int(c, TYPE_S64, dtype_int_min(to)),
                      cc_int(c, TYPE_S64, dtype_int_max(to)));
    }
    if (to == TYPE_S4 || to == TYPE_U4) return cc_wrap(c, to, cc_fmt(c, "(uint32_t)%s", x));
    return cc_fmt(c, "((%s)%s)", cc_value_type(to), x);
}

const char *cc_cast(struct cc *c, const struct expr *e, const char *x)
{
    enum dtype to = (enum dtype)e->type.dtype, from = (enum dtype)e->a[0]->type.dtype;
    bool a = dtype_is_float(from), b = dtype_is_float(to),
         narrow_to = to == TYPE_F16 || to == TYPE_BF16;
    if (a && !b) return float_to_int(c, to, (int)e->u.i, x, from == TYPE_F64);
    if (!a && !b) return int_to_int(c, to, from, (int)e->u.i, x);
    if (to == from) return x;
    if (narrow_to &&
        (from == TYPE_F64 || (!a && dtype_bits(from) > 16))) { /* round once, to the narrow type */
        cc_need(c, "qn_odd_f32");
        return cc_narrow(c, to,
                         cc_fmt(c, "qn_odd_f32(%s%s)", a ? "" : "(double)", a ? cc_bare(c, x) : x));
    }
    if (a && narrow_to) return cc_narrow(c, to, x);
    if (a && from != TYPE_F64 && to == TYPE_F32) return x;
    return cc_narrow(c, to, cc_fmt(c, "((%s)%s)", cc_value_type(to), x));
}

const char *cc_bitcast(struct cc *c, const struct expr *e, const char *x)
{
    enum dtype to = (enum dtype)e->type.dtype, from = (enum dtype)e->a[0]->type.dtype;
    if (to == from) return x;
    x = from == TYPE_F32 || from == TYPE_F64 ? cc_call_float(c, from, "bits", x, NULL)
                                             : cc_put(c, from, x);
    switch (to) {
    case TYPE_F32:
        cc_need(c, "qn_f32_bits");
        return cc_fmt(c, "qn_f32_bits((uint32_t)%s)", x);
    case TYPE_F64:
        cc_need(c, "qn_f64_bits");
        return cc_fmt(c, "qn_f64_bits((uint64_t)%s)", x);
    case TYPE_F16:
    case TYPE_BF16:
        return cc_get(c, to, cc_fmt(c, "(uint16_t)%s", x));
    case TYPE_S4:
    case TYPE_U4:
        return cc_wrap(c, to, cc_fmt(c, "(uint32_t)%s", x));
    default:
        return cc_fmt(c, "((%s)%s)", cc_value_type(to), x);
    }
}
