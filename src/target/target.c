/* target: reads targets/<name>.target and lays what the running machine says over it.
 *
 *   vector_bits = 512        # key = value, one a line; `inherits NAME` first; # comments
 *   match = AuthenticAMD 25 16-31,96-127     which parts this file describes (vendor family models)
 *
 * Invariants: a key set twice in one file is an error; an inherited value is overwritten by the
 * file that inherits; origin of each fact is kept for target_explain; "host" never claims an ISA
 * the CPU lacks, because detection (host.c) chooses the file by the features found. */
#include "target/target_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/scan.h"

enum { TARGET_FILE_MAX = 64 << 10, INHERIT_DEPTH = 8 };

static const struct {
    const char *key;
    size_t at;
    int64_t fallback;
    const char *what;
} fact_table[] = {
#define X(field, key, def, what) {key, offsetof(struct target, field), def, what},
    TARGET_FACTS(X)
#undef X
};

static const struct {
    const char *key;
    size_t at;
} text_table[] = {
    {"triple", offsetof(struct target, triple)},     {"cpu", offsetof(struct target, cpu)},
    {"features", offsetof(struct target, features)}, {"abi", offsetof(struct target, abi)},
    {"part", offsetof(struct target, part)},
};

int64_t *target_fact(struct target *t, const char *key, size_t n)
{
    for (size_t i = 0; i < QN_COUNT(fact_table); i++)
        if (strlen(fact_table[i].key) == n && memcmp(fact_table[i].key, key, n) == 0)
            return (int64_t *)((char *)t + fact_table[i].at);
    return NULL;
}

const char **target_text_fact(struct target *t, const char *key, size_t n)
{
    for (size_t i = 0; i < QN_COUNT(text_table); i++)
        if (strlen(text_table[i].key) == n && memcmp(text_table[i].key, key, n) == 0)
            return (const char **)((char *)t + text_table[i].at);
    return NULL;
}

void target_origin(struct target_file *f, const char *key, const char *origin)
{
    for (int i = 0; i < f->norigin; i++)
        if (strcmp(f->key[i], key) == 0) {
            f->origin[i] = origin;
            return;
        }
    if (f->norigin < TARGET_KEYS) {
        f->key[f->norigin] = key;
        f->origin[f->norigin++] = origin;
    }
}

static struct target *target_new(void)
{
    struct arena *a = arena_new();
    struct target *t = ARENA_NEW(a, struct target);
    t->arena = a;
    for (size_t i = 0; i < QN_COUNT(fact_table); i++)
        *(int64_t *)((char *)t + fact_table[i].at) = fact_table[i].fallback;
    t->triple = t->cpu = t->features = t->abi = t->part = "";
    return t;
}

void target_free(struct target *t)
{
    if (t) arena_free(t->arena);
}

/* One `key = value` line; the value runs to the end of the line or a comment. */
static enum rc parse_line(struct target *t, struct target_file *f, const char *file,
                          const char *text, size_t len, int line, const char *p, const char *end,
                          struct map *seen, struct err *e)
{
    const char *eq = memchr(p, '=', (size_t)(end - p));
    if (!eq)
        return scan_error_at(e, file, text, len, line, 1, "target.syntax",
                             "expected `key = value` or `inherits NAME`");
    const char *ke = eq;
    while (ke > p && (ke[-1] == ' ' || ke[-1] == '\t')) ke--;
    const char *v = eq + 1;
    while (v < end && (*v == ' ' || *v == '\t')) v++;
    while (end > v && (end[-1] == ' ' || end[-1] == '\t')) end--;
    char *key = arena_strndup(t->arena, p, (size_t)(ke - p));
    char *value = arena_strndup(t->arena, v, (size_t)(end - v));
    int col = (int)(v - p) + 1;
    if (map_get(seen, key))
        return scan_error_at(e, file, text, len, line, 1, "target.duplicate",
                             "'%s' is set twice in this file", key);
    map_put(seen, key, key);
    const char *origin = arena_printf(t->arena, "%s:%d", file, line);
    if (strcmp(key, "match") == 0) {
        f->match = value;
        return RC_OK;
    }
    int64_t *number = target_fact(t, key, strlen(key));
    const char **words = target_text_fact(t, key, strlen(key));
    if (number) {
        char *stop;
        long long x = strtoll(value, &stop, 10);
        if (stop == value || *stop || x < 0)
            return scan_error_at(e, file, text, len, line, col, "target.value",
                                 "'%s' wants a whole number >= 0", key);
        *number = x;
    } else if (words) {
        *words = value;
    } else if (strcmp(key, "clock_ghz") == 0) {
        t->clock_ghz = strtod(value, NULL);
    } else {
        const char *names[QN_COUNT(fact_table) + QN_COUNT(text_table)];
        for (size_t i = 0; i < QN_COUNT(fact_table); i++) names[i] = fact_table[i].key;
        for (size_t i = 0; i < QN_COUNT(text_table); i++)
            names[QN_COUNT(fact_table) + i] = text_table[i].key;
        char hint[96];
        return scan_error_at(e, file, text, len, line, 1, "target.unknown_key",
                             "unknown fact '%s'%s", key,
                             did_you_mean(hint, sizeof hint, key, names, QN_COUNT(names)));
    }
    target_origin(f, key, origin);
    return RC_OK;
}

static enum rc parse_text(struct target *t, struct target_file *f, const char *file,
                          const char *text, size_t len, int depth, struct err *e);

static enum rc inherit(struct target *t, struct target_file *f, const char *file, const char *text,
                       size_t len, int line, const char *name, int depth, struct err *e)
{
    if (depth >= INHERIT_DEPTH)
        return scan_error_at(e, file, text, len, line, 1, "target.inherit_depth",
                             "more than %d levels of inherits: is there a cycle?", INHERIT_DEPTH);
    char *parent, path[1024];
    size_t parent_n;
    if (!target_path(path, sizeof path, name))
        return scan_error_at(e, file, text, len, line, 10, "target.unknown",
                             "no target file '%s.target'", name);
    enum rc rc = fs_read(path, TARGET_FILE_MAX, &parent, &parent_n, e);
    if (rc) return rc;
    rc =
        parse_text(t, f, arena_printf(t->arena, "%s.target", name), parent, parent_n, depth + 1, e);
    mem_free(parent);
    f->match = NULL; /* describes the parent's parts, not these */
    return rc;
}

static enum rc parse_text(struct target *t, struct target_file *f, const char *file,
                          const char *text, size_t len, int depth, struct err *e)
{
    struct map *seen = map_new();
    enum rc rc = RC_OK;
    int line = 0;
    for (const char *p = text, *stop = text + len; p < stop && rc == RC_OK;) {
        const char *nl = memchr(p, '\n', (size_t)(stop - p));
        const char *end = nl ? nl : stop;
        const char *next = nl ? nl + 1 : stop;
        line++;
        const char *hash = memchr(p, '#', (size_t)(end - p));
        if (hash) end = hash;
        while (p < end && (*p == ' ' || *p == '\t')) p++;
        while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
        if (p < end) {
            if ((size_t)(end - p) > 9 && memcmp(p, "inherits ", 9) == 0)
                rc = inherit(t, f, file, text, len, line,
                             arena_strndup(t->arena, p + 9, (size_t)(end - p) - 9), depth, e);
            else
                rc = parse_line(t, f, file, text, len, line, p, end, seen, e);
        }
        p = next;
    }
    map_free(seen);
    return rc;
}

enum rc target_parse(const char *file, const char *text, size_t len, struct target **out,
                     struct target_file *f, struct err *e)
{
    struct target *t = target_new();
    memset(f, 0, sizeof *f);
    enum rc rc = parse_text(t, f, file, text, len, 0, e);
    if (rc == RC_OK && t->vector_bits % 64 != 0)
        rc = err_set(e, RC_INPUT, "target.value", "%s: vector_bits must be a multiple of 64", file);
    if (rc == RC_OK &&
        (t->vector_bits < 64 || t->vector_bits > 4096 || t->vregs < 1 || t->vregs > 1024))
        rc = err_set(e, RC_INPUT, "target.value",
                     "%s: vector_bits must be 64..4096 and vregs 1..1024", file);
    if (rc != RC_OK) {
        target_free(t);
        t = NULL;
    }
    *out = t;
    return rc;
}

bool target_path(char *out, size_t n, const char *name)
{
    char dir[900];
    for (const char *p = name; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              *p == '-' || *p == '_'))
            return false;
    if (!*name || strlen(name) > 64 || fs_data_dir(dir, sizeof dir, "targets", NULL) != RC_OK)
        return false;
    snprintf(out, n, "%s/%s.target", dir, name);
    return fs_exists(out);
}

static enum rc unknown_target(const char *name, struct err *e)
{
    char dir[900], hint[96] = "";
    char **names = NULL;
    size_t n = 0;
    if (fs_data_dir(dir, sizeof dir, "targets", e) != RC_OK) return e ? e->rc : RC_INPUT;
    if (fs_list(dir, ".target", &names, &n, NULL) == RC_OK) {
        for (size_t i = 0; i < n; i++) names[i][strlen(names[i]) - strlen(".target")] = 0;
        did_you_mean(hint, sizeof hint, name, (const char *const *)names, n);
        fs_list_free(names, n);
    }
    return err_set(e, RC_INPUT, "target.unknown",
                   "unknown target '%s'%s; `quern targets` lists them", name, hint);
}

enum rc target_load_with(const char *name, struct target **out, struct target_file *f,
                         struct err *e)
{
    char path[1024], chosen[72];
    bool host = strcmp(name, "host") == 0;
    snprintf(chosen, sizeof chosen, "%s", host ? host_target_name() : name);
    *out = NULL;
    if (!target_path(path, sizeof path, chosen)) return unknown_target(chosen, e);
    char *text;
    size_t len;
    enum rc rc = fs_read(path, TARGET_FILE_MAX, &text, &len, e);
    if (rc) return rc;
    char label[96];
    snprintf(label, sizeof label, "%s.target", chosen);
    rc = target_parse(label, text, len, out, f, e);
    mem_free(text);
    if (rc) return rc;
    (*out)->name = arena_strdup((*out)->arena, chosen);
    if (!*(*out)->part) (*out)->part = (*out)->name;
    if (host) host_overlay(*out, f);
    return RC_OK;
}

enum rc target_load(const char *name, struct target **out, struct err *e)
{
    struct target_file f;
    return target_load_with(name, out, &f, e);
}

enum rc target_from_text(const char *text, size_t len, struct target **out, struct err *e)
{
    struct target_file f;
    enum rc rc = target_parse("(target)", text, len, out, &f, e);
    if (rc == RC_OK) (*out)->name = (*out)->part;
    return rc;
}

int target_lanes(const struct target *t, int dtype_bits)
{
    return (int)i64_max(1, t->vector_bits / dtype_bits);
}

void target_text(const struct target *t, struct buf *out)
{
    for (size_t i = 0; i < QN_COUNT(text_table); i++)
        buf_printf(out, "%s = %s\n", text_table[i].key,
                   *(const char *const *)((const char *)t + text_table[i].at));
    for (size_t i = 0; i < QN_COUNT(fact_table); i++)
        buf_printf(out, "%s = %lld\n", fact_table[i].key,
                   (long long)*(const int64_t *)((const char *)t + fact_table[i].at));
}

void target_device_class(const struct target *t, struct buf *out)
{
    buf_printf(out, "%s;%s;l1=%lld;l2=%lld;l3=%lld", t->part, t->features, (long long)t->l1,
               (long long)t->l2, (long long)t->l3);
}

void target_explain(const char *name, struct buf *out, struct err *e)
{
    struct target *t;
    struct target_file f;
    if (target_load_with(name, &t, &f, e) != RC_OK) return;
    for (size_t i = 0; i < QN_COUNT(text_table) + QN_COUNT(fact_table); i++) {
        bool words = i < QN_COUNT(text_table);
        size_t k = words ? i : i - QN_COUNT(text_table);
        const char *key = words ? text_table[k].key : fact_table[k].key;
        const char *origin = "default";
        for (int j = 0; j < f.norigin; j++)
            if (strcmp(f.key[j], key) == 0) origin = f.origin[j];
        char value[1024];
        if (words)
            snprintf(value, sizeof value, "%s", *(const char **)((char *)t + text_table[k].at));
        else
            snprintf(value, sizeof value, "%lld",
                     (long long)*(int64_t *)((char *)t + fact_table[k].at));
        buf_printf(out, "%-14s %-24s %s%s%s\n", key, value, origin, words ? "" : "; ",
                   words ? "" : fact_table[k].what);
    }
    target_free(t);
}
