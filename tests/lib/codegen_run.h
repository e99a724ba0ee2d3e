/* codegen_run: compile a kernel-form nest written as text, map it R-X, run it, compare with the
 * interpreter.
 *
 *   struct cgrun r;
 *   cgrun_open(&r, text);  cgrun_compile(&r, &opt);  cgrun_fill(&r, CGRUN_SMALL, 1);
 *   ck_assert_int_eq(cgrun_check(&r, NULL), 0);    bitwise, all outputs
 *   cgrun_close(&r);
 *
 * Buffers end at a page that cannot be touched, so an over-read or over-write dies. */
#ifndef T_CODEGEN_RUN_H
#define T_CODEGEN_RUN_H

#include "codegen/codegen.h"

enum cgrun_fill {
    CGRUN_SMALL /* integers -4..4 */,
    CGRUN_WILD /* any bits of an integer; awkward finite floats */
};
enum { CGRUN_TENSORS = 64 };

struct par {
    void (*run)(void *ctx, int32_t (*body)(void *arg, int64_t i, int64_t worker), void *arg,
                int64_t n);
    void *ctx;
    int64_t threads;
};
typedef int32_t cgrun_kernel(void *const *buf, const int64_t *dyn, void *scratch,
                             const struct par *par);

struct cgrun {
    struct ir *ir;
    struct nest *nest;
    struct kernel k;
    struct target t;
    struct artefact art;
    uint8_t *code;
    void *buf[CGRUN_TENSORS], *want[CGRUN_TENSORS]; /* by position in nest->tensor */
    size_t bytes[CGRUN_TENSORS], mapped[CGRUN_TENSORS];
    void *map[CGRUN_TENSORS];
    int64_t dyn[8];
    uint8_t *scratch;
    struct err e;
};

void cgrun_host(struct target *t); /* facts of this machine, from LLVM's view of it */
void cgrun_open(struct cgrun *r, const char *text);
void cgrun_scratch(struct cgrun *r); /* TEMP tensors one after the other */
enum rc cgrun_compile(struct cgrun *r, const struct codegen_options *o);
void cgrun_map(struct cgrun *r);
/* After r->dyn is set: sizes, allocates and fills every buffer. */
void cgrun_fill(struct cgrun *r, enum cgrun_fill how, uint64_t seed);
/* Runs pack (if any) and kernel, and the interpreter; returns how many output bytes differ. */
int64_t cgrun_check(struct cgrun *r, const struct par *par);
int64_t cgrun_compare(struct cgrun *r); /* buf against want, after running by other means */
void cgrun_interp(struct cgrun *r);     /* fills want */
cgrun_kernel *cgrun_entry(struct cgrun *r, int64_t at);
void cgrun_close(struct cgrun *r);
bool cgrun_host_is_v4(void);
int cgrun_count(const char *text, const char *word); /* how often the word stands there */

#endif
