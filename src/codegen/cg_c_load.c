/* cg_c_load: loads of whole vectors.
 *
 *   x[splat(i*32) + ramp(0, 1, 16) / 2 * 4 + ramp(0, 1, 16) % 2]   ->
 *   const v_f32x16 t = *(const u_f32x16 *)&x[i * 32], t_2 = *(const u_f32x16 *)&x[i * 32 + 14];
 *   qn_shuffle(t, t_2)      lanes 0, 1, 4, 5, .. of the first, then those of the second
 *
 * Invariants: loads touch only the reach of the subscript (lower/window.c); masked loads touch only enabled lanes; NULL: no form of its own, lane by lane instead. */
#include <stdlib.h>

#include "base/map.h"
#include "codegen/cg_c.h"

enum { LANES_MAX = 64 };

static const char *wide_load(struct cc *c, const struct tensor *t, struct type type,
                             const struct expr *at, int64_t extra)
{
    return cc_fmt(c, "(*(const %s *)(const void *)&%s)", cc_unaligned_type(c, type),
                  cc_at(c, t, at, extra));
}

/* Shuffle of two vectors of the type by constant indices, as a function of its own: compilers
 * differ in the builtin. */
static const char *shuffle(struct cc *c, struct type t, const int *sel, const char *a,
                           const char *b)
{
    const char *type = cc_vector_type(c, t), *itype = cc_vector_type(c, cc_int_like(t, true));
    struct buf list;
    buf_init(&list, 1 << 16);
    for (int i = 0; i < t.lanes; i++) buf_printf(&list, "%s%d", i ? ", " : "", sel[i]);
    const char *key = cc_fmt(c, "shuffle %s %s", type, list.p), *name = map_get(c->have, key);
    if (!name) {
        name = cc_fmt(c, "qn_shuffle_%zu", map_count(c->have));
        map_put(c->have, key, (void *)(uintptr_t)name);
        buf_printf(
            &c->helpers,
            "QN_FN static inline %s %s(%s a, %s b)\n{\n#if defined(__clang__) || __GNUC__ >= 12\n"
            "    return __builtin_shufflevector(a, b, %s);\n#else\n    return __builtin_shuffle(a, "
            "b, (%s){%s});\n"
            "#endif\n}\n\n",
            type, name, type, type, list.p, itype, list.p);
    }
    buf_fini(&list);
    return cc_fmt(c, "%s(%s, %s)", name, a, b);
}

/* Elements sel[i] of a window shorter than the vector: one by one; of a table, as literals. */
static const char *narrow_window(struct cc *c, const struct tensor *t, struct type type,
                                 const struct expr *at, int64_t first, const int *sel)
{
    struct buf b;
    int64_t base = 0;
    if (t->scope == SCOPE_TABLE && dtype_is_float((enum dtype)t->type.dtype) &&
        expr_is_int(at, &base)) {
        buf_init(&b, 1 << 16);
        buf_printf(&b, "((%s){", cc_vector_type(c, type));
        for (int i = 0; i < type.lanes; i++) {
            double v = expr_real(c->ir, t->type, t->table[base + first + sel[i]])->u.f;
            buf_printf(&b, "%s%s", i ? ", " : "", cc_bare(c, cc_real(c, t->type.dtype, v)));
        }
        buf_puts(&b, "})");
        const char *literal = arena_strdup(c->a, b.p);
        buf_fini(&b);
        return literal;
    }
    const char *p = cc_name(c, "p");
    cc_line(c, "const %s *const %s = &%s;", cc_memory_type((enum dtype)type.dtype), p,
            cc_at(c, t, at, first));
    buf_init(&b, 1 << 16);
    buf_printf(&b, "((%s){", cc_vector_type(c, type));
    for (int i = 0; i < type.lanes; i++) buf_printf(&b, "%s%s[%d]", i ? ", " : "", p, sel[i]);
    buf_puts(&b, "})");
    const char *text = arena_strdup(c->a, b.p);
    buf_fini(&b);
    return text;
}

/* The first two vectors are shuffled at once, each further one into what they gave. */
static const char *whole_window(struct cc *c, const struct tensor *t, struct type type,
                                const struct expr *at, const struct window *w)
{
    const char *out = NULL, *one = NULL;
    int lanes = type.lanes, sel[LANES_MAX] = {0};
    for (int k = 0; k < w->n; k++) {
        const char *v = cc_hold(c, type, wide_load(c, t, type, at, w->start[k]));
        for (int i = 0; i < lanes; i++)
            if (w->vector[i] == k)
                sel[i] = (one ? lanes : 0) + w->lane[i];
            else if (out && w->vector[i] < k)
                sel[i] = i;
        if (one) out = shuffle(c, type, sel, out ? out : one, v);
        one = v;
    }
    return out ? out : shuffle(c, type, sel, one, one);
}

static const char *window(struct cc *c, const struct tensor *t, struct type type,
                          const struct access_info *a)
{
    struct window w;
    enum window_fit fit = window_plan(&c->reach, c->at, t, a, type.lanes, type.lanes, &w);
    if (fit == WINDOW_FAR) return NULL;
    bool known = t->scope == SCOPE_TABLE && a->base->op == OP_INT;
    if (fit == WINDOW_SHORT || !cc_fits_register(c, type) || known)
        return narrow_window(c, t, type, a->base, w.first, w.sel);
    return whole_window(c, t, type, a->base, &w);
}

/* The address is a number: it may lie past the tensor. */
static void prefetch(struct cc *c, const struct tensor *t, const struct access_info *a, int lanes)
{
    struct ahead x;
    if (!c->vector || !ahead_find(&c->reach, c->at, t, a, lanes, c->t, c->o->ahead, &x)) return;
    for (int64_t i = x.lo; i < x.hi; i += x.step) {
        const struct expr *at = expr_add(c->ir, x.from, expr_int(c->ir, i));
        cc_line(c,
                "__builtin_prefetch((const void *)((uintptr_t)%s + (uintptr_t)(%s) * %d), 0, %d);",
                cc_base(c, t), cc_bare(c, cc_expr(c, at)), dtype_bytes((enum dtype)t->type.dtype),
                x.near);
    }
}

const char *cc_load_vector(struct cc *c, const struct expr *e)
{
    const struct tensor *t = e->u.tensor;
    struct access_info a;
    int sel[LANES_MAX], lanes = e->type.lanes;
    access_classify(c->ir, e->a[0], &a);
    prefetch(c, t, &a, lanes);
    if (a.kind == ACCESS_CONTIGUOUS) return wide_load(c, t, e->type, a.base, 0);
    int64_t far = 0;
    const struct expr *at_ramp = e->a[0];
    if (a.kind == ACCESS_GATHER && at_ramp->op == OP_RAMP && expr_is_int(at_ramp->a[1], &far) &&
        llabs(far) < 1 << 20) {
        for (int i = 0; i < lanes; i++) sel[i] = (int)(far * i);
        return narrow_window(c, t, e->type, at_ramp->a[0], 0, sel);
    }
    if (a.kind != ACCESS_STRIDED && a.kind != ACCESS_PERMUTE) return NULL;
    return window(c, t, e->type, &a);
}

/* Bits of the elements that running lanes want: lanes that move alike move together. NULL: too many
 * ways to move. */
static const char *wanted_bits(struct cc *c, const char *bits, const int *sel, int lanes)
{
    enum { MOVES_MOST = 8 };
    const char *all = NULL;
    bool done[LANES_MAX] = {false};
    for (int i = 0, moves = 0; i < lanes; i++) {
        if (done[i]) continue;
        if (moves++ == MOVES_MOST) return NULL;
        uint64_t from = 0;
        int by = sel[i] - i;
        for (int j = i; j < lanes; j++) {
            if (done[j] || sel[j] - j != by) continue;
            done[j] = true;
            from |= UINT64_C(1) << j;
        }
        const char *some = cc_fmt(c, "((%s & UINT64_C(0x%llx)) %s %d)", bits,
                                  (unsigned long long)from, by < 0 ? ">>" : "<<", abs(by));
        all = all ? cc_fmt(c, "%s | %s", all, some) : some;
    }
    return all;
}

/* A window no longer than the vector: one masked load, one shuffle; lanes that do not run take the
 * default. */
static const char *masked_window(struct cc *c, const struct expr *e, const struct access_info *a)
{
    int lanes = e->type.lanes;
    struct window w;
    const char *name, *elem, *mtype;
    if (a->kind != ACCESS_STRIDED && a->kind != ACCESS_PERMUTE) return NULL;
    window_lanes(a, lanes, &w);
    if (w.span > lanes) return NULL;
    if (!cc_masked_builtin(c, e->type, false, &name, &elem, &mtype)) return NULL;
    const char *bits = cc_kmask(c, e->a[0]), *k = cc_name(c, "k");
    const char *wanted = bits ? wanted_bits(c, k, w.sel, lanes) : NULL;
    if (!wanted) return NULL;
    cc_line(c, "const uint64_t %s = %s;", k, cc_bare(c, bits));
    const char *type = cc_vector_type(c, e->type),
               *it = cc_vector_type(c, cc_int_like(e->type, true));
    const char *v = cc_fmt(c, "((%s)%s((const void *)&%s, (%s){0}, (%s)(%s)))", type, name,
                           cc_at(c, e->u.tensor, a->base, w.first), elem, mtype, wanted);
    v = cc_hold(c, e->type, v);
    v = cc_hold(c, e->type, shuffle(c, e->type, w.sel, v, v));
    const char *m = cc_hold(c, cc_int_like(e->type, true), cc_mask(c, e->a[0], cc_bytes(e->type)));
    return cc_fmt(c, "((%s)((%s & (%s)%s) | (~%s & (%s)%s)))", type, m, it, v, m, it,
                  cc_vector(c, e->a[1]));
}

const char *cc_load_guarded(struct cc *c, const struct expr *e)
{
    struct access_info a;
    const char *name, *elem, *mtype;
    access_classify(c->ir, e->a[2], &a);
    if (a.kind != ACCESS_CONTIGUOUS && e->a[0]->type.lanes > 1) return masked_window(c, e, &a);
    if (a.kind != ACCESS_CONTIGUOUS) return NULL;
    if (e->a[0]->type.lanes > 1) {
        if (!cc_masked_builtin(c, e->type, false, &name, &elem, &mtype)) return NULL;
        const char *bits = cc_kmask(c, e->a[0]);
        if (!bits) return NULL;
        const char *other = cc_vector(c, e->a[1]), *at = cc_at(c, e->u.tensor, a.base, 0);
        return cc_fmt(c, "((%s)%s((const void *)&%s, (%s)%s, (%s)%s))", cc_vector_type(c, e->type),
                      name, at, elem, other, mtype, bits);
    }
    const char *v = cc_name(c, "t");
    const char *cond = cc_bare(c, cc_expr(c, e->a[0])), *other = cc_bare(c, cc_vector(c, e->a[1]));
    cc_line(c, "%s %s = %s;", cc_vector_type(c, e->type), v, other);
    cc_line(c, "if (%s) {", cond);
    uint32_t saved;
    c->fn->depth++;
    cc_scope_push(c, &saved);
    cc_line(c, "%s = %s;", v, cc_bare(c, wide_load(c, e->u.tensor, e->type, a.base, 0)));
    cc_scope_pop(c, saved);
    c->fn->depth--;
    cc_line(c, "}");
    return v;
}
