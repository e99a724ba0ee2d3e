/* Kernels planted as candidates (src/app/cli_plant.h) crash, hang, write out of bounds, call the
 * system and compute nonsense while a real search goes on. Each gets its verdict in the log, and
 * the search still finds its winner. And: the memory of quern does not grow with the number of
 * candidates. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "lib/app_util.h"
#include "lib/sandbox_blobs.h"

/* What the blobs of sandbox_blobs.c compute when they are right: y = x * w over a dynamic
 * extent. */
static const char multiply[] = "op multiply {\n  dyn N\n  in x[N]: f32\n  const w[N]: f32\n  out "
                               "y[N]: f32\n  y[n] = x[n] * w[n]\n}\n";
#define TASK "./multiply.op:N=1000"

static const struct {
    const char *blob, *verdict;
} plants[] = {
    {"null", "oob_access"},        {"endless", "timeout"},
    {"oob_past", "oob_access"},    {"sys_open", "forbidden_syscall"},
    {"wrong", "wrong_result"},     {"ud2", "illegal_insn"},
    {"recurse", "stack_overflow"}, {"write_input", "oob_access"},
    {"unwritten", "unwritten"},    {"divide", "fpe"},
    {"bad_args", "bad_args"},      {"last_wrong", "wrong_result"},
};

static void write_plants(size_t n)
{
    struct buf list;
    struct err e;
    char path[400];
    buf_init(&list, 1 << 16);
    app_write("multiply.op", multiply);
    for (size_t i = 0; i < n; i++) {
        struct wire_blob b = sandbox_blob(plants[i].blob);
        snprintf(path, sizeof path, "%s/%s", app_dir, plants[i].blob);
        ck_assert_int_eq(fs_write(path, b.code.p, b.code.n, &e), RC_OK);
        buf_printf(&list, "%s\n", path);
    }
    app_write("plants", list.p);
    snprintf(path, sizeof path, "%s/plants", app_dir);
    setenv("QUERN_PLANT", path, 1);
    buf_fini(&list);
}

START_TEST(planted_candidates_get_their_verdicts)
{
    struct app_result r;
    if (!sandbox_blobs_usable()) return;
    write_plants(QN_COUNT(plants));
    app_expect(0, &r, "tune " TASK " --trials 40 --json");
    json_t *o = app_json(&r, 0), *failures = json_object_get(o, "failures");
    for (size_t i = 0; i < QN_COUNT(plants); i++) {
        char sql[300];
        snprintf(sql, sizeof sql,
                 "SELECT group_concat(verdict) FROM record WHERE error LIKE 'planted %s%%' AND "
                 "error NOT LIKE 'planted %s\\_%%' ESCAPE '\\'",
                 plants[i].blob, plants[i].blob);
        char *verdict = app_sql_text(sql);
        ck_assert_msg(strcmp(verdict, plants[i].verdict) == 0, "%s: %s, not %s", plants[i].blob,
                      verdict, plants[i].verdict);
        ck_assert_msg(json_is_integer(json_object_get(failures, plants[i].verdict)),
                      "no failures.%s", plants[i].verdict);
    }
    /* the winner is none of them */
    ck_assert_double_gt(app_number(o, "median_ns"), 0);
    char sql[120];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM record WHERE id = '%s' AND error = '' AND tier = 3",
             app_text(o, "record"));
    ck_assert_int_eq(app_sql(sql), 1);
    unsetenv("QUERN_PLANT");
    app_expect(0, &r, "verify " TASK " --schedule best");
    app_expect(0, &r, "log query --verdict timeout");
    ck_assert_int_eq(app_lines(r.out), 1);
    app_expect(0, &r, "log why %.8s", r.out);
    app_has(r.out, "planted endless");
}
END_TEST

START_TEST(a_search_of_nothing_but_crimes_says_so)
{
    struct app_result r;
    if (!sandbox_blobs_usable()) return;
    write_plants(2);
    app_expect(1, &r, "tune " TASK " --trials 2 --json");
    ck_assert_str_eq(app_text(app_json(&r, 0), "error"), "tune.none");
    app_has(r.err, "quern log");
    app_expect(0, &r, "log query --all");
    app_has(r.out, "timeout");
    setenv("QUERN_PLANT", "nothing", 1);
    app_expect(2, &r, "tune " TASK " --trials 2 --json");
    ck_assert_str_eq(app_text(app_json(&r, 0), "error"), "fs.open");
}
END_TEST

/* The runner is killed from outside, once and again, while it is at work. */
START_TEST(a_murdered_runner_and_worker_are_replaced)
{
    struct app_result r;
    int murders = 0;
    struct app_job j = app_start("tune matmul:M=64,N=64,K=64 --trials 97 --seed 2 --json");
    for (int i = 0; i < 6 && !app_ended(j); i++) {
        app_nap(700);
        pid_t victim = app_child(j.pid, i % 2 ? "quern-runner" : "quern-worker");
        if (victim > 0 && kill(victim, SIGKILL) == 0) murders++;
    }
    app_finish(j, &r);
    ck_assert_msg(r.code == 0, "%s", r.err);
    ck_assert_int_ge((int)app_number(app_json(&r, 0), "candidates"), 10);
    ck_assert_int_ge(murders, 2);
    /* what the world did is no verdict about a candidate */
    ck_assert_int_eq(app_sql(
                         "SELECT count(*) FROM record WHERE verdict = 'transport' AND world = 0"),
                     0);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t resident_kb(pid_t pid)
{
    char path[64], *text = NULL;
    size_t n;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (fs_read(path, 1 << 16, &text, &n, NULL) != RC_OK) return 0;
    const char *p = strstr(text, "VmRSS:");
    return p ? strtoll(p + 6, NULL, 10) : 0;
}

/* Resident memory in the first third against the last one: flat but for a little per candidate (its
 * text). */
static void flat(int trials)
{
    struct app_result r;
    int64_t early = 0, late = 0, most = 0;
    struct app_job j =
        app_start("tune conv2d:N=1,H=12,W=12,C=16,K=16,R=3,S=3,pad=1 --trials %d --json -q",
                  trials);
    while (!app_ended(j)) {
        int64_t rows = access("log.db-wal", F_OK) == 0
                           ? app_sql("SELECT count(*) FROM sqlite_master WHERE name = 'record'")
                           : 0;
        if (rows) rows = app_sql("SELECT count(*) FROM record");
        int64_t kb = resident_kb(j.pid);
        if (kb > most) most = kb;
        if (rows > trials / 6 && rows < trials / 3 && kb > early) early = kb;
        if (rows > 2 * trials / 3 && kb > late) late = kb;
        app_nap(100);
    }
    app_finish(j, &r);
    ck_assert_msg(r.code == 0, "%s", r.err);
    ck_assert_int_ge((int)app_number(app_json(&r, 0), "candidates"), trials / 3);
    fprintf(stderr, "resident: %lld kB early, %lld kB late, %lld kB at most, %d candidates\n",
            (long long)early, (long long)late, (long long)most,
            (int)app_number(app_json(&r, 0), "candidates"));
    ck_assert_int_lt(most, 400 * 1024);
    ck_assert_int_gt(early, 0);
    ck_assert_int_lt(late - early,
                     2048 + 8 * trials); /* 8 kB a candidate: its text, choices and hash entries */
}

START_TEST(memory_is_flat) { flat(getenv("QUERN_LONG") ? 5000 : 300); }
END_TEST

int main(void)
{
    Suite *s = suite_create("app.sandbox");
    TCase *t = tcase_create("sandbox");
    tcase_add_checked_fixture(t, app_setup, app_teardown);
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 1800 : 180);
    tcase_add_test(t, planted_candidates_get_their_verdicts);
    tcase_add_test(t, a_search_of_nothing_but_crimes_says_so);
    tcase_add_test(t, a_murdered_runner_and_worker_are_replaced);
    tcase_add_test(t, memory_is_flat);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
