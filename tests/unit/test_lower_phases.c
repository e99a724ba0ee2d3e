/* lower: loops of long chains cut in two (phases): the text it leaves, what it leaves alone, and that
 * random chains give the bits that one loop gives. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "lib/lower_run.h"

/* The text after the pass, which the caller frees; "" if it changes nothing. Results stay the same. */
static char *cut_to(enum lower_phases phases, const char *nest, const int64_t *dyn)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(true), .phases = phases};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "phases";
    if (dyn) c.dyn[0] = dyn[0];
    lower_same(nest, &c);
    char *text = mem_strdup(b.p);
    buf_fini(&b);
    lower_case_free(&c);
    return text;
}

static char *cut(const char *nest, const int64_t *dyn) { return cut_to(PHASES_TWO, nest, dyn); }

/* `n` additions one after the other around e, of 4 cycles each. */
static void chain(char *out, size_t size, const char *e, int n)
{
    struct buf b;
    buf_init(&b, size);
    for (int i = 0; i < n; i++) buf_puts(&b, "max(");
    buf_puts(&b, e);
    for (int i = 0; i < n; i++) buf_puts(&b, " + 1.0, 2.0)");
    snprintf(out, size, "%s", b.p);
    buf_fini(&b);
}

static const char one_chain[] =
    "nest chain\nin     x: f32[%d]\nin     z: f32[%d]\nout    y: f32[%d]\n"
    "stage y\n  for i in 0..%d\n    for j in 0..8 vector\n"
    "      y[i * 8 + j] = %s\n";

static void one(char *nest, size_t size, int n, int links)
{
    char e[4000];
    chain(e, sizeof e, "x[i * 8 + j]", links);
    snprintf(nest, size, one_chain, n * 8, n * 8, n * 8, n, e);
}

START_TEST(golden_one_block)
{
    char nest[6000];
    one(nest, sizeof nest, 10, 10);
    char *text = cut(nest, NULL);
    const char *body = strstr(text, "alloc stack");
    ck_assert_ptr_nonnull(body);
    ck_assert_ptr_nonnull(strstr(body, "y.q1.q2: f32[80]"));
    ck_assert_ptr_nonnull(strstr(body, "for i in 0..10\n"));
    ck_assert_ptr_nonnull(strstr(body, "[ramp(i * 8, 1, 8)] = "));
    ck_assert_ptr_nonnull(strstr(body, "in 0..10\n"));
    ck_assert_ptr_null(strstr(body, "min("));
    mem_free(text);
}
END_TEST

/* Blocks of equal length, the last one shorter; a dynamic loop in blocks of 16. */
START_TEST(golden_blocks)
{
    char nest[6000];
    one(nest, sizeof nest, 50, 10);
    char *text = cut(nest, NULL);
    ck_assert_msg(strstr(text, "in 0..4\n") && strstr(text, "* 13..min(i.q1 * 13 + 13, 50)"), "%s",
                  text);
    mem_free(text);
    char e[4000];
    chain(e, sizeof e, "x[i * 8 + j]", 10);
    snprintf(nest, sizeof nest,
             "nest chain\ndyn    N\nin     x: f32[N * 8]\nout    y: f32[N * 8]\nstage y\n"
             "  for i in 0..N\n    for j in 0..8 vector\n      y[i * 8 + j] = %s\n",
             e);
    for (int64_t n = 0; n < 40; n += n < 2 ? 1 : 7) {
        text = cut(nest, &n);
        ck_assert_msg(strstr(text, "in 0..(N + 15) / 16\n") != NULL, "%s", text);
        mem_free(text);
    }
}
END_TEST

/* Short chains, few iterations, sums, conditions, loops inside, and what reads what it writes. */
START_TEST(left_alone)
{
    char nest[6000], e[4000];
    static const struct {
        int n, links;
    } few[] = {{10, 6}, {5, 20}};
    for (size_t i = 0; i < QN_COUNT(few); i++) {
        one(nest, sizeof nest, few[i].n, few[i].links);
        for (int to = PHASES_TWO; to <= PHASES_OVERLAP; to++) {
            char *text = cut_to((enum lower_phases)to, nest, NULL);
            ck_assert_str_eq(text, "");
            mem_free(text);
        }
    }
    chain(e, sizeof e, "x[i * 8 + j]", 20);
    static const char *const other[] = {
        "nest sum\nin     x: f32[80]\nout    y: f32[8]\nstage y\n  for k in 0..8 vector\n"
        "    y[k] = 0.0\n  for i in 0..10 reduce\n    for j in 0..8 vector\n      y[j] += %s\n",
        "nest mask\nin     x: f32[80]\nout    y: f32[80]\nstage y\n  for i in 0..10\n"
        "    for j in 0..8 vector\n      if i * 8 + j < 75\n        y[i * 8 + j] = %s\n",
        "nest inner\nin     x: f32[80]\nout    y: f32[80, 3]\nstage y\n  for i in 0..10\n"
        "    for k in 0..3\n      for j in 0..8 vector\n        y[i * 8 + j, k] = %s\n",
        "nest own\nin     x: f32[80]\nout    y: f32[80]\nout    z: f32[80]\nstage y\n"
        "  for i in 0..10\n    for j in 0..8 vector\n      y[i * 8 + j] = x[i * 8 + j]\n"
        "      z[i * 8 + j] = y[i * 8 + j] + %s\n",
    };
    for (size_t i = 0; i < QN_COUNT(other); i++) {
        snprintf(nest, sizeof nest, other[i], e);
        for (int to = PHASES_TWO; to <= PHASES_OVERLAP; to++) {
            char *text = cut_to((enum lower_phases)to, nest, NULL);
            ck_assert_msg(strcmp(text, "") == 0, "%s", text);
            mem_free(text);
        }
    }
}
END_TEST

/* Two lookups in one table, each between chains of so many links; LETs name a place and what is looked up. */
static void lookups(char *nest, size_t size, int before, int after)
{
    char one[1500], other[1500], left[1500], right[1500];
    chain(one, sizeof one, "x[k + j]", before);
    chain(other, sizeof other, "z[k + j]", before);
    chain(left, sizeof left, "t[min(max(cast(s64, a), 0), 15)]", after);
    chain(right, sizeof right, "t[min(max(cast(s64, b), 0), 15)]", after);
    snprintf(nest, size,
             "nest look\nin     x: f32[160]\nin     z: f32[160]\nin     t: f32[16]\n"
             "out    y: f32[160]\nstage y\n  for i in 0..20\n    let k = i * 8\n"
             "      for j in 0..8 vector\n        let a = %s\n          let b = %s\n"
             "            y[k + j] = %s - %s\n",
             one, other, left, right);
}

/* Lookups in one table are different values; a place that a LET names is known in both loops. */
START_TEST(lookups_and_places)
{
    char nest[8000];
    lookups(nest, sizeof nest, 4, 6);
    char *text = cut(nest, NULL);
    ck_assert_msg(strstr(text, "alloc stack") != NULL, "%s", text);
    mem_free(text);
    for (int to = PHASES_TWO; to <= PHASES_OVERLAP; to++) { /* both lookups themselves are kept */
        lookups(nest, sizeof nest, 3, 5);
        text = cut_to((enum lower_phases)to, nest, NULL);
        const char *one = strstr(text, "= t["), *other = one ? strstr(one + 1, "= t[") : NULL;
        ck_assert_msg(other != NULL, "%s", text);
        mem_free(text);
    }
    lookups(nest, sizeof nest, 6, 8);
    text = cut_to(PHASES_OVERLAP, nest, NULL);
    ck_assert_msg(strstr(text, "alloc reg") != NULL, "%s", text);
    mem_free(text);
}
END_TEST

/* The first half ahead by one iteration, what it leaves in a register; nothing runs if no iteration does. */
START_TEST(golden_overlap)
{
    char nest[6000], e[4000];
    one(nest, sizeof nest, 10, 10);
    char *text = cut_to(PHASES_OVERLAP, nest, NULL);
    const char *body = strstr(text, "alloc reg y.q2.q3: f32x8[1]");
    ck_assert_msg(body != NULL, "%s", text);
    ck_assert_msg((body = strstr(body, "let i = 0\n")) != NULL, "%s", text);
    ck_assert_msg((body = strstr(body, "for i.q1 in 1..10\n")) != NULL, "%s", text);
    ck_assert_msg((body = strstr(body, " = y.q2.q3[0]\n")) != NULL, "%s", text);
    ck_assert_msg((body = strstr(body, "y.q2.q3[0] = ")) != NULL, "%s", text);
    ck_assert_msg(strstr(body, " = 9\n") != NULL, "%s", text);
    mem_free(text);
    chain(e, sizeof e, "x[i * 8 + j]", 10);
    snprintf(nest, sizeof nest,
             "nest chain\ndyn    N\nin     x: f32[N * 8]\nout    y: f32[N * 8]\nstage y\n"
             "  for i in 0..N\n    for j in 0..8 vector\n      y[i * 8 + j] = %s\n",
             e);
    for (int64_t n = 0; n < 5; n++) {
        text = cut_to(PHASES_OVERLAP, nest, &n);
        ck_assert_msg(strstr(text, "if 0 < N\n") != NULL, "%s", text);
        mem_free(text);
    }
}
END_TEST

/* Every second element of x now and at the end: both come out of the same vectors, read by the first half. A
 * tensor that only the second half reads stays there. */
START_TEST(overlap_keeps_windows)
{
    char nest[6000], e[4000];
    chain(e, sizeof e, "x[i * 16 + j * 2]", 12);
    snprintf(nest, sizeof nest,
             "nest chain\nin     x: f32[160]\nin     z: f32[160]\nout    y: f32[80]\nstage y\n"
             "  for i in 0..10\n    for j in 0..8 vector\n"
             "      y[i * 8 + j] = %s + x[i * 16 + j * 2 + 1] + z[i * 16 + j * 2]\n",
             e);
    char *text = cut_to(PHASES_OVERLAP, nest, NULL);
    const char *loop = strstr(text, "in 1..10\n"), *first = loop ? strstr(loop, "= i.q1\n") : NULL;
    ck_assert_msg(loop != NULL && first != NULL, "%s", text);
    int kept = 0;
    for (const char *at = text; (at = strstr(at, "alloc reg")) != NULL; at++) kept++;
    ck_assert_msg(kept == 2, "%s", text);
    for (const char *at = loop; at < first; at++)
        ck_assert_msg(strncmp(at, "x[", 2) != 0, "%s", text);
    ck_assert_msg(strstr(loop, "z[") < first, "%s", text);
    mem_free(text);
}
END_TEST

/* A random expression of the operands and of the LETs so far; exact on small integers. */
static void grow(struct buf *b, struct rng *r, int depth, int lets)
{
    int64_t k = depth > 0 ? rng_range(r, 3, 9) : rng_range(r, 0, 2);
    if (k == 0) {
        buf_printf(b, "%d.0", (int)rng_range(r, -3, 4));
    } else if (k == 1) {
        buf_puts(b, rng_range(r, 0, 1) ? "x[i * L + j]" : "z[j]");
    } else if (k == 2) {
        if (lets)
            buf_printf(b, "v%d", (int)rng_range(r, 0, lets - 1));
        else
            buf_puts(b, "x[i * L + L - 1 - j]");
    } else if (k == 3) {
        buf_puts(b, "select(");
        grow(b, r, depth - 1, lets);
        buf_puts(b, " < ");
        grow(b, r, 0, lets);
        buf_puts(b, ", ");
        grow(b, r, depth / 6, lets);
        buf_puts(b, ", ");
        grow(b, r, 0, lets);
        buf_puts(b, ")");
    } else {
        static const char *const forms[] = {"max(", "min(", "("};
        int form = (int)i64_min(rng_range(r, 0, 5), 2); /* mostly sums: they take longest */
        buf_puts(b, forms[form]);
        grow(b, r, depth - 1, lets);
        buf_puts(b, form == 2 ? (rng_range(r, 0, 1) ? " + " : " - ") : ", ");
        grow(b, r, depth / 6, lets);
        buf_puts(b, ")");
    }
}

/* Letters L stand for the lanes. */
static char *with_lanes(const char *text, int lanes)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (const char *p = text; *p; p++) {
        if (*p == 'L')
            buf_printf(&b, "%d", lanes);
        else
            buf_putc(&b, *p);
    }
    char *out = mem_strdup(b.p);
    buf_fini(&b);
    return out;
}

START_TEST(random_chains)
{
    int made[PHASES_OVERLAP + 1] = {0};
    for (int seed = 0; seed < 100; seed++) {
        struct rng r;
        struct buf b;
        rng_seed(&r, (uint64_t)seed);
        buf_init(&b, 1 << 20);
        int lanes = 4 << rng_range(&r, 0, 2), n = (int)rng_range(&r, 6, 60),
            lets = (int)rng_range(&r, 1, 5), outs = (int)rng_range(&r, 1, 3);
        buf_printf(&b, "nest chain\nin     x: f32[%d * L]\nin     z: f32[L]\n", n);
        for (int i = 0; i < outs; i++) buf_printf(&b, "out    y%d: f32[%d * L]\n", i, n);
        buf_printf(&b, "stage y0\n  for i in 0..%d\n    for j in 0..L vector\n", n);
        for (int i = 0; i < lets; i++) {
            buf_printf(&b, "%*slet v%d = ", 6 + 2 * i, "", i);
            grow(&b, &r, 12, i);
            buf_puts(&b, "\n");
        }
        for (int i = 0; i < outs; i++) {
            buf_printf(&b, "%*sy%d[i * L + j] = ", 6 + 2 * lets, "", i);
            grow(&b, &r, 24, lets);
            buf_puts(&b, "\n");
        }
        char *nest = with_lanes(b.p, lanes);
        for (int to = PHASES_TWO; to <= PHASES_OVERLAP; to++) {
            char *text = cut_to((enum lower_phases)to, nest, NULL);
            made[to] += *text != 0;
            mem_free(text);
        }
        mem_free(nest);
        buf_fini(&b);
    }
    for (int to = PHASES_TWO; to <= PHASES_OVERLAP; to++)
        ck_assert_int_ge(made[to], 20); /* else nothing was looked at */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_phases");
    TCase *t = tcase_create("phases");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, golden_one_block);
    tcase_add_test(t, golden_blocks);
    tcase_add_test(t, left_alone);
    tcase_add_test(t, lookups_and_places);
    tcase_add_test(t, golden_overlap);
    tcase_add_test(t, overlap_keeps_windows);
    tcase_add_test(t, random_chains);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
