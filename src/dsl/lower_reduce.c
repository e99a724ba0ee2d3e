/* lower_reduce: sum(k:K) e and its kin become a stage of their own.
 *
 *     y[m,n] = max(sum(k:K) a[m,k] * b[k,n], 0)
 *     ->  stage y.sum: y.sum[m,n] += a[m,k] * b[k,n]    stage y: y[m,n] = max(y.sum[m,n], 0)
 *
 * The temp has a dimension for each outer index the body really uses, in their order, so softmax's
 * row maximum is y.max[m]. Equal reductions of one equation are computed once. argmax keeps two
 * temps, the value and the index (`.at`), and ties go to the lowest index; over several indices it
 * is the row-major one.
 *
 * Invariant: a stage is appended before the stage that reads it. */
#include <stdio.h>
#include <string.h>

#include "dsl/lower_int.h"

static enum reduce reduce_of(const char *name)
{
    static const char *const NAMES[] = {"sum", "prod",   "max",    "min",
                                        "any", "argmax", "argmin", "reduce"};
    int i = 0;
    while (strcmp(NAMES[i], name) != 0) i++;
    return (enum reduce)i;
}

static bool is_named(const struct loopv *loop, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(loop[i].var->name, name) == 0) return true;
    return false;
}

/* stage.index. Through a def two indices of one name may meet in a stage: the later is
 * stage.index#2. */
static struct loopv make_loop(struct lower *L, const char *stage, const struct loopv *like,
                              const struct reduced *r, const struct loopv *pure, int npure)
{
    struct loopv l = *like;
    const char *name = arena_printf(L->ir->arena, "%s.%s", stage, like->name);
    for (int i = 2; is_named(r->loop, r->nloop, name) || is_named(pure, npure, name); i++)
        name = arena_printf(L->ir->arena, "%s.%s#%d", stage, like->name, i);
    l.var = var_new(L->ir, name, type_of(TYPE_S64));
    return l;
}

/* The name of a combine's parameter, which hides an index: (a, b), (c, d) -> ... in reduce(c:C). */
static const char *param_name(struct lower *L, const struct reduced *r, const char *stage,
                              const char *name)
{
    bool hides = false;
    for (int i = 0; i < L->eq->nloop; i++) hides |= strcmp(L->eq->loop[i].name, name) == 0;
    for (int i = 0; i < r->nloop; i++) hides |= strcmp(r->loop[i].name, name) == 0;
    return arena_printf(L->ir->arena, "%s.%s%s", stage, name, hides ? "#2" : "");
}

/* Row-major number of the reduced element: the index of argmax. */
static const struct expr *element_index(struct lower *L, const struct reduced *r)
{
    const struct expr *at = expr_int(L->ir, 0);
    for (int i = 0; i < r->nloop; i++) {
        const struct expr *size = expr_sub(L->ir, r->loop[i].hi, r->loop[i].lo);
        bool plain = r->nloop == 1; /* one index: its own value */
        const struct expr *v = expr_var(L->ir, r->loop[i].var);
        at = plain ? v
                   : expr_add(L->ir, expr_mul(L->ir, at, size), expr_sub(L->ir, v, r->loop[i].lo));
    }
    return at;
}

static bool lower_combine(struct lower *L, const struct node *n, struct reduced *r,
                          const char *stage)
{
    struct binding side[2 * DSL_TARGETS];
    const struct binding *env = NULL;
    for (int i = 0; i < 2 * r->n; i++) {
        int k = i % r->n;
        const char *name = i < r->n ? n->lhs[k] : n->rhs[k];
        const struct var *v = var_new(L->ir, param_name(L, r, stage, name), r->value[k]->type);
        *(i < r->n ? &r->lhs[k] : &r->rhs[k]) = v;
        side[i] = (struct binding){name, {.kind = LOW_TYPED, .e = expr_var(L->ir, v)}, env};
        env = &side[i];
    }
    for (int i = 0; i < r->n; i++) {
        struct low c, id;
        enum dtype d = (enum dtype)r->value[i]->type.dtype;
        if (!lower_node(L, n->a[r->n + i], env, &c) ||
            !low_to_type(L, n->a[r->n + i], &c, d, &r->combine[i]))
            return false;
        if (!lower_node(L, n->a[2 * r->n + i], NULL, &id) ||
            !low_to_type(L, n->a[2 * r->n + i], &id, d, &r->identity[i]))
            return false;
        if (r->identity[i]->op != OP_INT && r->identity[i]->op != OP_REAL)
            return low_fail(L, n->a[2 * r->n + i], "dsl.identity",
                            "the identity of a reduction is a known number");
    }
    return true;
}

static bool check_value(struct lower *L, const struct node *n, enum reduce op, enum dtype d)
{
    if (op == RED_ANY ? d == TYPE_B1 : op == RED_USER || d != TYPE_B1) return true;
    if (op != RED_ANY)
        return low_fail(L, n, "dsl.type", "%s(...) does not take %s", n->name, dtype_name(d));
    struct buf whole, body; /* any(c:C) x[c] > 0 is (any(c:C) x[c]) > 0 */
    buf_init(&whole, 400);
    buf_init(&body, 400);
    node_print(&whole, n, 0);
    node_print(&body, n->a[0], oper_infos[OPER_MUL].level);
    int head = (int)(whole.n > body.n ? whole.n - body.n : 0);
    low_fail(L, n, "dsl.type",
             "any(...) takes a comparison, not %s, and the comparison stands in parentheses: "
             "%.*s(%s > ...)",
             dtype_name(d), head, whole.p, body.p);
    buf_fini(&whole);
    buf_fini(&body);
    return false;
}

bool reduce_body(struct lower *L, const struct node *n, const struct binding *env,
                 const char *stage, enum dtype index_type, enum dtype want, struct reduced *out)
{
    *out = (struct reduced){.node = n, .op = reduce_of(n->name), .n = n->ntuple};
    struct equation *eq = L->eq;
    int outer = eq->nloop;
    for (int i = 0; i < n->nrange; i++) {
        struct loopv l = {.name = n->range[i].name, .reduce = true};
        int64_t lo = 0, hi = 0;
        if (!lower_range(L, &n->range[i], &l.lo, &l.hi, &lo, &hi)) return false;
        if (eq->nloop == LOOPS_MAX)
            return low_fail(L, n, "dsl.limit", "more than %d loops around one value", LOOPS_MAX);
        l = make_loop(L, stage, &l, out, NULL, 0);
        out->loop[out->nloop++] = eq->loop[eq->nloop++] = l;
        struct binding *b = ARENA_NEW(L->ir->arena, struct binding);
        *b = (struct binding){l.name,
                              {.kind = LOW_TYPED, .e = expr_var(L->ir, out->loop[i].var)},
                              env};
        env = b;
    }
    for (int i = 0; i < n->ntuple; i++) {
        struct low v;
        if (!lower_node(L, n->a[i], env, &v)) return false;
        if (v.kind != LOW_TYPED && want != TYPE_COUNT
                ? !low_to_type(L, n->a[i], &v, want, &out->value[i])
                : !low_to_typed(L, n->a[i], &v, &out->value[i]))
            return false;
        if (!check_value(L, n, out->op, (enum dtype)out->value[i]->type.dtype)) return false;
    }
    eq->nloop = outer;
    if (out->op == RED_ARGMAX || out->op == RED_ARGMIN) {
        out->value[1] = expr_cast(L->ir, type_of(index_type == TYPE_COUNT ? TYPE_S32 : index_type),
                                  CAST_PLAIN, element_index(L, out));
        out->n = 2;
    }
    return out->op != RED_USER || lower_combine(L, n, out, stage);
}

void reduce_emit(struct lower *L, const struct reduced *r, const char *stage,
                 const struct loopv *pure, int npure, struct tensor *const *target,
                 const struct expr *const *idx)
{
    struct stmt *s = stmt_update(L->ir, r->op, target[0], idx, r->value[0]);
    s->u.update.n = r->n;
    for (int i = 0; i < r->n; i++) {
        s->u.update.tensor[i] = target[i];
        s->u.update.value[i] = r->value[i];
        s->u.update.lhs[i] = r->lhs[i];
        s->u.update.rhs[i] = r->rhs[i];
        s->u.update.combine[i] = r->combine[i];
        s->u.update.identity[i] = r->identity[i];
    }
    for (int i = r->nloop - 1; i >= 0; i--) {
        s = stmt_for(L->ir, r->loop[i].var, r->loop[i].lo, r->loop[i].hi, s);
        s->u.loop.reduce = true;
    }
    for (int i = npure - 1; i >= 0; i--)
        s = stmt_for(L->ir, pure[i].var, pure[i].lo, pure[i].hi, s);
    block_append(L->ir, L->nest->body, stmt_stage(L->ir, stage, s));
}

/* The index lies where the loops ran. Where nothing was larger than nothing, all reals being NaN, it
 * is the largest number of its type: memory-safe only with a limit where it becomes a subscript. */
void reduce_range(struct lower *L, const struct reduced *r, struct declared *index)
{
    int64_t first = 0, count = 1, lo = 0, hi = 0;
    enum dtype d = (enum dtype)r->value[1]->type.dtype;
    for (int i = 0; i < r->nloop; i++) {
        if (!expr_is_int(r->loop[i].lo, &lo) || !expr_is_int(r->loop[i].hi, &hi)) return;
        if (hi <= lo || __builtin_mul_overflow(count, hi - lo, &count)) return;
    }
    if (r->nloop == 1) first = lo;
    int64_t most = low_int_max(d), end = first + count;
    if (first < 0 || end > most) return;
    bool lost = dtype_is_float((enum dtype)r->value[0]->type.dtype);
    if (lost) index->last = expr_int(L->ir, end - 1);
    if (index->lo) return; /* declared */
    index->lo = expr_int(L->ir, first);
    index->hi = expr_int(L->ir, !lost ? end : most == INT64_MAX ? most : most + 1);
}

/* ---- through temps --------------------------------------------------------------------------- */

static bool uses(const struct reduced *r, const struct var *v)
{
    for (int i = 0; i < r->n; i++)
        if (expr_uses_var(r->value[i], v)) return true;
    return false;
}

static void substitute(struct lower *L, struct reduced *r, const struct var *v,
                       const struct var *by)
{
    for (int i = 0; i < r->n; i++)
        r->value[i] = expr_subst(L->ir, r->value[i], v, expr_var(L->ir, by));
}

/* y.sum, y.sum2, ...; a tensor of that name may exist already */
static const char *stage_name(struct lower *L, const char *base, const char *kind, int count)
{
    char name[4 * DSL_NAME];
    do {
        if (count == 1)
            snprintf(name, sizeof name, "%s.%s", base, kind);
        else
            snprintf(name, sizeof name, "%s.%s%d", base, kind, count);
        count++;
    } while (find_declared(L, name));
    return arena_strdup(L->ir->arena, name);
}

static bool same_env(const struct binding *a, const struct binding *b)
{
    for (; a && b && a != b; a = a->up, b = b->up) {
        if (strcmp(a->name, b->name) != 0 || a->v.kind != b->v.kind) return false;
        if (a->v.kind == LOW_VALUE ? !value_equal(&a->v.v, &b->v.v) : a->v.e != b->v.e)
            return false;
    }
    return a == b;
}

static struct done_reduce *find_done(struct equation *eq, const struct node *n,
                                     const struct binding *env)
{
    for (int i = 0; i < eq->ndone; i++)
        if (same_env(eq->done[i].env, env) && node_equal(eq->done[i].node, n)) return &eq->done[i];
    return NULL;
}

static const char *temp_name(struct lower *L, const char *stage, const char *const *names,
                             const char *kind, int i, bool arg)
{
    if (i == 0) return stage;
    if (names) return stage_name(L, names[i], kind, 1);
    return arg ? arena_printf(L->ir->arena, "%s.at", stage)
               : arena_printf(L->ir->arena, "%s.%d", stage, i);
}

bool reduce_to_temps(struct lower *L, const struct node *n, const struct binding *env,
                     const char *const *names, int nnames, struct low *out)
{
    struct equation *eq = L->eq;
    struct done_reduce *old = names ? NULL : find_done(eq, n, env);
    struct reduced r;
    enum reduce op = reduce_of(n->name);
    bool arg = op == RED_ARGMAX || op == RED_ARGMIN;
    if (old) {
        *out = (struct low){.kind = LOW_TYPED, .e = old->load[arg ? 1 : 0]};
        return true;
    }
    const char *stage = stage_name(L, names ? names[0] : eq->stage, n->name, ++eq->made[op]);
    struct declared *hold = add_declared(L, stage, NULL); /* nested reductions take other names */
    if (!hold) return low_fail(L, n, "dsl.limit", "more than %d tensors", TENSORS_MAX);
    if (!reduce_body(L, n, env, stage, TYPE_COUNT, TYPE_COUNT, &r)) return false;
    struct loopv pure[LOOPS_MAX];
    const struct expr *extent[LOOPS_MAX], *idx[LOOPS_MAX], *at[LOOPS_MAX];
    int npure = 0;
    for (int i = 0; i < eq->nloop; i++) {
        const struct loopv *l = &eq->loop[i];
        if (!uses(&r, l->var)) continue;
        if (npure == TASK_RANK)
            return low_fail(L, n, "dsl.limit", "a reduction inside more than %d indices",
                            TASK_RANK);
        pure[npure] = make_loop(L, stage, l, &r, pure, npure);
        substitute(L, &r, l->var, pure[npure].var);
        extent[npure] = expr_sub(L->ir, l->hi, l->lo);
        idx[npure] = expr_sub(L->ir, expr_var(L->ir, pure[npure].var), l->lo);
        at[npure++] = expr_sub(L->ir, expr_var(L->ir, l->var), l->lo);
    }
    struct done_reduce done = {.node = n, .env = env};
    for (int i = 0; i < r.n; i++) {
        const char *name = temp_name(L, stage, names, n->name, i, arg);
        struct tensor *t = tensor_new(L->ir, name, r.value[i]->type, SCOPE_TEMP, npure, extent);
        struct declared *d = i == 0 ? hold : add_declared(L, name, t);
        if (!d) return low_fail(L, n, "dsl.limit", "more than %d tensors", TENSORS_MAX);
        d->tensor = t;
        d->complete = true;
        if (arg && i == 1) reduce_range(L, &r, d);
        nest_add_tensor(L->nest, t);
        done.tensor[i] = t;
        done.load[i] = expr_load(L->ir, t, at, npure);
    }
    reduce_emit(L, &r, stage, pure, npure, done.tensor, idx);
    if (!names && eq->ndone < DONE_MAX) eq->done[eq->ndone++] = done;
    for (int i = 0; i < (names ? nnames : 1); i++)
        out[i] = (struct low){.kind = LOW_TYPED, .e = done.load[names ? i : arg ? 1 : 0]};
    return true;
}

bool lower_reduce(struct lower *L, const struct node *n, const struct binding *env, struct low *out)
{
    if (n->ntuple > 1)
        return low_fail(
            L, n, "dsl.tuple",
            "a reduction of a tuple is a whole right side: (a[...], b[...]) = reduce(...)");
    return reduce_to_temps(L, n, env, NULL, 0, out);
}
