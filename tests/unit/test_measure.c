/* measure: the interval and the race on synthetic machines with seeds: how often equal kernels are
 * told apart (never, nearly) and how often a planted difference is found (nearly always), quiet and
 * under bursts. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "measure/client.h"
#include "measure/lock.h"
#include "measure/race.h"
#include "measure/stats.h"

START_TEST(order_statistics)
{
    double v[] = {5, 1, 4, 2, 3};
    ck_assert_double_eq(stats_median(v, 5), 3);
    ck_assert_double_eq(stats_median(v, 4), 3);
    ck_assert_double_eq(stats_quantile(v, 5, 0), 1);
    ck_assert_double_eq(stats_quantile(v, 5, 1), 5);
    ck_assert_double_eq(stats_quantile(v, 5, 0.25), 2);
    ck_assert_double_eq_tol(stats_mad(v, 5), 1.4826, 1e-12);
    ck_assert(isnan(stats_median(v, 0)));
    ck_assert_double_eq(v[0], 5); /* not sorted in place */
}
END_TEST

START_TEST(interval_ranks)
{
    ck_assert_int_eq(stats_interval_rank(11, 0.002), -1);
    ck_assert_int_eq(stats_interval_rank(12, 0.002), 0);
    int64_t last = -1;
    for (size_t n = 1; n < 400; n++) {
        int64_t k = stats_interval_rank(n, 0.002);
        ck_assert(k >= last && k < (int64_t)(n + 1) / 2);
        last = k;
    }
    ck_assert_int_ge(last, 150); /* 400 samples: the interval is well inside */
}
END_TEST

/* The promise itself: over all looks of a run, the true median leaves the interval in at most alpha
 * of the runs. */
START_TEST(interval_holds_at_every_look)
{
    struct rng rng;
    int broken = 0;
    enum { RUNS = 2000, LOOKS = 120 };
    rng_seed(&rng, 5);
    for (int run = 0; run < RUNS; run++) {
        double v[LOOKS], lo, hi;
        bool bad = false;
        for (int n = 0; n < LOOKS; n++) {
            double u = rng_unit(&rng) - 0.5;
            v[n] = u * u * u +
                   (rng_chance(&rng, 0.1) ? 10 * u : 0); /* skewless, heavy tails, median 0 */
            if ((n + 1) % 4) continue;
            stats_interval(v, (size_t)n + 1, 0.05, &lo, &hi);
            bad |= lo > 0 || hi < 0;
        }
        broken += bad;
    }
    printf("interval broken in %d of %d runs at alpha 0.05\n", broken, RUNS);
    ck_assert_int_le(broken, RUNS * 5 / 100);
}
END_TEST

/* A machine whose speed drifts for all alike, whose kernels have noise of their own, and that has
 * bursts which hit single steps. */
struct machine {
    struct rng rng;
    double drift, noise, burst;
};

static double gauss(struct rng *r)
{
    double s = 0;
    for (int i = 0; i < 12; i++) s += rng_unit(r);
    return s - 6;
}

static double sample(struct machine *m, double ns)
{
    double v = ns * exp(m->drift + m->noise * gauss(&m->rng));
    return rng_chance(&m->rng, m->burst) ? v * (1.3 + rng_unit(&m->rng)) : v;
}

static void run_race(struct machine *m, struct race *r, const struct race_config *cfg,
                     const double *truth, int n)
{
    race_init(r, cfg, n);
    for (;;) {
        struct race_action a = race_next(r);
        if (a.kind == RACE_DONE) return;
        if (a.kind == RACE_REOPEN) continue;
        for (int k = 0; k < a.rounds; k++) {
            double ns[RACE_MAX + 1];
            m->drift += 0.02 * gauss(&m->rng);
            for (int i = 0; i < r->columns; i++)
                ns[i] = a.live >> i & 1 ? sample(m, i < n ? truth[i] : 1000) : NAN;
            race_round(r, ns);
        }
    }
}

static const struct scene {
    const char *name;
    double noise, burst;
} SCENES[] = {{"quiet", 0.004, 0.01}, {"neighbour", 0.012, 0.05}, {"bursts", 0.015, 0.25}};

START_TEST(equal_kernels_stay_equal)
{
    const double truth[2] = {1000, 1000};
    for (size_t s = 0; s < QN_COUNT(SCENES); s++) {
        struct machine m = {.noise = SCENES[s].noise, .burst = SCENES[s].burst};
        int different = 0, noisy = 0;
        rng_seed(&m.rng, 100 + s);
        for (int i = 0; i < 2000; i++) {
            struct race r;
            run_race(&m, &r, NULL, truth, 2);
            different += r.separated;
            noisy += r.noisy;
            race_free(&r);
        }
        printf("A/A %-9s declared different %d of 2000, noisy %d\n", SCENES[s].name, different,
               noisy);
        ck_assert_int_le(different, 20);
    }
}
END_TEST

START_TEST(three_percent_are_found)
{
    const double truth[2] = {1030, 1000};
    static const int at_least[] = {190, 190, 160};
    for (size_t s = 0; s < QN_COUNT(SCENES); s++) {
        struct machine m = {.noise = SCENES[s].noise, .burst = SCENES[s].burst};
        int found = 0, wrong = 0, rounds = 0;
        rng_seed(&m.rng, 200 + s);
        for (int i = 0; i < 200; i++) {
            struct race r;
            run_race(&m, &r, NULL, truth, 2);
            found += r.separated && r.winner == 1;
            wrong += r.separated && r.winner != 1;
            rounds += r.rounds;
            race_free(&r);
        }
        printf("3%% %-9s found %d of 200 in %.0f rounds on average\n", SCENES[s].name, found,
               rounds / 200.0);
        ck_assert_int_ge(found, at_least[s]);
        ck_assert_int_eq(wrong, 0);
    }
}
END_TEST

START_TEST(sixteen_kernels_cost_little)
{
    double truth[16];
    struct machine m = {.noise = 0.01, .burst = 0.03};
    int regret = 0, steps = 0, rounds = 0;
    rng_seed(&m.rng, 9);
    for (int i = 0; i < 100; i++) {
        struct race r;
        double best = 1e9;
        for (int k = 0; k < 16; k++) {
            truth[k] = 1000 * (1 + 0.3 * rng_unit(&m.rng));
            if (truth[k] < best) best = truth[k];
        }
        run_race(&m, &r, NULL, truth, 16);
        regret += truth[r.winner] > 1.02 * best;
        for (int k = 0; k < 16; k++) steps += r.entries[k].rounds;
        rounds += r.rounds;
        race_free(&r);
    }
    printf("16 kernels: winner 2 %% off in %d of 100, %.0f steps of %.0f\n", regret, steps / 100.0,
           rounds * 16 / 100.0);
    ck_assert_int_le(regret, 6);
    ck_assert_int_lt(steps, rounds * 16 / 2);
}
END_TEST

START_TEST(racing_rules)
{
    struct race r;
    struct race_config cfg = {.batch = 3,
                              .max_rounds = 10,
                              .session_rounds = 4,
                              .calibrated = true};
    race_init(&r, &cfg, 3);
    struct race_action a = race_next(&r);
    ck_assert_int_eq(a.kind, RACE_STEP);
    ck_assert_int_eq(a.rounds, 3);
    ck_assert_uint_eq(a.live, 15);
    for (int k = 0; k < 3; k++) race_round(&r, (double[]){100, 130, 100, 50});
    ck_assert_int_eq(r.entries[1].fate, RACE_DROPPED); /* 30 % slower three times */
    a = race_next(&r);
    ck_assert_int_eq(a.rounds, 1); /* to the end of the session */
    ck_assert_uint_eq(a.live, 13);
    race_round(&r, (double[]){100, NAN, 100, 50});
    ck_assert_int_eq(race_next(&r).kind, RACE_REOPEN);
    race_dead(&r, 0);
    a = race_next(&r);
    ck_assert_uint_eq(a.live, 12);
    for (int k = 0; k < a.rounds; k++) race_round(&r, (double[]){NAN, NAN, 100, 50});
    a = race_next(&r);
    ck_assert_int_eq(a.kind, RACE_DONE); /* one left, min_rounds reached */
    ck_assert_int_eq(r.winner, 2);
    ck_assert(!r.separated);
    ck_assert_double_eq_tol(r.entries[2].fma, 2, 1e-9);
    ck_assert_int_eq(race_next(&r).kind, RACE_DONE);
    race_free(&r);
}
END_TEST

START_TEST(noise_is_admitted)
{
    struct machine m = {.noise = 0.3, .burst = 0.3};
    const double truth[2] = {1000, 990};
    int noisy = 0;
    rng_seed(&m.rng, 3);
    for (int i = 0; i < 50; i++) {
        struct race r;
        run_race(&m, &r, NULL, truth, 2);
        noisy += r.noisy;
        race_free(&r);
    }
    ck_assert_int_ge(noisy, 45);
}
END_TEST

START_TEST(impossible_times)
{
    struct race_roof roof = {.executed_flops = 1000, .peak_gflops = 100};
    ck_assert(race_impossible(&roof, 9.5)); /* floor 9.52 */
    ck_assert(!race_impossible(&roof, 9.6));
    roof = (struct race_roof){.bytes = 1100, .gbps = 10};
    ck_assert(race_impossible(&roof, 99)); /* floor 100 */
    ck_assert(!race_impossible(&roof, 101));
    roof = (struct race_roof){0};
    ck_assert(!race_impossible(&roof, 0.001));
    ck_assert(screen_slow((double[]){200, 160}, 2, 100, 0));
    ck_assert(!screen_slow((double[]){200, 140}, 2, 100, 0));
    ck_assert(!screen_slow((double[]){200}, 1, 0, 0));
}
END_TEST

START_TEST(core_locks_exclude)
{
    struct core_lock l, m;
    struct err e = {0};
    int go[2];
    char byte;
    ck_assert_uint_eq(core_pick(0xff, 2), 0xc0);
    ck_assert_uint_eq(core_pick(0x05, 1), 0x04);
    ck_assert_uint_eq(core_pick(0x01, 4), 0x01);
    ck_assert_int_eq(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        enum rc rc = core_lock_take(&l, UINT64_C(3) << 60, false, &e);
        (void)!write(go[1], rc ? "n" : "y", 1);
        usleep(300000);
        _exit(rc); /* dies holding them */
    }
    ck_assert_int_eq(read(go[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    ck_assert_int_eq(core_lock_take(&m, UINT64_C(1) << 61, false, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "lock.busy");
    ck_assert_int_eq(core_lock_take(&m, UINT64_C(1) << 62, false, &e), RC_OK); /* another core */
    core_lock_drop(&m);
    ck_assert_int_eq(core_lock_take(&m, UINT64_C(1) << 61, true, &e),
                     RC_OK); /* waits for the death */
    core_lock_drop(&m);
    core_lock_drop(&m);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(a_missing_runner_is_an_error)
{
    struct err e = {0};
    ck_assert_ptr_null(client_open("/nonexistent/quern-runner", &e));
    ck_assert_msg(strstr(e.msg, "cannot start the runner") != NULL, "%s", e.msg);
    ck_assert_ptr_null(client_open("/bin/true", &e)); /* starts, but says nothing */
    ck_assert_uint_gt(strlen(e.msg), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("measure");
    TCase *t = tcase_create("measure");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, order_statistics);
    tcase_add_test(t, interval_ranks);
    tcase_add_test(t, interval_holds_at_every_look);
    tcase_add_test(t, equal_kernels_stay_equal);
    tcase_add_test(t, three_percent_are_found);
    tcase_add_test(t, sixteen_kernels_cost_little);
    tcase_add_test(t, racing_rules);
    tcase_add_test(t, noise_is_admitted);
    tcase_add_test(t, impossible_times);
    tcase_add_test(t, core_locks_exclude);
    tcase_add_test(t, a_missing_runner_is_an_error);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
