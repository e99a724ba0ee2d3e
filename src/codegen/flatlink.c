/* flatlink: reads the object's section, symbol and relocation tables and lays out the image.
 *
 *   .text .text.x .rodata .rodata.cst32  ->  [code | pad | data], entries found by symbol name
 *
 * Invariants: every offset and size is checked against the file before it is used; sections keep
 * their alignment relative to the image's start, which the loader puts on a 4 KiB boundary; the
 * same object gives the same bytes (padding is zero). */
#include "codegen/flatlink.h"

#include <string.h>

#include "base/arena.h"
#include "codegen/elf_read.h"

enum { SECTIONS = 4096, PAGE = 4096 };

struct linker {
    struct elf elf;
    const char *const *names;
    int nnames;
    uint64_t *at; /* image offset by section; NOWHERE: not in the image */
    struct flat_image *out;
    struct err *e;
};
static const uint64_t NOWHERE = UINT64_MAX;

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Unwind tables, notes and build attributes: allocated, but code never refers to them. */
static bool is_skipped(const struct elf_section *s)
{
    return starts(s->name, ".eh_frame") || starts(s->name, ".ARM.ex") || starts(s->name, ".note") ||
           starts(s->name, ".llvm") || s->type == ELF_SHT_NOTE;
}

static enum rc refuse_section(struct linker *l, const struct elf_section *s)
{
    const char *code = NULL, *what = NULL;
    if (starts(s->name, ".init") || starts(s->name, ".fini") || starts(s->name, ".ctors") ||
        starts(s->name, ".dtors") ||
        (s->type >= ELF_SHT_INIT_ARRAY && s->type <= ELF_SHT_PREINIT_ARRAY)) {
        code = "link.ctor";
        what = "runs code before the kernel";
    } else if (s->flags & ELF_SHF_TLS) {
        code = "link.tls";
        what = "is thread-local data";
    } else if (starts(s->name, ".got")) {
        code = "link.got";
        what = "is a table of absolute addresses";
    } else if ((s->flags & ELF_SHF_WRITE) || s->type == ELF_SHT_NOBITS) {
        code = "link.writable";
        what = "is writable data; an image has only code and constants";
    } else if (s->type != ELF_SHT_PROGBITS) {
        code = "link.elf";
        what = "has a type that cannot be loaded";
    }
    return code ? err_set(l->e, RC_FAIL, code, "section '%s' %s", s->name, what) : RC_OK;
}

/* One pass over the sections: exec = code, then data. */
static enum rc layout(struct linker *l, bool exec, uint64_t *end)
{
    for (uint32_t i = 1; i < l->elf.nsection; i++) {
        const struct elf_section *s = &l->elf.section[i];
        if (!(s->flags & ELF_SHF_ALLOC) || s->size == 0 || is_skipped(s)) continue;
        if (!!(s->flags & ELF_SHF_EXEC) != exec) continue;
        enum rc rc = refuse_section(l, s);
        if (rc) return rc;
        uint64_t align = s->align ? s->align : 1;
        if (align > PAGE || (align & (align - 1)))
            return err_set(l->e, RC_FAIL, "link.elf", "section '%s' asks for alignment %llu",
                           s->name, (unsigned long long)align);
        *end = (*end + align - 1) & ~(align - 1);
        if (s->size > FLAT_MAX_BYTES || *end + s->size > FLAT_MAX_BYTES)
            return err_set(l->e, RC_FAIL, "link.range", "the image is larger than %d bytes",
                           FLAT_MAX_BYTES);
        l->at[i] = *end;
        *end += s->size;
    }
    return RC_OK;
}

static enum rc place_sections(struct linker *l)
{
    uint64_t end = 0;
    enum rc rc = layout(l, true, &end);
    if (rc) return rc;
    l->out->text_n = (size_t)end;
    if (end == 0) return err_set(l->e, RC_FAIL, "link.elf", "the object has no code");
    rc = layout(l, false, &end);
    if (rc) return rc;
    l->out->n = (size_t)end;
    l->out->p = mem_new(l->out->n);
    for (uint32_t i = 1; i < l->elf.nsection; i++)
        if (l->at[i] != NOWHERE)
            memcpy(l->out->p + l->at[i], l->elf.file + l->elf.section[i].offset,
                   (size_t)l->elf.section[i].size);
    return RC_OK;
}

/* Image address of a symbol; Thumb functions keep bit 0. */
static enum rc symbol_at(struct linker *l, uint64_t index, int64_t *at)
{
    struct elf_symbol s;
    if (!elf_symbol(&l->elf, index, &s))
        return err_set(l->e, RC_FAIL, "link.elf", "a relocation names no symbol");
    const char *name = s.name[0] ? s.name : "(unnamed)";
    if (s.type == ELF_STT_TLS)
        return err_set(l->e, RC_FAIL, "link.tls", "symbol '%s' is thread-local", name);
    if (s.section == 0)
        return err_set(l->e, RC_FAIL, "link.external",
                       "the code needs '%s' from outside; a kernel must contain all it calls",
                       name);
    if (s.section >= l->elf.nsection)
        return err_set(l->e, RC_FAIL, "link.external", "symbol '%s' is absolute or common", name);
    uint64_t base = l->at[s.section];
    if (base == NOWHERE)
        return err_set(l->e, RC_FAIL, "link.external",
                       "symbol '%s' lies in section '%s', which is not loaded", name,
                       l->elf.section[s.section].name);
    if (s.value > l->elf.section[s.section].size)
        return err_set(l->e, RC_FAIL, "link.elf", "symbol '%s' lies outside its section", name);
    *at = (int64_t)(base + s.value);
    return RC_OK;
}

struct hi_search {
    struct linker *l;
    const struct elf_section *rel;
};

/* RISC-V: the value of the PCREL_HI20 fixup whose place is `label`. */
static bool find_hi(void *ctx, uint64_t label, int64_t *value)
{
    struct hi_search *h = ctx;
    uint64_t base = h->l->at[h->rel->info];
    struct elf_reloc r;
    for (uint64_t i = 0; elf_reloc(&h->l->elf, h->rel, i, &r); i++) {
        int64_t s = 0;
        if (r.type != 23 || r.offset > FLAT_MAX_BYTES || base + r.offset != label) continue;
        if (symbol_at(h->l, r.symbol, &s)) return false;
        *value = s + r.addend - (int64_t)label;
        return true;
    }
    return false;
}

static bool addend_is_sane(int64_t a) { return a > -(INT64_C(1) << 40) && a < INT64_C(1) << 40; }

static enum rc relocate(struct linker *l, const struct elf_section *rel)
{
    uint64_t base = l->at[rel->info];
    const struct elf_section *place = &l->elf.section[rel->info];
    struct hi_search search = {l, rel};
    struct elf_reloc r;
    for (uint64_t i = 0; elf_reloc(&l->elf, rel, i, &r); i++) {
        if (flat_fix_is_none(l->elf.machine, r.type)) continue;
        int64_t s = 0;
        enum rc rc = symbol_at(l, r.symbol, &s);
        if (rc) return rc;
        if (r.offset >= place->size || !addend_is_sane(r.addend))
            return err_set(l->e, RC_FAIL, "link.elf", "a relocation of '%s' lies outside it",
                           place->name);
        struct flat_place f = {.image = l->out->p,
                               .n = (size_t)(base + place->size),
                               .at = base + r.offset,
                               .s = s,
                               .a = r.addend,
                               .has_addend = rel->type == ELF_SHT_RELA,
                               .hi_of = find_hi,
                               .ctx = &search};
        const char *why = flat_fix(l->elf.machine, r.type, &f);
        if (why)
            return err_set(l->e, RC_FAIL, "link.reloc", "relocation type %u at '%s'+0x%llx: %s",
                           r.type, place->name, (unsigned long long)r.offset, why);
    }
    return RC_OK;
}

static enum rc find_entries(struct linker *l)
{
    struct elf_symbol s;
    for (uint64_t i = 1; elf_symbol(&l->elf, i, &s); i++) {
        for (int k = 0; k < l->nnames; k++) {
            int64_t at = 0;
            if (s.type != ELF_STT_FUNC || s.section == 0 || strcmp(s.name, l->names[k]) != 0)
                continue;
            enum rc rc = symbol_at(l, i, &at);
            if (rc) return rc;
            if (l->elf.machine == ELF_ARM && (at & 1)) l->out->thumb = true;
            l->out->entry[k] = at & ~INT64_C(1);
            if (l->elf.machine != ELF_ARM) l->out->entry[k] = at;
            if (at >= (int64_t)l->out->text_n)
                return err_set(l->e, RC_FAIL, "link.elf", "entry '%s' is not code", s.name);
        }
    }
    return RC_OK;
}

static enum rc link_all(struct linker *l)
{
    enum rc rc = place_sections(l);
    for (uint32_t i = 1; !rc && i < l->elf.nsection; i++) {
        const struct elf_section *s = &l->elf.section[i];
        bool relocs = s->type == ELF_SHT_REL || s->type == ELF_SHT_RELA;
        if (relocs && s->info < l->elf.nsection && l->at[s->info] != NOWHERE) rc = relocate(l, s);
    }
    return rc ? rc : find_entries(l);
}

enum rc flatlink(const uint8_t *obj, size_t n, const char *const *names, int nnames,
                 struct flat_image *out, struct err *e)
{
    QN_CHECK(nnames <= FLAT_ENTRIES, "%d entries", nnames);
    memset(out, 0, sizeof *out);
    for (int k = 0; k < FLAT_ENTRIES; k++) out->entry[k] = -1;
    struct linker l = {.names = names, .nnames = nnames, .out = out, .e = e};
    const char *why = elf_open(&l.elf, obj, n, SECTIONS);
    if (why) return err_set(e, RC_FAIL, "link.elf", "not an object this linker reads: %s", why);
    l.at = mem_new(l.elf.nsection * sizeof *l.at);
    for (uint32_t i = 0; i < l.elf.nsection; i++) l.at[i] = NOWHERE;
    enum rc rc = link_all(&l);
    mem_free(l.at);
    elf_close(&l.elf);
    if (rc) {
        mem_free(out->p);
        memset(out, 0, sizeof *out);
    }
    return rc;
}
