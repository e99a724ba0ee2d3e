/* runner: the process a client talks to. It moves frames between the client and the nursery and
 * replaces a nursery that died; it decodes nothing but headers.
 *
 *   client <- fd 3 -> runner <- socketpair -> nursery
 *
 *   CANCEL           the nursery is killed (its children die with it), the job in flight is
 *                    answered with verdict cancelled, a new nursery starts
 *   nursery dies     the job in flight is answered with verdict runner_bug
 *
 * Invariants: at most one job is in the nursery; a second waits here unread; every job taken is
 * answered once, by the nursery or by the runner. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "sandbox/facts.h"
#include "sandbox/keeper.h"
#include "sandbox/nursery.h"
#include "sandbox/sandbox.h"

enum { MAX_RESTARTS = 1000 };

struct runner {
    int client;
    int nursery; /* socket; -1: none */
    pid_t pid;
    uint32_t layers;
    bool busy;
    uint32_t seq; /* of the job in flight */
    int restarts;
    struct buf from_client, from_nursery;
};

static bool start_nursery(struct runner *r)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
    pid_t self = getpid(), pid = fork();
    if (pid == 0) {
        close(pair[0]);
        close(r->client);
        setpgid(0, 0);
        nursery_main(pair[1], r->layers, self);
    }
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return false;
    }
    r->pid = pid;
    r->nursery = pair[0];
    return true;
}

static void stop_nursery(struct runner *r)
{
    if (r->pid <= 0) return;
    kill(r->pid, SIGKILL);
    while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    close(r->nursery);
    r->nursery = -1;
    r->pid = 0;
}

/* The first frame of a nursery is its HELLO; passed on only the first time. */
static bool take_hello(struct runner *r, bool pass)
{
    struct wire_header h;
    if (!frame_read(r->nursery, &r->from_nursery, &h) || h.type != WIRE_HELLO) return false;
    return !pass || io_write(r->client, r->from_nursery.p, r->from_nursery.n, -1, NULL) == RC_OK;
}

static bool answer(struct runner *r, enum verdict verdict, const char *text)
{
    struct wire_result m = {
        .outcome = {.verdict = (uint8_t)verdict, .text = text, .layers = r->layers, .index = -1}};
    buf_reset(&r->from_nursery);
    struct err e;
    QN_CHECK(wire_encode(&r->from_nursery, WIRE_RESULT, r->seq, &m, &e) == RC_OK, "%s", e.msg);
    r->busy = false;
    return io_write(r->client, r->from_nursery.p, r->from_nursery.n, -1, NULL) == RC_OK;
}

static bool replace_nursery(struct runner *r, enum verdict verdict, const char *text)
{
    stop_nursery(r);
    if (r->busy && !answer(r, verdict, text)) return false;
    return r->restarts++ < MAX_RESTARTS && start_nursery(r) && take_hello(r, false);
}

static bool on_nursery(struct runner *r)
{
    struct wire_header h;
    if (!frame_read(r->nursery, &r->from_nursery, &h))
        return replace_nursery(r, VERDICT_RUNNER_BUG, "the nursery died on this job");
    r->busy = false;
    return io_write(r->client, r->from_nursery.p, r->from_nursery.n, -1, NULL) == RC_OK;
}

static bool refuse(struct runner *r, const char *code, const char *text)
{
    struct wire_fault f = {.code = code, .text = text};
    buf_reset(&r->from_nursery);
    if (wire_encode(&r->from_nursery, WIRE_FAULT, 0, &f, NULL) == RC_OK)
        io_write(r->client, r->from_nursery.p, r->from_nursery.n, 1000, NULL);
    return false;
}

static bool on_client(struct runner *r)
{
    struct wire_header h;
    struct err e = {0};
    uint8_t header[WIRE_HEADER];
    enum rc rc = io_read(r->client, header, sizeof header, -1, NULL);
    if (rc) return false; /* end of file: the client is gone */
    if (wire_header(header, &h, &e)) return refuse(r, e.code, e.msg);
    if (!wire_from_client(h.type))
        return refuse(r, "wire.type", "only a runner sends this message");
    buf_reset(&r->from_client);
    buf_put(&r->from_client, header, sizeof header);
    for (uint32_t left = h.length; left > 0;) {
        uint8_t chunk[16384];
        size_t n = left < sizeof chunk ? left : sizeof chunk;
        if (io_read(r->client, chunk, n, -1, NULL)) return false;
        buf_put(&r->from_client, chunk, n);
        left -= (uint32_t)n;
    }
    if (h.type == WIRE_BYE) return false;
    if (h.type == WIRE_CANCEL)
        return !r->busy || replace_nursery(r, VERDICT_CANCELLED, "cancelled by the client");
    if (r->busy) return refuse(r, "wire.busy", "a job is already in flight");
    r->busy = true;
    r->seq = h.seq;
    if (io_write(r->nursery, r->from_client.p, r->from_client.n, -1, NULL) == RC_OK) return true;
    return replace_nursery(r, VERDICT_RUNNER_BUG, "the nursery died before this job");
}

int runner_serve(int fd)
{
    struct runner r = {.client = fd, .nursery = -1};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* the client decides what an interrupt means */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    buf_init(&r.from_client, WIRE_MAX_FRAME + WIRE_HEADER);
    buf_init(&r.from_nursery, WIRE_MAX_FRAME + WIRE_HEADER);
    r.layers = sandbox_probe();
    bool ok = start_nursery(&r) && take_hello(&r, true);
    while (ok) {
        struct pollfd p[2] = {{.fd = r.client, .events = POLLIN},
                              {.fd = r.nursery, .events = POLLIN}};
        if (poll(p, 2, -1) < 0) {
            ok = errno == EINTR;
            continue;
        }
        if (p[1].revents)
            ok = on_nursery(&r);
        else if (p[0].revents)
            ok = on_client(&r);
    }
    stop_nursery(&r);
    buf_fini(&r.from_client);
    buf_fini(&r.from_nursery);
    return 0;
}

int runner_self_test(void)
{
    struct arena *a = arena_new();
    struct wire_hello h = {0};
    uint32_t layers = sandbox_probe(), mandatory = sandbox_mandatory();
    facts_read(a, &h);
    printf("version %s\narch %s\ncpu %s\nkernel %s\n", h.version, arch_name((enum arch)h.arch),
           h.cpu, h.kernel);
    for (int i = 0; i < LAYER_COUNT; i++) {
        const struct layer_info *l = sandbox_layer_info((enum sandbox_layer)i);
        printf("layer %-13s %s%s  (%s)\n", l->name, layers >> i & 1 ? "yes" : "NO",
               l->mandatory ? ", mandatory" : "", l->text);
    }
    arena_free(a);
    return (mandatory & ~layers) == 0 ? 0 : 1;
}
