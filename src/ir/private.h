/* ir's own parts that other rooms do not see. The intern table, the per-context memo used by
 * expr_map, a small set of nodes for walks without a context, and scalar arithmetic shared by the
 * folder and the interpreter (so folding a constant can never change what a nest means). */
#ifndef QN_IR_PRIVATE_H
#define QN_IR_PRIVATE_H

#include "ir/ir.h"

/* NULL if the node is well typed, else a static sentence. `leaf` as in expr_make. */
const char *expr_type_error(enum op op, struct type type, const struct expr *const *a, int n,
                            const void *leaf);

/* Open addressing over the nodes themselves: the node is the key, so nothing is copied. */
struct expr_table {
    const struct expr **slot;
    uint32_t cap, n; /* cap is a power of two */
};

/* Memo of one expr_map call, indexed by expression id; `gen` makes clearing free. Nested calls (a
 * map function that maps) take the next level. */
struct expr_memo {
    uint32_t *stamp;
    const struct expr **value;
    uint32_t cap, gen;
    struct expr_memo *next;
};

/* A set or map keyed by expression pointer, living on the stack until it grows. */
enum { NODESET_INLINE = 64 };
struct nodeset {
    const struct expr **slot;
    const struct expr *inl[NODESET_INLINE];
    uint32_t cap, n;
};
void nodeset_init(struct nodeset *s);
void nodeset_fini(struct nodeset *s);
bool nodeset_add(struct nodeset *s, const struct expr *e); /* false: was there */

char op_form(enum op op); /* L I C S of ops.def */

/* Map from small ids (of variables, tensors, expressions) to pointers; zero = empty. On the heap,
 * or in an arena when one is set (then idmap_fini only forgets). */
struct idmap {
    uint32_t *key; /* id + 1, 0 = free */
    const void **value;
    uint32_t cap, n;
    struct arena *arena;
};
void idmap_put(struct idmap *m, uint32_t id, const void *value);
const void *idmap_get(const struct idmap *m, uint32_t id); /* NULL if none */
void idmap_clear(struct idmap *m);                         /* empties, keeps memory */
void idmap_fini(struct idmap *m);

union scalar {
    int64_t i; /* ints and b1, wrapped to their type (u64: the bits) */
    double f;  /* floats, exactly representable in their type */
};
/* op on scalars of type `from`, result of type `to` (they differ for CAST, BITCAST and predicates).
 * mode: enum cast_mode. false: division by zero, a shift out of range, or not a scalar
 * operation. */
bool scalar_eval(enum op op, enum dtype to, enum dtype from, int mode, const union scalar *a,
                 union scalar *out);
int64_t int_wrap(enum dtype d, int64_t v);
double real_round(enum dtype d, double v); /* to the nearest value of a float type, ties to even */
uint16_t f16_from_double(double v);
double f16_to_double(uint16_t h);
uint16_t bf16_from_double(double v);
double bf16_to_double(uint16_t h);

/* `e` with other children, through the folding constructors. */
const struct expr *expr_rebuild(struct ir *ir, const struct expr *e, const struct expr *const *a);
/* expr_map that leaves nodes without any of the variable bits alone. */
const struct expr *expr_map_vars(struct ir *ir, const struct expr *e, expr_map_fn *fn, void *ctx,
                                 uint64_t vars);

/* l += k*m, l += k*atom; false: too many terms or overflow (l is then spoilt). */
bool linear_add(struct linear *l, const struct linear *m, int64_t k);
bool linear_add_atom(struct linear *l, const struct expr *atom, int64_t k);
bool linear_drop(struct linear *l, const struct expr *atom); /* removes the atom's term */
/* cond <=> l >= 0 for s64 < and <=; l == 0 for == and !=. */
bool linear_of_compare(const struct expr *cond, struct linear *l);

/* Facts about variables; bounds.c owns it. */
enum { ENV_FACTS = 32 };
struct env_entry {
    const struct var *var;
    const struct expr *lo, *hi; /* lo <= var < hi, NULL = unknown */
    const struct expr *value;   /* of a LET: var == value */
    struct range range;
};
struct env {
    struct ir *ir;
    struct env_entry *entry; /* outermost first */
    int n, cap;
    struct linear *fact[ENV_FACTS]; /* each >= 0 */
    const struct expr *fact_expr[ENV_FACTS];
    int nfacts, nfact_exprs;
    struct idmap ranges, simple, proved; /* memos, dropped when the env learns something */
};
bool env_proves_nonneg(const struct env *env, const struct linear *l);
struct range linear_range(const struct env *env, const struct linear *l);
void env_let(struct env *env, const struct var *v, const struct expr *value);

/* Text of one statement line and declarations, shared by print.c and error messages. */
void name_print(struct buf *b, const char *name);
void type_print(struct buf *b, struct type t);
extern const char
    *const cast_names[CAST_FITS_ROUND_EVEN + 1]; /* cast, cast_sat, ... by enum cast_mode */
extern const char *const reduce_names[8]; /* spelled before '=': + * max min | argmax argmin user */
extern const char *const loop_kind_names[4], *const tail_names[5];

#endif
