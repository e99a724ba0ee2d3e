/* log: one line on stderr a call, written at once so that lines of several processes do not mix.
 *
 *   log_warn("%s: no record", task);   ->   quern: warning: conv2d:N=1: no record
 *
 * Invariants: keeps errno; never writes to stdout; the level is read from QUERN_LOG at every call,
 * so that a test or a command may change it. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *key, *label;
} LEVELS[] = {
    [LOG_ERROR] = {"error", "error"},
    [LOG_WARN] = {"warn", "warning"},
    [LOG_INFO] = {"info", "info"},
    [LOG_DEBUG] = {"debug", "debug"},
};

static enum log_level log_limit(void)
{
    const char *v = getenv("QUERN_LOG");
    for (size_t i = 0; v && i < QN_COUNT(LEVELS); i++)
        if (strcmp(v, LEVELS[i].key) == 0) return (enum log_level)i;
    return LOG_WARN;
}

void log_at(enum log_level level, const char *fmt, ...)
{
    if (level > log_limit()) return;
    int saved = errno;
    char line[2048];
    int at = snprintf(line, sizeof line, "quern: %s: ", LEVELS[level].label);
    va_list ap;
    va_start(ap, fmt);
    errno = saved; /* for %m */
    int n = vsnprintf(line + at, sizeof line - (size_t)at - 1, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? (size_t)at : (size_t)at + (size_t)n;
    if (len > sizeof line - 2) len = sizeof line - 2;
    line[len++] = '\n';
    for (size_t done = 0; done < len;) {
        ssize_t w = write(STDERR_FILENO, line + done, len - done);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) break;
        done += (size_t)w;
    }
    errno = saved;
}
