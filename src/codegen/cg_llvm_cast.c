/* cg_llvm_cast: conversions, saturating and rounding, and the half-precision formats; never a
 * library call.
 *
 *   cast_sat_even(s8, x: f32)   ->   round x to even, clamp, convert   (ir/scalar.c: round_to_int)
 *
 * Invariants: results equal the interpreter's bit for bit on finite data; a value of f16 or bf16 in
 * a register is an f32 that the narrow type can hold exactly. */
#include <math.h>
#include <string.h>

#include "codegen/cg_llvm.h"

static int lanes_of(LLVMValueRef v)
{
    LLVMTypeRef t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1;
}

static LLVMTypeRef like(LLVMTypeRef scalar, LLVMValueRef v) { return cg_wide(scalar, lanes_of(v)); }

static LLVMValueRef as_bits(struct cg *c, LLVMValueRef v)
{
    return LLVMBuildBitCast(c->b, v, like(c->i32, v), "");
}
static LLVMValueRef as_f32(struct cg *c, LLVMValueRef v)
{
    return LLVMBuildBitCast(c->b, v, like(c->f32, v), "");
}

static LLVMValueRef bin(struct cg *c, LLVMOpcode op, LLVMValueRef x, int64_t k)
{
    return LLVMBuildBinOp(c->b, op, x, cg_int(c, LLVMTypeOf(x), k), "");
}

static LLVMValueRef cmp(struct cg *c, LLVMIntPredicate p, LLVMValueRef x, int64_t k)
{
    return LLVMBuildICmp(c->b, p, x, cg_int(c, LLVMTypeOf(x), k), "");
}

/* ---- f16 and bf16 ---------------------------------------------------------------------------- */

/* i16 pattern of f16 -> f32: shift into place, scale by 2^112 (exact, subnormals too), put the sign
 * back. */
static LLVMValueRef half_to_f32(struct cg *c, LLVMValueRef h)
{
    LLVMTypeRef i32 = like(c->i32, h);
    if (c->native_half) {
        LLVMTypeRef half = like(LLVMHalfTypeInContext(c->ctx), h);
        return LLVMBuildFPExt(c->b, LLVMBuildBitCast(c->b, h, half, ""), like(c->f32, h), "");
    }
    LLVMValueRef w = LLVMBuildZExt(c->b, h, i32, "");
    LLVMValueRef mag = bin(c, LLVMShl, bin(c, LLVMAnd, w, 0x7fff), 13);
    LLVMValueRef f = as_f32(c, mag);
    f = LLVMBuildFMul(c->b, f, cg_real(c, LLVMTypeOf(f), 0x1p112), "");
    LLVMValueRef special = cmp(c, LLVMIntUGE, mag, 0x0f800000);
    LLVMValueRef bits = cg_select(c, special, bin(c, LLVMOr, mag, 0x7f800000), as_bits(c, f));
    LLVMValueRef sign = bin(c, LLVMShl, bin(c, LLVMAnd, w, 0x8000), 16);
    return as_f32(c, LLVMBuildOr(c->b, bits, sign, ""));
}

/* f32 -> i16 pattern of f16, to nearest even. */
static LLVMValueRef f32_to_half(struct cg *c, LLVMValueRef f)
{
    LLVMTypeRef i16 = like(c->i16, f);
    if (c->native_half) {
        LLVMTypeRef half = like(LLVMHalfTypeInContext(c->ctx), f);
        return LLVMBuildBitCast(c->b, LLVMBuildFPTrunc(c->b, f, half, ""), i16, "");
    }
    const int64_t magic = INT64_C(126)
                          << 23; /* 0.5: adding it leaves a subnormal half in the low bits */
    LLVMValueRef u = as_bits(c, f), mag = bin(c, LLVMAnd, u, 0x7fffffff);
    LLVMValueRef nan =
        cg_select(c, cmp(c, LLVMIntUGT, mag, 0x7f800000), cg_int(c, LLVMTypeOf(u), 0x7e00),
                  cg_int(c, LLVMTypeOf(u), 0x7c00));
    LLVMValueRef tiny =
        LLVMBuildFAdd(c->b, as_f32(c, mag), as_f32(c, cg_int(c, LLVMTypeOf(u), magic)), "");
    LLVMValueRef sub = bin(c, LLVMSub, as_bits(c, tiny), magic);
    LLVMValueRef odd = bin(c, LLVMAnd, bin(c, LLVMLShr, mag, 13), 1);
    LLVMValueRef norm =
        LLVMBuildAdd(c->b, bin(c, LLVMAdd, mag, 0xfff - (INT64_C(112) << 23)), odd, "");
    norm = bin(c, LLVMLShr, norm, 13);
    LLVMValueRef r = cg_select(c, cmp(c, LLVMIntULT, mag, INT64_C(113) << 23), sub, norm);
    r = cg_select(c, cmp(c, LLVMIntUGE, mag, INT64_C(143) << 23), nan, r);
    LLVMValueRef sign = bin(c, LLVMAnd, bin(c, LLVMLShr, u, 16), 0x8000);
    return LLVMBuildTrunc(c->b, LLVMBuildOr(c->b, r, sign, ""), i16, "");
}

static LLVMValueRef round_bf16(struct cg *c, LLVMValueRef f)
{
    LLVMValueRef u = as_bits(c, f);
    LLVMValueRef odd = bin(c, LLVMAnd, bin(c, LLVMLShr, u, 16), 1);
    LLVMValueRef r = LLVMBuildAdd(c->b, bin(c, LLVMAdd, u, 0x7fff), odd, "");
    LLVMValueRef is_nan = cmp(c, LLVMIntUGT, bin(c, LLVMAnd, u, 0x7fffffff), 0x7f800000);
    r = cg_select(c, is_nan, bin(c, LLVMOr, u, 0x400000), r);
    return as_f32(c, bin(c, LLVMAnd, r, 0xffff0000));
}

LLVMValueRef cg_narrow(struct cg *c, LLVMValueRef f32, enum dtype d)
{
    return d == TYPE_F16    ? half_to_f32(c, f32_to_half(c, f32))
           : d == TYPE_BF16 ? round_bf16(c, f32)
                            : f32;
}

/* f64 -> f32 rounding to odd, so that rounding once more to a narrower type is right. */
static LLVMValueRef f64_to_odd_f32(struct cg *c, LLVMValueRef d)
{
    LLVMValueRef f = LLVMBuildFPTrunc(c->b, d, like(c->f32, d), "");
    LLVMValueRef back = LLVMBuildFPExt(c->b, f, like(c->f64, d), "");
    LLVMValueRef inexact = LLVMBuildFCmp(c->b, LLVMRealONE, back, d, "");
    LLVMValueRef above = LLVMBuildFCmp(c->b, LLVMRealOGT, cg_call1(c, "llvm.fabs", back),
                                       cg_call1(c, "llvm.fabs", d), "");
    LLVMValueRef u = as_bits(c, f);
    LLVMValueRef down = LLVMBuildSub(c->b, u, LLVMBuildZExt(c->b, above, LLVMTypeOf(u), ""), "");
    return as_f32(c, LLVMBuildOr(c->b, down, LLVMBuildZExt(c->b, inexact, LLVMTypeOf(u), ""), ""));
}

LLVMValueRef cg_from_memory(struct cg *c, LLVMValueRef v, struct type t)
{
    switch (t.dtype) {
    case TYPE_F16:
        return half_to_f32(c, v);
    case TYPE_BF16:
        return as_f32(c, bin(c, LLVMShl, LLVMBuildZExt(c->b, v, like(c->i32, v), ""), 16));
    case TYPE_S4:
    case TYPE_U4:
        return LLVMBuildTrunc(c->b, v, cg_type(c, t), "");
    case TYPE_B1:
        return cmp(c, LLVMIntNE, v, 0);
    default:
        return v;
    }
}

LLVMValueRef cg_to_memory(struct cg *c, LLVMValueRef v, struct type t)
{
    switch (t.dtype) {
    case TYPE_F16:
        return f32_to_half(c, v);
    case TYPE_BF16:
        return LLVMBuildTrunc(c->b, bin(c, LLVMLShr, as_bits(c, v), 16), like(c->i16, v), "");
    case TYPE_S4:
        return LLVMBuildSExt(c->b, v, like(c->i8, v), "");
    case TYPE_U4:
    case TYPE_B1:
        return LLVMBuildZExt(c->b, v, like(c->i8, v), "");
    default:
        return v;
    }
}

/* ---- rounding to integral values ------------------------------------------------------------- */

/* Nearest integral value, ties to even: adding 2^52 or 2^23 pushes the fraction out. */
static LLVMValueRef rint_by_magic(struct cg *c, LLVMValueRef v)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    bool f64 = type == like(c->f64, v);
    LLVMValueRef big = cg_real(c, type, f64 ? 0x1p52 : 0x1p23), mag = cg_call1(c, "llvm.fabs", v);
    LLVMValueRef r = LLVMBuildFSub(c->b, LLVMBuildFAdd(c->b, mag, big, ""), big, "");
    LLVMValueRef small = LLVMBuildFCmp(c->b, LLVMRealOLT, mag, big, "");
    LLVMValueRef args[2] = {cg_select(c, small, r, mag), v};
    return cg_call(c, "llvm.copysign", &type, 1, args, 2);
}

LLVMValueRef cg_round(struct cg *c, enum op op, LLVMValueRef v)
{
    static const char *const names[] = {"llvm.floor", "llvm.ceil", "llvm.roundeven", "llvm.trunc"};
    if (c->native_round) return cg_call1(c, names[op - OP_FLOOR], v);
    LLVMTypeRef type = LLVMTypeOf(v);
    LLVMValueRef zero = cg_real(c, type, 0), one = cg_real(c, type, 1), r, x = v;
    if (op == OP_ROUND) return rint_by_magic(c, v);
    if (op == OP_TRUNC) x = cg_call1(c, "llvm.fabs", v);
    r = rint_by_magic(c, x);
    bool up = op == OP_CEIL;
    LLVMValueRef off = LLVMBuildFCmp(c->b, up ? LLVMRealOLT : LLVMRealOGT, r, x, "");
    LLVMValueRef step = cg_select(c, off, one, zero);
    r = up ? LLVMBuildFAdd(c->b, r, step, "") : LLVMBuildFSub(c->b, r, step, "");
    LLVMValueRef args[2] = {r, v};
    return cg_call(c, "llvm.copysign", &type, 1, args, 2);
}

/* Halves away from zero; the sign of a zero does not matter, an integer conversion follows. */
static LLVMValueRef round_away(struct cg *c, LLVMValueRef v)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    LLVMValueRef t = cg_round(c, OP_TRUNC, v), d = LLVMBuildFSub(c->b, v, t, "");
    LLVMValueRef half =
        LLVMBuildFCmp(c->b, LLVMRealOGE, cg_call1(c, "llvm.fabs", d), cg_real(c, type, 0.5), "");
    LLVMValueRef args[2] = {cg_real(c, type, 1), v};
    LLVMValueRef one = cg_call(c, "llvm.copysign", &type, 1, args, 2);
    return cg_select(c, half, LLVMBuildFAdd(c->b, t, one, ""), t);
}

/* ---- casts ----------------------------------------------------------------------------------- */

/* llvm.fptosi.sat of f32 lanes to s32 takes them apart one by one on x86: 2^31 - 1 is no f32. */
static LLVMValueRef lanes_to_s32(struct cg *c, LLVMValueRef v)
{
    LLVMTypeRef f = LLVMTypeOf(v), i = like(c->i32, v);
    LLVMValueRef above = LLVMBuildFCmp(c->b, LLVMRealOGE, v, cg_real(c, f, 0x1p31), "");
    LLVMValueRef below = LLVMBuildFCmp(c->b, LLVMRealOLE, v, cg_real(c, f, -0x1p31), "");
    LLVMValueRef fits =
        LLVMBuildFCmp(c->b, LLVMRealOLT, cg_call1(c, "llvm.fabs", v), cg_real(c, f, 0x1p31), "");
    LLVMValueRef r = LLVMBuildFPToSI(c->b, cg_select(c, fits, v, cg_real(c, f, 0)), i, "");
    r = cg_select(c, above, cg_int(c, i, INT32_MAX), r);
    return cg_select(c, below, cg_int(c, i, INT32_MIN), r);
}

/* ---- to the nearest of 8 or 16 bits, a whole register of results --------------------------------
 *
 *     4 x <16 x float>    convert each, pack two by two with saturation, and again, put in order
 *                    -->  <64 x i8>
 *
 * Packing works within blocks of 128 bits: four lanes of each of the registers stand in one block. */

struct packs { /* of registers of so many bits */
    int bits;
    const char *convert, *words, *words_unsigned, *bytes, *bytes_unsigned;
};
static const struct packs x86_packs[] = {
    {512, "llvm.x86.avx512.mask.cvtps2dq.512", "llvm.x86.avx512.packssdw.512",
     "llvm.x86.avx512.packusdw.512", "llvm.x86.avx512.packsswb.512",
     "llvm.x86.avx512.packuswb.512"},
    {256, "llvm.x86.avx.cvt.ps2dq.256", "llvm.x86.avx2.packssdw", "llvm.x86.avx2.packusdw",
     "llvm.x86.avx2.packsswb", "llvm.x86.avx2.packuswb"},
};

/* NULL: the lanes do not fill registers, or this machine has no such. */
static const struct packs *packs_for(const struct cg *c, int lanes, enum dtype to)
{
    int per_result = 32 / dtype_bits(to);
    for (size_t i = 0; i < QN_COUNT(x86_packs); i++)
        if (c->pack_bits >= x86_packs[i].bits && lanes * 32 == per_result * x86_packs[i].bits)
            return &x86_packs[i];
    return NULL;
}

/* Beyond the 32 bits the result is INT32_MIN, as for a NaN. */
static LLVMValueRef to_nearest_s32(struct cg *c, const struct packs *p, LLVMValueRef v)
{
    LLVMValueRef args[4] = {v};
    return p->bits < 512 ? cg_call(c, p->convert, NULL, 0, args, 1)
                         : cg_call_avx512(c, p->convert, like(c->i32, v), args, 1, true);
}

/* The low bytes of n integers that fit or are INT32_MIN, of which they make 0: words by pairs (-32768 of that),
 * then the low bytes of words, all in order. */
static LLVMValueRef low_bytes(struct cg *c, const struct packs *p, LLVMValueRef *part,
                              enum dtype to)
{
    int in = p->bits / 32, n = 32 / dtype_bits(to), sel[64];
    for (int i = 0; i < n && n == 4; i += 2)
        part[i / 2] = cg_call(c, p->words, NULL, 0, part + i, 2);
    LLVMTypeRef pieces = cg_wide(cg_dtype(c, to), n * in);
    for (int i = 0; i < n * in; i++) {
        /* lane i is j of register r; block b of words has four of each */
        int r = i / in, j = i % in, b = j / 4;
        sel[i] = n == 2 ? 2 * i : (r / 2) * 4 * in + (b * 8 + r % 2 * 4 + j % 4) * 2;
    }
    return cg_shuffle(c, LLVMBuildBitCast(c->b, part[0], pieces, ""),
                      LLVMBuildBitCast(c->b, part[1], pieces, ""), sel, n * in);
}

static LLVMValueRef pack_lanes(struct cg *c, const struct packs *p, LLVMValueRef v, enum dtype to)
{
    int in = p->bits / 32, n = 32 / dtype_bits(to), blocks = p->bits / 128;
    bool s = dtype_is_signed(to);
    LLVMValueRef part[4], order[64];
    for (int i = 0; i < n; i++)
        part[i] = to_nearest_s32(c, p, cg_some_lanes(c, v, NULL, i * in, in));
    if (c->bytes) return low_bytes(c, p, part, to);
    const char *first = n == 2 && !s ? p->words_unsigned : p->words;
    for (int i = 0; i < n; i += 2) part[i / 2] = cg_call(c, first, NULL, 0, part + i, 2);
    if (n == 4) part[0] = cg_call(c, s ? p->bytes : p->bytes_unsigned, NULL, 0, part, 2);
    /* block b has, of each register r in turn, what its four lanes there became */
    LLVMTypeRef piece = n == 4 ? c->i32 : c->i64, pieces = cg_wide(piece, n * blocks);
    for (int r = 0; r < n; r++)
        for (int b = 0; b < blocks; b++)
            order[r * blocks + b] = LLVMConstInt(c->i32, (unsigned)(b * n + r), 0);
    LLVMValueRef all = LLVMBuildBitCast(c->b, part[0], pieces, "");
    all = LLVMBuildShuffleVector(c->b, all, LLVMGetPoison(pieces),
                                 LLVMConstVector(order, (unsigned)(n * blocks)), "");
    return LLVMBuildBitCast(c->b, all, like(cg_dtype(c, to), v), "");
}

static LLVMValueRef clamp_to(struct cg *c, LLVMValueRef v, double bound, LLVMRealPredicate beyond)
{
    LLVMValueRef to = cg_real(c, LLVMTypeOf(v), bound);
    return cg_select(c, LLVMBuildFCmp(c->b, beyond, v, to, ""), to, v);
}

/* Likewise of f32 lanes to 8 and 16 bits: those bounds are f32, so it is a clamp, which passes NaN, and a
 * conversion; or, to the nearest, a sum whose last bits are the integer. */
static LLVMValueRef lanes_to_narrow(struct cg *c, LLVMValueRef v, enum dtype to, int mode)
{
    LLVMTypeRef f = LLVMTypeOf(v);
    int bits = dtype_bits(to), sign = dtype_is_signed(to);
    bool nearest = cast_rounds_even(mode), fits = mode == CAST_FITS_ROUND_EVEN;
    const struct packs *packs = nearest ? packs_for(c, lanes_of(v), to) : NULL;
    /* Packing saturates below; taking low bytes does not, but makes 0 of NaN. */
    bool low = packs && c->bytes, saturates = packs && !low;
    LLVMValueRef nan = low ? NULL : LLVMBuildFCmp(c->b, LLVMRealUNO, v, v, "");
    if (!fits) v = clamp_to(c, v, ldexp(1, bits - sign) - 1, LLVMRealOGT);
    if (!fits && !saturates) v = clamp_to(c, v, sign ? -ldexp(1, bits - 1) : 0, LLVMRealOLT);
    if (nan) v = cg_select(c, nan, cg_real(c, f, 0), v);
    if (packs) return pack_lanes(c, packs, v, to);
    LLVMTypeRef i = like(c->i32, v);
    LLVMValueRef sum = nearest ? LLVMBuildFAdd(c->b, v, cg_real(c, f, 0x1.8p23), "") : NULL;
    LLVMValueRef wide =
        nearest ? LLVMBuildBitCast(c->b, sum, i, "") : LLVMBuildFPToSI(c->b, v, i, "");
    return LLVMBuildTrunc(c->b, wide, like(cg_dtype(c, to), v), "");
}

static LLVMValueRef float_to_int(struct cg *c, LLVMValueRef v, enum dtype to, int mode)
{
    LLVMTypeRef from = LLVMTypeOf(v), dest = like(cg_dtype(c, to), v);
    bool even = cast_rounds_even(mode), narrow = c->x86 && from == like(c->f32, v) &&
                                                 lanes_of(v) > 1 &&
                                                 (dtype_bits(to) == 8 || dtype_bits(to) == 16);
    if (narrow && even) return lanes_to_narrow(c, v, to, mode);
    if (even)
        v = cg_round(c, OP_ROUND, v);
    else if (cast_rounds_away(mode))
        v = round_away(c, v);
    else if (mode == CAST_SAT && to == TYPE_B1)
        v = cg_round(c, OP_TRUNC, v);
    if (to == TYPE_B1)
        return LLVMBuildFCmp(c->b, mode == CAST_PLAIN ? LLVMRealUNE : LLVMRealONE, v,
                             cg_real(c, from, 0), "");
    if (narrow) return lanes_to_narrow(c, v, to, mode);
    if (c->x86 && from == like(c->f32, v) && lanes_of(v) > 1 && to == TYPE_S32)
        return lanes_to_s32(c, v);
    LLVMTypeRef types[2] = {dest, from};
    return cg_call(c, dtype_is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", types, 2, &v, 1);
}

static LLVMValueRef int_to_f64(struct cg *c, LLVMValueRef v, enum dtype from)
{
    return dtype_is_signed(from) ? LLVMBuildSIToFP(c->b, v, like(c->f64, v), "")
                                 : LLVMBuildUIToFP(c->b, v, like(c->f64, v), "");
}

static LLVMValueRef int_to_float(struct cg *c, LLVMValueRef v, enum dtype to, enum dtype from)
{
    if (to == TYPE_F64) return int_to_f64(c, v, from);
    if (to != TYPE_F32 && dtype_bits(from) > 16) /* through f64, then once to the narrow type */
        return cg_narrow(c, f64_to_odd_f32(c, int_to_f64(c, v, from)), to);
    LLVMTypeRef f32 = like(c->f32, v);
    LLVMValueRef f = dtype_is_signed(from) ? LLVMBuildSIToFP(c->b, v, f32, "")
                                           : LLVMBuildUIToFP(c->b, v, f32, "");
    return cg_narrow(c, f, to);
}

static LLVMValueRef float_to_float(struct cg *c, LLVMValueRef v, enum dtype to, enum dtype from)
{
    if (to == from) return v;
    if (to == TYPE_F64) return LLVMBuildFPExt(c->b, v, like(c->f64, v), "");
    if (from != TYPE_F64) return cg_narrow(c, v, to);
    if (to == TYPE_F32) return LLVMBuildFPTrunc(c->b, v, like(c->f32, v), "");
    return cg_narrow(c, f64_to_odd_f32(c, v), to);
}

static int64_t int_min_of(enum dtype d)
{
    return !dtype_is_signed(d)   ? 0
           : dtype_bits(d) == 64 ? INT64_MIN
                                 : -(INT64_C(1) << (dtype_bits(d) - 1));
}

static uint64_t int_max_of(enum dtype d)
{
    int bits = dtype_bits(d) - (dtype_is_signed(d) ? 1 : 0);
    return bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

static LLVMValueRef clamp(struct cg *c, LLVMValueRef v, enum dtype to, enum dtype from)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    bool s = dtype_is_signed(from);
    LLVMValueRef args[2] = {v, NULL};
    if (s && int_min_of(to) > int_min_of(from)) {
        args[1] = cg_int(c, type, int_min_of(to));
        args[0] = cg_call(c, "llvm.smax", &type, 1, args, 2);
    }
    if (int_max_of(to) < int_max_of(from)) {
        args[1] = cg_int(c, type, (int64_t)int_max_of(to));
        args[0] = cg_call(c, s ? "llvm.smin" : "llvm.umin", &type, 1, args, 2);
    }
    return args[0];
}

static LLVMValueRef int_to_int(struct cg *c, LLVMValueRef v, enum dtype to, enum dtype from,
                               int mode)
{
    if (to == TYPE_B1) return cmp(c, LLVMIntNE, v, 0);
    if (cast_saturates(mode)) v = clamp(c, v, to, from);
    LLVMTypeRef dest = like(cg_dtype(c, to), v);
    int a = dtype_bits(from), b = dtype_bits(to);
    if (a == b) return v;
    if (b < a) return LLVMBuildTrunc(c->b, v, dest, "");
    return dtype_is_signed(from) ? LLVMBuildSExt(c->b, v, dest, "")
                                 : LLVMBuildZExt(c->b, v, dest, "");
}

LLVMValueRef cg_cast(struct cg *c, const struct expr *e)
{
    enum dtype to = (enum dtype)e->type.dtype, from = (enum dtype)e->a[0]->type.dtype;
    LLVMValueRef v = cg_expr(c, e->a[0]);
    if (c->failed) return NULL;
    bool a = dtype_is_float(from), b = dtype_is_float(to);
    if (a && b) return float_to_float(c, v, to, from);
    if (a) return float_to_int(c, v, to, (int)e->u.i);
    if (b) return int_to_float(c, v, to, from);
    return int_to_int(c, v, to, from, (int)e->u.i);
}

LLVMValueRef cg_bitcast(struct cg *c, const struct expr *e)
{
    LLVMValueRef v = cg_expr(c, e->a[0]);
    if (c->failed) return NULL;
    v = cg_to_memory(c, v, e->a[0]->type);
    return cg_from_memory(c, LLVMBuildBitCast(c->b, v, cg_mem_type(c, e->type), ""), e->type);
}
