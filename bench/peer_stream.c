/* peer stream: the roof that memory sets (stream.c), on the same operands. It computes nothing. */
#include <dlfcn.h>
#include <stdio.h>

#include "base/proc.h"
#include "compare.h"

enum { ARRAYS = 32 };

typedef void stream_fn(void *const *in, const int64_t *in_bytes, int nin, void *const *out,
                       const int64_t *out_bytes, int nout);

struct stream {
    void *lib;
    stream_fn *run;
    void *array[2][ARRAYS]; /* read, written */
    int64_t bytes[2][ARRAYS];
    int n[2];
};

static void stream_run(void *state)
{
    struct stream *s = state;
    s->run(s->array[0], s->bytes[0], s->n[0], s->array[1], s->bytes[1], s->n[1]);
}

static void stream_fini(void *state)
{
    struct stream *s = state;
    dlclose(s->lib);
    mem_free(s);
}

bool peer_stream(struct bench_task *t, struct entry *out, char *why)
{
    const struct task *task = t->w->task;
    if (task->ntensor > ARRAYS) return snprintf(why, 200, "too many operands"), false;
    struct stream *s = mem_new(sizeof *s);
    if (!(s->lib = bench_compile(t, "stream", why))) {
        mem_free(s);
        return false;
    }
    s->run = (stream_fn *)(uintptr_t)dlsym(s->lib, "stream");
    for (int i = 0; i < task->ntensor; i++) {
        int k = task->tensor[i].scope == SCOPE_OUT;
        s->bytes[k][s->n[k]] = task->tensor[i].bytes;
        s->array[k][s->n[k]++] = t->buf[i];
    }
    *out = (struct entry){
        .name = "stream", .state = s, .run = stream_run, .fini = stream_fini, .roof = true};
    return true;
}
