/* lower: reductions along lanes and in several vectors (chain, partials, pairs): the text they leave. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

START_TEST(golden_columns_apart)
{
    /* two vectors of columns wait for the addition before: of six rows every fourth in the same vectors */
    lower_golden("partials",
                 "nest columns\n"
                 "in     x: f32[120, 16]\n"
                 "out    y: f32[16]\n"
                 "alloc reg s: f32[16]\n"
                 "  stage s\n"
                 "    for p in 0..20 reduce\n"
                 "      for u in 0..6 unroll reduce\n"
                 "        for c in 0..2 unroll\n"
                 "          for l in 0..8 vector\n"
                 "            s[c * 8 + l] += x[p * 6 + u, c * 8 + l]\n"
                 "  stage y\n"
                 "    for v in 0..2 unroll\n"
                 "      for w in 0..8 vector\n"
                 "        y[v * 8 + w] = s[v * 8 + w]\n",
                 "nest columns\n"
                 "in     x: f32[120, 16]\n"
                 "out    y: f32[16]\n"
                 "alloc reg s: f32[16]\n"
                 "  for c.init in 0..2 unroll\n"
                 "    for l.init in 0..8 vector\n"
                 "      s[c.init * 8 + l.init] = 0.0\n"
                 "  alloc reg s.part0: f32[64]\n"
                 "    for part.e3 in 0..8 unroll\n"
                 "      for part.l4 in 0..8 vector\n"
                 "        s.part0[part.e3 * 8 + part.l4] = 0.0\n"
                 "    for p in 0..20 reduce\n"
                 "      for u in 0..6 unroll reduce\n"
                 "        for c in 0..2 unroll\n"
                 "          for l in 0..8 vector\n"
                 "            s.part0[(c * 4 + u % 4) * 8 + l] = s.part0[(c * 4 + u % 4) * 8 "
                 "+ l] + x[p * 6 + u, c * 8 + l]\n"
                 "    for part.p5 in 0..2 unroll\n"
                 "      for part.i6 in 0..2 unroll\n"
                 "        for part.l7 in 0..8 vector\n"
                 "          s.part0[(part.p5 * 4 + part.i6) * 8 + part.l7] = s.part0[(part.p5 "
                 "* 4 + part.i6) * 8 + part.l7] + s.part0[(part.p5 * 4 + part.i6 + 2) * 8 + "
                 "part.l7]\n"
                 "    for part.p8 in 0..2 unroll\n"
                 "      for part.i9 in 0..1 unroll\n"
                 "        for part.l10 in 0..8 vector\n"
                 "          s.part0[(part.p8 * 4 + part.i9) * 8 + part.l10] = "
                 "s.part0[(part.p8 * 4 + part.i9) * 8 + part.l10] + s.part0[(part.p8 * 4 + "
                 "part.i9 + 1) * 8 + part.l10]\n"
                 "    for part.p2 in 0..2 unroll\n"
                 "      for part.l1 in 0..8 vector\n"
                 "        s[part.p2 * 8 + part.l1] = s[part.p2 * 8 + part.l1] + "
                 "s.part0[part.p2 * 32 + part.l1]\n"
                 "  for v in 0..2 unroll\n"
                 "    for w in 0..8 vector\n"
                 "      y[v * 8 + w] = s[v * 8 + w]\n");
    /* too few rows to gain */
    lower_golden("partials",
                 "nest columns\n"
                 "in     x: f32[12, 8]\n"
                 "out    y: f32[8]\n"
                 "alloc reg s: f32[8]\n"
                 "  stage s\n"
                 "    for p in 0..4 reduce\n"
                 "      for u in 0..3 unroll reduce\n"
                 "        for l in 0..8 vector\n"
                 "          s[l] += x[p * 3 + u, l]\n"
                 "  stage y\n"
                 "    for w in 0..8 vector\n"
                 "      y[w] = s[w]\n",
                 "");
}
END_TEST

START_TEST(golden_pairs)
{
    /* two vectors of a row; the unrolled loop reduces no more */
    lower_golden(
        "pairs",
        "nest arg\n"
        "in     x: f32[4, 48]\n"
        "out    v: f32[4]\n"
        "out    i: s32[4]\n"
        "stage v\n"
        "  for m in 0..4\n"
        "    for c in 0..3 reduce\n"
        "      for u in 0..2 unroll reduce\n"
        "        for l in 0..8 vector reduce\n"
        "          {v, i}[m] argmin= {x[m, c * 16 + u * 8 + l], cast(s32, c * 16 + u * 8 + l)}\n",
        "nest arg\n"
        "in     x: f32[4, 48]\n"
        "out    v: f32[4]\n"
        "out    i: s32[4]\n"
        "stage v\n"
        "  for m in 0..4\n"
        "    v[m] = f32(inf)\n"
        "    i[m] = s32(2147483647)\n"
        "    alloc reg v.pair0: f32[16]\n"
        "      alloc reg i.pair1: s32[16]\n"
        "        for part.e6 in 0..2 unroll\n"
        "          for part.l7 in 0..8 vector\n"
        "            v.pair0[part.e6 * 8 + part.l7] = f32(inf)\n"
        "            i.pair1[part.e6 * 8 + part.l7] = s32(2147483647)\n"
        "        for c in 0..3 reduce\n"
        "          for u in 0..2 unroll\n"
        "            for l in 0..8 vector\n"
        "              {v.pair0, i.pair1}[u * 8 + l] argmin= {x[m, c * 16 + u * "
        "8 + l], cast(s32, c * 16 + u * 8 + l)} started\n"
        "        for part.p8 in 0..1 unroll\n"
        "          for part.i9 in 0..1 unroll\n"
        "            for part.l10 in 0..8 vector\n"
        "              {v.pair0, i.pair1}[(part.p8 * 2 + part.i9) * 8 + "
        "part.l10] argmin= {v.pair0[(part.p8 * 2 + part.i9 + 1) * 8 + part.l10], i.pair1[(part.p8 "
        "* 2 + part.i9 + 1) * 8 + part.l10]} started\n"
        "        alloc reg v.best3: f32[1]\n"
        "          alloc reg i.first4: s32[1]\n"
        "            v.best3[0] = f32(inf)\n"
        "            for part.l2 in 0..8 vector reduce\n"
        "              v.best3[0] min= v.pair0[part.l2] started\n"
        "            i.first4[0] = s32(2147483647)\n"
        "            for part.l5 in 0..8 vector reduce\n"
        "              i.first4[0] min= select(v.pair0[part.l5] == v.best3[0], "
        "i.pair1[part.l5], s32(2147483647)) started\n"
        "            {v, i}[m] argmin= {v.best3[0], i.first4[0]} started\n");
    /* one vector is the whole row: nothing to pick later */
    lower_golden("pairs",
                 "nest arg\n"
                 "in     x: f32[4, 8]\n"
                 "out    v: f32[4]\n"
                 "out    i: s32[4]\n"
                 "stage v\n"
                 "  for m in 0..4\n"
                 "    for l in 0..8 vector reduce\n"
                 "      {v, i}[m] argmax= {x[m, l], cast(s32, l)}\n",
                 "");
}
END_TEST

START_TEST(golden_partials)
{
    /* three rows side by side, two vectors of each: the tile is folded once, after the last term */
    lower_golden(
        "partials",
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
        "      for part.i6 in 0..1 unroll\n"
        "        for part.l7 in 0..8 vector\n"
        "          y.part0[(part.p5 * 2 + part.i6) * 8 + part.l7] = y.part0[(part.p5 * 2 + "
        "part.i6) "
        "* 8 + part.l7] + y.part0[(part.p5 * 2 + part.i6 + 1) * 8 + part.l7]\n"
        "    for part.p2 in 0..3 unroll\n"
        "      if o * 3 + part.p2 < 5\n"
        "        for part.l1 in 0..8 vector reduce\n"
        "          y[o * 3 + part.p2] = y[o * 3 + part.p2] + y.part0[part.p2 * 16 + part.l1]\n");
    /* all unrolled: three vectors, added in pairs */
    lower_golden("partials",
                 "nest row\n"
                 "in     x: f32[5, 24]\n"
                 "out    y: f32[5]\n"
                 "stage y\n"
                 "  for m in 0..5\n"
                 "    for u in 0..3 unroll reduce\n"
                 "      for v in 0..8 vector reduce\n"
                 "        y[m] += x[m, u * 8 + v]\n",
                 "nest row\n"
                 "in     x: f32[5, 24]\n"
                 "out    y: f32[5]\n"
                 "for m in 0..5\n"
                 "  y[m] = 0.0\n"
                 "  alloc reg y.part0: f32[24]\n"
                 "    for part.e2 in 0..3 unroll\n"
                 "      for part.l3 in 0..8 vector\n"
                 "        y.part0[part.e2 * 8 + part.l3] = 0.0\n"
                 "    for u in 0..3 unroll reduce\n"
                 "      for v in 0..8 vector\n"
                 "        y.part0[u * 8 + v] = y.part0[u * 8 + v] + x[m, u * 8 + v]\n"
                 "    for part.p4 in 0..1 unroll\n"
                 "      for part.i5 in 0..1 unroll\n"
                 "        for part.l6 in 0..8 vector\n"
                 "          y.part0[(part.p4 * 3 + part.i5) * 8 + part.l6] = y.part0[(part.p4 * 3 "
                 "+ part.i5) * 8 + part.l6] + y.part0[(part.p4 * 3 + part.i5 + 2) * 8 + part.l6]\n"
                 "    for part.p7 in 0..1 unroll\n"
                 "      for part.i8 in 0..1 unroll\n"
                 "        for part.l9 in 0..8 vector\n"
                 "          y.part0[(part.p7 * 3 + part.i8) * 8 + part.l9] = y.part0[(part.p7 * 3 "
                 "+ part.i8) * 8 + part.l9] + y.part0[(part.p7 * 3 + part.i8 + 1) * 8 + part.l9]\n"
                 "    for part.l1 in 0..8 vector reduce\n"
                 "      y[m] = y[m] + y.part0[part.l1]\n");
    /* terms that are subtracted, too */
    struct lower_case c = {.target = lower_target(true), .dump_pass = "partials"};
    struct buf b;
    buf_init(&b, 1 << 20);
    c.dump = &b;
    lower_same("nest row\n"
               "in     x: f32[5, 24]\n"
               "out    y: f32[5]\n"
               "stage y\n"
               "  for m in 0..5\n"
               "    for u in 0..3 reduce\n"
               "      for v in 0..8 vector reduce\n"
               "        y[m] += neg(x[m, u * 8 + v])\n",
               &c);
    ck_assert_msg(strstr(b.p, "y.part0[v] = y.part0[v] + neg(x[m, u * 8 + v])") != NULL, "%s", b.p);
    lower_case_free(&c);
    buf_fini(&b);
    /* one iteration of the reduce loop: nothing to fold later */
    lower_golden("partials",
                 "nest row\n"
                 "in     x: f32[5, 8]\n"
                 "out    y: f32[5]\n"
                 "stage y\n"
                 "  for m in 0..5\n"
                 "    for v in 0..8 vector reduce\n"
                 "      y[m] += x[m, v]\n",
                 ""); /* the pass changes nothing */
    /* other statements between the loops: the fold stays inside them */
    lower_golden("partials",
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

int main(void)
{
    Suite *s = suite_create("lower_chain");
    TCase *t = tcase_create("golden");
    tcase_add_test(t, golden_columns_apart);
    tcase_add_test(t, golden_pairs);
    tcase_add_test(t, golden_partials);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
