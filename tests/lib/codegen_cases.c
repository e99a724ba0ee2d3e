/* codegen_cases: the kernels of codegen_cases.h.
 *
 *   "A + B" for s8 and 16 lanes  ->  y0[ramp(i * 16, 1, 16)] = a[ramp(..)] + b[ramp(..)]
 *
 * Invariant: division, shifts and subscripts stay in range for any data, so the interpreter accepts
 * every kernel. */
#include "lib/codegen_cases.h"

#include <stdio.h>
#include <string.h>

/* ---- every operator on every type ------------------------------------------------------------ */

/* Operators by class of element type; A and B stand for operands, T for the type, Z N H for
 * constants of it. */
static const char *const number_ops[] = {"A + B",
                                         "A - B",
                                         "A * B",
                                         "min(A, B)",
                                         "max(A, B)",
                                         "neg(A)",
                                         "abs(A)",
                                         "select(A < B, A, B)",
                                         "select(A <= B, A, B)",
                                         "select(A == B, A, Z)",
                                         "select(not(A != B), Z, A)",
                                         "A / select(B == Z, N, B)"};
static const char *const int_ops[] = {"A % select(B == Z, N, B)",
                                      "A / N",
                                      "A % N",
                                      "A / H",
                                      "A % H",
                                      "A & B",
                                      "A | B",
                                      "A ^ B",
                                      "not(A)",
                                      "A << (B & N)",
                                      "A >> (B & N)",
                                      "rshr(A, B & N)",
                                      "rshr(A, Z)",
                                      "popcount(A)"};
static const char *const real_ops[] = {"sqrt(abs(A))", "floor(A)", "ceil(A)", "round(A)",
                                       "trunc(A)"};

struct op_text {
    struct buf decl, body;
    int n, lanes;
    enum dtype d;
};

/* Replaces the letters of an operator's pattern. */
static void expand(struct op_text *o, const char *pattern)
{
    const char *name = dtype_name(o->d);
    bool real = dtype_is_float(o->d);
    for (const char *p = pattern; *p; p++) {
        bool word = (p > pattern && ((p[-1] >= 'a' && p[-1] <= 'z') || p[-1] == '_')) ||
                    (p[1] >= 'a' && p[1] <= 'z');
        const char *number = *p == 'Z' ? "0" : *p == 'N' ? "3" : *p == 'H' ? "4" : NULL;
        if (word || (*p != 'A' && *p != 'B' && !number)) {
            buf_putc(&o->body, *p);
        } else if (number) {
            if (o->d == TYPE_S4 && *p == 'H') number = "2";
            if (o->lanes > 1) buf_puts(&o->body, "splat(");
            buf_printf(&o->body,
                       real && o->d == TYPE_F32 ? "%s.0"
                       : o->d == TYPE_S64       ? "%s"
                                                : "%s(%s)",
                       o->d == TYPE_F32 || o->d == TYPE_S64 ? number : name, number);
            if (o->lanes > 1) buf_printf(&o->body, ", %d)", o->lanes);
        } else if (o->lanes > 1) {
            buf_printf(&o->body, "%c[ramp(i * %d, 1, %d)]", *p - 'A' + 'a', o->lanes, o->lanes);
        } else {
            buf_printf(&o->body, "%c[i]", *p - 'A' + 'a');
        }
    }
}

static void add_op(struct op_text *o, const char *pattern, enum dtype out, int elements)
{
    buf_printf(&o->decl, "out    y%d: %s[%d]\n", o->n, dtype_name(out), elements);
    if (o->lanes > 1)
        buf_printf(&o->body, "  y%d[ramp(i * %d, 1, %d)] = ", o->n, o->lanes, o->lanes);
    else
        buf_printf(&o->body, "  y%d[i] = ", o->n);
    expand(o, pattern);
    buf_putc(&o->body, '\n');
    o->n++;
}

static void open_ops(struct op_text *o, enum dtype d, int lanes, int elements)
{
    *o = (struct op_text){.lanes = lanes, .d = d};
    buf_init(&o->decl, 1 << 20);
    buf_init(&o->body, 1 << 20);
    const char *name = dtype_name(d);
    buf_printf(&o->decl, "nest t\nin     a: %s[%d]\nin     b: %s[%d]\n", name, elements, name,
               elements);
    buf_printf(&o->body, "for i in 0..%d\n", elements / lanes);
}

static void close_ops(struct op_text *o, struct buf *out)
{
    buf_reset(out);
    buf_put(out, o->decl.p, o->decl.n);
    buf_put(out, o->body.p, o->body.n);
    buf_fini(&o->decl);
    buf_fini(&o->body);
}

void case_ops(enum dtype d, int lanes, bool fused, struct buf *out)
{
    struct op_text o;
    int elements = 96;
    open_ops(&o, d, lanes, elements);
    if (d == TYPE_B1) {
        for (size_t i = 5; i < 9; i++) add_op(&o, int_ops[i], d, elements);
        add_op(&o, "A == B", d, elements);
    } else {
        for (size_t i = 0; i < QN_COUNT(number_ops); i++) add_op(&o, number_ops[i], d, elements);
        for (size_t i = 0; i < QN_COUNT(int_ops) && dtype_is_int(d); i++)
            add_op(&o, int_ops[i], d, elements);
        for (size_t i = 0; i < QN_COUNT(real_ops) && dtype_is_float(d); i++)
            add_op(&o, real_ops[i], d, elements);
        if (fused && (d == TYPE_F32 || d == TYPE_F64)) add_op(&o, "fma(A, B, A)", d, elements);
        add_op(&o, "A < B", TYPE_B1, elements);
        add_op(&o, "A <= B", TYPE_B1, elements);
        add_op(&o, "A != B", TYPE_B1, elements);
    }
    close_ops(&o, out);
}

void case_casts(enum dtype d, int lanes, int part, struct buf *out)
{
    static const char *const modes[] = {"cast",      "cast_sat",      "cast_even",
                                        "cast_away", "cast_sat_even", "cast_sat_away"};
    struct op_text o;
    char text[64];
    open_ops(&o, d, lanes, 96);
    for (int to = part; to < TYPE_COUNT; to += CASE_PARTS) {
        for (size_t m = 0; m < (dtype_is_float(d) ? QN_COUNT(modes) : 2); m++) {
            snprintf(text, sizeof text, "%s(%s, A)", modes[m], dtype_name((enum dtype)to));
            add_op(&o, text, (enum dtype)to, 96);
        }
        if (dtype_bits((enum dtype)to) != dtype_bits(d)) continue;
        snprintf(text, sizeof text, "bitcast(%s, A)", dtype_name((enum dtype)to));
        add_op(&o, text, (enum dtype)to, 96);
    }
    close_ops(&o, out);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Two of four: of the window's two halves. */
#define LOW "(ramp(0, 1, 16) / splat(2, 16) * splat(4, 16) + ramp(0, 1, 16) % splat(2, 16))"

const char *const case_access[] = {
    /* masked tail: 37 elements in blocks of 16 */
    "nest t\nin     x: f32[37]\nout    y: f32[37]\nfor i in 0..3\n  if ramp(i * 16, 1, 16) < "
    "splat(37, 16)\n"
    "    y[ramp(i * 16, 1, 16)] = (x[ramp(i * 16, 1, 16)] if ramp(i * 16, 1, 16) < splat(37, 16) "
    "else splat(0.0, 16)) + "
    "splat(1.0, 16)\n",
    /* masked, byte elements, both ends */
    "nest t\nin     x: s8[37]\nout    y: s8[37]\nfor i in 0..3\n"
    "  if ramp(i * 16, 1, 16) < splat(37, 16) & splat(3, 16) <= ramp(i * 16, 1, 16)\n"
    "    y[ramp(i * 16, 1, 16)] = (x[ramp(i * 16, 1, 16)] if ramp(i * 16, 1, 16) < splat(37, 16) "
    "else splat(s8(9), 16))\n",
    /* one choice for all lanes, of what is loaded and of what is not */
    "nest t\nin     k: s32[3]\nin     x: f32[48]\nin     z: s32[48]\nout    y: f32[48]\n"
    "out    w: s32[48]\nfor i in 0..3\n"
    "  y[ramp(i * 16, 1, 16)] = select(0 < cast(s64, k[i]), x[ramp(i * 16, 1, 16)], splat(0.0, "
    "16))\n"
    "  w[ramp(i * 16, 1, 16)] = select(0 < cast(s64, k[i]), z[ramp(i * 16, 1, 16)] + splat(s32(1), "
    "16), z[ramp(i * 16, 1, 16)])\n",
    /* strides 2, 3, -1, -2 ending at the last element of the buffer */
    "nest t\nin     x: f32[31]\nout    y: f32[16]\ny[ramp(0, 1, 16)] = x[ramp(0, 2, 16)]\n",
    "nest t\nin     x: f32[46]\nout    y: f32[16]\ny[ramp(0, 1, 16)] = x[ramp(0, 3, 16)]\n",
    "nest t\nin     x: f32[16]\nout    y: f32[16]\ny[ramp(0, 1, 16)] = x[ramp(15, -1, 16)]\n",
    "nest t\nin     x: u8[15]\nout    y: u8[8]\ny[ramp(0, 1, 8)] = x[ramp(14, -2, 8)]\n",
    "nest t\nin     x: f64[61]\nout    y: f64[8]\ny[ramp(0, 1, 8)] = x[ramp(0, 7, 8)] + x[ramp(60, "
    "-7, 8)]\n",
    /* two of four, of the window's two halves; the last one ends at the last element */
    "nest t\nin     x: f32[62]\nout    y: f32[32]\nfor i in 0..2\n  y[ramp(i * 16, 1, 16)] = "
    "x[splat(i * 32, 16) + (ramp(0, 1, 16) / splat(2, 16) * splat(4, 16) + ramp(0, 1, 16) % "
    "splat(2, 16))]\n",
    /* neighbours: together they are whole vectors, the last ends at the last element */
    "nest t\nin     x: f32[64]\nout    y: f32[32]\nfor i in 0..2\n  y[ramp(i * 16, 1, 16)] = "
    "x[splat(i * 32, 16) + " LOW "] - x[splat(i * 32 + 2, 16) + " LOW "]\n",
    /* the neighbour is read under a condition: the last window must end where it ends */
    "nest t\nin     x: f32[62]\nout    y: f32[32]\nout    z: f32[32]\nfor i in 0..2\n"
    "  y[ramp(i * 16, 1, 16)] = x[splat(i * 32, 16) + " LOW "]\n  if i < 1\n"
    "    z[ramp(i * 16, 1, 16)] = x[splat(i * 32 + 2, 16) + " LOW "]\n",
    /* .. by a loop that does not run, in a guarded load */
    "nest t\nin     x: f32[62]\nout    y: f32[32]\nout    z: f32[32]\nfor i in 0..2\n"
    "  y[ramp(i * 16, 1, 16)] = x[splat(i * 32, 16) + " LOW "] + (x[splat(i * 32 + 2, 16) + " LOW
    "] if i < "
    "1 else splat(3.0, 16))\n  for j in 0..1 - i\n"
    "    z[ramp(i * 16, 1, 16)] = x[splat(i * 32 + 2, 16) + " LOW "] + splat(cast(f32, j), 16)\n",
    /* three taps of stride 2: the first two share their vectors */
    "nest t\nin     x: f32[65]\nout    y: f32[32]\nfor i in 0..2\n  y[ramp(i * 16, 1, 16)] = "
    "x[ramp(i * 32, 2, 16)] + x[ramp(i * 32 + 1, 2, 16)] * splat(2.0, 16) - x[ramp(i * 32 + 2, 2, "
    "16)]\n",
    /* a tile of registers of which one is only set */
    "nest t\nin     x: f32[16]\nout    y: f32[16]\nalloc reg r: f32x16[2]\n  r[0] = x[ramp(0, 1, "
    "16)]\n  r[1] = splat(0.0, 16)\n  y[ramp(0, 1, 16)] = r[0]\n",
    /* halves of an array put in place, and a table's values as literals */
    "nest t\nin     x: f32[16]\nout    y: f32[32]\ntable  k: f32[4] = {0.25, 1, -2, 3}\n"
    "alloc stack s: f32[16]\n  s[ramp(0, 1, 16)] = x[ramp(0, 1, 16)] + splat(1.0, 16)\n"
    "  y[ramp(0, 1, 16)] = s[ramp(0, 1, 16) / splat(2, 16)] * k[ramp(0, 1, 16) % splat(4, 16)]\n"
    "  y[ramp(16, 1, 16)] = s[splat(8, 16) + ramp(0, 1, 16) / splat(2, 16)] * k[ramp(0, 1, 16) % "
    "splat(4, 16)]\n",
    /* masked windows, moved in two ways and turned round; lanes that do not run keep the default */
    "nest t\nin     x: f32[37]\nout    y: f32[48]\nfor i in 0..3\n  y[ramp(i * 16, 1, 16)] = "
    "(x[splat(i * 16, 16) + (ramp(0, 1, 16) / splat(4, 16) * splat(4, 16) + ramp(0, 1, 16) % "
    "splat(2, 16))] if ramp(i * 16, 1, 16) < splat(37, 16) else splat(5.0, 16)) + (x[ramp(i * 16 + "
    "15, -1, 16)] if splat(2, 16) <= ramp(i * 16 - 30, 1, 16) & ramp(i * 16, 1, 16) < splat(0, 16) "
    "else splat(7.0, 16))\n",
    /* strided store, masked strided store and load */
    "nest t\nin     x: f32[16]\nout    y: f32[31]\ny[ramp(0, 2, 16)] = x[ramp(0, 1, 16)]\n",
    "nest t\nin     x: f32[25]\nout    y: f32[37]\nif ramp(0, 1, 16) < splat(13, 16)\n"
    "  y[ramp(0, 3, 16)] = (x[ramp(0, 2, 16)] if ramp(0, 1, 16) < splat(13, 16) else splat(5.0, "
    "16))\n",
    /* floordiv broadcast, permutation in a block, permuted store, wide stride (gather) */
    "nest t\nin     x: f32[8]\nout    y: f32[32]\nfor i in 0..2\n  y[ramp(i * 16, 1, 16)] = "
    "x[ramp(i * 16, 1, 16) / "
    "splat(4, 16)]\n",
    "nest t\nin     x: f32[32]\nout    y: f32[32]\nfor i in 0..2\n  y[ramp(i * 16, 1, 16)] = "
    "x[splat(i * 16, 16) + "
    "ramp(0, 1, 16) / splat(4, 16) * splat(4, 16) + (ramp(0, 1, 16) + splat(1, 16)) % splat(4, "
    "16)]\n",
    "nest t\nin     x: f32[16]\nout    y: f32[16]\ny[ramp(0, 1, 16) / splat(4, 16) + ramp(0, 1, "
    "16) % splat(4, 16) * "
    "splat(4, 16)] = x[ramp(0, 1, 16)]\n",
    "nest t\nin     x: f32[151]\nout    y: f32[151]\ny[ramp(0, 10, 16)] = x[ramp(0, 10, 16)]\n",
    /* indexed reads and writes */
    "nest t\nin     i: s32[8]\nin     x: s16[16]\nout    y: s16[16]\nout    z: s16[8]\n"
    "z[ramp(0, 1, 8)] = x[cast(s64, i[ramp(0, 1, 8)]) + splat(4, 8)]\n"
    "y[cast(s64, i[ramp(0, 1, 8)]) + splat(4, 8)] = x[ramp(0, 1, 8)]\n",
    /* a guarded scalar, broadcast; guarded with a scalar condition and vector subscript */
    "nest t\nin     x: f32[20]\nout    y: f32[128]\nfor i in 0..8\n  y[ramp(i * 16, 1, 16)] = "
    "splat((x[i * 4 - 3] if 0 <= "
    "i * 4 - 3 & i * 4 - 3 < 20 else 2.0), 16)\n",
    "nest t\nin     x: f32[32]\nout    y: f32[64]\nfor i in 0..4\n  y[ramp(i * 16, 1, 16)] = "
    "(x[ramp(i * 16 - 16, 1, 16)] "
    "if 0 < i & i < 3 else splat(1.0, 16))\n",
    "nest t\nin     x: f32[32]\nin     i: s64[4]\nout    y: f32[4]\nfor j in 0..4\n  y[j] = "
    "(x[i[j]] if 0 <= i[j] else x[j])\n",
    /* booleans and nibbles in memory, stack and table */
    "nest t\nin     x: b1[32]\nin     q: s4[32]\nout    y: b1[32]\nout    z: s4[32]\ny[ramp(0, 1, "
    "32)] = not(x[ramp(0, 1, 32)])\n"
    "z[ramp(0, 1, 32)] = q[ramp(0, 1, 32)] + splat(s4(7), 32)\n",
    "nest t\nin     x: f32[16]\nout    y: f32[16]\ntable  k: f32[4] = {0.25, 1, -2, 3}\ntable  h: "
    "f16[4] = {0.1, 1, 2, 3}\n"
    "alloc stack s: f32[16]\n  for i in 0..16\n    s[i] = x[15 - i] * k[i % 4] + cast(f32, h[i % "
    "4])\n"
    "  for j in 0..4\n    y[ramp(j * 4, 1, 4)] = s[ramp(j * 4, 1, 4)]\n",
    /* horizontal sums */
    "nest t\nin     x: f32[32]\nin     q: s16[16]\nout    y: f32[3]\nout    z: s16[1]\ny[0] = "
    "hsum(x[ramp(0, 1, 16)])\n"
    "y[1] = hmax(x[ramp(16, 1, 16)])\ny[2] = hmin(x[ramp(0, 1, 8)])\nz[0] = hsum(q[ramp(0, 1, "
    "16)])\n",
    /* lets, guards, index arithmetic below zero, a loop that may not run */
    "nest t\nin     x: s32[40]\nout    y: s32[40]\nfor i in 0..40\n  let a = (i - 20) / 3\n    let "
    "b = (i - 20) % 3\n"
    "      if b < 2\n        y[i] = x[i] + cast(s32, a * 100 + b)\n      if not(b < 2)\n        "
    "y[i] = cast(s32, (i - 20) / -3)\n"
    "for p in 0..7\n  for q in p..4\n    y[q] = y[q] + s32(1)\n",
    /* a sum through memory and one through a register */
    "nest t\nin     x: f32[64]\nout    y: f32[4]\ntemp   s: f32[4]\nfor i in 0..4\n  s[i] = 0.0\n  "
    "for j in 0..16\n"
    "    s[i] = s[i] + x[i * 16 + j]\n  alloc reg r: f32[1]\n    r[0] = s[i]\n    for k in 0..16\n "
    "     r[0] = r[0] + x[k * 4 + i]\n"
    "    y[i] = r[0] * r[0]\n",
    /* vectors bound by LET: a mask, a number, a half */
    "nest t\nin     x: f32[37]\nin     h: f16[48]\nout    y: f32[37]\nout    z: f16[48]\nfor i in "
    "0..3\n"
    "  let m = ramp(i * 16, 1, 16) < splat(37, 16)\n"
    "    let v = (x[ramp(i * 16, 1, 16)] if m else splat(0.5, 16)) * splat(2.0, 16)\n      if m\n"
    "        y[ramp(i * 16, 1, 16)] = select(m, v * v, splat(1.0, 16))\n"
    "  let q = h[ramp(i * 16, 1, 16)] + splat(f16(1), 16)\n    z[ramp(i * 16, 1, 16)] = q * q\n",
};
