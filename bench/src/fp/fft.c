// A radix-2 Fourier transform; roots of unity by a half-angle recurrence, so that no library function decides the result.
#include <math.h>

#include "../kernel.h"

enum { n = 4096 };
struct complex {
    double re, im;
};

static void transform(struct complex* x) {
    for (unsigned i = 1, j = 0; i < n; i++) {
        unsigned bit = n >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) {
            struct complex t = x[i];
            x[i] = x[j];
            x[j] = t;
        }
    }
    double c = -1, s = 0;   // the root of unity of this length: half a turn at length 2
    for (unsigned length = 2; length <= n; length <<= 1) {
        for (unsigned i = 0; i < n; i += length) {
            double re = 1, im = 0;
            for (unsigned k = 0; k < length / 2; k++) {
                struct complex u = x[i + k], v = x[i + k + length / 2];
                double vr = v.re * re - v.im * im, vi = v.re * im + v.im * re;
                x[i + k] = (struct complex){u.re + vr, u.im + vi};
                x[i + k + length / 2] = (struct complex){u.re - vr, u.im - vi};
                double t = re * c - im * s;
                im = re * s + im * c;
                re = t;
            }
        }
        double half_c = sqrt((1 + c) / 2), half_s = sqrt((1 - c) / 2);
        c = half_c;
        s = half_s;
    }
}

int main(int argc, char** argv) {
    static struct complex x[n];
    uint32_t seed = 3;
    for (int i = 0; i < n; i++) x[i] = (struct complex){next_random(&seed) * 0x1p-32, 0};
    for (long round = rounds(argc, argv, 1200); round > 0; round--) {
        transform(x);
        for (int i = 0; i < n; i++) x[i].re *= 1.0 / 64, x[i].im *= 1.0 / 64;
    }
    uint64_t sum = 0;
    for (int i = 0; i < n; i += 61) sum = mix(sum, bits_of(x[i].re) ^ bits_of(x[i].im));
    return report(sum);
}
