// The AArch64 guest's registers as translated code and the rest of the program see them.
#pragma once

#include <array>
#include <cstdint>

#include "guest/common/arch.h"
#include "ir/types.h"

namespace myna::guest::aarch64 {

struct State {
    VcpuHeader hdr;
    std::array<uint64_t, 31> x{};   // X0..X30
    uint64_t sp = 0;                // the SP in force
    uint32_t nzcv = 0;              // bits 31..28
    uint32_t fpcr = 0;              // rounding mode is also in hdr.mxcsr
    uint32_t fpsr = 0;              // sticky bits that are not in MXCSR (guest numbering); QC is qc != 0
    uint32_t btype = 0;             // PSTATE.BTYPE (only kept where BTI is checked)
    alignas(16) std::array<V128, 32> v{};
    alignas(16) V128 qc{};          // any bit set: FPSR.QC
    uint64_t tpidr_el0 = 0;
    uint64_t tpidrro_el0 = 0;
    uint64_t tpidr2_el0 = 0;
    std::array<uint64_t, 10> pauth_keys{};  // IA, IB, DA, DB, GA: lo, hi
    uint64_t dit_ssbs = 0;          // PSTATE.DIT bit 24, SSBS bit 12
    uint64_t fpsr_watched = 0;      // 1 once FPSR was read or written: Mode::kUnderflow
    const CpuConfig* cpu = nullptr;
    // System mode (one small real use in the tests; the rest comes with system emulation)
    uint64_t el = 0;                // current exception level
    uint64_t tbi = 0;               // a tagged pointer was seen: addresses lose their top byte (Mode::kTbi)
    struct SysRegs* sys = nullptr;      // EL1 registers; null in user mode
};

/// Slot numbers (GuestArch::slots order).
enum SlotId : unsigned {
    kX0 = 0, kX30 = 30, kSp = 31, kNzcv = 32, kV0 = 33, kV31 = 64, kQc = 65,
    kTpidr, kTpidrro, kTpidr2, kFpcr, kFpsr, kDitSsbs,
    kPauthKey0,                      // 10 slots: IA, IB, DA, DB, GA; lo, hi each
    kSlotCount = kPauthKey0 + 10
};

/// The block key's mode bits (hdr.mode): what of FPCR and PSTATE changes how code is translated.
struct Mode {
    static constexpr uint32_t kRModeMask = 3;      // FPCR.RMode as Arm numbers it: 0 RN, 1 RP, 2 RM, 3 RZ
    static constexpr uint32_t kFlush = 1 << 2;     // FPCR.FZ
    static constexpr uint32_t kDn = 1 << 3;        // FPCR.DN: NaN results are the default NaN
    static constexpr uint32_t kFlush16 = 1 << 4;   // FPCR.FZ16
    static constexpr uint32_t kAhp = 1 << 5;       // FPCR.AHP: alternative half precision in conversions
    static constexpr uint32_t kTbi = 1 << 6;       // the top byte of addresses is ignored
    static constexpr uint32_t kUnderflow = 1 << 7; // FPSR is in use: underflow is detected just as Arm has it
    static constexpr uint32_t kEl1 = 1 << 8;       // system mode: EL1
    static constexpr uint32_t kMmuOn = 1 << 9;     //
};

}  // namespace myna::guest::aarch64
