/* Random operators x random legal traces as machine code: the same bits as the naive nest
 * interpreted. test_blob_c.c does the same for C.
 *
 * QUERN_PROP_CASES cases (20,000; in CI as many as fit the time, 95 % of them under QUERN_LONG=1)
 * for this machine and for smaller targets that it can run. Cases run in a child; a death is
 * charged to the case it happened in. A failure prints seed, nest, trace and kernel, with the steps
 * that do not matter left out. */
#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "lib/blob.h"

enum {
    LLVM_CASES = 20000,
    LLVM_CI_S = 240,
    NODES = 12000,
    CASE_S = 20,
    SLOW_COMPILES_MAX = 10,
    CODES = 16
};

static const char *const targets[] = {"host",      "host",      "x86-64-v1",
                                      "x86-64-v2", "x86-64-v3", "x86-64-v4"};
static struct target *target[QN_COUNT(targets)];
static int ntarget;

struct shared {
    struct gen_stats stats;
    uint64_t seed;  /* of the case at work */
    bool compiling; /* it is inside LLVM */
    int64_t ran, bad, packed, parallel, dynamic, instructions;
    int64_t by_target[QN_COUNT(targets)];
    struct {
        char code[48];
        int64_t n;
    } refused[CODES];
    char why[512];
};
static struct shared *shared;

static int64_t env_int(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    return s && *s ? strtoll(s, NULL, 10) : fallback;
}

static void count_refusal(const char *code)
{
    int i = 0;
    while (i < CODES - 1 && shared->refused[i].n && strcmp(shared->refused[i].code, code) != 0) i++;
    snprintf(shared->refused[i].code, sizeof shared->refused[i].code, "%s", code);
    shared->refused[i].n++;
}

/* Those of the list that this processor can run: "host" knows every feature it has. */
static void load_targets(void)
{
    struct err e = {0};
    if (ntarget) return;
    for (size_t i = 0; i < QN_COUNT(targets); i++) {
        ck_assert_msg(target_load(targets[i], &target[ntarget], &e) == RC_OK, "%s", e.msg);
        target[ntarget]->int_minmax = i % 2; /* costs less on some, is right on all */
        if (strcmp(targets[i], "x86-64-v4") == 0 && !__builtin_cpu_supports("x86-64-v4")) continue;
        if (strcmp(targets[i], "x86-64-v3") == 0 && !__builtin_cpu_supports("x86-64-v3")) continue;
        ntarget++;
    }
}

static void note(const struct blob_case *c, int at, const struct artefact *a)
{
    shared->ran++;
    shared->by_target[at]++;
    shared->packed += a->pack_at >= 0;
    shared->dynamic += c->naive->ndyn > 0;
    shared->instructions += a->instructions;
    for (int i = 0; i < c->trace->n; i++)
        if (c->trace->step[i].prim == PRIM_PARALLEL) {
            shared->parallel++;
            break;
        }
}

/* One case through LLVM; false: shared->why. show: print the case if it is wrong. */
static bool llvm_case(uint64_t seed, const uint64_t *mask, bool show)
{
    struct err e = {0};
    struct blob_case c;
    struct artefact a = {0};
    int at = (int)(seed * 7 % (uint64_t)ntarget);
    blob_entry *kernel, *pack;
    bool ok = true;
    enum blob_state s = blob_make(&c, seed, mask, &shared->stats, target[at], &e);
    if (s == BLOB_READY && c.k.nodes > NODES) { /* unrolled by the thousand */
        s = BLOB_REFUSED;
        snprintf(e.code, sizeof e.code, "(too long to compile here)");
    }
    if (s == BLOB_READY) {
        struct codegen_options o = {.misched = seed % 5 == 0,
                                    .addr_hoist = seed % 2 == 0,
                                    .list = seed % 3 == 0,
                                    .nudge = {(int)(1 + seed % 9999), 17},
                                    .nudges = seed % 9 == 0 ? 2 : 0,
                                    .stream = seed % 4 == 0,
                                    .prefetch = seed % 7 == 0,
                                    .prefetch_turn = seed % 7 == 1};
        shared->compiling = true;
        enum rc rc = codegen_llvm(&c.k, target[at], &o, &a, &e);
        shared->compiling = false;
        if (rc == RC_FAIL && strcmp(e.code, "codegen.stack") == 0)
            s = BLOB_REFUSED;
        else if (rc != RC_OK || !blob_map(&a, &kernel, &pack))
            s = BLOB_BROKEN;
    }
    if (s == BLOB_REFUSED && !mask) count_refusal(e.code);
    if (s == BLOB_BROKEN) {
        snprintf(shared->why, sizeof shared->why, "target %s: %s: %.400s", target[at]->name, e.code,
                 e.msg);
        ok = false;
    }
    if (show) {
        blob_show(&c);
        fflush(stdout);
    }
    if (s == BLOB_READY) {
        char why[256] = "";
        ok = blob_run(&c, kernel, pack, (int)(seed % 4), why);
        snprintf(shared->why, sizeof shared->why, "target %s: %s", target[at]->name, why);
        if (!mask) note(&c, at, &a);
    }
    artefact_fini(&a);
    blob_free(&c);
    return ok;
}

/* ---- children -------------------------------------------------------------------------------- */

/* Runs seeds from..to in a child; the first that is wrong or dies, or `to`. */
static uint64_t run_chunk(uint64_t from, uint64_t to, int64_t until_ns)
{
    fflush(stdout);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        for (uint64_t s = from; s < to && clock_ns() < until_ns; s++) {
            shared->seed = s;
            signal(SIGALRM, SIG_DFL); /* not Check's handler, which kills the whole group */
            alarm(CASE_S);
            if (!llvm_case(s, NULL, false)) _exit(1);
        }
        shared->seed = to;
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return to;
    if (WIFSIGNALED(status))
        snprintf(shared->why, sizeof shared->why, "died of signal %d", WTERMSIG(status));
    return shared->seed;
}

static bool fails_with(uint64_t seed, const uint64_t *mask, bool show)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (!show && !freopen("/dev/null", "w", stderr)) _exit(2);
        signal(SIGALRM, SIG_DFL);
        alarm(CASE_S);
        _exit(llvm_case(seed, mask, show) ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        snprintf(shared->why, sizeof shared->why, "died of signal %d", WTERMSIG(status));
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Which steps of the trace does the failure need? Last ones first: they depend on the others. */
static void report(uint64_t seed)
{
    uint64_t mask[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX,
                        UINT64_MAX}; /* the first 64 are tried */
    printf("FAILED seed %" PRIu64 ": %s\n", seed, shared->why);
    for (int i = 63; i >= 0; i--) {
        mask[i / 64] &= ~(UINT64_C(1) << (i % 64));
        if (!fails_with(seed, mask, false)) mask[i / 64] |= UINT64_C(1) << (i % 64);
    }
    fails_with(seed, mask, true);
    printf("smaller: %s\n", shared->why);
}

START_TEST(llvm_equals_interpreter)
{
    int64_t cases = env_int("QUERN_PROP_CASES", LLVM_CASES), until = INT64_MAX;
    int slow_compiles = 0;
    uint64_t seed = (uint64_t)env_int("QUERN_PROP_SEED", 1), from = seed,
             to = seed + (uint64_t)cases;
    if (!getenv("QUERN_LONG"))
        until = clock_ns() + env_int("QUERN_PROP_SECONDS", LLVM_CI_S) * INT64_C(1000000000);
    load_targets();
    while (from < to && shared->bad < 3 && clock_ns() < until) {
        uint64_t end = from + 500 < to ? from + 500 : to, at = run_chunk(from, end, until);
        /* Out of time inside LLVM (one block of thousands of stores): the product's worker limit
         * answers that. Out of time anywhere else is an endless loop, and fails. */
        bool slow = at < end && shared->compiling && strcmp(shared->why, "died of signal 14") == 0;
        if (slow && slow_compiles < SLOW_COMPILES_MAX) {
            printf("seed %" PRIu64 ": LLVM took more than %d s, not compared\n", at++, CASE_S);
            shared->why[0] = 0;
            shared->compiling = false;
            slow_compiles++;
        } else if (at < end) {
            shared->bad++;
            report(at);
            at++;
        }
        from = at;
    }
    printf("LLVM: %" PRId64 " of %" PRId64 " cases ran (%" PRId64 " packed, %" PRId64
           " parallel, %" PRId64 " with a dynamic extent), %" PRId64 " instructions each\n ",
           shared->ran, cases, shared->packed, shared->parallel, shared->dynamic,
           shared->instructions / i64_max(1, shared->ran));
    for (int i = 0; i < ntarget; i++) printf(" %s %" PRId64, target[i]->name, shared->by_target[i]);
    printf("; refused:");
    for (int i = 0; i < CODES; i++)
        if (shared->refused[i].n)
            printf(" %s %" PRId64, shared->refused[i].code, shared->refused[i].n);
    printf("\n");
    ck_assert_int_eq((int)shared->bad, 0);
    if (cases >= LLVM_CASES)
        ck_assert_int_ge(shared->ran, getenv("QUERN_LONG") ? cases * 95 / 100 : cases / 10);
}
END_TEST

int main(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    Suite *s = suite_create("prop.blob");
    TCase *t = tcase_create("blob");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 3600 : 800);
    tcase_add_test(t, llvm_equals_interpreter);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    if (failed) printf("the last case was seed %" PRIu64 "\n", shared->seed);
    srunner_free(r);
    return failed ? 1 : 0;
}
