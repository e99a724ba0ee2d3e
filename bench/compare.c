/* compare: quern's best against the peers of a task, interleaved in one process.
 *
 *   compare matmul:M=512,N=512,K=512 conv2d:... [--schedule FILE]
 *           [--peers c-gcc,c-clang,naive-gcc,onednn] [--rounds N] [--json]
 *           [--hand FILE.c]
 *
 * Protocol: every round runs each maker once, in random order, for ten milliseconds that are not
 * timed and then long enough for the clock;
 * ratios are paired by round; the interval is that of measure/stats.h. The fastest peer is chosen
 * in a first pass and its ratio taken from a second, because the fastest of many noisy medians is
 * biased. ratio = peer's time / quern's. */
#include "compare.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compare.h"
#include "base/proc.h"
#include "base/rng.h"
#include "measure/stats.h"

volatile int interrupted;
enum { PEERS = 14, ROUNDS_MAX = 1000, EPOCH_NS = 300000, WARM_NS = 10000000 };

static const struct {
    const char *name;
    peer_open_fn *open;
} peers[] = {
    {"quern", peer_quern},
    {"c-gcc", peer_c_gcc},
    {"c-clang", peer_c_clang},
    {"naive-gcc", peer_naive_gcc},
    {"naive-clang", peer_naive_clang},
    {"onednn", peer_dnnl_direct},
    {"onednn-winograd", peer_dnnl_winograd},
    {"openblas", peer_openblas},
    {"eager", peer_eager},
    {"eager-fixed", peer_eager_fixed},
    {"stream", peer_stream},
    {"hand-gcc", peer_hand_gcc},
    {"hand-clang", peer_hand_clang},
    {"hand-clang-mvec", peer_hand_mvec},
};
_Static_assert(QN_COUNT(peers) == PEERS, "PEERS counts the table");

void say(const char *fmt, ...) { (void)fmt; }

int complain(const struct err *e, bool json)
{
    (void)json;
    fprintf(stderr, "compare: %s\n", e->msg);
    return (int)e->rc;
}

struct lineup {
    int n;
    struct entry e[PEERS];
    int64_t iters[PEERS];
    double ns[PEERS][ROUNDS_MAX];
    int rounds;
};

/* The runs before are not timed: the first find the caches as another maker left them, and where data
 * are as large as the last cache, it takes tens of runs until what that one has written is gone. */
static double time_entry(struct entry *e, int64_t iters)
{
    fenv_t ours;
    fegetenv(&ours);
    fesetenv(&e->fp);
    int64_t start = clock_ns();
    do e->run(e->state);
    while (clock_ns() - start < WARM_NS);
    start = clock_ns();
    for (int64_t i = 0; i < iters; i++) e->run(e->state);
    double ns = (double)(clock_ns() - start) / (double)iters;
    fesetenv(&ours);
    return ns;
}

static void run_rounds(struct lineup *l, int rounds, uint64_t seed)
{
    struct rng rng;
    int order[PEERS];
    rng_seed(&rng, seed);
    for (int i = 0; i < l->n; i++) order[i] = i;
    for (int r = 0; r < rounds; r++) {
        rng_shuffle(&rng, order, (size_t)l->n, sizeof *order);
        for (int i = 0; i < l->n; i++)
            l->ns[order[i]][r] = time_entry(&l->e[order[i]], l->iters[order[i]]);
    }
    l->rounds = rounds;
}

void *bench_compile(struct bench_task *t, const char *name, char *why)
{
    char so[128], source[512], *out = NULL;
    int code = 1;
    snprintf(so, sizeof so, "%s/%s.so", t->dir, name);
    snprintf(source, sizeof source, "%s/%s.c", QN_BENCH_DIR, name);
    const char *argv[] = {"clang-19", "-O3", "-march=native", "-shared", "-fPIC",
                          "-o",       so,    source,          "-lm",     NULL};
    bool ok = proc_run(argv, NULL, 60000, 1 << 16, &out, &code, NULL) == RC_OK && code == 0;
    if (!ok) snprintf(why, 200, "clang-19: %.150s", out ? out : "did not start");
    mem_free(out);
    void *lib = ok ? dlopen(so, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (ok && !lib) snprintf(why, 200, "%.190s", dlerror());
    return lib;
}

static void *operand(const struct task_tensor *t, uint64_t seed)
{
    void *p = NULL;
    struct rng rng;
    rng_seed(&rng, seed);
    QN_CHECK(posix_memalign(&p, 64, (size_t)t->bytes + 64) == 0, "out of memory");
    memset(p, 0, (size_t)t->bytes);
    if (t->dtype == TYPE_F32)
        for (int64_t i = 0; i < t->elements; i++) ((float *)p)[i] = (float)(rng_unit(&rng) * 2 - 1);
    return p;
}

/* The outputs of entry i against entry 0's. */
static double disagreement(struct bench_task *t, struct lineup *l, int i)
{
    double worst = 0;
    for (int b = 0; b < t->w->task->ntensor; b++) {
        const struct task_tensor *x = &t->w->task->tensor[b];
        if (x->scope != SCOPE_OUT || x->dtype != TYPE_F32) continue;
        float *want = mem_new((size_t)x->bytes);
        l->e[0].run(l->e[0].state);
        memcpy(want, t->buf[b], (size_t)x->bytes);
        memset(t->buf[b], 0xff, (size_t)x->bytes);
        l->e[i].run(l->e[i].state);
        struct compare c = {.mode = CMP_REL_L2, .tol = 1e-4};
        compare_f32(&c, t->buf[b], want, NULL, x->elements);
        worst = fmax(worst, c.rel_l2);
        mem_free(want);
    }
    return worst;
}

struct verdict_of {
    double ns, ratio, lo, hi;
};

static struct verdict_of verdict_of(const struct lineup *l, int i)
{
    double ratio[ROUNDS_MAX], lo, hi;
    for (int r = 0; r < l->rounds; r++) ratio[r] = l->ns[i][r] / l->ns[0][r];
    stats_interval(ratio, (size_t)l->rounds, 0.01, &lo, &hi);
    return (struct verdict_of){stats_median(l->ns[i], (size_t)l->rounds),
                               stats_median(ratio, (size_t)l->rounds), lo, hi};
}

struct compare_options {
    struct options o;
    const char *peers, *hand;
};

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    if (!list) return true;
    for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == 0)) return true;
    return false;
}

static void open_peers(struct bench_task *t, const char *list, struct lineup *l)
{
    l->n = 0;
    for (size_t i = 0; i < QN_COUNT(peers); i++) {
        char why[200] = "";
        if (i > 0 && !listed(list, peers[i].name)) continue;
        fenv_t ours;
        fegetenv(&ours);
        l->e[l->n].name = peers[i].name;
        bool open = peers[i].open(t, &l->e[l->n], why);
        fegetenv(&l->e[l->n].fp);
        fesetenv(&ours);
        if (!open) {
            if (list || i == 0) fprintf(stderr, "compare: %s: %s\n", peers[i].name, why);
            if (i == 0) return;
            continue;
        }
        int k = l->n++;
        double off = k && !l->e[k].roof ? disagreement(t, l, k) : (l->e[k].run(l->e[k].state), 0);
        if (!(off <= 1e-4))
            fprintf(stderr, "compare: %s disagrees with quern: relative error %.3g\n", l->e[k].name,
                    off);
        l->iters[k] = i64_max(1, (int64_t)(EPOCH_NS / fmax(1, time_entry(&l->e[k], 1))));
    }
}

static void print_result(const struct bench_task *t, const struct lineup *l, bool json, int best)
{
    double quern_ns = stats_median(l->ns[0], (size_t)l->rounds);
    json_t *all = json_object();
    if (!json)
        printf("%s  quern %.2f us  %.1f GFLOP/s\n", t->w->task->token, quern_ns / 1e3,
               t->w->flops / quern_ns);
    for (int i = 1; i < l->n; i++) {
        struct verdict_of v = verdict_of(l, i);
        json_object_set_new(all, l->e[i].name, json_real(v.ns));
        if (!json)
            printf("  %-16s %10.2f us  ratio %.3f  [%.3f, %.3f]%s\n", l->e[i].name, v.ns / 1e3,
                   v.ratio, v.lo, v.hi, i == best ? "  best peer" : "");
    }
    struct verdict_of v = best ? verdict_of(l, best) : (struct verdict_of){NAN, NAN, NAN, NAN};
    char *text = NULL;
    json_t *o = json_pack("{s:i, s:s, s:i, s:f, s:s, s:o, s:o, s:o, s:o, s:f, s:o}", "v", 1, "task",
                          t->w->task->token, "threads", t->threads, "quern_ns", quern_ns, "peer",
                          best ? l->e[best].name : "", "peer_ns",
                          isnan(v.ns) ? json_null() : json_real(v.ns), "ratio",
                          isnan(v.ratio) ? json_null() : json_real(v.ratio), "ratio_lo",
                          isfinite(v.lo) ? json_real(v.lo) : json_null(), "ratio_hi",
                          isfinite(v.hi) ? json_real(v.hi) : json_null(), "gflops",
                          t->w->flops / quern_ns, "peers", all);
    if (json)
        puts(text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(8)));
    free(text);
    json_decref(o);
}

static int fastest_peer(const struct lineup *l)
{
    int best = 0;
    double best_ns = INFINITY;
    for (int i = 1; i < l->n; i++) {
        double ns = stats_median(l->ns[i], (size_t)l->rounds);
        if (ns < best_ns && !l->e[i].roof) best = i, best_ns = ns;
    }
    return best;
}

static enum rc compare_task(void *ctx, const char *token, struct err *e)
{
    struct compare_options *co = ctx;
    struct session s;
    struct work w = {0};
    struct lineup *l = mem_new(sizeof *l);
    struct bench_task t = {.w = &w,
                           .threads = (int)co->o.threads,
                           .hand = co->hand,
                           .dir = "/tmp/quern-compare-XXXXXX"};
    struct compile_result blob = {0};
    char *trace = NULL;
    const char *rung;
    struct db_row row;
    enum rc rc = session_open(&s, &co->o, e);
    if (rc == RC_OK) rc = work_open(&w, &s, token, false, e);
    if (rc == RC_OK) rc = session_worker(&s, e);
    if (rc == RC_OK) rc = worker_task(s.worker, w.op_text, w.task->token, s.target_text.p, e);
    if (rc == RC_OK) rc = work_schedule(&w, co->o.schedule, &trace, &rung, &row, e);
    if (rc == RC_OK) rc = work_compile(&w, trace, COMPILE_BLOB, &blob, e);
    if (rc == RC_OK && !mkdtemp(t.dir))
        rc = err_set(e, RC_STORE, "compare.dir", "cannot make a temporary folder");
    if (rc == RC_OK) {
        t.schedule = trace;
        t.winner = &blob;
        t.buf = mem_new(sizeof(void *) * (size_t)w.task->ntensor);
        for (int i = 0; i < w.task->ntensor; i++)
            t.buf[i] = operand(&w.task->tensor[i], (uint64_t)i + 1);
        open_peers(&t, co->peers, l);
        if (l->n == 0) rc = err_set(e, RC_FAIL, "compare.none", "quern's own kernel does not run");
    }
    if (rc == RC_OK) {
        int rounds = (int)i64_min(ROUNDS_MAX, i64_max(3, co->o.rounds));
        run_rounds(l, rounds, 1);
        int best = fastest_peer(l);
        run_rounds(l, rounds, 2);
        print_result(&t, l, co->o.json, best);
    }
    for (int i = 0; i < l->n; i++)
        if (l->e[i].fini) l->e[i].fini(l->e[i].state);
    for (int i = 0; t.buf && i < w.task->ntensor; i++) free(t.buf[i]);
    mem_free(t.buf);
    const char *rm[] = {"rm", "-rf", t.dir, NULL};
    char *out = NULL;
    int code;
    if (strstr(t.dir, "XXXXXX") == NULL) proc_run(rm, NULL, 10000, 1000, &out, &code, NULL);
    mem_free(out);
    mem_free(trace);
    compile_result_fini(&blob);
    mem_free(l);
    if (w.a) work_close(&w);
    session_close(&s);
    return rc;
}

int main(int argc, char **argv)
{
    struct compare_options co = {.o = {.target = "host",
                                       .threads = 1,
                                       .seed = 1,
                                       .rounds = 31,
                                       .arg = mem_new(sizeof(char *) * (size_t)(argc + 1))}};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(a, "--json") == 0)
            co.o.json = true;
        else if (strcmp(a, "--tasks") == 0) {
            char *at = mem_new(strlen(v) + 2);
            at[0] = '@';
            memcpy(at + 1, v, strlen(v));
            co.o.arg[co.o.n++] = at;
            i++;
        } else if (strcmp(a, "--threads") == 0)
            co.o.threads = strtoll(v, NULL, 10), i++;
        else if (strcmp(a, "--rounds") == 0)
            co.o.rounds = strtoll(v, NULL, 10), i++;
        else if (strcmp(a, "--schedule") == 0)
            co.o.schedule = v, i++;
        else if (strcmp(a, "--db") == 0)
            co.o.db = v, i++;
        else if (strcmp(a, "--peers") == 0)
            co.peers = v, i++;
        else if (strcmp(a, "--hand") == 0)
            co.hand = v, co.peers = co.peers ? co.peers : "hand-gcc,hand-clang,hand-clang-mvec",
            i++;
        else if (a[0] == '-')
            return fprintf(stderr, "compare: unknown option %s\n", a), 2;
        else
            co.o.arg[co.o.n++] = a;
    }
    char threads[16];
    snprintf(threads, sizeof threads, "%lld", (long long)co.o.threads);
    setenv("OMP_NUM_THREADS", threads, 1);
    setenv("OPENBLAS_NUM_THREADS", threads, 1);
    unsetenv("OPENBLAS_CORETYPE");
    struct err e = {0};
    enum rc rc = for_each_task(&co.o, compare_task, &co, &e);
    return rc == RC_OK ? 0 : complain(&e, false);
}
