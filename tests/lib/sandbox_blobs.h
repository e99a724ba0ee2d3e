/* sandbox_blobs: hand-written x86-64 kernels for y[i] = x[i] * w[i], right and wrong in many ways,
 * and the task they belong to.
 *
 *   struct wire_screen m = {.task = sandbox_task(SANDBOX_N), .blob = sandbox_blob("oob_past"),
 *                           .seed = 1};
 *
 * Every kernel is position independent and follows kernel ABI v1 (except where that is its
 * crime). */
#ifndef QN_TEST_SANDBOX_BLOBS_H
#define QN_TEST_SANDBOX_BLOBS_H

#include "wire/wire.h"

enum { SANDBOX_N = 1000 };

/* Blob by name: good, good_par, good_packed, and the crimes listed in sandbox_blobs.c. Aborts on an
 * unknown name. */
struct wire_blob sandbox_blob(const char *name);
/* The task over n elements; buffers and dyn point into static storage. */
struct wire_task sandbox_task(int64_t n);
/* false on machines these blobs were not written for. */
bool sandbox_blobs_usable(void);

#endif
