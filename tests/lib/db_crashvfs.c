/* db_crashvfs: see db_crashvfs.h. */
#include "lib/db_crashvfs.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "base/vec.h"

enum { SECTOR = 512, FILES = 16 };

struct op {
    bool truncate;
    int64_t at, n; /* truncate: at = new size */
    uint8_t *p;
};

/* What is known of one path, open or not. */
struct known {
    char path[512];
    bool exists, synced_exists; /* now; for certain after a cut */
    uint8_t *synced;
    int64_t synced_n;
    VEC(struct op) ops;
};

struct crash_file {
    sqlite3_file base;
    struct known *k; /* NULL: a temporary file */
    sqlite3_file *real;
};

static sqlite3_vfs vfs, *host;
static sqlite3_io_methods methods;
static struct known files[FILES];
static int file_n;
static void (*sync_hook)(void *, bool);
static void *sync_ctx;
static bool in_hook;
static int64_t syncs;
static struct {
    enum crash_fail what;
    int64_t left;
    int code;
    bool sticky, hit;
} failure;

static const struct {
    const char *name;
    int code;
} FAILS[] = {
    [FAIL_WRITE] = {"write", SQLITE_IOERR_WRITE},
    [FAIL_SYNC] = {"sync", SQLITE_IOERR_FSYNC},
    [FAIL_TRUNCATE] = {"truncate", SQLITE_IOERR_TRUNCATE},
    [FAIL_OPEN] = {"open", SQLITE_CANTOPEN},
    [FAIL_READ] = {"read", SQLITE_IOERR_READ},
    [FAIL_SHM] = {"shm", SQLITE_IOERR_SHMMAP},
    [FAIL_DELETE] = {"delete", SQLITE_IOERR_DELETE},
    [FAIL_SIZE] = {"size", SQLITE_IOERR_FSTAT},
};

const char *crashvfs_fail_name(enum crash_fail what) { return FAILS[what].name; }
int crashvfs_fail_code(enum crash_fail what) { return FAILS[what].code; }

void crashvfs_fail(enum crash_fail what, int64_t nth, int code, bool sticky)
{
    failure.what = what;
    failure.left = nth;
    failure.code = code;
    failure.sticky = sticky;
    failure.hit = false;
}

bool crashvfs_failed(void) { return failure.hit; }
int64_t crashvfs_syncs(void) { return syncs; }

static int fails(enum crash_fail what)
{
    if (failure.what != what || failure.left == 0) return SQLITE_OK;
    if (failure.left > 1) {
        failure.left--;
        return SQLITE_OK;
    }
    if (!failure.sticky) failure.left = 0;
    failure.hit = true;
    return failure.code;
}

/* ---- what is known ---- */

static struct known *known_of(const char *path)
{
    for (int i = 0; i < file_n; i++)
        if (strcmp(files[i].path, path) == 0) return &files[i];
    ck_assert_int_lt(file_n, FILES);
    struct known *k = &files[file_n++];
    snprintf(k->path, sizeof k->path, "%s", path);
    return k;
}

static void forget_ops(struct known *k)
{
    for (size_t i = 0; i < k->ops.n; i++) mem_free(k->ops.p[i].p);
    k->ops.n = 0;
}

static void set_size(uint8_t **p, int64_t *n, int64_t size)
{
    if (size > *n) *p = mem_grow(*p, (size_t)*n, (size_t)size);
    *n = size;
}

static void apply(uint8_t **p, int64_t *n, int64_t at, const uint8_t *bytes, int64_t len)
{
    if (at + len > *n) set_size(p, n, at + len);
    memcpy(*p + at, bytes, (size_t)len);
}

static void make_durable(struct known *k)
{
    for (size_t i = 0; i < k->ops.n; i++) {
        const struct op *o = &k->ops.p[i];
        if (o->truncate)
            set_size(&k->synced, &k->synced_n, o->at);
        else
            apply(&k->synced, &k->synced_n, o->at, o->p, o->n);
    }
    forget_ops(k);
    k->synced_exists = true;
}

/* A folder's sync makes the deletions in it final. */
static void sync_folder(void)
{
    for (int i = 0; i < file_n; i++)
        if (!files[i].exists) files[i].synced_exists = false;
}

static void read_whole(struct known *k)
{
    FILE *f = fopen(k->path, "rb");
    if (!f) return;
    fseek(f, 0, SEEK_END);
    set_size(&k->synced, &k->synced_n, ftell(f));
    rewind(f);
    ck_assert_uint_eq(fread(k->synced, 1, (size_t)k->synced_n, f), (size_t)k->synced_n);
    fclose(f);
    k->synced_exists = k->exists = true;
}

static void run_hook(bool before)
{
    if (!sync_hook || in_hook) return;
    in_hook = true;
    sync_hook(sync_ctx, before);
    in_hook = false;
}

/* ---- the methods ---- */

static sqlite3_file *real(sqlite3_file *f) { return ((struct crash_file *)f)->real; }
static struct known *known(sqlite3_file *f) { return ((struct crash_file *)f)->k; }

static int x_close(sqlite3_file *f) { return real(f)->pMethods->xClose(real(f)); }

static int x_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    int rc = fails(FAIL_READ);
    return rc ? rc : real(f)->pMethods->xRead(real(f), p, n, at);
}

static int x_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    int rc = fails(FAIL_WRITE);
    if (rc) return rc;
    struct known *k = known(f);
    if (k) {
        struct op o = {.at = at, .n = n, .p = mem_new((size_t)n)};
        memcpy(o.p, p, (size_t)n);
        vec_push(&k->ops, o);
    }
    return real(f)->pMethods->xWrite(real(f), p, n, at);
}

static int x_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int rc = fails(FAIL_TRUNCATE);
    if (rc) return rc;
    if (known(f)) {
        struct op o = {.truncate = true, .at = size};
        vec_push(&known(f)->ops, o);
    }
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int x_sync(sqlite3_file *f, int flags)
{
    if (!known(f)) return SQLITE_OK;
    run_hook(true);
    int rc = fails(FAIL_SYNC); /* what was not synced stays at the mercy of a cut */
    if (rc) return rc;
    if (!known(f)->synced_exists) sync_folder(); /* as SQLite does after making a journal or WAL */
    make_durable(known(f));
    syncs++;
    run_hook(false);
    return SQLITE_OK; /* the real disk need not be bothered */
}

static int x_size(sqlite3_file *f, sqlite3_int64 *size)
{
    int rc = fails(FAIL_SIZE);
    return rc ? rc : real(f)->pMethods->xFileSize(real(f), size);
}

static int x_lock(sqlite3_file *f, int l) { return real(f)->pMethods->xLock(real(f), l); }
static int x_unlock(sqlite3_file *f, int l) { return real(f)->pMethods->xUnlock(real(f), l); }
static int x_reserved(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int x_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int x_sector(sqlite3_file *f) { return real(f)->pMethods->xSectorSize(real(f)); }
static int x_device(sqlite3_file *f) { return real(f)->pMethods->xDeviceCharacteristics(real(f)); }

static int x_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    int rc = fails(FAIL_SHM);
    return rc ? rc : real(f)->pMethods->xShmMap(real(f), page, size, extend, p);
}
static int x_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), at, n, flags);
}
static void x_shm_barrier(sqlite3_file *f) { real(f)->pMethods->xShmBarrier(real(f)); }
static int x_shm_unmap(sqlite3_file *f, int del)
{
    return real(f)->pMethods->xShmUnmap(real(f), del);
}

static int x_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct crash_file *c = (struct crash_file *)f;
    memset(c, 0, sizeof *c);
    int rc = fails(FAIL_OPEN);
    if (rc) return rc;
    c->real = (sqlite3_file *)(c + 1);
    bool tracked =
        name && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL));
    bool seen = false;
    for (int i = 0; tracked && i < file_n; i++) seen |= strcmp(files[i].path, name) == 0;
    if (tracked) {
        c->k = known_of(name);
        if (!seen) read_whole(c->k);
    }
    rc = host->xOpen(host, name, c->real, flags, out);
    if (c->real->pMethods) f->pMethods = &methods;
    if (rc == SQLITE_OK && c->k && !c->k->exists) {
        struct op o = {.truncate = true,
                       .at = 0}; /* a new file; an older one of that name may come back */
        vec_push(&c->k->ops, o);
        c->k->exists = true;
    }
    return rc;
}

static int x_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
    int rc = fails(FAIL_DELETE);
    if (rc) return rc;
    struct known *k = known_of(name);
    rc = host->xDelete(host, name, sync_dir);
    if (rc != SQLITE_OK) return rc;
    k->exists = false;
    forget_ops(k);
    if (sync_dir) {
        k->synced_exists = false;
        k->synced_n = 0;
    }
    return SQLITE_OK;
}

void crashvfs_start(void)
{
    for (int i = 0; i < file_n; i++) {
        forget_ops(&files[i]);
        vec_free(&files[i].ops);
        mem_free(files[i].synced);
    }
    memset(files, 0, sizeof files);
    file_n = 0;
    syncs = 0;
    sync_hook = NULL;
    memset(&failure, 0, sizeof failure);
    if (host) return;
    host = sqlite3_vfs_find(NULL);
    methods =
        (sqlite3_io_methods){2,        x_close,   x_read,     x_write,       x_truncate,  x_sync,
                             x_size,   x_lock,    x_unlock,   x_reserved,    x_control,   x_sector,
                             x_device, x_shm_map, x_shm_lock, x_shm_barrier, x_shm_unmap, NULL,
                             NULL};
    vfs = *host;
    vfs.zName = "crash";
    vfs.pNext = NULL;
    vfs.szOsFile = (int)sizeof(struct crash_file) + host->szOsFile;
    vfs.xOpen = x_open;
    vfs.xDelete = x_delete;
    ck_assert_int_eq(sqlite3_vfs_register(&vfs, 0), SQLITE_OK);
}

void crashvfs_at_sync(void (*hook)(void *ctx, bool before), void *ctx)
{
    sync_hook = hook;
    sync_ctx = ctx;
}

/* ---- the cut ---- */

static void cut_write(struct rng *r, enum crash_cut how, const struct op *o, uint8_t **p,
                      int64_t *n)
{
    for (int64_t at = 0; at < o->n;) {
        /* Sectors of the disk, not of the write. */
        int64_t len = i64_min(SECTOR - (o->at + at) % SECTOR, o->n - at);
        int fate = how == CUT_KEEP   ? 0
                   : how == CUT_DROP ? 1
                                     : (int)rng_range(r, 0, how == CUT_TEAR ? 5 : 3);
        uint8_t junk[SECTOR];
        if (fate == 0 || fate == 4)
            apply(p, n, o->at + at, o->p + at, len);
        else if (fate == 2) { /* torn in the middle */
            apply(p, n, o->at + at, o->p + at, i64_max(1, len / 2));
        } else if (fate == 3) {
            for (int64_t i = 0; i < len; i++) junk[i] = (uint8_t)rng_u64(r);
            apply(p, n, o->at + at, junk, len);
        }
        at += len;
    }
}

static void cut_file(struct rng *r, enum crash_cut how, const struct known *k, const char *dir)
{
    bool came_back = !k->exists && k->synced_exists;
    bool there = how == CUT_KEEP ? k->exists : k->synced_exists;
    if (how >= CUT_RANDOM && (came_back || (k->exists && !k->synced_exists)))
        there = rng_chance(r, 0.5);
    if (!there) return;
    int64_t n = k->synced_n;
    uint8_t *p = mem_new((size_t)n + 1);
    if (n) memcpy(p, k->synced, (size_t)n);
    for (size_t i = 0; i < k->ops.n; i++) {
        const struct op *o = &k->ops.p[i];
        if (!o->truncate)
            cut_write(r, how, o, &p, &n);
        else if (how == CUT_KEEP || (how >= CUT_RANDOM && rng_chance(r, 0.5)))
            set_size(&p, &n, o->at);
    }
    char path[1200];
    const char *name = strrchr(k->path, '/');
    snprintf(path, sizeof path, "%s/%s", dir, name ? name + 1 : k->path);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, (size_t)n, f), (size_t)n);
    ck_assert_int_eq(fclose(f), 0);
    mem_free(p);
}

void crashvfs_cut(const char *dir, enum crash_cut how, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < file_n; i++) cut_file(&r, how, &files[i], dir);
}
