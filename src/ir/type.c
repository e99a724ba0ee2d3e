/* Types and the tables of names: one row per element type and per operator, straight from the .def
 * files, so that a new type or operator is one line there.
 *
 *   dtype_name(TYPE_F32) == "f32"; dtype_bits(TYPE_S4) == 4; dtype_bytes(TYPE_S4) == 1 */
#include "ir/ir.h"

#include <string.h>

#include "ir/private.h"

static const struct dtype_row {
    const char *name;
    uint8_t bits;
    char class;
} dtypes[TYPE_COUNT] = {
#define X(e, s, b, c) {s, b, #c[0]},
#include "ir/types.def"
#undef X
};

static const struct op_row {
    const char *name;
    int8_t arity;
    char form;
    const char *flags;
} ops[OP_COUNT] = {
#define X(e, s, n, f, g) {s, n, #f[0], g},
#include "ir/ops.def"
#undef X
};

const char *const scope_names[8] = {"in",    "const", "out",    "temp",
                                    "stack", "reg",   "packed", "table"};

const char *dtype_name(enum dtype d)
{
    QN_CHECK((unsigned)d < TYPE_COUNT, "dtype %d", d);
    return dtypes[d].name;
}

bool dtype_parse(const char *s, size_t n, enum dtype *out)
{
    for (int d = 0; d < TYPE_COUNT; d++) {
        if (strlen(dtypes[d].name) == n && memcmp(dtypes[d].name, s, n) == 0) {
            *out = (enum dtype)d;
            return true;
        }
    }
    return false;
}

int dtype_bits(enum dtype d) { return dtypes[d].bits; }
int dtype_bytes(enum dtype d) { return dtypes[d].bits < 8 ? 1 : dtypes[d].bits / 8; }
bool dtype_is_float(enum dtype d) { return dtypes[d].class == 'F'; }
bool dtype_is_signed(enum dtype d) { return dtypes[d].class == 'S'; }
bool dtype_is_int(enum dtype d) { return dtypes[d].class == 'S' || dtypes[d].class == 'U'; }

const char *op_name(enum op op)
{
    QN_CHECK((unsigned)op < OP_COUNT, "op %d", op);
    return ops[op].name;
}

int op_arity(enum op op) { return ops[op].arity; }
/* Called for every node made, hence no search: flags are in the order c, a, p. */
bool op_is_commutative(enum op op) { return ops[op].flags[0] == 'c'; }
bool op_is_predicate(enum op op)
{
    const char *f = ops[op].flags;
    return f[0] == 'p' || (f[0] == 'c' && f[1] == 'p');
}
char op_form(enum op op) { return ops[op].form; }

void type_print(struct buf *b, struct type t)
{
    buf_puts(b, dtype_name(t.dtype));
    if (t.lanes != 1) buf_printf(b, "x%d", t.lanes);
}
