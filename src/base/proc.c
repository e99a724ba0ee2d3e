/* proc: starting, stopping and reading child processes.
 *
 *   parent ──fork──► child: own process group, stdin /dev/null, descriptor 3 = our socket ──► exec
 *
 * Invariants: between fork and exec only async-signal-safe calls; a failed exec is reported through
 * a close-on-exec pipe, so proc_spawn tells it; everything but 0..3 is closed in the child; the
 * child is its own group, so killing it kills what it started, and Ctrl-C reaches only us. */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"

enum { SAFE_FD = 16, FD_CHANNEL = 3 };

struct child_setup {
    const char *const *argv;
    const char *cwd;
    int channel; /* becomes descriptor 3, or -1 */
    int output;  /* becomes 1 and 2, or -1 */
    int status;  /* errno goes here when exec fails */
};

static void close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) == 0) return;
#endif
    for (int fd = first; fd < 1024; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

QN_NORETURN static void child_main(const struct child_setup *c)
{
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int sig = 1; sig < 32; sig++)
        if (sig != SIGKILL && sig != SIGSTOP) signal(sig, SIG_DFL);

    /* out of the way of 0..3 first, so that no dup2 below overwrites what a later one needs */
    int status = fcntl(c->status, F_DUPFD_CLOEXEC, SAFE_FD);
    int channel = c->channel < 0 ? -1 : fcntl(c->channel, F_DUPFD_CLOEXEC, SAFE_FD);
    int output = c->output < 0 ? -1 : fcntl(c->output, F_DUPFD_CLOEXEC, SAFE_FD);
    int null = open("/dev/null", O_RDWR);
    bool ok = status >= 0 && null >= 0 && dup2(null, 0) >= 0;
    if (ok && output >= 0) ok = dup2(output, 1) >= 0 && dup2(output, 2) >= 0;
    if (ok && channel >= 0) ok = dup2(channel, FD_CHANNEL) >= 0;
    if (ok && c->cwd) ok = chdir(c->cwd) == 0;
    if (ok) {
        close_from(channel >= 0 ? FD_CHANNEL + 1 : FD_CHANNEL);
        execvp(c->argv[0], (char *const *)c->argv);
    }
    int why = errno;
    (void)!write(status >= 0 ? status : c->status, &why, sizeof why);
    _exit(127);
}

/* Forks and waits until the child has reached exec; *pid is set only on success. */
static enum rc start_child(struct child_setup *c, pid_t *pid, struct err *e)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return err_set(e, RC_FAIL, "proc.pipe", "cannot start '%s': %s", c->argv[0],
                       strerror(errno));
    c->status = report[1];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* our handlers must not run in the child */
    pid_t child = fork();
    if (child == 0) child_main(c);
    int why = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (child < 0) {
        close(report[0]);
        return err_set(e, RC_FAIL, "proc.fork", "cannot start '%s': %s", c->argv[0], strerror(why));
    }
    setpgid(child, child); /* the child does it too; whoever is first */
    ssize_t got;
    do {
        got = read(report[0], &why, sizeof why);
    } while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got == (ssize_t)sizeof why) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
        return err_set(e, RC_FAIL, "proc.exec", "cannot run '%s': %s", c->argv[0], strerror(why));
    }
    *pid = child;
    return RC_OK;
}

enum rc proc_spawn(struct proc *p, const char *const *argv, int flags, struct err *e)
{
    *p = (struct proc){.fd = -1};
    int pair[2] = {-1, -1}, null = -1;
    if ((flags & PROC_SOCKET) && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return err_set(e, RC_FAIL, "proc.socket", "cannot start '%s': %s", argv[0],
                       strerror(errno));
    if (flags & PROC_QUIET) null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct child_setup c = {.argv = argv, .channel = pair[1], .output = null};
    enum rc rc = start_child(&c, &p->pid, e);
    if (null >= 0) close(null);
    if (pair[1] >= 0) close(pair[1]);
    if (rc != RC_OK) {
        if (pair[0] >= 0) close(pair[0]);
        return rc;
    }
    p->fd = pair[0];
    return RC_OK;
}

void proc_kill(struct proc *p)
{
    if (p->pid > 0 && kill(-p->pid, SIGKILL) != 0) kill(p->pid, SIGKILL);
}

void proc_wait(struct proc *p, int *status)
{
    int got = 0;
    if (p->pid > 0)
        while (waitpid(p->pid, &got, 0) < 0 && errno == EINTR) continue;
    if (status) *status = got;
    if (p->fd >= 0) close(p->fd);
    *p = (struct proc){.fd = -1};
}

int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Milliseconds left until a deadline, rounded up, for poll; -1 = none. */
static int left_ms(int64_t deadline_ns)
{
    if (deadline_ns < 0) return -1;
    int64_t left = deadline_ns - clock_ns();
    return left <= 0 ? 0 : (int)i64_min((left + 999999) / 1000000, 1 << 30);
}

static int64_t deadline_in(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : clock_ns() + (int64_t)timeout_ms * 1000000;
}

/* True once the child has ended; it stays unreaped, so its pid (and group) cannot be reused. */
static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

struct capture {
    int fd;
    char *text;
    size_t n, cap, max;
};

/* Reads what is there; false at the end of the output. Bytes above the maximum are dropped. */
static bool capture_some(struct capture *c)
{
    char block[16384];
    ssize_t r = read(c->fd, block, sizeof block);
    if (r < 0) return errno == EINTR || errno == EAGAIN;
    if (r == 0) return false;
    size_t keep = (size_t)r < c->max - c->n ? (size_t)r : c->max - c->n;
    while (c->n + keep > c->cap) {
        c->text = mem_grow(c->text, c->cap + 1, c->cap * 2 + 1);
        c->cap *= 2;
    }
    if (keep) memcpy(c->text + c->n, block, keep);
    c->n += keep;
    c->text[c->n] = 0;
    return true;
}

/* Follows the child until it ends (true) or the deadline passes (false). A grandchild that keeps
 * the pipe open does not keep us: what it has written when the child ends is read, then we stop. */
static bool follow(struct capture *c, pid_t pid, int64_t deadline)
{
    bool open_end = true;
    int nap = 1;
    for (;;) {
        bool ended = has_ended(pid);
        int wait_ms = left_ms(deadline);
        if (!ended && wait_ms == 0) return false;
        int slice = ended ? 0 : wait_ms < 0 || wait_ms > nap ? nap : wait_ms;
        if (nap < 20) nap++;
        struct pollfd f = {.fd = open_end ? c->fd : -1, .events = POLLIN};
        int r = poll(&f, 1, slice);
        if (r > 0)
            open_end = capture_some(c);
        else if (ended)
            return true;
        if (ended && !open_end) return true;
    }
}

enum rc proc_run(const char *const *argv, const char *cwd, int timeout_ms, size_t max,
                 char **output, int *exit_code, struct err *e)
{
    int out[2];
    if (output) *output = NULL;
    *exit_code = -1;
    if (pipe2(out, O_CLOEXEC) != 0)
        return err_set(e, RC_FAIL, "proc.pipe", "cannot start '%s': %s", argv[0], strerror(errno));
    struct child_setup c = {.argv = argv, .cwd = cwd, .channel = -1, .output = out[1]};
    pid_t pid = 0;
    enum rc rc = start_child(&c, &pid, e);
    close(out[1]);
    if (rc != RC_OK) {
        close(out[0]);
        return rc;
    }
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    struct capture cap = {.fd = out[0], .cap = 1024, .max = max, .text = mem_new(1025)};
    bool ended = follow(&cap, pid, deadline_in(timeout_ms));
    kill(-pid, SIGKILL); /* also what the child left running */
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    close(out[0]);
    if (ended) *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (output)
        *output = cap.text;
    else
        mem_free(cap.text);
    return RC_OK;
}

enum rc proc_self_dir(char *out, size_t n, struct err *e)
{
    ssize_t len = readlink("/proc/self/exe", out, n);
    if (len <= 0 || (size_t)len >= n)
        return err_set(e, RC_FAIL, "proc.self", "cannot find the running program's folder: %s",
                       len < 0 ? strerror(errno) : "path too long");
    out[len] = 0;
    char *slash = strrchr(out, '/');
    if (slash && slash != out) *slash = 0;
    return RC_OK;
}

static enum rc wait_for(int fd, short events, int64_t deadline, int timeout_ms, struct err *e)
{
    for (;;) {
        struct pollfd f = {.fd = fd, .events = events};
        int r = poll(&f, 1, left_ms(deadline));
        if (r > 0) return RC_OK; /* errors and hang-ups are told by the read or write */
        if (r == 0 && left_ms(deadline) == 0)
            return err_set(e, RC_DEADLINE, "io.timeout", "no %s within %d ms",
                           events == POLLIN ? "data" : "room", timeout_ms);
        if (r < 0 && errno != EINTR)
            return err_set(e, RC_FAIL, "io.poll", "poll: %s", strerror(errno));
    }
}

enum rc io_read(int fd, void *p, size_t n, int timeout_ms, struct err *e)
{
    int64_t deadline = deadline_in(timeout_ms);
    for (size_t done = 0; done < n;) {
        enum rc rc = wait_for(fd, POLLIN, deadline, timeout_ms, e);
        if (rc != RC_OK) return rc;
        ssize_t r = read(fd, (char *)p + done, n - done);
        if (r < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (r < 0 && errno != ECONNRESET)
            return err_set(e, RC_FAIL, "io.read", "read: %s", strerror(errno));
        if (r <= 0) return err_set(e, RC_FAIL, "io.closed", "the other side closed the connection");
        done += (size_t)r;
    }
    return RC_OK;
}

/* One write that neither blocks for long nor raises SIGPIPE, on a socket or a pipe. */
static ssize_t write_some(int fd, const char *p, size_t n)
{
    ssize_t w = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (w >= 0 || errno != ENOTSOCK) return w;
    sigset_t pipe_set, before, pending;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
    w = write(fd, p, n < 4096 ? n : 4096); /* PIPE_BUF: poll promised room for that much */
    int why = errno;
    struct timespec now = {0};
    if (w < 0 && why == EPIPE && !was_pending) sigtimedwait(&pipe_set, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return w;
}

enum rc io_write(int fd, const void *p, size_t n, int timeout_ms, struct err *e)
{
    int64_t deadline = deadline_in(timeout_ms);
    for (size_t done = 0; done < n;) {
        enum rc rc = wait_for(fd, POLLOUT, deadline, timeout_ms, e);
        if (rc != RC_OK) return rc;
        ssize_t w = write_some(fd, (const char *)p + done, n - done);
        if (w < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (w < 0 && (errno == EPIPE || errno == ECONNRESET))
            return err_set(e, RC_FAIL, "io.closed", "the other side closed the connection");
        if (w < 0) return err_set(e, RC_FAIL, "io.write", "write: %s", strerror(errno));
        done += (size_t)w;
    }
    return RC_OK;
}
