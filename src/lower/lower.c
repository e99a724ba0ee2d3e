/* From a scheduled nest to a kernel, told in order. Each pass has its own file, which says what it
 * requires, what it provides, and shows an example.
 *
 *   struct kernel k;
 *   if (lower(nest, target, &opt, &k, &e) != RC_OK) ...   e.code "lower.*": this candidate is
 *                                                         rejected
 *
 * Invariants: the nest means the same after every pass up to rounding (fused multiply-add,
 * reassociated vector sums, expanded transcendentals); lower_naive runs none of the passes that
 * change shape but its own (rows.c), so that what is checked against it was made by other code. */
#include <stdlib.h>
#include <string.h>

#include "lower/private.h"

struct step {
    const char *name;
    enum rc (*run)(struct low *l);
    enum nest_stage stage; /* what nest_verify may expect afterwards */
};

/* Starts of reductions as stores: before any guard on a term may skip the reduction. */
enum rc pass_inits(struct low *l)
{
    nest_place_inits(l->n);
    return RC_OK;
}

/* Once dead code is gone, a copy of a loop may read a temporary whose writer could never run
 * (nothing uses what it reads): the order rule I3 of scheduled nests no longer says anything. */
static enum rc check(struct low *l, const struct step *s)
{
    enum rc rc = nest_verify(l->n, s->stage, l->e);
    if (rc == RC_OK || (strcmp(l->e->code, "verify.I3") == 0 && l->dead_code_gone)) return RC_OK;
    return err_wrap(l->e, "after pass %s", s->name);
}

static enum rc run_step(struct low *l, const struct step *s, struct buf *before)
{
    const struct lower_options *o = l->o;
    if (o->dump) {
        buf_reset(before);
        nest_print(before, l->n);
    }
    enum rc rc = s->run(l);
    if (rc != RC_OK) return rc;
    if (o->verify_each && (rc = check(l, s)) != RC_OK) return rc;
    if (o->dump) {
        struct buf after;
        buf_init(&after, 64 << 20);
        nest_print(&after, l->n);
        bool same = after.n == before->n && memcmp(after.p, before->p, after.n) == 0;
        buf_fini(&after);
        if (!same) o->dump(o->dump_ctx, s->name, l->n);
    }
    return RC_OK;
}

static enum rc run_steps(struct low *l, const struct step *steps, int n, struct kernel *out)
{
    struct buf before;
    enum rc rc = RC_OK;
    buf_init(&before, 64 << 20);
    for (int i = 0; i < n && rc == RC_OK; i++) rc = run_step(l, &steps[i], &before);
    buf_fini(&before);
    if (rc != RC_OK) return rc;
    *out = (struct kernel){.nest = l->n, .scratch_a = l->scratch_a, .scratch_b = l->scratch_b};
    out->flops = l->o->skip_flops ? 0 : count_flops(l->n, l->o->dyn);
    out->nodes = count_nodes(l->n);
    if (out->nodes > l->max_nodes)
        return err_set(l->e, RC_FAIL, "lower.too_big",
                       "the kernel has %lld nodes, the limit is %lld; unroll less",
                       (long long)out->nodes, (long long)l->max_nodes);
    return RC_OK;
}

enum rc lower(struct nest *n, const struct target *t, const struct lower_options *o,
              struct kernel *out, struct err *e)
{
    static const struct lower_options plain;
    struct low l = {.ir = n->ir, .n = n, .t = t, .o = o ? o : &plain, .e = e};
    l.max_nodes = l.o->max_nodes ? l.o->max_nodes : 200000;
    static const struct step steps[] = {
        /* Say what is implicit: sums start at zero, a tap outside the image adds nothing. */
        {"inits", pass_inits, NEST_SCHEDULED},
        {"guard_taps", pass_guard_taps, NEST_SCHEDULED},
        {"unwanted", pass_unwanted, NEST_SCHEDULED},
        /* Discharge guards: cut borders off, turn what is left into bounds, move the rest
         * outwards. */
        {"peel", pass_peel, NEST_SCHEDULED},
        {"tighten", pass_tighten, NEST_SCHEDULED},
        /* The best of each lane, and of these one. */
        {"pairs", pass_pairs, NEST_SCHEDULED},
        /* Down to stores into flat memory; parts of one tensor side by side. */
        {"updates", pass_updates, NEST_SCHEDULED},
        {"join", pass_join, NEST_SCHEDULED},
        {"contract", pass_contract, NEST_SCHEDULED},
        {"peel_blocks", pass_peel_blocks, NEST_SCHEDULED},
        /* Sums along lanes: added in lanes, folded at the end. */
        {"partials", pass_partials, NEST_SCHEDULED},
        {"flatten", pass_flatten, NEST_SCHEDULED},
        /* Lanes, copies, registers: the shape of the machine code. */
        {"vectorize", pass_vectorize, NEST_SCHEDULED},
        {"unroll", pass_unroll, NEST_SCHEDULED},
        {"regs", pass_regs, NEST_SCHEDULED},
        {"share", pass_share, NEST_SCHEDULED},
        {"carry", pass_carry, NEST_SCHEDULED},
        {"repeats", pass_repeats, NEST_SCHEDULED},
        {"cut", pass_cut, NEST_SCHEDULED},
        {"quotients", pass_quotients, NEST_SCHEDULED},
        {"hoist", pass_hoist, NEST_SCHEDULED},
        /* Arithmetic the machine has. */
        {"math", pass_math, NEST_SCHEDULED},
        {"fma", pass_fma, NEST_SCHEDULED},
        {"compares", pass_compares, NEST_SCHEDULED},
        {"phases", pass_phases, NEST_SCHEDULED},
        /* Memory, and a last look. */
        {"scratch", pass_scratch, NEST_SCHEDULED},
        {"tidy", pass_tidy, NEST_KERNEL},
    };
    return run_steps(&l, steps, (int)QN_COUNT(steps), out);
}

enum rc lower_naive(struct nest *n, const struct target *t, const int64_t *dyn, struct kernel *out,
                    struct err *e)
{
    const struct lower_options o = {.dyn = dyn};
    struct low l = {
        .ir = n->ir, .n = n, .t = t, .o = &o, .e = e, .max_nodes = INT64_MAX, .naive = true};
    static const struct step steps[] = {
        {"inits", pass_inits, NEST_NAIVE},     {"updates", pass_updates, NEST_NAIVE},
        {"flatten", pass_flatten, NEST_NAIVE}, {"rows", pass_rows, NEST_NAIVE},
        {"math", pass_math, NEST_NAIVE},       {"scratch", pass_scratch, NEST_NAIVE},
        {"tidy", pass_tidy, NEST_KERNEL},
    };
    return run_steps(&l, steps, (int)QN_COUNT(steps), out);
}
