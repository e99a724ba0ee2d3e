/* layers: the steps by which the nursery gives up rights. layers.def lists them all. */
#ifndef QN_SANDBOX_LAYERS_H
#define QN_SANDBOX_LAYERS_H

#include "base/base.h"

/* As root: to nobody, without groups, for good. As anyone else: nothing to do. false: still root.
 */
bool layer_drop_uid(void);
/* No file access from here on; needs no_new_privs. */
bool layer_landlock(void);

#endif
