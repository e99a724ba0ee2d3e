/* model: cycles = max over the core's ports, plus what the caches cannot deliver in time.
 *
 *   innermost bodies   distinct expressions counted once each: FMAs, loads, stores, other vector
 * work, against ports per cycle; each serial loop adds its branch registers          REG tensors
 * and distinct vector loads alive beyond target.vregs spill: two memory operations each per
 * iteration caches             for L1 and L2: the outermost loop whose whole footprint still fits
 * is where the level is refilled; bytes refilled there over the level's bandwidth
 *
 * The traffic model is that of tile-size models since Wolf and Lam (PLDI 1991): an array's
 * footprint under a loop is the product of the trip counts its subscript depends on, at most the
 * array itself. Port numbers are for wide out-of-order cores (two loads, one store, five
 * instructions a cycle); they rank, they do not predict. */
#include "tune/model.h"

#include <math.h>
#include <string.h>

#include "base/map.h"
#include "base/vec.h"

enum { MODEL_DEPTH = 40, MODEL_ACCESS = 512 };
static const double load_ports = 2, store_ports = 1, issue_width = 5, l1_fill = 32, l2_fill = 12,
                    clock_default = 3.5, tie_break = 0.25;

struct access {
    const struct tensor *tensor;
    int bytes, depth;       /* bytes a touch; loops around it */
    bool uses[MODEL_DEPTH]; /* which of them its subscript depends on */
    double trips[MODEL_DEPTH];
};

struct walk {
    const struct target *t;
    const struct var *var[MODEL_DEPTH];
    double trips[MODEL_DEPTH], mid[MODEL_DEPTH];
    int depth;
    struct map *seen;                     /* expressions already counted in this body */
    double fma, load, store, other, live; /* of the body being counted */
    double tile;                          /* registers held by REG tensors here */
    double cycles;
    VEC(struct access) accesses;
};

static double lanes_cost(const struct walk *w, struct type t)
{
    double registers = (double)t.lanes * dtype_bits(t.dtype) / (double)w->t->vector_bits;
    return t.lanes == 1 ? 1 : ceil(registers);
}

static void note_access(struct walk *w, const struct tensor *t, const struct expr *subscript,
                        struct type type)
{
    if (t->scope == SCOPE_REG || w->accesses.n >= MODEL_ACCESS) return;
    struct access a = {.tensor = t,
                       .bytes = dtype_bytes(type.dtype) * type.lanes,
                       .depth = w->depth};
    for (int d = 0; d < w->depth; d++) {
        a.uses[d] = expr_uses_var(subscript, w->var[d]);
        a.trips[d] = w->trips[d];
    }
    vec_push(&w->accesses, a);
}

static void count_expr(const struct expr *e, void *ctx)
{
    struct walk *w = ctx;
    if (map_get_bytes(w->seen, &e->id, sizeof e->id)) return;
    map_put_bytes(w->seen, &e->id, sizeof e->id, w);
    double cost = lanes_cost(w, e->type);
    switch (e->op) {
    case OP_INT:
    case OP_REAL:
    case OP_VAR:
    case OP_RAMP:
        break;
    case OP_SPLAT:
        w->other += w->t->broadcast_mem ? 0 : 0.5 * cost;
        break;
    case OP_LOAD:
    case OP_LOADC:
        if (e->u.tensor->scope == SCOPE_REG) break;
        /* A core that starts one full-width FMA a cycle moves one full-width vector a cycle, too
         * (Zen 4, AVX-512). */
        w->load += e->type.lanes > 1 && w->t->fma_ports == 1 ? 2 * cost : cost;
        if (e->type.lanes > 1) w->live += cost;
        note_access(w, e->u.tensor, e->a[expr_load_first(e)], e->type);
        break;
    case OP_FMA:
        w->fma += cost;
        break;
    default:
        if (dtype_is_float(e->type.dtype) || e->type.lanes > 1)
            w->other += cost;
        else
            w->other += 0.25; /* index arithmetic: mostly strength-reduced away */
    }
}

static double product(const struct walk *w)
{
    double n = 1;
    for (int d = 0; d < w->depth; d++) n *= w->trips[d];
    return n;
}

static void body_begin(struct walk *w)
{
    map_free(w->seen);
    w->seen = map_new();
    w->fma = w->load = w->store = w->other = w->live = 0;
}

/* Cycles of one execution of the statements counted since body_begin. Each accumulator is a chain
 * of dependent FMAs, so too few of them wait for their latency. What does not bind still costs a
 * little: it breaks ties. */
static double body_cycles(const struct walk *w)
{
    double spill = fmax(0, w->tile + fmin(w->live, 4) - (double)w->t->vregs);
    double vector =
        fmax(w->fma / (double)w->t->fma_ports, (w->fma + w->other) / (double)(w->t->fma_ports + 1));
    double chain = w->tile > 0 ? (double)w->t->fma_latency * w->fma / w->tile : 0;
    double memory = fmax((w->load + spill) / load_ports, (w->store + spill) / store_ports);
    double issue = (w->fma + w->load + w->store + w->other + 2 * spill) / issue_width;
    return fmax(fmax(vector, chain), fmax(memory, issue)) + tie_break * (vector + memory + issue);
}

static void walk_stmt(struct walk *w, struct stmt *s);

static void close_body(struct walk *w)
{
    w->cycles += body_cycles(w) * product(w);
    body_begin(w);
}

/* Value of an index expression with every loop in the middle of its range: what computed tap bounds
 * usually are. */
static double middle(const struct walk *w, const struct expr *e)
{
    double a = e->n > 0 ? middle(w, e->a[0]) : 0, b = e->n > 1 ? middle(w, e->a[1]) : 0;
    switch (e->op) {
    case OP_INT:
        return (double)e->u.i;
    case OP_ADD:
        return a + b;
    case OP_SUB:
        return a - b;
    case OP_MUL:
        return a * b;
    case OP_MIN:
        return fmin(a, b);
    case OP_MAX:
        return fmax(a, b);
    case OP_DIV:
        return b != 0 ? floor(a / b) : 0;
    case OP_MOD:
        return b != 0 ? a - b * floor(a / b) : 0;
    case OP_VAR:
        for (int d = 0; d < w->depth; d++)
            if (w->var[d] == e->u.var) return w->mid[d];
        return 1000; /* a dynamic extent */
    default:
        return 0;
    }
}

static void walk_loop(struct walk *w, struct stmt *s)
{
    if (w->depth == MODEL_DEPTH) return;
    close_body(w);
    w->var[w->depth] = s->u.loop.var;
    double lo = middle(w, s->u.loop.lo), hi = middle(w, s->u.loop.hi);
    w->mid[w->depth] = floor((lo + hi) / 2);
    w->trips[w->depth++] = fmax(0, hi - lo);
    walk_stmt(w, s->u.loop.body);
    w->other += 2; /* induction and branch */
    close_body(w);
    w->depth--;
}

static void walk_stmt(struct walk *w, struct stmt *s)
{
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) walk_stmt(w, s->u.block.p[i]);
        break;
    case ST_FOR:
        walk_loop(w, s);
        break;
    case ST_IF:
        expr_walk(s->u.cond.cond, count_expr, w);
        w->other += 1;
        walk_stmt(w, s->u.cond.then);
        break;
    case ST_LET:
        expr_walk(s->u.let.value, count_expr, w);
        walk_stmt(w, s->u.let.body);
        break;
    case ST_ALLOC: {
        double before = w->tile;
        int64_t n;
        if (s->u.alloc.tensor->scope == SCOPE_REG && expr_is_int(s->u.alloc.tensor->extent[0], &n))
            w->tile += (double)n * lanes_cost(w, s->u.alloc.tensor->type);
        walk_stmt(w, s->u.alloc.body);
        w->tile = before;
        break;
    }
    case ST_STAGE:
        walk_stmt(w, s->u.stage.body);
        break;
    case ST_STORE: {
        const struct tensor *t = s->u.store.tensor;
        expr_walk(s->u.store.value, count_expr, w);
        if (t->scope == SCOPE_REG) break;
        w->store += lanes_cost(w, s->u.store.value->type);
        note_access(w, t, s->u.store.idx[0], s->u.store.value->type);
        break;
    }
    case ST_UPDATE:
        break; /* not in a kernel */
    }
}

/* Bytes of the tensor touched by the access's loops from depth d on. */
static double footprint(const struct access *a, int d)
{
    double n = a->bytes;
    int64_t elements;
    for (int i = d; i < a->depth; i++)
        if (a->uses[i]) n *= a->trips[i];
    if (expr_is_int(a->tensor->extent[0], &elements))
        n = fmin(n, (double)elements * dtype_bytes(a->tensor->type.dtype));
    return n;
}

/* Cycles to refill a cache of `size` bytes for one access: at the outermost depth where its
 * footprint fits. Loops further out find nothing left, by choice of that depth. */
static double refill(const struct access *a, double size, double fill)
{
    int d = a->depth;
    while (d > 0 && footprint(a, d - 1) <= size / 2) d--;
    double times = 1;
    for (int i = 0; i < d; i++) times *= a->trips[i];
    return times * footprint(a, d) / fill;
}

double model_time_ns(const struct nest *kernel, const struct target *t)
{
    struct walk w = {.t = t};
    body_begin(&w);
    walk_stmt(&w, kernel->body);
    close_body(&w);
    double traffic = 0;
    for (size_t i = 0; i < w.accesses.n; i++)
        traffic += refill(&w.accesses.p[i], (double)t->l1, l1_fill) +
                   refill(&w.accesses.p[i], (double)t->l2, l2_fill);
    map_free(w.seen);
    vec_free(&w.accesses);
    double ghz = t->clock_ghz > 0 ? t->clock_ghz : clock_default;
    return (w.cycles + 0.5 * traffic) / ghz;
}
