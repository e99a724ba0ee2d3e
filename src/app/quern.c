/* quern: the command line program. Finds the command, parses its options, turns errors into exit codes. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scan.h"
#include "cli.h"

volatile int interrupted;
static bool quiet;

/* The first Ctrl-C asks; the second ends at once. */
static void on_interrupt(int sig)
{
    (void)sig;
    if (interrupted) _exit(RC_INTERRUPTED);
    interrupted = 1;
}

void say(const char *fmt, ...)
{
    if (quiet) return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
}

bool on_tty(void)
{
    const char *term = getenv("TERM");
    return isatty(2) && !(term && strcmp(term, "dumb") == 0);
}

void print_json(json_t *o)
{
    char *s = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
    puts(s ? s : "{}");
    fflush(stdout);
    free(s);
    json_decref(o);
}

json_t *json_number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static int complain(const struct err *e, bool json)
{
    if (json) print_json(json_pack("{s:i, s:s, s:s}", "v", 1, "error", e->code, "message", e->msg));
    struct buf b;
    buf_init(&b, 1 << 14);
    for (const char *p = e->msg; *p;) { /* line breaks are ours, everything else is escaped */
        size_t n = strcspn(p, "\n");
        buf_escape_term(&b, p, n);
        p += n;
        if (*p == '\n') {
            buf_putc(&b, '\n');
            p++;
        }
    }
    fprintf(stderr, "quern: %s\n", b.p);
    buf_fini(&b);
    return (int)e->rc;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[32];
    char hint[96];
    for (size_t i = 0; i < command_count; i++) names[i] = commands[i].name;
    fprintf(stderr, "quern: no command '%.60s'%s; `quern --help` lists them\n", name,
            did_you_mean(hint, sizeof hint, name, names, command_count));
    return RC_INPUT;
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        const struct command *c = argc > 2 ? find_command(argv[2]) : NULL;
        if (c)
            help_command(c);
        else
            help_all();
        return argc > 1 ? 0 : RC_INPUT;
    }
    if (strcmp(name, "--version") == 0) return printf("quern %s\n", QN_VERSION) < 0;
    if (strcmp(name, "--man") == 0) return help_man(), 0;
    if (strcmp(name, "--completion") == 0) return help_completion(), 0;
    const struct command *c = find_command(name);
    if (!c) return unknown_command(name);
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return help_command(c), 0;
    struct options o;
    struct err e = {0};
    enum rc rc = options_parse(c, argc - 2, argv + 2, &o, &e);
    quiet = o.quiet;
    if (rc == RC_OK) rc = c->run(&o, &e);
    if (rc != RC_OK) {
        e.rc = rc;
        if (!e.msg[0]) snprintf(e.msg, sizeof e.msg, "failed");
        complain(&e, o.json);
    }
    options_fini(&o);
    return (int)rc;
}
