// The gdb stub's guest with processes: `fork` waits for a child, `vfork` starts this program by vfork and execve,
// `exec` becomes it, `die` ends by a signal, `sleep` waits to be interrupted, `shared` writes to shared memory.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int go_on;
volatile int* shared;

__attribute__((noinline)) int in_child(int n) { return n + 1; }
__attribute__((noinline)) int in_parent(int n) { return n + 2; }
__attribute__((noinline)) int after_exec(int n) { return n + 3; }

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    int status = 0;
    if (strcmp(what, "fork") == 0) {
        const pid_t pid = fork();
        if (pid == 0) _exit(in_child(4));
        waitpid(pid, &status, 0);
        return in_parent(WEXITSTATUS(status));
    }
    if (strcmp(what, "vfork") == 0) {
        const pid_t pid = vfork();
        if (pid == 0) {
            execl(argv[0], argv[0], "ran", NULL);
            _exit(99);
        }
        waitpid(pid, &status, 0);
        return in_parent(WEXITSTATUS(status));
    }
    if (strcmp(what, "exec") == 0) execl(argv[0], argv[0], "ran", NULL);
    if (strcmp(what, "ran") == 0) return after_exec(20);
    if (strcmp(what, "die") == 0) abort();
    if (strcmp(what, "shared") == 0) {
        shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        shared[1] = in_parent(1);
        shared[2] = 5;
        __atomic_add_fetch(&shared[1], 6, __ATOMIC_SEQ_CST);
        return shared[1] + shared[2];
    }
    if (strcmp(what, "sleep") == 0)
        while (!go_on) usleep(1000);
    return 1;
}
