/* lock: the side file PATH.lock and the file systems where locks cannot be trusted.
 *
 *   byte 0 `write`  exclusive for one group commit, checkpoint or close (SQLite before 3.51.3 can
 *                   damage a WAL that two connections write or checkpoint at once)
 *   byte 1 `use`    shared by every CLI that writes, exclusive for a daemon's life
 *
 * Open-file-description locks: they belong to the descriptor, so threads exclude each other too,
 * closing another descriptor of the file drops nothing, and the kernel frees them when a process
 * dies. The descriptor is close-on-exec, so no child keeps them. The file is never deleted. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/proc.h"
#include "db/db_int.h"

static const struct {
    long type;
    const char *name;
} NETWORK_FS[] = {
    {0x6969, "NFS"},
    {0x517B, "SMB"},
    {0xFF534D42L, "CIFS"},
    {0xFE534D42L, "SMB2"},
    {0x01021997, "9P"},
    {0x5346414F, "AFS"},
    {0x6B414653, "kAFS"},
    {0x00C36400, "Ceph"},
    {0x0BD00BD0, "Lustre"},
    {0x47504653, "GPFS"},
    {0x7461636F, "OCFS2"},
    {0x01161970, "GFS2"},
    {0x73757245, "Coda"},
    {0x564C, "NCP"},
    {0xAAD7AAEAL, "PanFS"},
    {0x19830326, "FhGFS"},
    {0x786F4256, "VirtualBox shared folder"},
};

bool db_fs_is_network(long f_type, const char **name)
{
    for (size_t i = 0; i < QN_COUNT(NETWORK_FS); i++)
        if ((f_type & 0xFFFFFFFFL) == NETWORK_FS[i].type) {
            if (name) *name = NETWORK_FS[i].name;
            return true;
        }
    return false;
}

/* FUSE carries local file systems too (a rootless container's overlay): the mount's type name
 * tells. */
static const char *const NETWORK_FUSE[] = {"sshfs",     "glusterfs", "s3fs",   "rclone",
                                           "ceph-fuse", "gcsfuse",   "goofys", "davfs",
                                           "mount-s3",  "curlftpfs"};
enum { FUSE_MAGIC = 0x65735546 };

bool db_fuse_is_network(const char *mountinfo, unsigned major, unsigned minor, const char **name)
{
    for (const char *line = mountinfo; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        unsigned a, b;
        if (sscanf(line, "%*d %*d %u:%u ", &a, &b) != 2 || a != major || b != minor) continue;
        const char *type = strstr(line, " - fuse."), *end = strchr(line, '\n');
        if (!type || (end && type > end)) continue;
        type += strlen(" - fuse.");
        for (size_t i = 0; i < QN_COUNT(NETWORK_FUSE); i++)
            if (strncmp(type, NETWORK_FUSE[i], strlen(NETWORK_FUSE[i])) == 0) {
                *name = NETWORK_FUSE[i];
                return true;
            }
    }
    return false;
}

static bool dir_is_network(const char *dir, long f_type, const char **name)
{
    if (f_type != FUSE_MAGIC) return db_fs_is_network(f_type, name);
    struct stat st;
    char *text;
    if (stat(dir, &st) != 0 || fs_read("/proc/self/mountinfo", 1 << 20, &text, NULL, NULL) != RC_OK)
        return false;
    bool yes = db_fuse_is_network(text, major(st.st_dev), minor(st.st_dev), name);
    mem_free(text);
    return yes;
}

int (*db_statfs)(const char *path, struct statfs *st) = statfs;

enum rc db_check_fs(const char *path, struct err *e)
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
    struct statfs st;
    if (db_statfs(dir, &st) != 0)
        return db_fail(e, DB_E_CANTOPEN, "cannot reach folder '%s': %s", dir, strerror(errno));
    const char *name;
    if (dir_is_network(dir, (long)st.f_type, &name))
        return db_fail(e, DB_E_NETWORK, "log '%s' lies on a network file system (%s)", path, name);
    return RC_OK;
}

enum rc db_lock_open(struct db *d, struct err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s.lock", d->path);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0666);
    if (d->lock_fd >= 0) return RC_OK;
    enum db_error which = errno == EACCES || errno == EROFS || errno == EPERM ? DB_E_READONLY
                          : errno == ENOSPC || errno == EDQUOT                ? DB_E_FULL
                                                                              : DB_E_CANTOPEN;
    return db_fail(e, which, "cannot open the lock file '%s': %s", path, strerror(errno));
}

static int lock_try(int fd, enum db_lock_byte at, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    int rc;
    do rc = fcntl(fd, F_OFD_SETLK, &l);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
}

/* Waits by trying: a lock call with a time limit does not exist, and a signal handler's process
 * must stay able to stop. 0, or the errno of the last try. */
static int lock_wait(int fd, enum db_lock_byte at, short type, int busy_ms)
{
    int64_t end = clock_ns() + (int64_t)busy_ms * 1000000;
    for (long nap = 100000;; nap = nap < 4000000 ? nap * 2 : nap) {
        int why = lock_try(fd, at, type);
        if ((why != EAGAIN && why != EACCES) || clock_ns() > end) return why;
        nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
    }
}

enum rc db_lock_use(struct db *d, struct err *e)
{
    bool daemon = d->mode == DB_DAEMON;
    /* A short wait: a daemon that is just going away, not one that stays. */
    int why =
        lock_wait(d->lock_fd, DB_LOCK_USE, daemon ? F_WRLCK : F_RDLCK, i64_min(d->busy_ms, 500));
    if (why == 0) return RC_OK;
    if (why != EAGAIN && why != EACCES)
        return db_fail(e, DB_E_CANTOPEN, "cannot lock '%s.lock': %s", d->path, strerror(why));
    return db_fail(e, daemon ? DB_E_IN_USE : DB_E_DAEMON, "log '%s' is taken", d->path);
}

enum rc db_lock_write(struct db *d, struct err *e)
{
    QN_CHECK(d->lock_fd >= 0, "write lock asked of a reader");
    if (d->locked++ > 0) return RC_OK;
    int why = lock_wait(d->lock_fd, DB_LOCK_WRITE, F_WRLCK, d->busy_ms);
    if (why == 0) return RC_OK;
    d->locked = 0;
    return db_fail(e, DB_E_LOCKED, "log '%s': no write lock after %d ms (%s)", d->path, d->busy_ms,
                   strerror(why));
}

void db_unlock_write(struct db *d)
{
    QN_CHECK(d->locked > 0, "write lock freed twice");
    if (--d->locked == 0) lock_try(d->lock_fd, DB_LOCK_WRITE, F_UNLCK);
}
