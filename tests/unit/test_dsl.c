/* The operator language before lowering: canonical text, identities, tasks and their tokens,
 * recipes.
 *
 *   "conv2d:K=4,pad_t=1,pad_l=1,pad_b=1,pad_r=1,..."  ->  canonical "conv2d:...,K=4,...,pad=1" */
#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "dsl/ast.h"
#include "lib/dsl_util.h"

static struct op_file *parse(const char *text)
{
    struct op_file *f = NULL;
    struct err e = {0};
    ck_assert_msg(dsl_parse("t.op", text, strlen(text), &f, &e) == RC_OK, "%s", e.msg);
    return f;
}

static void print_is_stable(const char *text, struct buf *first)
{
    struct buf second;
    buf_init(&second, 1 << 20);
    struct op_file *f = parse(text);
    dsl_print(first, f);
    struct op_file *again = parse(first->p);
    dsl_print(&second, again);
    ck_assert_str_eq(first->p, second.p);
    dsl_free(f);
    dsl_free(again);
    buf_fini(&second);
}

static const char EVERYTHING[] =
    "# helps\n# a lot\n\n# not this\n"
    "op all { attr a = 1 in 0..4, b = 2 in {2, 4}, cc = x in {x, y}, r: real = -0.5, l: list = [0, "
    "-1, 1/2]\n"
    "  attr p = 1, q = 1 short pq = p, q dyn N let d = a * (b + 1) - 3 % 2, e = case { cc == y: 1, "
    "else: 2 }\n"
    "  require a > 0 and not (b == 3 or cc == y), \"no\"\n"
    "  in x[N,C]: f32 when a store 1, 0/4, 0%4 when cc == x store 0,1, i[N]: s32 in 0..C\n  const "
    "w[C]: s8\n  out o[N,C]: f32, u[N]: f32, v[N]: s32, z[2*C]: f32\n"
    "  temp t[N]: f32\n  table k[2,2]: f32 = [[1, 1/2], [-1, 0]]\n table g[4,3]: f32 = "
    "cook_toom_g(2, 3, [0, 1, -1])\n"
    "  def f(s, t) = select(s < t and t >= 0, -s * (t - 1), ~3 + (1 << 2 | 4 & 7 ^ 1))\n"
    "  t[n] = sum(c:C) (x[n, c - 1] else 0) * f32(w[c], round_even) + 1.5e-7\n"
    "  o[n,c] = f(t[n], 2.0) / (x[n,c] * (2 - 1))\n"
    "  (u[n], v[n]) = argmax(c: 1..C) x[n,c]\n"
    "  z[2*c + s] = x[0,c] for c: C, s: 2 when a == 1\n}\n"
    "algorithm other(m = 2 in {2, 4}, pts: list = [0]) for all when b == 2 {\n"
    "  (top[n:N], t2[n:N]) = reduce(j: C) (x[n,j], 1.0) with (a1, s1), (b1, t1) -> (max(a1, b1), "
    "s1 + t1) from (lowest(f32), 0) }\n";

START_TEST(parse_print_identity)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    print_is_stable(EVERYTHING, &b);
    ck_assert_ptr_nonnull(strstr(b.p, "  require a > 0 and not (b == 3 or cc == y), \"no\"\n"));
    ck_assert_ptr_nonnull(strstr(b.p, "  let d = a * (b + 1) - 3 % 2\n"));
    ck_assert_ptr_nonnull(
        strstr(b.p, "  in x[N, C]: f32 when a store 1, 0/4, 0%4 when cc == x store 0, 1\n"));
    ck_assert_ptr_nonnull(
        strstr(b.p, "select(s < t and t >= 0, -s * (t - 1), ~3 + (1 << 2 | 4 & 7 ^ 1))"));
    ck_assert_ptr_nonnull(
        strstr(b.p,
               "  t[n] = (sum(c: C) (x[n, c - 1] else 0) * f32(w[c], round_even)) + 1.5e-07\n"));
    ck_assert_ptr_nonnull(strstr(b.p, "  z[2 * c + s] = x[0, c] for c: C, s: 2 when a == 1\n"));
    buf_fini(&b);
}
END_TEST

START_TEST(shipped_operators_print_and_help)
{
    struct op_lib *lib = dsl_util_lib();
    int n = 0;
    const char *const *names = op_lib_names(lib, &n);
    const char *copy[64];
    ck_assert_int_ge(n, 11);
    for (int i = 0; i < n && i < 64; i++) copy[i] = names[i];
    for (int i = 0; i < n && i < 64; i++) {
        const struct operator* op = NULL;
        struct err e = {0};
        struct buf b, again;
        ck_assert_msg(op_lib_find(lib, copy[i], &op, &e) == RC_OK, "%s", e.msg);
        ck_assert_str_eq(operator_name(op), copy[i]);
        ck_assert_msg(strncmp(operator_help(op), copy[i], strlen(copy[i])) == 0,
                      "help of %s begins with its name", copy[i]);
        ck_assert_ptr_nonnull(strstr(operator_help(op), "quern "));
        buf_init(&b, 1 << 20);
        buf_init(&again, 1 << 20);
        operator_text(&b, op);
        print_is_stable(b.p, &again);
        ck_assert_str_eq(b.p, again.p);
        buf_fini(&b);
        buf_fini(&again);
    }
    op_lib_free(lib);
}
END_TEST

START_TEST(semantic_id)
{
    char a[HASH_ID_LEN + 1], b[HASH_ID_LEN + 1], c[HASH_ID_LEN + 1];
    struct op_file *f = parse("op t { in x[N]: f32\n out y[N]: f32\n y[n] = x[n] + 1 }");
    struct op_file *g = parse("# words\nop t{in x[ N ]:f32 # here\n\n out y[N]:f32 "
                              "y[n]=((x[n])+1)}\nalgorithm o for t { y[n] = 1 + x[n] }");
    struct op_file *h = parse("op t { in x[N]: f32\n out y[N]: f32\n y[n] = x[n] + 2 }");
    operator_id(dsl_op(f, 0), a);
    operator_id(dsl_op(g, 0), b);
    operator_id(dsl_op(h, 0), c);
    ck_assert_str_eq(a, b); /* comments, spacing, algorithms do not count */
    ck_assert_str_ne(a, c);
    dsl_free(f);
    dsl_free(g);
    dsl_free(h);
}
END_TEST

/* ---- tokens ---------------------------------------------------------------------------------- */

static void check_token(struct op_lib *lib, const char *typed, const char *canonical)
{
    struct task *t = NULL, *again = NULL;
    struct err e = {0};
    ck_assert_msg(task_parse(typed, lib, NULL, &t, &e) == RC_OK, "%s: %s", typed, e.msg);
    ck_assert_str_eq(t->token, canonical);
    ck_assert_msg(task_parse(canonical, lib, NULL, &again, &e) == RC_OK, "%s", e.msg);
    ck_assert_str_eq(again->token, canonical);
    task_free(t);
    task_free(again);
}

START_TEST(canonical_tokens)
{
    struct op_lib *lib = dsl_util_lib();
    check_token(lib, "conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,stride=1,pad=1",
                "conv2d:C=64,H=56,K=64,R=3,S=3,W=56,pad=1");
    check_token(
        lib,
        "conv2d:pad_l=1,pad_r=1,pad_t=1,pad_b=1,S=3,R=3,K=64,C=64,W=56,H=56,P=56,Q=56,act=none",
        "conv2d:C=64,H=56,K=64,R=3,S=3,W=56,pad=1");
    check_token(lib, "conv2d:pad=1,pad_r=2,S=3,R=3,K=4,C=4,W=6,H=6",
                "conv2d:C=4,H=6,K=4,R=3,S=3,W=6,pad_b=1,pad_l=1,pad_r=2,pad_t=1");
    check_token(lib, "conv2d:stride_h=2,S=3,R=3,K=4,C=4,W=6,H=6,dtype=f32,tol=default,bias=0",
                "conv2d:C=4,H=6,K=4,R=3,S=3,W=6,stride_h=2");
    check_token(lib, "conv2d:stride_h=2,stride_w=2,S=3,R=3,K=4,C=4,W=6,H=6,tol=tight",
                "conv2d:C=4,H=6,K=4,R=3,S=3,W=6,stride=2,tol=tight");
    check_token(lib, "matmul:M=7,N=5,K=3,B=1,b=const", "matmul:K=3,M=7,N=5");
    check_token(lib, "layernorm:N=4,M=2,eps=0.00001", "layernorm:M=2,N=4");
    check_token(lib, "layernorm:N=4,M=2,eps=1e-3", "layernorm:M=2,N=4,eps=0.001");
    check_token(lib, "delta2bbox:N=5,means=0:0:0:0,stds=2/20:1/10:0:1",
                "delta2bbox:N=5,stds=1/10:1/10:0:1");
    op_lib_free(lib);
}
END_TEST

/* Another size of the same task: the operator as it was typed, all other keys as they were. */
START_TEST(resized_tokens)
{
    struct op_lib *lib = dsl_util_lib();
    struct task *t;
    struct err e = {0};
    const char *token = "delta2bbox:N=5,means=0:0:0:0,stds=2/20:1/10:0:1,C=3";
    ck_assert_msg(task_parse(token, lib, NULL, &t, &e) == RC_OK, "%s", e.msg);
    char *other = task_resized(t, (int64_t[]){0});
    ck_assert_str_eq(other, "delta2bbox:C=3,N=0,stds=1/10:1/10:0:1");
    ck_assert_str_eq(t->token, "delta2bbox:C=3,N=5,stds=1/10:1/10:0:1");
    mem_free(other);
    task_free(t);
    op_lib_free(lib);
}
END_TEST

START_TEST(task_fields)
{
    struct op_lib *lib = dsl_util_lib();
    struct task *t = NULL;
    struct err e = {0};
    int64_t v = 0;
    ck_assert_int_eq(
        task_parse("conv2d:H=9,W=7,C=6,K=4,R=3,S=3,stride_h=2,pad=1,bias=1,tol=loose,layout=nchw",
                   lib, NULL, &t, &e),
        RC_OK);
    ck_assert_int_eq(t->tol, TOL_LOOSE);
    ck_assert(task_int(t, "P", &v) && v == 5);
    ck_assert(task_int(t, "pad", &v) && v == 1);
    ck_assert(!task_int(t, "stride", &v)); /* its two keys differ */
    ck_assert(!task_int(t, "layout", &v));
    ck_assert_str_eq(task_symbol(t, "layout"), "nchw");
    ck_assert_int_eq(t->ntensor, 4);
    ck_assert_str_eq(t->tensor[0].name, "x");
    ck_assert_str_eq(t->tensor[2].name, "bias");
    ck_assert_int_eq(t->tensor[2].scope, SCOPE_CONST);
    ck_assert_int_eq(task_tensor(t, "y")->extent[1], 5);
    ck_assert_int_eq(task_tensor(t, "y")->bytes, 5 * 7 * 4 * 4);
    ck_assert_ptr_null(task_tensor(t, "alpha"));
    task_free(t);
    ck_assert_int_eq(task_parse("delta2bbox:N=2000,C=3", lib, NULL, &t, &e), RC_OK);
    ck_assert_int_eq(t->ndyn, 1);
    ck_assert_int_eq(t->dyn[0], 2000);
    task_free(t);
    ck_assert_int_eq(task_parse("qconv2d:H=3,W=3,C=2,K=2,R=1,S=1", lib, NULL, &t, &e), RC_OK);
    ck_assert(task_tensor(t, "w")->ranged && task_tensor(t, "w")->lo == -127 &&
              task_tensor(t, "w")->hi == 128);
    task_free(t);
    op_lib_free(lib);
}
END_TEST

START_TEST(memory_limit)
{
    struct op_lib *lib = dsl_util_lib();
    struct task *t = NULL;
    struct err e = {0};
    struct task_limits small = {1000};
    ck_assert_int_eq(task_parse("matmul:M=8,N=8,K=8", lib, &small, &t, &e), RC_OK);
    task_free(t);
    ck_assert_int_eq(task_parse("matmul:M=9,N=9,K=9", lib, &(struct task_limits){970}, &t, &e),
                     RC_INPUT);
    ck_assert_str_eq(e.code, "task.too_big");
    ck_assert_str_eq(e.msg, "matmul: its tensors need 972 bytes; the limit is 970 bytes");
    op_lib_free(lib);
}
END_TEST

START_TEST(blocked_storage)
{
    struct dsl_run *r =
        dsl_run_text("op t { in x[N,C]: f32 store C/4,N,C%4\n out y[N,C]: f32\n y[n,c] = x[n,c] }",
                     "t:N=2,C=6", "direct", "");
    ck_assert_int_eq(dsl_run_count(r, "x"), 16);
    float *x = dsl_run_buf(r, "x"), *y = dsl_run_buf(r, "y");
    for (int i = 0; i < 16; i++) x[i] = (float)i;
    dsl_run_go(r);
    for (int n = 0; n < 2; n++)
        for (int c = 0; c < 6; c++)
            ck_assert_float_eq(y[n * 6 + c], (float)((c / 4 * 2 + n) * 4 + c % 4));
    dsl_run_close(r);
}
END_TEST

static enum rc collect(void *ctx, const char *token, int line, struct err *e)
{
    buf_printf(ctx, "%d:%s;", line, token);
    return strcmp(token, "bad") == 0 ? err_set(e, RC_INPUT, "x", "refused") : RC_OK;
}

START_TEST(task_lists)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, 1000);
    const char *text = "# layers\n matmul:M=1 \r\n\nconv2d:H=3 # stem\n";
    ck_assert_int_eq(task_list_parse("f.tasks", text, strlen(text), collect, &b, &e), RC_OK);
    ck_assert_str_eq(b.p, "2:matmul:M=1;4:conv2d:H=3;");
    ck_assert_int_eq(task_list_parse("f.tasks", "\nbad\nx", 6, collect, &b, &e), RC_INPUT);
    ck_assert_str_eq(e.msg, "f.tasks:2: refused");
    buf_fini(&b);
}
END_TEST

/* ---- algorithms, recipes, tables ------------------------------------------------------------- */

START_TEST(algorithms_of_a_task)
{
    struct op_lib *lib = dsl_util_lib();
    struct task *t = NULL;
    struct err e = {0};
    struct algo a[4];
    ck_assert_int_eq(task_parse("conv2d:H=9,W=7,C=6,K=4,R=3,S=3", lib, NULL, &t, &e), RC_OK);
    ck_assert_int_eq(task_algorithms(t, a, 4), 2);
    ck_assert_str_eq(a[0].name, "direct");
    ck_assert_str_eq(a[1].name, "winograd");
    ck_assert_int_eq(a[1].nparam, 2);
    ck_assert_int_eq(a[1].param[0].def.i, 4);
    ck_assert_int_eq(a[1].param[0].nchoice, 3);
    ck_assert_int_eq(a[1].param[1].def.n, 5);
    task_free(t);
    ck_assert_int_eq(task_parse("conv2d:H=9,W=7,C=6,K=4,R=3,S=3,stride=2", lib, NULL, &t, &e),
                     RC_OK);
    ck_assert_int_eq(task_algorithms(t, a, 4), 1);
    task_free(t);
    op_lib_free(lib);
}
END_TEST

static struct data_recipe recipe_of(const char *token, const char *algorithm, const char *params)
{
    struct data_recipe out;
    struct dsl_run *r = dsl_run_open(token, algorithm, params);
    dsl_recipe(r->nest, r->task, &out);
    dsl_run_close(r);
    return out;
}

START_TEST(recipes)
{
    struct data_recipe r = recipe_of("conv2d:H=9,W=7,C=64,K=4,R=3,S=3", "direct", "");
    ck_assert(r.exact && r.magnitude == 8 && r.depth == 576 && r.budget_depth == 64 &&
              r.sum_of_products && !r.fractional && !r.transcendental);
    ck_assert_double_eq_tol(r.tol, 12 * 8 * ldexp(1, -24), 1e-12);
    r = recipe_of("conv2d:H=9,W=7,C=64,K=4,R=3,S=3,act=relu,bias=1,residual=1", "direct", "");
    ck_assert(r.sum_of_products && !r.bent);
    r = recipe_of("conv2d:H=9,W=7,C=64,K=4,R=3,S=3,act=relu6", "direct", "");
    ck_assert(r.exact && !r.sum_of_products && r.bent);
    r = recipe_of("conv2d:H=9,W=7,C=64,K=4,R=3,S=3,act=prelu", "direct", "");
    ck_assert(r.exact && !r.sum_of_products && r.bent);
    r = recipe_of("roi_align:H=5,W=5,C=1,K=2", "direct", "");
    /* a floor of rounded coordinates decides which pixels are read */
    ck_assert(!r.exact && r.bent);
    r = recipe_of("matmul:M=1,N=1,K=1000000", "direct", "");
    ck_assert(r.exact && r.magnitude == 4); /* 10^6 * 16 < 2^24 */
    r = recipe_of("matmul:M=1,N=1,K=1000,dtype=f16", "direct", "");
    ck_assert(r.exact && r.magnitude == 1); /* the result must fit 11 bits */
    r = recipe_of("conv2d:H=9,W=7,C=64,K=4,R=3,S=3,tol=tight", "winograd", "");
    ck_assert(!r.exact && r.fractional && r.sum_of_products);
    ck_assert_double_eq_tol(r.tol, 4 * 8 * ldexp(1, -24), 1e-12);
    r = recipe_of("layernorm:M=2,N=64", "direct", "");
    ck_assert(!r.exact && r.nested == 64);
    ck_assert_double_eq_tol(r.tol, 12 * 8 * ldexp(1, -24), 1e-12);
    r = recipe_of("layernorm:M=2,N=48000", "direct", ""); /* equal terms round the same way */
    ck_assert_double_eq_tol(r.tol, 12000 * ldexp(1, -24), 1e-12);
    r = recipe_of("matmul:M=1,N=1,K=1000000", "direct", "");
    ck_assert(r.nested == 0);
    r = recipe_of("matrix_nms:N=9", "direct", "");
    ck_assert(!r.steep);
    r = recipe_of("softmax:M=2,N=9", "online", "");
    ck_assert(!r.steep);
    ck_assert(!r.exact && r.transcendental);
    r = recipe_of("argmax:M=2,N=9", "direct", "");
    ck_assert(r.exact && !r.sum_of_products && !r.undecided);
    r = recipe_of("nms_mask:N=9", "direct",
                  ""); /* an overlap of products and sums against a number */
    ck_assert(r.undecided);
    r = recipe_of("qconv2d:H=9,W=7,C=64,K=4,R=3,S=3", "direct", "");
    ck_assert(r.exact && !r.undecided);
    r = recipe_of("pool2d:H=9,W=7,C=64,R=3,S=3,mode=avg", "direct", "");
    ck_assert(!r.exact && r.fractional);
}
END_TEST

/* What depends on its own earlier elements is a number of any size and, multiplied by a fraction, of
 * any length, however exact the fraction is: 0.25 and 0.75 round after a dozen steps. */
/* An expression that uses its own part twice, 40 deep: each part is looked at once. The limit of time is
 * the test's. */
START_TEST(recipe_of_shared_parts)
{
    struct buf b;
    struct data_recipe r;
    buf_init(&b, 1 << 14);
    buf_puts(&b,
             "op deep {\n  in x[N]: f32\n  out y[N]: f32\n  def f(v) = v*0.5 + 0.25*v\n  y[n] = ");
    for (int i = 0; i < 40; i++) buf_puts(&b, "f(");
    buf_puts(&b, "x[n]");
    for (int i = 0; i < 40; i++) buf_puts(&b, ")");
    buf_puts(&b, "\n}\n");
    struct dsl_run *run = dsl_run_text(b.p, "deep:N=9", "direct", "");
    dsl_recipe(run->nest, run->task, &r);
    ck_assert(!r.exact && r.fractional && !r.transcendental && !r.undecided);
    dsl_run_close(run);
    buf_fini(&b);
}
END_TEST

START_TEST(recipes_of_recurrences)
{
    static const struct {
        const char *type, *value;
    } rows[] = {{"f32", "0.75*(y[t-1] else 0) + 0.25*x[t]"},
                {"f32", "3*(y[t-1] else 0) + x[t]"},
                {"f64", "0.5*(y[t-1] else 0) + x[t]"}};
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        char text[300];
        struct data_recipe r;
        snprintf(text, sizeof text,
                 "op ema {\n  dyn T\n  in x[T]: %s\n  out y[T]: %s\n  y[t] = %s scan t\n}\n",
                 rows[i].type, rows[i].type, rows[i].value);
        struct dsl_run *run = dsl_run_text(text, "ema:T=97", "direct", "");
        dsl_recipe(run->nest, run->task, &r);
        ck_assert_msg(!r.exact, "%s: %s", rows[i].type, rows[i].value);
        dsl_run_close(run);
    }
}
END_TEST

/* Declared ranges, within the type; else what the recipe keeps exact. */
START_TEST(ranges_of_data)
{
    static const struct {
        enum dtype d;
        bool ranged;
        int64_t lo, hi;
        int magnitude; /* 0: not exact */
        int64_t want_lo, want_hi;
        bool some;
    } rows[] = {
        {TYPE_F32, false, 0, 0, 8, -8, 8, true},
        {TYPE_F32, false, 0, 0, 0, -4, 4, true},
        {TYPE_U8, false, 0, 0, 8, 0, 8, true},
        {TYPE_B1, false, 0, 0, 8, 0, 1, true},
        {TYPE_S32, true, 10, 50, 8, 10, 49, true},
        {TYPE_U8, true, -3, 400, 1, 0, 255, true},
        {TYPE_S8, true, -127, 128, 1, -127, 127, true},
        {TYPE_S32, true, INT32_MIN, INT32_MAX, 1, INT32_MIN, INT32_MAX - 1, true},
        {TYPE_S64, true, INT64_MIN, INT64_MAX, 1, -(INT64_C(1) << 61), INT64_C(1) << 61, true},
        {TYPE_F16, true, 0, 100000, 1, 0, 65504, true},
        {TYPE_F32, true, 0, 1, 0, 0, 0, true},
        {TYPE_S32, true, 0, 0, 8, 0, 0, false},
        {TYPE_S32, true, 5, 2, 8, 5, 5, false},
    };
    for (size_t i = 0; i < QN_COUNT(rows); i++) {
        struct task_tensor t = {.dtype = rows[i].d, .scope = SCOPE_IN, .ranged = rows[i].ranged};
        struct data_recipe r = {.exact = rows[i].magnitude > 0, .magnitude = rows[i].magnitude};
        int64_t lo, hi;
        t.lo = rows[i].lo;
        t.hi = rows[i].hi;
        ck_assert_msg(task_tensor_range(&t, &lo, &hi) == rows[i].some, "row %zu", i);
        dsl_data_range(&t, &r, &lo, &hi);
        ck_assert_msg(lo == rows[i].want_lo && hi == rows[i].want_hi,
                      "row %zu: %" PRId64 "..%" PRId64, i, lo, hi);
    }
}
END_TEST

START_TEST(constant_stages)
{
    struct dsl_run *r = dsl_run_open("conv2d:H=9,W=7,C=2,K=4,R=3,S=3", "winograd", "m=2");
    ck_assert(dsl_stage_is_const(r->nest, nest_stage(r->nest, "u")));
    ck_assert(!dsl_stage_is_const(r->nest, nest_stage(r->nest, "v")));
    ck_assert(!dsl_stage_is_const(r->nest, nest_stage(r->nest, "acc")));
    ck_assert(!dsl_stage_is_const(r->nest, nest_stage(r->nest, "y")));
    dsl_run_close(r);
}
END_TEST

static struct ratio times(struct ratio a, struct ratio b)
{
    ck_assert(ratio_op('*', a, b, &a));
    return a;
}

/* at ((g w) * (bt x)) == the correlation of w and x, in exact rationals */
static void check_toom(int m, int r, const struct ratio *points)
{
    struct ratio at[16 * 16], g[16 * 16], bt[16 * 16];
    const char *why = NULL;
    int a = m + r - 1;
    ck_assert_msg(cook_toom(COOK_TOOM_AT, m, r, points, a - 1, at, &why), "%s", why);
    ck_assert(cook_toom(COOK_TOOM_G, m, r, points, a - 1, g, &why));
    ck_assert(cook_toom(COOK_TOOM_BT, m, r, points, a - 1, bt, &why));
    for (int i = 0; i < m; i++)
        for (int j = 0; j < r; j++)
            for (int k = 0; k < a; k++) { /* coefficient of w[j] x[k] in y[i] */
                struct ratio sum = {0, 1};
                for (int t = 0; t < a; t++)
                    ck_assert(ratio_op('+', sum,
                                       times(at[i * a + t], times(g[t * r + j], bt[t * a + k])),
                                       &sum));
                ck_assert_int_eq(sum.num, k == i + j);
                ck_assert_int_eq(sum.den, 1);
            }
}

START_TEST(cook_toom_is_exact)
{
    static const struct ratio P[] = {{0, 1}, {1, 1},  {-1, 1}, {2, 1}, {-2, 1},
                                     {1, 2}, {-1, 2}, {4, 1},  {-4, 1}};
    static const struct ratio BETTER[] = {{0, 1}, {-1, 1}, {1, 1}, {1, 2}, {-2, 1}};
    static const int SIZES[][2] = {{2, 3}, {4, 3}, {6, 3}, {3, 3}, {2, 5},
                                   {4, 5}, {5, 4}, {1, 3}, {3, 1}, {7, 3}};
    for (size_t i = 0; i < QN_COUNT(SIZES); i++) check_toom(SIZES[i][0], SIZES[i][1], P);
    check_toom(4, 3, BETTER);
    struct ratio g[18];
    const char *why = NULL;
    ck_assert(cook_toom(COOK_TOOM_G, 4, 3, P, 5, g, &why));
    const struct ratio want[18] = {{1, 4},  {0, 1},   {0, 1},  {-1, 6}, {-1, 6}, {-1, 6},
                                   {-1, 6}, {1, 6},   {-1, 6}, {1, 24}, {1, 12}, {1, 6},
                                   {1, 24}, {-1, 12}, {1, 6},  {0, 1},  {0, 1},  {1, 1}};
    for (int i = 0; i < 18; i++) ck_assert(g[i].num == want[i].num && g[i].den == want[i].den);
    ck_assert(!cook_toom(COOK_TOOM_G, 4, 3, P, 4, g, &why));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dsl");
    TCase *t = tcase_create("dsl");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, parse_print_identity);
    tcase_add_test(t, shipped_operators_print_and_help);
    tcase_add_test(t, semantic_id);
    tcase_add_test(t, canonical_tokens);
    tcase_add_test(t, resized_tokens);
    tcase_add_test(t, task_fields);
    tcase_add_test(t, memory_limit);
    tcase_add_test(t, blocked_storage);
    tcase_add_test(t, task_lists);
    tcase_add_test(t, algorithms_of_a_task);
    tcase_add_test(t, recipes);
    tcase_add_test(t, recipes_of_recurrences);
    tcase_add_test(t, recipe_of_shared_parts);
    tcase_add_test(t, ranges_of_data);
    tcase_add_test(t, constant_stages);
    tcase_add_test(t, cook_toom_is_exact);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
