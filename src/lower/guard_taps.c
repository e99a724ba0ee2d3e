/* Guarded taps: a term that its default turns into nothing is skipped instead of computed.
 *
 * Requires: inits are stores (pass_inits), so that skipping an update skips only a term.
 * Provides: UPDATEs whose scalar border conditions are IFs around them, which tighten can move and
 * turn into tap bounds; conditions on vector lanes stay in the guarded load.
 *
 *     acc[p] += (x[p + r - 1] if 0 <= p + r - 1 & p + r - 1 < 56 else 0.0) * w[r]
 *     -- becomes --
 *     if 0 <= p + r - 1 & p + r - 1 < 56
 *       acc[p] += x[p + r - 1] * w[r] */
#include "lower/private.h"

struct taps {
    struct low *l;
    struct stmt *update;
    const struct expr *guard, *value;
    const struct expr *load[CONJ_MAX];
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

static bool absorbs(struct taps *t, const struct expr *load)
{
    struct swap s = {load, load->a[1]};
    const struct expr *v = expr_map(t->l->ir, t->value, swap_node, &s);
    if (t->update->u.update.op == RED_SUM) return expr_is_zero(v);
    return v == reduce_identity(t->l->ir, t->update, 0);
}

static bool uses_vector_loop(const struct stmt *s, const struct expr *e)
{
    for (const struct stmt *p = s->parent; p; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_VECTOR && expr_uses_var(e, p->u.loop.var))
            return true;
    return false;
}

static void lift(struct taps *t, const struct expr *load)
{
    const struct expr *conj[CONJ_MAX], *rest = NULL, *out = NULL;
    int n = expr_conjuncts(load->a[0], conj);
    for (int i = 0; i < n; i++) {
        if (expr_has_load(conj[i]) || uses_vector_loop(t->update, conj[i]))
            rest = expr_and(t->l->ir, rest, conj[i]);
        else
            out = expr_and(t->l->ir, out, conj[i]);
    }
    if (!out || !absorbs(t, load)) return;
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

enum rc pass_guard_taps(struct low *l)
{
    rewrite_both(l, guard_update, NULL);
    return RC_OK;
}
