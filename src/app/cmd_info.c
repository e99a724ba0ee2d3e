/* quern ops, quern targets: what there is, and every fact of one of them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "cli.h"

static void first_line(const char *help, char *out, size_t n)
{
    snprintf(out, n, "%.*s", (int)strcspn(help, "\n"), help);
}

static enum rc list_ops(struct session *s, struct err *e)
{
    int n;
    const char *const *names = op_lib_names(s->lib, &n);
    for (int i = 0; i < n; i++) {
        const struct operator* op;
        char line[160];
        enum rc rc = op_lib_find(s->lib, names[i], &op, e);
        if (rc != RC_OK) return rc;
        first_line(operator_help(op), line, sizeof line);
        if (s->o->json)
            print_json(json_pack("{s:i, s:s, s:s}", "v", 1, "op", names[i], "summary", line));
        else
            printf("%-16s %s\n", names[i], line);
    }
    return RC_OK;
}

/* What is shipped has its keys in its help. */
static void print_op(struct session *s, const struct operator* op, const char *typed,
                     const char *text)
{
    struct buf keys;
    buf_init(&keys, 1024);
    operator_keys(&keys, op);
    printf("%s\n", operator_help(op));
    if (op_lib_own(s->lib, op) && keys.n)
        printf(
            "A task gives %s, as in quern tune %s:%.*s=.. ; attributes have the values below.\n\n",
            keys.p, typed, (int)strcspn(keys.p, ","), keys.p);
    fputs(text, stdout);
    buf_fini(&keys);
}

enum rc cmd_ops(const struct options *o, struct err *e)
{
    struct session s;
    enum rc rc = session_open(&s, o, e);
    if (rc == RC_OK && o->n == 0) rc = list_ops(&s, e);
    for (int i = 0; i < o->n && rc == RC_OK; i++) {
        const struct operator* op;
        rc = op_lib_find(s.lib, o->arg[i], &op, e);
        if (rc != RC_OK) break;
        struct buf b;
        buf_init(&b, 1 << 20);
        operator_text(&b, op);
        if (o->json)
            print_json(json_pack("{s:i, s:s, s:s, s:s}", "v", 1, "op", operator_name(op), "help",
                                 operator_help(op), "text", b.p));
        else
            print_op(&s, op, o->arg[i], b.p);
        buf_fini(&b);
    }
    session_close(&s);
    return rc;
}

enum rc cmd_targets(const struct options *o, struct err *e)
{
    char dir[1024];
    char **names;
    size_t n;
    enum rc rc = RC_OK;
    for (int i = 0; i < o->n && rc == RC_OK; i++) {
        struct buf b;
        buf_init(&b, 1 << 16);
        e->rc = RC_OK;
        target_explain(o->arg[i], &b, e);
        rc = e->rc;
        if (rc == RC_OK && o->json)
            print_json(json_pack("{s:i, s:s, s:s}", "v", 1, "target", o->arg[i], "facts", b.p));
        else if (rc == RC_OK)
            fputs(b.p, stdout);
        buf_fini(&b);
    }
    if (o->n || rc != RC_OK) return rc;
    rc = fs_data_dir(dir, sizeof dir, "targets", e);
    if (rc == RC_OK) rc = fs_list(dir, ".target", &names, &n, e);
    if (rc != RC_OK) return rc;
    struct target *host;
    rc = target_load("host", &host, e);
    for (size_t i = 0; i < n && rc == RC_OK; i++) {
        names[i][strlen(names[i]) - strlen(".target")] = 0;
        bool here = strcmp(names[i], host->name) == 0;
        if (o->json)
            print_json(json_pack("{s:i, s:s, s:b}", "v", 1, "target", names[i], "host", here));
        else
            printf("%-16s%s\n", names[i], here ? "  this machine (host)" : "");
    }
    fs_list_free(names, n);
    if (rc == RC_OK) target_free(host);
    return rc;
}
