/* Text to nests and back for tests; the header says how to use it. Expressions are parsed inside a
 * little nest whose dynamic extents have the names wanted, then moved to the real variables. */
#include "lib/ir_util.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

struct nest *ir_util_nest(struct ir *ir, const char *text)
{
    struct nest *n = NULL;
    struct err e = {0};
    if (nest_parse(ir, "test.nest", text, strlen(text), &n, &e) != RC_OK) ck_abort_msg("%s", e.msg);
    return n;
}

static struct buf *ring(void)
{
    static struct buf b[4];
    static int at;
    struct buf *next = &b[at++ % 4];
    buf_fini(next);
    buf_init(next, 1 << 22);
    return next;
}

const char *ir_util_expr(const struct expr *e)
{
    struct buf *b = ring();
    expr_print(b, e);
    return b->p;
}

const char *ir_util_text(const struct nest *n)
{
    struct buf *b = ring();
    nest_print(b, n);
    return b->p;
}

struct names {
    struct buf *b;
    const struct var *var[64];
    int n;
};

static bool note_loop(struct stmt *s, void *ctx)
{
    struct names *m = ctx;
    if (s->kind == ST_FOR && m->n < 64) m->var[m->n++] = s->u.loop.var;
    if (s->kind == ST_LET && m->n < 64) m->var[m->n++] = s->u.let.var;
    return true;
}

/* `value[] = text` is the little nest's one statement. */
const struct expr *ir_util_parse_expr(struct ir *ir, const struct nest *n, const char *text)
{
    struct names m = {.b = ring()};
    for (int i = 0; i < n->ndyn; i++) m.var[m.n++] = n->dyn[i];
    stmt_walk(n->body, note_loop, &m);
    buf_puts(m.b, "nest e\n");
    for (int i = 0; i < m.n; i++) buf_printf(m.b, "dyn \"%s\"\n", m.var[i]->name);
    bool cond = strpbrk(text, "=!") || strstr(text, " < ") || strstr(text, " > ");
    buf_printf(m.b, "out value: %s[]\nvalue[] = %s\n", cond ? "b1" : "s64", text);
    struct nest *little = ir_util_nest(ir, m.b->p);
    const struct expr *e = little->body->u.block.p[0]->u.store.value;
    for (int i = 0; i < m.n; i++) e = expr_subst(ir, e, little->dyn[i], expr_var(ir, m.var[i]));
    return e;
}
