/* parse: operators, algorithms and their items. DSL.txt has the grammar.
 *
 *     op scale { attr f: real = 2.0  in x[N]: f32  out y[N]: f32  y[n] = x[n] * f }
 *
 * Invariants: words such as `in` and `store` are words only where an item or clause may begin, so
 * they stay usable as names; the first error wins and ends the text; what parses goes on to
 * check.c. */
#include <string.h>

#include "base/scan.h"
#include "dsl/ast.h"

enum { ITEMS_MAX = 512, OPS_MAX = 64 };

static struct item *item_at(struct parser *p, enum item_kind kind)
{
    struct item *it = ARENA_NEW(p->arena, struct item);
    it->kind = kind;
    it->line = p->s->tok.line;
    it->col = p->s->tok.col;
    return it;
}

static const char *take_name(struct parser *p)
{
    char name[DSL_NAME];
    scan_ident(p->s, "dsl.syntax", name, sizeof name);
    return arena_strdup(p->arena, name);
}

struct items {
    struct parser *p;
    struct item *it[ITEMS_MAX];
    int n;
};

static void add(struct items *out, struct item *it)
{
    if (out->n == ITEMS_MAX)
        scan_error(out->p->s, &out->p->s->tok, "dsl.limit", "more than %d items", ITEMS_MAX);
    else
        out->it[out->n++] = it;
}

/* `{a, b}` of names, or of values; `lo..hi` */
static void parse_domain(struct parser *p, struct item *it)
{
    if (!scan_accept(p->s, "{")) {
        it->lo = parse_expr(p);
        scan_expect(p->s, "dsl.syntax", "..");
        it->hi = parse_expr(p);
        return;
    }
    const char *names[PARAM_CHOICES];
    const struct node *choice[PARAM_CHOICES];
    bool symbols = p->s->tok.kind == TOK_IDENT;
    int n = 0;
    do {
        if (n == PARAM_CHOICES) {
            scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d choices", PARAM_CHOICES);
            break;
        }
        if (symbols)
            names[n++] = take_name(p);
        else
            choice[n++] = parse_expr(p);
    } while (scan_accept(p->s, ","));
    scan_expect(p->s, "dsl.syntax", "}");
    if (symbols) {
        it->nname = n;
        it->names = parse_copy(p, names, (size_t)n, sizeof *names);
        it->attr = ATTR_SYMBOL;
    } else {
        it->nchoice = n;
        it->choice = parse_copy(p, choice, (size_t)n, sizeof *choice);
    }
}

/* name [: int|real|list] [= expr] [in domain] */
static struct item *parse_attr(struct parser *p)
{
    static const char *const KINDS[] = {"int", "real", "symbol", "list"};
    struct item *it = item_at(p, ITEM_ATTR);
    it->name = take_name(p);
    bool typed = scan_accept(p->s, ":");
    if (typed) {
        struct tok at = p->s->tok;
        const char *kind = take_name(p);
        int k = 0;
        while (k < 4 && strcmp(KINDS[k], kind) != 0) k++;
        if (k == 4 || k == ATTR_SYMBOL)
            scan_error(p->s, &at, "dsl.attr_kind",
                       "an attribute is int, real or list; a symbol has a domain: in {a, b}");
        else
            it->attr = (enum attr_kind)k;
    }
    if (scan_accept(p->s, "=")) it->def = parse_expr(p);
    if (!typed && it->def && it->def->kind == NODE_REAL) it->attr = ATTR_REAL;
    if (!typed && it->def && it->def->kind == NODE_LIST) it->attr = ATTR_LIST;
    if (scan_is(p->s, "in") &&
        p->s->tok.line == p->s->prev.line) { /* else it begins the next item */
        scan_next(p->s);
        parse_domain(p, it);
    }
    return it;
}

static void parse_store_term(struct parser *p, struct store_term *t)
{
    t->line = p->s->tok.line;
    t->col = p->s->tok.col;
    t->pos = -1;
    if (p->s->tok.kind == TOK_INT) {
        int64_t v = 0;
        scan_int(p->s, "dsl.syntax", &v);
        t->pos = v > TASK_RANK ? TASK_RANK : (int)v;
    } else {
        t->dim = take_name(p);
    }
    if (!scan_is(p->s, "/") && !scan_is(p->s, "%")) return;
    t->how = p->s->tok.p[0];
    scan_next(p->s);
    struct node *n = ARENA_NEW(p->arena, struct node);
    n->line = p->s->tok.line;
    n->col = p->s->tok.col;
    if (p->s->tok.kind == TOK_INT) {
        n->kind = NODE_INT;
        scan_int(p->s, "dsl.syntax", &n->i);
    } else {
        n->kind = NODE_NAME;
        n->name = take_name(p);
    }
    t->arg = n;
}

/* A ',' followed by `name [` begins the next declaration, not the next term. */
static bool more_terms(struct parser *p)
{
    if (!scan_is(p->s, ",")) return false;
    struct scan ahead = *p->s;
    scan_next(&ahead);
    scan_next(&ahead);
    return !scan_is(&ahead, "[");
}

static void parse_stores(struct parser *p, struct item *it)
{
    struct store_clause clause[4];
    memset(clause, 0, sizeof clause);
    while (scan_is(p->s, "store")) {
        struct store_clause *c = &clause[it->nstore];
        if (it->nstore == 4) {
            scan_error(p->s, &p->s->tok, "dsl.limit", "more than 4 store clauses");
            return;
        }
        scan_next(p->s);
        parse_store_term(p, &c->term[c->n++]);
        while (more_terms(p) && c->n < 16) {
            scan_next(p->s);
            parse_store_term(p, &c->term[c->n++]);
        }
        if (scan_accept(p->s, "when")) c->when = parse_expr(p);
        it->nstore++;
    }
    it->store = parse_copy(p, clause, (size_t)it->nstore, sizeof *clause);
}

static void parse_shape(struct parser *p, struct item *it)
{
    scan_expect(p->s, "dsl.syntax", "[");
    if (scan_accept(p->s, "]")) return;
    do {
        if (it->rank == TASK_RANK) {
            scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d dimensions", TASK_RANK);
            return;
        }
        it->extent[it->rank++] = parse_expr(p);
    } while (scan_accept(p->s, ","));
    scan_expect(p->s, "dsl.syntax", "]");
}

/* name[extents]: type [in lo..hi] [when cond] {store terms [when cond]} */
static struct item *parse_tensor(struct parser *p, enum scope scope)
{
    struct item *it = item_at(p, ITEM_TENSOR);
    it->scope = scope;
    it->name = take_name(p);
    parse_shape(p, it);
    scan_expect(p->s, "dsl.syntax", ":");
    it->type = take_name(p);
    if (scan_is(p->s, "in") && p->s->tok.line == p->s->prev.line) {
        scan_next(p->s);
        it->lo = parse_expr(p);
        scan_expect(p->s, "dsl.syntax", "..");
        it->hi = parse_expr(p);
    }
    if (scan_accept(p->s, "when")) it->when = parse_expr(p);
    parse_stores(p, it);
    return it;
}

static struct item *parse_table(struct parser *p)
{
    struct item *it = item_at(p, ITEM_TABLE);
    it->scope = SCOPE_TABLE;
    it->name = take_name(p);
    parse_shape(p, it);
    scan_expect(p->s, "dsl.syntax", ":");
    it->type = take_name(p);
    scan_expect(p->s, "dsl.syntax", "=");
    it->def = parse_expr(p);
    return it;
}

static struct item *parse_def(struct parser *p)
{
    struct item *it = item_at(p, ITEM_DEF);
    const char *names[DSL_ARGS];
    it->name = take_name(p);
    scan_expect(p->s, "dsl.syntax", "(");
    if (!scan_accept(p->s, ")")) {
        do {
            if (it->nname == DSL_ARGS) {
                scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d parameters", DSL_ARGS);
                return it;
            }
            names[it->nname++] = take_name(p);
        } while (scan_accept(p->s, ","));
        scan_expect(p->s, "dsl.syntax", ")");
    }
    it->names = parse_copy(p, names, (size_t)it->nname, sizeof *names);
    scan_expect(p->s, "dsl.syntax", "=");
    it->value = parse_expr(p);
    return it;
}

static struct item *parse_short(struct parser *p)
{
    struct item *it = item_at(p, ITEM_SHORT);
    const char *names[DSL_ARGS];
    it->name = take_name(p);
    scan_expect(p->s, "dsl.syntax", "=");
    do {
        if (it->nname == DSL_ARGS) {
            scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d keys", DSL_ARGS);
            return it;
        }
        names[it->nname++] = take_name(p);
    } while (scan_accept(p->s, ","));
    it->names = parse_copy(p, names, (size_t)it->nname, sizeof *names);
    return it;
}

static void parse_ref(struct parser *p, struct ref_item *r)
{
    r->line = p->s->tok.line;
    r->col = p->s->tok.col;
    r->name = take_name(p);
    if (scan_is(p->s, "="))
        scan_error(p->s, &p->s->tok, "dsl.syntax",
                   "expected '[' but found '='; one number has empty brackets: %s[] =", r->name);
    scan_expect(p->s, "dsl.syntax", "[");
    if (scan_accept(p->s, "]")) return;
    do {
        if (r->n == TASK_RANK) {
            scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d subscripts", TASK_RANK);
            return;
        }
        struct sub_item *sub = &r->sub[r->n++];
        struct range_item at = {.line = p->s->tok.line, .col = p->s->tok.col};
        sub->e = parse_expr(p);
        sub->ranged = scan_accept(p->s, ":");
        if (sub->ranged) sub->range = parse_span(p, &at);
    } while (scan_accept(p->s, ","));
    scan_expect(p->s, "dsl.syntax", "]");
}

static struct item *parse_equation(struct parser *p)
{
    struct item *it = item_at(p, ITEM_EQUATION);
    struct ref_item ref[DSL_TARGETS];
    memset(ref, 0, sizeof ref);
    bool tuple = scan_accept(p->s, "(");
    do {
        if (it->nref == DSL_TARGETS) {
            scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d targets", DSL_TARGETS);
            return it;
        }
        parse_ref(p, &ref[it->nref++]);
    } while (tuple && scan_accept(p->s, ","));
    if (tuple) scan_expect(p->s, "dsl.syntax", ")");
    it->name = ref[0].name;
    it->ref = parse_copy(p, ref, (size_t)it->nref, sizeof *ref);
    scan_expect(p->s, "dsl.syntax", "=");
    it->value = parse_expr(p);
    struct tok at = p->s->tok;
    if (scan_is(p->s, "else"))
        scan_error(p->s, &at, "dsl.else",
                   "'else' and the read it belongs to stand in parentheses: (x[i] else 0)");
    if (scan_accept(p->s, "for")) it->nrange = parse_ranges(p, &it->range, NULL);
    struct scan ahead = *p->s; /* `scan` may also begin the next equation: scan[i] = ... */
    if (scan_accept(&ahead, "scan") && ahead.tok.kind == TOK_IDENT) {
        *p->s = ahead;
        it->scan_line = p->s->tok.line;
        it->scan_col = p->s->tok.col;
        it->scan = take_name(p);
    }
    if (scan_accept(p->s, "when")) it->when = parse_expr(p);
    return it;
}

static struct item *parse_let(struct parser *p)
{
    struct item *it = item_at(p, ITEM_LET);
    it->name = take_name(p);
    scan_expect(p->s, "dsl.syntax", "=");
    it->def = parse_expr(p);
    return it;
}

static struct item *parse_dyn(struct parser *p)
{
    struct item *it = item_at(p, ITEM_DYN);
    it->name = take_name(p);
    return it;
}

static struct item *parse_require(struct parser *p)
{
    struct item *it = item_at(p, ITEM_REQUIRE);
    it->def = parse_expr(p);
    if (!scan_accept(p->s, ",") || p->s->tok.kind != TOK_STRING) {
        scan_error(p->s, &p->s->tok, "dsl.syntax",
                   "expected a comma and a sentence in quotes that says what is required: "
                   "require N > 0, \"N must be positive\"");
        return it;
    }
    it->text = arena_strndup(p->arena, p->s->tok.p, p->s->tok.n);
    scan_next(p->s);
    return it;
}

/* A list of things of one kind, separated by commas. */
static void parse_list_of(struct items *out, struct item *(*one)(struct parser *))
{
    do add(out, one(out->p));
    while (scan_accept(out->p->s, ","));
}

static bool parse_tensors(struct items *out)
{
    static const struct {
        const char *word;
        enum scope scope;
    } SCOPES[] = {{"in", SCOPE_IN},
                  {"const", SCOPE_CONST},
                  {"out", SCOPE_OUT},
                  {"temp", SCOPE_TEMP}};
    for (size_t i = 0; i < QN_COUNT(SCOPES); i++) {
        if (!scan_accept(out->p->s, SCOPES[i].word)) continue;
        do add(out, parse_tensor(out->p, SCOPES[i].scope));
        while (scan_accept(out->p->s, ","));
        return true;
    }
    return false;
}

/* Is an item word here, and not a tensor that happens to have its name (`table[n] = ...`)? */
static bool at_word(const struct parser *p, const char *word)
{
    if (!scan_is(p->s, word)) return false;
    struct scan ahead = *p->s;
    scan_next(&ahead);
    return ahead.tok.kind == TOK_IDENT || strcmp(word, "require") == 0;
}

static bool accept_word(struct items *out, const char *word)
{
    if (!at_word(out->p, word)) return false;
    scan_next(out->p->s);
    return true;
}

static void parse_item(struct items *out)
{
    struct parser *p = out->p;
    struct tok at = p->s->tok;
    bool word = at.kind == TOK_IDENT;
    if (accept_word(out, "attr"))
        parse_list_of(out, parse_attr);
    else if (accept_word(out, "short"))
        parse_list_of(out, parse_short);
    else if (accept_word(out, "dyn"))
        parse_list_of(out, parse_dyn);
    else if (accept_word(out, "let"))
        parse_list_of(out, parse_let);
    else if (accept_word(out, "require"))
        parse_list_of(out, parse_require);
    else if (accept_word(out, "table"))
        parse_list_of(out, parse_table);
    else if (accept_word(out, "def"))
        parse_list_of(out, parse_def);
    else if ((at_word(p, "in") || at_word(p, "const") || at_word(p, "out") || at_word(p, "temp")) &&
             parse_tensors(out))
        return;
    else if (scan_is(p->s, "(") || word)
        add(out, parse_equation(p));
    else if (at.kind == TOK_END)
        scan_error(p->s, &at, "dsl.syntax", "the text ends before the '}' of this block");
    else
        scan_error(p->s, &at, "dsl.syntax",
                   "expected attr, short, dyn, let, require, in, const, out, temp, table, def, an "
                   "equation or '}'");
}

static struct body parse_body(struct parser *p)
{
    struct items *out = arena_alloc(p->arena, sizeof *out);
    out->p = p;
    scan_expect(p->s, "dsl.syntax", "{");
    while (!scan_accept(p->s, "}") && p->s->err.rc == RC_OK) parse_item(out);
    return (struct body){parse_copy(p, out->it, (size_t)out->n, sizeof *out->it), out->n};
}

static void parse_op(struct parser *p, struct op_file *f, struct operator** ops)
{
    struct operator* op = ARENA_NEW(p->arena, struct operator);
    op->line = p->s->tok.line;
    op->col = p->s->tok.col;
    op->name = take_name(p);
    op->file = f;
    op->body = parse_body(p);
    if (f->nop == OPS_MAX)
        scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d operators", OPS_MAX);
    else
        ops[f->nop++] = op;
}

static void parse_algorithm(struct parser *p, struct op_file *f, struct algorithm **algos)
{
    struct algorithm *al = ARENA_NEW(p->arena, struct algorithm);
    struct item *param[ALGO_PARAMS];
    al->line = p->s->tok.line;
    al->col = p->s->tok.col;
    al->name = take_name(p);
    al->file = f;
    if (scan_accept(p->s, "(")) {
        do {
            if (al->nparam == ALGO_PARAMS) {
                scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d parameters", ALGO_PARAMS);
                return;
            }
            param[al->nparam++] = parse_attr(p);
        } while (scan_accept(p->s, ","));
        scan_expect(p->s, "dsl.syntax", ")");
    }
    al->param = parse_copy(p, param, (size_t)al->nparam, sizeof *param);
    scan_expect(p->s, "dsl.syntax", "for");
    al->op = take_name(p);
    if (scan_accept(p->s, "when")) al->when = parse_expr(p);
    al->body = parse_body(p);
    if (f->nalgorithm == OPS_MAX)
        scan_error(p->s, &p->s->tok, "dsl.limit", "more than %d algorithms", OPS_MAX);
    else
        algos[f->nalgorithm++] = al;
}

/* The comment lines before the first other line, without '#' and one blank. */
static const char *help_of(struct arena *a, const char *text, size_t len)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    for (size_t at = 0; at < len;) {
        const char *nl = memchr(text + at, '\n', len - at);
        size_t end = nl ? (size_t)(nl - text) : len;
        if (text[at] != '#') break;
        size_t from = at + 1 + (at + 1 < end && text[at + 1] == ' ');
        buf_put(&b, text + from, end - from);
        buf_putc(&b, '\n');
        at = end + 1;
    }
    const char *out = arena_strdup(a, b.p);
    buf_fini(&b);
    return out;
}

enum rc dsl_parse(const char *file, const char *text, size_t len, struct op_file **out,
                  struct err *e)
{
    struct arena *a = arena_new();
    struct op_file *f = ARENA_NEW(a, struct op_file);
    struct operator* ops[OPS_MAX];
    struct algorithm *algos[OPS_MAX];
    char *copy = arena_alloc(a, len + 1);
    if (len) memcpy(copy, text, len);
    *f = (struct op_file){.arena = a, .name = arena_strdup(a, file), .text = copy, .len = len};
    struct scan s;
    scan_init(&s, f->name, f->text, len);
    struct parser p = {.s = &s, .arena = a};
    *out = NULL;
    while (s.tok.kind != TOK_END) {
        if (scan_accept(&s, "op"))
            parse_op(&p, f, ops);
        else if (scan_accept(&s, "algorithm"))
            parse_algorithm(&p, f, algos);
        else
            scan_error(&s, &s.tok, "dsl.syntax",
                       "expected 'op NAME {' or 'algorithm NAME for OP {'");
    }
    if (s.err.rc == RC_OK && f->nop == 0 && f->nalgorithm == 0)
        scan_error(&s, &s.tok, "dsl.empty", "there is no operator in this text");
    f->op = parse_copy(&p, ops, (size_t)f->nop, sizeof *ops);
    f->algorithm = parse_copy(&p, algos, (size_t)f->nalgorithm, sizeof *algos);
    const char *help = help_of(a, f->text, len);
    for (int i = 0; i < f->nop; i++) f->op[i]->help = help;
    enum rc rc = s.err.rc;
    if (rc != RC_OK && e) *e = s.err;
    if (rc == RC_OK) rc = check_file(f, e);
    if (rc != RC_OK) {
        arena_free(a);
        return rc;
    }
    *out = f;
    return RC_OK;
}

void dsl_free(struct op_file *f)
{
    if (f) arena_free(f->arena);
}

int dsl_op_count(const struct op_file *f) { return f->nop; }
const struct operator* dsl_op(const struct op_file *f, int i) { return f->op[i]; }
const char *operator_name(const struct operator* op) { return op->name; }
const char *operator_help(const struct operator* op) { return op->help; }
