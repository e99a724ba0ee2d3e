/* host: what the running machine says about itself.
 *
 *   host_target_name() -> "zen4"      a file whose `match` names this vendor, family and model and
 *                                     whose ISA the CPU has, else the highest x86-64 level it has;
 *                                     elsewhere by architecture
 *   host_overlay(t)                   part and stepping, caches from sysfs, cores that are online:
 *                                     what taskset leaves of them is no other machine
 *
 * Invariant: a level is chosen only if CPUID *and* the operating system (XCR0, through the
 * compiler's probe) allow it. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/fs.h"
#include "target/target_int.h"

#if defined(__x86_64__)
#include <cpuid.h>

struct cpu_id {
    char vendor[13];
    unsigned family, model, stepping;
};

static struct cpu_id cpu_identify(void)
{
    struct cpu_id c = {0};
    unsigned a = 0, b = 0, x = 0, d = 0;
    __get_cpuid(0, &a, &b, &x, &d);
    memcpy(c.vendor, &b, 4);
    memcpy(c.vendor + 4, &d, 4);
    memcpy(c.vendor + 8, &x, 4);
    __get_cpuid(1, &a, &b, &x, &d);
    c.stepping = a & 15;
    c.model = (a >> 4) & 15;
    c.family = (a >> 8) & 15;
    if (c.family == 15) c.family += (a >> 20) & 255;
    if (c.family == 6 || c.family >= 15) c.model |= ((a >> 16) & 15) << 4;
    return c;
}

/* Highest level of the x86-64 psABI the machine has. */
static int isa_level(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) return 4;
    if (__builtin_cpu_supports("x86-64-v3")) return 3;
    if (__builtin_cpu_supports("x86-64-v2")) return 2;
    return 1;
}

/* "AuthenticAMD 25 16-31,96-127" against the running CPU. */
static bool matches(const char *match, const struct cpu_id *c)
{
    char vendor[13];
    unsigned family;
    int used = 0;
    if (sscanf(match, "%12s %u %n", vendor, &family, &used) < 2 || strcmp(vendor, c->vendor) ||
        family != c->family)
        return false;
    for (const char *p = match + used; *p;) {
        char *end;
        unsigned long lo = strtoul(p, &end, 10), hi = lo;
        if (end == p) return false;
        if (*end == '-') hi = strtoul(end + 1, &end, 10);
        if (c->model >= lo && c->model <= hi) return true;
        p = *end == ',' ? end + 1 : end;
        if (p == end && *p) return false;
    }
    return false;
}

static int level_of(const struct target *t)
{
    if (strstr(t->features, "avx512vl")) return 4;
    if (strstr(t->features, "avx2")) return 3;
    return strstr(t->features, "sse4.2") ? 2 : 1;
}

const char *host_target_name(void)
{
    static char name[72];
    struct cpu_id c = cpu_identify();
    int level = isa_level();
    snprintf(name, sizeof name, "x86-64-v%d", level);
    char dir[900];
    char **files;
    size_t n;
    if (fs_data_dir(dir, sizeof dir, "targets", NULL) != RC_OK ||
        fs_list(dir, ".target", &files, &n, NULL) != RC_OK)
        return name;
    for (size_t i = 0; i < n; i++) {
        struct target *t;
        struct target_file f;
        files[i][strlen(files[i]) - strlen(".target")] = 0;
        if (target_load_with(files[i], &t, &f, NULL) != RC_OK) continue;
        if (f.match && matches(f.match, &c) && level_of(t) <= level)
            snprintf(name, sizeof name, "%s", files[i]);
        target_free(t);
    }
    fs_list_free(files, n);
    return name;
}

static const char *host_part(struct arena *a)
{
    struct cpu_id c = cpu_identify();
    return arena_printf(a, "%s-%u-%u-%u", c.vendor, c.family, c.model, c.stepping);
}
#else
const char *host_target_name(void)
{
#if defined(__aarch64__)
    return "cortex-a76";
#else
    return "x86-64-v1";
#endif
}

static const char *host_part(struct arena *a) { return arena_strdup(a, "unknown"); }
#endif

/* "1024K" -> bytes; 0 if the file is missing. */
static int64_t read_size(const char *path)
{
    char *text;
    size_t n;
    if (fs_read(path, 64, &text, &n, NULL) != RC_OK) return 0;
    char *end;
    int64_t v = strtoll(text, &end, 10);
    if (*end == 'K') v <<= 10;
    if (*end == 'M') v <<= 20;
    mem_free(text);
    return v;
}

static void overlay(struct target *t, struct target_file *f, const char *key, int64_t v)
{
    if (v <= 0) return;
    *target_fact(t, key, strlen(key)) = v;
    target_origin(f, key, "detected");
}

void host_overlay(struct target *t, struct target_file *f)
{
    for (int i = 0; i < 6; i++) {
        char path[128], *type;
        size_t n;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (fs_read(path, 64, &type, &n, NULL) != RC_OK) continue;
        bool data = strncmp(type, "Instruction", 11) != 0;
        mem_free(type);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        int64_t level = read_size(path);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        int64_t size = read_size(path);
        if (data && level >= 1 && level <= 3)
            overlay(t, f, level == 1 ? "l1" : level == 2 ? "l2" : "l3", size);
    }
    overlay(t, f, "cores", sysconf(_SC_NPROCESSORS_ONLN));
    t->part = host_part(t->arena);
    target_origin(f, "part", "detected");
}
