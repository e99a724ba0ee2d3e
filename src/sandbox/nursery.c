/* nursery: gives up its rights, then answers one frame after the other.
 *
 *   facts -> no_new_privs -> uid -> landlock -> HELLO -> { frame -> decode -> job -> reply }*
 *
 * Invariants: nothing is read from the client before the rights are gone; every request gets
 * exactly one reply with its number; memory of a request dies with its reply, except a race's. */
#include "sandbox/nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "sandbox/facts.h"
#include "sandbox/jobs.h"
#include "sandbox/layers.h"
#include "sandbox/sandbox.h"

static uint64_t resident_bytes(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

bool frame_read(int fd, struct buf *b, struct wire_header *h)
{
    uint8_t header[WIRE_HEADER], chunk[16384];
    buf_reset(b);
    if (io_read(fd, header, sizeof header, -1, NULL) || wire_header(header, h, NULL)) return false;
    buf_put(b, header, sizeof header);
    for (size_t left = h->length; left > 0;) {
        size_t n = left < sizeof chunk ? left : sizeof chunk;
        if (io_read(fd, chunk, n, -1, NULL)) return false;
        buf_put(b, chunk, n);
        left -= n;
    }
    return !b->full;
}

struct server {
    int fd;
    struct nursery n;
    struct buf in, out;
};

static void reply(struct server *s, enum wire_type type, uint32_t seq, const void *msg)
{
    struct err e = {0};
    buf_reset(&s->out);
    if (wire_encode(&s->out, type, seq, msg, &e)) {
        struct wire_fault f = {.code = "runner.reply", .text = "the reply did not fit its frame"};
        QN_CHECK(wire_encode(&s->out, WIRE_FAULT, seq, &f, &e) == RC_OK, "fault: %s", e.msg);
    }
    if (io_write(s->fd, s->out.p, s->out.n, -1, NULL)) _exit(0); /* the runner is gone */
}

/* Texts of outcomes hold names from outside; cut to what the wire takes. */
static void tame_outcome(struct arena *a, struct wire_outcome *o)
{
    if (o->text && strlen(o->text) > 500) o->text = arena_strndup(a, o->text, 500);
    if (o->verdict == VERDICT_OK) o->text = NULL;
}

static void on_pong(struct server *s, uint32_t seq, const struct wire_ping *m)
{
    struct wire_pong r = {.nonce = m->nonce,
                          .jobs = s->n.keeper.jobs,
                          .rss = resident_bytes(),
                          .tasks = (uint32_t)s->n.cache.n,
                          .cached = cache_bytes(&s->n.cache)};
    reply(s, WIRE_PONG, seq, &r);
}

static void on_result(struct server *s, struct arena *a, uint32_t seq, struct wire_result *r)
{
    tame_outcome(a, &r->outcome);
    reply(s, WIRE_RESULT, seq, r);
    keeper_trim(&s->n.keeper);
}

static void on_race_open(struct server *s, struct arena *a, uint32_t seq,
                         const struct wire_race_open *m)
{
    struct wire_race_ready r = {0};
    job_race_open(&s->n, a, m, &r);
    for (uint32_t i = 0; i < r.entries_n; i++) tame_outcome(a, &r.entries[i]);
    reply(s, WIRE_RACE_READY, seq, &r);
}

static void on_race_round(struct server *s, struct arena *a, uint32_t seq,
                          const struct wire_race_round *m)
{
    struct wire_race_samples r = {0};
    job_race_round(&s->n, a, m, &r);
    for (uint32_t i = 0; i < r.dead_n; i++) tame_outcome(a, &r.dead[i].outcome);
    reply(s, WIRE_RACE_SAMPLES, seq, &r);
}

static void on_race_close(struct server *s, struct arena *a, uint32_t seq)
{
    struct wire_race_done r = {0};
    job_race_close(&s->n, a, &r);
    for (uint32_t i = 0; i < r.entries_n; i++) tame_outcome(a, &r.entries[i]);
    reply(s, WIRE_RACE_DONE, seq, &r);
    keeper_trim(&s->n.keeper);
}

static void dispatch(struct server *s, struct arena *a, const struct wire_header *h,
                     const void *msg)
{
    struct wire_result result = {0};
    if (s->n.race.open && h->type != WIRE_RACE_ROUND && h->type != WIRE_RACE_CLOSE &&
        h->type != WIRE_PING)
        race_drop(&s->n);
    switch (h->type) {
    case WIRE_PING:
        on_pong(s, h->seq, msg);
        break;
    case WIRE_VERIFY:
        job_verify(&s->n, a, msg, &result);
        on_result(s, a, h->seq, &result);
        break;
    case WIRE_SCREEN:
        job_screen(&s->n, a, msg, &result);
        on_result(s, a, h->seq, &result);
        break;
    case WIRE_RACE_OPEN:
        on_race_open(s, a, h->seq, msg);
        break;
    case WIRE_RACE_ROUND:
        on_race_round(s, a, h->seq, msg);
        break;
    case WIRE_RACE_CLOSE:
        on_race_close(s, a, h->seq);
        break;
    case WIRE_CALIBRATE: {
        struct wire_calibration r = {0};
        job_calibrate(&s->n, a, msg, &r);
        reply(s, WIRE_CALIBRATION, h->seq, &r);
        break;
    }
    default: {
        struct wire_fault f = {.code = "wire.type", .text = "a runner does not take this message"};
        reply(s, WIRE_FAULT, h->seq, &f);
    }
    }
}

static void lose_rights(uint32_t *layers)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!layer_drop_uid()) *layers &= ~(UINT32_C(1) << LAYER_UID_DROP);
    QN_CHECK(geteuid() != 0 || !(*layers >> LAYER_UID_DROP & 1), "still root after dropping it");
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (*layers >> LAYER_LANDLOCK & 1 && !layer_landlock())
        *layers &= ~(UINT32_C(1) << LAYER_LANDLOCK);
}

static void say_hello(struct server *s, struct arena *a, struct wire_hello *h, uint32_t layers,
                      pid_t runner)
{
    struct keeper *k = &s->n.keeper;
    h->cpus = (uint32_t)__builtin_popcountll(k->cpus);
    h->cpu_mask = k->cpus;
    h->l1d = k->cache_bytes[0], h->l2 = k->cache_bytes[1], h->l3 = k->cache_bytes[2];
    h->memory = k->memory;
    h->layers = layers;
    h->mandatory = sandbox_mandatory();
    h->uid = (uint32_t)getuid();
    h->pid = (uint32_t)runner;
    reply(s, WIRE_HELLO, 0, h);
}

void nursery_main(int fd, uint32_t layers, pid_t runner)
{
    static struct server s; /* large; zero is its empty state */
    struct arena *a = arena_new();
    struct wire_hello hello = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    s.fd = fd;
    facts_read(a, &hello);
    if (!keeper_init(&s.n.keeper, layers)) _exit(1);
    lose_rights(&layers);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* again: changing uid clears it */
    if (getppid() != runner) _exit(0);
    s.n.keeper.layers = layers;
    s.n.cache.limit =
        s.n.keeper.memory / 4 < (UINT64_C(2) << 30) ? s.n.keeper.memory / 4 : UINT64_C(2) << 30;
    buf_init(&s.in, WIRE_MAX_FRAME + WIRE_HEADER);
    buf_init(&s.out, WIRE_MAX_FRAME + WIRE_HEADER);
    say_hello(&s, a, &hello, layers, runner);
    arena_reset(a);
    struct wire_header h;
    while (frame_read(fd, &s.in, &h)) {
        void *msg;
        struct err e = {0};
        if (wire_payload(a, &h, (const uint8_t *)s.in.p + WIRE_HEADER, &msg, &e)) {
            struct wire_fault f = {.code = e.code,
                                   .text = arena_strndup(a, e.msg, strnlen(e.msg, 500))};
            reply(&s, WIRE_FAULT, h.seq, &f);
            break;
        }
        dispatch(&s, a, &h, msg);
        arena_reset(a);
    }
    _exit(0);
}
