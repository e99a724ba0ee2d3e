/* fs: whole-file reads, atomic writes, data folders. */
#ifndef QN_FS_H
#define QN_FS_H

#include "base/err.h"

/* NUL-terminated, free with mem_free; RC_INPUT above max bytes or if unreadable. */
enum rc fs_read(const char *path, size_t max, char **text, size_t *len, struct err *e);
/* Write to a temporary sibling, fsync, rename: readers see the old or the new file, never half. */
enum rc fs_write(const char *path, const void *p, size_t n, struct err *e);
enum rc fs_mkdirs(const char *path, struct err *e);
bool fs_exists(const char *path);
/* Finds a data folder ("schedules", "targets", "tuning-db") for a program in build/bin or
 * installed: $QUERN_DATA/name, then upwards from the program's folder, then ../share/quern/name. */
enum rc fs_data_dir(char *out, size_t n, const char *name, struct err *e);
/* File names in a folder ending with `suffix`, sorted; free names with fs_list_free. */
enum rc fs_list(const char *dir, const char *suffix, char ***names, size_t *n, struct err *e);
void fs_list_free(char **names, size_t n);

#endif
