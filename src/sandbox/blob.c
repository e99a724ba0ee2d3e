/* blob: the loader. A blob is position-independent code and read-only data, already linked, so
 * loading is: check, map read-write, copy, make read-execute, clear the instruction cache.
 *
 * Invariants: nothing is mapped for a blob that failed its check; the tail of the last page is
 * filled with an instruction that traps. */
#include "sandbox/blob.h"

#include <string.h>
#include <sys/mman.h>

#include "sandbox/stage.h"

enum arch arch_here(void)
{
#if defined(__x86_64__)
    return ARCH_X86_64;
#elif defined(__aarch64__)
    return ARCH_AARCH64;
#elif defined(__arm__)
    return ARCH_ARMV7;
#else
    return ARCH_RISCV64;
#endif
}

enum rc blob_check(const struct wire_blob *b, struct err *e)
{
    enum rc rc = wire_blob_check(b, e);
    if (rc) return rc;
    if (b->arch != arch_here())
        return err_set(e, RC_INPUT, "blob.arch", "code for %s cannot run on %s",
                       arch_name((enum arch)b->arch), arch_name(arch_here()));
    unsigned align = arch_here() == ARCH_X86_64 ? 1 : 2;
    if (b->kernel % align || (b->pack >= 0 && b->pack % align))
        return err_set(e, RC_INPUT, "job.blob", "an entry offset is not a multiple of %u", align);
    return RC_OK;
}

size_t blob_map_len(const struct wire_blob *b)
{
    return (b->code.n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

bool blob_load(const struct wire_blob *b, uint8_t *at)
{
    size_t len = blob_map_len(b);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) return false;
    memcpy(at, b->code.p, b->code.n);
#if defined(__x86_64__)
    memset(at + b->code.n, 0xCC, len - b->code.n); /* int3; elsewhere zero is undefined already */
#endif
    if (mprotect(at, len, PROT_READ | PROT_EXEC) != 0) return false;
    __builtin___clear_cache((char *)at, (char *)at + len);
    return true;
}
