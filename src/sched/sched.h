/* sched: schedules as text. A trace is the only identity a candidate has: it parses, prints,
 * hashes, replays.
 *
 *     algorithm direct
 *     split y.k 32 pad y.ko y.ki
 *     split y.q 14 peel y.qo y.qi
 *     reorder y.ko y.n y.p y.qo y.qi y.ki
 *     compute_at y.acc y.qo reg
 *     reorder y.acc.r y.acc.s y.acc.c y.acc.q y.acc.k
 *     split y.acc.k 16 exact y.acc.kv y.acc.kl
 *     vectorize y.acc.kl
 *     unroll y.acc.kv
 *     pack w y.ko
 *     cache x y.p scratch
 *     codegen misched=off
 *
 * "May I?" is legal.c (no edits), "do it" is prim_*.c (edits only), which to try is space.c and
 * tune. One row of prims.def a primitive: name, argument kinds, legality, apply, one-line doc. */
#ifndef QN_SCHED_H
#define QN_SCHED_H

#include "ir/ir.h"

enum prim {
#define X(e, s, args, doc) PRIM_##e,
#include "sched/prims.def"
#undef X
    PRIM_COUNT
};

/* Why a step was refused. X(enum, "code", "sentence"). */
enum reject {
    REJECT_NONE,
#define X(e, code, sentence) REJECT_##e,
#include "sched/rejects.def"
#undef X
    REJECT_COUNT
};

struct rejection {
    enum reject code;
    int step;         /* 0-based; -1 = whole trace */
    char detail[400]; /* names the loop or tensor and what to do */
};
const char *reject_name(enum reject r); /* "split_factor" */
const char *reject_sentence(enum reject r);

enum { STEP_ARGS = 12 };
struct step {
    enum prim prim;
    int n;
    const char *arg[STEP_ARGS]; /* as written; integers are decimal */
};

/* A code-generation choice of the last line: misched=on|off, addr=hoist|plain, ... */
struct choice {
    const char *key, *value;
};

/* Of nudge=17.203: so many numbers at most, from 0 to this one. */
enum { TRACE_NUDGES = 12, TRACE_NUDGE_MOST = 9999 };

struct trace {
    struct arena *arena; /* owns everything below */
    const char *algorithm;
    int nparam;
    const char *param[8]; /* of the algorithm, as written */
    struct step *step;
    int n, cap;
    struct choice choice[8];
    int nchoice;
};

struct trace *trace_new(const char *algorithm);
void trace_free(struct trace *t);
struct trace *trace_clone(const struct trace *t);
enum rc trace_parse(const char *file, const char *text, size_t len, struct trace **out,
                    struct err *e);
void trace_print(struct buf *b, const struct trace *t); /* canonical; parse∘print is identity */
void trace_add(struct trace *t, enum prim prim, int n, const char *const *args);
void trace_param(struct trace *t, const char *param);                   /* of the algorithm */
void trace_choose(struct trace *t, const char *key, const char *value); /* sets or replaces */
const char *trace_choice(const struct trace *t, const char *key, const char *fallback);
void step_print(struct buf *b, const struct step *s); /* without a line end */
bool prim_parse(const char *s, enum prim *out);
const char *prim_name(enum prim p);
const char *prim_args(enum prim p); /* argument kinds, as prims.def */
const char *prim_doc(enum prim p);

/* Apply all steps to a naive nest in place (the nest's context is the candidate's), then finish:
 * drop guards that protect nothing (see tails), check what only the whole shows. RC_OK, or RC_INPUT
 * with *r filled; the nest is then half edited: throw its context away. */
enum rc sched_apply(struct nest *n, const struct trace *t, struct rejection *r);
enum rc sched_apply_step(struct nest *n, const struct step *s,
                         struct rejection *r); /* legality + edit, no finish */
enum rc sched_finish(struct nest *n, struct rejection *r);
/* The rejection as text for a person: step, sentence, the nest with a mark at the loop. */
void sched_explain(struct buf *b, const struct nest *n, const struct trace *t,
                   const struct rejection *r);

/* ---- spaces ---------------------------------------------------------------------------------- */

/* Do not copy by value (names point into it). Named integers a space may use: the task's attributes
 * and extents (N, K, stride...), target facts (target.vregs, target.lanes, target.l1 ...). A word
 * attribute layout=nhwc is the fact `layout.nhwc` = 1. Plain data: sched knows neither tasks nor
 * targets. */
struct facts {
    int n;
    const char *name[192];
    int64_t value[192];
    char owned[192][64];
};
/* Replaces; a name longer than 63 bytes and a 193rd fact are left out: a space that asks for them
 * says so. */
void facts_put(struct facts *f, const char *name, int64_t value);
bool facts_get(const struct facts *f, const char *name, int64_t *value);

enum { SPACE_KNOBS = 128 }; /* at most; derived spaces of many stages come near it */
struct space; /* a parsed .sched family bound to facts: ordered knob values, a template of steps */
/* Language in SCHED.txt. `when` false: *out = NULL and RC_OK. */
enum rc space_parse(const char *file, const char *text, size_t len, const struct facts *f,
                    struct space **out, struct err *e);
/* From the op's own structure, for any naive nest; never empty, never only divisors. algorithm: its
 * name. */
enum rc space_derive(const struct nest *naive, const char *algorithm, const struct facts *f,
                     struct space **out, struct err *e);
void space_free(struct space *s);
const char *space_name(const struct space *s);
const char *space_op(const struct space *s);   /* the operator after `for` */
const char *space_text(const struct space *s); /* a derived space's .sched; "" if it was read */
const char *space_algorithm(const struct space *s); /* "direct" */
int space_knobs(const struct space *s);
const char *space_knob_name(const struct space *s, int knob);
int space_knob_values(const struct space *s, int knob);
bool space_knob_is_word(const struct space *s, int knob);
int space_knob_find(const struct space *s, const char *name);     /* -1: none */
int64_t space_knob_value(const struct space *s, int knob, int i); /* ordered; words are 0..n-1 */
void space_knob_text(const struct space *s, int knob, int i, struct buf *out);
double space_size(const struct space *s); /* product of knob counts */
/* choice[k] indexes knob k's values. NULL if a `require` fails. */
struct trace *space_trace(const struct space *s, const int *choice);
bool space_allows(const struct space *s, const int *choice);

#endif
