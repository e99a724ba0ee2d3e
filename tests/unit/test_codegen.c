/* The LLVM back end against the interpreter, bit for bit, on hand-written kernels. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "lib/codegen_run.h"

static bool host_is_v4(void) { return __builtin_cpu_supports("x86-64-v4"); }

static void run_text(const char *text, enum cgrun_fill how)
{
    struct cgrun r;
    cgrun_open(&r, text);
    enum rc rc = cgrun_compile(&r, NULL);
    ck_assert_msg(rc == RC_OK, "%s: %s\n%s", r.e.code, r.e.msg, text);
    cgrun_fill(&r, how, 7);
    int64_t bad = cgrun_check(&r, NULL);
    ck_assert_msg(bad == 0, "%lld elements differ\n%s", (long long)bad, text);
    cgrun_close(&r);
}

/* ---- the register tile ------------------------------------------------------------------------ */

/* y[M,N] = a[M,K] * b[K,N] in tiles of mr rows and nv vectors of 16. */
static void matmul_text(struct buf *b, int M, int N, int K, int mr, int nv)
{
    int vl = 16;
    buf_init(b, 1 << 20);
    buf_printf(b, "nest matmul\nin     a: f32[%d]\nconst  b: f32[%d]\nout    y: f32[%d]\n", M * K, K * N, M * N);
    buf_printf(b, "for m in 0..%d\n  for n in 0..%d\n    alloc reg acc: f32x%d[%d]\n", M / mr, N / (nv * vl), vl, mr * nv);
    for (int i = 0; i < mr * nv; i++) buf_printf(b, "      acc[%d] = splat(0.0, %d)\n", i, vl);
    buf_printf(b, "      for k in 0..%d\n", K);
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++)
            buf_printf(b,
                       "        acc[%d] = fma(splat(a[(m * %d + %d) * %d + k], %d), b[ramp(k * %d + (n * %d + %d), 1, %d)], "
                       "acc[%d])\n",
                       i * nv + j, mr, i, K, vl, N, nv * vl, j * vl, vl, i * nv + j);
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++)
            buf_printf(b, "      y[ramp((m * %d + %d) * %d + (n * %d + %d), 1, %d)] = acc[%d]\n", mr, i, N, nv * vl, j * vl, vl,
                       i * nv + j);
}

START_TEST(tile_14x2_has_no_spill)
{
    struct buf b, s;
    struct cgrun r;
    if (!host_is_v4()) return;
    matmul_text(&b, 28, 64, 40, 14, 2);
    buf_init(&s, 1 << 20);
    for (int hoist = 0; hoist < 2; hoist++) {
        for (int misched = 0; misched < 2; misched++) {
            struct codegen_options o = {.misched = misched, .addr_hoist = hoist, .s = &s};
            buf_reset(&s);
            cgrun_open(&r, b.p);
            ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
            int fma = 0;
            for (const char *p = s.p; (p = strstr(p, "vfmadd")); p++) fma++;
            if (!misched) ck_assert_msg(r.art.vector_stack_refs == 0, "%d spills\n%s", r.art.vector_stack_refs, s.p);
            ck_assert_int_eq(fma, 28);
            ck_assert_int_eq(r.art.pack_at, -1);
            ck_assert_int_eq(r.art.stack_bytes < 512, 1);
            cgrun_fill(&r, CGRUN_SMALL, 3);
            ck_assert_int_eq(cgrun_check(&r, NULL), 0);
            cgrun_close(&r);
        }
    }
    buf_fini(&b);
    buf_fini(&s);
}
END_TEST

START_TEST(same_kernel_same_bytes)
{
    struct buf b;
    struct cgrun r, q;
    matmul_text(&b, 8, 32, 8, 4, 2);
    cgrun_open(&r, b.p);
    cgrun_open(&q, b.p);
    struct codegen_options on = {.misched = true}, off = {0};
    ck_assert_int_eq(cgrun_compile(&r, &off), RC_OK);
    ck_assert_int_eq(cgrun_compile(&q, &on), RC_OK);
    artefact_fini(&q.art);
    ck_assert_int_eq(cgrun_compile(&q, &off), RC_OK);
    ck_assert_str_eq(r.art.hash, q.art.hash);
    ck_assert_uint_eq(r.art.blob_n, q.art.blob_n);
    ck_assert_int_eq(memcmp(r.art.blob, q.art.blob, r.art.blob_n), 0);
    cgrun_close(&r);
    cgrun_close(&q);
    buf_fini(&b);
}
END_TEST

/* The hidden option is ignored when misspelt: its effect must be seen. */
START_TEST(misched_switch_has_an_effect)
{
    struct buf b, s[2];
    struct cgrun r;
    if (!host_is_v4()) return;
    matmul_text(&b, 28, 64, 40, 14, 2);
    for (int i = 0; i < 2; i++) {
        struct codegen_options o = {.misched = i, .s = &s[i]};
        buf_init(&s[i], 1 << 20);
        cgrun_open(&r, b.p);
        ck_assert_int_eq(cgrun_compile(&r, &o), RC_OK);
        cgrun_close(&r);
    }
    ck_assert_str_ne(s[0].p, s[1].p);
    for (int i = 0; i < 2; i++) buf_fini(&s[i]);
    buf_fini(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("codegen");
    TCase *tile = tcase_create("tile");
    tcase_set_timeout(tile, 60);
    tcase_add_test(tile, tile_14x2_has_no_spill);
    tcase_add_test(tile, same_kernel_same_bytes);
    tcase_add_test(tile, misched_switch_has_an_effect);
    suite_add_tcase(s, tile);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    (void)run_text;
    return failed ? 1 : 0;
}
