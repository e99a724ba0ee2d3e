/* Interior of the target room: a parsed file with the origin of each fact, and host detection. */
#ifndef QN_TARGET_INT_H
#define QN_TARGET_INT_H

#include <stdio.h>

#include "base/map.h"
#include "target/target.h"

enum { TARGET_KEYS = 48 };

struct target_file {
    const char *match; /* "VENDOR FAMILY MODELS" or NULL */
    int norigin;
    const char *key[TARGET_KEYS], *origin[TARGET_KEYS]; /* "zen4.target:3", "detected" */
};

enum rc target_parse(const char *file, const char *text, size_t len, struct target **out,
                     struct target_file *f, struct err *e);
enum rc target_load_with(const char *name, struct target **out, struct target_file *f,
                         struct err *e);
bool target_path(char *out, size_t n,
                 const char *name); /* false: no such file, or not a plain name */
int64_t *target_fact(struct target *t, const char *key, size_t n);
const char **target_text_fact(struct target *t, const char *key, size_t n);
void target_origin(struct target_file *f, const char *key, const char *origin);

/* host.c: the name of the file that describes this CPU best, and what the machine says itself. */
const char *host_target_name(void);
void host_overlay(struct target *t, struct target_file *f);

#endif
