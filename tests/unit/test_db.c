/* The log's interface: keys, rows, runs, claims, questions, sharing, care; in peace. What happens
 * in war is in tests/fault (kills, power, full disks) and tests/error. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "db/db.h"
#include "lib/db_util.h"

static char dir[256], path[300];
static struct arena *arena;
static struct db *d;

static void setup(void)
{
    db_tmp(dir);
    db_in(path, dir, "log.db");
    arena = arena_new();
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
}

static void teardown(void)
{
    db_ok(db_close(d, &db_last));
    arena_free(arena);
    db_rm(dir);
}

static void put_n(struct db_run *run, int64_t from, int64_t n)
{
    for (int64_t i = from; i < from + n; i++) {
        struct db_row r;
        db_row_of(&r, i);
        db_ok(db_put(d, run, &r, &db_last));
    }
    db_ok(db_commit(d, &db_last));
}

START_TEST(path_rule)
{
    char out[512];
    setenv("QUERN_DB", "/a/b.db", 1);
    db_ok(db_path(out, sizeof out, NULL, &db_last));
    ck_assert_str_eq(out, "/a/b.db");
    db_ok(db_path(out, sizeof out, "./c.db", &db_last));
    ck_assert_str_eq(out, "./c.db");
    unsetenv("QUERN_DB");
    setenv("XDG_DATA_HOME", "/x", 1);
    db_ok(db_path(out, sizeof out, NULL, &db_last));
    ck_assert_str_eq(out, "/x/quern/quern.db");
    setenv("XDG_DATA_HOME", "relative", 1); /* the specification: ignore it */
    setenv("HOME", "/home/u", 1);
    db_ok(db_path(out, sizeof out, NULL, &db_last));
    ck_assert_str_eq(out, "/home/u/.local/share/quern/quern.db");
    unsetenv("XDG_DATA_HOME");
    unsetenv("HOME");
    db_fails("db.open", db_path(out, sizeof out, NULL, &db_last));
}
END_TEST

START_TEST(creates_folders)
{
    char deep[600];
    struct db *x;
    snprintf(deep, sizeof deep, "%s/one/two/log.db", dir);
    db_ok(db_open(&x, deep, DB_WRITE, &db_last));
    ck_assert_str_eq(db_name(x), deep);
    db_ok(db_close(x, &db_last));
    ck_assert_int_eq(db_sql_int(deep, "PRAGMA user_version"), DB_SCHEMA_VERSION);
    ck_assert_int_eq(db_sql_int(deep, "PRAGMA application_id"), DB_APPLICATION_ID);
    ck_assert_int_eq(
        db_sql_int(deep,
                   "SELECT count(*) FROM pragma_table_list WHERE schema='main' AND type='table'"
                   " AND name NOT LIKE 'sqlite_%' AND strict=1"),
        6);
}
END_TEST

START_TEST(settings_hold)
{
    static const struct {
        const char *pragma;
        int64_t want;
    } WANT[] = {{"PRAGMA synchronous", 2},
                {"PRAGMA foreign_keys", 1},
                {"PRAGMA trusted_schema", 0},
                {"PRAGMA cell_size_check", 1},
                {"PRAGMA mmap_size", 0},
                {"PRAGMA wal_autocheckpoint", 0},
                {"PRAGMA busy_timeout", DB_BUSY_MS}};
    for (size_t i = 0; i < QN_COUNT(WANT); i++) {
        int64_t v;
        db_ok(db_pragma_int(d, WANT[i].pragma, &v, &db_last));
        ck_assert_msg(v == WANT[i].want, "%s = %lld", WANT[i].pragma, (long long)v);
    }
}
END_TEST

START_TEST(lock_is_cloexec)
{
    int flags = fcntl(d->lock_fd, F_GETFD);
    ck_assert_int_eq(flags & FD_CLOEXEC, FD_CLOEXEC);
    /* And so is every other descriptor that the log opened. */
    char p[64], to[600];
    for (int fd = 3; fd < 64; fd++) {
        snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(p, to, sizeof to - 1);
        if (n < 0) continue;
        to[n] = 0;
        if (strstr(to, "log.db"))
            ck_assert_msg(fcntl(fd, F_GETFD) & FD_CLOEXEC, "%s reaches children", to);
    }
}
END_TEST

START_TEST(key_id_covers_every_part)
{
    struct db_key base = db_key_of(0), k;
    char a[33], b[33];
    db_key_id(a, &base);
    db_key_id(b, &base);
    ck_assert_str_eq(a, b);
    for (int i = 0; i < 7; i++) {
        k = base;
        if (i == 0) k.task = "matmul:K=64,M=17,N=64";
        if (i == 1) k.op_hash = "ffffffffffffffffffffffffffffffff";
        if (i == 2) k.target_hash = "ffffffffffffffffffffffffffffffff";
        if (i == 3) k.device_class = "other";
        if (i == 4) k.threads = 2;
        if (i == 5) k.cache_mode = "cold";
        if (i == 6) k.objective = "instructions";
        db_key_id(b, &k);
        ck_assert_msg(strcmp(a, b) != 0, "part %d is not in the key", i);
    }
    k = base;
    k.target = "renamed"; /* a name for people */
    db_key_id(b, &k);
    ck_assert_str_eq(a, b);
    ck_assert_str_eq(db_unit("time"), "ns");
    ck_assert_str_eq(db_unit("instructions"), "count");
    ck_assert_ptr_null(db_unit("joy"));
}
END_TEST

START_TEST(fields_are_sorted)
{
    for (size_t i = 1; i < DB_FIELD_N; i++)
        ck_assert_int_lt(strcmp(DB_FIELDS[i - 1].name, DB_FIELDS[i].name), 0);
}
END_TEST

START_TEST(row_comes_back)
{
    struct db_key k = db_key_of(0);
    struct db_run run;
    struct db_row r, back;
    db_session(d, &(struct db_session){.who = "tester",
                                       .toolchain = "llvm 19",
                                       .env = "clock=2100\nload=0.1"});
    db_ok(db_run_open(d, &k, 5, "default", arena, &run, &db_last));
    ck_assert_int_eq(run.state, DB_RUN_FRESH);
    db_row_of(&r, 3);
    memset(r.attempt, 0, sizeof r.attempt);
    r.when_ms = 0;
    r.error = "bad \xff byte";
    r.roof = "fma";
    r.executed_gflops = 0.1;
    r.roofline_pct = 95.5;
    db_ok(db_put(d, &run, &r, &db_last));
    ck_assert_uint_eq(db_acked(d) + db_pending(d), 1);
    db_ok(db_commit(d, &db_last));
    ck_assert_uint_eq(db_acked(d), 1);
    ck_assert_uint_eq(strlen(r.id), 32);
    db_ok(db_get(d, r.id, arena, &back, &db_last));
    ck_assert_str_eq(back.id, r.id);
    ck_assert_str_eq(back.key, run.key);
    ck_assert_mem_eq(back.attempt, r.attempt, DB_ATTEMPT_LEN);
    ck_assert_str_eq(back.k.task, k.task);
    ck_assert_str_eq(back.k.device_class, k.device_class);
    ck_assert_str_eq(back.trace, r.trace);
    ck_assert_str_eq(back.trace_hash, r.trace_hash);
    ck_assert_str_eq(back.run, run.id);
    ck_assert_int_eq(back.step, 3);
    ck_assert_int_eq(back.phase, DB_SCREEN);
    ck_assert_uint_eq(back.seed, r.seed);
    ck_assert_str_eq(back.error, "bad \xEF\xBF\xBD byte");
    ck_assert_uint_eq(back.sample_n, 5);
    ck_assert_mem_eq(back.samples, r.samples, 5 * sizeof(double));
    ck_assert_double_eq(back.median, r.median);
    ck_assert_double_eq(back.executed_gflops, 0.1);
    ck_assert_double_nan(NAN);
    ck_assert_int_eq(back.out_crc, 0xdeadbeef);
    ck_assert_int_eq(back.build_ns, 8000000);
    ck_assert_str_eq(back.who, "tester");
    ck_assert_str_eq(back.generator, QN_VERSION);
    ck_assert_str_eq(back.toolchain, "llvm 19");
    ck_assert_str_eq(back.env, "clock=2100\nload=0.1");
    ck_assert_str_eq(back.roof, "fma");
    ck_assert_str_eq(back.device, "");
    ck_assert_int_gt(back.when_ms, 1600000000000);
    ck_assert_int_eq(back.origin, DB_LOCAL);
    /* The id is the hash of the canonical JSON. */
    char id[33];
    db_row_id(id, &back);
    ck_assert_str_eq(id, r.id);
}
END_TEST

START_TEST(unset_numbers_stay_unset)
{
    struct db_row r, back;
    db_row_init(&r);
    r.k = db_key_of(1);
    r.trace = "algorithm direct";
    r.verdict = "compile_error";
    r.error = "no such instruction";
    r.max_err = INFINITY; /* a NaN in the output */
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    db_ok(db_get(d, r.id, arena, &back, &db_last));
    ck_assert_double_nan(back.median);
    ck_assert_double_nan(back.ci_lo);
    ck_assert_double_nan(back.gflops);
    ck_assert_double_nan(back.bound);
    ck_assert(back.max_err > 1e308);
    ck_assert_int_eq(back.out_crc, -1);
    ck_assert_int_eq(back.build_ns, -1);
    ck_assert_int_eq(back.step, -1);
    ck_assert_str_eq(back.run, "");
    ck_assert_uint_eq(back.sample_n, 0);
    ck_assert_str_eq(back.blob_hash, "");
}
END_TEST

START_TEST(group_closes_at_64_rows_and_at_5_ms)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_row r;
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    /* Nothing is ever acknowledged that is not in the file: count with another connection. */
    for (int64_t i = 0; i < 200; i++) {
        db_row_of(&r, i);
        db_ok(db_put(d, &run, &r, &db_last));
        ck_assert_uint_lt(db_pending(d), DB_GROUP_ROWS);
        ck_assert_uint_eq(db_acked(d) + db_pending(d), (uint64_t)i + 1);
    }
    ck_assert_uint_gt(db_acked(d),
                      200 - DB_GROUP_ROWS); /* more groups than these, where 5 ms pass */
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), (int64_t)db_acked(d));
    db_ok(db_commit(d, &db_last));
    db_row_of(&r, 200);
    db_ok(db_put(d, &run, &r, &db_last));
    ck_assert_uint_eq(db_pending(d), 1);
    usleep(6000);
    db_ok(db_tick(d, &db_last));
    ck_assert_uint_eq(db_pending(d), 0);
    ck_assert_uint_eq(db_acked(d), 201);
    db_row_of(&r, 201);
    db_ok(db_put(d, &run, &r, &db_last));
    db_discard(d);
    db_ok(db_commit(d, &db_last));
    ck_assert_uint_eq(db_acked(d), 201);
}
END_TEST

START_TEST(nothing_counts_twice)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_row r;
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 3);
    db_row_of(&r, 1); /* the same step */
    memset(r.attempt, 7, sizeof r.attempt);
    db_fails("db.row", db_put(d, &run, &r, &db_last));
    ck_assert(strstr(db_last.msg, "step 1") != NULL);
    db_row_of(&r, 9);
    db_ok(db_put(d, &run, &r, &db_last));
    db_row_of(&r, 9); /* the same step, still pending */
    db_fails("db.row", db_put(d, &run, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    /* The same attempt with the same content is the answer of a lost acknowledgement: stored
     * once. */
    db_row_of(&r, 50);
    r.step = -1;
    for (int i = 0; i < 2; i++) {
        db_ok(db_put(d, NULL, &r, &db_last));
        db_ok(db_commit(d, &db_last));
    }
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 5);
    /* With other content it is refused. */
    r.median += 1;
    r.ci_hi += 1;
    db_ok(db_put(d, NULL, &r, &db_last));
    db_fails("db.row", db_commit(d, &db_last));
    db_discard(d);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 5);
}
END_TEST

START_TEST(world_verdicts_are_kept_and_not_counted)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    for (int i = 0; i < 3; i++) {
        struct db_row r;
        db_row_of(&r, 0);
        memset(r.attempt, i + 1, sizeof r.attempt);
        r.step = 0;
        if (i < 2) {
            r.verdict = "noisy";
            r.world = true;
        }
        db_ok(db_put(d, &run, &r, &db_last));
    }
    db_ok(db_commit(d, &db_last));
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    ck_assert_uint_eq(run.row_n, 1);
    ck_assert_str_eq(run.rows[0].verdict, "ok");
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record WHERE world = 1"), 2);
}
END_TEST

START_TEST(run_resumes_and_finishes)
{
    struct db_run run, again;
    struct db_key k = db_key_of(0);
    struct db_row r;
    db_ok(db_run_open(d, &k, 42, "effort=default", arena, &run, &db_last));
    ck_assert_int_eq(run.state, DB_RUN_FRESH);
    ck_assert_int_eq(run.epoch, 1);
    ck_assert_uint_eq(run.row_n, 0);
    ck_assert_uint_eq(run.cursor_n, 0);
    for (int64_t i = 9; i >= 0; i--) { /* rows come back in step order, however they were put */
        db_row_of(&r, i);
        db_ok(db_put(d, &run, &r, &db_last));
    }
    db_run_cursor(d, &run, "old", 3);
    db_run_cursor(d, &run, "rng\0state", 9);
    db_ok(db_commit(d, &db_last));
    db_ok(db_close(d, &db_last));
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    db_ok(db_run_open(d, &k, 42, "effort=default", arena, &again, &db_last));
    ck_assert_str_eq(again.id, run.id);
    ck_assert_int_eq(again.state, DB_RUN_RESUMED);
    ck_assert_int_eq(again.epoch, 2);
    ck_assert_uint_eq(again.row_n, 10);
    for (int64_t i = 0; i < 10; i++) {
        db_row_of(&r, i);
        ck_assert_int_eq(again.rows[i].step, i);
        ck_assert_str_eq(again.rows[i].trace, r.trace);
        ck_assert_double_eq(again.rows[i].median, r.median);
    }
    ck_assert_uint_eq(again.cursor_n, 9);
    ck_assert_mem_eq(again.cursor, "rng\0state", 9);
    /* Another seed, other options, another key: another run. */
    struct db_run other;
    db_ok(db_run_open(d, &k, 43, "effort=default", arena, &other, &db_last));
    ck_assert_int_eq(other.state, DB_RUN_FRESH);
    db_ok(db_run_open(d, &k, 42, "effort=full", arena, &other, &db_last));
    ck_assert_int_eq(other.state, DB_RUN_FRESH);
    db_ok(db_run_finish(d, &again, again.rows[4].id, "converged", &db_last));
    db_ok(db_run_open(d, &k, 42, "effort=default", arena, &run, &db_last));
    ck_assert_int_eq(run.state, DB_RUN_FINISHED);
    ck_assert_str_eq(run.champion, again.rows[4].id);
    ck_assert_str_eq(run.why, "converged");
    ck_assert_uint_eq(run.row_n, 10);
    ck_assert_int_gt(run.finished_ms, 0);
    db_row_of(&r, 20);
    db_fails("db.row", db_put(d, &run, &r, &db_last));
}
END_TEST

START_TEST(older_epoch_is_fenced)
{
    struct db_run old, fresh;
    struct db_key k = db_key_of(0);
    struct db_row r;
    struct db *other;
    db_ok(db_run_open(d, &k, 1, "", arena, &old, &db_last));
    put_n(&old, 0, 2);
    db_ok(db_open(&other, path, DB_WRITE, &db_last));
    db_ok(db_run_open(other, &k, 1, "", arena, &fresh, &db_last));
    ck_assert_int_eq(fresh.epoch, 2);
    db_row_of(&r, 2);
    db_ok(db_put(d, &old, &r, &db_last));
    db_fails("db.stale_run", db_commit(d, &db_last));
    ck_assert_uint_eq(db_pending(d), 1);
    db_discard(d);
    db_run_cursor(d, &old, "x", 1);
    db_fails("db.stale_run", db_commit(d, &db_last));
    db_discard(d);
    db_fails("db.stale_run", db_run_finish(d, &old, NULL, "", &db_last));
    db_row_of(&r, 2);
    db_ok(db_put(other, &fresh, &r, &db_last));
    db_ok(db_run_finish(other, &fresh, NULL, "done", &db_last));
    db_ok(db_close(other, &db_last));
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 3);
}
END_TEST

START_TEST(claims_exclude_and_expire)
{
    struct db_key k = db_key_of(0), k2 = db_key_of(1);
    struct db_claim c;
    struct db *other;
    db_ok(db_claim(d, &k, 60000, &c, &db_last));
    ck_assert(c.mine && !c.taken_over);
    ck_assert_int_eq(c.pid, getpid());
    db_ok(db_open(&other, path, DB_WRITE, &db_last));
    db_ok(db_claim(other, &k, 60000, &c, &db_last));
    ck_assert(!c.mine);
    ck_assert_int_eq(c.pid, getpid());
    db_ok(db_claim(other, &k2, 60000, &c, &db_last));
    ck_assert(c.mine);
    db_ok(db_claim(d, &k, 60000, &c, &db_last)); /* again: a renewal */
    ck_assert(c.mine && !c.taken_over);
    db_ok(db_release(other, &k, &db_last)); /* not its own: no effect */
    db_ok(db_claim(other, &k, 60000, &c, &db_last));
    ck_assert(!c.mine);
    db_ok(db_release(d, &k, &db_last));
    db_ok(db_claim(other, &k, 20, &c, &db_last));
    ck_assert(c.mine && !c.taken_over);
    usleep(30000);
    db_ok(db_claim(d, &k, 60000, &c, &db_last)); /* expired */
    ck_assert(c.mine && c.taken_over);
    db_ok(db_close(other, &db_last)); /* drops k2's */
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM claim"), 1);
    db_ok(db_claim(d, &k2, 0, &c, &db_last));
    ck_assert(c.mine && !c.taken_over);
}
END_TEST

static void claim_and(int how)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct db *x;
        struct db_claim c;
        struct db_key k = db_key_of(0);
        if (db_open(&x, path, DB_WRITE, NULL) != RC_OK ||
            db_claim(x, &k, 600000, &c, NULL) != RC_OK || !c.mine)
            _exit(1);
        if (how == SIGKILL) raise(SIGKILL);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(how == SIGKILL ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

START_TEST(claims_of_the_dead_are_taken_over)
{
    struct db_key k = db_key_of(0);
    struct db_claim c;
    claim_and(SIGKILL);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM claim"), 1);
    db_ok(db_claim(d, &k, 600000, &c, &db_last));
    ck_assert(c.mine && c.taken_over);
    db_ok(db_release(d, &k, &db_last));
    /* A reused pid (ours, with another start time), another boot, another pid namespace. */
    db_ok(db_claim(d, &k, 600000, &c, &db_last));
    struct db *other;
    db_ok(db_open(&other, path, DB_WRITE, &db_last));
    db_sql(path, "UPDATE claim SET started = started - 1");
    db_ok(db_claim(other, &k, 600000, &c, &db_last));
    ck_assert(c.mine && c.taken_over);
    db_ok(db_claim(d, &k, 600000, &c, &db_last));
    ck_assert(!c.mine);
    db_sql(path, "UPDATE claim SET pid_ns = pid_ns + 1, pid = 999999999");
    db_ok(db_claim(d, &k, 600000, &c, &db_last));
    ck_assert_msg(!c.mine, "a pid of another namespace cannot be called dead");
    db_sql(path, "UPDATE claim SET boot = 'another'");
    db_ok(db_claim(d, &k, 600000, &c, &db_last));
    ck_assert(c.mine && c.taken_over);
    db_ok(db_close(other, &db_last));
}
END_TEST

START_TEST(daemon_and_cli_exclude_each_other)
{
    struct db *x, *y;
    db_fails("db.in_use", db_open_with(&x, path, DB_DAEMON, NULL, 50, &db_last));
    db_ok(db_open(&x, path, DB_WRITE, &db_last)); /* two CLIs may */
    db_ok(db_close(x, &db_last));
    db_ok(db_close(d, &db_last));
    db_ok(db_open(&x, path, DB_DAEMON, &db_last));
    db_fails("db.daemon", db_open_with(&y, path, DB_WRITE, NULL, 50, &db_last));
    db_ok(db_open(&y, path, DB_READ, &db_last)); /* readers never care */
    ck_assert_int_eq(y->mode, DB_READ);
    db_ok(db_close(y, &db_last));
    db_ok(db_close(x, &db_last));
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
}
END_TEST

START_TEST(text_is_cleaned)
{
    static const struct {
        const char *in, *out;
        size_t max;
    } CASES[] = {
        {"plain", "plain", 100},
        {"\xff", "\xEF\xBF\xBD", 100},
        {"\xE2\x82\xAC", "\xE2\x82\xAC", 100},
        {"a\xE2\x82", "a\xEF\xBF\xBD\xEF\xBF\xBD", 100},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 100},
        {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD", 100},
        {"ab\xE2\x82\xAC", "ab", 4},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD", 7},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", 4},
        {NULL, "", 10},
    };
    for (size_t i = 0; i < QN_COUNT(CASES); i++) {
        char *got = utf8_clean(arena, CASES[i].in, CASES[i].max);
        ck_assert_msg(strcmp(got, CASES[i].out) == 0, "case %zu: '%s'", i, got);
        ck_assert(utf8_valid(got, strlen(got)));
    }
}
END_TEST

START_TEST(network_file_systems_are_known)
{
    const char *name = "";
    static const long NET[] = {0x6969, (long)0xFF534D42L, (int)0xFF534D42, 0x01021997, 0x00C36400};
    for (size_t i = 0; i < QN_COUNT(NET); i++) ck_assert(db_fs_is_network(NET[i], &name));
    static const long LOCAL[] = {0xEF53,     0x9123683E, 0x58465342, 0x01021994,
                                 0x794C7630, 0x2FC12FC1, 0x65735546};
    for (size_t i = 0; i < QN_COUNT(LOCAL); i++) ck_assert(!db_fs_is_network(LOCAL[i], &name));
    const char *info = "36 35 98:0 / /m rw,noatime shared:1 - ext3 /dev/root rw\n"
                       "40 35 0:50 / /net rw shared:2 - fuse.sshfs host:/x rw\n"
                       "41 35 0:51 / /ovl rw - fuse.fuse-overlayfs x rw\n";
    ck_assert(db_fuse_is_network(info, 0, 50, &name));
    ck_assert_str_eq(name, "sshfs");
    ck_assert(!db_fuse_is_network(info, 0, 51, &name));
    ck_assert(!db_fuse_is_network(info, 98, 0, &name));
}
END_TEST

int main(void)
{
    const TTest *const PEACE[] = {
        path_rule,
        creates_folders,
        settings_hold,
        lock_is_cloexec,
        key_id_covers_every_part,
        fields_are_sorted,
        row_comes_back,
        unset_numbers_stay_unset,
        group_closes_at_64_rows_and_at_5_ms,
        nothing_counts_twice,
        world_verdicts_are_kept_and_not_counted,
        run_resumes_and_finishes,
        older_epoch_is_fenced,
        claims_exclude_and_expire,
        claims_of_the_dead_are_taken_over,
        daemon_and_cli_exclude_each_other,
        text_is_cleaned,
        network_file_systems_are_known,
    };
    Suite *s = suite_create("db");
    TCase *t = tcase_create("peace");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    for (size_t i = 0; i < QN_COUNT(PEACE); i++) tcase_add_test(t, PEACE[i]);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
