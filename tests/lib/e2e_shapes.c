/* e2e_shapes: how tasks are drawn. See e2e_shapes.h.
 *
 * Invariant: the generator is asked the same questions in the same order, so a seed keeps its
 * task. */
#include "lib/e2e_shapes.h"

#include <math.h>
#include <string.h>

static int64_t pick(struct rng *r, const int64_t *p, int n) { return p[rng_range(r, 0, n - 1)]; }

/* 1..130: mostly below 32, a third primes, now and then anything. */
static int64_t size(struct rng *r)
{
    static const int64_t primes[] = {2,  3,  5,  7,   11,  13,  17,  19,  23, 29, 31,
                                     37, 41, 43, 47,  53,  59,  61,  67,  71, 73, 79,
                                     83, 89, 97, 101, 103, 107, 109, 113, 127};
    double dice = rng_unit(r);
    if (dice < 0.45) return rng_range(r, 1, 32);
    if (dice < 0.75) return pick(r, primes, (int)QN_COUNT(primes));
    return rng_range(r, 1, 130);
}

static double log_uniform(struct rng *r, double lo, double hi)
{
    return lo * pow(hi / lo, rng_unit(r));
}

/* ---- conv2d ---------------------------------------------------------------------------------- */

struct conv {
    int64_t n, c, k, h, w, r, s, sh, sw, dh, dw, pad[4], g;
};

static int64_t out_h(const struct conv *v)
{
    return (v->h + v->pad[0] + v->pad[2] - v->dh * (v->r - 1) - 1) / v->sh + 1;
}
static int64_t out_w(const struct conv *v)
{
    return (v->w + v->pad[1] + v->pad[3] - v->dw * (v->s - 1) - 1) / v->sw + 1;
}

static bool fits(const struct conv *v)
{
    return v->h + v->pad[0] + v->pad[2] > v->dh * (v->r - 1) &&
           v->w + v->pad[1] + v->pad[3] > v->dw * (v->s - 1);
}

static double macs(const struct conv *v)
{
    return (double)v->n * (double)out_h(v) * (double)out_w(v) * (double)v->k *
           (double)(v->c / v->g) * (double)v->r * (double)v->s;
}

static void draw_conv(struct rng *r, struct conv *v)
{
    static const int64_t taps[] = {1, 1, 2, 3, 3, 3, 5, 7}, groups[] = {2, 3, 4, 5, 8};
    *v = (struct conv){.n = rng_chance(r, 0.15) ? rng_range(r, 2, 3) : 1,
                       .c = size(r),
                       .k = size(r),
                       .h = size(r),
                       .w = size(r),
                       .g = 1};
    v->r = pick(r, taps, (int)QN_COUNT(taps));
    v->s = rng_chance(r, 0.7) ? v->r : pick(r, taps, (int)QN_COUNT(taps));
    v->sh = rng_chance(r, 0.55) ? 1 : rng_range(r, 1, 3);
    v->sw = rng_chance(r, 0.8) ? v->sh : rng_range(r, 1, 3);
    v->dh = rng_chance(r, 0.7) ? 1 : 2;
    v->dw = rng_chance(r, 0.8) ? v->dh : rng_range(r, 1, 2);
    bool padded = rng_chance(r, 0.7);
    for (int i = 0; i < 4; i++) v->pad[i] = padded ? rng_range(r, 0, 3) : 0;
    if (rng_chance(r, 0.2)) {
        v->g = rng_chance(r, 0.2) ? v->c : pick(r, groups, (int)QN_COUNT(groups));
        v->c = v->g * i64_max(1, v->c / v->g);
        v->k = v->g * i64_max(1, v->k / v->g);
        if (v->c > 130 || v->k > 130) v->g = 1;
    }
}

/* Halves what is largest until the work is bounded and the filter fits. */
static void bound_conv(struct conv *v, double most)
{
    while (macs(v) > most) {
        int64_t *big = v->h >= v->w ? &v->h : &v->w;
        if (v->g == 1 && v->c > *big) big = &v->c;
        if (v->g == 1 && v->k > *big) big = &v->k;
        if (v->g > 1 && *big < 8) v->c = v->k = v->g;
        if (*big <= 1) v->n = 1, v->r = v->s = 1;
        *big = *big * 3 / 4 + (*big < 4 && *big > 1 ? -1 : 0);
        *big = i64_max(1, *big);
        if (!fits(v)) v->r = v->s = 1;
    }
}

static void conv_shape(struct rng *r, struct e2e_shape *s, double lo, double hi)
{
    static const char *const keys[] = {"pad_t", "pad_l", "pad_b", "pad_r"};
    static const char *const acts[] = {"relu", "relu6", "prelu"};
    struct conv v;
    do draw_conv(r, &v);
    while (!fits(&v));
    bound_conv(&v, log_uniform(r, lo, hi));
    s->op = "conv2d";
    e2e_put(s, "N", v.n, 1);
    e2e_put(s, "H", v.h, 1);
    e2e_put(s, "W", v.w, 1);
    e2e_put(s, "C", v.c, 1);
    e2e_put(s, "K", v.k, 1);
    e2e_put(s, "R", v.r, 1);
    e2e_put(s, "S", v.s, 1);
    e2e_put(s, "stride_h", v.sh, 1);
    e2e_put(s, "stride_w", v.sw, 1);
    e2e_put(s, "dilation_h", v.dh, 1);
    e2e_put(s, "dilation_w", v.dw, 1);
    for (int i = 0; i < 4; i++) e2e_put(s, keys[i], v.pad[i], 0);
    e2e_put(s, "groups", v.g, 1);
    if (rng_chance(r, 0.2)) e2e_put(s, "bias", 1, 0);
    if (rng_chance(r, 0.1)) e2e_put(s, "residual", 1, 0);
    if (rng_chance(r, 0.15)) e2e_word(s, "layout", "nchw");
    if (rng_chance(r, 0.2)) e2e_word(s, "act", acts[rng_range(r, 0, 2)]);
}

void e2e_conv(struct rng *r, struct e2e_shape *s, int *threads)
{
    conv_shape(r, s, 5e3, 6e6);
    *threads = rng_chance(r, 0.2) ? 2 : 1;
}

void e2e_conv_small(struct rng *r, struct e2e_shape *s, int *threads)
{
    conv_shape(r, s, 2e3, 1.5e5);
    *threads = 1;
}

/* ---- matmul ---------------------------------------------------------------------------------- */

static void matmul_shape(struct rng *r, struct e2e_shape *s, double most)
{
    static const char *const acts[] = {"relu", "relu6"};
    int64_t d[4] = {rng_chance(r, 0.25) ? rng_range(r, 2, 4) : 1, size(r), size(r), size(r)};
    while ((double)(d[0] * d[1]) * (double)(d[2] * d[3]) > most) {
        int big = 1;
        for (int i = 2; i < 4; i++) big = d[i] > d[big] ? i : big;
        d[big] = d[big] * 3 / 4;
    }
    s->op = "matmul";
    e2e_put(s, "B", d[0], 1);
    e2e_put(s, "M", d[1], 1);
    e2e_put(s, "N", d[2], 1);
    e2e_put(s, "K", d[3], 1);
    if (rng_chance(r, 0.3)) e2e_put(s, "bias", 1, 0);
    if (rng_chance(r, 0.4)) e2e_word(s, "b", "plain");
    if (rng_chance(r, 0.2)) e2e_word(s, "act", acts[rng_range(r, 0, 1)]);
}

void e2e_matmul(struct rng *r, struct e2e_shape *s, int *threads)
{
    matmul_shape(r, s, 3e6);
    *threads = rng_chance(r, 0.2) ? 2 : 1;
}

void e2e_matmul_small(struct rng *r, struct e2e_shape *s, int *threads)
{
    matmul_shape(r, s, 1e5);
    *threads = 1;
}
