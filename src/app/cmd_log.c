/* quern log: query, export, import, why, check. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/scan.h"
#include "cli.h"

static void print_row(const struct db_row *r, bool json)
{
    if (json) {
        struct buf b;
        buf_init(&b, 8 << 20);
        db_row_json(r, &b);
        printf("%s\n", b.p);
        buf_fini(&b);
        return;
    }
    struct buf task;
    buf_init(&task, 1 << 14);
    buf_escape_term(&task, r->k.task, strlen(r->k.task));
    if (isfinite(r->median))
        printf("%.8s  %-10s %10.2f us  tier %d  %s\n", r->id, r->verdict, r->median / 1e3, r->tier, task.p);
    else
        printf("%.8s  %-10s %10s     tier %d  %s\n", r->id, r->verdict, "-", r->tier, task.p);
    buf_fini(&task);
}

static enum rc log_query(struct session *s, struct err *e)
{
    const struct options *o = s->o;
    struct arena *a = arena_new();
    struct db_rows rows;
    const char *task = o->n > 1 ? o->arg[1] : NULL;
    struct db_filter f = {.verdict = o->verdict, .limit = o->limit ? o->limit : 50, .best_only = !o->all, .by_time = task != NULL};
    struct task *t = NULL;
    enum rc rc = RC_OK;
    if (task && strchr(task, ':')) {
        rc = task_parse(task, s->lib, NULL, &t, e);
        f.task = rc == RC_OK ? t->token : NULL;
    } else if (task) {
        f.op = task;
    }
    if (f.verdict) f.best_only = false;
    if (rc == RC_OK) rc = db_query(s->db, &f, a, &rows, e);
    for (size_t i = 0; rc == RC_OK && i < rows.n; i++) print_row(&rows.p[i], o->json);
    if (rc == RC_OK && rows.n == 0) say("quern: no rows match; `quern log query --all` shows every candidate\n");
    task_free(t);
    arena_free(a);
    return rc;
}

static enum rc log_export(struct session *s, struct err *e)
{
    struct db_filter f = {.best_only = !s->o->all};
    int64_t n;
    enum rc rc = db_export(s->db, &f, stdout, &n, e);
    if (rc == RC_OK && fflush(stdout) != 0) rc = err_set(e, RC_STORE, "log.export", "writing: %s", strerror(errno));
    if (rc == RC_OK) say("quern: %" PRId64 " records\n", n);
    return rc;
}

static void say_rejected(void *ctx, const char *file, int64_t line, const char *id, const char *reason)
{
    (void)ctx;
    say("%s:%" PRId64 ": %.8s not taken: %s\n", file, line, id, reason);
}

static enum rc log_import(struct session *s, struct err *e)
{
    if (s->o->n < 2) return err_set(e, RC_INPUT, "cli.usage", "quern log import FILE");
    FILE *in = fopen(s->o->arg[1], "re");
    if (!in) return err_set(e, RC_INPUT, "fs.open", "cannot open '%s': %s", s->o->arg[1], strerror(errno));
    struct db_import im = {.origin = DB_IMPORT, .rejected = say_rejected};
    enum rc rc = db_import(s->db, s->o->arg[1], in, &im, e);
    fclose(in);
    if (rc != RC_OK) return rc;
    if (s->o->json)
        print_json(json_pack("{s:i, s:I, s:I, s:I}", "v", 1, "accepted", (json_int_t)im.accepted, "already_here",
                             (json_int_t)im.already_here, "refused", (json_int_t)im.refused));
    else
        printf("%" PRId64 " taken, %" PRId64 " already here, %" PRId64 " refused; they seed searches until this machine has timed them\n",
               im.accepted, im.already_here, im.refused);
    return RC_OK;
}

static enum rc log_why(struct session *s, struct err *e)
{
    if (s->o->n < 2) return err_set(e, RC_INPUT, "cli.usage", "quern log why RECORD; `quern log query` lists them");
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
        print_json(json_pack("{s:i, s:b, s:s, s:I, s:I, s:I, s:I, s:I}", "v", 1, "ok", true, "file", db_name(s->db), "records",
                             (json_int_t)st.records, "good", (json_int_t)st.ok, "imported", (json_int_t)st.imported, "runs",
                             (json_int_t)st.runs, "bytes", (json_int_t)st.file_bytes));
    else
        printf("%s: sound; %" PRId64 " records (%" PRId64 " ok, %" PRId64 " imported) of %" PRId64 " tasks, %" PRId64
               " runs, %" PRId64 " bytes\n", db_name(s->db), st.records, st.ok, st.imported, st.keys, st.runs, st.file_bytes);
    return RC_OK;
}

static const struct {
    const char *name;
    enum rc (*run)(struct session *, struct err *);
    enum db_mode mode;
} verbs[] = {
    {"query", log_query, DB_READ}, {"export", log_export, DB_READ}, {"import", log_import, DB_WRITE},
    {"why", log_why, DB_READ},     {"check", log_check, DB_READ},
};

enum rc cmd_log(const struct options *o, struct err *e)
{
    const char *verb = o->n ? o->arg[0] : "query", *names[QN_COUNT(verbs)];
    for (size_t i = 0; i < QN_COUNT(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(verbs[i].name, verb) != 0) continue;
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
    return err_set(e, RC_INPUT, "cli.usage", "quern log has no '%.40s'%s; query, export, import, why or check", verb,
                   did_you_mean(hint, sizeof hint, verb, names, QN_COUNT(names)));
}
