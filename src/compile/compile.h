/* compile: one candidate, from texts to machine code, in one readable function (compile.c).
 *
 *   struct compiler *c; compiler_new(&c, op_text, task_token, target_text, &e);
 *   struct compile_result r; compile_candidate(c, trace_text, COMPILE_BLOB, &r);
 *   r.status == COMPILE_OK: r.art.blob ...;  compile_result_fini(&r);
 *
 * Everything enters as text, so the same call serves this process, a worker process (worker.h) and
 * later a build machine. LLVM may abort on a bad candidate: programs that must live call it through
 * a worker. Invariant: the same texts give the same blob hash. */
#ifndef QN_COMPILE_H
#define QN_COMPILE_H

#include "codegen/codegen.h"
#include "dsl/dsl.h"
#include "sched/sched.h"

enum compile_want {
    COMPILE_BLOB = 1,       /* machine code */
    COMPILE_LL = 2,         /* LLVM IR text */
    COMPILE_ASM = 4,        /* assembly text */
    COMPILE_STAGES = 8,     /* every stage that changed something, as text */
    COMPILE_VERIFY = 16,    /* nest_verify after each stage */
    COMPILE_C = 32,         /* both C forms among the stages (with COMPILE_STAGES) */
    COMPILE_REFERENCE = 64, /* ignore the trace: the naive kernel, lowered by no pass under test */
};

enum compile_status {
    COMPILE_OK,
    COMPILE_REJECTED, /* the schedule was refused: code is the rejection's name */
    COMPILE_FAILED,   /* a later stage refused it, or the compiler died */
};

struct compile_stage {
    char *name; /* "op", "nest", "scheduled", a pass such as "unroll", "kernel", "c", "c99", "ll",
                   "s" */
    char *text;
};

struct compile_result {
    enum compile_status status;
    char code[48];
    char msg[1600];
    struct artefact art;
    double flops;  /* executed per call */
    int64_t nodes; /* of the lowered kernel */
    int npacked;
    int64_t packed_bytes[32];
    int64_t build_ns, front_ns; /* whole; up to kernel form */
    struct compile_stage *stage;
    int nstage;
};
void compile_result_fini(struct compile_result *r);

struct compiler; /* parsed task and target, reused over candidates */

/* op_text: operator_text() of the operator. target_text: target_text() of the resolved target. */
enum rc compiler_new(struct compiler **out, const char *op_text, const char *task_token,
                     const char *target_text, struct err *e);
void compiler_free(struct compiler *c);
void compile_candidate(struct compiler *c, const char *trace_text, int want,
                       struct compile_result *r);

/* Up to kernel form, without code and without counting k->flops: for C emission and features. The
 * kernel lives in *ir, which the caller frees. RC_INPUT: the rejection is explained in e. */
enum rc compile_kernel(const struct task *task, const struct target *t, const struct trace *trace,
                       struct ir **ir, struct nest **naive, struct kernel *k, lower_dump_fn *dump,
                       void *dump_ctx, struct err *e);

/* What loads ask for ahead, by the trace's choice `prefetch`. */
enum ahead_of compile_ahead(const struct trace *t);
/* The machine as C of that form has it: plain C rounds a product before it is added, and of a*b + c*d a
 * compiler fuses the one or the other, or none, so that what is exact only with a certain fused operation (a
 * quotient by way of a reciprocal, a sine's argument) must not be lowered so. A copy
 * that lives no longer than t. */
struct target compile_target_of_c(const struct target *t, enum c_form form);

/* ---- what may be tried for a task ------------------------------------------------------------ */

/* Attributes, extents and derived keys of the task under their own names, target facts under
 * target.<key>, target.lanes (f32), threads. */
void compile_facts(const struct task *task, const struct target *t, int threads, struct facts *f);
enum { PLAN_SPACES = 16 };
struct plan {
    int n;
    struct space *space[PLAN_SPACES];
    char id[HASH_ID_LEN + 1]; /* of their texts: what a search can propose */
};
/* Every .sched file beside the operator whose `when` holds, for each algorithm that fits; an
 * algorithm without one gets a derived space. Never empty. dir: the schedules folder, NULL =
 * derived spaces only. */
enum rc compile_plan(const struct task *task, const struct target *t, int threads, const char *dir,
                     struct plan *out, struct err *e);
void plan_fini(struct plan *p);

#endif
