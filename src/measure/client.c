/* client: spawn, handshake, one job in flight, and every way that can go wrong as a verdict.
 *
 *   idle --submit--> busy --reply | death | deadline | nonsense--> ready --wait--> idle
 *
 * Invariants: after any failure the runner is killed and reaped at once and a new one starts at the
 * next submit; a reply is taken only if its number is the job's, so a late one cannot be
 * mistaken. */
#include "measure/client.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/proc.h"

enum { HELLO_TIMEOUT_MS = 20000, DEFAULT_DEADLINE_MS = 60000 };

struct client {
    char program[4096];
    struct proc proc; /* pid 0: none runs */
    int starts;
    struct arena *hello_arena, *arena; /* hello; the last reply */
    const struct wire_hello *hello;
    struct buf in, out;
    uint32_t seq;
    bool busy;
    int64_t deadline; /* clock_ns */
    bool have;        /* the reply below is complete */
    struct client_reply reply;
};

static void client_kill(struct client *c)
{
    int status;
    if (c->proc.pid == 0) return;
    proc_kill(&c->proc);
    proc_wait(&c->proc, &status);
    c->proc.pid = 0;
}

/* Ends the job in flight with a verdict of the world. */
static void client_fail(struct client *c, enum verdict verdict, const char *text)
{
    client_kill(c);
    if (!c->busy || c->have) return;
    struct wire_result *r = ARENA_NEW(c->arena, struct wire_result);
    r->outcome = (struct wire_outcome){.verdict = (uint8_t)verdict,
                                       .text = arena_strdup(c->arena, text),
                                       .where = "",
                                       .buffer = "",
                                       .index = -1};
    c->reply = (struct client_reply){.type = WIRE_RESULT, .result = r};
    c->have = true;
}

static enum rc client_start(struct client *c, struct err *e)
{
    const char *argv[] = {c->program, NULL};
    uint8_t header[WIRE_HEADER];
    struct wire_header h;
    void *msg;
    if (proc_spawn(&c->proc, argv, PROC_SOCKET, e)) return err_wrap(e, "cannot start the runner");
    c->starts++;
    enum rc rc = io_read(c->proc.fd, header, sizeof header, HELLO_TIMEOUT_MS, e);
    if (!rc) rc = wire_header(header, &h, e);
    if (!rc && (h.type != WIRE_HELLO || h.length > 1 << 16))
        rc = err_set(e, RC_FAIL, "client.hello", "'%s' did not say hello", c->program);
    if (!rc) {
        arena_reset(c->hello_arena);
        uint8_t *p = arena_alloc(c->hello_arena, h.length);
        rc = io_read(c->proc.fd, p, h.length, HELLO_TIMEOUT_MS, e);
        if (!rc) rc = wire_payload(c->hello_arena, &h, p, &msg, e);
    }
    if (rc) {
        client_kill(c);
        return err_wrap(e, "runner '%s'", c->program);
    }
    c->hello = msg;
    return RC_OK;
}

struct client *client_open(const char *program, struct err *e)
{
    struct client *c = mem_new(sizeof *c);
    const char *env = getenv("QUERN_RUNNER");
    if (!program && env && *env) program = env;
    c->arena = arena_new();
    c->hello_arena = arena_new();
    buf_init(&c->in, WIRE_MAX_FRAME + WIRE_HEADER);
    buf_init(&c->out, WIRE_MAX_FRAME + WIRE_HEADER);
    enum rc rc = RC_OK;
    char dir[4000];
    if (program) {
        snprintf(c->program, sizeof c->program, "%s", program);
    } else if ((rc = proc_self_dir(dir, sizeof dir, e)) == RC_OK) {
        snprintf(c->program, sizeof c->program, "%s/quern-runner", dir);
    }
    if (!rc) rc = client_start(c, e);
    if (!rc) return c;
    client_close(c);
    return NULL;
}

void client_close(struct client *c)
{
    if (!c) return;
    client_kill(c);
    buf_fini(&c->in);
    buf_fini(&c->out);
    arena_free(c->arena);
    arena_free(c->hello_arena);
    mem_free(c);
}

const struct wire_hello *client_hello(const struct client *c) { return c->hello; }
int client_starts(const struct client *c) { return c->starts; }
pid_t client_pid(const struct client *c) { return c->proc.pid; }
int client_fd(const struct client *c) { return c->proc.pid ? c->proc.fd : -1; }
bool client_busy(const struct client *c) { return c->busy; }

enum rc client_submit(struct client *c, enum wire_type type, const void *msg, int deadline_ms,
                      struct err *e)
{
    if (c->busy) return err_set(e, RC_INTERNAL, "client.busy", "a job is already in flight");
    arena_reset(c->arena);
    buf_reset(&c->in);
    buf_reset(&c->out);
    c->have = false;
    if (wire_encode(&c->out, type, ++c->seq, msg, e)) return RC_INTERNAL;
    if (c->proc.pid == 0 && client_start(c, e)) return e ? e->rc : RC_FAIL;
    c->busy = true;
    int ms = deadline_ms > 0 ? deadline_ms : DEFAULT_DEADLINE_MS;
    c->deadline = clock_ns() + (int64_t)ms * 1000000;
    if (io_write(c->proc.fd, c->out.p, c->out.n, ms, NULL))
        client_fail(c, VERDICT_TRANSPORT, "the runner does not listen");
    return RC_OK;
}

static void take_reply(struct client *c, const struct wire_header *h)
{
    void *msg;
    struct err e = {0};
    if (wire_payload(c->arena, h, (const uint8_t *)c->in.p + WIRE_HEADER, &msg, &e)) {
        client_fail(c, VERDICT_RUNNER_BUG, e.msg);
    } else if (h->type == WIRE_FAULT) {
        client_fail(c, VERDICT_RUNNER_BUG, ((const struct wire_fault *)msg)->text);
    } else if (h->seq != c->seq || wire_from_client(h->type) || h->type == WIRE_HELLO) {
        client_fail(c, VERDICT_RUNNER_BUG, "the runner answered something else");
    } else {
        c->reply = (struct client_reply){.type = h->type, .msg = msg};
        c->have = true;
    }
}

/* Looks at what has come: a whole frame, part of one, or nonsense. */
static void examine(struct client *c)
{
    struct wire_header h;
    struct err e = {0};
    if (c->have || c->in.n < WIRE_HEADER) return;
    if (wire_header((const uint8_t *)c->in.p, &h, &e))
        client_fail(c, VERDICT_RUNNER_BUG, e.msg);
    else if (c->in.n >= WIRE_HEADER + (size_t)h.length)
        take_reply(c, &h);
}

bool client_poll(struct client *c, int wait_ms)
{
    if (!c->busy || c->have) return c->busy;
    struct pollfd p = {.fd = c->proc.fd, .events = POLLIN};
    if (poll(&p, 1, wait_ms) <= 0) return false;
    for (;;) {
        char chunk[65536];
        ssize_t n = recv(c->proc.fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n > 0) {
            buf_put(&c->in, chunk, (size_t)n);
            examine(c);
            if (c->have) return true;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
        client_fail(c, VERDICT_TRANSPORT, "the runner died");
        return true;
    }
}

enum rc client_wait(struct client *c, struct client_reply *r, struct err *e)
{
    if (!c->busy) return err_set(e, RC_FAIL, "client.idle", "no job is in flight");
    while (!c->have) {
        int64_t left = (c->deadline - clock_ns()) / 1000000;
        if (left <= 0)
            client_fail(c, VERDICT_RUNNER_BUG, "the runner did not answer in time");
        else
            client_poll(c, (int)left + 1);
    }
    *r = c->reply;
    c->busy = c->have = false;
    return RC_OK;
}

enum rc client_call(struct client *c, enum wire_type type, const void *msg, int deadline_ms,
                    struct client_reply *r, struct err *e)
{
    enum rc rc = client_submit(c, type, msg, deadline_ms, e);
    return rc ? rc : client_wait(c, r, e);
}

void client_cancel(struct client *c)
{
    struct wire_cancel m = {0};
    if (!c->busy || c->have) return;
    buf_reset(&c->out);
    if (wire_encode(&c->out, WIRE_CANCEL, c->seq, &m, NULL) ||
        io_write(c->proc.fd, c->out.p, c->out.n, 1000, NULL))
        client_fail(c, VERDICT_CANCELLED, "cancelled by the client");
}
