/* cg_c_test: the program beside an emitted kernel that shows it computes what the op says.
 *
 *   fill inputs with small integers; pack; run; run plain loops printed from the naive nest;
 *   compare; look at canaries
 *
 * Invariants: the oracle goes through no pass that the kernel went through (lower_naive only); data
 * are small integers, so sums are exact and outputs must be equal, except where the op itself
 * divides or takes roots: then 1e-4 relative (1e-2 for 16-bit types). Dynamic extents are those of
 * c_options.dyn, else 0, 1, 2 and 37. */
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

static const char support[] =
    "enum { CANARY = 64 };\n"
    "static uint32_t test_state = 12345;\n"
    "static int test_random(int lo, int hi)\n{\n"
    "    test_state = test_state * 1664525u + 1013904223u;\n"
    "    return lo + (int)((test_state >> 8) % (uint32_t)(hi - lo + 1));\n}\n\n"
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

/* Small integers in each type: -2..2, or 0..2 unsigned. */
static void print_fill(struct buf *o, const struct tensor *t, int slot, const char *n)
{
    enum dtype d = (enum dtype)t->type.dtype;
    const char *type = cc_memory_type(d);
    buf_printf(o, "    for (int64_t i = 0; i < %s; i++) {\n", n);
    if (d == TYPE_F16 || d == TYPE_BF16) {
        bool half = d == TYPE_F16;
        buf_printf(o,
                   "        static const uint16_t small[5] = {%s};\n        ((uint16_t "
                   "*)buf[%d])[i] = small[test_random(0, 4)];\n",
                   half ? "0xc000, 0xbc00, 0, 0x3c00, 0x4000" : "0xc000, 0xbf80, 0, 0x3f80, 0x4000",
                   slot);
    } else {
        int lo = dtype_is_float(d) || dtype_is_signed(d) ? -2 : 0, hi = d == TYPE_B1 ? 1 : 2;
        buf_printf(o, "        ((%s *)buf[%d])[i] = (%s)test_random(%d, %d);\n", type, slot, type,
                   lo, hi);
    }
    buf_puts(o, "    }\n");
}

static bool is_inexact(const struct expr *e)
{
    bool real = dtype_is_float((enum dtype)e->type.dtype);
    return (real &&
            (e->op == OP_DIV || e->op == OP_SQRT || (e->op >= OP_EXP && e->op <= OP_COS))) ||
           (e->op == OP_REAL && e->u.f * 256 != (double)(int64_t)(e->u.f * 256) && e->u.f > -1e15 &&
            e->u.f < 1e15);
}

static void look(const struct expr *e, void *ctx)
{
    if (is_inexact(e)) *(bool *)ctx = true;
}

static void look_slot(const struct expr **slot, void *ctx) { expr_walk(*slot, look, ctx); }

static bool look_stmt(struct stmt *s, void *ctx)
{
    stmt_exprs(s, look_slot, ctx);
    return true;
}

static bool has_table_fractions(const struct nest *n)
{
    int64_t count = 1, v = 0;
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        count = 1;
        for (int k = 0; t->scope == SCOPE_TABLE && k < t->rank; k++)
            count *= expr_is_int(t->extent[k], &v) ? v : 0;
        for (int64_t k = 0; t->scope == SCOPE_TABLE && k < count; k++)
            if (t->table[k] * 256 != (double)(int64_t)(t->table[k] * 256)) return true;
    }
    return false;
}

static void print_compare(struct cc *c, struct buf *o, const struct tensor *t, int slot,
                          const char *n, bool inexact)
{
    enum dtype d = (enum dtype)t->type.dtype;
    bool real = dtype_is_float(d);
    const char *get = d == TYPE_F16 ? "qn_get_f16" : d == TYPE_BF16 ? "qn_get_bf16" : "(double)";
    if (d == TYPE_F16 || d == TYPE_BF16) cc_need(c, get);
    const char *type = cc_memory_type(d);
    if (real && inexact) { /* cancellation leaves errors of the size of what was summed */
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
        buf_puts(o, "        double off = got < want ? want - got : got - want;\n");
        if (inexact)
            buf_printf(
                o,
                "        double most = %s * ((size%d > 1 ? size%d : 1) + (want < 0 ? -want : "
                "want));\n",
                tol, slot, slot);
        buf_printf(o,
                   "        if (!(off <= %s) && !(got <= want && got >= want) && !(got != got && "
                   "want != want)) {\n",
                   inexact ? "most" : "0");
        buf_printf(o,
                   "            printf(\"%s: output %d element %%ld is %%g, not %%g\\n\", (long)i, "
                   "got, want);\n",
                   c->sym, slot);
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

/* static int run(const int64_t *dyn): one set of extents. */
static void print_run(struct cc *c, struct buf *o, const struct kernel *k,
                      const struct kernel *naive, bool inexact)
{
    const struct nest *n = k->nest;
    int slot = 0, slots = 0;
    for (int i = 0; i < n->ntensor; i++) slots += is_buffer(n->tensor[i]);
    buf_printf(o,
               "static int run(const int64_t *dyn)\n{\n    void *buf[%d], *ref[%d];\n    int bad = "
               "0;\n    (void)dyn;\n",
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
        if (t->scope == SCOPE_IN || t->scope == SCOPE_CONST)
            print_fill(o, t, slot, cc_fmt(c, "n%d", slot));
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
        if (t->scope == SCOPE_OUT) print_compare(c, o, t, slot, cc_fmt(c, "n%d", slot), inexact);
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

/* The rows of dynamic extents to run with. */
static int rows_of(const struct nest *n, const struct c_options *o, int64_t *out, int max)
{
    static const int64_t some[] = {0, 1, 2, 37};
    int rows = o->dyn ? o->ndyn : (int)QN_COUNT(some);
    if (rows * n->ndyn > max) rows = max / n->ndyn;
    for (int i = 0; i < rows * n->ndyn; i++) out[i] = o->dyn ? o->dyn[i] : some[i / n->ndyn];
    return rows;
}

enum { ROWS_MOST = 1024 };

static void print_main(struct cc *c, struct buf *o, const struct nest *n,
                       const struct c_options *co)
{
    int64_t dyn[ROWS_MOST];
    buf_puts(o, "int main(void)\n{\n    int bad = 0;\n");
    if (n->ndyn == 0) {
        buf_puts(o, "    bad |= run(NULL);\n");
    } else {
        int rows = rows_of(n, co, dyn, ROWS_MOST);
        buf_printf(o, "    static const int64_t dyn[%d][%d] = {\n", rows, n->ndyn);
        for (int i = 0; i < rows; i++) {
            buf_puts(o, "        {");
            for (int d = 0; d < n->ndyn; d++)
                buf_printf(o, "%s%" PRId64, d ? ", " : "", dyn[i * n->ndyn + d]);
            buf_puts(o, "},\n");
        }
        buf_printf(
            o, "    };\n    for (int i = 0; i < %d; i++) {\n        bad |= run(dyn[i]);\n    }\n",
            rows);
    }
    buf_printf(o, "    if (bad == 0) {\n        printf(\"ok %s\\n\");\n    }\n    return bad;\n}\n",
               c->sym);
}

static enum rc print_test(const struct nest *source, const struct kernel *k, struct kernel *naive,
                          const struct target *t, const struct c_options *o, struct buf *out,
                          struct err *e)
{
    struct cc c;
    struct c_options plain = *o;
    bool inexact = has_table_fractions(source);
    struct buf run;
    plain.form = C_PORTABLE;
    stmt_walk(source->body, look_stmt, &inexact);
    stmt_walk(source->pack, look_stmt, &inexact);
    cc_open(&c, naive, t, &plain, e);
    buf_init(&run, 1 << 22);
    map_put(c.used, "run", &c);
    map_put(c.used, "oracle", &c);
    map_put(c.used, "oracle_pack", &c);
    bool pack = nest_packs(naive->nest);
    if (pack) cc_fail(&c, "c.form", "the naive nest has a pack phase");
    cc_entry(&c, "oracle", naive->nest->body, false, false);
    if (!c.failed) print_run(&c, &run, k, naive, inexact);
    enum rc rc = c.failed ? e->rc : RC_OK;
    if (!rc) {
        buf_puts(out, o->banner ? o->banner : "");
        buf_printf(out, "#include \"%s.h\"\n\n#include <stdio.h>\n#include <stdlib.h>\n\n", c.sym);
        cc_sections(&c, out);
        buf_puts(out, "\n");
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
    struct err local = {0};
    int64_t dyn[ROWS_MOST], most[ROWS_MOST] = {0};
    if (!e) e = &local;
    for (int n = own->ndyn, i = n ? rows_of(own, o, dyn, ROWS_MOST) * n : 0; i-- > 0;)
        most[i % n] = i64_max(most[i % n], dyn[i]);
    enum rc rc = lower_naive(own, t, most, &plain, e);
    if (!rc) rc = print_test(naive, k, &plain, t, o, test, e);
    ir_free(ir);
    return rc;
}
