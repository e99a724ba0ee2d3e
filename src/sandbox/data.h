/* data: operands generated from a seed, so that none travels. */
#ifndef QN_SANDBOX_DATA_H
#define QN_SANDBOX_DATA_H

#include "wire/wire.h"

/* What is done to every float element: squares, for the bound of CHECK_SUMPROD; moved up or down by 4
 * to 8 units of the last place inside the buffer's range, for CHECK_STEEP: DATA_NUDGED, DATA_NUDGED +
 * 1 and DATA_NUDGED + 2 each in a way of its own, the three behind them each the opposite way of one. */
enum data_twist { DATA_PLAIN, DATA_SQUARED, DATA_NUDGED };
enum { DATA_WAYS = 3 };

/* Fills b->bytes at dst. */
void data_fill(void *dst, const struct wire_buffer *b, enum recipe recipe, uint64_t seed,
               enum data_twist twist);
bool data_is_real(const struct wire_buffer *b);
/* Element i of a buffer of at least 8-bit elements. */
double data_element(const struct wire_buffer *b, const void *p, uint64_t i);
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
