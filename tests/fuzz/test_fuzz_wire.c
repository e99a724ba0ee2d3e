/* The wire's door: any bytes as a frame, as they come and with length and crc put right, so that
 * mutations reach the decoder.
 *
 * Invariants on every input: no crash; memory within a fixed multiple of the input; a frame that is
 * accepted encodes to the same bytes again. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "lib/fuzz.h"
#include "wire/wire.h"

static int decode(const uint8_t *p, size_t n)
{
    struct wire_header h;
    struct err e = {0};
    void *msg;
    if (n < WIRE_HEADER || wire_header(p, &h, &e)) return 0;
    if (h.length != n - WIRE_HEADER) return 0;
    struct arena *a = arena_new();
    int ok = wire_payload(a, &h, p + WIRE_HEADER, &msg, &e) == RC_OK;
    QN_CHECK(ok || (e.rc == RC_INPUT && strncmp(e.code, "wire.", 5) == 0), "code '%s'", e.code);
    QN_CHECK(arena_bytes(a) <= 65536 + 1024 * n, "%zu bytes of memory for %zu", arena_bytes(a), n);
    if (ok) {
        struct buf b;
        buf_init(&b, WIRE_MAX_FRAME + WIRE_HEADER);
        QN_CHECK(wire_encode(&b, h.type, h.seq, msg, &e) == RC_OK, "%s", e.msg);
        QN_CHECK(b.n == n && memcmp(b.p, p, n) == 0, "another encoding of %zu bytes", n);
        buf_fini(&b);
    }
    arena_free(a);
    return ok;
}

static void store(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static int one(const uint8_t *p, size_t n)
{
    decode(p, n);
    if (n < WIRE_HEADER) return 0;
    uint8_t *q = mem_new(n);
    memcpy(q, p, n);
    store(q, WIRE_MAGIC);
    q[4] = WIRE_VERSION, q[5] = 0, q[6] = (uint8_t)(q[6] % 17 + 1), q[7] = 0;
    store(q + 12, (uint32_t)(n - WIRE_HEADER));
    uint32_t head = hash_crc32c(q, 16);
    store(q + 16, hash_crc32c(q + WIRE_HEADER, n - WIRE_HEADER) ^ (head << 1 | head >> 31));
    int ok = decode(q, n);
    mem_free(q);
    return ok;
}

START_TEST(frames_survive) { ck_assert_int_gt(fuzz_run("wire", one, fuzz_seconds()), 0); }
END_TEST

int main(void)
{
    Suite *s = suite_create("fuzz_wire");
    TCase *t = tcase_create("fuzz_wire");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, frames_survive);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
