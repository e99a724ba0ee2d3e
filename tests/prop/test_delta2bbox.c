/* delta2bbox as machine code: the golden boxes of mmdetection, random calls against an f64 oracle,
 * and one kernel for every number of rois.
 *
 * Each kernel is compiled once at its tuning point and called with other N; behind the output's
 * last element lies a canary. QUERN_PROP_CASES calls (1,000; QUERN_LONG=1: 10,000), QUERN_PROP_SEED
 * the seed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/rng.h"
#include "compile/compile.h"

enum { POINTS = 4, CANARY = 64 };
#define FINE(rc, e) ck_assert_msg((rc) == RC_OK, "%s: %s", (e).code, (e).msg)

typedef int32_t kernel_fn(void *const *buf, const int64_t *dyn, void *scratch, const void *par);

struct form { /* what a token means to the oracle */
    const char *keys;
    int64_t b, c;
    double s, clamp, mean[4], std[4];
    bool clip;
};
static const struct form forms[] = {
    {"", 1, 1, 1, 0, {0}, {1, 1, 1, 1}, true},
    {"variant=v2", 1, 1, 0, 0, {0}, {1, 1, 1, 1}, true},
    {"variant=v2,clip=0,C=3", 1, 3, 0, 0, {0}, {1, 1, 1, 1}, false},
    {"C=81,stds=1/10:1/10:1/5:1/5", 1, 81, 1, 0, {0}, {.1, .1, .2, .2}, true},
    {"C=5,B=2,means=1/4:0:-1/2:1", 2, 5, 1, 0, {.25, 0, -.5, 1}, {1, 1, 1, 1}, true},
    {"variant=v2,ctr_clamp=32", 1, 1, 0, 32, {0}, {1, 1, 1, 1}, true},
};

struct machine {
    struct compile_result r;
    uint8_t *code;
    size_t mapped;
    void *scratch;
};

static struct op_lib *lib;
static struct target *target;

static void machine_open(struct machine *m, const char *token, struct rng *r)
{
    struct err e = {0};
    struct task *task = NULL;
    struct compiler *c = NULL;
    struct plan plan;
    struct buf op, facts, trace;
    buf_init(&op, 1 << 20);
    buf_init(&facts, 1 << 16);
    buf_init(&trace, 1 << 16);
    FINE(task_parse(token, lib, NULL, &task, &e), e);
    operator_text(&op, task->op);
    target_text(target, &facts);
    FINE(compile_plan(task, target, 1, QN_SOURCE_DIR "/schedules", &plan, &e), e);
    FINE(compiler_new(&c, op.p, task->token, facts.p, &e), e);
    for (int tries = 0;; tries++) {
        const struct space *s = plan.space[rng_range(r, 0, plan.n - 1)];
        int choice[64];
        ck_assert_int_lt(tries, 500);
        for (int k = 0; k < space_knobs(s); k++)
            choice[k] = (int)rng_range(r, 0, space_knob_values(s, k) - 1);
        struct trace *t = space_trace(s, choice);
        if (!t) continue;
        buf_reset(&trace);
        trace_print(&trace, t);
        trace_free(t);
        compile_candidate(c, trace.p, COMPILE_BLOB, &m->r);
        if (m->r.status == COMPILE_OK) break;
        compile_result_fini(&m->r);
    }
    ck_assert_int_eq(m->r.npacked, 0);
    m->mapped = (m->r.art.blob_n + 4095) / 4096 * 4096;
    m->code = mmap(NULL, m->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(m->code != MAP_FAILED);
    memcpy(m->code, m->r.art.blob, m->r.art.blob_n);
    ck_assert_int_eq(mprotect(m->code, m->mapped, PROT_READ | PROT_EXEC), 0);
    m->scratch =
        aligned_alloc(64, (size_t)(m->r.art.scratch_a + m->r.art.scratch_b + 64) / 64 * 64);
    plan_fini(&plan);
    compiler_free(c);
    task_free(task);
    buf_fini(&op);
    buf_fini(&facts);
    buf_fini(&trace);
}

static void machine_close(struct machine *m)
{
    munmap(m->code, m->mapped);
    free(m->scratch);
    compile_result_fini(&m->r);
}

/* Runs on exactly sized buffers; the canary behind boxes must live. */
static void machine_run(const struct machine *m, const struct form *f, int64_t n, const float *rois,
                        const float *deltas, const float *shape, float *boxes)
{
    size_t all = (size_t)(f->b * n * f->c * 4);
    uint8_t want[CANARY];
    void *at = m->code + m->r.art.kernel_at;
    kernel_fn *kernel;
    void *buf[4] = {(void *)(uintptr_t)rois, (void *)(uintptr_t)deltas,
                    f->clip ? (void *)(uintptr_t)shape : (void *)boxes, boxes};
    memcpy(&kernel, &at, sizeof kernel);
    memset(want, 0xa5, sizeof want);
    memset(boxes, 0xff, all * sizeof *boxes);
    memcpy(boxes + all, want, sizeof want);
    ck_assert_int_eq(kernel(buf, &n, m->scratch, NULL), 0);
    ck_assert_mem_eq(boxes + all, want, sizeof want);
}

/* Coordinate i of one box in doubles; *scale: the largest magnitude on the way. */
static double oracle(const struct form *f, const float *roi, const float *delta, const float *shape,
                     int i, double *scale)
{
    const double rho = 4.135166556742356;
    int axis = i % 2;
    double low = (double)roi[axis], high = (double)roi[axis + 2], side = high - low + f->s;
    double d = (double)delta[axis] * f->std[axis] + f->mean[axis];
    double g = (double)delta[axis + 2] * f->std[axis + 2] + f->mean[axis + 2];
    double move = side * d, half;
    if (f->clamp > 0) move = fmin(fmax(move, -f->clamp), f->clamp);
    g = fmin(f->clamp > 0 ? g : fmax(g, -rho), rho);
    half = side * exp(g) / 2;
    double centre = (low + high) / 2 + move,
           v = centre + (i < 2 ? f->s / 2 - half : half - f->s / 2);
    *scale = fmax(fmax(fabs(centre), fabs(half)), fmax(fabs(move), fabs(side)));
    if (f->clip) v = fmin(fmax(v, 0), (double)shape[1 - axis] - f->s);
    return v;
}

static void random_input(struct rng *r, float *rois, int64_t n, float *deltas, int64_t nd)
{
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < 4; k++) rois[4 * i + k] = (float)(rng_unit(r) * 1300);
        bool inverted = rng_chance(r, 0.1);
        for (int k = 0; k < 2 && !inverted; k++) {
            float *a = &rois[4 * i + k], low = fminf(a[0], a[2]);
            a[2] = fmaxf(a[0], a[2]);
            a[0] = low;
        }
    }
    for (int64_t i = 0; i < nd; i++)
        deltas[i] = (float)((rng_unit(r) * 2 - 1) * (rng_chance(r, 0.02) ? 1e4 : 2));
}

/* Within 1e-3 pixels while everything stays below 4096, in proportion beyond; huge deltas
 * included. */
static void check_call(const struct machine *m, const struct form *f, int64_t n, struct rng *r)
{
    int64_t boxes_n = f->b * n * f->c;
    float *rois = malloc((size_t)(f->b * n * 4 + 1) * 4),
          *deltas = malloc((size_t)(boxes_n * 4 + 1) * 4);
    float *boxes = malloc((size_t)boxes_n * 16 + CANARY), shape[4];
    for (int k = 0; k < 4; k++) shape[k] = (float)rng_range(r, 1, 1400);
    random_input(r, rois, f->b * n, deltas, boxes_n * 4);
    machine_run(m, f, n, rois, deltas, shape, boxes);
    for (int64_t i = 0; i < boxes_n * 4; i++) {
        double scale,
            want = oracle(f, rois + i / 4 / f->c * 4, deltas + i / 4 * 4,
                          shape + 2 * (i / 4 / f->c / i64_max(n, 1)), (int)(i % 4), &scale);
        double off = fabs((double)boxes[i] - want), most = 1e-3 * fmax(1, scale / 4096);
        ck_assert_msg(off <= most, "%s N=%d: element %d is %.9g, want %.9g", f->keys, (int)n,
                      (int)i, (double)boxes[i], want);
    }
    free(rois);
    free(deltas);
    free(boxes);
}

static int64_t env_int(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    return s && *s ? strtoll(s, NULL, 10) : fallback;
}

static void setup(void)
{
    struct err e = {0};
    FINE(op_lib_new(QN_SOURCE_DIR "/schedules", false, &lib, &e), e);
    FINE(target_load("host", &target, &e), e);
}

/* Every form, two schedules each: awkward N first, then random ones. */
START_TEST(agrees_with_the_oracle_for_every_n)
{
    static const int64_t ns[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 2000};
    const struct form *f = &forms[_i];
    struct rng r;
    char token[200];
    int64_t calls = env_int("QUERN_PROP_CASES", getenv("QUERN_LONG") ? 10000 : 1000) /
                    (int64_t)QN_COUNT(forms) / 2;
    rng_seed(&r, (uint64_t)env_int("QUERN_PROP_SEED", 1) + (uint64_t)_i);
    snprintf(token, sizeof token, "delta2bbox:N=2000%s%s", *f->keys ? "," : "", f->keys);
    for (int k = 0; k < 2; k++) {
        struct machine m = {0};
        machine_open(&m, token, &r);
        for (size_t i = 0; i < QN_COUNT(ns); i++) check_call(&m, f, ns[i], &r);
        for (int64_t i = 0; i < calls; i++) check_call(&m, f, rng_range(&r, 0, 40), &r);
        machine_close(&m);
    }
}
END_TEST

static void check_golden(const char *token, const struct form *f, const float want[16])
{
    static const float ROIS[16] = {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 5, 5, 5, 5};
    static const float DELTAS[16] = {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, -1, .7F, -1.9F, -.5F, .3F};
    const float shape[2] = {32, 32};
    float boxes[16 + CANARY / 4];
    struct rng r;
    rng_seed(&r, 7);
    for (int k = 0; k < 3; k++) {
        struct machine m = {0};
        machine_open(&m, token, &r);
        machine_run(&m, f, POINTS, ROIS, DELTAS, shape, boxes);
        for (int i = 0; i < 16; i++) ck_assert_float_eq_tol(boxes[i], want[i], 6e-5F);
        machine_close(&m);
    }
}

START_TEST(golden_boxes)
{
    static const float V1[16] = {0, 0,      1,       1,      .2817F,  .2817F,  4.7183F, 4.7183F,
                                 0, .6321F, 7.3891F, .3679F, 5.8967F, 2.9251F, 5.5033F, 3.2749F};
    static const float V2[16] = {0, 0,      1,       1,      .1409F, .1409F, 2.8591F, 2.8591F,
                                 0, .3161F, 4.1945F, .6839F, 5,      5,      5,       5};
    check_golden("delta2bbox:N=2000", &forms[0], V1);
    check_golden("delta2bbox:N=2000,variant=v2", &forms[1], V2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop.delta2bbox");
    TCase *t = tcase_create("machine");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 600 : 60);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, golden_boxes);
    tcase_add_loop_test(t, agrees_with_the_oracle_for_every_n, 0, QN_COUNT(forms));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
