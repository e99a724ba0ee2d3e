/* db_int: what the files of this room share. Nothing here is for other rooms.
 *
 * A write is always   txn_begin -> statements -> txn_end   which takes the `write` lock, runs one
 * transaction and lets go. Statements live in a table (stmts.def), prepared once per handle. */
#ifndef QN_DB_INT_H
#define QN_DB_INT_H

#include <sqlite3.h>
#include <sys/vfs.h>

#include "base/vec.h"
#include "db/db.h"

enum db_error {
#define X(name, code, rc, advice) DB_E_##name,
#include "db/errors.def"
#undef X
    DB_ERRORS
};

enum db_stmt {
#define X(name, sql) DB_S_##name,
#include "db/stmts.def"
#undef X
    DB_STMTS
};

enum {
    DB_APPLICATION_ID = 0x5175726e,
    DB_BUSY_MS = 30000,
    DB_CHECKPOINT_PAGES = 1000,
    DB_CLAIM_TTL_MS = 600000
};

struct db_pend_cursor {
    char run[HASH_ID_LEN + 1];
    int64_t epoch;
    char *state;
    size_t n;
};

struct db_pend_row {
    struct db_row r;
    bool in_run;
    int64_t epoch;
};

struct db_claimed {
    char key[HASH_ID_LEN + 1];
    int64_t ttl_ms, renewed_ms;
};

struct db {
    sqlite3 *sql;
    char *path;
    enum db_mode mode;
    int lock_fd; /* PATH.lock; -1 for readers */
    int busy_ms;
    int locked; /* depth of the write lock */
    bool private_copy;
    bool dead; /* fail-stop: dead_err answers every later write */
    struct err dead_err;
    int wal_pages;
    sqlite3_stmt *stmt[DB_STMTS];
    sqlite3_stmt *insert; /* of a record */
    /* the group */
    struct arena *pend_arena;
    VEC(struct db_pend_row) pend;
    VEC(struct db_pend_cursor) cursors;
    int64_t pend_since; /* clock_ns of its first row */
    uint64_t acked;
    /* session defaults */
    char *who, *generator, *toolchain, *env;
    /* claims */
    uint8_t token[16];
    VEC(struct db_claimed) claims;
};

/* fail.c */
enum rc db_fail(struct err *e, enum db_error which, const char *fmt, ...) QN_PRINTF(3, 4);
/* SQLite's last failure on d while `doing`; may kill the handle (fail-stop). */
enum rc db_fail_sql(struct db *d, struct err *e, int sqlite_rc, const char *doing);
enum db_error db_classify(int sqlite_rc, int system_errno);
const char *db_error_code(enum db_error which);

/* open.c; vfs NULL: the default. busy_ms 0: the default. */
enum rc db_open_with(struct db **out, const char *path, enum db_mode mode, const char *vfs,
                     int busy_ms, struct err *e);
int64_t db_now_ms(void);

/* lock.c */
enum db_lock_byte { DB_LOCK_WRITE = 0, DB_LOCK_USE = 1 };
bool db_fs_is_network(long f_type, const char **name);
bool db_fuse_is_network(const char *mountinfo, unsigned major, unsigned minor, const char **name);
extern int (*db_statfs)(const char *path, struct statfs *st); /* so that a test can be on NFS */
enum rc db_check_fs(const char *path, struct err *e);
enum rc db_lock_open(struct db *d, struct err *e);
enum rc db_lock_use(struct db *d, struct err *e);
enum rc db_lock_write(struct db *d, struct err *e); /* nests */
void db_unlock_write(struct db *d);

/* copy.c: readers in a folder they may not write. */
bool db_folder_writable(const char *path);
enum rc db_copy_private(const char *path, char *copy, size_t n, struct err *e);
void db_copy_forget(const char *copy);

/* schema.c */
enum rc db_schema_prepare(struct db *d, struct err *e);
/* dir holds NNNN_*.sql; brings the file from `from` to `to`. Exposed for its test. */
enum rc db_migrate(struct db *d, const char *dir, int from, int to, struct err *e);
enum rc db_set_wal(struct db *d, struct err *e);
enum rc db_exec(struct db *d, const char *sql, const char *doing, struct err *e);
enum rc db_pragma_int(struct db *d, const char *sql, int64_t *v, struct err *e);

/* txn.c */
enum rc db_alive(struct db *d, struct err *e); /* writable and not dead */
enum rc db_txn_begin(struct db *d, struct err *e);
/* rc is how the body went: commits on RC_OK, else rolls back and returns rc with *e untouched. */
enum rc db_txn_end(struct db *d, enum rc rc, struct err *e);
void db_checkpoint(struct db *d); /* needs the write lock */
sqlite3_stmt *db_stmt(struct db *d, enum db_stmt which,
                      struct err *e); /* reset and unbound, or NULL */
enum rc db_step_done(struct db *d, sqlite3_stmt *s, const char *doing, struct err *e);
void db_bind_text(sqlite3_stmt *s, int i, const char *text);

/* fields.c: the columns of a record, once. Sorted by name, which is the order of the canonical
 * JSON. */
enum db_field_kind {
    F_TEXT,    /* const char *, valid UTF-8, lo..hi bytes */
    F_HEX,     /* const char *, lower-case hex digits */
    F_NAME,    /* const char *, [a-z0-9_]+ */
    F_HASHBUF, /* char[33], "" or 32 hex */
    F_REAL,    /* double, NAN unset, lo <= x */
    F_INT,     /* int64_t, below lo unset */
    F_INT32,   /* int */
    F_STEP,    /* int64_t, -1 stored as such */
    F_SEED,    /* uint64_t; a decimal string in JSON, signed bits in SQL */
    F_ATTEMPT, /* uint8_t[16]; hex in JSON */
    F_PHASE,   /* enum db_phase by name */
    F_BOOL,    /* bool */
    F_SAMPLES, /* const double * with sample_n */
    F_UNIT,    /* derived from objective; JSON only */
};
enum db_field_home { H_RECORD, H_KEY, H_ENV };
struct db_field {
    const char *name; /* in JSON and as column */
    enum db_field_kind kind;
    enum db_field_home home;
    size_t at; /* offset in struct db_row */
    int64_t lo, hi;
    bool optional; /* left out of the JSON when unset */
};
extern const struct db_field DB_FIELDS[];
extern const size_t DB_FIELD_N;
bool db_field_unset(const struct db_field *f, const struct db_row *r);
/* RC_INPUT "db.row" (malformed) or "db.unchecked" (the numeric gate). */
enum rc db_key_check(const struct db_key *k, struct err *e);
enum rc db_row_check(const struct db_row *r, struct err *e);
/* Columns of a row for "SELECT ..." with aliases r (record), k (task_key), e (env). */
void db_select(struct buf *b);
enum rc db_row_read(struct db *d, sqlite3_stmt *s, struct arena *a, bool samples, struct db_row *r,
                    struct err *e);
/* "INSERT INTO record ..."; and its parameters. */
void db_insert_sql(struct buf *b);
void db_row_bind(sqlite3_stmt *s, const struct db_row *r, const char *env_id);
const char *db_phase_name(enum db_phase p);
int db_phase_of(const char *name); /* -1 unknown */
const char *db_origin_name(enum db_origin o);

/* text.c */
bool utf8_valid(const char *s, size_t n);
char *utf8_clean(struct arena *a, const char *s, size_t max); /* NULL: "" */
void hex_of(char *out, const uint8_t *p, size_t n);
bool hex_is(const char *s, size_t lo, size_t hi);
bool hex_to(uint8_t *out, size_t n, const char *s);

/* json.c */
void db_row_id(char id[HASH_ID_LEN + 1], const struct db_row *r);
/* One line to a row (strings in the arena). RC_INPUT "db.row" with what is wrong; id_claimed: the
 * line's. */
enum rc db_row_parse(const char *line, size_t n, struct arena *a, struct db_row *r,
                     char id_claimed[HASH_ID_LEN + 1], struct err *e);

/* put.c */
enum db_insert { DB_INSERTED, DB_ALREADY, DB_CONFLICT };
/* Inside a transaction; run NULL: the row is attached to no run of this file. */
enum rc db_insert_row(struct db *d, const struct db_row *r, const char *run, int64_t epoch,
                      enum db_insert *how, struct err *e);
enum rc db_insert_key(struct db *d, const struct db_key *k, const char *id, struct err *e);
enum rc db_run_fence(struct db *d, const char *run, int64_t epoch, struct err *e);

/* query.c: reads all rows of a prepared statement and finalizes it. */
enum rc db_read_all(struct db *d, sqlite3_stmt *s, struct arena *a, bool samples,
                    struct db_rows *rows, struct err *e);

/* claim.c */
void db_claims_renew(struct db *d, int64_t now_ms); /* inside a transaction */
void db_claims_drop(struct db *d);

#endif
