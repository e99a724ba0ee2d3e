/* Every operator of schedules/ and of tests/ops/ on random shapes, under schedules drawn from its
 * spaces, at verification tier 3. tests/ops/ are operators as a user writes them: nothing but an
 * .op file and a derived space.
 *
 * QUERN_PROP_CASES shapes an operator (3; QUERN_LONG=1: 20), QUERN_PROP_SEED the first seed. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "lib/e2e.h"

/* KEY=kind: s side 1..13, z likewise but sometimes 0, c channels 1..40, d 0..200 with 0, 1 and
 * primes, r rows 0..300, or LO..HI; KEY=a|b|c one of the words. Shapes that the operator refuses
 * are drawn again. */
static const struct row {
    const char *op, *spec;
} rows[] = {
    {"anchor_grid", "H=z W=z A=1..9 stride=1..32"},
    {"argmax", "M=r N=c"},
    {"bbox2delta", "N=d variant=v1|v2"},
    {"bbox_overlaps", "M=c N=d mode=iou|iof variant=v1|v2"},
    {"bitserial_conv2d", "H=s W=s C=1..130 K=1..20 R=1..3 S=1..3 pad=0..1 stride=1..2 A=1..3 "
                         "W_bits=1..2 polarity=unipolar|bipolar|unsigned"},
    {"bnconv2d", "H=s W=s C=c K=c R=1..3 S=1..3 pad=0..1 act=none|relu|relu6"},
    {"chshuffle", "H=z W=s C=c groups=1..4 layout=nhwc|nchw"},
    {"concat", "M=d A=c B=z"},
    {"conv2d", "N=0..2 H=s W=s C=c K=c R=1..5 S=1..3 pad=0..2 stride=1..2 bias=0|1 residual=0|1 "
               "act=none|relu|relu6|prelu layout=nhwc|nchw"},
    {"delta2bbox", "N=d C=1..9 variant=v1|v2 clip=0|1 layout=boxes|planes"},
    {"delta2bbox", "N=c B=0..3 C=1..90 stds=1/10:1/10:1/5:1/5 ctr_clamp=0|32 variant=v1|v2"},
    {"distance2bbox", "N=d variant=v1|v2 clip=0|1"},
    {"dwconv2d", "N=0..2 H=s W=s C=c R=1..5 S=1..3 pad=0..2 stride=1..2 bias=0|1 "
                 "act=none|relu|relu6|prelu layout=nhwc|nchw"},
    {"eltwise", "N=r kind=add|mul|relu|sigmoid|tanh|gelu|silu"},
    {"ghost", "H=s W=s C=c K=c R=3..3"},
    {"gpool", "N=0..3 H=s W=s C=c mode=avg|max layout=nhwc|nchw"},
    {"layernorm", "M=d N=c layout=rows|columns"},
    {"matmul", "B=0..3 M=d N=c K=d bias=0|1 b=const|plain act=none|relu|relu6"},
    {"matrix_nms", "N=c kernel=gaussian|linear"},
    {"matrix_nms", "N=1..20 P=c of=masks"},
    {"cumsum", "M=d N=c reverse=0|1 exclusive=0|1"},
    {"nms", "N=c thr=0.25|0.5 rule=gt|ge variant=v1|v2"},
    {"nms_mask", "N=d thr=0.5|0.75 rule=gt|ge form=bytes|bits variant=v1|v2"},
    {"pixelshuffle", "N=0..2 H=z W=s C=s r=1..4 order=crd|dcr layout=nhwc|nchw"},
    {"pool2d", "H=s W=s C=c R=1..4 S=1..4 stride=1..3 pad=0..1 mode=max|avg count=all|valid "
               "layout=nhwc|nchw"},
    {"qconv2d",
     "H=s W=s C=c K=c R=1..3 S=1..3 pad=0..1 zp_x=-128..127 zp_y=-9..9 "
     "requant=tflite_double|tflite_single|f32_half_even|float_out|s32_out per=channel|tensor"},
    {"qdwconv2d",
     "H=s W=s C=c R=1..3 S=1..3 pad=0..1 zp_x=-128..127 "
     "requant=tflite_double|tflite_single|f32_half_even|float_out|s32_out per=channel|tensor"},
    {"qmatmul",
     "M=d N=c K=d zp_a=-128..127 "
     "requant=tflite_double|tflite_single|f32_half_even|float_out|s32_out per=channel|tensor"},
    {"resize2d", "H=s W=s C=c P=z Q=s mode=nearest|bilinear coords=half_pixel|asymmetric|corners "
                 "layout=nhwc|nchw"},
    {"roi_align", "N=1..2 H=s W=s C=c K=z P=1..4 Q=1..4 samples=1..3 aligned=0|1 layout=nhwc|nchw"},
    {"softmax", "M=d N=c layout=rows|columns"},
    {"tconv2d",
     "H=z W=s C=c K=c R=1..4 S=1..4 stride=1..3 pad=0..1 out_pad=0..1 bias=0|1 layout=nhwc|nchw"},
    {"yolo_decode", "H=z W=s A=1..3 K=c version=v3|v5"},
    {"gelu", "N=r"},
    {"rmsnorm", "M=d N=c"},
    {"rope", "T=z H=s D=c"},
    {"attention", "H=1..3 T=c D=c"},
    {"groupnorm", "N=0..2 P=s C=c groups=1..4"},
    {"l2norm", "M=d N=c"},
    {"focal", "N=d C=c"},
    {"focal_soft", "N=d C=c"},
    {"conv1d", "T=d C=c K=c R=1..5 dilation=1..3 pad=0..4"},
    {"qdq", "M=z N=c"},
    {"swiglu", "M=z N=c K=c"},
    {"xcorr", "H=s W=s R=1..5 S=1..5 C=c"},
    {"scores", "N=d C=c"},
    {"nearest", "N=d M=d D=1..9"},
    {"thin", "N=d M=d E=1..5"},
    {"farthest", "M=d D=1..9"},
    {"signs", "M=z N=c"},
    {"fixed", "N=d K=c"},
    {"argrow", "M=z N=d"},
    {"bestrow", "N=d D=c K=c"},
    {"halfnorm", "N=d C=c dtype=f16|bf16"},
    {"halfdot", "M=d K=d E=1..40 dtype=f16|bf16"},
    {"pool3d", "D=s H=s W=s C=c R=1..3 stride=1..2 pad=0..1"},
};

static const struct row *row; /* of the shapes being drawn */
static struct e2e *x;

static int64_t draw(struct rng *r, const char *kind)
{
    static const int64_t primes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
    char *dots = strstr(kind, "..");
    if (dots) return rng_range(r, strtoll(kind, NULL, 10), strtoll(dots + 2, NULL, 10));
    bool zero = *kind != 's' && *kind != 'c' && rng_chance(r, 0.1);
    if (zero) return 0;
    if (rng_chance(r, 0.1)) return 1;
    if (*kind == 's' || *kind == 'z') return rng_range(r, 1, 13);
    if (rng_chance(r, 0.4)) return primes[rng_range(r, 0, (int64_t)QN_COUNT(primes) - 1)];
    return rng_range(r, 1, *kind == 'c' ? 40 : *kind == 'd' ? 200 : 300);
}

/* One of a|b|c, with its end cut off in place. */
static char *alternative(struct rng *r, char *words)
{
    int n = 1;
    for (char *p = words; *p; p++) n += *p == '|';
    for (int64_t k = rng_range(r, 0, n - 1); k > 0; k--) words = strchr(words, '|') + 1;
    words[strcspn(words, "|")] = 0;
    return words;
}

static void draw_shape(struct rng *r, struct e2e_shape *s, char *spec)
{
    *s = (struct e2e_shape){.op = row->op};
    char *save = NULL;
    for (char *p = strtok_r(spec, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        char *value = strchr(p, '=');
        *value++ = 0;
        bool number = strstr(value, "..") || (strlen(value) == 1 && strchr("szcdr", *value));
        if (number)
            e2e_put(s, p, draw(r, value), strstr(value, "..") ? strtoll(value, NULL, 10) : 1);
        else
            e2e_word(s, p, alternative(r, value));
    }
}

static void shape_of_row(struct rng *r, struct e2e_shape *s, int *threads)
{
    static char spec[E2E_KEYS * 48]; /* the shape's names point into it */
    struct buf b;
    buf_init(&b, 4096);
    *threads = rng_chance(r, 0.2) ? 2 : 1;
    for (int i = 0; i < 500; i++) {
        struct task *t = NULL;
        struct err e = {0};
        snprintf(spec, sizeof spec, "%s", row->spec);
        draw_shape(r, s, spec);
        e2e_token(s, &b);
        enum rc rc = task_parse(b.p, x->lib, NULL, &t, &e);
        task_free(t);
        if (rc == RC_OK) {
            buf_fini(&b);
            return;
        }
        ck_assert_msg(strcmp(e.code, "task.require") == 0, "%s: %s", b.p, e.msg);
    }
    ck_abort_msg("%s: no shape of '%s' is legal", row->op, row->spec);
}

static void add_own(const char *op)
{
    char path[512], *text = NULL;
    size_t n = 0;
    struct err e = {0};
    snprintf(path, sizeof path, QN_SOURCE_DIR "/tests/ops/%s.op", op);
    if (fs_read(path, 1 << 20, &text, &n, NULL) != RC_OK) return; /* one of schedules/ */
    ck_assert_msg(op_lib_add(x->lib, path, text, n, &e) == RC_OK, "%s", e.msg);
    mem_free(text);
}

static int64_t env_int(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    return s && *s ? strtoll(s, NULL, 10) : fallback;
}

START_TEST(every_operator_on_random_shapes)
{
    int64_t cases = env_int("QUERN_PROP_CASES", getenv("QUERN_LONG") ? 20 : 3),
            seed = env_int("QUERN_PROP_SEED", 1);
    const char *only = getenv("QUERN_PROP_OP");
    x = e2e_open();
    x->tier = 3;
    int bad = 0;
    for (int i = _i; i < (int)QN_COUNT(rows); i += 4) {
        row = &rows[i];
        if (only && strcmp(only, row->op) != 0) continue;
        add_own(row->op);
        bad += e2e_run(x, shape_of_row, (uint64_t)(seed + 1000 * i), cases, 1e9);
    }
    e2e_print(&x->stats);
    ck_assert_int_eq(bad, 0);
    ck_assert_int_eq((int)worker_restarts(x->worker), 0);
    e2e_close(x);
}
END_TEST

/* An operator that is shipped and not tested would go unnoticed. */
START_TEST(every_operator_has_a_row)
{
    struct op_lib *lib = NULL;
    struct err e = {0};
    int n = 0;
    ck_assert_int_eq(op_lib_new(QN_SOURCE_DIR "/schedules", false, &lib, &e), RC_OK);
    const char *const *names = op_lib_names(lib, &n);
    ck_assert_int_ge(n, 29);
    for (int i = 0; i < n; i++) {
        bool found = false;
        for (size_t k = 0; k < QN_COUNT(rows); k++) found |= strcmp(rows[k].op, names[i]) == 0;
        ck_assert_msg(found, "%s has no row in rows[]", names[i]);
    }
    op_lib_free(lib);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop.ops");
    TCase *t = tcase_create("tier3");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 3600 : 280);
    tcase_add_test(t, every_operator_has_a_row);
    tcase_add_loop_test(t, every_operator_on_random_shapes, 0, 4);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
