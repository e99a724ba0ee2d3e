/* Simplification against brute force: random integer expressions over variables with random ranges
 * (some bounds are expressions of outer variables, some facts are given), evaluated at points
 * inside.
 *
 * Properties: the value is kept; simplify(simplify(e)) == simplify(e); expr_range holds every
 * value; env_proves is never wrong. The share of conditions decided is printed, so that a prover
 * that stops proving is seen. Seed: QUERN_SEED, default 1. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "ir/ir.h"

enum { VARS = 4, CASES = 100000, POINTS = 24, PER_IR = 50 };

struct world {
    struct ir *ir;
    struct rng *rng;
    const struct var *var[VARS];
    const struct expr *lo[VARS], *hi[VARS];
    const struct expr *fact; /* NULL = none */
};

static int64_t small(struct rng *r) { return rng_range(r, -9, 9); }

static const struct expr *leaf(struct world *w, int nvars)
{
    if (nvars && rng_chance(w->rng, 0.7))
        return expr_var(w->ir, w->var[rng_range(w->rng, 0, nvars - 1)]);
    return expr_int(w->ir, rng_chance(w->rng, 0.3) ? rng_range(w->rng, -70, 70) : small(w->rng));
}

static const struct expr *divisor(struct world *w)
{
    static const int64_t by[] = {1, 2, 3, 4, 6, 7, 8, 12, 16, -3};
    return expr_int(w->ir, by[rng_range(w->rng, 0, 9)]);
}

static const struct expr *condition(struct world *w, int nvars, int depth);

/* Built without folding half the time, so that the simplifier sees raw forms too. */
static const struct expr *raw(struct world *w, enum op op, const struct expr *x,
                              const struct expr *y)
{
    const struct expr *a[2] = {x, y};
    struct type t = type_of(op_is_predicate(op) ? TYPE_B1 : x->type.dtype);
    return rng_chance(w->rng, 0.5) ? expr_binary(w->ir, op, x, y)
                                   : expr_make(w->ir, op, t, a, 2, NULL);
}

static const struct expr *number(struct world *w, int nvars, int depth)
{
    static const enum op ops[] = {OP_ADD, OP_ADD, OP_ADD, OP_SUB, OP_SUB,
                                  OP_MUL, OP_DIV, OP_MOD, OP_MIN, OP_MAX};
    if (depth == 0 || rng_chance(w->rng, 0.15)) return leaf(w, nvars);
    if (rng_chance(w->rng, 0.05))
        return expr_select(w->ir, condition(w, nvars, depth - 1), number(w, nvars, depth - 1),
                           number(w, nvars, depth - 1));
    enum op op = ops[rng_range(w->rng, 0, 9)];
    const struct expr *x = number(w, nvars, depth - 1);
    if (op == OP_DIV || op == OP_MOD) return raw(w, op, x, divisor(w));
    if (op == OP_MUL && rng_chance(w->rng, 0.8))
        return raw(w, op, x, expr_int(w->ir, small(w->rng)));
    return raw(w, op, x, number(w, nvars, depth - 1));
}

static const struct expr *condition(struct world *w, int nvars, int depth)
{
    static const enum op ops[] = {OP_LT, OP_LE, OP_LT, OP_LE, OP_EQ, OP_NE};
    if (depth > 0 && rng_chance(w->rng, 0.2))
        return raw(w, rng_chance(w->rng, 0.6) ? OP_AND : OP_OR, condition(w, nvars, depth - 1),
                   condition(w, nvars, depth - 1));
    if (rng_chance(w->rng, 0.05))
        return expr_unary(w->ir, OP_NOT, condition(w, nvars, depth > 0 ? depth - 1 : 0));
    return raw(w, ops[rng_range(w->rng, 0, 5)], number(w, nvars, depth), number(w, nvars, depth));
}

static int64_t value(const struct world *w, const struct expr *e, const int64_t *at)
{
    int64_t a[3] = {0, 0, 0};
    for (int i = 0; i < e->n; i++) a[i] = value(w, e->a[i], at);
    switch ((enum op)e->op) {
    case OP_INT:
        return e->u.i;
    case OP_VAR:
        for (int i = 0; i < VARS; i++)
            if (w->var[i] == e->u.var) return at[i];
        ck_abort_msg("unknown variable");
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
    case OP_NEG:
        return -a[0];
    case OP_AND:
        return a[0] & a[1];
    case OP_OR:
        return a[0] | a[1];
    case OP_NOT:
        return !a[0];
    case OP_EQ:
        return a[0] == a[1];
    case OP_NE:
        return a[0] != a[1];
    case OP_LT:
        return a[0] < a[1];
    case OP_LE:
        return a[0] <= a[1];
    case OP_SELECT:
        return a[0] ? a[1] : a[2];
    default:
        ck_abort_msg("unexpected operator %s", op_name((enum op)e->op));
    }
    return 0;
}

/* Random bounds; each may mention the variables before it. */
static struct env *make_world(struct world *w)
{
    struct env *env = env_new(w->ir);
    w->fact = NULL;
    for (int i = 0; i < VARS; i++) {
        char name[2] = {(char)('a' + i), 0};
        w->var[i] = var_new(w->ir, name, type_of(TYPE_S64));
        w->lo[i] = rng_chance(w->rng, 0.8)
                       ? expr_int(w->ir, rng_chance(w->rng, 0.6) ? 0 : small(w->rng))
                       : number(w, i, 1);
        const struct expr *size = expr_int(w->ir, rng_range(w->rng, 1, 17));
        w->hi[i] = expr_add(w->ir, w->lo[i], size);
        if (rng_chance(w->rng, 0.3))
            w->hi[i] = expr_binary(w->ir, OP_MIN, w->hi[i], number(w, i, 1));
        env_put(env, w->var[i], w->lo[i], w->hi[i]);
    }
    if (rng_chance(w->rng, 0.4)) {
        w->fact = condition(w, VARS, 1);
        env_fact(env, w->fact);
    }
    return env;
}

/* Points inside the environment; may be none (contradicting bounds). */
static int sample(struct world *w, int64_t at[POINTS][VARS])
{
    int n = 0;
    for (int tries = 0; tries < POINTS * 4 && n < POINTS; tries++) {
        bool inside = true;
        for (int i = 0; i < VARS && inside; i++) {
            int64_t lo = value(w, w->lo[i], at[n]), hi = value(w, w->hi[i], at[n]);
            inside = lo < hi;
            if (!inside) break;
            int64_t edge = rng_range(w->rng, 0, 3);
            at[n][i] = edge == 0 ? lo : edge == 1 ? hi - 1 : rng_range(w->rng, lo, hi - 1);
        }
        if (inside && (!w->fact || value(w, w->fact, at[n]))) n++;
    }
    return n;
}

static void complain(struct world *w, const struct expr *e, const struct expr *s, const int64_t *at)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    expr_print(&b, e);
    buf_puts(&b, "\n  became ");
    expr_print(&b, s);
    for (int i = 0; i < VARS; i++) {
        buf_printf(&b, "\n  %s in ", w->var[i]->name);
        expr_print(&b, w->lo[i]);
        buf_puts(&b, " .. ");
        expr_print(&b, w->hi[i]);
        buf_printf(&b, ", here %lld", at ? (long long)at[i] : 0);
    }
    if (w->fact) {
        buf_puts(&b, "\n  fact ");
        expr_print(&b, w->fact);
    }
    ck_abort_msg("%s", b.p);
}

static int64_t seed(void)
{
    const char *s = getenv("QUERN_SEED");
    return s ? strtoll(s, NULL, 10) : 1;
}

START_TEST(simplify_keeps_the_value_and_is_idempotent)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t)seed());
    int64_t at[POINTS][VARS] = {{0}}, shorter = 0;
    for (int c = 0; c < CASES; c += PER_IR) {
        struct world w = {.ir = ir_new(), .rng = &rng};
        struct env *env = make_world(&w);
        int n = sample(&w, at);
        for (int k = 0; k < PER_IR; k++) {
            const struct expr *e = k % 3 ? number(&w, VARS, 4) : condition(&w, VARS, 3);
            const struct expr *s = expr_simplify(w.ir, env, e),
                              *free = expr_simplify(w.ir, NULL, e);
            if (expr_simplify(w.ir, env, s) != s)
                complain(&w, s, expr_simplify(w.ir, env, s), NULL);
            if (expr_simplify(w.ir, NULL, free) != free)
                complain(&w, free, expr_simplify(w.ir, NULL, free), NULL);
            struct range r = expr_range(env, e);
            for (int p = 0; p < n; p++) {
                int64_t v = value(&w, e, at[p]);
                if (value(&w, s, at[p]) != v) complain(&w, e, s, at[p]);
                if (value(&w, free, at[p]) != v) complain(&w, e, free, at[p]);
                if (v < r.lo || v > r.hi)
                    complain(&w, e, expr_int(w.ir, v < r.lo ? r.lo : r.hi), at[p]);
            }
            shorter += s != e;
        }
        ir_free(w.ir);
    }
    printf("simplify: %d expressions, %.0f %% changed\n", CASES, 100.0 * (double)shorter / CASES);
    ck_assert_int_gt(shorter, CASES / 3);
}
END_TEST

START_TEST(proves_is_never_wrong)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t)seed() + 77);
    int64_t at[POINTS][VARS] = {{0}}, shown = 0, always = 0;
    for (int c = 0; c < CASES; c += PER_IR) {
        struct world w = {.ir = ir_new(), .rng = &rng};
        struct env *env = make_world(&w);
        int n = sample(&w, at);
        for (int k = 0; k < PER_IR; k++) {
            const struct expr *e = condition(&w, VARS, 3);
            bool proved = env_proves(env, e), holds = n == POINTS;
            for (int p = 0; p < n; p++) {
                bool v = value(&w, e, at[p]) != 0;
                holds = holds && v;
                if (proved && !v) complain(&w, e, expr_bool(w.ir, true), at[p]);
            }
            always += holds;
            shown += proved && holds;
        }
        ir_free(w.ir);
    }
    printf("proves: of %lld conditions that hold at every point tried, %.0f %% shown\n",
           (long long)always, 100.0 * (double)shown / (double)always);
    ck_assert_int_gt(shown * 10, always * 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("simplify");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, simplify_keeps_the_value_and_is_idempotent);
    tcase_add_test(t, proves_is_never_wrong);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
