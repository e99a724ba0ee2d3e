/* base: memory, tables and texts; state machines and what a bug of our own says.
 *
 *   test_base_num.c   hashes, random numbers, comparison
 *   test_base_sys.c   processes, files, the log
 *   test_scan.c       the scanner
 *
 * Invariant: no test depends on another. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "base/sm.h"
#include "base/vec.h"

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(arena_objects)
{
    struct arena *a = arena_new();
    char *text[200];
    for (int i = 0; i < 200; i++) {
        int64_t *p = ARENA_ARRAY(a, int64_t, i);
        ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
        for (int j = 0; j < i; j++) ck_assert_int_eq(p[j], 0);
        memset(p, 0xAB, sizeof *p * (size_t)i);
        text[i] = arena_printf(a, "object %d", i);
    }
    for (int i = 0; i < 200; i++) {
        char want[32];
        snprintf(want, sizeof want, "object %d", i);
        ck_assert_str_eq(text[i], want);
    }
    ck_assert_ptr_ne(arena_alloc(a, 0), arena_alloc(a, 0));
    char *big = arena_alloc(a, 5 << 20);
    ck_assert_int_eq(big[(5 << 20) - 1], 0);
    ck_assert_uint_gt(arena_bytes(a), 5 << 20);
    ck_assert_str_eq(arena_strndup(a, "abcdef", 3), "abc");
    ck_assert_str_eq(arena_strdup(a, ""), "");
    arena_reset(a);
    ck_assert_uint_eq(arena_bytes(a), 0);
    ck_assert_int_eq(*ARENA_NEW(a, int), 0);
    arena_free(a);
    arena_free(NULL);
}
END_TEST

START_TEST(arena_one_malloc_an_object)
{
    setenv("QN_ARENA_MALLOC", "1", 1);
    struct arena *a = arena_new();
    char *p = arena_alloc(a, 3), *q = arena_alloc(a, 3);
    ck_assert_uint_eq((uintptr_t)q % _Alignof(max_align_t), 0);
    ck_assert_int_gt(labs(q - p), 16); /* a header lies between */
    ck_assert_uint_eq(arena_bytes(a), 6);
    arena_free(a);
}
END_TEST

START_TEST(heap_and_vec)
{
    VEC(int) v = {0};
    for (int i = 0; i < 1000; i++) vec_push(&v, i * i);
    ck_assert_uint_eq(v.n, 1000);
    for (int i = 0; i < 1000; i++) ck_assert_int_eq(v.p[i], i * i);
    vec_free(&v);
    ck_assert_ptr_null(v.p);
    char *p = mem_new(4);
    memcpy(p, "abc", 4);
    p = mem_grow(p, 4, 4096);
    ck_assert_str_eq(p, "abc");
    for (int i = 4; i < 4096; i++) ck_assert_int_eq(p[i], 0);
    mem_free(p);
    mem_free(NULL);
    char *copy = mem_strdup("same");
    ck_assert_str_eq(copy, "same");
    mem_free(copy);
}
END_TEST

START_TEST(map_ten_thousand)
{
    struct map *m = map_new();
    static int values[10000];
    char key[32];
    ck_assert_ptr_null(map_get(m, "none"));
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        map_put(m, key, &values[i]);
    }
    ck_assert_uint_eq(map_count(m), 10000);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        ck_assert_ptr_eq(map_get(m, key), &values[i]);
        ck_assert_str_eq(map_key(m, (size_t)i), key); /* insertion order */
        ck_assert_ptr_eq(map_value(m, (size_t)i), &values[i]);
    }
    ck_assert_ptr_null(map_get(m, "key-10000"));
    map_put(m, "key-5", &values[9]); /* replaces in place */
    ck_assert_uint_eq(map_count(m), 10000);
    ck_assert_ptr_eq(map_value(m, 5), &values[9]);
    map_free(m);
    map_free(NULL);
}
END_TEST

START_TEST(map_byte_keys)
{
    struct map *m = map_new();
    int a, b, c;
    map_put_bytes(m, "x\0y", 3, &a);
    map_put_bytes(m, "x\0z", 3, &b);
    map_put_bytes(m, NULL, 0, &c);
    ck_assert_ptr_eq(map_get_bytes(m, "x\0y", 3), &a);
    ck_assert_ptr_eq(map_get_bytes(m, "x\0z", 3), &b);
    ck_assert_ptr_null(map_get(m, "x"));
    ck_assert_ptr_eq(map_get(m, ""), &c);
    map_free(m);
}
END_TEST

/* ---- texts ----------------------------------------------------------------------------------- */

START_TEST(buf_grows_to_its_maximum)
{
    struct buf b;
    buf_init(&b, 8);
    ck_assert_str_eq(b.p, "");
    buf_puts(&b, "abcd");
    buf_printf(&b, "%d", 1234);
    ck_assert_str_eq(b.p, "abcd1234");
    ck_assert(!b.full);
    buf_putc(&b, '!');
    ck_assert(b.full);
    ck_assert_str_eq(b.p, "abcd1234");
    buf_reset(&b);
    ck_assert(!b.full);
    buf_puts(&b, "12345");
    buf_puts(&b, "6789"); /* does not fit: dropped whole */
    buf_puts(&b, "x");    /* would fit, but the buffer is full */
    ck_assert_str_eq(b.p, "12345");
    ck_assert_uint_eq(b.n, 5);
    buf_fini(&b);
    ck_assert_str_eq(b.p, "");

    buf_init(&b, 1 << 20);
    for (int i = 0; i < 10000; i++) buf_indent(&b, 2);
    ck_assert_uint_eq(b.n, 40000);
    ck_assert_uint_eq(strlen(b.p), 40000);
    buf_fini(&b);
    buf_init(&b, 0);
    buf_puts(&b, "");
    ck_assert(!b.full);
    buf_putc(&b, 'x');
    ck_assert(b.full);
    buf_fini(&b);
}
END_TEST

START_TEST(buf_escapes)
{
    static const struct {
        const char *in, *term, *comment;
    } CASES[] = {
        {"plain caf\xc3\xa9", "plain caf\xc3\xa9", "plain caf\xc3\xa9"},
        {"a\x1b[31mb\n", "a\\x1B[31mb\\x0A", "a\\x1B[31mb\\x0A"},
        {"\xff\xc3(", "\\xFF\\xC3(", "\\xFF\\xC3("},
        {"\xc2\x9b", "\\xC2\\x9B", "\\xC2\\x9B"},               /* C1 control */
        {"\xe2\x80\xae", "\\xE2\\x80\\xAE", "\\xE2\\x80\\xAE"}, /* right-to-left override */
        {"\xed\xa0\x80", "\\xED\\xA0\\x80", "\\xED\\xA0\\x80"}, /* a surrogate is not UTF-8 */
        {"\xc0\xaf", "\\xC0\\xAF", "\\xC0\\xAF"},               /* overlong */
        {"x*/y/*z//w", "x*/y/*z//w", "x* /y/ *z/ /w"},
        {"a?\?/b", "a?\?/b", "a? ?/b"},
        {"end\\", "end\\", "end\\x5C"},
        {"end*", "end*", "end* "},
        {"\x7f", "\\x7F", "\\x7F"},
    };
    for (size_t i = 0; i < QN_COUNT(CASES); i++) {
        struct buf b;
        buf_init(&b, 1000);
        buf_escape_term(&b, CASES[i].in, strlen(CASES[i].in));
        ck_assert_str_eq(b.p, CASES[i].term);
        buf_reset(&b);
        buf_escape_c_comment(&b, CASES[i].in, strlen(CASES[i].in));
        ck_assert_str_eq(b.p, CASES[i].comment);
        ck_assert_ptr_null(strstr(b.p, "*/"));
        buf_fini(&b);
    }
}
END_TEST

START_TEST(errors_travel)
{
    struct err e = {0};
    ck_assert_int_eq(err_set(&e, RC_STORE, "db.full", "disk %s", "full"), RC_STORE);
    ck_assert_int_eq(err_wrap(&e, "task %d", 3), RC_STORE);
    ck_assert_str_eq(e.msg, "task 3: disk full");
    ck_assert_str_eq(e.code, "db.full");
    err_set(&e, RC_FAIL, "again", "was: %s", e.msg); /* may quote itself */
    ck_assert_str_eq(e.msg, "was: task 3: disk full");
    err_clear(&e);
    ck_assert_int_eq(e.rc, RC_OK);
    ck_assert_str_eq(e.msg, "");
    ck_assert_int_eq(err_set(NULL, RC_INPUT, "x", "y"), RC_INPUT);
    err_clear(NULL);
}
END_TEST

START_TEST(errors_are_cut_at_a_character)
{
    struct err e = {0};
    char text[2001];
    for (int i = 0; i < 2000; i += 2) memcpy(text + i, "\xc3\xa9", 2);
    text[2000] = 0;
    for (int shift = 0; shift < 2; shift++) {
        err_set(&e, RC_FAIL, "a.b", "%s%s", shift ? "x" : "", text);
        size_t n = strlen(e.msg);
        ck_assert_uint_ge(n, sizeof e.msg - 3);
        ck_assert_uint_eq(n % 2, (unsigned)shift); /* no half of a character */
        err_wrap(&e, "%s", shift ? "ab" : "abc");
        uint32_t cp = 0;
        for (size_t at = 0, step; at < strlen(e.msg); at += step) {
            step = utf8_step(e.msg + at, strlen(e.msg) - at, &cp);
            ck_assert_uint_ne(step, 0);
        }
    }
    char code[100];
    memset(code, 'c', 99);
    code[99] = 0;
    err_set(&e, RC_FAIL, code, "m");
    ck_assert_uint_eq(strlen(e.code), sizeof e.code - 1);
}
END_TEST

/* ---- state machines and bugs ----------------------------------------------------------------- */

enum { IDLE, BUSY, DEAD };
static const struct sm_state STATES[] = {
    [IDLE] = {"idle", SM(BUSY)},
    [BUSY] = {"busy", SM(IDLE) | SM(DEAD)},
    [DEAD] = {"dead", 0},
};

START_TEST(sm_moves)
{
    struct sm m;
    sm_init(&m, STATES, 3, IDLE);
    ck_assert_str_eq(sm_name(&m), "idle");
    sm_move(&m, BUSY);
    sm_move(&m, IDLE);
    sm_move(&m, BUSY);
    sm_move(&m, DEAD);
    ck_assert_str_eq(sm_name(&m), "dead");
    ck_assert_uint_eq(m.moves, 4);
}
END_TEST

START_TEST(sm_refused_move_aborts)
{
    struct sm m;
    sm_init(&m, STATES, 3, IDLE);
    sm_move(&m, DEAD);
}
END_TEST

START_TEST(sm_unknown_state_aborts)
{
    struct sm m;
    sm_init(&m, STATES, 3, IDLE);
    sm_move(&m, 7);
}
END_TEST

START_TEST(check_aborts) { QN_CHECK(1 + 1 == 3, "arithmetic %d", 7); }
END_TEST

START_TEST(check_says_where)
{
    int p[2];
    ck_assert_int_eq(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(p[1], 2);
        QN_CHECK(p[0] == -1, "descriptor %s", "odd");
        _exit(0);
    }
    close(p[1]);
    char text[600] = {0};
    ck_assert_int_gt(read(p[0], text, sizeof text - 1), 0);
    int status;
    waitpid(pid, &status, 0);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    ck_assert_ptr_nonnull(strstr(text, "quern: internal error: descriptor odd ("));
    ck_assert_ptr_nonnull(strstr(text, "test_base.c:"));
    ck_assert_ptr_nonnull(strstr(text, "p[0] == -1"));
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    suite_add_tcase(suite, t);
    return t;
}

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *t = add_case(suite, "memory");
    tcase_add_test(t, arena_objects);
    tcase_add_test(t, arena_one_malloc_an_object);
    tcase_add_test(t, heap_and_vec);
    tcase_add_test(t, map_ten_thousand);
    tcase_add_test(t, map_byte_keys);
    t = add_case(suite, "text");
    tcase_add_test(t, buf_grows_to_its_maximum);
    tcase_add_test(t, buf_escapes);
    tcase_add_test(t, errors_travel);
    tcase_add_test(t, errors_are_cut_at_a_character);
    t = add_case(suite, "bugs");
    tcase_add_test(t, sm_moves);
    tcase_add_test_raise_signal(t, sm_refused_move_aborts, SIGABRT);
    tcase_add_test_raise_signal(t, sm_unknown_state_aborts, SIGABRT);
    tcase_add_test_raise_signal(t, check_aborts, SIGABRT);
    tcase_add_test(t, check_says_where);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
