/* cg_llvm_store: stores, whole, strided, permuted, scattered and under a mask.
 *
 *   y[ramp(i*2, 2, 16)] = v   ->   sixteen element stores at displacements from one address
 *
 * Invariants: as in cg_llvm_mem.c; a permutation of one block is stored whole; lanes that a mask
 * excludes are not touched; scattered lanes are written in order; alignment beyond the element's is
 * claimed only in a body whose caller has checked it. */
#include "codegen/cg_llvm.h"

enum { LANES_MAX = CG_LANES_MAX };

static void store_raw(struct cg *c, const struct tensor *t, LLVMValueRef v, LLVMValueRef p)
{
    LLVMSetAlignment(LLVMBuildStore(c->b, v, p), cg_align(t));
}

/* Elements at multiples of `lanes` from the tensor's start. */
static bool on_grid(const struct expr *at, int lanes)
{
    struct linear l;
    if (!linear_of(at, &l) || l.c % lanes) return false;
    for (int i = 0; i < l.n; i++)
        if (l.coef[i] % lanes) return false;
    return true;
}

/* A whole vector of a result, at its own alignment where the entry has seen that the result is
 * aligned: past the caches. */
static void store_result(struct cg *c, const struct tensor *t, const struct expr *at,
                         LLVMValueRef v, LLVMValueRef p, int lanes)
{
    LLVMValueRef store = LLVMBuildStore(c->b, v, p);
    int bytes = lanes * dtype_bytes((enum dtype)t->type.dtype);
    LLVMSetAlignment(store, cg_align(t));
    if (!c->stream || t->scope != SCOPE_OUT || bytes % 16 || !on_grid(at, lanes)) return;
    LLVMValueRef one = LLVMConstInt(c->i32, 1, 0), node = LLVMMDNodeInContext(c->ctx, &one, 1);
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(c->ctx, "nontemporal", 11), node);
    if (c->x86) LLVMSetAlignment(store, (unsigned)i64_min(bytes, c->t->vector_bits / 8));
    c->fn->streamed = true;
}

/* perm is a bijection of the lanes: the block is stored whole. */
static bool invert(const struct access_info *a, int lanes, int *inverse)
{
    if (a->kind != ACCESS_PERMUTE || a->span != lanes) return false;
    for (int i = 0; i < lanes; i++) inverse[i] = -1;
    for (int i = 0; i < lanes; i++) {
        if (a->perm[i] < 0 || a->perm[i] >= lanes || inverse[a->perm[i]] >= 0) return false;
        inverse[a->perm[i]] = i;
    }
    return true;
}

static void store_lanes(struct cg *c, const struct tensor *t, const struct expr *at, LLVMValueRef v,
                        int lanes)
{
    LLVMValueRef idx = cg_expr(c, at), p = cg_base(c, t);
    if (c->failed) return;
    for (int i = 0; i < lanes; i++) {
        LLVMValueRef lane = LLVMConstInt(c->i32, (unsigned)i, 0),
                     one = LLVMBuildExtractElement(c->b, idx, lane, "");
        store_raw(c, t, LLVMBuildExtractElement(c->b, v, lane, ""),
                  LLVMBuildGEP2(c->b, cg_mem_scalar(c, t), p, &one, 1, ""));
    }
}

/* A constant stride: addresses are displacements from the first. */
static void store_strided(struct cg *c, const struct tensor *t, const struct access_info *a,
                          LLVMValueRef v, int lanes)
{
    LLVMValueRef p = cg_address(c, t, a->base);
    for (int i = 0; i < lanes && !c->failed; i++)
        store_raw(c, t, LLVMBuildExtractElement(c->b, v, LLVMConstInt(c->i32, (unsigned)i, 0), ""),
                  cg_element_at(c, t, p, a->stride * i));
}

static void store_vector(struct cg *c, const struct tensor *t, const struct expr *at,
                         LLVMValueRef v, int lanes)
{
    struct access_info a;
    int inverse[LANES_MAX];
    access_classify(c->ir, at, &a);
    if (a.kind == ACCESS_STRIDED) {
        store_strided(c, t, &a, v, lanes);
        return;
    }
    bool whole = invert(&a, lanes, inverse);
    if (a.kind != ACCESS_CONTIGUOUS && !whole) {
        store_lanes(c, t, at, v, lanes);
        return;
    }
    if (whole) v = cg_shuffle(c, v, NULL, inverse, lanes);
    LLVMValueRef p = cg_address(c, t, a.base);
    if (!c->failed) store_result(c, t, a.base, v, p, lanes);
}

static void store_masked(struct cg *c, const struct tensor *t, const struct expr *at,
                         LLVMValueRef v, const struct expr *mask_expr, int lanes)
{
    struct access_info a;
    LLVMValueRef mask = cg_expr(c, mask_expr), align = LLVMConstInt(c->i32, cg_align(t), 0);
    if (c->failed) return;
    access_classify(c->ir, at, &a);
    bool wide = a.kind == ACCESS_CONTIGUOUS;
    LLVMValueRef where = wide ? cg_address(c, t, a.base) : cg_lane_addresses(c, t, at);
    if (c->failed) return;
    LLVMTypeRef types[2] = {LLVMTypeOf(v), wide ? c->ptr : LLVMVectorType(c->ptr, (unsigned)lanes)};
    LLVMValueRef args[4] = {v, where, align, mask};
    cg_call(c, wide ? "llvm.masked.store" : "llvm.masked.scatter", types, 2, args, 4);
}

void cg_store(struct cg *c, const struct stmt *s, const struct expr *mask)
{
    const struct tensor *t = s->u.store.tensor;
    if (t->rank != 1) {
        cg_fail(c, "codegen.form", "tensor '%s' is not flat", t->name);
        return;
    }
    c->stmt++;
    const struct expr *at = s->u.store.idx[0];
    int lanes = s->u.store.value->type.lanes;
    LLVMValueRef v = cg_expr(c, s->u.store.value);
    if (c->failed) return;
    if (t->scope == SCOPE_REG) {
        LLVMValueRef slot = cg_reg_slot(c, t, at);
        if (!c->failed && mask)
            v = cg_select(c, cg_expr(c, mask), v, LLVMBuildLoad2(c->b, LLVMTypeOf(v), slot, ""));
        if (!c->failed) LLVMBuildStore(c->b, v, slot);
        return;
    }
    if (lanes > LANES_MAX) {
        cg_fail(c, "codegen.form", "a vector of %d lanes", lanes);
        return;
    }
    v = cg_to_memory(c, v, s->u.store.value->type);
    if (mask) {
        store_masked(c, t, at, v, mask, lanes);
    } else if (at->type.lanes > 1) {
        store_vector(c, t, at, v, lanes);
    } else {
        LLVMValueRef p = cg_address(c, t, at);
        if (!c->failed) store_raw(c, t, v, p);
    }
    c->epoch++;
}
