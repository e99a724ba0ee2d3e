/* eager_fixed_delta2bbox: the 37 passes of eager_delta2bbox.c, each written for the strides it meets
 * here.
 *
 *   eager_delta2bbox(rois, deltas, max_shape, boxes, n, c, means, stds, temps)       v1, clipped
 *
 * No framework has such passes: a compiler sees that a view is every fourth float and makes
 * interleaved vector loads of it, and rows of four have loops of their own. It is the kindest form
 * of one pass an operation, and shows what passes over memory cost when nothing else does.
 *
 * Compiled by bench/compare with clang-19 -O3 -march=native. Vectorised there (-Rpass=loop-vectorize):
 *   all passes, 16 lanes wide, views of the last axis by interleaved loads, except
 *   repeat (8*c floats in all) and exponent (a call of libm's expf an element). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define PASS __attribute__((noinline)) static void

/* Every pass reads and writes whole temporaries of n rows and c columns; a view is every fourth
 * float. One class and rows of four have loops of their own, so that they vectorise too. */
PASS repeat(float *restrict y, const float *restrict x, int64_t times)
{
    for (int64_t i = 0; i < times; i++)
        for (int64_t k = 0; k < 4; k++) y[4 * i + k] = x[k];
}
PASS mul_rows(float *restrict y, const float *restrict x, const float *restrict row, int64_t n,
              int64_t w)
{
    if (w == 4) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < 4; k++) y[4 * i + k] = x[4 * i + k] * row[k];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < w; k++) y[i * w + k] = x[i * w + k] * row[k];
}
PASS add_rows(float *restrict y, const float *restrict x, const float *restrict row, int64_t n,
              int64_t w)
{
    if (w == 4) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < 4; k++) y[4 * i + k] = x[4 * i + k] + row[k];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < w; k++) y[i * w + k] = x[i * w + k] + row[k];
}
PASS clamp_view(float *restrict y, const float *restrict x, float lo, float hi, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = x[4 * i];
        v = v < lo ? lo : v;
        y[i] = v > hi ? hi : v;
    }
}
PASS add_views(float *restrict y, const float *restrict a, const float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[4 * i] + b[4 * i];
}
PASS sub_views(float *restrict y, const float *restrict a, const float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[4 * i] - b[4 * i];
}
PASS scale(float *restrict y, const float *restrict x, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * s;
}
PASS offset(float *restrict y, const float *restrict x, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] + s;
}
PASS exponent(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = expf(x[i]);
}
PASS mul_column(float *restrict y, const float *restrict column, const float *restrict x, int64_t n,
                int64_t c)
{
    for (int64_t i = 0; i < n && c == 1; i++) y[i] = column[i] * x[i];
    for (int64_t i = 0; i < n && c != 1; i++)
        for (int64_t k = 0; k < c; k++) y[i * c + k] = column[i] * x[i * c + k];
}
PASS addcmul(float *restrict y, const float *restrict p, const float *restrict q,
             const float *restrict view, int64_t n, int64_t c)
{
    for (int64_t i = 0; i < n && c == 1; i++) y[i] = p[i] + q[i] * view[4 * i];
    for (int64_t i = 0; i < n && c != 1; i++)
        for (int64_t k = 0; k < c; k++) y[i * c + k] = p[i] + q[i] * view[4 * (i * c + k)];
}
PASS add(float *restrict y, const float *restrict a, const float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}
PASS sub(float *restrict y, const float *restrict a, const float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i] - b[i];
}
PASS clip(float *restrict y, const float *restrict x, float hi, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] < 0 ? 0 : x[i];
        y[i] = v > hi ? hi : v;
    }
}
PASS stack(float *restrict y, const float *restrict a, const float *restrict b,
           const float *restrict c, const float *restrict d, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[4 * i] = a[i];
        y[4 * i + 1] = b[i];
        y[4 * i + 2] = c[i];
        y[4 * i + 3] = d[i];
    }
}

/* Floats of temporaries that n rois and c classes need. */
int64_t eager_delta2bbox_temps(int64_t n, int64_t c)
{
    return 8 * c + 8 * n * c + 8 * n + 24 * n * c;
}

void eager_delta2bbox(const float *rois, const float *deltas, const float *max_shape, float *boxes,
                      int64_t n, int64_t c, const float *means, const float *stds, float *temps)
{
    const float rho = 4.135166556742356f;
    int64_t nc = n * c;
    float *t = temps, *mean_row = t, *std_row = t + 4 * c, *scaled = t + 8 * c,
          *d = scaled + 4 * nc, *per_roi = d + 4 * nc, *per_box = per_roi + 8 * n;
    float *dw = per_box, *dh = dw + nc, *ew = dh + nc, *eh = ew + nc, *gw = eh + nc, *gh = gw + nc,
          *gx = gh + nc, *gy = gx + nc;
    float *corner[4], *part = gy + nc;
    repeat(mean_row, means, c);
    repeat(std_row, stds, c);
    mul_rows(scaled, deltas, std_row, n, 4 * c);
    add_rows(d, scaled, mean_row, n, 4 * c);
    clamp_view(dw, d + 2, -rho, rho, nc);
    clamp_view(dh, d + 3, -rho, rho, nc);
    float *px2 = per_roi, *py2 = px2 + n, *px = py2 + n, *py = px + n, *pw0 = py + n,
          *ph0 = pw0 + n, *pw = ph0 + n, *ph = pw + n;
    add_views(px2, rois, rois + 2, n);
    scale(px, px2, 0.5f, n);
    add_views(py2, rois + 1, rois + 3, n);
    scale(py, py2, 0.5f, n);
    sub_views(pw0, rois + 2, rois, n);
    offset(pw, pw0, 1.0f, n);
    sub_views(ph0, rois + 3, rois + 1, n);
    offset(ph, ph0, 1.0f, n);
    exponent(ew, dw, nc);
    mul_column(gw, pw, ew, n, c);
    exponent(eh, dh, nc);
    mul_column(gh, ph, eh, n, c);
    addcmul(gx, px, pw, d, n, c);
    addcmul(gy, py, ph, d + 1, n, c);
    for (int k = 0; k < 4; k++) { /* x1 = gx - gw*0.5 + 0.5, ..., x2 = gx + gw*0.5 - 0.5, ... */
        const float *g = k % 2 ? gy : gx, *size = k % 2 ? gh : gw;
        float *half = part + 4 * nc * k, *edge = half + nc, *whole = edge + nc;
        scale(half, size, 0.5f, nc);
        (k < 2 ? sub : add)(edge, g, half, nc);
        offset(whole, edge, k < 2 ? 0.5f : -0.5f, nc);
        corner[k] = whole + nc;
    }
    for (int k = 0; k < 4; k++)
        clip(corner[k], corner[k] - nc, max_shape[k % 2 ? 0 : 1] - 1.0f, nc);
    stack(boxes, corner[0], corner[1], corner[2], corner[3], nc);
}
