/* What space_derive finds out about a nest, and what derive_text writes as a .sched text. */
#ifndef QN_SCHED_DERIVE_H
#define QN_SCHED_DERIVE_H

#include "sched/space_int.h"

enum { DERIVE_STAGES = 12, DERIVE_ALL = 2 * DERIVE_STAGES, DERIVE_LOOPS = 16, DERIVE_COPIES = 6 };

enum role {
    ROLE_HOST,   /* stays at the root, tiled */
    ROLE_GUEST,  /* computed inside its host's tile */
    ROLE_INLINE, /* substituted into its reader */
    ROLE_CONST,  /* moved to the pack phase */
};

struct daxis {
    const struct var *var; /* of the naive nest */
    const char *name;
    int64_t extent; /* dynamic ones count as large */
    int dim;        /* of the target it subscripts; -1 */
    bool reduce, ordered, dynamic;
    int host;    /* guests: the axis of the host it follows; -1 */
    bool leads;  /* hosts: outside the blocks, never tiled */
    bool blocks; /* hosts: the rest of a block; `whole` is then the loop that was split */
    const char *whole;
};

struct dstage {
    struct stmt *stmt, *leaf;
    const char *name;
    enum role role;
    int host, reader, readers;
    bool output, may_tile, tile, parallel, detail; /* detail: unroll and vectorize inside */
    bool plain, uses_vec, uses_row;                /* guests: how they are read */
    struct daxis axis[DERIVE_LOOPS];
    int place; /* guests that follow neither: the innermost axis of the host they do */
    int nloop, nreduce, vec, row, last_reduce;
    int64_t lanes;
    int bits;
    int lane; /* reductions: the reduce axis that lanes run along; -1: lanes along vec */
    int64_t lane_width;
    bool lane_ok, either, reused; /* either: lanes along vec are worth a try, too */
    bool reg;                     /* guests: may live in registers */
    bool acc, acc_detail,
        acc_reg; /* hosts that reduce: accumulate in a register tile of their own */
    bool made;   /* that tile's stage, which `accumulate` makes; reader is its host */
    /* Hosts that are computed block by block with others; run: the last of them, -1 alone. */
    int run, nlead, blocked; /* blocked: the axis of `block` */
    const struct var *lead[DERIVE_LOOPS], *block;
    bool together; /* a temporary passes between them: a dynamic axis must be in blocks */
};

struct dcopy {
    const struct tensor *t;
    int host;
    bool constant, on;
    int turned; /* the dimension to store innermost; -1: the order the tensor has */
};

struct derive {
    struct dstage stage[DERIVE_ALL];
    int n, real; /* with and without the made ones */
    struct dcopy copy[DERIVE_COPIES];
    int ncopy;
    int64_t vector_bits, vregs, threads, dynamic;
    bool unrolls, blocks_ok;
    bool bands;  /* of windows (derive_text.c) */
    bool spills; /* operands and results together are more than L1 */
    bool far;    /* ... than L2 */
    bool deep;   /* some result is far from its operands: exp and its kin */
    bool past;   /* results alone are several times L2: the next operator will not find them near */
};

static inline bool derive_is_guest(const struct derive *d, int stage, int host)
{
    return d->stage[stage].role == ROLE_GUEST && d->stage[stage].host == host;
}

/* derive_axes.c */
void derive_axes(const struct derive *d, struct dstage *s);
int derive_dim(const struct dstage *s, const struct var *v);
int derive_turned(const struct dstage *s, const struct expr *load);
/* most: no more elements side by side than this, an expression; NULL: as many as the knob says */
void derive_lane_knobs(const struct derive *d, const struct dstage *s, int index, const char *most,
                       struct buf *b);
void derive_lane_loops(const struct derive *d, const struct dstage *s, int index, const char *most,
                       bool reg, struct buf *b);
/* Does the guest follow a dynamic axis that its host reduces over? Then it has room for a block of that axis only:
 * the host reduces in turns. */
bool derive_reduces_dynamic(const struct dstage *s);
/* ... and nothing else: one result, which has no tile. */
bool derive_reduces_all(const struct dstage *s);
bool derive_follows_reduction(const struct dstage *guest, const struct dstage *host);
bool derive_in_turns(const struct derive *d, int host);
/* derive_columns.c: the nest with the steps that come before all others, which are appended to text. */
struct nest *derive_columns(struct ir *ir, const struct nest *naive, int64_t vector_bits,
                            struct buf *text);
/* derive_blocks.c: runs of hosts; their knob and the split of one of them */
void derive_blocks(struct derive *d);
bool derive_thin(const struct derive *d, int host);
void derive_block_knob(const struct dstage *s, struct buf *b);
void derive_block_condition(const struct dstage *s, struct buf *b);
void derive_block_split(const struct dstage *s, struct buf *b);
/* derive_text.c */
/* The axis of the host that is taken in bands; -1: none. */
int derive_band(const struct derive *d, int host);
/* first: steps before all others */
void derive_text(const struct derive *d, const char *algorithm, const char *first, struct buf *b);
void space_set_text(struct space *s, const char *text, size_t n);

#endif
