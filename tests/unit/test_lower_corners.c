/* lower, where random operators hardly come: small nests for single rules of its passes, each found
 * missing by a deliberate fault (mutation/faults.txt). The kernel against the nest, both
 * interpreted.
 *
 *   two registers that overlap   ->   the tile becomes an array, and still computes the same
 *
 * Invariant: same() compares with masks and without. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"
#include "lower/private.h"

static void same(const char *text)
{
    for (int masks = 0; masks < 2; masks++) {
        struct lower_case c = {.target = lower_target(masks)};
        lower_same(text, &c);
        lower_case_free(&c);
    }
}

/* Both conditions are of lanes, with a loop between them: a lane runs where both hold. */
START_TEST(masks_inside_masks)
{
    same("nest both\n"
         "in     x: f32[20, 3]\n"
         "out    y: f32[20]\n"
         "stage y\n"
         "  for jo in 0..3\n"
         "    for j in 0..8 vector\n"
         "      if jo * 8 + j < 20\n"
         "        for r in 0..3 reduce\n"
         "          if r <= j\n"
         "            y[jo * 8 + j] += x[min(jo * 8 + j, 19), r] + 1.0\n");
}
END_TEST

/* t[0..8) is written, t[4..12) is written over it, both are read: not two registers. */
START_TEST(registers_that_overlap)
{
    same("nest shifted\n"
         "in     x: f32[16]\n"
         "out    y: f32[8]\n"
         "stage y\n"
         "  alloc reg t: f32[12]\n"
         "    stage t\n"
         "      for i in 0..8 vector\n"
         "        t[i] = x[i]\n"
         "    stage t.more\n"
         "      for k in 0..8 vector\n"
         "        t[k + 4] = x[k + 8]\n"
         "    stage y.out\n"
         "      for j in 0..8 vector\n"
         "        y[j] = t[j]\n");
}
END_TEST

/* Under the guard i / 8 is 0; in the next statement the same subscript is not. */
START_TEST(offsets_under_a_guard)
{
    same("nest blocked\n"
         "in     x: f32[16, 3] store 0/8,1,0%8\n"
         "out    y: f32[16, 3]\n"
         "out    z: f32[16, 3]\n"
         "stage y\n"
         "  for i in 0..16\n"
         "    for c in 0..3\n"
         "      y[i, c] = 0.0\n"
         "      if i < 8\n"
         "        y[i, c] = x[i, c]\n"
         "      z[i, c] = x[i, c] * 2.0\n");
}
END_TEST

static int64_t at_three(struct ir *ir, const struct stmt *loop, const struct expr *e)
{
    int64_t v = 0;
    e = expr_simplify(ir, NULL, expr_subst(ir, e, loop->u.loop.var, expr_int(ir, 3)));
    ck_assert(expr_is_int(e, &v));
    return v;
}

/* base and pattern together are the subscript, lane by lane; also where lane 0 is not the lowest.
 */
START_TEST(lanes_at_their_places)
{
    static const char *const subscripts[] = {
        "ramp(i * 8 + 5, 1, 8)",
        "ramp(i, 2, 8)",
        "ramp(i + 70, -1, 8)",
        "ramp(i + 70, -3, 8)",
        "splat(i * 8, 8) + ramp(5, 1, 8) / splat(4, 8)",
        "splat(i * 8, 8) + (splat(3, 8) - ramp(0, 1, 8) % splat(4, 8))",
        "ramp(i * 8, 1, 8) / splat(4, 8) * splat(4, 8) + (splat(3, 8) - ramp(i * 8, 1, 8) % "
        "splat(4, 8))",
        "splat(i + 40, 8) - ramp(2, 1, 8) / splat(2, 8)",
        "splat(i * 8, 8) + ramp(3, 1, 8) % splat(4, 8)",
    };
    for (size_t k = 0; k < QN_COUNT(subscripts); k++) {
        struct ir *ir = ir_new();
        char text[512];
        snprintf(text, sizeof text,
                 "nest t\nin     x: f32[4096]\nout    y: f32[64]\n"
                 "for i in 0..4\n  y[ramp(0, 1, 8)] = x[%s]\n",
                 subscripts[k]);
        const struct stmt *loop = nest_loop(lower_parse(ir, text), "i");
        struct stmt *s = loop->u.loop.body;
        while (s->kind == ST_BLOCK) s = s->u.block.p[0];
        const struct expr *subscript = s->u.store.value->a[0], *base = NULL;
        struct access_info a;
        int64_t off[LANES_MAX], lowest = INT64_MAX, highest = INT64_MIN;
        access_classify(ir, subscript, &a);
        ck_assert(lanes_of(ir, subscript, &base, off));
        int64_t first = at_three(ir, loop, a.base);
        for (int j = 0; j < 8; j++) {
            int64_t want = at_three(ir, loop, base) + off[j];
            int64_t step = a.kind == ACCESS_PERMUTE ? a.perm[j] : a.stride * j;
            ck_assert_msg(a.kind != ACCESS_GATHER && first + step == want,
                          "%s: lane %d is at %lld, not %lld", subscripts[k], j,
                          (long long)(first + step), (long long)want);
            lowest = i64_min(lowest, want);
            highest = i64_max(highest, want);
        }
        ck_assert_int_eq(a.span, highest - lowest + 1);
        ir_free(ir);
    }
}
END_TEST

struct named {
    const char *name;
    const struct tensor *t;
};

static bool find_alloc(struct stmt *s, void *ctx)
{
    struct named *f = ctx;
    if (s->kind == ST_ALLOC && strcmp(s->u.alloc.tensor->name, f->name) == 0)
        f->t = s->u.alloc.tensor;
    return true;
}

static const struct tensor *local(const struct nest *n, const char *name)
{
    struct named f = {name, NULL};
    stmt_walk(n->body, find_alloc, &f);
    ck_assert_ptr_nonnull(f.t);
    return f.t;
}

/* a is read in every turn of i, so c may not sit on it, though c begins after the last read. */
START_TEST(life_to_the_end_of_a_loop)
{
    struct lower_case c = {.target = lower_target(true)};
    lower_same("nest carried\n"
               "in     x: f32[3, 16]\n"
               "out    y: f32[3, 4, 16]\n"
               "stage y\n"
               "  for o in 0..3\n"
               "    alloc temp a: f32[16]\n"
               "      stage a\n"
               "        for j0 in 0..16\n"
               "          a[j0] = x[o, j0]\n"
               "      for i in 0..4\n"
               "        alloc temp b: f32[16]\n"
               "          stage b\n"
               "            for j1 in 0..16\n"
               "              b[j1] = a[15 - j1] + 1.0\n"
               "          alloc temp c: f32[16]\n"
               "            stage c\n"
               "              for j2 in 0..16\n"
               "                c[j2] = b[15 - j2] * 2.0\n"
               "            stage y.out\n"
               "              for j3 in 0..16\n"
               "                y[o, i, j3] = c[15 - j3]\n",
               &c);
    const struct nest *n = c.kernel.nest;
    ck_assert_int_ne(local(n, "a")->scratch_at, local(n, "b")->scratch_at);
    ck_assert_int_ne(local(n, "b")->scratch_at, local(n, "c")->scratch_at);
    ck_assert_int_ne(local(n, "a")->scratch_at, local(n, "c")->scratch_at);
    ck_assert_int_eq(c.kernel.scratch_a, 3 * 64);
    lower_case_free(&c);
}
END_TEST

/* Without masks, of the four vectors of an end the two that are there stay vectors, and of the rest what
 * a shorter vector takes. */
START_TEST(vectors_of_an_end)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(false)};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "kernel";
    lower_same("nest ends\n"
               "in     x: f32[53]\n"
               "out    y: f32[53]\n"
               "stage y\n"
               "  for o in 0..2\n"
               "    for u in 0..4 unroll\n"
               "      for j in 0..8 vector\n"
               "        if o * 32 + u * 8 + j < 53\n"
               "          y[o * 32 + u * 8 + j] = x[o * 32 + u * 8 + j] + 1.0\n",
               &c);
    static const char *const want[] = {"y[ramp(0, 1, 8)]",  "y[ramp(8, 1, 8)]",
                                       "y[ramp(16, 1, 8)]", "y[ramp(24, 1, 8)]",
                                       "y[ramp(32, 1, 8)]", "y[ramp(40, 1, 8)]",
                                       "y[ramp(48, 1, 4)]", "y[52]"};
    const char *at = b.p;
    for (size_t i = 0; i < QN_COUNT(want); i++) {
        at = at ? strstr(at, want[i]) : NULL;
        ck_assert_msg(at != NULL, "%s is missing:\n%s", want[i], b.p);
    }
    ck_assert_msg(strstr(b.p, "for ") == NULL && strstr(b.p, "if ") == NULL, "%s", b.p);
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

/* A dynamic axis with a border at both ends: without masks too the middle is vectors without any
 * condition, and no loop there is cut for a border that is not near. */
START_TEST(middle_of_a_dynamic_axis)
{
    for (int64_t n = 0; n < 60; n += 1 + n / 5) {
        struct buf b;
        struct lower_case c = {.target = lower_target(false), .dyn = {n}};
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "kernel";
        lower_same(
            "nest window\n"
            "dyn    T\n"
            "in     x: f32[T]\n"
            "out    y: f32[T]\n"
            "stage y\n"
            "  for o in 0..(T + 7) / 8 peel\n"
            "    for j in 0..8 vector\n"
            "      if o * 8 + j < T\n"
            "        y[o * 8 + j] = 0.0\n"
            "    for r in 0..2 peel reduce\n"
            "      for u in 0..2 unroll reduce\n"
            "        for k in 0..8 vector\n"
            "          if r * 2 + u < 3 & o * 8 + k < T\n"
            "            y[o * 8 + k] += (x[o * 8 + k + r * 2 + u - 1] if 0 <= o * 8 + k + r * 2 "
            "+ u - 1 & o * 8 + k + r * 2 + u - 1 < T else 0.0)\n",
            &c);
        const char *main = strstr(b.p, "  for o in 1..(T - 2) / 8\n"), *end = NULL;
        if (!main) main = strstr(b.p, "for o in 1..");
        ck_assert_msg(main != NULL, "%s", b.p);
        end = strstr(main, "\nfor ");
        ck_assert_ptr_nonnull(end);
        for (const char *p = main; p < end; p++)
            ck_assert_msg(strncmp(p, "  if ", 5) != 0, "%s", b.p);
        ck_assert(strstr(main, "ramp(o * 8, 1, 8)") < end);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_corners");
    TCase *t = tcase_create("corners");
    tcase_add_test(t, masks_inside_masks);
    tcase_add_test(t, registers_that_overlap);
    tcase_add_test(t, offsets_under_a_guard);
    tcase_add_test(t, lanes_at_their_places);
    tcase_add_test(t, life_to_the_end_of_a_loop);
    tcase_add_test(t, vectors_of_an_end);
    tcase_add_test(t, middle_of_a_dynamic_axis);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
