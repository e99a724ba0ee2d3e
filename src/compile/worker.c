/* worker: the client side: one compile process, its queue, and what happens when it dies.
 *
 *   frame = u32 kind, u32 length, u64 id, payload (fields.c); requests TASK, COMPILE; reply RESULT
 *
 * Invariants: replies come in the order of requests, so the queue's head is what the process works
 * on and what a death is blamed on; a request stays in the queue until its reply is whole; the
 * queue is small enough that all of it fits a socket buffer, so neither side can block the other
 * for ever. */
#include "compile/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/proc.h"
#include "compile/compile_int.h"
#include "compile/worker_int.h"

struct pending {
    uint64_t id;
    int want;
    char *trace;
    int64_t since_ns;
    int deaths; /* of the process, while it worked on this one */
};

struct worker {
    struct proc proc;
    char path[1100];
    char *task[3]; /* op text, token, target text: sent again to a new process */
    struct pending queue[WORKER_QUEUE];
    int head, n;
    int64_t restarts;
};

static enum rc frame_send(struct worker *w, uint32_t kind, uint64_t id, const struct buf *payload,
                          struct err *e)
{
    struct worker_frame f = {kind, (uint32_t)payload->n, id};
    enum rc rc = io_write(w->proc.fd, &f, sizeof f, WORKER_TIMEOUT_MS, e);
    return rc ? rc : io_write(w->proc.fd, payload->p, payload->n, WORKER_TIMEOUT_MS, e);
}

static enum rc spawn(struct worker *w, struct err *e)
{
    const char *argv[] = {w->path, NULL};
    return proc_spawn(&w->proc, argv, PROC_SOCKET, e);
}

enum rc worker_start(struct worker **out, struct err *e)
{
    struct worker *w = mem_new(sizeof *w);
    char dir[1024];
    const char *env = getenv("QUERN_WORKER");
    enum rc rc = RC_OK;
    if (env && *env)
        snprintf(w->path, sizeof w->path, "%s", env);
    else if ((rc = proc_self_dir(dir, sizeof dir, e)) == RC_OK)
        snprintf(w->path, sizeof w->path, "%s/quern-worker", dir);
    if (rc == RC_OK) rc = spawn(w, e);
    if (rc != RC_OK) {
        mem_free(w);
        w = NULL;
    }
    *out = w;
    return rc;
}

static void reap(struct worker *w, int *status)
{
    proc_kill(&w->proc);
    proc_wait(&w->proc, status);
}

void worker_stop(struct worker *w)
{
    if (!w) return;
    int status;
    reap(w, &status);
    for (int i = 0; i < 3; i++) mem_free(w->task[i]);
    for (int i = 0; i < w->n; i++) mem_free(w->queue[(w->head + i) % WORKER_QUEUE].trace);
    mem_free(w);
}

static enum rc send_task(struct worker *w, struct err *e)
{
    struct buf b;
    buf_init(&b, 8 << 20);
    for (int i = 0; i < 3; i++) field_text(&b, w->task[i]);
    enum rc rc = frame_send(w, WORKER_TASK, 0, &b, e);
    buf_fini(&b);
    return rc;
}

static enum rc send_compile(struct worker *w, const struct pending *p, struct err *e)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    field_i64(&b, p->want);
    field_text(&b, p->trace);
    enum rc rc = frame_send(w, WORKER_COMPILE, p->id, &b, e);
    buf_fini(&b);
    return rc;
}

/* One whole frame; the payload is mem_free'd by the caller. */
static enum rc frame_receive(struct worker *w, struct worker_frame *f, char **payload,
                             int timeout_ms, struct err *e)
{
    *payload = NULL;
    enum rc rc = io_read(w->proc.fd, f, sizeof *f, timeout_ms, e);
    if (rc != RC_OK) return rc;
    if (f->n > WORKER_FRAME_MAX)
        return err_set(e, RC_FAIL, "worker.frame", "the compile worker sent nonsense");
    *payload = mem_new((size_t)f->n + 1);
    rc = io_read(w->proc.fd, *payload, f->n, WORKER_TIMEOUT_MS, e);
    if (rc != RC_OK) {
        mem_free(*payload);
        *payload = NULL;
    }
    return rc;
}

enum rc worker_task(struct worker *w, const char *op_text, const char *token,
                    const char *target_text, struct err *e)
{
    QN_CHECK(w->n == 0, "worker_task with %d requests in flight", w->n);
    const char *text[3] = {op_text, token, target_text};
    for (int i = 0; i < 3; i++) {
        mem_free(w->task[i]);
        w->task[i] = mem_strdup(text[i]);
    }
    struct worker_frame f;
    char *payload;
    enum rc rc = send_task(w, e);
    if (rc == RC_OK) rc = frame_receive(w, &f, &payload, WORKER_TIMEOUT_MS, e);
    if (rc != RC_OK) return err_wrap(e, "compile worker");
    struct compile_result r;
    bool fine = result_decode(&r, payload, f.n);
    mem_free(payload);
    if (!fine) return err_set(e, RC_FAIL, "worker.frame", "the compile worker sent nonsense");
    if (r.status != COMPILE_OK) rc = err_set(e, RC_INPUT, r.code, "%s", r.msg);
    compile_result_fini(&r);
    return rc;
}

/* A new process takes the task and everything still queued. */
static enum rc restart(struct worker *w, struct err *e)
{
    w->restarts++;
    enum rc rc = spawn(w, e);
    if (rc == RC_OK && w->task[0]) {
        struct worker_frame f;
        char *payload = NULL;
        rc = send_task(w, e);
        if (rc == RC_OK) rc = frame_receive(w, &f, &payload, WORKER_TIMEOUT_MS, e);
        mem_free(payload);
    }
    for (int i = 0; i < w->n && rc == RC_OK; i++) {
        struct pending *p = &w->queue[(w->head + i) % WORKER_QUEUE];
        p->since_ns = clock_ns();
        rc = send_compile(w, p, e);
    }
    return rc;
}

static void pop(struct worker *w)
{
    struct pending *p = &w->queue[w->head];
    mem_free(p->trace);
    p->trace = NULL;
    w->head = (w->head + 1) % WORKER_QUEUE;
    w->n--;
}

/* The process is gone (reaped, with this status): blame the head of the queue, go on with the
 * rest. */
static enum rc blame(struct worker *w, const char *code, int status, uint64_t *id,
                     struct compile_result *r, struct err *e)
{
    memset(r, 0, sizeof *r);
    r->status = COMPILE_FAILED;
    snprintf(r->code, sizeof r->code, "%s", code);
    if (strcmp(code, "worker.timeout") == 0)
        snprintf(r->msg, sizeof r->msg, "compiling took more than %d s", WORKER_TIMEOUT_MS / 1000);
    else if (WIFSIGNALED(status))
        snprintf(r->msg, sizeof r->msg, "the compiler died of signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(r->msg, sizeof r->msg, "the compiler left with status %d", WEXITSTATUS(status));
    *id = w->queue[w->head].id;
    pop(w);
    log_warn("compile worker: %s; started again", r->msg);
    return restart(w, e);
}

enum rc worker_submit(struct worker *w, uint64_t id, const char *trace_text, int want,
                      struct err *e)
{
    QN_CHECK(w->n < WORKER_QUEUE, "compile queue is full");
    struct pending *p = &w->queue[(w->head + w->n) % WORKER_QUEUE];
    *p = (struct pending){.id = id,
                          .want = want,
                          .trace = mem_strdup(trace_text),
                          .since_ns = clock_ns()};
    w->n++;
    enum rc rc = send_compile(w, p, e);
    /* A dead process shows up here first; worker_receive blames and restarts. */
    return rc == RC_OK || strncmp(e->code, "io.", 3) == 0 ? RC_OK : rc;
}

int worker_pending(const struct worker *w) { return w->n; }

int worker_fd(const struct worker *w) { return w->proc.fd; }

int64_t worker_restarts(const struct worker *w) { return w->restarts; }

int worker_pid(const struct worker *w) { return (int)w->proc.pid; }

void worker_pause(struct worker *w, bool paused)
{
    if (w->proc.pid > 0) kill(w->proc.pid, paused ? SIGSTOP : SIGCONT);
}

/* An answer has begun to come, or the process is gone. *late: the candidate has had its time. */
static bool wait_answer(struct worker *w, int timeout_ms, bool *late)
{
    struct pollfd p = {.fd = w->proc.fd, .events = POLLIN};
    int64_t begin = clock_ns();
    for (;;) {
        int64_t now = clock_ns();
        int64_t left = WORKER_TIMEOUT_MS - (now - w->queue[w->head].since_ns) / 1000000;
        int64_t patience = timeout_ms < 0 ? left : timeout_ms - (now - begin) / 1000000;
        int n = poll(&p, 1, (int)i64_max(i64_min(left, patience), 0));
        if (n > 0) return true;
        if (n < 0 && errno == EINTR) continue; /* Ctrl-C is no reason to blame a candidate */
        *late = left <= patience;
        return false;
    }
}

/* It hangs or talks nonsense. */
static enum rc bury(struct worker *w, const char *code, uint64_t *id, struct compile_result *r,
                    struct err *e)
{
    int status = 0;
    reap(w, &status);
    return blame(w, code, status, id, r, e);
}

/* It died. LLVM aborts or crashes on a candidate; SIGKILL and SIGTERM come from a person, or from a
 * system out of memory: the first such death says nothing about the candidate, which is compiled
 * again. */
static enum rc died(struct worker *w, int timeout_ms, uint64_t *id, struct compile_result *r,
                    struct err *e)
{
    int status = 0;
    reap(w, &status);
    bool outside =
        WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
    if (!outside || w->queue[w->head].deaths++ > 0)
        return blame(w, "worker.died", status, id, r, e);
    log_warn("compile worker: killed by signal %d; started again", WTERMSIG(status));
    enum rc rc = restart(w, e);
    return rc == RC_OK ? worker_receive(w, id, r, timeout_ms, e) : rc;
}

enum rc worker_receive(struct worker *w, uint64_t *id, struct compile_result *result,
                       int timeout_ms, struct err *e)
{
    memset(result, 0, sizeof *result);
    if (w->n == 0) return err_set(e, RC_DEADLINE, "worker.idle", "no compile request is in flight");
    bool late;
    if (!wait_answer(w, timeout_ms, &late)) {
        if (late) return bury(w, "worker.timeout", id, result, e);
        return err_set(e, RC_DEADLINE, "worker.deadline", "no compile result within %d ms",
                       timeout_ms);
    }
    struct worker_frame f;
    char *payload;
    if (frame_receive(w, &f, &payload, WORKER_TIMEOUT_MS, e) != RC_OK)
        return died(w, timeout_ms, id, result, e);
    bool fine = f.kind == WORKER_RESULT && f.id == w->queue[w->head].id &&
                result_decode(result, payload, f.n);
    mem_free(payload);
    if (!fine) {
        compile_result_fini(result);
        return bury(w, "worker.frame", id, result, e);
    }
    *id = f.id;
    pop(w);
    if (w->n) w->queue[w->head].since_ns = clock_ns();
    return RC_OK;
}
