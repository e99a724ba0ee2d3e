/* Lowering: the naive nest's text for matmul and conv2d, and numbers from the interpreter against
 * plain C.
 *
 *   conv2d:...,pad_t=1,groups=2  ->  dsl_lower  ->  nest_interp  ==  seven loops written here
 *
 * Invariant: integer data, so that equality is exact; only Winograd F(4,3) and exp need a
 * tolerance. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "lib/dsl_util.h"
#include "lib/ir_util.h"

/* ---- golden texts ---------------------------------------------------------------------------- */

static void check_golden(const char *file, const char *token, const char *algorithm,
                         const char *params)
{
    char path[512], *want = NULL;
    size_t n = 0;
    struct err e = {0};
    struct dsl_run *r = dsl_run_open(token, algorithm, params);
    struct buf b;
    buf_init(&b, 1 << 20);
    nest_print(&b, r->nest);
    snprintf(path, sizeof path, QN_SOURCE_DIR "/tests/golden/dsl/%s", file);
    if (getenv("QUERN_BLESS")) fs_write(path, b.p, b.n, &e);
    ck_assert_msg(fs_read(path, 1 << 20, &want, &n, &e) == RC_OK, "%s", e.msg);
    ck_assert_str_eq(b.p, want);
    struct ir *ir = ir_new(); /* the text is a nest again */
    struct nest *again = NULL;
    ck_assert_msg(nest_parse(ir, file, b.p, b.n, &again, &e) == RC_OK, "%s", e.msg);
    ck_assert_str_eq(ir_util_text(again), b.p);
    ir_free(ir);
    mem_free(want);
    buf_fini(&b);
    dsl_run_close(r);
}

START_TEST(golden)
{
    check_golden("matmul.nest", "matmul:M=7,N=5,K=3", "direct", "");
    check_golden("matmul_epilogue.nest",
                 "matmul:M=7,N=5,K=3,B=2,bias=1,act=relu6,b=plain,dtype=f16", "direct", "");
    check_golden("conv2d.nest", "conv2d:H=8,W=8,C=4,K=4,R=3,S=3,pad=1", "direct", "");
    check_golden("conv2d_all.nest",
                 "conv2d:N=2,H=9,W=7,C=6,K=4,R=3,S=2,stride=2,pad_t=1,pad_l=2,dilation_h=2,groups="
                 "2,layout=nchw,act=prelu,bias=1,residual=1",
                 "direct", "");
    check_golden("conv2d_winograd.nest", "conv2d:H=5,W=6,C=2,K=3,R=3,S=3,pad=1", "winograd", "m=2");
    check_golden("ghost.nest", "ghost:H=4,W=5,C=3,K=5", "direct", "");
    check_golden("softmax_online.nest", "softmax:M=3,N=5", "online", "");
    check_golden("delta2bbox.nest", "delta2bbox:N=7,C=2,variant=v2", "direct", "");
}
END_TEST

/* ---- conv2d ---------------------------------------------------------------------------------- */

struct conv {
    int64_t N, H, W, C, K, R, S, sh, sw, pt, pl, dh, dw, groups, P, Q;
    bool nchw;
};

static struct conv conv_of(const struct task *t)
{
    struct conv c = {0};
    const struct {
        const char *key;
        int64_t *to;
    } keys[] = {
        {"N", &c.N},           {"H", &c.H},           {"W", &c.W},      {"C", &c.C},
        {"K", &c.K},           {"R", &c.R},           {"S", &c.S},      {"stride_h", &c.sh},
        {"stride_w", &c.sw},   {"pad_t", &c.pt},      {"pad_l", &c.pl}, {"dilation_h", &c.dh},
        {"dilation_w", &c.dw}, {"groups", &c.groups}, {"P", &c.P},      {"Q", &c.Q}};
    for (size_t i = 0; i < QN_COUNT(keys); i++) ck_assert(task_int(t, keys[i].key, keys[i].to));
    c.nchw = strcmp(task_symbol(t, "layout"), "nchw") == 0;
    return c;
}

static int64_t at4(bool nchw, int64_t n, int64_t h, int64_t w, int64_t c, int64_t H, int64_t W,
                   int64_t C)
{
    return nchw ? ((n * C + c) * H + h) * W + w : ((n * H + h) * W + w) * C + c;
}

static float *plain_conv(const struct conv *c, const float *x, const float *w)
{
    float *y = mem_new((size_t)(c->N * c->P * c->Q * c->K) * sizeof *y + 1);
    int64_t cg = c->C / c->groups, kg = c->K / c->groups;
    for (int64_t n = 0; n < c->N; n++)
        for (int64_t p = 0; p < c->P; p++)
            for (int64_t q = 0; q < c->Q; q++)
                for (int64_t k = 0; k < c->K; k++) {
                    float sum = 0;
                    for (int64_t r = 0; r < c->R; r++)
                        for (int64_t s = 0; s < c->S; s++)
                            for (int64_t i = 0; i < cg; i++) {
                                int64_t h = p * c->sh + r * c->dh - c->pt,
                                        v = q * c->sw + s * c->dw - c->pl;
                                if (h < 0 || h >= c->H || v < 0 || v >= c->W) continue;
                                sum += x[at4(c->nchw, n, h, v, k / kg * cg + i, c->H, c->W, c->C)] *
                                       w[((r * c->S + s) * cg + i) * c->K + k];
                            }
                    y[at4(c->nchw, n, p, q, k, c->P, c->Q, c->K)] = sum;
                }
    return y;
}

/* Largest difference to plain C; also applies the epilogue the token asks for. */
static double conv_error(const char *token, const char *algorithm, const char *params, bool ints)
{
    struct dsl_run *r = dsl_run_open(token, algorithm, params);
    struct conv c = conv_of(r->task);
    struct rng g;
    rng_seed(&g, 7);
    if (ints)
        dsl_run_fill_int(r, &g, -4, 4);
    else
        dsl_run_fill_unit(r, &g);
    dsl_run_go(r);
    float *want = plain_conv(&c, dsl_run_buf(r, "x"), dsl_run_buf(r, "w")),
          *y = dsl_run_buf(r, "y");
    double worst = 0;
    const char *act = task_symbol(r->task, "act");
    bool bias = task_tensor(r->task, "bias"), residual = task_tensor(r->task, "residual");
    for (int64_t i = 0; i < c.N * c.P * c.Q * c.K; i++) {
        int64_t k = c.nchw ? i / (c.P * c.Q) % c.K : i % c.K;
        float v = want[i];
        if (bias) v += ((float *)dsl_run_buf(r, "bias"))[k];
        if (residual) v += ((float *)dsl_run_buf(r, "residual"))[i];
        if (strcmp(act, "relu") == 0) v = fmaxf(v, 0);
        if (strcmp(act, "relu6") == 0) v = fminf(fmaxf(v, 0), 6);
        if (strcmp(act, "prelu") == 0 && v < 0) v *= ((float *)dsl_run_buf(r, "alpha"))[k];
        worst = fmax(worst, fabs((double)y[i] - v));
    }
    mem_free(want);
    dsl_run_close(r);
    return worst;
}

START_TEST(conv2d_equals_plain_loops)
{
    static const char *const TOKENS[] = {
        "conv2d:H=5,W=6,C=3,K=4,R=3,S=3",
        "conv2d:N=2,H=5,W=6,C=3,K=4,R=3,S=3,pad=1",
        "conv2d:H=7,W=7,C=4,K=6,R=3,S=3,pad=1,stride=2,groups=2",
        "conv2d:H=9,W=8,C=2,K=3,R=3,S=2,dilation=2,pad_t=2,pad_r=1",
        "conv2d:H=7,W=5,C=4,K=4,R=5,S=5,pad=2,groups=4,layout=nchw",
        "conv2d:H=1,W=1,C=1,K=1,R=1,S=1",
        "conv2d:H=6,W=6,C=2,K=5,R=2,S=3,pad=3,act=relu,bias=1",
        "conv2d:H=6,W=6,C=2,K=5,R=2,S=3,act=relu6,residual=1",
        "conv2d:H=4,W=4,C=2,K=5,R=3,S=3,act=prelu,bias=1,residual=1,layout=nchw,stride_w=3,pad=1",
        "conv2d:N=0,H=4,W=4,C=2,K=2,R=3,S=3",
        "conv2d:H=4,W=4,C=0,K=2,R=3,S=3",
        "conv2d:H=2,W=2,C=1,K=1,R=3,S=3"};
    for (size_t i = 0; i < QN_COUNT(TOKENS); i++) {
        double e = conv_error(TOKENS[i], "direct", "", true);
        ck_assert_msg(e == 0, "%s: off by %g", TOKENS[i], e);
    }
}
END_TEST

/* Random shapes, four-sided pads, strides, dilations, groups; what is refused must be refused for
 * its size. */
START_TEST(random_conv2d_tasks)
{
    static const int SIDES[] = {1, 2, 3, 5, 7};
    struct rng g;
    int ran = 0;
    rng_seed(&g, 2024);
    for (int i = 0; i < 120; i++) {
        char token[400], msg[1600];
        int groups = (int)rng_range(&g, 1, 3), pads[4];
        for (int k = 0; k < 4; k++) pads[k] = (int)rng_range(&g, 0, 3);
        snprintf(
            token, sizeof token,
            "conv2d:N=%d,H=%d,W=%d,C=%d,K=%d,R=%d,S=%d,stride_h=%d,stride_w=%d,pad_t=%d,pad_l=%d,"
            "pad_b=%d,pad_r=%d,dilation_h=%d,dilation_w=%d,groups=%d,layout=%s,bias=%d,act=%s",
            (int)rng_range(&g, 1, 2), (int)rng_range(&g, 1, 9), (int)rng_range(&g, 1, 9),
            groups * (int)rng_range(&g, 1, 4), groups * (int)rng_range(&g, 1, 4),
            SIDES[rng_range(&g, 0, 4)], SIDES[rng_range(&g, 0, 4)], (int)rng_range(&g, 1, 3),
            (int)rng_range(&g, 1, 3), pads[0], pads[1], pads[2], pads[3], (int)rng_range(&g, 1, 2),
            (int)rng_range(&g, 1, 2), groups, rng_chance(&g, 0.5) ? "nhwc" : "nchw",
            rng_chance(&g, 0.5), rng_chance(&g, 0.5) ? "none" : "relu");
        const char *code = dsl_util_code(NULL, token, NULL, "", msg);
        if (code[0]) {
            ck_assert_msg(strcmp(code, "task.require") == 0 && strstr(msg, "larger than"), "%s: %s",
                          token, msg);
            continue;
        }
        double e = conv_error(token, "direct", "", true);
        ck_assert_msg(e == 0, "%s: off by %g", token, e);
        ran++;
    }
    ck_assert_int_gt(ran, 60);
}
END_TEST

START_TEST(winograd_equals_plain_loops)
{
    /* F(2,3) has halves only: exact on small integers */
    ck_assert_double_eq(conv_error("conv2d:H=6,W=7,C=3,K=4,R=3,S=3,pad=1", "winograd", "m=2", true),
                        0);
    ck_assert_double_eq(conv_error("conv2d:N=2,H=4,W=5,C=2,K=3,R=3,S=3,bias=1,act=relu,layout=nchw",
                                   "winograd", "m=2 points=0:1:-1", true),
                        0);
    ck_assert_double_lt(conv_error("conv2d:H=9,W=10,C=8,K=4,R=3,S=3,pad=1", "winograd", "", false),
                        2e-5);
    ck_assert_double_lt(conv_error("conv2d:H=9,W=10,C=8,K=4,R=3,S=3,pad=1", "winograd",
                                   "m=4 points=0:1:-1:2:-2", false),
                        2e-5);
    ck_assert_double_lt(conv_error("conv2d:H=9,W=10,C=8,K=4,R=3,S=3,pad=1", "winograd", "m=6",
                                   false),
                        1e-4);
}
END_TEST

/* ---- other operators ------------------------------------------------------------------------- */

START_TEST(matmul_equals_plain_loops)
{
    struct dsl_run *r = dsl_run_open("matmul:M=4,N=5,K=6,B=2,bias=1,act=relu", "direct", "");
    struct rng g;
    rng_seed(&g, 3);
    dsl_run_fill_int(r, &g, -5, 5);
    dsl_run_go(r);
    const float *a = dsl_run_buf(r, "a"), *b = dsl_run_buf(r, "b"), *bias = dsl_run_buf(r, "bias"),
                *y = dsl_run_buf(r, "y");
    for (int i = 0; i < 2 * 4 * 5; i++) {
        int z = i / 20, m = i / 5 % 4, n = i % 5;
        float want = bias[n];
        for (int k = 0; k < 6; k++) want += a[(z * 4 + m) * 6 + k] * b[(z * 6 + k) * 5 + n];
        ck_assert_float_eq(y[i], fmaxf(want, 0));
    }
    dsl_run_close(r);
}
END_TEST

START_TEST(argmax_takes_the_lowest_of_equals)
{
    struct dsl_run *r = dsl_run_open("argmax:M=3,N=4", "direct", "");
    const float x[12] = {1, 3, 3, 2, -1, -1, -1, -1, 0, -2, 0, 5};
    memcpy(dsl_run_buf(r, "x"), x, sizeof x);
    dsl_run_go(r);
    const float *v = dsl_run_buf(r, "value");
    const int32_t *i = dsl_run_buf(r, "index");
    ck_assert_float_eq(v[0], 3);
    ck_assert_int_eq(i[0], 1);
    ck_assert_float_eq(v[1], -1);
    ck_assert_int_eq(i[1], 0);
    ck_assert_float_eq(v[2], 5);
    ck_assert_int_eq(i[2], 3);
    dsl_run_close(r);
}
END_TEST

static void check_softmax(const char *algorithm)
{
    struct dsl_run *r = dsl_run_open("softmax:M=3,N=7", algorithm, "");
    struct rng g;
    rng_seed(&g, 5);
    dsl_run_fill_int(r, &g, -30, 30);
    dsl_run_go(r);
    const float *x = dsl_run_buf(r, "x"), *y = dsl_run_buf(r, "y");
    for (int m = 0; m < 3; m++) {
        double sum = 0;
        for (int n = 0; n < 7; n++) sum += exp((double)x[m * 7 + n]);
        for (int n = 0; n < 7; n++)
            ck_assert_double_eq_tol(y[m * 7 + n], exp((double)x[m * 7 + n]) / sum, 1e-6);
    }
    dsl_run_close(r);
}

START_TEST(softmax_both_ways)
{
    check_softmax("direct");
    check_softmax("online");
}
END_TEST

static void check_layernorm(const char *algorithm)
{
    struct dsl_run *r = dsl_run_open("layernorm:M=2,N=9,eps=0.5", algorithm, "");
    struct rng g;
    rng_seed(&g, 5);
    dsl_run_fill_int(r, &g, -9, 9);
    dsl_run_go(r);
    const float *x = dsl_run_buf(r, "x"), *y = dsl_run_buf(r, "y"), *ga = dsl_run_buf(r, "gamma"),
                *be = dsl_run_buf(r, "beta");
    for (int m = 0; m < 2; m++) {
        double mean = 0, var = 0;
        for (int n = 0; n < 9; n++) mean += x[m * 9 + n] / 9.0;
        for (int n = 0; n < 9; n++) var += (x[m * 9 + n] - mean) * (x[m * 9 + n] - mean) / 9;
        for (int n = 0; n < 9; n++)
            ck_assert_double_eq_tol(y[m * 9 + n],
                                    (x[m * 9 + n] - mean) / sqrt(var + 0.5) * ga[n] + be[n], 1e-4);
    }
    dsl_run_close(r);
}

START_TEST(layernorm_both_ways)
{
    check_layernorm("direct");
    check_layernorm("welford");
}
END_TEST

START_TEST(ghost_writes_both_halves)
{
    struct dsl_run *r = dsl_run_open("ghost:H=4,W=5,C=3,K=5", "direct", "");
    struct rng g;
    rng_seed(&g, 11);
    dsl_run_fill_int(r, &g, -3, 3);
    dsl_run_go(r);
    const float *x = dsl_run_buf(r, "x"), *w = dsl_run_buf(r, "w"), *b = dsl_run_buf(r, "b"),
                *cheap = dsl_run_buf(r, "cheap"), *cb = dsl_run_buf(r, "cb");
    const float *y = dsl_run_buf(r, "y");
    enum { H = 4, W = 5, C = 3, K = 5, M = 3 };
    float first[H][W][M];
    for (int p = 0; p < H; p++)
        for (int q = 0; q < W; q++)
            for (int k = 0; k < M; k++) {
                float s = b[k];
                for (int c = 0; c < C; c++) s += x[(p * W + q) * C + c] * w[c * M + k];
                first[p][q][k] = fmaxf(s, 0);
                ck_assert_float_eq(y[(p * W + q) * K + k], first[p][q][k]);
            }
    for (int p = 0; p < H; p++)
        for (int q = 0; q < W; q++)
            for (int k = 0; k < K - M; k++) {
                float s = cb[k];
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) {
                        int h = p + i - 1, v = q + j - 1;
                        if (h >= 0 && h < H && v >= 0 && v < W)
                            s += first[h][v][k] * cheap[(i * 3 + j) * (K - M) + k];
                    }
                ck_assert_float_eq(y[(p * W + q) * K + M + k], fmaxf(s, 0));
            }
    dsl_run_close(r);
}
END_TEST

/* ---- requantisation -------------------------------------------------------------------------- */

static int32_t ref_high_mul(int32_t a, int32_t b)
{
    int64_t ab = (int64_t)a * b;
    int64_t nudge = ab >= 0 ? (INT64_C(1) << 30) : 1 - (INT64_C(1) << 30);
    return (int32_t)((ab + nudge) / (INT64_C(1) << 31));
}

static int32_t ref_double(int32_t x, int32_t mult, int shift)
{
    int left = shift > 0 ? shift : 0, e = shift > 0 ? 0 : -shift;
    int32_t v = ref_high_mul((int32_t)((uint32_t)x << left), mult);
    int32_t mask = (int32_t)((INT64_C(1) << e) - 1), rem = v & mask,
            threshold = (mask >> 1) + (v < 0);
    return (v >> e) + (rem > threshold);
}

static int32_t ref_single(int32_t x, int32_t mult, int shift)
{
    return (int32_t)(((int64_t)x * mult + (INT64_C(1) << (30 - shift))) >> (31 - shift));
}

static int clamp8(int64_t v) { return (int)(v < -128 ? -128 : v > 127 ? 127 : v); }

static void check_requant(const char *mode)
{
    char token[200];
    enum { H = 5, W = 4, C = 3, K = 6 };
    snprintf(token, sizeof token, "qconv2d:H=5,W=4,C=3,K=6,R=3,S=3,pad=1,zp_x=-5,zp_y=3,requant=%s",
             mode);
    struct dsl_run *r = dsl_run_open(token, "direct", "");
    struct rng g;
    rng_seed(&g, 17);
    int8_t *x = dsl_run_buf(r, "x"), *w = dsl_run_buf(r, "w"), *y = dsl_run_buf(r, "y");
    int32_t *bias = dsl_run_buf(r, "bias"), *mult = NULL, *shift = NULL;
    float *scale = NULL;
    bool real = strcmp(mode, "f32_half_even") == 0;
    for (int i = 0; i < H * W * C; i++) x[i] = (int8_t)rng_range(&g, -128, 127);
    for (int i = 0; i < 9 * C * K; i++) w[i] = (int8_t)rng_range(&g, -127, 127);
    for (int k = 0; k < K; k++) bias[k] = (int32_t)rng_range(&g, -9000, 9000);
    if (real)
        scale = dsl_run_buf(r, "scale");
    else {
        mult = dsl_run_buf(r, "mult");
        shift = dsl_run_buf(r, "shift");
    }
    for (int k = 0; k < K; k++) {
        if (real)
            scale[k] = (float)(0.0005 + 0.003 * rng_unit(&g));
        else {
            mult[k] = (int32_t)rng_range(&g, INT64_C(1) << 30, INT32_MAX);
            shift[k] = (int32_t)rng_range(&g, -10, -6);
        }
    }
    dsl_run_go(r);
    for (int i = 0; i < H * W * K; i++) {
        int p = i / K / W, q = i / K % W, k = i % K;
        int32_t acc = bias[k];
        for (int j = 0; j < 9 * C; j++) {
            int h = p + j / C / 3 - 1, v = q + j / C % 3 - 1;
            if (h >= 0 && h < H && v >= 0 && v < W)
                acc += (x[(h * W + v) * C + j % C] + 5) * w[j * K + k];
        }
        int want = real ? clamp8(lrintf(fminf(fmaxf((float)acc * scale[k], -131), 124)) + 3)
                   : strcmp(mode, "tflite_double")
                       ? clamp8((int64_t)ref_single(acc, mult[k], shift[k]) + 3)
                       : clamp8((int64_t)ref_double(acc, mult[k], shift[k]) + 3);
        ck_assert_msg(y[i] == want, "%s element %d: %d, want %d", mode, i, y[i], want);
    }
    dsl_run_close(r);
}

START_TEST(requantisation_is_tflite_to_the_bit)
{
    check_requant("tflite_double");
    check_requant("tflite_single");
    check_requant("f32_half_even");
}
END_TEST

/* ---- delta2bbox: the golden vectors of mmdetection ------------------------------------------- */

static void check_boxes(const char *token, const float want[16])
{
    static const float ROIS[16] = {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 5, 5, 5, 5};
    static const float DELTAS[16] = {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, -1, .7F, -1.9F, -.5F, .3F};
    struct dsl_run *r = dsl_run_open(token, "direct", "");
    float *shape = dsl_run_buf(r, "max_shape");
    memcpy(dsl_run_buf(r, "rois"), ROIS, sizeof ROIS);
    memcpy(dsl_run_buf(r, "deltas"), DELTAS, sizeof DELTAS);
    shape[0] = shape[1] = 32;
    dsl_run_go(r);
    const float *y = dsl_run_buf(r, "boxes");
    for (int i = 0; i < 16; i++) ck_assert_float_eq_tol(y[i], want[i], 6e-5F);
    dsl_run_close(r);
}

START_TEST(delta2bbox_golden_vectors)
{
    static const float V1[16] = {0, 0,      1,       1,      .2817F,  .2817F,  4.7183F, 4.7183F,
                                 0, .6321F, 7.3891F, .3679F, 5.8967F, 2.9251F, 5.5033F, 3.2749F};
    static const float V2[16] = {0, 0,      1,       1,      .1409F, .1409F, 2.8591F, 2.8591F,
                                 0, .3161F, 4.1945F, .6839F, 5,      5,      5,       5};
    check_boxes("delta2bbox:N=4,variant=v1", V1);
    check_boxes("delta2bbox:N=4,variant=v2", V2);
}
END_TEST

/* ---- the language's corners ------------------------------------------------------------------ */

START_TEST(gather_table_shift_popcount_and_casts)
{
    struct dsl_run *r = dsl_run_text(
        "op t { in ids[N]: s32 in 0..V\n in v[V,2]: f32\n in u[N]: u32\n out y[N,2]: f32\n out "
        "p[N]: s32\n out c[N]: s8\n out h[N]: f16\n"
        " table s[2]: f32 = [1/2, -3]\n"
        " y[n,d] = v[ids[n], d] * s[d]\n p[n] = s32(popcount(u[n] >> 1)) + rshr(ids[n], 1)\n"
        " c[n] = s8(v[ids[n], 0], sat, round_even)\n h[n] = v[ids[n], 1] + 0.1 }",
        "t:N=3,V=4", "direct", "");
    const int32_t ids[3] = {3, 0, 2};
    const uint32_t u[3] = {7, 0x80000001U, 0};
    const float v[8] = {1, 2, 3, 4, 300.5F, 6, 2.5F, 8};
    memcpy(dsl_run_buf(r, "ids"), ids, sizeof ids);
    memcpy(dsl_run_buf(r, "u"), u, sizeof u);
    memcpy(dsl_run_buf(r, "v"), v, sizeof v);
    dsl_run_go(r);
    const float *y = dsl_run_buf(r, "y");
    const int32_t *p = dsl_run_buf(r, "p");
    const int8_t *c = dsl_run_buf(r, "c");
    const uint16_t *h = dsl_run_buf(r, "h");
    ck_assert_float_eq(y[0], 1.25F);
    ck_assert_float_eq(y[1], -24);
    ck_assert_float_eq(y[4], 150.25F);
    ck_assert_int_eq(p[0], 2 + 2); /* rshr(3, 1) = 2: halves up */
    ck_assert_int_eq(p[1], 1 + 0);
    ck_assert_int_eq(p[2], 0 + 1);
    ck_assert_int_eq(c[0], 2); /* 2.5 to even */
    ck_assert_int_eq(c[2], 127);
    ck_assert_uint_eq(h[1], 0x4033); /* 2.1 in f16 */
    dsl_run_close(r);
}
END_TEST

/* What argmax finds is a subscript without a guard, kept in a temp or not, and even where all is
 * NaN. A range in a dynamic extent is a proof at every size. */
START_TEST(gathers_by_what_argmax_finds)
{
    struct dsl_run *r = dsl_run_text(
        "op t { dyn V, M\n in x[N,C]: f32, e[C]: f32, k[N,C]: s32, t[V]: f32, ids[M]: s32 in 0..V\n"
        " out y[N]: f32, z[N]: f32, w[N]: f32, g[M]: f32\n"
        " i[n:N] = argmax(c:C) x[n,c]\n y[n] = e[i[n]]\n z[n] = e[argmin(c:1..C) x[n,c]]\n"
        " (v[n:N], j[n:N]) = argmax(c:C) k[n,c]\n w[n] = e[j[n]] + f32(v[n])\n g[m] = t[ids[m]] }",
        "t:N=2,C=3,V=4,M=2", "direct", "");
    const float x[6] = {1, 9, -2, NAN, NAN, NAN}, e[3] = {10, 20, 30}, t[4] = {1, 2, 3, 4};
    const int32_t k[6] = {7, 5, 7, INT32_MIN, INT32_MIN, INT32_MIN}, ids[2] = {3, 0};
    memcpy(dsl_run_buf(r, "x"), x, sizeof x);
    memcpy(dsl_run_buf(r, "e"), e, sizeof e);
    memcpy(dsl_run_buf(r, "k"), k, sizeof k);
    memcpy(dsl_run_buf(r, "t"), t, sizeof t);
    memcpy(dsl_run_buf(r, "ids"), ids, sizeof ids);
    dsl_run_go(r);
    const float *y = dsl_run_buf(r, "y"), *z = dsl_run_buf(r, "z"), *w = dsl_run_buf(r, "w"),
                *g = dsl_run_buf(r, "g");
    ck_assert_float_eq(y[0], 20);
    ck_assert_float_eq(y[1], 30);
    ck_assert_float_eq(z[0], 30);
    ck_assert_float_eq(z[1], 30);
    ck_assert_float_eq(w[0], 17);
    ck_assert_float_eq(w[1], 10 + (float)INT32_MIN);
    ck_assert_float_eq(g[0], 4);
    ck_assert_float_eq(g[1], 1);
    dsl_run_close(r);
}
END_TEST

START_TEST(pixel_shuffle_and_strided_pieces_cover)
{
    struct dsl_run *r =
        dsl_run_text("op t { attr r = 2\n in x[H,C]: f32\n out y[H*r, C/r]: f32\n out z[2*H]: f32\n"
                     " y[h*r + i, c] = x[h, c*r + i] for h: H, i: r, c: C/r\n"
                     " z[2*h] = x[h,0] for h: H\n z[2*h + 1] = 0 - x[h,0] for h: H }",
                     "t:H=3,C=4", "direct", "");
    float *x = dsl_run_buf(r, "x");
    for (int i = 0; i < 12; i++) x[i] = (float)i;
    dsl_run_go(r);
    const float *y = dsl_run_buf(r, "y"), *z = dsl_run_buf(r, "z");
    for (int h = 0; h < 3; h++)
        for (int i = 0; i < 2; i++)
            for (int c = 0; c < 2; c++)
                ck_assert_float_eq(y[(h * 2 + i) * 2 + c], x[h * 4 + c * 2 + i]);
    for (int h = 0; h < 6; h++) ck_assert_float_eq(z[h], h % 2 ? -x[h / 2 * 4] : x[h / 2 * 4]);
    dsl_run_close(r);
}
END_TEST

START_TEST(reductions_of_every_kind)
{
    struct dsl_run *r = dsl_run_text(
        "op t { in x[N,K]: f32\n out a[N]: f32, b[N]: f32, c[N]: f32, d[N]: s32, e[N]: s32, f[N]: "
        "f32\n"
        " a[n] = prod(k:K) x[n,k]\n b[n] = min(k:K) x[n,k]\n c[n] = max(k:1..K) x[n,k]\n"
        " d[n] = s32(any(k:K) (x[n,k] > 3))\n e[n] = argmin(k:K) x[n,k]\n"
        " f[n] = reduce(k:K) (x[n,k]) with (p), (q) -> (p + q - p*q) from (0) }",
        "t:N=2,K=3", "direct", "");
    const float x[6] = {2, -1, 2, 5, 0, 4};
    memcpy(dsl_run_buf(r, "x"), x, sizeof x);
    dsl_run_go(r);
    const float *a = dsl_run_buf(r, "a"), *b = dsl_run_buf(r, "b"), *c = dsl_run_buf(r, "c"),
                *f = dsl_run_buf(r, "f");
    const int32_t *d = dsl_run_buf(r, "d"), *e = dsl_run_buf(r, "e");
    ck_assert_float_eq(a[0], -4);
    ck_assert_float_eq(a[1], 0);
    ck_assert_float_eq(b[0], -1);
    ck_assert_float_eq(c[0], 2);
    ck_assert_float_eq(c[1], 4);
    ck_assert_int_eq(d[0], 0);
    ck_assert_int_eq(d[1], 1);
    ck_assert_int_eq(e[0], 1);
    ck_assert_int_eq(e[1], 1);
    ck_assert_float_eq(f[0], 1 - (1 - 2) * (1 + 1) * (1 - 2));
    ck_assert_float_eq(f[1], 1 - (1 - 5) * 1 * (1 - 4));
    dsl_run_close(r);
}
END_TEST

/* One name for an index and for a combine's parameter, or for two indices through a def. */
START_TEST(names_that_meet_in_a_stage_stay_apart)
{
    struct dsl_run *r = dsl_run_text(
        "op t { in x[N,C]: f32\n out u[N]: f32, v[N]: f32, w[N]: f32\n def row(i) = sum(k:C) "
        "x[i,k]\n"
        " (s[n:N], q[n:N]) = reduce(c:C) (x[n,c], x[n,c]*x[n,c])\n"
        "   with (a, n), (c, d) -> (a + c, n + d) from (0, 0)\n"
        " u[n] = s[n]\n v[n] = q[n]\n w[n] = sum(k:N) row(k) }",
        "t:N=2,C=3", "direct", "");
    const float x[6] = {1, 2, 3, 4, 5, 6};
    memcpy(dsl_run_buf(r, "x"), x, sizeof x);
    dsl_run_go(r);
    const float *u = dsl_run_buf(r, "u"), *v = dsl_run_buf(r, "v"), *w = dsl_run_buf(r, "w");
    ck_assert_float_eq(u[0], 6);
    ck_assert_float_eq(u[1], 15);
    ck_assert_float_eq(v[0], 14);
    ck_assert_float_eq(v[1], 77);
    ck_assert_float_eq(w[0], 21);
    ck_assert_float_eq(w[1], 21);
    dsl_run_close(r);
}
END_TEST

/* What is written with a dynamic extent takes its neighbour's type as it does with a known one. */
START_TEST(dynamic_extents_take_the_type_of_their_neighbour)
{
    for (int dyn = 0; dyn < 2; dyn++) {
        char text[600];
        snprintf(text, sizeof text,
                 "op t { %s in x[T]: f32, k[2]: s32\n out a[T]: f32, b[2]: s32\n"
                 " a[t] = x[t] / max(T, 1) + clamp(T, 1, 5) * min(T, 0.5) - ceildiv(T, 4)"
                 " + select(T > 2, T + 1, 0) + abs(2 - T) * sqrt(T * T)\n"
                 " b[i] = k[i] * (1 - max(T, 2)) + select(T > 2, T, 1) }",
                 dyn ? "dyn T\n" : "");
        struct dsl_run *r = dsl_run_text(text, "t:T=4", "direct", "");
        const float x[4] = {8, 0, 0, 4};
        const int32_t k[2] = {10, -1};
        memcpy(dsl_run_buf(r, "x"), x, sizeof x);
        memcpy(dsl_run_buf(r, "k"), k, sizeof k);
        dsl_run_go(r);
        const float *a = dsl_run_buf(r, "a");
        const int32_t *b = dsl_run_buf(r, "b");
        ck_assert_float_eq(a[0], 2 + 2 - 1 + 5 + 8);
        ck_assert_float_eq(a[3], 1 + 2 - 1 + 5 + 8);
        ck_assert_int_eq(b[0], -26);
        ck_assert_int_eq(b[1], 7);
        dsl_run_close(r);
    }
}
END_TEST

/* Parts of a dynamic extent, told apart on the right. */
START_TEST(dynamic_parts_by_select)
{
    struct dsl_run *r =
        dsl_run_text("op t { dyn A, B\n in a[A]: f32, b[B]: f32\n out y[A+B]: f32, z[2*A]: f32\n"
                     " y[n] = select(n < A, (a[n] else 0), (b[n-A] else 0))\n"
                     " z[n] = select(n % 2 == 0, (a[n/2] else 0), (b[n/2] else 0)) }",
                     "t:A=2,B=3", "direct", "");
    const float a[2] = {1, 2}, b[3] = {10, 20, 30}, y[5] = {1, 2, 10, 20, 30},
                z[4] = {1, 10, 2, 20};
    memcpy(dsl_run_buf(r, "a"), a, sizeof a);
    memcpy(dsl_run_buf(r, "b"), b, sizeof b);
    dsl_run_go(r);
    ck_assert_mem_eq(dsl_run_buf(r, "y"), y, sizeof y);
    ck_assert_mem_eq(dsl_run_buf(r, "z"), z, sizeof z);
    dsl_run_close(r);
}
END_TEST

START_TEST(every_shipped_operator_lowers_at_odd_sizes)
{
    static const char *const TOKENS[] = {
        "dwconv2d:H=7,W=5,C=3,R=3,S=3,pad=1,stride=2,act=relu6,bias=1",
        "dwconv2d:H=1,W=1,C=1,R=1,S=1,layout=nchw",
        "pool2d:H=5,W=7,C=3,R=3,S=2,stride=2,pad=1",
        "pool2d:H=5,W=7,C=3,R=5,S=7,mode=avg,layout=nchw",
        "eltwise:N=5,kind=gelu",
        "eltwise:N=0,kind=silu",
        "eltwise:N=7,kind=mul",
        "delta2bbox:N=0,C=3,clip=0",
        "delta2bbox:N=3,C=2,ctr_clamp=32,means=0:0:0:0,stds=1/10:1/10:1/5:1/5",
        "softmax:M=0,N=3",
        "softmax:M=1,N=1",
        "layernorm:M=1,N=1",
        "argmax:M=1,N=1",
        "ghost:H=1,W=1,C=1,K=1,act=none",
        "matmul:M=0,N=1,K=0",
        "qconv2d:H=3,W=3,C=1,K=1,R=3,S=3,requant=s32_out",
        "conv2d:H=3,W=3,C=2,K=2,R=3,S=3,dtype=bf16,act=prelu",
        "conv2d:H=3,W=3,C=2,K=2,R=3,S=3,dtype=f64"};
    for (size_t i = 0; i < QN_COUNT(TOKENS); i++) {
        struct dsl_run *r = dsl_run_open(TOKENS[i], "direct", "");
        dsl_run_go(r);
        dsl_run_close(r);
    }
}
END_TEST

/* ---- recurrences ----------------------------------------------------------------------------- */

START_TEST(cumulative_sums)
{
    enum { M = 3, N = 7 };
    for (int way = 0; way < 4; way++) {
        char token[64];
        struct rng g;
        bool reverse = way & 1, exclusive = way & 2;
        snprintf(token, sizeof token, "cumsum:M=%d,N=%d,reverse=%d,exclusive=%d", M, N, reverse,
                 exclusive);
        struct dsl_run *r = dsl_run_open(token, "direct", "");
        rng_seed(&g, 5);
        dsl_run_fill_int(r, &g, -9, 9);
        dsl_run_go(r);
        const float *x = dsl_run_buf(r, "x"), *y = dsl_run_buf(r, "y");
        for (int m = 0; m < M; m++) {
            float sum = 0;
            for (int i = 0; i < N; i++) {
                int at = m * N + (reverse ? N - 1 - i : i);
                ck_assert_float_eq(y[at], exclusive ? sum : sum + x[at]);
                sum += x[at];
            }
        }
        dsl_run_close(r);
    }
}
END_TEST

/* The textbook loop: a box stays unless a better one that stayed overlaps it too much. */
START_TEST(greedy_suppression)
{
    enum { N = 60 };
    struct dsl_run *r = dsl_run_open("nms:N=60,thr=0.25", "direct", "");
    struct rng g;
    rng_seed(&g, 11);
    float *box = dsl_run_buf(r, "box");
    for (int i = 0; i < N; i++) {
        box[4 * i] = (float)rng_range(&g, 0, 60);
        box[4 * i + 1] = (float)rng_range(&g, 0, 60);
        box[4 * i + 2] = box[4 * i] + (float)rng_range(&g, 1, 40);
        box[4 * i + 3] = box[4 * i + 1] + (float)rng_range(&g, 1, 40);
    }
    dsl_run_go(r);
    const uint8_t *keep = dsl_run_buf(r, "keep");
    int want[N], kept = 0;
    for (int i = 0; i < N; i++) {
        const float *a = box + (ptrdiff_t)4 * i;
        want[i] = 1;
        for (int j = 0; j < i && want[i]; j++) {
            const float *b = box + (ptrdiff_t)4 * j;
            float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]),
                  h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
            float inter = fmaxf(w, 0) * fmaxf(h, 0);
            float both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter;
            if (want[j] && inter > both * 0.25F) want[i] = 0;
        }
        kept += want[i];
        ck_assert_int_eq(keep[i], want[i]);
    }
    ck_assert_int_gt(kept, 5);
    ck_assert_int_lt(kept, N - 5);
    dsl_run_close(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dsl_lower");
    TCase *t = tcase_create("lower");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, golden);
    tcase_add_test(t, conv2d_equals_plain_loops);
    tcase_add_test(t, random_conv2d_tasks);
    tcase_add_test(t, winograd_equals_plain_loops);
    tcase_add_test(t, matmul_equals_plain_loops);
    tcase_add_test(t, argmax_takes_the_lowest_of_equals);
    tcase_add_test(t, softmax_both_ways);
    tcase_add_test(t, layernorm_both_ways);
    tcase_add_test(t, ghost_writes_both_halves);
    tcase_add_test(t, requantisation_is_tflite_to_the_bit);
    tcase_add_test(t, delta2bbox_golden_vectors);
    tcase_add_test(t, gather_table_shift_popcount_and_casts);
    tcase_add_test(t, gathers_by_what_argmax_finds);
    tcase_add_test(t, dynamic_extents_take_the_type_of_their_neighbour);
    tcase_add_test(t, dynamic_parts_by_select);
    tcase_add_test(t, pixel_shuffle_and_strided_pieces_cover);
    tcase_add_test(t, reductions_of_every_kind);
    tcase_add_test(t, names_that_meet_in_a_stage_stay_apart);
    tcase_add_test(t, cumulative_sums);
    tcase_add_test(t, greedy_suppression);
    tcase_add_test(t, every_shipped_operator_lowers_at_odd_sizes);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
