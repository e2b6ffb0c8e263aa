// System mode, as far as a bare-metal program in M, S and U with Sv39 paging needs it: the privileged registers, traps with
// delegation and back, the page walk. Interrupts, Sv48, PMP's checks and counters come with the machines.
//
//   ECALL, EBREAK, undefined ─ exit_trap(kException, pc, cause) ─┐
//   page fault ── Mmu::translate notes cause and address ────────┴▶ run loop ─▶ take_trap ─▶ stvec or mtvec
//   SRET, MRET, CSR instructions, SFENCE.VMA ── helpers; kMode when the block key changes
//
// Register numbers, fields and causes: The RISC-V Instruction Set Manual, volume II (privileged architecture) 20211203.
#pragma once

#include <array>
#include <cstdint>

#include "guest/riscv64/state.h"
#include "mem/softmmu.h"

namespace myna::guest::riscv64 {

enum Privilege : uint64_t { kUser = 0, kSupervisor = 1, kMachine = 3 };

/// The privileged registers; State::sys points to them in system mode.
struct SysRegs {
    uint64_t mstatus = uint64_t{2} << 32 | uint64_t{2} << 34;  // UXL, SXL: 64 bits
    uint64_t medeleg = 0, mideleg = 0, mie = 0, mip = 0, mtvec = 0, mscratch = 0, mepc = 0, mcause = 0, mtval = 0, mcounteren = 0;
    uint64_t stvec = 0, sscratch = 0, sepc = 0, scause = 0, stval = 0, satp = 0, scounteren = 0;
    std::array<uint64_t, 2> pmpcfg{};
    std::array<uint64_t, 16> pmpaddr{};
    uint64_t tval = 0;  // of the page fault that Mmu::translate noted last
};

/// mcause, scause (3.1.15).
struct Cause {
    static constexpr uint32_t kIllegal = 2, kBreakpoint = 3, kLoadAccess = 5, kEcallU = 8, kFetchPage = 12, kLoadPage = 13, kStorePage = 15;
};
/// mstatus (3.1.6).
struct Status {
    static constexpr uint64_t kSie = 1 << 1, kMie = 1 << 3, kSpie = 1 << 5, kMpie = 1 << 7, kSpp = 1 << 8, kMpp = 3 << 11, kFs = 3 << 13,
                              kMprv = 1 << 17, kSum = 1 << 18, kMxr = 1 << 19, kSd = uint64_t{1} << 63;
    static constexpr unsigned kMppShift = 11;
    static constexpr uint64_t kSupervisorView = kSie | kSpie | kSpp | kFs | kSum | kMxr | uint64_t{3} << 32 | kSd;
};

/// Resets `s` into machine mode with paging off, its system registers in `sys`.
void reset_system(State& s, SysRegs& sys);
/// Takes a synchronous exception (3.1.8): to S when delegated and not from M, else to M. `at`: the instruction.
void take_trap(State& s, uint32_t cause, uint64_t at, uint64_t tval);
/// The mode bits of privilege and address translation.
uint32_t system_mode_bits(const State& s) noexcept;
/// The softmmu TLB's table for data accesses and for fetches in a mode.
unsigned data_index(uint32_t mode) noexcept;
unsigned fetch_index(const State& s) noexcept;

/// The Sv39 walk (4.3.2, 4.4), accessed and dirty bits set by the walk. A table of the TLB each: U, S, S with SUM, M.
class Sv39 final : public mem::Mmu {
  public:
    bool translate(VcpuHeader& hdr, uint64_t va, mem::Access access, unsigned mmu_index, mem::Translation& out) override;
};

}  // namespace myna::guest::riscv64
