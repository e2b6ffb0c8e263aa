// CRC-16, bit by bit: shifts, masks and one branch.
#pragma once
#include "../kernel.h"

static uint16_t crc16(uint8_t byte, uint16_t crc) {
    for (int i = 0; i < 8; i++) {
        int carry = (byte ^ crc) & 1;
        byte >>= 1;
        crc >>= 1;
        if (carry) crc ^= 0xa001;
    }
    return crc;
}

static uint16_t crc_of(const void* data, size_t n, uint16_t crc) {
    const uint8_t* p = data;
    while (n--) crc = crc16(*p++, crc);
    return crc;
}

static inline uint64_t crc_round(uint32_t* seed) {
    uint32_t block[64];
    for (int i = 0; i < 64; i++) block[i] = next_random(seed);
    return crc_of(block, sizeof block, 0);
}
