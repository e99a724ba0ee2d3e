/* Ahead: what the code around a load may ask for before it is needed.
 *
 *     for m in 0..4                            page   x[m*64 + k*32 + 1024], x[.. + 16], 4 KiB further on: a
 *       for k in 0..2                                 machine's own prefetchers stop at a page's end
 *         .. x[ramp(m*64 + k*32, 1, 16)]       turn   x[(m + 1)*64 + k*32], x[.. + 16], of the next turn of the
 *         .. x[ramp(m*64 + k*32 + 16, 1, 16)]         loop around the innermost that does not reduce: of windows
 *                                                     and tiles many short runs, which no prefetcher follows
 *
 * Invariants: what straight-line code reads of an operand is asked for once, a line at a time; if its reads lie
 * far apart (two images at once), by each load for itself. Only what moves with the innermost loop is asked for.
 * Addresses past the operand may come out: they are good for nothing but a prefetch. To find them nothing is
 * read or divided that the code around does not (the index of the next turn may be the one past the last). */
#include "lower/private.h"

enum { PAGE = 4096, NEAR_LINES = 64 };

static const struct stmt *loop_around(const struct stmt *s)
{
    do s = s->parent;
    while (s && s->kind != ST_FOR);
    return s;
}

/* Does the subscript change from turn to turn of the innermost loop around? */
static bool moves(const struct stmt *at, const struct expr *subscript)
{
    for (const struct stmt *s = at; s; s = s->parent) {
        if (s->kind == ST_LET && expr_uses_var(subscript, s->u.let.var)) return true;
        if (s->kind == ST_FOR)
            return s->u.loop.kind == LOOP_SERIAL && expr_uses_var(subscript, s->u.loop.var);
    }
    return false;
}

/* The loop whose next turn is meant; NULL: none. */
static const struct stmt *turning(const struct stmt *at)
{
    const struct stmt *loop = loop_around(at);
    while (loop && loop->u.loop.reduce) loop = loop_around(loop);
    loop = loop ? loop_around(loop) : NULL;
    return loop && loop->u.loop.kind == LOOP_SERIAL ? loop : NULL;
}

static const struct expr *moved(struct ir *ir, const struct stmt *at, const struct tensor *t,
                                const struct expr *subscript, enum ahead_of of)
{
    if (of == AHEAD_PAGE)
        return expr_add(ir, subscript, expr_int(ir, PAGE / dtype_bytes((enum dtype)t->type.dtype)));
    const struct stmt *loop = turning(at);
    if (!loop || !expr_uses_var(subscript, loop->u.loop.var)) return NULL;
    if (expr_has_load(subscript) || expr_may_trap(subscript)) return NULL;
    const struct var *v = loop->u.loop.var;
    return expr_subst(ir, subscript, v, expr_add(ir, expr_var(ir, v), expr_int(ir, 1)));
}

bool ahead_find(struct reach *r, const struct stmt *at, const struct tensor *t,
                const struct access_info *a, int lanes, const struct target *target,
                enum ahead_of of, struct ahead *out)
{
    if (of == AHEAD_NOTHING || t->scope != SCOPE_IN || !at || !a->base || !moves(at, a->base))
        return false;
    struct reach_entry *x = reach_find(r, at, t, a->base);
    if (!x || x->seen) return false;
    int64_t span = a->kind == ACCESS_CONTIGUOUS ? lanes : a->span;
    bool down = a->kind == ACCESS_STRIDED && a->stride < 0; /* from lane 0 downwards */
    const struct expr *from = a->base;
    out->step = target->line / dtype_bytes((enum dtype)t->type.dtype);
    out->lo = down ? 1 - span : 0;
    out->hi = out->lo + span;
    if (x->hi - x->lo <= NEAR_LINES * out->step) {
        x->seen = true;
        from = x->moving;
        out->lo = x->lo;
        out->hi = x->hi;
    }
    out->near = of == AHEAD_PAGE ? 3 : 2;
    out->from = moved(r->ir, at, t, from, of);
    return out->from != NULL;
}
