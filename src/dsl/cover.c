/* cover: the equations of a tensor define every element exactly once.
 *
 *     y[n, k: M] = ...   y[n, M+k: K-M] = ...   pieces 0..M and M..K: disjoint,
 *                                               M + (K-M) = K elements
 *     y[2*i: P/2], y[2*i+1: P/2]                progressions of step 2 that never meet
 *
 * A piece is a product of arithmetic progressions, one a dimension. Exact cover: every piece inside
 * the tensor, pieces pairwise disjoint (in some dimension their progressions do not meet: a gcd
 * question), and their element counts sum to the tensor's. Dynamic extents are covered only whole,
 * by a bare index, so the proof at the tuning point holds for every value. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dsl/lower_int.h"

struct affine { /* c + sum coef[i] * loop i */
    int64_t c, coef[LOOPS_MAX];
};

static bool affine_mul(struct affine *a, int64_t k)
{
    bool over = __builtin_mul_overflow(a->c, k, &a->c);
    for (int i = 0; i < LOOPS_MAX; i++) over |= __builtin_mul_overflow(a->coef[i], k, &a->coef[i]);
    return !over;
}

static bool affine_of(struct lower *L, const struct node *n, const struct loopv *loops, int nloops,
                      struct affine *out)
{
    struct affine b;
    *out = (struct affine){0};
    if (n->kind == NODE_NAME)
        for (int i = 0; i < nloops; i++)
            if (strcmp(loops[i].name, n->name) == 0) {
                out->coef[i] = 1;
                return true;
            }
    bool sum = n->kind == NODE_BINARY && (n->oper == OPER_ADD || n->oper == OPER_SUB);
    if (sum) {
        if (!affine_of(L, n->a[0], loops, nloops, out) || !affine_of(L, n->a[1], loops, nloops, &b))
            return false;
        if (n->oper == OPER_SUB && !affine_mul(&b, -1))
            return low_fail(L, n, "dsl.value", "the result does not fit in 64 bits");
        bool over = __builtin_add_overflow(out->c, b.c, &out->c);
        for (int i = 0; i < nloops; i++)
            over |= __builtin_add_overflow(out->coef[i], b.coef[i], &out->coef[i]);
        return !over || low_fail(L, n, "dsl.value", "the result does not fit in 64 bits");
    }
    if (n->kind == NODE_BINARY && n->oper == OPER_MUL) {
        if (!affine_of(L, n->a[0], loops, nloops, out) || !affine_of(L, n->a[1], loops, nloops, &b))
            return false;
        bool left = false, right = false;
        for (int i = 0; i < nloops; i++) {
            left |= out->coef[i] != 0;
            right |= b.coef[i] != 0;
        }
        if (left && right)
            return low_fail(L, n, "dsl.affine", "a left side is affine in its indices");
        int64_t k = right ? out->c : b.c;
        if (right) *out = b;
        return affine_mul(out, k) ||
               low_fail(L, n, "dsl.value", "the result does not fit in 64 bits");
    }
    struct err kept = *L->e;
    L->s.touched_dyn = false;
    if (!eval_int(&L->s, n, &out->c)) {
        *L->e = kept;
        return low_fail(L, n, "dsl.affine", "a left side is affine in its indices");
    }
    return !L->s.touched_dyn ||
           low_fail(L, n, "dsl.dyn", "a part of a tensor cannot begin at a dynamic extent");
}

/* start, start + step, ...: the values of c + sum coef * [lo, hi) when they form one progression */
static bool progression(struct lower *L, const struct node *at, struct affine a, int nloops,
                        const int64_t *lo, const int64_t *hi, int64_t *start, int64_t *step,
                        int64_t *count)
{
    *start = a.c;
    *step = 1;
    *count = 1;
    bool first = true;
    for (int i = 0; i < nloops; i++) {
        if (a.coef[i] == 0) continue;
        if (hi[i] <= lo[i]) {
            *count = 0;
            return true;
        }
        int64_t end = a.coef[i] > 0 ? lo[i] : hi[i] - 1, move = 0;
        if (__builtin_mul_overflow(a.coef[i], end, &move) ||
            __builtin_add_overflow(*start, move, start))
            return low_fail(L, at, "dsl.value", "the result does not fit in 64 bits");
    }
    for (;;) { /* the smallest coefficient first */
        int best = -1;
        for (int i = 0; i < nloops; i++)
            if (a.coef[i] != 0 && hi[i] - lo[i] > 1 &&
                (best < 0 || llabs(a.coef[i]) < llabs(a.coef[best])))
                best = i;
        if (best < 0) return true;
        int64_t c = llabs(a.coef[best]), n = hi[best] - lo[best];
        a.coef[best] = 0;
        if (first) *step = c;
        if (!first && c != *step * *count)
            return low_fail(
                L, at, "dsl.cover",
                "these indices do not walk a range evenly, so what they define cannot be proved");
        *count *= n;
        first = false;
    }
}

/* n, or n: N, over a dimension whose extent is the dynamic N. */
static bool spans_whole(const struct node *e, const struct declared *d, int dim,
                        const struct loopv *loops, int nloops)
{
    int64_t lo = 0;
    for (int l = 0; e->kind == NODE_NAME && l < nloops; l++)
        if (strcmp(loops[l].name, e->name) == 0)
            return expr_is_int(loops[l].lo, &lo) && lo == 0 &&
                   loops[l].hi == d->tensor->extent[dim];
    return false;
}

/* A part of a dynamic extent is refused; this is what does the same. */
static bool fail_part(struct lower *L, const struct node *at, const struct item *it)
{
    const char *instead =
        it->scan ? "a scan from the end runs forward, r[n] = (r[n-1] else 0) + x[N-1-n] scan n, "
                   "and another equation turns it round, y[n] = r[N-1-n], both out tensors"
                 : "tell its parts apart on the right, as in "
                   "y[n] = select(n < A, (a[n] else 0), (b[n-A] else 0))";
    return low_fail(L, at, "dsl.dyn",
                    "a dynamic extent is defined whole, by an index alone or n: N; %s", instead);
}

bool cover_diagonal(struct lower *L, const struct node *at, const char *index, const char *tensor)
{
    return low_fail(
        L, at, "dsl.cover",
        "the index '%s' stands in two subscripts of '%s', which defines only a diagonal; "
        "give this one an index of its own",
        index, tensor);
}

/* A loop over a dynamic extent covers a fixed dimension at the tuning point only. */
static bool check_fixed(struct lower *L, const struct node *at, const struct affine *a, int dim,
                        const struct loopv *loops, int nloops, const char *tensor)
{
    for (int l = 0; l < nloops; l++)
        if (a->coef[l] != 0 && (!expr_is_int(loops[l].lo, NULL) || !expr_is_int(loops[l].hi, NULL)))
            return low_fail(L, at, "dsl.dyn",
                            "'%s' runs over a dynamic extent and dimension %d of '%s' is fixed",
                            loops[l].name, dim, tensor);
    return true;
}

bool cover_piece(struct lower *L, const struct item *it, int ref, struct declared *d,
                 const struct loopv *loops, int nloops, const int64_t *lo, const int64_t *hi)
{
    const struct ref_item *r = &it->ref[ref];
    if (L->npiece == PIECES_MAX)
        return low_fail(L, r->sub[0].e, "dsl.limit", "more than %d equations", PIECES_MAX);
    struct piece *p = &L->piece[L->npiece];
    *p = (struct piece){.tensor = (int)(d - L->d), .item = it};
    for (int i = 0; i < r->n; i++) {
        const struct node *e = r->sub[i].e;
        struct affine a;
        if (d->dyn[i]) {
            if (!spans_whole(e, d, i, loops, nloops)) return fail_part(L, e, it);
            p->step[i] = 1;
            p->count[i] = d->extent[i];
            continue;
        }
        if (!affine_of(L, e, loops, nloops, &a) ||
            !check_fixed(L, e, &a, i, loops, nloops, d->name) ||
            !progression(L, e, a, nloops, lo, hi, &p->start[i], &p->step[i], &p->count[i]))
            return false;
        int64_t last = p->start[i] + (p->count[i] - 1) * p->step[i];
        if (p->count[i] > 0 && (p->start[i] < 0 || last >= d->extent[i]))
            return low_fail(L, e, "dsl.cover",
                            "this defines %s[...] from %" PRId64 " to %" PRId64
                            " in dimension %d, outside 0..%" PRId64,
                            d->name, p->start[i], last, i, d->extent[i]);
    }
    /* An index that is in no subscript would define elements again and again, one in two of them only
     * a diagonal. */
    for (int l = 0; l < nloops; l++) {
        int used = 0;
        for (int i = 0; i < r->n; i++) {
            struct affine a = {0};
            const struct node *e = r->sub[i].e;
            if (!d->dyn[i] && !affine_of(L, e, loops, nloops, &a)) return false;
            used += d->dyn[i] ? strcmp(e->name, loops[l].name) == 0 : a.coef[l] != 0;
            if (used > 1) return cover_diagonal(L, e, loops[l].name, d->name);
        }
        if (used == 0)
            return low_fail(L, it->value, "dsl.cover",
                            "the index '%s' stands in no subscript of '%s'", loops[l].name,
                            d->name);
    }
    L->npiece++;
    d->npiece++;
    return true;
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

/* Do the two progressions have a common value? (steps >= 1, counts >= 1) */
static bool meet(int64_t s1, int64_t d1, int64_t n1, int64_t s2, int64_t d2, int64_t n2)
{
    int64_t lo = i64_max(s1, s2), hi = i64_min(s1 + (n1 - 1) * d1, s2 + (n2 - 1) * d2);
    if (lo > hi) return false;
    if (n1 == 1) return (s1 - s2) % d2 == 0;
    if (n2 == 1) return (s2 - s1) % d1 == 0;
    int64_t g = gcd(d1, d2);
    if ((s1 - s2) % g != 0) return false;
    if (d1 == d2) return true;
    for (int64_t v = s1; v <= hi; v += d1) /* steps differ: look; rare and short */
        if (v >= lo && (v - s2) % d2 == 0) return true;
    return false;
}

static bool empty(const struct piece *p, int rank)
{
    for (int i = 0; i < rank; i++)
        if (p->count[i] <= 0) return true;
    return false;
}

static bool disjoint(const struct piece *a, const struct piece *b, int rank)
{
    if (empty(a, rank) || empty(b, rank)) return true;
    for (int i = 0; i < rank; i++)
        if (!meet(a->start[i], a->step[i], a->count[i], b->start[i], b->step[i], b->count[i]))
            return true;
    return false;
}

bool cover_complete(struct lower *L, struct declared *d)
{
    int rank = d->tensor->rank, id = (int)(d - L->d);
    int64_t want = 1, have = 0;
    const struct piece *last = NULL;
    for (int i = 0; i < rank; i++) want *= d->extent[i];
    for (int i = 0; i < L->npiece; i++) {
        const struct piece *p = &L->piece[i];
        if (p->tensor != id) continue;
        int64_t n = 1;
        for (int k = 0; k < rank; k++) n *= p->count[k];
        have += empty(p, rank) ? 0 : n;
        last = p;
        for (int j = 0; j < i; j++) {
            if (L->piece[j].tensor != id || disjoint(&L->piece[j], p, rank)) continue;
            dsl_error(
                L->e, L->file, p->item->line, p->item->col, "dsl.cover",
                "this equation defines elements of '%s' that the equation on line %d defines too",
                d->name, L->piece[j].item->line);
            return false;
        }
    }
    if (have == want) return true;
    const struct item *it = last ? last->item : d->item;
    dsl_error(L->e, L->file, it->line, it->col, "dsl.cover",
              "the equations of '%s' define %" PRId64 " of its %" PRId64 " elements", d->name, have,
              want);
    return false;
}

/* A tensor that is not whole yet may be read where earlier equations defined it: inside one piece
 * without holes. */
bool cover_reads(struct lower *L, const struct node *n, const struct declared *d,
                 const struct expr *const *idx, struct env *env, bool guarded)
{
    for (int i = 0; i < L->npiece; i++) {
        const struct piece *p = &L->piece[i];
        bool inside = p->tensor == (int)(d - L->d);
        for (int k = 0; k < d->tensor->rank && inside; k++) {
            struct range r = expr_range(env, lower_provable(L, env, idx[k]));
            if (guarded) r = (struct range){i64_max(r.lo, 0), i64_min(r.hi, d->extent[k] - 1)};
            if (d->dyn[k]) continue; /* defined whole; the bounds proof keeps the read inside */
            inside = p->step[k] == 1 && r.lo >= p->start[k] && r.hi < p->start[k] + p->count[k];
        }
        if (inside) return true;
    }
    return low_fail(
        L, n, "dsl.order",
        "this read of '%s' is not proved to stay inside what one earlier equation defines",
        d->name);
}
