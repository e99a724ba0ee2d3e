/* Running a nest and what lower makes of it side by side in the interpreter.
 *
 *   lower_same(text, &(struct lower_case){.target = lower_target(true)});
 *                                                   fails the Check test if outputs differ */
#ifndef LOWER_RUN_H
#define LOWER_RUN_H

#include "ir/ir.h"
#include "lower/lower.h"

struct lower_case {
    struct target target;
    int64_t dyn[4];
    const char *dump_pass;    /* keep the text after this pass (or "kernel") ... */
    struct buf *dump;         /* ... here */
    enum lower_phases phases; /* lower_options.phases */
    bool reproducible;        /* lower_options.reproducible */
    double tol;               /* 0: equal bits; else relative to the largest value */
    uint64_t seed;
    struct kernel kernel; /* result; its nest lives in `ir` */
    struct ir *ir;        /* lower_case_free */
};

struct target lower_target(bool masks); /* 512-bit, fma */
/* Buffers of a nest's tensors, inputs filled with small integers, outputs with 0xA5. */
void **lower_buffers(const struct nest *n, const int64_t *dyn, uint64_t seed, int64_t *bytes);
void lower_buffers_free(const struct nest *n, void **bufs);
struct nest *lower_parse(struct ir *ir, const char *text);
/* Lowers a clone of n and compares both entries' results; false and a message in *why on a
 * difference. Code "scheduled": n itself does not run. */
bool lower_agrees(const struct nest *n, struct lower_case *c, struct err *why);
void lower_same(const char *text, struct lower_case *c); /* asserts it */
void lower_both(const char *text); /* the same for a target with masks and one without */
/* Asserts the text after one pass ("" if it changes nothing), and that results stay the same. tol: how
 * far they may be from those before. */
void lower_golden(const char *pass, const char *text, const char *want);
void lower_golden_within(const char *pass, const char *text, const char *want, double tol);
void lower_case_free(struct lower_case *c);

#endif
