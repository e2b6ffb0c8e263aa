// Runs a command some times and writes what it cost: the measuring end of bench/run.
//
//   launch RESULT TIMES SECONDS COMMAND…     RESULT receives "user_us system_us wall_us maxrss_kib"
//
// A process of its own, and small, because a child's peak memory is never reported below that of the process it was
// forked from. Ends with the command's status, or 124 when a run takes longer than SECONDS.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;
static volatile pid_t child;
static volatile sig_atomic_t late;

static void give_up(int signal) {
    (void)signal;
    late = 1;
    if (child > 0) kill(child, SIGKILL);
}

static long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

int main(int argc, char** argv) {
    if (argc < 5) return 125;
    FILE* result = fopen(argv[1], "we");
    if (!result) return 125;
    long long user = 0, system = 0, wall = 0, peak = 0;
    signal(SIGALRM, give_up);
    for (int i = atoi(argv[2]); i > 0; i--) {
        long long started = now_us();
        pid_t pid;
        if (posix_spawn(&pid, argv[4], NULL, NULL, argv + 4, environ)) return 127;
        child = pid;
        alarm((unsigned)atoi(argv[3]));
        int status = 0;
        struct rusage cost;
        while (wait4(child, &status, 0, &cost) < 0 && errno == EINTR) {
        }
        alarm(0);
        if (late) return 124;
        wall += now_us() - started;
        user += cost.ru_utime.tv_sec * 1000000ll + cost.ru_utime.tv_usec;
        system += cost.ru_stime.tv_sec * 1000000ll + cost.ru_stime.tv_usec;
        if (cost.ru_maxrss > peak) peak = cost.ru_maxrss;
        if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
        if (WEXITSTATUS(status)) return WEXITSTATUS(status);
    }
    fprintf(result, "%lld %lld %lld %lld\n", user, system, wall, peak);
    return fclose(result) ? 125 : 0;
}
