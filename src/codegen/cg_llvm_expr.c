/* cg_llvm_expr: arithmetic. Each node becomes a few instructions once per scope; what an operator
 * means is ir/scalar.c, and this file says the same to LLVM.
 *
 *   fma(a[i], splat(b[j]), acc[0])   ->   call <16 x float> @llvm.fma.v16f32(...)
 *
 * Invariants: no fast-math flag except no-NaN/no-signed-zero on min and max off x86; integers wrap;
 * nothing can trap (division by zero divides by one: the interpreter refuses such a nest). A vector
 * or boolean that uses only outer variables and no memory is computed outside the loops that do not
 * change it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codegen/cg_llvm.h"

/* ---- types and constants --------------------------------------------------------------------- */

LLVMTypeRef cg_wide(LLVMTypeRef scalar, int lanes)
{
    return lanes > 1 ? LLVMVectorType(scalar, (unsigned)lanes) : scalar;
}

LLVMTypeRef cg_dtype(struct cg *c, enum dtype d)
{
    switch (d) {
    case TYPE_F64:
        return c->f64;
    case TYPE_F32:
    case TYPE_F16:
    case TYPE_BF16:
        return c->f32;
    case TYPE_B1:
        return c->i1;
    default:
        return LLVMIntTypeInContext(c->ctx, (unsigned)dtype_bits(d));
    }
}

LLVMTypeRef cg_type(struct cg *c, struct type t) { return cg_wide(cg_dtype(c, t.dtype), t.lanes); }

LLVMTypeRef cg_mem_type(struct cg *c, struct type t)
{
    LLVMTypeRef m = t.dtype == TYPE_F16 || t.dtype == TYPE_BF16 ? c->i16
                    : dtype_bits(t.dtype) < 8                   ? c->i8
                                                                : cg_dtype(c, t.dtype);
    return cg_wide(m, t.lanes);
}

LLVMTypeRef cg_element(LLVMTypeRef t)
{
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
}

int cg_lanes(LLVMTypeRef t)
{
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1;
}

static LLVMValueRef const_splat(LLVMValueRef v, int lanes)
{
    if (lanes == 1) return v;
    LLVMValueRef all[1024];
    QN_CHECK(lanes <= 1024, "%d lanes", lanes);
    for (int i = 0; i < lanes; i++) all[i] = v;
    return LLVMConstVector(all, (unsigned)lanes);
}

LLVMValueRef cg_int(struct cg *c, LLVMTypeRef type, int64_t v)
{
    return const_splat(LLVMConstInt(cg_element(type), (unsigned long long)v, 1), cg_lanes(type));
}

LLVMValueRef cg_real(struct cg *c, LLVMTypeRef type, double v)
{
    return const_splat(LLVMConstReal(cg_element(type), v), cg_lanes(type));
}

/* Shaped so that a splat of a loaded scalar folds into a broadcast operand. */
LLVMValueRef cg_splat(struct cg *c, LLVMValueRef v, int lanes)
{
    if (lanes == 1) return v;
    if (LLVMIsConstant(v)) return const_splat(v, lanes);
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(v), (unsigned)lanes);
    LLVMValueRef one =
        LLVMBuildInsertElement(c->b, LLVMGetPoison(type), v, LLVMConstInt(c->i32, 0, 0), "");
    return LLVMBuildShuffleVector(c->b, one, LLVMGetPoison(type),
                                  LLVMConstNull(LLVMVectorType(c->i32, (unsigned)lanes)), "");
}

LLVMValueRef cg_call(struct cg *c, const char *intrinsic, LLVMTypeRef *types, int ntypes,
                     LLVMValueRef *args, int n)
{
    unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
    QN_CHECK(id, "no intrinsic %s", intrinsic);
    LLVMTypeRef ft = LLVMIntrinsicGetType(c->ctx, id, types, (size_t)ntypes);
    return LLVMBuildCall2(c->b, ft, LLVMGetIntrinsicDeclaration(c->mod, id, types, (size_t)ntypes),
                          args, (unsigned)n, "");
}

enum { SHUFFLED_MAX = 1024 };

LLVMValueRef cg_shuffle(struct cg *c, LLVMValueRef a, LLVMValueRef b, const int *sel, int lanes)
{
    LLVMValueRef mask[SHUFFLED_MAX];
    QN_CHECK(lanes <= SHUFFLED_MAX, "a shuffle of %d lanes", lanes);
    for (int i = 0; i < lanes; i++)
        mask[i] = sel[i] < 0 ? LLVMGetPoison(c->i32) : LLVMConstInt(c->i32, (unsigned)sel[i], 0);
    if (!b) b = LLVMGetPoison(LLVMTypeOf(a));
    return LLVMBuildShuffleVector(c->b, a, b, LLVMConstVector(mask, (unsigned)lanes), "");
}

LLVMValueRef cg_some_lanes(struct cg *c, LLVMValueRef a, LLVMValueRef b, int first, int n)
{
    int sel[SHUFFLED_MAX];
    QN_CHECK(n <= SHUFFLED_MAX, "a shuffle of %d lanes", n);
    for (int i = 0; i < n; i++) sel[i] = first + i;
    return cg_shuffle(c, a, b, sel, n);
}

LLVMValueRef cg_call_avx512(struct cg *c, const char *intrinsic, LLVMTypeRef type,
                            LLVMValueRef *args, int n, bool rounds)
{
    enum { ROUNDING_AT_HAND = 4 };
    args[n] = LLVMGetUndef(type);
    args[n + 1] = LLVMConstAllOnes(cg_lanes(type) > 8 ? c->i16 : c->i8);
    args[n + 2] = cg_int(c, c->i32, ROUNDING_AT_HAND);
    return cg_call(c, intrinsic, NULL, 0, args, n + 2 + rounds);
}

LLVMValueRef cg_call1(struct cg *c, const char *intrinsic, LLVMValueRef a)
{
    LLVMTypeRef type = LLVMTypeOf(a);
    return cg_call(c, intrinsic, &type, 1, &a, 1);
}

static LLVMValueRef call2(struct cg *c, const char *intrinsic, LLVMValueRef a, LLVMValueRef b)
{
    LLVMTypeRef type = LLVMTypeOf(a);
    LLVMValueRef args[2] = {a, b};
    return cg_call(c, intrinsic, &type, 1, args, 2);
}

LLVMValueRef cg_select(struct cg *c, LLVMValueRef cond, LLVMValueRef a, LLVMValueRef b)
{
    return LLVMBuildSelect(c->b, cond, a, b, "");
}

bool cg_is_int(enum dtype d) { return !dtype_is_float(d); }

/* ---- comparisons ----------------------------------------------------------------------------- */

/* e = base + stride*lane with a scalar base. */
static bool lane_form(const struct expr *e, const struct expr **base, int64_t *stride)
{
    *base = e->a[0];
    *stride = 0;
    if (e->op == OP_SPLAT) return true;
    return e->op == OP_RAMP && expr_is_int(e->a[1], stride) && *stride > -65536 && *stride < 65536;
}

/* base0 + s0*lane < base1 + s1*lane, for s64: one scalar difference, clamped, against a constant of
 * 32-bit lanes. */
static LLVMValueRef compare_lanes(struct cg *c, const struct expr *e, bool or_equal)
{
    const struct expr *b0, *b1;
    int64_t s0, s1;
    if (e->a[0]->type.dtype != TYPE_S64 || !lane_form(e->a[0], &b0, &s0) ||
        !lane_form(e->a[1], &b1, &s1))
        return NULL;
    LLVMValueRef x = cg_expr(c, b0), y = cg_expr(c, b1);
    if (c->failed) return NULL;
    int lanes = e->type.lanes;
    int64_t most = (s0 > s1 ? s0 - s1 : s1 - s0) * lanes + 2;
    LLVMValueRef d = LLVMBuildSub(c->b, y, x, "");
    d = call2(c, "llvm.smin", call2(c, "llvm.smax", d, cg_int(c, c->i64, -most)),
              cg_int(c, c->i64, most));
    LLVMValueRef right = cg_splat(c, LLVMBuildTrunc(c->b, d, c->i32, ""), lanes), left[1024];
    for (int i = 0; i < lanes; i++)
        left[i] = LLVMConstInt(c->i32, (unsigned long long)((s0 - s1) * i), 1);
    return LLVMBuildICmp(c->b, or_equal ? LLVMIntSLE : LLVMIntSLT,
                         LLVMConstVector(left, (unsigned)lanes), right, "");
}

static LLVMValueRef compare(struct cg *c, const struct expr *e)
{
    enum dtype d = e->a[0]->type.dtype;
    if (e->type.lanes > 1 && (e->op == OP_LT || e->op == OP_LE)) {
        LLVMValueRef v = compare_lanes(c, e, e->op == OP_LE);
        if (v || c->failed) return v;
    }
    LLVMValueRef x = cg_expr(c, e->a[0]), y = cg_expr(c, e->a[1]);
    if (c->failed) return NULL;
    int op = e->op - OP_EQ; /* EQ NE LT LE */
    static const LLVMRealPredicate reals[4] = {LLVMRealOEQ, LLVMRealUNE, LLVMRealOLT, LLVMRealOLE};
    static const LLVMIntPredicate sints[4] = {LLVMIntEQ, LLVMIntNE, LLVMIntSLT, LLVMIntSLE};
    static const LLVMIntPredicate uints[4] = {LLVMIntEQ, LLVMIntNE, LLVMIntULT, LLVMIntULE};
    if (dtype_is_float(d)) return LLVMBuildFCmp(c->b, reals[op], x, y, "");
    return LLVMBuildICmp(c->b, dtype_is_signed(d) ? sints[op] : uints[op], x, y, "");
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

static LLVMValueRef min_max(struct cg *c, bool max, enum dtype d, LLVMValueRef x, LLVMValueRef y)
{
    if (!dtype_is_float(d)) {
        bool s = dtype_is_signed(d);
        return call2(c, max ? (s ? "llvm.smax" : "llvm.umax") : (s ? "llvm.smin" : "llvm.umin"), x,
                     y);
    }
    LLVMValueRef cmp = LLVMBuildFCmp(c->b, max ? LLVMRealOGT : LLVMRealOLT, x, y, "");
    LLVMValueRef sel = cg_select(c, cmp, x, y);
    if (!c->x86) { /* so that one fmin/fmax instruction is chosen */
        LLVMFastMathFlags flags = LLVMFastMathNoNaNs | LLVMFastMathNoSignedZeros;
        if (LLVMIsAInstruction(cmp)) LLVMSetFastMathFlags(cmp, flags);
        if (LLVMIsAInstruction(sel)) LLVMSetFastMathFlags(sel, flags);
    }
    return sel;
}

static LLVMValueRef float_op(struct cg *c, const struct expr *e, LLVMValueRef *v)
{
    switch ((enum op)e->op) {
    case OP_ADD:
        return LLVMBuildFAdd(c->b, v[0], v[1], "");
    case OP_SUB:
        return LLVMBuildFSub(c->b, v[0], v[1], "");
    case OP_MUL:
        return LLVMBuildFMul(c->b, v[0], v[1], "");
    case OP_DIV:
        return LLVMBuildFDiv(c->b, v[0], v[1], "");
    case OP_MIN:
    case OP_MAX:
        return min_max(c, e->op == OP_MAX, (enum dtype)e->type.dtype, v[0], v[1]);
    case OP_NEG:
        return LLVMBuildFNeg(c->b, v[0], "");
    case OP_ABS:
        return cg_call1(c, "llvm.fabs", v[0]);
    case OP_SQRT:
        return cg_call1(c, "llvm.sqrt", v[0]);
    case OP_FLOOR:
    case OP_CEIL:
    case OP_ROUND:
    case OP_TRUNC:
        return cg_round(c, (enum op)e->op, v[0]);
    case OP_FMA: {
        LLVMTypeRef type = LLVMTypeOf(v[0]);
        return cg_call(c, "llvm.fma", &type, 1, v, 3);
    }
    default:
        return cg_fail(c, "codegen.op", "%s has no machine code; it is expanded before",
                       op_name((enum op)e->op));
    }
}

static LLVMValueRef rounding_shift(struct cg *c, bool is_signed, LLVMValueRef x, LLVMValueRef s)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef one = cg_int(c, type, 1), zero = cg_int(c, type, 0);
    LLVMValueRef some = LLVMBuildICmp(c->b, LLVMIntNE, s, zero, "");
    LLVMValueRef less = cg_select(c, some, LLVMBuildSub(c->b, s, one, ""), zero);
    LLVMValueRef half = LLVMBuildAnd(c->b, LLVMBuildLShr(c->b, x, less, ""), one, "");
    LLVMValueRef q = is_signed ? LLVMBuildAShr(c->b, x, s, "") : LLVMBuildLShr(c->b, x, s, "");
    return LLVMBuildAdd(c->b, q, cg_select(c, some, half, zero), "");
}

static LLVMValueRef int_op(struct cg *c, const struct expr *e, LLVMValueRef *v)
{
    enum dtype d = (enum dtype)e->type.dtype;
    bool s = dtype_is_signed(d);
    LLVMTypeRef type = cg_type(c, e->type);
    switch ((enum op)e->op) {
    case OP_ADD:
        return LLVMBuildAdd(c->b, v[0], v[1], "");
    case OP_SUB:
        return LLVMBuildSub(c->b, v[0], v[1], "");
    case OP_MUL:
        return LLVMBuildMul(c->b, v[0], v[1], "");
    case OP_MIN:
    case OP_MAX:
        return min_max(c, e->op == OP_MAX, d, v[0], v[1]);
    case OP_NEG:
        return LLVMBuildSub(c->b, cg_int(c, type, 0), v[0], "");
    case OP_ABS: {
        LLVMValueRef args[2] = {v[0], LLVMConstInt(c->i1, 0, 0)};
        return s ? cg_call(c, "llvm.abs", &type, 1, args, 2) : v[0];
    }
    case OP_AND:
        return LLVMBuildAnd(c->b, v[0], v[1], "");
    case OP_OR:
        return LLVMBuildOr(c->b, v[0], v[1], "");
    case OP_XOR:
        return LLVMBuildXor(c->b, v[0], v[1], "");
    case OP_NOT:
        return LLVMBuildNot(c->b, v[0], "");
    case OP_SHL:
        return LLVMBuildShl(c->b, v[0], v[1], "");
    case OP_SHR:
        return s ? LLVMBuildAShr(c->b, v[0], v[1], "") : LLVMBuildLShr(c->b, v[0], v[1], "");
    case OP_RSHR:
        return rounding_shift(c, s, v[0], v[1]);
    case OP_POPCOUNT:
        return cg_call1(c, "llvm.ctpop", v[0]);
    default:
        return cg_fail(c, "codegen.op", "%s has no integer form", op_name((enum op)e->op));
    }
}

/* A number that e is never below, of 0 the one without a sign; -infinity after so many *steps. */
static double least_of(const struct expr *e, int *steps)
{
    if (e->op == OP_SPLAT) e = e->a[0];
    if (e->op == OP_REAL) return signbit(e->u.f) && e->u.f == 0 ? -INFINITY : e->u.f;
    if ((e->op != OP_MAX && e->op != OP_MIN) || --*steps < 0) return -INFINITY;
    double x = least_of(e->a[0], steps), y = least_of(e->a[1], steps);
    if (e->op == OP_MIN) return fmin(x, y);
    return x > 0 || y >= 0 ? fmax(x, y) : -INFINITY; /* max(0, -0) is -0 */
}

/* Minimum and maximum of floats as those of their bits, which more units of some processors do: of numbers
 * of which one is not negative, floats and their bits have the same order. (Of zeros, min and max
 * choose the second.) NULL: not on this machine, or not known of these. */
static LLVMValueRef min_max_bits(struct cg *c, const struct expr *e, LLVMValueRef *v)
{
    bool max = e->op == OP_MAX;
    if (!c->t->int_minmax || e->type.dtype != TYPE_F32 || e->type.lanes == 1) return NULL;
    int steps = 32;
    double x = least_of(e->a[0], &steps), y = least_of(e->a[1], &steps);
    if (max ? x <= 0 && y < 0 : x < 0 && y <= 0) return NULL;
    LLVMTypeRef bits = LLVMVectorType(c->i32, e->type.lanes);
    LLVMValueRef a = LLVMBuildBitCast(c->b, v[0], bits, ""),
                 b = LLVMBuildBitCast(c->b, v[1], bits, "");
    return LLVMBuildBitCast(c->b, call2(c, max ? "llvm.smax" : "llvm.smin", a, b), LLVMTypeOf(v[0]),
                            "");
}

/* e = max(*x, a) or min(*x, a) with the same number a in all lanes. */
static bool limited(const struct expr *e, const struct expr **x, double *a)
{
    for (int i = 0; i < 2; i++) {
        const struct expr *k = e->a[i]->op == OP_SPLAT ? e->a[i]->a[0] : e->a[i];
        if (k->op != OP_REAL) continue;
        *x = e->a[1 - i];
        *a = k->u.f;
        return true;
    }
    return false;
}

static LLVMValueRef range_of(struct cg *c, LLVMValueRef v, double a, bool wide)
{
    enum { LEAST_MAGNITUDE_SIGN_OF_FIRST = 2, BITS = 512 };
    LLVMTypeRef type = LLVMTypeOf(v);
    int n = (int)LLVMGetVectorSize(type), bits = n * (wide ? 64 : 32);
    if (bits > BITS) /* register by register */
        return cg_some_lanes(c, range_of(c, cg_some_lanes(c, v, NULL, 0, n / 2), a, wide),
                             range_of(c, cg_some_lanes(c, v, NULL, n / 2, n / 2), a, wide), 0, n);
    LLVMValueRef args[6] = {v, cg_real(c, type, a),
                            cg_int(c, c->i32, LEAST_MAGNITUDE_SIGN_OF_FIRST)};
    char name[48];
    snprintf(name, sizeof name, "llvm.x86.avx512.mask.range.p%c.%d", wide ? 'd' : 's', bits);
    return cg_call_avx512(c, name, type, args, 3, bits == BITS);
}

/* The sign of x, and the smaller of both magnitudes, in one operation; a is made of NaN. NULL: not on this
 * machine. */
static LLVMValueRef least_magnitude(struct cg *c, const struct expr *x, double a)
{
    int bits = x->type.lanes * (int)dtype_bits((enum dtype)x->type.dtype);
    bool real = x->type.dtype == TYPE_F32 || x->type.dtype == TYPE_F64;
    if (!c->range || !real || bits < 128 || (bits & (bits - 1))) return NULL;
    LLVMValueRef v = cg_expr(c, x);
    return c->failed ? NULL : range_of(c, v, a, x->type.dtype == TYPE_F64);
}

/* min(max(x, -a), a) or max(min(x, a), -a); NULL: no such clamp, or not in one operation. */
static LLVMValueRef clamp_magnitude(struct cg *c, const struct expr *e)
{
    const struct expr *inner, *x;
    double outer = 0, other = 0;
    bool max = e->op == OP_MAX;
    if (!max && e->op != OP_MIN) return NULL;
    if (!limited(e, &inner, &outer) || inner->op != (max ? OP_MIN : OP_MAX)) return NULL;
    if (!limited(inner, &x, &other) || other != -outer || (max ? other : outer) <= 0) return NULL;
    return least_magnitude(c, x, max ? other : outer);
}

/* e = a < b ? a : b or b > a ? b : a, with the number *k for one of them: *x is the other. */
static bool chosen(const struct expr *e, bool number_right, const struct expr **x, double *k)
{
    const struct expr *less = e->a[0];
    if (e->op != OP_SELECT || less->op != OP_LT || less->a[!number_right] != e->a[1]) return false;
    const struct expr *n = e->a[2]->op == OP_SPLAT ? e->a[2]->a[0] : e->a[2];
    if (less->a[number_right] != e->a[2] || n->op != OP_REAL) return false;
    *x = e->a[1];
    *k = n->u.f;
    return true;
}

/* t < a ? t : a with t = -a < x ? x : -a: the same clamp, except that it makes -a of NaN. Only where any number
 * will do, which the bounds say. */
static LLVMValueRef clamp_number(struct cg *c, const struct expr *e)
{
    const struct expr *inner, *x;
    double most = 0, least = 0;
    if (!chosen(e, true, &inner, &most) || !chosen(inner, false, &x, &least)) return NULL;
    bool any = most == lower_number_most(e->type.dtype == TYPE_F64) && least == -most;
    return any ? least_magnitude(c, x, most) : NULL;
}

static LLVMValueRef arithmetic(struct cg *c, const struct expr *e)
{
    LLVMValueRef v[3] = {clamp_magnitude(c, e)};
    if (v[0] || c->failed) return v[0];
    for (int i = 0; i < e->n && i < 3; i++) v[i] = cg_expr(c, e->a[i]);
    if (c->failed) return NULL;
    enum dtype d = (enum dtype)e->type.dtype;
    if (cg_is_int(d)) return int_op(c, e, v);
    bool narrow = d == TYPE_F16 || d == TYPE_BF16;
    if (e->op == OP_MIN || e->op == OP_MAX) {
        LLVMValueRef r = min_max_bits(c, e, v);
        if (r) return r;
    }
    if (narrow && e->op == OP_FMA)
        return cg_fail(c, "codegen.op", "fma of %s has no machine code", dtype_name(d));
    LLVMValueRef r = float_op(c, e, v);
    return narrow && r ? cg_narrow(c, r, d) : r;
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static LLVMValueRef ramp(struct cg *c, const struct expr *e)
{
    LLVMValueRef base = cg_splat(c, cg_expr(c, e->a[0]), e->type.lanes), step[1024];
    LLVMTypeRef scalar = cg_dtype(c, (enum dtype)e->type.dtype);
    int64_t stride = 0;
    bool known = expr_is_int(e->a[1], &stride);
    for (int i = 0; i < e->type.lanes; i++)
        step[i] =
            LLVMConstInt(scalar,
                         (unsigned long long)(known ? (uint64_t)stride * (uint64_t)i : (uint64_t)i),
                         1);
    LLVMValueRef steps = LLVMConstVector(step, e->type.lanes);
    if (!known)
        steps = LLVMBuildMul(c->b, steps, cg_splat(c, cg_expr(c, e->a[1]), e->type.lanes), "");
    return LLVMBuildAdd(c->b, base, steps, "");
}

/* Lanes folded by halves: v[0..n/2) op v[n/2..n), until one is left. */
static LLVMValueRef horizontal(struct cg *c, const struct expr *e)
{
    LLVMValueRef v = cg_expr(c, e->a[0]);
    if (c->failed) return NULL;
    enum dtype d = (enum dtype)e->type.dtype;
    bool real = dtype_is_float(d);
    for (int n = e->a[0]->type.lanes / 2; n >= 1; n /= 2) {
        LLVMValueRef a = cg_some_lanes(c, v, NULL, 0, n), b = cg_some_lanes(c, v, NULL, n, n);
        if (e->op != OP_HSUM)
            v = min_max(c, e->op == OP_HMAX, d, a, b);
        else
            v = real ? LLVMBuildFAdd(c->b, a, b, "") : LLVMBuildAdd(c->b, a, b, "");
        if (real && d != TYPE_F32 && d != TYPE_F64) v = cg_narrow(c, v, d);
    }
    return LLVMBuildExtractElement(c->b, v, LLVMConstInt(c->i32, 0, 0), "");
}

/* ---- one node -------------------------------------------------------------------------------- */

static LLVMValueRef build(struct cg *c, const struct expr *e)
{
    LLVMValueRef v[3];
    switch ((enum op)e->op) {
    case OP_INT:
        return cg_int(c, cg_type(c, e->type), e->u.i);
    case OP_REAL:
        return cg_real(c, cg_type(c, e->type), e->u.f);
    case OP_VAR:
        if (c->fn->var[e->u.var->id]) return c->fn->var[e->u.var->id];
        return cg_fail(c, "codegen.form", "variable '%s' is not bound", e->u.var->name);
    case OP_DIV:
    case OP_MOD:
        return cg_is_int((enum dtype)e->type.dtype) ? cg_divmod(c, e) : arithmetic(c, e);
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
        return compare(c, e);
    case OP_SELECT:
        if ((v[0] = clamp_number(c, e)) || c->failed) return v[0];
        for (int i = 0; i < 3; i++) v[i] = cg_expr(c, e->a[i]);
        return c->failed ? NULL : cg_select(c, v[0], v[1], v[2]);
    case OP_CAST:
        return cg_cast(c, e);
    case OP_BITCAST:
        return cg_bitcast(c, e);
    case OP_LOAD:
    case OP_LOADC:
        return cg_load(c, e);
    case OP_RAMP:
        return ramp(c, e);
    case OP_SPLAT: {
        LLVMValueRef one = cg_expr(c, e->a[0]);
        return c->failed ? NULL : cg_splat(c, one, e->type.lanes);
    }
    case OP_HSUM:
    case OP_HMAX:
    case OP_HMIN:
        return horizontal(c, e);
    default:
        return arithmetic(c, e);
    }
}

/* ---- memo and hoisting ----------------------------------------------------------------------- */

static void grow(struct cg *c, uint32_t id)
{
    if (id < c->nmemo) return;
    size_t n = id + id / 2 + 256;
    c->memo = mem_grow(c->memo, c->nmemo * sizeof *c->memo, n * sizeof *c->memo);
    c->facts = mem_grow(c->facts, c->nmemo * sizeof *c->facts, n * sizeof *c->facts);
    c->nmemo = n;
}

static uint8_t reads_of_tensor(struct cg *c, const struct tensor *t)
{
    switch (t->scope) {
    case SCOPE_REG:
        return READS_REG;
    case SCOPE_IN:
    case SCOPE_CONST:
    case SCOPE_TABLE:
        return READS_FIXED;
    case SCOPE_PACKED:
        return c->packing ? READS_MEMORY : READS_FIXED;
    default:
        return READS_MEMORY;
    }
}

const struct cg_facts *cg_expr_facts(struct cg *c, const struct expr *e)
{
    grow(c, e->id);
    if (c->facts[e->id].fn == c->fn->serial) return &c->facts[e->id];
    struct cg_facts f = {.fn = c->fn->serial};
    if (e->op == OP_VAR) f.depth = c->fn->var_depth[e->u.var->id];
    if (e->op == OP_LOAD || e->op == OP_LOADC) f.reads = reads_of_tensor(c, e->u.tensor);
    for (int i = 0; i < e->n; i++) {
        const struct cg_facts *k = cg_expr_facts(c, e->a[i]);
        f.reads |= k->reads;
        if (k->depth > f.depth) f.depth = k->depth;
    }
    c->facts[e->id] = f;
    return &c->facts[e->id];
}

static uint32_t epoch_of(struct cg *c, uint8_t reads)
{
    return reads & READS_REG ? c->stmt : reads & READS_MEMORY ? c->epoch : 0;
}

static LLVMValueRef remember(struct cg *c, const struct expr *e, LLVMValueRef v, uint8_t reads)
{
    grow(c, e->id);
    c->memo[e->id] = (struct cg_memo){v, c->fn->serial, c->fn->scope, epoch_of(c, reads)};
    return v;
}

/* Worth computing outside the loop: vectors and conditions; index arithmetic only when asked. */
static bool wants_hoist(struct cg *c, const struct expr *e)
{
    if (e->n == 0) return false;
    return c->addr_hoist || e->type.lanes > 1 || e->type.dtype == TYPE_B1 || e->op == OP_DIV ||
           e->op == OP_MOD;
}

static LLVMValueRef build_hoisted(struct cg *c, const struct expr *e, int depth)
{
    struct cg_loop *l = &c->fn->loops.p[depth];
    LLVMBasicBlockRef here = LLVMGetInsertBlock(c->b);
    uint32_t scope = c->fn->scope;
    int was = c->fn->depth;
    LLVMPositionBuilderBefore(c->b, LLVMGetBasicBlockTerminator(l->pre));
    c->fn->scope = l->scope;
    c->fn->depth = depth;
    LLVMValueRef v = build(c, e);
    if (v) remember(c, e, v, 0);
    c->fn->scope = scope;
    c->fn->depth = was;
    if (LLVMGetBasicBlockTerminator(here)) /* hoisting was itself in the middle of hoisting */
        LLVMPositionBuilderBefore(c->b, LLVMGetBasicBlockTerminator(here));
    else
        LLVMPositionBuilderAtEnd(c->b, here);
    return v;
}

LLVMValueRef cg_expr(struct cg *c, const struct expr *e)
{
    if (c->failed) return NULL;
    struct cg_facts f = *cg_expr_facts(c, e);
    const struct cg_memo *m = &c->memo[e->id];
    /* Open scopes nest and are numbered as they open: while hoisting, a larger number lies inside
     * the loop. */
    bool live =
        m->v && m->fn == c->fn->serial && c->scope_open.p[m->scope] && m->scope <= c->fn->scope;
    if (live && m->epoch == epoch_of(c, f.reads)) return m->v;
    if (f.reads == 0 && f.depth < c->fn->depth && wants_hoist(c, e))
        return build_hoisted(c, e, f.depth);
    LLVMValueRef v = build(c, e);
    return v ? remember(c, e, v, f.reads) : NULL;
}
