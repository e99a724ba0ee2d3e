/* task: tests/ops/gelu.op:N=151296 */
#include <math.h>
enum { N = 151296 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0];
    float *restrict y = buf[1];
    for (int i = 0; i < N; i++)
        y[i] = 0.5f * x[i] * (1 + tanhf(0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
}
