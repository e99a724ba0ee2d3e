/* elf_read: a bounds-checked view of a little-endian ELF32 or ELF64 relocatable object.
 *
 *   struct elf f;
 *   const char *why = elf_open(&f, bytes, n, 4096);   NULL: f.section[1..] may be used
 *   struct elf_symbol s; elf_symbol(&f, 3, &s);       false: there is no such symbol
 *
 * Invariant: after elf_open every section with bytes lies inside the file, and its name is a C
 * string. */
#ifndef QN_ELF_READ_H
#define QN_ELF_READ_H

#include "base/base.h"

enum {
    ELF_SHT_PROGBITS = 1,
    ELF_SHT_SYMTAB = 2,
    ELF_SHT_STRTAB = 3,
    ELF_SHT_RELA = 4,
    ELF_SHT_NOTE = 7,
    ELF_SHT_NOBITS = 8,
    ELF_SHT_REL = 9,
    ELF_SHT_INIT_ARRAY = 14,
    ELF_SHT_PREINIT_ARRAY = 16,
    ELF_SHF_WRITE = 1,
    ELF_SHF_ALLOC = 2,
    ELF_SHF_EXEC = 4,
    ELF_SHF_TLS = 0x400,
    ELF_STT_FUNC = 2,
    ELF_STT_SECTION = 3,
    ELF_STT_TLS = 6,
};

struct elf_section {
    const char *name;
    uint32_t type, link, info;
    uint64_t flags, offset, size, align;
};

struct elf {
    const uint8_t *file;
    size_t n;
    bool wide; /* ELF64 */
    int machine;
    struct elf_section *section; /* [0] is the null section */
    uint32_t nsection;
    uint32_t symtab; /* index, 0: none */
};

struct elf_symbol {
    const char *name;
    int type;
    uint32_t section; /* 0 undefined; 0xfff1 absolute, 0xfff2 common stay as they are */
    uint64_t value;
};

struct elf_reloc {
    uint64_t offset, symbol;
    uint32_t type;
    int64_t addend; /* 0 for REL */
};

const char *elf_open(struct elf *f, const uint8_t *bytes, size_t n, uint32_t max_sections);
void elf_close(struct elf *f);
bool elf_symbol(const struct elf *f, uint64_t i, struct elf_symbol *out);
bool elf_reloc(const struct elf *f, const struct elf_section *rel, uint64_t i,
               struct elf_reloc *out);

#endif
