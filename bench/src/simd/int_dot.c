// Dot products of 16-bit and 8-bit integers with 32-bit sums: widening multiplies and horizontal adds.
#include "../kernel.h"

enum { n = 4096 };
static int16_t a[n], b[n];
static uint8_t c[n], d[n];

__attribute__((noinline)) static int32_t dot16(const int16_t* p, const int16_t* q) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += p[i] * q[i];
    return sum;
}
__attribute__((noinline)) static uint32_t dot8(const uint8_t* p, const uint8_t* q) {
    uint32_t sum = 0;
    for (int i = 0; i < n; i++) sum += (uint32_t)p[i] * q[i];
    return sum;
}

int main(int argc, char** argv) {
    uint32_t seed = 2;
    for (int i = 0; i < n; i++) {
        uint32_t r = next_random(&seed);
        a[i] = (int16_t)(r & 0x3ff), b[i] = (int16_t)(r >> 22), c[i] = (uint8_t)r, d[i] = (uint8_t)(r >> 8);
    }
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 150000); i > 0; i--) {
        a[i & (n - 1)] ^= 1;
        sum = mix(sum, (uint32_t)dot16(a, b) + (uint64_t)dot8(c, d));
    }
    return report(sum);
}
