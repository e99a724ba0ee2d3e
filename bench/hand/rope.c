/* task: tests/ops/rope.op:D=64,H=12,T=512 */
#include <math.h>
enum { T = 512, H = 12, D = 64, L = D / 2 };
void hand(void *const *buf)
{
    const float *restrict x = buf[0], *restrict a = buf[1];
    float *restrict y = buf[2];
    for (int t = 0; t < T; t++) {
        float c[L], s[L];
        for (int d = 0; d < L; d++) c[d] = cosf(a[t * L + d]), s[d] = sinf(a[t * L + d]);
        for (int h = 0; h < H; h++) {
            const float *restrict p = x + (t * H + h) * D;
            float *restrict q = y + (t * H + h) * D;
            for (int d = 0; d < L; d++) {
                q[d] = p[d] * c[d] - p[d + L] * s[d];
                q[d + L] = p[d + L] * c[d] + p[d] * s[d];
            }
        }
    }
}
