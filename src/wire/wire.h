/* wire: what travels between a client and a runner, as bytes. No I/O happens here.
 *
 *   struct wire_ping m = {.nonce = 7};
 *   wire_encode(&buf, WIRE_PING, seq, &m, &e);                   appends one whole frame
 *   wire_header(bytes, &h, &e); ... h.length more bytes ...;     a frame from outside
 *   wire_payload(a, &h, payload, &msg, &e);                      checks crc, decodes into the arena
 *
 * Structures, messages and closed sets are the tables structs.def, msgs.def, sets.def, dtypes.def,
 * verdicts.def; WIRE.txt describes the bytes. Byte arrays of a decoded message point into the
 * payload.
 *
 * Invariants: a decoder survives any bytes, allocates at most a fixed multiple of them, and accepts
 * exactly what the encoder produces (decode . encode = identity, and encode . decode gives the same
 * bytes). */
#ifndef QN_WIRE_WIRE_H
#define QN_WIRE_WIRE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define WIRE_VERSION 1
#define WIRE_MAGIC   UINT32_C(0x574e5151) /* "QQNW" */

enum {
    WIRE_HEADER = 20,
    WIRE_MAX_FRAME = 32 << 20, /* payload bytes */
    WIRE_MAX_CODE = 4 << 20,
    WIRE_MAX_BUFFERS = 32,
    WIRE_MAX_PACKED = 32,
    WIRE_MAX_DYN = 16,
    WIRE_MAX_ENTRIES = 16,
    WIRE_MAX_SAMPLES = 1 << 16,
};

/* clang-format off: X-macros */
/* Closed sets: enum role { ROLE_IN, ... ROLE_COUNT } and const char *role_name(enum role). */
#define SET_BEGIN(tag)        enum tag {
#define ITEM(TAG, NAME, text) TAG##_##NAME,
#define SET_END(tag, TAG) \
    TAG##_COUNT           \
    }                     \
    ;                     \
    const char *tag##_name(enum tag v);
#include "wire/sets.def"
#undef SET_BEGIN
#undef ITEM
#undef SET_END

enum wire_dtype {
#define DTYPE(code, NAME, name, bits, kind) DTYPE_##NAME = code,
#include "wire/dtypes.def"
#undef DTYPE
    DTYPE_COUNT
};

struct dtype_info {
    const char *name;
    int bits;
    char kind; /* 'F' 'S' 'U' */
};

const struct dtype_info *wire_dtype_info(enum wire_dtype t);
bool wire_dtype_find(const char *name, enum wire_dtype *out);
/* Bytes of n packed elements; false on overflow. */
bool wire_dtype_bytes(enum wire_dtype t, uint64_t n, uint64_t *bytes);

enum verdict {
#define VERDICT(code, NAME, name, side, retry, text) VERDICT_##NAME = code,
#include "wire/verdicts.def"
#undef VERDICT
};

enum verdict_side { SIDE_OK, SIDE_CANDIDATE, SIDE_WORLD };

struct verdict_info {
    enum verdict code;
    const char *name, *text;
    enum verdict_side side;
    bool retry;
};

/* NULL for an unknown code or name. */
const struct verdict_info *verdict_info(int code);
const struct verdict_info *verdict_find(const char *name);
const char *verdict_name(int code); /* "unknown" for an unknown code */
/* i-th row of the table, NULL past the end. */
const struct verdict_info *verdict_at(size_t i);

struct wire_bytes {
    const uint8_t *p;
    uint32_t n;
};
struct wire_i64s {
    int64_t *p;
    uint32_t n;
};
struct wire_f64s {
    double *p;
    uint32_t n;
};

#define BEGIN(tag)        struct wire_##tag {
#define U8(name)          uint8_t name;
#define U32(name)         uint32_t name;
#define U64(name)         uint64_t name;
#define I64(name)         int64_t name;
#define F64(name)         double name;
#define ENUM(name, count) uint8_t name;
#define STR(name, max)    const char *name; /* NULL encodes as ""; a decoder never gives it */
#define BYTES(name, max)  struct wire_bytes name;
#define I64S(name, max)   struct wire_i64s name;
#define F64S(name, max)   struct wire_f64s name;
#define SUB(name, tag)    struct wire_##tag name;
#define LIST(name, tag, max) \
    struct wire_##tag *name; \
    uint32_t name##_n;
#define END(tag) \
    }            \
    ;
#include "wire/structs.def"
#include "wire/undef.h"

enum wire_type {
#define MSG(code, NAME, tag, from) WIRE_##NAME = code,
#include "wire/msgs.def"
#undef MSG
};

/* clang-format on */

struct wire_header {
    enum wire_type type;
    uint32_t seq; /* a reply carries its request's number; HELLO carries 0 */
    uint32_t length;
    uint32_t crc;
    uint8_t raw[16]; /* the bytes before the crc, which covers them too */
};

const char *wire_type_name(int type); /* "unknown" */
bool wire_from_client(enum wire_type type);

/* Appends a frame. RC_INTERNAL "wire.encode" when a field exceeds its limit or the buffer is full
 * (the buffer is then left as it was). */
enum rc wire_encode(struct buf *out, enum wire_type type, uint32_t seq, const void *msg,
                    struct err *e);
/* Reads WIRE_HEADER bytes. Codes: wire.magic, wire.version, wire.type, wire.length. */
enum rc wire_header(const uint8_t *bytes, struct wire_header *h, struct err *e);
/* Decodes h->length bytes into *msg, a struct of h->type, living in the arena (and, for byte
 * arrays, in `payload`). Codes: wire.crc, wire.short, wire.limit, wire.enum, wire.text,
 * wire.trailing. */
enum rc wire_payload(struct arena *a, const struct wire_header *h, const uint8_t *payload,
                     void **msg, struct err *e);

/* Bytes that identify a task (its canonical encoding), appended to out. */
enum rc wire_task_bytes(struct buf *out, const struct wire_task *task, struct err *e);
/* Does the job make sense: dtype and count give bytes, entry offsets lie in the code, sizes do not
 * overflow, at least one output? Same check on both sides. Codes: job.buffer, job.blob,
 * job.limit. */
enum rc wire_task_check(const struct wire_task *task, struct err *e);
enum rc wire_blob_check(const struct wire_blob *blob, struct err *e);

#endif
