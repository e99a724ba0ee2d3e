/* verify: the tiers, and the comparison of a candidate's outputs with the reference's. */
#ifndef QN_SANDBOX_VERIFY_H
#define QN_SANDBOX_VERIFY_H

#include "sandbox/task.h"

struct check_case {
    const char *name;
    int tier;
    enum recipe recipe;
    uint64_t seed; /* index, mixed with the job's */
    enum stage_align align;
    uint8_t poison;
    int exact; /* 1: tasks that are exact on integers, 0: others, -1: all */
};

/* i-th check that applies to the task up to `tier`; NULL past the end. */
const struct check_case *check_at(const struct wire_task *t, int tier, size_t i);
/* The data the timing runs on: verified by tier 1's reference. */
const struct check_case *check_timed(const struct wire_task *t);
uint64_t check_seed(const struct job *job, const struct check_case *c);

/* Compares every output of the stage; fills verdict, text and error fields of *o; true when right.
 */
bool verify_outputs(struct job *job, struct task *t, const struct stage *g,
                    const struct check_case *c, const struct expect *x, struct wire_outcome *o);
/* crc32c over all outputs. */
uint32_t verify_crc(const struct stage *g);

/* A child for one check plus, optionally, the timing stage; the first command (CMD_RUN on stage 0)
 * is placed but nothing is forked. false: *o says why. */
bool verify_prepare(struct job *job, struct task *t, const struct wire_blob *blob,
                    const struct check_case *c, bool timed, int slot, struct child_spec *spec,
                    struct wire_outcome *o);
/* Waits for CMD_RUN's answer on a stage and judges it. */
bool verify_answer(struct job *job, struct task *t, struct kid *kid, int stage,
                   const struct check_case *c, struct wire_outcome *o);
/* The same after CMD_TIME on stage 1: a kernel whose timed outputs differ from the verified ones
 * did something else while timed, and is nondeterministic. */
bool verify_timed(struct job *job, struct task *t, struct kid *kid, struct wire_outcome *o);
/* All checks of a tier, each in its own child. Leaves *o as the verdict. */
bool verify_tier(struct job *job, struct task *t, const struct wire_blob *blob, int tier,
                 size_t first, int slot, struct wire_outcome *o);
/* Is the blob loadable and within the memory limit? */
bool verify_blob(struct job *job, const struct task *t, const struct wire_blob *blob,
                 struct wire_outcome *o);

#endif
