/* bind: the search loop's hands (tune.h): compile worker, runner and log of one task.
 *
 *   submit/receive -> worker          screen/race -> runner          record/commit -> log
 *
 *   struct tune_binding b;
 *   tune_bind_open(&b, &w, &run, &e);
 *   struct tune_ops ops = tune_bind(&b);  ...  tune_bind_close(&b);
 *
 * Rows of an earlier life of the run are found by trace; the log's own errors end the run. */
#ifndef QN_CLI_BIND_H
#define QN_CLI_BIND_H

#include "base/map.h"
#include "cli.h"
#include "cli_plant.h"
#include "tune/tune.h"

struct tune_binding {
    struct work *w;       /* open, with its reference */
    struct db_run *run;   /* open */
    struct map *recorded; /* "phase:trace hash" -> row of an earlier life */
    bool careful;         /* the screening under way asks for usual times */
    int64_t screen_ns;    /* when the screen under way began */
    double fma_flops;     /* of one step of the FMA loop in the last race */
    int races;            /* the last try takes an interval as wide as it comes: better than none */
    struct planted *planted; /* QUERN_PLANT, NULL: none */
    int64_t last_line_ns;    /* of the progress line */
    bool line_open;
};

enum rc tune_bind_open(struct tune_binding *b, struct work *w, struct db_run *run, struct err *e);
void tune_bind_close(struct tune_binding *b);
struct tune_ops tune_bind(struct tune_binding *b);
void tune_bind_quiet(struct tune_binding *b); /* takes the progress line away */

#endif
