/* serve: the compile worker itself: requests on descriptor 3, answers, until it closes.
 *
 * Invariants: one answer a request, in order; a crash answers nothing (the client blames the
 * request it waits for); memory is bounded by one candidate: each has a context of its own. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/proc.h"
#include "compile/compile_int.h"
#include "compile/worker.h"
#include "compile/worker_int.h"

enum { SERVE_FD = 3 };

static enum rc answer(uint64_t id, const struct compile_result *r, struct err *e)
{
    struct buf b;
    buf_init(&b, WORKER_FRAME_MAX);
    result_encode(&b, r);
    struct worker_frame f = {WORKER_RESULT, (uint32_t)b.n, id};
    enum rc rc = b.full ? err_set(e, RC_INTERNAL, "worker.frame", "result too large") : RC_OK;
    if (rc == RC_OK) rc = io_write(SERVE_FD, &f, sizeof f, -1, e);
    if (rc == RC_OK) rc = io_write(SERVE_FD, b.p, b.n, -1, e);
    buf_fini(&b);
    return rc;
}

static void serve_task(struct compiler **c, const char *payload, size_t n, struct compile_result *r)
{
    struct fields f = {payload, payload + n, false};
    char *op_text = field_get_text(&f), *token = field_get_text(&f),
         *target_text_in = field_get_text(&f);
    struct err e = {0};
    compiler_free(*c);
    *c = NULL;
    if (f.bad || compiler_new(c, op_text, token, target_text_in, &e) != RC_OK) {
        r->status = COMPILE_FAILED;
        snprintf(r->code, sizeof r->code, "%s", f.bad ? "worker.frame" : e.code);
        snprintf(r->msg, sizeof r->msg, "%s", f.bad ? "short request" : e.msg);
    }
    mem_free(op_text);
    mem_free(token);
    mem_free(target_text_in);
}

static void serve_compile(struct compiler *c, const char *payload, size_t n,
                          struct compile_result *r)
{
    struct fields f = {payload, payload + n, false};
    int want = (int)field_get_i64(&f);
    char *trace = field_get_text(&f);
    if (c && !f.bad) {
        compile_candidate(c, trace, want, r);
    } else {
        r->status = COMPILE_FAILED;
        snprintf(r->code, sizeof r->code, "worker.frame");
    }
    mem_free(trace);
}

int worker_main(void)
{
    struct compiler *c = NULL;
    struct err e = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        struct worker_frame f;
        if (io_read(SERVE_FD, &f, sizeof f, -1, &e) != RC_OK || f.n > WORKER_FRAME_MAX) break;
        char *payload = mem_new((size_t)f.n + 1);
        if (io_read(SERVE_FD, payload, f.n, -1, &e) != RC_OK) {
            mem_free(payload);
            break;
        }
        struct compile_result r = {.art.pack_at = -1};
        if (f.kind == WORKER_TASK)
            serve_task(&c, payload, f.n, &r);
        else
            serve_compile(c, payload, f.n, &r);
        enum rc rc = answer(f.id, &r, &e);
        compile_result_fini(&r);
        mem_free(payload);
        if (rc != RC_OK) break;
    }
    compiler_free(c);
    return 0;
}
