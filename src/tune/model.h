/* model: how long a lowered kernel should take, from its loops alone: the analytic ranking of the
 * draft.
 *
 *   double ns = model_time_ns(kernel, target);
 *
 * Good for ranking schedules of one task; not a prediction of time. */
#ifndef QN_MODEL_H
#define QN_MODEL_H

#include "ir/ir.h"
#include "target/target.h"

double model_time_ns(const struct nest *kernel, const struct target *t);

#endif
