/* cg_llvm: the driver. kernel -> module -> passes -> object -> flat image -> gate.
 *
 *   codegen_llvm(&k, t, &(struct codegen_options){.misched = false}, &art, &e)
 *
 * Invariants: one LLVM context a call, nothing of it survives; target machines are kept per
 * (triple, cpu, features, abi) until codegen_llvm_shutdown. The module is verified before code
 * generation, because LLVM aborts the process on what it cannot digest. The same kernel, target and
 * options give the same bytes. */
#include <stdio.h>
#include <string.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Support.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "base/hash.h"
#include "codegen/cg_llvm.h"
#include "codegen/flatlink.h"
#include "codegen/gate.h"

enum { MACHINES = 16 };

struct machine {
    char *key;
    LLVMTargetMachineRef tm;
    LLVMTargetDataRef layout;
};

static struct {
    bool ready;
    int misched, no_lsr; /* as last told to LLVM; -1: never */
    struct machine machine[MACHINES];
    int n;
} llvm = {.misched = -1, .no_lsr = -1};

static void llvm_ready(void)
{
    if (llvm.ready) return;
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargets();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllAsmPrinters();
    LLVMInitializeAllAsmParsers();
    LLVMInitializeAllDisassemblers();
    llvm.ready = true;
}

/* These switches are process-wide hidden options; a misspelt one would be ignored silently, so a
 * test watches their effect. */
static void set_switches(bool misched, bool no_lsr)
{
    if (llvm.misched == (int)misched && llvm.no_lsr == (int)no_lsr) return;
    const char *argv[] = {"quern", misched ? "-enable-misched=true" : "-enable-misched=false",
                          no_lsr ? "-disable-lsr=true" : "-disable-lsr=false"};
    LLVMParseCommandLineOptions((int)QN_COUNT(argv), argv, NULL);
    llvm.misched = misched;
    llvm.no_lsr = no_lsr;
}

static void machine_free(struct machine *m)
{
    LLVMDisposeTargetData(m->layout);
    LLVMDisposeTargetMachine(m->tm);
    mem_free(m->key);
}

void codegen_llvm_shutdown(void)
{
    for (int i = 0; i < llvm.n; i++) machine_free(&llvm.machine[i]);
    llvm.n = 0;
    if (llvm.ready) LLVMShutdown();
    llvm.ready = false;
}

static LLVMTargetMachineRef machine_make(const struct target *t, struct err *e)
{
    LLVMTargetRef target;
    char *msg = NULL;
    if (LLVMGetTargetFromTriple(t->triple, &target, &msg)) {
        err_set(e, RC_INPUT, "codegen.triple", "LLVM does not know the triple '%s': %s", t->triple,
                msg);
        LLVMDisposeMessage(msg);
        return NULL;
    }
    LLVMTargetMachineOptionsRef o = LLVMCreateTargetMachineOptions();
    LLVMTargetMachineOptionsSetCPU(o, t->cpu ? t->cpu : "");
    LLVMTargetMachineOptionsSetFeatures(o, t->features ? t->features : "");
    if (t->abi && t->abi[0]) LLVMTargetMachineOptionsSetABI(o, t->abi);
    LLVMTargetMachineOptionsSetCodeGenOptLevel(o, LLVMCodeGenLevelDefault);
    LLVMTargetMachineOptionsSetRelocMode(o, LLVMRelocPIC);
    LLVMTargetMachineOptionsSetCodeModel(o, LLVMCodeModelSmall);
    LLVMTargetMachineRef tm = LLVMCreateTargetMachineWithOptions(target, t->triple, o);
    LLVMDisposeTargetMachineOptions(o);
    if (!tm)
        err_set(e, RC_INPUT, "codegen.triple", "LLVM has no code generator for '%s'", t->triple);
    return tm;
}

static struct machine *machine_for(const struct target *t, struct err *e)
{
    struct buf key;
    buf_init(&key, 1 << 16);
    buf_printf(&key, "%s|%s|%s|%s", t->triple, t->cpu ? t->cpu : "", t->features ? t->features : "",
               t->abi ? t->abi : "");
    struct machine *found = NULL;
    for (int i = 0; i < llvm.n; i++)
        if (strcmp(llvm.machine[i].key, key.p) == 0) found = &llvm.machine[i];
    if (!found) {
        LLVMTargetMachineRef tm = machine_make(t, e);
        if (tm && llvm.n == MACHINES) machine_free(&llvm.machine[--llvm.n]);
        if (tm) {
            found = &llvm.machine[llvm.n++];
            *found = (struct machine){mem_strdup(key.p), tm, LLVMCreateTargetDataLayout(tm)};
        }
    }
    buf_fini(&key);
    return found;
}

/* ---- one call -------------------------------------------------------------------------------- */

struct job {
    struct cg cg;
    struct machine *m;
    bool diagnosed;
    char diagnosis[400];
};

static void on_diagnostic(LLVMDiagnosticInfoRef d, void *ctx)
{
    struct job *j = ctx;
    if (LLVMGetDiagInfoSeverity(d) != LLVMDSError || j->diagnosed) return;
    char *text = LLVMGetDiagInfoDescription(d);
    j->diagnosed = true;
    snprintf(j->diagnosis, sizeof j->diagnosis, "%s", text);
    LLVMDisposeMessage(text);
}

static bool has_feature(const struct target *t, const char *name)
{
    for (const char *p = t->features ? t->features : ""; (p = strstr(p, name)); p++) {
        char after = p[strlen(name)];
        if (p > t->features && p[-1] == '+' && (after == 0 || after == ',')) return true;
    }
    return false;
}

static void cg_facts_of_target(struct cg *c, const struct target *t)
{
    bool a64 = strncmp(t->triple, "aarch64", 7) == 0;
    c->x86 = strncmp(t->triple, "x86_64", 6) == 0;
    bool avx = has_feature(t, "avx") || has_feature(t, "avx2") || has_feature(t, "avx512f");
    c->native_round =
        a64 || (c->x86 && (avx || has_feature(t, "sse4.1") || has_feature(t, "sse4.2")));
    bool avx2 = c->x86 && (has_feature(t, "avx2") || has_feature(t, "avx512f"));
    c->pack_bits = c->x86 && has_feature(t, "avx512bw") ? 512 : avx2 ? 256 : 0;
    c->range = c->x86 && has_feature(t, "avx512dq") && has_feature(t, "avx512vl");
    c->bytes = c->x86 && has_feature(t, "avx512vbmi") && has_feature(t, "avx512vl");
    c->native_half = a64 || (c->x86 && has_feature(t, "f16c"));
}

static void cg_types(struct cg *c)
{
    LLVMContextRef x = c->ctx;
    c->i1 = LLVMInt1TypeInContext(x);
    c->i8 = LLVMInt8TypeInContext(x);
    c->i16 = LLVMInt16TypeInContext(x);
    c->i32 = LLVMInt32TypeInContext(x);
    c->i64 = LLVMInt64TypeInContext(x);
    c->f32 = LLVMFloatTypeInContext(x);
    c->f64 = LLVMDoubleTypeInContext(x);
    c->ptr = LLVMPointerTypeInContext(x, 0);
    c->void_ = LLVMVoidTypeInContext(x);
}

static void job_open(struct job *j, const struct kernel *k, const struct target *t,
                     const struct codegen_options *o, struct err *e)
{
    struct cg *c = &j->cg;
    c->ctx = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(c->ctx, on_diagnostic, j);
    c->mod = LLVMModuleCreateWithNameInContext("quern", c->ctx);
    LLVMSetTarget(c->mod, t->triple);
    LLVMSetModuleDataLayout(c->mod, j->m->layout);
    if (t->abi && t->abi[0])
        LLVMAddModuleFlag(c->mod, LLVMModuleFlagBehaviorError, "target-abi", 10,
                          LLVMMDStringInContext2(c->ctx, t->abi, strlen(t->abi)));
    c->b = LLVMCreateBuilderInContext(c->ctx);
    c->k = k;
    c->t = t;
    c->ir = k->nest->ir;
    c->reach.ir = c->ir;
    c->e = e;
    c->addr_hoist = o->addr_hoist;
    c->want_stream = o->stream;
    c->ahead = ahead_chosen(o->prefetch, o->prefetch_turn);
    c->table = ARENA_ARRAY(c->ir->arena, LLVMValueRef, c->ir->next_tensor + 1);
    cg_types(c);
    cg_facts_of_target(c, t);
}

static void job_close(struct job *j)
{
    mem_free(j->cg.memo);
    mem_free(j->cg.facts);
    reach_fini(&j->cg.reach);
    vec_free(&j->cg.scope_open);
    LLVMDisposeBuilder(j->cg.b);
    LLVMDisposeModule(j->cg.mod);
    LLVMContextDispose(j->cg.ctx);
}

static enum rc build_module(struct job *j)
{
    struct cg *c = &j->cg;
    cg_entry(c, "kernel", c->k->nest->body, false);
    if (!c->failed && nest_packs(c->k->nest)) cg_entry(c, "pack", c->k->nest->pack, true);
    if (c->failed) return c->e ? c->e->rc : RC_FAIL;
    char *msg = NULL;
    bool broken = LLVMVerifyModule(c->mod, LLVMReturnStatusAction, &msg);
    if (broken) err_set(c->e, RC_INTERNAL, "codegen.verify", "LLVM refuses the module: %s", msg);
    LLVMDisposeMessage(msg);
    return broken ? RC_INTERNAL : RC_OK;
}

/* A scheduled kernel has its shape already; a reference kernel has none, and must not take its own
 * from our passes. */
static enum rc run_passes(struct job *j, bool optimise)
{
    /* Not default<O3>: it makes memcpy of loops, and a kernel calls nothing. Plain `instcombine` ends the process
     * when a second round would find more (max(-x, 0) in a loop's remainder). */
    static const char vectorising[] =
        "function(sroa,early-cse,simplifycfg,loop-mssa(licm),loop-simplify,lcssa,loop-vectorize,"
        "instcombine<no-verify-fixpoint>,simplifycfg,early-cse,loop-mssa(licm))";
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    const char *passes = optimise ? vectorising : "function(sroa,early-cse)";
    LLVMErrorRef bad = LLVMRunPasses(j->cg.mod, passes, j->m->tm, o);
    LLVMDisposePassBuilderOptions(o);
    if (!bad) return RC_OK;
    char *msg = LLVMGetErrorMessage(bad);
    enum rc rc = err_set(j->cg.e, RC_INTERNAL, "codegen.passes", "%s", msg);
    LLVMDisposeErrorMessage(msg);
    return rc;
}

static enum rc emit_object(struct job *j, LLVMMemoryBufferRef *object)
{
    char *msg = NULL;
    bool bad =
        LLVMTargetMachineEmitToMemoryBuffer(j->m->tm, j->cg.mod, LLVMObjectFile, &msg, object);
    if (bad) {
        err_set(j->cg.e, RC_FAIL, "codegen.emit", "%s", msg);
        LLVMDisposeMessage(msg);
        return RC_FAIL;
    }
    if (!j->diagnosed) return RC_OK;
    LLVMDisposeMemoryBuffer(*object);
    return err_set(j->cg.e, RC_FAIL, "codegen.emit", "%s", j->diagnosis);
}

static void hash_artefact(struct artefact *a)
{
    struct buf b;
    buf_init(&b, a->blob_n + 256);
    buf_printf(&b, "kernel=%lld pack=%lld scratch=%lld+%lld\n", (long long)a->kernel_at,
               (long long)a->pack_at, (long long)a->scratch_a, (long long)a->scratch_b);
    buf_put(&b, a->blob, a->blob_n);
    hash_id(a->hash, b.p, b.n);
    buf_fini(&b);
}

static enum rc fill_artefact(struct job *j, LLVMMemoryBufferRef object,
                             const struct codegen_options *o, struct artefact *out)
{
    static const char *const names[2] = {"kernel", "pack"};
    struct flat_image img;
    enum rc rc = flatlink((const uint8_t *)LLVMGetBufferStart(object), LLVMGetBufferSize(object),
                          names, 2, &img, j->cg.e);
    if (rc) return rc;
    out->blob = img.p;
    out->blob_n = img.n;
    out->kernel_at = img.entry[0];
    out->pack_at = img.entry[1];
    out->scratch_a = j->cg.k->scratch_a;
    out->scratch_b = j->cg.k->scratch_b;
    struct gate g = {0};
    rc = gate_image(&img, j->cg.t, &g, o->s, j->cg.e);
    out->instructions = g.instructions;
    out->vector_stack_refs = g.vector_stack_refs;
    out->stack_bytes = g.stack_bytes;
    hash_artefact(out);
    if (!rc && g.stack_bytes > j->cg.t->stack_limit)
        rc = err_set(j->cg.e, RC_FAIL, "codegen.stack",
                     "the kernel needs about %d bytes of stack; %lld are allowed", g.stack_bytes,
                     (long long)j->cg.t->stack_limit);
    return rc;
}

static void print_module(struct job *j, struct buf *ll)
{
    char *text = LLVMPrintModuleToString(j->cg.mod);
    buf_puts(ll, text);
    LLVMDisposeMessage(text);
}

static enum rc compile(struct job *j, const struct codegen_options *o, struct artefact *out)
{
    LLVMMemoryBufferRef object;
    enum rc rc = build_module(j);
    if (!rc) rc = run_passes(j, o->optimise);
    if (!rc && o->list) cg_order(&j->cg, o);
    if (!rc && o->ll) print_module(j, o->ll);
    if (!rc) rc = emit_object(j, &object);
    if (rc) return rc;
    if (o->obj) buf_put(o->obj, LLVMGetBufferStart(object), LLVMGetBufferSize(object));
    rc = fill_artefact(j, object, o, out);
    LLVMDisposeMemoryBuffer(object);
    return rc;
}

enum rc codegen_llvm(const struct kernel *k, const struct target *t,
                     const struct codegen_options *o, struct artefact *out, struct err *e)
{
    struct err local = {0};
    struct job j = {0};
    if (!e) e = &local;
    memset(out, 0, sizeof *out);
    llvm_ready();
    j.m = machine_for(t, e);
    if (!j.m) return e->rc;
    set_switches(o->misched, o->no_lsr);
    job_open(&j, k, t, o, e);
    enum rc rc = compile(&j, o, out);
    job_close(&j);
    if (rc) artefact_fini(out);
    return rc;
}

void artefact_fini(struct artefact *a)
{
    mem_free(a->blob);
    memset(a, 0, sizeof *a);
}
