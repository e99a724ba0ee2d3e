/* Every refusal of the log happens as documented: one must-fail case for each code of errors.def,
 * rows and lines malformed in each way, and the schema's own gate. Nothing saved is lost by any of
 * them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "lib/db_crashvfs.h"
#include "lib/db_util.h"

enum { NOBODY = 65534 };

static char dir[256], path[300];
static struct arena *arena;

static void setup(void)
{
    db_tmp(dir);
    db_in(path, dir, "log.db");
    arena = arena_new();
    crashvfs_start();
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

/* ---- one case a code ---- */

static struct db *x;
static bool seen[DB_ERRORS];

static void saw(enum db_error which)
{
    ck_assert_str_eq(db_last.code, db_error_code(which));
    ck_assert_uint_gt(strlen(db_last.msg), 15);
    seen[which] = true;
}

static void case_missing(void)
{
    ck_assert_int_eq(db_open(&x, path, DB_READ, &db_last), RC_STORE);
    saw(DB_E_MISSING);
    ck_assert(!fs_exists(path)); /* a reader creates nothing */
    put_file("", 0);
    ck_assert_int_eq(db_open(&x, path, DB_READ, &db_last), RC_STORE);
    saw(DB_E_MISSING);
}

static void case_cantopen(void)
{
    char long_path[5000];
    ck_assert_int_eq(db_open(&x, dir, DB_WRITE, &db_last), RC_STORE); /* a folder */
    saw(DB_E_CANTOPEN);
    memset(long_path, 'a', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = 0;
    ck_assert_int_eq(db_open(&x, long_path, DB_WRITE, &db_last), RC_STORE);
    saw(DB_E_CANTOPEN);
    ck_assert_int_eq(db_open(&x, "/proc/nothing/here.db", DB_WRITE, &db_last), RC_STORE);
    saw(DB_E_CANTOPEN);
}

static void readonly_child(void)
{
    become_nobody();
    must(db_open(&x, path, DB_WRITE, &db_last) == RC_STORE &&
         strcmp(db_last.code, "db.readonly") == 0);
    must(db_open(&x, path, DB_READ, &db_last) == RC_OK);
    struct db_stats s;
    must(db_stats(x, &s, &db_last) == RC_OK && s.records == 3);
    must(db_close(x, &db_last) == RC_OK);
}

static void case_readonly(void)
{
    char lock[400];
    make_log(3);
    snprintf(lock, sizeof lock, "%s.lock", path);
    chmod(lock, 0666);
    chmod(path, 0444);
    chmod(dir, 0777); /* only the file is read-only */
    ck_assert_int_eq(in_child(readonly_child), 0);
    chmod(dir, 0555); /* the folder too: read from a copy */
    ck_assert_int_eq(in_child(readonly_child), 0);
    chmod(dir, 0755);
    err_set(&db_last, RC_STORE, "db.readonly", "as the child has seen: %s", path);
    saw(DB_E_READONLY);
}

static int on_nfs(const char *p, struct statfs *st)
{
    memset(st, 0, sizeof *st);
    st->f_type = 0x6969;
    return 0;
}

static void case_network(void)
{
    make_log(1);
    db_statfs = on_nfs;
    ck_assert_int_eq(db_open(&x, path, DB_WRITE, &db_last), RC_STORE);
    ck_assert(strstr(db_last.msg, "NFS") != NULL);
    saw(DB_E_NETWORK);
    ck_assert_int_eq(db_open(&x, path, DB_READ, &db_last), RC_STORE);
    saw(DB_E_NETWORK);
    db_statfs = statfs;
}

static void case_foreign(void)
{
    db_sql(path, "CREATE TABLE songs (name TEXT)");
    for (int mode = DB_READ; mode <= DB_WRITE; mode++) {
        ck_assert_int_eq(db_open(&x, path, (enum db_mode)mode, &db_last), RC_STORE);
        saw(DB_E_FOREIGN);
    }
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM sqlite_schema"), 1);
}

static void case_corrupt(void)
{
    char junk[9000];
    for (size_t i = 0; i < sizeof junk; i++) junk[i] = (char)(i * 37 + 11);
    put_file(junk, sizeof junk);
    for (int mode = DB_READ; mode <= DB_WRITE; mode++) {
        ck_assert_int_eq(db_open(&x, path, (enum db_mode)mode, &db_last), RC_STORE);
        saw(DB_E_CORRUPT);
    }
    /* Ours by its header, but without our tables. */
    unlink(path);
    db_sql(path, "PRAGMA application_id = 1366651502; PRAGMA user_version = 1; CREATE TABLE t (x)");
    struct db_stats s;
    db_ok(db_open(&x, path, DB_WRITE, &db_last));
    ck_assert_int_eq(db_stats(x, &s, &db_last), RC_STORE);
    saw(DB_E_CORRUPT);
    db_close(x, NULL);
}

static void case_newer(void)
{
    make_log(2);
    db_sql(path, "PRAGMA user_version = 99");
    char want[700];
    snprintf(want, sizeof want,
             "log '%s' has schema version 99, this quern (" QN_VERSION
             ") knows up to %d; use a quern at least that new, or name "
             "another file with --db FILE",
             path, DB_SCHEMA_VERSION);
    for (int mode = DB_READ; mode <= DB_DAEMON; mode++) {
        ck_assert_int_eq(db_open(&x, path, (enum db_mode)mode, &db_last), RC_STORE);
        ck_assert_str_eq(db_last.msg, want);
        saw(DB_E_NEWER);
    }
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 2);
}

static void case_older(void)
{
    make_log(2);
    db_sql(path, "PRAGMA user_version = 0");
    ck_assert_int_eq(db_open(&x, path, DB_READ, &db_last), RC_STORE);
    saw(DB_E_OLDER);
}

static void case_migration(void)
{
    make_log(1);
    db_ok(db_open(&x, path, DB_WRITE, &db_last));
    ck_assert_int_eq(db_migrate(x, dir, 1, 2, &db_last), RC_STORE);
    saw(DB_E_MIGRATION);
    db_ok(db_close(x, &db_last));
    /* And creating a log where quern's own folder is missing says so. */
    const char *data = getenv("QUERN_DATA");
    char *before = data ? mem_strdup(data) : NULL;
    setenv("QUERN_DATA", dir, 1);
    char other[300];
    db_in(other, dir, "new.db");
    enum rc rc = db_open(&x, other, DB_WRITE, &db_last);
    if (rc == RC_OK)
        db_close(x, NULL); /* the search went on upwards and found it */
    else
        ck_assert_ptr_nonnull(strstr(db_last.msg, "cannot create log"));
    if (before)
        setenv("QUERN_DATA", before, 1);
    else
        unsetenv("QUERN_DATA");
    mem_free(before);
}

static void case_locked(void)
{
    struct db *y;
    make_log(1);
    /* By our own lock. */
    db_ok(db_open(&x, path, DB_WRITE, &db_last));
    db_ok(db_open_with(&y, path, DB_WRITE, NULL, 60, &db_last));
    struct db_row r;
    db_row_of(&r, 5);
    db_ok(db_put(y, NULL, &r, &db_last));
    db_ok(db_lock_write(x, &db_last));
    ck_assert_int_eq(db_commit(y, &db_last), RC_STORE);
    saw(DB_E_LOCKED);
    ck_assert_uint_eq(db_pending(y), 1);
    db_unlock_write(x);
    db_ok(db_commit(y, &db_last)); /* nothing was lost */
    /* By another program. */
    sqlite3 *shell;
    ck_assert_int_eq(sqlite3_open(path, &shell), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(shell, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    db_row_of(&r, 6);
    db_ok(db_put(y, NULL, &r, &db_last));
    ck_assert_int_eq(db_commit(y, &db_last), RC_STORE);
    saw(DB_E_LOCKED);
    sqlite3_exec(shell, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(shell);
    db_ok(db_commit(y, &db_last));
    db_ok(db_close(y, &db_last));
    db_ok(db_close(x, &db_last));
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 3);
}

static void case_daemon(void)
{
    struct db *y;
    db_ok(db_open(&x, path, DB_DAEMON, &db_last));
    ck_assert_int_eq(db_open_with(&y, path, DB_WRITE, NULL, 20, &db_last), RC_STORE);
    saw(DB_E_DAEMON);
    db_ok(db_close(x, &db_last));
    db_ok(db_open(&x, path, DB_WRITE, &db_last));
    ck_assert_int_eq(db_open_with(&y, path, DB_DAEMON, NULL, 20, &db_last), RC_STORE);
    saw(DB_E_IN_USE);
    db_ok(db_close(x, &db_last));
}

static void case_disk(void)
{
    struct db_row r;
    db_ok(db_open_with(&x, path, DB_WRITE, "crash", 0, &db_last));
    db_row_of(&r, 1);
    db_ok(db_put(x, NULL, &r, &db_last));
    crashvfs_fail(FAIL_WRITE, 1, SQLITE_FULL, true);
    ck_assert_int_eq(db_commit(x, &db_last), RC_STORE);
    saw(DB_E_FULL);
    crashvfs_fail(FAIL_SYNC, 1, SQLITE_IOERR_FSYNC, false);
    ck_assert_int_eq(db_commit(x, &db_last), RC_STORE);
    saw(DB_E_IO);
    ck_assert_int_eq(db_close(x, &db_last), RC_STORE);
}

static void case_runs_and_rows(void)
{
    struct db *y;
    struct db_run one, two;
    struct db_key k = db_key_of(0), bad = k;
    struct db_row r;
    db_ok(db_open(&x, path, DB_WRITE, &db_last));
    db_ok(db_open(&y, path, DB_WRITE, &db_last));
    db_ok(db_run_open(x, &k, 1, "", arena, &one, &db_last));
    db_ok(db_run_open(y, &k, 1, "", arena, &two, &db_last));
    db_row_of(&r, 0);
    db_ok(db_put(x, &one, &r, &db_last));
    ck_assert_int_eq(db_commit(x, &db_last), RC_STORE);
    saw(DB_E_STALE_RUN);
    db_discard(x);
    db_ok(db_close(y, &db_last));
    bad.task = "two words";
    ck_assert_int_eq(db_run_open(x, &bad, 1, "", arena, &one, &db_last), RC_INPUT);
    saw(DB_E_ROW);
    db_row_of(&r, 0);
    r.tier = 0;
    ck_assert_int_eq(db_put(x, NULL, &r, &db_last), RC_INPUT);
    saw(DB_E_UNCHECKED);
    ck_assert_int_eq(db_get(x, "ffffffff", arena, &r, &db_last), RC_INPUT);
    saw(DB_E_ID);
    ck_assert_int_eq(db_run_finish(x, &two, "ffffffffffffffffffffffffffffffff", "", &db_last),
                     RC_INPUT);
    saw(DB_E_ID);
    db_ok(db_close(x, &db_last));
}

static void case_sharing(void)
{
    make_log(2);
    db_ok(db_open(&x, path, DB_WRITE, &db_last));
    FILE *f = fopen("/dev/full", "w");
    if (f) {
        ck_assert_int_eq(db_export(x, NULL, f, NULL, &db_last), RC_STORE);
        saw(DB_E_WRITE);
        fclose(f);
    }
    ck_assert_int_eq(db_backup(x, path, &db_last), RC_STORE);
    saw(DB_E_WRITE);
    char text[] = "{\"v\":1}\n";
    f = fmemopen(text, sizeof text - 1, "r");
    struct db_import im = {.origin = DB_IMPORT};
    ck_assert_int_eq(db_import(x, "a.jsonl", f, &im, &db_last), RC_INPUT);
    fclose(f);
    saw(DB_E_IMPORT);
    db_ok(db_close(x, &db_last));
}

START_TEST(every_code_has_its_case)
{
    static void (*const CASES[])(
        void) = {case_missing, case_cantopen, case_readonly,      case_network,   case_foreign,
                 case_corrupt, case_newer,    case_older,         case_migration, case_locked,
                 case_daemon,  case_disk,     case_runs_and_rows, case_sharing};
    for (size_t i = 0; i < QN_COUNT(CASES); i++) {
        crashvfs_start();
        CASES[i]();
        db_rm(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
    }
    for (int i = 0; i < DB_ERRORS; i++)
        ck_assert_msg(seen[i], "no case for %s", db_error_code((enum db_error)i));
}
END_TEST

/* ---- malformed rows: each field, one way to be wrong ---- */

START_TEST(malformed_rows_are_refused)
{
    struct db *d;
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    static char big[DB_MAX_TRACE + 2];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0;; i++) {
        struct db_row r;
        const char *word, *code = "db.row";
        double bad = NAN;
        db_row_of(&r, 0);
        switch (i) {
        case 0:
            r.trace = big, word = "trace";
            break;
        case 1:
            r.trace = "", word = "trace";
            break;
        case 2:
            r.trace = "\xff", word = "UTF-8";
            break;
        case 3:
            r.verdict = "Not OK", word = "verdict";
            break;
        case 4:
            r.verdict = NULL, word = "verdict";
            break;
        case 5:
            r.blob_hash = "XYZ", word = "blob_hash";
            break;
        case 6:
            r.tier = 4, word = "tier";
            break;
        case 7:
            r.tier = -1, word = "tier";
            break;
        case 8:
            r.median = -3, word = "median";
            break;
        case 9:
            r.median = INFINITY, word = "median";
            break;
        case 10:
            r.ci_lo = r.median + 1, word = "interval";
            break;
        case 11:
            r.ci_hi = NAN, word = "interval";
            break;
        case 12:
            r.samples = &bad, r.sample_n = 1, word = "sample 0";
            break;
        case 13:
            r.out_crc = INT64_C(1) << 32, word = "out_crc";
            break;
        case 14:
            r.phase = (enum db_phase)9, word = "phase";
            break;
        case 15:
            r.world = true, word = "world";
            break;
        case 16:
            r.k.threads = 0, word = "threads";
            break;
        case 17:
            r.k.cache_mode = "warm", word = "cache_mode";
            break;
        case 18:
            r.k.objective = "joy", word = "joy";
            break;
        case 19:
            r.k.op_hash = "12", word = "op_hash";
            break;
        case 20:
            r.k.task = "a b", word = "blank";
            break;
        case 21:
            r.k.target = NULL, word = "target";
            break;
        case 22:
            r.env = "\xC0\x80", word = "env";
            break;
        case 23:
            r.max_err = NAN, word = "check", code = "db.unchecked";
            break;
        case 24:
            r.bound = NAN, word = "check", code = "db.unchecked";
            break;
        case 25:
            r.out_crc = -1, word = "check", code = "db.unchecked";
            break;
        case 26:
            r.sample_n = 0, word = "samples", code = "db.unchecked";
            break;
        case 27:
            r.k.objective = NULL, word = "objective";
            break;
        case 28:
            r.k.device_class = big, r.trace = "t", word = "device_class";
            break;
        default:
            word = NULL;
            break;
        }
        if (!word) break;
        enum rc rc = db_put(d, NULL, &r, &db_last);
        ck_assert_msg(rc == RC_INPUT && strcmp(db_last.code, code) == 0 &&
                          strstr(db_last.msg, word),
                      "case %d: rc %d %s: %s", i, rc, db_last.code, db_last.msg);
        ck_assert_uint_eq(db_pending(d), 0);
    }
    /* A long error is cut, not refused. */
    struct db_row r;
    db_row_of(&r, 0);
    r.verdict = "compile_error";
    r.error = big;
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_close(d, &db_last));
    ck_assert_int_eq(db_sql_int(path, "SELECT length(error) FROM record"), DB_MAX_ERROR);
}
END_TEST

/* The gate is in the schema, whatever program writes. */
START_TEST(schema_refuses_what_others_write)
{
    static const char *const SETS[] = {"tier = 0",        "max_err = NULL",  "bound = NULL",
                                       "out_crc = NULL",  "samples = NULL",  "median = NULL",
                                       "median = -1",     "ci_lo = 1e9",     "ci_hi = NULL",
                                       "samples = x'00'", "verdict = 'Ok!'", "phase = 'x'",
                                       "origin = 'me'",   "world = 1",       "id = 'abc'",
                                       "env = 'none'",    "key = 'none'",    "tier = 'two'",
                                       "trace = x'00'"};
    make_log(1);
    for (size_t i = 0; i < QN_COUNT(SETS); i++) {
        sqlite3 *sql;
        char text[200];
        snprintf(text, sizeof text, "UPDATE record SET %s", SETS[i]);
        ck_assert_int_eq(sqlite3_open(path, &sql), SQLITE_OK);
        sqlite3_exec(sql, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
        ck_assert_msg(sqlite3_exec(sql, text, NULL, NULL, NULL) == SQLITE_CONSTRAINT,
                      "%s was taken", text);
        sqlite3_close(sql);
    }
}
END_TEST

/* ---- import: bad lines stop it, with their place ---- */

START_TEST(bad_lines_have_a_place)
{
    static const char *const LINES[][2] = {
        {"{", "not JSON"},
        {"[]", "not a JSON object"},
        {"{\"v\":2}", "version 2"},
        {"{}", "'v'"},
        {"{\"v\":1,\"v\":1}", "not JSON"},
        {"{\"v\":1,\"colour\":3}", "'colour' is not known"},
        {"{\"v\":1,\"tier\":9}", "'tier' is 9"},
        {"{\"v\":1,\"tier\":\"3\"}", "'tier' is not an integer"},
        {"{\"v\":1,\"bound\":\"x\"}", "'bound' is not a number"},
        {"{\"v\":1,\"bound\":1e999}", "not JSON"},
        {"{\"v\":1,\"seed\":\"-1\"}", "'seed'"},
        {"{\"v\":1,\"seed\":\"99999999999999999999\"}", "'seed'"},
        {"{\"v\":1,\"phase\":\"dawn\"}", "'phase'"},
        {"{\"v\":1,\"attempt\":\"00\"}", "'attempt'"},
        {"{\"v\":1,\"samples\":[1,\"2\"]}", "'samples'"},
        {"{\"v\":1,\"samples\":3}", "'samples'"},
        {"{\"v\":1,\"id\":\"zz\"}", "'id'"},
        {"{\"v\":1,\"world\":1}", "'world'"},
        {"{\"v\":1,\"run\":\"zz\"}", "'run'"},
        {"{\"v\":1,\"trace\":\"\\u0000\"}", "not JSON"},
        {"{\"v\":1,\"trace\":\"\xff\"}", "not JSON"},
        {"garbage \x1b[2J", "not JSON"},
    };
    struct db *d;
    struct buf good;
    struct db_row r;
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    db_row_of(&r, 0);
    db_ok(db_put(d, NULL, &r, &db_last));
    db_ok(db_commit(d, &db_last));
    db_ok(db_get(d, r.id, arena, &r, &db_last));
    for (size_t i = 0; i < QN_COUNT(LINES); i++) {
        buf_init(&good, 1 << 20);
        db_attempt_of(r.attempt, 100 + i); /* a new record before the bad line: it must not stay */
        db_row_id(r.id, &r);
        db_row_json(&r, &good);
        buf_printf(&good, "\n%s\n", LINES[i][0]);
        FILE *f = fmemopen(good.p, good.n, "r");
        struct db_import im = {.origin = DB_IMPORT};
        enum rc rc = db_import(d, "f.jsonl", f, &im, &db_last);
        fclose(f);
        ck_assert_msg(rc == RC_INPUT && strncmp(db_last.msg, "f.jsonl:2: ", 11) == 0 &&
                          strstr(db_last.msg, LINES[i][1]),
                      "case %zu: rc %d: %s", i, rc, db_last.msg);
        ck_assert_int_eq(im.accepted, 0);
        buf_fini(&good);
    }
    /* Too long a line. */
    char *line = mem_new(DB_MAX_LINE + 10);
    memset(line, ' ', DB_MAX_LINE + 9);
    FILE *f = fmemopen(line, DB_MAX_LINE + 9, "r");
    struct db_import im = {.origin = DB_IMPORT};
    db_fails("db.import", db_import(d, "f.jsonl", f, &im, &db_last));
    fclose(f);
    mem_free(line);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 1);
    db_ok(db_close(d, &db_last));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db_errors");
    TCase *t = tcase_create("refusals");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, every_code_has_its_case);
    tcase_add_test(t, malformed_rows_are_refused);
    tcase_add_test(t, schema_refuses_what_others_write);
    tcase_add_test(t, bad_lines_have_a_place);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
