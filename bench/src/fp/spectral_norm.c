// The spectral norm of an infinite matrix: conversions, divisions and sums.
#include <math.h>

#include "../kernel.h"

enum { n = 160 };
static double element(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }
static void times(const double* v, double* out, int transposed) {
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) sum += (transposed ? element(j, i) : element(i, j)) * v[j];
        out[i] = sum;
    }
}

int main(int argc, char** argv) {
    static double u[n], v[n], w[n];
    for (int i = 0; i < n; i++) u[i] = 1;
    for (long i = rounds(argc, argv, 500); i > 0; i--) {
        times(u, w, 0);
        times(w, v, 1);
        times(v, w, 0);
        times(w, u, 1);
        for (int k = 0; k < n; k++) u[k] *= 0.25;
    }
    double uv = 0, vv = 0;
    for (int i = 0; i < n; i++) uv += u[i] * v[i], vv += v[i] * v[i];
    return report(bits_of(sqrt(uv / vv)));
}
