/* The disk as it really is: full (a small tmpfs in a private mount namespace; as root and as
 * nobody), mounted read-only, and with bytes changed anywhere in the file. Where no private mount
 * is possible the test says why and passes. Nothing acknowledged is lost by any of it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/rng.h"
#include "lib/db_util.h"

enum { NOBODY = 65534 };

static char dir[256], path[300];
static struct arena *arena;

static void setup(void)
{
    db_tmp(dir);
    db_in(path, dir, "log.db");
    arena = arena_new();
}

static void teardown(void)
{
    arena_free(arena);
    db_rm(dir);
}

static void fill(struct db *d, int64_t from, int64_t n)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    for (int64_t i = from; i < from + n; i++) {
        struct db_row r;
        db_row_of(&r, i);
        db_ok(db_put(d, &run, &r, &db_last));
    }
    db_ok(db_commit(d, &db_last));
}

static void make_log(int64_t rows)
{
    struct db *d;
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    if (rows) fill(d, 0, rows);
    db_ok(db_close(d, &db_last));
}

static void put_file(const char *text, size_t n) { db_ok(fs_write(path, text, n, &db_last)); }

/* Runs body in a child and gives its exit status; the child may change user or mounts. */
static int in_child(void (*body)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        body();
        fflush(stdout);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void become_nobody(void)
{
    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) _exit(99);
}

/* Assertions in a plain child: Check's would go to the wrong process. */
#define must(cond)                                                                           \
    do {                                                                                     \
        if (!(cond)) {                                                                       \
            fprintf(stderr, "%s:%d: %s (%s: %s)\n", __FILE__, __LINE__, #cond, db_last.code, \
                    db_last.msg);                                                            \
            _exit(1);                                                                        \
        }                                                                                    \
    } while (0)

static struct db *x;

/* ---- damage ---- */

/* Bytes changed anywhere: an error or an answer, never a crash, and a check that tells. */
START_TEST(damaged_files_never_crash)
{
    char *whole;
    size_t n;
    int told = 0, opened = 0;
    struct rng rng;
    rng_seed(&rng, 11);
    make_log(200);
    db_ok(fs_read(path, 1 << 24, &whole, &n, &db_last));
    for (int i = 0; i < 300; i++) {
        char *copy = mem_new(n);
        memcpy(copy, whole, n);
        size_t len = i % 3 == 0 ? (size_t)rng_range(&rng, 1, (int64_t)n) : n; /* cut short */
        for (int64_t k = rng_range(&rng, 1, 40); k > 0 && i % 3; k--)
            copy[rng_range(&rng, i % 3 == 1 ? 0 : 100, (int64_t)len - 1)] = (char)rng_u64(&rng);
        put_file(copy, len);
        mem_free(copy);
        pid_t pid = fork();
        if (pid == 0) {
            int code = 0;
            struct db_rows rows;
            struct db_run run;
            struct db_key k = db_key_of(0);
            struct db_row r;
            for (int mode = DB_READ; mode <= DB_WRITE; mode++) {
                if (db_open_with(&x, path, (enum db_mode)mode, NULL, 200, &db_last) != RC_OK) {
                    code |= 1;
                    continue;
                }
                code |= 2;
                if (db_query(x, NULL, arena, &rows, &db_last) != RC_OK) code |= 1;
                if (db_check(x, &db_last) != RC_OK) code |= 1;
                if (mode == DB_WRITE && db_run_open(x, &k, 1, "", arena, &run, &db_last) == RC_OK) {
                    db_row_of(&r, 1000);
                    if (db_put(x, &run, &r, &db_last) != RC_OK || db_commit(x, &db_last) != RC_OK)
                        code |= 1;
                }
                db_close(x, NULL);
            }
            _exit(code);
        }
        int status;
        waitpid(pid, &status, 0);
        ck_assert_msg(WIFEXITED(status), "case %d: signal %d", i, WTERMSIG(status));
        told += WEXITSTATUS(status) & 1;
        opened += WEXITSTATUS(status) >> 1 & 1;
        db_rm(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
    }
    printf("damage: 300 files, %d told of, %d opened\n", told, opened);
    ck_assert_int_ge(told, 150);
    mem_free(whole);
}
END_TEST

/* ---- real mounts ---- */

static bool put_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return ok;
}

/* Without maps our own files on the new disk would belong to nobody that exists. */
static bool map_ourselves(int user, int group)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "%d %d 1", user, user);
    snprintf(groups, sizeof groups, "%d %d 1", group, group);
    return put_text("/proc/self/setgroups", "deny") && put_text("/proc/self/uid_map", users) &&
           put_text("/proc/self/gid_map", groups);
}

static const char *private_mount(const char *options, unsigned long flags)
{
    static char why[200];
    int user = geteuid() == 0 ? -1 : (int)geteuid(), group = (int)getegid(); /* before unmapped */
    /* As root: a mount namespace. As a user: one inside a user namespace, where the system lets
     * us. */
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        snprintf(why, sizeof why, "no private mount namespace: %s", strerror(errno));
        return why;
    }
    if (user >= 0 && !map_ourselves(user, group)) return "the user namespace takes no user map";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", flags, options) != 0) {
        snprintf(why, sizeof why, "cannot mount a small disk: %s", strerror(errno));
        return why;
    }
    return NULL;
}

enum { SKIPPED = 77 };
static bool as_nobody;

static void skip(const char *why)
{
    printf("skipped: %s\n", why);
    fflush(stdout);
    _exit(SKIPPED);
}

static void small_disk(void)
{
    const char *why;
    if (as_nobody && geteuid() != 0) become_nobody();
    if ((why = private_mount("size=3m,mode=0777", 0))) skip(why);
    if (as_nobody) become_nobody();
}

/* Puts rows until the disk is full, frees space, goes on; then everything acknowledged is there. */
static void fill_the_disk(void)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_stats s;
    char ballast[300];
    int64_t i = 0;
    bool full = false;
    small_disk();
    db_in(ballast, dir, "ballast");
    int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    static char zeros[3 << 19];
    must(fd >= 0 && write(fd, zeros, sizeof zeros) == sizeof zeros && close(fd) == 0);
    must(db_open(&x, path, DB_WRITE, &db_last) == RC_OK);
    must(db_run_open(x, &k, 1, "", arena, &run, &db_last) == RC_OK);
    for (; i < 20000 && !full; i++) {
        struct db_row r;
        db_row_of(&r, i);
        enum rc rc = db_put(x, &run, &r, &db_last);
        if (rc == RC_OK && i % 16 == 15) rc = db_commit(x, &db_last);
        if (rc == RC_OK) continue;
        must(rc == RC_STORE && strcmp(db_last.code, "db.full") == 0);
        must(strstr(db_last.msg, "free some space") != NULL);
        full = true;
    }
    must(full && db_pending(x) > 0);
    int64_t acked = (int64_t)db_acked(x);
    for (int again = 0; again < 3; again++) must(db_commit(x, &db_last) == RC_STORE);
    must((int64_t)db_acked(x) == acked && acked > 50);
    must(db_stats(x, &s, &db_last) == RC_OK && s.records == acked);
    must(unlink(ballast) == 0);
    must(db_commit(x, &db_last) == RC_OK); /* space again: the group that was kept */
    must((int64_t)db_acked(x) == i);
    for (int64_t end = i + 100; i < end; i++) {
        struct db_row r;
        db_row_of(&r, i);
        must(db_put(x, &run, &r, &db_last) == RC_OK);
    }
    must(db_close(x, &db_last) == RC_OK);
    must(db_open(&x, path, DB_WRITE, &db_last) == RC_OK);
    must(db_run_open(x, &k, 1, "", arena, &run, &db_last) == RC_OK);
    must((int64_t)run.row_n == i);
    must(db_check(x, &db_last) == RC_OK);
    printf("full disk as uid %u: %lld rows acknowledged before, %lld in the end\n",
           (unsigned)geteuid(), (long long)acked, (long long)i);
    must(db_close(x, &db_last) == RC_OK);
}

/* Filled, then killed: what was acknowledged is there, and an open on the full disk is an error or
 * works. */
static void die_on_a_full_disk(void)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    int64_t acked = 0;
    int fds[2];
    small_disk();
    must(pipe2(fds, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        must(db_open(&x, path, DB_WRITE, &db_last) == RC_OK);
        must(db_run_open(x, &k, 1, "", arena, &run, &db_last) == RC_OK);
        for (int64_t i = 0;; i++) {
            struct db_row r;
            db_row_of(&r, i);
            if (db_put(x, &run, &r, &db_last) != RC_OK ||
                (i % 8 == 7 && db_commit(x, &db_last) != RC_OK))
                raise(SIGKILL);
            acked = (int64_t)db_acked(x);
            must(write(fds[1], &acked, sizeof acked) == sizeof acked);
        }
    }
    close(fds[1]);
    while (read(fds[0], &acked, sizeof acked) == sizeof acked) {
    }
    waitpid(pid, NULL, 0);
    must(acked > 50);
    enum rc rc = db_open(&x, path, DB_WRITE, &db_last);
    must(rc == RC_OK || (rc == RC_STORE && strcmp(db_last.code, "db.full") == 0));
    if (rc == RC_OK) db_close(x, NULL);
    must(mount(NULL, dir, NULL, MS_REMOUNT, "size=8m,mode=0777") == 0 ||
         as_nobody); /* somebody buys a disk */
    rc = db_open(&x, path, DB_WRITE, &db_last);
    if (rc != RC_OK && as_nobody) return;
    must(rc == RC_OK);
    must(db_run_open(x, &k, 1, "", arena, &run, &db_last) == RC_OK || as_nobody);
    if (run.row_n) must((int64_t)run.row_n >= acked);
    must(db_check(x, &db_last) == RC_OK);
    db_close(x, NULL);
}

static void born_on_a_full_disk(void)
{
    char ballast[300];
    static char zeros[4096];
    small_disk();
    db_in(ballast, dir, "ballast");
    int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, zeros, sizeof zeros) > 0) {
    }
    must(db_open(&x, path, DB_WRITE, &db_last) == RC_STORE);
    must(strcmp(db_last.code, "db.full") == 0);
    close(fd);
    unlink(ballast);
    must(db_open(&x, path, DB_WRITE, &db_last) == RC_OK);
    must(db_close(x, &db_last) == RC_OK);
}

static void read_only_mount(void)
{
    struct db_stats s;
    const char *why;
    if (as_nobody && geteuid() != 0) become_nobody();
    if ((why = private_mount("size=4m,mode=0777", 0))) skip(why);
    pid_t pid = fork();
    if (pid == 0) { /* leaves the rows in the WAL: killed, not closed */
        if (as_nobody) become_nobody();
        struct db_row r;
        db_row_of(&r, 0);
        must(db_open(&x, path, DB_WRITE, &db_last) == RC_OK);
        must(db_put(x, NULL, &r, &db_last) == RC_OK && db_commit(x, &db_last) == RC_OK);
        raise(SIGKILL);
    }
    int status;
    must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    if (mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        skip("cannot remount read-only");
    if (as_nobody) become_nobody();
    must(db_open(&x, path, DB_WRITE, &db_last) == RC_STORE &&
         strcmp(db_last.code, "db.readonly") == 0);
    must(db_open(&x, path, DB_READ, &db_last) == RC_OK);
    must(db_stats(x, &s, &db_last) == RC_OK && s.records == 1);
    must(db_close(x, &db_last) == RC_OK);
}

START_TEST(real_mounts)
{
    static void (*const BODIES[])(void) = {fill_the_disk, die_on_a_full_disk, born_on_a_full_disk,
                                           read_only_mount};
    as_nobody = _i % 2 == 1;
    int code = in_child(BODIES[_i / 2]);
    ck_assert_msg(code == 0 || code == SKIPPED, "body %d as %s: %d", _i / 2,
                  as_nobody ? "nobody" : "ourselves", code);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db_disk");
    TCase *t = tcase_create("real");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, damaged_files_never_crash);
    tcase_add_loop_test(t, real_mounts, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
