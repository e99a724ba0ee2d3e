/* cg_llvm_order: list scheduling of straight-line code, for kernels that would rather choose the
 * order of their operations than leave it to LLVM (`codegen order=list`).
 *
 *   a0 b0 c0 d0 a1 b1 c1 d1   ->   a0 a1 b0 b1 c0 c1 d0 d1
 *   of two chains one after the other: the next operation of each, the longest way to the end first
 *
 * An out-of-order machine sees a few hundred operations and queues a few dozen. A chain of
 * dependent operations fills the queues with what must wait; with independent chains side by side,
 * what is seen is what can run.
 *
 * The order is that of a machine which starts `fma_ports` operations of each of four kinds a cycle: of
 * those whose operands are done, the one with the longest path to the block's end. New work is begun
 * only while half the registers are free; where all are taken, what was begun is finished first. `eager`: while
 * any is free; for loops that begin an iteration while another ends, which is the point of them.
 *
 * Invariants: values, their operands and the order of accesses that may touch the same memory stay;
 * only the order of independent instructions of one block changes. */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "codegen/cg_llvm.h"

/* Loads wait for nothing: far ahead is not needed. */
enum { LEAST = 12, MOST = 4096, LATENCY_LOAD = 4 };

struct edge {
    int from, to;
    bool value; /* `to` reads what `from` computes */
};

struct instr {
    LLVMValueRef v;
    LLVMValueRef memory; /* what it accesses: the base of its address; NULL: nothing */
    bool anywhere;       /* accesses memory of unknown base */
    bool writes, vector; /* vector: its result takes a register */
    bool lasting;        /* its result is used outside the block */
    bool given;          /* a PHI: there when the block begins */
    bool goes_on;        /* a vector of this block is among its operands */
    int latency, height; /* height: cycles from its start to the end of the block */
    int waits, start;    /* operands not yet placed; cycle in which they are done */
    int readers;         /* of its value, not yet placed */
    int in, in_end;      /* its edges in block.in */
    int first, last;     /* those that lead on from it, in block.out */
};

struct block {
    struct cg *c;
    int n;
    struct instr *op;
    VEC(struct edge) in; /* by `to` */
    int *out;            /* edges by `from` */
    int alive, registers;
    bool eager; /* new work may take the last register */
    int *order;
};

/* ---- what an instruction is ------------------------------------------------------------------ */

static bool is_call_to(LLVMValueRef v, const char *prefix)
{
    size_t n = 0;
    LLVMValueRef f = LLVMGetCalledValue(v);
    const char *name = f ? LLVMGetValueName2(f, &n) : "";
    return n >= strlen(prefix) && strncmp(name, prefix, strlen(prefix)) == 0;
}

static int latency_of(const struct target *t, LLVMValueRef v)
{
    int fma = (int)t->fma_latency;
    switch (LLVMGetInstructionOpcode(v)) {
    case LLVMFAdd:
    case LLVMFSub:
    case LLVMFMul:
    case LLVMSIToFP:
    case LLVMUIToFP:
    case LLVMFPToSI:
    case LLVMFPToUI:
    case LLVMFPExt:
    case LLVMFPTrunc:
        return fma;
    case LLVMFDiv:
        return 4 * fma;
    case LLVMLoad:
        return LATENCY_LOAD;
    case LLVMSelect:
    case LLVMMul:
        return 2;
    case LLVMCall:
        return is_call_to(v, "llvm.fma")    ? fma
               : is_call_to(v, "llvm.sqrt") ? 5 * fma
               : is_call_to(v, "llvm.mask") ? LATENCY_LOAD
                                            : 2;
    case LLVMBitCast:
    case LLVMGetElementPtr:
    case LLVMFCmp: /* part of the SELECT that reads it */
        return 0;
    default:
        return 1;
    }
}

/* Argument, alloca or global that an address is computed from; NULL: more than one, or unknown. */
static LLVMValueRef base_of(LLVMValueRef p)
{
    while (LLVMIsAGetElementPtrInst(p)) p = LLVMGetOperand(p, 0);
    return LLVMIsAArgument(p) || LLVMIsAAllocaInst(p) || LLVMIsAGlobalVariable(p) ? p : NULL;
}

/* False: it does something that this file does not know. */
static bool note_memory(struct instr *o)
{
    LLVMOpcode code = LLVMGetInstructionOpcode(o->v);
    LLVMValueRef p = NULL;
    if (code == LLVMLoad) {
        p = LLVMGetOperand(o->v, 0);
    } else if (code == LLVMStore) {
        p = LLVMGetOperand(o->v, 1);
        o->writes = true;
    } else if (code != LLVMCall) {
        return !LLVMIsATerminatorInst(o->v) && code != LLVMAlloca && code != LLVMFence &&
               code != LLVMAtomicRMW && code != LLVMAtomicCmpXchg;
    } else if (is_call_to(o->v, "llvm.masked.load")) {
        p = LLVMGetOperand(o->v, 0);
    } else if (is_call_to(o->v, "llvm.masked.store")) {
        p = LLVMGetOperand(o->v, 1);
        o->writes = true;
    } else if (is_call_to(o->v, "llvm.masked.gather")) {
        o->anywhere = true;
        return true;
    } else if (is_call_to(o->v, "llvm.masked.scatter")) {
        o->anywhere = o->writes = true;
        return true;
    } else {
        static const char *const pure[] = {
            "llvm.fma",
            "llvm.sqrt",
            "llvm.fabs",
            "llvm.smin",
            "llvm.smax",
            "llvm.umin",
            "llvm.umax",
            "llvm.abs",
            "llvm.ctpop",
            "llvm.floor",
            "llvm.ceil",
            "llvm.rint",
            "llvm.nearbyint",
            "llvm.trunc",
            "llvm.roundeven",
            "llvm.prefetch",
            "llvm.x86.avx.cvt",
            "llvm.x86.avx2.pack",
            "llvm.x86.avx512.pack",
            "llvm.x86.avx512.mask",
        };
        for (size_t i = 0; i < QN_COUNT(pure); i++)
            if (is_call_to(o->v, pure[i])) return true;
        return false;
    }
    o->memory = base_of(p);
    o->anywhere = !o->memory;
    return true;
}

static bool may_meet(const struct instr *a, const struct instr *b)
{
    bool accesses = (a->memory || a->anywhere) && (b->memory || b->anywhere);
    if (!accesses || (!a->writes && !b->writes)) return false;
    return a->anywhere || b->anywhere || a->memory == b->memory;
}

/* ---- the graph ------------------------------------------------------------------------------- */

struct place {
    LLVMValueRef v;
    int at;
};

static int by_value(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->v > y->v) - (x->v < y->v);
}

static int place_of(const struct place *all, int n, LLVMValueRef v)
{
    struct place key = {.v = v};
    const struct place *p = bsearch(&key, all, (size_t)n, sizeof *all, by_value);
    return p ? p->at : -1;
}

static void add_edge(struct block *b, int from, int to, bool value)
{
    vec_push(&b->in, ((struct edge){from, to, value}));
    b->op[to].waits++;
    b->op[from].readers += value;
}

static void edges_of(struct block *b, const struct place *all, int to)
{
    struct instr *o = &b->op[to];
    int n = LLVMGetNumOperands(o->v), seen[4] = {-1, -1, -1, -1};
    o->in = o->in_end = (int)b->in.n;
    if (o->given) return;
    for (int i = 0; i < n; i++) {
        int from = place_of(all, b->n, LLVMGetOperand(o->v, (unsigned)i));
        bool again = from < 0;
        for (int k = 0; k < 4 && !again; k++) again = seen[k] == from;
        if (again) continue;
        if (i < 4) seen[i] = from;
        add_edge(b, from, to, true);
        o->goes_on |= b->op[from].vector;
    }
    for (int from = 0; from < to && (o->memory || o->anywhere); from++)
        if (may_meet(&b->op[from], o)) add_edge(b, from, to, false);
    o->in_end = (int)b->in.n;
}

static bool lasting(LLVMBasicBlockRef bb, LLVMValueRef v)
{
    for (LLVMUseRef u = LLVMGetFirstUse(v); u; u = LLVMGetNextUse(u)) {
        LLVMValueRef user = LLVMGetUser(u);
        if (LLVMIsAPHINode(user) || LLVMGetInstructionParent(user) != bb) return true;
    }
    return false;
}

/* Edges are stored by `to`, and `from` comes before `to`. */
static void heights(struct block *b)
{
    for (int i = 0; i < b->n; i++) b->op[i].height = b->op[i].latency;
    for (size_t k = b->in.n; k-- > 0;) {
        struct instr *from = &b->op[b->in.p[k].from], *to = &b->op[b->in.p[k].to];
        int h = (b->in.p[k].value ? from->latency : 0) + to->height;
        if (h > from->height) from->height = h;
    }
}

static void out_edges(struct block *b)
{
    for (size_t k = 0; k < b->in.n; k++) b->op[b->in.p[k].from].last++;
    for (int i = 0, at = 0; i < b->n; i++) {
        int n = b->op[i].last;
        b->op[i].first = b->op[i].last = at;
        at += n;
    }
    for (size_t k = 0; k < b->in.n; k++) b->out[b->op[b->in.p[k].from].last++] = (int)k;
}

/* ---- the order ------------------------------------------------------------------------------- */

/* Registers taken by placing it: its own, less those whose last reader it is. */
static int growth(const struct block *b, int i)
{
    const struct instr *o = &b->op[i];
    int grows = o->vector && (o->readers > 0 || o->lasting);
    for (int k = o->in; k < o->in_end; k++) {
        const struct instr *from = &b->op[b->in.p[k].from];
        grows -= b->in.p[k].value && from->vector && !from->lasting && from->readers == 1;
    }
    return grows;
}

/* A vector from memory or from a scalar: work that is only begun. */
static bool begins(const struct instr *o) { return o->vector && !o->goes_on; }

/* Is i better than the other? With room the one with the longest way to go; without, the one that frees
 * most, and of those the first in the kernel's own order: what was begun is finished. */
static bool better(const struct block *b, int i, int than, bool full)
{
    const struct instr *o = &b->op[i], *p = &b->op[than];
    int g = full ? growth(b, i) - growth(b, than) : 0;
    if (g != 0) return g < 0;
    return full || o->height == p->height ? i < than : o->height > p->height;
}

/* -1: nothing now. Half the registers are for what is under way; new work waits for it. */
static int choose(const struct block *b, const int *ready, int n, int cycle)
{
    bool full = b->alive >= b->registers, half = !b->eager && b->alive >= b->registers / 2;
    int best = -1, begun = -1;
    bool waiting = false;
    for (int k = 0; k < n; k++) {
        const struct instr *o = &b->op[ready[k]];
        int *slot = half && begins(o) ? &begun : &best;
        waiting |= o->start > cycle;
        if (!full && o->start > cycle) continue;
        if (*slot < 0 || better(b, ready[k], ready[*slot], full)) *slot = k;
    }
    return best >= 0 ? best : waiting ? -1 : begun;
}

static void place(struct block *b, int i, int cycle, int *ready, int *nready)
{
    struct instr *o = &b->op[i];
    b->alive += growth(b, i);
    for (int k = o->in; k < o->in_end; k++) b->op[b->in.p[k].from].readers -= b->in.p[k].value;
    for (int k = o->first; k < o->last; k++) {
        const struct edge *e = &b->in.p[b->out[k]];
        struct instr *to = &b->op[e->to];
        int done = cycle + (e->value ? o->latency : 0);
        if (done > to->start) to->start = done;
        if (--to->waits == 0) ready[(*nready)++] = e->to;
    }
}

static void list_schedule(struct block *b)
{
    int *ready = mem_new((size_t)b->n * sizeof *ready), nready = 0, cycle = 0, issued = 0, done = 0;
    int wide = 4 * (int)i64_max(1, b->c->t->fma_ports);
    for (int i = 0; i < b->n; i++)
        if (b->op[i].waits == 0 && !b->op[i].given) ready[nready++] = i;
    for (int i = 0; i < b->n && b->op[i].given; i++) {
        place(b, i, 0, ready, &nready);
        b->order[done++] = i;
    }
    while (nready > 0) {
        int k = issued < wide ? choose(b, ready, nready, cycle) : -1;
        if (k < 0) {
            cycle++;
            issued = 0;
            continue;
        }
        int i = ready[k];
        ready[k] = ready[--nready];
        issued += b->op[i].vector || b->op[i].writes;
        b->order[done++] = i;
        place(b, i, cycle, ready, &nready);
    }
    QN_CHECK(done == b->n, "%d of %d operations were placed", done, b->n);
    mem_free(ready);
}

/* ---- nudges ---------------------------------------------------------------------------------- */

/* About normal, of variance 1; the same on every machine. */
static double bell(struct rng *r)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += rng_unit(r);
    return sum - 6;
}

/* The order with the lowest key first, of those whose operands are there. */
static void order_by(struct block *b, const double *key)
{
    int *waits = mem_new((size_t)b->n * sizeof *waits), done = 0;
    bool *ready = mem_new((size_t)b->n * sizeof *ready);
    for (int i = 0; i < b->n; i++) {
        waits[i] = b->op[i].in_end - b->op[i].in;
        ready[i] = waits[i] == 0;
    }
    while (done < b->n) {
        int next = -1;
        for (int i = 0; i < b->n; i++)
            if (ready[i] && (next < 0 || key[i] < key[next])) next = i;
        QN_CHECK(next >= 0, "%d of %d operations were placed", done, b->n);
        ready[next] = false;
        b->order[done++] = next;
        for (int k = b->op[next].first; k < b->op[next].last; k++) {
            int to = b->in.p[b->out[k]].to;
            ready[to] = --waits[to] == 0;
        }
    }
    mem_free(waits);
    mem_free(ready);
}

/* A few vector operations, some places up or down; what depends on them goes along. */
static void nudge(struct block *b, int number)
{
    static const int moves[] = {1, 1, 2, 3, 6}, places[] = {3, 10, 25};
    struct rng r;
    rng_seed(&r, (uint64_t)number);
    double *key = mem_new((size_t)b->n * sizeof *key);
    for (int at = 0; at < b->n; at++) {
        int i = b->order[at];
        key[i] = b->op[i].given ? -b->n + at : at; /* PHIs stay in front of everything */
    }
    int n = moves[rng_range(&r, 0, QN_COUNT(moves) - 1)];
    for (int tries = 0; tries < b->n * 8 && n > 0; tries++) {
        int i = (int)rng_range(&r, 0, b->n - 1);
        const struct instr *o = &b->op[i];
        if (o->given || (!o->vector && !o->writes)) continue;
        double by = bell(&r); /* one draw a statement: the order of two in one is the compiler's */
        by *= places[rng_range(&r, 0, QN_COUNT(places) - 1)];
        key[i] = key[i] + by < 0 ? 0 : key[i] + by;
        n--;
    }
    order_by(b, key);
    mem_free(key);
}

/* ---- a block --------------------------------------------------------------------------------- */

static bool is_vector(LLVMValueRef v)
{
    LLVMTypeRef t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind &&
           LLVMGetTypeKind(LLVMGetElementType(t)) != LLVMPointerTypeKind &&
           LLVMGetInstructionOpcode(v) != LLVMFCmp && LLVMGetInstructionOpcode(v) != LLVMICmp;
}

/* Vectors that the block reads and does not compute: constants and what comes from outside. */
static int steady_vectors(const struct block *b, const struct place *all)
{
    LLVMValueRef seen[64];
    int n = 0;
    for (int i = 0; i < b->n; i++) {
        for (int k = 0; k < LLVMGetNumOperands(b->op[i].v) && n < (int)QN_COUNT(seen); k++) {
            LLVMValueRef x = LLVMGetOperand(b->op[i].v, (unsigned)k);
            if (LLVMGetTypeKind(LLVMTypeOf(x)) != LLVMVectorTypeKind || LLVMIsUndef(x)) continue;
            bool had = place_of(all, b->n, x) >= 0;
            for (int j = 0; j < n && !had; j++) had = seen[j] == x;
            if (!had) seen[n++] = x;
        }
    }
    return n;
}

static void put_back(struct block *b, LLVMBasicBlockRef bb)
{
    for (int i = 0; i < b->n; i++)
        if (!b->op[i].given) LLVMInstructionRemoveFromParent(b->op[i].v);
    LLVMPositionBuilderBefore(b->c->b, LLVMGetBasicBlockTerminator(bb));
    for (int i = 0; i < b->n; i++)
        if (!b->op[b->order[i]].given) LLVMInsertIntoBuilder(b->c->b, b->op[b->order[i]].v);
}

static bool collect(struct block *b, LLVMBasicBlockRef bb)
{
    for (LLVMValueRef v = LLVMGetFirstInstruction(bb); v; v = LLVMGetNextInstruction(v)) {
        if (LLVMIsATerminatorInst(v)) continue;
        struct instr *o = &b->op[b->n++];
        *o = (struct instr){.v = v, .vector = is_vector(v), .given = LLVMIsAPHINode(v) != NULL};
        o->lasting = lasting(bb, v);
        if (o->given) continue;
        o->latency = latency_of(b->c->t, v);
        if (!note_memory(o)) return false;
    }
    return true;
}

static void order_block(struct cg *c, LLVMBasicBlockRef bb, int n, const struct codegen_options *o)
{
    size_t size = (size_t)n;
    struct block b = {.c = c, .op = mem_new(size * sizeof *b.op), .eager = o->overlap};
    if (collect(&b, bb)) {
        struct place *all = mem_new(size * sizeof *all);
        for (int i = 0; i < b.n; i++) all[i] = (struct place){b.op[i].v, i};
        qsort(all, (size_t)b.n, sizeof *all, by_value);
        for (int i = 0; i < b.n; i++) edges_of(&b, all, i);
        b.out = mem_new((b.in.n + 1) * sizeof *b.out);
        b.order = mem_new(size * sizeof *b.order);
        b.registers = (int)c->t->vregs - 1 - (int)i64_min(steady_vectors(&b, all), c->t->vregs / 2);
        heights(&b);
        out_edges(&b);
        list_schedule(&b);
        for (int i = 0; i < o->nudges; i++)
            if (o->nudge[i] > 0) nudge(&b, o->nudge[i]);
        put_back(&b, bb);
        mem_free(b.order);
        mem_free(b.out);
        mem_free(all);
    }
    vec_free(&b.in);
    mem_free(b.op);
}

void cg_order(struct cg *c, const struct codegen_options *o)
{
    for (LLVMValueRef f = LLVMGetFirstFunction(c->mod); f; f = LLVMGetNextFunction(f)) {
        for (LLVMBasicBlockRef bb = LLVMGetFirstBasicBlock(f); bb; bb = LLVMGetNextBasicBlock(bb)) {
            int n = 0, vectors = 0;
            for (LLVMValueRef v = LLVMGetFirstInstruction(bb); v; v = LLVMGetNextInstruction(v)) {
                n++;
                vectors += is_vector(v);
            }
            if (vectors >= LEAST && n <= MOST) order_block(c, bb, n, o);
        }
    }
}
