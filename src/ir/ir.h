/* ir: the loop-nest language, the one program representation of quern.
 *
 * Expressions are interned and immutable: equal expressions are the same pointer. Statements are a
 * mutable tree with parent links. A nest is tensors + dynamic extents + a tree; naive nests (what
 * an op means), scheduled nests and kernels (ready for code) are the same language, with fewer node
 * kinds allowed the lower it gets (nest_verify's stage). One printer, parser, verifier,
 * interpreter.
 *
 *     nest matmul
 *     in     a: f32[7, 3]
 *     in     b: f32[3, 5]
 *     out    y: f32[7, 5]
 *     temp   y.sum: f32[7, 5]
 *     stage y.sum
 *       for y.sum.m in 0..7
 *         for y.sum.n in 0..5
 *           for y.sum.k in 0..3 reduce
 *             y.sum[y.sum.m, y.sum.n] += a[y.sum.m, y.sum.k] * b[y.sum.k, y.sum.n]
 *     stage y
 *       for y.m in 0..7
 *         for y.n in 0..5
 *           y[y.m, y.n] = y.sum[y.m, y.n]
 *
 * Invariants (nest_verify names the one that broke)
 *  I1  Every VAR is bound: by an enclosing FOR or LET, or it is a dyn extent. Names are unique in a
 *      nest.
 *  I2  Types agree as ops.def says; subscripts, loop bounds and extents are s64 scalars (RAMP
 *      vectors in kernels).
 *  I3  A stage writes only its own tensors, reads nothing it writes except through UPDATE, and runs
 *      after the stages it reads (tree order).
 *  I4  A loop marked `reduce` binds no variable used in the subscripts of an UPDATE's target below
 *      it.
 *  I5  UPDATE has an implicit start: its identity is stored, just before the outermost reduce loop
 *      around it, over the box its non-reduce loops inside cover (nest_place_inits makes that
 *      explicit).
 *  I6  A tensor of scope STACK, REG or TEMP made by scheduling is used only below its ALLOC.
 *  I7  Parent links are right; a BLOCK's children are not BLOCKs.
 *  I8  In a kernel: no STAGE, UPDATE, VECTOR or UNROLL loop; every tensor is flat (rank 1); REG
 *      tensors have constant subscripts and vector element type; no EXP..COS.
 *
 * Not here: what may be done to a nest (sched), how a machine says it (lower, codegen). */
#ifndef QN_IR_H
#define QN_IR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* ---- types ----------------------------------------------------------------------------------- */

enum dtype {
#define X(e, s, b, c) TYPE_##e,
#include "ir/types.def"
#undef X
    TYPE_COUNT
};

struct type {
    uint8_t dtype;
    uint16_t lanes; /* 1 = scalar */
};

static inline struct type type_of(enum dtype d) { return (struct type){(uint8_t)d, 1}; }
static inline struct type type_vec(enum dtype d, int lanes)
{
    return (struct type){(uint8_t)d, (uint16_t)lanes};
}
static inline bool type_eq(struct type a, struct type b)
{
    return a.dtype == b.dtype && a.lanes == b.lanes;
}
const char *dtype_name(enum dtype d); /* "f32" */
bool dtype_parse(const char *s, size_t n, enum dtype *out);
int dtype_bits(enum dtype d);
int dtype_bytes(enum dtype d); /* storage bytes; sub-byte types: 1 (unpacked) */
bool dtype_is_float(enum dtype d);
bool dtype_is_signed(enum dtype d);
/* The bounds of an integer type; of u64 INT64_MAX is returned as the upper one. */
int64_t dtype_int_min(enum dtype d);
int64_t dtype_int_max(enum dtype d);
bool dtype_is_int(enum dtype d); /* signed or unsigned, not b1 */

/* ---- expressions ----------------------------------------------------------------------------- */

enum op {
#define X(e, s, n, f, g) OP_##e,
#include "ir/ops.def"
#undef X
    OP_COUNT
};
const char *op_name(enum op op);
int op_arity(enum op op);
bool op_is_predicate(enum op op);
bool op_is_commutative(enum op op);

enum cast_mode {
    CAST_PLAIN,
    CAST_SAT,
    CAST_ROUND_EVEN,
    CAST_ROUND_AWAY,
    CAST_SAT_ROUND_EVEN,
    CAST_SAT_ROUND_AWAY,
    CAST_FITS_ROUND_EVEN
};
/* CAST_PLAIN: int->int wraps, float->int truncates (out of range: saturates, NaN: 0), int->float
 * rounds to even. CAST_FITS_ROUND_EVEN: a float that, rounded, fits, or NaN: lowering knows it. */
static inline bool cast_rounds_even(int mode)
{
    return mode == CAST_ROUND_EVEN || mode == CAST_SAT_ROUND_EVEN || mode == CAST_FITS_ROUND_EVEN;
}
static inline bool cast_rounds_away(int mode)
{
    return mode == CAST_ROUND_AWAY || mode == CAST_SAT_ROUND_AWAY;
}
static inline bool cast_saturates(int mode)
{
    return mode == CAST_SAT || mode == CAST_SAT_ROUND_EVEN || mode == CAST_SAT_ROUND_AWAY;
}

struct var {
    const char *name;
    uint32_t id;
    struct type type; /* s64 for loops and extents */
};

struct tensor;

struct expr {
    uint16_t op; /* enum op */
    uint16_t n;  /* children */
    struct type type;
    uint32_t id; /* dense, in order of creation: children have smaller ids */
    /* bit (var id % 64) for each variable inside: a quick "surely not" for uses and subst */
    uint64_t vars;
    union {
        int64_t i;
        double f;
        const struct var *var;
        const struct tensor *tensor;
    } u;
    const struct expr *a[];
};

/* One per candidate: arena, intern table, symbols. Everything below lives in it. */
struct ir {
    struct arena *arena;
    struct expr_table *interned;
    struct expr_memo *memo; /* scratch of expr_map */
    struct env *nothing;    /* the environment that knows nothing, for simplifying without one */
    uint32_t next_expr, next_var, next_tensor;
};

struct ir *ir_new(void);
void ir_free(struct ir *ir);

const struct var *var_new(struct ir *ir, const char *name,
                          struct type type); /* always a fresh variable */

/* The one constructor: checks types (our bug if wrong), folds nothing, interns. */
const struct expr *
expr_make(struct ir *ir, enum op op, struct type type, const struct expr *const *a, int n,
          const void *leaf /* int64_t*, double*, struct var*, struct tensor* or NULL */);
const struct expr *expr_int(struct ir *ir, int64_t v); /* s64 */
const struct expr *expr_int_of(struct ir *ir, struct type t, int64_t v);
const struct expr *expr_real(struct ir *ir, struct type t, double v);
const struct expr *expr_const(struct ir *ir, struct type t, double v); /* int or real by type */
const struct expr *expr_bool(struct ir *ir, bool v);
const struct expr *expr_var(struct ir *ir, const struct var *v);
/* These fold constants and the cheap identities (x+0, x*1, min(x,x), ...), so index arithmetic
 * stays small. */
const struct expr *expr_unary(struct ir *ir, enum op op, const struct expr *a);
const struct expr *expr_binary(struct ir *ir, enum op op, const struct expr *a,
                               const struct expr *b);
const struct expr *expr_select(struct ir *ir, const struct expr *c, const struct expr *a,
                               const struct expr *b);
const struct expr *expr_fma(struct ir *ir, const struct expr *a, const struct expr *b,
                            const struct expr *c);
const struct expr *expr_cast(struct ir *ir, struct type t, enum cast_mode mode,
                             const struct expr *a);
const struct expr *expr_load(struct ir *ir, const struct tensor *t, const struct expr *const *idx,
                             int n);
const struct expr *expr_loadc(struct ir *ir, const struct tensor *t, const struct expr *cond,
                              const struct expr *def, const struct expr *const *idx, int n);
const struct expr *expr_ramp(struct ir *ir, const struct expr *base, const struct expr *stride,
                             int lanes);
const struct expr *expr_splat(struct ir *ir, const struct expr *a, int lanes);
/* s64 shorthands */
const struct expr *expr_add(struct ir *ir, const struct expr *a, const struct expr *b);
const struct expr *expr_sub(struct ir *ir, const struct expr *a, const struct expr *b);
const struct expr *expr_mul(struct ir *ir, const struct expr *a, const struct expr *b);
const struct expr *expr_and(struct ir *ir, const struct expr *a,
                            const struct expr *b); /* b1; NULL = true */

bool expr_is_int(const struct expr *e, int64_t *v); /* constant integer? */
bool expr_uses_var(const struct expr *e, const struct var *v);
bool expr_uses_tensor(const struct expr *e, const struct tensor *t);
/* Children of a load's subscripts: first index and count. */
static inline int expr_load_first(const struct expr *e) { return e->op == OP_LOADC ? 2 : 0; }

/* Rebuild bottom-up: fn is called on each node whose children are already rebuilt (`e` has the new
 * children) and returns the replacement; NULL = keep. Memoised by pointer: each node once. */
typedef const struct expr *expr_map_fn(struct ir *ir, const struct expr *e, void *ctx);
const struct expr *expr_map(struct ir *ir, const struct expr *e, expr_map_fn *fn, void *ctx);
/* Does it divide integers by something not constant, or shift by it? */
bool expr_may_trap(const struct expr *e);
/* Each distinct node once, children first. */
void expr_walk(const struct expr *e, void (*fn)(const struct expr *e, void *ctx), void *ctx);
const struct expr *expr_subst(struct ir *ir, const struct expr *e, const struct var *v,
                              const struct expr *by);

/* ---- tensors --------------------------------------------------------------------------------- */

enum scope {
    SCOPE_IN,     /* caller's, read only */
    SCOPE_CONST,  /* caller's, read only, values known at pack time */
    SCOPE_OUT,    /* caller's, written */
    SCOPE_TEMP,   /* scratch memory, 64-byte aligned */
    SCOPE_STACK,  /* small local array */
    SCOPE_REG,    /* register tile: after unrolling every subscript is constant */
    SCOPE_PACKED, /* written by the pack phase, read by the kernel, 64-byte aligned */
    SCOPE_TABLE,  /* constants in the code's read-only data */
};
extern const char *const scope_names[8]; /* in const out temp stack reg packed table */

/* Physical storage: term i contributes (index[dim] / div) % mod, row-major over the terms; mod 0 =
 * no modulo. `x[N,H,W,C] store N,C/16,H,W,C%16` is {0,1,0},{3,16,0},{1,1,0},{2,1,0},{3,1,16}. */
struct layout_term {
    int dim;
    int64_t div, mod;
};

struct tensor {
    const char *name;
    struct type type; /* element; lanes > 1 only for REG in kernels */
    enum scope scope;
    int rank;
    const struct expr **extent; /* s64; constants or expressions of dyn extents */
    int nlayout;                /* 0 = row-major in declared order */
    struct layout_term *layout;
    const double *table; /* SCOPE_TABLE: values, row-major */
    uint32_t id;
    /* set by lower for TEMP: byte offset into scratch; per worker tensors live at
     * scratch + scratch_a + worker*scratch_b + scratch_at, shared ones at scratch + scratch_at */
    int64_t scratch_at;
    bool scratch_per_worker;
};

struct tensor *tensor_new(struct ir *ir, const char *name, struct type type, enum scope scope,
                          int rank, const struct expr *const *extent);
/* Elements of storage incl. layout padding; expression of dyn extents. */
const struct expr *tensor_elements(struct ir *ir, const struct tensor *t);
/* Flat element offset of a subscript, honouring the layout. */
const struct expr *tensor_offset(struct ir *ir, const struct tensor *t,
                                 const struct expr *const *idx);

/* ---- statements ------------------------------------------------------------------------------ */

enum stmt_kind { ST_BLOCK, ST_STAGE, ST_FOR, ST_IF, ST_LET, ST_ALLOC, ST_STORE, ST_UPDATE };
enum loop_kind { LOOP_SERIAL, LOOP_PARALLEL, LOOP_VECTOR, LOOP_UNROLL };
/* How lower discharges the guard a split left; PAD: as GUARD (sched has checked that reads need
 * none). */
enum tail { TAIL_NONE, TAIL_GUARD, TAIL_PEEL, TAIL_MASK, TAIL_PAD };

/* Reductions. X(enum, spelling, printed as). ARGMAX/ARGMIN: targets {value, index}, values {v, i};
 * ties go to the lowest index. USER: any number of targets with a combine and an identity each. */
enum reduce { RED_SUM, RED_PROD, RED_MAX, RED_MIN, RED_ANY, RED_ARGMAX, RED_ARGMIN, RED_USER };

enum { UPDATE_TARGETS = 4 };

struct stmt {
    enum stmt_kind kind;
    struct stmt *parent;
    union {
        struct {
            struct stmt **p;
            int n, cap;
            struct arena *arena; /* the block's own, so that edits can grow it */
        } block;
        struct {
            /* of the stage: the tensor it defines, or tensor#2 for a second equation */
            const char *name;
            struct stmt *body;
        } stage;
        struct {
            const struct var *var;      /* its name is the loop's name */
            const struct expr *lo, *hi; /* lo <= var < hi */
            enum loop_kind kind;
            enum tail tail;
            bool reduce;
            /* a recurrence runs along it: never reordered, split only in order, never parallel */
            bool ordered;
            struct stmt *body;
        } loop;
        struct {
            /* b1; in a kernel may have lanes: then it masks the vector STOREs below */
            const struct expr *cond;
            struct stmt *then;
        } cond;
        struct {
            const struct var *var;
            const struct expr *value;
            struct stmt *body;
        } let;
        struct {
            struct tensor *tensor;
            struct stmt *body;
        } alloc;
        struct {
            struct tensor *tensor;
            const struct expr **idx; /* tensor->rank subscripts */
            const struct expr *value;
        } store;
        struct {
            enum reduce op;
            /* its start is explicit: nest_place_inits has stored the identities; prints
             * `started` */
            bool started;
            int n; /* targets; 1 unless ARGMAX, ARGMIN, USER */
            struct tensor *tensor[UPDATE_TARGETS];
            const struct expr **idx; /* shared subscripts, rank of tensor[0] */
            const struct expr *value[UPDATE_TARGETS];
            /* USER: new = combine[i] over variables lhs[], rhs[] (LET-like, element types);
             * identity[i] constants */
            const struct var *lhs[UPDATE_TARGETS], *rhs[UPDATE_TARGETS];
            const struct expr *combine[UPDATE_TARGETS], *identity[UPDATE_TARGETS];
        } update;
    } u;
};

struct nest {
    struct ir *ir;
    const char *name;
    /* declared in/const/out first, in declaration order; then packed, in order; then temp, table */
    struct tensor **tensor;
    int ntensor, tensor_cap;
    const struct var **dyn; /* dynamic extents, in declaration order */
    int ndyn;
    struct stmt *body; /* BLOCK of STAGEs */
    struct stmt *pack; /* BLOCK of STAGEs run once by the pack entry; empty block if none */
};

struct nest *nest_new(struct ir *ir, const char *name);
void nest_add_tensor(struct nest *n,
                     struct tensor *t); /* keeps the order above: packed ones before temps */
void nest_add_dyn(struct nest *n, const struct var *v);
struct tensor *nest_tensor(const struct nest *n, const char *name); /* NULL if none */
/* Is there a pack entry? Also when an extent of zero has left it nothing to do. */
bool nest_packs(const struct nest *n);

/* A body given as NULL becomes an empty block, to be filled with block_append(ir, *stmt_body(s),
 * ..). */
struct stmt *stmt_block(struct ir *ir);
struct stmt *stmt_stage(struct ir *ir, const char *name, struct stmt *body);
struct stmt *stmt_for(struct ir *ir, const struct var *v, const struct expr *lo,
                      const struct expr *hi, struct stmt *body);
struct stmt *stmt_if(struct ir *ir, const struct expr *cond, struct stmt *then);
struct stmt *stmt_let(struct ir *ir, const struct var *v, const struct expr *value,
                      struct stmt *body);
struct stmt *stmt_alloc(struct ir *ir, struct tensor *t, struct stmt *body);
struct stmt *stmt_store(struct ir *ir, struct tensor *t, const struct expr *const *idx,
                        const struct expr *value);
struct stmt *stmt_update(struct ir *ir, enum reduce op, struct tensor *t,
                         const struct expr *const *idx,
                         const struct expr *value); /* one target; fill more for ARG and USER */

/* Tree editing; all keep parent links and flatten nested blocks. */
void block_append(struct ir *ir, struct stmt *block, struct stmt *s);
void block_insert(struct ir *ir, struct stmt *block, int at, struct stmt *s);
/* In old's parent; by's parent becomes it. To wrap: w = stmt_if(ir, c, NULL); stmt_replace(s, w);
 * then block_append(ir, *stmt_body(w), s). */
void stmt_replace(struct stmt *old, struct stmt *by);
void stmt_remove(struct ir *ir, struct stmt *s); /* an emptied FOR/IF/STAGE goes too */
struct stmt **stmt_child_slot(struct stmt *parent, struct stmt *child);
/* The single body of STAGE FOR IF LET ALLOC, or NULL. */
struct stmt **stmt_body(struct stmt *s);
/* Deep copy; every loop and let variable is fresh, named `<old><suffix>`; suffix NULL keeps
 * variables (for moves). */
struct stmt *stmt_clone(struct ir *ir, const struct stmt *s, const char *suffix);
void stmt_subst(struct ir *ir, struct stmt *s, const struct var *v, const struct expr *by);
/* Replace every expression e below s by fn's mapping (subscripts, bounds, conditions, values). */
void stmt_map_exprs(struct ir *ir, struct stmt *s, expr_map_fn *fn, void *ctx);
/* Preorder; fn returns false to stop descending into that node. fn may replace or remove the node
 * it got (then it returns false); what it put there is not visited. */
void stmt_walk(struct stmt *s, bool (*fn)(struct stmt *s, void *ctx), void *ctx);
/* Each top expression of this one statement (not of children). */
void stmt_exprs(struct stmt *s, void (*fn)(const struct expr **slot, void *ctx), void *ctx);

struct stmt *nest_loop(const struct nest *n, const char *name); /* body, then pack; NULL if none */
struct stmt *nest_stage(const struct nest *n, const char *name);
struct stmt *stmt_enclosing(struct stmt *s,
                            enum stmt_kind kind); /* nearest proper ancestor of the kind */
bool stmt_is_ancestor(const struct stmt *a, const struct stmt *s);

/* ---- text ------------------------------------------------------------------------------------ */

void expr_print(struct buf *b, const struct expr *e);
void stmt_print(struct buf *b, const struct stmt *s); /* from depth 0; for messages and dumps */
void nest_print(struct buf *b, const struct nest *n);
/* parse(print(n)) prints the same text and is structurally equal. RC_INPUT with position
 * otherwise. */
enum rc nest_parse(struct ir *ir, const char *file, const char *text, size_t len, struct nest **out,
                   struct err *e);
struct nest *nest_clone(struct ir *into, const struct nest *n); /* into may be another context */

/* ---- checks and meaning ---------------------------------------------------------------------- */

enum nest_stage { NEST_NAIVE, NEST_SCHEDULED, NEST_KERNEL };
enum rc nest_verify(const struct nest *n, enum nest_stage stage,
                    struct err *e); /* RC_INTERNAL, names I1..I8 */

/* Makes I5 explicit: stores the identities (argmax, user: all targets) before the outermost reduce
 * loop that is below the target's ALLOC (before the UPDATE itself if there is none), copying the
 * kinds of the pure loops inside, LETs, and the guards (conjuncts of IFs) that do not use reduce
 * variables; marks the UPDATE `started`. New loops are named `<old>.init`. */
void nest_place_inits(struct nest *n);
/* The identity of an update's target i, as a constant of its element type. */
const struct expr *reduce_identity(struct ir *ir, const struct stmt *update, int i);
/* ... of a reduction that is no RED_USER, into elements of the scalar type t. */
const struct expr *reduce_identity_of(struct ir *ir, enum reduce op, int i, struct type t);
/* old (+) value for target i: sum -> old + value, argmax -> select(better, value, old), user ->
 * combine[i]. */
const struct expr *reduce_combine(struct ir *ir, const struct stmt *update, int i,
                                  const struct expr *const *old, const struct expr *const *value);

/* The oracle: slow, obvious, follows the tree. bufs[i] belongs to n->tensor[i] for IN CONST OUT
 * PACKED (NULL elsewhere). entry 0 kernel, 1 pack. Any form of nest. Fresh temp, stack and reg
 * memory is all ones. RC_INPUT "interp.oob" on an out-of-bounds access (with tensor and subscript),
 * "interp.budget" after max_steps stores. */
enum rc nest_interp(const struct nest *n, int entry, void *const *bufs, const int64_t *dyn,
                    int64_t max_steps, struct err *e);

/* ---- affine forms and bounds ----------------------------------------------------------------- */

/* sum(coef[i] * atom[i]) + c over integer expressions; atoms are VARs and non-linear subterms, by
 * pointer. */
enum { LINEAR_TERMS = 24 };
struct linear {
    int n;
    const struct expr *atom[LINEAR_TERMS];
    int64_t coef[LINEAR_TERMS];
    int64_t c;
};
bool linear_of(const struct expr *e, struct linear *out); /* false: too many terms */
const struct expr *linear_expr(struct ir *ir, const struct linear *l);
int64_t linear_coef(const struct linear *l, const struct expr *atom);

/* Known ranges of variables: lo <= v <= hi (inclusive), plus facts (b1 expressions that hold). */
struct range {
    int64_t lo, hi; /* INT64_MIN / INT64_MAX = unknown */
};
struct env;
struct env *env_new(struct ir *ir);
void env_put(struct env *env, const struct var *v, const struct expr *lo,
             const struct expr *hi_exclusive);
void env_fact(struct env *env, const struct expr *cond);
/* Environment at statement s: all enclosing loops, lets and ifs; dyn extents >= 0. */
struct env *env_at(struct ir *ir, const struct nest *n, const struct stmt *s);
struct range expr_range(const struct env *env, const struct expr *e);
/* Conservative: true only if cond surely holds in env. Handles linear inequalities incl. symbolic
 * loop bounds (v < hi), floordiv/mod by constants, min/max. */
bool env_proves(const struct env *env, const struct expr *cond);
/* Constant folding, linear normal form of index arithmetic, range-based removal of
 * min/max/mod/div/compare. Idempotent; preserves value wherever env holds. env may be NULL.
 * Memoised per env: use one env for many. */
const struct expr *expr_simplify(struct ir *ir, const struct env *env, const struct expr *e);

/* The box of subscripts with which `t` is read (or written) below `s`, over all loops inside s:
 * dimension d covers [lo[d], lo[d] + extent[d]); lo uses only variables bound outside s (s itself,
 * if a FOR, is inside); extent is a constant, or an expression of dyn extents only. Never too
 * small; guards are ignored, so it may be larger. Loads under LOADC count with their unclamped
 * subscripts. UPDATE writes its targets. false + reason (a sentence, static) if the region is not
 * such a box. */
enum { REGION_RANK = 8 };
struct region {
    int rank;
    const struct expr *lo[REGION_RANK];
    const struct expr *extent[REGION_RANK];
};
bool region_read(const struct nest *n, struct stmt *s, const struct tensor *t, struct region *out,
                 const char **why);
bool region_write(const struct nest *n, struct stmt *s, const struct tensor *t, struct region *out,
                  const char **why);

/* FLOPs of the valid taps the op asks for (+ - * / and a reduction step 1 each, FMA 2, exp and the
 * like 1; min, max, select 0), and bytes of declared tensors: from the naive nest, exact for affine
 * guards. Integers count alike; stages that read only constants count nothing. dyn: values of
 * dynamic extents. */
void nest_work(const struct nest *n, const int64_t *dyn, double *flops, double *bytes);

#endif
