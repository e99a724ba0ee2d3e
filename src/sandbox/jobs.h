/* jobs: what each message of a client does. Decoded request in, reply structure out. */
#ifndef QN_SANDBOX_JOBS_H
#define QN_SANDBOX_JOBS_H

#include "sandbox/calib.h"
#include "sandbox/sandbox.h"
#include "sandbox/verify.h"

struct race_entry_state {
    struct kid kid;
    struct child_spec spec;
    struct wire_blob blob; /* its code lives only until RACE_OPEN is answered */
    struct wire_outcome outcome;
    bool alive;
};

/* A race between RACE_OPEN and RACE_CLOSE. */
struct race_job {
    bool open;
    struct arena *a; /* outcomes' texts; the request's blobs */
    struct job job;
    struct task *task;
    int n; /* entries */
    bool calibrate;
    uint64_t iters, fma_reps;
    struct race_entry_state entries[WIRE_MAX_ENTRIES];
    struct kid fma;
    struct child_spec fma_spec;
    bool fma_alive;
};

struct nursery {
    struct keeper keeper;
    struct task_cache cache;
    struct race_job race;
};

void job_init(struct nursery *n, struct job *job, struct arena *a, const struct wire_limits *l,
              uint64_t seed);
void job_verify(struct nursery *n, struct arena *a, const struct wire_verify *m,
                struct wire_result *r);
void job_screen(struct nursery *n, struct arena *a, const struct wire_screen *m,
                struct wire_result *r);
void job_calibrate(struct nursery *n, struct arena *a, const struct wire_calibrate *m,
                   struct wire_calibration *r);
/* The race keeps what it needs of m in its own arena; any race still open is closed first. */
void job_race_open(struct nursery *n, struct arena *a, const struct wire_race_open *m,
                   struct wire_race_ready *r);
void job_race_round(struct nursery *n, struct arena *a, const struct wire_race_round *m,
                    struct wire_race_samples *r);
void job_race_close(struct nursery *n, struct arena *a, struct wire_race_done *r);
/* Child that runs the FMA loop; its first step has been done. */
bool fma_child(struct job *job, struct kid *kid, struct child_spec *spec, uint64_t reps);
void race_drop(struct nursery *n); /* kills what is left of a race */

#endif
