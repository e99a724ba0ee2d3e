/* err: how the world's failures travel. A function returns enum rc; the text is written once, at
 * the origin, into the caller's struct err and wrapped on the way up; the level that decides prints
 * it.
 *
 *   if (fd < 0)
 *       return err_set(e, RC_STORE, "fs.open", "cannot open '%s': %s", path, strerror(errno));
 *
 * `code` is the stable, finer error string of --json ("dsl.unknown_name"); rc is the exit code. */
#ifndef QN_ERR_H
#define QN_ERR_H

#include "base/base.h"

/* Values are the program's exit codes and never change. */
enum rc {
    RC_OK = 0,
    RC_FAIL = 1,
    RC_INPUT = 2,
    RC_MISMATCH = 3,
    RC_NODEVICE = 4,
    RC_DAEMON = 5,
    RC_DEADLINE = 6,
    RC_STORE = 7,
    RC_INTERNAL = 70,
    RC_INTERRUPTED = 130,
};

struct err {
    enum rc rc;
    char code[48];
    char msg[1600]; /* may hold several lines: position, source line, caret */
};

/* Fill *e (NULL allowed) and return rc. Overwrites an earlier error. */
enum rc err_set(struct err *e, enum rc rc, const char *code, const char *fmt, ...) QN_PRINTF(4, 5);
/* Put "prefix: " before the message already in *e; returns e->rc. */
enum rc err_wrap(struct err *e, const char *fmt, ...) QN_PRINTF(2, 3);
void err_clear(struct err *e);

#endif
