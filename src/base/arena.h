/* arena: memory by lifetime. Everything in an arena dies at once; nothing in it has a destructor.
 *
 *   struct arena *a = arena_new();
 *   struct node *n = ARENA_NEW(a, struct node);     zeroed
 *   arena_free(a);
 *
 * Environment QN_ARENA_MALLOC=1 (or a sanitizer build) backs every object by its own malloc, so
 * that ASan sees each one. Allocation failure aborts: caps on input size are enforced earlier. */
#ifndef QN_ARENA_H
#define QN_ARENA_H

#include "base/base.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a);  /* NULL allowed */
void arena_reset(struct arena *a); /* frees everything, keeps the arena */
/* Zeroed, aligned to max_align_t. n == 0 gives a valid unique pointer. */
void *arena_alloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) QN_PRINTF(2, 3);
size_t arena_bytes(const struct arena *a); /* bytes handed out, for caps */

#define ARENA_NEW(a, T)      ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_alloc((a), (size_t)(n) * sizeof(T)))

/* Raw heap for objects with their own lifetime; the only malloc in quern. Zeroed; abort on
 * failure. */
void *mem_new(size_t n);
void *mem_grow(void *p, size_t old_n, size_t new_n); /* new tail zeroed */
void mem_free(void *p);
char *mem_strdup(const char *s);

#endif
