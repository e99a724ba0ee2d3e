/* query: rows by what is known about them. Values are always bound, never written into SQL.
 *
 *   {.op = "matmul", .min_tier = 2, .by_time = true}
 *     -> SELECT ... WHERE k.op = ?1 AND r.tier >= ?2 ORDER BY r.median IS NULL, r.median, r.id
 *
 * Invariants: one statement a question, so an answer is one snapshot; ties end at the id, so an
 * answer is the same on every machine; only local, verified, raced rows are ever "best". */
#include <string.h>

#include "db/db_int.h"

#define FROM " FROM record r JOIN task_key k ON k.id = r.key JOIN env e ON e.id = r.env"
#define CROWNED \
    "r.origin = 'local' AND r.verdict = 'ok' AND r.tier = 3 AND r.phase IN ('race', 'confirm')"

enum { SQL_MAX = 1 << 16, BINDS_MAX = 16 };

enum rc db_read_all(struct db *d, sqlite3_stmt *s, struct arena *a, bool samples,
                    struct db_rows *rows, struct err *e)
{
    VEC(struct db_row) v = {0};
    enum rc rc = RC_OK;
    int code;
    while (rc == RC_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        struct db_row r;
        rc = db_row_read(d, s, a, samples, &r, e);
        if (rc == RC_OK) vec_push(&v, r);
    }
    if (rc == RC_OK && code != SQLITE_DONE) rc = db_fail_sql(d, e, code, "read");
    sqlite3_finalize(s);
    rows->p = ARENA_ARRAY(a, struct db_row, v.n);
    rows->n = rc == RC_OK ? v.n : 0;
    if (rows->n) memcpy(rows->p, v.p, v.n * sizeof *v.p);
    vec_free(&v);
    return rc;
}

struct binds {
    const char *text[BINDS_MAX];
    int n;
};

static void where_text(struct buf *b, struct binds *v, const char *column, const char *value)
{
    if (!value) return;
    v->text[v->n++] = value;
    buf_printf(b, " AND %s = ?%d", column, v->n);
}

static void where(struct buf *b, struct binds *v, const struct db_filter *f)
{
    buf_puts(b, " WHERE 1");
    where_text(b, v, "r.key", f->key);
    where_text(b, v, "k.task", f->task);
    where_text(b, v, "k.op", f->op);
    where_text(b, v, "k.target", f->target);
    where_text(b, v, "k.objective", f->objective);
    where_text(b, v, "r.run", f->run);
    where_text(b, v, "r.verdict", f->verdict);
    where_text(b, v, "r.trace_hash", f->trace_hash);
    where_text(b, v, "r.blob_hash", f->blob_hash);
    if (f->threads > 0) buf_printf(b, " AND k.threads = %d", f->threads);
    if (f->min_tier > 0) buf_printf(b, " AND r.tier >= %d", f->min_tier);
    if (f->local_only) buf_puts(b, " AND r.origin = 'local'");
    if (f->best_only)
        buf_puts(b, " AND r.id IN (SELECT id FROM (SELECT r.id, row_number() OVER (PARTITION BY "
                    "r.key ORDER BY r.median, r.id)"
                    " AS place FROM record r WHERE " CROWNED ") WHERE place = 1)");
}

/* order NULL: by the filter. */
static enum rc prepare(struct db *d, const struct db_filter *f, const char *order, sqlite3_stmt **s,
                       struct err *e)
{
    struct buf b;
    struct binds v = {.n = 0};
    buf_init(&b, SQL_MAX);
    buf_puts(&b, "SELECT ");
    db_select(&b);
    buf_puts(&b, FROM);
    where(&b, &v, f);
    if (!order) order = f->by_time ? "r.median IS NULL, r.median, r.id" : "r.when_ms, r.id";
    buf_printf(&b, " ORDER BY %s", order);
    if (f->limit > 0) buf_printf(&b, " LIMIT %lld", (long long)f->limit);
    int code = sqlite3_prepare_v2(d->sql, b.p, -1, s, NULL);
    buf_fini(&b);
    if (code != SQLITE_OK) return db_fail_sql(d, e, code, "query");
    for (int i = 0; i < v.n; i++) db_bind_text(*s, i + 1, v.text[i]);
    return RC_OK;
}

enum rc db_query(struct db *d, const struct db_filter *f, struct arena *a, struct db_rows *rows,
                 struct err *e)
{
    static const struct db_filter ALL;
    sqlite3_stmt *s;
    *rows = (struct db_rows){0};
    if (!f) f = &ALL;
    enum rc rc = prepare(d, f, NULL, &s, e);
    return rc ? rc : db_read_all(d, s, a, !f->no_samples, rows, e);
}

/* Runs `select_tail` (everything after the columns) with up to two text parameters. */
static enum rc ask(struct db *d, const char *tail, const char *p1, const char *p2, struct arena *a,
                   struct db_rows *rows, struct err *e)
{
    struct buf b;
    sqlite3_stmt *s;
    *rows = (struct db_rows){0};
    buf_init(&b, SQL_MAX);
    buf_puts(&b, "SELECT ");
    db_select(&b);
    buf_puts(&b, tail);
    int code = sqlite3_prepare_v2(d->sql, b.p, -1, &s, NULL);
    buf_fini(&b);
    if (code != SQLITE_OK) return db_fail_sql(d, e, code, "query");
    if (p1) db_bind_text(s, 1, p1);
    if (p2) db_bind_text(s, 2, p2);
    return db_read_all(d, s, a, true, rows, e);
}

enum rc db_best_at(struct db *d, const char *key, int min_tier, enum db_phase min_phase,
                   struct arena *a, struct db_row *r, bool *found, struct err *e)
{
    /* Phases in the order of their weight, so "at least" is a set. */
    static const char *const FROM_PHASE[] = {"('screen', 'race', 'confirm')",
                                             "('screen', 'race', 'confirm')", "('race', 'confirm')",
                                             "('confirm')"};
    char tail[600];
    struct db_rows rows;
    *found = false;
    snprintf(tail, sizeof tail,
             FROM " WHERE r.key = ?1 AND r.origin = 'local' AND r.verdict = 'ok' AND r.tier >= %d "
                  "AND r.phase IN %s"
                  " ORDER BY r.median, r.id LIMIT 1",
             min_tier, FROM_PHASE[min_phase]);
    enum rc rc = ask(d, tail, key, NULL, a, &rows, e);
    if (rc || rows.n == 0) return rc;
    *r = rows.p[0];
    *found = true;
    return RC_OK;
}

enum rc db_best(struct db *d, const char *key, struct arena *a, struct db_row *r, bool *found,
                struct err *e)
{
    return db_best_at(d, key, 3, DB_RACE, a, r, found, e);
}

enum rc db_seeds(struct db *d, const char *op, int per_key, struct arena *a, struct db_rows *rows,
                 struct err *e)
{
    char n[16];
    snprintf(n, sizeof n, "%d", per_key);
    return ask(
        d,
        FROM
        " JOIN (SELECT id, row_number() OVER (PARTITION BY key ORDER BY median, id) AS place FROM"
        " (SELECT r.id, r.key, r.median, row_number() OVER (PARTITION BY r.key, r.trace_hash ORDER "
        "BY r.median, r.id)"
        " AS again FROM record r JOIN task_key k ON k.id = r.key"
        " WHERE k.op = ?1 AND r.verdict = 'ok' AND r.median IS NOT NULL) WHERE again = 1) best"
        " ON best.id = r.id WHERE best.place <= CAST(?2 AS INTEGER) ORDER BY k.task, r.key, "
        "r.median, r.id",
        op, n, a, rows, e);
}

enum rc db_get(struct db *d, const char *id, struct arena *a, struct db_row *r, struct err *e)
{
    struct db_rows rows;
    if (!hex_is(id, 4, HASH_ID_LEN))
        return db_fail(e, DB_E_ID, "'%.40s' is no record id: 4 to 32 hex digits are expected", id);
    enum rc rc = ask(d, FROM " WHERE r.id >= ?1 AND r.id < ?1 || 'g' ORDER BY r.id LIMIT 2", id,
                     NULL, a, &rows, e);
    if (rc) return rc;
    if (rows.n == 0) return db_fail(e, DB_E_ID, "log '%s' has no record '%s'", d->path, id);
    if (rows.n > 1)
        return db_fail(e, DB_E_ID,
                       "'%s' is the start of several records (%s, %s); give more digits", id,
                       rows.p[0].id, rows.p[1].id);
    *r = rows.p[0];
    return RC_OK;
}

enum rc db_export(struct db *d, const struct db_filter *f, FILE *out, int64_t *n, struct err *e)
{
    static const struct db_filter ALL;
    sqlite3_stmt *s;
    enum rc rc = prepare(d, f ? f : &ALL, "k.task, r.key, r.id", &s, e);
    if (rc) return rc;
    struct arena *a = arena_new();
    struct buf line;
    buf_init(&line, 2 * DB_MAX_LINE);
    int code = SQLITE_DONE;
    int64_t count = 0;
    while (rc == RC_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        struct db_row r;
        arena_reset(a);
        buf_reset(&line);
        rc = db_row_read(d, s, a, true, &r, e);
        if (rc) break;
        db_row_json(&r, &line);
        buf_putc(&line, '\n');
        if (fwrite(line.p, 1, line.n, out) != line.n)
            rc = db_fail(e, DB_E_WRITE, "cannot write the export");
        else
            count++;
    }
    if (rc == RC_OK && code != SQLITE_DONE) rc = db_fail_sql(d, e, code, "read");
    if (rc == RC_OK && fflush(out) != 0) rc = db_fail(e, DB_E_WRITE, "cannot write the export");
    sqlite3_finalize(s);
    buf_fini(&line);
    arena_free(a);
    if (n) *n = count;
    return rc;
}
