/* task: tests/ops/qdq.op:M=384,N=1000 */
/* orders tried (outermost first): top 2, q 2, y 2;
 * us of the whole, best compiler: top mn 68, nm 218; q mn 67, nm 68; y mn 68, nm 68 */
#include <math.h>
#include <stdint.h>
enum { M = TASK_M, N = TASK_N };
static inline void plain(const float *restrict x, int8_t *restrict q, float *restrict scale,
                         float *restrict y)
{
    static float top[M], s[M];
    for (int m = 0; m < M; m++) {
        float most = 0;
        for (int n = 0; n < N; n++) most = fmaxf(most, fabsf(x[m * N + n]));
        top[m] = most;
    }
    for (int m = 0; m < M; m++) s[m] = fmaxf(top[m], 1e-20f) / 127;
    for (int m = 0; m < M; m++) scale[m] = s[m];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++)
            q[m * N + n] = (int8_t)fminf(fmaxf(rintf(x[m * N + n] / s[m]), -128), 127);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) y[m * N + n] = (float)q[m * N + n] * s[m];
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2], buf[3]); }
