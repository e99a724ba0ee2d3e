/* Scratch: every TEMP tensor gets its byte offset; those that never live together share bytes.
 *
 * Requires: flat tensors whose extents are constant or bounded, like min(N, 64).
 * Provides: tensor->scratch_at and scratch_per_worker for each TEMP, 64-byte aligned, and the two
 * sizes of the kernel: scratch_a bytes once, scratch_b bytes for each worker of a parallel loop
 * (tensors allocated inside one).
 * Refuses: lower.scratch_dynamic, lower.scratch.
 *
 *     a written in 1, read in 2; b written in 2, read in 3; c written in 3, read in 4
 *     a and c share offset 0, b stands behind them
 *
 * A tensor lives from its first to its last use, counted in statements; a use inside a loop that
 * its allocation is outside of lasts as long as that loop, because the next turn may read it
 * again. */
#include "lower/private.h"

enum { TEMPS_MAX = 512, SCRATCH_ALIGN = 64 };

struct life {
    struct tensor *t;
    const struct stmt *alloc; /* NULL: declared by the nest */
    int64_t bytes, at;
    int begin, end; /* numbers of statements, inclusive; end < begin: never used */
    bool per_worker;
};

struct scratch {
    struct low *l;
    struct env *env; /* what is known of dynamic extents */
    struct life life[TEMPS_MAX];
    int n;
    bool many;
    int now; /* number of the present statement */
    const struct stmt *path[128];
    int begin[128], depth; /* loops around it and their numbers */
};

static void add_life(struct scratch *c, struct tensor *t, const struct stmt *alloc)
{
    if (t->scope != SCOPE_TEMP) return;
    if (c->n == TEMPS_MAX) {
        c->many = true;
        return;
    }
    struct life *x = &c->life[c->n++];
    *x = (struct life){.t = t, .alloc = alloc, .begin = 1, .end = 0, .bytes = -1};
    int64_t n = expr_range(c->env, t->extent[0]).hi; /* min(N, 64) is at most 64 */
    if (n >= 0 && n < INT64_MAX / 64)
        x->bytes = (n * dtype_bytes((enum dtype)t->type.dtype) + SCRATCH_ALIGN - 1) /
                   SCRATCH_ALIGN * SCRATCH_ALIGN;
    for (const struct stmt *p = alloc; p; p = p->parent)
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_PARALLEL) x->per_worker = true;
}

static void use(struct scratch *c, const struct tensor *t)
{
    struct life *x = NULL;
    if (t->scope != SCOPE_TEMP) return;
    for (int i = c->n - 1; i >= 0 && !x; i--)
        if (c->life[i].t == t) x = &c->life[i];
    if (!x) return;
    int begin = c->now;
    for (int i = 0; i < c->depth; i++) { /* outermost loop that the allocation does not sit in */
        if (x->alloc && stmt_is_ancestor(c->path[i], x->alloc)) continue;
        begin = c->begin[i];
        break;
    }
    if (x->end < x->begin) x->begin = begin;
    if (begin < x->begin) x->begin = begin;
    x->end = c->now; /* a loop's end is put right when it is left */
}

static void use_node(const struct expr *e, void *ctx)
{
    if (e->op == OP_LOAD || e->op == OP_LOADC) use(ctx, e->u.tensor);
}

static void use_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, use_node, ctx); }

static void live_stmt(struct scratch *c, struct stmt *s)
{
    int before = ++c->now;
    stmt_exprs(s, use_slot, c);
    if (s->kind == ST_STORE) use(c, s->u.store.tensor);
    if (s->kind == ST_ALLOC) add_life(c, s->u.alloc.tensor, s);
    bool loop = s->kind == ST_FOR;
    if (loop) {
        QN_CHECK(c->depth < (int)QN_COUNT(c->path), "loops nested deeper than %d", c->depth);
        c->path[c->depth] = s;
        c->begin[c->depth++] = before;
    }
    struct stmt **body = stmt_body(s);
    if (body) live_stmt(c, *body);
    for (int i = 0; s->kind == ST_BLOCK && i < s->u.block.n; i++) live_stmt(c, s->u.block.p[i]);
    if (!loop) return;
    c->depth--;
    for (int i = 0; i < c->n; i++) { /* used inside, allocated outside: alive until the loop ends */
        struct life *x = &c->life[i];
        if (x->end >= before && !(x->alloc && stmt_is_ancestor(s, x->alloc))) x->end = c->now;
    }
}

static bool overlap(const struct life *a, const struct life *b)
{
    return a->per_worker == b->per_worker && a->begin <= b->end && b->begin <= a->end;
}

/* Lowest offset free of all neighbours placed so far, larger tensors first. */
static void place(struct scratch *c, struct life *x, const bool *placed)
{
    bool moved = true;
    x->at = 0;
    while (moved) {
        moved = false;
        for (int i = 0; i < c->n; i++) {
            const struct life *o = &c->life[i];
            if (!placed[i] || !overlap(o, x)) continue;
            if (x->at < o->at + o->bytes && o->at < x->at + x->bytes) {
                x->at = o->at + o->bytes;
                moved = true;
            }
        }
    }
    x->t->scratch_at = x->at;
    x->t->scratch_per_worker = x->per_worker;
}

enum rc pass_scratch(struct low *l)
{
    struct scratch *c = ARENA_NEW(l->ir->arena, struct scratch);
    bool placed[TEMPS_MAX] = {false};
    c->l = l;
    c->env = env_new(l->ir);
    for (int i = 0; i < l->n->ndyn; i++) {
        const int64_t *most = l->naive ? l->o->dyn : NULL;
        env_put(c->env, l->n->dyn[i], expr_int(l->ir, 0),
                most ? expr_int(l->ir, most[i] + 1) : NULL);
    }
    for (int i = 0; i < l->n->ntensor; i++) add_life(c, l->n->tensor[i], NULL);
    live_stmt(c, l->n->pack);
    live_stmt(c, l->n->body);
    if (c->many)
        return err_set(l->e, RC_FAIL, "lower.scratch", "more than %d temporary tensors", TEMPS_MAX);
    for (int k = 0; k < c->n; k++) {
        int best = -1;
        for (int i = 0; i < c->n; i++)
            if (!placed[i] && (best < 0 || c->life[i].bytes > c->life[best].bytes)) best = i;
        struct life *x = &c->life[best];
        if (x->bytes < 0)
            return err_set(
                l->e, RC_FAIL, "lower.scratch_dynamic",
                "temporary %s would be as long as a dynamic extent; write its expression where it "
                "is "
                "used (DSL.txt, dynamic extents), or split its loop and compute it per block",
                x->t->name);
        place(c, x, placed);
        placed[best] = true;
        int64_t *size = x->per_worker ? &l->scratch_b : &l->scratch_a;
        *size = i64_max(*size, x->at + x->bytes);
    }
    if (l->scratch_a <= l->t->scratch_limit && l->scratch_b <= l->t->scratch_limit) return RC_OK;
    return err_set(l->e, RC_FAIL, "lower.scratch",
                   "the kernel needs %lld bytes of scratch, the limit is %lld",
                   (long long)i64_max(l->scratch_a, l->scratch_b), (long long)l->t->scratch_limit);
}
