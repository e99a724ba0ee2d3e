/* tune: finds the fastest schedule of one task. The loop knows nothing of compilers, runners or
 * databases: they come through struct tune_ops, so the same loop runs against a table of recorded
 * times.
 *
 *   struct tune_options o;  tune_effort("default", &o);  o.seed = 1;
 *   tune_run(spaces, nspace, seeds, nseed, &ops, &o, &summary, &e);
 *
 *   draft     seeds from the log, then the analytically best of many sampled points
 *   descend   from the best points of different structure: one knob a step up or down, best first
 *   explore   mutations of the leaders, while trials are left
 *   polish    the operations of the fastest few in slightly other orders, until none gains for a while
 *   race      the best few, interleaved, verified at tier 3; only a race crowns
 *
 * Building, screening and proposing overlap: ops.queue candidates are always on their way.
 *
 * Invariants
 *  T1  Proposals are a function of (spaces, seeds, options, ops.queue, results so far in step
 *      order): a stopped run that is fed its recorded results proposes the same next candidates.
 *  T2  Proposal number n knows the results of all but the last ops.queue before it, each of them
 *      recorded; at most TUNE_COMMIT results wait for a commit.
 *  T3  A verdict about the world never reaches the search: the candidate is measured again, at most
 *      twice.
 *  T4  Equal blobs are measured once; the few that polishing starts from, twice. */
#ifndef QN_TUNE_H
#define QN_TUNE_H

#include "base/err.h"
#include "sched/sched.h"

struct tune_built {
    bool ok;
    char code[48], msg[400]; /* when not ok */
    char hash[33];           /* of the blob */
    double flops;            /* executed per call */
    int64_t build_ns;
    int spills;   /* vector stack references */
    void *handle; /* the builder's; given back with ops.drop */
};

enum { TUNE_SAMPLES = 64 };
struct tune_measured {
    char verdict[24]; /* wire verdict name */
    bool world;       /* about the world, not about the candidate */
    int tier;
    double ns, lo, hi; /* median per call and its interval; NaN if not timed */
    double fma;        /* race: time / FMA loop's time in the same rounds; NaN otherwise */
    double samples[TUNE_SAMPLES];
    int nsample;
    double flops; /* executed per call; 0: not known */
    double max_err, bound, worst;
    int64_t crc;
    int64_t verify_ns, run_ns;
    char error[400];
};

enum tune_phase { TUNE_BUILD, TUNE_SCREEN, TUNE_RACE };

struct tune_progress {
    int64_t candidates, measurements, failures, duplicates, trials, step;
    double best_ns;
    const char *phase;
    double elapsed_s;
};

enum { TUNE_QUEUE = 16, TUNE_COMMIT = 8 };

struct tune_ops {
    void *ctx;
    /* Builder: requests in flight, at most `queue` <= TUNE_QUEUE, are answered in order. */
    enum rc (*submit)(void *ctx, uint64_t id, const char *trace, struct err *e);
    enum rc (*receive)(void *ctx, uint64_t *id, struct tune_built *out, struct err *e);
    void (*drop)(void *ctx, void *handle);
    int queue;
    /* Bench: verify at tier 1 and time briefly, giving up at 1.5 x incumbent (0: none): the time is that of the
     * best sample, or, careful, of more of them and what they usually are. screen begins, screened waits
     * for what came of it; nothing else is asked of the bench in between. */
    enum rc (*screen)(void *ctx, const char *trace, const struct tune_built *b, double incumbent_ns,
                      bool careful, struct err *e);
    enum rc (*screened)(void *ctx, struct tune_measured *out, struct err *e);
    /* Verify at tier 3 and time interleaved; entry 0 is the incumbent. out[n]; *winner: index,
     * *separated: by an interval valid at every look. */
    enum rc (*race)(void *ctx, int n, const char *const *trace, const struct tune_built *b,
                    struct tune_measured *out, int *winner, bool *separated, struct err *e);
    /* Log: a recorded result of this trace in this run and phase, in order; false: none. */
    bool (*recorded)(void *ctx, enum tune_phase phase, const char *trace_hash, char blob_hash[33],
                     struct tune_measured *out);
    enum rc (*record)(void *ctx, int64_t step, enum tune_phase phase, const char *trace,
                      const struct tune_built *b, const struct tune_measured *m, struct err *e);
    enum rc (*commit)(void *ctx, struct err *e);
    /* Analytic time in ns from the lowered kernel, < 0 when the schedule is refused. */
    double (*estimate)(void *ctx, const char *trace);
    bool (*stop)(void *ctx); /* Ctrl-C or a deadline: finish nothing, keep everything */
    void (*progress)(void *ctx, const struct tune_progress *p);
};

struct tune_options {
    const char *effort;
    uint64_t seed;
    int64_t trials;      /* screened schedules */
    double time_s;       /* 0 = no limit */
    int draft;           /* sampled points estimated */
    int first;           /* of those, screened first */
    int starts;          /* descents */
    int polish;          /* orders of operations tried */
    int polish_patience; /* so many that gain nothing are enough */
    int finalists;       /* in the race, <= 16 */
    double good_pct;     /* stop descending at this share of the roof */
    double roof_ns;      /* no kernel of so many operations can be faster; 0 = unknown */
    double roof_flops;   /* a kernel may skip some, as masked triangles do: its roof is lower */
};
/* estimate, quick, default, full; false for another word. */
bool tune_effort(const char *word, struct tune_options *out);
extern const char *const tune_effort_names[4];

struct tune_summary {
    int64_t candidates;   /* distinct blobs compiled, tier 1, screened, logged */
    int64_t measurements; /* candidates timed at least once */
    int64_t duplicates, replayed, steps;
    int nverdict;
    struct {
        char name[24];
        int64_t n;
    } verdict[24]; /* counts of everything that was not ok */
    double wall_s;
    char *trace; /* winner; mem_free; NULL: none found */
    struct tune_measured best;
    struct tune_built built; /* of the winner, without handle */
    bool separated, interrupted;
    const char *why; /* "converged", "trials", "time", "roofline", "interrupted" */
};
void tune_summary_fini(struct tune_summary *s);

/* spaces: at least one. seeds: traces of near tasks, best first; refused ones are skipped.
 * RC_INTERRUPTED when ops.stop said so (summary is filled), RC_FAIL "tune.none" when nothing valid
 * was found. */
enum rc tune_run(struct space *const *spaces, int nspace, const char *const *seeds, int nseed,
                 const struct tune_ops *ops, const struct tune_options *o, struct tune_summary *out,
                 struct err *e);

#endif
