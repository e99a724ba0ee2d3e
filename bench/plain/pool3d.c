/* task: tests/ops/pool3d.op:C=32,D=32,H=56,R=3,W=56 */
/* orders tried (outermost first): y 140;
 * us of the whole, best compiler: y idhjwkc 347, idhjkwc 356, dhwcijk 360, dhwicjk 361 */
#include <float.h>
#include <math.h>
enum {
    D = TASK_D,
    H = TASK_H,
    W = TASK_W,
    C = TASK_C,
    R = TASK_R,
    OD = (D - R) / 2 + 1,
    OH = (H - R) / 2 + 1,
    OW = (W - R) / 2 + 1
};
static inline void plain(const float *restrict x, float *restrict y)
{
    for (int d = 0; d < OD; d++)
        for (int h = 0; h < OH; h++)
            for (int w = 0; w < OW; w++)
                for (int c = 0; c < C; c++) y[((d * OH + h) * OW + w) * C + c] = -FLT_MAX;
    for (int i = 0; i < R; i++)
        for (int d = 0; d < OD; d++)
            for (int h = 0; h < OH; h++)
                for (int j = 0; j < R; j++)
                    for (int w = 0; w < OW; w++)
                        for (int k = 0; k < R; k++)
                            for (int c = 0; c < C; c++)
                                y[((d * OH + h) * OW + w) * C + c] =
                                    y[((d * OH + h) * OW + w) * C + c] >
                                            x[(((d * 2 + i) * H + h * 2 + j) * W + w * 2 + k) * C +
                                              c]
                                        ? y[((d * OH + h) * OW + w) * C + c]
                                        : x[(((d * 2 + i) * H + h * 2 + j) * W + w * 2 + k) * C +
                                            c];
}
void hand(void *const *buf) { plain(buf[0], buf[1]); }
