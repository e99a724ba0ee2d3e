/* app_util: fork, exec, read files back. See app_util.h. */
#include "lib/app_util.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/proc.h"

char app_dir[256], app_db[300];
static int jobs;

void app_setup(void)
{
    snprintf(app_dir, sizeof app_dir, "/tmp/quern-app-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(app_dir));
    ck_assert_int_eq(chdir(app_dir), 0);
    snprintf(app_db, sizeof app_db, "%s/log.db", app_dir);
    setenv("QUERN_DB", app_db, 1);
    setenv("HOME", app_dir, 1);
    unsetenv("QUERN_PLANT");
    unsetenv("QUERN_RUNNER");
    unsetenv("XDG_DATA_HOME");
    unsetenv("CC");
    jobs = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void app_teardown(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    nftw(app_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

enum { WORDS = 64 };

static void exec_line(const char *line, int n)
{
    char text[4096], name[64], program[1024];
    char *word[WORDS + 2];
    int count = 0;
    snprintf(text, sizeof text, "%s", line);
    snprintf(program, sizeof program, "%s/quern", QN_BIN_DIR);
    word[count++] = program;
    for (char *p = text; *p && count <= WORDS; p++) {
        char *end = p + strcspn(p, " ");
        if (end > p) word[count++] = p;
        p = end;
        if (*p == 0) break;
        *p = 0;
    }
    word[count] = NULL;
    snprintf(name, sizeof name, "out.%d", n);
    int out = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    snprintf(name, sizeof name, "err.%d", n);
    int err = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600), null = open("/dev/null", O_RDONLY);
    if (out < 0 || err < 0 || null < 0) _exit(99);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    execv(program, word);
    _exit(98);
}

static struct app_job start(const char *line, va_list ap)
{
    char text[4096];
    struct app_job j = {.n = jobs++};
    vsnprintf(text, sizeof text, line, ap);
    fflush(NULL);
    j.pid = fork();
    ck_assert_int_ge(j.pid, 0);
    if (j.pid == 0) exec_line(text, j.n);
    return j;
}

struct app_job app_start(const char *line, ...)
{
    va_list ap;
    va_start(ap, line);
    struct app_job j = start(line, ap);
    va_end(ap);
    return j;
}

void app_nap(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}

bool app_ended(struct app_job j)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)j.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == j.pid;
}

pid_t app_child(pid_t parent, const char *name)
{
    char **names, path[300], *text, program[1024], want[32];
    size_t n;
    pid_t found = 0;
    snprintf(program, sizeof program, "%s/%s", QN_BIN_DIR, name);
    snprintf(want, sizeof want, "\nPPid:\t%d\n", (int)parent);
    if (fs_list("/proc", "", &names, &n, NULL) != RC_OK) return 0;
    for (size_t i = 0; i < n && !found; i++) {
        if (names[i][0] < '1' || names[i][0] > '9') continue;
        snprintf(path, sizeof path, "/proc/%.20s/cmdline", names[i]);
        if (fs_read(path, 1 << 16, &text, NULL, NULL) != RC_OK) continue;
        bool ours = strcmp(text, program) == 0;
        mem_free(text);
        snprintf(path, sizeof path, "/proc/%.20s/status", names[i]);
        if (!ours || fs_read(path, 1 << 16, &text, NULL, NULL) != RC_OK) continue;
        if (strstr(text, want)) found = (pid_t)strtol(names[i], NULL, 10);
        mem_free(text);
    }
    fs_list_free(names, n);
    return found;
}

void app_finish(struct app_job j, struct app_result *r)
{
    char name[64];
    int status;
    int64_t deadline = clock_ns() + APP_TIMEOUT_S * INT64_C(1000000000);
    while (!app_ended(j)) {
        if (clock_ns() > deadline) {
            kill(j.pid, SIGKILL);
            ck_abort_msg("the program did not end within %d s", APP_TIMEOUT_S);
        }
        app_nap(5);
    }
    ck_assert_int_eq(waitpid(j.pid, &status, 0), j.pid);
    r->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    snprintf(name, sizeof name, "out.%d", j.n);
    r->out = app_read(name);
    unlink(name);
    snprintf(name, sizeof name, "err.%d", j.n);
    r->err = app_read(name);
    unlink(name);
}

void app_run(struct app_result *r, const char *line, ...)
{
    va_list ap;
    va_start(ap, line);
    app_finish(start(line, ap), r);
    va_end(ap);
}

void app_expect(int code, struct app_result *r, const char *line, ...)
{
    va_list ap;
    va_start(ap, line);
    app_finish(start(line, ap), r);
    va_end(ap);
    ck_assert_msg(r->code == code, "quern %s: exit %d, not %d\n%.3000s\n%.1000s", line, r->code,
                  code, r->err, r->out);
}

int app_lines(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

json_t *app_json(const struct app_result *r, int n)
{
    const char *p = r->out;
    json_error_t e;
    for (int i = 0; i < n && p; i++) p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL;
    ck_assert_msg(p && *p, "stdout has no line %d:\n%s", n, r->out);
    json_t *o = json_loadb(p, strcspn(p, "\n"), 0, &e);
    ck_assert_msg(o != NULL, "not JSON (%s): %.400s", e.text, p);
    return o;
}

const char *app_text(json_t *o, const char *key)
{
    ck_assert_msg(json_is_string(json_object_get(o, key)), "no text '%s'", key);
    return json_string_value(json_object_get(o, key));
}

double app_number(json_t *o, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(o, key)), "no number '%s'", key);
    return json_number_value(json_object_get(o, key));
}

void app_write(const char *name, const char *text)
{
    struct err e;
    ck_assert_msg(fs_write(name, text, strlen(text), &e) == RC_OK, "%s", e.msg);
}

char *app_read(const char *name)
{
    char *text = NULL;
    size_t n;
    struct err e;
    ck_assert_msg(fs_read(name, 64 << 20, &text, &n, &e) == RC_OK, "%s", e.msg);
    return text;
}

char *app_sql_text(const char *sql)
{
    sqlite3 *s;
    sqlite3_stmt *st;
    ck_assert_int_eq(sqlite3_open_v2(app_db, &s, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(s, 5000);
    ck_assert_msg(sqlite3_prepare_v2(s, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql,
                  sqlite3_errmsg(s));
    ck_assert_msg(sqlite3_step(st) == SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(s));
    const char *text = (const char *)sqlite3_column_text(st, 0);
    char *out = mem_strdup(text ? text : "");
    sqlite3_finalize(st);
    sqlite3_close(s);
    return out;
}

int64_t app_sql(const char *sql)
{
    char *text = app_sql_text(sql);
    int64_t v = strtoll(text, NULL, 10);
    mem_free(text);
    return v;
}
