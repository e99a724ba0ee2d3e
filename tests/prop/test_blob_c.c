/* Random operators x random legal traces as emitted C: the same bits as the naive nest interpreted.
 *
 * 1,000 cases (QUERN_PROP_C), 50 to a shared object: gcc and clang in turn, vector and portable
 * form in turn; under QUERN_LONG=1 each case by both compilers. */
#include <check.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/proc.h"
#include "lib/blob.h"

enum { C_CASES = 1000, C_BATCH = 50, C_TEXT = 300000 };

static struct target *target;
static struct gen_stats stats;

static int64_t env_int(const char *name, int64_t fallback)
{
    const char *s = getenv(name);
    return s && *s ? strtoll(s, NULL, 10) : fallback;
}

static const struct {
    const char *cc, *std;
    enum c_form form;
} ways[] = {
    {"gcc", "-std=c11", C_VECTOR},
    {"clang-19", "-std=c11", C_VECTOR},
    {"gcc", "-std=c99", C_PORTABLE},
    {"clang-19", "-std=c99", C_PORTABLE},
};

static int64_t too_long;

struct batch {
    struct blob_case c[C_BATCH];
    uint64_t seed[C_BATCH];
    int n;
    char dir[64];
};

static void write_kernel(struct batch *b, int way, uint64_t seed)
{
    struct blob_case *c = &b->c[b->n];
    struct err e = {0};
    struct buf text, head;
    char symbol[16], path[128];
    enum blob_state s = blob_make(c, seed, NULL, &stats, target, &e);
    buf_init(&text, 1 << 24);
    buf_init(&head, 1 << 20);
    snprintf(symbol, sizeof symbol, "k%d", b->n);
    struct c_options o = {.form = ways[way].form,
                          .prefix = "t_",
                          .symbol = symbol,
                          .banner = "/* a test */\n"};
    if (s == BLOB_READY && codegen_c(&c->k, target, &o, &text, &head, &e) != RC_OK) s = BLOB_BROKEN;
    if (s == BLOB_BROKEN) {
        blob_show(c);
        ck_abort_msg("seed %" PRIu64 ": %s: %s", seed, e.code, e.msg);
    }
    if (s == BLOB_READY && text.n > C_TEXT) { /* unrolled by the thousand: minutes of clang */
        too_long++;
        s = BLOB_REFUSED;
    }
    if (s == BLOB_READY) {
        snprintf(path, sizeof path, "%s/t_k%d.c", b->dir, b->n);
        ck_assert_int_eq(fs_write(path, text.p, text.n, &e), RC_OK);
        snprintf(path, sizeof path, "%s/t_k%d.h", b->dir, b->n);
        ck_assert_int_eq(fs_write(path, head.p, head.n, &e), RC_OK);
        b->seed[b->n++] = seed;
    } else {
        blob_free(c);
    }
    buf_fini(&text);
    buf_fini(&head);
}

static void compile_batch(const struct batch *b, int way)
{
    const char *argv[C_BATCH + 32] = {ways[way].cc, ways[way].std, "-pedantic", "-Wall", "-Wextra",
                                      "-Wconversion", "-Wshadow",
                                      /* gcc cannot see that two guards are the same */
                                      strcmp(ways[way].cc, "gcc") == 0 ? "-Wno-maybe-uninitialized"
                                                                       : "-Wuninitialized",
                                      "-Werror", "-O1", "-fPIC", "-shared", "-nostdlib",
                                      "-Wl,-z,defs", "-o", "all.so"};
    char path[C_BATCH][24], *out = NULL;
    int n = 16, code = 0;
    struct err e = {0};
    for (int i = 0; i < b->n; i++) {
        snprintf(path[i], sizeof path[i], "t_k%d.c", i);
        argv[n++] = path[i];
    }
    ck_assert_int_eq(proc_run(argv, b->dir, 300000, 1 << 16, &out, &code, &e), RC_OK);
    ck_assert_msg(code == 0, "%s %s refuses seeds %" PRIu64 "..: %s\n%.3000s", ways[way].cc,
                  ways[way].std, b->seed[0], b->dir, out);
    mem_free(out);
}

static void remove_batch(struct batch *b)
{
    const char *argv[] = {"rm", "-rf", b->dir, NULL};
    char *out = NULL;
    int code;
    struct err e = {0};
    if (proc_run(argv, NULL, 10000, 4096, &out, &code, &e) == RC_OK) mem_free(out);
    for (int i = 0; i < b->n; i++) blob_free(&b->c[i]);
}

static int run_batch(struct batch *b, int way)
{
    char path[128], name[32], why[256];
    int bad = 0;
    snprintf(path, sizeof path, "%s/all.so", b->dir);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    for (int i = 0; i < b->n; i++) {
        blob_entry *kernel, *pack;
        snprintf(name, sizeof name, "t_k%d", i);
        *(void **)&kernel = dlsym(lib, name);
        snprintf(name, sizeof name, "t_k%d_pack", i);
        *(void **)&pack = dlsym(lib, name);
        ck_assert_ptr_nonnull(kernel);
        if (blob_run(&b->c[i], kernel, pack, (int)(b->seed[i] % 4), why)) continue;
        printf("FAILED seed %" PRIu64 ", %s %s: %s\n", b->seed[i], ways[way].cc,
               ways[way].form == C_VECTOR ? "vector" : "portable", why);
        if (bad++ == 0) blob_show(&b->c[i]);
    }
    dlclose(lib);
    return bad;
}

START_TEST(c_equals_interpreter)
{
    int64_t cases = env_int("QUERN_PROP_C", C_CASES);
    uint64_t seed = (uint64_t)env_int("QUERN_PROP_SEED", 1) + UINT64_C(1000000);
    int64_t ran = 0, each[QN_COUNT(ways)] = {0};
    int bad = 0;
    struct err e = {0};
    ck_assert_msg(target_load("host", &target, &e) == RC_OK, "%s", e.msg);
    bool both = getenv("QUERN_LONG") !=
                NULL; /* every case by both compilers in different forms, or by one */
    for (int batch = 0; ran < cases && bad < 3; batch++) {
        int64_t n = 0;
        for (size_t w = 0; w < QN_COUNT(ways); w++) {
            static struct batch b;
            if ((int)w != batch % 4 && !(both && (int)w == 3 - batch % 4)) continue;
            b.n = 0;
            snprintf(b.dir, sizeof b.dir, "/tmp/qn-blob-XXXXXX");
            ck_assert_ptr_nonnull(mkdtemp(b.dir));
            for (uint64_t s = seed; b.n < C_BATCH && b.n < cases - ran; s++)
                write_kernel(&b, (int)w, s);
            compile_batch(&b, (int)w);
            bad += run_batch(&b, (int)w);
            each[w] += b.n;
            n = b.n;
            remove_batch(&b);
        }
        seed += 1000;
        ran += n;
    }
    printf("C: %" PRId64 " cases; gcc vector %" PRId64 ", clang vector %" PRId64
           ", gcc portable %" PRId64 ", clang portable %" PRId64 "; too long %" PRId64 "\n",
           ran, each[0], each[1], each[2], each[3], too_long);
    ck_assert_int_eq(bad, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop.blob_c");
    TCase *t = tcase_create("c");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 3600 : 900);
    tcase_add_test(t, c_equals_interpreter);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
