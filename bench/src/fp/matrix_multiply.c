// A product of double matrices, the loop order that walks both along rows.
#include "../kernel.h"

enum { n = 120 };
static double a[n][n], b[n][n], c[n][n];

int main(int argc, char** argv) {
    uint32_t seed = 11;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) a[i][j] = next_random(&seed) * 0x1p-32, b[i][j] = next_random(&seed) * 0x1p-32;
    for (long round = rounds(argc, argv, 180); round > 0; round--) {
        for (int i = 0; i < n; i++)
            for (int k = 0; k < n; k++) {
                double x = a[i][k];
                for (int j = 0; j < n; j++) c[i][j] += x * b[k][j];
            }
        a[round % n][0] += 0x1p-20;
    }
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) sum = mix(sum, bits_of(c[i][n - 1 - i]));
    return report(sum);
}
