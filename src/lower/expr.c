/* Expression helpers of the passes: rebuilding with lanes, conjunctions, linear conditions.
 *
 *   expr_with(ir, `x + y`, {x, ramp(0, 1, 4)})  ->  splat(x, 4) + ramp(0, 1, 4)
 *   cond_linear(`i + 1 < n`)                    ->  n - i - 2 >= 0
 *
 * Invariants: nothing here changes a value; expr_with is the only place that adds splats. */
#include <string.h>

#include "lower/private.h"

/* ---- memo ------------------------------------------------------------------------------------ */

static uint32_t memo_slot(const struct memo *m, const struct expr *e)
{
    uint32_t at = (e->id * UINT32_C(2654435761)) & (m->cap - 1);
    while (m->key[at] && m->key[at] != e) at = (at + 1) & (m->cap - 1);
    return at;
}

void memo_clear(struct memo *m)
{
    if (m->n) memset(m->key, 0, m->cap * sizeof *m->key);
    m->n = 0;
}

void memo_fini(struct memo *m)
{
    mem_free(m->key);
    mem_free(m->value);
    *m = (struct memo){0};
}

const struct expr *memo_get(const struct memo *m, const struct expr *e)
{
    if (!m->n) return NULL;
    uint32_t at = memo_slot(m, e);
    return m->key[at] ? m->value[at] : NULL;
}

void memo_put(struct memo *m, const struct expr *e, const struct expr *value)
{
    if ((m->n + 1) * 2 > m->cap) {
        struct memo old = *m;
        m->cap = old.cap ? old.cap * 2 : 64;
        m->key = mem_new(m->cap * sizeof *m->key);
        m->value = mem_new(m->cap * sizeof *m->value);
        m->n = 0;
        for (uint32_t i = 0; i < old.cap; i++)
            if (old.key[i]) memo_put(m, old.key[i], old.value[i]);
        memo_fini(&old);
    }
    uint32_t at = memo_slot(m, e);
    if (!m->key[at]) m->n++;
    m->key[at] = e;
    m->value[at] = value;
}

/* ---- building -------------------------------------------------------------------------------- */

const struct expr *expr_to_lanes(struct ir *ir, const struct expr *e, int lanes)
{
    return e->type.lanes == lanes ? e : expr_splat(ir, e, lanes);
}

const struct expr *expr_with(struct ir *ir, const struct expr *e, const struct expr *const *a)
{
    const struct expr *x[16];
    int lanes = 1;
    QN_CHECK(e->n <= 16, "%s of %d operands", op_name((enum op)e->op), e->n);
    for (int i = 0; i < e->n; i++) {
        x[i] = a[i];
        if (a[i]->type.lanes > lanes) lanes = a[i]->type.lanes;
    }
    switch ((enum op)e->op) {
    case OP_LOAD:
        return expr_load(ir, e->u.tensor, x, e->n);
    case OP_LOADC:
        for (int i = 2; i < e->n; i++) lanes = x[i]->type.lanes > lanes ? x[i]->type.lanes : lanes;
        return expr_loadc(ir, e->u.tensor, x[0], expr_to_lanes(ir, x[1], lanes), x + 2, e->n - 2);
    case OP_SELECT:
        return expr_select(ir, x[0], expr_to_lanes(ir, x[1], lanes),
                           expr_to_lanes(ir, x[2], lanes));
    case OP_CAST:
        return expr_cast(ir, type_vec((enum dtype)e->type.dtype, lanes), (enum cast_mode)e->u.i,
                         x[0]);
    case OP_BITCAST:
        return expr_make(ir, OP_BITCAST, type_vec((enum dtype)e->type.dtype, lanes), x, 1, NULL);
    case OP_RAMP:
        return expr_ramp(ir, x[0], x[1], e->type.lanes);
    case OP_SPLAT:
        return expr_splat(ir, x[0], e->type.lanes);
    case OP_FMA:
        for (int i = 0; i < 3; i++) x[i] = expr_to_lanes(ir, x[i], lanes);
        return expr_fma(ir, x[0], x[1], x[2]);
    default:
        break;
    }
    if (e->n == 1) return expr_unary(ir, (enum op)e->op, x[0]);
    return expr_binary(ir, (enum op)e->op, expr_to_lanes(ir, x[0], lanes),
                       expr_to_lanes(ir, x[1], lanes));
}

/* ---- conditions ------------------------------------------------------------------------------ */

const struct expr *expr_all(struct ir *ir, const struct expr *const *conj, int n)
{
    const struct expr *all = NULL;
    for (int i = 0; i < n; i++) all = expr_and(ir, all, conj[i]);
    return all ? all : expr_bool(ir, true);
}

static int conjuncts(const struct expr *cond, const struct expr **out, int n)
{
    if (cond->op == OP_AND && n < CONJ_MAX - 1) {
        n = conjuncts(cond->a[0], out, n);
        if (n < CONJ_MAX) return conjuncts(cond->a[1], out, n);
    }
    int64_t known = 0;
    if (expr_is_int(cond, &known) && known) return n;
    for (int i = 0; i < n; i++)
        if (out[i] == cond) return n;
    out[n] = cond;
    return n + 1;
}

/* Conditions are pure: an AND too long for `out` is the caller's bug, not the user's. */
int expr_conjuncts(const struct expr *cond, const struct expr *out[CONJ_MAX])
{
    int n = conjuncts(cond, out, 0);
    QN_CHECK(n < CONJ_MAX, "a condition of %d conjuncts", n);
    return n;
}

static void note_load(const struct expr *e, void *ctx)
{
    if (e->op == OP_LOAD || e->op == OP_LOADC) *(bool *)ctx = true;
}

bool expr_has_load(const struct expr *e)
{
    bool found = false;
    expr_walk(e, note_load, &found);
    return found;
}

bool expr_is_zero(const struct expr *e)
{
    switch ((enum op)e->op) {
    case OP_INT:
        return e->u.i == 0;
    case OP_REAL:
        return e->u.f == 0;
    case OP_MUL:
        return expr_is_zero(e->a[0]) || expr_is_zero(e->a[1]);
    case OP_ADD:
    case OP_SUB:
        return expr_is_zero(e->a[0]) && expr_is_zero(e->a[1]);
    case OP_SELECT:
        return expr_is_zero(e->a[1]) && expr_is_zero(e->a[2]);
    case OP_NEG:
    case OP_CAST:
        return expr_is_zero(e->a[0]);
    default:
        return false;
    }
}

bool cond_linear(struct ir *ir, const struct expr *cond, struct linear *out)
{
    if (cond->op != OP_LT && cond->op != OP_LE) return false;
    if (cond->a[0]->type.dtype != TYPE_S64 || cond->a[0]->type.lanes != 1) return false;
    if (!linear_of(expr_sub(ir, cond->a[1], cond->a[0]), out)) return false;
    if (cond->op == OP_LT) out->c--;
    return true;
}

int64_t linear_take(struct linear *l, const struct var *v, bool *clean)
{
    int64_t k = 0;
    int n = 0;
    *clean = true;
    for (int i = 0; i < l->n; i++) {
        if (l->atom[i]->op == OP_VAR && l->atom[i]->u.var == v) {
            k = l->coef[i];
            continue;
        }
        if (expr_uses_var(l->atom[i], v)) *clean = false;
        l->atom[n] = l->atom[i];
        l->coef[n++] = l->coef[i];
    }
    l->n = n;
    return k;
}

const struct expr *linear_bound(struct ir *ir, const struct linear *rest, int64_t k)
{
    struct linear l = *rest;
    for (int i = 0; i < l.n && k > 0; i++) l.coef[i] = -l.coef[i];
    if (k > 0) {
        l.c = -l.c + k - 1;
    } else {
        k = -k;
        l.c += k; /* floor(rest / k) + 1 */
    }
    return expr_binary(ir, OP_DIV, linear_expr(ir, &l), expr_int(ir, k));
}

/* ---- lanes ----------------------------------------------------------------------------------- */

/* min(a, b) * k where both terms have the same remainder: div * min(ta, tb) + rem. (A shifted tail
 * starts at min(o*32, 292), a multiple of 4.) */
static const struct expr *split_choice(struct ir *ir, const struct expr *e, int64_t k, int64_t div,
                                       int64_t *rem)
{
    const struct expr *t[2];
    int64_t r[2] = {0, 0};
    if ((e->op != OP_MIN && e->op != OP_MAX) || e->type.dtype != TYPE_S64 || k <= 0) return NULL;
    for (int i = 0; i < 2; i++)
        if (!expr_split_multiple(ir, expr_mul(ir, e->a[i], expr_int(ir, k)), div, &t[i], &r[i]))
            return NULL;
    *rem += r[0];
    return r[0] == r[1] ? expr_binary(ir, (enum op)e->op, t[0], t[1]) : NULL;
}

bool expr_split_multiple(struct ir *ir, const struct expr *base, int64_t div, const struct expr **t,
                         int64_t *rem)
{
    struct linear l;
    const struct expr *choice = NULL;
    int64_t more = 0;
    if (!linear_of(base, &l)) return false;
    for (int i = 0; i < l.n; i++) {
        if (l.coef[i] % div == 0) {
            l.coef[i] /= div;
            continue;
        }
        const struct expr *c = split_choice(ir, l.atom[i], l.coef[i], div, &more);
        if (!c) return false;
        choice = choice ? expr_add(ir, choice, c) : c;
        l.coef[i] = 0;
    }
    l.c += more;
    *rem = i64_floormod(l.c, div);
    l.c = i64_floordiv(l.c, div);
    *t = linear_expr(ir, &l);
    if (choice) *t = expr_add(ir, *t, choice);
    return true;
}

static bool lanes_divmod(struct ir *ir, const struct expr *e, const struct expr **base,
                         int64_t off[LANES_MAX])
{
    const struct expr *by = e->a[1], *t = NULL;
    int64_t c = 0, rem = 0;
    if (by->op != OP_SPLAT || !expr_is_int(by->a[0], &c) || c <= 0) return false;
    if (!lanes_of(ir, e->a[0], base, off)) return false;
    if (!expr_split_multiple(ir, *base, c, &t, &rem)) return false;
    for (int i = 0; i < e->type.lanes; i++)
        off[i] = e->op == OP_DIV ? i64_floordiv(rem + off[i], c) : i64_floormod(rem + off[i], c);
    *base = e->op == OP_DIV ? t : expr_int(ir, 0);
    return true;
}

bool lanes_of(struct ir *ir, const struct expr *e, const struct expr **base, int64_t off[LANES_MAX])
{
    int64_t s = 0, other[LANES_MAX];
    const struct expr *b = NULL;
    int lanes = e->type.lanes;
    if (e->type.dtype != TYPE_S64 || lanes > LANES_MAX || lanes < 2) return false;
    switch ((enum op)e->op) {
    case OP_SPLAT:
        *base = e->a[0];
        memset(off, 0, (size_t)lanes * sizeof *off);
        return true;
    case OP_RAMP:
        if (!expr_is_int(e->a[1], &s)) return false;
        *base = e->a[0];
        for (int i = 0; i < lanes; i++) off[i] = s * i;
        return true;
    case OP_ADD:
    case OP_SUB:
        if (!lanes_of(ir, e->a[0], base, off) || !lanes_of(ir, e->a[1], &b, other)) return false;
        *base = expr_binary(ir, (enum op)e->op, *base, b);
        for (int i = 0; i < lanes; i++) off[i] += e->op == OP_ADD ? other[i] : -other[i];
        return true;
    case OP_MUL:
        if (e->a[1]->op != OP_SPLAT || !expr_is_int(e->a[1]->a[0], &s)) return false;
        if (!lanes_of(ir, e->a[0], base, off)) return false;
        *base = expr_mul(ir, *base, e->a[1]->a[0]);
        for (int i = 0; i < lanes; i++) off[i] *= s;
        return true;
    case OP_DIV:
    case OP_MOD:
        return lanes_divmod(ir, e, base, off);
    default:
        return false;
    }
}
