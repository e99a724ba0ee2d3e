/* The LLVM back end against the interpreter, bit for bit, on hand-written kernels. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/map.h"
#include "lib/codegen_cases.h"
#include "lib/codegen_run.h"

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

/* ---- the register tile ----------------------------------------------------------------------- */

/* y[M,N] = a[M,K] * b[K,N] in tiles of mr rows and nv vectors of 16. */
static void matmul_text(struct buf *b, int M, int N, int K, int mr, int nv)
{
    int vl = 16;
    buf_init(b, 1 << 20);
    buf_printf(b, "nest matmul\nin     a: f32[%d]\nconst  b: f32[%d]\nout    y: f32[%d]\n", M * K,
               K * N, M * N);
    buf_printf(b, "for m in 0..%d\n  for n in 0..%d\n    alloc reg acc: f32x%d[%d]\n", M / mr,
               N / (nv * vl), vl, mr * nv);
    for (int i = 0; i < mr * nv; i++) buf_printf(b, "      acc[%d] = splat(0.0, %d)\n", i, vl);
    buf_printf(b, "      for k in 0..%d\n", K);
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++)
            buf_printf(b,
                       "        acc[%d] = fma(splat(a[(m * %d + %d) * %d + k], %d), b[ramp(k * %d "
                       "+ (n * %d + %d), 1, %d)], "
                       "acc[%d])\n",
                       i * nv + j, mr, i, K, vl, N, nv * vl, j * vl, vl, i * nv + j);
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++)
            buf_printf(b, "      y[ramp((m * %d + %d) * %d + (n * %d + %d), 1, %d)] = acc[%d]\n",
                       mr, i, N, nv * vl, j * vl, vl, i * nv + j);
}

START_TEST(tile_14x2_has_no_spill)
{
    struct buf b, s;
    struct cgrun r;
    if (!cgrun_host_is_v4()) return;
    matmul_text(&b, 28, 64, 40, 14, 2);
    buf_init(&s, 1 << 20);
    for (int hoist = 0; hoist < 2; hoist++) {
        for (int misched = 0; misched < 3; misched++) { /* off, on, ordered by ourselves */
            struct codegen_options o = {.misched = misched == 1,
                                        .list = misched == 2,
                                        .addr_hoist = hoist,
                                        .s = &s};
            buf_reset(&s);
            cgrun_open(&r, b.p);
            ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
            int fma = 0;
            for (const char *p = s.p; (p = strstr(p, "vfmadd")); p++) fma++;
            if (misched != 1)
                ck_assert_msg(r.art.vector_stack_refs == 0, "%d spills\n%.1000s",
                              r.art.vector_stack_refs, s.p);
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

/* A clamp to [-a, a] is one operation where there is one; any other clamp is two everywhere. */
START_TEST(clamp_of_a_magnitude)
{
    static const struct {
        const char *value;
        int lanes, ranges;
    } rows[] = {
        {"min(max(x[ramp(0, 1, L)], splat(#-3.0#, L)), splat(#3.0#, L))", 16, 1},
        {"max(splat(#-3.0#, L), min(splat(#3.0#, L), x[ramp(0, 1, L)]))", 8, 1},
        {"max(min(x[ramp(0, 1, L)], splat(#2.5#, L)), splat(#-2.5#, L))", 4, 1},
        {"min(max(x[ramp(0, 1, L)], splat(#-2.0#, L)), splat(#3.0#, L))", 16, 0},
        {"min(max(x[ramp(0, 1, L)], splat(#3.0#, L)), splat(#-3.0#, L))", 16, 0},
        {"max(min(x[ramp(0, 1, L)], splat(#0.0#, L)), splat(#-0.0#, L))", 16, 0},
        {"min(min(x[ramp(0, 1, L)], splat(#-3.0#, L)), splat(#3.0#, L))", 16, 0},
        {"min(max(x[0], #-3.0#), #3.0#)", 1, 0},
    };
    for (size_t i = 0; i < 2 * QN_COUNT(rows); i++) {
        struct buf b, s;
        struct cgrun r;
        bool open = false, wide = i >= QN_COUNT(rows);
        int lanes = rows[i % QN_COUNT(rows)].lanes, found = 0;
        if (wide && lanes > 1) lanes /= 2;
        buf_init(&b, 1 << 16);
        buf_init(&s, 1 << 20);
        const char *type = wide ? "f64" : "f32";
        buf_printf(&b, "nest t\nin     x: %s[%d]\nout    y: %s[%d]\n", type, lanes, type, lanes);
        buf_printf(&b, lanes > 1 ? "y[ramp(0, 1, %d)] = " : "y[0] = ", lanes);
        for (const char *p = rows[i % QN_COUNT(rows)].value; *p; p++) {
            if (*p == 'L')
                buf_printf(&b, "%d", lanes);
            else if (*p == '#' && wide) /* a number of the type at hand */
                buf_puts(&b, (open = !open) ? "f64(" : ")");
            else if (*p != '#')
                buf_putc(&b, *p);
        }
        buf_puts(&b, "\n");
        struct codegen_options o = {.s = &s};
        cgrun_open(&r, b.p);
        ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
        cgrun_fill(&r, CGRUN_SMALL, 3);
        ck_assert_msg(cgrun_check(&r, NULL) == 0, "%s", b.p);
        for (const char *p = s.p; (p = strstr(p, "vrangep")) != NULL; p++) found++;
        if (cgrun_host_is_v4())
            ck_assert_msg(found == rows[i % QN_COUNT(rows)].ranges, "%s%s", b.p, s.p);
        cgrun_close(&r);
        buf_fini(&b);
        buf_fini(&s);
    }
}
END_TEST

/* Where the bits of floats have the order of the floats, and only there; zeros of both signs as floats do. */
START_TEST(min_max_of_bits)
{
    static const struct {
        const char *value;
        int ints, floats; /* vpmaxsd and vpminsd; vmaxps and vminps */
    } rows[] = {
        {"max(a, splat(0.0, 16))", 1, 0},
        {"max(splat(0.0, 16), a)", 0, 1}, /* -0 of both zeros, if that is second */
        {"max(splat(0.5, 16), a)", 1, 0},
        {"max(a, splat(-0.0, 16))", 0, 1},
        {"max(a, splat(-1.0, 16))", 0, 1},
        {"max(a, b)", 0, 1},
        {"min(a, splat(0.0, 16))", 0, 1},
        {"min(a, splat(2.0, 16))", 1, 0},
        {"min(a, splat(-2.0, 16))", 0, 1},
        {"min(a, b)", 0, 1},
        {"min(max(a, splat(0.0, 16)), b)", 2, 0},
        {"min(b, max(a, splat(0.0, 16)))", 1, 1},
        {"max(min(a, splat(6.0, 16)), splat(0.0, 16))", 2, 0},
        {"min(max(splat(0.0, 16), a), b)", 0, 2},
    };
    static const float some[] = {-0.0F, 0.0F, -1, 1, -INFINITY, INFINITY, -0x1p-140F, 0x1p-140F,
                                 -3,    3,    -7, 7, -2,        2,        -0.5F,      0.5F};
    for (size_t i = 0; i < 2 * QN_COUNT(rows) && cgrun_host_is_v4(); i++) {
        bool has = i < QN_COUNT(rows);
        struct buf b, s;
        struct cgrun r;
        buf_init(&b, 1 << 16);
        buf_init(&s, 1 << 20);
        buf_printf(&b,
                   "nest t\nin     x: f32[16]\nin     z: f32[256]\nout    y: f32[256]\nfor i in "
                   "0..16\n  let a = x[ramp(0, 1, 16)]\n    let b = z[ramp(i * 16, 1, 16)]\n"
                   "      y[ramp(i * 16, 1, 16)] = %s\n",
                   rows[i % QN_COUNT(rows)].value);
        struct codegen_options o = {.s = &s};
        cgrun_open(&r, b.p);
        r.t.int_minmax = has;
        ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
        cgrun_fill(&r, CGRUN_SMALL, 3);
        for (int k = 0; k < 256; k++) {
            ((float *)r.buf[0])[k % 16] = some[k % 16];
            ((float *)r.buf[1])[k] = some[(k + k / 16) % 16];
        }
        for (int k = 0; k < 2; k++) memcpy(r.want[k], r.buf[k], r.bytes[k]);
        ck_assert_msg(cgrun_check(&r, NULL) == 0, "%s", b.p);
        int ints = cgrun_count(s.p, "vpmaxsd") + cgrun_count(s.p, "vpminsd"),
            floats = cgrun_count(s.p, "vmaxps") + cgrun_count(s.p, "vminps"),
            all = rows[i % QN_COUNT(rows)].ints + rows[i % QN_COUNT(rows)].floats;
        ck_assert_msg(ints == (has ? rows[i].ints : 0), "%s%s", b.p, s.p);
        ck_assert_msg(floats == (has ? rows[i].floats : all), "%s%s", b.p, s.p);
        cgrun_close(&r);
        buf_fini(&b);
        buf_fini(&s);
    }
}
END_TEST

/* A whole register of 8 or 16 bit results is packed: NaN, infinities, halves and what is out of range too; in
 * one way where there are permutes of bytes, in another where there are none. */
START_TEST(packed_casts)
{
    static const struct {
        const char *type;
        double least, most;
    } to[] = {{"s8", -128, 127}, {"u8", 0, 255}, {"s16", -32768, 32767}, {"u16", 0, 65535}};
    bool has_bytes = __builtin_cpu_supports("avx512vbmi");
    for (int way = 0; way < 4 * (int)QN_COUNT(to) * 4; way++) {
        int lanes = 8 << way % 4, bytes = way / 8 & 1, fits = way / 4 & 1;
        size_t i = (size_t)way / 16;
        if (bytes && !has_bytes) continue;
        struct buf b;
        struct cgrun r;
        char features[4096];
        buf_init(&b, 1 << 16);
        buf_printf(&b,
                   "nest t\nin     x: f32[960]\nout    y: %s[960]\nfor i in 0..%d\n  let a = "
                   "x[ramp(i * %d, 1, %d)] * splat(0.25, %d)\n",
                   to[i].type, 960 / lanes, lanes, lanes, lanes);
        buf_printf(&b,
                   "    let c = select(splat(%.1f, %d) < a, splat(%.1f, %d), a)\n      y[ramp(i * "
                   "%d, 1, %d)] = ",
                   to[i].most, lanes, to[i].most, lanes, lanes, lanes);
        if (fits)
            buf_printf(&b, "cast_fits_even(%s, select(c < splat(%.1f, %d), splat(%.1f, %d), c))\n",
                       to[i].type, to[i].least, lanes, to[i].least, lanes);
        else
            buf_printf(&b, "cast_sat_even(%s, a)\n", to[i].type);
        cgrun_open(&r, b.p);
        snprintf(features, sizeof features, "%s%s", r.t.features, bytes ? ",+avx512vbmi" : "");
        r.t.features = features;
        ck_assert_msg(cgrun_compile(&r, NULL) == RC_OK, "%s: %s", r.e.msg, b.p);
        for (int fill = 0; fill < 20; fill++) {
            cgrun_fill(&r, fill % 2 ? CGRUN_WILD : CGRUN_SMALL, (uint64_t)fill);
            ck_assert_msg(cgrun_check(&r, NULL) == 0, "%s", b.p);
        }
        cgrun_close(&r);
        buf_fini(&b);
    }
}
END_TEST

/* Four vectors, each raised to a high power by a chain of products: one after the other, or side by
 * side. Where the last product of the first chain stands among all of them. */
static int first_chain_ends(const struct codegen_options *choice)
{
    struct buf b, s;
    struct cgrun r;
    buf_init(&b, 1 << 16);
    buf_init(&s, 1 << 20);
    buf_puts(&b, "nest t\nin     x: f32[64]\nout    y: f32[64]\n");
    for (int i = 0; i < 4; i++) {
        buf_printf(&b, "y[ramp(%d, 1, 16)] = ", i * 16);
        for (int k = 0; k < 7; k++) buf_printf(&b, "(x[ramp(%d, 1, 16)] * ", i * 16);
        buf_printf(&b, "x[ramp(%d, 1, 16)]%s\n", i * 16, ")))))))");
    }
    struct codegen_options o = *choice;
    o.ll = &s;
    cgrun_open(&r, b.p);
    ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
    cgrun_fill(&r, CGRUN_SMALL, 3);
    ck_assert_int_eq(cgrun_check(&r, NULL), 0);
    cgrun_close(&r);
    int products = 0, ends = 0, chain = 0;
    char last[32] = "";
    for (const char *p = s.p; (p = strstr(p, " = fmul ")); p++) {
        const char *name = p;
        while (name[-1] != ' ') name--;
        char first[32] = "";
        sscanf(strstr(p, "> ") + 2, "%31[^,]", first);
        products++;
        char operands[128];
        snprintf(operands, sizeof operands, "%.120s", p);
        operands[strcspn(operands, "\n")] = 0;
        if (chain == 0 || strstr(operands, last)) {
            chain++;
            snprintf(last, sizeof last, "%.*s", (int)(p - name), name);
            if (chain == 7) ends = products;
        }
    }
    ck_assert_int_eq(products, 28);
    ck_assert_int_eq(chain >= 7, 1);
    buf_fini(&b);
    buf_fini(&s);
    return ends;
}

START_TEST(list_order_goes_side_by_side)
{
    ck_assert_int_eq(first_chain_ends(&(struct codegen_options){0}), 7);
    ck_assert_int_ge(first_chain_ends(&(struct codegen_options){.list = true}), 25);
}
END_TEST

/* Each number is another order, the same one every time; a second number moves on from the first. */
START_TEST(nudges_are_other_orders)
{
    struct map *seen = map_new();
    int orders = 0;
    for (int way = 0; way < 40; way++) {
        struct buf b, ll[2];
        struct cgrun r;
        char hash[33];
        buf_init(&b, 1 << 16);
        matmul_text(&b, 8, 64, 12, 4, 4);
        for (int again = 0; again < 2; again++) {
            buf_init(&ll[again], 1 << 20);
            struct codegen_options o = {.list = true, .ll = &ll[again]};
            for (; o.nudges < way % 4; o.nudges++) o.nudge[o.nudges] = 1 + way / 4 * 777 + o.nudges;
            cgrun_open(&r, b.p);
            ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s", r.e.msg);
            cgrun_fill(&r, CGRUN_SMALL, 3);
            ck_assert_int_eq(cgrun_check(&r, NULL), 0);
            cgrun_close(&r);
        }
        ck_assert_str_eq(ll[0].p, ll[1].p);
        hash_id(hash, ll[0].p, ll[0].n);
        orders += !map_get(seen, hash);
        map_put(seen, hash, &orders);
        buf_fini(&ll[0]);
        buf_fini(&ll[1]);
        buf_fini(&b);
    }
    ck_assert_int_ge(orders, 25); /* of 31 that may differ */
    map_free(seen);
}
END_TEST

/* A hidden option is ignored when misspelt: its effect must be seen. */
START_TEST(switches_have_an_effect)
{
    struct buf b, s[3];
    struct cgrun r;
    if (!cgrun_host_is_v4()) return;
    matmul_text(&b, 28, 64, 40, 14, 2);
    for (int i = 0; i < 3; i++) {
        struct codegen_options o = {.misched = i == 1, .no_lsr = i == 2, .s = &s[i]};
        buf_init(&s[i], 1 << 20);
        cgrun_open(&r, b.p);
        ck_assert_int_eq(cgrun_compile(&r, &o), RC_OK);
        cgrun_close(&r);
    }
    ck_assert_str_ne(s[0].p, s[1].p);
    ck_assert_str_ne(s[0].p, s[2].p);
    for (int i = 0; i < 3; i++) buf_fini(&s[i]);
    buf_fini(&b);
}
END_TEST

static const int some_lanes[] = {1, 4, 16, 3};

START_TEST(ops_equal_interpreter)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t l = 0; l < QN_COUNT(some_lanes); l++) {
        case_ops((enum dtype)_i, some_lanes[l], true, &b);
        run_text(b.p, CGRUN_WILD);
    }
    buf_fini(&b);
}
END_TEST

START_TEST(casts_equal_interpreter)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t l = 0; l < QN_COUNT(some_lanes); l++) {
        for (int part = 0; part < CASE_PARTS; part++) {
            case_casts((enum dtype)_i, some_lanes[l], part, &b);
            run_text(b.p, CGRUN_WILD);
        }
    }
    buf_fini(&b);
}
END_TEST

/* Halves and roundings without the target's own instructions. */
START_TEST(baseline_target_needs_no_library)
{
    static const char text[] =
        "nest t\nin     a: f32[64]\nin     h: f16[64]\nout    y: f32[64]\nout    z: f16[64]\n"
        "out    q: s8[64]\nout    w: f16[64]\nin     d: f64[64]\nout    e: f64[64]\n"
        "for i in 0..16\n"
        "  y[ramp(i * 4, 1, 4)] = floor(a[ramp(i * 4, 1, 4)]) + ceil(a[ramp(i * 4, 1, 4)])\n"
        "  z[ramp(i * 4, 1, 4)] = h[ramp(i * 4, 1, 4)] * cast(f16, a[ramp(i * 4, 1, 4)])\n"
        "  q[ramp(i * 4, 1, 4)] = cast_sat_even(s8, a[ramp(i * 4, 1, 4)])\n"
        "  w[ramp(i * 4, 1, 4)] = cast(f16, d[ramp(i * 4, 1, 4)])\n"
        "  e[ramp(i * 4, 1, 4)] = trunc(d[ramp(i * 4, 1, 4)]) + round(d[ramp(i * 4, 1, 4)])\n";
    struct cgrun r;
    cgrun_open(&r, text);
    r.t.cpu = "x86-64";
    r.t.features = "+sse2";
    r.t.masks = r.t.fma = 0;
    ck_assert_msg(cgrun_compile(&r, NULL) == RC_OK, "%s", r.e.msg);
    cgrun_fill(&r, CGRUN_WILD, 5);
    ck_assert_int_eq(cgrun_check(&r, NULL), 0);
    cgrun_close(&r);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(access_forms) { run_text(case_access[_i], CGRUN_SMALL); }
END_TEST

START_TEST(pack_entry_then_kernel)
{
    static const char text[] =
        "nest t\nin     x: f32[8]\nconst  w: f32[32]\nout    y: f32[4]\npacked wp: f32[32]\n"
        "for k in 0..4\n  alloc reg r: f32x8[1]\n    r[0] = x[ramp(0, 1, 8)] * wp[ramp(k * 8, 1, "
        "8)]\n"
        "    y[k] = hsum(r[0])\n"
        "pack\n  for k2 in 0..4\n    for c in 0..8\n      wp[k2 * 8 + c] = w[c * 4 + k2]\n";
    struct cgrun r;
    cgrun_open(&r, text);
    ck_assert_msg(cgrun_compile(&r, NULL) == RC_OK, "%s", r.e.msg);
    ck_assert_int_ge(r.art.pack_at, 0);
    cgrun_fill(&r, CGRUN_SMALL, 5);
    void *w = r.buf[1];
    cgrun_map(&r);
    ck_assert_int_eq(cgrun_entry(&r, r.art.pack_at)(r.buf, r.dyn, NULL, NULL), 0);
    r.buf[1] = NULL; /* the kernel must not read what was packed away */
    ck_assert_int_eq(cgrun_entry(&r, r.art.kernel_at)(r.buf, r.dyn, NULL, NULL), 0);
    r.buf[1] = w;
    cgrun_interp(&r);
    ck_assert_int_eq(cgrun_compare(&r), 0);
    cgrun_close(&r);
}
END_TEST

START_TEST(dynamic_extents)
{
    static const char text[] =
        "nest t\ndyn    n\nin     x: f32[n * 3]\nout    y: f32[n]\nfor i in 0..n\n"
        "  y[i] = x[i * 3] + x[i * 3 + 2]\n";
    for (int64_t n = 0; n < 4; n++) {
        struct cgrun r;
        cgrun_open(&r, text);
        ck_assert_msg(cgrun_compile(&r, NULL) == RC_OK, "%s", r.e.msg);
        r.dyn[0] = n;
        cgrun_fill(&r, CGRUN_SMALL, 5);
        ck_assert_int_eq(cgrun_check(&r, NULL), 0);
        int64_t negative = -1;
        ck_assert_int_ne(cgrun_entry(&r, r.art.kernel_at)(r.buf, &negative, NULL, NULL), 0);
        cgrun_close(&r);
    }
}
END_TEST

/* ---- parallel -------------------------------------------------------------------------------- */

/* Runs bodies backwards on pretended workers, and counts. */
struct counter {
    int64_t calls, n;
};

static void backwards(void *ctx, int32_t (*body)(void *arg, int64_t i, int64_t worker), void *arg,
                      int64_t n)
{
    struct counter *c = ctx;
    c->calls++;
    c->n += n;
    for (int64_t i = n; i-- > 0;) ck_assert_int_eq(body(arg, i, i % 3), 0);
}

START_TEST(parallel_loops)
{
    static const char text[] =
        "nest t\ndyn    n\nin     x: f32[n * 16]\nout    y: f32[n * 16]\ntemp   s: f32[16]\n"
        "for o in 0..2\n  let c = cast(f32, o + 2)\n    for i in 0..n parallel\n"
        "      for j in 0..16\n        s[j] = x[i * 16 + j] * c\n"
        "      y[ramp(i * 16, 1, 16)] = s[ramp(0, 1, 16)] + splat(cast(f32, o), 16)\n";
    for (int with = 0; with < 2; with++) {
        struct cgrun r;
        struct counter count = {0};
        struct par par = {backwards, &count, 3};
        cgrun_open(&r, text);
        ck_assert_msg(cgrun_compile(&r, NULL) == RC_OK, "%s", r.e.msg);
        artefact_fini(&r.art);
        struct tensor *s = nest_tensor(r.nest, "s");
        struct codegen_options o = {0};
        s->scratch_per_worker = true;
        s->scratch_at = 0;
        r.k.scratch_a = 128; /* shared part, unused; each worker's part follows */
        r.k.scratch_b = 64;
        ck_assert_int_eq(codegen_llvm(&r.k, &r.t, &o, &r.art, &r.e), RC_OK);
        r.dyn[0] = 7;
        cgrun_fill(&r, CGRUN_SMALL, 5);
        ck_assert_int_eq(cgrun_check(&r, with ? &par : NULL), 0);
        ck_assert_int_eq(count.calls, with ? 2 : 0);
        ck_assert_int_eq(count.n, with ? 14 : 0);
        ck_assert_int_ne(cgrun_entry(&r, r.art.kernel_at)(r.buf, r.dyn, NULL, NULL),
                         0); /* scratch is needed */
        cgrun_close(&r);
    }
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void refuse(const char *text, const char *code)
{
    struct cgrun r;
    cgrun_open(&r, text);
    ck_assert_int_ne(cgrun_compile(&r, NULL), RC_OK);
    ck_assert_str_eq(r.e.code, code);
    ck_assert_ptr_null(r.art.blob);
    cgrun_close(&r);
}

START_TEST(refusals_have_codes)
{
    refuse("nest t\nout    y: f32[1]\nalloc stack s: f32[100000]\n  for i in 0..100000\n    s[i] = "
           "1.0\n  y[0] = s[5]\n",
           "codegen.stack");
    refuse("nest t\nin     a: f16[4]\nout    y: f16[4]\nfor i in 0..4\n  y[i] = fma(a[i], a[i], "
           "a[i])\n",
           "codegen.op");
    refuse("nest t\nin     a: f32[256]\nout    y: f32[256]\ny[ramp(0, 1, 256)] = a[ramp(0, 2, 256) "
           "/ splat(2, 256)]\n",
           "codegen.form");
}
END_TEST

/* ---- other machines: what can be seen without running ---------------------------------------- */

static const struct {
    const char *triple, *cpu, *features, *abi, *must;
} machines[] = {
    {"aarch64-unknown-linux-gnu", "cortex-a76", "+neon,+fp-armv8", "", "fmla"},
    {"armv7-unknown-linux-gnueabihf", "cortex-a7", "+neon,+vfp4", "", "vfma"},
    {"thumbv7em-none-eabihf", "cortex-m7", "+fp-armv8d16sp", "", "vfma"},
    {"riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c,+v,+zvl128b", "lp64d", "vfmacc"},
    {"x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma", "", "vfmadd"},
};

START_TEST(cross_targets_link)
{
    static const char text[] =
        "nest t\nin     x: f32[70]\nconst  w: f32[64]\nout    y: f32[64]\ntable  k: f32[4] = {1, "
        "2, 3, 4}\n"
        "for i in 0..8 parallel\n  alloc reg r: f32x4[2]\n    r[0] = splat(0.3, 4)\n    r[1] = "
        "k[ramp(0, 1, 4)]\n"
        "    for j in 0..8\n      r[0] = fma(splat((x[i * 8 + j] if i < 7 else 0.5), 4), w[ramp(j "
        "* 8, 1, 4)], r[0])\n"
        "      r[1] = fma(splat(x[i * 8 + j], 4), w[ramp(j * 8 + 4, 1, 4)], r[1])\n"
        "    y[ramp(i * 8, 1, 4)] = r[0]\n    y[ramp(i * 8 + 4, 1, 4)] = r[1]\n";
    struct cgrun r;
    struct buf s;
    buf_init(&s, 1 << 20);
    struct codegen_options o = {.misched = true, .s = &s};
    cgrun_open(&r, text);
    r.t.triple = machines[_i].triple;
    r.t.cpu = machines[_i].cpu;
    r.t.features = machines[_i].features;
    r.t.abi = machines[_i].abi;
    r.t.masks = 0;
    ck_assert_msg(cgrun_compile(&r, &o) == RC_OK, "%s: %s", machines[_i].triple, r.e.msg);
    ck_assert_msg(strstr(s.p, machines[_i].must) != NULL, "%s: no %s in\n%s", machines[_i].triple,
                  machines[_i].must, s.p);
    ck_assert_int_eq(r.art.vector_stack_refs, 0);
    buf_fini(&s);
    cgrun_close(&r);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("codegen");
    TCase *tile = tcase_create("tile");
    tcase_set_timeout(tile, 60);
    tcase_add_test(tile, tile_14x2_has_no_spill);
    tcase_add_test(tile, same_kernel_same_bytes);
    tcase_add_test(tile, clamp_of_a_magnitude);
    tcase_add_test(tile, min_max_of_bits);
    tcase_add_test(tile, packed_casts);
    tcase_add_test(tile, switches_have_an_effect);
    tcase_add_test(tile, list_order_goes_side_by_side);
    tcase_add_test(tile, nudges_are_other_orders);
    suite_add_tcase(s, tile);
    TCase *ops = tcase_create("ops");
    tcase_set_timeout(ops, 60);
    tcase_add_loop_test(ops, ops_equal_interpreter, 0, TYPE_COUNT);
    tcase_add_loop_test(ops, casts_equal_interpreter, 0, TYPE_COUNT);
    tcase_add_test(ops, baseline_target_needs_no_library);
    suite_add_tcase(s, ops);
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, 60);
    tcase_add_loop_test(memory, access_forms, 0, CASE_ACCESS);
    tcase_add_test(memory, pack_entry_then_kernel);
    tcase_add_test(memory, dynamic_extents);
    tcase_add_test(memory, parallel_loops);
    tcase_add_test(memory, refusals_have_codes);
    tcase_add_loop_test(memory, cross_targets_link, 0, QN_COUNT(machines));
    suite_add_tcase(s, memory);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
