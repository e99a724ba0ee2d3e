/* trace: a schedule as text. One step a line, words separated by one space; the first line names
 * the algorithm, the last may hold code-generation choices.
 *
 *     algorithm direct            # comments run from a # that begins a word to the line's end
 *     split y.k 32 mask y.ko y.ki
 *     codegen misched=off addr=hoist
 *
 * Reading checks what can be seen without a nest: the primitive exists, its arguments have the
 * right kinds.
 *
 * Invariants: parse(print(t)) prints the same text; a trace owns its words. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scan.h"
#include "sched/private.h"

enum { TRACE_STEPS = 512, LINE_WORDS = STEP_ARGS + 2, TRACE_MAX = 1 << 16 };

const char *const policy_names[POLICY_COUNT] = {"exact", "guard", "peel", "mask", "shift", "pad"};

static const struct {
    const char *name, *args, *doc;
} prims[PRIM_COUNT] = {
#define X(e, s, args, doc) {s, args, doc},
#include "sched/prims.def"
#undef X
};

static const struct {
    const char *name, *sentence;
} rejects[REJECT_COUNT] = {
    {"none", "nothing was refused"},
#define X(e, code, sentence) {code, sentence},
#include "sched/rejects.def"
#undef X
};

const char *reject_name(enum reject r) { return rejects[r].name; }
const char *reject_sentence(enum reject r) { return rejects[r].sentence; }
const char *prim_name(enum prim p) { return prims[p].name; }
const char *prim_args(enum prim p) { return prims[p].args; }
const char *prim_doc(enum prim p) { return prims[p].doc; }

bool prim_parse(const char *s, enum prim *out)
{
    for (int i = 0; i < PRIM_COUNT; i++)
        if (strcmp(prims[i].name, s) == 0) {
            *out = (enum prim)i;
            return true;
        }
    return false;
}

/* ---- arguments ------------------------------------------------------------------------------- */

bool policy_parse(const char *s, enum policy *out)
{
    for (int i = 0; i < POLICY_COUNT; i++)
        if (strcmp(s, policy_names[i]) == 0) {
            *out = (enum policy)i;
            return true;
        }
    return false;
}

bool scope_parse(const char *s, enum scope *out)
{
    static const struct {
        const char *name;
        enum scope scope;
    } scopes[] = {{"reg", SCOPE_REG}, {"stack", SCOPE_STACK}, {"scratch", SCOPE_TEMP}};
    for (size_t i = 0; i < QN_COUNT(scopes); i++)
        if (strcmp(s, scopes[i].name) == 0) {
            *out = scopes[i].scope;
            return true;
        }
    return false;
}

/* Letters, digits, _ and # with single dots between parts; the first is a letter or _. */
bool name_valid(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > NAME_MAX_LEN) return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool digit = (c >= '0' && c <= '9') || c == '#';
        if (c == '.' && i > 0 && i + 1 < n && s[i - 1] != '.') continue;
        if (!alpha && !(digit && i > 0)) return false;
    }
    return true;
}

static bool int_valid(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > 9 || (n > 1 && s[0] == '0'))
        return false; /* one spelling a number: traces are hashed */
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9') return false;
    return true;
}

static bool word_is(const char *p, size_t n, const char *s)
{
    return strlen(s) == n && memcmp(p, s, n) == 0;
}

static const char *arg_check(const char *kind, size_t n, const char *arg)
{
    enum policy policy;
    enum scope scope;
    if (word_is(kind, n, "int")) return int_valid(arg) ? NULL : "a decimal number is needed here";
    if (word_is(kind, n, "tail"))
        return policy_parse(arg, &policy) ? NULL
                                          : "the tail policies are exact guard peel mask shift pad";
    if (word_is(kind, n, "scope"))
        return scope_parse(arg, &scope) ? NULL : "the scopes are reg stack scratch";
    if (word_is(kind, n, "place") && strcmp(arg, ".") == 0) return NULL;
    return name_valid(arg)
               ? NULL
               : "a name is letters, digits and _ with dots between, at most 60 characters";
}

const char *args_check(enum prim prim, int n, const char *const *arg, int *bad)
{
    int at = 0;
    for (const char *k = prims[prim].args; *k;) {
        const char *end = strchr(k, ' ');
        if (!end) end = k + strlen(k);
        char mark = end[-1];
        size_t len = (size_t)(end - k) - (mark == '+' || mark == '?');
        if (word_is(k, len, "order")) {
            if (at < n && strcmp(arg[at], "order") == 0) {
                at++;
                *bad = at;
                if (at == n) return "dimension numbers are needed after `order`";
                for (; at < n; at++)
                    if (*bad = at, !int_valid(arg[at]))
                        return "dimension numbers are needed after `order`";
            }
        } else {
            int most = mark == '+' ? n : at + 1;
            if (mark == '?' && at < n && strcmp(arg[at], "order") == 0) most = at;
            if (mark != '?' && at >= n) return *bad = n, "an argument is missing";
            for (; at < most && at < n; at++) {
                const char *why = arg_check(k, len, arg[at]);
                if (why) return *bad = at, why;
            }
        }
        k = *end ? end + 1 : end;
    }
    return at < n ? (*bad = at, "the primitive takes fewer arguments") : NULL;
}

/* ---- building -------------------------------------------------------------------------------- */

struct trace *trace_new(const char *algorithm)
{
    struct arena *a = arena_new();
    struct trace *t = ARENA_NEW(a, struct trace);
    t->arena = a;
    t->algorithm = arena_strdup(a, algorithm);
    return t;
}

void trace_free(struct trace *t)
{
    if (t) arena_free(t->arena);
}

void trace_add(struct trace *t, enum prim prim, int n, const char *const *args)
{
    QN_CHECK(n >= 0 && n <= STEP_ARGS, "%d arguments", n);
    if (t->n == t->cap) {
        int cap = t->cap ? 2 * t->cap : 16;
        struct step *more = ARENA_ARRAY(t->arena, struct step, cap);
        if (t->n) memcpy(more, t->step, (size_t)t->n * sizeof *more);
        t->step = more;
        t->cap = cap;
    }
    struct step *s = &t->step[t->n++];
    s->prim = prim;
    s->n = n;
    for (int i = 0; i < n; i++) s->arg[i] = arena_strdup(t->arena, args[i]);
}

void trace_choose(struct trace *t, const char *key, const char *value)
{
    int at = 0;
    while (at < t->nchoice && strcmp(t->choice[at].key, key) != 0) at++;
    QN_CHECK(at < (int)QN_COUNT(t->choice), "more than %d choices", at);
    t->choice[at].key = arena_strdup(t->arena, key);
    t->choice[at].value = arena_strdup(t->arena, value);
    if (at == t->nchoice) t->nchoice++;
}

void trace_param(struct trace *t, const char *param)
{
    QN_CHECK(t->nparam < (int)QN_COUNT(t->param), "more than %d parameters", t->nparam);
    t->param[t->nparam++] = arena_strdup(t->arena, param);
}

struct trace *trace_clone(const struct trace *t)
{
    struct trace *c = trace_new(t->algorithm);
    for (int i = 0; i < t->nparam; i++) trace_param(c, t->param[i]);
    for (int i = 0; i < t->n; i++) trace_add(c, t->step[i].prim, t->step[i].n, t->step[i].arg);
    for (int i = 0; i < t->nchoice; i++) trace_choose(c, t->choice[i].key, t->choice[i].value);
    return c;
}

const char *trace_choice(const struct trace *t, const char *key, const char *fallback)
{
    for (int i = 0; i < t->nchoice; i++)
        if (strcmp(t->choice[i].key, key) == 0) return t->choice[i].value;
    return fallback;
}

/* ---- text ------------------------------------------------------------------------------------ */

void step_print(struct buf *b, const struct step *s)
{
    buf_puts(b, prims[s->prim].name);
    for (int i = 0; i < s->n; i++) buf_printf(b, " %s", s->arg[i]);
}

void trace_print(struct buf *b, const struct trace *t)
{
    buf_printf(b, "algorithm %s", t->algorithm);
    for (int i = 0; i < t->nparam; i++) buf_printf(b, " %s", t->param[i]);
    buf_putc(b, '\n');
    for (int i = 0; i < t->n; i++) {
        step_print(b, &t->step[i]);
        buf_putc(b, '\n');
    }
    for (int i = 0; i < t->nchoice; i++)
        buf_printf(b, "%s %s=%s", i ? "" : "codegen", t->choice[i].key, t->choice[i].value);
    if (t->nchoice) buf_putc(b, '\n');
}

struct words {
    int n, line, col[LINE_WORDS];
    char *p[LINE_WORDS];
    bool many;
};

struct reader {
    const char *file, *text;
    size_t len, at;
    int line;
    struct arena *arena;
    struct err *e;
    struct words w;
};

static enum rc read_error(struct reader *r, int word, const char *code, const char *why)
{
    int col = word < r->w.n ? r->w.col[word]
              : r->w.n      ? r->w.col[r->w.n - 1] + (int)strlen(r->w.p[r->w.n - 1])
                            : 1;
    return scan_error_at(r->e, r->file, r->text, r->len, r->w.line, col, code, "%s", why);
}

/* Next line that has words; false at the end of the text. */
static bool read_line(struct reader *r)
{
    while (r->at < r->len) {
        r->w = (struct words){.line = ++r->line};
        size_t start = r->at, end = start;
        while (end < r->len && r->text[end] != '\n') end++;
        r->at = end < r->len ? end + 1 : end;
        for (size_t i = start; i < end;) {
            if (r->text[i] == ' ' || r->text[i] == '\t' || r->text[i] == '\r') {
                i++;
                continue;
            }
            if (r->text[i] == '#') break;
            size_t from = i;
            while (i < end && !strchr(" \t\r", r->text[i])) i++;
            if (r->w.n == LINE_WORDS) {
                r->w.many = true;
                break;
            }
            r->w.col[r->w.n] = (int)(from - start) + 1;
            r->w.p[r->w.n++] = arena_strndup(r->arena, r->text + from, i - from);
        }
        if (r->w.n) return true;
    }
    return false;
}

static enum rc read_choices(struct reader *r, struct trace *t)
{
    if (r->w.n == 1)
        return read_error(r, 1, "trace.choice", "choices key=value are needed after `codegen`");
    for (int i = 1; i < r->w.n; i++) {
        char *eq = strchr(r->w.p[i], '=');
        if (!eq || eq == r->w.p[i] || !eq[1])
            return read_error(r, i, "trace.choice", "a choice is written key=value");
        *eq = 0;
        if (!name_valid(r->w.p[i]) || strlen(eq + 1) > NAME_MAX_LEN || strpbrk(eq + 1, "=\"\\"))
            return read_error(r, i, "trace.choice",
                              "a choice is written key=value, both short words");
        if (trace_choice(t, r->w.p[i], NULL))
            return read_error(r, i, "trace.choice", "this key is already chosen");
        if (t->nchoice == (int)QN_COUNT(t->choice))
            return read_error(r, i, "trace.choice", "too many choices");
        trace_choose(t, r->w.p[i], eq + 1);
    }
    return RC_OK;
}

static enum rc read_step(struct reader *r, struct trace *t)
{
    enum prim prim;
    if (!prim_parse(r->w.p[0], &prim)) {
        const char *names[PRIM_COUNT + 1];
        for (int i = 0; i < PRIM_COUNT; i++) names[i] = prims[i].name;
        names[PRIM_COUNT] = "codegen";
        char hint[80], why[200];
        did_you_mean(hint, sizeof hint, r->w.p[0], names, QN_COUNT(names));
        snprintf(why, sizeof why, "unknown primitive '%.60s'%s", r->w.p[0], hint);
        return read_error(r, 0, "trace.primitive", why);
    }
    int n = r->w.n - 1, bad = 0;
    const char *const *arg = (const char *const *)(r->w.p + 1);
    const char *why =
        n > STEP_ARGS ? (bad = STEP_ARGS, "too many arguments") : args_check(prim, n, arg, &bad);
    if (why) {
        char text[300];
        snprintf(text, sizeof text, "%s (%s %s)", why, prims[prim].name, prims[prim].args);
        return read_error(r, bad + 1, "trace.argument", text);
    }
    if (t->n == TRACE_STEPS)
        return read_error(r, 0, "trace.length", "a trace has at most 512 steps");
    trace_add(t, prim, n, arg);
    return RC_OK;
}

static enum rc read_trace(struct reader *r, struct trace **out)
{
    if (!read_line(r))
        return scan_error_at(r->e, r->file, r->text, r->len, 1, 1, "trace.empty",
                             "a trace begins with `algorithm NAME`");
    if (strcmp(r->w.p[0], "algorithm") != 0)
        return read_error(r, 0, "trace.algorithm", "a trace begins with `algorithm NAME`");
    if (r->w.n < 2 || !name_valid(r->w.p[1]))
        return read_error(r, 1, "trace.algorithm", "the algorithm's name is needed here");
    struct trace *t = trace_new(r->w.p[1]);
    *out = t;
    if (r->w.n - 2 > (int)QN_COUNT(t->param) || r->w.many)
        return read_error(r, 2, "trace.algorithm", "an algorithm has at most 8 parameters");
    for (int i = 2; i < r->w.n; i++) {
        if (strlen(r->w.p[i]) > NAME_MAX_LEN)
            return read_error(r, i, "trace.algorithm", "a parameter has at most 60 characters");
        trace_param(t, r->w.p[i]);
    }
    while (read_line(r)) {
        if (t->nchoice)
            return read_error(r, 0, "trace.order", "the `codegen` line must be the last");
        enum rc rc = r->w.many ? read_error(r, LINE_WORDS - 1, "trace.argument", "too many words")
                     : strcmp(r->w.p[0], "codegen") == 0 ? read_choices(r, t)
                                                         : read_step(r, t);
        if (rc != RC_OK) return rc;
    }
    return RC_OK;
}

enum rc trace_parse(const char *file, const char *text, size_t len, struct trace **out,
                    struct err *e)
{
    struct err own;
    struct reader r = {.file = file, .text = text, .len = len, .e = e ? e : &own};
    *out = NULL;
    if (len > TRACE_MAX)
        return err_set(e, RC_INPUT, "trace.length", "%.200s: a trace has at most 64 KiB", file);
    for (size_t i = 0, step; i < len; i += step) {
        uint32_t cp = 0;
        step = utf8_step(text + i, len - i, &cp);
        bool bad = step == 0 || (cp < 0x20 && cp != '\n' && cp != '\t' && cp != '\r') || cp == 0x7F;
        if (bad)
            return err_set(e, RC_INPUT, "trace.bytes", "%.200s: byte %zu is not text", file, i);
    }
    r.arena = arena_new();
    struct trace *t = NULL;
    enum rc rc = read_trace(&r, &t);
    arena_free(r.arena);
    if (rc != RC_OK)
        trace_free(t);
    else
        *out = t;
    return rc;
}
