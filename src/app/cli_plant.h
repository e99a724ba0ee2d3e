/* plant: kernels put in place of the first candidates of a tune run, to see that bad ones harm
 * nothing. For developers and tests only; the log it is used with should be thrown away.
 *
 *   QUERN_PLANT=FILE quern tune TASK      FILE: a path a line, each a file of raw machine code,
 *                                         entry at byte 0
 *
 * The n-th candidate that compiles keeps its schedule, but the n-th file runs instead of its code.
 * Its row's error text begins with "planted NAME". Only `quern tune` reads the variable. */
#ifndef QN_CLI_PLANT_H
#define QN_CLI_PLANT_H

#include "cli.h"

struct planted;

/* path NULL or "": *out NULL. RC_INPUT when a file cannot be read ("fs.*") or there are too many
 * ("plant.file"). */
enum rc planted_read(const char *path, struct planted **out, struct err *e);
void planted_free(struct planted *p); /* NULL allowed */
/* Replaces the code of r, if one is left to plant and r was built. */
void planted_next(struct planted *p, struct compile_result *r);
/* `error` with the mark before it if this blob was planted. */
const char *planted_error(struct planted *p, const char *blob_hash, const char *error);

#endif
