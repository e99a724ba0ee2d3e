/* space_read: the text of a .sched family into knobs and a template of steps.
 *
 *     space nhwc for conv2d when layout == nhwc and groups == 1
 *     algorithm direct
 *     knob MR in 1..28 where MR <= Q
 *     knob TQ in peel shift guard
 *     require MR*NV + NV + 1 <= target.vregs
 *     split y.q {MR} {TQ} y.qo y.qi
 *     if Q % MR != 0
 *       ...
 *     end
 *     codegen misched={MS}
 *
 * One statement a line; SCHED.txt has the grammar.
 *
 * Invariants: facts are constants once the space is read; errors carry the position in the file and
 * stop the reading; nothing here evaluates knobs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sched/space_int.h"

struct reader {
    struct space *sp;
    struct scan base, s;   /* of the whole text; of the line or expression being read */
    size_t at, start, end; /* next line; this line without its comment */
    int line;
    struct item **tail;
    struct {
        struct item *item;
        struct item **tail;
        bool otherwise;
    } open[16];
    int nopen;
    bool off; /* `when` is false: only the header was read */
};

/* ---- lines ----------------------------------------------------------------------------------- */

/* A scanner over [from, to) of the text that reports positions in the whole file. */
static void scan_part(struct reader *r, size_t from, size_t to)
{
    r->s = r->base;
    r->s.at = from;
    r->s.len = to;
    r->s.line = r->line;
    r->s.line_start = r->start;
    r->s.tok = (struct tok){.kind = TOK_EOL, .p = r->s.text + from, .line = r->line, .col = 1};
    scan_next(&r->s);
}

static bool fail(struct reader *r, size_t at, const char *code, const char *why)
{
    if (r->base.err.rc == RC_OK)
        scan_error_at(&r->base.err, r->base.file, r->base.text, r->base.len, r->line,
                      (int)(at - r->start) + 1, code, "%s", why);
    return false;
}

/* The first error wins. */
static bool keep_error(struct reader *r)
{
    if (r->s.err.rc == RC_OK) return true;
    if (r->base.err.rc == RC_OK) r->base.err = r->s.err;
    return false;
}

static bool next_line(struct reader *r)
{
    const char *t = r->base.text;
    while (r->at < r->base.len) {
        r->line++;
        r->start = r->at;
        size_t eol = r->at;
        while (eol < r->base.len && t[eol] != '\n') eol++;
        r->at = eol < r->base.len ? eol + 1 : eol;
        r->end = r->start;
        bool blank = true, any = false;
        for (size_t i = r->start; i < eol; i++) {
            bool space = t[i] == ' ' || t[i] == '\t' || t[i] == '\r';
            if (t[i] == '#' && blank) break;
            blank = space;
            if (!space) r->end = i + 1;
            any |= !space;
        }
        if (any) return true;
    }
    return false;
}

static bool line_begins(const struct reader *r, const char *word, size_t *after)
{
    const char *t = r->base.text;
    size_t i = r->start, n = strlen(word);
    while (i < r->end && (t[i] == ' ' || t[i] == '\t')) i++;
    if (r->end - i < n || memcmp(t + i, word, n) != 0) return false;
    if (i + n < r->end && t[i + n] != ' ' && t[i + n] != '\t') return false;
    *after = i + n;
    return true;
}

/* An expression that ends the line. */
static const struct xnode *rest_expr(struct reader *r, size_t from)
{
    scan_part(r, from, r->end);
    const struct xnode *x = xexpr_parse(&r->s, &r->sp->names);
    if (x && r->s.tok.kind != TOK_END)
        scan_error(&r->s, &r->s.tok, "space.expression", "the line should end here");
    return keep_error(r) ? x : NULL;
}

/* ---- words of steps -------------------------------------------------------------------------- */

static bool add_part(struct reader *r, struct word *w, size_t at, const char *text,
                     const struct xnode *value)
{
    if (w->n == SPACE_PARTS) return fail(r, at, "space.word", "a word has at most 4 parts");
    int words =
        value && value->op == XOP_KNOB && value->i < SPACE_KNOBS && r->sp->names.knob[value->i].word
            ? (int)value->i
            : -1;
    w->part[w->n++] = (struct part){text, value, words};
    return true;
}

/* One word: literal text and {expressions}; a bare knob or let stands for its value. Advances
 * *at. */
static bool read_word(struct reader *r, size_t *at, struct word *w)
{
    const char *t = r->base.text;
    struct arena *a = r->sp->arena;
    size_t i = *at, from = i;
    *w = (struct word){.col = (int)(i - r->start) + 1};
    for (; i < r->end && t[i] != ' ' && t[i] != '\t' && t[i] != '\r'; i++) {
        if (t[i] == '}') return fail(r, i, "space.word", "this } closes nothing");
        if (t[i] != '{') continue;
        if (i > from && !add_part(r, w, from, arena_strndup(a, t + from, i - from), NULL))
            return false;
        scan_part(r, i + 1, r->end);
        const struct xnode *x = xexpr_parse(&r->s, &r->sp->names);
        if (x && !scan_is(&r->s, "}"))
            scan_error(&r->s, &r->s.tok, "space.word", "} is needed here");
        if (!keep_error(r) || !x || !add_part(r, w, i, NULL, x)) return false;
        i = (size_t)(r->s.tok.p - t);
        from = i + 1;
    }
    if (i > from) {
        const struct xnode *x = w->n == 0 ? name_lookup(&r->sp->names, t + from, i - from) : NULL;
        bool fact = x && x->op == XOP_INT && !line_begins(r, "algorithm", &(size_t){0});
        for (int k = 0; fact && k < r->sp->names.facts->n;
             k++) /* facts need braces: N is a fine loop name */
            if (strlen(r->sp->names.facts->name[k]) == i - from &&
                memcmp(r->sp->names.facts->name[k], t + from, i - from) == 0)
                x = NULL;
        if (!add_part(r, w, from, x ? NULL : arena_strndup(a, t + from, i - from), x)) return false;
    }
    *at = i;
    return true;
}

static bool read_words(struct reader *r, size_t at, struct word *out, int max, int *n)
{
    const char *t = r->base.text;
    for (*n = 0;;) {
        while (at < r->end && (t[at] == ' ' || t[at] == '\t' || t[at] == '\r')) at++;
        if (at >= r->end) return true;
        if (*n == max) return fail(r, at, "space.word", "too many words on this line");
        if (!read_word(r, &at, &out[(*n)++])) return false;
    }
}

/* ---- knobs ----------------------------------------------------------------------------------- */

struct domain {
    int64_t value[SPACE_VALUES];
    const char *word[SPACE_VALUES];
    int n;
    bool words, numbers;
};

static void domain_put(struct reader *r, struct domain *d, int64_t v)
{
    for (int i = 0; i < d->n; i++)
        if (d->numbers && d->value[i] == v) return;
    if (d->n == SPACE_VALUES) {
        scan_error(&r->s, &r->s.tok, "space.knob", "a knob has at most 512 values");
        return;
    }
    d->numbers = true;
    d->value[d->n++] = v;
}

static bool const_expr(struct reader *r, int64_t *out)
{
    struct tok t = r->s.tok;
    const struct xnode *x = xexpr_parse(&r->s, &r->sp->names);
    if (!x) return false;
    if (xexpr_const(x, out)) return true;
    scan_error(&r->s, &t, "space.knob",
               "the values of a knob may depend on facts, not on other knobs; use require");
    return false;
}

/* INT or {EXPR}. */
static bool const_item(struct reader *r, int64_t *out)
{
    bool braces = scan_accept(&r->s, "{");
    if (braces) return const_expr(r, out) && scan_expect(&r->s, "space.knob", "}");
    return scan_int(&r->s, "space.knob", out);
}

static void put_range(struct reader *r, struct domain *d, int64_t lo, int64_t hi)
{
    if (hi - lo >= SPACE_VALUES) {
        scan_error(&r->s, &r->s.prev, "space.knob", "a knob has at most 512 values");
        return;
    }
    for (int64_t v = lo; v <= hi; v++) domain_put(r, d, v);
}

/* divisors(E); up_to(E, 1 2 4 ..): the values up to E and the smallest that covers it. */
static void read_function(struct reader *r, struct domain *d, bool divisors)
{
    int64_t limit, v, cover = 0;
    scan_next(&r->s);
    if (!scan_expect(&r->s, "space.knob", "(") || !const_expr(r, &limit)) return;
    if (divisors) {
        if (limit < 1 || limit > INT64_C(1) << 31) {
            scan_error(&r->s, &r->s.prev, "space.knob",
                       "divisors of a number from 1 to 2^31 are needed");
            return;
        }
        int64_t high[SPACE_VALUES], n = 0;
        for (v = 1; v * v <= limit; v++) {
            if (limit % v) continue;
            domain_put(r, d, v);
            if (v * v != limit && n < SPACE_VALUES) high[n++] = limit / v;
        }
        while (n > 0) domain_put(r, d, high[--n]);
    } else if (scan_expect(&r->s, "space.knob", ",")) {
        while (r->s.err.rc == RC_OK && !scan_is(&r->s, ")")) {
            if (!const_item(r, &v)) return;
            if (v <= limit)
                domain_put(r, d, v);
            else if (cover == 0 || v < cover)
                cover = v;
        }
        bool exact = false;
        for (int i = 0; i < d->n; i++) exact |= d->value[i] == limit;
        if (cover && !exact) domain_put(r, d, cover);
    }
    scan_expect(&r->s, "space.knob", ")");
}

static void read_domain(struct reader *r, struct domain *d)
{
    struct scan *s = &r->s;
    while (s->err.rc == RC_OK && s->tok.kind != TOK_END && !scan_is(s, "where")) {
        int64_t lo, hi;
        if (scan_is(s, "divisors") || scan_is(s, "up_to")) {
            read_function(r, d, scan_is(s, "divisors"));
        } else if (s->tok.kind == TOK_IDENT) {
            if (d->n == SPACE_VALUES) break;
            d->words = true;
            d->word[d->n] = arena_strndup(r->sp->arena, s->tok.p, s->tok.n);
            d->value[d->n] = d->n;
            d->n++;
            scan_next(s);
        } else if (const_item(r, &lo)) {
            if (!scan_accept(s, ".."))
                domain_put(r, d, lo);
            else if (const_item(r, &hi))
                put_range(r, d, lo, hi);
        }
    }
    if (s->err.rc == RC_OK && d->words && d->numbers)
        scan_error(s, &s->prev, "space.knob",
                   "a knob has numbers or words, not both (a fact stands in braces)");
}

/* Keeps the values for which the condition holds; the knob itself stands for its value in it. */
static void filter_domain(struct reader *r, struct knob *k)
{
    struct scope_of_names *names = &r->sp->names;
    const struct xnode *x = xexpr_parse(&r->s, names);
    int kept = 0;
    if (x && !xexpr_only_knob(x, names->nknob - 1))
        scan_error(&r->s, &r->s.prev, "space.knob",
                   "`where` may use facts and the knob itself; use require for several knobs");
    for (int i = 0; x && i < k->n; i++) {
        struct values values = {{0}, {false}};
        int64_t yes;
        values.v[names->nknob - 1] = k->value[i];
        if (!xexpr_eval(x, &values, &yes) || !yes) continue;
        k->value[kept] = k->value[i];
        if (k->word) k->word[kept] = k->word[i];
        kept++;
    }
    k->n = kept;
}

static bool new_name(struct reader *r, char *name, size_t size)
{
    struct tok t = r->s.tok;
    if (!scan_ident(&r->s, "space.name", name, size)) return false;
    if (!name_lookup(&r->sp->names, name, strlen(name))) return true;
    scan_error(&r->s, &t, "space.name", "this name already means something");
    return false;
}

static bool read_knob(struct reader *r, size_t at)
{
    struct scope_of_names *names = &r->sp->names;
    struct domain *d = ARENA_NEW(r->sp->arena, struct domain);
    char name[32];
    scan_part(r, at, r->end);
    struct tok t = r->s.tok;
    if (names->nknob == SPACE_KNOBS)
        scan_error(&r->s, &t, "space.knob", "a space has at most %d knobs", SPACE_KNOBS);
    if (new_name(r, name, sizeof name) && scan_expect(&r->s, "space.knob", "in")) read_domain(r, d);
    if (!keep_error(r)) return false;
    struct knob *k = &names->knob[names->nknob++];
    *k = (struct knob){arena_strdup(r->sp->arena, name), d->n, d->value, d->words ? d->word : NULL};
    if (scan_accept(&r->s, "where")) filter_domain(r, k);
    if (r->s.tok.kind != TOK_END)
        scan_error(&r->s, &r->s.tok, "space.knob", "the line should end here");
    if (k->n == 0)
        scan_error(&r->s, &t, "space.knob_empty", "knob '%s' has no value left for this task",
                   name);
    return keep_error(r);
}

/* ---- statements ------------------------------------------------------------------------------ */

static struct item *add_item(struct reader *r, enum item_kind kind)
{
    struct item *it = ARENA_NEW(r->sp->arena, struct item);
    it->kind = kind;
    it->line = r->line;
    *r->tail = it;
    r->tail = &it->next;
    return it;
}

static bool read_let(struct reader *r, size_t at)
{
    struct scope_of_names *names = &r->sp->names;
    char name[32];
    scan_part(r, at, r->end);
    if (names->nlet == SPACE_LETS)
        scan_error(&r->s, &r->s.tok, "space.let", "a space has at most 64 lets");
    const struct xnode *x = new_name(r, name, sizeof name) && scan_expect(&r->s, "space.let", "=")
                                ? xexpr_parse(&r->s, names)
                                : NULL;
    if (x && r->s.tok.kind != TOK_END)
        scan_error(&r->s, &r->s.tok, "space.expression", "the line should end here");
    if (!keep_error(r)) return false;
    names->let_name[names->nlet] = arena_strdup(r->sp->arena, name);
    names->let[names->nlet++] = x;
    return true;
}

static bool read_if(struct reader *r, size_t at)
{
    const struct xnode *cond = rest_expr(r, at);
    if (!cond) return false;
    if (r->nopen == (int)QN_COUNT(r->open))
        return fail(r, at, "space.if", "`if` is nested too deeply");
    struct item *it = add_item(r, ITEM_IF);
    it->cond = cond;
    r->open[r->nopen].item = it;
    r->open[r->nopen].otherwise = false;
    r->open[r->nopen++].tail = r->tail;
    r->tail = &it->then;
    return true;
}

static bool read_else_end(struct reader *r, size_t at, bool end)
{
    if (r->end > at) return fail(r, at, "space.if", "the line should end here");
    if (r->nopen == 0) return fail(r, at, "space.if", "there is no open `if`");
    int top = r->nopen - 1;
    if (!end && r->open[top].otherwise)
        return fail(r, at, "space.if", "this `if` already has an `else`");
    r->open[top].otherwise = true;
    r->tail = end ? r->open[top].tail : &r->open[top].item->otherwise;
    if (end) r->nopen--;
    return true;
}

static bool read_step(struct reader *r)
{
    struct word word[STEP_ARGS + 1];
    int n;
    enum prim prim;
    if (!read_words(r, r->start, word, (int)QN_COUNT(word), &n)) return false;
    const char *name = word[0].n == 1 && word[0].part[0].text ? word[0].part[0].text : "";
    size_t at = r->start + (size_t)word[0].col - 1;
    bool codegen = strcmp(name, "codegen") == 0;
    if (!codegen && !prim_parse(name, &prim)) {
        static const char *const others[] = {"algorithm", "knob", "let", "require",
                                             "if",        "else", "end", "codegen"};
        const char *known[PRIM_COUNT + QN_COUNT(others)];
        char why[200], hint[80];
        for (int i = 0; i < PRIM_COUNT; i++) known[i] = prim_name((enum prim)i);
        for (size_t i = 0; i < QN_COUNT(others); i++) known[PRIM_COUNT + i] = others[i];
        snprintf(why, sizeof why, "unknown statement '%.60s'%s", name,
                 did_you_mean(hint, sizeof hint, name, known, QN_COUNT(known)));
        return fail(r, at, "space.statement", why);
    }
    struct item *it = add_item(r, codegen ? ITEM_CODEGEN : ITEM_STEP);
    it->prim = codegen ? PRIM_COUNT : prim;
    it->n = n - 1;
    it->word = ARENA_ARRAY(r->sp->arena, struct word, n);
    memcpy(it->word, word + 1, (size_t)it->n * sizeof *word);
    return true;
}

static bool read_algorithm(struct reader *r, size_t at)
{
    struct space *sp = r->sp;
    if (sp->nalgorithm) return fail(r, at, "space.algorithm", "the algorithm is already named");
    if (!read_words(r, at, sp->algorithm, (int)QN_COUNT(sp->algorithm), &sp->nalgorithm))
        return false;
    if (sp->nalgorithm > 0 && !sp->algorithm[0].part[0].text)
        return fail(r, at, "space.algorithm", "the algorithm's name is a plain word");
    return sp->nalgorithm > 0 ||
           fail(r, at, "space.algorithm", "the algorithm's name is needed here");
}

static bool read_statement(struct reader *r)
{
    size_t at;
    if (line_begins(r, "algorithm", &at)) return read_algorithm(r, at);
    if (line_begins(r, "knob", &at)) return read_knob(r, at);
    if (line_begins(r, "let", &at)) return read_let(r, at);
    if (line_begins(r, "if", &at)) return read_if(r, at);
    if (line_begins(r, "else", &at)) return read_else_end(r, at, false);
    if (line_begins(r, "end", &at)) return read_else_end(r, at, true);
    if (!line_begins(r, "require", &at)) return read_step(r);
    const struct xnode *cond = rest_expr(r, at);
    if (!cond) return false;
    add_item(r, ITEM_REQUIRE)->cond = cond;
    return true;
}

/* space NAME for OP [when EXPR] */
static bool read_header(struct reader *r)
{
    char name[48] = "", op[48] = "";
    size_t at = r->base.len;
    if (!next_line(r) || !line_begins(r, "space", &at)) {
        if (r->line == 0) r->line = 1;
        return fail(r, r->start, "space.header", "a space begins with `space NAME for OP`");
    }
    scan_part(r, at, r->end);
    bool ok = scan_ident(&r->s, "space.header", name, sizeof name) &&
              scan_expect(&r->s, "space.header", "for") &&
              scan_ident(&r->s, "space.header", op, sizeof op);
    r->sp->name = arena_strdup(r->sp->arena, name);
    r->sp->op = arena_strdup(r->sp->arena, op);
    if (ok && scan_accept(&r->s, "when")) {
        int64_t yes = 0;
        if (const_expr(r, &yes)) r->off = !yes;
    }
    if (r->s.err.rc == RC_OK && r->s.tok.kind != TOK_END)
        scan_error(&r->s, &r->s.tok, "space.header",
                   "`when` or the end of the line is needed here");
    return keep_error(r);
}

enum rc space_read(struct space *sp, const char *file, const char *text, size_t len, bool *off,
                   struct err *e)
{
    struct reader *r = ARENA_NEW(sp->arena, struct reader);
    r->sp = sp;
    r->tail = &sp->first;
    *off = false;
    if (len > SPACE_MAX)
        return err_set(e, RC_INPUT, "space.length", "%.200s: a space has at most 64 KiB", file);
    scan_init_with(&r->base, file, text, len, true, false); /* checks the bytes of the whole text */
    static const char *const bytes[] = {"scan.utf8", "scan.control", "scan.too_long"};
    for (size_t i = 0; i < QN_COUNT(bytes); i++) {
        if (r->base.err.rc == RC_OK || strcmp(r->base.err.code, bytes[i]) != 0) continue;
        if (e) *e = r->base.err;
        return RC_INPUT;
    }
    err_clear(&r->base.err); /* a first token that is no token is a matter of its line */
    bool ok = read_header(r);
    while (ok && !r->off && next_line(r)) ok = read_statement(r);
    if (ok && !r->off && r->nopen)
        ok = (r->line = r->open[r->nopen - 1].item->line,
              fail(r, r->start, "space.if", "this `if` has no `end`"));
    if (ok && !r->off && sp->nalgorithm == 0)
        ok = fail(r, r->start, "space.algorithm", "a space names its `algorithm`");
    *off = r->off;
    if (!ok && e) *e = r->base.err;
    return ok ? RC_OK : RC_INPUT;
}
