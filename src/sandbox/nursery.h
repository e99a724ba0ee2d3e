/* nursery: the process that decodes jobs and owns the candidates. */
#ifndef QN_SANDBOX_NURSERY_H
#define QN_SANDBOX_NURSERY_H

#include <sys/types.h>

#include "base/base.h"

/* Serves frames on fd until end of file; sends HELLO first. Does not return. */
QN_NORETURN void nursery_main(int fd, uint32_t layers, pid_t runner);

/* One frame from a blocking descriptor into *b (header and payload); false at end of file or when
 * the header is not ours. */
struct buf;
struct wire_header;
bool frame_read(int fd, struct buf *b, struct wire_header *h);

#endif
