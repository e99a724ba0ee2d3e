/* Share: sums of windows that overlap have terms in common, which are added up once.
 *
 * Requires: unrolled statements, register tiles as variables (regs); before carry and fma.
 * Provides: around the outermost of perfectly nested reduce loops, one partial result for each set of
 * two and more results that take the same terms, where that needs fewer operations and the registers
 * hold it.
 *
 *     for i in 0..9 reduce                       alloc reg y.share0: f32x16[1]
 *       y[0] = max(y[0], x[i, ramp(0, 1, 16)])     y.share0[0] = splat(f32(-inf), 16)
 *       y[0] = max(y[0], x[i, ramp(16, ..)])  -->  for i in 0..9 reduce
 *       y[0] = max(y[0], x[i, ramp(32, ..)])         y[0] = max(y[0], x[i, ramp(0, 1, 16)])
 *       y[1] = max(y[1], x[i, ramp(32, ..)])         y.share0[0] = max(y.share0[0], x[i, ramp(32, 1, 16)])
 *       y[1] = max(y[1], x[i, ramp(48, ..)])         y[0] = max(y[0], x[i, ramp(16, 1, 16)])
 *       y[1] = max(y[1], x[i, ramp(64, ..)])         y[1] = max(y[1], x[i, ramp(48, 1, 16)])
 *                                                    y[1] = max(y[1], x[i, ramp(64, 1, 16)])
 *                                                  y[0] = max(y[0], y.share0[0])
 *                                                  y[1] = max(y[1], y.share0[0])
 *
 * Pooling and box filters spend most of their time so: of windows of 3^3 at every second place a third
 * of the operations go.
 *
 * Invariants: a result takes each of its terms as often as before. Terms come in another order, which
 * `reproducible` forbids for sums of reals. */
#include "lower/private.h"

enum { TERMS = 256, RESULTS = 64 };

/* The results (by bit) that take one term, all with one operation on one register tile. */
struct term {
    const struct expr *value;
    uint64_t to;
};

struct sharing {
    struct low *l;
    struct tensor *t;
    enum op op;
    struct stmt *leaf; /* the block of stores */
    int64_t trips;     /* of all loops together */
    struct term term[TERMS];
    int n, stores;
    uint64_t set[RESULTS]; /* shared by several results */
    int nset;
};

/* t[k] = t[k] op value, k a number. */
static bool take_store(struct sharing *w, const struct stmt *s)
{
    int64_t k;
    if (s->kind != ST_STORE || s->u.store.tensor->scope != SCOPE_REG) return false;
    if (s->u.store.tensor->rank != 1) return false;
    const struct expr *v = s->u.store.value, *at = s->u.store.idx[0];
    if (v->n != 2 || (v->op != OP_ADD && v->op != OP_MAX && v->op != OP_MIN)) return false;
    if (w->t && (s->u.store.tensor != w->t || (enum op)v->op != w->op)) return false;
    w->t = s->u.store.tensor;
    w->op = (enum op)v->op;
    if (!expr_is_int(at, &k) || k < 0 || k >= RESULTS) return false;
    const struct expr *old = expr_load(w->l->ir, w->t, &at, 1);
    int own = v->a[0] == old ? 0 : v->a[1] == old ? 1 : -1;
    if (own < 0 || expr_uses_tensor(v->a[!own], w->t)) return false;
    w->stores++;
    for (int i = 0; i < w->n; i++)
        if (w->term[i].value == v->a[!own] && !(w->term[i].to >> k & 1)) {
            w->term[i].to |= UINT64_C(1) << k;
            return true;
        }
    if (w->n == TERMS) return false;
    w->term[w->n++] = (struct term){v->a[!own], UINT64_C(1) << k};
    return true;
}

/* Do the loops from s down end in such stores and nothing else? */
static bool find_window(struct sharing *w, struct stmt *s)
{
    w->trips = 1;
    for (int64_t n; s && s->kind == ST_FOR; s = stmt_only(s->u.loop.body)) {
        if (s->u.loop.kind != LOOP_SERIAL || !s->u.loop.reduce || s->u.loop.ordered) return false;
        if (!loop_constant_extent(s, &n)) return false;
        w->trips *= n;
        w->leaf = s->u.loop.body;
    }
    if (s || !w->leaf || w->leaf->kind != ST_BLOCK) return false;
    for (int i = 0; i < w->leaf->u.block.n; i++)
        if (!take_store(w, w->leaf->u.block.p[i])) return false;
    return w->stores > w->n;
}

static int bits(uint64_t v) { return __builtin_popcountll(v); }

/* The sets worth a partial result: it costs a start and an addition to each of them. */
static void choose_sets(struct sharing *w)
{
    uint64_t used = 0;
    for (int i = 0; i < w->n; i++) used |= w->term[i].to;
    int room = (int)w->l->t->vregs - 2 - bits(used);
    for (int i = 0; i < w->n && w->nset < RESULTS && w->nset < room; i++) {
        uint64_t to = w->term[i].to;
        int terms = 0, known = 0;
        for (int k = 0; k < w->n; k++) terms += w->term[k].to == to;
        for (int k = 0; k < w->nset; k++) known |= w->set[k] == to;
        if (known || bits(to) < 2) continue;
        if (w->trips * terms * (bits(to) - 1) > bits(to) + 1) w->set[w->nset++] = to;
    }
}

static const struct expr *identity(const struct sharing *w)
{
    enum reduce op = w->op == OP_ADD ? RED_SUM : w->op == OP_MAX ? RED_MAX : RED_MIN;
    struct type t = w->t->type;
    return expr_to_lanes(w->l->ir,
                         reduce_identity_of(w->l->ir, op, 0, type_of((enum dtype)t.dtype)),
                         t.lanes);
}

static struct stmt *add_to(const struct sharing *w, struct tensor *t, int k,
                           const struct expr *value)
{
    struct ir *ir = w->l->ir;
    const struct expr *at = expr_int(ir, k);
    return stmt_store(ir, t, &at, expr_binary(ir, w->op, expr_load(ir, t, &at, 1), value));
}

static struct stmt *shared(struct sharing *w, struct stmt *loops)
{
    struct ir *ir = w->l->ir;
    const struct expr *size = expr_int(ir, w->nset);
    struct tensor *part =
        tensor_new(ir, arena_printf(ir->arena, "%s%s", w->t->name, fresh_suffix(w->l, "share")),
                   w->t->type, SCOPE_REG, 1, &size);
    struct stmt *all = stmt_block(ir), *body = stmt_block(ir);
    for (int k = 0; k < w->nset; k++) {
        const struct expr *at = expr_int(ir, k);
        block_append(ir, all, stmt_store(ir, part, &at, identity(w)));
    }
    for (int i = 0; i < w->n; i++) {
        int set = 0;
        while (set < w->nset && w->set[set] != w->term[i].to) set++;
        if (set < w->nset) block_append(ir, body, add_to(w, part, set, w->term[i].value));
        for (int k = 0; k < RESULTS && set == w->nset; k++)
            if (w->term[i].to >> k & 1)
                block_append(ir, body, add_to(w, w->t, k, w->term[i].value));
    }
    stmt_replace(w->leaf, body);
    block_append(ir, all, loops);
    for (int set = 0; set < w->nset; set++) {
        const struct expr *at = expr_int(ir, set);
        for (int k = 0; k < RESULTS; k++)
            if (w->set[set] >> k & 1)
                block_append(ir, all, add_to(w, w->t, k, expr_load(ir, part, &at, 1)));
    }
    return stmt_alloc(ir, part, all);
}

static bool inside_reduction(const struct stmt *s)
{
    const struct stmt *p = s->parent;
    while (p && p->kind == ST_BLOCK && p->u.block.n == 1) p = p->parent;
    return p && p->kind == ST_FOR && p->u.loop.reduce;
}

static struct stmt *share_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind != ST_FOR || !s->u.loop.reduce || inside_reduction(s)) return s;
    struct sharing w = {.l = l};
    if (!find_window(&w, s)) return s;
    bool real = dtype_is_float((enum dtype)w.t->type.dtype);
    if (real && w.op == OP_ADD && l->o->reproducible) return s;
    choose_sets(&w);
    return w.nset ? shared(&w, s) : s;
}

enum rc pass_share(struct low *l)
{
    rewrite_both(l, share_stmt, NULL);
    return RC_OK;
}
