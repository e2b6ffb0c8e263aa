// A guest made for tests: a few registers of every kind, helpers of every kind, no instructions.
//
//   x0..x7 kI64 (x0..x3 pinned) · base kI64: where tests keep the address of a buffer · w0, w1 kI32
//   f0, f1 kF64 · v0..v3 kV128 (v0, v1 pinned) · nzcv kFlags
#pragma once

#include <array>

#include "guest/common/arch.h"

namespace myna::testing {

struct ToyState {
    guest::VcpuHeader hdr;
    std::array<uint64_t, 8> x{};
    uint64_t base = 0;
    std::array<uint32_t, 2> w{};
    uint32_t nzcv = 0;
    uint32_t unused = 0;
    std::array<uint64_t, 2> f{};
    alignas(16) std::array<guest::V128, 4> v{};
};

enum ToySlot : unsigned { kX0 = 0, kBase = 8, kW0 = 9, kF0 = 11, kV0 = 13, kNzcv = 17, kToySlots = 18 };

/// Helpers, by index: 0 mix (pure: a * 3 + (b ^ c)), 1 swap64 (vector: a with its halves swapped, plus arg in byte 0),
/// 2 touch (state: x0 += a, returns x1), 3 leave (state: when a is odd, asks to leave with kYield at pc + 4).
enum ToyHelper : unsigned { kMix, kSwap64, kTouch, kLeave };

const guest::GuestArch& toy_guest() noexcept;

}  // namespace myna::testing
