// Inside softfp: numbers taken apart and put together again.
//
// A finite non-zero number is (-1)^sign * sig * 2^(exp - 63) with bit 63 of sig set, denormals normalised. round_pack
// takes such a number with all that was lost below or-ed into bit 0 of sig ("jammed"): 64 bits are at least 11 more
// than any format keeps, so that bit 0 never is the rounding bit.
#pragma once

#include <bit>

#include "softfp/softfp.h"

namespace myna::softfp {

__extension__ using u128 = unsigned __int128;

enum class Class : uint8_t { kZero, kFinite, kInf, kQnan, kSnan };

struct Number {
    Class cls;
    bool sign;
    int exp;
    uint64_t sig;

    [[nodiscard]] bool nan() const noexcept { return cls >= Class::kQnan; }
    [[nodiscard]] bool zero() const noexcept { return cls == Class::kZero; }
    [[nodiscard]] bool inf() const noexcept { return cls == Class::kInf; }
};

template <class F> constexpr bool flushes(const Context& c) noexcept {
    return sizeof(Bits<F>) == 2 && F::kExpBits == 5 ? c.flush16 : c.flush;
}

/// `flush` false: a conversion from f16, which keeps denormals.
template <class F> inline Number unpack(Bits<F> x, Context& c, bool flush = true) noexcept {
    Number n{Class::kZero, (x & kSign<F>) != 0, 0, 0};
    const uint64_t frac = x & kFracMask<F>;
    const int e = static_cast<int>((x & kInf<F>) >> F::kFracBits);
    if (e == (1 << F::kExpBits) - 1) {
        n.cls = !frac ? Class::kInf : (frac & kQuiet<F>) ? Class::kQnan : Class::kSnan;
        return n;
    }
    if (e == 0) {
        if (!frac) return n;
        if (flush && flushes<F>(c)) {
            if (F::kExpBits != 5) c.flags |= Flag::kInputDenormal;  // FZ16 does not set IDC
            return n;
        }
        const int lz = std::countl_zero(frac);
        n.cls = Class::kFinite;
        n.sig = frac << lz;
        n.exp = 1 - kBias<F> + (63 - F::kFracBits) - lz;
        return n;
    }
    n.cls = Class::kFinite;
    n.sig = (frac | uint64_t{1} << F::kFracBits) << (63 - F::kFracBits);
    n.exp = e - kBias<F>;
    return n;
}

constexpr uint64_t shift_right_jam(uint64_t v, int n) noexcept {
    if (n <= 0) return v;
    if (n >= 64) return v != 0;
    return (v >> n) | ((v << (64 - n)) != 0);
}
constexpr u128 shift_right_jam(u128 v, int n) noexcept {
    if (n <= 0) return v;
    if (n >= 128) return v != 0;
    return (v >> n) | ((v << (128 - n)) != 0 ? 1 : 0);
}

/// What is added to the discarded bits (`lost` bits, 1..63) before they are cut off.
constexpr bool rounds_up(Round r, bool sign, uint64_t kept, uint64_t discarded, int lost) noexcept {
    const uint64_t half = uint64_t{1} << (lost - 1);
    switch (r) {
        case Round::kNearestEven: return discarded > half || (discarded == half && (kept & 1));
        case Round::kNearestAway: return discarded >= half;
        case Round::kDown: return sign && discarded;
        case Round::kUp: return !sign && discarded;
        case Round::kOdd: return discarded && !(kept & 1);
        default: return false;
    }
}

/// The number in format F, rounded by c. `flush` false: a conversion to f16, which keeps denormals.
template <class F> inline Bits<F> round_pack(bool sign, int exp, uint64_t sig, Context& c, bool flush = true) noexcept {
    constexpr int kLost = 63 - F::kFracBits;
    constexpr int kMinExp = 1 - kBias<F>;
    const Bits<F> s = sign ? kSign<F> : Bits<F>{0};
    bool tiny = exp < kMinExp;
    if (tiny) {
        if (flush && flushes<F>(c)) {
            c.flags |= Flag::kUnderflow;
            return s;
        }
        if (!c.tiny_before && exp == kMinExp - 1) {
            const uint64_t kept = sig >> kLost;
            const uint64_t discarded = sig & ((uint64_t{1} << kLost) - 1);
            if (rounds_up(c.round, sign, kept, discarded, kLost) && (kept + 1) >> (F::kFracBits + 1)) tiny = false;
        }
        sig = shift_right_jam(sig, kMinExp - exp);
        exp = kMinExp;
    }
    uint64_t kept = sig >> kLost;
    const uint64_t discarded = sig & ((uint64_t{1} << kLost) - 1);
    if (rounds_up(c.round, sign, kept, discarded, kLost)) ++kept;
    // kept has the implicit bit: adding it to the exponent field less one makes carries come out right.
    const bool normal = (kept >> F::kFracBits) != 0;
    uint64_t biased = normal ? static_cast<uint64_t>(exp + kBias<F> - 1) : 0;
    const uint64_t mag = (biased << F::kFracBits) + kept;
    if (exp > kBias<F> || mag >= kInf<F>) {
        c.flags |= Flag::kOverflow | Flag::kInexact;
        const bool to_inf = c.round == Round::kNearestEven || c.round == Round::kNearestAway ||
                            (c.round == Round::kDown && sign) || (c.round == Round::kUp && !sign);
        return static_cast<Bits<F>>(s | (to_inf ? kInf<F> : kMaxNormal<F>));
    }
    if (discarded) c.flags |= Flag::kInexact | (tiny ? Flag::kUnderflow : 0);
    return static_cast<Bits<F>>(s | mag);
}

/// The same from a 128-bit significand: value = sig * 2^(exp - 127) (sig != 0, not normalised).
template <class F> inline Bits<F> round_pack128(bool sign, int exp, u128 sig, Context& c, bool flush = true) noexcept {
    const uint64_t hi = static_cast<uint64_t>(sig >> 64);
    const int lz = hi ? std::countl_zero(hi) : 64 + std::countl_zero(static_cast<uint64_t>(sig));
    sig <<= lz;
    const uint64_t top = static_cast<uint64_t>(sig >> 64) | (static_cast<uint64_t>(sig) != 0);
    return round_pack<F>(sign, exp - lz, top, c, flush);
}

template <class F> inline Bits<F> default_nan(Context& c) noexcept {
    c.flags |= Flag::kInvalid;
    return kDefaultNan<F>;
}

/// The result when at least one operand is a NaN; operands in the order the rule looks at them.
template <class F, class... N> inline Bits<F> propagate(Context& c, N... bits) noexcept {
    const Bits<F> all[] = {bits...};
    Bits<F> result = kDefaultNan<F>;
    bool snan = false, qnan = false;
    for (Bits<F> x : all) {
        if (is_snan<F>(x)) {
            if (!snan) result = static_cast<Bits<F>>(x | kQuiet<F>);
            snan = true;
        } else if (is_nan<F>(x) && !snan && !qnan) {
            result = x;
            qnan = true;
        }
    }
    if (snan) c.flags |= Flag::kInvalid;
    return c.nan_rule == NanRule::kArm ? result : kDefaultNan<F>;
}

/// Exact a * b + d for finite non-zero a, b and finite or zero d, as sign, exp, 128-bit sig (value sig * 2^(exp - 127)).
struct Wide {
    bool sign;
    int exp;
    u128 sig;  // 0: exact zero (sign is then to be chosen by the rounding mode)
};
inline Wide mul_add(const Number& a, const Number& b, const Number& d) noexcept {
    // Both in units of 2^(exp - 125): below 2^127, so that the sum fits. The product has 22 zero bits at its end.
    const u128 p = (static_cast<u128>(a.sig) * b.sig) >> 1;
    const bool ps = a.sign != b.sign;
    const int pe = a.exp + b.exp;
    if (d.zero()) return {ps, pe + 2, p};
    const u128 q = static_cast<u128>(d.sig) << 62;
    const int e = pe > d.exp ? pe : d.exp;
    const u128 x = shift_right_jam(p, e - pe);
    const u128 y = shift_right_jam(q, e - d.exp);
    if (ps == d.sign) return {ps, e + 2, x + y};
    if (x >= y) return {ps, e + 2, x - y};
    return {d.sign, e + 2, y - x};
}
inline constexpr Number kNumberOne{Class::kFinite, false, 0, uint64_t{1} << 63};

template <class F> inline Bits<F> pack_wide(const Wide& w, Context& c) noexcept {
    if (w.sig == 0) return c.round == Round::kDown ? kSign<F> : Bits<F>{0};
    return round_pack128<F>(w.sign, w.exp, w.sig, c);
}

}  // namespace myna::softfp
