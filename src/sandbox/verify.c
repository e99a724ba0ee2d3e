/* verify: which data, which side of the guard, which comparison.
 *
 *   tier 1  ints.right                     before any time is taken
 *   tier 2  + random.left ones.right ...   before a candidate can lead
 *   tier 3  + more seeds                   before it is best, exported or emitted
 *
 * Where the task is exact, integer data make every correct kernel bitwise equal to the reference,
 * whatever its order of summation; where it is not (fractional tables, exp, division), impulses and
 * the task's own tolerance take their place.
 *
 * Invariant: *o only ever gets worse within a job; max_err and worst are maxima over all checks. */
#include "sandbox/verify.h"

#include <math.h>
#include <string.h>

#include "base/compare.h"
#include "base/hash.h"
#include "sandbox/blob.h"

enum { POISON_NAN = 0xFF, POISON_B = 0xA5 };

static const struct check_case CHECKS[] = {
    {"ints.right", 1, RECIPE_INTS, 0, ALIGN_RIGHT, POISON_NAN, 1},
    {"onehot.right", 1, RECIPE_ONEHOT, 0, ALIGN_RIGHT, POISON_NAN, 0},
    {"random.left", 2, RECIPE_RANDOM, 1, ALIGN_LEFT, POISON_B, -1},
    {"ones.right", 2, RECIPE_ONES, 0, ALIGN_RIGHT, POISON_B, -1},
    {"extremes.left", 2, RECIPE_EXTREMES, 2, ALIGN_LEFT, POISON_NAN, -1},
    {"random3.right", 3, RECIPE_RANDOM, 3, ALIGN_RIGHT, POISON_B, -1},
    {"random4.left", 3, RECIPE_RANDOM, 4, ALIGN_LEFT, POISON_NAN, -1},
    {"random5.right", 3, RECIPE_RANDOM, 5, ALIGN_RIGHT, POISON_NAN, -1},
    {"dense.left", 3, RECIPE_DENSE, 0, ALIGN_LEFT, POISON_B, -1},
};
static const struct check_case TIMED_EXACT = {"timed", 1, RECIPE_INTS, 0, ALIGN_TIMED, POISON_B, 1};
static const struct check_case TIMED_ROUGH = {"timed",  1, RECIPE_RANDOM, 1, ALIGN_TIMED,
                                              POISON_B, 0};

static bool is_mild(const struct wire_task *t)
{
    for (uint32_t i = 0; i < t->buffers_n; i++)
        if (t->buffers[i].role == ROLE_OUT &&
            (t->buffers[i].check == CHECK_MILD_L2 || t->buffers[i].check == CHECK_STEEP))
            return true;
    return false;
}

const struct check_case *check_at(const struct wire_task *t, int tier, size_t at)
{
    bool mild = is_mild(t);
    for (size_t i = 0; i < QN_COUNT(CHECKS); i++) {
        const struct check_case *c = &CHECKS[i];
        bool applies = c->tier <= tier && (c->exact < 0 || c->exact == (t->exact != 0));
        applies = applies && !(mild && c->recipe == RECIPE_EXTREMES);
        if (applies && at-- == 0) return c;
    }
    return NULL;
}

const struct check_case *check_timed(const struct wire_task *t)
{
    return t->exact ? &TIMED_EXACT : &TIMED_ROUGH;
}

uint64_t check_seed(const struct job *job, const struct check_case *c)
{
    bool fixed = c->recipe == RECIPE_ONES || c->recipe == RECIPE_ZEROS || c->recipe == RECIPE_DENSE;
    return fixed ? 0 : job->seed * 64 + c->seed;
}

/* Of the elements near a step, those that no nudge took across it: by one, and few beside those that were. */
static void spare_steps(double *got, const double *want, const double *bound, int64_t n)
{
    int64_t near = 0, by_one = 0;
    for (int64_t i = 0; i < n; i++) {
        near += bound[i] > 0;
        by_one += bound[i] == 0 && fabs(got[i] - want[i]) == 1;
    }
    for (int64_t i = 0; i < n && by_one <= near / 16; i++)
        if (bound[i] == 0 && fabs(got[i] - want[i]) == 1) got[i] = want[i];
}

static void compare_output(struct compare *c, const struct wire_buffer *b, const uint8_t *got,
                           const uint8_t *want, const double *bound)
{
    int64_t n = (int64_t)b->count;
    size_t size = wire_dtype_info((enum wire_dtype)b->dtype)->bits / 8;
    if (b->dtype == DTYPE_F32) {
        compare_f32(c, (const float *)(const void *)got, (const float *)(const void *)want, bound,
                    n);
    } else if (b->dtype == DTYPE_F64) {
        compare_f64(c, (const double *)(const void *)got, (const double *)(const void *)want, bound,
                    n);
    } else if (c->mode == CMP_BITS || (!data_is_real(b) && !bound)) {
        compare_raw(c, got, want, size ? size : 1, size ? n : (int64_t)b->bytes);
    } else {
        double *g = mem_new(2 * b->count * sizeof *g + 1), *w = g + b->count;
        for (int64_t i = 0; i < n; i++) g[i] = data_element(b, got, (uint64_t)i);
        for (int64_t i = 0; i < n; i++) w[i] = data_element(b, want, (uint64_t)i);
        if (!data_is_real(b)) spare_steps(g, w, bound, n);
        compare_f64(c, g, w, bound, n);
        mem_free(g);
    }
}

static enum cmp_mode mode_of(const struct task *t, const struct wire_buffer *b,
                             const struct check_case *c, bool bound)
{
    if (b->check == CHECK_BITS || (data_integral(c->recipe) && t->t.exact)) return CMP_BITS;
    return bound ? CMP_BOUND : CMP_REL_L2;
}

/* Does element i still hold the poison it was given? */
static bool is_poison(const struct wire_buffer *b, const uint8_t *got, int64_t i, uint8_t poison)
{
    size_t size = (size_t)wire_dtype_info((enum wire_dtype)b->dtype)->bits / 8;
    for (size_t k = 0; k < size; k++)
        if (got[(size_t)i * size + k] != poison) return false;
    return size > 0;
}

static void worsen(struct wire_outcome *o, const struct compare *c, const char *buffer)
{
    if (!(c->max_err <= o->max_err)) o->max_err = c->max_err;
    if (c->rel_l2 > o->rel_l2) o->rel_l2 = c->rel_l2;
    double ratio = c->bad > 0 && c->worst <= 1 ? INFINITY : c->worst;
    if (ratio < o->worst) return;
    o->worst = ratio;
    o->bound = c->worst_bound;
    o->buffer = buffer;
    o->index = c->worst_at;
}

/* f16 and bf16 are computed in f32. */
static double storage_unit(const struct wire_buffer *b)
{
    return b->dtype == DTYPE_F16 ? 0x1p-11 : b->dtype == DTYPE_BF16 ? 0x1p-8 : 0;
}

static bool judge_output(struct job *job, struct task *t, const struct place *p, uint32_t i,
                         const struct check_case *c, const struct expect *x, uint8_t poison,
                         struct wire_outcome *o)
{
    const struct wire_buffer *b = &t->t.buffers[i];
    const uint8_t *got = p->mine + p->off, *want = pile_ptr(t, x->want[i]);
    struct compare cmp = {.mode = mode_of(t, b, c, x->bound[i] != 0),
                          .tol = t->t.tol,
                          .unit = storage_unit(b)};
    if (b->count == 0) return true;
    compare_output(&cmp, b, got, want, x->bound[i] ? pile_ptr(t, x->bound[i]) : NULL);
    worsen(o, &cmp, b->name);
    if (cmp.bad == 0) return true;
    int64_t at = cmp.worst_at < 0 ? 0 : cmp.worst_at;
    if (is_poison(b, got, at, poison)) {
        o->verdict = VERDICT_UNWRITTEN;
        o->text = arena_printf(job->a,
                               "%s: element %lld of '%s' was never written, or only added to (%lld "
                               "of %llu elements are wrong)",
                               c->name, (long long)at, b->name, (long long)cmp.bad,
                               (unsigned long long)b->count);
    } else {
        o->verdict = VERDICT_WRONG_RESULT;
        o->text = arena_printf(
            job->a,
            "%s: %lld of %llu elements of '%s' are wrong, worst at %lld: error %.3g, bound %.3g",
            c->name, (long long)cmp.bad, (unsigned long long)b->count, b->name, (long long)at,
            cmp.worst_err, cmp.worst_bound);
    }
    return false;
}

bool verify_outputs(struct job *job, struct task *t, const struct stage *g,
                    const struct check_case *c, const struct expect *x, struct wire_outcome *o)
{
    const struct place *hurt;
    bool after;
    o->where = c->name;
    if (!stage_intact(g, &hurt, &after)) {
        o->verdict = VERDICT_OOB_ACCESS;
        o->text = arena_printf(job->a, "%s: wrote %s '%s'", c->name,
                               after ? "past the end of" : "before the start of", hurt->name);
        return false;
    }
    for (uint32_t i = 0; i < t->t.buffers_n; i++) {
        if (t->t.buffers[i].role != ROLE_OUT) continue;
        if (!judge_output(job, t, &g->places[i], i, c, x, g->poison, o)) return false;
    }
    return true;
}

uint32_t verify_crc(const struct stage *g)
{
    uint32_t crc = 0;
    for (int i = 0; i < g->declared; i++) {
        const struct place *p = &g->places[i];
        if (p->kind != PLACE_OUTPUT) continue;
        crc = hash_crc32c(p->mine + p->off, p->bytes) ^ (crc << 1 | crc >> 31);
    }
    return crc;
}

bool verify_blob(struct job *job, const struct task *t, const struct wire_blob *blob,
                 struct wire_outcome *o)
{
    struct err e = {0};
    if (blob_check(blob, &e)) {
        o->verdict = VERDICT_LOAD_ERROR;
        o->text = arena_strdup(job->a, e.msg);
        return false;
    }
    uint64_t mine = blob_private_bytes(blob, job->threads), operands = task_operand_bytes(&t->t);
    if (mine > job->memory || mine + operands > job->memory) {
        o->verdict = VERDICT_OOM;
        o->text =
            arena_printf(job->a, "packed buffers and scratch take %llu MiB, the limit is %llu MiB",
                         (unsigned long long)(mine >> 20), (unsigned long long)(job->memory >> 20));
        return false;
    }
    return true;
}

static bool add_stage(struct job *job, struct task *t, const struct wire_blob *blob,
                      const struct check_case *c, int slot, struct child_spec *spec, size_t *out_at,
                      struct wire_outcome *o)
{
    const struct view *v = task_view(t, c->recipe, check_seed(job, c), DATA_PLAIN, c->align);
    if (v && task_stage(job, t, spec, slot, v, blob, c->poison, out_at)) return true;
    o->verdict = VERDICT_NO_MEMORY;
    o->text = "no memory for the operands";
    return false;
}

bool verify_prepare(struct job *job, struct task *t, const struct wire_blob *blob,
                    const struct check_case *c, bool timed, int slot, struct child_spec *spec,
                    struct wire_outcome *o)
{
    size_t out_at = CTL_BYTES;
    const struct check_case *timing = check_timed(&t->t);
    o->where = c->name;
    if (!task_expect(job, t, c->recipe, check_seed(job, c), o)) return false;
    if (timed && !task_expect(job, t, timing->recipe, check_seed(job, timing), o)) return false;
    if (!keeper_slot(job->k, slot, task_slot_bytes(t, timed ? 2 : 1))) {
        o->verdict = VERDICT_NO_MEMORY;
        o->text = "no memory for the outputs";
        return false;
    }
    keeper_spec(job->k, spec, slot, blob);
    spec->dyn = t->t.dyn.p;
    spec->threads = job->threads;
    spec->cpus = job->cpus;
    spec->cpu_seconds = (uint32_t)(job->timeout_ns / 1000000000 + 2) * job->threads * 64;
    if (!add_stage(job, t, blob, c, slot, spec, &out_at, o)) return false;
    if (timed && !add_stage(job, t, blob, timing, slot, spec, &out_at, o)) return false;
    struct ctl *ctl = (struct ctl *)(void *)job->k->slots[slot].base;
    ctl->cmd = CMD_RUN;
    ctl->cold = job->cold;
    return true;
}

bool verify_answer(struct job *job, struct task *t, struct kid *kid, int stage,
                   const struct check_case *c, struct wire_outcome *o)
{
    enum kid_event event = kid_wait(job->k, kid, job->timeout_ns);
    o->where = c->name;
    if (event != KID_DONE) {
        kid_explain(kid, event, job->a, o);
        o->text = arena_printf(job->a, "%s: %s", c->name, o->text);
        return false;
    }
    if (kid->ctl->status != 0) {
        o->verdict = VERDICT_BAD_ARGS;
        o->text = arena_printf(job->a, "%s: returned %d", c->name, kid->ctl->status);
        return false;
    }
    const struct expect *x = task_expect(job, t, c->recipe, check_seed(job, c), o);
    return x && verify_outputs(job, t, &kid->spec->stages[stage], c, x, o);
}

bool verify_timed(struct job *job, struct task *t, struct kid *kid, struct wire_outcome *o)
{
    const struct check_case *c = check_timed(&t->t);
    bool ok = verify_answer(job, t, kid, 1, c, o);
    if (!ok && (o->verdict == VERDICT_WRONG_RESULT || o->verdict == VERDICT_UNWRITTEN)) {
        o->verdict = VERDICT_NONDETERMINISTIC;
        o->text = arena_printf(job->a, "correct when verified, but not when timed: %s", o->text);
    }
    if (ok) o->crc = verify_crc(&kid->spec->stages[1]);
    return ok;
}

bool verify_tier(struct job *job, struct task *t, const struct wire_blob *blob, int tier,
                 size_t first, int slot, struct wire_outcome *o)
{
    if (!verify_blob(job, t, blob, o)) return false;
    const struct check_case *c;
    for (size_t i = first; (c = check_at(&t->t, tier, i)); i++) {
        struct child_spec spec;
        struct kid kid;
        if (!verify_prepare(job, t, blob, c, false, slot, &spec, o)) return false;
        if (!kid_start(job->k, &kid, &spec, slot, o)) return false;
        bool ok = verify_answer(job, t, &kid, 0, c, o);
        kid_stop(&kid);
        if (!ok) return false;
        o->checks++;
        o->tier = (uint8_t)c->tier;
    }
    o->verdict = VERDICT_OK;
    return true;
}
