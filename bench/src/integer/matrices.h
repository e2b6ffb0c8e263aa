// Small integer matrices: add a constant, multiply by a vector and by a matrix, extract bit fields.
#pragma once
#include "../kernel.h"

enum { side = 24 };

static uint64_t matrix_round(uint32_t* seed) {
    static int16_t a[side][side], b[side][side];
    static int32_t c[side][side];
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            a[i][j] = (int16_t)(next_random(seed) & 0xff);
            b[i][j] = (int16_t)(a[i][j] + i * j);
        }
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            int32_t sum = 0;
            for (int k = 0; k < side; k++) sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
    uint64_t sum = 0;
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            int32_t v = c[i][j];
            sum += (uint32_t)(((v >> 2) & 0xf) * ((v >> 5) & 0x7f));
            if (v > c[j][i]) sum += 10;
        }
    return sum;
}
