/* err: writing and wrapping the one error that travels up.
 *
 *   err_set(e, RC_INPUT, "dsl.unknown_name", "...");  err_wrap(e, "schedules/x.op");
 *
 * Invariants: code and msg are NUL-terminated; a text too long is cut at a character, never inside
 * a UTF-8 sequence; rc is never RC_OK after err_set. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drops a UTF-8 sequence that the size limit cut in half. */
static void trim_cut_char(char *s)
{
    size_t n = strlen(s), start = n;
    while (start > 0 && n - start < 4 && ((unsigned char)s[start - 1] & 0xC0) == 0x80) start--;
    if (start == 0) return;
    unsigned char lead = (unsigned char)s[start - 1];
    size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (want > n - start) s[start - 1] = 0;
}

enum rc err_set(struct err *e, enum rc rc, const char *code, const char *fmt, ...)
{
    QN_CHECK(rc != RC_OK, "error '%s' with RC_OK", code);
    if (!e) return rc;
    /* the arguments may point into *e: format first, then assign */
    char msg[sizeof e->msg], code_copy[sizeof e->code];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof msg) trim_cut_char(msg);
    snprintf(code_copy, sizeof code_copy, "%s", code);
    e->rc = rc;
    memcpy(e->msg, msg, sizeof msg);
    memcpy(e->code, code_copy, sizeof code_copy);
    return rc;
}

enum rc err_wrap(struct err *e, const char *fmt, ...)
{
    QN_CHECK(e, "err_wrap without an error");
    char prefix[sizeof e->msg], msg[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    size_t at = strlen(prefix);
    if (at > sizeof msg - 3) at = sizeof msg - 3;
    memcpy(msg, prefix, at);
    memcpy(msg + at, ": ", 3);
    size_t room = sizeof msg - at - 3, n = strlen(e->msg);
    memcpy(msg + at + 2, e->msg, n < room ? n : room);
    msg[at + 2 + (n < room ? n : room)] = 0;
    if (n > room) trim_cut_char(msg);
    memcpy(e->msg, msg, sizeof msg);
    return e->rc;
}

void err_clear(struct err *e)
{
    if (e) *e = (struct err){0};
}
