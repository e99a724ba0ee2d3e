/* quern-worker: compiles candidates for quern over descriptor 3; never started by hand. */
#include <stdio.h>
#include <sys/stat.h>

#include "compile/worker.h"

int main(void)
{
    struct stat st;
    if (fstat(3, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "quern-worker is started by quern; run `quern --help`\n");
        return 2;
    }
    return worker_main();
}
