/* apply: a trace onto a nest, step by step: arguments, legality, edit; and a refusal told to a
 * person.
 *
 *     sched_apply(nest, trace, &rejection) == RC_OK ?   the nest is scheduled
 *                                                   :   sched_explain says which step and why
 *
 * Invariants: a refused step has edited nothing; the nest of a refused trace is half edited all the
 * same, because the steps before it were done. */
#include <stdio.h>
#include <string.h>

#include "sched/private.h"

static const struct {
    bool (*legal)(struct plan *p);
    void (*apply)(struct plan *p);
} table[PRIM_COUNT] = {
#define X(e, s, args, doc) {legal_##e, apply_##e},
#include "sched/prims.def"
#undef X
};

enum rc sched_apply_step(struct nest *n, const struct step *s, struct rejection *r)
{
    struct plan p = {.n = n, .step = s, .r = r};
    int bad = 0;
    *r = (struct rejection){.code = REJECT_NONE};
    const char *why = args_check(s->prim, s->n, s->arg, &bad);
    if (why) {
        refuse(&p, REJECT_BAD_ARGS, "%s: argument %d: %s", prim_name(s->prim), bad + 1, why);
        return RC_INPUT;
    }
    if (!table[s->prim].legal(&p)) return RC_INPUT;
    table[s->prim].apply(&p);
    return RC_OK;
}

enum rc sched_apply(struct nest *n, const struct trace *t, struct rejection *r)
{
    *r = (struct rejection){.code = REJECT_NONE};
    for (int i = 0; i < t->n; i++) {
        enum rc rc = sched_apply_step(n, &t->step[i], r);
        r->step = i;
        if (rc != RC_OK) return rc;
    }
    enum rc rc = sched_finish(n, r);
    r->step = -1;
    return rc;
}

/* Does this printed line of a nest name one of the step's loops or stages as its own? */
static bool line_is_of(const char *line, size_t len, const struct step *s)
{
    while (len && *line == ' ') {
        line++;
        len--;
    }
    for (int i = 0; i < s->n; i++) {
        static const char *const heads[] = {"for ", "stage ", "for \"", "stage \""};
        size_t n = strlen(s->arg[i]);
        for (size_t h = 0; h < QN_COUNT(heads); h++) {
            size_t hn = strlen(heads[h]);
            bool same = len >= hn + n && memcmp(line, heads[h], hn) == 0 &&
                        memcmp(line + hn, s->arg[i], n) == 0;
            if (same && (len == hn + n || line[hn + n] == ' ' || line[hn + n] == '"')) return true;
        }
    }
    return false;
}

void sched_explain(struct buf *b, const struct nest *n, const struct trace *t,
                   const struct rejection *r)
{
    const struct step *s = r->step >= 0 && r->step < t->n ? &t->step[r->step] : NULL;
    if (s) {
        buf_printf(b, "step %d: ", r->step + 1);
        step_print(b, s);
        buf_putc(b, '\n');
    } else {
        buf_puts(b, "the finished schedule:\n");
    }
    buf_printf(b, "  refused (%s): %s\n", reject_name(r->code), reject_sentence(r->code));
    if (r->detail[0]) buf_printf(b, "  here: %s\n", r->detail);
    struct buf text;
    buf_init(&text, 1 << 20);
    nest_print(&text, n);
    for (const char *line = text.p, *end; *line; line = *end ? end + 1 : end) {
        end = strchr(line, '\n');
        if (!end) end = line + strlen(line);
        bool mark = s && line_is_of(line, (size_t)(end - line), s);
        buf_printf(b, "%s %.*s\n", mark ? ">" : " ", (int)(end - line), line);
    }
    buf_fini(&text);
}
