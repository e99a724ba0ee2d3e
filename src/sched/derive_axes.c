/* derive_axes: the loops of a stage as axes, and which of them vectors run along.
 *
 *     y[m, n] += x[m, k] * w[k, n]     vec n, row m: contiguous in y and w
 *     top[m] max= x[m, n]              lane n: along m every read would be a gather
 *     dot[i, j] += q[i, d] * k[j, d]   vec j, row i, with k copied as k[d, j]; or lane d
 *
 * Invariants: `lane` is a reduce axis along which some read is contiguous and none jumps, set only
 * where reads jump along `vec` (or there is no pure axis); without such an axis it is -1. */
#include <inttypes.h>
#include <stdio.h>

#include "sched/derive.h"

static bool is_const_loop(const struct stmt *loop)
{
    int64_t n;
    return loop_extent(loop, &n);
}

static int64_t extent_or(const struct stmt *loop, int64_t dynamic)
{
    int64_t n;
    return loop_extent(loop, &n) ? n : dynamic;
}

/* Which dimension of the leaf's target the loop alone subscripts, or -1. */
int derive_dim(const struct dstage *s, const struct var *v)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(s->leaf, target);
    for (int d = target[0]->rank - 1; d >= 0; d--)
        if (expr_uses_var(leaf_idx(s->leaf)[d], v)) return d;
    return -1;
}

/* The dimension that is contiguous in memory. */
static int contiguous_dim(const struct tensor *t)
{
    return t->nlayout ? t->layout[t->nlayout - 1].dim : t->rank - 1;
}

/* ---- reductions along lanes ------------------------------------------------------------------ */

/* How far a step along v moves the read: not at all, to the next element, over a few elements, which
 * lanes can still be read from whole registers, or somewhere else. */
enum stride { STRIDE_NONE, STRIDE_UNIT, STRIDE_NEAR, STRIDE_JUMP };
enum { NEAR_MOST = 4 };

static enum stride stride_of(const struct expr *load, const struct var *v)
{
    const struct tensor *t = load->u.tensor;
    int inner = contiguous_dim(t);
    int64_t step = 0, below = 1, extent = 0; /* elements; of the dimensions inside */
    for (int d = t->rank - 1; d >= 0; d--) {
        const struct expr *at = load->a[expr_load_first(load) + d];
        struct linear l;
        if (expr_uses_var(at, v)) {
            if ((t->nlayout && d != inner) || below == 0 || !linear_of(at, &l)) return STRIDE_JUMP;
            for (int i = 0; i < l.n; i++) {
                if (!expr_uses_var(l.atom[i], v)) continue;
                if (l.atom[i]->op != OP_VAR || l.coef[i] > NEAR_MOST || l.coef[i] < -NEAR_MOST)
                    return STRIDE_JUMP;
                step += l.coef[i] * (t->nlayout ? 1 : below);
            }
        }
        if (!expr_is_int(t->extent[d], &extent) || extent > NEAR_MOST) extent = 0;
        below *= extent; /* 0: too far to be near */
    }
    if (step == 0) return STRIDE_NONE;
    return step == 1 ? STRIDE_UNIT : step > 1 && step <= NEAR_MOST ? STRIDE_NEAR : STRIDE_JUMP;
}

struct strides {
    const struct var *v, *lane;
    int unit, near, jump;
    bool reused; /* something read along the lane does not move along v */
};

static void count_stride(const struct expr *e, void *ctx)
{
    struct strides *s = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    enum stride stride = stride_of(e, s->v);
    s->unit += stride == STRIDE_UNIT;
    s->near += stride == STRIDE_NEAR;
    s->jump += stride == STRIDE_JUMP;
    s->reused |= stride == STRIDE_NONE && s->lane && stride_of(e, s->lane) == STRIDE_UNIT;
}

static struct strides strides_along(const struct dstage *s, const struct var *v,
                                    const struct var *lane)
{
    struct strides n = {.v = v, .lane = lane};
    expr_walk(s->leaf->u.update.value[0], count_stride, &n);
    return n;
}

static void find_temp(const struct expr *e, void *ctx)
{
    bool *temp = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC) *temp |= e->u.tensor->scope == SCOPE_TEMP;
}

/* Pairs keep lanes or have a register tile, for which what they read is computed: what several rows
 * share is better read once, and a dynamic row of a temporary is never there at once. */
static void pick_pairs(struct dstage *s)
{
    bool temp = false;
    expr_walk(s->leaf->u.update.value[0], find_temp, &temp);
    if (s->either || (temp && s->axis[s->lane].dynamic))
        s->lane = -1;
    else
        s->tile = false;
    s->either = false;
}

/* Lanes along a reduce axis: the reads are then contiguous, and the lanes are folded at the end. */
static void pick_lane(const struct derive *d, struct dstage *s)
{
    const struct stmt *leaf = s->leaf;
    s->lane = -1;
    s->either = false;
    if (!s->lane_ok || leaf->kind != ST_UPDATE) return;
    enum reduce op = leaf->u.update.op;
    bool pairs = op == RED_ARGMAX || op == RED_ARGMIN;
    if (op != RED_SUM && op != RED_MAX && op != RED_MIN && !pairs) return;
    const struct var *vec = s->vec >= 0 ? s->axis[s->vec].var : NULL;
    struct strides across = {0};
    if (vec) across = strides_along(s, vec, NULL);
    if (vec && across.jump + across.near == 0) return;
    int most = 0;
    for (int i = 0; i < s->nloop; i++) {
        const struct daxis *a = &s->axis[i];
        if (!a->reduce || a->ordered || a->extent < 4) continue;
        struct strides n = strides_along(s, a->var, NULL);
        if (n.jump || n.unit < most || n.unit == 0) continue;
        most = n.unit;
        s->lane = i;
    }
    if (s->lane < 0) return;
    int64_t extent = s->axis[s->lane].extent;
    s->lane_width = i64_max(2, d->vector_bits / s->bits);
    while (s->lane_width > 2 && s->lane_width >= 2 * extent) s->lane_width /= 2;
    s->reused = vec && strides_along(s, vec, s->axis[s->lane].var).reused;
    s->either = vec && (s->reused || extent < s->lane_width);
    if (pairs) pick_pairs(s);
}

/* The dimension of the tensor that moves along vec, where the read runs along the lane: with it
 * innermost, a copy can be read in vectors along vec. -1: none. */
int derive_turned(const struct dstage *s, const struct expr *load)
{
    const struct tensor *t = load->u.tensor;
    int turned = -1;
    if (s->lane < 0 || s->vec < 0) return -1;
    if (stride_of(load, s->axis[s->lane].var) != STRIDE_UNIT) return -1;
    for (int d = 0; d < t->rank; d++) {
        if (!expr_uses_var(load->a[expr_load_first(load) + d], s->axis[s->vec].var)) continue;
        if (turned >= 0) return -1;
        turned = d;
    }
    return turned == contiguous_dim(t) ? -1 : turned;
}

/* ---- axes ------------------------------------------------------------------------------------ */

/* Vectors along the contiguous axis unless it is tiny and another is not; rows along the next
 * largest from inside. */
void derive_axes(const struct derive *d, struct dstage *s)
{
    struct stmt *own[48];
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int n = own_loops(s->leaf, own, (int)QN_COUNT(own));
    leaf_targets(s->leaf, target);
    int inner = contiguous_dim(target[0]);
    bool along = false; /* a recurrence runs along rows: vectors would lie across them */
    s->nloop = s->nreduce = 0;
    s->vec = s->row = s->last_reduce = -1;
    s->bits = 8 * dtype_bytes((enum dtype)target[0]->type.dtype);
    for (int i = 0; i < n && i < DERIVE_LOOPS; i++) {
        struct daxis *a = &s->axis[s->nloop++];
        *a = (struct daxis){.var = own[i]->u.loop.var,
                            .name = own[i]->u.loop.var->name,
                            .extent = extent_or(own[i], d->dynamic),
                            .dim = derive_dim(s, own[i]->u.loop.var),
                            .reduce = own[i]->u.loop.reduce,
                            .ordered = own[i]->u.loop.ordered,
                            .dynamic = !is_const_loop(own[i]),
                            .host = -1};
        for (int k = 0; k < s->nlead && s->run >= 0; k++) a->leads |= s->lead[k] == a->var;
        s->nreduce += a->reduce;
        if (a->reduce && a->extent > 1) s->last_reduce = s->nloop - 1;
        if (!a->reduce && !a->ordered && !a->leads && a->dim == inner) s->vec = s->nloop - 1;
        along |= a->ordered && a->dim == inner;
    }
    for (int i = 0; i < s->nloop && !along; i++) {
        struct daxis *a = &s->axis[i];
        bool better =
            s->vec < 0 || (s->axis[s->vec].extent < 4 && a->extent > 2 * s->axis[s->vec].extent);
        if (!a->reduce && !a->ordered && !a->leads && a->extent > 1 && better) s->vec = i;
    }
    if (s->vec >= 0 && s->axis[s->vec].extent < 2) s->vec = -1;
    for (int i = 0; i < s->nloop; i++) {
        struct daxis *a = &s->axis[i];
        if (!a->reduce && !a->ordered && !a->leads && i != s->vec && a->extent > 1) s->row = i;
    }
    s->lanes = i64_max(2, d->vector_bits / s->bits);
    while (s->vec >= 0 && s->lanes > 2 && s->lanes >= 2 * s->axis[s->vec].extent) s->lanes /= 2;
    s->tile = s->vec >= 0 && s->nloop - s->nreduce > 0;
    pick_lane(d, s);
}

/* ---- text of a reduction along lanes -----------------------------------------------------------
 *
 *     knob R0 in rows lanes          vectors along vec, or along the lane (where both may pay)
 *     knob G0 in 1 2 4 8             elements side by side, W0 vectors of each
 *     split top.n 16 mask top.n_v top.n_l
 *     split top.n_v {X0} peel top.n_o top.n_u
 *     split top.m {min(G0, M3)} guard top.m_o top.m_i      in a tile of M3 rows; else {G0}
 *     reorder top.m_o top.n_o top.m_i top.n_u top.n_l
 *     vectorize top.n_l
 *     unroll top.n_u
 *     unroll top.m_i */

static void name_sides(char *out, size_t n, int index, const char *most)
{
    if (most)
        snprintf(out, n, "min(G%d, %s)", index, most);
    else
        snprintf(out, n, "G%d", index);
}

void derive_lane_knobs(const struct derive *d, const struct dstage *s, int index, const char *most,
                       struct buf *b)
{
    const struct daxis *lane = &s->axis[s->lane];
    if (s->either)
        buf_printf(b, "knob R%d in %s\n", index, s->reused ? "rows lanes" : "lanes rows");
    int64_t all = lane->dynamic ? 0 : (lane->extent + s->lane_width - 1) / s->lane_width;
    bool odd = all == 3 || (all > 4 && all < 8); /* vectors a row, which no power of two names */
    buf_printf(b, "knob W%d in 1 2 4 8", index);
    if (odd) buf_printf(b, " %" PRId64, all);
    buf_printf(b, " where (W%d - 1)*%" PRId64 " < %" PRId64 "\n", index, s->lane_width,
               lane->extent);
    if (s->vec < 0) {
        buf_printf(b, "let X%d = W%d\n", index, index);
        return;
    }
    buf_printf(b, "knob G%d in 1 2 4 8 where G%d <= %" PRId64 "\n", index, index,
               s->axis[s->vec].extent);
    char sides[48];
    name_sides(sides, sizeof sides, index, most);
    buf_printf(b, "let X%d = max(1, min(W%d, %" PRId64 "/%s))\n", index, index,
               i64_max(4, d->vregs - 8), sides);
}

/* reg: the result is a register tile, whose elements all unrolled loops name. */
void derive_lane_loops(const struct derive *d, const struct dstage *s, int index, const char *most,
                       bool reg, struct buf *b)
{
    const struct daxis *lane = &s->axis[s->lane];
    const char *n = lane->name, *side = s->vec >= 0 ? s->axis[s->vec].name : NULL;
    bool exact = !lane->dynamic && lane->extent % s->lane_width == 0;
    buf_printf(b, "split %s %" PRId64 " %s %s_v %s_l\nsplit %s_v {X%d} peel %s_o %s_u\n", n,
               s->lane_width, exact ? "exact" : "mask", n, n, n, index, n, n);
    char sides[48];
    name_sides(sides, sizeof sides, index, most);
    if (side) buf_printf(b, "split %s {%s} guard %s_o %s_i\n", side, sides, side, side);
    buf_puts(b, "reorder");
    for (int i = 0; i < s->nloop; i++)
        if (!s->axis[i].reduce && !s->axis[i].leads && i != s->vec)
            buf_printf(b, " %s", s->axis[i].name);
    if (side) buf_printf(b, " %s_o", side);
    for (int i = 0; i < s->nloop; i++)
        if (s->axis[i].reduce && i != s->lane) buf_printf(b, " %s", s->axis[i].name);
    buf_printf(b, " %s_o", n);
    if (side) buf_printf(b, " %s_i", side);
    buf_printf(b, " %s_u %s_l\nvectorize %s_l\n", n, n, n);
    if (!d->unrolls) return;
    buf_printf(b, "unroll %s_u\n", n);
    if (side) buf_printf(b, "unroll %s_i\n", side);
    if (reg && side) buf_printf(b, "unroll %s_o\n", side);
    for (int i = 0; i < s->nloop && reg; i++)
        if (!s->axis[i].reduce && i != s->vec) buf_printf(b, "unroll %s\n", s->axis[i].name);
}

bool derive_reduces_dynamic(const struct dstage *s)
{
    return s->last_reduce >= 0 && s->axis[s->last_reduce].dynamic;
}

bool derive_reduces_all(const struct dstage *s)
{
    for (int i = 0; i < s->nloop; i++)
        if (!s->axis[i].reduce && s->axis[i].extent > 1) return false;
    return derive_reduces_dynamic(s);
}

bool derive_follows_reduction(const struct dstage *guest, const struct dstage *host)
{
    for (int i = 0; i < guest->nloop && derive_reduces_dynamic(host); i++)
        if (!guest->axis[i].reduce && guest->axis[i].dynamic && guest->axis[i].host < 0)
            return true;
    return false;
}

bool derive_in_turns(const struct derive *d, int host)
{
    for (int i = 0; i < d->n; i++)
        if (derive_is_guest(d, i, host) && derive_follows_reduction(&d->stage[i], &d->stage[host]))
            return true;
    return false;
}
