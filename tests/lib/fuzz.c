/* fuzz: pool, mutator, and the parent that watches the loop.
 *
 *   parent ──fork──► loop: pick, mutate, publish in shared memory, run     parent polls the counter
 *
 * Invariants: an input is in shared memory, whole, before it runs, so a crash never loses it; the
 * pool only grows, up to POOL_MAX; mutated inputs never exceed FUZZ_INPUT_MAX. */
#include "lib/fuzz.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/proc.h"
#include "base/rng.h"
#include "base/vec.h"

enum { POOL_MAX = 4096, WORDS_MAX = 4096, LOOP_DONE = 0 };

struct input {
    uint8_t *p;
    size_t n;
};

/* What the loop tells the parent; survives the loop's death. */
struct shared {
    volatile int64_t execs;
    size_t n;
    uint8_t bytes[FUZZ_INPUT_MAX];
};

struct fuzzer {
    int (*one)(const uint8_t *p, size_t n);
    struct rng rng;
    struct shared *shared;
    VEC(struct input) pool;
    VEC(struct input) words;
    uint8_t work[FUZZ_INPUT_MAX];
    size_t n;
};

int fuzz_seconds(void)
{
    const char *v = getenv("QUERN_FUZZ_SECONDS");
    long s = v ? strtol(v, NULL, 10) : 0;
    return s > 0 && s < 1000000 ? (int)s : 20;
}

static uint64_t fuzz_seed(void)
{
    const char *v = getenv("QUERN_FUZZ_SEED");
    return v && v[0] ? strtoull(v, NULL, 10) : 1;
}

static struct input input_copy(const uint8_t *p, size_t n)
{
    struct input in = {mem_new(n), n};
    if (n) memcpy(in.p, p, n);
    return in;
}

static int byte_class(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')
        return 0;
    return c <= ' ' ? 1 : 2;
}

/* End of the run of one class of bytes that starts at `at`: what a token is to the mutator. */
static size_t token_end(const uint8_t *p, size_t n, size_t at)
{
    size_t end = at + 1;
    while (end < n && end - at < 64 && byte_class(p[end]) == byte_class(p[at])) end++;
    return end;
}

static void pool_add(struct fuzzer *f, const uint8_t *p, size_t n)
{
    if (f->pool.n < POOL_MAX) vec_push(&f->pool, input_copy(p, n));
}

/* Words of the corpus become the dictionary. */
static void harvest_words(struct fuzzer *f, const struct input *in)
{
    for (size_t at = 0; at < in->n && f->words.n < WORDS_MAX;) {
        size_t end = token_end(in->p, in->n, at);
        if (byte_class(in->p[at]) != 1) vec_push(&f->words, input_copy(in->p + at, end - at));
        at = end;
    }
}

static size_t pick(struct fuzzer *f, size_t n)
{
    return n ? (size_t)rng_range(&f->rng, 0, (int64_t)n - 1) : 0;
}

/* Replaces work[at..at+old) by p[0..n), cutting at the limit. */
static void replace(struct fuzzer *f, size_t at, size_t old, const uint8_t *p, size_t n)
{
    if (at > f->n) at = f->n;
    if (old > f->n - at) old = f->n - at;
    if (f->n - old + n > FUZZ_INPUT_MAX) return;
    memmove(f->work + at + n, f->work + at + old, f->n - at - old);
    if (n) memmove(f->work + at, p, n);
    f->n = f->n - old + n;
}

static void mutate_bit(struct fuzzer *f)
{
    if (f->n) f->work[pick(f, f->n)] ^= (uint8_t)(1u << pick(f, 8));
}

static void mutate_byte(struct fuzzer *f)
{
    static const uint8_t ODD[] = {0,   1,   0x7F, 0x80, 0xFF, '\n', '"',
                                  '#', '-', '0',  '9',  '(',  ')',  0xC3};
    if (f->n)
        f->work[pick(f, f->n)] =
            rng_chance(&f->rng, 0.5) ? ODD[pick(f, sizeof ODD)] : (uint8_t)pick(f, 256);
}

/* A binary integer at the edges, for doors that read lengths and counts. */
static void mutate_binary_int(struct fuzzer *f)
{
    static const uint64_t EDGES[] = {0,          1,         127,       128,   255,
                                     256,        32767,     65535,     65536, INT32_MAX,
                                     UINT32_MAX, INT64_MAX, UINT64_MAX};
    uint64_t v = EDGES[pick(f, QN_COUNT(EDGES))] + (rng_chance(&f->rng, 0.3) ? pick(f, 16) : 0);
    size_t size = (size_t)1 << pick(f, 4);
    uint8_t bytes[8];
    bool big = rng_chance(&f->rng, 0.3);
    for (size_t i = 0; i < size; i++) bytes[big ? size - 1 - i : i] = (uint8_t)(v >> 8 * i);
    if (f->n >= size) memcpy(f->work + pick(f, f->n - size + 1), bytes, size);
}

/* A decimal integer at the edges in place of a token. */
static void mutate_decimal(struct fuzzer *f)
{
    static const char *const EDGES[] = {"0",
                                        "1",
                                        "-1",
                                        "2147483647",
                                        "4294967296",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "99999999999999999999",
                                        "1e999",
                                        "0x",
                                        "1.5",
                                        "65536"};
    const char *s = EDGES[pick(f, QN_COUNT(EDGES))];
    size_t at = pick(f, f->n);
    replace(f, at, f->n ? token_end(f->work, f->n, at) - at : 0, (const uint8_t *)s, strlen(s));
}

static void mutate_truncate(struct fuzzer *f) { f->n = pick(f, f->n + 1); }

static void mutate_delete(struct fuzzer *f) { replace(f, pick(f, f->n), 1 + pick(f, 16), NULL, 0); }

static void mutate_repeat(struct fuzzer *f)
{
    size_t at = pick(f, f->n), n = 1 + pick(f, 32),
           times = rng_chance(&f->rng, 0.05) ? 500 : 1 + pick(f, 4);
    uint8_t part[64];
    if (n > f->n - at) n = f->n - at;
    memcpy(part, f->work + at, n);
    for (size_t i = 0; n && i < times; i++) replace(f, at, 0, part, n);
}

static void mutate_word(struct fuzzer *f)
{
    if (!f->words.n) return;
    struct input *w = &f->words.p[pick(f, f->words.n)];
    size_t at = pick(f, f->n + 1), old = 0;
    if (at < f->n && rng_chance(&f->rng, 0.6)) old = token_end(f->work, f->n, at) - at;
    replace(f, at, old, w->p, w->n);
}

static void mutate_swap_tokens(struct fuzzer *f)
{
    if (f->n < 2) return;
    size_t a = pick(f, f->n), a_end = token_end(f->work, f->n, a);
    size_t b = pick(f, f->n), b_end = token_end(f->work, f->n, b);
    if (a_end > b) return;
    uint8_t first[64], second[64];
    memcpy(first, f->work + a, a_end - a);
    memcpy(second, f->work + b, b_end - b);
    replace(f, b, b_end - b, first, a_end - a);
    replace(f, a, a_end - a, second, b_end - b);
}

static void mutate_splice(struct fuzzer *f)
{
    struct input *other = &f->pool.p[pick(f, f->pool.n)];
    size_t from = pick(f, other->n + 1), n = pick(f, other->n - from + 1);
    replace(f, pick(f, f->n + 1), pick(f, 32), other->p + from, n);
}

static void (*const MUTATIONS[])(struct fuzzer *) = {
    mutate_bit,    mutate_byte, mutate_binary_int,  mutate_decimal, mutate_truncate, mutate_delete,
    mutate_repeat, mutate_word, mutate_swap_tokens, mutate_splice,  mutate_word,
};

static int run_input(struct fuzzer *f, const uint8_t *p, size_t n)
{
    f->shared->n = n;
    if (n) memcpy(f->shared->bytes, p, n);
    struct input exact = input_copy(p, n);
    int accepted = f->one(exact.p, exact.n);
    mem_free(exact.p);
    f->shared->execs++;
    return accepted;
}

static void fuzz_loop(struct fuzzer *f, int seconds, int64_t max_execs)
{
    int64_t end = clock_ns() + (int64_t)seconds * 1000000000;
    size_t seeds = f->pool.n;
    for (size_t i = 0; i < seeds; i++) run_input(f, f->pool.p[i].p, f->pool.p[i].n);
    while (clock_ns() < end && (max_execs == 0 || f->shared->execs < max_execs)) {
        struct input *base = &f->pool.p[pick(f, f->pool.n)];
        memcpy(f->work, base->p, base->n);
        f->n = base->n;
        for (size_t k = 1 + pick(f, rng_chance(&f->rng, 0.2) ? 12 : 3); k > 0; k--)
            MUTATIONS[pick(f, QN_COUNT(MUTATIONS))](f);
        if (run_input(f, f->work, f->n)) pool_add(f, f->work, f->n);
    }
}

static void keep_input(const char *door, const struct shared *sh, const char *how)
{
    char id[HASH_ID_LEN + 1], path[512];
    const char *dir = getenv("QUERN_FUZZ_OUT"), *tmp = getenv("TMPDIR");
    if (!dir || !dir[0]) dir = tmp && tmp[0] ? tmp : "/tmp";
    hash_id(id, sh->bytes, sh->n);
    snprintf(path, sizeof path, "%s/quern-fuzz-%s-%.12s", dir, door, id);
    struct err e = {0};
    if (fs_write(path, sh->bytes, sh->n, &e) != RC_OK) fprintf(stderr, "%s\n", e.msg);
    fprintf(stderr,
            "fuzz %s: %s after %lld inputs, on %zu bytes kept in %s\n  run it alone: "
            "QUERN_FUZZ_FILE=%s and this suite\n",
            door, how, (long long)sh->execs, sh->n, path, path);
}

/* Waits for the loop; false if it died or hung (and then it is dead). */
static bool watch(const char *door, pid_t child, const struct shared *sh)
{
    int64_t last = -1, since = clock_ns();
    for (;;) {
        int status = 0;
        pid_t got = waitpid(child, &status, WNOHANG);
        if (got == child) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == LOOP_DONE) return true;
            char how[64];
            if (WIFSIGNALED(status))
                snprintf(how, sizeof how, "signal %d", WTERMSIG(status));
            else
                snprintf(how, sizeof how, "exit %d", WEXITSTATUS(status));
            keep_input(door, sh, how);
            return false;
        }
        if (got < 0 && errno != EINTR) return false;
        if (sh->execs != last) {
            last = sh->execs;
            since = clock_ns();
        } else if (clock_ns() - since > (int64_t)FUZZ_HANG_SECONDS * 1000000000) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            keep_input(door, sh, "no end");
            return false;
        }
        usleep(20000);
    }
}

static int64_t fuzz_pool(struct fuzzer *f, const char *door, int seconds, int64_t max_execs)
{
    const char *only = getenv("QUERN_FUZZ_FILE");
    if (only && only[0]) {
        struct err e = {0};
        char *text;
        size_t n;
        if (fs_read(only, FUZZ_INPUT_MAX, &text, &n, &e) != RC_OK) {
            fprintf(stderr, "%s\n", e.msg);
            return -1;
        }
        int accepted = run_input(f, (uint8_t *)text, n);
        printf("fuzz %s: %s %s\n", door, only, accepted ? "accepted" : "rejected");
        mem_free(text);
        return 1;
    }
    if (f->pool.n == 0) pool_add(f, (const uint8_t *)"", 0);
    for (size_t i = 0; i < f->pool.n; i++) harvest_words(f, &f->pool.p[i]);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        fuzz_loop(f, seconds, max_execs);
        _exit(LOOP_DONE);
    }
    return child > 0 && watch(door, child, f->shared) ? f->shared->execs : -1;
}

static struct fuzzer *fuzzer_new(int (*one)(const uint8_t *, size_t))
{
    struct fuzzer *f = mem_new(sizeof *f);
    f->one = one;
    rng_seed(&f->rng, fuzz_seed());
    f->shared =
        mmap(NULL, sizeof *f->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    QN_CHECK(f->shared != MAP_FAILED, "shared memory for the fuzzer: %s", strerror(errno));
    return f;
}

static int64_t fuzzer_finish(struct fuzzer *f, const char *door, int seconds, int64_t max_execs)
{
    size_t seeds = f->pool.n;
    int64_t execs = fuzz_pool(f, door, seconds, max_execs);
    printf("fuzz %s: %lld inputs in %d s, corpus %zu, seed %llu\n", door, (long long)execs, seconds,
           seeds, (unsigned long long)fuzz_seed());
    fflush(stdout);
    for (size_t i = 0; i < f->pool.n; i++) mem_free(f->pool.p[i].p);
    for (size_t i = 0; i < f->words.n; i++) mem_free(f->words.p[i].p);
    vec_free(&f->pool);
    vec_free(&f->words);
    munmap(f->shared, sizeof *f->shared);
    mem_free(f);
    return execs;
}

int64_t fuzz_run_inputs(const char *door, int (*one)(const uint8_t *, size_t), int seconds,
                        const char *const *inputs, size_t input_count, int64_t max_execs)
{
    struct fuzzer *f = fuzzer_new(one);
    for (size_t i = 0; i < input_count; i++)
        pool_add(f, (const uint8_t *)inputs[i], strlen(inputs[i]));
    return fuzzer_finish(f, door, seconds, max_execs);
}

int64_t fuzz_run(const char *door, int (*one)(const uint8_t *, size_t), int seconds)
{
    struct fuzzer *f = fuzzer_new(one);
    char dir[512], path[1024];
    char **names;
    size_t n;
    struct err e = {0};
    snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", QN_SOURCE_DIR, door);
    if (fs_list(dir, "", &names, &n, &e) != RC_OK) fprintf(stderr, "fuzz %s: %s\n", door, e.msg);
    for (size_t i = 0; i < n; i++) {
        char *text;
        size_t len;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (fs_read(path, FUZZ_INPUT_MAX, &text, &len, &e) != RC_OK) {
            fprintf(stderr, "fuzz %s: %s\n", door, e.msg);
            continue;
        }
        pool_add(f, (uint8_t *)text, len);
        mem_free(text);
    }
    fs_list_free(names, n);
    return fuzzer_finish(f, door, seconds, 0);
}
