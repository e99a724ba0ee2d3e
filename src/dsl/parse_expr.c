/* parse_expr: expressions of .op files, by precedence climbing over opers.def.
 *
 *     sum(r:R, c:C) (x[p + r - pad, c] else 0) * w[r,c]     a reduction's body is one product
 *     max(a, b)   max(k:K) x[k]                              a call, a reduction: the ':' decides
 *
 * Invariants: errors are sticky in the scanner, so every function returns a node even after one;
 * nesting is bounded by DSL_DEPTH and chains by DSL_HEIGHT, so no text overflows the stack. A '('
 * makes a call only on the line of its name, because the next statement may begin with '('. */
#include <string.h>

#include "base/scan.h"
#include "dsl/ast.h"

const struct oper_info oper_infos[OPER_COUNT] = {
#define X(e, s, level, ir, arity) [OPER_##e] = {s, level, OP_##ir, arity},
#include "dsl/opers.def"
#undef X
};

enum { LEVEL_COMPARE = 4, LEVEL_PRODUCT = 10, LEVEL_UNARY = 11 };

void *parse_copy(struct parser *p, const void *items, size_t n, size_t size)
{
    void *out = arena_alloc(p->arena, n * size);
    if (n) memcpy(out, items, n * size);
    return out;
}

static struct node *node_at(struct parser *p, enum node_kind kind, const struct tok *t)
{
    struct node *n = ARENA_NEW(p->arena, struct node);
    n->kind = kind;
    n->line = t->line;
    n->col = t->col;
    return n;
}

static const char *take_name(struct parser *p)
{
    char name[DSL_NAME];
    scan_ident(p->s, "dsl.syntax", name, sizeof name);
    return arena_strdup(p->arena, name);
}

static void set_args(struct parser *p, struct node *n, const struct node **a, int count)
{
    n->n = count;
    n->a = parse_copy(p, a, (size_t)count, sizeof *a);
    for (int i = 0; i < count; i++)
        if (a[i]->height >= n->height) n->height = a[i]->height + 1;
    if (n->height > DSL_HEIGHT)
        scan_error(p->s, &p->s->tok, "dsl.depth",
                   "this expression has more than %d operators in a chain", DSL_HEIGHT);
}

static bool full(struct parser *p, int n, int max, const char *what)
{
    if (n < max) return false;
    scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d %s", max, what);
    return true;
}

/* args up to the closing mark, which is consumed */
static int parse_args(struct parser *p, const struct node **a, int max, const char *end)
{
    int n = 0;
    if (scan_accept(p->s, end)) return 0;
    do {
        if (full(p, n, max, "arguments")) break;
        a[n++] = parse_expr(p);
    } while (scan_accept(p->s, ","));
    scan_expect(p->s, "dsl.syntax", end);
    return n;
}

/* After `name :` : hi or lo..hi. */
struct range_item parse_span(struct parser *p, const struct range_item *start)
{
    struct range_item r = *start;
    r.lo = NULL;
    r.hi = parse_expr(p);
    if (scan_accept(p->s, "..")) {
        r.lo = r.hi;
        r.hi = parse_expr(p);
    }
    return r;
}

int parse_ranges(struct parser *p, const struct range_item **out, const char *end)
{
    struct range_item r[DSL_RANGES];
    int n = 0;
    do {
        if (full(p, n, DSL_RANGES, "ranges")) break;
        struct range_item at = {.line = p->s->tok.line, .col = p->s->tok.col};
        at.name = take_name(p);
        scan_expect(p->s, "dsl.syntax", ":");
        r[n++] = parse_span(p, &at);
    } while (scan_accept(p->s, ","));
    if (end) scan_expect(p->s, "dsl.syntax", end);
    *out = parse_copy(p, r, (size_t)n, sizeof *r);
    return n;
}

static const struct node *parse_level(struct parser *p, int level);

static int parse_tuple_names(struct parser *p, const char **out)
{
    int n = 0;
    scan_expect(p->s, "dsl.syntax", "(");
    do {
        if (full(p, n, DSL_TARGETS, "values in a tuple")) break;
        out[n++] = take_name(p);
    } while (scan_accept(p->s, ","));
    scan_expect(p->s, "dsl.syntax", ")");
    return n;
}

static int parse_tuple(struct parser *p, const struct node **a)
{
    scan_expect(p->s, "dsl.syntax", "(");
    return parse_args(p, a, DSL_TARGETS, ")");
}

/* reduce(k:K) (v, ...) with (a, ...), (b, ...) -> (combine, ...) from (identity, ...) */
static void parse_user_reduce(struct parser *p, struct node *n)
{
    const struct node *a[3 * DSL_TARGETS];
    struct tok at = p->s->tok;
    n->ntuple = parse_tuple(p, a);
    scan_expect(p->s, "dsl.syntax", "with");
    int nl = parse_tuple_names(p, n->lhs);
    scan_expect(p->s, "dsl.syntax", ",");
    int nr = parse_tuple_names(p, n->rhs);
    scan_expect(p->s, "dsl.syntax", "->");
    int nc = parse_tuple(p, a + n->ntuple);
    scan_expect(p->s, "dsl.syntax", "from");
    int ni = parse_tuple(p, a + n->ntuple + nc);
    if (n->ntuple == 0 || nl != n->ntuple || nr != n->ntuple || nc != n->ntuple || ni != n->ntuple)
        scan_error(p->s, &at, "dsl.tuple",
                   "values, names, combines and identities of a reduction must be equally many");
    set_args(p, n, a, n->ntuple + nc + ni);
}

/* Is the '(' at the scanner the start of `(name :`, a reduction's ranges? */
static bool at_ranges(const struct parser *p)
{
    struct scan ahead = *p->s;
    scan_next(&ahead);
    if (ahead.tok.kind != TOK_IDENT) return false;
    scan_next(&ahead);
    return scan_is(&ahead, ":");
}

static const struct node *parse_reduce(struct parser *p, const struct tok *at, const char *name)
{
    struct node *n = node_at(p, NODE_REDUCE, at);
    n->name = name;
    scan_expect(p->s, "dsl.syntax", "(");
    n->nrange = parse_ranges(p, &n->range, ")");
    if (strcmp(name, "reduce") == 0) {
        parse_user_reduce(p, n);
        return n;
    }
    const struct node *body = parse_level(p, LEVEL_PRODUCT);
    n->ntuple = 1;
    set_args(p, n, &body, 1);
    return n;
}

static const struct node *parse_case(struct parser *p, const struct tok *at)
{
    struct node *n = node_at(p, NODE_CASE, at);
    const struct node *a[2 * DSL_ARGS + 1];
    int count = 0;
    scan_expect(p->s, "dsl.syntax", "{");
    while (!scan_is(p->s, "else") && p->s->tok.kind != TOK_END) {
        if (full(p, count, 2 * DSL_ARGS, "cases")) break;
        a[count++] = parse_expr(p);
        scan_expect(p->s, "dsl.syntax", ":");
        a[count++] = parse_expr(p);
        scan_expect(p->s, "dsl.syntax", ",");
    }
    scan_expect(p->s, "dsl.syntax", "else");
    scan_expect(p->s, "dsl.syntax", ":");
    a[count++] = parse_expr(p);
    scan_expect(p->s, "dsl.syntax", "}");
    set_args(p, n, a, count);
    return n;
}

/* Ranges behind a word that reduces nothing, or such a word without them. */
static void check_reduction(struct parser *p, const struct tok *at, const char *name)
{
    char list[160];
    bool known = builtin_is_reduce(name), plain = builtin_is_call(name);
    if (!known && at_ranges(p))
        scan_error(p->s, at, "dsl.reduction", "there is no reduction '%s'; there are %s", name,
                   builtin_reduce_list(list, sizeof list));
    else if (known && !plain && !at_ranges(p))
        scan_error(p->s, at, "dsl.reduction",
                   "'%s' is a reduction: write %s(k:K) value, an index and its extent", name, name);
}

static const struct node *parse_named(struct parser *p)
{
    struct tok at = p->s->tok;
    const char *name = take_name(p);
    const struct node *a[DSL_ARGS];
    bool same_line = p->s->tok.line == at.line;
    if (strcmp(name, "case") == 0 && scan_is(p->s, "{")) return parse_case(p, &at);
    if (same_line && scan_is(p->s, "(")) {
        check_reduction(p, &at, name);
        if (builtin_is_reduce(name) && at_ranges(p)) return parse_reduce(p, &at, name);
        scan_next(p->s);
        struct node *n = node_at(p, NODE_CALL, &at);
        n->name = name;
        set_args(p, n, a, parse_args(p, a, DSL_ARGS, ")"));
        return n;
    }
    if (same_line && scan_accept(p->s, "[")) {
        struct node *n = node_at(p, NODE_READ, &at);
        n->name = name;
        set_args(p, n, a, parse_args(p, a, TASK_RANK, "]"));
        return n;
    }
    struct node *n = node_at(p, NODE_NAME, &at);
    n->name = name;
    return n;
}

enum { LIST_MAX = 4096 };

static const struct node *parse_list(struct parser *p, const struct tok *at)
{
    struct node *n = node_at(p, NODE_LIST, at);
    const struct node **a = arena_alloc(p->arena, 16 * sizeof *a);
    int count = 0, cap = 16;
    scan_next(p->s);
    do {
        if (full(p, count, LIST_MAX, "list elements")) break;
        if (count == cap) {
            const struct node **more = arena_alloc(p->arena, 2 * (size_t)cap * sizeof *a);
            memcpy(more, a, (size_t)cap * sizeof *a);
            a = more;
            cap *= 2;
        }
        a[count++] = parse_expr(p);
    } while (scan_accept(p->s, ","));
    scan_expect(p->s, "dsl.syntax", "]");
    set_args(p, n, a, count);
    return n;
}

static const struct node *parse_paren(struct parser *p)
{
    scan_next(p->s);
    const struct node *e = parse_expr(p);
    struct tok at = p->s->tok;
    if (scan_accept(p->s, "else")) {
        struct node *n = node_at(p, NODE_ELSE, &at);
        const struct node *a[2] = {e, parse_expr(p)};
        if (e->kind != NODE_READ)
            scan_error(p->s, &at, "dsl.else",
                       "'else' gives a tensor read its value outside the tensor: (x[i] else 0)");
        set_args(p, n, a, 2);
        e = n;
    }
    scan_expect(p->s, "dsl.syntax", ")");
    return e;
}

static const struct node *parse_primary(struct parser *p)
{
    struct tok t = p->s->tok;
    if (t.kind == TOK_INT || t.kind == TOK_REAL) {
        struct node *n = node_at(p, t.kind == TOK_INT ? NODE_INT : NODE_REAL, &t);
        n->i = t.i;
        n->f = t.f;
        scan_next(p->s);
        return n;
    }
    if (t.kind == TOK_IDENT && t.n == 2 && memcmp(t.p, "if", 2) == 0)
        scan_error(p->s, &t, "dsl.syntax", "there is no 'if'; write select(condition, then, else)");
    if (t.kind == TOK_IDENT) return parse_named(p);
    if (scan_is(p->s, "(")) return parse_paren(p);
    if (scan_is(p->s, "[")) return parse_list(p, &t);
    if (scan_is(p->s, "*"))
        scan_error(p->s, &t, "dsl.syntax",
                   "expected an expression but found '*'; powers are products, x*x, or "
                   "exp(a*log(x))");
    else if (t.kind == TOK_END)
        scan_error(p->s, &t, "dsl.syntax", "expected an expression but the text ends here");
    else
        scan_error(p->s, &t, "dsl.syntax", "expected an expression but found '%.*s'",
                   (int)(t.n < 40 ? t.n : 40), t.p);
    return node_at(p, NODE_INT, &t);
}

static const struct node *parse_unary(struct parser *p, enum oper op, int level)
{
    struct node *n = node_at(p, NODE_UNARY, &p->s->tok);
    scan_next(p->s);
    const struct node *a = parse_level(p, level);
    n->oper = op;
    set_args(p, n, &a, 1);
    return n;
}

static enum oper binary_here(const struct parser *p, int level)
{
    for (int i = 0; i < OPER_COUNT; i++)
        if (oper_infos[i].arity == 2 && oper_infos[i].level >= level &&
            scan_is(p->s, oper_infos[i].spelling))
            return (enum oper)i;
    return OPER_COUNT;
}

/* What other languages write between operands, or behind them. */
static void check_foreign(struct parser *p)
{
    static const struct {
        const char *theirs, *ours;
    } words[] = {{"&&", "and"}, {"||", "or"}, {"?", "select(condition, then, else)"}};
    struct tok t = p->s->tok;
    for (size_t i = 0; i < QN_COUNT(words); i++)
        if (scan_is(p->s, words[i].theirs))
            scan_error(p->s, &t, "dsl.syntax", "there is no '%s'; write %s", words[i].theirs,
                       words[i].ours);
}

static const struct node *parse_level(struct parser *p, int level)
{
    const struct node *left;
    struct tok at = p->s->tok;
    if (p->depth >= DSL_DEPTH) {
        scan_error(p->s, &at, "dsl.depth", "expressions nest deeper than %d", DSL_DEPTH);
        return node_at(p, NODE_INT, &at);
    }
    p->depth++;
    if (scan_is(p->s, "-"))
        left = parse_unary(p, OPER_NEG, LEVEL_UNARY);
    else if (scan_is(p->s, "~"))
        left = parse_unary(p, OPER_BNOT, LEVEL_UNARY);
    else if (level <= 3 && scan_is(p->s, "not"))
        left = parse_unary(p, OPER_LNOT, 3);
    else
        left = parse_primary(p);
    for (enum oper op; (op = binary_here(p, level)) != OPER_COUNT;) {
        struct node *n = node_at(p, NODE_BINARY, &p->s->tok);
        n->oper = op;
        scan_next(p->s);
        const struct node *a[2] = {left, parse_level(p, oper_infos[op].level + 1)};
        set_args(p, n, a, 2);
        left = n;
        if (oper_infos[op].level == LEVEL_COMPARE) {
            enum oper next = binary_here(p, LEVEL_COMPARE);
            if (next != OPER_COUNT && oper_infos[next].level == LEVEL_COMPARE)
                scan_error(p->s, &p->s->tok, "dsl.syntax",
                           "comparisons do not chain; write a < b and b < c");
        }
    }
    check_foreign(p);
    p->depth--;
    return left;
}

const struct node *parse_expr(struct parser *p) { return parse_level(p, 1); }
