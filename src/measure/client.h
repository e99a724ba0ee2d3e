/* client: one quern-runner as seen from the tuner. The only file of the room that does I/O.
 *
 *   struct client *c = client_open(NULL, &e);           spawns quern-runner beside this program
 *   struct client_reply r;
 *   client_submit(c, WIRE_SCREEN, &screen, 5000, &e);   at most one job in flight
 *   client_wait(c, &r, &e);                             r.type == WIRE_RESULT, r.result
 *   client_close(c);
 *
 * Failures of the world become results: when the runner dies, stalls past the deadline or talks
 * nonsense, the reply is a RESULT with verdict transport or runner_bug, and the runner is started
 * again before the next job. Only "cannot start it at all" is an error. Replies live until the next
 * client_submit. A race is driven by client_race: the state machine of race.h over one
 * connection. */
#ifndef QN_MEASURE_CLIENT_H
#define QN_MEASURE_CLIENT_H

#include <sys/types.h>

#include "base/err.h"
#include "measure/race.h"
#include "wire/wire.h"

struct client;

struct client_reply {
    enum wire_type type;
    union {
        const struct wire_result *result; /* VERIFY, SCREEN, and any failure of the world */
        const struct wire_race_ready *ready;
        const struct wire_race_samples *samples;
        const struct wire_race_done *done;
        const struct wire_calibration *calibration;
        const struct wire_pong *pong;
        const void *msg;
    };
};

/* program NULL: $QUERN_RUNNER, else quern-runner beside the running program. */
struct client *client_open(const char *program, struct err *e);
void client_close(struct client *c);                           /* NULL allowed */
const struct wire_hello *client_hello(const struct client *c); /* of the present runner */
int client_starts(const struct client *c);                     /* how often a runner was started */
pid_t client_pid(const struct client *c);                      /* 0: none running */
/* Descriptor that becomes readable when a reply has come, for poll(); -1 when none runs. */
int client_fd(const struct client *c);

/* msg: the structure of `type`. deadline_ms counts from now; 0: 60000. */
enum rc client_submit(struct client *c, enum wire_type type, const void *msg, int deadline_ms,
                      struct err *e);
bool client_busy(const struct client *c); /* a reply is due */
/* Has the whole reply come? Never blocks longer than wait_ms (0: not at all). */
bool client_poll(struct client *c, int wait_ms);
/* Waits for the reply up to the deadline. RC_FAIL without a job in flight. */
enum rc client_wait(struct client *c, struct client_reply *r, struct err *e);
/* Submit and wait. */
enum rc client_call(struct client *c, enum wire_type type, const void *msg, int deadline_ms,
                    struct client_reply *r, struct err *e);
/* Gives the job in flight up (kills what runs it). The next client_wait returns verdict
 * cancelled. */
void client_cancel(struct client *c);

struct client_race {
    struct race race;                       /* outcome and all raw samples */
    struct wire_outcome outcomes[RACE_MAX]; /* per entry, texts in `arena` */
    uint64_t iters;
    double fma_flops;   /* FLOPs of one FMA-loop step */
    double peak_gflops; /* best FMA round; 0 without calibration */
    enum verdict world; /* VERDICT_OK, or why the race as a whole failed */
    char text[512];
    struct arena *arena;
};

/* Runs the whole race: open, rounds, reopen for sessions, close. Entries whose verification fails
 * are dead with their outcome; entry 0 is the incumbent. Free with client_race_free. */
enum rc client_race(struct client *c, const struct wire_race_open *open,
                    const struct race_config *cfg, int deadline_ms, struct client_race *out,
                    struct err *e);
void client_race_free(struct client_race *r);

#endif
