/* codegen_c_run: kernels as C, compiled by a real compiler without flags beyond -O2 and every
 * warning an error, loaded, run and compared with the interpreter. Many kernels go into one shared
 * object.
 *
 *   struct crun x; crun_open(&x, "gcc", "-std=c11", C_VECTOR);
 *   crun_add(&x, text, CGRUN_WILD, exact);  ...  crun_check(&x);  crun_close(&x); */
#ifndef T_CODEGEN_C_RUN_H
#define T_CODEGEN_C_RUN_H

#include "lib/codegen_run.h"

enum { CRUN_KERNELS = 128 };

struct crun {
    const char *cc, *std;
    enum c_form form;
    char dir[64];
    int n;
    struct cgrun r[CRUN_KERNELS];
};

void crun_open(struct crun *x, const char *cc, const char *std, enum c_form form);
struct cgrun *crun_add(struct crun *x, const char *text, enum cgrun_fill how);
int64_t crun_check(struct crun *x,
                   const struct par *par); /* compiles, runs all; how many elements differ */
void crun_close(struct crun *x);

#endif
