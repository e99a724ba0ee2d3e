/* compile: texts in, machine code out; the worker process that may die; plans that are never
 * empty. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fs.h"
#include "compile/compile_int.h"
#include "compile/job.h"
#include "compile/sizes.h"
#include "compile/worker.h"

static const char op_text[] =
    "op axpy {\n  in x[N]: f32, y[N]: f32\n  out z[N]: f32\n  z[n] = x[n] * 2 + y[n]\n}\n";
static const char trace_text[] = "algorithm direct\nsplit z.n 16 guard z.no z.ni\n";

static void host_text(struct buf *b)
{
    struct target *t;
    struct err e = {0};
    buf_init(b, 1 << 16);
    ck_assert_msg(target_load("host", &t, &e) == RC_OK, "%s", e.msg);
    target_text(t, b);
    target_free(t);
}

START_TEST(the_same_texts_give_the_same_blob)
{
    struct buf host;
    struct compiler *c;
    struct err e = {0};
    struct compile_result a, b;
    host_text(&host);
    ck_assert_msg(compiler_new(&c, op_text, "axpy:N=100", host.p, &e) == RC_OK, "%s", e.msg);
    compile_candidate(c, trace_text, COMPILE_BLOB | COMPILE_VERIFY, &a);
    compile_candidate(c, trace_text, COMPILE_BLOB, &b);
    ck_assert_msg(a.status == COMPILE_OK, "%s %s", a.code, a.msg);
    ck_assert_str_eq(a.art.hash, b.art.hash);
    ck_assert_uint_eq(a.art.blob_n, b.art.blob_n);
    ck_assert_mem_eq(a.art.blob, b.art.blob, a.art.blob_n);
    ck_assert_double_eq(a.flops, 200);
    compile_result_fini(&a);
    compile_result_fini(&b);
    compiler_free(c);
    buf_fini(&host);
}
END_TEST

START_TEST(refusals_name_their_stage)
{
    struct buf host;
    struct compiler *c;
    struct err e = {0};
    struct compile_result r;
    host_text(&host);
    ck_assert_int_eq(compiler_new(&c, op_text, "axpy:N=100", host.p, &e), RC_OK);
    compile_candidate(c, "algorithm direct\nsplit z.m 16 guard z.no z.ni\n", COMPILE_BLOB, &r);
    ck_assert_int_eq(r.status, COMPILE_REJECTED);
    ck_assert_str_eq(r.code, "unknown_name");
    ck_assert_ptr_nonnull(strstr(r.msg, "z.m"));
    compile_result_fini(&r);
    compile_candidate(c, "algorithm direct\nsplt z.n 16\n", COMPILE_BLOB, &r);
    ck_assert_int_eq(r.status, COMPILE_REJECTED);
    ck_assert_ptr_nonnull(strstr(r.msg, "split"));
    compile_result_fini(&r);
    compile_candidate(c, "algorithm winograd\n", COMPILE_BLOB, &r);
    ck_assert_int_eq(r.status, COMPILE_FAILED);
    compile_result_fini(&r);
    compiler_free(c);
    buf_fini(&host);
}
END_TEST

START_TEST(nudges_are_numbers)
{
    static const struct {
        const char *choices, *says; /* "": taken */
    } rows[] = {
        {"order=list nudge=17", ""},
        {"nudge=17.203 order=list", ""},
        {"order=list nudge=1.2.3.4.5.6.7.8.9.10.11.9999", ""},
        {"order=list nudge=1.2.3.4.5.6.7.8.9.10.11.12.13", "1 to 12 numbers from 0 to 9999"},
        {"order=list nudge=10000", "not '10000'"},
        {"order=list nudge=0", ""},
        {"order=list nudge=99999999999999999999", "not '99999999999999999999'"},
        {"order=list nudge=017", "not '017'"},
        {"order=list nudge=17.", "not '17.'"},
        {"order=list nudge=.17", "not '.17'"},
        {"order=list nudge=17..4", "not '17..4'"},
        {"order=list nudge=17,4", "not '17,4'"},
        {"order=source nudge=17", "order=list; choose that, too"},
        {"nudge=17", "order=list; choose that, too"},
    };
    struct buf host;
    struct compiler *c;
    struct err e = {0};
    host_text(&host);
    ck_assert_int_eq(compiler_new(&c, op_text, "axpy:N=100", host.p, &e), RC_OK);
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        struct compile_result r;
        char trace[200];
        snprintf(trace, sizeof trace, "algorithm direct\ncodegen %s\n", rows[i].choices);
        compile_candidate(c, trace, COMPILE_BLOB, &r);
        ck_assert_str_eq(r.code, rows[i].says[0] ? "codegen.choice" : "");
        ck_assert_msg(strstr(r.msg, rows[i].says) != NULL, "%s: %s", trace, r.msg);
        compile_result_fini(&r);
    }
    compiler_free(c);
    buf_fini(&host);
}
END_TEST

/* Nothing to pack is a pack entry that does nothing: a kernel with packed buffers always has
 * one. */
START_TEST(an_empty_pack_is_an_entry)
{
    static const char op[] =
        "op mm {\n  in a[G, M, K]: f32\n  const b[G, K, N]: f32\n"
        "  out y[G, M, N]: f32\n  y[g, m, n] = sum(k:K) a[g, m, k] * b[g, k, n]\n}\n";
    static const char trace[] = "algorithm direct\nsplit y.n 8 mask y.no y.ni\n"
                                "compute_at y.sum y.no stack\npack b y.no\n";
    struct buf host;
    struct compiler *c;
    struct err e = {0};
    struct compile_result r;
    host_text(&host);
    ck_assert_msg(compiler_new(&c, op, "mm:G=0,M=3,N=19,K=2", host.p, &e) == RC_OK, "%s", e.msg);
    compile_candidate(c, trace, COMPILE_BLOB | COMPILE_VERIFY | COMPILE_C, &r);
    ck_assert_msg(r.status == COMPILE_OK, "%s %s", r.code, r.msg);
    ck_assert_int_eq(r.npacked, 1);
    ck_assert_int_ge(r.art.pack_at, 0);
    compile_result_fini(&r);
    compiler_free(c);
    buf_fini(&host);
}
END_TEST

START_TEST(stages_are_texts)
{
    struct buf host;
    struct compiler *c;
    struct err e = {0};
    struct compile_result r;
    static const char *const want[] = {"op", "nest", "scheduled", "kernel", "c", "c99", "ll", "s"};
    host_text(&host);
    ck_assert_int_eq(compiler_new(&c, op_text, "axpy:N=100", host.p, &e), RC_OK);
    compile_candidate(c, trace_text,
                      COMPILE_BLOB | COMPILE_LL | COMPILE_ASM | COMPILE_STAGES | COMPILE_C, &r);
    ck_assert_int_eq(r.status, COMPILE_OK);
    for (size_t i = 0; i < QN_COUNT(want); i++) {
        int found = 0;
        for (int k = 0; k < r.nstage; k++)
            found += strcmp(r.stage[k].name, want[i]) == 0 && strlen(r.stage[k].text) > 20;
        ck_assert_msg(found == 1, "stage %s: %d", want[i], found);
    }
    /* And all of it survives the trip between two processes. */
    struct buf b;
    struct compile_result back;
    buf_init(&b, 64 << 20);
    result_encode(&b, &r);
    ck_assert(result_decode(&back, b.p, b.n));
    ck_assert_int_eq(back.nstage, r.nstage);
    for (int k = 0; k < r.nstage; k++) ck_assert_str_eq(back.stage[k].text, r.stage[k].text);
    ck_assert_mem_eq(back.art.blob, r.art.blob, r.art.blob_n);
    ck_assert_double_eq(back.flops, r.flops);
    compile_result_fini(&back);
    for (size_t cut = 0; cut < b.n;
         cut += 1 + b.n / 97) { /* a short text is refused, never read past */
        ck_assert(!result_decode(&back, b.p, cut));
        compile_result_fini(&back);
    }
    buf_fini(&b);
    compile_result_fini(&r);
    compiler_free(c);
    buf_fini(&host);
}
END_TEST

/* LLVM's abort is the candidate's; a kill from outside is nobody's, once. */
START_TEST(a_dead_worker_is_blamed_once)
{
    struct buf host;
    struct worker *w;
    struct err e = {0};
    static const int signals[] = {SIGABRT, SIGKILL};
    int how = signals[_i];
    setenv("QUERN_WORKER", QN_BIN_DIR "/quern-worker", 1);
    host_text(&host);
    ck_assert_msg(worker_start(&w, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(worker_task(w, op_text, "axpy:N=100", host.p, &e) == RC_OK, "%s", e.msg);
    kill(worker_pid(w), SIGSTOP); /* so that all three are in its queue when it dies */
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_int_eq(worker_submit(w, i, trace_text, COMPILE_BLOB, &e), RC_OK);
    kill(worker_pid(w), how);
    kill(worker_pid(w), SIGCONT);
    for (uint64_t i = 0; i < 3; i++) {
        struct compile_result r;
        uint64_t id;
        bool blamed = i == 0 && how == SIGABRT;
        ck_assert_msg(worker_receive(w, &id, &r, -1, &e) == RC_OK, "%s", e.msg);
        ck_assert_uint_eq(id, i);
        ck_assert_int_eq(r.status, blamed ? COMPILE_FAILED : COMPILE_OK);
        if (blamed) ck_assert_str_eq(r.code, "worker.died");
        compile_result_fini(&r);
    }
    ck_assert_int_eq(worker_restarts(w), 1);
    ck_assert_int_eq(worker_pending(w), 0);
    worker_stop(w);
    buf_fini(&host);
}
END_TEST

static void ignore(int sig) { (void)sig; }

/* Ctrl-C while a candidate compiles: the wait goes on. */
START_TEST(a_signal_is_no_timeout)
{
    struct buf host;
    struct worker *w;
    struct err e = {0};
    struct compile_result r;
    struct sigaction act = {.sa_handler = ignore}, before;
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {0};
    uint64_t id;
    setenv("QUERN_WORKER", QN_BIN_DIR "/quern-worker", 1);
    host_text(&host);
    ck_assert_msg(worker_start(&w, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(worker_task(w, op_text, "axpy:N=100", host.p, &e) == RC_OK, "%s", e.msg);
    sigaction(SIGALRM, &act, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    for (uint64_t i = 0; i < 20; i++) {
        ck_assert_int_eq(worker_submit(w, i, trace_text, COMPILE_BLOB, &e), RC_OK);
        ck_assert_msg(worker_receive(w, &id, &r, -1, &e) == RC_OK, "%s", e.msg);
        ck_assert_int_eq(r.status, COMPILE_OK);
        compile_result_fini(&r);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    ck_assert_int_eq(worker_restarts(w), 0);
    worker_stop(w);
    buf_fini(&host);
}
END_TEST

START_TEST(a_bad_task_is_refused_by_the_worker)
{
    struct buf host;
    struct worker *w;
    struct err e = {0};
    setenv("QUERN_WORKER", QN_BIN_DIR "/quern-worker", 1);
    host_text(&host);
    ck_assert_int_eq(worker_start(&w, &e), RC_OK);
    ck_assert_int_eq(worker_task(w, op_text, "axpy:M=3", host.p, &e), RC_INPUT);
    ck_assert_ptr_nonnull(strstr(e.msg, "M"));
    ck_assert_int_eq(worker_task(w, op_text, "axpy:N=3", host.p, &e), RC_OK); /* and it lives on */
    worker_stop(w);
    buf_fini(&host);
}
END_TEST

/* Nothing, one, around the lanes, around every block of the dynamic axis and of no other; in two axes
 * one at a time. Where the operator begins later than at 0, and what it refuses, stands behind. */
START_TEST(sizes_to_check_at)
{
    static const struct {
        const char *op, *token, *trace, *want;
    } rows[] = {
        {"op t {\n  dyn N\n  in x[N,C]: f32\n  out y[N,C]: f32\n  y[n,c] = x[n,c]\n}\n",
         "t:N=100,C=9",
         "split y.n 6 guard y.no y.ni\nsplit y.no 4 guard y.noo y.noi\nsplit y.ni 2 exact y.nio "
         "y.nii\n"
         "split y.c 5 guard y.co y.ci\n",
         "0 1 2 3 5 6 7 15 16 17 23 24 25 100 "},
        {"op t {\n  dyn N\n  in x[N,C]: f32\n  out y[N,C]: f32\n  y[n,c] = x[n,c]\n}\n",
         "t:N=16,C=9", "", "0 1 15 17 16 "},
        {"op t {\n  dyn M, N\n  in x[M,N]: f32\n  out y[M,N]: f32\n  y[m,n] = x[m,n]\n}\n",
         "t:M=3,N=5", "", "0,0 1,1 0,5 1,5 15,5 16,5 17,5 3,0 3,1 3,15 3,16 3,17 3,5 "},
        {"op t {\n  dyn N\n  let P = N - 2\n  require N != 17, \"odd\"\n  in x[N]: f32\n  out "
         "y[P]: f32\n"
         "  y[p] = x[p] + x[p+2]\n}\n",
         "t:N=40", "", "2 3 15 16 40 from 2 not 17 "},
        {"op t {\n  dyn V, M\n  in t[V]: f32, ids[M]: s32 in 0..V\n  out y[M]: f32\n"
         "  y[m] = t[ids[m]]\n}\n",
         "t:V=30,M=5", "",
         "1,0 2,1 1,5 2,5 15,5 16,5 17,5 30,0 30,1 30,15 30,16 30,17 30,5 "
         "from 1 "},
        {"op t {\n  dyn N, M\n  require M >= N, \"no fewer\"\n  in x[N]: f32, z[M]: f32\n"
         "  out y[N]: f32\n  y[n] = x[n] + (z[n] else 0)\n}\n",
         "t:N=30,M=50", "", "0,0 1,1 0,50 1,50 15,50 16,50 17,50 30,30 30,31 30,50 not 0 "},
        {"op t {\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = x[n]\n}\n", "t:N=7", "", ""},
        {"op t {\n  dyn N\n  in x[N,C]: f32\n  out y[N,C]: f32\n  y[n,c] = x[n,c]\n}\n",
         "t:N=100,C=4", "fuse y.n y.c y.f\nsplit y.f 24 guard y.fo y.fi\n",
         "0 1 5 6 7 15 16 17 100 "},
        {"op t {\n  dyn N\n  in x[N,C]: f32\n  out y[N,C]: f32\n  y[n,c] = x[n,c]\n}\n",
         "t:N=100,C=3", "fuse y.n y.c y.f\nsplit y.f 16 guard y.fo y.fi\n",
         "0 1 4 5 6 7 15 16 17 100 "},
        {"op t {\n  dyn N\n  let P = N + 1\n  in x[N]: f32\n  out y[P]: f32\n"
         "  y[p] = (x[p] else 0)\n}\n",
         "t:N=100", "split y.p 8 guard y.po y.pi\n", "0 1 6 7 8 15 16 17 100 "},
        {"op t {\n  dyn N\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = x[n]\n}\n", "t:N=100",
         "split y.n 8 guard y.no y.ni\ncodegen phases=two\n",
         "0 1 7 8 9 15 16 17 127 128 129 100 "},
        {"op t {\n  dyn N\n  in x[N]: f32\n  out y[N]: f32\n  y[n] = x[n]\n}\n", "t:N=100",
         "split y.n 32 guard y.no y.ni\ncodegen phases=overlap\n",
         "0 1 2 3 15 16 17 31 32 33 63 64 65 100 "},
    };
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        struct op_lib *lib;
        struct task *task;
        struct nest *naive;
        struct trace *trace;
        struct check_sizes s;
        struct err e = {0};
        struct buf got;
        char text[512];
        struct ir *ir = ir_new();
        buf_init(&got, 1000);
        snprintf(text, sizeof text, "algorithm direct\n%s", rows[i].trace);
        ck_assert_int_eq(op_lib_new(NULL, false, &lib, &e), RC_OK);
        ck_assert_msg(op_lib_add(lib, "t.op", rows[i].op, strlen(rows[i].op), &e) == RC_OK, "%s",
                      e.msg);
        ck_assert_msg(task_parse(rows[i].token, lib, NULL, &task, &e) == RC_OK, "%s", e.msg);
        ck_assert_int_eq(dsl_lower(ir, task, "direct", "", &naive, &e), RC_OK);
        ck_assert_msg(trace_parse("t", text, strlen(text), &trace, &e) == RC_OK, "%s", e.msg);
        check_sizes(task, naive, trace, 16, lib, ir->arena, &s);
        for (int k = 0; k < s.n * s.ndyn; k++)
            buf_printf(&got, "%lld%c", (long long)s.dyn[k], (k + 1) % s.ndyn ? ',' : ' ');
        for (int d = 0; d < s.ndyn; d++) {
            if (s.least[d] > 0) buf_printf(&got, "from %lld ", (long long)s.least[d]);
            if (s.refused[d] >= 0) buf_printf(&got, "not %lld ", (long long)s.refused[d]);
        }
        ck_assert_str_eq(got.p, rows[i].want);
        trace_free(trace);
        task_free(task);
        op_lib_free(lib);
        buf_fini(&got);
        ir_free(ir);
    }
}
END_TEST

/* An emitted test runs where verify does, with data that each input may have at that size; reals that
 * are declared in 0..1 are not all 0. */
START_TEST(rows_of_an_emitted_test)
{
    static const char text[] =
        "op t {\n  dyn V\n  in t[V]: f32, ids[M]: s32 in 0..V, u[M]: f32 in 0..1\n"
        "  out y[M]: f32\n  y[m] = t[ids[m]] / 3 + u[m]\n}\n";
    struct op_lib *lib;
    struct task *task;
    struct nest *naive;
    struct trace *trace;
    struct check_sizes s;
    struct c_options o = {0};
    struct err e = {0};
    struct ir *ir = ir_new();
    ck_assert_int_eq(op_lib_new(NULL, false, &lib, &e), RC_OK);
    ck_assert_int_eq(op_lib_add(lib, "t.op", text, strlen(text), &e), RC_OK);
    ck_assert_msg(task_parse("t:V=30,M=5", lib, NULL, &task, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(dsl_lower(ir, task, "direct", "", &naive, &e) == RC_OK, "%s", e.msg);
    ck_assert_int_eq(trace_parse("t", "algorithm direct\n", 17, &trace, &e), RC_OK);
    check_sizes(task, naive, trace, 16, lib, ir->arena, &s);
    ck_assert_int_eq(job_test_rows(task, naive, &s, lib, ir->arena, &o, &e), RC_OK);
    ck_assert(o.rows == s.n && o.row[0].dyn[0] == 1); /* V = 0 has no ids */
    for (int i = 0; i < o.rows; i++) {
        const struct c_values *v = o.row[i].values;
        ck_assert(!o.row[i].exact);
        ck_assert(v[0].lo == -2 && v[0].hi == 2 && v[0].per == 1);
        ck_assert(v[1].lo == 0 && v[1].hi == o.row[i].dyn[0] - 1 && v[1].per == 1);
        ck_assert(v[2].lo == 0 && v[2].hi == 3 && v[2].per == 4);
    }
    trace_free(trace);
    task_free(task);
    op_lib_free(lib);
    ir_free(ir);
}
END_TEST

START_TEST(a_plan_is_never_empty)
{
    struct op_lib *lib;
    struct target *t;
    struct err e = {0};
    int n;
    ck_assert_int_eq(op_lib_new(QN_SOURCE_DIR "/schedules", false, &lib, &e), RC_OK);
    ck_assert_int_eq(target_load("x86-64-v3", &t, &e), RC_OK);
    static const char *const tokens[] = {"matmul:M=1,N=1,K=1",
                                         "matmul:M=7,N=13,K=5,b=plain",
                                         "conv2d:H=1,W=1,C=1,K=1,R=1,S=1",
                                         "conv2d:H=9,W=7,C=3,K=5,R=3,S=3,pad=1,layout=nchw",
                                         "softmax:M=3,N=5",
                                         "delta2bbox:N=10"};
    for (size_t i = 0; i < QN_COUNT(tokens); i++) {
        struct task *task;
        struct plan p;
        ck_assert_msg(task_parse(tokens[i], lib, NULL, &task, &e) == RC_OK, "%s", e.msg);
        ck_assert_msg(compile_plan(task, t, 1, QN_SOURCE_DIR "/schedules", &p, &e) == RC_OK,
                      "%s: %s", tokens[i], e.msg);
        ck_assert_int_ge(p.n, 1);
        for (int k = 0; k < p.n; k++) ck_assert_double_ge(space_size(p.space[k]), 1);
        plan_fini(&p);
        task_free(task);
    }
    ck_assert_ptr_nonnull(op_lib_names(lib, &n));
    target_free(t);
    op_lib_free(lib);
}
END_TEST

/* A search is another one where a space's text is: a run that was stopped does not go on with it. */
START_TEST(a_plan_is_named_by_its_spaces)
{
    static const char *const texts[] = {
        "space s for matmul\nalgorithm direct\nknob A in 2 4\nsplit y.n {A} guard a b\n",
        "space s for matmul\nalgorithm direct\nknob A in 2 8\nsplit y.n {A} guard a b\n"};
    char dir[] = "plan_XXXXXX", folder[40], file[64], id[4][HASH_ID_LEN + 1];
    struct op_lib *lib;
    struct target *t;
    struct task *task;
    struct err e = {0};
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(folder, sizeof folder, "%s/matmul", dir);
    snprintf(file, sizeof file, "%s/s.sched", folder);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(op_lib_new(QN_SOURCE_DIR "/schedules", false, &lib, &e), RC_OK);
    ck_assert_int_eq(target_load("x86-64-v3", &t, &e), RC_OK);
    ck_assert_int_eq(task_parse("matmul:M=7,N=13,K=5", lib, NULL, &task, &e), RC_OK);
    for (int i = 0; i < 4; i++) { /* two texts, the first again, the operator's own structure */
        struct plan p;
        const char *text = texts[i % 2];
        ck_assert_int_eq(fs_write(file, text, strlen(text), &e), RC_OK);
        ck_assert_msg(compile_plan(task, t, 1, i < 3 ? dir : NULL, &p, &e) == RC_OK, "%s", e.msg);
        memcpy(id[i], p.id, sizeof id[i]);
        plan_fini(&p);
    }
    ck_assert_str_eq(id[0], id[2]);
    ck_assert_str_ne(id[0], id[1]);
    ck_assert_str_ne(id[0], id[3]);
    task_free(task);
    target_free(t);
    op_lib_free(lib);
    unlink(file);
    rmdir(folder);
    rmdir(dir);
}
END_TEST

/* A user's operator is his, whatever its name: softmax.op in this folder gets no schedule of the
 * shipped softmax; the shipped file itself, named by its path, does. */
START_TEST(a_plan_of_an_own_operator)
{
    static const char text[] = "op softmax {\n  in x[M, N]: f32\n  out y[M]: f32\n"
                               "  y[m] = max(n:N) x[m, n]\n}\n";
    static const struct {
        const char *token;
        bool own;
    } rows[] = {
        {"softmax.op:M=3,N=5", true},
        {"./softmax.op:M=3,N=5", true},
        {"softmax:M=3,N=5", false},
        {QN_SOURCE_DIR "/schedules/softmax/softmax.op:M=3,N=5", false},
        {QN_SOURCE_DIR "/schedules/delta2bbox/delta2bbox.op:N=4", false},
    };
    struct op_lib *lib;
    struct target *t;
    struct err e = {0};
    ck_assert_int_eq(fs_write("softmax.op", text, strlen(text), &e), RC_OK);
    ck_assert_int_eq(op_lib_new(QN_SOURCE_DIR "/schedules", true, &lib, &e), RC_OK);
    ck_assert_int_eq(target_load("x86-64-v3", &t, &e), RC_OK);
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        struct task *task;
        struct plan p;
        ck_assert_msg(task_parse(rows[i].token, lib, NULL, &task, &e) == RC_OK, "%s", e.msg);
        ck_assert_msg(task->own == rows[i].own, "%s", rows[i].token);
        ck_assert_msg(compile_plan(task, t, 1, QN_SOURCE_DIR "/schedules", &p, &e) == RC_OK,
                      "%s: %s", rows[i].token, e.msg);
        ck_assert_int_ge(p.n, 1);
        if (rows[i].own) ck_assert_str_eq(space_name(p.space[0]), "derived");
        if (strstr(rows[i].token, "delta2bbox")) ck_assert_str_eq(space_name(p.space[0]), "boxes");
        plan_fini(&p);
        task_free(task);
    }
    target_free(t);
    op_lib_free(lib);
    unlink("softmax.op");
}
END_TEST

/* As many stages with loops of their own as a derived space tiles, and more: their knobs fit. */
START_TEST(a_plan_of_many_stages)
{
    for (int stages = 10; stages <= 16; stages++) {
        struct op_lib *lib;
        struct target *t;
        struct task *task;
        struct plan p;
        struct buf op;
        struct err e = {0};
        buf_init(&op, 1 << 16);
        buf_puts(&op, "op many {\n  in x[M, N]: f32\n");
        for (int i = 0; i < stages; i++) buf_printf(&op, "  out y%d[M]: f32\n", i);
        for (int i = 0; i < stages; i++)
            buf_printf(&op, "  y%d[m] = sum(n:N) x[m, n] * %d\n", i, i + 1);
        buf_puts(&op, "}\n");
        ck_assert_int_eq(op_lib_new(NULL, false, &lib, &e), RC_OK);
        ck_assert_msg(op_lib_add(lib, "many.op", op.p, op.n, &e) == RC_OK, "%s", e.msg);
        ck_assert_int_eq(target_load("x86-64-v3", &t, &e), RC_OK);
        ck_assert_msg(task_parse("many:M=37,N=100", lib, NULL, &task, &e) == RC_OK, "%s", e.msg);
        ck_assert_msg(compile_plan(task, t, 1, "", &p, &e) == RC_OK, "%s", e.msg);
        ck_assert_int_eq(p.n, 1);
        ck_assert_int_ge(space_knobs(p.space[0]), 20);
        plan_fini(&p);
        task_free(task);
        target_free(t);
        op_lib_free(lib);
        buf_fini(&op);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compile");
    TCase *t = tcase_create("compile");
    setenv("QUERN_DATA", QN_SOURCE_DIR, 1);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_same_texts_give_the_same_blob);
    tcase_add_test(t, refusals_name_their_stage);
    tcase_add_test(t, nudges_are_numbers);
    tcase_add_test(t, an_empty_pack_is_an_entry);
    tcase_add_test(t, stages_are_texts);
    tcase_add_loop_test(t, a_dead_worker_is_blamed_once, 0, 2);
    tcase_add_test(t, a_signal_is_no_timeout);
    tcase_add_test(t, a_bad_task_is_refused_by_the_worker);
    tcase_add_test(t, sizes_to_check_at);
    tcase_add_test(t, rows_of_an_emitted_test);
    tcase_add_test(t, a_plan_is_never_empty);
    tcase_add_test(t, a_plan_is_named_by_its_spaces);
    tcase_add_test(t, a_plan_of_an_own_operator);
    tcase_add_test(t, a_plan_of_many_stages);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
