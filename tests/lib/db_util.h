/* db_util: what the suites of the log share: a folder of their own, a plausible key and plausible
 * rows.
 *
 *   char dir[256], path[300]; db_tmp(dir); db_in(path, dir, "log.db");  ...  db_rm(dir);
 *   struct db_row r; db_row_of(&r, 7);    row 7: trace, samples and attempt follow from the number
 *
 * Invariant: db_row_of(n) is the same row in every process, so a checker knows what a victim
 * put. */
#ifndef QN_TEST_DB_UTIL_H
#define QN_TEST_DB_UTIL_H

#include <check.h>

#include "db/db.h"
#include "db/db_int.h"

void db_tmp(char dir[256]);
void db_in(char *out, const char *dir, const char *name); /* out: 300 bytes */
void db_rm(const char *dir);                              /* the folder and the files in it */

struct db_key db_key_of(int n); /* n-th task; strings are static */
void db_row_of(struct db_row *r, int64_t n);
void db_attempt_of(uint8_t attempt[DB_ATTEMPT_LEN], uint64_t n);

#define db_ok(call)                                                  \
    do {                                                             \
        struct err *db_e_ = &db_last;                                \
        err_clear(db_e_);                                            \
        enum rc db_rc_ = (call);                                     \
        ck_assert_msg(db_rc_ == RC_OK, "%s: %s", #call, db_e_->msg); \
    } while (0)
#define db_fails(code_, call)                                  \
    do {                                                       \
        err_clear(&db_last);                                   \
        enum rc db_rc_ = (call);                               \
        ck_assert_msg(db_rc_ != RC_OK, "%s succeeded", #call); \
        ck_assert_str_eq(db_last.code, code_);                 \
        ck_assert_int_eq(db_last.rc, db_rc_);                  \
        ck_assert_uint_gt(strlen(db_last.msg), 20);            \
    } while (0)
extern struct err db_last; /* pass &db_last to the call */

/* Reads one number with plain SQLite, as any other program would. */
int64_t db_sql_int(const char *path, const char *sql);
void db_sql(const char *path, const char *sql);

#endif
