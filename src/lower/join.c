/* Join: neighbouring loops over one range that write parts of one tensor become one loop.
 *
 * Requires: stages dissolved (updates), so that parts are neighbours.
 * Provides: what both parts read of an operand for one value of the variable is read while it is
 * near. One level, the outermost.
 *
 *     for t in 0..512                              for t in 0..512
 *       for d in 0..32                               for d in 0..32
 *         y[t, d] = x[t, d] - x[t, d + 32]     -->     y[t, d] = x[t, d] - x[t, d + 32]
 *     for u in 0..512                                for e in 0..32
 *       for e in 0..32                                 y[t, e + 32] = x[t, e + 32] + x[t, e]
 *         y[u, e + 32] = x[u, e + 32] + x[u, e]
 *
 * Invariants: neither loop reads what the other writes. Then two stores of one element, if there
 * are any, store the same value (an element is defined once; a tail that overlaps repeats it). */
#include "base/vec.h"
#include "lower/private.h"

struct touched {
    VEC(const struct tensor *) reads, writes;
};

static void note_read(const struct expr *e, void *ctx)
{
    struct touched *t = ctx;
    if (e->op == OP_LOAD || e->op == OP_LOADC) vec_push(&t->reads, e->u.tensor);
}

static void note_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, note_read, ctx); }

static bool note_stmt(struct stmt *s, void *ctx)
{
    struct touched *t = ctx;
    stmt_exprs(s, note_slot, ctx);
    if (s->kind == ST_STORE) vec_push(&t->writes, s->u.store.tensor);
    return true;
}

static bool meet(const struct touched *a, const struct touched *b)
{
    for (size_t i = 0; i < a->writes.n; i++)
        for (size_t k = 0; k < b->reads.n; k++)
            if (a->writes.p[i] == b->reads.p[k]) return true;
    return false;
}

static bool parts_of_one(const struct touched *a, const struct touched *b)
{
    for (size_t i = 0; i < a->writes.n; i++)
        for (size_t k = 0; k < b->writes.n; k++)
            if (a->writes.p[i] == b->writes.p[k]) return true;
    return false;
}

static bool may_join(struct stmt *a, struct stmt *b)
{
    if (a->kind != ST_FOR || b->kind != ST_FOR || a->u.loop.kind != b->u.loop.kind) return false;
    bool plain = a->u.loop.kind == LOOP_SERIAL || a->u.loop.kind == LOOP_PARALLEL;
    if (!plain || a->u.loop.reduce || b->u.loop.reduce) return false;
    if (a->u.loop.lo != b->u.loop.lo || a->u.loop.hi != b->u.loop.hi) return false;
    struct touched ta = {0}, tb = {0};
    stmt_walk(a, note_stmt, &ta);
    stmt_walk(b, note_stmt, &tb);
    bool ok = parts_of_one(&ta, &tb) && !meet(&ta, &tb) && !meet(&tb, &ta);
    vec_free(&ta.reads);
    vec_free(&ta.writes);
    vec_free(&tb.reads);
    vec_free(&tb.writes);
    return ok;
}

static void join(struct low *l, struct stmt *a, struct stmt *b)
{
    struct stmt *from = b->u.loop.body, *to = a->u.loop.body;
    stmt_subst(l->ir, from, b->u.loop.var, expr_var(l->ir, a->u.loop.var));
    if (to->kind != ST_BLOCK) {
        struct stmt *block = stmt_block(l->ir);
        block_append(l->ir, block, to);
        a->u.loop.body = block;
        block->parent = a;
        to = block;
    }
    block_append(l->ir, to, from);
}

enum rc pass_join(struct low *l)
{
    struct stmt *body = l->n->body;
    int kept = 0;
    if (body->kind != ST_BLOCK) return RC_OK;
    for (int i = 0; i < body->u.block.n; i++) {
        struct stmt *s = body->u.block.p[i], *last = kept ? body->u.block.p[kept - 1] : NULL;
        if (last && may_join(last, s))
            join(l, last, s);
        else
            body->u.block.p[kept++] = s;
    }
    body->u.block.n = kept;
    return RC_OK;
}
