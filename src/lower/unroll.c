/* Unroll: an unroll loop becomes its iterations, each with the variable's value in it.
 *
 * Requires: no vector loops; flat subscripts in linear normal form.
 * Provides: no UNROLL loop (one without constant bounds becomes serial). Subscripts of the copies
 * are in normal form again: same variable part, different constant. Loops, lets and allocations
 * inside a copy have names of their own. Guards that became constant are gone.
 *
 *     for q in 0..2 unroll                      acc[0] = 0.0
 *       acc[q*16] = 0.0                  -->    acc[16] = 0.0
 *
 * One walk over the final statements: all enclosing values are substituted at once, so the work is
 * proportional to the size of the result. Refuses: lower.too_big. */
#include <string.h>

#include "lower/private.h"

struct unroll {
    struct low *l;
    const struct expr **value; /* by variable id, of variables known before the pass */
    struct tensor **tensor;    /* by tensor id: the copy's own */
    uint32_t nvar, ntensor;
    uint64_t vars;       /* bits of variables with a value */
    int copies, tensors; /* unrolled loops around; tensors replaced */
    int64_t made;
    bool full;
    struct memo memo;
};

static const struct expr *normal(struct ir *ir, const struct expr *e)
{
    struct linear lin;
    if (e->type.dtype != TYPE_S64 || e->type.lanes != 1 || e->n == 0) return e;
    if (e->op != OP_ADD && e->op != OP_SUB && e->op != OP_MUL) return e;
    return linear_of(e, &lin) ? linear_expr(ir, &lin) : e;
}

static const struct expr *put_expr(struct unroll *u, const struct expr *e)
{
    struct ir *ir = u->l->ir;
    if (u->tensors == 0 && !(e->vars & u->vars)) return e;
    if (e->op == OP_VAR) {
        const struct var *v = e->u.var;
        return v->id < u->nvar && u->value[v->id] ? u->value[v->id] : e;
    }
    const struct expr *a[16], *to = memo_get(&u->memo, e);
    if (to) return to;
    bool load = e->op == OP_LOAD || e->op == OP_LOADC, changed = false;
    int first = load ? expr_load_first(e) : e->op == OP_RAMP ? 0 : 16;
    for (int i = 0; i < e->n; i++) {
        a[i] = put_expr(u, e->a[i]);
        if (i >= first && a[i] != e->a[i]) a[i] = normal(ir, a[i]);
        changed |= a[i] != e->a[i];
    }
    const struct tensor *t =
        load && e->u.tensor->id < u->ntensor ? u->tensor[e->u.tensor->id] : NULL;
    to = e;
    if (t)
        to = e->op == OP_LOAD ? expr_load(ir, t, a, 1) : expr_loadc(ir, t, a[0], a[1], a + 2, 1);
    else if (changed)
        to = expr_with(ir, e, a);
    memo_put(&u->memo, e, to);
    return to;
}

static const struct expr *put(struct unroll *u, const struct expr *e)
{
    const struct expr *to = put_expr(u, e);
    return to == e ? e : normal(u->l->ir, to);
}

/* A variable's value changed: copies made so far are of the old one. */
static void bind(struct unroll *u, const struct var *v, const struct expr *value)
{
    QN_CHECK(v->id < u->nvar, "variable %s is newer than the pass", v->name);
    u->value[v->id] = value;
    if (value) u->vars |= UINT64_C(1) << (v->id & 63);
    memo_clear(&u->memo);
}

/* Inside a copy, a binding statement gets a variable of its own. */
static const struct var *own_var(struct unroll *u, const struct var *v)
{
    if (u->copies == 0) return v;
    struct ir *ir = u->l->ir;
    const struct var *to =
        var_new(ir, arena_printf(ir->arena, "%s%s", v->name, fresh_suffix(u->l, "u")), v->type);
    bind(u, v, expr_var(ir, to));
    return to;
}

static struct stmt *put_stmt(struct unroll *u, struct stmt *s);

static struct stmt *put_loop(struct unroll *u, struct stmt *s)
{
    int64_t lo = 0, hi = 0;
    struct ir *ir = u->l->ir;
    const struct expr *from = put(u, s->u.loop.lo), *to = put(u, s->u.loop.hi);
    bool known = expr_is_int(from, &lo) && expr_is_int(to, &hi);
    if (s->u.loop.kind != LOOP_UNROLL || !known) {
        const struct var *v = own_var(u, s->u.loop.var);
        struct stmt *f = stmt_for(ir, v, from, to, put_stmt(u, s->u.loop.body));
        f->u.loop.kind = s->u.loop.kind == LOOP_PARALLEL ? LOOP_PARALLEL : LOOP_SERIAL;
        f->u.loop.reduce = s->u.loop.reduce;
        f->u.loop.ordered = s->u.loop.ordered;
        return f;
    }
    struct stmt *all = stmt_block(ir);
    u->copies++;
    for (int64_t i = lo; i < hi && !u->full; i++) {
        bind(u, s->u.loop.var, expr_int(ir, i));
        struct stmt *one = put_stmt(u, s->u.loop.body);
        if (one) block_append(ir, all, one);
    }
    u->copies--;
    return all;
}

static struct stmt *put_alloc(struct unroll *u, struct stmt *s)
{
    struct ir *ir = u->l->ir;
    struct tensor *t = s->u.alloc.tensor;
    if (u->copies > 0) {
        const char *name = arena_printf(ir->arena, "%s%s", t->name, fresh_suffix(u->l, "u"));
        struct tensor *mine = tensor_new(ir, name, t->type, t->scope, 1, t->extent);
        u->tensor[t->id] = mine;
        u->tensors++;
        memo_clear(&u->memo);
        t = mine;
    }
    return stmt_alloc(ir, t, put_stmt(u, s->u.alloc.body));
}

static struct stmt *put_store(struct unroll *u, struct stmt *s)
{
    struct tensor *t = s->u.store.tensor, *mine = t->id < u->ntensor ? u->tensor[t->id] : NULL;
    const struct expr *at = put(u, s->u.store.idx[0]);
    if (u->copies == 0) {
        s->u.store.idx[0] = at;
        s->u.store.value = put(u, s->u.store.value);
        return s;
    }
    return stmt_store(u->l->ir, mine ? mine : t, &at, put(u, s->u.store.value));
}

static struct stmt *put_stmt(struct unroll *u, struct stmt *s)
{
    struct ir *ir = u->l->ir;
    const struct expr *e = NULL;
    const struct var *v = NULL;
    struct stmt *b = NULL;
    int64_t known = 0;
    u->made++;
    if (u->made + (int64_t)ir->next_expr > u->l->max_nodes) u->full = true;
    if (u->full) return stmt_block(ir);
    switch (s->kind) {
    case ST_BLOCK:
        b = stmt_block(ir);
        for (int i = 0; i < s->u.block.n && !u->full; i++)
            block_append(ir, b, put_stmt(u, s->u.block.p[i]));
        return b;
    case ST_STAGE:
        return put_stmt(u, s->u.stage.body);
    case ST_FOR:
        return put_loop(u, s);
    case ST_IF:
        e = put(u, s->u.cond.cond);
        if (expr_is_int(e, &known)) return known ? put_stmt(u, s->u.cond.then) : stmt_block(ir);
        return stmt_if(ir, e, put_stmt(u, s->u.cond.then));
    case ST_LET:
        e = put(u, s->u.let.value);
        v = own_var(u, s->u.let.var);
        return stmt_let(ir, v, e, put_stmt(u, s->u.let.body));
    case ST_ALLOC:
        return put_alloc(u, s);
    case ST_STORE:
        return put_store(u, s);
    default:
        QN_UNREACHABLE("an update is left");
    }
}

static bool find_unroll(struct stmt *s, void *ctx)
{
    if (s->kind == ST_FOR && s->u.loop.kind == LOOP_UNROLL) *(bool *)ctx = true;
    return !*(bool *)ctx;
}

enum rc pass_unroll(struct low *l)
{
    bool any = false;
    stmt_walk(l->n->body, find_unroll, &any);
    stmt_walk(l->n->pack, find_unroll, &any);
    if (!any) return RC_OK;
    struct unroll u = {.l = l, .nvar = l->ir->next_var, .ntensor = l->ir->next_tensor};
    u.value = ARENA_ARRAY(l->ir->arena, const struct expr *, u.nvar);
    u.tensor = ARENA_ARRAY(l->ir->arena, struct tensor *, u.ntensor);
    l->n->body = put_stmt(&u, l->n->body);
    l->n->pack = put_stmt(&u, l->n->pack);
    memo_fini(&u.memo);
    if (u.full)
        return err_set(l->e, RC_FAIL, "lower.too_big",
                       "unrolled, the kernel has more than %lld nodes; unroll less",
                       (long long)l->max_nodes);
    prove_guards(l);
    return RC_OK;
}
