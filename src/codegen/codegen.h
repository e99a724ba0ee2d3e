/* codegen: kernel form -> machine code blob, LLVM text, assembly, C. Sole owner of llvm-c.
 *
 *   struct artefact art = {0};
 *   codegen_llvm(&kernel, target, &opt, &art, &e);    art.blob runs after mapping it R-X at a
 *                                                     4 KiB boundary
 *   artefact_fini(&art);
 *
 * LLVM can abort the process on bad input: call codegen_llvm only in a worker
 * (compile/worker.h). */
#ifndef QN_CODEGEN_H
#define QN_CODEGEN_H

#include "base/buf.h"
#include "base/err.h"
#include "lower/lower.h"

struct artefact {
    uint8_t *blob; /* mem_free */
    size_t blob_n;
    int64_t kernel_at, pack_at; /* entry offsets; pack_at -1: none */
    int64_t scratch_a, scratch_b;
    int32_t stack_bytes;       /* estimate */
    int32_t vector_stack_refs; /* vector loads and stores relative to the stack pointer (spills) */
    int32_t instructions;
    char hash[33]; /* hash_id of blob + entries */
};
void artefact_fini(struct artefact *a);

/* What a schedule's last line may choose: one value of each key, which may have several rows.
 * X(field, "key", "value that sets it", "value that does not", "what it is"); unset is the default,
 * but for misched, where the target says. */
#define CODEGEN_CHOICES(X)                                                                        \
    X(misched, "misched", "on", "off", "LLVM's machine scheduler")                                \
    X(list, "order", "list", "source", "list scheduling by ourselves, before LLVM")               \
    X(stream, "stores", "stream", "cached", "whole vectors of results go past the caches")        \
    X(prefetch, "prefetch", "page", "none", "operands that a loop walks over, a page ahead")      \
    X(prefetch_turn, "prefetch", "turn", "none",                                                  \
      "... what they read in the next turn of the loop around the innermost")                     \
    X(addr_hoist, "addr", "hoist", "plain", "address arithmetic moved out of loops by ourselves") \
    X(phases, "phases", "two", "one", "loops of long chains cut in two (by lower)")               \
    X(overlap, "phases", "overlap", "one",                                                        \
      "each iteration begins as the last one ends (by lower)")                                    \
    X(no_lsr, "lsr", "off", "on", "LLVM's loop strength reduction: a third of a large body's time")

/* nudge=17.203: after list scheduling, each number but 0 moves a few operations some places up or down. */
enum { CODEGEN_NUDGES = 12 };

struct codegen_options {
#define X(field, key, set, unset, what) bool field;
    CODEGEN_CHOICES(X)
#undef X
    int nudge[CODEGEN_NUDGES], nudges;
    bool optimise;   /* LLVM hoists and vectorises: for reference kernels */
    struct buf *ll;  /* if set: LLVM IR text */
    struct buf *s;   /* if set: assembly text */
    struct buf *obj; /* if set: the relocatable object before linking */
};

enum rc codegen_llvm(const struct kernel *k, const struct target *t,
                     const struct codegen_options *o, struct artefact *out, struct err *e);
void codegen_llvm_shutdown(void);

/* ---- C --------------------------------------------------------------------------------------- */

enum c_form {
    C_VECTOR,
    C_PORTABLE
}; /* GNU vector extensions, or plain C99 loops of the same schedule */

/* Values of one input of the emitted test: k/per for k in lo..hi. */
struct c_values {
    int64_t lo, hi, per;
};
/* One run of the emitted test. */
struct c_row {
    const int64_t *dyn;            /* the dynamic extents */
    const struct c_values *values; /* of each in and const, in the order of the nest */
    bool exact;                    /* results of these are the same in every order of summation */
};

struct c_options {
    enum c_form form;
    const char *prefix;  /* C identifier put before every external name; "" allowed */
    const char *symbol;  /* kernel's name without prefix, e.g. conv2d_n1_h56... */
    enum ahead_of ahead; /* what loads of the vector form ask for */
    const char *banner;  /* complete comment block for the top of both files, already escaped */
    /* the op before lowering, for shapes in comments; NULL: flat sizes */
    const struct nest *source;
    /* Of the header: the dynamic extents it is meant for, and of each a greater one that the
     * operator refuses, or -1; NULL: all. tuned: where all but the refused one are then. */
    const int64_t *least, *refused, *tuned;
    /* Of the test: what to run it with; NULL: integers -2..2, exact, at the extents 0, 1, 2, 37. */
    const struct c_row *row;
    int rows;
};
/* Complete translation unit and header; RC_FAIL "c.*" if the kernel cannot be said in this form. */
enum rc codegen_c(const struct kernel *k, const struct target *t, const struct c_options *o,
                  struct buf *c, struct buf *h, struct err *e);
/* A program that runs the emitted kernel (and its pack function) on data of the rows against
 * plain loops printed from the naive nest: canaries around outputs and scratch, prints "ok SYMBOL",
 * returns 0, or 1 with the first difference. Includes "<prefix><symbol>.h" and <stdio.h>; no other
 * file. */
enum rc codegen_c_test(const struct nest *naive, const struct kernel *k, const struct target *t,
                       const struct c_options *o, struct buf *test, struct err *e);

#endif
