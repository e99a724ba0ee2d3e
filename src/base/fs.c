/* fs: files as wholes, and where quern's data folders are.
 *
 *   fs_write("best.jsonl", text, n, &e)
 *     ->  best.jsonl.tmp.4711.0, fsync, rename, fsync of the folder
 *
 * Invariants: a reader never sees half a file; no temporary is left behind by a failed write; every
 * descriptor is close-on-exec. */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/vec.h"

enum { PATH_TEXT = 4096, READ_STEP = 64 * 1024 };

static enum rc read_all(int fd, const char *path, size_t max, char **text, size_t *len,
                        struct err *e)
{
    struct stat st;
    size_t cap = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0
                     ? (size_t)st.st_size + 1
                     : READ_STEP,
           n = 0;
    if (cap > max + 1) cap = max + 1; /* one more byte than allowed tells "too big" */
    char *p = mem_new(cap + 1);
    for (;;) {
        if (n == cap && cap <= max) {
            size_t grown = cap * 2 > max + 1 ? max + 1 : cap * 2;
            p = mem_grow(p, cap + 1, grown + 1);
            cap = grown;
        }
        if (n > max) {
            mem_free(p);
            return err_set(e, RC_INPUT, "fs.too_big", "'%s' is larger than %zu bytes", path, max);
        }
        ssize_t r = read(fd, p + n, cap - n);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) {
            mem_free(p);
            return err_set(e, RC_INPUT, "fs.read", "cannot read '%s': %s", path, strerror(errno));
        }
        if (r == 0) break;
        n += (size_t)r;
    }
    p[n] = 0;
    *text = p;
    if (len) *len = n;
    return RC_OK;
}

enum rc fs_read(const char *path, size_t max, char **text, size_t *len, struct err *e)
{
    *text = NULL;
    if (len) *len = 0;
    QN_CHECK(max < SIZE_MAX / 4, "limit of %zu bytes", max);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(e, RC_INPUT, "fs.open", "cannot open '%s': %s", path, strerror(errno));
    enum rc rc = read_all(fd, path, max, text, len, e);
    close(fd);
    return rc;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* So that the rename itself survives a power cut; a file system without it is no error. */
static void sync_folder_of(const char *path)
{
    char dir[PATH_TEXT];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        snprintf(dir, sizeof dir, ".");
    else if (slash == dir)
        slash[1] = 0;
    else
        *slash = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)!fsync(fd);
    close(fd);
}

enum rc fs_write(const char *path, const void *p, size_t n, struct err *e)
{
    static unsigned serial;
    char tmp[PATH_TEXT];
    int len = snprintf(tmp, sizeof tmp, "%s.tmp.%ld.%u", path, (long)getpid(),
                       __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED));
    if (len < 0 || (size_t)len >= sizeof tmp)
        return err_set(e, RC_STORE, "fs.name", "the path '%.60s...' is too long", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return err_set(e, RC_STORE, "fs.open", "cannot create '%s': %s", tmp, strerror(errno));
    bool ok = write_all(fd, p, n) && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(tmp, path) != 0) {
        ok = false;
        why = errno;
    }
    if (!ok) {
        unlink(tmp);
        return err_set(e, RC_STORE, "fs.write", "cannot write '%s': %s", path, strerror(why));
    }
    sync_folder_of(path);
    return RC_OK;
}

enum rc fs_mkdirs(const char *path, struct err *e)
{
    char at[PATH_TEXT];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof at)
        return err_set(e, RC_STORE, "fs.name", "the path '%.60s' is empty or too long", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(at, path, i);
        at[i] = 0;
        if (mkdir(at, 0777) != 0 && errno != EEXIST)
            return err_set(e, RC_STORE, "fs.mkdir", "cannot create folder '%s': %s", at,
                           strerror(errno));
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(e, RC_STORE, "fs.mkdir", "'%s' exists and is not a folder", path);
    return RC_OK;
}

bool fs_exists(const char *path) { return access(path, F_OK) == 0; }

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum { UPWARDS = 5 }; /* build/bin/quern is two below the tree; a nested build some more */

enum rc fs_data_dir(char *out, size_t n, const char *name, struct err *e)
{
    char base[PATH_TEXT], try[2 * PATH_TEXT];
    const char *given = getenv("QUERN_DATA");
    if (given && given[0]) {
        snprintf(try, sizeof try, "%.*s/%s", PATH_TEXT, given, name);
        if (!is_folder(try))
            return err_set(e, RC_INPUT, "fs.data", "QUERN_DATA is '%s', which has no folder '%s'",
                           given, name);
        goto found;
    }
    enum rc rc = proc_self_dir(base, sizeof base, e);
    if (rc != RC_OK) return rc;
    size_t keep = strlen(base);
    for (int up = 0; up <= UPWARDS; up++) {
        snprintf(try, sizeof try, "%.*s/%s", (int)keep, base, name);
        if (is_folder(try)) goto found;
        while (keep > 0 && base[keep - 1] != '/') keep--;
        if (keep <= 1) break; /* never the root folder itself */
        keep--;
    }
    snprintf(try, sizeof try, "%s/../share/quern/%s", base, name);
    if (!is_folder(try))
        return err_set(e, RC_INPUT, "fs.data",
                       "no folder '%s' near '%s' or in its ../share/quern; set QUERN_DATA to the "
                       "folder that holds it",
                       name, base);
found:
    if ((size_t)snprintf(out, n, "%s", try) >= n)
        return err_set(e, RC_INPUT, "fs.name", "the path of data folder '%s' is too long", name);
    return RC_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum rc fs_list(const char *dir, const char *suffix, char ***names, size_t *n, struct err *e)
{
    *names = NULL;
    *n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return err_set(e, RC_INPUT, "fs.open", "cannot open folder '%s': %s", dir, strerror(errno));
    VEC(char *) found = {0};
    for (struct dirent *f; (f = readdir(d));) {
        size_t len = strlen(f->d_name), tail = strlen(suffix);
        if (f->d_name[0] == '.' || len < tail || strcmp(f->d_name + len - tail, suffix) != 0)
            continue;
        vec_push(&found, mem_strdup(f->d_name));
    }
    closedir(d);
    if (found.n) qsort(found.p, found.n, sizeof *found.p, by_name);
    *names = found.p;
    *n = found.n;
    return RC_OK;
}

void fs_list_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++) mem_free(names[i]);
    mem_free(names);
}
