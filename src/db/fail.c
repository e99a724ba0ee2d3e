/* fail: SQLite's result codes as quern's errors, each with advice (errors.def).
 *
 *   SQLITE_FULL while committing
 *     -> RC_STORE "db.full": cannot save to 'log.db': database or disk is full; ...
 *
 * Invariant: after an error that may have lost a sync or found damage the handle is dead for
 * writing, because the kernel reports a failed fsync once and then forgets it. */
#include <errno.h>
#include <stdarg.h>

#include "db/db_int.h"

static const struct {
    const char *code;
    enum rc rc;
    const char *advice;
} ERRORS[] = {
#define X(name, code, rc, advice) [DB_E_##name] = {code, rc, advice},
#include "db/errors.def"
#undef X
};

const char *db_error_code(enum db_error which) { return ERRORS[which].code; }

enum rc db_fail(struct err *e, enum db_error which, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *advice = ERRORS[which].advice;
    return err_set(e, ERRORS[which].rc, ERRORS[which].code, "%s%s%s", text, *advice ? "; " : "",
                   advice);
}

enum db_error db_classify(int sqlite_rc, int system_errno)
{
    bool no_space = system_errno == ENOSPC || system_errno == EDQUOT;
    switch (sqlite_rc & 0xff) {
    case SQLITE_FULL:
        return DB_E_FULL;
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return DB_E_LOCKED;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return DB_E_READONLY;
    case SQLITE_CANTOPEN:
        return no_space ? DB_E_FULL : DB_E_CANTOPEN;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    /* Rows and SQL were checked before: tables that do not answer as version N's are not version
     * N's. */
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
        return DB_E_CORRUPT;
    default:
        break;
    }
    /* Growing the WAL index on a full disk is reported as an I/O error of its own. */
    if (sqlite_rc == SQLITE_IOERR_SHMSIZE ||
        (no_space && (sqlite_rc & 0xff) == SQLITE_IOERR && sqlite_rc != SQLITE_IOERR_FSYNC))
        return DB_E_FULL;
    return DB_E_IO;
}

enum rc db_fail_sql(struct db *d, struct err *e, int sqlite_rc, const char *doing)
{
    struct err local;
    if (!e) e = &local;
    int primary = sqlite_rc & 0xff;
    QN_CHECK(primary != SQLITE_MISUSE && primary != SQLITE_RANGE, "SQLite misused: %s", doing);
    const char *why = d->sql ? sqlite3_errmsg(d->sql) : sqlite3_errstr(sqlite_rc);
    enum db_error which = db_classify(sqlite_rc, d->sql ? sqlite3_system_errno(d->sql) : 0);
    enum rc rc =
        db_fail(e, which, "cannot %s log '%s': %s (SQLite %d)", doing, d->path, why, sqlite_rc);
    if (which == DB_E_IO || which == DB_E_CORRUPT) {
        if (!d->dead) d->dead_err = *e;
        d->dead = true;
    }
    return rc;
}
