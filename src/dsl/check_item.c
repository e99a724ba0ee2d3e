/* check_item: attributes, tensors, tables, defs, equations, and the order they stand in.
 *
 *     out y[N]: f32   x[n] = 0     ->  'x' is not an out or temp tensor and cannot be defined
 *
 * Invariant: an item sees the values and defs before it and all tensors of its body. */
#include <stdio.h>
#include <string.h>

#include "dsl/check_int.h"

/* ---- items ----------------------------------------------------------------------------------- */

static bool check_names_once(struct checker *c, const struct item *it)
{
    for (int i = 0; i < c->nseen; i++) {
        const struct item *o = c->seen[i];
        bool both_values = (check_is_value(o) || o->kind == ITEM_SHORT) &&
                           (check_is_value(it) || it->kind == ITEM_SHORT);
        bool both_tensors = (o->kind == ITEM_TENSOR || o->kind == ITEM_TABLE) &&
                            (it->kind == ITEM_TENSOR || it->kind == ITEM_TABLE);
        bool both_defs = o->kind == ITEM_DEF && it->kind == ITEM_DEF;
        if (!(both_values || both_tensors || both_defs) || strcmp(o->name, it->name) != 0) continue;
        if (both_tensors && o->when && it->when) {
            if (o->rank != it->rank)
                return check_fail(
                    c, it->line, it->col, "dsl.rank",
                    "both declarations of '%s' must have the same number of dimensions", it->name);
            continue; /* which one holds depends on the task */
        }
        return check_fail(c, it->line, it->col, "dsl.duplicate", "'%s' is defined twice", it->name);
    }
    int arity = 0;
    bool taken =
        it->kind == ITEM_DEF &&
        (builtin_op(it->name, &arity) != OP_COUNT || builtin_is_special(it->name, &arity) ||
         builtin_is_reduce(it->name) || check_is_type(c, it->name));
    if (taken)
        return check_fail(c, it->line, it->col, "dsl.duplicate",
                          "'%s' is a function of the language", it->name);
    if ((check_is_value(it) || it->kind == ITEM_SHORT) && strcmp(it->name, "tol") == 0)
        return check_fail(c, it->line, it->col, "dsl.duplicate", "'%s' is a key of every operator",
                          it->name);
    for (int i = 0; check_is_value(it) && i < c->op->nextent; i++)
        if (strcmp(c->op->extent[i], it->name) == 0)
            return check_fail(c, it->line, it->col, "dsl.duplicate", "'%s' is already an extent",
                              it->name);
    return true;
}

static bool check_attr(struct checker *c, const struct item *it)
{
    for (int i = 0; i < it->nchoice; i++)
        if (!check_const(c, it->choice[i])) return false;
    bool symbol = it->attr == ATTR_SYMBOL && it->def && it->def->kind != NODE_CASE, known = !symbol;
    for (int i = 0; symbol && i < it->nname && it->def->kind == NODE_NAME; i++)
        known |= strcmp(it->names[i], it->def->name) == 0;
    if (!known)
        return check_fail(c, it->def->line, it->def->col, "dsl.domain",
                          "the default of '%s' is not in its domain", it->name);
    return check_const(c, it->def) && check_const(c, it->lo) && check_const(c, it->hi);
}

static bool check_short(struct checker *c, const struct item *it)
{
    for (int k = 0; k < it->nname; k++) {
        const struct item *target = NULL;
        for (int i = 0; i < c->nseen; i++)
            if (c->seen[i]->kind == ITEM_ATTR && strcmp(c->seen[i]->name, it->names[k]) == 0)
                target = c->seen[i];
        if (!target)
            return check_fail(c, it->line, it->col, "dsl.short",
                              "a short key stands for attributes defined before it; '%s' is none",
                              it->names[k]);
        if (target->attr == ATTR_SYMBOL)
            return check_fail(c, it->line, it->col, "dsl.short",
                              "a short key stands for numbers; '%s' is a symbol", it->names[k]);
    }
    return true;
}

static bool check_dtype(struct checker *c, const struct item *it)
{
    char hint[160];
    const char *names[TYPE_COUNT];
    if (check_is_type(c, it->type)) return true;
    for (int d = 0; d < TYPE_COUNT; d++) names[d] = dtype_name((enum dtype)d);
    did_you_mean(hint, sizeof hint, it->type, names, TYPE_COUNT);
    size_t at = *hint ? sizeof hint : (size_t)snprintf(hint, sizeof hint, "; there are");
    for (int d = 0; d < TYPE_COUNT && at < sizeof hint; d++)
        at += (size_t)snprintf(hint + at, sizeof hint - at, " %s", names[d]);
    dsl_error(c->e, c->f, it->line, it->col, "dsl.dtype",
              "'%s' is not a dtype or an attribute of dtypes%s", it->type, hint);
    return false;
}

static bool check_tensor(struct checker *c, const struct item *it, bool in_algorithm)
{
    if (in_algorithm && it->scope != SCOPE_TEMP)
        return check_fail(c, it->line, it->col, "dsl.algorithm",
                          "an algorithm declares temps only; '%s' belongs to the operator",
                          it->name);
    for (int d = 0; d < it->rank; d++)
        if (!check_size(c, it->extent[d])) return false;
    if (!check_dtype(c, it)) return false;
    if (!check_const(c, it->lo) || !check_const(c, it->hi) || !check_const(c, it->when))
        return false;
    for (int s = 0; s < it->nstore; s++) {
        const struct store_clause *cl = &it->store[s];
        if (!check_const(c, cl->when)) return false;
        for (int t = 0; t < cl->n; t++) {
            const struct store_term *term = &cl->term[t];
            int found = term->dim ? 0 : term->pos >= 0 && term->pos < it->rank;
            for (int d = 0; term->dim && d < it->rank; d++)
                found +=
                    it->extent[d]->kind == NODE_NAME && strcmp(it->extent[d]->name, term->dim) == 0;
            if (found != 1)
                return check_fail(c, term->line, term->col, "dsl.store",
                                  "'%s' does not name one dimension; dimensions without a name of "
                                  "their own are written 0, 1, ...",
                                  term->dim ? term->dim : "this number");
            if (term->arg && !check_const(c, term->arg)) return false;
        }
    }
    return true;
}

static bool check_table(struct checker *c, const struct item *it)
{
    for (int d = 0; d < it->rank; d++)
        if (!check_size(c, it->extent[d])) return false;
    if (!check_dtype(c, it)) return false;
    if (it->def->kind != NODE_CALL || strncmp(it->def->name, "cook_toom_", 10) != 0)
        return check_const(c, it->def);
    const char *which = it->def->name + 10;
    if (strcmp(which, "at") != 0 && strcmp(which, "g") != 0 && strcmp(which, "bt") != 0)
        return check_fail(
            c, it->def->line, it->def->col, "dsl.unknown_function",
            "there is no function '%s'; there are cook_toom_at, cook_toom_g and cook_toom_bt",
            it->def->name);
    if (it->def->n != 3) return check_bad_arity(c, it->def, 3);
    for (int i = 0; i < 3; i++)
        if (!check_const(c, it->def->a[i])) return false;
    return true;
}

static bool check_def(struct checker *c, const struct item *it)
{
    c->nlocal = 0;
    for (int i = 0; i < it->nname; i++)
        if (!check_push_local(c, it->names[i], it->line, it->col)) return false;
    c->data = true;
    bool ok = check_node(c, it->value);
    c->data = false;
    c->nlocal = 0;
    return ok;
}

/* Index names on the left: a bare unknown name is one, wherever it stands in an affine
 * subscript. */
static bool collect_indices(struct checker *c, const struct node *n)
{
    if (n->kind == NODE_NAME && !check_knows_value(c, n->name))
        return check_push_local(c, n->name, n->line, n->col);
    for (int i = 0; i < n->n; i++)
        if (!collect_indices(c, n->a[i])) return false;
    return true;
}

static bool check_target(struct checker *c, const struct ref_item *r)
{
    bool declared = false;
    for (int i = 0; i < c->nall; i++) {
        const struct item *it = c->all[i];
        if (it->kind != ITEM_TENSOR && it->kind != ITEM_TABLE) continue;
        if (strcmp(it->name, r->name) != 0) continue;
        declared = true;
        if (it->scope != SCOPE_OUT && it->scope != SCOPE_TEMP)
            return check_fail(c, r->line, r->col, "dsl.read_only",
                              "'%s' is not an out or temp tensor and cannot be defined", r->name);
    }
    if (check_rank_of(c, r->name) != r->n) {
        dsl_error(c->e, c->f, r->line, r->col, "dsl.rank",
                  "'%s' has rank %d and is defined with %d subscripts", r->name,
                  check_rank_of(c, r->name), r->n);
        return false;
    }
    for (int i = 0; i < r->n && !declared; i++)
        if (r->sub[i].e->kind != NODE_NAME)
            return check_fail(c, r->sub[i].e->line, r->sub[i].e->col, "dsl.undeclared",
                              "declare temp %s[...]: only a temp whose subscripts are plain "
                              "indices is declared by its equation",
                              r->name);
    return true;
}

static int values_of(const struct node *n)
{
    if (n->kind != NODE_REDUCE) return 1;
    return strncmp(n->name, "arg", 3) == 0 ? 2 : n->ntuple;
}

static bool check_equation(struct checker *c, const struct item *it)
{
    c->nlocal = 0;
    int gives = values_of(it->value);
    if (it->nref > 1 && gives != it->nref) {
        dsl_error(c->e, c->f, it->value->line, it->value->col, "dsl.tuple",
                  "the left side has %d targets; only a reduction of %d values defines them",
                  it->nref, it->nref);
        return false;
    }
    for (int i = 0; i < it->nrange; i++) {
        if (!check_size(c, it->range[i].lo) || !check_size(c, it->range[i].hi)) return false;
        if (!check_push_local(c, it->range[i].name, it->range[i].line, it->range[i].col))
            return false;
    }
    for (int r = 0; r < it->nref; r++) {
        if (!check_target(c, &it->ref[r])) return false;
        if (it->ref[r].n != it->ref[0].n)
            return check_fail(c, it->ref[r].line, it->ref[r].col, "dsl.tuple",
                              "all targets of a tuple have the same subscripts as '%s'",
                              it->ref[0].name);
        for (int i = 0; i < it->ref[r].n; i++) {
            const struct sub_item *s = &it->ref[r].sub[i];
            if (r == 0 && !collect_indices(c, s->e)) return false;
            if (r > 0 && !node_equal(s->e, it->ref[0].sub[i].e))
                return check_fail(c, s->e->line, s->e->col, "dsl.tuple",
                                  "all targets of a tuple have the same subscripts as '%s'",
                                  it->ref[0].name);
            if (!check_size(c, s->range.lo) || !check_size(c, s->range.hi)) return false;
        }
    }
    if (it->scan && it->nref > 1)
        return check_fail(c, it->scan_line, it->scan_col, "dsl.scan",
                          "a scan along '%s' defines one tensor", it->scan);
    bool index = !it->scan;
    for (int i = it->nrange; i < c->nlocal && !index; i++)
        index = strcmp(c->local[i], it->scan) == 0;
    for (int i = 0; i < it->nrange && !index; i++) index = strcmp(it->range[i].name, it->scan) == 0;
    if (!index)
        return check_fail(c, it->scan_line, it->scan_col, "dsl.scan",
                          "'%s' is no index of the left side", it->scan);
    c->data = true;
    bool ok = true;
    for (int i = 0; i < it->ref[0].n && ok; i++) ok = check_node(c, it->ref[0].sub[i].e);
    ok = ok && check_node(c, it->value);
    c->data = false;
    c->nlocal = 0;
    return ok && check_const(c, it->when);
}

static bool check_item(struct checker *c, const struct item *it, bool in_algorithm)
{
    if (!check_names_once(c, it)) return false;
    if (in_algorithm && (it->kind == ITEM_ATTR || it->kind == ITEM_SHORT || it->kind == ITEM_DYN))
        return check_fail(c, it->line, it->col, "dsl.algorithm",
                          "keys belong to the operator; '%s' could be a parameter of the algorithm",
                          it->name);
    switch (it->kind) {
    case ITEM_ATTR:
        return check_attr(c, it);
    case ITEM_SHORT:
        return check_short(c, it);
    case ITEM_DYN:
        return true;
    case ITEM_LET:
    case ITEM_REQUIRE:
        return check_const(c, it->def);
    case ITEM_TENSOR:
        return check_tensor(c, it, in_algorithm);
    case ITEM_TABLE:
        return check_table(c, it);
    case ITEM_DEF:
        return check_def(c, it);
    case ITEM_EQUATION:
        return check_equation(c, it);
    }
    return false;
}

static bool check_body(struct checker *c, const struct body *b, bool in_algorithm)
{
    for (int i = 0; i < b->n; i++) {
        if (!check_item(c, b->item[i], in_algorithm)) return false;
        c->seen[c->nseen++] = b->item[i];
    }
    return true;
}

/* Extents are names that stand alone in the shape of an in or const tensor and are nothing else. */
static bool collect_extents(struct checker *c)
{
    struct operator* op = c->op;
    for (int i = 0; i < op->body.n; i++) {
        const struct item *it = op->body.item[i];
        if (it->kind != ITEM_TENSOR || (it->scope != SCOPE_IN && it->scope != SCOPE_CONST))
            continue;
        for (int d = 0; d < it->rank; d++) {
            const struct node *n = it->extent[d];
            bool known = n->kind != NODE_NAME;
            for (int k = 0; k < op->body.n && !known; k++)
                known = check_is_value(op->body.item[k]) &&
                        strcmp(op->body.item[k]->name, n->name) == 0;
            for (int k = 0; k < op->nextent && !known; k++)
                known = strcmp(op->extent[k], n->name) == 0;
            if (known) continue;
            if (op->nextent == OP_EXTENTS)
                return check_fail(c, n->line, n->col, "dsl.limit", "too many extents at '%s'",
                                  n->name);
            op->extent[op->nextent++] = n->name;
        }
    }
    return true;
}

static bool link_algorithms(struct checker *c)
{
    struct op_file *f = c->f;
    for (int i = 0; i < f->nalgorithm; i++) {
        struct algorithm *al = f->algorithm[i];
        struct operator* op = NULL;
        for (int k = 0; k < f->nop; k++)
            if (strcmp(f->op[k]->name, al->op) == 0) op = f->op[k];
        if (!op)
            return check_fail(c, al->line, al->col, "dsl.unknown_op",
                              "there is no operator '%s' in this file", al->op);
        if (strcmp(al->name, "direct") == 0 || operator_algorithm(op, al->name))
            return check_fail(
                c, al->line, al->col, "dsl.duplicate",
                "the operator already has an algorithm '%s' (its own body is 'direct')", al->name);
        if (op->nalgorithm == OP_ALGORITHMS)
            return check_fail(c, al->line, al->col, "dsl.limit", "too many algorithms for '%s'",
                              op->name);
        op->algorithm[op->nalgorithm++] = al;
    }
    return true;
}

static void add_all(struct checker *c, const struct body *b, bool equations)
{
    for (int i = 0; i < b->n; i++)
        if (equations || b->item[i]->kind != ITEM_EQUATION) c->all[c->nall++] = b->item[i];
}

static bool check_operator(struct checker *c, struct operator* op)
{
    c->op = op;
    c->nseen = c->nall = 0;
    if (!collect_extents(c)) return false;
    add_all(c, &op->body, true);
    if (!check_body(c, &op->body, false)) return false;
    bool out = false;
    for (int i = 0; i < op->body.n; i++)
        out |= op->body.item[i]->kind == ITEM_TENSOR && op->body.item[i]->scope == SCOPE_OUT;
    if (!out)
        return check_fail(c, op->line, op->col, "dsl.no_output",
                          "the operator '%s' has no out tensor", op->name);
    for (int a = 0; a < op->nalgorithm; a++) {
        const struct algorithm *al = op->algorithm[a];
        c->nseen = c->nall = 0;
        add_all(c, &op->body, false);
        add_all(c, &al->body, true);
        for (int i = 0; i < op->body.n; i++)
            if (op->body.item[i]->kind != ITEM_EQUATION) c->seen[c->nseen++] = op->body.item[i];
        if (!check_const(c, al->when)) return false;
        for (int i = 0; i < al->nparam; i++) {
            if (!check_names_once(c, al->param[i]) || !check_attr(c, al->param[i])) return false;
            if (!al->param[i]->def)
                return check_fail(c, al->param[i]->line, al->param[i]->col, "dsl.algorithm",
                                  "the parameter '%s' needs a default", al->param[i]->name);
            c->seen[c->nseen++] = al->param[i];
        }
        if (!check_body(c, &al->body, true)) return false;
    }
    return true;
}

enum rc check_file(struct op_file *f, struct err *e)
{
    struct err own = {0};
    struct checker *c = ARENA_NEW(f->arena, struct checker);
    c->f = f;
    c->e = e ? e : &own;
    if (!link_algorithms(c)) return RC_INPUT;
    for (int i = 0; i < f->nop; i++) {
        for (int k = 0; k < i; k++)
            if (strcmp(f->op[k]->name, f->op[i]->name) == 0) {
                check_fail(c, f->op[i]->line, f->op[i]->col, "dsl.duplicate",
                           "the operator '%s' is defined twice", f->op[i]->name);
                return RC_INPUT;
            }
        if (!check_operator(c, f->op[i])) return RC_INPUT;
    }
    return RC_OK;
}
