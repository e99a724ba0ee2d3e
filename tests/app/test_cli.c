/* quern as a newcomer meets it: help, results on stdout, the keys of DESIGN section 10, files that
 * name files. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/proc.h"
#include "lib/app_util.h"

#define MATMUL "matmul:M=32,N=24,K=16"
#define CONV   "conv2d:N=1,H=9,W=7,C=6,K=10,R=3,S=3,pad=1"

static const char *const commands[] = {"ops",  "targets", "doctor", "lower", "tune",
                                       "best", "log",     "verify", "bench", "emit"};

/* Runs a shell command line with $QUERN set; for pipes and redirections, which belong to the
 * shell. */
static int shell(const char *line, char **out)
{
    char text[2048];
    int code = 0;
    struct err e;
    snprintf(text, sizeof text, "QUERN=%s/quern; %s", QN_BIN_DIR, line);
    const char *argv[] = {"bash", "-c", text, NULL};
    ck_assert_msg(proc_run(argv, NULL, 60000, 1 << 20, out, &code, &e) == RC_OK, "%s", e.msg);
    return code;
}

static bool have(const char *program)
{
    const char *argv[] = {program, "--version", NULL};
    char *out = NULL;
    int code = 1;
    enum rc rc = proc_run(argv, NULL, 10000, 4096, &out, &code, NULL);
    mem_free(out);
    return rc == RC_OK && code == 0;
}

/* ---- help ------------------------------------------------------------------------------------ */

START_TEST(help_of_every_command)
{
    struct app_result r, s;
    app_expect(0, &r, "--help");
    app_has(r.out, "quern tune conv2d:");
    for (size_t i = 0; i < QN_COUNT(commands); i++) {
        app_has(r.out, commands[i]);
        app_expect(0, &s, "%s --help", commands[i]);
        app_has(s.out, "examples\n  quern ");
        app_has(s.out, "--json");
        ck_assert_str_eq(s.err, "");
        ck_assert(strstr(s.out, "examples") < strstr(s.out, "options"));
        char *help = s.out;
        app_expect(0, &s, "help %s", commands[i]);
        ck_assert_str_eq(s.out, help);
    }
    app_expect(0, &r, "--version");
    ck_assert_int_eq(strncmp(r.out, "quern 0.", 8), 0);
    app_expect(2, &r, " ");
    app_has(r.out, "commands\n");
}
END_TEST

START_TEST(man_page_and_completion)
{
    struct app_result r;
    char *out = NULL;
    app_expect(0, &r, "--man");
    app_has(r.out, ".TH QUERN 1");
    app_has(r.out, ".SH EXIT STATUS");
    for (size_t i = 0; i < QN_COUNT(commands); i++) app_has(r.out, commands[i]);
    if (have("groff")) {
        ck_assert_int_eq(shell("$QUERN --man | groff -man -ww -Tutf8 2>&1 >page", &out), 0);
        ck_assert_str_eq(out, "");
        char *page = app_read("page");
        app_has(page, "--trials");
        app_has(page, "interrupted");
    }
    ck_assert_int_eq(shell("$QUERN --completion | bash -n", &out), 0);
    ck_assert_int_eq(
        shell("source <($QUERN --completion); COMP_WORDS=(quern tu); COMP_CWORD=1; _quern; echo "
              "${COMPREPLY[@]};"
              "COMP_WORDS=(quern tune --tri); COMP_CWORD=2; _quern; echo ${COMPREPLY[@]}",
              &out),
        0);
    ck_assert_str_eq(out, "tune\n--trials\n");
}
END_TEST

START_TEST(every_documented_option_is_taken)
{
    struct app_result r;
    for (size_t i = 0; i < QN_COUNT(commands); i++) {
        app_expect(0, &r, "%s --help", commands[i]);
        for (const char *p = strstr(r.out, "\noptions\n") + 9; (p = strstr(p, "  --")) != NULL;
             p += 4) {
            struct app_result s;
            char option[40];
            snprintf(option, sizeof option, "%.*s", (int)strcspn(p + 2, " ,\n"), p + 2);
            app_run(&s, "%s %s=", commands[i],
                    option); /* refused for its value, never for its name */
            app_lacks(s.err, "has no option");
        }
    }
}
END_TEST

/* Of a file's operator the keys a task needs, of a closed set all words. */
START_TEST(what_can_be_asked_is_said)
{
    struct app_result r;
    app_expect(0, &r, "ops " QN_SOURCE_DIR "/tests/ops/groupnorm.op");
    app_has(r.out,
            "normalised over pixels and the channels of a group.\n\nA task gives P, C, as in quern "
            "tune " QN_SOURCE_DIR
            "/tests/ops/groupnorm.op:P=.. ; attributes have the values below.\n\nop groupnorm {");
    app_expect(0, &r, "tune matmul:M=4,N=4,K=4 --trials 2 -q");
    app_expect(2, &r, "log query --verdict bogus");
    app_has(r.err, "there is no verdict 'bogus'; one of: ok illegal compile_error");
    app_expect(2, &r, "log query --verdict timout");
    app_has(r.err, "(did you mean 'timeout'?)");
}
END_TEST

/* ---- the keys of --json ---------------------------------------------------------------------- */

static void has_keys(json_t *o, const char *keys)
{
    char key[32];
    for (const char *p = keys; *p; p += strcspn(p, " "), p += *p == ' ') {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(p, " "), p);
        ck_assert_msg(json_object_get(o, key) != NULL, "no key '%s' in %s", key, json_dumps(o, 0));
    }
    ck_assert_int_eq((int)app_number(o, "v"), 1);
}

#define RESULT                                                                               \
    "v task target threads median_ns ci_lo_ns ci_hi_ns gflops executed_gflops roofline_pct " \
    "record rung"

START_TEST(json_has_the_documented_keys)
{
    static const struct {
        const char *line, *keys;
    } rows[] = {
        {"tune " MATMUL " --trials 6 --json", RESULT " candidates measurements failures wall_s"},
        {"tune " MATMUL " --trials 6 --json",
         RESULT " candidates measurements failures wall_s"}, /* finished before */
        {"tune " CONV " --effort estimate --json",
         RESULT " candidates measurements failures wall_s"},
        {"best " MATMUL " --json", RESULT " schedule"},
        {"best " CONV " --json", RESULT " schedule"},
        {"bench " MATMUL " --rounds 9 --json", RESULT " roof peak_gflops noisy"},
        {"bench " MATMUL " --aa --rounds 9 --json",
         "v task aa_ratio ratio_lo ratio_hi declared_different rounds"},
        {"verify " MATMUL " --json", "v task ok max_err bound worst verdict"},
        {"lower " MATMUL " --stage nest --json", "v task stage text"},
        {"log query --json", "v id task verdict median trace"},
        {"log check --json", "v ok file records good imported runs bytes"},
        {"log export", "v id task verdict"},
        {"ops --json", "v op summary"},
        {"ops matmul --json", "v op help text"},
        {"targets --json", "v target host"},
        {"targets host --json", "v target facts"},
        {"doctor --json", "v check state found advice"},
        {"emit " MATMUL " -o c --json", "v task symbol record measured"},
    };
    struct app_result r;
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        app_run(&r, "%s", rows[i].line);
        ck_assert_msg(r.code == 0, "%s: %d %s", rows[i].line, r.code, r.err);
        ck_assert_int_ge(app_lines(r.out), 1);
        for (int k = 0; k < app_lines(r.out); k++) has_keys(app_json(&r, k), rows[i].keys);
    }
}
END_TEST

START_TEST(json_of_an_error)
{
    struct app_result r;
    app_expect(2, &r, "best matmul:M=3 --json");
    json_t *o = app_json(&r, 0);
    has_keys(o, "v error message");
    ck_assert_str_eq(app_text(o, "error"), "task.missing");
    app_has(r.err, app_text(o, "message"));
}
END_TEST

/* ---- results, messages, pipes ---------------------------------------------------------------- */

START_TEST(closed_and_full_outputs)
{
    char *out = NULL;
    ck_assert_int_eq(shell("$QUERN ops | head -1", &out), 0);
    ck_assert_int_eq(app_lines(out), 1);
    ck_assert_int_eq(shell("set -o pipefail; for i in 1 2 3 4 5; do $QUERN ops matmul | head -c 1 "
                           ">/dev/null || exit 9; done",
                           &out),
                     0);
    ck_assert_str_eq(out, "");
    ck_assert_int_eq(shell("$QUERN ops >/dev/full", &out), 1);
    app_has(out, "cannot write the results: No space left"); /* cli.stdout */
    ck_assert_int_eq(shell("$QUERN ops >&-", &out), 1);
    ck_assert_int_eq(shell("$QUERN tune " MATMUL " --trials 4 >&- 2>&-", &out),
                     1); /* the log is not "stdout" */
    ck_assert_int_eq(shell("$QUERN log check", &out), 0);
    app_has(out, "sound");
}
END_TEST

START_TEST(no_escape_sequences_without_a_terminal)
{
    struct app_result r;
    app_expect(0, &r, "tune " MATMUL " --trials 6");
    app_lacks(r.out, "\033");
    app_lacks(r.err, "\033");
    app_lacks(r.err, "\r");
    char *out = NULL;
    if (!have("script")) return;
    ck_assert_int_eq(shell("TERM=xterm script -qec \"$QUERN tune " MATMUL
                           " --trials 12\" /dev/null </dev/null",
                           &out),
                     0);
    app_has(out, "\033[K");
    app_has(out, "tried  best");
    ck_assert_int_eq(shell("NO_COLOR=1 TERM=xterm script -qec \"$QUERN tune " MATMUL
                           " --trials 13\" /dev/null </dev/null",
                           &out),
                     0);
    app_lacks(out, "\033");
    ck_assert_int_eq(shell("TERM=dumb script -qec \"$QUERN tune " MATMUL
                           " --trials 14\" /dev/null </dev/null",
                           &out),
                     0);
    app_lacks(out, "\033");
    ck_assert_int_eq(shell("TERM=xterm script -qec \"$QUERN tune " MATMUL
                           " --trials 15 -q\" /dev/null </dev/null",
                           &out),
                     0);
    app_lacks(out, "tried");
}
END_TEST

/* ---- lower ----------------------------------------------------------------------------------- */

START_TEST(lower_shows_every_stage)
{
    static const char *const stages[] = {"op", "nest", "scheduled", "kernel",
                                         "c",  "c99",  "ll",        "s"};
    struct app_result r;
    app_expect(0, &r, "lower " CONV " --stage all");
    const char *at = r.out;
    for (size_t i = 0; i < QN_COUNT(stages); i++) {
        char head[40];
        snprintf(head, sizeof head, "==== %s ====\n", stages[i]);
        const char *found = strstr(at, head);
        ck_assert_msg(found != NULL, "no %s after %.60s", head, at);
        at = found + 1;
    }
    app_has(r.err, "algorithm direct"); /* the schedule, as a message */
    ck_assert_int_lt(app_lines(r.out), 5000);
    for (const char *p = r.out; *p; p += strcspn(p, "\n"), p += *p == '\n')
        ck_assert_uint_lt(strcspn(p, "\n"), 600);
    app_expect(0, &r, "lower " CONV " --stage nest");
    ck_assert_int_eq(strncmp(r.out, "nest conv2d\n", 12), 0);
    app_expect(0, &r, "lower " CONV " --stage all -o stages");
    ck_assert_int_eq(app_lines(r.out), 0);
    char *text = app_read("stages/00-op.op");
    app_has(text, "op conv2d {");
}
END_TEST

START_TEST(lower_shows_what_a_step_changed)
{
    struct app_result r;
    app_write("s.sched", "algorithm direct\nsplit y.n 8 exact y.no y.ni\nvectorize y.ni\n");
    app_expect(0, &r, "lower " MATMUL " --schedule s.sched --diff vectorize");
    app_has(r.out, "==== vectorize y.ni ====\n");
    app_has(r.out, "\n-         for y.ni in 0..8\n+         for y.ni in 0..8 vector\n");
    app_lacks(r.out, "split");
}
END_TEST

START_TEST(lower_verifies_what_can_run)
{
    struct app_result r;
    if (!have("cc")) return;
    app_expect(0, &r, "lower " CONV " --stage nest --verify --json");
    ck_assert_int_eq(app_lines(r.out), 4);
    static const char *const stages[] = {"s", "c", "c99"};
    for (int i = 0; i < 3; i++) {
        json_t *o = app_json(&r, i + 1);
        ck_assert_str_eq(app_text(o, "stage"), stages[i]);
        ck_assert(json_is_true(json_object_get(o, "verified")));
    }
}
END_TEST

/* ---- tasks ----------------------------------------------------------------------------------- */

START_TEST(lists_and_own_operators)
{
    struct app_result r;
    app_write("net.tasks", "# a small net\n" MATMUL "\n\n" CONV "  # a comment\n");
    app_expect(0, &r, "best @net.tasks --json");
    ck_assert_int_eq(app_lines(r.out), 2);
    ck_assert_str_eq(app_text(app_json(&r, 1), "task"), "conv2d:C=6,H=9,K=10,R=3,S=3,W=7,pad=1");
    app_write("scale.op", "op scale {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = 2 * x[n]\n}\n");
    app_expect(0, &r, "verify ./scale.op:N=37 --json");
    ck_assert_str_eq(app_text(app_json(&r, 0), "task"), "scale:N=37");
    app_expect(0, &r, "tune ./scale.op:N=37 --trials 4");
    app_expect(0, &r, "best ./scale.op:N=37 --json");
    ck_assert_str_eq(app_text(app_json(&r, 0), "rung"), "exact");
    app_expect(0, &r, "emit ./scale.op:N=37 -o c");
    app_expect(0, &r, "emit --check c/scale_N37.c");
}
END_TEST

/* What a stranger wrote that no kernel was to blame for. */
START_TEST(own_operators_are_judged_fairly)
{
    struct app_result r;
    app_write("negmax.op",
              "op negmax {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = max(-x[n], 0)\n}\n");
    for (int n = 1; n < 18;
         n += 4) { /* LLVM's instcombine is not done in one round on the plain loop */
        app_expect(0, &r, "verify negmax.op:N=%d", n);
    }
    app_write("few.op", "op few {\n  in x[N]: f32, z[N]: f32\n  out y[N]: f32\n"
                        "  y[n] = log(sigmoid(x[n]) - z[n])\n}\n");
    app_expect(0, &r, "verify few.op:N=100"); /* NaN of some elements is no budget for the others */
    app_write("turn.op", "op turn {\n  in p[N]: s32 in 0..65536, x[N,C]: f32\n  out y[N,C]: f32\n"
                         "  y[n,c] = x[n,c] * cos(f32(p[n]) * exp(f32(c) * -0.2))\n}\n");
    app_expect(3, &r, "verify turn.op:N=20,C=32"); /* f32 has no such angles */
    app_has(
        r.err,
        "compute those in f64; or, if data like these cannot occur, say which can: in x[...]: f32");
    double error = -1, bound = -1;
    const char *text = strstr(r.out, ": error "); /* of the worst element, both */
    ck_assert_msg(text && sscanf(text, ": error %lf, bound %lf", &error, &bound) == 2, "%s", r.out);
    ck_assert_double_gt(error, bound);
}
END_TEST

START_TEST(one_failing_task_does_not_stop_the_others)
{
    struct app_result r;
    app_write("s.sched", "algorithm direct\nsplit y.n 8 exact y.no y.ni\nvectorize y.ni\n");
    /* 5 is not divided by 8: refused input stops; nothing after it has run */
    app_expect(2, &r, "verify matmul:M=3,N=5,K=2 matmul:M=3,N=8,K=2 --schedule s.sched");
    ck_assert_str_eq(r.out, "");
    /* a word that is no task stops before anything is measured */
    app_expect(2, &r, "tune matmul:M=3,N=8,K=2 matmul:M=x --trials 3");
    ck_assert_int_ne(access(app_db, F_OK), 0);
}
END_TEST

START_TEST(doctor_is_well_here)
{
    struct app_result r;
    app_expect(0, &r, "doctor");
    static const char *const checks[] = {"target", "compiler", "sandbox", "clock",
                                         "speed",  "log",      "disk",    "c compilers"};
    for (size_t i = 0; i < QN_COUNT(checks); i++) app_has(r.out, checks[i]);
    app_lacks(r.out, "FAIL");
    app_write("broken.db",
              "this is no database, however long one looks at it, and looks, and looks");
    app_expect(1, &r, "doctor --db broken.db");
    app_has(r.out, "FAIL  log");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("app.cli");
    TCase *t = tcase_create("cli");
    tcase_add_checked_fixture(t, app_setup, app_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, help_of_every_command);
    tcase_add_test(t, man_page_and_completion);
    tcase_add_test(t, every_documented_option_is_taken);
    tcase_add_test(t, what_can_be_asked_is_said);
    tcase_add_test(t, json_has_the_documented_keys);
    tcase_add_test(t, json_of_an_error);
    tcase_add_test(t, closed_and_full_outputs);
    tcase_add_test(t, no_escape_sequences_without_a_terminal);
    tcase_add_test(t, lower_shows_every_stage);
    tcase_add_test(t, lower_shows_what_a_step_changed);
    tcase_add_test(t, lower_verifies_what_can_run);
    tcase_add_test(t, lists_and_own_operators);
    tcase_add_test(t, own_operators_are_judged_fairly);
    tcase_add_test(t, one_failing_task_does_not_stop_the_others);
    tcase_add_test(t, doctor_is_well_here);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
