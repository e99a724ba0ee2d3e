/* sched's own parts that other rooms do not see.
 *
 * A step is done in two moves: legal_<prim> reads the nest, fills a plan with everything it looked
 * up (loops, factor, box) or says why not; apply_<prim> edits the nest from the plan and cannot
 * fail.
 *
 * Invariants: legality never edits a statement; apply asks no questions; nothing is remembered
 * between steps except what the nest itself shows. */
#ifndef QN_SCHED_PRIVATE_H
#define QN_SCHED_PRIVATE_H

#include "sched/sched.h"

/* The words after a split's factor, in the order of tail_words[]. */
enum policy {
    POLICY_EXACT,
    POLICY_GUARD,
    POLICY_PEEL,
    POLICY_MASK,
    POLICY_SHIFT,
    POLICY_PAD,
    POLICY_COUNT
};
extern const char *const policy_names[POLICY_COUNT];

enum {
    NAME_MAX_LEN = 60,
    LEAF_MAX = 64,
    READ_MAX = 64,
    UNROLL_MAX = 256,
    LANES_MAX = 64,
    REG_MAX = 128,
    STACK_MAX = 12288
};

struct plan {
    struct nest *n;
    const struct step *step;
    struct rejection *r;
    struct stmt *loop[STEP_ARGS];
    int nloop;
    struct stmt *stage, *leaf;
    struct stmt *at; /* the loop a copy or stage goes into; NULL = root */
    struct tensor *tensor;
    int64_t factor;
    enum policy policy;
    enum scope scope;
    const char *name[2];
    struct region box;
    int order[REGION_RANK];  /* order[j] = dimension of the tensor stored j-th */
    const struct expr *fill; /* value of the copy outside the tensor */
    int nlead;               /* pack: loops whose variables the box starts with */
    struct stmt *lead[REGION_RANK];
    struct stmt *front; /* cache at the root: the first stage that reads */
};

#define X(e, s, args, doc)          \
    bool legal_##e(struct plan *p); \
    void apply_##e(struct plan *p);
#include "sched/prims.def"
#undef X

/* Fills the plan's rejection; always false, so legality reads `return refuse(p, REJECT_X, ...)`. */
bool refuse(struct plan *p, enum reject code, const char *fmt, ...) QN_PRINTF(3, 4);
/* NULL if the arguments fit the primitive's row, else a static sentence; *bad is the index at
 * fault. */
const char *args_check(enum prim prim, int n, const char *const *arg, int *bad);
bool name_valid(const char *s);
bool policy_parse(const char *s, enum policy *out);
bool scope_parse(const char *s, enum scope *out);

/* ---- looking at nests (look.c) ---- */

/* Statements below and including s of one kind set, preorder; returns how many, stores at most
 * max. */
int stmt_leaves(struct stmt *s, struct stmt **out, int max);
bool stmt_is_leaf(const struct stmt *s);
/* A stage that is one chain of loops and guards down to one leaf: that leaf, else NULL. */
struct stmt *stage_leaf(struct stmt *stage);
/* Its leaf, if the stage is also as the dsl made it: serial loops from 0, no guards, subscripts
 * plain variables. */
struct stmt *stage_untouched(struct stmt *stage);
/* Targets of a STORE or UPDATE. */
int leaf_targets(const struct stmt *leaf, struct tensor **out);
const struct expr **leaf_idx(const struct stmt *leaf);
bool leaf_writes(const struct stmt *leaf, const struct tensor *t);
/* The loop around s (s included) that binds v, or NULL. */
struct stmt *loop_of_var(struct stmt *s, const struct var *v);
bool stmt_below_kind(struct stmt *s,
                     enum loop_kind kind); /* s or an ancestor is a loop of that kind */
bool loop_extent(const struct stmt *loop, int64_t *extent); /* constant lo and hi */
bool stmt_reads(struct stmt *s, const struct tensor *t);    /* anywhere below s */
bool stmt_writes(struct stmt *s, const struct tensor *t);
struct stmt *alloc_of(const struct nest *n, const struct tensor *t);
bool nest_name_used(const struct nest *n, const char *name);
/* Does some subscript of what leaf writes hold v below a MIN (a shifted tail)? */
bool leaf_overlaps(const struct stmt *leaf, const struct var *v);
/* Is `reduce` set on a loop between leaf and its own stage whose variable e uses? */
bool uses_own_reduce(struct stmt *leaf, const struct expr *e);
/* Are all accesses of the leaf (values and targets) surely inside their tensors without the guard
 * `skip`? */
bool leaf_safe_without(struct nest *n, struct stmt *leaf, const struct stmt *skip);
bool load_in_bounds(struct ir *ir, const struct env *env, const struct tensor *t,
                    const struct expr *const *idx);
/* Environment of s as env_at, but without the facts of the IF `skip`. */
struct env *env_without(struct nest *n, struct stmt *s, const struct stmt *skip);
/* The same, without the guards over reduce variables of s's stage: they do not hold where an UPDATE
 * starts (ir I5), so nothing that the start shares with the update (subscripts, other guards) may
 * lean on them. */
struct env *env_start(struct nest *n, struct stmt *s, const struct stmt *skip);
/* What holds for all lanes: without the guards over vector loops. A subscript simplified by what
 * one lane's guard says would no longer be a vector's. */
struct env *env_uniform(struct nest *n, struct stmt *s, bool start);
const struct expr *expr_lt(struct ir *ir, const struct expr *a, const struct expr *b);
const struct expr *expr_ge0(struct ir *ir, const struct expr *a);
const struct expr *expr_tidy(struct ir *ir, const struct expr *e); /* simplified without facts */
struct stmt *stmt_sole(struct stmt *s); /* through blocks of one statement */
/* `by` (STAGE FOR IF LET ALLOC) takes the place of s, which becomes its body. */
void stmt_wrap(struct stmt *s, struct stmt *by);
void nest_drop_tensor(struct nest *n,
                      const struct tensor *t); /* from the list; an ALLOC declares it instead */
/* Wrap s in IF cond (in place). */
void guard_stmt(struct nest *n, struct stmt *s, const struct expr *cond);
int64_t tensor_const_elements(const struct tensor *t); /* -1: dynamic */

/* ---- shared by edits ---- */

struct stmt *own_stage(struct stmt *s); /* the nearest stage around s, or s */
/* The loops of s's own stage around s, outermost first. */
int own_loops(struct stmt *s, struct stmt **out, int max);
/* Name of a loop of the partial stage NAME that rfactor makes of `stage`; false if it is too
 * long. */
bool rfactor_name(const struct stmt *stage, const char *name, const struct stmt *loop, char *out,
                  size_t size);
/* The stage and the allocations of its tensors become the start of the loop's body. */
void body_prepend(struct nest *n, struct stmt *loop, struct stmt *stage, struct tensor *const *t,
                  int nt);

#endif
