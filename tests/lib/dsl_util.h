/* dsl_util: operators of schedules/ (or of a text) lowered and run by the interpreter.
 *
 *   struct dsl_run *r = dsl_run_open("matmul:M=2,N=3,K=4", "direct", "");
 *   float *a = dsl_run_buf(r, "a"); ... dsl_run_go(r); float *y = dsl_run_buf(r, "y");
 *   dsl_run_close(r);
 *
 * Every failure fails the test with the message of the room. */
#ifndef QN_TEST_DSL_UTIL_H
#define QN_TEST_DSL_UTIL_H

#include "base/rng.h"
#include "dsl/dsl.h"

struct dsl_run {
    struct op_lib *lib;
    struct task *task;
    struct ir *ir;
    struct nest *nest;
    void *buf[64];
};

struct op_lib *dsl_util_lib(void); /* of schedules/; free with op_lib_free */
struct dsl_run *dsl_run_open(const char *token, const char *algorithm, const char *params);
/* The same for the operator of a text; token names it. */
struct dsl_run *dsl_run_text(const char *text, const char *token, const char *algorithm,
                             const char *params);
void dsl_run_close(struct dsl_run *r);
void *dsl_run_buf(struct dsl_run *r, const char *tensor);
int64_t dsl_run_count(const struct dsl_run *r, const char *tensor);
void dsl_run_fill_int(struct dsl_run *r, struct rng *g, int lo,
                      int hi);                            /* every in and const f32 */
void dsl_run_fill_unit(struct dsl_run *r, struct rng *g); /* the same, reals in -1..1 */
void dsl_run_go(struct dsl_run *r);
/* Code of the error that the token (and lowering) gives; "" if none. Message in msg. */
const char *dsl_util_code(const char *text, const char *token, const char *algorithm,
                          const char *params, char msg[1600]);

#endif
