/* math.def's promises: the expansions of exp .. cos, as lowered for a target with and without fma
 * and for the reference path, against the C library's long double functions. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "lib/lower_run.h"

enum { SAMPLES = 20000, MODES = 3 };

static const struct promise {
    enum op op;
    double f32, f64;
} promises[] = {
#define MATH(op, a, b, where) {OP_##op, a, b},
#include "lower/math.def"
#undef MATH
};

static long double exact(enum op op, long double x)
{
    switch (op) {
    case OP_EXP:
        return expl(x);
    case OP_LOG:
        return logl(x);
    case OP_TANH:
        return tanhl(x);
    case OP_ERF:
        return erfl(x);
    case OP_SIGMOID:
        return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
    case OP_SIN:
        return sinl(x);
    case OP_COS:
        return cosl(x);
    default: /* what shifted_tanh asks for */
        return 2 / (1 + expl(-2 * x));
    }
}

/* Distance in units of the last place of the exact value. */
static double ulps(enum op op, double got, long double want, bool wide)
{
    if (op == OP_EXP && got == 0 && want < (wide ? 0x1p-1022L : 0x1p-126L)) return 0;
    if (op == OP_SIGMOID && got == 0 && want < (wide ? 0x1p-1024L : 0x1p-128L)) return 0;
    int digits = wide ? 53 : 24, least = wide ? -1074 : -149, e = 0;
    long double top = wide ? 1.7976931348623157e308L : 3.40282346638528859812e38L;
    if (isinf(got))
        return (got > 0) == (want > 0) && fabsl(want) >= top * (1 - 0x1p-20L) ? 0 : INFINITY;
    frexpl(want, &e);
    int lsb = e - digits < least ? least : e - digits;
    return (double)(fabsl((long double)got - want) / ldexpl(1, lsb));
}

/* Half near the centre, the rest over the whole range of magnitudes the operator is defined on. */
static double sample(enum op op, int i, bool wide, struct rng *r)
{
    double u = rng_unit(r) * 2 - 1,
           big = ldexp(1 + rng_unit(r), (int)rng_range(r, -40, wide ? 9 : 6));
    switch (op) {
    case OP_EXP:
        return i % 2 ? u * (wide ? 745 : 104) : u * 2;
    case OP_LOG:
        return i % 3 == 0 ? 1 + u * 0.3
                          : ldexp(1 + rng_unit(r),
                                  (int)rng_range(r, wide ? -1070 : -145, wide ? 1020 : 126));
    case OP_SIN:
    case OP_COS:
        return i % 3 == 0 ? u * 4 : i % 3 == 1 ? u * 10000 : u * (wide ? 10000 : 1e6);
    default:
        return i % 2 ? u * 8 : u < 0 ? -big : big;
    }
}

static void lowered(struct nest *n, int mode)
{
    struct target t = lower_target(true);
    struct lower_options o = {.verify_each = true};
    struct kernel k;
    struct err e = {0};
    t.fma = mode == 1;
    enum rc rc = mode == 2 ? lower_naive(n, &t, NULL, &k, &e) : lower(n, &t, &o, &k, &e);
    ck_assert_msg(rc == RC_OK, "%s", e.msg);
    ck_assert_msg(nest_verify(n, NEST_KERNEL, &e) == RC_OK, "%s", e.msg);
}

static double worst_of(const char *value, enum op op, bool wide, int mode, const double *x)
{
    char text[512];
    const char *type = wide ? "f64" : "f32";
    snprintf(text, sizeof text,
             "nest m\nin     x: %s[%d]\nout    y: %s[%d]\nstage y\n  for i in 0..%d\n    for j in "
             "0..8 %s\n"
             "      y[i * 8 + j] = %s\n",
             type, SAMPLES, type, SAMPLES, SAMPLES / 8, mode == 2 ? "" : "vector", value);
    struct ir *ir = ir_new();
    struct nest *n = lower_parse(ir, text);
    struct err e = {0};
    lowered(n, mode);
    void **bufs = lower_buffers(n, NULL, 1, NULL);
    for (int i = 0; i < SAMPLES; i++) {
        if (wide)
            ((double *)bufs[0])[i] = x[i];
        else
            ((float *)bufs[0])[i] = (float)x[i];
    }
    ck_assert_int_eq(nest_interp(n, 0, bufs, NULL, 1 << 26, &e), RC_OK);
    double most = 0, at = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double in = wide ? x[i] : (double)(float)x[i],
               got = wide ? ((double *)bufs[1])[i] : (double)((float *)bufs[1])[i];
        double u = ulps(op, got, exact(op, (long double)in), wide);
        if (u > most || isnan(u)) most = u, at = in;
    }
    lower_buffers_free(n, bufs);
    ir_free(ir);
    if (getenv("QN_SHOW"))
        printf("%-28s %s mode %d: %.2f ulp at %.17g\n", value, type, mode, most, at);
    return most;
}

static double worst(enum op op, bool wide, int mode, const double *x)
{
    char value[40];
    snprintf(value, sizeof value, "%s(x[i * 8 + j])", op_name(op));
    return worst_of(value, op, wide, mode, x);
}

START_TEST(bounds)
{
    const struct promise *p = &promises[_i];
    struct rng r;
    double *x = mem_new(SAMPLES * sizeof *x);
    for (int wide = 0; wide < 2; wide++) {
        rng_seed(&r, (uint64_t)_i + 1);
        for (int i = 0; i < SAMPLES; i++) x[i] = sample(p->op, i, wide, &r);
        for (int mode = 0; mode < MODES; mode++) {
            double bound = wide        ? p->f64
                           : mode == 2 ? 0.51
                                       : p->f32; /* the reference rounds f32 once */
            ck_assert_double_le(worst(p->op, wide, mode, x), bound);
        }
    }
    mem_free(x);
}
END_TEST

/* A clamp that says |x| <= 8 leaves a step out, any that stays inside the range of 2^k another: the
 * promise still holds. */
START_TEST(clamped_exp)
{
    static const double limit[] = {8, 9, 86, 88, 88.7};
    struct rng r;
    double *x = mem_new(SAMPLES * sizeof *x);
    rng_seed(&r, 11);
    for (size_t k = 0; k < QN_COUNT(limit); k++) {
        char value[80];
        snprintf(value, sizeof value, "exp(max(min(x[i * 8 + j], %.1f), -%.1f))", limit[k],
                 limit[k]);
        for (int i = 0; i < SAMPLES; i++) x[i] = (rng_unit(&r) * 2 - 1) * (i % 2 ? limit[k] : 0.4);
        for (int i = 0; i < SAMPLES / 8; i++) x[i * 8] = limit[k] - rng_unit(&r);
        for (int mode = 0; mode < MODES; mode++)
            ck_assert_double_le(worst_of(value, OP_EXP, false, mode, x),
                                mode == 2                     ? 0.51
                                : mode == 1 && limit[k] <= 88 ? 2.4
                                                              : promises[0].f32);
    }
    mem_free(x);
}
END_TEST

/* The logarithm of what is at least a normal number leaves out what others need. */
START_TEST(clamped_log)
{
    struct rng r;
    double *x = mem_new(SAMPLES * sizeof *x);
    rng_seed(&r, 12);
    for (int i = 0; i < SAMPLES; i++)
        x[i] = i % 2 ? 1 + (rng_unit(&r) * 2 - 1) * 0.3
                     : ldexp(1 + rng_unit(&r), (int)rng_range(&r, -25, 120));
    for (int mode = 0; mode < MODES; mode++)
        ck_assert_double_le(worst_of("log(max(x[i * 8 + j], 1.0e-8))", OP_LOG, false, mode, x),
                            mode == 2 ? 0.51 : promises[1].f32);
    mem_free(x);
}
END_TEST

/* 1 + tanh(x), twice a logistic function: as near as tanh(x) itself has to be, and with digits left where
 * that is nearly -1. */
START_TEST(shifted_tanh)
{
    double *x = mem_new(SAMPLES * sizeof *x);
    for (int at = -42; at < 17; at++) {
        for (int i = 0; i < SAMPLES; i++) x[i] = at + 1.0 * i / SAMPLES;
        double limit = 2.5 * (at < 0 ? 1 - at : 1);
        ck_assert_double_le(worst_of("1.0 + tanh(x[i * 8 + j])", OP_COUNT, false, 1, x), limit);
    }
    mem_free(x);
}
END_TEST

static float one_in(enum op op, float x, int mode)
{
    char text[256];
    struct ir *ir = ir_new();
    struct err e = {0};
    snprintf(text, sizeof text,
             "nest m\nin     x: f32[1]\nout    y: f32[1]\nstage y\n  y[0] = %s(x[0])\n",
             op_name(op));
    struct nest *n = lower_parse(ir, text);
    lowered(n, mode);
    float y = 0;
    void *bufs[] = {&x, &y};
    ck_assert_int_eq(nest_interp(n, 0, bufs, NULL, 100, &e), RC_OK);
    ir_free(ir);
    return y;
}

static float one(enum op op, float x) { return one_in(op, x, 1); }

START_TEST(ends)
{
    ck_assert(one(OP_EXP, 0) == 1);
    ck_assert(isinf(one(OP_EXP, 89)) && isinf(one(OP_EXP, 3e38f)) && isinf(one(OP_EXP, INFINITY)));
    ck_assert(one(OP_EXP, -104) == 0 && one(OP_EXP, -3e38f) == 0 && one(OP_EXP, -INFINITY) == 0);
    ck_assert(one(OP_EXP, -87.33654f) > 0x1p-126f && one(OP_EXP, -87.33655f) == 0);
    ck_assert(one(OP_EXP, 88.72283f) > 3.4e38f && isinf(one(OP_EXP, 88.72284f)));
    ck_assert(one(OP_LOG, 1) == 0 && one(OP_LOG, 0) == -INFINITY &&
              one(OP_LOG, INFINITY) == INFINITY);
    ck_assert(one(OP_LOG, 0x1.fffffep127f) == 88.72284f && one(OP_LOG, 0x1p127f) == 88.029694f);
    ck_assert(isnan(one(OP_LOG, -1)));
    ck_assert(one(OP_TANH, 3e38f) == 1 && one(OP_TANH, -3e38f) == -1 && one(OP_TANH, 0) == 0);
    ck_assert(one(OP_ERF, 3e38f) == 1 && one(OP_ERF, -3e38f) == -1 &&
              one(OP_ERF, 1e-30f) > 1.1e-30f);
    ck_assert(one(OP_SIGMOID, 3e38f) == 1 && one(OP_SIGMOID, -3e38f) == 0 &&
              one(OP_SIGMOID, 0) == 0.5f);
    ck_assert(one(OP_SIN, 0) == 0 && one(OP_COS, 0) == 1);
    for (float x = 1e6f; x < 1e38f; x *= 1.7f)
        ck_assert(fabsf(one(OP_SIN, x)) <= 1 && fabsf(one(OP_COS, -x)) <= 1);
    ck_assert(isnan(one(OP_SIN, INFINITY)) && isnan(one(OP_COS, -INFINITY)));
}
END_TEST

/* NaN stays NaN, whatever its digits say, for every operator, target and type. */
START_TEST(nan_stays)
{
    static const uint32_t bits[] = {0x7fc00000, 0xffc00000, 0x7fc00001, 0xffffffff};
    for (size_t i = 0; i < QN_COUNT(promises); i++)
        for (size_t k = 0; k < QN_COUNT(bits); k++) {
            float x;
            memcpy(&x, &bits[k], 4);
            for (int mode = 0; mode < MODES; mode++)
                ck_assert_msg(isnan(one_in(promises[i].op, x, mode)), "%s of %08x, mode %d",
                              op_name(promises[i].op), bits[k], mode);
        }
}
END_TEST

/* Shared parts become lets, so a kernel is no larger than its graph; under a mask they stand
 * outside it. */
START_TEST(lets)
{
    struct lower_case c = {.target = lower_target(true), .tol = 1e-6};
    struct buf b;
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "kernel";
    lower_same("nest gelu\n"
               "in     x: f32[20]\n"
               "out    y: f32[20]\n"
               "stage y\n"
               "  for io in 0..3\n"
               "    for ii in 0..8 vector mask\n"
               "      if io * 8 + ii < 20\n"
               "        y[io * 8 + ii] = x[io * 8 + ii] * 0.5 * (1.0 + erf(x[io * 8 + ii] * "
               "0.70710678)) + exp(x[io * 8 + ii])\n",
               &c);
    const char *let = strstr(b.p, "let y.m"), *mask = strstr(b.p, "if cast(s32, ramp(");
    ck_assert(let && mask && let < mask);
    ck_assert_int_lt(c.kernel.nodes, 300);
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

/* ---- division by what the lanes share (quotients.c) ------------------------------------------- */

/* y[i, j] = VALUE of x[i, j] and d[i], 8 lanes, lowered with fma. */
static float *divided(const char *value, int rows, const float *x, const float *d)
{
    char text[512];
    snprintf(text, sizeof text,
             "nest q\nin     x: f32[%d, 8]\nin     d: f32[%d]\nout    y: f32[%d, 8]\nstage y\n"
             "  for i in 0..%d\n    for j in 0..8 vector\n      y[i, j] = %s\n",
             rows, rows, rows, rows, value);
    struct ir *ir = ir_new();
    struct err e = {0};
    struct nest *n = lower_parse(ir, text);
    lowered(n, 1);
    float *y = mem_new((size_t)rows * 8 * sizeof *y);
    void *bufs[] = {(void *)(uintptr_t)x, (void *)(uintptr_t)d, y};
    ck_assert_int_eq(nest_interp(n, 0, bufs, NULL, 1 << 26, &e), RC_OK);
    ir_free(ir);
    return y;
}

enum { ROWS = 4000 };

/* Divisors of every size, denormal ones too. */
static void divisors(float *x, float *d, int widest)
{
    struct rng r;
    rng_seed(&r, 21);
    for (int i = 0; i < ROWS; i++) {
        d[i] = (float)ldexp(1 + rng_unit(&r), (int)rng_range(&r, -148, 127)) *
               (rng_unit(&r) < 0.5 ? -1 : 1);
        for (int j = 0; j < 8; j++)
            x[i * 8 + j] = (float)ldexp(1 + rng_unit(&r), (int)(log2(fabs((double)d[i]))) +
                                                              (int)rng_range(&r, -widest, widest)) *
                           (rng_unit(&r) < 0.5 ? -1 : 1);
    }
}

START_TEST(shared_divisor)
{
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    divisors(x, d, 100);
    float *y = divided("x[i, j] / d[i]", ROWS, x, d);
    double most = 0;
    for (int i = 0; i < ROWS * 8; i++) {
        long double want = (long double)x[i] / (long double)d[i / 8];
        if (isinf(x[i]) || fabsl(want) < 0x1p-126L || fabsl(want) > 0x1p127L) continue;
        most = fmax(most, ulps(OP_COUNT, (double)y[i], want, false));
    }
    ck_assert_double_le(most, 1.6);
    mem_free(y);
    /* what no reciprocal may spoil */
    float ends[6] = {0.0f, -0.0f, INFINITY, NAN, 1e-45f, 0x1.fffffep127f}, one[48];
    for (int i = 0; i < 48; i++) one[i] = i % 8 == 1 ? 0 : i % 8 == 2 ? INFINITY : 0x1p-140f;
    y = divided("x[i, j] / d[i]", 6, one, ends);
    ck_assert(y[0] == INFINITY && isnan(y[1]) && y[2] == INFINITY);
    ck_assert(y[8] == -INFINITY && y[8 + 2] == -INFINITY);
    ck_assert(y[16] == 0 && y[16 + 1] == 0 && isnan(y[16 + 2]));
    ck_assert(isnan(y[24]) && isnan(y[24 + 2]));
    ck_assert(y[32] == 512 && y[32 + 1] == 0 && y[32 + 2] == INFINITY);
    ck_assert(y[40] == 0 && y[40 + 2] == INFINITY);
    mem_free(y);
    mem_free(x);
    mem_free(d);
}
END_TEST

/* A factor of a sigmoid that nothing else needs is divided itself: one rounding less, factors of 2
 * without any; infinities and NaN as the product has them. */
START_TEST(scaled_sigmoid)
{
    static const struct {
        const char *value;
        bool tanh;
        double scale, most; /* units of the last place */
    } forms[] = {{"x[i, j] * sigmoid(x[i, j])", false, 1, 3.1},
                 {"sigmoid(x[i, j]) * (x[i, j] * 0.25)", false, 0.25, 3.1},
                 {"x[i, j] * 0.5 * (1.0 + tanh(x[i, j]))", true, 0.5, 2.5},
                 {"x[i, j] * (1.0 + tanh(x[i, j] * 0.5))", true, 1, 3.1},
                 {"x[i, j] * 0.75 * (1.0 + tanh(x[i, j]))", true, 0.75, 3.1},
                 {"x[i, j] * sigmoid(x[i, j]) + 0.0 * sigmoid(x[i, j])", false, 1, 4}};
    static const float ends[8] = {-3e38f, 3e38f, -INFINITY, INFINITY, NAN, -0.0f, 88.1f, -89.1f};
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    for (size_t f = 0; f < QN_COUNT(forms); f++) {
        bool half = strstr(forms[f].value, "tanh(x[i, j] * 0.5)") != NULL;
        for (int i = 0; i < ROWS * 8; i++) x[i] = (float)(-80 + 100.0 * i / (ROWS * 8));
        memcpy(x, ends, sizeof ends);
        float *y = divided(forms[f].value, ROWS, x, d);
        ck_assert_msg(y[0] == 0 && y[1] >= 0.25f * 3e38f && isnan(y[2]) && y[3] == INFINITY &&
                          isnan(y[4]) && y[5] == 0 && y[6] >= 0.25f * 88.1f && fabsf(y[7]) < 1e-36f,
                      "%s: %g %g %g %g %g %g %g %g", forms[f].value, (double)y[0], (double)y[1],
                      (double)y[2], (double)y[3], (double)y[4], (double)y[5], (double)y[6],
                      (double)y[7]);
        for (int i = 8; i < ROWS * 8; i++) {
            long double u = (long double)x[i],
                        w = forms[f].tanh ? 2 / (1 + expl(half ? -u : -2 * u)) : 1 / (1 + expl(-u));
            double wide = forms[f].tanh && u < 0 ? 1 - (half ? 0.5 : 1) * (double)u : 1;
            if (w < 0x1p-125L) continue; /* as 0 */
            w *= u * (long double)forms[f].scale;
            double off = ulps(OP_COUNT, (double)y[i], w, false);
            ck_assert_msg(off <= forms[f].most * wide, "%s of %a: %.2f ulp", forms[f].value,
                          (double)x[i], off);
        }
        mem_free(y);
    }
    mem_free(x);
    mem_free(d);
}
END_TEST

/* The average of equal numbers is that number, in a temporary and as a result. */
START_TEST(numbers_divide_exactly)
{
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    struct rng r;
    rng_seed(&r, 23);
    for (int i = 0; i < ROWS * 8; i++) x[i] = (float)rng_range(&r, -1000, 1000) * 49;
    x[3] = -0.0f;
    float *y = divided("x[i, j] / 49.0", ROWS, x, d);
    for (int i = 0; i < ROWS * 8; i++)
        ck_assert(y[i] == x[i] / 49 && signbit(y[i]) == signbit(x[i]));
    mem_free(y);
    mem_free(x);
    mem_free(d);
}
END_TEST

/* Where a step decides, the quotient has the bits of the division: also next to the step. */
START_TEST(stepped_divisor)
{
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    struct rng r;
    divisors(x, d, 8);
    rng_seed(&r, 22);
    for (int i = 0; i < ROWS * 8;
         i++) { /* k + 1/2 times d, rounded: a hair beside the step, or on it */
        float s = fmaxf(d[i / 8], 1e-20f) / 127;
        if (i % 3 == 0) x[i] = s * ((float)rng_range(&r, -130, 130) + 0.5f);
        if (i % 3 == 1) x[i] = s * (float)rng_range(&r, -130, 130);
        if (i % 1000 == 2) x[i] = i % 2000 == 2 ? INFINITY : -INFINITY;
    }
    d[1] = INFINITY;
    float *even = divided("round(x[i, j] / (max(d[i], 1e-20) / 127.0))", ROWS, x, d),
          *low = divided("floor(x[i, j] / (max(d[i], 1e-20) / 127.0))", ROWS, x, d);
    int steps = 0;
    for (int i = 0; i < ROWS * 8; i++) {
        float q = x[i] / (fmaxf(d[i / 8], 1e-20f) / 127);
        ck_assert_msg(isnan(q) || even[i] == rintf(q), "round %a / %a", (double)x[i],
                      (double)d[i / 8]);
        ck_assert_msg(isnan(q) || low[i] == floorf(q), "floor %a / %a", (double)x[i],
                      (double)d[i / 8]);
        steps += x[i] * (1 / (fmaxf(d[i / 8], 1e-20f) / 127)) != q;
    }
    ck_assert_int_gt(steps, ROWS); /* the plain product would have other bits */
    mem_free(even);
    mem_free(low);
    mem_free(x);
    mem_free(d);
}
END_TEST

/* Below a cast a quotient has the bits of the division but for the sign of a zero, infinities too; one
 * that divides has that, too. */
START_TEST(cast_quotient)
{
    static const float ends[8] = {INFINITY, -INFINITY, 0.0f, -0.0f, 3e38f, -3e38f, 1e-45f, NAN};
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    struct rng r;
    divisors(x, d, 8);
    rng_seed(&r, 31);
    for (int i = 0; i < ROWS * 8; i++) {
        float s = fmaxf(d[i / 8], 1e-20f) / 127;
        if (i % 2 == 0) x[i] = s * ((float)rng_range(&r, -130, 130) + 0.5f);
        if (i / 8 % 5 == 0) x[i] = ends[i % 8];
    }
    d[5] = INFINITY;
    d[10] = 0x1.fffffep127f;
    float *y = divided("cast(f32, cast_sat_even(s32, x[i, j] / (max(d[i], 1e-20) / 127.0)))", ROWS,
                       x, d),
          *over = divided("cast(f32, cast_sat_even(s32, 1.0 / (x[i, j] / (max(d[i], 1e-20) / "
                          "127.0))))",
                          ROWS, x, d);
    float *zero =
        divided("cast(f32, cast_sat_even(s32, x[i, j] / sqrt(max(d[i], 0.0))))", ROWS, x, d);
    for (int i = 0; i < ROWS * 8; i++) {
        if (d[i / 8] < 0) { /* by zero */
            float want = x[i] > 0 ? 0x1p31f : x[i] < 0 ? -0x1p31f : 0;
            ck_assert_msg(zero[i] == want, "%a / 0: %a", (double)x[i], (double)zero[i]);
        }
        float s = fmaxf(d[i / 8], 1e-20f) / 127, q = rintf(x[i] / s), o = rintf(1 / (x[i] / s));
        float top = 0x1p31f, want = isnan(q) ? 0 : fmaxf(fminf(q, top), -top),
              want_over = isnan(o) ? 0 : fmaxf(fminf(o, top), -top);
        ck_assert_msg(y[i] == want, "%a / %a: %a, not %a", (double)x[i], (double)s, (double)y[i],
                      (double)want);
        ck_assert_msg(over[i] == want_over, "1 / (%a / %a): %a, not %a", (double)x[i], (double)s,
                      (double)over[i], (double)want_over);
    }
    mem_free(zero);
    mem_free(y);
    mem_free(over);
    mem_free(x);
    mem_free(d);
}
END_TEST

/* The nearest byte to a quotient: next to the steps, on them, beyond the ends; of a divisor that may be zero or
 * below, too. */
START_TEST(byte_of_quotient)
{
    static const float ends[8] = {INFINITY, -INFINITY, 0.0f, -0.0f, 3e38f, -3e38f, 1e-45f, NAN};
    static const struct {
        const char *to, *divisor;
        float least, most;
        bool any; /* the divisor may be zero */
    } rows[] = {{"s8", "(max(d[i], 1e-20) / 127.0)", -128, 127, false},
                {"u8", "(max(d[i], 1e-20) / 127.0)", 0, 255, false},
                {"s8", "max(d[i], 0.0)", -128, 127, true},
                {"u8", "sqrt(max(d[i], 0.0))", 0, 255, true},
                {"s8", "max(1e-20, sqrt(abs(d[i])))", -128, 127, false}};
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    float *s = mem_new(ROWS * sizeof *s);
    for (size_t k = 0; k < QN_COUNT(rows); k++) {
        struct rng r;
        char value[200];
        divisors(x, d, 8);
        rng_seed(&r, 33 + k);
        d[5] = INFINITY;
        d[10] = 0x1.fffffep127f;
        d[15] = NAN;
        d[16] = 0x1.fffffcp1f;
        for (int i = 0; i < ROWS; i++) {
            if (i % 5) d[i] = fabsf(d[i]) > 1e19f || fabsf(d[i]) < 1e-20f ? 0.75f : d[i];
            float lower = fmaxf(d[i], k == 4 ? -INFINITY : k < 2 ? 1e-20f : 0.0f);
            s[i] = isnan(d[i]) ? NAN : k < 2 ? lower / 127 : k == 2 ? lower : sqrtf(fabsf(lower));
            if (k == 4) s[i] = fmaxf(1e-20f, s[i]);
        }
        for (int i = 0; i < ROWS * 8; i++) {
            if (i % 2 == 0) x[i] = s[i / 8] * ((float)rng_range(&r, -260, 260) + 0.5f);
            if (i % 8 == 4) x[i] = nextafterf(x[i], 0);
            if (i / 8 % 5 == 0) x[i] = ends[i % 8];
        }
        x[16 * 8] = 1; /* the one quotient that (1 - d*r) * r gets wrong: see quotients.c */
        snprintf(value, sizeof value, "cast(f32, cast_sat_even(%s, x[i, j] / %s))", rows[k].to,
                 rows[k].divisor);
        float *y = divided(value, ROWS, x, d);
        for (int i = 0; i < ROWS * 8; i++) {
            float q = rintf(x[i] / s[i / 8]),
                  want = isnan(q) ? 0 : fmaxf(fminf(q, rows[k].most), rows[k].least);
            if (isnan(d[i / 8])) continue; /* what max makes of NaN is open */
            if (s[i / 8] > 0x1p121f && isinf(x[i]) && x[i] < 0) continue; /* -127 or -128 */
            ck_assert_msg(y[i] == want, "%s: %a / %a: %a, not %a", value, (double)x[i],
                          (double)s[i / 8], (double)y[i], (double)want);
        }
        mem_free(y);
    }
    mem_free(s);
    mem_free(x);
    mem_free(d);
}
END_TEST

/* A divisor for each column: its bounds are numbers, too, and -infinity by the largest is -127. */
START_TEST(byte_of_columns)
{
    float *x = mem_new(ROWS * 8 * sizeof *x), *d = mem_new(ROWS * sizeof *d);
    struct rng r;
    divisors(x, d, 8);
    rng_seed(&r, 37);
    for (int j = 0; j < 8; j++) d[j] = j % 2 ? 0x1.fffffep127f : 1e19f * (float)(j + 1);
    for (int i = 0; i < ROWS * 8; i++) {
        float s = d[i % 8] * 0.007874016f;
        x[i] = s * ((float)rng_range(&r, -126, 126) + 0.3f);
        if (i / 8 % 9 == 0) x[i] = i / 8 % 2 ? -INFINITY : INFINITY;
    }
    float *y = divided("cast(f32, cast_sat_even(s8, x[i, j] / (max(d[j], 1e-20) * 0.007874016)))",
                       ROWS, x, d);
    for (int i = 0; i < ROWS * 8; i++) {
        float s = d[i % 8] * 0.007874016f, q = rintf(x[i] / s),
              want = fmaxf(fminf(q, 127), i % 2 ? -127 : -128);
        ck_assert_msg(y[i] == want, "%a / %a: %a, not %a", (double)x[i], (double)s, (double)y[i],
                      (double)want);
    }
    mem_free(y);
    mem_free(x);
    mem_free(d);
}
END_TEST

/* What quotients.c says of it: x * r + x * rest, rounded to a byte, is the quotient so rounded, for divisors of
 * all significands (every 509th; QUERN_LONG=1: every one) around all steps. */
START_TEST(bytes_of_all_significands)
{
    uint32_t by = getenv("QUERN_LONG") ? 1 : 509;
    for (uint32_t m = 0; m < 1u << 23; m += by) {
        union {
            uint32_t u;
            float f;
        } d = {.u = 0x3f800000 + m}, x, step;
        float r = 1 / d.f, rest = fmaf(-d.f, r, 1) / d.f;
        for (int n = 0; n < 256; n++) {
            step.f = d.f * ((float)n + 0.5f);
            for (int k = -1; k <= 1; k++) {
                x.u = step.u + (uint32_t)k;
                float sum = fmaf(x.f, r, x.f * rest);
                if (lrintf(sum) == lrintf(x.f / d.f)) continue;
                ck_abort_msg("%a / %a is %a, not %a", (double)x.f, (double)d.f, (double)(x.f / d.f),
                             (double)sum);
            }
        }
    }
}
END_TEST

/* Bounds that cross leave one value. */
START_TEST(crossed_bounds)
{
    static const struct {
        const char *value;
        float want;
    } rows[] = {
        {"exp(max(min(x[i, j], 50.0), 200.0))", INFINITY},
        {"exp(min(max(x[i, j], 0.0), -100.0))", 0},
        {"log(min(max(x[i, j], 1.0), 0.0))", -INFINITY},
    };
    float x[8] = {-300, -1, 0, 1, 30, 60, 150, 300}, d[1] = {1};
    for (size_t k = 0; k < QN_COUNT(rows); k++) {
        float *y = divided(rows[k].value, 1, x, d);
        for (int i = 0; i < 8; i++) ck_assert_msg(y[i] == rows[k].want, "%s", rows[k].value);
        mem_free(y);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_math");
    TCase *t = tcase_create("math");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 900 : 60);
    tcase_add_loop_test(t, bounds, 0, (int)QN_COUNT(promises));
    tcase_add_test(t, clamped_exp);
    tcase_add_test(t, clamped_log);
    tcase_add_test(t, shifted_tanh);
    tcase_add_test(t, scaled_sigmoid);
    tcase_add_test(t, ends);
    tcase_add_test(t, nan_stays);
    tcase_add_test(t, lets);
    tcase_add_test(t, shared_divisor);
    tcase_add_test(t, crossed_bounds);
    tcase_add_test(t, numbers_divide_exactly);
    tcase_add_test(t, stepped_divisor);
    tcase_add_test(t, cast_quotient);
    tcase_add_test(t, byte_of_quotient);
    tcase_add_test(t, byte_of_columns);
    tcase_add_test(t, bytes_of_all_significands);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
