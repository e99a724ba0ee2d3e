/* sandbox: runs machine code that may be wrong in every way, and says what it did.
 *
 *   runner_serve(3);        speaks the wire on descriptor 3 until BYE or end of file
 *
 * Processes:  runner (reads frames; forks the nursery before it reads any)
 *               +- nursery (drops root, decodes jobs, makes data, keeps operands in shared memory)
 *                    +- one child per candidate (guard pages, rlimits, seccomp; killed by SIGKILL)
 *
 * Invariants: no byte of a job is decoded with privileges the nursery could drop; a candidate's
 * only writable shared memory is its own outputs and its own control page; nothing a child reports
 * is believed without a look at its outputs; a dead nursery is a verdict, never a dead runner. */
#ifndef QN_SANDBOX_SANDBOX_H
#define QN_SANDBOX_SANDBOX_H

#include "base/err.h"
#include "wire/wire.h"

/* Layers, in bit order of wire masks. */
enum sandbox_layer {
#define LAYER(NAME, name, mandatory, text) LAYER_##NAME,
#include "sandbox/layers.def"
#undef LAYER
    LAYER_COUNT
};

struct layer_info {
    const char *name, *text;
    bool mandatory;
};
const struct layer_info *sandbox_layer_info(enum sandbox_layer l);
uint32_t sandbox_mandatory(void);
/* Tries every layer in a scratch child; bit i = layer i works here. */
uint32_t sandbox_probe(void);

/* Serves until BYE or end of file on fd. Returns the program's exit status. */
int runner_serve(int fd);
/* Prints probed layers and facts, one per line, to stdout; 0 when all mandatory layers work. */
int runner_self_test(void);

#endif
