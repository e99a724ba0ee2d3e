/* Runs emitted kernels on data from a file, compiled together with them by a sanitizing compiler
 * (test_conv_c.c).
 *
 *   ./all data      data: per kernel  u64 buffers, u64 scratch bytes,
 *                         then per buffer  u64 role, u64 bytes, bytes
 *
 * Roles: 0 input, 1 constant, 2 output (the bytes are what it must become), 3 packed (no bytes).
 * Twice each: inputs in the middle of NaNs, so that a stray read shows in the result; and in blocks
 * of their own, so that the sanitizer sees it. Prints the number of the kernel that is wrong. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

enum { MARGIN = 4096, BUFFERS = 40 };

struct buffer {
    uint64_t role, bytes;
    unsigned char *data, *block, *p;
};

static uint64_t number(FILE *f)
{
    uint64_t v;
    if (fread(&v, sizeof v, 1, f) != 1) exit(3);
    return v;
}

static int run(const struct entry *k, struct buffer *b, uint64_t n, uint64_t scratch_bytes,
               size_t margin)
{
    void *buf[BUFFERS], *scratch = aligned_alloc(64, (size_t)(scratch_bytes + 64) / 64 * 64);
    int bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        size_t m = b[i].role < 2 ? margin : 0, room = (size_t)b[i].bytes + 2 * m;
        b[i].block =
            b[i].role == 3 ? aligned_alloc(64, (room + 63) / 64 * 64) : malloc(room ? room : 1);
        memset(b[i].block, 0xFF, room);
        b[i].p = b[i].block + m;
        if (b[i].role < 2) memcpy(b[i].p, b[i].data, (size_t)b[i].bytes);
        buf[i] = b[i].p;
    }
    memset(scratch, 0xFF, (size_t)scratch_bytes);
    if (k->pack) bad |= k->pack(buf, NULL, scratch, NULL);
    bad |= k->kernel(buf, NULL, scratch, NULL);
    for (uint64_t i = 0; i < n; i++) {
        const float *got = (const float *)(const void *)b[i].p,
                    *want = (const float *)(const void *)b[i].data;
        for (uint64_t j = 0; b[i].role == 2 && j < b[i].bytes / 4; j++)
            if (!(got[j] == want[j])) {
                if (!bad)
                    printf("output %d, element %d: %g, not %g\n", (int)i, (int)j, (double)got[j],
                           (double)want[j]);
                bad = 1;
            }
        free(b[i].block);
    }
    free(scratch);
    return bad;
}

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    int bad = 0;
    if (!f) return 3;
    for (int k = 0; k < ENTRIES; k++) {
        struct buffer b[BUFFERS];
        uint64_t n = number(f), scratch = number(f);
        if (n > BUFFERS) return 3;
        fprintf(stderr, "kernel %d\n", k); /* the last line before a sanitizer's report */
        for (uint64_t i = 0; i < n; i++) {
            b[i].role = number(f);
            b[i].bytes = number(f);
            b[i].data = malloc((size_t)b[i].bytes + 1);
            if (b[i].role < 3 && fread(b[i].data, 1, (size_t)b[i].bytes, f) != b[i].bytes) return 3;
        }
        int wrong = run(&table[k], b, n, scratch, MARGIN) || run(&table[k], b, n, scratch, 0);
        if (wrong) printf("kernel %d is wrong\n", k);
        bad |= wrong;
        for (uint64_t i = 0; i < n; i++) free(b[i].data);
    }
    fclose(f);
    return bad;
}
