/* Walking and rebuilding expressions, each distinct node once however often it is shared.
 *
 *   expr_subst(ir, i*4 + j, i, io*8 + ii)  ->  (io*8 + ii)*4 + j
 *
 * Invariants: expr_map returns the same pointer when nothing changed; nothing here folds except
 * through the constructors a map function calls itself; rebuilt parents fold as fold.c does. */
#include <string.h>

#include "ir/private.h"

/* ---- sets of nodes --------------------------------------------------------------------------- */

void nodeset_init(struct nodeset *s)
{
    memset(s->inl, 0, sizeof s->inl);
    s->slot = s->inl;
    s->cap = NODESET_INLINE;
    s->n = 0;
}

void nodeset_fini(struct nodeset *s)
{
    if (s->slot != s->inl) mem_free(s->slot);
}

static bool slot_add(const struct expr **slot, uint32_t cap, const struct expr *e)
{
    uint32_t at = (e->id * UINT32_C(2654435761)) & (cap - 1);
    for (; slot[at]; at = (at + 1) & (cap - 1))
        if (slot[at] == e) return false;
    slot[at] = e;
    return true;
}

bool nodeset_add(struct nodeset *s, const struct expr *e)
{
    if (!slot_add(s->slot, s->cap, e)) return false;
    if (++s->n * 2 <= s->cap) return true;
    const struct expr **grown = mem_new((size_t)s->cap * 4 * sizeof *grown);
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->slot[i]) slot_add(grown, s->cap * 4, s->slot[i]);
    if (s->slot != s->inl) mem_free(s->slot);
    s->slot = grown;
    s->cap *= 4;
    return true;
}

/* ---- maps by id ------------------------------------------------------------------------------ */

static uint32_t idmap_slot(const uint32_t *key, uint32_t cap, uint32_t id)
{
    uint32_t at = (id * UINT32_C(2654435761)) & (cap - 1);
    while (key[at] && key[at] != id + 1) at = (at + 1) & (cap - 1);
    return at;
}

static void idmap_grow(struct idmap *m)
{
    uint32_t cap = m->cap ? m->cap * 2 : 64;
    uint32_t *key =
        m->arena ? arena_alloc(m->arena, cap * sizeof *key) : mem_new(cap * sizeof *key);
    const void **value =
        m->arena ? arena_alloc(m->arena, cap * sizeof *value) : mem_new(cap * sizeof *value);
    for (uint32_t i = 0; i < m->cap; i++) {
        if (!m->key[i]) continue;
        uint32_t at = idmap_slot(key, cap, m->key[i] - 1);
        key[at] = m->key[i];
        value[at] = m->value[i];
    }
    idmap_fini(m);
    m->key = key;
    m->value = value;
    m->cap = cap;
}

void idmap_put(struct idmap *m, uint32_t id, const void *value)
{
    if ((m->n + 1) * 2 > m->cap) {
        uint32_t n = m->n;
        idmap_grow(m);
        m->n = n;
    }
    uint32_t at = idmap_slot(m->key, m->cap, id);
    if (!m->key[at]) m->n++;
    m->key[at] = id + 1;
    m->value[at] = value;
}

const void *idmap_get(const struct idmap *m, uint32_t id)
{
    return m->n ? m->value[idmap_slot(m->key, m->cap, id)] : NULL;
}

void idmap_clear(struct idmap *m)
{
    if (!m->n) return;
    memset(m->key, 0, m->cap * sizeof *m->key);
    memset(m->value, 0, m->cap * sizeof *m->value);
    m->n = 0;
}

void idmap_fini(struct idmap *m)
{
    if (!m->arena) {
        mem_free(m->key);
        mem_free(m->value);
    }
    *m = (struct idmap){.arena = m->arena};
}

/* ---- walking --------------------------------------------------------------------------------- */

static void walk_node(struct nodeset *seen, const struct expr *e,
                      void (*fn)(const struct expr *, void *), void *ctx)
{
    if (!nodeset_add(seen, e)) return;
    for (int i = 0; i < e->n; i++) walk_node(seen, e->a[i], fn, ctx);
    fn(e, ctx);
}

void expr_walk(const struct expr *e, void (*fn)(const struct expr *e, void *ctx), void *ctx)
{
    if (e->n == 0) {
        fn(e, ctx);
        return;
    }
    struct nodeset seen;
    nodeset_init(&seen);
    walk_node(&seen, e, fn, ctx);
    nodeset_fini(&seen);
}

static bool uses_var(struct nodeset *seen, const struct expr *e, const struct var *v, uint64_t bit)
{
    if (!(e->vars & bit)) return false;
    if (e->op == OP_VAR) return e->u.var == v;
    if (!nodeset_add(seen, e)) return false;
    for (int i = 0; i < e->n; i++)
        if (uses_var(seen, e->a[i], v, bit)) return true;
    return false;
}

bool expr_uses_var(const struct expr *e, const struct var *v)
{
    uint64_t bit = UINT64_C(1) << (v->id & 63);
    if (!(e->vars & bit)) return false;
    if (e->op == OP_VAR) return e->u.var == v;
    struct nodeset seen;
    nodeset_init(&seen);
    bool r = uses_var(&seen, e, v, bit);
    nodeset_fini(&seen);
    return r;
}

struct uses_tensor {
    const struct tensor *t;
    bool found;
};

static void note_tensor(const struct expr *e, void *ctx)
{
    struct uses_tensor *u = ctx;
    if ((e->op == OP_LOAD || e->op == OP_LOADC) && e->u.tensor == u->t) u->found = true;
}

bool expr_uses_tensor(const struct expr *e, const struct tensor *t)
{
    struct uses_tensor u = {t, false};
    expr_walk(e, note_tensor, &u);
    return u.found;
}

static void find_trap(const struct expr *e, void *ctx)
{
    bool *trap = ctx;
    int64_t by;
    bool divides = (e->op == OP_DIV || e->op == OP_MOD) && !dtype_is_float(e->type.dtype);
    if (divides && !(expr_is_int(e->a[1], &by) && by != 0)) *trap = true;
    if ((e->op == OP_SHL || e->op == OP_SHR || e->op == OP_RSHR) && !expr_is_int(e->a[1], &by))
        *trap = true;
}

bool expr_may_trap(const struct expr *e)
{
    bool trap = false;
    expr_walk(e, find_trap, &trap);
    return trap;
}

/* ---- rebuilding ------------------------------------------------------------------------------ */

/* Takes the context's memo level off its list, so that a nested map gets another one. */
static struct expr_memo *memo_take(struct ir *ir)
{
    struct expr_memo *m = ir->memo;
    if (m)
        ir->memo = m->next;
    else
        m = mem_new(sizeof *m);
    if (++m->gen == 0) { /* wrapped: stamps of 2^32 calls ago would look fresh */
        memset(m->stamp, 0, m->cap * sizeof *m->stamp);
        m->gen = 1;
    }
    return m;
}

static void memo_give(struct ir *ir, struct expr_memo *m)
{
    m->next = ir->memo;
    ir->memo = m;
}

static void memo_room(struct ir *ir, struct expr_memo *m)
{
    uint32_t want = m->cap ? m->cap : 256;
    while (want < ir->next_expr) want *= 2;
    if (want == m->cap) return;
    m->stamp = mem_grow(m->stamp, m->cap * sizeof *m->stamp, want * sizeof *m->stamp);
    m->value = mem_grow(m->value, m->cap * sizeof *m->value, want * sizeof *m->value);
    m->cap = want;
}

/* The node with other children, through the folding constructors. */
const struct expr *expr_rebuild(struct ir *ir, const struct expr *e, const struct expr *const *a)
{
    switch ((enum op)e->op) {
    case OP_SELECT:
        return expr_select(ir, a[0], a[1], a[2]);
    case OP_FMA:
        return expr_fma(ir, a[0], a[1], a[2]);
    case OP_CAST:
        return expr_cast(ir, type_vec(e->type.dtype, a[0]->type.lanes), (enum cast_mode)e->u.i,
                         a[0]);
    case OP_BITCAST:
        return expr_make(ir, OP_BITCAST, type_vec(e->type.dtype, a[0]->type.lanes), a, 1, NULL);
    case OP_LOAD:
        return expr_load(ir, e->u.tensor, a, e->n);
    case OP_LOADC:
        return expr_loadc(ir, e->u.tensor, a[0], a[1], a + 2, e->n - 2);
    case OP_RAMP:
        return expr_ramp(ir, a[0], a[1], e->type.lanes);
    case OP_SPLAT:
        return expr_splat(ir, a[0], e->type.lanes);
    default:
        break;
    }
    if (e->n == 2) return expr_binary(ir, (enum op)e->op, a[0], a[1]);
    return expr_unary(ir, (enum op)e->op, a[0]);
}

struct map_run {
    struct ir *ir;
    struct expr_memo *memo;
    expr_map_fn *fn;
    void *ctx;
    uint64_t vars; /* only nodes with one of these bits can change; all ones: any node */
};

static const struct expr *map_node(struct map_run *r, const struct expr *e)
{
    if (r->vars != UINT64_MAX && !(e->vars & r->vars)) return e;
    struct expr_memo *m = r->memo;
    if (e->id < m->cap && m->stamp[e->id] == m->gen) return m->value[e->id];
    const struct expr *to = e, *a[16];
    bool changed = false;
    for (int i = 0; i < e->n; i++) {
        a[i] = map_node(r, e->a[i]);
        changed |= a[i] != e->a[i];
    }
    if (changed) to = expr_rebuild(r->ir, e, a);
    const struct expr *by = r->fn(r->ir, to, r->ctx);
    if (by) to = by;
    if (e->id >= m->cap) memo_room(r->ir, m);
    m->stamp[e->id] = m->gen;
    m->value[e->id] = to;
    return to;
}

const struct expr *expr_map_vars(struct ir *ir, const struct expr *e, expr_map_fn *fn, void *ctx,
                                 uint64_t vars)
{
    struct map_run r = {ir, memo_take(ir), fn, ctx, vars};
    memo_room(ir, r.memo);
    const struct expr *to = map_node(&r, e);
    memo_give(ir, r.memo);
    return to;
}

const struct expr *expr_map(struct ir *ir, const struct expr *e, expr_map_fn *fn, void *ctx)
{
    return expr_map_vars(ir, e, fn, ctx, UINT64_MAX);
}

struct subst {
    const struct var *v;
    const struct expr *by;
};

static const struct expr *subst_node(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct subst *s = ctx;
    return e->op == OP_VAR && e->u.var == s->v ? s->by : NULL;
}

const struct expr *expr_subst(struct ir *ir, const struct expr *e, const struct var *v,
                              const struct expr *by)
{
    struct subst s = {v, by};
    if (!expr_uses_var(e, v)) return e;
    return expr_map_vars(ir, e, subst_node, &s, UINT64_C(1) << (v->id & 63));
}
