/* task: tests/ops/groupnorm.op:C=64,N=2,P=3136,groups=8 */
/* orders tried (outermost first): mean 8, var 8, y 4;
 * us of the whole, best compiler: mean npeg 346, pnge 348; var pnge 225, npge 242; y npc 232, pnc 232 */
#include <math.h>
enum { N = TASK_N, P = TASK_P, C = TASK_C, G = TASK_groups, E = C / G };
static inline void plain(const float *restrict x, const float *restrict gamma,
                         const float *restrict beta, float *restrict y)
{
    static float mean[N * G], var[N * G];
    for (int n = 0; n < N; n++) {
        for (int g = 0; g < G; g++) mean[n * G + g] = 0;
        for (int p = 0; p < P; p++)
            for (int e = 0; e < E; e++)
                for (int g = 0; g < G; g++) mean[n * G + g] += x[(n * P + p) * C + g * E + e];
        for (int g = 0; g < G; g++) mean[n * G + g] = mean[n * G + g] / (P * E);
    }
    for (int n = 0; n < N; n++)
        for (int g = 0; g < G; g++) var[n * G + g] = 0;
    for (int p = 0; p < P; p++)
        for (int n = 0; n < N; n++)
            for (int g = 0; g < G; g++)
                for (int e = 0; e < E; e++)
                    var[n * G + g] += (x[(n * P + p) * C + g * E + e] - mean[n * G + g]) *
                                      (x[(n * P + p) * C + g * E + e] - mean[n * G + g]);
    for (int n = 0; n < N; n++)
        for (int g = 0; g < G; g++) var[n * G + g] = var[n * G + g] / (P * E);
    for (int n = 0; n < N; n++)
        for (int p = 0; p < P; p++)
            for (int c = 0; c < C; c++)
                y[(n * P + p) * C + c] = (x[(n * P + p) * C + c] - mean[n * G + c / E]) /
                                             sqrtf(var[n * G + c / E] + 1e-5f) * gamma[c] +
                                         beta[c];
}
void hand(void *const *buf) { plain(buf[0], buf[1], buf[2], buf[3]); }
