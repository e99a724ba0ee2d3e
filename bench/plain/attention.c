/* task: tests/ops/attention.op:D=64,H=8,T=256 */
/* orders tried (outermost first): dot 10, each other nest 2; us of the whole, best compiler: dot hijd 2970,
 * ihjd 3113, ijhd 3180, hjid 3351, hdij 20826; the others hij (hji: s 4145, top 3282, e 3023, total 3237, p 3120) */
#include <float.h>
#include <math.h>
enum { H = TASK_H, T = TASK_T, D = TASK_D };
static inline void plain(const float *restrict q, const float *restrict k, float *restrict p)
{
    static float dot[H * T * T], s[H * T * T], top[H * T], e[H * T * T], total[H * T];
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++)
            for (int j = 0; j < T; j++) {
                float sum = 0;
                for (int d = 0; d < D; d++) sum += q[(h * T + i) * D + d] * k[(h * T + j) * D + d];
                dot[(h * T + i) * T + j] = sum;
            }
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++)
            for (int j = 0; j < T; j++)
                s[(h * T + i) * T + j] = j <= i ? dot[(h * T + i) * T + j] * 0.125f : -FLT_MAX;
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++) {
            float most = -FLT_MAX;
            for (int j = 0; j < T; j++) most = fmaxf(most, s[(h * T + i) * T + j]);
            top[h * T + i] = most;
        }
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++)
            for (int j = 0; j < T; j++)
                e[(h * T + i) * T + j] = expf(s[(h * T + i) * T + j] - top[h * T + i]);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++) {
            float sum = 0;
            for (int j = 0; j < T; j++) sum += e[(h * T + i) * T + j];
            total[h * T + i] = sum;
        }
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++)
            for (int j = 0; j < T; j++)
                p[(h * T + i) * T + j] = e[(h * T + i) * T + j] / total[h * T + i];
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2]); }
