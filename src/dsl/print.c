/* print: the canonical text of operators; parse(print(f)) prints the same text.
 *
 *     op scale {
 *       attr f: real = 2.0
 *       in x[N]: f32
 *       ...
 *
 * Invariants: one item a line, fewest parentheses, reals with the fewest digits that read back
 * equal. The semantic text of an operator is this text without its algorithms; its hash is the
 * log's key, so a change of spelling here is a change of every key. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsl/ast.h"

enum { LEVEL_PRODUCT = 10, TEXT_MAX = 4 << 20 };

static void put_real(struct buf *b, double f)
{
    char s[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, f);
        if (strtod(s, NULL) == f) break;
    }
    buf_puts(b, s);
    if (!strpbrk(s, ".en")) buf_puts(b, ".0");
}

static void put_ranges(struct buf *b, const struct range_item *r, int n)
{
    for (int i = 0; i < n; i++) {
        buf_printf(b, "%s%s: ", i ? ", " : "", r[i].name);
        if (r[i].lo) {
            node_print(b, r[i].lo, 0);
            buf_puts(b, "..");
        }
        node_print(b, r[i].hi, 0);
    }
}

static void put_nodes(struct buf *b, const struct node *const *a, int n)
{
    for (int i = 0; i < n; i++) {
        if (i) buf_puts(b, ", ");
        node_print(b, a[i], 0);
    }
}

static void put_names(struct buf *b, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) buf_printf(b, "%s%s", i ? ", " : "", names[i]);
}

static void put_reduce(struct buf *b, const struct node *n)
{
    buf_printf(b, "%s(", n->name);
    put_ranges(b, n->range, n->nrange);
    buf_puts(b, ") ");
    if (n->n == 1) {
        node_print(b, n->a[0], LEVEL_PRODUCT);
        return;
    }
    int t = n->ntuple;
    buf_putc(b, '(');
    put_nodes(b, n->a, t);
    buf_puts(b, ") with (");
    put_names(b, n->lhs, t);
    buf_puts(b, "), (");
    put_names(b, n->rhs, t);
    buf_puts(b, ") -> (");
    put_nodes(b, n->a + t, t);
    buf_puts(b, ") from (");
    put_nodes(b, n->a + 2 * t, t);
    buf_putc(b, ')');
}

static void put_case(struct buf *b, const struct node *n)
{
    buf_puts(b, "case {");
    for (int i = 0; i + 1 < n->n; i += 2) {
        node_print(b, n->a[i], 0);
        buf_puts(b, ": ");
        node_print(b, n->a[i + 1], 0);
        buf_puts(b, ", ");
    }
    buf_puts(b, "else: ");
    node_print(b, n->a[n->n - 1], 0);
    buf_putc(b, '}');
}

/* level: the weakest binding allowed here without parentheses */
void node_print(struct buf *b, const struct node *n, int level)
{
    bool paren = false;
    if (n->kind == NODE_BINARY || n->kind == NODE_UNARY) paren = oper_infos[n->oper].level < level;
    if (n->kind == NODE_REDUCE) paren = level > 0; /* its body would take what follows */
    if (paren) buf_putc(b, '(');
    switch (n->kind) {
    case NODE_INT:
        buf_printf(b, "%" PRId64, n->i);
        break;
    case NODE_REAL:
        put_real(b, n->f);
        break;
    case NODE_NAME:
        buf_puts(b, n->name);
        break;
    case NODE_LIST:
        buf_putc(b, '[');
        put_nodes(b, n->a, n->n);
        buf_putc(b, ']');
        break;
    case NODE_UNARY:
        buf_printf(b, "%s%s", oper_infos[n->oper].spelling, n->oper == OPER_LNOT ? " " : "");
        node_print(b, n->a[0], oper_infos[n->oper].level);
        break;
    case NODE_BINARY: {
        int own = oper_infos[n->oper].level;
        node_print(b, n->a[0], own == 4 ? 5 : own);
        buf_printf(b, " %s ", oper_infos[n->oper].spelling);
        node_print(b, n->a[1], own + 1);
        break;
    }
    case NODE_CALL:
    case NODE_READ:
        buf_printf(b, "%s%c", n->name, n->kind == NODE_CALL ? '(' : '[');
        put_nodes(b, n->a, n->n);
        buf_putc(b, n->kind == NODE_CALL ? ')' : ']');
        break;
    case NODE_ELSE:
        buf_putc(b, '(');
        node_print(b, n->a[0], 0);
        buf_puts(b, " else ");
        node_print(b, n->a[1], 0);
        buf_putc(b, ')');
        break;
    case NODE_CASE:
        put_case(b, n);
        break;
    case NODE_REDUCE:
        put_reduce(b, n);
        break;
    }
    if (paren) buf_putc(b, ')');
}

bool node_equal(const struct node *a, const struct node *b)
{
    if (a == b) return true;
    struct buf x, y;
    buf_init(&x, TEXT_MAX);
    buf_init(&y, TEXT_MAX);
    node_print(&x, a, 0);
    node_print(&y, b, 0);
    bool equal = x.n == y.n && !x.full && memcmp(x.p, y.p, x.n) == 0;
    buf_fini(&x);
    buf_fini(&y);
    return equal;
}

static void put_when(struct buf *b, const struct node *when)
{
    if (!when) return;
    buf_puts(b, " when ");
    node_print(b, when, 0);
}

static void put_domain(struct buf *b, const struct item *it)
{
    if (it->nname) {
        buf_puts(b, " in {");
        put_names(b, it->names, it->nname);
        buf_putc(b, '}');
    } else if (it->nchoice) {
        buf_puts(b, " in {");
        put_nodes(b, it->choice, it->nchoice);
        buf_putc(b, '}');
    } else if (it->lo) {
        buf_puts(b, " in ");
        node_print(b, it->lo, 0);
        buf_puts(b, "..");
        node_print(b, it->hi, 0);
    }
}

static void put_attr(struct buf *b, const struct item *it)
{
    buf_puts(b, it->name);
    if (it->attr == ATTR_REAL) buf_puts(b, ": real");
    if (it->attr == ATTR_LIST) buf_puts(b, ": list");
    if (it->def) {
        buf_puts(b, " = ");
        node_print(b, it->def, 0);
    }
    put_domain(b, it);
}

static void put_store(struct buf *b, const struct store_clause *c)
{
    buf_puts(b, " store ");
    for (int i = 0; i < c->n; i++) {
        const struct store_term *t = &c->term[i];
        if (i) buf_puts(b, ", ");
        if (t->dim)
            buf_puts(b, t->dim);
        else
            buf_printf(b, "%d", t->pos);
        if (!t->how) continue;
        buf_putc(b, t->how);
        node_print(b, t->arg, LEVEL_PRODUCT + 1);
    }
    put_when(b, c->when);
}

static void put_tensor(struct buf *b, const struct item *it)
{
    buf_printf(b, "%s[", it->name);
    put_nodes(b, it->extent, it->rank);
    buf_printf(b, "]: %s", it->type);
    if (it->kind == ITEM_TABLE) {
        buf_puts(b, " = ");
        node_print(b, it->def, 0);
        return;
    }
    if (it->lo) {
        buf_puts(b, " in ");
        node_print(b, it->lo, 0);
        buf_puts(b, "..");
        node_print(b, it->hi, 0);
    }
    put_when(b, it->when);
    for (int i = 0; i < it->nstore; i++) put_store(b, &it->store[i]);
}

static void put_equation(struct buf *b, const struct item *it)
{
    if (it->nref > 1) buf_putc(b, '(');
    for (int r = 0; r < it->nref; r++) {
        buf_printf(b, "%s%s[", r ? ", " : "", it->ref[r].name);
        for (int i = 0; i < it->ref[r].n; i++) {
            const struct sub_item *s = &it->ref[r].sub[i];
            if (i) buf_puts(b, ", ");
            node_print(b, s->e, 0);
            if (!s->ranged) continue;
            buf_puts(b, ": ");
            if (s->range.lo) {
                node_print(b, s->range.lo, 0);
                buf_puts(b, "..");
            }
            node_print(b, s->range.hi, 0);
        }
        buf_putc(b, ']');
    }
    buf_puts(b, it->nref > 1 ? ") = " : " = ");
    node_print(b, it->value, 0);
    if (it->nrange) {
        buf_puts(b, " for ");
        put_ranges(b, it->range, it->nrange);
    }
    if (it->scan) buf_printf(b, " scan %s", it->scan);
    put_when(b, it->when);
}

static void put_item(struct buf *b, const struct item *it)
{
    buf_puts(b, "  ");
    switch (it->kind) {
    case ITEM_ATTR:
        buf_puts(b, "attr ");
        put_attr(b, it);
        break;
    case ITEM_SHORT:
        buf_printf(b, "short %s = ", it->name);
        put_names(b, it->names, it->nname);
        break;
    case ITEM_DYN:
        buf_printf(b, "dyn %s", it->name);
        break;
    case ITEM_LET:
        buf_printf(b, "let %s = ", it->name);
        node_print(b, it->def, 0);
        break;
    case ITEM_REQUIRE:
        buf_puts(b, "require ");
        node_print(b, it->def, 0);
        buf_printf(b, ", \"%s\"", it->text);
        break;
    case ITEM_TENSOR:
        buf_printf(b, "%s ", scope_names[it->scope]);
        put_tensor(b, it);
        break;
    case ITEM_TABLE:
        buf_puts(b, "table ");
        put_tensor(b, it);
        break;
    case ITEM_DEF:
        buf_printf(b, "def %s(", it->name);
        put_names(b, it->names, it->nname);
        buf_puts(b, ") = ");
        node_print(b, it->value, 0);
        break;
    case ITEM_EQUATION:
        put_equation(b, it);
        break;
    }
    buf_putc(b, '\n');
}

static void put_body(struct buf *b, const struct body *body)
{
    buf_puts(b, "{\n");
    for (int i = 0; i < body->n; i++) put_item(b, body->item[i]);
    buf_puts(b, "}\n");
}

static void put_algorithm(struct buf *b, const struct algorithm *al)
{
    buf_printf(b, "algorithm %s", al->name);
    for (int i = 0; i < al->nparam; i++) {
        buf_puts(b, i ? ", " : "(");
        put_attr(b, al->param[i]);
    }
    if (al->nparam) buf_putc(b, ')');
    buf_printf(b, " for %s", al->op);
    put_when(b, al->when);
    buf_putc(b, ' ');
    put_body(b, &al->body);
}

void operator_semantic(struct buf *b, const struct operator* op)
{
    buf_printf(b, "op %s ", op->name);
    put_body(b, &op->body);
}

void operator_text(struct buf *b, const struct operator* op)
{
    operator_semantic(b, op);
    for (int i = 0; i < op->nalgorithm; i++) put_algorithm(b, op->algorithm[i]);
}

void dsl_print(struct buf *b, const struct op_file *f)
{
    for (int i = 0; i < f->nop; i++) operator_text(b, f->op[i]);
}

void operator_id(const struct operator* op, char id[HASH_ID_LEN + 1])
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    operator_semantic(&b, op);
    hash_id(id, b.p, b.n);
    buf_fini(&b);
}
