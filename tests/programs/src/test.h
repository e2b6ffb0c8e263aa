// What the whole-program tests share: a fixed random sequence, running checksums by name, and checks that say where.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state = 0x9e3779b97f4a7c15u;
static inline uint64_t random64(void) {
    uint64_t x = random_state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return random_state = x;
}
/// A random value, often near an edge: zero, one, all ones, the signs of each width.
static inline uint64_t edge64(void) {
    static const uint64_t edges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                     0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffffe, 0xffffffff80000000};
    uint64_t r = random64();
    return (r >> 60) < 6 ? edges[(r >> 32) % (sizeof edges / sizeof edges[0])] : r >> ((r >> 8) & 0x38 & (0 - (r & 1)));
}

static inline uint64_t mix(uint64_t sum, uint64_t value) {
    sum = (sum ^ value) * 0x9e3779b97f4a7c15u;
    return sum ^ (sum >> 29);
}
static inline void show(const char* name, uint64_t value) { printf("%-28s %016llx\n", name, (unsigned long long)value); }

/// Ends the program with the place and the condition when it does not hold.
#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            printf("%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);   \
            fflush(stdout);                                                         \
            _Exit(1);                                                               \
        }                                                                           \
    } while (0)
