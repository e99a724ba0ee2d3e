/* cg_llvm_mem: loads and stores. What a subscript does to memory is decided by access_classify;
 * each class has one form here.
 *
 *   x[ramp(i*2, 2, 16)]   strided   ->   two wide loads of the 31 elements, one shufflevector
 *
 * Invariants: no byte outside the elements a subscript names (for strided and permuted loads:
 * outside their reach, lower/window.c) is touched; alignment claimed is the element's, never more; a guarded access
 * touches nothing where its condition is false. */
#include "codegen/cg_llvm.h"

enum { LANES_MAX = CG_LANES_MAX };

unsigned cg_align(const struct tensor *t)
{
    return (unsigned)dtype_bytes((enum dtype)t->type.dtype);
}

LLVMTypeRef cg_mem_scalar(struct cg *c, const struct tensor *t)
{
    return cg_mem_type(c, type_of(t->type.dtype));
}

/* ---- addresses ------------------------------------------------------------------------------- */

static LLVMValueRef table_global(struct cg *c, const struct tensor *t)
{
    if (c->table[t->id]) return c->table[t->id];
    int64_t n = 0;
    enum dtype d = (enum dtype)t->type.dtype;
    if (t->rank != 1 || !expr_is_int(t->extent[0], &n))
        return cg_fail(c, "codegen.form", "table '%s' is not flat", t->name);
    LLVMValueRef *v = ARENA_ARRAY(c->ir->arena, LLVMValueRef, n);
    for (int64_t i = 0; i < n; i++) {
        LLVMValueRef x = dtype_is_float(d) ? cg_real(c, cg_dtype(c, d), t->table[i])
                                           : cg_int(c, cg_dtype(c, d), (int64_t)t->table[i]);
        if (d == TYPE_F16 || d == TYPE_BF16) {
            const struct expr *e = expr_real(c->ir, t->type, t->table[i]); /* rounds to the type */
            x = cg_real(c, c->f32, e->u.f);
        }
        v[i] = cg_to_memory(c, x, t->type);
    }
    LLVMTypeRef element = cg_mem_scalar(c, t);
    LLVMValueRef g = LLVMAddGlobal(c->mod, LLVMArrayType2(element, (uint64_t)n), t->name);
    LLVMSetInitializer(g, LLVMConstArray2(element, v, (uint64_t)n));
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
    LLVMSetAlignment(g, 64);
    return c->table[t->id] = g;
}

static LLVMValueRef byte_offset(struct cg *c, LLVMValueRef p, LLVMValueRef by)
{
    return LLVMBuildGEP2(c->b, c->i8, p, &by, 1, "");
}

static LLVMValueRef scratch_base(struct cg *c, const struct tensor *t)
{
    int64_t at = t->scratch_at + (t->scratch_per_worker ? c->k->scratch_a : 0);
    LLVMValueRef p =
        byte_offset(c, c->fn->scratch, LLVMConstInt(c->i64, (unsigned long long)at, 0));
    if (!t->scratch_per_worker || !c->fn->worker) return p;
    LLVMValueRef stride = LLVMConstInt(c->i64, (unsigned long long)c->k->scratch_b, 0);
    return byte_offset(c, p, LLVMBuildMul(c->b, c->fn->worker, stride, ""));
}

LLVMValueRef cg_base(struct cg *c, const struct tensor *t)
{
    if (t->scope == SCOPE_TEMP) return scratch_base(c, t);
    if (t->scope == SCOPE_TABLE) return table_global(c, t);
    if (c->fn->base[t->id]) return c->fn->base[t->id];
    return cg_fail(c, "codegen.form", "tensor '%s' has no memory here", t->name);
}

/* base + variable part, then the constant as a displacement: unrolled accesses share one address
 * register. */
LLVMValueRef cg_address(struct cg *c, const struct tensor *t, const struct expr *at)
{
    struct linear l;
    int64_t k = 0;
    LLVMValueRef p = cg_base(c, t);
    LLVMTypeRef element = cg_mem_scalar(c, t);
    if (c->failed) return NULL;
    if (linear_of(at, &l)) {
        k = l.c;
        l.c = 0;
        at = linear_expr(c->ir, &l);
    }
    int64_t none = 0;
    if (!expr_is_int(at, &none) || none != 0) {
        LLVMValueRef v = cg_expr(c, at);
        if (c->failed) return NULL;
        p = LLVMBuildGEP2(c->b, element, p, &v, 1, "");
    }
    if (k == 0) return p;
    LLVMValueRef d = LLVMConstInt(c->i64, (unsigned long long)k, 1);
    return LLVMBuildGEP2(c->b, element, p, &d, 1, "");
}

LLVMValueRef cg_element_at(struct cg *c, const struct tensor *t, LLVMValueRef p, int64_t offset)
{
    if (offset == 0) return p;
    LLVMValueRef d = LLVMConstInt(c->i64, (unsigned long long)offset, 1);
    return LLVMBuildGEP2(c->b, cg_mem_scalar(c, t), p, &d, 1, "");
}

static LLVMValueRef load_raw(struct cg *c, const struct tensor *t, LLVMTypeRef type, LLVMValueRef p)
{
    LLVMValueRef v = LLVMBuildLoad2(c->b, type, p, "");
    LLVMSetAlignment(v, cg_align(t));
    return v;
}

/* ---- REG ------------------------------------------------------------------------------------- */

LLVMValueRef cg_reg_slot(struct cg *c, const struct tensor *t, const struct expr *at)
{
    int64_t i = 0, n = 0;
    if (!c->fn->reg[t->id])
        return cg_fail(c, "codegen.form", "register tile '%s' is used outside its allocation",
                       t->name);
    if (!expr_is_int(at, &i) || !expr_is_int(t->extent[0], &n) || i < 0 || i >= n)
        return cg_fail(c, "codegen.form",
                       "register tile '%s' has a subscript that is not a constant inside it",
                       t->name);
    return c->fn->reg[t->id][i];
}

/* ---- wide accesses --------------------------------------------------------------------------- */

/* All `span` elements at p at once, where the target has masks: lanes above span are not
 * touched. */
static LLVMValueRef load_short(struct cg *c, const struct tensor *t, LLVMValueRef p, int span,
                               int lanes)
{
    LLVMValueRef on[LANES_MAX];
    LLVMTypeRef wide = cg_wide(cg_mem_scalar(c, t), lanes), types[2] = {wide, c->ptr};
    for (int i = 0; i < lanes; i++) on[i] = LLVMConstInt(c->i1, i < span, 0);
    LLVMValueRef args[4] = {p, LLVMConstInt(c->i32, cg_align(t), 0),
                            LLVMConstVector(on, (unsigned)lanes), LLVMConstNull(wide)};
    return cg_call(c, "llvm.masked.load", types, 2, args, 4);
}

/* One vector of the window, with `lanes` lanes if that is more. */
static LLVMValueRef load_part(struct cg *c, const struct tensor *t, LLVMValueRef p, int width,
                              int lanes)
{
    LLVMTypeRef scalar = cg_mem_scalar(c, t);
    LLVMValueRef v = load_raw(c, t, cg_wide(scalar, width), p);
    if (width == 1)
        v = LLVMBuildInsertElement(c->b, LLVMGetPoison(LLVMVectorType(scalar, 1)), v,
                                   LLVMConstInt(c->i32, 0, 0), "");
    if (width == lanes) return v;
    int longer[LANES_MAX];
    for (int i = 0; i < lanes; i++) longer[i] = i < width ? i : -1;
    return cg_shuffle(c, v, NULL, longer, lanes);
}

/* The first two vectors are shuffled at once, each further one into what they gave. */
static LLVMValueRef load_whole(struct cg *c, const struct tensor *t, LLVMValueRef p,
                               const struct window *w, int width, int lanes)
{
    LLVMValueRef out = NULL, one = NULL;
    int sel[LANES_MAX];
    for (int k = 0; k < w->n && !c->failed; k++) {
        LLVMValueRef v = load_part(c, t, cg_element_at(c, t, p, w->start[k]), width, lanes);
        for (int i = 0; i < lanes; i++)
            if (w->vector[i] == k)
                sel[i] = (one ? lanes : 0) + w->lane[i];
            else if (w->vector[i] > k)
                sel[i] = -1;
            else if (out)
                sel[i] = i;
        if (one) out = cg_shuffle(c, out ? out : one, v, sel, lanes);
        one = v;
    }
    return out || !one ? out : cg_shuffle(c, one, NULL, sel, lanes);
}

/* Loads are of powers of two: others would be taken apart. */
static LLVMValueRef load_window(struct cg *c, const struct tensor *t, const struct access_info *a,
                                int lanes)
{
    struct window w;
    int width = lanes;
    while (width & (width - 1)) width &= width - 1;
    enum window_fit fit = window_plan(&c->reach, c->at, t, a, lanes, width, &w);
    LLVMValueRef p = fit == WINDOW_FAR ? NULL : cg_address(c, t, a->base);
    if (!p) return NULL;
    if (fit == WINDOW_SHORT && (w.span & (w.span - 1)) && c->t->masks &&
        dtype_bytes((enum dtype)t->type.dtype) >= 4)
        return cg_shuffle(c, load_short(c, t, cg_element_at(c, t, p, w.first), w.span, lanes), NULL,
                          w.sel, lanes);
    if (fit == WINDOW_SHORT) {
        for (width = w.span; width & (width - 1);) width &= width - 1;
        fit = window_plan(&c->reach, c->at, t, a, lanes, width, &w);
        QN_CHECK(fit == WINDOW_WHOLE, "a window of %d in vectors of %d", w.span, width);
    }
    return load_whole(c, t, p, &w, width, lanes);
}

/* Vector of element addresses of any subscript. */
LLVMValueRef cg_lane_addresses(struct cg *c, const struct tensor *t, const struct expr *at)
{
    LLVMValueRef v = cg_expr(c, at), p = cg_base(c, t);
    return c->failed ? NULL : LLVMBuildGEP2(c->b, cg_mem_scalar(c, t), p, &v, 1, "");
}

static LLVMValueRef load_lanes(struct cg *c, const struct expr *e, const struct expr *at)
{
    const struct tensor *t = e->u.tensor;
    LLVMValueRef idx = cg_expr(c, at), p = cg_base(c, t);
    LLVMTypeRef scalar = cg_mem_scalar(c, t);
    if (c->failed) return NULL;
    LLVMValueRef out = LLVMGetPoison(LLVMVectorType(scalar, e->type.lanes));
    for (int i = 0; i < e->type.lanes; i++) {
        LLVMValueRef lane = LLVMConstInt(c->i32, (unsigned)i, 0),
                     one = LLVMBuildExtractElement(c->b, idx, lane, "");
        LLVMValueRef v = load_raw(c, t, scalar, LLVMBuildGEP2(c->b, scalar, p, &one, 1, ""));
        out = LLVMBuildInsertElement(c->b, out, v, lane, "");
    }
    return out;
}

static LLVMValueRef all_lanes(struct cg *c, int lanes)
{
    return cg_int(c, LLVMVectorType(c->i1, (unsigned)lanes), 1);
}

static LLVMValueRef gather(struct cg *c, const struct expr *e, const struct expr *at,
                           LLVMValueRef mask, LLVMValueRef otherwise)
{
    LLVMTypeRef types[2] = {cg_mem_type(c, e->type), LLVMVectorType(c->ptr, e->type.lanes)};
    LLVMValueRef args[4] = {cg_lane_addresses(c, e->u.tensor, at),
                            LLVMConstInt(c->i32, cg_align(e->u.tensor), 0), mask, otherwise};
    return c->failed ? NULL : cg_call(c, "llvm.masked.gather", types, 2, args, 4);
}

static void prefetch(struct cg *c, const struct tensor *t, const struct access_info *a, int lanes)
{
    struct ahead x;
    if (!ahead_find(&c->reach, c->at, t, a, lanes, c->t, c->ahead, &x)) return;
    for (int64_t i = x.lo; i < x.hi; i += x.step) {
        LLVMValueRef p = cg_address(c, t, expr_add(c->ir, x.from, expr_int(c->ir, i)));
        LLVMValueRef args[4] = {p, LLVMConstInt(c->i32, 0, 0),
                                LLVMConstInt(c->i32, (unsigned)x.near, 0),
                                LLVMConstInt(c->i32, 1, 0)}; /* to read, .., data */
        if (c->failed) return;
        cg_call(c, "llvm.prefetch", &c->ptr, 1, args, 4);
    }
}

static LLVMValueRef load_vector(struct cg *c, const struct expr *e, const struct expr *at)
{
    struct access_info a;
    const struct tensor *t = e->u.tensor;
    int lanes = e->type.lanes;
    if (lanes > LANES_MAX) return cg_fail(c, "codegen.form", "a vector of %d lanes", lanes);
    access_classify(c->ir, at, &a);
    prefetch(c, t, &a, lanes);
    if (a.kind == ACCESS_CONTIGUOUS) {
        LLVMValueRef p = cg_address(c, t, a.base);
        return c->failed ? NULL : load_raw(c, t, cg_mem_type(c, e->type), p);
    }
    if (a.kind == ACCESS_STRIDED || a.kind == ACCESS_PERMUTE) {
        LLVMValueRef v = load_window(c, t, &a, lanes);
        if (v || c->failed) return v;
    }
    bool fast = c->t->gather && dtype_bytes((enum dtype)t->type.dtype) >= 4;
    if (!fast) return load_lanes(c, e, at);
    return gather(c, e, at, all_lanes(c, lanes), LLVMGetPoison(cg_mem_type(c, e->type)));
}

/* ---- guarded loads --------------------------------------------------------------------------- */

/* From which lanes run to which of `lanes` elements of the window they want, from element `from` on: element i is
 * wanted if any lane with sel = from + i runs. One shuffle for the first lane of each element, one for the
 * second, ... */
static LLVMValueRef window_mask(struct cg *c, LLVMValueRef mask, const int *sel, int from,
                                int lanes)
{
    LLVMValueRef none = LLVMConstNull(LLVMTypeOf(mask)), out = NULL, pick[LANES_MAX];
    bool used[LANES_MAX] = {false};
    int left = 0;
    for (int j = 0; j < lanes; j++) left += sel[j] >= from && sel[j] < from + lanes;
    while (left > 0) {
        for (int i = 0; i < lanes; i++) {
            int j = 0;
            while (j < lanes && (used[j] || sel[j] != from + i)) j++;
            if (j < lanes) used[j] = true, left--;
            pick[i] =
                LLVMConstInt(c->i32, (unsigned)j, 0); /* lane `lanes` is the first of `none` */
        }
        LLVMValueRef some =
            LLVMBuildShuffleVector(c->b, mask, none, LLVMConstVector(pick, (unsigned)lanes), "");
        out = out ? LLVMBuildOr(c->b, out, some, "") : some;
    }
    return out ? out : none;
}

/* So many vectors of a window are loaded rather than gathered. */
enum { MASKED_PARTS = 4 };

/* A strided or permuted window of few vectors: masked loads and as many shuffles instead of a gather. */
static LLVMValueRef load_masked_window(struct cg *c, const struct expr *e,
                                       const struct access_info *a, LLVMValueRef mask,
                                       LLVMValueRef other)
{
    const struct tensor *t = e->u.tensor;
    int lanes = e->type.lanes, pick[LANES_MAX];
    struct window w;
    window_lanes(a, lanes, &w);
    LLVMTypeRef types[2] = {cg_mem_type(c, e->type), c->ptr};
    LLVMValueRef p = cg_address(c, t, a->base), out = NULL;
    for (int from = 0; from < w.span && !c->failed; from += lanes) {
        LLVMValueRef args[4] = {cg_element_at(c, t, p, w.first + from),
                                LLVMConstInt(c->i32, cg_align(t), 0),
                                window_mask(c, mask, w.sel, from, lanes), LLVMConstNull(types[0])};
        LLVMValueRef part = cg_call(c, "llvm.masked.load", types, 2, args, 4);
        for (int i = 0; i < lanes; i++) {
            bool here = w.sel[i] >= from && w.sel[i] < from + lanes;
            pick[i] = here ? (out ? lanes : 0) + w.sel[i] - from : out && w.sel[i] < from ? i : -1;
        }
        out = cg_shuffle(c, out ? out : part, out ? part : NULL, pick, lanes);
    }
    return c->failed ? NULL : cg_select(c, mask, out, other);
}

static LLVMValueRef load_masked(struct cg *c, const struct expr *e, const struct expr *at)
{
    struct access_info a;
    LLVMValueRef mask = cg_expr(c, e->a[0]), other = cg_expr(c, e->a[1]);
    if (c->failed) return NULL;
    other = cg_to_memory(c, other, e->type);
    access_classify(c->ir, at, &a);
    bool window = (a.kind == ACCESS_STRIDED || a.kind == ACCESS_PERMUTE) &&
                  a.span <= MASKED_PARTS * e->type.lanes && e->type.lanes <= LANES_MAX;
    if (window && c->t->masks && dtype_bytes((enum dtype)e->u.tensor->type.dtype) >= 4)
        return load_masked_window(c, e, &a, mask, other);
    if (a.kind != ACCESS_CONTIGUOUS) return gather(c, e, at, mask, other);
    LLVMTypeRef types[2] = {cg_mem_type(c, e->type), c->ptr};
    LLVMValueRef args[4] = {cg_address(c, e->u.tensor, a.base),
                            LLVMConstInt(c->i32, cg_align(e->u.tensor), 0), mask, other};
    return c->failed ? NULL : cg_call(c, "llvm.masked.load", types, 2, args, 4);
}

static bool has_load(struct cg *c, const struct expr *e) { return cg_expr_facts(c, e)->reads != 0; }

static bool constant_default(const struct expr *d, const struct expr **leaf)
{
    *leaf = d->op == OP_SPLAT ? d->a[0] : d;
    return (*leaf)->op == OP_INT || (*leaf)->op == OP_REAL;
}

/* Memory holding the default, to load from where the condition is false. */
static LLVMValueRef default_memory(struct cg *c, const struct expr *e)
{
    LLVMTypeRef type = cg_mem_type(c, e->type);
    LLVMValueRef v = cg_to_memory(c, cg_expr(c, e->a[1]), e->type);
    if (!LLVMIsConstant(v)) return NULL;
    for (LLVMValueRef g = LLVMGetFirstGlobal(c->mod); g; g = LLVMGetNextGlobal(g))
        if (LLVMGetInitializer(g) == v && LLVMIsGlobalConstant(g)) return g;
    LLVMValueRef g = LLVMAddGlobal(c->mod, type, "default");
    LLVMSetInitializer(g, v);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
    LLVMSetAlignment(g, 64);
    return g;
}

static LLVMValueRef load_plain(struct cg *c, const struct expr *e, const struct expr *at)
{
    if (e->type.lanes > 1) return load_vector(c, e, at);
    LLVMValueRef p = cg_address(c, e->u.tensor, at);
    return c->failed ? NULL : load_raw(c, e->u.tensor, cg_mem_type(c, e->type), p);
}

/* if (cond) v = load else v = default, with a branch. */
static LLVMValueRef load_branch(struct cg *c, const struct expr *e, LLVMValueRef cond,
                                const struct expr *at)
{
    LLVMValueRef v[2] = {NULL, cg_to_memory(c, cg_expr(c, e->a[1]), e->type)};
    if (c->failed) return NULL;
    LLVMBasicBlockRef from[2] = {NULL, LLVMGetInsertBlock(c->b)};
    LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(c->ctx, c->fn->fn, "in"),
                      end = LLVMAppendBasicBlockInContext(c->ctx, c->fn->fn, "got");
    LLVMBuildCondBr(c->b, cond, yes, end);
    LLVMPositionBuilderAtEnd(c->b, yes);
    uint32_t saved;
    cg_scope_push(c, &saved);
    v[0] = load_plain(c, e, at);
    cg_scope_pop(c, saved);
    if (c->failed) return NULL;
    from[0] = LLVMGetInsertBlock(c->b);
    LLVMBuildBr(c->b, end);
    LLVMPositionBuilderAtEnd(c->b, end);
    LLVMValueRef phi = LLVMBuildPhi(c->b, LLVMTypeOf(v[1]), "");
    LLVMAddIncoming(phi, v, from, 2);
    return phi;
}

/* A scalar condition: the address is selected, so there is no branch inside an unrolled tile; a
 * subscript that itself loads, or a default that is not constant, takes the branch. */
static LLVMValueRef load_guarded(struct cg *c, const struct expr *e, const struct expr *at)
{
    LLVMValueRef cond = cg_expr(c, e->a[0]), other = NULL;
    const struct expr *leaf, *base = at;
    if (c->failed) return NULL;
    bool simple = constant_default(e->a[1], &leaf) && !has_load(c, at);
    if (simple && e->type.lanes > 1) {
        struct access_info a;
        access_classify(c->ir, at, &a);
        simple = a.kind == ACCESS_CONTIGUOUS;
        base = a.base;
    }
    if (simple) other = default_memory(c, e);
    if (!other) return load_branch(c, e, cond, at);
    LLVMValueRef p = cg_address(c, e->u.tensor, base);
    if (c->failed) return NULL;
    return load_raw(c, e->u.tensor, cg_mem_type(c, e->type), cg_select(c, cond, p, other));
}

LLVMValueRef cg_load(struct cg *c, const struct expr *e)
{
    const struct tensor *t = e->u.tensor;
    int first = expr_load_first(e);
    if (e->n != first + 1) return cg_fail(c, "codegen.form", "tensor '%s' is not flat", t->name);
    const struct expr *at = e->a[first];
    if (t->scope == SCOPE_REG) {
        LLVMValueRef slot = cg_reg_slot(c, t, at);
        LLVMValueRef v = c->failed ? NULL : LLVMBuildLoad2(c->b, cg_type(c, t->type), slot, "");
        if (c->failed || e->op == OP_LOAD) return v;
        LLVMValueRef cond = cg_expr(c, e->a[0]), other = cg_expr(c, e->a[1]);
        return c->failed ? NULL : cg_select(c, cond, v, other);
    }
    LLVMValueRef v = e->op == OP_LOAD          ? load_plain(c, e, at)
                     : e->a[0]->type.lanes > 1 ? load_masked(c, e, at)
                                               : load_guarded(c, e, at);
    return v ? cg_from_memory(c, v, e->type) : NULL;
}
