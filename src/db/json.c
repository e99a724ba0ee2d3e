/* json: a record as one canonical line, and back. The line is an identity (the record's id is its
 * hash), so it is written here byte by byte: sorted keys, no spaces, reals as %.15g, %.16g or
 * %.17g, the first that reads back to the same double, unset fields left out. A library's choice of
 * digits may change with its version; ours may not. Reading is jansson's.
 *
 *   {"attempt":"00ff...","bound":0,...,"id":"3fa9...","task":"matmul:K=3,M=7,N=5",...,"v":1,...}
 *
 * Invariants: id = hash_id(line without "id"); parse(print(r)) prints the same bytes. */
#include <float.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "db/db_int.h"

enum { JSON_V = 1 };

static void put_string(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_puts(b, "\\n");
        else if (c == '\t')
            buf_puts(b, "\\t");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, "\\u%04x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

static void put_real(struct buf *b, double x)
{
    char text[40];
    if (x == 0) x = 0; /* no -0: a reader may take it for the integer */
    /* 15 digits always show a shorter form where there is one, except below the normal range. */
    for (int digits = fabs(x) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    for (char *p = text; *p; p++)
        if (*p == ',') *p = '.'; /* some program set a locale */
    buf_puts(b, text);
}

static void put_field(struct buf *b, const struct db_field *f, const struct db_row *r)
{
    const void *at = (const char *)r + f->at;
    char hex[2 * DB_ATTEMPT_LEN + 1];
    buf_printf(b, "\"%s\":", f->name);
    switch (f->kind) {
    case F_TEXT:
    case F_HEX:
    case F_NAME:
        put_string(b, *(const char *const *)at ? *(const char *const *)at : "");
        break;
    case F_HASHBUF:
        put_string(b, at);
        break;
    case F_REAL:
        put_real(b, *(const double *)at);
        break;
    case F_INT:
    case F_STEP:
        buf_printf(b, "%lld", (long long)*(const int64_t *)at);
        break;
    case F_INT32:
        buf_printf(b, "%d", *(const int *)at);
        break;
    case F_SEED:
        buf_printf(b, "\"%llu\"", (unsigned long long)r->seed);
        break;
    case F_BOOL:
        buf_puts(b, "true");
        break;
    case F_PHASE:
        put_string(b, db_phase_name(r->phase));
        break;
    case F_UNIT:
        put_string(b, db_unit(r->k.objective) ? db_unit(r->k.objective) : "");
        break;
    case F_ATTEMPT:
        hex_of(hex, r->attempt, DB_ATTEMPT_LEN);
        put_string(b, hex);
        break;
    case F_SAMPLES:
        buf_putc(b, '[');
        for (size_t i = 0; i < r->sample_n; i++) {
            if (i) buf_putc(b, ',');
            put_real(b, r->samples[i]);
        }
        buf_putc(b, ']');
        break;
    }
}

static void write_row(struct buf *b, const struct db_row *r, const char *id)
{
    const char *sep = "{";
    bool id_done = id == NULL, v_done = false;
    for (size_t i = 0; i < DB_FIELD_N; i++) {
        const struct db_field *f = &DB_FIELDS[i];
        if (f->optional && db_field_unset(f, r)) continue;
        if (!id_done && strcmp(f->name, "id") > 0) {
            buf_printf(b, "%s\"id\":\"%s\"", sep, id);
            sep = ",";
            id_done = true;
        }
        if (!v_done && strcmp(f->name, "v") > 0) {
            buf_printf(b, "%s\"v\":%d", sep, JSON_V);
            v_done = true;
        }
        buf_puts(b, sep);
        sep = ",";
        put_field(b, f, r);
    }
    buf_putc(b, '}');
}

void db_row_json(const struct db_row *r, struct buf *out) { write_row(out, r, r->id); }

void db_row_id(char id[HASH_ID_LEN + 1], const struct db_row *r)
{
    struct buf b;
    buf_init(&b, 2 * DB_MAX_LINE);
    write_row(&b, r, NULL);
    QN_CHECK(!b.full, "a checked row of %zu bytes", b.n);
    hash_id(id, b.p, b.n);
    buf_fini(&b);
}

/* ---- reading ---- */

static enum rc wrong(struct err *e, const struct db_field *f, const char *want)
{
    return db_fail(e, DB_E_ROW, "field '%s' is not %s", f->name, want);
}

static enum rc read_text(const struct db_field *f, const json_t *v, struct arena *a,
                         struct db_row *r, struct err *e)
{
    void *to = (char *)r + f->at;
    const char *s = json_string_value(v);
    if (!s) return wrong(e, f, "a string");
    char *end;
    switch (f->kind) {
    case F_HASHBUF:
        if (!hex_is(s, 32, 32)) return wrong(e, f, "an id of 32 hex digits");
        snprintf(to, HASH_ID_LEN + 1, "%s", s);
        return RC_OK;
    case F_SEED:
        r->seed = strtoull(s, &end, 10);
        /* Only the canonical spelling: no sign, no leading zeros, no overflow. */
        return arena_printf(a, "%llu", (unsigned long long)r->seed) &&
                       strcmp(arena_printf(a, "%llu", (unsigned long long)r->seed), s) == 0
                   ? RC_OK
                   : wrong(e, f, "a decimal number below 2^64");
    case F_PHASE:
        if (db_phase_of(s) < 0) return wrong(e, f, "build, screen, race or confirm");
        r->phase = (enum db_phase)db_phase_of(s);
        return RC_OK;
    case F_ATTEMPT:
        return hex_to(r->attempt, DB_ATTEMPT_LEN, s) ? RC_OK : wrong(e, f, "32 hex digits");
    case F_UNIT:
        return RC_OK; /* compared once the objective is known */
    default:
        *(const char **)to = arena_strdup(a, s);
        return RC_OK;
    }
}

static enum rc read_samples(const struct db_field *f, const json_t *v, struct arena *a,
                            struct db_row *r, struct err *e)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v)) return wrong(e, f, "an array");
    if (n > DB_MAX_SAMPLES) return wrong(e, f, "short enough");
    double *p = ARENA_ARRAY(a, double, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_number(x)) return wrong(e, f, "an array of numbers");
        p[i] = json_number_value(x);
    }
    r->samples = p;
    r->sample_n = n;
    return RC_OK;
}

static enum rc read_value(const struct db_field *f, const json_t *v, struct arena *a,
                          struct db_row *r, struct err *e)
{
    void *to = (char *)r + f->at;
    switch (f->kind) {
    case F_REAL:
        if (!json_is_number(v)) return wrong(e, f, "a number");
        *(double *)to = json_number_value(v);
        return RC_OK;
    case F_INT:
    case F_STEP:
    case F_INT32: {
        if (!json_is_integer(v)) return wrong(e, f, "an integer");
        int64_t x = json_integer_value(v);
        if (x < f->lo || x > f->hi)
            return db_fail(e, DB_E_ROW, "field '%s' is %lld, not in %lld..%lld", f->name,
                           (long long)x, (long long)f->lo, (long long)f->hi);
        if (f->kind == F_INT32)
            *(int *)to = (int)x;
        else
            *(int64_t *)to = x;
        return RC_OK;
    }
    case F_BOOL:
        if (!json_is_boolean(v)) return wrong(e, f, "true or false");
        *(bool *)to = json_is_true(v);
        return RC_OK;
    case F_SAMPLES:
        return read_samples(f, v, a, r, e);
    default:
        return read_text(f, v, a, r, e);
    }
}

static const struct db_field *field_named(const char *name)
{
    for (size_t i = 0; i < DB_FIELD_N; i++)
        if (strcmp(DB_FIELDS[i].name, name) == 0) return &DB_FIELDS[i];
    return NULL;
}

static enum rc read_object(json_t *o, struct arena *a, struct db_row *r, char *id, struct err *e)
{
    const char *key, *shown;
    json_t *v;
    if (!json_is_object(o)) return db_fail(e, DB_E_ROW, "the line is not a JSON object");
    if (!json_is_integer(json_object_get(o, "v")))
        return db_fail(e, DB_E_ROW, "field 'v' (the version) is missing");
    if (json_integer_value(json_object_get(o, "v")) != JSON_V)
        return db_fail(e, DB_E_ROW, "record version %lld is not known, only %d",
                       (long long)json_integer_value(json_object_get(o, "v")), JSON_V);
    json_object_foreach(o, key, v)
    {
        if (strcmp(key, "v") == 0) continue;
        if (strcmp(key, "id") == 0) {
            if (!json_is_string(v) || !hex_is(json_string_value(v), 32, 32))
                return db_fail(e, DB_E_ROW, "field 'id' is not 32 hex digits");
            snprintf(id, HASH_ID_LEN + 1, "%s", json_string_value(v));
            continue;
        }
        const struct db_field *f = field_named(key);
        shown = utf8_clean(a, key, 60);
        if (!f) return db_fail(e, DB_E_ROW, "field '%s' is not known in version %d", shown, JSON_V);
        if (read_value(f, v, a, r, e)) return e->rc;
    }
    for (size_t i = 0; i < DB_FIELD_N; i++)
        if (!DB_FIELDS[i].optional && !json_object_get(o, DB_FIELDS[i].name))
            return db_fail(e, DB_E_ROW, "field '%s' is missing", DB_FIELDS[i].name);
    if (!*id) return db_fail(e, DB_E_ROW, "field 'id' is missing");
    const char *unit = db_unit(r->k.objective);
    if (!unit || strcmp(unit, json_string_value(json_object_get(o, "unit"))) != 0)
        return db_fail(e, DB_E_ROW, "field 'unit' does not belong to objective '%s'",
                       utf8_clean(a, r->k.objective, 40));
    return RC_OK;
}

enum rc db_row_parse(const char *line, size_t n, struct arena *a, struct db_row *r,
                     char id_claimed[HASH_ID_LEN + 1], struct err *e)
{
    struct err local;
    if (!e) e = &local;
    db_row_init(r);
    *id_claimed = 0;
    if (n > DB_MAX_LINE)
        return db_fail(e, DB_E_ROW, "the line has more than %d bytes", DB_MAX_LINE);
    json_error_t je;
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &je);
    if (!o)
        return db_fail(e, DB_E_ROW, "not JSON: %s (column %d)", utf8_clean(a, je.text, 200),
                       je.column);
    enum rc rc = read_object(o, a, r, id_claimed, e);
    json_decref(o);
    if (rc) return rc;
    rc = db_row_check(r, e);
    db_key_id(r->key, &r->k);
    hash_id(r->trace_hash, r->trace, strlen(r->trace));
    return rc;
}
