/* cg_c_vfn: helper functions over GNU vectors, printed per type where a kernel uses them.
 *
 *   qn_floor_f32x16(x)   qn_max_f32x8(a, b)   qn_to_s32x16(x)   qn_hsum_f32x16(x)
 *
 * Invariants: each lane is what the scalar helper of the same name gives; only types that fit one
 * register get here. */
#include <string.h>

#include "base/map.h"
#include "codegen/cg_c.h"

/* True: `name` was not there yet; print it now. */
static bool first_use(struct cc *c, const char *name)
{
    if (map_get(c->have, name)) return false;
    map_put(c->have, name, c);
    return true;
}

static void repeat(struct buf *b, const char *text, int n)
{
    for (int i = 0; i < n; i++) buf_printf(b, "%s%s", i ? ", " : "", text);
}

static struct type ints_like(struct type t)
{
    return type_vec(dtype_bytes((enum dtype)t.dtype) == 8 ? TYPE_S64 : TYPE_S32, t.lanes);
}

/* Nearest integer, halves to even, lane by lane. */
static const char *round_name(struct cc *c, struct type t)
{
    const char *v = cc_vector_type(c, t), *i = cc_vector_type(c, ints_like(t));
    const char *name = cc_fmt(c, "qn_round_%s", v + 2), *f = t.dtype == TYPE_F64 ? "" : "f";
    const char *big = t.dtype == TYPE_F64 ? "4503599627370496.0" : "8388608.0f";
    if (!first_use(c, name)) return name;
    struct buf *b = &c->helpers;
    buf_printf(b, "QN_FN static inline %s %s(%s x)\n{\n    const %s sign = (%s)(-(%s){", v, name, v,
               i, i, v);
    repeat(b, cc_fmt(c, "0.0%s", f), t.lanes);
    buf_printf(b,
               "});\n    const %s m = (%s)((%s)x & ~sign);\n    const %s r = (m + %s) - %s;\n    "
               "const %s small = (%s)(m < %s);\n",
               v, v, i, v, big, big, i, i, big);
    buf_printf(b, "    return (%s)(((%s)x & sign) | (small & (%s)r) | (~small & (%s)m));\n}\n\n", v,
               i, i, i);
    return name;
}

const char *cc_vfn_round(struct cc *c, enum op op, struct type t, const char *x)
{
    const char *round = round_name(c, t), *v = cc_vector_type(c, t),
               *i = cc_vector_type(c, ints_like(t));
    if (op == OP_ROUND) return cc_fmt(c, "%s(%s)", round, cc_bare(c, x));
    const char *what = op == OP_FLOOR ? "floor" : op == OP_CEIL ? "ceil" : "trunc";
    const char *name = cc_fmt(c, "qn_%s_%s", what, v + 2), *f = t.dtype == TYPE_F64 ? "" : "f";
    if (first_use(c, name)) {
        struct buf *b = &c->helpers;
        buf_printf(b, "QN_FN static inline %s %s(%s x)\n{\n    const %s sign = (%s)(-(%s){", v,
                   name, v, i, i, v);
        repeat(b, cc_fmt(c, "0.0%s", f), t.lanes);
        buf_puts(b, "});\n");
        buf_printf(b, "    const %s one = {", v);
        repeat(b, cc_fmt(c, "1.0%s", f), t.lanes);
        buf_puts(b, "};\n");
        const char *m = op == OP_TRUNC ? cc_fmt(c, "(%s)((%s)x & ~sign)", v, i) : "x";
        buf_printf(b,
                   "    const %s m = %s;\n    const %s r = %s(m);\n    const %s step = (%s)((%s)(r "
                   "%c m) & (%s)one);\n",
                   v, m, v, round, v, v, i, op == OP_CEIL ? '<' : '>', i);
        buf_printf(b, "    return (%s)(((%s)(r %c step) & ~sign) | ((%s)x & sign));\n}\n\n", v, i,
                   op == OP_CEIL ? '+' : '-', i);
    }
    return cc_fmt(c, "%s(%s)", name, cc_bare(c, x));
}

/* f32 -> s32 lanes, truncating, saturating, NaN to 0. */
const char *cc_vfn_to_s32(struct cc *c, struct type from, const char *x)
{
    const char *v = cc_vector_type(c, from), *i = cc_vector_type(c, ints_like(from)),
               *name = cc_fmt(c, "qn_to_%s", i + 2);
    if (first_use(c, name)) {
        struct buf *b = &c->helpers;
        buf_printf(b,
                   "/* truncates; saturates; NaN gives 0 */\nQN_FN static inline %s %s(%s x)\n{\n  "
                   "  const %s least = {",
                   i, name, v, v);
        repeat(b, "-2147483648.0f", from.lanes);
        buf_printf(b, "};\n    const %s most = {", i);
        repeat(b, "2147483647", from.lanes);
        buf_printf(b,
                   "};\n    const %s low = (%s)(x < least), high = (%s)(x >= -least), number = "
                   "(%s)(x == x);\n",
                   i, i, i, i);
        buf_printf(
            b, "    const %s inside = (%s)((low & (%s)least) | (~low & ~high & number & (%s)x));\n",
            v, v, i, i);
        buf_printf(b,
                   "    const %s n = __builtin_convertvector(inside, %s);\n    return (high & "
                   "most) | (~high & n);\n}\n\n",
                   i, i);
    }
    return cc_fmt(c, "%s(%s)", name, cc_bare(c, x));
}

/* gcc does not find its own min and max instructions in a selection by mask. */
static const char *x86_min_max(struct type t, bool max)
{
    int bits = t.lanes * dtype_bytes((enum dtype)t.dtype) * 8;
    bool d = t.dtype == TYPE_F64;
    if (bits == 512)
        return max ? (d ? "__builtin_ia32_maxpd512_mask(a, b, a, 255, 4)"
                        : "__builtin_ia32_maxps512_mask(a, b, a, -1, 4)")
                   : (d ? "__builtin_ia32_minpd512_mask(a, b, a, 255, 4)"
                        : "__builtin_ia32_minps512_mask(a, b, a, -1, 4)");
    if (bits == 256)
        return max ? (d ? "__builtin_ia32_maxpd256(a, b)" : "__builtin_ia32_maxps256(a, b)")
                   : (d ? "__builtin_ia32_minpd256(a, b)" : "__builtin_ia32_minps256(a, b)");
    if (bits == 128)
        return max ? (d ? "__builtin_ia32_maxpd(a, b)" : "__builtin_ia32_maxps(a, b)")
                   : (d ? "__builtin_ia32_minpd(a, b)" : "__builtin_ia32_minps(a, b)");
    return NULL;
}

const char *cc_vfn_min_max(struct cc *c, bool max, struct type t, const char *x, const char *y)
{
    const char *v = cc_vector_type(c, t), *i = cc_vector_type(c, ints_like(t)),
               *name = cc_fmt(c, "qn_%s_%s", max ? "max" : "min", v + 2);
    if (first_use(c, name)) {
        const char *one = x86_min_max(t, max);
        struct buf *b = &c->helpers;
        buf_printf(b, "QN_FN static inline %s %s(%s a, %s b)\n{\n", v, name, v, v);
        if (one)
            buf_printf(b, "#if defined(__x86_64__) && !defined(__clang__)\n    return %s;\n#else\n",
                       one);
        buf_printf(b,
                   "    const %s m = (%s)(a %c b);\n    return (%s)((m & (%s)a) | (~m & (%s)b));\n",
                   i, i, max ? '>' : '<', v, i, i);
        if (one) buf_puts(b, "#endif\n");
        buf_puts(b, "}\n\n");
    }
    return cc_fmt(c, "%s(%s, %s)", name, cc_bare(c, x), cc_bare(c, y));
}

/* Lanes folded by halves. */
const char *cc_vfn_horizontal(struct cc *c, enum op op, struct type t, const char *x)
{
    const char *v = cc_vector_type(c, t), *e = cc_value_type((enum dtype)t.dtype);
    const char *what = op == OP_HSUM ? "hsum" : op == OP_HMAX ? "hmax" : "hmin";
    const char *name = cc_fmt(c, "qn_%s_%s", what, v + 2);
    if (first_use(c, name)) {
        struct buf *b = &c->helpers, body;
        buf_init(&body, 1 << 16);
        const char *a = "x";
        int n = t.lanes;
        /* while a half still is a vector of at least 8 bytes, by shuffles; the rest by elements */
        for (; n > 2 && n / 2 * dtype_bytes((enum dtype)t.dtype) >= 16; n /= 2) {
            struct type half = type_vec((enum dtype)t.dtype, n / 2);
            const char *hv = cc_vector_type(c, half), *lo = cc_fmt(c, "lo%d", n),
                       *hi = cc_fmt(c, "hi%d", n), *s = cc_fmt(c, "s%d", n);
            for (int k = 0; k < 2; k++) {
                buf_printf(&body, "    const %s %s = __builtin_shufflevector(%s, %s", hv,
                           k ? hi : lo, a, a);
                for (int i = 0; i < n / 2; i++) buf_printf(&body, ", %d", i + k * (n / 2));
                buf_puts(&body, ");\n");
            }
            const char *sum = op == OP_HSUM ? cc_fmt(c, "%s + %s", lo, hi)
                                            : cc_vfn_min_max(c, op == OP_HMAX, half, lo, hi);
            buf_printf(&body, "    const %s %s = %s;\n", hv, s, sum);
            a = s;
        }
        buf_printf(
            &body,
            "    %s e[%d];\n    for (int i = 0; i < %d; i++) {\n        e[i] = %s[i];\n    }\n", e,
            n, n, a);
        const char *two = op == OP_HSUM   ? "e[i] + e[i + n]"
                          : op == OP_HMAX ? "(e[i] > e[i + n] ? e[i] : e[i + n])"
                                          : "(e[i] < e[i + n] ? e[i] : e[i + n])";
        buf_printf(&body,
                   "    for (int n = %d; n > 0; n /= 2) {\n        for (int i = 0; i < n; i++) {\n "
                   "           e[i] = %s;\n        }\n    }\n    return e[0];\n",
                   n / 2, two);
        const char *lanes = cc_fmt(
            c, "    %s e[%d];\n    for (int i = 0; i < %d; i++) {\n        e[i] = x[i];\n    }\n",
            e, t.lanes, t.lanes);
        const char *fold = cc_fmt(c,
                                  "        for (int i = 0; i < n; i++) {\n            e[i] = %s;\n "
                                  "       }\n    }\n    return e[0];\n",
                                  two);
        buf_printf(b, "QN_FN static inline %s %s(%s x)\n{\n", e, name, v);
        buf_printf(b,
                   "#if defined(__clang__) || __GNUC__ >= 12\n%s#else\n%s    for (int n = %d; n > "
                   "0; n /= 2) {\n%s#endif\n}\n\n",
                   body.p, lanes, t.lanes / 2, fold);
        buf_fini(&body);
    }
    return cc_fmt(c, "%s(%s)", name, cc_bare(c, x));
}
