/* The wire: every message survives encode and decode, every damaged frame is refused with its code,
 * and the bytes of one frame are what WIRE.txt says. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "lib/sandbox_blobs.h"
#include "wire/wire.h"

static struct buf B;
static struct arena *A;

static void setup(void)
{
    A = arena_new();
    buf_init(&B, WIRE_MAX_FRAME + WIRE_HEADER);
}
static void teardown(void)
{
    buf_fini(&B);
    arena_free(A);
}

static void *decode(enum wire_type type, uint32_t seq)
{
    struct wire_header h;
    struct err e = {0};
    void *msg;
    ck_assert_msg(wire_header((const uint8_t *)B.p, &h, &e) == RC_OK, "%s", e.msg);
    ck_assert_int_eq(h.type, type);
    ck_assert_uint_eq(h.seq, seq);
    ck_assert_uint_eq(h.length + WIRE_HEADER, B.n);
    ck_assert_msg(wire_payload(A, &h, (const uint8_t *)B.p + WIRE_HEADER, &msg, &e) == RC_OK, "%s",
                  e.msg);
    return msg;
}

static void *round_trip(enum wire_type type, const void *in)
{
    struct err e = {0};
    struct buf again;
    buf_reset(&B);
    ck_assert_msg(wire_encode(&B, type, 77, in, &e) == RC_OK, "%s", e.msg);
    void *out = decode(type, 77);
    buf_init(&again, WIRE_MAX_FRAME + WIRE_HEADER);
    ck_assert_int_eq(wire_encode(&again, type, 77, out, &e), RC_OK);
    ck_assert_uint_eq(again.n, B.n);
    ck_assert_mem_eq(again.p, B.p, B.n);
    buf_fini(&again);
    return out;
}

START_TEST(every_message_round_trips_empty)
{
    union {
        char space[4096];
        long align;
    } zero;
    memset(&zero, 0, sizeof zero);
#define MSG(code, NAME, tag, from)                             \
    ck_assert_uint_le(sizeof(struct wire_##tag), sizeof zero); \
    round_trip(WIRE_##NAME, &zero);                            \
    ck_assert_str_eq(wire_type_name(code), #NAME);
#include "wire/msgs.def"
#undef MSG
    ck_assert_str_eq(wire_type_name(0), "unknown");
    ck_assert_str_eq(wire_type_name(99), "unknown");
    ck_assert(wire_from_client(WIRE_SCREEN) && !wire_from_client(WIRE_RESULT));
}
END_TEST

START_TEST(a_job_round_trips)
{
    static int64_t packed[] = {128, 4096};
    struct wire_screen m = {.task = sandbox_task(10),
                            .seed = UINT64_C(0xfedcba9876543210),
                            .incumbent_ns = 1.5,
                            .epochs = 3,
                            .limits = {.threads = 2, .cache = CACHE_COLD}};
    m.blob = (struct wire_blob){.code = {(const uint8_t *)"\x90\xc3", 2},
                                .pack = 1,
                                .kernel = 1,
                                .scratch_b = 9,
                                .packed = {packed, 2}};
    if (m.task.ref.code.n == 0) m.task.ref = m.blob;
    const struct wire_screen *got = round_trip(WIRE_SCREEN, &m);
    ck_assert_uint_eq(got->seed, m.seed);
    ck_assert_uint_eq(got->task.buffers_n, 3);
    ck_assert_str_eq(got->task.buffers[2].name, "y");
    ck_assert_int_eq(got->task.buffers[2].role, ROLE_OUT);
    ck_assert_uint_eq(got->task.buffers[2].bytes, 40);
    ck_assert_int_eq(got->task.dyn.p[0], 10);
    ck_assert_uint_eq(got->blob.packed.n, 2);
    ck_assert_int_eq(got->blob.packed.p[1], 4096);
    ck_assert_mem_eq(got->blob.code.p, "\x90\xc3", 2);
    ck_assert_double_eq(got->incumbent_ns, 1.5);
    ck_assert_int_eq(got->limits.cache, CACHE_COLD);
}
END_TEST

START_TEST(a_result_round_trips)
{
    double samples[] = {1.25, NAN, INFINITY, -0.0};
    struct wire_result m = {.outcome = {.verdict = VERDICT_OOB_ACCESS,
                                        .text = "caf\xc3\xa9",
                                        .index = -1,
                                        .max_err = INFINITY},
                            .samples = {samples, 4},
                            .iters = 9};
    const struct wire_result *got = round_trip(WIRE_RESULT, &m);
    ck_assert_str_eq(got->outcome.text, "caf\xc3\xa9");
    ck_assert_int_eq(got->outcome.index, -1);
    ck_assert(isnan(got->samples.p[1]) && isinf(got->samples.p[2]) && signbit(got->samples.p[3]));
    ck_assert_str_eq(got->outcome.where, ""); /* NULL comes out as "" */
}
END_TEST

START_TEST(bytes_of_a_frame)
{
    static const uint8_t head[] = {0x51, 0x51, 0x4e, 0x57, 1, 0, 2, 0, 5, 0, 0, 0, 8, 0, 0, 0};
    static const uint8_t body[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    struct wire_ping m = {.nonce = UINT64_C(0x1122334455667788)};
    struct err e = {0};
    ck_assert_int_eq(wire_encode(&B, WIRE_PING, 5, &m, &e), RC_OK);
    ck_assert_uint_eq(B.n, 28);
    ck_assert_mem_eq(B.p, head, 16);
    ck_assert_mem_eq(B.p + 20, body, 8);
    uint32_t h = hash_crc32c(head, 16), want = hash_crc32c(body, 8) ^ (h << 1 | h >> 31), got = 0;
    for (int i = 3; i >= 0; i--) got = got << 8 | (uint8_t)B.p[16 + i];
    ck_assert_uint_eq(got, want);
}
END_TEST

static enum rc refuse(struct err *e)
{
    struct wire_header h;
    void *msg;
    memset(e, 0, sizeof *e);
    enum rc rc = wire_header((const uint8_t *)B.p, &h, e);
    if (rc == RC_OK && B.n < WIRE_HEADER + (size_t)h.length)
        return err_set(e, RC_INPUT, "test.more", "wants more bytes");
    if (rc == RC_OK) rc = wire_payload(A, &h, (const uint8_t *)B.p + WIRE_HEADER, &msg, e);
    return rc;
}

START_TEST(every_flipped_bit_is_noticed)
{
    struct wire_result m = {.outcome = {.text = "x"}};
    struct err e = {0};
    ck_assert_int_eq(wire_encode(&B, WIRE_RESULT, 1, &m, &e), RC_OK);
    for (size_t bit = 0; bit < B.n * 8; bit++) {
        B.p[bit / 8] ^= (char)(1 << bit % 8);
        ck_assert_int_eq(refuse(&e), RC_INPUT);
        ck_assert_uint_gt(strlen(e.code), 0);
        B.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    ck_assert_int_eq(refuse(&e), RC_OK);
}
END_TEST

/* Rewrites crc so that only the planted damage is left. */
static void fix_crc(void)
{
    uint32_t h = hash_crc32c(B.p, 16),
             crc = hash_crc32c(B.p + WIRE_HEADER, B.n - WIRE_HEADER) ^ (h << 1 | h >> 31);
    for (int i = 0; i < 4; i++) B.p[16 + i] = (char)(crc >> (8 * i));
}

static void refused(const char *code)
{
    struct err e;
    fix_crc();
    ck_assert_int_eq(refuse(&e), RC_INPUT);
    ck_assert_str_eq(e.code, code);
}

START_TEST(codes_of_refusal)
{
    struct wire_fault m = {.code = "a", .text = "bc"}; /* payload: 1 0 0 0 a 2 0 0 0 b c */
    struct err e = {0};
    ck_assert_int_eq(wire_encode(&B, WIRE_FAULT, 1, &m, &e), RC_OK);
    ck_assert_uint_eq(B.n, 20 + 11);
    B.p[0] ^= 1, refused("wire.magic"), B.p[0] ^= 1;
    B.p[4] = 2, refused("wire.version"), B.p[4] = 1;
    B.p[6] = 99, refused("wire.type"), B.p[6] = WIRE_FAULT;
    B.p[15] = 0x7f, refused("wire.length"), B.p[15] = 0;
    B.p[20] = 49, refused("wire.limit"), B.p[20] = 1;
    B.p[20] = 40, refused("wire.short"), B.p[20] = 1;
    B.p[24] = 0, refused("wire.text"), B.p[24] = 'a';
    B.p[24] = (char)0xff, refused("wire.text"), B.p[24] = 'a';
    B.p[25] = 1, refused("wire.trailing"), B.p[25] = 2;
    B.p[16] ^= 1;
    ck_assert_int_eq(refuse(&e), RC_INPUT);
    ck_assert_str_eq(e.code, "wire.crc");
    buf_reset(&B);
    struct wire_calibrate c = {0};
    struct wire_race_ready r = {0};
    ck_assert_int_eq(wire_encode(&B, WIRE_CALIBRATE, 1, &c, &e), RC_OK);
    B.p[6] = WIRE_RACE_OPEN; /* shorter than the message it claims to be */
    refused("wire.short");
    buf_reset(&B);
    struct wire_screen s = {.task = sandbox_task(1)};
    s.limits.cache = 9;
    ck_assert_int_eq(wire_encode(&B, WIRE_SCREEN, 1, &s, &e), RC_INTERNAL);
    ck_assert_str_eq(e.code, "wire.encode");
    ck_assert_uint_eq(B.n, 0);
    r.entries_n = WIRE_MAX_ENTRIES + 1;
    ck_assert_int_eq(wire_encode(&B, WIRE_RACE_READY, 1, &r, &e), RC_INTERNAL);
}
END_TEST

START_TEST(verdicts_are_a_bijection)
{
    int candidate = 0, world = 0;
    for (size_t i = 0; verdict_at(i); i++) {
        const struct verdict_info *v = verdict_at(i);
        ck_assert_ptr_eq(verdict_find(v->name), v);
        ck_assert_ptr_eq(verdict_info(v->code), v);
        ck_assert_str_eq(verdict_name(v->code), v->name);
        ck_assert(!v->retry || v->side == SIDE_WORLD);
        candidate += v->side == SIDE_CANDIDATE;
        world += v->side == SIDE_WORLD;
    }
    ck_assert_int_eq(candidate, 17);
    ck_assert_int_eq(world, 11);
    ck_assert_str_eq(verdict_name(200), "unknown");
    ck_assert_ptr_null(verdict_find("nonsense"));
}
END_TEST

START_TEST(types_and_sets)
{
    enum wire_dtype t;
    uint64_t bytes;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        ck_assert(wire_dtype_find(wire_dtype_info((enum wire_dtype)i)->name, &t) && (int)t == i);
    }
    ck_assert(!wire_dtype_find("f31", &t));
    ck_assert(wire_dtype_bytes(DTYPE_B1, 9, &bytes) && bytes == 2);
    ck_assert(wire_dtype_bytes(DTYPE_S4, 3, &bytes) && bytes == 2);
    ck_assert(wire_dtype_bytes(DTYPE_F64, 3, &bytes) && bytes == 24);
    ck_assert(!wire_dtype_bytes(DTYPE_F64, UINT64_MAX / 8, &bytes));
    ck_assert_str_eq(role_name(ROLE_OUT), "out");
    ck_assert_str_eq(recipe_name(RECIPE_ONEHOT), "onehot");
    ck_assert_str_eq(arch_name(ARCH_COUNT), "unknown");
}
END_TEST

START_TEST(senseless_jobs)
{
    struct err e = {0};
    struct wire_task t = sandbox_task(10);
    if (t.ref.code.n == 0) t.ref.code = (struct wire_bytes){(const uint8_t *)"x", 1};
    ck_assert_int_eq(wire_task_check(&t, &e), RC_OK);
    t.buffers[1].count = UINT64_MAX;
    ck_assert_int_eq(wire_task_check(&t, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "job.limit");
    t = sandbox_task(10);
    t.buffers[1].int_lo = INT64_MIN, t.buffers[1].int_hi = INT64_MAX;
    ck_assert_int_eq(wire_task_check(&t, &e), RC_INPUT);
    t = sandbox_task(10);
    t.buffers[1].real_lo = NAN;
    ck_assert_int_eq(wire_task_check(&t, &e), RC_INPUT);
    t = sandbox_task(10);
    t.tol = -1;
    ck_assert_int_eq(wire_task_check(&t, &e), RC_INPUT);
    t = sandbox_task(10);
    t.ref.pack = -2;
    ck_assert_int_eq(wire_task_check(&t, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "job.blob");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wire");
    TCase *t = tcase_create("wire");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_message_round_trips_empty);
    tcase_add_test(t, a_job_round_trips);
    tcase_add_test(t, a_result_round_trips);
    tcase_add_test(t, bytes_of_a_frame);
    tcase_add_test(t, every_flipped_bit_is_noticed);
    tcase_add_test(t, codes_of_refusal);
    tcase_add_test(t, verdicts_are_a_bijection);
    tcase_add_test(t, types_and_sets);
    tcase_add_test(t, senseless_jobs);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
