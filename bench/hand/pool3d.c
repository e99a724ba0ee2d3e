/* task: tests/ops/pool3d.op:C=32,D=32,H=56,R=3,W=56 */
enum {
    D = 32,
    H = 56,
    W = 56,
    C = 32,
    R = 3,
    OD = (D - R) / 2 + 1,
    OH = (H - R) / 2 + 1,
    OW = (W - R) / 2 + 1
};
void hand(void *const *buf)
{
    const float *restrict x = buf[0];
    float *restrict y = buf[1];
    for (int d = 0; d < OD; d++)
        for (int h = 0; h < OH; h++)
            for (int w = 0; w < OW; w++) {
                float top[C];
                for (int c = 0; c < C; c++) top[c] = -3.4e38f;
                for (int i = 0; i < R; i++)
                    for (int j = 0; j < R; j++)
                        for (int k = 0; k < R; k++)
                            for (int c = 0; c < C; c++) {
                                float v =
                                    x[(((d * 2 + i) * H + h * 2 + j) * W + w * 2 + k) * C + c];
                                top[c] = v > top[c] ? v : top[c];
                            }
                for (int c = 0; c < C; c++) y[((d * OH + h) * OW + w) * C + c] = top[c];
            }
}
