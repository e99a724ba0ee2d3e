/* cg_c_test: the program beside an emitted kernel that shows it computes what the op says.
 *
 *   fill inputs with integers; pack; run; run plain loops printed from the naive nest;
 *   compare; look at canaries
 *
 * Invariants: the oracle goes through no pass that the kernel went through (lower_naive only); data
 * lie in what the rows say, which is the range that an input declares, or small integers (job.c
 * makes the rows by the rules of verify). Where a row says that its results are exact, outputs must
 * be equal; else within 1e-4 relative (1e-2 for 16-bit types), because a division, a root or a
 * recurrence rounds as the compiler orders it. */
#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "codegen/cg_c_file.h"

static bool is_buffer(const struct tensor *t)
{
    return t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_OUT ||
           t->scope == SCOPE_PACKED;
}

/* Elements of a flat tensor as C over dyn[]. */
static void print_extent(struct buf *o, const struct nest *n, const struct expr *e)
{
    int64_t v = 0;
    if (expr_is_int(e, &v)) {
        buf_printf(o, "(int64_t)%lld", (long long)v);
        return;
    }
    if (e->op == OP_VAR) {
        for (int i = 0; i < n->ndyn; i++)
            if (n->dyn[i] == e->u.var) buf_printf(o, "dyn[%d]", i);
        return;
    }
    static const char *const names[OP_COUNT] = {
        [OP_ADD] = "+", [OP_SUB] = "-", [OP_MUL] = "*", [OP_DIV] = "/"};
    buf_putc(o, '(');
    print_extent(o, n, e->a[0]);
    buf_printf(o, " %s ", names[e->op] ? names[e->op] : "*");
    print_extent(o, n, e->a[1]);
    buf_putc(o, ')');
}

static const char random_text[] =
    "static uint64_t test_state = 12345;\n"
    "static int64_t test_int(const struct test_values *v)\n{\n"
    "    test_state = test_state * 6364136223846793005u + 1442695040888963407u;\n"
    "    return v->lo + (int64_t)((test_state >> 20) % (uint64_t)(v->hi - v->lo + 1));\n}\n\n";

static const char support[] =
    "enum { CANARY = 64 };\n"
    "static void *test_raw[256];\nstatic int test_raws = 0;\n\n"
    "/* n bytes aligned to 64 between two canaries */\n"
    "static unsigned char *test_new(size_t n)\n{\n"
    "    unsigned char *raw = (unsigned char *)malloc(n + 2 * CANARY + 64);\n"
    "    if (raw == NULL || test_raws == 256) {\n        exit(2);\n    }\n    "
    "test_raw[test_raws++] = raw;\n"
    "    unsigned char *p = raw + CANARY + (64 - ((uintptr_t)(raw + CANARY) & 63)) % 64;\n"
    "    for (int i = 0; i < CANARY; i++) {\n        p[i - CANARY] = 0xa5;\n        p[n + "
    "(size_t)i] = 0xa5;\n    }\n    return p;\n}\n\n"
    "static int test_canary(const unsigned char *p, size_t n)\n{\n"
    "    for (int i = 0; i < CANARY; i++) {\n        if (p[i - CANARY] != 0xa5 || p[n + (size_t)i] "
    "!= 0xa5) {\n            return 1;\n"
    "        }\n    }\n    return 0;\n}\n\n"
    "static void test_free(void)\n{\n    while (test_raws > 0) {\n        "
    "free(test_raw[--test_raws]);\n    }\n}\n\n";

/* Integers of the row's range in each type; reals may be quarters. */
static void print_fill(struct cc *c, struct buf *o, const struct tensor *t, int slot, int in)
{
    enum dtype d = (enum dtype)t->type.dtype;
    const char *type = cc_memory_type(d), *put = d == TYPE_F16 ? "qn_put_f16" : "qn_put_bf16";
    const char *real = "(double)test_int(v) / (double)v->per";
    buf_printf(o,
               "    for (int64_t i = 0; i < n%d; i++) {\n"
               "        const struct test_values *v = &row->in[%d];\n"
               "        ((%s *)buf[%d])[i] = ",
               slot, in, type, slot);
    if (d == TYPE_F16 || d == TYPE_BF16) {
        cc_need(c, put);
        buf_printf(o, "%s((float)(%s))", put, real);
    } else if (dtype_is_float(d)) {
        buf_printf(o, "(%s)(%s)", type, real);
    } else {
        buf_printf(o, "(%s)test_int(v)", type);
    }
    buf_puts(o, ";\n    }\n");
}

static void print_compare(struct cc *c, struct buf *o, const struct tensor *t, int slot,
                          const char *n)
{
    enum dtype d = (enum dtype)t->type.dtype;
    bool real = dtype_is_float(d);
    const char *get = d == TYPE_F16 ? "qn_get_f16" : d == TYPE_BF16 ? "qn_get_bf16" : "(double)";
    if (d == TYPE_F16 || d == TYPE_BF16) cc_need(c, get);
    const char *type = cc_memory_type(d);
    if (real) { /* cancellation leaves errors of the size of what was summed */
        const char *v = d == TYPE_F16 || d == TYPE_BF16 ? "(double)" : "";
        buf_printf(o,
                   "    double size%d = 0;\n    for (int64_t i = 0; i < %s; i++) {\n"
                   "        double want = %s%s(((const %s *)ref[%d])[i]);\n"
                   "        want = want < 0 ? -want : want;\n"
                   "        if (want < 1e30) size%d += want / (double)%s;\n    }\n",
                   slot, n, v, get, type, slot, slot, n);
    }
    buf_printf(o, "    for (int64_t i = 0; i < %s; i++) {\n", n);
    if (real) {
        const char *v = d == TYPE_F16 || d == TYPE_BF16 ? "(double)" : "";
        buf_printf(o,
                   "        double got = %s%s(((const %s *)buf[%d])[i]), want = %s%s(((const %s "
                   "*)ref[%d])[i]);\n",
                   v, get, type, slot, v, get, type, slot);
        const char *tol = d == TYPE_F16 || d == TYPE_BF16 ? "1e-2" : "1e-4";
        const char *digits = d == TYPE_F64 ? "%.17g" : "%.9g"; /* enough to tell any two apart */
        buf_puts(o, "        double off = got < want ? want - got : got - want;\n");
        buf_printf(o,
                   "        double most = row->exact ? 0 : %s * ((size%d > 1 ? size%d : 1) + (want "
                   "< 0 ? -want : want));\n",
                   tol, slot, slot);
        buf_puts(o, "        if (!(off <= most) && !(got <= want && got >= want) && !(got != got "
                    "&& want != want)) {\n");
        buf_printf(o,
                   "            printf(\"%s: output %d element %%ld is %s, not %s\\n\", (long)i, "
                   "got, want);\n",
                   c->sym, slot, digits, digits);
    } else {
        buf_printf(o,
                   "        long long got = (long long)((const %s *)buf[%d])[i], want = (long "
                   "long)((const %s *)ref[%d])[i];\n",
                   type, slot, type, slot);
        buf_puts(o, "        if (got != want) {\n");
        buf_printf(o,
                   "            printf(\"%s: output %d element %%ld is %%lld, not %%lld\\n\", "
                   "(long)i, got, want);\n",
                   c->sym, slot);
    }
    buf_puts(o, "            bad = 1;\n            break;\n        }\n    }\n");
}

/* static int run(const struct test_row *row): one set of extents, with data for them. */
static void print_run(struct cc *c, struct buf *o, const struct kernel *k,
                      const struct kernel *naive)
{
    const struct nest *n = k->nest;
    int slot = 0, slots = 0, in = 0;
    for (int i = 0; i < n->ntensor; i++) slots += is_buffer(n->tensor[i]);
    buf_printf(o,
               "static int run(const struct test_row *row)\n{\n    const int64_t *dyn = row->dyn;\n"
               "    void *buf[%d], *ref[%d];\n    int bad = 0;\n",
               slots, slots);
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        if (!is_buffer(t)) continue;
        buf_printf(o, "    const int64_t n%d = ", slot);
        print_extent(o, n, t->extent[0]);
        buf_printf(o, ";\n    const size_t b%d = (size_t)n%d * %d;\n    buf[%d] = test_new(b%d);\n",
                   slot, slot, dtype_bytes((enum dtype)t->type.dtype), slot, slot);
        buf_printf(o,
                   t->scope == SCOPE_OUT ? "    ref[%d] = test_new(b%d);\n"
                                         : "    ref[%d] = buf[%d];\n",
                   slot, slot);
        if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST) print_fill(c, o, t, slot, in++);
        slot++;
    }
    buf_printf(o,
               "    const size_t scratch_bytes = (size_t)%lld;\n    unsigned char *scratch = "
               "test_new(scratch_bytes), *plain = test_new((size_t)%lld);\n",
               (long long)(k->scratch_a + k->scratch_b),
               (long long)(naive->scratch_a + naive->scratch_b));
    if (nest_packs(n)) buf_printf(o, "    bad |= %s_pack(buf, dyn, scratch, NULL) != 0;\n", c->sym);
    buf_printf(o,
               "    bad |= %s(buf, dyn, scratch, NULL) != 0;\n    bad |= oracle(ref, dyn, plain, "
               "NULL) != 0;\n",
               c->sym);
    slot = 0;
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        if (!is_buffer(t)) continue;
        if (t->scope == SCOPE_OUT) print_compare(c, o, t, slot, cc_fmt(c, "n%d", slot));
        buf_printf(o,
                   "    if (test_canary((const unsigned char *)buf[%d], b%d) != 0) {\n        "
                   "printf(\"%s: wrote outside buffer %d\\n\");\n"
                   "        bad = 1;\n    }\n",
                   slot, slot, c->sym, slot);
        slot++;
    }
    buf_printf(o,
               "    if (test_canary(scratch, scratch_bytes) != 0) {\n        printf(\"%s: wrote "
               "outside scratch\\n\");\n        bad = 1;\n    }\n"
               "    test_free();\n    return bad;\n}\n\n",
               c->sym);
}

static int inputs_of(const struct nest *n)
{
    int count = 0;
    for (int i = 0; i < n->ntensor; i++)
        count += n->tensor[i]->scope == SCOPE_IN || n->tensor[i]->scope == SCOPE_CONST;
    return count;
}

enum { SOME = 4 };

/* Rows for a nest about which nothing is known: small integers, fewer than the type holds. */
static void some_rows(const struct nest *n, struct arena *a, struct c_options *o)
{
    static const int64_t some[SOME] = {0, 1, 2, 37};
    struct c_values *values = ARENA_ARRAY(a, struct c_values, inputs_of(n));
    struct c_row *row = ARENA_ARRAY(a, struct c_row, SOME);
    for (int i = 0, in = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        enum dtype d = (enum dtype)t->type.dtype;
        bool negative = dtype_is_float(d) || dtype_is_signed(d);
        if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST)
            values[in++] = (struct c_values){negative ? -2 : 0, d == TYPE_B1 ? 1 : 2, 1};
    }
    for (int r = 0; r < SOME; r++) {
        int64_t *dyn = ARENA_ARRAY(a, int64_t, n->ndyn);
        for (int i = 0; i < n->ndyn; i++) dyn[i] = some[r];
        row[r] = (struct c_row){dyn, values, true};
    }
    o->row = row;
    o->rows = n->ndyn ? SOME : 1;
}

static void print_row(struct buf *o, const struct nest *n, const struct c_row *r)
{
    int in = inputs_of(n);
    buf_puts(o, "        {{");
    for (int i = 0; i < n->ndyn; i++) buf_printf(o, "%s%" PRId64, i ? ", " : "", r->dyn[i]);
    buf_puts(o, n->ndyn ? "}, {" : "0}, {");
    for (int i = 0; i < in; i++)
        buf_printf(o, "%s{%" PRId64 ", %" PRId64 ", %" PRId64 "}", i ? ", " : "", r->values[i].lo,
                   r->values[i].hi, r->values[i].per);
    buf_printf(o, "%s}, %d},\n", in ? "" : "{0, 0, 1}", r->exact);
}

static void print_row_types(struct buf *o, const struct nest *n)
{
    int in = inputs_of(n);
    buf_printf(o,
               "/* k/per for lo <= k <= hi */\n"
               "struct test_values {\n    int64_t lo, hi, per;\n};\n\n"
               "/* extents, data, and whether these give the same result in every order */\n"
               "struct test_row {\n    int64_t dyn[%d];\n    struct test_values in[%d];\n    int "
               "exact;\n};\n\n",
               n->ndyn ? n->ndyn : 1, in ? in : 1);
    if (in) buf_puts(o, random_text);
}

static void print_main(struct cc *c, struct buf *o, const struct nest *n,
                       const struct c_options *co)
{
    buf_puts(o, "int main(void)\n{\n    int bad = 0;\n");
    buf_printf(o, "    static const struct test_row rows[%d] = {\n", co->rows);
    for (int i = 0; i < co->rows; i++) print_row(o, n, &co->row[i]);
    buf_printf(o,
               "    };\n    for (int i = 0; i < %d; i++) {\n        bad |= run(&rows[i]);\n    }\n",
               co->rows);
    buf_printf(o, "    if (bad == 0) {\n        printf(\"ok %s\\n\");\n    }\n    return bad;\n}\n",
               c->sym);
}

static enum rc print_test(const struct kernel *k, struct kernel *naive, const struct target *t,
                          const struct c_options *o, struct buf *out, struct err *e)
{
    struct cc c;
    struct c_options plain = *o;
    struct buf run;
    plain.form = C_PORTABLE;
    cc_open(&c, naive, t, &plain, e);
    buf_init(&run, 1 << 22);
    map_put(c.used, "run", &c);
    map_put(c.used, "oracle", &c);
    map_put(c.used, "oracle_pack", &c);
    bool pack = nest_packs(naive->nest);
    if (pack) cc_fail(&c, "c.form", "the naive nest has a pack phase");
    cc_entry(&c, "oracle", naive->nest->body, false, false);
    if (!c.failed) print_run(&c, &run, k, naive);
    enum rc rc = c.failed ? e->rc : RC_OK;
    if (!rc) {
        buf_puts(out, o->banner ? o->banner : "");
        buf_printf(out, "#include \"%s.h\"\n\n#include <stdio.h>\n#include <stdlib.h>\n\n", c.sym);
        cc_sections(&c, out);
        buf_puts(out, "\n");
        print_row_types(out, k->nest);
        buf_puts(out, support);
        buf_put(out, run.p, run.n);
        print_main(&c, out, k->nest, o);
        if (out->full || run.full)
            rc =
                err_set(e, RC_FAIL, "c.too_big", "the emitted test would be larger than its limit");
    }
    buf_fini(&run);
    cc_close(&c);
    return rc;
}

enum rc codegen_c_test(const struct nest *naive, const struct kernel *k, const struct target *t,
                       const struct c_options *o, struct buf *test, struct err *e)
{
    struct ir *ir = ir_new();
    struct nest *own = nest_clone(ir, naive);
    struct kernel plain = {0};
    struct c_options with = *o;
    struct err local = {0};
    int64_t *most = ARENA_ARRAY(ir->arena, int64_t, own->ndyn);
    if (!e) e = &local;
    if (!with.row) some_rows(own, ir->arena, &with);
    for (int r = 0; r < with.rows; r++)
        for (int i = 0; i < own->ndyn; i++) most[i] = i64_max(most[i], with.row[r].dyn[i]);
    enum rc rc = lower_naive(own, t, most, &plain, e);
    if (!rc) rc = print_test(k, &plain, t, &with, test, e);
    ir_free(ir);
    return rc;
}
