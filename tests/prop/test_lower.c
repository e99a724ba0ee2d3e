/* Random legal schedules of small operators: whatever sched allows, lower keeps its meaning. The
 * scheduled nest and the kernel are both run by the interpreter on small integers: equal bits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "lib/lower_run.h"
#include "sched/sched.h"

enum { NAMES = 64, STEPS = 14 };

static const char *const ops[] = {
    "nest matmul\nin     a: f32[7, 5]\nin     b: f32[5, 13]\nout    y: f32[7, 13]\ntemp   y.sum: "
    "f32[7, 13]\n"
    "stage y.sum\n  for y.sum.m in 0..7\n    for y.sum.n in 0..13\n      for y.sum.k in 0..5 "
    "reduce\n"
    "        y.sum[y.sum.m, y.sum.n] += a[y.sum.m, y.sum.k] * b[y.sum.k, y.sum.n]\n"
    "stage y\n  for y.m in 0..7\n    for y.n in 0..13\n      y[y.m, y.n] = max(y.sum[y.m, y.n], "
    "0.0)\n",

    "nest conv\nin     x: f32[7, 9, 3]\nconst  w: f32[3, 3, 3, 6]\nconst  b: f32[6]\nout    y: "
    "f32[7, 9, 6]\n"
    "temp   acc: f32[7, 9, 6]\n"
    "stage acc\n  for acc.p in 0..7\n    for acc.q in 0..9\n      for acc.k in 0..6\n        for "
    "acc.r in 0..3 reduce\n"
    "          for acc.s in 0..3 reduce\n            for acc.c in 0..3 reduce\n"
    "              acc[acc.p, acc.q, acc.k] += (x[acc.p + acc.r - 1, acc.q + acc.s - 1, acc.c] if "
    "0 <= acc.p + acc.r - 1 & "
    "acc.p + acc.r - 1 < 7 & 0 <= acc.q + acc.s - 1 & acc.q + acc.s - 1 < 9 else 0.0) * w[acc.r, "
    "acc.s, acc.c, acc.k]\n"
    "stage y\n  for y.p in 0..7\n    for y.q in 0..9\n      for y.k in 0..6\n"
    "        y[y.p, y.q, y.k] = max(acc[y.p, y.q, y.k] + b[y.k], 0.0)\n",

    "nest strided\nin     x: f32[3, 11]\nin     w: f32[4, 3, 3]\nout    y: f32[4, 6]\n"
    "stage y\n  for y.k in 0..4\n    for y.q in 0..6\n      for y.c in 0..3 reduce\n        for "
    "y.s in 0..3 reduce\n"
    "          y[y.k, y.q] += (x[y.c, y.q * 2 + y.s - 1] if 0 <= y.q * 2 + y.s - 1 & y.q * 2 + y.s "
    "- 1 < 11 else 0.0) * w[y.k, y.c, y.s]\n",

    "nest pool\nin     x: f32[9, 9, 5]\nout    y: f32[5, 5, 5]\n"
    "stage y\n  for y.p in 0..5\n    for y.q in 0..5\n      for y.c in 0..5\n        for y.r in "
    "0..3 reduce\n          for y.s in 0..3 reduce\n"
    "            y[y.p, y.q, y.c] max= (x[y.p * 2 + y.r - 1, y.q * 2 + y.s - 1, y.c] if 0 <= y.p * "
    "2 + y.r - 1 & "
    "y.p * 2 + y.r - 1 < 9 & 0 <= y.q * 2 + y.s - 1 & y.q * 2 + y.s - 1 < 9 else f32(-inf))\n",

    "nest arg\nin     x: s32[6, 19]\nout    v: s32[6]\nout    i: s32[6]\n"
    "stage v\n  for v.m in 0..6\n    for v.k in 0..19 reduce\n      {v, i}[v.m] argmax= {x[v.m, "
    "v.k], cast(s32, v.k)}\n",

    "nest chain\nin     x: s32[9, 10]\nout    y: s32[10, 9]\ntemp   t: s32[9, 10]\ntemp   s: "
    "s32[9]\n"
    "stage t\n  for t.i in 0..9\n    for t.j in 0..10\n      t[t.i, t.j] = x[t.i, t.j] * s32(3) - "
    "x[t.i, 9 - t.j]\n"
    "stage s\n  for s.i in 0..9\n    for s.j in 0..10 reduce\n      s[s.i] += t[s.i, s.j]\n"
    "stage y\n  for y.j in 0..10\n    for y.i in 0..9\n      y[y.j, y.i] = t[y.i, y.j] * s32(2) + "
    "s[y.i]\n",

    "nest blocks\nin     x: f32[2, 21] store 0,1/8,1%8\nout    y: f32[2, 21] store 1/4,0,1%4\n"
    "stage y\n  for y.n in 0..2\n    for y.c in 0..21\n      y[y.n, y.c] = x[y.n, y.c] + x[y.n, 20 "
    "- y.c]\n",

    "nest dyn\ndyn    N\nin     x: f32[N, 5]\nin     w: f32[5]\nout    y: f32[N]\n"
    "stage y\n  for y.n in 0..N\n    for y.k in 0..5 reduce\n      y[y.n] += x[y.n, y.k] * "
    "w[y.k]\n",
};

struct names {
    const char *loop[NAMES], *stage[NAMES], *tensor[NAMES];
    int nloop, nstage, ntensor;
};

static bool collect(struct stmt *s, void *ctx)
{
    struct names *n = ctx;
    if (s->kind == ST_FOR && n->nloop < NAMES) n->loop[n->nloop++] = s->u.loop.var->name;
    if (s->kind == ST_STAGE && n->nstage < NAMES) n->stage[n->nstage++] = s->u.stage.name;
    if (s->kind == ST_ALLOC && n->ntensor < NAMES)
        n->tensor[n->ntensor++] = s->u.alloc.tensor->name;
    return true;
}

static const char *pick(struct rng *r, const char *const *p, int n)
{
    return n ? p[rng_range(r, 0, n - 1)] : "none";
}

static struct step random_step(struct rng *r, struct nest *n, struct arena *a, int serial)
{
    static const char *tails[] = {"guard", "peel", "mask", "shift", "pad", "exact"},
                      *scopes[] = {"reg", "stack", "scratch"};
    static const enum prim kinds[] = {PRIM_SPLIT,      PRIM_SPLIT,     PRIM_SPLIT,  PRIM_SPLIT,
                                      PRIM_REORDER,    PRIM_REORDER,   PRIM_FUSE,   PRIM_COMPUTE_AT,
                                      PRIM_COMPUTE_AT, PRIM_INLINE,    PRIM_CACHE,  PRIM_PACK,
                                      PRIM_VECTORIZE,  PRIM_VECTORIZE, PRIM_UNROLL, PRIM_UNROLL,
                                      PRIM_PARALLEL,   PRIM_RFACTOR};
    struct names m = {.nloop = 0};
    stmt_walk(n->body, collect, &m);
    for (int i = 0; i < n->ntensor && m.ntensor < NAMES; i++)
        m.tensor[m.ntensor++] = n->tensor[i]->name;
    struct step s = {.prim = kinds[rng_range(r, 0, (int64_t)QN_COUNT(kinds) - 1)]};
    const char *loop = pick(r, m.loop, m.nloop);
    s.arg[s.n++] = loop;
    switch (s.prim) {
    case PRIM_SPLIT:
        s.arg[s.n++] = arena_printf(a, "%d", (int)rng_range(r, 1, 9));
        s.arg[s.n++] = tails[rng_range(r, 0, 5)];
        s.arg[s.n++] = arena_printf(a, "%s.o%d", loop, serial);
        s.arg[s.n++] = arena_printf(a, "%s.i%d", loop, serial);
        break;
    case PRIM_FUSE:
        s.arg[s.n++] = pick(r, m.loop, m.nloop);
        s.arg[s.n++] = arena_printf(a, "%s.f%d", loop, serial);
        break;
    case PRIM_REORDER:
        s.arg[s.n++] = pick(r, m.loop, m.nloop);
        if (rng_chance(r, 0.5)) s.arg[s.n++] = pick(r, m.loop, m.nloop);
        break;
    case PRIM_COMPUTE_AT:
        s.arg[0] = pick(r, m.stage, m.nstage);
        s.arg[s.n++] = loop;
        if (rng_chance(r, 0.8)) s.arg[s.n++] = scopes[rng_range(r, 0, 2)];
        break;
    case PRIM_INLINE:
        s.arg[0] = pick(r, m.stage, m.nstage);
        break;
    case PRIM_CACHE:
        s.arg[0] = pick(r, m.tensor, m.ntensor);
        s.arg[s.n++] = loop;
        s.arg[s.n++] = scopes[rng_range(r, 0, 2)];
        break;
    case PRIM_PACK:
        s.arg[0] = pick(r, m.tensor, m.ntensor);
        s.arg[s.n++] = loop;
        break;
    case PRIM_RFACTOR:
        s.arg[s.n++] = arena_printf(a, "rf%d", serial);
        break;
    default:
        break;
    }
    return s;
}

static void print_steps(struct buf *b, const struct step *steps, int n)
{
    for (int i = 0; i < n; i++) {
        buf_printf(b, "  prim %d:", (int)steps[i].prim);
        for (int k = 0; k < steps[i].n; k++) buf_printf(b, " %s", steps[i].arg[k]);
        buf_putc(b, '\n');
    }
}

struct tally {
    int cases, steps, vectors, refused, rejected, broken;
};

static void one_case(uint64_t seed, struct tally *tally)
{
    struct rng r;
    rng_seed(&r, seed);
    struct ir *ir = ir_new();
    struct nest *n = lower_parse(ir, ops[rng_range(&r, 0, (int64_t)QN_COUNT(ops) - 1)]);
    struct step done[STEPS];
    int ndone = 0, want = (int)rng_range(&r, 2, STEPS);
    struct rejection why;
    for (int i = 0; i < 60 && ndone < want; i++) {
        struct step s = random_step(&r, n, ir->arena, i);
        if (sched_apply_step(n, &s, &why) == RC_OK) done[ndone++] = s;
    }
    struct lower_case c = {.target = lower_target(rng_chance(&r, 0.5)),
                           .seed = seed,
                           .dyn = {rng_range(&r, 0, 20)}};
    struct err e = {0};
    tally->cases++;
    tally->steps += ndone;
    for (int i = 0; i < ndone; i++) tally->vectors += done[i].prim == PRIM_VECTORIZE;
    if (sched_finish(n, &why) != RC_OK) {
        tally->rejected++;
    } else if (!lower_agrees(n, &c, &e)) {
        struct buf b;
        buf_init(&b, 1 << 20);
        print_steps(&b, done, ndone);
        nest_print(&b, n);
        if (strcmp(e.code, "scheduled") == 0)
            tally->broken++;
        else if (e.rc == RC_FAIL && strncmp(e.code, "lower.", 6) == 0)
            tally->refused++;
        else
            ck_abort_msg("seed %llu masks %d: %s: %s\n%s", (unsigned long long)seed,
                         (int)c.target.masks, e.code, e.msg, b.p);
        buf_fini(&b);
    }
    lower_case_free(&c);
    ir_free(ir);
}

START_TEST(random_schedules)
{
    struct tally t = {.cases = 0};
    const char *only = getenv("QN_SEED"), *many = getenv("QN_CASES");
    int n = many ? (int)strtol(many, NULL, 10) : 100;
    if (only)
        one_case(strtoull(only, NULL, 10), &t);
    else
        for (int i = 0; i < n; i++) one_case((uint64_t)_i * 1000003 + (uint64_t)i, &t);
    if (getenv("QN_SHOW"))
        printf("%d cases, %.1f steps each, %d vector loops, %d rejected by finish, %d refused by "
               "lower, %d broken before\n",
               t.cases, (double)t.steps / t.cases, t.vectors, t.rejected, t.refused, t.broken);
    if (!only) {
        ck_assert_int_ge(t.vectors, n / 10);
        ck_assert_int_le(t.rejected + t.refused, n / 2);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop_lower");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 200);
    tcase_add_loop_test(t, random_schedules, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
