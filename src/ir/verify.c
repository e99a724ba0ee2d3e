/* The checker of the invariants at the top of ir.h. It trusts nothing: a pass that breaks a rule is
 * caught at the pass, with the rule's number and the line of text that breaks it.
 *
 *   verify.I4: loop y.k is marked reduce but subscripts the target of an update: y[y.k] += ..
 *
 * Each rule below is one function; the table of rules is the comment in ir.h. */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "ir/private.h"

struct verifier {
    const struct nest *n;
    enum nest_stage stage;
    struct err *e;
    bool bad;
    bool in_pack;
    struct map *names;             /* of variables and tensors ever bound */
    struct idmap var;              /* live variables */
    struct idmap tensor;           /* live tensors: declared, or below their ALLOC */
    struct idmap written;          /* tensors some statement before has written */
    const struct stmt *at;         /* statement whose expressions are walked */
    const struct stmt *stages[32]; /* STAGEs around `at` */
    int nstages;
};

static void broken(struct verifier *v, int rule, const struct stmt *s, const char *what,
                   const char *name)
{
    if (v->bad) return;
    v->bad = true;
    struct buf b;
    buf_init(&b, 4096);
    if (s && s->kind != ST_BLOCK) stmt_print(&b, s);
    char *eol = strchr(b.p, '\n');
    char code[16];
    snprintf(code, sizeof code, "verify.I%d", rule);
    err_set(v->e, RC_INTERNAL, code, "nest %s breaks I%d: %s%s%s%s%.*s", v->n->name, rule, what,
            name ? " " : "", name ? name : "", s ? ": " : "", eol ? (int)(eol - b.p) : (int)b.n,
            b.p);
    buf_fini(&b);
}

/* ---- I1: variables --------------------------------------------------------------------------- */

static void bind_name(struct verifier *v, const struct stmt *s, const char *name, int rule)
{
    if (map_get(v->names, name)) broken(v, rule, s, "a name is bound twice:", name);
    map_put(v->names, name, (void *)name);
}

static void bind_var(struct verifier *v, const struct stmt *s, const struct var *var)
{
    bind_name(v, s, var->name, 1);
    idmap_put(&v->var, var->id, var);
}

/* ---- expressions: I1, I2 (vectors), I3 (reads), I6, I8 --------------------------------------- */

static bool is_vector_only(enum op op)
{
    return op == OP_RAMP || op == OP_SPLAT || op == OP_HSUM || op == OP_HMAX || op == OP_HMIN;
}

/* A stage may read what it writes along an ordered loop, or in a later equation of the tensor. */
static bool may_read_own(const struct stmt *s)
{
    for (; s; s = s->parent) {
        if (s->kind == ST_FOR && s->u.loop.ordered) return true;
        if (s->kind == ST_STAGE && strchr(s->u.stage.name, '#')) return true;
    }
    return false;
}

static void check_read(struct verifier *v, const struct tensor *t)
{
    bool ours = t->scope != SCOPE_IN && t->scope != SCOPE_CONST && t->scope != SCOPE_TABLE;
    bool packed = t->scope == SCOPE_PACKED && !v->in_pack;
    if (v->stage == NEST_KERNEL || !ours || packed) return;
    bool own = v->at->kind == ST_STORE && v->at->u.store.tensor == t;
    bool may = own && may_read_own(v->at);
    if (!idmap_get(&v->written, t->id) && !may)
        broken(v, 3, v->at, "a tensor is read before anything wrote it:", t->name);
    if (own && v->nstages && !may) broken(v, 3, v->at, "a stage reads what it writes:", t->name);
}

static void check_load(struct verifier *v, const struct expr *e)
{
    const struct tensor *t = e->u.tensor;
    if (!idmap_get(&v->tensor, t->id)) {
        broken(v, 6, v->at, "a tensor is used outside its ALLOC and is not declared:", t->name);
        return;
    }
    check_read(v, t);
    if (v->stage != NEST_KERNEL) return;
    if (t->rank != 1 || t->nlayout) broken(v, 8, v->at, "a tensor of a kernel is flat:", t->name);
    if (t->scope == SCOPE_REG && e->a[expr_load_first(e)]->op != OP_INT)
        broken(v, 8, v->at, "a register has a constant subscript:", t->name);
}

static void check_node(const struct expr *e, void *ctx)
{
    struct verifier *v = ctx;
    if (v->bad) return;
    if (e->op == OP_VAR && idmap_get(&v->var, e->u.var->id) != e->u.var)
        broken(v, 1, v->at, "a variable is not bound:", e->u.var->name);
    if (e->op == OP_LOAD || e->op == OP_LOADC) check_load(v, e);
    if (v->stage == NEST_NAIVE && (e->type.lanes > 1 || is_vector_only((enum op)e->op)))
        broken(v, 2, v->at, "a vector stands in a naive nest", NULL);
    if (v->stage == NEST_KERNEL && e->op >= OP_EXP && e->op <= OP_COS)
        broken(v, 8, v->at, "a kernel has no", op_name((enum op)e->op));
}

static void check_expr(struct verifier *v, const struct expr *e)
{
    if (e && !v->bad) expr_walk(e, check_node, v);
}

/* ---- statements ------------------------------------------------------------------------------ */

static void check_index(struct verifier *v, const struct stmt *s, const struct expr *e)
{
    check_expr(v, e);
    if (!v->bad && !type_eq(e->type, type_of(TYPE_S64)))
        broken(v, 2, s, "a loop bound or extent is an s64 scalar", NULL);
}

static void check_target(struct verifier *v, const struct stmt *s, struct tensor *t,
                         const struct expr *const *idx, struct type value)
{
    struct type want = t->type;
    if (!idmap_get(&v->tensor, t->id))
        broken(v, 6, s, "a tensor is used outside its ALLOC and is not declared:", t->name);
    if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_TABLE ||
        (t->scope == SCOPE_PACKED && !v->in_pack))
        broken(v, 3, s, "a statement writes what is read-only here:", t->name);
    for (int i = 0; i < t->rank && !v->bad; i++) {
        check_expr(v, idx[i]);
        if (idx[i]->type.dtype != TYPE_S64) broken(v, 2, s, "a subscript is s64", NULL);
        if (idx[i]->type.lanes > want.lanes) want.lanes = idx[i]->type.lanes;
    }
    if (!v->bad && !type_eq(value, want))
        broken(v, 2, s, "the value stored has not the target's type:", t->name);
    if (v->stage == NEST_KERNEL && (t->rank != 1 || t->nlayout))
        broken(v, 8, s, "a tensor of a kernel is flat:", t->name);
    if (!v->bad && v->stage == NEST_KERNEL && t->scope == SCOPE_REG && idx[0]->op != OP_INT)
        broken(v, 8, s, "a register has a constant subscript:", t->name);
    idmap_put(&v->written, t->id, t);
}

static void check_user(struct verifier *v, const struct stmt *s)
{
    int n = s->u.update.n;
    for (int i = 0; i < n; i++) {
        bind_var(v, s, s->u.update.lhs[i]);
        bind_var(v, s, s->u.update.rhs[i]);
    }
    for (int i = 0; i < n && !v->bad; i++) {
        struct type t = s->u.update.tensor[i]->type;
        check_expr(v, s->u.update.combine[i]);
        check_expr(v, s->u.update.identity[i]);
        bool same = type_eq(s->u.update.combine[i]->type, t) &&
                    type_eq(s->u.update.identity[i]->type, t) &&
                    type_eq(s->u.update.lhs[i]->type, t) && type_eq(s->u.update.rhs[i]->type, t);
        if (!v->bad && !same)
            broken(v, 2, s, "a user reduction's parts have the types of its targets", NULL);
    }
    for (int i = 0; i < n; i++) {
        idmap_put(&v->var, s->u.update.lhs[i]->id, NULL);
        idmap_put(&v->var, s->u.update.rhs[i]->id, NULL);
    }
}

/* Variables that change along a reduction: reduce loops, and LETs computed from them. */
enum { CHAIN = 128 };
struct reduced {
    const struct var *var[CHAIN];
    int n;
};

static const struct var *reduced_in(const struct reduced *r, const struct expr *e)
{
    for (int i = 0; i < r->n; i++)
        if (expr_uses_var(e, r->var[i])) return r->var[i];
    return NULL;
}

/* One loop or LET around update s, outermost first: I5, and what it adds to r. */
static void check_around(struct verifier *v, const struct stmt *s, const struct stmt *around,
                         struct reduced *r)
{
    if (around->kind == ST_LET && reduced_in(r, around->u.let.value))
        r->var[r->n++] = around->u.let.var;
    if (around->kind != ST_FOR) return;
    const struct var *var = around->u.loop.var;
    if (around->u.loop.reduce) {
        r->var[r->n++] = var;
        if (around->u.loop.kind == LOOP_PARALLEL)
            broken(v, 5, s, "an update races along a parallel reduce loop:", var->name);
    } else if (!s->u.update.started &&
               (reduced_in(r, around->u.loop.lo) || reduced_in(r, around->u.loop.hi))) {
        broken(v, 5, s, "the start of an update has no box, it depends on a reduction:", var->name);
    }
}

/* I4 and I5: the loops around an update, inside the ALLOC of its target. */
static void check_reduce_loops(struct verifier *v, const struct stmt *s)
{
    const struct stmt *chain[CHAIN];
    struct reduced r = {.n = 0};
    int n = 0;
    for (const struct stmt *p = s->parent; p; p = p->parent) {
        if (p->kind == ST_ALLOC && p->u.alloc.tensor == s->u.update.tensor[0]) break;
        if (p->kind != ST_FOR && p->kind != ST_LET) continue;
        if (n == CHAIN) {
            broken(v, 7, s, "a nest is deeper than 128 loops", NULL);
            return;
        }
        chain[n++] = p;
    }
    while (n > 0) check_around(v, s, chain[--n], &r);
    for (int d = 0; d < s->u.update.tensor[0]->rank && !v->bad; d++) {
        const struct var *var = reduced_in(&r, s->u.update.idx[d]);
        if (var) broken(v, 4, s, "a reduce loop subscripts the target of an update:", var->name);
    }
}

static void check_update(struct verifier *v, const struct stmt *s)
{
    int n = s->u.update.n, op = s->u.update.op;
    if (v->stage == NEST_KERNEL) broken(v, 8, s, "a kernel has no UPDATE", NULL);
    bool arg = op == RED_ARGMAX || op == RED_ARGMIN;
    if (n < 1 || n > UPDATE_TARGETS || (arg && n != 2) || (op < RED_ARGMAX && n != 1)) {
        broken(v, 2, s, "a reduction has the wrong number of targets", NULL);
        return;
    }
    for (int i = 0; i < n && !v->bad; i++) {
        if (s->u.update.tensor[i]->rank != s->u.update.tensor[0]->rank)
            broken(v, 2, s, "targets of one update differ in rank", NULL);
        check_expr(v, s->u.update.value[i]);
        if (!v->bad)
            check_target(v, s, s->u.update.tensor[i], s->u.update.idx, s->u.update.value[i]->type);
        bool b1 = s->u.update.tensor[i]->type.dtype == TYPE_B1;
        if (op < RED_ANY && b1) broken(v, 2, s, "sum, prod, max and min take numbers", NULL);
        if (op == RED_ANY && dtype_is_float(s->u.update.tensor[i]->type.dtype))
            broken(v, 2, s, "any takes b1 or integers", NULL);
    }
    if (!v->bad && op == RED_USER) check_user(v, s);
    if (!v->bad) check_reduce_loops(v, s);
}

static void check_stmt(struct verifier *v, const struct stmt *s);

static void check_body(struct verifier *v, const struct stmt *s)
{
    const struct stmt *body = *stmt_body((struct stmt *)s);
    if (body->parent != s) broken(v, 7, s, "the body's parent link is wrong", NULL);
    check_stmt(v, body);
}

static void check_block(struct verifier *v, const struct stmt *s)
{
    for (int i = 0; i < s->u.block.n && !v->bad; i++) {
        const struct stmt *child = s->u.block.p[i];
        if (child->parent != s) broken(v, 7, child, "a statement's parent link is wrong", NULL);
        if (child->kind == ST_BLOCK) broken(v, 7, child, "a block stands in a block", NULL);
        check_stmt(v, child);
    }
}

static void check_for(struct verifier *v, const struct stmt *s)
{
    check_index(v, s, s->u.loop.lo);
    check_index(v, s, s->u.loop.hi);
    if (!type_eq(s->u.loop.var->type, type_of(TYPE_S64)))
        broken(v, 2, s, "a loop variable is s64", NULL);
    if (v->stage == NEST_KERNEL && (s->u.loop.kind == LOOP_VECTOR || s->u.loop.kind == LOOP_UNROLL))
        broken(v, 8, s, "a kernel has no vector or unroll loop", NULL);
    bind_var(v, s, s->u.loop.var);
    check_body(v, s);
    idmap_put(&v->var, s->u.loop.var->id, NULL);
}

static void check_let(struct verifier *v, const struct stmt *s)
{
    check_expr(v, s->u.let.value);
    if (!type_eq(s->u.let.var->type, s->u.let.value->type))
        broken(v, 2, s, "a LET's variable has its value's type", NULL);
    bind_var(v, s, s->u.let.var);
    check_body(v, s);
    idmap_put(&v->var, s->u.let.var->id, NULL);
}

static void check_tensor(struct verifier *v, const struct stmt *s, const struct tensor *t)
{
    for (int i = 0; i < t->rank && !v->bad; i++) check_index(v, s, t->extent[i]);
    for (int i = 0; i < t->nlayout && !v->bad; i++) {
        const struct layout_term *l = &t->layout[i];
        if (l->dim < 0 || l->dim >= t->rank || l->div < 1 || l->mod < 0)
            broken(v, 2, s, "a layout term is out of range:", t->name);
    }
    if (t->type.lanes > 1 && t->scope != SCOPE_REG)
        broken(v, 2, s, "only registers hold vectors:", t->name);
    if (v->stage == NEST_KERNEL && t->rank != 1)
        broken(v, 8, s, "a tensor of a kernel is flat:", t->name);
}

static void check_alloc(struct verifier *v, const struct stmt *s)
{
    struct tensor *t = s->u.alloc.tensor;
    bind_name(v, s, t->name, 6);
    if (t->scope != SCOPE_TEMP && t->scope != SCOPE_STACK && t->scope != SCOPE_REG)
        broken(v, 6, s, "only temp, stack and reg tensors are allocated:", t->name);
    check_tensor(v, s, t);
    idmap_put(&v->tensor, t->id, t);
    check_body(v, s);
    idmap_put(&v->tensor, t->id, NULL);
}

static void check_stage(struct verifier *v, const struct stmt *s)
{
    if (v->stage == NEST_KERNEL) broken(v, 8, s, "a kernel has no STAGE", NULL);
    if (v->nstages == (int)QN_COUNT(v->stages)) {
        broken(v, 7, s, "stages are nested too deeply", NULL);
        return;
    }
    v->stages[v->nstages++] = s;
    check_body(v, s);
    v->nstages--;
}

static void check_store(struct verifier *v, const struct stmt *s)
{
    check_expr(v, s->u.store.value);
    if (!v->bad) check_target(v, s, s->u.store.tensor, s->u.store.idx, s->u.store.value->type);
}

static void check_if(struct verifier *v, const struct stmt *s)
{
    check_expr(v, s->u.cond.cond);
    if (s->u.cond.cond->type.dtype != TYPE_B1) broken(v, 2, s, "a condition is b1", NULL);
    check_body(v, s);
}

static void check_stmt(struct verifier *v, const struct stmt *s)
{
    if (v->bad) return;
    v->at = s;
    switch (s->kind) {
    case ST_BLOCK:
        check_block(v, s);
        break;
    case ST_STAGE:
        check_stage(v, s);
        break;
    case ST_FOR:
        check_for(v, s);
        break;
    case ST_IF:
        check_if(v, s);
        break;
    case ST_LET:
        check_let(v, s);
        break;
    case ST_ALLOC:
        check_alloc(v, s);
        break;
    case ST_STORE:
        check_store(v, s);
        break;
    case ST_UPDATE:
        check_update(v, s);
        break;
    }
}

static void check_root(struct verifier *v, const struct stmt *root)
{
    if (root->kind != ST_BLOCK || root->parent)
        broken(v, 7, NULL, "a nest's root is a block without a parent", NULL);
    check_stmt(v, root);
}

enum rc nest_verify(const struct nest *n, enum nest_stage stage, struct err *e)
{
    struct verifier v = {.n = n, .stage = stage, .e = e, .names = map_new()};
    for (int i = 0; i < n->ndyn; i++) bind_var(&v, NULL, n->dyn[i]);
    for (int i = 0; i < n->ntensor && !v.bad; i++) {
        bind_name(&v, NULL, n->tensor[i]->name, 1);
        idmap_put(&v.tensor, n->tensor[i]->id, n->tensor[i]);
        check_tensor(&v, NULL, n->tensor[i]);
    }
    v.in_pack = true; /* the pack phase runs first */
    check_root(&v, n->pack);
    v.in_pack = false;
    check_root(&v, n->body);
    map_free(v.names);
    idmap_fini(&v.var);
    idmap_fini(&v.tensor);
    idmap_fini(&v.written);
    return v.bad ? RC_INTERNAL : RC_OK;
}
