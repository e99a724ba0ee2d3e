/* tune, end to end with real processes: a search and its second life, best, log, emit and its
 * check; stops of every kind; two searches on one log. Counts come from plain SQL, so that quern's
 * own word is not what is tested. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/rng.h"
#include "lib/app_util.h"

#define MATMUL "matmul:M=48,N=40,K=24"
#define CONV   "conv2d:N=1,H=10,W=10,C=8,K=16,R=3,S=3,pad=1"

/* ---- a search and what follows it ------------------------------------------------------------ */

static void search(const char *task)
{
    struct app_result r;
    app_expect(0, &r, "tune %s --trials 24 --json", task);
    json_t *o = app_json(&r, 0);
    ck_assert_int_eq(app_lines(r.out), 1);
    int candidates = (int)app_number(o, "candidates"),
        measurements = (int)app_number(o, "measurements");
    ck_assert_int_ge(candidates, 4);
    ck_assert_int_le(candidates, 24);
    ck_assert_int_le(measurements, candidates);
    ck_assert_int_ge(measurements, candidates / 2);
    ck_assert_double_gt(app_number(o, "median_ns"), 0);
    ck_assert_double_le(app_number(o, "ci_lo_ns"), app_number(o, "median_ns"));
    ck_assert_double_ge(app_number(o, "ci_hi_ns"), app_number(o, "median_ns"));
    ck_assert_double_gt(app_number(o, "gflops"), 0);
    ck_assert_double_gt(app_number(o, "roofline_pct"), 0);
    ck_assert_double_lt(app_number(o, "roofline_pct"), 115);
    ck_assert_uint_eq(strlen(app_text(o, "record")), 32);
    /* Every candidate is a row, and each `ok` one carries its check. */
    ck_assert_int_ge(app_sql("SELECT count(*) FROM record WHERE phase = 'screen'"), candidates);
    ck_assert_int_eq(
        app_sql(
            "SELECT count(*) FROM record WHERE verdict = 'ok' AND (tier < 1 OR max_err IS NULL)"),
        0);
    ck_assert_int_ge(
        app_sql("SELECT count(*) FROM record WHERE phase = 'race' AND verdict = 'ok' AND tier = 3"),
        1);
    ck_assert_int_eq(app_sql("SELECT count(*) FROM run WHERE state = 'finished'"), 1);
    ck_assert_int_eq(app_sql("SELECT count(*) FROM run WHERE options LIKE '% spaces=%'"), 1);

    char *record = strdup(app_text(o, "record"));
    int64_t rows = app_sql("SELECT count(*) FROM record");
    app_expect(0, &r, "tune %s --trials 24 --json", task);
    o = app_json(&r, 0);
    ck_assert_int_eq((int)app_number(o, "measurements"), 0);
    ck_assert_int_eq((int)app_number(o, "candidates"), 0);
    ck_assert_str_eq(app_text(o, "record"), record);
    ck_assert_int_eq(app_sql("SELECT count(*) FROM record"), rows);
    app_expect(0, &r, "tune %s --trials 24", task);
    app_has(r.out, "nothing was measured");

    app_expect(0, &r, "best %s --json", task);
    o = app_json(&r, 0);
    ck_assert_str_eq(app_text(o, "rung"), "exact");
    ck_assert_str_eq(app_text(o, "record"), record);
    app_write("best.sched", app_text(o, "schedule"));
    app_expect(0, &r, "verify %s --schedule best.sched", task);
    app_expect(0, &r, "verify %s --schedule best --seeds 2", task);
    app_expect(0, &r, "log why %.8s", record);
    app_has(r.out, record);
    app_has(r.out, "quern verify");
    app_has(r.out, "clock_ghz=");
    free(record);
}

START_TEST(matmul_to_the_end) { search(MATMUL); }
END_TEST
START_TEST(conv2d_to_the_end) { search(CONV); }
END_TEST

/* One kernel for every N: verify and the emitted test run it at all sizes where tails begin, and one
 * that is wrong at a single one of them is found. */
/* Equal sums divided by the same length stay equal in C, which has no fused multiply-add, or fuses what it likes: a
 * quotient by way of a reciprocal here and a division there would decide between them. */
START_TEST(portable_quotients)
{
    struct app_result r;
    app_write("own.op", "op own {\n  in  x[N,D]: f32\n  const w[K,D]: f32\n"
                        "  out best[N]: s32, conf[N]: f32\n"
                        "  len[n:N] = sqrt(sum(d:D) x[n,d]*x[n,d])\n"
                        "  s[n:N,k:K] = (sum(d:D) x[n,d]*w[k,d]) / max(len[n], 1e-6)\n"
                        "  (conf[n], best[n]) = argmax(k:K) s[n,k]\n}\n");
    app_write("own.sched", "algorithm direct\ninline len\ninline s\n"
                           "split conf.argmax.n 16 peel conf.argmax.n_o conf.argmax.n_i\n"
                           "reorder conf.argmax.n_o conf.argmax.k conf.argmax.n_i\n"
                           "compute_at s.sum conf.argmax.n_o scratch\n"
                           "compute_at len.sum conf.argmax.n_o scratch\n"
                           "split conf.argmax.k 3 peel conf.argmax.k_o conf.argmax.k_i\n"
                           "unroll conf.argmax.k_i\nvectorize conf.argmax.n_i\n");
    app_expect(0, &r, "emit own.op:N=2000,D=64,K=10 --schedule own.sched --form portable -o d");
    app_expect(0, &r, "verify d/own_D64_K10_N2000.c");
    app_expect(0, &r, "lower own.op:N=2000,D=64,K=10 --schedule own.sched --stage c99");
    ck_assert_ptr_null(strstr(r.out, "1.0f /")); /* what is shown is what is emitted */
    app_expect(0, &r, "lower own.op:N=2000,D=64,K=10 --schedule own.sched --stage c");
    ck_assert_ptr_null(strstr(r.out, "1.0f /"));
    app_expect(0, &r, "lower own.op:N=2000,D=64,K=10 --schedule own.sched --stage kernel");
    ck_assert_ptr_nonnull(
        strstr(r.out, "splat(1.0, 16) /")); /* where the machine fuses what it is told */
}
END_TEST

START_TEST(dynamic_sizes)
{
    struct app_result r;
    const char *file = "d/scale_C5_N100.c";
    app_write("scale.op",
              "op scale {\n  dyn N\n  in x[N,C]: f32\n  out y[N,C]: f32\n  top[n:N] = max(c:C) "
              "x[n,c]\n  y[n,c] = x[n,c] - top[n]\n}\n");
    app_write(
        "rows.sched",
        "algorithm direct\nsplit top.n 20 guard top.no top.ni\nsplit y.n 20 guard y.no y.ni\n");
    app_expect(0, &r, "verify scale.op:N=100,C=5 --schedule rows.sched");
    app_has(r.out, " at 9 sizes"); /* 0 1, around 20 and around the lanes, 100 */
    app_expect(0, &r, "verify scale.op:N=12,C=5 --schedule rows.sched --json");
    ck_assert_int_eq(json_integer_value(json_object_get(app_json(&r, 0), "sizes")), 9);
    app_expect(0, &r, "emit scale.op:N=100,C=5 --schedule rows.sched -o d");
    app_expect(0, &r, "verify %s", file);
    char *text = app_read(file), *at = strstr(text, "dyn[0] < 0");
    ck_assert_ptr_nonnull(at);
    memcpy(at, "dyn[0]==19", 10); /* refused, and nothing computed */
    app_write(file, text);
    app_expect(3, &r, "verify %s", file);
    app_has(r.err, "computes something else");
    app_write("cols.op", "op cols {\n  dyn C\n  in x[N,C]: f32\n  out y[N,C]: f32\n"
                         "  e[n:N,c:C] = exp(x[n,c])\n  s[n:N] = sum(c:C) e[n,c]\n"
                         "  y[n,c] = e[n,c] / s[n]\n}\n");
    app_expect(1, &r, "tune cols.op:N=3,C=50 --trials 5");
    app_has(r.err, "temporary e would be as long"); /* why no candidate is left, and a way out */
    app_has(r.err, "write its expression where it is used");
}
END_TEST

/* The emitted test obeys the ranges of the inputs (a sanitizer would tell), begins where the operator
 * does, and does not want a recurrence of fractions to the last bit; the header says where it begins. */
START_TEST(sizes_and_data_of_an_emitted_test)
{
    static const struct {
        const char *name, *text, *keys, *file, *header;
    } rows[] = {
        {"gath",
         "op gath {\n  dyn V, M\n  in table[V,D]: f32, ids[M]: s32 in 0..V\n  out y[M,D]: f32\n"
         "  y[m,d] = table[ids[m], d]\n}\n",
         "V=50,M=97,D=32", "d/gath_D32_M97_V50", "extent    V >= 1\n"},
        {"ema",
         "op ema {\n  attr a: real = 0.25\n  dyn T\n  in x[T,C]: f32\n  out y[T,C]: f32\n"
         "  y[t,c] = (1-a)*(y[t-1,c] else 0) + a*x[t,c] scan t\n}\n",
         "T=97,C=80", "d/ema_C80_T97", "extent    T >= 0\n"},
        {"mov",
         "op mov {\n  attr R in 1..64\n  dyn T\n  let P = T - R + 1\n  in x[T]: f32\n"
         "  out y[P]: f32\n  y[t] = (sum(r:R) x[t+r]) / R\n}\n",
         "T=100,R=7", "d/mov_R7_T100", "extent    T >= 6\n"},
    };
    struct app_result r;
    char name[64], path[300];
    app_write("cc.sh",
              "#!/bin/sh\nexec gcc -fsanitize=address,undefined -fno-sanitize-recover \"$@\"\n");
    ck_assert_int_eq(chmod("cc.sh", 0755), 0);
    snprintf(path, sizeof path, "%s/cc.sh", app_dir);
    setenv("CC", path, 1);
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        snprintf(name, sizeof name, "%s.op", rows[i].name);
        app_write(name, rows[i].text);
        app_expect(0, &r, "verify %s:%s", name, rows[i].keys);
        app_expect(0, &r, "emit %s:%s -o d", name, rows[i].keys);
        app_expect(0, &r, "verify %s.c", rows[i].file);
        snprintf(name, sizeof name, "%s.h", rows[i].file);
        app_has(app_read(name), rows[i].header);
        app_expect(0, &r, "emit --check %s.c", rows[i].file);
    }
    unsetenv("CC");
    app_has(app_read("d/mov_R7_T100_test.c"), "{{6}, {{");
    app_expect(2, &r, "verify gath.op:V=0,M=97,D=32");
    app_has(r.err, "the range 0..V of 'ids' is empty here");
    app_expect(0, &r, "verify gath.op:V=0,M=0,D=32");
}
END_TEST

START_TEST(emit_and_check)
{
    struct app_result r;
    static const char *const forms[] = {"vector", "portable"};
    app_expect(0, &r, "tune " MATMUL " --trials 8");
    for (int i = 0; i < 2; i++) {
        const char *file = "c/app_matmul_K24_M48_N40.c";
        app_expect(0, &r, "emit " MATMUL " -o c --prefix app_ --license MIT --form %s", forms[i]);
        char *text = app_read(file);
        app_has(text, "SPDX-License-Identifier: MIT");
        app_has(text, "\n * measured: ");
        app_lacks(text, "not measured");
        app_lacks(text, app_dir);
        /* without any log: the same bytes */
        app_expect(0, &r, "emit --check %s --db none.db", file);
        app_expect(0, &r, "verify %s", file);
        app_has(r.out, "ok  ");
        /* one digit of the code changed */
        char *line = strstr(text, "\n#include");
        ck_assert_ptr_nonnull(line);
        int number = 1;
        for (const char *p = text; p <= line; p++) number += *p == '\n';
        line[2] = 'I';
        app_write(file, text);
        app_expect(3, &r, "emit --check %s", file);
        char where[100];
        snprintf(where, sizeof where, "%s:%d: differs", file, number);
        app_has(r.err, where);
        app_expect(3, &r, "emit --check %s --json", file);
        ck_assert_str_eq(app_text(app_json(&r, 0), "error"), "emit.differs");
    }
}
END_TEST

START_TEST(several_tasks_into_one_folder)
{
    struct app_result r;
    app_expect(0, &r, "emit " MATMUL " " CONV " -o c --prefix net_ --json");
    ck_assert_int_eq(app_lines(r.out), 2);
    char *umbrella = app_read("c/net_kernels.h");
    app_has(umbrella, "#include \"net_matmul_K24_M48_N40.h\"");
    app_has(umbrella, "#include \"net_conv2d_C8_H10_K16_R3_S3_W10_pad1.h\"");
    app_expect(0, &r,
               "emit --check c/net_matmul_K24_M48_N40.c c/net_conv2d_C8_H10_K16_R3_S3_W10_pad1.c");
    /* a later kernel joins them; one whose header is gone leaves */
    ck_assert_int_eq(unlink("c/net_matmul_K24_M48_N40.h"), 0);
    app_expect(0, &r, "emit matmul:M=3,N=5,K=2 -o c --prefix net_");
    umbrella = app_read("c/net_kernels.h");
    app_has(umbrella, "#include \"net_matmul_K2_M3_N5.h\"");
    app_has(umbrella, "#include \"net_conv2d_C8_H10_K16_R3_S3_W10_pad1.h\"");
    app_lacks(umbrella, "net_matmul_K24");
}
END_TEST

START_TEST(logs_travel)
{
    struct app_result r;
    app_expect(0, &r, "tune " MATMUL " --trials 6");
    app_expect(0, &r, "log export --all");
    app_write("all.jsonl", r.out);
    int lines = app_lines(r.out);
    ck_assert_int_eq(lines, (int)app_sql("SELECT count(*) FROM record"));
    app_expect(0, &r, "log import all.jsonl --db other.db --json");
    ck_assert_int_eq((int)app_number(app_json(&r, 0), "accepted"), lines);
    app_expect(0, &r, "log import all.jsonl --db other.db --json");
    ck_assert_int_eq((int)app_number(app_json(&r, 0), "already_here"), lines);
    /* imported rows are never best */
    app_expect(0, &r, "best " MATMUL " --db other.db --json");
    ck_assert_str_eq(app_text(app_json(&r, 0), "rung"), "estimate");
    app_expect(0, &r, "log query --all --db other.db");
    app_has(r.out, "(imported)");
    app_expect(0, &r, "log export --all --db other.db");
    char *again = r.out;
    ck_assert_int_eq(app_lines(again), lines);
}
END_TEST

/* ---- stops ----------------------------------------------------------------------------------- */

/* Rows of the open run that count, written so far; -1 while there is no log. */
static int64_t counted(void)
{
    if (access(app_db, F_OK) != 0 || access("log.db-wal", F_OK) != 0) return -1;
    return app_sql("SELECT count(*) FROM sqlite_master WHERE name = 'attempt'")
               ? app_sql("SELECT count(*) FROM attempt WHERE counted = 1")
               : -1;
}

/* Waits until the search has saved n rows, or has ended. */
static void wait_rows(struct app_job j, int64_t n)
{
    for (int i = 0; i < 6000 && !app_ended(j) && counted() < n; i++) app_nap(10);
}

static void no_row_twice(void)
{
    /* a candidate of a run is screened once, whatever happened in between */
    ck_assert_int_eq(
        app_sql("SELECT count(*) FROM (SELECT 1 FROM record WHERE world = 0 AND phase != 'race'"
                " GROUP BY run, trace_hash HAVING count(*) > 1)"),
        0);
    ck_assert_int_eq(app_sql(
                         "SELECT count(*) FROM (SELECT 1 FROM record WHERE world = 0 AND run != ''"
                         " GROUP BY run, step HAVING count(*) > 1)"),
                     0);
    ck_assert_int_eq(app_sql("SELECT count(*) - count(DISTINCT hex(id)) FROM attempt"), 0);
}

#define LONG_TUNE "tune " CONV " --effort default --trials 30 --seed 3"

static void interrupt(int sig)
{
    struct app_result r;
    struct app_job j = app_start(LONG_TUNE " --json");
    wait_rows(j, 5);
    kill(j.pid, sig);
    app_finish(j, &r);
    ck_assert_int_eq(r.code, 130);
    ck_assert_str_eq(app_text(app_json(&r, 0), "error"), "tune.interrupted");
    app_has(r.err, "everything measured is saved; go on with\n  quern tune "
                   "conv2d:C=8,H=10,K=16,R=3,S=3,W=10,pad=1 --effort default --trials 30 --seed 3");
    int64_t before = app_sql("SELECT count(*) FROM record");
    ck_assert_int_ge(before, 1);
    /* no candidate is blamed for the signal, and what was screened serves until the race */
    ck_assert_int_eq(app_sql("SELECT count(*) FROM record WHERE verdict = 'compile_error'"), 0);
    app_expect(0, &r, "best " CONV " --json");
    ck_assert_str_eq(app_text(app_json(&r, 0), "rung"), "screened");
    ck_assert_double_gt(app_number(app_json(&r, 0), "median_ns"), 0);
    app_expect(0, &r, LONG_TUNE " --json"); /* as the message says */
    app_has(r.err, "going on with an earlier run");
    json_t *o = app_json(&r, 0);
    ck_assert_int_ge((int)app_number(o, "replayed"), 1);
    no_row_twice();
    ck_assert_int_eq(app_sql("SELECT count(*) FROM run"), 1);
}

START_TEST(ctrl_c) { interrupt(SIGINT); }
END_TEST
START_TEST(sigterm) { interrupt(SIGTERM); }
END_TEST

START_TEST(sighup) { interrupt(SIGHUP); }
END_TEST

/* The screened schedules of the only run, in step order: the search's proposals. */
static char *proposals(void)
{
    return app_sql_text("SELECT group_concat(trace_hash, ' ') FROM (SELECT trace_hash FROM record"
                        " WHERE phase != 'race' AND world = 0 ORDER BY step)");
}

START_TEST(an_interrupted_draft_proposes_the_same)
{
    struct app_result r;
    /* The draft does not depend on times, so two runs of it must agree; the stop lies in it. */
    app_expect(0, &r, "tune " CONV " --trials 12 --seed 5");
    char *whole = proposals();
    ck_assert_int_eq(unlink(app_db), 0);
    unlink("log.db-wal");
    unlink("log.db-shm");
    struct app_job j = app_start("tune " CONV " --trials 12 --seed 5");
    wait_rows(j, 3);
    kill(j.pid, SIGKILL);
    app_finish(j, &r);
    app_expect(0, &r, "tune " CONV " --trials 12 --seed 5");
    ck_assert_str_eq(proposals(), whole);
}
END_TEST

/* Gone, or a zombie that nobody here can reap. */
static bool running(pid_t pid)
{
    char path[64], *text;
    if (pid <= 0) return false;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (fs_read(path, 4096, &text, NULL, NULL) != RC_OK) return false;
    const char *state = strrchr(text, ')');
    return state && state[2] != 'Z' && state[2] != 'X';
}

START_TEST(kill_9_again_and_again)
{
    struct app_result r;
    struct rng rng;
    rng_seed(&rng, 11);
    int64_t saved = 0;
    int kills = 0;
    for (int life = 0; life < 8; life++) {
        struct app_job j = app_start("tune " CONV " --trials 97 --seed 3 --json");
        wait_rows(j, saved + rng_range(&rng, 4, 14));
        app_nap((int)rng_range(&rng, 0, 60));
        pid_t worker = app_child(j.pid, "quern-worker"), runner = app_child(j.pid, "quern-runner");
        bool ended = app_ended(j);
        if (!ended) kill(j.pid, SIGKILL), kills++;
        app_finish(j, &r);
        if (ended) {
            ck_assert_msg(r.code == 0, "%s", r.err);
            break;
        }
        for (int i = 0; i < 100 && (running(worker) || running(runner)); i++) app_nap(20);
        ck_assert(!running(worker) && !running(runner)); /* they do not outlive their quern */
        int64_t now = app_sql("SELECT count(*) FROM record");
        ck_assert_int_ge(now, saved); /* nothing saved is lost */
        saved = now;
        no_row_twice();
    }
    if (kills == 8) app_expect(0, &r, "tune " CONV " --trials 97 --seed 3 --json");
    ck_assert_int_ge(kills, 3);
    no_row_twice();
    app_expect(0, &r, "log check");
    app_expect(0, &r, "tune " CONV " --trials 97 --seed 3 --json");
    ck_assert_int_eq((int)app_number(app_json(&r, 0), "measurements"), 0);
    ck_assert_int_eq(app_sql("SELECT count(*) FROM run"), 1);
}
END_TEST

/* ---- two at once ----------------------------------------------------------------------------- */

START_TEST(two_tunes_of_one_task)
{
    struct app_result a, b;
    struct app_job j = app_start("tune " CONV " --trials 30");
    wait_rows(j, 1);
    app_expect(0, &b, "tune " CONV " --trials 30 --json");
    if (!app_ended(j) || strstr(b.out, "left to process")) {
        char why[80];
        snprintf(why, sizeof why, "left to process %d", (int)j.pid);
        app_has(app_text(app_json(&b, 0), "why"), why);
        ck_assert_int_eq((int)app_number(app_json(&b, 0), "measurements"), 0);
    }
    app_finish(j, &a);
    ck_assert_msg(a.code == 0, "%s", a.err);
    no_row_twice();
}
END_TEST

START_TEST(two_tunes_and_readers_and_a_kill)
{
    struct app_result a, b, r;
    struct app_job one = app_start("tune " CONV " --trials 30"),
                   two = app_start("tune " MATMUL " --trials 30");
    int asked = 0;
    bool killed = false;
    while (!app_ended(one) || !app_ended(two)) {
        app_run(&r, "best %s --json", asked % 2 ? MATMUL : CONV);
        ck_assert_msg(r.code == 0, "%s", r.err);
        ck_assert_str_eq(r.err, "");
        app_run(&r, "log query --all");
        ck_assert_msg(r.code == 0 || r.code == 7, "%s", r.err); /* 7: no log yet */
        if (r.code == 7) app_has(r.err, "there is no log yet");
        asked++;
        if (!killed && counted() >= 6) {
            kill(one.pid, SIGKILL);
            killed = true;
        }
    }
    app_finish(one, &a);
    app_finish(two, &b);
    ck_assert_int_ge(asked, 3);
    ck_assert_msg(b.code == 0, "%s", b.err);
    app_lacks(b.err, "busy");
    app_lacks(b.err, "locked");
    app_expect(0, &r, "log check");
    ck_assert_int_eq(
        app_sql("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check != 'ok'"), 0);
    app_expect(0, &r, "tune " CONV " --trials 30"); /* the killed one's claim is in nobody's way */
    app_lacks(r.out, "left to process");
    no_row_twice();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("app.tune");
    TCase *t = tcase_create("tune");
    tcase_add_checked_fixture(t, app_setup, app_teardown);
    tcase_set_timeout(t, 180);
    tcase_add_test(t, matmul_to_the_end);
    tcase_add_test(t, conv2d_to_the_end);
    tcase_add_test(t, portable_quotients);
    tcase_add_test(t, dynamic_sizes);
    tcase_add_test(t, sizes_and_data_of_an_emitted_test);
    tcase_add_test(t, emit_and_check);
    tcase_add_test(t, several_tasks_into_one_folder);
    tcase_add_test(t, logs_travel);
    tcase_add_test(t, ctrl_c);
    tcase_add_test(t, sigterm);
    tcase_add_test(t, sighup);
    tcase_add_test(t, an_interrupted_draft_proposes_the_same);
    tcase_add_test(t, kill_9_again_and_again);
    tcase_add_test(t, two_tunes_of_one_task);
    tcase_add_test(t, two_tunes_and_readers_and_a_kill);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
