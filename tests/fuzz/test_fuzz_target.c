/* The target file reader survives any bytes: an error, or facts whose text reads back. */
#include <check.h>
#include <stdlib.h>

#include "lib/fuzz.h"
#include "target/target_int.h"

static int fuzz_one(const uint8_t *p, size_t n)
{
    struct target *t, *back;
    struct target_file f;
    struct err e = {0};
    if (target_parse("fuzz.target", (const char *)p, n, &t, &f, &e) != RC_OK) return 0;
    struct buf b;
    buf_init(&b, 1 << 20);
    target_text(t, &b);
    if (target_from_text(b.p, b.n, &back, &e) == RC_OK) target_free(back);
    target_free(t);
    buf_fini(&b);
    return 0;
}

START_TEST(any_bytes) { ck_assert_int_gt(fuzz_run("target", fuzz_one, fuzz_seconds()), 0); }
END_TEST

int main(void)
{
    Suite *s = suite_create("fuzz_target");
    TCase *t = tcase_create("target");
    setenv("QUERN_DATA", QN_SOURCE_DIR, 1);
    tcase_set_timeout(t, 0);
    tcase_add_test(t, any_bytes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
