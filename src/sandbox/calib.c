/* calib: the loops, as inline assembly, because a compiler may do to C loops what it likes.
 *
 *   vfmadd231ps zmm0, zmm1, zmm8 ... zmm31     24 independent chains; 8 would hide the latency
 *
 * Invariants: accumulators start at zero and stay finite and normal; a peak is only reported for an
 * instruction set the CPU says it has. */
#include "sandbox/calib.h"

#include <stdatomic.h>

#include "base/proc.h"
#include "sandbox/futex.h"

/* clang-format off: assembly keeps its own lines */
#define R4(m, a, b, c, d) m(a) m(b) m(c) m(d)

#if defined(__x86_64__)

#define ZERO_Z(r) "vpxord %%zmm" #r ",%%zmm" #r ",%%zmm" #r "\n"
#define FMA_Z(r)  "vfmadd231ps %%zmm0,%%zmm1,%%zmm" #r "\n"
#define ALL_Z(m)          \
    R4(m, 8, 9, 10, 11)   \
    R4(m, 12, 13, 14, 15) \
    R4(m, 16, 17, 18, 19) R4(m, 20, 21, 22, 23) R4(m, 24, 25, 26, 27) R4(m, 28, 29, 30, 31)
static const float TINY = 0x1p-10f;

__attribute__((target("avx512f"))) static void fma_avx512(uint64_t reps)
{
    __asm__ volatile("vbroadcastss %1,%%zmm0\n vbroadcastss %1,%%zmm1\n" ALL_Z(
                         ZERO_Z) ".p2align 5\n1:\n" ALL_Z(FMA_Z) "dec %0\n jnz 1b\n vzeroupper\n"
                     : "+r"(reps)
                     : "m"(TINY)
                     : "xmm0", "xmm1", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                       "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",
                       "xmm31", "cc");
}

#define ZERO_Y(r) "vxorps %%ymm" #r ",%%ymm" #r ",%%ymm" #r "\n"
#define FMA_Y(r)  "vfmadd231ps %%ymm0,%%ymm1,%%ymm" #r "\n"
#define ALL_Y(m)  R4(m, 4, 5, 6, 7) R4(m, 8, 9, 10, 11) R4(m, 12, 13, 14, 15)

__attribute__((target("avx2,fma"))) static void fma_avx2(uint64_t reps)
{
    __asm__ volatile("vbroadcastss %1,%%ymm0\n vbroadcastss %1,%%ymm1\n" ALL_Y(
                         ZERO_Y) ".p2align 5\n1:\n" ALL_Y(FMA_Y)
                         ALL_Y(FMA_Y) "dec %0\n jnz 1b\n vzeroupper\n"
                     : "+r"(reps)
                     : "m"(TINY)
                     : "xmm0", "xmm1", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc");
}

#define ZERO_X(r) "xorps %%xmm" #r ",%%xmm" #r "\n"
#define MUL_X(r)  "mulps %%xmm0,%%xmm" #r "\n"
#define ADD_X(r)  "addps %%xmm1,%%xmm" #r "\n"

static void fma_sse(uint64_t reps)
{
    __asm__ volatile("movss %1,%%xmm0\n shufps $0,%%xmm0,%%xmm0\n movaps %%xmm0,%%xmm1\n" R4(
                         ZERO_X, 2, 3, 4, 5) R4(ZERO_X, 6, 7, 8, 9)
                         R4(ZERO_X, 10, 11, 12, 13) ".p2align 5\n1:\n" R4(MUL_X, 2, 3, 4, 5)
                             R4(ADD_X, 8, 9, 10, 11) R4(MUL_X, 6, 7, 2, 3)
                                 R4(ADD_X, 12, 13, 8, 9) "dec %0\n jnz 1b\n"
                     : "+r"(reps)
                     : "m"(TINY)
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "cc");
}

#define READ_LOOP(reg, width)                                                       \
    "1:\n"                                                                          \
    "vmovups 0*" #width "(%0),%%" #reg "0\n vmovups 1*" #width "(%0),%%" #reg "1\n" \
    "vmovups 2*" #width "(%0),%%" #reg "2\n vmovups 3*" #width "(%0),%%" #reg "3\n" \
    "vmovups 4*" #width "(%0),%%" #reg "4\n vmovups 5*" #width "(%0),%%" #reg "5\n" \
    "vmovups 6*" #width "(%0),%%" #reg "6\n vmovups 7*" #width "(%0),%%" #reg "7\n" \
    "add $8*" #width ",%0\n cmp %1,%0\n jb 1b\n vzeroupper\n"
#define READ_CLOBBER "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "cc", "memory"

__attribute__((target("avx512f"))) static void read_avx512(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    __asm__ volatile(READ_LOOP(zmm, 64) : "+r"(p) : "r"(end) : READ_CLOBBER);
}
__attribute__((target("avx"))) static void read_avx(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    __asm__ volatile(READ_LOOP(ymm, 32) : "+r"(p) : "r"(end) : READ_CLOBBER);
}
static void read_sse(const uint8_t *p, size_t n)
{
    for (const uint8_t *end = p + n; p < end; p += 64)
        __asm__ volatile("movups (%0),%%xmm0\n movups 16(%0),%%xmm1\n"
                         "movups 32(%0),%%xmm2\n movups 48(%0),%%xmm3\n" ::"r"(p)
                         : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
}

static bool has_avx512(void) { return __builtin_cpu_supports("avx512f"); }
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool always(void) { return true; }

static const struct calib_isa ISAS[] = {
    {"avx512", has_avx512, fma_avx512, 24 * 16 * 2, read_avx512},
    {"avx2", has_avx2, fma_avx2, 24 * 8 * 2, read_avx},
    {"sse", always, fma_sse, 16 * 4, read_sse},
};

static void add_chain(uint64_t n)
{
    uint64_t a = 0, b = 1;
    __asm__ volatile(".p2align 5\n1:\n"
                     ".rept 64\n add %2,%1\n .endr\n dec %0\n jnz 1b\n"
                     : "+r"(n), "+r"(a)
                     : "r"(b)
                     : "cc");
}

#elif defined(__aarch64__)

#define ZERO_V(r) "movi v" #r ".4s,#0\n"
#define FMA_V(r)  "fmla v" #r ".4s,v0.4s,v1.4s\n"
#define ALL_V(m)          \
    R4(m, 8, 9, 10, 11)   \
    R4(m, 12, 13, 14, 15) \
    R4(m, 16, 17, 18, 19) R4(m, 20, 21, 22, 23) R4(m, 24, 25, 26, 27) R4(m, 28, 29, 30, 31)

static void fma_neon(uint64_t reps)
{
    __asm__ volatile("fmov v0.4s,#0.125\n fmov v1.4s,#0.125\n" ALL_V(ZERO_V) "1:\n" ALL_V(
                         FMA_V) "subs %0,%0,#1\n b.ne 1b\n"
                     : "+r"(reps)
                     :
                     : "v0", "v1", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",
                       "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",
                       "v28", "v29", "v30", "v31", "cc");
}
static void read_neon(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    __asm__ volatile(
        "1:\n ldp q0,q1,[%0]\n ldp q2,q3,[%0,#32]\n ldp q4,q5,[%0,#64]\n ldp q6,q7,[%0,#96]\n"
        "add %0,%0,#128\n cmp %0,%1\n b.lo 1b\n"
        : "+r"(p)
        : "r"(end)
        : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "cc", "memory");
}
static bool always(void) { return true; }
static const struct calib_isa ISAS[] = {{"neon", always, fma_neon, 24 * 4 * 2, read_neon}};

static void add_chain(uint64_t n)
{
    uint64_t a = 0, b = 1;
    __asm__ volatile("1:\n .rept 64\n add %1,%1,%2\n .endr\n subs %0,%0,#1\n b.ne 1b\n"
                     : "+r"(n), "+r"(a)
                     : "r"(b)
                     : "cc");
}

#else

/* Plain C for machines without a loop of their own: a lower bound, named so. */
static void fma_c(uint64_t reps)
{
    float a[16] = {0};
    for (uint64_t r = 0; r < reps; r++) {
        for (int i = 0; i < 16; i++) a[i] = a[i] * 0.5f + 0.25f;
        __asm__ volatile("" : "+m"(a));
    }
}
static void read_c(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i += 8) sum += *(const uint64_t *)(const void *)(p + i);
    __asm__ volatile("" ::"r"(sum));
}
static bool always(void) { return true; }
static const struct calib_isa ISAS[] = {{"c", always, fma_c, 32, read_c}};
static void add_chain(uint64_t n)
{
    for (uint64_t a = 0; n > 0; n--)
        for (int i = 0; i < 64; i++) __asm__ volatile("" : "+r"(a) : "0"(a + 1));
}

#endif

/* clang-format on */

const struct calib_isa *calib_isa_at(size_t at)
{
    for (size_t i = 0; i < QN_COUNT(ISAS); i++)
        if (ISAS[i].usable() && at-- == 0) return &ISAS[i];
    return NULL;
}

struct together {
    const struct calib_isa *isa;
    uint64_t reps;
    uint8_t *p;
    size_t bytes;
    int64_t threads;
    _Atomic int64_t arrived;
    _Atomic uint64_t slowest;
};

/* Every thread waits for all others, so a slow wake-up is not part of the time. */
static int32_t together_body(void *arg, int64_t i, int64_t worker)
{
    struct together *t = arg;
    atomic_fetch_add(&t->arrived, 1);
    while (atomic_load(&t->arrived) < t->threads) cpu_pause();
    int64_t t0 = clock_ns();
    if (t->p) {
        for (uint64_t r = 0; r < t->reps; r++) t->isa->read(t->p + (size_t)i * t->bytes, t->bytes);
    } else {
        t->isa->fma(t->reps);
    }
    uint64_t ns = (uint64_t)(clock_ns() - t0), seen = atomic_load(&t->slowest);
    while (ns > seen && !atomic_compare_exchange_weak(&t->slowest, &seen, ns)) {
    }
    return 0;
}

static uint64_t run_together(struct together *t, const struct par *par)
{
    t->threads = par ? par->threads : 1;
    if (par)
        par->run(par->ctx, together_body, t, t->threads);
    else
        together_body(t, 0, 0);
    uint64_t ns = atomic_load(&t->slowest);
    return ns ? ns : 1;
}

uint64_t calib_fma(const struct calib_isa *isa, const struct par *par, uint64_t reps)
{
    struct together t = {.isa = isa, .reps = reps ? reps : 1};
    return run_together(&t, par);
}

double calib_read_gbps(const struct calib_isa *isa, const struct par *par, uint8_t *p, size_t bytes,
                       uint64_t passes)
{
    struct together t = {.isa = isa, .reps = passes, .p = p, .bytes = bytes};
    uint64_t ns = run_together(&t, par);
    return (double)bytes * (double)passes * (double)t.threads / (double)ns;
}

double calib_clock_ghz(uint64_t adds)
{
    int64_t t0 = clock_ns();
    add_chain(adds / 64 + 1);
    return (double)((adds / 64 + 1) * 64) / (double)(clock_ns() - t0);
}
