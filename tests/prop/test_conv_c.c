/* Random convolutions and matrix products as portable C99, compiled by gcc with
 * -fsanitize=address,undefined.
 *
 * 100 tasks (as many as fit 80 s in CI), a uniformly drawn schedule each, small integers as data,
 * compared with the interpreter on the naive nest. Inputs lie inside larger buffers full of NaN,
 * then in blocks of their own. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/proc.h"
#include "lib/e2e.h"
#include "lib/e2e_shapes.h"

enum { TASKS = 100, BATCH = 10, CI_S = 80 };

struct batch {
    char dir[64], token[BATCH][512], *trace[BATCH];
    uint64_t seed[BATCH];
    struct buf data, table;
    int n;
};

static void put_number(struct buf *b, uint64_t v) { buf_put(b, &v, sizeof v); }

static int64_t elements(const struct nest *n, const struct tensor *t)
{
    int64_t v = 0;
    const struct expr *e = expr_simplify(n->ir, NULL, tensor_elements(n->ir, t));
    ck_assert(expr_is_int(e, &v));
    return v;
}

/* Declared tensors with inputs and what the outputs must be, then the packed ones. */
static void put_data(struct batch *b, const struct nest *naive, const struct kernel *k,
                     struct rng *r)
{
    struct err e = {0};
    void *bufs[64] = {NULL};
    uint64_t n = 0;
    for (int i = 0; i < naive->ntensor; i++) {
        const struct tensor *t = naive->tensor[i];
        if (t->scope != SCOPE_IN && t->scope != SCOPE_CONST && t->scope != SCOPE_OUT) continue;
        ck_assert_int_eq(t->type.dtype, TYPE_F32);
        int64_t count = elements(naive, t);
        float *p = bufs[i] = mem_new((size_t)count * sizeof *p + 1);
        for (int64_t j = 0; j < count; j++) p[j] = (float)rng_range(r, -3, 3);
        n++;
    }
    for (int i = 0; i < k->nest->ntensor; i++) n += k->nest->tensor[i]->scope == SCOPE_PACKED;
    ck_assert_msg(nest_interp(naive, 0, bufs, NULL, 100000000, &e) == RC_OK, "%s", e.msg);
    put_number(&b->data, n);
    put_number(&b->data, (uint64_t)(k->scratch_a + k->scratch_b));
    for (int i = 0; i < naive->ntensor; i++) {
        const struct tensor *t = naive->tensor[i];
        if (!bufs[i]) continue;
        put_number(&b->data, t->scope == SCOPE_IN ? 0 : t->scope == SCOPE_CONST ? 1 : 2);
        put_number(&b->data, (uint64_t)elements(naive, t) * 4);
        buf_put(&b->data, bufs[i], (size_t)elements(naive, t) * 4);
        mem_free(bufs[i]);
    }
    for (int i = 0; i < k->nest->ntensor; i++) {
        const struct tensor *t = k->nest->tensor[i];
        if (t->scope != SCOPE_PACKED) continue;
        put_number(&b->data, 3);
        put_number(&b->data, (uint64_t)(elements(k->nest, t) *
                                        dtype_bytes((enum dtype)t->type.dtype) * t->type.lanes));
    }
}

static void put_text(const struct batch *b, const char *name, const struct buf *text)
{
    char path[128];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    ck_assert(!text->full);
    ck_assert_int_eq(fs_write(path, text->p, text->n, &e), RC_OK);
}

/* One candidate as C; false if its schedule is refused. */
static bool add_kernel(struct batch *b, struct e2e *x, const struct e2e_work *w, const char *trace)
{
    struct err e = {0};
    struct trace *t;
    struct ir *ir;
    struct nest *naive;
    struct kernel k = {0};
    struct buf c, h;
    struct rng r;
    char symbol[16], name[32];
    ck_assert_int_eq(trace_parse("(trace)", trace, strlen(trace), &t, &e), RC_OK);
    bool direct = strcmp(t->algorithm, "direct") == 0;
    bool ok =
        direct && compile_kernel(w->task, x->target, t, &ir, &naive, &k, NULL, NULL, &e) == RC_OK;
    trace_free(t);
    if (!ok) return false;
    buf_init(&c, 64 << 20);
    buf_init(&h, 1 << 20);
    snprintf(symbol, sizeof symbol, "k%d", b->n);
    struct c_options o = {.form = C_PORTABLE,
                          .prefix = "t_",
                          .symbol = symbol,
                          .banner = "/* a test */\n"};
    enum rc rc = codegen_c(&k, x->target, &o, &c, &h, &e);
    ck_assert_msg(rc == RC_OK, "%s\n%s%s: %s", w->token, trace, e.code, e.msg);
    snprintf(name, sizeof name, "t_k%d.c", b->n);
    put_text(b, name, &c);
    snprintf(name, sizeof name, "t_k%d.h", b->n);
    put_text(b, name, &h);
    buf_printf(&b->table, "ENTRY(%d, %s)\n", b->n, k.nest->pack->u.block.n ? "PACK" : "NO_PACK");
    rng_seed(&r, w->seed);
    put_data(b, naive, &k, &r);
    snprintf(b->token[b->n], sizeof b->token[0], "%s", w->token);
    b->trace[b->n] = mem_strdup(trace);
    b->seed[b->n++] = w->seed;
    buf_fini(&c);
    buf_fini(&h);
    ir_free(ir);
    return true;
}

static void put_table(struct batch *b)
{
    struct buf t;
    buf_init(&t, 1 << 20);
    buf_puts(&t, "typedef int32_t entry_fn(void *const *, const int64_t *, void *, const void *);\n"
                 "struct entry {\n    entry_fn *kernel, *pack;\n};\n");
    buf_printf(&t,
               "#define ENTRIES %d\n#define NO_PACK(i) NULL\n#define PACK(i) "
               "t_k##i##_pack\n#define ENTRY(i, pack) extern entry_fn t_k##i, t_k##i##_pack;\n",
               b->n);
    buf_puts(&t, b->table.p);
    buf_puts(&t, "#undef ENTRY\n#define ENTRY(i, pack) {t_k##i, pack(i)},\nstatic const struct "
                 "entry table[] = {\n");
    buf_puts(&t, b->table.p);
    buf_puts(&t, "};\n");
    put_text(b, "table.h", &t);
    put_text(b, "data", &b->data);
    buf_fini(&t);
}

static void run(const char *const *argv, const struct batch *b, const char *what)
{
    struct err e = {0};
    char *out = NULL;
    int code = 0;
    ck_assert_int_eq(proc_run(argv, b->dir, 400000, 1 << 16, &out, &code, &e), RC_OK);
    if (code != 0) {
        const char *last = NULL;
        for (const char *p = out; (p = strstr(p, "kernel ")); p++) last = p;
        int k = last ? (int)strtol(last + 7, NULL, 10) : 0;
        if (k >= b->n) k = 0;
        ck_abort_msg("%s (code %d), seed %" PRIu64 "\n%s\n%s%s", what, code, b->seed[k],
                     b->token[k], b->trace[k], out);
    }
    mem_free(out);
}

static void run_batch(struct batch *b)
{
    const char *cc[BATCH + 24] = {"gcc",
                                  "-std=c11",
                                  "-O1",
                                  "-w",
                                  "-fsanitize=address,undefined",
                                  "-fno-sanitize-recover=all",
                                  "-I.",
                                  "-o",
                                  "all",
                                  QN_SOURCE_DIR "/tests/lib/driver/asan_main.c"};
    const char *go[] = {"./all", "data", NULL}, *rm[] = {"rm", "-rf", b->dir, NULL};
    char path[BATCH][24];
    int n = 10;
    put_table(b);
    for (int i = 0; i < b->n; i++) {
        snprintf(path[i], sizeof path[i], "t_k%d.c", i);
        cc[n++] = path[i];
    }
    run(cc, b, "gcc refuses the text");
    run(go, b, "wrong, or a sanitizer's report");
    run(rm, b, "rm");
}

static void finish(struct batch *b)
{
    run_batch(b);
    for (int i = 0; i < b->n; i++) mem_free(b->trace[i]);
    buf_fini(&b->data);
    buf_fini(&b->table);
}

static void start(struct batch *b)
{
    memset(b, 0, sizeof *b);
    snprintf(b->dir, sizeof b->dir, "/tmp/qn-convc-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(b->dir));
    buf_init(&b->data, 256 << 20);
    buf_init(&b->table, 1 << 16);
}

START_TEST(portable_c_is_clean)
{
    static struct batch b;
    const char *seeds = getenv("QUERN_PROP_SEED"), *many = getenv("QUERN_PROP_CASES");
    uint64_t seed = seeds ? strtoull(seeds, NULL, 10) : 1;
    int tasks = many ? (int)strtol(many, NULL, 10) : TASKS, ran = 0;
    int64_t until = getenv("QUERN_LONG") ? INT64_MAX : clock_ns() + CI_S * INT64_C(1000000000);
    struct e2e *x = e2e_open();
    while (ran < tasks && clock_ns() < until) {
        start(&b);
        while (b.n < BATCH && b.n < tasks - ran) {
            struct e2e_shape shape = {.n = 0};
            struct rng r;
            int threads;
            rng_seed(&r, seed);
            if (seed % 5 == 0)
                e2e_matmul_small(&r, &shape, &threads);
            else
                e2e_conv_small(&r, &shape, &threads);
            struct e2e_work *w = e2e_work_new(x, &shape, 1, seed++);
            for (int i = 0; i < w->n; i++)
                if (add_kernel(&b, x, w, w->c[i].trace)) break;
            e2e_work_free(w);
        }
        ran += b.n;
        finish(&b);
    }
    printf("portable C under sanitizers: %d of %d tasks\n", ran, tasks);
    ck_assert_int_ge(ran, tasks < 20 ? tasks : 20);
    e2e_close(x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("prop.conv_c");
    TCase *t = tcase_create("asan");
    tcase_set_timeout(t, getenv("QUERN_LONG") ? 3000 : 300);
    tcase_add_test(t, portable_c_is_clean);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
