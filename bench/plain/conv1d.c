/* task: tests/ops/conv1d.op:C=64,K=64,R=3,T=1000,dilation=2 */
/* orders tried (outermost first): acc 24, y 2;
 * us of the whole, best compiler: acc cpkr 220, cprk 225; y pk 220, kp 219 */
enum { T = TASK_T, C = TASK_C, K = TASK_K, R = TASK_R, DIL = TASK_dilation, P = T - DIL * (R - 1) };
static inline void plain(const float *restrict x, const float *restrict w, const float *restrict b,
                         float *restrict y)
{
    static float acc[P * K];
    for (int p = 0; p < P; p++)
        for (int k = 0; k < K; k++) acc[p * K + k] = 0;
    for (int c = 0; c < C; c++)
        for (int p = 0; p < P; p++)
            for (int k = 0; k < K; k++)
                for (int r = 0; r < R; r++)
                    acc[p * K + k] += x[(p + r * DIL) * C + c] * w[(r * C + c) * K + k];
    for (int p = 0; p < P; p++)
        for (int k = 0; k < K; k++) y[p * K + k] = acc[p * K + k] + b[k];
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2], buf[3]); }
