/* data: operands generated from a seed, so that none travels. */
#ifndef QN_SANDBOX_DATA_H
#define QN_SANDBOX_DATA_H

#include "wire/wire.h"

/* Fills b->bytes at dst. `square` squares every float element, for the bound of CHECK_SUMPROD. */
void data_fill(void *dst, const struct wire_buffer *b, enum recipe recipe, uint64_t seed,
               bool square);
/* Are the recipe's values small integers, so that correct results are exact? */
bool data_integral(enum recipe recipe);

float half_to_float(uint16_t h);
uint16_t half_from_float(float f); /* round to nearest even */
static inline float bf16_to_float(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)h << 16};
    return v.f;
}
uint16_t bf16_from_float(float f);

#endif
