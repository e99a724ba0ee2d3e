/* May this loop be transformed so? Legality of split, fuse, reorder, vectorize, unroll, parallel,
 * rfactor, columns.
 *
 *     reorder y.k y.m        y.k reduce, y.m the outer loop of a shift tail -> reorder_overlap
 *
 * Invariants: nothing is edited; a refusal names the loop and says what would be accepted. The tail
 * table (SCHED.txt) is legal_SPLIT's switch. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sched/private.h"

static bool plan_loop(struct plan *p, int arg, struct stmt **out)
{
    const char *name = p->step->arg[arg];
    *out = nest_loop(p->n, name);
    if (*out) return true;
    return refuse(p, REJECT_UNKNOWN_NAME, "there is no loop '%s'", name);
}

static bool plan_new_name(struct plan *p, int arg, int slot)
{
    const char *name = p->step->arg[arg];
    if (!name_valid(name)) return refuse(p, REJECT_NAME_BAD, "'%s'", name);
    if (nest_name_used(p->n, name)) return refuse(p, REJECT_NAME_TAKEN, "'%s'", name);
    p->name[slot] = name;
    return true;
}

static const char *loop_name(const struct stmt *loop) { return loop->u.loop.var->name; }

/* The loops of s's own stage around s, outermost first. */
int own_loops(struct stmt *s, struct stmt **out, int max)
{
    int n = 0;
    for (struct stmt *at = s->parent; at && at->kind != ST_STAGE; at = at->parent)
        if (at->kind == ST_FOR && n < max) out[n++] = at;
    for (int i = 0; i < n / 2; i++) {
        struct stmt *t = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = t;
    }
    return n;
}

struct stmt *own_stage(struct stmt *s)
{
    return s->kind == ST_STAGE ? s : stmt_enclosing(s, ST_STAGE);
}

/* ---- split ----------------------------------------------------------------------------------- */

struct shift_check {
    struct stmt *loop;
    bool bad;
};

/* An UPDATE whose target follows the loop restarts only if no reduce loop of its stage is
 * outside. */
static bool shift_leaf(struct stmt *s, void *ctx)
{
    struct shift_check *c = ctx;
    if (s->kind != ST_UPDATE || own_stage(s) != own_stage(c->loop)) return true;
    for (struct stmt *at = c->loop->parent; at && at->kind != ST_STAGE; at = at->parent)
        if (at->kind == ST_FOR && at->u.loop.reduce) c->bad = true;
    return true;
}

bool legal_SPLIT(struct plan *p)
{
    struct stmt *loop;
    if (!plan_loop(p, 0, &loop) || !plan_new_name(p, 3, 0) || !plan_new_name(p, 4, 1)) return false;
    if (strcmp(p->name[0], p->name[1]) == 0)
        return refuse(p, REJECT_NAME_TAKEN, "'%s' twice", p->name[0]);
    p->loop[0] = loop;
    p->factor = strtoll(p->step->arg[1], NULL, 10);
    policy_parse(p->step->arg[2], &p->policy);
    if (loop->u.loop.kind != LOOP_SERIAL)
        return refuse(p, REJECT_LOOP_MARKED, "loop '%s'", loop_name(loop));
    int64_t n = 0;
    bool known = loop_extent(loop, &n), divides = known && p->factor > 0 && n % p->factor == 0;
    if (p->factor < 1) return refuse(p, REJECT_SPLIT_FACTOR, "factor %" PRId64, p->factor);
    bool clamps =
        p->policy == POLICY_PEEL || p->policy == POLICY_SHIFT || p->policy == POLICY_EXACT;
    if (clamps && known && p->factor > n)
        return refuse(p, REJECT_SPLIT_FACTOR,
                      "factor %" PRId64 ", but '%s' has %" PRId64 " iterations", p->factor,
                      loop_name(loop), n);
    switch (p->policy) {
    case POLICY_EXACT:
        if (!divides)
            return refuse(p, REJECT_SPLIT_EXACT, "%" PRId64 " into the extent of '%s'", p->factor,
                          loop_name(loop));
        return true;
    case POLICY_SHIFT: {
        struct shift_check c = {loop, false};
        if (loop->u.loop.ordered) return refuse(p, REJECT_ORDERED, "loop '%s'", loop_name(loop));
        if (!known || loop->u.loop.reduce)
            return refuse(p, REJECT_SPLIT_SHIFT, "loop '%s'", loop_name(loop));
        stmt_walk(loop, shift_leaf, &c);
        if (c.bad)
            return refuse(p, REJECT_SPLIT_SHIFT, "a reduce loop is outside '%s'", loop_name(loop));
        return true;
    }
    case POLICY_PAD:
        if (loop->u.loop.reduce && !divides)
            return refuse(p, REJECT_SPLIT_PAD, "loop '%s'", loop_name(loop));
        return true;
    default:
        return true;
    }
}

/* ---- fuse and reorder ------------------------------------------------------------------------ */

bool legal_FUSE(struct plan *p)
{
    struct stmt *a, *b;
    int64_t lo_a, lo_b, hi;
    if (!plan_loop(p, 0, &a) || !plan_loop(p, 1, &b) || !plan_new_name(p, 2, 0)) return false;
    p->loop[0] = a;
    p->loop[1] = b;
    if (a == b || stmt_sole(a->u.loop.body) != b)
        return refuse(p, REJECT_FUSE_BAND, "'%s' is not directly inside '%s'", loop_name(b),
                      loop_name(a));
    if (a->u.loop.kind != LOOP_SERIAL || b->u.loop.kind != LOOP_SERIAL)
        return refuse(p, REJECT_LOOP_MARKED, "'%s' or '%s'", loop_name(a), loop_name(b));
    if (a->u.loop.ordered || b->u.loop.ordered)
        return refuse(p, REJECT_ORDERED, "'%s' or '%s'", loop_name(a), loop_name(b));
    if (a->u.loop.reduce != b->u.loop.reduce)
        return refuse(p, REJECT_FUSE_KIND, "'%s' and '%s'", loop_name(a), loop_name(b));
    bool zero = expr_is_int(a->u.loop.lo, &lo_a) && expr_is_int(b->u.loop.lo, &lo_b) && lo_a == 0 &&
                lo_b == 0;
    if (!zero || !expr_is_int(b->u.loop.hi, &hi) || hi < 1)
        return refuse(p, REJECT_FUSE_EXTENT, "'%s'", loop_name(b));
    return true;
}

/* The band from the outermost to the innermost of p->loop, or refused. */
static bool find_band(struct plan *p, struct stmt **band, int *n, int max)
{
    struct stmt *top = p->loop[0];
    for (int i = 1; i < p->nloop; i++)
        if (stmt_is_ancestor(p->loop[i], top)) top = p->loop[i];
    int found = 0;
    *n = 0;
    for (struct stmt *s = top; s->kind == ST_FOR && *n < max; s = stmt_sole(s->u.loop.body)) {
        band[(*n)++] = s;
        for (int i = 0; i < p->nloop; i++)
            if (p->loop[i] == s) found++;
        if (found == p->nloop) return true;
    }
    return refuse(p, REJECT_REORDER_BAND, "from '%s' down there are not all the %d loops named",
                  loop_name(top), p->nloop);
}

/* After the permutation, is a reduce loop outside a loop along which the update overlaps? */
static bool order_overlaps(struct plan *p, struct stmt *leaf)
{
    struct stmt *own[48], *now[48];
    int n = own_loops(leaf, own, (int)QN_COUNT(own)), next = 0;
    for (int i = 0; i < n; i++) {
        bool listed = false;
        for (int j = 0; j < p->nloop; j++) listed |= p->loop[j] == own[i];
        now[i] = listed ? p->loop[next++] : own[i];
    }
    bool reduce = false;
    for (int i = 0; i < n; i++) {
        if (now[i]->u.loop.reduce)
            reduce = true;
        else if (reduce && leaf_overlaps(leaf, now[i]->u.loop.var))
            return true;
    }
    return false;
}

/* Does a loop from inside a recurrence get outside it? What is read there of other elements, one turn earlier, would
 * not be there yet. For the loops outside what is read is of the same element: they may go in. */
static struct stmt *order_crosses(struct plan *p, struct stmt *const *band, int n)
{
    struct stmt *now[48];
    int next = 0;
    for (int i = 0; i < n; i++) {
        bool listed = false;
        for (int j = 0; j < p->nloop; j++) listed |= p->loop[j] == band[i];
        now[i] = listed ? p->loop[next++] : band[i];
    }
    for (int i = 0; i < n; i++) {
        if (!band[i]->u.loop.ordered) continue;
        for (int j = 0; now[j] != band[i]; j++)
            for (int k = i + 1; k < n; k++)
                if (now[j] == band[k]) return band[i];
    }
    return NULL;
}

bool legal_REORDER(struct plan *p)
{
    struct stmt *band[48];
    int n;
    for (int i = 0; i < p->step->n; i++) {
        if (!plan_loop(p, i, &p->loop[i])) return false;
        p->nloop = i + 1;
        for (int j = 0; j < i; j++)
            if (p->loop[j] == p->loop[i])
                return refuse(p, REJECT_REORDER_BAND, "'%s' stands twice", loop_name(p->loop[i]));
        if (p->loop[i]->u.loop.kind == LOOP_PARALLEL)
            return refuse(p, REJECT_LOOP_MARKED, "'%s' is parallel", loop_name(p->loop[i]));
    }
    if (!find_band(p, band, &n, (int)QN_COUNT(band))) return false;
    struct stmt *crossed = order_crosses(p, band, n);
    if (crossed) return refuse(p, REJECT_ORDERED, "loop '%s'", loop_name(crossed));
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            const struct var *v = band[j]->u.loop.var;
            if (expr_uses_var(band[i]->u.loop.lo, v) || expr_uses_var(band[i]->u.loop.hi, v))
                return refuse(p, REJECT_REORDER_BOUNDS, "'%s' depends on '%s'", loop_name(band[i]),
                              loop_name(band[j]));
        }
    }
    int nleaf = stmt_leaves(band[n - 1], NULL, 0);
    struct stmt **leaf = ARENA_ARRAY(p->n->ir->arena, struct stmt *, nleaf);
    stmt_leaves(band[n - 1], leaf, nleaf);
    for (int i = 0; i < nleaf; i++)
        if (leaf[i]->kind == ST_UPDATE && own_stage(leaf[i]) == own_stage(band[0]) &&
            order_overlaps(p, leaf[i]))
            return refuse(p, REJECT_REORDER_OVERLAP, "keep the loops of the shift tail outermost");
    return true;
}

/* ---- marks ----------------------------------------------------------------------------------- */

struct vector_check {
    struct stmt *loop;
    enum reject code;
};

static bool vector_stmt(struct stmt *s, void *ctx)
{
    struct vector_check *c = ctx;
    const struct var *v = c->loop->u.loop.var;
    if (s == c->loop) return true;
    if (s->kind == ST_ALLOC || s->kind == ST_STAGE || s->kind == ST_LET)
        c->code = REJECT_VECTOR_BODY;
    if (s->kind == ST_FOR) {
        if (s->u.loop.kind == LOOP_VECTOR || s->u.loop.kind == LOOP_PARALLEL)
            c->code = REJECT_VECTOR_BODY;
        if (expr_uses_var(s->u.loop.lo, v) || expr_uses_var(s->u.loop.hi, v))
            c->code = REJECT_VECTOR_BOUNDS;
    }
    if (s->kind == ST_UPDATE && c->loop->u.loop.reduce) {
        enum reduce op = s->u.update.op;
        bool arg = op == RED_ARGMAX || op == RED_ARGMIN;
        if (op != RED_SUM && op != RED_MAX && op != RED_MIN && !arg) c->code = REJECT_VECTOR_REDUCE;
    }
    return c->code == REJECT_NONE;
}

bool legal_VECTORIZE(struct plan *p)
{
    struct stmt *loop;
    int64_t n, lo;
    if (!plan_loop(p, 0, &loop)) return false;
    p->loop[0] = loop;
    if (loop->u.loop.kind != LOOP_SERIAL)
        return refuse(p, REJECT_LOOP_MARKED, "loop '%s'", loop_name(loop));
    if (loop->u.loop.ordered) return refuse(p, REJECT_ORDERED, "loop '%s'", loop_name(loop));
    bool fits = loop_extent(loop, &n) && expr_is_int(loop->u.loop.lo, &lo) && lo == 0 && n >= 2 &&
                n <= LANES_MAX && (n & (n - 1)) == 0;
    if (!fits)
        return refuse(p, REJECT_VECTOR_EXTENT, "split '%s' by the number of lanes first",
                      loop_name(loop));
    if (stmt_below_kind(loop, LOOP_VECTOR))
        return refuse(p, REJECT_VECTOR_BODY, "'%s' is inside a vector loop", loop_name(loop));
    struct vector_check c = {loop, REJECT_NONE};
    stmt_walk(loop, vector_stmt, &c);
    if (c.code != REJECT_NONE) return refuse(p, c.code, "loop '%s'", loop_name(loop));
    return true;
}

bool legal_UNROLL(struct plan *p)
{
    struct stmt *loop;
    int64_t n;
    if (!plan_loop(p, 0, &loop)) return false;
    p->loop[0] = loop;
    if (loop->u.loop.kind != LOOP_SERIAL)
        return refuse(p, REJECT_LOOP_MARKED, "loop '%s'", loop_name(loop));
    if (!loop_extent(loop, &n) || n > UNROLL_MAX)
        return refuse(p, REJECT_UNROLL_EXTENT, "loop '%s'", loop_name(loop));
    return true;
}

bool legal_PARALLEL(struct plan *p)
{
    struct stmt *loop;
    if (!plan_loop(p, 0, &loop)) return false;
    p->loop[0] = loop;
    if (loop->u.loop.kind != LOOP_SERIAL)
        return refuse(p, REJECT_LOOP_MARKED, "loop '%s'", loop_name(loop));
    if (loop->u.loop.reduce) return refuse(p, REJECT_PARALLEL_REDUCE, "loop '%s'", loop_name(loop));
    if (loop->u.loop.ordered) return refuse(p, REJECT_ORDERED, "loop '%s'", loop_name(loop));
    struct stmt *stage = loop->parent;
    while (stage->kind == ST_BLOCK && stage->parent) stage = stage->parent;
    if (stage->kind != ST_STAGE || stage->parent != p->n->body)
        return refuse(p, REJECT_PARALLEL_INNER, "loop '%s'", loop_name(loop));
    int nleaf = stmt_leaves(loop, NULL, 0);
    struct stmt **leaf = ARENA_ARRAY(p->n->ir->arena, struct stmt *, nleaf);
    stmt_leaves(loop, leaf, nleaf);
    for (int i = 0; i < nleaf; i++)
        if (own_stage(leaf[i]) == stage && leaf_overlaps(leaf[i], loop->u.loop.var))
            return refuse(p, REJECT_PARALLEL_OVERLAP, "loop '%s'", loop_name(loop));
    return true;
}

/* ---- rfactor, columns, accumulate --------------------------------------------------------------------- */

/* The loops of the second stage take their names from the first. */
static bool plan_copy_loops(struct plan *p, struct stmt *const *own, int count)
{
    for (int i = 0; i < count; i++) {
        char name[NAME_MAX_LEN + 1];
        if (!rfactor_name(p->stage, p->name[0], own[i], name, sizeof name))
            return refuse(p, REJECT_NAME_BAD, "loops of '%s' would have too long names",
                          p->name[0]);
        if (nest_name_used(p->n, name)) return refuse(p, REJECT_NAME_TAKEN, "'%s'", name);
    }
    return true;
}

/* The start of the partial results must not be guarded: where a guard stops the updates along the
 * factored loop, the partial result is the identity. Guards over a reduce variable do not guard the
 * start (ir I5). */
static bool guards_stay_reduced(struct plan *p, struct stmt *const *own, int count)
{
    for (struct stmt *s = p->leaf->parent; s != p->stage; s = s->parent) {
        if (s->kind != ST_IF || !expr_uses_var(s->u.cond.cond, p->loop[0]->u.loop.var)) continue;
        bool other = false;
        for (int i = 0; i < count; i++) {
            int64_t n;
            bool many = !loop_extent(own[i], &n) || n > 1;
            other |= own[i] != p->loop[0] && own[i]->u.loop.reduce && many &&
                     expr_uses_var(s->u.cond.cond, own[i]->u.loop.var);
        }
        if (!other) return false;
    }
    return true;
}

bool legal_RFACTOR(struct plan *p)
{
    struct stmt *loop, *own[48];
    int64_t n;
    if (!plan_loop(p, 0, &loop) || !plan_new_name(p, 1, 0)) return false;
    p->loop[0] = loop;
    p->stage = own_stage(loop);
    p->leaf = stage_leaf(p->stage);
    if (!loop->u.loop.reduce || !loop_extent(loop, &n) || p->stage->parent != p->n->body ||
        !p->leaf || p->leaf->kind != ST_UPDATE)
        return refuse(p, REJECT_RFACTOR_LOOP, "loop '%s'", loop_name(loop));
    if (p->leaf->u.update.op > RED_ANY)
        return refuse(p, REJECT_RFACTOR_KIND, "stage '%s'", p->stage->u.stage.name);
    int count = own_loops(p->leaf, own, (int)QN_COUNT(own)), reduces = 0;
    for (int i = 0; i < count; i++) {
        if (own[i]->u.loop.kind != LOOP_SERIAL)
            return refuse(p, REJECT_LOOP_MARKED, "loop '%s'", loop_name(own[i]));
        if (own[i]->u.loop.ordered)
            return refuse(p, REJECT_ORDERED, "loop '%s'", loop_name(own[i]));
        reduces += own[i]->u.loop.reduce;
    }
    if (!guards_stay_reduced(p, own, count))
        return refuse(p, REJECT_RFACTOR_LOOP,
                      "a guard of '%s' has no other reduce loop of more than one iteration",
                      loop_name(loop));
    if (reduces < 2)
        return refuse(p, REJECT_RFACTOR_LOOP, "'%s' is the only reduce loop: split it first",
                      loop_name(loop));
    if (p->leaf->u.update.tensor[0]->rank + 1 > REGION_RANK)
        return refuse(p, REJECT_TENSOR_RANK, "'%s'", p->name[0]);
    return plan_copy_loops(p, own, count);
}

/* Is there a reduce loop beside this one? */
static bool reduces_beside(const struct plan *p, const struct stmt *loop)
{
    for (const struct stmt *s = p->leaf->parent; s != p->stage; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.reduce && s != loop) return true;
    return false;
}

/* Does a bound of the stage's loops depend on this loop? */
static bool bounds_loops(const struct plan *p, const struct stmt *loop)
{
    const struct var *v = loop->u.loop.var;
    for (const struct stmt *s = p->leaf->parent; s != p->stage; s = s->parent)
        if (s->kind == ST_FOR && (expr_uses_var(s->u.loop.lo, v) || expr_uses_var(s->u.loop.hi, v)))
            return true;
    return false;
}

bool legal_COLUMNS(struct plan *p)
{
    struct stmt *c, *g, *own[48];
    int64_t each, groups;
    if (!plan_loop(p, 0, &c) || !plan_loop(p, 1, &g) || !plan_new_name(p, 2, 0)) return false;
    p->loop[0] = c;
    p->loop[1] = g;
    p->stage = own_stage(c);
    p->leaf = p->stage->parent == p->n->body ? stage_untouched(p->stage) : NULL;
    if (!p->leaf || p->leaf->kind != ST_UPDATE || p->leaf->u.update.n != 1)
        return refuse(p, REJECT_COLUMNS_LOOP, "stage '%s'", p->stage->u.stage.name);
    if (p->leaf->u.update.op > RED_ANY)
        return refuse(p, REJECT_RFACTOR_KIND, "stage '%s'", p->stage->u.stage.name);
    if (!c->u.loop.reduce || !loop_extent(c, &each) || each < 1)
        return refuse(p, REJECT_COLUMNS_LOOP, "loop '%s'", loop_name(c));
    if (own_stage(g) != p->stage || g->u.loop.reduce || !loop_extent(g, &groups))
        return refuse(p, REJECT_COLUMNS_LOOP, "loop '%s'", loop_name(g));
    if (bounds_loops(p, c) || bounds_loops(p, g))
        return refuse(p, REJECT_COLUMNS_LOOP, "a bound depends on '%s' or '%s'", loop_name(c),
                      loop_name(g));
    if (!reduces_beside(p, c))
        return refuse(p, REJECT_COLUMNS_LOOP, "'%s' is the only reduce loop", loop_name(c));
    if (groups > INT32_MAX / each)
        return refuse(p, REJECT_COPY_SIZE, "%" PRId64 " times %" PRId64 " columns", groups, each);
    return plan_copy_loops(p, own, own_loops(p->leaf, own, (int)QN_COUNT(own)));
}

bool legal_ACCUMULATE(struct plan *p)
{
    struct stmt *own[48];
    const char *name = p->step->arg[0];
    p->stage = nest_stage(p->n, name);
    if (!p->stage) return refuse(p, REJECT_UNKNOWN_NAME, "there is no stage '%s'", name);
    if (!plan_new_name(p, 1, 0)) return false;
    p->leaf = p->stage->parent == p->n->body ? stage_untouched(p->stage) : NULL;
    if (!p->leaf || p->leaf->kind != ST_UPDATE || p->leaf->u.update.n != 1)
        return refuse(p, REJECT_ACCUMULATE_KIND, "stage '%s'", name);
    return plan_copy_loops(p, own, own_loops(p->leaf, own, (int)QN_COUNT(own)));
}
