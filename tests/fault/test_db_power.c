/* The log and the disk under it: the power goes at every sync point, with what was not synced kept,
 * dropped or torn; and every single operation of the file layer fails once, or from then on.
 *
 * Promise checked after each: all acknowledged rows are there with their content, a group is there
 * whole or not at all, no row twice, integrity_check ok, the run resumes. QUERN_LONG=1: 500 seeds
 * for 50. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "lib/db_crashvfs.h"
#include "lib/db_util.h"

static char dir[256], path[300], cut_dir[300], cut_path[400];
static bool verbose_long;

static void setup(void)
{
    /* Memory is enough: the layer above decides what a disk would have kept. */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    verbose_long = getenv("QUERN_LONG") != NULL;
    db_tmp(dir);
    db_in(path, dir, "log.db");
    db_in(cut_dir, dir, "cut");
    snprintf(cut_path, sizeof cut_path, "%s/log.db", cut_dir);
    crashvfs_start();
}

static void teardown(void) { db_rm(dir); }

/* What the workload was told is saved, and what it has in flight. */
struct promise {
    int64_t acked, put;
    bool finished;
    uint64_t seed;
    int64_t points, cuts, lost_groups, kept_groups;
};

/* Opens `at` as the next quern would, and holds it to the promise. */
static void keeps_promise(const char *at, struct promise *p, const char *what)
{
    struct db *d;
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct arena *a = arena_new();
    ck_assert_msg(db_open(&d, at, DB_WRITE, &db_last) == RC_OK, "%s: %s", what, db_last.msg);
    ck_assert_msg(db_check(d, &db_last) == RC_OK, "%s: %s", what, db_last.msg);
    ck_assert_msg(db_run_open(d, &k, 1, "power", a, &run, &db_last) == RC_OK, "%s: %s", what,
                  db_last.msg);
    int64_t n = (int64_t)run.row_n;
    ck_assert_msg(n == p->acked || n == p->put, "%s: %lld rows, acknowledged %lld, put %lld", what,
                  (long long)n, (long long)p->acked, (long long)p->put);
    if (p->put > p->acked) *(n == p->put ? &p->kept_groups : &p->lost_groups) += 1;
    for (int64_t i = 0; i < n; i++) {
        struct db_row r;
        db_row_of(&r, i);
        ck_assert_msg(run.rows[i].step == i && strcmp(run.rows[i].trace, r.trace) == 0 &&
                          run.rows[i].median == r.median &&
                          memcmp(run.rows[i].attempt, r.attempt, DB_ATTEMPT_LEN) == 0,
                      "%s: row %lld is another one", what, (long long)i);
    }
    if (p->finished) ck_assert_msg(run.state == DB_RUN_FINISHED, "%s: finished run is open", what);
    struct db_stats s;
    ck_assert_int_eq(db_stats(d, &s, &db_last), RC_OK);
    ck_assert_int_eq(s.records, n);
    ck_assert_msg(db_close(d, &db_last) == RC_OK, "%s: %s", what, db_last.msg);
    arena_free(a);
}

static void cut_here(void *ctx, bool before)
{
    struct promise *p = ctx;
    char what[120];
    p->points++;
    for (int how = before ? CUT_DROP : CUT_RANDOM; how < CUT_KINDS; how++) {
        ck_assert_int_eq(mkdir(cut_dir, 0755), 0);
        crashvfs_cut(cut_dir, (enum crash_cut)how,
                     p->seed * 1000003 + (uint64_t)(p->points * 8 + how));
        snprintf(what, sizeof what, "seed %llu, point %lld, cut %d", (unsigned long long)p->seed,
                 (long long)p->points, how);
        keeps_promise(cut_path, p, what);
        db_rm(cut_dir);
        p->cuts++;
    }
}

/* A small life of a log: created, groups of random size, checkpoints, closed and opened again,
 * finished. Stops at the first error and returns it. */
static enum rc live(struct promise *p, int groups)
{
    struct rng r;
    struct db *d = NULL;
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct arena *a = arena_new();
    rng_seed(&r, p->seed);
    enum rc rc = db_open_with(&d, path, DB_WRITE, "crash", 0, &db_last);
    if (rc == RC_OK) rc = db_run_open(d, &k, 1, "power", a, &run, &db_last);
    for (int g = 0; g < groups && rc == RC_OK; g++) {
        struct db_row row;
        int64_t n = rng_range(&r, 1, 12);
        for (int64_t i = 0; i < n && rc == RC_OK; i++) {
            db_row_of(&row, p->acked + (int64_t)db_pending(d));
            p->put = p->acked + (int64_t)db_pending(d) + 1;
            uint64_t was = db_acked(d);
            rc = db_put(d, &run, &row, &db_last);
            p->acked += (int64_t)(db_acked(d) - was); /* a group may close by time, too */
        }
        uint64_t was = db_acked(d);
        if (rc == RC_OK) rc = db_commit(d, &db_last);
        p->acked += (int64_t)(db_acked(d) - was);
        if (rc == RC_OK && rng_chance(&r, 0.3) && (rc = db_lock_write(d, &db_last)) == RC_OK) {
            db_checkpoint(d);
            db_unlock_write(d);
            if (d->dead) rc = d->dead_err.rc, db_last = d->dead_err;
        }
        if (rc == RC_OK && rng_chance(&r, 0.15)) {
            rc = db_close(d, &db_last);
            d = NULL;
            if (rc == RC_OK) rc = db_open_with(&d, path, DB_WRITE, "crash", 0, &db_last);
            if (rc == RC_OK) rc = db_run_open(d, &k, 1, "power", a, &run, &db_last);
        }
    }
    if (rc == RC_OK) {
        rc = db_run_finish(d, &run, NULL, "done", &db_last);
        p->finished = rc == RC_OK;
    }
    struct err first = db_last;
    enum rc closed = d ? db_close(d, rc == RC_OK ? &db_last : NULL) : RC_OK;
    if (rc) db_last = first;
    arena_free(a);
    return rc ? rc : closed;
}

START_TEST(power_loss_at_every_sync)
{
    int64_t points = 0, cuts = 0, lost = 0, kept = 0;
    int seeds = verbose_long ? 500 : 50;
    for (int seed = 1; seed <= seeds; seed++) {
        struct promise p = {.seed = (uint64_t)seed};
        crashvfs_start();
        crashvfs_at_sync(cut_here, &p);
        enum rc rc = live(&p, 10);
        ck_assert_msg(rc == RC_OK, "seed %d: %s", seed, db_last.msg);
        crashvfs_at_sync(NULL, NULL);
        keeps_promise(path, &p, "after it all");
        points += p.points;
        cuts += p.cuts;
        lost += p.lost_groups;
        kept += p.kept_groups;
        db_rm(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
    }
    printf("power: %d seeds, %lld sync points, %lld cuts; group in flight lost %lld, kept %lld\n",
           seeds, (long long)points, (long long)cuts, (long long)lost, (long long)kept);
    ck_assert_int_ge(points, seeds * 20);
    ck_assert_int_gt(lost, 100); /* the cuts did bite */
    ck_assert_int_gt(kept, 100);
}
END_TEST

/* The harness has teeth: a log that does not sync is caught losing acknowledged rows. */
static void count_losses(void *ctx, bool before)
{
    struct promise *p = ctx;
    struct db *d;
    struct db_stats s;
    if (before) return;
    ck_assert_int_eq(mkdir(cut_dir, 0755), 0);
    crashvfs_cut(cut_dir, CUT_DROP, (uint64_t)++p->points);
    if (db_open(&d, cut_path, DB_WRITE, &db_last) == RC_OK) {
        if (db_stats(d, &s, &db_last) == RC_OK && s.records < p->acked) p->lost_groups++;
        db_close(d, NULL);
    } else
        p->lost_groups++;
    db_rm(cut_dir);
}

START_TEST(a_log_that_does_not_sync_is_caught)
{
    struct db *d;
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct arena *a = arena_new();
    struct promise p = {.seed = 1};
    crashvfs_at_sync(count_losses, &p);
    db_ok(db_open_with(&d, path, DB_WRITE, "crash", 0, &db_last));
    db_ok(db_run_open(d, &k, 1, "power", a, &run, &db_last));
    db_ok(db_exec(d, "PRAGMA synchronous = NORMAL", "plant a bug in", &db_last));
    for (int64_t i = 0; i < 50; i++) {
        struct db_row r;
        db_row_of(&r, i);
        db_ok(db_put(d, &run, &r, &db_last));
        db_ok(db_commit(d, &db_last));
        p.acked++;
        count_losses(&p, false);
    }
    db_ok(db_close(d, &db_last));
    arena_free(a);
    ck_assert_int_ge(p.lost_groups, 40);
}
END_TEST

/* The n-th operation of a kind fails, n = 1, 2, ... until a life passes without meeting it. */
static void every_nth(enum crash_fail what, int code, bool sticky)
{
    int64_t n, errors = 0;
    for (n = 1;; n++) {
        struct promise p = {.seed = 7};
        char text[120];
        crashvfs_start();
        crashvfs_fail(what, n, code, sticky);
        enum rc rc = live(&p, 6);
        bool met = crashvfs_failed();
        crashvfs_fail(what, 0, 0, false);
        snprintf(text, sizeof text, "%s %lld fails%s (code %d)", crashvfs_fail_name(what),
                 (long long)n, sticky ? " for good" : "", code);
        if (rc != RC_OK) {
            errors++;
            ck_assert_msg(met, "%s: an error of its own: %s", text, db_last.msg);
            ck_assert_msg(rc == RC_STORE && strncmp(db_last.code, "db.", 3) == 0 &&
                              strchr(db_last.msg, ';'),
                          "%s: rc %d, %s %s", text, rc, db_last.code, db_last.msg);
        }
        keeps_promise(path, &p, text);
        /* And if the power goes right then, too. */
        for (int how = CUT_DROP; how < CUT_KINDS && met; how++) {
            ck_assert_int_eq(mkdir(cut_dir, 0755), 0);
            crashvfs_cut(cut_dir, (enum crash_cut)how, (uint64_t)n);
            keeps_promise(cut_path, &p, text);
            db_rm(cut_dir);
        }
        db_rm(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
        if (!met) break;
        ck_assert_int_lt(n, 5000);
    }
    printf("every n-th %s%s, code %d: %lld lives, %lld told the caller\n", crashvfs_fail_name(what),
           sticky ? " for good" : "", code, (long long)n, (long long)errors);
    ck_assert_int_gt(n, 2);
}

START_TEST(every_nth_operation_fails_once)
{
    every_nth((enum crash_fail)_i, crashvfs_fail_code((enum crash_fail)_i), false);
}
END_TEST

START_TEST(every_nth_operation_fails_for_good)
{
    every_nth((enum crash_fail)_i, crashvfs_fail_code((enum crash_fail)_i), true);
}
END_TEST

START_TEST(every_nth_write_finds_the_disk_full) { every_nth(FAIL_WRITE, SQLITE_FULL, _i != 0); }
END_TEST

/* A full disk is an interruption, not an end: the group is kept and saved when there is space
 * again. */
START_TEST(full_then_space_again)
{
    for (int64_t n = 1; n < 12; n++) {
        struct db *d;
        struct db_run run;
        struct db_key k = db_key_of(0);
        struct arena *a = arena_new();
        struct promise p = {.seed = 1};
        crashvfs_start();
        db_ok(db_open_with(&d, path, DB_WRITE, "crash", 0, &db_last));
        db_ok(db_run_open(d, &k, 1, "power", a, &run, &db_last));
        crashvfs_fail(FAIL_WRITE, n, SQLITE_FULL, true);
        bool full = false;
        for (int64_t i = 0; i < 40; i++) {
            struct db_row r;
            db_row_of(&r, i);
            enum rc rc = db_put(d, &run, &r, &db_last);
            if (rc == RC_OK && i % 8 == 7) rc = db_commit(d, &db_last);
            if (rc == RC_OK) continue;
            full = true;
            ck_assert_str_eq(db_last.code, "db.full");
            ck_assert_int_eq(rc, RC_STORE);
        }
        ck_assert(full);
        ck_assert_uint_gt(db_pending(d), 0);
        crashvfs_fail(FAIL_WRITE, 0, 0, false);
        db_ok(db_commit(d, &db_last));
        ck_assert_uint_eq(db_acked(d), 40);
        db_ok(db_close(d, &db_last));
        p.acked = p.put = 40;
        keeps_promise(path, &p, "space again");
        arena_free(a);
        db_rm(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
    }
}
END_TEST

/* A sync that failed once may not be believed again: the handle stays shut, a new one goes on. */
START_TEST(failed_sync_is_final_for_the_handle)
{
    struct db *d;
    struct db_run run;
    struct db_key k = db_key_of(0);
    struct arena *a = arena_new();
    struct db_row r;
    db_ok(db_open_with(&d, path, DB_WRITE, "crash", 0, &db_last));
    db_ok(db_run_open(d, &k, 1, "power", a, &run, &db_last));
    db_row_of(&r, 0);
    db_ok(db_put(d, &run, &r, &db_last));
    crashvfs_fail(FAIL_SYNC, 1, SQLITE_IOERR_FSYNC, false);
    db_fails("db.io", db_commit(d, &db_last));
    ck_assert_uint_eq(db_acked(d), 0);
    db_fails("db.io", db_commit(d, &db_last));
    db_fails("db.io", db_put(d, &run, &r, &db_last));
    db_fails("db.io", db_close(d, &db_last));
    db_ok(db_open_with(&d, path, DB_WRITE, "crash", 0, &db_last));
    db_ok(db_run_open(d, &k, 1, "power", a, &run, &db_last));
    if (run.row_n == 0) {
        db_ok(db_put(d, &run, &r, &db_last));
        db_ok(db_commit(d, &db_last));
    }
    db_ok(db_close(d, &db_last));
    struct promise p = {.acked = 1, .put = 1};
    keeps_promise(path, &p, "after a new handle");
    arena_free(a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("db_power");
    TCase *t = tcase_create("disk");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 1800 : 240);
    tcase_add_test(t, power_loss_at_every_sync);
    tcase_add_test(t, a_log_that_does_not_sync_is_caught);
    tcase_add_loop_test(t, every_nth_operation_fails_once, 0, FAIL_KINDS);
    tcase_add_loop_test(t, every_nth_operation_fails_for_good, 0, FAIL_KINDS);
    tcase_add_loop_test(t, every_nth_write_finds_the_disk_full, 0, 2);
    tcase_add_test(t, full_then_space_again);
    tcase_add_test(t, failed_sync_is_final_for_the_handle);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
