/* task: tests/ops/swiglu.op:K=256,M=64,N=512 */
/* orders tried (outermost first): a 6, b 6, y 2;
 * us of the whole, best compiler: a mkn 637, kmn 846; b mkn 633, kmn 842; y mn 625, nm 749 */
#include <math.h>
enum { M = TASK_M, K = TASK_K, N = TASK_N };
static inline void plain(const float *restrict x, const float *restrict w, const float *restrict v,
                         float *restrict y)
{
    static float a[M * N], b[M * N];
    for (int m = 0; m < M; m++) {
        for (int n = 0; n < N; n++) a[m * N + n] = 0;
        for (int k = 0; k < K; k++)
            for (int n = 0; n < N; n++) a[m * N + n] += x[m * K + k] * w[k * N + n];
    }
    for (int m = 0; m < M; m++) {
        for (int n = 0; n < N; n++) b[m * N + n] = 0;
        for (int k = 0; k < K; k++)
            for (int n = 0; n < N; n++) b[m * N + n] += x[m * K + k] * v[k * N + n];
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++)
            y[m * N + n] = a[m * N + n] * (1 / (1 + expf(-a[m * N + n]))) * b[m * N + n];
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2], buf[3]); }
