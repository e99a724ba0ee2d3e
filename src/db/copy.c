/* copy: reading a log in a folder that may not be written (a shared archive, a read-only mount).
 *
 * SQLite needs a WAL index beside the file, so the reader gets a private copy of file and WAL.
 *
 * Nothing is locked, so the copy must be consistent by its order: the WAL's header, then the file,
 * then the WAL. A checkpoint in between only moves frames into the file that the WAL copied
 * afterwards still holds, unless the WAL was restarted, and that changes its header (salts): then
 * it is done again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/db_int.h"

enum { WAL_HEADER = 32, COPY_TRIES = 20 };

bool db_folder_writable(const char *path)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == dir)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    else
        snprintf(dir, sizeof dir, ".");
    return access(dir, W_OK) == 0;
}

/* Header bytes of the WAL, zeros where there is none. */
static bool wal_header(const char *wal, uint8_t h[WAL_HEADER])
{
    memset(h, 0, WAL_HEADER);
    int fd = open(wal, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT;
    ssize_t n = pread(fd, h, WAL_HEADER, 0);
    close(fd);
    return n >= 0;
}

static bool copy_file(const char *from, const char *to, bool may_miss)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return may_miss && errno == ENOENT;
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = out >= 0;
    char *block = mem_new(1 << 16);
    while (ok) {
        ssize_t n = read(in, block, 1 << 16);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            ok = n == 0;
            break;
        }
        for (ssize_t done = 0; ok && done < n;) {
            ssize_t w = write(out, block + done, (size_t)(n - done));
            if (w < 0 && errno == EINTR) continue;
            ok = w > 0;
            if (ok) done += w;
        }
    }
    int why = errno;
    mem_free(block);
    close(in);
    if (out >= 0) close(out);
    errno = why;
    return ok;
}

void db_copy_forget(const char *copy)
{
    static const char *const SUFFIX[] = {"", "-wal", "-shm", "-journal"};
    char path[4200];
    for (size_t i = 0; i < QN_COUNT(SUFFIX); i++) {
        snprintf(path, sizeof path, "%s%s", copy, SUFFIX[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s", copy);
    *strrchr(path, '/') = 0;
    rmdir(path);
}

enum rc db_copy_private(const char *path, char *copy, size_t n, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    char dir[2048], wal[4200], wal_copy[4200];
    snprintf(dir, sizeof dir, "%s/quern-log-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return db_fail(
            e, DB_E_CANTOPEN,
            "log '%s' is in a read-only folder and no private copy can be made in '%s': %s", path,
            dir, strerror(errno));
    snprintf(copy, n, "%s/log.db", dir);
    snprintf(wal, sizeof wal, "%s-wal", path);
    snprintf(wal_copy, sizeof wal_copy, "%s-wal", copy);
    for (int i = 0; i < COPY_TRIES; i++) {
        uint8_t before[WAL_HEADER], after[WAL_HEADER], copied[WAL_HEADER];
        errno = 0;
        unlink(wal_copy);
        if (!wal_header(wal, before) || !copy_file(path, copy, false) ||
            !copy_file(wal, wal_copy, true) || !wal_header(wal, after) ||
            !wal_header(wal_copy, copied)) {
            int why = errno;
            db_copy_forget(copy);
            return db_fail(e, why == ENOSPC ? DB_E_FULL : DB_E_CANTOPEN,
                           "cannot copy log '%s' to '%s': %s", path, dir, strerror(why));
        }
        if (memcmp(before, after, WAL_HEADER) == 0 && memcmp(before, copied, WAL_HEADER) == 0)
            return RC_OK;
    }
    db_copy_forget(copy);
    return db_fail(e, DB_E_LOCKED, "log '%s' changed %d times while it was copied for reading",
                   path, COPY_TRIES);
}
