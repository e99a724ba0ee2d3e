/* task: tests/ops/l2norm.op:M=1000,N=256 */
#include <math.h>
enum { M = 1000, N = 256 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0];
    float *restrict y = buf[1];
    for (int m = 0; m < M; m++) {
        float s = 0;
        for (int n = 0; n < N; n++) s += x[m * N + n] * x[m * N + n];
        float r = 1 / fmaxf(sqrtf(s), 1e-12f);
        for (int n = 0; n < N; n++) y[m * N + n] = x[m * N + n] * r;
    }
}
