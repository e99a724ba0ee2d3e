/* db: the log. Every candidate that was ever tried is a row in one SQLite file; what is reported as
 * saved is on disk, survives kill -9, power loss and a full disk, and nothing counts twice.
 *
 *   struct db *d;  struct db_run run;  struct arena *a = arena_new();
 *   db_open(&d, NULL, DB_WRITE, &e);                             default path, created if missing
 *   db_run_open(d, &key, seed, options, a, &run, &e);            fresh, resumed (run.rows) or
 *                                                                finished
 *   while (the search, fed with run.rows first, proposes a batch) {
 *       for each result: db_put(d, &run, &row, &e);              buffered; row.id is set
 *       db_run_cursor(d, &run, state, sizeof state);             optional, same transaction
 *       db_commit(d, &e);                                        RC_OK: these rows are on disk
 *   }
 *   db_run_finish(d, &run, champion_id, "converged", &e);
 *   db_close(d);
 *
 * Words. A *key* says what was tuned where (struct db_key); its id is the hash of its canonical
 * text. A *record* (struct db_row) is one attempt at one candidate, immutable; its id is the hash
 * of its canonical JSON, the same after export and import. An *attempt* is 16 random bytes made
 * when the measurement is put: counted once, ever. A *run* is one search: (key, seed, options
 * text). A *step* is the n-th result that a run's search consumed; a screening, a race entry and a
 * confirmation are a step each, so feeding the rows in step order replays the search without a
 * device.
 *
 * Resuming. db_run_open of an unfinished run gives all its counted rows in step order (steps may
 * have a hole at the very end only if the caller put them out of order within its last batch) and
 * raises the run's epoch: a process that still holds the older epoch can no longer put rows
 * ("db.stale_run").
 *
 * Group commit. db_put copies the row into memory; the group is written in one transaction at 64
 * rows, at the first db_put or db_tick 5 ms after its first row, or by db_commit. Only db_acked()
 * rows are saved. After "db.full" or "db.locked" the group is kept and the next db_commit tries
 * again; after "db.io" or "db.corrupt" the handle is dead (fail-stop, no retry of a failed sync):
 * open it anew.
 *
 * Locks (side file PATH.lock, OFD locks, close-on-exec): byte 0 `write`, exclusive around every
 * write transaction, checkpoint and close; byte 1 `use`, shared for a CLI that writes, exclusive
 * for a daemon. Readers open read-only, never lock, never checkpoint; in an unwritable folder they
 * read a private copy of the file and its WAL. One handle belongs to one thread; open as many as
 * needed.
 *
 * Invariants: no pointer of a returned row dies before the arena it was asked with; NULL strings
 * read as "" and never as NULL; a number that was not measured is NAN (reals) or -1 (out_crc,
 * times). */
#ifndef QN_DB_H
#define QN_DB_H

#include <math.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

enum { DB_SCHEMA_VERSION = 1, DB_ATTEMPT_LEN = 16, DB_GROUP_ROWS = 64, DB_GROUP_MS = 5 };

/* Longest texts that are stored; longer ones are refused ("db.row"), only errors are cut. */
enum {
    DB_MAX_TASK = 4096,
    DB_MAX_TRACE = 256 * 1024,
    DB_MAX_ERROR = 4096,
    DB_MAX_TEXT = 16 * 1024, /* device class, options, env, cursor */
    DB_MAX_SAMPLES = 65536,
    DB_MAX_LINE = 4 << 20, /* of JSONL */
};

struct db;

/* ---- open and close ---- */

enum db_mode { DB_READ, DB_WRITE, DB_DAEMON };

/* path NULL: $QUERN_DB, else $XDG_DATA_HOME/quern/quern.db, else ~/.local/share/quern/quern.db.
 * DB_WRITE and DB_DAEMON create file and folder and run pending migrations (with a backup beside
 * the file). */
enum rc db_open(struct db **out, const char *path, enum db_mode mode, struct err *e);
enum rc db_path(char *out, size_t n, const char *path, struct err *e); /* the rule above */
const char *db_name(const struct db *d);                               /* path as opened */
/* Commits what is pending, releases claims and locks, frees. RC_STORE if the last commit failed. */
enum rc db_close(struct db *d, struct err *e); /* NULL d allowed */

/* ---- keys and rows ---- */

struct db_key {
    const char *task;         /* canonical token, "matmul:K=64,M=64,N=64" */
    const char *op_hash;      /* 32 hex: hash_id of the op's semantic text */
    const char *target;       /* name, for people; not hashed */
    const char *target_hash;  /* 32 hex: hash_id of the resolved target text */
    const char *device_class; /* CPU part and stepping, ISA flags, cache sizes */
    int threads;              /* >= 1 */
    const char *cache_mode;   /* "hot" or "cold" */
    const char *objective; /* "time" (ns), "instructions" (count), "energy" (nJ), "size" (bytes) */
};

/* id = hash of the canonical text of all fields but `target`. */
void db_key_id(char id[HASH_ID_LEN + 1], const struct db_key *k);
const char *db_unit(const char *objective); /* "ns" ...; NULL if unknown */

/* How the numbers were taken. Only race and confirm may crown. */
enum db_phase { DB_BUILD, DB_SCREEN, DB_RACE, DB_CONFIRM };
enum db_origin { DB_LOCAL, DB_IMPORT, DB_SEED };

/* On put, `id`, `key`, `trace_hash`, `when_ms` and `attempt` are filled in when they are zero; `k`
 * is the run's (fill it only when putting without a run); NULL who/generator/toolchain/env mean the
 * session's. Reals may be NAN. */
struct db_row {
    char id[HASH_ID_LEN + 1], key[HASH_ID_LEN + 1];
    uint8_t attempt[DB_ATTEMPT_LEN];
    struct db_key k;

    const char *trace;                /* the schedule, whole */
    char trace_hash[HASH_ID_LEN + 1]; /* hash_id(trace) */
    const char *blob_hash;            /* hex, "" when nothing was built */

    char run[HASH_ID_LEN + 1]; /* "" without a run */
    int64_t step;              /* place in the run, >= 0; -1 without a run */
    enum db_phase phase;
    uint64_t seed; /* of the data the candidate was checked and timed with */

    const char *verdict; /* a wire verdict name: "ok", "wrong_result", ... */
    bool world;          /* the verdict is about the world (retry it), not about the candidate */
    int tier;            /* verification tier passed, 0..3 */
    const char *error;   /* foreign text, any bytes: stored as valid UTF-8, cut at DB_MAX_ERROR */

    const double *samples; /* raw, in units of the objective */
    size_t sample_n;
    double median, ci_lo, ci_hi;
    double gflops, executed_gflops, roofline_pct;
    const char *roof;                    /* name of the binding roof, "" */
    double max_err, bound;               /* numeric check: worst error and its bound */
    int64_t out_crc;                     /* crc32c of the checked output, -1: none */
    int64_t build_ns, verify_ns, run_ns; /* what it cost; -1: not done */

    enum db_origin origin;
    int64_t when_ms;    /* UTC, ms since 1970 */
    const char *device; /* name of the device it ran on, "": this machine */
    const char *who, *generator, *toolchain;
    const char *env; /* "key=value" lines: clock, governor, load, kernel, sandbox layers */
};

struct db_rows {
    struct db_row *p;
    size_t n;
};

/* All numbers NAN or -1, step -1, phase DB_BUILD; strings NULL. Start every put from this. */
void db_row_init(struct db_row *r);

/* Defaults for rows put through this handle (copied); NULL fields keep what was set before. */
struct db_session {
    const char *who, *generator, *toolchain, *env;
};
void db_session(struct db *d, const struct db_session *s);

/* ---- runs ---- */

enum db_run_state { DB_RUN_FRESH, DB_RUN_RESUMED, DB_RUN_FINISHED };

struct db_run {
    char id[HASH_ID_LEN + 1], key[HASH_ID_LEN + 1];
    enum db_run_state state;
    uint64_t seed;
    int64_t epoch;       /* how often this run was opened */
    struct db_row *rows; /* counted rows in step order (also of a finished run) */
    size_t row_n;
    const void *cursor; /* what db_run_cursor stored last, "" if nothing */
    size_t cursor_n;
    char champion[HASH_ID_LEN + 1]; /* finished: the winning record, "" if none */
    const char *why;                /* finished: reason text */
    int64_t started_ms, finished_ms;
    struct db_key k; /* copy of the key it was opened with (in the arena) */
};

/* The same key, seed and options text name the same run, on any day. */
enum rc db_run_open(struct db *d, const struct db_key *k, uint64_t seed, const char *options,
                    struct arena *a, struct db_run *run, struct err *e);
/* The search's own state (cursor, RNG), <= DB_MAX_TEXT bytes; stored by the next commit, in the
 * transaction that stores the rows put so far. */
void db_run_cursor(struct db *d, const struct db_run *run, const void *state, size_t n);
/* Commits, then closes the run. champion NULL: none. */
enum rc db_run_finish(struct db *d, struct db_run *run, const char *champion, const char *why,
                      struct err *e);

/* ---- putting ---- */

/* RC_INPUT "db.row" if the row is malformed (nothing buffered). May commit the group (see above),
 * and then fails as db_commit does; the row itself is buffered in that case. run NULL: r->k is the
 * key. */
enum rc db_put(struct db *d, const struct db_run *run, struct db_row *r, struct err *e);
enum rc db_tick(struct db *d, struct err *e);   /* commits a group older than DB_GROUP_MS */
enum rc db_commit(struct db *d, struct err *e); /* RC_OK: every row put so far is on disk */
/* Forgets what is pending (rows and cursors): a run that another process took over, say. */
void db_discard(struct db *d);
uint64_t db_acked(const struct db *d);   /* rows of this handle on disk, in put order */
uint64_t db_pending(const struct db *d); /* rows put and not yet on disk */

/* ---- claims: who is tuning what; advisory ---- */

struct db_claim {
    bool mine;       /* false: another living process holds it, described below */
    bool taken_over; /* mine, and a dead or expired claim was in the way */
    int64_t pid;
    char who[64];
    int64_t since_ms, expires_ms;
};

/* Claims of dead processes (same boot, pid gone or reused; another boot; expired) are taken over.
 * Our own claims are renewed by every commit and by claiming again, and released by db_close. */
enum rc db_claim(struct db *d, const struct db_key *k, int64_t ttl_ms, struct db_claim *c,
                 struct err *e);
enum rc db_release(struct db *d, const struct db_key *k, struct err *e);

/* ---- asking; all work on every kind of handle, and see committed rows only ---- */

/* Fastest row for this key that was verified and timed here: origin local, verdict ok, tier 3,
 * phase race or confirm. *found false: none. */
enum rc db_best(struct db *d, const char *key, struct arena *a, struct db_row *r, bool *found,
                struct err *e);
/* Same with a lower bar, for progress lines and resumed runs; still local and ok only. */
enum rc db_best_at(struct db *d, const char *key, int min_tier, enum db_phase min_phase,
                   struct arena *a, struct db_row *r, bool *found, struct err *e);
/* Seeds: for each key of the op (name before ':'), its `per_key` fastest distinct traces that were
 * ok anywhere (any origin, any target), fastest first. Distances between tasks are the caller's. */
enum rc db_seeds(struct db *d, const char *op, int per_key, struct arena *a, struct db_rows *rows,
                 struct err *e);

/* NULL or 0 fields do not filter. */
struct db_filter {
    const char *key, *task, *op, *target, *run, *verdict, *trace_hash, *blob_hash;
    const char *objective;
    int threads;
    int min_tier;
    bool local_only; /* origin = local */
    bool best_only;  /* one row a key: what db_best answers */
    bool by_time;    /* fastest first; default: oldest first (when, then id) */
    bool no_samples; /* leave samples out: lighter */
    int64_t limit;   /* 0: all */
};
enum rc db_query(struct db *d, const struct db_filter *f, struct arena *a, struct db_rows *rows,
                 struct err *e);
/* By id or an unambiguous prefix of >= 4 digits; RC_INPUT "db.id" otherwise. */
enum rc db_get(struct db *d, const char *id, struct arena *a, struct db_row *r, struct err *e);
/* One record in full, for people: everything stored and the command that reproduces it. */
enum rc db_why(struct db *d, const char *id, struct buf *out, struct err *e);

/* ---- sharing: one canonical JSON object a line, sorted by task, key, id ---- */

/* {"attempt":...,"id":...,"task":...,"v":1,...}; the same bytes for the same record, anywhere. */
void db_row_json(const struct db_row *r, struct buf *out);
enum rc db_export(struct db *d, const struct db_filter *f, FILE *out, int64_t *n, struct err *e);

struct db_import {
    enum db_origin origin; /* DB_IMPORT or DB_SEED */
    /* Called for each line not taken, with the reason; may be NULL. */
    void (*rejected)(void *ctx, const char *file, int64_t line, const char *id, const char *reason);
    void *ctx;
    int64_t accepted, already_here, refused; /* out */
};
/* All or nothing: a malformed line is RC_INPUT "db.import" ("file:line: ...") and nothing is taken.
 * Well-formed records that cannot be taken (id does not match its content, attempt already counted,
 * `ok` without its check) are refused one by one with a reason. */
enum rc db_import(struct db *d, const char *file, FILE *in, struct db_import *im, struct err *e);

/* ---- care ---- */

struct db_stats {
    int64_t records, ok, imported, keys, runs, open_runs, file_bytes, wal_bytes;
};
enum rc db_stats(struct db *d, struct db_stats *s, struct err *e);
/* Full integrity and foreign-key check; RC_STORE "db.corrupt" with the first findings. */
enum rc db_check(struct db *d, struct err *e);
/* A whole, checked copy in one new file, fsynced; readers and writers may go on meanwhile. */
enum rc db_backup(struct db *d, const char *to, struct err *e);

#endif
