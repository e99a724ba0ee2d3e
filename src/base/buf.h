/* buf: growable text or bytes with a hard maximum given at init.
 *
 *   struct buf b; buf_init(&b, 1 << 20);
 *   buf_printf(&b, "split %s %d\n", loop, f); use(b.p, b.n);
 *   buf_fini(&b);
 *
 * Above the maximum the buffer goes `full`, keeps what it had, and ignores later writes: check once
 * at the end. b.p is always NUL-terminated (b.n does not count it); before the first write it is
 * "". */
#ifndef QN_BUF_H
#define QN_BUF_H

#include "base/base.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool full;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_reset(struct buf *b); /* empties, keeps memory and maximum */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) QN_PRINTF(2, 3);
void buf_indent(struct buf *b, int depth); /* two spaces a level */

/* One escape per sink for foreign text (may hold any bytes). */
void buf_escape_term(struct buf *b, const char *s, size_t n); /* control bytes as \xNN */
void buf_escape_c_comment(struct buf *b, const char *s,
                          size_t n); /* also breaks comment ends and trigraphs */

/* Length of the valid UTF-8 sequence at s (1..4, *cp its code point), 0 if it is not one. */
size_t utf8_step(const char *s, size_t n, uint32_t *cp);

#endif
