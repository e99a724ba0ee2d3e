/* codegen_cases: kernels as text that both back ends are tried on. */
#ifndef T_CODEGEN_CASES_H
#define T_CODEGEN_CASES_H

#include "base/buf.h"
#include "ir/ir.h"

/* One kernel: every operator of the type, one output each; fused: fma too (C rounds it as the
 * compiler likes). */
void case_ops(enum dtype d, int lanes, bool fused, struct buf *out);
/* One kernel: casts (all modes) and bitcasts from the type to part of the types. */
enum { CASE_PARTS = 3 };
void case_casts(enum dtype d, int lanes, int part, struct buf *out);
/* Forms of memory access, control flow and storage. */
enum { CASE_ACCESS = 32 };
extern const char *const case_access[CASE_ACCESS];

#endif
