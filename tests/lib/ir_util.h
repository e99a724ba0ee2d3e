/* ir_util: nests from text and back, for the tests of every room that handles nests. */
#ifndef QN_TEST_IR_UTIL_H
#define QN_TEST_IR_UTIL_H

#include "ir/ir.h"

/* Parses or fails the test with the message; lines are joined with '\n' by the caller. */
struct nest *ir_util_nest(struct ir *ir, const char *text);
/* Static ring of four buffers: good for one ck_assert_str_eq. */
const char *ir_util_expr(const struct expr *e);
const char *ir_util_text(const struct nest *n);
/* An expression over the variables of nest n (dyn extents and loops anywhere in it) and its
 * tensors. */
const struct expr *ir_util_parse_expr(struct ir *ir, const struct nest *n, const char *text);

#endif
