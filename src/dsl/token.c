/* token: the text side of tasks: values as people type them, the canonical spelling, lists of
 * tokens.
 *
 *     "2/20:1/10"  ->  the list 1/10, 1/10        keys  ->  "conv2d:C=64,H=56,...,pad=1"
 *
 * Invariants: a value prints as what reads back equal; numbers are plain decimal, so no locale and
 * no hex gets in; equal keys give equal tokens. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsl/ast.h"

/* ---- values as typed ------------------------------------------------------------------------- */

bool value_read_int(const char *s, size_t n, int64_t *out)
{
    char text[32], *end;
    if (n == 0 || n >= sizeof text) return false;
    memcpy(text, s, n);
    text[n] = 0;
    if (text[strspn(text, "-0123456789")]) return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *end == 0 && errno == 0 && end != text;
}

bool value_read_real(const char *s, size_t n, double *out)
{
    char text[64], *end;
    if (n == 0 || n >= sizeof text) return false;
    memcpy(text, s, n);
    text[n] = 0;
    if (text[strspn(text, "+-0123456789.eE")]) return false;
    errno = 0;
    *out = strtod(text, &end);
    return *end == 0 && end != text && *out - *out == 0;
}

static bool read_list(struct arena *a, const char *s, size_t n, struct value *out)
{
    struct ratio r[256];
    int count = 0;
    for (size_t at = 0; at <= n;) {
        const char *end = memchr(s + at, ':', n - at);
        size_t len = end ? (size_t)(end - s) - at : n - at;
        const char *slash = memchr(s + at, '/', len);
        int64_t num = 0, den = 1;
        if (count == 256) return false;
        if (!value_read_int(s + at, slash ? (size_t)(slash - s) - at : len, &num)) return false;
        if (slash && !value_read_int(slash + 1, (size_t)(s + at + len - slash - 1), &den))
            return false;
        if (!ratio_make(num, den, &r[count++])) return false;
        at += len + 1;
    }
    struct ratio *copy = ARENA_ARRAY(a, struct ratio, count);
    memcpy(copy, r, (size_t)count * sizeof *r);
    *out = (struct value){.kind = VALUE_LIST, .n = count, .list = copy};
    return true;
}

bool value_parse(struct arena *a, const struct item *it, const char *text, size_t n,
                 struct value *out)
{
    *out = (struct value){0};
    switch (it->attr) {
    case ATTR_INT:
        out->kind = VALUE_INT;
        return value_read_int(text, n, &out->i);
    case ATTR_REAL:
        out->kind = VALUE_REAL;
        return value_read_real(text, n, &out->f);
    case ATTR_LIST:
        return read_list(a, text, n, out);
    case ATTR_SYMBOL:
        for (int i = 0; i < it->nname; i++)
            if (strlen(it->names[i]) == n && memcmp(it->names[i], text, n) == 0) {
                *out = value_symbol(it->names[i]);
                return true;
            }
        return false;
    }
    return false;
}

/* ---- canonical token ---- */

struct task_key *task_key_find(const struct task *t, const char *name)
{
    for (int i = 0; i < t->nkey; i++)
        if (strcmp(t->key[i].name, name) == 0) return &t->key[i];
    return NULL;
}

/* The value all targets of a short key share, if they do. */
struct task_key *task_short_value(const struct task *t, const struct item *it)
{
    struct task_key *first = task_key_find(t, it->names[0]);
    for (int k = 1; k < it->nname; k++)
        if (!value_equal(&task_key_find(t, it->names[k])->value, &first->value)) return NULL;
    return first;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *key_text(struct task *t, const char *name, const struct value *v)
{
    struct buf b;
    buf_init(&b, TASK_TOKEN_MAX);
    buf_printf(&b, "%s=", name);
    value_print(&b, v);
    const char *out = arena_strdup(t->arena, b.p);
    buf_fini(&b);
    return out;
}

void task_make_token(struct task *t, const char *typed_op)
{
    const char *part[TASK_KEYS * 2];
    bool by_short[TASK_KEYS] = {false};
    int n = 0;
    for (int i = 0; i < t->op->body.n; i++) {
        const struct item *it = t->op->body.item[i];
        struct task_key *same = it->kind == ITEM_SHORT ? task_short_value(t, it) : NULL;
        if (!same) continue;
        bool all_default = true;
        for (int k = 0; k < it->nname; k++) {
            struct task_key *key = task_key_find(t, it->names[k]);
            all_default &= key->is_default;
            by_short[key - t->key] = true;
        }
        if (!all_default) part[n++] = key_text(t, it->name, &same->value);
    }
    for (int i = 0; i < t->nkey; i++)
        if (!by_short[i] && !t->key[i].is_default)
            part[n++] = key_text(t, t->key[i].name, &t->key[i].value);
    qsort(part, (size_t)n, sizeof *part, by_text);
    for (int form = 0; form < 2; form++) {
        struct buf b;
        buf_init(&b, 4 * TASK_TOKEN_MAX);
        buf_puts(&b, form ? typed_op : t->op->name);
        for (int i = 0; i < n; i++) buf_printf(&b, "%c%s", i ? ',' : ':', part[i]);
        *(form ? &t->spelled : &t->token) = arena_strdup(t->arena, b.p);
        buf_fini(&b);
    }
}

char *task_resized(const struct task *t, const int64_t *dyn)
{
    struct task other = *t;
    size_t keys = strlen(t->token) - strlen(t->op->name), op = strlen(t->spelled) - keys;
    int n = 0;
    other.arena = arena_new();
    other.key = ARENA_ARRAY(other.arena, struct task_key, t->nkey);
    memcpy(other.key, t->key, (size_t)t->nkey * sizeof *t->key);
    for (int i = 0; i < t->nkey; i++)
        if (other.key[i].kind == KEY_DYN) other.key[i].value = value_int(dyn[n++]);
    task_make_token(&other, arena_printf(other.arena, "%.*s", (int)op, t->spelled));
    char *token = mem_strdup(other.spelled);
    arena_free(other.arena);
    return token;
}

/* ---- lists ---- */

enum rc task_list_parse(const char *file, const char *text, size_t len,
                        enum rc (*fn)(void *ctx, const char *token, int line, struct err *e),
                        void *ctx, struct err *e)
{
    int line = 1;
    for (size_t at = 0; at < len; line++) {
        const char *nl = memchr(text + at, '\n', len - at);
        size_t end = nl ? (size_t)(nl - text) : len, from = at, to = end;
        const char *hash = memchr(text + at, '#', end - at);
        if (hash) to = (size_t)(hash - text);
        while (from < to && strchr(" \t\r", text[from])) from++;
        while (to > from && strchr(" \t\r", text[to - 1])) to--;
        at = end + 1;
        if (from == to) continue;
        char token[TASK_TOKEN_MAX + 1];
        if (to - from > TASK_TOKEN_MAX || memchr(text + from, 0, to - from))
            return scan_error_at(e, file, text, len, line, 1, "task.syntax",
                                 "a task has at most %d bytes, none of them zero", TASK_TOKEN_MAX);
        memcpy(token, text + from, to - from);
        token[to - from] = 0;
        enum rc rc = fn(ctx, token, line, e);
        if (rc != RC_OK) {
            err_wrap(e, "%s:%d", file, line);
            return rc;
        }
    }
    return RC_OK;
}
