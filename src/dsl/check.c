/* check: what can be said about an operator before a task is: names, ranks, arities, order.
 *
 *     y[n] = x[m]     ->  unknown name 'm' (did you mean 'n'?)
 *
 * Invariants: after check_file every name in every branch resolves, every call has its arity, every
 * read its rank, values are used only after their definition, and defs call only earlier defs (no
 * recursion). Types, ranges and cover depend on the task and are checked when it is lowered. */
#include <stdio.h>
#include <string.h>

#include "dsl/check_int.h"

bool check_fail(struct checker *c, int line, int col, const char *code, const char *msg,
                const char *name)
{
    dsl_error(c->e, c->f, line, col, code, msg, name);
    return false;
}

const struct item *body_find(const struct body *b, enum item_kind kind, const char *name)
{
    for (int i = 0; i < b->n; i++)
        if (b->item[i]->kind == kind && strcmp(b->item[i]->name ? b->item[i]->name : "", name) == 0)
            return b->item[i];
    return NULL;
}

const struct algorithm *operator_algorithm(const struct operator* op, const char *name)
{
    for (int i = 0; i < op->nalgorithm; i++)
        if (strcmp(op->algorithm[i]->name, name) == 0) return op->algorithm[i];
    return NULL;
}

bool check_is_value(const struct item *it)
{
    return it->kind == ITEM_ATTR || it->kind == ITEM_LET || it->kind == ITEM_DYN;
}

bool check_is_symbol(const struct operator* op, const char *name)
{
    static const char *const TOLS[] = {"default", "tight", "loose"};
    for (int i = 0; i < 3; i++)
        if (strcmp(TOLS[i], name) == 0) return true;
    for (int i = 0; i < op->body.n; i++)
        for (int k = 0; op->body.item[i]->kind == ITEM_ATTR && k < op->body.item[i]->nname; k++)
            if (strcmp(op->body.item[i]->names[k], name) == 0) return true;
    for (int a = 0; a < op->nalgorithm; a++)
        for (int p = 0; p < op->algorithm[a]->nparam; p++)
            for (int k = 0; k < op->algorithm[a]->param[p]->nname; k++)
                if (strcmp(op->algorithm[a]->param[p]->names[k], name) == 0) return true;
    return false;
}

bool check_knows_value(const struct checker *c, const char *name)
{
    for (int i = 0; i < c->nlocal; i++)
        if (strcmp(c->local[i], name) == 0) return true;
    for (int i = 0; i < c->op->nextent; i++)
        if (strcmp(c->op->extent[i], name) == 0) return true;
    for (int i = 0; i < c->nseen; i++)
        if (check_is_value(c->seen[i]) && strcmp(c->seen[i]->name, name) == 0) return true;
    return strcmp(name, "tol") == 0 || strcmp(name, "inf") == 0 || strcmp(name, "pi") == 0;
}

static bool unknown_value(struct checker *c, const struct node *n)
{
    const char *names[SEEN_MAX + LOCALS_MAX + OP_EXTENTS];
    char hint[96];
    int count = 0;
    for (int i = 0; i < c->nhidden; i++)
        if (strcmp(c->local[i], n->name) == 0)
            return check_fail(c, n->line, n->col, "dsl.not_const",
                              "'%s' is an index; this must be known with the task (a choice "
                              "for each element is select(condition, a, b))",
                              n->name);
    for (int i = 0; i < c->nlocal; i++) names[count++] = c->local[i];
    for (int i = 0; i < c->op->nextent; i++) names[count++] = c->op->extent[i];
    for (int i = 0; i < c->nall; i++)
        if (check_is_value(c->all[i])) {
            if (strcmp(c->all[i]->name, n->name) == 0)
                return check_fail(c, n->line, n->col, "dsl.order",
                                  "'%s' is used before it is defined", n->name);
            names[count++] = c->all[i]->name;
        }
    did_you_mean(hint, sizeof hint, n->name, names, (size_t)count);
    bool key = c->size; /* of an output alone: nothing else makes it an extent */
    dsl_error(c->e, c->f, n->line, n->col, "dsl.unknown_name", "unknown name '%s'%s%s%s", n->name,
              hint,
              key ? "; a size that stands alone in no in or const tensor is a key: attr " : "",
              key ? n->name : "");
    return false;
}

/* Rank of a tensor or table, -1 if there is none of this name. */
int check_rank_of(const struct checker *c, const char *name)
{
    for (int i = 0; i < c->nall; i++) {
        const struct item *it = c->all[i];
        if ((it->kind == ITEM_TENSOR || it->kind == ITEM_TABLE) && strcmp(it->name, name) == 0)
            return it->rank;
    }
    for (int i = 0; i < c->nall; i++)
        for (int r = 0; c->all[i]->kind == ITEM_EQUATION && r < c->all[i]->nref; r++)
            if (strcmp(c->all[i]->ref[r].name, name) == 0) return c->all[i]->ref[r].n;
    return -1;
}

static bool check_nodes(struct checker *c, const struct node *n)
{
    for (int i = 0; i < n->n; i++)
        if (!check_node(c, n->a[i])) return false;
    return true;
}

static bool check_read(struct checker *c, const struct node *n)
{
    if (!c->data)
        return check_fail(c, n->line, n->col, "dsl.not_const",
                          "'%s[...]' is data; this must be known before the data is", n->name);
    int rank = check_rank_of(c, n->name);
    if (rank < 0) {
        const char *names[SEEN_MAX];
        char hint[96];
        int count = 0;
        for (int i = 0; i < c->nall; i++)
            if (c->all[i]->kind == ITEM_TENSOR || c->all[i]->kind == ITEM_TABLE ||
                c->all[i]->kind == ITEM_EQUATION)
                names[count++] = c->all[i]->name;
        did_you_mean(hint, sizeof hint, n->name, names, (size_t)count);
        dsl_error(c->e, c->f, n->line, n->col, "dsl.unknown_tensor", "there is no tensor '%s'%s",
                  n->name, hint);
        return false;
    }
    if (rank != n->n) {
        dsl_error(c->e, c->f, n->line, n->col, "dsl.rank",
                  "'%s' has rank %d and is read with %d subscripts", n->name, rank, n->n);
        return false;
    }
    return check_nodes(c, n);
}

static bool is_dtype_attr(const struct checker *c, const char *name)
{
    enum dtype d;
    for (int i = 0; i < c->nseen; i++) {
        const struct item *it = c->seen[i];
        if (it->kind == ITEM_ATTR && strcmp(it->name, name) == 0)
            return it->nname > 0 && dtype_parse(it->names[0], strlen(it->names[0]), &d);
    }
    return false;
}

bool check_is_type(const struct checker *c, const char *name)
{
    enum dtype d;
    return dtype_parse(name, strlen(name), &d) || is_dtype_attr(c, name);
}

bool check_bad_arity(struct checker *c, const struct node *n, int want)
{
    dsl_error(c->e, c->f, n->line, n->col, "dsl.arity", "%s takes %d argument%s, not %d", n->name,
              want, want == 1 ? "" : "s", n->n);
    return false;
}

static bool check_cast(struct checker *c, const struct node *n)
{
    static const char *const WORDS[] = {"sat", "round_even", "round_away"};
    if (n->n < 1 || n->n > 3)
        return check_fail(
            c, n->line, n->col, "dsl.arity",
            "a cast is %s(value), or with sat, round_even, round_away after the value", n->name);
    for (int i = 1; i < n->n; i++) {
        bool known = false;
        for (int k = 0; k < 3 && n->a[i]->kind == NODE_NAME; k++)
            known |= strcmp(WORDS[k], n->a[i]->name) == 0;
        if (!known)
            return check_fail(c, n->a[i]->line, n->a[i]->col, "dsl.cast",
                              "the modes of a cast are sat, round_even and round_away%s", "");
    }
    return check_node(c, n->a[0]);
}

static bool check_call(struct checker *c, const struct node *n)
{
    int arity = 0;
    if (check_is_type(c, n->name)) return check_cast(c, n);
    for (int i = 0; i < c->nseen; i++) {
        if (c->seen[i]->kind != ITEM_DEF || strcmp(c->seen[i]->name, n->name) != 0) continue;
        return n->n == c->seen[i]->nname ? check_nodes(c, n)
                                         : check_bad_arity(c, n, c->seen[i]->nname);
    }
    if (builtin_op(n->name, &arity) != OP_COUNT || builtin_is_special(n->name, &arity)) {
        if (n->n != arity) return check_bad_arity(c, n, arity);
        bool typed = strcmp(n->name, "bitcast") == 0 || strcmp(n->name, "lowest") == 0 ||
                     strcmp(n->name, "highest") == 0;
        if (!typed) return check_nodes(c, n);
        if (n->a[0]->kind != NODE_NAME || !check_is_type(c, n->a[0]->name))
            return check_fail(c, n->a[0]->line, n->a[0]->col, "dsl.dtype",
                              "the first argument of %s is a dtype", n->name);
        return n->n < 2 || check_node(c, n->a[1]);
    }
    const char *names[SEEN_MAX + 64];
    char hint[96];
    int count = 0;
    const char *const *builtins = builtin_names(&count);
    memcpy(names, builtins, (size_t)count * sizeof *names);
    for (int i = 0; i < c->nseen; i++)
        if (c->seen[i]->kind == ITEM_DEF) names[count++] = c->seen[i]->name;
    static const struct {
        const char *theirs, *ours;
    } words[] = {{"pow", "; write x*x, or exp(a*log(x))"},
                 {"where", "; write select(condition, then, else)"},
                 {"relu", "; write max(x, 0)"},
                 {"rsqrt", "; write 1 / sqrt(x)"},
                 {"mean", "; write (sum(k:K) x[k]) / K"},
                 {"avg", "; write (sum(k:K) x[k]) / K"}};
    did_you_mean(hint, sizeof hint, n->name, names, (size_t)count);
    for (size_t i = 0; i < QN_COUNT(words); i++)
        if (strcmp(words[i].theirs, n->name) == 0) snprintf(hint, sizeof hint, "%s", words[i].ours);
    dsl_error(c->e, c->f, n->line, n->col, "dsl.unknown_function", "there is no function '%s'%s",
              n->name, hint);
    return false;
}

bool check_push_local(struct checker *c, const char *name, int line, int col)
{
    if (c->nlocal == LOCALS_MAX)
        return check_fail(c, line, col, "dsl.limit", "too many index names at '%s'", name);
    for (int i = 0; i < c->nlocal; i++)
        if (strcmp(c->local[i], name) == 0)
            return check_fail(c, line, col, "dsl.duplicate",
                              "the index '%s' is already in use here", name);
    for (int i = 0; i < c->nseen; i++)
        if (check_is_value(c->seen[i]) && strcmp(c->seen[i]->name, name) == 0)
            return check_fail(c, line, col, "dsl.duplicate",
                              "'%s' is the name of a key or let; take another index name", name);
    for (int i = 0; i < c->op->nextent; i++)
        if (strcmp(c->op->extent[i], name) == 0)
            return check_fail(c, line, col, "dsl.duplicate",
                              "'%s' is the name of an extent; take another index name", name);
    c->local[c->nlocal++] = name;
    return true;
}

/* Bounds are known with the task: no data, no indices. */
bool check_const(struct checker *c, const struct node *n)
{
    if (!n) return true;
    bool data = c->data;
    int locals = c->nlocal;
    c->data = false;
    c->nlocal = 0;
    c->nhidden = locals;
    bool ok = check_node(c, n);
    c->data = data;
    c->nlocal = locals;
    c->nhidden = 0;
    return ok;
}

bool check_size(struct checker *c, const struct node *n)
{
    c->size = true;
    bool ok = check_const(c, n);
    c->size = false;
    return ok;
}

static bool check_reduce(struct checker *c, const struct node *n)
{
    if (!c->data)
        return check_fail(c, n->line, n->col, "dsl.not_const",
                          "'%s(...)' reduces data; this must be known before the data is", n->name);
    int locals = c->nlocal, t = n->ntuple;
    for (int i = 0; i < n->nrange; i++)
        if (!check_size(c, n->range[i].lo) || !check_size(c, n->range[i].hi)) return false;
    for (int i = 0; i < n->nrange; i++)
        if (!check_push_local(c, n->range[i].name, n->range[i].line, n->range[i].col)) return false;
    for (int i = 0; i < t; i++)
        if (!check_node(c, n->a[i])) return false;
    c->nlocal = locals;
    if (n->n == 1) return true;
    const char *kept[LOCALS_MAX]; /* a combine sees its two tuples and nothing else of the data */
    memcpy(kept, c->local, sizeof kept);
    c->nlocal = 0;
    c->data = false;
    bool ok = true;
    for (int i = 0; i < t && ok; i++) ok = check_push_local(c, n->lhs[i], n->line, n->col);
    for (int i = 0; i < t && ok; i++) ok = check_push_local(c, n->rhs[i], n->line, n->col);
    for (int i = t; i < 3 * t && ok; i++)
        ok = i < 2 * t ? check_node(c, n->a[i]) : check_const(c, n->a[i]);
    c->data = true;
    c->nlocal = locals;
    memcpy(c->local, kept, sizeof kept);
    return ok;
}

bool check_node(struct checker *c, const struct node *n)
{
    switch (n->kind) {
    case NODE_INT:
    case NODE_REAL:
        return true;
    case NODE_NAME:
        if (check_knows_value(c, n->name) || check_is_symbol(c->op, n->name)) return true;
        if (!c->data && check_rank_of(c, n->name) >= 0)
            return check_fail(c, n->line, n->col, "dsl.not_const",
                              "'%s' is data; this must be known before the data is", n->name);
        return unknown_value(c, n);
    case NODE_CALL:
        if (strncmp(n->name, "cook_toom_", 10) == 0)
            return check_fail(c, n->line, n->col, "dsl.table",
                              "%s makes a table: table NAME[...]: f32 = ...", n->name);
        return check_call(c, n);
    case NODE_READ:
        return check_read(c, n);
    case NODE_REDUCE:
        return check_reduce(c, n);
    case NODE_CASE:
        for (int i = 0; i < n->n; i++)
            if (!(i % 2 == 0 && i + 1 < n->n ? check_const(c, n->a[i]) : check_node(c, n->a[i])))
                return false;
        return true;
    default:
        return check_nodes(c, n);
    }
}
