/* compare: the numeric check of one output tensor against its reference; used by runner, tests and
 * the emitted test alike, so that "correct" means one thing.
 *
 *   struct compare c = {.mode = CMP_BITS}; compare_f32(&c, got, want, NULL, n);
 *   c.bad == 0 ?  ok : element c.worst_at is off by c.max_err (its bound c.worst_bound)
 *
 *   CMP_BITS     equal bits, except that +0 and -0 are equal
 *   CMP_BOUND    |got - want| <= bound[i] (f64 array)
 *   CMP_REL_L2   ||got-want|| <= tol * ||want||, and each |err| <= 30*tol*rms(want) (the errors of
 *                fast convolutions differ a lot between the places of a tile); numbers kept in fewer bits than
 *                they are computed in (unit) may each fall on the other side: 4 units more of either
 *
 * NaN in `got` where `want` is finite is always bad. */
#ifndef QN_COMPARE_H
#define QN_COMPARE_H

#include "base/base.h"

enum cmp_mode { CMP_BITS, CMP_BOUND, CMP_REL_L2 };

struct compare {
    enum cmp_mode mode;
    double tol; /* CMP_REL_L2 */
    /* CMP_REL_L2: relative rounding of storage, 2^-11 for f16; 0: that of the numbers' own type */
    double unit;
    /* results */
    int64_t bad;        /* elements outside their bound */
    int64_t worst_at;   /* index of the largest error/bound ratio, -1 if none */
    double max_err;     /* largest |got - want| (inf for NaN) */
    double worst_bound; /* bound that element had */
    double worst_err;   /* its own |got - want| */
    double worst;       /* its error / bound; CMP_REL_L2: at least rel_l2 / tol; 0 = exact */
    double rel_l2;
};

void compare_f32(struct compare *c, const float *got, const float *want, const double *bound,
                 int64_t n);
void compare_f64(struct compare *c, const double *got, const double *want, const double *bound,
                 int64_t n);
/* Raw elements of `size` bytes, always bitwise. */
void compare_raw(struct compare *c, const void *got, const void *want, size_t size, int64_t n);

#endif
