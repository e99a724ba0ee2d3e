/* space_derive: a schedule space from the op's own structure, for any naive nest.
 *
 *     stage acc  (temp, reduction)     ->   computed in registers inside y's tile
 *     stage y    (output)              ->   tiled: vectors along its contiguous axis,
 *                                           rows along the next
 *
 * How: reductions over small groups are prepared (derive_columns.c). Then each stage gets a role
 * (constant: pack phase; host: tiled; guest: computed inside a host's tile; inlined). The
 * roles are written as a .sched text, read back, and tried: random choices are applied to copies of
 * the nest, and what is refused loses the feature that asked for it. The text that remains is a space
 * like a hand-written one, readable and printable.
 *
 * Invariants: terminates (each round removes a feature); the last text is the naive nest's own
 * trace; the same nest and facts give the same text. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "sched/derive.h"

enum { PROBES = 12, ROUNDS = 96, TEXT_MAX = 1 << 16 };

/* ---- roles ----------------------------------------------------------------------------------- */

static void count_readers(struct derive *d, struct dstage *s)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int nt = leaf_targets(s->leaf, target);
    s->output = false;
    s->readers = 0;
    for (int i = 0; i < nt; i++)
        if (target[i]->scope != SCOPE_TEMP) s->output = true;
    for (int j = 0; j < d->n; j++) {
        bool reads = false;
        for (int i = 0; i < nt; i++)
            reads |= &d->stage[j] != s && stmt_reads(d->stage[j].stmt, target[i]);
        if (!reads) continue;
        s->readers++;
        s->reader = j;
    }
}

static void find_constants(const struct expr *e, void *ctx)
{
    bool *constant = ctx;
    if (e->op != OP_LOAD && e->op != OP_LOADC) return;
    enum scope s = e->u.tensor->scope;
    if (s != SCOPE_CONST && s != SCOPE_TABLE) *constant = false;
}

static void constants_expr(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, find_constants, ctx);
}

static bool constants_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, constants_expr, ctx);
    return true;
}

static bool has_const_extents(const struct dstage *s)
{
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    int nt = leaf_targets(s->leaf, target);
    for (int i = 0; i < nt; i++)
        if (tensor_const_elements(target[i]) < 0) return false;
    return true;
}

static void give_role(struct derive *d, struct dstage *s)
{
    bool constant = true;
    stmt_walk(s->stmt, constants_stmt, &constant);
    count_readers(d, s);
    s->role = ROLE_HOST;
    s->host = -1;
    if (s->output) return;
    if (constant && has_const_extents(s))
        s->role = ROLE_CONST;
    else if (s->readers == 1 && stage_untouched(s->stmt) && s->leaf->kind == ST_STORE)
        s->role = ROLE_INLINE;
    else if (s->readers == 1 && stage_untouched(s->stmt))
        s->role = ROLE_GUEST;
}

/* Guests of guests live in the same tile; inlined stages pass their own guests on. Readers come
 * later in the order, so going backwards every reader's host is known. */
static void find_hosts(struct derive *d)
{
    for (int i = d->n - 1; i >= 0; i--) {
        struct dstage *s = &d->stage[i];
        s->host = -1;
        if (s->role != ROLE_GUEST && s->role != ROLE_INLINE) continue;
        const struct dstage *r = &d->stage[s->reader];
        if (s->reader <= i || r->role == ROLE_CONST)
            s->role = ROLE_HOST;
        else
            s->host = r->role == ROLE_HOST ? s->reader : r->host;
    }
}

/* ---- guests ---------------------------------------------------------------------------------- */

/* What of the host a guest's box depends on, through the inlined stages between them. */
struct reach {
    const struct derive *d;
    const struct dstage *at, *host; /* the stage whose reads are looked at */
    const struct tensor *t;         /* read there */
    int dim;                        /* of t, the only one that counts; -1: all */
    uint64_t used;                  /* axes of the host in the subscripts, by bit */
    int map[REGION_RANK];           /* dimension of t -> axis of the host; -1 none; -2 unset */
    bool plain, divides;
};

static void reach_reads(struct reach *r);

static int axis_of(const struct dstage *s, const struct var *v)
{
    for (int i = 0; i < s->nloop; i++)
        if (strcmp(s->axis[i].name, v->name) == 0 && !s->axis[i].reduce) return i;
    return -1;
}

/* A variable of an inlined stage stands for what its reader writes in that dimension. */
static void reach_subscript(struct reach *r, const struct expr *e)
{
    if (e->op == OP_DIV || e->op == OP_MOD) r->divides = true;
    for (int i = 0; i < e->n; i++) reach_subscript(r, e->a[i]);
    if (e->op != OP_VAR) return;
    int axis = axis_of(r->at, e->u.var);
    if (r->at == r->host) {
        if (axis >= 0) r->used |= UINT64_C(1) << axis;
        return;
    }
    if (axis < 0) return; /* a reduce loop: all of that dimension, wherever the host is */
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(r->at->leaf, target);
    struct reach up = *r;
    up.at = &r->d->stage[r->at->reader];
    up.t = target[0];
    up.dim = r->at->axis[axis].dim;
    reach_reads(&up);
    r->used |= up.used;
    r->divides |= up.divides;
}

static void reach_read(const struct expr *e, void *ctx)
{
    struct reach *r = ctx;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || e->u.tensor != r->t) return;
    for (int d = 0; d < r->t->rank; d++) {
        const struct expr *x = e->a[expr_load_first(e) + d];
        if (r->dim >= 0 && d != r->dim) continue;
        int axis = x->op == OP_VAR ? axis_of(r->at, x->u.var) : -1;
        if (axis < 0 || (r->map[d] != -2 && r->map[d] != axis)) r->plain = false;
        r->map[d] = axis;
        reach_subscript(r, x);
    }
}

static void reach_expr(const struct expr **slot, void *ctx) { expr_walk(*slot, reach_read, ctx); }

static bool reach_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, reach_expr, ctx);
    return true;
}

static void reach_reads(struct reach *r)
{
    for (int i = 0; i < REGION_RANK; i++) r->map[i] = -2;
    stmt_walk(r->at->stmt, reach_stmt, r);
}

static int64_t terms_of(const struct dstage *s)
{
    int64_t terms = 1;
    for (int i = 0; i < s->nloop; i++)
        if (s->axis[i].reduce) terms = i64_min(1 << 20, terms * s->axis[i].extent);
    return terms;
}

/* Would the guest be computed again and again, because loops of the host that it does not follow
 * are around its place? The order of the two tile loops can be chosen to its liking. */
static bool computed_again(const struct dstage *s, const struct dstage *host, uint64_t used)
{
    bool tiled =
        (host->vec >= 0 && (used >> host->vec & 1)) || (host->row >= 0 && (used >> host->row & 1));
    bool again = false, inside = !tiled;
    for (int i = host->nloop - 1; i >= 0; i--) {
        if (i == host->vec || i == host->row || host->axis[i].reduce) continue;
        if (used >> i & 1)
            inside = false;
        else
            again |= !inside && host->axis[i].extent > 1;
    }
    return again && terms_of(s) > 4;
}

/* Sums of many terms along vectors want a register tile, which a guest has only where its tile is
 * the host's: others would add up in memory, and had better be hosts. */
static bool wants_tile(const struct dstage *s)
{
    bool sum = s->leaf->kind == ST_UPDATE && s->leaf->u.update.n == 1;
    return sum && !s->plain && s->tile && s->lane < 0 && terms_of(s) > 16 && has_const_extents(s);
}

static void map_guest(struct derive *d, struct dstage *s)
{
    s->plain = s->uses_vec = s->uses_row = false;
    if (s->role != ROLE_GUEST) return;
    const struct dstage *host = &d->stage[s->host];
    struct tensor *target[UPDATE_TARGETS] = {NULL};
    leaf_targets(s->leaf, target);
    struct reach r = {
        .d = d, .at = &d->stage[s->reader], .host = host, .t = target[0], .dim = -1, .plain = true};
    reach_reads(&r);
    s->plain = r.plain && s->reader == s->host;
    for (int i = 0; i < s->nloop && s->plain; i++)
        s->axis[i].host = s->axis[i].reduce || s->axis[i].dim < 0 ? -1 : r.map[s->axis[i].dim];
    s->place = -1;
    if (derive_reduces_all(host) && derive_follows_reduction(s, host)) return;
    /* points that share what they read, and what is the same for many tiles: computed once */
    if (!host->tile || r.divides || r.used == 0 || computed_again(s, host, r.used) ||
        wants_tile(s)) {
        s->role = ROLE_HOST;
        return;
    }
    s->uses_vec = host->vec >= 0 && (r.used >> host->vec & 1);
    s->uses_row = host->row >= 0 && (r.used >> host->row & 1);
    for (int i = 0; i < host->nloop; i++)
        if (r.used >> i & 1) s->place = i;
}

/* ---- register tiles of reductions that stay -------------------------------------------------- */

/* A host that reduces is split by `accumulate`: the sum is computed in registers inside a tile of
 * what is then a copy. The new stage and its loops have the host's names with `.acc` behind the
 * stage's. */
static void make_accumulators(struct derive *d, struct arena *a)
{
    d->n = d->real;
    for (int i = 0; i < d->real; i++) {
        struct dstage *s = &d->stage[i];
        bool reduces = s->leaf->kind == ST_UPDATE && s->leaf->u.update.n == 1;
        if (s->role != ROLE_HOST || !s->tile || !s->acc || !reduces || !stage_untouched(s->stmt))
            continue;
        struct dstage *g = &d->stage[d->n++];
        *g = *s;
        g->name = arena_printf(a, "%s.acc", s->name);
        g->run = -1;
        g->role = ROLE_GUEST;
        g->host = g->reader = i;
        g->made = g->plain = g->uses_vec = true;
        g->uses_row = s->row >= 0;
        g->detail = s->acc_detail;
        g->reg = s->acc_reg;
        size_t prefix = strlen(s->name);
        s->nloop = 0;
        for (int k = 0; k < g->nloop; k++) {
            struct daxis *x = &g->axis[k];
            const char *old = x->name;
            bool named = strncmp(old, s->name, prefix) == 0 && old[prefix] == '.';
            x->name = arena_printf(a, "%s.%s", g->name, named ? old + prefix + 1 : old);
            bool leads = x->leads;
            x->host = -1;
            x->leads = false;
            if (x->reduce) continue;
            x->host = s->nloop;
            if (s->vec == k)
                s->vec = s->nloop;
            else if (s->row == k)
                s->row = s->nloop;
            s->axis[s->nloop] = *x;
            s->axis[s->nloop].leads = leads;
            s->axis[s->nloop++].name = old;
        }
        s->nreduce = 0;
        s->last_reduce = -1;
    }
}

/* ---- copies ---------------------------------------------------------------------------------- */

struct copies {
    struct derive *d;
    int stage;
};

static void find_copy(const struct expr *e, void *ctx)
{
    struct copies *c = ctx;
    struct derive *d = c->d;
    if ((e->op != OP_LOAD && e->op != OP_LOADC) || d->ncopy == DERIVE_COPIES) return;
    const struct tensor *t = e->u.tensor;
    bool constant = t->scope == SCOPE_CONST;
    if ((!constant && t->scope != SCOPE_IN) || t->rank < 2) return;
    int host = d->stage[c->stage].role == ROLE_HOST ? c->stage : d->stage[c->stage].host;
    if (host < 0 || !d->stage[host].tile) return;
    for (int i = 0; i < d->ncopy; i++)
        if (d->copy[i].t == t) return; /* one copy a tensor: a second would need another name */
    int turned = derive_turned(&d->stage[c->stage], e);
    d->copy[d->ncopy++] = (struct dcopy){t, host, constant, true, turned};
}

static void copies_expr(const struct expr **slot, void *ctx) { expr_walk(*slot, find_copy, ctx); }

static bool copies_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, copies_expr, ctx);
    return true;
}

static void find_copies(struct derive *d)
{
    d->ncopy = 0;
    for (int i = 0; i < d->n; i++) {
        struct copies c = {d, i};
        bool reduces =
            d->stage[i].leaf->kind == ST_UPDATE; /* only reductions reuse what they read */
        if (reduces && (d->stage[i].role == ROLE_GUEST || d->stage[i].role == ROLE_HOST))
            stmt_walk(d->stage[i].stmt, copies_stmt, &c);
    }
}

/* ---- trying ---------------------------------------------------------------------------------- */

/* The stage whose loops or copies a name belongs to: the longest stage name it begins with. */
static struct dstage *stage_of_name(struct derive *d, const char *name)
{
    struct dstage *best = NULL;
    for (int i = 0; i < d->n; i++) {
        size_t n = strlen(d->stage[i].name);
        if (strncmp(d->stage[i].name, name, n) == 0 && (name[n] == '.' || !name[n]) &&
            (!best || n > strlen(best->name)))
            best = &d->stage[i];
    }
    return best;
}

/* The finished schedule was refused: the register tile it names cannot be one. */
static bool weaken_tile(struct derive *d, const struct rejection *r)
{
    char name[NAME_MAX_LEN + 1] = "";
    sscanf(r->detail, "%*[^']'%60[^']", name);
    if (r->detail[0] == '\'') sscanf(r->detail, "'%60[^']", name);
    struct dstage *st = stage_of_name(d, name);
    if (st && st->made && d->stage[st->host].acc_reg)
        return d->stage[st->host].acc_reg = false, true;
    if (st && st->reg) return st->reg = false, true;
    return d->unrolls ? d->unrolls = false, true : false;
}

/* A split of blocks, or their reorder. */
static bool in_blocks(const struct derive *d, const struct step *s)
{
    if (!d->blocks_ok) return false;
    for (int i = 0; i < s->n; i++) {
        size_t n = strlen(s->arg[i]);
        if (n > 2 && strcmp(s->arg[i] + n - 2, "_b") == 0 && s->prim != PRIM_PARALLEL) return true;
    }
    return false;
}

/* The reorder that puts bands outside. */
static bool in_band(const struct derive *d, const struct dstage *st, const struct step *s)
{
    int axis = s->prim == PRIM_REORDER ? derive_band(d, (int)(st - d->stage)) : -1;
    if (axis < 0) return false;
    const char *name = st->axis[axis].name;
    size_t n = strlen(name);
    return strncmp(s->arg[0], name, n) == 0 && strcmp(s->arg[0] + n, "_o") == 0;
}

/* Takes away what asked for the refused step; false if nothing is left to take. */
static bool weaken(struct derive *d, const struct trace *t, const struct rejection *r)
{
    const struct step *s = r->step >= 0 ? &t->step[r->step] : NULL;
    struct dstage *st = s ? stage_of_name(d, s->arg[0]) : NULL;
    if (!s) return weaken_tile(d, r);
    if (s->prim == PRIM_CACHE || s->prim == PRIM_PACK)
        for (int i = 0; i < d->ncopy; i++)
            if (d->copy[i].on && strcmp(d->copy[i].t->name, s->arg[0]) == 0)
                return d->copy[i].on = false, true;
    if (!st) return false;
    if (st->made) { /* lives in its host's flags: it is made anew each round */
        struct dstage *host = &d->stage[st->host];
        if (st->lane >= 0)
            host->lane_ok = false;
        else if (host->acc_detail)
            host->acc_detail = false;
        else
            host->acc = false;
        return true;
    }
    if (in_blocks(d, s)) return d->blocks_ok = false, true;
    if (in_band(d, st, s)) return d->bands = false, true;
    if (s->prim == PRIM_ACCUMULATE && st->acc) return st->acc = false, true;
    if (s->prim == PRIM_PARALLEL && st->parallel) return st->parallel = false, true;
    if (s->prim == PRIM_INLINE && st->role == ROLE_INLINE) return st->role = ROLE_GUEST, true;
    if ((s->prim == PRIM_COMPUTE_AT || s->prim == PRIM_PACK) && st->role != ROLE_HOST)
        return st->role = ROLE_HOST, true;
    if (st->lane >= 0) return st->lane_ok = false, true;
    if (st->detail) return st->detail = false, true;
    if (st->may_tile) return st->may_tile = false, true;
    return false;
}

/* How many of the probes are legal; the first refusal weakens the derivation. */
static int probe(struct derive *d, const struct nest *naive, const struct space *sp, bool *weakened)
{
    struct rng rng;
    int legal = 0;
    rng_seed(&rng, 7);
    *weakened = false;
    for (int i = 0; i < PROBES; i++) {
        int choice[SPACE_KNOBS];
        for (int k = 0; k < space_knobs(sp); k++)
            choice[k] = i ? (int)rng_range(&rng, 0, space_knob_values(sp, k) - 1) : 0;
        struct trace *t = space_trace(sp, choice);
        if (!t) continue;
        struct ir *ir = ir_new();
        struct rejection r;
        bool ok = sched_apply(nest_clone(ir, naive), t, &r) == RC_OK;
        legal += ok;
        if (!ok && !*weakened) *weakened = weaken(d, t, &r);
        trace_free(t);
        ir_free(ir);
    }
    return legal;
}

/* From here on the axis of blocks is what is left of it inside a block. */
static void enter_blocks(struct derive *d, struct arena *a)
{
    for (int i = 0; i < d->real; i++) {
        struct dstage *s = &d->stage[i];
        if (s->run < 0 || s->role != ROLE_HOST) continue;
        for (int k = 0; k < s->nloop; k++) {
            struct daxis *x = &s->axis[k];
            if (x->var != s->block) continue;
            s->blocked = k;
            x->blocks = true;
            x->whole = x->name;
            x->name = arena_printf(a, "%s_r", x->name);
        }
    }
}

/* Into a tile, or into the turns of a reduction that has none. */
static bool takes_guest(const struct derive *d, const struct dstage *guest)
{
    const struct dstage *host = &d->stage[guest->host];
    return host->tile || (derive_reduces_all(host) && derive_follows_reduction(guest, host));
}

static void plan_roles(struct derive *d)
{
    d->n = d->real;
    for (int i = 0; i < d->n; i++) {
        derive_axes(d, &d->stage[i]);
        d->stage[i].tile = d->stage[i].tile && d->stage[i].may_tile && !derive_thin(d, i);
    }
    for (int i = d->n - 1; i >= 0; i--) { /* a guest of a guest may find a host nearer by */
        find_hosts(d);
        if (d->stage[i].role == ROLE_GUEST && !takes_guest(d, &d->stage[i]))
            d->stage[i].role = ROLE_HOST;
    }
    for (int i = 0; i < d->n; i++) { /* only a host reduces in turns */
        struct dstage *reader = &d->stage[d->stage[i].reader];
        if (d->stage[i].role == ROLE_GUEST && reader->role == ROLE_GUEST &&
            derive_reduces_dynamic(reader))
            reader->role = ROLE_HOST;
    }
    find_hosts(d);
    for (int i = d->n - 1; i >= 0; i--) {
        map_guest(d, &d->stage[i]);
        find_hosts(d); /* some guests become hosts, and have guests then */
    }
    /* In turns, a row is not there at once, and the sums are the host's own. */
    for (int i = 0; i < d->n; i++)
        if (derive_in_turns(d, i)) d->stage[i].lane_ok = d->stage[i].acc = false;
}

static void plan_all(struct derive *d, struct arena *a)
{
    for (int i = 0; i < d->real; i++) d->stage[i].run = -1;
    plan_roles(d);
    for (int again = 0; again < 2 && d->blocks_ok; again++) { /* guests of thin hosts are hosts */
        derive_blocks(d);
        plan_roles(d);
    }
    make_accumulators(d, a);
    enter_blocks(d, a);
}

static double tensor_bytes(const struct derive *d, const struct tensor *t, const struct facts *f)
{
    double n = dtype_bytes((enum dtype)t->type.dtype);
    for (int i = 0; i < t->rank; i++) {
        int64_t v = d->dynamic;
        const struct expr *e = t->extent[i];
        if (!expr_is_int(e, &v) && e->op == OP_VAR) facts_get(f, e->u.var->name, &v);
        n *= (double)v;
    }
    return n;
}

/* How far the data are from the core. */
static void weigh(struct derive *d, const struct nest *naive, const struct facts *f)
{
    double in = 0, out = 0;
    int64_t l1 = 32 << 10, l2 = 256 << 10;
    facts_get(f, "target.l1", &l1);
    facts_get(f, "target.l2", &l2);
    for (int i = 0; i < naive->ntensor; i++) {
        const struct tensor *t = naive->tensor[i];
        if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST) in += tensor_bytes(d, t, f);
        if (t->scope == SCOPE_OUT) out += tensor_bytes(d, t, f);
    }
    d->spills = in + out > (double)l1;
    d->far = in + out > (double)l2;
    d->past = out > 4 * (double)l2;
}

static void find_deep(const struct expr *e, void *ctx)
{
    if (e->op >= OP_EXP && e->op <= OP_COS) *(bool *)ctx = true;
}

static void find_deep_slot(const struct expr **slot, void *ctx)
{
    expr_walk(*slot, find_deep, ctx);
}

static int64_t vector_bits_of(const struct facts *f)
{
    int64_t v;
    return facts_get(f, "target.vector_bits", &v) && v >= 32 ? v : 128;
}

static void derive_init(struct derive *d, const struct nest *naive, const struct facts *f)
{
    int64_t v;
    d->vector_bits = vector_bits_of(f);
    d->vregs = facts_get(f, "target.vregs", &v) && v >= 4 ? v : 16;
    d->threads = facts_get(f, "threads", &v) ? v : 1;
    d->dynamic = 1024;
    d->unrolls = d->blocks_ok = d->bands = true;
    weigh(d, naive, f);
    for (int i = 0; i < naive->body->u.block.n && d->n < DERIVE_STAGES; i++) {
        struct stmt *s = naive->body->u.block.p[i];
        struct stmt *leaf = s->kind == ST_STAGE ? stage_leaf(s) : NULL;
        if (!leaf) continue;
        stmt_exprs(leaf, find_deep_slot, &d->deep);
        d->stage[d->n++] = (struct dstage){.stmt = s,
                                           .leaf = leaf,
                                           .name = s->u.stage.name,
                                           .parallel = d->threads > 1,
                                           .detail = true,
                                           .may_tile = true,
                                           .acc = true,
                                           .acc_detail = true,
                                           .reg = true,
                                           .lane_ok = true,
                                           .acc_reg = true};
    }
    d->real = d->n;
    for (int i = 0; i < d->n; i++) give_role(d, &d->stage[i]);
    plan_all(d, naive->ir->arena);
    find_copies(d);
}

enum rc space_derive(const struct nest *naive, const char *algorithm, const struct facts *f,
                     struct space **out, struct err *e)
{
    struct derive *d = mem_new(sizeof *d);
    struct facts *none = mem_new(sizeof *none);
    struct ir *ir = ir_new();
    struct buf text, first;
    enum rc rc = RC_INTERNAL;
    buf_init(&text, TEXT_MAX);
    buf_init(&first, TEXT_MAX);
    const struct nest *prepared = derive_columns(ir, naive, vector_bits_of(f), &first);
    derive_init(d, prepared, f);
    for (int round = 0; round < ROUNDS; round++) {
        bool weakened = false;
        buf_reset(&text);
        if (round == ROUNDS - 1) d->real = 0; /* the naive nest itself */
        plan_all(d, ir->arena);
        derive_text(d, algorithm, d->real ? first.p : "", &text);
        rc = space_parse("(derived)", text.p, text.n, none, out,
                         e); /* numbers stand in the text: no fact can clash */
        if (rc != RC_OK) break;
        int legal = probe(d, naive, *out, &weakened);
        if (!weakened || (legal >= PROBES - 2 && round > ROUNDS / 2)) break;
        space_free(*out);
        *out = NULL;
    }
    if (*out) space_set_text(*out, text.p, text.n);
    QN_CHECK(rc == RC_OK, "a derived space does not read: %s\n%s", e ? e->msg : "", text.p);
    buf_fini(&text);
    buf_fini(&first);
    ir_free(ir);
    mem_free(d);
    mem_free(none);
    return rc;
}
