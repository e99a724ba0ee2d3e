/* Vectors by their lanes: a subscript with given offsets, and some lanes of any vector.
 *
 *   lanes_make({0, 1, 4, 5, 8, 9, 12, 13})      ramp(0, 1, 8) % 2 + ramp(0, 1, 8) / 2 * 4
 *   lanes_pick(x[ramp(b, 1, 8)] * 2, {4..7})    x[ramp(b + 4, 1, 4)] * 2
 *
 * Invariants: the result has the value of the lanes asked for; NULL where no short expression says
 * it (a vector variable, a register tile, offsets without a pattern). */
#include <string.h>

#include "lower/private.h"

/* off[k] must be the sum of a weight for each bit of k; runs of bits whose weights double make one
 * term: (k / 2^first % 2^count) * weight. */
const struct expr *lanes_make(struct ir *ir, const struct expr *base, const int64_t *off, int lanes)
{
    struct type t = type_vec(TYPE_S64, lanes);
    int bits = 0;
    while (1 << bits < lanes) bits++;
    if (1 << bits != lanes || lanes < 2) return NULL;
    for (int k = 0; k < lanes; k++) {
        int64_t sum = off[0];
        for (int b = 0; b < bits; b++) sum += k >> b & 1 ? off[1 << b] - off[0] : 0;
        if (sum != off[k]) return NULL;
    }
    const struct expr *sum = NULL, *first = expr_add(ir, base, expr_int(ir, off[0]));
    for (int b = 0, n; b < bits; b += n) {
        int64_t w = off[1 << b] - off[0];
        n = 1;
        while (b + n < bits && w != 0 && off[1 << (b + n)] - off[0] == w * (INT64_C(1) << n)) n++;
        if (w == 0) continue;
        if (n == bits) return expr_ramp(ir, first, expr_int(ir, w), lanes);
        const struct expr *x = expr_ramp(ir, expr_int(ir, 0), expr_int(ir, 1), lanes);
        const struct expr *by = expr_splat(ir, expr_int(ir, INT64_C(1) << b), lanes);
        if (b > 0) x = expr_make(ir, OP_DIV, t, (const struct expr *[]){x, by}, 2, NULL);
        by = expr_splat(ir, expr_int(ir, INT64_C(1) << n), lanes);
        if (b + n < bits) x = expr_make(ir, OP_MOD, t, (const struct expr *[]){x, by}, 2, NULL);
        if (w != 1) x = expr_binary(ir, OP_MUL, x, expr_splat(ir, expr_int(ir, w), lanes));
        sum = sum ? expr_binary(ir, OP_ADD, sum, x) : x;
    }
    first = expr_splat(ir, first, lanes);
    return sum ? expr_binary(ir, OP_ADD, first, sum) : first;
}

/* A table read where it holds one number only. */
static const struct expr *pick_constant(struct lanes_pick *p, const struct expr *e)
{
    const struct tensor *t = e->u.tensor;
    const struct expr *base = NULL;
    int64_t off[LANES_MAX], at = 0;
    if (e->op != OP_LOAD || t->scope != SCOPE_TABLE || e->n != 1) return NULL;
    if (!lanes_of(p->ir, e->a[0], &base, off) || !expr_is_int(base, &at)) return NULL;
    double v = t->table[at + off[p->lane[0]]];
    for (int k = 1; k < p->n; k++)
        if (t->table[at + off[p->lane[k]]] != v) return NULL;
    return expr_const(p->ir, type_vec((enum dtype)t->type.dtype, p->n), v);
}

static const struct expr *pick_node(struct lanes_pick *p, const struct expr *e)
{
    struct ir *ir = p->ir;
    const struct expr *base = NULL, *a[16];
    int64_t off[LANES_MAX], some[LANES_MAX];
    if (e->op == OP_SPLAT) return expr_splat(ir, e->a[0], p->n);
    if (lanes_of(ir, e, &base, off)) {
        for (int k = 0; k < p->n; k++) some[k] = off[p->lane[k]];
        return lanes_make(ir, base, some, p->n);
    }
    bool opaque = e->n == 0 || e->op == OP_RAMP;
    if (opaque || (e->op == OP_LOAD && e->u.tensor->scope == SCOPE_REG)) return NULL;
    const struct expr *constant = pick_constant(p, e);
    if (constant) return constant;
    for (int i = 0; i < e->n; i++)
        if (!(a[i] = lanes_pick(p, e->a[i]))) return NULL;
    return expr_with(ir, e, a);
}

const struct expr *lanes_pick(struct lanes_pick *p, const struct expr *e)
{
    if (e->type.lanes == 1) return e;
    const struct expr *to = memo_get(&p->memo, e);
    if (!to && (to = pick_node(p, e))) memo_put(&p->memo, e, to);
    return to;
}
