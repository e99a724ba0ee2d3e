/* Registers: each REG tensor becomes variables with constant subscripts, or gives up being one.
 *
 * Requires: unrolled, flat.
 * Provides: REG tensors whose type has the lanes of their accesses and whose subscripts count
 * variables. A tensor accessed in vectors here and scalars there (a tail of 9 = 8 + 1) becomes one
 * tensor per width. One whose accesses overlap, or whose subscripts are not constant, becomes a
 * STACK array (TEMP if a parallel loop stands between it and its use).
 * Refuses: lower.reg_tile when that array would not fit, lower.stack when the stack arrays together
 * do not.
 *
 *     alloc reg acc: f32[32]                          alloc reg acc: f32x16[2]
 *     acc[ramp(16, 1, 16)] = splat(0.0, 16)    -->    acc[1] = splat(0.0, 16) */
#include <stdio.h>
#include <string.h>

#include "lower/private.h"

enum { REG_ELEMENTS = 4096, WIDTHS = 4 };

struct tile {
    struct tensor *t;
    int64_t n;                 /* elements */
    uint16_t *lanes;           /* of the access covering each element; 0 = none */
    int16_t *first;            /* element where that access begins */
    int16_t *variable;         /* number of the variable beginning there */
    bool broken, shared;       /* not constant or overlapping; used below a parallel loop */
    int width[WIDTHS], nwidth; /* lanes in use */
    struct tensor *made[WIDTHS];
};

struct regs {
    struct low *l;
    struct tile **tile; /* by tensor id; NULL = not a local tensor */
    uint32_t n;
    struct stmt *at;
};

static struct tile *tile_of(struct regs *r, const struct tensor *t)
{
    return t->id < r->n ? r->tile[t->id] : NULL;
}

/* Constant subscript: first element and lanes. */
static bool constant_access(const struct expr *at, int64_t *first, int *lanes)
{
    int64_t stride = 0;
    *lanes = at->type.lanes;
    if (at->op == OP_RAMP)
        return expr_is_int(at->a[0], first) && expr_is_int(at->a[1], &stride) && stride == 1;
    return expr_is_int(at, first);
}

static void note_access(struct regs *r, const struct tensor *t, const struct expr *at)
{
    struct tile *k = tile_of(r, t);
    int64_t first = 0;
    int lanes = 0;
    if (!k) return;
    for (const struct stmt *p = r->at->parent; p; p = p->parent) {
        if (p->kind == ST_ALLOC && p->u.alloc.tensor == t) break;
        if (p->kind == ST_FOR && p->u.loop.kind == LOOP_PARALLEL) k->shared = true;
    }
    if (k->broken || t->scope != SCOPE_REG) return;
    k->broken = !constant_access(at, &first, &lanes) || first < 0 || first + lanes > k->n;
    for (int64_t i = first; !k->broken && i < first + lanes; i++) {
        if (k->lanes[i] && (k->lanes[i] != lanes || k->first[i] != first)) k->broken = true;
        k->lanes[i] = (uint16_t)lanes;
        k->first[i] = (int16_t)first;
    }
}

static void note_node(const struct expr *e, void *ctx)
{
    if (e->op == OP_LOAD || e->op == OP_LOADC)
        note_access(ctx, e->u.tensor, e->a[expr_load_first(e)]);
}

static void note_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, note_node, ctx); }

static bool note_stmt(struct stmt *s, void *ctx)
{
    struct regs *r = ctx;
    r->at = s;
    if (s->kind == ST_ALLOC && s->u.alloc.tensor->scope != SCOPE_TEMP) {
        struct tensor *t = s->u.alloc.tensor;
        struct arena *a = r->l->ir->arena;
        struct tile *k = ARENA_NEW(a, struct tile);
        k->t = t;
        k->broken = !expr_is_int(t->extent[0], &k->n) || k->n > REG_ELEMENTS;
        if (!k->broken && t->scope == SCOPE_REG) {
            k->lanes = ARENA_ARRAY(a, uint16_t, k->n);
            k->first = ARENA_ARRAY(a, int16_t, k->n);
            k->variable = ARENA_ARRAY(a, int16_t, k->n);
        }
        r->tile[t->id] = k;
    }
    stmt_exprs(s, note_slot, r);
    if (s->kind == ST_STORE) note_access(r, s->u.store.tensor, s->u.store.idx[0]);
    return true;
}

/* Numbers the variables of each width and makes their tensors. */
static void make_tensors(struct regs *r, struct tile *k)
{
    struct ir *ir = r->l->ir;
    int count[WIDTHS] = {0};
    for (int64_t i = 0; i < k->n && !k->broken; i++) {
        if (!k->lanes[i] || k->first[i] != i) continue;
        int w = 0;
        while (w < k->nwidth && k->width[w] != k->lanes[i]) w++;
        if (w == WIDTHS) k->broken = true;
        if (w == k->nwidth && !k->broken) k->width[k->nwidth++] = k->lanes[i];
        if (!k->broken) k->variable[i] = (int16_t)count[w]++;
    }
    for (int w = 0; w < k->nwidth && !k->broken; w++) {
        const char *name = k->t->name;
        if (w > 0) name = arena_printf(ir->arena, "%s.w%d", name, k->width[w]);
        const struct expr *n = expr_int(ir, count[w]);
        k->made[w] = tensor_new(ir, name, type_vec((enum dtype)k->t->type.dtype, k->width[w]),
                                SCOPE_REG, 1, &n);
    }
}

static struct tensor *variable_of(struct regs *r, const struct tensor *t, const struct expr *at,
                                  const struct expr **to)
{
    struct tile *k = tile_of(r, t);
    int64_t first = 0;
    int lanes = 0, w = 0;
    if (!k || !k->nwidth || k->broken) return NULL;
    constant_access(at, &first, &lanes);
    while (k->width[w] != lanes) w++;
    *to = expr_int(r->l->ir, k->variable[first]);
    return k->made[w];
}

static const struct expr *rename_node(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct expr *at = NULL;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return NULL;
    const struct tensor *t = variable_of(ctx, e->u.tensor, e->a[expr_load_first(e)], &at);
    if (!t) return NULL;
    if (e->op == OP_LOAD) return expr_load(ir, t, &at, 1);
    return expr_select(ir, e->a[0], expr_load(ir, t, &at, 1),
                       e->a[1]); /* a register may always be read */
}

static struct stmt *rename_stmt(struct low *l, struct stmt *s, void *ctx)
{
    struct regs *r = ctx;
    const struct expr *at = NULL;
    if (s->kind == ST_STORE) {
        struct tensor *t = variable_of(r, s->u.store.tensor, s->u.store.idx[0], &at);
        if (!t) return s;
        s->u.store.tensor = t;
        s->u.store.idx[0] = at;
        return s;
    }
    struct tile *k = s->kind == ST_ALLOC ? tile_of(r, s->u.alloc.tensor) : NULL;
    if (!k || s->u.alloc.tensor->scope != SCOPE_REG) return s;
    struct stmt *body = s->u.alloc.body;
    for (int w = 0; w < k->nwidth; w++) body = stmt_alloc(l->ir, k->made[w], body);
    return body;
}

/* Bytes of stack arrays live at once, at most. */
static int64_t stack_bytes(const struct stmt *s)
{
    int64_t most = 0, n = 0;
    struct stmt **body = stmt_body((struct stmt *)s);
    if (body) most = stack_bytes(*body);
    for (int i = 0; s->kind == ST_BLOCK && i < s->u.block.n; i++)
        most = i64_max(most, stack_bytes(s->u.block.p[i]));
    if (s->kind != ST_ALLOC || s->u.alloc.tensor->scope != SCOPE_STACK) return most;
    const struct tensor *t = s->u.alloc.tensor;
    if (!expr_is_int(t->extent[0], &n) || n > INT32_MAX) return INT64_MAX / 2;
    return i64_min(INT64_MAX / 2,
                   most + (n * dtype_bytes((enum dtype)t->type.dtype) + 63) / 64 * 64);
}

enum rc pass_regs(struct low *l)
{
    struct regs r = {.l = l, .n = l->ir->next_tensor};
    bool demoted = false;
    r.tile = ARENA_ARRAY(l->ir->arena, struct tile *, r.n);
    stmt_walk(l->n->body, note_stmt, &r);
    stmt_walk(l->n->pack, note_stmt, &r);
    for (uint32_t i = 0; i < r.n; i++) {
        struct tile *k = r.tile[i];
        if (!k) continue;
        if (k->t->scope == SCOPE_REG && !k->shared) make_tensors(&r, k);
        if (k->shared) {
            k->t->scope = SCOPE_TEMP;
        } else if (k->broken && k->t->scope == SCOPE_REG) {
            k->t->scope = SCOPE_STACK;
            demoted = true;
        }
    }
    map_both(l, rename_node, &r);
    rewrite_both(l, rename_stmt, &r);
    int64_t bytes = i64_max(stack_bytes(l->n->body), stack_bytes(l->n->pack));
    if (bytes <= l->t->stack_limit) return RC_OK;
    const char *code = demoted ? "lower.reg_tile" : "lower.stack",
               *why = "arrays on the stack need";
    if (demoted)
        why = "a register tile has subscripts that are not constant, and as an array it needs";
    return err_set(l->e, RC_FAIL, code,
                   "%s %lld bytes, the limit is %lld; unroll its loops, or shrink it", why,
                   (long long)bytes, (long long)l->t->stack_limit);
}
