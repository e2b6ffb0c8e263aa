// Arguments of the SIMD helpers (kVCall's arg): what a lift function and its helper agree on.
#pragma once

#include <cstdint>

namespace myna::guest::aarch64::simd_arg {

inline constexpr uint32_t kSizeMask = 0x0f;               // log2 of the element's bytes
inline constexpr uint32_t kUnsigned = 1 << 4;
inline constexpr uint32_t kRound = 1 << 5;
inline constexpr uint32_t kSaturate = 1 << 6;
inline constexpr uint32_t kSubtract = 1 << 7;
inline constexpr uint32_t kWantSaturated = 1u << 31;      // the result is all ones where a lane saturated

/// FP helpers: lanes to compute in bits 8..4 (the rest of the result is zero), the operation from bit 9 on.
constexpr uint32_t lanes(unsigned n) { return n << 4; }
constexpr unsigned lanes_of(uint32_t arg) { return (arg >> 4) & 31; }
constexpr uint32_t operation(unsigned n) { return n << 9; }
constexpr unsigned operation_of(uint32_t arg) { return arg >> 9; }

/// Operations of the helper fp_special.
enum FpSpecial : unsigned { kMulx, kRecpS, kRsqrtS, kRecpE, kRsqrtE, kRecpX, kRint32Z, kRint32X, kRint64Z, kRint64X, kFpMax };

}  // namespace myna::guest::aarch64::simd_arg
