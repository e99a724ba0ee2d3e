/* Updates become stores of the combination of old and new.
 *
 * Requires: inits placed and guards moved (both read UPDATEs).
 * Provides: no UPDATE and no STAGE (a stage may not read what it writes; a kernel does).
 * Reductions of several targets read all old values before the first store. Vector loops that
 * reduce what lanes cannot (argmax, products, logic, user combines, and sums under `reproducible`)
 * become serial.
 *
 *     y[m] += a[m, k] * b[k]           -->  y[m] = y[m] + a[m, k] * b[k]
 *     {v, i}[m] argmax= {x[m, k], k}   -->  let v.old0 = v[m]
 *                                             let i.old0 = i[m]
 *                                               let v.new0 = ..
 *                                                 let i.new0 = ..
 *                                                   v[m] = v.new0
 *                                                   i[m] = i.new0 */
#include "lower/private.h"

static bool lanes_can(const struct low *l, const struct stmt *s)
{
    bool real = dtype_is_float((enum dtype)s->u.update.tensor[0]->type.dtype);
    switch (s->u.update.op) {
    case RED_SUM:
        return !(real && l->o->reproducible);
    case RED_MAX:
    case RED_MIN:
        return true;
    default:
        return false;
    }
}

static void serialise(struct low *l, struct stmt *s)
{
    if (lanes_can(l, s)) return;
    for (struct stmt *p = s->parent; p; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.reduce && p->u.loop.kind == LOOP_VECTOR)
            p->u.loop.kind = LOOP_SERIAL;
}

struct lets {
    struct low *l;
    struct stmt *outer, *inner; /* a chain of LETs */
};

static const struct expr *let_put(struct lets *c, const char *name, const char *kind,
                                  const struct expr *value)
{
    struct ir *ir = c->l->ir;
    const struct var *v =
        var_new(ir, arena_printf(ir->arena, "%s%s", name, fresh_suffix(c->l, kind)), value->type);
    struct stmt *let = stmt_let(ir, v, value, NULL);
    if (c->inner)
        block_append(ir, c->inner->u.let.body, let);
    else
        c->outer = let;
    c->inner = let;
    return expr_var(ir, v);
}

static struct stmt *several(struct low *l, struct stmt *s)
{
    struct ir *ir = l->ir;
    struct lets c = {.l = l};
    const struct expr *old[UPDATE_TARGETS], *value[UPDATE_TARGETS], *next[UPDATE_TARGETS];
    int n = s->u.update.n;
    for (int i = 0; i < n; i++) {
        const struct tensor *t = s->u.update.tensor[i];
        old[i] = let_put(&c, t->name, "old", expr_load(ir, t, s->u.update.idx, t->rank));
    }
    for (int i = 0; i < n; i++)
        value[i] = let_put(&c, s->u.update.tensor[i]->name, "term", s->u.update.value[i]);
    for (int i = 0; i < n; i++) {
        const struct expr *e = NULL;
        if (s->u.update.op == RED_USER) {
            e = s->u.update.combine[i];
            for (int k = 0; k < n; k++) {
                e = expr_subst(ir, e, s->u.update.lhs[k], old[k]);
                e = expr_subst(ir, e, s->u.update.rhs[k], value[k]);
            }
        } else {
            e = reduce_combine(ir, s, i, old, value);
        }
        next[i] = let_put(&c, s->u.update.tensor[i]->name, "new", e);
    }
    for (int i = 0; i < n; i++) {
        struct stmt *store = stmt_store(ir, s->u.update.tensor[i], s->u.update.idx, next[i]);
        block_append(ir, c.inner->u.let.body, store);
    }
    return c.outer;
}

static struct stmt *update_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind == ST_STAGE) return s->u.stage.body;
    if (s->kind != ST_UPDATE) return s;
    serialise(l, s);
    if (s->u.update.n > 1 || s->u.update.op == RED_USER) return several(l, s);
    struct tensor *t = s->u.update.tensor[0];
    const struct expr *old = expr_load(l->ir, t, s->u.update.idx, t->rank);
    return stmt_store(l->ir, t, s->u.update.idx,
                      reduce_combine(l->ir, s, 0, &old, s->u.update.value));
}

enum rc pass_updates(struct low *l)
{
    rewrite_both(l, update_stmt, NULL);
    return RC_OK;
}
