/* hash: SHA-256 (FIPS 180-4) for content identities, and a fast 64-bit hash for tables.
 *
 * Identities are always the hash of canonical *text or bytes on a wire*, never of a struct's bytes.
 *   char id[33]; hash_id(id, text, strlen(text));      first 128 bits of SHA-256, lower-case hex */
#ifndef QN_HASH_H
#define QN_HASH_H

#include "base/base.h"

struct sha256 {
    uint32_t h[8];
    uint64_t n;
    uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_done(struct sha256 *s, uint8_t out[32]);
void sha256_of(uint8_t out[32], const void *p, size_t n);

enum { HASH_ID_LEN = 32 };
void hash_id(char out[HASH_ID_LEN + 1], const void *p, size_t n);
uint64_t hash_u64(const void *p, size_t n, uint64_t seed); /* not stable across versions */
uint32_t hash_crc32c(const void *p, size_t n);             /* stable: output checksums, frames */

#endif
