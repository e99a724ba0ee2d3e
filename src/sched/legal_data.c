/* May this tensor or stage be moved so? Legality of compute_at, inline, cache, pack; the refusals
 * of what no pass lowers yet.
 *
 *     cache x y.p scratch     the box of x read below y.p:
 *                             plan.box = [n, p*2 - 1, 0, 0] + [1, 3, 113, 64]
 *
 * Invariants: nothing is edited; the plan holds the box, so that apply finds exactly what was
 * judged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/private.h"

static bool plan_stage(struct plan *p, int arg)
{
    const char *name = p->step->arg[arg];
    p->stage = nest_stage(p->n, name);
    if (!p->stage) return refuse(p, REJECT_UNKNOWN_NAME, "there is no stage '%s'", name);
    return true;
}

static bool plan_tensor(struct plan *p, int arg)
{
    const char *name = p->step->arg[arg];
    p->tensor = nest_tensor(p->n, name);
    if (!p->tensor) return refuse(p, REJECT_UNKNOWN_NAME, "there is no tensor '%s'", name);
    return true;
}

/* A loop of the kernel phase that may hold a local tensor; `.` is the root where allowed. */
static bool plan_place(struct plan *p, int arg, bool root, bool local)
{
    const char *name = p->step->arg[arg];
    p->at = NULL;
    if (root && strcmp(name, ".") == 0) return true;
    p->at = nest_loop(p->n, name);
    if (!p->at || !stmt_is_ancestor(p->n->body, p->at))
        return refuse(p, REJECT_UNKNOWN_NAME, "there is no loop '%s' in the kernel", name);
    if (local && stmt_below_kind(p->at, LOOP_VECTOR))
        return refuse(p, REJECT_PLACE_VECTOR, "loop '%s'", name);
    return true;
}

/* `order d d ...` from argument `from`, or the natural order. */
static bool plan_order(struct plan *p, int from, int rank)
{
    bool seen[REGION_RANK] = {false};
    for (int d = 0; d < rank; d++) p->order[d] = d;
    if (from >= p->step->n) return true;
    if (p->step->n - from - 1 != rank)
        return refuse(p, REJECT_ORDER_BAD, "'%s' has %d dimensions", p->tensor->name, rank);
    for (int j = 0; j < rank; j++) {
        long d = strtol(p->step->arg[from + 1 + j], NULL, 10);
        if (d < 0 || d >= rank || seen[d])
            return refuse(p, REJECT_ORDER_BAD, "'%s' has dimensions 0 to %d", p->tensor->name,
                          rank - 1);
        seen[d] = true;
        p->order[j] = (int)d;
    }
    return true;
}

static struct stmt *place_body(struct plan *p) { return p->at ? p->at->u.loop.body : p->n->body; }

/* The box of t read below the place; constant extents. */
static bool plan_region(struct plan *p, const struct tensor *t, struct region *box)
{
    const char *why = "";
    int64_t v;
    if (!region_read(p->n, place_body(p), t, box, &why))
        return refuse(p, REJECT_REGION, "'%s': %s", t->name, why);
    int64_t elements = 1, whole = tensor_const_elements(t);
    for (int d = 0; d < box->rank; d++) {
        if (!expr_is_int(box->extent[d], &v) || v < 1)
            return refuse(p, REJECT_REGION_EXTENT, "'%s', dimension %d", t->name, d);
        bool much = __builtin_mul_overflow(elements, v, &elements) || elements > INT64_C(1) << 32;
        if (much || (whole >= 0 && elements > 8 * whole + 4096))
            return refuse(p, REJECT_COPY_SIZE, "'%s'", t->name);
    }
    return true;
}

struct outside {
    const struct tensor *t;
    const struct stmt *below;
    bool reads, writes;
};

static void outside_expr(const struct expr **slot, void *ctx)
{
    struct outside *o = ctx;
    if (expr_uses_tensor(*slot, o->t)) o->reads = true;
}

static bool outside_stmt(struct stmt *s, void *ctx)
{
    struct outside *o = ctx;
    if (s == o->below) return false;
    stmt_exprs(s, outside_expr, o);
    if (stmt_is_leaf(s) && leaf_writes(s, o->t)) o->writes = true;
    return true;
}

/* Uses of t in the nest outside the subtree `below`. */
static struct outside uses_outside(const struct nest *n, const struct tensor *t,
                                   const struct stmt *below)
{
    struct outside o = {t, below, false, false};
    stmt_walk(n->body, outside_stmt, &o);
    stmt_walk(n->pack, outside_stmt, &o);
    return o;
}

/* A top-level stage as the dsl made it, that alone defines its temporary tensors. */
static bool plan_movable(struct plan *p)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    const char *name = p->stage->u.stage.name;
    if (p->stage->parent != p->n->body)
        return refuse(p, REJECT_STAGE_TOUCHED, "stage '%s' is already inside another", name);
    struct stmt *any = stage_leaf(p->stage);
    int nt = any ? leaf_targets(any, target) : 0;
    for (int i = 0; i < nt; i++)
        if (target[i]->scope != SCOPE_TEMP)
            return refuse(p, REJECT_STAGE_OUTPUT, "'%s'", target[i]->name);
    for (const struct stmt *s = any; s && s != p->stage; s = s->parent)
        if (s->kind == ST_FOR && s->u.loop.ordered)
            return refuse(p, REJECT_ORDERED, "stage '%s' is computed whole", name);
    p->leaf = stage_untouched(p->stage);
    if (!p->leaf) return refuse(p, REJECT_STAGE_TOUCHED, "stage '%s'", name);
    for (int i = 0; i < nt; i++)
        if (uses_outside(p->n, target[i], p->stage).writes)
            return refuse(p, REJECT_STAGE_TOUCHED, "several equations define '%s'",
                          target[i]->name);
    return true;
}

/* ---- compute_at and inline ------------------------------------------------------------------- */

/* The one box that serves all targets of the stage. */
static bool plan_boxes(struct plan *p)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int nt = leaf_targets(p->leaf, target), boxes = 0;
    for (int i = 0; i < nt; i++) {
        struct region box;
        if (uses_outside(p->n, target[i], p->at->u.loop.body).reads)
            return refuse(p, REJECT_STAGE_READERS, "'%s' is read outside '%s'", target[i]->name,
                          p->step->arg[1]);
        if (!stmt_reads(p->at->u.loop.body, target[i])) continue;
        if (!plan_region(p, target[i], &box)) return false;
        for (int d = 0; d < box.rank && boxes; d++)
            if (box.lo[d] != p->box.lo[d] || box.extent[d] != p->box.extent[d])
                return refuse(p, REJECT_STAGE_UNIFORM, "'%s'", target[i]->name);
        p->box = box;
        boxes++;
    }
    if (boxes == 0)
        return refuse(p, REJECT_STAGE_UNUSED, "'%s' below '%s'", target[0]->name, p->step->arg[1]);
    return true;
}

bool legal_COMPUTE_AT(struct plan *p)
{
    p->scope = SCOPE_TEMP;
    if (p->step->n == 3) scope_parse(p->step->arg[2], &p->scope);
    if (!plan_stage(p, 0) || !plan_place(p, 1, false, true) || !plan_movable(p)) return false;
    if (stmt_is_ancestor(p->stage, p->at))
        return refuse(p, REJECT_STAGE_READERS, "'%s' is a loop of the stage itself",
                      p->step->arg[1]);
    return plan_boxes(p);
}

struct read_kinds {
    const struct tensor *t;
    bool plain, conditional;
};

static void read_kind(const struct expr *e, void *ctx)
{
    struct read_kinds *k = ctx;
    if (e->op == OP_LOAD && e->u.tensor == k->t) k->plain = true;
    if (e->op == OP_LOADC && e->u.tensor == k->t) k->conditional = true;
}

static void read_kinds_expr(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, read_kind, ctx);
}

static bool read_kinds_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, read_kinds_expr, ctx);
    return true;
}

bool legal_INLINE(struct plan *p)
{
    if (!plan_stage(p, 0)) return false;
    struct stmt *any = stage_leaf(p->stage);
    if (any && any->kind == ST_UPDATE)
        return refuse(p, REJECT_INLINE_REDUCTION, "stage '%s'", p->step->arg[0]);
    if (!plan_movable(p)) return false;
    p->tensor = p->leaf->u.store.tensor;
    struct read_kinds k = {p->tensor, false, false};
    stmt_walk(p->n->body, read_kinds_stmt, &k);
    if (!k.plain && !k.conditional) return refuse(p, REJECT_STAGE_UNUSED, "'%s'", p->tensor->name);
    if (k.conditional && expr_may_trap(p->leaf->u.store.value))
        return refuse(p, REJECT_INLINE_TRAP, "stage '%s'", p->step->arg[0]);
    return true;
}

/* ---- cache ----------------------------------------------------------------------------------- */

struct fill_search {
    const struct tensor *t;
    const struct expr *fill;
};

static void fill_of(const struct expr *e, void *ctx)
{
    struct fill_search *f = ctx;
    if (!f->fill && e->op == OP_LOADC && e->u.tensor == f->t &&
        (e->a[1]->op == OP_INT || e->a[1]->op == OP_REAL))
        f->fill = e->a[1];
}

static void fill_expr(const struct expr **slot, void *ctx) { expr_walk(*slot, fill_of, ctx); }

static bool fill_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, fill_expr, ctx);
    return true;
}

/* What the copy holds outside the tensor: the reads' default, else zero. */
static void plan_fill(struct plan *p)
{
    struct fill_search f = {p->tensor, NULL};
    stmt_walk(place_body(p), fill_stmt, &f);
    p->fill = f.fill ? f.fill : expr_const(p->n->ir, p->tensor->type, 0);
}

/* A free name `<tensor>.<word>`, or with a number behind it. */
static bool plan_copy_name(struct plan *p, const char *word)
{
    for (int i = 1; i < 10; i++) {
        char number[8] = "";
        if (i > 1) snprintf(number, sizeof number, "%d", i);
        const char *name = arena_printf(p->n->ir->arena, "%s.%s%s", p->tensor->name, word, number);
        if (strlen(name) + 20 > NAME_MAX_LEN)
            return refuse(p, REJECT_NAME_BAD, "'%s' is too long a name", name);
        if (nest_name_used(p->n, name)) continue;
        p->name[0] = name;
        return true;
    }
    return refuse(p, REJECT_NAME_TAKEN, "'%s.%s' has too many copies", p->tensor->name, word);
}

/* At the root the copy stands before the first stage that reads; nothing at or after that may
 * write. */
static bool plan_front(struct plan *p)
{
    struct stmt *body = p->n->body;
    p->front = NULL;
    for (int i = 0; i < body->u.block.n; i++) {
        struct stmt *s = body->u.block.p[i];
        if (!p->front && stmt_reads(s, p->tensor)) p->front = s;
        if (p->front && stmt_writes(s, p->tensor))
            return refuse(p, REJECT_CACHE_WRITTEN, "'%s'", p->tensor->name);
    }
    return true;
}

bool legal_CACHE(struct plan *p)
{
    if (!plan_tensor(p, 0) || !plan_place(p, 1, true, true)) return false;
    scope_parse(p->step->arg[2], &p->scope);
    if (!p->at && p->scope != SCOPE_TEMP)
        return refuse(p, REJECT_SCOPE_PLACE, "'%s'", p->tensor->name);
    if (!plan_order(p, 3, p->tensor->rank)) return false;
    if (!stmt_reads(place_body(p), p->tensor))
        return refuse(p, REJECT_STAGE_UNUSED, "'%s'", p->tensor->name);
    if (p->at && stmt_writes(p->at->u.loop.body, p->tensor))
        return refuse(p, REJECT_CACHE_WRITTEN, "'%s'", p->tensor->name);
    if (!p->at && alloc_of(p->n, p->tensor))
        return refuse(p, REJECT_CACHE_WRITTEN, "'%s' is local to a loop", p->tensor->name);
    if (!p->at && !plan_front(p)) return false;
    if (!plan_region(p, p->tensor, &p->box) || !plan_copy_name(p, "cache")) return false;
    plan_fill(p);
    return true;
}

/* ---- pack ------------------------------------------------------------------------------------ */

struct const_check {
    struct stmt *stage;
    const struct tensor *bad;
};

static void const_load(const struct expr *e, void *ctx)
{
    struct const_check *c = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    enum scope s = e->u.tensor->scope;
    bool constant = s == SCOPE_CONST || s == SCOPE_TABLE || s == SCOPE_PACKED;
    if (!constant && !stmt_writes(c->stage, e->u.tensor)) c->bad = e->u.tensor;
}

static void const_expr(const struct expr **slot, void *ctx) { expr_walk(*slot, const_load, ctx); }

static bool const_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, const_expr, ctx);
    return true;
}

static bool legal_pack_stage(struct plan *p)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    if (!plan_stage(p, 0)) return false;
    p->leaf = stage_leaf(p->stage);
    if (p->stage->parent != p->n->body || !p->leaf)
        return refuse(p, REJECT_STAGE_TOUCHED, "stage '%s'", p->step->arg[0]);
    int nt = leaf_targets(p->leaf, target);
    for (int i = 0; i < nt; i++) {
        if (target[i]->scope != SCOPE_TEMP)
            return refuse(p, REJECT_STAGE_OUTPUT, "'%s'", target[i]->name);
        if (tensor_const_elements(target[i]) < 0)
            return refuse(p, REJECT_PACK_EXTENT, "'%s'", target[i]->name);
        if (uses_outside(p->n, target[i], p->stage).writes)
            return refuse(p, REJECT_STAGE_TOUCHED, "several equations define '%s'",
                          target[i]->name);
    }
    struct const_check c = {p->stage, NULL};
    stmt_walk(p->stage, const_stmt, &c);
    if (c.bad)
        return refuse(p, REJECT_PACK_STAGE, "stage '%s' reads '%s'", p->step->arg[0], c.bad->name);
    return true;
}

/* Loops around and at the place whose variables begin the box: the packed tensor's leading
 * dimensions. */
static bool plan_lead(struct plan *p)
{
    struct stmt *found[64];
    int n = 0;
    p->nlead = 0;
    for (struct stmt *s = p->at; s; s = s->parent) {
        bool used = false;
        for (int d = 0; d < p->box.rank && s->kind == ST_FOR; d++)
            used |= expr_uses_var(p->box.lo[d], s->u.loop.var);
        if (used && n < (int)QN_COUNT(found)) found[n++] = s;
    }
    if (n + p->box.rank > REGION_RANK)
        return refuse(p, REJECT_TENSOR_RANK, "'%s' at '%s'", p->tensor->name, p->step->arg[1]);
    for (int i = n - 1; i >= 0; i--) {
        int64_t extent, lo;
        bool zero = expr_is_int(found[i]->u.loop.lo, &lo) && lo == 0;
        if (!loop_extent(found[i], &extent) || !zero)
            return refuse(p, REJECT_PACK_EXTENT, "loop '%s' has no constant extent",
                          found[i]->u.loop.var->name);
        p->lead[p->nlead++] = found[i];
    }
    return true;
}

bool legal_PACK(struct plan *p)
{
    bool placed = p->step->n > 1 && strcmp(p->step->arg[1], "order") != 0;
    if (!placed && p->step->n == 1) return legal_pack_stage(p);
    if (!placed)
        return refuse(p, REJECT_BAD_ARGS, "a place is needed before `order`; `.` is the root");
    if (!plan_tensor(p, 0) || !plan_place(p, 1, true, false)) return false;
    if (p->tensor->scope != SCOPE_CONST && p->tensor->scope != SCOPE_PACKED)
        return refuse(p, REJECT_PACK_SCOPE, "'%s'", p->tensor->name);
    if (!plan_order(p, 2, p->tensor->rank)) return false;
    if (!stmt_reads(place_body(p), p->tensor))
        return refuse(p, REJECT_STAGE_UNUSED, "'%s'", p->tensor->name);
    if (!plan_region(p, p->tensor, &p->box) || !plan_lead(p) || !plan_copy_name(p, "pack"))
        return false;
    int64_t elements = 1, v = 0, whole = tensor_const_elements(p->tensor);
    for (int d = 0; d < p->box.rank + p->nlead; d++) {
        bool lead = d >= p->box.rank;
        if (lead ? !loop_extent(p->lead[d - p->box.rank], &v) : !expr_is_int(p->box.extent[d], &v))
            return refuse(p, REJECT_PACK_EXTENT, "'%s'", p->tensor->name);
        bool much = __builtin_mul_overflow(elements, v, &elements) || elements > INT64_C(1) << 36;
        if (much || (whole >= 0 && elements > 8 * whole + 4096))
            return refuse(p, REJECT_COPY_SIZE, "'%s'", p->name[0]);
    }
    for (int i = 0; i < p->nlead; i++) {
        const char *name = p->lead[i]->u.loop.var->name;
        if (strlen(p->name[0]) + strlen(name) + 1 > NAME_MAX_LEN)
            return refuse(p, REJECT_NAME_BAD, "'%s.%s' is too long a name", p->name[0], name);
    }
    plan_fill(p);
    return true;
}

/* ---- known to the grammar, lowered by no pass ------------------------------------------------ */

bool legal_PREFETCH(struct plan *p)
{
    return refuse(p, REJECT_NOT_LOWERED, "prefetch of '%s'", p->step->arg[0]);
}
bool legal_TENSORIZE(struct plan *p)
{
    return refuse(p, REJECT_NOT_LOWERED, "tensorize of '%s'", p->step->arg[0]);
}
void apply_PREFETCH(struct plan *p) { QN_UNREACHABLE("prefetch %s", p->step->arg[0]); }
void apply_TENSORIZE(struct plan *p) { QN_UNREACHABLE("tensorize %s", p->step->arg[0]); }
