/* lower_int: what the lowering files of this room share.
 *
 * A value while lowering is one of three: known (LOW_VALUE: attrs, lets, literals), free (LOW_FREE:
 * known but for dynamic extents, so it adapts to its neighbour's type like a literal), or data
 * (LOW_TYPED). */
#ifndef QN_DSL_LOWER_INT_H
#define QN_DSL_LOWER_INT_H

#include "dsl/ast.h"

enum low_kind { LOW_VALUE, LOW_FREE, LOW_TYPED };
struct low {
    enum low_kind kind;
    struct value v;       /* LOW_VALUE */
    const struct expr *e; /* LOW_FREE (s64 or f64), LOW_TYPED */
    bool floored;         /* LOW_VALUE: a quotient of integers that was rounded down */
};

struct binding { /* index names and def parameters, innermost first */
    const char *name;
    struct low v;
    const struct binding *up;
};

struct loopv {
    const char *name; /* in the text */
    const struct var *var;
    const struct expr *lo, *hi;
    bool reduce;
};

/* One lowered reduction of the equation, so that equal ones are computed once. */
struct done_reduce {
    const struct node *node;
    const struct binding *env;
    struct tensor *tensor[DSL_TARGETS];
    const struct expr *load[DSL_TARGETS];
};

enum { LOOPS_MAX = 24, DONE_MAX = 32, REDUCE_KINDS = 8, TENSORS_MAX = 256, PIECES_MAX = 256 };

struct equation {
    const struct item *item;
    const char *stage; /* y, y#2 */
    struct loopv loop[LOOPS_MAX];
    int nloop;
    int scan, own;                 /* index of the scan loop, -1: none; loops of the left side */
    const struct expr *const *idx; /* subscripts of the left side */
    int made[REDUCE_KINDS];        /* reductions of each kind so far, for names */
    struct done_reduce done[DONE_MAX];
    int ndone;
};

struct declared {
    const char *name;
    struct tensor *tensor;
    const struct item *item;   /* NULL: an implicit temp */
    int64_t extent[TASK_RANK]; /* at the tuning point */
    bool dyn[TASK_RANK];
    const struct expr *lo, *hi; /* of its values, lo <= v < hi, in dyn extents; NULL: not known */
    /* An argmax of reals that finds nothing (all are NaN) is beyond its range: what it then is as a
     * subscript. NULL: does not happen. */
    const struct expr *last;
    int equations;
    int npiece;    /* of pieces[] that define it */
    bool complete; /* all its equations are lowered */
};

/* One equation's part of a tensor: in each dimension start, start+step, ..., count of them. */
struct piece {
    int tensor;
    int64_t start[TASK_RANK], step[TASK_RANK], count[TASK_RANK];
    const struct item *item;
};

struct lower {
    struct ir *ir;
    const struct task *t;
    const struct algorithm *al; /* NULL: direct */
    const struct body *body;    /* the equations being lowered */
    const struct op_file *file;
    struct scope_values s;
    struct nest *nest;
    struct declared d[TENSORS_MAX];
    int nd;
    struct piece piece[PIECES_MAX];
    int npiece;
    struct {
        const char *name;
        const struct var *var;
    } dyn[TASK_KEYS];
    int ndyn;
    struct equation *eq;
    int64_t budget; /* nodes left: defs may double */
    struct err *e;
};

/* All return false after an error in L->e. */
bool low_fail(struct lower *L, const struct node *n, const char *code, const char *fmt, ...)
    QN_PRINTF(4, 5);
/* Two operands of different types, e[i] of at[i]. */
bool low_mix_fail(struct lower *L, const struct node *n, const struct node *const at[2],
                  const struct expr *const e[2]);
bool lower_node(struct lower *L, const struct node *n, const struct binding *env,
                struct low *out); /* lower_expr.c */
bool lower_index(struct lower *L, const struct node *n, const struct binding *env,
                 const struct expr **out); /* s64 */
bool low_to_type(struct lower *L, const struct node *n, const struct low *v, enum dtype d,
                 const struct expr **out);
/* Typed as it stands: integers without a type are s64, reals f32. */
bool low_to_typed(struct lower *L, const struct node *n, const struct low *v,
                  const struct expr **out);
bool low_int_fits(enum dtype d, int64_t v);
int64_t low_int_max(enum dtype d); /* u64: INT64_MAX */
bool lower_call(struct lower *L, const struct node *n, const struct binding *env,
                struct low *out); /* lower_call.c */
bool lower_read(struct lower *L, const struct node *n, const struct node *def,
                const struct binding *env, struct low *out); /* lower_read.c */
bool lower_reduce(struct lower *L, const struct node *n, const struct binding *env,
                  struct low *out); /* lower_reduce.c */
/* A reduction with its body lowered, not yet placed anywhere. */
struct reduced {
    const struct node *node;
    enum reduce op;
    int n; /* values */
    const struct expr *value[DSL_TARGETS];
    const struct var *lhs[DSL_TARGETS], *rhs[DSL_TARGETS];
    const struct expr *combine[DSL_TARGETS], *identity[DSL_TARGETS];
    struct loopv loop[DSL_RANGES];
    int nloop;
};
/* Loops are named stage.index; index_type: of argmax's index (TYPE_COUNT: s32). want: what a known
 * value becomes. */
bool reduce_body(struct lower *L, const struct node *n, const struct binding *env,
                 const char *stage, enum dtype index_type, enum dtype want, struct reduced *out);
/* Appends the stage: pure loops, reduce loops, UPDATE. */
void reduce_emit(struct lower *L, const struct reduced *r, const char *stage,
                 const struct loopv *pure, int npure, struct tensor *const *target,
                 const struct expr *const *idx);
/* The range that an argmax gives its index, a tensor of one equation. */
void reduce_range(struct lower *L, const struct reduced *r, struct declared *index);
/* Through temps named `<names[i]>.<reduction>`; out[i] reads them. names NULL: a value in an
 * expression. */
bool reduce_to_temps(struct lower *L, const struct node *n, const struct binding *env,
                     const char *const *names, int nnames, struct low *out);
struct declared *find_declared(struct lower *L, const char *name);
struct declared *add_declared(struct lower *L, const char *name, struct tensor *t);
bool lower_range(struct lower *L, const struct range_item *r, const struct expr **lo,
                 const struct expr **hi, int64_t *ilo, int64_t *ihi);
bool cover_piece(struct lower *L, const struct item *it, int ref, struct declared *d,
                 const struct loopv *loops, int nloops, const int64_t *lo,
                 const int64_t *hi); /* cover.c */
bool cover_complete(struct lower *L, struct declared *d);
/* The refusal of an index that stands in two subscripts on the left; returns false. */
bool cover_diagonal(struct lower *L, const struct node *at, const char *index, const char *tensor);
bool cover_reads(struct lower *L, const struct node *n, const struct declared *d,
                 const struct expr *const *idx, struct env *env, bool guarded);
struct env *lower_env(struct lower *L);
const struct declared *declared_of(struct lower *L, const struct tensor *t);
/* The load that e is, or is a plain cast of; NULL if none. */
const struct expr *load_in(const struct expr *e);
/* For proofs: loads of tensors with declared ranges become variables with that range. */
const struct expr *lower_provable(struct lower *L, struct env *env, const struct expr *e);

/* lower_tensor.c: the declarations of a body, callers' tensors or the rest. */
bool declare_all(struct lower *L, const struct body *b, bool callers);
bool tensor_bytes(struct lower *L, const struct item *it, const char *name, const struct tensor *t,
                  const int64_t *extent);

/* lower_left.c */
struct left { /* the loops of one equation and what they define */
    int64_t lo[LOOPS_MAX], hi[LOOPS_MAX];
    const struct binding *env;
    const struct expr *idx[DSL_TARGETS][TASK_RANK];
};

bool lower_left(struct lower *L, const struct body *b, const struct item *it, struct left *left);

#endif
