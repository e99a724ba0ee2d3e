/* job: a task as the runner sees it: operands, reference kernel, tolerances.
 *
 *   job_recipe(task, "direct", "", &recipe, &e);
 *   job_task(&wire_task, task, &recipe, &reference, target, arena, &e);   for VERIFY, SCREEN, RACE
 *   job_blob(&blob, &result, target, arena);       a candidate's code; points into the result
 *
 * Invariant: the same task and recipe give the same bytes, so the runner computes each reference
 * once. */
#ifndef QN_JOB_H
#define QN_JOB_H

#include "codegen/codegen.h"
#include "compile/compile.h"
#include "compile/sizes.h"
#include "wire/wire.h"

/* Pointers of *out live in `a` and in `reference` (which must outlive it). RC_INPUT "job.dtype" for
 * types the runner cannot hold, "job.buffers" for too many tensors. */
enum rc job_task(struct wire_task *out, const struct task *task, const struct data_recipe *recipe,
                 const struct compile_result *reference, const struct target *target,
                 struct arena *a, struct err *e);
void job_blob(struct wire_blob *out, const struct compile_result *r, const struct target *target,
              struct arena *a);
/* Recipe of one algorithm of the task, from its naive nest. */
enum rc job_recipe(const struct task *task, const char *algorithm, const char *params,
                   struct data_recipe *out, struct err *e);
/* FLOPs of the op's valid taps and compulsory bytes (each operand once), algorithm direct. */
enum rc job_work(const struct task *task, double *flops, double *bytes, struct err *e);
/* What an emitted test runs: each of the sizes, with data that the operator allows at that size;
 * into o->row, o->rows. lib: where the task's operator is found. */
enum rc job_test_rows(const struct task *t, const struct nest *naive, const struct check_sizes *s,
                      struct op_lib *lib, struct arena *a, struct c_options *o, struct err *e);

#endif
