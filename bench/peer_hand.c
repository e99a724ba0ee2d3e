/* peers hand-gcc, hand-clang, hand-clang-mvec: a C file of the user's (--hand FILE.c) that does the
 * task for its shape, `void hand(void *const *buf)`, compiled as hard as the compiler can. The task's
 * integers are macros: -DTASK_M=384 for M=384. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/proc.h"
#include "compare.h"

typedef void hand_fn(void *const *buf);

struct hand {
    void *lib;
    hand_fn *run;
    void **buf;
};

static void hand_run(void *state)
{
    struct hand *s = state;
    s->run(s->buf);
}

static void hand_fini(void *state)
{
    struct hand *s = state;
    dlclose(s->lib);
    mem_free(s);
}

static bool open_hand(struct bench_task *t, const char *name, const char *cc, const char *flag,
                      struct entry *out, char *why)
{
    enum { FIXED = 11 };
    static char macro[TASK_KEYS][64];
    const struct task *task = t->w->task;
    char so[128], *text = NULL;
    int code = 1;
    if (!t->hand) return snprintf(why, 200, "no --hand FILE.c"), false;
    snprintf(so, sizeof so, "%s/%s.so", t->dir, name);
    const char *argv[FIXED + TASK_KEYS + 1] = {
        cc,   "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", flag,
        "-o", so,    t->hand,         "-lm"};
    for (int i = 0, n = FIXED; i < task->nkey; i++) {
        int64_t v;
        if (!task_int(task, task->key[i].name, &v)) continue;
        snprintf(macro[i], sizeof macro[i], "-DTASK_%.30s=%" PRId64, task->key[i].name, v);
        argv[n++] = macro[i];
    }
    bool ok = proc_run(argv, NULL, 60000, 1 << 16, &text, &code, NULL) == RC_OK && code == 0;
    if (!ok) snprintf(why, 200, "%s: %.150s", cc, text ? text : "did not start");
    mem_free(text);
    if (!ok) return false;
    struct hand *s = mem_new(sizeof *s);
    s->buf = t->buf;
    s->lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
    s->run = s->lib ? (hand_fn *)(uintptr_t)dlsym(s->lib, "hand") : NULL;
    if (!s->run) {
        snprintf(why, 200, "%.190s", dlerror());
        mem_free(s);
        return false;
    }
    *out = (struct entry){.name = name, .state = s, .run = hand_run, .fini = hand_fini};
    return true;
}

bool peer_hand_gcc(struct bench_task *t, struct entry *out, char *why)
{
    return open_hand(t, "hand-gcc", "gcc", "-std=c11", out, why);
}

bool peer_hand_clang(struct bench_task *t, struct entry *out, char *why)
{
    return open_hand(t, "hand-clang", "clang-19", "-std=c11", out, why);
}

bool peer_hand_mvec(struct bench_task *t, struct entry *out, char *why)
{
    return open_hand(t, "hand-clang-mvec", "clang-19", "-fveclib=libmvec", out, why);
}
