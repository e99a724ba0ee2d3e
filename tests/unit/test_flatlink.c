/* What the flat linker refuses, by name, and that what it links runs; objects come from the C
 * compiler. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/proc.h"
#include "codegen/flatlink.h"

static enum rc link_source(const char *source, struct flat_image *img, struct err *e)
{
    char dir[] = "/tmp/qn-flatlink-XXXXXX", c[64], o[64], *out = NULL, *bytes = NULL;
    size_t n = 0;
    int code = 0;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(c, sizeof c, "%s/a.c", dir);
    snprintf(o, sizeof o, "%s/a.o", dir);
    ck_assert_int_eq(fs_write(c, source, strlen(source), e), RC_OK);
    const char *argv[] = {
        "gcc", "-O2", "-fPIC", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-c", c,
        "-o",  o,     NULL};
    ck_assert_int_eq(proc_run(argv, NULL, 20000, 4096, &out, &code, e), RC_OK);
    ck_assert_msg(code == 0, "%s", out);
    mem_free(out);
    ck_assert_int_eq(fs_read(o, 1 << 20, &bytes, &n, e), RC_OK);
    unlink(c);
    unlink(o);
    rmdir(dir);
    static const char *const names[] = {"kernel", "pack"};
    enum rc rc = flatlink((const uint8_t *)bytes, n, names, 2, img, e);
    mem_free(bytes);
    return rc;
}

static const struct {
    const char *source, *code, *names;
} refused[] = {
    {"extern void memset_it(void*); int kernel(void *p){ memset_it(p); return 0; }",
     "link.external", "memset_it"},
    {"static int count; int kernel(void){ return ++count; }", "link.writable", ".bss"},
    {"static int count = 3; int kernel(void){ return ++count; }", "link.writable", ".data"},
    {"static __thread int count; int kernel(void){ return ++count; }", "link.tls", NULL},
    {"__attribute__((constructor)) static void f(void){ __asm__ volatile(\"nop\"); } int "
     "kernel(void){ return 1; }",
     "link.ctor", "array"},
    {"int shared = 4; int kernel(void){ return shared; }", NULL, NULL}, /* .data, through the GOT */
    {"extern const int far[]; const int *kernel(void){ return far; }", "link.external", "far"},
    {"int x;", "link.elf", NULL},
};

START_TEST(refuses_by_name)
{
    struct flat_image img;
    struct err e = {0};
    ck_assert_int_eq(link_source(refused[_i].source, &img, &e), RC_FAIL);
    ck_assert_ptr_null(img.p);
    if (refused[_i].code) ck_assert_str_eq(e.code, refused[_i].code);
    if (refused[_i].names) ck_assert_msg(strstr(e.msg, refused[_i].names) != NULL, "%s", e.msg);
}
END_TEST

/* Code, a table, a jump table and a string pool, wherever the image lies. */
START_TEST(image_runs_anywhere)
{
    static const char source[] =
        "static const int table[5] = {10, 20, 30, 40, 50};\n"
        "__attribute__((noinline)) static int twice(int x) { return 2 * x; }\n"
        "int kernel(int i) { return table[i] + twice(i) + \"abcdefgh\"[i]; }\n"
        "double pack(double x) { return x * 3.25 + 0.125; }\n";
    struct flat_image img;
    struct err e = {0};
    ck_assert_msg(link_source(source, &img, &e) == RC_OK, "%s", e.msg);
    ck_assert_uint_lt(img.text_n, img.n);
    for (int round = 0; round < 2; round++) {
        uint8_t *p =
            mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert(p != MAP_FAILED);
        memcpy(p + 4096 * round, img.p, img.n);
        ck_assert_int_eq(mprotect(p, 1 << 16, PROT_READ | PROT_EXEC), 0);
        int (*kernel)(int);
        double (*pack)(double);
        void *at = p + 4096 * round + img.entry[0];
        memcpy(&kernel, &at, sizeof at);
        at = p + 4096 * round + img.entry[1];
        memcpy(&pack, &at, sizeof at);
        for (int i = 0; i < 5; i++) ck_assert_int_eq(kernel(i), 10 * (i + 1) + 2 * i + 'a' + i);
        ck_assert(pack(2.0) == 6.625);
        munmap(p, 1 << 16);
    }
    mem_free(img.p);
}
END_TEST

/* Fixups that no compiler gave us here, by hand against the architecture manuals. */
static uint32_t word_after(int machine, uint32_t type, uint32_t word, uint64_t at, int64_t s,
                           int64_t a)
{
    uint8_t image[64] = {0};
    memcpy(image + at, &word, 4);
    struct flat_place f = {
        .image = image, .n = sizeof image, .at = at, .s = s, .a = a, .has_addend = true};
    const char *why = flat_fix(machine, type, &f);
    ck_assert_msg(!why, "type %u: %s", type, why);
    memcpy(&word, image + at, 4);
    return word;
}

START_TEST(fixups_by_the_manual)
{
    ck_assert_uint_eq(word_after(ELF_X86_64, 2, 0, 8, 100, -4), 88);
    ck_assert_uint_eq(word_after(ELF_AARCH64, 283, 0x94000000, 8, 0, 0), 0x97fffffe); /* bl -8 */
    ck_assert_uint_eq(word_after(ELF_AARCH64, 275, 0x90000000, 4, 0x3010, 0),
                      0xf0000000); /* adrp x0, +3 pages */
    ck_assert_uint_eq(word_after(ELF_AARCH64, 277, 0x91000000, 4, 0x3010, 0),
                      0x91004000); /* add x0, x0, #16 */
    ck_assert_uint_eq(word_after(ELF_AARCH64, 299, 0x3dc00000, 4, 0x3020, 0),
                      0x3dc00800); /* ldr q0, [x0, #32] */
    ck_assert_uint_eq(word_after(ELF_AARCH64, 280, 0x54000000, 16, 8, 0), 0x54ffffc0); /* b.eq -8 */
    ck_assert_uint_eq(word_after(ELF_ARM, 28, 0xeb000000, 0, 16, -8),
                      0xeb000002); /* bl +8 after pc */
    ck_assert_uint_eq(word_after(ELF_ARM, 10, 0xf800f000, 0, 0x101, -4),
                      0xf87ef000); /* thumb bl +252 */
    ck_assert_uint_eq(word_after(ELF_RISCV, 17, 0x0000006f, 8, 0, 0), 0xff9ff06f);  /* j -8 */
    ck_assert_uint_eq(word_after(ELF_RISCV, 16, 0x00000063, 0, 16, 0), 0x00000863); /* beqz +16 */
    ck_assert_uint_eq(word_after(ELF_RISCV, 23, 0x00000517, 0, 0x1800, 0),
                      0x00002517); /* auipc a0, 2 */
}
END_TEST

START_TEST(fixups_out_of_range)
{
    uint8_t image[16] = {0};
    struct flat_place f = {
        .image = image, .n = 16, .at = 0, .s = INT64_C(1) << 33, .has_addend = true};
    static const struct {
        int machine;
        uint32_t type;
    } kinds[] = {{ELF_X86_64, 2}, {ELF_AARCH64, 283}, {ELF_AARCH64, 275}, {ELF_ARM, 28},
                 {ELF_ARM, 10},   {ELF_RISCV, 17},    {ELF_RISCV, 16},    {ELF_RISCV, 23},
                 {ELF_X86_64, 1}, {ELF_AARCH64, 257}, {ELF_ARM, 2},       {ELF_RISCV, 2},
                 {3, 1}};
    for (size_t i = 0; i < QN_COUNT(kinds); i++)
        ck_assert_ptr_nonnull(flat_fix(kinds[i].machine, kinds[i].type, &f));
    f.s = 0;
    f.at = 13;
    ck_assert_ptr_nonnull(flat_fix(ELF_X86_64, 2, &f));
    f.at = 12;
    ck_assert_ptr_null(flat_fix(ELF_X86_64, 2, &f));
    f.s = 8;
    ck_assert_ptr_nonnull(flat_fix(ELF_AARCH64, 299, &f)); /* 16-byte load of an 8-aligned target */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("flatlink");
    TCase *c = tcase_create("link");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, refuses_by_name, 0, QN_COUNT(refused));
    tcase_add_test(c, image_runs_anywhere);
    tcase_add_test(c, fixups_by_the_manual);
    tcase_add_test(c, fixups_out_of_range);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
