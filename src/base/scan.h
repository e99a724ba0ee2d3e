/* scan: the one lexer, for .op, .sched, .target, traces, nests and task tokens, with caret errors.
 *
 *   struct scan s; scan_init(&s, "my.op", text, len);
 *   while (s.tok.kind != TOK_END) { ... scan_next(&s); }
 *
 * Tokens: identifiers [A-Za-z_][A-Za-z0-9_]* (with `.` joined when scan.dotted), integers, reals
 * (1.5, 1e-3, 0x1p-3), strings "..." and punctuation (longest match of a fixed list: -> == != <= >=
 * << >> && || .. and every single ASCII mark). `#` starts a comment to the end of the line. With
 * scan.newlines set, a line end is a token TOK_EOL (empty lines collapsed).
 *
 * Errors are sticky: the first is kept in s.err and every later token is TOK_END, so parsing code
 * stays straight and tests once at the end. Input must be UTF-8 without NUL; length limit 1 MiB. */
#ifndef QN_SCAN_H
#define QN_SCAN_H

#include "base/err.h"

enum tok_kind { TOK_END, TOK_IDENT, TOK_INT, TOK_REAL, TOK_STRING, TOK_PUNCT, TOK_EOL };

struct tok {
    enum tok_kind kind;
    /* spelling, inside the input (for strings: without quotes, escapes not allowed) */
    const char *p;
    size_t n;
    int line, col; /* 1-based; col counts bytes */
    int64_t i;     /* TOK_INT */
    double f;      /* TOK_REAL, TOK_INT */
};

struct scan {
    const char *file, *text;
    size_t len, at;
    int line;
    size_t line_start;
    bool dotted, newlines;
    struct tok tok, prev;
    struct err err;
};

void scan_init(struct scan *s, const char *file, const char *text,
               size_t len); /* reads first token */
/* The same with both switches set before the first token is read. */
void scan_init_with(struct scan *s, const char *file, const char *text, size_t len, bool dotted,
                    bool newlines);
void scan_next(struct scan *s);
bool scan_is(const struct scan *s, const char *spelling); /* punct or identifier */
bool scan_accept(struct scan *s, const char *spelling);   /* and step over it */
bool scan_expect(struct scan *s, const char *code, const char *spelling);
/* Copies the identifier into out (size n); error `code` if the token is not one or is too long. */
bool scan_ident(struct scan *s, const char *code, char *out, size_t n);
bool scan_int(struct scan *s, const char *code, int64_t *out); /* accepts a leading minus */
bool tok_is(const struct tok *t, const char *spelling);

/* "file:line:col: message", the source line, a caret, all into s->err (first error wins). */
void scan_error(struct scan *s, const struct tok *at, const char *code, const char *fmt, ...)
    QN_PRINTF(4, 5);
/* Same rendering for positions found after parsing (checkers keep line and col in their nodes). */
enum rc scan_error_at(struct err *e, const char *file, const char *text, size_t len, int line,
                      int col, const char *code, const char *fmt, ...) QN_PRINTF(8, 9);

/* " (did you mean 'conv2d'?)" or "": nearest of n names within edit distance 2. */
const char *did_you_mean(char *out, size_t out_n, const char *word, const char *const *names,
                         size_t n);

#endif
