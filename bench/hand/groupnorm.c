/* task: tests/ops/groupnorm.op:C=64,N=2,P=3136,groups=8 */
#include <math.h>
enum { N = 2, P = 3136, C = 64, G = 8, E = C / G };
void hand(void *const *buf)
{
    const float *restrict x = buf[0], *restrict ga = buf[1], *restrict be = buf[2];
    float *restrict y = buf[3];
    for (int n = 0; n < N; n++) {
        const float *restrict p = x + n * P * C;
        float *restrict o = y + n * P * C;
        float sum[C] = {0}, sq[C] = {0}, mul[C], add[C], mean[G], var[G];
        for (int i = 0; i < P; i++)
            for (int c = 0; c < C; c++) sum[c] += p[i * C + c];
        for (int g = 0; g < G; g++) {
            mean[g] = 0;
            for (int e = 0; e < E; e++) mean[g] += sum[g * E + e];
            mean[g] /= P * E;
        }
        for (int c = 0; c < C; c++) add[c] = mean[c / E];
        for (int i = 0; i < P; i++)
            for (int c = 0; c < C; c++) {
                float d = p[i * C + c] - add[c];
                sq[c] += d * d;
            }
        for (int g = 0; g < G; g++) {
            var[g] = 0;
            for (int e = 0; e < E; e++) var[g] += sq[g * E + e];
            var[g] = 1 / sqrtf(var[g] / (P * E) + 1e-5f);
        }
        for (int c = 0; c < C; c++) {
            mul[c] = var[c / E] * ga[c];
            add[c] = be[c] - mean[c / E] * mul[c];
        }
        for (int i = 0; i < P; i++)
            for (int c = 0; c < C; c++) o[i * C + c] = p[i * C + c] * mul[c] + add[c];
    }
}
