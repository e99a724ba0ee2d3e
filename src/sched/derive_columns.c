/* derive_columns: sums over the few neighbours of a group, and over much else.
 *
 *     mean[g] += x[p, g*4 + c]     over p and c in 0..4
 *
 * Lanes along c would be four wide, lanes along g would gather. So the columns are summed first,
 * all 32 of them side by side, and then the four of a group:
 *
 *     columns mean.c mean.g mean.col
 *
 *     mean.col[u] += x[p, u]       over p: vectors along u
 *     mean[g] += mean.col[g*4 + c]
 *
 * These steps come before all others of a derived text, and what follows is derived from the nest
 * that they leave.
 *
 * Invariants: only where whole vectors do not fit a group, every read that moves along c moves
 * along g so much faster, and something else is summed over MANY times; a step that is refused is
 * not written. */
#include <stdio.h>
#include <string.h>

#include "sched/derive.h"

enum { MANY = 8 };

static int64_t coef_of(const struct expr *e, const struct var *v)
{
    struct linear l;
    if (!expr_uses_var(e, v)) return 0;
    if (!linear_of(e, &l)) return INT64_MIN;
    int64_t coef = INT64_MIN; /* unless v is a term by itself */
    for (int i = 0; i < l.n; i++) {
        if (!expr_uses_var(l.atom[i], v)) continue;
        if (l.atom[i]->op != OP_VAR) return INT64_MIN;
        coef = l.coef[i];
    }
    return coef;
}

struct columns {
    const struct var *c, *g;
    int64_t each;
    int along; /* reads that run along c, from group to group */
    bool other;
};

static void look_load(const struct expr *e, void *ctx)
{
    struct columns *s = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    const struct tensor *t = e->u.tensor;
    for (int d = 0; d < t->rank; d++) {
        const struct expr *at = e->a[expr_load_first(e) + d];
        if (!expr_uses_var(at, s->c)) continue;
        bool joins = coef_of(at, s->c) == 1 && coef_of(at, s->g) == s->each;
        if (joins && d == t->rank - 1 && t->nlayout == 0)
            s->along++;
        else
            s->other = true;
    }
}

static bool runs_along(const struct stmt *leaf, const struct stmt *c, const struct stmt *g,
                       int64_t each)
{
    struct columns s = {.c = c->u.loop.var, .g = g->u.loop.var, .each = each};
    expr_walk(leaf->u.update.value[0], look_load, &s);
    return s.along && !s.other;
}

/* The step for this stage, if one is worth it. */
static bool find_step(struct stmt *stage, int64_t vector_bits, const struct stmt **c,
                      const struct stmt **g)
{
    struct stmt *own[48], *leaf = stage->kind == ST_STAGE ? stage_untouched(stage) : NULL;
    if (!leaf || leaf->kind != ST_UPDATE || leaf->u.update.n != 1) return false;
    int n = own_loops(leaf, own, (int)QN_COUNT(own));
    int64_t lanes =
        vector_bits / (8 * dtype_bytes((enum dtype)leaf->u.update.tensor[0]->type.dtype));
    int64_t terms = 1, each, groups;
    for (int i = 0; i < n; i++) {
        int64_t extent;
        if (!own[i]->u.loop.reduce) continue;
        terms = i64_min(1 << 20, terms * (loop_extent(own[i], &extent) ? extent : 1 << 10));
    }
    for (int i = 0; i < n; i++) {
        if (!own[i]->u.loop.reduce || !loop_extent(own[i], &each)) continue;
        if (each < 2 || each > 4 * lanes || each % lanes == 0 || terms / each < MANY) continue;
        for (int k = 0; k < n; k++) {
            if (own[k]->u.loop.reduce || !loop_extent(own[k], &groups) || groups < 2) continue;
            if (!runs_along(leaf, own[i], own[k], each)) continue;
            *c = own[i];
            *g = own[k];
            return true;
        }
    }
    return false;
}

static bool apply_step(struct nest *n, const struct stmt *stage, const struct stmt *c,
                       const struct stmt *g, struct buf *text)
{
    char name[NAME_MAX_LEN + 1];
    struct rejection r;
    struct step s = {.prim = PRIM_COLUMNS,
                     .n = 3,
                     .arg = {c->u.loop.var->name, g->u.loop.var->name, name}};
    int len = snprintf(name, sizeof name, "%s.col", stage->u.stage.name);
    if (len < 0 || (size_t)len >= sizeof name) return false;
    if (sched_apply_step(n, &s, &r) != RC_OK) return false;
    step_print(text, &s);
    buf_putc(text, '\n');
    return true;
}

struct nest *derive_columns(struct ir *ir, const struct nest *naive, int64_t vector_bits,
                            struct buf *text)
{
    struct nest *n = nest_clone(ir, naive);
    for (int i = 0; i < n->body->u.block.n; i++) {
        struct stmt *stage = n->body->u.block.p[i];
        const struct stmt *c, *g;
        if (n->body->u.block.n >= DERIVE_STAGES) break;
        if (find_step(stage, vector_bits, &c, &g) && apply_step(n, stage, c, g, text)) i++;
    }
    return n;
}
