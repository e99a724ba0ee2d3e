/* task: tests/ops/l2norm.op:M=1000,N=256 */
/* orders tried (outermost first): len 2, y 2;
 * us of the whole, best compiler: len mn 34, nm 125; y mn 33, nm 33 */
#include <math.h>
enum { M = TASK_M, N = TASK_N };
static inline void plain(const float *restrict x, float *restrict y)
{
    static float len[M];
    for (int m = 0; m < M; m++) {
        float sum = 0;
        for (int n = 0; n < N; n++) sum += x[m * N + n] * x[m * N + n];
        len[m] = sum;
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) y[m * N + n] = x[m * N + n] / fmaxf(sqrtf(len[m]), 1e-12f);
}
void hand(void *const *buf) { plain(buf[0], buf[1]); }
