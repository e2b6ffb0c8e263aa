// Alpha blending of 8-bit pixels with rounding, the way compositors do it. The includer names the type that sums
// are kept in: int as most code has it, uint16_t as code written for vectors has it.
#pragma once
#include "../kernel.h"

enum { n = 16384 };
static uint8_t below[n], above[n], alpha[n], out[n];

__attribute__((noinline)) static void blend(const uint8_t* restrict b, const uint8_t* restrict a, const uint8_t* restrict t, uint8_t* restrict o) {
    for (int i = 0; i < n; i++) {
        sum_type v = (sum_type)(a[i] * t[i] + b[i] * (255 - t[i]) + 128);
        o[i] = (uint8_t)((sum_type)(v + (v >> 8)) >> 8);
    }
}

int main(int argc, char** argv) {
    uint32_t seed = 6;
    for (int i = 0; i < n; i++) {
        uint32_t r = next_random(&seed);
        below[i] = (uint8_t)r, above[i] = (uint8_t)(r >> 8), alpha[i] = (uint8_t)(r >> 16);
    }
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 20000); i > 0; i--) {
        blend(below, above, alpha, out);
        below[i & (n - 1)] = out[(i * 31) & (n - 1)];
        sum = mix(sum, out[i & (n - 1)]);
    }
    return report(sum);
}
