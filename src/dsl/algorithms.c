/* algorithms: which ones a task may use, and their parameters with defaults and choices.
 *
 *     conv2d 3x3 stride 1  ->  direct; winograd(m = 4 in {2, 4, 6}, points = 0:1:-1:...) */
#include <string.h>

#include "dsl/ast.h"

static bool fill(struct scope_values *s, const struct algorithm *al, struct algo *out)
{
    *out = (struct algo){.name = al->name};
    int scope = s->n;
    bool ok = true;
    for (int i = 0; i < al->nparam && ok; i++) {
        const struct item *p = al->param[i];
        struct algo_param *q = &out->param[out->nparam++];
        q->name = p->name;
        ok = eval_fixed(s, p->def, "a parameter of an algorithm", &q->def);
        for (int k = 0; k < p->nname && ok; k++)
            q->choice[q->nchoice++] = value_symbol(p->names[k]);
        for (int k = 0; k < p->nchoice && ok; k++)
            ok = eval_value(s, p->choice[k], &q->choice[q->nchoice++]);
        ok = ok && scope_put(s, p->name, q->def, false, NULL); /* later defaults may depend on it */
    }
    s->n = scope;
    return ok;
}

bool bind_algorithms(struct scope_values *s)
{
    for (int i = 0; i < s->op->nalgorithm; i++) {
        const struct algorithm *al = s->op->algorithm[i];
        struct algo one;
        bool legal = false;
        if (eval_cond(s, al->when, &legal) && (!legal || fill(s, al, &one))) continue;
        if (strcmp(s->e->code, "dsl.dyn") == 0) return false;
        err_clear(s->e);
    }
    return true;
}

int task_algorithms(const struct task *t, struct algo *out, int max)
{
    struct arena *a = t->arena; /* lists of defaults live as long as the task */
    struct err ignored = {0};
    struct scope_values *s = ARENA_NEW(a, struct scope_values);
    int n = 1;
    task_scope(s, t, a, &ignored);
    if (max > 0) out[0] = (struct algo){.name = "direct"};
    for (int i = 0; i < t->op->nalgorithm; i++) {
        struct algo one;
        bool legal = false;
        if (!eval_cond(s, t->op->algorithm[i]->when, &legal) || !legal ||
            !fill(s, t->op->algorithm[i], &one))
            continue;
        if (n < max) out[n] = one;
        n++;
    }
    return n;
}
