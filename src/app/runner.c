/* quern-runner: runs candidate kernels for a client that holds descriptor 3. Knows no compiler, no
 * database, no network.
 *
 *   quern-runner               serve the wire on descriptor 3 (started by quern)
 *   quern-runner --self-test   print the sandbox layers that work here; 1 if a mandatory one does
 *                              not
 *   quern-runner --version */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/sandbox.h"

static const char HELP[] =
    "quern-runner --self-test   print which sandbox layers work here\n"
    "quern-runner --version\n"
    "quern-runner               serve jobs on descriptor 3; started by quern, not by people\n";

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--self-test") == 0) return runner_self_test();
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("quern-runner %s\n", QN_VERSION) < 0;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) return fputs(HELP, stdout) < 0;
    if (argc > 1 || fcntl(3, F_GETFD) < 0) {
        fputs(argc > 1
                  ? HELP
                  : "quern-runner: descriptor 3 is not open; quern starts this program itself\n",
              stderr);
        return RC_INPUT;
    }
    return runner_serve(3);
}
