// Linux lets AArch64 programs keep a tag in the top byte of a pointer: loads, stores, pairs, vectors, atomics
// and branches ignore it.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static void* tagged(void* p, uint64_t tag) { return (void*)((uint64_t)p | tag << 56); }

static int next(int x) { return x + 1; }

int main(void) {
    uint64_t* plain = aligned_alloc(64, 4096);
    for (unsigned tag = 1; tag < 256; tag += 37) {
        volatile uint64_t* p = tagged(plain, tag);
        p[0] = tag;
        p[1] = ~(uint64_t)tag;
        CHECK(plain[0] == tag && p[1] == ~(uint64_t)tag);
        uint64_t a, b;
        __asm__ volatile("ldp %0, %1, [%2]" : "=r"(a), "=r"(b) : "r"(p) : "memory");
        CHECK(a == tag && b == ~(uint64_t)tag);
        __asm__ volatile("ldr q0, [%0]\n\tstr q0, [%0, #32]" : : "r"(p) : "v0", "memory");
        CHECK(plain[4] == tag && plain[5] == ~(uint64_t)tag);
        CHECK(__atomic_fetch_add((uint64_t*)p, 1, __ATOMIC_SEQ_CST) == tag && plain[0] == tag + 1);
        memset(tagged(plain, tag), (int)tag, 512);
        CHECK(plain[63] == 0x0101010101010101u * tag);
        int (*volatile call)(int) = (int (*)(int))tagged((void*)next, tag);  // branches drop it as well
        CHECK(call(2) == 3);
    }
    return failures();
}
