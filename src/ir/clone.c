/* Copies of statements and nests.
 *
 *   stmt_clone(ir, s, ".b")   loops y.m -> y.m.b, stage y -> y.b, allocated tensors acc -> acc.b
 *   stmt_clone(ir, s, NULL)   same variables and tensors (the original is about to be thrown away)
 *   nest_clone(into, n)       everything new, in another context, names kept
 *
 * Invariants: an expression of the copy mentions the copy's variables and tensors, never the
 * original's; nothing is folded on the way, so a copy prints like its original. */
#include <string.h>

#include "ir/private.h"

struct copier {
    struct ir *to;
    const char *suffix; /* NULL: keep variables and tensors */
    bool cross;         /* into another context */
    uint64_t vars;      /* bits of mapped variables */
    struct idmap var, tensor, expr;
};

static const char *renamed(struct copier *c, const char *name)
{
    return c->suffix && c->suffix[0] ? arena_printf(c->to->arena, "%s%s", name, c->suffix) : name;
}

static const struct var *copy_var(struct copier *c, const struct var *v)
{
    if (!c->suffix) return v;
    const struct var *to = var_new(c->to, renamed(c, v->name), v->type);
    if (idmap_get(&c->var, v->id))
        idmap_clear(&c->expr); /* bound a second time: old copies mean the first */
    idmap_put(&c->var, v->id, to);
    c->vars |= UINT64_C(1) << (v->id & 63);
    return to;
}

static const struct expr *copy_expr(struct copier *c, const struct expr *e);

static struct tensor *copy_tensor(struct copier *c, struct tensor *t)
{
    if (!c->suffix) return t;
    const struct expr *extent[REGION_RANK];
    for (int i = 0; i < t->rank; i++) extent[i] = copy_expr(c, t->extent[i]);
    struct tensor *to = tensor_new(c->to, renamed(c, t->name), t->type, t->scope, t->rank, extent);
    to->nlayout = t->nlayout;
    to->layout = ARENA_ARRAY(c->to->arena, struct layout_term, t->nlayout);
    if (t->nlayout) memcpy(to->layout, t->layout, (size_t)t->nlayout * sizeof *t->layout);
    to->table = t->table;
    if (c->cross && t->table) {
        int64_t n = 1, v = 0;
        for (int i = 0; i < t->rank && expr_is_int(t->extent[i], &v); i++) n *= v;
        double *table = ARENA_ARRAY(c->to->arena, double, n);
        memcpy(table, t->table, (size_t)n * sizeof *table);
        to->table = table;
    }
    if (idmap_get(&c->tensor, t->id)) idmap_clear(&c->expr);
    idmap_put(&c->tensor, t->id, to);
    return to;
}

static struct tensor *tensor_in_copy(const struct copier *c, struct tensor *t)
{
    struct tensor *to = (struct tensor *)idmap_get(&c->tensor, t->id);
    QN_CHECK(to || !c->cross, "tensor %s is used but not declared", t->name);
    return to ? to : t;
}

static const struct expr *copy_leaf(struct copier *c, const struct expr *e,
                                    const struct expr *const *a)
{
    const void *leaf = &e->u;
    if (e->op == OP_VAR) {
        const struct var *v = idmap_get(&c->var, e->u.var->id);
        if (!v) v = c->cross ? copy_var(c, e->u.var) : e->u.var;
        leaf = v;
    } else if (e->op == OP_LOAD || e->op == OP_LOADC) {
        leaf = tensor_in_copy(c, (struct tensor *)e->u.tensor);
    }
    return expr_make(c->to, (enum op)e->op, e->type, a, e->n, leaf);
}

static const struct expr *copy_expr(struct copier *c, const struct expr *e)
{
    if (!c->suffix) return e;
    if (!c->cross && !(e->vars & c->vars) && c->tensor.n == 0) return e;
    const struct expr *to = idmap_get(&c->expr, e->id), *a[16];
    if (to) return to;
    for (int i = 0; i < e->n; i++) a[i] = copy_expr(c, e->a[i]);
    to = copy_leaf(c, e, a);
    idmap_put(&c->expr, e->id, to);
    return to;
}

static void copy_slot(const struct expr **slot, void *ctx) { *slot = copy_expr(ctx, *slot); }

static struct stmt *copy_stmt(struct copier *c, const struct stmt *s);

static void copy_idx(struct copier *c, const struct expr ***idx, int rank)
{
    const struct expr **p = ARENA_ARRAY(c->to->arena, const struct expr *, rank);
    if (rank) memcpy(p, *idx, (size_t)rank * sizeof *p);
    *idx = p;
}

static void copy_update(struct copier *c, struct stmt *to)
{
    for (int i = 0; i < to->u.update.n; i++)
        to->u.update.tensor[i] = tensor_in_copy(c, to->u.update.tensor[i]);
    copy_idx(c, &to->u.update.idx, to->u.update.tensor[0]->rank);
    for (int i = 0; i < to->u.update.n && to->u.update.op == RED_USER; i++) {
        to->u.update.lhs[i] = copy_var(c, to->u.update.lhs[i]);
        to->u.update.rhs[i] = copy_var(c, to->u.update.rhs[i]);
    }
}

static void copy_block(struct copier *c, struct stmt *to, const struct stmt *s)
{
    to->u.block.arena = c->to->arena;
    to->u.block.cap = to->u.block.n;
    to->u.block.p = ARENA_ARRAY(c->to->arena, struct stmt *, s->u.block.n);
    for (int i = 0; i < s->u.block.n; i++) {
        to->u.block.p[i] = copy_stmt(c, s->u.block.p[i]);
        to->u.block.p[i]->parent = to;
    }
}

static struct stmt *copy_stmt(struct copier *c, const struct stmt *s)
{
    struct stmt *to = ARENA_NEW(c->to->arena, struct stmt);
    *to = *s;
    to->parent = NULL;
    if (s->kind == ST_BLOCK) copy_block(c, to, s);
    if (s->kind == ST_STORE) {
        to->u.store.tensor = tensor_in_copy(c, s->u.store.tensor);
        copy_idx(c, &to->u.store.idx, s->u.store.tensor->rank);
    }
    if (s->kind == ST_UPDATE) copy_update(c, to);
    if (s->kind == ST_STAGE)
        to->u.stage.name = arena_strdup(c->to->arena, renamed(c, s->u.stage.name));
    stmt_exprs(to, copy_slot, c);
    if (s->kind == ST_FOR) to->u.loop.var = copy_var(c, s->u.loop.var);
    if (s->kind == ST_LET) to->u.let.var = copy_var(c, s->u.let.var);
    if (s->kind == ST_ALLOC) to->u.alloc.tensor = copy_tensor(c, s->u.alloc.tensor);
    struct stmt **body = stmt_body(to);
    if (body) {
        *body = copy_stmt(c, *body);
        (*body)->parent = to;
    }
    return to;
}

static void copier_fini(struct copier *c)
{
    idmap_fini(&c->var);
    idmap_fini(&c->tensor);
    idmap_fini(&c->expr);
}

struct stmt *stmt_clone(struct ir *ir, const struct stmt *s, const char *suffix)
{
    struct copier c = {.to = ir, .suffix = suffix};
    struct stmt *to = copy_stmt(&c, s);
    copier_fini(&c);
    return to;
}

struct nest *nest_clone(struct ir *into, const struct nest *n)
{
    struct copier c = {.to = into, .suffix = "", .cross = true};
    struct nest *to = nest_new(into, n->name);
    for (int i = 0; i < n->ndyn; i++) nest_add_dyn(to, copy_var(&c, n->dyn[i]));
    for (int i = 0; i < n->ntensor; i++) nest_add_tensor(to, copy_tensor(&c, n->tensor[i]));
    to->body = copy_stmt(&c, n->body);
    to->pack = copy_stmt(&c, n->pack);
    copier_fini(&c);
    return to;
}
