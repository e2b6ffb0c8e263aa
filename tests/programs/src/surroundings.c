// What a program is told of its surroundings: arguments, environment, auxiliary vector, /proc, clocks, limits, stack.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

static int deep(int n) {
    volatile char here[1000];
    here[n % 1000] = 1;
    return n ? deep(n - 1) + here[n % 1000] : 0;
}
static void* deep_thread(void* p) { return (void*)(intptr_t)deep((int)(intptr_t)p); }

int main(int argc, char** argv) {
    CHECK(argc >= 1 && argv[argc] == NULL && getenv("PATH"));
    CHECK(getauxval(AT_PAGESZ) == 4096 && (unsigned long)sysconf(_SC_PAGESIZE) == 4096 && getauxval(AT_CLKTCK) == 100);
    CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid() && getauxval(AT_SECURE) == 0);
    CHECK(getauxval(AT_ENTRY) && getauxval(AT_PHDR) && getauxval(AT_PHNUM) && getauxval(AT_PHENT) == sizeof(Elf64_Phdr));
    CHECK(getauxval(AT_RANDOM) && getauxval(AT_EXECFN) && strcmp((char*)getauxval(AT_EXECFN), argv[0]) == 0);
#if defined(__aarch64__) || defined(__riscv)
    CHECK(getauxval(AT_HWCAP) != 0);
#endif
#if defined(__riscv)
    for (const char* c = "imafdc"; *c; c++) CHECK(getauxval(AT_HWCAP) >> (*c - 'a') & 1);
#endif
    struct utsname name;
    CHECK(uname(&name) == 0);
#if defined(__aarch64__)
    CHECK(strcmp(name.machine, "aarch64") == 0);
#elif defined(__riscv)
    CHECK(strcmp(name.machine, "riscv64") == 0);
#endif
    char link[4096], exe[4096];
    ssize_t n = readlink("/proc/self/exe", link, sizeof link - 1);
    CHECK(n > 0);
    link[n] = 0;
    CHECK(realpath(argv[0], exe) && strcmp(link, exe) == 0);
    int fd = open("/proc/self/exe", O_RDONLY);
    Elf64_Ehdr head;
    CHECK(fd >= 0 && read(fd, &head, sizeof head) == sizeof head && memcmp(head.e_ident, ELFMAG, 4) == 0);
    close(fd);
#if defined(__aarch64__)
    CHECK(head.e_machine == EM_AARCH64);
#elif defined(__riscv)
    CHECK(head.e_machine == EM_RISCV);
#endif
    char command[4096];
    fd = open("/proc/self/cmdline", O_RDONLY);
    n = read(fd, command, sizeof command);
    CHECK(n > 0 && strcmp(command, argv[0]) == 0 && (size_t)n == strlen(argv[0]) + 1);
    close(fd);

    struct timespec a, b, r;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &a) == 0 && clock_getres(CLOCK_MONOTONIC, &r) == 0);
    struct timespec nap = {0, 20000000};
    CHECK(nanosleep(&nap, NULL) == 0 && clock_gettime(CLOCK_MONOTONIC, &b) == 0);
    double passed = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    CHECK(passed >= 0.02 && passed < 10);
    for (int i = 0; i < 10000; i++) {
        CHECK(clock_gettime(CLOCK_MONOTONIC, &a) == 0);
        CHECK(a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec >= b.tv_nsec));
        b = a;
    }
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a) == 0 && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b) == 0 && a.tv_nsec + a.tv_sec > 0);
    CHECK(time(NULL) > 1600000000 && labs(time(NULL) - (syscall(SYS_clock_gettime, CLOCK_REALTIME, &r), r.tv_sec)) <= 1);
#if defined(__aarch64__)
    uint64_t ticks, frequency, later;
    asm volatile("mrs %0, cntvct_el0\n mrs %1, cntfrq_el0\n isb\n mrs %2, cntvct_el0" : "=r"(ticks), "=r"(frequency), "=r"(later));
    CHECK(frequency > 0 && later >= ticks);
#elif defined(__riscv)
    uint64_t ticks, later;
    asm volatile("rdtime %0\n rdtime %1" : "=r"(ticks), "=r"(later));
    CHECK(later >= ticks);
    asm volatile("rdcycle %0\n rdinstret %1" : "=r"(ticks), "=r"(later));
#endif
    uint8_t random[64] = {0};
    int set = 0;
    CHECK(getrandom(random, sizeof random, 0) == sizeof random);
    for (unsigned i = 0; i < sizeof random; i++) set += random[i] != 0;
    CHECK(set > 40);
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0 && info.totalram > 0 && sysconf(_SC_NPROCESSORS_ONLN) > 0);

    CHECK(deep(5000) == 5000);   // 5 MB of the main stack
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16 << 20);
    pthread_t thread;
    void* result;
    CHECK(pthread_create(&thread, &attributes, deep_thread, (void*)12000) == 0 && pthread_join(thread, &result) == 0 && (intptr_t)result == 12000);
    CHECK(syscall(9999) == -1 && errno == ENOSYS);
    CHECK(write(1, (void*)16, 4) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_openat, AT_FDCWD, (char*)8, O_RDONLY) == -1 && errno == EFAULT);
    puts("ok");
    return 0;
}
