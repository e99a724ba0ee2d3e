/* stats: order statistics and an interval for a median that may be looked at after every sample.
 *
 *   stats_interval(d, n, 0.002, &lo, &hi)     lo <= true median <= hi at *every* n at once, with
 *                                             probability >= 0.998
 *
 * The interval. Let S(m) be how many of n independent samples exceed m. If m is the median, each
 * exceeds it with probability 1/2, and for the Beta(1/2,1/2) mixture
 *
 *     M_n = 2^n B(S + 1/2, n - S + 1/2) / B(1/2, 1/2)
 *
 * is a non-negative martingale with mean 1 (Robbins, Ann. Math. Stat. 41, 1970; Howard and Ramdas,
 * Bernoulli 28(3), 2022). By Ville's inequality P(some n: M_n >= 1/alpha) <= alpha. The interval
 * holds every m with M_n < 1/alpha, so its ends are order statistics: distribution-free, no
 * bootstrap, no variance, and stopping when it looks good costs nothing. alpha = 0.002 needs at
 * least 12 samples that all agree; with fewer the interval is (-inf, inf).
 *
 * What it assumes: paired samples whose signs are independent. Interleaving in random order makes
 * the sign of a paired log-ratio symmetric under "no difference" whatever the drift. */
#ifndef QN_MEASURE_STATS_H
#define QN_MEASURE_STATS_H

#include "base/base.h"

/* NaN for n == 0. v is not changed. */
double stats_median(const double *v, size_t n);
/* Median absolute deviation from the median, times 1.4826 (a standard deviation for normal
 * data). */
double stats_mad(const double *v, size_t n);
double stats_quantile(const double *v, size_t n, double q);
/* Number of extreme samples to drop on each side at n looks: the interval is [v(k+1), v(n-k)] of
 * the sorted samples; -1 when n is too small to say anything. */
int64_t stats_interval_rank(size_t n, double alpha);
/* Both at once, sorting v in place. */
double stats_median_interval(double *v, size_t n, double alpha, double *lo, double *hi);
void stats_interval(const double *v, size_t n, double alpha, double *lo, double *hi);

#endif
