/* base: words every room uses. No domain knowledge lives here; depends on libc only.
 *
 *   QN_CHECK(n > 0, "split factor %d", n);   our bug: prints where and what, aborts, always
 *                                            compiled in
 *
 * Three kinds of failure, three mechanisms: our bug -> QN_CHECK; a bad candidate -> an ordinary
 * result (enum reject, enum verdict); the world -> enum rc + struct err (err.h). */
#ifndef QN_BASE_H
#define QN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define QN_NORETURN          __attribute__((noreturn))
#define QN_COUNT(a)          (sizeof(a) / sizeof((a)[0]))

/* Version of quern as a whole; goes into banners and rows. */
#define QN_VERSION "0.1.0"

QN_NORETURN void qn_bug(const char *file, int line, const char *cond, const char *fmt, ...)
    QN_PRINTF(4, 5);

#define QN_CHECK(cond, ...)                                          \
    do {                                                             \
        if (!(cond)) qn_bug(__FILE__, __LINE__, #cond, __VA_ARGS__); \
    } while (0)
#define QN_UNREACHABLE(...) qn_bug(__FILE__, __LINE__, "unreachable", __VA_ARGS__)

static inline int64_t i64_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t i64_max(int64_t a, int64_t b) { return a > b ? a : b; }

/* Floor division and modulo, b != 0: the only integer division quern's languages have. */
static inline int64_t i64_floordiv(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}
static inline int64_t i64_floormod(int64_t a, int64_t b) { return a - i64_floordiv(a, b) * b; }
static inline int64_t i64_ceildiv(int64_t a, int64_t b) { return -i64_floordiv(-a, b); }

#endif
