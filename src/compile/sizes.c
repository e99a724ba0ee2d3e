/* sizes: see sizes.h. A step of a loop moves num/den elements along a dynamic extent; split by f it
 * makes blocks of num*f/den, fused with a loop of k iterations inside it moves num/(den*k). */
#include "compile/sizes.h"

#include <stdlib.h>
#include <string.h>

#include "compile/compile_int.h"

enum { AXES = 128, SIZES = 48, BLOCK_MOST = 4096, HOLES_MOST = 64 };

struct axis { /* a loop */
    const char *name;
    int dyn;          /* the extent it runs along, -1: none that is dynamic */
    int64_t n;        /* then its iterations */
    int64_t num, den; /* else what a step moves */
    int64_t more;     /* and how many iterations it has beyond that extent */
};

struct finder {
    const struct task *t;
    const struct nest *naive;
    struct axis axis[AXES];
    int naxis;
    int64_t size[TASK_KEYS][SIZES];
    int nsize[TASK_KEYS];
};

static void add_axis(struct finder *f, struct axis a, const char *name)
{
    a.name = name;
    if (f->naxis < AXES) f->axis[f->naxis++] = a;
}

static const struct axis *axis_of(const struct finder *f, const char *name)
{
    for (int i = f->naxis; i-- > 0;)
        if (strcmp(f->axis[i].name, name) == 0) return &f->axis[i];
    return NULL;
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

/* Around what `steps` of the loop make. */
static void add_block(struct finder *f, const struct axis *a, int64_t steps)
{
    int64_t block;
    if (__builtin_mul_overflow(a->num, steps, &block) || block / a->den > BLOCK_MOST) return;
    if (block / a->den > 1) add_around(f, a->dyn, block / a->den - a->more);
    if (block % a->den) add_around(f, a->dyn, block / a->den + 1 - a->more);
}

static bool look_loop(struct stmt *s, void *ctx)
{
    struct finder *f = ctx;
    struct axis a = {.dyn = -1, .num = 1, .den = 1};
    struct linear l;
    if (s->kind != ST_FOR) return true;
    if (!linear_of(s->u.loop.hi, &l) || l.n > 1) return true;
    for (int d = 0; l.n == 1 && l.coef[0] == 1 && d < f->naive->ndyn; d++)
        if (l.atom[0]->op == OP_VAR && l.atom[0]->u.var == f->naive->dyn[d]) a.dyn = d;
    if (l.n == 1 && a.dyn < 0) return true;
    a.n = a.more = l.c;
    add_axis(f, a, s->u.loop.var->name);
    return true;
}

/* split LOOP FACTOR [TAIL] OUTER INNER */
static void look_split(struct finder *f, const struct step *s)
{
    int64_t factor = s->n >= 4 ? strtoll(s->arg[1], NULL, 10) : 0;
    const struct axis *of = s->n >= 4 ? axis_of(f, s->arg[0]) : NULL;
    if (!of || factor <= 0) return;
    struct axis a = *of, outer = a, inner = a;
    outer.n = (a.n + factor - 1) / factor;
    if (a.dyn < 0) inner.n = factor;
    if (a.dyn >= 0 && __builtin_mul_overflow(a.num, factor, &outer.num)) return;
    add_axis(f, outer, s->arg[s->n - 2]);
    add_axis(f, inner, s->arg[s->n - 1]);
    if (a.dyn >= 0 && factor > 1) add_block(f, &a, factor);
}

/* fuse OUTER INNER NAME */
static void look_fuse(struct finder *f, const struct step *s)
{
    const struct axis *outer = s->n == 3 ? axis_of(f, s->arg[0]) : NULL,
                      *inner = s->n == 3 ? axis_of(f, s->arg[1]) : NULL;
    if (!outer || !inner || inner->dyn >= 0 || inner->n <= 0) return;
    struct axis a = *outer;
    if (__builtin_mul_overflow(outer->dyn < 0 ? a.n : a.den, inner->n,
                               outer->dyn < 0 ? &a.n : &a.den))
        return;
    add_axis(f, a, s->arg[2]);
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
        if (which < 0 || d == which) row[d] = which < 0 ? base[d] + size : size;
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

/* The least `row[d]` in lo..hi that the operator takes (taken) or does not take, the rest of the row
 * as it is; -1: there is none. */
static int64_t first_size(const struct task *t, struct op_lib *lib, const int64_t *row, int d,
                          int64_t lo, int64_t hi, bool taken)
{
    int64_t *other = mem_new((size_t)t->ndyn * sizeof *other), found = -1;
    memcpy(other, row, (size_t)t->ndyn * sizeof *other);
    for (int64_t n = lo; n <= hi && found < 0; n++) {
        other[d] = n;
        if (accepted(t, lib, other) == taken) found = n;
    }
    mem_free(other);
    return found;
}

/* least[] is one row that the operator takes: each extent as small as the smaller ones before it
 * and the tuned ones after it allow. */
static void find_least(struct finder *f, struct op_lib *lib, struct check_sizes *out)
{
    const struct task *t = f->t;
    int64_t *row = out->least;
    memcpy(row, t->dyn, (size_t)t->ndyn * sizeof *row);
    for (int d = 0; d < t->ndyn; d++) {
        int64_t top = i64_min(t->dyn[d], BLOCK_MOST);
        int64_t n = lib ? first_size(t, lib, row, d, 0, top, true) : 0;
        row[d] = n < 0 ? t->dyn[d] : n;
        n = lib ? first_size(t, lib, t->dyn, d, 0, top, true) : 0;
        for (int64_t more = 0; n >= 0 && more < 2; more++) add_size(f, d, n + more);
    }
    for (int d = 0; d < t->ndyn; d++) {
        int64_t top = i64_min(t->dyn[d], row[d] + HOLES_MOST);
        out->refused[d] = lib ? first_size(t, lib, t->dyn, d, row[d], top, false) : -1;
    }
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
    out->least = ARENA_ARRAY(a, int64_t, t->ndyn);
    out->refused = ARENA_ARRAY(a, int64_t, t->ndyn);
    find_least(f, lib, out);
    for (int d = 0; d < t->ndyn; d++) add_around(f, d, lanes);
    for (int i = 0; i < trace->n; i++) {
        if (trace->step[i].prim == PRIM_SPLIT) look_split(f, &trace->step[i]);
        if (trace->step[i].prim == PRIM_FUSE) look_fuse(f, &trace->step[i]);
    }
    static const int blocks[] = {
        [PHASES_ONE] = 0, [PHASES_TWO] = LOWER_PHASE_BLOCK, [PHASES_OVERLAP] = 2};
    int block = blocks[compile_phases(trace)];
    for (int i = 0; i < f->naxis && block; i++)
        if (f->axis[i].dyn >= 0) add_block(f, &f->axis[i], block);
    out->dyn = ARENA_ARRAY(a, int64_t, (3 + SIZES * t->ndyn) * t->ndyn);
    for (int64_t all = 0; all < 2 && t->ndyn > 1; all++) add_row(out, out->least, -1, all);
    for (int d = 0; d < t->ndyn; d++) {
        qsort(f->size[d], (size_t)f->nsize[d], sizeof f->size[d][0], by_value);
        for (int i = 0; i < f->nsize[d]; i++) add_row(out, t->dyn, d, f->size[d][i]);
    }
    if (t->ndyn) add_row(out, t->dyn, t->ndyn, 0);
    if (lib) drop_refused(t, lib, out);
    mem_free(f);
}
