/* task: tests/ops/attention.op:D=64,H=8,T=256 */
#include <math.h>
enum { H = 8, T = 256, D = 64 };
void hand(void *const *buf)
{
    const float *restrict q = buf[0], *restrict k = buf[1];
    float *restrict p = buf[2];
    static float kt[D * T];
    for (int h = 0; h < H; h++) {
        for (int j = 0; j < T; j++)
            for (int d = 0; d < D; d++) kt[d * T + j] = k[(h * T + j) * D + d];
        for (int i = 0; i < T; i++) {
            float row[T] = {0}, top = -3.4e38f, total = 0;
            float *restrict o = p + (h * T + i) * T;
            for (int d = 0; d < D; d++) {
                float v = q[(h * T + i) * D + d] * 0.125f;
                for (int j = 0; j <= i; j++) row[j] += v * kt[d * T + j];
            }
            for (int j = 0; j <= i; j++) top = row[j] > top ? row[j] : top;
            for (int j = 0; j <= i; j++) total += row[j] = expf(row[j] - top);
            float r = 1 / total;
            for (int j = 0; j <= i; j++) o[j] = row[j] * r;
            for (int j = i + 1; j < T; j++) o[j] = 0;
        }
    }
}
