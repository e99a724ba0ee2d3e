/* target: files of facts, inheritance, and every way they can be wrong. */
#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/target_int.h"

START_TEST(facts_are_inherited_and_overwritten)
{
    struct target *t;
    struct err e = {0};
    ck_assert_msg(target_load("zen4", &t, &e) == RC_OK, "%s", e.msg);
    ck_assert_int_eq(t->vector_bits, 512);
    ck_assert_int_eq(t->vregs, 32);
    ck_assert_int_eq(t->fma, 1);   /* from x86-64-v3 */
    ck_assert_int_eq(t->line, 64); /* from x86-64-v1 */
    ck_assert_str_eq(t->cpu, "znver4");
    ck_assert_int_eq(target_lanes(t, 32), 16);
    ck_assert_int_eq(target_lanes(t, 64), 8);
    target_free(t);
    ck_assert_int_eq(target_load("x86-64-v1", &t, &e), RC_OK);
    ck_assert_int_eq(t->fma, 0);
    ck_assert_int_eq(target_lanes(t, 32), 4);
    target_free(t);
}
END_TEST

START_TEST(every_file_loads_and_its_text_reads_back)
{
    static const char *const names[] = {"x86-64-v1", "x86-64-v2",      "x86-64-v3",  "x86-64-v4",
                                        "zen4",      "skylake-avx512", "cortex-a76", "host"};
    for (size_t i = 0; i < QN_COUNT(names); i++) {
        struct target *t, *back;
        struct err e = {0};
        struct buf a, b;
        buf_init(&a, 1 << 16);
        buf_init(&b, 1 << 16);
        ck_assert_msg(target_load(names[i], &t, &e) == RC_OK, "%s: %s", names[i], e.msg);
        target_text(t, &a);
        ck_assert_msg(target_from_text(a.p, a.n, &back, &e) == RC_OK, "%s: %s", names[i], e.msg);
        target_text(back, &b);
        ck_assert_str_eq(a.p, b.p);
        target_free(t);
        target_free(back);
        buf_fini(&a);
        buf_fini(&b);
    }
}
END_TEST

/* The host's file never names an instruction set that the CPU lacks. */
START_TEST(the_host_is_what_it_claims)
{
    struct target *t;
    struct err e = {0};
    ck_assert_int_eq(target_load("host", &t, &e), RC_OK);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strstr(t->features, "avx512f")) ck_assert(__builtin_cpu_supports("avx512f"));
    if (strstr(t->features, "avx2")) ck_assert(__builtin_cpu_supports("avx2"));
    if (strstr(t->features, "fma")) ck_assert(__builtin_cpu_supports("fma"));
    ck_assert_int_eq(strncmp(t->triple, "x86_64", 6), 0);
#endif
    ck_assert_int_ge(t->cores, 1);
    target_free(t);
}
END_TEST

/* A process that may use one core only is still on the same machine: its log is that machine's. */
START_TEST(taskset_makes_no_other_machine)
{
    struct target *t, *u;
    struct err e = {0};
    struct buf whole, part;
    cpu_set_t all, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    ck_assert_int_eq(target_load("host", &t, &e), RC_OK);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all) && CPU_COUNT(&one) == 0) CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(target_load("host", &u, &e), RC_OK);
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
    buf_init(&whole, 1 << 16);
    buf_init(&part, 1 << 16);
    target_text(t, &whole);
    target_text(u, &part);
    ck_assert_str_eq(part.p, whole.p);
    buf_fini(&whole);
    buf_fini(&part);
    target_free(t);
    target_free(u);
}
END_TEST

static const struct {
    const char *text, *code, *message;
} bad[] = {
    {"vector_bits 512\n", "target.syntax", "t.target:1:1: expected `key = value`"},
    {"vregs = 32\nvregs = 16\n", "target.duplicate", "t.target:2:1: 'vregs' is set twice"},
    {"vector_bit = 512\n", "target.unknown_key", "did you mean 'vector_bits'?"},
    {"vregs = many\n", "target.value", "t.target:1:9: 'vregs' wants a whole number"},
    {"vregs = -3\n", "target.value", "wants a whole number"},
    {"vector_bits = 100\n", "target.value", "multiple of 64"},
    {"vregs = 0\n", "target.value", "vregs 1..1024"},
    {"inherits nosuch\n", "target.unknown", "no target file 'nosuch.target'"},
    {"inherits ../../etc/passwd\n", "target.unknown", "no target file"},
};

START_TEST(bad_texts)
{
    struct target *t;
    struct target_file f;
    struct err e = {0};
    ck_assert_int_eq(target_parse("t.target", bad[_i].text, strlen(bad[_i].text), &t, &f, &e),
                     RC_INPUT);
    ck_assert_str_eq(e.code, bad[_i].code);
    ck_assert_msg(strstr(e.msg, bad[_i].message) != NULL, "%s", e.msg);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(unknown_names_get_a_hint)
{
    struct target *t;
    struct err e = {0};
    ck_assert_int_eq(target_load("zen5", &t, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "target.unknown");
    ck_assert_ptr_nonnull(strstr(e.msg, "did you mean 'zen4'?"));
    ck_assert_int_eq(target_load("../targets/zen4", &t, &e), RC_INPUT);
    ck_assert_int_eq(target_load("", &t, &e), RC_INPUT);
}
END_TEST

START_TEST(origins_are_shown)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, 1 << 16);
    target_explain("zen4", &b, &e);
    ck_assert_ptr_nonnull(
        strstr(b.p, "vregs          32                       x86-64-v4.target:7"));
    ck_assert_ptr_nonnull(
        strstr(b.p, "fma_latency    4                        x86-64-v1.target:9"));
    buf_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("target");
    TCase *t = tcase_create("target");
    setenv("QUERN_DATA", QN_SOURCE_DIR, 1);
    tcase_add_test(t, facts_are_inherited_and_overwritten);
    tcase_add_test(t, every_file_loads_and_its_text_reads_back);
    tcase_add_test(t, the_host_is_what_it_claims);
    tcase_add_test(t, taskset_makes_no_other_machine);
    tcase_add_loop_test(t, bad_texts, 0, (int)QN_COUNT(bad));
    tcase_add_test(t, unknown_names_get_a_hint);
    tcase_add_test(t, origins_are_shown);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
