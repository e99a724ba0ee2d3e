/* task: tests/ops/xcorr.op:C=256,H=31,R=7,S=7,W=31 */
/* orders tried (outermost first): y 120;
 * us of the whole, best compiler: y qscpr 285, sqcpr 288, prcqs 294, rpcqs 307 */
enum { H = TASK_H, W = TASK_W, C = TASK_C, R = TASK_R, S = TASK_S, P = H - R + 1, Q = W - S + 1 };
static inline void plain(const float *restrict x, const float *restrict z, float *restrict y)
{
    for (int q = 0; q < Q; q++) {
        for (int p = 0; p < P; p++)
            for (int c = 0; c < C; c++) y[(p * Q + q) * C + c] = 0;
        for (int s = 0; s < S; s++)
            for (int c = 0; c < C; c++)
                for (int p = 0; p < P; p++)
                    for (int r = 0; r < R; r++)
                        y[(p * Q + q) * C + c] +=
                            x[((p + r) * W + q + s) * C + c] * z[(r * S + s) * C + c];
    }
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2]); }
