/* Phases: a loop whose iterations are long chains becomes, block by block, two loops of shorter ones; or it
 * begins an iteration while the one before ends (software pipelining).
 *
 * Requires: final arithmetic (fma, compares). Runs only if asked for (lower_options.phases).
 * Provides: innermost serial loops of LETs, stores and stack tensors, in which a result is far from what
 * it is made of, cut where that halves the way. What the second half needs of the first goes through
 * a block on the stack, or in registers to the next iteration; what costs little is computed again.
 *
 *     for i in 0..100                               for q in 0..7
 *       let e = exp..(x[ramp(i*8, 1, 8)])             alloc stack e.q: f32[128]
 *         y[ramp(i*8, 1, 8)] = log..(e)     two         for i in q*16..min(100, q*16 + 16)
 *                                           -->           let e = exp..(x[ramp(i*8, 1, 8)])
 *                                                           e.q[ramp((i - q*16)*8, 1, 8)] = e
 *                                                       for j in q*16..min(100, q*16 + 16)
 *                                                         let f = e.q[ramp((j - q*16)*8, 1, 8)]
 *                                                           y[ramp(j*8, 1, 8)] = log..(f)
 *
 *                                                   alloc reg e.q: f32x8[1]
 *                                       overlap       e.q[0] = exp..(x[ramp(0, 1, 8)])
 *                                           -->       for i in 1..100
 *                                                       y[ramp((i - 1)*8, 1, 8)] = log..(e.q[0])
 *                                                       e.q[0] = exp..(x[ramp(i*8, 1, 8)])
 *                                                     y[ramp(99*8, 1, 8)] = log..(e.q[0])
 *
 * A processor runs iterations side by side as far as it looks ahead, some hundred operations. Of an
 * iteration with 70 operations in a chain of 150 cycles that is three, and most units idle; of two
 * loops with half of both it is twice as many; and of iterations whose halves do not wait for each
 * other, without a store and a load but with registers for what is kept.
 *
 * Invariants: each statement runs as often as before, in an order that every read respects: no tensor
 * outside the stack is both read and written, and each stack tensor is complete before it is read. */
#include "base/vec.h"
#include "lower/private.h"

enum {
    BLOCK = LOWER_PHASE_BLOCK, /* iterations; so few that their blocks stay in L1 */
    BLOCK_MAX = 24,            /* a loop of so many is one block */
    STACK = 16 << 10,          /* bytes of all blocks: kernels run on small stacks */
    LEAST = 6,                 /* iterations worth two loops */
    CHAIN = 40,                /* cycles from operand to result worth two loops */
    KEPT = 5,                  /* cycles of a store and a load */
    REGISTERS = 4              /* one of so many may keep something for the next iteration */
};

struct item {
    struct stmt *s; /* LET or STORE */
    int below;      /* of a LET: longest way from its value to a result */
    bool in[2];     /* which loop computes it */
};

struct local {
    struct tensor *t, *block; /* block: of all iterations, if both loops use it */
    int depth, below;
    bool loaded, in[2];
};

struct value {
    const struct expr *e; /* node, variable of a LET, or load of a stack tensor */
    const struct var *v;
    struct tensor *block;
};

struct phases {
    struct low *l;
    struct stmt *loop;
    VEC(struct item) item;
    VEC(struct local) local;
    VEC(const struct tensor *) stored; /* other tensors */
    VEC(struct value) kept;
    struct memo let;                /* variable of a LET -> its place in item */
    struct memo depth, below;       /* of expressions, in cycles */
    VEC(const struct expr *) apart; /* loads of lanes that are not side by side */
    struct memo half[2];            /* what each half computes */
    bool fits;
    int whole, results;      /* cycles of the longest way, and how many results are so far away */
    struct memo put;         /* of the loop being written: what stands for an expression */
    const struct expr *turn; /* iteration within the block */
    bool overlap, second;
};

/* ---- the body as a list, and how long things take -------------------------------------------- */

static struct local *local_of(struct phases *p, const struct expr *load)
{
    if (load->op != OP_LOAD && load->op != OP_LOADC) return NULL;
    for (size_t i = 0; i < p->local.n; i++)
        if (p->local.p[i].t == load->u.tensor) return &p->local.p[i];
    return NULL;
}

static struct local *target_of(struct phases *p, const struct stmt *s)
{
    for (size_t i = 0; i < p->local.n && s->kind == ST_STORE; i++)
        if (p->local.p[i].t == s->u.store.tensor) return &p->local.p[i];
    return NULL;
}

static bool is_result(struct phases *p, const struct stmt *s)
{
    return s->kind == ST_STORE && !target_of(p, s);
}

static struct item *let_of(struct phases *p, const struct expr *e)
{
    const struct expr *at = e->op == OP_VAR ? memo_get(&p->let, e) : NULL;
    return at ? &p->item.p[at->u.i] : NULL;
}

static const struct expr **value_of(struct stmt *s)
{
    return s->kind == ST_LET ? &s->u.let.value : &s->u.store.value;
}

/* Cycles of one operation, about what today's cores take; addresses are hardly anything. */
static int cycles(struct phases *p, const struct expr *e)
{
    bool real = dtype_is_float((enum dtype)e->type.dtype) ||
                (e->n && dtype_is_float((enum dtype)e->a[0]->type.dtype));
    if (e->type.dtype == TYPE_S64 && !real) return 0;
    switch ((enum op)e->op) {
    case OP_LOAD:
    case OP_LOADC:
        return local_of(p, e) ? 0 : 5;
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_FMA:
    case OP_CAST:
        return real ? 4 : 1;
    case OP_DIV:
    case OP_SQRT:
    case OP_HSUM:
    case OP_HMAX:
    case OP_HMIN:
        return 12;
    case OP_FLOOR:
    case OP_CEIL:
    case OP_ROUND:
    case OP_TRUNC:
        return 6;
    case OP_BITCAST:
    case OP_SPLAT:
    case OP_RAMP:
        return 0;
    default:
        return e->n > 0;
    }
}

static int known(const struct memo *m, const struct expr *e)
{
    const struct expr *n = memo_get(m, e);
    return n ? (int)n->u.i : -1;
}

static int depth_of(struct phases *p, const struct expr *e)
{
    int most = known(&p->depth, e);
    if (most >= 0) return most;
    struct item *let = let_of(p, e);
    struct local *from = local_of(p, e);
    most = let ? depth_of(p, let->s->u.let.value) : from ? from->depth : 0;
    for (int i = 0; i < e->n; i++) most = (int)i64_max(most, depth_of(p, e->a[i]));
    most += cycles(p, e);
    memo_put(&p->depth, e, expr_int(p->l->ir, most));
    return most;
}

/* From e's value a result is `below` cycles away, and so on towards the operands. */
static void reach(struct phases *p, const struct expr *e, int below)
{
    struct item *let = let_of(p, e);
    struct local *from = local_of(p, e);
    if (below <= known(&p->below, e)) return;
    memo_put(&p->below, e, expr_int(p->l->ir, below));
    if (let) let->below = (int)i64_max(let->below, below);
    if (from) from->below = (int)i64_max(from->below, below);
    for (int i = 0; i < e->n; i++) reach(p, e->a[i], below + cycles(p, e));
}

static void look_load(const struct expr *e, void *ctx)
{
    struct phases *p = ctx;
    struct access_info a;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    struct local *from = local_of(p, e);
    access_classify(p->l->ir, e->a[expr_load_first(e)], &a);
    if (from)
        from->loaded = true;
    else if (e->op == OP_LOAD && (a.kind == ACCESS_STRIDED || a.kind == ACCESS_PERMUTE))
        vec_push(&p->apart, e);
    p->fits &= e->u.tensor->scope != SCOPE_REG && !(from && e->op == OP_LOADC);
    for (size_t i = 0; i < p->stored.n; i++) p->fits &= p->stored.p[i] != e->u.tensor;
}

static void look_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, look_load, ctx); }

static bool note_target(struct stmt *s, void *ctx)
{
    struct phases *p = ctx;
    int64_t n = 0;
    if (s->kind == ST_ALLOC) {
        const struct tensor *t = s->u.alloc.tensor;
        p->fits &= t->scope == SCOPE_STACK && t->type.lanes == 1 && expr_is_int(t->extent[0], &n);
        vec_push(&p->local, ((struct local){.t = s->u.alloc.tensor}));
    }
    if (is_result(p, s)) vec_push(&p->stored, s->u.store.tensor);
    return true;
}

static bool list(struct stmt *s, void *ctx)
{
    struct phases *p = ctx;
    stmt_exprs(s, look_slot, p);
    if (s->kind == ST_LET)
        memo_put(&p->let, expr_var(p->l->ir, s->u.let.var), expr_int(p->l->ir, (int64_t)p->item.n));
    if (s->kind == ST_LET || s->kind == ST_STORE)
        vec_push(&p->item, ((struct item){.s = s}));
    else if (s->kind != ST_BLOCK && s->kind != ST_ALLOC)
        p->fits = false; /* a loop or a condition: not only this body's own work */
    struct local *to = target_of(p, s);
    if (to) {
        p->fits &= !to->loaded; /* complete before it is read */
        to->depth = (int)i64_max(to->depth, depth_of(p, s->u.store.value));
    }
    return p->fits;
}

static void measure(struct phases *p)
{
    for (size_t i = p->item.n; i-- > 0;) {
        struct stmt *s = p->item.p[i].s;
        struct local *to = target_of(p, s);
        int depth = depth_of(p, *value_of(s));
        reach(p, *value_of(s), s->kind == ST_LET ? p->item.p[i].below : to ? to->below : 0);
        if (!is_result(p, s)) continue;
        p->results = depth > p->whole ? 1 : p->results + (depth == p->whole);
        p->whole = (int)i64_max(p->whole, depth);
    }
}

/* ---- where to cut ---------------------------------------------------------------------------- */

struct cut {
    struct phases *p;
    int depth, limit; /* cycles of the first loop; of the longer one */
    int64_t bytes;    /* that an iteration keeps */
    bool possible;
};

static int64_t extent_of(const struct tensor *t)
{
    int64_t n = 0;
    QN_CHECK(expr_is_int(t->extent[0], &n), "%s is no stack tensor", t->name);
    return n;
}

/* A stack tensor is kept as a whole, whichever load of it says so. */
static bool is_kept(struct phases *p, const struct expr *e)
{
    const struct local *from = local_of(p, e);
    for (size_t i = 0; i < p->kept.n; i++)
        if (p->kept.p[i].e == e || (from && local_of(p, p->kept.p[i].e) == from)) return true;
    return false;
}

/* What of e's operands must come from the first loop: what is made within its time and on a way too
 * long for the second alone. */
static void look_cut(struct cut *c, const struct expr *e, struct memo *seen)
{
    struct phases *p = c->p;
    if (memo_get(seen, e)) return;
    memo_put(seen, e, e);
    int depth = depth_of(p, e);
    struct local *from = local_of(p, e);
    if (depth <= KEPT || depth + known(&p->below, e) <= c->limit) return;
    if (depth > c->depth) {
        struct item *let = let_of(p, e);
        if (let) look_cut(c, let->s->u.let.value, seen);
        for (int i = 0; i < e->n; i++) look_cut(c, e->a[i], seen);
        for (size_t i = 0; i < p->item.n && from; i++)
            if (target_of(p, p->item.p[i].s) == from)
                look_cut(c, p->item.p[i].s->u.store.value, seen);
        return;
    }
    if (is_kept(p, e)) return;
    bool numbers = e->type.lanes > 1 && e->type.dtype != TYPE_B1 && e->type.dtype != TYPE_S64;
    c->possible &= from || numbers;
    c->bytes +=
        (from ? extent_of(from->t) : e->type.lanes) * dtype_bytes((enum dtype)e->type.dtype);
    vec_push(&p->kept, ((struct value){.e = e}));
}

static void need(struct phases *p, const struct expr *e, struct memo *seen);

static void need_item(struct phases *p, struct item *it, struct memo *seen)
{
    it->in[p->second] = true;
    need(p, *value_of(it->s), seen);
    if (it->s->kind == ST_STORE) need(p, it->s->u.store.idx[0], seen);
}

/* Marks what the loop at hand must compute for e. */
static void need(struct phases *p, const struct expr *e, struct memo *seen)
{
    struct item *let = let_of(p, e);
    struct local *from = local_of(p, e);
    bool kept = p->second && is_kept(p, e);
    if (memo_get(seen, e) || (kept && !from)) return;
    memo_put(seen, e, e);
    if (let) need_item(p, let, seen);
    for (int i = 0; i < e->n; i++) need(p, e->a[i], seen);
    if (!from || kept || from->in[p->second]) return;
    from->in[p->second] = true;
    for (size_t i = 0; i < p->item.n; i++)
        if (target_of(p, p->item.p[i].s) == from) need_item(p, &p->item.p[i], seen);
}

/* What is kept says which loop computes what; returns how many operations both do. */
static int share_out(struct phases *p)
{
    struct memo *first = &p->half[0], *second = &p->half[1];
    int both = 0;
    memo_clear(first);
    memo_clear(second);
    for (size_t i = 0; i < p->item.n; i++) p->item.p[i].in[0] = p->item.p[i].in[1] = false;
    for (size_t i = 0; i < p->local.n; i++) p->local.p[i].in[0] = p->local.p[i].in[1] = false;
    p->second = false;
    for (size_t i = 0; i < p->kept.n; i++) need(p, p->kept.p[i].e, first);
    p->second = true;
    for (size_t i = 0; i < p->item.n; i++)
        if (is_result(p, p->item.p[i].s)) need_item(p, &p->item.p[i], second);
    for (uint32_t i = 0; i < first->cap; i++)
        both += first->key[i] && cycles(p, first->key[i]) && memo_get(second, first->key[i]);
    return both;
}

static bool first_half_reads(struct phases *p, const struct tensor *t)
{
    for (size_t i = 0; i < p->apart.n; i++)
        if (p->apart.p[i]->u.tensor == t && memo_get(&p->half[0], p->apart.p[i])) return true;
    return false;
}

/* Lanes that are not side by side come out of whole vectors, which loads of one tensor share if they stand side
 * by side (window.c): then the first half reads for both. */
static bool keep_windows(struct cut *c)
{
    struct phases *p = c->p;
    size_t before = p->kept.n;
    for (size_t i = 0; i < p->apart.n; i++) {
        const struct expr *e = p->apart.p[i];
        if (!memo_get(&p->half[1], e) || is_kept(p, e)) continue;
        if (!first_half_reads(p, e->u.tensor)) continue;
        c->bytes += e->type.lanes * dtype_bytes((enum dtype)e->type.dtype);
        vec_push(&p->kept, ((struct value){.e = e}));
    }
    return p->kept.n > before;
}

/* Overlapped, an iteration keeps registers; else the iterations of a block fill the stack. */
static bool too_much(const struct phases *p, int64_t bytes)
{
    const struct target *t = p->l->t;
    return p->overlap ? bytes * 8 * REGISTERS > (int64_t)t->vregs * t->vector_bits
                      : bytes * BLOCK_MAX > STACK;
}

/* The longer way if the first half takes `depth` cycles, and for each result what the second half
 * costs: a store and a load of what is kept (or a register), and operations done again. Those count for more than
 * their time: they delay whatever runs beside them. */
static int try_cut(struct phases *p, int depth)
{
    int rest = p->whole - depth + KEPT;
    struct cut c = {.p = p, .depth = depth, .limit = (int)i64_max(depth, rest), .possible = true};
    struct memo seen = {0};
    p->kept.n = 0;
    for (size_t i = 0; i < p->item.n; i++)
        if (is_result(p, p->item.p[i].s)) look_cut(&c, p->item.p[i].s->u.store.value, &seen);
    memo_fini(&seen);
    if (!c.possible || p->kept.n == 0) return INT32_MAX;
    int both = share_out(p), kept = p->overlap ? 4 : 12;
    if (p->overlap && keep_windows(&c)) both = share_out(p);
    return too_much(p, c.bytes) ? INT32_MAX
                                : c.limit + (kept * (int)p->kept.n + 8 * both) / p->results;
}

static bool choose_cut(struct phases *p)
{
    int best = INT32_MAX, at = 0;
    measure(p);
    if (p->whole < CHAIN) return false;
    for (int depth = p->whole / 4; depth < p->whole - p->whole / 8; depth++) {
        int cost = try_cut(p, depth);
        if (cost < best) best = cost, at = depth;
    }
    if (best >= p->whole) return false;
    try_cut(p, at);
    return true;
}

/* ---- the two halves -------------------------------------------------------------------------- */

/* Where in a block the present iteration has its n elements. */
static const struct expr *block_at(struct phases *p, int64_t n, const struct expr *at)
{
    struct ir *ir = p->l->ir;
    const struct expr *base = at, *by = expr_mul(ir, p->turn, expr_int(ir, n));
    int64_t off[LANES_MAX];
    int lanes = at->type.lanes;
    QN_CHECK(lanes == 1 || lanes_of(ir, at, &base, off), "lanes of no pattern on the stack");
    base = expr_simplify(ir, NULL, expr_add(ir, base, by));
    return lanes == 1 ? base : lanes_make(ir, base, off, lanes);
}

static const struct expr *put(struct phases *p, const struct expr *e);

static const struct expr *put_operands(struct phases *p, const struct expr *e)
{
    const struct expr *a[16];
    bool changed = false;
    for (int i = 0; i < e->n; i++) {
        a[i] = put(p, e->a[i]);
        changed |= a[i] != e->a[i];
    }
    const struct local *t = local_of(p, e);
    if (!t || !t->block) return changed ? expr_with(p->l->ir, e, a) : e;
    const struct expr *at = block_at(p, extent_of(t->t), a[0]);
    return expr_load(p->l->ir, t->block, &at, 1);
}

static const struct expr *put(struct phases *p, const struct expr *e)
{
    const struct expr *to = memo_get(&p->put, e);
    if (to) return to;
    to = put_operands(p, e);
    memo_put(&p->put, e, to);
    return to;
}

static const struct var *fresh_var(struct phases *p, const char *name, struct type type)
{
    struct ir *ir = p->l->ir;
    return var_new(ir, arena_printf(ir->arena, "%s%s", name, fresh_suffix(p->l, "q")), type);
}

/* Appends to a body under construction; what comes after a LET is in its body. */
static void append(struct phases *p, struct stmt **body, struct stmt *s)
{
    block_append(p->l->ir, *body, s);
    if (s->kind == ST_LET || s->kind == ST_ALLOC) *body = *stmt_body(s);
}

static const struct expr *slot_of(struct phases *p, const struct value *k)
{
    struct ir *ir = p->l->ir;
    int lanes = k->e->type.lanes;
    if (p->overlap) return expr_int(ir, 0);
    return block_at(p, lanes, expr_ramp(ir, expr_int(ir, 0), expr_int(ir, 1), lanes));
}

/* First loop: kept values that only s's value has. */
static void append_kept(struct phases *p, struct stmt **body, struct memo *done,
                        const struct expr *e)
{
    struct ir *ir = p->l->ir;
    if (memo_get(done, e)) return;
    memo_put(done, e, e);
    for (int i = 0; i < e->n; i++) append_kept(p, body, done, e->a[i]);
    for (size_t i = 0; i < p->kept.n; i++) {
        struct value *k = &p->kept.p[i];
        if (k->e != e || !k->block) continue;
        if (e->op != OP_VAR) {
            append(p, body, stmt_let(ir, k->v, put_operands(p, e), NULL));
            memo_put(&p->put, e, expr_var(ir, k->v));
        }
        const struct expr *at = slot_of(p, k);
        append(p, body, stmt_store(ir, k->block, &at, put(p, e)));
    }
}

static void append_item(struct phases *p, struct stmt **body, struct item *it)
{
    struct ir *ir = p->l->ir;
    struct stmt *s = it->s;
    const struct expr *value = put(p, *value_of(s));
    if (s->kind == ST_LET) {
        const struct var *v = s->u.let.var;
        if (p->second && it->in[0]) v = fresh_var(p, v->name, v->type);
        append(p, body, stmt_let(ir, v, value, NULL));
        memo_put(&p->put, expr_var(ir, s->u.let.var), expr_var(ir, v));
        return;
    }
    const struct local *t = target_of(p, s);
    const struct expr *at = put(p, s->u.store.idx[0]);
    if (t && t->block) at = block_at(p, extent_of(t->t), at);
    append(p, body, stmt_store(ir, t && t->block ? t->block : s->u.store.tensor, &at, value));
}

/* Iteration v of one of the halves; start: the first one of its block, NULL: a block of one. */
static struct stmt *write_half(struct phases *p, bool second, const struct var *v,
                               const struct expr *start)
{
    struct ir *ir = p->l->ir;
    struct stmt *body = stmt_block(ir), *in = body;
    struct memo done = {0};
    memo_clear(&p->put);
    p->second = second;
    memo_put(&p->put, expr_var(ir, p->loop->u.loop.var), expr_var(ir, v));
    p->turn = start ? expr_sub(ir, expr_var(ir, v), start) : expr_int(ir, 0);
    for (size_t i = 0; i < p->local.n; i++)
        if (p->local.p[i].in[second] && !p->local.p[i].block)
            append(p, &in, stmt_alloc(ir, p->local.p[i].t, stmt_block(ir)));
    for (size_t i = 0; i < p->kept.n && second; i++) {
        struct value *k = &p->kept.p[i];
        if (!k->block) continue;
        const struct var *mine = fresh_var(p, k->v->name, k->v->type);
        const struct expr *at = slot_of(p, k);
        append(p, &in, stmt_let(ir, mine, expr_load(ir, k->block, &at, 1), NULL));
        memo_put(&p->put, k->e, expr_var(ir, mine));
    }
    for (size_t i = 0; i < p->item.n; i++) {
        struct item *it = &p->item.p[i];
        if (!second) append_kept(p, &in, &done, *value_of(it->s));
        if (!it->in[second]) continue;
        append_item(p, &in, it);
        if (!second && it->s->kind == ST_LET)
            append_kept(p, &in, &done, expr_var(ir, it->s->u.let.var));
    }
    memo_fini(&done);
    return body;
}

static struct tensor *new_block(struct phases *p, const char *name, struct type type,
                                enum scope scope, int64_t n)
{
    struct ir *ir = p->l->ir;
    const struct expr *extent = expr_int(ir, n);
    return tensor_new(ir, arena_printf(ir->arena, "%s%s", name, fresh_suffix(p->l, "q")), type,
                      scope, 1, &extent);
}

static bool is_kept_local(struct phases *p, const struct local *t)
{
    for (size_t i = 0; i < p->kept.n; i++)
        if (local_of(p, p->kept.p[i].e) == t) return true;
    return false;
}

/* Blocks of so many iterations for whatever goes from half to half. */
static void make_blocks(struct phases *p, int64_t block, struct stmt **body)
{
    struct ir *ir = p->l->ir;
    for (size_t i = 0; i < p->local.n; i++) {
        struct local *t = &p->local.p[i];
        if (!t->in[0] || (!t->in[1] && !is_kept_local(p, t))) continue;
        t->block = new_block(p, t->t->name, t->t->type, SCOPE_STACK, extent_of(t->t) * block);
        append(p, body, stmt_alloc(ir, t->block, stmt_block(ir)));
    }
    for (size_t i = 0; i < p->kept.n; i++) {
        struct value *k = &p->kept.p[i];
        struct type type = k->e->type;
        if (local_of(p, k->e)) continue;
        k->v = k->e->op == OP_VAR ? k->e->u.var : fresh_var(p, p->stored.p[0]->name, type);
        k->block = p->overlap ? new_block(p, k->v->name, type, SCOPE_REG, 1)
                              : new_block(p, k->v->name, type_of((enum dtype)type.dtype),
                                          SCOPE_STACK, type.lanes * block);
        append(p, body, stmt_alloc(ir, k->block, stmt_block(ir)));
    }
}

static struct stmt *two_loops(struct phases *p)
{
    struct ir *ir = p->l->ir;
    struct stmt *loop = p->loop, *body = stmt_block(ir), *in = body;
    const struct expr *lo = loop->u.loop.lo, *hi = loop->u.loop.hi, *start = lo, *end = hi;
    const struct var *v = loop->u.loop.var, *w = fresh_var(p, v->name, v->type), *q = NULL;
    int64_t n = 0, block = BLOCK;
    bool fixed = loop_constant_extent(loop, &n);
    int64_t blocks = fixed && n > BLOCK_MAX ? (n + BLOCK - 1) / BLOCK : 1;
    if (fixed) block = (n + blocks - 1) / blocks;
    if (!fixed || blocks > 1) {
        q = fresh_var(p, v->name, type_of(TYPE_S64));
        start = expr_add(ir, lo, expr_mul(ir, expr_var(ir, q), expr_int(ir, block)));
        end = expr_binary(ir, OP_MIN, hi, expr_add(ir, start, expr_int(ir, block)));
        start = expr_simplify(ir, NULL, start);
        end = expr_simplify(ir, NULL, end);
    }
    make_blocks(p, block, &in);
    block_append(ir, in, stmt_for(ir, v, start, end, write_half(p, false, v, start)));
    block_append(ir, in, stmt_for(ir, w, start, end, write_half(p, true, w, start)));
    if (!q) return body;
    const struct expr *count = expr_add(ir, expr_sub(ir, hi, lo), expr_int(ir, block - 1));
    count = expr_simplify(ir, NULL, expr_binary(ir, OP_DIV, count, expr_int(ir, block)));
    return stmt_for(ir, q, expr_int(ir, 0), count, body);
}

/* The first half of the first iteration; each later one's after the second half of the one before; the
 * second half of the last. */
static struct stmt *overlapped(struct phases *p)
{
    struct ir *ir = p->l->ir;
    struct stmt *loop = p->loop, *body = stmt_block(ir), *in = body, *both = stmt_block(ir);
    const struct expr *lo = loop->u.loop.lo, *hi = loop->u.loop.hi, *one = expr_int(ir, 1);
    const struct var *v = loop->u.loop.var, *w = fresh_var(p, v->name, v->type),
                     *i = fresh_var(p, v->name, v->type);
    const struct expr *next = expr_simplify(ir, NULL, expr_add(ir, lo, one));
    const struct expr *last = expr_simplify(ir, NULL, expr_sub(ir, hi, one));
    int64_t n = 0;
    make_blocks(p, 1, &in);
    if (!loop_constant_extent(loop, &n)) {
        struct stmt *some = stmt_block(ir);
        block_append(ir, in, stmt_if(ir, expr_binary(ir, OP_LT, lo, hi), some));
        in = some;
    }
    struct stmt *first = stmt_let(ir, v, lo, write_half(p, false, v, NULL));
    struct stmt *second = stmt_let(ir, w, last, write_half(p, true, w, NULL));
    struct stmt *end = stmt_clone(ir, second, fresh_suffix(p->l, "q"));
    struct stmt *begin = stmt_clone(ir, first, fresh_suffix(p->l, "q"));
    end->u.let.value = expr_sub(ir, expr_var(ir, i), one);
    begin->u.let.value = expr_var(ir, i);
    block_append(ir, both, end);
    block_append(ir, both, begin);
    block_append(ir, in, first);
    block_append(ir, in, stmt_for(ir, i, next, hi, both));
    block_append(ir, in, second);
    return body;
}

static struct stmt *cut_loop(struct low *l, struct stmt *s, void *ctx)
{
    int64_t n = 0;
    (void)ctx;
    if (s->kind != ST_FOR || s->u.loop.kind != LOOP_SERIAL) return s;
    if (s->u.loop.reduce || s->u.loop.ordered) return s;
    if (loop_constant_extent(s, &n) && n < LEAST) return s;
    bool overlap = l->o->phases == PHASES_OVERLAP;
    struct phases p = {.l = l, .loop = s, .fits = true, .overlap = overlap};
    struct stmt *to = s, *parent = s->parent;
    stmt_walk(s->u.loop.body, note_target, &p);
    stmt_walk(s->u.loop.body, list, &p);
    if (p.fits && choose_cut(&p)) {
        to = overlap ? overlapped(&p) : two_loops(&p);
        to->parent = parent;
    }
    memo_fini(&p.let);
    memo_fini(&p.depth);
    memo_fini(&p.below);
    memo_fini(&p.put);
    memo_fini(&p.half[0]);
    memo_fini(&p.half[1]);
    vec_free(&p.apart);
    vec_free(&p.item);
    vec_free(&p.local);
    vec_free(&p.stored);
    vec_free(&p.kept);
    return to;
}

enum rc pass_phases(struct low *l)
{
    if (l->o->phases) rewrite(l, l->n->body, cut_loop, NULL);
    return RC_OK;
}
