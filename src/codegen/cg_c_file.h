/* cg_c_file: pieces of an emitted file, shared by the kernel's file and its test (private to
 * src/codegen/cg_c*.c). */
#ifndef QN_CG_C_FILE_H
#define QN_CG_C_FILE_H

#include "codegen/cg_c.h"

void cc_open(struct cc *c, const struct kernel *k, const struct target *t,
             const struct c_options *o, struct err *e);
void cc_close(struct cc *c);
/* The body as a static function and an ABI entry `name` that calls it, into c->funcs. */
void cc_entry(struct cc *c, const char *name, struct stmt *body, bool packing, bool external);
void cc_header(struct cc *c, struct buf *h);
void cc_sections(struct cc *c, struct buf *out); /* preamble, types, tables, helpers, functions */

#endif
