/* cg_c_par: a PARALLEL loop as a function of its body, called by the hook or by a plain loop.
 *
 *   one iteration:        static void conv_par_1_body(const float *restrict x, ..., int64_t i,
 *                                                     int64_t worker)
 *   what the hook calls:  static int32_t conv_par_1(void *arg, int64_t i, int64_t worker)
 *
 * Invariants: captured values travel in one struct on the caller's stack; nothing global is
 * written. */
#include <string.h>

#include "codegen/cg_c.h"

static void see_tensor(struct cc_capture *p, const struct tensor *t)
{
    if (p->tensor_seen[t->id]) return;
    p->tensor_seen[t->id] = true;
    if (t->scope != SCOPE_TEMP && t->scope != SCOPE_TABLE && p->c->fn && p->c->fn->base[t->id])
        vec_push(&p->tensors, t);
}

static void capture_expr(const struct expr *e, void *ctx)
{
    struct cc_capture *p = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC) see_tensor(p, e->u.tensor);
    if (e->op != OP_VAR || p->var_seen[e->u.var->id]) return;
    p->var_seen[e->u.var->id] = true;
    if (p->c->fn && p->c->fn->var[e->u.var->id]) vec_push(&p->vars, e->u.var);
}

static void capture_slot(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, capture_expr, ctx);
}

static bool capture_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, capture_slot, ctx);
    if (s->kind == ST_STORE) see_tensor(ctx, s->u.store.tensor);
    return true;
}

void cc_capture_init(struct cc *c, struct cc_capture *p, struct stmt *body)
{
    memset(p, 0, sizeof *p);
    p->c = c;
    p->var_seen = ARENA_ARRAY(c->a, bool, c->ir->next_var + 1);
    p->tensor_seen = ARENA_ARRAY(c->a, bool, c->ir->next_tensor + 1);
    stmt_walk(body, capture_stmt, p);
}

void cc_capture_fini(struct cc_capture *p)
{
    vec_free(&p->vars);
    vec_free(&p->tensors);
}

static bool written(const struct tensor *t, bool packing)
{
    return t->scope == SCOPE_OUT || t->scope == SCOPE_STACK ||
           (t->scope == SCOPE_PACKED && packing);
}

/* One captured value: its declaration as a parameter or field, and its name outside. */
struct field {
    const char *decl, *name, *outer;
};

static int fields_of(struct cc *c, const struct cc_capture *p, bool restricted, struct field *f)
{
    int n = 0;
    for (size_t i = 0; i < p->tensors.n; i++) {
        const struct tensor *t = p->tensors.p[i];
        const char *name = c->fn->base[t->id];
        f[n++] =
            (struct field){cc_fmt(c, "%s%s *%s%s", written(t, c->packing) ? "" : "const ",
                                  cc_memory_type((enum dtype)t->type.dtype),
                                  restricted && t->scope != SCOPE_STACK ? "restrict " : "", name),
                           name, name};
    }
    for (size_t i = 0; i < p->vars.n; i++) {
        const struct var *v = p->vars.p[i];
        const char *name = c->fn->var[v->id];
        if (v->type.lanes > 1)
            cc_fail(c, "c.form", "a parallel loop uses the vector '%s' from outside", v->name);
        f[n++] = (struct field){cc_fmt(c, "%s %s", cc_value_type((enum dtype)v->type.dtype), name),
                                name, name};
    }
    f[n++] =
        (struct field){restricted ? "unsigned char *restrict scratch" : "unsigned char *scratch",
                       "scratch", "scratch"};
    return n;
}

static void print_body_function(struct cc *c, struct stmt *s, const struct cc_capture *p,
                                const char *fname)
{
    struct cc_fn inner, *outer = c->fn;
    struct buf body;
    buf_init(&body, c->funcs.max);
    struct field *f = ARENA_ARRAY(c->a, struct field, p->tensors.n + p->vars.n + 2);
    int n = fields_of(c, p, true, f);
    cc_function(c, &inner, &body);
    inner.parallel = true;
    const char *i = cc_name(c, s->u.loop.var->name);
    inner.worker = "worker";
    inner.var[s->u.loop.var->id] = i;
    for (size_t k = 0; k < p->tensors.n; k++)
        inner.base[p->tensors.p[k]->id] = outer->base[p->tensors.p[k]->id];
    for (size_t k = 0; k < p->vars.n; k++)
        inner.var[p->vars.p[k]->id] = outer->var[p->vars.p[k]->id];
    uint32_t region = c->region;
    cc_stmt(c, s->u.loop.body);
    c->region = region;
    buf_printf(&c->funcs, "QN_FN static void %s(", fname);
    for (int k = 0; k < n; k++) buf_printf(&c->funcs, "%s, ", f[k].decl);
    buf_printf(&c->funcs, "int64_t %s, int64_t worker)\n{\n    QN_CONTRACT\n", i);
    for (int k = 0; k < n; k++) buf_printf(&c->funcs, "    (void)%s;\n", f[k].name);
    buf_printf(&c->funcs, "    (void)%s;\n    (void)worker;\n", i);
    cc_function_end(c, outer);
    buf_fini(&body);
}

static void print_struct_and_thunk(struct cc *c, const struct cc_capture *p, const char *sname,
                                   const char *tname, const char *fname)
{
    struct field *f = ARENA_ARRAY(c->a, struct field, p->tensors.n + p->vars.n + 2);
    int n = fields_of(c, p, false, f);
    struct buf *o = &c->funcs;
    buf_printf(o, "struct %s {\n", sname);
    for (int k = 0; k < n; k++) buf_printf(o, "    %s;\n", f[k].decl);
    buf_printf(
        o,
        "    int64_t qn_lo;\n};\n\nstatic int32_t %s(void *arg, int64_t i, int64_t worker)\n{\n"
        "    const struct %s *a = (const struct %s *)arg;\n    %s(",
        tname, sname, sname, fname);
    for (int k = 0; k < n; k++) buf_printf(o, "a->%s, ", f[k].name);
    buf_puts(o, "a->qn_lo + i, worker);\n    return 0;\n}\n\n");
}

void cc_parallel(struct cc *c, struct stmt *s)
{
    struct cc_capture p;
    const char *lo = cc_expr(c, s->u.loop.lo), *hi = cc_expr(c, s->u.loop.hi);
    const char *from = cc_name(c, "from"), *to = cc_name(c, "to"), *arg = cc_name(c, "arg"),
               *i = cc_name(c, "i");
    const char *tname = cc_name(c, cc_fmt(c, "par_%s", s->u.loop.var->name));
    const char *fname = cc_name(c, cc_fmt(c, "%s_body", tname)),
               *sname = cc_name(c, cc_fmt(c, "%s_arg", tname));
    env_put(c->env, s->u.loop.var, s->u.loop.lo, s->u.loop.hi);
    cc_line(c, "const int64_t %s = %s;", from, cc_bare(c, lo));
    cc_line(c, "const int64_t %s = %s;", to, cc_bare(c, hi));
    cc_capture_init(c, &p, s->u.loop.body);
    print_body_function(c, s, &p, fname);
    print_struct_and_thunk(c, &p, sname, tname, fname);
    struct field *f = ARENA_ARRAY(c->a, struct field, p.tensors.n + p.vars.n + 2);
    int n = fields_of(c, &p, false, f);
    cc_line(c, "if (par != NULL && %s < %s) {", from, to);
    cc_line(c, "    struct %s %s;", sname, arg);
    for (int k = 0; k < n; k++) cc_line(c, "    %s.%s = %s;", arg, f[k].name, f[k].outer);
    cc_line(c, "    %s.qn_lo = %s;", arg, from);
    cc_line(c, "    par->run(par->ctx, %s, &%s, %s - %s);", tname, arg, to, from);
    cc_line(c, "} else {");
    cc_line(c, "    for (int64_t %s = %s; %s < %s; %s++) {", i, from, i, to, i);
    struct buf call;
    buf_init(&call, 1 << 20);
    for (int k = 0; k < n; k++) buf_printf(&call, "%s, ", f[k].outer);
    cc_line(c, "        %s(%s%s, 0);", fname, call.p, i);
    buf_fini(&call);
    cc_line(c, "    }");
    cc_line(c, "}");
    c->epoch++;
    cc_capture_fini(&p);
}
