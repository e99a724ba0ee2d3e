/* The log and the processes on it: kill -9 at any moment, two writers and a reader at once, and a
 * search that is stopped anywhere and goes on with the same proposals.
 *
 * The kill loop is Done-when 5 of the spine: 200 kills spread uniformly, >= 100 acknowledged rows
 * between kills on average, >= 25 % of them inside a transaction; acknowledgements are recorded by
 * another process (this one, over a pipe). QUERN_LONG=1: 2,000 kills. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/rng.h"
#include "lib/db_util.h"

enum { BATCH = 16, ROWS_PER_RUN = 1500, STEPS = 200 };

static char dir[256], path[300];
static int *in_txn; /* shared with the victim */

static void setup(void)
{
    db_tmp(dir);
    db_in(path, dir, "log.db");
    in_txn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(in_txn, MAP_FAILED);
}

/* Kills do not need a disk to be survived; only the kill loop stays on a real one. */
static void setup_quick(void)
{
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    setup();
}

static void teardown(void) { db_rm(dir); }

static void nap_us(int64_t us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* What the victim says over the pipe. */
struct note {
    enum { NOTE_START, NOTE_ACK, NOTE_FINISHED, NOTE_ERROR } kind;
    int run;
    int64_t n; /* START: rows found; ACK: rows saved so far */
};

static void say(int fd, int kind, int run, int64_t n)
{
    struct note note = {.kind = kind, .run = run, .n = n};
    if (write(fd, &note, sizeof note) != sizeof note) _exit(20);
}

static int watch(unsigned what, void *ctx, void *p, void *x)
{
    const char *sql = what == SQLITE_TRACE_STMT ? (const char *)x : sqlite3_sql(p);
    if (what == SQLITE_TRACE_STMT && strncmp(sql, "BEGIN", 5) == 0) *in_txn = 1;
    if (what == SQLITE_TRACE_PROFILE &&
        (strncmp(sql, "COMMIT", 6) == 0 || strncmp(sql, "ROLLBACK", 8) == 0))
        *in_txn = 0;
    return 0;
}

/* One run after the other, each of ROWS_PER_RUN steps, until killed. The real interface, nothing
 * else. */
static void victim(int fd, int first_run)
{
    struct db *d;
    struct db_key k = db_key_of(0);
    struct rng rng;
    rng_seed(&rng, (uint64_t)getpid());
    if (db_open(&d, path, DB_WRITE, &db_last) != RC_OK) goto bad;
    sqlite3_trace_v2(d->sql, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, watch, NULL);
    for (int at = first_run;; at++) {
        struct arena *a = arena_new();
        struct db_run run;
        struct db_claim c;
        if (db_claim(d, &k, 0, &c, &db_last) != RC_OK || !c.mine) goto bad;
        if (db_run_open(d, &k, (uint64_t)at, "kill", a, &run, &db_last) != RC_OK) goto bad;
        say(fd, NOTE_START, at, (int64_t)run.row_n);
        int64_t n = (int64_t)run.row_n;
        if (run.state == DB_RUN_FINISHED) { /* killed between its end and the note of it */
            say(fd, NOTE_FINISHED, at, n);
            arena_free(a);
            continue;
        }
        while (n < ROWS_PER_RUN) {
            int64_t batch = i64_min(rng_range(&rng, 8, BATCH), ROWS_PER_RUN - n);
            nap_us(rng_range(&rng, 0, 600)); /* measuring */
            for (int64_t i = 0; i < batch; i++) {
                struct db_row r;
                db_row_of(&r, n + i);
                memset(r.attempt, 0, sizeof r.attempt); /* a new measurement, a new attempt */
                if (db_put(d, &run, &r, &db_last) != RC_OK) goto bad;
            }
            db_run_cursor(d, &run, &n, sizeof n);
            if (db_commit(d, &db_last) != RC_OK) goto bad;
            n += batch;
            say(fd, NOTE_ACK, at, n);
        }
        if (db_run_finish(d, &run, run.row_n ? run.rows[0].id : NULL, "full", &db_last) != RC_OK)
            goto bad;
        say(fd, NOTE_FINISHED, at, n);
        arena_free(a);
    }
bad:
    fprintf(stderr, "victim: %s\n", db_last.msg);
    say(fd, NOTE_ERROR, 0, 0);
    _exit(21);
}

/* What this process, which is not killed, knows to be saved. */
struct ledger {
    int run;
    int64_t acked; /* in that run */
    int64_t total; /* acknowledged, all runs */
    bool finished;
    int64_t in_flight; /* rows found beyond the acknowledged ones */
};

/* Until `rows` more are acknowledged, or the pipe ends. */
static void read_notes(int fd, struct ledger *l, int64_t rows)
{
    struct note n;
    int64_t end = rows == INT64_MAX ? rows : l->total + rows;
    while (l->total < end && read(fd, &n, sizeof n) == sizeof n) {
        ck_assert_int_ne(n.kind, NOTE_ERROR);
        if (n.run != l->run) {
            ck_assert_int_eq(n.run, l->run + 1);
            ck_assert(l->finished || l->run == 0);
            *l = (struct ledger){.run = n.run, .total = l->total};
        }
        if (n.kind == NOTE_START) {
            /* Nothing acknowledged is missing, and at most one batch is there that was not
             * acknowledged. */
            ck_assert_msg(n.n >= l->acked && n.n <= l->acked + BATCH,
                          "run %d resumed at %lld, acknowledged %lld", n.run, (long long)n.n,
                          (long long)l->acked);
            l->in_flight += n.n - l->acked;
            l->acked = n.n;
        } else if (n.kind == NOTE_ACK) {
            l->total += n.n - l->acked;
            l->acked = n.n;
        } else
            l->finished = true;
    }
}

static void check_file(const struct ledger *l, bool whole)
{
    struct db *d;
    char id[200];
    if (whole) {
        db_ok(db_open(&d, path, DB_READ, &db_last));
        db_ok(db_check(d, &db_last));
        db_ok(db_close(d, &db_last));
    }
    if (l->run == 0) return;
    snprintf(id, sizeof id,
             "SELECT count(*) FROM attempt a JOIN run r ON r.id = a.run WHERE r.seed = %d", l->run);
    int64_t n = db_sql_int(path, id);
    ck_assert_msg(n >= l->acked && n <= l->acked + BATCH, "run %d has %lld rows, acknowledged %lld",
                  l->run, (long long)n, (long long)l->acked);
    snprintf(id, sizeof id,
             "SELECT count(DISTINCT step) = count(*) AND coalesce(max(step), -1) = count(*) - 1 "
             "FROM attempt a"
             " JOIN run r ON r.id = a.run WHERE r.seed = %d",
             l->run);
    ck_assert_msg(db_sql_int(path, id) == 1, "a step is missing or double in run %d", l->run);
    ck_assert_int_eq(
        db_sql_int(path, "SELECT (SELECT count(*) FROM attempt) - (SELECT count(*) FROM record)"),
        0);
}

START_TEST(kill_loop)
{
    int kills = getenv("QUERN_LONG") ? 2000 : 200, inside = 0, first = 1;
    int64_t start = clock_ns();
    struct rng rng;
    struct ledger l = {0};
    rng_seed(&rng, 5);
    for (int i = 0; i < kills; i++) {
        int fds[2];
        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        ck_assert_int_eq(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) > 0, 1);
        *in_txn = 0;
        if (l.finished)
            first = l.run + 1;
        else if (l.run)
            first = l.run;
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            victim(fds[1], first);
        }
        close(fds[1]);
        /* By rows, so that a busy machine kills as late as a quick one; and not only after a
         * commit. One in ten goes by time from the fork on, to meet opening and recovery. */
        if (i % 10 != 9) read_notes(fds[0], &l, rng_range(&rng, 1, 300));
        nap_us(rng_range(&rng, 0, i % 10 != 9 ? 4000 : 15000));
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFSIGNALED(status), "the victim ended by itself: %x", status);
        inside += *in_txn;
        read_notes(fds[0], &l, INT64_MAX);
        close(fds[0]);
        if (l.run || i > 0) check_file(&l, i % 20 == 19 || i + 1 == kills);
    }
    printf("kill loop: %d kills, %lld acknowledged rows (%.0f a kill), %d inside a transaction "
           "(%.0f %%), %.1f s\n",
           kills, (long long)l.total, (double)l.total / kills, inside, 100.0 * inside / kills,
           (double)(clock_ns() - start) / 1e9);
    ck_assert_int_ge(l.total, 100 * (int64_t)kills);
    ck_assert_int_ge(4 * inside, kills);
    ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record WHERE verdict = 'ok'") >=
                         l.total,
                     1);
}
END_TEST

/* While the file is being made: too short a moment for the loop above to meet often. */
START_TEST(kills_at_birth)
{
    struct rng rng;
    rng_seed(&rng, 9);
    for (int i = 0; i < 60; i++) {
        int fds[2], status;
        struct ledger l = {0};
        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) victim(fds[1], 1);
        close(fds[1]);
        nap_us(rng_range(&rng, 0, 12000));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        read_notes(fds[0], &l, INT64_MAX);
        close(fds[0]);
        struct db *d;
        db_ok(
            db_open(&d, path, DB_WRITE, &db_last)); /* whatever was left, the next quern goes on */
        db_ok(db_check(d, &db_last));
        db_ok(db_close(d, &db_last));
        check_file(&l, false);
        db_rm(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
    }
}
END_TEST

/* ---- two writers and a reader ---- */

static void writer(int seed, int64_t rows)
{
    struct db *d;
    struct db_key k = db_key_of(seed);
    struct db_run run;
    struct arena *a = arena_new();
    struct db_claim c;
    if (db_open(&d, path, DB_WRITE, &db_last) != RC_OK || db_claim(d, &k, 0, &c, &db_last) != RC_OK)
        goto bad;
    if (!c.mine || db_run_open(d, &k, (uint64_t)seed, "", a, &run, &db_last) != RC_OK) goto bad;
    if (run.state == DB_RUN_FINISHED) _exit(0); /* the kill came after the last row */
    for (int64_t i = (int64_t)run.row_n; i < rows; i++) {
        struct db_row r;
        db_row_of(&r, i);
        memset(r.attempt, 0, sizeof r.attempt);
        if (db_put(d, &run, &r, &db_last) != RC_OK) goto bad;
        if (i % 8 == 7 && db_commit(d, &db_last) != RC_OK) goto bad;
    }
    if (db_run_finish(d, &run, NULL, "done", &db_last) != RC_OK || db_close(d, &db_last) != RC_OK)
        goto bad;
    _exit(0);
bad:
    fprintf(stderr, "writer %d: %s\n", seed, db_last.msg);
    _exit(1);
}

static volatile sig_atomic_t stop_reading;
static void on_term(int sig) { stop_reading = 1; }

/* `quern best` in a loop: opened anew each time; what was once seen never goes away. */
static void reader(void)
{
    signal(SIGTERM, on_term);
    struct db *d, *lasting = NULL;
    struct db_stats s;
    int64_t seen = 0, loops = 0;
    struct arena *a = arena_new();
    while (!stop_reading) {
        struct db_row best;
        bool found;
        char key[33];
        struct db_key k = db_key_of(1);
        db_key_id(key, &k);
        if (db_open(&d, path, DB_READ, &db_last) != RC_OK) goto bad;
        if (!lasting && db_open(&lasting, path, DB_READ, &db_last) != RC_OK) goto bad;
        if (db_best_at(d, key, 1, DB_SCREEN, a, &best, &found, &db_last) != RC_OK) goto bad;
        if (db_stats(d, &s, &db_last) != RC_OK) goto bad;
        if (s.records < seen) _exit(3);
        seen = s.records;
        if (db_stats(lasting, &s, &db_last) != RC_OK) goto bad;
        if (s.records < seen) _exit(4);
        if (db_close(d, &db_last) != RC_OK) goto bad;
        arena_reset(a);
        nap_us(2000);
        loops++;
    }
    _exit(loops > 5 ? 0 : 5);
bad:
    fprintf(stderr, "reader: %s\n", db_last.msg);
    _exit(1);
}

static int wait_exit(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

START_TEST(two_writers_a_reader_and_a_kill)
{
    struct db *d;
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    db_ok(db_close(d, &db_last));
    enum { ROUNDS = 4, ROWS = 1200 };
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < ROUNDS; i++) {
        pid_t r = fork();
        if (r == 0) reader();
        pid_t one = fork();
        if (one == 0) writer(2 * i, ROWS);
        pid_t two = fork();
        if (two == 0) writer(2 * i + 1, ROWS);
        nap_us(rng_range(&rng, 20000, 150000));
        bool killed = kill(one, SIGKILL) == 0;
        ck_assert_int_eq(wait_exit(two), 0);
        int how = wait_exit(one);
        ck_assert_msg(how == 0 || (killed && how == 128 + SIGKILL), "writer one: %d", how);
        pid_t again = fork(); /* the killed one's task is free, and continued */
        if (again == 0) writer(2 * i, ROWS);
        ck_assert_int_eq(wait_exit(again), 0);
        kill(r, SIGTERM);
        ck_assert_int_eq(wait_exit(r), 0);
        ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM record"), 2 * ROWS * (i + 1));
        ck_assert_int_eq(db_sql_int(path, "SELECT count(*) FROM run WHERE state = 'finished'"),
                         2 * (i + 1));
    }
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    db_ok(db_check(d, &db_last));
    db_ok(db_close(d, &db_last));
}
END_TEST

/* ---- a private copy while it is written ---- */

static void restless_writer(int fd)
{
    struct db *d;
    struct db_row r;
    if (db_open(&d, path, DB_WRITE, &db_last) != RC_OK) _exit(1);
    for (int64_t i = 0;; i++) {
        db_row_of(&r, i);
        r.step = -1;
        d->pend_since = INT64_MAX / 2; /* groups of 64 exactly, however slow the machine is */
        if (db_put(d, NULL, &r, &db_last) != RC_OK) _exit(2);
        if (i % 64 != 63) continue;
        if (i == 63 && write(fd, "x", 1) != 1) _exit(3);
        nap_us(2000);
        if (i / 64 % 3 != 2) continue;
        if (db_lock_write(d, &db_last) != RC_OK) _exit(4);
        db_checkpoint(d); /* so that the WAL starts anew all the time */
        db_unlock_write(d);
    }
}

static void copying_reader(void)
{
    int64_t seen = 0;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(10);
    for (int i = 0; i < 20; i++) {
        struct db *d;
        struct db_stats s;
        enum rc rc = db_open(&d, path, DB_READ, &db_last);
        if (rc != RC_OK && strcmp(db_last.code, "db.locked") == 0) continue; /* no quiet moment */
        if (rc != RC_OK || !d->private_copy) _exit(11);
        if (db_check(d, &db_last) != RC_OK) _exit(12);
        if (db_stats(d, &s, &db_last) != RC_OK || s.records < seen || s.records % 64 != 0)
            _exit(13);
        seen = s.records;
        if (db_close(d, &db_last) != RC_OK) _exit(14);
    }
    _exit(seen > 64 ? 0 : 15);
}

START_TEST(copies_of_a_live_log_are_whole)
{
    int fds[2], status;
    char byte;
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pid_t w = fork();
    if (w == 0) restless_writer(fds[1]);
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    ck_assert_int_eq(chmod(dir, 0555), 0);
    pid_t r = fork();
    if (r == 0) copying_reader();
    status = wait_exit(r);
    chmod(dir, 0755);
    kill(w, SIGKILL);
    ck_assert_int_eq(wait_exit(w), 128 + SIGKILL);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- the same proposals after any stop ---- */

/* A search in miniature: its next proposal depends on its seed and on every result so far. */
struct search {
    struct rng rng;
    uint64_t seen;
    int64_t n;
};

static void propose(struct search *s, char *trace, size_t n)
{
    snprintf(trace, n, "algorithm direct\nsplit m %llu\n",
             (unsigned long long)(rng_u64(&s->rng) ^ s->seen) % 100000);
}

static void learn(struct search *s, double result)
{
    s->seen = hash_u64(&result, sizeof result, s->seen);
    s->n++;
}

static double bench_of(const char *trace)
{
    return 100 + (double)(hash_crc32c(trace, strlen(trace)) % 1000);
}

/* What was proposed at each step; a step that is proposed again must be the same. */
struct proposals {
    char text[STEPS][80];
    int64_t measured;
};

static void note_proposal(struct proposals *out, int64_t step, const char *trace)
{
    char *at = out->text[step];
    if (*at) ck_assert_str_eq(at, trace);
    snprintf(at, sizeof out->text[0], "%s", trace);
    out->measured++;
}

/* Continues the run for at most `limit` results, in batches of 8; stops without closing anything,
 * as a kill does. Returns true when the run is over. */
static bool search_for(const struct db_key *k, uint64_t seed, int64_t limit, struct proposals *out)
{
    struct db *d;
    struct db_run run;
    struct arena *a = arena_new();
    struct search s = {.seen = 1};
    char trace[80];
    rng_seed(&s.rng, seed);
    db_ok(db_open(&d, path, DB_WRITE, &db_last));
    db_ok(db_run_open(d, k, seed, "replay", a, &run, &db_last));
    bool over = run.state == DB_RUN_FINISHED;
    for (size_t i = 0; i < run.row_n; i++) { /* replay: propose, and be told what the log says */
        propose(&s, trace, sizeof trace);
        ck_assert_str_eq(trace, run.rows[i].trace);
        learn(&s, run.rows[i].median);
    }
    while (!over && s.n < STEPS && limit > 0) {
        for (int i = 0; i < 8 && s.n < STEPS && limit > 0; i++, limit--) {
            struct db_row r;
            propose(&s, trace, sizeof trace);
            db_row_of(&r, s.n);
            memset(r.attempt, 0, sizeof r.attempt);
            r.trace = trace;
            r.median = r.ci_lo = r.ci_hi = bench_of(trace);
            db_ok(db_put(d, &run, &r, &db_last));
            learn(&s, r.median);
            note_proposal(out, s.n - 1, trace);
        }
        if (limit > 0) db_ok(db_commit(d, &db_last));
    }
    if (!over && limit > 0) {
        db_ok(db_run_finish(d, &run, NULL, "done", &db_last));
        over = true;
    }
    db_discard(d); /* what a kill forgets */
    db_ok(db_close(d, &db_last));
    arena_free(a);
    return over;
}

START_TEST(stopped_searches_propose_the_same)
{
    enum { SEEDS = 50, STOPS = 20 };
    static struct proposals want, got, none;
    int64_t measured = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        struct db_key whole = db_key_of(0), parts = db_key_of(1);
        struct rng rng;
        int stops = 0;
        want = got = none = (struct proposals){.measured = 0};
        rng_seed(&rng, (uint64_t)seed);
        ck_assert(search_for(&whole, (uint64_t)seed, INT64_MAX, &want));
        while (!search_for(&parts, (uint64_t)seed,
                           stops < STOPS ? rng_range(&rng, 1, 9) : INT64_MAX, &got))
            stops++;
        ck_assert_int_eq(stops, STOPS);
        for (int i = 0; i < STEPS; i++) ck_assert_str_eq(got.text[i], want.text[i]);
        ck_assert_int_eq(want.measured, STEPS);
        ck_assert_int_le(got.measured, STEPS + 8 * STOPS); /* the batch in flight, at each stop */
        measured += got.measured;
        ck_assert(search_for(&parts, (uint64_t)seed, INT64_MAX, &none)); /* a finished run */
        ck_assert_int_eq(none.measured, 0);
    }
    printf("stopped searches: %d seeds x %d stops, %lld measurements for %d steps\n", SEEDS, STOPS,
           (long long)measured, SEEDS * STEPS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db_kill");
    TCase *t = tcase_create("disk"), *q = tcase_create("processes");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_checked_fixture(q, setup_quick, teardown);
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 3600 : 300);
    tcase_set_timeout(q, 240);
    tcase_add_test(t, kill_loop);
    tcase_add_test(q, kills_at_birth);
    tcase_add_test(q, two_writers_a_reader_and_a_kill);
    tcase_add_test(q, copies_of_a_live_log_are_whole);
    tcase_add_test(q, stopped_searches_propose_the_same);
    suite_add_tcase(s, q);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
