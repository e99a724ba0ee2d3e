/* The linker's door: any bytes give an image or an error with a code, and an accepted image is
 * sane. The three files are compiled in here, so that this suite does not load LLVM and runs under
 * sanitizers. */
#include <check.h>
#include <string.h>

#include "../../src/codegen/elf_read.c"
#include "../../src/codegen/flatlink.c"
#include "../../src/codegen/flatlink_fix.c"
#include "base/arena.h"
#include "lib/fuzz.h"

static int link_one(const uint8_t *p, size_t n)
{
    static const char *const names[] = {"kernel", "pack"};
    struct flat_image img;
    struct err e = {0};
    if (flatlink(p, n, names, 2, &img, &e)) {
        QN_CHECK(e.rc == RC_FAIL && strncmp(e.code, "link.", 5) == 0 && e.msg[0],
                 "an error without a code: %s", e.code);
        QN_CHECK(!img.p, "a failed link left an image");
        return 0;
    }
    QN_CHECK(img.p && img.text_n > 0 && img.text_n <= img.n, "text %zu of %zu", img.text_n, img.n);
    for (int i = 0; i < FLAT_ENTRIES; i++)
        QN_CHECK(img.entry[i] >= -1 && img.entry[i] < (int64_t)img.text_n, "entry %d at %lld", i,
                 (long long)img.entry[i]);
    uint8_t last = img.p[img.n - 1]; /* every byte is there */
    bool useful = img.entry[0] >= 0 || last;
    mem_free(img.p);
    return useful;
}

START_TEST(linker_survives)
{
    ck_assert_int_gt(fuzz_run("flatlink", link_one, fuzz_seconds()), 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fuzz_flatlink");
    TCase *c = tcase_create("door");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, linker_survives);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
