/* flatlink_fix: the PC-relative fixups of each machine, as its ELF supplement defines them.
 *
 *   x86-64 PC32: the 32 bits at P become S + A - P
 *
 * Invariants: a fixup writes only inside the image; a value that does not fit its field is refused,
 * never truncated; anything absolute (R_X86_64_64, R_AARCH64_ABS64, R_ARM_ABS32, R_RISCV_64) is
 * refused. */
#include "codegen/flatlink.h"

static const char far_away[] = "the target is out of the fixup's range";
static const char unknown[] = "this kind of fixup is not position independent or not known";
static const char outside[] = "the fixup lies outside its section";

static uint32_t get16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | get16(p + 2) << 16; }
static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v);
    put16(p + 2, v >> 16);
}

static bool fits(int64_t v, int bits)
{
    return v >= -(INT64_C(1) << (bits - 1)) && v < INT64_C(1) << (bits - 1);
}
static int64_t sign_extend(uint32_t v, int bits)
{
    uint32_t top = UINT32_C(1) << (bits - 1);
    return (int64_t)((v & ((top << 1) - 1)) ^ top) - (int64_t)top;
}

static const char *store32(const struct flat_place *f, int64_t v)
{
    if (!fits(v, 32)) return far_away;
    put32(f->image + f->at, (uint32_t)v);
    return NULL;
}

static const char *store64(const struct flat_place *f, int64_t v)
{
    if (f->n - f->at < 8) return outside;
    put32(f->image + f->at, (uint32_t)(uint64_t)v);
    put32(f->image + f->at + 4, (uint32_t)((uint64_t)v >> 32));
    return NULL;
}

/* Replace `bits` bits at `low` of the word. */
static const char *insert(const struct flat_place *f, int low, int bits, uint32_t v)
{
    uint8_t *w = f->image + f->at;
    uint32_t mask = ((bits == 32 ? 0 : UINT32_C(1) << bits) - 1) << low;
    put32(w, (get32(w) & ~mask) | ((v << low) & mask));
    return NULL;
}

static const char *fix_x86_64(uint32_t type, const struct flat_place *f)
{
    int64_t v = f->s + f->a - (int64_t)f->at;
    switch (type) {
    case 2:
    case 4:
        return store32(f, v); /* PC32 PLT32 */
    case 24:
        return store64(f, v); /* PC64 */
    default:
        return unknown;
    }
}

static const char *branch_a64(const struct flat_place *f, int64_t v, int low, int bits)
{
    if ((v & 3) || !fits(v, bits + 2)) return far_away;
    return insert(f, low, bits, (uint32_t)((uint64_t)v >> 2));
}

/* ADR and ADRP: 21 bits, the low two at 29. */
static const char *adr(const struct flat_place *f, int64_t v)
{
    if (!fits(v, 21)) return far_away;
    insert(f, 29, 2, (uint32_t)v & 3);
    return insert(f, 5, 19, (uint32_t)((uint64_t)v >> 2));
}

static const char *fix_aarch64(uint32_t type, const struct flat_place *f)
{
    int64_t x = f->s + f->a, v = x - (int64_t)f->at;
    uint32_t lo12 = (uint32_t)x & 4095;
    int scale = 0;
    switch (type) {
    case 260:
        return store64(f, v); /* PREL64 */
    case 261:
        return store32(f, v); /* PREL32 */
    case 273:
        return branch_a64(f, v, 5, 19); /* LD_PREL_LO19 */
    case 274:
        return adr(f, v); /* ADR_PREL_LO21 */
    case 275:
        return adr(f, (x >> 12) - ((int64_t)f->at >> 12)); /* ADR_PREL_PG_HI21 */
    case 277:
        return insert(f, 10, 12, lo12); /* ADD_ABS_LO12_NC */
    case 278:
        break; /* LDST8 */
    case 284:
        scale = 1;
        break;
    case 285:
        scale = 2;
        break;
    case 286:
        scale = 3;
        break;
    case 299:
        scale = 4;
        break; /* LDST128 */
    case 279:
        return branch_a64(f, v, 5, 14); /* TSTBR14 */
    case 280:
        return branch_a64(f, v, 5, 19); /* CONDBR19 */
    case 282:
    case 283:
        return branch_a64(f, v, 0, 26); /* JUMP26 CALL26 */
    default:
        return unknown;
    }
    if (lo12 & ((1u << scale) - 1)) return "a scaled load's target is not aligned";
    return insert(f, 10, 12, lo12 >> scale);
}

/* Thumb BL and B.W: offset in two half-words, sign and the J bits folded. */
static const char *thumb_branch(const struct flat_place *f)
{
    uint8_t *p = f->image + f->at;
    uint32_t hi = get16(p), lo = get16(p + 2), s = (hi >> 10) & 1;
    uint32_t old = s << 24 | (~((lo >> 13) ^ s) & 1) << 23 | (~((lo >> 11) ^ s) & 1) << 22 |
                   (hi & 0x3ff) << 12 | (lo & 0x7ff) << 1;
    int64_t v = f->s + (f->has_addend ? f->a : sign_extend(old, 25)) - (int64_t)f->at;
    if (!fits(v, 25)) return far_away;
    uint32_t u = (uint32_t)v;
    s = (u >> 24) & 1;
    put16(p, (hi & 0xf800) | s << 10 | ((u >> 12) & 0x3ff));
    put16(p + 2, (lo & 0xd000) | (~((u >> 23) ^ s) & 1) << 13 | (~((u >> 22) ^ s) & 1) << 11 |
                     ((u >> 1) & 0x7ff));
    return NULL;
}

/* MOVW and MOVT with a PC-relative half; `top` selects the upper one. */
static const char *arm_mov(const struct flat_place *f, bool thumb, bool top)
{
    uint8_t *p = f->image + f->at;
    uint32_t imm = 0;
    if (thumb) {
        uint32_t hi = get16(p), lo = get16(p + 2);
        imm = (hi & 15) << 12 | ((hi >> 10) & 1) << 11 | ((lo >> 12) & 7) << 8 | (lo & 255);
    } else {
        uint32_t w = get32(p);
        imm = ((w >> 16) & 15) << 12 | (w & 4095);
    }
    int64_t v = f->s + (f->has_addend ? f->a : sign_extend(imm, 16)) - (int64_t)f->at;
    uint32_t h = (uint32_t)((uint64_t)v >> (top ? 16 : 0)) & 0xffff;
    if (!thumb) {
        put32(p, (get32(p) & ~UINT32_C(0x000f0fff)) | (h >> 12) << 16 | (h & 4095));
        return NULL;
    }
    put16(p, (get16(p) & ~0x40fu) | (h >> 12) | ((h >> 11) & 1) << 10);
    put16(p + 2, (get16(p + 2) & ~0x70ffu) | ((h >> 8) & 7) << 12 | (h & 255));
    return NULL;
}

static const char *fix_arm(uint32_t type, const struct flat_place *f)
{
    uint32_t w = get32(f->image + f->at);
    int64_t at = (int64_t)f->at, v = 0;
    switch (type) {
    case 3:
        return store32(f, f->s + (f->has_addend ? f->a : sign_extend(w, 32)) - at); /* REL32 */
    case 42:                                                                        /* PREL31 */
        v = f->s + (f->has_addend ? f->a : sign_extend(w, 31)) - at;
        return fits(v, 31) ? insert(f, 0, 31, (uint32_t)v) : far_away;
    case 28:
    case 29: /* CALL JUMP24 */
        if (f->s & 1) return "ARM code calls Thumb code";
        v = f->s + (f->has_addend ? f->a : sign_extend(w & 0xffffff, 24) * 4) - at;
        if ((v & 3) || !fits(v, 26)) return far_away;
        return insert(f, 0, 24, (uint32_t)((uint64_t)v >> 2));
    case 10:
    case 30:
        return thumb_branch(f); /* THM_CALL THM_JUMP24 */
    case 45:
        return arm_mov(f, false, false);
    case 46:
        return arm_mov(f, false, true);
    case 49:
        return arm_mov(f, true, false);
    case 50:
        return arm_mov(f, true, true);
    default:
        return unknown;
    }
}

static const char *riscv_hi20(const struct flat_place *f, int64_t v)
{
    int64_t hi = (v + 0x800) >> 12;
    return fits(hi, 20) ? insert(f, 12, 20, (uint32_t)hi) : far_away;
}

static const char *riscv_branch(const struct flat_place *f, int64_t v)
{
    uint32_t u = (uint32_t)v;
    if ((v & 1) || !fits(v, 13)) return far_away;
    insert(f, 25, 7, ((u >> 12) & 1) << 6 | ((u >> 5) & 63));
    return insert(f, 7, 5, ((u >> 1) & 15) << 1 | ((u >> 11) & 1));
}

static const char *riscv_jal(const struct flat_place *f, int64_t v)
{
    uint32_t u = (uint32_t)v;
    if ((v & 1) || !fits(v, 21)) return far_away;
    return insert(f, 12, 20,
                  ((u >> 20) & 1) << 19 | ((u >> 1) & 1023) << 9 | ((u >> 11) & 1) << 8 |
                      ((u >> 12) & 255));
}

/* Compressed branch and jump: offset bits scattered as the C extension has them. */
static const char *riscv_short(const struct flat_place *f, int64_t v, bool jump)
{
    uint8_t *p = f->image + f->at;
    uint32_t w = get16(p), u = (uint32_t)v;
    if ((v & 1) || !fits(v, jump ? 12 : 9)) return far_away;
    if (jump)
        put16(p, (w & 0xe003) | ((u >> 11) & 1) << 12 | ((u >> 4) & 1) << 11 | ((u >> 8) & 3) << 9 |
                     ((u >> 10) & 1) << 8 | ((u >> 6) & 1) << 7 | ((u >> 7) & 1) << 6 |
                     ((u >> 1) & 7) << 3 | ((u >> 5) & 1) << 2);
    else
        put16(p, (w & 0xe383) | ((u >> 8) & 1) << 12 | ((u >> 3) & 3) << 10 | ((u >> 6) & 3) << 5 |
                     ((u >> 1) & 3) << 3 | ((u >> 5) & 1) << 2);
    return NULL;
}

static const char *fix_riscv(uint32_t type, const struct flat_place *f)
{
    int64_t v = f->s + f->a - (int64_t)f->at;
    struct flat_place next = *f;
    const char *why;
    switch (type) {
    case 16:
        return riscv_branch(f, v);
    case 17:
        return riscv_jal(f, v);
    case 18:
    case 19: /* CALL CALL_PLT: AUIPC + JALR */
        if (f->n - f->at < 8) return outside;
        if ((why = riscv_hi20(f, v))) return why;
        next.at += 4;
        return insert(&next, 20, 12, (uint32_t)v & 4095);
    case 23:
        return riscv_hi20(f, v); /* PCREL_HI20 */
    case 24:
    case 25: /* PCREL_LO12_I, _S: the symbol is the label of the AUIPC */
        if (!f->hi_of || !f->hi_of(f->ctx, (uint64_t)f->s, &v))
            return "a PCREL_LO12 has no matching PCREL_HI20";
        if (type == 24) return insert(f, 20, 12, (uint32_t)v & 4095);
        insert(f, 25, 7, ((uint32_t)v >> 5) & 127);
        return insert(f, 7, 5, (uint32_t)v & 31);
    case 44:
        return riscv_short(f, v, false);
    case 45:
        return riscv_short(f, v, true);
    case 57:
        return store32(f, v); /* 32_PCREL */
    default:
        return unknown;
    }
}

bool flat_fix_is_none(int machine, uint32_t type)
{
    switch (machine) {
    case ELF_ARM:
        return type == 0 || type == 40; /* NONE V4BX */
    case ELF_RISCV:
        return type == 0 || type == 51; /* NONE RELAX */
    case ELF_AARCH64:
        return type == 0 || type == 256;
    default:
        return type == 0;
    }
}

const char *flat_fix(int machine, uint32_t type, const struct flat_place *f)
{
    bool half = machine == ELF_RISCV && (type == 44 || type == 45);
    if (f->at > f->n || f->n - f->at < (half ? 2u : 4u)) return outside;
    switch (machine) {
    case ELF_X86_64:
        return fix_x86_64(type, f);
    case ELF_AARCH64:
        return fix_aarch64(type, f);
    case ELF_ARM:
        return fix_arm(type, f);
    case ELF_RISCV:
        return fix_riscv(type, f);
    default:
        return "objects of this machine cannot be linked";
    }
}
