/* error: caret errors for positions found after parsing. */
#include <stdarg.h>
#include <stdio.h>

#include "base/scan.h"
#include "dsl/ast.h"

enum rc dsl_error(struct err *e, const struct op_file *f, int line, int col, const char *code,
                  const char *fmt, ...)
{
    char msg[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return scan_error_at(e, f->name, f->text, f->len, line, col, code, "%s", msg);
}
