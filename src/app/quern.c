/* quern: the command line program. Finds the command, parses its options, turns errors into exit
 * codes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
    fflush(stdout); /* in one order when both go to one place */
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
}

bool on_tty(void)
{
    const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");
    return isatty(2) && !(term && strcmp(term, "dumb") == 0) && !(plain && *plain);
}

void print_json(json_t *o)
{
    char *s = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
    puts(s ? s : "{}");
    fflush(stdout);
    free(s); /* from jansson */
    json_decref(o);
}

json_t *json_number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

int complain(const struct err *e, bool json)
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
    fflush(stdout);
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

static int unknown_command(const char *name, bool json)
{
    const char *names[32];
    char hint[96];
    struct err e;
    for (size_t i = 0; i < command_count; i++) names[i] = commands[i].name;
    err_set(&e, RC_INPUT, "cli.unknown_command", "no command '%.60s'%s; `quern --help` lists them",
            name, did_you_mean(hint, sizeof hint, name, names, command_count));
    return complain(&e, json);
}

/* Descriptors 0..2 must be open, or the log's file could become "standard output". */
static void open_standard(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 1 ? O_RDONLY : O_RDWR) != fd)
            _exit(RC_FAIL);
}

/* The reader of our output has gone (| head): nobody's fault, and not worth a word. */
static bool reader_left(void)
{
    struct pollfd p = {.fd = 1, .events = POLLOUT};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLERR) != 0;
}

/* Was all of stdout written? */
static int finish(int rc)
{
    bool bad = fflush(stdout) != 0;
    int why = errno;
    if ((!bad && !ferror(stdout)) || rc != RC_OK || reader_left()) return rc;
    struct err e;
    err_set(&e, RC_FAIL, "cli.stdout", "cannot write the results%s%s", bad ? ": " : "",
            bad ? strerror(why) : "");
    return complain(&e, false);
}

static bool asks(int argc, char **argv, const char *word, const char *letter)
{
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], word) == 0 || (letter && strcmp(argv[i], letter) == 0)) return true;
    return false;
}

static int run_command(const struct command *c, int argc, char **argv, bool json)
{
    struct options o;
    struct err e = {0};
    enum rc rc = options_parse(c, argc - 2, argv + 2, &o, &e);
    quiet = o.quiet;
    if (rc == RC_OK) rc = c->run(&o, &e);
    options_fini(&o);
    if (rc == RC_OK || (ferror(stdout) && reader_left()))
        return rc == RC_INTERRUPTED ? RC_INTERRUPTED : RC_OK;
    e.rc = rc;
    if (!e.msg[0]) snprintf(e.msg, sizeof e.msg, "failed");
    return complain(&e, json);
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_interrupt};
    open_standard();
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    struct sigaction hup; /* the terminal is gone: as Ctrl-C, unless nohup said otherwise */
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    const char *name = argc > 1 ? argv[1] : "--help";
    bool json = asks(argc, argv, "--json", NULL);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        const struct command *c = argc > 2 ? find_command(argv[2]) : NULL;
        if (argc > 2 && !c) return unknown_command(argv[2], json);
        if (c)
            help_command(c);
        else
            help_all();
        return finish(argc > 1 ? RC_OK : RC_INPUT);
    }
    if (strcmp(name, "--version") == 0) return printf("quern %s\n", QN_VERSION), finish(RC_OK);
    if (strcmp(name, "--man") == 0) return help_man(), finish(RC_OK);
    if (strcmp(name, "--completion") == 0) return help_completion(), finish(RC_OK);
    const struct command *c = find_command(name);
    if (!c) return unknown_command(name, json);
    if (asks(argc, argv, "--help", "-h")) return help_command(c), finish(RC_OK);
    return finish(run_command(c, argc, argv, json));
}
