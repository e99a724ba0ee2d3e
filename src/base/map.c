/* map: open addressing over an array of entries kept in insertion order.
 *
 *   slots: [ -, 2, -, 0, 1, ... ]      entries: [ {"k",v}, {"b",v}, {"a",v} ]
 *
 * Invariants: at most 2/3 of the slots are used, so a search ends at an empty one; entries are
 * never removed or moved; keys are copies with a NUL behind them (byte keys may hold NULs). */
#include "base/map.h"

#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/vec.h"

struct entry {
    char *key;
    size_t n;
    uint64_t hash;
    void *value;
};

struct map {
    struct arena *keys;
    VEC(struct entry) entries;
    uint32_t *slots; /* entry index + 1, 0 = empty */
    size_t slot_count;
};

struct map *map_new(void)
{
    struct map *m = mem_new(sizeof *m);
    m->keys = arena_new();
    m->slot_count = 16;
    m->slots = mem_new(m->slot_count * sizeof *m->slots);
    return m;
}

void map_free(struct map *m)
{
    if (!m) return;
    arena_free(m->keys);
    vec_free(&m->entries);
    mem_free(m->slots);
    mem_free(m);
}

/* The slot that holds the key, or the empty one where it belongs. */
static size_t find_slot(const struct map *m, const void *key, size_t n, uint64_t hash)
{
    size_t mask = m->slot_count - 1, at = (size_t)hash & mask;
    for (; m->slots[at]; at = (at + 1) & mask) {
        const struct entry *e = &m->entries.p[m->slots[at] - 1];
        if (e->hash == hash && e->n == n && memcmp(e->key, key, n) == 0) break;
    }
    return at;
}

static void grow_slots(struct map *m)
{
    mem_free(m->slots);
    m->slot_count *= 2;
    m->slots = mem_new(m->slot_count * sizeof *m->slots);
    size_t mask = m->slot_count - 1;
    for (size_t i = 0; i < m->entries.n; i++) {
        size_t at = (size_t)m->entries.p[i].hash & mask;
        while (m->slots[at]) at = (at + 1) & mask;
        m->slots[at] = (uint32_t)i + 1;
    }
}

void map_put_bytes(struct map *m, const void *key, size_t n, void *value)
{
    if (n == 0) key = "";
    uint64_t hash = hash_u64(key, n, 0);
    size_t at = find_slot(m, key, n, hash);
    if (m->slots[at]) {
        m->entries.p[m->slots[at] - 1].value = value;
        return;
    }
    struct entry e = {.key = arena_strndup(m->keys, key, n), .n = n, .hash = hash, .value = value};
    vec_push(&m->entries, e);
    QN_CHECK(m->entries.n < UINT32_MAX, "map of %zu entries", m->entries.n);
    m->slots[at] = (uint32_t)m->entries.n;
    if (m->entries.n * 3 > m->slot_count * 2) grow_slots(m);
}

void *map_get_bytes(const struct map *m, const void *key, size_t n)
{
    if (n == 0) key = "";
    uint32_t i = m->slots[find_slot(m, key, n, hash_u64(key, n, 0))];
    return i ? m->entries.p[i - 1].value : NULL;
}

void map_put(struct map *m, const char *key, void *value)
{
    map_put_bytes(m, key, strlen(key), value);
}

void *map_get(const struct map *m, const char *key) { return map_get_bytes(m, key, strlen(key)); }

size_t map_count(const struct map *m) { return m->entries.n; }

const char *map_key(const struct map *m, size_t i)
{
    QN_CHECK(i < m->entries.n, "map entry %zu of %zu", i, m->entries.n);
    return m->entries.p[i].key;
}

void *map_value(const struct map *m, size_t i)
{
    QN_CHECK(i < m->entries.n, "map entry %zu of %zu", i, m->entries.n);
    return m->entries.p[i].value;
}
