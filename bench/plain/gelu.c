/* task: tests/ops/gelu.op:N=151296 */
/* orders tried: one, there is one loop;
 * gcc 77 us, clang 2984, clang -fveclib=libmvec 3054 (clang 19 does not find tanhf in libmvec) */
#include <math.h>
enum { N = TASK_N };
static inline void plain(const float *restrict x, float *restrict y)
{
    for (int n = 0; n < N; n++)
        y[n] = 0.5f * x[n] *
               (1 + tanhf(0.7978845608028654f * (x[n] + 0.044715f * x[n] * x[n] * x[n])));
}
void hand(void *const *buf) { plain(buf[0], buf[1]); }
