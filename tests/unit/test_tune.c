/* The search loop against a bench of recorded times: what it proposes, when it stops, what it
 * counts, and that an interrupted run goes on as if nothing had happened. No compiler, no runner,
 * no clock enters. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/map.h"
#include "base/vec.h"
#include "tune/tune.h"

/* A space whose time surface is known: f = 1000 + 10*(a-5)^2 + 7*(b-3)^2 + 40*(c==x), best at a=5,
 * b=3, c=y. */
static const char bowl_text[] = "space bowl for op\n"
                                "algorithm direct\n"
                                "knob A in 1..12\n"
                                "knob B in 1..9\n"
                                "knob C in 1 2\n"
                                "split y.m {A} guard y.mo y.mi\n"
                                "split y.n {B} guard y.no y.ni\n"
                                "split y.k {C} guard y.ko y.ki\n";

/* The same with an order of operations of our own, which the surface has worth 2, and which can be polished:
 * numbers that 4 divides gain 8, others lose 8. */
static const char list_text[] = "knob O in source list\ncodegen misched=off order={O}\n";

static struct space *bowl(bool listed)
{
    struct facts *f = mem_new(sizeof *f);
    struct space *s = NULL;
    struct err e = {0};
    facts_put(f, "M", 64);
    char text[1000];
    snprintf(text, sizeof text, "%s%s", bowl_text, listed ? list_text : "");
    enum rc rc = space_parse("bowl.sched", text, strlen(text), f, &s, &e);
    ck_assert_msg(rc == RC_OK && s, "%s", e.msg);
    mem_free(f);
    return s;
}

static void knobs_of(const char *trace, int *a, int *b, int *c)
{
    *a = *b = *c = -1;
    for (const char *p = trace; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        sscanf(p, "split y.m %d", a);
        sscanf(p, "split y.n %d", b);
        sscanf(p, "split y.k %d", c);
    }
}

static double polished(const char *trace, bool in_vain)
{
    double gain = strstr(trace, "order=list") ? 2 : 0;
    const char *p = strstr(trace, "nudge");
    while (p && (p = strpbrk(p, "=.")) != NULL) {
        int64_t number = strtol(++p, NULL, 10);
        if (number > 0) gain += number % 4 == 0 && !in_vain ? 8 : -8;
    }
    return gain;
}

static double surface(const char *trace, bool in_vain)
{
    int a, b, c;
    knobs_of(trace, &a, &b, &c);
    return 1000 - polished(trace, in_vain) + 10 * (a - 5) * (a - 5) + 7 * (b - 3) * (b - 3) +
           40 * (c == 1);
}

struct row {
    enum tune_phase phase;
    char hash[33], blob[33];
    struct tune_measured m;
};

struct bench {
    VEC(struct row) log;   /* of this and earlier lives */
    size_t known;          /* rows of earlier lives */
    VEC(char *) proposals; /* traces measured, in order, over all lives */
    VEC(char *) queue;     /* submitted */
    size_t queue_at;
    int64_t stop_after; /* new measurements before Ctrl-C; -1: never */
    int64_t measured, commits, uncommitted;
    int world_every; /* every n-th screen is a failure of the world */
    int wrong_every; /* every n-th trace gives wrong results (by hash) */
    int odd_every;   /* every n-th trace is refused by the builder, the one before it built alike */
    int64_t screens;
    bool listed;  /* has an order to polish */
    bool in_vain; /* ... and every other one is slower */
    bool blind;   /* the estimate knows nothing */
    bool busy;    /* between screen and screened */
    struct tune_measured coming;
};

static enum rc f_submit(void *ctx, uint64_t id, const char *trace, struct err *e)
{
    (void)id, (void)e;
    struct bench *b = ctx;
    vec_push(&b->queue, mem_strdup(trace));
    return RC_OK;
}

static enum rc f_receive(void *ctx, uint64_t *id, struct tune_built *out, struct err *e)
{
    (void)e;
    struct bench *b = ctx;
    ck_assert_uint_lt(b->queue_at, b->queue.n);
    const char *trace = b->queue.p[b->queue_at++];
    memset(out, 0, sizeof *out);
    *id = 0;
    out->ok = true;
    out->flops = 1e6;
    hash_id(out->hash, trace, strlen(trace));
    int odd = b->odd_every ? out->hash[1] % b->odd_every : -1;
    if (odd == 0) {
        out->ok = false;
        snprintf(out->code, sizeof out->code, "lower.scratch");
        return RC_OK;
    }
    if (odd == 1) snprintf(out->hash, sizeof out->hash, "the same blob");
    out->handle = mem_new(1);
    return RC_OK;
}

static void f_drop(void *ctx, void *handle)
{
    (void)ctx;
    mem_free(handle);
}

static void fill(struct tune_measured *m, const char *verdict, double ns)
{
    memset(m, 0, sizeof *m);
    snprintf(m->verdict, sizeof m->verdict, "%s", verdict);
    m->ns = m->lo = m->hi = ns;
    m->fma = NAN;
    m->tier = 1;
}

static enum rc f_screen(void *ctx, const char *trace, const struct tune_built *built,
                        double incumbent, bool careful, struct err *e)
{
    (void)e;
    struct bench *b = ctx;
    struct tune_measured *out = &b->coming;
    ck_assert(!b->busy);
    ck_assert(careful == (strstr(trace, "nudge") != NULL));
    b->busy = true;
    b->screens++;
    if (b->world_every && b->screens % b->world_every == 0) {
        fill(out, "noisy", NAN);
        out->world = true;
        return RC_OK;
    }
    vec_push(&b->proposals, mem_strdup(trace));
    b->measured++;
    double ns = surface(trace, b->in_vain);
    if (b->wrong_every && (unsigned)built->hash[0] % (unsigned)b->wrong_every == 0) {
        fill(out, "wrong_result", NAN);
        return RC_OK;
    }
    fill(out, incumbent > 0 && ns > 1.5 * incumbent ? "slow" : "ok", ns);
    return RC_OK;
}

static enum rc f_screened(void *ctx, struct tune_measured *out, struct err *e)
{
    (void)e;
    struct bench *b = ctx;
    ck_assert(b->busy);
    b->busy = false;
    *out = b->coming;
    return RC_OK;
}

static enum rc f_race(void *ctx, int n, const char *const *trace, const struct tune_built *built,
                      struct tune_measured *out, int *winner, bool *separated, struct err *e)
{
    (void)built, (void)e;
    struct bench *b = ctx;
    *winner = 0;
    for (int i = 0; i < n; i++) {
        fill(&out[i], "ok", surface(trace[i], b->in_vain));
        out[i].tier = 3;
        if (out[i].ns < out[*winner].ns) *winner = i;
    }
    *separated = *winner > 0;
    return RC_OK;
}

static bool f_recorded(void *ctx, enum tune_phase phase, const char *hash, char blob[33],
                       struct tune_measured *m)
{
    struct bench *b = ctx;
    for (size_t i = 0; i < b->known; i++)
        if (b->log.p[i].phase == phase && strcmp(b->log.p[i].hash, hash) == 0) {
            *m = b->log.p[i].m;
            memcpy(blob, b->log.p[i].blob, 33);
            return true;
        }
    return false;
}

static enum rc f_record(void *ctx, int64_t step, enum tune_phase phase, const char *trace,
                        const struct tune_built *built, const struct tune_measured *m,
                        struct err *e)
{
    (void)step, (void)e;
    struct bench *b = ctx;
    struct row r = {.phase = phase, .m = *m};
    hash_id(r.hash, trace, strlen(trace));
    memcpy(r.blob, built->hash, 33);
    vec_push(&b->log, r);
    b->uncommitted++;
    return RC_OK;
}

static enum rc f_commit(void *ctx, struct err *e)
{
    (void)e;
    struct bench *b = ctx;
    b->commits++;
    b->uncommitted = 0;
    return RC_OK;
}

static double f_estimate(void *ctx, const char *trace)
{
    struct bench *b = ctx;
    int a, x, c;
    knobs_of(trace, &a, &x, &c);
    return b->blind ? 1
                    : 1000 + 5 * abs(a - 7) + 3 * abs(x - 4); /* near the truth, not the truth */
}

static bool f_stop(void *ctx)
{
    struct bench *b = ctx;
    return b->stop_after >= 0 && b->measured >= b->stop_after;
}

static struct tune_ops ops_of(struct bench *b)
{
    return (struct tune_ops){.ctx = b,
                             .submit = f_submit,
                             .receive = f_receive,
                             .drop = f_drop,
                             .queue = 4,
                             .screen = f_screen,
                             .screened = f_screened,
                             .race = f_race,
                             .recorded = f_recorded,
                             .record = f_record,
                             .commit = f_commit,
                             .estimate = f_estimate,
                             .stop = f_stop};
}

static void bench_free(struct bench *b)
{
    for (size_t i = 0; i < b->queue.n; i++) mem_free(b->queue.p[i]);
    for (size_t i = 0; i < b->proposals.n; i++) mem_free(b->proposals.p[i]);
    vec_free(&b->queue);
    vec_free(&b->proposals);
    vec_free(&b->log);
}

static enum rc tune_below(struct bench *b, uint64_t seed, int64_t trials, double roof_ns,
                          double roof_flops, struct tune_summary *out)
{
    struct space *s = bowl(b->listed);
    struct tune_options o;
    struct err e = {0};
    ck_assert(tune_effort("default", &o));
    o.polish = 100;
    o.polish_patience = 40;
    o.seed = seed;
    o.trials = trials;
    o.draft = 60;
    o.roof_ns = roof_ns;
    o.roof_flops = roof_flops;
    struct tune_ops ops = ops_of(b);
    enum rc rc = tune_run(&s, 1, NULL, 0, &ops, &o, out, &e);
    space_free(s);
    return rc;
}

static enum rc tune(struct bench *b, uint64_t seed, int64_t trials, struct tune_summary *out)
{
    return tune_below(b, seed, trials, 0, 0, out);
}

START_TEST(finds_the_bottom)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct bench b = {.stop_after = -1};
        struct tune_summary sum;
        ck_assert_int_eq(tune(&b, seed, 60, &sum), RC_OK); /* of 216 points */
        ck_assert_double_eq(sum.best.ns, 1000);
        ck_assert_int_le(sum.measurements, 60);
        ck_assert_int_eq(b.uncommitted, 0);
        tune_summary_fini(&sum);
        bench_free(&b);
    }
}
END_TEST

START_TEST(descends_without_a_model)
{
    struct bench b = {.stop_after = -1, .blind = true};
    struct tune_summary sum;
    ck_assert_int_eq(tune(&b, 3, 120, &sum), RC_OK);
    ck_assert_double_le(sum.best.ns, 1017);
    tune_summary_fini(&sum);
    bench_free(&b);
}
END_TEST

/* A kernel near the roof is good enough; one that skips half of the operations has half the roof. */
START_TEST(a_roof_is_of_what_is_executed)
{
    for (int half = 0; half < 2; half++) {
        struct bench b = {.stop_after = -1};
        struct tune_summary sum;
        ck_assert_int_eq(tune_below(&b, 1, 60, 1000, half ? 2e6 : 1e6, &sum), RC_OK);
        ck_assert_str_eq(sum.why, half ? "trials" : "roofline");
        ck_assert(half ? b.measured == 60 : b.measured < 60);
        tune_summary_fini(&sum);
        bench_free(&b);
    }
}
END_TEST

START_TEST(trials_are_a_limit)
{
    struct bench b = {.stop_after = -1};
    struct tune_summary sum;
    ck_assert_int_eq(tune(&b, 1, 7, &sum), RC_OK);
    ck_assert_int_eq(b.measured, 7);
    ck_assert_str_eq(sum.why, "trials");
    tune_summary_fini(&sum);
    bench_free(&b);
}
END_TEST

/* T3: a failure of the world changes nothing but the time it took. */
START_TEST(the_world_is_not_the_candidate)
{
    struct bench calm = {.stop_after = -1}, rough = {.stop_after = -1, .world_every = 5};
    struct tune_summary x, y;
    ck_assert_int_eq(tune(&calm, 4, 96, &x), RC_OK);
    ck_assert_int_eq(tune(&rough, 4, 96, &y), RC_OK);
    ck_assert_str_eq(x.trace, y.trace);
    ck_assert_uint_eq(calm.proposals.n, rough.proposals.n);
    for (size_t i = 0; i < calm.proposals.n; i++)
        ck_assert_str_eq(calm.proposals.p[i], rough.proposals.p[i]);
    tune_summary_fini(&x);
    tune_summary_fini(&y);
    bench_free(&calm);
    bench_free(&rough);
}
END_TEST

/* Nudges that gain are kept, and the fastest wins; at most so many, and none where there is no order. */
START_TEST(polishes_the_best)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct bench b = {.stop_after = -1, .listed = true}, plain = {.stop_after = -1};
        struct bench vain = {.stop_after = -1, .listed = true, .in_vain = true};
        struct tune_summary sum;
        ck_assert_int_eq(tune(&b, seed, 60, &sum), RC_OK);
        ck_assert_double_le(sum.best.ns, 998 - 4 * 8);
        ck_assert_ptr_nonnull(strstr(sum.trace, "nudge="));
        ck_assert_int_gt(sum.measurements, 60 + 40);
        ck_assert_int_le(sum.measurements, 60 + 100);
        ck_assert_str_eq(sum.why, "trials");
        int most = 0;
        for (size_t i = 0; i < b.proposals.n; i++) {
            int n = 0;
            const char *p = strstr(b.proposals.p[i], "nudge");
            ck_assert(!p || (strstr(b.proposals.p[i], "order=list") && i >= 60));
            while (p && (p = strpbrk(p + 1, "=."))) n++;
            most = n > most ? n : most;
        }
        ck_assert_int_ge(most, 4);
        ck_assert_int_le(most, 12);
        ck_assert_ptr_null(strstr(sum.trace, "nudge=0"));
        tune_summary_fini(&sum);
        ck_assert_int_eq(tune(&vain, seed, 60, &sum), RC_OK);
        ck_assert_double_eq(sum.best.ns, 998);
        ck_assert_ptr_null(strstr(sum.trace, "nudge"));
        ck_assert_int_le(sum.measurements,
                         60 + 60); /* patience, and what was gained before the first */
        tune_summary_fini(&sum);
        ck_assert_int_eq(tune(&plain, seed, 60, &sum), RC_OK);
        ck_assert_int_eq(sum.measurements, 60);
        tune_summary_fini(&sum);
        bench_free(&b);
        bench_free(&plain);
        bench_free(&vain);
    }
}
END_TEST

START_TEST(wrong_results_never_win)
{
    struct bench b = {.stop_after = -1, .wrong_every = 3};
    struct tune_summary sum;
    ck_assert_int_eq(tune(&b, 2, 96, &sum), RC_OK);
    int64_t wrong = 0;
    for (int i = 0; i < sum.nverdict; i++)
        if (strcmp(sum.verdict[i].name, "wrong_result") == 0) wrong = sum.verdict[i].n;
    ck_assert_int_gt(wrong, 0);
    ck_assert_uint_ne((unsigned)sum.built.hash[0] % 3, 0);
    tune_summary_fini(&sum);
    bench_free(&b);
}
END_TEST

/* T1: 50 seeds x 20 stop points; a run that was stopped and went on measures what the whole run
 * measured, in that order, once. */
START_TEST(a_stopped_run_goes_on)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct bench whole = {.stop_after = -1,
                              .odd_every = seed % 2 ? 5 : 0,
                              .listed = seed % 3 == 0};
        struct tune_summary sum;
        ck_assert_int_eq(tune(&whole, seed, 40, &sum), RC_OK);
        for (int k = 0; k < 20; k++) {
            struct bench b = {.stop_after = k * (int64_t)whole.proposals.n / 20,
                              .odd_every = whole.odd_every,
                              .listed = whole.listed};
            struct tune_summary part;
            enum rc rc = tune(&b, seed, 40, &part);
            ck_assert_int_eq(rc, RC_INTERRUPTED);
            ck_assert(part.interrupted);
            ck_assert_int_eq(b.uncommitted, 0);
            tune_summary_fini(&part);
            b.known = b.log.n;
            b.stop_after = -1;
            ck_assert_int_eq(tune(&b, seed, 40, &part), RC_OK);
            ck_assert_uint_eq(b.proposals.n, whole.proposals.n);
            for (size_t i = 0; i < b.proposals.n; i++)
                ck_assert_str_eq(b.proposals.p[i], whole.proposals.p[i]);
            ck_assert_str_eq(part.trace, sum.trace);
            tune_summary_fini(&part);
            bench_free(&b);
        }
        tune_summary_fini(&sum);
        bench_free(&whole);
    }
}
END_TEST

START_TEST(estimate_measures_nothing)
{
    struct bench b = {.stop_after = -1};
    struct space *s = bowl(false);
    struct tune_options o;
    struct tune_summary sum;
    struct err e = {0};
    int a, x, c;
    ck_assert(tune_effort("estimate", &o));
    struct tune_ops ops = ops_of(&b);
    ck_assert_int_eq(tune_run(&s, 1, NULL, 0, &ops, &o, &sum, &e), RC_OK);
    knobs_of(sum.trace, &a, &x, &c);
    ck_assert_int_eq(a, 7);
    ck_assert_int_eq(x, 4);
    ck_assert_int_eq(b.measured, 0);
    ck_assert(!tune_effort("fast", &o));
    tune_summary_fini(&sum);
    space_free(s);
    bench_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tune");
    TCase *t = tcase_create("tune");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, finds_the_bottom);
    tcase_add_test(t, descends_without_a_model);
    tcase_add_test(t, polishes_the_best);
    tcase_add_test(t, trials_are_a_limit);
    tcase_add_test(t, a_roof_is_of_what_is_executed);
    tcase_add_test(t, the_world_is_not_the_candidate);
    tcase_add_test(t, wrong_results_never_win);
    tcase_add_test(t, a_stopped_run_goes_on);
    tcase_add_test(t, estimate_measures_nothing);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
