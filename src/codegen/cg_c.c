/* cg_c: the C back end's driver: header, file, entries.
 *
 *   codegen_c(&k, t, &(struct c_options){C_VECTOR, "app_", "conv1", banner}, &c, &h, &e)
 *     app_conv1.h   app_conv1(), app_conv1_pack(), APP_CONV1_SCRATCH_BYTES(threads),
 *                   ..._PACKED_<NAME>_BYTES
 *
 * Invariants: the text depends only on the kernel, the target and the options; includes <stddef.h>
 * and <stdint.h> only; every external name begins with the prefix; no allocation, no global
 * written, no library call. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "codegen/cg_c.h"
#include "codegen/cg_c_file.h"

static bool is_buffer(const struct tensor *t)
{
    return t->scope == SCOPE_IN || t->scope == SCOPE_CONST || t->scope == SCOPE_OUT ||
           t->scope == SCOPE_PACKED;
}

void cc_open(struct cc *c, const struct kernel *k, const struct target *t,
             const struct c_options *o, struct err *e)
{
    memset(c, 0, sizeof *c);
    c->a = arena_new();
    c->k = k;
    c->t = t;
    c->o = o;
    c->ir = k->nest->ir;
    c->reach.ir = c->ir;
    c->e = e;
    c->vector = o->form == C_VECTOR;
    c->avx512 = strncmp(t->triple, "x86_64", 6) == 0 && t->features &&
                strstr(t->features, "+avx512vl") && strstr(t->features, "+avx512bw");
    c->sse41 = c->vector && strncmp(t->triple, "x86_64", 6) == 0 && t->features &&
               (strstr(t->features, "+sse4.1") || strstr(t->features, "+sse4.2") ||
                strstr(t->features, "+avx"));
    size_t max = (size_t)256 << 20;
    buf_init(&c->types, max);
    buf_init(&c->helpers, max);
    buf_init(&c->tables, max);
    buf_init(&c->funcs, max);
    c->used = map_new();
    c->have = map_new();
    c->addresses = map_new();
    c->table = ARENA_ARRAY(c->a, const char *, c->ir->next_tensor + 1);
    c->alias = ARENA_ARRAY(c->a, const struct expr *, c->ir->next_var + 1);
    c->is_bits = ARENA_ARRAY(c->a, bool, c->ir->next_var + 1);
    c->sym = cc_fmt(c, "%s%s", o->prefix, o->symbol);
    map_put(c->used, c->sym, c);
    map_put(c->used, cc_fmt(c, "%s_pack", c->sym), c);
    map_put(c->used, cc_fmt(c, "%s_par", c->sym), c);
}

void cc_close(struct cc *c)
{
    buf_fini(&c->types);
    buf_fini(&c->helpers);
    buf_fini(&c->tables);
    buf_fini(&c->funcs);
    map_free(c->used);
    map_free(c->have);
    map_free(c->addresses);
    mem_free(c->info);
    reach_fini(&c->reach);
    vec_free(&c->scope_open);
    arena_free(c->a);
}

/* ---- entries --------------------------------------------------------------------------------- */

struct params {
    struct cc_capture used;
    struct buf decl, call;
};

/* static void kernel_body(const float *restrict x, ..., int64_t n, unsigned char *restrict scratch,
 * const struct par *par) */
static void bind_params(struct cc *c, struct params *p)
{
    const struct nest *nest = c->k->nest;
    int slot = 0;
    for (int i = 0; i < nest->ntensor; i++) {
        const struct tensor *t = nest->tensor[i];
        if (!is_buffer(t)) continue;
        int at = slot++;
        if (!p->used.tensor_seen[t->id]) continue;
        bool out = t->scope == SCOPE_OUT || (t->scope == SCOPE_PACKED && c->packing);
        const char *name = cc_name(c, t->name), *type = cc_memory_type((enum dtype)t->type.dtype);
        c->fn->base[t->id] = name;
        buf_printf(&p->decl, "%s%s *restrict %s, ", out ? "" : "const ", type, name);
        buf_printf(&p->call, "(%s%s *)buf[%d], ", out ? "" : "const ", type, at);
    }
    for (int i = 0; i < nest->ndyn; i++) {
        const char *name = cc_name(c, nest->dyn[i]->name);
        c->fn->var[nest->dyn[i]->id] = name;
        buf_printf(&p->decl, "int64_t %s, ", name);
        buf_printf(&p->call, "dyn[%d], ", i);
        env_put(c->env, nest->dyn[i], expr_int(c->ir, 0), expr_int(c->ir, INT64_MAX));
    }
}

static void print_voids(struct cc *c)
{
    for (int i = 0; i < c->k->nest->ntensor; i++)
        if (is_buffer(c->k->nest->tensor[i]) && c->fn->base[c->k->nest->tensor[i]->id])
            buf_printf(&c->funcs, "    (void)%s;\n", c->fn->base[c->k->nest->tensor[i]->id]);
    for (int i = 0; i < c->k->nest->ndyn; i++)
        buf_printf(&c->funcs, "    (void)%s;\n", c->fn->var[c->k->nest->dyn[i]->id]);
    buf_puts(&c->funcs, "    (void)scratch;\n    (void)par;\n");
}

static void print_public(struct cc *c, const char *name, const char *body, const struct params *p,
                         bool external)
{
    struct buf *o = &c->funcs;
    buf_printf(o,
               "%sint32_t %s(void *const *buf, const int64_t *dyn, void *scratch, const struct "
               "%s_par *par)\n{\n",
               external ? "" : "static ", name, c->sym);
    buf_puts(o, "    (void)buf;\n    (void)dyn;\n");
    for (int i = 0; i < c->k->nest->ndyn; i++)
        buf_printf(o, "    if (dyn[%d] < 0) {\n        return 1;\n    }\n", i);
    if (c->k->scratch_a > 0 || c->k->scratch_b > 0)
        buf_puts(o, "    if (scratch == NULL) {\n        return 1;\n    }\n");
    buf_printf(o, "    %s(%s(unsigned char *)scratch, par);\n    return 0;\n}\n", body, p->call.p);
}

void cc_entry(struct cc *c, const char *name, struct stmt *body, bool packing, bool external)
{
    struct cc_fn f;
    struct params p;
    struct buf text;
    if (c->failed) return;
    buf_init(&text, c->funcs.max);
    buf_init(&p.decl, 1 << 20);
    buf_init(&p.call, 1 << 20);
    c->packing = packing;
    c->env = env_new(c->ir);
    cc_capture_init(c, &p.used, body);
    cc_function(c, &f, &text);
    bind_params(c, &p);
    const char *inner = cc_name(c, packing ? "pack_body" : "kernel_body");
    cc_stmt(c, body);
    buf_printf(&c->funcs,
               "QN_FN static void %s(%sunsigned char *restrict scratch, const struct %s_par "
               "*par)\n{\n    QN_CONTRACT\n",
               inner, p.decl.p, c->sym);
    print_voids(c);
    cc_function_end(c, NULL);
    print_public(c, name, inner, &p, external);
    if (c->funcs.full) cc_fail(c, "c.too_big", "the emitted file would be larger than its limit");
    cc_capture_fini(&p.used);
    buf_fini(&text);
    buf_fini(&p.decl);
    buf_fini(&p.call);
}

/* ---- header ---------------------------------------------------------------------------------- */

static void upper(struct buf *b, const char *s)
{
    for (; *s; s++)
        buf_putc(b, isalnum((unsigned char)*s) ? (char)toupper((unsigned char)*s) : '_');
}

static void print_buffers(struct cc *c, struct buf *h)
{
    const struct nest *nest = c->k->nest;
    static const char *const what[] = {[SCOPE_IN] = "read",
                                       [SCOPE_CONST] = "constant",
                                       [SCOPE_OUT] = "written",
                                       [SCOPE_PACKED] = "packed"};
    int slot = 0;
    for (int i = 0; i < nest->ntensor; i++) {
        const struct tensor *t = nest->tensor[i];
        if (!is_buffer(t)) continue;
        const struct tensor *shape = c->o->source ? nest_tensor(c->o->source, t->name) : NULL;
        if (!shape) shape = t;
        struct buf line;
        buf_init(&line, 1 << 16);
        for (int d = 0; d < shape->rank; d++) {
            buf_puts(&line, d ? "][" : "[");
            expr_print(&line, shape->extent[d]);
        }
        buf_puts(&line, "]");
        buf_printf(h, " *   buf[%d]  %-8s  ", slot++, what[t->scope]);
        buf_escape_c_comment(h, t->name, strlen(t->name));
        buf_printf(h, "%s: %s, aligned to %d bytes\n", line.p,
                   cc_memory_type((enum dtype)t->type.dtype),
                   t->scope == SCOPE_PACKED ? 64 : dtype_bytes((enum dtype)t->type.dtype));
        buf_fini(&line);
    }
}

static void print_name(struct buf *h, const struct var *v)
{
    buf_escape_c_comment(h, v->name, strlen(v->name));
}

/* dyn[0]  extent    N >= 2; not every: the operator refuses N = 5, M = 30 */
static void print_dyns(const struct cc *c, struct buf *h)
{
    const struct nest *nest = c->k->nest;
    const struct c_options *o = c->o;
    for (int i = 0; i < nest->ndyn; i++) {
        buf_printf(h, " *   dyn[%d]  extent    ", i);
        print_name(h, nest->dyn[i]);
        buf_printf(h, " >= %" PRId64, o->least ? o->least[i] : 0);
        if (o->least && o->refused[i] >= 0) buf_puts(h, "; not every: the operator refuses ");
        for (int k = 0; o->least && o->refused[i] >= 0 && k < nest->ndyn; k++) {
            buf_puts(h, k ? ", " : "");
            print_name(h, nest->dyn[k]);
            buf_printf(h, " = %" PRId64, k == i ? o->refused[i] : o->tuned[k]);
        }
        buf_putc(h, '\n');
    }
}

static void print_macros(struct cc *c, struct buf *h)
{
    const struct nest *nest = c->k->nest;
    buf_puts(h, "/* Bytes of scratch for a number of threads; 64-byte aligned. 0: scratch may be "
                "NULL. */\n#define ");
    upper(h, c->sym);
    buf_printf(h, "_SCRATCH_BYTES(threads) ((size_t)%lld + (size_t)%lld * (size_t)(threads))\n",
               (long long)c->k->scratch_a, (long long)c->k->scratch_b);
    for (int i = 0; i < nest->ntensor; i++) {
        const struct tensor *t = nest->tensor[i];
        int64_t n = 0;
        if (t->scope != SCOPE_PACKED || t->rank != 1 || !expr_is_int(t->extent[0], &n)) continue;
        buf_puts(h, "#define ");
        upper(h, c->sym);
        buf_puts(h, "_PACKED_");
        upper(h, t->name);
        buf_printf(h, "_BYTES ((size_t)%lld)\n",
                   (long long)(n * dtype_bytes((enum dtype)t->type.dtype)));
    }
}

void cc_header(struct cc *c, struct buf *h)
{
    bool pack = nest_packs(c->k->nest);
    buf_puts(h, c->o->banner ? c->o->banner : "");
    buf_puts(h, "#ifndef ");
    upper(h, c->sym);
    buf_puts(h, "_H\n#define ");
    upper(h, c->sym);
    buf_puts(h, "_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern "
                "\"C\" {\n#endif\n\n");
    buf_printf(h,
               "/* How to run the parts of a call on several threads: run() calls body(arg, i, "
               "worker) once for every i in 0..n-1, in\n"
               " * any order, with worker in 0..threads-1 and no two calls at a time with the same "
               "worker, and returns when all are\n"
               " * done. */\nstruct %s_par {\n    void (*run)(void *ctx, int32_t (*body)(void "
               "*arg, int64_t i, int64_t worker), void *arg, int64_t n);\n"
               "    void *ctx;\n    int64_t threads;\n};\n\n",
               c->sym);
    print_macros(c, h);
    buf_puts(h, "\n/* Buffers, none of which may overlap another:\n");
    print_buffers(c, h);
    print_dyns(c, h);
    buf_puts(h, " * scratch: see the macro. par: NULL runs on the calling thread. Returns 0.\n");
    if (pack)
        buf_printf(h,
                   " * The packed buffers are filled by %s_pack, once, from the constants; the "
                   "constants that only it reads\n"
                   " * may then be NULL. */\n",
                   c->sym);
    else
        buf_puts(h, " */\n");
    buf_printf(h,
               "int32_t %s(void *const *buf, const int64_t *dyn, void *scratch, const struct "
               "%s_par *par);\n",
               c->sym, c->sym);
    if (pack)
        buf_printf(h,
                   "int32_t %s_pack(void *const *buf, const int64_t *dyn, void *scratch, const "
                   "struct %s_par *par);\n",
                   c->sym, c->sym);
    buf_puts(h, "\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
}

/* ---- file ------------------------------------------------------------------------------------ */

void cc_sections(struct cc *c, struct buf *out)
{
    cc_preamble(c, out);
    if (c->types.n) buf_printf(out, "%s\n", c->types.p);
    if (c->tables.n) buf_printf(out, "%s\n", c->tables.p);
    buf_put(out, c->helpers.p, c->helpers.n);
    buf_put(out, c->funcs.p, c->funcs.n);
}

enum rc codegen_c(const struct kernel *k, const struct target *t, const struct c_options *o,
                  struct buf *c, struct buf *h, struct err *e)
{
    struct cc cc;
    struct err local = {0};
    if (!e) e = &local;
    cc_open(&cc, k, t, o, e);
    if (nest_packs(k->nest))
        cc_entry(&cc, cc_fmt(&cc, "%s_pack", cc.sym), k->nest->pack, true, true);
    if (nest_packs(k->nest)) buf_putc(&cc.funcs, '\n');
    cc_entry(&cc, cc.sym, k->nest->body, false, true);
    if (!cc.failed) {
        buf_puts(c, o->banner ? o->banner : "");
        buf_printf(c, "#include \"%s.h\"\n\n", cc.sym);
        cc_sections(&cc, c);
        cc_header(&cc, h);
        if (c->full || h->full)
            cc_fail(&cc, "c.too_big", "the emitted file would be larger than its limit");
    }
    enum rc rc = cc.failed ? e->rc : RC_OK;
    cc_close(&cc);
    return rc;
}
