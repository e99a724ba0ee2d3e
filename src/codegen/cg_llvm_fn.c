/* cg_llvm_fn: entries, statements and control flow.
 *
 *   for i in lo..hi   ->   pre:  br (lo < hi) hdr, exit       (the test only where it is not known)
 *                          hdr:  i = phi [lo, pre], [i + 1, latch] ... br (i + 1 < hi) hdr, exit
 *
 * Invariants: code is appended in execution order; hoisted code goes in front of the terminator of
 * a loop's pre block; every block that does not dominate what follows is inside a scope of its
 * own. */
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

/* ---- scopes ---------------------------------------------------------------------------------- */

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

LLVMBasicBlockRef cg_block(struct cg *c, const char *name)
{
    return LLVMAppendBasicBlockInContext(c->ctx, c->fn->fn, name);
}

static void goto_block(struct cg *c, LLVMBasicBlockRef block)
{
    LLVMBuildBr(c->b, block);
    LLVMPositionBuilderAtEnd(c->b, block);
}

/* ---- functions ------------------------------------------------------------------------------- */

void cg_attr(struct cg *c, LLVMValueRef fn, unsigned at, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(c->ctx, kind, 0));
}

void cg_fn_attrs(struct cg *c, LLVMValueRef fn)
{
    cg_attr(c, fn, (unsigned)LLVMAttributeFunctionIndex, "nounwind");
    const char *pairs[][2] = {{"target-cpu", c->t->cpu}, {"target-features", c->t->features}};
    for (size_t i = 0; i < QN_COUNT(pairs); i++) {
        const char *k = pairs[i][0], *v = pairs[i][1];
        if (!v || !v[0]) continue;
        LLVMAddAttributeAtIndex(fn, (unsigned)LLVMAttributeFunctionIndex,
                                LLVMCreateStringAttribute(c->ctx, k, (unsigned)strlen(k), v,
                                                          (unsigned)strlen(v)));
    }
}

struct cg_fn *cg_fn_open(struct cg *c, LLVMValueRef fn)
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
    f->entry = cg_block(c, "entry");
    LLVMBasicBlockRef start = cg_block(c, "start");
    LLVMPositionBuilderAtEnd(c->b, start);
    return f;
}

/* Ends the function: the entry block of allocas falls into the first block. */
void cg_fn_close(struct cg *c, struct cg_fn *outer)
{
    struct cg_fn *f = c->fn;
    LLVMPositionBuilderAtEnd(c->b, f->entry);
    LLVMBuildBr(c->b, LLVMGetNextBasicBlock(f->entry));
    c->scope_open.p[f->scope] = 0;
    vec_free(&f->loops);
    c->fn = outer;
}

void cg_return(struct cg *c)
{
    if (c->fn->streamed && c->x86) cg_call(c, "llvm.x86.sse.sfence", NULL, 0, NULL, 0);
    LLVMBuildRetVoid(c->b);
}

/* ---- statements ------------------------------------------------------------------------------ */

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
    cg_stmt(c, s->u.loop.body);
}

static void emit_rotated(struct cg *c, struct stmt *s, LLVMValueRef lo, LLVMValueRef hi)
{
    LLVMBasicBlockRef pre = LLVMGetInsertBlock(c->b), hdr = cg_block(c, "loop");
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
    cg_stmt(c, s->u.loop.body);
    forget_memory(c);
    cg_scope_pop(c, saved);
    c->fn->depth--;
    c->fn->loops.n--;
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(c->b), exit = cg_block(c, "exit");
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
        cg_parallel(c, s);
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
    LLVMBasicBlockRef pre = cg_block(c, "pre"), skip = cg_block(c, "skip");
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
    LLVMBasicBlockRef yes = cg_block(c, "then"), end = cg_block(c, "end");
    LLVMBuildCondBr(c->b, v, yes, end);
    LLVMPositionBuilderAtEnd(c->b, yes);
    uint32_t saved;
    cg_scope_push(c, &saved);
    cg_stmt(c, then);
    cg_scope_pop(c, saved);
    LLVMMoveBasicBlockAfter(end, LLVMGetInsertBlock(c->b));
    goto_block(c, end);
    forget_memory(c);
}

LLVMValueRef cg_alloca(struct cg *c, LLVMTypeRef type, const char *name)
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
        cg_stmt(c, s->u.alloc.body);
        return;
    }
    if (t->rank != 1 || !expr_is_int(t->extent[0], &n) || n <= 0 || n > 1 << 20) {
        cg_fail(c, "codegen.form", "'%s' is not a flat array of a known size", t->name);
        return;
    }
    if (t->scope == SCOPE_REG) {
        LLVMValueRef *reg = ARENA_ARRAY(c->ir->arena, LLVMValueRef, n);
        for (int64_t i = 0; i < n; i++) reg[i] = cg_alloca(c, cg_type(c, t->type), t->name);
        c->fn->reg[t->id] = reg;
    } else {
        LLVMTypeRef array = LLVMArrayType2(cg_mem_type(c, t->type), (uint64_t)n);
        c->fn->base[t->id] = cg_alloca(c, array, t->name);
        LLVMSetAlignment(c->fn->base[t->id], (unsigned)i64_min(64, c->t->vector_bits / 8));
    }
    cg_stmt(c, s->u.alloc.body);
}

static void emit_let(struct cg *c, struct stmt *s)
{
    LLVMValueRef v = cg_expr(c, s->u.let.value);
    if (c->failed) return;
    bind(c, s->u.let.var, v);
    if (type_eq(s->u.let.value->type, type_of(TYPE_S64)))
        env_put(c->env, s->u.let.var, s->u.let.value,
                expr_add(c->ir, s->u.let.value, expr_int(c->ir, 1)));
    cg_stmt(c, s->u.let.body);
}

void cg_stmt(struct cg *c, struct stmt *s)
{
    if (c->failed) return;
    c->stmt++;
    c->at = s;
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) cg_stmt(c, s->u.block.p[i]);
        break;
    case ST_STAGE:
        cg_stmt(c, s->u.stage.body);
        break;
    case ST_FOR:
        emit_for(c, s);
        break;
    case ST_IF:
        emit_if(c, s);
        break;
    case ST_LET:
        emit_let(c, s);
        break;
    case ST_ALLOC:
        emit_alloc(c, s);
        break;
    case ST_STORE:
        cg_store(c, s, NULL);
        break;
    case ST_UPDATE:
        cg_fail(c, "codegen.form", "an update was not lowered");
        break;
    }
}

/* ---- entries --------------------------------------------------------------------------------- */

static bool is_buffer(const struct tensor *t)
{
    return t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_OUT ||
           t->scope == SCOPE_PACKED;
}

/* Buffers that the body touches: the others are not even loaded (a packed-away constant may be
 * gone). */
static void used_buffers(struct cg *c, struct stmt *body, bool *used)
{
    struct cg_fn probe = {.var = ARENA_ARRAY(c->ir->arena, LLVMValueRef, c->ir->next_var + 1),
                          .base = ARENA_ARRAY(c->ir->arena, LLVMValueRef, c->ir->next_tensor + 1)};
    struct cg_fn *outer = c->fn;
    struct cg_capture p;
    c->fn = &probe;
    cg_capture_init(c, &p, body);
    memcpy(used, p.tensor_seen, (c->ir->next_tensor + 1) * sizeof *used);
    cg_capture_fini(&p);
    c->fn = outer;
}

static void entry_body(struct cg *c, LLVMValueRef fn, struct stmt *body, const bool *used)
{
    const struct nest *nest = c->k->nest;
    unsigned at = 0;
    cg_fn_attrs(c, fn);
    cg_fn_open(c, fn);
    for (int i = 0; i < nest->ntensor; i++) {
        const struct tensor *t = nest->tensor[i];
        if (!is_buffer(t) || !used[t->id]) continue;
        cg_attr(c, fn, at + 1, "noalias");
        c->fn->base[t->id] = LLVMGetParam(fn, at++);
    }
    for (int i = 0; i < nest->ndyn; i++) bind(c, nest->dyn[i], LLVMGetParam(fn, at++));
    cg_attr(c, fn, at + 1, "noalias");
    c->fn->scratch = LLVMGetParam(fn, at++);
    c->fn->par = LLVMGetParam(fn, at);
    cg_stmt(c, body);
    cg_return(c);
    cg_fn_close(c, NULL);
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
        a->args[a->n] =
            LLVMBuildLoad2(c->b, c->ptr,
                           LLVMBuildInBoundsGEP2(c->b, c->ptr, a->v[0], &index, 1, ""), t->name);
        a->types[a->n++] = c->ptr;
    }
    for (int i = 0; i < nest->ndyn; i++) {
        LLVMValueRef index = LLVMConstInt(c->i64, (unsigned)i, 0);
        LLVMValueRef v = LLVMBuildLoad2(c->b, c->i64,
                                        LLVMBuildInBoundsGEP2(c->b, c->i64, a->v[1], &index, 1, ""),
                                        nest->dyn[i]->name);
        add_check(c, a, LLVMBuildICmp(c->b, LLVMIntSLT, v, LLVMConstInt(c->i64, 0, 0), ""));
        a->args[a->n] = v;
        a->types[a->n++] = c->i64;
    }
    if (c->k->scratch_a > 0 || c->k->scratch_b > 0)
        add_check(c, a, LLVMBuildIsNull(c->b, a->v[2], ""));
    for (int i = 2; i < 4; i++) {
        a->args[a->n] = a->v[i];
        a->types[a->n++] = c->ptr;
    }
}

static LLVMValueRef declare_body(struct cg *c, const char *name, const char *what, LLVMTypeRef type)
{
    char full[40];
    snprintf(full, sizeof full, "%s.%s", name, what);
    LLVMValueRef fn = LLVMAddFunction(c->mod, full, type);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    return fn;
}

/* Every result starts at a multiple of a vector. */
static LLVMValueRef results_aligned(struct cg *c, const struct entry_args *a, const bool *used)
{
    LLVMValueRef bits = LLVMConstInt(c->i64, 0, 0);
    int k = 0;
    for (int i = 0; i < c->k->nest->ntensor; i++) {
        const struct tensor *t = c->k->nest->tensor[i];
        if (!is_buffer(t) || !used[t->id]) continue;
        if (t->scope == SCOPE_OUT)
            bits = LLVMBuildOr(c->b, bits, LLVMBuildPtrToInt(c->b, a->args[k], c->i64, ""), "");
        k++;
    }
    LLVMValueRef low = LLVMConstInt(c->i64, (unsigned)(c->t->vector_bits / 8 - 1), 0);
    return LLVMBuildICmp(c->b, LLVMIntEQ, LLVMBuildAnd(c->b, bits, low, ""),
                         LLVMConstInt(c->i64, 0, 0), "");
}

static void call_and_return(struct cg *c, struct entry_args *a, LLVMTypeRef type, LLVMValueRef fn)
{
    LLVMBuildCall2(c->b, type, fn, a->args, (unsigned)a->n, "");
    LLVMBuildRet(c->b, LLVMConstInt(c->i32, 0, 0));
}

static void write_body(struct cg *c, LLVMValueRef fn, struct stmt *body, const bool *used,
                       bool stream)
{
    c->stream = stream;
    c->env = env_new(c->ir);
    for (int i = 0; i < c->k->nest->ndyn; i++)
        env_put(c->env, c->k->nest->dyn[i], expr_int(c->ir, 0), expr_int(c->ir, INT64_MAX));
    entry_body(c, fn, body, used);
}

/* int32_t NAME(void *const *buf, const int64_t *dyn, void *scratch, const struct par *par) */
void cg_entry(struct cg *c, const char *name, struct stmt *body, bool packing)
{
    LLVMTypeRef params[4] = {c->ptr, c->ptr, c->ptr, c->ptr};
    LLVMValueRef fn = LLVMAddFunction(c->mod, name, LLVMFunctionType(c->i32, params, 4, 0));
    cg_fn_attrs(c, fn);
    bool *used = ARENA_ARRAY(c->ir->arena, bool, c->ir->next_tensor + 1);
    used_buffers(c, body, used);
    LLVMPositionBuilderAtEnd(c->b, LLVMAppendBasicBlockInContext(c->ctx, fn, "entry"));
    int most = c->k->nest->ntensor + c->k->nest->ndyn + 2;
    struct entry_args a = {.args = ARENA_ARRAY(c->ir->arena, LLVMValueRef, most),
                           .types = ARENA_ARRAY(c->ir->arena, LLVMTypeRef, most)};
    for (int i = 0; i < 4; i++) a.v[i] = LLVMGetParam(fn, (unsigned)i);
    load_args(c, &a, used);
    LLVMTypeRef type = LLVMFunctionType(c->void_, a.types, (unsigned)a.n, 0);
    bool stream = c->want_stream && !packing, checked = stream && c->x86;
    LLVMValueRef plain = declare_body(c, name, "body", type),
                 past = checked ? declare_body(c, name, "stream", type) : NULL;
    if (a.bad) {
        LLVMBasicBlockRef bad = LLVMAppendBasicBlockInContext(c->ctx, fn, "bad"),
                          good = LLVMAppendBasicBlockInContext(c->ctx, fn, "good");
        LLVMBuildCondBr(c->b, a.bad, bad, good);
        LLVMPositionBuilderAtEnd(c->b, bad);
        LLVMBuildRet(c->b, LLVMConstInt(c->i32, 1, 0));
        LLVMPositionBuilderAtEnd(c->b, good);
    }
    if (checked) {
        LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(c->ctx, fn, "aligned"),
                          no = LLVMAppendBasicBlockInContext(c->ctx, fn, "unaligned");
        LLVMBuildCondBr(c->b, results_aligned(c, &a, used), yes, no);
        LLVMPositionBuilderAtEnd(c->b, yes);
        call_and_return(c, &a, type, past);
        LLVMPositionBuilderAtEnd(c->b, no);
    }
    call_and_return(c, &a, type, plain);
    c->packing = packing;
    if (checked) write_body(c, past, body, used, true);
    write_body(c, plain, body, used, stream && !checked);
}
