/* peak FILE COMMAND...: runs a command and writes its peak resident set, in KiB, to FILE.
 *
 * Linux counts the memory of the process that started a program into that program's peak, so the starter must be small:
 * Python's own 15 MiB would hide anything below. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    pid_t pid = vfork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) return 126;
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%ld\n", usage.ru_maxrss) < 0 || fclose(file) != 0) return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
