// Child processes that write one byte to a pipe and end.
#include <sys/wait.h>
#include <unistd.h>

#include "../kernel.h"

int main(int argc, char** argv) {
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 500); i > 0; i--) {
        int p[2];
        if (pipe(p)) return 1;
        pid_t child = fork();
        if (child == 0) {
            char byte = (char)i;
            _exit(write(p[1], &byte, 1) == 1 ? (int)(i & 63) : 99);
        }
        char byte = 0;
        if (read(p[0], &byte, 1) != 1) return 1;
        int status = 0;
        waitpid(child, &status, 0);
        sum = mix(sum, (uint8_t)byte + (uint64_t)WEXITSTATUS(status));
        close(p[0]), close(p[1]);
    }
    return report(sum);
}
