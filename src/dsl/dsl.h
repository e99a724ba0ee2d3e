/* dsl: operators as text. A .op file says what an operator computes; a task token names one
 * instance of it; together they lower to a naive loop nest, the meaning that every schedule must
 * keep.
 *
 *     struct op_lib *lib;  op_lib_new(dir, true, &lib, &e);
 *     struct task *t;      task_parse("conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1", lib, &t, &e);
 *     struct nest *n;      dsl_lower(ir, t, "direct", "", &n, &e);
 *
 * Invariants: parsed files and tasks are immutable; a task keeps a pointer into the library it came
 * from, so the library outlives it. Every error carries file:line:column, the source line, a caret
 * and one sentence (operators), or the offending key and advice (tokens). The grammar is in
 * DSL.txt. */
#ifndef QN_DSL_H
#define QN_DSL_H

#include "base/hash.h"
#include "ir/ir.h"

struct op_file;  /* one parsed text: operators and algorithms */
struct operator; /* one operator with its algorithms */
struct op_lib;   /* operators by name */

/* ---- files ----------------------------------------------------------------------------------- */

/* Parses and checks all that can be checked without a task. `file` is only for messages. */
enum rc dsl_parse(const char *file, const char *text, size_t len, struct op_file **out,
                  struct err *e);
void dsl_free(struct op_file *f); /* NULL allowed */
/* Canonical text of the whole file; parse(print(f)) prints the same. Comments and spacing are
 * gone. */
void dsl_print(struct buf *b, const struct op_file *f);
int dsl_op_count(const struct op_file *f);
const struct operator* dsl_op(const struct op_file *f, int i);

const char *operator_name(const struct operator* op);
const char *operator_help(const struct operator*
                          op); /* first comment block of the file, without '#' */
/* What the operator means: its canonical text without algorithms, comments and file names; and its
 * hash, the part of the log's key that names the operator. */
void operator_semantic(struct buf *b, const struct operator* op);
void operator_id(const struct operator* op, char id[HASH_ID_LEN + 1]);
/* The keys that every task of it must give: "P, C"; b is empty before. */
void operator_keys(struct buf *b, const struct operator* op);
/* The operator with its algorithms as one self-contained text: what travels to a worker. */
void operator_text(struct buf *b, const struct operator* op);

/* ---- the library ----------------------------------------------------------------------------- */

/* dir holds <op>/<op>.op (NULL: nothing is read). allow_paths: names such as ./my.op and my.op are
 * opened; only the command line sets it. Files are read on first use. */
enum rc op_lib_new(const char *dir, bool allow_paths, struct op_lib **out, struct err *e);
void op_lib_free(struct op_lib *lib);
/* Adds the operators of a text; a later one of the same name hides an earlier one. */
enum rc op_lib_add(struct op_lib *lib, const char *file, const char *text, size_t len,
                   struct err *e);
/* By name, or by path where allowed. RC_INPUT task.unknown_op with "did you mean". */
enum rc op_lib_find(struct op_lib *lib, const char *name, const struct operator** out,
                    struct err *e);
/* It comes from a file named by the user and is not what the library has under its name: what is
 * shipped for that name (schedules) is not for it. */
bool op_lib_own(struct op_lib *lib, const struct operator* op);
/* All names, sorted; owned by the library, valid until the next call. */
const char *const *op_lib_names(struct op_lib *lib, int *n);

/* ---- values and tasks ------------------------------------------------------------------------ */

struct ratio { /* exact rational, den > 0, lowest terms */
    int64_t num, den;
};

enum value_kind { VALUE_INT, VALUE_REAL, VALUE_SYMBOL, VALUE_LIST };
struct value {
    enum value_kind kind;
    int64_t i;
    double f;
    const char *symbol;
    int n; /* VALUE_LIST */
    const struct ratio *list;
};
/* 3, 0.5, nhwc, 0:1:-1:1/2; the form of tokens and of algorithm parameters. */
void value_print(struct buf *b, const struct value *v);

enum key_kind {
    KEY_ATTR,   /* declared by attr */
    KEY_EXTENT, /* an extent of a tensor; needs a value unless an attr gives it a default */
    KEY_DYN,    /* a dynamic extent: the value is the tuning point */
    KEY_LET,    /* derived; may be given, is checked */
};
struct task_key {
    const char *name;
    enum key_kind kind;
    bool given;      /* in the token as typed */
    bool is_default; /* equal to its default: absent from the canonical token */
    struct value value;
};

enum { TASK_RANK = 8, TASK_TENSORS = 64, TASK_KEYS = 96 };
/* of the caller: in, const, out; declaration order, which is the ABI's buffer order */
struct task_tensor {
    const char *name;
    enum scope scope;
    enum dtype dtype;
    int rank;
    int64_t extent[TASK_RANK]; /* dyn extents at their tuning point */
    int64_t elements, bytes;   /* of storage, including layout padding */
    bool ranged;               /* values declared to lie in lo <= v < hi */
    int64_t lo, hi;
};

enum tol { TOL_DEFAULT, TOL_TIGHT, TOL_LOOSE };

struct task {
    struct arena *arena;
    const struct operator* op;
    const char *token; /* canonical: op name, keys sorted, defaults and derived keys omitted */
    /* the same with the operator as typed (./my.op): what a user types again */
    const char *spelled;
    bool own; /* op_lib_own */
    struct task_key *key;
    int nkey;
    struct task_tensor *tensor;
    int ntensor;
    int64_t *dyn; /* tuning points, in declaration order */
    int ndyn;
    enum tol tol;
    int64_t max_bytes; /* the limit it was parsed under */
};

struct task_limits {
    int64_t max_bytes; /* of all tensors together; 0 = default */
};
extern const struct task_limits task_limits_default; /* 8 GiB */

/* `token` is "op:KEY=VAL,KEY=VAL"; without keys the colon may be left out. limits NULL =
 * default. */
enum rc task_parse(const char *token, struct op_lib *lib, const struct task_limits *limits,
                   struct task **out, struct err *e);
void task_free(struct task *t); /* NULL allowed */
/* The token, as it was spelled, with other dynamic extents (t->ndyn of them); mem_free. */
char *task_resized(const struct task *t, const int64_t *dyn);
bool task_int(const struct task *t, const char *key,
              int64_t *out); /* integer key, also derived ones */
const char *task_symbol(const struct task *t,
                        const char *key); /* "nhwc"; NULL if no such symbol key */
const struct task_tensor *task_tensor(const struct task *t, const char *name); /* NULL if absent */
/* The integers lo..hi that lie in the tensor's type and in its declared range. false: there are
 * none (of an input with elements: RC_INPUT task.range, no data exist). */
bool task_tensor_range(const struct task_tensor *t, int64_t *lo, int64_t *hi);

/* One token a line; '#' starts a comment. Calls fn for each; stops at the first rc != RC_OK. */
enum rc task_list_parse(const char *file, const char *text, size_t len,
                        enum rc (*fn)(void *ctx, const char *token, int line, struct err *e),
                        void *ctx, struct err *e);

/* ---- algorithms ------------------------------------------------------------------------------ */

enum { ALGO_PARAMS = 8, PARAM_CHOICES = 16 };
struct algo_param {
    const char *name;
    struct value def; /* default for this task */
    int nchoice;      /* declared domain `in {...}`; 0 = open */
    struct value choice[PARAM_CHOICES];
};
struct algo {
    const char *name; /* "direct" is the operator's own body and always first */
    int nparam;
    struct algo_param param[ALGO_PARAMS];
};
/* Algorithms whose `when` holds for the task; returns how many there are (writes at most max). */
int task_algorithms(const struct task *t, struct algo *out, int max);

/* ---- lowering -------------------------------------------------------------------------------- */

/* The naive nest: one stage an equation, one more for each reduction inside a larger expression.
 * Names: stage = tensor (`y`; a later equation of the same tensor `y#2`; its reductions `y.sum`,
 * `y.max`, `y.sum2`), loop = stage.index (`y.sum.k`). params: "m=4 points=0:1:-1", "" for the
 * defaults. RC_INPUT with code dsl.not_lowered for what is checked but not lowered yet. */
enum rc dsl_lower(struct ir *ir, const struct task *t, const char *algorithm, const char *params,
                  struct nest **out, struct err *e);

/* Reads only const tensors, tables and other constant stages: `pack STAGE` may move it. */
bool dsl_stage_is_const(const struct nest *n, const struct stmt *stage);

/* How to verify: derived from a naive nest, so it is per algorithm. */
struct data_recipe {
    /* data of integers in [-magnitude, magnitude] give exact integer results in the op's types */
    bool exact;
    /* largest such bound <= 8 with every partial result below 2^24 (f32), 2^53, 2^11, 2^8 */
    int64_t magnitude;
    /* elements reduced into one output element, product over nested reductions */
    int64_t depth;
    /* longest single reduction loop: the C of the error budget 12 sqrt(C) 2^-24 */
    int64_t budget_depth;
    /* terms of the longest sum over what an earlier reduction has rounded */
    double nested;
    /* every reduction is a sum of products of two tensors, and only sums and max follow */
    bool sum_of_products;
    /* a reduction's result is clamped or selected on: cancellation shows in the output */
    bool bent;
    bool transcendental; /* exp, log, ... appear */
    /* outputs, by their place among the nest's tensors, whose integers depend on the last bits of sums */
    uint64_t undecided;
    bool steep;      /* a logarithm of rounded terms that may cancel */
    bool fractional; /* a table or constant that is no small integer, or a division */
    double tol;      /* rel-L2 bound for the task's tol key */
};
void dsl_recipe(const struct nest *naive, const struct task *t, struct data_recipe *out);
/* The integers lo..hi that data of an input are drawn from: what it declares, else what the recipe
 * keeps exact, else -4..4; always within its type. */
void dsl_data_range(const struct task_tensor *t, const struct data_recipe *r, int64_t *lo,
                    int64_t *hi);

#endif
