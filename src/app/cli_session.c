/* cli_session: opens what a command needs, in the order it needs it, and closes it all.
 *
 *   session   operator library, target, and (on first use) compile worker, runner, log, calibration
 *   work      one task: its reference kernel, the runner's jobs (one an algorithm), its key in the
 *             log */
#include <inttypes.h>
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

/* The programs that quern starts lie in its own folder. */
static enum rc beside(struct err *e, const char *program)
{
    char why[sizeof e->msg];
    snprintf(why, sizeof why, "%s", e->msg);
    return err_set(e, RC_FAIL, e->code,
                   "%s; %s belongs into the folder of quern: build or install it again (`quern "
                   "doctor` checks)",
                   why, program);
}

enum rc session_worker(struct session *s, struct err *e)
{
    if (s->worker || worker_start(&s->worker, e) == RC_OK) return RC_OK;
    return beside(e, "quern-worker");
}

enum rc session_runner(struct session *s, struct err *e)
{
    if (s->runner) return RC_OK;
    s->runner = client_open(NULL, e);
    return s->runner ? RC_OK : beside(e, "quern-runner");
}

enum rc session_db(struct session *s, enum db_mode mode, struct err *e)
{
    char path[1200];
    if (s->db) return RC_OK;
    enum rc rc = db_path(path, sizeof path, s->o->db, e);
    if (rc != RC_OK) return rc;
    if (mode == DB_READ && !fs_exists(path)) {
        if (s->o->db && !s->told) say("quern: there is no log '%s' yet\n", path);
        s->told = true;
        return RC_OK;
    }
    rc = db_open(&s->db, s->o->db, mode, e);
    if (rc == RC_OK) {
        struct db_session session = {.generator = "quern " QN_VERSION, .toolchain = "LLVM 19"};
        db_session(s->db, &session);
    }
    return rc;
}

/* What stands beside every row of this session: the state of the machine, and nothing that names it
 * or its user. */
static void record_env(struct session *s)
{
    const struct wire_hello *h = client_hello(s->runner);
    struct buf b;
    double load = 0;
    if (!s->db) return;
    if (getloadavg(&load, 1) != 1) load = NAN;
    buf_init(&b, 4096);
    buf_printf(&b,
               "clock_ghz=%.3f\nfma_gflops=%.1f\nload=%.2f\ncpus=%" PRIu32
               "\nkernel=%s\nlayers=%#" PRIx32 "\nclock_res_ns=%.0f\n",
               s->clock_ghz, s->fma_gflops, load, h->cpus, h->kernel, h->layers, h->clock_res_ns);
    struct db_session session = {.env = b.p};
    db_session(s->db, &session);
    buf_fini(&b);
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
        return err_set(e, RC_FAIL, "bench.calibrate", "the runner could not calibrate: %s",
                       r.result->outcome.text);
    for (uint32_t i = 0; i < r.calibration->fma_n; i++)
        if (r.calibration->fma[i].gflops > s->fma_gflops)
            s->fma_gflops = r.calibration->fma[i].gflops;
    s->clock_ghz = r.calibration->clock_ghz;
    for (uint32_t i = 0; i < r.calibration->levels_n && s->levels < (int)QN_COUNT(s->level); i++) {
        s->level[s->levels] = r.calibration->levels[i];
        s->level[s->levels].level = NULL;
        s->levels++;
    }
    s->calibrated = true;
    record_env(s);
    return RC_OK;
}

/* The first feature of `want` ("+avx2,+fma") that `have` lacks; n = 0: none. */
static const char *missing_feature(const char *want, const char *have, size_t *n)
{
    for (const char *p = want; *p; p += *n + (p[*n] == ',')) {
        *n = strcspn(p, ",");
        bool found = *p != '+' || *n == 0;
        for (const char *q = have; *q && !found; q += strcspn(q, ","), q += *q == ',')
            found = strcspn(q, ",") == *n && strncmp(p, q, *n) == 0;
        if (!found) return p;
    }
    *n = 0;
    return "";
}

/* Can this machine run code for the session's target? */
static enum rc runs_here(struct session *s, struct err *e)
{
    struct target *host;
    if (strcmp(s->o->target, "host") == 0) return RC_OK;
    enum rc rc = target_load("host", &host, e);
    if (rc != RC_OK) return rc;
    size_t arch = strcspn(host->triple, "-"), n = 0;
    bool same = strncmp(host->triple, s->target->triple, arch + 1) == 0;
    const char *missing = same ? missing_feature(s->target->features, host->features, &n) : "";
    if (!same || n)
        rc = err_set(e, RC_NODEVICE, "target.no_device",
                     "no device runs code for %s: this machine is %s%s%.*s; best, lower and emit "
                     "work without one",
                     s->target->name, host->name, n ? ", which lacks " : "", (int)(n ? n - 1 : 0),
                     missing + (n != 0));
    target_free(host);
    return rc;
}

enum rc session_can_time(struct session *s, struct err *e)
{
    enum rc rc = session_runner(s, e);
    if (rc != RC_OK) return rc;
    uint32_t cpus = client_hello(s->runner)->cpus;
    if (s->o->threads > cpus)
        return err_set(e, RC_NODEVICE, "cli.threads",
                       "%" PRId64 " threads cannot be timed on %" PRIu32 " cpu%s", s->o->threads,
                       cpus, cpus == 1 ? "" : "s");
    return RC_OK;
}

/* ---- work ------------------------------------------------------------------------------------ */

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
    enum rc rc = runs_here(s, e);
    if (rc == RC_OK) rc = session_runner(s, e);
    if (rc == RC_OK) rc = session_worker(s, e);
    if (rc != RC_OK) return rc;
    rc = worker_task(s->worker, w->op_text, w->task->token, s->target_text.p, e);
    if (rc == RC_OK) rc = work_compile(w, "", COMPILE_BLOB | COMPILE_REFERENCE, &w->reference, e);
    return rc == RC_OK ? rc : err_wrap(e, "reference kernel of %s", w->task->token);
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

/* Codes that blame what was typed (an algorithm, a shape too large), not a compiler that failed. */
static bool is_refusal(const char *code)
{
    return strncmp(code, "dsl.", 4) == 0 || strncmp(code, "task.", 5) == 0 ||
           strcmp(code, "lower.scratch") == 0;
}

enum rc work_compile(struct work *w, const char *trace_text, int want, struct compile_result *r,
                     struct err *e)
{
    uint64_t id;
    enum rc rc = worker_submit(w->s->worker, 0, trace_text, want, e);
    if (rc == RC_OK) rc = worker_receive(w->s->worker, &id, r, -1, e);
    if (rc != RC_OK) return rc;
    if (r->status == COMPILE_OK) return RC_OK;
    rc = err_set(e, r->status == COMPILE_REJECTED || is_refusal(r->code) ? RC_INPUT : RC_FAIL,
                 r->code, "%s", r->msg);
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
    for (int i = 0; i < t->nparam && at < 256; i++)
        at += (size_t)snprintf(params + at, 256 - at, "%s%s", i ? " " : "", t->param[i]);
    trace_free(t);
}

enum rc work_job(struct work *w, const char *trace_text, const struct wire_task **out,
                 struct err *e)
{
    char name[32], params[256];
    split_algorithm(trace_text, name, params);
    for (int i = 0; i < w->njob; i++)
        if (strcmp(w->job[i].algorithm, name) == 0 && strcmp(w->job[i].params, params) == 0) {
            *out = &w->job[i].wire;
            return RC_OK;
        }
    if (w->njob == (int)QN_COUNT(w->job))
        w->njob--; /* many parameter sets: the last place is shared */
    struct data_recipe recipe;
    enum rc rc = job_recipe(w->task, name, params, &recipe, e);
    if (rc == RC_OK)
        rc =
            job_task(&w->job[w->njob].wire, w->task, &recipe, &w->reference, w->s->target, w->a, e);
    if (rc != RC_OK) return rc;
    snprintf(w->job[w->njob].algorithm, sizeof w->job[0].algorithm, "%s", name);
    snprintf(w->job[w->njob].params, sizeof w->job[0].params, "%s", params);
    *out = &w->job[w->njob++].wire;
    return RC_OK;
}

/* ---- which schedule -------------------------------------------------------------------------- */

/* A crowned record, or the fastest screened candidate of a search that never came to its race. */
static enum rc best_in_log(struct work *w, char **text, const char **rung, struct db_row *row,
                           bool *found, struct err *e)
{
    *found = false;
    enum rc rc = session_db(w->s, DB_READ, e);
    if (rc != RC_OK || !w->s->db) return rc;
    *rung = "exact";
    rc = db_best(w->s->db, w->key_id, w->a, row, found, e);
    if (rc == RC_OK && !*found) {
        *rung = "screened";
        rc = db_best_at(w->s->db, w->key_id, 1, DB_SCREEN, w->a, row, found, e);
    }
    if (rc == RC_OK && *found) *text = mem_strdup(row->trace);
    return rc;
}

enum rc work_schedule(struct work *w, const char *which, char **text, const char **rung,
                      struct db_row *row, struct err *e)
{
    bool found = false;
    size_t n;
    *text = NULL;
    if (which && strcmp(which, "best") != 0) {
        struct trace *t;
        *rung = "file";
        enum rc read = fs_read(which, 1 << 20, text, &n, e);
        if (read == RC_OK)
            read = trace_parse(which, *text, n, &t, e); /* here, so that errors name the file */
        if (read == RC_OK) trace_free(t);
        return read;
    }
    enum rc rc = best_in_log(w, text, rung, row, &found, e);
    if (rc != RC_OK || found) return rc;
    if (which)
        return err_set(
            e, RC_FAIL, "log.no_record",
            "no tuned schedule of %s for this machine and %d thread%s; run `quern tune %s`",
            w->task->token, w->threads, w->threads == 1 ? "" : "s", w->task->spelled);
    *rung = "estimate";
    return work_estimate(w, text, e);
}

/* The tasks of the command line, with where each was read ("" for an argument). */
struct task_words {
    struct arena *a;
    const char *path;
    VEC(const char *) token, place;
};

static enum rc add_line(void *ctx, const char *token, int line, struct err *e)
{
    (void)e;
    struct task_words *t = ctx;
    const char *text = arena_strdup(t->a, token),
               *place = arena_printf(t->a, "%s:%d: ", t->path, line);
    vec_push(&t->token, text);
    vec_push(&t->place, place);
    return RC_OK;
}

static enum rc add_file(struct task_words *t, const char *path, struct err *e)
{
    char *text;
    size_t n;
    t->path = path;
    enum rc rc = fs_read(path, 4 << 20, &text, &n, e);
    if (rc != RC_OK) return rc;
    size_t before = t->token.n;
    rc = task_list_parse(path, text, n, add_line, t, e);
    mem_free(text);
    if (rc == RC_OK && t->token.n == before)
        rc = err_set(e, RC_INPUT, "cli.no_task", "'%s' lists no task", path);
    return rc;
}

/* A word that is no task is found before the first task starts, not hours later. */
static enum rc check_words(const struct task_words *t, struct err *e)
{
    char dir[1024];
    struct op_lib *lib = NULL;
    enum rc rc = fs_data_dir(dir, sizeof dir, "schedules", e);
    if (rc == RC_OK) rc = op_lib_new(dir, true, &lib, e);
    for (size_t i = 0; i < t->token.n && rc == RC_OK; i++) {
        struct task *task = NULL;
        rc = task_parse(t->token.p[i], lib, NULL, &task, e);
        if (rc != RC_OK && *t->place.p[i])
            err_wrap(e, "%.*s", (int)strlen(t->place.p[i]) - 2, t->place.p[i]);
        task_free(task);
    }
    op_lib_free(lib);
    return rc;
}

enum rc for_each_task(const struct options *o,
                      enum rc (*fn)(void *ctx, const char *token, struct err *e), void *ctx,
                      struct err *e)
{
    struct task_words t = {.a = arena_new()};
    enum rc rc = RC_OK, first = RC_OK;
    if (o->n == 0)
        rc = err_set(e, RC_INPUT, "cli.no_task",
                     "which task? For example matmul:M=64,N=64,K=64; `quern ops` lists operators");
    for (int i = 0; i < o->n && rc == RC_OK; i++) {
        if (o->arg[i][0] == '@') {
            rc = add_file(&t, o->arg[i] + 1, e);
        } else {
            vec_push(&t.token, o->arg[i]);
            vec_push(&t.place, "");
        }
    }
    if (rc == RC_OK) rc = check_words(&t, e);
    size_t failed = 0;
    for (size_t i = 0; i < t.token.n && rc == RC_OK; i++) {
        if (interrupted)
            rc = err_set(e, RC_INTERRUPTED, "cli.interrupted", "interrupted before %s",
                         t.token.p[i]);
        if (rc == RC_OK) rc = fn(ctx, t.token.p[i], e);
        /* One task's own failure does not stop the others. */
        if ((rc == RC_FAIL || rc == RC_MISMATCH) && t.token.n > 1) {
            complain(e, o->json);
            if (failed++ == 0) first = rc;
            rc = RC_OK;
        }
    }
    if (rc == RC_OK && failed)
        rc = err_set(e, first, "cli.some_failed", "%zu of %zu tasks failed, see above", failed,
                     t.token.n);
    vec_free(&t.token);
    vec_free(&t.place);
    arena_free(t.a);
    return rc;
}
