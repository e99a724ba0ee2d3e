/* quern lower: every stage of one task and schedule as text, from operator to assembly.
 *
 *   --stage nest     one stage on stdout     --stage all      all of them, with headings
 *   -o DIR           a file each             --diff split     what those schedule steps changed */
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/proc.h"
#include "base/scan.h"
#include "cli.h"

static bool wanted(const char *stage, const char *name)
{
    return strcmp(stage, "all") == 0 || strcmp(stage, name) == 0;
}

static enum rc write_stage(const char *dir, int at, const struct compile_stage *st, struct err *e)
{
    static const struct {
        const char *name, *suffix;
    } suffixes[] = {{"op", "op"}, {"c", "c"}, {"c99", "c"},
                    {"ll", "ll"}, {"s", "s"}, {"schedule", "sched"}};
    const char *suffix = "nest";
    char path[2048], name[64];
    for (size_t i = 0; i < QN_COUNT(suffixes); i++)
        if (strcmp(suffixes[i].name, st->name) == 0) suffix = suffixes[i].suffix;
    snprintf(name, sizeof name, "%s", st->name);
    for (char *p = name; *p; p++)
        if (*p == ':') *p = '-';
    snprintf(path, sizeof path, "%s/%02d-%s.%s", dir, at, name, suffix);
    return fs_write(path, st->text, strlen(st->text), e);
}

static void print_stage(const struct work *w, const struct compile_stage *st, bool heading)
{
    if (w->s->o->json)
        print_json(json_pack("{s:i, s:s, s:s, s:s}", "v", 1, "task", w->task->token, "stage",
                             st->name, "text", st->text));
    else if (heading)
        printf("==== %s ====\n%s%s\n", st->name, st->text,
               *st->text && st->text[strlen(st->text) - 1] == '\n' ? "" : "\n");
    else
        fputs(st->text, stdout);
}

static enum rc show(struct work *w, const struct compile_result *r, const char *stage,
                    struct err *e)
{
    const struct options *o = w->s->o;
    int shown = 0;
    enum rc rc = o->out ? fs_mkdirs(o->out, e) : RC_OK;
    for (int i = 0; i < r->nstage && rc == RC_OK; i++) {
        if (!wanted(stage, r->stage[i].name)) continue;
        shown++;
        if (i && !o->out && !o->json && shown > 1 &&
            strcmp(r->stage[i].text, r->stage[i - 1].text) == 0) {
            printf("==== %s ====\n(as stage %s)\n", r->stage[i].name, r->stage[i - 1].name);
            continue;
        }
        if (o->out)
            rc = write_stage(o->out, i, &r->stage[i], e);
        else
            print_stage(w, &r->stage[i], strcmp(stage, "all") == 0);
    }
    if (rc == RC_OK && shown == 0) {
        struct buf b;
        buf_init(&b, 2000);
        for (int i = 0; i < r->nstage; i++) buf_printf(&b, " %s", r->stage[i].name);
        rc = err_set(e, RC_INPUT, "lower.no_stage", "no stage '%.40s'; this schedule has:%s", stage,
                     b.p);
        buf_fini(&b);
    }
    if (rc == RC_OK && o->out) say("quern: %d stages in %s\n", shown, o->out);
    return rc;
}

/* Lines of b that a lacks are marked +, lines of a that b lacks -. Longest common subsequence over
 * lines. */
static void print_diff(const char *a, const char *b)
{
    VEC(const char *) x = {0}, y = {0};
    for (const char *p = a; *p; p += strcspn(p, "\n"), p += *p == '\n') vec_push(&x, p);
    for (const char *p = b; *p; p += strcspn(p, "\n"), p += *p == '\n') vec_push(&y, p);
    size_t n = x.n, m = y.n;
    int *lcs = mem_new(sizeof(int) * (n + 1) * (m + 1));
#define SAME(i, j)                                     \
    (strcspn(x.p[i], "\n") == strcspn(y.p[j], "\n") && \
     strncmp(x.p[i], y.p[j], strcspn(x.p[i], "\n")) == 0)
#define AT(i, j) lcs[(i) * (m + 1) + (j)]
    for (size_t i = n; i-- > 0;)
        for (size_t j = m; j-- > 0;)
            AT(i, j) = SAME(i, j)                    ? AT(i + 1, j + 1) + 1
                       : AT(i + 1, j) > AT(i, j + 1) ? AT(i + 1, j)
                                                     : AT(i, j + 1);
    for (size_t i = 0, j = 0; i < n || j < m;) {
        if (i < n && j < m && SAME(i, j)) {
            printf("  %.*s\n", (int)strcspn(x.p[i], "\n"), x.p[i]);
            i++, j++;
        } else if (i < n && (j == m || AT(i + 1, j) >= AT(i, j + 1))) {
            printf("- %.*s\n", (int)strcspn(x.p[i], "\n"), x.p[i]);
            i++;
        } else {
            printf("+ %.*s\n", (int)strcspn(y.p[j], "\n"), y.p[j]);
            j++;
        }
    }
#undef AT
#undef SAME
    mem_free(lcs);
    vec_free(&x);
    vec_free(&y);
}

static bool named(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == 0)) return true;
    return false;
}

/* Replays the schedule step by step and shows the nest before and after each step the list
 * names. */
static enum rc show_diff(struct work *w, const char *trace_text, const char *list, struct err *e)
{
    static const char *const prims[] = {
#define X(e, s, args, doc) s,
#include "sched/prims.def"
#undef X
    };
    struct trace *t;
    enum rc rc = trace_parse("(schedule)", trace_text, strlen(trace_text), &t, e);
    if (rc != RC_OK) return rc;
    struct ir *ir = ir_new();
    struct nest *n;
    char params[256];
    size_t at = 0;
    params[0] = 0;
    for (int i = 0; i < t->nparam && at < sizeof params; i++)
        at += (size_t)snprintf(params + at, sizeof params - at, "%s%s", i ? " " : "", t->param[i]);
    rc = dsl_lower(ir, w->task, t->algorithm, params, &n, e);
    int shown = 0;
    for (int i = 0; i < t->n && rc == RC_OK; i++) {
        struct buf before, after, line;
        struct rejection rej;
        buf_init(&before, 16 << 20);
        buf_init(&after, 16 << 20);
        buf_init(&line, 1 << 12);
        nest_print(&before, n);
        if (sched_apply_step(n, &t->step[i], &rej) != RC_OK)
            rc = err_set(e, RC_INPUT, reject_name(rej.code), "step %d: %s", i + 1, rej.detail);
        nest_print(&after, n);
        for (int k = 0; k < t->step[i].n; k++) buf_printf(&line, " %s", t->step[i].arg[k]);
        if (rc == RC_OK && named(list, prims[t->step[i].prim])) {
            printf("%s==== %s%s ====\n", shown++ ? "\n" : "", prims[t->step[i].prim], line.p);
            print_diff(before.p, after.p);
        }
        buf_fini(&before);
        buf_fini(&after);
        buf_fini(&line);
    }
    char hint[96];
    if (rc == RC_OK && shown == 0)
        rc = err_set(e, RC_INPUT, "lower.no_step", "the schedule has no step '%.80s'%s", list,
                     did_you_mean(hint, sizeof hint, list, prims, QN_COUNT(prims)));
    ir_free(ir);
    trace_free(t);
    return rc;
}

static void print_verified(const struct work *w, const char *stage, const char *how)
{
    if (w->s->o->json)
        print_json(json_pack("{s:i, s:s, s:s, s:b, s:s}", "v", 1, "task", w->task->token, "stage",
                             stage, "verified", true, "how", how));
    else
        printf("verified  %-8s %s\n", stage, how);
}

/* The stages that can run do run: machine code in the sandbox, both C forms through a C compiler,
 * each against plain loops that no pass has touched. */
static enum rc verify_stages(struct work *w, const char *trace, const struct compile_result *r,
                             struct err *e)
{
    static const char *const forms[][2] = {{"c", "vector"}, {"c99", "portable"}};
    struct wire_outcome outcome;
    char how[160];
    enum rc rc = work_verify(w, trace, r, &outcome, e);
    if (rc == RC_OK) rc = outcome_error(w, &outcome, e);
    if (rc != RC_OK) return err_wrap(e, "machine code");
    snprintf(how, sizeof how, "in the sandbox, tier %d, %u checks", outcome.tier, outcome.checks);
    print_verified(w, "s", how);
    for (size_t i = 0; i < QN_COUNT(forms); i++) {
        struct emission em = {.task = w->task->spelled,
                              .target = w->s->target->name,
                              .form = forms[i][1],
                              .prefix = "",
                              .license = "",
                              .record = "none",
                              .measured = "not measured",
                              .schedule = trace};
        struct emitted out;
        const char *compiler = "";
        rc = emit_texts(w->s, &em, &out, e);
        if (rc == RC_OK) rc = cc_test_texts(&out, &compiler, e);
        emitted_fini(&out);
        if (rc != RC_OK) return err_wrap(e, "stage %s", forms[i][0]);
        snprintf(how, sizeof how, "%s C compiled by %s, its test passes", forms[i][1], compiler);
        print_verified(w, forms[i][0], how);
    }
    return RC_OK;
}

static enum rc lower_task(void *ctx, const char *token, struct err *e)
{
    struct session *s = ctx;
    struct work w;
    struct compile_result r = {0};
    struct db_row row;
    char *trace = NULL;
    const char *rung = "", *stage = s->o->stage ? s->o->stage : "all";
    enum rc rc = work_open(&w, s, token, s->o->verify, e);
    if (rc == RC_OK) rc = work_schedule(&w, s->o->schedule, &trace, &rung, &row, e);
    if (rc == RC_OK && s->o->diff) {
        rc = show_diff(&w, trace, s->o->diff, e);
    } else if (rc == RC_OK) {
        rc = session_worker(s, e);
        if (rc == RC_OK) rc = worker_task(s->worker, w.op_text, w.task->token, s->target_text.p, e);
        int want =
            COMPILE_BLOB | COMPILE_LL | COMPILE_ASM | COMPILE_STAGES | COMPILE_C | COMPILE_VERIFY;
        if (rc == RC_OK) rc = work_compile(&w, trace, want, &r, e);
        if (rc == RC_OK && !s->o->quiet && strcmp(stage, "all") == 0)
            say("# schedule (%s):\n%s", rung, trace);
        if (rc == RC_OK) rc = show(&w, &r, stage, e);
        if (rc == RC_OK && s->o->verify) rc = verify_stages(&w, trace, &r, e);
    }
    compile_result_fini(&r);
    mem_free(trace);
    work_close(&w);
    return rc;
}

enum rc cmd_lower(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    if (rc == RC_OK) rc = for_each_task(o, lower_task, &s, e);
    session_close(&s);
    return rc;
}
