/* task: tests/ops/focal.op:C=80,N=5000 */
/* orders tried (outermost first): loss 2;
 * us of the whole, best compiler: loss nc 555, cn 850 */
#include <math.h>
#include <stdint.h>
enum { N = TASK_N, C = TASK_C };
static inline float p(float x) { return 1 / (1 + expf(-x)); }
static inline float pos(float x) { return p(x) * -1 + 1; }
static inline float nll(float v) { return logf(fmaxf(v, 1e-8f)) * -1; }
static inline void plain(const float *restrict x, const int32_t *restrict target,
                         float *restrict loss)
{
    for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++) {
            float hit = pos(x[n * C + c]) * pos(x[n * C + c]) * 0.25f * nll(p(x[n * C + c]));
            float miss = p(x[n * C + c]) * p(x[n * C + c]) * 0.75f * nll(1 - p(x[n * C + c]));
            loss[n * C + c] = target[n] == c ? hit : miss;
        }
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2]); }
