/* The scanner: tokens, their positions, and error texts to the byte.
 *
 *   scan_all("a->b 1.5", ...)   ->   "I:a P:-> I:b R:1.5"
 *
 * Invariant: every error text asserted here is what a user sees, line and caret included. */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/scan.h"

/* One letter a kind, in the order of enum tok_kind. */
static const char KIND[] = "-IiRSPE";

static char *spell(const char *text, bool dotted, bool newlines)
{
    static char out[4096];
    struct buf b;
    buf_init(&b, sizeof out - 1);
    struct scan s;
    scan_init_with(&s, "t", text, strlen(text), dotted, newlines);
    for (; s.tok.kind != TOK_END; scan_next(&s)) {
        if (b.n) buf_putc(&b, ' ');
        buf_putc(&b, KIND[s.tok.kind]);
        if (s.tok.kind != TOK_EOL) buf_printf(&b, ":%.*s", (int)s.tok.n, s.tok.p);
    }
    if (s.err.rc != RC_OK) buf_printf(&b, "%s!%s", b.n ? " " : "", s.err.code);
    memcpy(out, b.p, b.n + 1);
    buf_fini(&b);
    return out;
}

START_TEST(tokens)
{
    ck_assert_str_eq(spell("a->b 1.5", 0, 0), "I:a P:-> I:b R:1.5");
    ck_assert_str_eq(
        spell("x==y!=z<=w>=v<<1>>2&&a||b..c", 0, 0),
        "I:x P:== I:y P:!= I:z P:<= I:w P:>= I:v P:<< i:1 P:>> i:2 P:&& I:a P:|| I:b P:.. I:c");
    ck_assert_str_eq(spell("0..8 1e3 2.5e-1 0x1F 0x1p-3 0x1.8p1", 0, 0),
                     "i:0 P:.. i:8 R:1e3 R:2.5e-1 i:0x1F R:0x1p-3 R:0x1.8p1");
    ck_assert_str_eq(spell("\"a b\" \"\" _x9", 0, 0), "S:a b S: I:_x9");
    ck_assert_str_eq(spell("!\"x\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0, 0),
                     "P:! S:x P:$ P:% P:& P:' P:( P:) P:* P:+ P:, P:- P:. P:/ P:: P:; P:<= P:> P:? "
                     "P:@ P:[ P:\\ P:] "
                     "P:^ I:_ P:` P:{ P:| P:} P:~");
    ck_assert_str_eq(spell("", 0, 0), "");
    ck_assert_str_eq(spell("  # only a comment", 0, 0), "");
    ck_assert_str_eq(spell("a # caf\xc3\xa9\n b", 0, 0), "I:a I:b");
    ck_assert_str_eq(spell("a\r\nb\r\n", 0, 1), "I:a E I:b E");
}
END_TEST

START_TEST(dots_and_line_ends)
{
    ck_assert_str_eq(spell("n.0.inner x.y. z", 1, 0), "I:n P:. i:0 P:. I:inner I:x.y P:. I:z");
    ck_assert_str_eq(spell("a.b", 0, 0), "I:a P:. I:b");
    ck_assert_str_eq(spell("a..b", 1, 0), "I:a P:.. I:b");
    ck_assert_str_eq(spell("\n\n a b\n\n # c\n\nd", 0, 1), "I:a I:b E I:d");
    ck_assert_str_eq(spell("a\n", 0, 1), "I:a E");
}
END_TEST

START_TEST(numbers_have_values)
{
    struct scan s;
    const char *text = "9223372036854775807 0x10 1.25 3 1e400";
    scan_init(&s, "t", text, strlen(text));
    ck_assert_int_eq(s.tok.i, INT64_MAX);
    scan_next(&s);
    ck_assert_int_eq(s.tok.i, 16);
    ck_assert_double_eq(s.tok.f, 16);
    scan_next(&s);
    ck_assert_double_eq(s.tok.f, 1.25);
    scan_next(&s);
    ck_assert_double_eq(s.tok.f, 3);
    scan_next(&s);
    ck_assert_str_eq(s.err.code, "scan.range");
    ck_assert_str_eq(spell("9223372036854775808", 0, 0), "!scan.range");
    ck_assert_str_eq(spell("12ab", 0, 0), "!scan.number");
    ck_assert_str_eq(spell("0x", 0, 0), "!scan.number");
    ck_assert_str_eq(spell("1e", 0, 0), "!scan.number");
    ck_assert_str_eq(spell("1.5.2", 0, 0), "R:1.5 P:. i:2");
}
END_TEST

START_TEST(positions)
{
    struct scan s;
    const char *text = "ab cd\n\t\"x\" y\n";
    scan_init(&s, "t", text, strlen(text));
    ck_assert_int_eq(s.tok.line, 1);
    ck_assert_int_eq(s.tok.col, 1);
    scan_next(&s);
    ck_assert_int_eq(s.tok.col, 4);
    ck_assert(tok_is(&s.prev, "ab"));
    scan_next(&s);
    ck_assert_int_eq(s.tok.line, 2);
    ck_assert_int_eq(s.tok.col, 2);
    ck_assert_int_eq(s.tok.n, 1);
    ck_assert(!scan_is(&s, "x")); /* a string is not a word */
    scan_next(&s);
    ck_assert_int_eq(s.tok.col, 6);
    scan_next(&s);
    ck_assert_int_eq(s.tok.kind, TOK_END);
    ck_assert_int_eq(s.tok.line, 3);
    ck_assert_int_eq(s.tok.col, 1);
    scan_next(&s); /* stays at the end */
    ck_assert_int_eq(s.tok.kind, TOK_END);
    ck_assert_int_eq(s.err.rc, RC_OK);
}
END_TEST

START_TEST(steps)
{
    struct scan s;
    char name[4];
    int64_t v;
    const char *text = "op x = -12, long_name";
    scan_init(&s, "t", text, strlen(text));
    ck_assert(scan_accept(&s, "op"));
    ck_assert(!scan_accept(&s, "op"));
    ck_assert(scan_ident(&s, "t.name", name, sizeof name));
    ck_assert_str_eq(name, "x");
    ck_assert(scan_expect(&s, "t.eq", "="));
    ck_assert(scan_int(&s, "t.int", &v));
    ck_assert_int_eq(v, -12);
    ck_assert(scan_expect(&s, "t.comma", ","));
    ck_assert(!scan_ident(&s, "t.name", name, sizeof name));
    ck_assert_str_eq(name, "");
    ck_assert_str_eq(s.err.code, "t.name");
    ck_assert_str_eq(s.err.msg, "t:1:13: the name 'long_name...' is too long (limit 3 characters)\n"
                                "  op x = -12, long_name\n"
                                "              ^");
    /* sticky: nothing after the first error changes it */
    scan_error(&s, NULL, "t.other", "another");
    ck_assert(!scan_expect(&s, "t.third", "}"));
    ck_assert_int_eq(s.tok.kind, TOK_END);
    ck_assert_str_eq(s.err.code, "t.name");
}
END_TEST

/* The message of scanning text to its end and then wanting `want`. */
static const char *error_of(const char *text, size_t n, bool newlines, const char *want)
{
    static struct scan s;
    scan_init_with(&s, "my.op", text, n, false, newlines);
    while (s.tok.kind != TOK_END && !(s.newlines && s.tok.kind == TOK_EOL)) scan_next(&s);
    if (want) scan_expect(&s, "t.want", want);
    ck_assert_int_eq(s.err.rc, RC_INPUT);
    return s.err.msg;
}

START_TEST(error_texts)
{
    static const struct {
        const char *text, *want, *msg;
        bool newlines;
    } CASES[] = {
        {"a = \"bc\nd", NULL,
         "my.op:1:5: this string has no closing '\"' on its line\n  a = \"bc\n      ^", 0},
        {"a\n  \"b\\n\"", NULL,
         "my.op:2:5: escapes are not allowed in a string\n    \"b\\n\"\n      ^", 0},
        {"x\ty = 12ab", NULL, "my.op:1:7: '12ab' is not a number\n  x\ty = 12ab\n   \t    ^", 0},
        {"k = \xc3\xa9", NULL,
         "my.op:1:5: unexpected character '\xc3\xa9' (names are ASCII letters, digits and _)\n  k "
         "= \xc3\xa9\n      ^",
         0},
        /* the caret counts characters, the column bytes */
        {"\"\xc3\xa9\xe2\x82\xac\" 1x", NULL,
         "my.op:1:9: '1x' is not a number\n  \"\xc3\xa9\xe2\x82\xac\" 1x\n       ^", 0},
        {"op x {\n", "}", "my.op:2:1: expected '}' but the text ends here\n  \n  ^", 0},
        {"split n\nnext", ",",
         "my.op:1:8: expected ',' but the line ends here\n  split n\n         ^", 1},
        {"a \xff", NULL, "my.op:1:3: byte 0xFF is not valid UTF-8 here\n  a \n    ^", 0},
        {"a\n b\x1b[0m", NULL, "my.op:2:3: control byte 0x1B is not allowed\n   b\n    ^", 0},
        {"x = 99999999999999999999", NULL,
         "my.op:1:5: '99999999999999999999' does not fit in 64 bits\n  x = 99999999999999999999\n  "
         "    ^",
         0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        ck_assert_str_eq(error_of(CASES[i].text, strlen(CASES[i].text), CASES[i].newlines,
                                  CASES[i].want),
                         CASES[i].msg);
    ck_assert_str_eq(error_of("a\0b", 3, false, NULL),
                     "my.op:1:2: control byte 0x00 is not allowed\n  a\n   ^");
}
END_TEST

START_TEST(error_found_later)
{
    struct err e = {0};
    const char *text = "one\ntwo three\r\nfour";
    ck_assert_int_eq(scan_error_at(&e, "f.op", text, strlen(text), 2, 5, "dsl.unknown",
                                   "unknown name '%s'", "three"),
                     RC_INPUT);
    ck_assert_str_eq(e.msg, "f.op:2:5: unknown name 'three'\n  two three\n      ^");
    ck_assert_str_eq(e.code, "dsl.unknown");
    /* positions that do not exist are clamped, not read */
    scan_error_at(&e, "f.op", text, strlen(text), 9, 50, "x", "late");
    ck_assert_str_eq(e.msg, "f.op:9:50: late\n  \n  ^");
    scan_error_at(&e, "f.op", "", 0, 1, 1, "x", "empty");
    ck_assert_str_eq(e.msg, "f.op:1:1: empty\n  \n  ^");
}
END_TEST

START_TEST(error_in_a_long_line)
{
    char text[400];
    memset(text, 'a', sizeof text);
    for (int i = 9; i < 400; i += 10) text[i] = ' ';
    text[300] = '\xc3'; /* an e acute in the middle */
    text[301] = '\xa9';
    struct err e = {0};
    scan_error_at(&e, "f", text, sizeof text, 1, 301, "x", "here");
    char *line = strchr(e.msg, '\n') + 1, *caret = strchr(line, '\n') + 1;
    ck_assert_int_eq(strncmp(line, "  ...", 5), 0);
    ck_assert_int_eq(strncmp(caret - 4, "...\n", 4), 0);
    /* the caret stands under the character named */
    size_t at = strspn(caret, " ");
    ck_assert_int_eq(caret[at], '^');
    ck_assert_int_eq(line[at], '\xc3');
    ck_assert_uint_lt(strlen(e.msg), 260);
}
END_TEST

START_TEST(limits)
{
    size_t n = (1 << 20) + 1;
    char *big = mem_new(n);
    memset(big, ' ', n);
    struct scan s;
    scan_init(&s, "big", big, n);
    ck_assert_str_eq(s.err.msg,
                     "big:1:1: the text has 1048577 bytes; the limit is 1048576\n  \n  ^");
    scan_init(&s, "big", big, n - 1);
    ck_assert_int_eq(s.err.rc, RC_OK);
    ck_assert_int_eq(s.tok.kind, TOK_END);
    mem_free(big);
    scan_init(&s, "null", NULL, 0);
    ck_assert_int_eq(s.tok.kind, TOK_END);
}
END_TEST

START_TEST(suggestions)
{
    static const char *const NAMES[] = {"conv2d", "dwconv2d", "matmul", "softmax", "N", "stride"};
    static const struct {
        const char *word, *want;
    } CASES[] = {
        {"cov2d", " (did you mean 'conv2d'?)"},
        {"covn2d", " (did you mean 'conv2d'?)"},
        {"mat_mul", " (did you mean 'matmul'?)"},
        {"strides", " (did you mean 'stride'?)"},
        {"sotfmxa", " (did you mean 'softmax'?)"},
        {"M", ""},
        {"pooling", ""},
        {"", ""},
    };
    char out[64];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        ck_assert_str_eq(did_you_mean(out, sizeof out, CASES[i].word, NAMES, 6), CASES[i].want);
    char word[500];
    memset(word, 'c', 499);
    word[499] = 0;
    ck_assert_str_eq(did_you_mean(out, sizeof out, word, NAMES, 6), "");
    ck_assert_str_eq(did_you_mean(out, sizeof out, "x", NULL, 0), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scan");
    TCase *t = tcase_create("scan");
    tcase_add_test(t, tokens);
    tcase_add_test(t, dots_and_line_ends);
    tcase_add_test(t, numbers_have_values);
    tcase_add_test(t, positions);
    tcase_add_test(t, steps);
    tcase_add_test(t, error_texts);
    tcase_add_test(t, error_found_later);
    tcase_add_test(t, error_in_a_long_line);
    tcase_add_test(t, limits);
    tcase_add_test(t, suggestions);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
