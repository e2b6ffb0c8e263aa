// System mode, as far as a bare-metal program at EL1 with its MMU on needs it: EL1's registers, exceptions to EL1 and back,
// the stage 1 page walk. Interrupts, EL2, EL3 and the other granules come with the machines.
//
//   SVC, BRK, undefined ─ exit_trap(kException, pc, ESR) ─┐
//   abort ── Mmu::translate notes FAR and ESR ────────────┴▶ run loop ─▶ take_exception ─▶ VBAR_EL1 + offset
//   ERET ── helper ─▶ PSTATE from SPSR_EL1, pc = ELR_EL1, kMode
#pragma once

#include <array>
#include <cstdint>

#include "guest/aarch64/state.h"
#include "mem/softmmu.h"

namespace myna::guest::aarch64 {

/// EL1's registers; State::sys points to them in system mode.
struct SysRegs {
    uint64_t sctlr = 0, cpacr = 0, tcr = 0, mair = 0, vbar = 0;
    std::array<uint64_t, 2> ttbr{};
    uint64_t esr = 0, far = 0, elr = 0, spsr = 0;
    std::array<uint64_t, 2> sp_el{};  // of the stack pointers that are not in force
    uint64_t daif = 0xf << 6;         // bits 9..6
    uint64_t spsel = 1;
    uint64_t tpidr_el1 = 0, contextidr = 0;
};

/// Exception classes (ESR_EL1.EC; Arm ARM D24.2.40).
struct ExceptionClass {
    static constexpr uint32_t kUnknown = 0x00, kSvc = 0x15, kInsnAbortLower = 0x20, kInsnAbort = 0x21, kDataAbortLower = 0x24,
                              kDataAbort = 0x25, kBrk = 0x3c;
};
/// ESR_EL1 of an exception of a 32-bit instruction.
constexpr uint32_t syndrome(uint32_t ec, uint32_t iss) noexcept { return ec << 26 | 1u << 25 | iss; }

/// Resets `s` into EL1h with the MMU off, its system registers in `sys`.
void reset_system(State& s, SysRegs& sys);
/// Takes a synchronous exception to EL1 (D1.3): `return_pc` goes to ELR_EL1, pc to the vector.
void take_exception(State& s, uint32_t esr, uint64_t return_pc);
/// The mode bits of exception level and MMU.
uint32_t system_mode_bits(const State& s) noexcept;

/// The stage 1 walk of EL1&0 with the 4 KiB granule (D8.3): TTBR0 and TTBR1, blocks and pages, access flag, AP, UXN, PXN.
/// Table descriptors' own permission bits are ignored. mmu_index 0: EL0, 1: EL1.
class Stage1 final : public mem::Mmu {
  public:
    bool translate(VcpuHeader& hdr, uint64_t va, mem::Access access, unsigned mmu_index, mem::Translation& out) override;
};

}  // namespace myna::guest::aarch64
