/* bind: one operator with values: lets, requirements, and the tensors a caller sees.
 *
 *     conv2d:N=1,H=56,...   ->   P = 56, x f32[1,56,56,64], w f32[3,3,64,64], y f32[1,56,56,64]
 *
 * Invariants: items are taken in the order of the text, so a requirement guards the lets after it;
 * sizes are checked for overflow before anything is multiplied further. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dsl/ast.h"

enum {
    EXTENT_BITS = 40,
    DATA_BITS =
        61, /* of test data, so that differences of them do not overflow (wire.c refuses more) */
    HALF_MOST = 65504
};

bool bind_attr_domain(struct scope_values *s, const struct item *it, const struct value *v)
{
    int64_t lo = 0, hi = 0;
    struct value c;
    if (it->lo) {
        if (!eval_int(s, it->lo, &lo) || !eval_int(s, it->hi, &hi)) return false;
        double f = value_as_real(v);
        if (f >= (double)lo && f <= (double)hi) return true;
        err_set(s->e, RC_INPUT, "task.domain", "%s must lie in %" PRId64 "..%" PRId64, it->name, lo,
                hi);
        return false;
    }
    for (int i = 0; i < it->nchoice; i++) {
        if (!eval_value(s, it->choice[i], &c)) return false;
        if (value_equal(&c, v)) return true;
    }
    if (it->nchoice == 0) return true;
    struct buf b;
    buf_init(&b, 400);
    for (int i = 0; i < it->nchoice; i++) {
        if (i) buf_puts(&b, ", ");
        node_print(&b, it->choice[i], 0);
    }
    err_set(s->e, RC_INPUT, "task.domain", "%s must be one of %s", it->name, b.p);
    buf_fini(&b);
    return false;
}

/* Names of values that a condition reads, with what they are: "groups=3, C=64". */
static void put_used(struct buf *b, struct scope_values *s, const struct node *n)
{
    if (n->kind == NODE_NAME) {
        const struct named_value *v = scope_find(s, n->name);
        char seen[DSL_NAME + 4];
        snprintf(seen, sizeof seen, " %s=", n->name);
        if (!v || strstr(b->p, seen)) return;
        buf_printf(b, "%s%s", b->n ? "," : "", seen);
        value_print(b, &v->v);
    }
    for (int i = 0; i < n->n; i++) put_used(b, s, n->a[i]);
}

static bool check_require(struct scope_values *s, const struct item *it)
{
    int64_t holds = 0; /* of a dynamic extent: at the size at hand */
    if (!eval_int(s, it->def, &holds)) return false;
    if (holds) return true;
    struct buf b;
    buf_init(&b, 600);
    put_used(&b, s, it->def);
    err_set(s->e, RC_INPUT, "task.require", "%s: %s (with%s)", s->op->name, it->text,
            b.n ? b.p : " nothing set");
    buf_fini(&b);
    return false;
}

bool bind_requires(struct scope_values *s, const struct body *b)
{
    for (int i = 0; i < b->n; i++)
        if (b->item[i]->kind == ITEM_REQUIRE && !check_require(s, b->item[i])) return false;
    return true;
}

bool bind_lets(struct scope_values *s, const struct body *b)
{
    for (int i = 0; i < b->n; i++) {
        const struct item *it = b->item[i];
        if (it->kind == ITEM_REQUIRE && !check_require(s, it)) return false;
        if (it->kind != ITEM_LET) continue;
        struct value v;
        s->touched_dyn = false;
        if (!eval_value(s, it->def, &v)) return false;
        if (!scope_put(s, it->name, v, s->touched_dyn, it->def)) {
            dsl_error(s->e, s->file, it->line, it->col, "dsl.limit", "too many names");
            return false;
        }
    }
    return true;
}

bool dtype_of_name(struct scope_values *s, const char *name, enum dtype *out)
{
    const struct named_value *v = scope_find(s, name);
    if (v && v->v.kind == VALUE_SYMBOL) name = v->v.symbol;
    return dtype_parse(name, strlen(name), out);
}

static int dim_of(const struct item *t, const struct store_term *term)
{
    if (!term->dim) return term->pos;
    for (int d = 0; d < t->rank; d++)
        if (t->extent[d]->kind == NODE_NAME && strcmp(t->extent[d]->name, term->dim) == 0) return d;
    return -1;
}

/* Each dimension must be cut without gap or overlap: /16 and %16, or whole. */
static const char *layout_fault(const struct layout_term *l, int n, int rank)
{
    for (int d = 0; d < rank; d++) {
        int64_t want = 1; /* the piece below this divisor is done */
        bool top = false;
        for (;;) {
            int found = -1;
            for (int i = 0; i < n; i++)
                if (l[i].dim == d && l[i].div == want && found < 0) found = i;
            if (found < 0) break;
            if (l[found].mod == 0) {
                top = true;
                break;
            }
            want *= l[found].mod;
        }
        if (!top)
            return "a dimension is not stored whole; write C/16 and C%16 together, or C alone";
    }
    return NULL;
}

/* The last block of an output's dimension must be full: no equation defines what pads it. */
static bool ends_full(struct scope_values *s, const struct item *t, const struct store_clause *cl,
                      const struct layout_term *l, const int64_t *extent)
{
    for (int i = 0; i < cl->n; i++) {
        int64_t size = extent[l[i].dim];
        if (l[i].mod || size % l[i].div == 0) continue;
        dsl_error(s->e, s->file, cl->term[i].line, cl->term[i].col, "dsl.store_padded",
                  "%" PRId64 " elements of output '%s' do not fill blocks of %" PRId64
                  ", and no equation defines the rest of the last one; make the extent a multiple "
                  "of %" PRId64,
                  size, t->name, l[i].div, l[i].div);
        return false;
    }
    return true;
}

bool bind_layout(struct scope_values *s, const struct item *t, const int64_t *extent,
                 struct layout_term *out, int *n)
{
    *n = 0;
    for (int c = 0; c < t->nstore; c++) {
        const struct store_clause *cl = &t->store[c];
        bool live = false;
        if (!eval_cond(s, cl->when, &live)) return false;
        if (!live) continue;
        bool plain = cl->n == t->rank;
        for (int i = 0; i < cl->n; i++) {
            int64_t arg = 1;
            const struct node *by = cl->term[i].arg;
            if (by && !eval_fixed_int(s, by, "a divisor of a store", &arg)) return false;
            int d = dim_of(t, &cl->term[i]);
            if (arg < 1 || d < 0 || d >= t->rank) {
                dsl_error(s->e, s->file, cl->term[i].line, cl->term[i].col, "dsl.store",
                          "the divisor of a store term must be at least 1");
                return false;
            }
            out[i] = (struct layout_term){d, cl->term[i].how == '/' ? arg : 1,
                                          cl->term[i].how == '%' ? arg : 0};
            plain &= d == i && !cl->term[i].how;
        }
        const char *fault = layout_fault(out, cl->n, t->rank);
        if (fault) {
            dsl_error(s->e, s->file, cl->term[0].line, cl->term[0].col, "dsl.store", "%s: %s",
                      t->name, fault);
            return false;
        }
        if (t->scope == SCOPE_OUT && !ends_full(s, t, cl, out, extent)) return false;
        *n = plain ? 0 : cl->n; /* declared order needs no layout */
        return true;
    }
    return true;
}

int64_t layout_elements(const int64_t *extent, int rank, const struct layout_term *l, int n)
{
    int64_t total = 1;
    for (int i = 0; i < (n ? n : rank); i++) {
        int64_t e = n ? i64_ceildiv(extent[l[i].dim], l[i].div) : extent[i];
        if (n && l[i].mod) e = l[i].mod;
        if (__builtin_mul_overflow(total, e, &total)) return -1;
    }
    return total;
}

static bool bind_extent(struct scope_values *s, const struct item *it, int d, int64_t *out)
{
    if (!eval_int(s, it->extent[d], out)) return false;
    if (*out >= 0 && *out < (INT64_C(1) << EXTENT_BITS)) return true;
    struct buf b;
    buf_init(&b, 200);
    node_print(&b, it->extent[d], 0);
    err_set(s->e, RC_INPUT, "task.extent",
            "%s: dimension %d of %s is %s = %" PRId64 "; an extent lies in 0..2^%d", s->op->name, d,
            it->name, b.p, *out, EXTENT_BITS);
    buf_fini(&b);
    return false;
}

bool task_tensor_range(const struct task_tensor *t, int64_t *lo, int64_t *hi)
{
    bool is_signed = dtype_is_signed(t->dtype);
    int bits = dtype_bits(t->dtype) - is_signed;
    int64_t top = bits > DATA_BITS ? INT64_C(1) << DATA_BITS : (INT64_C(1) << bits) - 1;
    int64_t low = is_signed ? -top - (bits <= DATA_BITS) : 0;
    if (dtype_is_float(t->dtype)) {
        top = t->dtype == TYPE_F16 ? HALF_MOST : INT64_C(1) << DATA_BITS;
        low = -top;
    }
    *lo = t->ranged ? i64_max(t->lo, low) : low;
    *hi = !t->ranged || t->hi > top ? top : t->hi > low ? t->hi - 1 : low - 1;
    return *lo <= *hi;
}

/* `in 0..V` with V = 0: nobody can call that, unless there is nothing to have a value. */
static bool check_range(struct scope_values *s, const struct item *it, const struct task_tensor *t)
{
    int64_t lo, hi;
    if (t->scope == SCOPE_OUT || t->elements == 0 || task_tensor_range(t, &lo, &hi)) return true;
    struct buf b;
    buf_init(&b, 300);
    node_print(&b, it->lo, 0);
    buf_puts(&b, "..");
    node_print(&b, it->hi, 0);
    dsl_error(s->e, s->file, it->line, it->col, "task.range",
              "the range %s of '%s' is empty here: no %s v has %" PRId64 " <= v < %" PRId64
              ", so its %" PRId64 " elements cannot have values",
              b.p, it->name, dtype_name(t->dtype), t->lo, t->hi, t->elements);
    buf_fini(&b);
    return false;
}

static bool bind_tensor(struct scope_values *s, const struct item *it, struct task_tensor *t)
{
    struct layout_term layout[16];
    int n = 0;
    *t = (struct task_tensor){.name = it->name, .scope = it->scope, .rank = it->rank};
    if (!dtype_of_name(s, it->type, &t->dtype)) {
        dsl_error(s->e, s->file, it->line, it->col, "dsl.dtype", "'%s' is not a dtype", it->type);
        return false;
    }
    for (int d = 0; d < it->rank; d++)
        if (!bind_extent(s, it, d, &t->extent[d])) return false;
    if (!bind_layout(s, it, t->extent, layout, &n)) return false;
    t->elements = layout_elements(t->extent, it->rank, layout, n);
    if (t->elements < 0 ||
        __builtin_mul_overflow(t->elements, (int64_t)dtype_bytes(t->dtype), &t->bytes)) {
        err_set(s->e, RC_INPUT, "task.overflow", "%s: the size of %s does not fit in 64 bits",
                s->op->name, it->name);
        return false;
    }
    if (it->lo) {
        t->ranged = true;
        if (!eval_int(s, it->lo, &t->lo) || !eval_int(s, it->hi, &t->hi)) return false;
    }
    return check_range(s, it, t);
}

bool bind_tensors(struct scope_values *s, const struct body *b, struct task_tensor *out, int max,
                  int *n)
{
    *n = 0;
    for (int i = 0; i < b->n; i++) {
        const struct item *it = b->item[i];
        bool live = false;
        if (it->kind != ITEM_TENSOR || it->scope == SCOPE_TEMP) continue;
        if (!eval_cond(s, it->when, &live)) return false;
        if (!live) continue;
        for (int k = 0; k < *n; k++)
            if (strcmp(out[k].name, it->name) == 0) {
                dsl_error(s->e, s->file, it->line, it->col, "dsl.duplicate",
                          "two declarations of '%s' hold for this task", it->name);
                return false;
            }
        if (*n == max) {
            dsl_error(s->e, s->file, it->line, it->col, "dsl.limit", "more than %d tensors", max);
            return false;
        }
        if (!bind_tensor(s, it, &out[(*n)++])) return false;
    }
    return true;
}
