/* compile: the pipeline of one candidate, read top to bottom.
 *
 *   op text + task ──dsl_lower──► nest ──sched_apply──► nest'
 *                                        nest' ──lower──► kernel ──codegen_llvm──► blob
 *
 * Between stages: texts for `quern lower --stage all`, and nest_verify when asked. Nothing here
 * decides anything; a refusal at any stage ends the candidate with the code and sentence of that
 * stage. */
#include "compile/compile.h"

#include <stdio.h>
#include <string.h>

#include "base/proc.h"
#include "compile/compile_int.h"

struct compiler {
    struct op_lib *lib;
    struct task *task;
    struct target *target;
};

enum rc compiler_new(struct compiler **out, const char *op_text, const char *task_token,
                     const char *target_text_in, struct err *e)
{
    struct compiler *c = mem_new(sizeof *c);
    enum rc rc = op_lib_new(NULL, false, &c->lib, e);
    if (rc == RC_OK) rc = op_lib_add(c->lib, "(request)", op_text, strlen(op_text), e);
    if (rc == RC_OK) rc = task_parse(task_token, c->lib, NULL, &c->task, e);
    if (rc == RC_OK) rc = target_from_text(target_text_in, strlen(target_text_in), &c->target, e);
    if (rc != RC_OK) {
        compiler_free(c);
        c = NULL;
    }
    *out = c;
    return rc;
}

void compiler_free(struct compiler *c)
{
    if (!c) return;
    task_free(c->task);
    op_lib_free(c->lib);
    target_free(c->target);
    mem_free(c);
}

/* ---- texts between stages -------------------------------------------------------------------- */

enum { STAGE_TEXT_MAX = 64 << 20 };

static void add_stage(struct compile_result *r, const char *name, const char *text)
{
    r->stage = mem_grow(r->stage, sizeof *r->stage * (size_t)r->nstage,
                        sizeof *r->stage * (size_t)(r->nstage + 1));
    r->stage[r->nstage].name = mem_strdup(name);
    r->stage[r->nstage++].text = mem_strdup(text);
}

static void add_nest(struct compile_result *r, const char *name, const struct nest *n)
{
    struct buf b;
    buf_init(&b, STAGE_TEXT_MAX);
    nest_print(&b, n);
    add_stage(r, name, b.p);
    buf_fini(&b);
}

static void dump_pass(void *ctx, const char *pass, const struct nest *n) { add_nest(ctx, pass, n); }

/* ---- choices of the schedule's last line ------------------------------------------------------ */

enum {
#define X(field, ...) CHOICE_##field,
    CODEGEN_CHOICES(X)
#undef X
        CHOICES
};
static const char *const choice_key[CHOICES] = {
#define X(field, key, ...) key,
    CODEGEN_CHOICES(X)
#undef X
};
static const char *const choice_value[CHOICES][2] = {
#define X(field, key, set, unset, what) {set, unset},
    CODEGEN_CHOICES(X)
#undef X
};

static enum rc no_such_choice(const char *key, struct err *e)
{
    char all[200] = "";
    for (int i = 0; i < CHOICES; i++)
        if (i == 0 || strcmp(choice_key[i], choice_key[i - 1]) != 0)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "",
                     choice_key[i]);
    return err_set(e, RC_INPUT, "codegen.choice",
                   "codegen has no choice '%.40s'; there are %s and nudge", key, all);
}

static enum rc no_such_value(const char *key, const char *value, struct err *e)
{
    char all[200] = "";
    const char *last = "";
    for (int i = 0; i < CHOICES; i++) {
        if (strcmp(choice_key[i], key) != 0) continue;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", all[0] ? ", " : "",
                 choice_value[i][0]);
        last = choice_value[i][1];
    }
    return err_set(e, RC_INPUT, "codegen.choice", "codegen %s is %s or %s, not '%.40s'", key, all,
                   last, value);
}

static bool chosen(const struct trace *t, int k, bool otherwise)
{
    const char *const *value = choice_value[k];
    return strcmp(trace_choice(t, choice_key[k], value[otherwise ? 0 : 1]), value[0]) == 0;
}

_Static_assert(TRACE_NUDGES == (int)CODEGEN_NUDGES, "a trace has as many as codegen takes");

/* "17.203" of nudge=17.203; how many numbers, or -1: not such a list. */
static int nudges_of(const struct trace *t, int out[CODEGEN_NUDGES])
{
    const char *p = trace_choice(t, "nudge", "");
    int n = 0;
    while (*p) {
        int v = 0;
        const char *start = p;
        for (; *p >= '0' && *p <= '9' && v <= TRACE_NUDGE_MOST; p++) v = v * 10 + (*p - '0');
        bool longer = *start == '0' && p > start + 1, ends = *p == 0 || (*p == '.' && p[1]);
        if (p == start || longer || !ends || v > TRACE_NUDGE_MOST || n == TRACE_NUDGES) return -1;
        out[n++] = v;
        p += *p == '.';
    }
    return n;
}

static enum rc check_nudge(const struct trace *t, struct err *e)
{
    int nudge[CODEGEN_NUDGES];
    if (nudges_of(t, nudge) < 0)
        return err_set(
            e, RC_INPUT, "codegen.choice",
            "codegen nudge is 1 to %d numbers from 0 to %d with dots between, as 17.203, not "
            "'%.70s'",
            TRACE_NUDGES, TRACE_NUDGE_MOST, trace_choice(t, "nudge", ""));
    if (!chosen(t, CHOICE_list, false))
        return err_set(e, RC_INPUT, "codegen.choice",
                       "codegen nudge moves operations of order=list; choose that, too");
    return RC_OK;
}

static enum rc check_choices(const struct trace *t, struct err *e)
{
    for (int i = 0; i < t->nchoice; i++) {
        const char *key = t->choice[i].key, *value = t->choice[i].value;
        bool key_known = false, value_known = false;
        if (strcmp(key, "nudge") == 0) {
            enum rc rc = check_nudge(t, e);
            if (rc != RC_OK) return rc;
            continue;
        }
        for (int k = 0; k < CHOICES; k++) {
            if (strcmp(choice_key[k], key) != 0) continue;
            key_known = true;
            for (int j = 0; j < 2; j++) value_known |= strcmp(choice_value[k][j], value) == 0;
        }
        if (!key_known) return no_such_choice(key, e);
        if (!value_known) return no_such_value(key, value, e);
    }
    return RC_OK;
}

enum lower_phases compile_phases(const struct trace *t)
{
    if (chosen(t, CHOICE_overlap, false)) return PHASES_OVERLAP;
    return chosen(t, CHOICE_phases, false) ? PHASES_TWO : PHASES_ONE;
}

enum ahead_of compile_ahead(const struct trace *t)
{
    return ahead_chosen(chosen(t, CHOICE_prefetch, false), chosen(t, CHOICE_prefetch_turn, false));
}

/* ---- the pipeline ---------------------------------------------------------------------------- */

static void fail(struct compile_result *r, enum compile_status status, const char *code,
                 const char *msg)
{
    r->status = status;
    snprintf(r->code, sizeof r->code, "%s", code);
    snprintf(r->msg, sizeof r->msg, "%s", msg);
}

/* Parameters of an algorithm as dsl_lower wants them: "m=4 points=...". */
static void join_params(char *out, size_t n, const struct trace *t)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < t->nparam && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? " " : "", t->param[i]);
}

static enum rc check(const struct nest *n, enum nest_stage stage, int want, struct err *e)
{
    return want & COMPILE_VERIFY ? nest_verify(n, stage, e) : RC_OK;
}

/* Task and trace to kernel form. On refusal *rejected tells a schedule's fault from a later one's.
 */
static enum rc front(const struct task *task, const struct target *target,
                     const struct trace *trace, int want, struct ir *ir, struct nest **naive,
                     struct kernel *k, lower_dump_fn *dump, void *dump_ctx, bool *rejected,
                     struct err *e)
{
    char params[512];
    struct nest *n;
    *rejected = false;
    join_params(params, sizeof params, trace);
    enum rc rc = dsl_lower(ir, task, trace->algorithm, params, &n, e);
    if (rc == RC_OK) rc = check(n, NEST_NAIVE, want, e);
    if (rc != RC_OK) return rc;
    if (naive) *naive = nest_clone(ir, n);
    if (dump) dump(dump_ctx, "nest", n);
    if (want & COMPILE_REFERENCE) return lower_naive(n, target, task->dyn, k, e);

    struct rejection rej;
    if (sched_apply(n, trace, &rej) != RC_OK) {
        *rejected = true;
        struct buf b;
        buf_init(&b, 1500);
        if (want & COMPILE_STAGES)
            sched_explain(&b, n, trace, &rej);
        else
            buf_printf(&b, "step %d: %s (%s)", rej.step + 1, rej.detail, reject_sentence(rej.code));
        rc = err_set(e, RC_INPUT, reject_name(rej.code), "%s", b.p);
        buf_fini(&b);
        return rc;
    }
    rc = check(n, NEST_SCHEDULED, want, e);
    if (rc != RC_OK) return rc;
    if (dump) dump(dump_ctx, "scheduled", n);
    struct lower_options lo = {.dump = dump,
                               .dump_ctx = dump_ctx,
                               .verify_each = (want & COMPILE_VERIFY) != 0,
                               .skip_flops = want == 0,
                               .phases = compile_phases(trace),
                               .dyn = task->dyn};
    return lower(n, target, &lo, k, e);
}

enum rc compile_kernel(const struct task *task, const struct target *t, const struct trace *trace,
                       struct ir **ir, struct nest **naive, struct kernel *k, lower_dump_fn *dump,
                       void *dump_ctx, struct err *e)
{
    bool rejected;
    *ir = ir_new();
    enum rc rc = front(task, t, trace, 0, *ir, naive, k, dump, dump_ctx, &rejected, e);
    if (rc != RC_OK) {
        ir_free(*ir);
        *ir = NULL;
    }
    return rc;
}

struct target compile_target_of_c(const struct target *t, enum c_form form)
{
    struct target c = *t;
    c.fma = form == C_PORTABLE || !t->fma ? 0 : FMA_PERHAPS;
    return c;
}

static void add_c_forms(struct compile_result *r, const struct task *task, const struct target *t,
                        const struct trace *trace)
{
    static const struct {
        enum c_form form;
        const char *name;
    } forms[] = {{C_VECTOR, "c"}, {C_PORTABLE, "c99"}};
    for (size_t i = 0; i < QN_COUNT(forms); i++) {
        struct buf c, h;
        struct err e = {0};
        struct ir *ir;
        struct kernel k = {0};
        buf_init(&c, STAGE_TEXT_MAX);
        buf_init(&h, STAGE_TEXT_MAX);
        struct c_options o = {.form = forms[i].form,
                              .prefix = "",
                              .symbol = "kernel",
                              .ahead = compile_ahead(trace),
                              .banner = ""};
        struct target machine = compile_target_of_c(t, forms[i].form);
        enum rc rc = compile_kernel(task, &machine, trace, &ir, NULL, &k, NULL, NULL, &e);
        if (rc == RC_OK) rc = codegen_c(&k, &machine, &o, &c, &h, &e);
        add_stage(r, forms[i].name, rc == RC_OK ? c.p : e.msg);
        ir_free(ir);
        buf_fini(&c);
        buf_fini(&h);
    }
}

static void packed_sizes(const struct nest *n, struct compile_result *r)
{
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        int64_t elements = 0;
        if (t->scope != SCOPE_PACKED || r->npacked == (int)QN_COUNT(r->packed_bytes)) continue;
        QN_CHECK(expr_is_int(t->extent[0], &elements), "packed tensor %s has no constant size",
                 t->name);
        r->packed_bytes[r->npacked++] = elements * dtype_bytes(t->type.dtype) * t->type.lanes;
    }
}

static void back(struct compiler *c, const struct kernel *k, const struct trace *trace, int want,
                 struct compile_result *r)
{
    struct err e = {0};
    struct buf ll, s;
    buf_init(&ll, STAGE_TEXT_MAX);
    buf_init(&s, STAGE_TEXT_MAX);
    struct codegen_options o = {
#define X(field, ...) .field = chosen(trace, CHOICE_##field, false),
        CODEGEN_CHOICES(X)
#undef X
            .optimise = (want & COMPILE_REFERENCE) != 0,
        .ll = want & COMPILE_LL ? &ll : NULL,
        .s = want & COMPILE_ASM ? &s : NULL,
    };
    o.misched = chosen(trace, CHOICE_misched, c->target->misched);
    o.nudges = nudges_of(trace, o.nudge);
    if (codegen_llvm(k, c->target, &o, &r->art, &e) != RC_OK)
        fail(r, COMPILE_FAILED, e.code, e.msg);
    if (want & COMPILE_LL && ll.n) add_stage(r, "ll", ll.p);
    if (want & COMPILE_ASM && s.n) add_stage(r, "s", s.p);
    buf_fini(&ll);
    buf_fini(&s);
}

static const char reference_trace[] = "algorithm direct\n";

void compile_candidate(struct compiler *c, const char *trace_text, int want,
                       struct compile_result *r)
{
    memset(r, 0, sizeof *r);
    r->art.pack_at = -1;
    int64_t start = clock_ns();
    struct err e = {0};
    struct trace *trace;
    if (want & COMPILE_REFERENCE) trace_text = reference_trace;
    if (trace_parse("(schedule)", trace_text, strlen(trace_text), &trace, &e) != RC_OK) {
        fail(r, COMPILE_REJECTED, e.code, e.msg);
        return;
    }
    if (check_choices(trace, &e) != RC_OK) {
        fail(r, COMPILE_REJECTED, e.code, e.msg);
        trace_free(trace);
        return;
    }
    if (want & COMPILE_STAGES) {
        struct buf b;
        buf_init(&b, STAGE_TEXT_MAX);
        operator_text(&b, c->task->op);
        add_stage(r, "op", b.p);
        buf_fini(&b);
    }
    struct ir *ir = ir_new();
    struct kernel k = {0};
    bool rejected;
    enum rc rc = front(c->task, c->target, trace, want, ir, NULL, &k,
                       want & COMPILE_STAGES ? dump_pass : NULL, r, &rejected, &e);
    r->front_ns = clock_ns() - start;
    if (rc != RC_OK) {
        fail(r, rejected ? COMPILE_REJECTED : COMPILE_FAILED, e.code, e.msg);
    } else {
        r->flops = k.flops;
        r->nodes = k.nodes;
        packed_sizes(k.nest, r);
        if (want & COMPILE_STAGES) add_nest(r, "kernel", k.nest);
        if (want & COMPILE_C) add_c_forms(r, c->task, c->target, trace);
        if (want & (COMPILE_BLOB | COMPILE_LL | COMPILE_ASM)) back(c, &k, trace, want, r);
    }
    ir_free(ir);
    trace_free(trace);
    r->build_ns = clock_ns() - start;
}

void compile_result_fini(struct compile_result *r)
{
    artefact_fini(&r->art);
    for (int i = 0; i < r->nstage; i++) {
        mem_free(r->stage[i].name);
        mem_free(r->stage[i].text);
    }
    mem_free(r->stage);
    r->stage = NULL;
    r->nstage = 0;
}
