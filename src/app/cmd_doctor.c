/* quern doctor: is everything here that quern needs? One line a check: ok, warn or fail, and what
 * to do. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/fs.h"
#include "base/proc.h"
#include "cli.h"

enum health { HEALTH_OK, HEALTH_WARN, HEALTH_FAIL };
static const char *const health_names[] = {"ok", "warn", "FAIL"};

struct doctor {
    struct session *s;
    enum health worst;
};

static void line(struct doctor *d, enum health h, const char *what, const char *found,
                 const char *advice)
{
    if (h > d->worst) d->worst = h;
    if (d->s->o->json) {
        print_json(json_pack("{s:i, s:s, s:s, s:s, s:s}", "v", 1, "check", what, "state",
                             health_names[h], "found", found, "advice", advice));
        return;
    }
    printf("%-4s  %-12s %s%s%s\n", health_names[h], what, found, *advice ? "; " : "", advice);
}

static void check_target(struct doctor *d)
{
    char text[600];
    const struct target *t = d->s->target;
    snprintf(text, sizeof text,
             "%s (%s), %" PRId64 "-bit vectors, %" PRId64 " registers, L1 %" PRId64
             " K, L2 %" PRId64 " K, %" PRId64 " cores",
             t->name, t->part, t->vector_bits, t->vregs, t->l1 >> 10, t->l2 >> 10, t->cores);
    line(d, HEALTH_OK, "target", text, "");
}

static void check_compiler(struct doctor *d)
{
    struct err e = {0};
    struct work w;
    char text[200];
    enum rc rc = work_open(&w, d->s, "matmul:M=8,N=8,K=8", false, &e);
    if (rc == RC_OK) rc = session_worker(d->s, &e);
    if (rc == RC_OK)
        rc = worker_task(d->s->worker, w.op_text, w.task->token, d->s->target_text.p, &e);
    struct compile_result r = {0};
    if (rc == RC_OK) rc = work_compile(&w, "", COMPILE_BLOB | COMPILE_REFERENCE, &r, &e);
    snprintf(text, sizeof text, "LLVM 19, a first kernel in %.1f ms", (double)r.build_ns * 1e-6);
    line(d, rc == RC_OK ? HEALTH_OK : HEALTH_FAIL, "compiler", rc == RC_OK ? text : e.msg,
         rc == RC_OK
             ? ""
             : "is quern-worker beside quern, and libLLVM-19 installed? `./dev setup` installs it");
    compile_result_fini(&r);
    work_close(&w);
}

static void check_runner(struct doctor *d)
{
    static const char *const layers[] = {
#define LAYER(NAME, name, mandatory, text) name,
#include "sandbox/layers.def"
#undef LAYER
    };
    struct err e = {0};
    char text[300];
    if (session_runner(d->s, &e) != RC_OK) {
        line(d, HEALTH_FAIL, "runner", e.msg, "is quern-runner beside quern?");
        return;
    }
    const struct wire_hello *h = client_hello(d->s->runner);
    bool whole = (h->layers & h->mandatory) == h->mandatory;
    size_t at =
        (size_t)snprintf(text, sizeof text, "%.120s, kernels run as uid %" PRIu32, h->cpu, h->uid);
    for (size_t i = 0; i < QN_COUNT(layers) && at < sizeof text; i++)
        if (!(h->layers >> i & 1))
            at += (size_t)snprintf(text + at, sizeof text - at, ", no %s", layers[i]);
    if (at < sizeof text && h->layers + 1 == 1u << QN_COUNT(layers))
        snprintf(text + at, sizeof text - at, ", all layers work");
    line(d, whole ? HEALTH_OK : HEALTH_FAIL, "sandbox", text,
         whole ? "" : "this kernel lacks a mandatory layer: no candidate will run");
    snprintf(text, sizeof text, "%.0f ns resolution, %" PRIu32 " cpus", h->clock_res_ns, h->cpus);
    line(d, h->clock_res_ns <= 1000 ? HEALTH_OK : HEALTH_WARN, "clock", text,
         h->clock_res_ns <= 1000 ? "" : "short kernels cannot be timed well");
}

static void check_speed(struct doctor *d)
{
    struct err e = {0};
    char text[300];
    size_t at = 0;
    if (!d->s->runner) return;
    if (session_calibrate(d->s, &e) != RC_OK) {
        line(d, HEALTH_WARN, "speed", e.msg, "");
        return;
    }
    const struct target *t = d->s->target;
    double nominal =
        d->s->clock_ghz * (double)t->vector_bits / 32 * (double)t->fma_ports * (t->fma ? 2 : 1);
    at += (size_t)snprintf(text, sizeof text,
                           "FMA peak %.1f GFLOP/s a core, clock %.2f GHz (nominal %.1f);",
                           d->s->fma_gflops, d->s->clock_ghz, nominal);
    for (int i = 0; i < d->s->levels && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, " %" PRIu64 "K %.0f GB/s",
                               d->s->level[i].bytes >> 10, d->s->level[i].gbps);
    bool near = d->s->fma_gflops > 0.85 * nominal && d->s->fma_gflops < 1.15 * nominal;
    line(d, near ? HEALTH_OK : HEALTH_WARN, "speed", text,
         near ? "" : "the machine is busy, or the target file is wrong about it");
}

static void check_governor(struct doctor *d)
{
    char *text = NULL;
    size_t n;
    if (fs_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", 64, &text, &n, NULL) !=
        RC_OK) {
        line(d, HEALTH_OK, "governor", "not visible (a virtual machine?)", "");
        return;
    }
    text[strcspn(text, "\n")] = 0;
    bool good = strcmp(text, "performance") == 0;
    line(d, good ? HEALTH_OK : HEALTH_WARN, "governor", text,
         good ? "" : "`performance` makes timings steadier");
    mem_free(text);
}

static void check_log(struct doctor *d)
{
    struct err e = {0};
    char path[1200], text[1500];
    struct statvfs vfs;
    if (db_path(path, sizeof path, d->s->o->db, &e) != RC_OK) {
        line(d, HEALTH_FAIL, "log", e.msg, "");
        return;
    }
    if (session_db(d->s, DB_READ, &e) != RC_OK) {
        line(d, HEALTH_FAIL, "log", e.msg, "");
        return;
    }
    if (d->s->db && db_check(d->s->db, &e) != RC_OK) {
        line(d, HEALTH_FAIL, "log", e.msg, "restore a backup, or move the file away");
        return;
    }
    snprintf(text, sizeof text, "%s, %s", path,
             d->s->db ? "sound" : "made by the first `quern tune`");
    line(d, HEALTH_OK, "log", text, "");
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
    while (slash && statvfs(path, &vfs) != 0 && (slash = strrchr(path, '/')) != NULL &&
           slash != path)
        *slash = 0;
    double free_mb =
        statvfs(path, &vfs) == 0 ? (double)vfs.f_bavail * (double)vfs.f_frsize / 1e6 : 0;
    snprintf(text, sizeof text, "%.0f MB free at %s", free_mb, path);
    line(d, free_mb > 200 ? HEALTH_OK : HEALTH_WARN, "disk", text,
         free_mb > 200 ? "" : "the log needs room");
}

static void check_cc(struct doctor *d)
{
    static const char *const compilers[] = {"gcc", "clang-19", "clang"};
    char text[200] = "";
    size_t at = 0;
    for (size_t i = 0; i < QN_COUNT(compilers); i++) {
        const char *argv[] = {compilers[i], "-dumpversion", NULL};
        char *out = NULL;
        int code = 1;
        if (proc_run(argv, NULL, 5000, 4096, &out, &code, NULL) == RC_OK && code == 0)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %.*s", at ? ", " : "",
                                   compilers[i], (int)strcspn(out, "\n"), out);
        mem_free(out);
    }
    line(d, at ? HEALTH_OK : HEALTH_WARN, "c compilers", at ? text : "none",
         at ? "" : "emitted C cannot be compiled here; tuning works");
}

enum rc cmd_doctor(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    struct doctor d = {.s = &s};
    if (rc == RC_OK) {
        check_target(&d);
        check_compiler(&d);
        check_runner(&d);
        check_speed(&d);
        check_governor(&d);
        check_log(&d);
        check_cc(&d);
        if (d.worst == HEALTH_FAIL)
            rc = err_set(e, RC_FAIL, "doctor.fail", "something quern needs is missing; see above");
    }
    session_close(&s);
    return rc;
}
