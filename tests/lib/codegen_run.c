/* codegen_run: mapping, data and comparison of codegen_run.h.
 *
 *   a buffer of 148 bytes lies at the end of a page; the next page cannot be touched
 *
 * Invariant: buffers and the interpreter's copies start equal. NaN equals NaN, whatever its
 * bits. */
#include "lib/codegen_run.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/rng.h"

static char host_cpu[64], host_features[4096];

/* LLVM-C belongs to codegen; tests ask the compiler's probe instead. */
void cgrun_host(struct target *t)
{
    memset(t, 0, sizeof *t);
#define X(field, key, def, what) t->field = def;
    TARGET_FACTS(X)
#undef X
    t->name = "test-host";
    t->triple = "x86_64-unknown-linux-gnu";
    t->abi = "";
    t->part = "test";
    __builtin_cpu_init();
    bool v4 = __builtin_cpu_supports("x86-64-v4"), v3 = __builtin_cpu_supports("x86-64-v3");
    snprintf(host_cpu, sizeof host_cpu, "%s", v4 ? "x86-64-v4" : v3 ? "x86-64-v3" : "x86-64");
    snprintf(host_features, sizeof host_features, "%s",
             v4   ? "+sse4.2,+popcnt,+avx2,+fma,+bmi,+bmi2,+f16c,+avx512f,+avx512bw,+avx512cd,+"
                    "avx512dq,+avx512vl"
             : v3 ? "+sse4.2,+popcnt,+avx2,+fma,+bmi,+bmi2,+f16c"
                  : "+sse2");
    t->cpu = host_cpu;
    t->features = host_features;
    t->fma = v3;
    t->masks = v4;
    t->vregs = v4 ? 32 : 16;
    t->vector_bits = v4 ? 512 : v3 ? 256 : 128;
}

void cgrun_open(struct cgrun *r, const char *text)
{
    memset(r, 0, sizeof *r);
    r->ir = ir_new();
    enum rc rc = nest_parse(r->ir, "test", text, strlen(text), &r->nest, &r->e);
    ck_assert_msg(rc == RC_OK, "%s\n%s", r->e.msg, text);
    ck_assert_int_le(r->nest->ntensor, CGRUN_TENSORS);
    rc = nest_verify(r->nest, NEST_KERNEL, &r->e);
    ck_assert_msg(rc == RC_OK, "%s\n%s", r->e.msg, text);
    r->k.nest = r->nest;
    cgrun_host(&r->t);
}

static void place(struct tensor *t, int64_t *at)
{
    int64_t n = 0;
    if (t->scope != SCOPE_TEMP || !expr_is_int(t->extent[0], &n)) return;
    t->scratch_at = *at;
    *at += (n * dtype_bytes(t->type.dtype) + 63) / 64 * 64;
}

static bool place_alloc(struct stmt *s, void *ctx)
{
    if (s->kind == ST_ALLOC) place(s->u.alloc.tensor, ctx);
    return true;
}

void cgrun_scratch(struct cgrun *r)
{
    int64_t at = 0;
    for (int i = 0; i < r->nest->ntensor; i++) place(r->nest->tensor[i], &at);
    stmt_walk(r->nest->body, place_alloc, &at);
    r->k.scratch_a = at;
}

enum rc cgrun_compile(struct cgrun *r, const struct codegen_options *o)
{
    struct codegen_options none = {0};
    cgrun_scratch(r);
    return codegen_llvm(&r->k, &r->t, o ? o : &none, &r->art, &r->e);
}

void cgrun_map(struct cgrun *r)
{
    size_t n = (r->art.blob_n + 4095) / 4096 * 4096;
    r->code = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(r->code != MAP_FAILED);
    memcpy(r->code, r->art.blob, r->art.blob_n);
    ck_assert_int_eq(mprotect(r->code, n, PROT_READ | PROT_EXEC), 0);
}

cgrun_kernel *cgrun_entry(struct cgrun *r, int64_t at)
{
    void *p = r->code + at;
    cgrun_kernel *k;
    memcpy(&k, &p, sizeof k);
    return k;
}

/* ---- buffers --------------------------------------------------------------------------------- */

static bool is_buffer(const struct tensor *t)
{
    return t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_OUT ||
           t->scope == SCOPE_PACKED;
}

static int64_t eval_extent(struct cgrun *r, const struct expr *e)
{
    int64_t v = 0;
    if (expr_is_int(e, &v)) return v;
    for (int i = 0; i < r->nest->ndyn; i++)
        if (e->op == OP_VAR && e->u.var == r->nest->dyn[i]) return r->dyn[i];
    if (e->op == OP_MUL) return eval_extent(r, e->a[0]) * eval_extent(r, e->a[1]);
    if (e->op == OP_ADD) return eval_extent(r, e->a[0]) + eval_extent(r, e->a[1]);
    ck_abort_msg("an extent the test cannot evaluate");
}

static uint16_t f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return (uint16_t)(u >> 16);
}

static const double awkward[] = {0,       -0.0,    0.5,  -0.5,         1.5,           2.5,
                                 -2.5,    127.5,   128,  255.5,        -129,          65504,
                                 65520,   1e9,     -1e9, 2147483648.0, -2147483904.0, 9.3e18,
                                 1.9e19,  -1e20,   1e-8, 6e-8,         3.1e-5,        0.1,
                                 1 / 3.,  -7.49,   3e38, 0.49999997,   8388609,       -8388607.5,
                                 32767.5, -32768.5};

static double pick(struct rng *g, enum cgrun_fill how)
{
    if (how == CGRUN_SMALL) return (double)rng_range(g, -4, 4);
    if (rng_chance(g, 0.5)) return awkward[rng_range(g, 0, (int64_t)QN_COUNT(awkward) - 1)];
    return (rng_unit(g) - 0.5) * pow(2, (double)rng_range(g, -20, 20));
}

static uint64_t element(struct rng *g, enum dtype d, enum cgrun_fill how)
{
    uint64_t u = 0;
    double v = pick(g, how);
    float f = (float)v;
    uint16_t h = 0;
    switch (d) {
    case TYPE_F64:
        memcpy(&u, &v, 8);
        return u;
    case TYPE_F32:
        memcpy(&u, &f, 4);
        return u;
    case TYPE_F16: {
        _Float16 x = (_Float16)(fabs(v) > 60000 ? 1.0 : v);
        memcpy(&h, &x, 2);
        return h;
    }
    case TYPE_BF16:
        return f32_to_bf16(f);
    case TYPE_B1:
        return rng_u64(g) & 1;
    default:
        break;
    }
    u = how == CGRUN_SMALL ? (uint64_t)rng_range(g, dtype_is_signed(d) ? -4 : 0, 4) : rng_u64(g);
    if (how == CGRUN_WILD && rng_chance(g, 0.3))
        u = UINT64_C(1) << (dtype_bits(d) - 1); /* the most negative */
    if (how == CGRUN_WILD && rng_chance(g, 0.1)) u = UINT64_MAX;
    if (d == TYPE_U4) return u & 15;
    if (d == TYPE_S4) return (uint64_t)((int64_t)((u & 15) ^ 8) - 8);
    return u;
}

static void *guarded(struct cgrun *r, int i, size_t n)
{
    size_t pages = (n + 4095) / 4096 * 4096 + 4096;
    uint8_t *p = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(p != MAP_FAILED);
    ck_assert_int_eq(mprotect(p + pages - 4096, 4096, PROT_NONE), 0);
    r->map[i] = p;
    r->mapped[i] = pages;
    return p + pages - 4096 - n;
}

void cgrun_fill(struct cgrun *r, enum cgrun_fill how, uint64_t seed)
{
    struct rng g;
    rng_seed(&g, seed);
    for (int i = 0; i < r->nest->ntensor; i++) {
        const struct tensor *t = r->nest->tensor[i];
        if (!is_buffer(t)) continue;
        size_t size = (size_t)dtype_bytes(t->type.dtype), n = (size_t)eval_extent(r, t->extent[0]);
        r->bytes[i] = n * size;
        r->buf[i] = guarded(r, i, r->bytes[i]);
        r->want[i] = mem_new(r->bytes[i] + 1);
        for (size_t k = 0; k < n; k++) {
            uint64_t u = t->scope == SCOPE_IN || t->scope == SCOPE_CONST
                             ? element(&g, t->type.dtype, how)
                             : 0x5555555555555555u;
            if (t->type.dtype == TYPE_B1 || dtype_bits(t->type.dtype) == 4)
                u = t->scope == SCOPE_OUT ? 0 : u;
            memcpy((uint8_t *)r->buf[i] + k * size, &u, size);
        }
        memcpy(r->want[i], r->buf[i], r->bytes[i]);
    }
    size_t scratch = (size_t)(r->k.scratch_a + r->k.scratch_b * 8);
    if (scratch) r->scratch = aligned_alloc(64, (scratch + 63) / 64 * 64);
}

void cgrun_interp(struct cgrun *r)
{
    enum rc rc = RC_OK;
    if (r->nest->pack->u.block.n) rc = nest_interp(r->nest, 1, r->want, r->dyn, 1 << 26, &r->e);
    ck_assert_msg(rc == RC_OK, "%s", r->e.msg);
    rc = nest_interp(r->nest, 0, r->want, r->dyn, 1 << 26, &r->e);
    ck_assert_msg(rc == RC_OK, "%s", r->e.msg);
}

static bool float_nan(enum dtype d, const uint8_t *p)
{
    float f = 0;
    double v = 0;
    uint16_t h = 0;
    uint32_t u = 0;
    switch (d) {
    case TYPE_F64:
        memcpy(&v, p, 8);
        return isnan(v);
    case TYPE_F32:
        memcpy(&f, p, 4);
        return isnan(f);
    case TYPE_F16:
        memcpy(&h, p, 2);
        return (h & 0x7fff) > 0x7c00;
    case TYPE_BF16:
        memcpy(&h, p, 2);
        u = (uint32_t)h << 16;
        memcpy(&f, &u, 4);
        return isnan(f);
    default:
        return false;
    }
}

int64_t cgrun_compare(struct cgrun *r)
{
    int64_t bad = 0;
    for (int i = 0; i < r->nest->ntensor; i++) {
        const struct tensor *t = r->nest->tensor[i];
        if (!is_buffer(t)) continue;
        size_t size = (size_t)dtype_bytes(t->type.dtype);
        const uint8_t *got = r->buf[i], *want = r->want[i];
        for (size_t k = 0; k < r->bytes[i]; k += size) {
            if (memcmp(got + k, want + k, size) == 0) continue;
            if (float_nan(t->type.dtype, got + k) && float_nan(t->type.dtype, want + k)) continue;
            if (bad++ >= 5) continue;
            uint64_t a = 0, b = 0;
            memcpy(&a, got + k, size);
            memcpy(&b, want + k, size);
            fprintf(stderr, "%s[%zu]: got 0x%llx, want 0x%llx\n", t->name, k / size,
                    (unsigned long long)a, (unsigned long long)b);
        }
    }
    return bad;
}

int64_t cgrun_check(struct cgrun *r, const struct par *par)
{
    if (!r->code) cgrun_map(r);
    if (r->art.pack_at >= 0)
        ck_assert_int_eq(cgrun_entry(r, r->art.pack_at)(r->buf, r->dyn, r->scratch, par), 0);
    ck_assert_int_eq(cgrun_entry(r, r->art.kernel_at)(r->buf, r->dyn, r->scratch, par), 0);
    cgrun_interp(r);
    return cgrun_compare(r);
}

void cgrun_close(struct cgrun *r)
{
    for (int i = 0; i < CGRUN_TENSORS; i++) {
        if (r->map[i]) munmap(r->map[i], r->mapped[i]);
        mem_free(r->want[i]);
    }
    if (r->code) munmap(r->code, (r->art.blob_n + 4095) / 4096 * 4096);
    free(r->scratch);
    artefact_fini(&r->art);
    ir_free(r->ir);
    memset(r, 0, sizeof *r);
}

bool cgrun_host_is_v4(void) { return __builtin_cpu_supports("x86-64-v4"); }

int cgrun_count(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word)) n++;
    return n;
}
