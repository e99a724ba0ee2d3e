/* task: tests/ops/swiglu.op:K=256,M=64,N=512 */
#include <math.h>
enum { M = 64, K = 256, N = 512 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0], *restrict w = buf[1], *restrict v = buf[2];
    float *restrict y = buf[3];
    for (int m = 0; m < M; m++) {
        float a[N] = {0}, b[N] = {0};
        for (int k = 0; k < K; k++) {
            float s = x[m * K + k];
            for (int n = 0; n < N; n++) a[n] += s * w[k * N + n];
            for (int n = 0; n < N; n++) b[n] += s * v[k * N + n];
        }
        for (int n = 0; n < N; n++) y[m * N + n] = a[n] / (1 + expf(-a[n])) * b[n];
    }
}
