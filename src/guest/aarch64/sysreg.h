// System registers as MRS and MSR name them, and the values of the identification registers.
#pragma once

#include <cstdint>

#include "guest/common/arch.h"

namespace myna::guest::aarch64 {

/// op0:op1:CRn:CRm:op2 in one number, as in the instruction's bits 20..5.
constexpr uint32_t sysreg(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2) noexcept {
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
}

/// The registers this guest knows; the text is the disassembler's.
#define A64_SYSREGS(F)                              \
    F(kMidrEl1, 3, 0, 0, 0, 0, "midr_el1")          \
    F(kMpidrEl1, 3, 0, 0, 0, 5, "mpidr_el1")        \
    F(kRevidrEl1, 3, 0, 0, 0, 6, "revidr_el1")      \
    F(kIdAa64Pfr0, 3, 0, 0, 4, 0, "id_aa64pfr0_el1")   \
    F(kIdAa64Pfr1, 3, 0, 0, 4, 1, "id_aa64pfr1_el1")   \
    F(kIdAa64Zfr0, 3, 0, 0, 4, 4, "id_aa64zfr0_el1")   \
    F(kIdAa64Smfr0, 3, 0, 0, 4, 5, "id_aa64smfr0_el1") \
    F(kIdAa64Dfr0, 3, 0, 0, 5, 0, "id_aa64dfr0_el1")   \
    F(kIdAa64Dfr1, 3, 0, 0, 5, 1, "id_aa64dfr1_el1")   \
    F(kIdAa64Isar0, 3, 0, 0, 6, 0, "id_aa64isar0_el1") \
    F(kIdAa64Isar1, 3, 0, 0, 6, 1, "id_aa64isar1_el1") \
    F(kIdAa64Isar2, 3, 0, 0, 6, 2, "id_aa64isar2_el1") \
    F(kIdAa64Mmfr0, 3, 0, 0, 7, 0, "id_aa64mmfr0_el1") \
    F(kIdAa64Mmfr1, 3, 0, 0, 7, 1, "id_aa64mmfr1_el1") \
    F(kIdAa64Mmfr2, 3, 0, 0, 7, 2, "id_aa64mmfr2_el1") \
    F(kSctlrEl1, 3, 0, 1, 0, 0, "sctlr_el1")        \
    F(kCpacrEl1, 3, 0, 1, 0, 2, "cpacr_el1")        \
    F(kTtbr0El1, 3, 0, 2, 0, 0, "ttbr0_el1")        \
    F(kTtbr1El1, 3, 0, 2, 0, 1, "ttbr1_el1")        \
    F(kTcrEl1, 3, 0, 2, 0, 2, "tcr_el1")            \
    F(kSpsrEl1, 3, 0, 4, 0, 0, "spsr_el1")          \
    F(kElrEl1, 3, 0, 4, 0, 1, "elr_el1")            \
    F(kSpEl0, 3, 0, 4, 1, 0, "sp_el0")              \
    F(kSpSel, 3, 0, 4, 2, 0, "spsel")               \
    F(kCurrentEl, 3, 0, 4, 2, 2, "currentel")       \
    F(kEsrEl1, 3, 0, 5, 2, 0, "esr_el1")            \
    F(kFarEl1, 3, 0, 6, 0, 0, "far_el1")            \
    F(kMairEl1, 3, 0, 10, 2, 0, "mair_el1")         \
    F(kVbarEl1, 3, 0, 12, 0, 0, "vbar_el1")         \
    F(kContextidrEl1, 3, 0, 13, 0, 1, "contextidr_el1") \
    F(kTpidrEl1, 3, 0, 13, 0, 4, "tpidr_el1")       \
    F(kCtrEl0, 3, 3, 0, 0, 1, "ctr_el0")            \
    F(kDczidEl0, 3, 3, 0, 0, 7, "dczid_el0")        \
    F(kRndr, 3, 3, 2, 4, 0, "rndr")                 \
    F(kRndrrs, 3, 3, 2, 4, 1, "rndrrs")             \
    F(kNzcvReg, 3, 3, 4, 2, 0, "nzcv")              \
    F(kDaif, 3, 3, 4, 2, 1, "daif")                 \
    F(kDit, 3, 3, 4, 2, 5, "dit")                   \
    F(kSsbs, 3, 3, 4, 2, 6, "ssbs")                 \
    F(kFpcrReg, 3, 3, 4, 4, 0, "fpcr")              \
    F(kFpsrReg, 3, 3, 4, 4, 1, "fpsr")              \
    F(kTpidrEl0, 3, 3, 13, 0, 2, "tpidr_el0")       \
    F(kTpidrroEl0, 3, 3, 13, 0, 3, "tpidrro_el0")   \
    F(kTpidr2El0, 3, 3, 13, 0, 5, "tpidr2_el0")     \
    F(kCntfrqEl0, 3, 3, 14, 0, 0, "cntfrq_el0")     \
    F(kCntvctEl0, 3, 3, 14, 0, 2, "cntvct_el0")     \
    F(kCntvctssEl0, 3, 3, 14, 0, 6, "cntvctss_el0")

enum SysregId : uint32_t {
#define A64_SYSREG(name, op0, op1, crn, crm, op2, text) name = sysreg(op0, op1, crn, crm, op2),
    A64_SYSREGS(A64_SYSREG)
#undef A64_SYSREG
};

/// Ticks of CNTVCT_EL0 a second. One tick is a nanosecond of the host's CLOCK_MONOTONIC.
inline constexpr uint64_t kCounterHz = 1'000'000'000;

/// Cache lines of 64 bytes, PIPT; IDC: no DC CVAU is needed before IC IVAU.
inline constexpr uint64_t kCtrValue = uint64_t{1} << 31 | 1 << 28 | 4 << 24 | 4 << 20 | 4 << 16 | 3 << 14 | 4;
/// DC ZVA clears 64 bytes.
inline constexpr uint64_t kDczidValue = 4;

/// The value of an identification register (op0 3, op1 0, CRn 0, CRm 0 or 4..7) as Linux shows it at EL0: the fields of
/// features that `cpu` has; zero for the others and for registers without fields. False: not such a register.
bool id_register(const CpuConfig& cpu, uint32_t reg, uint64_t* value) noexcept;

/// AT_HWCAP and AT_HWCAP2 of Linux for `cpu`.
uint64_t hwcap(const CpuConfig& cpu) noexcept;
uint64_t hwcap2(const CpuConfig& cpu) noexcept;

}  // namespace myna::guest::aarch64
