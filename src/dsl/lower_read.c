/* lower_read: tensor reads, with the proof that they stay inside.
 *
 *     x[p + r]                 the ranges of p and r must prove 0 <= p + r < extent
 *     (x[p + r - 1] else 0)    only the part no range proves becomes the condition:
 *                              LOADC(0 <= p + r - 1, 0, ...)
 *     v[ids[n]]                ids: s32 in 0..V, the declared range is the proof
 *
 * Invariant: after lowering no read can leave its tensor as long as the declared ranges of inputs
 * hold. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dsl/lower_int.h"

enum { DYN_MAX_BITS = 40 };

struct env *lower_env(struct lower *L)
{
    struct env *env = env_new(L->ir);
    for (int i = 0; i < L->ndyn; i++)
        env_put(env, L->dyn[i].var, expr_int(L->ir, 0),
                expr_int(L->ir, INT64_C(1) << DYN_MAX_BITS));
    for (int i = 0; L->eq && i < L->eq->nloop; i++)
        env_put(env, L->eq->loop[i].var, L->eq->loop[i].lo, L->eq->loop[i].hi);
    return env;
}

struct provable {
    struct lower *L;
    struct env *env;
};

static const struct declared *declared_of(struct lower *L, const struct tensor *t)
{
    for (int i = 0; i < L->nd; i++)
        if (L->d[i].tensor == t) return &L->d[i];
    return NULL;
}

/* The values an integer load can have: declared, or of a narrow type. */
static bool load_range(struct lower *L, const struct expr *e, const struct expr **lo,
                       const struct expr **hi)
{
    const struct declared *d = declared_of(L, e->u.tensor);
    enum dtype t = (enum dtype)e->type.dtype;
    if (d && d->ranged) {
        *lo = d->lo;
        *hi = d->hi;
        return true;
    }
    if (!dtype_is_int(t) || dtype_bits(t) > 16) return false;
    int64_t least = dtype_is_signed(t) ? -(INT64_C(1) << (dtype_bits(t) - 1)) : 0;
    *lo = expr_int(L->ir, least);
    *hi = expr_int(L->ir, least + (INT64_C(1) << dtype_bits(t)));
    return true;
}

static const struct expr *hide_load(struct ir *ir, const struct expr *e, void *ctx)
{
    struct provable *p = ctx;
    const struct expr *load = e->op == OP_CAST && e->u.i == CAST_PLAIN ? e->a[0] : e;
    const struct expr *lo, *hi;
    if (e->type.dtype != TYPE_S64 || load->op != OP_LOAD || !load_range(p->L, load, &lo, &hi))
        return NULL;
    const struct var *v = var_new(ir, "value", type_of(TYPE_S64));
    env_put(p->env, v, lo, hi);
    return expr_var(ir, v);
}

const struct expr *lower_provable(struct lower *L, struct env *env, const struct expr *e)
{
    struct provable p = {L, env};
    return expr_map(L->ir, e, hide_load, &p);
}

/* All subscripts constant, or all elements alike: a table's element is just a number. */
static bool table_value(struct lower *L, const struct tensor *t, const struct expr *const *idx,
                        struct low *out)
{
    int64_t at = 0, v = 0, size = 0, n = 1;
    bool known = true, alike = true;
    if (t->scope != SCOPE_TABLE) return false;
    for (int i = 0; i < t->rank; i++) {
        if (!expr_is_int(t->extent[i], &size)) return false;
        known &= expr_is_int(idx[i], &v);
        at = at * size + v;
        n *= size;
    }
    for (int64_t i = 1; i < n && !known; i++) alike &= t->table[i] == t->table[0];
    if (!known && (!alike || n < 1)) return false;
    if (!known) at = 0;
    *out = (struct low){.kind = LOW_TYPED, .e = expr_const(L->ir, t->type, t->table[at])};
    return true;
}

/* A read of what the equation under way defines: an element of an earlier step of its scan,
 * whatever order the other loops run in. */
static bool check_scan(struct lower *L, const struct node *n, const struct declared *d,
                       const struct expr *const *idx)
{
    const struct equation *eq = L->eq;
    const struct expr *at = expr_var(L->ir, eq->loop[eq->scan].var);
    struct env *env = lower_env(L);
    bool earlier = false;
    if (eq->nloop > eq->own)
        return low_fail(L, n, "dsl.scan",
                        "a reduction inside a scan cannot read '%s', which the "
                        "scan defines",
                        d->name);
    if (d->equations != 1)
        return low_fail(
            L, n, "dsl.scan",
            "a scan defines the whole of '%s' in one equation: write what it starts from "
            "as (%s[...] else START)",
            d->name, d->name);
    for (int k = 0; k < d->tensor->rank; k++) {
        const struct expr *left = eq->idx[k];
        struct linear l;
        bool outer = false, other = false;
        for (int i = 0; i < eq->own; i++) {
            bool used = i != eq->scan && expr_uses_var(left, eq->loop[i].var);
            other |= used;
            outer |= used && i < eq->scan;
        }
        if (!expr_uses_var(left, eq->loop[eq->scan].var)) {
            if (outer && idx[k] != left)
                return low_fail(L, n->a[k], "dsl.scan",
                                "'%s' runs inside another index: subscript %d stays what it is on "
                                "the left side",
                                eq->loop[eq->scan].name, k);
            continue;
        }
        if (other || !linear_of(left, &l))
            return low_fail(L, n, "dsl.scan", "the index '%s' of a scan has a subscript to itself",
                            eq->loop[eq->scan].name);
        bool up = linear_coef(&l, at) > 0;
        earlier |=
            env_proves(env, expr_binary(L->ir, OP_LT, up ? idx[k] : left, up ? left : idx[k]));
    }
    return earlier || low_fail(L, n, "dsl.scan",
                               "this read of '%s' is not proved to lie in an earlier step of '%s'",
                               d->name, eq->loop[eq->scan].name);
}

/* May it be read now? */
static bool check_order(struct lower *L, const struct node *n, struct declared *d,
                        const struct expr *const *idx, bool guarded)
{
    enum scope scope = d->tensor->scope;
    if (scope == SCOPE_IN || scope == SCOPE_CONST || scope == SCOPE_TABLE || d->complete)
        return true;
    bool own = L->eq && L->eq->scan >= 0 && strcmp(d->name, L->eq->item->ref[0].name) == 0;
    if (own) return check_scan(L, n, d, idx);
    if (d->npiece == 0)
        return low_fail(L, n, "dsl.order", "'%s' is read before it is defined", d->name);
    return cover_reads(L, n, d, idx, lower_env(L), guarded);
}

static bool bounds(struct lower *L, const struct node *n, const struct tensor *t,
                   const struct expr *const *idx, bool guarded, const struct expr **cond)
{
    struct env *env = lower_env(L);
    *cond = NULL;
    for (int i = 0; i < t->rank; i++) {
        const struct expr *p = lower_provable(L, env, idx[i]);
        const struct expr *low = expr_binary(L->ir, OP_LE, expr_int(L->ir, 0), idx[i]),
                          *high = expr_binary(L->ir, OP_LT, idx[i], t->extent[i]);
        bool low_ok = env_proves(env, expr_binary(L->ir, OP_LE, expr_int(L->ir, 0), p));
        bool high_ok = env_proves(env, expr_binary(L->ir, OP_LT, p, t->extent[i]));
        if (!low_ok && guarded) *cond = expr_and(L->ir, *cond, low);
        if (!high_ok && guarded) *cond = expr_and(L->ir, *cond, high);
        if (guarded || (low_ok && high_ok)) continue;
        struct range r = expr_range(env, p);
        char lo[32] = "?", hi[32] = "?";
        int64_t ext = 0;
        if (r.lo != INT64_MIN) snprintf(lo, sizeof lo, "%" PRId64, r.lo);
        if (r.hi != INT64_MAX) snprintf(hi, sizeof hi, "%" PRId64, r.hi);
        if (expr_is_int(t->extent[i], &ext))
            return low_fail(L, n->a[i], "dsl.out_of_range",
                            "subscript %d of '%s' may lie in %s..%s and the extent is %" PRId64
                            "; write (%s[...] else VALUE), or declare the range of an index tensor",
                            i, t->name, lo, hi, ext, t->name);
        return low_fail(L, n->a[i], "dsl.out_of_range",
                        "subscript %d of '%s' is not proved to stay below its extent; write "
                        "(%s[...] else VALUE)",
                        i, t->name, t->name);
    }
    return true;
}

static void see_divmod(const struct expr *e, void *ctx)
{
    if (e->op == OP_DIV || e->op == OP_MOD) *(bool *)ctx = true;
}

/* k/Kg*Cg + c is c when there is one group: ranges decide, so later passes see the plain
 * subscript. */
static const struct expr *tidy(struct lower *L, const struct expr *e)
{
    bool divmod = false;
    expr_walk(e, see_divmod, &divmod);
    return divmod ? expr_simplify(L->ir, lower_env(L), e) : e;
}

/* The default has the tensor's own type. */
static bool lower_default(struct lower *L, const struct node *def, enum dtype d,
                          const struct binding *env, const struct expr **out)
{
    struct low v;
    if (!lower_node(L, def, env, &v)) return false;
    bool narrow = d == TYPE_F16 || d == TYPE_BF16;
    if (v.kind == LOW_TYPED && narrow && v.e->type.dtype == TYPE_F32) {
        *out = expr_cast(L->ir, type_of(d), CAST_PLAIN, v.e);
        return true;
    }
    return low_to_type(L, def, &v, d, out);
}

bool lower_read(struct lower *L, const struct node *n, const struct node *def,
                const struct binding *env, struct low *out)
{
    const struct expr *idx[TASK_RANK], *cond = NULL, *other = NULL;
    struct declared *d = find_declared(L, n->name);
    if (!d && L->eq && L->eq->scan >= 0 && strcmp(n->name, L->eq->item->ref[0].name) == 0)
        return low_fail(L, n, "dsl.scan", "declare temp %s[...]: a scan reads what it defines",
                        n->name);
    if (!d || !d->tensor)
        return low_fail(L, n, d ? "dsl.order" : "dsl.absent",
                        d ? "'%s' is read before it is defined"
                          : "'%s' does not exist for this task; guard its use with case {...}",
                        n->name);
    for (int i = 0; i < n->n; i++) {
        if (!lower_index(L, n->a[i], env, &idx[i])) return false;
        idx[i] = tidy(L, idx[i]);
    }
    struct tensor *t = d->tensor;
    if (!check_order(L, n, d, idx, def != NULL)) return false;
    if (!bounds(L, n, t, idx, def != NULL, &cond)) return false;
    if (!cond && table_value(L, t, idx, out)) return true;
    if (cond && !lower_default(L, def, (enum dtype)t->type.dtype, env, &other)) return false;
    int64_t holds = 0;
    const struct expr *e = cond && expr_is_int(cond, &holds) && !holds ? other
                           : cond ? expr_loadc(L->ir, t, cond, other, idx, n->n)
                                  : expr_load(L->ir, t, idx, n->n);
    if (e->type.dtype == TYPE_F16 || e->type.dtype == TYPE_BF16)
        e = expr_cast(L->ir, type_of(TYPE_F32), CAST_PLAIN, e);
    *out = (struct low){.kind = LOW_TYPED, .e = e};
    return true;
}
