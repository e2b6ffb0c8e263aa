// Recursion: Ackermann's and Fibonacci's functions and the queens, all calls and returns.
#include "../kernel.h"

__attribute__((noinline)) static unsigned ackermann(unsigned m, unsigned n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}
__attribute__((noinline)) static unsigned fibonacci(unsigned n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__attribute__((noinline)) static unsigned queens(unsigned columns, unsigned left, unsigned right) {
    if (columns == 0x1ff) return 1;
    unsigned count = 0;
    for (unsigned free = ~(columns | left | right) & 0x1ff; free; free &= free - 1) {
        unsigned bit = free & -free;
        count += queens(columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
}

int main(int argc, char** argv) {
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 180); i > 0; i--) {
        sum = mix(sum, ackermann(2, 300 + (unsigned)(i & 3)));
        sum = mix(sum, fibonacci(24));
        sum = mix(sum, queens(0, 0, 0));
    }
    return report(sum);
}
