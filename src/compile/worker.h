/* worker: candidates compiled in a process of their own, because LLVM may abort.
 *
 *   worker_start(&w, &e);                               $QUERN_WORKER, or the program beside
 *   worker_task(w, op_text, token, target_text, &e);    what the next requests are about
 *   worker_submit(w, id, trace_text, COMPILE_BLOB, &e); up to WORKER_QUEUE in flight
 *   worker_receive(w, &id, &result, timeout_ms, &e);    in order of submission
 *
 * A worker that dies or hangs answers the candidate it died on with COMPILE_FAILED "worker.died" or
 * "worker.timeout", is started again, and is sent the rest: the caller never notices more than
 * that. One that somebody killed (SIGKILL, SIGTERM) compiles that candidate once more first. */
#ifndef QN_WORKER_H
#define QN_WORKER_H

#include "compile/compile.h"

enum { WORKER_QUEUE = 16, WORKER_TIMEOUT_MS = 30000 };

struct worker;

enum rc worker_start(struct worker **out, struct err *e);
void worker_stop(struct worker *w); /* NULL allowed */
/* Drops nothing in flight: call with an empty queue. RC_INPUT if the worker refuses the task. */
enum rc worker_task(struct worker *w, const char *op_text, const char *token,
                    const char *target_text, struct err *e);
enum rc worker_submit(struct worker *w, uint64_t id, const char *trace_text, int want,
                      struct err *e);
int worker_pending(const struct worker *w);
int worker_fd(const struct worker *w); /* readable when a result may be there */
/* RC_DEADLINE after timeout_ms without a result (0 = poll). compile_result_fini(result) is the
 * caller's. */
enum rc worker_receive(struct worker *w, uint64_t *id, struct compile_result *result,
                       int timeout_ms, struct err *e);
int64_t worker_restarts(const struct worker *w);
int worker_pid(const struct worker *w);
void worker_pause(struct worker *w, bool paused); /* SIGSTOP / SIGCONT around races */

/* The other side: serves requests on descriptor 3 until it closes. */
int worker_main(void);

#endif
