/* Repeats: what several lanes of a vector have in common is computed once, in a shorter vector.
 *
 * Requires: vectorised and unrolled statements; no EXP..COS expanded yet.
 * Provides: in unmasked stores, parts of the value that cost something and hold each number at
 * least twice are stored to a small local array first, every number once, and read back in place.
 * Both back ends turn the array into registers and shuffles.
 *
 *     y[ramp(i*32, 1, 32)] = exp(x[ramp(0, 1, 32) / 4 * 2 + ramp(0, 1, 32) % 2])     -->
 *
 *     alloc y.once0: f32[16] stack
 *       y.once0[ramp(0, 1, 16)] = exp(x[ramp(0, 1, 16)])
 *       y[ramp(i*32, 1, 32)] = y.once0[ramp(0, 1, 32) / 4 * 2 + ramp(0, 1, 32) % 2]
 *
 * Invariants: lanes count as equal only if every leaf is: the same address, the same scalar. The
 * number of classes is a power of two of at least 4, at most half the lanes, and both subscripts
 * can be said (lanes_make); else the parts are tried. */
#include <string.h>

#include "base/vec.h"
#include "lower/private.h"

enum { LANES_LEAST = 4, WORTH = 4, WORTH_MATH = 12 };

struct classes {
    int n;                 /* how many different lanes */
    uint8_t of[LANES_MAX]; /* lane -> class, numbered in order of appearance */
};

struct repeats {
    struct low *l;
    const char *name;  /* of the stored tensor */
    struct memo known; /* vector node -> index into `all` */
    VEC(struct classes) all;
    struct memo to; /* node -> node with its repeats taken out */
    struct lanes_pick pick;
    struct stmt *outer;  /* the first ALLOC, NULL: none yet */
    struct stmt *inner;  /* the block in the last one */
    int taken;           /* values taken out */
    struct classes last; /* of the last one */
    bool alike;          /* all of them have those */
};

/* ---- which lanes are equal ------------------------------------------------------------------- */

static struct classes classes_none(int lanes)
{
    struct classes c = {.n = lanes};
    for (int i = 0; i < lanes; i++) c.of[i] = (uint8_t)i;
    return c;
}

static struct classes classes_by(const int64_t *key, int lanes)
{
    struct classes c = {0};
    for (int i = 0; i < lanes; i++) {
        int j = 0;
        while (key[j] != key[i]) j++;
        c.of[i] = j == i ? (uint8_t)c.n++ : c.of[j];
    }
    return c;
}

/* Equal where both are. */
static struct classes classes_meet(const struct classes *a, const struct classes *b, int lanes)
{
    int64_t key[LANES_MAX];
    for (int i = 0; i < lanes; i++) key[i] = a->of[i] * LANES_MAX + b->of[i];
    return classes_by(key, lanes);
}

static struct classes classes_of(struct repeats *r, const struct expr *e)
{
    const struct expr *seen = memo_get(&r->known, e), *base = NULL;
    int64_t off[LANES_MAX];
    int lanes = e->type.lanes;
    if (seen) return r->all.p[seen->u.i];
    struct classes c = {.n = 1};
    bool opaque = e->op == OP_VAR || (e->op == OP_LOAD && e->u.tensor->scope == SCOPE_REG) ||
                  (e->op == OP_RAMP && e->type.dtype != TYPE_S64);
    if (opaque) {
        c = classes_none(lanes);
    } else if (lanes_of(r->l->ir, e, &base, off)) {
        c = classes_by(off, lanes);
    } else if (e->op != OP_SPLAT) {
        for (int i = 0; i < e->n; i++) {
            if (e->a[i]->type.lanes == 1) continue;
            struct classes part = classes_of(r, e->a[i]);
            c = classes_meet(&c, &part, lanes);
        }
    }
    memo_put(&r->known, e, expr_int(r->l->ir, (int64_t)r->all.n));
    vec_push(&r->all, c);
    return c;
}

/* ---- is it worth it -------------------------------------------------------------------------- */

struct cost {
    int ops;
};

static void add_cost(const struct expr *e, void *ctx)
{
    struct cost *c = ctx;
    bool data = e->n > 0 && e->type.lanes > 1 && e->type.dtype != TYPE_S64;
    if (!data || e->op == OP_SPLAT || e->op == OP_LOAD || e->op == OP_LOADC) return;
    c->ops += e->op >= OP_EXP && e->op <= OP_COS ? WORTH_MATH : 1;
}

static bool worth_it(const struct expr *e, const struct classes *c)
{
    int lanes = e->type.lanes;
    enum dtype d = (enum dtype)e->type.dtype;
    if (d != TYPE_F32 && d != TYPE_F64 && d != TYPE_S32) return false;
    if (c->n < LANES_LEAST || c->n * 2 > lanes || (c->n & (c->n - 1))) return false;
    struct cost cost = {0};
    expr_walk(e, add_cost, &cost);
    return cost.ops >= WORTH;
}

/* ---- the shorter vector ---------------------------------------------------------------------- */

/* The first lane of each class. */
static void pick_classes(struct lanes_pick *p, const struct classes *c, int lanes)
{
    int lane[LANES_MAX];
    bool same = c->n == p->n;
    for (int i = lanes - 1; i >= 0; i--) lane[c->of[i]] = i;
    for (int k = 0; k < c->n; k++) {
        same = same && p->lane[k] == lane[k];
        p->lane[k] = lane[k];
    }
    p->n = c->n;
    if (!same) memo_clear(&p->memo);
}

/* Another order of the classes: block by block of 128 bits, first those of the first register's
 * block, then of the second's, .. so that collecting k registers into one and putting each number
 * back in place moves nothing from block to block: every machine interleaves faster than it
 * permutes. False: the classes are not spread evenly over the blocks. */
static bool order_by_blocks(struct repeats *r, const struct expr *e, struct classes *c)
{
    int lanes = e->type.lanes, bits = (int)dtype_bits((enum dtype)e->type.dtype), k = lanes / c->n;
    int wide = r->l->t->vector_bits / bits, block = 128 / bits, each = block / k, n = 0;
    int to[LANES_MAX];
    if (each == 0 || block * bits != 128 || lanes % (wide * k) || each * k != block) return false;
    for (int i = 0; i < c->n; i++) to[i] = -1;
    for (int g = 0; g < lanes; g += wide * k) {
        for (int b = 0; b < wide; b += block) {
            for (int s = 0; s < k; s++) {
                int first = n;
                for (int i = g + s * wide + b; i < g + s * wide + b + block; i++) {
                    if (to[c->of[i]] >= 0 && to[c->of[i]] < first) return false;
                    if (to[c->of[i]] < 0) to[c->of[i]] = n++;
                }
                if (n != first + each) return false;
            }
        }
    }
    for (int i = 0; i < lanes; i++) c->of[i] = (uint8_t)to[c->of[i]];
    return true;
}

static void note_plain_load(const struct expr *e, void *ctx)
{
    int64_t stride = 0;
    if (e->op != OP_LOAD || e->type.lanes == 1 || e->a[0]->op != OP_RAMP) return;
    *(bool *)ctx |= expr_is_int(e->a[0]->a[1], &stride) && stride == 1;
}

/* The value with one lane a class: in the order of appearance if memory has them in that order. */
static const struct expr *pick_once(struct repeats *r, const struct expr *e, struct classes *c)
{
    bool plain = false;
    struct classes blocks = *c;
    pick_classes(&r->pick, c, e->type.lanes);
    const struct expr *value = lanes_pick(&r->pick, e);
    if (value) expr_walk(value, note_plain_load, &plain);
    if (!value || plain || !order_by_blocks(r, e, &blocks)) return value;
    pick_classes(&r->pick, &blocks, e->type.lanes);
    const struct expr *better = lanes_pick(&r->pick, e);
    if (!better) return value;
    *c = blocks;
    return better;
}

/* A local array of n, and the block in which it lives. */
static struct tensor *array(struct repeats *r, const char *kind, enum dtype d, int n)
{
    struct ir *ir = r->l->ir;
    const char *name = arena_printf(ir->arena, "%s%s", r->name, fresh_suffix(r->l, kind));
    const struct expr *extent = expr_int(ir, n);
    struct tensor *t = tensor_new(ir, name, type_of(d), SCOPE_STACK, 1, &extent);
    struct stmt *alloc = stmt_alloc(ir, t, NULL);
    if (r->inner)
        block_append(ir, r->inner, alloc);
    else
        r->outer = alloc;
    r->inner = *stmt_body(alloc);
    return t;
}

static void put(struct repeats *r, struct tensor *t, int at, const struct expr *value)
{
    struct ir *ir = r->l->ir;
    const struct expr *to = expr_ramp(ir, expr_int(ir, at), expr_int(ir, 1), value->type.lanes);
    block_append(ir, r->inner, stmt_store(ir, t, &to, value));
}

/* An array with the value, each number once; the load that puts them in place. NULL: no way. */
static const struct expr *once(struct repeats *r, const struct expr *e, struct classes *c)
{
    struct ir *ir = r->l->ir;
    int64_t place[LANES_MAX];
    const struct expr *value = pick_once(r, e, c);
    for (int i = 0; i < e->type.lanes; i++) place[i] = c->of[i];
    const struct expr *zero = expr_int(ir, 0), *back = lanes_make(ir, zero, place, e->type.lanes);
    if (!back || !value || value->type.lanes != c->n) return NULL;
    r->alike = r->taken++ == 0 || (r->alike && memcmp(c, &r->last, sizeof *c) == 0);
    r->last = *c;
    struct tensor *t = array(r, "once", (enum dtype)e->type.dtype, c->n);
    put(r, t, 0, value);
    return expr_load(ir, t, &back, 1);
}

/* ---- half-way values stay short -------------------------------------------------------------- */

/* The lanes of each class that are the rank-th of theirs, by class. False: classes differ in
 * size. */
static bool lanes_of_rank(const struct classes *c, int lanes, int rank, int *lane)
{
    int seen[LANES_MAX] = {0}, found = 0;
    for (int i = 0; i < lanes; i++) {
        if (seen[c->of[i]]++ != rank) continue;
        lane[c->of[i]] = i;
        found++;
    }
    return found == c->n;
}

struct others {
    struct repeats *r;
    bool many;
};

static void note_other_load(const struct expr *e, void *ctx)
{
    struct others *o = ctx;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->type.lanes == 1) return;
    if (e->u.tensor->scope == SCOPE_STACK || e->u.tensor->scope == SCOPE_TABLE) return;
    o->many |= classes_of(o->r, e).n > LANES_LEAST;
}

/* What is left reads several values that were taken out, and puts each back in place: it is cheaper
 * to compute it for the first lane of every class, for the second, .., and to place the results. */
static const struct expr *by_rank(struct repeats *r, const struct expr *e)
{
    struct ir *ir = r->l->ir;
    int lanes = e->type.lanes, n = r->last.n;
    struct others o = {.r = r};
    const struct expr *part[LANES_MAX], *zero = expr_int(ir, 0);
    int64_t place[LANES_MAX];
    if (r->taken < 2 || !r->alike || e->op == OP_LOAD) return e;
    int k = lanes / n;
    expr_walk(e, note_other_load, &o);
    for (int rank = 0; rank < k && !o.many; rank++) {
        memo_clear(&r->pick.memo);
        r->pick.n = n;
        o.many = !lanes_of_rank(&r->last, lanes, rank, r->pick.lane);
        part[rank] = o.many ? NULL : lanes_pick(&r->pick, e);
        o.many |= !part[rank];
        for (int j = 0; j < n && !o.many; j++) place[r->pick.lane[j]] = rank * n + j;
    }
    const struct expr *back = o.many ? NULL : lanes_make(ir, zero, place, lanes);
    if (!back) return e;
    struct tensor *t = array(r, "part", (enum dtype)e->type.dtype, lanes);
    for (int rank = 0; rank < k; rank++) put(r, t, rank * n, part[rank]);
    return expr_load(ir, t, &back, 1);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static const struct expr *take_out(struct repeats *r, const struct expr *e)
{
    const struct expr *to = memo_get(&r->to, e), *a[16];
    if (to || e->type.lanes == 1 || e->n == 0 || e->op == OP_SPLAT || e->op == OP_RAMP)
        return to ? to : e;
    struct classes c = classes_of(r, e);
    if (worth_it(e, &c)) to = once(r, e, &c);
    if (!to && (e->op == OP_LOAD || e->op == OP_LOADC)) to = e;
    if (!to) {
        bool changed = false;
        for (int i = 0; i < e->n; i++) {
            a[i] = take_out(r, e->a[i]);
            changed |= a[i] != e->a[i];
        }
        to = changed ? expr_with(r->l->ir, e, a) : e;
    }
    memo_put(&r->to, e, to);
    return to;
}

static struct stmt *repeats_stmt(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind != ST_STORE || s->u.store.value->type.lanes < 2 * LANES_LEAST || stmt_mask(s))
        return s;
    if (s->u.store.value->type.lanes > LANES_MAX) return s;
    struct repeats r = {.l = l, .name = s->u.store.tensor->name, .pick = {.ir = l->ir}};
    s->u.store.value = by_rank(&r, take_out(&r, s->u.store.value));
    memo_fini(&r.known);
    memo_fini(&r.to);
    memo_fini(&r.pick.memo);
    vec_free(&r.all);
    if (!r.outer) return s;
    struct stmt *parent = s->parent;
    block_append(l->ir, r.inner, s);
    r.outer->parent = parent;
    return r.outer;
}

enum rc pass_repeats(struct low *l)
{
    rewrite_both(l, repeats_stmt, NULL);
    return RC_OK;
}
