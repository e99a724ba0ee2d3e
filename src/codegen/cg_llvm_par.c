/* cg_llvm_par: PARALLEL loops. The body becomes a function of its own, called by the caller's hook
 * or by a plain loop where there is none.
 *
 *   for i in 0..n parallel   ->   par ? par->run(par->ctx, par.1, &{x, y, n, scratch, lo}, n)
 *                                     : for (..) par.1.body(..)
 *
 * Invariants: the body gets by value every variable it reads from outside and by pointer every
 * buffer; buffers keep noalias across the call; worker is 0 without a hook. */
#include <stdio.h>
#include <string.h>

#include "codegen/cg_llvm.h"

/* ---- what a loop body needs from outside ----------------------------------------------------- */

static void see_tensor(struct cg_capture *p, const struct tensor *t)
{
    if (p->tensor_seen[t->id]) return;
    p->tensor_seen[t->id] = true;
    /* TEMP and TABLE are reached from scratch and the image; what is allocated inside has no base
     * yet */
    if (t->scope != SCOPE_TEMP && t->scope != SCOPE_TABLE && p->c->fn->base[t->id])
        vec_push(&p->tensors, t);
}

static void capture_expr(const struct expr *e, void *ctx)
{
    struct cg_capture *p = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC) see_tensor(p, e->u.tensor);
    if (e->op != OP_VAR || p->var_seen[e->u.var->id]) return;
    p->var_seen[e->u.var->id] = true;
    if (p->c->fn->var[e->u.var->id]) vec_push(&p->vars, e->u.var);
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

void cg_capture_init(struct cg *c, struct cg_capture *p, struct stmt *body)
{
    memset(p, 0, sizeof *p);
    p->c = c;
    p->var_seen = ARENA_ARRAY(c->ir->arena, bool, c->ir->next_var + 1);
    p->tensor_seen = ARENA_ARRAY(c->ir->arena, bool, c->ir->next_tensor + 1);
    stmt_walk(body, capture_stmt, p);
}

void cg_capture_fini(struct cg_capture *p)
{
    vec_free(&p->vars);
    vec_free(&p->tensors);
}

/* ---- parallel loops -------------------------------------------------------------------------- */

/* The captured values in one order: tensors, variables, scratch, par. */
static int captured(struct cg *c, const struct cg_capture *p, LLVMValueRef *out)
{
    int n = 0;
    for (size_t i = 0; i < p->tensors.n; i++) out[n++] = c->fn->base[p->tensors.p[i]->id];
    for (size_t i = 0; i < p->vars.n; i++) out[n++] = c->fn->var[p->vars.p[i]->id];
    out[n++] = c->fn->scratch;
    return n;
}

static void bind_params(struct cg *c, const struct cg_capture *p, LLVMValueRef fn)
{
    unsigned at = 0;
    for (size_t i = 0; i < p->tensors.n; i++) {
        if (p->tensors.p[i]->scope != SCOPE_STACK) cg_attr(c, fn, at + 1, "noalias");
        c->fn->base[p->tensors.p[i]->id] = LLVMGetParam(fn, at++);
    }
    for (size_t i = 0; i < p->vars.n; i++) c->fn->var[p->vars.p[i]->id] = LLVMGetParam(fn, at++);
    cg_attr(c, fn, at + 1, "noalias");
    c->fn->scratch = LLVMGetParam(fn, at);
}

/* void par.N.body(captured..., i64 i, i64 worker): one iteration. */
static LLVMValueRef parallel_body(struct cg *c, struct stmt *s, const struct cg_capture *p,
                                  LLVMTypeRef type, const char *name)
{
    struct cg_fn *outer = c->fn;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(c->b);
    LLVMValueRef fn = LLVMAddFunction(c->mod, name, type);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    cg_fn_attrs(c, fn);
    cg_fn_open(c, fn);
    c->fn->parallel = true;
    bind_params(c, p, fn);
    unsigned n = LLVMCountParams(fn);
    c->fn->worker = LLVMGetParam(fn, n - 1);
    c->fn->var[s->u.loop.var->id] = LLVMGetParam(fn, n - 2);
    cg_stmt(c, s->u.loop.body);
    cg_return(c);
    cg_fn_close(c, outer);
    LLVMPositionBuilderAtEnd(c->b, here);
    return fn;
}

/* i32 par.N(ptr arg, i64 i, i64 worker): what the hook calls; unpacks arg. */
static LLVMValueRef parallel_thunk(struct cg *c, LLVMValueRef body, LLVMTypeRef body_type,
                                   LLVMTypeRef arg_type, int n, const char *name)
{
    LLVMBasicBlockRef here = LLVMGetInsertBlock(c->b);
    LLVMTypeRef params[3] = {c->ptr, c->i64, c->i64};
    LLVMValueRef fn = LLVMAddFunction(c->mod, name, LLVMFunctionType(c->i32, params, 3, 0));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    cg_fn_attrs(c, fn);
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
static void call_hook(struct cg *c, LLVMValueRef thunk, LLVMValueRef *vals, int n,
                      LLVMTypeRef arg_type, LLVMValueRef lo, LLVMValueRef count)
{
    LLVMValueRef arg = cg_alloca(c, arg_type, "arg");
    for (int i = 0; i < n; i++)
        LLVMBuildStore(c->b, vals[i], LLVMBuildStructGEP2(c->b, arg_type, arg, (unsigned)i, ""));
    LLVMBuildStore(c->b, lo, LLVMBuildStructGEP2(c->b, arg_type, arg, (unsigned)n, ""));
    LLVMTypeRef fields[3] = {c->ptr, c->ptr, c->i64}, params[4] = {c->ptr, c->ptr, c->ptr, c->i64};
    LLVMTypeRef par = LLVMStructTypeInContext(c->ctx, fields, 3, 0);
    LLVMValueRef run = LLVMBuildLoad2(c->b, c->ptr, c->fn->par, "run");
    LLVMValueRef ctx =
        LLVMBuildLoad2(c->b, c->ptr, LLVMBuildStructGEP2(c->b, par, c->fn->par, 1, ""), "ctx");
    LLVMValueRef args[4] = {ctx, thunk, arg, count};
    LLVMBuildCall2(c->b, LLVMFunctionType(c->void_, params, 4, 0), run, args, 4, "");
}

/* for i in lo..hi: body(i, 0), without a hook. */
static void call_serial(struct cg *c, LLVMValueRef body, LLVMTypeRef type, LLVMValueRef *vals,
                        int n, LLVMValueRef lo, LLVMValueRef hi)
{
    LLVMBasicBlockRef pre = LLVMGetInsertBlock(c->b), loop = cg_block(c, "serial"),
                      exit = cg_block(c, "serial.end");
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

void cg_parallel(struct cg *c, struct stmt *s)
{
    LLVMValueRef lo = cg_expr(c, s->u.loop.lo), hi = cg_expr(c, s->u.loop.hi);
    if (c->failed) return;
    env_put(c->env, s->u.loop.var, s->u.loop.lo, s->u.loop.hi);
    struct cg_capture p;
    cg_capture_init(c, &p, s->u.loop.body);
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
    cg_capture_fini(&p);

    LLVMBasicBlockRef some = cg_block(c, "some"), hook = cg_block(c, "hook"),
                      serial = cg_block(c, "alone"), end = cg_block(c, "done");
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
    c->epoch++; /* the loop may have stored */
}
