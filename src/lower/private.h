/* lower's own vocabulary: the state of one lowering, the passes in the order lower.c tells them,
 * and the few tree and expression helpers they share.
 *
 * A pass is `enum rc pass_x(struct low *l)`; it edits l->n in place, uses l->e only when it
 * refuses, and leaves a nest that nest_verify accepts. Its file says what it requires, what it
 * provides, and shows an example. */
#ifndef QN_LOWER_PRIVATE_H
#define QN_LOWER_PRIVATE_H

#include "lower/lower.h"

enum { LANES_MAX = 64, CONJ_MAX = 32 };

struct low {
    struct ir *ir;
    struct nest *n;
    const struct target *t;
    const struct lower_options *o;
    struct err *e;
    int64_t max_nodes;   /* statements and expressions unroll may make */
    int copies;          /* suffix of the next copy, so that names stay unique */
    bool naive;          /* the reference path */
    bool dead_code_gone; /* prove_guards has run */
    int64_t scratch_a, scratch_b;
};

enum rc pass_inits(struct low *l);
enum rc pass_guard_taps(struct low *l);
enum rc pass_unwanted(struct low *l);
enum rc pass_peel(struct low *l);
enum rc pass_peel_blocks(struct low *l);
enum rc pass_tighten(struct low *l);
enum rc pass_updates(struct low *l);
enum rc pass_join(struct low *l);
enum rc pass_contract(struct low *l);
enum rc pass_pairs(struct low *l);
enum rc pass_partials(struct low *l);
enum rc pass_flatten(struct low *l);
enum rc pass_rows(struct low *l);
enum rc pass_vectorize(struct low *l);
enum rc pass_unroll(struct low *l);
enum rc pass_regs(struct low *l);
enum rc pass_share(struct low *l);
enum rc pass_carry(struct low *l);
enum rc pass_repeats(struct low *l);
enum rc pass_cut(struct low *l);
enum rc pass_quotients(struct low *l);
enum rc pass_hoist(struct low *l);
enum rc pass_math(struct low *l);
enum rc pass_fma(struct low *l);
enum rc pass_compares(struct low *l);
enum rc pass_phases(struct low *l);
enum rc pass_scratch(struct low *l);
enum rc pass_tidy(struct low *l);

/* ---- expressions: expr.c --------------------------------------------------------------------- */

/* Expression -> expression, for walks that must not go through expr_map (types change on the
 * way). */
struct memo {
    const struct expr **key, **value;
    uint32_t cap, n;
};
void memo_clear(struct memo *m);
void memo_fini(struct memo *m);
const struct expr *memo_get(const struct memo *m, const struct expr *e);
void memo_put(struct memo *m, const struct expr *e, const struct expr *value);

/* The node with other children; scalars beside vectors are splatted first. */
const struct expr *expr_with(struct ir *ir, const struct expr *e, const struct expr *const *a);
const struct expr *expr_to_lanes(struct ir *ir, const struct expr *e, int lanes);
const struct expr *expr_all(struct ir *ir, const struct expr *const *conj,
                            int n); /* AND; true if n == 0 */
/* The conjuncts of a b1; more than CONJ_MAX: the rest stays together in the last. */
int expr_conjuncts(const struct expr *cond, const struct expr *out[CONJ_MAX]);
bool expr_has_load(const struct expr *e);
bool expr_is_zero(const struct expr *e); /* whatever its finite factors are */
/* cond as l >= 0 over s64 scalars; false for anything but < and <=. */
bool cond_linear(struct ir *ir, const struct expr *cond, struct linear *out);
/* l = k*v + rest: returns k and takes the term out; *clean false if v hides in another atom. */
int64_t linear_take(struct linear *l, const struct var *v, bool *clean);
/* What k*v + rest >= 0 says of v: its lower bound for k > 0, its exclusive upper bound for k <
 * 0. */
const struct expr *linear_bound(struct ir *ir, const struct linear *rest, int64_t k);
/* A vector subscript as base + offset[lane]: false if its lanes are not a known pattern. */
bool lanes_of(struct ir *ir, const struct expr *e, const struct expr **base,
              int64_t off[LANES_MAX]);
/* base = div * t + rem with 0 <= rem < div, if every term of the linear form shows it. */
bool expr_split_multiple(struct ir *ir, const struct expr *base, int64_t div, const struct expr **t,
                         int64_t *rem);

/* ---- lanes: pick.c --------------------------------------------------------------------------- */

/* The subscript with lanes base + off[lane]: lanes_of the other way. */
const struct expr *lanes_make(struct ir *ir, const struct expr *base, const int64_t *off,
                              int lanes);
/* Lanes lane[0..n) of vectors; memo_fini(&p.memo) when done, memo_clear when the lanes change. */
struct lanes_pick {
    struct ir *ir;
    int n;
    int lane[LANES_MAX];
    struct memo memo;
};
const struct expr *lanes_pick(struct lanes_pick *p, const struct expr *e);

/* ---- blocks: boxes.c ------------------------------------------------------------------------- */

/* The dimension in which v alone moves the box, and by how much; -1: none, or several. */
int box_moved(const struct region *box, const struct var *v, int64_t *step);
/* Makes the box of what `body` writes (or reads) of t no longer than `size` in one dimension, if it
 * is or guards see to it; else false. */
bool box_clip(const struct nest *n, struct stmt *body, const struct tensor *t, bool written,
              struct region *box, int dim, int64_t size);

/* ---- sizes: span.c --------------------------------------------------------------------------- */

/* The real number is 0, not finite, or its magnitude within [least, most]. */
struct span {
    double least, most;
    bool positive; /* above zero, or NaN */
};
struct span_of_tensor {
    const struct tensor *t;
    struct span span;
};
/* {.n = nest} to begin: what is known of temporaries is kept. steps: 0 before each question. */
enum { SPAN_STEPS = 500 };
struct spans {
    const struct nest *n;
    int steps;
    VEC(struct span_of_tensor) known;
};
void spans_fini(struct spans *s);
struct span span_of(struct spans *s, const struct expr *e);

/* ---- trees: tree.c --------------------------------------------------------------------------- */

/* Children first; fn gives the replacement (a BLOCK is spliced), NULL removes. Empty loops, IFs,
 * lets go. */
typedef struct stmt *rewrite_fn(struct low *l, struct stmt *s, void *ctx);
void rewrite(struct low *l, struct stmt *root_block, rewrite_fn *fn, void *ctx);
void rewrite_both(struct low *l, rewrite_fn *fn, void *ctx); /* body and pack */
/* Maps the expressions of both entries, one statement at a time. */
void map_both(struct low *l, expr_map_fn *fn, void *ctx);

bool stmt_is_empty(const struct stmt *s);
struct stmt *stmt_only(struct stmt *body); /* the one statement of a body, or NULL */
struct stmt *stmt_mask(struct stmt *s);    /* the IF on lanes right around a store, or NULL */
bool loop_is_const(const struct stmt *loop, int64_t *lo, int64_t *hi);
bool loop_constant_extent(const struct stmt *loop, int64_t *n); /* hi - lo, if constant */
/* Does e move with a vector loop around s? */
bool under_vector_loop(const struct stmt *s, const struct expr *e);
/* What must hold at `outer` for the conjunct to hold somewhere below it, on the way to s; NULL: not
 * a bound. */
const struct expr *cond_somewhere(struct low *l, const struct stmt *outer, const struct stmt *s,
                                  const struct expr *conj);
/* What statements change: the variables that LETs bind, the tensors stored to. changes_note one by one,
 * changes_fini at the end. */
struct changes {
    VEC(const struct var *) var;
    VEC(const struct tensor *) tensor;
};
void changes_note(struct changes *c, const struct stmt *s);
bool changes_tensor(const struct changes *c, const struct tensor *t);
bool changes_var(const struct changes *c,
                 const struct expr *e); /* does e use one of the variables? */
void changes_fini(struct changes *c);
const char *fresh_suffix(struct low *l, const char *kind);
struct stmt *copy_fresh(struct low *l, const struct stmt *s, const char *kind);
/* Environment at a statement, remembered for the statement's siblings. */
struct near {
    const struct stmt *parent;
    struct env *env;
};
struct env *env_near(struct low *l, struct near *near, const struct stmt *s);
/* Drops what the environment proves from every IF and guarded load. */
void prove_guards(struct low *l);

/* ---- counting: count.c ----------------------------------------------------------------------- */

double count_flops(const struct nest *n, const int64_t *dyn);
int64_t count_nodes(const struct nest *n);

#endif
