// Processes: fork, exec of itself with arguments and environment, vfork, spawn of what is missing, pipes, exit statuses.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

extern char** environ;
static int exits_with(pid_t child, int code) {
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == code;
}
static void* run(void* p) { return p; }
static int in_clone(void* p) {
    *(int*)p = 5;
    return 6;
}

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "again") == 0) {
        printf("again: %d arguments, '%s', %s\n", argc, argv[2], getenv("MARK"));
        fflush(stdout);
        return 17;
    }
    int p[2];
    CHECK(pipe2(p, O_CLOEXEC) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(p[1], 1);
        setenv("MARK", "set by the parent", 1);
        execl("/proc/self/exe", argv[0], "again", "with a space", (char*)NULL);
        _exit(99);
    }
    close(p[1]);
    char text[256];
    ssize_t n = read(p[0], text, sizeof text - 1);
    CHECK(n > 0);
    text[n] = 0;
    fputs(text, stdout);
    CHECK(exits_with(child, 17));

    volatile int shared = 1;   // vfork shares memory and waits
    child = vfork();
    if (child == 0) {
        shared = 2;
        _exit(3);
    }
    CHECK(exits_with(child, 3));
    printf("vfork shares: %d\n", shared);
    char* none[] = {"nothing", NULL};
    pid_t spawned = 0;
    int error = posix_spawn(&spawned, "/nonexistent/program", NULL, NULL, none, environ);
    printf("spawn of what is missing: %s\n", strerror(error));
    error = execv("/nonexistent/program", none);
    CHECK(error == -1 && errno == ENOENT);

    static char stack[65536];
    int value = 0;
    child = clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &value);
    CHECK(exits_with(child, 6) && value == 5);

    for (int i = 0; i < 50; i++) {   // a fork while other threads come and go
        pthread_t t;
        pthread_create(&t, NULL, run, NULL);
        child = fork();
        if (child == 0) {
            pthread_t inner;
            void* result = NULL;
            if (pthread_create(&inner, NULL, run, &value) || pthread_join(inner, &result)) _exit(1);
            _exit(result == &value ? i : 2);
        }
        pthread_join(t, NULL);
        CHECK(exits_with(child, i));
    }
    siginfo_t info;
    child = fork();
    if (child == 0) raise(SIGKILL);
    CHECK(waitid(P_PID, (id_t)child, &info, WEXITED) == 0 && info.si_code == CLD_KILLED && info.si_status == SIGKILL);
    child = fork();
    if (child == 0) abort();
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
    CHECK(getppid() > 0 && getpid() == syscall(SYS_gettid) && getpgid(0) >= 0);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 0);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0);
    cpu_set_t cpus;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 0);
    char name[16] = "";
    CHECK(prctl(PR_SET_NAME, "renamed") == 0 && prctl(PR_GET_NAME, name) == 0 && strcmp(name, "renamed") == 0);
    FILE* pipe_from = popen("echo from a shell; exit 4", "r");
    CHECK(pipe_from && fgets(text, sizeof text, pipe_from));
    fputs(text, stdout);
    status = pclose(pipe_from);
    printf("shell ended with %d\n", WEXITSTATUS(status));
    return 0;
}
