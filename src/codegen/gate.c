/* gate: one pass of LLVM's disassembler over the code part of an image.
 *
 *       140: 62 f2 7d 48 b8 c1          vfmadd231ps %zmm1, %zmm0, %zmm0
 *
 * Invariants: rules about text are one table row per machine; code that does not decode is refused
 * except padding (zeros, and data that ARM keeps among its code). */
#include "codegen/gate.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Disassembler.h>

/* How a machine's assembly shows what we count. Lists are separated by '|'. */
struct dialect {
    const char *triple; /* prefix */
    const char *vector; /* an operand that is a vector register */
    const char *stack;  /* an operand relative to the stack */
    const char *grow;   /* instruction that makes the frame; its first number is the size */
    const char *fma;
    bool data_in_code;
    int unit; /* bytes skipped where nothing decodes */
};

static const struct dialect dialects[] = {
    {"x86_64", "%zmm|%ymm|%xmm", "(%rsp", "subq\t$|sub\t$", "vfmadd|vfnmadd", false, 1},
    {"aarch64", "\tq|, q|{ v|{v", "[sp", "sub\tsp, sp, #", "fmla|fmadd", false, 4},
    {"arm", "\td|{d|{ d|\tq", "[sp", "sub\tsp, sp, #|sub.w\tsp, sp, #|sub\tsp, #|sub.w\tsp, #",
     "vfma|vmla", true, 2},
    {"thumb", "\td|{d|{ d|\tq", "[sp", "sub\tsp, #|sub.w\tsp, sp, #|sub.w\tsp, #", "vfma|vmla",
     true, 2},
    {"riscv", "\tv", "(sp)", "addi\tsp, sp, -", "vfmacc|vfmadd", false, 2},
};

static const struct dialect *dialect_of(const struct target *t)
{
    for (size_t i = 0; i < QN_COUNT(dialects); i++)
        if (strncmp(t->triple, dialects[i].triple, strlen(dialects[i].triple)) == 0)
            return &dialects[i];
    return &dialects[0];
}

/* First alternative of `list` found in s: pointer just behind it, or NULL. */
static const char *find_any(const char *s, const char *list)
{
    while (*list) {
        size_t n = strcspn(list, "|");
        for (const char *p = s; *p; p++)
            if (strncmp(p, list, n) == 0) return p + n;
        list += n;
        if (*list) list++;
    }
    return NULL;
}

/* The frame pointer stands for the stack only in functions that set it up. */
static bool frame_relative(const char *s, bool *has_frame)
{
    if (strstr(s, "%rsp, %rbp")) *has_frame = true;
    if (strncmp(s, "\tret", 4) == 0) *has_frame = false;
    return *has_frame && strstr(s, "(%rbp");
}

static void count(const struct dialect *d, const char *s, struct gate *g, bool *has_frame)
{
    g->instructions++;
    bool framed = frame_relative(s, has_frame);
    if (find_any(s, d->vector) && (find_any(s, d->stack) || framed)) g->vector_stack_refs++;
    if (find_any(s, d->fma)) g->fma++;
    const char *size = find_any(s, d->grow);
    if (size && (strstr(s, "rsp") || strstr(s, "sp,"))) {
        long n = strtol(size, NULL, 0);
        if (n > 0 && n < 1 << 24) g->stack_bytes += (int32_t)n;
    }
}

static void print_line(struct buf *b, const uint8_t *p, size_t at, size_t n, const char *s)
{
    buf_printf(b, "%6zx:", at);
    for (size_t i = 0; i < n; i++) buf_printf(b, " %02x", p[at + i]);
    for (size_t i = n; i < 11; i++) buf_puts(b, "   ");
    buf_printf(b, " %s\n", s);
}

static void print_label(struct buf *b, const struct flat_image *img, size_t at)
{
    static const char *const names[FLAT_ENTRIES] = {"kernel", "pack"};
    for (int i = 0; i < FLAT_ENTRIES; i++)
        if (img->entry[i] == (int64_t)at) buf_printf(b, "%s:\n", names[i]);
}

static void print_data(struct buf *b, const struct flat_image *img)
{
    if (img->n > img->text_n) buf_puts(b, "read-only data:\n");
    for (size_t at = img->text_n; at < img->n; at++) {
        if ((at - img->text_n) % 16 == 0)
            buf_printf(b, "%s%6zx:", at > img->text_n ? "\n" : "", at);
        buf_printf(b, " %02x", img->p[at]);
    }
    if (img->n > img->text_n) buf_putc(b, '\n');
}

static enum rc scan_code(const struct flat_image *img, const struct dialect *d,
                         LLVMDisasmContextRef dis, struct gate *out, struct buf *text,
                         struct err *e)
{
    char s[256];
    bool has_frame = false;
    for (size_t at = 0; at < img->text_n;) {
        size_t n = LLVMDisasmInstruction(dis, img->p + at, img->text_n - at, at, s, sizeof s);
        if (n == 0) {
            bool zeros = true;
            n = (size_t)i64_min(d->unit, (int64_t)(img->text_n - at));
            for (size_t i = 0; i < n; i++) zeros = zeros && img->p[at + i] == 0;
            if (!zeros && !d->data_in_code)
                return err_set(e, RC_FAIL, "gate.undecodable",
                               "code byte 0x%02x at 0x%zx is no instruction of %s", img->p[at], at,
                               d->triple);
            snprintf(s, sizeof s, "\t.data");
        } else {
            count(d, s, out, &has_frame);
        }
        if (text) {
            print_label(text, img, at);
            print_line(text, img->p, at, n, s);
        }
        at += n;
    }
    return RC_OK;
}

enum rc gate_image(const struct flat_image *img, const struct target *t, struct gate *out,
                   struct buf *text, struct err *e)
{
    memset(out, 0, sizeof *out);
    char triple[128];
    snprintf(triple, sizeof triple, "%s%s",
             img->thumb && strncmp(t->triple, "arm", 3) == 0 ? "thumb" : "",
             img->thumb && strncmp(t->triple, "arm", 3) == 0 ? t->triple + 3 : t->triple);
    LLVMDisasmContextRef dis =
        LLVMCreateDisasmCPUFeatures(triple, t->cpu ? t->cpu : "", t->features ? t->features : "",
                                    NULL, 0, NULL, NULL);
    if (!dis)
        return err_set(e, RC_FAIL, "gate.undecodable", "LLVM has no disassembler for '%s'", triple);
    enum rc rc = scan_code(img, dialect_of(t), dis, out, text, e);
    LLVMDisasmDispose(dis);
    if (!rc && text) print_data(text, img);
    return rc;
}
