/* The inside of schedule spaces: integer expressions over facts and knobs, and the template of
 * steps.
 *
 *     require MR*NV + NV + 1 <= target.vregs      facts are constants when the space is read, so
 *                                                 this tree holds MR, NV and 32, and nothing else
 *
 * Invariants: a tree mentions only knobs declared before it; a `let` is another name for its
 * tree. */
#ifndef QN_SCHED_SPACE_INT_H
#define QN_SCHED_SPACE_INT_H

#include "base/scan.h"
#include "sched/private.h"

enum {
    SPACE_LETS = 64,
    SPACE_VALUES = 512,
    SPACE_PARTS = 4,
    SPACE_MAX = 1 << 16,
    SPACE_DEPTH = 48,
    SPACE_OPERATORS = 200
};

enum xop {
    XOP_INT,
    XOP_KNOB,
    XOP_NEG,
    XOP_NOT,
    XOP_ADD,
    XOP_SUB,
    XOP_MUL,
    XOP_DIV,
    XOP_MOD,
    XOP_EQ,
    XOP_NE,
    XOP_LT,
    XOP_LE,
    XOP_AND,
    XOP_OR,
    XOP_MIN,
    XOP_MAX,
    XOP_CEILDIV,
    XOP_SELECT,
    XOP_POW2
};

struct xnode {
    enum xop op;
    int64_t i; /* INT: the value; KNOB: its index; SPACE_KNOBS + j: the j-th let */
    const struct xnode *a[3];
};

struct knob {
    const char *name;
    int n;
    int64_t *value;
    const char **word; /* NULL: numbers */
};

/* What names mean while a space is read. */
struct scope_of_names {
    struct arena *arena;
    const struct facts *facts;
    struct knob knob[SPACE_KNOBS];
    int nknob;
    const char *let_name[SPACE_LETS];
    const struct xnode *let[SPACE_LETS];
    int nlet;
    int depth, operators; /* of the expression being read: both are bounded */
};

/* What knobs and lets are worth for one choice. */
struct values {
    int64_t v[SPACE_KNOBS + SPACE_LETS];
    bool bad[SPACE_KNOBS +
             SPACE_LETS]; /* a let that divided by zero: an error only where it is used */
};

struct part {
    const char *text;          /* literal, or NULL */
    const struct xnode *value; /* else a number, or a word of knob `words` */
    int words;                 /* -1: a number */
};

struct word {
    int n;
    struct part part[SPACE_PARTS];
    int col;
};

enum item_kind { ITEM_STEP, ITEM_REQUIRE, ITEM_IF, ITEM_CODEGEN };

struct item {
    enum item_kind kind;
    enum prim prim;
    int n, line;
    struct word *word;
    const struct xnode *cond;
    struct item *then, *otherwise, *next;
};

struct space {
    struct arena *arena;
    const char *name, *op, *text; /* text: of a derived space */
    struct word algorithm[9];     /* name and parameters */
    int nalgorithm;
    struct scope_of_names names;
    struct item *first;
};

/* The whole text into sp; RC_OK with *off set if `when` is false. */
enum rc space_read(struct space *sp, const char *file, const char *text, size_t len, bool *off,
                   struct err *e);

/* Reads one expression from s (stops at the first token that cannot continue it); NULL with s->err
 * set. */
const struct xnode *xexpr_parse(struct scan *s, struct scope_of_names *names);
/* false: it divides by zero or overflows with these knob values. */
bool xexpr_eval(const struct xnode *x, const struct values *values, int64_t *out);
bool xexpr_only_knob(const struct xnode *x,
                     int knob); /* mentions no other knob, and no let that does */
bool xexpr_const(const struct xnode *x, int64_t *out);
const struct xnode *xexpr_int(struct arena *a, int64_t v);
/* The knob or let of that name, a fact as a constant; NULL if unknown. */
const struct xnode *name_lookup(const struct scope_of_names *names, const char *p, size_t n);

#endif
