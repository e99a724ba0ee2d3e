/* Hoist: vectors that a loop computes again and again from what it does not change are computed
 * before it.
 *
 * Requires: vectorised and unrolled statements; no EXP..COS expanded yet (math makes its own LETs).
 * Provides: innermost serial loops whose unconditional stores hold no invariant vector arithmetic, shuffled
 * load or real number that was computed for all lanes, on tensors that the loop does not store to, for a third of
 * the registers; each is a LET around the loop, inside an IF where the loop may not run at all. What reads no
 * tensor the back ends hoist themselves.
 *
 *     for c in 0..5                                          let y.hoist0 = x[ramp(n*16, 1, 16)] * s
 *       y[ramp(n*80 + c*16, 1, 16)] =                 -->      for c in 0..5
 *         d[..] + x[ramp(n*16, 1, 16)] * splat(s, 16)            y[ramp(..)] = d[..] + y.hoist0
 *
 *     for n in 0..48                                         let q.hoist0 = splat(1.0 / s[0], 16)
 *       q[..] = x[..] * splat(1.0 / s[0], 16)         -->      for n in 0..48
 *                                                                q[..] = x[..] * q.hoist0
 *
 * Invariants: memory is read before the loop only if its first turn reads it. Plain loads stay: they
 * cost as much as a reload. Loops with loops inside are left alone: there registers are dear. */
#include "base/vec.h"
#include "lower/private.h"

struct hoist {
    struct low *l;
    const struct stmt *loop;
    const char *name;
    struct changes changes;         /* of the body */
    VEC(const struct expr *) value; /* what moves ... */
    VEC(const struct var *) var;    /* ... and its name */
    struct memo to;
};

struct facts {
    struct hoist *h;
    bool moves, input, work;
};

static bool depends(const struct hoist *h, const struct expr *e)
{
    return expr_uses_var(e, h->loop->u.loop.var) || changes_var(&h->changes, e);
}

/* Does it take more than a load? */
static bool is_shuffled(struct ir *ir, const struct expr *e)
{
    struct access_info a;
    if (e->op != OP_LOAD || e->type.lanes == 1) return false;
    access_classify(ir, e->a[0], &a);
    return a.kind == ACCESS_STRIDED || a.kind == ACCESS_PERMUTE || a.kind == ACCESS_GATHER;
}

static void look(const struct expr *e, void *ctx)
{
    struct facts *f = ctx;
    if (e->op == OP_LOADC) f->moves = false;
    if (e->op == OP_LOAD) {
        enum scope s = e->u.tensor->scope;
        bool changes = changes_tensor(&f->h->changes, e->u.tensor);
        if (changes || (s == SCOPE_REG && e->type.lanes > 1))
            f->moves = false;
        else if (s != SCOPE_TABLE)
            f->input = true;
        if (is_shuffled(f->h->l->ir, e)) f->work = true;
    }
    bool data = e->n > 0 && e->op != OP_LOAD && e->op != OP_SPLAT;
    if (e->type.lanes == 1) data &= dtype_is_float((enum dtype)e->type.dtype);
    if (data && e->type.dtype != TYPE_S64) f->work = true;
}

static bool invariant(struct hoist *h, const struct expr *e)
{
    struct facts f = {.h = h, .moves = true};
    if (e->type.lanes == 1 || e->type.dtype == TYPE_B1 || depends(h, e)) return false;
    expr_walk(e, look, &f);
    return f.moves && f.input && f.work;
}

/* Conditions inside a value guard nothing that is taken from it: SELECT evaluates both sides, and
 * what LOADC guards is not entered. */
static const struct expr *take(struct hoist *h, const struct expr *e)
{
    const struct expr *to = memo_get(&h->to, e), *a[16];
    bool plain = e->op == OP_LOAD && !is_shuffled(h->l->ir, e);
    if (to || e->n == 0 || e->type.lanes == 1 || plain || e->op == OP_LOADC) return to ? to : e;
    if (invariant(h, e)) {
        if ((int)h->value.n >= h->l->t->vregs / 3) return e;
        const char *name =
            arena_printf(h->l->ir->arena, "%s%s", h->name, fresh_suffix(h->l, "hoist"));
        const struct var *v = var_new(h->l->ir, name, e->type);
        vec_push(&h->value, e);
        vec_push(&h->var, v);
        to = expr_var(h->l->ir, v);
    } else {
        bool changed = false;
        for (int i = 0; i < e->n && e->op != OP_LOAD; i++) {
            a[i] = take(h, e->a[i]);
            changed |= a[i] != e->a[i];
        }
        to = changed ? expr_with(h->l->ir, e, a) : e;
    }
    memo_put(&h->to, e, to);
    return to;
}

static void take_stmt(struct hoist *h, struct stmt *s)
{
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) take_stmt(h, s->u.block.p[i]);
        break;
    case ST_ALLOC:
        take_stmt(h, s->u.alloc.body);
        break;
    case ST_LET:
        s->u.let.value = take(h, s->u.let.value);
        take_stmt(h, s->u.let.body);
        break;
    case ST_STORE:
        h->name = s->u.store.tensor->name;
        s->u.store.value = take(h, s->u.store.value);
        break;
    default: /* an IF may not let its body run */
        break;
    }
}

static bool find_inner(struct stmt *s, void *ctx)
{
    struct hoist *h = ctx;
    changes_note(&h->changes, s);
    if (s->kind == ST_FOR && s != h->loop) h->loop = NULL;
    return h->loop != NULL;
}

static struct stmt *hoist_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind != ST_FOR || s->u.loop.kind != LOOP_SERIAL) return s;
    struct hoist h = {.l = l, .loop = s, .name = s->u.loop.var->name};
    stmt_walk(s, find_inner, &h);
    if (h.loop) take_stmt(&h, s->u.loop.body);
    struct stmt *out = s, *parent = s->parent;
    if (h.value.n) {
        const struct expr *runs = expr_binary(l->ir, OP_LT, s->u.loop.lo, s->u.loop.hi);
        bool sure = env_proves(env_at(l->ir, l->n, s), runs);
        for (size_t i = h.value.n; i-- > 0;) {
            struct stmt *let = stmt_let(l->ir, h.var.p[i], h.value.p[i], NULL);
            block_append(l->ir, *stmt_body(let), out);
            out = let;
        }
        if (!sure) {
            struct stmt *when = stmt_if(l->ir, runs, NULL);
            block_append(l->ir, *stmt_body(when), out);
            out = when;
        }
        out->parent = parent;
    }
    memo_fini(&h.to);
    changes_fini(&h.changes);
    vec_free(&h.value);
    vec_free(&h.var);
    return out;
}

enum rc pass_hoist(struct low *l)
{
    rewrite(l, l->n->body, hoist_stmt, NULL); /* packing runs once, and writes what is packed */
    return RC_OK;
}
