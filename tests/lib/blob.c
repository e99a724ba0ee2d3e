/* blob: cases, guarded memory and the run itself. See blob.h.
 *
 * Invariant: a case follows from its seed and mask alone; every buffer has its own slot, ending at
 * a guard. */
#include "lib/blob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, SLOTS = 28, POISON = 0xA5 };
static const size_t slot_bytes = (size_t)128 << 20, code_bytes = (size_t)1 << 20;

/* ---- the case -------------------------------------------------------------------------------- */

static void leave_out(struct trace *t, const uint64_t *mask)
{
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (mask[i / 64] >> (i % 64) & 1) t->step[n++] = t->step[i];
    t->n = n;
}

enum blob_state blob_make(struct blob_case *c, uint64_t seed, const uint64_t *mask,
                          struct gen_stats *stats, const struct target *t, struct err *e)
{
    struct rng r;
    struct rejection why;
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->ir[0] = ir_new();
    c->ir[1] = ir_new();
    rng_seed(&r, seed);
    c->naive = gen_nest(c->ir[0], &r, &gen_default, &c->info);
    c->trace = gen_trace(c->naive, &c->info, &r, stats);
    if (mask) leave_out(c->trace, mask);
    if (gen_run(c->naive, seed, &c->info, &c->want, e) != RC_OK) return BLOB_BROKEN;
    struct nest *n = nest_clone(c->ir[1], c->naive);
    if (sched_apply(n, c->trace, &why) != RC_OK) {
        err_set(e, RC_INPUT, "sched", "%s", reject_name(why.code));
        return mask ? BLOB_REFUSED : BLOB_BROKEN;
    }
    struct lower_options o = {.dyn = c->info.dyn};
    enum rc rc = lower(n, t, &o, &c->k, e);
    if (rc == RC_OK) return BLOB_READY;
    return rc == RC_FAIL && strncmp(e->code, "lower.", 6) == 0 ? BLOB_REFUSED : BLOB_BROKEN;
}

void blob_free(struct blob_case *c)
{
    gen_result_free(&c->want);
    if (c->trace) trace_free(c->trace);
    ir_free(c->ir[0]);
    ir_free(c->ir[1]);
}

void blob_show(const struct blob_case *c)
{
    struct buf b;
    buf_init(&b, 1 << 22);
    nest_print(&b, c->naive);
    buf_putc(&b, '\n');
    trace_print(&b, c->trace);
    if (c->k.nest) {
        buf_putc(&b, '\n');
        nest_print(&b, c->k.nest);
    }
    printf("%.*s\n", (int)(b.n < 12000 ? b.n : 12000), b.p);
    buf_fini(&b);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint8_t *pool, *code;

static void map_once(void)
{
    if (pool) return;
    size_t each = slot_bytes + 2 * PAGE;
    pool = mmap(NULL, each * SLOTS, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    code = mmap(NULL, code_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    QN_CHECK(pool != MAP_FAILED && code != MAP_FAILED, "no memory");
    for (int i = 0; i < SLOTS; i++)
        QN_CHECK(mprotect(pool + each * (size_t)i + PAGE, slot_bytes, PROT_READ | PROT_WRITE) == 0,
                 "mprotect");
}

/* n bytes at one end of a slot; the rest of the last page they touch holds the poison. */
static uint8_t *place(int slot, size_t n, size_t align, bool right)
{
    uint8_t *base = pool + (slot_bytes + 2 * PAGE) * (size_t)slot + PAGE;
    QN_CHECK(slot < SLOTS && n <= slot_bytes, "slot %d, %zu bytes", slot, n);
    if (!right) {
        size_t span = (n + PAGE - 1) / PAGE * PAGE;
        memset(base, POISON, span);
        return base;
    }
    uint8_t *p = base + (slot_bytes - n) / align * align;
    uint8_t *page = base + (size_t)(p - base) / PAGE * PAGE;
    memset(page, POISON, (size_t)(base + slot_bytes - page));
    return p;
}

bool blob_map(const struct artefact *a, blob_entry **kernel, blob_entry **pack)
{
    map_once();
    if (a->blob_n > code_bytes) return false;
    mprotect(code, code_bytes, PROT_READ | PROT_WRITE);
    memcpy(code, a->blob, a->blob_n);
    mprotect(code, code_bytes, PROT_READ | PROT_EXEC);
    void *at = code + a->kernel_at;
    memcpy(kernel, &at, sizeof at);
    at = a->pack_at >= 0 ? code + a->pack_at : NULL;
    memcpy(pack, &at, sizeof at);
    return true;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Iterations backwards, workers in turn: nothing may depend on the order. */
static void run_backwards(void *ctx, int32_t (*body)(void *arg, int64_t i, int64_t worker),
                          void *arg, int64_t n)
{
    const int *threads = ctx;
    for (int64_t i = n - 1; i >= 0; i--) body(arg, i, i % *threads);
}

struct bufs {
    void *p[SLOTS];
    const struct tensor *t[SLOTS];
    int64_t elements[SLOTS];
    size_t bytes[SLOTS];
    int n, declared;
};

static void add_buffer(struct bufs *b, const struct blob_case *c, const struct nest *n,
                       const struct tensor *t, bool right)
{
    bool packed = t->scope == SCOPE_PACKED;
    int i = b->n++;
    QN_CHECK(i < SLOTS - 1, "too many buffers");
    b->t[i] = t;
    b->elements[i] = gen_elements(n, t, c->info.dyn);
    b->bytes[i] =
        (size_t)b->elements[i] * (size_t)dtype_bytes((enum dtype)t->type.dtype) * t->type.lanes;
    b->p[i] =
        place(i, b->bytes[i], packed ? 64 : (size_t)dtype_bytes((enum dtype)t->type.dtype), right);
    if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST)
        gen_fill(t, c->seed, b->p[i], b->elements[i]);
}

static bool compare(const struct blob_case *c, const struct bufs *b, char why[256])
{
    int out = 0;
    for (int i = 0; i < b->declared; i++) {
        const struct tensor *t = b->t[i];
        uint8_t *p = b->p[i];
        if (t->scope != SCOPE_OUT) {
            uint8_t *was = mem_new(b->bytes[i] + 1);
            gen_fill(t, c->seed, was, b->elements[i]);
            bool same = memcmp(was, p, b->bytes[i]) == 0;
            mem_free(was);
            if (!same) return snprintf(why, 256, "input %s was written", t->name), false;
            continue;
        }
        const uint8_t *want = c->want.out[out].p;
        gen_drop_signs(t, p, b->elements[i]);
        for (size_t k = 0; k < b->bytes[i]; k++)
            if (p[k] != want[k]) {
                snprintf(why, 256, "%s[%zu] of %lld differs", t->name,
                         k / (size_t)dtype_bytes((enum dtype)t->type.dtype),
                         (long long)b->elements[i]);
                return false;
            }
        for (uint8_t *q = p + b->bytes[i]; (uintptr_t)q % PAGE != 0; q++)
            if (*q != POISON) return snprintf(why, 256, "%s: written past its end", t->name), false;
        for (uint8_t *q = p; (uintptr_t)q % PAGE != 0; q--)
            if (q[-1] != POISON)
                return snprintf(why, 256, "%s: written before its start", t->name), false;
        out++;
    }
    return true;
}

bool blob_run(struct blob_case *c, blob_entry *kernel, blob_entry *pack, int threads, char why[256])
{
    struct bufs b = {.n = 0};
    struct par par = {run_backwards, &threads, threads};
    const struct nest *n = c->k.nest;
    bool right = c->seed % 3 != 0;
    map_once();
    /* The naive nest knows the shapes; packed buffers follow in the kernel's order. */
    for (int i = 0; i < c->naive->ntensor; i++) {
        const struct tensor *t = c->naive->tensor[i];
        if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_OUT)
            add_buffer(&b, c, c->naive, t, right);
    }
    b.declared = b.n;
    for (int i = 0; i < n->ntensor; i++)
        if (n->tensor[i]->scope == SCOPE_PACKED) add_buffer(&b, c, n, n->tensor[i], right);
    size_t scratch = (size_t)(c->k.scratch_a + c->k.scratch_b * i64_max(threads, 1));
    if (scratch > slot_bytes) return true;
    void *room = place(SLOTS - 1, scratch, 64, true);
    if (pack && pack(b.p, c->info.dyn, room, threads ? &par : NULL) != 0)
        return snprintf(why, 256, "pack returned nonzero"), false;
    if (kernel(b.p, c->info.dyn, room, threads ? &par : NULL) != 0)
        return snprintf(why, 256, "the kernel returned nonzero"), false;
    return compare(c, &b, why);
}
