/* Regions against brute force: random loop nests with random quasi-affine subscripts, guards and
 * clipped loops; every element the interpreter's order would touch lies in the box, for every value
 * of the loops outside.
 *
 * Prints how often a region was given, how often it was exactly the hull, and why not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "ir/ir.h"
#include "lib/ir_util.h"

enum { CASES = 20000, LOOPS = 4 };

struct gen {
    struct rng *rng;
    struct buf b;
    int64_t hi[LOOPS];
    int clipped; /* loop 2 or 3 with a symbolic bound, or -1 */
    int outer;   /* loops outside the statement asked about */
};

static void put_term(struct gen *g, bool first)
{
    int v = (int)rng_range(g->rng, 0, LOOPS - 1), kind = (int)rng_range(g->rng, 0, 9);
    int64_t k = rng_range(g->rng, 1, 6), c = rng_range(g->rng, 2, 9),
            w = rng_range(g->rng, 0, LOOPS - 1);
    if (!first) buf_puts(&g->b, rng_chance(g->rng, 0.8) ? " + " : " - ");
    if (kind < 6)
        buf_printf(&g->b, "v%d * %lld", v, (long long)k);
    else if (kind == 6)
        buf_printf(&g->b, "(v%d * %lld + v%lld) / %lld", v, (long long)k, (long long)w,
                   (long long)c);
    else if (kind == 7)
        buf_printf(&g->b, "(v%d * %lld + v%lld) %% %lld", v, (long long)k, (long long)w,
                   (long long)c);
    else
        buf_printf(&g->b, "%s(v%d * %lld, %lld)", kind == 8 ? "min" : "max", v, (long long)k,
                   (long long)(3 * c));
}

static void put_subscript(struct gen *g)
{
    int terms = (int)rng_range(g->rng, 1, 3);
    for (int i = 0; i < terms; i++) put_term(g, i == 0);
    buf_printf(&g->b, " + %lld", (long long)rng_range(g->rng, -3, 9));
}

static void make_text(struct gen *g)
{
    buf_reset(&g->b);
    buf_puts(&g->b, "nest t\nin x: f32[1000, 1000]\nout y: f32[100]\n");
    g->clipped = rng_chance(g->rng, 0.4) ? (int)rng_range(g->rng, 2, 3) : -1;
    for (int i = 0; i < LOOPS; i++) {
        g->hi[i] = rng_range(g->rng, 1, 7);
        buf_indent(&g->b, i);
        if (i == g->clipped)
            buf_printf(&g->b, "for v%d in 0..min(%lld, %lld - v%d * 2)\n", i, (long long)g->hi[i],
                       (long long)rng_range(g->rng, 1, 14), i - 1);
        else
            buf_printf(&g->b, "for v%d in 0..%lld\n", i, (long long)g->hi[i]);
    }
    buf_indent(&g->b, LOOPS);
    buf_puts(&g->b, "y[0] = x[");
    put_subscript(g);
    buf_puts(&g->b, ", ");
    put_subscript(g);
    buf_puts(&g->b, "]\n");
    g->outer = (int)rng_range(g->rng, 0, LOOPS - 1);
}

static int64_t value(const struct expr *e, const int64_t *at)
{
    int64_t a[2] = {0, 0};
    for (int i = 0; i < e->n; i++) a[i] = value(e->a[i], at);
    switch ((enum op)e->op) {
    case OP_INT:
        return e->u.i;
    case OP_VAR:
        return at[e->u.var->name[1] - '0'];
    case OP_ADD:
        return a[0] + a[1];
    case OP_SUB:
        return a[0] - a[1];
    case OP_MUL:
        return a[0] * a[1];
    case OP_DIV:
        return i64_floordiv(a[0], a[1]);
    case OP_MOD:
        return i64_floormod(a[0], a[1]);
    case OP_MIN:
        return i64_min(a[0], a[1]);
    case OP_MAX:
        return i64_max(a[0], a[1]);
    default:
        ck_abort_msg("unexpected %s", op_name((enum op)e->op));
    }
    return 0;
}

struct walk {
    const struct stmt *loop[LOOPS];
    const struct expr *const *idx;
    int outer;
    const struct region *r;
    int64_t at[LOOPS];
    int64_t lo[2], hi[2]; /* hull at the current outer point */
    bool any, exact, tested;
    const char *text;
};

static void compare(struct walk *w)
{
    for (int d = 0; d < 2 && w->any; d++) {
        int64_t extent = 0, lo = value(w->r->lo[d], w->at);
        ck_assert_msg(expr_is_int(w->r->extent[d], &extent), "extent of %s is not a constant",
                      w->text);
        ck_assert_msg(lo <= w->lo[d] && w->hi[d] < lo + extent,
                      "%s\ndimension %d: box %s at %lld size %lld misses %lld..%lld", w->text, d,
                      ir_util_expr(w->r->lo[d]), (long long)lo, (long long)extent,
                      (long long)w->lo[d], (long long)w->hi[d]);
        w->exact = w->exact && lo == w->lo[d] && w->hi[d] + 1 == lo + extent;
        w->tested = true;
    }
}

static void visit(struct walk *w, int level)
{
    if (level == w->outer) w->any = false;
    if (level == LOOPS) {
        for (int d = 0; d < 2; d++) {
            int64_t v = value(w->idx[d], w->at);
            w->lo[d] = w->any ? i64_min(w->lo[d], v) : v;
            w->hi[d] = w->any ? i64_max(w->hi[d], v) : v;
        }
        w->any = true;
    } else {
        int64_t hi = value(w->loop[level]->u.loop.hi, w->at);
        for (int64_t i = 0; i < hi; i++) {
            w->at[level] = i;
            visit(w, level + 1);
        }
    }
    if (level == w->outer) compare(w);
}

START_TEST(a_region_covers_every_access)
{
    struct rng rng;
    struct gen g = {.rng = &rng};
    int given = 0, exact = 0, tested = 0;
    rng_seed(&rng, 3);
    buf_init(&g.b, 1 << 16);
    for (int c = 0; c < CASES; c++) {
        struct ir *ir = ir_new();
        make_text(&g);
        struct nest *n = ir_util_nest(ir, g.b.p);
        struct walk w = {.outer = g.outer, .exact = true, .text = g.b.p};
        struct stmt *s = n->body->u.block.p[0];
        for (int i = 0; i < LOOPS; i++, s = *stmt_body(s)) w.loop[i] = s;
        w.idx = s->u.store.value->a;
        struct region r;
        const char *why = NULL;
        if (region_read(n, (struct stmt *)w.loop[g.outer], nest_tensor(n, "x"), &r, &why)) {
            w.r = &r;
            visit(&w, 0);
            given++;
            tested += w.tested;
            exact += w.tested && w.exact;
        }
        ir_free(ir);
    }
    printf("regions: %d nests, %.1f %% given, %.1f %% exact\n", CASES, 100.0 * given / CASES,
           100.0 * exact / tested);
    ck_assert_int_gt(given, CASES * 9 / 10);
    ck_assert_int_gt(exact * 2, tested);
    buf_fini(&g.b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("region");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_region_covers_every_access);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
