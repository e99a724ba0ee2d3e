/* peers c-gcc, c-clang: quern's winner as emitted C, compiled with nothing but -O2;
 * naive-gcc, naive-clang: the op's plain loops, compiled as hard as the compiler can.
 * All through a shared object. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/proc.h"
#include "compare.h"

typedef int32_t kernel_fn(void *const *buf, const int64_t *dyn, void *scratch, const void *par);

struct c_state {
    void *lib, *scratch;
    void **buf;
    int n, npacked;
    const int64_t *dyn;
    kernel_fn *kernel;
};

static void c_run(void *state)
{
    struct c_state *s = state;
    QN_CHECK(s->kernel(s->buf, s->dyn, s->scratch, NULL) == 0,
             "the emitted kernel refused its arguments");
}

static void c_fini(void *state)
{
    struct c_state *s = state;
    for (int i = 0; i < s->npacked; i++) free(s->buf[s->n + i]);
    free(s->scratch);
    mem_free(s->buf);
    dlclose(s->lib);
    mem_free(s);
}

static bool compile_so(const char *dir, const char *tag, const struct buf *c, const struct buf *h,
                       const char *const *cc, char *so, size_t so_n, char *why)
{
    char path[200];
    const char *argv[24];
    int n = 0, code = 1;
    char *out = NULL;
    snprintf(path, sizeof path, "%s/k.h", dir);
    fs_write(path, h->p, h->n, NULL);
    snprintf(path, sizeof path, "%s/%s.c", dir, tag);
    fs_write(path, c->p, c->n, NULL);
    snprintf(so, so_n, "%s/%s.so", dir, tag);
    while (cc[n]) argv[n] = cc[n], n++;
    argv[n++] = "-shared";
    argv[n++] = "-fPIC";
    argv[n++] = "-o";
    argv[n++] = so;
    argv[n++] = path;
    argv[n] = NULL;
    bool ok = proc_run(argv, NULL, 120000, 1 << 16, &out, &code, NULL) == RC_OK && code == 0;
    if (!ok) snprintf(why, 200, "%s: %.150s", cc[0], out ? out : "did not start");
    mem_free(out);
    return ok;
}

static void *aligned(int64_t n)
{
    void *p = NULL;
    QN_CHECK(posix_memalign(&p, 64, (size_t)i64_max(64, n)) == 0, "out of memory");
    memset(p, 0, (size_t)i64_max(64, n));
    return p;
}

/* Lowers (the winner, or the naive nest), prints C, compiles, loads. */
static bool open_c(struct bench_task *t, const char *name, bool naive, const char *const *cc,
                   struct entry *out, char *why)
{
    struct err e = {0};
    struct work *w = t->w;
    struct trace *trace;
    struct ir *ir = NULL;
    struct nest *n = NULL;
    struct kernel k = {0};
    struct buf c, h;
    char so[200];
    bool ok = false;
    buf_init(&c, 64 << 20);
    buf_init(&h, 1 << 20);
    if (trace_parse("(schedule)", t->schedule, strlen(t->schedule), &trace, &e) != RC_OK)
        return snprintf(why, 200, "%.190s", e.msg), false;
    enum rc rc;
    struct c_options o = {.form = naive ? C_PORTABLE : C_VECTOR,
                          .prefix = "",
                          .symbol = "k",
                          .ahead = compile_ahead(trace),
                          .banner = ""};
    struct target machine = compile_target_of_c(w->s->target, o.form); /* as `quern emit` has it */
    if (naive) {
        ir = ir_new();
        rc = dsl_lower(ir, w->task, "direct", "", &n, &e);
        if (rc == RC_OK) rc = lower_naive(n, &machine, w->task->dyn, &k, &e);
    } else {
        rc = compile_kernel(w->task, &machine, trace, &ir, &n, &k, NULL, NULL, &e);
    }
    if (rc == RC_OK) rc = codegen_c(&k, &machine, &o, &c, &h, &e);
    if (rc != RC_OK)
        snprintf(why, 200, "%.190s", e.msg);
    else
        ok = compile_so(t->dir, name, &c, &h, cc, so, sizeof so, why);
    trace_free(trace);
    buf_fini(&c);
    buf_fini(&h);
    struct c_state *s = mem_new(sizeof *s);
    if (ok && !(s->lib = dlopen(so, RTLD_NOW | RTLD_LOCAL)))
        ok = (snprintf(why, 200, "%.190s", dlerror()), false);
    if (ok) {
        s->n = w->task->ntensor;
        s->npacked = naive ? 0 : t->winner->npacked;
        s->dyn = w->task->dyn;
        s->buf = mem_new(sizeof(void *) * (size_t)(s->n + s->npacked));
        memcpy(s->buf, t->buf, sizeof(void *) * (size_t)s->n);
        for (int i = 0; i < s->npacked; i++) s->buf[s->n + i] = aligned(t->winner->packed_bytes[i]);
        s->scratch = aligned(k.scratch_a + k.scratch_b);
        s->kernel = (kernel_fn *)(uintptr_t)dlsym(s->lib, "k");
        kernel_fn *pack = (kernel_fn *)(uintptr_t)dlsym(s->lib, "k_pack");
        if (pack && s->npacked) pack(s->buf, s->dyn, s->scratch, NULL);
        ok = s->kernel != NULL;
        *out = (struct entry){.name = name, .state = s, .run = c_run, .fini = c_fini};
    }
    ir_free(ir);
    return ok;
}

bool peer_c_gcc(struct bench_task *t, struct entry *out, char *why)
{
    static const char *const cc[] = {"gcc", "-std=c11", "-O2", NULL};
    return open_c(t, "c-gcc", false, cc, out, why);
}

bool peer_c_clang(struct bench_task *t, struct entry *out, char *why)
{
    static const char *const cc[] = {"clang-19", "-std=c11", "-O2", NULL};
    return open_c(t, "c-clang", false, cc, out, why);
}

bool peer_naive_gcc(struct bench_task *t, struct entry *out, char *why)
{
    static const char *const cc[] = {"gcc",           "-std=c11",    "-O3",
                                     "-march=native", "-ffast-math", NULL};
    return open_c(t, "naive-gcc", true, cc, out, why);
}

/* An emitted file that -ffast-math would break says so to clang. */
bool peer_naive_clang(struct bench_task *t, struct entry *out, char *why)
{
    static const char *const cc[] = {"clang-19",      "-std=c11",    "-O3",
                                     "-march=native", "-ffast-math", NULL};
    static const char *const exact[] = {"clang-19", "-std=c11", "-O3", "-march=native", NULL};
    return open_c(t, "naive-clang", true, cc, out, why) ||
           open_c(t, "naive-clang", true, exact, out, why);
}
