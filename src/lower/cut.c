/* Cut: a store of a vector longer than the machine's registers becomes several of one register each.
 *
 * Requires: vectorised and unrolled statements; before math, whose LETs would be long vectors.
 * Provides: no unmasked or masked store with more lanes than a register holds, where each lane's
 * part of the value can be said (lanes_pick) and no lane reads what another writes; no part whose
 * lanes never run.
 *
 *     y[ramp(i*32, 1, 32)] = x[ramp(i*32, 1, 32)] * splat(s, 32)     -->
 *
 *     y[ramp(i*32, 1, 16)]      = x[ramp(i*32, 1, 16)] * splat(s, 16)
 *     y[ramp(i*32 + 16, 1, 16)] = x[ramp(i*32 + 16, 1, 16)] * splat(s, 16)
 *
 * LLVM would take long vectors apart itself; gcc does so through memory, and neither shares masks
 * and shuffles of the parts as well as the simplifier. */
#include "lower/private.h"

/* The lanes [first, first + n) of the store and its mask. */
static struct stmt *part(struct low *l, const struct stmt *s, const struct stmt *mask, int first,
                         int n)
{
    struct lanes_pick p = {.ir = l->ir, .n = n};
    for (int i = 0; i < n; i++) p.lane[i] = first + i;
    const struct expr *at = lanes_pick(&p, s->u.store.idx[0]),
                      *value = lanes_pick(&p, s->u.store.value),
                      *cond = mask ? lanes_pick(&p, mask->u.cond.cond) : NULL;
    memo_fini(&p.memo);
    if (!at || !value || (mask && !cond)) return NULL;
    struct stmt *store = stmt_store(l->ir, s->u.store.tensor, &at, value);
    return mask ? stmt_if(l->ir, cond, store) : store;
}

/* Constants say that no lane runs: 336..351 < 324. */
static bool never(struct low *l, const struct stmt *s)
{
    const struct expr *cond = s->u.cond.cond, *base[2];
    int64_t off[2][LANES_MAX], at[2];
    if (s->kind != ST_IF || (cond->op != OP_LT && cond->op != OP_LE)) return false;
    for (int k = 0; k < 2; k++)
        if (!lanes_of(l->ir, cond->a[k], &base[k], off[k]) || !expr_is_int(base[k], &at[k]))
            return false;
    for (int i = 0; i < cond->type.lanes; i++)
        if (at[0] + off[0][i] < at[1] + off[1][i] + (cond->op == OP_LE)) return false;
    return true;
}

static struct stmt *cut(struct low *l, struct stmt *s, const struct stmt *mask, struct stmt *whole)
{
    const struct tensor *t = s->u.store.tensor;
    const struct expr *value = s->u.store.value;
    int lanes = value->type.lanes, n = l->t->vector_bits / dtype_bits((enum dtype)t->type.dtype);
    while (n & (n - 1)) n &= n - 1;
    if (lanes <= n || n < 2 || lanes > LANES_MAX || s->u.store.idx[0]->type.lanes != lanes)
        return whole;
    bool meets = expr_uses_tensor(value, t) || expr_uses_tensor(s->u.store.idx[0], t) ||
                 (mask && expr_uses_tensor(mask->u.cond.cond, t));
    if (t->scope == SCOPE_REG || meets) return whole;
    struct stmt *all = stmt_block(l->ir);
    for (int first = 0; first < lanes; first += n) {
        struct stmt *some = part(l, s, mask, first, n);
        if (!some) return whole;
        if (!never(l, some)) block_append(l->ir, all, some);
    }
    return all;
}

static struct stmt *cut_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind == ST_STORE && !stmt_mask(s)) return cut(l, s, NULL, s);
    if (s->kind != ST_IF || s->u.cond.cond->type.lanes == 1) return s;
    struct stmt *store = stmt_only(s->u.cond.then);
    return store && store->kind == ST_STORE ? cut(l, store, s, s) : s;
}

enum rc pass_cut(struct low *l)
{
    rewrite_both(l, cut_stmt, NULL);
    return RC_OK;
}
