/* sched, case by case: the golden nest of every primitive, a refusal for every code, and the texts
 * of traces and spaces. Cases live in tests/golden/sched: nests by name, then cases
 *
 *     === case NAME on NEST steps|trace        (steps: without the finish; trace: with it)
 *     split y.n 8 guard no ni
 *     ---
 *     the nest's text, or `refused CODE step N`
 *
 * QUERN_GOLDEN_UPDATE=1 writes what it sees instead of comparing. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/rng.h"
#include "sched/sched.h"

enum { CASES_MAX = 128, TEXT_MAX = 1 << 18 };

/* ---- golden files ---------------------------------------------------------------------------- */

struct section {
    char kind[8], name[64], on[32], how[8];
    const char *body, *expect; /* of a case: trace lines, then what comes out */
    size_t body_n, expect_n;
};

static size_t split_sections(const char *text, struct section *out)
{
    size_t n = 0;
    for (const char *at = strstr(text, "=== "); at && n < CASES_MAX; n++) {
        struct section *s = &out[n];
        memset(s, 0, sizeof *s);
        sscanf(at, "=== %7s %63s on %31s %7s", s->kind, s->name, s->on, s->how);
        s->body = strchr(at, '\n') + 1;
        const char *next = strstr(s->body, "\n=== "), *rule = strstr(s->body, "---\n");
        const char *end = next ? next + 1 : s->body + strlen(s->body);
        s->body_n = (size_t)(end - s->body);
        if (rule && rule < end) {
            s->body_n = (size_t)(rule - s->body);
            s->expect = rule + 4;
            s->expect_n = (size_t)(end - s->expect);
        }
        at = next ? next + 1 : NULL;
    }
    return n;
}

/* What a case gives, as text; remembers the code refused. */
static void run_case(const struct section *nest, const struct section *c, struct buf *out,
                     enum reject *code)
{
    struct ir *ir = ir_new();
    struct nest *n;
    struct trace *t;
    struct rejection r = {.code = REJECT_NONE};
    struct err e = {0};
    struct buf text;
    buf_init(&text, TEXT_MAX);
    buf_puts(&text, "algorithm test\n");
    buf_put(&text, c->body, c->body_n);
    ck_assert_msg(nest_parse(ir, nest->name, nest->body, nest->body_n, &n, &e) == RC_OK, "%s",
                  e.msg);
    ck_assert_msg(trace_parse(c->name, text.p, text.n, &t, &e) == RC_OK, "%s", e.msg);
    enum rc rc = RC_OK;
    if (strcmp(c->how, "trace") == 0)
        rc = sched_apply(n, t, &r);
    else
        for (int i = 0; i < t->n && rc == RC_OK; i++) {
            rc = sched_apply_step(n, &t->step[i], &r);
            r.step = i;
        }
    *code = rc == RC_OK ? REJECT_NONE : r.code;
    if (rc != RC_OK) {
        buf_printf(out, "refused %s step %d\n%s\n", reject_name(r.code), r.step, r.detail);
    } else {
        ck_assert_msg(nest_verify(n, NEST_SCHEDULED, &e) == RC_OK, "%s: %s", c->name, e.msg);
        nest_print(out, n);
    }
    trace_free(t);
    ir_free(ir);
    buf_fini(&text);
}

static void run_file(const char *file, bool *seen)
{
    char path[512], *text;
    size_t len;
    struct err e;
    static struct section s[CASES_MAX];
    struct buf all;
    bool update = getenv("QUERN_GOLDEN_UPDATE") != NULL;
    snprintf(path, sizeof path, QN_SOURCE_DIR "/tests/golden/sched/%s", file);
    ck_assert_int_eq(fs_read(path, TEXT_MAX, &text, &len, &e), RC_OK);
    buf_init(&all, TEXT_MAX);
    size_t n = split_sections(text, s);
    ck_assert_uint_gt(n, 4);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s[i].kind, "nest") == 0) {
            buf_printf(&all, "=== nest %s\n%.*s", s[i].name, (int)s[i].body_n, s[i].body);
            continue;
        }
        size_t j = 0;
        while (j < n && !(strcmp(s[j].kind, "nest") == 0 && strcmp(s[j].name, s[i].on) == 0)) j++;
        ck_assert_msg(j < n, "no nest %s", s[i].on);
        struct buf got;
        enum reject code;
        buf_init(&got, TEXT_MAX);
        run_case(&s[j], &s[i], &got, &code);
        seen[code] = true;
        buf_printf(&all, "=== case %s on %s %s\n%.*s---\n%s", s[i].name, s[i].on, s[i].how,
                   (int)s[i].body_n, s[i].body, got.p);
        bool same = got.n == s[i].expect_n && memcmp(got.p, s[i].expect, got.n) == 0;
        ck_assert_msg(same || update, "%s: %s\n%s", file, s[i].name, got.p);
        buf_fini(&got);
    }
    if (update) ck_assert_int_eq(fs_write(path, all.p, all.n, &e), RC_OK);
    buf_fini(&all);
    mem_free(text);
}

START_TEST(primitives_give_their_golden_nests)
{
    bool seen[REJECT_COUNT] = {false};
    run_file("prims.txt", seen);
    for (int i = 1; i < REJECT_COUNT; i++)
        ck_assert_msg(!seen[i], "a golden case is refused: %s", reject_name((enum reject)i));
}
END_TEST

START_TEST(every_code_is_refused_somewhere)
{
    bool seen[REJECT_COUNT] = {false};
    run_file("rejects.txt", seen);
    ck_assert_msg(!seen[REJECT_NONE] || getenv("QUERN_GOLDEN_UPDATE"),
                  "a case that must fail was accepted");
    seen[REJECT_NONE] = seen[REJECT_BAD_ARGS] = true; /* the next test */
    for (int i = 0; i < REJECT_COUNT; i++)
        ck_assert_msg(seen[i] || getenv("QUERN_GOLDEN_UPDATE"), "no case is refused with %s",
                      reject_name((enum reject)i));
}
END_TEST

START_TEST(a_made_up_step_is_refused)
{
    struct ir *ir = ir_new();
    struct nest *n = nest_new(ir, "empty");
    struct rejection r;
    struct step s = {.prim = PRIM_SPLIT, .n = 2, .arg = {"y.m", "4"}};
    ck_assert_int_eq(sched_apply_step(n, &s, &r), RC_INPUT);
    ck_assert_int_eq(r.code, REJECT_BAD_ARGS);
    s = (struct step){.prim = PRIM_PACK, .n = 3, .arg = {"w", "order", "0"}};
    ck_assert_int_eq(sched_apply_step(n, &s, &r), RC_INPUT);
    ck_assert_int_eq(r.code, REJECT_BAD_ARGS);
    ir_free(ir);
}
END_TEST

START_TEST(a_refusal_is_explained)
{
    static const char nest[] = "nest n\nin     x: f32[7]\nout    y: f32[7]\nstage y\n  for y.i in "
                               "0..7\n    y[y.i] = x[y.i]\n";
    static const char trace[] = "algorithm a\nsplit y.i 2 exact io ii\n";
    struct ir *ir = ir_new();
    struct nest *n;
    struct trace *t;
    struct rejection r;
    struct buf b;
    buf_init(&b, 4096);
    ck_assert_int_eq(nest_parse(ir, "n", nest, strlen(nest), &n, NULL), RC_OK);
    ck_assert_int_eq(trace_parse("t", trace, strlen(trace), &t, NULL), RC_OK);
    ck_assert_int_eq(sched_apply(n, t, &r), RC_INPUT);
    sched_explain(&b, n, t, &r);
    ck_assert_str_eq(b.p, "step 1: split y.i 2 exact io ii\n"
                          "  refused (split_exact): `exact` needs a constant extent that the "
                          "factor divides; use guard, peel, mask, shift or pad\n"
                          "  here: 2 into the extent of 'y.i'\n"
                          "  nest n\n"
                          "  in     x: f32[7]\n"
                          "  out    y: f32[7]\n"
                          "  stage y\n"
                          ">   for y.i in 0..7\n"
                          "      y[y.i] = x[y.i]\n");
    buf_fini(&b);
    trace_free(t);
    ir_free(ir);
}
END_TEST

/* ---- traces ---------------------------------------------------------------------------------- */

START_TEST(traces_return)
{
    static const char text[] = "algorithm winograd m=4 points=0:1:-1\n"
                               "split y.k 32 mask y.ko y.ki\n"
                               "reorder y.ko y.ki\n"
                               "cache x . scratch order 1 0\n"
                               "pack u\n"
                               "compute_at acc y.ko\n"
                               "codegen misched=off addr=hoist\n";
    struct trace *t, *c;
    struct buf b;
    buf_init(&b, 4096);
    ck_assert_int_eq(trace_parse("t", text, strlen(text), &t, NULL), RC_OK);
    trace_print(&b, t);
    ck_assert_str_eq(b.p, text);
    ck_assert_int_eq(t->nparam, 2);
    ck_assert_str_eq(trace_choice(t, "addr", "plain"), "hoist");
    ck_assert_str_eq(trace_choice(t, "other", "plain"), "plain");
    c = trace_clone(t);
    trace_choose(c, "addr", "plain");
    buf_reset(&b);
    trace_print(&b, c);
    ck_assert_ptr_nonnull(strstr(b.p, "codegen misched=off addr=plain\n"));
    buf_fini(&b);
    trace_free(t);
    trace_free(c);
    static const char loose[] =
        "# a comment\n\n  algorithm\tdirect   # the default\r\n  unroll  y.q \n";
    ck_assert_int_eq(trace_parse("t", loose, strlen(loose), &t, NULL), RC_OK);
    buf_init(&b, 4096);
    trace_print(&b, t);
    ck_assert_str_eq(b.p, "algorithm direct\nunroll y.q\n");
    buf_fini(&b);
    trace_free(t);
}
END_TEST

static const struct {
    const char *text, *code, *place;
} bad_traces[] = {
    {"", "trace.empty", "t:1:1"},
    {"split y 2 exact a b\n", "trace.algorithm", "t:1:1"},
    {"algorithm\n", "trace.algorithm", "t:1:"},
    {"algorithm 4x\n", "trace.algorithm", "t:1:11"},
    {"algorithm a\nslpit y 2 exact a b\n", "trace.primitive", "t:2:1"},
    {"algorithm a\nsplit y.m\n", "trace.argument", "t:2:10"},
    {"algorithm a\nsplit y.m x exact a b\n", "trace.argument", "t:2:11"},
    {"algorithm a\nsplit y.m 04 exact a b\n", "trace.argument", "t:2:11"},
    {"algorithm a\nsplit y.m 4 round a b\n", "trace.argument", "t:2:13"},
    {"algorithm a\nsplit y.m 4 exact a b c\n", "trace.argument", "t:2:23"},
    {"algorithm a\nreorder y.m\n", "trace.argument", "t:2:12"},
    {"algorithm a\ncache x y.m\n", "trace.argument", "t:2:12"},
    {"algorithm a\ncache x y.m rag\n", "trace.argument", "t:2:13"},
    {"algorithm a\ncache x y.m reg order\n", "trace.argument", "t:2:22"},
    {"algorithm a\nunroll .\n", "trace.argument", "t:2:8"},
    {"algorithm a\nunroll a..b\n", "trace.argument", "t:2:8"},
    {"algorithm a\ncodegen misched\n", "trace.choice", "t:2:9"},
    {"algorithm a\ncodegen a=b a=c\n", "trace.choice", "t:2:13"},
    {"algorithm a\ncodegen\n", "trace.choice", "t:2:"},
    {"algorithm a\ncodegen a=b\nunroll y\n", "trace.order", "t:3:1"},
    {"algorithm a\nreorder a b c d e f g h i j k l m\n", "trace.argument", "t:2:"},
    {"algorithm a\nunroll y\xff\n", "trace.bytes", "byte"},
    {"algorithm a\nunroll \x01\n", "trace.bytes", "byte"},
};

START_TEST(a_bad_trace_is_placed)
{
    struct trace *t = NULL;
    struct err e = {0};
    ck_assert_int_eq(trace_parse("t", bad_traces[_i].text, strlen(bad_traces[_i].text), &t, &e),
                     RC_INPUT);
    ck_assert_str_eq(e.code, bad_traces[_i].code);
    ck_assert_msg(strstr(e.msg, bad_traces[_i].place) != NULL, "%s", e.msg);
    ck_assert_ptr_null(t);
}
END_TEST

/* ---- spaces ---------------------------------------------------------------------------------- */

static void facts_make(struct facts *f)
{
    memset(f, 0, sizeof *f);
    facts_put(f, "N", 20);
    facts_put(f, "K", 12);
    facts_put(f, "layout.nhwc", 1);
    facts_put(f, "target.vregs", 32);
    facts_put(f, "threads", 1);
}

START_TEST(a_space_gives_traces)
{
    static const char text[] = "space s for op when layout == nhwc and N > 1  # here\n"
                               "algorithm direct m={K/6}\n"
                               "let half = N/2\n"
                               "knob A in 1 2 4 {half} where A <= 10\n"
                               "knob B in divisors(K)\n"
                               "knob C in up_to(N, 8 16 32 64)\n"
                               "knob T in peel shift\n"
                               "knob R in 2..4\n"
                               "let both = A*B\n"
                               "require both <= N and (T == shift or A != 4)\n"
                               "split y.n {both} {T} y.no y.ni\n"
                               "if N % A == 0\n"
                               "  unroll y.ni\n"
                               "else\n"
                               "  if T == shift\n"
                               "    vectorize y.ni\n"
                               "  end\n"
                               "end\n"
                               "cache x y.no scratch order 1 0\n"
                               "split y.k R guard k{R} ki\n"
                               "codegen misched=off c={C}\n";
    struct facts f;
    struct space *s;
    struct err e = {0};
    struct buf b;
    facts_make(&f);
    ck_assert_msg(space_parse("s", text, strlen(text), &f, &s, &e) == RC_OK, "%s", e.msg);
    ck_assert_str_eq(space_name(s), "s");
    ck_assert_str_eq(space_op(s), "op");
    ck_assert_str_eq(space_algorithm(s), "direct");
    ck_assert_int_eq(space_knobs(s), 5);
    int a = space_knob_find(s, "A"), bk = space_knob_find(s, "B"), c = space_knob_find(s, "C"),
        t = space_knob_find(s, "T");
    ck_assert_int_eq(space_knob_values(s, a), 4);
    ck_assert_int_eq(space_knob_value(s, a, 3), 10);
    ck_assert_int_eq(space_knob_values(s, bk), 6); /* 1 2 3 4 6 12 */
    ck_assert_int_eq(space_knob_value(s, bk, 4), 6);
    ck_assert_int_eq(space_knob_values(s, c), 3); /* 8 16 32: 32 covers 20 */
    ck_assert_int_eq(space_knob_value(s, c, 2), 32);
    ck_assert(space_knob_is_word(s, t) && !space_knob_is_word(s, a));
    ck_assert_int_eq(space_knob_find(s, "Z"), -1);
    ck_assert_double_eq(space_size(s), 4 * 6 * 3 * 2 * 3);
    int choice[] = {2, 2, 2, 1, 1};
    struct trace *tr = space_trace(s, choice);
    ck_assert_ptr_nonnull(tr);
    buf_init(&b, 4096);
    trace_print(&b, tr);
    ck_assert_str_eq(b.p, "algorithm direct m=2\nsplit y.n 12 shift y.no y.ni\nunroll y.ni\ncache "
                          "x y.no scratch order 1 0\n"
                          "split y.k 3 guard k3 ki\ncodegen misched=off c=32\n");
    trace_free(tr);
    buf_reset(&b);
    space_knob_text(s, t, 1, &b);
    ck_assert_str_eq(b.p, "shift");
    choice[3] = 0; /* A = 4 needs shift */
    ck_assert_ptr_null(space_trace(s, choice));
    ck_assert(!space_allows(s, choice));
    choice[0] = 0;
    ck_assert(space_allows(s, choice));
    buf_fini(&b);
    space_free(s);
    static const char off[] = "space s for op when layout != nhwc\nalgorithm a\n";
    ck_assert_int_eq(space_parse("s", off, strlen(off), &f, &s, &e), RC_OK);
    ck_assert_ptr_null(s);
}
END_TEST

#define HEAD "space s for op\nalgorithm a\n"
static const struct {
    const char *text, *code, *place;
} bad_spaces[] = {
    {"", "space.header", "s:1:1"},
    {"spice s for op\n", "space.header", "s:1:1"},
    {"space s in op\n", "space.header", "s:1:9"},
    {"space s for op when Q == 1\n", "space.unknown_name", "s:1:21"},
    {"space s for op when layuot == nhwc\n", "space.unknown_name", "s:1:21"},
    {"space s for op when\n", "space.expression", "s:1:"},
    {"space s for op 4\n", "space.header", "s:1:16"},
    {"space s for op\nunroll y\n", "space.algorithm", "s:2:1"},
    {HEAD "algorithm b\n", "space.algorithm", "s:3:"},
    {HEAD "knob A in\n", "space.knob_empty", "s:3:6"},
    {HEAD "knob A 1 2\n", "space.knob", "s:3:8"},
    {HEAD "knob A in 1 b\n", "space.knob", "s:3:13"},
    {HEAD "knob A in 1..100000\n", "space.knob", "s:3:"},
    {HEAD "knob A in 4 8 where A < 2\n", "space.knob_empty", "s:3:6"},
    {HEAD "knob A in 4 8\nknob B in {A}\n", "space.knob", "s:4:12"},
    {HEAD "knob A in 4 8\nknob B in 1 2 where B < A\n", "space.knob", "s:4:"},
    {HEAD "knob A in 4 8\nknob A in 4 8\n", "space.name", "s:4:6"},
    {HEAD "knob N in 4 8\n", "space.name", "s:3:6"},
    {HEAD "knob A in divisors(0)\n", "space.knob", "s:3:"},
    {HEAD "let N = 4\n", "space.name", "s:3:5"},
    {HEAD "let a 4\n", "space.let", "s:3:7"},
    {HEAD "let a = 4 5\n", "space.expression", "s:3:11"},
    {HEAD "let a = (4\n", "space.expression", "s:3:"},
    {HEAD "let a = mix(4, 2)\n", "space.call", "s:3:"},
    {HEAD "let a = min(4)\n", "space.call", "s:3:14"},
    {HEAD "require b\n", "space.unknown_name", "s:3:9"},
    {HEAD "if N\nunroll y\n", "space.if", "s:3:"},
    {HEAD "else\n", "space.if", "s:3:"},
    {HEAD "end\n", "space.if", "s:3:"},
    {HEAD "if N\nelse\nelse\nend\n", "space.if", "s:5:"},
    {HEAD "unrol y\n", "space.statement", "s:3:1"},
    {HEAD "split y {N\n", "space.word", "s:3:"},
    {HEAD "split y N} guard a b\n", "space.word", "s:3:10"},
    {HEAD "split y {n} guard a b\n", "space.unknown_name", "s:3:10"},
    {HEAD "split y 4 gaurd a b\n", "space.step", "s:3:1"},
    {HEAD "split y {-N} guard a b\n", "space.step", "s:3:1"},
    {HEAD "codegen a\n", "space.step", "s:3:1"},
    {HEAD "unroll y\xff\n", "scan.utf8", "s:3:9"},
};

START_TEST(a_bad_space_is_placed)
{
    struct facts f;
    struct space *s = NULL;
    struct err e = {0};
    facts_make(&f);
    ck_assert_int_eq(space_parse("s", bad_spaces[_i].text, strlen(bad_spaces[_i].text), &f, &s, &e),
                     RC_INPUT);
    ck_assert_str_eq(e.code, bad_spaces[_i].code);
    ck_assert_msg(strstr(e.msg, bad_spaces[_i].place) != NULL, "%s", e.msg);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(a_choice_that_divides_by_zero_is_not_allowed)
{
    static const char text[] =
        HEAD "knob A in 1 0\nlet b = 8/A\nrequire A == 1 or A == 0\nsplit y {b} guard a b2\n";
    struct facts f;
    struct space *s;
    facts_make(&f);
    ck_assert_int_eq(space_parse("s", text, strlen(text), &f, &s, NULL), RC_OK);
    ck_assert(space_allows(s, (int[]){0}));
    ck_assert(!space_allows(s, (int[]){1}));
    space_free(s);
}
END_TEST

/* ---- derived spaces -------------------------------------------------------------------------- */

static const char *const shapes[] = {
    /* a dot product row by row */
    "nest n\nin     x: f32[13, 29]\nconst  w: f32[29, 37]\nout    y: f32[13, 37]\ntemp   s: "
    "f32[13, 37]\nstage s\n  for s.i in 0..13\n    for s.j in 0..37\n      for s.k in 0..29 "
    "reduce\n"
    "        s[s.i, s.j] += x[s.i, s.k] * w[s.k, s.j]\nstage y\n  for y.i in 0..13\n    for y.j in "
    "0..37\n      y[y.i, y.j] = s[y.i, y.j]\n",
    /* softmax: two reductions that every column reads */
    "nest n\nin     x: f32[7, 50]\nout    y: f32[7, 50]\ntemp   m: f32[7]\ntemp   s: f32[7]\nstage "
    "m\n  for m.i in 0..7\n    for m.k in 0..50 reduce\n      m[m.i] max= x[m.i, m.k]\n"
    "stage s\n  for s.i in 0..7\n    for s.k in 0..50 reduce\n      s[s.i] += exp(x[s.i, s.k] - "
    "m[s.i])\nstage y\n  for y.i in 0..7\n    for y.k in 0..50\n      y[y.i, y.k] = exp(x[y.i, "
    "y.k] - m[y.i]) / s[y.i]\n",
    /* a single point, a recurrence, a dynamic extent */
    "nest n\nin     x: s8[1]\nout    y: s8[1]\nstage y\n  for y.i in 0..1\n    y[y.i] = x[y.i]\n",
    "nest n\nin     x: f32[9]\nout    y: f32[9]\nstage y\n  for y.t in 0..9 ordered\n    y[y.t] = "
    "x[y.t]\n",
    "nest n\ndyn    N\nin     x: f32[N, 4]\nout    y: f32[N, 4]\nstage y\n  for y.n in 0..N\n    "
    "for y.c in 0..4\n      y[y.n, y.c] = x[y.n, y.c] * 2.0\n",
    "nest n\nin     x: f32[]\nout    y: f32[]\nstage y\n  y[] = x[] + 1.0\n",
    /* rows against rows: lanes along k, or along j with w turned */
    "nest n\nin     x: f32[13, 29]\nin     w: f32[37, 29]\nout    y: f32[13, 37]\ntemp   s: "
    "f32[13, 37]\nstage s\n  for s.i in 0..13\n    for s.j in 0..37\n      for s.k in 0..29 "
    "reduce\n"
    "        s[s.i, s.j] += x[s.i, s.k] * w[s.j, s.k]\nstage y\n  for y.i in 0..13\n    for y.j in "
    "0..37\n      y[y.i, y.j] = s[y.i, y.j]\n",
    /* a statistic of a group of columns, read through another stage */
    "nest n\nin     x: f32[50, 24]\nout    y: f32[50, 24]\ntemp   s: f32[3]\ntemp   r: f32[3]\n"
    "stage s\n  for s.g in 0..3\n    for s.p in 0..50 reduce\n      for s.c in 0..8 reduce\n"
    "        s[s.g] += x[s.p, s.g * 8 + s.c]\nstage r\n  for r.g in 0..3\n    r[r.g] = s[r.g] / "
    "400.0\nstage y\n  for y.p in 0..50\n    for y.c in 0..24\n      y[y.p, y.c] = x[y.p, y.c] - "
    "r[y.c / 8]\n",
    /* all of it in one number */
    "nest n\nin     x: f32[1000]\nout    y: f32[1]\ntemp   s: f32[1]\nstage s\n  for s.i in "
    "0..1\n    for s.k in 0..1000 reduce\n      s[s.i] += x[s.k]\nstage y\n  for y.i in 0..1\n   "
    " y[y.i] = s[y.i]\n",
    /* a sum into three columns: every third element along k is near, along i a row apart */
    "nest n\nin     x: f32[40, 100]\nin     w: f32[100, 3]\nout    y: f32[40, 3]\ntemp   s: "
    "f32[40, "
    "3]\nstage s\n  for s.i in 0..40\n    for s.j in 0..3\n      for s.k in 0..100 reduce\n"
    "        s[s.i, s.j] += x[s.i, s.k] * w[s.k, s.j]\nstage y\n  for y.i in 0..40\n    for y.j in "
    "0..3\n      y[y.i, y.j] = s[y.i, y.j]\n",
    /* windows that overlap along three axes */
    "nest n\nin     x: f32[20, 60, 60, 64]\nout    y: f32[18, 58, 58, 64]\ntemp   s: f32[18, 58, "
    "58, "
    "64]\nstage s\n  for s.d in 0..18\n    for s.h in 0..58\n      for s.w in 0..58\n        for "
    "s.c in 0..64\n          for s.i in 0..3 reduce\n            for s.j in 0..3 reduce\n          "
    "   "
    " for s.k in 0..3 reduce\n                s[s.d, s.h, s.w, s.c] max= x[s.d + s.i, s.h + s.j, "
    "s.w "
    "+ s.k, s.c]\nstage y\n  for y.d in 0..18\n    for y.h in 0..58\n      for y.w in 0..58\n      "
    "  "
    "for y.c in 0..64\n          y[y.d, y.h, y.w, y.c] = s[y.d, y.h, y.w, y.c]\n",
    /* windows along a recurrence, which no loop may leave */
    "nest n\nin     x: f32[20, 60, 60, 64]\nout    y: f32[18, 60, 60, 64]\ntemp   s: f32[18, 60, "
    "60, "
    "64]\nstage s\n  for s.t in 0..18\n    for s.h in 0..60\n      for s.w in 0..60\n        for "
    "s.c in "
    "0..64\n          for s.i in 0..3 reduce\n            s[s.t, s.h, s.w, s.c] += x[s.t + s.i, "
    "s.h, s.w, "
    "s.c]\nstage y\n  for y.t in 0..18 ordered\n    for y.h in 0..60\n      for y.w in 0..60\n     "
    "   for "
    "y.c in 0..64\n          y[y.t, y.h, y.w, y.c] = s[y.t, y.h, y.w, y.c]\n",
    /* short rows and a sum of each */
    "nest n\nin     x: f32[40, 100]\nout    y: f32[40, 100]\ntemp   s: f32[40]\nstage s\n  for s.i "
    "in "
    "0..40\n    for s.k in 0..100 reduce\n      s[s.i] += x[s.i, s.k] * x[s.i, s.k]\nstage y\n  "
    "for y.i "
    "in 0..40\n    for y.k in 0..100\n      y[y.i, y.k] = x[y.i, y.k] / s[y.i]\n",
    /* groups of whole vectors */
    "nest n\nin     x: f32[50, 96]\nout    y: f32[50, 96]\ntemp   s: f32[3]\n"
    "stage s\n  for s.g in 0..3\n    for s.p in 0..50 reduce\n      for s.c in 0..32 reduce\n"
    "        s[s.g] += x[s.p, s.g * 32 + s.c]\nstage y\n  for y.p in 0..50\n    for y.c in "
    "0..96\n      y[y.p, y.c] = x[y.p, y.c] - s[y.c / 32]\n",
    /* sums of many columns */
    "nest n\nin     x: f32[50, 320]\nout    y: f32[320]\nstage y\n  for y.j in 0..320\n    for "
    "y.p in 0..50 reduce\n      y[y.j] += x[y.p, y.j]\n",
};

/* What the text of the derived space of a shape must (not) hold. */
static const struct {
    int shape;
    const char *has, *lacks;
} derived[] = {
    /* softmax: a row's maximum runs along the row and is folded at its end */
    {1, "split m.acc.k 16 mask m.acc.k_v m.acc.k_l\n", "vectorize m.acc.i"},
    /* and stays outside the columns, which all read the one sum */
    {1, "compute_at s y.i_r_o reg\n", "knob O4"},
    /* as many sums side by side as its reader's tile has rows, which are few orders of one walk */
    {1, "split s.i {min(G1, M2)} guard s.i_o s.i_i\n", "split s.i {G1}"},
    {1, "/min(G1, M2)))\n", NULL},
    {1, "knob F2 in 1 2 3 4 8 where F2 <= 7\n", NULL},
    {6, "knob F in 1 2 3 4 5 6 7 8 10 12 14 28 where", NULL},
    /* rows of the maximum and of what reads it: in blocks, by one knob */
    {1, "knob B2 in 1 2 4 7\nlet E2 = B2\n", NULL},
    {1, "    split m.i {B2} guard m.i_b m.i_r\n  end\n  reorder m.i_b m.i_r\nelse\n", NULL},
    {1, "else\n  split m.i 1 exact m.i_r m.i_one\nend\n", NULL},
    {1, "  reorder y.i_b y.i_r y.k\n", NULL},
    {6, "knob R0 in rows lanes\n", NULL},
    {6, "cache w y.j_o scratch order 1 0\n", NULL},
    /* columns of a group first, whole vectors of them, in registers of their own */
    {7, "columns s.c s.g s.col\n", "compute_at s y"},
    {7, "accumulate s.col s.col.acc\n", "compute_at s.col "},
    {13, "accumulate s s.acc\n", "columns"},
    /* sums of columns, no rows: all vectors side by side */
    {14, "knob V in 1 2 3 4 20 where", "knob F"},
    {8, "split s.k 16 mask s.k_v s.k_l\n", NULL},
    {9, "split s.k 16 mask s.k_v s.k_l\n", NULL},
    /* bands of lines of all planes */
    {10, "knob Z in 0 4 8 16 where Z < 58\n", NULL},
    {10, "  reorder y.h_o y.d y.h_i\n", NULL},
    {10, "knob X in bands columns\n", NULL},
    {10, "reorder y.h_o y.w_o y.d y.h_i\n", NULL},
    /* seven vectors a row: all of it at once, too */
    {11, "stage y\n", "knob Z"},
    {12, "knob V in 1 2 3 4 7 where (V - 1)*16 < 100\n", NULL},
    {12, "knob W0 in 1 2 4 8 7 where (W0 - 1)*16 < 100\n", NULL},
    {10, "knob V in 1 2 3 4 where", NULL},
};

START_TEST(a_derived_space_holds)
{
    struct ir *ir = ir_new();
    struct nest *n;
    struct facts f;
    struct space *s;
    struct err e = {0};
    const char *text = shapes[derived[_i].shape];
    facts_make(&f);
    facts_put(&f, "target.vector_bits", 512);
    facts_put(&f, "threads", 1);
    ck_assert_msg(nest_parse(ir, "n", text, strlen(text), &n, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(space_derive(n, "direct", &f, &s, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(strstr(space_text(s), derived[_i].has) != NULL, "no %s\n%s", derived[_i].has,
                  space_text(s));
    if (derived[_i].lacks)
        ck_assert_msg(!strstr(space_text(s), derived[_i].lacks), "there is %s\n%s",
                      derived[_i].lacks, space_text(s));
    space_free(s);
    ir_free(ir);
}
END_TEST

START_TEST(a_derived_space_is_legal)
{
    struct ir *ir = ir_new();
    struct nest *n;
    struct facts f;
    struct space *s;
    struct err e = {0};
    facts_make(&f);
    facts_put(&f, "target.vector_bits", 512);
    facts_put(&f, "threads", _i % 2 + 1);
    ck_assert_msg(nest_parse(ir, "n", shapes[_i / 2], strlen(shapes[_i / 2]), &n, &e) == RC_OK,
                  "%s", e.msg);
    ck_assert_msg(space_derive(n, "direct", &f, &s, &e) == RC_OK, "%s", e.msg);
    ck_assert_double_ge(space_size(s), 1);
    struct rng r;
    int legal = 0, allowed = 0;
    rng_seed(&r, 11);
    for (int i = 0; i < 100; i++) {
        int choice[32];
        for (int k = 0; k < space_knobs(s); k++)
            choice[k] = (int)rng_range(&r, 0, space_knob_values(s, k) - 1);
        struct trace *t = space_trace(s, choice);
        if (!t) continue;
        struct ir *own = ir_new();
        struct rejection rej;
        allowed++;
        legal += sched_apply(nest_clone(own, n), t, &rej) == RC_OK;
        ir_free(own);
        trace_free(t);
    }
    ck_assert_int_gt(allowed, 20);
    ck_assert_msg(legal * 10 >= allowed * 9, "%d of %d are legal\n%s", legal, allowed,
                  space_text(s));
    space_free(s);
    ir_free(ir);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit.sched");
    TCase *tc = tcase_create("sched");
    tcase_set_timeout(tc, 20);
    tcase_add_test(tc, primitives_give_their_golden_nests);
    tcase_add_test(tc, every_code_is_refused_somewhere);
    tcase_add_test(tc, a_made_up_step_is_refused);
    tcase_add_test(tc, a_refusal_is_explained);
    tcase_add_test(tc, traces_return);
    tcase_add_loop_test(tc, a_bad_trace_is_placed, 0, (int)QN_COUNT(bad_traces));
    tcase_add_test(tc, a_space_gives_traces);
    tcase_add_loop_test(tc, a_bad_space_is_placed, 0, (int)QN_COUNT(bad_spaces));
    tcase_add_test(tc, a_choice_that_divides_by_zero_is_not_allowed);
    tcase_add_loop_test(tc, a_derived_space_holds, 0, (int)QN_COUNT(derived));
    tcase_add_loop_test(tc, a_derived_space_is_legal, 0, 2 * (int)QN_COUNT(shapes));
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
