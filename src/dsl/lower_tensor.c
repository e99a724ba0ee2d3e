/* lower_tensor: declarations become tensors of the nest, tables become constants.
 *
 *     in x[N,C]: f32 store N,C/16,C%16
 *       ->  tensor x of two dimensions with a layout of three terms
 *
 * Invariants: only declarations whose condition holds exist; every tensor fits the task's memory
 * limit. */
#include <inttypes.h>
#include <string.h>

#include "dsl/lower_int.h"

struct declared *find_declared(struct lower *L, const char *name)
{
    for (int i = 0; i < L->nd; i++)
        if (strcmp(L->d[i].name, name) == 0) return &L->d[i];
    return NULL;
}

struct declared *add_declared(struct lower *L, const char *name, struct tensor *t)
{
    if (L->nd == TENSORS_MAX) return NULL;
    struct declared *d = &L->d[L->nd++];
    *d = (struct declared){.name = name, .tensor = t};
    return d;
}

static bool known_bound(struct lower *L, const struct node *n, const struct expr **e, int64_t *i)
{
    *i = 0;
    *e = expr_int(L->ir, 0);
    return !n || (eval_int(&L->s, n, i) && lower_index(L, n, NULL, e));
}

bool lower_range(struct lower *L, const struct range_item *r, const struct expr **lo,
                 const struct expr **hi, int64_t *ilo, int64_t *ihi)
{
    if (!known_bound(L, r->lo, lo, ilo) || !known_bound(L, r->hi, hi, ihi)) return false;
    if (*ihi >= *ilo) return true;
    dsl_error(L->e, L->file, r->line, r->col, "dsl.range",
              "this range is %" PRId64 "..%" PRId64 "; its end lies before its start", *ilo, *ihi);
    return false;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool check_storage(struct lower *L, const struct item *it, enum dtype d)
{
    if (dtype_bits(d) >= 8 || (d == TYPE_B1 && it->scope == SCOPE_TEMP)) return true;
    dsl_error(L->e, L->file, it->line, it->col, "dsl.not_lowered",
              "%s storage ('%s') is checked but not lowered yet; use s8, u8 or u32 words",
              dtype_name(d), it->name);
    return false;
}

bool tensor_bytes(struct lower *L, const struct item *it, const char *name, const struct tensor *t,
                  const int64_t *extent)
{
    int64_t n = layout_elements(extent, t->rank, t->layout, t->nlayout);
    if (n >= 0 && n <= L->t->max_bytes / dtype_bytes((enum dtype)t->type.dtype)) return true;
    dsl_error(L->e, L->file, it->line, it->col, "dsl.too_big",
              "the tensor '%s' needs more than the limit of %" PRId64 " MiB", name,
              L->t->max_bytes >> 20);
    return false;
}

static bool declare_tensor(struct lower *L, const struct item *it)
{
    const struct expr *ext[TASK_RANK];
    int64_t extent[TASK_RANK] = {0};
    bool dyn[TASK_RANK] = {false};
    struct layout_term layout[16];
    enum dtype d;
    int nlayout = 0;
    if (!dtype_of_name(&L->s, it->type, &d)) {
        dsl_error(L->e, L->file, it->line, it->col, "dsl.dtype", "'%s' is not a dtype", it->type);
        return false;
    }
    for (int i = 0; i < it->rank; i++) {
        L->s.touched_dyn = false;
        if (!eval_int(&L->s, it->extent[i], &extent[i]) ||
            !lower_index(L, it->extent[i], NULL, &ext[i]))
            return false;
        dyn[i] = L->s.touched_dyn;
        if (extent[i] >= 0 && extent[i] < INT64_C(1) << 40) continue;
        return low_fail(L, it->extent[i], "dsl.range",
                        "an extent of '%s' is %" PRId64 "; it lies in 0..2^40", it->name,
                        extent[i]);
    }
    if (!check_storage(L, it, d) || !bind_layout(&L->s, it, extent, layout, &nlayout)) return false;
    struct tensor *t = tensor_new(L->ir, it->name, type_of(d), it->scope, it->rank, ext);
    t->nlayout = nlayout;
    t->layout = ARENA_ARRAY(L->ir->arena, struct layout_term, nlayout);
    if (nlayout) memcpy(t->layout, layout, (size_t)nlayout * sizeof *layout);
    struct declared *dc = find_declared(L, it->name);
    if (dc) {
        dsl_error(L->e, L->file, it->line, it->col, "dsl.duplicate",
                  "two declarations of '%s' hold for this task", it->name);
        return false;
    }
    dc = add_declared(L, it->name, t);
    if (!dc || !tensor_bytes(L, it, it->name, t, extent)) return false;
    dc->item = it;
    memcpy(dc->extent, extent, sizeof extent);
    memcpy(dc->dyn, dyn, sizeof dyn);
    dc->ranged = it->lo != NULL;
    if (dc->ranged &&
        (!lower_index(L, it->lo, NULL, &dc->lo) || !lower_index(L, it->hi, NULL, &dc->hi)))
        return false;
    nest_add_tensor(L->nest, t);
    return true;
}

enum { TABLE_MAX = 1 << 16 };

static bool declare_table(struct lower *L, const struct item *it)
{
    const struct expr *ext[TASK_RANK];
    int64_t extent[TASK_RANK], total = 1;
    enum dtype d;
    if (!dtype_of_name(&L->s, it->type, &d)) return false;
    for (int i = 0; i < it->rank; i++) {
        if (!eval_int(&L->s, it->extent[i], &extent[i])) return false;
        if (extent[i] < 1 || extent[i] > TABLE_MAX || (total *= extent[i]) > TABLE_MAX)
            return low_fail(L, it->extent[i], "dsl.table",
                            "the table '%s' has more than %d elements, or none", it->name,
                            TABLE_MAX);
        ext[i] = expr_int(L->ir, extent[i]);
    }
    struct ratio *exact = ARENA_ARRAY(L->ir->arena, struct ratio, total);
    double *value = ARENA_ARRAY(L->ir->arena, double, total);
    if (!eval_table(&L->s, it->def, it->rank, extent, exact, value)) return false;
    for (int64_t i = 0; i < total; i++)
        if (!dtype_is_float(d) && exact[i].den != 1)
            return low_fail(L, it->def, "dsl.table", "the table '%s' is %s and has a fraction",
                            it->name, dtype_name(d));
    struct tensor *t = tensor_new(L->ir, it->name, type_of(d), SCOPE_TABLE, it->rank, ext);
    t->table = value;
    struct declared *dc = add_declared(L, it->name, t);
    if (!dc) return false;
    dc->item = it;
    dc->complete = true;
    return true;
}

bool declare_all(struct lower *L, const struct body *b, bool callers)
{
    for (int i = 0; i < b->n; i++) {
        const struct item *it = b->item[i];
        bool live = false;
        if (it->kind == ITEM_TABLE && !callers && !declare_table(L, it)) return false;
        if (it->kind != ITEM_TENSOR || (it->scope != SCOPE_TEMP) != callers) continue;
        if (!eval_cond(&L->s, it->when, &live)) return false;
        if (live && !declare_tensor(L, it)) return false;
    }
    return true;
}
