/* Carry: what a recurrence stored in the turn before stays in a register.
 *
 * Requires: flat, unrolled, registers made; an ordered loop without loops inside.
 * Provides: no load there of what the same code stored one turn earlier. Before the first turn the register
 * holds what the load finds then (most often its default).
 *
 *     for t in 0..T ordered                           alloc reg y.c: f32[1]
 *       y[t] = (y[t - 1] if 1 <= t                      if 0 < T
 *               else 0.0) + x[t]             -->          y.c[0] = 0.0
 *                                                         for t in 0..T ordered
 *                                                           let y.b = y.c[0]
 *                                                             let y.d = y.b + x[t]
 *                                                               y[t] = y.d
 *                                                               y.c[0] = y.d
 *
 * A store and a load of the same place take five cycles or more between turns that each need the one
 * before; an addition takes four or less.
 *
 * Invariants: the load has the store's subscript of the turn before, of the same lanes; the store happens in every
 * turn; all other stores of the tensor in the loop stay away from that place by a constant; from the second
 * turn on the load's condition holds. What the load needs in the first turn is there before the loop, and the first
 * turn does read it. The register is read once, as a turn begins: what the turn stores it finds in memory. */
#include "base/vec.h"
#include "lower/private.h"

enum { STORES = 16 };

struct chain { /* of one store */
    struct stmt *store;
    bool always;             /* under no condition */
    const struct expr *load; /* the one that stands for the turn before; NULL: none, or it stays */
    struct tensor *reg;
    const struct var *before; /* what the register holds as a turn begins */
};

struct reading {
    const struct expr *load;
    bool always; /* some statement under no condition reads it */
};

struct carry {
    struct low *l;
    struct stmt *loop;
    struct chain chain[STORES];
    int n;
    bool fits;
    VEC(struct reading) loads; /* of any tensor stored here */
    const struct stmt *at;     /* being looked at */
    struct changes changes;    /* of the body */
};

/* ---- the body -------------------------------------------------------------------------------- */

static bool in_every_turn(const struct carry *c, const struct stmt *s)
{
    bool always = true;
    for (const struct stmt *p = s; p != c->loop; p = p->parent) always &= p->kind != ST_IF;
    return always;
}

static bool note_store(struct stmt *s, void *ctx)
{
    struct carry *c = ctx;
    changes_note(&c->changes, s);
    c->fits &= s->kind != ST_FOR;
    if (s->kind != ST_STORE || s->u.store.tensor->scope == SCOPE_REG) return c->fits;
    c->fits &= c->n < STORES;
    if (c->fits) c->chain[c->n++] = (struct chain){.store = s, .always = in_every_turn(c, s)};
    return c->fits;
}

static bool is_stored(const struct carry *c, const struct tensor *t)
{
    for (int i = 0; i < c->n; i++)
        if (c->chain[i].store->u.store.tensor == t) return true;
    return false;
}

static void note_load(const struct expr *e, void *ctx)
{
    struct carry *c = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    if (!is_stored(c, e->u.tensor)) return;
    bool always = c->at->kind != ST_IF && in_every_turn(c, c->at);
    for (size_t i = 0; i < c->loads.n; i++)
        if (c->loads.p[i].load == e) {
            c->loads.p[i].always |= always;
            return;
        }
    vec_push(&c->loads, ((struct reading){e, always}));
}

static void note_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, note_load, ctx); }

static bool note_loads(struct stmt *s, void *ctx)
{
    ((struct carry *)ctx)->at = s;
    stmt_exprs(s, note_slot, ctx);
    return true;
}

/* b - a in elements, if it is a constant and both have the same lanes, which lie at off[] from the first. */
static bool distance(struct ir *ir, const struct expr *a, const struct expr *b, int64_t *out,
                     int64_t off[LANES_MAX])
{
    const struct expr *base[2] = {a, b};
    int64_t other[LANES_MAX];
    int lanes = a->type.lanes;
    off[0] = 0;
    if (lanes != b->type.lanes || lanes > LANES_MAX) return false;
    if (lanes > 1 && (!lanes_of(ir, a, &base[0], off) || !lanes_of(ir, b, &base[1], other)))
        return false;
    for (int i = 0; i < lanes && lanes > 1; i++)
        if (off[i] != other[i]) return false;
    return expr_is_int(expr_simplify(ir, NULL, expr_sub(ir, base[1], base[0])), out);
}

/* The store's subscript one turn earlier. */
static const struct expr *place_before(struct carry *c, const struct stmt *store)
{
    struct ir *ir = c->l->ir;
    const struct var *v = c->loop->u.loop.var;
    return expr_subst(ir, store->u.store.idx[0], v, expr_sub(ir, expr_var(ir, v), expr_int(ir, 1)));
}

/* Do the lanes of two subscripts surely differ? */
static bool apart(struct ir *ir, const struct expr *a, const struct expr *b)
{
    int64_t by = 0, off[LANES_MAX];
    if (!distance(ir, a, b, &by, off)) return false;
    for (int i = 0; i < a->type.lanes; i++)
        for (int j = 0; j < a->type.lanes; j++)
            if (off[i] == off[j] + by) return false;
    return true;
}

/* No store writes the place after the one of the turn before: not in that turn, not in this one. */
static bool others_stay_away(struct carry *c, int at, const struct expr *place)
{
    const struct stmt *mine = c->chain[at].store;
    for (int i = 0; i < c->n; i++) {
        const struct stmt *s = c->chain[i].store;
        if (s->u.store.tensor != mine->u.store.tensor) continue;
        if (!apart(c->l->ir, place, s->u.store.idx[0])) return false;
        if (i != at && !apart(c->l->ir, mine->u.store.idx[0], s->u.store.idx[0])) return false;
    }
    return true;
}

/* From the second turn on. */
static bool condition_holds(struct carry *c, const struct expr *load)
{
    struct ir *ir = c->l->ir;
    if (load->op == OP_LOAD) return true;
    struct env *env = env_at(ir, c->l->n, c->loop);
    const struct expr *second = expr_add(ir, c->loop->u.loop.lo, expr_int(ir, 1));
    env_put(env, c->loop->u.loop.var, second, c->loop->u.loop.hi);
    return load->a[0]->type.lanes == 1 && env_proves(env, load->a[0]);
}

struct made_here {
    const struct carry *c;
    const struct expr *load;
    bool any;
};

static void look_made(const struct expr *e, void *ctx)
{
    struct made_here *m = ctx;
    m->any |= e->op == OP_VAR && changes_var(&m->c->changes, e);
    bool loads = (e->op == OP_LOAD || e->op == OP_LOADC) && e != m->load;
    m->any |= loads && changes_tensor(&m->c->changes, e->u.tensor);
}

/* Is what the load needs (its subscript, condition and default) there before the loop? */
static bool stands_before(const struct carry *c, const struct expr *load)
{
    struct made_here m = {c, load, false};
    expr_walk(load, look_made, &m);
    return !m.any;
}

static bool find_chains(struct carry *c)
{
    bool any = false;
    for (int i = 0; i < c->n; i++) {
        struct chain *k = &c->chain[i];
        const struct expr *place = place_before(c, k->store);
        int found = 0;
        bool read = false;
        int64_t by = 0, off[LANES_MAX];
        for (size_t j = 0; j < c->loads.n; j++) {
            const struct expr *e = c->loads.p[j].load;
            if (e->u.tensor != k->store->u.store.tensor) continue;
            if (!distance(c->l->ir, place, e->a[expr_load_first(e)], &by, off) || by != 0) continue;
            k->load = e;
            read = c->loads.p[j].always;
            found++;
        }
        bool may = found == 1 && k->always && read && condition_holds(c, k->load);
        if (!may || !stands_before(c, k->load) || !others_stay_away(c, i, place)) k->load = NULL;
        any |= k->load != NULL;
    }
    return any;
}

/* ---- the loop with registers ----------------------------------------------------------------- */

static const struct expr *from_register(struct ir *ir, const struct expr *e, void *ctx)
{
    const struct carry *c = ctx;
    for (int i = 0; i < c->n; i++)
        if (c->chain[i].load == e) return expr_var(ir, c->chain[i].before);
    return NULL;
}

static const char *name_for(struct carry *c, const struct stmt *store)
{
    return arena_printf(c->l->ir->arena, "%s%s", store->u.store.tensor->name,
                        fresh_suffix(c->l, "carry"));
}

/* The stored value goes to the register too. */
static void keep_value(struct carry *c, const struct chain *k)
{
    struct ir *ir = c->l->ir;
    struct stmt *s = k->store, *both = stmt_block(ir);
    const struct expr *zero = expr_int(ir, 0);
    const struct var *v = var_new(ir, name_for(c, s), s->u.store.value->type);
    const struct expr *kept = expr_var(ir, v), *at = s->u.store.idx[0];
    block_append(ir, both, stmt_store(ir, s->u.store.tensor, &at, kept));
    block_append(ir, both, stmt_store(ir, k->reg, &zero, kept));
    stmt_replace(s, stmt_let(ir, v, s->u.store.value, both));
}

static struct stmt *with_registers(struct carry *c)
{
    struct ir *ir = c->l->ir;
    struct stmt *loop = c->loop, *all = stmt_block(ir), *in = all;
    const struct expr *zero = expr_int(ir, 0), *one = expr_int(ir, 1);
    int64_t n = 0;
    for (int i = 0; i < c->n; i++) {
        struct chain *k = &c->chain[i];
        if (!k->load) continue;
        k->reg = tensor_new(ir, name_for(c, k->store), k->load->type, SCOPE_REG, 1, &one);
        k->before = var_new(ir, name_for(c, k->store), k->load->type);
        struct stmt *alloc = stmt_alloc(ir, k->reg, stmt_block(ir));
        block_append(ir, in, alloc);
        in = alloc->u.alloc.body;
    }
    if (!loop_constant_extent(loop, &n) || n < 1) {
        struct stmt *some = stmt_block(ir);
        const struct expr *runs = expr_binary(ir, OP_LT, loop->u.loop.lo, loop->u.loop.hi);
        block_append(ir, in, stmt_if(ir, runs, some));
        in = some;
    }
    stmt_map_exprs(ir, loop->u.loop.body, from_register, c);
    for (int i = 0; i < c->n; i++) {
        struct chain *k = &c->chain[i];
        if (!k->load) continue;
        const struct expr *first = expr_subst(ir, k->load, loop->u.loop.var, loop->u.loop.lo);
        first = expr_simplify(ir, env_at(ir, c->l->n, loop), first);
        block_append(ir, in, stmt_store(ir, k->reg, &zero, first));
        keep_value(c, k);
    }
    for (int i = c->n - 1; i >= 0; i--) {
        struct chain *k = &c->chain[i];
        struct stmt *body = loop->u.loop.body;
        if (!k->load) continue;
        loop->u.loop.body = stmt_let(ir, k->before, expr_load(ir, k->reg, &zero, 1), body);
        loop->u.loop.body->parent = loop;
    }
    block_append(ir, in, loop);
    return all;
}

static struct stmt *carry_loop(struct low *l, struct stmt *s, void *ctx)
{
    (void)ctx;
    if (s->kind != ST_FOR || !s->u.loop.ordered || s->u.loop.kind != LOOP_SERIAL) return s;
    struct carry c = {.l = l, .loop = s, .fits = true};
    struct stmt *to = s, *parent = s->parent;
    stmt_walk(s->u.loop.body, note_store, &c);
    if (c.fits) stmt_walk(s->u.loop.body, note_loads, &c);
    if (c.fits && find_chains(&c)) {
        to = with_registers(&c);
        to->parent = parent;
    }
    vec_free(&c.loads);
    changes_fini(&c.changes);
    return to;
}

enum rc pass_carry(struct low *l)
{
    rewrite(l, l->n->body, carry_loop, NULL);
    return RC_OK;
}
