// Address space games: fixed, split, moved, shared, growing, reserved and protected mappings, and what /proc says of them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

enum { page = 4096 };
static sigjmp_buf back;
static volatile int signal_number, signal_code;
static void* volatile signal_address;
static void on_fault(int signal, siginfo_t* info, void* context) {
    (void)context;
    signal_number = signal;
    signal_code = info->si_code;
    signal_address = info->si_addr;
    siglongjmp(back, 1);
}
static int faults_at(volatile char* p, int write, int code) {
    signal_number = 0;
    if (sigsetjmp(back, 1) == 0) {
        if (write) *p = 1; else (void)*p;
        return 0;
    }
    return signal_number == SIGSEGV && signal_address == (void*)p && signal_code == code;
}
static char* map(void* at, size_t size, int protection, int flags) {
    return mmap(at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    int rw = PROT_READ | PROT_WRITE;

    char* p = map(NULL, 8 * page, rw, 0);
    CHECK(p != MAP_FAILED && ((uintptr_t)p & (page - 1)) == 0);
    memset(p, 1, 8 * page);
    CHECK(mprotect(p + 2 * page, page, PROT_READ) == 0 && mprotect(p + 4 * page, page, PROT_NONE) == 0);
    CHECK(faults_at(p + 2 * page, 1, SEGV_ACCERR) && p[2 * page] == 1);
    CHECK(faults_at(p + 4 * page + 77, 0, SEGV_ACCERR));
    CHECK(!faults_at(p + 3 * page, 1, 0));
    CHECK(munmap(p + 5 * page, page) == 0 && faults_at(p + 5 * page + 5, 0, SEGV_MAPERR) && p[6 * page] == 1);
    CHECK(map(p + 5 * page, page, rw, MAP_FIXED) == p + 5 * page && p[5 * page] == 0);
    CHECK(map(p + 5 * page, page, rw, MAP_FIXED_NOREPLACE) == MAP_FAILED && errno == EEXIST);
    CHECK(mmap(p + 1, page, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mprotect(p + 2 * page, 3 * page, rw) == 0);
    char* moved = mremap(p, 8 * page, 64 * page, MREMAP_MAYMOVE);
    CHECK(moved == MAP_FAILED || moved[0] == 1);   // several mappings may refuse to move together
    if (moved == MAP_FAILED) moved = p;

    char* single = map(NULL, 4 * page, rw, 0);
    memset(single, 9, 4 * page);
    char* grown = mremap(single, 4 * page, 4096 * page, MREMAP_MAYMOVE);
    CHECK(grown != MAP_FAILED && grown[3 * page] == 9 && grown[4000 * page] == 0);
    CHECK(mremap(grown, 4096 * page, page, 0) == grown && faults_at(grown + page, 0, SEGV_MAPERR));
    char* target = map(NULL, 2 * page, PROT_NONE, 0);
    CHECK(mremap(grown, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target && target[5] == 9);

    CHECK(madvise(target, page, MADV_DONTNEED) == 0 && target[5] == 0);
    size_t huge = (size_t)1 << 40;
    char* reserved = map(NULL, huge, PROT_NONE, MAP_NORESERVE);
    CHECK(reserved != MAP_FAILED);
    CHECK(mprotect(reserved + (huge / 2), page, rw) == 0);
    reserved[huge / 2] = 3;
    CHECK(faults_at(reserved + huge / 2 + page, 0, SEGV_ACCERR) && munmap(reserved, huge) == 0);

    char name[] = "/tmp/memory-test-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, 3 * page) == 0);
    char* shared = mmap(NULL, 4 * page, rw, MAP_SHARED, fd, 0);
    char* private = mmap(NULL, 3 * page, rw, MAP_PRIVATE, fd, 0);
    char* second = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 2 * page);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED && second != MAP_FAILED);
    shared[2 * page] = 11;
    CHECK(second[0] == 11 && private[2 * page] == 11);
    private[2 * page] = 12;
    CHECK(shared[2 * page] == 11);
    signal_number = 0;
    if (sigsetjmp(back, 1) == 0) shared[3 * page] = 1;
    CHECK(signal_number == SIGBUS);
    pid_t child = fork();
    if (child == 0) {
        shared[1] = 21;
        private[1] = 22;
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0 && shared[1] == 21 && private[1] != 22);
    char byte;
    CHECK(pread(fd, &byte, 1, 1) == 1 && byte == 21);
    CHECK(msync(shared, page, MS_SYNC) == 0);
    char vector[4];
    CHECK(mincore(shared, page, (unsigned char*)vector) == 0);

    char* brk_before = sbrk(0);
    char* more = sbrk(10 * page);
    CHECK(more == brk_before && sbrk(0) == more + 10 * page);
    memset(more, 5, 10 * page);
    CHECK(sbrk(-10 * page) == more + 10 * page && sbrk(0) == brk_before);

    char pattern[64], line[512];
    snprintf(pattern, sizeof pattern, "%lx-%lx", (unsigned long)(uintptr_t)second, (unsigned long)(uintptr_t)second + page);
    FILE* maps = fopen("/proc/self/maps", "r");
    int found = 0, stack = 0;
    char here;
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char flags[8];
        CHECK(sscanf(line, "%lx-%lx %7s", &from, &to, flags) == 3);
        if ((uintptr_t)second >= from && (uintptr_t)second < to) found = flags[0] == 'r' && flags[1] == '-';
        if ((uintptr_t)&here >= from && (uintptr_t)&here < to) stack = flags[0] == 'r' && flags[1] == 'w';
    }
    fclose(maps);
    CHECK(found && stack);
    CHECK(faults_at((char*)0x10, 0, SEGV_MAPERR));
    for (int i = 0; i < 500; i++) {
        char* q = map(NULL, (size_t)(1 + i % 50) * page, rw, MAP_POPULATE);
        CHECK(q != MAP_FAILED);
        q[i % page] = 1;
        if (i % 3) CHECK(munmap(q, (size_t)(1 + i % 50) * page) == 0);
    }
    puts("ok");
    return 0;
}
