/* arena: chunks of doubling size, handed out from the front; and the raw heap of quern.
 *
 *   chunk ──► chunk ──► chunk        newest first; objects never move
 *
 * Invariants: every object is zeroed and aligned to max_align_t; nothing is freed alone. In a
 * sanitizer build, or with QN_ARENA_MALLOC=1, each object is a chunk of its own (exact size), so
 * that an overrun of one byte is seen. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_FIRST = 16 * 1024, CHUNK_LARGEST = 1024 * 1024 };

struct chunk {
    struct chunk *older;
    size_t used, size;
    _Alignas(max_align_t) unsigned char bytes[];
};

struct arena {
    struct chunk *top;
    size_t next_size, total;
    bool exact; /* one malloc an object */
};

QN_NORETURN static void out_of_memory(size_t n)
{
    fprintf(stderr, "quern: out of memory (asked for %zu bytes)\n", n);
    abort();
}

void *mem_new(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

void *mem_grow(void *p, size_t old_n, size_t new_n)
{
    QN_CHECK(new_n >= old_n, "mem_grow from %zu to %zu bytes", old_n, new_n);
    void *q = realloc(p, new_n ? new_n : 1);
    if (!q) out_of_memory(new_n);
    memset((char *)q + old_n, 0, new_n - old_n);
    return q;
}

void mem_free(void *p) { free(p); }

char *mem_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = mem_new(n);
    memcpy(p, s, n);
    return p;
}

static bool wants_exact(void)
{
#ifdef QN_SANITIZED
    return true;
#else
    const char *v = getenv("QN_ARENA_MALLOC");
    return v && strcmp(v, "1") == 0;
#endif
}

struct arena *arena_new(void)
{
    struct arena *a = mem_new(sizeof *a);
    a->next_size = CHUNK_FIRST;
    a->exact = wants_exact();
    return a;
}

void arena_reset(struct arena *a)
{
    while (a->top) {
        struct chunk *older = a->top->older;
        mem_free(a->top);
        a->top = older;
    }
    a->next_size = CHUNK_FIRST;
    a->total = 0;
}

void arena_free(struct arena *a)
{
    if (!a) return;
    arena_reset(a);
    mem_free(a);
}

static struct chunk *push_chunk(struct arena *a, size_t size)
{
    struct chunk *c = mem_new(sizeof *c + size);
    c->size = size;
    c->older = a->top;
    a->top = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t n)
{
    QN_CHECK(n < SIZE_MAX / 4, "arena object of %zu bytes", n);
    a->total += n;
    if (a->exact) return push_chunk(a, n ? n : 1)->bytes;

    size_t const align = _Alignof(max_align_t);
    size_t need = ((n ? n : 1) + align - 1) / align * align;
    if (!a->top || a->top->size - a->top->used < need) {
        size_t size = a->next_size;
        if (a->next_size < CHUNK_LARGEST) a->next_size *= 2;
        push_chunk(a, need > size ? need : size);
    }
    void *p = a->top->bytes + a->top->used;
    a->top->used += need;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    if (n) memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    QN_CHECK(n >= 0, "format '%s'", fmt);
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t arena_bytes(const struct arena *a) { return a->total; }
