/* text: foreign texts made storable: valid UTF-8 without NUL, bounded; and hex.
 *
 *   "bad \xff byte" -> "bad \xEF\xBF\xBD byte"
 *
 * Invariant: what utf8_clean returns passes utf8_valid and is at most `max` bytes, cut between
 * characters. */
#include <string.h>

#include "db/db_int.h"

/* Length of the valid sequence at s (n bytes left), 0 if there is none. No overlong forms, no
 * surrogates, nothing above U+10FFFF. */
static size_t utf8_len(const uint8_t *s, size_t n)
{
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    size_t len = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (n < len) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (s[0] == 0xED && s[1] > 0x9F) return 0;
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0;
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_len((const uint8_t *)s + i, n - i);
        if (len == 0 || s[i] == 0) return false;
    }
    return true;
}

char *utf8_clean(struct arena *a, const char *s, size_t max)
{
    if (!s) return arena_strdup(a, "");
    size_t n = strlen(s), used = 0;
    char *out = arena_alloc(a, max + 1);
    for (size_t i = 0; i < n;) {
        size_t len = utf8_len((const uint8_t *)s + i, n - i), put = len ? len : 3;
        if (used + put > max) break;
        memcpy(out + used, len ? s + i : "\xEF\xBF\xBD", put);
        used += put;
        i += len ? len : 1;
    }
    out[used] = 0;
    return out;
}

void hex_of(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

bool hex_is(const char *s, size_t lo, size_t hi)
{
    size_t n = strspn(s, "0123456789abcdef");
    return s[n] == 0 && n >= lo && n <= hi;
}

bool hex_to(uint8_t *out, size_t n, const char *s)
{
    static const char DIGITS[] = "0123456789abcdef";
    if (!hex_is(s, 2 * n, 2 * n)) return false;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)((strchr(DIGITS, s[2 * i]) - DIGITS) << 4 |
                           (strchr(DIGITS, s[2 * i + 1]) - DIGITS));
    return true;
}
