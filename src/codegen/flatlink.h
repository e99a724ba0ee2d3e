/* flatlink: one relocatable ELF object -> one position-independent image, text first, then
 * read-only data.
 *
 *   const char *names[] = {"kernel", "pack"};
 *   struct flat_image img;
 *   flatlink(obj, n, names, 2, &img, &e);      img.p runs from any 4 KiB boundary;
 *                                              entry[1] == -1: no `pack`
 *
 * Compiled with PIC and the small code model, a self-contained object needs only PC-relative fixups
 * between its own sections, so this is the whole linker. What cannot be such an image is refused by
 * name: writable data, thread-local data, GOT entries, constructors, external symbols. The object
 * may be any bytes: everything is bounds-checked, nothing is trusted. */
#ifndef QN_FLATLINK_H
#define QN_FLATLINK_H

#include "base/err.h"

enum { FLAT_ENTRIES = 2, FLAT_MAX_BYTES = 64 << 20 };

struct flat_image {
    uint8_t *p; /* mem_free */
    size_t n;
    size_t text_n;               /* bytes of machine code at the start; the rest is data */
    int64_t entry[FLAT_ENTRIES]; /* offsets, -1 if the object has no such symbol */
    bool thumb;                  /* entries are Thumb code: bit 0 of a callable address is set */
};

/* RC_FAIL with code "link.*": external, writable, tls, ctor, reloc, range, elf. */
enum rc flatlink(const uint8_t *obj, size_t n, const char *const *names, int nnames,
                 struct flat_image *out, struct err *e);

/* flatlink_fix.c: patches the place at `at` of the image. s: target address, a: addend, p: place
 * address, all as offsets into the image. NULL: done; otherwise what is wrong, a static
 * sentence. */
struct flat_place {
    uint8_t *image;
    size_t n;    /* bytes of the image */
    uint64_t at; /* == p */
    int64_t s, a;
    bool has_addend; /* RELA; otherwise the addend is in the place */
    /* RISC-V: PCREL_LO12 names the label of its AUIPC; this finds that fixup's S + A - P. */
    bool (*hi_of)(void *ctx, uint64_t label, int64_t *value);
    void *ctx;
};
enum { ELF_X86_64 = 62, ELF_AARCH64 = 183, ELF_ARM = 40, ELF_RISCV = 243 };
const char *flat_fix(int machine, uint32_t type, const struct flat_place *f);
bool flat_fix_is_none(int machine, uint32_t type); /* markers that change nothing */

#endif
