/* The operator text's door: any bytes give an operator or an error with a position; what parses
 * prints and parses again; what lowers is a valid nest that never leaves its tensors.
 *
 * Every accepted operator is tried with all its missing keys at 3, on each algorithm, under a 1 MiB
 * limit, and interpreted for a bounded number of steps: interp.oob would be a hole in the proofs of
 * lower_read.c. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "dsl/ast.h"
#include "lib/fuzz.h"

enum { STEPS = 3000 };

static void print_again(const struct op_file *f)
{
    struct buf a, b;
    struct op_file *g = NULL;
    struct err e = {0};
    buf_init(&a, 8 << 20);
    buf_init(&b, 8 << 20);
    dsl_print(&a, f);
    if (a.n < (1 << 20)) { /* the printed text may be longer than a text may be */
        QN_CHECK(dsl_parse("again", a.p, a.n, &g, &e) == RC_OK,
                 "printed text does not parse: %s\n%s", e.msg, a.p);
        dsl_print(&b, g);
        QN_CHECK(strcmp(a.p, b.p) == 0, "printing is not stable:\n%s\n%s", a.p, b.p);
        dsl_free(g);
    }
    buf_fini(&a);
    buf_fini(&b);
}

static void run(struct task *t, const char *algorithm)
{
    struct ir *ir = ir_new();
    struct nest *n = NULL;
    struct err e = {0};
    if (dsl_lower(ir, t, algorithm, "", &n, &e) == RC_OK) {
        void *buf[TASK_TENSORS] = {0};
        struct data_recipe recipe;
        QN_CHECK(nest_verify(n, NEST_NAIVE, &e) == RC_OK, "%s: %s", t->token, e.msg);
        for (int i = 0; i < t->ntensor; i++) {
            buf[i] = mem_new((size_t)t->tensor[i].bytes + 1);
            int32_t lo = (int32_t)t->tensor[i].lo;
            bool word = t->tensor[i].ranged && t->tensor[i].dtype == TYPE_S32;
            for (int64_t k = 0; word && k < t->tensor[i].elements; k++)
                memcpy((char *)buf[i] + 4 * k, &lo, 4);
        }
        enum rc rc = nest_interp(n, 0, buf, t->dyn, STEPS, &e);
        QN_CHECK(rc == RC_OK || strcmp(e.code, "interp.oob") != 0, "%s: %s", t->token, e.msg);
        dsl_recipe(n, t, &recipe);
        for (int i = 0; i < t->ntensor; i++) mem_free(buf[i]);
    } else {
        QN_CHECK(e.rc == RC_INPUT && e.code[0] && e.msg[0], "lowering fails without a reason");
    }
    ir_free(ir);
}

static void try_task(struct op_lib *lib, const struct operator* op)
{
    struct buf token;
    struct task *t = NULL;
    struct err e = {0};
    bool first = true;
    buf_init(&token, 4000);
    buf_puts(&token, op->name);
    for (int i = 0; i < op->nextent; i++, first = false)
        buf_printf(&token, "%c%s=3", first ? ':' : ',', op->extent[i]);
    for (int i = 0; i < op->body.n; i++) {
        const struct item *it = op->body.item[i];
        bool key =
            it->kind == ITEM_DYN || (it->kind == ITEM_ATTR && !it->def && it->attr == ATTR_INT);
        if (!key) continue;
        buf_printf(&token, "%c%s=3", first ? ':' : ',', it->name);
        first = false;
    }
    struct task_limits small = {1 << 20};
    if (task_parse(token.p, lib, &small, &t, &e) == RC_OK) {
        struct algo algos[OP_ALGORITHMS + 1];
        int n = task_algorithms(t, algos, OP_ALGORITHMS + 1);
        for (int i = 0; i < n; i++) run(t, algos[i].name);
        task_free(t);
    }
    buf_fini(&token);
}

static int dsl_one(const uint8_t *p, size_t n)
{
    struct op_file *f = NULL;
    struct err e = {0};
    if (dsl_parse("fuzz", (const char *)p, n, &f, &e) != RC_OK) {
        QN_CHECK(e.rc == RC_INPUT && e.code[0] && strncmp(e.msg, "fuzz:", 5) == 0,
                 "error without a position: %s", e.msg);
        return 0;
    }
    print_again(f);
    struct op_lib *lib = NULL;
    op_lib_new(NULL, false, &lib, &e);
    if (op_lib_add(lib, "fuzz", (const char *)p, n, &e) == RC_OK)
        for (int i = 0; i < dsl_op_count(f); i++) try_task(lib, dsl_op(f, i));
    op_lib_free(lib);
    dsl_free(f);
    return 1;
}

START_TEST(dsl_survives) { ck_assert_int_gt(fuzz_run("dsl", dsl_one, fuzz_seconds()), 200); }
END_TEST

int main(void)
{
    Suite *suite = suite_create("fuzz_dsl");
    TCase *t = tcase_create("dsl");
    tcase_set_timeout(t, fuzz_seconds() + 60);
    tcase_add_test(t, dsl_survives);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
