/* e2e_shrink: a failing task and trace made smaller while they still fail. See e2e.h.
 *
 * A key goes to its minimum, to half, to one less; the trace stays as it is, or is drawn again from
 * the smaller task's space with the same knob values. Then steps of the trace are left out one by
 * one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/proc.h"
#include "lib/e2e.h"

enum { SHRINK_S = 60 };

struct shrink {
    struct e2e *x;
    const struct e2e_work *w;
    const struct e2e_candidate *c;
    struct e2e_shape shape;
    char *trace;
    char why[512];
    int64_t end;
};

static bool fails(struct shrink *s, const struct e2e_shape *shape, const char *trace)
{
    struct buf b;
    char why[512];
    if (clock_ns() > s->end) return false;
    buf_init(&b, 4096);
    e2e_token(shape, &b);
    enum verdict v = e2e_check(s->x, b.p, trace, s->w->threads, why);
    buf_fini(&b);
    if (v == VERDICT_OK || v == VERDICT_ILLEGAL) return false;
    size_t kind = strcspn(s->c->why, ":"); /* another failure is not this one made smaller */
    if (strncmp(why, s->c->why, kind + 1) != 0) return false;
    memcpy(s->why, why, sizeof why);
    return true;
}

static void take(struct shrink *s, const struct e2e_shape *shape, const char *trace)
{
    char *copy = mem_strdup(trace);
    mem_free(s->trace);
    s->trace = copy;
    s->shape = *shape;
}

/* The value of knob k nearest to the one the failing candidate had. */
static int nearest(const struct space *from, int k, int choice, const struct space *to, int j)
{
    int best = 0;
    int64_t want = space_knob_value(from, k, choice);
    struct buf a, b;
    buf_init(&a, 256);
    buf_init(&b, 256);
    space_knob_text(from, k, choice, &a);
    for (int i = 0; i < space_knob_values(to, j); i++) {
        buf_reset(&b);
        space_knob_text(to, j, i, &b);
        if (strcmp(a.p, b.p) == 0)
            best = i;
        else if (!space_knob_is_word(to, j) && llabs(space_knob_value(to, j, i) - want) <
                                                   llabs(space_knob_value(to, j, best) - want))
            best = i;
    }
    buf_fini(&a);
    buf_fini(&b);
    return best;
}

/* The same knob values in the space of a smaller task; NULL if they are not allowed there. */
static char *redraw(struct shrink *s, const struct e2e_shape *shape)
{
    struct buf b;
    struct task *task;
    struct plan plan;
    char *out = NULL;
    const struct space *from = s->w->space[s->c->space];
    bool derived = s->w->derived[s->c->space];
    buf_init(&b, 1 << 20);
    e2e_token(shape, &b);
    if (task_parse(b.p, s->x->lib, NULL, &task, NULL) == RC_OK) {
        if (compile_plan(task, s->x->target, s->w->threads, derived ? NULL : s->x->dir, &plan,
                         NULL) == RC_OK) {
            for (int i = 0; i < plan.n && !out; i++) {
                const struct space *to = plan.space[i];
                int choice[E2E_KNOBS] = {0};
                if (strcmp(space_algorithm(to), space_algorithm(from)) != 0 ||
                    derived != (*space_text(to) != 0) ||
                    strcmp(space_name(to), space_name(from)) != 0)
                    continue;
                for (int k = 0; k < space_knobs(from); k++) {
                    int j = space_knob_find(to, space_knob_name(from, k));
                    if (j >= 0) choice[j] = nearest(from, k, s->c->choice[k], to, j);
                }
                struct trace *t = space_trace(to, choice);
                if (!t) continue;
                buf_reset(&b);
                trace_print(&b, t);
                out = mem_strdup(b.p);
                trace_free(t);
            }
            plan_fini(&plan);
        }
        task_free(task);
    }
    buf_fini(&b);
    return out;
}

static bool try_value(struct shrink *s, int key, int64_t v)
{
    struct e2e_shape smaller = s->shape;
    if (v < smaller.key[key].min || v >= smaller.key[key].v) return false;
    smaller.key[key].v = v;
    if (fails(s, &smaller, s->trace)) {
        take(s, &smaller, s->trace);
        return true;
    }
    char *again = redraw(s, &smaller);
    bool ok = again && strcmp(again, s->trace) != 0 && fails(s, &smaller, again);
    if (ok) take(s, &smaller, again);
    mem_free(again);
    return ok;
}

static bool smaller_keys(struct shrink *s)
{
    bool any = false;
    for (int k = 0; k < s->shape.n; k++) {
        int64_t v = s->shape.key[k].v;
        any |= try_value(s, k, s->shape.key[k].min) || try_value(s, k, v / 2) ||
               try_value(s, k, v - 1);
    }
    return any;
}

static bool fewer_steps(struct shrink *s)
{
    struct trace *t;
    bool any = false;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int skip = 0;; skip++) {
        if (trace_parse("(trace)", s->trace, strlen(s->trace), &t, NULL) != RC_OK) break;
        bool end = skip >= t->n;
        if (!end) {
            memmove(t->step + skip, t->step + skip + 1,
                    sizeof *t->step * (size_t)(t->n - skip - 1));
            t->n--;
            buf_reset(&b);
            trace_print(&b, t);
        }
        trace_free(t);
        if (end) break;
        if (!fails(s, &s->shape, b.p)) continue;
        take(s, &s->shape, b.p);
        any = true;
        skip--;
    }
    buf_fini(&b);
    return any;
}

void e2e_report(struct e2e *x, const struct e2e_work *w, const struct e2e_candidate *c)
{
    struct shrink s = {.x = x,
                       .w = w,
                       .c = c,
                       .shape = w->shape,
                       .trace = mem_strdup(c->trace),
                       .end = clock_ns() + SHRINK_S * INT64_C(1000000000)};
    struct buf b;
    memcpy(s.why, c->why, sizeof s.why);
    printf("FAILED seed %" PRIu64 ", %d threads: %s\n  %s\n%s", w->seed, w->threads, c->why,
           w->token, c->trace);
    if (fails(&s, &s.shape, s.trace)) {
        while (smaller_keys(&s) || fewer_steps(&s)) continue;
        buf_init(&b, 4096);
        e2e_token(&s.shape, &b);
        printf("smaller: %s\n  %s\n%s", s.why, b.p, s.trace);
        buf_fini(&b);
    } else {
        printf("alone it does not fail again\n");
    }
    fflush(stdout);
    mem_free(s.trace);
}
