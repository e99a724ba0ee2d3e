/* db_crashvfs: an SQLite file layer that knows what a power cut would leave, and that can fail on
 * demand.
 *
 *   crashvfs_start(); db_open_with(&d, path, DB_WRITE, "crash", 0, &e);
 *   crashvfs_at_sync(check, ctx);                 called before and after every sync
 *   in check: crashvfs_cut(out_dir, CUT_RANDOM, seed);
 *                                                 out_dir/log.db and -wal as after a power cut now
 *   crashvfs_fail(FAIL_WRITE, 7, SQLITE_IOERR_WRITE, true);
 *                                                 the 7th write from now fails, and all later
 *
 * Writes go to the real file at once and are remembered until that file is synced. A cut starts
 * from the synced content and keeps, drops or tears (garbage, or half of it) each unsynced 512-byte
 * sector. Deleted files may come back and new ones be gone, unless a sync of a new file (and so of
 * the folder) or of the deletion made that final. The WAL index (shm) is never kept. Model:
 * SQLite's own test6.c.
 *
 * Invariant: CUT_KEEP gives the real files' bytes; after a sync the file's own bytes are in every
 * cut. */
#ifndef QN_TEST_DB_CRASHVFS_H
#define QN_TEST_DB_CRASHVFS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

enum crash_cut { CUT_KEEP, CUT_DROP, CUT_RANDOM, CUT_TEAR, CUT_KINDS };
enum crash_fail {
    FAIL_WRITE,
    FAIL_SYNC,
    FAIL_TRUNCATE,
    FAIL_OPEN,
    FAIL_READ,
    FAIL_SHM,
    FAIL_DELETE,
    FAIL_SIZE,
    FAIL_KINDS
};

void crashvfs_start(void); /* registers "crash"; forgets files, hooks and failures of before */
void crashvfs_at_sync(void (*hook)(void *ctx, bool before), void *ctx);
void crashvfs_cut(const char *dir, enum crash_cut how, uint64_t seed);
void crashvfs_fail(enum crash_fail what, int64_t nth, int code, bool sticky); /* nth 0: never */
bool crashvfs_failed(void);   /* the failure asked for has happened */
int64_t crashvfs_syncs(void); /* so far */
const char *crashvfs_fail_name(enum crash_fail what);
int crashvfs_fail_code(enum crash_fail what);

#endif
