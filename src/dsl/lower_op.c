/* lower_op: a task and an algorithm become the naive nest, equation by equation.
 *
 *     y[n,p,q,k] = acc[n,p,q,k] + b[k]    ->  stage y
 *                                               for y.n in 0..1
 *                                                 ...
 *                                                   y[y.n, y.p, y.q, y.k] = acc[...] + b[y.k]
 *
 * Order: declared tensors, then temps and tables as the text meets them; stages in the order of the
 * text, a stage's inner reductions before it. A whole right side that is one reduction goes
 * straight into a temp target of its type; an out target gets a temp `y.sum` and a stage that
 * copies, so that every schedule finds the accumulation apart from the store.
 *
 * Invariants: every equation's pieces are covered and every read is proved (cover.c, lower_read.c)
 * before the nest is handed out; dyn extents are variables, all else is constant. */
#include <inttypes.h>
#include <string.h>

#include "dsl/lower_int.h"

enum { EXPR_BUDGET = 1 << 18 };

/* ---- equations ------------------------------------------------------------------------------- */

/* A temp that its equation declares: one dimension an index, from 0. */
static struct declared *implicit_temp(struct lower *L, const struct item *it, int ref,
                                      const struct left *left, struct type type)
{
    const struct ref_item *r = &it->ref[ref];
    const struct expr *ext[TASK_RANK];
    struct declared *d = add_declared(L, r->name, NULL);
    if (!d) {
        low_fail(L, it->value, "dsl.limit", "more than %d tensors", TENSORS_MAX);
        return NULL;
    }
    for (int i = 0; i < r->n; i++) {
        ext[i] = L->eq->loop[i].hi;
        d->extent[i] = left->hi[i];
        int64_t ignored;
        d->dyn[i] = !expr_is_int(ext[i], &ignored);
        if (left->lo[i] != 0) {
            low_fail(L, r->sub[i].e, "dsl.undeclared",
                     "declare temp %s[...]: a temp declared by its equation starts at 0", r->name);
            return NULL;
        }
    }
    d->tensor = tensor_new(L->ir, r->name, type, SCOPE_TEMP, r->n, ext);
    d->item = NULL;
    d->equations = 1;
    if (!tensor_bytes(L, it, r->name, d->tensor, d->extent)) return NULL;
    nest_add_tensor(L->nest, d->tensor);
    return d;
}

static bool append_store(struct lower *L, const struct item *it, int ref, const struct left *left,
                         struct tensor *t, const struct low *v, const char *stage)
{
    const struct expr *e;
    enum dtype d = (enum dtype)t->type.dtype;
    bool narrow = d == TYPE_F16 || d == TYPE_BF16;
    if (!low_to_type(L, it->value, v, narrow && v->kind == LOW_TYPED ? TYPE_F32 : d, &e))
        return false;
    if (narrow && e->type.dtype == TYPE_F32) e = expr_cast(L->ir, type_of(d), CAST_PLAIN, e);
    struct stmt *s = stmt_store(L->ir, t, left->idx[ref], e);
    for (int i = L->eq->nloop - 1; i >= 0; i--) {
        s = stmt_for(L->ir, L->eq->loop[i].var, L->eq->loop[i].lo, L->eq->loop[i].hi, s);
        s->u.loop.ordered = i == L->eq->scan;
    }
    block_append(L->ir, L->nest->body, stmt_stage(L->ir, stage, s));
    return true;
}

static bool finish_piece(struct lower *L, const struct item *it, int ref, const struct left *left)
{
    struct declared *d = find_declared(L, it->ref[ref].name);
    if (!cover_piece(L, it, ref, d, L->eq->loop, L->eq->nloop, left->lo, left->hi)) return false;
    if (d->npiece < d->equations) return true;
    if (!cover_complete(L, d)) return false;
    d->complete = true;
    return true;
}

static bool is_temp(const struct declared *d)
{
    return !d || !d->tensor || d->tensor->scope == SCOPE_TEMP;
}

/* Can the reduction run in its targets? Temps only, of a type it can be carried in. */
static bool goes_direct(struct lower *L, const struct item *it)
{
    const struct node *v = it->value;
    bool arg = v->kind == NODE_REDUCE && strncmp(v->name, "arg", 3) == 0;
    if (it->scan) return false;
    if (v->kind != NODE_REDUCE || it->nref != (arg ? 2 : v->ntuple)) return false;
    for (int i = 0; i < it->nref; i++) {
        const struct declared *d = find_declared(L, it->ref[i].name);
        if (!is_temp(d)) return false;
        if (d && d->tensor &&
            (d->tensor->type.dtype == TYPE_F16 || d->tensor->type.dtype == TYPE_BF16))
            return false;
    }
    return true;
}

static bool lower_direct(struct lower *L, const struct item *it, const struct left *left)
{
    struct reduced r;
    struct tensor *target[DSL_TARGETS];
    const struct declared *first = find_declared(L, it->ref[0].name),
                          *second = it->nref > 1 ? find_declared(L, it->ref[1].name) : NULL;
    enum dtype want = first && first->tensor ? (enum dtype)first->tensor->type.dtype : TYPE_COUNT;
    enum dtype index =
        second && second->tensor ? (enum dtype)second->tensor->type.dtype : TYPE_COUNT;
    if (index != TYPE_COUNT && strncmp(it->value->name, "arg", 3) == 0 && !dtype_is_int(index))
        return low_fail(L, it->value, "dsl.type", "the index of %s is an integer; '%s' is %s",
                        it->value->name, second->name, dtype_name(index));
    if (!reduce_body(L, it->value, left->env, L->eq->stage, index, want, &r)) return false;
    for (int i = 0; i < it->nref; i++) {
        struct declared *d = find_declared(L, it->ref[i].name);
        if (!d) d = implicit_temp(L, it, i, left, r.value[i]->type);
        if (!d) return false;
        target[i] = d->tensor;
        if (i == 1 && strncmp(it->value->name, "arg", 3) == 0 && d->equations == 1)
            reduce_range(L, &r, d);
        if (!type_eq(d->tensor->type, r.value[i]->type))
            return low_fail(L, it->value, "dsl.type", "this reduction gives %s and '%s' is %s",
                            dtype_name((enum dtype)r.value[i]->type.dtype), d->name,
                            dtype_name((enum dtype)d->tensor->type.dtype));
    }
    reduce_emit(L, &r, L->eq->stage, L->eq->loop, L->eq->nloop, target, left->idx[0]);
    return true;
}

/* i[n] = argmax(c:C) x[n,c]: what is known about the values on the right holds for i. */
static void carry_range(struct lower *L, const struct item *it, struct declared *d,
                        const struct expr *value)
{
    const struct expr *load = load_in(value);
    const struct declared *from = load ? declared_of(L, load->u.tensor) : NULL;
    enum dtype to = (enum dtype)d->tensor->type.dtype;
    if (!from || !from->lo || d->equations != 1 || it->scan || !dtype_is_int(to)) return;
    struct env *env = lower_env(L);
    bool fits = low_int_fits(to, expr_range(env, from->lo).lo) &&
                low_int_fits(to, i64_max(expr_range(env, from->hi).hi, 1) - 1);
    if (!fits) return; /* it may wrap */
    d->last = from->last;
    if (d->lo) return; /* declared */
    d->lo = from->lo;
    d->hi = from->hi;
}

static bool lower_stored(struct lower *L, const struct item *it, const struct left *left)
{
    struct low v[DSL_TARGETS];
    const char *names[DSL_TARGETS];
    const struct expr *e;
    int given = it->value->kind == NODE_REDUCE ? it->value->ntuple : 1;
    if (it->value->kind == NODE_REDUCE && strncmp(it->value->name, "arg", 3) == 0) given = 2;
    for (int i = 0; i < it->nref; i++) names[i] = it->ref[i].name;
    bool tuple = it->nref > 1 || (given > 1 && it->value->ntuple > 1);
    if (tuple && it->nref != given)
        return low_fail(L, it->value, "dsl.tuple",
                        "the left side has %d targets and the right side gives %d values", it->nref,
                        given);
    if (tuple ? !reduce_to_temps(L, it->value, left->env, names, it->nref, v)
              : !lower_node(L, it->value, left->env, v))
        return false;
    for (int i = 0; i < it->nref; i++) {
        struct declared *d = find_declared(L, it->ref[i].name);
        if (!d) {
            if (!low_to_typed(L, it->value, &v[i], &e)) return false;
            d = implicit_temp(L, it, i, left, e->type);
        }
        if (!d) return false;
        if (tuple && v[i].kind == LOW_TYPED && i == 1 && strncmp(it->value->name, "arg", 3) == 0 &&
            dtype_is_int((enum dtype)d->tensor->type.dtype))
            v[i].e = expr_cast(L->ir, d->tensor->type, CAST_PLAIN, v[i].e);
        if (!append_store(L, it, i, left, d->tensor, &v[i], i == 0 ? L->eq->stage : d->name))
            return false;
        if (v[i].kind == LOW_TYPED) carry_range(L, it, d, v[i].e);
        if (i + 1 == it->nref) break;
        struct left again = *left; /* the next target's stage has loops of its own */
        const char *stage = it->ref[i + 1].name;
        for (int l = 0; l < L->eq->nloop; l++) {
            const struct var *old = L->eq->loop[l].var;
            const struct var *v2 =
                var_new(L->ir, arena_printf(L->ir->arena, "%s.%s", stage, L->eq->loop[l].name),
                        type_of(TYPE_S64));
            L->eq->loop[l].var = v2;
            for (int k = i + 1; k < it->nref; k++) {
                v[k].e = expr_subst(L->ir, v[k].e, old, expr_var(L->ir, v2));
                for (int s = 0; s < it->ref[k].n; s++)
                    again.idx[k][s] = expr_subst(L->ir, again.idx[k][s], old, expr_var(L->ir, v2));
            }
        }
        *(struct left *)left = again;
    }
    return true;
}

static bool lower_equation(struct lower *L, const struct body *b, const struct item *it)
{
    struct equation eq = {.item = it, .scan = -1};
    struct left left = {.env = NULL};
    const struct declared *d = find_declared(L, it->ref[0].name);
    for (int i = 0; i < it->nref; i++) {
        const struct declared *t = find_declared(L, it->ref[i].name);
        bool wanted = t || !body_find(b, ITEM_TENSOR, it->ref[i].name);
        wanted = wanted && (t || !body_find(&L->t->op->body, ITEM_TENSOR, it->ref[i].name));
        if (wanted) continue;
        dsl_error(L->e, L->file, it->ref[i].line, it->ref[i].col, "dsl.absent",
                  "'%s' does not exist for this task; give this equation its condition",
                  it->ref[i].name);
        return false;
    }
    int nth = d ? d->npiece + 1 : 1;
    eq.stage = nth == 1 ? it->name : arena_printf(L->ir->arena, "%s#%d", it->name, nth);
    L->eq = &eq;
    bool ok = lower_left(L, b, it, &left);
    eq.own = eq.nloop;
    eq.idx = left.idx[0];
    for (int i = 0; i < eq.own && it->scan; i++)
        if (strcmp(eq.loop[i].name, it->scan) == 0) eq.scan = i;
    struct left first = left;
    struct loopv loops[LOOPS_MAX];
    memcpy(loops, eq.loop, sizeof loops);
    ok = ok && (goes_direct(L, it) ? lower_direct(L, it, &left) : lower_stored(L, it, &left));
    memcpy(eq.loop, loops, sizeof loops);
    for (int i = 0; i < it->nref && ok; i++) ok = finish_piece(L, it, i, &first);
    L->eq = NULL;
    return ok;
}

static bool lower_body(struct lower *L, const struct body *b)
{
    bool live = false;
    for (int i = 0; i < b->n; i++) { /* how many equations each tensor has */
        const struct item *it = b->item[i];
        if (it->kind != ITEM_EQUATION) continue;
        if (!eval_cond(&L->s, it->when, &live)) return false;
        for (int r = 0; live && r < it->nref; r++) {
            struct declared *d = find_declared(L, it->ref[r].name);
            if (d) d->equations++;
        }
    }
    for (int i = 0; i < b->n; i++) {
        const struct item *it = b->item[i];
        if (it->kind != ITEM_EQUATION) continue;
        if (!eval_cond(&L->s, it->when, &live)) return false;
        if (live && !lower_equation(L, b, it)) return false;
    }
    for (int i = 0; i < L->nd; i++) {
        const struct declared *d = &L->d[i];
        if (!d->item || d->complete || d->tensor->scope != SCOPE_OUT) continue;
        dsl_error(L->e, L->file, d->item->line, d->item->col, "dsl.cover",
                  "no equation defines the output '%s' for this task", d->name);
        return false;
    }
    return true;
}

/* Temps that no live equation defines are not part of this nest. */
static void drop_unused(struct lower *L)
{
    int kept = 0;
    for (int i = 0; i < L->nest->ntensor; i++) {
        struct tensor *t = L->nest->tensor[i];
        const struct declared *d = find_declared(L, t->name);
        if (t->scope == SCOPE_TEMP && d && d->item && d->npiece == 0) continue;
        L->nest->tensor[kept++] = t;
    }
    L->nest->ntensor = kept;
    for (int i = 0; i < L->nd; i++)
        if (L->d[i].tensor && L->d[i].tensor->scope == SCOPE_TABLE)
            nest_add_tensor(L->nest, L->d[i].tensor);
}

/* ---- parameters ------------------------------------------------------------------------------ */

static enum rc bind_param(struct lower *L, const struct item *p, const char *params,
                          struct value *out)
{
    size_t len = strlen(p->name);
    const char *at = params;
    for (; *at; at += strcspn(at, " "), at += *at == ' ') {
        if (strncmp(at, p->name, len) != 0 || at[len] != '=') continue;
        const char *text = at + len + 1;
        if (!value_parse(L->ir->arena, p, text, strcspn(text, " "), out))
            return err_set(L->e, RC_INPUT, "dsl.param", "algorithm %s: '%.*s' is no value for %s",
                           L->al->name, (int)strcspn(text, " "), text, p->name);
        return bind_attr_domain(&L->s, p, out) ? RC_OK : RC_INPUT;
    }
    bool ok = eval_fixed(&L->s, p->def, "a parameter of an algorithm", out);
    return ok && bind_attr_domain(&L->s, p, out) ? RC_OK : RC_INPUT;
}

static enum rc check_param_names(const struct algorithm *al, const char *name, const char *params,
                                 struct err *e)
{
    for (const char *at = params; *at; at += strcspn(at, " "), at += *at == ' ') {
        size_t n = strcspn(at, "= ");
        bool known = false;
        for (int i = 0; al && i < al->nparam; i++)
            known |= strlen(al->param[i]->name) == n && strncmp(al->param[i]->name, at, n) == 0;
        if (!known || at[n] != '=')
            return err_set(
                e, RC_INPUT, "dsl.param",
                "algorithm %s has no parameter '%.*s'; parameters are written NAME=VALUE", name,
                (int)(n < 40 ? n : 40), at);
    }
    return RC_OK;
}

static enum rc bind_algorithm(struct lower *L, const char *name, const char *params)
{
    enum rc rc = check_param_names(L->al, name, params, L->e);
    bool legal = true;
    if (rc != RC_OK || !L->al) return rc;
    if (!eval_cond(&L->s, L->al->when, &legal)) return RC_INPUT;
    if (!legal)
        return err_set(L->e, RC_INPUT, "dsl.illegal_algorithm", "algorithm %s is not for %s", name,
                       L->t->token);
    for (int i = 0; i < L->al->nparam; i++) {
        struct value v = {0};
        rc = bind_param(L, L->al->param[i], params, &v);
        if (rc != RC_OK) return rc;
        scope_put(&L->s, L->al->param[i]->name, v, false, NULL);
    }
    return bind_lets(&L->s, &L->al->body) ? RC_OK : RC_INPUT;
}

static enum rc start(struct lower *L, const char *algorithm, const char *params)
{
    const struct operator* op = L->t->op;
    L->file = op->file;
    task_scope(&L->s, L->t, L->ir->arena, L->e);
    if (strcmp(algorithm, "direct") != 0 && !(L->al = operator_algorithm(op, algorithm))) {
        const char *names[OP_ALGORITHMS + 1] = {"direct"};
        char hint[96];
        for (int i = 0; i < op->nalgorithm; i++) names[i + 1] = op->algorithm[i]->name;
        did_you_mean(hint, sizeof hint, algorithm, names, (size_t)op->nalgorithm + 1);
        return err_set(L->e, RC_INPUT, "dsl.unknown_algorithm", "%s has no algorithm '%.60s'%s",
                       op->name, algorithm, hint);
    }
    enum rc rc = bind_algorithm(L, algorithm, params);
    if (rc != RC_OK) return rc;
    for (int i = 0; i < op->body.n; i++) {
        const struct item *it = op->body.item[i];
        if (it->kind != ITEM_DYN) continue;
        const struct var *v = var_new(L->ir, it->name, type_of(TYPE_S64));
        L->dyn[L->ndyn].name = it->name;
        L->dyn[L->ndyn++].var = v;
    }
    L->nest->dyn = ARENA_ARRAY(L->ir->arena, const struct var *, L->ndyn);
    L->nest->ndyn = L->ndyn;
    for (int i = 0; i < L->ndyn; i++) L->nest->dyn[i] = L->dyn[i].var;
    return RC_OK;
}

enum rc dsl_lower(struct ir *ir, const struct task *t, const char *algorithm, const char *params,
                  struct nest **out, struct err *e)
{
    struct err own = {0};
    struct lower *L = ARENA_NEW(ir->arena, struct lower);
    *L = (struct lower){.ir = ir, .t = t, .budget = EXPR_BUDGET, .e = e ? e : &own};
    *out = NULL;
    L->nest = nest_new(ir, t->op->name);
    enum rc rc = start(L, algorithm, params ? params : "");
    if (rc != RC_OK) return rc;
    const struct body *body = L->al ? &L->al->body : &t->op->body;
    bool ok = declare_all(L, &t->op->body, true) && declare_all(L, &t->op->body, false);
    L->body = body;
    ok = ok && (!L->al || declare_all(L, body, false)) && lower_body(L, body);
    if (!ok) return RC_INPUT;
    drop_unused(L);
    *out = L->nest;
    return RC_OK;
}
