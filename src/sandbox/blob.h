/* blob: from bytes to code that can run. */
#ifndef QN_SANDBOX_BLOB_H
#define QN_SANDBOX_BLOB_H

#include "sandbox/pool.h"
#include "wire/wire.h"

typedef int32_t kernel_fn(void *const *buf, const int64_t *dyn, void *scratch,
                          const struct par *par);

/* Is this blob for this machine, and does it hold together? Codes: blob.arch and those of
 * wire_blob_check. */
enum rc blob_check(const struct wire_blob *b, struct err *e);
enum arch arch_here(void);
size_t blob_map_len(const struct wire_blob *b);
/* Copies the code to `at` (page aligned, reserved) and makes it executable; never writable and
 * executable at once. false: the mapping failed. The blob has passed blob_check. */
bool blob_load(const struct wire_blob *b, uint8_t *at);

#endif
