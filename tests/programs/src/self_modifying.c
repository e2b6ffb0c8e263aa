// Code that changes: generated, patched in place, through an alias, by another thread, under protection changes, and a
// function that patches itself. __builtin___clear_cache says when, as a program on real hardware has to.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

#if defined(__aarch64__)
static int emit(uint32_t* at, int value) {   // mov w0, #value; ret
    at[0] = 0x52800000u | (uint32_t)value << 5;
    at[1] = 0xd65f03c0u;
    return 8;
}
#elif defined(__riscv)
static int emit(uint32_t* at, int value) {   // addi a0, zero, value; ret
    at[0] = 0x00000513u | (uint32_t)(value & 0x7ff) << 20;
    at[1] = 0x00008067u;
    return 8;
}
#else
static int emit(uint32_t* at, int value) {   // mov eax, value; ret
    uint8_t code[8] = {0xb8, (uint8_t)value, (uint8_t)(value >> 8), 0, 0, 0xc3, 0x90, 0x90};
    memcpy(at, code, 8);
    return 8;
}
#endif
typedef int (*function)(void);
static void flush(void* p, size_t n) { __builtin___clear_cache((char*)p, (char*)p + n); }

static uint32_t* shared_code;
static _Atomic int stop, wrong;
static void* caller(void* unused) {
    (void)unused;
    while (!atomic_load(&stop)) {
        int r = ((function)shared_code)();
        if (r != 1 && r != 2) atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

int main(void) {
    enum { size = 1 << 16 };
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    uint32_t* code = mmap(NULL, size, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    long sum = 0;
    for (int i = 0; i < 3000; i++) {   // one place, rewritten each time
        emit(code, i & 0x3ff);
        flush(code, 8);
        sum += ((function)code)();
    }
    printf("rewritten %ld\n", sum);

    for (int i = 0; i < size / 8; i++) emit(code + i * 2, i & 0x3ff);   // a page full of functions, one changed at a time
    flush(code, size);
    sum = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < size / 8; i += 61) sum += ((function)(code + i * 2))();
        emit(code + round * 122, 7);
        flush(code + round * 122, 8);
    }
    printf("page of functions %ld\n", sum);

    sum = 0;
    for (int i = 0; i < 300; i++) {   // write xor execute, by mprotect
        CHECK(mprotect(code, 4096, PROT_READ | PROT_WRITE) == 0);
        emit(code, i);
        CHECK(mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
        flush(code, 8);
        sum += ((function)code)();
    }
    printf("protected %ld\n", sum);

    int fd = memfd_create("code", 0);   // written through one mapping, run through another
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    uint32_t* writable = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint32_t* runnable = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(writable != MAP_FAILED && runnable != MAP_FAILED);
    sum = 0;
    for (int i = 0; i < 1000; i++) {
        emit(writable, i);
        flush(writable, 8);
        flush(runnable, 8);
        sum += ((function)runnable)();
    }
    printf("double mapping %ld\n", sum);

    sum = 0;
    for (int i = 0; i < 300; i++) {   // mapped anew at the same address
        void* p = mmap(runnable, 4096, all, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(p == runnable);
        emit(p, i + 1);
        flush(p, 8);
        sum += ((function)p)();
    }
    printf("remapped %ld\n", sum);

    shared_code = code + 4096;   // another thread runs what is patched; it must see one or the other
    CHECK(mprotect(code, size, all) == 0);
    emit(shared_code, 1);
    flush(shared_code, 8);
    pthread_t thread;
    pthread_create(&thread, NULL, caller, NULL);
    for (int i = 0; i < 3000; i++) {
        uint32_t next[2];
        emit(next, 1 + (i & 1));
        atomic_store((_Atomic uint32_t*)shared_code, next[0]);
        flush(shared_code, 8);
        int r = ((function)shared_code)();
        CHECK(r == 1 + (i & 1));
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    printf("another thread, wrong %d\n", wrong);
    uint32_t* data = code + 8192;   // data beside code on one page, written often
    memset(data, 0, 4096);
    emit(data, 5);
    flush(data, 8);
    sum = 0;
    for (int i = 0; i < 20000; i++) {
        data[16 + (i & 63)] = (uint32_t)i;
        sum += ((function)data)() + (int)data[16 + ((i * 7) & 63)] % 3;
    }
    printf("data beside code %ld\n", sum);
    return 0;
}
