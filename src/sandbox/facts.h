/* facts: what HELLO says about this machine. Read before the nursery gives up file access. */
#ifndef QN_SANDBOX_FACTS_H
#define QN_SANDBOX_FACTS_H

#include "wire/wire.h"

/* Fills version, arch, cpu, features, kernel, boot_id, memory and clock resolution. */
void facts_read(struct arena *a, struct wire_hello *h);

/* Bytes of the data caches of levels 1 to 3 as this CPU sees them; 0: unknown. */
void facts_caches(uint64_t bytes[3]);

#endif
