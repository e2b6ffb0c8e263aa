// CRC-32C (Castagnoli), as VHDX and others keep it: reflected, initial value and final inversion of all ones.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace myna::block::formats {

inline uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t crc = 0) noexcept {
    static constexpr auto kTable = [] {
        std::array<uint32_t, 256> t{};
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t c = i;
            for (int k = 0; k < 8; ++k) c = c & 1 ? 0x82f63b78 ^ (c >> 1) : c >> 1;
            t[i] = c;
        }
        return t;
    }();
    crc = ~crc;
    for (const uint8_t b : bytes) crc = kTable[(crc ^ b) & 0xff] ^ (crc >> 8);
    return ~crc;
}

}  // namespace myna::block::formats
