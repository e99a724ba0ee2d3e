/* check_int: what the two halves of the checker share: expressions (check.c) and items
 * (check_item.c). */
#ifndef QN_DSL_CHECK_INT_H
#define QN_DSL_CHECK_INT_H

#include "dsl/ast.h"

enum { SEEN_MAX = 1100, LOCALS_MAX = 96 };

struct checker {
    struct op_file *f;
    struct err *e;
    struct operator* op;
    const struct item *seen[SEEN_MAX]; /* items visible here */
    int nseen;
    /* items of this body, for tensors (which may be used before they are declared) */
    const struct item *all[SEEN_MAX];
    int nall;
    const char *local[LOCALS_MAX];
    int nlocal;
    int nhidden; /* indices around a place that must not use them */
    bool data;   /* reads and indices allowed */
    bool size;   /* in an extent or the end of a range */
};

bool check_fail(struct checker *c, int line, int col, const char *code, const char *msg,
                const char *name);
bool check_is_value(const struct item *it);
bool check_is_symbol(const struct operator* op, const char *name);
bool check_knows_value(const struct checker *c, const char *name);
/* Rank of a tensor or table, -1 if there is none of this name. */
int check_rank_of(const struct checker *c, const char *name);
bool check_is_type(const struct checker *c, const char *name);
bool check_bad_arity(struct checker *c, const struct node *n, int want);
bool check_push_local(struct checker *c, const char *name, int line, int col);
/* Known with the task: no data, no indices. NULL is fine. */
bool check_const(struct checker *c, const struct node *n);
bool check_size(struct checker *c, const struct node *n); /* the same, of extents and ranges */
bool check_node(struct checker *c, const struct node *n);

#endif
