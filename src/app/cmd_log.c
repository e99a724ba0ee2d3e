/* quern log: query, export, import, why, check. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/scan.h"
#include "cli.h"

static const char *phase_name(enum db_phase p)
{
    static const char *const names[] = {
        [DB_BUILD] = "build", [DB_SCREEN] = "screen", [DB_RACE] = "race", [DB_CONFIRM] = "confirm"};
    return names[p];
}

/* 2ff16f08  ok            7.26 us  112.9 GFLOP/s  race    tier 3  conv2d:C=16,... */
static void print_row(const struct db_row *r, bool json)
{
    struct buf b;
    buf_init(&b, 8 << 20);
    if (json) {
        db_row_json(r, &b);
    } else {
        char time[40] = "-", speed[40] = "";
        if (isfinite(r->median)) snprintf(time, sizeof time, "%.2f us", r->median / 1e3);
        if (isfinite(r->gflops)) snprintf(speed, sizeof speed, "%.1f GFLOP/s", r->gflops);
        buf_printf(&b, "%.8s  %-17s %12s %15s  %-7s tier %d  ", r->id, r->verdict, time, speed,
                   phase_name(r->phase), r->tier);
        buf_escape_term(&b, r->k.task, strlen(r->k.task));
        if (r->origin != DB_LOCAL) buf_puts(&b, "  (imported)");
    }
    printf("%s\n", b.p);
    buf_fini(&b);
}

/* What --verdict, --target and --threads ask for. */
static enum rc filter_of(const struct options *o, struct db_filter *f, struct err *e)
{
    const char *names[] = {
#define VERDICT(code, NAME, name, side, retry, text) name,
#include "wire/verdicts.def"
#undef VERDICT
    };
    char hint[96], all[600] = "";
    bool known = !o->verdict;
    for (size_t i = 0; i < QN_COUNT(names) && !known; i++)
        known = strcmp(names[i], o->verdict) == 0;
    for (size_t i = 0; i < QN_COUNT(names) && !known; i++) {
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, " %s", names[i]);
    }
    if (!known)
        return err_set(e, RC_INPUT, "cli.value", "there is no verdict '%.40s'%s; one of:%s",
                       o->verdict,
                       did_you_mean(hint, sizeof hint, o->verdict, names, QN_COUNT(names)), all);
    *f = (struct db_filter){.verdict = o->verdict, .best_only = !o->all && !o->verdict};
    if (strcmp(o->target, "host") != 0) f->target = o->target;
    if (o->threads > 1) f->threads = (int)o->threads;
    return RC_OK;
}

static enum rc log_query(struct session *s, struct err *e)
{
    const struct options *o = s->o;
    struct arena *a = arena_new();
    struct db_rows rows = {0};
    struct db_filter f;
    struct task *t = NULL;
    const char *task = o->n > 1 ? o->arg[1] : NULL;
    enum rc rc = filter_of(o, &f, e);
    if (rc == RC_OK && task && strchr(task, ':')) {
        rc = task_parse(task, s->lib, NULL, &t, e);
        f.task = rc == RC_OK ? t->token : NULL;
        f.by_time = true;
    } else {
        f.op = task;
    }
    f.no_samples = !o->json;
    if (f.by_time) f.limit = o->limit;
    if (rc == RC_OK) rc = db_query(s->db, &f, a, &rows, e);
    /* By time the fastest come first; else the newest are wanted, and they stand last. */
    size_t from = rows.n > (size_t)o->limit ? rows.n - (size_t)o->limit : 0;
    for (size_t i = from; rc == RC_OK && i < rows.n; i++) print_row(&rows.p[i], o->json);
    if (rc == RC_OK && from)
        say("quern: the newest %zu of %zu rows; --limit N shows more\n", rows.n - from, rows.n);
    if (rc == RC_OK && rows.n == 0)
        say("quern: no rows match%s\n",
            o->all || f.verdict
                ? ""
                : "; `quern log query --all` shows every candidate, not only the best");
    task_free(t);
    arena_free(a);
    return rc;
}

static enum rc log_export(struct session *s, struct err *e)
{
    struct db_filter f;
    int64_t n;
    enum rc rc = filter_of(s->o, &f, e);
    if (rc == RC_OK) rc = db_export(s->db, &f, stdout, &n, e);
    if (rc == RC_OK && fflush(stdout) != 0)
        rc = err_set(e, RC_STORE, "log.export", "writing: %s", strerror(errno));
    if (rc == RC_OK) say("quern: %" PRId64 " record%s\n", n, n == 1 ? "" : "s");
    return rc;
}

static void say_rejected(void *ctx, const char *file, int64_t line, const char *id,
                         const char *reason)
{
    (void)ctx;
    say("%s:%" PRId64 ": %.8s not taken: %s\n", file, line, id, reason);
}

static enum rc log_import(struct session *s, struct err *e)
{
    if (s->o->n < 2)
        return err_set(e, RC_INPUT, "cli.usage", "which file? quern log import FILE.jsonl");
    FILE *in = fopen(s->o->arg[1], "re");
    if (!in)
        return err_set(e, RC_INPUT, "fs.open", "cannot open '%s': %s", s->o->arg[1],
                       strerror(errno));
    struct db_import im = {.origin = DB_IMPORT, .rejected = say_rejected};
    enum rc rc = db_import(s->db, s->o->arg[1], in, &im, e);
    fclose(in);
    if (rc != RC_OK) return rc;
    if (s->o->json)
        print_json(json_pack("{s:i, s:I, s:I, s:I}", "v", 1, "accepted", (json_int_t)im.accepted,
                             "already_here", (json_int_t)im.already_here, "refused",
                             (json_int_t)im.refused));
    else
        printf("%" PRId64 " taken, %" PRId64 " already here, %" PRId64
               " refused; they seed searches until this machine has timed them\n",
               im.accepted, im.already_here, im.refused);
    return RC_OK;
}

static enum rc log_why(struct session *s, struct err *e)
{
    if (s->o->n < 2)
        return err_set(e, RC_INPUT, "cli.usage",
                       "which record? quern log why RECORD; `quern log query` lists them");
    struct buf b;
    buf_init(&b, 8 << 20);
    enum rc rc = db_why(s->db, s->o->arg[1], &b, e);
    if (rc == RC_OK && s->o->json)
        print_json(json_pack("{s:i, s:s}", "v", 1, "why", b.p));
    else if (rc == RC_OK)
        fputs(b.p, stdout);
    buf_fini(&b);
    return rc;
}

static enum rc log_check(struct session *s, struct err *e)
{
    struct db_stats st;
    enum rc rc = db_check(s->db, e);
    if (rc == RC_OK) rc = db_stats(s->db, &st, e);
    if (rc != RC_OK) return rc;
    if (s->o->json)
        print_json(json_pack("{s:i, s:b, s:s, s:I, s:I, s:I, s:I, s:I}", "v", 1, "ok", true, "file",
                             db_name(s->db), "records", (json_int_t)st.records, "good",
                             (json_int_t)st.ok, "imported", (json_int_t)st.imported, "runs",
                             (json_int_t)st.runs, "bytes", (json_int_t)st.file_bytes));
    else
        printf("%s: sound; %" PRId64 " records (%" PRId64 " ok, %" PRId64 " imported) of %" PRId64
               " tasks, %" PRId64 " runs, %" PRId64 " bytes\n",
               db_name(s->db), st.records, st.ok, st.imported, st.keys, st.runs, st.file_bytes);
    return RC_OK;
}

static const struct {
    const char *name;
    enum rc (*run)(struct session *, struct err *);
    enum db_mode mode;
    int most; /* arguments, its own name included */
} verbs[] = {
    {"query", log_query, DB_READ, 2},    {"export", log_export, DB_READ, 1},
    {"import", log_import, DB_WRITE, 2}, {"why", log_why, DB_READ, 2},
    {"check", log_check, DB_READ, 1},
};

enum rc cmd_log(const struct options *o, struct err *e)
{
    const char *verb = o->n ? o->arg[0] : "query", *names[QN_COUNT(verbs)];
    for (size_t i = 0; i < QN_COUNT(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(verbs[i].name, verb) != 0) continue;
        if (o->n > verbs[i].most)
            return err_set(e, RC_INPUT, "cli.usage", "quern log %s takes no '%.80s'", verb,
                           o->arg[verbs[i].most]);
        struct session s;
        enum rc rc = session_open(&s, o, e);
        if (rc == RC_OK) rc = session_db(&s, verbs[i].mode, e);
        if (rc == RC_OK && !s.db)
            rc = err_set(e, RC_STORE, "log.none", "there is no log yet; `quern tune` makes one");
        if (rc == RC_OK) rc = verbs[i].run(&s, e);
        session_close(&s);
        return rc;
    }
    char hint[96];
    return err_set(e, RC_INPUT, "cli.usage",
                   "quern log has no '%.40s'%s; query, export, import, why or check", verb,
                   did_you_mean(hint, sizeof hint, verb, names, QN_COUNT(names)));
}
