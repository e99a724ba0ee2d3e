/* base: hashes, random numbers, integer division, comparison.
 *
 *   known answers where the world has them (FIPS 180-4, CRC-32C, xoshiro), limits everywhere else.
 *
 * Invariant: no test depends on another. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compare.h"
#include "base/hash.h"
#include "base/rng.h"

/* ---- hashes and random numbers --------------------------------------------------------------- */

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

/* ---- comparison ------------------------------------------------------------------------------ */

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

/* Numbers stored as f16: each may be 4 roundings of storage off, of itself and of all together. */
START_TEST(compare_stored_in_fewer_bits)
{
    float want[4] = {1, 1, 1, 100}, got[4] = {1, 1 + 0x1p-10f, 1, 100 + 0x1p-4f};
    struct compare c = {.mode = CMP_REL_L2, .tol = 1e-7};
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 2);
    c.unit = 0x1p-11;
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 0);
    got[0] = 1 + 51 * 4 * 0x1p-11f; /* rms 50 */
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 0);
    got[0] = 1 + 53 * 4 * 0x1p-11f;
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 1);
    ck_assert_int_eq(c.worst_at, 0);
    want[2] = INFINITY; /* of the same on both sides nothing is asked; rms 58 */
    got[2] = INFINITY;
    compare_f32(&c, got, want, NULL, 4);
    ck_assert_int_eq(c.bad, 0);
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

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    suite_add_tcase(suite, t);
    return t;
}

int main(void)
{
    Suite *suite = suite_create("base_num");
    TCase *t = add_case(suite, "numbers");
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
    tcase_add_test(t, compare_stored_in_fewer_bits);
    tcase_add_test(t, compare_raw_bytes);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
