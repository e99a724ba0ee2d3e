/* app_util: the programs as their users start them. Each test has a folder and a log of its own.
 *
 *   struct app_result r;
 *   app_run(&r, "tune matmul:M=8,N=8,K=8 --trials 8 --json");   words are split at spaces
 *   ck_assert_int_eq(r.code, 0);  json_t *o = app_json(&r, 0);   line 0 of stdout
 *
 * Invariants: the working folder is the test's; QUERN_DB points into it; no terminal is attached; a
 * program that does not end within its time is killed and fails the test. */
#ifndef QN_TEST_APP_UTIL_H
#define QN_TEST_APP_UTIL_H

#include <check.h>
#include <jansson.h>
#include <sys/types.h>

#include "base/base.h"
#include "base/err.h"

extern char app_dir[256]; /* the test's folder, also its working folder */
extern char app_db[300];  /* its log */

void app_setup(void); /* fixtures: make and enter the folder; remove it */
void app_teardown(void);

enum { APP_TIMEOUT_S = 120 };
struct app_result {
    int code; /* exit status, 128 + signal when killed by one */
    /* stdout, stderr; live until the next app_run into the same struct, then leak with the test */
    char *out, *err;
};
void app_run(struct app_result *r, const char *line, ...) QN_PRINTF(2, 3);
/* Runs and asserts the exit code. */
void app_expect(int code, struct app_result *r, const char *line, ...) QN_PRINTF(3, 4);

/* In the background; its output goes to files out.N and err.N of the folder. */
struct app_job {
    pid_t pid;
    int n;
};
struct app_job app_start(const char *line, ...) QN_PRINTF(1, 2);
void app_finish(struct app_job j, struct app_result *r); /* waits */
bool app_ended(struct app_job j);
void app_nap(int ms);
/* The process `name` (quern-worker, quern-runner) of this build whose parent is `parent`;
 * 0: none. */
pid_t app_child(pid_t parent, const char *name);

/* The n-th line of stdout as JSON; asserts that it is. */
json_t *app_json(const struct app_result *r, int n);
int app_lines(const char *text);
const char *app_text(json_t *o, const char *key);   /* asserts a text */
double app_number(json_t *o, const char *key);      /* asserts a number */
void app_write(const char *name, const char *text); /* a file in the folder */
char *app_read(const char *name);
/* One number out of the log with plain SQLite. */
int64_t app_sql(const char *sql);
char *app_sql_text(const char *sql); /* the same for a text */

#define app_has(text, part) ck_assert_msg(strstr(text, part) != NULL, "no '%s' in:\n%s", part, text)

#define app_lacks(text, part) ck_assert_msg(strstr(text, part) == NULL, "'%s' in:\n%s", part, text)

#endif
