/* lower: scheduled nest -> kernel. One narrative function calls every pass; each pass says
 * requires / provides / example.
 *
 * Kernel form (ir.h I8), the contract with every back end:
 *   - statements: BLOCK, FOR (SERIAL; PARALLEL at most once on a path), IF, LET, ALLOC (STACK,
 *     REG), STORE.
 *   - tensors are flat: rank 1, extent = elements. IN CONST OUT PACKED are buf[] arguments; TEMP
 *     lives in scratch at tensor->scratch_at; TABLE is read-only data; STACK a local array; REG n
 *     vector (or scalar) variables (tensor->type.lanes wide) with constant subscripts.
 *   - a subscript is an s64 scalar (element access) or has lanes: RAMP(base, INT stride) or,
 *     rarely, any integer vector (gather). The value stored has the subscript's lanes. LOAD of a
 *     scalar under SPLAT is a broadcast.
 *   - IF with a b1 *vector* condition holds exactly one STORE: a masked store. LOADC with a vector
 *     condition is a masked load, with a scalar condition a branch or select of addresses: memory
 *     is touched only where it holds.
 *   - FMA appears only if target.fma; EXP..COS never; MIN/MAX/SELECT/compare stay. DIV/MOD on s64
 *     floor.
 *   - PARALLEL bodies return early never; they read outer scalars (loop variables, LETs) and no
 *     outer REG.
 * Back ends add nothing and reorder no floating-point operation. */
#ifndef QN_LOWER_H
#define QN_LOWER_H

#include "base/vec.h"
#include "ir/ir.h"
#include "target/target.h"

struct kernel {
    struct nest *nest; /* kernel form; nest->pack is the pack entry (empty block: none) */
    int64_t scratch_a, scratch_b;
    /* executed, with padding and masked-off lanes counted; dyn extents at their tuning point */
    double flops;
    int64_t nodes; /* statements + distinct expressions: size of the code to come */
};

/* Called after each pass that changed something, with the pass's name; for dumps and stage checks.
 * May be NULL. */
typedef void lower_dump_fn(void *ctx, const char *pass, const struct nest *n);

/* What becomes of loops of long chains (phases.c). */
enum lower_phases { PHASES_ONE, PHASES_TWO, PHASES_OVERLAP };
/* Iterations of a loop of unknown length that run as one block of two phases (phases.c). */
enum { LOWER_PHASE_BLOCK = 16 };

/* The bounds of the clamp that makes a number of NaN (quotients.c): codegen knows it by them, and a
 * user's own clamp has others. */
static inline double lower_number_most(bool wide)
{
    return wide ? 0x1.ffffffffffffep1023 : 0x1.fffffcp127;
}

struct lower_options {
    lower_dump_fn *dump;
    void *dump_ctx;
    bool verify_each;  /* nest_verify after each pass */
    bool skip_flops;   /* leave kernel.flops 0: counting is a third of the time for small bodies */
    bool reproducible; /* never reassociate */
    enum lower_phases phases;
    int64_t max_nodes;  /* 0 = 200000; above: RC_FAIL "lower.too_big" */
    const int64_t *dyn; /* tuning point, for `flops` only */
};

/* Rewrites the scheduled nest in place (same context). RC_FAIL with code "lower.*" = a rejected
 * candidate. */
enum rc lower(struct nest *n, const struct target *t, const struct lower_options *o,
              struct kernel *out, struct err *e);
/* The reference path: no pass under test. Inits, scalar loops, flat tensors, math expanded by
 * libm-free polynomials in f64 where the op is transcendental; no fma, no vectors. Used for
 * verification kernels. dyn: the largest dynamic extents it will run with, which size temporaries
 * that grow with them (NULL: such are refused). */
enum rc lower_naive(struct nest *n, const struct target *t, const int64_t *dyn, struct kernel *out,
                    struct err *e);

/* How a vector subscript touches memory; both back ends switch on this. */
enum access { ACCESS_SCALAR, ACCESS_CONTIGUOUS, ACCESS_STRIDED, ACCESS_PERMUTE, ACCESS_GATHER };
struct access_info {
    enum access kind;
    const struct expr *base; /* scalar s64: element offset of lane 0 (PERMUTE: of the block) */
    int64_t stride;          /* STRIDED: 2..8 or negative */
    int span;                /* elements from base that the lanes cover (STRIDED, PERMUTE) */
    int perm[64];            /* PERMUTE: lane -> offset from base */
};
void access_classify(struct ir *ir, const struct expr *subscript, struct access_info *out);

/* What straight-line code touches of each tensor, scanned when first asked for. {.ir = ir} to
 * begin, reach_fini at the end. */
struct reach_entry {
    const struct tensor *tensor;
    const struct expr *moving; /* s64: elements moving + lo .. moving + hi - 1 */
    int64_t lo, hi;
    bool seen; /* for the caller: false when the code is scanned */
};
struct reach {
    struct ir *ir;
    const struct stmt *root; /* the code that `all` holds for */
    VEC(struct reach_entry) all;
};
void reach_fini(struct reach *r);
/* The entry of the tensor and base in the code around `at`; NULL: none. Valid until the next call. */
struct reach_entry *reach_find(struct reach *r, const struct stmt *at, const struct tensor *t,
                               const struct expr *base);

/* What a load may ask for before it is needed, as a schedule's choice `prefetch` says: elements from + lo,
 * from + lo + step, .. below from + hi, perhaps past the tensor. page: to be next to the core; turn: near it.
 * lanes: of the load. False: nothing, or it was asked for already. */
enum ahead_of { AHEAD_NOTHING, AHEAD_PAGE, AHEAD_TURN };
struct ahead {
    const struct expr *from;
    int64_t lo, hi, step;
    int near; /* as compilers number it: 3 next to the core, 2 near it */
};
/* A choice of page and of turn, of which at most one is made. */
static inline enum ahead_of ahead_chosen(bool page, bool turn)
{
    return turn ? AHEAD_TURN : page ? AHEAD_PAGE : AHEAD_NOTHING;
}
bool ahead_find(struct reach *r, const struct stmt *at, const struct tensor *t,
                const struct access_info *a, int lanes, const struct target *target,
                enum ahead_of of, struct ahead *out);

/* A STRIDED or PERMUTE subscript as whole vectors of `width` elements and the place of each lane in
 * them. */
enum { WINDOW_VECTORS = 8 };
enum window_fit {
    WINDOW_WHOLE, /* as planned */
    WINDOW_SHORT, /* the span is less than a vector, and no more than it may be read */
    WINDOW_FAR    /* more than WINDOW_VECTORS */
};
struct window {
    int64_t first; /* the lowest element, from base; sel counts from it */
    int span, sel[64];
    int n;                             /* vectors; WHOLE only, as what follows */
    int64_t start[WINDOW_VECTORS + 1]; /* of each, from base */
    uint8_t vector[64], lane[64];      /* where each lane is */
};
/* first, span and sel only. */
void window_lanes(const struct access_info *a, int lanes, struct window *w);
/* `at`: the statement that reads. */
enum window_fit window_plan(struct reach *r, const struct stmt *at, const struct tensor *t,
                            const struct access_info *a, int lanes, int width, struct window *w);

#endif
