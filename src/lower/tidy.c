/* Tidy: what the earlier passes left that a back end should not have to think about.
 *
 * Requires: nothing.
 * Provides: index arithmetic simplified where it stands; no loop that never runs, none that runs
 * once (unless parallel), no IF with a constant condition, no LET or ALLOC that nothing reads;
 * every body a BLOCK.
 *
 *     for k in 0..(7 + 15) / 16            k = 0:
 *       y[k*16 + j] = ..           -->     y[j] = .. */
#include "lower/private.h"

struct tidy {
    struct near near;
    struct env *env;
};

static const struct expr *tidy_index(struct ir *ir, const struct expr *e, void *ctx)
{
    struct tidy *t = ctx;
    bool vague = e->op == OP_DIV || e->op == OP_MOD || e->op == OP_MIN || e->op == OP_MAX ||
                 e->op == OP_SELECT;
    if (!vague || e->type.dtype != TYPE_S64 || e->type.lanes != 1) return NULL;
    return expr_simplify(ir, t->env, e);
}

static void find_vague(const struct expr *e, void *ctx)
{
    bool vague = e->op == OP_DIV || e->op == OP_MOD || e->op == OP_MIN || e->op == OP_MAX ||
                 e->op == OP_SELECT;
    if (vague && e->type.dtype == TYPE_S64 && e->type.lanes == 1) *(bool *)ctx = true;
}

static void vague_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, find_vague, ctx); }

struct tidy_run {
    struct low *l;
    struct tidy t;
};

static void tidy_slot(const struct expr **slot, void *ctx)
{
    struct tidy_run *r = ctx;
    bool vague = false;
    find_vague(*slot, &vague);
    expr_walk(*slot, find_vague, &vague);
    if (vague) *slot = expr_map(r->l->ir, *slot, tidy_index, &r->t);
}

static bool simplify_stmt(struct stmt *s, void *ctx)
{
    struct tidy_run *r = ctx;
    bool vague = false;
    stmt_exprs(s, vague_slot, &vague);
    if (!vague) return true;
    r->t.env = env_near(r->l, &r->t.near, s);
    stmt_exprs(s, tidy_slot, r);
    return true;
}

struct uses {
    const struct var *v;
    const struct tensor *t;
    bool found; /* read, if a tensor: what is only written is not used */
};

static void find_slot(const struct expr **slot, void *ctx)
{
    struct uses *u = ctx;
    if (u->v && expr_uses_var(*slot, u->v)) u->found = true;
    if (u->t && expr_uses_tensor(*slot, u->t)) u->found = true;
}

static bool find_use(struct stmt *s, void *ctx)
{
    struct uses *u = ctx;
    stmt_exprs(s, find_slot, u);
    return !u->found;
}

static struct stmt *as_block(struct low *l, struct stmt *s)
{
    struct stmt **body = stmt_body(s);
    if (!body || (*body)->kind == ST_BLOCK) return s;
    struct stmt *b = stmt_block(l->ir), *old = *body;
    *body = b;
    b->parent = s;
    block_append(l->ir, b, old);
    return s;
}

static struct stmt *drop_store(struct low *l, struct stmt *s, void *ctx)
{
    (void)l;
    return s->kind == ST_STORE && s->u.store.tensor == ctx ? NULL : s;
}

/* A copy whose readers were all proved away: its stores go with it. */
static struct stmt *without_alloc(struct low *l, struct stmt *s)
{
    struct tensor *t = s->u.alloc.tensor;
    struct stmt *body = *stmt_body(as_block(l, s));
    rewrite(l, body, drop_store, t);
    return body;
}

static struct stmt *tidy_stmt(struct low *l, struct stmt *s, void *ctx)
{
    int64_t lo = 0, hi = 0;
    (void)ctx;
    if (s->kind == ST_STAGE) return s->u.stage.body;
    if (s->kind == ST_IF && expr_is_int(s->u.cond.cond, &lo)) return lo ? s->u.cond.then : NULL;
    if (s->kind == ST_LET || s->kind == ST_ALLOC) {
        struct uses u = {.v = s->kind == ST_LET ? s->u.let.var : NULL,
                         .t = s->kind == ST_ALLOC ? s->u.alloc.tensor : NULL};
        stmt_walk(*stmt_body(s), find_use, &u);
        if (!u.found) return s->kind == ST_LET ? *stmt_body(s) : without_alloc(l, s);
    }
    if (s->kind == ST_FOR && loop_is_const(s, &lo, &hi)) {
        if (lo >= hi) return NULL;
        if (hi - lo == 1 && s->u.loop.kind != LOOP_PARALLEL) {
            stmt_subst(l->ir, s->u.loop.body, s->u.loop.var, s->u.loop.lo);
            return s->u.loop.body;
        }
    }
    if (s->kind == ST_FOR) s->u.loop.tail = TAIL_NONE;
    return as_block(l, s);
}

enum rc pass_tidy(struct low *l)
{
    struct tidy_run r = {.l = l};
    if (!l->naive) stmt_walk(l->n->body, simplify_stmt, &r);
    if (!l->naive) stmt_walk(l->n->pack, simplify_stmt, &r);
    rewrite_both(l, tidy_stmt, NULL);
    return RC_OK;
}
