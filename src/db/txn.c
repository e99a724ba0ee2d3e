/* txn: one write transaction under the write lock, prepared statements, checkpoints.
 *
 *   if (db_txn_begin(d, e)) return e->rc;  rc = body(d, e);  return db_txn_end(d, rc, e);
 *
 * Invariants: RC_OK of db_txn_end means the transaction is on disk (WAL synced); after any other
 * result no transaction is open and the write lock is free; a failed checkpoint never un-saves a
 * row. */
#include <string.h>

#include "base/log.h"
#include "db/db_int.h"

static const char *const SQL[] = {
#define X(name, sql) [DB_S_##name] = sql,
#include "db/stmts.def"
#undef X
};

enum rc db_alive(struct db *d, struct err *e)
{
    QN_CHECK(d->mode != DB_READ, "write asked of a log opened for reading");
    if (!d->dead) return RC_OK;
    if (e) *e = d->dead_err;
    return d->dead_err.rc;
}

sqlite3_stmt *db_stmt(struct db *d, enum db_stmt which, struct err *e)
{
    sqlite3_stmt **s = &d->stmt[which];
    if (*s) {
        sqlite3_reset(*s);
        sqlite3_clear_bindings(*s);
        return *s;
    }
    int rc = sqlite3_prepare_v3(d->sql, SQL[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);
    if (rc == SQLITE_OK) return *s;
    db_fail_sql(d, e, rc, "prepare a statement for");
    return NULL;
}

void db_bind_text(sqlite3_stmt *s, int i, const char *text)
{
    sqlite3_bind_text(s, i, text ? text : "", -1, SQLITE_TRANSIENT);
}

enum rc db_step_done(struct db *d, sqlite3_stmt *s, const char *doing, struct err *e)
{
    int rc = sqlite3_step(s);
    enum rc out = rc == SQLITE_DONE || rc == SQLITE_ROW ? RC_OK : db_fail_sql(d, e, rc, doing);
    sqlite3_reset(s);
    return out;
}

static enum rc run_stmt(struct db *d, enum db_stmt which, const char *doing, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, which, e);
    return s ? db_step_done(d, s, doing, e) : e->rc;
}

enum rc db_txn_begin(struct db *d, struct err *e)
{
    enum rc rc = db_alive(d, e);
    if (rc || (rc = db_lock_write(d, e))) return rc;
    rc = run_stmt(d, DB_S_BEGIN, "write to", e);
    if (rc) db_unlock_write(d);
    return rc;
}

enum rc db_txn_end(struct db *d, enum rc rc, struct err *e)
{
    if (rc == RC_OK) rc = run_stmt(d, DB_S_COMMIT, "save to", e);
    if (rc != RC_OK && !sqlite3_get_autocommit(d->sql)) {
        /* SQLite undoes the transaction in memory even where the disk fails; the first error
         * stays. */
        sqlite3_stmt *s = db_stmt(d, DB_S_ROLLBACK, NULL);
        if (s) {
            sqlite3_step(s);
            sqlite3_reset(s);
        }
    }
    if (rc == RC_OK && d->wal_pages >= DB_CHECKPOINT_PAGES) db_checkpoint(d);
    db_unlock_write(d);
    return rc;
}

void db_checkpoint(struct db *d)
{
    QN_CHECK(d->locked > 0, "checkpoint without the write lock");
    int rc = sqlite3_wal_checkpoint_v2(d->sql, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    d->wal_pages = 0;
    if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) return;
    struct err e;
    db_fail_sql(d, &e, rc, "checkpoint");
    log_warn("%s", e.msg);
}
