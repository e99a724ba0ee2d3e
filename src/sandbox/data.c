/* data: one generator of values, one writer per element type.
 *
 *   data_fill(p, x, RECIPE_INTS, seed, DATA_PLAIN)     x[i] uniform in {int_lo .. int_hi}
 *
 * Invariants: the same (buffer shape, recipe, seed) gives the same bytes on every machine; integer
 * types stay in [int_lo, int_hi] whatever the recipe, because such values may be indices. */
#include "sandbox/data.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

enum { ONEHOT_BLOCK = 61 };

bool data_integral(enum recipe r) { return r != RECIPE_RANDOM && r != RECIPE_EXTREMES; }

float half_to_float(uint16_t h)
{
    uint32_t exp = h >> 10 & 31, frac = h & 1023;
    float v = exp == 31 ? (frac ? NAN : INFINITY)
              : exp     ? ldexpf((float)(frac | 1024), (int)exp - 25)
                        : ldexpf((float)frac, -24);
    return h >> 15 ? -v : v;
}

uint16_t half_from_float(float f)
{
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    f = fabsf(f);
    if (isnan(f)) return 0x7e00;
    if (f >= 65520.0f) return sign | 0x7c00;
    if (f < 0x1p-14f)
        return (uint16_t)(sign | (uint16_t)lrintf(f * 0x1p24f)); /* carries into exp 1 */
    int exp;
    float m = frexpf(f, &exp);                     /* m in [0.5, 1) */
    uint32_t frac = (uint32_t)lrintf(m * 2048.0f); /* 1024 .. 2048 */
    return (uint16_t)(sign | (((uint32_t)(exp + 14) << 10) + (frac - 1024)));
}

uint16_t bf16_from_float(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if (isnan(f)) return 0x7fc0;
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Squares and pairwise products of these stay normal f32 numbers; of the second row squares stay numbers of f16. */
static const double EXTREME[2][10] = {
    {0.0, -0.0, 1.0, -1.0, 0x1p-20, -0x1p-20, 4096.0, -4096.0, 1.0 + 0x1p-23, -1.0 - 0x1p-23},
    {0.0, -0.0, 1.0, -1.0, 0x1p-12, -0x1p-12, 128.0, -128.0, 1.0 + 0x1p-10, -1.0 - 0x1p-10},
};

struct source {
    enum recipe recipe;
    struct rng rng;
    int64_t lo, hi;
    double real_lo, real_hi;
    bool real_given; /* the range of reals is a promise: extremes stay inside it too */
    bool half;       /* the elements are f16 */
    uint64_t hot;    /* position of the 1 in the present block */
};

static int64_t clamp(int64_t v, const struct source *s)
{
    return v < s->lo ? s->lo : v > s->hi ? s->hi : v;
}

static int64_t next_int(struct source *s, uint64_t i)
{
    switch (s->recipe) {
    case RECIPE_ONES:
        return clamp(1, s);
    case RECIPE_ZEROS:
        return clamp(0, s);
    case RECIPE_ONEHOT:
        if (i % ONEHOT_BLOCK == 0) s->hot = i + (uint64_t)rng_range(&s->rng, 0, ONEHOT_BLOCK - 1);
        return clamp(i == s->hot, s);
    case RECIPE_DENSE:
        return s->lo + (int64_t)((i * 7 + 3) % 13) % (s->hi - s->lo < 13 ? s->hi - s->lo + 1 : 13);
    case RECIPE_EXTREMES: {
        int64_t pick = rng_range(&s->rng, 0, 3);
        return pick == 0 ? s->lo : pick == 1 ? s->hi : clamp(pick - 3, s);
    }
    default:
        return rng_range(&s->rng, s->lo, s->hi);
    }
}

static double next_real(struct source *s, uint64_t i)
{
    if (s->recipe == RECIPE_RANDOM)
        return s->real_lo + (s->real_hi - s->real_lo) * rng_unit(&s->rng);
    if (s->recipe == RECIPE_EXTREMES && !s->real_given)
        return EXTREME[s->half][rng_range(&s->rng, 0, (int64_t)QN_COUNT(EXTREME[0]) - 1)];
    return (double)next_int(s, i);
}

/* Range of the integer type, narrowed by the buffer's own; default -4..4. */
static void source_range(struct source *s, const struct wire_buffer *b, const struct dtype_info *t)
{
    s->lo = b->int_lo, s->hi = b->int_hi;
    s->half = b->dtype == DTYPE_F16;
    s->real_given = b->real_lo != 0 || b->real_hi != 0;
    if (s->lo == 0 && s->hi == 0 && !s->real_given) s->lo = t->kind == 'U' ? 0 : -4, s->hi = 4;
    if (t->kind == 'F' || t->bits == 64) {
        if (t->kind == 'U' && s->lo < 0) s->lo = 0;
    } else {
        int64_t top =
            t->kind == 'U' ? (INT64_C(1) << t->bits) - 1 : (INT64_C(1) << (t->bits - 1)) - 1;
        int64_t low = t->kind == 'U' ? 0 : -top - 1;
        s->lo = i64_max(i64_min(s->lo, top), low);
        s->hi = i64_max(i64_min(s->hi, top), low);
    }
    if (s->lo > s->hi) s->lo = s->hi;
    s->real_lo = b->real_lo, s->real_hi = b->real_hi;
    if (!s->real_given) s->real_lo = -1, s->real_hi = 1;
}

/* v and `unit` of its last place; -unit is the other way. */
static double nudged(const struct source *s, struct rng *r, double v, double unit)
{
    double to = v * (1 + (rng_unit(r) < 0.5 ? -1 : 1) * (4 + 4 * rng_unit(r)) * unit);
    return s->real_given && (to < s->real_lo || to >= s->real_hi) ? v : to;
}

static void fill_float(uint8_t *dst, const struct wire_buffer *b, struct source *s, uint64_t seed,
                       enum data_twist twist)
{
    struct rng moves;
    int nudge = twist >= DATA_NUDGED ? (int)twist - DATA_NUDGED : 0;
    double unit = (b->dtype == DTYPE_F64 ? 0x1p-53 : 0x1p-24) * (nudge < DATA_WAYS ? 1 : -1);
    rng_seed(&moves, seed * 8 + (uint64_t)(nudge % DATA_WAYS));
    for (uint64_t i = 0; i < b->count; i++) {
        double v = next_real(s, i);
        if (twist == DATA_SQUARED) v = (double)(float)v * (double)(float)v;
        if (twist >= DATA_NUDGED) v = nudged(s, &moves, v, unit);
        switch (b->dtype) {
        case DTYPE_F64:
            memcpy(dst + i * 8, &v, 8);
            break;
        case DTYPE_F32: {
            float f = (float)v;
            memcpy(dst + i * 4, &f, 4);
            break;
        }
        default: {
            uint16_t h =
                b->dtype == DTYPE_F16 ? half_from_float((float)v) : bf16_from_float((float)v);
            memcpy(dst + i * 2, &h, 2);
        }
        }
    }
}

static void fill_int(uint8_t *dst, const struct wire_buffer *b, int bits, struct source *s)
{
    if (bits < 8) memset(dst, 0, b->bytes);
    for (uint64_t i = 0; i < b->count; i++) {
        uint64_t v = (uint64_t)next_int(s, i);
        if (bits < 8) {
            uint64_t at = i * (uint64_t)bits;
            dst[at / 8] |= (uint8_t)((v & ((1u << bits) - 1)) << at % 8);
        } else {
            for (int k = 0; k < bits / 8; k++)
                dst[i * (uint64_t)bits / 8 + k] = (uint8_t)(v >> (8 * k));
        }
    }
}

bool data_is_real(const struct wire_buffer *b)
{
    return wire_dtype_info((enum wire_dtype)b->dtype)->kind == 'F';
}

double data_element(const struct wire_buffer *b, const void *p, uint64_t i)
{
    const struct dtype_info *t = wire_dtype_info((enum wire_dtype)b->dtype);
    size_t size = (size_t)t->bits / 8;
    const uint8_t *at = (const uint8_t *)p + i * size;
    double wide;
    float narrow;
    uint64_t v = 0;
    QN_CHECK(t->bits >= 8, "elements of %d bits", t->bits);
    if (b->dtype == DTYPE_F64) return memcpy(&wide, at, sizeof wide), wide;
    if (b->dtype == DTYPE_F32) return memcpy(&narrow, at, sizeof narrow), (double)narrow;
    for (size_t k = 0; k < size; k++) v |= (uint64_t)at[k] << (8 * k);
    if (b->dtype == DTYPE_F16) return (double)half_to_float((uint16_t)v);
    if (b->dtype == DTYPE_BF16) return (double)bf16_to_float((uint16_t)v);
    uint64_t sign = UINT64_C(1) << (t->bits - 1);
    return t->kind == 'S' ? (double)(int64_t)((v ^ sign) - sign) : (double)v;
}

void data_fill(void *dst, const struct wire_buffer *b, enum recipe recipe, uint64_t seed,
               enum data_twist twist)
{
    const struct dtype_info *t = wire_dtype_info((enum wire_dtype)b->dtype);
    struct source s = {.recipe = recipe};
    rng_seed(&s.rng, seed);
    source_range(&s, b, t);
    if (t->kind == 'F')
        fill_float(dst, b, &s, seed, twist);
    else
        fill_int(dst, b, t->bits, &s);
}
