/* sizes: see sizes.h. A split by f of a loop that moves s elements of the axis a step makes blocks of
 * s*f elements. */
#include "compile/sizes.h"

#include <stdlib.h>
#include <string.h>

enum { AXES = 128, SIZES = 48, BLOCK_MOST = 4096 };

struct axis { /* a loop along a dynamic extent */
    const char *name;
    int dyn;
    int64_t step;
};

struct finder {
    const struct task *t;
    const struct nest *naive;
    struct axis axis[AXES];
    int naxis;
    int64_t size[TASK_KEYS][SIZES];
    int nsize[TASK_KEYS];
};

static void add_axis(struct finder *f, const char *name, int dyn, int64_t step)
{
    if (f->naxis < AXES) f->axis[f->naxis++] = (struct axis){name, dyn, step};
}

static void add_size(struct finder *f, int dyn, int64_t size)
{
    if (size < 0 || size > i64_max(BLOCK_MOST, f->t->dyn[dyn]) || size == f->t->dyn[dyn]) return;
    for (int i = 0; i < f->nsize[dyn]; i++)
        if (f->size[dyn][i] == size) return;
    if (f->nsize[dyn] < SIZES) f->size[dyn][f->nsize[dyn]++] = size;
}

static void add_around(struct finder *f, int dyn, int64_t size)
{
    for (int64_t d = -1; d <= 1; d++) add_size(f, dyn, size + d);
}

static bool look_loop(struct stmt *s, void *ctx)
{
    struct finder *f = ctx;
    const struct expr *hi = s->kind == ST_FOR ? s->u.loop.hi : NULL;
    for (int d = 0; hi && hi->op == OP_VAR && d < f->naive->ndyn; d++)
        if (hi->u.var == f->naive->dyn[d]) add_axis(f, s->u.loop.var->name, d, 1);
    return true;
}

/* split LOOP FACTOR [TAIL] OUTER INNER */
static void look_split(struct finder *f, const struct step *s)
{
    int64_t factor = s->n >= 4 ? strtoll(s->arg[1], NULL, 10) : 0;
    for (int i = 0; i < f->naxis && factor > 0; i++) {
        struct axis a = f->axis[i];
        int64_t block;
        if (strcmp(a.name, s->arg[0]) != 0) continue;
        if (__builtin_mul_overflow(a.step, factor, &block) || block > BLOCK_MOST) return;
        add_axis(f, s->arg[s->n - 2], a.dyn, block);
        add_axis(f, s->arg[s->n - 1], a.dyn, a.step);
        if (factor > 1) add_around(f, a.dyn, block);
        return;
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void add_row(struct check_sizes *out, const int64_t *base, int which, int64_t size)
{
    int64_t *row = out->dyn + out->n++ * out->ndyn;
    memcpy(row, base, (size_t)out->ndyn * sizeof *row);
    for (int d = 0; d < out->ndyn; d++)
        if (which < 0 || d == which) row[d] = size;
}

static bool accepted(const struct task *t, struct op_lib *lib, const int64_t *dyn)
{
    struct task *other = NULL;
    struct err e = {0};
    char *token = task_resized(t, dyn);
    bool ok = task_parse(token, lib, NULL, &other, &e) == RC_OK;
    if (ok) task_free(other);
    mem_free(token);
    return ok;
}

static void drop_refused(const struct task *t, struct op_lib *lib, struct check_sizes *out)
{
    int kept = 0;
    for (int i = 0; i < out->n; i++) {
        const int64_t *row = out->dyn + i * out->ndyn;
        if (!accepted(t, lib, row)) continue;
        memmove(out->dyn + kept++ * out->ndyn, row, (size_t)out->ndyn * sizeof *row);
    }
    out->n = kept;
}

void check_sizes(const struct task *t, const struct nest *naive, const struct trace *trace,
                 int lanes, struct op_lib *lib, struct arena *a, struct check_sizes *out)
{
    struct finder *f = mem_new(sizeof *f);
    *out = (struct check_sizes){.ndyn = t->ndyn};
    f->t = t;
    f->naive = naive;
    stmt_walk(naive->body, look_loop, f);
    for (int d = 0; d < t->ndyn; d++) {
        add_size(f, d, 0);
        add_size(f, d, 1);
        add_around(f, d, lanes);
    }
    for (int i = 0; i < trace->n; i++)
        if (trace->step[i].prim == PRIM_SPLIT) look_split(f, &trace->step[i]);
    out->dyn = ARENA_ARRAY(a, int64_t, (3 + SIZES * t->ndyn) * t->ndyn);
    for (int64_t all = 0; all < 2 && t->ndyn > 1; all++) add_row(out, t->dyn, -1, all);
    for (int d = 0; d < t->ndyn; d++) {
        qsort(f->size[d], (size_t)f->nsize[d], sizeof f->size[d][0], by_value);
        for (int i = 0; i < f->nsize[d]; i++) add_row(out, t->dyn, d, f->size[d][i]);
    }
    if (t->ndyn) add_row(out, t->dyn, t->ndyn, 0);
    if (lib) drop_refused(t, lib, out);
    mem_free(f);
}
