/* plant: a list of blobs, handed out in order. See cli_plant.h. */
#include "cli_plant.h"

#include <stdio.h>
#include <string.h>

#include "base/fs.h"

enum { PLANTS = 64, PLANT_BYTES = 1 << 20, PLANT_SCRATCH = 4096 };

struct planted {
    int n, next;
    struct {
        char name[64], hash[33];
        char *code;
        size_t bytes;
    } blob[PLANTS];
    char error[512];
};

static enum rc read_one(struct planted *p, const char *path, struct err *e)
{
    if (p->n == PLANTS)
        return err_set(e, RC_INPUT, "plant.file", "QUERN_PLANT names more than %d files", PLANTS);
    enum rc rc = fs_read(path, PLANT_BYTES, &p->blob[p->n].code, &p->blob[p->n].bytes, e);
    if (rc != RC_OK) return err_wrap(e, "QUERN_PLANT");
    const char *slash = strrchr(path, '/');
    snprintf(p->blob[p->n].name, sizeof p->blob[0].name, "%s", slash ? slash + 1 : path);
    hash_id(p->blob[p->n].hash, p->blob[p->n].code, p->blob[p->n].bytes);
    p->n++;
    return RC_OK;
}

enum rc planted_read(const char *path, struct planted **out, struct err *e)
{
    char *text = NULL;
    size_t n;
    *out = NULL;
    if (!path || !*path) return RC_OK;
    struct planted *p = mem_new(sizeof *p);
    enum rc rc = fs_read(path, 1 << 20, &text, &n, e);
    for (char *line = text; rc == RC_OK && *line;) {
        size_t len = strcspn(line, "\n");
        char *next = line + len + (line[len] != 0);
        line[len] = 0;
        if (len) rc = read_one(p, line, e);
        line = next;
    }
    mem_free(text);
    if (rc != RC_OK) {
        planted_free(p);
        return rc;
    }
    *out = p;
    return RC_OK;
}

void planted_free(struct planted *p)
{
    if (!p) return;
    for (int i = 0; i < p->n; i++) mem_free(p->blob[i].code);
    mem_free(p);
}

void planted_next(struct planted *p, struct compile_result *r)
{
    if (r->status != COMPILE_OK || p->next == p->n) return;
    int i = p->next++;
    mem_free(r->art.blob);
    r->art.blob = mem_new(p->blob[i].bytes);
    memcpy(r->art.blob, p->blob[i].code, p->blob[i].bytes);
    r->art.blob_n = p->blob[i].bytes;
    r->art.kernel_at = 0;
    r->art.pack_at = -1;
    r->art.scratch_a = PLANT_SCRATCH;
    r->art.scratch_b = 0;
    r->npacked = 0;
    snprintf(r->art.hash, sizeof r->art.hash, "%s", p->blob[i].hash);
}

const char *planted_error(struct planted *p, const char *blob_hash, const char *error)
{
    for (int i = 0; i < p->next; i++)
        if (strcmp(p->blob[i].hash, blob_hash) == 0) {
            snprintf(p->error, sizeof p->error, "planted %s%s%.400s", p->blob[i].name,
                     *error ? ": " : "", error);
            return p->error;
        }
    return error;
}
