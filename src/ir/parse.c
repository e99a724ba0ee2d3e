/* Reads the text that print.c writes (IR.txt is the reference), through the one lexer.
 *
 *   nest_parse(ir, "a.nest", text, len, &n, &e)
 *
 * Lines matter and blocks are indented, as in Python: a body is the lines further right than their
 * head, all at one column. Nothing is folded, so print(parse(text)) is the text again; types are
 * checked (nest.type), names resolved (nest.name); the rules I1..I8 are nest_verify's.
 *
 * Invariants: any bytes give a nest or an error with a position; recursion is bounded
 * (PARSE_DEPTH, PARSE_SIZE). */
#include <string.h>

#include "ir/parse.h"

enum { TABLE_VALUES = 1 << 16 };

/* ---- declarations ---------------------------------------------------------------------------- */

static bool parse_scope(struct parser *p, enum scope *out)
{
    for (int i = 0; i < 8; i++) {
        if (p->s.tok.kind == TOK_IDENT && scan_accept(&p->s, scope_names[i])) {
            *out = (enum scope)i;
            return true;
        }
    }
    return false;
}

static void parse_layout(struct parser *p, struct tensor *t)
{
    struct layout_term terms[2 * REGION_RANK];
    int n = 0;
    do {
        int64_t dim = 0;
        struct layout_term l = {0, 1, 0};
        struct tok at = p->s.tok;
        scan_int(&p->s, "nest.syntax", &dim);
        if (scan_accept(&p->s, "/")) scan_int(&p->s, "nest.syntax", &l.div);
        if (scan_accept(&p->s, "%")) scan_int(&p->s, "nest.syntax", &l.mod);
        if (parse_failed(p)) return;
        if (dim < 0 || dim >= t->rank || l.div < 1 || l.mod < 0 || n == 2 * REGION_RANK) {
            scan_error(&p->s, &at, "nest.layout",
                       "a store term is DIM, DIM/div or DIM%%mod with 0 <= DIM < %d", t->rank);
            return;
        }
        l.dim = (int)dim;
        terms[n++] = l;
    } while (scan_accept(&p->s, ","));
    t->nlayout = n;
    t->layout = ARENA_ARRAY(p->ir->arena, struct layout_term, n);
    memcpy(t->layout, terms, (size_t)n * sizeof *terms);
}

static void parse_table(struct parser *p, struct tensor *t)
{
    int64_t n = 1, v = 0;
    for (int i = 0; i < t->rank; i++) {
        bool fine =
            expr_is_int(t->extent[i], &v) && v >= 0 && v <= TABLE_VALUES && n * v <= TABLE_VALUES;
        if (!fine)
            scan_error(&p->s, NULL, "nest.table", "a table has constant extents, at most %d values",
                       TABLE_VALUES);
        if (!fine) return;
        n *= v;
    }
    double *table = ARENA_ARRAY(p->ir->arena, double, n + 1);
    scan_expect(&p->s, "nest.syntax", "=");
    scan_expect(&p->s, "nest.syntax", "{");
    for (int64_t i = 0; i < n && !parse_failed(p); i++) {
        if (i) scan_expect(&p->s, "nest.syntax", ",");
        bool minus = scan_accept(&p->s, "-");
        table[i] = minus ? -p->s.tok.f : p->s.tok.f;
        if (p->s.tok.kind != TOK_INT && p->s.tok.kind != TOK_REAL)
            scan_error(&p->s, NULL, "nest.table", "expected %lld numbers", (long long)n);
        scan_next(&p->s);
    }
    scan_expect(&p->s, "nest.syntax", "}");
    t->table = table;
}

/* NAME: TYPE[extents] [store ..] [= {..}], after its scope. */
static struct tensor *parse_tensor(struct parser *p, enum scope scope)
{
    struct tok at = p->s.tok;
    char name[PARSE_NAME];
    struct type type = type_of(TYPE_F32);
    const struct expr *extent[REGION_RANK + 1];
    parse_name(p, name);
    scan_expect(&p->s, "nest.syntax", ":");
    if (!parse_type(p, &type)) return NULL;
    scan_expect(&p->s, "nest.syntax", "[");
    p->size = 0;
    int rank = parse_args(p, extent, REGION_RANK, "]");
    for (int i = 0; i < rank && !parse_failed(p); i++)
        if (!type_eq(extent[i]->type, type_of(TYPE_S64)))
            scan_error(&p->s, &at, "nest.type", "the extents of '%s' are s64 scalars", name);
    if (parse_failed(p)) return NULL;
    struct tensor *t = tensor_new(p->ir, name, type, scope, rank, extent);
    if (scan_accept(&p->s, "store")) parse_layout(p, t);
    if (scope == SCOPE_TABLE && !parse_failed(p)) parse_table(p, t);
    parse_end_line(p);
    parse_declare_tensor(p, t, &at);
    return parse_failed(p) ? NULL : t;
}

static void parse_declarations(struct parser *p)
{
    enum scope scope = SCOPE_IN;
    while (!parse_failed(p)) {
        struct tok at = p->s.tok;
        if (scan_accept(&p->s, "dyn")) {
            char name[PARSE_NAME];
            struct tok where = p->s.tok;
            parse_name(p, name);
            nest_add_dyn(p->n, parse_declare_var(p, name, &where, type_of(TYPE_S64)));
            parse_end_line(p);
        } else if (parse_scope(p, &scope)) {
            struct tensor *t = parse_tensor(p, scope);
            int before = p->n->ntensor;
            if (!t) return;
            nest_add_tensor(p->n, t);
            if (p->n->tensor[before] != t)
                scan_error(&p->s, &at, "nest.order",
                           "in, const and out stand first, then packed, then the rest");
        } else {
            return;
        }
    }
}

/* ---- statements ------------------------------------------------------------------------------ */

static struct stmt *parse_block(struct parser *p, int outer_col);

static int find_word(struct parser *p, const char *const *words, int n)
{
    for (int i = 1; i < n; i++)
        if (scan_accept(&p->s, words[i])) return i;
    return 0;
}

static struct stmt *parse_for(struct parser *p, int col)
{
    struct tok at = p->s.tok;
    char name[PARSE_NAME];
    parse_name(p, name);
    scan_expect(&p->s, "nest.syntax", "in");
    const struct expr *lo = parse_index(p);
    scan_expect(&p->s, "nest.syntax", "..");
    const struct expr *hi = parse_index(p);
    const struct var *v = parse_declare_var(p, name, &at, type_of(TYPE_S64));
    struct stmt *s = stmt_for(p->ir, v, lo, hi, NULL);
    s->u.loop.kind = (enum loop_kind)find_word(p, loop_kind_names, 4);
    s->u.loop.tail = (enum tail)find_word(p, tail_names, 5);
    s->u.loop.reduce = scan_accept(&p->s, "reduce");
    s->u.loop.ordered = scan_accept(&p->s, "ordered");
    parse_end_line(p);
    s->u.loop.body = parse_block(p, col);
    map_put(p->vars, name, NULL);
    return s;
}

static struct stmt *parse_if(struct parser *p, int col)
{
    struct tok at = p->s.tok;
    const struct expr *cond = parse_top(p);
    if (!parse_failed(p) && cond->type.dtype != TYPE_B1)
        scan_error(&p->s, &at, "nest.type", "a condition is b1");
    parse_end_line(p);
    struct stmt *s = stmt_if(p->ir, cond, NULL);
    s->u.cond.then = parse_block(p, col);
    return s;
}

static struct stmt *parse_let(struct parser *p, int col)
{
    struct tok at = p->s.tok;
    char name[PARSE_NAME];
    parse_name(p, name);
    scan_expect(&p->s, "nest.syntax", "=");
    const struct expr *value = parse_top(p);
    parse_end_line(p);
    struct stmt *s = stmt_let(p->ir, parse_declare_var(p, name, &at, value->type), value, NULL);
    s->u.let.body = parse_block(p, col);
    map_put(p->vars, name, NULL);
    return s;
}

static struct stmt *parse_alloc(struct parser *p, int col)
{
    enum scope scope = SCOPE_STACK;
    if (!parse_scope(p, &scope))
        scan_error(&p->s, NULL, "nest.syntax", "expected temp, stack or reg");
    struct tensor *t = parse_failed(p) ? NULL : parse_tensor(p, scope);
    if (!t) return stmt_block(p->ir);
    struct stmt *s = stmt_alloc(p->ir, t, NULL);
    s->u.alloc.body = parse_block(p, col);
    map_put(p->tensors, t->name, NULL);
    return s;
}

static struct stmt *parse_stage(struct parser *p, int col)
{
    char name[PARSE_NAME];
    parse_name(p, name);
    parse_end_line(p);
    struct stmt *s = stmt_stage(p->ir, name, NULL);
    s->u.stage.body = parse_block(p, col);
    return s;
}

/* [subscripts] of tensor t, into the arena. */
static const struct expr **parse_idx(struct parser *p, const struct tensor *t, const struct tok *at)
{
    const struct expr **idx = ARENA_ARRAY(p->ir->arena, const struct expr *, REGION_RANK + 1);
    scan_expect(&p->s, "nest.syntax", "[");
    p->size = 0;
    int n = parse_args(p, idx, REGION_RANK, "]");
    for (int i = 0; i < n && !parse_failed(p); i++)
        if (idx[i]->type.dtype != TYPE_S64)
            scan_error(&p->s, at, "nest.type", "a subscript is s64");
    if (!parse_failed(p) && t && n != t->rank)
        scan_error(&p->s, at, "nest.type", "'%s' has %d dimensions", t->name, t->rank);
    return idx;
}

static int parse_reduce(struct parser *p)
{
    for (int i = 0; i < 8; i++)
        if (scan_accept(&p->s, reduce_names[i])) return i;
    return -1;
}

static void check_value(struct parser *p, const struct tok *at, const struct expr *value,
                        struct type want)
{
    if (!parse_failed(p) && !type_eq(value->type, want))
        scan_error(&p->s, at, "nest.type", "the value's type is not the target's");
}

static struct stmt *parse_store(struct parser *p)
{
    struct tok at = p->s.tok;
    struct tensor *t = parse_tensor_name(p);
    const struct expr *const *idx = parse_idx(p, t, &at);
    int red = parse_reduce(p);
    scan_expect(&p->s, "nest.syntax", "=");
    const struct expr *value = parse_top(p);
    if (parse_failed(p)) return stmt_block(p->ir);
    struct type want = t->type;
    for (int i = 0; i < t->rank; i++)
        if (idx[i]->type.lanes > want.lanes) want.lanes = idx[i]->type.lanes;
    check_value(p, &at, value, want);
    if (red >= RED_ARGMAX)
        scan_error(&p->s, &at, "nest.syntax", "%s= takes targets in braces", reduce_names[red]);
    if (parse_failed(p)) return stmt_block(p->ir);
    struct stmt *s = red < 0 ? stmt_store(p->ir, t, idx, value)
                             : stmt_update(p->ir, (enum reduce)red, t, idx, value);
    if (red >= 0) s->u.update.started = scan_accept(&p->s, "started");
    parse_end_line(p);
    return s;
}

static void parse_braced(struct parser *p, const struct expr **a, const struct stmt *s,
                         const char *what)
{
    struct tok at = p->s.tok;
    int n = s->u.update.n;
    scan_expect(&p->s, "nest.syntax", "{");
    p->size = 0;
    const struct expr *got[UPDATE_TARGETS];
    int have = parse_args(p, got, UPDATE_TARGETS, "}");
    if (!parse_failed(p) && have != n)
        scan_error(&p->s, &at, "nest.syntax", "expected %d %s", n, what);
    for (int i = 0; i < n && !parse_failed(p); i++) {
        check_value(p, &at, got[i], s->u.update.tensor[i]->type);
        a[i] = got[i];
    }
}

static void parse_user_vars(struct parser *p, const struct var **v, struct stmt *s)
{
    scan_expect(&p->s, "nest.syntax", "{");
    for (int i = 0; i < s->u.update.n; i++) {
        struct tok at = p->s.tok;
        char name[PARSE_NAME];
        if (i) scan_expect(&p->s, "nest.syntax", ",");
        if (i) at = p->s.tok;
        parse_name(p, name);
        v[i] = parse_declare_var(p, name, &at, s->u.update.tensor[i]->type);
    }
    scan_expect(&p->s, "nest.syntax", "}");
}

static void parse_user(struct parser *p, struct stmt *s)
{
    scan_expect(&p->s, "nest.syntax", "from");
    parse_braced(p, s->u.update.identity, s, "identities");
    scan_expect(&p->s, "nest.syntax", "with");
    parse_user_vars(p, s->u.update.lhs, s);
    scan_expect(&p->s, "nest.syntax", ",");
    parse_user_vars(p, s->u.update.rhs, s);
    scan_expect(&p->s, "nest.syntax", ":");
    parse_braced(p, s->u.update.combine, s, "combined values");
    for (int i = 0; i < s->u.update.n; i++) {
        map_put(p->vars, s->u.update.lhs[i]->name, NULL);
        map_put(p->vars, s->u.update.rhs[i]->name, NULL);
    }
}

/* {a, b}[i] argmax= {value, index}   and the user form */
static struct stmt *parse_tuple(struct parser *p)
{
    struct tok at = p->s.tok;
    struct tensor *t[UPDATE_TARGETS] = {0};
    int n = 0;
    scan_expect(&p->s, "nest.syntax", "{");
    do {
        if (n == UPDATE_TARGETS)
            scan_error(&p->s, NULL, "nest.syntax", "at most %d targets", UPDATE_TARGETS);
        if (!parse_failed(p)) t[n++] = parse_tensor_name(p);
    } while (!parse_failed(p) && scan_accept(&p->s, ","));
    scan_expect(&p->s, "nest.syntax", "}");
    const struct expr *const *idx = parse_idx(p, t[0], &at);
    int red = parse_reduce(p);
    bool fits = red == RED_USER || (red >= RED_ARGMAX && n == 2);
    for (int i = 0; i < n && !parse_failed(p); i++)
        fits = fits && t[i]->rank == t[0]->rank && t[i]->type.lanes == 1;
    if (!parse_failed(p) && red == RED_USER && n < 1) fits = false;
    if (!parse_failed(p) && fits && red < RED_USER)
        fits = dtype_is_int((enum dtype)t[1]->type.dtype) && t[0]->type.dtype != TYPE_B1;
    if (!parse_failed(p) && !fits)
        scan_error(&p->s, &at, "nest.type",
                   "targets in braces take argmax=, argmin= (a value, an integer) or user=");
    scan_expect(&p->s, "nest.syntax", "=");
    if (parse_failed(p)) return stmt_block(p->ir);
    struct stmt *s = stmt_update(p->ir, (enum reduce)red, t[0], idx, parse_dummy(p));
    s->u.update.n = n;
    for (int i = 0; i < n; i++) s->u.update.tensor[i] = t[i];
    parse_braced(p, s->u.update.value, s, "values");
    if (red == RED_USER && !parse_failed(p)) parse_user(p, s);
    s->u.update.started = scan_accept(&p->s, "started");
    parse_end_line(p);
    return s;
}

static struct stmt *parse_stmt(struct parser *p)
{
    int col = p->s.tok.col;
    bool word = p->s.tok.kind == TOK_IDENT;
    if (word && scan_accept(&p->s, "for")) return parse_for(p, col);
    if (word && scan_accept(&p->s, "if")) return parse_if(p, col);
    if (word && scan_accept(&p->s, "let")) return parse_let(p, col);
    if (word && scan_accept(&p->s, "alloc")) return parse_alloc(p, col);
    if (word && scan_accept(&p->s, "stage")) return parse_stage(p, col);
    if (scan_is(&p->s, "{")) return parse_tuple(p);
    return parse_store(p);
}

/* The statements right of column outer_col, all at one column. */
static struct stmt *parse_lines(struct parser *p, int outer_col)
{
    struct stmt *block = stmt_block(p->ir);
    int col = p->s.tok.col;
    if (++p->depth > PARSE_DEPTH)
        scan_error(&p->s, NULL, "nest.deep", "nested more than %d deep", PARSE_DEPTH);
    while (!parse_failed(p) && p->s.tok.kind != TOK_END && p->s.tok.col > outer_col) {
        if (outer_col == 0 && p->s.tok.kind == TOK_IDENT && scan_is(&p->s, "pack")) break;
        if (p->s.tok.col != col) {
            scan_error(&p->s, NULL, "nest.indent", "this line is indented like none around it");
            break;
        }
        struct stmt *s = parse_stmt(p);
        if (!parse_failed(p)) block_append(p->ir, block, s);
    }
    p->depth--;
    return block;
}

/* A body: one statement stands for itself. */
static struct stmt *parse_block(struct parser *p, int outer_col)
{
    struct stmt *block = parse_lines(p, outer_col), *parent = block;
    if (block->u.block.n == 1) {
        parent = block->u.block.p[0];
        parent->parent = NULL;
    }
    return parent;
}

static void adopt(struct stmt *s)
{
    struct stmt **body = stmt_body(s);
    if (body) {
        (*body)->parent = s;
        adopt(*body);
    }
    for (int i = 0; s->kind == ST_BLOCK && i < s->u.block.n; i++) adopt(s->u.block.p[i]);
}

static void parse_nest(struct parser *p)
{
    char name[PARSE_NAME];
    scan_expect(&p->s, "nest.syntax", "nest");
    parse_name(p, name);
    parse_end_line(p);
    p->n = nest_new(p->ir, name);
    parse_declarations(p);
    p->n->body = parse_lines(p, 0);
    if (scan_accept(&p->s, "pack")) {
        parse_end_line(p);
        p->n->pack = parse_lines(p, 1);
    }
    if (!parse_failed(p) && p->s.tok.kind != TOK_END)
        scan_error(&p->s, NULL, "nest.indent", "a statement is out of place");
    adopt(p->n->body);
    adopt(p->n->pack);
}

enum rc nest_parse(struct ir *ir, const char *file, const char *text, size_t len, struct nest **out,
                   struct err *e)
{
    struct parser p = {.ir = ir, .vars = map_new(), .tensors = map_new()};
    scan_init_with(&p.s, file, text, len, true, true);
    parse_nest(&p);
    map_free(p.vars);
    map_free(p.tensors);
    *out = NULL;
    if (parse_failed(&p)) {
        if (e) *e = p.s.err;
        return p.s.err.rc;
    }
    *out = p.n;
    return RC_OK;
}
