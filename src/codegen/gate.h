/* gate: what can be known about machine code without running it, by disassembling the image.
 *
 *   struct gate g; gate_image(&img, target, &g, NULL, &e);
 *   g.vector_stack_refs == 0      nothing was spilled
 *
 * Kernels without vector stack references ran at 97-100 % of what their tile can do; with 32 or
 * more, at half. (Accesses to STACK tensors of the kernel count as well: they cannot be told
 * apart.) */
#ifndef QN_GATE_H
#define QN_GATE_H

#include "base/buf.h"
#include "base/err.h"
#include "codegen/flatlink.h"
#include "target/target.h"

struct gate {
    int32_t instructions;
    int32_t vector_stack_refs; /* vector loads and stores relative to the stack or frame pointer */
    int32_t stack_bytes;       /* sum over functions of what they subtract from the stack pointer */
    int32_t fma;               /* fused multiply-adds on vectors */
};

/* text: if not NULL, the assembly with offsets and code bytes. RC_FAIL "gate.undecodable" if a byte
 * of the code is not an instruction of the target. */
enum rc gate_image(const struct flat_image *img, const struct target *t, struct gate *out,
                   struct buf *text, struct err *e);

#endif
