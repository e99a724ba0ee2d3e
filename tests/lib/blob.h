/* blob: a random operator under a random legal trace, down to code that runs, against the
 * interpreter.
 *
 *   struct blob_case c;
 *   if (blob_make(&c, seed, NULL, &stats, target, &e) == BLOB_READY)   nest, trace, scheduled nest,
 *                                                                      kernel
 *       wrong = blob_run(&c, kernel, pack, threads, why);              its outputs, bit for bit
 *   blob_free(&c);
 *
 * Buffers end (or begin) at an unmapped page; inputs must come back as they were. */
#ifndef T_BLOB_H
#define T_BLOB_H

#include "codegen/codegen.h"
#include "lib/gen.h"

struct par {
    void (*run)(void *ctx, int32_t (*body)(void *arg, int64_t i, int64_t worker), void *arg,
                int64_t n);
    void *ctx;
    int64_t threads;
};
typedef int32_t blob_entry(void *const *buf, const int64_t *dyn, void *scratch,
                           const struct par *par);

enum blob_state { BLOB_READY, BLOB_REFUSED /* honestly, by lower */, BLOB_BROKEN };

struct blob_case {
    uint64_t seed;
    struct ir *ir[2];
    struct nest *naive;
    struct gen_info info;
    struct trace *trace;
    struct kernel k;
    struct gen_result want;
};

/* mask: bit i of mask[i / 64] clear leaves step i out (for shrinking); NULL: all. A step that
 * became illegal goes too. */
enum blob_state blob_make(struct blob_case *c, uint64_t seed, const uint64_t *mask,
                          struct gen_stats *stats, const struct target *t, struct err *e);
void blob_free(struct blob_case *c);
void blob_show(const struct blob_case *c);

/* threads 0: par is NULL. false: why says what differs. */
bool blob_run(struct blob_case *c, blob_entry *kernel, blob_entry *pack, int threads,
              char why[256]);
/* Machine code mapped R-X; the next call reuses the place. */
bool blob_map(const struct artefact *a, blob_entry **kernel, blob_entry **pack);

#endif
