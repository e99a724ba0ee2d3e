/* sizes: the dynamic extents at which one kernel is checked.
 *
 *   struct check_sizes s; check_sizes(task, naive, trace, lanes, lib, arena, &s);
 *   N dynamic, split by 6, 16 lanes, tuned at 100:   0 1 5 6 7 15 16 17 100
 *
 * That is where bounds, tails and empty loops go wrong: nothing at all, one, around a vector and around
 * each block that the schedule makes of the axis, by a split (of a fused loop too) or by two phases;
 * two iterations where they overlap. Of several dynamic extents one varies while the others stay at the
 * tuning point; and all are 0 and 1 together. Where the operator begins later, y[T - R + 1] at
 * T = R - 1, `require N >= 2`, its least size takes the place of 0. */
#ifndef QN_SIZES_H
#define QN_SIZES_H

#include "dsl/dsl.h"
#include "sched/sched.h"

struct check_sizes {
    int ndyn, n;
    int64_t *dyn; /* n rows of ndyn values; the tuning point is the last */
    /* A row that the operator takes and of which no extent can be smaller, as far as was asked (up
     * to the tuning point); and of each extent the first size above that which it refuses with the
     * others as tuned, -1: none seen. */
    int64_t *least, *refused;
};
/* naive: the task's own loops. lanes: of a vector of the machine. lib: sizes that the operator itself
 * refuses (a `require`, an extent N - 2 below zero) are left out (NULL: none is). A task without
 * dynamic extents has n = 0. */
void check_sizes(const struct task *t, const struct nest *naive, const struct trace *trace,
                 int lanes, struct op_lib *lib, struct arena *a, struct check_sizes *out);

#endif
