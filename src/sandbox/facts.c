/* facts: /proc/cpuinfo, boot id, kernel release, clock resolution.
 *
 *   cpu = "vendor_id=AuthenticAMD family=25 model=17 stepping=1 AMD EPYC"
 *
 * Invariant: a file that is missing or odd gives an empty string, never a failure. */
#include "sandbox/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "sandbox/blob.h"

/* Value of the first line "key ... : value" of cpuinfo. */
static const char *info_value(struct arena *a, const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *p = line + n;
        if (strncmp(line, key, n) != 0) continue;
        p += strspn(p, " \t");
        if (*p != ':') continue;
        p += 1 + strspn(p + 1, " \t");
        return arena_strndup(a, p, strcspn(p, "\n"));
    }
    return "";
}

static const char *first_of(struct arena *a, const char *text, const char *key, const char *other)
{
    const char *v = info_value(a, text, key);
    return *v ? v : info_value(a, text, other);
}

/* Foreign text: ASCII only, cut at max. */
static const char *tame(struct arena *a, const char *s, size_t max)
{
    size_t n = strlen(s);
    char *t = arena_strndup(a, s, n < max ? n : max);
    for (char *p = t; *p; p++)
        if (*p < 32 || *p > 126) *p = '?';
    return t;
}

static const char *file_line(struct arena *a, const char *path)
{
    char *text;
    size_t n;
    if (fs_read(path, 1 << 20, &text, &n, NULL)) return "";
    const char *line = arena_strndup(a, text, strcspn(text, "\n"));
    mem_free(text);
    return line;
}

void facts_read(struct arena *a, struct wire_hello *h)
{
    struct utsname u;
    struct timespec res = {0};
    char *text = NULL;
    size_t n;
    h->version = QN_VERSION;
    h->arch = (uint8_t)arch_here();
    if (fs_read("/proc/cpuinfo", 4 << 20, &text, &n, NULL)) text = NULL;
    const char *info = text ? text : "";
    const char *cpu = arena_printf(a, "%s family=%s model=%s stepping=%s %s",
                                   first_of(a, info, "vendor_id", "CPU implementer"),
                                   first_of(a, info, "cpu family", "CPU architecture"),
                                   first_of(a, info, "model", "CPU part"),
                                   first_of(a, info, "stepping", "CPU revision"),
                                   info_value(a, info, "model name"));
    h->cpu = tame(a, cpu, 128);
    h->features = tame(a, first_of(a, info, "flags", "Features"), 2048);
    mem_free(text);
    h->boot_id = tame(a, file_line(a, "/proc/sys/kernel/random/boot_id"), 64);
    h->kernel = uname(&u) == 0 ? tame(a, u.release, 128) : "";
    clock_getres(CLOCK_MONOTONIC, &res);
    h->clock_res_ns = (double)res.tv_sec * 1e9 + (double)res.tv_nsec;
}

static bool cache_line(int index, const char *what, char *out, size_t n)
{
    char path[128], *text;
    size_t len;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, what);
    if (fs_read(path, 4096, &text, &len, NULL)) return false;
    snprintf(out, n, "%.*s", (int)strcspn(text, "\n"), text);
    mem_free(text);
    return true;
}

void facts_caches(uint64_t bytes[3])
{
    memset(bytes, 0, 3 * sizeof *bytes);
    for (int i = 0; i < 8; i++) {
        char type[32], level[8], size[32];
        if (!cache_line(i, "type", type, sizeof type)) break;
        if (strcmp(type, "Instruction") == 0 || !cache_line(i, "level", level, sizeof level))
            continue;
        if (!cache_line(i, "size", size, sizeof size)) continue;
        char *end;
        unsigned long long v = strtoull(size, &end, 10);
        v <<= *end == 'K' ? 10 : *end == 'M' ? 20 : 0;
        if (level[0] >= '1' && level[0] <= '3' && v < (UINT64_C(1) << 36))
            bytes[level[0] - '1'] = v;
    }
    /* machines without that folder: the C library's idea, except of the last level, which virtual
     * machines inflate by their number of sockets */
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE,
                                _SC_LEVEL3_CACHE_SIZE};
    for (int i = 0; i < 3; i++) {
        long got = bytes[i] ? 0 : sysconf(names[i]);
        if (got > 0) bytes[i] = (uint64_t)got < (64u << 20) ? (uint64_t)got : 64u << 20;
    }
#endif
}
