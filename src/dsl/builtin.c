/* builtin: the functions and names of the operator language, one table.
 *
 *     exp(v)   select(c, a, b)   s8(v, sat, round_even)   bitcast(u32, v)   lowest(f32)
 *
 * Casts are the names of dtypes used as functions; the rest is below. */
#include <stdio.h>
#include <string.h>

#include "dsl/ast.h"

/* X(name, arity, kind): U = unary IR operator of that spelling, B = binary one, S = special to the
 * language */
#define BUILTINS(X)                                                                        \
    X(exp, 1, EXP)                                                                         \
    X(log, 1, LOG)                                                                         \
    X(sqrt, 1, SQRT)                                                                       \
    X(tanh, 1, TANH)                                                                       \
    X(erf, 1, ERF)                                                                         \
    X(sigmoid, 1, SIGMOID)                                                                 \
    X(sin, 1, SIN)                                                                         \
    X(cos, 1, COS)                                                                         \
    X(floor, 1, FLOOR)                                                                     \
    X(ceil, 1, CEIL)                                                                       \
    X(round, 1, ROUND)                                                                     \
    X(trunc, 1, TRUNC)                                                                     \
    X(abs, 1, ABS) X(popcount, 1, POPCOUNT) X(min, 2, MIN) X(max, 2, MAX) X(rshr, 2, RSHR) \
        X(select, 3, COUNT) X(clamp, 3, COUNT) X(bitcast, 2, COUNT) X(lowest, 1, COUNT)    \
            X(highest, 1, COUNT) X(ceildiv, 2, COUNT)

static const struct {
    const char *name;
    int arity;
    enum op op;
} BUILTIN[] = {
#define X(name, arity, op) {#name, arity, OP_##op},
    BUILTINS(X)
#undef X
};

static const char *const REDUCES[] = {"sum", "prod",   "max",    "min",
                                      "any", "argmax", "argmin", "reduce"};

enum op builtin_op(const char *name, int *arity)
{
    for (size_t i = 0; i < QN_COUNT(BUILTIN); i++)
        if (BUILTIN[i].op != OP_COUNT && strcmp(BUILTIN[i].name, name) == 0) {
            *arity = BUILTIN[i].arity;
            return BUILTIN[i].op;
        }
    return OP_COUNT;
}

bool builtin_is_special(const char *name, int *arity)
{
    for (size_t i = 0; i < QN_COUNT(BUILTIN); i++)
        if (BUILTIN[i].op == OP_COUNT && strcmp(BUILTIN[i].name, name) == 0) {
            *arity = BUILTIN[i].arity;
            return true;
        }
    return false;
}

bool builtin_is_reduce(const char *name)
{
    for (size_t i = 0; i < QN_COUNT(REDUCES); i++)
        if (strcmp(REDUCES[i], name) == 0) return true;
    return false;
}

bool builtin_is_call(const char *name)
{
    for (size_t i = 0; i < QN_COUNT(BUILTIN); i++)
        if (strcmp(BUILTIN[i].name, name) == 0) return true;
    return false;
}

const char *builtin_reduce_list(char *out, size_t out_n)
{
    size_t at = 0;
    for (size_t i = 0; i < QN_COUNT(REDUCES) && at < out_n; i++)
        at += (size_t)snprintf(out + at, out_n - at, "%s%s", i ? ", " : "", REDUCES[i]);
    return out;
}

const char *const *builtin_names(int *n)
{
    static const char *const NAMES[] = {
#define X(name, arity, op) #name,
        BUILTINS(X)
#undef X
    };
    *n = (int)QN_COUNT(NAMES);
    return NAMES;
}
