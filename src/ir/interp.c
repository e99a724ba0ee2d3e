/* The oracle: executes a nest as it is written. Slow and obvious on purpose; nothing here is ever
 * optimised, because every back end is judged by it.
 *
 *   void *bufs[] = {a, b, y, NULL}; nest_interp(n, 0, bufs, NULL, 1 << 20, &e)
 *
 * How: the nest is cloned into a context of its own and its reductions get explicit starts; then
 * the tree is walked. Parallel, vector and unroll loops run in order. Each distinct expression is
 * evaluated once per statement (expressions are graphs: as trees they may be exponentially large).
 * Vectors are arrays of lanes. An IF whose condition has lanes masks the vector stores below it.
 *
 * Invariants: no byte outside a tensor's storage is touched, whatever the nest says; every
 * subscript is checked against its own dimension; after the first error nothing is stored any
 * more. */
#include <string.h>

#include "ir/private.h"

struct mem { /* storage of one tensor */
    uint8_t *p;
    bool owned;
    int64_t extent[REGION_RANK];
    int64_t elements; /* of storage, lanes counted in */
};

struct interp {
    struct ir *ir;
    struct err *err;
    bool failed;
    int64_t stores_left, turns_left;
    struct mem *mem;      /* by tensor id */
    union scalar **var;   /* by variable id */
    union scalar **value; /* by expression id: lanes of it, valid in this gen */
    uint32_t *stamp, gen;
    const union scalar *mask; /* NULL: all lanes */
    int mask_lanes;
};

static void fail(struct interp *in, const char *code, const char *what, const char *where)
{
    if (!in->failed)
        err_set(in->err, RC_INPUT, code, "%s%s%s", what, where ? ": " : "", where ? where : "");
    in->failed = true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void load_lane(const struct mem *m, enum dtype d, int64_t at, union scalar *out)
{
    const uint8_t *p = m->p + at * dtype_bytes(d);
    uint64_t u = 0;
    memcpy(&u, p, (size_t)dtype_bytes(d)); /* little-endian hosts, like every host quern runs on */
    float f = 0;
    switch (d) {
    case TYPE_F64:
        memcpy(&out->f, p, 8);
        break;
    case TYPE_F32:
        memcpy(&f, p, 4);
        out->f = f;
        break;
    case TYPE_F16:
        out->f = f16_to_double((uint16_t)u);
        break;
    case TYPE_BF16:
        out->f = bf16_to_double((uint16_t)u);
        break;
    default:
        out->i = int_wrap(d, (int64_t)u);
        break;
    }
}

static void store_lane(const struct mem *m, enum dtype d, int64_t at, union scalar v)
{
    uint8_t *p = m->p + at * dtype_bytes(d);
    uint64_t u = (uint64_t)v.i;
    float f = 0;
    switch (d) {
    case TYPE_F64:
        memcpy(p, &v.f, 8);
        return;
    case TYPE_F32:
        f = (float)v.f;
        memcpy(p, &f, 4);
        return;
    case TYPE_F16:
        u = f16_from_double(v.f);
        break;
    case TYPE_BF16:
        u = bf16_from_double(v.f);
        break;
    default:
        break;
    }
    memcpy(p, &u, (size_t)dtype_bytes(d));
}

static void eval(struct interp *in, const struct expr *e, const union scalar **out);

static int64_t eval_int(struct interp *in, const struct expr *e)
{
    const union scalar *v = NULL;
    in->gen++;
    eval(in, e, &v);
    return v[0].i;
}

static int64_t storage_elements(const struct tensor *t, const int64_t *extent)
{
    int64_t n = t->type.lanes;
    for (int i = 0; i < (t->nlayout ? t->nlayout : t->rank); i++) {
        int64_t size = extent[i < t->rank ? i : 0];
        if (t->nlayout) {
            const struct layout_term *l = &t->layout[i];
            size = l->mod ? l->mod : i64_ceildiv(extent[l->dim], l->div);
        }
        if (__builtin_mul_overflow(n, size, &n)) return -1;
    }
    return n;
}

enum { MEM_MAX = 1 << 30 };

/* Sizes tensor t and gives it `p`, or memory of its own when p is NULL. */
static void mem_open(struct interp *in, const struct tensor *t, void *p)
{
    struct mem *m = &in->mem[t->id];
    for (int i = 0; i < t->rank && !in->failed; i++) {
        m->extent[i] = eval_int(in, t->extent[i]);
        if (m->extent[i] < 0) fail(in, "interp.extent", "a tensor has a negative extent", t->name);
    }
    if (in->failed) return;
    m->elements = storage_elements(t, m->extent);
    if (p || m->elements == 0) {
        m->p = p;
        return;
    }
    if (m->elements < 0 || m->elements > MEM_MAX / dtype_bytes(t->type.dtype)) {
        fail(in, "interp.memory", "a tensor needs more than 1 GiB", t->name);
        return;
    }
    size_t bytes = (size_t)(m->elements * dtype_bytes(t->type.dtype));
    m->p = mem_new(bytes);
    m->owned = true;
    memset(m->p, 0xff, bytes); /* what nobody wrote is NaN or -1 */
    for (int64_t i = 0; t->table && i < m->elements; i++) {
        union scalar v = {.f = t->table[i]}, to = {0};
        scalar_eval(OP_CAST, t->type.dtype, TYPE_F64, CAST_PLAIN, &v, &to);
        store_lane(m, t->type.dtype, i, to);
    }
}

static void mem_close(struct interp *in, const struct tensor *t)
{
    struct mem *m = &in->mem[t->id];
    if (m->owned) mem_free(m->p);
    *m = (struct mem){0};
}

static void fail_oob(struct interp *in, const struct tensor *t, int dim, int64_t at)
{
    if (in->failed) return;
    in->failed = true;
    err_set(in->err, RC_INPUT, "interp.oob",
            "%s is accessed at %lld in dimension %d, outside 0..%lld", t->name, (long long)at, dim,
            (long long)in->mem[t->id].extent[dim]);
}

/* Storage position of one lane's subscripts; -1 after an error. */
static int64_t locate(struct interp *in, const struct tensor *t, const union scalar *const *idx,
                      const struct expr *const *expr, int lane)
{
    const struct mem *m = &in->mem[t->id];
    int64_t at[REGION_RANK], offset = 0;
    for (int i = 0; i < t->rank; i++) {
        at[i] = idx[i][expr[i]->type.lanes > 1 ? lane : 0].i;
        if (at[i] < 0 || at[i] >= m->extent[i]) {
            fail_oob(in, t, i, at[i]);
            return -1;
        }
    }
    if (!m->p) {
        fail(in, "interp.storage", "a tensor has no storage here", t->name);
        return -1;
    }
    if (t->nlayout == 0) {
        for (int i = 0; i < t->rank; i++) offset = offset * m->extent[i] + at[i];
        return offset * t->type.lanes;
    }
    for (int i = 0; i < t->nlayout; i++) {
        const struct layout_term *l = &t->layout[i];
        int64_t v = at[l->dim] / l->div;
        offset = l->mod ? offset * l->mod + v % l->mod
                        : offset * i64_ceildiv(m->extent[l->dim], l->div) + v;
    }
    if (offset < 0 || offset >= m->elements) {
        fail(in, "interp.layout", "a layout leaves its storage", t->name);
        return -1;
    }
    return offset;
}

/* ---- expressions ----------------------------------------------------------------------------- */

static void eval_load(struct interp *in, const struct expr *e, union scalar *out)
{
    int first = expr_load_first(e);
    const union scalar *idx[REGION_RANK] = {0}, *cond = NULL, *def = NULL;
    const struct tensor *t = e->u.tensor;
    for (int i = 0; i < t->rank; i++) eval(in, e->a[first + i], &idx[i]);
    if (first) {
        eval(in, e->a[0], &cond);
        eval(in, e->a[1], &def);
    }
    for (int lane = 0; lane < e->type.lanes && !in->failed; lane++) {
        if (cond && !cond[e->a[0]->type.lanes > 1 ? lane : 0].i) {
            out[lane] = def[lane];
            continue;
        }
        if (t->type.lanes > 1 && lane > 0) continue; /* whole vectors are read below */
        int64_t at = locate(in, t, idx, e->a + first, lane);
        for (int k = 0; at >= 0 && k < t->type.lanes; k++)
            load_lane(&in->mem[t->id], t->type.dtype, at + k, &out[lane + k]);
    }
}

static void eval_horizontal(struct interp *in, const struct expr *e, const union scalar *v,
                            union scalar *out)
{
    enum op op = e->op == OP_HSUM ? OP_ADD : e->op == OP_HMAX ? OP_MAX : OP_MIN;
    int n = e->a[0]->type.lanes;
    union scalar *work = mem_new((size_t)n * sizeof *work), pair[2];
    memcpy(work, v, (size_t)n * sizeof *work);
    for (n /= 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) {
            pair[0] = work[i];
            pair[1] = work[i + n];
            scalar_eval(op, e->type.dtype, e->type.dtype, 0, pair, &work[i]);
        }
    }
    *out = work[0];
    mem_free(work);
    (void)in;
}

static void eval_lanes(struct interp *in, const struct expr *e, const union scalar *const *a,
                       union scalar *out)
{
    enum dtype from = e->n ? (enum dtype)e->a[0]->type.dtype : TYPE_F32;
    union scalar v[3] = {{0}, {0}, {0}};
    for (int lane = 0; lane < e->type.lanes; lane++) {
        for (int i = 0; i < e->n; i++) v[i] = a[i][e->a[i]->type.lanes > 1 ? lane : 0];
        if (e->op == OP_SELECT)
            out[lane] = v[0].i ? v[1] : v[2];
        else if (e->op == OP_SPLAT)
            out[lane] = v[0];
        else if (e->op == OP_RAMP)
            out[lane].i =
                int_wrap(from, (int64_t)((uint64_t)v[0].i + (uint64_t)v[1].i * (uint64_t)lane));
        else if (!scalar_eval((enum op)e->op, (enum dtype)e->type.dtype, from, (int)e->u.i, v,
                              &out[lane]))
            fail(in, "interp.arith", "division by zero, or a shift by more than the width, in",
                 op_name(e->op));
    }
}

/* *out points at e's lanes until the next gen. */
static void eval(struct interp *in, const struct expr *e, const union scalar **out)
{
    union scalar **slot = &in->value[e->id];
    if (!*slot) *slot = ARENA_ARRAY(in->ir->arena, union scalar, e->type.lanes);
    *out = *slot;
    if (in->stamp[e->id] == in->gen || in->failed) return;
    if (e->op == OP_INT)
        (*slot)->i = e->u.i;
    else if (e->op == OP_REAL)
        (*slot)->f = e->u.f;
    else if (e->op == OP_VAR) {
        if (!in->var[e->u.var->id])
            fail(in, "interp.unbound", "a variable has no value here", e->u.var->name);
        else
            memcpy(*slot, in->var[e->u.var->id], e->type.lanes * sizeof **slot);
    } else if (e->op == OP_LOAD || e->op == OP_LOADC) {
        eval_load(in, e, *slot);
    } else {
        const union scalar *a[3] = {0};
        for (int i = 0; i < e->n; i++) eval(in, e->a[i], &a[i]);
        if (in->failed) return;
        if (e->op == OP_HSUM || e->op == OP_HMAX || e->op == OP_HMIN)
            eval_horizontal(in, e, a[0], *slot);
        else
            eval_lanes(in, e, a, *slot);
    }
    in->stamp[e->id] = in->gen;
}

/* ---- statements ------------------------------------------------------------------------------ */

static void bind(struct interp *in, const struct var *v, const union scalar *value)
{
    if (!in->var[v->id]) in->var[v->id] = ARENA_ARRAY(in->ir->arena, union scalar, v->type.lanes);
    memcpy(in->var[v->id], value, v->type.lanes * sizeof *value);
}

/* Stores `lanes` values of tensor t at the subscripts just evaluated. */
static void put(struct interp *in, const struct tensor *t, const union scalar *const *idx,
                const struct expr *const *expr, const union scalar *value, int lanes)
{
    for (int lane = 0; lane < lanes && !in->failed; lane++) {
        if (in->mask && !in->mask[in->mask_lanes == lanes ? lane : 0].i) continue;
        if (t->type.lanes > 1 && lane > 0) {
            const union scalar *first = value; /* a vector element: lanes lie side by side */
            int64_t at = locate(in, t, idx, expr, 0);
            if (at >= 0) store_lane(&in->mem[t->id], t->type.dtype, at + lane, first[lane]);
            continue;
        }
        int64_t at = locate(in, t, idx, expr, lane);
        if (at >= 0) store_lane(&in->mem[t->id], t->type.dtype, at, value[lane]);
    }
    if (--in->stores_left < 0)
        fail(in, "interp.budget", "the nest stores more often than allowed", NULL);
}

static void exec_store(struct interp *in, const struct stmt *s)
{
    const struct tensor *t = s->u.store.tensor;
    const union scalar *idx[REGION_RANK] = {0}, *value = NULL;
    in->gen++;
    for (int i = 0; i < t->rank; i++) eval(in, s->u.store.idx[i], &idx[i]);
    eval(in, s->u.store.value, &value);
    if (!in->failed) put(in, t, idx, s->u.store.idx, value, s->u.store.value->type.lanes);
}

/* new[] = old[] (+) value[] of one update, element by element. */
static void combine(struct interp *in, const struct stmt *s, const union scalar *old,
                    const union scalar *value, union scalar *out)
{
    static const enum op plain[] = {OP_ADD, OP_MUL, OP_MAX, OP_MIN, OP_OR};
    enum reduce op = s->u.update.op;
    enum dtype d = s->u.update.tensor[0]->type.dtype;
    int n = s->u.update.n;
    if (op < RED_ARGMAX) {
        union scalar pair[2] = {old[0], value[0]};
        scalar_eval(plain[op], d, d, 0, pair, out);
    } else if (op < RED_USER) {
        union scalar pair[2] = {op == RED_ARGMAX ? old[0] : value[0],
                                op == RED_ARGMAX ? value[0] : old[0]};
        union scalar better = {0}, tie = {0}, lower = {0}, index[2] = {value[1], old[1]};
        scalar_eval(OP_LT, TYPE_B1, d, 0, pair, &better);
        scalar_eval(OP_EQ, TYPE_B1, d, 0, pair, &tie);
        scalar_eval(OP_LT, TYPE_B1, s->u.update.tensor[1]->type.dtype, 0, index, &lower);
        bool take = better.i || (tie.i && lower.i);
        for (int i = 0; i < n; i++) out[i] = take ? value[i] : old[i];
    } else {
        for (int i = 0; i < n; i++) {
            bind(in, s->u.update.lhs[i], &old[i]);
            bind(in, s->u.update.rhs[i], &value[i]);
        }
        in->gen++;
        for (int i = 0; i < n; i++) {
            const union scalar *v = NULL;
            eval(in, s->u.update.combine[i], &v);
            out[i] = v[0];
        }
    }
}

static void exec_update(struct interp *in, const struct stmt *s)
{
    int n = s->u.update.n, rank = s->u.update.tensor[0]->rank;
    const union scalar *at[REGION_RANK] = {0}, *v = NULL, *idx[REGION_RANK] = {0};
    union scalar old[UPDATE_TARGETS], value[UPDATE_TARGETS], out[UPDATE_TARGETS], keep[REGION_RANK];
    in->gen++;
    for (int i = 0; i < rank; i++) {
        eval(in, s->u.update.idx[i], &at[i]);
        keep[i] = at[i][0]; /* user combines start a new gen */
        idx[i] = &keep[i];
    }
    for (int i = 0; i < n; i++) {
        eval(in, s->u.update.value[i], &v);
        value[i] = v[0];
        int64_t where =
            in->failed ? -1 : locate(in, s->u.update.tensor[i], idx, s->u.update.idx, 0);
        if (where < 0) return;
        const struct tensor *t = s->u.update.tensor[i];
        load_lane(&in->mem[t->id], t->type.dtype, where, &old[i]);
    }
    combine(in, s, old, value, out);
    for (int i = 0; i < n && !in->failed; i++)
        put(in, s->u.update.tensor[i], idx, s->u.update.idx, &out[i], 1);
}

static void exec(struct interp *in, const struct stmt *s);

static void exec_for(struct interp *in, const struct stmt *s)
{
    union scalar i = {.i = eval_int(in, s->u.loop.lo)};
    int64_t hi = eval_int(in, s->u.loop.hi);
    for (; i.i < hi && !in->failed; i.i++) {
        if (--in->turns_left < 0)
            fail(in, "interp.budget", "the nest loops more often than allowed", NULL);
        bind(in, s->u.loop.var, &i);
        exec(in, s->u.loop.body);
    }
}

static void exec_if(struct interp *in, const struct stmt *s)
{
    const struct expr *cond = s->u.cond.cond;
    const union scalar *v = NULL;
    in->gen++;
    eval(in, cond, &v);
    if (in->failed) return;
    if (cond->type.lanes == 1) {
        if (v[0].i) exec(in, s->u.cond.then);
        return;
    }
    int lanes = cond->type.lanes;
    union scalar *mask = mem_new((size_t)lanes * sizeof *mask);
    for (int i = 0; i < lanes; i++) mask[i].i = v[i].i && (!in->mask || in->mask[i].i);
    const union scalar *outer = in->mask;
    int outer_lanes = in->mask_lanes;
    in->mask = mask;
    in->mask_lanes = lanes;
    exec(in, s->u.cond.then);
    in->mask = outer;
    in->mask_lanes = outer_lanes;
    mem_free(mask);
}

static void exec(struct interp *in, const struct stmt *s)
{
    const union scalar *v = NULL;
    if (in->failed) return;
    switch (s->kind) {
    case ST_BLOCK:
        for (int i = 0; i < s->u.block.n; i++) exec(in, s->u.block.p[i]);
        break;
    case ST_STAGE:
        exec(in, s->u.stage.body);
        break;
    case ST_FOR:
        exec_for(in, s);
        break;
    case ST_IF:
        exec_if(in, s);
        break;
    case ST_LET:
        in->gen++;
        eval(in, s->u.let.value, &v);
        if (in->failed) return;
        bind(in, s->u.let.var, v);
        exec(in, s->u.let.body);
        break;
    case ST_ALLOC:
        mem_open(in, s->u.alloc.tensor, NULL);
        exec(in, s->u.alloc.body);
        mem_close(in, s->u.alloc.tensor);
        break;
    case ST_STORE:
        exec_store(in, s);
        break;
    case ST_UPDATE:
        exec_update(in, s);
        break;
    }
}

static void open_all(struct interp *in, const struct nest *n, void *const *bufs, const int64_t *dyn)
{
    for (int i = 0; i < n->ndyn; i++) {
        union scalar v = {.i = dyn[i]};
        if (dyn[i] < 0) fail(in, "interp.dyn", "a dynamic extent is negative", n->dyn[i]->name);
        bind(in, n->dyn[i], &v);
    }
    for (int i = 0; i < n->ntensor && !in->failed; i++) {
        bool ours = n->tensor[i]->scope == SCOPE_TEMP || n->tensor[i]->scope == SCOPE_STACK ||
                    n->tensor[i]->scope == SCOPE_REG || n->tensor[i]->scope == SCOPE_TABLE;
        void *p = ours ? NULL : bufs[i];
        if (ours || p) mem_open(in, n->tensor[i], p);
    }
}

enum rc nest_interp(const struct nest *nest, int entry, void *const *bufs, const int64_t *dyn,
                    int64_t max_steps, struct err *e)
{
    struct err scratch;
    struct ir *ir = ir_new();
    struct nest *n = nest_clone(ir, nest);
    nest_place_inits(n);
    struct interp in = {.ir = ir, .err = e ? e : &scratch, .stores_left = max_steps, .gen = 1};
    in.turns_left = max_steps > INT64_MAX / 64 ? INT64_MAX : 64 * max_steps + 1000000;
    in.mem = mem_new((ir->next_tensor + 1) * sizeof *in.mem);
    in.var = mem_new((ir->next_var + 1) * sizeof *in.var);
    in.value = mem_new((ir->next_expr + 1) * sizeof *in.value);
    in.stamp = mem_new((ir->next_expr + 1) * sizeof *in.stamp);
    open_all(&in, n, bufs, dyn);
    exec(&in, entry ? n->pack : n->body);
    for (uint32_t i = 0; i < ir->next_tensor; i++)
        if (in.mem[i].owned) mem_free(in.mem[i].p);
    mem_free(in.mem);
    mem_free(in.var);
    mem_free(in.value);
    mem_free(in.stamp);
    ir_free(ir);
    return in.failed ? in.err->rc : RC_OK;
}
