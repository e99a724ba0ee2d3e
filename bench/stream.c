/* stream: the memory traffic of an operator and nothing else: every operand is read once, every
 * result written once, side by side from front to back.
 *
 *   stream(in, in_bytes, nin, out, out_bytes, nout)       sizes in bytes
 *
 * No kernel that reads all of its operands from memory can be faster: bench/compare times it as the
 * peer `stream` (clang-19 -O3 -march=native), a roof beside the peers that compute. An operator
 * whose data fits a near cache is far above it, one with reuse may be above it too (padding, taps
 * that skip elements). */
#include <stdint.h>

typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));

enum { STEP = 1024 }; /* bytes of the largest array a turn */

void stream(const char *const *in, const int64_t *in_bytes, int nin, char *const *out,
            const int64_t *out_bytes, int nout)
{
    int64_t most = 0;
    for (int t = 0; t < nin; t++) most = in_bytes[t] > most ? in_bytes[t] : most;
    for (int t = 0; t < nout; t++) most = out_bytes[t] > most ? out_bytes[t] : most;
    int64_t turns = (most + STEP - 1) / STEP;
    vec sum = {0};
    for (int64_t s = 0; s < turns; s++) {
        for (int t = 0; t < nin; t++) {
            int64_t n = in_bytes[t] / 64, hi = n * (s + 1) / turns;
            for (int64_t i = n * s / turns; i < hi; i++) sum += *(const vec *)(in[t] + i * 64);
        }
        for (int t = 0; t < nout; t++) {
            int64_t n = out_bytes[t] / 64, hi = n * (s + 1) / turns;
            for (int64_t i = n * s / turns; i < hi; i++) *(vec *)(out[t] + i * 64) = sum;
        }
    }
}
