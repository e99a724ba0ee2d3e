/* Flatten: every tensor becomes rank 1, every subscript an element offset.
 *
 * Requires: no UPDATE (its targets share subscripts, but not always a layout).
 * Provides: rank 1 everywhere, extent = elements of storage with layout padding, offsets in linear
 * normal form (outer terms first, the constant last), so that what unrolled copies share is one
 * node.
 *
 *     in x: f32[8,32] store 0,1/16,1%16      in x: f32[256]
 *     y[i, j] = x[i, jo*16 + ji]      -->    y[i*32 + j] = x[i*32 + jo*16 + ji] */
#include <string.h>

#include "lower/private.h"

struct flat {
    struct low *l;
    struct tensor *old; /* by tensor id: what it was; rank -1 = not seen */
    uint32_t nold;
    struct memo memo;
    struct env *env;
    struct near near;
    struct stmt *s;
};

static const struct expr *offset_of(struct flat *f, const struct tensor *t,
                                    const struct expr *const *idx)
{
    struct ir *ir = f->l->ir;
    QN_CHECK(t->id < f->nold && f->old[t->id].rank >= 0, "tensor %s is not of this nest", t->name);
    const struct tensor *old = &f->old[t->id];
    if (old->rank == 0) return expr_int(ir, 0);
    const struct expr *at = tensor_offset(ir, old, idx);
    if (at->op == OP_VAR || at->op == OP_INT || f->l->naive) return at;
    if (old->nlayout && !f->env) f->env = env_near(f->l, &f->near, f->s);
    return expr_simplify(ir, old->nlayout ? f->env : NULL, at);
}

static const struct expr *flat_expr(struct flat *f, const struct expr *e)
{
    struct ir *ir = f->l->ir;
    if (e->n == 0)
        return e->op == OP_LOAD
                   ? expr_load(ir, e->u.tensor, (const struct expr *[]){expr_int(ir, 0)}, 1)
                   : e;
    const struct expr *a[16], *to = memo_get(&f->memo, e);
    if (to) return to;
    bool changed = false;
    for (int i = 0; i < e->n; i++) {
        a[i] = flat_expr(f, e->a[i]);
        changed |= a[i] != e->a[i];
    }
    to = e;
    if (e->op == OP_LOAD) {
        const struct expr *at = offset_of(f, e->u.tensor, a);
        to = expr_load(ir, e->u.tensor, &at, 1);
    } else if (e->op == OP_LOADC) {
        const struct expr *at = offset_of(f, e->u.tensor, a + 2);
        to = expr_loadc(ir, e->u.tensor, a[0], a[1], &at, 1);
    } else if (changed) {
        to = expr_with(ir, e, a);
    }
    memo_put(&f->memo, e, to);
    return to;
}

static void flat_slot(const struct expr **slot, void *ctx) { *slot = flat_expr(ctx, *slot); }

static bool flat_stmt(struct stmt *s, void *ctx)
{
    struct flat *f = ctx;
    f->s = s;
    f->env = NULL;
    memo_clear(&f->memo);
    if (s->kind != ST_STORE) {
        stmt_exprs(s, flat_slot, f);
        return true;
    }
    const struct tensor *t = s->u.store.tensor;
    const struct expr *idx[REGION_RANK],
        **at = ARENA_ARRAY(f->l->ir->arena, const struct expr *, 1);
    for (int i = 0; i < f->old[t->id].rank; i++) idx[i] = flat_expr(f, s->u.store.idx[i]);
    at[0] = offset_of(f, t, idx);
    s->u.store.idx = at;
    s->u.store.value = flat_expr(f, s->u.store.value);
    return true;
}

static void flat_tensor(struct flat *f, struct tensor *t)
{
    QN_CHECK(t->id < f->nold, "tensor %s is newer than its nest", t->name);
    QN_CHECK(!(t->scope == SCOPE_TABLE && t->nlayout), "table %s has a layout", t->name);
    if (f->old[t->id].rank >= 0) return;
    f->old[t->id] = *t;
    const struct expr *n = expr_simplify(f->l->ir, NULL, tensor_elements(f->l->ir, t));
    t->rank = 1;
    t->extent = ARENA_ARRAY(f->l->ir->arena, const struct expr *, 1);
    t->extent[0] = n;
    t->nlayout = 0;
}

static bool flat_alloc(struct stmt *s, void *ctx)
{
    if (s->kind == ST_ALLOC) flat_tensor(ctx, s->u.alloc.tensor);
    return true;
}

enum rc pass_flatten(struct low *l)
{
    struct flat f = {.l = l, .nold = l->ir->next_tensor};
    f.old = ARENA_ARRAY(l->ir->arena, struct tensor, f.nold);
    for (uint32_t i = 0; i < f.nold; i++) f.old[i].rank = -1;
    for (int i = 0; i < l->n->ntensor; i++) flat_tensor(&f, l->n->tensor[i]);
    stmt_walk(l->n->body, flat_alloc, &f);
    stmt_walk(l->n->pack, flat_alloc, &f);
    stmt_walk(l->n->body, flat_stmt, &f);
    stmt_walk(l->n->pack, flat_stmt, &f);
    memo_fini(&f.memo);
    return RC_OK;
}
