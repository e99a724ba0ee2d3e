/* cg_c_expr: scalar expressions, and vector expressions one lane at a time.
 *
 *   s8: a + b  ->  ((int8_t)((uint32_t)a + (uint32_t)b))
 *                  integers wrap, without undefined behaviour
 *
 * Invariants: a printed text evaluates each operand once; index arithmetic (s64 without memory
 * reads) prints plainly, because it cannot overflow; nothing is printed before its operands'
 * declarations. */
#include <stdio.h>
#include <string.h>

#include "codegen/cg_c.h"

/* ---- facts, counts and names ----------------------------------------------------------------- */

static struct cc_info *info_of(struct cc *c, const struct expr *e)
{
    if (e->id >= c->ninfo) {
        size_t n = e->id + e->id / 2 + 256;
        c->info = mem_grow(c->info, c->ninfo * sizeof *c->info, n * sizeof *c->info);
        c->ninfo = n;
    }
    return &c->info[e->id];
}

static uint8_t reads_of_tensor(struct cc *c, const struct tensor *t)
{
    switch (t->scope) {
    case SCOPE_REG:
        return CC_READS_REG;
    case SCOPE_IN:
    case SCOPE_CONST:
    case SCOPE_TABLE:
        return CC_READS_FIXED;
    case SCOPE_PACKED:
        return c->packing ? CC_READS_MEMORY : CC_READS_FIXED;
    default:
        return CC_READS_MEMORY;
    }
}

uint8_t cc_reads(struct cc *c, const struct expr *e)
{
    struct cc_info *i = info_of(c, e);
    if (i->reads_fn == c->fn->serial) return i->reads;
    uint8_t r = e->op == OP_LOAD || e->op == OP_LOADC ? reads_of_tensor(c, e->u.tensor) : 0;
    for (int k = 0; k < e->n; k++) r |= cc_reads(c, e->a[k]);
    i = info_of(c, e);
    i->reads = r;
    i->reads_fn = c->fn->serial;
    return r;
}

void cc_count(struct cc *c, const struct expr *e, bool moving_only)
{
    bool fixed = (cc_reads(c, e) & (CC_READS_MEMORY | CC_READS_REG)) == 0;
    if (e->n == 0 || (fixed && moving_only)) return;
    struct cc_info *i = info_of(c, e);
    uint32_t stamp = fixed ? c->region : c->stmt;
    if (i->stamp != stamp) i->uses = 0;
    i->stamp = stamp;
    if (++i->uses > 1) return;
    if ((e->op == OP_LOAD || (e->op == OP_LOADC && e->a[0]->type.lanes > 1)) && !moving_only)
        cc_count_address(c, e->u.tensor, e->a[expr_load_first(e)]);
    for (int k = 0; k < e->n; k++) cc_count(c, e->a[k], moving_only);
}

static uint32_t epoch_of(struct cc *c, uint8_t reads)
{
    return reads & CC_READS_REG ? c->stmt : reads & CC_READS_MEMORY ? c->epoch : 0;
}

const char *cc_recall(struct cc *c, const struct expr *e, enum cc_shape *shape)
{
    uint8_t reads = cc_reads(c, e);
    struct cc_memo m = info_of(c, e)->memo;
    bool live = m.text && m.fn == c->fn->serial && c->scope_open.p[m.scope] &&
                m.epoch == epoch_of(c, reads);
    if (!live) return NULL;
    *shape = (enum cc_shape)m.shape;
    return m.text;
}

void cc_remember(struct cc *c, const struct expr *e, const char *name, enum cc_shape shape)
{
    uint8_t reads = cc_reads(c, e);
    info_of(c, e)->memo =
        (struct cc_memo){name, (uint8_t)shape, c->fn->serial, c->fn->scope, epoch_of(c, reads)};
}

/* Used more than once, and more than one operator on leaves. */
bool cc_worth_naming(struct cc *c, const struct expr *e)
{
    struct cc_info *i = info_of(c, e);
    uint32_t stamp = (cc_reads(c, e) & (CC_READS_MEMORY | CC_READS_REG)) == 0 ? c->region : c->stmt;
    if (e->n == 0 || i->stamp != stamp || i->uses < 2) return false;
    if (c->guarded && cc_reads(c, e)) return false;
    if (e->op == OP_LOAD && e->u.tensor->scope == SCOPE_REG) return false;
    if (e->op == OP_LOAD || e->op == OP_LOADC) return true;
    for (int k = 0; k < e->n; k++)
        if (e->a[k]->n) return true;
    return e->type.dtype != TYPE_S64 && e->op != OP_SPLAT;
}

/* ---- integers -------------------------------------------------------------------------------- */

static int width_of(enum dtype d) { return dtype_bits(d) == 64 ? 64 : 32; }

/* Text of an unsigned value of the working width, as the type. */
const char *cc_wrap(struct cc *c, enum dtype d, const char *u)
{
    switch (d) {
    case TYPE_S4:
        cc_need(c, "qn_wrap_s4");
        return cc_fmt(c, "qn_wrap_s4(%s)", cc_bare(c, u));
    case TYPE_U4:
        return cc_fmt(c, "((uint8_t)(%s & 15))", u);
    case TYPE_B1:
        return cc_fmt(c, "((int)(%s & 1))", u);
    case TYPE_U64:
    case TYPE_U32:
        return u;
    default:
        return cc_fmt(c, "((%s)%s)", cc_value_type(d), u);
    }
}

static const char *as_unsigned(struct cc *c, enum dtype d, const char *x)
{
    if (d == TYPE_U64 || d == TYPE_U32) return x;
    return cc_fmt(c, "(uint%d_t)%s", width_of(d), x);
}

const char *cc_binary_int(struct cc *c, enum dtype d, const char *x, const char *op, const char *y)
{
    return cc_wrap(c, d, cc_fmt(c, "(%s %s %s)", as_unsigned(c, d, x), op, as_unsigned(c, d, y)));
}

static const char *call_wide(struct cc *c, enum dtype d, const char *name, const char *x,
                             const char *y)
{
    char helper[32];
    bool u = d == TYPE_U64;
    snprintf(helper, sizeof helper, "qn_%s_%s", name, u ? "u64" : "s64");
    cc_need(c, helper);
    const char *call = cc_fmt(c, "%s((%s)%s, (%s)%s)", helper, u ? "uint64_t" : "int64_t", x,
                              u ? "uint64_t" : "int64_t", y);
    return width_of(d) == 64 ? call : cc_wrap(c, d, cc_fmt(c, "(uint32_t)%s", call));
}

static bool plain_index(struct cc *c, const struct expr *e)
{
    return e->type.dtype == TYPE_S64 && cc_reads(c, e) == 0;
}

static const char *divmod(struct cc *c, const struct expr *e, const char *x, const char *y)
{
    enum dtype d = (enum dtype)e->type.dtype;
    bool div = e->op == OP_DIV;
    int64_t by = 0;
    bool known = expr_is_int(e->a[1]->op == OP_SPLAT ? e->a[1]->a[0] : e->a[1], &by) && by > 0;
    bool positive =
        e->type.lanes == 1 && plain_index(c, e) && known && expr_range(c->env, e->a[0]).lo >= 0;
    if (positive || (d == TYPE_U64 && known)) return cc_fmt(c, "(%s %c %s)", x, div ? '/' : '%', y);
    if (d == TYPE_U64) {
        cc_need(c, div ? "qn_udiv" : "qn_umod");
        return cc_fmt(c, "qn_u%s(%s, %s)", div ? "div" : "mod", cc_bare(c, x), cc_bare(c, y));
    }
    const char *name = div ? "qn_floordiv" : "qn_floormod";
    cc_need(c, name);
    const char *call = d == TYPE_S64 ? cc_fmt(c, "%s(%s, %s)", name, cc_bare(c, x), cc_bare(c, y))
                                     : cc_fmt(c, "%s((int64_t)%s, (int64_t)%s)", name, x, y);
    return d == TYPE_S64 ? call : cc_wrap(c, d, cc_fmt(c, "(uint32_t)%s", call));
}

static const char *shift(struct cc *c, const struct expr *e, const char *x, const char *y)
{
    enum dtype d = (enum dtype)e->type.dtype;
    if (e->op == OP_SHL) return cc_wrap(c, d, cc_fmt(c, "(%s << %s)", as_unsigned(c, d, x), y));
    if (e->op == OP_SHR)
        return d == TYPE_S64 || d == TYPE_U64 || d == TYPE_S32 || d == TYPE_U32
                   ? cc_fmt(c, "(%s >> %s)", x, y)
                   : cc_fmt(c, "((%s)(%s >> %s))", cc_value_type(d), x, y);
    return call_wide(c, d, "rshr", x, y);
}

/* Operand text without parentheses that precedence makes needless: sums and products of index
 * arithmetic. */
static const char *loose(struct cc *c, const struct expr *e, const char *text, bool product_only)
{
    bool sum = e->op == OP_ADD || e->op == OP_SUB;
    bool fine = plain_index(c, e) && (e->op == OP_MUL || (sum && !product_only));
    return fine ? cc_bare(c, text) : text;
}

/* Operand of && or ||. */
static const char *term(struct cc *c, const struct expr *e, enum op op, const char *text)
{
    bool compared = e->op >= OP_EQ && e->op <= OP_LE && text[0] == '(';
    return compared || e->op == op ? cc_bare(c, text) : text;
}

static const char *int_node(struct cc *c, const struct expr *e, const char *const *v)
{
    static const char *const infix[OP_COUNT] = {[OP_ADD] = "+", [OP_SUB] = "-", [OP_MUL] = "*",
                                                [OP_AND] = "&", [OP_OR] = "|",  [OP_XOR] = "^"};
    enum dtype d = (enum dtype)e->type.dtype;
    bool plain = plain_index(c, e);
    switch ((enum op)e->op) {
    case OP_ADD:
    case OP_SUB:
    case OP_MUL:
        if (plain && e->op == OP_MUL)
            return cc_fmt(c, "(%s * %s)", loose(c, e->a[0], v[0], true), v[1]);
        if (plain)
            return cc_fmt(c, "(%s %s %s)", loose(c, e->a[0], v[0], false), infix[e->op],
                          loose(c, e->a[1], v[1], true));
        return cc_binary_int(c, d, v[0], infix[e->op], v[1]);
    case OP_AND:
    case OP_OR:
        if (d == TYPE_B1)
            return cc_fmt(c, "(%s %s %s)", term(c, e->a[0], (enum op)e->op, v[0]),
                          e->op == OP_AND ? "&&" : "||", term(c, e->a[1], (enum op)e->op, v[1]));
        return cc_binary_int(c, d, v[0], infix[e->op], v[1]);
    case OP_XOR:
        if (d == TYPE_B1) return cc_fmt(c, "(%s != %s)", v[0], v[1]);
        return cc_binary_int(c, d, v[0], "^", v[1]);
    case OP_NOT:
        return d == TYPE_B1 ? cc_fmt(c, "(!%s)", v[0])
                            : cc_wrap(c, d, cc_fmt(c, "(~%s)", as_unsigned(c, d, v[0])));
    case OP_NEG:
        return cc_wrap(c, d, cc_fmt(c, "(0u - %s)", as_unsigned(c, d, v[0])));
    case OP_ABS:
        if (!dtype_is_signed(d)) return v[0];
        cc_need(c, "qn_abs_s64");
        return d == TYPE_S64 ? cc_fmt(c, "qn_abs_s64(%s)", cc_bare(c, v[0]))
                             : cc_wrap(c, d, cc_fmt(c, "(uint32_t)qn_abs_s64((int64_t)%s)", v[0]));
    case OP_MIN:
        return call_wide(c, d, "min", v[0], v[1]);
    case OP_MAX:
        return call_wide(c, d, "max", v[0], v[1]);
    case OP_DIV:
    case OP_MOD:
        return divmod(c, e, v[0], v[1]);
    case OP_SHL:
    case OP_SHR:
    case OP_RSHR:
        return shift(c, e, v[0], v[1]);
    case OP_POPCOUNT: {
        cc_need(c, "qn_popcount");
        int bits = dtype_bits(d);
        const char *x = as_unsigned(c, d, v[0]);
        if (bits < 32) x = cc_fmt(c, "(%s & %d)", x, (1 << bits) - 1);
        const char *call = cc_fmt(c, "qn_popcount(%s)", cc_bare(c, x));
        return d == TYPE_S64 ? call : cc_wrap(c, d, cc_fmt(c, "(uint%d_t)%s", width_of(d), call));
    }
    default:
        return cc_fail(c, "c.op", "%s of %s cannot be said in C", op_name((enum op)e->op),
                       dtype_name(d));
    }
}

/* ---- floats ---------------------------------------------------------------------------------- */

const char *cc_narrow(struct cc *c, enum dtype d, const char *x)
{
    if (d != TYPE_F16 && d != TYPE_BF16) return x;
    const char *name = d == TYPE_F16 ? "qn_narrow_f16" : "qn_narrow_bf16";
    cc_need(c, name);
    return cc_fmt(c, "%s(%s)", name, cc_bare(c, x));
}

const char *cc_call_float(struct cc *c, enum dtype d, const char *name, const char *x,
                          const char *y)
{
    char helper[32];
    snprintf(helper, sizeof helper, "qn_%s_%s", name, d == TYPE_F64 ? "f64" : "f32");
    cc_need(c, helper);
    return y ? cc_fmt(c, "%s(%s, %s)", helper, cc_bare(c, x), cc_bare(c, y))
             : cc_fmt(c, "%s(%s)", helper, cc_bare(c, x));
}

static const char *float_node(struct cc *c, const struct expr *e, const char *const *v)
{
    enum dtype d = (enum dtype)e->type.dtype;
    switch ((enum op)e->op) {
    case OP_ADD:
        return cc_narrow(c, d, cc_fmt(c, "(%s + %s)", v[0], v[1]));
    case OP_SUB:
        return cc_narrow(c, d, cc_fmt(c, "(%s - %s)", v[0], v[1]));
    case OP_MUL:
        return cc_narrow(c, d, cc_fmt(c, "(%s * %s)", v[0], v[1]));
    case OP_DIV:
        return cc_narrow(c, d, cc_fmt(c, "(%s / %s)", v[0], v[1]));
    case OP_FMA:
        return cc_narrow(c, d, cc_fmt(c, "(%s * %s + %s)", v[0], v[1], v[2]));
    case OP_NEG:
        return cc_fmt(c, "(-%s)", v[0]);
    case OP_MIN:
        return cc_call_float(c, d, "min", v[0], v[1]);
    case OP_MAX:
        return cc_call_float(c, d, "max", v[0], v[1]);
    case OP_ABS:
        return cc_call_float(c, d, "abs", v[0], NULL);
    case OP_SQRT:
        return cc_narrow(c, d, cc_call_float(c, d, c->vector ? "hsqrt" : "sqrt", v[0], NULL));
    case OP_FLOOR:
    case OP_CEIL:
    case OP_ROUND:
    case OP_TRUNC: {
        static const char *const soft[] = {"floor", "ceil", "round", "trunc"},
                                 *const hard[] = {"hfloor", "hceil", "hround", "htrunc"};
        return cc_narrow(c, d,
                         cc_call_float(c, d,
                                       c->sse41 ? hard[e->op - OP_FLOOR] : soft[e->op - OP_FLOOR],
                                       v[0], NULL));
    }
    default:
        return cc_fail(c, "c.op", "%s cannot be said in C; it is expanded before",
                       op_name((enum op)e->op));
    }
}

/* ---- comparisons and casts ------------------------------------------------------------------- */

static const char *compare(struct cc *c, const struct expr *e, const char *x, const char *y)
{
    static const char *const ops[4] = {"==", "!=", "<", "<="};
    enum dtype d = (enum dtype)e->a[0]->type.dtype;
    bool order = e->op == OP_LT || e->op == OP_LE;
    /* a narrow or unsigned value against a constant may be decided by its type alone, which
     * compilers warn of */
    bool literal = e->a[0]->op == OP_INT || e->a[1]->op == OP_INT || e->a[0]->op == OP_SPLAT ||
                   e->a[1]->op == OP_SPLAT;
    if (order && literal && dtype_is_int(d) && d != TYPE_S64 && d != TYPE_S32) {
        const char *name = d == TYPE_U64 ? (e->op == OP_LT ? "qn_lt_u64" : "qn_le_u64")
                                         : (e->op == OP_LT ? "qn_lt_s64" : "qn_le_s64");
        cc_need(c, name);
        return cc_fmt(c, "%s(%s, %s)", name, cc_bare(c, x), cc_bare(c, y));
    }
    return cc_fmt(c, "(%s %s %s)", loose(c, e->a[0], x, false), ops[e->op - OP_EQ],
                  loose(c, e->a[1], y, false));
}

/* ---- horizontal ------------------------------------------------------------------------------ */

/* Lanes to an array, then halves onto halves. */
static const char *horizontal(struct cc *c, const struct expr *e)
{
    enum dtype d = (enum dtype)e->type.dtype;
    int lanes = e->a[0]->type.lanes;
    const char *outer = c->lane, *type = cc_value_type(d), *t = cc_name(c, "h"),
               *n = cc_name(c, "n");
    if (c->guarded) return cc_fail(c, "c.form", "a horizontal operation stands under a guard");
    if (c->vector && dtype_is_float(d) && cc_is_vector_type(c, e->a[0]->type) &&
        cc_fits_register(c, e->a[0]->type)) {
        c->lane = NULL;
        const char *x = cc_vector(c, e->a[0]);
        c->lane = outer;
        return cc_vfn_horizontal(c, (enum op)e->op, e->a[0]->type, x);
    }
    cc_line(c, "%s %s[%d];", type, t, lanes);
    uint32_t saved;
    c->lane = cc_lane_open(c, lanes, &saved);
    cc_line(c, "%s[%s] = %s;", t, c->lane, cc_bare(c, cc_expr(c, e->a[0])));
    cc_lane_close(c, saved);
    cc_line(c, "for (int %s = %d; %s > 0; %s /= 2) {", n, lanes / 2, n, n);
    c->fn->depth++;
    const char *l = cc_name(c, "l");
    cc_line(c, "for (int %s = 0; %s < %s; %s++) {", l, l, n, l);
    const char *v[2] = {cc_fmt(c, "%s[%s]", t, l), cc_fmt(c, "%s[%s + %s]", t, l, n)};
    struct expr fake = {.op = (uint16_t)(e->op == OP_HSUM   ? OP_ADD
                                         : e->op == OP_HMAX ? OP_MAX
                                                            : OP_MIN),
                        .type = e->type};
    bool real = dtype_is_float(d);
    const char *sum = real ? float_node(c, &fake, v)
                      : e->op == OP_HSUM
                          ? cc_binary_int(c, d, v[0], "+", v[1])
                          : call_wide(c, d, e->op == OP_HMAX ? "max" : "min", v[0], v[1]);
    cc_line(c, "    %s = %s;", v[0], cc_bare(c, sum));
    cc_line(c, "}");
    c->fn->depth--;
    cc_line(c, "}");
    c->lane = outer;
    return cc_fmt(c, "%s[0]", t);
}

/* ---- loads ----------------------------------------------------------------------------------- */

static const char *load(struct cc *c, const struct expr *e)
{
    const struct tensor *t = e->u.tensor;
    int first = expr_load_first(e);
    if (e->n != first + 1) return cc_fail(c, "c.form", "tensor '%s' is not flat", t->name);
    if (t->scope == SCOPE_REG) {
        const char *v = cc_reg(c, t, e->a[first]);
        if (t->type.lanes > 1) v = cc_fmt(c, "%s[%s]", v, c->lane ? c->lane : "0");
        if (e->op == OP_LOAD) return v;
        return cc_fmt(c, "(%s ? %s : %s)", cc_expr(c, e->a[0]), v, cc_expr(c, e->a[1]));
    }
    if (e->op == OP_LOAD) return cc_load_element(c, t, e->a[first]);
    const char *cond = cc_expr(c, e->a[0]), *other = cc_expr(c, e->a[1]);
    c->guarded++;
    const char *v = cc_load_element(c, t, e->a[first]);
    c->guarded--;
    return cc_fmt(c, "(%s ? %s : %s)", cond, v, other);
}

static const char *select_text(struct cc *c, const struct expr *e, const char *const *v)
{
    enum dtype d = (enum dtype)e->type.dtype;
    const char *s = cc_fmt(c, "(%s ? %s : %s)", v[0], v[1], v[2]);
    return dtype_is_int(d) && dtype_bits(d) < 32 ? cc_fmt(c, "((%s)%s)", cc_value_type(d), s) : s;
}

static const char *ramp(struct cc *c, const struct expr *e)
{
    int64_t stride = 0;
    const char *base = cc_expr(c, e->a[0]), *l = c->lane;
    if (e->type.dtype != TYPE_S64) {
        const char *step = cc_binary_int(c, (enum dtype)e->type.dtype, l, "*", cc_expr(c, e->a[1]));
        return cc_binary_int(c, (enum dtype)e->type.dtype, base, "+", step);
    }
    if (!expr_is_int(e->a[1], &stride))
        return cc_fmt(c, "(%s + %s * %s)", base, l, cc_expr(c, e->a[1]));
    const char *step = stride == 1 ? l : cc_fmt(c, "%s * %s", l, cc_int(c, TYPE_S64, stride));
    int64_t zero = 1;
    if (expr_is_int(e->a[0], &zero) && zero == 0)
        return stride == 1 ? cc_fmt(c, "(int64_t)%s", l) : cc_fmt(c, "((int64_t)%s)", step);
    return cc_fmt(c, "(%s + %s)", base, step);
}

/* ---- one node -------------------------------------------------------------------------------- */

static const char *print_node(struct cc *c, const struct expr *e)
{
    const char *v[3] = {0};
    switch ((enum op)e->op) {
    case OP_INT:
        return cc_int(c, (enum dtype)e->type.dtype, e->u.i);
    case OP_REAL:
        return cc_real(c, (enum dtype)e->type.dtype, e->u.f);
    case OP_VAR:
        if (!c->fn->var[e->u.var->id])
            return cc_fail(c, "c.form", "variable '%s' is not bound", e->u.var->name);
        if (c->is_bits[e->u.var->id])
            return cc_fmt(c, "((%s >> %s & 1) != 0)", c->fn->var[e->u.var->id], c->lane);
        return e->type.lanes > 1 ? cc_fmt(c, "%s[%s]", c->fn->var[e->u.var->id], c->lane)
                                 : c->fn->var[e->u.var->id];
    case OP_LOAD:
    case OP_LOADC:
        return load(c, e);
    case OP_HSUM:
    case OP_HMAX:
    case OP_HMIN:
        return horizontal(c, e);
    case OP_RAMP:
        return ramp(c, e);
    default:
        break;
    }
    for (int i = 0; i < e->n && i < 3; i++) v[i] = cc_expr(c, e->a[i]);
    if (c->failed) return "0";
    switch ((enum op)e->op) {
    case OP_SPLAT:
        return v[0];
    case OP_EQ:
    case OP_NE:
    case OP_LT:
    case OP_LE:
        return compare(c, e, v[0], v[1]);
    case OP_SELECT:
        return select_text(c, e, v);
    case OP_CAST:
        return cc_cast(c, e, v[0]);
    case OP_BITCAST:
        return cc_bitcast(c, e, v[0]);
    default:
        return dtype_is_float((enum dtype)e->type.dtype) ? float_node(c, e, v) : int_node(c, e, v);
    }
}

const char *cc_expr(struct cc *c, const struct expr *e)
{
    if (c->failed) return "0";
    enum cc_shape shape;
    const char *name = cc_recall(c, e, &shape);
    if (name) return shape == CC_VECTOR ? cc_fmt(c, "%s[%s]", name, c->lane) : name;
    bool named = cc_worth_naming(c, e);
    const char *text = print_node(c, e);
    if (!named || c->failed) return text;
    name = cc_name(c, "t");
    cc_line(c, "const %s %s = %s;", cc_value_type((enum dtype)e->type.dtype), name,
            cc_bare(c, text));
    cc_remember(c, e, name, e->type.lanes > 1 ? CC_LANE : CC_SCALAR);
    return name;
}
