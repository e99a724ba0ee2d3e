/* peer quern: the JIT's blob, mapped into this process. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "compare.h"

typedef int32_t kernel_fn(void *const *buf, const int64_t *dyn, void *scratch, const void *par);

struct quern_state {
    void *map;
    size_t map_n;
    kernel_fn *kernel;
    void **buf;
    void *scratch;
    const int64_t *dyn;
};

static void quern_run(void *state)
{
    struct quern_state *q = state;
    QN_CHECK(q->kernel(q->buf, q->dyn, q->scratch, NULL) == 0, "the kernel refused its arguments");
}

static void quern_fini(void *state)
{
    struct quern_state *q = state;
    munmap(q->map, q->map_n);
    free(q->scratch);
    mem_free(q);
}

static void *aligned(int64_t n)
{
    void *p = NULL;
    QN_CHECK(posix_memalign(&p, 64, (size_t)i64_max(64, n)) == 0, "out of memory");
    memset(p, 0, (size_t)i64_max(64, n));
    return p;
}

bool peer_quern(struct bench_task *t, struct entry *out, char *why)
{
    const struct compile_result *r = t->winner;
    struct quern_state *q = mem_new(sizeof *q);
    q->map_n = (r->art.blob_n + 4095) & ~(size_t)4095;
    q->map = mmap(NULL, q->map_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (q->map == MAP_FAILED) return snprintf(why, 200, "mmap failed"), false;
    memcpy(q->map, r->art.blob, r->art.blob_n);
    mprotect(q->map, q->map_n, PROT_READ | PROT_EXEC);
    int n = t->w->task->ntensor;
    q->buf = mem_new(sizeof(void *) * (size_t)(n + r->npacked));
    memcpy(q->buf, t->buf, sizeof(void *) * (size_t)n);
    for (int i = 0; i < r->npacked; i++) q->buf[n + i] = aligned(r->packed_bytes[i]);
    q->scratch = aligned(r->art.scratch_a + r->art.scratch_b);
    q->dyn = t->w->task->dyn;
    q->kernel = (kernel_fn *)((char *)q->map + r->art.kernel_at);
    if (r->art.pack_at >= 0)
        ((kernel_fn *)((char *)q->map + r->art.pack_at))(q->buf, q->dyn, q->scratch, NULL);
    *out = (struct entry){.name = "quern", .state = q, .run = quern_run, .fini = quern_fini};
    return true;
}
