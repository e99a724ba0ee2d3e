/* A nest and its kernel, run side by side by the interpreter.
 *
 *   lower_agrees(n, &c, &e)   lowers a copy of n, fills two sets of buffers alike, runs pack and
 *                             kernel of both, compares OUT and PACKED tensors
 *
 * Invariants: inputs are integers in -3..3, so sums are exact in any order; outputs start as
 * 0xA5. */
#include "lib/lower_run.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/compare.h"
#include "base/rng.h"

enum { STEPS = 50000000 };

struct target lower_target(bool masks)
{
    return (struct target){.vector_bits = 512,
                           .vregs = 32,
                           .fma = 1,
                           .masks = masks,
                           .stack_limit = 16384,
                           .scratch_limit = 1 << 28};
}

struct nest *lower_parse(struct ir *ir, const char *text)
{
    struct nest *n = NULL;
    struct err e = {0};
    enum rc rc = nest_parse(ir, "test", text, strlen(text), &n, &e);
    ck_assert_msg(rc == RC_OK, "%s", e.msg);
    return n;
}

static bool outside(enum scope s)
{
    return s == SCOPE_IN || s == SCOPE_CONST || s == SCOPE_OUT || s == SCOPE_PACKED;
}

static int64_t value_of(const struct nest *n, const struct expr *e, const int64_t *dyn)
{
    struct ir *ir = n->ir;
    for (int i = 0; i < n->ndyn; i++) e = expr_subst(ir, e, n->dyn[i], expr_int(ir, dyn[i]));
    e = expr_simplify(ir, NULL, e);
    int64_t v = 0;
    QN_CHECK(expr_is_int(e, &v), "an extent is not constant");
    return v;
}

static void fill(void *p, enum dtype d, int64_t i, struct rng *r)
{
    int64_t v = rng_range(r, -3, 3);
    float f = (float)v;
    double g = (double)v;
    switch (d) {
    case TYPE_F64:
        memcpy((double *)p + i, &g, 8);
        break;
    case TYPE_F32:
        memcpy((float *)p + i, &f, 4);
        break;
    case TYPE_F16:
        ((uint16_t *)p)[i] = (uint16_t)(v == 0 ? 0 : v > 0 ? 0x3c00 : 0xbc00);
        break;
    case TYPE_BF16:
        ((uint16_t *)p)[i] = (uint16_t)(v == 0 ? 0 : v > 0 ? 0x3f80 : 0xbf80);
        break;
    case TYPE_B1:
        ((uint8_t *)p)[i] = v > 0;
        break;
    case TYPE_S4:
        ((int8_t *)p)[i] = (int8_t)v;
        break;
    case TYPE_U4:
        ((uint8_t *)p)[i] = (uint8_t)(v + 3);
        break;
    default:
        v = dtype_is_signed(d) ? v : v + 3;
        memcpy((char *)p + i * dtype_bytes(d), &v, (size_t)dtype_bytes(d));
    }
}

void **lower_buffers(const struct nest *n, const int64_t *dyn, uint64_t seed, int64_t *bytes)
{
    struct rng r;
    void **bufs = mem_new((size_t)(n->ntensor + 1) * sizeof *bufs);
    rng_seed(&r, seed);
    for (int i = 0; i < n->ntensor; i++) {
        const struct tensor *t = n->tensor[i];
        if (!outside(t->scope)) continue;
        int64_t count = value_of(n, tensor_elements(n->ir, t), dyn);
        int64_t size = count * dtype_bytes((enum dtype)t->type.dtype);
        if (bytes) bytes[i] = size;
        bufs[i] = mem_new((size_t)size + 64);
        memset(bufs[i], 0xA5, (size_t)size + 64);
        bool given = t->scope == SCOPE_IN || t->scope == SCOPE_CONST;
        for (int64_t k = 0; given && k < count; k++)
            fill(bufs[i], (enum dtype)t->type.dtype, k, &r);
    }
    return bufs;
}

void lower_buffers_free(const struct nest *n, void **bufs)
{
    for (int i = 0; i < n->ntensor; i++) mem_free(bufs[i]);
    mem_free(bufs);
}

static enum rc run_both(const struct nest *n, void **bufs, const int64_t *dyn, struct err *e)
{
    enum rc rc = n->pack->u.block.n ? nest_interp(n, 1, bufs, dyn, STEPS, e) : RC_OK;
    return rc == RC_OK ? nest_interp(n, 0, bufs, dyn, STEPS, e) : rc;
}

static bool same_output(const struct tensor *t, const void *got, const void *want, int64_t bytes,
                        double tol, struct err *why)
{
    struct compare c = {.mode = tol > 0 ? CMP_REL_L2 : CMP_BITS, .tol = tol};
    if (t->type.dtype == TYPE_F32)
        compare_f32(&c, got, want, NULL, bytes / 4);
    else if (t->type.dtype == TYPE_F64)
        compare_f64(&c, got, want, NULL, bytes / 8);
    else
        compare_raw(&c, got, want, 1, bytes);
    if (c.bad == 0) return true;
    err_set(why, RC_MISMATCH, "mismatch", "%s: %lld bad, worst at %lld, error %g", t->name,
            (long long)c.bad, (long long)c.worst_at, c.max_err);
    return false;
}

static void keep_dump(void *ctx, const char *pass, const struct nest *n)
{
    struct lower_case *c = ctx;
    if (c->dump && c->dump_pass && strcmp(pass, c->dump_pass) == 0) nest_print(c->dump, n);
}

bool lower_agrees(const struct nest *n, struct lower_case *c, struct err *why)
{
    c->ir = ir_new();
    struct nest *k = nest_clone(c->ir, n);
    struct lower_options o = {.verify_each = true,
                              .dump = keep_dump,
                              .dump_ctx = c,
                              .dyn = c->dyn,
                              .phases = c->phases,
                              .reproducible = c->reproducible};
    if (lower(k, &c->target, &o, &c->kernel, why) != RC_OK) return false;
    if (c->dump && c->dump_pass && strcmp(c->dump_pass, "kernel") == 0) nest_print(c->dump, k);
    int64_t *bytes = mem_new((size_t)(n->ntensor + 1) * sizeof *bytes);
    void **want = lower_buffers(n, c->dyn, c->seed + 1, bytes),
         **got = lower_buffers(n, c->dyn, c->seed + 1, NULL);
    bool ok = run_both(n, want, c->dyn, why) == RC_OK;
    if (!ok) snprintf(why->code, sizeof why->code, "scheduled");
    ok = ok && run_both(k, got, c->dyn, why) == RC_OK;
    for (int i = 0; i < n->ntensor && ok; i++) {
        const struct tensor *t = n->tensor[i];
        if (t->scope == SCOPE_OUT || t->scope == SCOPE_PACKED)
            ok = same_output(t, got[i], want[i], bytes[i], c->tol, why);
    }
    lower_buffers_free(n, want);
    lower_buffers_free(n, got);
    mem_free(bytes);
    return ok;
}

void lower_same(const char *text, struct lower_case *c)
{
    struct ir *ir = ir_new();
    struct nest *n = lower_parse(ir, text);
    struct err e = {0};
    bool ok = nest_verify(n, NEST_SCHEDULED, &e) == RC_OK && lower_agrees(n, c, &e);
    ck_assert_msg(ok, "%s: %s", e.code, e.msg);
    ir_free(ir);
}

void lower_both(const char *text)
{
    for (int masks = 0; masks < 2; masks++) {
        struct lower_case c = {.target = lower_target(masks)};
        lower_same(text, &c);
        lower_case_free(&c);
    }
}

void lower_case_free(struct lower_case *c)
{
    ir_free(c->ir);
    c->ir = NULL;
}

void lower_golden_within(const char *pass, const char *text, const char *want, double tol)
{
    struct buf b;
    struct lower_case c = {.target = lower_target(true), .tol = tol};
    buf_init(&b, 1 << 20);
    c.dump = &b;
    c.dump_pass = pass;
    lower_same(text, &c);
    ck_assert_str_eq(b.p, want);
    buf_fini(&b);
    lower_case_free(&c);
}

void lower_golden(const char *pass, const char *text, const char *want)
{
    lower_golden_within(pass, text, want, 0);
}
