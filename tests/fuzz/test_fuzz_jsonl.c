/* The log's door for foreign text: JSONL import. Every input goes through db_import on one lasting
 * log.
 *
 * Invariants: the answer is RC_OK, or RC_INPUT with "fuzz.jsonl:LINE:"; after a refusal nothing was
 * added; a line that parses prints back to a line that parses to the same bytes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/db_util.h"
#include "lib/fuzz.h"

static struct db *log_db;
static struct arena *arena;
static char dir[256], path[300];

static void open_once(void)
{
    if (log_db) return;
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    db_tmp(dir);
    db_in(path, dir, "log.db");
    struct err e;
    QN_CHECK(db_open(&log_db, path, DB_WRITE, &e) == RC_OK, "%s", e.msg);
    db_rm(dir); /* the open files live on; a child that dies leaves nothing behind */
    /* Nothing here is about syncs; without them it is quicker. */
    QN_CHECK(sqlite3_exec(log_db->sql, "PRAGMA synchronous = OFF", NULL, NULL, NULL) == SQLITE_OK,
             "pragma");
    arena = arena_new();
}

static void roundtrip(const char *line, size_t n)
{
    struct db_row r, again;
    char id[33];
    struct buf one, two;
    arena_reset(arena);
    if (db_row_parse(line, n, arena, &r, id, NULL) != RC_OK) return;
    db_row_id(r.id, &r);
    buf_init(&one, 2 * DB_MAX_LINE);
    buf_init(&two, 2 * DB_MAX_LINE);
    db_row_json(&r, &one);
    struct err e;
    QN_CHECK(db_row_parse(one.p, one.n, arena, &again, id, &e) == RC_OK, "own line refused: %s",
             e.msg);
    db_row_id(again.id, &again);
    db_row_json(&again, &two);
    QN_CHECK(one.n == two.n && memcmp(one.p, two.p, one.n) == 0,
             "printed twice, differently:\n%s\n%s", one.p, two.p);
    QN_CHECK(strcmp(again.id, id) == 0, "id %s became %s", id, again.id);
    buf_fini(&one);
    buf_fini(&two);
}

static int import_one(const uint8_t *p, size_t n)
{
    if (n == 0) return 0;
    open_once();
    const char *end = memchr(p, '\n', n);
    roundtrip((const char *)p, end ? (size_t)(end - (const char *)p) : n);
    FILE *f = fmemopen((void *)(uintptr_t)p, n, "r");
    QN_CHECK(f != NULL, "fmemopen");
    struct err e = {0};
    struct db_stats before, after;
    struct db_import im = {.origin = DB_IMPORT};
    QN_CHECK(db_stats(log_db, &before, &e) == RC_OK, "%s", e.msg);
    enum rc rc = db_import(log_db, "fuzz.jsonl", f, &im, &e);
    fclose(f);
    QN_CHECK(rc == RC_OK || (rc == RC_INPUT && strncmp(e.msg, "fuzz.jsonl:", 11) == 0), "rc %d: %s",
             rc, e.msg);
    QN_CHECK(utf8_valid(e.msg, strlen(e.msg)), "an error that is not UTF-8");
    QN_CHECK(db_stats(log_db, &after, &e) == RC_OK, "%s", e.msg);
    QN_CHECK(after.records - before.records == (rc == RC_OK ? im.accepted : 0),
             "%lld rows appeared", (long long)(after.records - before.records));
    return rc == RC_OK;
}

START_TEST(import_survives)
{
    ck_assert_int_gt(fuzz_run("jsonl", import_one, fuzz_seconds()), 1000);
}
END_TEST

/* Ids that another program (Python's json and hashlib) computed: the canonical form is what it
 * says. */
START_TEST(foreign_ids_are_ours)
{
    static const char *const FILES[] = {"three", "failed", "world", "count", "edited"};
    static const int ACCEPTED[] = {3, 1, 1, 1, 0};
    for (size_t i = 0; i < QN_COUNT(FILES); i++) {
        char name[200];
        struct db_import im = {.origin = DB_IMPORT};
        snprintf(name, sizeof name, QN_SOURCE_DIR "/tests/fuzz/corpus/jsonl/%s.jsonl", FILES[i]);
        open_once();
        FILE *f = fopen(name, "r");
        ck_assert_ptr_nonnull(f);
        db_ok(db_import(log_db, name, f, &im, &db_last));
        fclose(f);
        ck_assert_int_eq(im.accepted, ACCEPTED[i]);
        ck_assert_int_eq(im.refused, !ACCEPTED[i]);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fuzz_jsonl");
    TCase *t = tcase_create("door");
    tcase_set_timeout(t, fuzz_seconds() * 3 + 30);
    tcase_add_test(t, foreign_ids_are_ours);
    tcase_add_test(t, import_survives);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
