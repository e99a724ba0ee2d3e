/* e2e_task: shapes of tasks, what a trace does, and the table of both. See e2e.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/e2e.h"

/* ---- shapes ---------------------------------------------------------------------------------- */

void e2e_put(struct e2e_shape *s, const char *name, int64_t v, int64_t min)
{
    QN_CHECK(s->n < E2E_KEYS, "too many keys");
    s->key[s->n].name = name;
    s->key[s->n].v = v;
    s->key[s->n++].min = min;
}

static int find(const struct e2e_shape *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->key[i].name, name) == 0) return i;
    QN_UNREACHABLE("no key %s", name);
}

int64_t e2e_get(const struct e2e_shape *s, const char *name) { return s->key[find(s, name)].v; }
void e2e_set(struct e2e_shape *s, const char *name, int64_t v) { s->key[find(s, name)].v = v; }

void e2e_word(struct e2e_shape *s, const char *key, const char *value)
{
    size_t n = strlen(s->words);
    snprintf(s->words + n, sizeof s->words - n, ",%s=%s", key, value);
}

void e2e_token(const struct e2e_shape *s, struct buf *out)
{
    buf_reset(out);
    buf_printf(out, "%s:", s->op);
    for (int i = 0; i < s->n; i++)
        buf_printf(out, "%s%s=%" PRId64, i ? "," : "", s->key[i].name, s->key[i].v);
    buf_puts(out, s->words);
}

/* ---- traits ---------------------------------------------------------------------------------- */

enum { RESTS = 64 };
struct rests { /* loops that stem from a split which leaves a rest */
    const char *name[RESTS];
    int n;
};

static bool has_rest(const struct rests *r, const char *name)
{
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->name[i], name) == 0) return true;
    return false;
}

static void note_split(const struct nest *n, const struct step *s, struct rests *r,
                       struct e2e_traits *out)
{
    int64_t lo = 0, hi = 0, factor = strtoll(s->arg[1], NULL, 10);
    struct stmt *loop = nest_loop(n, s->arg[0]);
    bool rest = !loop || !expr_is_int(loop->u.loop.lo, &lo) || !expr_is_int(loop->u.loop.hi, &hi) ||
                (hi - lo) % factor != 0;
    out->tail |= rest;
    if (!rest && !has_rest(r, s->arg[0])) return;
    for (int i = 3; i < 5 && r->n < RESTS; i++) r->name[r->n++] = s->arg[i];
}

void e2e_traits_of(const struct task *task, const struct trace *t, struct e2e_traits *out)
{
    struct ir *ir = ir_new();
    struct nest *n;
    struct rests rests = {.n = 0};
    struct rejection why;
    char params[256] = "";
    memset(out, 0, sizeof *out);
    for (int i = 0, at = 0; i < t->nparam; i++)
        at += snprintf(params + at, sizeof params - (size_t)at, "%s%s", i ? " " : "", t->param[i]);
    if (dsl_lower(ir, task, t->algorithm, params, &n, NULL) == RC_OK)
        for (int i = 0; i < t->n; i++) {
            const struct step *s = &t->step[i];
            if (s->prim == PRIM_SPLIT) note_split(n, s, &rests, out);
            out->vectorized |= s->prim == PRIM_VECTORIZE;
            out->vector_tail |= s->prim == PRIM_VECTORIZE && has_rest(&rests, s->arg[0]);
            out->packed |= s->prim == PRIM_PACK;
            out->cached |= s->prim == PRIM_CACHE;
            out->parallel |= s->prim == PRIM_PARALLEL;
            out->unrolled |= s->prim == PRIM_UNROLL;
            if (sched_apply_step(n, s, &why) != RC_OK) break;
        }
    ir_free(ir);
}

/* ---- the table ------------------------------------------------------------------------------- */

struct e2e_space e2e_total(const struct e2e_stats *s)
{
    struct e2e_space t = {.name = "all"};
    for (int i = 0; i < s->nspace; i++) {
        const struct e2e_space *p = &s->space[i];
        t.drawn += p->drawn;
        t.refused += p->refused;
        t.kept += p->kept;
        t.vectorized += p->vectorized;
        t.tail += p->tail;
        t.vector_tail += p->vector_tail;
        t.packed += p->packed;
        t.cached += p->cached;
        t.padded += p->padded;
    }
    return t;
}

static void print_row(const struct e2e_space *p)
{
    double kept = p->kept ? 100.0 / (double)p->kept : 0;
    printf("%-28s %6" PRId64 " %6.1f%% %6" PRId64
           " %7.1f%% %7.1f%% %7.1f%% %7.1f%% %7.1f%% %7.1f%%\n",
           p->name, p->drawn, p->drawn ? 100.0 * (double)p->refused / (double)p->drawn : 0, p->kept,
           kept * (double)p->vectorized, kept * (double)p->tail, kept * (double)p->vector_tail,
           kept * (double)p->packed, kept * (double)p->cached, kept * (double)p->padded);
}

void e2e_print(const struct e2e_stats *s)
{
    struct e2e_space total = e2e_total(s);
    printf("%-28s %6s %7s %6s %8s %8s %8s %8s %8s %8s\n", "space", "drawn", "refused", "run",
           "vector", "vec+tail", "in lanes", "packed", "cached", "padded");
    for (int i = 0; i < s->nspace; i++) print_row(&s->space[i]);
    print_row(&total);
    printf("%" PRId64 " tasks (%" PRId64 " with fewer than %d legal schedules); %.1f s: drawing "
           "%.1f, waiting for the compiler %.1f, verifying %.1f\n",
           s->tasks, s->thin, E2E_EACH, (double)s->stages_ns[3] / 1e9,
           (double)s->stages_ns[0] / 1e9, (double)s->stages_ns[1] / 1e9,
           (double)s->stages_ns[2] / 1e9);
    if (s->ncode) printf("refused:");
    for (int i = 0; i < s->ncode; i++) printf(" %s %" PRId64, s->code[i].code, s->code[i].n);
    printf("\n");
}
