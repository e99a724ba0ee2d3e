/* lower: the text each pass leaves of a small nest, which is also its documentation. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

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
    lower_golden("guard_taps", text,
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
    lower_golden("tighten", text,
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
    lower_golden("tighten",
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
    lower_golden("tighten",
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

START_TEST(golden_peel)
{
    lower_golden("peel",
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
    lower_golden(
        "updates",
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

START_TEST(golden_flatten)
{
    lower_golden("flatten",
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
    lower_golden("unroll",
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
    lower_golden("regs",
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
    lower_golden(
        "kernel",
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
    lower_golden(
        "vectorize", text,
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
    lower_golden("vectorize", text,
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
    lower_golden(
        "repeats", text,
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
    lower_golden("repeats", text,
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
                 "        y.part2[ramp(0, 1, 16)] = y.once0[ramp(0, 1, 16)] + "
                 "neg(y.once1[ramp(0, 1, 16)])\n"
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
    lower_golden("repeats", text, "");
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
    lower_golden(
        "cut", text,
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

/* Of four parts the last two hold no lane that runs, the second only five. */
START_TEST(golden_cut_mask)
{
    const char *text = "nest long\n"
                       "in     x: f32[21]\n"
                       "out    y: f32[21]\n"
                       "stage y\n"
                       "  for l in 0..64 vector mask\n"
                       "    if l < 21\n"
                       "      y[l] = x[l]\n";
    lower_golden("cut", text,
                 "nest long\n"
                 "in     x: f32[21]\n"
                 "out    y: f32[21]\n"
                 "if true\n"
                 "  y[ramp(0, 1, 16)] = x[ramp(0, 1, 16)]\n"
                 "  if ramp(16, 1, 8) < splat(21, 8)\n"
                 "    y[ramp(16, 1, 8)] = (x[ramp(16, 1, 8)] if ramp(16, 1, 8) < splat(21, 8) else "
                 "splat(0.0, 8))\n");
}
END_TEST

/* A load keeps its own condition. */
START_TEST(golden_cut_keeps)
{
    lower_golden("cut",
                 "nest keeps\nin     x: f32[8]\nout    y: f32[8]\nstage y\n"
                 "  for l in 0..16 vector mask\n    if l < 8\n"
                 "      y[l] = (x[l - 1] if 1 <= l else 0.0)\n",
                 "nest keeps\nin     x: f32[8]\nout    y: f32[8]\nif true\n"
                 "  y[ramp(0, 1, 8)] = (x[ramp(-1, 1, 8)] if splat(1, 8) <= ramp(0, 1, 8) else "
                 "splat(0.0, 8))\n");
}
END_TEST

/* Two lanes run: four stay; four of four: no mask is left. */
START_TEST(golden_cut_short)
{
    for (int n = 2; n <= 4; n += 2) {
        char text[400], want[600];
        snprintf(text, sizeof text,
                 "nest short\nin     x: f32[%d]\nout    y: f32[%d]\nstage y\n"
                 "  for l in 0..16 vector mask\n    if l < %d\n      y[l] = x[l]\n",
                 n, n, n);
        snprintf(want, sizeof want, "nest short\nin     x: f32[%d]\nout    y: f32[%d]\nif true\n%s",
                 n, n,
                 n == 4 ? "  y[ramp(0, 1, 4)] = x[ramp(0, 1, 4)]\n"
                        : "  if ramp(0, 1, 4) < splat(2, 4)\n"
                          "    y[ramp(0, 1, 4)] = (x[ramp(0, 1, 4)] if ramp(0, 1, 4) < splat(2, 4) "
                          "else splat(0.0, 4))\n");
        lower_golden("cut", text, want);
    }
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
    lower_golden(
        "hoist", text,
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

/* Numbers for all lanes, of registers too; not those that the loop changes, nor what is one load. */
START_TEST(golden_hoist_numbers)
{
    const char *text = "nest rows\n"
                       "in     x: f32[6, 32]\n"
                       "out    y: f32[6, 32]\n"
                       "out    z: f32[6, 32]\n"
                       "for m in 0..6\n"
                       "  alloc reg s: f32[1]\n"
                       "    stage s\n"
                       "      s[0] = max(x[m, 0], 0.5)\n"
                       "    stage y\n"
                       "      for n in 0..4\n"
                       "        for l in 0..8 vector\n"
                       "          y[m, n * 8 + l] = x[m, n * 8 + l] * (2.0 - s[0]) + s[0]\n"
                       "    stage z\n"
                       "      for k in 0..4\n"
                       "        for j in 0..8 vector\n"
                       "          z[m, k * 8 + j] = y[m, k * 8 + j] - (2.0 - x[m, k * 8])\n";
    lower_golden("hoist", text,
                 "nest rows\n"
                 "in     x: f32[192]\n"
                 "out    y: f32[192]\n"
                 "out    z: f32[192]\n"
                 "for m in 0..6\n"
                 "  alloc reg s: f32[1]\n"
                 "    s[0] = max(x[m * 32], 0.5)\n"
                 "    let y.hoist0 = splat(2.0 - s[0], 8)\n"
                 "      for n in 0..4\n"
                 "        y[ramp(m * 32 + n * 8, 1, 8)] = x[ramp(m * 32 + n * 8, 1, 8)] * y.hoist0 "
                 "+ splat(s[0], "
                 "8)\n"
                 "    for k in 0..4\n"
                 "      z[ramp(m * 32 + k * 8, 1, 8)] = y[ramp(m * 32 + k * 8, 1, 8)] - splat(2.0 "
                 "- x[m * 32 + k * "
                 "8], 8)\n");
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
    lower_golden("hoist", text, "");
    /* a number that each turn sets */
    const char *own = "nest rows\n"
                      "in     x: f32[4, 8]\n"
                      "out    y: f32[4, 8]\n"
                      "alloc reg s: f32[1]\n"
                      "  for n in 0..4\n"
                      "    stage s\n"
                      "      s[0] = x[n, 0]\n"
                      "    stage y\n"
                      "      for l in 0..8 vector\n"
                      "        y[n, l] = x[n, l] * (2.0 - s[0])\n";
    lower_golden("hoist", own, "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_text");
    TCase *t = tcase_create("golden");
    tcase_add_test(t, golden_rows);
    tcase_add_test(t, golden_taps);
    tcase_add_test(t, golden_triangle);
    tcase_add_test(t, golden_peel);
    tcase_add_test(t, golden_updates);
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
    tcase_add_test(t, golden_cut_short);
    tcase_add_test(t, golden_cut_keeps);
    tcase_add_test(t, golden_hoist);
    tcase_add_test(t, golden_hoist_numbers);
    tcase_add_test(t, golden_hoist_not);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
