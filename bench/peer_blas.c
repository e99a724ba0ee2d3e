/* peer openblas: cblas_sgemm for plain matmul tasks. */
#include <stdio.h>
#include <string.h>

#include "compare.h"

#ifdef HAVE_OPENBLAS
#include <cblas.h>

struct blas_state {
    int m, n, k;
    const float *a, *b;
    float *y;
};

static void blas_run(void *state)
{
    struct blas_state *s = state;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, s->m, s->n, s->k, 1, s->a, s->k, s->b,
                s->n, 0, s->y, s->n);
}

bool peer_openblas(struct bench_task *t, struct entry *out, char *why)
{
    const struct task *k = t->w->task;
    int64_t m, n, d;
    if (strcmp(operator_name(k->op), "matmul") != 0 || k->ntensor != 3 || !task_int(k, "M", &m) ||
        !task_int(k, "N", &n) || !task_int(k, "K", &d) || k->tensor[0].elements != m * d ||
        k->tensor[1].elements != d * n)
        return snprintf(why, 200, "only plain f32 matmul"), false;
    struct blas_state *s = mem_new(sizeof *s);
    *s = (struct blas_state){(int)m, (int)n, (int)d, t->buf[0], t->buf[1], t->buf[2]};
    *out = (struct entry){.name = "openblas", .state = s, .run = blas_run, .fini = mem_free};
    return true;
}
#else
bool peer_openblas(struct bench_task *t, struct entry *out, char *why)
{
    (void)t, (void)out;
    return snprintf(why, 200, "built without libopenblas-dev"), false;
}
#endif
