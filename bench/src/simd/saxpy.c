// y += a * x over floats: what a compiler turns into vector multiply and add.
#include "../kernel.h"

enum { n = 4096 };
static float x[n], y[n];

__attribute__((noinline)) static void saxpy(float a, const float* restrict xs, float* restrict ys) {
    for (int i = 0; i < n; i++) ys[i] += a * xs[i];
}

int main(int argc, char** argv) {
    uint32_t seed = 1;
    for (int i = 0; i < n; i++) x[i] = (float)(next_random(&seed) & 0xffff), y[i] = 0;
    for (long i = rounds(argc, argv, 80000); i > 0; i--) saxpy((float)(i & 7) * 0.125f - 0.4f, x, y);
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) sum = mix(sum, bits_of(y[i]));
    return report(sum);
}
