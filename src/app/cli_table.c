/* cli_table: the commands and their options, once. Parsing, --help, the man page and completion all
 * read these two tables; a new command is a row here and a cmd_*.c. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scan.h"
#include "cli.h"

const struct command commands[] = {
    {"ops", cmd_ops, 1, "[OP]", "list operators, or explain one and its keys",
     "quern ops\nquern ops conv2d\n", "json"},
    {"targets", cmd_targets, 1, "[NAME]",
     "list targets, or print every fact of one with its origin",
     "quern targets\nquern targets host\n", "json"},
    {"doctor", cmd_doctor, 0, "",
     "check compiler, sandbox, clock, log and disk; say how to fix what is wrong",
     "quern doctor\nquern doctor --json\n", "db json"},
    {"lower", cmd_lower, INT_MAX, "TASK",
     "show what a schedule does: every stage from operator text to assembly",
     "quern lower matmul:M=7,N=5,K=3 --stage nest\nquern lower conv2d:N=1,H=8,W=8,C=8,K=8,R=3,S=3 "
     "--stage all -o stages\n"
     "quern lower TASK --diff split,vectorize\n",
     "target schedule stage out verify diff threads db quiet json"},
    {"tune", cmd_tune, INT_MAX, "TASK...", "search schedules; every measurement goes into the log",
     "quern tune conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1\nquern tune @net.tasks --effort "
     "quick\n"
     "quern tune ./my.op:M=128,N=64 --trials 500 --seed 7\n",
     "target effort trials time threads seed db quiet json"},
    {"best", cmd_best, INT_MAX, "TASK...", "the winning schedule, its time and where it came from",
     "quern best matmul:M=512,N=512,K=512\n", "target threads db quiet json"},
    {"log", cmd_log, 2, "query|export|import|why|check [ARG]",
     "look into the log, share it, explain a record",
     "quern log query --limit 20\nquern log why 3fa9\nquern log export > best.jsonl\nquern log "
     "import best.jsonl\n",
     "target threads db verdict limit all quiet json"},
    {"verify", cmd_verify, INT_MAX, "TASK... | FILE.c...",
     "check a schedule against the reference (tier 3), or an emitted file with its test",
     "quern verify matmul:M=7,N=5,K=3\nquern verify TASK --schedule best --seeds 5\nquern verify "
     "kernels/app_matmul_K64.c\n",
     "target schedule seeds threads db quiet json"},
    {"bench", cmd_bench, INT_MAX, "TASK...",
     "time a schedule against the FMA peak in the same rounds",
     "quern bench matmul:M=512,N=512,K=512\nquern bench TASK --aa\n",
     "target schedule threads rounds aa db quiet json"},
    {"emit", cmd_emit, INT_MAX, "TASK... | --check FILE...",
     "write the winner as a dependency-free C file, or check such files",
     "quern emit conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1 -o kernels --prefix app_ --license "
     "MIT\n"
     "quern emit --check kernels/*.c\n",
     "target schedule out prefix license form threads check db quiet json"},
};
const size_t command_count = QN_COUNT(commands);

enum kind { FLAG, TEXT, INT, UINT, REAL };
static const struct option {
    const char *name, *letter, *value;
    enum kind kind;
    size_t at;
    const char *help;
} option_table[] = {
#define O(field) offsetof(struct options, field)
    {"target", "", "NAME", TEXT, O(target), "machine to compile for (default: host)"},
    {"db", "", "FILE", TEXT, O(db),
     "the log (default: $QUERN_DB, else ~/.local/share/quern/quern.db)"},
    {"effort", "", "WORD", TEXT, O(effort), "estimate, quick, default or full"},
    {"trials", "", "N", INT, O(trials),
     "schedules to screen, and at most as many orders of operations of the fastest; without it "
     "the search may stop at the roof"},
    {"time", "", "SECONDS", REAL, O(time_s), "stop proposing after this long"},
    {"threads", "", "N", INT, O(threads), "kernel threads (default 1)"},
    {"seed", "", "S", UINT, O(seed), "of the search (default 1)"},
    {"seeds", "", "N", INT, O(seeds), "data seeds to verify with (default 1)"},
    {"schedule", "", "FILE|best", TEXT, O(schedule),
     "schedule to use (default: best, else estimated)"},
    {"stage", "", "STAGE|all", TEXT, O(stage),
     "op nest scheduled PASS kernel c c99 ll s, or all (default)"},
    {"diff", "", "STEP,STEP", TEXT, O(diff), "show what these schedule steps changed"},
    {"out", "o", "DIR", TEXT, O(out), "folder to write to"},
    {"prefix", "", "P", TEXT, O(prefix), "C identifier before every external name"},
    {"license", "", "SPDX", TEXT, O(license), "SPDX-License-Identifier line"},
    {"form", "", "vector|portable", TEXT, O(form), "kind of C (default: vector)"},
    {"verdict", "", "NAME", TEXT, O(verdict), "only rows with this verdict"},
    {"limit", "", "N", INT, O(limit), "rows to print (default 50)"},
    {"rounds", "", "N", INT, O(rounds), "interleaved rounds, 7..1000 (default 31)"},
    {"verify", "", "", FLAG, O(verify),
     "compile the C stages with cc and compare them with machine code and reference"},
    {"aa", "", "", FLAG, O(aa), "time the same kernel twice: this machine's own error"},
    {"check", "", "", FLAG, O(check), "regenerate the files and compare byte for byte"},
    {"all", "", "", FLAG, O(all), "all rows, not only the best"},
    {"quiet", "q", "", FLAG, O(quiet), "no messages"},
    {"json", "", "", FLAG, O(json), "one JSON object a line on stdout"},
#undef O
};

static bool takes(const struct command *c, const char *option)
{
    size_t n = strlen(option);
    for (const char *p = strstr(c->options, option); p; p = strstr(p + 1, option))
        if ((p == c->options || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0)) return true;
    return false;
}

static const struct option *find_option(const struct command *c, const char *name, size_t n,
                                        bool letter)
{
    for (size_t i = 0; i < QN_COUNT(option_table); i++) {
        const char *word = letter ? option_table[i].letter : option_table[i].name;
        if (strlen(word) == n && n && strncmp(word, name, n) == 0 && takes(c, option_table[i].name))
            return &option_table[i];
    }
    return NULL;
}

static enum rc unknown_option(const struct command *c, const char *arg, struct err *e)
{
    const char *names[QN_COUNT(option_table)];
    char hint[96], word[64];
    size_t n = 0;
    for (size_t i = 0; i < QN_COUNT(option_table); i++)
        if (takes(c, option_table[i].name)) names[n++] = option_table[i].name;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(arg + strspn(arg, "-"), "="),
             arg + strspn(arg, "-"));
    return err_set(e, RC_INPUT, "cli.unknown_option",
                   "quern %s has no option '%s'%s; `quern %s --help` lists them", c->name, arg,
                   did_you_mean(hint, sizeof hint, word, names, n), c->name);
}

static enum rc set_text(const char **field, const struct option *opt, const char *value,
                        struct err *e)
{
    if (!*value && opt->at != offsetof(struct options, prefix) &&
        opt->at != offsetof(struct options, license))
        return err_set(e, RC_INPUT, "cli.value", "--%s wants %s, not an empty text", opt->name,
                       opt->value);
    *field = value;
    return RC_OK;
}

static enum rc set_option(struct options *o, const struct option *opt, const char *value,
                          struct err *e)
{
    char *field = (char *)o + opt->at, *end = NULL;
    errno = 0;
    switch (opt->kind) {
    case FLAG:
        *(bool *)field = true;
        return RC_OK;
    case TEXT:
        return set_text((const char **)field, opt, value, e);
    case INT:
        *(int64_t *)field = strtoll(value, &end, 10);
        break;
    case UINT:
        *(uint64_t *)field = strtoull(value, &end, 10);
        break;
    case REAL:
        *(double *)field = strtod(value, &end);
        break;
    }
    bool positive = opt->kind == INT;
    if (errno || end == value || *end || !isdigit((unsigned char)*value) ||
        (positive && *(int64_t *)field < 1))
        return err_set(e, RC_INPUT, "cli.value", "--%s wants a number >= %d, not '%.80s'",
                       opt->name, positive, value);
    return RC_OK;
}

static enum rc check_together(const struct command *c, const struct options *o, struct err *e)
{
    if (o->threads > 256) return err_set(e, RC_INPUT, "cli.value", "--threads wants 1..256");
    if (o->rounds < 7 || o->rounds > 1000) /* fewer give no interval for a median */
        return err_set(e, RC_INPUT, "cli.value", "--rounds wants 7..1000");
    if (o->n > c->most)
        return err_set(e, RC_INPUT, "cli.usage", "quern %s takes %s, so what is '%.80s'?", c->name,
                       *c->args ? c->args : "no arguments", o->arg[c->most]);
    return RC_OK;
}

enum rc options_parse(const struct command *c, int argc, char **argv, struct options *o,
                      struct err *e)
{
    *o = (struct options){.target = "host",
                          .threads = 1,
                          .seed = 1,
                          .seeds = 1,
                          .rounds = 31,
                          .limit = 50,
                          .arg = mem_new(sizeof(char *) * (size_t)(argc + 1))};
    bool only_args = false;
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (only_args || a[0] != '-' || !a[1]) {
            o->arg[o->n++] = a;
            continue;
        }
        if (strcmp(a, "--") == 0) {
            only_args = true;
            continue;
        }
        bool letter = a[1] != '-';
        const char *name = a + (letter ? 1 : 2);
        size_t n = letter ? 1 : strcspn(name, "=");
        const struct option *opt = find_option(c, name, n, letter);
        if (!opt) return unknown_option(c, a, e);
        const char *value = name[n] == '=' ? name + n + 1 : letter && name[1] ? name + 1 : NULL;
        if (opt->kind == FLAG && value)
            return err_set(e, RC_INPUT, "cli.value", "--%s takes no value", opt->name);
        if (opt->kind != FLAG && !value) {
            if (i + 1 >= argc)
                return err_set(e, RC_INPUT, "cli.value", "--%s wants %s", opt->name, opt->value);
            value = argv[++i];
        }
        enum rc rc = set_option(o, opt, value, e);
        if (rc != RC_OK) return rc;
    }
    return check_together(c, o, e);
}

void options_fini(struct options *o) { mem_free(o->arg); }

static const char exit_codes[] =
    "0 ok, 1 failed, 2 bad usage or input, 3 wrong result, 4 no suitable device, 5 daemon,\n"
    "6 deadline, 7 log or disk, 70 internal error, 130 interrupted.";

void help_all(void)
{
    printf(
        "quern: an operator autotuner and code generator\n\n"
        "  quern tune conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1      find the fastest schedule\n"
        "  quern best conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1      show it\n"
        "  quern emit conv2d:N=1,H=56,W=56,C=64,K=64,R=3,S=3,pad=1 -o . write it as "
        "C\n\ncommands\n");
    for (size_t i = 0; i < command_count; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].summary);
    printf("\n`quern COMMAND --help` has examples and options; `quern --man` and `quern "
           "--completion` print both for the system.\n"
           "Exit codes: %s\n",
           exit_codes);
}

void help_command(const struct command *c)
{
    printf("quern %s %s\n  %s\n\nexamples\n", c->name, c->args, c->summary);
    for (const char *p = c->examples; *p;) {
        size_t n = strcspn(p, "\n");
        printf("  %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    printf("\noptions\n");
    for (size_t i = 0; i < QN_COUNT(option_table); i++) {
        const struct option *o = &option_table[i];
        if (!takes(c, o->name)) continue;
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s%s%s", o->name, *o->value ? " " : "", o->value,
                 *o->letter ? ", -" : "", o->letter);
        printf("  %-26s %s\n", left, o->help);
    }
}

/* Text for troff: a backslash is doubled, a hyphen is a minus sign, a control character cannot
 * begin a line. */
static void man_text(const char *p, size_t n)
{
    if (n && (*p == '.' || *p == '\'')) fputs("\\&", stdout);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\' || p[i] == '-') putchar('\\');
        putchar(p[i] == '\\' ? 'e' : p[i]);
    }
}

static void man_command(const struct command *c)
{
    printf(".TP\n.B ");
    man_text(c->name, strlen(c->name));
    putchar(' ');
    man_text(c->args, strlen(c->args));
    putchar('\n');
    man_text(c->summary, strlen(c->summary));
    printf(".\nOptions:");
    for (size_t i = 0, n = 0; i < QN_COUNT(option_table); i++)
        if (takes(c, option_table[i].name))
            printf("%s \\-\\-%s", n++ ? "," : "", option_table[i].name);
    printf(".\n.nf\n");
    for (const char *p = c->examples; *p;) {
        size_t n = strcspn(p, "\n");
        man_text(p, n);
        putchar('\n');
        p += n + (p[n] == '\n');
    }
    printf(".fi\n");
}

void help_man(void)
{
    printf(".TH QUERN 1 \"\" \"quern %s\" \"User Commands\"\n.nh\n.SH NAME\nquern \\- operator "
           "autotuner and code generator\n",
           QN_VERSION);
    printf(".SH SYNOPSIS\n.B quern\n.I COMMAND\n[\\fIARGUMENT\\fR]... [\\fIOPTION\\fR]...\n.SH "
           "COMMANDS\n");
    for (size_t i = 0; i < command_count; i++) man_command(&commands[i]);
    printf(".SH OPTIONS\n");
    for (size_t i = 0; i < QN_COUNT(option_table); i++) {
        const struct option *o = &option_table[i];
        printf(".TP\n.B \\-\\-%s%s%s \\fI%s\\fR\n", o->name, *o->letter ? ", \\-" : "", o->letter,
               o->value);
        man_text(o->help, strlen(o->help));
        putchar('\n');
    }
    printf(".SH ENVIRONMENT\n.TP\n.B QUERN_DB\nthe log, unless \\-\\-db names one\n.TP\n.B "
           "QUERN_DATA\n"
           "folder that holds schedules, targets and tuning\\-db\n.TP\n.B NO_COLOR\nno escape "
           "sequences on the terminal\n"
           ".SH EXIT STATUS\n");
    man_text(exit_codes, strlen(exit_codes));
    putchar('\n');
}

void help_completion(void)
{
    printf("_quern() {\n  local cur=${COMP_WORDS[COMP_CWORD]}\n  if [ \"$COMP_CWORD\" -eq 1 ]; "
           "then\n    COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; i < command_count; i++) printf("%s%s", i ? " " : "", commands[i].name);
    printf("\" -- \"$cur\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < command_count; i++) {
        printf("    %s) COMPREPLY=($(compgen -f -W \"", commands[i].name);
        for (size_t j = 0; j < QN_COUNT(option_table); j++)
            if (takes(&commands[i], option_table[j].name)) printf("--%s ", option_table[j].name);
        printf("\" -- \"$cur\")) ;;\n");
    }
    printf("  esac\n}\ncomplete -F _quern quern\n");
}
