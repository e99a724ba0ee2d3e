/* task: tests/ops/focal.op:C=80,N=5000 */
#include <math.h>
#include <stdint.h>
enum { N = 5000, C = 80 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0];
    const int32_t *restrict target = buf[1];
    float *restrict loss = buf[2];
    for (int n = 0; n < N; n++) {
        int t = target[n];
        for (int c = 0; c < C; c++) {
            float p = 1 / (1 + expf(-x[n * C + c])), q = 1 - p;
            float a = c == t ? q : p, b = c == t ? p : q, w = c == t ? 0.25f : 0.75f;
            loss[n * C + c] = -a * a * w * logf(fmaxf(b, 1e-8f));
        }
    }
}
