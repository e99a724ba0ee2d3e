/* task: tests/ops/rope.op:D=64,H=12,T=512 */
/* orders tried (outermost first): y low 6, y high 6;
 * us of the whole, best compiler: y low tdh 196, htd 309; y high tdh 68, thd 187 */
#include <math.h>
enum { T = TASK_T, H = TASK_H, D = TASK_D, L = D / 2 };
static inline void plain(const float *restrict x, const float *restrict angle, float *restrict y)
{
    for (int t = 0; t < T; t++)
        for (int d = 0; d < L; d++)
            for (int h = 0; h < H; h++)
                y[(t * H + h) * D + d] = x[(t * H + h) * D + d] * cosf(angle[t * L + d]) -
                                         x[(t * H + h) * D + d + L] * sinf(angle[t * L + d]);
    for (int t = 0; t < T; t++)
        for (int d = 0; d < L; d++)
            for (int h = 0; h < H; h++)
                y[(t * H + h) * D + L + d] = x[(t * H + h) * D + d + L] * cosf(angle[t * L + d]) +
                                             x[(t * H + h) * D + d] * sinf(angle[t * L + d]);
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2]); }
