/* cg_llvm_div: integer division and remainder, which floor.
 *
 *   i / 12  ->  i >= 0 known: one unsigned division by a constant; else ~(~i / 12) for i < 0
 *
 * Invariants: a power of two is a shift or a mask; no divisor of zero or minus one reaches the
 * machine's divide, so nothing traps (the interpreter refuses a nest that divides by zero). */
#include "codegen/cg_llvm.h"

/* The constant every lane of e holds. */
static bool uniform_int(const struct expr *e, int64_t *v)
{
    return expr_is_int(e->op == OP_SPLAT ? e->a[0] : e, v);
}

static bool is_power_of_two(int64_t v) { return v > 0 && (v & (v - 1)) == 0; }

static int64_t log2_of(int64_t v)
{
    int64_t n = 0;
    while (v > 1) {
        v >>= 1;
        n++;
    }
    return n;
}

/* Floor division of a signed value by a constant c >= 1: for x < 0, ~(~x / c). */
static LLVMValueRef floordiv_const(struct cg *c, LLVMValueRef x, int64_t by, bool positive)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    int bits = (int)LLVMGetIntTypeWidth(cg_element(type));
    if (positive) return LLVMBuildUDiv(c->b, x, cg_int(c, type, by), "");
    LLVMValueRef sign = LLVMBuildAShr(c->b, x, cg_int(c, type, bits - 1), "");
    LLVMValueRef q = LLVMBuildUDiv(c->b, LLVMBuildXor(c->b, x, sign, ""), cg_int(c, type, by), "");
    return LLVMBuildXor(c->b, q, sign, "");
}

static LLVMValueRef divmod_const(struct cg *c, const struct expr *e, int64_t by)
{
    LLVMValueRef x = cg_expr(c, e->a[0]);
    if (c->failed) return NULL;
    LLVMTypeRef type = LLVMTypeOf(x);
    bool is_unsigned = !dtype_is_signed(e->type.dtype), div = e->op == OP_DIV;
    if (is_power_of_two(by)) {
        LLVMValueRef mask = cg_int(c, type, by - 1), shift = cg_int(c, type, log2_of(by));
        if (!div) return LLVMBuildAnd(c->b, x, mask, "");
        return is_unsigned ? LLVMBuildLShr(c->b, x, shift, "") : LLVMBuildAShr(c->b, x, shift, "");
    }
    bool positive = is_unsigned;
    if (!positive && type_eq(e->type, type_of(TYPE_S64)))
        positive = expr_range(c->env, e->a[0]).lo >= 0;
    LLVMValueRef q = floordiv_const(c, x, by, positive);
    return div ? q : LLVMBuildSub(c->b, x, LLVMBuildMul(c->b, q, cg_int(c, type, by), ""), "");
}

/* Signed floor division by anything; -1 and 0 must not reach the machine's divide. */
static LLVMValueRef divmod_signed(struct cg *c, bool div, LLVMValueRef x, LLVMValueRef y)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef zero = cg_int(c, type, 0), one = cg_int(c, type, 1), minus = cg_int(c, type, -1);
    LLVMValueRef is_minus = LLVMBuildICmp(c->b, LLVMIntEQ, y, minus, "");
    LLVMValueRef odd = LLVMBuildOr(c->b, is_minus, LLVMBuildICmp(c->b, LLVMIntEQ, y, zero, ""), "");
    LLVMValueRef safe = cg_select(c, odd, one, y);
    LLVMValueRef q = LLVMBuildSDiv(c->b, x, safe, "");
    LLVMValueRef r = LLVMBuildSub(c->b, x, LLVMBuildMul(c->b, q, safe, ""), "");
    LLVMValueRef differ =
        LLVMBuildICmp(c->b, LLVMIntSLT, LLVMBuildXor(c->b, r, safe, ""), zero, "");
    LLVMValueRef fix = LLVMBuildAnd(c->b, differ, LLVMBuildICmp(c->b, LLVMIntNE, r, zero, ""), "");
    if (!div)
        return cg_select(c, is_minus, zero, cg_select(c, fix, LLVMBuildAdd(c->b, r, safe, ""), r));
    q = cg_select(c, fix, LLVMBuildAdd(c->b, q, minus, ""), q);
    return cg_select(c, is_minus, LLVMBuildSub(c->b, zero, x, ""), q);
}

LLVMValueRef cg_divmod(struct cg *c, const struct expr *e)
{
    int64_t by = 0;
    bool div = e->op == OP_DIV;
    if (uniform_int(e->a[1], &by) && by > 0) return divmod_const(c, e, by);
    LLVMValueRef x = cg_expr(c, e->a[0]), y = cg_expr(c, e->a[1]);
    if (c->failed) return NULL;
    if (dtype_is_signed(e->type.dtype)) return divmod_signed(c, div, x, y);
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef zero = LLVMBuildICmp(c->b, LLVMIntEQ, y, cg_int(c, type, 0), "");
    LLVMValueRef safe = cg_select(c, zero, cg_int(c, type, 1), y);
    return div ? LLVMBuildUDiv(c->b, x, safe, "") : LLVMBuildURem(c->b, x, safe, "");
}
