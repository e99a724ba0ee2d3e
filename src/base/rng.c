/* rng: xoshiro256** (Blackman, Vigna), seeded through SplitMix64.
 *
 *   rng_seed(&r, 7); rng_range(&r, 1, 6);    the same number on every machine
 *
 * Invariants: the state is never all zero; every function draws a number of words that depends only
 * on the stream and its arguments; ranges are unbiased (rejection, not modulo). */
#include "base/rng.h"

#include <string.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) r->s[i] = splitmix(&seed);
}

struct rng rng_split(struct rng *r)
{
    struct rng child;
    rng_seed(&child, rng_u64(r));
    return child;
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

int64_t rng_range(struct rng *r, int64_t lo, int64_t hi)
{
    QN_CHECK(lo <= hi, "range %lld..%lld", (long long)lo, (long long)hi);
    uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
    if (span == 0) return (int64_t)rng_u64(r);          /* all of int64 */
    uint64_t low_part = (UINT64_C(0) - span) % span, x; /* 2^64 mod span: the part to reject */
    do {
        x = rng_u64(r);
    } while (x < low_part);
    return (int64_t)((uint64_t)lo + x % span);
}

double rng_unit(struct rng *r) { return (double)(rng_u64(r) >> 11) * 0x1p-53; }

bool rng_chance(struct rng *r, double p) { return rng_unit(r) < p; }

static void swap_bytes(unsigned char *a, unsigned char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

void rng_shuffle(struct rng *r, void *base, size_t n, size_t size)
{
    unsigned char *p = base;
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_range(r, 0, (int64_t)i - 1);
        if (j != i - 1) swap_bytes(p + j * size, p + (i - 1) * size, size);
    }
}
