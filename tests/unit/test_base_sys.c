/* base: processes, files and the log.
 *
 * Invariant: no test depends on another; files live in a folder of their own under /tmp. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"

/* ---- processes ------------------------------------------------------------------------------- */

static int run_shell(const char *script, int timeout_ms, size_t max, char **out)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    int code = -2;
    struct err e = {0};
    ck_assert_int_eq(proc_run(argv, "/", timeout_ms, max, out, &code, &e), RC_OK);
    return code;
}

START_TEST(run_exit_codes)
{
    char *out;
    ck_assert_int_eq(run_shell("echo out; echo err >&2; exit 3", 10000, 1000, &out), 3);
    ck_assert_str_eq(out, "out\nerr\n");
    mem_free(out);
    ck_assert_int_eq(run_shell("kill -SEGV $$", 10000, 1000, NULL), 128 + SIGSEGV);
    ck_assert_int_eq(run_shell("pwd; cat", 10000, 1000, &out), 0); /* stdin is empty */
    ck_assert_str_eq(out, "/\n");
    mem_free(out);
    ck_assert_int_eq(run_shell("i=0; while [ $i -lt 3000 ]; do echo 123456789; i=$((i+1)); done",
                               20000, 25, &out),
                     0);
    ck_assert_str_eq(out, "123456789\n123456789\n12345"); /* the rest is read and dropped */
    mem_free(out);
}
END_TEST

START_TEST(run_timeout_kills_the_group)
{
    char *out;
    int64_t start = clock_ns();
    ck_assert_int_eq(run_shell("echo begun; (sleep 30; echo late) & sleep 30", 300, 1000, &out),
                     -1);
    ck_assert_str_eq(out, "begun\n");
    mem_free(out);
    /* a grandchild holding the pipe does not hold us */
    ck_assert_int_eq(run_shell("sleep 30 & echo done", 20000, 1000, &out), 0);
    ck_assert_str_eq(out, "done\n");
    mem_free(out);
    /* nor does a child that closed its output */
    ck_assert_int_eq(run_shell("exec >&- 2>&-; sleep 30", 300, 1000, NULL), -1);
    ck_assert_int_lt(clock_ns() - start, INT64_C(15000000000));
}
END_TEST

START_TEST(run_what_is_not_there)
{
    const char *const argv[] = {"/no/such/program", NULL};
    int code = 0;
    char *out;
    struct err e = {0};
    ck_assert_int_eq(proc_run(argv, NULL, 1000, 100, &out, &code, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "proc.exec");
    ck_assert_str_eq(e.msg, "cannot run '/no/such/program': No such file or directory");
    ck_assert_ptr_null(out);
    const char *const echo[] = {"true", NULL};
    ck_assert_int_eq(proc_run(echo, "/no/such/folder", 1000, 100, NULL, &code, &e), RC_FAIL);
    struct proc p;
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_SOCKET, &e), RC_FAIL);
    ck_assert_int_eq(p.fd, -1);
    ck_assert_int_eq(p.pid, 0);
}
END_TEST

START_TEST(spawn_talks_over_descriptor_3)
{
    int leaked = dup(1); /* not close-on-exec: must still not reach the child */
    const char *const argv[] = {
        "sh", "-c", "read line <&3; echo \"got $line $(ls /proc/self/fd | tr '\\n' ' ')\" >&3",
        NULL};
    struct proc p;
    struct err e = {0};
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_SOCKET | PROC_QUIET, &e), RC_OK);
    ck_assert_int_ge(fcntl(p.fd, F_GETFD) & FD_CLOEXEC, 1);
    ck_assert_int_eq(io_write(p.fd, "ping\n", 5, 5000, &e), RC_OK);
    char text[10] = {0}, rest[200] = {0};
    ck_assert_int_eq(io_read(p.fd, text, 9, 5000, &e), RC_OK);
    ck_assert_str_eq(text, "got ping ");
    for (size_t i = 0; i < sizeof rest - 1; i++) {
        ck_assert_int_eq(io_read(p.fd, rest + i, 1, 5000, &e), RC_OK);
        if (rest[i] == '\n') break;
    }
    ck_assert_str_eq(rest, "0 1 2 3 4 \n"); /* 4 is ls reading its folder */
    ck_assert_int_eq(io_read(p.fd, text, 1, 5000, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "io.closed");
    int status = -1;
    proc_wait(&p, &status);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(p.fd, -1);
    close(leaked);
}
END_TEST

START_TEST(kill_and_wait)
{
    const char *const argv[] = {"sh", "-c", "sleep 100 & sleep 100", NULL};
    struct proc p;
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_QUIET, NULL), RC_OK);
    pid_t group = p.pid;
    ck_assert_int_eq(getpgid(p.pid), p.pid);
    int status = 0;
    proc_kill(&p);
    proc_wait(&p, &status);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    ck_assert_int_eq(p.pid, 0);
    proc_kill(&p); /* nothing left: no effect, and never kill(0) */
    for (int i = 0; i < 200 && kill(-group, 0) == 0; i++) usleep(10000);
    ck_assert_int_eq(kill(-group, 0), -1);
}
END_TEST

START_TEST(io_deadlines)
{
    int pair[2], p[2];
    char b[4];
    struct err e = {0};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int64_t start = clock_ns();
    ck_assert_int_eq(io_read(pair[0], b, 4, 60, &e), RC_DEADLINE);
    ck_assert_str_eq(e.code, "io.timeout");
    ck_assert_int_ge(clock_ns() - start, 59000000);
    ck_assert_int_eq(io_write(pair[1], "ab", 2, 100, &e), RC_OK);
    ck_assert_int_eq(io_read(pair[0], b, 4, 60, &e), RC_DEADLINE); /* half is not enough */
    /* a writer whose reader does not read: socket, then pipe */
    static char big[4 << 20];
    ck_assert_int_eq(io_write(pair[1], big, sizeof big, 60, &e), RC_DEADLINE);
    ck_assert_int_eq(pipe(p), 0);
    ck_assert_int_eq(io_write(p[1], big, sizeof big, 60, &e), RC_DEADLINE);
    /* closed ends: an error, no SIGPIPE */
    close(p[0]);
    ck_assert_int_eq(io_write(p[1], "x", 1, 60, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "io.closed");
    close(pair[0]);
    ck_assert_int_eq(io_write(pair[1], "x", 1, 60, &e), RC_FAIL);
    ck_assert_str_eq(e.code, "io.closed");
    ck_assert_int_eq(io_read(-1, b, 0, 60, &e), RC_OK); /* nothing asked, nothing done */
}
END_TEST

/* ---- files and log --------------------------------------------------------------------------- */

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/quern-base-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    const char *const argv[] = {"rm", "-rf", folder, NULL};
    int code;
    proc_run(argv, NULL, 10000, 100, NULL, &code, NULL);
}

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

START_TEST(files_read_and_write)
{
    struct err e = {0};
    char *text;
    size_t n;
    ck_assert_int_eq(fs_write(in_folder("a.txt"), "hello", 5, &e), RC_OK);
    ck_assert_int_eq(fs_write(in_folder("a.txt"), "hello, all", 10, &e), RC_OK);
    ck_assert_int_eq(fs_read(in_folder("a.txt"), 10, &text, &n, &e), RC_OK);
    ck_assert_uint_eq(n, 10);
    ck_assert_str_eq(text, "hello, all");
    mem_free(text);
    ck_assert_int_eq(fs_read(in_folder("a.txt"), 9, &text, &n, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.too_big");
    ck_assert_int_eq(fs_read(in_folder("none"), 9, &text, &n, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.open");
    ck_assert_int_eq(fs_read(folder, 9, &text, &n, &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.read");
    ck_assert_int_eq(fs_read("/dev/zero", 200000, &text, &n, &e), RC_INPUT); /* a size that lies */
    ck_assert_str_eq(e.code, "fs.too_big");
    ck_assert_int_eq(fs_read("/proc/self/status", 1 << 20, &text, &n, &e), RC_OK);
    ck_assert_uint_gt(n, 100);
    mem_free(text);
    ck_assert_int_eq(fs_write(in_folder("empty"), "", 0, &e), RC_OK);
    ck_assert_int_eq(fs_read(in_folder("empty"), 0, &text, NULL, &e), RC_OK);
    ck_assert_str_eq(text, "");
    mem_free(text);
}
END_TEST

START_TEST(files_failed_write_leaves_nothing)
{
    struct err e = {0};
    char **names;
    size_t n;
    ck_assert_int_eq(fs_mkdirs(in_folder("target/sub"), &e), RC_OK);
    ck_assert_int_eq(fs_write(in_folder("target"), "x", 1, &e),
                     RC_STORE); /* a folder is in the way */
    ck_assert_str_eq(e.code, "fs.write");
    ck_assert_int_eq(fs_list(folder, "", &names, &n, &e), RC_OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(names[0], "target");
    fs_list_free(names, n);
    ck_assert_int_eq(fs_write("/no/such/folder/x", "x", 1, &e), RC_STORE);
}
END_TEST

START_TEST(files_lists_and_folders)
{
    struct err e = {0};
    char **names;
    size_t n;
    ck_assert_int_eq(fs_mkdirs(in_folder("p/q/r"), &e), RC_OK);
    ck_assert_int_eq(fs_mkdirs(in_folder("p/q/r/"), &e), RC_OK);
    ck_assert(fs_exists(in_folder("p/q/r")));
    ck_assert(!fs_exists(in_folder("p/x")));
    static const char *const NAMES[] = {"p/b.op", "p/a.op", "p/c.sched", "p/.hidden.op", "p/op"};
    for (size_t i = 0; i < QN_COUNT(NAMES); i++)
        ck_assert_int_eq(fs_write(in_folder(NAMES[i]), "", 0, &e), RC_OK);
    ck_assert_int_eq(fs_list(in_folder("p"), ".op", &names, &n, &e), RC_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(names[0], "a.op");
    ck_assert_str_eq(names[1], "b.op");
    fs_list_free(names, n);
    ck_assert_int_eq(fs_mkdirs(in_folder("p/a.op/x"), &e), RC_STORE);
    ck_assert_int_eq(fs_mkdirs("", &e), RC_STORE);
    ck_assert_int_eq(fs_list(in_folder("none"), "", &names, &n, &e), RC_INPUT);
}
END_TEST

START_TEST(data_folders)
{
    struct err e = {0};
    char dir[512], want[512];
    unsetenv("QUERN_DATA");
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "targets", &e), RC_OK);
    snprintf(want, sizeof want, "%s/targets",
             QN_SOURCE_DIR); /* upwards from the build's tests folder */
    struct stat a, b;
    ck_assert_int_eq(stat(dir, &a), 0);
    ck_assert_int_eq(stat(want, &b), 0);
    ck_assert(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "no-such-data", &e), RC_INPUT);
    ck_assert_str_eq(e.code, "fs.data");
    ck_assert_int_eq(fs_data_dir(dir, 5, "targets", &e), RC_INPUT);
    ck_assert_int_eq(fs_mkdirs(in_folder("data/targets"), &e), RC_OK);
    setenv("QUERN_DATA", in_folder("data"), 1);
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "targets", &e), RC_OK);
    ck_assert_str_eq(dir, in_folder("data/targets"));
    ck_assert_int_eq(fs_data_dir(dir, sizeof dir, "schedules", &e), RC_INPUT);
    ck_assert_ptr_nonnull(strstr(e.msg, "QUERN_DATA"));
}
END_TEST

START_TEST(log_levels)
{
    int fd = open(in_folder("log"), O_RDWR | O_CREAT, 0600);
    int keep = dup(2);
    dup2(fd, 2);
    unsetenv("QUERN_LOG");
    log_info("not shown");
    errno = ENOENT;
    log_warn("w %d", 1);
    int kept = errno;
    setenv("QUERN_LOG", "debug", 1);
    log_debug("d");
    setenv("QUERN_LOG", "error", 1);
    log_warn("not shown");
    log_at(LOG_ERROR, "e: %m");
    dup2(keep, 2);
    ck_assert_int_eq(kept, ENOENT);
    char *text;
    ck_assert_int_eq(fs_read(in_folder("log"), 1000, &text, NULL, NULL), RC_OK);
    ck_assert_str_eq(
        text, "quern: warning: w 1\nquern: debug: d\nquern: error: e: No such file or directory\n");
    mem_free(text);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    suite_add_tcase(suite, t);
    return t;
}

int main(void)
{
    Suite *suite = suite_create("base_sys");
    TCase *t = add_case(suite, "processes");
    tcase_add_test(t, run_exit_codes);
    tcase_add_test(t, run_timeout_kills_the_group);
    tcase_add_test(t, run_what_is_not_there);
    tcase_add_test(t, spawn_talks_over_descriptor_3);
    tcase_add_test(t, kill_and_wait);
    tcase_add_test(t, io_deadlines);
    t = add_case(suite, "files");
    tcase_add_unchecked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, data_folders);
    t = add_case(suite, "fresh folder");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_add_test(t, files_read_and_write);
    tcase_add_test(t, files_failed_write_leaves_nothing);
    tcase_add_test(t, files_lists_and_folders);
    tcase_add_test(t, log_levels);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
