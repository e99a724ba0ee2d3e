/* task: cache, operands, reference runs.
 *
 *   tier 1 of conv2d:  view (ints, seed 0, right) -> reference -> expect (ints, seed 0)
 *                      view (ints, seed 0, timed)      shares that expect
 *
 * Bound of CHECK_STEEP: the same reference kernel on operands moved by a few units of their last place. An
 * index of the least of many sums, say, is undecided where two of them are as good as equal.
 * Bound of CHECK_SUMPROD: the same reference kernel on squared operands gives sum (ab)^2 per
 * element, because for sums of products every term is then squared. Valid for ops whose outputs are
 * sums of products with at most an added bias or residual and a maximum with 0; for others the
 * client says CHECK_REL_L2. */
#include "sandbox/task.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/blob.h"

enum { REF_SLOT = SLOTS - 1 };
static const int64_t REF_TIMEOUT_NS = INT64_C(120) * 1000000000;

static size_t pages(uint64_t bytes) { return (size_t)(bytes + PAGE - 1) & ~(size_t)(PAGE - 1); }

/* SIZE_MAX: no memory. */
static size_t pile_take(struct pile *p, size_t bytes)
{
    size_t at = p->used ? p->used : PAGE; /* offset 0 means none */
    size_t end = at + pages(bytes);
    if (end > p->shm.len && !shm_resize(&p->shm, end + (end < (64u << 20) ? end / 2 : 0)))
        return SIZE_MAX;
    p->used = end;
    return at;
}

static unsigned unit_of(const struct wire_buffer *b)
{
    int bits = wire_dtype_info((enum wire_dtype)b->dtype)->bits;
    return bits < 8 ? 1 : (unsigned)bits / 8;
}

uint64_t task_operand_bytes(const struct wire_task *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->buffers_n; i++) sum += t->buffers[i].bytes;
    return sum;
}

static void task_free(struct task *t)
{
    shm_free(&t->pile.shm);
    buf_fini(&t->key);
    arena_free(t->a);
    mem_free(t);
}

void cache_free(struct task_cache *c)
{
    for (int i = 0; i < c->n; i++) task_free(c->tasks[i]);
    c->n = 0;
}

uint64_t cache_bytes(const struct task_cache *c)
{
    uint64_t sum = 0;
    for (int i = 0; i < c->n; i++) sum += c->tasks[i]->pile.shm.len;
    return sum;
}

static void cache_evict(struct task_cache *c, uint64_t coming)
{
    while (c->n > 0 && (c->n == CACHE_MAX_TASKS || cache_bytes(c) + coming > c->limit)) {
        int oldest = 0;
        for (int i = 1; i < c->n; i++)
            if (c->tasks[i]->used_at < c->tasks[oldest]->used_at) oldest = i;
        task_free(c->tasks[oldest]);
        c->tasks[oldest] = c->tasks[--c->n];
    }
}

static struct task *task_new(const struct wire_task *m, struct buf *key)
{
    struct task *t = mem_new(sizeof *t);
    t->a = arena_new();
    t->key = *key;
    t->t = *m;
    t->pile.shm.fd = -1;
    t->t.token = arena_strdup(t->a, m->token ? m->token : "");
    t->t.buffers = ARENA_ARRAY(t->a, struct wire_buffer, m->buffers_n);
    memcpy(t->t.buffers, m->buffers, m->buffers_n * sizeof *m->buffers);
    for (uint32_t i = 0; i < m->buffers_n; i++)
        t->t.buffers[i].name = arena_strdup(t->a, m->buffers[i].name);
    t->t.dyn.p = ARENA_ARRAY(t->a, int64_t, m->dyn.n);
    if (m->dyn.n) memcpy(t->t.dyn.p, m->dyn.p, m->dyn.n * sizeof *m->dyn.p);
    uint8_t *code = arena_alloc(t->a, m->ref.code.n);
    memcpy(code, m->ref.code.p, m->ref.code.n);
    t->t.ref.code.p = code;
    t->t.ref.packed = (struct wire_i64s){0};
    return t;
}

struct task *cache_task(struct task_cache *c, const struct wire_task *m, struct job *job,
                        struct wire_outcome *o)
{
    struct err e = {0};
    struct buf key;
    o->verdict = VERDICT_BAD_JOB;
    if (wire_task_check(m, &e) || blob_check(&m->ref, &e)) {
        o->text = arena_strdup(job->a, e.msg);
        return NULL;
    }
    uint64_t bytes = task_operand_bytes(m);
    if (bytes > job->memory) {
        o->verdict = VERDICT_NO_MEMORY;
        o->text =
            arena_printf(job->a, "operands of %llu MiB exceed the limit of %llu MiB",
                         (unsigned long long)bytes >> 20, (unsigned long long)job->memory >> 20);
        return NULL;
    }
    buf_init(&key, WIRE_MAX_FRAME);
    if (wire_task_bytes(&key, m, &e)) {
        o->text = arena_strdup(job->a, e.msg);
        buf_fini(&key);
        return NULL;
    }
    c->clock++;
    o->verdict = VERDICT_OK;
    for (int i = 0; i < c->n; i++) {
        struct task *t = c->tasks[i];
        if (t->key.n != key.n || memcmp(t->key.p, key.p, key.n) != 0) continue;
        t->used_at = c->clock;
        buf_fini(&key);
        if (t->views_n > TASK_MAX_VIEWS / 2 || t->expects_n > TASK_MAX_EXPECTS / 2) {
            t->views_n = t->expects_n = 0; /* many seeds; made again on demand */
            t->pile.used = 0;
        }
        return t;
    }
    cache_evict(c, 3 * bytes);
    struct task *t = c->tasks[c->n++] = task_new(m, &key);
    t->used_at = c->clock;
    return t;
}

static uint64_t mix(uint64_t seed, uint64_t i)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + i + 1;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

struct view *task_view(struct task *t, enum recipe recipe, uint64_t seed, enum data_twist twist,
                       enum stage_align align)
{
    for (int i = 0; i < t->views_n; i++) {
        struct view *v = &t->views[i];
        if (v->recipe == recipe && v->seed == seed && v->twist == twist && v->align == align)
            return v;
    }
    if (t->views_n == TASK_MAX_VIEWS) return NULL;
    struct view *v = &t->views[t->views_n];
    *v = (struct view){.recipe = recipe, .seed = seed, .twist = twist, .align = align};
    for (uint32_t i = 0; i < t->t.buffers_n; i++) {
        const struct wire_buffer *b = &t->t.buffers[i];
        if (b->role == ROLE_OUT) continue;
        size_t off, len = place_pages(b->bytes, align, unit_of(b), (int)i, &off);
        if ((v->at[i] = pile_take(&t->pile, len)) == SIZE_MAX) return NULL;
        if (len) data_fill((uint8_t *)pile_ptr(t, v->at[i]) + off, b, recipe, mix(seed, i), twist);
    }
    t->views_n++;
    return v;
}

size_t task_slot_bytes(const struct task *t, int stages)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < t->t.buffers_n; i++)
        if (t->t.buffers[i].role == ROLE_OUT) sum += pages(t->t.buffers[i].bytes) + PAGE;
    return sum * (size_t)stages;
}

bool task_stage(struct job *job, const struct task *t, struct child_spec *s, int slot,
                const struct view *v, const struct wire_blob *blob, uint8_t poison, size_t *out_at)
{
    struct window *w = &job->k->window;
    struct shm *mem = &job->k->slots[slot];
    struct stage *g = &s->stages[s->stages_n++];
    *g = (struct stage){.align = v->align, .poison = poison, .declared = (int)t->t.buffers_n};
    for (uint32_t i = 0; i < t->t.buffers_n; i++) {
        const struct wire_buffer *b = &t->t.buffers[i];
        bool out = b->role == ROLE_OUT;
        if (!stage_add(g, w, b->name, out ? PLACE_OUTPUT : PLACE_INPUT, b->bytes, unit_of(b)))
            return false;
        struct place *p = &g->places[i];
        p->fd = out ? mem->fd : t->pile.shm.fd;
        p->fd_off = out ? *out_at : v->at[i];
        p->mine = (out ? mem->base : t->pile.shm.base) + p->fd_off;
        if (out) *out_at += p->map_len;
    }
    for (uint32_t i = 0; i < blob->packed.n; i++) {
        char name[24];
        snprintf(name, sizeof name, "packed%u", i);
        if (!stage_add(g, w, name, PLACE_PACKED, (uint64_t)blob->packed.p[i], 64)) return false;
    }
    g->packed = (int)blob->packed.n;
    uint64_t scratch = blob->scratch_a + blob->scratch_b * job->threads;
    if (!stage_add(g, w, "scratch", PLACE_SCRATCH, scratch, 64)) return false;
    stage_poison(g);
    return true;
}

/* Runs the reference on one view; its outputs are left in REF_SLOT, described by spec->stages[0].
 */
static bool run_reference(struct job *job, struct task *t, const struct view *v,
                          struct child_spec *spec, struct wire_outcome *o)
{
    struct job serial = *job;
    struct kid kid;
    size_t out_at = CTL_BYTES;
    serial.threads = 1;
    o->verdict = VERDICT_NO_MEMORY;
    o->text = "no memory for the reference's operands";
    if (!keeper_slot(job->k, REF_SLOT, task_slot_bytes(t, 1))) return false;
    keeper_spec(job->k, spec, REF_SLOT, &t->t.ref);
    spec->dyn = t->t.dyn.p;
    spec->threads = 1;
    spec->cpu_seconds = 300;
    if (!task_stage(&serial, t, spec, REF_SLOT, v, &t->t.ref, 0xFF, &out_at)) return false;
    ((struct ctl *)(void *)job->k->slots[REF_SLOT].base)->cmd = CMD_RUN;
    if (!kid_start(job->k, &kid, spec, REF_SLOT, o)) return false;
    enum kid_event event = kid_wait(job->k, &kid, REF_TIMEOUT_NS);
    int32_t status = kid.ctl->status;
    kid_stop(&kid);
    if (event == KID_DONE && status == 0) {
        o->verdict = VERDICT_OK;
        o->text = NULL;
        return true;
    }
    struct wire_outcome why = {0};
    if (event == KID_DONE)
        why.text = arena_printf(job->a, "returned %d", status);
    else
        kid_explain(&kid, event, job->a, &why);
    o->verdict = VERDICT_BAD_REFERENCE;
    o->text = arena_printf(job->a, "the reference kernel: %s", why.text);
    return false;
}

/* bound = c 2^-24 sqrt(K) sqrt(sum (ab)^2), from the outputs of the squared run. */
static bool store_bounds(struct task *t, struct expect *x, const struct stage *g)
{
    double c = (t->t.bound_c > 0 ? t->t.bound_c : 8) * 0x1p-24;
    for (uint32_t i = 0; i < t->t.buffers_n; i++) {
        const struct wire_buffer *b = &t->t.buffers[i];
        if (b->role != ROLE_OUT || b->check != CHECK_SUMPROD || b->dtype != DTYPE_F32) continue;
        size_t at = pile_take(&t->pile, b->count * sizeof(double));
        if (at == SIZE_MAX) return false;
        double *bound = pile_ptr(t, at);
        const float *square = (const float *)(const void *)(g->places[i].mine + g->places[i].off);
        for (uint64_t k = 0; k < b->count; k++)
            bound[k] = c * sqrt(b->reduce_k) * sqrt(fabs(square[k]));
        x->bound[i] = at;
    }
    return true;
}

static bool store_wants(struct task *t, struct expect *x, const struct stage *g)
{
    for (uint32_t i = 0; i < t->t.buffers_n; i++) {
        const struct wire_buffer *b = &t->t.buffers[i];
        if (b->role != ROLE_OUT) continue;
        if ((x->want[i] = pile_take(&t->pile, b->bytes)) == SIZE_MAX) return false;
        if (b->bytes)
            memcpy(pile_ptr(t, x->want[i]), g->places[i].mine + g->places[i].off, b->bytes);
    }
    return true;
}

/* A real moves with every nudge. An integer near the edge of the next crosses it in one of two that are
 * opposite, unless they hardly move it. */
enum { NUDGES_OF_REALS = 2, NUDGES_OF_INTEGERS = 2 * DATA_WAYS };

static int nudges_of(const struct wire_buffer *b)
{
    bool whole = wire_dtype_info((enum wire_dtype)b->dtype)->bits >= 8;
    if (b->role != ROLE_OUT || b->check != CHECK_STEEP || !whole) return 0;
    return data_is_real(b) ? NUDGES_OF_REALS : NUDGES_OF_INTEGERS;
}

/* bound = 30 tol rms(want), 0 for integers, and 16 times what each nudged run differs by. */
static bool widen_bounds(struct task *t, struct expect *x, const struct stage *g, int nudge)
{
    for (uint32_t i = 0; i < t->t.buffers_n; i++) {
        const struct wire_buffer *b = &t->t.buffers[i];
        if (nudge >= nudges_of(b)) continue;
        bool first = x->bound[i] == 0;
        if (first) x->bound[i] = pile_take(&t->pile, b->count * sizeof(double));
        if (x->bound[i] == SIZE_MAX) return false;
        double *bound = pile_ptr(t, x->bound[i]), squares = 0;
        const void *want = pile_ptr(t, x->want[i]), *moved = g->places[i].mine + g->places[i].off;
        uint64_t finite = 0; /* what is not says nothing about its neighbours */
        for (uint64_t k = 0; first && data_is_real(b) && k < b->count; k++) {
            double v = data_element(b, want, k);
            if (!isfinite(v)) continue;
            squares += v * v;
            finite++;
        }
        double base = 30 * t->t.tol * sqrt(squares / fmax(1, (double)finite));
        for (uint64_t k = 0; k < b->count; k++) {
            double by = fabs(data_element(b, moved, k) - data_element(b, want, k));
            bound[k] = (first ? base : bound[k]) + (by > 0 && isfinite(by) ? 16 * by : 0);
        }
    }
    return true;
}

static bool wants_bounds(const struct task *t, enum recipe recipe, enum check check)
{
    bool some = false;
    for (uint32_t i = 0; i < t->t.buffers_n; i++)
        some |= t->t.buffers[i].role == ROLE_OUT && t->t.buffers[i].check == check;
    return some && !(data_integral(recipe) && t->t.exact);
}

static void say_no_memory(struct wire_outcome *o)
{
    o->verdict = VERDICT_NO_MEMORY;
    o->text = "no memory for the operands";
}

/* The reference on twisted operands, which nothing else reads: their memory is free again afterwards. */
static bool run_twisted(struct job *job, struct task *t, const struct expect *x, int twist,
                        struct child_spec *spec, struct wire_outcome *o)
{
    size_t used = t->pile.used;
    int views = t->views_n;
    struct view *v = task_view(t, x->recipe, x->seed, (enum data_twist)twist, ALIGN_RIGHT);
    bool ok = v && run_reference(job, t, v, spec, o);
    if (!v) say_no_memory(o);
    t->pile.used = used;
    t->views_n = views;
    return ok;
}

const struct expect *task_expect(struct job *job, struct task *t, enum recipe recipe, uint64_t seed,
                                 struct wire_outcome *o)
{
    for (int i = 0; i < t->expects_n; i++)
        if (t->expects[i].recipe == recipe && t->expects[i].seed == seed) return &t->expects[i];
    struct child_spec spec;
    struct expect x = {.recipe = recipe, .seed = seed};
    struct view *v = task_view(t, recipe, seed, DATA_PLAIN, ALIGN_RIGHT);
    say_no_memory(o);
    if (t->expects_n == TASK_MAX_EXPECTS || !v || !run_reference(job, t, v, &spec, o)) return NULL;
    if (!store_wants(t, &x, &spec.stages[0])) {
        say_no_memory(o);
        return NULL;
    }
    int nudges = 0;
    for (uint32_t i = 0; i < t->t.buffers_n; i++)
        nudges = (int)i64_max(nudges, nudges_of(&t->t.buffers[i]));
    if (!wants_bounds(t, recipe, CHECK_STEEP)) nudges = 0;
    for (int nudge = 0; nudge < nudges; nudge++) {
        if (!run_twisted(job, t, &x, DATA_NUDGED + nudge, &spec, o)) return NULL;
        if (!widen_bounds(t, &x, &spec.stages[0], nudge)) {
            say_no_memory(o);
            return NULL;
        }
    }
    if (wants_bounds(t, recipe, CHECK_SUMPROD)) {
        if (!run_twisted(job, t, &x, DATA_SQUARED, &spec, o)) return NULL;
        if (!store_bounds(t, &x, &spec.stages[0])) {
            say_no_memory(o);
            return NULL;
        }
    }
    o->verdict = VERDICT_OK;
    o->text = NULL;
    t->expects[t->expects_n] = x;
    return &t->expects[t->expects_n++];
}
