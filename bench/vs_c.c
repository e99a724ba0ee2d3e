/* vs-c: one schedule as JIT code, as emitted C through two compilers, and the operator as naive C,
 * timed against each other in one process.
 *
 *   vs-c conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1 best.trace kernels/conv2d_56.c
 *
 * The emitted file is compiled with each compiler as an app would, -std=c11 -O2 and nothing else,
 * and loaded as a shared object; all contestants read the same operands. Exit 3 if any output
 * differs from the JIT's: operands are small integers, so sums are exact and the comparison is
 * bitwise. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compare.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/rng.h"
#include "compile/job.h"
#include "contest.h"

typedef int32_t kernel_fn(void *const *buf, const int64_t *dyn, void *scratch, const void *par);

/* One way to run the operator: its entries, and the buffers that are its own. */
struct entry {
    kernel_fn *kernel, *pack;
    void *buf[TASK_TENSORS + 32]; /* the shared operands, own output, own packed buffers */
    const int64_t *dyn;
    void *scratch;
};

struct bench {
    struct op_lib *lib;
    struct task *task;
    struct target *target;
    struct compile_result jit, naive;
    double flops, bytes;
    char dir[64];
    int nentry;
    struct entry entry[CONTESTANTS_MAX];
    struct contestant who[CONTESTANTS_MAX];
};

static void *aligned(int64_t bytes)
{
    void *p = NULL;
    size_t n = ((size_t)bytes + 4096) / 64 * 64;
    QN_CHECK(posix_memalign(&p, 4096, n) == 0, "%zu bytes", n);
    memset(p, 0, n);
    return p;
}

static void fill_small_integers(void *p, enum dtype type, int64_t n)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t v = rng_range(&rng, -3, 3);
        if (type == TYPE_F32)
            ((float *)p)[i] = (float)v;
        else if (type == TYPE_F64)
            ((double *)p)[i] = (double)v;
        else
            memset((char *)p + i * dtype_bits(type) / 8, (int)(v & 3),
                   (size_t)dtype_bits(type) / 8);
    }
}

/* Operands are shared between entries; every entry has its own outputs, packed buffers and scratch.
 */
static struct entry *add_entry(struct bench *b, const char *name, kernel_fn *kernel,
                               kernel_fn *pack, const struct compile_result *r)
{
    QN_CHECK(b->nentry < CONTESTANTS_MAX, "%d entries", b->nentry);
    struct entry *x = &b->entry[b->nentry];
    *x = (struct entry){.kernel = kernel, .pack = pack, .dyn = b->task->dyn};
    for (int i = 0; i < b->task->ntensor; i++) {
        const struct task_tensor *t = &b->task->tensor[i];
        bool own = t->scope == SCOPE_OUT || b->nentry == 0;
        x->buf[i] = own ? aligned(t->bytes) : b->entry[0].buf[i];
        if (own && t->scope != SCOPE_OUT) fill_small_integers(x->buf[i], t->dtype, t->elements);
    }
    for (int i = 0; i < r->npacked; i++) x->buf[b->task->ntensor + i] = aligned(r->packed_bytes[i]);
    x->scratch = aligned(r->art.scratch_a + r->art.scratch_b);
    b->who[b->nentry++].name = name;
    return x;
}

static void run_entry(void *ctx)
{
    struct entry *x = ctx;
    x->kernel(x->buf, x->dyn, x->scratch, NULL);
}

/* Code is position independent; data and function pointers differ only in type. */
static kernel_fn *entry_at(char *base, int64_t at)
{
    kernel_fn *fn = NULL;
    char *p = at < 0 ? NULL : base + at;
    memcpy(&fn, &p, sizeof fn);
    return fn;
}

static void add_blob(struct bench *b, const char *name, const struct compile_result *r)
{
    char *code =
        mmap(NULL, r->art.blob_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    QN_CHECK(code != MAP_FAILED, "%zu bytes of code", r->art.blob_n);
    memcpy(code, r->art.blob, r->art.blob_n);
    QN_CHECK(mprotect(code, r->art.blob_n, PROT_READ | PROT_EXEC) == 0, "code pages");
    add_entry(b, name, entry_at(code, r->art.kernel_at), entry_at(code, r->art.pack_at), r);
}

static enum rc add_c_file(struct bench *b, const char *name, const char *cc, const char *file,
                          const char *symbol, const struct compile_result *r, struct err *e)
{
    char so[128], pack[128];
    int code = 0;
    char *out = NULL;
    snprintf(so, sizeof so, "%s/%d.so", b->dir, b->nentry);
    const char *const argv[] = {cc, "-std=c11", "-O2", "-fPIC", "-shared", "-o", so, file, NULL};
    enum rc rc = proc_run(argv, NULL, 120000, 1 << 16, &out, &code, e);
    if (rc == RC_OK && code != 0)
        rc = err_set(e, RC_FAIL, "vs_c.compile", "%s %s: exit %d\n%s", cc, file, code, out);
    mem_free(out);
    if (rc != RC_OK) return rc;
    void *lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
    snprintf(pack, sizeof pack, "%s_pack", symbol);
    void *kernel_at = lib ? dlsym(lib, symbol) : NULL, *pack_at = lib ? dlsym(lib, pack) : NULL;
    if (!kernel_at)
        return err_set(e, RC_FAIL, "vs_c.load", "%s: no function '%s': %s", file, symbol,
                       dlerror());
    add_entry(b, name, entry_at(kernel_at, 0), pack_at ? entry_at(pack_at, 0) : NULL, r);
    return RC_OK;
}

/* The operator as its author wrote it, as plain C. */
static enum rc add_naive(struct bench *b, const char *name, const char *cc, struct err *e)
{
    char path[128];
    const char *text = NULL;
    for (int i = 0; i < b->naive.nstage; i++)
        if (strcmp(b->naive.stage[i].name, "c99") == 0) text = b->naive.stage[i].text;
    if (!text) return err_set(e, RC_FAIL, "vs_c.naive", "the naive kernel has no C text");
    snprintf(path, sizeof path, "%s/naive.c", b->dir);
    enum rc rc = fs_write(path, text, strlen(text), e);
    return rc == RC_OK ? add_c_file(b, name, cc, path, "kernel", &b->naive, e) : rc;
}

/* Name of the kernel a file defines: the function that takes the kernel ABI's arguments and is no
 * pack. */
static enum rc find_symbol(const char *file, char *out, size_t n, struct err *e)
{
    static const char HEAD[] = "\nint32_t ";
    char *text;
    enum rc rc = fs_read(file, 64 << 20, &text, NULL, e);
    if (rc != RC_OK) return rc;
    out[0] = 0;
    for (const char *p = text; (p = strstr(p, HEAD)) && !out[0]; p++) {
        const char *name = p + strlen(HEAD);
        size_t len = strcspn(name, "( \n");
        bool is_pack = len > 5 && strncmp(name + len - 5, "_pack", 5) == 0;
        if (name[len] == '(' && !is_pack && len < n) snprintf(out, n, "%.*s", (int)len, name);
    }
    mem_free(text);
    return out[0] ? RC_OK : err_set(e, RC_INPUT, "vs_c.symbol", "%s defines no kernel", file);
}

static enum rc compile_all(struct bench *b, const char *trace, struct err *e)
{
    struct compiler *c;
    struct buf op, target;
    buf_init(&op, 4 << 20);
    buf_init(&target, 1 << 16);
    operator_text(&op, b->task->op);
    target_text(b->target, &target);
    enum rc rc = compiler_new(&c, op.p, b->task->token, target.p, e);
    if (rc == RC_OK) {
        compile_candidate(c, trace, COMPILE_BLOB, &b->jit);
        compile_candidate(c, "", COMPILE_BLOB | COMPILE_REFERENCE | COMPILE_STAGES | COMPILE_C,
                          &b->naive);
        const struct compile_result *bad = b->jit.status != COMPILE_OK     ? &b->jit
                                           : b->naive.status != COMPILE_OK ? &b->naive
                                                                           : NULL;
        if (bad) rc = err_set(e, RC_FAIL, bad->code, "%s", bad->msg);
        compiler_free(c);
    }
    buf_fini(&op);
    buf_fini(&target);
    return rc;
}

static enum rc bench_open(struct bench *b, const char *token, const char *trace_file, struct err *e)
{
    char schedules[1024], *trace = NULL;
    enum rc rc = fs_data_dir(schedules, sizeof schedules, "schedules", e);
    if (rc == RC_OK) rc = op_lib_new(schedules, true, &b->lib, e);
    if (rc == RC_OK) rc = task_parse(token, b->lib, NULL, &b->task, e);
    if (rc == RC_OK) rc = target_load("host", &b->target, e);
    if (rc == RC_OK) rc = job_work(b->task, &b->flops, &b->bytes, e);
    if (rc == RC_OK) rc = fs_read(trace_file, 1 << 20, &trace, NULL, e);
    if (rc == RC_OK) rc = compile_all(b, trace, e);
    mem_free(trace);
    snprintf(b->dir, sizeof b->dir, "/tmp/quern-vs-c-XXXXXX");
    if (rc == RC_OK && !mkdtemp(b->dir))
        rc = err_set(e, RC_STORE, "vs_c.dir", "cannot create a folder in /tmp");
    return rc;
}

/* Packs and runs everything once; all outputs must be the JIT's, bit for bit. */
static enum rc check_outputs(struct bench *b, struct err *e)
{
    for (int i = 0; i < b->nentry; i++) {
        struct entry *x = &b->entry[i];
        if (x->pack && x->pack(x->buf, x->dyn, x->scratch, NULL) != 0)
            return err_set(e, RC_FAIL, "vs_c.pack", "%s: pack failed", b->who[i].name);
        if (x->kernel(x->buf, x->dyn, x->scratch, NULL) != 0)
            return err_set(e, RC_FAIL, "vs_c.run", "%s: bad arguments", b->who[i].name);
        for (int j = 0; j < b->task->ntensor; j++) {
            const struct task_tensor *t = &b->task->tensor[j];
            struct compare c = {.mode = CMP_BITS};
            if (t->scope != SCOPE_OUT) continue;
            if (t->dtype == TYPE_F32)
                compare_f32(&c, x->buf[j], b->entry[0].buf[j], NULL, t->elements);
            else
                compare_raw(&c, x->buf[j], b->entry[0].buf[j], 1, t->bytes);
            if (c.bad)
                return err_set(e, RC_MISMATCH, "vs_c.differs",
                               "%s: %lld elements of %s differ from the JIT's, first by %g at %lld",
                               b->who[i].name, (long long)c.bad, t->name, c.max_err,
                               (long long)c.worst_at);
        }
    }
    return RC_OK;
}

static void report(struct bench *b, int rounds)
{
    for (int i = 0; i < b->nentry; i++) {
        b->who[i].run = run_entry;
        b->who[i].ctx = &b->entry[i];
    }
    contest_run(b->who, b->nentry, rounds, 2.0);
    printf("%-28s %12s %10s %10s\n", b->task->token[0] ? "same operands, same rounds" : "", "us",
           "GFLOP/s", "of JIT");
    for (int i = 0; i < b->nentry; i++)
        printf("%-28s %12.2f %10.1f %9.1f%%\n", b->who[i].name, b->who[i].median_ns / 1e3,
               b->flops / b->who[i].median_ns, 100 * b->who[i].ratio);
}

static void remove_dir(const char *dir)
{
    int code;
    const char *const argv[] = {"rm", "-rf", dir, NULL};
    proc_run(argv, NULL, 10000, 100, NULL, &code, NULL);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct err e = {0};
    char symbol[128];
    if (argc < 4) {
        fprintf(
            stderr,
            "usage: vs-c TASK TRACE-FILE EMITTED.c [COMPILER...]   (compilers: gcc clang-19)\n");
        return RC_INPUT;
    }
    static const char *const usual[] = {"gcc", "clang-19"};
    int ncc = argc > 4 ? argc - 4 : (int)QN_COUNT(usual);
    const char *const *cc = argc > 4 ? (const char *const *)argv + 4 : usual;
    static char names[CONTESTANTS_MAX][40];
    enum rc rc = bench_open(&b, argv[1], argv[2], &e);
    if (rc == RC_OK) rc = find_symbol(argv[3], symbol, sizeof symbol, &e);
    if (rc == RC_OK) add_blob(&b, "JIT", &b.jit);
    for (int i = 0; rc == RC_OK && i < ncc && i < CONTESTANTS_MAX - 3; i++) {
        snprintf(names[i], sizeof names[i], "emitted C, %s -O2", cc[i]);
        rc = add_c_file(&b, names[i], cc[i], argv[3], symbol, &b.jit, &e);
    }
    snprintf(names[ncc], sizeof names[ncc], "naive C, %s -O2", cc[0]);
    if (rc == RC_OK) rc = add_naive(&b, names[ncc], cc[0], &e);
    if (rc == RC_OK) rc = check_outputs(&b, &e);
    if (rc == RC_OK)
        report(&b, 31);
    else
        fprintf(stderr, "vs-c: %s\n", e.msg);
    if (b.dir[0]) remove_dir(b.dir);
    return (int)rc;
}
