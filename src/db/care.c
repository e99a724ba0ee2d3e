/* care: looking after the file (check, numbers, backup) and one record in full for people.
 *
 *   db_backup(d, "log.bak", &e)   ->   log.bak.part, checked, fsynced, renamed
 *
 * Invariant: what stands under the backup's name is whole and passed integrity_check. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "db/db_int.h"

static enum rc first_text(struct db *d, sqlite3 *sql, const char *ask, char *out, size_t n,
                          struct err *e)
{
    sqlite3_stmt *s;
    *out = 0;
    int rc = sqlite3_prepare_v2(sql, ask, -1, &s, NULL);
    if (rc != SQLITE_OK) return db_fail_sql(d, e, rc, "check");
    rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        snprintf(out, n, "%s",
                 sqlite3_column_text(s, 0) ? (const char *)sqlite3_column_text(s, 0) : "");
    sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RC_OK : db_fail_sql(d, e, rc, "check");
}

static enum rc check_file(struct db *d, sqlite3 *sql, struct err *e)
{
    char text[600];
    enum rc rc = first_text(d, sql, "PRAGMA integrity_check(5)", text, sizeof text, e);
    if (rc) return rc;
    if (strcmp(text, "ok") != 0)
        return db_fail(e, DB_E_CORRUPT, "log '%s' is damaged: %s", d->path, text);
    rc = first_text(d, sql, "PRAGMA foreign_key_check", text, sizeof text, e);
    if (rc) return rc;
    if (*text)
        return db_fail(e, DB_E_CORRUPT, "log '%s': a row of table '%s' refers to nothing", d->path,
                       text);
    return RC_OK;
}

enum rc db_check(struct db *d, struct err *e) { return check_file(d, d->sql, e); }

enum rc db_stats(struct db *d, struct db_stats *out, struct err *e)
{
    static const struct {
        const char *sql;
        size_t at;
    } NUMBERS[] = {
        {"SELECT count(*) FROM record", offsetof(struct db_stats, records)},
        {"SELECT count(*) FROM record WHERE verdict = 'ok'", offsetof(struct db_stats, ok)},
        {"SELECT count(*) FROM record WHERE origin <> 'local'",
         offsetof(struct db_stats, imported)},
        {"SELECT count(*) FROM task_key", offsetof(struct db_stats, keys)},
        {"SELECT count(*) FROM run", offsetof(struct db_stats, runs)},
        {"SELECT count(*) FROM run WHERE state = 'open'", offsetof(struct db_stats, open_runs)},
    };
    *out = (struct db_stats){0};
    for (size_t i = 0; i < QN_COUNT(NUMBERS); i++) {
        enum rc rc = db_pragma_int(d, NUMBERS[i].sql, (int64_t *)((char *)out + NUMBERS[i].at), e);
        if (rc) return rc;
    }
    struct stat st;
    char wal[4200];
    snprintf(wal, sizeof wal, "%s-wal", d->path);
    if (stat(d->path, &st) == 0) out->file_bytes = st.st_size;
    if (stat(wal, &st) == 0) out->wal_bytes = st.st_size;
    return RC_OK;
}

/* Copies step by step, so that a writer is never kept waiting. */
static enum rc copy_pages(struct db *d, sqlite3 *to, struct err *e)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", d->sql, "main");
    if (!b)
        return db_fail(e, DB_E_WRITE, "cannot back up log '%s': %s", d->path, sqlite3_errmsg(to));
    int rc;
    do {
        rc = sqlite3_backup_step(b, 256);
        if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED) sqlite3_sleep(10);
    } while (rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED);
    sqlite3_backup_finish(b);
    if (rc == SQLITE_DONE) return RC_OK;
    return db_fail(e,
                   db_classify(rc, sqlite3_system_errno(to)) == DB_E_FULL ? DB_E_FULL : DB_E_WRITE,
                   "cannot back up log '%s': %s", d->path, sqlite3_errstr(rc));
}

static bool sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

enum rc db_backup(struct db *d, const char *to, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    char part[4300], dir[4300];
    sqlite3 *copy = NULL;
    snprintf(part, sizeof part, "%s.part", to);
    struct stat st;
    if (stat(to, &st) == 0) return db_fail(e, DB_E_WRITE, "'%s' exists and is not overwritten", to);
    unlink(part);
    int rc = sqlite3_open_v2(part, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    enum rc out = rc == SQLITE_OK
                      ? RC_OK
                      : db_fail(e, DB_E_WRITE, "cannot create '%s': %s", part, sqlite3_errstr(rc));
    if (out == RC_OK) out = copy_pages(d, copy, e);
    /* A copy of a WAL file is one itself; a single file is wanted. */
    if (out == RC_OK &&
        sqlite3_exec(copy, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) != SQLITE_OK)
        out = db_fail(e, DB_E_WRITE, "cannot finish '%s': %s", part, sqlite3_errmsg(copy));
    if (out == RC_OK) out = check_file(d, copy, e);
    sqlite3_close(copy);
    snprintf(dir, sizeof dir, "%s", to);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    else
        snprintf(dir, sizeof dir, ".");
    if (out == RC_OK && (!sync_path(part) || rename(part, to) != 0 || !sync_path(dir)))
        out = db_fail(e, DB_E_WRITE, "cannot save '%s': %s", to, strerror(errno));
    if (out != RC_OK) unlink(part);
    return out;
}

/* ---- one record for people ---- */

static void line(struct buf *b, const char *name, const char *text)
{
    if (!text || !*text) return;
    buf_printf(b, "%-12s ", name);
    buf_escape_term(b, text, strlen(text));
    buf_putc(b, '\n');
}

static void block(struct buf *b, const char *name, const char *text)
{
    if (!text || !*text) return;
    buf_printf(b, "%s\n", name);
    while (*text) {
        size_t n = strcspn(text, "\n");
        buf_puts(b, "  ");
        buf_escape_term(b, text, n);
        buf_putc(b, '\n');
        text += n + (text[n] == '\n');
    }
}

static void numbers(struct buf *b, const struct db_row *r)
{
    const char *unit = db_unit(r->k.objective) ? db_unit(r->k.objective) : "";
    if (!isnan(r->max_err))
        buf_printf(b, "%-12s max_err %.6g, bound %.6g, tier %d\n", "check", r->max_err, r->bound,
                   r->tier);
    else
        buf_printf(b, "%-12s none, tier %d\n", "check", r->tier);
    if (!isnan(r->median)) {
        buf_printf(b, "%-12s %.6g %s", "median", r->median, unit);
        if (!isnan(r->ci_lo)) buf_printf(b, " [%.6g, %.6g]", r->ci_lo, r->ci_hi);
        buf_printf(b, ", %s of %zu samples\n", db_phase_name(r->phase), r->sample_n);
    }
    if (!isnan(r->gflops)) buf_printf(b, "%-12s %.4g GFLOP/s", "speed", r->gflops);
    if (!isnan(r->gflops) && !isnan(r->executed_gflops))
        buf_printf(b, ", %.4g executed", r->executed_gflops);
    if (!isnan(r->gflops) && !isnan(r->roofline_pct))
        buf_printf(b, ", %.1f %% of the %s roof", r->roofline_pct, r->roof);
    if (!isnan(r->gflops)) buf_putc(b, '\n');
    buf_printf(b, "%-12s", "cost");
    static const char *const NAMES[] = {"build", "verify", "run"};
    const int64_t ns[] = {r->build_ns, r->verify_ns, r->run_ns};
    for (size_t i = 0; i < QN_COUNT(ns); i++)
        if (ns[i] >= 0) buf_printf(b, " %s %.3f ms", NAMES[i], (double)ns[i] / 1e6);
    buf_putc(b, '\n');
    if (r->sample_n == 0) return;
    buf_printf(b, "samples (%s)\n", unit);
    for (size_t i = 0; i < r->sample_n; i++)
        buf_printf(b, "%s%.6g%s", i % 8 ? " " : "  ", r->samples[i],
                   i % 8 == 7 || i + 1 == r->sample_n ? "\n" : "");
}

enum rc db_why(struct db *d, const char *id, struct buf *out, struct err *e)
{
    struct arena *a = arena_new();
    struct db_row r;
    char when[40] = "", hex[2 * DB_ATTEMPT_LEN + 1];
    enum rc rc = db_get(d, id, a, &r, e);
    if (rc == RC_OK) {
        time_t t = (time_t)(r.when_ms / 1000);
        struct tm tm;
        if (gmtime_r(&t, &tm)) strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
        hex_of(hex, r.attempt, DB_ATTEMPT_LEN);
        line(out, "record", r.id);
        line(out, "task", r.k.task);
        line(out, "target", r.k.target);
        line(out, "device", *r.device ? r.device : "this machine");
        buf_printf(out, "%-12s %d, cache %s, objective %s\n", "threads", r.k.threads,
                   r.k.cache_mode, r.k.objective);
        line(out, "verdict", r.verdict);
        if (r.world) line(out, "", "(about the machine, not about the candidate)");
        block(out, "error", r.error);
        numbers(out, &r);
        block(out, "schedule", r.trace);
        line(out, "blob", r.blob_hash);
        line(out, "origin", db_origin_name(r.origin));
        line(out, "measured", when);
        line(out, "by", r.who);
        line(out, "quern", r.generator);
        line(out, "toolchain", r.toolchain);
        line(out, "key", r.key);
        if (*r.run) buf_printf(out, "%-12s %s step %lld\n", "run", r.run, (long long)r.step);
        buf_printf(out, "%-12s %llu, attempt %s\n", "seed", (unsigned long long)r.seed, hex);
        block(out, "environment", r.env);
        block(out, "device class", r.k.device_class);
        buf_printf(out,
                   "reproduce\n  save the schedule above as %.8s.sched, then\n  quern verify '",
                   r.id);
        buf_escape_term(out, r.k.task, strlen(r.k.task));
        buf_printf(out, "' --schedule %.8s.sched\n", r.id);
        buf_printf(
            out,
            "  (the operator is %.8s; if it is in a file of your own, give the file instead of "
            "the name)\n",
            r.k.op_hash);
    }
    arena_free(a);
    return rc;
}
