/* codegen_c_run: emitted C through a real compiler (codegen_c_run.h).
 *
 *   /tmp/qn-cgc-XXXXXX/t_k0.c .. t_k21.c  ->  all.so, linked without libc, so a library call fails
 *
 * Invariant: everything made in the folder is removed by crun_close. */
#include "lib/codegen_c_run.h"

#include <check.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/proc.h"

void crun_open(struct crun *x, const char *cc, const char *std, enum c_form form)
{
    memset(x, 0, sizeof *x);
    x->cc = cc;
    x->std = std;
    x->form = form;
    snprintf(x->dir, sizeof x->dir, "/tmp/qn-cgc-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(x->dir));
}

static void path_of(const struct crun *x, int i, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s/t_k%d%s", x->dir, i, suffix);
}

struct cgrun *crun_add(struct crun *x, const char *text, enum cgrun_fill how)
{
    ck_assert_int_lt(x->n, CRUN_KERNELS);
    struct cgrun *r = &x->r[x->n];
    struct buf c, h;
    char symbol[16], path[128];
    cgrun_open(r, text);
    cgrun_scratch(r);
    cgrun_fill(r, how, 11);
    buf_init(&c, 1 << 24);
    buf_init(&h, 1 << 20);
    snprintf(symbol, sizeof symbol, "k%d", x->n);
    struct c_options o = {.form = x->form,
                          .prefix = "t_",
                          .symbol = symbol,
                          .banner = "/* a test */\n"};
    enum rc rc = codegen_c(&r->k, &r->t, &o, &c, &h, &r->e);
    ck_assert_msg(rc == RC_OK, "%s: %s\n%s", r->e.code, r->e.msg, text);
    path_of(x, x->n, ".c", path);
    ck_assert_int_eq(fs_write(path, c.p, c.n, &r->e), RC_OK);
    path_of(x, x->n, ".h", path);
    ck_assert_int_eq(fs_write(path, h.p, h.n, &r->e), RC_OK);
    buf_fini(&c);
    buf_fini(&h);
    x->n++;
    return r;
}

static void compile_all(struct crun *x)
{
    const char *argv[CRUN_KERNELS + 24] = {
        x->cc,      x->std,    "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion",
        "-Wshadow", "-Werror", "-O2",       "-fPIC", "-shared", "-nostdlib",    "-Wl,-z,defs",
        "-o"};
    int n = 15, code = 0;
    char so[128], *out = NULL;
    struct err e;
    snprintf(so, sizeof so, "%s/all.so", x->dir);
    argv[n++] = so;
    for (int i = 0; i < x->n; i++) {
        char *path = mem_new(128);
        path_of(x, i, ".c", path);
        argv[n++] = path;
    }
    ck_assert_int_eq(proc_run(argv, NULL, 110000, 1 << 16, &out, &code, &e), RC_OK);
    ck_assert_msg(code == 0, "%s %s refuses the text:\n%s", x->cc, x->std, out);
    mem_free(out);
    for (int i = 0; i < x->n; i++) mem_free((char *)argv[16 + i]);
}

int64_t crun_check(struct crun *x, const struct par *par)
{
    char so[128], name[32];
    int64_t bad = 0;
    compile_all(x);
    snprintf(so, sizeof so, "%s/all.so", x->dir);
    void *lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    for (int i = 0; i < x->n; i++) {
        struct cgrun *r = &x->r[i];
        cgrun_kernel *k, *pack;
        snprintf(name, sizeof name, "t_k%d", i);
        *(void **)&k = dlsym(lib, name);
        snprintf(name, sizeof name, "t_k%d_pack", i);
        *(void **)&pack = dlsym(lib, name);
        ck_assert_ptr_nonnull(k);
        if (pack) ck_assert_int_eq(pack(r->buf, r->dyn, r->scratch, par), 0);
        ck_assert_int_eq(k(r->buf, r->dyn, r->scratch, par), 0);
        cgrun_interp(r);
        int64_t wrong = cgrun_compare(r);
        if (wrong) {
            struct buf text;
            buf_init(&text, 1 << 20);
            nest_print(&text, r->nest);
            fprintf(stderr, "%s, kernel %d: %lld differ\n%.1500s\n", x->cc, i, (long long)wrong,
                    text.p);
            buf_fini(&text);
        }
        bad += wrong;
    }
    dlclose(lib);
    return bad;
}

void crun_close(struct crun *x)
{
    char path[128];
    for (int i = 0; i < x->n; i++) {
        path_of(x, i, ".c", path);
        unlink(path);
        path_of(x, i, ".h", path);
        unlink(path);
        cgrun_close(&x->r[i]);
    }
    snprintf(path, sizeof path, "%s/all.so", x->dir);
    unlink(path);
    rmdir(x->dir);
}
