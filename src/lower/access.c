/* How a vector subscript touches memory; each kind has one LLVM form and one C form.
 *
 *   ramp(b, 1, 8)                       CONTIGUOUS  b..b+7
 *   ramp(b, 2, 8)                       STRIDED     span 15: two loads and a shuffle
 *   ramp(b, -1, 8)                      STRIDED     lane 0 is base, the span ends there
 *   splat(b, 8) + ramp(0, 1, 8) / 4     PERMUTE     span 2, lanes 0,0,0,0,1,1,1,1
 *   what no lane pattern describes      GATHER
 *
 * Invariants: every offset from base is inside [0, span) (STRIDED with a negative stride: inside
 * (-span, 0]), and both ends are elements some lane wants, so reading the whole span of an
 * unmasked access stays inside the tensor. */
#include "lower/private.h"

enum { SPAN_MAX = 64 };

static void classify_lanes(struct ir *ir, int lanes, const int64_t *off, struct access_info *out)
{
    int64_t lo = off[0], hi = off[0], s = off[1] - off[0];
    bool steady = true;
    for (int i = 1; i < lanes; i++) {
        lo = i64_min(lo, off[i]);
        hi = i64_max(hi, off[i]);
        steady &= off[i] - off[i - 1] == s;
    }
    if (steady && s == 1) {
        out->kind = ACCESS_CONTIGUOUS;
        out->stride = 1;
        out->span = lanes;
    } else if (steady && s >= -8 && s <= 8 && s != 0) {
        out->kind = ACCESS_STRIDED;
        out->stride = s;
        out->span = (int)(hi - lo + 1);
    } else if (hi - lo < SPAN_MAX) {
        out->kind = ACCESS_PERMUTE;
        out->span = (int)(hi - lo + 1);
        out->base = expr_add(ir, out->base, expr_int(ir, lo - off[0]));
        for (int i = 0; i < lanes; i++) out->perm[i] = (int)(off[i] - lo);
    } else {
        out->kind = ACCESS_GATHER;
    }
}

void access_classify(struct ir *ir, const struct expr *subscript, struct access_info *out)
{
    int64_t off[LANES_MAX];
    *out = (struct access_info){.kind = ACCESS_GATHER};
    if (subscript->type.lanes == 1) {
        out->kind = ACCESS_SCALAR;
        out->base = subscript;
        out->span = 1;
        return;
    }
    if (!lanes_of(ir, subscript, &out->base, off)) return;
    out->base = expr_add(ir, out->base, expr_int(ir, off[0]));
    classify_lanes(ir, subscript->type.lanes, off, out);
    if (out->kind == ACCESS_GATHER) out->base = NULL;
}
