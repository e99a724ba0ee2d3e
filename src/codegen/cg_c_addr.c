/* cg_c_addr: addresses that several accesses of one block share.
 *
 *   w[i*64 + k], w[i*64 + k + 16]
 *     ->  const float *w_1 = &w[i * 64 + k]; QN_FIX(w_1);   w_1[0], w_1[16]
 *
 * Why: clang turns sums into disjoint ors with a register each, and moves loads of one address
 * across blocks until nothing fits; a pointer it cannot look through leaves displacements, and
 * keeps each block to itself, as machine code from the nest is.
 *
 * Invariant: the pointer is that of an element really accessed where it is declared, so no address
 * outside an array is ever formed. */
#include <string.h>

#include "base/map.h"
#include "codegen/cg_c.h"

/* at without its constant term, which goes to *k. */
static const struct expr *split(struct cc *c, const struct expr *at, int64_t *k)
{
    struct linear l;
    *k = 0;
    if (!linear_of(at, &l)) return at;
    *k = l.c;
    l.c = 0;
    return linear_expr(c->ir, &l);
}

static struct cc_address *address_of(struct cc *c, const struct tensor *t, const struct expr *base,
                                     bool add)
{
    uint32_t key[2] = {t->id, base->id};
    struct cc_address *a = map_get_bytes(c->addresses, key, sizeof key);
    if (a || !add) return a;
    a = ARENA_NEW(c->a, struct cc_address);
    map_put_bytes(c->addresses, key, sizeof key, a);
    return a;
}

static bool shares(struct cc *c, const struct tensor *t)
{
    return c->vector && t->scope != SCOPE_REG && t->scope != SCOPE_STACK && t->scope != SCOPE_TABLE;
}

void cc_count_address(struct cc *c, const struct tensor *t, const struct expr *at)
{
    int64_t k = 0;
    if (at->type.lanes > 1) at = at->op == OP_RAMP ? at->a[0] : NULL;
    if (!at || !shares(c, t)) return;
    const struct expr *base = split(c, at, &k);
    if (base->n == 0) return;
    struct cc_address *a = address_of(c, t, base, true);
    if (a->stamp != c->region) a->uses = 0;
    a->stamp = c->region;
    a->uses++;
}

static const char *element(struct cc *c, const char *p, int64_t k)
{
    return cc_fmt(c, "%s[%lld]", p, (long long)k);
}

const char *cc_at(struct cc *c, const struct tensor *t, const struct expr *at, int64_t extra)
{
    int64_t k = 0;
    const struct expr *base = shares(c, t) && !c->guarded ? split(c, at, &k) : NULL;
    struct cc_address *a = base ? address_of(c, t, base, false) : NULL;
    if (a && a->name && a->fn == c->fn->serial && c->scope_open.p[a->scope])
        return element(c, a->name, k + extra - a->k);
    const char *text = cc_expr(c, at);
    if (extra)
        text = cc_fmt(c, "%s %c %lld", cc_bare(c, text), extra < 0 ? '-' : '+',
                      (long long)(extra < 0 ? -extra : extra));
    const char *first = cc_element(c, t, text);
    if (!a || a->stamp != c->region || a->uses < 2 || c->lane) return first;
    bool reads = t->scope == SCOPE_IN || t->scope == SCOPE_CONST ||
                 (t->scope == SCOPE_PACKED && !c->packing);
    const char *name = cc_name(c, cc_fmt(c, "%s_1", t->name));
    cc_line(c, "%s%s *%s = &%s;", reads ? "const " : "", cc_memory_type((enum dtype)t->type.dtype),
            name, first);
    cc_line(c, "QN_FIX(%s);", name);
    *a = (struct cc_address){name, c->fn->serial, c->fn->scope, a->stamp, a->uses, k + extra};
    return element(c, name, 0);
}
