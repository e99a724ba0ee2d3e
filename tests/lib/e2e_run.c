/* e2e_run: drawing schedules, compiling them in the worker, checking them in the runner. See
 * e2e.h. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/proc.h"
#include "compile/job.h"
#include "lib/e2e.h"

enum { CHOICES_MAX = 3000 };

#define FINE(rc, e) ck_assert_msg((rc) == RC_OK, "%s: %s", (e).code, (e).msg)

struct e2e *e2e_open(void)
{
    struct e2e *x = mem_new(sizeof *x);
    struct err e = {0};
    struct buf b;
    setenv("QUERN_WORKER", QN_BIN_DIR "/quern-worker", 0);
    setenv("QUERN_RUNNER", QN_BIN_DIR "/quern-runner", 0);
    snprintf(x->dir, sizeof x->dir, "%s/schedules", QN_SOURCE_DIR);
    FINE(op_lib_new(x->dir, false, &x->lib, &e), e);
    FINE(target_load("host", &x->target, &e), e);
    buf_init(&b, sizeof x->target_text - 1);
    target_text(x->target, &b);
    memcpy(x->target_text, b.p, b.n + 1);
    buf_fini(&b);
    x->tier = 2;
    FINE(worker_start(&x->worker, &e), e);
    x->client = client_open(NULL, &e);
    ck_assert_msg(x->client != NULL, "%s: %s", e.code, e.msg);
    return x;
}

void e2e_close(struct e2e *x)
{
    client_close(x->client);
    worker_stop(x->worker);
    target_free(x->target);
    op_lib_free(x->lib);
    mem_free(x);
}

/* ---- drawing --------------------------------------------------------------------------------- */

static struct e2e_space *row_of(struct e2e *x, const struct e2e_work *w, int space)
{
    char name[48];
    struct e2e_stats *s = &x->stats;
    snprintf(name, sizeof name, "%s%s", w->derived[space] ? "derived " : "",
             w->derived[space] ? space_algorithm(w->space[space]) : space_name(w->space[space]));
    for (int i = 0; i < s->nspace; i++)
        if (strcmp(s->space[i].name, name) == 0) return &s->space[i];
    ck_assert_int_lt(s->nspace, E2E_SPACES);
    snprintf(s->space[s->nspace].name, sizeof s->space[0].name, "%s", name);
    return &s->space[s->nspace++];
}

static void count_code(struct e2e_stats *s, const char *code)
{
    int i = 0;
    while (i < s->ncode && strcmp(s->code[i].code, code) != 0) i++;
    if (i == E2E_CODES) return;
    if (i == s->ncode) snprintf(s->code[s->ncode++].code, sizeof s->code[0].code, "%s", code);
    s->code[i].n++;
}

static bool has_space(const struct e2e_work *w, const char *algorithm, bool derived)
{
    for (int i = 0; i < w->nspace; i++)
        if (w->derived[i] == derived && strcmp(space_algorithm(w->space[i]), algorithm) == 0)
            return true;
    return false;
}

static void add_spaces(struct e2e_work *w, const struct plan *p)
{
    for (int i = 0; i < p->n; i++) {
        bool derived = *space_text(p->space[i]) != 0;
        if (derived && has_space(w, space_algorithm(p->space[i]), true)) continue;
        w->derived[w->nspace] = derived;
        w->space[w->nspace++] = p->space[i];
    }
}

/* Uniform over the allowed choices of a space: independent knobs until every `require` holds. */
static struct trace *draw(struct e2e_work *w, struct e2e_candidate *c)
{
    c->space = (int)rng_range(&w->rng, 0, w->nspace - 1);
    const struct space *s = w->space[c->space];
    ck_assert_int_le(space_knobs(s), E2E_KNOBS);
    for (int i = 0; i < CHOICES_MAX; i++) {
        for (int k = 0; k < space_knobs(s); k++)
            c->choice[k] = (int)rng_range(&w->rng, 0, space_knob_values(s, k) - 1);
        struct trace *t = space_trace(s, c->choice);
        if (t) return t;
    }
    return NULL;
}

static bool draw_candidate(struct e2e *x, struct e2e_work *w, struct e2e_candidate *c)
{
    struct buf b;
    while (w->tries++ < E2E_TRIES) {
        struct trace *t = draw(w, c);
        if (!t) continue;
        row_of(x, w, c->space)->drawn++;
        e2e_traits_of(w->task, t, &c->traits);
        buf_init(&b, 1 << 20);
        trace_print(&b, t);
        c->trace = mem_strdup(b.p);
        buf_fini(&b);
        trace_free(t);
        return true;
    }
    return false;
}

struct e2e_work *e2e_work_new(struct e2e *x, const struct e2e_shape *shape, int threads,
                              uint64_t seed)
{
    struct e2e_work *w = mem_new(sizeof *w);
    struct err e = {0};
    struct buf b;
    int64_t start = clock_ns();
    w->shape = *shape;
    w->seed = seed;
    w->threads = threads;
    rng_seed(&w->rng, seed ^ UINT64_C(0x5bd1e995));
    buf_init(&b, 1 << 20);
    e2e_token(shape, &b);
    snprintf(w->token, sizeof w->token, "%s", b.p);
    enum rc rc = task_parse(w->token, x->lib, NULL, &w->task, &e);
    ck_assert_msg(rc == RC_OK, "seed %" PRIu64 ", %s: %s", seed, w->token, e.msg);
    buf_reset(&b);
    operator_text(&b, w->task->op);
    w->op_text = mem_strdup(b.p);
    buf_fini(&b);
    rc = compile_plan(w->task, x->target, threads, x->dir, &w->plan, &e);
    ck_assert_msg(rc == RC_OK, "seed %" PRIu64 ", %s: %s", seed, w->token, e.msg);
    add_spaces(w, &w->plan);
    if (!has_space(w, "direct", true)) {
        rc = compile_plan(w->task, x->target, threads, NULL, &w->plain, &e);
        ck_assert_msg(rc == RC_OK, "seed %" PRIu64 ", %s: %s", seed, w->token, e.msg);
        add_spaces(w, &w->plain);
    }
    while (w->n < E2E_EACH && draw_candidate(x, w, &w->c[w->n])) w->n++;
    x->stats.tasks++;
    x->stats.stages_ns[0] += clock_ns() - start;
    return w;
}

void e2e_work_free(struct e2e_work *w)
{
    for (int i = 0; i < w->n; i++) {
        if (w->c[i].compiled) compile_result_fini(&w->c[i].r);
        mem_free(w->c[i].trace);
    }
    compile_result_fini(&w->reference);
    plan_fini(&w->plan);
    plan_fini(&w->plain);
    task_free(w->task);
    mem_free(w->op_text);
    mem_free(w);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static void submit(struct e2e *x, uint64_t id, const char *trace, int want)
{
    struct err e = {0};
    FINE(worker_submit(x->worker, id, trace, want, &e), e);
}

void e2e_submit(struct e2e *x, struct e2e_work *w)
{
    struct err e = {0};
    enum rc rc = worker_task(x->worker, w->op_text, w->task->token, x->target_text, &e);
    ck_assert_msg(rc == RC_OK, "seed %" PRIu64 ", %s: %s", w->seed, w->token, e.msg);
    submit(x, E2E_EACH, "", COMPILE_BLOB | COMPILE_REFERENCE);
    for (int i = 0; i < w->n; i++) submit(x, (uint64_t)i, w->c[i].trace, COMPILE_BLOB);
}

static void keep(struct e2e *x, struct e2e_work *w, struct e2e_candidate *c)
{
    struct e2e_space *row = row_of(x, w, c->space);
    bool pads = false;
    for (int i = 0; i < w->shape.n; i++)
        pads |= strncmp(w->shape.key[i].name, "pad", 3) == 0 && w->shape.key[i].v > 0;
    c->compiled = true;
    row->kept++;
    row->vectorized += c->traits.vectorized;
    row->tail += c->traits.vectorized && c->traits.tail;
    row->vector_tail += c->traits.vector_tail;
    row->packed += c->traits.packed;
    row->cached += c->traits.cached;
    row->padded += c->traits.cached && pads;
}

/* What a candidate may honestly be refused for; everything else is somebody's bug. */
static bool honest(const struct compile_result *r)
{
    static const char *const codes[] = {"lower.too_big", "lower.scratch", "codegen.stack"};
    if (r->status == COMPILE_REJECTED) return true;
    for (size_t i = 0; i < QN_COUNT(codes); i++)
        if (strcmp(r->code, codes[i]) == 0) return true;
    return false;
}

/* true: the candidate's fate is known. */
static bool settle(struct e2e *x, struct e2e_work *w, int i, struct compile_result *r)
{
    struct e2e_candidate *c = &w->c[i];
    if (r->status == COMPILE_OK) {
        c->r = *r;
        keep(x, w, c);
        return true;
    }
    if (!honest(r)) {
        snprintf(c->why, sizeof c->why, "%s: %.450s", r->code, r->msg);
        compile_result_fini(r);
        return true;
    }
    row_of(x, w, c->space)->refused++;
    count_code(&x->stats, r->code);
    compile_result_fini(r);
    mem_free(c->trace);
    c->trace = NULL;
    if (!draw_candidate(x, w, c)) return true;
    submit(x, (uint64_t)i, c->trace, COMPILE_BLOB);
    return false;
}

void e2e_collect(struct e2e *x, struct e2e_work *w)
{
    struct err e = {0};
    int64_t start = clock_ns();
    while (worker_pending(x->worker) > 0) {
        struct compile_result r;
        uint64_t id;
        FINE(worker_receive(x->worker, &id, &r, -1, &e), e);
        if (id < E2E_EACH) {
            settle(x, w, (int)id, &r);
            continue;
        }
        ck_assert_msg(r.status == COMPILE_OK, "seed %" PRIu64 ", %s, reference: %s %s", w->seed,
                      w->token, r.code, r.msg);
        w->reference = r;
    }
    int n = 0;
    for (int i = 0; i < w->n; i++) n += w->c[i].compiled || w->c[i].why[0];
    x->stats.thin += n < E2E_EACH;
    x->stats.stages_ns[1] += clock_ns() - start;
}

/* ---- checking -------------------------------------------------------------------------------- */

static enum verdict verify_one(struct e2e *x, const struct task *task, const char *trace,
                               const struct compile_result *reference,
                               const struct compile_result *r, int threads,
                               struct wire_outcome *out, char why[512])
{
    struct err e = {0};
    struct arena *a = arena_new();
    struct data_recipe recipe;
    struct wire_verify m = {.limits = {.threads = (uint32_t)threads},
                            .tier = (uint8_t)x->tier,
                            .seed = 1};
    struct client_reply reply;
    struct trace *t;
    char params[256] = "";
    FINE(trace_parse("(trace)", trace, strlen(trace), &t, &e), e);
    for (int i = 0, at = 0; i < t->nparam; i++)
        at += snprintf(params + at, sizeof params - (size_t)at, "%s%s", i ? " " : "", t->param[i]);
    enum rc rc = job_recipe(task, t->algorithm, params, &recipe, &e);
    trace_free(t);
    if (rc == RC_OK) rc = job_task(&m.task, task, &recipe, reference, x->target, a, &e);
    if (rc == RC_OK) job_blob(&m.blob, r, x->target, a);
    if (rc == RC_OK) rc = client_call(x->client, WIRE_VERIFY, &m, 120000, &reply, &e);
    FINE(rc, e);
    *out = reply.result->outcome;
    snprintf(why, 512, "%s: %.450s", verdict_name((enum verdict)out->verdict),
             out->text ? out->text : "");
    out->text = out->where = out->buffer = NULL;
    arena_free(a);
    return (enum verdict)out->verdict;
}

int e2e_verify(struct e2e *x, struct e2e_work *w)
{
    int bad = 0;
    int64_t start = clock_ns();
    for (int i = 0; i < w->n; i++) {
        struct e2e_candidate *c = &w->c[i];
        if (!c->compiled) {
            bad += c->why[0] != 0;
            continue;
        }
        bad += verify_one(x, w->task, c->trace, &w->reference, &c->r, w->threads, &c->outcome,
                          c->why) != VERDICT_OK;
        if (c->outcome.verdict == VERDICT_OK) c->why[0] = 0;
    }
    x->stats.stages_ns[2] += clock_ns() - start;
    return bad;
}

enum verdict e2e_check(struct e2e *x, const char *token, const char *trace, int threads,
                       char why[512])
{
    struct err e = {0};
    struct task *task;
    struct buf b;
    struct compile_result r[2] = {{0}, {0}};
    struct wire_outcome o;
    enum verdict v = VERDICT_ILLEGAL;
    why[0] = 0;
    if (task_parse(token, x->lib, NULL, &task, &e) != RC_OK) return v;
    buf_init(&b, 1 << 20);
    operator_text(&b, task->op);
    FINE(worker_task(x->worker, b.p, task->token, x->target_text, &e), e);
    buf_fini(&b);
    submit(x, 0, "", COMPILE_BLOB | COMPILE_REFERENCE);
    submit(x, 1, trace, COMPILE_BLOB);
    for (int i = 0; i < 2; i++) {
        uint64_t id;
        FINE(worker_receive(x->worker, &id, &r[i], -1, &e), e);
    }
    if (r[1].status == COMPILE_OK && r[0].status == COMPILE_OK) {
        v = verify_one(x, task, trace, &r[0], &r[1], threads, &o, why);
    } else if (!honest(&r[1])) {
        v = VERDICT_COMPILE_ERROR;
        snprintf(why, 512, "%s: %.450s", r[1].code, r[1].msg);
    } else {
        snprintf(why, 512, "%s: %.450s", r[1].code, r[1].msg);
    }
    compile_result_fini(&r[0]);
    compile_result_fini(&r[1]);
    task_free(task);
    return v;
}

/* ---- a run ----------------------------------------------------------------------------------- */

static int finish(struct e2e *x, struct e2e_work *w, int reported)
{
    if (!w) return 0;
    int bad = e2e_verify(x, w);
    for (int i = 0; i < w->n && bad && reported < 3; i++)
        if (w->c[i].why[0] && worker_pending(x->worker) == 0) {
            e2e_report(x, w, &w->c[i]);
            reported++;
        }
    e2e_work_free(w);
    return bad;
}

int e2e_run(struct e2e *x, e2e_shape_fn *make, uint64_t seed, int64_t tasks, double budget_s)
{
    struct e2e_work *before = NULL;
    int bad = 0;
    int64_t start = clock_ns();
    for (int64_t i = 0; i < tasks && bad < 3 && (double)(clock_ns() - start) < budget_s * 1e9;
         i++) {
        struct e2e_shape shape = {.n = 0};
        struct rng r;
        int threads = 1;
        rng_seed(&r, seed + (uint64_t)i);
        make(&r, &shape, &threads);
        struct e2e_work *w = e2e_work_new(x, &shape, threads, seed + (uint64_t)i);
        e2e_submit(x, w);
        int wrong = before ? e2e_verify(x, before) : 0;
        e2e_collect(x, w);
        for (int k = 0; before && k < before->n && wrong; k++)
            if (before->c[k].why[0]) e2e_report(x, before, &before->c[k]);
        bad += wrong;
        if (before) e2e_work_free(before);
        before = w;
    }
    bad += finish(x, before, bad);
    x->stats.stages_ns[3] += clock_ns() - start;
    return bad;
}
