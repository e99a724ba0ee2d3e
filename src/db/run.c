/* run: one search over one key; opening is what makes it resumable.
 *
 *   db_run_open x 1: fresh, epoch 1;  after a kill: resumed, epoch 2, with the rows of epoch 1
 *
 * Invariants: the id is the hash of (key, seed, options), so the same command finds its run again;
 * only the newest epoch may add rows; a finished run stays as it is. */
#include <string.h>

#include "db/db_int.h"

static void run_id(char id[HASH_ID_LEN + 1], const char *key, uint64_t seed, const char *options)
{
    struct buf b;
    buf_init(&b, DB_MAX_TEXT + 256);
    buf_printf(&b, "quern run 1\n%s\n%llu\n%s", key, (unsigned long long)seed, options);
    hash_id(id, b.p, b.n);
    buf_fini(&b);
}

/* RC_OK with *found; fills everything but rows. */
static enum rc get_run(struct db *d, struct arena *a, struct db_run *run, bool *found,
                       struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_RUN_GET, e);
    *found = false;
    if (!s) return e->rc;
    db_bind_text(s, 1, run->id);
    int rc = sqlite3_step(s);
    *found = rc == SQLITE_ROW;
    if (*found) {
        bool open = strcmp((const char *)sqlite3_column_text(s, 0), "open") == 0;
        run->state = open ? DB_RUN_RESUMED : DB_RUN_FINISHED;
        run->epoch = sqlite3_column_int64(s, 1);
        run->cursor_n = (size_t)sqlite3_column_bytes(s, 2);
        char *cursor = arena_alloc(a, run->cursor_n + 1);
        if (run->cursor_n) memcpy(cursor, sqlite3_column_blob(s, 2), run->cursor_n);
        run->cursor = cursor;
        snprintf(run->champion, sizeof run->champion, "%s",
                 (const char *)sqlite3_column_text(s, 3));
        run->why = arena_strdup(a, (const char *)sqlite3_column_text(s, 4));
        run->started_ms = sqlite3_column_int64(s, 5);
        run->finished_ms = sqlite3_column_int64(s, 6);
    }
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RC_OK : db_fail_sql(d, e, rc, "read");
}

static enum rc put_run(struct db *d, struct db_run *run, const char *options, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_RUN_PUT, e);
    if (!s) return e->rc;
    run->state = DB_RUN_FRESH;
    run->epoch = 1;
    run->started_ms = db_now_ms();
    db_bind_text(s, 1, run->id);
    db_bind_text(s, 2, run->key);
    sqlite3_bind_int64(s, 3, (int64_t)run->seed);
    db_bind_text(s, 4, options);
    sqlite3_bind_int64(s, 5, run->started_ms);
    return db_step_done(d, s, "save a run to", e);
}

static enum rc raise_epoch(struct db *d, struct db_run *run, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_RUN_EPOCH_UP, e);
    if (!s) return e->rc;
    db_bind_text(s, 1, run->id);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) run->epoch = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return rc == SQLITE_ROW ? RC_OK : db_fail_sql(d, e, rc, "resume a run of");
}

static enum rc open_in_txn(struct db *d, const char *options, struct arena *a, struct db_run *run,
                           struct err *e)
{
    bool found = false;
    enum rc rc = db_insert_key(d, &run->k, run->key, e);
    if (rc == RC_OK) rc = get_run(d, a, run, &found, e);
    if (rc) return rc;
    if (!found) return put_run(d, run, options, e);
    return run->state == DB_RUN_FINISHED ? RC_OK : raise_epoch(d, run, e);
}

static enum rc read_rows(struct db *d, struct arena *a, struct db_run *run, struct err *e)
{
    struct buf b;
    sqlite3_stmt *s;
    struct db_rows rows;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "SELECT ");
    db_select(&b);
    buf_puts(&b, " FROM attempt a JOIN record r ON r.attempt = a.id JOIN task_key k ON k.id = r.key"
                 " JOIN env e ON e.id = r.env WHERE a.run = ?1 AND a.counted = 1 ORDER BY a.step");
    int code = sqlite3_prepare_v2(d->sql, b.p, -1, &s, NULL);
    buf_fini(&b);
    if (code != SQLITE_OK) return db_fail_sql(d, e, code, "read");
    db_bind_text(s, 1, run->id);
    enum rc rc = db_read_all(d, s, a, true, &rows, e);
    if (rc) return rc;
    run->rows = rows.p;
    run->row_n = rows.n;
    return RC_OK;
}

static void copy_key(struct arena *a, struct db_key *to, const struct db_key *k)
{
    *to = (struct db_key){.task = arena_strdup(a, k->task),
                          .op_hash = arena_strdup(a, k->op_hash),
                          .target = arena_strdup(a, k->target),
                          .target_hash = arena_strdup(a, k->target_hash),
                          .device_class = arena_strdup(a, k->device_class ? k->device_class : ""),
                          .threads = k->threads,
                          .cache_mode = arena_strdup(a, k->cache_mode),
                          .objective = arena_strdup(a, k->objective)};
}

enum rc db_run_open(struct db *d, const struct db_key *k, uint64_t seed, const char *options,
                    struct arena *a, struct db_run *run, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    *run = (struct db_run){.seed = seed, .cursor = "", .why = ""};
    if (!options) options = "";
    if (strlen(options) > DB_MAX_TEXT || !utf8_valid(options, strlen(options)))
        return db_fail(e, DB_E_ROW, "the run's options text is too long or not UTF-8");
    enum rc rc = db_key_check(k, e);
    if (rc) return rc;
    copy_key(a, &run->k, k);
    db_key_id(run->key, k);
    run_id(run->id, run->key, seed, options);
    rc = db_commit(d, e);
    if (rc == RC_OK) rc = db_txn_begin(d, e);
    if (rc) return rc;
    rc = db_txn_end(d, open_in_txn(d, options, a, run, e), e);
    return rc ? rc : read_rows(d, a, run, e);
}

static enum rc finish_in_txn(struct db *d, struct db_run *run, const char *champion,
                             const char *why, struct err *e)
{
    enum rc rc = db_run_fence(d, run->id, run->epoch, e);
    sqlite3_stmt *s = rc == RC_OK ? db_stmt(d, DB_S_RUN_FINISH, e) : NULL;
    if (!s) return e->rc;
    if (champion && *champion) {
        sqlite3_stmt *has = db_stmt(d, DB_S_RECORD_HAS, e);
        if (!has) return e->rc;
        db_bind_text(has, 1, champion);
        int code = sqlite3_step(has);
        sqlite3_reset(has);
        if (code == SQLITE_DONE)
            return db_fail(e, DB_E_ID, "the champion '%.40s' is no record of log '%s'", champion,
                           d->path);
        if (code != SQLITE_ROW) return db_fail_sql(d, e, code, "read");
        db_bind_text(s, 2, champion);
    }
    run->finished_ms = db_now_ms();
    db_bind_text(s, 1, run->id);
    db_bind_text(s, 3, why);
    sqlite3_bind_int64(s, 4, run->finished_ms);
    return db_step_done(d, s, "finish a run of", e);
}

enum rc db_run_finish(struct db *d, struct db_run *run, const char *champion, const char *why,
                      struct err *e)
{
    struct err local;
    if (!e) e = &local;
    enum rc rc = db_commit(d, e);
    if (rc == RC_OK) rc = db_txn_begin(d, e);
    if (rc) return rc;
    rc = db_txn_end(d, finish_in_txn(d, run, champion, why, e), e);
    if (rc) return rc;
    run->state = DB_RUN_FINISHED;
    snprintf(run->champion, sizeof run->champion, "%s", champion ? champion : "");
    return RC_OK;
}
