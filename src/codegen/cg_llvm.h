/* cg_llvm: the parts of the LLVM back end, private to src/codegen/cg_llvm*.c.
 *
 * The kernel becomes finished SSA: explicit vectors, REG tensors as one alloca an element (promoted
 * by sroa), rotated loops, loads at element alignment. LLVM is left with instruction selection and
 * register allocation.
 *
 *   kernel(buf, dyn, scratch, par)                   loads pointers and extents, checks them, calls
 *   kernel.body(noalias b0.., dyn.., scratch, par)   the nest
 *   par.3(arg, i, worker)                            unpacks arg, calls
 *   par.3.body(...)                                  the body of a PARALLEL loop
 *
 * `codegen stores=stream` on x86 makes the body twice: kernel.stream is called where every result is
 * aligned to a vector.
 * Value forms in registers: f16 and bf16 are f32 holding a value of the narrow type; s4 u4 are i4;
 * b1 is i1. In memory: 16-bit patterns, bytes, bytes.
 * Scopes: a scope is a region of the control flow graph that its first block dominates; a memoised
 * value may be used while the scope it was computed in is open. */
#ifndef QN_CG_LLVM_H
#define QN_CG_LLVM_H

#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include "base/vec.h"
#include "codegen/codegen.h"

/* What an expression reads, for memoising it. */
enum { READS_FIXED = 1, READS_MEMORY = 2, READS_REG = 4 };

struct cg_memo {
    LLVMValueRef v;
    uint32_t fn, scope, epoch;
};

struct cg_facts {
    uint32_t fn; /* valid for this function serial */
    uint8_t reads;
    int16_t depth; /* deepest loop a variable in it is bound at; 0 = outside all */
};

struct cg_loop {
    LLVMBasicBlockRef pre; /* block that dominates the loop; ends in the branch to it */
    uint32_t scope;        /* scope `pre` belongs to */
};

/* The function being written. */
struct cg_fn {
    LLVMValueRef fn, scratch, par, worker; /* worker NULL: 0 */
    LLVMBasicBlockRef entry;               /* allocas only */
    LLVMValueRef *var;                     /* by variable id */
    int16_t *var_depth;
    LLVMValueRef *base; /* by tensor id: pointer; REG: see reg */
    LLVMValueRef **reg; /* by tensor id: an alloca an element */
    VEC(struct cg_loop) loops;
    int depth;       /* loops that the insertion point is inside of */
    uint32_t serial; /* of this function */
    uint32_t scope;  /* current */
    bool parallel;   /* body of a PARALLEL loop */
    bool streamed;   /* it has stored past the caches */
};

enum { CG_ADDR_HOIST = 1 };

struct cg {
    LLVMContextRef ctx;
    LLVMModuleRef mod;
    LLVMBuilderRef b;
    LLVMTypeRef i1, i8, i16, i32, i64, f32, f64, ptr, void_;
    const struct kernel *k;
    const struct target *t;
    struct ir *ir;
    struct env *env; /* ranges of loop variables, for cheap division */
    struct reach reach;
    const struct stmt *at;    /* being written */
    bool addr_hoist, packing; /* packing: writing the pack entry */
    enum ahead_of ahead;      /* what loads ask for */
    bool want_stream, stream; /* stream: the body being written may store past the caches */
    bool native_round, native_half, x86;
    int pack_bits; /* of the widest registers that x86 packs words and bytes in; 0: not known to */
    bool range;    /* x86 has vrangeps, which clamps magnitudes */
    bool bytes;    /* x86 takes any bytes of two registers in one operation (vpermt2b) */
    struct cg_fn *fn;
    struct cg_memo *memo;   /* by expression id */
    struct cg_facts *facts; /* by expression id */
    size_t nmemo;
    VEC(uint8_t) scope_open;
    uint32_t epoch, stmt, next_fn; /* epoch: stores to memory so far; stmt: statements so far */
    LLVMValueRef *table;           /* by tensor id: global of a TABLE */
    bool failed;
    struct err *e;
};

/* First failure wins; later code may be nonsense and is thrown away. */
LLVMValueRef cg_fail(struct cg *c, const char *code, const char *fmt, ...) QN_PRINTF(3, 4);

/* cg_llvm_fn.c */
void cg_entry(struct cg *c, const char *name, struct stmt *body, bool packing);
void cg_scope_push(struct cg *c, uint32_t *saved);
void cg_scope_pop(struct cg *c, uint32_t saved);

void cg_stmt(struct cg *c, struct stmt *s);
/* return; what was stored past the caches is seen by whoever learns that this function is done. */
void cg_return(struct cg *c);
struct cg_fn *cg_fn_open(struct cg *c, LLVMValueRef fn);
void cg_fn_close(struct cg *c, struct cg_fn *outer);
void cg_fn_attrs(struct cg *c, LLVMValueRef fn);
void cg_attr(struct cg *c, LLVMValueRef fn, unsigned at, const char *name);
LLVMBasicBlockRef cg_block(struct cg *c, const char *name);
LLVMValueRef cg_alloca(struct cg *c, LLVMTypeRef type, const char *name);

/* cg_llvm_order.c: list scheduling of every block of the finished module */
void cg_order(struct cg *c, const struct codegen_options *o);

/* cg_llvm_par.c */
/* What a statement needs from outside: variables bound in the current function, tensors it
 * touches. */
struct cg_capture {
    struct cg *c;
    VEC(const struct var *) vars;
    VEC(const struct tensor *) tensors;
    bool *var_seen, *tensor_seen;
};
void cg_capture_init(struct cg *c, struct cg_capture *p, struct stmt *body);
void cg_capture_fini(struct cg_capture *p);
void cg_parallel(struct cg *c, struct stmt *s);

/* cg_llvm_expr.c */
LLVMValueRef cg_expr(struct cg *c, const struct expr *e);
const struct cg_facts *cg_expr_facts(struct cg *c, const struct expr *e);
LLVMTypeRef cg_dtype(struct cg *c, enum dtype d);
LLVMTypeRef cg_type(struct cg *c, struct type t);     /* in registers */
LLVMTypeRef cg_mem_type(struct cg *c, struct type t); /* in memory */
LLVMTypeRef cg_wide(LLVMTypeRef scalar, int lanes);
/* Lane i of the result is lane sel[i] of a and, behind it, b (NULL: of a alone); any if sel[i] < 0. */
LLVMValueRef cg_shuffle(struct cg *c, LLVMValueRef a, LLVMValueRef b, const int *sel, int lanes);
/* Lanes first .. first + n, likewise. */
LLVMValueRef cg_some_lanes(struct cg *c, LLVMValueRef a, LLVMValueRef b, int first, int n);
LLVMTypeRef cg_element(LLVMTypeRef t); /* of a vector; a scalar is its own */
int cg_lanes(LLVMTypeRef t);
LLVMValueRef cg_int(struct cg *c, LLVMTypeRef type, int64_t v); /* splat if a vector */
LLVMValueRef cg_real(struct cg *c, LLVMTypeRef type, double v);
LLVMValueRef cg_splat(struct cg *c, LLVMValueRef v, int lanes);
/* An AVX-512 operation on all lanes of `type`, as LLVM spells it: args[0..n), which has room for three more, then
 * nothing to merge with, a full mask and, where it takes one, the rounding at hand. */
LLVMValueRef cg_call_avx512(struct cg *c, const char *intrinsic, LLVMTypeRef type,
                            LLVMValueRef *args, int n, bool rounds);
LLVMValueRef cg_call1(struct cg *c, const char *intrinsic,
                      LLVMValueRef a); /* overloaded on a's type */
LLVMValueRef cg_call(struct cg *c, const char *intrinsic, LLVMTypeRef *types, int ntypes,
                     LLVMValueRef *args, int n);
LLVMValueRef cg_select(struct cg *c, LLVMValueRef cond, LLVMValueRef a, LLVMValueRef b);
bool cg_is_int(enum dtype d); /* integer or b1: compared and divided as such */

/* cg_llvm_div.c */
LLVMValueRef cg_divmod(struct cg *c, const struct expr *e);

/* cg_llvm_cast.c: conversions between types and between register and memory forms */
LLVMValueRef cg_cast(struct cg *c, const struct expr *e);
LLVMValueRef cg_bitcast(struct cg *c, const struct expr *e);
LLVMValueRef cg_from_memory(struct cg *c, LLVMValueRef v, struct type t);
LLVMValueRef cg_to_memory(struct cg *c, LLVMValueRef v, struct type t);
LLVMValueRef cg_narrow(struct cg *c, LLVMValueRef f32,
                       enum dtype d); /* round an f32 to f16 or bf16 in place */
LLVMValueRef cg_round(struct cg *c, enum op op,
                      LLVMValueRef v); /* FLOOR CEIL ROUND TRUNC without library calls */

/* cg_llvm_mem.c */
LLVMValueRef cg_load(struct cg *c, const struct expr *e); /* LOAD and LOADC */
enum { CG_LANES_MAX = 64 };
unsigned cg_align(const struct tensor *t); /* of an element, all that is claimed */
LLVMTypeRef cg_mem_scalar(struct cg *c, const struct tensor *t);
LLVMValueRef cg_base(struct cg *c, const struct tensor *t);
LLVMValueRef cg_element_at(struct cg *c, const struct tensor *t, LLVMValueRef p, int64_t offset);
LLVMValueRef cg_reg_slot(struct cg *c, const struct tensor *t, const struct expr *at);
/* Vector of element addresses of any subscript. */
LLVMValueRef cg_lane_addresses(struct cg *c, const struct tensor *t, const struct expr *at);
/* Address of element `at` (s64 scalar) of a tensor. */
LLVMValueRef cg_address(struct cg *c, const struct tensor *t, const struct expr *at);

/* cg_llvm_store.c: mask NULL = all lanes */
void cg_store(struct cg *c, const struct stmt *s, const struct expr *mask);

#endif
