/* peers onednn, onednn-winograd: conv2d (NHWC activations, weights in the layout oneDNN prefers,
 * packed once) and matmul through the C API of oneDNN 2.x. */
#include <stdio.h>
#include <string.h>

#include "compare.h"

#ifdef HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>

struct dnnl_state {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t prim;
    dnnl_memory_t mem[4];
    dnnl_exec_arg_t arg[4];
    int n;
};

static void dnnl_run(void *state)
{
    struct dnnl_state *s = state;
    dnnl_primitive_execute(s->prim, s->stream, s->n, s->arg);
    dnnl_stream_wait(s->stream);
}

static void dnnl_fini(void *state)
{
    struct dnnl_state *s = state;
    if (s->prim) dnnl_primitive_destroy(s->prim);
    for (int i = 0; i < 4; i++)
        if (s->mem[i]) dnnl_memory_destroy(s->mem[i]);
    if (s->stream) dnnl_stream_destroy(s->stream);
    if (s->engine) dnnl_engine_destroy(s->engine);
    mem_free(s);
}

static void add_arg(struct dnnl_state *s, int id, dnnl_memory_t m)
{
    s->mem[s->n] = m;
    s->arg[s->n++] = (dnnl_exec_arg_t){id, m};
}

/* Weights reordered once into the layout the primitive asks for. */
static dnnl_memory_t packed_weights(struct dnnl_state *s, dnnl_primitive_desc_t pd,
                                    const dnnl_memory_desc_t *plain, void *data)
{
    const dnnl_memory_desc_t *want = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_memory_create(&from, plain, s->engine, data);
    if (dnnl_memory_desc_equal(want, plain)) return from;
    dnnl_memory_create(&to, want, s->engine, DNNL_MEMORY_ALLOCATE);
    dnnl_primitive_desc_t rpd;
    dnnl_primitive_t reorder;
    dnnl_reorder_primitive_desc_create(&rpd, plain, s->engine, want, s->engine, NULL);
    dnnl_primitive_create(&reorder, rpd);
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    dnnl_primitive_execute(reorder, s->stream, 2, args);
    dnnl_stream_wait(s->stream);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(rpd);
    dnnl_memory_destroy(from);
    return to;
}

static int64_t key(const struct task *t, const char *name, int64_t fallback)
{
    int64_t v;
    return task_int(t, name, &v) ? v : fallback;
}

static bool open_conv(struct bench_task *t, dnnl_alg_kind_t alg, struct dnnl_state *s, char *why)
{
    const struct task *k = t->w->task;
    const char *layout = task_symbol(k, "layout"), *act = task_symbol(k, "act");
    if (key(k, "groups", 1) != 1 || (layout && strcmp(layout, "nhwc") != 0) ||
        (act && strcmp(act, "none") != 0) || k->ntensor != 3)
        return snprintf(why, 200, "only plain NHWC conv2d without groups, bias and activation"),
               false;
    int64_t H = key(k, "H", 1), W = key(k, "W", 1), C = key(k, "C", 1), K = key(k, "K", 1),
            R = key(k, "R", 1), S = key(k, "S", 1), N = key(k, "N", 1);
    const struct task_tensor *y = &k->tensor[2];
    dnnl_dims_t xd = {N, C, H, W}, wd = {K, C, R, S}, yd = {N, K, y->extent[1], y->extent[2]};
    dnnl_dims_t stride = {key(k, "stride_h", key(k, "stride", 1)),
                          key(k, "stride_w", key(k, "stride", 1))};
    dnnl_dims_t dil = {key(k, "dilation_h", key(k, "dilation", 1)) - 1,
                       key(k, "dilation_w", key(k, "dilation", 1)) - 1};
    dnnl_dims_t lo = {key(k, "pad_t", key(k, "pad", 0)), key(k, "pad_l", key(k, "pad", 0))};
    dnnl_dims_t hi = {key(k, "pad_b", key(k, "pad", 0)), key(k, "pad_r", key(k, "pad", 0))};
    dnnl_memory_desc_t x, wplain, wany, ymd;
    dnnl_memory_desc_init_by_tag(&x, 4, xd, dnnl_f32, dnnl_nhwc);
    dnnl_memory_desc_init_by_tag(&wplain, 4, wd, dnnl_f32, dnnl_hwio);
    dnnl_memory_desc_init_by_tag(&wany, 4, wd, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&ymd, 4, yd, dnnl_f32, dnnl_nhwc);
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t pd;
    if (dnnl_dilated_convolution_forward_desc_init(&d, dnnl_forward_inference, alg, &x, &wany, NULL,
                                                   &ymd, stride, dil, lo, hi) != dnnl_success ||
        dnnl_primitive_desc_create(&pd, &d, NULL, s->engine, NULL) != dnnl_success)
        return snprintf(why, 200, "oneDNN has no such convolution"), false;
    dnnl_memory_t m;
    dnnl_memory_create(&m, &x, s->engine, t->buf[0]);
    add_arg(s, DNNL_ARG_SRC, m);
    add_arg(s, DNNL_ARG_WEIGHTS, packed_weights(s, pd, &wplain, t->buf[1]));
    dnnl_memory_create(&m, &ymd, s->engine, t->buf[2]);
    add_arg(s, DNNL_ARG_DST, m);
    bool ok = dnnl_primitive_create(&s->prim, pd) == dnnl_success;
    dnnl_primitive_desc_destroy(pd);
    return ok || (snprintf(why, 200, "oneDNN refused"), false);
}

static bool open_matmul(struct bench_task *t, struct dnnl_state *s, char *why)
{
    const struct task *k = t->w->task;
    int64_t M = key(k, "M", 1), N = key(k, "N", 1), K = key(k, "K", 1);
    if (k->ntensor != 3 || k->tensor[0].elements != M * K || k->tensor[1].elements != K * N)
        return snprintf(why, 200, "only plain matmul"), false;
    dnnl_dims_t ad = {M, K}, bd = {K, N}, yd = {M, N};
    dnnl_memory_desc_t a, bplain, bany, y;
    dnnl_memory_desc_init_by_tag(&a, 2, ad, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&bplain, 2, bd, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&bany, 2, bd, dnnl_f32,
                                 k->tensor[1].scope == SCOPE_CONST ? dnnl_format_tag_any : dnnl_ab);
    dnnl_memory_desc_init_by_tag(&y, 2, yd, dnnl_f32, dnnl_ab);
    dnnl_matmul_desc_t d;
    dnnl_primitive_desc_t pd;
    if (dnnl_matmul_desc_init(&d, &a, &bany, NULL, &y) != dnnl_success ||
        dnnl_primitive_desc_create(&pd, &d, NULL, s->engine, NULL) != dnnl_success)
        return snprintf(why, 200, "oneDNN has no such matmul"), false;
    dnnl_memory_t m;
    dnnl_memory_create(&m, &a, s->engine, t->buf[0]);
    add_arg(s, DNNL_ARG_SRC, m);
    add_arg(s, DNNL_ARG_WEIGHTS, packed_weights(s, pd, &bplain, t->buf[1]));
    dnnl_memory_create(&m, &y, s->engine, t->buf[2]);
    add_arg(s, DNNL_ARG_DST, m);
    bool ok = dnnl_primitive_create(&s->prim, pd) == dnnl_success;
    dnnl_primitive_desc_destroy(pd);
    return ok || (snprintf(why, 200, "oneDNN refused"), false);
}

static bool open_dnnl(struct bench_task *t, const char *name, bool winograd, struct entry *out,
                      char *why)
{
    const char *op = operator_name(t->w->task->op);
    struct dnnl_state *s = mem_new(sizeof *s);
    bool ok = dnnl_engine_create(&s->engine, dnnl_cpu, 0) == dnnl_success &&
              dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags) == dnnl_success;
    if (ok && strcmp(op, "conv2d") == 0)
        ok = open_conv(t, winograd ? dnnl_convolution_winograd : dnnl_convolution_direct, s, why);
    else if (ok && strcmp(op, "matmul") == 0 && !winograd)
        ok = open_matmul(t, s, why);
    else
        ok = (snprintf(why, 200, "no oneDNN peer for %.40s", op), false);
    if (!ok) dnnl_fini(s);
    *out = (struct entry){.name = name, .state = s, .run = dnnl_run, .fini = dnnl_fini};
    return ok;
}

bool peer_dnnl_direct(struct bench_task *t, struct entry *out, char *why)
{
    return open_dnnl(t, "onednn", false, out, why);
}

bool peer_dnnl_winograd(struct bench_task *t, struct entry *out, char *why)
{
    return open_dnnl(t, "onednn-winograd", true, out, why);
}
#else
bool peer_dnnl_direct(struct bench_task *t, struct entry *out, char *why)
{
    (void)t, (void)out;
    return snprintf(why, 200, "built without libdnnl-dev"), false;
}

bool peer_dnnl_winograd(struct bench_task *t, struct entry *out, char *why)
{
    return peer_dnnl_direct(t, out, why);
}
#endif
