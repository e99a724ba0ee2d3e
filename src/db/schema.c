/* schema: what is in the file: ours or not, which version, creating it, bringing it forward.
 *
 *   empty file       ->  tuning-db/schema.sql
 *   version 1 of 3   ->  backup FILE.v1.bak, 0002_*.sql, 0003_*.sql
 *
 * Invariants: a file is never half created or half migrated (one transaction each); a file we do
 * not understand is not written to. */
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "db/db_int.h"

enum { MAX_SQL = 1 << 20 };

enum rc db_exec(struct db *d, const char *sql, const char *doing, struct err *e)
{
    int rc = sqlite3_exec(d->sql, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? RC_OK : db_fail_sql(d, e, rc, doing);
}

enum rc db_pragma_int(struct db *d, const char *sql, int64_t *v, struct err *e)
{
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(d->sql, sql, -1, &s, NULL);
    if (rc != SQLITE_OK) return db_fail_sql(d, e, rc, "read");
    rc = sqlite3_step(s);
    *v = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RC_OK : db_fail_sql(d, e, rc, "read");
}

struct ident {
    int64_t app, version, tables;
};

static enum rc read_ident(struct db *d, struct ident *id, struct err *e)
{
    enum rc rc = db_pragma_int(d, "PRAGMA application_id", &id->app, e);
    if (rc == RC_OK) rc = db_pragma_int(d, "PRAGMA user_version", &id->version, e);
    if (rc == RC_OK) rc = db_pragma_int(d, "SELECT count(*) FROM sqlite_schema", &id->tables, e);
    return rc;
}

static bool is_empty(const struct ident *id)
{
    return id->app == 0 && id->version == 0 && id->tables == 0;
}

static enum rc create(struct db *d, struct err *e)
{
    char dir[4096], path[4200], *sql;
    enum rc rc = fs_data_dir(dir, sizeof dir, "tuning-db", e);
    if (rc) return err_wrap(e, "cannot create log '%s'", d->path);
    snprintf(path, sizeof path, "%s/schema.sql", dir);
    rc = fs_read(path, MAX_SQL, &sql, NULL, e);
    if (rc) return err_wrap(e, "cannot create log '%s'", d->path);
    /* The write lock is held, but a sqlite3 shell knows nothing of it: look again inside. */
    rc = db_exec(d, "BEGIN IMMEDIATE", "create", e);
    struct ident id = {0};
    if (rc == RC_OK) rc = read_ident(d, &id, e);
    if (rc == RC_OK && is_empty(&id)) rc = db_exec(d, sql, "create the tables of", e);
    if (rc == RC_OK) rc = db_exec(d, "COMMIT", "create", e);
    if (rc != RC_OK && !sqlite3_get_autocommit(d->sql))
        sqlite3_exec(d->sql, "ROLLBACK", NULL, NULL, NULL);
    mem_free(sql);
    return rc;
}

/* The one file NNNN_*.sql of dir. */
static enum rc read_step(const char *dir, int n, char **sql, struct err *e)
{
    char **names, prefix[16], path[4300];
    size_t count;
    enum rc rc = fs_list(dir, ".sql", &names, &count, e);
    if (rc) return rc;
    snprintf(prefix, sizeof prefix, "%04d_", n);
    *sql = NULL;
    rc = RC_OK;
    for (size_t i = 0; i < count && rc == RC_OK && !*sql; i++)
        if (strncmp(names[i], prefix, strlen(prefix)) == 0) {
            snprintf(path, sizeof path, "%s/%s", dir, names[i]);
            rc = fs_read(path, MAX_SQL, sql, NULL, e);
        }
    fs_list_free(names, count);
    if (rc == RC_OK && !*sql)
        return db_fail(e, DB_E_MIGRATION, "'%s' has no step %s*.sql", dir, prefix);
    return rc;
}

static enum rc migrate_step(struct db *d, const char *dir, int to, struct err *e)
{
    char *sql, version[64];
    enum rc rc = read_step(dir, to, &sql, e);
    if (rc) return rc;
    rc = db_exec(d, "BEGIN IMMEDIATE", "migrate", e);
    if (rc == RC_OK) {
        snprintf(version, sizeof version, "PRAGMA user_version = %d", to);
        /* A mistake in a migration's SQL is reported, not our abort: the file must stay usable. */
        if (sqlite3_exec(d->sql, sql, NULL, NULL, NULL) != SQLITE_OK)
            rc = db_fail(e, DB_E_MIGRATION, "log '%s': step %04d failed: %s", d->path, to,
                         sqlite3_errmsg(d->sql));
        if (rc == RC_OK) rc = db_exec(d, version, "migrate", e);
        if (rc == RC_OK) rc = db_exec(d, "COMMIT", "migrate", e);
        if (rc != RC_OK && !sqlite3_get_autocommit(d->sql))
            sqlite3_exec(d->sql, "ROLLBACK", NULL, NULL, NULL);
    }
    mem_free(sql);
    return rc;
}

enum rc db_migrate(struct db *d, const char *dir, int from, int to, struct err *e)
{
    char backup[4300];
    snprintf(backup, sizeof backup, "%s.v%d.bak", d->path, from);
    /* One that a stopped migration left holds the same version: keep it. */
    enum rc rc = fs_exists(backup) ? RC_OK : db_backup(d, backup, e);
    for (int v = from + 1; v <= to && rc == RC_OK; v++) {
        rc = migrate_step(d, dir, v, e);
        if (rc == RC_OK) log_info("log '%s' is now version %d", d->path, v);
    }
    return rc;
}

/* The switch itself uses a rollback journal. EXTRA also syncs its deletion: one that came back
 * after a power cut would undo the switch and make SQLite throw the WAL away. */
enum rc db_set_wal(struct db *d, struct err *e)
{
    return db_exec(
        d, "PRAGMA synchronous = EXTRA; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
        "set up", e);
}

static enum rc prepare_locked(struct db *d, struct err *e)
{
    struct ident id;
    enum rc rc = read_ident(d, &id, e);
    if (rc) return rc;
    if (is_empty(&id)) {
        rc = db_set_wal(d, e);
        if (rc == RC_OK) rc = create(d, e);
        return rc ? rc : read_ident(d, &id, e);
    }
    if (id.app == DB_APPLICATION_ID && id.version > 0 && id.version < DB_SCHEMA_VERSION) {
        char dir[4096], steps[4200];
        if (fs_data_dir(dir, sizeof dir, "tuning-db", e))
            return err_wrap(e, "cannot migrate log '%s'", d->path);
        snprintf(steps, sizeof steps, "%s/migrations", dir);
        return db_migrate(d, steps, (int)id.version, DB_SCHEMA_VERSION, e);
    }
    return RC_OK;
}

enum rc db_schema_prepare(struct db *d, struct err *e)
{
    struct ident id;
    enum rc rc = read_ident(d, &id, e);
    if (rc == RC_OK && d->mode != DB_READ && id.version < DB_SCHEMA_VERSION) {
        rc = db_lock_write(d, e);
        if (rc == RC_OK) {
            rc = prepare_locked(d, e);
            db_unlock_write(d);
        }
        if (rc == RC_OK) rc = read_ident(d, &id, e);
    }
    if (rc) return rc;
    if (is_empty(&id) && d->mode == DB_READ)
        return db_fail(e, DB_E_MISSING, "log '%s' is empty", d->path);
    if (id.app != DB_APPLICATION_ID)
        return db_fail(e, DB_E_FOREIGN, "'%s' is not a quern log (application id %lld)", d->path,
                       (long long)id.app);
    if (id.version > DB_SCHEMA_VERSION)
        return db_fail(e, DB_E_NEWER,
                       "log '%s' has schema version %lld, this quern (" QN_VERSION
                       ") knows up to %d",
                       d->path, (long long)id.version, DB_SCHEMA_VERSION);
    if (id.version < DB_SCHEMA_VERSION)
        return db_fail(e, DB_E_OLDER, "log '%s' has schema version %lld, this quern reads %d",
                       d->path, (long long)id.version, DB_SCHEMA_VERSION);
    return RC_OK;
}
