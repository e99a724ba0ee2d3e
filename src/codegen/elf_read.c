/* elf_read: field offsets of both ELF classes and the checks that make the rest of the linker
 * simple.
 *
 *   section header of ELF64 is 64 bytes: name 0, type 4, flags 8, addr 16, offset 24, size 32, ...
 *
 * Invariant: no read outside [file, file + n), whatever the bytes say. */
#include "codegen/elf_read.h"

#include <string.h>

#include "base/arena.h"

static uint64_t get(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | p[i];
    return v;
}

/* A NUL-terminated string inside a string table, "" if there is none. */
static const char *string_at(const struct elf *f, const struct elf_section *table, uint64_t at)
{
    if (table->type != ELF_SHT_STRTAB || at >= table->size) return "";
    const char *s = (const char *)f->file + table->offset + at;
    return memchr(s, 0, (size_t)(table->size - at)) ? s : "";
}

static bool inside(const struct elf *f, uint64_t at, uint64_t size)
{
    return at <= f->n && size <= f->n - at;
}

static bool read_section(const struct elf *f, uint64_t at, struct elf_section *s, uint32_t *name)
{
    const uint8_t *p = f->file + at;
    int w = f->wide ? 8 : 4, q = 8 + w; /* q: offset of sh_addr */
    *name = (uint32_t)get(p, 4);
    s->name = "";
    s->type = (uint32_t)get(p + 4, 4);
    s->flags = get(p + 8, w);
    s->offset = get(p + q + w, w);
    s->size = get(p + q + 2 * w, w);
    s->link = (uint32_t)get(p + q + 3 * w, 4);
    s->info = (uint32_t)get(p + q + 3 * w + 4, 4);
    s->align = get(p + q + 3 * w + 8, w);
    return s->type == 0 || s->type == ELF_SHT_NOBITS || inside(f, s->offset, s->size);
}

static const char *read_sections(struct elf *f, uint64_t shoff, uint32_t shentsize,
                                 uint32_t shstrndx)
{
    uint32_t *name = mem_new(f->nsection * sizeof *name);
    const char *why = NULL;
    f->section = mem_new(f->nsection * sizeof *f->section);
    for (uint32_t i = 0; i < f->nsection && !why; i++)
        if (!read_section(f, shoff + (uint64_t)i * shentsize, &f->section[i], &name[i]))
            why = "a section lies outside the file";
    for (uint32_t i = 0; i < f->nsection && !why; i++) {
        f->section[i].name = string_at(f, &f->section[shstrndx], name[i]);
        if (f->section[i].type != ELF_SHT_SYMTAB || f->symtab) continue;
        f->symtab = i;
        if (f->section[i].link >= f->nsection) why = "the symbol table has no names";
    }
    mem_free(name);
    return why;
}

const char *elf_open(struct elf *f, const uint8_t *bytes, size_t n, uint32_t max_sections)
{
    memset(f, 0, sizeof *f);
    f->file = bytes;
    f->n = n;
    if (n < 52 || memcmp(bytes, "\177ELF", 4) != 0) return "no ELF header";
    if ((bytes[4] != 1 && bytes[4] != 2) || bytes[5] != 1)
        return "not little-endian ELF32 or ELF64";
    f->wide = bytes[4] == 2;
    if (f->wide && n < 64) return "the ELF header is cut off";
    if (get(bytes + 16, 2) != 1) return "not a relocatable object";
    f->machine = (int)get(bytes + 18, 2);
    int w = f->wide ? 8 : 4;
    const uint8_t *tail = bytes + 24 + 3 * w + 4; /* e_ehsize */
    uint64_t shoff = get(bytes + 24 + 2 * w, w);
    uint32_t shentsize = (uint32_t)get(tail + 6, 2), shstrndx = (uint32_t)get(tail + 10, 2);
    f->nsection = (uint32_t)get(tail + 8, 2);
    if (f->nsection == 0 || f->nsection > max_sections) return "no sections, or too many";
    if (shentsize != (f->wide ? 64u : 40u)) return "section headers of an unknown size";
    if (!inside(f, shoff, (uint64_t)f->nsection * shentsize))
        return "section headers lie outside the file";
    if (shstrndx >= f->nsection) return "no section names";
    const char *why = read_sections(f, shoff, shentsize, shstrndx);
    if (why) elf_close(f);
    return why;
}

void elf_close(struct elf *f)
{
    mem_free(f->section);
    f->section = NULL;
    f->nsection = 0;
}

bool elf_symbol(const struct elf *f, uint64_t i, struct elf_symbol *out)
{
    if (!f->symtab) return false;
    const struct elf_section *t = &f->section[f->symtab];
    uint64_t entry = f->wide ? 24 : 16;
    if (i >= t->size / entry) return false;
    const uint8_t *p = f->file + t->offset + i * entry;
    int info = f->wide ? p[4] : p[12];
    out->name = string_at(f, &f->section[t->link], get(p, 4));
    out->type = info & 15;
    out->section = (uint32_t)get(p + (f->wide ? 6 : 14), 2);
    out->value = f->wide ? get(p + 8, 8) : get(p + 4, 4);
    if (out->type == ELF_STT_SECTION && !out->name[0] && out->section < f->nsection)
        out->name = f->section[out->section].name;
    return true;
}

bool elf_reloc(const struct elf *f, const struct elf_section *rel, uint64_t i,
               struct elf_reloc *out)
{
    bool rela = rel->type == ELF_SHT_RELA;
    int w = f->wide ? 8 : 4;
    uint64_t entry = (uint64_t)w * (rela ? 3 : 2);
    if (i >= rel->size / entry) return false;
    const uint8_t *p = f->file + rel->offset + i * entry;
    uint64_t info = get(p + w, w);
    out->offset = get(p, w);
    out->symbol = f->wide ? info >> 32 : info >> 8;
    out->type = (uint32_t)(f->wide ? info & 0xffffffff : info & 0xff);
    uint64_t addend = rela ? get(p + 2 * w, w) : 0;
    out->addend = f->wide ? (int64_t)addend : (int32_t)(uint32_t)addend;
    return true;
}
