/* seccomp: the candidate's system-call filter, as a checked-in table per architecture. */
#ifndef QN_SANDBOX_SECCOMP_H
#define QN_SANDBOX_SECCOMP_H

#include "base/base.h"

/* Applies the filter to every thread of the process; needs no_new_privs. 0, or an errno. */
int seccomp_apply(void);
/* How many calls the list allows, 0 on an architecture without a table. */
size_t seccomp_allowed(void);

#endif
