/* What is known about variables, ranges of expressions, and a small prover of inequalities.
 *
 *   env: qo in 0..5, qi in 0..min(14, 57 - qo*14)        env_proves(qo*14 + qi < 57)
 *
 * expr_range is interval arithmetic over linear forms. The prover shows L >= 0 by replacing,
 * innermost first, a variable by the bound that makes L smallest (which may be symbolic), a min,
 * max, div or mod by what bounds it, and by subtracting known facts, until the interval of what is
 * left is not negative.
 *
 * Invariants: "true" is always right (prop tests compare with brute force); "false" means "not
 * shown". Work per question is bounded by STEPS. Memos are dropped whenever the environment learns
 * something. */
#include <string.h>

#include "ir/private.h"

enum { STEPS = 96 };

static const struct range anything = {INT64_MIN, INT64_MAX};

/* ---- interval arithmetic; INT64_MIN and INT64_MAX are infinities ----------------------------- */

static bool is_inf(int64_t v) { return v == INT64_MIN || v == INT64_MAX; }

static int64_t sat_mul(int64_t a, int64_t b)
{
    int64_t r = 0;
    if (a == 0 || b == 0) return 0;
    bool minus = (a < 0) != (b < 0);
    if (is_inf(a) || is_inf(b) || __builtin_mul_overflow(a, b, &r))
        return minus ? INT64_MIN : INT64_MAX;
    return r;
}

/* dir < 0 for a lower bound: an infinity of that side wins. */
static int64_t sat_add(int64_t a, int64_t b, int dir)
{
    int64_t r = 0, inf = dir < 0 ? INT64_MIN : INT64_MAX;
    if (a == inf || b == inf) return inf;
    if (is_inf(a) || is_inf(b)) return inf; /* the other infinity: nothing is known */
    if (__builtin_add_overflow(a, b, &r)) return inf;
    return r;
}

/* Two terms k*(a/c) - k*((a + d)/c): their sum lies within k*[-ceil(d/c), -floor(d/c)]. Finds the
 * partner of term i behind it; -1 if there is none. */
static int div_partner(const struct linear *l, int i, int64_t *lo, int64_t *hi)
{
    const struct expr *x = l->atom[i];
    int64_t c = 0, k = l->coef[i];
    if (x->op != OP_DIV || !expr_is_int(x->a[1], &c) || c <= 0) return -1;
    for (int j = i + 1; j < l->n; j++) {
        const struct expr *y = l->atom[j];
        struct linear a, b;
        if (y->op != OP_DIV || y->a[1] != x->a[1] || k == INT64_MIN || l->coef[j] != -k) continue;
        if (!linear_of(x->a[0], &a) || !linear_of(y->a[0], &b) || !linear_add(&a, &b, -1) || a.n)
            continue;
        int64_t down = i64_floordiv(a.c, c), up = i64_ceildiv(a.c, c);
        *lo = sat_mul(k, k > 0 ? down : up);
        *hi = sat_mul(k, k > 0 ? up : down);
        return j;
    }
    return -1;
}

struct range linear_range(const struct env *env, const struct linear *l)
{
    struct range r = {l->c, l->c};
    uint32_t paired = 0;
    for (int i = 0; i < l->n; i++) {
        int64_t lo = 0, hi = 0;
        int partner = paired >> i & 1 ? -1 : div_partner(l, i, &lo, &hi);
        if (partner >= 0) {
            paired |= UINT32_C(1) << partner;
            r.lo = sat_add(r.lo, lo, -1);
            r.hi = sat_add(r.hi, hi, 1);
        }
        if (partner >= 0 || paired >> i & 1) continue;
        struct range a = expr_range(env, l->atom[i]);
        int64_t k = l->coef[i];
        r.lo = sat_add(r.lo, sat_mul(k, k > 0 ? a.lo : a.hi), -1);
        r.hi = sat_add(r.hi, sat_mul(k, k > 0 ? a.hi : a.lo), 1);
        if (r.lo == INT64_MIN && r.hi == INT64_MAX) break;
    }
    return r;
}

static struct range range_union(struct range a, struct range b)
{
    return (struct range){i64_min(a.lo, b.lo), i64_max(a.hi, b.hi)};
}

static struct range range_mul(struct range a, struct range b)
{
    int64_t v[4] = {sat_mul(a.lo, b.lo), sat_mul(a.lo, b.hi), sat_mul(a.hi, b.lo),
                    sat_mul(a.hi, b.hi)};
    struct range r = {v[0], v[0]};
    for (int i = 1; i < 4; i++) r = range_union(r, (struct range){v[i], v[i]});
    return r;
}

static struct range range_divmod(enum op op, struct range x, struct range d)
{
    if (d.lo != d.hi || d.lo <= 0 || is_inf(d.lo)) {
        if (op == OP_MOD && d.lo > 0) return (struct range){0, is_inf(d.hi) ? INT64_MAX : d.hi - 1};
        return anything;
    }
    int64_t c = d.lo;
    int64_t qlo = is_inf(x.lo) ? x.lo : i64_floordiv(x.lo, c),
            qhi = is_inf(x.hi) ? x.hi : i64_floordiv(x.hi, c);
    if (op == OP_DIV) return (struct range){qlo, qhi};
    if (!is_inf(x.lo) && !is_inf(x.hi) && qlo == qhi)
        return (struct range){i64_floormod(x.lo, c), i64_floormod(x.hi, c)};
    return (struct range){0, c - 1};
}

static struct range range_of_type(enum dtype d)
{
    if (d == TYPE_B1) return (struct range){0, 1};
    if (!dtype_is_int(d) || d == TYPE_U64) return anything;
    return (struct range){dtype_int_min(d), dtype_int_max(d)};
}

static const struct env_entry *find_entry(const struct env *env, const struct var *v)
{
    for (int i = env->n - 1; i >= 0; i--)
        if (env->entry[i].var == v) return &env->entry[i];
    return NULL;
}

static struct range range_of_s64(const struct env *env, const struct expr *e)
{
    struct range a, b;
    struct linear l;
    const struct env_entry *entry = NULL;
    switch ((enum op)e->op) {
    case OP_INT:
        return (struct range){e->u.i, e->u.i};
    case OP_VAR:
        entry = find_entry(env, e->u.var);
        return entry ? entry->range : anything;
    case OP_ADD:
    case OP_SUB:
    case OP_NEG:
        return linear_of(e, &l) && !(l.n == 1 && l.atom[0] == e) ? linear_range(env, &l) : anything;
    case OP_MUL:
        return range_mul(expr_range(env, e->a[0]), expr_range(env, e->a[1]));
    case OP_DIV:
    case OP_MOD:
        return range_divmod((enum op)e->op, expr_range(env, e->a[0]), expr_range(env, e->a[1]));
    case OP_MIN:
    case OP_MAX:
        a = expr_range(env, e->a[0]);
        b = expr_range(env, e->a[1]);
        if (e->op == OP_MIN) return (struct range){i64_min(a.lo, b.lo), i64_min(a.hi, b.hi)};
        return (struct range){i64_max(a.lo, b.lo), i64_max(a.hi, b.hi)};
    case OP_SELECT:
        return range_union(expr_range(env, e->a[1]), expr_range(env, e->a[2]));
    case OP_CAST:
        return e->u.i == CAST_PLAIN ? expr_range(env, e->a[0]) : anything;
    case OP_AND:
        b = expr_range(env, e->a[1]);
        return b.lo >= 0 ? (struct range){0, b.hi} : anything;
    case OP_POPCOUNT:
        return (struct range){0, 64};
    default:
        return anything;
    }
}

/* Index tensors hold narrow integers: of those, a clamp is understood. */
static struct range range_of_narrow(const struct env *env, const struct expr *e)
{
    bool whole = dtype_is_int((enum dtype)e->type.dtype) && e->type.dtype != TYPE_U64;
    if (!whole || (e->op != OP_MIN && e->op != OP_MAX))
        return range_of_type((enum dtype)e->type.dtype);
    struct range a = expr_range(env, e->a[0]), b = expr_range(env, e->a[1]);
    if (e->op == OP_MIN) return (struct range){i64_min(a.lo, b.lo), i64_min(a.hi, b.hi)};
    return (struct range){i64_max(a.lo, b.lo), i64_max(a.hi, b.hi)};
}

struct range expr_range(const struct env *env, const struct expr *e)
{
    if (e->type.lanes != 1) return anything;
    if (e->op == OP_INT) return (struct range){e->u.i, e->u.i};
    if (e->type.dtype != TYPE_S64) return range_of_narrow(env, e);
    if (e->op == OP_VAR) return range_of_s64(env, e);
    struct idmap *memo = &((struct env *)env)->ranges;
    const struct range *known = idmap_get(memo, e->id);
    if (known) return *known;
    struct range r = range_of_s64(env, e), *keep = ARENA_NEW(env->ir->arena, struct range);
    *keep = r;
    idmap_put(memo, e->id, keep);
    return r;
}

/* ---- the environment ------------------------------------------------------------------------- */

struct env *env_new(struct ir *ir)
{
    struct env *env = ARENA_NEW(ir->arena, struct env);
    env->ir = ir;
    env->ranges.arena = env->simple.arena = env->proved.arena = ir->arena;
    return env;
}

static void learned(struct env *env)
{
    idmap_clear(&env->ranges);
    idmap_clear(&env->simple);
    idmap_clear(&env->proved);
}

static struct env_entry *add_entry(struct env *env, const struct var *v)
{
    if (env->n == env->cap) {
        int cap = env->cap ? 2 * env->cap : 16;
        struct env_entry *p = ARENA_ARRAY(env->ir->arena, struct env_entry, cap);
        if (env->n) memcpy(p, env->entry, (size_t)env->n * sizeof *p);
        env->entry = p;
        env->cap = cap;
    }
    struct env_entry *e = &env->entry[env->n++];
    *e = (struct env_entry){.var = v, .range = anything};
    learned(env);
    return e;
}

void env_put(struct env *env, const struct var *v, const struct expr *lo, const struct expr *hi)
{
    struct range a = lo ? expr_range(env, lo) : anything, b = hi ? expr_range(env, hi) : anything;
    struct env_entry *e = add_entry(env, v);
    e->lo = lo;
    e->hi = hi;
    e->range.lo = a.lo;
    e->range.hi = is_inf(b.hi) ? INT64_MAX : b.hi - 1;
}

void env_let(struct env *env, const struct var *v, const struct expr *value)
{
    if (!type_eq(v->type, type_of(TYPE_S64))) return;
    struct range r = expr_range(env, value);
    struct env_entry *e = add_entry(env, v);
    e->value = value;
    e->range = r;
}

/* l >= 0 with one variable: its range gets tighter. */
static void tighten(struct env *env, const struct linear *l)
{
    if (l->n != 1 || l->atom[0]->op != OP_VAR) return;
    const struct var *v = l->atom[0]->u.var;
    struct env_entry *e = (struct env_entry *)find_entry(env, v);
    if (!e) e = add_entry(env, v);
    int64_t k = l->coef[0], c = l->c;
    if (c == INT64_MIN || k == INT64_MIN) return;
    if (k > 0)
        e->range.lo = i64_max(e->range.lo, i64_ceildiv(-c, k));
    else
        e->range.hi = i64_min(e->range.hi, i64_floordiv(c, -k));
}

static void add_fact(struct env *env, const struct linear *l)
{
    tighten(env, l);
    if (env->nfacts == ENV_FACTS) return;
    struct linear *f = ARENA_NEW(env->ir->arena, struct linear);
    *f = *l;
    env->fact[env->nfacts++] = f;
}

void env_fact(struct env *env, const struct expr *cond)
{
    struct linear l, minus = {.n = 0, .c = 0};
    learned(env);
    if (cond->type.lanes != 1) return;
    if (cond->op == OP_AND && cond->type.dtype == TYPE_B1) {
        env_fact(env, cond->a[0]);
        env_fact(env, cond->a[1]);
        return;
    }
    if (env->nfact_exprs < ENV_FACTS) env->fact_expr[env->nfact_exprs++] = cond;
    if (cond->op == OP_NE || !linear_of_compare(cond, &l)) return;
    add_fact(env, &l);
    if (cond->op == OP_EQ && linear_add(&minus, &l, -1)) add_fact(env, &minus);
}

/* Inside a loop, lo < hi: worth a fact where a bound is not a constant. */
static void know_not_empty(struct env *env, const struct stmt *loop)
{
    struct linear l, lo;
    if (expr_is_int(loop->u.loop.hi, NULL) || !linear_of(loop->u.loop.hi, &l) ||
        !linear_of(loop->u.loop.lo, &lo))
        return;
    if (!linear_add(&l, &lo, -1) || __builtin_sub_overflow(l.c, 1, &l.c) ||
        linear_range(env, &l).lo >= 0)
        return;
    learned(env);
    add_fact(env, &l);
}

struct env *env_at(struct ir *ir, const struct nest *n, const struct stmt *s)
{
    const struct stmt *small[64], **path = small;
    int depth = 0;
    struct env *env = env_new(ir);
    for (const struct stmt *p = s->parent; p; p = p->parent) depth++;
    if (depth > 64) path = ARENA_ARRAY(ir->arena, const struct stmt *, depth);
    int i = depth;
    for (const struct stmt *p = s->parent; p; p = p->parent) path[--i] = p;
    for (i = 0; i < n->ndyn; i++) env_put(env, n->dyn[i], expr_int(ir, 0), NULL);
    for (i = 0; i < depth; i++) {
        if (path[i]->kind == ST_FOR) {
            env_put(env, path[i]->u.loop.var, path[i]->u.loop.lo, path[i]->u.loop.hi);
            know_not_empty(env, path[i]);
        }
        if (path[i]->kind == ST_LET) env_let(env, path[i]->u.let.var, path[i]->u.let.value);
        if (path[i]->kind == ST_IF) env_fact(env, path[i]->u.cond.cond);
    }
    return env;
}

/* ---- the prover ------------------------------------------------------------------------------ */

struct prover {
    const struct env *env;
    int steps;
};

static bool nonneg(struct prover *p, const struct linear *l, bool facts);

/* l with its term k*atom replaced by k*by (+ shift), nonneg? */
static bool nonneg_with(struct prover *p, const struct linear *l, const struct expr *atom,
                        const struct expr *by, int64_t shift)
{
    struct linear to = *l, m;
    int64_t k = linear_coef(l, atom);
    if (!by || !linear_of(by, &m) || __builtin_add_overflow(m.c, shift, &m.c)) return false;
    linear_drop(&to, atom);
    return linear_add(&to, &m, k) && nonneg(p, &to, true);
}

static bool by_minmax(struct prover *p, const struct linear *l, const struct expr *e, int64_t k)
{
    bool both =
        (e->op == OP_MIN) == (k > 0); /* k*min is one of the two: both must do; -min is >= either */
    bool first = nonneg_with(p, l, e, e->a[0], 0);
    if (both && !first) return false;
    if (!both && first) return true;
    return nonneg_with(p, l, e, e->a[1], 0);
}

/* x/c with coefficient k: c*(x/c) lies in x-c+1 .. x. */
static bool by_div(struct prover *p, const struct linear *l, const struct expr *e, int64_t k)
{
    int64_t c = 0;
    struct linear to = *l, x;
    if (!expr_is_int(e->a[1], &c) || c <= 0 || k % c != 0 || !linear_of(e->a[0], &x)) return false;
    linear_drop(&to, e);
    if (k > 0 && __builtin_sub_overflow(x.c, c - 1, &x.c)) return false;
    return linear_add(&to, &x, k / c) && nonneg(p, &to, true);
}

static bool by_range(struct prover *p, const struct linear *l, const struct expr *e, int64_t k)
{
    struct range r = expr_range(p->env, e);
    int64_t v = k > 0 ? r.lo : r.hi;
    struct linear to = *l, m = {.n = 0, .c = v};
    if (is_inf(v)) return false;
    linear_drop(&to, e);
    return linear_add(&to, &m, k) && nonneg(p, &to, false);
}

static bool by_var(struct prover *p, const struct linear *l, const struct expr *e,
                   const struct env_entry *entry, int64_t k)
{
    if (entry->value) return nonneg_with(p, l, e, entry->value, 0);
    if (k > 0 && entry->lo && nonneg_with(p, l, e, entry->lo, 0)) return true;
    if (k < 0 && entry->hi && nonneg_with(p, l, e, entry->hi, -1)) return true;
    return by_range(p, l, e, k);
}

/* Each fact f >= 0 that shares an atom: l = f*m + rest with rest >= 0 by its interval. */
static bool by_facts(struct prover *p, const struct linear *l)
{
    for (int i = 0; i < p->env->nfacts; i++) {
        const struct linear *f = p->env->fact[i];
        for (int j = 0; j < f->n; j++) {
            int64_t k = linear_coef(l, f->atom[j]);
            if (k == 0 || k % f->coef[j] != 0 || k / f->coef[j] <= 0) continue;
            struct linear rest = *l;
            if (linear_add(&rest, f, -(k / f->coef[j])) && linear_range(p->env, &rest).lo >= 0)
                return true;
            break;
        }
    }
    return false;
}

static int entry_index(const struct env *env, const struct expr *atom)
{
    if (atom->op != OP_VAR) return -1;
    for (int i = env->n - 1; i >= 0; i--)
        if (env->entry[i].var == atom->u.var) return i;
    return -1;
}

static bool nonneg(struct prover *p, const struct linear *l, bool facts)
{
    if (--p->steps < 0) return false;
    struct range r = linear_range(p->env, l);
    if (r.lo >= 0) return true;
    if (r.hi < 0 || l->n == 0) return false;
    if (facts && by_facts(p, l)) return true;
    int inner = -1, at = -1;
    for (int i = 0; i < l->n; i++) {
        const struct expr *e = l->atom[i];
        if (e->op == OP_MIN || e->op == OP_MAX) return by_minmax(p, l, e, l->coef[i]);
        if (e->op == OP_DIV && by_div(p, l, e, l->coef[i])) return true;
        int index = entry_index(p->env, e);
        if (index > inner) {
            inner = index;
            at = i;
        }
    }
    return at >= 0 && by_var(p, l, l->atom[at], &p->env->entry[inner], l->coef[at]);
}

bool env_proves_nonneg(const struct env *env, const struct linear *l)
{
    struct prover p = {env, STEPS};
    return nonneg(&p, l, true);
}

static bool proves_compare(const struct env *env, const struct expr *cond)
{
    struct linear l, minus = {.n = 0, .c = 0};
    if (!linear_of_compare(cond, &l) || !linear_add(&minus, &l, -1)) return false;
    if (cond->op == OP_EQ) return env_proves_nonneg(env, &l) && env_proves_nonneg(env, &minus);
    if (cond->op != OP_NE) return env_proves_nonneg(env, &l);
    if (__builtin_sub_overflow(l.c, 1, &l.c) || __builtin_sub_overflow(minus.c, 1, &minus.c))
        return false;
    return env_proves_nonneg(env, &l) || env_proves_nonneg(env, &minus);
}

static bool proves(const struct env *env, const struct expr *cond)
{
    if (cond->type.dtype != TYPE_B1 || cond->type.lanes != 1) return false;
    for (int i = 0; i < env->nfact_exprs; i++)
        if (env->fact_expr[i] == cond) return true;
    switch ((enum op)cond->op) {
    case OP_INT:
        return cond->u.i != 0;
    case OP_AND:
        return env_proves(env, cond->a[0]) && env_proves(env, cond->a[1]);
    case OP_OR:
        return env_proves(env, cond->a[0]) || env_proves(env, cond->a[1]);
    default:
        return proves_compare(env, cond);
    }
}

bool env_proves(const struct env *env, const struct expr *cond)
{
    static const char yes, no;
    struct idmap *memo = &((struct env *)env)->proved;
    const void *known = idmap_get(memo, cond->id);
    if (known) return known == &yes;
    bool r = proves(env, cond);
    idmap_put(memo, cond->id, r ? &yes : &no);
    return r;
}
