/* task: tests/ops/qdq.op:M=384,N=1000 */
#include <math.h>
#include <stdint.h>
enum { M = 384, N = 1000 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0];
    int8_t *restrict q = buf[1];
    float *restrict scale = buf[2], *restrict y = buf[3];
    for (int m = 0; m < M; m++) {
        float top = 0;
        for (int n = 0; n < N; n++) {
            float a = fabsf(x[m * N + n]);
            top = a > top ? a : top;
        }
        float s = fmaxf(top, 1e-20f) / 127, r = 1 / s;
        scale[m] = s;
        for (int n = 0; n < N; n++) {
            float v = rintf(x[m * N + n] * r);
            v = v > 127 ? 127 : v < -128 ? -128 : v;
            q[m * N + n] = (int8_t)v;
            y[m * N + n] = v * s;
        }
    }
}
