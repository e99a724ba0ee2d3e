/* Unwanted sums: where every reader of a reduction's tile chooses something else, it is not added up.
 *
 * Requires: starts are stores (inits), so that what is skipped has still been started.
 * Provides: the reduce loops of a tensor with an ALLOC run only where one of its readers takes it:
 * all reads stand in the first arm of one choice, by bounds on loop variables.
 *
 *     alloc reg dot: f32[4, 16]                                alloc reg dot: f32[4, 16]
 *       stage dot                                                stage dot
 *         dot[..] = 0.0                                            dot[..] = 0.0
 *         for d in 0..64 reduce                                    if j*16 <= i*4 + 3
 *           dot[k, l] += q[..] * k[..]                 -->           for d in 0..64 reduce
 *       for k in 0..4                                                  dot[k, l] += q[..] * k[..]
 *         for l in 0..16 vector                                  for k in 0..4
 *           s[..] = select(j*16 + l <= i*4 + k,                    ..
 *                          dot[k, l], -inf)
 *
 * A causal mask makes half of the tiles such.
 *
 * Invariants: the condition holds for the tile as soon as it holds for one element; only loops that
 * do nothing but these updates are guarded. */
#include "base/vec.h"
#include "lower/private.h"

struct tile {
    const struct tensor *t;
    struct stmt *update;        /* its only one */
    struct stmt *reader;        /* the only statement that reads it */
    const struct expr *choice;  /* in the reader, around all reads */
    bool ordinary;              /* none of this is so */
    const struct expr **inside; /* scratch of look_slot: the reader's value */
};

static bool constant(const struct expr *e) { return e->op == OP_REAL || e->op == OP_INT; }

static void look_slot(const struct expr **slot, void *ctx)
{
    struct tile *k = ctx;
    if (expr_uses_tensor(*slot, k->t)) k->inside = slot;
}

/* What each statement below the ALLOC has to do with the tile. */
static bool look_stmt(struct stmt *s, void *ctx)
{
    struct tile *k = ctx;
    k->inside = NULL;
    stmt_exprs(s, look_slot, k);
    bool updates = false;
    for (int i = 0; s->kind == ST_UPDATE && i < s->u.update.n; i++)
        updates |= s->u.update.tensor[i] == k->t;
    if (updates) {
        k->ordinary |= k->update || s->u.update.n > 1 || k->inside;
        k->update = s;
    } else if (s->kind == ST_STORE && s->u.store.tensor == k->t) {
        k->ordinary |= !constant(s->u.store.value);
    } else if (k->inside) {
        k->ordinary |= k->reader || s->kind != ST_STORE || k->inside != &s->u.store.value;
        k->reader = s;
    }
    return !k->ordinary;
}

static void find_choice(const struct expr *e, void *ctx)
{
    struct tile *k = ctx;
    bool chooses = e->op == OP_SELECT && expr_uses_tensor(e->a[1], k->t);
    if (chooses && !expr_has_load(e->a[0])) k->choice = e;
}

static const struct expr *otherwise(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct tile *k = ctx;
    (void)ir;
    return e == k->choice ? e->a[2] : NULL;
}

/* Does the reader's value need the tile only where the choice takes it? */
static bool choosy(struct low *l, struct tile *k)
{
    const struct expr *value = k->reader->u.store.value;
    expr_walk(value, find_choice, k);
    return k->choice && !expr_uses_tensor(expr_map(l->ir, value, otherwise, k), k->t);
}

static bool note_other(struct stmt *s, void *ctx)
{
    struct tile *k = ctx;
    if (s->kind == ST_STORE || (s->kind == ST_UPDATE && s != k->update)) k->ordinary = true;
    return true;
}

/* The outermost reduce loop around the updates, if it does nothing else. */
static struct stmt *loop_of(struct tile *k, const struct stmt *alloc)
{
    struct stmt *loop = NULL;
    for (struct stmt *p = k->update->parent; p && p != alloc; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.reduce) loop = p;
    if (loop) stmt_walk(loop, note_other, k);
    return k->ordinary ? NULL : loop;
}

static bool in_let(const struct stmt *s, const struct stmt *outer)
{
    while (s != outer && s->kind != ST_LET) s = s->parent;
    return s != outer;
}

static struct stmt *unwanted_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind != ST_ALLOC) return s;
    struct tile k = {.t = s->u.alloc.tensor};
    const struct expr *conj[CONJ_MAX], *some = NULL;
    stmt_walk(s->u.alloc.body, look_stmt, &k);
    if (k.ordinary || !k.update || !k.reader || in_let(k.reader, s) || !choosy(l, &k)) return s;
    struct stmt *loop = loop_of(&k, s);
    int n = expr_conjuncts(k.choice->a[0], conj);
    for (int i = 0; i < n && loop; i++) {
        const struct expr *bound = cond_somewhere(l, s, k.reader, conj[i]);
        if (bound) some = expr_and(l->ir, some, bound);
    }
    if (!some) return s;
    struct stmt *when = stmt_if(l->ir, some, NULL);
    stmt_replace(loop, when);
    block_append(l->ir, *stmt_body(when), loop);
    return s;
}

enum rc pass_unwanted(struct low *l)
{
    rewrite(l, l->n->body, unwanted_stmt, NULL);
    return RC_OK;
}
