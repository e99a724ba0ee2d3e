/* cli_session: opens what a command needs, in the order it needs it, and closes it all.
 *
 *   session   operator library, target, and (on first use) compile worker, runner, log, calibration
 *   work      one task: its reference kernel, the runner's jobs (one an algorithm), its key in the log */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/proc.h"
#include "cli.h"

enum rc session_open(struct session *s, const struct options *o, struct err *e)
{
    memset(s, 0, sizeof *s);
    s->o = o;
    buf_init(&s->target_text, 1 << 16);
    buf_init(&s->device_class, 1 << 13);
    enum rc rc = fs_data_dir(s->schedules, sizeof s->schedules, "schedules", e);
    if (rc == RC_OK) rc = op_lib_new(s->schedules, true, &s->lib, e);
    if (rc == RC_OK) rc = target_load(o->target, &s->target, e);
    if (rc != RC_OK) return rc;
    target_text(s->target, &s->target_text);
    hash_id(s->target_hash, s->target_text.p, s->target_text.n);
    target_device_class(s->target, &s->device_class);
    return RC_OK;
}

void session_close(struct session *s)
{
    worker_stop(s->worker);
    client_close(s->runner);
    if (s->db) db_close(s->db, NULL);
    op_lib_free(s->lib);
    target_free(s->target);
    buf_fini(&s->target_text);
    buf_fini(&s->device_class);
}

enum rc session_worker(struct session *s, struct err *e)
{
    return s->worker ? RC_OK : worker_start(&s->worker, e);
}

enum rc session_runner(struct session *s, struct err *e)
{
    if (s->runner) return RC_OK;
    s->runner = client_open(NULL, e);
    return s->runner ? RC_OK : e->rc;
}

enum rc session_db(struct session *s, enum db_mode mode, struct err *e)
{
    char path[1200];
    if (s->db) return RC_OK;
    enum rc rc = db_path(path, sizeof path, s->o->db, e);
    if (rc != RC_OK) return rc;
    if (mode == DB_READ && !fs_exists(path)) return RC_OK;
    rc = db_open(&s->db, s->o->db, mode, e);
    if (rc == RC_OK) {
        struct db_session session = {.who = getenv("USER"), .generator = "quern " QN_VERSION, .toolchain = "LLVM 19"};
        db_session(s->db, &session);
    }
    return rc;
}

enum rc session_calibrate(struct session *s, struct err *e)
{
    if (s->calibrated) return RC_OK;
    enum rc rc = session_runner(s, e);
    if (rc != RC_OK) return rc;
    struct wire_calibrate c = {.threads = 1, .budget_ms = 150};
    struct client_reply r;
    rc = client_call(s->runner, WIRE_CALIBRATE, &c, 20000, &r, e);
    if (rc != RC_OK) return rc;
    if (r.type != WIRE_CALIBRATION)
        return err_set(e, RC_FAIL, "bench.calibrate", "the runner could not calibrate: %s", r.result->outcome.text);
    for (uint32_t i = 0; i < r.calibration->fma_n; i++)
        if (r.calibration->fma[i].gflops > s->fma_gflops) s->fma_gflops = r.calibration->fma[i].gflops;
    s->clock_ghz = r.calibration->clock_ghz;
    for (uint32_t i = 0; i < r.calibration->levels_n && s->levels < (int)QN_COUNT(s->level); i++) {
        s->level[s->levels] = r.calibration->levels[i];
        s->level[s->levels].level = NULL;
        s->levels++;
    }
    s->calibrated = true;
    return RC_OK;
}

/* ---- work ------------------------------------------------------------------------------------- */

static void fill_key(struct work *w)
{
    struct session *s = w->s;
    w->key = (struct db_key){
        .task = w->task->token,
        .op_hash = w->op_hash,
        .target = s->target->name,
        .target_hash = s->target_hash,
        .device_class = s->device_class.p,
        .threads = w->threads,
        .cache_mode = "hot",
        .objective = "time",
    };
    db_key_id(w->key_id, &w->key);
}

static enum rc open_reference(struct work *w, struct err *e)
{
    struct session *s = w->s;
    enum rc rc = session_worker(s, e);
    if (rc == RC_OK) rc = worker_task(s->worker, w->op_text, w->task->token, s->target_text.p, e);
    if (rc == RC_OK) rc = work_compile(w, "", COMPILE_BLOB | COMPILE_REFERENCE, &w->reference, e);
    if (rc != RC_OK) return err_wrap(e, "reference kernel of %s", w->task->token);
    return session_runner(s, e);
}

enum rc work_open(struct work *w, struct session *s, const char *token, bool measure, struct err *e)
{
    memset(w, 0, sizeof *w);
    w->s = s;
    w->a = arena_new();
    w->threads = (int)s->o->threads;
    enum rc rc = task_parse(token, s->lib, NULL, &w->task, e);
    if (rc != RC_OK) return rc;
    struct buf b;
    buf_init(&b, 4 << 20);
    operator_text(&b, w->task->op);
    w->op_text = arena_strdup(w->a, b.p);
    buf_fini(&b);
    operator_id(w->task->op, w->op_hash);
    fill_key(w);
    rc = job_work(w->task, &w->flops, &w->bytes, e);
    if (rc == RC_OK && measure) rc = open_reference(w, e);
    return rc;
}

void work_close(struct work *w)
{
    compile_result_fini(&w->reference);
    task_free(w->task);
    arena_free(w->a);
}

enum rc work_compile(struct work *w, const char *trace_text, int want, struct compile_result *r, struct err *e)
{
    uint64_t id;
    enum rc rc = worker_submit(w->s->worker, 0, trace_text, want, e);
    if (rc == RC_OK) rc = worker_receive(w->s->worker, &id, r, -1, e);
    if (rc != RC_OK) return rc;
    if (r->status == COMPILE_OK) return RC_OK;
    rc = err_set(e, r->status == COMPILE_REJECTED ? RC_INPUT : RC_FAIL, r->code, "%s", r->msg);
    compile_result_fini(r);
    return rc;
}

/* First line of a trace: "algorithm NAME params". */
static void split_algorithm(const char *trace, char name[32], char params[256])
{
    struct trace *t;
    snprintf(name, 32, "direct");
    params[0] = 0;
    if (trace_parse("(schedule)", trace, strlen(trace), &t, NULL) != RC_OK) return;
    snprintf(name, 32, "%s", t->algorithm);
    size_t at = 0;
    for (int i = 0; i < t->nparam && at < 256; i++) at += (size_t)snprintf(params + at, 256 - at, "%s%s", i ? " " : "", t->param[i]);
    trace_free(t);
}

enum rc work_job(struct work *w, const char *trace_text, const struct wire_task **out, struct err *e)
{
    char name[32], params[256];
    split_algorithm(trace_text, name, params);
    for (int i = 0; i < w->njob; i++)
        if (strcmp(w->job[i].algorithm, name) == 0 && strcmp(w->job[i].params, params) == 0) {
            *out = &w->job[i].wire;
            return RC_OK;
        }
    if (w->njob == (int)QN_COUNT(w->job)) w->njob--; /* many parameter sets: the last place is shared */
    struct data_recipe recipe;
    enum rc rc = job_recipe(w->task, name, params, &recipe, e);
    if (rc == RC_OK) rc = job_task(&w->job[w->njob].wire, w->task, &recipe, &w->reference, w->s->target, w->a, e);
    if (rc != RC_OK) return rc;
    snprintf(w->job[w->njob].algorithm, sizeof w->job[0].algorithm, "%s", name);
    snprintf(w->job[w->njob].params, sizeof w->job[0].params, "%s", params);
    *out = &w->job[w->njob++].wire;
    return RC_OK;
}

/* ---- which schedule --------------------------------------------------------------------------- */

static enum rc best_in_log(struct work *w, char **text, struct db_row *row, bool *found, struct err *e)
{
    *found = false;
    enum rc rc = session_db(w->s, DB_READ, e);
    if (rc == RC_OK && w->s->db) rc = db_best(w->s->db, w->key_id, w->a, row, found, e);
    if (rc == RC_OK && *found) *text = mem_strdup(row->trace);
    return rc;
}

enum rc work_schedule(struct work *w, const char *which, char **text, const char **rung, struct db_row *row, struct err *e)
{
    bool found = false;
    size_t n;
    *text = NULL;
    if (which && strcmp(which, "best") != 0) {
        *rung = "file";
        return fs_read(which, 1 << 20, text, &n, e);
    }
    enum rc rc = best_in_log(w, text, row, &found, e);
    if (rc != RC_OK) return rc;
    *rung = "exact";
    if (found) return RC_OK;
    if (which)
        return err_set(e, RC_FAIL, "log.no_record", "no tuned schedule of %s for this machine and %d thread%s; run `quern tune %s`",
                       w->task->token, w->threads, w->threads == 1 ? "" : "s", w->task->spelled);
    *rung = "estimate";
    return work_estimate(w, text, e);
}

struct line {
    enum rc (*fn)(void *ctx, const char *token, struct err *e);
    void *ctx;
};

static enum rc each_token(void *ctx, const char *token, int line, struct err *e)
{
    (void)line;
    struct line *l = ctx;
    return l->fn(l->ctx, token, e);
}

static enum rc each_line(const char *path, enum rc (*fn)(void *ctx, const char *token, struct err *e), void *ctx,
                         struct err *e)
{
    char *text;
    size_t n;
    struct line l = {fn, ctx};
    enum rc rc = fs_read(path, 4 << 20, &text, &n, e);
    if (rc != RC_OK) return rc;
    rc = task_list_parse(path, text, n, each_token, &l, e);
    mem_free(text);
    return rc;
}

enum rc for_each_task(const struct options *o, enum rc (*fn)(void *ctx, const char *token, struct err *e), void *ctx,
                      struct err *e)
{
    if (o->n == 0) return err_set(e, RC_INPUT, "cli.no_task", "which task? For example matmul:M=64,N=64,K=64; `quern ops` lists operators");
    for (int i = 0; i < o->n; i++) {
        enum rc rc = o->arg[i][0] == '@' ? each_line(o->arg[i] + 1, fn, ctx, e) : fn(ctx, o->arg[i], e);
        if (rc != RC_OK) return rc;
    }
    return RC_OK;
}
