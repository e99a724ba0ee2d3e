/* Everything wrong that a person can hand to quern: one row each, with its exit code, its stable
 * error code and a piece of its sentence. The data folder is a private one, so that broken targets
 * and spaces can stand in it. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "lib/app_util.h"

#define M "matmul:M=8,N=8,K=8"

/* More tensors than a runner takes. */
#define IN(n) \
    "  in a" #n "[N]: f32\n  in b" #n "[N]: f32\n  in c" #n "[N]: f32\n  in d" #n "[N]: f32\n"
#define WIDE_OP                                                   \
    "op wide {\n" IN(0) IN(1) IN(2) IN(3) IN(4) IN(5) IN(6) IN(7) \
        IN(8) "  out y[N]: f32\n  y[n] = a0[n]\n}\n"

/* ---- the folder ------------------------------------------------------------------------------ */

static void link_all(const char *from, const char *to)
{
    char **names, path[900], link[900];
    size_t n;
    struct err e;
    ck_assert_int_eq(fs_list(from, "", &names, &n, &e), RC_OK);
    for (size_t i = 0; i < n; i++) {
        if (names[i][0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", from, names[i]);
        snprintf(link, sizeof link, "%s/%s", to, names[i]);
        ck_assert_int_eq(symlink(path, link), 0);
    }
    fs_list_free(names, n);
}

static void write_files(void)
{
    static const struct {
        const char *name, *text;
    } files[] = {
        {"empty.tasks", "# nothing\n"},
        {"bad.tasks", M "\nmatmul:M=8,N=8\n"},
        {"not.op", "op scale {\n  in x[N]: f32\n  out y[N] f32\n}\n"},
        {"two.op", "op a {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = x[n]\n}\nop b {\n  in x[N]: "
                   "f32\n  out y[N]: f32\n  y[n] = x[n]\n}\n"},
        {"unknown.op", "op scale {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = z[n]\n}\n"},
        {"hole.op", "op scale {\n  in x[N]: f32\n  out y[N]: f32\n  y[n:N-1] = x[n]\n}\n"},
        {"outside.op", "op scale {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = x[n+1]\n}\n"},
        {"s4.op", "op narrow {\n  in x[N]: s4\n  out y[N]: s4\n  y[n] = x[n]\n}\n"},
        {"bytes.sched", "\x01\x02\x03"},
        {"empty.sched", ""},
        {"word.sched", "algorithm direct\nsplt y.n 4 exact a b\n"},
        {"args.sched", "algorithm direct\nsplit y.n\n"},
        {"algo.sched", "algorithm fastest\n"},
        {"loop.sched", "algorithm direct\nvectorize y.q\n"},
        {"factor.sched", "algorithm direct\nsplit y.n 3 exact y.no y.ni\n"},
        {"choice.sched", "algorithm direct\ncodegen adr=hoist\n"},
        {"value.sched", "algorithm direct\ncodegen lsr=maybe\n"},
        {"nudge.sched", "algorithm direct\ncodegen order=list nudge=17..4\n"},
        {"orders.sched", "algorithm direct\ncodegen order=source nudge=17\n"},
        {"marked.sched", "algorithm direct\nvectorize y.n\nunroll y.n\n"},
        {"failing.c", "int main(void) { return 1; }\n"},
        {"failing_test.c", "int unused;\n"},
        {"broken.c", "int main(void { return 0; }\n"},
        {"broken_test.c", "int unused;\n"},
        {"wide.op", WIDE_OP},
        {"bad.jsonl", "{\"a\":1\n"},
        {"foreign.c", "int main(void) { return 0; }\n"},
        {"text.db", "this is no database, however long one looks at it, and looks, and looks, and "
                    "looks, and looks"},
        {"data/targets/syntax.target", "triple x86_64\n"},
        {"data/targets/key.target", "inherits x86-64-v1\nvector_bit = 256\n"},
        {"data/targets/value.target", "inherits x86-64-v1\nvregs = many\n"},
        {"data/targets/twice.target", "inherits x86-64-v1\nvregs = 16\nvregs = 32\n"},
        {"data/targets/orphan.target", "inherits nobody\n"},
        {"data/targets/loop.target", "inherits loop\n"},
        {"data/schedules/spaced/spaced.op",
         "op spaced {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = x[n]\n}\n"},
        {"data/schedules/spaced/spaced.sched", "space spaced for spaced\nknob w in {1, 2\n"},
    };
    ck_assert_int_eq(mkdir("data", 0700), 0);
    ck_assert_int_eq(mkdir("data/targets", 0700), 0);
    ck_assert_int_eq(mkdir("data/schedules", 0700), 0);
    ck_assert_int_eq(mkdir("data/schedules/spaced", 0700), 0);
    ck_assert_int_eq(mkdir("folder", 0700), 0);
    link_all(QN_SOURCE_DIR "/targets", "data/targets");
    link_all(QN_SOURCE_DIR "/schedules", "data/schedules");
    ck_assert_int_eq(symlink(QN_SOURCE_DIR "/tuning-db", "data/tuning-db"), 0);
    for (size_t i = 0; i < QN_COUNT(files); i++) app_write(files[i].name, files[i].text);
}

static void setup(void)
{
    char data[300];
    app_setup();
    write_files();
    snprintf(data, sizeof data, "%s/data", app_dir);
    setenv("QUERN_DATA", data, 1);
}

/* ---- the table ------------------------------------------------------------------------------- */

struct row {
    const char *line;
    int rc;
    const char *code, *part;
};

static const struct row command_line[] = {
    {"frobnicate", 2, "cli.unknown_command", "`quern --help`"},
    {"tun", 2, "cli.unknown_command", "did you mean 'tune'"},
    {"tune " M " --trails 5", 2, "cli.unknown_option", "did you mean 'trials'"},
    {"best " M " -z", 2, "cli.unknown_option", "'-z'"},
    {"best " M " --trials 5", 2, "cli.unknown_option", "quern best has no option"},
    {"tune " M " --trials=0", 2, "cli.value", "--trials wants a number >= 1"},
    {"tune " M " --trials=-3", 2, "cli.value", "'-3'"},
    {"tune " M " --trials=9999999999999999999999", 2, "cli.value", "--trials"},
    {"tune " M " --trials=12x", 2, "cli.value", "'12x'"},
    {"tune " M " --time=nan", 2, "cli.value", "--time wants a number"},
    {"tune " M " --time=1e999", 2, "cli.value", "--time"},
    {"tune " M " --seed=-1", 2, "cli.value", "--seed"},
    {"tune " M " --effort fast", 2, "cli.value", "estimate, quick, default, full"},
    {"tune " M " --threads 0", 2, "cli.value", "--threads"},
    {"tune " M " --threads 257", 2, "cli.value", "1..256"},
    {"bench " M " --rounds 2", 2, "cli.value", "7..1000"},
    {"best " M " --db=", 2, "cli.value", "--db wants FILE"},
    {"best " M " --quiet=1", 2, "cli.value", "takes no value"},
    {"best", 2, "cli.no_task", "which task?"},
    {"doctor me", 2, "cli.usage", "takes no arguments"},
    {"ops matmul conv2d", 2, "cli.usage", "conv2d"},
    {"log frob", 2, "cli.usage", "query, export, import, why or check"},
    {"log qery", 2, "cli.usage", "did you mean 'query'"},
    {"log export x", 2, "cli.usage", "takes no 'x'"},
    {"emit --check", 2, "cli.usage", "--check"},
    {"emit " M " --prefix 3d", 2, "emit.prefix", "C identifier"},
    {"emit " M " --prefix a-b", 2, "emit.prefix", "'a-b'"},
    {"emit " M " --license */x", 2, "emit.license", "SPDX"},
    {"emit " M " --form fast", 2, "cli.value", "vector or portable"},
    {"emit --check nothing.c", 2, "fs.open", "nothing.c"},
    {"emit --check foreign.c", 2, "emit.banner", "not an emitted file"},
    {"emit --check foreign.h", 2, "emit.check", "foreign.h"},
    {"emit " M " " M " -o clash", 2, "emit.clash", "two tasks"},
    {"emit " M " -o foreign.c/x", 7, "fs.mkdir", "foreign.c"},
    {"verify nothing.c", 2, "fs.open", "nothing.c"},
    {"verify foreign.c", 2, "verify.no_test", "foreign_test.c"},
    {"verify broken.c", 1, "cc.compile", "refuses ./broken.c"},
    {"verify failing.c", 3, "cc.test", "computes something else"},
    {"verify " M " matmul:M=3,N=3,K=3 --schedule best", 1, "cli.some_failed",
     "2 of 2 tasks failed"},
    {"doctor --db text.db", 1, "doctor.fail", "see above"},
    {"lower " M " --stage nests", 2, "lower.no_stage", "this schedule has: op nest scheduled"},
    {"lower " M " --diff vectorise", 2, "lower.no_step", "did you mean 'vectorize'"},
};

static const struct row names_and_tasks[] = {
    {"ops conv3d", 2, "task.unknown_op", "did you mean 'conv2d'"},
    {"best conv3d:N=1", 2, "task.unknown_op", "did you mean 'conv2d'"},
    {"best :", 2, "task.unknown_op", "`quern ops` lists them"},
    {"best matmul", 2, "task.missing", "matmul needs M, K, N"},
    {"best matmul:M=3,N=3,K=3,bais=1", 2, "task.unknown_key", "did you mean 'bias'"},
    {"best matmul:M=3,N=3,K=3,act=rel", 2, "task.value", "did you mean 'relu'"},
    {"best matmul:M=3,N=3,K=3,tol=x", 2, "task.value", "default, tight, loose"},
    {"best matmul:M=-3,N=3,K=3", 2, "task.extent", "task:1:10"},
    {"best matmul:M=a,N=3,K=3", 2, "task.value", "^"},
    {"best matmul:M=99999999999999999999,N=3,K=3", 2, "task.value", "integer"},
    {"best matmul:M=3,M=3,N=3,K=3", 2, "task.twice", "given twice"},
    {"best matmul:M=3,,N=3", 2, "task.syntax", "KEY=VALUE"},
    {"best matmul:M=1000000,N=1000000,K=3", 2, "task.too_big", "the limit is 8 GiB"},
    {"best matmul:M=1099511627776,N=3,K=3", 2, "task.extent", "0..2^40"},
    {"best matmul:M=1099511627775,N=1099511627775,K=1099511627775", 2, "task.overflow", ""},
    {"best conv2d:N=1,H=2,W=2,C=1,K=1,R=5,S=5", 2, "task.require", "filter is larger"},
    {"best conv2d:N=1,H=8,W=8,C=3,K=4,R=3,S=3,groups=2", 2, "task.require", "groups must divide"},
    {"best conv2d:N=1,H=8,W=8,C=8,K=8,R=3,S=3,P=7", 2, "task.derived", "is 6"},
    {"best ./nothing.op:N=3", 2, "fs.open", "nothing.op"},
    {"best ./not.op:N=3", 2, "dsl.syntax", "not.op:3:12"},
    {"best ./two.op:N=3", 2, "task.one_op", "two.op"},
    {"best ./unknown.op:N=3", 2, "dsl.unknown_tensor", "unknown.op:4:10"},
    {"best ./hole.op:N=3", 2, "dsl.cover", "hole.op"},
    {"best ./outside.op:N=3", 2, "dsl.out_of_range", "outside.op:4"},
    {"verify ./s4.op:N=8", 2, "dsl.not_lowered", "s4.op:2:6"},
    {"verify ./wide.op:N=8", 2, "job.buffers", "the runner takes"},
    {"best @nothing", 2, "fs.open", "nothing"},
    {"best @empty.tasks", 2, "cli.no_task", "lists no task"},
    {"best @bad.tasks", 2, "task.missing", "bad.tasks:2: matmul needs K"},
    {"best @folder", 2, "fs.read", "folder"},
};

static const struct row schedules_and_targets[] = {
    {"verify " M " --schedule nothing.sched", 2, "fs.open", "nothing.sched"},
    {"verify " M " --schedule folder", 2, "fs.read", "directory"},
    {"verify " M " --schedule bytes.sched", 2, "trace.bytes", "bytes.sched"},
    {"verify " M " --schedule empty.sched", 2, "trace.empty", "algorithm NAME"},
    {"verify " M " --schedule word.sched", 2, "trace.primitive", "word.sched:2:1"},
    {"verify " M " --schedule args.sched", 2, "trace.argument", "args.sched:2"},
    {"verify " M " --schedule algo.sched", 2, "dsl.unknown_algorithm", "fastest"},
    {"verify " M " --schedule loop.sched", 2, "unknown_name", "there is no loop 'y.q'"},
    {"verify " M " --schedule factor.sched", 2, "split_exact", "step 1"},
    {"verify " M " --schedule choice.sched", 2, "codegen.choice",
     "there are misched, order, stores, prefetch, addr, phases, lsr and nudge"},
    {"verify " M " --schedule value.sched", 2, "codegen.choice", "lsr is off or on, not 'maybe'"},
    {"verify " M " --schedule nudge.sched", 2, "codegen.choice", "not '17..4'"},
    {"verify " M " --schedule orders.sched", 2, "codegen.choice", "of order=list"},
    {"lower " M " --schedule marked.sched", 2, "loop_marked", ">"},
    {"verify " M " --schedule best", 1, "log.no_record", "run `quern tune matmul:K=8,M=8,N=8`"},
    {"targets x86-64-v9", 2, "target.unknown", "did you mean"},
    {"best " M " --target ../targets/zen4", 2, "target.unknown", "`quern targets` lists them"},
    {"best " M " --target syntax", 2, "target.syntax", "syntax.target:1"},
    {"best " M " --target key", 2, "target.unknown_key", "did you mean 'vector_bits'"},
    {"best " M " --target value", 2, "target.value", "value.target:2"},
    {"best " M " --target twice", 2, "target.duplicate", "twice.target:3"},
    {"best " M " --target orphan", 2, "target.unknown", "nobody"},
    {"best " M " --target loop", 2, "target.inherit_depth", "loop"},
    {"best spaced:N=8", 2, "space.", "spaced.sched:"},
#if defined(__x86_64__)
    {"tune " M " --target cortex-a76", 4, "target.no_device", "no device runs code for cortex-a76"},
    {"verify " M " --target cortex-a76", 4, "target.no_device", "cortex-a76"},
#endif
    {"tune " M " --threads 255", 4, "cli.threads", "255 threads"},
};

static const struct row logs[] = {
    {"log", 7, "log.none", "`quern tune` makes one"},
    {"log check", 7, "log.none", ""},
    {"log why abcd", 7, "log.none", ""},
    {"log import nothing.jsonl", 2, "fs.open", "nothing.jsonl"},
    {"log import bad.jsonl", 2, "db.import", "bad.jsonl:1"},
    {"log why abcd", 2, "db.id", "abcd"}, /* the import has made a log */
    {"log why xyz", 2, "db.id", "4 to 32 hex digits"},
    {"log why", 2, "cli.usage", "which record?"},
    {"log import", 2, "cli.usage", "which file?"},
    {"log query --verdict sloww", 2, "cli.value", "did you mean 'slow'"},
    {"best " M " --db folder", 7, "db.open", "folder"},
    {"best " M " --db text.db", 7, "db.corrupt", "text.db"},
    {"tune " M " --db text.db", 7, "db.corrupt", "text.db"},
    {"tune " M " --db foreign.c/x.db", 7, "db.open", "--db FILE"},
};

/* Is the answer what the row says? Complaints go into `bad`, so that one run shows all of them. */
static void check_row(const struct row *x, struct buf *bad)
{
    struct app_result r;
    app_run(&r, "%s --json", x->line);
    json_t *o = app_lines(r.out) ? app_json(&r, app_lines(r.out) - 1) : json_object();
    const char *code = json_string_value(json_object_get(o, "error")),
               *text = json_string_value(json_object_get(o, "message"));
    size_t n = strlen(x->code);
    bool family = x->code[n - 1] == '.'; /* "space.": any code that begins so */
    if (!code || !text || (family ? strncmp(code, x->code, n) : strcmp(code, x->code)) != 0)
        buf_printf(bad, "quern %s: code %s, not %s: %s\n", x->line, code ? code : "none", x->code,
                   r.err);
    if (r.code != x->rc)
        buf_printf(bad, "quern %s: exit %d, not %d: %s\n", x->line, r.code, x->rc, r.err);
    if (text && !strstr(text, x->part))
        buf_printf(bad, "quern %s: no '%s' in %s\n", x->line, x->part, r.err);
    if (strncmp(r.err, "quern: ", 7) != 0 || strlen(r.err) < 15)
        buf_printf(bad, "quern %s says: %s\n", x->line, r.err);
}

static void check_rows(const struct row *rows, size_t n)
{
    struct buf bad;
    buf_init(&bad, 1 << 20);
    for (size_t i = 0; i < n; i++) check_row(&rows[i], &bad);
    ck_assert_msg(bad.n == 0, "\n%s", bad.p);
    buf_fini(&bad);
}

START_TEST(wrong_command_lines) { check_rows(command_line, QN_COUNT(command_line)); }
END_TEST
START_TEST(wrong_names_and_tasks) { check_rows(names_and_tasks, QN_COUNT(names_and_tasks)); }
END_TEST
START_TEST(wrong_schedules_and_targets)
{
    check_rows(schedules_and_targets, QN_COUNT(schedules_and_targets));
}
END_TEST
START_TEST(wrong_logs) { check_rows(logs, QN_COUNT(logs)); }
END_TEST

/* ---- around the programs --------------------------------------------------------------------- */

static void copy_program(const char *name)
{
    char from[900], to[400], *text;
    size_t n;
    struct err e;
    snprintf(from, sizeof from, "%s/%s", QN_BIN_DIR, name);
    snprintf(to, sizeof to, "alone/%s", name);
    ck_assert_int_eq(fs_read(from, 256 << 20, &text, &n, &e), RC_OK);
    ck_assert_int_eq(fs_write(to, text, n, &e), RC_OK);
    ck_assert_int_eq(chmod(to, 0755), 0);
}

/* Runs alone/quern, which has the siblings it was given. */
static int alone(const char *args, char *text, size_t n)
{
    char line[600];
    snprintf(line, sizeof line, "alone/quern %s 2>&1", args);
    FILE *f = NULL;
    int fd[2], status;
    ck_assert_int_eq(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], 1);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(99);
    }
    close(fd[1]);
    f = fdopen(fd[0], "r");
    text[fread(text, 1, n - 1, f)] = 0;
    fclose(f);
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

START_TEST(missing_siblings)
{
    char text[4096];
    ck_assert_int_eq(mkdir("alone", 0700), 0);
    copy_program("quern");
    ck_assert_int_eq(alone("best " M, text, sizeof text), 0); /* needs neither */
    ck_assert_int_eq(alone("tune " M, text, sizeof text), 1);
    app_has(text, "quern-runner belongs into the folder of quern");
    copy_program("quern-runner");
    ck_assert_int_eq(alone("verify " M, text, sizeof text), 1);
    app_has(text, "quern-worker belongs into the folder of quern");
    ck_assert_int_eq(alone("doctor", text, sizeof text), 1);
    app_has(text, "FAIL  compiler");
    copy_program("quern-worker");
    ck_assert_int_eq(alone("verify " M, text, sizeof text), 0);
    setenv("QUERN_DATA", "/nowhere", 1);
    ck_assert_int_eq(alone("ops", text, sizeof text), 2);
    app_has(text, "QUERN_DATA");
}
END_TEST

static void patch(const char *path, long at, unsigned char value)
{
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, &value, 1, at), 1);
    close(fd);
}

static void expect_error(int rc, const char *code, const char *line)
{
    struct row row = {line, rc, code, ""};
    check_rows(&row, 1);
}

START_TEST(strange_helpers)
{
    struct buf many;
    char text[4096];
    setenv("QUERN_RUNNER", "/bin/true", 1);
    expect_error(1, "io.closed", "verify " M);
    setenv("QUERN_RUNNER", "/nothing", 1);
    expect_error(1, "proc.exec", "verify " M);
    app_write("babble", "#!/bin/sh\nhead -c 4096 /dev/zero >&3\nsleep 3\n");
    ck_assert_int_eq(chmod("babble", 0755), 0);
    setenv("QUERN_RUNNER", "./babble", 1);
    expect_error(1, "wire.", "verify " M);
    unsetenv("QUERN_RUNNER");

    ck_assert_int_eq(mkdir("alone", 0700), 0);
    copy_program("quern");
    copy_program("quern-runner");
    ck_assert_int_eq(rename("babble", "alone/quern-worker"), 0);
    ck_assert_int_eq(alone("verify " M " --json", text, sizeof text), 1);
    app_has(text, "worker.frame");
    app_write("alone/quern-worker", "#!/bin/sh\nexit 3\n");
    ck_assert_int_eq(chmod("alone/quern-worker", 0755), 0);
    ck_assert_int_eq(alone("verify " M, text, sizeof text), 1);
    app_has(text, "compile worker: ");

    setenv("TMPDIR", "/nothing", 1);
    expect_error(1, "cc.tmp", "verify failing.c");
    unsetenv("TMPDIR");
    char *path = getenv("PATH");
    setenv("PATH", "/nothing", 1);
    expect_error(1, "cc.none", "verify failing.c");
    setenv("PATH", path, 1);

    buf_init(&many, 1 << 16);
    for (int i = 0; i < 65; i++) buf_puts(&many, "failing.c\n");
    app_write("plants", many.p);
    setenv("QUERN_PLANT", "plants", 1);
    expect_error(2, "plant.file", "tune " M);
    unsetenv("QUERN_PLANT");
    buf_fini(&many);
}
END_TEST

START_TEST(too_long_and_too_many)
{
    struct app_result r;
    struct buf b;
    char name[2400];
    memset(name, 'a', sizeof name);
    memcpy(name + sizeof name - 3, ".c", 3);
    app_expect(2, &r, "verify %s --json", name);
    ck_assert_str_eq(app_text(app_json(&r, 0), "error"), "verify.file");
    name[0] = '@';
    app_expect(2, &r, "best %s", name);
    buf_init(&b, 1 << 16);
    for (int i = 1; i <= 300; i++) buf_printf(&b, "matmul:M=%d,N=8,K=8\n", i);
    app_write("many.tasks", b.p);
    buf_fini(&b);
    struct app_job j = app_start("verify @many.tasks --json");
    char out[32];
    snprintf(out, sizeof out, "out.%d", j.n);
    while (!app_ended(j) && (access(out, F_OK) != 0 || app_lines(app_read(out)) < 3)) app_nap(20);
    kill(j.pid, SIGINT);
    app_finish(j, &r);
    ck_assert_int_eq(r.code, 130);
    ck_assert_str_eq(app_text(app_json(&r, app_lines(r.out) - 1), "error"), "cli.interrupted");
    ck_assert_int_lt(app_lines(r.out), 250);
}
END_TEST

START_TEST(logs_of_other_worlds)
{
    struct app_result r;
    app_expect(0, &r, "tune " M " --trials 3");
    patch(app_db, 63, 99);
    expect_error(7, "db.newer", "best " M);
    expect_error(7, "db.newer", "tune " M " --trials 3");
    patch(app_db, 63, 1);
    app_expect(0, &r, "log check");
    patch(app_db, 68, 0); /* the application id */
    expect_error(7, "db.foreign", "tune " M " --trials 3");
    patch(app_db, 68, 0x51);
    app_expect(0, &r, "log check");
    for (long at = 4096 + 8; at < 4096 + 64; at++) patch(app_db, at, 0xff);
    expect_error(7, "db.corrupt", "log check");
}
END_TEST

static void become_nobody(void)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(99);
}

/* As an ordinary user, for whom permissions mean something. */
static void as_nobody(void (*body)(void))
{
    int status;
    ck_assert_int_eq(chmod(app_dir, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        become_nobody();
        body();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
}

static int direct(const char *args, const char *out)
{
    char line[700];
    int status;
    snprintf(line, sizeof line, "%s/quern %s >%s 2>&1", QN_BIN_DIR, args, out);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(99);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static void in_unwritable_folder(void)
{
    if (direct("best " M " --db frozen/log.db --json", "open/o1") != 0)
        _exit(1); /* readers read a copy */
    if (direct("tune " M " --trials 9 --db frozen/log.db --json", "open/o2") != 7) _exit(2);
    if (direct("tune " M " --trials 9 --db frozen/new.db --json", "open/o3") != 7) _exit(3);
}

START_TEST(a_folder_that_may_not_be_written)
{
    struct app_result r;
    app_expect(0, &r, "tune " M " --trials 3");
    ck_assert_int_eq(mkdir("frozen", 0755), 0);
    ck_assert_int_eq(mkdir("open", 0777), 0);
    ck_assert_int_eq(chmod("open", 0777), 0);
    ck_assert_int_eq(rename("log.db", "frozen/log.db"), 0);
    ck_assert_int_eq(chmod("frozen/log.db", 0644), 0);
    if (geteuid() != 0) ck_assert_int_eq(chmod("frozen", 0555), 0);
    if (access(QN_BIN_DIR "/quern", X_OK) != 0) return;
    pid_t pid = fork(); /* is the program reachable for others at all? */
    int status;
    if (pid == 0) {
        become_nobody();
        _exit(access(QN_BIN_DIR "/quern", X_OK) == 0 &&
                      access(QN_SOURCE_DIR "/targets/zen4.target", R_OK) == 0
                  ? 0
                  : 1);
    }
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "skipped: another user cannot reach the build folder\n");
        return;
    }
    ck_assert_int_eq(chmod("data", 0755), 0);
    ck_assert_int_eq(chmod("data/targets", 0755), 0);
    ck_assert_int_eq(chmod("data/schedules", 0755), 0);
    as_nobody(in_unwritable_folder);
    app_has(app_read("open/o1"), "\"rung\":\"exact\"");
    app_has(app_read("open/o2"), "db.");
    app_has(app_read("open/o2"), "--db FILE");
    if (geteuid() != 0) ck_assert_int_eq(chmod("frozen", 0755), 0);
}
END_TEST

/* A tmpfs of 512 KiB in a mount namespace of our own; what was acknowledged stays, the next run
 * goes on. */
static void on_full_disk(void)
{
    char text[200000];
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "small", "tmpfs", 0, "size=400k") != 0)
        _exit(77);
    int rc = direct(
        "tune conv2d:N=1,H=14,W=14,C=16,K=16,R=3,S=3,pad=1 --trials 400 --db small/log.db --json",
        "o1");
    int fd = open("o1", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (rc != 7) {
        fprintf(stderr, "exit %d: %s\n", rc, text);
        _exit(1);
    }
    if (!strstr(text, "db.full") || !strstr(text, "saved rows are safe")) {
        fprintf(stderr, "%s\n", text);
        _exit(2);
    }
    if (direct("log check --db small/log.db", "o2") != 0) _exit(3);
    if (mount(NULL, "small", NULL, MS_REMOUNT, "size=64m") != 0) _exit(78);
    if (direct("tune conv2d:N=1,H=14,W=14,C=16,K=16,R=3,S=3,pad=1 --trials 400 --time 2 --db "
               "small/log.db",
               "o3") != 0)
        _exit(4);
    fd = open("o3", O_RDONLY);
    n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (!strstr(text, "going on with an earlier run")) _exit(5);
    if (direct("log check --db small/log.db", "o4") != 0) _exit(6);
}

START_TEST(a_full_disk)
{
    int status;
    if (geteuid() != 0) return;
    ck_assert_int_eq(mkdir("small", 0700), 0);
    pid_t pid = fork();
    if (pid == 0) {
        on_full_disk();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        fprintf(stderr, "skipped: no private mounts here\n");
        return;
    }
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("app.badinput");
    TCase *t = tcase_create("badinput");
    tcase_add_checked_fixture(t, setup, app_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, wrong_command_lines);
    tcase_add_test(t, wrong_names_and_tasks);
    tcase_add_test(t, wrong_schedules_and_targets);
    tcase_add_test(t, wrong_logs);
    tcase_add_test(t, missing_siblings);
    tcase_add_test(t, strange_helpers);
    tcase_add_test(t, too_long_and_too_many);
    tcase_add_test(t, logs_of_other_worlds);
    tcase_add_test(t, a_folder_that_may_not_be_written);
    tcase_add_test(t, a_full_disk);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
