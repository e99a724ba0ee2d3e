/* cook_toom: the matrices of fast convolution, in exact rationals.
 *
 *     F(2,3) at 0, 1, -1:  at = [1 1 1 0; 0 1 -1 1]   g = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1]
 *                          bt = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 -1 0 1]
 *
 * With a = m+r-1 and finite points p_0..p_{a-2} (the last one is infinity),
 * f_i = prod_{k != i} (p_i - p_k):
 *   at[i][j] = p_j^i, last column e_{m-1};   g[i][j] = p_i^j / f_i, last row e_{r-1};
 *   bt[i] = coefficients of prod_{k != i} (x - p_k), last row prod_k (x - p_k).
 * Where f_0 < 0, row 0 of g and of bt change sign (their product is the same; the numbers are
 * nicer).
 *
 * Invariant: y = at ((g w) * (bt x)) holds exactly; tests prove it in rationals. */
#include "dsl/ast.h"

enum { TOOM_MAX = 32 };

/* c = c * (x - p), degree n -> n+1 */
static bool times_root(struct ratio *c, int n, struct ratio p)
{
    c[n + 1] = c[n];
    for (int i = n; i > 0; i--) {
        struct ratio t;
        if (!ratio_op('*', c[i], p, &t) || !ratio_op('-', c[i - 1], t, &c[i])) return false;
    }
    struct ratio t, zero = {0, 1};
    return ratio_op('*', c[0], p, &t) && ratio_op('-', zero, t, &c[0]);
}

static bool power(struct ratio p, int k, struct ratio *out)
{
    *out = (struct ratio){1, 1};
    for (int i = 0; i < k; i++)
        if (!ratio_op('*', *out, p, out)) return false;
    return true;
}

static bool factor(const struct ratio *p, int n, int i, struct ratio *f)
{
    *f = (struct ratio){1, 1};
    for (int k = 0; k < n; k++) {
        struct ratio d;
        if (k != i && (!ratio_op('-', p[i], p[k], &d) || !ratio_op('*', *f, d, f))) return false;
    }
    return true;
}

static bool at_matrix(int m, int a, const struct ratio *p, struct ratio *out)
{
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < a - 1; j++)
            if (!power(p[j], i, &out[i * a + j])) return false;
        out[i * a + a - 1] = (struct ratio){i == m - 1, 1};
    }
    return true;
}

static bool g_matrix(int r, int a, const struct ratio *p, struct ratio *out)
{
    for (int i = 0; i < a - 1; i++) {
        struct ratio f, t;
        if (!factor(p, a - 1, i, &f)) return false;
        if (i == 0 && f.num < 0) f.num = -f.num;
        for (int j = 0; j < r; j++)
            if (!power(p[i], j, &t) || !ratio_op('/', t, f, &out[i * r + j])) return false;
    }
    for (int j = 0; j < r; j++) out[(a - 1) * r + j] = (struct ratio){j == r - 1, 1};
    return true;
}

static bool bt_matrix(int a, const struct ratio *p, struct ratio *out)
{
    for (int i = 0; i < a; i++) {
        struct ratio c[TOOM_MAX + 1] = {{1, 1}}, f = {1, 1};
        int n = 0;
        for (int k = 0; k < a - 1; k++)
            if (k != i && !times_root(c, n++, p[k])) return false;
        if (i == 0 && !factor(p, a - 1, 0, &f)) return false;
        for (int j = 0; j < a; j++) {
            struct ratio v = j <= n ? c[j] : (struct ratio){0, 1};
            if (f.num < 0) v.num = -v.num;
            out[i * a + j] = v;
        }
    }
    return true;
}

bool cook_toom(enum cook_toom which, int m, int r, const struct ratio *p, int npoints,
               struct ratio *out, const char **why)
{
    int a = m + r - 1;
    if (m < 1 || r < 1 || a < 2 || a > TOOM_MAX) {
        *why = "m and r must be at least 1 and m + r at most 33, with m + r > 2";
        return false;
    }
    if (npoints != a - 1) {
        *why = "F(m, r) needs exactly m + r - 2 finite points";
        return false;
    }
    for (int i = 0; i < npoints; i++)
        for (int k = 0; k < i; k++)
            if (p[i].num == p[k].num && p[i].den == p[k].den) {
                *why = "the points must all differ";
                return false;
            }
    *why = "the exact rationals do not fit in 64 bits; take simpler points";
    if (which == COOK_TOOM_AT) return at_matrix(m, a, p, out);
    if (which == COOK_TOOM_G) return g_matrix(r, a, p, out);
    return bt_matrix(a, p, out);
}
