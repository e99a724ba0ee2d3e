/* child: what happens in the process that runs one candidate (or the calibration loops).
 *
 * The nursery fills a child_spec, forks, and talks through the control page `struct ctl`: write a
 * command, add 1 to `go`, wake; the child answers by storing go's value in `done` and ringing the
 * bell. The first command is in place before the fork, so a candidate runs without waiting. */
#ifndef QN_SANDBOX_CHILD_H
#define QN_SANDBOX_CHILD_H

#include <stdatomic.h>
#include <sys/types.h>

#include "sandbox/stage.h"

enum { CTL_BYTES = 64 << 10, CTL_SAMPLES = 2048, CHILD_STACK = 32 << 10 };

enum child_cmd {
    CMD_RUN,  /* stage: pack, then one call */
    CMD_TIME, /* stage: warm-up, then epochs of iters calls each */
    CMD_FMA,  /* one step of the FMA loop: iters repetitions on every thread */
    CMD_CALIBRATE,
};

/* Setup steps, so that a death before the first answer can be named. */
enum child_phase {
    PHASE_START,
    PHASE_MAP,
    PHASE_LOAD,
    PHASE_THREADS,
    PHASE_LOCK,
    PHASE_READY,
    PHASE_COUNT
};

struct ctl_fault {
    int32_t sig, code;
    uint64_t addr, ip, sp;
    uint8_t write;
};

struct ctl {
    _Atomic uint32_t go, done;
    uint32_t phase;
    int32_t setup_errno;
    /* command */
    uint32_t cmd, stage;
    uint64_t iters; /* CMD_TIME 0: from epoch_ns */
    uint64_t epoch_ns;
    uint32_t epochs, warm;
    double stop_ns; /* CMD_TIME: give up after the estimate when a call takes longer; 0: never */
    uint32_t cold;
    uint32_t pack; /* CMD_TIME: run the pack entry first */
    /* answer */
    int32_t status; /* of pack or kernel; 0 is good */
    uint32_t samples_n, stopped;
    uint64_t pack_ns;
    double estimate_ns;
    double samples[CTL_SAMPLES]; /* ns per call (CMD_FMA: per step) */
    /* CMD_CALIBRATE */
    double clock_ghz, fma_gflops[4], gbps[4];
    uint64_t footprint[4];
    struct ctl_fault fault;
};

struct child_spec {
    struct stage stages[2];
    int stages_n;
    const struct wire_blob *blob; /* NULL: calibration loops only */
    const int64_t *dyn;
    uint32_t threads;
    uint64_t cpus;
    uint32_t layers;      /* that work here */
    uint32_t cpu_seconds; /* RLIMIT_CPU */
    int ctl_fd;
    uint8_t *ctl_at;  /* where the child maps its control page */
    uint8_t *code_at; /* and its code */
    uint8_t *stack_at;
    _Atomic uint32_t *bell;
    pid_t parent;
    uint64_t cache_bytes[3]; /* l1d l2 l3, for CMD_CALIBRATE */
};

/* Runs in the child; does not return. */
QN_NORETURN void child_main(const struct child_spec *s);

#endif
