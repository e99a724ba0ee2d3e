/* sm: state machines as tables. Only sm_move changes a state; a move the table does not allow is
 * our bug and aborts with both names.
 *
 *   static const struct sm_state S[] = {[IDLE] = {"idle", SM(BUSY)},
 *                                       [BUSY] = {"busy", SM(IDLE) | SM(DEAD)}, ...};
 *   struct sm m; sm_init(&m, S, 3, IDLE); sm_move(&m, BUSY); */
#ifndef QN_SM_H
#define QN_SM_H

#include "base/base.h"

#define SM(state) (UINT64_C(1) << (state))

struct sm_state {
    const char *name;
    uint64_t next; /* allowed next states */
};

struct sm {
    const struct sm_state *table;
    int n, state;
    uint32_t moves;
};

void sm_init(struct sm *m, const struct sm_state *table, int n, int start);
void sm_move(struct sm *m, int to);
const char *sm_name(const struct sm *m);

#endif
