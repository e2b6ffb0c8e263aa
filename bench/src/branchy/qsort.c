// The C library's qsort with a comparison function: calls through a pointer, unpredictable branches.
#include "../kernel.h"

static int compare(const void* a, const void* b) {
    uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
    return (x > y) - (x < y);
}

int main(int argc, char** argv) {
    enum { length = 20000 };
    static uint32_t data[length];
    uint32_t seed = 99;
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 60); i > 0; i--) {
        for (int k = 0; k < length; k++) data[k] = next_random(&seed);
        qsort(data, length, sizeof data[0], compare);
        for (int k = 0; k < length; k += 997) sum = mix(sum, data[k]);
    }
    return report(sum);
}
