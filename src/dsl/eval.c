/* eval: expressions that are known once the task is: attributes, extents, lets, conditions, tables.
 *
 *     P = (H + pad_t + pad_b - dilation_h*(R-1) - 1)/stride_h + 1   ->  56
 *     case { m == 2: [0, 1, -1], else: [0, 1, -1, 1/2, -2] }        ->  the list for m
 *
 * Invariants: only the live branch of a case is evaluated; list elements are exact rationals,
 * everything else is 64-bit integers and doubles; the first error goes to s->e with its
 * position. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "dsl/ast.h"

enum { TABLE_MAX = 1 << 16 };

static bool fail(struct scope_values *s, const struct node *n, const char *code, const char *why)
{
    dsl_error(s->e, s->file, n->line, n->col, code, "%s", why);
    return false;
}

struct named_value *scope_find(struct scope_values *s, const char *name)
{
    for (int i = s->n - 1; i >= 0; i--)
        if (strcmp(s->v[i].name, name) == 0) return &s->v[i];
    return NULL;
}

bool scope_put(struct scope_values *s, const char *name, struct value v, bool dyn,
               const struct node *def)
{
    if (s->n == (int)QN_COUNT(s->v)) return false;
    s->v[s->n++] = (struct named_value){name, v, dyn, def};
    return true;
}

/* Is it a word of some attribute's domain? */
static bool is_symbol(const struct scope_values *s, const char *name)
{
    static const char *const TOLS[] = {"default", "tight", "loose"};
    for (int i = 0; i < 3; i++)
        if (strcmp(TOLS[i], name) == 0) return true;
    for (int i = 0; s->op && i < s->op->body.n; i++) {
        const struct item *it = s->op->body.item[i];
        for (int k = 0; it->kind == ITEM_ATTR && k < it->nname; k++)
            if (strcmp(it->names[k], name) == 0) return true;
    }
    for (int a = 0; s->op && a < s->op->nalgorithm; a++)
        for (int i = 0; i < s->op->algorithm[a]->nparam; i++) {
            const struct item *it = s->op->algorithm[a]->param[i];
            for (int k = 0; k < it->nname; k++)
                if (strcmp(it->names[k], name) == 0) return true;
        }
    return false;
}

static bool eval_name(struct scope_values *s, const struct node *n, struct value *out)
{
    const struct named_value *v = scope_find(s, n->name);
    if (v) {
        s->touched_dyn |= v->dyn;
        *out = v->v;
        return true;
    }
    if (strcmp(n->name, "inf") == 0)
        *out = value_real(INFINITY);
    else if (strcmp(n->name, "pi") == 0)
        *out = value_real(M_PI);
    else if (is_symbol(s, n->name))
        *out = value_symbol(n->name);
    else {
        const char *names[QN_COUNT(s->v)];
        char hint[96];
        for (int i = 0; i < s->n; i++) names[i] = s->v[i].name;
        did_you_mean(hint, sizeof hint, n->name, names, (size_t)s->n);
        dsl_error(s->e, s->file, n->line, n->col, "dsl.not_const",
                  "'%s' is not known before the data is%s", n->name, hint);
        return false;
    }
    return true;
}

static bool eval_ratio(struct scope_values *s, const struct node *n, struct ratio *out)
{
    if (n->kind == NODE_BINARY && (n->oper == OPER_ADD || n->oper == OPER_SUB ||
                                   n->oper == OPER_MUL || n->oper == OPER_DIV)) {
        struct ratio a, b;
        if (!eval_ratio(s, n->a[0], &a) || !eval_ratio(s, n->a[1], &b)) return false;
        if (ratio_op(oper_infos[n->oper].spelling[0], a, b, out)) return true;
        return fail(s, n, "dsl.value", "this rational divides by zero or does not fit in 64 bits");
    }
    if (n->kind == NODE_UNARY && n->oper == OPER_NEG) {
        if (!eval_ratio(s, n->a[0], out)) return false;
        out->num = -out->num;
        return true;
    }
    struct value v;
    if (!eval_value(s, n, &v)) return false;
    if (v.kind == VALUE_INT && ratio_make(v.i, 1, out)) return true;
    /* a real is exact if it is a small multiple of a power of two */
    int64_t den = INT64_C(1) << 30;
    if (v.kind == VALUE_REAL && fabs(v.f) < 1e9 &&
        v.f * (double)den == nearbyint(v.f * (double)den))
        return ratio_make((int64_t)(v.f * (double)den), den, out);
    return fail(s, n, "dsl.value", "a list element is an integer or a rational such as 1/2");
}

static bool eval_list(struct scope_values *s, const struct node *n, struct value *out)
{
    struct ratio *r = ARENA_ARRAY(s->arena, struct ratio, n->n);
    for (int i = 0; i < n->n; i++)
        if (!eval_ratio(s, n->a[i], &r[i])) return false;
    *out = (struct value){.kind = VALUE_LIST, .n = n->n, .list = r};
    return true;
}

static bool eval_unary(struct scope_values *s, const struct node *n, struct value *out)
{
    struct value a;
    if (!eval_value(s, n->a[0], &a)) return false;
    if (a.kind == VALUE_REAL && n->oper == OPER_NEG)
        *out = value_real(-a.f);
    else if (a.kind != VALUE_INT)
        return fail(s, n, "dsl.value", "this operator needs a number");
    else if (n->oper == OPER_NEG && a.i == INT64_MIN)
        return fail(s, n, "dsl.value", "the result does not fit in 64 bits");
    else
        *out = value_int(n->oper == OPER_NEG ? -a.i : n->oper == OPER_LNOT ? a.i == 0 : ~a.i);
    return true;
}

static bool eval_binary(struct scope_values *s, const struct node *n, struct value *out)
{
    struct value a, b;
    const char *why = NULL;
    if (!eval_value(s, n->a[0], &a)) return false;
    if (a.kind == VALUE_INT &&
        ((n->oper == OPER_AND && a.i == 0) || (n->oper == OPER_OR && a.i != 0))) {
        *out = value_int(a.i != 0); /* the right side may not make sense then */
        return true;
    }
    if (!eval_value(s, n->a[1], &b)) return false;
    if (value_binary(n->oper, &a, &b, out, &why)) return true;
    return fail(s, n, "dsl.value", why);
}

static bool eval_call(struct scope_values *s, const struct node *n, struct value *out)
{
    struct value a[DSL_ARGS];
    const char *why = NULL;
    for (int i = 0; i < n->n; i++)
        if (!eval_value(s, n->a[i], &a[i])) return false;
    if (value_call(n->name, n->n, a, out, &why)) return true;
    return fail(s, n, "dsl.not_const", why);
}

bool eval_value(struct scope_values *s, const struct node *n, struct value *out)
{
    switch (n->kind) {
    case NODE_INT:
        *out = value_int(n->i);
        return true;
    case NODE_REAL:
        *out = value_real(n->f);
        return true;
    case NODE_NAME:
        return eval_name(s, n, out);
    case NODE_LIST:
        return eval_list(s, n, out);
    case NODE_UNARY:
        return eval_unary(s, n, out);
    case NODE_BINARY:
        return eval_binary(s, n, out);
    case NODE_CALL:
        return eval_call(s, n, out);
    case NODE_CASE:
        for (int i = 0; i + 1 < n->n; i += 2) {
            bool hit = false;
            if (!eval_cond(s, n->a[i], &hit)) return false;
            if (hit) return eval_value(s, n->a[i + 1], out);
        }
        return eval_value(s, n->a[n->n - 1], out);
    default:
        return fail(s, n, "dsl.not_const", "this is not known before the data is");
    }
}

bool eval_int(struct scope_values *s, const struct node *n, int64_t *out)
{
    struct value v;
    if (!eval_value(s, n, &v)) return false;
    if (v.kind != VALUE_INT) return fail(s, n, "dsl.value", "this must be an integer");
    *out = v.i;
    return true;
}

/* What is decided once, for every size that the kernel will see. */
static bool refuse_dyn(struct scope_values *s, const struct node *n, const char *what,
                       const char *instead)
{
    dsl_error(s->e, s->file, n->line, n->col, "dsl.dyn",
              "%s is decided by the task; it cannot depend on a dynamic extent%s", what, instead);
    return false;
}

bool eval_fixed(struct scope_values *s, const struct node *n, const char *what, struct value *out)
{
    bool before = s->touched_dyn;
    s->touched_dyn = false;
    bool ok = eval_value(s, n, out) && (!s->touched_dyn || refuse_dyn(s, n, what, ""));
    s->touched_dyn = before;
    return ok;
}

bool eval_fixed_int(struct scope_values *s, const struct node *n, const char *what, int64_t *out)
{
    struct value v;
    if (!eval_fixed(s, n, what, &v)) return false;
    if (v.kind != VALUE_INT) return fail(s, n, "dsl.value", "this must be an integer");
    *out = v.i;
    return true;
}

bool eval_cond(struct scope_values *s, const struct node *n, bool *out)
{
    int64_t v = 1;
    bool before = s->touched_dyn;
    *out = true;
    if (!n) return true;
    s->touched_dyn = false;
    if (!eval_int(s, n, &v)) return false;
    if (s->touched_dyn)
        return refuse_dyn(s, n, "a condition", "; select(CONDITION, a, b) chooses at every size");
    s->touched_dyn = before;
    *out = v != 0;
    return true;
}

/* Rows of a nested list, checked against the shape. */
static bool table_rows(struct scope_values *s, const struct node *n, int rank,
                       const int64_t *extent, struct ratio **out)
{
    if (rank == 0) return eval_ratio(s, n, (*out)++);
    if (n->kind != NODE_LIST)
        return fail(s, n, "dsl.table", "a table is written as nested lists, one level a dimension");
    if (n->n != extent[0]) {
        dsl_error(s->e, s->file, n->line, n->col, "dsl.table",
                  "this list has %d elements where the shape says %" PRId64, n->n, extent[0]);
        return false;
    }
    for (int i = 0; i < n->n; i++)
        if (!table_rows(s, n->a[i], rank - 1, extent + 1, out)) return false;
    return true;
}

static int cook_toom_name(const struct node *n)
{
    static const char *const NAMES[] = {"cook_toom_at", "cook_toom_g", "cook_toom_bt"};
    for (int i = 0; n->kind == NODE_CALL && i < 3; i++)
        if (strcmp(n->name, NAMES[i]) == 0) return i;
    return -1;
}

static bool table_cook_toom(struct scope_values *s, const struct node *n, int which, int rank,
                            const int64_t *extent, struct ratio *out)
{
    int64_t m = 0, r = 0;
    struct value points;
    const char *why = NULL;
    if (!eval_int(s, n->a[0], &m) || !eval_int(s, n->a[1], &r) || !eval_value(s, n->a[2], &points))
        return false;
    if (points.kind != VALUE_LIST || m < 1 || r < 1 || m > 32 || r > 32)
        return fail(s, n, "dsl.table",
                    "cook_toom wants (m, r, list of points) with m and r in 1..32");
    int64_t a = m + r - 1, rows = which == COOK_TOOM_AT ? m : a,
            cols = which == COOK_TOOM_G ? r : a;
    if (rank != 2 || extent[0] != rows || extent[1] != cols) {
        dsl_error(s->e, s->file, n->line, n->col, "dsl.table",
                  "%s(%" PRId64 ", %" PRId64 ", ...) is a table [%" PRId64 ",%" PRId64 "]", n->name,
                  m, r, rows, cols);
        return false;
    }
    if (cook_toom((enum cook_toom)which, (int)m, (int)r, points.list, points.n, out, &why))
        return true;
    return fail(s, n, "dsl.table", why);
}

bool eval_table(struct scope_values *s, const struct node *n, int rank, const int64_t *extent,
                struct ratio *exact, double *out)
{
    int64_t total = 1;
    s->touched_dyn = false;
    for (int d = 0; d < rank; d++) total *= extent[d];
    int which = cook_toom_name(n);
    struct ratio *at = exact;
    if (which >= 0) {
        if (!table_cook_toom(s, n, which, rank, extent, exact)) return false;
    } else if (n->kind == NODE_LIST) {
        if (!table_rows(s, n, rank, extent, &at)) return false;
    } else {
        struct value v;
        if (!eval_value(s, n, &v)) return false;
        if (v.kind != VALUE_LIST || rank != 1 || v.n != extent[0]) {
            dsl_error(s->e, s->file, n->line, n->col, "dsl.table",
                      "this must be a list of %" PRId64 " elements", total);
            return false;
        }
        memcpy(exact, v.list, (size_t)v.n * sizeof *exact);
    }
    if (s->touched_dyn) return refuse_dyn(s, n, "a table", "");
    for (int64_t i = 0; i < total; i++) out[i] = (double)exact[i].num / (double)exact[i].den;
    return true;
}
