// The vocabulary of floating point that the IR, the evaluator, the back end and the guests share: rounding modes, NaN
// rules, minimum and maximum, exception flags, and the context a soft operation runs in.
#pragma once

#include <cstdint>

namespace myna::softfp {

/// Rounding (ir::Inst::sub of conversions and fround). kCur: the dynamic mode in force (MXCSR / guest control register).
enum class Round : uint8_t {
    kNearestEven, kDown, kUp, kZero, kNearestAway, kCur,
    kOdd,  // towards zero with the last bit set when inexact (FCVTXN); soft operations only
};

/// What min and max do with NaN and zeroes (ir::Inst::sub of fmin/fmax, low bits; vector: imm).
enum class MinMax : uint8_t {
    kArm,       // any NaN gives a NaN by the guest's rule; -0 < +0                    (FMIN, FMAX)
    kNumber,    // one quiet NaN gives the other operand; SNaN: NaN by rule; -0 < +0   (FMINNM; IEEE 754-2008 minNum)
    kNumber19,  // any one NaN gives the other operand, SNaN raises invalid; -0 < +0   (RISC-V; 754-2019 minimumNumber)
};

/// How a NaN result is formed; an attribute of the Function.
enum class NanRule : uint8_t {
    kArm,    // first SNaN operand quieted, else first QNaN operand, else default NaN (positive); fma: addend first
    kRiscv,  // always the canonical NaN (positive, quiet, no payload)
    kArmDefault,  // FPCR.DN = 1: always the default NaN
};

/// What is the same for all operations of a block beyond the rounding mode: an attribute of ir::Function.
struct FpMode {
    bool flush = false;       // Arm FPCR.FZ: f32, f64, bf16 denormals are zeroes, in and out
    bool flush16 = false;     // Arm FPCR.FZ16: the same for f16
    bool round_away = false;  // the dynamic rounding mode is to nearest, ties away (RISC-V RMM); MXCSR's is ignored
};

/// Exception flags, numbered as in MXCSR.
struct Flag {
    static constexpr uint32_t kInvalid = 1, kInputDenormal = 2, kDivZero = 4, kOverflow = 8, kUnderflow = 16, kInexact = 32;
    static constexpr uint32_t kAll = 63;
};

/// What an operation needs to know, and where it leaves its flags (or-ed in).
struct Context {
    Round round = Round::kNearestEven;  // never kCur
    NanRule nan_rule = NanRule::kArm;
    bool flush = false;         // FpMode::flush
    bool flush16 = false;       // FpMode::flush16
    bool tiny_before = true;    // underflow is detected before rounding (Arm) or after it (RISC-V, x86)
    uint32_t flags = 0;         // Flag; kInputDenormal only where an operand was flushed
};

/// The rounding mode in MXCSR bits 14..13.
constexpr Round mxcsr_round(uint32_t mxcsr) noexcept {
    constexpr Round kModes[4] = {Round::kNearestEven, Round::kDown, Round::kUp, Round::kZero};
    return kModes[(mxcsr >> 13) & 3];
}

/// The context of a block's operation: rounding `r` (kCur: MXCSR's or mode's), no flags yet.
constexpr Context context(uint32_t mxcsr, NanRule rule, FpMode mode = {}, Round r = Round::kCur) noexcept {
    const Round dynamic = mode.round_away ? Round::kNearestAway : mxcsr_round(mxcsr);
    return {.round = r == Round::kCur ? dynamic : r, .nan_rule = rule, .flush = mode.flush, .flush16 = mode.flush16,
            .tiny_before = rule != NanRule::kRiscv, .flags = 0};
}

}  // namespace myna::softfp
