/* lower_left: the left side of an equation: which indices it has and how far each runs.
 *
 *     y[n, M+k: K-M]       n over its dimension, k over 0..K-M
 *     acc[n,p]             no declaration: the extents of a declared tensor that n and p span
 *                          elsewhere
 *
 * Invariant: afterwards every index is a loop of the equation, in the order of the subscripts. */
#include <inttypes.h>
#include <string.h>

#include "dsl/lower_int.h"

/* ---- left sides ------------------------------------------------------------------------------ */

static bool is_index_name(struct lower *L, const char *name)
{
    return !scope_find(&L->s, name) && strcmp(name, "inf") != 0 && strcmp(name, "pi") != 0;
}

static const char *index_in(struct lower *L, const struct node *n)
{
    if (n->kind == NODE_NAME) return is_index_name(L, n->name) ? n->name : NULL;
    for (int i = 0; i < n->n; i++) {
        const char *name = index_in(L, n->a[i]);
        if (name) return name;
    }
    return NULL;
}

static const struct loopv *find_loop(const struct equation *eq, const char *name)
{
    for (int i = 0; i < eq->nloop; i++)
        if (strcmp(eq->loop[i].name, name) == 0) return &eq->loop[i];
    return NULL;
}

static bool push_loop(struct lower *L, struct left *left, const char *name, const struct expr *lo,
                      const struct expr *hi, int64_t ilo, int64_t ihi)
{
    struct equation *eq = L->eq;
    if (eq->nloop == LOOPS_MAX)
        return low_fail(L, eq->item->value, "dsl.limit", "more than %d loops", LOOPS_MAX);
    struct loopv *l = &eq->loop[eq->nloop];
    left->lo[eq->nloop] = ilo;
    left->hi[eq->nloop++] = ihi;
    *l = (struct loopv){.name = name, .lo = lo, .hi = hi};
    l->var =
        var_new(L->ir, arena_printf(L->ir->arena, "%s.%s", eq->stage, name), type_of(TYPE_S64));
    struct binding *b = ARENA_NEW(L->ir->arena, struct binding);
    *b = (struct binding){name, {.kind = LOW_TYPED, .e = expr_var(L->ir, l->var)}, left->env};
    left->env = b;
    return true;
}

static const struct range_item *for_range(const struct item *it, const char *name)
{
    for (int i = 0; i < it->nrange; i++)
        if (strcmp(it->range[i].name, name) == 0) return &it->range[i];
    return NULL;
}

/* For acc[n,p] without a declaration: the extent of a declared tensor that another equation spans
 * with `n`. */
static const struct node *inferred_extent(struct lower *L, const struct body *b, const char *index)
{
    for (int i = 0; i < b->n; i++) {
        const struct item *it = b->item[i];
        for (int r = 0; it->kind == ITEM_EQUATION && r < it->nref; r++) {
            const struct declared *d = find_declared(L, it->ref[r].name);
            if (!d || !d->item || d->item->rank != it->ref[r].n) continue;
            for (int k = 0; k < it->ref[r].n; k++) {
                const struct sub_item *s = &it->ref[r].sub[k];
                if (!s->ranged && it->nrange == 0 && s->e->kind == NODE_NAME &&
                    strcmp(s->e->name, index) == 0)
                    return d->item->extent[k];
            }
        }
    }
    return NULL;
}

/* The loop of a bare index: its `for` range, the whole dimension, or what another equation says. */
static bool bare_index(struct lower *L, struct left *left, const struct body *b,
                       const struct item *it, const struct sub_item *s, const struct declared *d,
                       int dim)
{
    const struct expr *lo, *hi;
    int64_t ilo = 0, ihi = 0;
    struct range_item all = {.hi = NULL, .line = s->e->line, .col = s->e->col};
    const struct range_item *r = s->ranged ? &s->range : for_range(it, s->e->name);
    if (find_loop(L->eq, s->e->name)) return cover_diagonal(L, s->e, s->e->name, it->ref[0].name);
    if (!r && d && d->tensor)
        return push_loop(L, left, s->e->name, expr_int(L->ir, 0), d->tensor->extent[dim], 0,
                         d->extent[dim]);
    if (!r) {
        all.hi = inferred_extent(L, b, s->e->name);
        if (!all.hi)
            return low_fail(L, s->e, "dsl.range_needed",
                            "the range of '%s' is not known here; write %s: EXTENT", s->e->name,
                            s->e->name);
        r = &all;
    }
    return lower_range(L, r, &lo, &hi, &ilo, &ihi) &&
           push_loop(L, left, s->e->name, lo, hi, ilo, ihi);
}

static bool other_indices(struct lower *L, struct left *left, const struct item *it,
                          const struct sub_item *s, const struct node *n)
{
    const struct expr *lo, *hi;
    int64_t ilo = 0, ihi = 0;
    for (int i = 0; i < n->n; i++)
        if (!other_indices(L, left, it, s, n->a[i])) return false;
    if (n->kind != NODE_NAME || !is_index_name(L, n->name) || find_loop(L->eq, n->name))
        return true;
    const struct range_item *r = for_range(it, n->name);
    if (!r && s->ranged) r = &s->range;
    if (!r)
        return low_fail(L, n, "dsl.range_needed",
                        "the range of '%s' is not known here; write it after ':' or in a 'for'",
                        n->name);
    return lower_range(L, r, &lo, &hi, &ilo, &ihi) && push_loop(L, left, n->name, lo, hi, ilo, ihi);
}

bool lower_left(struct lower *L, const struct body *b, const struct item *it, struct left *left)
{
    const struct ref_item *r = &it->ref[0];
    const struct declared *d = find_declared(L, r->name);
    for (int i = 0; i < r->n; i++) {
        const struct sub_item *s = &r->sub[i];
        bool bare = s->e->kind == NODE_NAME && is_index_name(L, s->e->name);
        if (bare && !bare_index(L, left, b, it, s, d, i)) return false;
        if (!bare && !other_indices(L, left, it, s, s->e)) return false;
        if (!bare && s->ranged && !index_in(L, s->e))
            return low_fail(L, s->e, "dsl.range_needed", "this subscript has a range and no index");
    }
    for (int k = 0; k < it->nref; k++)
        for (int i = 0; i < it->ref[k].n; i++)
            if (!lower_index(L, it->ref[k].sub[i].e, left->env, &left->idx[k][i])) return false;
    return true;
}
