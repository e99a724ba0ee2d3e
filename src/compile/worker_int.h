/* Frames between a program and its compile worker. */
#ifndef QN_WORKER_INT_H
#define QN_WORKER_INT_H

#include <stdint.h>

enum { WORKER_TASK = 1, WORKER_COMPILE, WORKER_RESULT, WORKER_FRAME_MAX = 256 << 20 };

struct worker_frame {
    uint32_t kind, n;
    uint64_t id;
};

#endif
