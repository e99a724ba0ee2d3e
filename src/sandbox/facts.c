/* facts: /proc/cpuinfo, boot id, kernel release, clock resolution.
 *
 *   cpu = "vendor_id=AuthenticAMD family=25 model=17 stepping=1 AMD EPYC"
 *
 * Invariant: a file that is missing or odd gives an empty string, never a failure. */
#include "sandbox/facts.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/fs.h"
#include "sandbox/blob.h"

/* Value of the first line "key ... : value" of cpuinfo. */
static const char *info_value(struct arena *a, const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
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
    const char *cpu = arena_printf(a, "%s family=%s model=%s stepping=%s %s", first_of(a, info, "vendor_id", "CPU implementer"),
                                   first_of(a, info, "cpu family", "CPU architecture"), first_of(a, info, "model", "CPU part"),
                                   first_of(a, info, "stepping", "CPU revision"), info_value(a, info, "model name"));
    h->cpu = tame(a, cpu, 128);
    h->features = tame(a, first_of(a, info, "flags", "Features"), 2048);
    mem_free(text);
    h->boot_id = tame(a, file_line(a, "/proc/sys/kernel/random/boot_id"), 64);
    h->kernel = uname(&u) == 0 ? tame(a, u.release, 128) : "";
    clock_getres(CLOCK_MONOTONIC, &res);
    h->clock_res_ns = (double)res.tv_sec * 1e9 + (double)res.tv_nsec;
}
