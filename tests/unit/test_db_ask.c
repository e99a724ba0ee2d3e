/* Asking the log and passing it on: best rows, filters, seeds, one record in full, export and
 * import, readers, backups, migrations. */
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

/* A row that may be best. */
static void crown(struct db_row *r, int64_t n, double median)
{
    db_row_of(r, n);
    r->phase = DB_RACE;
    r->tier = 3;
    r->median = median;
    r->ci_lo = median - 1;
    r->ci_hi = median + 1;
}

START_TEST(best_is_local_verified_and_raced)
{
    struct db_key k = db_key_of(0);
    struct db_row r, best;
    char key[33];
    bool found;
    db_key_id(key, &k);
    db_ok(db_best(d, key, arena, &best, &found, &db_last));
    ck_assert(!found);
    crown(&r, 1, 500);
    r.phase = DB_SCREEN; /* fast, but only screened */
    db_ok(db_put(d, NULL, &r, &db_last));
    crown(&r, 2, 400);
    r.tier = 2;
    db_ok(db_put(d, NULL, &r, &db_last));
    crown(&r, 3, 300);
    r.verdict = "wrong_result";
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    db_ok(db_best(d, key, arena, &best, &found, &db_last));
    ck_assert(!found);
    db_ok(db_best_at(d, key, 2, DB_RACE, arena, &best, &found, &db_last));
    ck_assert(found && best.median == 400);
    db_ok(db_best_at(d, key, 3, DB_SCREEN, arena, &best, &found, &db_last));
    ck_assert(found && best.median == 500);
    crown(&r, 4, 900);
    db_ok(db_put(d, NULL, &r, &db_last));
    crown(&r, 5, 800);
    r.phase = DB_CONFIRM;
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    db_ok(db_best(d, key, arena, &best, &found, &db_last));
    ck_assert(found && best.median == 800);
    ck_assert_int_eq(db_sql_int(path, "SELECT median FROM best"), 800);
    struct db_rows rows;
    db_ok(db_query(d, &(struct db_filter){.best_only = true}, arena, &rows, &db_last));
    ck_assert_uint_eq(rows.n, 1);
    ck_assert_str_eq(rows.p[0].id, best.id);
}
END_TEST

START_TEST(queries_filter)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_rows rows;
    struct db_row r;
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 20);
    for (int i = 0; i < 5; i++) {
        db_row_of(&r, 100 + i);
        r.k = db_key_of(1);
        r.k.threads = 2;
        r.verdict = i < 2 ? "timeout" : "ok";
        r.blob_hash = i == 3 ? "abcd" : "ef";
        db_ok(db_put(d, NULL, &r, &db_last));
    }
    db_ok(db_commit(d, &db_last));
    const struct {
        struct db_filter f;
        size_t want;
    } CASES[] = {
        {{0}, 25},
        {{.task = k.task}, 20},
        {{.op = "matmul"}, 25},
        {{.op = "matmu"}, 0},
        {{.threads = 2}, 5},
        {{.verdict = "timeout"}, 2},
        {{.key = run.key}, 20},
        {{.run = run.id}, 20},
        {{.target = "x86-64-v3", .blob_hash = "abcd"}, 1},
        {{.trace_hash = r.trace_hash}, 1},
        {{.objective = "energy"}, 0},
        {{.min_tier = 2}, 0},
        {{.local_only = true, .limit = 7}, 7},
        {{.task = "' OR 1=1 --"}, 0},
    };
    for (size_t i = 0; i < QN_COUNT(CASES); i++) {
        db_ok(db_query(d, &CASES[i].f, arena, &rows, &db_last));
        ck_assert_msg(rows.n == CASES[i].want, "case %zu: %zu rows", i, rows.n);
    }
    db_ok(db_query(d, &(struct db_filter){.by_time = true, .no_samples = true}, arena, &rows,
                   &db_last));
    for (size_t i = 1; i < rows.n; i++) ck_assert_double_le(rows.p[i - 1].median, rows.p[i].median);
    ck_assert_uint_eq(rows.p[0].sample_n, 0);
    db_ok(db_query(d, NULL, arena, &rows, &db_last));
    for (size_t i = 1; i < rows.n; i++) ck_assert_int_le(rows.p[i - 1].when_ms, rows.p[i].when_ms);
    struct db_stats s;
    db_ok(db_stats(d, &s, &db_last));
    ck_assert_int_eq(s.records, 25);
    ck_assert_int_eq(s.ok, 23);
    ck_assert_int_eq(s.imported, 0);
    ck_assert_int_eq(s.keys, 2);
    ck_assert_int_eq(s.runs, 1);
    ck_assert_int_eq(s.open_runs, 1);
    ck_assert_int_gt(s.wal_bytes + s.file_bytes, 4096);
}
END_TEST

START_TEST(seeds_are_few_and_distinct)
{
    struct db_rows rows;
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 12; i++) {
            struct db_row r;
            db_row_of(&r, i % 6); /* each trace twice */
            db_attempt_of(r.attempt, (uint64_t)(1000 * n + i));
            r.k = db_key_of(n);
            r.median = r.ci_lo = r.ci_hi = 100 + i;
            if (i == 0) r.verdict = "timeout";
            db_ok(db_put(d, NULL, &r, &db_last));
        }
    db_ok(db_commit(d, &db_last));
    db_ok(db_seeds(d, "matmul", 3, arena, &rows, &db_last));
    ck_assert_uint_eq(rows.n, 9);
    for (size_t i = 0; i < rows.n; i++) {
        ck_assert_double_eq(rows.p[i].median,
                            101 + (double)(i % 3)); /* trace 0 is fastest as row 6: fourth */
        for (size_t j = 0; j < i; j++)
            ck_assert(strcmp(rows.p[i].key, rows.p[j].key) != 0 ||
                      strcmp(rows.p[i].trace_hash, rows.p[j].trace_hash) != 0);
    }
    db_ok(db_seeds(d, "conv2d", 3, arena, &rows, &db_last));
    ck_assert_uint_eq(rows.n, 0);
}
END_TEST

START_TEST(get_by_prefix)
{
    struct db_row r, back;
    char prefix[33];
    db_row_of(&r, 1);
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    snprintf(prefix, sizeof prefix, "%.8s", r.id);
    db_ok(db_get(d, prefix, arena, &back, &db_last));
    ck_assert_str_eq(back.id, r.id);
    static const char *const BAD[] = {"",        "abc",
                                      "zzzzzz",  "ffffffffffffffffffffffffffffffff0",
                                      "ABCDEF",  "' OR 1",
                                      "00000000"};
    for (size_t i = 0; i < QN_COUNT(BAD); i++)
        db_fails("db.id", db_get(d, BAD[i], arena, &back, &db_last));
    /* Two records under one prefix: write the second by hand. */
    char sql[900], twin[33];
    snprintf(twin, sizeof twin, "%.8s%s", r.id,
             strcmp(r.id + 8, "000000000000000000000000") ? "000000000000000000000000"
                                                          : "111111111111111111111111");
    snprintf(sql, sizeof sql,
             "INSERT INTO attempt VALUES (x'00000000000000000000000000000001', NULL, 0, -1, 1);"
             "CREATE TEMP TABLE t AS SELECT * FROM record; UPDATE t SET id = '%s', attempt = "
             "x'00000000000000000000000000000001';"
             "INSERT INTO record SELECT * FROM t",
             twin);
    db_sql(path, sql);
    db_fails("db.id", db_get(d, prefix, arena, &back, &db_last));
    ck_assert(strstr(db_last.msg, "several") != NULL);
}
END_TEST

START_TEST(why_tells_all)
{
    struct db_row r;
    struct buf b;
    crown(&r, 1, 1234.5);
    r.error = "evil \x1b[31m text";
    r.env = "clock=2100";
    r.roof = "fma";
    r.roofline_pct = 97;
    r.executed_gflops = 110;
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    buf_init(&b, 1 << 20);
    db_ok(db_why(d, r.id, &b, &db_last));
    static const char *const WANT[] = {"matmul:K=64,M=16,N=64",
                                       "1234.5 ns",
                                       "algorithm direct",
                                       "split m 2",
                                       "clock=2100",
                                       "97.0 % of the fma roof",
                                       "tier 3",
                                       "quern verify 'matmul:K=64,M=16,N=64'",
                                       "if it is in a file of your own, give the file",
                                       "evil \\x1B[31m"};
    for (size_t i = 0; i < QN_COUNT(WANT); i++)
        ck_assert_msg(strstr(b.p, WANT[i]) != NULL, "no '%s' in:\n%s", WANT[i], b.p);
    ck_assert_ptr_null(strchr(b.p, 0x1b));
    buf_fini(&b);
}
END_TEST

static char *export_text(struct db *from, size_t *n)
{
    char *text = NULL;
    int64_t count;
    FILE *f = open_memstream(&text, n);
    db_ok(db_export(from, NULL, f, &count, &db_last));
    fclose(f);
    return text;
}

static enum rc import_text(struct db *to, const char *text, size_t n, struct db_import *im)
{
    FILE *f = fmemopen((void *)(uintptr_t)text, n, "r");
    enum rc rc = db_import(to, "in.jsonl", f, im, &db_last);
    fclose(f);
    return rc;
}

START_TEST(export_import_export_is_identity)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db *other;
    char other_path[300];
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 40);
    for (int i = 0; i < 40; i++) { /* odd numbers and texts */
        struct db_row r;
        db_row_of(&r, 1000 + i);
        r.k = db_key_of(i % 3);
        r.trace = "algorithm \"q\\uote\"\n\ttab \x01 \xE2\x82\xAC";
        r.gflops = 1.0 / (i + 3);
        r.bound = i % 2 ? 5e-324 : 1.7976931348623157e308;
        r.max_err = -0.0;
        r.seed = UINT64_MAX - (uint64_t)i;
        r.world = i % 5 == 0;
        r.verdict = r.world ? "noisy" : "ok";
        r.tier = 3;
        r.phase = DB_CONFIRM;
        double one = i % 2 ? 1e17 : 123456789012345678.0;
        r.samples = &one;
        r.sample_n = 1;
        r.device = i % 2 ? "phone-7" : NULL;
        db_ok(db_put(d, NULL, &r, &db_last));
    }
    db_ok(db_commit(d, &db_last));
    size_t n1, n2;
    char *one = export_text(d, &n1), *two;
    db_in(other_path, dir, "other.db");
    db_ok(db_open(&other, other_path, DB_WRITE, &db_last));
    struct db_import im = {.origin = DB_IMPORT};
    db_ok(import_text(other, one, n1, &im));
    ck_assert_int_eq(im.accepted, 80);
    ck_assert_int_eq(im.refused, 0);
    two = export_text(other, &n2);
    ck_assert_uint_eq(n1, n2);
    ck_assert_mem_eq(one, two, n1);
    /* Sorted, one object a line; importing again, there or here, adds nothing. */
    db_ok(import_text(other, one, n1, &im));
    ck_assert_int_eq(im.accepted, 0);
    ck_assert_int_eq(im.already_here, 80);
    db_ok(import_text(d, two, n2, &im));
    ck_assert_int_eq(im.already_here, 80);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record WHERE origin = 'local'"), 80);
    /* Imported rows seed searches and are never best; nor are they fed to a run. */
    char key[33];
    bool found;
    struct db_row best;
    struct db_rows rows;
    for (int i = 0; i < 3; i++) {
        struct db_key ki = db_key_of(i);
        db_key_id(key, &ki);
        db_ok(db_best(other, key, arena, &best, &found, &db_last));
        ck_assert(!found);
    }
    db_ok(db_seeds(other, "matmul", 2, arena, &rows, &db_last));
    ck_assert_uint_gt(rows.n, 0);
    ck_assert_int_eq(rows.p[0].origin, DB_IMPORT);
    db_ok(db_run_open(other, &k, 1, "", arena, &run, &db_last));
    ck_assert_int_eq(run.state, DB_RUN_FRESH);
    ck_assert_uint_eq(run.row_n, 0);
    db_ok(db_close(other, &db_last));
    free(one);
    free(two);
}
END_TEST

static int rejected_n;
static char rejected_why[300];
static void on_rejected(void *ctx, const char *file, int64_t line, const char *id,
                        const char *reason)
{
    rejected_n++;
    ck_assert_str_eq(file, "in.jsonl");
    ck_assert_int_eq(line, *(int64_t *)ctx);
    ck_assert_uint_eq(strlen(id), 32);
    snprintf(rejected_why, sizeof rejected_why, "%s", reason);
}

START_TEST(import_refuses_one_by_one)
{
    struct db_row r;
    struct buf b;
    int64_t line = 2;
    struct db_import im = {.origin = DB_SEED, .rejected = on_rejected, .ctx = &line};
    buf_init(&b, 1 << 20);
    db_row_of(&r, 1);
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    db_ok(db_get(d, r.id, arena, &r, &db_last));
    /* Line 1 is new, line 2 is what is refused. */
    struct db_row fresh = r;
    db_attempt_of(fresh.attempt, 77);
    db_row_id(fresh.id, &fresh);
    for (int c = 0; c < 3; c++) {
        struct db_row bad = r;
        buf_reset(&b);
        db_attempt_of(fresh.attempt, 77 + (uint64_t)c);
        db_row_id(fresh.id, &fresh);
        db_row_json(&fresh, &b);
        buf_puts(&b, "\n");
        if (c == 0) { /* edited after export: the id no longer fits */
            db_attempt_of(bad.attempt, 500);
            bad.median = 1;
            bad.ci_lo = 1;
        } else if (c == 1) { /* an attempt that is counted here with another result */
            bad.gflops = 1e6;
            db_row_id(bad.id, &bad);
        } else { /* ok without a check */
            db_attempt_of(bad.attempt, 501);
            bad.tier = 0;
            db_row_id(bad.id, &bad);
        }
        db_row_json(&bad, &b);
        buf_puts(&b, "\n\n");
        rejected_n = 0;
        db_ok(import_text(d, b.p, b.n, &im));
        ck_assert_int_eq(im.accepted, 1);
        ck_assert_int_eq(im.refused, 1);
        ck_assert_int_eq(rejected_n, 1);
        static const char *const WHY[] = {"hash", "already counted", "without its numeric check"};
        ck_assert_msg(strstr(rejected_why, WHY[c]) != NULL, "case %d: %s", c, rejected_why);
    }
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record WHERE origin = 'seed'"), 3);
    buf_fini(&b);
}
END_TEST

START_TEST(readers_see_commits_and_write_nothing)
{
    struct db *reader;
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_stats s;
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 5);
    db_ok(db_open(&reader, path, DB_READ, &db_last));
    ck_assert_int_eq(reader->lock_fd, -1);
    ck_assert_int_eq(sqlite3_db_readonly(reader->sql, "main"), 1);
    put_n(&run, 5, 5);
    db_ok(db_stats(reader, &s, &db_last));
    ck_assert_int_eq(s.records, 10);
    db_ok(db_check(reader, &db_last));
    /* The writer goes; the reader stays and reads; its own going does not checkpoint. */
    db_ok(db_close(d, &db_last));
    db_ok(db_stats(reader, &s, &db_last));
    ck_assert_int_eq(s.records, 10);
    db_ok(db_close(reader, &db_last));
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
}
END_TEST

START_TEST(unwritable_folder_is_read_from_a_copy)
{
    struct db *reader;
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_stats s;
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 30); /* still in the WAL */
    ck_assert_int_eq(chmod(dir, 0555), 0);
    /* Root may write anywhere: become somebody. */
    pid_t pid = fork();
    if (pid == 0) {
        char copy[300];
        bool root = geteuid() == 0;
        if (root && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(10);
        if (db_open(&reader, path, DB_READ, &db_last) != RC_OK) _exit(11);
        if (!reader->private_copy) _exit(12);
        if (db_stats(reader, &s, &db_last) != RC_OK || s.records != 30) _exit(13);
        if (db_check(reader, &db_last) != RC_OK) _exit(14);
        snprintf(copy, sizeof copy, "%s", sqlite3_db_filename(reader->sql, "main"));
        if (access(copy, F_OK) == 0)
            _exit(15); /* nothing is left lying about, even if we are killed now */
        if (db_close(reader, &db_last) != RC_OK) _exit(16);
        /* The owner of the file and its lock file may still write to them. */
        if (root && (db_open(&reader, path, DB_WRITE, &db_last) != RC_STORE ||
                     strcmp(db_last.code, "db.readonly") != 0))
            _exit(17);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    chmod(dir, 0755);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}
END_TEST

START_TEST(backup_is_whole)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    char to[300];
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 100);
    db_in(to, dir, "copy.db");
    db_ok(db_backup(d, to, &db_last));
    ck_assert_int_eq(db_sql_int(to, "SELECT count(*) FROM record"), 100);
    db_fails("db.write", db_backup(d, to, &db_last)); /* never over a file */
    struct db *x;
    db_ok(db_open(&x, to, DB_WRITE, &db_last)); /* it is a log */
    db_ok(db_run_open(x, &k, 1, "", arena, &run, &db_last));
    ck_assert_uint_eq(run.row_n, 100);
    db_ok(db_close(x, &db_last));
}
END_TEST

START_TEST(checkpoints_keep_the_wal_small)
{
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct db_stats s;
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 6000);
    db_ok(db_stats(d, &s, &db_last));
    ck_assert_int_eq(s.records, 6000);
    ck_assert_int_lt(s.wal_bytes, 10 << 20);
    ck_assert_int_gt(s.file_bytes, 1 << 20);
    db_ok(db_check(d, &db_last));
}
END_TEST

START_TEST(migrations_go_forward)
{
    char steps[300], file[400], backup[400];
    struct db_run run;
    struct db_key k = db_key_of(0);
    db_ok(db_run_open(d, &k, 1, "", arena, &run, &db_last));
    put_n(&run, 0, 3);
    db_in(steps, dir, "steps");
    ck_assert_int_eq(mkdir(steps, 0755), 0);
    snprintf(file, sizeof file, "%s/0002_note.sql", steps);
    const char *two = "ALTER TABLE record ADD COLUMN note TEXT NOT NULL DEFAULT '';";
    db_ok(fs_write(file, two, strlen(two), &db_last));
    snprintf(file, sizeof file, "%s/0003_bad.sql", steps);
    const char *three =
        "CREATE TABLE half (x INTEGER) STRICT; CREATE TABLE half (x INTEGER) STRICT;";
    db_ok(fs_write(file, three, strlen(three), &db_last));
    db_ok(db_migrate(d, steps, 1, 2, &db_last));
    ck_assert_int_eq(db_sql_int(path, "PRAGMA user_version"), 2);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record WHERE note = ''"), 3);
    snprintf(backup, sizeof backup, "%s.v1.bak", path);
    ck_assert_int_eq(db_sql_int(backup, "PRAGMA user_version"), 1);
    ck_assert_int_eq(db_sql_int(backup, "SELECT count(*) FROM record"), 3);
    db_fails("db.migration",
             db_migrate(d, steps, 2, 3, &db_last)); /* a bad step leaves nothing behind */
    ck_assert_int_eq(db_sql_int(path, "PRAGMA user_version"), 2);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    db_fails("db.migration", db_migrate(d, steps, 3, 4, &db_last)); /* no such step */
}
END_TEST

START_TEST(repo_migrations_are_in_order)
{
    char **names;
    size_t n;
    db_ok(fs_list(QN_SOURCE_DIR "/tuning-db/migrations", ".sql", &names, &n, &db_last));
    ck_assert_uint_eq(n, DB_SCHEMA_VERSION);
    for (size_t i = 0; i < n; i++) ck_assert_int_eq(strtol(names[i], NULL, 10), (long)i + 1);
    fs_list_free(names, n);
}
END_TEST

int main(void)
{
    const TTest *const PEACE[] = {
        best_is_local_verified_and_raced,
        queries_filter,
        seeds_are_few_and_distinct,
        get_by_prefix,
        why_tells_all,
        export_import_export_is_identity,
        import_refuses_one_by_one,
        readers_see_commits_and_write_nothing,
        unwritable_folder_is_read_from_a_copy,
        backup_is_whole,
        checkpoints_keep_the_wal_small,
        migrations_go_forward,
        repo_migrations_are_in_order,
    };
    Suite *s = suite_create("db_ask");
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
