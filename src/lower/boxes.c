/* Boxes: what an iteration of a loop touches of a tensor, and whether iterations have blocks of their
 * own.
 *
 *     for mo in 0..N/64 + 1                       written: s[mo*64 .. mo*64 + 70), as loops say;
 *       for a in 0..7                             clipped to 64, the step with which mo moves it:
 *         for b in 0..10 unroll                   the guard leaves no more, and so blocks do not
 *           if a*10 + b < 64                      overlap
 *             s[mo*64 + a*10 + b] = ..
 *
 * Invariant: a box is never smaller than what is touched. */
#include "lower/private.h"

int box_moved(const struct region *box, const struct var *v, int64_t *step)
{
    int dim = -1;
    for (int d = 0; d < box->rank; d++) {
        if (expr_uses_var(box->extent[d], v)) return -1;
        if (!expr_uses_var(box->lo[d], v)) continue;
        if (dim >= 0) return -1;
        dim = d;
    }
    struct linear l;
    bool clean = false;
    if (dim < 0 || !linear_of(box->lo[dim], &l)) return -1;
    *step = linear_take(&l, v, &clean);
    return clean ? dim : -1;
}

/* ---- clipping -------------------------------------------------------------------------------- */

struct clip {
    const struct nest *n;
    const struct tensor *t;
    bool written;
    int dim;
    const struct expr *end; /* all subscripts of the dimension are to lie below it */
    struct env *env;        /* at the statement; NULL: not asked for yet */
    struct stmt *at;
    bool holds;
};

static void below(struct clip *c, const struct expr *index)
{
    struct ir *ir = c->n->ir;
    if (!c->holds) return;
    if (!c->env) c->env = env_at(ir, c->n, c->at);
    c->holds = env_proves(c->env, expr_binary(ir, OP_LT, index, c->end));
}

static void look_load(const struct expr *e, void *ctx)
{
    struct clip *c = ctx;
    if ((e->op == OP_LOAD || e->op == OP_LOADC) && e->u.tensor == c->t)
        below(c, e->a[expr_load_first(e) + c->dim]);
}

static void look_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, look_load, ctx); }

static bool look_stmt(struct stmt *s, void *ctx)
{
    struct clip *c = ctx;
    c->env = NULL;
    c->at = s;
    if (!c->written)
        stmt_exprs(s, look_slot, c);
    else if (s->kind == ST_STORE && s->u.store.tensor == c->t)
        below(c, s->u.store.idx[c->dim]);
    return c->holds;
}

bool box_clip(const struct nest *n, struct stmt *body, const struct tensor *t, bool written,
              struct region *box, int dim, int64_t size)
{
    int64_t extent = 0;
    if (size < 1) return false;
    if (expr_is_int(box->extent[dim], &extent) && extent <= size) return true;
    const struct expr *end = expr_add(n->ir, box->lo[dim], expr_int(n->ir, size));
    struct clip c = {.n = n, .t = t, .written = written, .dim = dim, .end = end, .holds = true};
    stmt_walk(body, look_stmt, &c);
    if (c.holds) box->extent[dim] = expr_int(n->ir, size);
    return c.holds;
}
