/* base: the one way quern reports a bug of its own.
 *
 *   quern: internal error: split factor 0 (src/ir/nest.c:41: n > 0)
 *   This is a bug in quern. ...
 *
 * Invariants: writes to stderr without allocating; always ends in abort(), so that a core, a
 * sanitizer report or the parent process sees SIGABRT. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void qn_bug(const char *file, int line, const char *cond, const char *fmt, ...)
{
    char msg[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr,
            "quern: internal error: %s (%s:%d: %s)\n"
            "This is a bug in quern. Please report the command line and this text.\n",
            msg, file, line, cond);
    fflush(stderr);
    abort();
}
