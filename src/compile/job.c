/* job: fills the wire's task from a dsl task. What "correct" means is decided here, once:
 *
 *   recipe.exact            small integers, compared bit for bit at tier 1
 *   outputs of integers     bitwise on every recipe; where sums decide, but for elements that a move of the operands
 *                           by a few units of their last place changes
 *   sums of f32 products    per-element bound 8 2^-24 sqrt(K) sqrt(sum (ab)^2) on real data
 *   everything else         rel-L2 within the task's tolerance
 *   clamped or selected     rel-L2, but not on data made to cancel */
#include "compile/job.h"

#include <math.h>
#include <string.h>

static enum arch arch_of(const struct target *t)
{
    if (strncmp(t->triple, "aarch64", 7) == 0) return ARCH_AARCH64;
    if (strncmp(t->triple, "riscv64", 7) == 0) return ARCH_RISCV64;
    if (strncmp(t->triple, "thumb", 5) == 0) return ARCH_CORTEX_M;
    if (strncmp(t->triple, "arm", 3) == 0) return ARCH_ARMV7;
    return ARCH_X86_64;
}

void job_blob(struct wire_blob *out, const struct compile_result *r, const struct target *target,
              struct arena *a)
{
    memset(out, 0, sizeof *out);
    out->arch = (uint8_t)arch_of(target);
    out->code.p = r->art.blob;
    out->code.n = (uint32_t)r->art.blob_n;
    out->kernel = (uint32_t)r->art.kernel_at;
    out->pack = r->art.pack_at;
    out->scratch_a = (uint64_t)r->art.scratch_a;
    out->scratch_b = (uint64_t)r->art.scratch_b;
    out->packed.p = ARENA_ARRAY(a, int64_t, r->npacked);
    out->packed.n = (uint32_t)r->npacked;
    memcpy(out->packed.p, r->packed_bytes, sizeof r->packed_bytes[0] * (size_t)r->npacked);
}

/* An output of so few elements may be near 0 as a whole, where its terms cancel: an error relative to its
 * norm says nothing then. */
enum { FEW_ELEMENTS = 64 };

static enum check check_of(const struct task_tensor *t, int place, const struct data_recipe *r)
{
    bool undecided = place < 64 && r->undecided >> place & 1;
    if (!dtype_is_float(t->dtype)) return undecided ? CHECK_STEEP : CHECK_BITS;
    if (t->dtype == TYPE_F32 && r->sum_of_products && !r->fractional && !r->transcendental)
        return CHECK_SUMPROD;
    bool cancels = r->depth > 1 && t->elements <= FEW_ELEMENTS;
    bool whole = t->dtype == TYPE_F32 || t->dtype == TYPE_F64;
    if (whole && (r->steep || cancels)) return CHECK_STEEP;
    return r->bent ? CHECK_MILD_L2 : CHECK_REL_L2;
}

static enum rc fill_buffer(struct wire_buffer *b, const struct task_tensor *t, int place,
                           const struct data_recipe *r, struct err *e)
{
    static const enum role role_of[] = {
        [SCOPE_IN] = ROLE_IN, [SCOPE_CONST] = ROLE_CONST, [SCOPE_OUT] = ROLE_OUT};
    enum wire_dtype dtype;
    if (!wire_dtype_find(dtype_name(t->dtype), &dtype) || dtype_bits(t->dtype) < 8)
        return err_set(e, RC_INPUT, "job.dtype", "tensor '%s': %s cannot be measured yet", t->name,
                       dtype_name(t->dtype));
    int64_t lo, hi;
    dsl_data_range(t, r, &lo, &hi);
    *b = (struct wire_buffer){
        .name = t->name,
        .role = (uint8_t)role_of[t->scope],
        .dtype = (uint8_t)dtype,
        .count = (uint64_t)t->elements,
        .bytes = (uint64_t)t->bytes,
        .int_lo = lo,
        .int_hi = hi,
        .check = (uint8_t)(t->scope == SCOPE_OUT ? check_of(t, place, r) : CHECK_BITS),
        .reduce_k = (double)i64_max(1, r->depth),
    };
    if (t->ranged && t->lo < t->hi) {
        /* of integers too: 0..1 is the one value 0, and not "no range" */
        b->real_lo = (double)t->lo;
        b->real_hi = (double)nextafterf((float)t->hi, -INFINITY);
    }
    return RC_OK;
}

enum rc job_task(struct wire_task *out, const struct task *task, const struct data_recipe *recipe,
                 const struct compile_result *reference, const struct target *target,
                 struct arena *a, struct err *e)
{
    memset(out, 0, sizeof *out);
    if (task->ntensor > WIRE_MAX_BUFFERS)
        return err_set(e, RC_INPUT, "job.buffers", "%s has %d tensors; the runner takes %d",
                       task->token, task->ntensor, WIRE_MAX_BUFFERS);
    out->token = task->token;
    out->buffers = ARENA_ARRAY(a, struct wire_buffer, task->ntensor);
    out->buffers_n = (uint32_t)task->ntensor;
    for (int i = 0; i < task->ntensor; i++) {
        enum rc rc = fill_buffer(&out->buffers[i], &task->tensor[i], i, recipe, e);
        if (rc != RC_OK) return rc;
    }
    out->dyn.p = ARENA_ARRAY(a, int64_t, task->ndyn);
    out->dyn.n = (uint32_t)task->ndyn;
    if (task->ndyn) memcpy(out->dyn.p, task->dyn, sizeof task->dyn[0] * (size_t)task->ndyn);
    job_blob(&out->ref, reference, target, a);
    out->exact = recipe->exact;
    out->tol = recipe->tol;
    return RC_OK;
}

enum rc job_recipe(const struct task *task, const char *algorithm, const char *params,
                   struct data_recipe *out, struct err *e)
{
    struct ir *ir = ir_new();
    struct nest *n;
    enum rc rc = dsl_lower(ir, task, algorithm, params, &n, e);
    if (rc == RC_OK) dsl_recipe(n, task, out);
    ir_free(ir);
    return rc;
}

enum rc job_work(const struct task *task, double *flops, double *bytes, struct err *e)
{
    struct ir *ir = ir_new();
    struct nest *n;
    enum rc rc = dsl_lower(ir, task, "direct", "", &n, e);
    if (rc == RC_OK) nest_work(n, task->dyn, flops, bytes);
    ir_free(ir);
    return rc;
}

/* ---- rows of an emitted test ----------------------------------------------------------------- */

enum { TEST_MOST = 2, QUARTERS_MOST = 64 };

/* As in verify; but small where nothing is declared, since plain loops of a compiler's own order are
 * what results are compared with. Reals that are declared in 0..1 would all be 0 as integers. */
static struct c_values test_values(const struct task_tensor *t, const struct data_recipe *r)
{
    struct c_values v = {.per = 1};
    dsl_data_range(t, r, &v.lo, &v.hi);
    if (!t->ranged) {
        v.lo = i64_max(v.lo, -TEST_MOST);
        v.hi = i64_min(v.hi, TEST_MOST);
    }
    bool small = v.lo >= -QUARTERS_MOST && v.hi < QUARTERS_MOST;
    if (t->ranged && dtype_is_float(t->dtype) && !r->exact && small)
        v = (struct c_values){4 * v.lo, 4 * v.hi + 3, 4};
    return v;
}

static struct c_row test_row(const struct task *t, const struct nest *naive, struct arena *a)
{
    struct c_values *values = ARENA_ARRAY(a, struct c_values, naive->ntensor);
    int64_t *dyn = ARENA_ARRAY(a, int64_t, t->ndyn);
    struct data_recipe r;
    int in = 0;
    dsl_recipe(naive, t, &r);
    for (int i = 0; i < naive->ntensor; i++) {
        enum scope s = naive->tensor[i]->scope;
        if (s != SCOPE_IN && s != SCOPE_CONST) continue;
        values[in++] = test_values(task_tensor(t, naive->tensor[i]->name), &r);
    }
    for (int d = 0; d < t->ndyn; d++) dyn[d] = t->dyn[d];
    return (struct c_row){dyn, values, r.exact};
}

enum rc job_test_rows(const struct task *t, const struct nest *naive, const struct check_sizes *s,
                      struct op_lib *lib, struct arena *a, struct c_options *o, struct err *e)
{
    int n = t->ndyn ? s->n : 1;
    struct c_row *row = ARENA_ARRAY(a, struct c_row, n);
    for (int i = 0; i < n; i++) {
        struct task *other = NULL;
        char *token = t->ndyn ? task_resized(t, s->dyn + i * s->ndyn) : NULL;
        enum rc rc = token ? task_parse(token, lib, NULL, &other, e) : RC_OK;
        if (rc == RC_OK) row[i] = test_row(token ? other : t, naive, a);
        task_free(other);
        mem_free(token);
        if (rc != RC_OK) return rc;
    }
    o->row = row;
    o->rows = n;
    return RC_OK;
}
