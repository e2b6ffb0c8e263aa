// The RISC-V guest's registers as translated code and the rest of the program see them.
#pragma once

#include <array>
#include <cstdint>

#include "guest/common/arch.h"
#include "ir/types.h"

namespace myna::guest::riscv64 {

struct SysRegs;

struct State {
    VcpuHeader hdr;
    std::array<uint64_t, 32> x{};  // x[0] stays 0
    std::array<uint64_t, 32> f{};  // narrower values NaN boxed
    uint32_t frm = 0;              // 0..7 as written; rounding is also in hdr.mxcsr, fflags are its sticky bits
    uint32_t reserved = 0;
    const CpuConfig* cpu = nullptr;
    // System mode (system.h)
    uint64_t priv = 0;             // Privilege
    SysRegs* sys = nullptr;        // null in user mode
};

/// Slot numbers (GuestArch::slots order).
enum SlotId : unsigned { kX0 = 0, kX31 = 31, kF0 = 32, kF31 = 63, kSlotCount };

/// Rounding modes as instructions and frm number them.
enum Rm : unsigned { kRne = 0, kRtz = 1, kRdn = 2, kRup = 3, kRmm = 4, kDyn = 7 };

/// The block key's mode bits (hdr.mode).
struct Mode {
    static constexpr uint32_t kFrmMask = 7;  // frm: dynamic rounding is resolved when translating
    // System mode: the privilege, and which table of the softmmu TLB data accesses use.
    static constexpr unsigned kPrivShift = 8, kDataShift = 10;
    static constexpr uint32_t kPrivMask = 3 << kPrivShift, kDataMask = 3 << kDataShift, kSystem = 1 << 12;
};

/// fflags (NX, UF, OF, DZ, NV from bit 0) of MXCSR's sticky bits, and back.
constexpr uint32_t fflags_of_mxcsr(uint32_t m) noexcept {
    return (m & 1) << 4 | (m >> 2 & 1) << 3 | (m >> 3 & 1) << 2 | (m >> 4 & 1) << 1 | (m >> 5 & 1);
}
constexpr uint32_t mxcsr_of_fflags(uint32_t f) noexcept {
    return (f >> 4 & 1) | (f >> 3 & 1) << 2 | (f >> 2 & 1) << 3 | (f >> 1 & 1) << 4 | (f & 1) << 5;
}
/// What CSR time counts per second.
inline constexpr uint64_t kTimeHz = 10000000;

inline constexpr uint32_t kMxcsrFlags = 0x3f;
inline constexpr uint32_t kMxcsrRounding = 0x6000;
/// MXCSR's rounding bits for frm; modes it lacks (RMM) and reserved ones round to nearest even there.
constexpr uint32_t mxcsr_of_frm(uint32_t frm) noexcept {
    return frm == kRtz ? 0x6000u : frm == kRdn ? 0x2000u : frm == kRup ? 0x4000u : 0u;
}

/// The value of fcsr from outside of translated code, and the way to set it (signal frames, debugger, tests).
constexpr uint32_t fcsr(const State& s) noexcept { return s.frm << 5 | fflags_of_mxcsr(s.hdr.mxcsr); }
constexpr void set_fcsr(State& s, uint32_t v) noexcept {
    s.frm = v >> 5 & 7;
    s.hdr.mxcsr = (s.hdr.mxcsr & ~(kMxcsrFlags | kMxcsrRounding)) | mxcsr_of_fflags(v & 31) | mxcsr_of_frm(s.frm);
}

}  // namespace myna::guest::riscv64
