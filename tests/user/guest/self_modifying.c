// Code that changes: written to in place, through a second mapping, by the kernel, and through mprotect.
#include "check.h"

#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>

#ifdef __riscv
static void returns(uint32_t* at, unsigned n) {  // li a0, n; ret
    at[0] = 0x00000513 | n << 20;
    at[1] = 0x00008067;
}
#else
static void returns(uint32_t* at, unsigned n) {  // mov w0, n; ret
    at[0] = 0x52800000 | n << 5;
    at[1] = 0xd65f03c0;
}
#endif

static int call(void* code) { return ((int (*)(void))code)(); }

static sigjmp_buf out;
static void leave(int sig, siginfo_t* info, void* context) { siglongjmp(out, sig); }
/// The signal that calling it raises, 0: none.
static int signal_of(void* code) {
    const int sig = sigsetjmp(out, 1);
    if (sig == 0) call(code);
    return sig;
}

/// Places of one page that run for the first time after the page has changed: what was known of it no longer holds.
static void new_places_of_a_known_page(void) {
    enum { kStep = 16 };
    uint32_t* code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned at = 0; at < 1024; at += kStep) returns(code + at, 1);
    for (unsigned at = kStep; at < 512; at += kStep) {
        CHECK(call(code) == 1);
        for (unsigned n = 2; n < 6; n++) {  // the first write makes the page writable; the others find it so, or protected again
            returns(code + at, n);
            __builtin___clear_cache((char*)(code + at), (char*)(code + at + 2));
            CHECK(call(code + at) == (int)n);
            CHECK(call(code + at) == (int)n);
        }
    }
    handle(SIGSEGV, leave, 0);
    for (unsigned at = 512; at < 768; at += 2 * kStep) {
        CHECK(call(code) == 1);
        CHECK(mprotect(code, 4096, PROT_READ) == 0);
        CHECK(signal_of(code + at) == SIGSEGV);
        CHECK(mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
        CHECK(call(code + at + kStep) == 1);
    }
    CHECK(call(code) == 1);
    CHECK(munmap(code, 4096) == 0);
    CHECK(signal_of(code + 800) == SIGSEGV);
}

int main(void) {
    uint32_t* code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned n = 0; n < 200; n++) {
        returns(code, n);
        __builtin___clear_cache((char*)code, (char*)(code + 2));
        CHECK(call(code) == (int)n);
    }
    int fd = memfd_create("code", 0);
    CHECK(ftruncate(fd, 4096) == 0);
    uint32_t* write_view = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* exec_view = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    for (unsigned n = 0; n < 50; n++) {
        returns(write_view, n);
        __builtin___clear_cache((char*)exec_view, (char*)exec_view + 8);
        CHECK(call(exec_view) == (int)n);
    }
    // The kernel writes to a page that code was translated from.
    int p[2];
    CHECK(pipe(p) == 0);
    for (unsigned n = 300; n < 310; n++) {
        uint32_t words[2];
        returns(words, n);
        CHECK(write(p[1], words, 8) == 8 && read(p[0], code, 8) == 8);
        __builtin___clear_cache((char*)code, (char*)(code + 2));
        CHECK(call(code) == (int)n);
    }
    for (unsigned n = 0; n < 20; n++) {
        CHECK(mprotect(code, 4096, PROT_READ | PROT_WRITE) == 0);
        returns(code, n);
        CHECK(mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
        __builtin___clear_cache((char*)code, (char*)(code + 2));
        CHECK(call(code) == (int)n);
    }
    // A new mapping in the place of an old one.
    for (unsigned n = 0; n < 20; n++) {
        uint32_t* again = mmap(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(again == code);
        returns(code, n + 7);
        __builtin___clear_cache((char*)code, (char*)(code + 2));
        CHECK(call(code) == (int)n + 7);
    }
    new_places_of_a_known_page();
    return failures();
}
