// Sobel edge detection on an 8-bit image: narrow and widen, absolute values, saturation. The includer names the type
// that sums are kept in: int as most code has it, int16_t as code written for vectors has it.
#pragma once
#include "../kernel.h"

enum { width = 512, height = 128 };
static uint8_t image[height][width], edges[height][width];

__attribute__((noinline)) static void sobel(uint8_t (*restrict in)[width], uint8_t (*restrict out)[width]) {
    for (int y = 1; y < height - 1; y++)
        for (int x = 1; x < width - 1; x++) {
            sum_type gx = (sum_type)(in[y - 1][x + 1] + 2 * in[y][x + 1] + in[y + 1][x + 1] - in[y - 1][x - 1] - 2 * in[y][x - 1] - in[y + 1][x - 1]);
            sum_type gy = (sum_type)(in[y + 1][x - 1] + 2 * in[y + 1][x] + in[y + 1][x + 1] - in[y - 1][x - 1] - 2 * in[y - 1][x] - in[y - 1][x + 1]);
            sum_type g = (sum_type)((gx < 0 ? -gx : gx) + (gy < 0 ? -gy : gy));
            out[y][x] = (uint8_t)(g > 255 ? 255 : g);
        }
}

int main(int argc, char** argv) {
    uint32_t seed = 4;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) image[y][x] = (uint8_t)(next_random(&seed) >> 24);
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 1700); i > 0; i--) {
        sobel(image, edges);
        image[i % height][i % width] ^= 0x55;
        sum = mix(sum, edges[(i * 7) % height][(i * 13) % width]);
    }
    return report(sum);
}
