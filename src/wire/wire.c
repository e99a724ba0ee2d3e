/* wire.c: closed sets and the static sense of a job. The codec is codec.c.
 *
 *   verdict_find("oob_access")->side == SIDE_CANDIDATE
 *
 * Invariant: every table row is reachable by code and by name. */
#include "wire/wire.h"

#include <math.h>
#include <string.h>

#define SET_BEGIN(tag)                 \
    const char *tag##_name(enum tag v) \
    {                                  \
        static const char *const names[] = {
#define ITEM(TAG, NAME, text) [TAG##_##NAME] = text,
#define SET_END(tag, TAG)                                      \
    }                                                          \
    ;                                                          \
    return (size_t)v < QN_COUNT(names) ? names[v] : "unknown"; \
    }
#include "wire/sets.def"

static const struct dtype_info DTYPES[] = {
#define KIND_F                              'F'
#define KIND_S                              'S'
#define KIND_U                              'U'
#define DTYPE(code, NAME, name, bits, kind) [code] = {name, bits, KIND_##kind},
#include "wire/dtypes.def"
};

static const struct verdict_info VERDICTS[] = {
#define SIDE_FOR_OK        SIDE_OK
#define SIDE_FOR_CANDIDATE SIDE_CANDIDATE
#define SIDE_FOR_WORLD     SIDE_WORLD
#define VERDICT(code, NAME, name, side, retry, text) \
    {VERDICT_##NAME, name, text, SIDE_FOR_##side, retry},
#include "wire/verdicts.def"
};

const struct dtype_info *wire_dtype_info(enum wire_dtype t)
{
    QN_CHECK((size_t)t < QN_COUNT(DTYPES), "dtype %d", (int)t);
    return &DTYPES[t];
}

bool wire_dtype_find(const char *name, enum wire_dtype *out)
{
    for (size_t i = 0; i < QN_COUNT(DTYPES); i++) {
        if (strcmp(DTYPES[i].name, name) == 0) {
            *out = (enum wire_dtype)i;
            return true;
        }
    }
    return false;
}

bool wire_dtype_bytes(enum wire_dtype t, uint64_t n, uint64_t *bytes)
{
    uint64_t bits;
    if (__builtin_mul_overflow(n, (uint64_t)wire_dtype_info(t)->bits, &bits)) return false;
    *bytes = bits / 8 + (bits % 8 != 0);
    return true;
}

const struct verdict_info *verdict_at(size_t i)
{
    return i < QN_COUNT(VERDICTS) ? &VERDICTS[i] : NULL;
}

const struct verdict_info *verdict_info(int code)
{
    for (size_t i = 0; i < QN_COUNT(VERDICTS); i++)
        if ((int)VERDICTS[i].code == code) return &VERDICTS[i];
    return NULL;
}

const struct verdict_info *verdict_find(const char *name)
{
    for (size_t i = 0; i < QN_COUNT(VERDICTS); i++)
        if (strcmp(VERDICTS[i].name, name) == 0) return &VERDICTS[i];
    return NULL;
}

const char *verdict_name(int code)
{
    const struct verdict_info *v = verdict_info(code);
    return v ? v->name : "unknown";
}

/* A ceiling that keeps every later sum of sizes far from overflow. */
#define SIZE_CEILING (UINT64_C(1) << 44)
#define INT_CEILING  (INT64_C(1) << 61)

enum rc wire_blob_check(const struct wire_blob *b, struct err *e)
{
    if (b->code.n == 0) return err_set(e, RC_INPUT, "job.blob", "the blob is empty");
    if (b->kernel >= b->code.n)
        return err_set(e, RC_INPUT, "job.blob", "kernel entry %u lies outside %u bytes of code",
                       b->kernel, b->code.n);
    if (b->pack < -1 || b->pack >= (int64_t)b->code.n)
        return err_set(e, RC_INPUT, "job.blob", "pack entry %lld lies outside %u bytes of code",
                       (long long)b->pack, b->code.n);
    if (b->pack < 0 && b->packed.n > 0)
        return err_set(e, RC_INPUT, "job.blob", "%u packed buffers but no pack entry", b->packed.n);
    if (b->scratch_a > SIZE_CEILING || b->scratch_b > SIZE_CEILING)
        return err_set(e, RC_INPUT, "job.limit", "scratch of more than 2^44 bytes");
    for (uint32_t i = 0; i < b->packed.n; i++)
        if (b->packed.p[i] < 0 || (uint64_t)b->packed.p[i] > SIZE_CEILING)
            return err_set(e, RC_INPUT, "job.limit", "packed buffer %u has %lld bytes", i,
                           (long long)b->packed.p[i]);
    return RC_OK;
}

static enum rc buffer_check(const struct wire_buffer *b, struct err *e)
{
    uint64_t bytes;
    const struct dtype_info *t = wire_dtype_info((enum wire_dtype)b->dtype);
    if (!wire_dtype_bytes((enum wire_dtype)b->dtype, b->count, &bytes) || bytes > SIZE_CEILING)
        return err_set(e, RC_INPUT, "job.limit", "buffer '%s' is too large", b->name);
    if (bytes != b->bytes)
        return err_set(e, RC_INPUT, "job.buffer",
                       "buffer '%s': %llu elements of %s are %llu bytes, not %llu", b->name,
                       (unsigned long long)b->count, t->name, (unsigned long long)bytes,
                       (unsigned long long)b->bytes);
    if (b->int_lo > b->int_hi || b->int_lo < -INT_CEILING || b->int_hi > INT_CEILING)
        return err_set(e, RC_INPUT, "job.buffer",
                       "buffer '%s': integer range is empty or beyond 2^61", b->name);
    if (!(b->real_lo <= b->real_hi) || !isfinite(b->real_hi - b->real_lo))
        return err_set(e, RC_INPUT, "job.buffer", "buffer '%s': real range is empty", b->name);
    if (!(b->reduce_k >= 0) || !isfinite(b->reduce_k))
        return err_set(e, RC_INPUT, "job.buffer", "buffer '%s': reduce_k is not a length", b->name);
    return RC_OK;
}

enum rc wire_task_check(const struct wire_task *t, struct err *e)
{
    uint64_t total = 0;
    bool out = false;
    for (uint32_t i = 0; i < t->buffers_n; i++) {
        enum rc rc = buffer_check(&t->buffers[i], e);
        if (rc) return rc;
        total += t->buffers[i].bytes;
        out |= t->buffers[i].role == ROLE_OUT;
    }
    if (!out) return err_set(e, RC_INPUT, "job.buffer", "the task has no output");
    if (total > SIZE_CEILING) return err_set(e, RC_INPUT, "job.limit", "operands are too large");
    if (!(t->tol >= 0) || !(t->bound_c >= 0) || !isfinite(t->tol) || !isfinite(t->bound_c))
        return err_set(e, RC_INPUT, "job.buffer", "tolerances must be finite and not negative");
    if (t->ref.packed.n > 0)
        return err_set(e, RC_INPUT, "job.blob", "a reference kernel has no packed buffers");
    if (wire_blob_check(&t->ref, e)) return err_wrap(e, "reference");
    return RC_OK;
}
