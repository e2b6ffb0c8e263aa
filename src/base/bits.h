// Bit fields, extensions and rotations, the way architecture manuals name them.
#pragma once

#include <bit>
#include <cstdint>

namespace myna {

/// Bits [lo, lo+len) of `v`, right aligned. len: 1..64.
constexpr uint64_t bits(uint64_t v, unsigned lo, unsigned len) noexcept {
    return (v >> lo) & (len >= 64 ? ~uint64_t{0} : (uint64_t{1} << len) - 1);
}
constexpr bool bit(uint64_t v, unsigned n) noexcept { return (v >> n) & 1; }

/// The low `len` bits of `v` (1..64), sign extended to 64 bits.
constexpr int64_t sign_extend(uint64_t v, unsigned len) noexcept {
    const unsigned s = 64 - len;
    return static_cast<int64_t>(v << s) >> s;
}
/// The low `len` bits set; len: 0..64.
constexpr uint64_t low_mask(unsigned len) noexcept { return len >= 64 ? ~uint64_t{0} : (uint64_t{1} << len) - 1; }
constexpr uint64_t align_down(uint64_t v, uint64_t a) noexcept { return v & ~(a - 1); }
constexpr uint64_t align_up(uint64_t v, uint64_t a) noexcept { return (v + a - 1) & ~(a - 1); }
constexpr bool fits_i8(int64_t v) noexcept { return v == static_cast<int8_t>(v); }
constexpr bool fits_i32(int64_t v) noexcept { return v == static_cast<int32_t>(v); }
constexpr bool fits_u32(uint64_t v) noexcept { return v == static_cast<uint32_t>(v); }

}  // namespace myna
