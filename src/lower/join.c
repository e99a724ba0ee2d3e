/* Join: neighbouring loops over one range become one loop, so that what the second uses of the
 * first is still near.
 *
 * Requires: stages dissolved (updates), so that loops are neighbours.
 * Provides: two cases. Parts of one tensor: what both read of an operand is read once.
 *
 *     for t in 0..512                              for t in 0..512
 *       for d in 0..32                               for d in 0..32
 *         y[t, d] = x[t, d] - x[t, d + 32]     -->     y[t, d] = x[t, d] - x[t, d + 32]
 *     for u in 0..512                                  y[t, d + 32] = x[t, d + 32] + x[t, d]
 *       for e in 0..32
 *         y[u, e + 32] = x[u, e + 32] + x[u, e]
 *
 * A block and its readers: the second loop reads of each tensor that the first writes only the
 * block of the same iteration (distance 0). A space asks for it by splitting the stages alike.
 *
 *     for mo in 0..8                               for mo in 0..8
 *       for mi in 0..4                               for mi in 0..4
 *         s[mo*4 + mi] = ..                    -->     s[mo*4 + mi] = ..
 *     for ko in 0..8                                 for n in 0..N
 *       for n in 0..N                                  for ki in 0..4
 *         for ki in 0..4                                 y[mo*4 + ki, n] = x[..] / s[mo*4 + ki]
 *           y[ko*4 + ki, n] = x[..] / s[ko*4 + ki]
 *
 * Loops inside a loop that was joined are joined alike; a loop in the ALLOC of a copy it reads too.
 *
 * Invariants: the second loop writes nothing that the first reads. It reads nothing that the first
 * writes, or only within the block: in one dimension the first writes [c*v + a, c*v + a + b) with
 * b <= c in iteration v, which enters no other dimension, and the second reads inside that. As the
 * first loop alone defines what the blocks cover and blocks do not overlap, all of a block is
 * written by its iteration. Two stores of one element, if there are any, store the same value (an
 * element is defined once; a tail that overlaps repeats it). */
#include "base/vec.h"
#include "lower/private.h"

struct tensors {
    const struct tensor **p;
    size_t n, cap;
};

struct touched {
    struct tensors reads, writes;
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

static bool meet(const struct tensors *a, const struct tensors *b)
{
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < b->n; k++)
            if (a->p[i] == b->p[k]) return true;
    return false;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void rename_box(struct ir *ir, struct region *r, const struct var *from,
                       const struct var *to)
{
    for (int d = 0; d < r->rank; d++) r->lo[d] = expr_subst(ir, r->lo[d], from, expr_var(ir, to));
}

/* What b reads of t in an iteration, a has written by then: its block. */
static bool within_block(const struct nest *n, struct stmt *a, struct stmt *b,
                         const struct tensor *t)
{
    struct region written, read;
    const char *why = NULL;
    struct stmt *from = a->u.loop.body, *to = b->u.loop.body;
    int64_t step = 0, size = 0, off = 0;
    if (!region_write(n, from, t, &written, &why) || !region_read(n, to, t, &read, &why))
        return false;
    int dim = box_moved(&written, a->u.loop.var, &step);
    if (dim < 0 || !box_clip(n, from, t, true, &written, dim, step)) return false;
    struct region seen = read;
    rename_box(n->ir, &seen, b->u.loop.var, a->u.loop.var);
    const struct expr *gap = expr_sub(n->ir, seen.lo[dim], written.lo[dim]);
    if (!expr_is_int(expr_simplify(n->ir, NULL, gap), &off) || off < 0) return false;
    expr_is_int(written.extent[dim], &size);
    return box_clip(n, to, t, false, &read, dim, size - off);
}

/* Does b read anything that a writes, and if so only within blocks? */
static bool follows(const struct nest *n, struct stmt *a, struct stmt *b, const struct touched *ta,
                    const struct touched *tb, bool *reads)
{
    const struct tensor *checked = NULL;
    *reads = false;
    for (size_t i = 0; i < ta->writes.n; i++)
        for (size_t k = 0; k < tb->reads.n; k++) {
            const struct tensor *t = ta->writes.p[i];
            if (t != tb->reads.p[k] || t == checked) continue;
            if (!within_block(n, a, b, t)) return false;
            *reads = true;
            checked = t;
        }
    return true;
}

/* ---- joining --------------------------------------------------------------------------------- */

static bool may_join(const struct nest *n, struct stmt *a, struct stmt *b)
{
    if (a->kind != ST_FOR || b->kind != ST_FOR || a->u.loop.kind != b->u.loop.kind) return false;
    bool plain = a->u.loop.kind == LOOP_SERIAL || a->u.loop.kind == LOOP_PARALLEL;
    if (!plain || a->u.loop.reduce || b->u.loop.reduce) return false;
    if (a->u.loop.ordered || b->u.loop.ordered) return false;
    if (a->u.loop.lo != b->u.loop.lo || a->u.loop.hi != b->u.loop.hi) return false;
    struct touched ta = {0}, tb = {0};
    stmt_walk(a, note_stmt, &ta);
    stmt_walk(b, note_stmt, &tb);
    bool reads, ok = !meet(&tb.writes, &ta.reads) && follows(n, a, b, &ta, &tb, &reads) &&
                     (reads || meet(&ta.writes, &tb.writes));
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

/* The last thing s does; a copy of an operand that stands before it is kept a little longer. */
static struct stmt *last_of(struct stmt *s)
{
    while (s->kind == ST_ALLOC || (s->kind == ST_BLOCK && s->u.block.n))
        s = s->kind == ST_ALLOC ? s->u.alloc.body : s->u.block.p[s->u.block.n - 1];
    return s;
}

static void join_neighbours(struct low *l, struct stmt *block)
{
    int kept = 0;
    struct stmt *last = NULL, *grown = NULL; /* before s; with others joined to it */
    if (block->kind != ST_BLOCK) return;
    for (int i = 0; i < block->u.block.n; i++) {
        struct stmt *s = block->u.block.p[i];
        if (last && may_join(l->n, last, s)) {
            join(l, last, s);
            grown = last;
            continue;
        }
        if (grown) join_neighbours(l, grown->u.loop.body);
        block->u.block.p[kept++] = s;
        last = last_of(s);
        grown = NULL;
    }
    if (grown) join_neighbours(l, grown->u.loop.body);
    block->u.block.n = kept;
}

enum rc pass_join(struct low *l)
{
    join_neighbours(l, l->n->body);
    return RC_OK;
}
