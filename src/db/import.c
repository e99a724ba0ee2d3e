/* import: JSONL in, all or nothing, everything checked as if an enemy had written it.
 *
 *   seeds.jsonl:7: field 'tier' is 9, not in 0..3; nothing was imported
 *
 * Invariants: one transaction; a line is at most DB_MAX_LINE bytes and memory is bounded by one
 * line; an imported row is attached to no run, so it is never fed to a search as if it had been
 * measured. */
#include <string.h>

#include "db/db_int.h"

/* RC_OK with line->n == 0 and *end at the end of the file. */
static enum rc read_line(FILE *in, struct buf *line, bool *end, struct err *e)
{
    int c;
    buf_reset(line);
    *end = false;
    while ((c = getc(in)) != EOF && c != '\n') {
        char byte = (char)c;
        buf_put(line, &byte, 1);
        if (line->full) return db_fail(e, DB_E_ROW, "the line has more than %d bytes", DB_MAX_LINE);
    }
    if (ferror(in)) return db_fail(e, DB_E_ROW, "cannot read on");
    *end = c == EOF && line->n == 0;
    return RC_OK;
}

static bool blank(const struct buf *line)
{
    for (size_t i = 0; i < line->n; i++)
        if (!strchr(" \t\r", line->p[i]) || !line->p[i]) return false;
    return true;
}

static void refuse(struct db_import *im, const char *file, int64_t at, const char *id,
                   const char *reason)
{
    im->refused++;
    if (im->rejected) im->rejected(im->ctx, file, at, id, reason);
}

static enum rc take_line(struct db *d, const char *file, int64_t at, const struct buf *line,
                         struct arena *a, struct db_import *im, struct err *e)
{
    struct db_row r;
    char claimed[HASH_ID_LEN + 1];
    enum rc rc = db_row_parse(line->p, line->n, a, &r, claimed, e);
    if (rc && strcmp(e->code, db_error_code(DB_E_UNCHECKED)) == 0) {
        refuse(im, file, at, claimed, e->msg);
        return RC_OK;
    }
    if (rc) return rc;
    db_row_id(r.id, &r);
    if (strcmp(r.id, claimed) != 0) {
        refuse(im, file, at, claimed,
               "its id is not the hash of its content: it was edited or damaged");
        return RC_OK;
    }
    r.origin = im->origin;
    enum db_insert how;
    rc = db_insert_row(d, &r, NULL, 0, &how, e);
    if (rc) return rc;
    if (how == DB_INSERTED)
        im->accepted++;
    else if (how == DB_ALREADY)
        im->already_here++;
    else
        refuse(im, file, at, r.id, "its attempt is already counted here, with another result");
    return RC_OK;
}

static enum rc take_all(struct db *d, const char *file, FILE *in, struct db_import *im,
                        struct err *e)
{
    struct arena *a = arena_new();
    struct buf line;
    buf_init(&line, DB_MAX_LINE);
    enum rc rc = RC_OK;
    bool end = false;
    int64_t at = 0;
    while (rc == RC_OK && !end) {
        at++;
        arena_reset(a);
        rc = read_line(in, &line, &end, e);
        if (rc == RC_OK && !end && !blank(&line)) rc = take_line(d, file, at, &line, a, im, e);
    }
    buf_fini(&line);
    arena_free(a);
    if (rc != RC_INPUT) return rc;
    struct err why = *e;
    return db_fail(e, DB_E_IMPORT, "%s:%lld: %s", file, (long long)at, why.msg);
}

enum rc db_import(struct db *d, const char *file, FILE *in, struct db_import *im, struct err *e)
{
    struct err local;
    if (!e) e = &local;
    QN_CHECK(im->origin != DB_LOCAL, "an import cannot be local");
    im->accepted = im->already_here = im->refused = 0;
    enum rc rc = db_commit(d, e);
    if (rc == RC_OK) rc = db_txn_begin(d, e);
    if (rc) return rc;
    rc = db_txn_end(d, take_all(d, file, in, im, e), e);
    if (rc) im->accepted = im->already_here = 0;
    return rc;
}
