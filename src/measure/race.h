/* race: which of up to 16 kernels is fastest, as a state machine without I/O: samples in, actions
 * out.
 *
 *   struct race r; race_init(&r, &cfg, n);                    entry 0 is the incumbent
 *   for (;;) {
 *       struct race_action a = race_next(&r);
 *       if (a.kind == RACE_DONE) break;
 *       ... have the runner step a.live for a.rounds rounds;
 *           reopen the job first on RACE_REOPEN ...
 *       race_round(&r, ns);                                   once per round
 *   }
 *   r.winner, r.entries[i].ratio_lo ... ratio_hi
 *
 * Statistic: the median over rounds of the paired log-ratio log(t_entry / t_incumbent), with the
 * interval of stats.h. Rules:
 *   drop     an entry whose interval against the present leader lies above 0 (alpha_drop), or that
 *            was at least drop_ratio slower in each of the first drop_rounds rounds. Dropping only
 *            rejects; a wrong drop loses a candidate, it crowns none.
 *   crown    the leader wins over the incumbent when its interval (alpha / (entries - 1)) lies
 *            below 0. Otherwise the incumbent stays: "not separated".
 *   stop     one entry left; or leader crowned and separated from every rival or tied with it
 *            within tie_width; or max_rounds.
 *   noisy    at max_rounds, when the leader's interval is wider than noisy_width.
 *
 * Invariants: every sample given is kept; the outcome is a function of configuration and
 * samples. */
#ifndef QN_MEASURE_RACE_H
#define QN_MEASURE_RACE_H

#include "base/sm.h"
#include "base/vec.h"

enum { RACE_MAX = 16 };

struct race_config {
    double alpha;       /* error of a crowning, over the whole race; 0: 0.002 */
    double alpha_drop;  /* 0: 0.01 */
    double drop_ratio;  /* 0: 1.15 */
    int drop_rounds;    /* 0: 3 */
    int min_rounds;     /* 0: 5 */
    int max_rounds;     /* 0: 151 */
    int batch;          /* rounds asked for at once; 0: 1 */
    int session_rounds; /* reopen (fresh processes) after this many rounds; 0: never */
    double tie_width;   /* 0: 0.005 */
    double noisy_width; /* 0: 0.05 */
    bool calibrated;    /* a last column holds the FMA loop's time */
};

enum race_state { RACE_ASKING, RACE_WAITING, RACE_ENDED, RACE_STATE_COUNT };
enum race_action_kind { RACE_STEP, RACE_REOPEN, RACE_DONE };

struct race_action {
    enum race_action_kind kind;
    uint64_t live; /* bit i: entry i; bit n: calibration */
    int rounds;
};

enum race_fate { RACE_LIVE, RACE_DROPPED, RACE_DEAD };

struct race_entry {
    enum race_fate fate;
    double ratio, ratio_lo, ratio_hi; /* time / incumbent's time; interval valid at every look */
    /* at the end */
    int rounds;                     /* rounds it ran in */
    double median_ns, ns_lo, ns_hi; /* of its own samples; drifts with the machine */
    double fma, fma_lo, fma_hi;     /* time / FMA loop's time of the same round; NaN without */
};

struct race {
    struct race_config cfg;
    struct sm sm;
    int n; /* entries, without calibration */
    int columns;
    VEC(double) ns; /* rounds x columns, NaN: not run */
    int rounds;     /* given so far */
    int session;    /* of them, since the last reopen */
    int due;        /* asked for and not yet given */
    struct race_entry entries[RACE_MAX];
    int leader; /* smallest paired ratio among the living */
    /* at the end */
    int winner;     /* leader if crowned, else 0 (the incumbent), or the first entry alive */
    bool separated; /* winner is not the incumbent and its interval says so */
    bool noisy;
};

void race_init(struct race *r, const struct race_config *cfg, int n);
void race_free(struct race *r);
struct race_action race_next(struct race *r);
/* ns[columns], NaN where it did not run. */
void race_round(struct race *r, const double *ns);
/* The entry died (crashed, wrong result): out of the race, whatever its samples. */
void race_dead(struct race *r, int entry);
/* Paired ratio a/b over rounds both ran in, with its interval. */
void race_compare(const struct race *r, int a, int b, double alpha, double *ratio, double *lo,
                  double *hi);

/* A time no machine can reach: below the work the lowered kernel executes at 1.05 x the peak
 * calibrated in the same rounds, or below the compulsory bytes at 1.1 x the bandwidth of the level
 * that holds the footprint. Unknown quantities are 0 and refuse nothing. */
struct race_roof {
    double executed_flops; /* of the lowered kernel, padding included, Winograd's real multiplies */
    double peak_gflops;    /* all threads used, calibrated */
    double bytes;          /* compulsory: each operand once */
    double gbps;
};
bool race_impossible(const struct race_roof *roof, double ns);

/* The screen's rule: is the entry worth a race? `slow` when the best of its samples is above
 * factor * incumbent. */
bool screen_slow(const double *ns, size_t n, double incumbent_ns, double factor);

#endif
