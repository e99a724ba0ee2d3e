/* task: tests/ops/rmsnorm.op:M=384,N=768 */
#include <math.h>
enum { M = 384, N = 768 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0], *restrict g = buf[1];
    float *restrict y = buf[2];
    for (int m = 0; m < M; m++) {
        float s = 0;
        for (int n = 0; n < N; n++) s += x[m * N + n] * x[m * N + n];
        float r = 1 / sqrtf(s / N + 1e-6f);
        for (int n = 0; n < N; n++) y[m * N + n] = x[m * N + n] * r * g[n];
    }
}
