/* quern bench: times one schedule of each task, interleaved with the FMA loop; --aa times it
 * against itself. */
#include <math.h>
#include <stdio.h>

#include "cli.h"

static void print_timing(struct work *w, const struct timing *t, const char *rung,
                         const char *record)
{
    struct report r = {.rung = rung,
                       .record = record,
                       .roof = t->roof,
                       .ns = t->median_ns,
                       .lo = t->lo_ns,
                       .hi = t->hi_ns,
                       .gflops = t->gflops,
                       .executed_gflops = t->executed_gflops,
                       .roofline_pct = t->roofline_pct};
    if (w->s->o->json) {
        json_t *o = report_json(w, &r);
        json_object_set_new(o, "roof", json_string(t->roof));
        json_object_set_new(o, "peak_gflops", json_number(t->peak_gflops));
        json_object_set_new(o, "rounds", json_integer(t->rounds));
        json_object_set_new(o, "noisy", json_boolean(t->noisy));
        print_json(o);
        return;
    }
    printf("%s\n  ", w->task->token);
    report_print(&r);
    printf("  (FMA peak %.1f)  %d rounds  schedule: %s%s\n", t->peak_gflops, t->rounds, rung,
           t->noisy ? "  (noisy)" : "");
}

static enum rc bench_aa(struct work *w, const struct wire_task *job, const struct compile_result *r,
                        struct err *e)
{
    const struct compile_result *two[2] = {r, r};
    struct client_race *race = mem_new(sizeof *race);
    enum rc rc = work_race(w, 2, job, two, 1, (int)w->s->o->rounds, 0.05, race, e);
    if (rc == RC_OK) {
        const struct race_entry *x = &race->race.entries[1];
        if (w->s->o->json)
            print_json(json_pack("{s:i, s:s, s:o, s:o, s:o, s:b, s:i}", "v", 1, "task",
                                 w->task->token, "aa_ratio", json_number(x->ratio), "ratio_lo",
                                 json_number(x->ratio_lo), "ratio_hi", json_number(x->ratio_hi),
                                 "declared_different", race->race.separated, "rounds",
                                 race->race.rounds));
        else if (!(x->ratio_lo > 0 && isfinite(x->ratio_hi)))
            printf("%s\n  A/A ratio %.4f over %d rounds: too few for an interval\n", w->task->token,
                   x->ratio, race->race.rounds);
        else
            printf("%s\n  A/A ratio %.4f [%.4f, %.4f] over %d rounds: %s\n", w->task->token,
                   x->ratio, x->ratio_lo, x->ratio_hi, race->race.rounds,
                   race->race.separated ? "declared different (a false alarm)"
                                        : "not separated, as it must be");
        client_race_free(race);
    }
    mem_free(race);
    return rc;
}

static enum rc bench_one(struct work *w, const struct wire_task *job,
                         const struct compile_result *r, const char *rung, const char *record,
                         struct err *e)
{
    struct client_race *race = mem_new(sizeof *race);
    enum rc rc = work_race(w, 1, job, &r, 1, (int)w->s->o->rounds, 0.05, race, e);
    bool world =
        race->world != VERDICT_OK && race->world != VERDICT_NOISY; /* noisy: printed as such */
    if (rc == RC_OK && (world || race->race.entries[0].fate == RACE_DEAD))
        rc = err_set(e, world ? RC_FAIL : RC_MISMATCH,
                     verdict_name(world ? (int)race->world : race->outcomes[0].verdict), "%s: %s",
                     w->task->token, world ? race->text : race->outcomes[0].text);
    if (rc == RC_OK) {
        struct timing t;
        work_timing(w, race, 0, r, &t);
        print_timing(w, &t, rung, record);
    }
    client_race_free(race);
    mem_free(race);
    return rc;
}

static enum rc bench_task(void *ctx, const char *token, struct err *e)
{
    struct session *s = ctx;
    struct work w;
    struct compile_result r = {0};
    const struct wire_task *job = NULL;
    struct db_row row = {0};
    char *trace = NULL;
    const char *rung = "";
    enum rc rc = work_open(&w, s, token, true, e);
    if (rc == RC_OK) rc = session_can_time(s, e);
    if (rc == RC_OK) rc = session_calibrate(s, e);
    if (rc == RC_OK) rc = work_schedule(&w, s->o->schedule, &trace, &rung, &row, e);
    if (rc == RC_OK) rc = work_compile(&w, trace, COMPILE_BLOB, &r, e);
    if (rc == RC_OK) rc = work_job(&w, trace, &job, e);
    if (rc == RC_OK) work_patience(&w);
    if (rc == RC_OK)
        rc = s->o->aa ? bench_aa(&w, job, &r, e) : bench_one(&w, job, &r, rung, row.id, e);
    compile_result_fini(&r);
    mem_free(trace);
    work_close(&w);
    return rc;
}

enum rc cmd_bench(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    if (rc == RC_OK) rc = for_each_task(o, bench_task, &s, e);
    session_close(&s);
    return rc;
}
