// The C library's memcpy, memmove and memset at sizes from a few bytes to a quarter of a MiB.
#include "../kernel.h"

static uint8_t from[1 << 18], to[(1 << 18) + 64];
static void* (*volatile copy)(void*, const void*, size_t) = memcpy;
static void* (*volatile move)(void*, const void*, size_t) = memmove;
static void* (*volatile fill)(void*, int, size_t) = memset;

int main(int argc, char** argv) {
    static const unsigned sizes[] = {7, 16, 31, 64, 100, 256, 1000, 4096, 16384, 1 << 18};
    uint32_t seed = 8;
    for (size_t i = 0; i < sizeof from; i++) from[i] = (uint8_t)next_random(&seed);
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 7000); i > 0; i--)
        for (unsigned k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            unsigned size = sizes[k];
            for (unsigned times = size >= 1 << 18 ? 1 : size > 4096 ? 8 : 32; times; times--) {
                copy(to + (times & 15), from, size);
                if (times % 4 == 0) fill(to, (int)i, size / 2), move(to + 8, to, size);
            }
            sum = mix(sum, to[size / 2] + to[size - 1]);
        }
    return report(sum);
}
