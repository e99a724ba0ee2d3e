/* value: arithmetic on what is known without data: integers, reals, symbols and exact rationals.
 *
 *     7 / 2 = 3 (floors, as in subscripts)   7 / 2.0 = 3.5   in a list 7/2 stays exact
 *
 * Invariants: integer arithmetic never overflows silently; rationals are in lowest terms,
 * den > 0. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "dsl/ast.h"

struct value value_int(int64_t i)
{
    return (struct value){.kind = VALUE_INT, .i = i, .f = (double)i};
}
struct value value_real(double f) { return (struct value){.kind = VALUE_REAL, .f = f}; }
struct value value_symbol(const char *s)
{
    return (struct value){.kind = VALUE_SYMBOL, .symbol = s};
}
double value_as_real(const struct value *v) { return v->kind == VALUE_INT ? (double)v->i : v->f; }

bool value_equal(const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_SYMBOL || b->kind == VALUE_SYMBOL)
        return a->kind == b->kind && strcmp(a->symbol, b->symbol) == 0;
    if (a->kind == VALUE_LIST || b->kind == VALUE_LIST) {
        if (a->kind != b->kind || a->n != b->n) return false;
        for (int i = 0; i < a->n; i++)
            if (a->list[i].num != b->list[i].num || a->list[i].den != b->list[i].den) return false;
        return true;
    }
    if (a->kind == VALUE_INT && b->kind == VALUE_INT) return a->i == b->i;
    return value_as_real(a) == value_as_real(b);
}

void value_print(struct buf *b, const struct value *v)
{
    struct node real = {.kind = NODE_REAL, .f = fabs(v->f)};
    switch (v->kind) {
    case VALUE_INT:
        buf_printf(b, "%" PRId64, v->i);
        break;
    case VALUE_REAL:
        if (v->f < 0) buf_putc(b, '-');
        node_print(b, &real, 0);
        break;
    case VALUE_SYMBOL:
        buf_puts(b, v->symbol);
        break;
    case VALUE_LIST:
        for (int i = 0; i < v->n; i++) {
            buf_printf(b, "%s%" PRId64, i ? ":" : "", v->list[i].num);
            if (v->list[i].den != 1) buf_printf(b, "/%" PRId64, v->list[i].den);
        }
        break;
    }
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a < 0 ? -a : a;
}

bool ratio_make(int64_t num, int64_t den, struct ratio *out)
{
    if (den == 0 || num == INT64_MIN || den == INT64_MIN) return false;
    int64_t g = gcd(num, den);
    if (g == 0) g = 1;
    if (den < 0) g = -g;
    *out = (struct ratio){num / g, den / g};
    return true;
}

bool ratio_op(char op, struct ratio a, struct ratio b, struct ratio *out)
{
    int64_t x, y, num, den;
    if (op == '/') {
        if (b.num == 0) return false;
        b = (struct ratio){b.num < 0 ? -b.den : b.den, b.num < 0 ? -b.num : b.num};
        op = '*';
    }
    if (op == '*') {
        int64_t g = gcd(a.num, b.den), h = gcd(b.num, a.den);
        if (g == 0) g = 1;
        if (h == 0) h = 1;
        if (__builtin_mul_overflow(a.num / g, b.num / h, &num) ||
            __builtin_mul_overflow(a.den / h, b.den / g, &den))
            return false;
        return ratio_make(num, den, out);
    }
    if (__builtin_mul_overflow(a.num, b.den, &x) || __builtin_mul_overflow(b.num, a.den, &y) ||
        __builtin_mul_overflow(a.den, b.den, &den))
        return false;
    if (op == '-' ? __builtin_sub_overflow(x, y, &num) : __builtin_add_overflow(x, y, &num))
        return false;
    return ratio_make(num, den, out);
}

static bool compare(enum oper op, int order)
{
    switch (op) {
    case OPER_EQ:
        return order == 0;
    case OPER_NE:
        return order != 0;
    case OPER_LT:
        return order < 0;
    case OPER_LE:
        return order <= 0;
    case OPER_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static bool int_binary(enum oper op, int64_t a, int64_t b, int64_t *out, const char **why)
{
    bool over = false;
    switch (op) {
    case OPER_ADD:
        over = __builtin_add_overflow(a, b, out);
        break;
    case OPER_SUB:
        over = __builtin_sub_overflow(a, b, out);
        break;
    case OPER_MUL:
        over = __builtin_mul_overflow(a, b, out);
        break;
    case OPER_DIV:
    case OPER_MOD:
        if (b == 0) {
            *why = "division by zero";
            return false;
        }
        if (a == INT64_MIN && b == -1)
            over = true;
        else
            *out = op == OPER_DIV ? i64_floordiv(a, b) : i64_floormod(a, b);
        break;
    case OPER_SHL:
        over = b < 0 || b > 62 || a > (INT64_MAX >> b) || a < (INT64_MIN >> b);
        if (!over) *out = a * (INT64_C(1) << b);
        break;
    case OPER_SHR:
        over = b < 0 || b > 63;
        if (!over) *out = a >> b;
        break;
    case OPER_BOR:
        *out = a | b;
        break;
    case OPER_BXOR:
        *out = a ^ b;
        break;
    case OPER_BAND:
        *out = a & b;
        break;
    case OPER_OR:
        *out = a != 0 || b != 0;
        break;
    case OPER_AND:
        *out = a != 0 && b != 0;
        break;
    default:
        *out = compare(op, a < b ? -1 : a > b);
        break;
    }
    if (over) *why = "the result does not fit in 64 bits";
    return !over;
}

/* A quotient of integers that is not whole. By -1 every one is, and % would overflow. */
bool value_floors(enum oper op, const struct value *a, const struct value *b)
{
    return op == OPER_DIV && a->kind == VALUE_INT && b->kind == VALUE_INT && b->i != 0 &&
           b->i != -1 && a->i % b->i != 0;
}

bool value_binary(enum oper op, const struct value *a, const struct value *b, struct value *out,
                  const char **why)
{
    *why = "these values have no such operation";
    if (a->kind == VALUE_SYMBOL || b->kind == VALUE_SYMBOL || a->kind == VALUE_LIST ||
        b->kind == VALUE_LIST) {
        if (a->kind != b->kind || (op != OPER_EQ && op != OPER_NE)) return false;
        *out = value_int(value_equal(a, b) == (op == OPER_EQ));
        return true;
    }
    if (a->kind == VALUE_INT && b->kind == VALUE_INT) {
        int64_t r = 0;
        if (!int_binary(op, a->i, b->i, &r, why)) return false;
        *out = value_int(r);
        return true;
    }
    double x = value_as_real(a), y = value_as_real(b);
    switch (op) {
    case OPER_ADD:
        *out = value_real(x + y);
        return true;
    case OPER_SUB:
        *out = value_real(x - y);
        return true;
    case OPER_MUL:
        *out = value_real(x * y);
        return true;
    case OPER_DIV:
        *out = value_real(x / y);
        return true;
    case OPER_EQ:
    case OPER_NE:
    case OPER_LT:
    case OPER_LE:
    case OPER_GT:
    case OPER_GE:
        *out = value_int(compare(op, x < y ? -1 : x > y));
        return true;
    default:
        return false;
    }
}

/* Builtins whose arguments are all known. */
bool value_call(const char *name, int n, const struct value *a, struct value *out, const char **why)
{
    *why = "this function is not known before the data is";
    bool ints = true;
    for (int i = 0; i < n; i++) {
        if (a[i].kind == VALUE_SYMBOL || a[i].kind == VALUE_LIST) return false;
        ints &= a[i].kind == VALUE_INT;
    }
    double x = n > 0 ? value_as_real(&a[0]) : 0, y = n > 1 ? value_as_real(&a[1]) : 0;
    static const struct {
        const char *name;
        double (*fn)(double);
    } REALS[] = {{"exp", exp},   {"log", log},     {"sqrt", sqrt},      {"tanh", tanh},
                 {"erf", erf},   {"sin", sin},     {"cos", cos},        {"floor", floor},
                 {"ceil", ceil}, {"trunc", trunc}, {"round", nearbyint}};
    for (size_t i = 0; i < QN_COUNT(REALS); i++)
        if (strcmp(name, REALS[i].name) == 0) {
            *out = value_real(REALS[i].fn(x));
            return true;
        }
    if (strcmp(name, "min") == 0)
        *out = x < y ? a[0] : a[1];
    else if (strcmp(name, "max") == 0)
        *out = x > y ? a[0] : a[1];
    else if (strcmp(name, "clamp") == 0)
        *out = x < y ? a[1] : x > value_as_real(&a[2]) ? a[2] : a[0];
    else if (strcmp(name, "select") == 0)
        *out = x != 0 ? a[1] : a[2];
    else if (strcmp(name, "abs") == 0)
        *out = ints ? value_int(a[0].i < 0 && a[0].i != INT64_MIN ? -a[0].i : a[0].i)
                    : value_real(fabs(x));
    else if (strcmp(name, "popcount") == 0 && ints)
        *out = value_int(__builtin_popcountll((unsigned long long)a[0].i));
    else if (strcmp(name, "ceildiv") == 0 && ints && a[1].i > 0)
        *out = value_int(i64_ceildiv(a[0].i, a[1].i));
    else if (strcmp(name, "ceildiv") == 0) {
        *why = "ceildiv needs integers and a positive divisor";
        return false;
    } else
        return false;
    return true;
}
