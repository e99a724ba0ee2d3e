/* put: rows into the group, the group into one transaction.
 *
 *   db_put x 3, db_run_cursor, db_commit  ->  lock, BEGIN, 3 rows + cursor, COMMIT (synced), unlock
 *
 * Invariants: `acked` rises only after COMMIT succeeded; a group is stored whole or not at all;
 * putting the same attempt again (after a commit whose answer was lost) stores nothing and
 * succeeds; a row of a run is stored only while the run is open in the epoch it was put in. */
#include <float.h>
#include <string.h>
#include <sys/random.h>

#include "base/proc.h"
#include "db/db_int.h"

enum { PEND_MAX = 16 * DB_GROUP_ROWS };

void db_key_id(char id[HASH_ID_LEN + 1], const struct db_key *k)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    /* The device class may have lines of its own, so it comes last. */
    buf_printf(&b, "quern key 1\n%s\n%s\n%s\n%d\n%s\n%s\n%s", k->op_hash ? k->op_hash : "",
               k->task ? k->task : "", k->target_hash ? k->target_hash : "", k->threads,
               k->cache_mode ? k->cache_mode : "", k->objective ? k->objective : "",
               k->device_class ? k->device_class : "");
    hash_id(id, b.p, b.n);
    buf_fini(&b);
}

static const char *keep(struct arena *a, const char *s) { return arena_strdup(a, s ? s : ""); }

static void copy_row(struct db *d, struct db_row *to, const struct db_row *from,
                     const struct db_run *run)
{
    struct arena *a = d->pend_arena;
    const struct db_key *k = run ? &run->k : &from->k;
    *to = *from;
    to->k = (struct db_key){.task = keep(a, k->task),
                            .op_hash = keep(a, k->op_hash),
                            .target = keep(a, k->target),
                            .target_hash = keep(a, k->target_hash),
                            .device_class = keep(a, k->device_class),
                            .threads = k->threads,
                            .cache_mode = keep(a, k->cache_mode),
                            .objective = keep(a, k->objective)};
    to->trace = keep(a, from->trace);
    to->blob_hash = keep(a, from->blob_hash);
    to->verdict = keep(a, from->verdict);
    to->error = utf8_clean(a, from->error, DB_MAX_ERROR);
    to->roof = keep(a, from->roof);
    to->device = keep(a, from->device);
    to->who = keep(a, from->who ? from->who : d->who);
    to->generator = keep(a, from->generator ? from->generator : d->generator);
    to->toolchain = keep(a, from->toolchain ? from->toolchain : d->toolchain);
    to->env = keep(a, from->env ? from->env : d->env);
    double *samples = ARENA_ARRAY(a, double, from->sample_n);
    if (from->sample_n) memcpy(samples, from->samples, from->sample_n * sizeof *samples);
    to->samples = samples;
    /* A NaN in the output is reported as an infinite error; JSON has no word for it. */
    if (isinf(to->max_err)) to->max_err = DBL_MAX;
    to->origin = DB_LOCAL;
    snprintf(to->run, sizeof to->run, "%s", run ? run->id : "");
    if (!run) to->step = -1;
}

static enum rc complete_row(struct db *d, struct db_row *r, struct err *e)
{
    static const uint8_t none[DB_ATTEMPT_LEN];
    if (memcmp(r->attempt, none, sizeof none) == 0 &&
        getrandom(r->attempt, sizeof r->attempt, 0) != (ssize_t)sizeof r->attempt)
        return db_fail(e, DB_E_WRITE, "no random bytes for an attempt");
    if (r->when_ms <= 0) r->when_ms = db_now_ms();
    enum rc rc = db_row_check(r, e);
    if (rc) return rc;
    hash_id(r->trace_hash, r->trace, strlen(r->trace));
    db_key_id(r->key, &r->k);
    db_row_id(r->id, r);
    return RC_OK;
}

/* One counted row a step: the last mistake of a search that would otherwise poison its own
 * group. */
static enum rc check_step(struct db *d, const struct db_run *run, const struct db_row *r,
                          struct err *e)
{
    if (!run) return RC_OK;
    if (r->step < 0) return db_fail(e, DB_E_ROW, "a row of a run needs its step");
    if (run->state == DB_RUN_FINISHED) return db_fail(e, DB_E_ROW, "run %.8s is finished", run->id);
    if (r->world) return RC_OK;
    bool taken = false;
    for (size_t i = 0; i < d->pend.n && !taken; i++) {
        const struct db_pend_row *p = &d->pend.p[i];
        taken = p->in_run && p->r.step == r->step && !p->r.world && strcmp(p->r.run, run->id) == 0;
    }
    if (!taken) {
        sqlite3_stmt *s = db_stmt(d, DB_S_STEP_TAKEN, e);
        if (!s) return e->rc;
        db_bind_text(s, 1, run->id);
        sqlite3_bind_int64(s, 2, r->step);
        int rc = sqlite3_step(s);
        sqlite3_reset(s);
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) return db_fail_sql(d, e, rc, "read");
        taken = rc == SQLITE_ROW;
    }
    return taken ? db_fail(e, DB_E_ROW, "step %lld of run %.8s is already recorded",
                           (long long)r->step, run->id)
                 : RC_OK;
}

enum rc db_put(struct db *d, const struct db_run *run, struct db_row *r, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    enum rc rc = db_alive(d, e);
    if (rc == RC_OK && d->pend.n >= PEND_MAX) rc = db_commit(d, e);
    if (rc) return rc;
    struct db_pend_row p = {.in_run = run != NULL, .epoch = run ? run->epoch : 0};
    copy_row(d, &p.r, r, run);
    rc = complete_row(d, &p.r, e);
    if (rc == RC_OK) rc = check_step(d, run, &p.r, e);
    if (rc) {
        if (d->pend.n == 0) arena_reset(d->pend_arena);
        return rc;
    }
    if (d->pend.n == 0) d->pend_since = clock_ns();
    vec_push(&d->pend, p);
    memcpy(r->id, p.r.id, sizeof r->id);
    memcpy(r->key, p.r.key, sizeof r->key);
    memcpy(r->trace_hash, p.r.trace_hash, sizeof r->trace_hash);
    memcpy(r->run, p.r.run, sizeof r->run);
    memcpy(r->attempt, p.r.attempt, sizeof r->attempt);
    r->when_ms = p.r.when_ms;
    return d->pend.n >= DB_GROUP_ROWS ? db_commit(d, e) : db_tick(d, e);
}

enum rc db_tick(struct db *d, struct err *e)
{
    if (d->pend.n == 0 || clock_ns() - d->pend_since < (int64_t)DB_GROUP_MS * 1000000) return RC_OK;
    return db_commit(d, e);
}

void db_run_cursor(struct db *d, const struct db_run *run, const void *state, size_t n)
{
    QN_CHECK(n <= DB_MAX_TEXT, "a cursor of %zu bytes", n);
    struct db_pend_cursor *c = NULL;
    for (size_t i = 0; i < d->cursors.n; i++)
        if (strcmp(d->cursors.p[i].run, run->id) == 0) c = &d->cursors.p[i];
    if (!c) {
        struct db_pend_cursor fresh = {0};
        vec_push(&d->cursors, fresh);
        c = &d->cursors.p[d->cursors.n - 1];
        memcpy(c->run, run->id, sizeof c->run);
    }
    mem_free(c->state);
    c->state = mem_new(n);
    if (n) memcpy(c->state, state, n);
    c->n = n;
    c->epoch = run->epoch;
}

void db_discard(struct db *d)
{
    for (size_t i = 0; i < d->cursors.n; i++) mem_free(d->cursors.p[i].state);
    d->cursors.n = 0;
    d->pend.n = 0;
    arena_reset(d->pend_arena);
}

uint64_t db_acked(const struct db *d) { return d->acked; }
uint64_t db_pending(const struct db *d) { return d->pend.n; }

/* ---- the transaction ---- */

enum rc db_insert_key(struct db *d, const struct db_key *k, const char *id, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_KEY_PUT, e);
    if (!s) return e->rc;
    const char *colon = strchr(k->task, ':');
    db_bind_text(s, 1, id);
    db_bind_text(s, 2, k->task);
    sqlite3_bind_text(s, 3, k->task, colon ? (int)(colon - k->task) : -1, SQLITE_TRANSIENT);
    db_bind_text(s, 4, k->op_hash);
    db_bind_text(s, 5, k->target);
    db_bind_text(s, 6, k->target_hash);
    db_bind_text(s, 7, k->device_class);
    sqlite3_bind_int(s, 8, k->threads);
    db_bind_text(s, 9, k->cache_mode);
    db_bind_text(s, 10, k->objective);
    db_bind_text(s, 11, db_unit(k->objective));
    return db_step_done(d, s, "save a key to", e);
}

static enum rc find_attempt(struct db *d, const struct db_row *r, enum db_insert *how,
                            struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_ATTEMPT_RECORD, e);
    if (!s) return e->rc;
    sqlite3_bind_blob(s, 1, r->attempt, DB_ATTEMPT_LEN, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    *how = DB_INSERTED;
    if (rc == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(s, 0);
        *how = id && strcmp(id, r->id) == 0 ? DB_ALREADY : DB_CONFLICT;
    }
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RC_OK : db_fail_sql(d, e, rc, "read");
}

static enum rc put_attempt(struct db *d, const struct db_row *r, const char *run, int64_t epoch,
                           struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_ATTEMPT_PUT, e);
    if (!s) return e->rc;
    sqlite3_bind_blob(s, 1, r->attempt, DB_ATTEMPT_LEN, SQLITE_STATIC);
    if (run) db_bind_text(s, 2, run);
    sqlite3_bind_int64(s, 3, epoch);
    sqlite3_bind_int64(s, 4, i64_max(-1, r->step));
    sqlite3_bind_int(s, 5, !r->world);
    return db_step_done(d, s, "save an attempt to", e);
}

static enum rc put_env(struct db *d, const struct db_row *r, char id[HASH_ID_LEN + 1],
                       struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_ENV_PUT, e);
    if (!s) return e->rc;
    const char *env = r->env ? r->env : "";
    hash_id(id, env, strlen(env));
    db_bind_text(s, 1, id);
    db_bind_text(s, 2, env);
    return db_step_done(d, s, "save an environment to", e);
}

enum rc db_insert_row(struct db *d, const struct db_row *r, const char *run, int64_t epoch,
                      enum db_insert *how, struct err *e)
{
    char env[HASH_ID_LEN + 1];
    enum rc rc = find_attempt(d, r, how, e);
    if (rc || *how != DB_INSERTED) return rc;
    rc = db_insert_key(d, &r->k, r->key, e);
    if (rc == RC_OK) rc = put_env(d, r, env, e);
    if (rc == RC_OK) rc = put_attempt(d, r, run, epoch, e);
    if (rc) return rc;
    if (!d->insert) {
        struct buf b;
        buf_init(&b, 1 << 16);
        db_insert_sql(&b);
        int code = sqlite3_prepare_v3(d->sql, b.p, -1, SQLITE_PREPARE_PERSISTENT, &d->insert, NULL);
        buf_fini(&b);
        if (code != SQLITE_OK) return db_fail_sql(d, e, code, "prepare a statement for");
    }
    sqlite3_clear_bindings(d->insert);
    db_row_bind(d->insert, r, env);
    return db_step_done(d, d->insert, "save a record to", e);
}

enum rc db_run_fence(struct db *d, const char *run, int64_t epoch, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_RUN_GET, e);
    if (!s) return e->rc;
    db_bind_text(s, 1, run);
    int rc = sqlite3_step(s);
    bool open = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "open") == 0;
    int64_t now = rc == SQLITE_ROW ? sqlite3_column_int64(s, 1) : 0;
    sqlite3_reset(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return db_fail_sql(d, e, rc, "read");
    if (open && now == epoch) return RC_OK;
    return db_fail(e, DB_E_STALE_RUN, "run %.8s is %s (epoch %lld, ours %lld)", run,
                   open ? "held by another process" : "finished or gone", (long long)now,
                   (long long)epoch);
}

static enum rc put_cursor(struct db *d, const struct db_pend_cursor *c, struct err *e)
{
    enum rc rc = db_run_fence(d, c->run, c->epoch, e);
    sqlite3_stmt *s = rc == RC_OK ? db_stmt(d, DB_S_RUN_CURSOR, e) : NULL;
    if (!s) return e->rc;
    db_bind_text(s, 1, c->run);
    sqlite3_bind_blob(s, 2, c->state, (int)c->n, SQLITE_STATIC);
    return db_step_done(d, s, "save a cursor to", e);
}

static enum rc put_group(struct db *d, struct err *e)
{
    const char *fenced = "";
    enum rc rc = RC_OK;
    for (size_t i = 0; i < d->pend.n && rc == RC_OK; i++) {
        const struct db_pend_row *p = &d->pend.p[i];
        enum db_insert how;
        if (p->in_run && strcmp(p->r.run, fenced) != 0) {
            rc = db_run_fence(d, p->r.run, p->epoch, e);
            fenced = p->r.run;
        }
        if (rc == RC_OK)
            rc = db_insert_row(d, &p->r, p->in_run ? p->r.run : NULL, p->epoch, &how, e);
        if (rc == RC_OK && how == DB_CONFLICT)
            rc = db_fail(e, DB_E_ROW,
                         "an attempt of record %.8s was already counted with another result",
                         p->r.id);
    }
    for (size_t i = 0; i < d->cursors.n && rc == RC_OK; i++)
        rc = put_cursor(d, &d->cursors.p[i], e);
    if (rc == RC_OK) db_claims_renew(d, db_now_ms());
    return rc;
}

enum rc db_commit(struct db *d, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    if (d->pend.n == 0 && d->cursors.n == 0) return RC_OK;
    enum rc rc = db_txn_begin(d, e);
    if (rc) return rc;
    rc = db_txn_end(d, put_group(d, e), e);
    if (rc) return rc;
    d->acked += d->pend.n;
    db_discard(d);
    return RC_OK;
}
