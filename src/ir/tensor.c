/* Tensors and their storage layouts.
 *
 *   x[N,H,W,C] store N,C/16,H,W,C%16: element (n,h,w,c) is at
 *   (((n*ceil(C/16) + c/16)*H + h)*W + w)*16 + c%16
 *
 * A layout term (dim, div, mod) has ceil(ceil(extent/div) / 1) values, or mod of them when mod > 0:
 * storage includes the padding of a last block that is not full. No layout = row-major. */
#include "ir/ir.h"

struct tensor *tensor_new(struct ir *ir, const char *name, struct type type, enum scope scope,
                          int rank, const struct expr *const *extent)
{
    QN_CHECK(rank >= 0 && rank <= REGION_RANK, "tensor %s of rank %d", name, rank);
    struct tensor *t = ARENA_NEW(ir->arena, struct tensor);
    t->name = arena_strdup(ir->arena, name);
    t->type = type;
    t->scope = scope;
    t->rank = rank;
    t->extent = ARENA_ARRAY(ir->arena, const struct expr *, rank);
    for (int i = 0; i < rank; i++) t->extent[i] = extent[i];
    t->id = ir->next_tensor++;
    return t;
}

static const struct expr *ceil_div(struct ir *ir, const struct expr *e, int64_t d)
{
    return expr_binary(ir, OP_DIV, expr_add(ir, e, expr_int(ir, d - 1)), expr_int(ir, d));
}

/* How many values layout term i takes. */
static const struct expr *term_extent(struct ir *ir, const struct tensor *t, int i)
{
    if (t->nlayout == 0) return t->extent[i];
    const struct layout_term *l = &t->layout[i];
    return l->mod ? expr_int(ir, l->mod) : ceil_div(ir, t->extent[l->dim], l->div);
}

static const struct expr *term_value(struct ir *ir, const struct tensor *t, int i,
                                     const struct expr *const *idx)
{
    if (t->nlayout == 0) return idx[i];
    const struct layout_term *l = &t->layout[i];
    int lanes = idx[l->dim]->type.lanes;
    const struct expr *v =
        expr_binary(ir, OP_DIV, idx[l->dim], expr_splat(ir, expr_int(ir, l->div), lanes));
    return l->mod ? expr_binary(ir, OP_MOD, v, expr_splat(ir, expr_int(ir, l->mod), lanes)) : v;
}

const struct expr *tensor_elements(struct ir *ir, const struct tensor *t)
{
    const struct expr *n = expr_int(ir, 1);
    int terms = t->nlayout ? t->nlayout : t->rank;
    for (int i = 0; i < terms; i++) n = expr_mul(ir, n, term_extent(ir, t, i));
    return n;
}

const struct expr *tensor_offset(struct ir *ir, const struct tensor *t,
                                 const struct expr *const *idx)
{
    int terms = t->nlayout ? t->nlayout : t->rank, lanes = 1;
    for (int i = 0; i < t->rank; i++)
        if (idx[i]->type.lanes > lanes) lanes = idx[i]->type.lanes;
    const struct expr *at = expr_int_of(ir, type_vec(TYPE_S64, lanes), 0),
                      *stride = expr_int(ir, 1);
    for (int i = terms - 1; i >= 0;
         i--) { /* innermost first: sums print as outer*stride + .. + inner */
        const struct expr *v = term_value(ir, t, i, idx);
        if (v->type.lanes < lanes) v = expr_splat(ir, v, lanes);
        v = expr_mul(ir, v, expr_splat(ir, stride, lanes));
        at = i == terms - 1 ? v : expr_add(ir, v, at);
        stride = expr_mul(ir, stride, term_extent(ir, t, i));
    }
    return at;
}
