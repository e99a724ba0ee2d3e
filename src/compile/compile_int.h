/* Interior of the compile room: reading and writing requests and results as bytes. */
#ifndef QN_COMPILE_INT_H
#define QN_COMPILE_INT_H

#include "compile/compile.h"

/* What the schedule chooses for loops of long chains. */
enum lower_phases compile_phases(const struct trace *t);

/* Fields are u32 length + bytes, in a fixed order: a private format between two copies of one
 * program. */
void field_put(struct buf *b, const void *p, size_t n);
void field_text(struct buf *b, const char *s);
void field_i64(struct buf *b, int64_t v);

struct fields {
    const char *p, *end;
    bool bad;
};
const void *field_get(struct fields *f, size_t *n);
char *field_get_text(struct fields *f); /* mem_free; NULL when bad */
int64_t field_get_i64(struct fields *f);

void result_encode(struct buf *b, const struct compile_result *r);
bool result_decode(struct compile_result *r, const void *p, size_t n);

#endif
