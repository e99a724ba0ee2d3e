/* The C back end: both forms, real compilers with every warning an error, against the interpreter
 * bit for bit. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "base/fs.h"
#include "base/proc.h"
#include "lib/codegen_c_run.h"
#include "lib/codegen_cases.h"

static const struct {
    const char *cc, *std;
    enum c_form form;
} ways[] = {
    {"gcc", "-std=c11", C_VECTOR},
    {"clang-19", "-std=c11", C_VECTOR},
    {"gcc", "-std=c99", C_PORTABLE},
    {"clang-14", "-std=c99", C_PORTABLE},
};
enum { WAYS = QN_COUNT(ways) };

START_TEST(access_forms)
{
    static struct crun x;
    crun_open(&x, ways[_i].cc, ways[_i].std, ways[_i].form);
    for (int k = 0; k < CASE_ACCESS; k++) crun_add(&x, case_access[k], CGRUN_SMALL);
    ck_assert_int_eq(crun_check(&x, NULL), 0);
    crun_close(&x);
}
END_TEST

/* Every operator and cast of every type, scalar and in vectors with and without a C type. */
START_TEST(operators_and_casts)
{
    static struct crun x;
    struct buf b;
    int lanes[2] = {1, _i % 2 ? 16 : 3};
    if (ways[_i].form == C_VECTOR) lanes[0] = 8;
    buf_init(&b, 1 << 20);
    crun_open(&x, ways[_i].cc, ways[_i].std, ways[_i].form);
    for (int d = 0; d < TYPE_COUNT; d++) {
        for (int l = 0; l < 2; l++) {
            case_ops((enum dtype)d, lanes[l], false, &b);
            crun_add(&x, b.p, CGRUN_WILD);
        }
        case_casts((enum dtype)d, lanes[d % 2], (d + _i) % CASE_PARTS, &b);
        crun_add(&x, b.p, CGRUN_WILD);
    }
    buf_fini(&b);
    ck_assert_int_eq(crun_check(&x, NULL), 0);
    crun_close(&x);
}
END_TEST

/* ---- the generated test, the header, names --------------------------------------------------- */

static const char conv_nest[] = "nest conv\nin     x: f32[9,5]\nconst  while: f32[3,5,4]\nin     "
                                "int: f32[4]\nout    y: f32[7,4]\ntemp   y.sum: f32[7,4]\n"
                                "stage y.sum\n  for y.sum.p in 0..7\n    for y.sum.k in 0..4\n     "
                                " for y.sum.r in 0..3 reduce\n        for y.sum.c in 0..5 reduce\n"
                                "          y.sum[y.sum.p, y.sum.k] += x[y.sum.p + y.sum.r, "
                                "y.sum.c] * while[y.sum.r, y.sum.c, y.sum.k]\n"
                                "stage y\n  for y.p in 0..7\n    for y.k in 0..4\n      y[y.p, "
                                "y.k] = max(y.sum[y.p, y.k] + int[y.k], 0.0)\n";
static const char dyn_nest[] =
    "nest scale\ndyn    n\nin     x: s16[n,3]\nout    y: s32[n]\nstage y\n  for y.i in 0..n\n"
    "    y[y.i] = cast(s32, x[y.i, 0]) * cast(s32, x[y.i, 2]) - s32(7)\n";

static void write_text(const char *dir, const char *name, const struct buf *b)
{
    char path[128];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_int_eq(fs_write(path, b->p, b->n, &e), RC_OK);
}

static int run_in(const char *dir, const char *const *argv, char **out)
{
    int code = 0;
    struct err e;
    ck_assert_int_eq(proc_run(argv, dir, 60000, 1 << 16, out, &code, &e), RC_OK);
    return code;
}

/* Lowers `text` without a schedule, emits kernel and test; the oracle is printed from `oracle`.
 * with: what the header and the test are told, NULL: nothing. */
static void emit_with(const char *dir, const char *text, const char *oracle, enum c_form form,
                      const struct c_options *with)
{
    struct ir *ir = ir_new();
    struct nest *n, *naive;
    struct kernel k = {0};
    struct target t;
    struct err e;
    struct buf c, h, test;
    struct lower_options lo = {0};
    cgrun_host(&t);
    ck_assert_int_eq(nest_parse(ir, "t", text, strlen(text), &n, &e), RC_OK);
    ck_assert_int_eq(nest_parse(ir, "t", oracle, strlen(oracle), &naive, &e), RC_OK);
    ck_assert_msg(lower(n, &t, &lo, &k, &e) == RC_OK, "%s", e.msg);
    buf_init(&c, 1 << 20);
    buf_init(&h, 1 << 20);
    buf_init(&test, 1 << 20);
    struct c_options o = {.form = form,
                          .prefix = "app_",
                          .symbol = "conv",
                          .banner = "/* made by a test */\n",
                          .source = naive};
    if (with) {
        o.least = with->least;
        o.refused = with->refused;
        o.tuned = with->tuned;
        o.row = with->row;
        o.rows = with->rows;
        o.ahead = with->ahead;
    }
    ck_assert_msg(codegen_c(&k, &t, &o, &c, &h, &e) == RC_OK, "%s", e.msg);
    ck_assert_msg(codegen_c_test(naive, &k, &t, &o, &test, &e) == RC_OK, "%s", e.msg);
    write_text(dir, "app_conv.c", &c);
    write_text(dir, "app_conv.h", &h);
    write_text(dir, "app_conv_test.c", &test);
    buf_fini(&c);
    buf_fini(&h);
    buf_fini(&test);
    ir_free(ir);
}

static void emit_all(const char *dir, const char *text, const char *oracle, enum c_form form)
{
    emit_with(dir, text, oracle, form, NULL);
}

static void remove_all(const char *dir)
{
    static const char *const names[] = {"app_conv.c", "app_conv.h", "app_conv_test.c", "t", "u.cc"};
    char path[128];
    for (size_t i = 0; i < QN_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static int build_and_run(const char *dir, const char *cc, const char *std, char **out)
{
    const char *build[] = {
        cc,         std,       "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion",
        "-Wshadow", "-Werror", "-O2",       "-o",    "t",       "app_conv.c",   "app_conv_test.c",
        NULL};
    const char *run[] = {"./t", NULL};
    ck_assert_msg(run_in(dir, build, out) == 0, "%s", *out);
    mem_free(*out);
    return run_in(dir, run, out);
}

static void says_ok(const char *dir, int way)
{
    char *out = NULL;
    int code = build_and_run(dir, ways[way].cc, ways[way].std, &out);
    ck_assert_msg(code == 0, "%s", out);
    ck_assert_str_eq(out, "ok app_conv\n");
    mem_free(out);
}

START_TEST(generated_test_says_ok)
{
    const char *texts[] = {conv_nest, dyn_nest};
    for (size_t i = 0; i < 2; i++) {
        char dir[] = "/tmp/qn-cgt-XXXXXX";
        ck_assert_ptr_nonnull(mkdtemp(dir));
        emit_all(dir, texts[i], texts[i], ways[_i].form);
        says_ok(dir, _i);
        remove_all(dir);
    }
}
END_TEST

/* What the next turn of i reads (of the loop around k: r reduces) is asked for, past the operand in the last
 * one; portable C does not ask. */
START_TEST(asks_ahead)
{
    static const char nest[] =
        "nest rows\nin     x: f32[8, 96]\nout    y: f32[8, 32]\nstage y\n  for i in 0..8\n"
        "    for k in 0..2\n      for r in 0..3 reduce\n        for l in 0..16 vector\n"
        "          y[i, k * 16 + l] max= x[i, r * 32 + k * 16 + l]\n";
    const struct c_options with = {.ahead = AHEAD_TURN};
    char dir[] = "/tmp/qn-cgt-XXXXXX", path[64], *text = NULL;
    size_t n = 0;
    struct err e;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    emit_with(dir, nest, nest, ways[_i].form, &with);
    snprintf(path, sizeof path, "%s/app_conv.c", dir);
    ck_assert_int_eq(fs_read(path, 1 << 20, &text, &n, &e), RC_OK);
    const char *ask =
        "__builtin_prefetch((const void *)((uintptr_t)x + (uintptr_t)((i + 1) * 96 + k * "
        "16 + r * 32) * 4), 0, 2);\n";
    ck_assert_msg((strstr(text, ask) != NULL) == (ways[_i].form == C_VECTOR), "%s", text);
    ck_assert_msg((strstr(text, "prefetch") != NULL) == (ways[_i].form == C_VECTOR), "%s", text);
    says_ok(dir, _i);
    mem_free(text);
    remove_all(dir);
}
END_TEST

/* Vectors of f32 and s32 to 8 and 16 bits, beyond their bounds and at halves. */
START_TEST(narrow_casts)
{
    static const char nest[] =
        "nest bytes\nin     x: f32[40, 16]\nout    a: s8[40, 16]\nout    b: u8[40, 16]\n"
        "out    c: s16[40, 16]\nout    d: u16[40, 16]\nout    e: s8[40, 16]\n"
        "stage a\n  for i in 0..40\n    for l in 0..16 vector\n"
        "      a[i, l] = cast_sat_even(s8, x[i, l])\n"
        "stage b\n  for j in 0..40\n    for m in 0..16 vector\n"
        "      b[j, m] = cast_sat(u8, x[j, m])\n"
        "stage c\n  for k in 0..40\n    for n in 0..16 vector\n"
        "      c[k, n] = cast_sat_even(s16, x[k, n] * 300.0)\n"
        "stage d\n  for o in 0..40\n    for p in 0..16 vector\n"
        "      d[o, p] = cast_sat(u16, x[o, p] * 600.0)\n"
        "stage e\n  for q in 0..40\n    for r in 0..16 vector\n"
        "      e[q, r] = cast_sat(s8, cast(s32, x[q, r]) * s32(3))\n";
    static const struct c_values values[] = {{-300, 300, 2}};
    const struct c_row row = {NULL, values, true};
    const struct c_options with = {.row = &row, .rows = 1};
    char dir[] = "/tmp/qn-cgt-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    emit_with(dir, nest, nest, ways[_i].form, &with);
    says_ok(dir, _i);
    remove_all(dir);
}
END_TEST

/* An oracle that says something else: the generated test must notice. */
START_TEST(generated_test_says_no)
{
    struct buf other;
    char dir[] = "/tmp/qn-cgt-XXXXXX", *out = NULL, *at;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    buf_init(&other, 1 << 20);
    buf_puts(&other, conv_nest);
    at = strstr(other.p, "+ int[");
    ck_assert_ptr_nonnull(at);
    *at = '-';
    emit_all(dir, conv_nest, other.p, C_PORTABLE);
    ck_assert_int_eq(build_and_run(dir, "gcc", "-std=c99", &out), 1);
    ck_assert_msg(strncmp(out, "app_conv: output 3 element", 26) == 0, "%s", out);
    mem_free(out);
    buf_fini(&other);
    remove_all(dir);
}
END_TEST

/* Rows say which values an input has: an index outside of its table would be read from elsewhere. One
 * row is exact and one is not, where the oracle differs by less than rounding. */
static const char gather_nest[] =
    "nest gather\ndyn    v\nin     table: f32[v]\nin     ids: s32[40]\nin     half: bf16[40]\n"
    "out    y: f32[40]\nstage y\n  for y.i in 0..40\n"
    "    y[y.i] = table[cast(s64, ids[y.i])] + cast(f32, half[y.i])\n";

static int run_gather(bool exact, char **out)
{
    static const int64_t v = 3, least = 1, refused = 2;
    static const struct c_values values[] = {{64, 64, 1}, {0, 2, 1}, {0, 3, 4}};
    const struct c_row row = {&v, values, exact};
    const struct c_options with = {
        .least = &least, .refused = &refused, .tuned = &v, .row = &row, .rows = 1};
    struct buf other;
    char dir[] = "/tmp/qn-cgt-XXXXXX";
    const char *at = strstr(gather_nest, " + cast(f32, half");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    buf_init(&other, 1 << 20);
    buf_printf(&other, "%.*s * 1.0000002%s", (int)(at - gather_nest), gather_nest, at);
    emit_with(dir, gather_nest, other.p, C_PORTABLE, &with);
    const char *build[] = {"gcc",
                           "-std=c99",
                           "-O1",
                           "-Werror",
                           "-Wall",
                           "-Wconversion",
                           "-fsanitize=address,undefined",
                           "-o",
                           "t",
                           "app_conv.c",
                           "app_conv_test.c",
                           NULL};
    const char *run[] = {"./t", NULL};
    ck_assert_msg(run_in(dir, build, out) == 0, "%s", *out);
    mem_free(*out);
    int code = run_in(dir, run, out);
    char path[128], *h = NULL;
    size_t n = 0;
    struct err e;
    snprintf(path, sizeof path, "%s/app_conv.h", dir);
    ck_assert_int_eq(fs_read(path, 1 << 20, &h, &n, &e), RC_OK);
    ck_assert_ptr_nonnull(strstr(h, "extent    v >= 1; not every: the operator refuses v = 2\n"));
    mem_free(h);
    buf_fini(&other);
    remove_all(dir);
    return code;
}

START_TEST(generated_test_obeys_its_rows)
{
    char *out = NULL;
    int code = run_gather(false, &out);
    ck_assert_msg(code == 0, "%s", out);
    mem_free(out);
    ck_assert_int_eq(run_gather(true, &out), 1);
    /* 64.75 is not 64.7500153, and digits enough are printed to see it */
    ck_assert_msg(strstr(out, "output 3 element 0 is 64") && strstr(out, "00153\n"), "%s", out);
    mem_free(out);
}
END_TEST

/* The header is C++ too, and says what an app needs. */
START_TEST(header_is_complete)
{
    char dir[] = "/tmp/qn-cgt-XXXXXX", *out = NULL, *h = NULL, path[128];
    size_t n = 0;
    struct err e;
    struct buf user;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    emit_all(dir, conv_nest, conv_nest, C_VECTOR);
    buf_init(&user, 1 << 12);
    buf_puts(&user, "#include \"app_conv.h\"\nint f(void **b);\nint f(void **b) { app_conv_par *p "
                    "= nullptr; return app_conv(b, nullptr, "
                    "nullptr, p) + static_cast<int>(APP_CONV_SCRATCH_BYTES(2)); }\n");
    write_text(dir, "u.cc", &user);
    buf_fini(&user);
    const char *argv[] = {"clang++-19", "-std=c++14",    "-Wall", "-Wextra", "-pedantic",
                          "-Werror",    "-fsyntax-only", "u.cc",  NULL};
    ck_assert_msg(run_in(dir, argv, &out) == 0, "%s", out);
    mem_free(out);
    snprintf(path, sizeof path, "%s/app_conv.h", dir);
    ck_assert_int_eq(fs_read(path, 1 << 20, &h, &n, &e), RC_OK);
    ck_assert_ptr_nonnull(strstr(h, "buf[0]  read      x[9][5]: float, aligned to 4 bytes"));
    ck_assert_ptr_nonnull(strstr(h, "buf[3]  written   y[7][4]: float"));
    mem_free(h);
    remove_all(dir);
}
END_TEST

/* Hook, packed buffers and scratch in C as in machine code. */
static void forwards(void *ctx, int32_t (*body)(void *arg, int64_t i, int64_t worker), void *arg,
                     int64_t n)
{
    int64_t *calls = ctx;
    for (int64_t i = 0; i < n; i++) ck_assert_int_eq(body(arg, i, i & 1), 0);
    *calls += n;
}

START_TEST(hook_runs_the_parts)
{
    static struct crun x;
    static const char text[] =
        "nest t\nin     x: f32[64]\nconst  w: f32[16]\nout    y: f32[64]\npacked p: f32[16]\n"
        "for o in 0..2\n  for i in 0..2 parallel\n    for j in 0..16\n      y[(o * 2 + i) * 16 + "
        "j] = x[(o * 2 + i) * 16 + j] * p[j]\n"
        "pack\n  for c in 0..16\n    p[c] = w[15 - c]\n";
    int64_t calls = 0;
    struct par par = {forwards, &calls, 2};
    crun_open(&x, ways[_i].cc, ways[_i].std, ways[_i].form);
    crun_add(&x, text, CGRUN_SMALL);
    ck_assert_int_eq(crun_check(&x, &par), 0);
    ck_assert_int_eq(calls, 4);
    crun_close(&x);
}
END_TEST

/* -ffast-math would fold the rounding inside exp away and make every infinity undefined: gcc is told
 * not to, clang refuses. The values are checked by a program of its own, because the emitted test's
 * oracle could be as wrong. */
START_TEST(fast_math)
{
    static const char text[] = "nest ex\nin     x: f32[32]\nout    y: f32[32]\nstage y\n  for i in "
                               "0..2\n    for j in 0..16 "
                               "vector\n      y[i * 16 + j] = exp(x[i * 16 + j])\n";
    static const char main_text[] =
        "#include <math.h>\n#include \"app_conv.h\"\nint main(void)\n{\n    static float x[32], "
        "y[32];\n    void *buf[2] = {x, y};\n    for (int i = 0; i < 32; i++) x[i] = (float)i * "
        "0.375f - 6;\n    app_conv(buf, 0, 0, 0);\n    for (int i = 0; i < 32; i++)\n        if "
        "(fabs(y[i] - exp(x[i])) > 1e-6 * exp(x[i])) return 1;\n    return 0;\n}\n";
    char dir[] = "/tmp/quern-fast-XXXXXX", *out = NULL;
    struct buf b;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    emit_all(dir, text, text, _i ? C_PORTABLE : C_VECTOR);
    buf_init(&b, 1 << 16);
    buf_puts(&b, main_text);
    write_text(dir, "u.c", &b);
    const char *flags[][3] = {{"gcc", "-O3", "-ffast-math"},
                              {"gcc", "-Ofast", "-funroll-loops"},
                              {"clang-19", "-ffast-math", "-fno-fast-math"},
                              {"clang-19", "-O2", "-ffast-math"},
                              {"clang-19", "-O2", "-ffinite-math-only"}};
    for (size_t k = 0; k < QN_COUNT(flags); k++) {
        const char *build[] = {flags[k][0],  flags[k][1], flags[k][2], "-o", "t",
                               "app_conv.c", "u.c",       "-lm",       NULL};
        const char *run[] = {"./t", NULL};
        int built = run_in(dir, build, &out);
        if (k < 3) {
            ck_assert_msg(built == 0, "%s", out);
            ck_assert_msg(run_in(dir, run, &out) == 0, "%s %s", flags[k][0], flags[k][2]);
        } else {
            ck_assert_int_ne(built, 0);
            ck_assert_msg(strstr(out, "-fno-fast-math") != NULL, "%s", out);
        }
    }
    char path[128];
    snprintf(path, sizeof path, "%s/u.c", dir);
    unlink(path);
    remove_all(dir);
    buf_fini(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("codegen_c");
    TCase *c = tcase_create("c");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, access_forms, 0, WAYS);
    tcase_add_loop_test(c, operators_and_casts, 0, WAYS);
    tcase_add_loop_test(c, generated_test_says_ok, 0, WAYS);
    tcase_add_loop_test(c, asks_ahead, 0, WAYS);
    tcase_add_loop_test(c, narrow_casts, 0, WAYS);
    tcase_add_test(c, generated_test_says_no);
    tcase_add_test(c, generated_test_obeys_its_rows);
    tcase_add_loop_test(c, fast_math, 0, 2);
    tcase_add_test(c, header_is_complete);
    tcase_add_loop_test(c, hook_runs_the_parts, 0, WAYS);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
