/* ast: what the parser makes of a .op file, and the parts of the room that share it.
 *
 *     attr stride = 1 in 1..8      -> item ATTR {name, def, lo, hi}
 *     y[n, M+k : K-M] = a[n,k]     -> item EQUATION {ref y: subs (n), (M+k : 0..K-M); value}
 *
 * Invariants: nodes are immutable after parsing and live in the file's arena; every node knows its
 * line and column; names are not resolved here (check.c proves that they can be, eval.c and
 * lower*.c do it). */
#ifndef QN_DSL_AST_H
#define QN_DSL_AST_H

#include "base/scan.h"
#include "dsl/dsl.h"

enum {
    DSL_NAME = 48,
    DSL_DEPTH = 120,
    DSL_HEIGHT = 600,
    DSL_RANGES = 8,
    DSL_ARGS = 16,
    DSL_TARGETS = UPDATE_TARGETS
};

/* ---- expressions ----------------------------------------------------------------------------- */

enum node_kind {
    NODE_INT,    /* i */
    NODE_REAL,   /* f */
    NODE_NAME,   /* name */
    NODE_LIST,   /* a[]: elements or rows */
    NODE_UNARY,  /* oper, a[0] */
    NODE_BINARY, /* oper, a[0], a[1] */
    NODE_CALL,   /* name, a[]: builtin, cast or def */
    NODE_READ,   /* name, a[]: subscripts */
    NODE_ELSE,   /* a[0] a READ, a[1] its value outside the tensor */
    NODE_CASE,   /* a: cond, value, cond, value, ..., value */
    /* name, range[], a: values | combines | identities (the latter two only for reduce) */
    NODE_REDUCE,
};

/* Binary and unary operators, by binding strength (higher binds tighter). */
enum oper {
#define X(e, s, level, ir, arity) OPER_##e,
#include "dsl/opers.def"
#undef X
    OPER_COUNT
};
extern const struct oper_info {
    const char *spelling;
    int level;
    enum op ir;
    int arity;
} oper_infos[OPER_COUNT];

struct node;
struct range_item { /* r : lo..hi  or  r : hi */
    const char *name;
    const struct node *lo; /* NULL: 0 */
    const struct node *hi;
    int line, col;
};

struct node {
    enum node_kind kind;
    enum oper oper;
    int line, col, height;
    const char *name;
    int64_t i;
    double f;
    int n;
    const struct node **a;
    int nrange;
    const struct range_item *range;
    int ntuple; /* REDUCE: values; `reduce` also has ntuple combines and identities */
    const char *lhs[DSL_TARGETS], *rhs[DSL_TARGETS];
};

/* ---- items ----------------------------------------------------------------------------------- */

enum item_kind {
    ITEM_ATTR,
    ITEM_SHORT,
    ITEM_DYN,
    ITEM_LET,
    ITEM_REQUIRE,
    ITEM_TENSOR,
    ITEM_TABLE,
    ITEM_DEF,
    ITEM_EQUATION
};
enum attr_kind { ATTR_INT, ATTR_REAL, ATTR_SYMBOL, ATTR_LIST };

struct store_clause {
    int n; /* terms */
    struct store_term {
        const char *dim;        /* extent name, or NULL with pos */
        int pos;                /* dimension number; filled by the checker for names */
        const struct node *arg; /* divisor or modulus */
        char how;               /* 0, '/' or '%' */
        int line, col;
    } term[16];
    const struct node *when;
};

struct sub_item { /* one subscript of a left side */
    const struct node *e;
    bool ranged;
    struct range_item range; /* name NULL; lo, hi */
};

struct ref_item {
    const char *name;
    int n;
    struct sub_item sub[TASK_RANK];
    int line, col;
};

struct item {
    enum item_kind kind;
    int line, col;
    const char *name;
    const struct node *when; /* TENSOR, EQUATION */
    /* ATTR: def, domain; LET: def; REQUIRE: def, text; TABLE: def */
    const struct node *def;
    enum attr_kind attr;
    const struct node *lo, *hi; /* ATTR in lo..hi; TENSOR in lo..hi */
    int nname;                  /* ATTR domain of symbols; DEF parameters; SHORT targets */
    const char **names;
    const struct node **choice; /* ATTR domain of values: {2, 4, 6} */
    int nchoice;
    const char *text; /* REQUIRE */
    /* TENSOR, TABLE */
    enum scope scope;
    const char *type; /* dtype name or attr; NULL for tables without one */
    int rank;
    const struct node *extent[TASK_RANK];
    int nstore;
    struct store_clause *store;
    /* EQUATION */
    int nref;
    struct ref_item *ref;
    const struct node *value; /* also DEF's body */
    int nrange;
    const struct range_item *range;
    const char *scan; /* the index a recurrence runs along; NULL: none */
    int scan_line, scan_col;
};

struct body {
    struct item **item;
    int n;
};

struct algorithm {
    const char *name, *op;
    int line, col;
    struct item **param; /* ATTR items */
    int nparam;
    const struct node *when;
    struct body body;
    const struct op_file *file;
};

enum { OP_ALGORITHMS = 16, OP_EXTENTS = 32 };
struct operator
{
    const char *name;
    int line, col;
    struct body body;
    const struct algorithm *algorithm[OP_ALGORITHMS];
    int nalgorithm;
    const struct op_file *file;
    const char *help;
    /* extents declared by use in the shape of an in or const tensor */
    const char *extent[OP_EXTENTS];
    int nextent;
};

struct op_file {
    struct arena *arena;
    const char *name, *text;
    size_t len;
    struct operator** op;
    int nop;
    struct algorithm **algorithm;
    int nalgorithm;
};

/* ---- parts ----------------------------------------------------------------------------------- */

struct parser {
    struct scan *s;
    struct arena *arena;
    int depth;
};
const struct node *parse_expr(struct parser *p); /* parse_expr.c */
int parse_ranges(struct parser *p, const struct range_item **out, const char *end);
struct range_item parse_span(struct parser *p, const struct range_item *start);
void *parse_copy(struct parser *p, const void *items, size_t n, size_t size);

void node_print(struct buf *b, const struct node *n, int level); /* print.c */
bool node_equal(const struct node *a, const struct node *b);

enum rc check_file(struct op_file *f, struct err *e); /* check.c */
const struct item *body_find(const struct body *b, enum item_kind kind, const char *name);
/* The kind of a builtin call's name; -1 if none. */
enum op builtin_op(const char *name, int *arity); /* builtin.c; OP_COUNT if none */
bool value_floors(enum oper op, const struct value *a, const struct value *b); /* rounds down */
bool builtin_is_reduce(const char *name);
bool builtin_is_call(const char *name); /* name(a, b), as max also is */
const char *builtin_reduce_list(char *out, size_t out_n);
bool builtin_is_special(const char *name,
                        int *arity); /* select clamp rshr bitcast lowest highest ... */
const char *const *builtin_names(int *n);

enum rc dsl_error(struct err *e, const struct op_file *f, int line, int col, const char *code,
                  const char *fmt, ...) QN_PRINTF(6, 7);

/* ---- compile-time values (value.c, eval.c) --------------------------------------------------- */

struct named_value {
    const char *name;
    struct value v;
    bool dyn;               /* value is only the tuning point */
    const struct node *def; /* LET: its text, for lowering when dyn */
};
struct scope_values {
    struct arena *arena;
    const struct op_file *file;
    const struct operator* op;
    struct named_value v[TASK_KEYS + 32];
    int n;
    bool touched_dyn; /* set by evaluation that read a dyn value */
    struct err *e;
};
struct named_value *scope_find(struct scope_values *s, const char *name);
bool scope_put(struct scope_values *s, const char *name, struct value v, bool dyn,
               const struct node *def);

struct value value_int(int64_t i);
struct value value_real(double f);
struct value value_symbol(const char *s);
double value_as_real(const struct value *v);
bool value_equal(const struct value *a, const struct value *b);
/* false with a static reason */
bool value_binary(enum oper op, const struct value *a, const struct value *b, struct value *out,
                  const char **why);
bool ratio_make(int64_t num, int64_t den, struct ratio *out);
bool ratio_op(char op, struct ratio a, struct ratio b, struct ratio *out);
bool value_call(const char *name, int n, const struct value *a, struct value *out,
                const char **why);

/* Errors through s->e with a caret. */
bool eval_value(struct scope_values *s, const struct node *n, struct value *out);
bool eval_int(struct scope_values *s, const struct node *n, int64_t *out);
/* The same, and dsl.dyn if it depends on a dynamic extent: the tuning point would decide for every
 * size. `what` names it: "a divisor". */
bool eval_fixed(struct scope_values *s, const struct node *n, const char *what, struct value *out);
bool eval_fixed_int(struct scope_values *s, const struct node *n, const char *what, int64_t *out);
/* A when or a case: fixed like that. NULL node: true. */
bool eval_cond(struct scope_values *s, const struct node *n, bool *out);
/* Values of a table of n elements with this shape. */
bool eval_table(struct scope_values *s, const struct node *n, int rank, const int64_t *extent,
                struct ratio *exact, double *out);

enum cook_toom { COOK_TOOM_AT, COOK_TOOM_G, COOK_TOOM_BT };
/* F(m, r) at m+r-2 finite points and infinity: at is m x a, g is a x r, bt is a x a, with a =
 * m+r-1. false: overflow, repeated point, or wrong number of points. */
bool cook_toom(enum cook_toom which, int m, int r, const struct ratio *points, int npoints,
               struct ratio *out, const char **why);

/* bind.c: a body's items with values. */
bool bind_attr_domain(struct scope_values *s, const struct item *attr, const struct value *v);
bool bind_tensors(struct scope_values *s, const struct body *b, struct task_tensor *out, int max,
                  int *n);
bool bind_lets(struct scope_values *s, const struct body *b);
bool bind_requires(struct scope_values *s, const struct body *b);
/* algorithms.c: false, with the error, for a condition or a parameter that depends on a dynamic
 * extent. Any other fault makes task_algorithms leave that algorithm out. */
bool bind_algorithms(struct scope_values *s);
bool value_parse(struct arena *a, const struct item *attr, const char *text, size_t n,
                 struct value *out);
/* token.c */
enum { TASK_TOKEN_MAX = 4096 };
bool value_read_int(const char *s, size_t n, int64_t *out);
bool value_read_real(const char *s, size_t n, double *out);
struct task_key *task_key_find(const struct task *t, const char *name);
/* The value all targets of a short key share, if they do. */
struct task_key *task_short_value(const struct task *t, const struct item *it);
void task_make_token(struct task *t, const char *typed_op);
/* The values of a parsed task, for lowering. */
void task_scope(struct scope_values *s, const struct task *t, struct arena *a, struct err *e);
const struct algorithm *operator_algorithm(const struct operator* op, const char *name);
bool dtype_of_name(struct scope_values *s, const char *name, enum dtype *out);
/* Live store clause of a declaration as layout terms; n = 0 for row-major. false: error in s->e. */
bool bind_layout(struct scope_values *s, const struct item *t, const int64_t *extent,
                 struct layout_term *out, int *n);
int64_t layout_elements(const int64_t *extent, int rank, const struct layout_term *l,
                        int n); /* -1: overflow */

#endif
