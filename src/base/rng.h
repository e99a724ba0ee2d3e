/* rng: seeded, splittable random numbers (SplitMix64-seeded xoshiro256**). Same seed, same stream,
 * on every machine; the state is plain data and can be stored and resumed. */
#ifndef QN_RNG_H
#define QN_RNG_H

#include "base/base.h"

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
struct rng rng_split(struct rng *r); /* independent child stream */
uint64_t rng_u64(struct rng *r);
int64_t rng_range(struct rng *r, int64_t lo, int64_t hi); /* uniform in [lo, hi], lo <= hi */
double rng_unit(struct rng *r);                           /* [0, 1) */
bool rng_chance(struct rng *r, double p);
void rng_shuffle(struct rng *r, void *base, size_t n, size_t size);

#endif
