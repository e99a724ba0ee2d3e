/* Expressions: the intern table and the one constructor. Equal nodes are the same pointer, so
 * comparing, memoising and substituting are pointer work.
 *
 *   expr_make(ir, OP_ADD, s64, {x, y}, 2, NULL) == expr_make(ir, OP_ADD, s64, {x, y}, 2, NULL)
 *
 * Invariants: every node in the table is well typed (expr_type_error says NULL); children are older
 * (smaller id) than parents; constants are canonical (ints wrapped, reals rounded to their
 * type). */
#include <string.h>

#include "base/hash.h"
#include "ir/private.h"

enum { TABLE_START = 256 };

struct ir *ir_new(void)
{
    struct ir *ir = mem_new(sizeof *ir);
    ir->arena = arena_new();
    ir->interned = mem_new(sizeof *ir->interned);
    ir->interned->cap = TABLE_START;
    ir->interned->slot = mem_new(TABLE_START * sizeof *ir->interned->slot);
    return ir;
}

void ir_free(struct ir *ir)
{
    if (!ir) return;
    for (struct expr_memo *m = ir->memo, *next; m; m = next) {
        next = m->next;
        mem_free(m->stamp);
        mem_free(m->value);
        mem_free(m);
    }
    mem_free(ir->interned->slot);
    mem_free(ir->interned);
    arena_free(ir->arena);
    mem_free(ir);
}

const struct var *var_new(struct ir *ir, const char *name, struct type type)
{
    struct var *v = ARENA_NEW(ir->arena, struct var);
    v->name = arena_strdup(ir->arena, name);
    v->id = ir->next_var++;
    v->type = type;
    return v;
}

/* ---- typing ---------------------------------------------------------------------------------- */

static bool is_index(const struct expr *e) { return e->type.dtype == TYPE_S64; }

static const char *load_type_error(struct type type, const struct expr *const *a, int n,
                                   const struct tensor *t, bool guarded)
{
    if (!t) return "a load names no tensor";
    int first = guarded ? 2 : 0, lanes = t->type.lanes;
    if (n != t->rank + first) return "a load has one subscript per dimension";
    for (int i = first; i < n; i++) {
        if (!is_index(a[i])) return "a subscript is s64";
        if (a[i]->type.lanes == 1) continue;
        if (t->type.lanes > 1) return "a tensor of vectors takes scalar subscripts";
        if (lanes > 1 && a[i]->type.lanes != lanes) return "vector subscripts differ in lanes";
        lanes = a[i]->type.lanes;
    }
    if (type.dtype != t->type.dtype || type.lanes != lanes) return "a load has its tensor's type";
    if (!guarded) return NULL;
    if (a[0]->type.dtype != TYPE_B1 || (a[0]->type.lanes != 1 && a[0]->type.lanes != lanes))
        return "a guarded load's condition is b1";
    return type_eq(a[1]->type, type) ? NULL : "a guarded load's default has the load's type";
}

static const char *leaf_type_error(enum op op, struct type type, const void *leaf)
{
    if (!leaf) return "a leaf needs its value";
    if (op == OP_VAR)
        return type_eq(((const struct var *)leaf)->type, type) ? NULL
                                                               : "a variable has its own type";
    if (type.lanes != 1) return "a literal is a scalar";
    bool real = dtype_is_float(type.dtype);
    return real == (op == OP_REAL) ? NULL : "a literal's form does not fit its type";
}

static const char *convert_type_error(enum op op, struct type type, struct type a, const void *leaf)
{
    switch (op) {
    case OP_CAST:
        if (!leaf || *(const int64_t *)leaf < 0 || *(const int64_t *)leaf > CAST_FITS_ROUND_EVEN)
            return "a cast names its mode";
        return a.lanes == type.lanes ? NULL : "a cast keeps the lanes";
    case OP_BITCAST:
        if (a.lanes != type.lanes) return "a bitcast keeps the lanes";
        return dtype_bits(a.dtype) == dtype_bits(type.dtype) ? NULL : "a bitcast keeps the bits";
    case OP_SPLAT:
        if (a.lanes != 1 || type.lanes < 2) return "splat makes a vector of a scalar";
        return a.dtype == type.dtype ? NULL : "splat keeps the element type";
    default: /* HSUM HMAX HMIN */
        if (a.lanes < 2 || (a.lanes & (a.lanes - 1)) || type.lanes != 1)
            return "a horizontal operation folds a power of two of lanes to a scalar";
        return a.dtype == type.dtype && a.dtype != TYPE_B1
                   ? NULL
                   : "a horizontal operation keeps the type";
    }
}

/* Element type an operator accepts: n numbers, i ints, l ints and b1, r floats, x anything. */
static char operand_class(enum op op)
{
    switch (op) {
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
    case OP_DIV:
    case OP_MIN:
    case OP_MAX:
    case OP_NEG:
    case OP_ABS:
    case OP_LT:
    case OP_LE:
        return 'n';
    case OP_MOD:
    case OP_SHL:
    case OP_SHR:
    case OP_RSHR:
    case OP_POPCOUNT:
        return 'i';
    case OP_AND:
    case OP_OR:
    case OP_XOR:
    case OP_NOT:
        return 'l';
    case OP_EQ:
    case OP_NE:
        return 'x';
    default:
        return 'r';
    }
}

static bool class_accepts(char class, enum dtype d)
{
    switch (class) {
    case 'n':
        return d != TYPE_B1;
    case 'i':
        return dtype_is_int(d);
    case 'l':
        return !dtype_is_float(d);
    case 'r':
        return dtype_is_float(d);
    default:
        return true;
    }
}

static const char *plain_type_error(enum op op, struct type type, const struct expr *const *a,
                                    int n)
{
    for (int i = 1; i < n; i++)
        if (!type_eq(a[i]->type, a[0]->type)) return "operands differ in type";
    if (!class_accepts(operand_class(op), a[0]->type.dtype))
        return "the operator does not take this type";
    struct type want = op_is_predicate(op) ? type_vec(TYPE_B1, a[0]->type.lanes) : a[0]->type;
    return type_eq(type, want) ? NULL : "the result has the wrong type";
}

const char *expr_type_error(enum op op, struct type type, const struct expr *const *a, int n,
                            const void *leaf)
{
    if (op == OP_LOAD || op == OP_LOADC) return load_type_error(type, a, n, leaf, op == OP_LOADC);
    if (n != op_arity(op)) return "wrong number of operands";
    switch (op) {
    case OP_INT:
    case OP_REAL:
    case OP_VAR:
        return leaf_type_error(op, type, leaf);
    case OP_CAST:
    case OP_BITCAST:
    case OP_SPLAT:
    case OP_HSUM:
    case OP_HMAX:
    case OP_HMIN:
        return convert_type_error(op, type, a[0]->type, leaf);
    case OP_RAMP:
        if (!dtype_is_int(a[0]->type.dtype) || a[0]->type.lanes != 1 ||
            !type_eq(a[0]->type, a[1]->type))
            return "a ramp has integer scalars for base and stride";
        return type.dtype == a[0]->type.dtype && type.lanes > 1
                   ? NULL
                   : "a ramp is a vector of its base's type";
    case OP_SELECT:
        if (a[0]->type.dtype != TYPE_B1) return "select's condition is b1";
        if (a[0]->type.lanes != 1 && a[0]->type.lanes != type.lanes)
            return "select's condition differs in lanes";
        if (!type_eq(a[1]->type, a[2]->type)) return "select's branches differ in type";
        return type_eq(a[1]->type, type) ? NULL : "select has the type of its branches";
    default:
        return plain_type_error(op, type, a, n);
    }
}

/* ---- interning ------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

static uint64_t leaf_bits(const struct expr *e)
{
    uint64_t u;
    memcpy(&u, &e->u, sizeof u);
    return u;
}

static uint64_t expr_hash(const struct expr *e)
{
    uint64_t h =
        mix(e->op | (uint64_t)e->type.dtype << 16 | (uint64_t)e->type.lanes << 32, leaf_bits(e));
    for (int i = 0; i < e->n; i++) h = mix(h, e->a[i]->id);
    return mix(h, e->n);
}

static bool expr_same(const struct expr *x, const struct expr *y)
{
    return x->op == y->op && x->n == y->n && type_eq(x->type, y->type) &&
           leaf_bits(x) == leaf_bits(y) &&
           (x->n == 0 || memcmp(x->a, y->a, (size_t)x->n * sizeof x->a[0]) == 0);
}

static void table_grow(struct expr_table *t)
{
    uint32_t cap = t->cap * 2;
    const struct expr **slot = mem_new(cap * sizeof *slot);
    for (uint32_t i = 0; i < t->cap; i++) {
        if (!t->slot[i]) continue;
        uint32_t at = (uint32_t)expr_hash(t->slot[i]) & (cap - 1);
        while (slot[at]) at = (at + 1) & (cap - 1);
        slot[at] = t->slot[i];
    }
    mem_free(t->slot);
    t->slot = slot;
    t->cap = cap;
}

static void leaf_set(struct expr *e, const void *leaf)
{
    switch ((enum op)e->op) {
    case OP_INT:
        e->u.i = int_wrap(e->type.dtype, *(const int64_t *)leaf);
        break;
    case OP_CAST:
        e->u.i = *(const int64_t *)leaf;
        break;
    case OP_REAL:
        e->u.f = real_round(e->type.dtype, *(const double *)leaf);
        break;
    case OP_VAR:
        e->u.var = leaf;
        e->vars = UINT64_C(1) << (e->u.var->id & 63);
        break;
    case OP_LOAD:
    case OP_LOADC:
        e->u.tensor = leaf;
        break;
    default:
        break;
    }
}

enum { EXPR_CHILDREN = 16 }; /* rank 14 and a guard */

const struct expr *expr_make(struct ir *ir, enum op op, struct type type,
                             const struct expr *const *a, int n, const void *leaf)
{
    QN_CHECK(n >= 0 && n <= EXPR_CHILDREN, "%s with %d operands", op_name(op), n);
    const char *why = expr_type_error(op, type, a, n, leaf);
    QN_CHECK(!why, "%s: %s", op_name(op), why);
    union {
        struct expr e;
        char room[sizeof(struct expr) + EXPR_CHILDREN * sizeof(struct expr *)];
    } key;
    memset(&key, 0, sizeof(struct expr));
    struct expr *e = &key.e;
    e->op = (uint16_t)op;
    e->n = (uint16_t)n;
    e->type = type;
    leaf_set(e, leaf);
    const struct expr **child = (const struct expr **)e->a;
    for (int i = 0; i < n; i++) {
        child[i] = a[i];
        e->vars |= a[i]->vars;
    }
    struct expr_table *t = ir->interned;
    uint32_t at = (uint32_t)expr_hash(e) & (t->cap - 1);
    for (; t->slot[at]; at = (at + 1) & (t->cap - 1))
        if (expr_same(t->slot[at], e)) return t->slot[at];
    size_t size = sizeof *e + (size_t)n * sizeof e->a[0];
    e->id = ir->next_expr++;
    struct expr *made = arena_alloc(ir->arena, size);
    memcpy(made, e, size);
    t->slot[at] = made;
    if (++t->n * 2 > t->cap) table_grow(t);
    return made;
}

/* ---- leaves and forms without folding -------------------------------------------------------- */

static const struct expr *maybe_splat(struct ir *ir, const struct expr *e, struct type t)
{
    return t.lanes > 1 ? expr_splat(ir, e, t.lanes) : e;
}

const struct expr *expr_int_of(struct ir *ir, struct type t, int64_t v)
{
    return maybe_splat(ir, expr_make(ir, OP_INT, type_of(t.dtype), NULL, 0, &v), t);
}

const struct expr *expr_int(struct ir *ir, int64_t v)
{
    return expr_int_of(ir, type_of(TYPE_S64), v);
}
const struct expr *expr_bool(struct ir *ir, bool v) { return expr_int_of(ir, type_of(TYPE_B1), v); }

const struct expr *expr_real(struct ir *ir, struct type t, double v)
{
    return maybe_splat(ir, expr_make(ir, OP_REAL, type_of(t.dtype), NULL, 0, &v), t);
}

const struct expr *expr_const(struct ir *ir, struct type t, double v)
{
    if (dtype_is_float(t.dtype)) return expr_real(ir, t, v);
    union scalar from = {.f = v}, to = {0};
    scalar_eval(OP_CAST, t.dtype, TYPE_F64, CAST_PLAIN, &from, &to);
    return expr_int_of(ir, t, to.i);
}

const struct expr *expr_var(struct ir *ir, const struct var *v)
{
    return expr_make(ir, OP_VAR, v->type, NULL, 0, v);
}

static struct type load_type(const struct tensor *t, const struct expr *const *idx, int n)
{
    struct type type = t->type;
    for (int i = 0; i < n; i++)
        if (idx[i]->type.lanes > type.lanes) type.lanes = idx[i]->type.lanes;
    return type;
}

const struct expr *expr_load(struct ir *ir, const struct tensor *t, const struct expr *const *idx,
                             int n)
{
    return expr_make(ir, OP_LOAD, load_type(t, idx, n), idx, n, t);
}

const struct expr *expr_loadc(struct ir *ir, const struct tensor *t, const struct expr *cond,
                              const struct expr *def, const struct expr *const *idx, int n)
{
    const struct expr *a[EXPR_CHILDREN] = {cond, def};
    QN_CHECK(n >= 0 && n + 2 <= EXPR_CHILDREN, "load of rank %d", n);
    int64_t known = 0;
    if (expr_is_int(cond, &known) && known) return expr_load(ir, t, idx, n);
    if (n) memcpy(a + 2, idx, (size_t)n * sizeof *idx);
    return expr_make(ir, OP_LOADC, load_type(t, idx, n), a, n + 2, t);
}

bool expr_is_int(const struct expr *e, int64_t *v)
{
    if (e->op != OP_INT) return false;
    if (v) *v = e->u.i;
    return true;
}
