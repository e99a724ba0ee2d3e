/* task: a token becomes an operator with values, checked, and its canonical spelling.
 *
 *     "conv2d:K=64,C=64,N=1,stride=1,H=56,..."   ->   keys, derived keys checked, tensors sized
 *     canonical: "conv2d:C=64,H=56,K=64,R=3,S=3,W=56,pad=1"
 *                (sorted, defaults and derived keys omitted)
 *
 * Invariants: equal tasks have equal canonical tokens, whatever was typed: short keys are printed
 * exactly where they can be. Errors in keys show the token with a caret. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsl/ast.h"

const struct task_limits task_limits_default = {INT64_C(8) << 30};

enum { GIVEN_MAX = 96 };

struct given {
    const char *key, *text;
    size_t len;
    int key_col, col;
    bool used, of_short;
};

struct build {
    struct task *t;
    const char *typed; /* the whole token */
    struct given given[GIVEN_MAX];
    int ngiven;
    struct scope_values s;
    struct err *e;
};

static enum rc fail_at(struct build *b, int col, const char *code, const char *fmt, ...)
    QN_PRINTF(4, 5);

static enum rc fail_at(struct build *b, int col, const char *code, const char *fmt, ...)
{
    char msg[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return scan_error_at(b->e, "task", b->typed, strlen(b->typed), 1, col, code, "%s", msg);
}

/* ---- keys as typed --------------------------------------------------------------------------- */

static enum rc split_keys(struct build *b, const char *keys)
{
    struct arena *a = b->t->arena;
    for (const char *p = keys; *p;) {
        size_t n = strcspn(p, ",");
        const char *eq = memchr(p, '=', n);
        int col = (int)(p - b->typed) + 1;
        if (!eq || eq == p) return fail_at(b, col, "task.syntax", "expected KEY=VALUE");
        struct given *g = &b->given[b->ngiven];
        if (b->ngiven == GIVEN_MAX)
            return fail_at(b, col, "task.syntax", "more than %d keys", GIVEN_MAX);
        g->key = arena_strndup(a, p, (size_t)(eq - p));
        g->text = arena_strndup(a, eq + 1, (size_t)(p + n - eq - 1));
        g->len = (size_t)(p + n - eq - 1);
        g->key_col = col;
        g->col = (int)(eq + 1 - b->typed) + 1;
        for (int i = 0; i < b->ngiven; i++)
            if (strcmp(b->given[i].key, g->key) == 0)
                return fail_at(b, col, "task.twice", "the key '%.60s' is given twice", g->key);
        b->ngiven++;
        p += n;
        if (*p == ',' && !*++p)
            return fail_at(b, (int)(p - b->typed) + 1, "task.syntax",
                           "expected KEY=VALUE after ','");
    }
    return RC_OK;
}

static struct given *find_given(struct build *b, const char *key)
{
    for (int i = 0; i < b->ngiven; i++)
        if (strcmp(b->given[i].key, key) == 0) return &b->given[i];
    return NULL;
}

/* ---- values as typed ---- */

static enum rc bad_value(struct build *b, const struct given *g, const struct item *it)
{
    static const char *const WANT[] = {"an integer", "a real number", "",
                                       "a list such as 0:1:-1:1/2"};
    char hint[96] = "";
    if (it->attr != ATTR_SYMBOL)
        return fail_at(b, g->col, "task.value", "%s wants %s", it->name, WANT[it->attr]);
    struct buf names;
    buf_init(&names, 300);
    for (int i = 0; i < it->nname; i++) buf_printf(&names, "%s%s", i ? ", " : "", it->names[i]);
    did_you_mean(hint, sizeof hint, g->text, it->names, (size_t)it->nname);
    enum rc rc = fail_at(b, g->col, "task.value", "%s is one of %s%s", it->name, names.p, hint);
    buf_fini(&names);
    return rc;
}

/* ---- binding --------------------------------------------------------------------------------- */

static const struct node TOL_DEFAULT_NAME = {.kind = NODE_NAME, .name = "default"};
static const struct item TOL_ATTR = {.kind = ITEM_ATTR,
                                     .name = "tol",
                                     .attr = ATTR_SYMBOL,
                                     .def = &TOL_DEFAULT_NAME,
                                     .nname = 3,
                                     .names = (const char *[]){"default", "tight", "loose"}};

static void add_key(struct build *b, const char *name, enum key_kind kind, bool given,
                    bool is_default, struct value v)
{
    QN_CHECK(b->t->nkey < TASK_KEYS, "keys of %s", b->t->op->name);
    b->t->key[b->t->nkey++] = (struct task_key){name, kind, given, is_default, v};
}

struct missing { /* "N, mode" and "N=8,mode=avg" */
    struct buf names, example;
};

static void put_name(struct buf *list, const char *name)
{
    buf_printf(list, "%s%s", list->n ? ", " : "", name);
}

static void put_missing(struct missing *m, const char *name, const struct item *attr)
{
    put_name(&m->names, name);
    buf_printf(&m->example, "%s%s=", m->example.n ? "," : "", name);
    if (attr && attr->nname > 0)
        buf_puts(&m->example, attr->names[0]);
    else if (attr && attr->nchoice > 0)
        node_print(&m->example, attr->choice[0], 0);
    else if (attr && attr->lo && attr->lo->kind == NODE_INT)
        node_print(&m->example, attr->lo, 0);
    else
        buf_puts(&m->example, attr && attr->attr == ATTR_LIST ? "1:2" : "8");
}

void operator_keys(struct buf *b, const struct operator* op)
{
    for (int i = 0; i < op->body.n; i++)
        if (op->body.item[i]->kind == ITEM_DYN) put_name(b, op->body.item[i]->name);
    for (int i = 0; i < op->nextent; i++) put_name(b, op->extent[i]);
    for (int i = 0; i < op->body.n; i++) {
        const struct item *it = op->body.item[i];
        if (it->kind == ITEM_ATTR && !it->def) put_name(b, it->name);
    }
}

static enum rc fail_missing(struct build *b, const struct missing *m)
{
    return err_set(b->e, RC_INPUT, "task.missing", "%s needs %s; give %s as in %.*s:%s",
                   b->t->op->name, m->names.p, strchr(m->names.p, ',') ? "them" : "it",
                   (int)strcspn(b->typed, ":"), b->typed, m->example.p);
}

static enum rc bind_extent_key(struct build *b, const char *name, bool dyn, struct missing *missing)
{
    struct given *g = find_given(b, name);
    struct value v = value_int(0);
    if (!g) {
        put_missing(missing, name, NULL);
        return RC_OK;
    }
    g->used = true;
    if (!value_read_int(g->text, g->len, &v.i))
        return fail_at(b, g->col, "task.value", "%s wants an integer", name);
    if (v.i < 0 || v.i >= INT64_C(1) << 40)
        return fail_at(b, g->col, "task.extent", "%s is an extent: it lies in 0..2^40", name);
    scope_put(&b->s, name, v, dyn, NULL);
    add_key(b, name, dyn ? KEY_DYN : KEY_EXTENT, true, false, v);
    if (dyn) b->t->dyn[b->t->ndyn++] = v.i;
    return RC_OK;
}

/* Missing extents end the parse before anything reads them. */
static enum rc bind_extents(struct build *b)
{
    const struct operator* op = b->t->op;
    struct missing missing;
    buf_init(&missing.names, 512);
    buf_init(&missing.example, 1024);
    enum rc rc = RC_OK;
    for (int i = 0; i < op->body.n && rc == RC_OK; i++)
        if (op->body.item[i]->kind == ITEM_DYN)
            rc = bind_extent_key(b, op->body.item[i]->name, true, &missing);
    for (int i = 0; i < op->nextent && rc == RC_OK; i++)
        rc = bind_extent_key(b, op->extent[i], false, &missing);
    for (int i = 0; i < op->body.n && rc == RC_OK; i++) {
        const struct item *it = op->body.item[i];
        if (it->kind == ITEM_ATTR && !it->def && !find_given(b, it->name))
            put_missing(&missing, it->name, it);
    }
    if (rc == RC_OK && missing.names.n) rc = fail_missing(b, &missing);
    buf_fini(&missing.names);
    buf_fini(&missing.example);
    return rc;
}

/* 1/3 of integers where a real is asked for: hardly ever meant to be 0. */
static bool is_floored(struct build *b, const struct node *n)
{
    struct value x, y;
    return n->kind == NODE_BINARY && n->oper == OPER_DIV && eval_value(&b->s, n->a[0], &x) &&
           eval_value(&b->s, n->a[1], &y) && value_floors(n->oper, &x, &y);
}

static enum rc bind_attr(struct build *b, const struct item *it)
{
    struct given *g = find_given(b, it->name);
    struct value v, def = {0};
    b->s.touched_dyn = false;
    if (it->def && !eval_value(&b->s, it->def, &def)) return RC_INPUT;
    bool dyn = b->s.touched_dyn && !g; /* the domain may depend on an extent, and it does not */
    if (it->attr == ATTR_REAL && it->def && is_floored(b, it->def)) {
        dsl_error(b->e, b->t->op->file, it->def->line, it->def->col, "dsl.floored",
                  "the quotient of integers is rounded down, to %lld, and '%s' is real; write a "
                  "real in it (1.0/3), or the integer",
                  (long long)def.i, it->name);
        return RC_INPUT;
    }
    if (it->attr == ATTR_REAL && def.kind == VALUE_INT) def = value_real((double)def.i);
    if (it->attr == ATTR_SYMBOL && it->def && def.kind == VALUE_SYMBOL) {
        struct value same; /* the domain's own spelling */
        if (value_parse(b->t->arena, it, def.symbol, strlen(def.symbol), &same)) def = same;
    }
    v = def;
    if (g) {
        g->used = true;
        if (!value_parse(b->t->arena, it, g->text, g->len, &v)) return bad_value(b, g, it);
    }
    if (!bind_attr_domain(&b->s, it, &v)) {
        char why[400];
        snprintf(why, sizeof why, "%.399s", b->e->msg);
        return g && strcmp(b->e->code, "task.domain") == 0
                   ? fail_at(b, g->col, "task.domain", "%s", why)
                   : RC_INPUT;
    }
    scope_put(&b->s, it->name, v, dyn, NULL);
    add_key(b, it->name, KEY_ATTR, g && !g->of_short, it->def && value_equal(&v, &def), v);
    return RC_OK;
}

static enum rc check_let(struct build *b, const struct item *it)
{
    struct given *g = find_given(b, it->name);
    const struct named_value *v = scope_find(&b->s, it->name);
    add_key(b, it->name, KEY_LET, g != NULL, true, v->v);
    if (!g) return RC_OK;
    g->used = true;
    struct value typed = {.kind = VALUE_INT};
    bool ok = v->v.kind == VALUE_INT
                  ? value_read_int(g->text, g->len, &typed.i) && typed.i == v->v.i
                  : v->v.kind == VALUE_REAL && value_read_real(g->text, g->len, &typed.f) &&
                        typed.f == v->v.f;
    if (ok) return RC_OK;
    struct buf text;
    buf_init(&text, 300);
    value_print(&text, &v->v);
    enum rc rc = fail_at(b, g->col, "task.derived", "%s follows from the other keys and is %s",
                         it->name, text.p);
    buf_fini(&text);
    return rc;
}

/* Items in the order of the text. */
static enum rc bind_items(struct build *b)
{
    const struct operator* op = b->t->op;
    struct body one = {.n = 1};
    enum rc rc = bind_attr(b, &TOL_ATTR);
    for (int i = 0; i < op->body.n && rc == RC_OK; i++) {
        struct item *it = op->body.item[i];
        if (it->kind == ITEM_ATTR) rc = bind_attr(b, it);
        one.item = &op->body.item[i];
        if ((it->kind == ITEM_LET || it->kind == ITEM_REQUIRE) && !bind_lets(&b->s, &one))
            rc = RC_INPUT;
        if (it->kind == ITEM_LET && rc == RC_OK) rc = check_let(b, it);
    }
    return rc;
}

/* stride=2 stands for stride_h=2,stride_w=2 unless those are given. */
static enum rc expand_shorts(struct build *b)
{
    const struct operator* op = b->t->op;
    for (int i = 0; i < op->body.n; i++) {
        const struct item *it = op->body.item[i];
        struct given *g = it->kind == ITEM_SHORT ? find_given(b, it->name) : NULL;
        if (!g) continue;
        g->used = true;
        for (int k = 0; k < it->nname; k++) {
            if (find_given(b, it->names[k])) continue;
            if (b->ngiven == GIVEN_MAX)
                return fail_at(b, g->key_col, "task.syntax", "more than %d keys", GIVEN_MAX);
            struct given *to = &b->given[b->ngiven++];
            *to = *g;
            to->key = it->names[k];
            to->of_short = true;
        }
    }
    return RC_OK;
}

static enum rc unknown_key(struct build *b, const struct given *g)
{
    const struct operator* op = b->t->op;
    const char *names[512];
    char hint[96];
    int n = 0;
    names[n++] = "tol";
    for (int i = 0; i < op->nextent; i++) names[n++] = op->extent[i];
    for (int i = 0; i < op->body.n && n < 500; i++) {
        enum item_kind k = op->body.item[i]->kind;
        if (k == ITEM_ATTR || k == ITEM_SHORT || k == ITEM_DYN || k == ITEM_LET)
            names[n++] = op->body.item[i]->name;
    }
    did_you_mean(hint, sizeof hint, g->key, names, (size_t)n);
    return fail_at(b, g->key_col, "task.unknown_key", "%s has no key '%.60s'%s", op->name, g->key,
                   hint);
}

static bool is_key(const struct operator* op, const char *key)
{
    if (strcmp(key, "tol") == 0) return true;
    for (int i = 0; i < op->nextent; i++)
        if (strcmp(op->extent[i], key) == 0) return true;
    for (int i = 0; i < op->body.n; i++) {
        enum item_kind k = op->body.item[i]->kind;
        if ((k == ITEM_ATTR || k == ITEM_SHORT || k == ITEM_DYN || k == ITEM_LET) &&
            strcmp(op->body.item[i]->name, key) == 0)
            return true;
    }
    return false;
}

/* A short key reads as a key when its targets agree. */
static void add_short_keys(struct build *b)
{
    for (int i = 0; i < b->t->op->body.n; i++) {
        const struct item *it = b->t->op->body.item[i];
        struct task_key *same = it->kind == ITEM_SHORT ? task_short_value(b->t, it) : NULL;
        if (same) add_key(b, it->name, KEY_LET, false, true, same->value);
    }
}

/* ---- the door -------------------------------------------------------------------------------- */

static void put_size(struct buf *b, double bytes)
{
    static const char *const UNITS[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    int u = 0;
    while (bytes >= 1024 && u < 6) {
        bytes /= 1024;
        u++;
    }
    buf_printf(b, "%.4g %s", bytes, UNITS[u]);
}

static enum rc check_memory(struct build *b)
{
    double total = 0;
    for (int i = 0; i < b->t->ntensor; i++) total += (double)b->t->tensor[i].bytes;
    if (total <= (double)b->t->max_bytes) return RC_OK;
    struct buf need, cap;
    buf_init(&need, 64);
    buf_init(&cap, 64);
    put_size(&need, total);
    put_size(&cap, (double)b->t->max_bytes);
    enum rc rc = err_set(b->e, RC_INPUT, "task.too_big", "%s: its tensors need %s; the limit is %s",
                         b->t->op->name, need.p, cap.p);
    buf_fini(&need);
    buf_fini(&cap);
    return rc;
}

static enum rc bind_task(struct build *b, const char *typed_op)
{
    struct task *t = b->t;
    for (int i = 0; i < b->ngiven; i++)
        if (!is_key(t->op, b->given[i].key)) return unknown_key(b, &b->given[i]);
    enum rc rc = expand_shorts(b);
    if (rc == RC_OK) rc = bind_extents(b);
    if (rc == RC_OK) rc = bind_items(b);
    if (rc != RC_OK) return rc;
    if (!bind_tensors(&b->s, &t->op->body, t->tensor, TASK_TENSORS, &t->ntensor)) return RC_INPUT;
    rc = check_memory(b);
    if (rc != RC_OK || !bind_algorithms(&b->s)) return RC_INPUT;
    const char *tol = task_symbol(t, "tol");
    t->tol = tol[0] == 't' ? TOL_TIGHT : tol[0] == 'l' ? TOL_LOOSE : TOL_DEFAULT;
    task_make_token(t, typed_op);
    add_short_keys(b);
    return RC_OK;
}

static enum rc check_bytes(const char *token, struct err *e)
{
    size_t n = strlen(token);
    if (n == 0)
        return err_set(e, RC_INPUT, "task.syntax",
                       "a task looks like conv2d:H=56,W=56,C=64,K=64,R=3,S=3");
    if (n > TASK_TOKEN_MAX)
        return err_set(e, RC_INPUT, "task.syntax", "a task has at most %d bytes; this one has %zu",
                       TASK_TOKEN_MAX, n);
    for (size_t i = 0; i < n; i++)
        if (token[i] <= ' ' || token[i] > '~')
            return err_set(
                e, RC_INPUT, "task.syntax",
                "byte %zu of the task is not a printable ASCII character (a task has no spaces)",
                i + 1);
    return RC_OK;
}

enum rc task_parse(const char *token, struct op_lib *lib, const struct task_limits *limits,
                   struct task **out, struct err *e)
{
    struct err own = {0};
    if (!e) e = &own;
    *out = NULL;
    enum rc rc = check_bytes(token, e);
    if (rc != RC_OK) return rc;
    struct arena *a = arena_new();
    struct build *b = ARENA_NEW(a, struct build);
    struct task *t = ARENA_NEW(a, struct task);
    const char *colon = strchr(token, ':');
    const char *name = arena_strndup(a, token, colon ? (size_t)(colon - token) : strlen(token));
    b->typed = arena_strdup(a, token);
    b->t = t;
    b->e = e;
    t->arena = a;
    t->max_bytes =
        limits && limits->max_bytes > 0 ? limits->max_bytes : task_limits_default.max_bytes;
    t->key = ARENA_ARRAY(a, struct task_key, TASK_KEYS);
    t->tensor = ARENA_ARRAY(a, struct task_tensor, TASK_TENSORS);
    t->dyn = ARENA_ARRAY(a, int64_t, TASK_KEYS);
    rc = op_lib_find(lib, name, &t->op, e);
    if (rc == RC_OK) rc = split_keys(b, colon ? b->typed + (colon - token) + 1 : "");
    if (rc == RC_OK) {
        t->own = op_lib_own(lib, t->op);
        b->s = (struct scope_values){.arena = a, .file = t->op->file, .op = t->op, .e = e};
        rc = bind_task(b, name);
    }
    if (rc != RC_OK) {
        arena_free(a);
        return rc;
    }
    *out = t;
    return RC_OK;
}

void task_free(struct task *t)
{
    if (t) arena_free(t->arena);
}

bool task_int(const struct task *t, const char *key, int64_t *out)
{
    const struct task_key *k = task_key_find(t, key);
    if (!k || k->value.kind != VALUE_INT) return false;
    *out = k->value.i;
    return true;
}

const char *task_symbol(const struct task *t, const char *key)
{
    const struct task_key *k = task_key_find(t, key);
    return k && k->value.kind == VALUE_SYMBOL ? k->value.symbol : NULL;
}

const struct task_tensor *task_tensor(const struct task *t, const char *name)
{
    for (int i = 0; i < t->ntensor; i++)
        if (strcmp(t->tensor[i].name, name) == 0) return &t->tensor[i];
    return NULL;
}

void task_scope(struct scope_values *s, const struct task *t, struct arena *a, struct err *e)
{
    *s = (struct scope_values){.arena = a, .file = t->op->file, .op = t->op, .e = e};
    for (int i = 0; i < t->nkey; i++) {
        const struct task_key *k = &t->key[i];
        if (body_find(&t->op->body, ITEM_SHORT, k->name)) continue;
        scope_put(s, k->name, k->value, k->kind == KEY_DYN, NULL);
    }
    for (int i = 0; i < t->op->body.n; i++) { /* which lets depend on dyn extents, for lowering */
        const struct item *it = t->op->body.item[i];
        if (it->kind != ITEM_LET && !(it->kind == ITEM_ATTR && it->def)) continue;
        struct named_value *v = scope_find(s, it->name);
        const struct task_key *k = task_key_find(t, it->name);
        struct value ignored;
        if (it->kind == ITEM_ATTR && k->given) continue;
        s->touched_dyn = false;
        if (eval_value(s, it->def, &ignored) && s->touched_dyn) {
            v->dyn = true;
            v->def = it->def;
        }
    }
}
