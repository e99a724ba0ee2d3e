/* scan: reading tokens, stepping over them, and the caret errors of every text quern reads.
 *
 *   conv.op:3:9: unknown name 'strid' (did you mean 'stride'?)
 *     y[n*strid] = 0
 *         ^
 *
 * Invariants: `tok` always lies inside the text; after an error (kept in s->err, the first wins)
 * every token is TOK_END; the whole text is checked once, at init, for UTF-8, control bytes and
 * length, so the lexer meets no other byte outside comments and strings than it can name. */
#include "base/scan.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { SCAN_MAX = 1 << 20, NUMBER_MAX = 64, SHOWN_LINE = 96 };

static bool is_ident_start(char c) { return isalpha((unsigned char)c) || c == '_'; }
static bool is_ident(char c) { return isalnum((unsigned char)c) || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The source line and the caret under byte column col, cut to a window when the line is long. */
static void put_line_and_caret(struct buf *out, const char *line, size_t n, int col)
{
    size_t caret = (size_t)(col - 1) < n ? (size_t)(col - 1) : n, from = 0;
    if (caret > SHOWN_LINE * 3 / 4) from = caret - SHOWN_LINE * 3 / 4;
    while (from < caret && ((unsigned char)line[from] & 0xC0) == 0x80) from++;
    size_t to = n - from > SHOWN_LINE ? from + SHOWN_LINE : n;
    while (to < n && to > caret && ((unsigned char)line[to] & 0xC0) == 0x80) to--;
    const char *lead = from ? "..." : "", *tail = to < n ? "..." : "";

    buf_printf(out, "\n  %s", lead);
    for (size_t i = from; i < to; i++) {
        unsigned char c = (unsigned char)line[i];
        bool odd = (c < 0x20 && c != '\t') || c == 0x7F;
        buf_putc(out, odd ? '?' : line[i]);
    }
    buf_printf(out, "%s\n  %*s", tail, (int)strlen(lead), "");
    for (size_t i = from; i < caret; i++) {
        if (((unsigned char)line[i] & 0xC0) == 0x80) continue; /* one column a character */
        buf_putc(out, line[i] == '\t' ? '\t' : ' ');
    }
    buf_putc(out, '^');
}

static enum rc render(struct err *e, const char *file, const char *text, size_t len, int line,
                      int col, const char *code, const char *fmt, va_list ap)
{
    char msg[700];
    vsnprintf(msg, sizeof msg, fmt, ap);
    size_t start = 0;
    for (int at = 1; at < line && start < len; start++)
        if (text[start] == '\n') at++;
    size_t end = start;
    while (end < len && text[end] != '\n') end++;
    if (end > start && text[end - 1] == '\r') end--;

    struct buf out;
    buf_init(&out, sizeof e->msg - 1);
    buf_printf(&out, "%.400s:%d:%d: %s", file, line, col, msg);
    put_line_and_caret(&out, text + start, end - start, col);
    err_set(e, RC_INPUT, code, "%s", out.p);
    buf_fini(&out);
    return RC_INPUT;
}

enum rc scan_error_at(struct err *e, const char *file, const char *text, size_t len, int line,
                      int col, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    render(e, file, text, len, line, col, code, fmt, ap);
    va_end(ap);
    return RC_INPUT;
}

static void stop(struct scan *s)
{
    s->tok.kind = TOK_END;
    s->tok.p = s->text + s->len;
    s->tok.n = 0;
    s->at = s->len;
}

void scan_error(struct scan *s, const struct tok *at, const char *code, const char *fmt, ...)
{
    if (s->err.rc == RC_OK) {
        if (!at) at = &s->tok;
        va_list ap;
        va_start(ap, fmt);
        render(&s->err, s->file, s->text, s->len, at->line, at->col, code, fmt, ap);
        va_end(ap);
    }
    stop(s);
}

/* Checks the bytes of the whole text; the lexer then needs no such tests. */
static bool check_text(struct scan *s)
{
    struct tok at = {.line = 1, .col = 1};
    size_t full = s->len;
    if (full > SCAN_MAX) {
        s->len = 0;
        scan_error(s, &at, "scan.too_long", "the text has %zu bytes; the limit is %d", full,
                   SCAN_MAX);
        return false;
    }
    for (size_t i = 0; i < full;) {
        uint32_t c = 0;
        size_t step = utf8_step(s->text + i, full - i, &c);
        bool control = step == 1 && (c < 0x20 || c == 0x7F) && c != '\t' && c != '\n' && c != '\r';
        if (step == 0 || control) {
            s->len = i; /* shows the line up to the bad byte */
            if (step == 0)
                scan_error(s, &at, "scan.utf8", "byte 0x%02X is not valid UTF-8 here",
                           (unsigned char)s->text[i]);
            else
                scan_error(s, &at, "scan.control", "control byte 0x%02X is not allowed",
                           (unsigned)c);
            return false;
        }
        at.col += (int)step;
        if (c == '\n') {
            at.line++;
            at.col = 1;
        }
        i += step;
    }
    return true;
}

void scan_init_with(struct scan *s, const char *file, const char *text, size_t len, bool dotted,
                    bool newlines)
{
    *s = (struct scan){.file = file,
                       .text = len ? text : "",
                       .len = len,
                       .line = 1,
                       .dotted = dotted,
                       .newlines = newlines};
    s->tok = (struct tok){.kind = TOK_EOL,
                          .p = s->text,
                          .line = 1,
                          .col = 1}; /* swallows leading line ends */
    if (check_text(s)) scan_next(s);
    s->prev = (struct tok){.kind = TOK_END, .p = s->text, .line = 1, .col = 1};
}

void scan_init(struct scan *s, const char *file, const char *text, size_t len)
{
    scan_init_with(s, file, text, len, false, false);
}

/* Steps over blanks, comments and line ends; true when a line end was passed. */
static bool skip_space(struct scan *s, struct tok *first_eol)
{
    bool passed = false;
    for (; s->at < s->len; s->at++) {
        char c = s->text[s->at];
        if (c == '\n') {
            if (!passed)
                *first_eol = (struct tok){.kind = TOK_EOL,
                                          .p = s->text + s->at,
                                          .n = 1,
                                          .line = s->line,
                                          .col = (int)(s->at - s->line_start) + 1};
            passed = true;
            s->line++;
            s->line_start = s->at + 1;
        } else if (c == '#') {
            while (s->at + 1 < s->len && s->text[s->at + 1] != '\n') s->at++;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            break;
        }
    }
    return passed;
}

static size_t span_while(const struct scan *s, size_t at, bool (*want)(char))
{
    while (at < s->len && want(s->text[at])) at++;
    return at;
}

static bool is_hex(char c) { return isxdigit((unsigned char)c); }

/* Where the number that starts at s->at ends, and whether it is a real. */
static size_t number_end(const struct scan *s, bool *real)
{
    const char *t = s->text;
    size_t at = s->at;
    bool hex = t[at] == '0' && at + 1 < s->len && (t[at + 1] == 'x' || t[at + 1] == 'X');
    bool (*digit)(char) = hex ? is_hex : is_digit;
    *real = false;
    at = span_while(s, hex ? at + 2 : at, digit);
    if (at + 1 < s->len && t[at] == '.' && digit(t[at + 1])) {
        *real = true;
        at = span_while(s, at + 1, digit);
    }
    if (at < s->len && (hex ? (t[at] | 32) == 'p' : (t[at] | 32) == 'e')) {
        size_t e = at + 1;
        if (e < s->len && (t[e] == '+' || t[e] == '-')) e++;
        if (e < s->len && is_digit(t[e])) {
            *real = true;
            at = span_while(s, e, is_digit);
        }
    }
    return at;
}

static void lex_number(struct scan *s, struct tok *t)
{
    bool real = false;
    size_t end = number_end(s, &real), run = span_while(s, end, is_ident);
    char text[NUMBER_MAX];
    t->n = run - s->at;
    t->kind = real ? TOK_REAL : TOK_INT;
    if (run != end || t->n >= sizeof text) {
        scan_error(s, t, "scan.number", "'%.*s' is not a number", (int)(t->n < 80 ? t->n : 80),
                   t->p);
        return;
    }
    memcpy(text, t->p, t->n);
    text[t->n] = 0;
    char *stop_at = NULL;
    errno = 0;
    t->f = strtod(text, &stop_at);
    if (real) {
        if (*stop_at)
            scan_error(s, t, "scan.number", "'%s' is not a number", text);
        else if (errno == ERANGE && (t->f > 1 || t->f < -1))
            scan_error(s, t, "scan.range", "'%s' is too large for a 64-bit real", text);
        return;
    }
    bool hex = text[0] == '0' && (text[1] | 32) == 'x';
    errno = 0;
    long long v = strtoll(text, &stop_at, hex ? 16 : 10);
    if (*stop_at)
        scan_error(s, t, "scan.number", "'%s' is not a number", text);
    else if (errno == ERANGE)
        scan_error(s, t, "scan.range", "'%s' does not fit in 64 bits", text);
    t->i = v;
    t->f = (double)v;
}

static void lex_ident(struct scan *s, struct tok *t)
{
    size_t at = span_while(s, s->at, is_ident);
    while (s->dotted && at + 1 < s->len && s->text[at] == '.' && is_ident_start(s->text[at + 1]))
        at = span_while(s, at + 1, is_ident);
    t->kind = TOK_IDENT;
    t->n = at - s->at;
}

static void lex_string(struct scan *s, struct tok *t)
{
    size_t at = s->at + 1;
    while (at < s->len && s->text[at] != '"' && s->text[at] != '\n') {
        if (s->text[at] == '\\') {
            t->col += (int)(at - s->at);
            scan_error(s, t, "scan.string", "escapes are not allowed in a string");
            return;
        }
        at++;
    }
    if (at >= s->len || s->text[at] == '\n') {
        scan_error(s, t, "scan.string", "this string has no closing '\"' on its line");
        return;
    }
    t->kind = TOK_STRING;
    t->p = s->text + s->at + 1;
    t->n = at - s->at - 1;
}

static void lex_punct(struct scan *s, struct tok *t)
{
    static const char PAIRS[][3] = {"->", "==", "!=", "<=", ">=", "<<", ">>", "&&", "||", ".."};
    t->kind = TOK_PUNCT;
    t->n = 1;
    for (size_t i = 0; i < QN_COUNT(PAIRS) && s->at + 1 < s->len; i++)
        if (memcmp(t->p, PAIRS[i], 2) == 0) t->n = 2;
    if (ispunct((unsigned char)t->p[0])) return;
    uint32_t cp = 0;
    size_t step = utf8_step(t->p, s->len - s->at, &cp);
    scan_error(s, t, "scan.character",
               "unexpected character '%.*s' (names are ASCII letters, digits and _)", (int)step,
               t->p);
}

void scan_next(struct scan *s)
{
    s->prev = s->tok;
    if (s->err.rc != RC_OK) return;
    struct tok eol = {0};
    bool passed = skip_space(s, &eol);
    bool at_line_start = s->tok.kind == TOK_EOL;
    if (s->newlines && passed && !at_line_start) {
        s->tok = eol;
        return;
    }
    struct tok t = {.kind = TOK_END,
                    .p = s->text + s->at,
                    .line = s->line,
                    .col = (int)(s->at - s->line_start) + 1};
    if (s->at < s->len) {
        char c = s->text[s->at];
        s->tok = t; /* an error in the middle of a token finds a position */
        if (is_ident_start(c))
            lex_ident(s, &t);
        else if (is_digit(c))
            lex_number(s, &t);
        else if (c == '"')
            lex_string(s, &t);
        else
            lex_punct(s, &t);
        if (s->err.rc != RC_OK) return;
        s->at = (size_t)(t.p - s->text) + t.n + (t.kind == TOK_STRING ? 1 : 0);
    }
    s->tok = t;
}

bool tok_is(const struct tok *t, const char *spelling)
{
    if (t->kind != TOK_IDENT && t->kind != TOK_PUNCT) return false;
    return strlen(spelling) == t->n && memcmp(t->p, spelling, t->n) == 0;
}

bool scan_is(const struct scan *s, const char *spelling) { return tok_is(&s->tok, spelling); }

bool scan_accept(struct scan *s, const char *spelling)
{
    if (!scan_is(s, spelling)) return false;
    scan_next(s);
    return true;
}

/* "expected X but found 'y'", with words for the ends that have no spelling. */
static void unexpected(struct scan *s, const char *code, const char *wanted)
{
    const struct tok *t = &s->tok;
    if (t->kind == TOK_END)
        scan_error(s, t, code, "expected %s but the text ends here", wanted);
    else if (t->kind == TOK_EOL)
        scan_error(s, t, code, "expected %s but the line ends here", wanted);
    else
        scan_error(s, t, code, "expected %s but found '%.*s'", wanted, (int)(t->n < 60 ? t->n : 60),
                   t->p);
}

bool scan_expect(struct scan *s, const char *code, const char *spelling)
{
    if (scan_accept(s, spelling)) return true;
    char wanted[80];
    snprintf(wanted, sizeof wanted, "'%s'", spelling);
    unexpected(s, code, wanted);
    return false;
}

bool scan_ident(struct scan *s, const char *code, char *out, size_t n)
{
    if (s->tok.kind != TOK_IDENT) {
        unexpected(s, code, "a name");
        if (n) out[0] = 0;
        return false;
    }
    if (s->tok.n >= n) {
        scan_error(s, &s->tok, code, "the name '%.*s...' is too long (limit %zu characters)", 20,
                   s->tok.p, n - 1);
        if (n) out[0] = 0;
        return false;
    }
    memcpy(out, s->tok.p, s->tok.n);
    out[s->tok.n] = 0;
    scan_next(s);
    return true;
}

bool scan_int(struct scan *s, const char *code, int64_t *out)
{
    bool minus = scan_accept(s, "-");
    if (s->tok.kind != TOK_INT) {
        unexpected(s, code, "an integer");
        *out = 0;
        return false;
    }
    *out = minus ? -s->tok.i : s->tok.i;
    scan_next(s);
    return true;
}

enum { NAME_MAX_DISTANCE = 64 };

/* Edit distance with swaps of neighbours (optimal string alignment); long names count as far. */
static int edit_distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > NAME_MAX_DISTANCE || m > NAME_MAX_DISTANCE) return NAME_MAX_DISTANCE;
    int d[3][NAME_MAX_DISTANCE + 1];
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return d[n % 3][m];
}

const char *did_you_mean(char *out, size_t out_n, const char *word, const char *const *names,
                         size_t n)
{
    const char *nearest = NULL;
    int best = 3;
    for (size_t i = 0; i < n; i++) {
        int d = edit_distance(word, names[i]);
        size_t longer = strlen(word) > strlen(names[i]) ? strlen(word) : strlen(names[i]);
        if (d < best && (size_t)d < longer) {
            best = d;
            nearest = names[i];
        }
    }
    if (nearest)
        snprintf(out, out_n, " (did you mean '%s'?)", nearest);
    else if (out_n)
        out[0] = 0;
    return out;
}
