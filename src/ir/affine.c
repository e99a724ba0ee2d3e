/* Linear forms: sum(coef * atom) + c of s64 index arithmetic, and back to one canonical expression.
 *
 *   (p*2 + r - 1)*56 + q   ->   p*112 + r*56 + q - 56,   atoms p, r, q
 *   atoms that are not variables: x/4, x%4, min(a, b), m*n, loads
 *
 * Invariants: atoms are distinct and in order of their ids, coefficients are not zero; hence equal
 * forms give equal expressions, and linear_of(linear_expr(l)) is l. Index arithmetic does not
 * overflow by contract; a coefficient that would is refused. */
#include <string.h>

#include "ir/private.h"

static int find_atom(const struct linear *l, const struct expr *atom)
{
    int i = 0;
    while (i < l->n && l->atom[i]->id < atom->id) i++;
    return i;
}

static void drop_at(struct linear *l, int i)
{
    l->n--;
    memmove(&l->atom[i], &l->atom[i + 1], (size_t)(l->n - i) * sizeof l->atom[0]);
    memmove(&l->coef[i], &l->coef[i + 1], (size_t)(l->n - i) * sizeof l->coef[0]);
}

bool linear_add_atom(struct linear *l, const struct expr *atom, int64_t k)
{
    int i = find_atom(l, atom);
    if (k == 0) return true;
    if (i < l->n && l->atom[i] == atom) {
        if (__builtin_add_overflow(l->coef[i], k, &l->coef[i])) return false;
        if (l->coef[i] == 0) drop_at(l, i);
        return true;
    }
    if (l->n == LINEAR_TERMS) return false;
    memmove(&l->atom[i + 1], &l->atom[i], (size_t)(l->n - i) * sizeof l->atom[0]);
    memmove(&l->coef[i + 1], &l->coef[i], (size_t)(l->n - i) * sizeof l->coef[0]);
    l->atom[i] = atom;
    l->coef[i] = k;
    l->n++;
    return true;
}

bool linear_drop(struct linear *l, const struct expr *atom)
{
    int i = find_atom(l, atom);
    if (i == l->n || l->atom[i] != atom) return false;
    drop_at(l, i);
    return true;
}

bool linear_add(struct linear *l, const struct linear *m, int64_t k)
{
    int64_t c = 0;
    if (__builtin_mul_overflow(m->c, k, &c) || __builtin_add_overflow(l->c, c, &l->c)) return false;
    for (int i = 0; i < m->n; i++)
        if (__builtin_mul_overflow(m->coef[i], k, &c) || !linear_add_atom(l, m->atom[i], c))
            return false;
    return true;
}

/* l += k*e */
static bool add_expr(struct linear *l, const struct expr *e, int64_t k)
{
    int64_t v = 0, scaled = 0;
    switch ((enum op)e->op) {
    case OP_INT:
        return !__builtin_mul_overflow(e->u.i, k, &scaled) &&
               !__builtin_add_overflow(l->c, scaled, &l->c);
    case OP_ADD:
        return add_expr(l, e->a[0], k) && add_expr(l, e->a[1], k);
    case OP_SUB:
        if (k == INT64_MIN) return false;
        return add_expr(l, e->a[0], k) && add_expr(l, e->a[1], -k);
    case OP_NEG:
        return k != INT64_MIN && add_expr(l, e->a[0], -k);
    case OP_MUL:
        if (expr_is_int(e->a[1], &v))
            return !__builtin_mul_overflow(k, v, &scaled) && add_expr(l, e->a[0], scaled);
        if (expr_is_int(e->a[0], &v))
            return !__builtin_mul_overflow(k, v, &scaled) && add_expr(l, e->a[1], scaled);
        return linear_add_atom(l, e, k);
    default:
        return linear_add_atom(l, e, k);
    }
}

bool linear_of(const struct expr *e, struct linear *out)
{
    out->n = 0;
    out->c = 0;
    if (!type_eq(e->type, type_of(TYPE_S64))) return false;
    return add_expr(out, e, 1);
}

int64_t linear_coef(const struct linear *l, const struct expr *atom)
{
    int i = find_atom(l, atom);
    return i < l->n && l->atom[i] == atom ? l->coef[i] : 0;
}

static const struct expr *term(struct ir *ir, const struct expr *atom, int64_t k)
{
    return expr_mul(ir, atom, expr_int(ir, k));
}

/* The first positive term leads; the constant comes last: `p*2 + r - 1`, and `3 - i` without a
 * positive term. */
const struct expr *linear_expr(struct ir *ir, const struct linear *l)
{
    const struct expr *e = NULL;
    int lead = 0;
    int64_t c = l->c;
    while (lead < l->n && l->coef[lead] < 0) lead++;
    if (lead < l->n) {
        e = term(ir, l->atom[lead], l->coef[lead]);
    } else if (c > 0 || l->n == 0) {
        e = expr_int(ir, c);
        c = 0;
    }
    for (int i = 0; i < l->n; i++) {
        if (i == lead) continue;
        if (!e)
            e = term(ir, l->atom[i], l->coef[i]);
        else if (l->coef[i] < 0 && l->coef[i] != INT64_MIN)
            e = expr_sub(ir, e, term(ir, l->atom[i], -l->coef[i]));
        else
            e = expr_add(ir, e, term(ir, l->atom[i], l->coef[i]));
    }
    return expr_add(ir, e, expr_int(ir, c));
}

bool linear_of_compare(const struct expr *cond, struct linear *l)
{
    struct linear left;
    if (cond->n != 2 || !type_eq(cond->a[0]->type, type_of(TYPE_S64))) return false;
    bool less = cond->op == OP_LT || cond->op == OP_LE;
    if (!less && cond->op != OP_EQ && cond->op != OP_NE) return false;
    if (!linear_of(cond->a[1], l) || !linear_of(cond->a[0], &left) || !linear_add(l, &left, -1))
        return false;
    return cond->op != OP_LT || !__builtin_sub_overflow(l->c, 1, &l->c);
}
