/* Nests and the editing of their trees.
 *
 *   struct stmt *s = stmt_for(ir, v, lo, hi, NULL);
 *   block_append(ir, *stmt_body(s), stmt_store(ir, y, idx, value));
 *   stmt_replace(old, s);
 *
 * Invariants: a statement has one parent or none; parents are right after each call; a block given
 * to a block is spliced, so blocks never nest; removing the last statement of a loop removes the
 * loop. */
#include <string.h>

#include "ir/private.h"

struct nest *nest_new(struct ir *ir, const char *name)
{
    struct nest *n = ARENA_NEW(ir->arena, struct nest);
    n->ir = ir;
    n->name = arena_strdup(ir->arena, name);
    n->body = stmt_block(ir);
    n->pack = stmt_block(ir);
    return n;
}

/* Declared tensors, then packed ones, then the rest: the order of the kernel's buffers. */
static int scope_order(enum scope s)
{
    return s == SCOPE_IN || s == SCOPE_CONST || s == SCOPE_OUT ? 0 : s == SCOPE_PACKED ? 1 : 2;
}

void nest_add_tensor(struct nest *n, struct tensor *t)
{
    if (n->ntensor == n->tensor_cap) {
        int cap = n->tensor_cap ? 2 * n->tensor_cap : 8;
        struct tensor **p = ARENA_ARRAY(n->ir->arena, struct tensor *, cap);
        if (n->ntensor) memcpy(p, n->tensor, (size_t)n->ntensor * sizeof *p);
        n->tensor = p;
        n->tensor_cap = cap;
    }
    int at = n->ntensor++;
    for (; at > 0 && scope_order(n->tensor[at - 1]->scope) > scope_order(t->scope); at--)
        n->tensor[at] = n->tensor[at - 1];
    n->tensor[at] = t;
}

void nest_add_dyn(struct nest *n, const struct var *v)
{
    const struct var **p = ARENA_ARRAY(n->ir->arena, const struct var *, n->ndyn + 1);
    if (n->ndyn) memcpy(p, n->dyn, (size_t)n->ndyn * sizeof *p);
    p[n->ndyn++] = v;
    n->dyn = p;
}

/* ---- constructors ---------------------------------------------------------------------------- */

static struct stmt *stmt_new(struct ir *ir, enum stmt_kind kind)
{
    struct stmt *s = ARENA_NEW(ir->arena, struct stmt);
    s->kind = kind;
    return s;
}

static struct stmt *adopt(struct ir *ir, struct stmt *parent, struct stmt *body)
{
    if (!body) body = stmt_block(ir);
    body->parent = parent;
    return body;
}

struct stmt *stmt_block(struct ir *ir)
{
    struct stmt *s = stmt_new(ir, ST_BLOCK);
    s->u.block.arena = ir->arena;
    return s;
}

struct stmt *stmt_stage(struct ir *ir, const char *name, struct stmt *body)
{
    struct stmt *s = stmt_new(ir, ST_STAGE);
    s->u.stage.name = arena_strdup(ir->arena, name);
    s->u.stage.body = adopt(ir, s, body);
    return s;
}

struct stmt *stmt_for(struct ir *ir, const struct var *v, const struct expr *lo,
                      const struct expr *hi, struct stmt *body)
{
    struct stmt *s = stmt_new(ir, ST_FOR);
    s->u.loop.var = v;
    s->u.loop.lo = lo;
    s->u.loop.hi = hi;
    s->u.loop.body = adopt(ir, s, body);
    return s;
}

struct stmt *stmt_if(struct ir *ir, const struct expr *cond, struct stmt *then)
{
    struct stmt *s = stmt_new(ir, ST_IF);
    s->u.cond.cond = cond;
    s->u.cond.then = adopt(ir, s, then);
    return s;
}

struct stmt *stmt_let(struct ir *ir, const struct var *v, const struct expr *value,
                      struct stmt *body)
{
    struct stmt *s = stmt_new(ir, ST_LET);
    s->u.let.var = v;
    s->u.let.value = value;
    s->u.let.body = adopt(ir, s, body);
    return s;
}

struct stmt *stmt_alloc(struct ir *ir, struct tensor *t, struct stmt *body)
{
    struct stmt *s = stmt_new(ir, ST_ALLOC);
    s->u.alloc.tensor = t;
    s->u.alloc.body = adopt(ir, s, body);
    return s;
}

static const struct expr **copy_idx(struct ir *ir, const struct expr *const *idx, int rank)
{
    const struct expr **p = ARENA_ARRAY(ir->arena, const struct expr *, rank);
    for (int i = 0; i < rank; i++) p[i] = idx[i];
    return p;
}

struct stmt *stmt_store(struct ir *ir, struct tensor *t, const struct expr *const *idx,
                        const struct expr *value)
{
    struct stmt *s = stmt_new(ir, ST_STORE);
    s->u.store.tensor = t;
    s->u.store.idx = copy_idx(ir, idx, t->rank);
    s->u.store.value = value;
    return s;
}

struct stmt *stmt_update(struct ir *ir, enum reduce op, struct tensor *t,
                         const struct expr *const *idx, const struct expr *value)
{
    struct stmt *s = stmt_new(ir, ST_UPDATE);
    s->u.update.op = op;
    s->u.update.n = 1;
    s->u.update.tensor[0] = t;
    s->u.update.idx = copy_idx(ir, idx, t->rank);
    s->u.update.value[0] = value;
    return s;
}

/* ---- editing --------------------------------------------------------------------------------- */

struct stmt **stmt_body(struct stmt *s)
{
    switch (s->kind) {
    case ST_STAGE:
        return &s->u.stage.body;
    case ST_FOR:
        return &s->u.loop.body;
    case ST_IF:
        return &s->u.cond.then;
    case ST_LET:
        return &s->u.let.body;
    case ST_ALLOC:
        return &s->u.alloc.body;
    default:
        return NULL;
    }
}

struct stmt **stmt_child_slot(struct stmt *parent, struct stmt *child)
{
    if (parent->kind == ST_BLOCK) {
        for (int i = 0; i < parent->u.block.n; i++)
            if (parent->u.block.p[i] == child) return &parent->u.block.p[i];
        return NULL;
    }
    struct stmt **body = stmt_body(parent);
    return body && *body == child ? body : NULL;
}

/* Opens a gap of `room` slots at `at`, filling nothing. */
static void block_gap(struct stmt *b, int at, int room)
{
    int n = b->u.block.n, need = n + room;
    if (need > b->u.block.cap) {
        int cap = b->u.block.cap ? b->u.block.cap : 4;
        while (cap < need) cap *= 2;
        struct stmt **p = ARENA_ARRAY(b->u.block.arena, struct stmt *, cap);
        if (n) memcpy(p, b->u.block.p, (size_t)n * sizeof *p);
        b->u.block.p = p;
        b->u.block.cap = cap;
    }
    if (n > at)
        memmove(b->u.block.p + at + room, b->u.block.p + at,
                (size_t)(n - at) * sizeof *b->u.block.p);
    b->u.block.n = need;
}

static void block_put(struct stmt *block, int at, struct stmt *s)
{
    if (s->kind != ST_BLOCK) {
        block_gap(block, at, 1);
        block->u.block.p[at] = s;
        s->parent = block;
        return;
    }
    block_gap(block, at, s->u.block.n);
    for (int i = 0; i < s->u.block.n; i++) {
        block->u.block.p[at + i] = s->u.block.p[i];
        s->u.block.p[i]->parent = block;
    }
    s->u.block.n = 0;
    s->parent = NULL;
}

void block_insert(struct ir *ir, struct stmt *block, int at, struct stmt *s)
{
    (void)ir;
    QN_CHECK(block->kind == ST_BLOCK && at >= 0 && at <= block->u.block.n, "insert at %d", at);
    block_put(block, at, s);
}

void block_append(struct ir *ir, struct stmt *block, struct stmt *s)
{
    block_insert(ir, block, block->kind == ST_BLOCK ? block->u.block.n : 0, s);
}

void stmt_replace(struct stmt *old, struct stmt *by)
{
    struct stmt *parent = old->parent;
    QN_CHECK(parent, "replacing a root statement");
    QN_CHECK(parent != by, "to wrap a statement, replace it first, then put it into its wrapper");
    struct stmt **slot = stmt_child_slot(parent, old);
    QN_CHECK(slot, "parent link of a replaced statement is wrong");
    old->parent = NULL;
    if (by->kind == ST_BLOCK && parent->kind == ST_BLOCK) {
        int at = (int)(slot - parent->u.block.p);
        int tail = parent->u.block.n - at - 1;
        memmove(slot, slot + 1, (size_t)tail * sizeof *slot);
        parent->u.block.n--;
        block_put(parent, at, by);
        return;
    }
    *slot = by;
    by->parent = parent;
}

void stmt_remove(struct ir *ir, struct stmt *s)
{
    (void)ir;
    for (struct stmt *parent = s->parent; parent; s = parent, parent = s->parent) {
        struct stmt **slot = stmt_child_slot(parent, s);
        QN_CHECK(slot, "parent link of a removed statement is wrong");
        s->parent = NULL;
        if (parent->kind != ST_BLOCK) continue; /* a loop without a body goes too */
        int at = (int)(slot - parent->u.block.p);
        memmove(slot, slot + 1, (size_t)(parent->u.block.n - at - 1) * sizeof *slot);
        if (--parent->u.block.n > 0 || !parent->parent) return;
    }
}

/* ---- walking --------------------------------------------------------------------------------- */

void stmt_walk(struct stmt *s, bool (*fn)(struct stmt *s, void *ctx), void *ctx)
{
    if (!fn(s, ctx)) return;
    struct stmt **body = stmt_body(s);
    if (body) stmt_walk(*body, fn, ctx);
    if (s->kind != ST_BLOCK) return;
    for (int i = 0; i < s->u.block.n;) {
        int before = s->u.block.n;
        struct stmt *child = s->u.block.p[i];
        stmt_walk(child, fn, ctx);
        int grown = s->u.block.n - before; /* fn may have removed the child or spliced a block in */
        bool gone = i >= s->u.block.n || s->u.block.p[i] != child;
        i += gone ? 1 + grown : 1;
    }
}

void stmt_exprs(struct stmt *s, void (*fn)(const struct expr **slot, void *ctx), void *ctx)
{
    switch (s->kind) {
    case ST_FOR:
        fn(&s->u.loop.lo, ctx);
        fn(&s->u.loop.hi, ctx);
        break;
    case ST_IF:
        fn(&s->u.cond.cond, ctx);
        break;
    case ST_LET:
        fn(&s->u.let.value, ctx);
        break;
    case ST_STORE:
        for (int i = 0; i < s->u.store.tensor->rank; i++) fn(&s->u.store.idx[i], ctx);
        fn(&s->u.store.value, ctx);
        break;
    case ST_UPDATE:
        for (int i = 0; i < s->u.update.tensor[0]->rank; i++) fn(&s->u.update.idx[i], ctx);
        for (int i = 0; i < s->u.update.n; i++) fn(&s->u.update.value[i], ctx);
        for (int i = 0; i < s->u.update.n && s->u.update.op == RED_USER; i++) {
            fn(&s->u.update.combine[i], ctx);
            fn(&s->u.update.identity[i], ctx);
        }
        break;
    default:
        break;
    }
}

struct map_all {
    struct ir *ir;
    expr_map_fn *fn;
    void *ctx;
    uint64_t vars;
};

static void map_slot(const struct expr **slot, void *ctx)
{
    struct map_all *m = ctx;
    if (m->vars != UINT64_MAX && !((*slot)->vars & m->vars)) return;
    *slot = expr_map_vars(m->ir, *slot, m->fn, m->ctx, m->vars);
}

static bool map_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, map_slot, ctx);
    return true;
}

void stmt_map_exprs(struct ir *ir, struct stmt *s, expr_map_fn *fn, void *ctx)
{
    struct map_all m = {ir, fn, ctx, UINT64_MAX};
    stmt_walk(s, map_stmt, &m);
}

struct subst_all {
    const struct var *v;
    const struct expr *by;
};

static const struct expr *subst_node(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct subst_all *s = ctx;
    (void)ir;
    return e->op == OP_VAR && e->u.var == s->v ? s->by : NULL;
}

void stmt_subst(struct ir *ir, struct stmt *s, const struct var *v, const struct expr *by)
{
    struct subst_all sub = {v, by};
    struct map_all m = {ir, subst_node, &sub, UINT64_C(1) << (v->id & 63)};
    stmt_walk(s, map_stmt, &m);
}

/* ---- finding --------------------------------------------------------------------------------- */

struct find {
    enum stmt_kind kind;
    const char *name;
    struct stmt *found;
};

static bool find_stmt(struct stmt *s, void *ctx)
{
    struct find *f = ctx;
    if (f->found) return false;
    if (s->kind == f->kind) {
        const char *name = s->kind == ST_FOR     ? s->u.loop.var->name
                           : s->kind == ST_STAGE ? s->u.stage.name
                                                 : s->u.alloc.tensor->name;
        if (strcmp(name, f->name) == 0) f->found = s;
    }
    return !f->found;
}

static struct stmt *nest_find(const struct nest *n, enum stmt_kind kind, const char *name)
{
    struct find f = {kind, name, NULL};
    stmt_walk(n->body, find_stmt, &f);
    if (!f.found) stmt_walk(n->pack, find_stmt, &f);
    return f.found;
}

struct stmt *nest_loop(const struct nest *n, const char *name)
{
    return nest_find(n, ST_FOR, name);
}
struct stmt *nest_stage(const struct nest *n, const char *name)
{
    return nest_find(n, ST_STAGE, name);
}

bool nest_packs(const struct nest *n)
{
    for (int i = 0; i < n->ntensor; i++)
        if (n->tensor[i]->scope == SCOPE_PACKED) return true;
    return n->pack->u.block.n > 0;
}

struct tensor *nest_tensor(const struct nest *n, const char *name)
{
    for (int i = 0; i < n->ntensor; i++)
        if (strcmp(n->tensor[i]->name, name) == 0) return n->tensor[i];
    struct stmt *alloc = nest_find(n, ST_ALLOC, name);
    return alloc ? alloc->u.alloc.tensor : NULL;
}

struct stmt *stmt_enclosing(struct stmt *s, enum stmt_kind kind)
{
    for (s = s->parent; s; s = s->parent)
        if (s->kind == kind) return s;
    return NULL;
}

bool stmt_is_ancestor(const struct stmt *a, const struct stmt *s)
{
    for (s = s->parent; s; s = s->parent)
        if (s == a) return true;
    return false;
}
