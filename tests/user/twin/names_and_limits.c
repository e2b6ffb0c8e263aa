// Programs named by descriptors, one's own files under /proc by unusual paths, and limits of stack and data.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int deep(int levels) {
    volatile char frame[4096];
    memset((char*)frame, levels, sizeof frame);
    return levels != 0 ? deep(levels - 1) + frame[5] : 0;
}

static void limit(int which, rlim_t bytes) {
    const struct rlimit l = {bytes, bytes};
    setrlimit(which, &l);
}

static void again(int argc, char** argv) {
    if (strcmp(argv[1], "deep") == 0) {
        deep(atoi(argv[2]));
        puts("not too deep");
    } else if (strcmp(argv[1], "data") == 0) {
        int chunks = 0;
        limit(RLIMIT_DATA, 20 << 20);
        while (mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) chunks++;
        printf("%d MiB of data\n", chunks);
    } else {
        printf("argv:");
        for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
        puts("");
    }
}

static char folder[] = "/tmp/twin-XXXXXX";
static int script(int flags) { return open("script", O_RDONLY | flags); }
static void run(int fd, const char* path, int flags) { syscall(SYS_execveat, fd, path, (char*[]){"zero", "one", NULL}, environ, flags); }

static void child(int which) {
    switch (which) {
        case 0: run(open("/proc/self/exe", O_PATH), "", AT_EMPTY_PATH); break;
        case 1: run(open("/proc/self/exe", O_PATH | O_CLOEXEC), "", AT_EMPTY_PATH); break;
        case 2: run(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "", AT_EMPTY_PATH); break;
        case 3: run(script(0), "", AT_EMPTY_PATH); break;
        case 4: run(script(O_PATH), "", AT_EMPTY_PATH); break;
        case 5: run(script(O_CLOEXEC), "", AT_EMPTY_PATH); break;
        case 6: run(open(folder, O_PATH | O_DIRECTORY), "script", 0); break;
        case 7: run(open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), "script", 0); break;
        case 8: run(open(folder, O_PATH | O_DIRECTORY), "own", 0); break;
        case 9: run(open(folder, O_PATH | O_DIRECTORY), "own", AT_SYMLINK_NOFOLLOW); break;
        case 10: limit(RLIMIT_STACK, 1 << 20); execl("/proc/self/exe", "x", "deep", "700", NULL); break;
        case 11: limit(RLIMIT_STACK, 1 << 20); execl("/proc/self/exe", "x", "deep", "100", NULL); break;
        default: execl("/proc/self/exe", "x", "data", NULL); break;
    }
    perror("exec");
    _exit(3);
}

int main(int argc, char** argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) {
        again(argc, argv);
        return 0;
    }
    char own[4096] = "", seen[4096];
    if (readlink("/proc/self/exe", own, sizeof own - 1) < 0 || mkdtemp(folder) == NULL || chdir(folder) != 0) return 1;
    if (symlink(own, "own") != 0) return 1;
    static const char* const paths[] = {"/proc/../proc/./self//exe", "/proc/self/" "root/proc/self/exe", "../../proc/self/exe",
                                        "/proc/self/task/../exe",    "/proc/self/cwd/../exe",         "/proc/./self/./exe"};
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        const ssize_t n = readlink(paths[i], seen, sizeof seen - 1);
        seen[n < 0 ? 0 : n] = '\0';
        printf("%s: %s\n", paths[i], n < 0 ? "none" : strcmp(seen, own) == 0 ? "ours" : "another's");
    }
    const int fd = open("script", O_CREAT | O_WRONLY, 0755);
    dprintf(fd, "#!/bin/sh\necho script $0 $1 | sed 's,twin-[^/]*,twin,'\n");
    close(fd);
    for (int which = 0; which < 13; which++) {
        const pid_t pid = fork();
        if (pid == 0) child(which);
        int status = 0;
        waitpid(pid, &status, 0);
        printf("%d: status %x\n", which, status);
    }
    unlink("script");
    unlink("own");
    return rmdir(folder);
}
