// Functions that translated code calls, numbered as GuestArch::helpers has them. One line here declares a function,
// numbers it and puts it into the table.
#pragma once

#include <cstdint>

#include "guest/common/arch.h"

namespace myna::guest::riscv64 {

// RV_HELPER(function, HelperKind)
#define RISCV64_HELPERS(H)                                       \
    H(read_fcsr, kState)     /* fcsr with fflags collected */    \
    H(write_fcsr, kState)    /* a: new fcsr; arg: length */      \
    H(read_counter, kState)  /* arg: 0 cycle, 1 time, 2 instret */ \
    H(fp_static, kVector)    /* arg: FpCall */                   \
    H(fclass, kPure)         /* a: bits, b: format */            \
    H(aes64ks1i, kPure)                                          \
    H(xperm4, kPure)                                             \
    H(sm4, kPure)            /* a: rs1, b: rs2, c: bs | ks << 2 */ \
    H(csr_access, kState)    /* system mode, as the three below */ \
    H(trap_return, kState)                                       \
    H(fence_vma, kState)

enum HelperId : unsigned {
#define RV_HELPER(fn, kind) kHelper_##fn,
    RISCV64_HELPERS(RV_HELPER)
#undef RV_HELPER
    kHelperCount
};

namespace helper {
#define RV_HELPER(fn, kind) HelperSignature<HelperKind::kind>::Type fn;
RISCV64_HELPERS(RV_HELPER)
#undef RV_HELPER
}  // namespace helper

/// fp_static's argument: an operation whose rounding mode is not the one in force, or that the IR does not have.
struct FpCall {
    enum Op : uint8_t { kAdd, kSub, kMul, kDiv, kSqrt, kFma, kCvt, kFromS, kFromU, kCvtmod };
    Op op;
    uint8_t fmt;         // of the result: 0 S, 1 D, 2 H, 3 BF16
    uint8_t rm;
    uint8_t from = 0;    // kCvt: source format; kFma: 1 negate the product, 2 negate the addend
    [[nodiscard]] constexpr uint32_t pack() const noexcept {
        return uint32_t{op} | uint32_t{fmt} << 8 | uint32_t{rm} << 16 | uint32_t{from} << 24;
    }
    static constexpr FpCall unpack(uint32_t v) noexcept {
        return {static_cast<Op>(v & 0xff), static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v >> 16), static_cast<uint8_t>(v >> 24)};
    }
};

}  // namespace myna::guest::riscv64
