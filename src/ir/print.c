/* The text of nests and expressions; IR.txt is its reference, parse.c reads it back.
 *
 *   for y.m in 0..7 parallel
 *     y[y.m] = max(acc[y.m] + b[y.m], 0.0)
 *
 * Invariants: parse(print(n)) prints the same text. s64 literals print bare and f32 literals with a
 * point; other types name themselves (s8(5), f64(0.5)). Parentheses only where C's precedence needs
 * them, so that text is what a person would write. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/private.h"

const char *const cast_names[CAST_FITS_ROUND_EVEN + 1] = {"cast",          "cast_sat",
                                                          "cast_even",     "cast_away",
                                                          "cast_sat_even", "cast_sat_away",
                                                          "cast_fits_even"};
const char *const reduce_names[8] = {"+", "*", "max", "min", "|", "argmax", "argmin", "user"};
const char *const loop_kind_names[4] = {"", "parallel", "vector", "unroll"};
const char *const tail_names[5] = {"", "guard", "peel", "mask", "pad"};

/* Words that mean something at a place where a name can stand; as names they are quoted. */
static const char *const reserved[] = {"nest",     "dyn",    "in",      "const",   "out",
                                       "temp",     "stack",  "reg",     "table",   "packed",
                                       "pack",     "stage",  "for",     "if",      "else",
                                       "let",      "alloc",  "store",   "vector",  "unroll",
                                       "parallel", "reduce", "guard",   "peel",    "mask",
                                       "from",     "with",   "ordered", "started", "true",
                                       "false"};

static bool name_is_plain(const char *s)
{
    for (size_t i = 0; i < QN_COUNT(reserved); i++)
        if (s[0] == reserved[i][0] && strcmp(s, reserved[i]) == 0) return false;
    if (!((*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || *s == '_')) return false;
    for (; *s; s++) {
        bool alpha = (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || *s == '_';
        bool digit = *s >= '0' && *s <= '9';
        if (*s == '.') {
            char next = s[1];
            if (!((next >= 'A' && next <= 'Z') || (next >= 'a' && next <= 'z') || next == '_'))
                return false;
        } else if (!alpha && !digit) {
            return false;
        }
    }
    return true;
}

void name_print(struct buf *b, const char *name)
{
    buf_printf(b, name_is_plain(name) ? "%s" : "\"%s\"", name);
}

/* ---- expressions ----------------------------------------------------------------------------- */

/* C's precedence; 0 = not infix. */
static int precedence(const struct expr *e)
{
    switch ((enum op)e->op) {
    case OP_OR:
        return 1;
    case OP_XOR:
        return 2;
    case OP_AND:
        return 3;
    case OP_EQ:
    case OP_NE:
        return 4;
    case OP_LT:
    case OP_LE:
        return 5;
    case OP_SHL:
    case OP_SHR:
        return 6;
    case OP_ADD:
    case OP_SUB:
        return 7;
    case OP_MUL:
    case OP_DIV:
    case OP_MOD:
        return 8;
    default:
        return 9;
    }
}

/* Shortest decimal that reads back as the same value of the type. */
static void real_digits(char *out, size_t n, double v, enum dtype d)
{
    int most = d == TYPE_F64 ? 17 : 9;
    for (int digits = 1; digits <= most; digits++) {
        snprintf(out, n, "%.*g", digits, v);
        double back = 0;
        sscanf(out, "%lf", &back);
        if (real_round(d, back) == v) return;
    }
}

static void print_real(struct buf *b, const struct expr *e)
{
    char text[40];
    enum dtype d = (enum dtype)e->type.dtype;
    double v = e->u.f;
    bool finite = isfinite(v);
    if (finite)
        real_digits(text, sizeof text, v, d);
    else
        snprintf(text, sizeof text, "%s", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
    if (d != TYPE_F32 || !finite)
        buf_printf(b, "%s(%s)", dtype_name(d), text);
    else
        buf_printf(b, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void print_int(struct buf *b, const struct expr *e)
{
    if (e->type.dtype == TYPE_B1)
        buf_puts(b, e->u.i ? "true" : "false");
    else if (e->type.dtype == TYPE_S64 && e->u.i == INT64_MIN) /* its digits alone are no s64 */
        buf_puts(b, "s64(min)");
    else if (e->type.dtype == TYPE_S64)
        buf_printf(b, "%lld", (long long)e->u.i);
    else
        buf_printf(b, e->u.i == INT64_MIN ? "%s(min)" : "%s(%lld)", dtype_name(e->type.dtype),
                   (long long)e->u.i);
}

static void print_list(struct buf *b, const struct expr *const *a, int n)
{
    for (int i = 0; i < n; i++) {
        if (i) buf_puts(b, ", ");
        expr_print(b, a[i]);
    }
}

static void print_idx(struct buf *b, const struct tensor *t, const struct expr *const *idx)
{
    name_print(b, t->name);
    buf_putc(b, '[');
    print_list(b, idx, t->rank);
    buf_putc(b, ']');
}

static void print_operand(struct buf *b, const struct expr *e, bool parens)
{
    if (parens) buf_putc(b, '(');
    expr_print(b, e);
    if (parens) buf_putc(b, ')');
}

static void print_call(struct buf *b, const struct expr *e)
{
    buf_printf(b, "%s(", op_name((enum op)e->op));
    print_list(b, e->a, e->n);
    if (e->op == OP_RAMP || e->op == OP_SPLAT) buf_printf(b, ", %d", e->type.lanes);
    buf_putc(b, ')');
}

static void print_special(struct buf *b, const struct expr *e)
{
    switch ((enum op)e->op) {
    case OP_LOAD:
        print_idx(b, e->u.tensor, e->a);
        break;
    case OP_LOADC:
        buf_putc(b, '(');
        print_idx(b, e->u.tensor, e->a + 2);
        buf_puts(b, " if ");
        expr_print(b, e->a[0]);
        buf_puts(b, " else ");
        expr_print(b, e->a[1]);
        buf_putc(b, ')');
        break;
    default: /* CAST, BITCAST */
        buf_printf(b, "%s(%s, ", e->op == OP_CAST ? cast_names[e->u.i] : "bitcast",
                   dtype_name(e->type.dtype));
        expr_print(b, e->a[0]);
        buf_putc(b, ')');
    }
}

void expr_print(struct buf *b, const struct expr *e)
{
    int mine = precedence(e);
    switch (op_form((enum op)e->op)) {
    case 'L':
        if (e->op == OP_VAR)
            name_print(b, e->u.var->name);
        else if (e->op == OP_REAL)
            print_real(b, e);
        else
            print_int(b, e);
        break;
    case 'I':
        print_operand(b, e->a[0], precedence(e->a[0]) < mine);
        buf_printf(b, " %s ", op_name((enum op)e->op));
        print_operand(b, e->a[1], precedence(e->a[1]) <= mine);
        break;
    case 'C':
        print_call(b, e);
        break;
    default:
        print_special(b, e);
        break;
    }
}

/* ---- declarations ---------------------------------------------------------------------------- */

static void print_layout(struct buf *b, const struct tensor *t)
{
    if (t->nlayout) buf_puts(b, " store ");
    for (int i = 0; i < t->nlayout; i++) {
        const struct layout_term *l = &t->layout[i];
        buf_printf(b, "%s%d", i ? "," : "", l->dim);
        if (l->div != 1) buf_printf(b, "/%lld", (long long)l->div);
        if (l->mod) buf_printf(b, "%%%lld", (long long)l->mod);
    }
}

static void print_table(struct buf *b, const struct tensor *t)
{
    int64_t n = 1, v = 0;
    for (int i = 0; i < t->rank; i++) {
        QN_CHECK(expr_is_int(t->extent[i], &v), "table %s has a dynamic extent", t->name);
        n *= v;
    }
    buf_puts(b, " = {");
    for (int64_t i = 0; i < n; i++) {
        char text[40];
        real_digits(text, sizeof text, t->table[i], TYPE_F64);
        buf_printf(b, "%s%s", i ? ", " : "", text);
    }
    buf_putc(b, '}');
}

static void print_tensor(struct buf *b, const struct tensor *t)
{
    name_print(b, t->name);
    buf_puts(b, ": ");
    type_print(b, t->type);
    buf_putc(b, '[');
    print_list(b, t->extent, t->rank);
    buf_putc(b, ']');
    print_layout(b, t);
    if (t->scope == SCOPE_TABLE) print_table(b, t);
    buf_putc(b, '\n');
}

/* ---- statements ------------------------------------------------------------------------------ */

static void print_stmt(struct buf *b, const struct stmt *s, int depth);

static void print_for(struct buf *b, const struct stmt *s)
{
    buf_puts(b, "for ");
    name_print(b, s->u.loop.var->name);
    buf_puts(b, " in ");
    expr_print(b, s->u.loop.lo);
    buf_puts(b, "..");
    expr_print(b, s->u.loop.hi);
    if (s->u.loop.kind != LOOP_SERIAL) buf_printf(b, " %s", loop_kind_names[s->u.loop.kind]);
    if (s->u.loop.tail != TAIL_NONE) buf_printf(b, " %s", tail_names[s->u.loop.tail]);
    if (s->u.loop.reduce) buf_puts(b, " reduce");
    if (s->u.loop.ordered) buf_puts(b, " ordered");
    buf_putc(b, '\n');
}

static void print_vars(struct buf *b, const struct var *const *v, int n)
{
    buf_putc(b, '{');
    for (int i = 0; i < n; i++) {
        if (i) buf_puts(b, ", ");
        name_print(b, v[i]->name);
    }
    buf_putc(b, '}');
}

static void print_exprs(struct buf *b, const struct expr *const *e, int n)
{
    buf_putc(b, '{');
    print_list(b, e, n);
    buf_putc(b, '}');
}

static void print_started(struct buf *b, const struct stmt *s)
{
    buf_puts(b, s->u.update.started ? " started\n" : "\n");
}

static void print_update(struct buf *b, const struct stmt *s)
{
    int n = s->u.update.n, op = s->u.update.op;
    if (op < RED_ARGMAX) {
        print_idx(b, s->u.update.tensor[0], s->u.update.idx);
        buf_printf(b, " %s= ", reduce_names[op]);
        expr_print(b, s->u.update.value[0]);
        print_started(b, s);
        return;
    }
    buf_putc(b, '{');
    for (int i = 0; i < n; i++) {
        if (i) buf_puts(b, ", ");
        name_print(b, s->u.update.tensor[i]->name);
    }
    buf_puts(b, "}[");
    print_list(b, s->u.update.idx, s->u.update.tensor[0]->rank);
    buf_printf(b, "] %s= ", reduce_names[op]);
    print_exprs(b, s->u.update.value, n);
    if (op == RED_USER) {
        buf_puts(b, " from ");
        print_exprs(b, s->u.update.identity, n);
        buf_puts(b, " with ");
        print_vars(b, s->u.update.lhs, n);
        buf_puts(b, ", ");
        print_vars(b, s->u.update.rhs, n);
        buf_puts(b, ": ");
        print_exprs(b, s->u.update.combine, n);
    }
    print_started(b, s);
}

static void print_line(struct buf *b, const struct stmt *s)
{
    switch (s->kind) {
    case ST_STAGE:
        buf_puts(b, "stage ");
        name_print(b, s->u.stage.name);
        buf_putc(b, '\n');
        break;
    case ST_FOR:
        print_for(b, s);
        break;
    case ST_IF:
        buf_puts(b, "if ");
        expr_print(b, s->u.cond.cond);
        buf_putc(b, '\n');
        break;
    case ST_LET:
        buf_puts(b, "let ");
        name_print(b, s->u.let.var->name);
        buf_puts(b, " = ");
        expr_print(b, s->u.let.value);
        buf_putc(b, '\n');
        break;
    case ST_ALLOC:
        buf_printf(b, "alloc %s ", scope_names[s->u.alloc.tensor->scope]);
        print_tensor(b, s->u.alloc.tensor);
        break;
    case ST_STORE:
        print_idx(b, s->u.store.tensor, s->u.store.idx);
        buf_puts(b, " = ");
        expr_print(b, s->u.store.value);
        buf_putc(b, '\n');
        break;
    case ST_UPDATE:
        print_update(b, s);
        break;
    case ST_BLOCK:
        break;
    }
}

static void print_stmt(struct buf *b, const struct stmt *s, int depth)
{
    if (s->kind == ST_BLOCK) {
        for (int i = 0; i < s->u.block.n; i++) print_stmt(b, s->u.block.p[i], depth);
        return;
    }
    buf_indent(b, depth);
    print_line(b, s);
    struct stmt **body = stmt_body((struct stmt *)s);
    if (body) print_stmt(b, *body, depth + 1);
}

void stmt_print(struct buf *b, const struct stmt *s) { print_stmt(b, s, 0); }

void nest_print(struct buf *b, const struct nest *n)
{
    buf_puts(b, "nest ");
    name_print(b, n->name);
    buf_putc(b, '\n');
    for (int i = 0; i < n->ndyn; i++) {
        buf_puts(b, "dyn    ");
        name_print(b, n->dyn[i]->name);
        buf_putc(b, '\n');
    }
    for (int i = 0; i < n->ntensor; i++) {
        buf_printf(b, "%-6s ", scope_names[n->tensor[i]->scope]);
        print_tensor(b, n->tensor[i]);
    }
    print_stmt(b, n->body, 0);
    if (n->pack->u.block.n == 0) return;
    buf_puts(b, "pack\n");
    print_stmt(b, n->pack, 1);
}
