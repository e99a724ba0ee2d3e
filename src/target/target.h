/* target: facts about a machine, read from targets/<name>.target (key = value lines, `inherits
 * NAME`).
 *
 *   struct target *t; target_load("host", &t, &e);   "host" = detected: cpuid and sysfs over the
 *                                                    best matching file
 *   t->lanes_f32, t->vregs, t->l1, ...               every fact with its origin (file:line,
 *                                                    detected, derived)
 *
 * A number in C that changes with the machine is in the wrong room: it belongs here. */
#ifndef QN_TARGET_H
#define QN_TARGET_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* Facts. X(field, "key", default, "what it is"). All int64; strings (triple cpu features) are
 * fields of their own. */
#define TARGET_FACTS(X)                                                                      \
    X(vector_bits, "vector_bits", 128, "widest vector register worth using, bits")           \
    X(vregs, "vregs", 16, "architectural vector registers")                                  \
    X(fma, "fma", 0, "1 if it has fused multiply-add for f32 and f64")                       \
    X(masks, "masks", 0, "1 if it has masked vector loads and stores")                       \
    X(gather, "gather", 0, "1 if it has vector gathers")                                     \
    X(broadcast_mem, "broadcast_mem", 0, "1 if arithmetic takes a broadcast memory operand") \
    X(lane_fma, "lane_fma", 0, "1 if FMA takes a lane of a register")                        \
    X(int_minmax, "int_minmax", 0, "1 if more units take min and max of s32 than of f32")    \
    X(fma_ports, "fma_ports", 1, "widest-vector FMAs started per cycle")                     \
    X(fma_latency, "fma_latency", 4, "cycles")                                               \
    X(l1, "l1", 32768, "bytes of L1 data cache per core")                                    \
    X(l2, "l2", 262144, "bytes of L2 per core")                                              \
    X(l3, "l3", 0, "bytes of shared last-level cache")                                       \
    X(line, "line", 64, "bytes of a cache line")                                             \
    X(cores, "cores", 1, "cores that may run kernel threads")                                \
    X(bits, "bits", 64, "pointer size")                                                      \
    X(stack_limit, "stack_limit", 16384, "bytes of stack a kernel may use")                  \
    X(scratch_limit, "scratch_limit", 1073741824, "bytes of scratch a kernel may ask for")   \
    X(misched, "misched", 0, "1 if LLVM's machine scheduler is on by default")

struct target {
    const char *name, *triple, *cpu, *features; /* LLVM spelling; features "+avx2,+fma" */
    const char *abi;                            /* "" or e.g. lp64d */
    const char *part; /* device class: CPU part and stepping as detected, or the name */
#define X(field, key, def, what) int64_t field;
    TARGET_FACTS(X)
#undef X
    double clock_ghz; /* 0 = unknown, probed */
    struct arena *arena;
};

/* fma of a machine that is a C compiler: it may fuse a product and a sum, or not, as it likes. */
enum { FMA_PERHAPS = 2 };
static inline bool target_is_c(const struct target *t) { return t->fma == FMA_PERHAPS; }
static inline bool target_fuses(const struct target *t) { return t->fma && t->fma != FMA_PERHAPS; }

enum rc target_load(const char *name, struct target **out,
                    struct err *e); /* RC_INPUT: unknown name with did-you-mean, or a bad file */
void target_free(struct target *t);
int target_lanes(const struct target *t, int dtype_bits); /* vector_bits / dtype_bits, >= 1 */
/* Canonical text of every fact (sorted key = value lines): hashed into the log's key. */
void target_text(const struct target *t, struct buf *out);
/* Reads target_text back: parse(print(t)) prints the same. */
enum rc target_from_text(const char *text, size_t len, struct target **out, struct err *e);
/* "<part>;<isa flags>;l1=..;l2=..;l3=..": the device class of the key. */
void target_device_class(const struct target *t, struct buf *out);
/* With origins, for `quern targets NAME`. */
void target_explain(const char *name, struct buf *out, struct err *e);

#endif
