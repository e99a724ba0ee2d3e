/* task: a problem as the runner keeps it: operands per data recipe and alignment, and what the
 * reference kernel computes on them. Made once, kept in shared memory for the runner's life.
 *
 *   struct task *t = cache_task(&cache, &msg->task, &o);
 *   task_expect(job, t, RECIPE_INTS, 0, &expect, &o)       runs the reference if it has not yet
 *   task_stage(job, t, &stage, ...)                        where a candidate finds its operands
 *
 * Invariants: a task is recognised by the bytes of its encoding; operands are generated here and
 * nowhere else; expected outputs are invisible to candidates; the cache holds at most its limit
 * plus the task in use (least recently used goes first). */
#ifndef QN_SANDBOX_TASK_H
#define QN_SANDBOX_TASK_H

#include "sandbox/data.h"
#include "sandbox/keeper.h"

enum { TASK_MAX_VIEWS = 96, TASK_MAX_EXPECTS = 48, CACHE_MAX_TASKS = 64 };

/* Growing shared memory; offsets stay valid when it moves. */
struct pile {
    struct shm shm;
    size_t used;
};

struct view { /* inputs of one recipe, seed and alignment */
    enum recipe recipe;
    uint64_t seed;
    enum data_twist twist;
    enum stage_align align;
    size_t at[WIRE_MAX_BUFFERS]; /* of the mapping, in the pile; outputs: unused */
};

struct expect { /* outputs of the reference for one recipe and seed */
    enum recipe recipe;
    uint64_t seed;
    size_t want[WIRE_MAX_BUFFERS];
    size_t bound[WIRE_MAX_BUFFERS]; /* doubles; 0: none */
};

struct task {
    struct arena *a;
    struct buf key;
    struct wire_task t; /* deep copy */
    struct pile pile;
    struct view views[TASK_MAX_VIEWS];
    int views_n;
    struct expect expects[TASK_MAX_EXPECTS];
    int expects_n;
    uint64_t used_at;
};

struct task_cache {
    struct task *tasks[CACHE_MAX_TASKS];
    int n;
    uint64_t clock, limit;
};

/* One job being done. */
struct job {
    struct keeper *k;
    struct arena *a; /* for texts of the answer */
    uint32_t threads;
    uint64_t cpus, memory, seed;
    int64_t timeout_ns;
    bool cold;
};

/* Finds or makes; NULL with *o filled when the task makes no sense or does not fit. */
struct task *cache_task(struct task_cache *c, const struct wire_task *msg, struct job *job,
                        struct wire_outcome *o);
uint64_t cache_bytes(const struct task_cache *c);
void cache_free(struct task_cache *c);

/* NULL: no memory. */
struct view *task_view(struct task *t, enum recipe recipe, uint64_t seed, enum data_twist twist,
                       enum stage_align align);
const struct expect *task_expect(struct job *job, struct task *t, enum recipe recipe, uint64_t seed,
                                 struct wire_outcome *o);
/* Adds all places for a blob on a view. *out_at: running offset of outputs in the slot, from
 * CTL_BYTES. */
bool task_stage(struct job *job, const struct task *t, struct child_spec *s, int slot,
                const struct view *v, const struct wire_blob *blob, uint8_t poison, size_t *out_at);
/* Slot bytes that `stages` stages' outputs need. */
size_t task_slot_bytes(const struct task *t, int stages);
uint64_t task_operand_bytes(const struct wire_task *t);
/* Fresh pointer into the pile. */
static inline void *pile_ptr(const struct task *t, size_t at) { return t->pile.shm.base + at; }

#endif
