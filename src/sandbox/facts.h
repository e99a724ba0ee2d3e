/* facts: what HELLO says about this machine. Read before the nursery gives up file access. */
#ifndef QN_SANDBOX_FACTS_H
#define QN_SANDBOX_FACTS_H

#include "wire/wire.h"

/* Fills version, arch, cpu, features, kernel, boot_id, memory and clock resolution. */
void facts_read(struct arena *a, struct wire_hello *h);

#endif
