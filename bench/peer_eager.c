/* peer eager: delta2bbox as a chain of passes over memory (eager_delta2bbox.c), compiled with
 * clang-19 -O3 -march=native. It does mmdetection 1.x with clipping and without a limit on the
 * centre shift. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

typedef void eager_fn(const float *rois, const float *deltas, const float *max_shape, float *boxes,
                      int64_t n, int64_t c, const float *means, const float *stds, float *temps);
typedef int64_t temps_fn(int64_t n, int64_t c);

struct eager {
    void *lib;
    eager_fn *run;
    const struct task *task;
    void **buf;
    int64_t n, c;
    float means[4], stds[4], *temps;
};

static void eager_run(void *state)
{
    struct eager *s = state;
    s->run(s->buf[0], s->buf[1], s->buf[2], s->buf[3], s->n, s->c, s->means, s->stds, s->temps);
}

static void eager_fini(void *state)
{
    struct eager *s = state;
    free(s->temps);
    dlclose(s->lib);
    mem_free(s);
}

/* KEY=a:b:c:d of the token, each an integer or a fraction; false if it is something else. */
static bool list_of(const char *token, const char *key, float out[4])
{
    const char *p = strstr(token, key);
    if (!p) return true;
    p += strlen(key);
    for (int i = 0; i < 4; i++) {
        char *end;
        double v = strtod(p, &end);
        if (end == p) return false;
        if (*end == '/') v /= strtod(end + 1, &end);
        out[i] = (float)v;
        if (*end != (i < 3 ? ':' : *end)) return false;
        p = end + 1;
    }
    return true;
}

static bool open_eager(struct bench_task *t, const char *file, const char *name, struct entry *out,
                       char *why)
{
    const struct task *task = t->w->task;
    int64_t b = 0, clip = 0, n = 0, c = 0;
    const char *variant = task_symbol(task, "variant"), *layout = task_symbol(task, "layout");
    bool fits = strncmp(task->token, "delta2bbox:", 11) == 0 && task_int(task, "B", &b) &&
                task_int(task, "clip", &clip) && task_int(task, "N", &n) &&
                task_int(task, "C", &c) && b == 1 && clip && variant &&
                strcmp(variant, "v1") == 0 && layout && strcmp(layout, "boxes") == 0 &&
                !strstr(task->token, "ctr_clamp");
    if (!fits)
        return snprintf(why, 200, "does delta2bbox with variant=v1, clip=1, B=1 only"), false;
    struct eager *s = mem_new(sizeof *s);
    *s = (struct eager){.task = task, .buf = t->buf, .n = n, .c = c, .stds = {1, 1, 1, 1}};
    if (!list_of(task->token, "means=", s->means) || !list_of(task->token, "stds=", s->stds) ||
        !(s->lib = bench_compile(t, file, why))) {
        mem_free(s);
        return false;
    }
    s->run = (eager_fn *)(uintptr_t)dlsym(s->lib, "eager_delta2bbox");
    temps_fn *temps = (temps_fn *)(uintptr_t)dlsym(s->lib, "eager_delta2bbox_temps");
    size_t bytes = (size_t)temps(n, c) * sizeof(float) + 64;
    QN_CHECK(posix_memalign((void **)&s->temps, 64, bytes) == 0, "out of memory");
    memset(s->temps, 0, bytes); /* touched: no page faults are timed */
    *out = (struct entry){.name = name, .state = s, .run = eager_run, .fini = eager_fini};
    return true;
}

bool peer_eager(struct bench_task *t, struct entry *out, char *why)
{
    return open_eager(t, "eager_delta2bbox", "eager", out, why);
}

bool peer_eager_fixed(struct bench_task *t, struct entry *out, char *why)
{
    return open_eager(t, "eager_fixed_delta2bbox", "eager-fixed", out, why);
}
