/* derive_blocks: stages that are computed block by block together.
 *
 *     top[m] max= abs(x[m, n])        for m_b:  a block of rows goes through all stages while it
 *     s[m] = top[m] / 127               top     is in the cache. Their common axis is m; had they
 *     q[m, n] = x[m, n] / s[m]          s       another outside it, that one would lead: it is run
 *     y[m, n] = q[m, n] * s[m]          q, y    through singly.
 *
 * How: from the last host backwards, as long as an axis is left that all of a run have in common: a
 * subscript with which one reads what another defines, or with which both read what a third does.
 * The space splits that axis in all of them by one knob (0 or the whole extent: stages apart) and
 * puts the blocks outside; where the loops of blocks then stand next to each other, lowering joins
 * them (lower/join.c), which proves anew that it may. A temporary along a dynamic axis has room for
 * a block only (lower/contract.c): then stages are never apart.
 *
 * Invariants: an axis in common is pure, not ordered and follows plain subscripts; the axis that
 * vectors run along is a block only where there is no other. */
#include <inttypes.h>

#include "sched/derive.h"

enum { LONG_ROW = 128 };

/* ---- which axis of a host a dimension of a tensor follows ------------------------------------ */

struct followed {
    const struct dstage *at;
    const struct tensor *t;
    int dim, axis; /* -2: none yet */
};

static int pure_axis(const struct dstage *s, const struct expr *x)
{
    for (int i = 0; i < s->nloop && x->op == OP_VAR; i++)
        if (s->axis[i].var == x->u.var && !s->axis[i].reduce) return i;
    return -1;
}

static void follow_load(const struct expr *e, void *ctx)
{
    struct followed *f = ctx;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != f->t) return;
    int axis = pure_axis(f->at, e->a[expr_load_first(e) + f->dim]);
    f->axis = f->axis == -2 || f->axis == axis ? axis : -1;
}

static void follow_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, follow_load, ctx); }

static bool follow_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, follow_slot, ctx);
    return true;
}

static const struct tensor *defined(const struct dstage *s)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(s->leaf, target);
    return target[0];
}

/* In stage `at` and on, through what reads it, up to the host: -2 not read, -1 not one axis. */
static int axis_in(const struct derive *d, const struct dstage *at, const struct dstage *host,
                   const struct tensor *t, int dim)
{
    struct followed f = {at, t, dim, -2};
    stmt_walk(at->stmt, follow_stmt, &f);
    if (f.axis < 0 || at == host) return f.axis;
    int up = at->axis[f.axis].dim;
    return up < 0 ? -1 : i64_max(-1, axis_in(d, &d->stage[at->reader], host, defined(at), up));
}

static int axis_following(const struct derive *d, int host, const struct tensor *t, int dim)
{
    int axis = -2;
    for (int i = 0; i < d->real; i++) {
        const struct dstage *s = &d->stage[i];
        if (i != host && (s->role == ROLE_HOST || s->role == ROLE_CONST || s->host != host))
            continue;
        int here = axis_in(d, s, &d->stage[host], t, dim);
        if (here != -2) axis = axis == -2 || axis == here ? here : -1;
    }
    return axis;
}

/* The axis with which `s` defines the dimension of t that an axis of `from` follows; -1. */
static int axis_defining(const struct derive *d, int from, int axis, const struct dstage *s,
                         const struct tensor *t)
{
    for (int dim = 0; dim < t->rank; dim++) {
        if (axis_following(d, from, t, dim) != axis) continue;
        for (int i = 0; i < s->nloop; i++)
            if (!s->axis[i].reduce && s->axis[i].dim == dim) return i;
    }
    return -1;
}

/* `from` and `to` read what s defines, perhaps one this and the other that part of a tuple: the axis of `to` that
 * follows the dimension which `axis` of `from` follows; -1. */
static int axis_beside(const struct derive *d, int from, int axis, int to, const struct dstage *s)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(s->leaf, target);
    for (int dim = 0; dim < target[0]->rank; dim++) {
        bool follows = false;
        int other = -1;
        for (int k = 0; k < UPDATE_TARGETS && target[k]; k++) {
            follows |= axis_following(d, from, target[k], dim) == axis;
            if (other < 0) other = axis_following(d, to, target[k], dim);
        }
        if (follows && other >= 0) return other;
    }
    return -1;
}

/* The axis of `to` that goes with an axis of `from`; -1. */
static int axis_linked(const struct derive *d, int from, int axis, int to)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(d->stage[to].leaf, target);
    for (int k = 0; k < UPDATE_TARGETS && target[k]; k++) {
        int found = axis_defining(d, from, axis, &d->stage[to], target[k]);
        if (found >= 0) return found;
    }
    for (int i = 0; i < d->real; i++) {
        if (d->stage[i].role != ROLE_HOST) continue;
        int other = axis_beside(d, from, axis, to, &d->stage[i]);
        if (other >= 0) return other;
    }
    return -1;
}

/* ---- runs ------------------------------------------------------------------------------------ */

struct run {
    int member[DERIVE_STAGES], n;
    int axis[DERIVE_STAGES][DERIVE_LOOPS]; /* of each member, in step */
    int naxis;
};

static bool has_order(const struct dstage *s)
{
    for (int i = 0; i < s->nloop; i++)
        if (s->axis[i].ordered) return true;
    return false;
}

static void run_begin(const struct derive *d, struct run *r, int root)
{
    const struct dstage *s = &d->stage[root];
    *r = (struct run){.member = {root}, .n = 1};
    for (int i = 0; i < s->nloop && !has_order(s); i++)
        if (!s->axis[i].reduce && s->axis[i].extent > 1) r->axis[0][r->naxis++] = i;
}

/* The run with one more host, if an axis remains that all have in common. */
static bool run_extend(const struct derive *d, struct run *r, int host)
{
    struct run with = *r;
    int at = with.n++;
    with.member[at] = host;
    with.naxis = 0;
    if (has_order(&d->stage[host])) return false;
    for (int k = 0; k < r->naxis; k++) {
        int found = -1;
        for (int m = 0; m < r->n && found < 0; m++)
            found = axis_linked(d, r->member[m], r->axis[m][k], host);
        if (found < 0) continue;
        for (int m = 0; m < r->n; m++) with.axis[m][with.naxis] = r->axis[m][k];
        with.axis[at][with.naxis++] = found;
    }
    if (with.naxis == 0) return false;
    *r = with;
    return true;
}

/* The last axis in common is the blocks'; the others lead. */
static void run_end(struct derive *d, struct run *r)
{
    if (r->n < 2 || r->naxis == 0) return;
    const struct dstage *root = &d->stage[r->member[0]];
    if (r->naxis > 1 && r->axis[0][r->naxis - 1] == root->vec) r->naxis--;
    bool grows = false;
    for (int m = 0; m < r->n; m++) grows |= defined(&d->stage[r->member[m]])->scope == SCOPE_TEMP;
    for (int m = 0; m < r->n; m++) {
        struct dstage *s = &d->stage[r->member[m]];
        s->run = r->member[0];
        s->together = grows;
        s->nlead = 0;
        for (int k = 0; k < r->naxis - 1; k++) s->lead[s->nlead++] = s->axis[r->axis[m][k]].var;
        s->block = s->axis[r->axis[m][r->naxis - 1]].var;
    }
}

/* One element a row, where the rows of the run's last stage are long: not worth vectors, which
 * would ask for blocks of as many rows. */
bool derive_thin(const struct derive *d, int host)
{
    const struct dstage *s = &d->stage[host];
    int64_t row = 1;
    if (s->run < 0 || s->run == host || s->vec < 0 || s->axis[s->vec].var != s->block) return false;
    const struct dstage *root = &d->stage[s->run];
    for (int i = 0; i < root->nloop; i++) {
        const struct daxis *a = &root->axis[i];
        if (!a->reduce && !a->leads && a->var != root->block)
            row = i64_min(LONG_ROW, row * a->extent);
    }
    return row >= LONG_ROW;
}

void derive_blocks(struct derive *d)
{
    struct run r = {0};
    for (int i = 0; i < d->real; i++) d->stage[i].run = -1;
    for (int i = d->real - 1; i >= 0; i--) {
        if (d->stage[i].role != ROLE_HOST) continue;
        if (r.n && run_extend(d, &r, i)) continue;
        run_end(d, &r);
        run_begin(d, &r, i);
    }
    run_end(d, &r);
}

/* ---- text ------------------------------------------------------------------------------------
 *
 *     knob B4 in 1 2 4 8 16 384            rows of a block; 384: stages apart
 *     split q.m {B4} exact q.m_b q.m_r
 *     reorder q.m_b q.m_r q.n */

/* About t: what divides the extent, if there is such a number. */
static int64_t near_divisor(int64_t extent, int64_t t)
{
    for (int64_t off = 0; off <= t / 4; off++) {
        if (extent % (t - off) == 0) return t - off;
        if (extent % (t + off) == 0) return t + off;
    }
    return t;
}

void derive_block_knob(const struct dstage *s, struct buf *b)
{
    const struct daxis *a = &s->axis[s->blocked];
    bool alone = s->vec == s->blocked;
    int64_t step = a->extent > 64 ? 4 : 2, last = 0;
    buf_printf(b, "knob B%d in", s->run);
    if (a->dynamic && !s->together) buf_puts(b, " 0");
    for (int64_t t = alone ? 16 * s->lanes : 1; t <= 4096 && (a->dynamic || t < a->extent);
         t *= step) {
        int64_t v = a->dynamic ? t : near_divisor(a->extent, t);
        if (v > last && (a->dynamic || v < a->extent)) buf_printf(b, " %" PRId64, v);
        last = i64_max(last, v);
    }
    if (a->dynamic)
        buf_printf(b, "\nlet E%d = select(B%d == 0, %d, B%d)\n", s->run, s->run, 1 << 20, s->run);
    else
        buf_printf(b, " %" PRId64 "\nlet E%d = B%d\n", a->extent, s->run, s->run);
}

/* The loops of blocks exist where this holds; else stages stand apart. */
void derive_block_condition(const struct dstage *s, struct buf *b)
{
    const struct daxis *a = &s->axis[s->blocked];
    if (a->dynamic)
        buf_printf(b, "if B%d > 0\n", s->run);
    else
        buf_printf(b, "if B%d < %" PRId64 "\n", s->run, a->extent);
}

static void write_order(const struct dstage *s, const char *blocks, struct buf *b)
{
    int n = s->nlead + (blocks != NULL);
    for (int i = 0; i < s->nloop; i++) n += !s->axis[i].leads;
    if (n < 2) return;
    buf_puts(b, "  reorder");
    for (int i = 0; i < s->nlead; i++) buf_printf(b, " %s", s->lead[i]->name);
    if (blocks) buf_printf(b, " %s_b", blocks);
    for (int i = 0; i < s->nloop; i++)
        if (!s->axis[i].leads) buf_printf(b, " %s", s->axis[i].name);
    buf_putc(b, '\n');
}

/* The host's axis of blocks is split and goes outside, below those that lead. */
void derive_block_split(const struct dstage *s, struct buf *b)
{
    const struct daxis *a = &s->axis[s->blocked];
    const char *n = a->whole;
    derive_block_condition(s, b);
    if (a->dynamic)
        buf_printf(b, "  split %s {B%d} guard %s_b %s\n", n, s->run, n, a->name);
    else
        buf_printf(b,
                   "  if %" PRId64 " %% B%d == 0\n    split %s {B%d} exact %s_b %s\n  else\n"
                   "    split %s {B%d} guard %s_b %s\n  end\n",
                   a->extent, s->run, n, s->run, n, a->name, n, s->run, n, a->name);
    write_order(s, n, b);
    buf_printf(b, "else\n  split %s 1 %s %s %s_one\n", n, a->dynamic ? "guard" : "exact", a->name,
               n);
    write_order(s, NULL, b);
    buf_puts(b, "end\n");
}
