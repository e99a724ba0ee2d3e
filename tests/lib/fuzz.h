/* fuzz: the seeded mutation loop behind every tests/fuzz/test_fuzz_<door>.c.
 *
 * A door is a function that takes foreign bytes. Its suite is three lines of work:
 *
 *   static int one(const uint8_t *p, size_t n)
 *   {
 *       ...                  parse p[0..n), free everything; p has NO NUL behind it
 *       return accepted;     nonzero: a valid input; it joins the pool to mutate
 *   }
 *   START_TEST(door_survives) { ck_assert_int_gt(fuzz_run("op", one, fuzz_seconds()), 0); }
 *   END_TEST
 *
 * fuzz_run loads tests/fuzz/corpus/<door>/ (any file names; the inputs run unchanged first), then
 * mutates: bit flips, byte and integer changes, truncation, repetition, splices of two inputs,
 * token swaps, and words taken from the corpus itself as the dictionary. Every input is an
 * exact-size heap copy, so that ASan sees one byte too far. The loop runs in a forked child; when
 * the child dies, or one input takes longer than FUZZ_HANG_SECONDS, the parent keeps that input in
 * a file (below $TMPDIR, or in $QUERN_FUZZ_OUT), prints how to run it again, and returns -1.
 * Returns the number of inputs run otherwise. It prints execs and seed.
 *
 * Environment: QUERN_FUZZ_SECONDS (default 20, or less where a suite says so), QUERN_FUZZ_SEED
 * (default 1: the same inputs on every run), QUERN_FUZZ_FILE (run just this input, in-process, for
 * a debugger).
 *
 * Invariant: the sequence of inputs depends only on the corpus, the seed and what `one` returns. */
#ifndef QN_TEST_FUZZ_H
#define QN_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_HANG_SECONDS = 20, FUZZ_INPUT_MAX = 1 << 16 };

int64_t fuzz_run(const char *door, int (*one)(const uint8_t *p, size_t n), int seconds);
/* Like fuzz_run with the corpus in memory; stops after max_execs too (0: no limit). */
int64_t fuzz_run_inputs(const char *door, int (*one)(const uint8_t *p, size_t n), int seconds,
                        const char *const *inputs, size_t input_count, int64_t max_execs);
int fuzz_seconds(void);

#endif
