// What the guest programs of this folder share: CHECK prints a line for what does not hold, main ends with `return failures()`.
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed;
#define CHECK(what)                                                                             \
    do {                                                                                        \
        if (!(what)) {                                                                          \
            printf("%s:%d: does not hold: %s (errno %d)\n", __FILE__, __LINE__, #what, errno);  \
            failed++;                                                                           \
        }                                                                                       \
    } while (0)

static int failures(void) {
    puts(failed ? "FAILED" : "ok");
    return failed != 0;
}
static inline int exits_with(pid_t child, int code) {
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == code;
}
static inline int dies_of(pid_t child, int sig) {
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == sig;
}
static inline void handle(int sig, void (*f)(int, siginfo_t*, void*), int flags) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = f;
    a.sa_flags = SA_SIGINFO | flags;
    CHECK(sigaction(sig, &a, NULL) == 0);
}
