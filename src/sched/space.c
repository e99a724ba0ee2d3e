/* space: a parsed .sched family bound to facts, asked for its knobs and for the trace of a choice.
 *
 *     struct space *sp; space_parse("gemm.sched", text, n, &facts, &sp, &e);
 *     int choice[] = {13, 1, 0};
 *     struct trace *t = space_trace(sp, choice);        NULL: a `require` fails
 *
 * Invariants: space_trace depends on nothing but the choice; each trace it returns prints and
 * parses. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sched/derive.h"

enum { WORD_MAX = 64 };

void space_free(struct space *s)
{
    if (s) arena_free(s->arena);
}

const char *space_name(const struct space *s) { return s->name; }
const char *space_algorithm(const struct space *s) { return s->algorithm[0].part[0].text; }
const char *space_op(const struct space *s) { return s->op; }
int space_knobs(const struct space *s) { return s->names.nknob; }
const char *space_knob_name(const struct space *s, int knob) { return s->names.knob[knob].name; }
int space_knob_values(const struct space *s, int knob) { return s->names.knob[knob].n; }

/* Words count 0..n-1 in the order of the text, also after a `where` has removed some. */
int64_t space_knob_value(const struct space *s, int knob, int i)
{
    return s->names.knob[knob].word ? i : s->names.knob[knob].value[i];
}

bool space_knob_is_word(const struct space *s, int knob)
{
    return s->names.knob[knob].word != NULL;
}

int space_knob_find(const struct space *s, const char *name)
{
    for (int i = 0; i < s->names.nknob; i++)
        if (strcmp(s->names.knob[i].name, name) == 0) return i;
    return -1;
}

void space_knob_text(const struct space *s, int knob, int i, struct buf *out)
{
    const struct knob *k = &s->names.knob[knob];
    if (k->word)
        buf_puts(out, k->word[i]);
    else
        buf_printf(out, "%" PRId64, k->value[i]);
}

const char *space_text(const struct space *s) { return s->text ? s->text : ""; }
void space_set_text(struct space *s, const char *text, size_t n)
{
    s->text = arena_strndup(s->arena, text, n);
}

double space_size(const struct space *s)
{
    double size = 1;
    for (int i = 0; i < s->names.nknob; i++) size *= s->names.knob[i].n;
    return size;
}

/* ---- traces ---------------------------------------------------------------------------------- */

struct maker {
    const struct space *s;
    const int *choice;
    struct values values;
    struct trace *t; /* NULL: only ask whether the choice is allowed */
    const char *why; /* static; set when the choice gives no trace */
    int line;
};

static void bind_values(struct maker *m)
{
    const struct scope_of_names *n = &m->s->names;
    memset(&m->values, 0, sizeof m->values);
    for (int i = 0; i < n->nknob; i++) m->values.v[i] = space_knob_value(m->s, i, m->choice[i]);
    for (int i = 0; i < n->nlet; i++)
        m->values.bad[SPACE_KNOBS + i] =
            !xexpr_eval(n->let[i], &m->values, &m->values.v[SPACE_KNOBS + i]);
}

static bool give_up(struct maker *m, int line, const char *why)
{
    m->why = why;
    m->line = line;
    return false;
}

static bool word_text(struct maker *m, const struct word *w, char *out)
{
    size_t at = 0;
    for (int i = 0; i < w->n; i++) {
        const struct part *p = &w->part[i];
        char number[24];
        const char *text = p->text;
        int64_t v;
        if (p->words >= 0) {
            text = m->s->names.knob[p->words].word[m->choice[p->words]];
        } else if (!text) {
            if (!xexpr_eval(p->value, &m->values, &v)) return false;
            snprintf(number, sizeof number, "%" PRId64, v);
            text = number;
        }
        size_t n = strlen(text);
        if (at + n >= WORD_MAX) return false;
        memcpy(out + at, text, n);
        at += n;
    }
    out[at] = 0;
    return true;
}

static bool emit_step(struct maker *m, const struct item *it)
{
    char text[STEP_ARGS][WORD_MAX];
    const char *arg[STEP_ARGS];
    int bad;
    for (int i = 0; i < it->n; i++) {
        if (!word_text(m, &it->word[i], text[i]))
            return give_up(m, it->line, "a word has no value for this choice");
        arg[i] = text[i];
    }
    const char *why = args_check(it->prim, it->n, arg, &bad);
    if (why) return give_up(m, it->line, why);
    if (m->t) trace_add(m->t, it->prim, it->n, arg);
    return true;
}

static bool emit_choices(struct maker *m, const struct item *it)
{
    for (int i = 0; i < it->n; i++) {
        char text[WORD_MAX];
        if (!word_text(m, &it->word[i], text))
            return give_up(m, it->line, "a word has no value for this choice");
        char *eq = strchr(text, '=');
        if (!eq || eq == text || !eq[1] || strpbrk(eq + 1, "=\"\\"))
            return give_up(m, it->line, "a choice is written key=value");
        *eq = 0;
        if (!name_valid(text)) return give_up(m, it->line, "a choice is written key=value");
        if (m->t && m->t->nchoice == (int)QN_COUNT(m->t->choice) && !trace_choice(m->t, text, NULL))
            return give_up(m, it->line, "too many choices");
        if (m->t) trace_choose(m->t, text, eq + 1);
    }
    return true;
}

static bool emit_items(struct maker *m, const struct item *it)
{
    for (; it; it = it->next) {
        int64_t v;
        bool known = !it->cond || xexpr_eval(it->cond, &m->values, &v), ok = true;
        if (!known) return give_up(m, it->line, "the condition divides by zero or overflows");
        switch (it->kind) {
        case ITEM_REQUIRE:
            if (!v) return give_up(m, it->line, NULL);
            break;
        case ITEM_IF:
            ok = emit_items(m, v ? it->then : it->otherwise);
            break;
        case ITEM_STEP:
            ok = emit_step(m, it);
            break;
        case ITEM_CODEGEN:
            ok = emit_choices(m, it);
            break;
        }
        if (!ok) return false;
    }
    return true;
}

static bool make_trace(struct maker *m)
{
    const struct space *s = m->s;
    for (int i = 0; i < s->names.nknob; i++)
        QN_CHECK(m->choice[i] >= 0 && m->choice[i] < s->names.knob[i].n, "choice %d of %s",
                 m->choice[i], s->names.knob[i].name);
    bind_values(m);
    char text[WORD_MAX];
    if (!word_text(m, &s->algorithm[0], text) || !name_valid(text))
        return give_up(m, 1, "the algorithm has no valid name");
    if (m->t) m->t->algorithm = arena_strdup(m->t->arena, text);
    for (int i = 1; i < s->nalgorithm; i++) {
        if (!word_text(m, &s->algorithm[i], text) || strlen(text) > NAME_MAX_LEN)
            return give_up(m, 1, "a parameter of the algorithm has no value");
        if (m->t) trace_param(m->t, text);
    }
    return emit_items(m, s->first);
}

struct trace *space_trace(const struct space *s, const int *choice)
{
    struct maker m = {.s = s, .choice = choice, .t = trace_new("none")};
    if (make_trace(&m)) return m.t;
    trace_free(m.t);
    return NULL;
}

bool space_allows(const struct space *s, const int *choice)
{
    struct maker m = {.s = s, .choice = choice};
    return make_trace(&m);
}

/* ---- reading --------------------------------------------------------------------------------- */

enum rc space_parse(const char *file, const char *text, size_t len, const struct facts *f,
                    struct space **out, struct err *e)
{
    struct arena *a = arena_new();
    struct space *s = ARENA_NEW(a, struct space);
    bool off = false;
    s->arena = a;
    s->names.arena = a;
    s->names.facts = f;
    *out = NULL;
    enum rc rc = space_read(s, file, text, len, &off, e);
    s->names.facts = NULL; /* every fact is a constant of the trees by now */
    int first[SPACE_KNOBS] = {0};
    struct maker m = {.s = s, .choice = first};
    if (rc == RC_OK && !off && !make_trace(&m) && m.why)
        rc = scan_error_at(e, file, text, len, m.line, 1, "space.step",
                           "%s (with the first value of each knob)", m.why);
    if (rc == RC_OK && !off)
        *out = s;
    else
        space_free(s);
    return rc;
}
