/* compare: one loop over (got, want, bound) in doubles; the modes differ only in the bound.
 *
 *   got 1.5, want 1, bound 0.25   ->   bad 1, worst_at 0, max_err 0.5, worst_bound 0.25
 *
 * Invariants: results are overwritten, never added to; bad == 0 means accepted; an element that is
 * not finite on either side must be the same on both (both NaN, or the same infinity), whatever the
 * bound, so a NaN or an infinity never widens the budget of its neighbours. */
#include "base/compare.h"

#include <math.h>
#include <string.h>

static void start(struct compare *c)
{
    c->bad = 0;
    c->worst_at = -1;
    c->max_err = 0;
    c->worst_bound = 0;
    c->worst_err = 0;
    c->worst = 0;
    c->rel_l2 = 0;
}

/* Error of one element: 0 if the same, infinity where either side is not finite and they differ. */
static double element_err(double got, double want)
{
    if (got == want || (isnan(got) && isnan(want))) return 0;
    if (!isfinite(got) || !isfinite(want)) return INFINITY;
    return fabs(got - want);
}

struct sums {
    double err2, want2, worst_ratio;
    int64_t finite;
};

static void add_element(struct compare *c, struct sums *s, int64_t i, double err, double bound,
                        bool bad)
{
    double ratio = err == 0 && !bad ? 0 : bound > 0 && !isinf(err) ? err / bound : INFINITY;
    if (bad) c->bad++;
    bool worse =
        ratio > s->worst_ratio || (isinf(ratio) && isinf(s->worst_ratio) && err > c->max_err);
    if (c->worst_at < 0 ? ratio > 0 : worse) {
        c->worst_at = i;
        c->worst_bound = bound;
        c->worst_err = err;
        s->worst_ratio = c->worst = ratio;
    }
    if (err > c->max_err) c->max_err = err;
    s->err2 += err * err;
}

static double rms_of(const struct sums *s)
{
    return s->finite ? sqrt(s->want2 / (double)s->finite) : 0;
}

static void finish(struct compare *c, const struct sums *s)
{
    if (s->err2 == 0)
        c->rel_l2 = 0;
    else
        c->rel_l2 = s->want2 > 0 ? sqrt(s->err2 / s->want2) : INFINITY;
    if (c->mode != CMP_REL_L2) return;
    double tol = c->tol + 4 * c->unit;
    if (!(c->rel_l2 <= tol) && c->bad == 0) c->bad = 1;
    if (tol > 0 && c->rel_l2 / tol > c->worst) c->worst = c->rel_l2 / tol;
}

/* The two float types differ only in the type and in how bits are read. */
#define DEFINE_COMPARE(NAME, T, BITS)                                                         \
    void NAME(struct compare *c, const T *got, const T *want, const double *bound, int64_t n) \
    {                                                                                         \
        QN_CHECK(c->mode != CMP_BOUND || bound || n == 0, "no bounds for %lld elements",      \
                 (long long)n);                                                               \
        start(c);                                                                             \
        struct sums s = {0};                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                     \
            double w = (double)want[i];                                                       \
            if (!isfinite(w)) continue;                                                       \
            s.want2 += w * w;                                                                 \
            s.finite++;                                                                       \
        }                                                                                     \
        double rms = c->mode == CMP_REL_L2 ? rms_of(&s) : 0;                                  \
        double unit = c->mode == CMP_REL_L2 ? 4 * c->unit : 0;                                \
        double all = (30 * c->tol + unit) * rms;                                              \
        for (int64_t i = 0; i < n; i++) {                                                     \
            double limit = c->mode == CMP_BOUND ? bound[i] : all;                             \
            if (isfinite((double)want[i])) limit += unit * fabs((double)want[i]);             \
            double err = element_err((double)got[i], (double)want[i]);                        \
            bool bad = !(err <= limit) || isinf(err);                                         \
            if (c->mode == CMP_BITS) {                                                        \
                BITS g, w;                                                                    \
                memcpy(&g, &got[i], sizeof g);                                                \
                memcpy(&w, &want[i], sizeof w);                                               \
                bad = g != w && !(got[i] == 0 && want[i] == 0);                               \
                if (bad && err == 0) err = INFINITY; /* NaNs with different bits */           \
            }                                                                                 \
            add_element(c, &s, i, err, limit, bad);                                           \
        }                                                                                     \
        finish(c, &s);                                                                        \
    }

DEFINE_COMPARE(compare_f32, float, uint32_t)
DEFINE_COMPARE(compare_f64, double, uint64_t)

/* Bytes have no distance: max_err is 1 where an element differs, worst_at the first that does. */
void compare_raw(struct compare *c, const void *got, const void *want, size_t size, int64_t n)
{
    const unsigned char *g = got, *w = want;
    start(c);
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)i * size;
        if (memcmp(g + at, w + at, size) == 0) continue;
        if (c->bad++ == 0) c->worst_at = i;
        c->max_err = 1;
        c->worst = INFINITY;
    }
}
