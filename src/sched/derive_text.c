/* derive_text: the roles of a derivation written as a .sched text.
 *
 *     knob V in 1 2 4                      vectors a tile, M rows a tile; tails;
 *                                          order of the tile loops
 *     split y.n {V*16} {TV} y.n_o y.n_i
 *     reorder y.m_o y.n_o y.m_i y.n_i
 *     compute_at acc y.n_o reg
 *
 * Invariants: names of loops are those of the nest, halves get `_o` and `_i`; knobs of the second
 * and later hosts carry the host's number; every statement can be refused without making another
 * unreadable. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sched/derive.h"

struct writer {
    const struct derive *d;
    struct buf *b;
    char id[8];        /* suffix of this host's knobs */
    bool no_mv, no_vm; /* orders of its tile loops that are left out */
};

static const struct daxis *axis_or_null(const struct dstage *s, int i)
{
    return i >= 0 ? &s->axis[i] : NULL;
}

/* A register tile is worth its limit on rows and vectors only where something is accumulated in
 * it. */
static bool has_tile_guest(const struct derive *d, int host)
{
    for (int i = 0; i < d->n; i++) {
        const struct dstage *g = &d->stage[i];
        if (derive_is_guest(d, i, host) && g->plain && g->uses_vec) return true;
    }
    return false;
}

/* A loop around the tile. */
static bool is_other(const struct dstage *s, int i)
{
    return !s->axis[i].reduce && i != s->vec && i != s->row && s->axis[i].extent > 1;
}

static bool outer_others(const struct dstage *s)
{
    for (int i = 0; i < s->nloop; i++)
        if (is_other(s, i)) return true;
    return false;
}

/* Is there a guest that follows only the vectors (or only the rows)? With that loop outside it is
 * computed once for all that the other loop does. Where guests disagree neither order is left out. */
static bool has_half_guest(const struct derive *d, int host, bool vec)
{
    for (int i = 0; i < d->n; i++) {
        const struct dstage *g = &d->stage[i];
        if (!derive_is_guest(d, i, host)) continue;
        if (vec ? g->uses_vec && !g->uses_row : g->uses_row && !g->uses_vec) return true;
    }
    return false;
}

static void pick_orders(struct writer *w, int host)
{
    bool vec = has_half_guest(w->d, host, true), row = has_half_guest(w->d, host, false);
    w->no_mv = vec && !row;
    w->no_vm = row && !vec;
}

/* The line for the order that knob O chooses: rows outside (mv), or vectors. */
static void write_ordered(struct writer *w, const char *mv, const char *vm)
{
    if (w->no_mv || w->no_vm)
        buf_printf(w->b, "%s\n", w->no_mv ? vm : mv);
    else
        buf_printf(w->b, "if O%s == mv\n  %s\nelse\n  %s\nend\n", w->id, mv, vm);
}

/* ---- knobs ----------------------------------------------------------------------------------- */

static void write_knobs(struct writer *w, const struct dstage *s, int host)
{
    const struct daxis *v = axis_or_null(s, s->vec), *r = axis_or_null(s, s->row);
    struct buf *b = w->b;
    /* Stages that are never apart: no tile may reach into the next block, which is not there yet.
     * Blocks of a dynamic axis are powers of two. */
    bool fits_v = s->together && v->dynamic && v->blocks,
         fits_m = s->together && r && r->dynamic && r->blocks;
    /* all of a short row at once is read once; of sums, which without other rows in the tile leave
     * registers for many vectors */
    bool sums = has_tile_guest(w->d, host);
    int64_t all = v->dynamic ? 0 : (v->extent + s->lanes - 1) / s->lanes;
    char whole[16] = "";
    if (all > 4 && all <= (sums ? w->d->vregs - 8 : 8) && !(sums && r))
        snprintf(whole, sizeof whole, " %d", (int)all);
    else if (sums && !r && all > 8 && !fits_v)
        snprintf(whole, sizeof whole, " 8");
    buf_printf(b, "knob V%s in 1 2 %s4%s where (V%s - 1)*%" PRId64 " < %" PRId64 "\n", w->id,
               fits_v ? "" : "3 ", whole, w->id, s->lanes, v->extent);
    buf_printf(b, "knob TV%s in mask peel guard\n", w->id);
    if (!r) return;
    /* rows of a tile without sums along its vectors say little but in what order memory is walked */
    buf_printf(b, "knob F%s in 1 2 3 4 %s where F%s <= %" PRId64 "\n", w->id,
               sums ? "5 6 7 8 10 12 14 28" : "8", w->id, r->extent);
    bool races = s->parallel && !outer_others(s);
    buf_printf(b, "knob TM%s in %speel guard\n", w->id, r->dynamic || races ? "" : "shift ");
    if (!w->no_mv && !w->no_vm) buf_printf(b, "knob O%s in mv vm\n", w->id);
    /* rows, held to what the registers leave */
    char most_rows[64];
    snprintf(most_rows, sizeof most_rows, r->blocks ? "min(F%s, E%d)" : "F%s", w->id, s->run);
    const char *name = fits_m ? "L" : "M"; /* L: at most so many */
    if (has_tile_guest(w->d, host))
        buf_printf(b, "let %s%s = max(1, min(%s, (%" PRId64 " - V%s)/V%s))\n", name, w->id,
                   most_rows, w->d->vregs - 1, w->id, w->id);
    else
        buf_printf(b, "let %s%s = min(%s, 32/V%s)\n", name, w->id, most_rows, w->id);
    if (!fits_m) return;
    buf_printf(b, "let M%s = ", w->id);
    for (int m = 16; m > 1; m /= 2) buf_printf(b, "select(L%s >= %d, %d, ", w->id, m, m);
    buf_puts(b, "1))))\n");
}

/*     knob K in 16 64
 *     split y.m {K} guard y.m_o y.m_i
 *     compute_at sum y.m_o scratch        the block of sums that a turn of m_o adds up */
static void write_turns(struct writer *w, const struct dstage *s, int index)
{
    const struct daxis *k = axis_or_null(s, s->last_reduce);
    if (derive_in_turns(w->d, index))
        buf_printf(w->b, "knob K%s in 16 64\nsplit %s {K%s} guard %s_o %s_i\n", w->id, k->name,
                   w->id, k->name, k->name);
}

/* A guest that follows only the rows of its host's tile has an element for each of them. */
static const char *most_sides(const struct writer *w, const struct dstage *s, char most[16])
{
    if (s->role != ROLE_GUEST || !s->uses_row || s->uses_vec) return NULL;
    snprintf(most, 16, "M%s", w->id);
    return most;
}

static void write_unroll_knob(struct writer *w, const struct dstage *s, int index)
{
    const struct daxis *k = axis_or_null(s, s->last_reduce);
    char most[16];
    if (s->lane >= 0) derive_lane_knobs(w->d, s, index, most_sides(w, s, most), w->b);
    if (!k || !w->d->unrolls || !s->detail || (s->lane >= 0 && !s->either)) return;
    if (derive_in_turns(w->d, index)) return;
    buf_printf(w->b, "knob U%d in 1 2 3 4 8 where U%d == 1 or U%d <= %" PRId64 "\n", index, index,
               index, k->extent);
}

/* `split a {factor}`, exact where that divides, into a_o and a_i. */
static void write_even_split(struct buf *b, const struct daxis *a, const char *factor)
{
    if (!a->dynamic)
        buf_printf(b, "  if %" PRId64 " %% %s == 0\n    split %s {%s} exact %s_o %s_i\n  else\n  ",
                   a->extent, factor, a->name, factor, a->name, a->name);
    buf_printf(b, "  split %s {%s} peel %s_o %s_i\n", a->name, factor, a->name, a->name);
    if (!a->dynamic) buf_puts(b, "  end\n");
}

static void write_unroll(struct writer *w, const struct dstage *s, int index)
{
    const struct daxis *k = axis_or_null(s, s->last_reduce);
    char factor[16];
    if (!k || !w->d->unrolls || !s->detail || derive_in_turns(w->d, index)) return;
    snprintf(factor, sizeof factor, "U%d", index);
    buf_printf(w->b, "if %s > 1\n", factor);
    write_even_split(w->b, k, factor);
    buf_printf(w->b, "  unroll %s_i\nend\n", k->name);
}

/* ---- the host's tile ------------------------------------------------------------------------- */

static void write_split(struct writer *w, const struct dstage *s, const struct daxis *a,
                        const char *factor, const char *tail)
{
    struct buf *b = w->b;
    char extent[32];
    if (a->dynamic && !a->blocks) {
        buf_printf(b, "split %s {%s} {%s} %s_o %s_i\n", a->name, factor, tail, a->name, a->name);
        return;
    }
    if (a->blocks)
        snprintf(extent, sizeof extent, "E%d", s->run);
    else
        snprintf(extent, sizeof extent, "%" PRId64, a->extent);
    buf_puts(b, "if ");
    if (a->dynamic) buf_printf(b, "B%d > 0 and ", s->run);
    buf_printf(b, "%s %% (%s) == 0\n  split %s {%s} exact %s_o %s_i\nelse\n", extent, factor,
               a->name, factor, a->name, a->name);
    buf_printf(b, "  if %s > %s\n    split %s {%s} mask %s_o %s_i\n", factor, extent, a->name,
               factor, a->name, a->name);
    buf_printf(b, "  else\n    split %s {%s} {%s} %s_o %s_i\n  end\nend\n", a->name, factor, tail,
               a->name, a->name);
}

static void write_reorder(struct buf *b, const struct dstage *s, const char *first,
                          const char *second)
{
    const struct daxis *v = axis_or_null(s, s->vec), *r = axis_or_null(s, s->row);
    buf_puts(b, "reorder");
    for (int i = 0; i < s->nloop; i++)
        if (is_other(s, i) && !s->axis[i].leads) buf_printf(b, " %s", s->axis[i].name);
    if (first) buf_printf(b, " %s_o", first);
    buf_printf(b, " %s_o", second);
    for (int i = 0; i < s->nloop; i++)
        if (!s->axis[i].reduce && i != s->vec && i != s->row && s->axis[i].extent <= 1)
            buf_printf(b, " %s", s->axis[i].name);
    for (int i = 0; i < s->nloop; i++)
        if (s->axis[i].reduce) buf_printf(b, " %s", s->axis[i].name);
    if (r) buf_printf(b, " %s_i", r->name);
    buf_printf(b, " %s_i", v->name);
}

static void write_tile(struct writer *w, const struct dstage *s)
{
    const struct daxis *v = axis_or_null(s, s->vec), *r = axis_or_null(s, s->row);
    char factor[48], tail[16];
    struct buf f;
    buf_init(&f, sizeof factor);
    buf_printf(&f, "V%s*%" PRId64, w->id, s->lanes);
    strncpy(factor, f.p, sizeof factor - 1);
    factor[sizeof factor - 1] = 0;
    buf_reset(&f);
    buf_printf(&f, "TV%s", w->id);
    strncpy(tail, f.p, sizeof tail - 1);
    tail[sizeof tail - 1] = 0;
    write_split(w, s, v, factor, tail);
    if (r) {
        buf_reset(&f);
        buf_printf(&f, "M%s", w->id);
        strncpy(factor, f.p, sizeof factor - 1);
        buf_reset(&f);
        buf_printf(&f, "TM%s", w->id);
        strncpy(tail, f.p, sizeof tail - 1);
        write_split(w, s, r, factor, tail);
        struct buf mv, vm;
        buf_init(&mv, 4096);
        buf_init(&vm, 4096);
        write_reorder(&mv, s, r->name, v->name);
        write_reorder(&vm, s, v->name, r->name);
        write_ordered(w, mv.p, vm.p);
        buf_fini(&mv);
        buf_fini(&vm);
    } else {
        write_reorder(w->b, s, NULL, v->name);
        buf_putc(w->b, '\n');
    }
    buf_fini(&f);
}

static void write_inside(struct writer *w, const struct dstage *s)
{
    const struct daxis *v = axis_or_null(s, s->vec), *r = axis_or_null(s, s->row);
    if (!s->detail) return;
    buf_printf(w->b, "split %s_i %" PRId64 " exact %s_v %s_l\nvectorize %s_l\n", v->name, s->lanes,
               v->name, v->name, v->name);
    if (!w->d->unrolls) return;
    buf_printf(w->b, "unroll %s_v\n", v->name);
    if (r) buf_printf(w->b, "unroll %s_i\n", r->name);
}

/* ---- guests and copies ----------------------------------------------------------------------- */

/* `VERB` at the innermost (or, if !inner, outermost) of the two tile loops, whichever the order
 * makes that. */
static void write_at(struct writer *w, const struct dstage *host, const char *verb,
                     const char *rest, bool inner)
{
    const struct daxis *v = axis_or_null(host, host->vec), *r = axis_or_null(host, host->row);
    if (!r) {
        buf_printf(w->b, "%s %s_o%s\n", verb, v->name, rest);
        return;
    }
    struct buf mv, vm;
    buf_init(&mv, 400);
    buf_init(&vm, 400);
    buf_printf(&mv, "%s %s_o%s", verb, (inner ? v : r)->name, rest);
    buf_printf(&vm, "%s %s_o%s", verb, (inner ? r : v)->name, rest);
    write_ordered(w, mv.p, vm.p);
    buf_fini(&mv);
    buf_fini(&vm);
}

static void write_guest_loops(struct writer *w, const struct dstage *g, const struct dstage *host,
                              bool reg)
{
    struct buf *b = w->b;
    const char *vec = NULL, *row = NULL;
    for (int i = 0; i < g->nloop; i++) {
        const struct daxis *a = &g->axis[i];
        if (a->reduce) continue;
        if (g->plain ? a->host == host->vec : i == g->vec)
            vec = a->name;
        else if (g->plain && host->row >= 0 && a->host == host->row)
            row = a->name;
    }
    if (!g->detail || (!vec && !row)) return;
    if (g->nloop > 1) {
        buf_puts(b, "reorder");
        for (int i = 0; i < g->nloop && !reg; i++)
            if (!g->axis[i].reduce && g->axis[i].name != vec && g->axis[i].name != row)
                buf_printf(b, " %s", g->axis[i].name);
        for (int i = 0; i < g->nloop; i++)
            if (g->axis[i].reduce) buf_printf(b, " %s", g->axis[i].name);
        for (int i = 0; i < g->nloop && reg; i++)
            if (!g->axis[i].reduce && g->axis[i].name != vec && g->axis[i].name != row)
                buf_printf(b, " %s", g->axis[i].name);
        if (row) buf_printf(b, " %s", row);
        if (vec) buf_printf(b, " %s", vec);
        buf_putc(b, '\n');
    }
    if (vec) {
        int64_t lanes = g->plain ? host->lanes : g->lanes;
        buf_printf(b, "split %s %" PRId64 " %s %s_v %s_l\nvectorize %s_l\n", vec, lanes,
                   g->plain ? "exact" : "mask", vec, vec, vec);
        if (reg) buf_printf(b, "unroll %s_v\n", vec);
    }
    if (row && reg) buf_printf(b, "unroll %s\n", row);
}

static void write_place(struct writer *w, const struct dstage *g, const struct dstage *host,
                        const char *scope)
{
    struct buf verb;
    buf_init(&verb, 200);
    buf_printf(&verb, "compute_at %s", g->name);
    if (derive_follows_reduction(g, host))
        buf_printf(w->b, "%s %s_o%s\n", verb.p, host->axis[host->last_reduce].name, scope);
    else if (!g->uses_vec && !g->uses_row && g->place >= 0)
        buf_printf(w->b, "%s %s%s\n", verb.p, host->axis[g->place].name, scope);
    else if (g->uses_vec && g->uses_row)
        write_at(w, host, verb.p, scope, true);
    else
        buf_printf(w->b, "%s %s_o%s\n", verb.p,
                   host->axis[g->uses_row ? host->row : host->vec].name, scope);
    buf_fini(&verb);
}

static void write_guest(struct writer *w, const struct dstage *g, const struct dstage *host,
                        int index)
{
    bool reg = g->plain && g->reg && w->d->unrolls && g->detail;
    bool lanes = g->lane >= 0, rows = !lanes || g->either;
    char most[16];
    if (lanes && rows) buf_printf(w->b, "if R%d == lanes\n", index);
    if (lanes) { /* in registers one element at a time; vectors along vec could not read it there */
        write_place(w, g, host, reg && !g->uses_vec ? " reg" : " scratch");
        derive_lane_loops(w->d, g, index, most_sides(w, g, most), reg && !g->uses_vec, w->b);
    }
    if (lanes && rows) buf_puts(w->b, "else\n");
    if (rows) {
        write_place(w, g, host, reg ? " reg" : " scratch");
        write_guest_loops(w, g, host, reg);
        write_unroll(w, g, index);
    }
    if (lanes && rows) buf_puts(w->b, "end\n");
}

/* A turned copy has the dimension that moves along vec innermost; it is made once for all that the
 * tile loops inside do. */
static void write_turned(struct writer *w, const struct dcopy *c, const struct dstage *host)
{
    const struct tensor *t = c->t;
    const struct daxis *v = axis_or_null(host, host->vec), *outside = NULL;
    struct buf order;
    buf_init(&order, 200);
    buf_printf(&order, "%s order", c->constant ? "" : " scratch");
    for (int i = 0; i < t->rank; i++)
        if (i != c->turned) buf_printf(&order, " %d", i);
    buf_printf(&order, " %d", c->turned);
    const char *verb = c->constant ? "pack" : "cache";
    if (host->row < 0) {
        buf_printf(w->b, "%s %s %s_o%s\n", verb, t->name, v->name, order.p);
        buf_fini(&order);
        return;
    }
    for (int i = 0; i < host->nloop; i++)
        if (is_other(host, i)) outside = &host->axis[i];
    struct buf mv, vm;
    buf_init(&mv, 400);
    buf_init(&vm, 400);
    buf_printf(&mv, "%s %s %s%s", verb, t->name, outside ? outside->name : ".", order.p);
    buf_printf(&vm, "%s %s %s_o%s", verb, t->name, v->name, order.p);
    write_ordered(w, mv.p, vm.p);
    buf_fini(&mv);
    buf_fini(&vm);
    buf_fini(&order);
}

/* Vectors along what is innermost in the copy. That of a turned copy is far apart in the tensor: it may as well
 * be written an element at a time, read in the order of the tensor.
 *
 *     reorder k.cache.1 k.cache.2
 *     split k.cache.2 8 guard k.cache.2o k.cache.2i
 *     unroll k.cache.2i */
static void write_copy_loops(struct writer *w, const struct dcopy *c, int index)
{
    const char *name = c->t->name;
    int64_t lanes = i64_max(2, w->d->vector_bits / (8 * dtype_bytes((enum dtype)c->t->type.dtype)));
    int last = c->t->rank - 1, along = c->turned >= 0 ? c->turned : last;
    bool either = along != last && w->d->unrolls;
    if (either) {
        buf_printf(w->b, "knob D%d in vectors elements\nif D%d == elements\n", index, index);
        buf_printf(w->b, "  reorder %s.cache.%d %s.cache.%d\n", name, along, name, last);
        buf_printf(w->b, "  split %s.cache.%d 8 guard %s.cache.%do %s.cache.%di\n", name, last,
                   name, last, name, last);
        buf_printf(w->b, "  unroll %s.cache.%di\nelse\n", name, last);
    }
    buf_printf(w->b,
               "  split %s.cache.%d %" PRId64 " mask %s.cache.%do %s.cache.%di\n"
               "  vectorize %s.cache.%di\n",
               name, along, lanes, name, along, name, along, name, along);
    if (either) buf_puts(w->b, "end\n");
}

static void write_copy(struct writer *w, const struct dcopy *c, const struct dstage *host,
                       int index)
{
    const struct tensor *t = c->t;
    struct buf verb;
    buf_init(&verb, 200);
    buf_printf(w->b, "knob C%d in %s\nif C%d == %s\n", index,
               c->constant || c->turned >= 0 ? "copy none" : "none copy", index, "copy");
    buf_printf(&verb, "%s %s", c->constant ? "pack" : "cache", t->name);
    if (c->turned >= 0)
        write_turned(w, c, host);
    else
        write_at(w, host, verb.p, c->constant ? "" : " scratch", c->constant);
    if (!c->constant && host->detail) write_copy_loops(w, c, index);
    buf_puts(w->b, "end\n");
    buf_fini(&verb);
}

/* ---- all of it ------------------------------------------------------------------------------- */

struct window {
    const struct dstage *s;
    const struct var *v;
    bool any;
};

static void look_window(const struct expr *e, void *ctx)
{
    struct window *w = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    for (int d = 0; d < e->u.tensor->rank; d++) {
        const struct expr *at = e->a[expr_load_first(e) + d];
        for (int i = 0; i < w->s->nloop && expr_uses_var(at, w->v); i++)
            w->any |= w->s->axis[i].reduce && expr_uses_var(at, w->s->axis[i].var);
    }
}

static void look_window_slot(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, look_window, ctx);
}

/* Do neighbours along the host's axis read the same elements, as windows do? */
static bool windows_along(const struct derive *d, int host, int axis)
{
    struct window w = {0};
    for (int i = 0; i < d->n; i++) {
        const struct dstage *s = &d->stage[i];
        bool guest = derive_is_guest(d, i, host);
        if (i != host && !guest) continue;
        w.s = s;
        for (int k = 0; k < s->nloop; k++) {
            if (s->axis[k].reduce || (guest ? s->axis[k].host : k) != axis) continue;
            w.v = s->axis[k].var;
            stmt_exprs(s->leaf, look_window_slot, &w);
        }
    }
    return w.any;
}

/* Windows that overlap along the outermost loop read again what a whole turn of the loops inside has put
 * out of the cache: bands of the innermost of these, each with all turns of the outermost. Columns of bands
 * are a tile wide, and so small that windows find even in L1 what they share.
 *
 *     knob Z in 0 4 8 16
 *     knob X in bands columns
 *     split y.h {Z} peel y.h_o y.h_i
 *     if X == columns
 *       reorder y.h_o y.w_o y.d y.h_i       a tile of columns, Z lines of each, of all planes
 *     else
 *       reorder y.h_o y.d y.h_i             planes d of a volume, Z lines of each */
int derive_band(const struct derive *d, int host)
{
    const struct dstage *s = &d->stage[host];
    int outer = -1, inner = -1;
    for (int i = s->nloop - 1; i >= 0; i--) {
        if (!is_other(s, i)) continue;
        const struct daxis *a = &s->axis[i];
        if (a->leads || a->dynamic || a->blocks || a->ordered) return -1;
        if (inner < 0) inner = i;
        outer = i;
    }
    for (int i = 0; i < d->n; i++) /* nothing is computed between these loops */
        if (derive_is_guest(d, i, host) && !d->stage[i].uses_vec && !d->stage[i].uses_row)
            return -1;
    for (int i = 0; i < d->ncopy; i++)
        if (d->copy[i].on && d->copy[i].host == host && d->copy[i].turned >= 0) return -1;
    bool worth = s->tile && s->run < 0 && d->spills && outer != inner && s->axis[inner].extent > 4;
    return d->bands && worth && windows_along(d, host, outer) ? inner : -1;
}

static void write_band_order(const struct dstage *s, int inner, const struct daxis *column,
                             struct buf *b)
{
    buf_printf(b, "reorder %s_o", s->axis[inner].name);
    if (column) buf_printf(b, " %s_o", column->name);
    for (int i = 0; i < inner; i++)
        if (is_other(s, i)) buf_printf(b, " %s", s->axis[i].name);
    buf_printf(b, " %s_i", s->axis[inner].name);
}

static void write_band(struct writer *w, int host)
{
    const struct dstage *s = &w->d->stage[host];
    const struct daxis *v = axis_or_null(s, s->vec), *r = axis_or_null(s, s->row);
    int inner = derive_band(w->d, host);
    char factor[40];
    if (inner < 0) return;
    snprintf(factor, sizeof factor, "Z%s", w->id);
    buf_printf(w->b,
               "knob %s in 0 4 8 16 where %s < %" PRId64 "\nknob X%s in bands columns\nif %s > 0\n",
               factor, factor, s->axis[inner].extent, w->id, factor);
    write_even_split(w->b, &s->axis[inner], factor);
    struct buf bands, mv, vm;
    buf_init(&bands, 4096);
    buf_init(&mv, 4096);
    buf_init(&vm, 4096);
    write_band_order(s, inner, NULL, &bands);
    write_band_order(s, inner, v, &vm);
    if (r) write_band_order(s, inner, r, &mv);
    buf_printf(w->b, "if X%s == bands\n  %s\nelse\n", w->id, bands.p);
    if (r)
        write_ordered(w, mv.p, vm.p);
    else
        buf_printf(w->b, "  %s\n", vm.p);
    buf_puts(w->b, "end\nend\n");
    buf_fini(&bands);
    buf_fini(&mv);
    buf_fini(&vm);
}

/* The outermost loop: one that leads, the blocks, or one of the stage alone. */
static void write_parallel(struct writer *w, int host)
{
    const struct dstage *s = &w->d->stage[host];
    const char *first = NULL;
    if (!s->parallel) return;
    if (s->run >= 0 && s->nlead) {
        buf_printf(w->b, "parallel %s\n", s->lead[0]->name);
        return;
    }
    if (s->run >= 0) {
        derive_block_condition(s, w->b);
        buf_printf(w->b, "  parallel %s_b\nelse\n", s->axis[s->blocked].whole);
    }
    for (int i = s->nloop - 1; i >= 0; i--)
        if (is_other(s, i)) first = s->axis[i].name;
    bool halves = !s->tile && s->lane >= 0 && s->vec == 0; /* elements side by side */
    if (!s->tile)
        first = s->nloop && !s->axis[0].reduce && s->axis[0].extent > 1 ? s->axis[0].name : NULL;
    int inner = derive_band(w->d, host);
    if (inner >= 0)
        buf_printf(w->b, "if Z%s > 0\n  parallel %s_o\nelse\n  parallel %s\nend\n", w->id,
                   s->axis[inner].name, first);
    else if (first)
        buf_printf(w->b, "parallel %s%s\n", first, halves ? "_o" : "");
    else if (s->tile)
        write_at(w, s, "parallel", "", false);
    if (s->run >= 0) buf_puts(w->b, "end\n");
}

/* A recurrence along a row waits for itself: several rows side by side fill the time.
 *
 *     knob H in 1 2 4 8
 *     split y.m {H} peel y.m_o y.m_i
 *     reorder y.m_o y.n y.m_i
 *     unroll y.m_i */
static void write_side_by_side(struct writer *w, const struct dstage *s)
{
    const struct daxis *ordered = NULL, *row = NULL;
    for (int i = 0; i < s->nloop && !ordered; i++) {
        if (s->axis[i].ordered)
            ordered = &s->axis[i];
        else if (!s->axis[i].reduce && !s->axis[i].leads)
            row = &s->axis[i];
    }
    if (!ordered || !row || row->extent < 2 || row->blocks || !w->d->unrolls || !s->detail) return;
    char factor[40];
    snprintf(factor, sizeof factor, "H%s", w->id);
    buf_printf(w->b, "knob %s in 1 2 4 8 where %s <= %" PRId64 "\nif %s > 1\n", factor, factor,
               row->extent, factor);
    write_even_split(w->b, row, factor);
    buf_printf(w->b, "  reorder %s_o %s %s_i\n  unroll %s_i\nend\n", row->name, ordered->name,
               row->name, row->name);
}

static void write_guest_knobs(struct writer *w, int host)
{
    for (int i = 0; i < w->d->n; i++)
        if (derive_is_guest(w->d, i, host)) write_unroll_knob(w, &w->d->stage[i], i);
}

static void write_guests(struct writer *w, int host)
{
    for (int i = w->d->n - 1; i >= 0; i--)
        if (derive_is_guest(w->d, i, host)) write_guest(w, &w->d->stage[i], &w->d->stage[host], i);
}

static void write_host(struct writer *w, int index)
{
    const struct derive *d = w->d;
    const struct dstage *s = &d->stage[index];
    struct buf *b = w->b;
    buf_printf(b, "\n# stage %s\n", s->name);
    for (int i = 0; i < d->n; i++)
        if (d->stage[i].made && d->stage[i].host == index)
            buf_printf(b, "accumulate %s %s\n", s->name, d->stage[i].name);
    if (s->run >= 0) derive_block_split(s, b);
    if (!s->tile) {
        if (s->lane >= 0) {
            derive_lane_knobs(d, s, index, NULL, b);
            derive_lane_loops(d, s, index, NULL, false, b);
        }
        write_side_by_side(w, s);
        write_guest_knobs(w, index);
        write_turns(w, s, index);
        write_guests(w, index);
        write_parallel(w, index);
        return;
    }
    pick_orders(w, index);
    write_knobs(w, s, index);
    write_unroll_knob(w, s, index);
    write_guest_knobs(w, index);
    write_tile(w, s);
    write_turns(w, s, index);
    write_guests(w, index);
    write_unroll(w, s, index);
    write_inside(w, s);
    for (int i = 0; i < d->ncopy; i++)
        if (d->copy[i].on && d->copy[i].host == index) write_copy(w, &d->copy[i], s, i);
    write_band(w, index);
    write_parallel(w, index);
}

void derive_text(const struct derive *d, const char *algorithm, const char *first, struct buf *b)
{
    struct writer w = {.d = d, .b = b};
    int hosts = 0;
    buf_printf(
        b, "# derived from the operator's own structure\nspace derived for any\nalgorithm %s\n%s",
        algorithm, first);
    for (int i = 0; i < d->n; i++)
        if (d->stage[i].role == ROLE_CONST) buf_printf(b, "pack %s\n", d->stage[i].name);
    for (int i = 0; i < d->n; i++)
        if (d->stage[i].role == ROLE_INLINE) buf_printf(b, "inline %s\n", d->stage[i].name);
    for (int i = 0; i < d->real; i++)
        if (d->stage[i].run == i) derive_block_knob(&d->stage[i], b);
    for (int i = 0; i < d->n; i++) {
        if (d->stage[i].role != ROLE_HOST) continue;
        struct buf id;
        buf_init(&id, sizeof w.id);
        if (hosts++) buf_printf(&id, "%d", i);
        memset(w.id, 0, sizeof w.id);
        memcpy(w.id, id.p, id.n);
        buf_fini(&id);
        write_host(&w, i);
    }
    buf_puts(b, "\nknob MS in off on\nknob AD in plain hoist\nknob LS in off on\n"
                "knob OR in source list\n");
    if (d->far) buf_puts(b, "knob PF in none page turn\n");
    if (d->past) buf_puts(b, "knob ST in cached stream\n");
    if (d->deep) buf_puts(b, "knob PH in one two overlap\n");
    buf_printf(b, "codegen misched={MS} addr={AD} lsr={LS} order={OR}%s%s%s\n",
               d->far ? " prefetch={PF}" : "", d->past ? " stores={ST}" : "",
               d->deep ? " phases={PH}" : "");
}
