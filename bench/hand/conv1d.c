/* task: tests/ops/conv1d.op:C=64,K=64,R=3,T=1000,dilation=2 */
enum { T = 1000, C = 64, K = 64, R = 3, DIL = 2, P = T - DIL * (R - 1) };
void hand(void *const *buf)
{
    const float *restrict x = buf[0], *restrict w = buf[1], *restrict b = buf[2];
    float *restrict y = buf[3];
    for (int p = 0; p < P; p++) {
        float acc[K];
        for (int k = 0; k < K; k++) acc[k] = b[k];
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                float v = x[(p + r * DIL) * C + c];
                for (int k = 0; k < K; k++) acc[k] += v * w[(r * C + c) * K + k];
            }
        for (int k = 0; k < K; k++) y[p * K + k] = acc[k];
    }
}
