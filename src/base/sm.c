/* sm: moving a state machine along its table.
 *
 *   sm_move(&m, BUSY)      allowed by table[idle].next, or: internal error: lease: idle -> dead
 *
 * Invariants: 0 <= state < n; every state has a name; `moves` counts the moves made. */
#include "base/sm.h"

void sm_init(struct sm *m, const struct sm_state *table, int n, int start)
{
    QN_CHECK(n > 0 && n <= 64 && start >= 0 && start < n, "%d states, start %d", n, start);
    for (int i = 0; i < n; i++) {
        QN_CHECK(table[i].name, "state %d has no name", i);
        QN_CHECK(n == 64 || table[i].next >> n == 0, "state %s moves outside the table",
                 table[i].name);
    }
    *m = (struct sm){.table = table, .n = n, .state = start};
}

void sm_move(struct sm *m, int to)
{
    QN_CHECK(to >= 0 && to < m->n, "state %d of %d", to, m->n);
    QN_CHECK(m->table[m->state].next & SM(to), "move %s -> %s is not in the table",
             m->table[m->state].name, m->table[to].name);
    m->state = to;
    m->moves++;
}

const char *sm_name(const struct sm *m) { return m->table[m->state].name; }
