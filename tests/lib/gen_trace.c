/* gen_trace: random schedules. Half of them propose anything anywhere, half follow the shape of a
 * real schedule (tile, move producers in, copy, mark). Every step is tried on a copy of the nest;
 * what is refused is counted and left out, so the trace that comes back is legal. See gen.h. */
#include <stdio.h>
#include <string.h>

#include "lib/gen.h"
#include "sched/private.h"

enum { LOOPS = 96, NAMES = 32 };

struct maker {
    struct rng *r;
    struct ir *ir;
    struct nest *w; /* the nest as scheduled so far */
    struct trace *t;
    struct gen_stats *st;
    const struct nest *naive;
    const struct gen_info *info;
    int fresh;
    char text[STEP_ARGS][NAME_MAX_LEN + 4];
};

static int64_t pick(struct maker *m, int64_t lo, int64_t hi) { return rng_range(m->r, lo, hi); }
static bool chance(struct maker *m, double p) { return rng_chance(m->r, p); }

static void name_to(char *out, const char *name)
{
    size_t n = strlen(name);
    QN_CHECK(n <= NAME_MAX_LEN, "the name %s", name);
    memmove(out, name, n + 1);
}

/* ---- trying ---------------------------------------------------------------------------------- */

/* Would the refused step have been right all the same? Only for refusals whose plan is complete. */
static void force(struct maker *m, const struct step *s, enum reject code)
{
    if (code != REJECT_REORDER_OVERLAP && code != REJECT_SPLIT_SHIFT &&
        code != REJECT_PARALLEL_OVERLAP)
        return;
    if (!chance(m, 0.25)) return;
    struct ir *ir = ir_new();
    struct nest *n = nest_clone(ir, m->w);
    struct rejection r = {0};
    struct plan p = {.n = n, .step = s, .r = &r};
    struct gen_result want, got;
    struct err e = {0};
    int64_t extent;
    bool applies = true;
    if (code == REJECT_REORDER_OVERLAP) legal_REORDER(&p), apply_REORDER(&p);
    if (code == REJECT_PARALLEL_OVERLAP) legal_PARALLEL(&p), apply_PARALLEL(&p);
    if (code == REJECT_SPLIT_SHIFT) {
        legal_SPLIT(&p);
        applies = loop_extent(p.loop[0], &extent) && extent >= p.factor;
        if (applies) apply_SPLIT(&p);
    }
    if (applies && gen_run(m->naive, 5, m->info, &want, &e) == RC_OK) {
        m->st->forced++;
        if (gen_run(n, 5, m->info, &got, &e) == RC_OK) {
            m->st->fine += gen_same(&want, &got);
            gen_result_free(&got);
        }
        gen_result_free(&want);
    }
    ir_free(ir);
}

static bool try_step(struct maker *m, enum prim prim, int n, const char *const *arg)
{
    struct step s = {.prim = prim, .n = n};
    struct rejection r;
    for (int i = 0; i < n; i++) s.arg[i] = arg[i];
    m->st->proposals++;
    if (sched_apply_step(m->w, &s, &r) == RC_OK) {
        trace_add(m->t, prim, n, arg);
        return true;
    }
    m->st->refused++;
    m->st->code[r.code]++;
    force(m, &s, r.code);
    return false;
}

static bool try1(struct maker *m, enum prim prim, const char *a)
{
    return try_step(m, prim, 1, (const char *[]){a});
}
static bool try2(struct maker *m, enum prim prim, const char *a, const char *b)
{
    return try_step(m, prim, 2, (const char *[]){a, b});
}

/* ---- what is there --------------------------------------------------------------------------- */

struct loops {
    struct stmt *p[LOOPS];
    int n;
    const struct stmt *below; /* NULL: all */
};

static bool find_loops(struct stmt *s, void *ctx)
{
    struct loops *l = ctx;
    if (s->kind == ST_FOR && l->n < LOOPS) l->p[l->n++] = s;
    return true;
}

static struct loops all_loops(struct maker *m)
{
    struct loops l = {.n = 0};
    stmt_walk(m->w->body, find_loops, &l);
    if (chance(m, 0.05)) stmt_walk(m->w->pack, find_loops, &l);
    return l;
}

static struct stmt *any_loop(struct maker *m)
{
    struct loops l = all_loops(m);
    return l.n ? l.p[pick(m, 0, l.n - 1)] : NULL;
}

static const char *name_of(const struct stmt *loop) { return loop->u.loop.var->name; }

static bool find_stages(struct stmt *s, void *ctx)
{
    struct loops *l = ctx;
    if (s->kind == ST_STAGE && l->n < LOOPS) l->p[l->n++] = s;
    return true;
}

static struct stmt *any_stage(struct maker *m)
{
    struct loops l = {.n = 0};
    stmt_walk(m->w->body, find_stages, &l);
    return l.n ? l.p[pick(m, 0, l.n - 1)] : NULL;
}

static const char *fresh(struct maker *m, int slot)
{
    snprintf(m->text[slot], sizeof m->text[slot], "l%d", m->fresh++);
    return m->text[slot];
}

static const char *number(struct maker *m, int slot, int64_t v)
{
    snprintf(m->text[slot], sizeof m->text[slot], "%d", (int)v);
    return m->text[slot];
}

static const char *any_tensor(struct maker *m)
{
    struct loops allocs = {.n = 0};
    if (m->w->ntensor == 0) return "none";
    (void)allocs;
    return m->w->tensor[pick(m, 0, m->w->ntensor - 1)]->name;
}

/* ---- single proposals ------------------------------------------------------------------------ */

static bool split_loop(struct maker *m, const struct stmt *loop, int64_t factor, const char *policy,
                       char *outer, char *inner)
{
    const char *o = fresh(m, 8), *i = fresh(m, 9);
    const char *arg[] = {name_of(loop), number(m, 7, factor), policy, o, i};
    if (!try_step(m, PRIM_SPLIT, 5, arg)) return false;
    if (outer) name_to(outer, o);
    if (inner) name_to(inner, i);
    return true;
}

static const char *random_policy(struct maker *m)
{
    return policy_names[pick(m, 0, POLICY_COUNT - 1)];
}

static int64_t random_factor(struct maker *m, const struct stmt *loop)
{
    static const int64_t common[] = {2, 3, 4, 5, 7, 8, 16};
    int64_t n;
    if (!loop_extent(loop, &n) || chance(m, 0.5)) return common[pick(m, 0, QN_COUNT(common) - 1)];
    return pick(m, 1, n + (chance(m, 0.2) ? 3 : 0));
}

static void propose_split(struct maker *m)
{
    struct stmt *loop = any_loop(m);
    if (loop) split_loop(m, loop, random_factor(m, loop), random_policy(m), NULL, NULL);
}

static void propose_reorder(struct maker *m)
{
    struct stmt *loop = any_loop(m);
    const char *arg[4];
    struct stmt *band[LOOPS];
    int n = 0, want = (int)pick(m, 2, 4), k = 0;
    if (!loop) return;
    for (struct stmt *s = loop; s->kind == ST_FOR && n < LOOPS; s = stmt_sole(s->u.loop.body))
        band[n++] = s;
    rng_shuffle(m->r, band, (size_t)n, sizeof band[0]);
    for (; k < want && k < n; k++) arg[k] = name_of(band[k]);
    if (k < 2 || chance(m, 0.05)) {
        struct stmt *other = any_loop(m);
        if (!other || k == 4) return;
        arg[k++] = name_of(other);
    }
    if (k >= 2) try_step(m, PRIM_REORDER, k, arg);
}

static void propose_fuse(struct maker *m)
{
    struct stmt *loop = any_loop(m);
    if (!loop) return;
    struct stmt *in = stmt_sole(loop->u.loop.body);
    if (in->kind != ST_FOR || chance(m, 0.1)) in = any_loop(m);
    try_step(m, PRIM_FUSE, 3, (const char *[]){name_of(loop), name_of(in), fresh(m, 0)});
}

static void random_order(struct maker *m, const struct tensor *t, const char **arg, int *n)
{
    int dim[REGION_RANK];
    if (!t || !chance(m, 0.4) || *n + 1 + t->rank > STEP_ARGS) return;
    for (int d = 0; d < t->rank; d++) dim[d] = d;
    rng_shuffle(m->r, dim, (size_t)t->rank, sizeof dim[0]);
    arg[(*n)++] = "order";
    for (int d = 0; d < t->rank; d++) arg[(*n)++] = number(m, d, dim[d]);
}

static const char *random_scope(struct maker *m)
{
    static const char *const scopes[] = {"scratch", "scratch", "stack", "reg"};
    return scopes[pick(m, 0, 3)];
}

static void propose_copy(struct maker *m, bool pack)
{
    struct stmt *loop = any_loop(m);
    const char *name = any_tensor(m), *arg[STEP_ARGS];
    int n = 0;
    for (int i = 0; i < 4 && pack; i++) { /* rather a constant */
        const struct tensor *t = nest_tensor(m->w, name);
        if (t && t->scope == SCOPE_CONST) break;
        name = any_tensor(m);
    }
    if (!loop) return;
    arg[n++] = name;
    arg[n++] = chance(m, 0.1) ? "." : name_of(loop);
    if (!pack) arg[n++] = strcmp(arg[1], ".") == 0 ? "scratch" : random_scope(m);
    random_order(m, nest_tensor(m->w, name), arg, &n);
    try_step(m, pack ? PRIM_PACK : PRIM_CACHE, n, arg);
}

static void propose_vector(struct maker *m)
{
    struct loops l = all_loops(m);
    if (l.n == 0) return;
    struct stmt *loop = l.p[l.n - 1 - pick(m, 0, i64_min(l.n - 1, 2))];
    char inner[NAME_MAX_LEN + 4];
    if (chance(m, 0.3)) {
        try1(m, PRIM_VECTORIZE, name_of(loop));
        return;
    }
    if (split_loop(m, loop, INT64_C(1) << pick(m, 1, 3), random_policy(m), NULL, inner))
        try1(m, PRIM_VECTORIZE, inner);
}

static void factor_reduction(struct maker *m, const char *stage);
static void group_columns(struct maker *m, const char *stage);

static void propose_any(struct maker *m)
{
    struct stmt *loop = any_loop(m), *stage = any_stage(m);
    if (!loop || !stage) return;
    switch (pick(m, 0, 25)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        propose_split(m);
        break;
    case 7:
    case 8:
    case 9:
        propose_reorder(m);
        break;
    case 10:
    case 11:
        propose_fuse(m);
        break;
    case 12:
    case 13:
        try_step(m, PRIM_COMPUTE_AT, 3,
                 (const char *[]){stage->u.stage.name, name_of(loop),
                                  chance(m, 0.7) ? "scratch" : "stack"});
        break;
    case 14:
        try1(m, PRIM_INLINE, stage->u.stage.name);
        break;
    case 15:
    case 16:
        propose_copy(m, false);
        break;
    case 17:
        propose_copy(m, true);
        break;
    case 18:
        try1(m, PRIM_PACK, stage->u.stage.name);
        break;
    case 19:
        propose_vector(m);
        break;
    case 20:
        try1(m, PRIM_UNROLL, name_of(loop));
        break;
    case 21:
        try1(m, PRIM_PARALLEL, name_of(loop));
        break;
    case 22:
        if (chance(m, 0.5))
            factor_reduction(m, stage->u.stage.name);
        else
            try2(m, PRIM_RFACTOR, name_of(loop), fresh(m, 0));
        break;
    case 23:
        group_columns(m, stage->u.stage.name);
        break;
    case 24:
        try2(m, PRIM_ACCUMULATE, stage->u.stage.name, fresh(m, 0));
        break;
    default:
        try2(m, PRIM_PREFETCH, any_tensor(m), name_of(loop));
        break;
    }
}

/* ---- schedules with a shape ------------------------------------------------------------------ */

/* Splits the pure loops of a stage's band and brings the outer halves outside. */
static int tile_stage(struct maker *m, struct stmt *stage, char outer[][NAME_MAX_LEN + 4])
{
    struct stmt *own[16];
    struct stmt *leaf = stage_leaf(stage);
    char name[32][NAME_MAX_LEN + 4], inner[NAMES][NAME_MAX_LEN + 4];
    int n = leaf ? own_loops(leaf, own, (int)QN_COUNT(own)) : 0, no = 0, ni = 0;
    for (int i = 0; i < n; i++) name_to(name[i], name_of(own[i]));
    bool reduce[16];
    for (int i = 0; i < n; i++) reduce[i] = own[i]->u.loop.reduce;
    for (int i = 0; i < n; i++) {
        struct stmt *loop = nest_loop(m->w, name[i]);
        const char *policy = random_policy(m);
        if (!reduce[i] && chance(m, 0.75) &&
            split_loop(m, loop, random_factor(m, loop), policy, outer[no], inner[ni])) {
            no++;
            ni++;
        } else if (reduce[i] || chance(m, 0.5)) {
            name_to(inner[ni++], name[i]);
        } else {
            name_to(outer[no++], name[i]);
        }
    }
    if (no + ni > STEP_ARGS || no + ni < 2) return no;
    const char *arg[STEP_ARGS];
    for (int i = 0; i < no; i++) arg[i] = outer[i];
    for (int i = 0; i < ni; i++) arg[no + i] = inner[i];
    if (no > 1) rng_shuffle(m->r, arg, (size_t)no, sizeof arg[0]);
    if (try_step(m, PRIM_REORDER, no + ni, arg)) {
        char kept[NAMES][NAME_MAX_LEN + 4];
        for (int i = 0; i < no; i++) name_to(kept[i], arg[i]);
        for (int i = 0; i < no; i++) name_to(outer[i], kept[i]);
    }
    return no;
}

/* A moved stage: reductions outside, the last pure loop in vectors, the others unrolled. */
static void shape_moved(struct maker *m, const char *name, bool reg)
{
    struct stmt *own[16], *stage = nest_stage(m->w, name), *leaf = stage ? stage_leaf(stage) : NULL;
    const char *arg[STEP_ARGS];
    char last[NAME_MAX_LEN + 4] = "", vec[NAME_MAX_LEN + 4], rest[NAME_MAX_LEN + 4];
    int n = leaf ? own_loops(leaf, own, (int)QN_COUNT(own)) : 0, k = 0;
    if (n == 0 || n > STEP_ARGS) return;
    for (int i = 0; i < n; i++)
        if (own[i]->u.loop.reduce) arg[k++] = name_of(own[i]);
    for (int i = 0; i < n; i++)
        if (!own[i]->u.loop.reduce) arg[k++] = name_of(own[i]);
    name_to(last, arg[n - 1]);
    if (n > 1 && (reg || chance(m, 0.8))) try_step(m, PRIM_REORDER, n, arg);
    struct stmt *loop = nest_loop(m->w, last);
    int64_t lanes = INT64_C(1) << pick(m, 1, 3), extent;
    bool known = loop_extent(loop, &extent);
    if (known && !loop->u.loop.reduce && (!reg || extent % lanes == 0) &&
        split_loop(m, loop, lanes, reg ? "exact" : random_policy(m), rest, vec)) {
        try1(m, PRIM_VECTORIZE, vec);
        if (reg) try1(m, PRIM_UNROLL, rest);
    }
    struct loops l = {.n = 0};
    stmt_walk(stage, find_loops, &l);
    for (int i = 0; i < l.n; i++)
        if (l.p[i]->u.loop.kind == LOOP_SERIAL && !l.p[i]->u.loop.reduce && (reg || chance(m, 0.3)))
            try1(m, PRIM_UNROLL, name_of(l.p[i]));
    if (chance(m, 0.4))
        for (int i = 0; i < l.n; i++)
            if (l.p[i]->u.loop.reduce && l.p[i]->u.loop.kind == LOOP_SERIAL) {
                char inner[NAME_MAX_LEN + 4];
                if (split_loop(m, l.p[i], pick(m, 2, 4), random_policy(m), NULL, inner))
                    try1(m, PRIM_UNROLL, inner);
                break;
            }
}

/* Everything serial and pure below the loop is marked, so that a register tile below it can
 * stand. */
static void mark_below(struct maker *m, const char *at)
{
    struct loops l = {.n = 0};
    struct stmt *loop = nest_loop(m->w, at);
    if (!loop) return;
    stmt_walk(loop->u.loop.body, find_loops, &l);
    for (int i = 0; i < l.n; i++)
        if (l.p[i]->u.loop.kind == LOOP_SERIAL && !l.p[i]->u.loop.reduce)
            try1(m, PRIM_UNROLL, name_of(l.p[i]));
}

static void vector_inside(struct maker *m)
{
    struct loops l = {.n = 0};
    stmt_walk(m->w->body, find_loops, &l);
    struct stmt *loop = l.n ? l.p[l.n - 1] : NULL;
    char inner[NAME_MAX_LEN + 4];
    if (loop && loop->u.loop.kind == LOOP_SERIAL &&
        split_loop(m, loop, INT64_C(1) << pick(m, 1, 3), random_policy(m), NULL, inner))
        try1(m, PRIM_VECTORIZE, inner);
}

/* Splits a reduce loop and makes one half a dimension of partial results. */
static void factor_reduction(struct maker *m, const char *stage)
{
    struct stmt *own[16], *leaf = stage_leaf(nest_stage(m->w, stage));
    int n = leaf ? own_loops(leaf, own, (int)QN_COUNT(own)) : 0;
    char half[2][NAME_MAX_LEN + 4];
    for (int i = n - 1; i >= 0; i--) {
        int64_t extent;
        if (!own[i]->u.loop.reduce || !loop_extent(own[i], &extent) || extent < 2) continue;
        if (split_loop(m, own[i],
                       chance(m, 0.8) ? pick(m, 2, i64_max(2, extent - 1))
                                      : random_factor(m, own[i]),
                       random_policy(m), half[0], half[1]))
            try2(m, PRIM_RFACTOR, half[pick(m, 0, 1)], fresh(m, 0));
        return;
    }
}

/* The last reduce loop and any pure one of an untouched stage. */
static void group_columns(struct maker *m, const char *stage)
{
    struct stmt *own[16], *leaf = stage_leaf(nest_stage(m->w, stage)), *pure[16], *last = NULL;
    int n = leaf ? own_loops(leaf, own, (int)QN_COUNT(own)) : 0, np = 0;
    for (int i = 0; i < n; i++) {
        if (own[i]->u.loop.reduce)
            last = own[i];
        else
            pure[np++] = own[i];
    }
    if (!last || !np) return;
    const char *group = name_of(pure[pick(m, 0, np - 1)]);
    try_step(m, PRIM_COLUMNS, 3, (const char *[]){name_of(last), group, fresh(m, 0)});
}

static void propose_shape(struct maker *m)
{
    char outer[NAMES][NAME_MAX_LEN + 4], stage[GEN_STAGES * 2][NAME_MAX_LEN + 4];
    struct nest *w = m->w;
    int n = 0;
    for (int i = 0; i < w->body->u.block.n && n < GEN_STAGES * 2; i++)
        name_to(stage[n++], w->body->u.block.p[i]->u.stage.name);
    for (int i = 0; i + 1 < n; i++) {
        if (chance(m, 0.5)) try1(m, PRIM_PACK, stage[i]);
        const struct stmt *leaf =
            nest_stage(w, stage[i]) ? stage_leaf(nest_stage(w, stage[i])) : NULL;
        if (leaf && chance(m, leaf->kind == ST_STORE ? 0.75 : 0.05)) try1(m, PRIM_INLINE, stage[i]);
        if (leaf && leaf->kind == ST_UPDATE && chance(m, 0.4)) group_columns(m, stage[i]);
        if (leaf && leaf->kind == ST_UPDATE && chance(m, 0.5)) factor_reduction(m, stage[i]);
        if (chance(m, 0.15)) try2(m, PRIM_ACCUMULATE, stage[i], fresh(m, 0));
    }
    int no = tile_stage(m, nest_stage(w, stage[n - 1]), outer);
    for (int i = n - 2; i >= 0 && no > 0; i--) {
        if (!nest_stage(w, stage[i]) || chance(m, 0.15)) continue;
        const char *at = outer[pick(m, 0, no - 1)], *scope = random_scope(m);
        bool reg = strcmp(scope, "reg") == 0;
        if (!try_step(m, PRIM_COMPUTE_AT, 3, (const char *[]){stage[i], at, scope})) continue;
        shape_moved(m, stage[i], reg);
        if (reg) mark_below(m, at);
    }
    if (chance(m, 0.7)) vector_inside(m);
    for (int i = (int)pick(m, 0, 2); i > 0; i--) propose_copy(m, chance(m, 0.5));
    if (chance(m, 0.2)) {
        struct loops l = all_loops(m);
        if (l.n) try1(m, PRIM_PARALLEL, name_of(l.p[0]));
    }
    for (int i = (int)pick(m, 0, 3); i > 0; i--) propose_any(m);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Cuts the trace until its whole is accepted; register tiles that stayed half done are the usual
 * reason. */
static void settle(struct maker *m)
{
    struct rejection r;
    for (int keep = m->t->n;; keep = keep > 4 ? keep * 3 / 4 : keep - 1) {
        struct ir *ir = ir_new();
        m->t->n = keep;
        bool ok = sched_apply(nest_clone(ir, m->naive), m->t, &r) == RC_OK;
        ir_free(ir);
        if (ok) return;
        m->st->finish_refused++;
        m->st->proposals++;
        m->st->refused++;
        m->st->code[r.code]++;
        QN_CHECK(keep > 0, "a naive nest is refused: %s", reject_name(r.code));
    }
}

struct trace *gen_trace(const struct nest *naive, const struct gen_info *info, struct rng *r,
                        struct gen_stats *stats)
{
    struct maker m = {.r = r,
                      .ir = ir_new(),
                      .t = trace_new("random"),
                      .st = stats,
                      .naive = naive,
                      .info = info};
    m.w = nest_clone(m.ir, naive);
    if (rng_chance(r, 0.55))
        propose_shape(&m);
    else
        for (int i = (int)rng_range(r, 6, 18); i > 0; i--) propose_any(&m);
    settle(&m);
    ir_free(m.ir);
    return m.t;
}
