/* fields: the columns of a record as one table, from which checking, SQL and JSON follow.
 *
 *   {"tier", F_INT32, H_RECORD, at tier, 0, 3}
 *     ->  column r.tier, JSON "tier":2, "tier is 7, not in 0..3"
 *
 * Invariants: sorted by name; whatever db_row_check accepts the schema accepts too. */
#include <float.h>
#include <string.h>

#include "db/db_int.h"

#define R(name) offsetof(struct db_row, name)
#define K(name) offsetof(struct db_row, k.name)
#define ANY     INT64_MAX

const struct db_field DB_FIELDS[] = {
    {"attempt", F_ATTEMPT, H_RECORD, R(attempt), 0, 0, false},
    {"blob_hash", F_HEX, H_RECORD, R(blob_hash), 0, 64, true},
    {"bound", F_REAL, H_RECORD, R(bound), 0, 0, true},
    {"build_ns", F_INT, H_RECORD, R(build_ns), 0, ANY, true},
    {"cache_mode", F_NAME, H_KEY, K(cache_mode), 1, 8, false},
    {"ci_hi", F_REAL, H_RECORD, R(ci_hi), 0, 0, true},
    {"ci_lo", F_REAL, H_RECORD, R(ci_lo), 0, 0, true},
    {"device", F_TEXT, H_RECORD, R(device), 0, 256, true},
    {"device_class", F_TEXT, H_KEY, K(device_class), 0, DB_MAX_TEXT, true},
    {"env", F_TEXT, H_ENV, R(env), 0, DB_MAX_TEXT, true},
    {"error", F_TEXT, H_RECORD, R(error), 0, DB_MAX_ERROR, true},
    {"executed_gflops", F_REAL, H_RECORD, R(executed_gflops), 0, 0, true},
    {"generator", F_TEXT, H_RECORD, R(generator), 0, 256, true},
    {"gflops", F_REAL, H_RECORD, R(gflops), 0, 0, true},
    {"max_err", F_REAL, H_RECORD, R(max_err), 0, 0, true},
    {"median", F_REAL, H_RECORD, R(median), 0, 0, true},
    {"objective", F_NAME, H_KEY, K(objective), 1, 32, false},
    {"op_hash", F_HEX, H_KEY, K(op_hash), 32, 32, false},
    {"out_crc", F_INT, H_RECORD, R(out_crc), 0, UINT32_MAX, true},
    {"phase", F_PHASE, H_RECORD, R(phase), 0, 0, false},
    {"roof", F_TEXT, H_RECORD, R(roof), 0, 64, true},
    {"roofline_pct", F_REAL, H_RECORD, R(roofline_pct), 0, 0, true},
    {"run", F_HASHBUF, H_RECORD, R(run), 0, 0, true},
    {"run_ns", F_INT, H_RECORD, R(run_ns), 0, ANY, true},
    {"samples", F_SAMPLES, H_RECORD, R(samples), 0, DB_MAX_SAMPLES, true},
    {"seed", F_SEED, H_RECORD, R(seed), 0, 0, false},
    {"step", F_STEP, H_RECORD, R(step), 0, ANY, true},
    {"target", F_TEXT, H_KEY, K(target), 1, 256, false},
    {"target_hash", F_HEX, H_KEY, K(target_hash), 32, 32, false},
    {"task", F_TEXT, H_KEY, K(task), 1, DB_MAX_TASK, false},
    {"threads", F_INT32, H_KEY, K(threads), 1, 1 << 20, false},
    {"tier", F_INT32, H_RECORD, R(tier), 0, 3, false},
    {"toolchain", F_TEXT, H_RECORD, R(toolchain), 0, 1024, true},
    {"trace", F_TEXT, H_RECORD, R(trace), 1, DB_MAX_TRACE, false},
    {"unit", F_UNIT, H_KEY, 0, 0, 0, false},
    {"verdict", F_NAME, H_RECORD, R(verdict), 1, 32, false},
    {"verify_ns", F_INT, H_RECORD, R(verify_ns), 0, ANY, true},
    {"when_ms", F_INT, H_RECORD, R(when_ms), 0, ANY, false},
    {"who", F_TEXT, H_RECORD, R(who), 0, 256, true},
    {"world", F_BOOL, H_RECORD, R(world), 0, 0, true},
};
const size_t DB_FIELD_N = QN_COUNT(DB_FIELDS);

static const char *const PHASES[] = {"build", "screen", "race", "confirm"};
static const char *const ORIGINS[] = {"local", "import", "seed"};
static const struct {
    const char *objective, *unit;
} UNITS[] = {{"time", "ns"}, {"instructions", "count"}, {"energy", "nJ"}, {"size", "bytes"}};

static int index_of(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; name && i < n; i++)
        if (strcmp(names[i], name) == 0) return (int)i;
    return -1;
}

const char *db_phase_name(enum db_phase p) { return PHASES[p]; }
int db_phase_of(const char *name) { return index_of(PHASES, QN_COUNT(PHASES), name); }
const char *db_origin_name(enum db_origin o) { return ORIGINS[o]; }

const char *db_unit(const char *objective)
{
    for (size_t i = 0; i < QN_COUNT(UNITS); i++)
        if (strcmp(UNITS[i].objective, objective) == 0) return UNITS[i].unit;
    return NULL;
}

void db_row_init(struct db_row *r)
{
    *r = (struct db_row){.step = -1,
                         .phase = DB_BUILD,
                         .out_crc = -1,
                         .build_ns = -1,
                         .verify_ns = -1,
                         .run_ns = -1};
    r->median = r->ci_lo = r->ci_hi = r->gflops = r->executed_gflops = r->roofline_pct = NAN;
    r->max_err = r->bound = NAN;
}

static const void *at(const struct db_field *f, const struct db_row *r)
{
    return (const char *)r + f->at;
}
static const char *text_of(const struct db_field *f, const struct db_row *r)
{
    const char *s = f->kind == F_HASHBUF ? at(f, r) : *(const char *const *)at(f, r);
    return s ? s : "";
}

bool db_field_unset(const struct db_field *f, const struct db_row *r)
{
    switch (f->kind) {
    case F_TEXT:
    case F_HEX:
    case F_NAME:
    case F_HASHBUF:
        return *text_of(f, r) == 0;
    case F_REAL:
        return isnan(*(const double *)at(f, r));
    case F_INT:
    case F_STEP:
        return *(const int64_t *)at(f, r) < f->lo;
    case F_BOOL:
        return !*(const bool *)at(f, r);
    case F_SAMPLES:
        return r->sample_n == 0;
    default:
        return false;
    }
}

static bool name_is(const char *s)
{
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

static enum rc check_text(const struct db_field *f, const struct db_row *r, struct err *e)
{
    const char *s = text_of(f, r);
    size_t n = strlen(s);
    if (f->kind == F_HASHBUF)
        return n == 0 || hex_is(s, 32, 32)
                   ? RC_OK
                   : db_fail(e, DB_E_ROW, "field '%s' is not an id of 32 hex digits", f->name);
    if (f->kind == F_HEX && !hex_is(s, 0, SIZE_MAX))
        return db_fail(e, DB_E_ROW, "field '%s' is not lower-case hex", f->name);
    if (f->kind == F_NAME && !name_is(s))
        return db_fail(e, DB_E_ROW, "field '%s' is not a name of [a-z0-9_]", f->name);
    if ((int64_t)n < f->lo || (int64_t)n > f->hi)
        return db_fail(e, DB_E_ROW, "field '%s' has %zu bytes, not %lld..%lld", f->name, n,
                       (long long)f->lo, (long long)f->hi);
    if (!utf8_valid(s, n)) return db_fail(e, DB_E_ROW, "field '%s' is not valid UTF-8", f->name);
    return RC_OK;
}

static enum rc check_field(const struct db_field *f, const struct db_row *r, struct err *e)
{
    if (f->optional && db_field_unset(f, r)) return RC_OK;
    switch (f->kind) {
    case F_TEXT:
    case F_HEX:
    case F_NAME:
    case F_HASHBUF:
        return check_text(f, r, e);
    case F_REAL: {
        double x = *(const double *)at(f, r);
        return x >= 0 && x <= DBL_MAX
                   ? RC_OK
                   : db_fail(e, DB_E_ROW, "field '%s' is %g, not a finite number >= 0", f->name, x);
    }
    case F_INT:
    case F_INT32:
    case F_STEP: {
        int64_t x = f->kind == F_INT32 ? *(const int *)at(f, r) : *(const int64_t *)at(f, r);
        if (x >= f->lo && x <= f->hi) return RC_OK;
        return db_fail(e, DB_E_ROW, "field '%s' is %lld, not in %lld..%lld", f->name, (long long)x,
                       (long long)f->lo, (long long)f->hi);
    }
    case F_PHASE:
        return (unsigned)r->phase < QN_COUNT(PHASES)
                   ? RC_OK
                   : db_fail(e, DB_E_ROW, "field 'phase' is %d", (int)r->phase);
    case F_UNIT:
        return db_unit(r->k.objective ? r->k.objective : "")
                   ? RC_OK
                   : db_fail(e, DB_E_ROW, "objective '%s' is not known", r->k.objective);
    case F_SAMPLES:
        if (r->sample_n > (size_t)f->hi)
            return db_fail(e, DB_E_ROW, "field 'samples' has %zu values, at most %lld", r->sample_n,
                           (long long)f->hi);
        for (size_t i = 0; i < r->sample_n; i++)
            if (!(fabs(r->samples[i]) <= DBL_MAX))
                return db_fail(e, DB_E_ROW, "sample %zu is not finite", i);
        return RC_OK;
    default:
        return RC_OK;
    }
}

enum rc db_key_check(const struct db_key *k, struct err *e)
{
    struct db_row r;
    db_row_init(&r);
    r.k = *k;
    for (size_t i = 0; i < DB_FIELD_N; i++) {
        enum rc rc = DB_FIELDS[i].home == H_KEY ? check_field(&DB_FIELDS[i], &r, e) : RC_OK;
        if (rc) return rc;
    }
    for (const char *p = k->task; *p; p++)
        if ((uint8_t)*p <= ' ' || *p == 0x7f)
            return db_fail(e, DB_E_ROW, "task token '%.60s' holds a blank or control byte",
                           k->task);
    if (strcmp(k->cache_mode, "hot") != 0 && strcmp(k->cache_mode, "cold") != 0)
        return db_fail(e, DB_E_ROW, "field 'cache_mode' is '%s', not hot or cold", k->cache_mode);
    return RC_OK;
}

enum rc db_row_check(const struct db_row *r, struct err *e)
{
    enum rc rc = db_key_check(&r->k, e);
    for (size_t i = 0; rc == RC_OK && i < DB_FIELD_N; i++)
        if (DB_FIELDS[i].home != H_KEY) rc = check_field(&DB_FIELDS[i], r, e);
    if (rc) return rc;
    if (!isnan(r->median) && r->median <= 0)
        return db_fail(e, DB_E_ROW, "field 'median' is %g, not > 0", r->median);
    if (isnan(r->ci_lo) != isnan(r->ci_hi) ||
        (!isnan(r->ci_lo) && !(r->ci_lo <= r->median && r->median <= r->ci_hi)))
        return db_fail(e, DB_E_ROW, "the interval [%g, %g] does not hold the median %g", r->ci_lo,
                       r->ci_hi, r->median);
    if (strcmp(r->verdict, "ok") != 0) return RC_OK;
    if (r->world) return db_fail(e, DB_E_ROW, "verdict 'ok' is never about the world");
    if (r->tier < 1 || isnan(r->max_err) || isnan(r->bound) || r->out_crc < 0)
        return db_fail(e, DB_E_UNCHECKED, "verdict 'ok' without its numeric check");
    if (r->phase != DB_BUILD && (isnan(r->median) || r->sample_n == 0))
        return db_fail(e, DB_E_UNCHECKED, "a timed 'ok' without median or samples");
    return RC_OK;
}

/* ---- SQL ---- */

void db_select(struct buf *b)
{
    buf_puts(b, "r.id, r.key, r.origin, r.trace_hash");
    for (size_t i = 0; i < DB_FIELD_N; i++) {
        const struct db_field *f = &DB_FIELDS[i];
        if (f->kind == F_UNIT) continue;
        if (f->home == H_ENV)
            buf_puts(b, ", e.text");
        else
            buf_printf(b, ", %c.%s", f->home == H_KEY ? 'k' : 'r', f->name);
    }
}

void db_insert_sql(struct buf *b)
{
    int n = 4;
    buf_puts(b, "INSERT INTO record (id, key, origin, trace_hash");
    for (size_t i = 0; i < DB_FIELD_N; i++)
        if (DB_FIELDS[i].home != H_KEY) {
            buf_printf(b, ", %s", DB_FIELDS[i].name);
            n++;
        }
    buf_puts(b, ") VALUES (?");
    for (int i = 1; i < n; i++) buf_puts(b, ", ?");
    buf_puts(b, ")");
}

void db_row_bind(sqlite3_stmt *s, const struct db_row *r, const char *env_id)
{
    int c = 0;
    db_bind_text(s, ++c, r->id);
    db_bind_text(s, ++c, r->key);
    db_bind_text(s, ++c, ORIGINS[r->origin]);
    db_bind_text(s, ++c, r->trace_hash);
    for (size_t i = 0; i < DB_FIELD_N; i++) {
        const struct db_field *f = &DB_FIELDS[i];
        if (f->home == H_KEY) continue;
        c++;
        switch (f->kind) {
        case F_TEXT:
        case F_HEX:
        case F_NAME:
        case F_HASHBUF:
            db_bind_text(s, c, f->home == H_ENV ? env_id : text_of(f, r));
            break;
        case F_REAL: /* NAN is stored as NULL by SQLite */
            sqlite3_bind_double(s, c, *(const double *)at(f, r));
            break;
        case F_INT:
            if (!db_field_unset(f, r)) sqlite3_bind_int64(s, c, *(const int64_t *)at(f, r));
            break;
        case F_STEP:
            sqlite3_bind_int64(s, c, i64_max(-1, r->step));
            break;
        case F_INT32:
            sqlite3_bind_int(s, c, *(const int *)at(f, r));
            break;
        case F_SEED:
            sqlite3_bind_int64(s, c, (int64_t)r->seed);
            break;
        case F_ATTEMPT:
            sqlite3_bind_blob(s, c, r->attempt, DB_ATTEMPT_LEN, SQLITE_TRANSIENT);
            break;
        case F_PHASE:
            db_bind_text(s, c, PHASES[r->phase]);
            break;
        case F_BOOL:
            sqlite3_bind_int(s, c, *(const bool *)at(f, r));
            break;
        case F_SAMPLES:
            if (r->sample_n)
                sqlite3_bind_blob(s, c, r->samples, (int)(r->sample_n * sizeof(double)),
                                  SQLITE_TRANSIENT);
            break;
        case F_UNIT:
            break;
        }
    }
}

/* A file can be damaged in ways SQLite does not see: sizes and names are looked at again. */
static bool read_field(const struct db_field *f, sqlite3_stmt *s, int c, struct arena *a,
                       bool samples, struct db_row *r)
{
    void *to = (char *)r + f->at;
    const char *text =
        (const char *)sqlite3_column_text(s, f->kind == F_SAMPLES || f->kind == F_ATTEMPT ? 0 : c);
    switch (f->kind) {
    case F_TEXT:
    case F_HEX:
    case F_NAME:
        *(const char **)to = arena_strdup(a, text ? text : "");
        return true;
    case F_HASHBUF:
        snprintf(to, HASH_ID_LEN + 1, "%s", text ? text : "");
        return true;
    case F_REAL:
        *(double *)to =
            sqlite3_column_type(s, c) == SQLITE_NULL ? NAN : sqlite3_column_double(s, c);
        return true;
    case F_INT:
        *(int64_t *)to = sqlite3_column_type(s, c) == SQLITE_NULL ? -1 : sqlite3_column_int64(s, c);
        return true;
    case F_STEP:
        r->step = sqlite3_column_int64(s, c);
        return true;
    case F_INT32:
        *(int *)to = sqlite3_column_int(s, c);
        return true;
    case F_SEED:
        r->seed = (uint64_t)sqlite3_column_int64(s, c);
        return true;
    case F_BOOL:
        *(bool *)to = sqlite3_column_int(s, c) != 0;
        return true;
    case F_PHASE: {
        int p = db_phase_of(text);
        r->phase = p < 0 ? DB_BUILD : (enum db_phase)p;
        return p >= 0;
    }
    case F_ATTEMPT: {
        const void *p = sqlite3_column_blob(s, c);
        if (!p || sqlite3_column_bytes(s, c) != DB_ATTEMPT_LEN) return false;
        memcpy(r->attempt, p, DB_ATTEMPT_LEN);
        return true;
    }
    case F_SAMPLES: {
        const void *p = samples ? sqlite3_column_blob(s, c) : NULL;
        size_t n = p ? (size_t)sqlite3_column_bytes(s, c) : 0;
        if (n % sizeof(double) || n / sizeof(double) > DB_MAX_SAMPLES) return false;
        double *copy = ARENA_ARRAY(a, double, n / sizeof(double));
        if (n) memcpy(copy, p, n);
        r->samples = copy;
        r->sample_n = n / sizeof(double);
        return true;
    }
    case F_UNIT:
        return true;
    }
    return false;
}

enum rc db_row_read(struct db *d, sqlite3_stmt *s, struct arena *a, bool samples, struct db_row *r,
                    struct err *e)
{
    db_row_init(r);
    const char *const ids[] = {(const char *)sqlite3_column_text(s, 0),
                               (const char *)sqlite3_column_text(s, 1),
                               (const char *)sqlite3_column_text(s, 3)};
    snprintf(r->id, sizeof r->id, "%s", ids[0] ? ids[0] : "");
    snprintf(r->key, sizeof r->key, "%s", ids[1] ? ids[1] : "");
    snprintf(r->trace_hash, sizeof r->trace_hash, "%s", ids[2] ? ids[2] : "");
    int origin = index_of(ORIGINS, QN_COUNT(ORIGINS), (const char *)sqlite3_column_text(s, 2)),
        c = 3;
    bool ok = origin >= 0;
    if (ok) r->origin = (enum db_origin)origin;
    for (size_t i = 0; ok && i < DB_FIELD_N; i++)
        if (DB_FIELDS[i].kind != F_UNIT) ok = read_field(&DB_FIELDS[i], s, ++c, a, samples, r);
    return ok ? RC_OK
              : db_fail(e, DB_E_CORRUPT, "log '%s': record '%.32s' is damaged", d->path, r->id);
}
