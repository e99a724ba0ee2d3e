/* The runner's door behind the codec: jobs that decode but may make no sense, and the blob loader.
 * The code is mapped, never run.
 *
 * Invariants on every input: no crash; a job that passes its checks can be placed, with every
 * buffer inside its mapping, aligned, and apart from its neighbours by a guard; its code is mapped
 * exactly. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "lib/fuzz.h"
#include "sandbox/blob.h"
#include "sandbox/data.h"
#include "sandbox/stage.h"

static uint8_t *CODE; /* reserved addresses for the loader */

static void place(const struct wire_task *t, const struct wire_blob *blob, enum stage_align align)
{
    struct window w = {.base = (uint8_t *)(uintptr_t)(UINT64_C(1) << 44), .len = (size_t)1 << 40};
    static struct stage s;
    memset(&s, 0, sizeof s);
    s.align = align;
    for (uint32_t i = 0; i < t->buffers_n; i++) {
        int bits = wire_dtype_info((enum wire_dtype)t->buffers[i].dtype)->bits;
        if (!stage_add(&s, &w, t->buffers[i].name, PLACE_INPUT, t->buffers[i].bytes,
                       bits < 8 ? 1 : bits / 8))
            return;
    }
    for (uint32_t i = 0; i < blob->packed.n; i++)
        if (!stage_add(&s, &w, "packed", PLACE_PACKED, (uint64_t)blob->packed.p[i], 64)) return;
    uint64_t private_bytes = blob_private_bytes(blob, 3);
    if (private_bytes < (UINT64_C(1) << 40) &&
        !stage_add(&s, &w, "scratch", PLACE_SCRATCH, private_bytes, 64))
        return;
    for (int i = 0; i < s.n; i++) {
        const struct place *p = &s.places[i];
        QN_CHECK(p->map_len % PAGE == 0 && p->off + p->bytes <= p->map_len, "place %d", i);
        QN_CHECK(p->at >= w.base + GUARD && p->at + p->map_len + GUARD <= w.base + w.len,
                 "place %d outside", i);
        QN_CHECK(i == 0 || p->at >= s.places[i - 1].at + s.places[i - 1].map_len + GUARD,
                 "no guard before %d", i);
        char text[256];
        stage_describe(&s, 1, p->at + p->off + p->bytes, true, text, sizeof text);
    }
}

static void load(const struct wire_blob *b)
{
    struct err e = {0};
    if (blob_check(b, &e)) {
        QN_CHECK(e.code[0], "a refusal without a code");
        return;
    }
    QN_CHECK(b->kernel < b->code.n && b->pack < (int64_t)b->code.n, "entry outside the code");
    QN_CHECK(blob_load(b, CODE), "cannot map %u bytes", b->code.n);
    QN_CHECK(memcmp(CODE, b->code.p, b->code.n) == 0, "other code than was sent");
    mmap(CODE, blob_map_len(b), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static int job(const struct wire_task *t, const struct wire_blob *blob)
{
    struct err e = {0};
    load(blob);
    if (wire_task_check(t, &e)) {
        QN_CHECK(strncmp(e.code, "job.", 4) == 0, "code '%s'", e.code);
        return 0;
    }
    load(&t->ref);
    if (wire_blob_check(blob, &e)) return 0;
    for (int a = ALIGN_RIGHT; a <= ALIGN_TIMED; a++) place(t, blob, (enum stage_align)a);
    for (uint32_t i = 0; i < t->buffers_n; i++) {
        if (t->buffers[i].bytes > 4096) continue;
        uint8_t *p = mem_new(t->buffers[i].bytes + 1);
        for (int r = 0; r < RECIPE_COUNT; r++)
            data_fill(p, &t->buffers[i], (enum recipe)r, 5, r % 2);
        mem_free(p);
    }
    return 1;
}

static void store(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static int one(const uint8_t *p, size_t n)
{
    struct wire_header h;
    struct err e = {0};
    void *msg;
    int ok = 0;
    if (n < WIRE_HEADER) return 0;
    uint8_t *q = mem_new(n);
    memcpy(q, p, n);
    store(q, WIRE_MAGIC);
    q[4] = WIRE_VERSION, q[5] = 0, q[6] = q[6] % 2 ? WIRE_VERIFY : WIRE_SCREEN, q[7] = 0;
    store(q + 12, (uint32_t)(n - WIRE_HEADER));
    uint32_t head = hash_crc32c(q, 16);
    store(q + 16, hash_crc32c(q + WIRE_HEADER, n - WIRE_HEADER) ^ (head << 1 | head >> 31));
    QN_CHECK(wire_header(q, &h, &e) == RC_OK, "%s", e.msg);
    struct arena *a = arena_new();
    if (wire_payload(a, &h, q + WIRE_HEADER, &msg, &e) == RC_OK) {
        const struct wire_verify *v = msg;
        const struct wire_screen *s = msg;
        ok = h.type == WIRE_VERIFY ? job(&v->task, &v->blob) : job(&s->task, &s->blob);
    }
    arena_free(a);
    mem_free(q);
    return ok;
}

START_TEST(jobs_survive)
{
    CODE = mmap(NULL, WIRE_MAX_CODE + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    ck_assert_ptr_ne(CODE, MAP_FAILED);
    ck_assert_int_gt(fuzz_run("job", one, fuzz_seconds()), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fuzz_job");
    TCase *t = tcase_create("fuzz_job");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, jobs_survive);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
