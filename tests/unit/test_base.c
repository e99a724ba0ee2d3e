/* base without its scanner (test_scan.c): memory, texts, hashes, random numbers, processes, files,
 * comparison, state machines.
 *
 *   known answers where the world has them (FIPS 180-4, CRC-32C, xoshiro), limits everywhere else.
 *
 * Invariant: no test depends on another; files live in a folder of their own under /tmp. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/compare.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/proc.h"
#include "base/rng.h"
#include "base/sm.h"
#include "base/vec.h"

/* ---- memory ---- */

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

/* ---- texts ---- */

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

/* ---- hashes and random numbers ---- */

static void hex_of(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

START_TEST(sha256_known_answers)
{
    static const struct {
        const char *text, *hex;
    } CASES[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrl"
         "mnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[65], id[HASH_ID_LEN + 1];
    uint8_t out[32];
    for (size_t i = 0; i < QN_COUNT(CASES); i++) {
        sha256_of(out, CASES[i].text, strlen(CASES[i].text));
        hex_of(hex, out, 32);
        ck_assert_str_eq(hex, CASES[i].hex);
        hash_id(id, CASES[i].text, strlen(CASES[i].text));
        ck_assert_uint_eq(strlen(id), HASH_ID_LEN);
        ck_assert_int_eq(memcmp(id, CASES[i].hex, HASH_ID_LEN), 0);
    }
}
END_TEST

START_TEST(sha256_million_in_pieces)
{
    char block[997], hex[65];
    memset(block, 'a', sizeof block);
    struct sha256 s;
    sha256_init(&s);
    for (size_t left = 1000000; left > 0;) {
        size_t n = left < sizeof block ? left : sizeof block;
        sha256_add(&s, block, n);
        left -= n;
    }
    uint8_t out[32];
    sha256_done(&s, out);
    hex_of(hex, out, 32);
    ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

START_TEST(sha256_every_length_in_two_pieces)
{
    uint8_t text[200], whole[32], parts[32];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof text; n++) {
        sha256_of(whole, text, n);
        struct sha256 s;
        sha256_init(&s);
        sha256_add(&s, text, n / 3);
        sha256_add(&s, text + n / 3, n - n / 3);
        sha256_done(&s, parts);
        ck_assert_mem_eq(whole, parts, 32);
    }
}
END_TEST

START_TEST(crc32c_known_answers)
{
    uint8_t b[32];
    ck_assert_uint_eq(hash_crc32c("", 0), 0);
    ck_assert_uint_eq(hash_crc32c("123456789", 9), 0xE3069283u);
    memset(b, 0, 32); /* RFC 3720, B.4 */
    ck_assert_uint_eq(hash_crc32c(b, 32), 0x8A9136AAu);
    memset(b, 0xFF, 32);
    ck_assert_uint_eq(hash_crc32c(b, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)i;
    ck_assert_uint_eq(hash_crc32c(b, 32), 0x46DD794Eu);
}
END_TEST

START_TEST(hash_u64_spreads)
{
    enum { N = 4096 };
    static uint64_t seen[N];
    uint64_t ones = 0;
    for (uint64_t i = 0; i < N; i++) {
        seen[i] = hash_u64(&i, 8, 0);
        ones |= seen[i];
        for (uint64_t j = i >= 64 ? i - 64 : 0; j < i; j++) ck_assert_uint_ne(seen[i], seen[j]);
    }
    ck_assert_uint_eq(ones, UINT64_MAX);
    ck_assert_uint_ne(hash_u64("a", 1, 0), hash_u64("a", 1, 1));
    ck_assert_uint_ne(hash_u64("a", 1, 0), hash_u64("a\0", 2, 0));
    ck_assert_uint_eq(hash_u64("abcdefghi", 9, 3), hash_u64("abcdefghi", 9, 3));
}
END_TEST

START_TEST(rng_is_deterministic)
{
    struct rng a, b, stored;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    for (int i = 0; i < 1000; i++) ck_assert_uint_eq(rng_u64(&a), rng_u64(&b));
    stored = a; /* plain data */
    uint64_t next = rng_u64(&a);
    ck_assert_uint_eq(rng_u64(&stored), next);
    rng_seed(&a, 0); /* the published answer of xoshiro256** seeded by SplitMix64(0) */
    ck_assert_uint_eq(a.s[0], UINT64_C(0xE220A8397B1DCDAF));
    ck_assert_uint_eq(rng_u64(&a), UINT64_C(0x99EC5F36CB75F2B4));
    struct rng c1 = rng_split(&a), c2 = rng_split(&a);
    ck_assert_uint_ne(rng_u64(&c1), rng_u64(&c2));
}
END_TEST

START_TEST(rng_ranges)
{
    struct rng r;
    rng_seed(&r, 7);
    int count[6] = {0};
    for (int i = 0; i < 60000; i++) count[rng_range(&r, 1, 6) - 1]++;
    for (int i = 0; i < 6; i++) {
        ck_assert_int_gt(count[i], 9500); /* 10000 +- 5.5 sigma */
        ck_assert_int_lt(count[i], 10500);
    }
    ck_assert_int_eq(rng_range(&r, -3, -3), -3);
    for (int i = 0; i < 1000; i++) {
        int64_t v = rng_range(&r, INT64_MIN, INT64_MAX),
                w = rng_range(&r, INT64_MIN, INT64_MIN + 1);
        ck_assert(w == INT64_MIN || w == INT64_MIN + 1);
        (void)v;
        double u = rng_unit(&r);
        ck_assert(u >= 0 && u < 1);
        ck_assert(!rng_chance(&r, 0));
        ck_assert(rng_chance(&r, 1));
    }
    int order[50], sum = 0, moved = 0;
    for (int i = 0; i < 50; i++) order[i] = i;
    rng_shuffle(&r, order, 50, sizeof *order);
    for (int i = 0; i < 50; i++) {
        sum += order[i];
        moved += order[i] != i;
    }
    ck_assert_int_eq(sum, 49 * 25);
    ck_assert_int_gt(moved, 30);
}
END_TEST

START_TEST(integer_division_floors)
{
    for (int64_t a = -20; a <= 20; a++)
        for (int64_t b = -7; b <= 7; b++) {
            if (b == 0) continue;
            ck_assert_int_eq(i64_floordiv(a, b), (int64_t)floor((double)a / (double)b));
            ck_assert_int_eq(i64_floordiv(a, b) * b + i64_floormod(a, b), a);
            ck_assert_int_eq(i64_ceildiv(a, b), (int64_t)ceil((double)a / (double)b));
        }
}
END_TEST

/* ---- comparison ---- */

START_TEST(compare_bits)
{
    float want[4] = {1, 0.0f, -2, 3}, got[4] = {1, -0.0f, -2, 3};
    struct compare c = {.mode = CMP_BITS};
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 0);
    ck_assert_int_eq(c.worst_at, -1);
    got[3] = nextafterf(3, 4);
    got[0] = 1.5f;
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 2);
    ck_assert_int_eq(c.worst_at, 0);
    ck_assert_double_eq(c.max_err, 0.5);
    got[2] = NAN;
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 3);
    ck_assert_int_eq(c.worst_at, 2);
    ck_assert(isinf(c.max_err));
    want[2] = NAN; /* the same bits on both sides */
    memcpy(&got[2], &want[2], sizeof got[2]);
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 2);
    compare_f32(&c, got, want, NULL, 0);
    ck_assert_int_eq(c.bad, 0);
    double a = 1, b = 1 + 0x1p-52;
    compare_f64(&c, &a, &b, NULL, 1);
    ck_assert_int_eq(c.bad, 1);
    ck_assert_double_eq(c.max_err, 0x1p-52);
}
END_TEST

START_TEST(compare_bound)
{
    float want[4] = {1, 2, 3, 4}, got[4] = {1.25f, 2.25f, 3, 4};
    double bound[4] = {0.25, 0.125, 0, 1};
    struct compare c = {.mode = CMP_BOUND};
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 1); /* the bound itself is allowed */
    ck_assert_int_eq(c.worst_at, 1);
    ck_assert_double_eq(c.worst_bound, 0.125);
    ck_assert_double_eq(c.max_err, 0.25);
    got[1] = 2;
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 0);
    ck_assert_int_eq(c.worst_at, 0); /* largest error/bound, though allowed */
    got[3] = NAN;
    bound[3] = INFINITY;
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 1);
    ck_assert_int_eq(c.worst_at, 3);
    want[3] = NAN;
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 0);
    want[3] = INFINITY;
    got[3] = INFINITY;
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 0);
    got[3] = -INFINITY;
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 1);
    got[3] = 4; /* finite where infinity is wanted, with an infinite bound */
    compare_f32(&c, got, want, bound, 4);
    ck_assert_int_eq(c.bad, 1);
}
END_TEST

START_TEST(compare_relative)
{
    float want[100], got[100];
    for (int i = 0; i < 100; i++) {
        want[i] = i % 2 ? 1 : -1;
        got[i] = want[i] + 0x1p-10f;
    }
    struct compare c = {.mode = CMP_REL_L2, .tol = 0x1p-10};
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 0);
    ck_assert_double_eq_tol(c.rel_l2, 0x1p-10, 1e-9);
    c.tol = 0x1p-11; /* no element is 30 tol off, but the norm is */
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 1);
    memcpy(got, want, sizeof got);
    got[7] += 0.15f; /* one element too far: |err| > 30 tol rms */
    c.tol = 0x1p-8;
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 1);
    ck_assert_int_eq(c.worst_at, 7);
    ck_assert_double_eq_tol(c.worst_bound, 30 * 0x1p-8, 1e-12);
    want[3] = INFINITY; /* an infinity must not widen the others' budget */
    got[3] = INFINITY;
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 1);
    got[3] = NAN;
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 2);
    ck_assert(isinf(c.rel_l2));
    memset(want, 0, sizeof want);
    memset(got, 0, sizeof got);
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 0);
    ck_assert_double_eq(c.rel_l2, 0);
    got[9] = 1e-30f;
    compare_f32(&c, got, want, NULL, 100);
    ck_assert_int_eq(c.bad, 1);
    ck_assert_int_eq(c.worst_at, 9);
}
END_TEST

START_TEST(compare_raw_bytes)
{
    int16_t want[5] = {1, 2, 3, 4, 5}, got[5] = {1, 2, -3, 4, 6};
    struct compare c = {0};
    compare_raw(&c, got, want, sizeof *want, 5);
    ck_assert_int_eq(c.bad, 2);
    ck_assert_int_eq(c.worst_at, 2);
    compare_raw(&c, want, want, sizeof *want, 5);
    ck_assert_int_eq(c.bad, 0);
    ck_assert_int_eq(c.worst_at, -1);
}
END_TEST

/* ---- state machines and bugs ---- */

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

/* ---- processes ---- */

static int run_shell(const char *script, int timeout_ms, size_t max, char **out)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    int code = -2;
    struct err e = {0};
    ck_assert_int_eq(proc_run(argv, "/", timeout_ms, max, out, &code, &e), RC_OK);
    return code;
}

START_TEST(run_exit_codes)
{
    char *out;
    ck_assert_int_eq(run_shell("echo out; echo err >&2; exit 3", 10000, 1000, &out), 3);
    ck_assert_str_eq(out, "out\nerr\n");
    mem_free(out);
    ck_assert_int_eq(run_shell("kill -SEGV $$", 10000, 1000, NULL), 128 + SIGSEGV);
    ck_assert_int_eq(run_shell("pwd; cat", 10000, 1000, &out), 0); /* stdin is empty */
    ck_assert_str_eq(out, "/\n");
    mem_free(out);
    ck_assert_int_eq(run_shell("i=0; while [ $i -lt 3000 ]; do echo 123456789; i=$((i+1)); done",
                               20000, 25, &out),
                     0);
    ck_assert_str_eq(out, "123456789\n123456789\n12345"); /* the rest is read and dropped */
    mem_free(out);
}
END_TEST

START_TEST(run_timeout_kills_the_group)
{
    char *out;
    int64_t start = clock_ns();
    ck_assert_int_eq(run_shell("echo begun; (sleep 30; echo late) & sleep 30", 300, 1000, &out),
                     -1);
    ck_assert_str_eq(out, "begun\n");
    mem_free(out);
    /* a grandchild holding the pipe does not hold us */
    ck_assert_int_eq(run_shell("sleep 30 & echo done", 20000, 1000, &out), 0);
    ck_assert_str_eq(out, "done\n");
    mem_free(out);
    /* nor does a child that closed its output */
    ck_assert_int_eq(run_shell("exec >&- 2>&-; sleep 30", 300, 1000, NULL), -1);
    ck_assert_int_lt(clock_ns() - start, INT64_C(15000000000));
}
END_TEST

START_TEST(run_what_is_not_there)
{
    const char *const argv[] = {"/no/such/program", NULL};
    int code = 0;
    char *out;
    struct err e = {0};
    ck_assert_int_eq(proc_run(argv, NULL, 1000, 100, &out, &code, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "proc.exec");
    ck_assert_str_eq(e.msg, "cannot run '/no/such/program': No such file or directory");
    ck_assert_ptr_null(out);
    const char *const echo[] = {"true", NULL};
    ck_assert_int_eq(proc_run(echo, "/no/such/folder", 1000, 100, NULL, &code, &e), RC_FAIL);
    struct proc p;
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_SOCKET, &e), RC_FAIL);
    ck_assert_int_eq(p.fd, -1);
    ck_assert_int_eq(p.pid, 0);
}
END_TEST

START_TEST(spawn_talks_over_descriptor_3)
{
    int leaked = dup(1); /* not close-on-exec: must still not reach the child */
    const char *const argv[] = {
        "sh", "-c", "read line <&3; echo \"got $line $(ls /proc/self/fd | tr '\\n' ' ')\" >&3",
        NULL};
    struct proc p;
    struct err e = {0};
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_SOCKET | PROC_QUIET, &e), RC_OK);
    ck_assert_int_ge(fcntl(p.fd, F_GETFD) & FD_CLOEXEC, 1);
    ck_assert_int_eq(io_write(p.fd, "ping\n", 5, 5000, &e), RC_OK);
    char text[10] = {0}, rest[200] = {0};
    ck_assert_int_eq(io_read(p.fd, text, 9, 5000, &e), RC_OK);
    ck_assert_str_eq(text, "got ping ");
    for (size_t i = 0; i < sizeof rest - 1; i++) {
        ck_assert_int_eq(io_read(p.fd, rest + i, 1, 5000, &e), RC_OK);
        if (rest[i] == '\n') break;
    }
    ck_assert_str_eq(rest, "0 1 2 3 4 \n"); /* 4 is ls reading its folder */
    ck_assert_int_eq(io_read(p.fd, text, 1, 5000, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "io.closed");
    int status = -1;
    proc_wait(&p, &status);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(p.fd, -1);
    close(leaked);
}
END_TEST

START_TEST(kill_and_wait)
{
    const char *const argv[] = {"sh", "-c", "sleep 100 & sleep 100", NULL};
    struct proc p;
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_QUIET, NULL), RC_OK);
    pid_t group = p.pid;
    ck_assert_int_eq(getpgid(p.pid), p.pid);
    int status = 0;
    proc_kill(&p);
    proc_wait(&p, &status);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    ck_assert_int_eq(p.pid, 0);
    proc_kill(&p); /* nothing left: no effect, and never kill(0) */
    for (int i = 0; i < 200 && kill(-group, 0) == 0; i++) usleep(10000);
    ck_assert_int_eq(kill(-group, 0), -1);
}
END_TEST

START_TEST(io_deadlines)
{
    int pair[2], p[2];
    char b[4];
    struct err e = {0};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int64_t start = clock_ns();
    ck_assert_int_eq(io_read(pair[0], b, 4, 60, &e), RC_DEADLINE);
    ck_assert_str_eq(e.code, "io.timeout");
    ck_assert_int_ge(clock_ns() - start, 59000000);
    ck_assert_int_eq(io_write(pair[1], "ab", 2, 100, &e), RC_OK);
    ck_assert_int_eq(io_read(pair[0], b, 4, 60, &e), RC_DEADLINE); /* half is not enough */
    /* a writer whose reader does not read: socket, then pipe */
    static char big[4 << 20];
    ck_assert_int_eq(io_write(pair[1], big, sizeof big, 60, &e), RC_DEADLINE);
    ck_assert_int_eq(pipe(p), 0);
    ck_assert_int_eq(io_write(p[1], big, sizeof big, 60, &e), RC_DEADLINE);
    /* closed ends: an error, no SIGPIPE */
    close(p[0]);
    ck_assert_int_eq(io_write(p[1], "x", 1, 60, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "io.closed");
    close(pair[0]);
    ck_assert_int_eq(io_write(pair[1], "x", 1, 60, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "io.closed");
    ck_assert_int_eq(io_read(-1, b, 0, 60, &e), RC_OK); /* nothing asked, nothing done */
}
END_TEST

/* ---- files and log ---- */

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/quern-base-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    const char *const argv[] = {"rm", "-rf", folder, NULL};
    int code;
    proc_run(argv, NULL, 10000, 100, NULL, &code, NULL);
}

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

START_TEST(files_read_and_write)
{
    struct err e = {0};
    char *text;
    size_t n;
    ck_assert_int_eq(fs_write(in_folder("a.txt"), "hello", 5, &e), RC_OK);
    ck_assert_int_eq(fs_write(in_folder("a.txt"), "hello, all", 10, &e), RC_OK);
    ck_assert_int_eq(fs_read(in_folder("a.txt"), 10, &text, &n, &e), RC_OK);
    ck_assert_uint_eq(n, 10);
    ck_assert_str_eq(text, "hello, all");
    mem_free(text);
    ck_assert_int_eq(fs_read(in_folder("a.txt"), 9, &text, &n, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.too_big");
    ck_assert_int_eq(fs_read(in_folder("none"), 9, &text, &n, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.open");
    ck_assert_int_eq(fs_read(folder, 9, &text, &n, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.read");
    ck_assert_int_eq(fs_read("/dev/zero", 200000, &text, &n, &e), RC_INPUT); /* a size that lies */
    ck_assert_str_eq(e.code, "fs.too_big");
    ck_assert_int_eq(fs_read("/proc/self/status", 1 << 20, &text, &n, &e), RC_OK);
    ck_assert_uint_gt(n, 100);
    mem_free(text);
    ck_assert_int_eq(fs_write(in_folder("empty"), "", 0, &e), RC_OK);
    ck_assert_int_eq(fs_read(in_folder("empty"), 0, &text, NULL, &e), RC_OK);
    ck_assert_str_eq(text, "");
    mem_free(text);
}
END_TEST

START_TEST(files_failed_write_leaves_nothing)
{
    struct err e = {0};
    char **names;
    size_t n;
    ck_assert_int_eq(fs_mkdirs(in_folder("target/sub"), &e), RC_OK);
    ck_assert_int_eq(fs_write(in_folder("target"), "x", 1, &e),
                     RC_STORE); /* a folder is in the way */
    ck_assert_str_eq(e.code, "fs.write");
    ck_assert_int_eq(fs_list(folder, "", &names, &n, &e), RC_OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(names[0], "target");
    fs_list_free(names, n);
    ck_assert_int_eq(fs_write("/no/such/folder/x", "x", 1, &e), RC_STORE);
}
END_TEST

START_TEST(files_lists_and_folders)
{
    struct err e = {0};
    char **names;
    size_t n;
    ck_assert_int_eq(fs_mkdirs(in_folder("p/q/r"), &e), RC_OK);
    ck_assert_int_eq(fs_mkdirs(in_folder("p/q/r/"), &e), RC_OK);
    ck_assert(fs_exists(in_folder("p/q/r")));
    ck_assert(!fs_exists(in_folder("p/x")));
    static const char *const NAMES[] = {"p/b.op", "p/a.op", "p/c.sched", "p/.hidden.op", "p/op"};
    for (size_t i = 0; i < QN_COUNT(NAMES); i++)
        ck_assert_int_eq(fs_write(in_folder(NAMES[i]), "", 0, &e), RC_OK);
    ck_assert_int_eq(fs_list(in_folder("p"), ".op", &names, &n, &e), RC_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(names[0], "a.op");
    ck_assert_str_eq(names[1], "b.op");
    fs_list_free(names, n);
    ck_assert_int_eq(fs_mkdirs(in_folder("p/a.op/x"), &e), RC_STORE);
    ck_assert_int_eq(fs_mkdirs("", &e), RC_STORE);
    ck_assert_int_eq(fs_list(in_folder("none"), "", &names, &n, &e), RC_INPUT);
}
END_TEST

START_TEST(data_folders)
{
    struct err e = {0};
    char dir[512], want[512];
    unsetenv("QUERN_DATA");
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "targets", &e), RC_OK);
    snprintf(want, sizeof want, "%s/targets",
             QN_SOURCE_DIR); /* upwards from the build's tests folder */
    struct stat a, b;
    ck_assert_int_eq(stat(dir, &a), 0);
    ck_assert_int_eq(stat(want, &b), 0);
    ck_assert(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "no-such-data", &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.data");
    ck_assert_int_eq(fs_data_dir(dir, 5, "targets", &e), RC_INPUT);
    ck_assert_int_eq(fs_mkdirs(in_folder("data/targets"), &e), RC_OK);
    setenv("QUERN_DATA", in_folder("data"), 1);
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "targets", &e), RC_OK);
    ck_assert_str_eq(dir, in_folder("data/targets"));
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "schedules", &e), RC_INPUT);
    ck_assert_ptr_nonnull(strstr(e.msg, "QUERN_DATA"));
}
END_TEST

START_TEST(log_levels)
{
    int fd = open(in_folder("log"), O_RDWR | O_CREAT, 0600);
    int keep = dup(2);
    dup2(fd, 2);
    unsetenv("QUERN_LOG");
    log_info("not shown");
    errno = ENOENT;
    log_warn("w %d", 1);
    int kept = errno;
    setenv("QUERN_LOG", "debug", 1);
    log_debug("d");
    setenv("QUERN_LOG", "error", 1);
    log_warn("not shown");
    log_at(LOG_ERROR, "e: %m");
    dup2(keep, 2);
    ck_assert_int_eq(kept, ENOENT);
    char *text;
    ck_assert_int_eq(fs_read(in_folder("log"), 1000, &text, NULL, NULL), RC_OK);
    ck_assert_str_eq(
        text, "quern: warning: w 1\nquern: debug: d\nquern: error: e: No such file or directory\n");
    mem_free(text);
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
    t = add_case(suite, "numbers");
    tcase_add_test(t, sha256_known_answers);
    tcase_add_test(t, sha256_million_in_pieces);
    tcase_add_test(t, sha256_every_length_in_two_pieces);
    tcase_add_test(t, crc32c_known_answers);
    tcase_add_test(t, hash_u64_spreads);
    tcase_add_test(t, rng_is_deterministic);
    tcase_add_test(t, rng_ranges);
    tcase_add_test(t, integer_division_floors);
    t = add_case(suite, "compare");
    tcase_add_test(t, compare_bits);
    tcase_add_test(t, compare_bound);
    tcase_add_test(t, compare_relative);
    tcase_add_test(t, compare_raw_bytes);
    t = add_case(suite, "bugs");
    tcase_add_test(t, sm_moves);
    tcase_add_test_raise_signal(t, sm_refused_move_aborts, SIGABRT);
    tcase_add_test_raise_signal(t, sm_unknown_state_aborts, SIGABRT);
    tcase_add_test_raise_signal(t, check_aborts, SIGABRT);
    tcase_add_test(t, check_says_where);
    t = add_case(suite, "processes");
    tcase_add_test(t, run_exit_codes);
    tcase_add_test(t, run_timeout_kills_the_group);
    tcase_add_test(t, run_what_is_not_there);
    tcase_add_test(t, spawn_talks_over_descriptor_3);
    tcase_add_test(t, kill_and_wait);
    tcase_add_test(t, io_deadlines);
    t = add_case(suite, "files");
    tcase_add_unchecked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, data_folders);
    t = add_case(suite, "fresh folder");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, files_read_and_write);
    tcase_add_test(t, files_failed_write_leaves_nothing);
    tcase_add_test(t, files_lists_and_folders);
    tcase_add_test(t, log_levels);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
