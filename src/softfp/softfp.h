// Exact floating point in integers: what the host's FPU cannot do the guest's way.
//
// Every operation takes bit patterns and a Context (rounding mode, NaN rule, flush-to-zero, where underflow is detected)
// and or-s its exception flags into it. There is no other state, and no host FP instruction is executed, so an operation
// may run with the guest's MXCSR loaded.
//
//   bits ─▶ unpack (class, sign, exponent, 64-bit significand) ─▶ operation in 128 bits ─▶ round_pack ─▶ bits, flags
//
// Used by the IR evaluator, by the slow paths of translated code, and by the guests' helpers.
#pragma once

#include <cstdint>

#include "softfp/modes.h"

namespace myna::softfp {

struct F16 {
    using Bits = uint16_t;
    static constexpr int kExpBits = 5, kFracBits = 10;
};
struct BF16 {
    using Bits = uint16_t;
    static constexpr int kExpBits = 8, kFracBits = 7;
};
struct F32 {
    using Bits = uint32_t;
    static constexpr int kExpBits = 8, kFracBits = 23;
};
struct F64 {
    using Bits = uint64_t;
    static constexpr int kExpBits = 11, kFracBits = 52;
};

template <class F> using Bits = typename F::Bits;

template <class F> inline constexpr int kWidth = sizeof(Bits<F>) * 8;
template <class F> inline constexpr Bits<F> kSign = static_cast<Bits<F>>(uint64_t{1} << (kWidth<F> - 1));
template <class F> inline constexpr Bits<F> kFracMask = static_cast<Bits<F>>((uint64_t{1} << F::kFracBits) - 1);
template <class F> inline constexpr Bits<F> kInf = static_cast<Bits<F>>(((uint64_t{1} << F::kExpBits) - 1) << F::kFracBits);
template <class F> inline constexpr Bits<F> kQuiet = static_cast<Bits<F>>(uint64_t{1} << (F::kFracBits - 1));
template <class F> inline constexpr Bits<F> kDefaultNan = static_cast<Bits<F>>(kInf<F> | kQuiet<F>);
template <class F> inline constexpr int kBias = (1 << (F::kExpBits - 1)) - 1;
template <class F> inline constexpr Bits<F> kMinNormal = static_cast<Bits<F>>(uint64_t{1} << F::kFracBits);
template <class F> inline constexpr Bits<F> kMaxNormal = static_cast<Bits<F>>(kInf<F> - 1);
template <class F> inline constexpr Bits<F> kOne = static_cast<Bits<F>>(static_cast<uint64_t>(kBias<F>) << F::kFracBits);

template <class F> constexpr bool is_nan(Bits<F> x) noexcept { return static_cast<Bits<F>>(x & ~kSign<F>) > kInf<F>; }
template <class F> constexpr bool is_snan(Bits<F> x) noexcept { return is_nan<F>(x) && !(x & kQuiet<F>); }
template <class F> constexpr bool is_inf(Bits<F> x) noexcept { return static_cast<Bits<F>>(x & ~kSign<F>) == kInf<F>; }
template <class F> constexpr bool is_zero(Bits<F> x) noexcept { return static_cast<Bits<F>>(x & ~kSign<F>) == 0; }
template <class F> constexpr Bits<F> neg(Bits<F> x) noexcept { return static_cast<Bits<F>>(x ^ kSign<F>); }
template <class F> constexpr Bits<F> abs(Bits<F> x) noexcept { return static_cast<Bits<F>>(x & ~kSign<F>); }

// ---- arithmetic (F: F16, F32, F64)
template <class F> Bits<F> add(Bits<F> a, Bits<F> b, Context& c);
template <class F> Bits<F> sub(Bits<F> a, Bits<F> b, Context& c);
template <class F> Bits<F> mul(Bits<F> a, Bits<F> b, Context& c);
template <class F> Bits<F> div(Bits<F> a, Bits<F> b, Context& c);
template <class F> Bits<F> sqrt(Bits<F> a, Context& c);
/// a * b + addend with one rounding. Negate operands before (Arm: NaNs change sign as well).
template <class F> Bits<F> fma(Bits<F> a, Bits<F> b, Bits<F> addend, Context& c);
template <class F> Bits<F> min(Bits<F> a, Bits<F> b, MinMax kind, Context& c);
template <class F> Bits<F> max(Bits<F> a, Bits<F> b, MinMax kind, Context& c);

enum class Order : uint8_t { kLess, kEqual, kGreater, kUnordered };
/// Compares; invalid for a signalling NaN, and for any NaN when `signal`.
template <class F> Order compare(Bits<F> a, Bits<F> b, bool signal, Context& c);

/// To an integral value in the same format; `inexact`: raise inexact when the value changes.
template <class F> Bits<F> round_to_int(Bits<F> a, bool inexact, Context& c);

// ---- conversions
/// Between formats; NaN by rule (Arm: sign and the top of the payload kept, quieted).
template <class To, class From> Bits<To> convert(Bits<From> a, Context& c);
/// To an integer of `width` bits (8..64) after scaling by 2^frac, rounding by c.round, saturating; invalid when it does not fit.
/// NaN: Arm 0, RISC-V the maximum. The result is zero extended from `width`.
template <class F> uint64_t to_signed(Bits<F> a, unsigned width, unsigned frac, Context& c);
template <class F> uint64_t to_unsigned(Bits<F> a, unsigned width, unsigned frac, Context& c);
/// From an integer divided by 2^frac.
template <class F> Bits<F> from_signed(int64_t v, unsigned frac, Context& c);
template <class F> Bits<F> from_unsigned(uint64_t v, unsigned frac, Context& c);
/// Towards zero, modulo 2^32 (FJCVTZS; FCVTMOD.W.D without `exact`): NaN and infinity give 0. `*exact`: Arm's Z flag.
uint32_t to_int32_modular(uint64_t f64, bool* exact, Context& c);

// ---- Arm's estimates and steps (FRECPE, FRSQRTE, FRECPX, FRECPS, FRSQRTS, FMULX, URECPE, URSQRTE)
template <class F> Bits<F> recip_estimate(Bits<F> a, Context& c);
template <class F> Bits<F> rsqrt_estimate(Bits<F> a, Context& c);
template <class F> Bits<F> recip_exponent(Bits<F> a, Context& c);
template <class F> Bits<F> recip_step(Bits<F> a, Bits<F> b, Context& c);
template <class F> Bits<F> rsqrt_step(Bits<F> a, Bits<F> b, Context& c);
template <class F> Bits<F> mulx(Bits<F> a, Bits<F> b, Context& c);
uint32_t urecip_estimate(uint32_t a) noexcept;
uint32_t ursqrt_estimate(uint32_t a) noexcept;
/// FMLAL: addend (f32) + a * b (f16) with one rounding.
uint32_t muladd_widening(uint16_t a, uint16_t b, uint32_t addend, Context& c);

// ---- Arm's BF16 without FEAT_EBF16: round to odd, flush to zero, default NaN, no flags
/// BFDOT of one lane: acc + (a.lo * b.lo + a.hi * b.hi).
uint32_t bf16_dot(uint32_t acc, uint32_t a_pair, uint32_t b_pair) noexcept;

// ---- RISC-V
/// FCLASS: one of the ten bits of the classification mask.
template <class F> constexpr uint32_t riscv_class(Bits<F> a) noexcept {
    const bool s = (a & kSign<F>) != 0;
    const Bits<F> m = abs<F>(a);
    if (m > kInf<F>) return (m & kQuiet<F>) ? 1u << 9 : 1u << 8;
    if (m == kInf<F>) return s ? 1u << 0 : 1u << 7;
    if (m == 0) return s ? 1u << 3 : 1u << 4;
    if (m < kMinNormal<F>) return s ? 1u << 2 : 1u << 5;
    return s ? 1u << 1 : 1u << 6;
}

}  // namespace myna::softfp
