/* stage: where every buffer of a run lies in a child, with guards, and how the nursery sees it.
 *
 *   | guard | x (read-only, shared) | guard | y (writable, shared) | guard | scratch | guard |
 *
 * RIGHT puts the end of each buffer at a guard, LEFT its start, TIMED aligns to 64 bytes: small
 * buffers are staggered, as in a heap; large ones all begin at the same place of a page, as what an
 * app's allocator maps does. (Timed where no two alias modulo 4 KiB, a kernel that walks eight rows
 * of 16 KiB at once won; in an app it took 1.8 times as long.) Addresses lie in one window that
 * the nursery reserves before it forks, so a fault address can be told back as "4 bytes past the
 * end of y". */
#ifndef QN_SANDBOX_STAGE_H
#define QN_SANDBOX_STAGE_H

#include "wire/wire.h"

enum stage_align { ALIGN_RIGHT, ALIGN_LEFT, ALIGN_TIMED };

enum {
    PAGE = 4096,
    GUARD = 1 << 20,
    STAGE_MAX_PLACES = WIRE_MAX_BUFFERS + WIRE_MAX_PACKED + 1,
    CANARY = 0xC5,
    LARGE = 128 << 10, /* bytes from which allocators map pages for one buffer alone */
};

/* Shared memory behind a descriptor. The nursery's view is not inherited by children. */
struct shm {
    int fd; /* -1: none */
    uint8_t *base;
    size_t len;
};
bool shm_resize(struct shm *s, size_t len); /* keeps contents; false: no memory */
void shm_free(struct shm *s);

enum place_kind { PLACE_INPUT, PLACE_OUTPUT, PLACE_PACKED, PLACE_SCRATCH };

struct place {
    char name[24];
    enum place_kind kind;
    uint8_t *at;    /* mapping in the child, page aligned; NULL bytes: still a guarded address */
    size_t map_len; /* whole pages */
    size_t off;     /* of the data in the mapping */
    size_t bytes;
    int fd; /* shared: descriptor and offset; -1: private */
    size_t fd_off;
    uint8_t *mine; /* the nursery's view of the mapping's first byte, NULL if private */
};

struct stage {
    enum stage_align align;
    uint8_t poison;
    int n, declared, packed; /* places: declared tensors, packed, then scratch last */
    struct place places[STAGE_MAX_PLACES];
};

/* Address space for children. Reserved once. */
struct window {
    uint8_t *base;
    size_t len;
    size_t used;
};
bool window_reserve(struct window *w);

/* Pages a buffer needs, and where its data lie in them. index staggers TIMED. */
size_t place_pages(uint64_t bytes, enum stage_align align, unsigned unit, int index, size_t *off);
/* Bytes of packed buffers and scratch that a blob wants with `threads`; UINT64_MAX on overflow. */
uint64_t blob_private_bytes(const struct wire_blob *b, uint32_t threads);
/* Adds a place at the next free address. false: the window is full. */
bool stage_add(struct stage *s, struct window *w, const char *name, enum place_kind kind,
               uint64_t bytes, unsigned unit);

/* One sentence for an access to addr: "write 4 bytes past the end of output 'y'". */
void stage_describe(const struct stage *stages, int n, const uint8_t *addr, bool write, char *text,
                    size_t text_n);
/* Nursery: fill outputs with poison and the slack around them with canaries / are those intact?
 * On damage *who is the place and *after tells on which side. */
void stage_poison(struct stage *s);
bool stage_intact(const struct stage *s, const struct place **who, bool *after);

#endif
