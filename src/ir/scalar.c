/* Arithmetic on one scalar, for every type: what an operator means. The folder and the interpreter
 * both call this, so a folded constant is what the interpreter would have computed.
 *
 *   s8: 127 + 1 = -128 (integers wrap), -7 / 2 = -4 and -7 % 2 = 1 (division floors)
 *   f32: each operation is done in float, rounded once; f16 and bf16: in float, then rounded to the
 *   type (exact for + - * / sqrt, since a float has more than twice their digits plus two).
 *
 * Ints travel as int64_t wrapped to their type, u64 as its bits; floats as a double that the type
 * can represent exactly. Compiled without contraction (-ffp-contract=off). */
#include <math.h>
#include <string.h>

#include "ir/private.h"

int64_t int_wrap(enum dtype d, int64_t v)
{
    switch (d) {
    case TYPE_S32:
        return (int32_t)v;
    case TYPE_S16:
        return (int16_t)v;
    case TYPE_S8:
        return (int8_t)v;
    case TYPE_U32:
        return (uint32_t)v;
    case TYPE_U16:
        return (uint16_t)v;
    case TYPE_U8:
        return (uint8_t)v;
    case TYPE_S4:
        return (int64_t)(((uint64_t)v & 15) ^ 8) - 8;
    case TYPE_U4:
        return v & 15;
    case TYPE_B1:
        return v & 1;
    default:
        return v;
    }
}

int64_t dtype_int_min(enum dtype d)
{
    if (!dtype_is_signed(d)) return 0;
    return dtype_bits(d) == 64 ? INT64_MIN : -(INT64_C(1) << (dtype_bits(d) - 1));
}

int64_t dtype_int_max(enum dtype d)
{
    if (dtype_bits(d) == 64) return INT64_MAX;
    return (INT64_C(1) << (dtype_bits(d) - (dtype_is_signed(d) ? 1 : 0))) - 1;
}

/* v rounded to `digits` binary digits with exponents down to 2^emin, ties to even. */
static double round_digits(double v, int digits, int emin, double largest)
{
    if (v == 0 || !isfinite(v)) return v;
    int e = 0;
    frexp(v, &e); /* |v| = m * 2^e, 0.5 <= m < 1 */
    int lsb = e - digits;
    if (lsb < emin) lsb = emin;
    double scaled = nearbyint(ldexp(v, -lsb)); /* exact scaling: no double is that small here */
    double r = ldexp(scaled, lsb);
    if (fabs(r) > largest) return copysign(INFINITY, v);
    return r == 0 ? copysign(0.0, v) : r;
}

double real_round(enum dtype d, double v)
{
    switch (d) {
    case TYPE_F32:
        return (double)(float)v;
    case TYPE_F16:
        return round_digits(v, 11, -24, 65504.0);
    case TYPE_BF16:
        return round_digits(v, 8, -133, 0x1.fep127);
    default:
        return v;
    }
}

uint16_t bf16_from_double(double v)
{
    float f = (float)real_round(TYPE_BF16, v);
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t h = (uint16_t)(u >> 16);
    return isnan(v) ? (uint16_t)(h | 0x40) : h;
}

double bf16_to_double(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f16_from_double(double v)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    if (isnan(v)) return (uint16_t)(sign | 0x7e00);
    double r = fabs(real_round(TYPE_F16, v));
    if (isinf(r)) return (uint16_t)(sign | 0x7c00);
    if (r < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)ldexp(r, 24)); /* subnormal: multiples of 2^-24 */
    int e = 0;
    double m = frexp(r, &e); /* 0.5 <= m < 1, so exponent field is e - 1 + 15 */
    return (uint16_t)(sign | (uint16_t)((e + 14) << 10) | ((uint16_t)ldexp(m, 11) & 0x3ff));
}

double f16_to_double(uint16_t h)
{
    int e = (h >> 10) & 31, m = h & 0x3ff;
    double r = e == 31 ? (m ? NAN : INFINITY) : e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
    return h & 0x8000 ? -r : r;
}

static bool eval_float(enum op op, enum dtype d, const union scalar *a, double *r)
{
    double x = a[0].f, y = a[1].f;
    bool f32 = d != TYPE_F64;
    switch (op) {
    case OP_ADD:
        *r = f32 ? (double)((float)x + (float)y) : x + y;
        break;
    case OP_SUB:
        *r = f32 ? (double)((float)x - (float)y) : x - y;
        break;
    case OP_MUL:
        *r = f32 ? (double)((float)x * (float)y) : x * y;
        break;
    case OP_DIV:
        *r = f32 ? (double)((float)x / (float)y) : x / y;
        break;
    case OP_MIN:
        *r = x < y ? x : y;
        break;
    case OP_MAX:
        *r = x > y ? x : y;
        break;
    case OP_NEG:
        *r = -x;
        break;
    case OP_ABS:
        *r = fabs(x);
        break;
    case OP_FMA:
        *r = d == TYPE_F32 ? (double)fmaf((float)x, (float)y, (float)a[2].f) : fma(x, y, a[2].f);
        break;
    case OP_SQRT:
        *r = f32 ? (double)sqrtf((float)x) : sqrt(x);
        break;
    case OP_FLOOR:
        *r = floor(x);
        break;
    case OP_CEIL:
        *r = ceil(x);
        break;
    case OP_ROUND:
        *r = nearbyint(x);
        break;
    case OP_TRUNC:
        *r = trunc(x);
        break;
    case OP_EXP:
        *r = exp(x);
        break;
    case OP_LOG:
        *r = log(x);
        break;
    case OP_TANH:
        *r = tanh(x);
        break;
    case OP_ERF:
        *r = erf(x);
        break;
    case OP_SIGMOID:
        *r = 1 / (1 + exp(-x));
        break;
    case OP_SIN:
        *r = sin(x);
        break;
    case OP_COS:
        *r = cos(x);
        break;
    default:
        return false;
    }
    *r = real_round(d, *r);
    return true;
}

static int64_t u64_divmod(enum op op, int64_t a, int64_t b)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    return (int64_t)(op == OP_DIV ? x / y : x % y);
}

static bool eval_divmod(enum op op, enum dtype d, int64_t a, int64_t b, int64_t *r)
{
    if (b == 0) return false;
    if (d == TYPE_U64)
        *r = u64_divmod(op, a, b);
    else if (b == -1) /* INT64_MIN / -1 overflows in C; here it wraps */
        *r = op == OP_DIV ? (int64_t)(0 - (uint64_t)a) : 0;
    else
        *r = op == OP_DIV ? i64_floordiv(a, b) : i64_floormod(a, b);
    return true;
}

static bool eval_shift(enum op op, enum dtype d, int64_t a, int64_t s, int64_t *r)
{
    if (s < 0 || s >= dtype_bits(d)) return false;
    bool u64 = d == TYPE_U64;
    if (op == OP_SHL) {
        *r = (int64_t)((uint64_t)a << s);
        return true;
    }
    *r = u64 ? (int64_t)((uint64_t)a >> s) : a >> s;
    if (op == OP_RSHR && s > 0) {
        int64_t half = u64 ? (int64_t)((uint64_t)a >> (s - 1)) : a >> (s - 1);
        *r = (int64_t)((uint64_t)*r + (uint64_t)(half & 1));
    }
    return true;
}

static bool int_less(enum dtype d, int64_t a, int64_t b)
{
    return d == TYPE_U64 ? (uint64_t)a < (uint64_t)b : a < b;
}

static bool eval_int(enum op op, enum dtype d, const union scalar *a, int64_t *r)
{
    int64_t x = a[0].i, y = a[1].i;
    uint64_t ux = (uint64_t)x, uy = (uint64_t)y;
    uint64_t mask = dtype_bits(d) == 64 ? UINT64_MAX : (UINT64_C(1) << dtype_bits(d)) - 1;
    switch (op) {
    case OP_ADD:
        *r = (int64_t)(ux + uy);
        break;
    case OP_SUB:
        *r = (int64_t)(ux - uy);
        break;
    case OP_MUL:
        *r = (int64_t)(ux * uy);
        break;
    case OP_DIV:
    case OP_MOD:
        if (!eval_divmod(op, d, x, y, r)) return false;
        break;
    case OP_MIN:
        *r = int_less(d, x, y) ? x : y;
        break;
    case OP_MAX:
        *r = int_less(d, x, y) ? y : x;
        break;
    case OP_NEG:
        *r = (int64_t)(0 - ux);
        break;
    case OP_ABS:
        *r = x < 0 && dtype_is_signed(d) ? (int64_t)(0 - ux) : x;
        break;
    case OP_AND:
        *r = x & y;
        break;
    case OP_OR:
        *r = x | y;
        break;
    case OP_XOR:
        *r = x ^ y;
        break;
    case OP_NOT:
        *r = ~x;
        break;
    case OP_SHL:
    case OP_SHR:
    case OP_RSHR:
        if (!eval_shift(op, d, x, y, r)) return false;
        break;
    case OP_POPCOUNT:
        *r = __builtin_popcountll(ux & mask);
        break;
    default:
        return false;
    }
    *r = int_wrap(d, *r);
    return true;
}

static int64_t round_to_int(enum dtype to, int mode, double v)
{
    if (isnan(v)) return 0;
    v = cast_rounds_even(mode) ? nearbyint(v) : cast_rounds_away(mode) ? round(v) : trunc(v);
    if (to == TYPE_B1) return v != 0;
    if (to == TYPE_U64) {
        if (v <= 0) return 0;
        return v >= 0x1p64 ? -1 : (int64_t)(uint64_t)v;
    }
    double lo = (double)dtype_int_min(to), hi = (double)dtype_int_max(to);
    if (v <= lo) return dtype_int_min(to);
    return v >= hi ? dtype_int_max(to) : (int64_t)v;
}

static void eval_cast(enum dtype to, enum dtype from, int mode, union scalar a, union scalar *out)
{
    if (dtype_is_float(from)) {
        if (dtype_is_float(to))
            out->f = real_round(to, a.f);
        else
            out->i = round_to_int(to, mode, to == TYPE_B1 && mode == CAST_PLAIN ? a.f != 0 : a.f);
    } else if (dtype_is_float(to)) {
        if (to == TYPE_F32) /* straight from the integer: through double would round twice */
            out->f = from == TYPE_U64 ? (double)(float)(uint64_t)a.i : (double)(float)a.i;
        else
            out->f = real_round(to, from == TYPE_U64 ? (double)(uint64_t)a.i : (double)a.i);
    } else if (to == TYPE_B1) {
        out->i = a.i != 0;
    } else if (cast_saturates(mode)) {
        bool huge = from == TYPE_U64 && a.i < 0; /* above INT64_MAX */
        if (huge)
            out->i = to == TYPE_U64 ? a.i : dtype_int_max(to);
        else
            out->i = i64_max(dtype_int_min(to), i64_min(a.i, dtype_int_max(to)));
    } else {
        out->i = int_wrap(to, a.i);
    }
}

/* The storage bits of a value, and back. */
static uint64_t bits_of(enum dtype d, union scalar a)
{
    uint64_t u = (uint64_t)a.i;
    float f = 0;
    uint32_t u32 = 0;
    switch (d) {
    case TYPE_F64:
        memcpy(&u, &a.f, 8);
        return u;
    case TYPE_F32:
        f = (float)a.f;
        memcpy(&u32, &f, 4);
        return u32;
    case TYPE_F16:
        return f16_from_double(a.f);
    case TYPE_BF16:
        return bf16_from_double(a.f);
    default:
        return u;
    }
}

static void from_bits(enum dtype d, uint64_t u, union scalar *out)
{
    float f = 0;
    uint32_t u32 = (uint32_t)u;
    switch (d) {
    case TYPE_F64:
        memcpy(&out->f, &u, 8);
        break;
    case TYPE_F32:
        memcpy(&f, &u32, 4);
        out->f = f;
        break;
    case TYPE_F16:
        out->f = f16_to_double((uint16_t)u);
        break;
    case TYPE_BF16:
        out->f = bf16_to_double((uint16_t)u);
        break;
    default:
        out->i = int_wrap(d, (int64_t)u);
        break;
    }
}

bool scalar_eval(enum op op, enum dtype to, enum dtype from, int mode, const union scalar *a,
                 union scalar *out)
{
    bool real = dtype_is_float(from);
    switch (op) {
    case OP_CAST:
        eval_cast(to, from, mode, a[0], out);
        return true;
    case OP_BITCAST:
        from_bits(to, bits_of(from, a[0]), out);
        return true;
    case OP_EQ:
        out->i = real ? a[0].f == a[1].f : a[0].i == a[1].i;
        return true;
    case OP_NE:
        out->i = real ? a[0].f != a[1].f : a[0].i != a[1].i;
        return true;
    case OP_LT:
        out->i = real ? a[0].f < a[1].f : int_less(from, a[0].i, a[1].i);
        return true;
    case OP_LE:
        out->i = real ? a[0].f <= a[1].f : !int_less(from, a[1].i, a[0].i);
        return true;
    default:
        return real ? eval_float(op, to, a, &out->f) : eval_int(op, to, a, &out->i);
    }
}
