/* FMA: a*b + c becomes one operation with one rounding, here and nowhere else.
 *
 * Requires: the target has it (f32 and f64); math is expanded, so polynomials gain too.
 * Provides: no float a*b + c, c + a*b, c - a*b or a*b - c whose product has no other use in sight.
 *
 *     acc[3] + splat(x[k], 16) * w[ramp(k*16, 1, 16)]  -->  fma(splat(x[k], 16), w[..], acc[3])
 *
 * Of two products the right one is fused: in a*b + c*d, c*d keeps its exact value. */
#include "lower/private.h"

static bool is_product(const struct expr *e) { return e->op == OP_MUL; }

/* -(a*b) as (-a)*b, anything else as it is. */
static const struct expr *turned_inside(struct ir *ir, const struct expr *e)
{
    if (e->op != OP_NEG || !is_product(e->a[0])) return e;
    const struct expr *p = e->a[0];
    return expr_with(ir, p, (const struct expr *[]){expr_unary(ir, OP_NEG, p->a[0]), p->a[1]});
}

static const struct expr *fuse(struct ir *ir, const struct expr *e, void *ctx)
{
    (void)ctx;
    if (e->op != OP_ADD && e->op != OP_SUB) return NULL;
    if (e->type.dtype != TYPE_F32 && e->type.dtype != TYPE_F64) return NULL;
    const struct expr *x = turned_inside(ir, e->a[0]), *y = turned_inside(ir, e->a[1]);
    if (e->op == OP_ADD) {
        if (is_product(y)) return expr_fma(ir, y->a[0], y->a[1], x);
        return is_product(x) ? expr_fma(ir, x->a[0], x->a[1], y) : NULL;
    }
    if (is_product(y)) return expr_fma(ir, expr_unary(ir, OP_NEG, y->a[0]), y->a[1], x);
    return is_product(x) ? expr_fma(ir, x->a[0], x->a[1], expr_unary(ir, OP_NEG, y)) : NULL;
}

enum rc pass_fma(struct low *l)
{
    if (l->t->fma) map_both(l, fuse, NULL);
    return RC_OK;
}
