/* task: tests/ops/rmsnorm.op:M=384,N=768 */
/* orders tried (outermost first): square 2, y 2;
 * us of the whole, best compiler: square mn 39, nm 140; y mn 42, nm 41 */
#include <math.h>
enum { M = TASK_M, N = TASK_N };
static inline void plain(const float *restrict x, const float *restrict g, float *restrict y)
{
    static float square[M];
    for (int m = 0; m < M; m++) {
        float sum = 0;
        for (int n = 0; n < N; n++) sum += x[m * N + n] * x[m * N + n];
        square[m] = sum;
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++)
            y[m * N + n] = x[m * N + n] / sqrtf(square[m] / N + 1e-6f) * g[n];
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2]); }
