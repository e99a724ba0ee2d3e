/* cg_c: the parts of the C back end, private to src/codegen/cg_c*.c.
 *
 * Both forms are the same walk over the kernel. Scalars print alike; a vector expression prints
 * either as a value of a GNU vector type (C_VECTOR, where type and operator allow) or lane by lane
 * inside `for (l = 0; l < 16; l++)`.
 *
 *   y[ramp(i*4, 1, 4)] = a[ramp(i*4, 1, 4)] * splat(k)
 *   vector:    *(u_f32x4 *)(y + i * 4) = *(const u_f32x4 *)(a + i * 4) * qn_splat_f32x4(k);
 *   portable:  for (int l = 0; l < 4; l++) { y[i * 4 + l] = a[i * 4 + l] * k; }
 *
 * Texts returned by printers are atoms or parenthesised, live in the arena, and may have put
 * declarations into the function's body before them: an expression used twice is named once. A name
 * may be used while the C block it was declared in is open and what it read is unchanged (scope,
 * epoch: as in cg_llvm.h). */
#ifndef QN_CG_C_H
#define QN_CG_C_H

#include "base/vec.h"
#include "codegen/codegen.h"

enum { CC_READS_FIXED = 1, CC_READS_MEMORY = 2, CC_READS_REG = 4 };

enum cc_shape {
    CC_SCALAR,
    CC_LANE,
    CC_VECTOR
}; /* what a name stands for: CC_LANE: lane `l` of a vector */

struct cc_memo {
    const char *text;
    uint8_t shape;
    uint32_t fn, scope, epoch;
};

struct cc_info {       /* by expression id */
    uint32_t reads_fn; /* function the reads are known for */
    uint8_t reads;
    uint32_t stamp, uses; /* references within the region (or statement) `stamp` */
    struct cc_memo memo;
};

struct cc_address { /* a pointer shared by accesses of one tensor that differ by constants */
    const char *name;
    uint32_t fn, scope, stamp, uses; /* stamp: region the uses are counted in */
    int64_t k;                       /* constant term of the element it points to */
};

struct cc_fn {
    struct buf *o;   /* body text */
    struct buf head; /* declarations before it */
    int depth;
    uint32_t serial, scope;
    bool parallel;
    const char **base;  /* by tensor id: name of pointer or array; NULL: not declared here */
    const char ***reg;  /* by tensor id: a name an element */
    const char **var;   /* by variable id */
    const char *worker; /* NULL: 0 */
};

struct cc {
    struct arena *a;
    const struct kernel *k;
    const struct target *t;
    const struct c_options *o;
    struct ir *ir;
    struct env *env;
    struct reach reach;
    const struct stmt *at; /* being printed */
    struct err *e;
    bool failed, vector, avx512, packing;
    bool exact; /* it rounds by adding a large number, or uses infinities */
    /* C_VECTOR on an x86 that rounds in one instruction, so that the compiler's builtins call
     * nothing */
    bool sse41;
    struct buf types, helpers, tables, funcs; /* sections of the file, in that order */
    struct map *used;                         /* identifiers taken */
    struct map *have;                         /* helpers and types already printed */
    struct map *addresses;                    /* (tensor id, expression id) -> struct cc_address */
    struct cc_fn *fn;
    struct cc_info *info;
    size_t ninfo;
    VEC(uint8_t) scope_open;
    uint32_t epoch, stmt, region, next_fn,
        next_stamp;     /* stmt, region: stamps of what is being printed */
    const char *lane;   /* name of the lane variable while printing lane by lane, else NULL */
    int guarded;        /* > 0: what is printed is evaluated only under a condition */
    const char **table; /* by tensor id: name of a printed TABLE */
    const struct expr *
        *alias;      /* by variable id: value of a mask that reads nothing; NULL: not one */
    bool *is_bits;   /* by variable id: the mask's C variable holds one bit a lane */
    const char *sym; /* prefix + symbol */
};

/* cg_c_names.c */
const char *cc_fmt(struct cc *c, const char *fmt, ...) QN_PRINTF(2, 3);
const char *cc_fail(struct cc *c, const char *code, const char *fmt, ...) QN_PRINTF(3, 4);
const char *cc_name(struct cc *c, const char *hint); /* a fresh C identifier */
void cc_line(struct cc *c, const char *fmt, ...)
    QN_PRINTF(2, 3);                                 /* a line of the current body, indented */
const char *cc_bare(struct cc *c, const char *text); /* without the outermost parentheses */
const char *cc_value_type(enum dtype d);             /* C type of a value in an expression */
const char *cc_memory_type(enum dtype d);            /* C type of an element in memory */
bool cc_same_form(enum dtype d);                     /* those two are the same */
const char *cc_int(struct cc *c, enum dtype d, int64_t v);
const char *cc_real(struct cc *c, enum dtype d, double v);
void cc_need(struct cc *c,
             const char *helper); /* prints the helper function, and what it needs, once */
void cc_preamble(struct cc *c, struct buf *out); /* attributes and checks at the top of the file */

/* cg_c_stmt.c */
void cc_stmt(struct cc *c, struct stmt *s);
void cc_scope_push(struct cc *c, uint32_t *saved);
void cc_scope_pop(struct cc *c, uint32_t saved);
void cc_function(struct cc *c, struct cc_fn *f, struct buf *body); /* f becomes current */
void cc_function_end(struct cc *c,
                     struct cc_fn *outer); /* its text goes to c->funcs; outer becomes current */
const char *cc_lane_open(struct cc *c, int lanes, uint32_t *saved); /* for (l..) {  ; returns l */
void cc_lane_close(struct cc *c, uint32_t saved);

/* cg_c_par.c */
struct cc_capture {
    VEC(const struct var *) vars;
    VEC(const struct tensor *) tensors;
    bool *var_seen, *tensor_seen;
    struct cc *c;
};
void cc_capture_init(struct cc *c, struct cc_capture *p, struct stmt *body);
void cc_capture_fini(struct cc_capture *p);
void cc_parallel(struct cc *c, struct stmt *s);

/* cg_c_expr.c */
const char *cc_expr(struct cc *c,
                    const struct expr *e); /* a scalar, or with c->lane set lane l of a vector */
uint8_t cc_reads(struct cc *c, const struct expr *e);
/* One more use of e, in this region (what is fixed) or this statement (what reads memory or
 * registers). */
void cc_count(struct cc *c, const struct expr *e, bool moving_only);
const char *cc_recall(struct cc *c, const struct expr *e,
                      enum cc_shape *shape); /* its name, if it has one here */
bool cc_worth_naming(struct cc *c, const struct expr *e);
void cc_remember(struct cc *c, const struct expr *e, const char *name, enum cc_shape shape);
const char *cc_binary_int(struct cc *c, enum dtype d, const char *x, const char *op, const char *y);

const char *cc_wrap(struct cc *c, enum dtype d, const char *u);   /* unsigned text as the type */
const char *cc_narrow(struct cc *c, enum dtype d, const char *x); /* rounds to f16 or bf16 */
/* qn_NAME_f32 or qn_NAME_f64 of x (and y, if not NULL). */
const char *cc_call_float(struct cc *c, enum dtype d, const char *name, const char *x,
                          const char *y);

/* cg_c_cast.c */
const char *cc_cast(struct cc *c, const struct expr *e, const char *x);
const char *cc_bitcast(struct cc *c, const struct expr *e, const char *x);

/* cg_c_mem.c */
const char *cc_element(struct cc *c, const struct tensor *t,
                       const char *at); /* lvalue of one element */
const char *cc_base(struct cc *c, const struct tensor *t);
const char *cc_get(struct cc *c, enum dtype d, const char *element); /* memory form -> value form */
const char *cc_put(struct cc *c, enum dtype d, const char *value);
const char *cc_load_element(struct cc *c, const struct tensor *t, const struct expr *at);
void cc_store(struct cc *c, const struct stmt *s, const struct expr *mask);
const char *cc_reg(struct cc *c, const struct tensor *t, const struct expr *at);

/* cg_c_addr.c */
void cc_count_address(struct cc *c, const struct tensor *t,
                      const struct expr *at); /* one more access in this region */
const char *cc_at(struct cc *c, const struct tensor *t, const struct expr *at,
                  int64_t extra); /* lvalue of element at + extra */

/* cg_c_vfn.c: calls of helper functions over vectors of float types that fit a register */
const char *cc_vfn_round(struct cc *c, enum op op, struct type t,
                         const char *x); /* FLOOR CEIL ROUND TRUNC */
const char *cc_vfn_to_s32(struct cc *c, struct type from, const char *x);
const char *cc_vfn_min_max(struct cc *c, bool max, struct type t, const char *x, const char *y);
const char *cc_vfn_horizontal(struct cc *c, enum op op, struct type t,
                              const char *x); /* HSUM HMAX HMIN */

/* cg_c_vec.c: C_VECTOR only */
bool cc_fits_register(struct cc *c, struct type t);
bool cc_is_vector_type(struct cc *c, struct type t);        /* has a GNU vector type here */
const char *cc_vector_type(struct cc *c, struct type t);    /* v_f32x16 */
const char *cc_unaligned_type(struct cc *c, struct type t); /* u_f32x16 */
const char *cc_vector(struct cc *c, const struct expr *e);  /* a vector value */
int cc_bytes(struct type t);                                /* of an element */
struct type cc_int_like(struct type t, bool is_signed);
const char *cc_splat(struct cc *c, struct type t, const char *x);
const char *cc_steps(struct cc *c, struct type t, int64_t stride); /* {0, s, 2s, ...} */
const char *cc_by_lanes(struct cc *c, const struct expr *e, struct type t, bool mask);

const char *cc_hold(struct cc *c, struct type t, const char *text); /* a new variable with it */

/* cg_c_load.c: the value, or NULL: lane by lane */
const char *cc_load_vector(struct cc *c, const struct expr *e);
const char *cc_load_guarded(struct cc *c, const struct expr *e);

/* cg_c_mask.c */
const char *cc_mask(struct cc *c, const struct expr *e,
                    int bytes); /* b1 vector as integer lanes of `bytes`, 0 or -1 */
const char *cc_kmask(struct cc *c,
                     const struct expr *e); /* b1 vector as bits, or NULL: no cheap form */
bool cc_masked_builtin(struct cc *c, struct type t, bool store, const char **name,
                       const char **elem, const char **mask);

#endif
