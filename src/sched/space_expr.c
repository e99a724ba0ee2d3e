/* Integer expressions of the .sched language: reading, folding, evaluating.
 *
 *     K % (NV*lanes) != 0 and tail == peel
 *
 * Precedence, loosest first: or, and, not, comparisons, + -, * / %, unary minus. `/` and `%` floor.
 * Functions: min max ceildiv select(c, a, b) pow2 (largest power of two not above) has (is there
 * such a fact). A comparison of a name with an unknown word asks for the fact `name.word`
 * (layout == nhwc), or for a knob's word.
 *
 * Invariants: constants are folded while reading; evaluation never overflows silently. */
#include <string.h>

#include "sched/space_int.h"

static const struct {
    const char *name;
    int n;
    enum xop op;
} functions[] = {{"min", 2, XOP_MIN},
                 {"max", 2, XOP_MAX},
                 {"ceildiv", 2, XOP_CEILDIV},
                 {"select", 3, XOP_SELECT},
                 {"pow2", 1, XOP_POW2}};

/* ---- evaluation ------------------------------------------------------------------------------ */

static bool eval_binary(enum xop op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case XOP_ADD:
        return !__builtin_add_overflow(a, b, out);
    case XOP_SUB:
        return !__builtin_sub_overflow(a, b, out);
    case XOP_MUL:
        return !__builtin_mul_overflow(a, b, out);
    case XOP_DIV:
    case XOP_MOD:
    case XOP_CEILDIV:
        if (b == 0 || (a == INT64_MIN && b == -1)) return false;
        if (op == XOP_CEILDIV && a == INT64_MIN) return false;
        *out = op == XOP_DIV   ? i64_floordiv(a, b)
               : op == XOP_MOD ? i64_floormod(a, b)
                               : i64_ceildiv(a, b);
        return true;
    case XOP_EQ:
        *out = a == b;
        return true;
    case XOP_NE:
        *out = a != b;
        return true;
    case XOP_LT:
        *out = a < b;
        return true;
    case XOP_LE:
        *out = a <= b;
        return true;
    case XOP_MIN:
        *out = i64_min(a, b);
        return true;
    case XOP_MAX:
        *out = i64_max(a, b);
        return true;
    default:
        QN_UNREACHABLE("operator %d", op);
    }
}

bool xexpr_eval(const struct xnode *x, const struct values *values, int64_t *out)
{
    int64_t a, b;
    switch (x->op) {
    case XOP_INT:
        *out = x->i;
        return true;
    case XOP_KNOB:
        *out = values->v[x->i];
        return !values->bad[x->i];
    default:
        break;
    }
    if (!xexpr_eval(x->a[0], values, &a)) return false;
    switch (x->op) {
    case XOP_NEG:
        return !__builtin_sub_overflow((int64_t)0, a, out);
    case XOP_NOT:
        *out = !a;
        return true;
    case XOP_AND:
        return a ? xexpr_eval(x->a[1], values, &b) && (*out = b != 0, true) : (*out = 0, true);
    case XOP_OR:
        return a ? (*out = 1, true) : xexpr_eval(x->a[1], values, &b) && (*out = b != 0, true);
    case XOP_SELECT:
        return xexpr_eval(x->a[a ? 1 : 2], values, out);
    case XOP_POW2:
        if (a < 1) return false;
        *out = INT64_C(1) << (63 - __builtin_clzll((unsigned long long)a));
        return true;
    default:
        return xexpr_eval(x->a[1], values, &b) && eval_binary(x->op, a, b, out);
    }
}

bool xexpr_only_knob(const struct xnode *x, int knob)
{
    if (x->op == XOP_KNOB) return x->i == knob;
    for (int i = 0; i < 3; i++)
        if (x->a[i] && !xexpr_only_knob(x->a[i], knob)) return false;
    return true;
}

bool xexpr_const(const struct xnode *x, int64_t *out)
{
    if (x->op != XOP_INT) return false;
    *out = x->i;
    return true;
}

/* ---- construction ---------------------------------------------------------------------------- */

const struct xnode *xexpr_int(struct arena *a, int64_t v)
{
    struct xnode *x = ARENA_NEW(a, struct xnode);
    x->op = XOP_INT;
    x->i = v;
    return x;
}

static const struct xnode *reference(struct arena *a, int i)
{
    struct xnode *x = ARENA_NEW(a, struct xnode);
    x->op = XOP_KNOB;
    x->i = i;
    return x;
}

static const struct xnode *make(struct arena *arena, enum xop op, const struct xnode *a,
                                const struct xnode *b, const struct xnode *c)
{
    struct xnode *x = ARENA_NEW(arena, struct xnode);
    *x = (struct xnode){op, 0, {a, b, c}};
    bool constant = a->op == XOP_INT && (!b || b->op == XOP_INT) && (!c || c->op == XOP_INT);
    int64_t v;
    if (constant && xexpr_eval(x, NULL, &v)) return xexpr_int(arena, v);
    return x;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool same(const char *name, const char *p, size_t n)
{
    return strlen(name) == n && memcmp(name, p, n) == 0;
}

const struct xnode *name_lookup(const struct scope_of_names *names, const char *p, size_t n)
{
    for (int i = 0; i < names->nknob; i++)
        if (same(names->knob[i].name, p, n)) return reference(names->arena, i);
    for (int i = 0; i < names->nlet; i++)
        if (same(names->let_name[i], p, n))
            return names->let[i]->op == XOP_INT ? names->let[i]
                                                : reference(names->arena, SPACE_KNOBS + i);
    for (int i = 0; i < names->facts->n; i++)
        if (same(names->facts->name[i], p, n))
            return xexpr_int(names->arena, names->facts->value[i]);
    return NULL;
}

static bool fact_exists(const struct scope_of_names *names, const char *name)
{
    int64_t v;
    return facts_get(names->facts, name, &v);
}

static const struct xnode *unknown(struct scan *s, struct scope_of_names *names,
                                   const struct tok *t)
{
    const char *known[SPACE_KNOBS + SPACE_LETS + QN_COUNT(names->facts->name)];
    size_t n = 0;
    for (int i = 0; i < names->nknob; i++) known[n++] = names->knob[i].name;
    for (int i = 0; i < names->nlet; i++) known[n++] = names->let_name[i];
    for (int i = 0; i < names->facts->n; i++) known[n++] = names->facts->name[i];
    char word[64], hint[100];
    size_t len = t->n < sizeof word - 1 ? t->n : sizeof word - 1;
    memcpy(word, t->p, len);
    word[len] = 0;
    scan_error(s, t, "space.unknown_name", "no knob, let or fact is called '%s'%s", word,
               did_you_mean(hint, sizeof hint, word, known, n));
    return NULL;
}

/* NAME == WORD, NAME != WORD: the fact NAME.WORD, or the index of WORD among a knob's words. */
static bool word_test(struct scan *s, struct scope_of_names *names, const struct xnode **out)
{
    struct tok left = s->tok;
    if (left.kind != TOK_IDENT) return false;
    struct scan ahead = *s;
    scan_next(&ahead);
    bool equal = scan_is(&ahead, "==");
    if (!equal && !scan_is(&ahead, "!=")) return false;
    scan_next(&ahead);
    struct tok right = ahead.tok;
    if (right.kind != TOK_IDENT || name_lookup(names, right.p, right.n)) return false;
    const struct xnode *knob = name_lookup(names, left.p, left.n);
    if (knob && knob->op == XOP_KNOB && knob->i < SPACE_KNOBS && names->knob[knob->i].word) {
        const struct knob *k = &names->knob[knob->i];
        for (int i = 0; i < k->n; i++) {
            if (!same(k->word[i], right.p, right.n)) continue;
            *s = ahead;
            scan_next(s);
            *out =
                make(names->arena, equal ? XOP_EQ : XOP_NE, knob, xexpr_int(names->arena, i), NULL);
            return true;
        }
        return false; /* the unknown word is reported where it stands */
    }
    char name[64];
    bool any = knob != NULL;
    for (int i = 0; i < names->facts->n; i++)
        any |= strncmp(names->facts->name[i], left.p, left.n) == 0 &&
               names->facts->name[i][left.n] == '.';
    if (!any || left.n + right.n + 2 > sizeof name) return false;
    memcpy(name, left.p, left.n);
    name[left.n] = '.';
    memcpy(name + left.n + 1, right.p, right.n);
    name[left.n + 1 + right.n] = 0;
    *s = ahead;
    scan_next(s);
    *out = xexpr_int(names->arena, fact_exists(names, name) == equal);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static const struct xnode *parse_or(struct scan *s, struct scope_of_names *names);

static const struct xnode *parse_call(struct scan *s, struct scope_of_names *names,
                                      const struct tok *name, int n, enum xop op)
{
    const struct xnode *a[3] = {NULL};
    scan_next(s); /* ( */
    for (int i = 0; i < n; i++) {
        if (i && !scan_expect(s, "space.call", ",")) return NULL;
        a[i] = parse_or(s, names);
        if (!a[i]) return NULL;
    }
    return scan_expect(s, "space.call", ")") ? make(names->arena, op, a[0], a[1], a[2]) : NULL;
}

static const struct xnode *parse_has(struct scan *s, struct scope_of_names *names)
{
    char name[64];
    scan_next(s);
    if (!scan_ident(s, "space.call", name, sizeof name) || !scan_expect(s, "space.call", ")"))
        return NULL;
    return xexpr_int(names->arena, fact_exists(names, name));
}

static const struct xnode *parse_primary(struct scan *s, struct scope_of_names *names)
{
    struct tok t = s->tok;
    if (t.kind == TOK_INT) {
        scan_next(s);
        return xexpr_int(names->arena, t.i);
    }
    if (scan_accept(s, "(")) {
        const struct xnode *x = parse_or(s, names);
        return x && scan_expect(s, "space.expression", ")") ? x : NULL;
    }
    if (t.kind != TOK_IDENT) {
        scan_error(s, &t, "space.expression", "a number, a name or ( is needed here");
        return NULL;
    }
    scan_next(s);
    if (scan_is(s, "(")) {
        if (tok_is(&t, "has")) return parse_has(s, names);
        for (size_t i = 0; i < QN_COUNT(functions); i++)
            if (tok_is(&t, functions[i].name))
                return parse_call(s, names, &t, functions[i].n, functions[i].op);
        scan_error(s, &t, "space.call", "the functions are min max ceildiv select pow2 has");
        return NULL;
    }
    const struct xnode *x = name_lookup(names, t.p, t.n);
    return x ? x : unknown(s, names, &t);
}

static const struct xnode *parse_unary(struct scan *s, struct scope_of_names *names)
{
    if (++names->depth > SPACE_DEPTH) {
        scan_error(s, &s->tok, "space.expression", "the expression is nested too deeply");
        names->depth--;
        return NULL;
    }
    const struct xnode *x;
    if (scan_accept(s, "-")) {
        x = parse_unary(s, names);
        if (x) x = make(names->arena, XOP_NEG, x, NULL, NULL);
    } else {
        x = parse_primary(s, names);
    }
    names->depth--;
    return x;
}

static const struct {
    const char *spelling;
    int level;
    enum xop op;
    bool swap; /* a > b is b < a */
} infix[] = {{"*", 1, XOP_MUL, false}, {"/", 1, XOP_DIV, false}, {"%", 1, XOP_MOD, false},
             {"+", 2, XOP_ADD, false}, {"-", 2, XOP_SUB, false}, {"==", 3, XOP_EQ, false},
             {"!=", 3, XOP_NE, false}, {"<", 3, XOP_LT, false},  {"<=", 3, XOP_LE, false},
             {">", 3, XOP_LT, true},   {">=", 3, XOP_LE, true}};

static const struct xnode *parse_infix(struct scan *s, struct scope_of_names *names, int level)
{
    const struct xnode *left;
    if (level == 0) return parse_unary(s, names);
    if (level == 3 && word_test(s, names, &left)) return left;
    left = parse_infix(s, names, level - 1);
    while (left) {
        size_t i = 0;
        while (i < QN_COUNT(infix) && !(infix[i].level == level && scan_is(s, infix[i].spelling)))
            i++;
        if (i == QN_COUNT(infix)) break;
        if (++names->operators > SPACE_OPERATORS) {
            scan_error(s, &s->tok, "space.expression",
                       "the expression is too long: name parts of it with `let`");
            return NULL;
        }
        scan_next(s);
        const struct xnode *right = parse_infix(s, names, level - 1);
        if (!right) return NULL;
        left = infix[i].swap ? make(names->arena, infix[i].op, right, left, NULL)
                             : make(names->arena, infix[i].op, left, right, NULL);
        if (level == 3) break; /* comparisons do not chain */
    }
    return left;
}

static const struct xnode *parse_not(struct scan *s, struct scope_of_names *names)
{
    bool not = false;
    while (scan_accept(s, "not")) not = !not ;
    const struct xnode *x = parse_infix(s, names, 3);
    return x && not ? make(names->arena, XOP_NOT, x, NULL, NULL) : x;
}

static const struct xnode *parse_and(struct scan *s, struct scope_of_names *names)
{
    const struct xnode *x = parse_not(s, names);
    while (x && scan_accept(s, "and") && names->operators++ < SPACE_OPERATORS) {
        const struct xnode *y = parse_not(s, names);
        x = y ? make(names->arena, XOP_AND, x, y, NULL) : NULL;
    }
    return x;
}

static const struct xnode *parse_or(struct scan *s, struct scope_of_names *names)
{
    if (++names->depth > SPACE_DEPTH) {
        scan_error(s, &s->tok, "space.expression", "the expression is nested too deeply");
        names->depth--;
        return NULL;
    }
    const struct xnode *x = parse_and(s, names);
    while (x && scan_accept(s, "or") && names->operators++ < SPACE_OPERATORS) {
        const struct xnode *y = parse_and(s, names);
        x = y ? make(names->arena, XOP_OR, x, y, NULL) : NULL;
    }
    names->depth--;
    return x;
}

const struct xnode *xexpr_parse(struct scan *s, struct scope_of_names *names)
{
    names->depth = names->operators = 0;
    const struct xnode *x = parse_or(s, names);
    return s->err.rc == RC_OK ? x : NULL;
}

/* ---- facts ----------------------------------------------------------------------------------- */

void facts_put(struct facts *f, const char *name, int64_t value)
{
    int at = 0;
    while (at < f->n && strcmp(f->name[at], name) != 0) at++;
    if (at == f->n) {
        if (f->n == (int)QN_COUNT(f->name) || strlen(name) >= sizeof f->owned[0]) return;
        strncpy(f->owned[at], name, sizeof f->owned[0] - 1);
        f->name[at] = f->owned[at];
        f->n++;
    }
    f->value[at] = value;
}

bool facts_get(const struct facts *f, const char *name, int64_t *value)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->name[i], name) == 0) {
            *value = f->value[i];
            return true;
        }
    return false;
}
