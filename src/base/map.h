/* map: hash map from byte-string keys (copied) to pointers; iteration in insertion order.
 *
 *   struct map *m = map_new(); map_put(m, "k", v); map_get(m, "k") -> v or NULL; map_free(m); */
#ifndef QN_MAP_H
#define QN_MAP_H

#include "base/base.h"

struct map;

struct map *map_new(void);
void map_free(struct map *m);                              /* values are the caller's */
void map_put(struct map *m, const char *key, void *value); /* replaces */
void *map_get(const struct map *m, const char *key);
void map_put_bytes(struct map *m, const void *key, size_t n, void *value);
void *map_get_bytes(const struct map *m, const void *key, size_t n);
size_t map_count(const struct map *m);
/* i-th entry in insertion order, i < map_count. */
const char *map_key(const struct map *m, size_t i);
void *map_value(const struct map *m, size_t i);

#endif
