/* What parse.c (declarations, statements) and parse_expr.c (names, expressions) share. The
 * scanner's sticky error means every function may go on after a failure, and does so only with
 * valid (dummy) nodes. */
#ifndef QN_IR_PARSE_H
#define QN_IR_PARSE_H

#include "base/map.h"
#include "base/scan.h"
#include "ir/private.h"

enum { PARSE_DEPTH = 120, PARSE_SIZE = 8192, PARSE_NAME = 160, PARSE_LANES = 1024 };

struct parser {
    struct scan s;
    struct ir *ir;
    struct nest *n;
    struct map *vars, *tensors; /* live names; a name that went out of scope has NULL */
    int depth, size;
};

static inline bool parse_failed(const struct parser *p) { return p->s.err.rc != RC_OK; }
static inline const struct expr *parse_dummy(struct parser *p) { return expr_int(p->ir, 0); }

void parse_name(struct parser *p, char out[PARSE_NAME]);
const struct var *parse_declare_var(struct parser *p, const char *name, const struct tok *at,
                                    struct type t);
void parse_declare_tensor(struct parser *p, struct tensor *t, const struct tok *at);
struct tensor *parse_tensor_name(struct parser *p); /* NULL after an error */
void parse_end_line(struct parser *p);
bool parse_type(struct parser *p, struct type *out);
/* Comma list up to and over `close`; at most `most`. */
int parse_args(struct parser *p, const struct expr **a, int most, const char *close);
const struct expr *parse_top(struct parser *p);   /* a whole expression */
const struct expr *parse_index(struct parser *p); /* one that is an s64 scalar */

#endif
