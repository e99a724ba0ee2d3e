/* e2e_shapes: random tasks of the operators, for e2e_run. Sizes are biased towards small, but
 * primes, ones and the largest sizes occur; the work of one task is bounded, so that its reference
 * stays quick. */
#ifndef T_E2E_SHAPES_H
#define T_E2E_SHAPES_H

#include "lib/e2e.h"

void e2e_conv(struct rng *r, struct e2e_shape *s, int *threads);
void e2e_conv_small(struct rng *r, struct e2e_shape *s,
                    int *threads); /* for emitted C under sanitizers */
void e2e_matmul(struct rng *r, struct e2e_shape *s, int *threads);
void e2e_matmul_small(struct rng *r, struct e2e_shape *s, int *threads);

#endif
