/* lower: the text each pass leaves of a small nest, which is also its documentation. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

/* The text after one pass. tol: how far results may be from those before it. */
static void golden_within(const char *pass, const char *text, const char *want, double tol)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(true), .tol = tol};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = pass;
    lower_same(text, &c);
    ck_assert_str_eq(b.p, want);
    buf_fini(&b);
    lower_case_free(&c);
}

static void golden(const char *pass, const char *text, const char *want)
{
    golden_within(pass, text, want, 0);
}

/* The text of the reference kernel. */
static void golden_naive(const char *text, const char *want)
{
    struct ir *ir = ir_new();
    struct nest *n = lower_parse(ir, text);
    struct target t = lower_target(true);
    struct kernel k;
    struct err e = {0};
    struct buf b;
    ck_assert_msg(lower_naive(n, &t, NULL, &k, &e) == RC_OK, "%s", e.msg);
    buf_init(&b, 1 << 20);
    nest_print(&b, n);
    const char *loops = strstr(b.p, "\nfor ");
    ck_assert_str_eq(loops ? loops + 1 : b.p, want);
    buf_fini(&b);
    ir_free(ir);
}

START_TEST(golden_rows)
{
    golden_naive("nest mv\n"
                 "in     x: f32[16]\n"
                 "in     w: f32[16, 64]\n"
                 "out    y: f32[64]\n"
                 "stage y\n"
                 "  for k in 0..64\n"
                 "    for c in 0..16 reduce\n"
                 "      y[k] += x[c] * w[c, k]\n",
                 "for k.row0 in 0..64\n"
                 "  y[k.row0] = 0.0\n"
                 "for c in 0..16 reduce\n"
                 "  for k in 0..64\n"
                 "    y[k] = y[k] + x[c] * w[c * 64 + k]\n");
    /* along the rows of w already: a loop over k inside would stride through memory */
    golden_naive("nest mv\n"
                 "in     x: f32[16]\n"
                 "in     w: f32[64, 16]\n"
                 "out    y: f32[64]\n"
                 "stage y\n"
                 "  for k in 0..64\n"
                 "    for c in 0..16 reduce\n"
                 "      y[k] += x[c] * w[k, c]\n",
                 "for k in 0..64\n"
                 "  y[k] = 0.0\n"
                 "  for c in 0..16 reduce\n"
                 "    y[k] = y[k] + x[c] * w[k * 16 + c]\n");
    /* the bound of c depends on k: a triangle stays one */
    golden_naive("nest tri\n"
                 "in     x: f32[16]\n"
                 "out    y: f32[16]\n"
                 "stage y\n"
                 "  for k in 0..16\n"
                 "    for c in 0..k + 1 reduce\n"
                 "      y[k] += x[c]\n",
                 "for k in 0..16\n"
                 "  y[k] = 0.0\n"
                 "  for c in 0..k + 1 reduce\n"
                 "    y[k] = y[k] + x[c]\n");
}
END_TEST

START_TEST(golden_taps)
{
    const char *text =
        "nest pad\n"
        "in     x: f32[9]\n"
        "in     w: f32[3]\n"
        "out    y: f32[9]\n"
        "stage y\n"
        "  for p in 0..9\n"
        "    for r in 0..3 reduce\n"
        "      y[p] += (x[p + r - 1] if 0 <= p + r - 1 & p + r - 1 < 9 else 0.0) * w[r]\n";
    golden("guard_taps", text,
           "nest pad\n"
           "in     x: f32[9]\n"
           "in     w: f32[3]\n"
           "out    y: f32[9]\n"
           "stage y\n"
           "  for p in 0..9\n"
           "    y[p] = 0.0\n"
           "    for r in 0..3 reduce\n"
           "      if 0 <= p + r - 1 & p + r - 1 < 9\n"
           "        y[p] += x[p + r - 1] * w[r] started\n");
    golden("tighten", text,
           "nest pad\n"
           "in     x: f32[9]\n"
           "in     w: f32[3]\n"
           "out    y: f32[9]\n"
           "stage y\n"
           "  for p in 0..9\n"
           "    y[p] = 0.0\n"
           "    for r in max(1 - p, 0)..min(10 - p, 3) reduce\n"
           "      y[p] += x[p + r - 1] * w[r] started\n");
    struct lower_case c = {.target = lower_target(true)};
    lower_same(text, &c);
    ck_assert_double_eq(c.kernel.flops, 2 * (3 * 9 - 2));
    lower_case_free(&c);
}
END_TEST

/* Blocks of terms that are nothing are not run; where the loop is exact, nothing is left to choose. */
START_TEST(golden_triangle)
{
    golden("tighten",
           "nest tri\n"
           "in     x: f32[16]\n"
           "out    y: f32[16]\n"
           "stage y\n"
           "  for i in 0..16\n"
           "    for jo in 0..4 reduce\n"
           "      for ji in 0..4 vector reduce\n"
           "        y[i] += select(jo * 4 + ji <= i, x[jo * 4 + ji], 0.0)\n",
           "nest tri\n"
           "in     x: f32[16]\n"
           "out    y: f32[16]\n"
           "stage y\n"
           "  for i in 0..16\n"
           "    y[i] = 0.0\n"
           "    for jo in 0..i / 4 + 1 reduce\n"
           "      for ji in 0..4 vector reduce\n"
           "        y[i] += select(jo * 4 + ji <= i, x[jo * 4 + ji], 0.0) started\n");
    golden("tighten",
           "nest tri\n"
           "in     x: f32[16]\n"
           "out    y: f32[16]\n"
           "stage y\n"
           "  for i in 0..16\n"
           "    for j in 0..16 reduce\n"
           "      y[i] += select(i < j, x[j], 0.0)\n",
           "nest tri\n"
           "in     x: f32[16]\n"
           "out    y: f32[16]\n"
           "stage y\n"
           "  for i in 0..16\n"
           "    y[i] = 0.0\n"
           "    for j in i + 1..16 reduce\n"
           "      y[i] += x[j] started\n");
}
END_TEST

/* Two halves of one tensor from the same operand: one loop over what they share. */
START_TEST(golden_join)
{
    const char *text = "nest halves\n"
                       "in     x: f32[6, 4]\n"
                       "out    y: f32[6, 4]\n"
                       "stage y\n"
                       "  for t in 0..6\n"
                       "    for d in 0..2\n"
                       "      y[t, d] = x[t, d] - x[t, d + 2]\n"
                       "stage \"y#2\"\n"
                       "  for u in 0..6\n"
                       "    for e in 0..2\n"
                       "      y[u, e + 2] = x[u, e + 2] + x[u, e]\n";
    golden("join", text,
           "nest halves\n"
           "in     x: f32[6, 4]\n"
           "out    y: f32[6, 4]\n"
           "for t in 0..6\n"
           "  for d in 0..2\n"
           "    y[t, d] = x[t, d] - x[t, d + 2]\n"
           "    y[t, d + 2] = x[t, d + 2] + x[t, d]\n");
}
END_TEST

/* The second writes a part of what the first reads another part of. */
START_TEST(golden_join_writes_read)
{
    golden("join",
           "nest back\nin     x: f32[6]\nout    y: f32[12]\ntemp   z: f32[6]\nstage y\n"
           "  for t in 0..6\n    y[t] = x[t]\nstage z\n  for v in 0..6\n    z[v] = y[5 - v]\n"
           "stage \"y#2\"\n  for u in 0..6\n    y[u + 6] = z[u] * 2.0\n",
           "");
}
END_TEST

/* A block of rows goes through both stages: the second reads only what its iteration wrote; so do
 * the loops inside. */
START_TEST(golden_join_blocks)
{
    const char *text = "nest blocks\n"
                       "in     x: f32[2, 6, 4]\n"
                       "out    y: f32[2, 6, 4]\n"
                       "temp   s: f32[2, 6]\n"
                       "stage s\n"
                       "  for h in 0..2\n"
                       "    for o in 0..3\n"
                       "      for i in 0..2\n"
                       "        s[h, o * 2 + i] = x[h, o * 2 + i, 0]\n"
                       "stage y\n"
                       "  for g in 0..2\n"
                       "    for p in 0..3\n"
                       "      for n in 0..4 unroll\n"
                       "        for j in 0..2\n"
                       "          y[g, p * 2 + j, n] = x[g, p * 2 + j, n] - s[g, p * 2 + j]\n";
    golden("join", text,
           "nest blocks\n"
           "in     x: f32[2, 6, 4]\n"
           "out    y: f32[2, 6, 4]\n"
           "temp   s: f32[2, 6]\n"
           "for h in 0..2\n"
           "  for o in 0..3\n"
           "    for i in 0..2\n"
           "      s[h, o * 2 + i] = x[h, o * 2 + i, 0]\n"
           "    for n in 0..4 unroll\n"
           "      for j in 0..2\n"
           "        y[h, o * 2 + j, n] = x[h, o * 2 + j, n] - s[h, o * 2 + j]\n");
}
END_TEST

/* Reads behind the block, before it, of another dimension; blocks that overlap; a diagonal. */
START_TEST(golden_join_blocks_not)
{
    static const char *const stages[] = {
        "    for i in 0..2\n      s[t * 2 + i, 0] = x[t * 2 + i, 0]\n"
        "stage y\n  for u in 0..3\n    y[u] = s[u * 2 + 2, 0]\n",
        "    for i in 0..2\n      s[t * 2 + i, 0] = x[t * 2 + i, 0]\n"
        "stage y\n  for u in 0..3\n    y[u] = s[u, 0]\n",
        "    s[t, 0] = x[t, 0]\nstage y\n  for u in 0..3\n    y[u] = s[0, u]\n",
        "    for i in 0..3\n      s[t * 2 + i, 0] = x[t * 2 + i, 0]\n"
        "stage y\n  for u in 0..3\n    y[u] = s[u * 2, 0]\n",
        "    s[t, t] = x[t, 0]\nstage y\n  for u in 0..3\n    y[u] = s[u, u]\n",
    };
    for (size_t i = 0; i < QN_COUNT(stages); i++) {
        char text[640];
        snprintf(text, sizeof text,
                 "nest apart\nin     x: f32[9, 9]\nout    y: f32[3]\ntemp   s: f32[9, 9]\nstage s\n"
                 "  for t in 0..3\n%s",
                 stages[i]);
        golden("join", text, "");
    }
}
END_TEST

/* A temporary whose blocks are each an iteration's own is one block inside it, in each dimension by
 * its own loop; what no loop moves stays as it is. */
START_TEST(golden_contract)
{
    golden("contract",
           "nest rows\n"
           "in     x: f32[2, 6, 4]\n"
           "out    y: f32[2, 6, 4]\n"
           "temp   s: f32[2, 6, 4]\n"
           "stage s\n"
           "  for h in 0..2\n"
           "    for o in 0..3\n"
           "      for i in 0..2\n"
           "        for n in 0..4\n"
           "          s[h, o * 2 + i, n] = x[h, o * 2 + i, n] * 2.0\n"
           "stage y\n"
           "  for g in 0..2\n"
           "    for p in 0..3\n"
           "      for m in 0..4\n"
           "        for j in 0..2\n"
           "          y[g, p * 2 + j, m] = s[g, p * 2 + j, 3 - m] - s[g, p * 2 + 1 - j, m]\n",
           "nest rows\n"
           "in     x: f32[2, 6, 4]\n"
           "out    y: f32[2, 6, 4]\n"
           "for h in 0..2\n"
           "  for o in 0..3\n"
           "    alloc temp s: f32[1, 2, 4]\n"
           "      for i in 0..2\n"
           "        for n in 0..4\n"
           "          s[0, i, n] = x[h, o * 2 + i, n] * 2.0\n"
           "      for m in 0..4\n"
           "        for j in 0..2\n"
           "          y[h, o * 2 + j, m] = s[0, j, 3 - m] - s[0, 1 - j, m]\n");
}
END_TEST

/* A dynamic axis: the temporary no longer grows with it. */
START_TEST(golden_contract_dynamic)
{
    golden("contract",
           "nest grows\ndyn    N\nin     x: f32[N]\nout    y: f32[N]\ntemp   t: f32[N]\nstage t\n"
           "  for i in 0..N\n    t[i] = x[i] * 2.0\nstage y\n  for j in 0..N\n    y[j] = t[j]\n",
           "nest grows\ndyn    N\nin     x: f32[N]\nout    y: f32[N]\n"
           "for i in 0..N\n  alloc temp t: f32[1]\n    t[0] = x[i] * 2.0\n    y[i] = t[0]\n");
}
END_TEST

/* Read a turn later, or written again in every turn; read beside the block; a loop that moves
 * blocks by less than their size. */
START_TEST(golden_contract_not)
{
    static const char *const body[] = {
        "    for i in 0..3\n      s[i] = x[t, i]\n    for k in 0..3\n      y[t, k] = s[k]\n",
        "    s[t] = x[t, 0]\n    if 1 <= t\n      y[t, 0] = s[t - 1]\n",
        "    for i in 0..3\n      s[t * 2 + i] = x[t, i]\n    y[t, 0] = s[t * 2]\n",
        "    for i in 0..3\n      s[t * 3 + i] = x[t, i]\n    y[t, 0] = s[3]\n",
        "    for i in 0..2\n      s[t * 3 + i] = x[t, i]\n    s[t * 3 + 2] = x[t, 2]\n"
        "    for k in 0..2\n      for j in 0..2\n        if t * 3 + k + j < 8\n"
        "          y[t, k + j] = s[t * 3 + k + j + 1]\n",
    };
    for (size_t i = 0; i < QN_COUNT(body); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "nest apart\nin     x: f32[3, 3]\nout    y: f32[3, 3]\ntemp   s: f32[9]\n"
                 "stage s\n  for t in 0..3\n%s",
                 body[i]);
        golden("contract", text, "");
    }
}
END_TEST

/* Guards say how large a block is where loops run over its end. */
START_TEST(golden_contract_clipped)
{
    golden(
        "contract",
        "nest clip\nin     x: f32[12]\nout    y: f32[12]\ntemp   s: f32[12]\nstage s\n"
        "  for o in 0..3\n    for a in 0..2\n      for b in 0..3 unroll\n        if a * 3 + b < 4\n"
        "          s[o * 4 + a * 3 + b] = x[o * 4 + a * 3 + b] * 2.0\n"
        "stage y\n"
        "  for p in 0..3\n    for c in 0..2\n      for d in 0..3 unroll\n        if c * 3 + d < 4\n"
        "          y[p * 4 + c * 3 + d] = s[p * 4 + c * 3 + d]\n",
        "nest clip\nin     x: f32[12]\nout    y: f32[12]\n"
        "for o in 0..3\n  alloc temp s: f32[4]\n"
        "    for a in 0..2\n      for b in 0..3 unroll\n        if a * 3 + b < 4\n"
        "          s[a * 3 + b] = x[o * 4 + a * 3 + b] * 2.0\n"
        "      for d in 0..3 unroll\n        if a * 3 + d < 4\n"
        "          y[o * 4 + a * 3 + d] = s[a * 3 + d]\n");
}
END_TEST

/* Two loops in one dimension: a mixed radix, or not. */
START_TEST(golden_contract_radix)
{
    for (int step = 2; step <= 4; step += 2) {
        char text[512], want[512];
        snprintf(text, sizeof text,
                 "nest radix\nin     x: f32[16]\nout    y: f32[16]\ntemp   s: f32[16]\nstage s\n"
                 "  for a in 0..3\n    for b in 0..2\n      for i in 0..2\n"
                 "        s[a * %d + b * 2 + i] = x[i]\n      y[a * 4 + b] = s[a * %d + b * 2]\n",
                 step, step);
        snprintf(want, sizeof want,
                 "nest radix\nin     x: f32[16]\nout    y: f32[16]\n"
                 "for a in 0..3\n  for b in 0..2\n    alloc temp s: f32[2]\n      for i in 0..2\n"
                 "        s[i] = x[i]\n      y[a * 4 + b] = s[0]\n");
        golden("contract", text, step == 4 ? want : "");
    }
}
END_TEST

/* The sum of a tile is only added up where the choice takes one of its elements. */
START_TEST(golden_unwanted)
{
    static const char *const text =
        "nest causal\n"
        "in     q: f32[8, 5]\n"
        "in     k: f32[5, 8]\n"
        "out    s: f32[8, 8]\n"
        "stage s\n"
        "  for j in 0..2\n"
        "    for i in 0..4\n"
        "      alloc reg dot: f32[2, 4]\n"
        "        stage dot\n"
        "          for d in 0..5 reduce\n"
        "            for a in 0..2 unroll\n"
        "              for l in 0..4 vector\n"
        "                dot[a, l] += q[i * 2 + a, d] * k[d, j * 4 + l]\n"
        "        for b in 0..2 unroll\n"
        "          for m in 0..4 vector\n"
        "            s[i * 2 + b, j * 4 + m] = select(%s)\n";
    static const struct {
        const char *choice, *guard;
    } cases[] = {
        {"j * 4 + m <= i * 2 + b, dot[b, m] * 2.0, -1.0", "if 0 <= i * 2 - j * 4 + 1\n"},
        {"j * 4 + m < i * 2 & b < 1, dot[b, m], -1.0", "if 0 <= i * 2 - j * 4 - 1\n"},
        {"j * 4 + m <= i * 2 + b, dot[b, m], dot[b, m] * 2.0", NULL}, /* both arms */
        {"j * 4 + m == i * 2 + b, dot[b, m], -1.0", NULL},            /* no bound */
        {"q[0, 0] < 1.0, dot[b, m], -1.0", NULL},                     /* data decide */
    };
    for (size_t i = 0; i < QN_COUNT(cases); i++) {
        char filled[1024];
        struct buf b;
        struct lower_case c = {.target = lower_target(true)};
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "unwanted";
        snprintf(filled, sizeof filled, text, cases[i].choice);
        lower_same(filled, &c);
        const char *at = cases[i].guard ? strstr(b.p, cases[i].guard) : NULL;
        ck_assert_msg(cases[i].guard ? at && strstr(at, "for d in") : b.n == 0, "%s", b.p);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* What a temporary holds, or an output that is read again, is rounded as the division rounds; without
 * fma it stays one. */
START_TEST(golden_quotients_of_temporaries)
{
    static const char *const text =
        "nest mean\nin     x: f32[8, 4]\nin     d: f32[8]\nout    y: f32[8, 4]\n"
        "%s   m: f32[8, 4]\nstage m\n  for i in 0..8\n    for j in 0..4 vector\n"
        "      m[i, j] = x[i, j] / sqrt(d[i])\nstage y\n  for k in 0..8\n"
        "    for l in 0..4\n      y[k, l] = x[k, l] - m[7 - k, 3 - l]\n";
    for (int way = 0; way < 4; way++) {
        int fma = way & 1;
        char nest[600];
        snprintf(nest, sizeof nest, text, way & 2 ? "out " : "temp");
        struct buf b;
        struct lower_case c = {.target = lower_target(true), .tol = 1e-6};
        c.target.fma = fma;
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "quotients";
        lower_same(nest, &c);
        const char *want = "m[ramp(i * 4, 1, 4)] = select(splat(0.0, 4) < abs(x[ramp(i * 4, 1, 4)] "
                           "* splat(1.0 / sqrt(d[i]), 4) + (";
        ck_assert_msg(fma ? strstr(b.p, want) != NULL : b.n == 0, "%s", b.p);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* Lanes are compared as wide as they are: the indices become one scalar. */
START_TEST(golden_compares)
{
    static const char *const nest = "nest compares\n"
                                    "in     x: f32[600]\n"
                                    "in     t: s32[8]\n"
                                    "out    y: f32[8, 64]\n"
                                    "stage y\n"
                                    "  for i in 0..8\n"
                                    "    for j in 0..%d vector\n"
                                    "      y[i, j] = select(%s, x[j], 1.0)\n";
    static const struct {
        int lanes;
        const char *cond, *want;
    } cases[] = {
        {16, "i * 16 + j < 100", "cast(s32, ramp(0, 1, 16)) < splat(cast(s32, 100 - i * 16), 16)"},
        {16, "100 <= i * 16 + j",
         "splat(cast(s32, 100 - i * 16), 16) <= cast(s32, ramp(0, 1, 16))"},
        {16, "cast(s64, t[i]) == i + j",
         "splat(cast_sat(s32, cast(s64, t[i]) - i), 16) == cast(s32, ramp(0, 1, 16))"},
        {16, "2 * j + 3 < j + i", "cast(s32, ramp(0, 1, 16)) < splat(cast(s32, i - 3), 16)"},
        {16, "j * 1000000000 < i", NULL},       /* as wide as it is */
        {16, "x[j] < 1.0", NULL},               /* not indices */
        {16, "cast(s64, t[j % 8]) == j", NULL}, /* lanes that data decide */
    };
    for (size_t i = 0; i < QN_COUNT(cases); i++) {
        char text[1024], want[1024];
        snprintf(text, sizeof text, nest, cases[i].lanes, cases[i].cond);
        struct buf b;
        struct lower_case c = {.target = lower_target(true)};
        buf_init(&b, 1 << 20);
        c.dump = &b;
        c.dump_pass = "compares";
        lower_same(text, &c);
        snprintf(want, sizeof want, "= select(%s,", cases[i].want ? cases[i].want : "");
        ck_assert_msg(cases[i].want ? strstr(b.p, want) != NULL : b.n == 0, "%s\n%s", want, b.p);
        buf_fini(&b);
        lower_case_free(&c);
    }
}
END_TEST

/* 64 lanes of bytes are compared as bytes. */
START_TEST(golden_compares_bytes)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(true)};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = "compares";
    lower_same("nest bytes\nin     x: s8[200]\nout    y: s8[200]\nstage y\n  for i in 0..4\n"
               "    for j in 0..64 vector mask\n      if i * 64 + j < 200\n"
               "        y[i * 64 + j] = x[i * 64 + j]\n",
               &c);
    ck_assert_msg(strstr(b.p,
                         "if cast(s8, ramp(0, 1, 64)) < splat(cast_sat(s8, 200 - i * 64), 64)"),
                  "%s", b.p);
    buf_fini(&b);
    lower_case_free(&c);
}
END_TEST

/* What the lanes share, what does not change in the loop, and what divides twice, is inverted; a
 * divisor used once stays one. Nothing is known of d: it is brought near 1 first. */
START_TEST(golden_quotients)
{
    static const char *const nest = "nest quotients\n"
                                    "in     x: f32[8, 4]\n"
                                    "in     d: f32[8]\n"
                                    "out    y: f32[8, 4]\n"
                                    "stage y\n"
                                    "  for i in 0..8\n"
                                    "    for j in 0..4 vector\n"
                                    "      y[i, j] = %s\n";
    static const struct {
        const char *value, *want;
    } cases[] = {
        {"x[i, j] / sqrt(d[i])", "x[ramp(i * 4, 1, 4)] * splat(1.0 / sqrt(d[i]), 4)"},
        {"x[i, j] / (max(d[i], 0.5) / 127.0)",
         "x[ramp(i * 4, 1, 4)] * splat(1.0 / (max(d[i], 0.5) / 127.0), 4)"},
        {"x[i, j] / (max(d[i], -0.5) / 127.0)", /* which may be next to nothing */
         "x[ramp(i * 4, 1, 4)] * splat(select(abs(max(d[i], -0.5) / 127.0) < 5.421011e-20, "
         "1.8446744e+19, "
         "select(1.8446744e+19 < abs(max(d[i], -0.5) / 127.0), 5.421011e-20, 1.0)), 4) * splat(1.0 "
         "/ "
         "(max(d[i], -0.5) / 127.0 * select(abs(max(d[i], -0.5) / 127.0) < 5.421011e-20, "
         "1.8446744e+19, "
         "select(1.8446744e+19 < abs(max(d[i], -0.5) / 127.0), 5.421011e-20, 1.0))), 4)"},
        {"x[i, j] / d[i]",
         "x[ramp(i * 4, 1, 4)] * splat(select(abs(d[i]) < 5.421011e-20, 1.8446744e+19, "
         "select(1.8446744e+19 < abs(d[i]), 5.421011e-20, 1.0)), 4) * splat(1.0 / (d[i] * "
         "select(abs(d[i]) < 5.421011e-20, 1.8446744e+19, select(1.8446744e+19 < abs(d[i]), "
         "5.421011e-20, 1.0))), 4)"},
        {"x[i, j] / 3.0",
         "select(splat(0.0, 4) < abs(x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) + (x[ramp(i * 4, "
         "1, 4)] - "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) * splat(3.0, 4)) * splat(0.33333334, 4)), "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) + (x[ramp(i * 4, 1, 4)] "
         "- "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4) * splat(3.0, 4)) * splat(0.33333334, 4), "
         "x[ramp(i * 4, 1, 4)] * splat(0.33333334, 4))"},
        {"x[i, j] / sqrt(d[j])", "x[ramp(i * 4, 1, 4)] * (splat(1.0, 4) / sqrt(d[ramp(0, 1, 4)]))"},
        {"(x[i, j] + 1.0) / sqrt(x[i, j]) - (x[i, j] + 2.0) / sqrt(x[i, j])",
         "(x[ramp(i * 4, 1, 4)] + splat(1.0, 4)) * (splat(1.0, 4) / sqrt(x[ramp(i * 4, 1, 4)])) - "
         "(x[ramp(i * 4, 1, 4)] + splat(2.0, 4)) * (splat(1.0, 4) / sqrt(x[ramp(i * 4, 1, 4)]))"},
        {"cast(f32, bitcast(s32, x[i, j] / d[i]))", NULL}, /* cannot be corrected */
        {"x[i, j] / sqrt(x[i, j])", NULL},
        {"2.0 / sqrt(d[i])", NULL},
        {"floor(x[i, j] / d[i])", NULL}, /* cannot be corrected */
    };
    for (size_t i = 0; i < QN_COUNT(cases); i++) {
        char text[1024], want[1024];
        snprintf(text, sizeof text, nest, cases[i].value);
        snprintf(want, sizeof want,
                 "nest quotients\nin     x: f32[32]\nin     d: f32[8]\nout    y: f32[32]\n"
                 "for i in 0..8\n  y[ramp(i * 4, 1, 4)] = %s\n",
                 cases[i].want);
        golden_within("quotients", text, cases[i].want ? want : "", 1e-6);
    }
}
END_TEST

/* The second part reads the first, wherever; the ranges differ; the tensors differ; one is a
 * reduction. */
START_TEST(golden_join_not)
{
    static const char *const second[] = {
        "  for u in 0..6\n    y[u + 6] = y[5 - u] * 2.0\n",
        "  for u in 0..5\n    y[u + 6] = x[u]\nstage \"y#3\"\n  y[11] = x[0]\n",
        "  for u in 1..7\n    y[u + 5] = x[u - 1]\n",
        "  for u in 0..6 unroll\n    y[u + 6] = x[u]\n",
    };
    for (size_t i = 0; i < QN_COUNT(second); i++) {
        char text[512];
        snprintf(
            text, sizeof text,
            "nest parts\nin     x: f32[6]\nout    y: f32[12]\nstage y\n  for t in 0..6\n    y[t] "
            "= x[t] + 1.0\nstage \"y#2\"\n%s",
            second[i]);
        golden("join", text, "");
    }
    golden(
        "join",
        "nest two\nin     x: f32[6]\nout    y: f32[6]\nout    z: f32[6]\nstage y\n  for t in 0..6\n"
        "    y[t] = x[t] + 1.0\nstage z\n  for u in 0..6\n    z[u] = x[u] - 1.0\n",
        "");
}
END_TEST

START_TEST(golden_peel)
{
    golden("peel",
           "nest cut\n"
           "in     x: f32[57]\n"
           "out    y: f32[57]\n"
           "stage y\n"
           "  for yo in 0..5 peel\n"
           "    for yi in 0..14\n"
           "      if yo * 14 + yi < 57\n"
           "        y[yo * 14 + yi] = x[yo * 14 + yi]\n",
           "nest cut\n"
           "in     x: f32[57]\n"
           "out    y: f32[57]\n"
           "stage y\n"
           "  for yo in 0..4\n"
           "    for yi in 0..14\n"
           "      y[yo * 14 + yi] = x[yo * 14 + yi]\n"
           "  for yi.tail0 in 0..14\n"
           "    if yi.tail0 + 56 < 57\n"
           "      y[yi.tail0 + 56] = x[yi.tail0 + 56]\n");
}
END_TEST

START_TEST(golden_updates)
{
    golden("updates",
           "nest arg\n"
           "in     x: f32[4, 9]\n"
           "out    v: f32[4]\n"
           "out    i: s32[4]\n"
           "stage v\n"
           "  for m in 0..4\n"
           "    for k in 0..9 vector reduce\n"
           "      {v, i}[m] argmax= {x[m, k], cast(s32, k)}\n",
           "nest arg\n"
           "in     x: f32[4, 9]\n"
           "out    v: f32[4]\n"
           "out    i: s32[4]\n"
           "for m in 0..4\n"
           "  v[m] = f32(-inf)\n"
           "  i[m] = s32(2147483647)\n"
           "  for k in 0..9 reduce\n"
           "    let v.old0 = v[m]\n"
           "      let i.old1 = i[m]\n"
           "        let v.term2 = x[m, k]\n"
           "          let i.term3 = cast(s32, k)\n"
           "            let v.new4 = select(v.old0 < v.term2 | v.term2 == v.old0 & i.term3 < "
           "i.old1, v.term2, v.old0)\n"
           "              let i.new5 = select(v.old0 < v.term2 | v.term2 == v.old0 & i.term3 < "
           "i.old1, i.term3, i.old1)\n"
           "                v[m] = v.new4\n"
           "                i[m] = i.new5\n");
}
END_TEST

START_TEST(golden_partials)
{
    /* three rows side by side, two vectors of each: the tile is folded once, after the last term */
    golden("partials",
           "nest rows\n"
           "in     x: f32[5, 70]\n"
           "out    y: f32[5]\n"
           "stage y\n"
           "  for o in 0..2\n"
           "    for c in 0..5 reduce\n"
           "      for m in 0..3 unroll\n"
           "        for u in 0..2 unroll reduce\n"
           "          for v in 0..8 vector reduce\n"
           "            if o * 3 + m < 5 & c * 16 + u * 8 + v < 70\n"
           "              y[o * 3 + m] += x[o * 3 + m, c * 16 + u * 8 + v]\n",
           "nest rows\n"
           "in     x: f32[5, 70]\n"
           "out    y: f32[5]\n"
           "for o in 0..2\n"
           "  for m.init in 0..3 unroll\n"
           "    if o * 3 + m.init < 5\n"
           "      y[o * 3 + m.init] = 0.0\n"
           "  alloc reg y.part0: f32[48]\n"
           "    for part.e3 in 0..6 unroll\n"
           "      for part.l4 in 0..8 vector\n"
           "        y.part0[part.e3 * 8 + part.l4] = 0.0\n"
           "    for c in 0..5 reduce\n"
           "      for m in 0..3 unroll\n"
           "        if o * 3 + m < 5\n"
           "          for u in 0..2 unroll reduce\n"
           "            for v in 0..8 vector\n"
           "              if c * 16 + u * 8 + v < 70\n"
           "                y.part0[(m * 2 + u) * 8 + v] = y.part0[(m * 2 + u) * 8 + v] + x[o * 3 "
           "+ m, c * 16 + u * 8 + v]\n"
           "    for part.p5 in 0..3 unroll\n"
           "      for part.i6 in 1..2 unroll\n"
           "        for part.l7 in 0..8 vector\n"
           "          y.part0[part.p5 * 16 + part.l7] = y.part0[part.p5 * 16 + part.l7] + "
           "y.part0[(part.p5 * 2 + part.i6) * 8 + part.l7]\n"
           "    for part.p2 in 0..3 unroll\n"
           "      if o * 3 + part.p2 < 5\n"
           "        for part.l1 in 0..8 vector reduce\n"
           "          y[o * 3 + part.p2] = y[o * 3 + part.p2] + y.part0[part.p2 * 16 + part.l1]\n");
    /* one iteration of the reduce loop: nothing to fold later */
    golden("partials",
           "nest row\n"
           "in     x: f32[5, 8]\n"
           "out    y: f32[5]\n"
           "stage y\n"
           "  for m in 0..5\n"
           "    for v in 0..8 vector reduce\n"
           "      y[m] += x[m, v]\n",
           ""); /* the pass changes nothing */
    /* other statements between the loops: the fold stays inside them */
    golden("partials",
           "nest max\n"
           "in     x: f32[3, 40]\n"
           "out    y: f32[3]\n"
           "stage y\n"
           "  for m in 0..3\n"
           "    for c in 0..3 peel reduce\n"
           "      for v in 0..16 vector reduce\n"
           "        if c * 16 + v < 40\n"
           "          y[m] max= x[m, c * 16 + v]\n",
           "nest max\n"
           "in     x: f32[3, 40]\n"
           "out    y: f32[3]\n"
           "for m in 0..3\n"
           "  y[m] = f32(-inf)\n"
           "  alloc reg y.part1: f32[16]\n"
           "    for part.e3 in 0..1 unroll\n"
           "      for part.l4 in 0..16 vector\n"
           "        y.part1[part.e3 * 16 + part.l4] = f32(-inf)\n"
           "    for c in 0..2 reduce\n"
           "      for v in 0..16 vector\n"
           "        y.part1[v] = max(y.part1[v], x[m, c * 16 + v])\n"
           "    for part.l2 in 0..16 vector reduce\n"
           "      y[m] = max(y[m], y.part1[part.l2])\n"
           "  for v.tail0 in 0..16 vector reduce\n"
           "    if v.tail0 + 32 < 40\n"
           "      y[m] = max(y[m], x[m, v.tail0 + 32])\n");
}
END_TEST

START_TEST(golden_flatten)
{
    golden("flatten",
           "nest blocked\n"
           "in     x: f32[2, 32] store 0,1/16,1%16\n"
           "out    y: f32[2, 32]\n"
           "stage y\n"
           "  for n in 0..2\n"
           "    for co in 0..2\n"
           "      for ci in 0..16\n"
           "        y[n, co * 16 + ci] = x[n, co * 16 + ci]\n",
           "nest blocked\n"
           "in     x: f32[64]\n"
           "out    y: f32[64]\n"
           "for n in 0..2\n"
           "  for co in 0..2\n"
           "    for ci in 0..16\n"
           "      y[n * 32 + co * 16 + ci] = x[n * 32 + co * 16 + ci]\n");
}
END_TEST

START_TEST(golden_unroll)
{
    golden("unroll",
           "nest copies\n"
           "in     x: f32[40]\n"
           "out    y: f32[4, 10]\n"
           "stage y\n"
           "  for p in 0..4\n"
           "    for q in 0..2 unroll\n"
           "      for c in 0..3\n"
           "        y[p, q * 5 + c] = x[p * 10 + q * 5 + c]\n",
           "nest copies\n"
           "in     x: f32[40]\n"
           "out    y: f32[40]\n"
           "for p in 0..4\n"
           "  for c.u0 in 0..3\n"
           "    y[p * 10 + c.u0] = x[p * 10 + c.u0]\n"
           "  for c.u1 in 0..3\n"
           "    y[p * 10 + c.u1 + 5] = x[p * 10 + c.u1 + 5]\n");
}
END_TEST

START_TEST(golden_regs)
{
    golden("regs",
           "nest tile\n"
           "in     x: f32[3, 9]\n"
           "out    y: f32[9]\n"
           "stage y\n"
           "  alloc reg t: f32[9]\n"
           "    stage t\n"
           "      for k in 0..3 reduce\n"
           "        for j in 0..9 vector\n"
           "          t[j] += x[k, j]\n"
           "    stage y.out\n"
           "      for j2 in 0..9 vector\n"
           "        y[j2] = t[j2]\n",
           "nest tile\n"
           "in     x: f32[27]\n"
           "out    y: f32[9]\n"
           "alloc reg t.w1: f32[1]\n"
           "  alloc reg t: f32x8[1]\n"
           "    t[0] = splat(0.0, 8)\n"
           "    t.w1[0] = 0.0\n"
           "    for k in 0..3 reduce\n"
           "      t[0] = t[0] + x[ramp(k * 9, 1, 8)]\n"
           "      t.w1[0] = t.w1[0] + x[k * 9 + 8]\n"
           "    y[ramp(0, 1, 8)] = t[0]\n"
           "    y[8] = t.w1[0]\n");
}
END_TEST

START_TEST(golden_kernel)
{
    golden("kernel",
           "nest mm\n"
           "in     a: f32[2, 3]\n"
           "in     b: f32[3, 32]\n"
           "out    y: f32[2, 32]\n"
           "stage y\n"
           "  for no in 0..2\n"
           "    alloc reg acc: f32[2, 16]\n"
           "      stage acc\n"
           "        for k in 0..3 reduce\n"
           "          for m in 0..2 unroll\n"
           "            for n in 0..16 vector\n"
           "              acc[m, n] += a[m, k] * b[k, no * 16 + n]\n"
           "      stage y.out\n"
           "        for m2 in 0..2 unroll\n"
           "          for n2 in 0..16 vector\n"
           "            y[m2, no * 16 + n2] = max(acc[m2, n2], 0.0)\n",
           "nest mm\n"
           "in     a: f32[6]\n"
           "in     b: f32[96]\n"
           "out    y: f32[64]\n"
           "for no in 0..2\n"
           "  alloc reg acc: f32x16[2]\n"
           "    acc[0] = splat(0.0, 16)\n"
           "    acc[1] = splat(0.0, 16)\n"
           "    for k in 0..3 reduce\n"
           "      acc[0] = fma(splat(a[k], 16), b[ramp(k * 32 + no * 16, 1, 16)], acc[0])\n"
           "      acc[1] = fma(splat(a[k + 3], 16), b[ramp(k * 32 + no * 16, 1, 16)], acc[1])\n"
           "    y[ramp(no * 16, 1, 16)] = max(acc[0], splat(0.0, 16))\n"
           "    y[ramp(no * 16 + 32, 1, 16)] = max(acc[1], splat(0.0, 16))\n");
}
END_TEST

START_TEST(golden_mask)
{
    const char *text = "nest masked\n"
                       "in     x: f32[20]\n"
                       "out    y: f32[20]\n"
                       "stage y\n"
                       "  for io in 0..3\n"
                       "    for ii in 0..8 vector mask\n"
                       "      if io * 8 + ii < 20\n"
                       "        y[io * 8 + ii] = x[io * 8 + ii] + 1.0\n";
    golden("vectorize", text,
           "nest masked\n"
           "in     x: f32[20]\n"
           "out    y: f32[20]\n"
           "for io in 0..3\n"
           "  if io * 8 < 20\n"
           "    if ramp(io * 8, 1, 8) < splat(20, 8)\n"
           "      y[ramp(io * 8, 1, 8)] = (x[ramp(io * 8, 1, 8)] if ramp(io * 8, 1, 8) < splat(20, "
           "8) else splat(0.0, 8)) + splat(1.0, 8)\n");
}
END_TEST

/* What lies inside whatever lanes run is read without a mask. */
START_TEST(golden_mask_inside)
{
    const char *text = "nest masked\n"
                       "in     x: f32[2]\n"
                       "out    y: f32[20]\n"
                       "stage y\n"
                       "  for io in 0..3\n"
                       "    for ii in 0..8 vector mask\n"
                       "      if io * 8 + ii < 20\n"
                       "        y[io * 8 + ii] = x[ii % 2]\n";
    golden("vectorize", text,
           "nest masked\n"
           "in     x: f32[2]\n"
           "out    y: f32[20]\n"
           "for io in 0..3\n"
           "  if io * 8 < 20\n"
           "    if ramp(io * 8, 1, 8) < splat(20, 8)\n"
           "      y[ramp(io * 8, 1, 8)] = x[ramp(0, 1, 8) % splat(2, 8)]\n");
}
END_TEST

/* Rows of four, of which the first and last two ask for the same exp: half the lanes compute it. */
START_TEST(golden_repeats)
{
    const char *text = "nest pairs\n"
                       "in     x: f32[10, 2]\n"
                       "out    y: f32[10, 4]\n"
                       "stage y\n"
                       "  for no in 0..5\n"
                       "    for l in 0..8 vector\n"
                       "      y[no * 2 + l / 4, l % 4] = exp(x[no * 2 + l / 4, l % 2])\n";
    golden("repeats", text,
           "nest pairs\n"
           "in     x: f32[20]\n"
           "out    y: f32[40]\n"
           "for no in 0..5\n"
           "  alloc stack y.once0: f32[4]\n"
           "    y.once0[ramp(0, 1, 4)] = exp(x[ramp(no * 4, 1, 4)])\n"
           "    y[ramp(no * 8, 1, 8)] = y.once0[ramp(0, 1, 8) % splat(2, 8) + ramp(0, 1, 8) / "
           "splat(4, 8) * splat(2, 8)]\n");
}
END_TEST

/* What two registers of four pairs have in common comes to one register block by block of four, and
 * goes back without leaving its block. Two values taken out: what is left of the expression stays
 * short too, and the results are placed. */
START_TEST(golden_repeats_blocks)
{
    const char *text =
        "nest boxes\n"
        "in     x: f32[40, 4]\n"
        "out    y: f32[40, 4]\n"
        "table  s: f32[4] = {-1, -1, 1, 1}\n"
        "stage y\n"
        "  for no in 0..5\n"
        "    for l in 0..32 vector\n"
        "      y[no * 8 + l / 4, l % 4] = exp(x[no * 8 + l / 4, l % 2]) + exp(x[no * 8 "
        "+ l / 4, l % 2 + 2]) * s[l % 4]\n";
    golden("repeats", text,
           "nest boxes\n"
           "in     x: f32[160]\n"
           "out    y: f32[160]\n"
           "table  s: f32[4] = {-1, -1, 1, 1}\n"
           "for no in 0..5\n"
           "  alloc stack y.once0: f32[16]\n"
           "    y.once0[ramp(0, 1, 16)] = exp(x[splat(no * 32, 16) + (ramp(0, 1, 16) % "
           "splat(2, 16) + ramp(0, 1, 16) / splat(2, 16) % splat(2, 16) * splat(16, 16) + "
           "ramp(0, 1, 16) / splat(4, 16) * splat(4, 16))])\n"
           "    alloc stack y.once1: f32[16]\n"
           "      y.once1[ramp(0, 1, 16)] = exp(x[splat(no * 32 + 2, 16) + (ramp(0, 1, "
           "16) % splat(2, 16) + ramp(0, 1, 16) / splat(2, 16) % splat(2, 16) * splat(16, "
           "16) + ramp(0, 1, 16) / splat(4, 16) * splat(4, 16))])\n"
           "      alloc stack y.part2: f32[32]\n"
           "        y.part2[ramp(0, 1, 16)] = y.once0[ramp(0, 1, 16)] + y.once1[ramp(0, "
           "1, 16)] * splat(-1.0, 16)\n"
           "        y.part2[ramp(16, 1, 16)] = y.once0[ramp(0, 1, 16)] + y.once1[ramp(0, "
           "1, 16)]\n"
           "        y[ramp(no * 32, 1, 32)] = y.part2[ramp(0, 1, 32) % splat(2, 32) + "
           "ramp(0, 1, 32) / splat(2, 32) % splat(2, 32) * splat(16, 32) + ramp(0, 1, 32) "
           "/ splat(4, 32) % splat(4, 32) * splat(4, 32) + ramp(0, 1, 32) / splat(16, 32) "
           "* splat(2, 32)]\n");
}
END_TEST

/* Lanes that repeat in no pattern of bits stay as they are. */
START_TEST(golden_repeats_not)
{
    const char *text = "nest threes\n"
                       "in     x: f32[8]\n"
                       "out    y: f32[8]\n"
                       "stage y\n"
                       "  for no in 0..1\n"
                       "    for l in 0..8 vector\n"
                       "      y[l] = exp(x[l / 3])\n";
    golden("repeats", text, "");
}
END_TEST

START_TEST(golden_cut)
{
    const char *text = "nest long\n"
                       "in     x: f32[64]\n"
                       "out    y: f32[64]\n"
                       "stage y\n"
                       "  for no in 0..2\n"
                       "    for l in 0..32 vector\n"
                       "      y[no * 32 + l] = x[no * 32 + l / 2] * 2.0\n";
    golden("cut", text,
           "nest long\n"
           "in     x: f32[64]\n"
           "out    y: f32[64]\n"
           "for no in 0..2\n"
           "  y[ramp(no * 32, 1, 16)] = x[splat(no * 32, 16) + ramp(0, 1, 16) / splat(2, 16)] * "
           "splat(2.0, 16)\n"
           "  y[ramp(no * 32 + 16, 1, 16)] = x[splat(no * 32 + 8, 16) + ramp(0, 1, 16) / "
           "splat(2, 16)] * splat(2.0, 16)\n");
}
END_TEST

/* Of four parts the last two hold no lane that runs. */
START_TEST(golden_cut_mask)
{
    const char *text = "nest long\n"
                       "in     x: f32[20]\n"
                       "out    y: f32[20]\n"
                       "stage y\n"
                       "  for l in 0..64 vector mask\n"
                       "    if l < 20\n"
                       "      y[l] = x[l]\n";
    golden("cut", text,
           "nest long\n"
           "in     x: f32[20]\n"
           "out    y: f32[20]\n"
           "if true\n"
           "  if ramp(0, 1, 16) < splat(20, 16)\n"
           "    y[ramp(0, 1, 16)] = (x[ramp(0, 1, 16)] if ramp(0, 1, 16) < splat(20, 16) else "
           "splat(0.0, 16))\n"
           "  if ramp(16, 1, 16) < splat(20, 16)\n"
           "    y[ramp(16, 1, 16)] = (x[ramp(16, 1, 16)] if ramp(16, 1, 16) < splat(20, 16) else "
           "splat(0.0, 16))\n");
}
END_TEST

START_TEST(golden_hoist)
{
    const char *text = "nest rows\n"
                       "dyn    N\n"
                       "in     x: f32[4, 8]\n"
                       "in     d: f32[4, N, 8]\n"
                       "out    y: f32[4, N, 8]\n"
                       "stage y\n"
                       "  for n in 0..4\n"
                       "    for c in 0..N\n"
                       "      for l in 0..8 vector\n"
                       "        y[n, c, l] = d[n, c, l] + (x[n, l] + 1.0) * 2.0\n";
    golden("hoist", text,
           "nest rows\n"
           "dyn    N\n"
           "in     x: f32[32]\n"
           "in     d: f32[N * 32]\n"
           "out    y: f32[N * 32]\n"
           "for n in 0..4\n"
           "  if 0 < N\n"
           "    let y.hoist0 = (x[ramp(n * 8, 1, 8)] + splat(1.0, 8)) * splat(2.0, 8)\n"
           "      for c in 0..N\n"
           "        y[ramp(c * 8 + n * (N * 8), 1, 8)] = d[ramp(c * 8 + n * (N * 8), 1, 8)] + "
           "y.hoist0\n");
}
END_TEST

/* A turn that may not read x: it is not read before the loop. */
START_TEST(golden_hoist_not)
{
    const char *text = "nest rows\n"
                       "in     x: f32[8]\n"
                       "in     d: f32[9, 8]\n"
                       "out    y: f32[9, 8]\n"
                       "stage y\n"
                       "  for c in 0..9\n"
                       "    if d[c, 0] < 0.5\n"
                       "      for l in 0..8 vector\n"
                       "        y[c, l] = d[c, l] + (x[l] + 1.0) * 2.0\n";
    golden("hoist", text, "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_text");
    TCase *t = tcase_create("golden");
    tcase_add_test(t, golden_rows);
    tcase_add_test(t, golden_taps);
    tcase_add_test(t, golden_triangle);
    tcase_add_test(t, golden_join);
    tcase_add_test(t, golden_join_not);
    tcase_add_test(t, golden_contract);
    tcase_add_test(t, golden_contract_dynamic);
    tcase_add_test(t, golden_contract_not);
    tcase_add_test(t, golden_contract_clipped);
    tcase_add_test(t, golden_contract_radix);
    tcase_add_test(t, golden_unwanted);
    tcase_add_test(t, golden_quotients);
    tcase_add_test(t, golden_quotients_of_temporaries);
    tcase_add_test(t, golden_compares);
    tcase_add_test(t, golden_compares_bytes);
    tcase_add_test(t, golden_join_writes_read);
    tcase_add_test(t, golden_join_blocks);
    tcase_add_test(t, golden_join_blocks_not);
    tcase_add_test(t, golden_peel);
    tcase_add_test(t, golden_updates);
    tcase_add_test(t, golden_partials);
    tcase_add_test(t, golden_flatten);
    tcase_add_test(t, golden_unroll);
    tcase_add_test(t, golden_regs);
    tcase_add_test(t, golden_kernel);
    tcase_add_test(t, golden_mask);
    tcase_add_test(t, golden_mask_inside);
    tcase_add_test(t, golden_repeats);
    tcase_add_test(t, golden_repeats_blocks);
    tcase_add_test(t, golden_repeats_not);
    tcase_add_test(t, golden_cut);
    tcase_add_test(t, golden_cut_mask);
    tcase_add_test(t, golden_hoist);
    tcase_add_test(t, golden_hoist_not);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
