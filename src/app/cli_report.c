/* cli_report: what tune, best and bench say about a task, in the one form all three share.
 *
 *   {"v":1,"task","target","threads","median_ns","ci_lo_ns","ci_hi_ns","gflops","executed_gflops",
 *    "roofline_pct","record","rung"}       numbers that do not exist are null, texts are ""
 *
 * rung: "exact" a record of this machine, "screened" the fastest candidate of a search that was
 * stopped before its race, "estimate" the analytic model, "file" a schedule given by hand. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "tune/tune.h"

struct report report_none(const char *rung)
{
    return (struct report){.rung = rung,
                           .record = "",
                           .roof = "",
                           .ns = NAN,
                           .lo = NAN,
                           .hi = NAN,
                           .gflops = NAN,
                           .executed_gflops = NAN,
                           .roofline_pct = NAN};
}

struct report report_row(const struct db_row *r)
{
    return (struct report){.rung = "exact",
                           .record = r->id,
                           .roof = r->roof,
                           .ns = r->median,
                           .lo = r->ci_lo,
                           .hi = r->ci_hi,
                           .gflops = r->gflops,
                           .executed_gflops = r->executed_gflops,
                           .roofline_pct = r->roofline_pct};
}

json_t *report_json(const struct work *w, const struct report *r)
{
    return json_pack("{s:i, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s}", "v", 1, "task",
                     w->task->token, "target", w->s->target->name, "threads", w->threads,
                     "median_ns", json_number(r->ns), "ci_lo_ns", json_number(r->lo), "ci_hi_ns",
                     json_number(r->hi), "gflops", json_number(r->gflops), "executed_gflops",
                     json_number(r->executed_gflops), "roofline_pct", json_number(r->roofline_pct),
                     "record", r->record, "rung", r->rung);
}

/* One line without a break: "7.15 us  [7.06, 7.63]  114.5 GFLOP/s  96.9% of the fma roof  record
 * 2ff16f08". */
void report_print(const struct report *r)
{
    if (!isfinite(r->ns)) return;
    printf("%.2f us", r->ns / 1e3);
    if (isfinite(r->lo) && isfinite(r->hi)) printf("  [%.2f, %.2f]", r->lo / 1e3, r->hi / 1e3);
    bool floats = r->gflops >= 0.05; /* an op on integers has few */
    if (floats) printf("  %.1f GFLOP/s", r->gflops);
    /* padding, or Winograd's fewer multiplies */
    if (floats && fabs(r->executed_gflops / r->gflops - 1) > 0.02)
        printf(" (%.1f executed)", r->executed_gflops);
    if (isfinite(r->roofline_pct)) printf("  %.1f%% of the %s roof", r->roofline_pct, r->roof);
    if (*r->record) printf("  record %.8s", r->record);
}

/* ---- tune ------------------------------------------------------------------------------------ */

void tune_print_end(const struct work *w, const struct report *r, const struct tune_summary *s,
                    const char *why)
{
    if (w->s->o->json) {
        json_t *o = report_json(w, r), *failures = json_object();
        for (int i = 0; i < s->nverdict; i++)
            json_object_set_new(failures, s->verdict[i].name, json_integer(s->verdict[i].n));
        json_object_set_new(o, "candidates", json_integer(s->candidates));
        json_object_set_new(o, "measurements", json_integer(s->measurements));
        json_object_set_new(o, "replayed", json_integer(s->replayed));
        json_object_set_new(o, "failures", failures);
        json_object_set_new(o, "wall_s", json_number(s->wall_s));
        json_object_set_new(o, "why", json_string(why));
        print_json(o);
        return;
    }
    printf("%s\n  ", w->task->token);
    report_print(r);
    printf("%s\n", isfinite(r->ns) ? "" : why);
}

void tune_print_summary(const struct work *w, const struct report *r, const struct tune_summary *s)
{
    tune_print_end(w, r, s, s->why);
    if (w->s->o->json) return;
    printf("  %" PRId64 " candidates, %" PRId64 " measured", s->candidates, s->measurements);
    if (s->replayed) printf(" (%" PRId64 " of them by an earlier run)", s->replayed);
    printf(", %" PRId64 " duplicates, %.1f s (%.1f candidates/s), stopped: %s\n", s->duplicates,
           s->wall_s, (double)(s->candidates - s->replayed) / s->wall_s, s->why);
    for (int i = 0; i < s->nverdict; i++)
        printf("  %s %" PRId64 "\n", s->verdict[i].name, s->verdict[i].n);
}

void tune_say_resume(const struct work *w)
{
    const struct options *o = w->s->o;
    say("quern: everything measured is saved; go on with\n  quern tune %s", w->task->spelled);
    if (strcmp(o->target, "host") != 0) say(" --target %s", o->target);
    if (o->effort) say(" --effort %s", o->effort);
    if (o->trials) say(" --trials %" PRId64, o->trials);
    if (o->threads > 1) say(" --threads %" PRId64, o->threads);
    if (o->seed != 1) say(" --seed %" PRIu64, o->seed);
    if (o->db) say(" --db %s", o->db);
    say("\n");
}
