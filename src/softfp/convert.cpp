// Conversions between formats and to and from integers; rounding to an integral value.
#include "softfp/unpack.h"

namespace myna::softfp {

namespace {

/// The magnitude of `x` scaled by 2^frac, rounded to an integer by c.round; at most 65 bits matter: larger values come
/// out as all ones. `*exact`: nothing was lost.
u128 magnitude(const Number& x, unsigned frac, Round round, bool* exact) {
    const int e = x.exp + static_cast<int>(frac);
    *exact = true;
    if (e >= 100) return ~u128{0};
    if (e >= 63) return static_cast<u128>(x.sig) << (e - 63 > 60 ? 60 : e - 63);
    // 2 extra bits below the point keep what rounding needs.
    const int lost = 63 - e;
    uint64_t kept = lost >= 64 ? 0 : x.sig >> lost;
    uint64_t discarded;  // as a fraction of 2^63
    if (lost == 64) discarded = shift_right_jam(x.sig, 1);
    else if (lost > 64) discarded = 1;
    else discarded = shift_right_jam(x.sig << (64 - lost), 1);
    *exact = discarded == 0;
    // lost > 64: below a quarter; discarded = 1 stands for it. The half is 2^62.
    const bool up = [&] {
        constexpr uint64_t kHalf = uint64_t{1} << 62;
        switch (round) {
            case Round::kNearestEven: return discarded > kHalf || (discarded == kHalf && (kept & 1));
            case Round::kNearestAway: return discarded >= kHalf;
            case Round::kDown: return x.sign && discarded;
            case Round::kUp: return !x.sign && discarded;
            case Round::kOdd: return discarded && !(kept & 1);
            default: return false;
        }
    }();
    return static_cast<u128>(kept) + (up ? 1 : 0);
}

constexpr uint64_t ones(unsigned width) { return width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1; }

}  // namespace

template <class To, class From> Bits<To> convert(Bits<From> a, Context& c) {
    constexpr bool kFromHalf = From::kExpBits == 5, kToHalf = To::kExpBits == 5;
    const Number x = unpack<From>(a, c, !kFromHalf);
    const Bits<To> s = x.sign ? kSign<To> : Bits<To>{0};
    switch (x.cls) {
        case Class::kZero: return s;
        case Class::kInf: return static_cast<Bits<To>>(s | kInf<To>);
        case Class::kFinite: return round_pack<To>(x.sign, x.exp, x.sig, c, !kToHalf);
        default: break;
    }
    if (x.cls == Class::kSnan) c.flags |= Flag::kInvalid;
    if (c.nan_rule != NanRule::kArm) return kDefaultNan<To>;
    constexpr int kShift = To::kFracBits - From::kFracBits;
    const uint64_t frac = a & kFracMask<From>;
    const uint64_t moved = kShift >= 0 ? frac << (kShift >= 0 ? kShift : 0) : frac >> (kShift < 0 ? -kShift : 0);
    return static_cast<Bits<To>>(s | kInf<To> | kQuiet<To> | moved);
}

template <class F> Bits<F> round_to_int(Bits<F> a, bool inexact, Context& c) {
    const Number x = unpack<F>(a, c);
    const Bits<F> s = x.sign ? kSign<F> : Bits<F>{0};
    if (x.nan()) return propagate<F>(c, a);
    if (x.inf()) return a;
    if (x.zero()) return s;
    if (x.exp >= F::kFracBits) return a;
    bool exact;
    const uint64_t m = static_cast<uint64_t>(magnitude(x, 0, c.round, &exact));
    if (inexact && !exact) c.flags |= Flag::kInexact;
    if (m == 0) return s;
    const int lz = std::countl_zero(m);
    Context none;
    return round_pack<F>(x.sign, 63 - lz, m << lz, none);
}

template <class F> uint64_t to_signed(Bits<F> a, unsigned width, unsigned frac, Context& c) {
    const Number x = unpack<F>(a, c);
    const uint64_t max = ones(width - 1), min = uint64_t{1} << (width - 1);
    if (x.nan()) {
        c.flags |= Flag::kInvalid;
        return c.nan_rule == NanRule::kRiscv ? max : 0;
    }
    if (x.zero()) return 0;
    bool exact = true;
    const u128 m = x.inf() ? ~u128{0} : magnitude(x, frac, c.round, &exact);
    if (m > (x.sign ? min : max)) {
        c.flags |= Flag::kInvalid;
        return x.sign ? min : max;
    }
    if (!exact) c.flags |= Flag::kInexact;
    const uint64_t v = static_cast<uint64_t>(m);
    return (x.sign ? 0 - v : v) & ones(width);
}

template <class F> uint64_t to_unsigned(Bits<F> a, unsigned width, unsigned frac, Context& c) {
    const Number x = unpack<F>(a, c);
    const uint64_t max = ones(width);
    if (x.nan()) {
        c.flags |= Flag::kInvalid;
        return c.nan_rule == NanRule::kRiscv ? max : 0;
    }
    if (x.zero()) return 0;
    bool exact = true;
    const u128 m = x.inf() ? ~u128{0} : magnitude(x, frac, c.round, &exact);
    if (m > (x.sign ? 0 : max)) {
        c.flags |= Flag::kInvalid;
        return x.sign ? 0 : max;
    }
    if (!exact) c.flags |= Flag::kInexact;
    return static_cast<uint64_t>(m);
}

template <class F> Bits<F> from_unsigned(uint64_t v, unsigned frac, Context& c) {
    if (v == 0) return 0;
    const int lz = std::countl_zero(v);
    return round_pack<F>(false, 63 - lz - static_cast<int>(frac), v << lz, c);
}

template <class F> Bits<F> from_signed(int64_t v, unsigned frac, Context& c) {
    if (v >= 0) return from_unsigned<F>(static_cast<uint64_t>(v), frac, c);
    const uint64_t m = 0 - static_cast<uint64_t>(v);
    const int lz = std::countl_zero(m);
    return round_pack<F>(true, 63 - lz - static_cast<int>(frac), m << lz, c);
}

uint32_t to_int32_modular(uint64_t a, bool* exact_out, Context& c) {
    const Number x = unpack<F64>(a, c);
    bool z = true;
    uint32_t result = 0;
    if (x.nan() || x.inf()) {
        c.flags |= Flag::kInvalid;
        z = false;
    } else if (x.zero()) {
        z = !x.sign && is_zero<F64>(a);  // -0 and flushed denormals are not exact
    } else {
        // The value is sig * 2^(exp - 63); its low 32 bits are gone from exp = 84 + 11 on.
        bool exact = true;
        const u128 m = x.exp >= 116 ? u128{0} : x.exp >= 63 ? static_cast<u128>(x.sig) << (x.exp - 63) : magnitude(x, 0, Round::kZero, &exact);
        const bool fits = x.exp < 100 && m <= (x.sign ? u128{0x80000000} : u128{0x7fffffff});
        result = static_cast<uint32_t>(m);
        if (x.sign) result = 0 - result;
        if (!fits) {
            c.flags |= Flag::kInvalid;
            z = false;
        } else if (!exact) {
            c.flags |= Flag::kInexact;
            z = false;
        }
    }
    if (exact_out) *exact_out = z;
    return result;
}

#define MYNA_SOFTFP_FORMAT(F)                                                       \
    template Bits<F> round_to_int<F>(Bits<F>, bool, Context&);                      \
    template uint64_t to_signed<F>(Bits<F>, unsigned, unsigned, Context&);          \
    template uint64_t to_unsigned<F>(Bits<F>, unsigned, unsigned, Context&);        \
    template Bits<F> from_signed<F>(int64_t, unsigned, Context&);                   \
    template Bits<F> from_unsigned<F>(uint64_t, unsigned, Context&);
MYNA_SOFTFP_FORMAT(F16)
MYNA_SOFTFP_FORMAT(BF16)
MYNA_SOFTFP_FORMAT(F32)
MYNA_SOFTFP_FORMAT(F64)
#undef MYNA_SOFTFP_FORMAT

template Bits<F32> convert<F32, F16>(Bits<F16>, Context&);
template Bits<F64> convert<F64, F16>(Bits<F16>, Context&);
template Bits<F16> convert<F16, F32>(Bits<F32>, Context&);
template Bits<F64> convert<F64, F32>(Bits<F32>, Context&);
template Bits<F16> convert<F16, F64>(Bits<F64>, Context&);
template Bits<F32> convert<F32, F64>(Bits<F64>, Context&);
template Bits<BF16> convert<BF16, F32>(Bits<F32>, Context&);
template Bits<BF16> convert<BF16, F64>(Bits<F64>, Context&);
template Bits<F32> convert<F32, BF16>(Bits<BF16>, Context&);

}  // namespace myna::softfp
