/* buf: a text that grows up to a maximum, and the escapes for foreign text.
 *
 *   buf_init(&b, 4); buf_puts(&b, "abc"); buf_puts(&b, "de");   b.p is "abc", b.full is true
 *
 * Invariants: n <= max; p[n] == 0; a write that does not fit is dropped whole and sets `full`; once
 * full, nothing is added. cap == 0 means p is the shared empty text, which is never written. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"

static char empty_text[1];

void buf_init(struct buf *b, size_t max) { *b = (struct buf){.p = empty_text, .max = max}; }

void buf_fini(struct buf *b)
{
    if (b->cap) mem_free(b->p);
    *b = (struct buf){.p = empty_text, .max = b->max};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->full = false;
    if (b->cap) b->p[0] = 0;
}

/* Room for n more bytes and the NUL, or full. */
static bool reserve(struct buf *b, size_t n)
{
    if (b->full) return false;
    if (n > b->max - b->n) {
        b->full = true;
        return false;
    }
    size_t need = b->n + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need) cap *= 2;
        if (cap > b->max + 1) cap = b->max + 1;
        b->p = mem_grow(b->cap ? b->p : NULL, b->cap ? b->n + 1 : 0, cap);
        b->cap = cap;
    }
    return true;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !reserve(b, n)) return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_puts(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }

void buf_putc(struct buf *b, char c) { buf_put(b, &c, 1); }

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    QN_CHECK(n >= 0, "format '%s'", fmt);
    if (n > 0 && reserve(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_indent(struct buf *b, int depth)
{
    for (int i = 0; i < depth; i++) buf_put(b, "  ", 2);
}

size_t utf8_step(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    if (n == 0) return 0;
    if (u[0] < 0x80) {
        *cp = u[0];
        return 1;
    }
    size_t len = u[0] >= 0xF0 && u[0] < 0xF5   ? 4
                 : u[0] >= 0xE0 && u[0] < 0xF0 ? 3
                 : u[0] >= 0xC2 && u[0] < 0xE0 ? 2
                                               : 0;
    if (len == 0 || len > n) return 0;
    uint32_t c = u[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (u[i] & 0x3Fu);
    }
    bool overlong = (len == 3 && c < 0x800) || (len == 4 && c < 0x10000);
    if (overlong || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
    *cp = c;
    return len;
}

/* What could drive a terminal or reorder what a reader sees: C0, DEL, C1, bidirectional
 * controls. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029;
}

/* Appends one printable character, or the bytes as \xNN; returns how many bytes it took. */
static size_t put_printable(struct buf *b, const char *s, size_t n)
{
    uint32_t c = 0;
    size_t step = utf8_step(s, n, &c);
    if (step != 0 && !is_control(c)) {
        buf_put(b, s, step);
        return step;
    }
    if (step == 0) step = 1;
    for (size_t i = 0; i < step; i++) buf_printf(b, "\\x%02X", (unsigned char)s[i]);
    return step;
}

void buf_escape_term(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) i += put_printable(b, s + i, n - i);
}

void buf_escape_c_comment(struct buf *b, const char *s, size_t n)
{
    char last = 0;
    for (size_t i = 0; i < n;) {
        char c = s[i];
        bool joins = (last == '*' && c == '/') || (last == '/' && (c == '*' || c == '/')) ||
                     (last == '?' && c == '?');
        if (joins) buf_putc(b, ' ');
        last = c;
        if (c == '\\' && i + 1 == n) { /* would splice the line */
            buf_puts(b, "\\x5C");
            return;
        }
        i += put_printable(b, s + i, n - i);
    }
    if (last == '*' || last == '/' || last == '?') buf_putc(b, ' ');
}
