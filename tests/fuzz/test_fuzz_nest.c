/* The nest text's door: any bytes give a nest or an error with a position; what parses prints and
 * parses again to the same text; what also verifies can be started, simplified and interpreted. */
#include <check.h>
#include <string.h>

#include "ir/ir.h"
#include "lib/fuzz.h"

enum { SECONDS = 10, ELEMENTS = 1 << 12, STORES = 2000 };

static void simplify_slot(const struct expr **slot, void *ctx)
{
    struct ir *ir = ctx;
    const struct expr *s = expr_simplify(ir, NULL, *slot);
    QN_CHECK(expr_simplify(ir, NULL, s) == s, "simplify is not idempotent");
}

static bool simplify_all(struct stmt *s, void *ctx)
{
    stmt_exprs(s, simplify_slot, ctx);
    return true;
}

/* Interprets a nest of small tensors on zeroed buffers; the verdict does not matter, surviving
 * does. */
static void interpret(struct nest *n)
{
    void *bufs[64] = {0};
    int64_t dyn[8] = {3, 3, 3, 3, 3, 3, 3, 3};
    struct err e;
    bool fits = n->ntensor <= 64 && n->ndyn <= 8;
    for (int i = 0; fits && i < n->ntensor; i++) {
        const struct expr *count = tensor_elements(n->ir, n->tensor[i]);
        for (int d = 0; d < n->ndyn; d++)
            count = expr_subst(n->ir, count, n->dyn[d], expr_int(n->ir, dyn[d]));
        int64_t size = 0;
        fits = expr_is_int(count, &size) && size >= 0 && size <= ELEMENTS;
        for (int d = 0; fits && d < n->tensor[i]->rank;
             d++) { /* no product of huge and zero extents */
            int64_t x = 0;
            fits = !expr_is_int(n->tensor[i]->extent[d], &x) || (x >= 0 && x <= ELEMENTS);
        }
        if (fits) bufs[i] = mem_new((size_t)(size + 1) * 8);
    }
    if (fits) {
        nest_interp(n, 1, bufs, dyn, STORES, &e);
        nest_interp(n, 0, bufs, dyn, STORES, &e);
    }
    for (int i = 0; i < 64; i++) mem_free(bufs[i]);
}

static int one(const uint8_t *p, size_t len)
{
    struct ir *ir = ir_new(), *again = ir_new();
    struct nest *n = NULL, *m = NULL;
    struct err e = {0};
    enum rc rc = nest_parse(ir, "fuzz", (const char *)p, len, &n, &e);
    if (rc != RC_OK) {
        QN_CHECK(rc == RC_INPUT && e.code[0] && strncmp(e.msg, "fuzz:", 5) == 0,
                 "error without a position: %s", e.msg);
    } else {
        struct buf text, second;
        buf_init(&text, 1 << 24);
        buf_init(&second, 1 << 24);
        nest_print(&text, n);
        if (text.n < (1 << 20)) {
            rc = nest_parse(again, "printed", text.p, text.n, &m, &e);
            QN_CHECK(rc == RC_OK, "printed text does not parse: %s", e.msg);
            nest_print(&second, m);
            QN_CHECK(strcmp(text.p, second.p) == 0, "text changed:\n%s\n%s", text.p, second.p);
        }
        buf_fini(&text);
        buf_fini(&second);
        stmt_walk(n->body, simplify_all, ir);
        if (nest_verify(n, NEST_SCHEDULED, &e) == RC_OK) interpret(n);
        rc = RC_OK;
    }
    ir_free(ir);
    ir_free(again);
    return rc == RC_OK;
}

START_TEST(nest_survives)
{
    int seconds = fuzz_seconds() < SECONDS ? fuzz_seconds() : SECONDS;
    ck_assert_int_gt(fuzz_run("nest", one, seconds), 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fuzz_nest");
    TCase *t = tcase_create("door");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, nest_survives);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
