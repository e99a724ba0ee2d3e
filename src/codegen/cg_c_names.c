/* cg_c_names: identifiers, literals, types, and the helper functions an emitted file may need.
 *
 *   cc_name(c, "y.sum") -> "y_sum", the second time "y_sum_2"
 *
 * Invariants: every identifier in the file is unique in it, so nothing shadows; literals read back
 * as the same value; only helpers that are used are printed, each once, after those it uses. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "codegen/cg_c.h"

const char *cc_fmt(struct cc *c, const char *fmt, ...)
{
    char small[512];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    char *p = arena_alloc(c->a, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(p, small, (size_t)n + 1);
    else
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

const char *cc_fail(struct cc *c, const char *code, const char *fmt, ...)
{
    if (c->failed) return "0";
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->failed = true;
    err_set(c->e, RC_FAIL, code, "%s", msg);
    return "0";
}

void cc_line(struct cc *c, const char *fmt, ...)
{
    char small[512];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    for (int i = 0; i < c->fn->depth; i++) buf_puts(c->fn->o, "    ");
    if ((size_t)n < sizeof small) {
        buf_put(c->fn->o, small, (size_t)n);
    } else {
        char *p = arena_alloc(c->a, (size_t)n + 1);
        vsnprintf(p, (size_t)n + 1, fmt, again);
        buf_put(c->fn->o, p, (size_t)n);
    }
    va_end(again);
    buf_putc(c->fn->o, '\n');
}

const char *cc_bare(struct cc *c, const char *text)
{
    size_t n = strlen(text);
    if (n < 2 || text[0] != '(') return text;
    int depth = 0;
    for (size_t i = 0; i < n; i++) {
        depth += text[i] == '(' ? 1 : text[i] == ')' ? -1 : 0;
        if (depth == 0 && i + 1 < n) return text;
    }
    return arena_strndup(c->a, text + 1, n - 2);
}

/* ---- identifiers ----------------------------------------------------------------------------- */

static const char *const reserved[] = {
    "auto",         "break",   "case",     "char",   "const",     "continue", "default",
    "do",           "double",  "else",     "enum",   "extern",    "float",    "for",
    "goto",         "if",      "inline",   "int",    "long",      "register", "restrict",
    "return",       "short",   "signed",   "sizeof", "static",    "struct",   "switch",
    "typedef",      "union",   "unsigned", "void",   "volatile",  "while",    "asm",
    "typeof",       "linux",   "unix",     "i386",   "NULL",      "offsetof", "buf",
    "dyn",          "scratch", "par",      "arg",    "worker",    "main",     "alignas",
    "alignof",      "bool",    "true",     "false",  "constexpr", "nullptr",  "static_assert",
    "thread_local", "exp",     "log",      "sqrt",   "sin",       "cos",      "floor",
    "ceil",         "round",   "trunc",    "erf",    "tanh",      "abs",      "fabs",
    "fma",          "index",   "y0",       "y1",     "yn",        "j0",       "j1",
    "jn",           "gamma",   "div",      "pow",    "memset",    "memcpy",   "printf",
};

static bool is_reserved(const char *s)
{
    static const char *const starts[] = {"v_",    "u_",      "qn_",  "QN_",   "INT", "UINT",
                                         "SIZE_", "PTRDIFF", "SIG_", "WCHAR", "WINT"};
    for (size_t i = 0; i < QN_COUNT(reserved); i++)
        if (strcmp(s, reserved[i]) == 0) return true;
    for (size_t i = 0; i < QN_COUNT(starts); i++)
        if (strncmp(s, starts[i], strlen(starts[i])) == 0) return true;
    size_t n = strlen(s);
    return n > 2 && strcmp(s + n - 2, "_t") == 0;
}

const char *cc_name(struct cc *c, const char *hint)
{
    char name[96];
    size_t n = 0;
    if (!isalpha((unsigned char)hint[0])) name[n++] = 'v';
    for (; *hint && n < 64; hint++) name[n++] = isalnum((unsigned char)*hint) ? *hint : '_';
    name[n] = 0;
    if (is_reserved(name)) {
        memmove(name + 2, name, n + 1);
        memcpy(name, "x_", 2);
        n += 2;
    }
    for (int k = 2; map_get(c->used, name); k++) snprintf(name + n, sizeof name - n, "_%d", k);
    map_put(c->used, name, c);
    return arena_strdup(c->a, name);
}

/* ---- types and literals ---------------------------------------------------------------------- */

static const struct {
    const char *value, *memory;
} ctypes[TYPE_COUNT] = {
    [TYPE_F64] = {"double", "double"},     [TYPE_F32] = {"float", "float"},
    [TYPE_F16] = {"float", "uint16_t"},    [TYPE_BF16] = {"float", "uint16_t"},
    [TYPE_S64] = {"int64_t", "int64_t"},   [TYPE_S32] = {"int32_t", "int32_t"},
    [TYPE_S16] = {"int16_t", "int16_t"},   [TYPE_S8] = {"int8_t", "int8_t"},
    [TYPE_U64] = {"uint64_t", "uint64_t"}, [TYPE_U32] = {"uint32_t", "uint32_t"},
    [TYPE_U16] = {"uint16_t", "uint16_t"}, [TYPE_U8] = {"uint8_t", "uint8_t"},
    [TYPE_S4] = {"int8_t", "int8_t"},      [TYPE_U4] = {"uint8_t", "uint8_t"},
    [TYPE_B1] = {"int", "uint8_t"},
};

const char *cc_value_type(enum dtype d) { return ctypes[d].value; }
const char *cc_memory_type(enum dtype d) { return ctypes[d].memory; }
bool cc_same_form(enum dtype d) { return d != TYPE_F16 && d != TYPE_BF16 && d != TYPE_B1; }

const char *cc_int(struct cc *c, enum dtype d, int64_t v)
{
    long long n = (long long)v;
    switch (d) {
    case TYPE_B1:
        return v ? "1" : "0";
    case TYPE_S64:
        if (v == INT64_MIN) return "(-INT64_C(9223372036854775807) - 1)";
        if (v > INT32_MAX || v < -INT32_MAX)
            return cc_fmt(c, v < 0 ? "(-INT64_C(%lld))" : "INT64_C(%lld)", v < 0 ? -n : n);
        return cc_fmt(c, v < 0 ? "(%lld)" : "%lld", n);
    case TYPE_U64:
        return cc_fmt(c, "UINT64_C(%llu)", (unsigned long long)v);
    case TYPE_U32:
        return cc_fmt(c, "UINT32_C(%llu)", (unsigned long long)v);
    case TYPE_S32:
        if (v == INT32_MIN) return "((int32_t)(-2147483647 - 1))";
        return cc_fmt(c, "(int32_t)%s%lld%s", v < 0 ? "(" : "", n, v < 0 ? ")" : "");
    default:
        return cc_fmt(c, "((%s)%s%lld%s)", cc_value_type(d), v < 0 ? "(" : "", n, v < 0 ? ")" : "");
    }
}

const char *cc_real(struct cc *c, enum dtype d, double v)
{
    char text[64];
    bool f64 = d == TYPE_F64;
    c->exact |= !isfinite(v) || v == 0x1.8p23 || v == 0x1.8p52;
    if (!isfinite(v)) {
        cc_need(c, "qn_inf");
        const char *s = isnan(v) ? "(qn_inf() - qn_inf())" : v < 0 ? "(-qn_inf())" : "qn_inf()";
        return f64 ? cc_fmt(c, "((double)%s)", s) : s;
    }
    snprintf(text, sizeof text, f64 ? "%.17g" : "%.9g", v);
    for (int digits = 1; digits < (f64 ? 17 : 9);
         digits++) { /* the shortest that reads back the same */
        char shorter[64];
        double back = 0;
        snprintf(shorter, sizeof shorter, "%.*g", digits, v);
        sscanf(shorter, "%lf", &back);
        if (f64 ? back == v : (float)back == (float)v) {
            memcpy(text, shorter, sizeof shorter);
            break;
        }
    }
    const char *point = strpbrk(text, ".e") ? "" : ".0";
    bool minus = text[0] == '-';
    return cc_fmt(c, "%s%s%s%s%s", minus ? "(" : "", text, point, f64 ? "" : "f", minus ? ")" : "");
}

/* ---- helpers --------------------------------------------------------------------------------- */

/* Each helper with the helpers it calls. "@" begins a function: attributes, static, inline. */
static const struct helper {
    const char *name, *uses, *text;
} helpers[] = {
#define H(name, uses, text) {#name, uses, text},
#include "codegen/c_helpers.def"
#undef H
};

static const struct helper *find_helper(const char *name, size_t n)
{
    for (size_t i = 0; i < QN_COUNT(helpers); i++)
        if (strncmp(helpers[i].name, name, n) == 0 && helpers[i].name[n] == 0) return &helpers[i];
    QN_UNREACHABLE("no helper %.*s", (int)n, name);
}

void cc_need(struct cc *c, const char *helper)
{
    if (map_get(c->have, helper)) return;
    map_put(c->have, helper, c);
    const struct helper *h = find_helper(helper, strlen(helper));
    for (const char *p = h->uses; *p;) {
        size_t n = strcspn(p, " ");
        cc_need(c, find_helper(p, n)->name);
        p += n + (p[n] == ' ');
    }
    for (const char *p = h->text; *p; p++) {
        if (*p == '@')
            buf_puts(&c->helpers, "QN_FN static inline ");
        else
            buf_putc(&c->helpers, *p);
    }
    buf_putc(&c->helpers, '\n');
}

/* ---- top of the file ------------------------------------------------------------------------- */

static void put_features(const struct target *t, struct buf *out)
{
    bool first = true;
    for (const char *p = t->features ? t->features : ""; *p;) {
        size_t n = strcspn(p, ",");
        if (p[0] == '+' && n > 1) {
            buf_printf(out, "%s%.*s", first ? "" : ",", (int)n - 1, p + 1);
            first = false;
        }
        p += n + (p[n] == ',');
    }
}

/* gcc can be told for one file; clang's pragmas leave some of it on. */
static const char no_fast_math[] =
    "/* Exponentials round by adding and taking away a large number, maxima begin at -infinity: "
    "-ffast-math\n   would take that apart. */\n"
    "#if defined(__clang__)\n#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && "
    "__FINITE_MATH_ONLY__)\n"
    "#error \"with clang this file must be compiled with -fno-fast-math\"\n#endif\n"
    "#elif defined(__GNUC__)\n#pragma GCC optimize(\"no-fast-math\")\n#endif\n\n";

void cc_preamble(struct cc *c, struct buf *out)
{
    if (c->exact) buf_puts(out, no_fast_math);
    bool x86 = strncmp(c->t->triple, "x86_64", 6) == 0,
         a64 = strncmp(c->t->triple, "aarch64", 7) == 0;
    if (!c->vector) {
        buf_puts(out, "/* Loops stay loops: no call of memset or memcpy is made of them. */\n"
                      "#if defined(__clang__)\n#define QN_FN __attribute__((no_builtin, unused))\n"
                      "#elif defined(__GNUC__)\n#define QN_FN "
                      "__attribute__((optimize(\"no-tree-loop-distribute-patterns\"), unused))\n"
                      "#else\n#define QN_FN\n#endif\n#define QN_CONTRACT\n"
                      "/* Unrolled and instrumented, loops over lanes would take minutes to "
                      "compile. */\n#define QN_LANES\n"
                      "#if defined(__clang__)\n#if __has_feature(address_sanitizer) || "
                      "__has_feature(undefined_behavior_sanitizer)\n"
                      "#undef QN_LANES\n#define QN_LANES _Pragma(\"clang loop "
                      "unroll(disable)\")\n#endif\n#endif\n\n");
        return;
    }
    const char *arch = x86 ? "__x86_64__" : a64 ? "__aarch64__" : NULL;
    if (arch)
        buf_printf(out, "#if !defined(__GNUC__) || !defined(%s)\n", arch);
    else
        buf_puts(out, "#if !defined(__GNUC__)\n");
    buf_puts(out,
             "#error \"this form needs gcc or clang for the machine it was made for; the portable "
             "form runs anywhere\"\n"
             "#endif\n/* The instruction set and contraction (a * b + c in one rounding) this "
             "kernel was tuned with, so that no flag is\n"
             "   needed; and loops stay loops: no call of memset or memcpy is made of them. */\n"
             "#if defined(__clang__)\n#define QN_FN __attribute__((");
    if (x86) {
        buf_puts(out, "target(\"");
        put_features(c->t, out);
        buf_puts(out, "\"), ");
    }
    buf_puts(out, "no_builtin, unused))\n#define QN_CONTRACT _Pragma(\"clang fp "
                  "contract(fast)\")\n#else\n#define QN_FN __attribute__((");
    if (x86) {
        buf_puts(out, "target(\"");
        put_features(c->t, out);
        buf_puts(out, "\"), ");
    }
    /* gcc 12 vectorises guarded loops for AVX-512 into loads and stores that fault where the mask
     * is off (vblendps from memory, masked vextracti64x4). What is to be vectors is vectors
     * already. */
    buf_printf(out,
               "optimize(\"O2\", \"fp-contract=fast\", \"no-math-errno\", "
               "\"no-tree-loop-distribute-patterns\"%s), unused))\n",
               c->avx512 ? ", \"no-tree-vectorize\"" : "");
    buf_puts(out,
             "#define QN_CONTRACT\n#endif\n"
             "/* The compiler does not see what this pointer is made of: accesses are "
             "displacements from it. */\n"
             "#if defined(__clang__)\n#define QN_FIX(p) __asm__(\"\" : \"+r\"(p))\n#else\n#define "
             "QN_FIX(p)\n#endif\n"
             "/* The vector stays in a register: gcc would rather load it again for each use. */\n"
             "#if defined(__clang__) || !(defined(__x86_64__) || defined(__aarch64__))\n#define "
             "QN_KEEP(x)\n");
    buf_printf(out, "#else\n#define QN_KEEP(x) __asm__(\"\" : \"+%s\"(x))\n#endif\n\n",
               a64         ? "w"
               : c->avx512 ? "v"
                           : "x");
}
