/* claim: which living process tunes which key, so that a second `quern tune` takes its next task.
 *
 *   claim row (pid 4711, started 123456, boot b1...) -> pid 4711 exists and started then: alive
 *
 * Advisory only: the epoch of a run is what keeps two processes from adding rows to one run.
 *
 * Invariants: a claim is never taken from a living, unexpired process of this machine; a claim left
 * by a killed process or an earlier boot never blocks anyone. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "db/db_int.h"

struct holder {
    uint8_t token[16];
    int64_t pid, started, pid_ns, since_ms, expires_ms;
    char boot[64], who[64];
};

/* Clock ticks from boot to the start of a process; -1: no such process, or only its zombie. */
static int64_t process_start(int64_t pid)
{
    char path[64], *text, state = 0;
    long long start = -1;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (fs_read(path, 4096, &text, NULL, NULL) != RC_OK) return -1;
    /* The name in parentheses may hold anything; the rest begins after the last one. */
    const char *p = strrchr(text, ')');
    if (!p ||
        sscanf(p,
               ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld",
               &state, &start) != 2 ||
        state == 'Z' || state == 'X')
        start = -1;
    mem_free(text);
    return start;
}

static void describe_self(const struct db *d, struct holder *h)
{
    struct stat st;
    char *text;
    *h = (struct holder){.pid = getpid()};
    memcpy(h->token, d->token, sizeof h->token);
    h->started = process_start(h->pid);
    h->pid_ns = stat("/proc/self/ns/pid", &st) == 0 ? (int64_t)st.st_ino : 0;
    if (fs_read("/proc/sys/kernel/random/boot_id", 64, &text, NULL, NULL) == RC_OK) {
        snprintf(h->boot, sizeof h->boot, "%.*s", (int)strcspn(text, "\n"), text);
        mem_free(text);
    }
    snprintf(h->who, sizeof h->who, "%.60s", d->who);
}

static bool is_alive(const struct holder *h, const struct holder *me, int64_t now_ms)
{
    if (strcmp(h->boot, me->boot) != 0 || h->expires_ms <= now_ms) return false;
    if (h->pid_ns != me->pid_ns) return true; /* cannot look: only its time runs out */
    return process_start(h->pid) == h->started;
}

static enum rc get_claim(struct db *d, const char *key, struct holder *h, bool *found,
                         struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_CLAIM_GET, e);
    if (!s) return e->rc;
    db_bind_text(s, 1, key);
    int rc = sqlite3_step(s);
    *found = rc == SQLITE_ROW;
    *h = (struct holder){0};
    if (*found) {
        const void *token = sqlite3_column_blob(s, 0);
        if (token && sqlite3_column_bytes(s, 0) == 16) memcpy(h->token, token, 16);
        h->pid = sqlite3_column_int64(s, 1);
        h->started = sqlite3_column_int64(s, 2);
        snprintf(h->boot, sizeof h->boot, "%s", (const char *)sqlite3_column_text(s, 3));
        h->pid_ns = sqlite3_column_int64(s, 4);
        snprintf(h->who, sizeof h->who, "%s", (const char *)sqlite3_column_text(s, 5));
        h->since_ms = sqlite3_column_int64(s, 6);
        h->expires_ms = sqlite3_column_int64(s, 7);
    }
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RC_OK : db_fail_sql(d, e, rc, "read");
}

static enum rc put_claim(struct db *d, const char *key, const struct holder *h, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_CLAIM_PUT, e);
    if (!s) return e->rc;
    db_bind_text(s, 1, key);
    sqlite3_bind_blob(s, 2, h->token, 16, SQLITE_STATIC);
    sqlite3_bind_int64(s, 3, h->pid);
    sqlite3_bind_int64(s, 4, h->started);
    db_bind_text(s, 5, h->boot);
    sqlite3_bind_int64(s, 6, h->pid_ns);
    db_bind_text(s, 7, h->who);
    sqlite3_bind_int64(s, 8, h->since_ms);
    sqlite3_bind_int64(s, 9, h->expires_ms);
    return db_step_done(d, s, "save a claim to", e);
}

static void tell(struct db_claim *c, const struct holder *h)
{
    c->pid = h->pid;
    c->since_ms = h->since_ms;
    c->expires_ms = h->expires_ms;
    snprintf(c->who, sizeof c->who, "%s", h->who);
}

static enum rc claim_in_txn(struct db *d, const struct db_key *k, const char *key, int64_t ttl_ms,
                            struct db_claim *c, struct err *e)
{
    struct holder h, me;
    bool found;
    int64_t now = db_now_ms();
    enum rc rc = db_insert_key(d, k, key, e);
    if (rc == RC_OK) rc = get_claim(d, key, &h, &found, e);
    if (rc) return rc;
    describe_self(d, &me);
    bool ours = found && memcmp(h.token, me.token, sizeof me.token) == 0;
    if (found && !ours && is_alive(&h, &me, now)) {
        tell(c, &h);
        return RC_OK;
    }
    me.since_ms = ours ? h.since_ms : now;
    me.expires_ms = now + ttl_ms;
    c->mine = true;
    c->taken_over = found && !ours;
    tell(c, &me);
    return put_claim(d, key, &me, e);
}

static struct db_claimed *claimed(struct db *d, const char *key)
{
    for (size_t i = 0; i < d->claims.n; i++)
        if (strcmp(d->claims.p[i].key, key) == 0) return &d->claims.p[i];
    return NULL;
}

enum rc db_claim(struct db *d, const struct db_key *k, int64_t ttl_ms, struct db_claim *c,
                 struct err *e)
{
    struct err local;
    if (!e) e = &local;
    *c = (struct db_claim){0};
    if (ttl_ms <= 0) ttl_ms = DB_CLAIM_TTL_MS;
    struct db_claimed mine = {.ttl_ms = ttl_ms, .renewed_ms = db_now_ms()};
    enum rc rc = db_key_check(k, e);
    if (rc == RC_OK) rc = db_txn_begin(d, e);
    if (rc) return rc;
    db_key_id(mine.key, k);
    rc = db_txn_end(d, claim_in_txn(d, k, mine.key, ttl_ms, c, e), e);
    if (rc) {
        c->mine = false;
        return rc;
    }
    struct db_claimed *old = claimed(d, mine.key);
    if (c->mine && old)
        *old = mine;
    else if (c->mine)
        vec_push(&d->claims, mine);
    return RC_OK;
}

static enum rc drop(struct db *d, const char *key, struct err *e)
{
    sqlite3_stmt *s = db_stmt(d, DB_S_CLAIM_DROP, e);
    if (!s) return e->rc;
    db_bind_text(s, 1, key);
    sqlite3_bind_blob(s, 2, d->token, sizeof d->token, SQLITE_STATIC);
    return db_step_done(d, s, "release a claim in", e);
}

enum rc db_release(struct db *d, const struct db_key *k, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    char key[HASH_ID_LEN + 1];
    db_key_id(key, k);
    struct db_claimed *c = claimed(d, key);
    if (!c) return RC_OK;
    enum rc rc = db_txn_begin(d, e);
    if (rc) return rc;
    rc = db_txn_end(d, drop(d, key, e), e);
    if (rc == RC_OK) *c = d->claims.p[--d->claims.n];
    return rc;
}

/* A claim that cannot be renewed is no reason to lose rows: it only expires earlier. */
void db_claims_renew(struct db *d, int64_t now_ms)
{
    for (size_t i = 0; i < d->claims.n; i++) {
        struct db_claimed *c = &d->claims.p[i];
        if (now_ms - c->renewed_ms < c->ttl_ms / 4) continue;
        sqlite3_stmt *s = db_stmt(d, DB_S_CLAIM_RENEW, NULL);
        if (!s) return;
        db_bind_text(s, 1, c->key);
        sqlite3_bind_blob(s, 2, d->token, sizeof d->token, SQLITE_STATIC);
        sqlite3_bind_int64(s, 3, now_ms + c->ttl_ms);
        if (db_step_done(d, s, "renew a claim in", NULL) == RC_OK) c->renewed_ms = now_ms;
    }
}

void db_claims_drop(struct db *d)
{
    struct err e;
    if (d->claims.n == 0 || db_txn_begin(d, &e) != RC_OK) return;
    enum rc rc = RC_OK;
    for (size_t i = 0; i < d->claims.n && rc == RC_OK; i++) rc = drop(d, d->claims.p[i].key, &e);
    if (db_txn_end(d, rc, &e) == RC_OK) d->claims.n = 0;
}
