/* Guarded taps: a term that its default turns into nothing is skipped instead of computed; a loop of
 * terms that a choice turns into nothing runs only where some are something.
 *
 * Requires: inits are stores (pass_inits), so that skipping an update skips only a term.
 * Provides: UPDATEs whose scalar border conditions are IFs around them, which tighten can move and
 * turn into tap bounds; conditions on vector lanes stay in the guarded load.
 *
 *     acc[p] += (x[p + r - 1] if 0 <= p + r - 1 & p + r - 1 < 56 else 0.0) * w[r]
 *     -- becomes --
 *     if 0 <= p + r - 1 & p + r - 1 < 56
 *       acc[p] += x[p + r - 1] * w[r]
 *
 *     for jo in 0..64 reduce                                    for jo in 0..64 reduce
 *       for jl in 0..16 vector reduce                             if jo*16 <= i
 *         y[i] += select(jo*16 + jl <= i, a[..], 0.0)   -->         for jl in 0..16 vector reduce
 *                                                                     y[i] += select(..)
 *
 * Invariants: only terms are skipped: a loop that does anything else stays as it is. */
#include "base/vec.h"
#include "lower/private.h"

struct taps {
    struct low *l;
    struct stmt *update;
    const struct expr *guard, *value;
    const struct expr *load[CONJ_MAX]; /* guarded loads, or choices, with a constant default */
    int nload;
};

static void collect(const struct expr *e, void *ctx)
{
    struct taps *t = ctx;
    bool known = e->op == OP_LOADC && (e->a[1]->op == OP_REAL || e->a[1]->op == OP_INT);
    if (known && t->nload < CONJ_MAX) t->load[t->nload++] = e;
}

struct swap {
    const struct expr *from, *to;
};

static const struct expr *swap_node(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct swap *s = ctx;
    (void)ir;
    return e == s->from ? s->to : NULL;
}

/* With the node so replaced the term is nothing. */
static bool absorbs(struct taps *t, const struct expr *from, const struct expr *to)
{
    struct swap s = {from, to};
    const struct expr *v = expr_map(t->l->ir, t->value, swap_node, &s);
    if (t->update->u.update.op == RED_SUM) return expr_is_zero(v);
    return v == reduce_identity(t->l->ir, t->update, 0);
}

static void lift(struct taps *t, const struct expr *load)
{
    const struct expr *conj[CONJ_MAX], *rest = NULL, *out = NULL;
    int n = expr_conjuncts(load->a[0], conj);
    for (int i = 0; i < n; i++) {
        if (expr_has_load(conj[i]) || under_vector_loop(t->update, conj[i]))
            rest = expr_and(t->l->ir, rest, conj[i]);
        else
            out = expr_and(t->l->ir, out, conj[i]);
    }
    if (!out || !absorbs(t, load, load->a[1])) return;
    struct swap s = {load, NULL};
    s.to = rest ? expr_loadc(t->l->ir, load->u.tensor, rest, load->a[1], load->a + 2, load->n - 2)
                : expr_load(t->l->ir, load->u.tensor, load->a + 2, load->n - 2);
    t->value = expr_map(t->l->ir, t->value, swap_node, &s);
    t->guard = expr_and(t->l->ir, t->guard, out);
}

static struct stmt *guard_update(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind != ST_UPDATE || s->u.update.n != 1 || s->u.update.op == RED_USER) return s;
    struct taps t = {.l = l, .update = s, .value = s->u.update.value[0]};
    expr_walk(t.value, collect, &t);
    for (int i = 0; i < t.nload; i++) lift(&t, t.load[i]);
    if (!t.guard) return s;
    s->u.update.value[0] = t.value;
    return stmt_if(l->ir, t.guard, s);
}

/* ---- choices --------------------------------------------------------------------------------- */

static void collect_select(const struct expr *e, void *ctx)
{
    struct taps *t = ctx;
    bool known = e->op == OP_SELECT && (e->a[2]->op == OP_REAL || e->a[2]->op == OP_INT);
    if (known && t->nload < CONJ_MAX) t->load[t->nload++] = e;
}

/* The outermost reduction loop that moves conj and does nothing but this update; NULL: none. */
static struct stmt *loop_of_terms(struct stmt *update, const struct expr *conj)
{
    struct stmt *best = NULL;
    for (struct stmt *p = update->parent; p; p = p->parent) {
        bool alone = p->kind == ST_LET || p->kind == ST_IF || p->kind == ST_FOR ||
                     (p->kind == ST_BLOCK && p->u.block.n == 1);
        if (!alone) break;
        if (p->kind == ST_LET && expr_uses_var(conj, p->u.let.var)) break;
        if (p->kind != ST_FOR) continue;
        if (!p->u.loop.reduce && p->u.loop.kind != LOOP_VECTOR && p->u.loop.kind != LOOP_UNROLL &&
            best)
            break;
        bool plain = p->u.loop.kind == LOOP_SERIAL;
        if (p->u.loop.reduce && plain && expr_uses_var(conj, p->u.loop.var)) best = p;
    }
    return best;
}

static void guard_body(struct low *l, struct stmt *loop, const struct expr *cond)
{
    struct stmt *body = loop->u.loop.body, *block = stmt_block(l->ir);
    block_append(l->ir, block, stmt_if(l->ir, cond, body));
    loop->u.loop.body = block;
    block->parent = loop;
}

static void skip_nothing(struct low *l, struct stmt *s)
{
    struct taps t = {.l = l, .update = s, .value = s->u.update.value[0]};
    expr_walk(t.value, collect_select, &t);
    for (int i = 0; i < t.nload; i++) {
        const struct expr *conj[CONJ_MAX];
        if (!absorbs(&t, t.load[i], t.load[i]->a[2])) continue;
        int n = expr_conjuncts(t.load[i]->a[0], conj);
        for (int k = 0; k < n; k++) {
            struct stmt *loop = expr_has_load(conj[k]) ? NULL : loop_of_terms(s, conj[k]);
            const struct expr *some = loop ? cond_somewhere(l, loop, s, conj[k]) : NULL;
            if (some) guard_body(l, loop, some);
        }
    }
}

struct updates {
    VEC(struct stmt *) all;
};

static bool note_update(struct stmt *s, void *ctx)
{
    struct updates *u = ctx;
    if (s->kind == ST_UPDATE && s->u.update.n == 1 && s->u.update.op != RED_USER)
        vec_push(&u->all, s);
    return true;
}

enum rc pass_guard_taps(struct low *l)
{
    rewrite_both(l, guard_update, NULL);
    struct updates u = {0};
    stmt_walk(l->n->body, note_update, &u);
    for (size_t i = 0; i < u.all.n; i++) skip_nothing(l, u.all.p[i]);
    vec_free(&u.all);
    return RC_OK;
}
