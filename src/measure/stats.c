/* stats: order statistics; the confidence sequence is explained in stats.h.
 *
 *   stats_interval_rank(12, 0.002) == 0        all 12 samples agree: [smallest, largest]
 *   stats_interval_rank(11, 0.002) == -1 */
#include "measure/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *sorted(const double *v, size_t n)
{
    double *s = mem_new(n * sizeof *s + 1);
    if (n) memcpy(s, v, n * sizeof *s);
    qsort(s, n, sizeof *s, by_value);
    return s;
}

double stats_quantile(const double *v, size_t n, double q)
{
    if (n == 0) return NAN;
    double *s = sorted(v, n);
    double at = q * (double)(n - 1);
    size_t i = at < 0 ? 0 : (size_t)at;
    if (i >= n - 1) i = n - 1;
    double next = s[i + 1 < n ? i + 1 : i];
    double out = s[i] + (next - s[i]) * (at - (double)i);
    mem_free(s);
    return out;
}

double stats_median(const double *v, size_t n) { return stats_quantile(v, n, 0.5); }

double stats_mad(const double *v, size_t n)
{
    if (n == 0) return NAN;
    double m = stats_median(v, n);
    double *d = mem_new(n * sizeof *d);
    for (size_t i = 0; i < n; i++) d[i] = fabs(v[i] - m);
    double out = 1.4826 * stats_median(d, n);
    mem_free(d);
    return out;
}

/* log M_n for s of n samples on one side. */
static double log_evidence(size_t n, size_t s)
{
    double a = (double)s + 0.5, b = (double)(n - s) + 0.5;
    return (double)n * log(2) + lgamma(a) + lgamma(b) - lgamma((double)n + 1) - log(M_PI);
}

int64_t stats_interval_rank(size_t n, double alpha)
{
    /* evidence falls as the split becomes even: find the first s below the limit; the interval ends
     * there */
    double limit = log(1 / alpha);
    size_t lo = 0, hi = n / 2;
    if (n == 0 || log_evidence(n, hi) >= limit) return n ? (int64_t)hi : -1; /* alpha near 1 */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (log_evidence(n, mid) < limit)
            hi = mid;
        else
            lo = mid + 1;
    }
    return (int64_t)lo - 1;
}

double stats_median_interval(double *v, size_t n, double alpha, double *lo, double *hi)
{
    int64_t k = stats_interval_rank(n, alpha);
    *lo = -INFINITY;
    *hi = INFINITY;
    if (n == 0) return NAN;
    qsort(v, n, sizeof *v, by_value);
    if (k > (int64_t)(n - 1) / 2) k = (int64_t)(n - 1) / 2;
    if (k >= 0) *lo = v[k], *hi = v[(int64_t)n - 1 - k];
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

void stats_interval(const double *v, size_t n, double alpha, double *lo, double *hi)
{
    double *s = sorted(v, n);
    stats_median_interval(s, n, alpha, lo, hi);
    mem_free(s);
}
