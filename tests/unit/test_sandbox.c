/* The sandbox, from outside: hand-written kernels go through a real quern-runner, and each crime
 * must come back as its verdict while the runner lives on.
 *
 *   screen("oob_past") == oob_access, "write 0 bytes past the end of output 'y'"
 *
 * Invariant: no test depends on a time being short, except the throughput test's generous floor. */
#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/proc.h"
#include "lib/sandbox_blobs.h"
#include "measure/client.h"
#include "sandbox/data.h"
#include "sandbox/sandbox.h"
#include "sandbox/stage.h"

static struct client *CLIENT;

static const char RUNNER[] = QN_BIN_DIR "/quern-runner";

static void setup(void)
{
    struct err e = {0};
    CLIENT = client_open(RUNNER, &e);
    ck_assert_msg(CLIENT != NULL, "%s", e.msg);
}
static void teardown(void) { client_close(CLIENT); }

static struct wire_screen screen_of(const char *name)
{
    return (struct wire_screen){.task = sandbox_task(SANDBOX_N),
                                .blob = sandbox_blob(name),
                                .seed = 1,
                                .limits = {.timeout_ms = 400},
                                .epoch_ns = 20000,
                                .epochs = 3};
}

static const struct wire_result *call(enum wire_type type, const void *msg)
{
    struct client_reply r;
    struct err e = {0};
    ck_assert_msg(client_call(CLIENT, type, msg, 60000, &r, &e) == RC_OK, "%s", e.msg);
    ck_assert_str_eq(wire_type_name(r.type), "RESULT");
    return r.result;
}

static const struct wire_result *screen(const char *name)
{
    struct wire_screen m = screen_of(name);
    return call(WIRE_SCREEN, &m);
}

static void expect_verdict(const struct wire_result *r, const char *name, const char *verdict,
                           const char *text)
{
    const char *got = verdict_name(r->outcome.verdict);
    ck_assert_msg(strcmp(got, verdict) == 0, "%s: %s (%s), expected %s", name, got, r->outcome.text,
                  verdict);
    ck_assert_msg(strstr(r->outcome.text, text) != NULL, "%s: '%s' lacks '%s'", name,
                  r->outcome.text, text);
}

static const struct crime {
    const char *blob, *verdict, *text;
} CRIMES[] = {
    {"good", "ok", ""},
    {"oob_past", "oob_access", "write 0 bytes past the end of output 'y' (4000 bytes)"},
    {"oob_before", "oob_access", "before the start of 'y'"},
    {"oob_read", "oob_access", "read 0 bytes past the end of input 'x'"},
    {"oob_far", "oob_access", "far from every buffer"},
    {"write_input", "oob_access", "write at byte 0 of input 'x', which is read-only"},
    {"wild", "oob_access", "misaligned vector access or wild pointer"},
    {"null", "oob_access", "read at (nil), far from every buffer"},
    {"write_code", "oob_access", "write into its own code"},
    {"ud2", "illegal_insn", "illegal instruction at code offset 0x0"},
    {"trap", "illegal_insn", ""},
    {"endless", "timeout", "did not finish in time"},
    {"divide", "fpe", "division"},
    {"recurse", "stack_overflow", "KiB of stack"},
    {"sys_open", "forbidden_syscall", "allow-list"},
    {"sys_socket", "forbidden_syscall", ""},
    {"sys_execve", "forbidden_syscall", ""},
    {"sys_fork", "forbidden_syscall", ""},
    {"sys_ptrace", "forbidden_syscall", ""},
    {"sys_kill", "forbidden_syscall", ""},
    {"sys_mprotect", "forbidden_syscall", ""},
    {"sys_process_vm_writev", "forbidden_syscall", ""},
    {"sys_x32", "forbidden_syscall", ""},
    {"leave", "crash", "left through exit(0)"},
    {"wrong", "wrong_result", "1 of 1000 elements of 'y' are wrong, worst at 0"},
    {"last_wrong", "wrong_result", "1 of 1000 elements of 'y' are wrong, worst at 999"},
    {"unwritten", "unwritten", "element 0 of 'y' was never written"},
    {"bad_args", "bad_args", "returned 3"},
    {"skips", "nondeterministic", "correct when verified, but not when timed"},
    {"accumulates", "unwritten", "only added to"},
    {"good_par", "bad_args", "returned 9"},
    {"good_packed", "ok", ""},
};

START_TEST(every_crime_gets_its_verdict)
{
    for (size_t i = 0; i < QN_COUNT(CRIMES); i++) {
        expect_verdict(screen(CRIMES[i].blob), CRIMES[i].blob, CRIMES[i].verdict, CRIMES[i].text);
        expect_verdict(screen("good"), "good after it", "ok", "");
    }
    ck_assert_int_eq(client_starts(CLIENT), 1); /* no crime reached the runner */
}
END_TEST

/* A 32-bit system call has another architecture in the filter's eyes, or none on kernels without
 * it. */
START_TEST(int80_is_stopped)
{
    const struct wire_result *r = screen("sys_int80");
    const char *v = verdict_name(r->outcome.verdict);
    ck_assert_msg(strcmp(v, "forbidden_syscall") == 0 || strcmp(v, "oob_access") == 0, "%s", v);
}
END_TEST

START_TEST(screening_times_and_stops)
{
    struct wire_screen m = screen_of("good");
    const struct wire_result *r = call(WIRE_SCREEN, &m);
    ck_assert_uint_eq(r->samples.n, 3);
    for (uint32_t i = 0; i < r->samples.n; i++) ck_assert_double_gt(r->samples.p[i], 100);
    ck_assert_uint_ge(r->iters, 2);
    ck_assert_uint_ne(r->outcome.crc, 0);
    ck_assert_uint_eq(r->outcome.tier, 1);
    ck_assert_uint_eq(r->outcome.layers & sandbox_mandatory(), sandbox_mandatory());
    double base = r->samples.p[0];
    m = screen_of("slow");
    m.incumbent_ns = base;
    r = call(WIRE_SCREEN, &m);
    expect_verdict(r, "slow", "slow", "above");
    ck_assert_double_gt(r->samples.p[0], 20 * base);
    m.incumbent_ns = 0;
    ck_assert_str_eq(verdict_name(call(WIRE_SCREEN, &m)->outcome.verdict), "ok");
    m = screen_of("good");
    m.limits.cache = CACHE_COLD;
    expect_verdict(call(WIRE_SCREEN, &m), "cold", "ok", "");
}
END_TEST

START_TEST(tiers_pass_and_count)
{
    static const uint32_t checks[] = {0, 1, 4, 8};
    for (int tier = 1; tier <= 3; tier++) {
        struct wire_verify m = {.task = sandbox_task(SANDBOX_N),
                                .blob = sandbox_blob("good"),
                                .tier = (uint8_t)tier,
                                .seed = 7};
        const struct wire_result *r = call(WIRE_VERIFY, &m);
        expect_verdict(r, "good", "ok", "");
        ck_assert_uint_eq(r->outcome.tier, tier);
        ck_assert_uint_eq(r->outcome.checks, checks[tier]);
        ck_assert(r->outcome.worst <= 1);
        m.blob = sandbox_blob("good_packed");
        expect_verdict(call(WIRE_VERIFY, &m), "good_packed", "ok", "");
        m.blob = sandbox_blob("last_wrong");
        expect_verdict(call(WIRE_VERIFY, &m), "last_wrong", "wrong_result", "");
        m.task.exact = 0; /* impulses and tolerances instead of bits */
        m.blob = sandbox_blob("good");
        expect_verdict(call(WIRE_VERIFY, &m), "inexact", "ok", "");
        m.blob = sandbox_blob("wrong");
        expect_verdict(call(WIRE_VERIFY, &m), "inexact", "wrong_result", "");
        m.task.buffers[2].check = CHECK_STEEP; /* bounds from nudged operands */
        expect_verdict(call(WIRE_VERIFY, &m), "steep", "wrong_result", "");
        m.blob = sandbox_blob("last_wrong");
        expect_verdict(call(WIRE_VERIFY, &m), "steep", "wrong_result", "");
        m.blob = sandbox_blob("good");
        r = call(WIRE_VERIFY, &m);
        expect_verdict(r, "steep", "ok", "");
        ck_assert(r->outcome.worst <= 1);
        m.task.buffers[2].dtype = DTYPE_S32; /* the bits, which every nudge moves: undecided */
        expect_verdict(call(WIRE_VERIFY, &m), "steep integers", "ok", "");
        m.task.buffers[2].check = CHECK_REL_L2; /* integers have no norm */
        expect_verdict(call(WIRE_VERIFY, &m), "integers", "ok", "");
        m.blob = sandbox_blob("last_wrong");
        expect_verdict(call(WIRE_VERIFY, &m), "integers", "wrong_result", "");
    }
}
END_TEST

START_TEST(threads_run_and_fault)
{
    struct wire_screen m = screen_of("good_par");
    for (uint32_t threads = 2; threads <= 4; threads++) {
        m.limits.threads = threads;
        expect_verdict(call(WIRE_SCREEN, &m), "good_par", "ok", "");
    }
    m.blob = sandbox_blob("par_fault");
    expect_verdict(call(WIRE_SCREEN, &m), "par_fault", "illegal_insn", "");
}
END_TEST

START_TEST(empty_and_odd_shapes)
{
    static const int64_t sizes[] = {0, 1, 3, 1023, 1024, 1025, 4097};
    for (size_t i = 0; i < QN_COUNT(sizes); i++) {
        struct wire_verify m = {.task = sandbox_task(sizes[i]),
                                .blob = sandbox_blob("good"),
                                .tier = 2,
                                .seed = 1};
        expect_verdict(call(WIRE_VERIFY, &m), "good", "ok", "");
        if (sizes[i] == 0) continue;
        m.blob = sandbox_blob("oob_past");
        expect_verdict(call(WIRE_VERIFY, &m), "oob_past", "oob_access",
                       "past the end of output 'y'");
        m.blob = sandbox_blob("oob_before");
        expect_verdict(call(WIRE_VERIFY, &m), "oob_before", "oob_access", "before the start of");
    }
}
END_TEST

START_TEST(too_much_memory)
{
    struct wire_screen m = screen_of("good");
    m.blob.scratch_a = UINT64_C(1) << 40;
    expect_verdict(call(WIRE_SCREEN, &m), "scratch", "oom", "the limit is");
    m.blob.scratch_a = UINT64_C(1) << 60;
    expect_verdict(call(WIRE_SCREEN, &m), "scratch", "load_error", "2^44");
    m.blob.scratch_a = 2 << 20;
    m.limits.memory = 1 << 20;
    expect_verdict(call(WIRE_SCREEN, &m), "limit", "oom", "the limit is 1 MiB");
    m.limits.memory = 100;
    expect_verdict(call(WIRE_SCREEN, &m), "operands", "no_memory", "operands");
}
END_TEST

START_TEST(jobs_that_make_no_sense)
{
    struct wire_screen m = screen_of("good");
    m.blob.kernel = 100000;
    expect_verdict(call(WIRE_SCREEN, &m), "entry", "load_error", "outside");
    m = screen_of("good");
    m.blob.arch = ARCH_RISCV64;
    expect_verdict(call(WIRE_SCREEN, &m), "arch", "load_error",
                   "code for riscv64 cannot run on x86_64");
    m = screen_of("good");
    m.blob.code.n = 0;
    expect_verdict(call(WIRE_SCREEN, &m), "empty", "load_error", "empty");
    m = screen_of("good");
    m.task.buffers[0].bytes = 5;
    expect_verdict(call(WIRE_SCREEN, &m), "bytes", "bad_job",
                   "1000 elements of f32 are 4000 bytes, not 5");
    m = screen_of("good");
    m.task.buffers_n = 2;
    expect_verdict(call(WIRE_SCREEN, &m), "outputs", "bad_job", "no output");
    m = screen_of("good");
    m.task.ref = sandbox_blob("ud2");
    expect_verdict(call(WIRE_SCREEN, &m), "reference", "bad_reference",
                   "the reference kernel: illegal instruction");
}
END_TEST

static struct wire_entry ENTRIES[5];

static struct wire_race_open race_of(const char *const *names, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) ENTRIES[i] = (struct wire_entry){i, sandbox_blob(names[i])};
    return (struct wire_race_open){.task = sandbox_task(SANDBOX_N),
                                   .entries = ENTRIES,
                                   .entries_n = n,
                                   .seed = 3,
                                   .limits = {.timeout_ms = 2000},
                                   .epoch_ns = 50000};
}

START_TEST(races_find_the_fast_one)
{
    static const char *const names[] = {"slow", "good", "wrong", "endless", "good_packed"};
    struct wire_race_open open = race_of(names, 5);
    struct race_config cfg = {.max_rounds = 25, .session_rounds = 7};
    struct client_race out;
    struct err e = {0};
    open.calibrate = 1;
    ck_assert_msg(client_race(CLIENT, &open, &cfg, 60000, &out, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(out.world == VERDICT_OK, "%s", out.text);
    ck_assert(out.race.winner == 1 || out.race.winner == 4);
    ck_assert(out.race.separated);
    ck_assert_str_eq(verdict_name(out.outcomes[2].verdict), "wrong_result");
    ck_assert_str_eq(verdict_name(out.outcomes[3].verdict), "timeout");
    ck_assert_double_lt(out.race.entries[1].ratio_hi, 0.1);
    ck_assert_double_gt(out.peak_gflops, 1);
    ck_assert_double_gt(out.race.entries[1].fma, 0);
    ck_assert_uint_ne(out.outcomes[1].crc, 0);
    client_race_free(&out);
    expect_verdict(screen("good"), "good", "ok", "");
}
END_TEST

/* Entries of a race are verified beside others that sleep with their outputs mapped: each in its
 * own slot. */
START_TEST(races_verify_each_entry_alone)
{
    const char *names[] = {"slow", "slow", "good", "slow", "good"};
    for (int tries = 0; tries < 4; tries++) {
        struct wire_race_open open = race_of(names, 5);
        struct race_config cfg = {.max_rounds = 3, .noisy_width = 100};
        struct client_race out;
        struct err e = {0};
        open.tier = 3;
        ck_assert_int_eq(client_race(CLIENT, &open, &cfg, 60000, &out, &e), RC_OK);
        for (int i = 0; i < 5; i++) {
            ck_assert_msg(out.outcomes[i].verdict == VERDICT_OK, "entry %d: %s", i,
                          out.outcomes[i].text);
            ck_assert_int_eq(out.outcomes[i].tier, 3);
        }
        client_race_free(&out);
    }
}
END_TEST

START_TEST(races_disqualify_pretenders)
{
    static const char *const names[] = {"good", "skips"};
    struct wire_race_open open = race_of(names, 2);
    struct race_config cfg = {.max_rounds = 15};
    struct client_race out;
    struct err e = {0};
    ck_assert_int_eq(client_race(CLIENT, &open, &cfg, 60000, &out, &e), RC_OK);
    ck_assert_str_eq(verdict_name(out.outcomes[1].verdict), "nondeterministic");
    ck_assert_int_eq(out.race.winner, 0);
    ck_assert(!out.race.separated);
    client_race_free(&out);
}
END_TEST

START_TEST(calibration_is_plausible)
{
    struct wire_calibrate m = {.threads = 1, .budget_ms = 150};
    struct client_reply r;
    struct err e = {0};
    ck_assert_int_eq(client_call(CLIENT, WIRE_CALIBRATE, &m, 60000, &r, &e), RC_OK);
    ck_assert_int_eq(r.type, WIRE_CALIBRATION);
    ck_assert_msg(r.calibration->verdict == VERDICT_OK, "%s", r.calibration->text);
    ck_assert(r.calibration->clock_ghz > 0.3 && r.calibration->clock_ghz < 8);
    ck_assert_uint_ge(r.calibration->fma_n, 1);
    double peak = 0;
    for (uint32_t i = 0; i < r.calibration->fma_n; i++)
        peak = fmax(peak, r.calibration->fma[i].gflops);
    ck_assert_double_gt(peak, 2 * r.calibration->clock_ghz);
    ck_assert_uint_ge(r.calibration->levels_n, 1);
    for (uint32_t i = 0; i < r.calibration->levels_n; i++)
        ck_assert_double_gt(r.calibration->levels[i].gbps, 0.5);
}
END_TEST

static struct wire_pong ping(void)
{
    struct wire_ping m = {.nonce = 42};
    struct client_reply r;
    struct err e = {0};
    ck_assert_int_eq(client_call(CLIENT, WIRE_PING, &m, 10000, &r, &e), RC_OK);
    ck_assert_int_eq(r.type, WIRE_PONG);
    ck_assert_uint_eq(r.pong->nonce, 42);
    return *r.pong;
}

/* Fresh tasks, crashes, races and good kernels in turn: memory stays where it was. */
START_TEST(memory_stays_flat)
{
    static const char *const mix[] = {"good", "oob_past", "good_packed", "wrong", "ud2"};
    struct wire_pong before = {0};
    for (int i = 0; i < 5000; i++) {
        struct wire_screen m = screen_of(mix[i % 5]);
        m.epochs = 1;
        m.epoch_ns = 2000;
        m.seed = (uint64_t)(i / 500);
        if (i % 38 == 37) m.task = sandbox_task(900 - i / 38);
        call(WIRE_SCREEN, &m);
        if (i == 2999) before = ping();
    }
    struct wire_pong after = ping();
    ck_assert_uint_ge(after.jobs, 5000);
#ifdef QN_SANITIZED
    before.rss += 64 << 20; /* the sanitizer's own quarantine */
#endif
    ck_assert_uint_le(after.rss, before.rss + (1 << 20));
    ck_assert_uint_le(after.tasks, 64);
    ck_assert_int_eq(client_starts(CLIENT), 1);
}
END_TEST

START_TEST(the_runner_may_die)
{
    struct wire_screen m = screen_of("endless");
    struct client_reply r;
    struct err e = {0};
    m.limits.timeout_ms = 20000;
    ck_assert_int_eq(client_submit(CLIENT, WIRE_SCREEN, &m, 30000, &e), RC_OK);
    kill(client_pid(CLIENT), SIGKILL);
    ck_assert_int_eq(client_wait(CLIENT, &r, &e), RC_OK);
    expect_verdict(r.result, "killed runner", "transport", "died");
    expect_verdict(screen("good"), "next", "ok", "");
    ck_assert_int_eq(client_starts(CLIENT), 2);

    ck_assert_int_eq(client_submit(CLIENT, WIRE_SCREEN, &m, 300, &e), RC_OK);
    ck_assert_int_eq(client_wait(CLIENT, &r, &e), RC_OK);
    expect_verdict(r.result, "stalled runner", "runner_bug", "in time");
    expect_verdict(screen("good"), "next", "ok", "");

    ck_assert_int_eq(client_submit(CLIENT, WIRE_SCREEN, &m, 30000, &e), RC_OK);
    usleep(50000);
    client_cancel(CLIENT);
    ck_assert_int_eq(client_wait(CLIENT, &r, &e), RC_OK);
    expect_verdict(r.result, "cancelled", "cancelled", "client");
    expect_verdict(screen("good"), "next", "ok", "");
    ck_assert_int_eq(client_starts(CLIENT), 3); /* cancelling keeps the runner */
}
END_TEST

START_TEST(the_nursery_has_no_rights)
{
    const struct wire_hello *h = client_hello(CLIENT);
    ck_assert_uint_ne(h->uid, 0);
    ck_assert_uint_eq(h->layers & h->mandatory, h->mandatory);
    ck_assert_str_eq(h->version, QN_VERSION);
    ck_assert_uint_ge(h->cpus, 1);
}
END_TEST

/* As a normal user the same crimes are caught; the runner is copied where that user can read it. */
START_TEST(as_a_normal_user)
{
    char dir[] = "/tmp/quern-test-XXXXXX", path[64], *bytes;
    size_t n;
    struct err e = {0};
    if (geteuid() != 0) return;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/quern-runner", dir);
    ck_assert_int_eq(fs_read(RUNNER, 64 << 20, &bytes, &n, &e), RC_OK);
    ck_assert_int_eq(fs_write(path, bytes, n, &e), RC_OK);
    ck_assert(chmod(dir, 0755) == 0 && chmod(path, 0755) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(12345) != 0 || setuid(12345) != 0) _exit(2);
        CLIENT = client_open(path, &e);
        if (!CLIENT || client_hello(CLIENT)->uid != 12345) _exit(3);
        for (size_t i = 0; i < QN_COUNT(CRIMES); i++)
            if (strcmp(verdict_name(screen(CRIMES[i].blob)->outcome.verdict), CRIMES[i].verdict) !=
                0)
                _exit(4);
        client_close(CLIENT);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    unlink(path);
    rmdir(dir);
    mem_free(bytes);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}
END_TEST

/* Sends bytes to a fresh runner; the type of what it answers after HELLO, 0 for end of file. */
static int answer_to(const void *bytes, size_t n)
{
    const char *argv[] = {RUNNER, NULL};
    struct proc p;
    struct err e = {0};
    struct wire_header h = {0};
    uint8_t header[WIRE_HEADER], payload[65536];
    int status, type = 0;
    ck_assert_int_eq(proc_spawn(&p, argv, PROC_SOCKET, &e), RC_OK);
    for (int i = 0; i < 2; i++) {
        type = 0;
        if (io_read(p.fd, header, sizeof header, 10000, NULL)) break;
        ck_assert_int_eq(wire_header(header, &h, &e), RC_OK);
        ck_assert_uint_le(h.length, sizeof payload);
        ck_assert_int_eq(io_read(p.fd, payload, h.length, 10000, &e), RC_OK);
        type = (int)h.type;
        if (i == 0) ck_assert_int_eq(io_write(p.fd, bytes, n, 10000, &e), RC_OK);
    }
    proc_kill(&p);
    proc_wait(&p, &status);
    return type;
}

START_TEST(nonsense_on_the_wire)
{
    struct wire_ping ping_msg = {.nonce = 1};
    struct wire_hello hello = {0};
    struct wire_bye bye = {0};
    struct err e = {0};
    struct buf b;
    buf_init(&b, 1 << 16);
    ck_assert_int_eq(answer_to("GET / HTTP/1.0\r\n\r\n......", 24), WIRE_FAULT);
    ck_assert_int_eq(wire_encode(&b, WIRE_PING, 1, &ping_msg, &e), RC_OK);
    ck_assert_int_eq(answer_to(b.p, b.n), WIRE_PONG);
    b.p[b.n - 1] ^= 1; /* damaged on the way: the nursery says so */
    ck_assert_int_eq(answer_to(b.p, b.n), WIRE_FAULT);
    buf_reset(&b);
    ck_assert_int_eq(wire_encode(&b, WIRE_HELLO, 1, &hello, &e), RC_OK);
    ck_assert_int_eq(answer_to(b.p, b.n), WIRE_FAULT);
    buf_reset(&b);
    ck_assert_int_eq(wire_encode(&b, WIRE_BYE, 1, &bye, &e), RC_OK);
    ck_assert_int_eq(answer_to(b.p, b.n), 0);
    buf_fini(&b);
}
END_TEST

START_TEST(throughput)
{
    struct wire_screen m = screen_of("good");
    m.epochs = 1;
    m.epoch_ns = 10000;
    call(WIRE_SCREEN, &m);
    int64_t t0 = clock_ns();
    for (int i = 0; i < 500; i++) call(WIRE_SCREEN, &m);
    double each = (double)(clock_ns() - t0) / 500e3;
    printf("screen: %.0f us per candidate\n", each);
    ck_assert_double_lt(each, 20000);
}
END_TEST

START_TEST(data_has_the_promised_ranges)
{
    struct wire_buffer b = {
        .name = "x", .dtype = DTYPE_F32, .count = 2000, .bytes = 8000, .int_lo = -3, .int_hi = 5};
    float v[2000], again[2000];
    bool seen[9] = {false};
    data_fill(v, &b, RECIPE_INTS, 9, DATA_PLAIN);
    data_fill(again, &b, RECIPE_INTS, 9, DATA_PLAIN);
    ck_assert_mem_eq(v, again, sizeof v);
    for (int i = 0; i < 2000; i++) {
        ck_assert(v[i] >= -3 && v[i] <= 5 && v[i] == floorf(v[i]));
        seen[(int)v[i] + 3] = true;
    }
    for (int i = 0; i < 9; i++) ck_assert(seen[i]);
    data_fill(v, &b, RECIPE_ONEHOT, 9, DATA_PLAIN);
    int ones = 0;
    for (int i = 0; i < 2000; i++) ones += v[i] == 1;
    ck_assert_int_ge(ones, 2000 / 61);
    data_fill(v, &b, RECIPE_RANDOM, 9, DATA_PLAIN);
    data_fill(again, &b, RECIPE_RANDOM, 9, DATA_SQUARED);
    float moved[2 * DATA_WAYS][2000];
    for (int k = 0; k < 2 * DATA_WAYS; k++) {
        int up = 0, opposite = 0, other = 0;
        data_fill(moved[k], &b, RECIPE_RANDOM, 9, (enum data_twist)(DATA_NUDGED + k));
        for (int i = 0; i < 2000; i++) {
            double by = ((double)moved[k][i] - v[i]) / fabs((double)v[i]) * 0x1p24;
            ck_assert(fabs(by) > 1.9 && fabs(by) < 10.1);
            up += by > 0;
            opposite += k >= DATA_WAYS && (moved[k - DATA_WAYS][i] > v[i]) != (by > 0);
            other += k == 1 && (moved[0][i] > v[i]) != (by > 0);
        }
        ck_assert(up > 900 && up < 1100);
        ck_assert(k < DATA_WAYS || opposite == 2000);
        ck_assert(k != 1 || (other > 900 && other < 1100));
    }
    b.real_lo = 0, b.real_hi = 0x1p-100; /* what the caller promises is kept */
    float inside[2000];
    data_fill(inside, &b, RECIPE_RANDOM, 9, DATA_NUDGED);
    for (int i = 0; i < 2000; i++) ck_assert(inside[i] >= 0 && inside[i] < 0x1p-100);
    double mean = 0;
    for (int i = 0; i < 2000; i++) {
        ck_assert(v[i] >= -1 && v[i] < 1 && again[i] == v[i] * v[i]);
        mean += v[i] / 2000;
    }
    ck_assert(fabs(mean) < 0.05);
    int8_t s8[64];
    struct wire_buffer c = {
        .name = "q", .dtype = DTYPE_S8, .count = 64, .bytes = 64, .int_lo = -1000, .int_hi = 1000};
    for (int r = 0; r < RECIPE_COUNT; r++) data_fill(s8, &c, (enum recipe)r, 1, DATA_PLAIN);
    uint8_t b1[8];
    struct wire_buffer d = {.name = "bits", .dtype = DTYPE_B1, .count = 64, .bytes = 8};
    data_fill(b1, &d, RECIPE_ONES, 1, DATA_PLAIN);
    for (int i = 0; i < 8; i++) ck_assert_uint_eq(b1[i], 255);
}
END_TEST

START_TEST(half_conversions_round_to_even)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = half_to_float((uint16_t)h);
        if (isnan(f)) continue;
        ck_assert_uint_eq(half_from_float(f), h);
    }
    ck_assert_uint_eq(half_from_float(2049.0f), half_from_float(2048.0f)); /* tie to even */
    ck_assert_uint_eq(half_from_float(2051.0f), half_from_float(2052.0f));
    ck_assert_uint_eq(half_from_float(65519.0f), 0x7bff);
    ck_assert_uint_eq(half_from_float(65520.0f), 0x7c00);
    ck_assert_uint_eq(bf16_from_float(1.00390625f), 0x3f80); /* tie to even */
}
END_TEST

START_TEST(placing_keeps_ends_at_guards)
{
    size_t off;
    ck_assert_uint_eq(place_pages(100, ALIGN_RIGHT, 4, 0, &off), 4096);
    ck_assert_uint_eq(off, 3996);
    ck_assert_uint_eq(place_pages(100, ALIGN_RIGHT, 64, 0, &off), 4096);
    ck_assert_uint_eq(off, 4096 - 128);
    ck_assert_uint_eq(place_pages(4096, ALIGN_LEFT, 4, 5, &off), 4096);
    ck_assert_uint_eq(off, 0);
    for (int i = 0; i < 40; i++) {
        size_t len = place_pages(4096, ALIGN_TIMED, 4, i, &off);
        ck_assert(off % 64 == 0 && off + 4096 <= len);
    }
    for (int i = 0; i < 3;
         i++) { /* small ones in different places of a page, large ones in the same */
        place_pages(LARGE - 4, ALIGN_TIMED, 4, i, &off);
        ck_assert_uint_eq(off, (size_t)i * 576);
        ck_assert_uint_eq(place_pages(LARGE, ALIGN_TIMED, 4, i, &off), LARGE + PAGE);
        ck_assert_uint_eq(off, 64);
    }
    ck_assert_uint_eq(place_pages(0, ALIGN_RIGHT, 4, 0, &off), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sandbox");
    TCase *pure = tcase_create("pure"), *run = tcase_create("runner");
    tcase_add_test(pure, data_has_the_promised_ranges);
    tcase_add_test(pure, half_conversions_round_to_even);
    tcase_add_test(pure, placing_keeps_ends_at_guards);
    suite_add_tcase(s, pure);
    if (sandbox_blobs_usable()) {
        tcase_set_timeout(run, 120);
        tcase_add_checked_fixture(run, setup, teardown);
        tcase_add_test(run, every_crime_gets_its_verdict);
        tcase_add_test(run, int80_is_stopped);
        tcase_add_test(run, screening_times_and_stops);
        tcase_add_test(run, tiers_pass_and_count);
        tcase_add_test(run, threads_run_and_fault);
        tcase_add_test(run, empty_and_odd_shapes);
        tcase_add_test(run, too_much_memory);
        tcase_add_test(run, jobs_that_make_no_sense);
        tcase_add_test(run, races_find_the_fast_one);
        tcase_add_test(run, races_verify_each_entry_alone);
        tcase_add_test(run, races_disqualify_pretenders);
        tcase_add_test(run, calibration_is_plausible);
        tcase_add_test(run, the_runner_may_die);
        tcase_add_test(run, the_nursery_has_no_rights);
        tcase_add_test(run, as_a_normal_user);
        tcase_add_test(run, memory_stays_flat);
        tcase_add_test(run, nonsense_on_the_wire);
        tcase_add_test(run, throughput);
        suite_add_tcase(s, run);
    }
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
