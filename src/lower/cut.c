/* Cut: a store of a vector longer than the machine's registers becomes several of one register each; one of
 * which constants say that only a few lanes run becomes as short as these.
 *
 * Requires: vectorised and unrolled statements; before math, whose LETs would be long vectors.
 * Provides: no unmasked or masked store with more lanes than a register holds, where each lane's
 * part of the value can be said (lanes_pick) and no lane reads what another writes; no part whose
 * lanes never run, and none of four lanes and more of which constants keep the upper half from running.
 *
 *     y[ramp(i*32, 1, 32)] = x[ramp(i*32, 1, 32)] * splat(s, 32)     -->
 *
 *     y[ramp(i*32, 1, 16)]      = x[ramp(i*32, 1, 16)] * splat(s, 16)
 *     y[ramp(i*32 + 16, 1, 16)] = x[ramp(i*32 + 16, 1, 16)] * splat(s, 16)
 *
 *     if ramp(16, 1, 16) < splat(21, 16)
 *       y[ramp(i*21 + 16, 1, 16)] = ..           -->     if ramp(16, 1, 8) < splat(21, 8)
 *                                                          y[ramp(i*21 + 16, 1, 8)] = ..
 *
 * Half a register costs half where a processor works in halves, and where it divides. LLVM would take
 * long vectors apart itself; gcc does so through memory, and neither shares masks and shuffles of the
 * parts as well as the simplifier. */
#include "lower/private.h"

/* How many lanes run if constants say so, and these are the first: 5 of 336..351 < 341; -1: unknown. */
static int leading(struct low *l, const struct expr *cond)
{
    const struct expr *base[2];
    int64_t off[2][LANES_MAX], at[2];
    int n = 0;
    if (cond->op != OP_LT && cond->op != OP_LE) return -1;
    for (int k = 0; k < 2; k++)
        if (!lanes_of(l->ir, cond->a[k], &base[k], off[k]) || !expr_is_int(base[k], &at[k]))
            return -1;
    for (int i = 0; i < cond->type.lanes; i++) {
        if (at[0] + off[0][i] >= at[1] + off[1][i] + (cond->op == OP_LE)) continue;
        if (n++ != i) return -1;
    }
    return n;
}

/* A load without the conditions that hold for all its lanes. */
static const struct expr *drop_condition(struct ir *ir, const struct expr *e, void *ctx)
{
    struct low *l = ctx;
    const struct expr *conj[CONJ_MAX];
    if (e->op != OP_LOADC || e->type.lanes == 1) return NULL;
    int n = expr_conjuncts(e->a[0], conj), kept = 0, first = expr_load_first(e);
    for (int i = 0; i < n; i++)
        if (leading(l, conj[i]) != e->type.lanes) conj[kept++] = conj[i];
    if (kept == n) return NULL;
    if (!kept) return expr_load(ir, e->u.tensor, e->a + first, e->n - first);
    return expr_loadc(ir, e->u.tensor, expr_all(ir, conj, kept), e->a[1], e->a + first,
                      e->n - first);
}

/* The lanes [first, first + n) of the store and its mask, or as many as run; NULL: cannot be said. */
static struct stmt *part(struct low *l, const struct stmt *s, const struct stmt *mask, int first,
                         int n)
{
    enum { SHORTEST = 4 };
    struct lanes_pick p = {.ir = l->ir, .n = n};
    for (int i = 0; i < n; i++) p.lane[i] = first + i;
    const struct expr *cond = mask ? lanes_pick(&p, mask->u.cond.cond) : NULL;
    int run = cond ? leading(l, cond) : n;
    if (run == 0) return memo_fini(&p.memo), stmt_block(l->ir);
    if (run > 0 && run <= n / 2 && n > SHORTEST)
        return memo_fini(&p.memo), part(l, s, mask, first, n / 2);
    const struct expr *at = lanes_pick(&p, s->u.store.idx[0]),
                      *value = lanes_pick(&p, s->u.store.value);
    memo_fini(&p.memo);
    if (!at || !value || (mask && !cond)) return NULL;
    if (run == n) value = expr_map(l->ir, value, drop_condition, l);
    struct stmt *store = stmt_store(l->ir, s->u.store.tensor, &at, value);
    return cond && run < n ? stmt_if(l->ir, cond, store) : store;
}

static void look_width(const struct expr *e, void *ctx)
{
    bool data = e->type.lanes > 1 && e->type.dtype != TYPE_S64 && e->type.dtype != TYPE_B1;
    int bits = dtype_bits((enum dtype)e->type.dtype), *most = ctx;
    if (data && bits > *most) *most = bits;
}

/* The bits of a lane that says how many there are in a register: the stored type's; in C, where nothing
 * packs several registers into one, those of the widest on the way. */
static int lane_bits(const struct low *l, const struct tensor *t, const struct expr *value)
{
    int bits = dtype_bits((enum dtype)t->type.dtype);
    if (target_is_c(l->t)) expr_walk(value, look_width, &bits);
    return bits;
}

static struct stmt *cut(struct low *l, struct stmt *s, const struct stmt *mask, struct stmt *whole)
{
    const struct tensor *t = s->u.store.tensor;
    const struct expr *value = s->u.store.value;
    int lanes = value->type.lanes, n = l->t->vector_bits / lane_bits(l, t, value);
    while (n & (n - 1)) n &= n - 1;
    if (n > lanes) n = lanes;
    if ((lanes == n && !mask) || n < 2 || lanes > LANES_MAX ||
        s->u.store.idx[0]->type.lanes != lanes)
        return whole;
    bool meets = expr_uses_tensor(value, t) || expr_uses_tensor(s->u.store.idx[0], t) ||
                 (mask && expr_uses_tensor(mask->u.cond.cond, t));
    if (t->scope == SCOPE_REG || meets) return whole;
    int run = mask && lanes == n ? leading(l, mask->u.cond.cond) : n;
    if (run < 0 || (run > n / 2 && run < n)) return whole; /* as short as it can be */
    struct stmt *all = stmt_block(l->ir);
    for (int first = 0; first < lanes; first += n) {
        struct stmt *some = part(l, s, mask, first, n);
        if (!some) return whole;
        block_append(l->ir, all, some);
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
