/* open: from a path to a handle that is safe to use, and back.
 *
 *   file system ok -> lock file, `use` lock -> SQLite with our settings -> ours, right version
 *
 * Invariants: a failed open leaves nothing behind but perhaps an empty lock file; readers cannot
 * write by any path (READONLY open, no checkpoint on close); settings hold for every handle. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "db/db_int.h"

int64_t db_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *db_name(const struct db *d) { return d->path; }

enum rc db_path(char *out, size_t n, const char *path, struct err *e)
{
    const char *env = getenv("QUERN_DB"), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int len;
    if (path && *path)
        len = snprintf(out, n, "%s", path);
    else if (env && *env)
        len = snprintf(out, n, "%s", env);
    else if (xdg && *xdg == '/')
        len = snprintf(out, n, "%s/quern/quern.db", xdg);
    else if (home && *home == '/')
        len = snprintf(out, n, "%s/.local/share/quern/quern.db", home);
    else
        return db_fail(e, DB_E_CANTOPEN, "there is no $HOME to keep the log in");
    if (len < 0 || (size_t)len >= n || len >= 4000)
        return db_fail(e, DB_E_CANTOPEN, "the log's path '%.40s...' is too long", out);
    return RC_OK;
}

static enum rc make_folder(const char *path, struct err *e)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir) return RC_OK;
    *slash = 0;
    struct err why;
    if (fs_mkdirs(dir, &why) == RC_OK) return RC_OK;
    return db_fail(e, DB_E_CANTOPEN, "%s", why.msg);
}

static int on_wal(void *ctx, sqlite3 *sql, const char *name, int pages)
{
    struct db *d = ctx;
    d->wal_pages = pages;
    return SQLITE_OK;
}

static enum rc settings(struct db *d, struct err *e)
{
    sqlite3_extended_result_codes(d->sql, 1);
    sqlite3_busy_timeout(d->sql, d->busy_ms);
    sqlite3_db_config(d->sql, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    sqlite3_db_config(d->sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(d->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (d->mode == DB_READ) sqlite3_db_config(d->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_limit(d->sql, SQLITE_LIMIT_LENGTH, 64 << 20);
    sqlite3_wal_autocheckpoint(d->sql, 0);
    enum rc rc =
        db_exec(d,
                "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; PRAGMA synchronous = FULL;"
                "PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY; PRAGMA "
                "recursive_triggers = OFF",
                "open", e);
    if (d->mode != DB_READ) sqlite3_wal_hook(d->sql, on_wal, d);
    return rc;
}

static enum rc open_sql(struct db *d, const char *file, const char *vfs, struct err *e)
{
    int flags = SQLITE_OPEN_FULLMUTEX;
    flags |= d->mode == DB_READ && !d->private_copy ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (d->mode != DB_READ) flags |= SQLITE_OPEN_CREATE;
    int rc = sqlite3_open_v2(file, &d->sql, flags, vfs);
    if (rc != SQLITE_OK) {
        int why = d->sql ? sqlite3_system_errno(d->sql) : 0;
        enum db_error which = why == EACCES || why == EROFS
                                  ? (d->mode == DB_READ ? DB_E_CANTOPEN : DB_E_READONLY)
                                  : db_classify(rc, why);
        return db_fail(e, which, "cannot open log '%s': %s", d->path,
                       why ? strerror(why) : sqlite3_errstr(rc));
    }
    enum rc out = settings(d, e);
    if (out == RC_OK && d->mode != DB_READ && sqlite3_db_readonly(d->sql, "main") == 1)
        return db_fail(e, DB_E_READONLY, "log '%s' may not be written", d->path);
    return out;
}

/* A committed file in another journal mode is one that a foreign tool changed. */
static enum rc need_wal(struct db *d, struct err *e)
{
    if (d->mode == DB_READ) return RC_OK;
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(d->sql, "PRAGMA journal_mode", -1, &s, NULL);
    if (rc != SQLITE_OK) return db_fail_sql(d, e, rc, "read");
    rc = sqlite3_step(s);
    bool wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
    sqlite3_finalize(s);
    if (rc != SQLITE_ROW) return db_fail_sql(d, e, rc, "read");
    if (wal) return RC_OK;
    enum rc out = db_lock_write(d, e);
    if (out) return out;
    out = db_set_wal(d, e);
    db_unlock_write(d);
    return out;
}

static enum rc open_read(struct db *d, const char *vfs, struct err *e)
{
    struct stat st;
    if (stat(d->path, &st) != 0) {
        enum db_error which = errno == ENOENT || errno == ENOTDIR ? DB_E_MISSING : DB_E_CANTOPEN;
        return db_fail(e, which, "there is no log at '%s' (%s)", d->path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) return db_fail(e, DB_E_CANTOPEN, "'%s' is not a file", d->path);
    enum rc rc = db_check_fs(d->path, e);
    if (rc) return rc;
    d->private_copy = !db_folder_writable(d->path);
    if (!d->private_copy) {
        rc = open_sql(d, d->path, vfs, e);
        return rc ? rc : db_schema_prepare(d, e);
    }
    char copy[4096];
    rc = db_copy_private(d->path, copy, sizeof copy, e);
    if (rc) return rc;
    rc = open_sql(d, copy, vfs, e);
    if (rc == RC_OK) rc = db_schema_prepare(d, e); /* its first read opens WAL and index */
    db_copy_forget(copy); /* the names; the open files live on until close */
    return rc;
}

static enum rc open_write(struct db *d, const char *vfs, struct err *e)
{
    struct stat st;
    enum rc rc = make_folder(d->path, e);
    if (rc == RC_OK) rc = db_check_fs(d->path, e);
    if (rc == RC_OK && stat(d->path, &st) == 0 && !S_ISREG(st.st_mode))
        rc = db_fail(e, DB_E_CANTOPEN, "'%s' is not a file", d->path);
    if (rc == RC_OK) rc = db_lock_open(d, e);
    if (rc == RC_OK) rc = db_lock_use(d, e);
    if (rc == RC_OK) rc = open_sql(d, d->path, vfs, e);
    if (rc == RC_OK) rc = db_schema_prepare(d, e);
    if (rc == RC_OK) rc = need_wal(d, e);
    return rc;
}

static void free_handle(struct db *d)
{
    for (size_t i = 0; i < DB_STMTS; i++) sqlite3_finalize(d->stmt[i]);
    sqlite3_finalize(d->insert);
    if (d->sql) {
        if (d->dead) sqlite3_db_config(d->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        int rc = sqlite3_close(d->sql);
        QN_CHECK(rc == SQLITE_OK, "log '%s' closed with open statements", d->path);
    }
    if (d->lock_fd >= 0) close(d->lock_fd); /* and with it both locks */
    for (size_t i = 0; i < d->cursors.n; i++) mem_free(d->cursors.p[i].state);
    vec_free(&d->cursors);
    vec_free(&d->claims);
    vec_free(&d->pend);
    arena_free(d->pend_arena);
    mem_free(d->who);
    mem_free(d->generator);
    mem_free(d->toolchain);
    mem_free(d->env);
    mem_free(d->path);
    mem_free(d);
}

/* Who measured, without saying who: stable for a user on a machine, meaningless elsewhere. */
static void default_who(char out[13])
{
    char *text = NULL, id[HASH_ID_LEN + 1], seed[256];
    if (fs_read("/etc/machine-id", 64, &text, NULL, NULL) != RC_OK) text = NULL;
    snprintf(seed, sizeof seed, "quern who %s %u", text ? text : "", (unsigned)getuid());
    mem_free(text);
    hash_id(id, seed, strlen(seed));
    snprintf(out, 13, "%.12s", id);
}

enum rc db_open_with(struct db **out, const char *path, enum db_mode mode, const char *vfs,
                     int busy_ms, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    *out = NULL;
    char full[4096], who[13];
    enum rc rc = db_path(full, sizeof full, path, e);
    if (rc) return rc;
    struct db *d = mem_new(sizeof *d);
    d->path = mem_strdup(full);
    d->mode = mode;
    d->lock_fd = -1;
    d->busy_ms = busy_ms > 0 ? busy_ms : DB_BUSY_MS;
    d->pend_arena = arena_new();
    default_who(who);
    db_session(d, &(struct db_session){who, QN_VERSION, "", ""});
    if (getrandom(d->token, sizeof d->token, 0) != (ssize_t)sizeof d->token)
        rc = db_fail(e, DB_E_CANTOPEN, "no random bytes: %s", strerror(errno));
    if (rc == RC_OK) rc = mode == DB_READ ? open_read(d, vfs, e) : open_write(d, vfs, e);
    if (rc) {
        d->dead = true; /* no checkpoint on the way out */
        free_handle(d);
        return rc;
    }
    *out = d;
    return RC_OK;
}

enum rc db_open(struct db **out, const char *path, enum db_mode mode, struct err *e)
{
    return db_open_with(out, path, mode, NULL, 0, e);
}

static void replace(char **at, const char *text)
{
    if (!text) return;
    mem_free(*at);
    *at = mem_strdup(text);
}

void db_session(struct db *d, const struct db_session *s)
{
    replace(&d->who, s->who);
    replace(&d->generator, s->generator);
    replace(&d->toolchain, s->toolchain);
    replace(&d->env, s->env);
}

enum rc db_close(struct db *d, struct err *e)
{
    if (!d) return RC_OK;
    struct err local;
    if (!e) e = &local;
    enum rc rc = RC_OK;
    if (d->mode != DB_READ) {
        rc = db_commit(d, e);
        if (!d->dead) db_claims_drop(d);
        /* The last connection checkpoints in sqlite3_close: that too only under the write lock. */
        if (!d->dead && db_lock_write(d, NULL) != RC_OK)
            sqlite3_db_config(d->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    free_handle(d);
    return rc;
}
