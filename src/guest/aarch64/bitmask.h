// The bit mask of logical immediates (Arm ARM, shared/functions/integer/DecodeBitMasks).
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "base/bits.h"

namespace myna::guest::aarch64 {

/// The 64-bit mask that N:imms:immr stands for; nothing when the encoding is unallocated.
constexpr std::optional<uint64_t> decode_bitmask(unsigned n, unsigned imms, unsigned immr) noexcept {
    const unsigned key = n << 6 | (~imms & 0x3f);
    if (key < 2) return std::nullopt;
    const unsigned size = 1u << (31 - std::countl_zero(key));
    const unsigned ones = (imms & (size - 1)) + 1;
    if (ones == size) return std::nullopt;
    uint64_t element = low_mask(ones);
    if (const unsigned rot = immr & (size - 1); rot != 0)
        element = (element >> rot | element << (size - rot)) & low_mask(size);
    for (unsigned s = size; s < 64; s *= 2) element |= element << s;
    return element;
}

}  // namespace myna::guest::aarch64
