/* eager_delta2bbox: delta2bbox of mmdetection 1.x as an eager framework runs it: one pass over
 * memory an operation, each pass made for any strides.
 *
 *   eager_delta2bbox(rois, deltas, max_shape, boxes, n, c, means, stds, temps)       v1, clipped
 *
 * The 37 passes are those of the Python source (views and expand are free): repeat the means and
 * stds (2), undo the normalisation (2), clamp dw and dh (2), centres (4), sizes (4), exp and
 * multiply (4), addcmul (2), corners (12), clip (4), stack (1). A view keeps its strides (dx is
 * every fourth float of the deltas), the result of an operation is contiguous and has its own
 * temporary.
 *
 * A pass is what an element-wise kernel of such a framework is (ATen's TensorIterator): it is
 * compiled once, gets its strides as arguments, joins rows that follow each other, and asks of each
 * row whether all operands are contiguous (one that stays the same may be a scalar); then it runs a
 * loop of unit strides, else a loop of any strides. Kinder than a framework: temporaries are
 * allocated and touched before, nothing is dispatched or allocated in the timing, and one thread
 * has no pool to ask. Less kind in one point: exp is libm's expf an element, where a framework may
 * have a vector exp. The passes are external functions, called once each, so that no compiler knows
 * a caller's strides; pointers of a row are restrict.
 *
 * Compiled by bench/compare with clang-19 -O3 -march=native. Vectorised there (-Rpass=loop-vectorize):
 * every loop of UNARY, BINARY and addcmul, 16 lanes wide, but eager_exp's; the loops of any strides
 * only for the case that all strides are 1, which never comes to them. So of the 37 passes
 *   as vectors   scale (2), offset (2), multiply by exp (2), corners (12), clip (4); with several
 *                classes also undo the normalisation (2)
 *   by element   repeat (2), undo the normalisation of one class (2: rows of four), clamp (2), sums
 *                and differences of rois (4), exp (2), addcmul (2), stack (1) */
#include <math.h>
#include <stdint.h>

/* A matrix: element (i, k) at p[i * row + k * col]. */
struct view {
    float *p;
    int64_t row, col;
};

#define PASS          __attribute__((noinline)) void
#define CONTIGUOUS(v) ((v).col == 1)
#define FOLLOWS(v, c) ((v).row == (v).col * (c))
/* Rows that follow each other in every operand are one row. */
#define JOIN(all, n, c) \
    if (all) (c) *= (n), (n) = 1

#define UNARY(name, extra, expression)                                  \
    PASS name(struct view y, struct view x, int64_t n, int64_t c extra) \
    {                                                                   \
        JOIN(FOLLOWS(y, c) && FOLLOWS(x, c), n, c);                     \
        for (int64_t i = 0; i < n; i++) {                               \
            float *restrict yp = y.p + i * y.row;                       \
            const float *restrict xp = x.p + i * x.row;                 \
            if (CONTIGUOUS(y) && CONTIGUOUS(x)) {                       \
                for (int64_t k = 0; k < c; k++) {                       \
                    float v = xp[k];                                    \
                    yp[k] = expression;                                 \
                }                                                       \
            } else {                                                    \
                for (int64_t k = 0; k < c; k++) {                       \
                    float v = xp[k * x.col];                            \
                    yp[k * y.col] = expression;                         \
                }                                                       \
            }                                                           \
        }                                                               \
    }

#define BINARY(name, expression)                                                        \
    PASS name(struct view y, struct view a, struct view b, int64_t n, int64_t c)        \
    {                                                                                   \
        JOIN(FOLLOWS(y, c) && FOLLOWS(a, c) && FOLLOWS(b, c), n, c);                    \
        for (int64_t i = 0; i < n; i++) {                                               \
            float *restrict yp = y.p + i * y.row;                                       \
            const float *restrict ap = a.p + i * a.row, *restrict bp = b.p + i * b.row; \
            if (CONTIGUOUS(y) && CONTIGUOUS(a) && CONTIGUOUS(b)) {                      \
                for (int64_t k = 0; k < c; k++) {                                       \
                    float u = ap[k], v = bp[k];                                         \
                    yp[k] = expression;                                                 \
                }                                                                       \
            } else if (CONTIGUOUS(y) && a.col == 0 && CONTIGUOUS(b)) {                  \
                float u = ap[0];                                                        \
                for (int64_t k = 0; k < c; k++) {                                       \
                    float v = bp[k];                                                    \
                    yp[k] = expression;                                                 \
                }                                                                       \
            } else {                                                                    \
                for (int64_t k = 0; k < c; k++) {                                       \
                    float u = ap[k * a.col], v = bp[k * b.col];                         \
                    yp[k * y.col] = expression;                                         \
                }                                                                       \
            }                                                                           \
        }                                                                               \
    }

#define NONE
#define SCALAR , float s
#define RANGE  , float lo, float hi
UNARY(eager_copy, NONE, v)
UNARY(eager_exp, NONE, expf(v))
UNARY(eager_scale, SCALAR, v *s)
UNARY(eager_offset, SCALAR, v + s)
UNARY(eager_clamp, RANGE, (v = v < lo ? lo : v, v > hi ? hi : v))
BINARY(eager_mul, u *v)
BINARY(eager_add, u + v)
BINARY(eager_sub, u - v)

/* y = p + q * x */
PASS eager_addcmul(struct view y, struct view p, struct view q, struct view x, int64_t n, int64_t c)
{
    JOIN(FOLLOWS(y, c) && FOLLOWS(p, c) && FOLLOWS(q, c) && FOLLOWS(x, c), n, c);
    for (int64_t i = 0; i < n; i++) {
        float *restrict yp = y.p + i * y.row;
        const float *restrict pp = p.p + i * p.row, *restrict qp = q.p + i * q.row,
                              *restrict xp = x.p + i * x.row;
        if (CONTIGUOUS(y) && CONTIGUOUS(p) && CONTIGUOUS(q) && CONTIGUOUS(x))
            for (int64_t k = 0; k < c; k++) yp[k] = pp[k] + qp[k] * xp[k];
        else
            for (int64_t k = 0; k < c; k++)
                yp[k * y.col] = pp[k * p.col] + qp[k * q.col] * xp[k * x.col];
    }
}

/* The parts side by side along a new last axis. */
PASS eager_stack(float *restrict y, const struct view *part, int64_t parts, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < parts; j++) y[i * parts + j] = part[j].p[i * part[j].col];
}

/* Floats of temporaries that n rois and c classes need. */
int64_t eager_delta2bbox_temps(int64_t n, int64_t c)
{
    return 8 * c + 8 * n * c + 8 * n + 24 * n * c;
}

/* The next free temporary. */
static struct view fresh(float **temps, int64_t n, int64_t c)
{
    struct view v = {*temps, c, 1};
    *temps += n * c;
    return v;
}

/* Every fourth column from the k-th. */
static struct view every4(struct view v, int64_t k)
{
    return (struct view){v.p + k, v.row, 4 * v.col};
}

void eager_delta2bbox(const float *rois, const float *deltas, const float *max_shape, float *boxes,
                      int64_t n, int64_t c, const float *means, const float *stds, float *temps)
{
    const float rho = 4.135166556742356f; /* views of what is only read lose their const */
    struct view row[2], d = {(float *)deltas, 4 * c, 1}, to, centre[2], side[2], size[2], mid[2],
                        corner[4];
    for (int k = 0; k < 2; k++) { /* repeat: c times the same four */
        row[k] = fresh(&temps, c, 4);
        eager_copy(row[k], (struct view){(float *)(k ? means : stds), 0, 1}, c, 4);
        row[k].row = 0;
    }
    eager_mul(to = fresh(&temps, n, 4 * c), d, row[0], n, 4 * c), d = to;
    eager_add(to = fresh(&temps, n, 4 * c), d, row[1], n, 4 * c), d = to;
    for (int k = 0; k < 2; k++)
        eager_clamp(size[k] = fresh(&temps, n, c), every4(d, 2 + k), n, c, -rho, rho);
    for (int k = 0; k < 2; k++) { /* (x1 + x2) * 0.5 and x2 - x1 + 1, a number a roi */
        struct view low = {(float *)rois + k, 4, 4}, high = {(float *)rois + 2 + k, 4, 4};
        eager_add(to = fresh(&temps, n, 1), low, high, n, 1);
        eager_scale(centre[k] = fresh(&temps, n, 1), to, n, 1, 0.5f);
        eager_sub(to = fresh(&temps, n, 1), high, low, n, 1);
        eager_offset(side[k] = fresh(&temps, n, 1), to, n, 1, 1.0f);
        if (c > 1) centre[k].col = side[k].col = 0; /* expand */
    }
    for (int k = 0; k < 2; k++) {
        eager_exp(to = fresh(&temps, n, c), size[k], n, c);
        eager_mul(size[k] = fresh(&temps, n, c), side[k], to, n, c);
    }
    for (int k = 0; k < 2; k++)
        eager_addcmul(mid[k] = fresh(&temps, n, c), centre[k], side[k], every4(d, k), n, c);
    for (int k = 0; k < 4; k++) { /* x1 = gx - gw*0.5 + 0.5, ..., x2 = gx + gw*0.5 - 0.5, ... */
        struct view half = fresh(&temps, n, c), edge = fresh(&temps, n, c);
        eager_scale(half, size[k % 2], n, c, 0.5f);
        (k < 2 ? eager_sub : eager_add)(edge, mid[k % 2], half, n, c);
        eager_offset(corner[k] = fresh(&temps, n, c), edge, n, c, k < 2 ? 0.5f : -0.5f);
    }
    for (int k = 0; k < 4; k++)
        eager_clamp(to = fresh(&temps, n, c), corner[k], n, c, 0.0f,
                    max_shape[k % 2 ? 0 : 1] - 1.0f),
            corner[k] = to;
    eager_stack(boxes, corner, 4, n * c);
}
