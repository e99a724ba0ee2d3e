/* The scanner's door, and a planted crash that proves the fuzz loop can find one.
 *
 *   planted(): aborts on any input that holds "][", which no input of its corpus does.
 *
 * Invariants tested on every input: tokens lie inside the text, positions grow, the scan ends, and
 * an error has a position and a code. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/proc.h"
#include "base/scan.h"
#include "lib/fuzz.h"

static int scan_all(const uint8_t *p, size_t n, bool dotted, bool newlines)
{
    struct scan s;
    scan_init_with(&s, "fuzz", (const char *)p, n, dotted, newlines);
    size_t steps = 0, last = 0;
    while (s.tok.kind != TOK_END) {
        size_t at = (size_t)(s.tok.p - (const char *)p);
        QN_CHECK(s.tok.p >= (const char *)p && at + s.tok.n <= n, "token at %zu, %zu bytes of %zu",
                 at, s.tok.n, n);
        QN_CHECK(at >= last && s.tok.line >= 1 && s.tok.col >= 1, "token went back");
        QN_CHECK(++steps <= n, "more tokens than bytes");
        last = at;
        scan_next(&s);
    }
    QN_CHECK(s.err.rc == RC_OK ||
                 (s.err.rc == RC_INPUT && s.err.code[0] && strncmp(s.err.msg, "fuzz:", 5) == 0),
             "error without a position: %s", s.err.msg);
    return s.err.rc == RC_OK;
}

static int scan_one(const uint8_t *p, size_t n)
{
    int plain = scan_all(p, n, false, false);
    int traced = scan_all(p, n, true, true);
    QN_CHECK(plain == traced, "the switches change what is accepted");
    return plain;
}

START_TEST(scanner_survives) { ck_assert_int_gt(fuzz_run("scan", scan_one, fuzz_seconds()), 1000); }
END_TEST

static int planted(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (p[i] == ']' && p[i + 1] == '[') abort();
    return 1;
}

static const char *const PLANTED_CORPUS[] = {"x[n, p] = y[3]", "w(r, s)"};

START_TEST(loop_finds_a_planted_crash)
{
    char dir[] = "/tmp/quern-fuzz-self-XXXXXX", command[sizeof dir + 32];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("QUERN_FUZZ_OUT", dir, 1);
    ck_assert_int_eq(freopen("/dev/null", "w", stderr) != NULL, 1);
    ck_assert_int_eq(fuzz_run_inputs("planted", planted, 15, PLANTED_CORPUS, 2, 0), -1);
    /* the input that crashed was kept, and crashes again */
    char *output;
    int code;
    snprintf(command, sizeof command, "cat %s/quern-fuzz-planted-*", dir);
    const char *const argv[] = {"sh", "-c", command, NULL};
    ck_assert_int_eq(proc_run(argv, NULL, 10000, 1 << 16, &output, &code, NULL), RC_OK);
    ck_assert_int_eq(code, 0);
    ck_assert_ptr_nonnull(strstr(output, "]["));
    mem_free(output);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(proc_run(argv, NULL, 10000, 1 << 16, &output, &code, NULL), RC_OK);
    mem_free(output);
}
END_TEST

static uint64_t *seen; /* shared with the loop's child: a hash over every input it was given */

static int record(const uint8_t *p, size_t n)
{
    *seen = *seen * 31 + hash_crc32c(p, n);
    return (*seen & 3) == 0;
}

static uint64_t inputs_of_seed(const char *seed)
{
    *seen = 0;
    setenv("QUERN_FUZZ_SEED", seed, 1);
    ck_assert_int_eq(fuzz_run_inputs("record", record, 60, PLANTED_CORPUS, 2, 3000), 3000);
    return *seen;
}

START_TEST(same_seed_same_inputs)
{
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(seen != MAP_FAILED);
    uint64_t five = inputs_of_seed("5");
    ck_assert_uint_eq(inputs_of_seed("5"), five);
    ck_assert_uint_ne(inputs_of_seed("6"), five);
    munmap(seen, sizeof *seen);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fuzz_scan");
    TCase *t = tcase_create("scan");
    tcase_set_timeout(t, fuzz_seconds() + 60);
    tcase_add_test(t, scanner_survives);
    tcase_add_test(t, loop_finds_a_planted_crash);
    tcase_add_test(t, same_seed_same_inputs);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
