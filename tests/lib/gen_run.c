/* gen_run: a nest on made data, through the interpreter; and the table of what traces held. See
 * gen.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "lib/gen.h"
#include "sched/private.h"

/* ---- data ------------------------------------------------------------------------------------ */

static const struct expr *with_dyn(const struct nest *n, const struct expr *e, const int64_t *dyn)
{
    for (int i = 0; i < n->ndyn; i++) e = expr_subst(n->ir, e, n->dyn[i], expr_int(n->ir, dyn[i]));
    return e;
}

int64_t gen_elements(const struct nest *n, const struct tensor *t, const int64_t *dyn)
{
    int64_t v = 0;
    const struct expr *e = expr_simplify(n->ir, NULL, with_dyn(n, tensor_elements(n->ir, t), dyn));
    QN_CHECK(expr_is_int(e, &v) && v >= 0 && v < 1 << 24, "elements of %s", t->name);
    return v;
}

/* Small integers that depend on the tensor's name and the seed alone. */
void gen_fill(const struct tensor *t, uint64_t seed, uint8_t *p, int64_t elements)
{
    struct rng r;
    enum dtype d = (enum dtype)t->type.dtype;
    int size = dtype_bytes(d);
    rng_seed(&r, seed ^ hash_u64(t->name, strlen(t->name), 99));
    bool negative = dtype_is_float(d) || dtype_is_signed(d);
    for (int64_t i = 0; i < elements; i++) {
        int64_t v = rng_range(&r, negative ? -3 : 0, 3);
        float f = (float)v;
        double g = (double)v;
        if (d == TYPE_F32)
            memcpy(p + i * size, &f, 4);
        else if (d == TYPE_F64)
            memcpy(p + i * size, &g, 8);
        else
            memcpy(p + i * size, &v, (size_t)size); /* little-endian */
    }
}

/* The sign of a zero may depend on the order of a reduction. */
void gen_drop_signs(const struct tensor *t, uint8_t *p, int64_t elements)
{
    for (int64_t i = 0; i < elements; i++) {
        if (t->type.dtype == TYPE_F32 && ((float *)(void *)p)[i] == 0) ((float *)(void *)p)[i] = 0;
        if (t->type.dtype == TYPE_F64 && ((double *)(void *)p)[i] == 0)
            ((double *)(void *)p)[i] = 0;
    }
}

enum rc gen_run(const struct nest *n, uint64_t seed, const struct gen_info *info,
                struct gen_result *out, struct err *e)
{
    void **bufs = mem_new((size_t)n->ntensor * sizeof *bufs + 1);
    out->n = 0;
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        bool in = t->scope == SCOPE_IN || t->scope == SCOPE_CONST;
        if (!in && t->scope != SCOPE_OUT && t->scope != SCOPE_PACKED) continue;
        int64_t elements = gen_elements(n, t, info->dyn);
        size_t bytes = (size_t)elements * (size_t)dtype_bytes((enum dtype)t->type.dtype);
        bufs[i] = mem_new(bytes + 1);
        memset(bufs[i], 0xA5, bytes);
        if (in) gen_fill(t, seed, bufs[i], elements);
        if (t->scope == SCOPE_OUT && out->n < 4) {
            out->out[out->n].name = t->name;
            out->out[out->n].bytes = bytes;
            out->out[out->n++].p = bufs[i];
        }
    }
    enum rc rc = RC_OK;
    if (n->pack->u.block.n) rc = nest_interp(n, 1, bufs, info->dyn, 10000000, e);
    if (rc == RC_OK) rc = nest_interp(n, 0, bufs, info->dyn, 10000000, e);
    for (int i = 0; i < n->ntensor; i++)
        if (bufs[i] && n->tensor[i]->scope == SCOPE_OUT)
            gen_drop_signs(n->tensor[i], bufs[i], gen_elements(n, n->tensor[i], info->dyn));
    for (int i = 0; i < n->ntensor; i++)
        if (bufs[i] && (n->tensor[i]->scope != SCOPE_OUT || rc != RC_OK)) mem_free(bufs[i]);
    mem_free(bufs);
    if (rc != RC_OK) out->n = 0;
    return rc;
}

bool gen_same(const struct gen_result *a, const struct gen_result *b)
{
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (a->out[i].bytes != b->out[i].bytes ||
            memcmp(a->out[i].p, b->out[i].p, a->out[i].bytes) != 0)
            return false;
    return true;
}

void gen_result_free(struct gen_result *r)
{
    for (int i = 0; i < r->n; i++) mem_free(r->out[i].p);
    r->n = 0;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* split takes six rows, one a policy; the other primitives follow. */
int gen_row(const struct step *s)
{
    enum policy policy = POLICY_EXACT;
    if (s->prim != PRIM_SPLIT) return (int)s->prim + POLICY_COUNT - 1;
    policy_parse(s->arg[2], &policy);
    return (int)policy;
}

const char *gen_row_name(int row)
{
    static char name[32];
    if (row >= POLICY_COUNT) return prim_name((enum prim)(row - POLICY_COUNT + 1));
    snprintf(name, sizeof name, "split %s", policy_names[row]);
    return name;
}

void gen_count(struct gen_stats *s, const struct nest *naive, const struct gen_info *info,
               const struct trace *t)
{
    struct ir *ir = ir_new();
    struct nest *n = nest_clone(ir, naive);
    struct rejection r;
    s->cases++;
    s->steps += t->n;
    s->length[t->n < 63 ? t->n : 63]++;
    for (int i = 0; i < t->n; i++) {
        const struct step *step = &t->step[i];
        int row = gen_row(step);
        int64_t extent = 0;
        if (step->prim == PRIM_SPLIT) {
            struct stmt *loop = nest_loop(n, step->arg[0]);
            s->splits++;
            if (!loop || !loop_extent(loop, &extent) ||
                extent % strtoll(step->arg[1], NULL, 10) != 0)
                s->imperfect++;
        }
        s->by_stages[row][info->stages]++;
        s->by_rank[row][info->rank]++;
        s->by_dtype[row][info->dtype]++;
        for (int k = 0; k < GEN_REDUCES; k++) s->by_reduce[row][k] += info->reduces[k];
        s->by_reduce[row][GEN_REDUCES] += !info->reduction;
        if (sched_apply_step(n, step, &r) != RC_OK) break;
    }
    ir_free(ir);
}

static int median_length(const struct gen_stats *s)
{
    int64_t seen = 0;
    for (int i = 0; i < 64; i++)
        if ((seen += s->length[i]) * 2 >= s->cases) return i;
    return 63;
}

static void print_cells(const int64_t *cell, int n, const bool *show)
{
    for (int i = 0; i < n; i++)
        if (!show || show[i]) printf(" %6" PRId64, cell[i]);
}

void gen_print(const struct gen_stats *s)
{
    static const char *const kinds[] = {"sum",    "prod",   "max",  "min", "any",
                                        "argmax", "argmin", "user", "none"};
    bool used[TYPE_COUNT] = {false};
    for (int r = 0; r < GEN_ROWS; r++)
        for (int d = 0; d < TYPE_COUNT; d++) used[d] |= s->by_dtype[r][d] > 0;
    printf("%-14s stages", "");
    for (int i = 1; i <= GEN_STAGES; i++) printf(" %6d", i);
    printf("  rank");
    for (int i = 1; i < GEN_RANKS; i++) printf(" %6d", i);
    for (int i = 0; i < TYPE_COUNT; i++)
        if (used[i]) printf(" %6s", dtype_name((enum dtype)i));
    for (int i = 0; i <= GEN_REDUCES; i++) printf(" %6s", kinds[i]);
    printf("\n");
    for (int r = 0; r < GEN_ROWS; r++) {
        printf("%-14s       ", gen_row_name(r));
        print_cells(s->by_stages[r] + 1, GEN_STAGES, NULL);
        printf("      ");
        print_cells(s->by_rank[r] + 1, GEN_RANKS - 1, NULL);
        print_cells(s->by_dtype[r], TYPE_COUNT, used);
        print_cells(s->by_reduce[r], GEN_REDUCES + 1, NULL);
        printf("\n");
    }
    printf("cases %" PRId64 ", median steps %d, splits %" PRId64
           " (%.0f %% imperfect), proposals %" PRId64 " (%.0f %% refused)\n",
           s->cases, median_length(s), s->splits,
           100.0 * (double)s->imperfect / (double)i64_max(1, s->splits), s->proposals,
           100.0 * (double)s->refused / (double)i64_max(1, s->proposals));
    printf("refused but fine: %" PRId64 " of %" PRId64 " overlap refusals forced;", s->fine,
           s->forced);
    for (int i = 0; i < REJECT_COUNT; i++)
        if (s->code[i]) printf(" %s %" PRId64, reject_name((enum reject)i), s->code[i]);
    printf("\n");
}
