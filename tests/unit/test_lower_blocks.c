/* lower: loops that become one, temporaries that become a block, tiles that nobody wants: the text
 * that join, contract and unwanted leave of a small nest. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lower_run.h"

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
    lower_golden("join", text,
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
    lower_golden("join",
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
    lower_golden("join", text,
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
        lower_golden("join", text, "");
    }
}
END_TEST

/* A temporary whose blocks are each an iteration's own is one block inside it, in each dimension by
 * its own loop; what no loop moves stays as it is. */
START_TEST(golden_contract)
{
    lower_golden("contract",
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
                 "    alloc reg s: f32[1, 2, 4]\n"
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
    lower_golden(
        "contract",
        "nest grows\ndyn    N\nin     x: f32[N]\nout    y: f32[N]\ntemp   t: f32[N]\nstage t\n"
        "  for i in 0..N\n    t[i] = x[i] * 2.0\nstage y\n  for j in 0..N\n    y[j] = t[j]\n",
        "nest grows\ndyn    N\nin     x: f32[N]\nout    y: f32[N]\n"
        "for i in 0..N\n  alloc reg t: f32[1]\n    t[0] = x[i] * 2.0\n    y[i] = t[0]\n");
}
END_TEST

/* Once stages share their blocks, the blocks that are whole run without guards. */
START_TEST(golden_peel_blocks)
{
    lower_golden("peel_blocks",
                 "nest grows\ndyn    N\nin     x: f32[N]\nout    y: f32[N]\ntemp   t: f32[N]\n"
                 "stage t\n  for o in 0..(N + 7) / 8\n    for i in 0..8 vector\n"
                 "      if o * 8 + i < N\n        t[o * 8 + i] = x[o * 8 + i] * 2.0\n"
                 "stage y\n  for p in 0..(N + 7) / 8\n    for j in 0..8 vector\n"
                 "      if p * 8 + j < N\n        y[p * 8 + j] = t[p * 8 + j]\n",
                 "nest grows\n"
                 "dyn    N\n"
                 "in     x: f32[N]\n"
                 "out    y: f32[N]\n"
                 "for o in 0..N / 8\n"
                 "  alloc reg t: f32[8]\n"
                 "    for i in 0..8 vector\n"
                 "      t[i] = x[o * 8 + i] * 2.0\n"
                 "    for j in 0..8 vector\n"
                 "      y[o * 8 + j] = t[j]\n"
                 "for o.tail0 in N / 8..(N + 7) / 8\n"
                 "  alloc reg t.tail0: f32[8]\n"
                 "    for i.tail0 in 0..8 vector\n"
                 "      if o.tail0 * 8 + i.tail0 < N\n"
                 "        t.tail0[i.tail0] = x[o.tail0 * 8 + i.tail0] * 2.0\n"
                 "    for j.tail0 in 0..8 vector\n"
                 "      if o.tail0 * 8 + j.tail0 < N\n"
                 "        y[o.tail0 * 8 + j.tail0] = t.tail0[j.tail0]\n");
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
        lower_golden("contract", text, "");
    }
}
END_TEST

/* Guards say how large a block is where loops run over its end. */
START_TEST(golden_contract_clipped)
{
    lower_golden(
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

/* Of a pair only the index is read on: the value is used in lanes alone, and yet is no lane's own. */
START_TEST(golden_contract_lanes)
{
    lower_golden(
        "contract",
        "nest lanes\nin     x: f32[6, 4]\nout    y: f32[6, 4]\ntemp   s: f32[6, 4]\n"
        "stage s\n  for o in 0..6\n    for l in 0..4 vector\n      for k in 0..3\n"
        "        s[o, l] = x[o, l]\n        y[o, l] = s[o, l]\n",
        "nest lanes\nin     x: f32[6, 4]\nout    y: f32[6, 4]\n"
        "for o in 0..6\n  alloc reg s: f32[1, 4]\n    for l in 0..4 vector\n      for k in 0..3\n"
        "        s[0, l] = x[o, l]\n        y[o, l] = s[0, l]\n");
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
                 "for a in 0..3\n  for b in 0..2\n    alloc reg s: f32[2]\n      for i in 0..2\n"
                 "        s[i] = x[i]\n      y[a * 4 + b] = s[0]\n");
        lower_golden("contract", text, step == 4 ? want : "");
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
        lower_golden("join", text, "");
    }
    lower_golden(
        "join",
        "nest two\nin     x: f32[6]\nout    y: f32[6]\nout    z: f32[6]\nstage y\n  for t in 0..6\n"
        "    y[t] = x[t] + 1.0\nstage z\n  for u in 0..6\n    z[u] = x[u] - 1.0\n",
        "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_blocks");
    TCase *t = tcase_create("golden");
    tcase_add_test(t, golden_join);
    tcase_add_test(t, golden_join_writes_read);
    tcase_add_test(t, golden_join_blocks);
    tcase_add_test(t, golden_join_blocks_not);
    tcase_add_test(t, golden_contract);
    tcase_add_test(t, golden_contract_dynamic);
    tcase_add_test(t, golden_peel_blocks);
    tcase_add_test(t, golden_contract_not);
    tcase_add_test(t, golden_contract_clipped);
    tcase_add_test(t, golden_contract_lanes);
    tcase_add_test(t, golden_contract_radix);
    tcase_add_test(t, golden_unwanted);
    tcase_add_test(t, golden_join_not);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
