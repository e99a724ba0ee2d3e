/* task: tests/ops/xcorr.op:C=256,H=31,R=7,S=7,W=31 */
enum { H = 31, W = 31, C = 256, R = 7, S = 7, P = H - R + 1, Q = W - S + 1 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0], *restrict z = buf[1];
    float *restrict y = buf[2];
    for (int p = 0; p < P; p++)
        for (int q = 0; q < Q; q++) {
            float acc[C] = {0};
            for (int r = 0; r < R; r++)
                for (int s = 0; s < S; s++)
                    for (int c = 0; c < C; c++)
                        acc[c] += x[((p + r) * W + q + s) * C + c] * z[(r * S + s) * C + c];
            for (int c = 0; c < C; c++) y[(p * Q + q) * C + c] = acc[c];
        }
}
