/* db_util: see db_util.h. */
#include "lib/db_util.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct err db_last;

void db_tmp(char dir[256])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, 256, "%s/quern-test-db-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

void db_in(char *out, const char *dir, const char *name) { snprintf(out, 300, "%s/%s", dir, name); }

void db_rm(const char *dir)
{
    DIR *d = opendir(dir);
    char path[600];
    for (struct dirent *at; d && (at = readdir(d));) {
        if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, at->d_name);
        if (unlink(path) != 0) db_rm(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

struct db_key db_key_of(int n)
{
    static char task[16][64];
    snprintf(task[n & 15], sizeof task[0], "matmul:K=64,M=%d,N=64", 16 * (n + 1));
    return (struct db_key){.task = task[n & 15],
                           .op_hash = "00112233445566778899aabbccddeeff",
                           .target = "x86-64-v3",
                           .target_hash = "ffeeddccbbaa99887766554433221100",
                           .device_class = "part 6/143/8\nisa avx2 fma\nl1d 32768 l2 2097152",
                           .threads = 1,
                           .cache_mode = "hot",
                           .objective = "time"};
}

void db_attempt_of(uint8_t attempt[DB_ATTEMPT_LEN], uint64_t n)
{
    uint8_t h[32];
    sha256_of(h, &n, sizeof n);
    memcpy(attempt, h, DB_ATTEMPT_LEN);
}

void db_row_of(struct db_row *r, int64_t n)
{
    static char trace[128];
    static double samples[5];
    db_row_init(r);
    r->k = db_key_of(0);
    snprintf(trace, sizeof trace, "algorithm direct\nsplit m %lld\nvectorize n 8\n",
             (long long)n + 1);
    for (int i = 0; i < 5; i++) samples[i] = 1000.0 + (double)(n * 7919 % 1000) + 0.1 * i;
    db_attempt_of(r->attempt, (uint64_t)n);
    r->trace = trace;
    r->blob_hash = "0123456789abcdef0123456789abcdef";
    r->step = n;
    r->phase = DB_SCREEN;
    r->seed = UINT64_C(0x9000000000000000) + (uint64_t)n;
    r->verdict = "ok";
    r->tier = 1;
    r->samples = samples;
    r->sample_n = 5;
    r->median = samples[2];
    r->ci_lo = samples[1];
    r->ci_hi = samples[3];
    r->gflops = 100.5;
    r->max_err = 0;
    r->bound = 0;
    r->out_crc = 0xdeadbeef;
    r->build_ns = 8000000;
    r->verify_ns = 1000000;
    r->run_ns = 2000000;
    r->when_ms = 1700000000000 + n;
}

static sqlite3_stmt *ask(sqlite3 **sql, const char *path, const char *text)
{
    sqlite3_stmt *s;
    ck_assert_int_eq(sqlite3_open(path, sql), SQLITE_OK);
    sqlite3_busy_timeout(*sql, 5000);
    int rc = sqlite3_prepare_v2(*sql, text, -1, &s, NULL);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", text, sqlite3_errmsg(*sql));
    return s;
}

int64_t db_sql_int(const char *path, const char *text)
{
    sqlite3 *sql;
    sqlite3_stmt *s = ask(&sql, path, text);
    int rc = sqlite3_step(s);
    ck_assert_msg(rc == SQLITE_ROW, "%s: %s", text, sqlite3_errmsg(sql));
    int64_t v = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(sql);
    return v;
}

void db_sql(const char *path, const char *text)
{
    sqlite3 *sql;
    ck_assert_int_eq(sqlite3_open(path, &sql), SQLITE_OK);
    sqlite3_busy_timeout(sql, 5000);
    char *why = NULL;
    int rc = sqlite3_exec(sql, text, NULL, NULL, &why);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", text, why);
    sqlite3_close(sql);
}
