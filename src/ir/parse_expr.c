/* Names and expressions of the nest text: precedence climbing with C's levels, nothing folded.
 *
 *   a[i, j + 1] * 2.0     (x[i - 1] if 0 <= i - 1 else 0.0)     cast_sat_even(s8, v)     f64(0.5)
 *
 * Invariants: types are checked before a node is made, as the text's fault (nest.type); nesting and
 * size are bounded, so that no text can exhaust the stack here or in later walks. */
#include <math.h>
#include <string.h>

#include "ir/parse.h"

static const struct expr *parse_expr(struct parser *p, int level);

/* ---- names ----------------------------------------------------------------------------------- */

void parse_name(struct parser *p, char out[PARSE_NAME])
{
    out[0] = 0;
    if (p->s.tok.kind == TOK_STRING) {
        if (p->s.tok.n == 0 || p->s.tok.n >= PARSE_NAME)
            scan_error(&p->s, NULL, "nest.name", "a name has 1 to %d characters", PARSE_NAME - 1);
        else {
            memcpy(out, p->s.tok.p, p->s.tok.n);
            out[p->s.tok.n] = 0;
            scan_next(&p->s);
        }
        return;
    }
    scan_ident(&p->s, "nest.syntax", out, PARSE_NAME);
}

static void unknown(struct parser *p, const struct tok *at, const char *what, const char *name,
                    const struct map *m)
{
    const char *live[64];
    size_t n = 0;
    char hint[PARSE_NAME + 32] = "";
    for (size_t i = 0; i < map_count(m) && n < QN_COUNT(live); i++)
        if (map_value(m, i)) live[n++] = map_key(m, i);
    did_you_mean(hint, sizeof hint, name, live, n);
    scan_error(&p->s, at, "nest.name", "unknown %s '%s'%s", what, name, hint);
}

const struct var *parse_declare_var(struct parser *p, const char *name, const struct tok *at,
                                    struct type t)
{
    const struct var *v = var_new(p->ir, name, t);
    if (!parse_failed(p) && map_get(p->vars, name))
        scan_error(&p->s, at, "nest.name", "'%s' is already bound here", name);
    map_put(p->vars, name, (void *)v);
    return v;
}

void parse_declare_tensor(struct parser *p, struct tensor *t, const struct tok *at)
{
    if (!parse_failed(p) && map_get(p->tensors, t->name))
        scan_error(&p->s, at, "nest.name", "tensor '%s' is already declared", t->name);
    map_put(p->tensors, t->name, t);
}

/* Also used for "what": a name that must be a tensor; NULL after an error. */
struct tensor *parse_tensor_name(struct parser *p)
{
    struct tok at = p->s.tok;
    char name[PARSE_NAME];
    parse_name(p, name);
    struct tensor *t = map_get(p->tensors, name);
    if (!t && !parse_failed(p)) unknown(p, &at, "tensor", name, p->tensors);
    return t;
}

void parse_end_line(struct parser *p)
{
    if (p->s.tok.kind == TOK_EOL)
        scan_next(&p->s);
    else if (p->s.tok.kind != TOK_END)
        scan_error(&p->s, NULL, "nest.syntax", "expected the end of the line");
}

/* ---- expressions ----------------------------------------------------------------------------- */

/* expr_make after checking the types as the text's fault. */
static const struct expr *make(struct parser *p, const struct tok *at, enum op op, struct type type,
                               const struct expr *const *a, int n, const void *leaf)
{
    if (parse_failed(p)) return parse_dummy(p);
    if (++p->size > PARSE_SIZE) {
        scan_error(&p->s, at, "nest.deep", "an expression has more than %d nodes", PARSE_SIZE);
        return parse_dummy(p);
    }
    const char *why = expr_type_error(op, type, a, n, leaf);
    if (!why) return expr_make(p->ir, op, type, a, n, leaf);
    scan_error(&p->s, at, "nest.type", "%s", why);
    return parse_dummy(p);
}

bool parse_type(struct parser *p, struct type *out)
{
    const struct tok *t = &p->s.tok;
    const char *x = t->kind == TOK_IDENT ? memchr(t->p, 'x', t->n) : NULL;
    size_t n = x ? (size_t)(x - t->p) : t->n;
    enum dtype d = TYPE_F32;
    int lanes = 1;
    bool ok = t->kind == TOK_IDENT && dtype_parse(t->p, n, &d);
    if (ok && x) {
        lanes = 0;
        for (const char *c = x + 1; c < t->p + t->n && ok; c++) {
            ok = *c >= '0' && *c <= '9';
            lanes = lanes * 10 + (*c - '0');
            ok = ok && lanes <= PARSE_LANES;
        }
        ok = ok && lanes > 1;
    }
    *out = type_vec(d, lanes);
    if (ok)
        scan_next(&p->s);
    else
        scan_error(&p->s, NULL, "nest.type", "expected a type such as f32 or f32x8 (2 to %d lanes)",
                   PARSE_LANES);
    return ok;
}

/* The literal inside f64(..) or bare; `t` is its type. */
static const struct expr *parse_literal(struct parser *p, struct type t)
{
    struct tok at = p->s.tok;
    bool minus = scan_accept(&p->s, "-"), real = dtype_is_float(t.dtype);
    double f = p->s.tok.f;
    int64_t i = p->s.tok.i;
    if (real && scan_is(&p->s, "inf"))
        f = INFINITY;
    else if (real && scan_is(&p->s, "nan"))
        f = NAN;
    else if (!real && !minus && scan_is(&p->s, "min"))
        i = INT64_MIN;
    else if (p->s.tok.kind != TOK_INT && !(real && p->s.tok.kind == TOK_REAL)) {
        scan_error(&p->s, &at, "nest.syntax", "expected a literal of type %s", dtype_name(t.dtype));
        return parse_dummy(p);
    }
    scan_next(&p->s);
    if (minus) i = (int64_t)(0 - (uint64_t)i);
    if (minus) f = -f;
    if (!real && t.dtype != TYPE_B1 && int_wrap(t.dtype, i) != i)
        scan_error(&p->s, &at, "nest.type", "the literal does not fit %s", dtype_name(t.dtype));
    return real ? make(p, &at, OP_REAL, t, NULL, 0, &f) : make(p, &at, OP_INT, t, NULL, 0, &i);
}

int parse_args(struct parser *p, const struct expr **a, int most, const char *close)
{
    int n = 0;
    if (scan_accept(&p->s, close)) return 0;
    do {
        if (n == most) {
            scan_error(&p->s, NULL, "nest.syntax", "at most %d values stand here", most);
            return n;
        }
        a[n++] = parse_expr(p, 1);
    } while (scan_accept(&p->s, ","));
    scan_expect(&p->s, "nest.syntax", close);
    return n;
}

static int parse_cast_mode(const struct tok *t)
{
    for (int i = 0; i <= CAST_FITS_ROUND_EVEN; i++)
        if (tok_is(t, cast_names[i])) return i;
    return -1;
}

static const struct expr *parse_cast(struct parser *p, const struct tok *at, int mode)
{
    struct type t;
    int64_t m = mode;
    if (!parse_type(p, &t)) return parse_dummy(p);
    scan_expect(&p->s, "nest.syntax", ",");
    const struct expr *a = parse_expr(p, 1);
    scan_expect(&p->s, "nest.syntax", ")");
    t.lanes = a->type.lanes;
    return make(p, at, mode < 0 ? OP_BITCAST : OP_CAST, t, &a, 1, mode < 0 ? NULL : &m);
}

/* ramp(base, stride, lanes) and splat(x, lanes) */
static const struct expr *parse_lanes(struct parser *p, const struct tok *at, enum op op)
{
    const struct expr *a[3] = {0};
    int64_t lanes = 0;
    int n = parse_args(p, a, op_arity(op) + 1, ")");
    if (n != op_arity(op) + 1 || !expr_is_int(a[n - 1], &lanes) || lanes < 2 || lanes > PARSE_LANES)
        scan_error(&p->s, at, "nest.type", "%s ends with its number of lanes, 2 to %d", op_name(op),
                   PARSE_LANES);
    if (parse_failed(p)) return parse_dummy(p);
    return make(p, at, op, type_vec(a[0]->type.dtype, (int)lanes), a, n - 1, NULL);
}

static const struct expr *parse_op_call(struct parser *p, const struct tok *at, enum op op)
{
    const struct expr *a[3] = {0};
    if (op == OP_RAMP || op == OP_SPLAT) return parse_lanes(p, at, op);
    int n = parse_args(p, a, 3, ")");
    if (parse_failed(p)) return parse_dummy(p);
    if (n != op_arity(op)) {
        scan_error(&p->s, at, "nest.syntax", "%s takes %d operands", op_name(op), op_arity(op));
        return parse_dummy(p);
    }
    struct type t = a[op == OP_SELECT ? 1 : 0]->type;
    if (op == OP_HSUM || op == OP_HMAX || op == OP_HMIN) t.lanes = 1;
    return make(p, at, op, t, a, n, NULL);
}

/* name( ... : a typed literal, a cast or an operator. */
static const struct expr *parse_call(struct parser *p, const struct tok *at)
{
    enum dtype d = TYPE_F32;
    int mode = parse_cast_mode(at);
    if (mode >= 0 || tok_is(at, "bitcast")) return parse_cast(p, at, mode);
    if (dtype_parse(at->p, at->n, &d)) {
        const struct expr *e = parse_literal(p, type_of(d));
        scan_expect(&p->s, "nest.syntax", ")");
        return e;
    }
    for (int op = 0; op < OP_COUNT; op++)
        if (op_form((enum op)op) == 'C' && tok_is(at, op_name((enum op)op)))
            return parse_op_call(p, at, (enum op)op);
    scan_error(&p->s, at, "nest.name", "unknown operator '%.*s'", (int)(at->n < 60 ? at->n : 60),
               at->p);
    return parse_dummy(p);
}

static const struct expr *parse_load(struct parser *p, const struct tok *at, const char *name)
{
    const struct expr *idx[REGION_RANK + 1];
    struct tensor *t = map_get(p->tensors, name);
    if (!t && !parse_failed(p)) unknown(p, at, "tensor", name, p->tensors);
    int n = parse_args(p, idx, REGION_RANK, "]");
    if (parse_failed(p)) return parse_dummy(p);
    struct type type = t->type;
    for (int i = 0; i < n; i++)
        if (idx[i]->type.lanes > type.lanes) type.lanes = idx[i]->type.lanes;
    return make(p, at, OP_LOAD, type, idx, n, t);
}

/* After '(' expr: a guarded load has `if cond else default` before the ')'. */
static const struct expr *parse_guard(struct parser *p, const struct tok *at,
                                      const struct expr *load)
{
    const struct expr *a[REGION_RANK + 2];
    a[0] = parse_expr(p, 1);
    scan_expect(&p->s, "nest.syntax", "else");
    a[1] = parse_expr(p, 1);
    if (parse_failed(p)) return parse_dummy(p);
    if (load->op != OP_LOAD) {
        scan_error(&p->s, at, "nest.type", "only a load can be guarded with if .. else");
        return parse_dummy(p);
    }
    for (int i = 0; i < load->n; i++) a[2 + i] = load->a[i];
    return make(p, at, OP_LOADC, load->type, a, load->n + 2, load->u.tensor);
}

static const struct expr *parse_primary(struct parser *p)
{
    struct tok at = p->s.tok;
    char name[PARSE_NAME];
    int64_t truth = tok_is(&at, "true");
    if (at.kind == TOK_INT) return parse_literal(p, type_of(TYPE_S64));
    if (at.kind == TOK_REAL) return parse_literal(p, type_of(TYPE_F32));
    if (scan_is(&p->s, "-")) {
        struct scan ahead = p->s;
        scan_next(&ahead);
        return parse_literal(p, type_of(ahead.tok.kind == TOK_REAL ? TYPE_F32 : TYPE_S64));
    }
    if (scan_accept(&p->s, "true") || scan_accept(&p->s, "false"))
        return make(p, &at, OP_INT, type_of(TYPE_B1), NULL, 0, &truth);
    if (scan_accept(&p->s, "(")) {
        const struct expr *e = parse_expr(p, 1);
        if (scan_accept(&p->s, "if")) e = parse_guard(p, &at, e);
        scan_expect(&p->s, "nest.syntax", ")");
        return e;
    }
    parse_name(p, name);
    if (parse_failed(p)) return parse_dummy(p);
    if (at.kind == TOK_IDENT && scan_accept(&p->s, "(")) return parse_call(p, &at);
    if (scan_accept(&p->s, "[")) return parse_load(p, &at, name);
    const struct var *v = map_get(p->vars, name);
    if (!v) {
        unknown(p, &at, "variable", name, p->vars);
        return parse_dummy(p);
    }
    return make(p, &at, OP_VAR, v->type, NULL, 0, v);
}

static const struct infix {
    const char *text;
    uint8_t level, op, swap;
} infix[] = {
    {"|", 1, OP_OR, 0},  {"^", 2, OP_XOR, 0},  {"&", 3, OP_AND, 0},  {"==", 4, OP_EQ, 0},
    {"!=", 4, OP_NE, 0}, {"<", 5, OP_LT, 0},   {"<=", 5, OP_LE, 0},  {">", 5, OP_LT, 1},
    {">=", 5, OP_LE, 1}, {"<<", 6, OP_SHL, 0}, {">>", 6, OP_SHR, 0}, {"+", 7, OP_ADD, 0},
    {"-", 7, OP_SUB, 0}, {"*", 8, OP_MUL, 0},  {"/", 8, OP_DIV, 0},  {"%", 8, OP_MOD, 0},
};

static const struct infix *find_infix(const struct tok *t, int level)
{
    if (t->kind != TOK_PUNCT) return NULL;
    for (size_t i = 0; i < QN_COUNT(infix); i++)
        if (infix[i].level >= level && tok_is(t, infix[i].text)) return &infix[i];
    return NULL;
}

/* An expression of operators that bind at least as tightly as `level`. */
static const struct expr *parse_expr(struct parser *p, int level)
{
    if (++p->depth > PARSE_DEPTH)
        scan_error(&p->s, NULL, "nest.deep", "nested more than %d deep", PARSE_DEPTH);
    const struct expr *e = parse_failed(p) ? parse_dummy(p) : parse_primary(p);
    for (const struct infix *op; !parse_failed(p) && (op = find_infix(&p->s.tok, level));) {
        struct tok at = p->s.tok;
        scan_next(&p->s);
        const struct expr *right = parse_expr(p, op->level + 1);
        const struct expr *a[2] = {op->swap ? right : e, op->swap ? e : right};
        struct type t =
            op_is_predicate((enum op)op->op) ? type_vec(TYPE_B1, e->type.lanes) : e->type;
        e = make(p, &at, (enum op)op->op, t, a, 2, NULL);
    }
    p->depth--;
    return e;
}

const struct expr *parse_top(struct parser *p)
{
    p->size = 0;
    return parse_expr(p, 1);
}

static const struct expr *parse_typed(struct parser *p, struct type t, const char *what)
{
    struct tok at = p->s.tok;
    const struct expr *e = parse_top(p);
    if (!parse_failed(p) && !type_eq(e->type, t)) scan_error(&p->s, &at, "nest.type", "%s", what);
    return e;
}

const struct expr *parse_index(struct parser *p)
{
    return parse_typed(p, type_of(TYPE_S64), "an s64 scalar stands here");
}
