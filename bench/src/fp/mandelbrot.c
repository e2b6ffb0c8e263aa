// The Mandelbrot set: a short dependent chain of multiplications with a data-dependent exit.
#include "../kernel.h"

int main(int argc, char** argv) {
    enum { size = 160, limit = 100 };
    uint64_t sum = 0;
    for (long round = rounds(argc, argv, 28); round > 0; round--)
        for (int py = 0; py < size; py++)
            for (int px = 0; px < size; px++) {
                double cr = 2.0 * px / size - 1.5, ci = 2.0 * py / size - 1.0, zr = 0, zi = 0;
                int k = 0;
                for (; k < limit && zr * zr + zi * zi <= 4.0; k++) {
                    double t = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = t;
                }
                sum = mix(sum, (uint64_t)k + bits_of(zr));
            }
    return report(sum);
}
