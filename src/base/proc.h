/* proc: child processes and pipes. Descriptors are close-on-exec; only those named reach a child.
 *
 *   struct proc p; proc_spawn(&p, argv, PROC_SOCKET, &e);   p.fd talks to the child's descriptor 3
 *   proc_kill(&p); proc_wait(&p, &status);                   SIGKILL to its group, then reap */
#ifndef QN_PROC_H
#define QN_PROC_H

#include <sys/types.h>

#include "base/err.h"

enum proc_flags {
    PROC_SOCKET = 1, /* a socketpair: ours in p->fd, theirs as descriptor 3 */
    PROC_QUIET = 2,  /* stdout and stderr to /dev/null */
};

struct proc {
    pid_t pid;
    int fd; /* -1 without PROC_SOCKET */
};

enum rc proc_spawn(struct proc *p, const char *const *argv, int flags, struct err *e);
void proc_kill(struct proc *p);
/* Blocks; *status as waitpid's. Closes p->fd, sets pid 0. */
void proc_wait(struct proc *p, int *status);

/* Run to the end with a time limit, capturing stdout+stderr (truncated at max bytes,
 * NUL-terminated, free with mem_free). *exit_code: exit status, 128+signal, or -1 on timeout. */
enum rc proc_run(const char *const *argv, const char *cwd, int timeout_ms, size_t max,
                 char **output, int *exit_code, struct err *e);

/* Directory of the running program (for siblings quern-runner, schedules/, targets/). */
enum rc proc_self_dir(char *out, size_t n, struct err *e);

/* Exact-length I/O on a blocking descriptor; RC_DEADLINE after timeout_ms (-1: none), RC_FAIL with
 * code "io.closed" on end of file. */
enum rc io_read(int fd, void *p, size_t n, int timeout_ms, struct err *e);
enum rc io_write(int fd, const void *p, size_t n, int timeout_ms, struct err *e);
int64_t clock_ns(void); /* CLOCK_MONOTONIC */

#endif
