/* fields: requests and results of the compile worker as bytes: u32 length + bytes, in a fixed
 * order.
 *
 * Invariant: result_decode(result_encode(r)) equals r; a short or overlong text is `bad`, never
 * read past. */
#include <string.h>

#include "base/arena.h"
#include "compile/compile_int.h"

void field_put(struct buf *b, const void *p, size_t n)
{
    uint32_t len = (uint32_t)n;
    buf_put(b, &len, sizeof len);
    buf_put(b, p, n);
}

void field_text(struct buf *b, const char *s) { field_put(b, s, strlen(s)); }

void field_i64(struct buf *b, int64_t v) { field_put(b, &v, sizeof v); }

const void *field_get(struct fields *f, size_t *n)
{
    uint32_t len = 0;
    *n = 0;
    if (f->bad || (size_t)(f->end - f->p) < sizeof len) {
        f->bad = true;
        return "";
    }
    memcpy(&len, f->p, sizeof len);
    f->p += sizeof len;
    if ((size_t)(f->end - f->p) < len) {
        f->bad = true;
        return "";
    }
    const void *at = f->p;
    f->p += len;
    *n = len;
    return at;
}

char *field_get_text(struct fields *f)
{
    size_t n;
    const void *p = field_get(f, &n);
    char *s = mem_new(n + 1);
    memcpy(s, p, n);
    return s;
}

int64_t field_get_i64(struct fields *f)
{
    size_t n;
    const void *p = field_get(f, &n);
    int64_t v = 0;
    if (n == sizeof v)
        memcpy(&v, p, sizeof v);
    else
        f->bad = true;
    return v;
}

void result_encode(struct buf *b, const struct compile_result *r)
{
    field_i64(b, r->status);
    field_text(b, r->code);
    field_text(b, r->msg);
    field_put(b, r->art.blob, r->art.blob_n);
    field_i64(b, r->art.kernel_at);
    field_i64(b, r->art.pack_at);
    field_i64(b, r->art.scratch_a);
    field_i64(b, r->art.scratch_b);
    field_i64(b, r->art.stack_bytes);
    field_i64(b, r->art.vector_stack_refs);
    field_i64(b, r->art.instructions);
    field_text(b, r->art.hash);
    field_put(b, &r->flops, sizeof r->flops);
    field_i64(b, r->nodes);
    field_put(b, r->packed_bytes, sizeof r->packed_bytes[0] * (size_t)r->npacked);
    field_i64(b, r->build_ns);
    field_i64(b, r->front_ns);
    field_i64(b, r->nstage);
    for (int i = 0; i < r->nstage; i++) {
        field_text(b, r->stage[i].name);
        field_text(b, r->stage[i].text);
    }
}

static void get_chars(struct fields *f, char *out, size_t max)
{
    size_t n;
    const void *p = field_get(f, &n);
    if (n >= max) n = max - 1;
    memcpy(out, p, n);
    out[n] = 0;
}

bool result_decode(struct compile_result *r, const void *p, size_t len)
{
    struct fields f = {p, (const char *)p + len, false};
    size_t n;
    memset(r, 0, sizeof *r);
    r->status = (enum compile_status)field_get_i64(&f);
    get_chars(&f, r->code, sizeof r->code);
    get_chars(&f, r->msg, sizeof r->msg);
    const void *blob = field_get(&f, &n);
    r->art.blob = n ? mem_new(n) : NULL;
    r->art.blob_n = n;
    if (n) memcpy(r->art.blob, blob, n);
    r->art.kernel_at = field_get_i64(&f);
    r->art.pack_at = field_get_i64(&f);
    r->art.scratch_a = field_get_i64(&f);
    r->art.scratch_b = field_get_i64(&f);
    r->art.stack_bytes = (int32_t)field_get_i64(&f);
    r->art.vector_stack_refs = (int32_t)field_get_i64(&f);
    r->art.instructions = (int32_t)field_get_i64(&f);
    get_chars(&f, r->art.hash, sizeof r->art.hash);
    const void *flops = field_get(&f, &n);
    if (n == sizeof r->flops) memcpy(&r->flops, flops, n);
    r->nodes = field_get_i64(&f);
    const void *packed = field_get(&f, &n);
    if (n <= sizeof r->packed_bytes) memcpy(r->packed_bytes, packed, n);
    r->npacked = (int)(n / sizeof r->packed_bytes[0]);
    r->build_ns = field_get_i64(&f);
    r->front_ns = field_get_i64(&f);
    int64_t stages = field_get_i64(&f);
    if (stages < 0 || stages > 4096) f.bad = true;
    if (!f.bad && stages) r->stage = mem_new(sizeof *r->stage * (size_t)stages);
    for (int64_t i = 0; i < stages && !f.bad; i++) {
        r->stage[r->nstage].name = field_get_text(&f);
        r->stage[r->nstage++].text = field_get_text(&f);
    }
    return !f.bad;
}
