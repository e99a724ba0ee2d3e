/* e2e: tasks of an operator end to end: token -> plan -> uniform schedules -> compile worker ->
 * quern-runner.
 *
 *   struct e2e *x = e2e_open();
 *   struct e2e_work *w = e2e_work_new(x, &shape, threads, seed);
 *                               three schedules drawn, nothing compiled yet
 *   e2e_submit(x, w);           the worker compiles ...
 *   e2e_verify(x, previous);    ... while the runner checks the last task
 *   e2e_collect(x, w);          refused schedules are counted and drawn again
 *
 * Invariant: a work depends on its shape and seed alone, so a failure's seed brings it back. */
#ifndef T_E2E_H
#define T_E2E_H

#include "base/rng.h"
#include "compile/compile.h"
#include "compile/worker.h"
#include "measure/client.h"

enum {
    E2E_KEYS = 24,
    E2E_EACH = 3,
    E2E_TRIES = 60,
    E2E_CODES = 40,
    E2E_SPACES = 24,
    E2E_KNOBS = SPACE_KNOBS
};

/* A task as numbers, so that it can be made smaller. */
struct e2e_shape {
    const char *op;
    char words[128]; /* ",layout=nchw,act=relu" */
    struct {
        const char *name;
        int64_t v, min;
    } key[E2E_KEYS];
    int n;
};
void e2e_put(struct e2e_shape *s, const char *name, int64_t v, int64_t min);
int64_t e2e_get(const struct e2e_shape *s, const char *name);
void e2e_set(struct e2e_shape *s, const char *name, int64_t v);
void e2e_word(struct e2e_shape *s, const char *key, const char *value);
void e2e_token(const struct e2e_shape *s, struct buf *out);

/* What one trace does to its nest. */
struct e2e_traits {
    bool vectorized, tail,
        vector_tail; /* some split leaves a rest; the vectorised loop's own does */
    bool packed, cached, parallel, unrolled;
};
void e2e_traits_of(const struct task *task, const struct trace *t, struct e2e_traits *out);

struct e2e_space { /* of one space, over all tasks */
    char name[48];
    int64_t drawn, refused, kept, vectorized, tail, vector_tail, packed, cached, padded;
};
struct e2e_stats {
    int64_t tasks, thin; /* thin: tasks with fewer than three legal schedules after E2E_TRIES */
    struct e2e_space space[E2E_SPACES];
    int nspace;
    struct {
        char code[48];
        int64_t n;
    } code[E2E_CODES];
    int ncode;
    int64_t stages_ns[4]; /* drawing, waiting for the worker, verifying, all */
};
void e2e_print(const struct e2e_stats *s);
struct e2e_space e2e_total(const struct e2e_stats *s);

struct e2e {
    struct op_lib *lib;
    struct target *target;
    char target_text[4096], dir[1024];
    struct worker *worker;
    struct client *client;
    int tier; /* of e2e_verify and e2e_check: 2 */
    struct e2e_stats stats;
};
struct e2e *e2e_open(void); /* fails the Check test if it cannot */
void e2e_close(struct e2e *x);

struct e2e_candidate {
    int space; /* of the work's */
    int choice[E2E_KNOBS];
    char *trace;
    struct e2e_traits traits;
    struct compile_result r;
    bool compiled;
    struct wire_outcome outcome;
    char why[512];
};
struct e2e_work {
    struct e2e_shape shape;
    uint64_t seed;
    struct rng rng;
    int threads, tries, nspace, n;
    char token[512], *op_text;
    struct task *task;
    struct plan plan, plain; /* the .sched files' with derived ones, and derived only */
    struct space *space[2 * PLAN_SPACES];
    bool derived[2 * PLAN_SPACES];
    struct compile_result reference;
    struct e2e_candidate c[E2E_EACH];
};

struct e2e_work *e2e_work_new(struct e2e *x, const struct e2e_shape *shape, int threads,
                              uint64_t seed);
void e2e_work_free(struct e2e_work *w);
void e2e_submit(struct e2e *x, struct e2e_work *w);
void e2e_collect(struct e2e *x, struct e2e_work *w);
/* Verifies every candidate; how many are wrong. Their `why` says how. */
int e2e_verify(struct e2e *x, struct e2e_work *w);
/* One trace of one task, outside any work: VERDICT_OK, the verdict, or VERDICT_ILLEGAL if it is
 * refused. */
enum verdict e2e_check(struct e2e *x, const char *token, const char *trace, int threads,
                       char why[512]);
/* Prints token, trace, seed, and what is left of both after making them smaller. */
void e2e_report(struct e2e *x, const struct e2e_work *w, const struct e2e_candidate *c);

/* N works in a row; at most 3 failures are reported. `make` fills the shape from the generator. */
typedef void e2e_shape_fn(struct rng *r, struct e2e_shape *out, int *threads);
int e2e_run(struct e2e *x, e2e_shape_fn *make, uint64_t seed, int64_t tasks, double budget_s);

#endif
