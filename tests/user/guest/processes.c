// Processes: fork, vfork, posix_spawn and its errors, clone in one memory, exec of scripts, pipes through a shell, /proc.
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

extern char** environ;

static int in_clone(void* p) {
    *(volatile int*)p = 5;
    return 6;
}

int main(int argc, char** argv) {
    if (argc > 1) return strcmp(argv[0], "another name") == 0 || strcmp(argv[1], "plain") == 0 ? 5 : 6;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(n > 0);
    self[n] = 0;
    CHECK(strstr(self, "processes") != NULL);

    volatile int shared = 1;
    pid_t child = vfork();
    if (child == 0) {
        shared = 2;
        _exit(3);
    }
    CHECK(exits_with(child, 3) && shared == 2);
    child = vfork();
    if (child == 0) {
        signal(SIGUSR1, SIG_IGN);  // in the child only
        execl(self, "another name", "x", (char*)NULL);
        _exit(9);
    }
    CHECK(exits_with(child, 5));
    struct sigaction a;
    CHECK(sigaction(SIGUSR1, NULL, &a) == 0 && a.sa_handler == SIG_DFL);

    char* none[] = {"nothing", NULL};
    pid_t spawned;
    CHECK(posix_spawn(&spawned, "/nonexistent/program", NULL, NULL, none, environ) == ENOENT);
    CHECK(posix_spawn(&spawned, "/etc/passwd", NULL, NULL, none, environ) == EACCES);
    char* args[] = {self, "plain", NULL};
    CHECK(posix_spawn(&spawned, self, NULL, NULL, args, environ) == 0 && exits_with(spawned, 5));

    int self_fd = open(self, O_RDONLY | O_CLOEXEC);
    child = fork();
    if (child == 0) {
        char* by_fd[] = {"another name", "x", NULL};
        fexecve(self_fd, by_fd, environ);
        _exit(9);
    }
    CHECK(exits_with(child, 5));
    close(self_fd);

    static char stack[65536];
    int value = 0;
    child = clone(in_clone, stack + sizeof stack, CLONE_VM | SIGCHLD, &value);
    CHECK(exits_with(child, 6) && value == 5);

    char script[] = "/tmp/myna-script-XXXXXX";
    int fd = mkstemp(script);
    char text[4200];
    int size = snprintf(text, sizeof text, "#! %s  plain\nnothing\n", self);
    CHECK(write(fd, text, size) == size);
    fchmod(fd, 0755);
    close(fd);
    child = fork();
    if (child == 0) {
        execl(script, script, (char*)NULL);
        _exit(9);
    }
    CHECK(exits_with(child, 5));
    unlink(script);
    CHECK(WEXITSTATUS(system("exit 3")) == 3);
    fflush(stdout);
    FILE* f = popen("echo one; echo two", "r");
    CHECK(fgets(text, sizeof text, f) && strcmp(text, "one\n") == 0 && fgets(text, sizeof text, f));
    CHECK(pclose(f) == 0);

    // The emulator holds no descriptors where the guest looks for its own.
    int lowest = 0;
    while (fcntl(lowest, F_GETFD) != -1) lowest++;
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    CHECK(fd == -1 && errno == ENOTDIR);
    fd = open("/dev/null", O_RDONLY);
    CHECK(fd == lowest && lowest < 8);
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    close(fd);
    struct utsname u;
    uname(&u);
#ifdef __riscv
    CHECK(strcmp(u.machine, "riscv64") == 0);
#else
    CHECK(strcmp(u.machine, "aarch64") == 0);
#endif
    struct stat st;
    CHECK(stat("/proc/self/exe", &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 1000);
    f = fopen("/proc/self/maps", "r");
    int stacks = 0, code = 0;
    while (fgets(text, sizeof text, f)) {
        unsigned long start, end;
        char prot[5];
        CHECK(sscanf(text, "%lx-%lx %4s", &start, &end, prot) == 3);
        if (strstr(text, "[stack]") && (unsigned long)&st >= start && (unsigned long)&st < end) stacks++;
        if ((unsigned long)main >= start && (unsigned long)main < end && prot[2] == 'x') code++;
    }
    fclose(f);
    CHECK(stacks == 1 && code == 1);
    f = fopen("/proc/self/cmdline", "r");
    size_t got = fread(text, 1, sizeof text, f);
    fclose(f);
    CHECK(got == strlen(argv[0]) + 1 && strcmp(text, argv[0]) == 0);
    f = fopen("/proc/self/auxv", "r");
    unsigned long pair[2], page = 0;
    while (fread(pair, sizeof pair, 1, f) == 1)
        if (pair[0] == AT_PAGESZ) page = pair[1];
    fclose(f);
    CHECK(page == 4096 && getauxval(AT_PAGESZ) == 4096 && getauxval(AT_SYSINFO_EHDR) != 0);
    return failures();
}
