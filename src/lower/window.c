/* Windows: which whole vectors to read so that every lane of a strided or permuted subscript finds
 * its element in one of them. Both back ends load what window_plan says and shuffle.
 *
 *   x[splat(b, 16) + {0, 1, 4, 5, .., 28, 29}]     two vectors, at b and at b + 14: no more is known
 *   the same beside x[b + 2 + {0, 1, .., 28, 29}]  at b and at b + 16: both subscripts find theirs
 *                                                  there, so that the loads are shared
 *
 * What may be read beyond a subscript's own span is its reach: of an array of known size all of it,
 * of others what the unguarded subscripts of the same straight-line code span together.
 *
 * Invariants: no element outside the reach is read; code that a condition or a loop may skip adds
 * nothing to the reach. */
#include "lower/private.h"

/* ---- reach ----------------------------------------------------------------------------------- */

static bool runs_with(const struct stmt *parent)
{
    return parent && (parent->kind == ST_BLOCK || parent->kind == ST_LET ||
                      parent->kind == ST_ALLOC || parent->kind == ST_STAGE);
}

/* base = *moving + constant. */
static bool split_base(struct ir *ir, const struct expr *base, const struct expr **moving,
                       int64_t *constant)
{
    struct linear l;
    if (!linear_of(base, &l)) return false;
    *constant = l.c;
    l.c = 0;
    *moving = linear_expr(ir, &l);
    return true;
}

static void reach_add(struct reach *r, const struct expr *e)
{
    struct reach_entry x = {.tensor = e->u.tensor};
    const struct expr *base = NULL;
    int64_t off[LANES_MAX], constant = 0;
    if (e->n != 1 || e->type.lanes == 1 || e->type.lanes > LANES_MAX) return;
    if (!lanes_of(r->ir, e->a[0], &base, off)) return;
    if (!split_base(r->ir, base, &x.moving, &constant)) return;
    x.lo = x.hi = off[0];
    for (int i = 1; i < e->type.lanes; i++) {
        x.lo = i64_min(x.lo, off[i]);
        x.hi = i64_max(x.hi, off[i]);
    }
    x.lo += constant;
    x.hi += constant + 1;
    for (size_t i = 0; i < r->all.n; i++) {
        struct reach_entry *y = &r->all.p[i];
        if (y->tensor != x.tensor || y->moving != x.moving) continue;
        y->lo = i64_min(y->lo, x.lo);
        y->hi = i64_max(y->hi, x.hi);
        return;
    }
    vec_push(&r->all, x);
}

static void scan_expr(struct reach *r, struct memo *seen, const struct expr *e)
{
    if (e->n == 0 || memo_get(seen, e)) return;
    memo_put(seen, e, e);
    if (e->op == OP_LOADC) return;
    if (e->op == OP_LOAD && e->u.tensor->scope != SCOPE_REG) reach_add(r, e);
    for (int i = 0; i < (e->op == OP_SELECT ? 1 : e->n); i++) scan_expr(r, seen, e->a[i]);
}

static void scan(struct reach *r, struct memo *seen, const struct stmt *s)
{
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) scan(r, seen, s->u.block.p[i]);
        break;
    case ST_STAGE:
        scan(r, seen, s->u.stage.body);
        break;
    case ST_LET:
        scan_expr(r, seen, s->u.let.value);
        scan(r, seen, s->u.let.body);
        break;
    case ST_ALLOC:
        scan(r, seen, s->u.alloc.body);
        break;
    case ST_STORE:
        scan_expr(r, seen, s->u.store.value);
        break;
    default: /* a loop or a condition may run nothing */
        break;
    }
}

static void reach_scan(struct reach *r, const struct stmt *at)
{
    struct memo seen = {0};
    while (runs_with(at->parent)) at = at->parent;
    if (at == r->root) return;
    r->root = at;
    r->all.n = 0;
    scan(r, &seen, at);
    memo_fini(&seen);
}

void reach_fini(struct reach *r) { vec_free(&r->all); }

struct reach_entry *reach_find(struct reach *r, const struct stmt *at, const struct tensor *t,
                               const struct expr *base)
{
    const struct expr *moving = NULL;
    int64_t constant = 0;
    if (!at || !split_base(r->ir, base, &moving, &constant)) return NULL;
    reach_scan(r, at);
    for (size_t i = 0; i < r->all.n; i++)
        if (r->all.p[i].tensor == t && r->all.p[i].moving == moving) return &r->all.p[i];
    return NULL;
}

/* How many elements before `first` and from `first` on may be read. */
static void reach_of(struct reach *r, const struct stmt *at, const struct tensor *t,
                     const struct expr *base, int64_t first, int64_t *before, int64_t *after)
{
    const struct expr *moving = NULL;
    int64_t constant = 0, n = 0, lo = INT64_MAX, hi = INT64_MIN, none = 1;
    if (!split_base(r->ir, base, &moving, &constant)) return;
    if (expr_is_int(moving, &none) && t->rank == 1 && expr_is_int(t->extent[0], &n)) {
        lo = 0;
        hi = n;
    } else {
        const struct reach_entry *x = reach_find(r, at, t, base);
        if (x) lo = x->lo, hi = x->hi;
    }
    if (lo > constant + first || hi < constant + first + *after) return;
    *before = constant + first - lo;
    *after = hi - constant - first;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static int64_t vectors(int64_t n, int width) { return (n + width - 1) / width; }

/* Where the first vector starts, from `first`: on the grid of vectors that begins where the reach
 * does, if that takes no more of them. -1: no whole vector may be read. */
static int64_t start_of(int span, int width, int64_t before, int64_t after, int64_t *start)
{
    int64_t back = before % width;
    *start = 0;
    if (span >= width) {
        if (vectors(back + span, width) <= vectors(span, width)) *start = -back;
        return 0;
    }
    if (back + span <= width && width - back <= after)
        *start = -back;
    else if (width > after)
        *start = after - width;
    return *start >= -before ? 0 : -1;
}

void window_lanes(const struct access_info *a, int lanes, struct window *w)
{
    int64_t last = a->stride * (lanes - 1);
    bool steps = a->kind == ACCESS_STRIDED;
    *w = (struct window){.first = steps && last < 0 ? last : 0, .span = a->span};
    for (int i = 0; i < lanes; i++)
        w->sel[i] = steps ? (int)(a->stride * i - w->first) : a->perm[i];
}

enum window_fit window_plan(struct reach *r, const struct stmt *at, const struct tensor *t,
                            const struct access_info *a, int lanes, int width, struct window *w)
{
    window_lanes(a, lanes, w);
    if (w->span > WINDOW_VECTORS * width) return WINDOW_FAR;
    int64_t before = 0, after = w->span, start = 0;
    reach_of(r, at, t, a->base, w->first, &before, &after);
    if (start_of(w->span, width, before, after, &start) < 0) return WINDOW_SHORT;
    int64_t n = vectors(w->span - start, width);
    for (int64_t k = 0; k < n; k++) {
        int64_t from = start + k * width, used = 0;
        if (from + width > after) from = after - width; /* the last one ends where the reach does */
        for (int i = 0; i < lanes; i++) {
            if ((w->sel[i] - start) / width != k) continue;
            w->vector[i] = (uint8_t)w->n;
            w->lane[i] = (uint8_t)(w->sel[i] - from);
            used++;
        }
        if (used) w->start[w->n++] = w->first + from;
    }
    return WINDOW_WHOLE;
}
