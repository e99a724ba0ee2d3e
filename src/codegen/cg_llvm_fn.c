/* cg_llvm_fn: entries, statements and control flow.
 *
 *   for i in lo..hi   ->   pre:  br (lo < hi) hdr, exit       (the test only where it is not known)
 *                          hdr:  i = phi [lo, pre], [i + 1, latch] ... br (i + 1 < hi) hdr, exit
 *
 * Invariants: code is appended in execution order; hoisted code goes in front of the terminator of a
 * loop's pre block; every block that does not dominate what follows is inside a scope of its own. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codegen/cg_llvm.h"

LLVMValueRef cg_fail(struct cg *c, const char *code, const char *fmt, ...)
{
    if (c->failed) return NULL;
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->failed = true;
    err_set(c->e, RC_FAIL, code, "%s", msg);
    return NULL;
}

/* ---- scopes ----------------------------------------------------------------------------------- */

void cg_scope_push(struct cg *c, uint32_t *saved)
{
    *saved = c->fn->scope;
    vec_push(&c->scope_open, 1);
    c->fn->scope = (uint32_t)c->scope_open.n - 1;
}

void cg_scope_pop(struct cg *c, uint32_t saved)
{
    c->scope_open.p[c->fn->scope] = 0;
    c->fn->scope = saved;
}

static LLVMBasicBlockRef new_block(struct cg *c, const char *name)
{
    return LLVMAppendBasicBlockInContext(c->ctx, c->fn->fn, name);
}

static void goto_block(struct cg *c, LLVMBasicBlockRef block)
{
    LLVMBuildBr(c->b, block);
    LLVMPositionBuilderAtEnd(c->b, block);
}

/* ---- functions -------------------------------------------------------------------------------- */

static void add_attr(struct cg *c, LLVMValueRef fn, unsigned at, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(c->ctx, kind, 0));
}

static void set_attrs(struct cg *c, LLVMValueRef fn)
{
    add_attr(c, fn, (unsigned)LLVMAttributeFunctionIndex, "nounwind");
    const char *pairs[][2] = {{"target-cpu", c->t->cpu}, {"target-features", c->t->features}};
    for (size_t i = 0; i < QN_COUNT(pairs); i++) {
        const char *k = pairs[i][0], *v = pairs[i][1];
        if (!v || !v[0]) continue;
        LLVMAddAttributeAtIndex(fn, (unsigned)LLVMAttributeFunctionIndex,
                                LLVMCreateStringAttribute(c->ctx, k, (unsigned)strlen(k), v, (unsigned)strlen(v)));
    }
}

static struct cg_fn *fn_open(struct cg *c, LLVMValueRef fn)
{
    struct ir *ir = c->ir;
    struct cg_fn *f = ARENA_NEW(ir->arena, struct cg_fn);
    f->fn = fn;
    f->var = ARENA_ARRAY(ir->arena, LLVMValueRef, ir->next_var + 1);
    f->var_depth = ARENA_ARRAY(ir->arena, int16_t, ir->next_var + 1);
    f->base = ARENA_ARRAY(ir->arena, LLVMValueRef, ir->next_tensor + 1);
    f->reg = ARENA_ARRAY(ir->arena, LLVMValueRef *, ir->next_tensor + 1);
    f->serial = ++c->next_fn;
    vec_push(&c->scope_open, 1);
    f->scope = (uint32_t)c->scope_open.n - 1;
    c->fn = f;
    f->entry = new_block(c, "entry");
    LLVMBasicBlockRef start = new_block(c, "start");
    LLVMPositionBuilderAtEnd(c->b, start);
    return f;
}

/* Ends the function: the entry block of allocas falls into the first block. */
static void fn_close(struct cg *c, struct cg_fn *outer)
{
    struct cg_fn *f = c->fn;
    LLVMPositionBuilderAtEnd(c->b, f->entry);
    LLVMBuildBr(c->b, LLVMGetNextBasicBlock(f->entry));
    c->scope_open.p[f->scope] = 0;
    vec_free(&f->loops);
    c->fn = outer;
}

/* ---- what a loop body needs from outside ------------------------------------------------------ */

struct capture {
    struct cg *c;
    VEC(const struct var *) vars;
    VEC(const struct tensor *) tensors;
    bool *var_seen, *tensor_seen;
};

static void see_tensor(struct capture *p, const struct tensor *t)
{
    if (p->tensor_seen[t->id]) return;
    p->tensor_seen[t->id] = true;
    /* TEMP and TABLE are reached from scratch and the image; what is allocated inside has no base yet */
    if (t->scope != SCOPE_TEMP && t->scope != SCOPE_TABLE && p->c->fn->base[t->id]) vec_push(&p->tensors, t);
}

static void capture_expr(const struct expr *e, void *ctx)
{
    struct capture *p = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC) see_tensor(p, e->u.tensor);
    if (e->op != OP_VAR || p->var_seen[e->u.var->id]) return;
    p->var_seen[e->u.var->id] = true;
    if (p->c->fn->var[e->u.var->id]) vec_push(&p->vars, e->u.var);
}

static void capture_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, capture_expr, ctx); }

static bool capture_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, capture_slot, ctx);
    if (s->kind == ST_STORE) see_tensor(ctx, s->u.store.tensor);
    return true;
}

static void capture_init(struct cg *c, struct capture *p, struct stmt *body)
{
    memset(p, 0, sizeof *p);
    p->c = c;
    p->var_seen = ARENA_ARRAY(c->ir->arena, bool, c->ir->next_var + 1);
    p->tensor_seen = ARENA_ARRAY(c->ir->arena, bool, c->ir->next_tensor + 1);
    stmt_walk(body, capture_stmt, p);
}

static void capture_fini(struct capture *p)
{
    vec_free(&p->vars);
    vec_free(&p->tensors);
}

/* ---- statements ------------------------------------------------------------------------------- */

static void emit(struct cg *c, struct stmt *s);
static void emit_parallel(struct cg *c, struct stmt *s);

static void bind(struct cg *c, const struct var *v, LLVMValueRef value)
{
    c->fn->var[v->id] = value;
    c->fn->var_depth[v->id] = (int16_t)c->fn->depth;
}

/* After a region that may have stored, loads of memory are new values. */
static void forget_memory(struct cg *c) { c->epoch++; }

static void emit_body_once(struct cg *c, struct stmt *s, LLVMValueRef value)
{
    bind(c, s->u.loop.var, value);
    emit(c, s->u.loop.body);
}

static void emit_rotated(struct cg *c, struct stmt *s, LLVMValueRef lo, LLVMValueRef hi)
{
    LLVMBasicBlockRef pre = LLVMGetInsertBlock(c->b), hdr = new_block(c, "loop");
    struct cg_loop record = {pre, c->fn->scope};
    LLVMBuildBr(c->b, hdr);
    LLVMPositionBuilderAtEnd(c->b, hdr);
    LLVMValueRef iv = LLVMBuildPhi(c->b, c->i64, s->u.loop.var->name);
    LLVMAddIncoming(iv, &lo, &pre, 1);
    vec_push(&c->fn->loops, record);
    c->fn->depth++;
    uint32_t saved;
    cg_scope_push(c, &saved);
    forget_memory(c);
    bind(c, s->u.loop.var, iv);
    emit(c, s->u.loop.body);
    forget_memory(c);
    cg_scope_pop(c, saved);
    c->fn->depth--;
    c->fn->loops.n--;
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(c->b), exit = new_block(c, "exit");
    LLVMValueRef next = LLVMBuildNSWAdd(c->b, iv, LLVMConstInt(c->i64, 1, 0), "");
    LLVMAddIncoming(iv, &next, &latch, 1);
    LLVMBuildCondBr(c->b, LLVMBuildICmp(c->b, LLVMIntSLT, next, hi, ""), hdr, exit);
    LLVMPositionBuilderAtEnd(c->b, exit);
}

static bool runs_at_least_once(struct cg *c, const struct stmt *s)
{
    struct range lo = expr_range(c->env, s->u.loop.lo), hi = expr_range(c->env, s->u.loop.hi);
    return (lo.hi != INT64_MAX && hi.lo != INT64_MIN && lo.hi < hi.lo) ||
           env_proves(c->env, expr_binary(c->ir, OP_LT, s->u.loop.lo, s->u.loop.hi));
}

static void emit_for(struct cg *c, struct stmt *s)
{
    int64_t a = 0, b = 0;
    bool known = expr_is_int(s->u.loop.lo, &a) && expr_is_int(s->u.loop.hi, &b);
    if (known && a >= b) return;
    if (s->u.loop.kind == LOOP_PARALLEL && !c->fn->parallel) {
        emit_parallel(c, s);
        return;
    }
    LLVMValueRef lo = cg_expr(c, s->u.loop.lo), hi = cg_expr(c, s->u.loop.hi);
    if (c->failed) return;
    bool sure = known || runs_at_least_once(c, s);
    env_put(c->env, s->u.loop.var, s->u.loop.lo, s->u.loop.hi);
    if (known && b - a == 1) {
        emit_body_once(c, s, lo);
        return;
    }
    if (sure) {
        emit_rotated(c, s, lo, hi);
        return;
    }
    LLVMBasicBlockRef pre = new_block(c, "pre"), skip = new_block(c, "skip");
    LLVMBuildCondBr(c->b, LLVMBuildICmp(c->b, LLVMIntSLT, lo, hi, ""), pre, skip);
    LLVMPositionBuilderAtEnd(c->b, pre);
    uint32_t saved;
    cg_scope_push(c, &saved);
    emit_rotated(c, s, lo, hi);
    cg_scope_pop(c, saved);
    LLVMMoveBasicBlockAfter(skip, LLVMGetInsertBlock(c->b));
    goto_block(c, skip);
}

static void emit_if(struct cg *c, struct stmt *s)
{
    const struct expr *cond = s->u.cond.cond;
    struct stmt *then = s->u.cond.then;
    if (cond->type.lanes > 1) {
        if (then->kind == ST_BLOCK && then->u.block.n == 1) then = then->u.block.p[0];
        if (then->kind != ST_STORE) {
            cg_fail(c, "codegen.form", "a vector condition guards more than one store");
            return;
        }
        cg_store(c, then, cond);
        return;
    }
    LLVMValueRef v = cg_expr(c, cond);
    if (c->failed) return;
    LLVMBasicBlockRef yes = new_block(c, "then"), end = new_block(c, "end");
    LLVMBuildCondBr(c->b, v, yes, end);
    LLVMPositionBuilderAtEnd(c->b, yes);
    uint32_t saved;
    cg_scope_push(c, &saved);
    emit(c, then);
    cg_scope_pop(c, saved);
    LLVMMoveBasicBlockAfter(end, LLVMGetInsertBlock(c->b));
    goto_block(c, end);
    forget_memory(c);
}

static LLVMValueRef alloca_at_entry(struct cg *c, LLVMTypeRef type, const char *name)
{
    LLVMBasicBlockRef here = LLVMGetInsertBlock(c->b);
    LLVMPositionBuilderAtEnd(c->b, c->fn->entry);
    LLVMValueRef v = LLVMBuildAlloca(c->b, type, name);
    LLVMPositionBuilderAtEnd(c->b, here);
    return v;
}

static void emit_alloc(struct cg *c, struct stmt *s)
{
    const struct tensor *t = s->u.alloc.tensor;
    int64_t n = 0;
    if (t->scope == SCOPE_TEMP) {
        emit(c, s->u.alloc.body);
        return;
    }
    if (t->rank != 1 || !expr_is_int(t->extent[0], &n) || n <= 0 || n > 1 << 20) {
        cg_fail(c, "codegen.form", "'%s' is not a flat array of a known size", t->name);
        return;
    }
    if (t->scope == SCOPE_REG) {
        LLVMValueRef *reg = ARENA_ARRAY(c->ir->arena, LLVMValueRef, n);
        for (int64_t i = 0; i < n; i++) reg[i] = alloca_at_entry(c, cg_type(c, t->type), t->name);
        c->fn->reg[t->id] = reg;
    } else {
        LLVMTypeRef array = LLVMArrayType2(cg_mem_type(c, t->type), (uint64_t)n);
        c->fn->base[t->id] = alloca_at_entry(c, array, t->name);
        LLVMSetAlignment(c->fn->base[t->id], (unsigned)i64_min(64, c->t->vector_bits / 8));
    }
    emit(c, s->u.alloc.body);
}

static void emit_let(struct cg *c, struct stmt *s)
{
    LLVMValueRef v = cg_expr(c, s->u.let.value);
    if (c->failed) return;
    bind(c, s->u.let.var, v);
    if (type_eq(s->u.let.value->type, type_of(TYPE_S64)))
        env_put(c->env, s->u.let.var, s->u.let.value, expr_add(c->ir, s->u.let.value, expr_int(c->ir, 1)));
    emit(c, s->u.let.body);
}

static void emit(struct cg *c, struct stmt *s)
{
    if (c->failed) return;
    c->stmt++;
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) emit(c, s->u.block.p[i]);
        break;
    case ST_STAGE: emit(c, s->u.stage.body); break;
    case ST_FOR: emit_for(c, s); break;
    case ST_IF: emit_if(c, s); break;
    case ST_LET: emit_let(c, s); break;
    case ST_ALLOC: emit_alloc(c, s); break;
    case ST_STORE: cg_store(c, s, NULL); break;
    case ST_UPDATE: cg_fail(c, "codegen.form", "an update was not lowered"); break;
    }
}

/* ---- parallel loops --------------------------------------------------------------------------- */

/* The captured values in one order: tensors, variables, scratch, par. */
static int captured(struct cg *c, const struct capture *p, LLVMValueRef *out)
{
    int n = 0;
    for (size_t i = 0; i < p->tensors.n; i++) out[n++] = c->fn->base[p->tensors.p[i]->id];
    for (size_t i = 0; i < p->vars.n; i++) out[n++] = c->fn->var[p->vars.p[i]->id];
    out[n++] = c->fn->scratch;
    return n;
}

static void bind_params(struct cg *c, const struct capture *p, LLVMValueRef fn)
{
    unsigned at = 0;
    for (size_t i = 0; i < p->tensors.n; i++) {
        if (p->tensors.p[i]->scope != SCOPE_STACK) add_attr(c, fn, at + 1, "noalias");
        c->fn->base[p->tensors.p[i]->id] = LLVMGetParam(fn, at++);
    }
    for (size_t i = 0; i < p->vars.n; i++) c->fn->var[p->vars.p[i]->id] = LLVMGetParam(fn, at++);
    add_attr(c, fn, at + 1, "noalias");
    c->fn->scratch = LLVMGetParam(fn, at);
}

/* void par.N.body(captured..., i64 i, i64 worker): one iteration. */
static LLVMValueRef parallel_body(struct cg *c, struct stmt *s, const struct capture *p, LLVMTypeRef type,
                                  const char *name)
{
    struct cg_fn *outer = c->fn;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(c->b);
    LLVMValueRef fn = LLVMAddFunction(c->mod, name, type);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    set_attrs(c, fn);
    fn_open(c, fn);
    c->fn->parallel = true;
    bind_params(c, p, fn);
    unsigned n = LLVMCountParams(fn);
    c->fn->worker = LLVMGetParam(fn, n - 1);
    c->fn->var[s->u.loop.var->id] = LLVMGetParam(fn, n - 2);
    emit(c, s->u.loop.body);
    LLVMBuildRetVoid(c->b);
    fn_close(c, outer);
    LLVMPositionBuilderAtEnd(c->b, here);
    return fn;
}

/* i32 par.N(ptr arg, i64 i, i64 worker): what the hook calls; unpacks arg. */
static LLVMValueRef parallel_thunk(struct cg *c, LLVMValueRef body, LLVMTypeRef body_type, LLVMTypeRef arg_type, int n,
                                   const char *name)
{
    LLVMBasicBlockRef here = LLVMGetInsertBlock(c->b);
    LLVMTypeRef params[3] = {c->ptr, c->i64, c->i64};
    LLVMValueRef fn = LLVMAddFunction(c->mod, name, LLVMFunctionType(c->i32, params, 3, 0));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    set_attrs(c, fn);
    LLVMPositionBuilderAtEnd(c->b, LLVMAppendBasicBlockInContext(c->ctx, fn, "entry"));
    LLVMValueRef *args = ARENA_ARRAY(c->ir->arena, LLVMValueRef, n + 2);
    for (int i = 0; i < n; i++) {
        LLVMValueRef at = LLVMBuildStructGEP2(c->b, arg_type, LLVMGetParam(fn, 0), (unsigned)i, "");
        args[i] = LLVMBuildLoad2(c->b, LLVMStructGetTypeAtIndex(arg_type, (unsigned)i), at, "");
    }
    LLVMValueRef lo = LLVMBuildStructGEP2(c->b, arg_type, LLVMGetParam(fn, 0), (unsigned)n, "");
    args[n] = LLVMBuildAdd(c->b, LLVMGetParam(fn, 1), LLVMBuildLoad2(c->b, c->i64, lo, ""), "");
    args[n + 1] = LLVMGetParam(fn, 2);
    LLVMBuildCall2(c->b, body_type, body, args, (unsigned)n + 2, "");
    LLVMBuildRet(c->b, LLVMConstInt(c->i32, 0, 0));
    LLVMPositionBuilderAtEnd(c->b, here);
    return fn;
}

/* par->run(par->ctx, thunk, &arg, n) */
static void call_hook(struct cg *c, LLVMValueRef thunk, LLVMValueRef *vals, int n, LLVMTypeRef arg_type, LLVMValueRef lo,
                      LLVMValueRef count)
{
    LLVMValueRef arg = alloca_at_entry(c, arg_type, "arg");
    for (int i = 0; i < n; i++)
        LLVMBuildStore(c->b, vals[i], LLVMBuildStructGEP2(c->b, arg_type, arg, (unsigned)i, ""));
    LLVMBuildStore(c->b, lo, LLVMBuildStructGEP2(c->b, arg_type, arg, (unsigned)n, ""));
    LLVMTypeRef fields[3] = {c->ptr, c->ptr, c->i64}, params[4] = {c->ptr, c->ptr, c->ptr, c->i64};
    LLVMTypeRef par = LLVMStructTypeInContext(c->ctx, fields, 3, 0);
    LLVMValueRef run = LLVMBuildLoad2(c->b, c->ptr, c->fn->par, "run");
    LLVMValueRef ctx = LLVMBuildLoad2(c->b, c->ptr, LLVMBuildStructGEP2(c->b, par, c->fn->par, 1, ""), "ctx");
    LLVMValueRef args[4] = {ctx, thunk, arg, count};
    LLVMBuildCall2(c->b, LLVMFunctionType(c->void_, params, 4, 0), run, args, 4, "");
}

/* for i in lo..hi: body(i, 0), without a hook. */
static void call_serial(struct cg *c, LLVMValueRef body, LLVMTypeRef type, LLVMValueRef *vals, int n, LLVMValueRef lo,
                        LLVMValueRef hi)
{
    LLVMBasicBlockRef pre = LLVMGetInsertBlock(c->b), loop = new_block(c, "serial"), exit = new_block(c, "serial.end");
    LLVMBuildBr(c->b, loop);
    LLVMPositionBuilderAtEnd(c->b, loop);
    LLVMValueRef iv = LLVMBuildPhi(c->b, c->i64, "i");
    vals[n] = iv;
    vals[n + 1] = LLVMConstInt(c->i64, 0, 0);
    LLVMBuildCall2(c->b, type, body, vals, (unsigned)n + 2, "");
    LLVMValueRef next = LLVMBuildNSWAdd(c->b, iv, LLVMConstInt(c->i64, 1, 0), "");
    LLVMAddIncoming(iv, &lo, &pre, 1);
    LLVMAddIncoming(iv, &next, &loop, 1);
    LLVMBuildCondBr(c->b, LLVMBuildICmp(c->b, LLVMIntSLT, next, hi, ""), loop, exit);
    LLVMPositionBuilderAtEnd(c->b, exit);
}

static void emit_parallel(struct cg *c, struct stmt *s)
{
    LLVMValueRef lo = cg_expr(c, s->u.loop.lo), hi = cg_expr(c, s->u.loop.hi);
    if (c->failed) return;
    env_put(c->env, s->u.loop.var, s->u.loop.lo, s->u.loop.hi);
    struct capture p;
    capture_init(c, &p, s->u.loop.body);
    int most = (int)(p.tensors.n + p.vars.n) + 4;
    LLVMValueRef *vals = ARENA_ARRAY(c->ir->arena, LLVMValueRef, most);
    LLVMTypeRef *types = ARENA_ARRAY(c->ir->arena, LLVMTypeRef, most);
    int n = captured(c, &p, vals);
    for (int i = 0; i < n; i++) types[i] = LLVMTypeOf(vals[i]);
    types[n] = types[n + 1] = c->i64;
    LLVMTypeRef body_type = LLVMFunctionType(c->void_, types, (unsigned)n + 2, 0);
    LLVMTypeRef arg_type = LLVMStructTypeInContext(c->ctx, types, (unsigned)n + 1, 0);
    char name[48], body_name[64];
    snprintf(name, sizeof name, "par.%u", c->next_fn);
    snprintf(body_name, sizeof body_name, "%s.body", name);
    LLVMValueRef body = parallel_body(c, s, &p, body_type, body_name);
    LLVMValueRef thunk = parallel_thunk(c, body, body_type, arg_type, n, name);
    capture_fini(&p);

    LLVMBasicBlockRef some = new_block(c, "some"), hook = new_block(c, "hook"), serial = new_block(c, "alone"),
                      end = new_block(c, "done");
    LLVMBuildCondBr(c->b, LLVMBuildICmp(c->b, LLVMIntSLT, lo, hi, ""), some, end);
    LLVMPositionBuilderAtEnd(c->b, some);
    LLVMBuildCondBr(c->b, LLVMBuildIsNull(c->b, c->fn->par, ""), serial, hook);
    LLVMPositionBuilderAtEnd(c->b, hook);
    call_hook(c, thunk, vals, n, arg_type, lo, LLVMBuildSub(c->b, hi, lo, ""));
    LLVMBuildBr(c->b, end);
    LLVMPositionBuilderAtEnd(c->b, serial);
    call_serial(c, body, body_type, vals, n, lo, hi);
    LLVMBuildBr(c->b, end);
    LLVMPositionBuilderAtEnd(c->b, end);
    forget_memory(c);
}

/* ---- entries ---------------------------------------------------------------------------------- */

static bool is_buffer(const struct tensor *t)
{
    return t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_OUT || t->scope == SCOPE_PACKED;
}

/* Buffers that the body touches: the others are not even loaded (a packed-away constant may be gone). */
static void used_buffers(struct cg *c, struct stmt *body, bool *used)
{
    struct cg_fn probe = {.var = ARENA_ARRAY(c->ir->arena, LLVMValueRef, c->ir->next_var + 1),
                          .base = ARENA_ARRAY(c->ir->arena, LLVMValueRef, c->ir->next_tensor + 1)};
    struct cg_fn *outer = c->fn;
    struct capture p;
    c->fn = &probe;
    capture_init(c, &p, body);
    memcpy(used, p.tensor_seen, (c->ir->next_tensor + 1) * sizeof *used);
    capture_fini(&p);
    c->fn = outer;
}

static void entry_body(struct cg *c, LLVMValueRef fn, struct stmt *body, const bool *used)
{
    const struct nest *nest = c->k->nest;
    unsigned at = 0;
    set_attrs(c, fn);
    fn_open(c, fn);
    for (int i = 0; i < nest->ntensor; i++) {
        const struct tensor *t = nest->tensor[i];
        if (!is_buffer(t) || !used[t->id]) continue;
        add_attr(c, fn, at + 1, "noalias");
        c->fn->base[t->id] = LLVMGetParam(fn, at++);
    }
    for (int i = 0; i < nest->ndyn; i++) bind(c, nest->dyn[i], LLVMGetParam(fn, at++));
    add_attr(c, fn, at + 1, "noalias");
    c->fn->scratch = LLVMGetParam(fn, at++);
    c->fn->par = LLVMGetParam(fn, at);
    emit(c, body);
    LLVMBuildRetVoid(c->b);
    fn_close(c, NULL);
}

struct entry_args {
    LLVMValueRef v[4]; /* buf dyn scratch par */
    LLVMValueRef *args;
    LLVMTypeRef *types;
    int n;
    LLVMValueRef bad; /* i1 so far, or NULL */
};

static void add_check(struct cg *c, struct entry_args *a, LLVMValueRef bad)
{
    a->bad = a->bad ? LLVMBuildOr(c->b, a->bad, bad, "") : bad;
}

static void load_args(struct cg *c, struct entry_args *a, const bool *used)
{
    const struct nest *nest = c->k->nest;
    int slot = 0;
    for (int i = 0; i < nest->ntensor; i++) {
        const struct tensor *t = nest->tensor[i];
        if (!is_buffer(t)) continue;
        LLVMValueRef index = LLVMConstInt(c->i64, (unsigned)slot++, 0);
        if (!used[t->id]) continue;
        a->args[a->n] = LLVMBuildLoad2(c->b, c->ptr, LLVMBuildInBoundsGEP2(c->b, c->ptr, a->v[0], &index, 1, ""), t->name);
        a->types[a->n++] = c->ptr;
    }
    for (int i = 0; i < nest->ndyn; i++) {
        LLVMValueRef index = LLVMConstInt(c->i64, (unsigned)i, 0);
        LLVMValueRef v = LLVMBuildLoad2(c->b, c->i64, LLVMBuildInBoundsGEP2(c->b, c->i64, a->v[1], &index, 1, ""),
                                        nest->dyn[i]->name);
        add_check(c, a, LLVMBuildICmp(c->b, LLVMIntSLT, v, LLVMConstInt(c->i64, 0, 0), ""));
        a->args[a->n] = v;
        a->types[a->n++] = c->i64;
    }
    if (c->k->scratch_a > 0 || c->k->scratch_b > 0) add_check(c, a, LLVMBuildIsNull(c->b, a->v[2], ""));
    for (int i = 2; i < 4; i++) {
        a->args[a->n] = a->v[i];
        a->types[a->n++] = c->ptr;
    }
}

/* int32_t NAME(void *const *buf, const int64_t *dyn, void *scratch, const struct par *par) */
void cg_entry(struct cg *c, const char *name, struct stmt *body, bool packing)
{
    LLVMTypeRef params[4] = {c->ptr, c->ptr, c->ptr, c->ptr};
    LLVMValueRef fn = LLVMAddFunction(c->mod, name, LLVMFunctionType(c->i32, params, 4, 0));
    set_attrs(c, fn);
    bool *used = ARENA_ARRAY(c->ir->arena, bool, c->ir->next_tensor + 1);
    used_buffers(c, body, used);
    LLVMPositionBuilderAtEnd(c->b, LLVMAppendBasicBlockInContext(c->ctx, fn, "entry"));
    int most = c->k->nest->ntensor + c->k->nest->ndyn + 2;
    struct entry_args a = {.args = ARENA_ARRAY(c->ir->arena, LLVMValueRef, most),
                           .types = ARENA_ARRAY(c->ir->arena, LLVMTypeRef, most)};
    for (int i = 0; i < 4; i++) a.v[i] = LLVMGetParam(fn, (unsigned)i);
    load_args(c, &a, used);
    char body_name[32];
    snprintf(body_name, sizeof body_name, "%s.body", name);
    LLVMTypeRef type = LLVMFunctionType(c->void_, a.types, (unsigned)a.n, 0);
    LLVMValueRef inner = LLVMAddFunction(c->mod, body_name, type);
    LLVMSetLinkage(inner, LLVMInternalLinkage);
    if (a.bad) {
        LLVMBasicBlockRef bad = LLVMAppendBasicBlockInContext(c->ctx, fn, "bad"),
                          good = LLVMAppendBasicBlockInContext(c->ctx, fn, "good");
        LLVMBuildCondBr(c->b, a.bad, bad, good);
        LLVMPositionBuilderAtEnd(c->b, bad);
        LLVMBuildRet(c->b, LLVMConstInt(c->i32, 1, 0));
        LLVMPositionBuilderAtEnd(c->b, good);
    }
    LLVMBuildCall2(c->b, type, inner, a.args, (unsigned)a.n, "");
    LLVMBuildRet(c->b, LLVMConstInt(c->i32, 0, 0));
    c->packing = packing;
    c->env = env_new(c->ir);
    for (int i = 0; i < c->k->nest->ndyn; i++)
        env_put(c->env, c->k->nest->dyn[i], expr_int(c->ir, 0), expr_int(c->ir, INT64_MAX));
    entry_body(c, inner, body, used);
}
