/* stage: the arithmetic of placing, poisoning and naming buffers; mapping them is child.c's.
 *
 *   place_pages(100, ALIGN_RIGHT, 4, 0, &off) == 4096, off == 3996
 *
 * Invariants: data are aligned to their element (unit), packed and scratch to 64; a place of zero
 * bytes is one guarded address; at least GUARD unmapped bytes lie between any two places. */
#include "sandbox/stage.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

bool shm_resize(struct shm *s, size_t len)
{
    len = (len + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (len == s->len) return true;
    if (s->fd < 0) {
        s->fd = (int)syscall(SYS_memfd_create, "quern", 1u /* MFD_CLOEXEC */);
        if (s->fd < 0) return false;
    }
    if (len < s->len && ftruncate(s->fd, (off_t)len) != 0) return false;
    if (s->base) munmap(s->base, s->len);
    s->base = NULL;
    if (len > s->len && ftruncate(s->fd, (off_t)len) != 0) len = 0;
    s->len = 0;
    if (len == 0) {
        (void)!ftruncate(s->fd, 0);
        return false;
    }
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED) return false;
    madvise(p, len, MADV_DONTFORK); /* children must not see it writable */
    s->base = p;
    s->len = len;
    return true;
}

void shm_free(struct shm *s)
{
    if (s->base) munmap(s->base, s->len);
    if (s->fd >= 0) close(s->fd);
    *s = (struct shm){.fd = -1};
}

bool window_reserve(struct window *w)
{
    static const int bits[] = {40, 38, 36, 34, 32, 30, 29};
    for (size_t i = 0; i < QN_COUNT(bits); i++) {
        if (bits[i] >= (int)sizeof(size_t) * 8) continue;
        size_t len = (size_t)1 << bits[i];
        void *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) continue;
        *w = (struct window){.base = p, .len = len};
        return true;
    }
    return false;
}

size_t place_pages(uint64_t bytes, enum stage_align align, unsigned unit, int index, size_t *off)
{
    size_t head = 0;
    if (align == ALIGN_TIMED) head = bytes >= LARGE ? 64 : (size_t)index * (PAGE / 8 + 64) % PAGE;
    size_t padded = (size_t)(bytes + unit - 1) / unit * unit;
    size_t len = (head + padded + PAGE - 1) & ~(size_t)(PAGE - 1);
    *off = align == ALIGN_RIGHT ? len - padded : head;
    return bytes == 0 ? 0 : len;
}

uint64_t blob_private_bytes(const struct wire_blob *b, uint32_t threads)
{
    uint64_t sum = b->scratch_b;
    if (__builtin_mul_overflow(sum, (uint64_t)threads, &sum)) return UINT64_MAX;
    if (__builtin_add_overflow(sum, b->scratch_a, &sum)) return UINT64_MAX;
    for (uint32_t i = 0; i < b->packed.n; i++)
        if (__builtin_add_overflow(sum, (uint64_t)b->packed.p[i], &sum)) return UINT64_MAX;
    return sum;
}

bool stage_add(struct stage *s, struct window *w, const char *name, enum place_kind kind,
               uint64_t bytes, unsigned unit)
{
    QN_CHECK(s->n < STAGE_MAX_PLACES, "%d places", s->n);
    struct place *p = &s->places[s->n];
    *p = (struct place){.kind = kind, .fd = -1, .bytes = (size_t)bytes};
    snprintf(p->name, sizeof p->name, "%s", name);
    if (bytes > w->len) return false;
    p->map_len = place_pages(bytes, s->align, unit, s->n, &p->off);
    if (w->used == 0) w->used = GUARD;
    if (p->map_len + GUARD > w->len - w->used) return false;
    p->at = w->base + w->used;
    if (bytes == 0) p->off = 0;
    w->used += p->map_len + GUARD;
    s->n++;
    return true;
}

static const char *const KINDS[] = {"input", "output", "packed buffer", "scratch"};

void stage_describe(const struct stage *stages, int n, const uint8_t *addr, bool write, char *text,
                    size_t text_n)
{
    const char *verb = write ? "write" : "read";
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < stages[k].n; i++) {
            const struct place *p = &stages[k].places[i];
            const uint8_t *data = p->at + p->off, *end = data + p->bytes;
            if (addr < p->at - GUARD / 2 || addr >= p->at + p->map_len + GUARD / 2) continue;
            if (addr >= data && addr < end)
                snprintf(text, text_n, "%s at byte %td of %s '%s', which is read-only", verb,
                         addr - data, KINDS[p->kind], p->name);
            else if (addr >= end)
                snprintf(text, text_n, "%s %td bytes past the end of %s '%s' (%zu bytes)", verb,
                         addr - end, KINDS[p->kind], p->name, p->bytes);
            else
                snprintf(text, text_n, "%s %td bytes before the start of %s '%s' (%zu bytes)", verb,
                         data - addr, KINDS[p->kind], p->name, p->bytes);
            return;
        }
    }
    snprintf(text, text_n, "%s at %p, far from every buffer", verb, (const void *)addr);
}

void stage_poison(struct stage *s)
{
    for (int i = 0; i < s->n; i++) {
        struct place *p = &s->places[i];
        if (p->kind != PLACE_OUTPUT || p->map_len == 0) continue;
        memset(p->mine, CANARY, p->off);
        memset(p->mine + p->off, s->poison, p->bytes);
        memset(p->mine + p->off + p->bytes, CANARY, p->map_len - p->off - p->bytes);
    }
}

static bool all_canary(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != CANARY) return false;
    return true;
}

bool stage_intact(const struct stage *s, const struct place **who, bool *after)
{
    for (int i = 0; i < s->n; i++) {
        const struct place *p = &s->places[i];
        if (p->kind != PLACE_OUTPUT || p->map_len == 0) continue;
        *who = p;
        *after = false;
        if (!all_canary(p->mine, p->off)) return false;
        *after = true;
        if (!all_canary(p->mine + p->off + p->bytes, p->map_len - p->off - p->bytes)) return false;
    }
    return true;
}
