/* cli: what the commands of `quern` share: options, output, the session with its worker, runner and
 * log.
 *
 * Results go to stdout, messages to stderr. Every command prints JSON lines under --json. Exit
 * codes are enum rc. One table (cli_table.c) drives parsing, --help, man pages and completion. */
#ifndef QN_CLI_H
#define QN_CLI_H

#include <jansson.h>

#include "base/log.h"
#include "base/vec.h"
#include "compile/job.h"
#include "compile/worker.h"
#include "db/db.h"
#include "measure/client.h"
#include "measure/lock.h"

struct options {
    bool json, yes, all, verify, aa, check, quiet;
    const char *target, *db, *effort, *schedule, *stage, *out, *prefix, *license, *form, *verdict,
        *diff;
    int64_t trials, threads, seeds, limit, rounds;
    uint64_t seed;
    double time_s;
    int n; /* positional arguments */
    const char **arg;
};

struct command {
    const char *name;
    enum rc (*run)(const struct options *o, struct err *e);
    int most;             /* positional arguments it takes at most */
    const char *args;     /* "TASK..." */
    const char *summary;  /* one line */
    const char *examples; /* lines for --help */
    const char *options;  /* names of the options it takes, space separated */
};
extern const struct command commands[];
extern const size_t command_count;

/* Parses argv after the command's name. RC_INPUT "cli.*" with advice. */
enum rc options_parse(const struct command *c, int argc, char **argv, struct options *o,
                      struct err *e);
void options_fini(struct options *o);
void help_all(void);
void help_command(const struct command *c);
void help_man(void);        /* troff on stdout */
void help_completion(void); /* bash completion on stdout */

/* ---- session --------------------------------------------------------------------------------- */

struct session {
    const struct options *o;
    char schedules[1024];
    struct op_lib *lib;
    struct target *target;
    struct buf target_text;
    char target_hash[33];
    struct buf device_class;
    struct worker *worker; /* started on first use */
    struct client *runner;
    struct db *db;
    bool calibrated, told;        /* told: that the log named by --db does not exist */
    double fma_gflops, clock_ghz; /* of one thread */
    struct wire_bandwidth level[8];
    int levels;
};

enum rc session_open(struct session *s, const struct options *o, struct err *e);
void session_close(struct session *s);
enum rc session_worker(struct session *s, struct err *e);
enum rc session_runner(struct session *s, struct err *e);
enum rc session_db(struct session *s, enum db_mode mode,
                   struct err *e); /* RC_OK without a file in DB_READ: s->db NULL */
enum rc session_calibrate(struct session *s, struct err *e);
enum rc session_can_time(struct session *s,
                         struct err *e); /* RC_NODEVICE: more threads than cpus */

/* One task made ready to compile and measure. */
struct work {
    struct session *s;
    struct task *task;
    struct arena *a;
    char *op_text;
    char op_hash[33];
    int threads;
    double flops, bytes;             /* of the op */
    struct compile_result reference; /* blob of the naive kernel */
    struct {
        char algorithm[32], params[256];
        struct wire_task wire;
    } job[8];
    int njob;
    struct db_key key;
    char key_id[33];
};

/* Parses the token; with `measure`, builds the reference and starts worker and runner. */
enum rc work_open(struct work *w, struct session *s, const char *token, bool measure,
                  struct err *e);
void work_close(struct work *w);
/* The runner's task for the algorithm a trace names. */
enum rc work_job(struct work *w, const char *trace_text, const struct wire_task **out,
                 struct err *e);
/* Compiles one trace in the worker, waiting. A refused candidate is RC_INPUT with its code and
 * sentence. */
enum rc work_compile(struct work *w, const char *trace_text, int want, struct compile_result *r,
                     struct err *e);
/* The schedule to use: --schedule FILE, `best` from the log, or (NULL) best if there is one, else
 * what a stopped search screened, else the analytic estimate. *rung says which: "file", "exact",
 * "screened", "estimate". mem_free(*text). */
enum rc work_schedule(struct work *w, const char *which, char **text, const char **rung,
                      struct db_row *row, struct err *e);
enum rc work_estimate(struct work *w, char **text, struct err *e);
double work_model_ns(struct work *w, const char *trace); /* < 0: the schedule is refused */

/* Calls fn for each of the command's TASK arguments (tokens, @file.tasks), after all were parsed
 * once. A task that fails (RC_FAIL, RC_MISMATCH) is reported and the others go on; anything else
 * stops. */
enum rc for_each_task(const struct options *o,
                      enum rc (*fn)(void *ctx, const char *token, struct err *e), void *ctx,
                      struct err *e);

/* ---- measuring ------------------------------------------------------------------------------- */

struct timing {
    double median_ns, lo_ns, hi_ns;
    /* kernel time / time the FMA loop needs for the same FLOPs: share of peak = 1/fma; see
     * gflops */
    double fma;
    double peak_gflops; /* in the same rounds */
    double gflops, executed_gflops, roofline_pct;
    const char *roof; /* "fma", "l2", "mem" ... */
    int rounds;
    bool noisy;
};
/* Races n blobs (entry 0 first) with the FMA loop in the same rounds; tier of verification before.
 * noisy_width: relative width of the leader's interval from which the outcome is noisy. */
enum rc work_race(struct work *w, int n, const struct wire_task *job,
                  const struct compile_result *const *blobs, int tier, int rounds,
                  double noisy_width, struct client_race *out, struct err *e);
void work_timing(struct work *w, const struct client_race *r, int entry,
                 const struct compile_result *blob, struct timing *out);
void work_patience(const struct work *w); /* says so if the reference of this task takes long */
/* Tier 3 on the runner, for --seeds data seeds or until one fails; texts of *out live in w->a. */
enum rc work_verify(struct work *w, const char *trace, const struct compile_result *r,
                    struct wire_outcome *out, struct err *e);
/* The outcome as an error: RC_MISMATCH for the candidate's fault, RC_FAIL for the world's. */
enum rc outcome_error(const struct work *w, const struct wire_outcome *o, struct err *e);
/* Ideal time on the binding roof for `executed` FLOPs per call; 0 when not calibrated. */
double work_roof_ns(struct work *w, double executed, const char **roof);
/* The same with the FMA peak of particular rounds. */
double work_roof_at(struct work *w, double executed, double peak_gflops, const char **roof);

/* ---- emission -------------------------------------------------------------------------------- */

/* All that an emitted kernel is made from; stands whole in its banner, so that it can be made
 * again. */
struct emission {
    const char *task;    /* canonical token */
    const char *op_text; /* of an operator that quern does not ship; NULL: found by name */
    const char *target;  /* a target file's name */
    const char *form;    /* vector or portable */
    const char *prefix, *license;
    const char *record;   /* id, or "none" */
    const char *measured; /* one line, or "not measured" */
    const char *schedule; /* trace text */
};
struct emitted {
    char symbol[160]; /* without prefix; also the file name's stem, after the prefix */
    struct buf c, h, test;
};
enum rc emit_texts(struct session *s, const struct emission *em, struct emitted *out,
                   struct err *e);
void emitted_fini(struct emitted *out);
/* What the log (or, without a record, the estimate) says to emit for a task. Strings live in
 * w->a. */
enum rc emission_of(struct work *w, struct emission *out, struct err *e);

/* ---- compiling what was emitted (cli_cc.c) --------------------------------------------------- */

/* RC_FAIL "cc.none" without a compiler, "cc.compile" if it refuses, RC_MISMATCH "cc.test" if the
 * test fails. */
enum rc cc_find(const char **compiler, struct err *e);
enum rc cc_test(const char *dir, const char *stem, const char **compiler,
                struct err *e); /* DIR/STEM.c and STEM_test.c */
enum rc cc_test_texts(const struct emitted *em, const char **compiler, struct err *e);

/* ---- reports --------------------------------------------------------------------------------- */

struct report {
    const char *rung, *record, *roof;                         /* record "": none */
    double ns, lo, hi, gflops, executed_gflops, roofline_pct; /* NaN: not known */
};
struct report report_none(const char *rung);
struct report report_row(const struct db_row *r); /* points into the row */
json_t *report_json(const struct work *w,
                    const struct report *r); /* the keys that tune, best and bench share */
void report_print(const struct report *r);
struct tune_summary;
/* What is said of a task at the end of tune, however it ended; `why` also stands for a time that
 * does not exist. */
void tune_print_end(const struct work *w, const struct report *r, const struct tune_summary *s,
                    const char *why);
void tune_print_summary(const struct work *w, const struct report *r, const struct tune_summary *s);
/* The command that goes on with this run: all that names it, and where its log is. */
void tune_say_resume(const struct work *w);

/* ---- output ---------------------------------------------------------------------------------- */

int complain(const struct err *e,
             bool json);         /* the error on stderr (and as JSON on stdout); its exit code */
void print_json(json_t *o);      /* one line on stdout, takes the reference */
json_t *json_number(double v);   /* null for NaN */
bool on_tty(void);               /* stderr, and no NO_COLOR/dumb terminal */
extern volatile int interrupted; /* set by SIGINT */
void say(const char *fmt, ...) QN_PRINTF(1, 2); /* stderr, unless --quiet */

enum rc cmd_ops(const struct options *o, struct err *e);
enum rc cmd_targets(const struct options *o, struct err *e);
enum rc cmd_doctor(const struct options *o, struct err *e);
enum rc cmd_lower(const struct options *o, struct err *e);
enum rc cmd_tune(const struct options *o, struct err *e);
enum rc cmd_best(const struct options *o, struct err *e);
enum rc cmd_log(const struct options *o, struct err *e);
enum rc cmd_verify(const struct options *o, struct err *e);
enum rc cmd_bench(const struct options *o, struct err *e);
enum rc cmd_emit(const struct options *o, struct err *e);

#endif
