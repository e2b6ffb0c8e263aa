// What every kernel of the benchmark shares: a fixed random sequence, a checksum, and how a run is scaled.
//
// A kernel's main() does `rounds(argc, argv, N)` rounds of its work, N chosen so that a native run takes a tenth of a
// second, and ends with `report(sum)`. bench/run compares the printed sums of native and emulated runs.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// The rounds to run: `usual`, in per cent of the program's first argument (100 when there is none).
static inline long rounds(int argc, char** argv, long usual) {
    long n = argc > 1 ? usual * atol(argv[1]) / 100 : usual;
    return n > 0 ? n : 1;
}

/// xorshift: the same sequence everywhere.
static inline uint32_t next_random(uint32_t* state) {
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

static inline uint64_t mix(uint64_t sum, uint64_t value) { return (sum ^ value) * 0x100000001b3u + (sum >> 47); }

/// The exact bits of a floating-point result, so that a last-place difference shows.
static inline uint64_t bits_of(double d) {
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

static inline int report(uint64_t sum) {
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}
