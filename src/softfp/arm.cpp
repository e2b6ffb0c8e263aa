// Arm's estimate and step functions, and BF16 dot products (Arm ARM, shared/functions/float).
#include "softfp/unpack.h"

namespace myna::softfp {

namespace {

/// RecipEstimate: a in 256..511 (0.5 to 1), the result in 256..511 (1 to 2).
unsigned recip_table(unsigned a) {
    a = a * 2 + 1;
    const unsigned b = (1u << 19) / a;
    return (b + 1) / 2;
}

/// RecipSqrtEstimate: a in 128..511 (0.25 to 1), the result in 256..511.
unsigned rsqrt_table(unsigned a) {
    if (a < 256) a = a * 2 + 1;
    else a = (((a >> 1) << 1) + 1) * 2;
    unsigned b = 512;
    while (a * (b + 1) * (b + 1) < (1u << 28)) ++b;
    return (b + 1) / 2;
}

/// (constant + a * b) with one rounding, halved when `halve`; the heart of the step functions.
template <class F> Bits<F> step(Bits<F> a, Bits<F> b, Bits<F> constant, Bits<F> inf_zero, bool halve, Context& c) {
    a = neg<F>(a);
    const Number x = unpack<F>(a, c);
    const Number y = unpack<F>(b, c);
    if (x.nan() || y.nan()) return propagate<F>(c, a, b);
    if ((x.inf() && y.zero()) || (x.zero() && y.inf())) return inf_zero;
    if (x.inf() || y.inf()) return static_cast<Bits<F>>((x.sign != y.sign ? kSign<F> : 0) | kInf<F>);
    const Number k = unpack<F>(constant, c);
    if (x.zero() || y.zero()) return round_pack<F>(false, k.exp - halve, k.sig, c);
    Wide w = mul_add(x, y, k);
    w.exp -= halve;
    return pack_wide<F>(w, c);
}

/// 2^n in format F.
template <class F> constexpr Bits<F> power(int n) { return static_cast<Bits<F>>(static_cast<uint64_t>(kBias<F> + n) << F::kFracBits); }

// BFMul, BFAdd: round to odd, denormals are zeroes, overflow gives infinity, default NaN, no flags.

Number bf_unpack32(uint32_t x) {
    Context c{.flush = true};
    return unpack<F32>(x, c);
}
Number bf_unpack(uint32_t x16) { return bf_unpack32(x16 << 16); }

uint32_t bf_round(bool sign, int exp, u128 sig) {
    Context c{.round = Round::kOdd, .flush = true};
    const uint32_t r = round_pack128<F32>(sign, exp, sig, c);
    return (c.flags & Flag::kOverflow) ? (sign ? kSign<F32> : 0) | kInf<F32> : r;
}

uint32_t bf_mul(uint32_t a16, uint32_t b16) {
    const Number x = bf_unpack(a16), y = bf_unpack(b16);
    if (x.nan() || y.nan()) return kDefaultNan<F32>;
    const uint32_t s = x.sign != y.sign ? kSign<F32> : 0;
    if ((x.inf() && y.zero()) || (x.zero() && y.inf())) return kDefaultNan<F32>;
    if (x.inf() || y.inf()) return s | kInf<F32>;
    if (x.zero() || y.zero()) return s;
    return bf_round(s != 0, x.exp + y.exp + 1, static_cast<u128>(x.sig) * y.sig);
}

uint32_t bf_add(uint32_t a, uint32_t b) {
    const Number x = bf_unpack32(a), y = bf_unpack32(b);
    if (x.nan() || y.nan()) return kDefaultNan<F32>;
    const auto sign = [](const Number& n) { return n.sign ? kSign<F32> : 0; };
    if (x.inf()) return y.inf() && x.sign != y.sign ? kDefaultNan<F32> : sign(x) | kInf<F32>;
    if (y.inf()) return sign(y) | kInf<F32>;
    if (x.zero() && y.zero()) return x.sign == y.sign ? sign(x) : 0;
    if (x.zero()) return b;
    const Wide w = mul_add(x, kNumberOne, y);
    return w.sig == 0 ? 0 : bf_round(w.sign, w.exp, w.sig);
}

}  // namespace

template <class F> Bits<F> recip_estimate(Bits<F> a, Context& c) {
    const Number x = unpack<F>(a, c);
    const Bits<F> s = x.sign ? kSign<F> : Bits<F>{0};
    if (x.nan()) return propagate<F>(c, a);
    if (x.inf()) return s;
    if (x.zero()) {
        c.flags |= Flag::kDivZero;
        return static_cast<Bits<F>>(s | kInf<F>);
    }
    if (x.exp < -(kBias<F> + 1)) {  // the reciprocal is out of range
        c.flags |= Flag::kOverflow | Flag::kInexact;
        const bool to_inf = c.round == Round::kNearestEven || c.round == Round::kNearestAway ||
                            (c.round == Round::kUp && !x.sign) || (c.round == Round::kDown && x.sign);
        return static_cast<Bits<F>>(s | (to_inf ? kInf<F> : kMaxNormal<F>));
    }
    if (flushes<F>(c) && x.exp >= kBias<F> - 1) {
        c.flags |= Flag::kUnderflow;
        return s;
    }
    const unsigned estimate = recip_table(static_cast<unsigned>(x.sig >> 55));
    uint64_t frac = static_cast<uint64_t>(estimate & 0xff) << (F::kFracBits - 8);
    int e = -1 - x.exp + kBias<F>;  // biased exponent of the result
    if (e == 0) frac = (frac >> 1) | uint64_t{1} << (F::kFracBits - 1);
    if (e == -1) {
        frac = (frac >> 2) | uint64_t{1} << (F::kFracBits - 2);
        e = 0;
    }
    return static_cast<Bits<F>>(s | static_cast<uint64_t>(e) << F::kFracBits | frac);
}

template <class F> Bits<F> rsqrt_estimate(Bits<F> a, Context& c) {
    const Number x = unpack<F>(a, c);
    if (x.nan()) return propagate<F>(c, a);
    if (x.zero()) {
        c.flags |= Flag::kDivZero;
        return static_cast<Bits<F>>((x.sign ? kSign<F> : 0) | kInf<F>);
    }
    if (x.sign) return default_nan<F>(c);
    if (x.inf()) return 0;
    // The biased exponent decides whether the significand is taken in [0.5, 1) or [0.25, 0.5); the bias is odd.
    const bool biased_even = ((x.exp + kBias<F>) & 1) == 0;
    const unsigned scaled = static_cast<unsigned>(x.sig >> (biased_even ? 55 : 56));
    const unsigned estimate = rsqrt_table(scaled);
    const int e = (3 * kBias<F> - 1 - (x.exp + kBias<F>)) >> 1;
    return static_cast<Bits<F>>(static_cast<uint64_t>(e) << F::kFracBits | static_cast<uint64_t>(estimate & 0xff) << (F::kFracBits - 8));
}

template <class F> Bits<F> recip_exponent(Bits<F> a, Context& c) {
    const Number x = unpack<F>(a, c);
    if (x.nan()) return propagate<F>(c, a);
    const Bits<F> s = static_cast<Bits<F>>(a & kSign<F>);
    const Bits<F> e = static_cast<Bits<F>>(a & kInf<F>);
    if (e == 0) return static_cast<Bits<F>>(s | (kInf<F> - kMinNormal<F>));
    return static_cast<Bits<F>>(s | (static_cast<Bits<F>>(~e) & kInf<F>));
}

template <class F> Bits<F> recip_step(Bits<F> a, Bits<F> b, Context& c) {
    return step<F>(a, b, power<F>(1), power<F>(1), false, c);
}
template <class F> Bits<F> rsqrt_step(Bits<F> a, Bits<F> b, Context& c) {
    const Bits<F> half = static_cast<Bits<F>>(uint64_t{1} << (F::kFracBits - 1));
    return step<F>(a, b, static_cast<Bits<F>>(power<F>(1) | half), static_cast<Bits<F>>(power<F>(0) | half), true, c);
}

template <class F> Bits<F> mulx(Bits<F> a, Bits<F> b, Context& c) {
    Context probe = c;
    const Number x = unpack<F>(a, probe);
    const Number y = unpack<F>(b, probe);
    if ((x.inf() && y.zero()) || (x.zero() && y.inf())) {
        c.flags |= probe.flags;
        return static_cast<Bits<F>>((x.sign != y.sign ? kSign<F> : 0) | power<F>(1));
    }
    return mul<F>(a, b, c);
}

uint32_t urecip_estimate(uint32_t a) noexcept { return !(a >> 31) ? ~0u : recip_table(a >> 23) << 23; }
uint32_t ursqrt_estimate(uint32_t a) noexcept { return !(a >> 30) ? ~0u : rsqrt_table(a >> 23) << 23; }

uint32_t muladd_widening(uint16_t a, uint16_t b, uint32_t addend, Context& c) {
    const Number d = unpack<F32>(addend, c);
    const Number x = unpack<F16>(a, c);
    const Number y = unpack<F16>(b, c);
    const bool zero_inf = (x.inf() && y.zero()) || (x.zero() && y.inf());
    if (d.nan() || x.nan() || y.nan()) {
        // NaNs compete as they are and the winner is widened; widening keeps the order and the kinds.
        const auto widen = [](uint16_t v) {
            return static_cast<uint32_t>(v & 0x8000) << 16 | (is_nan<F16>(v) ? kInf<F32> | static_cast<uint32_t>(v & 0x3ff) << 13 : 0);
        };
        const uint32_t r = propagate<F32>(c, addend, widen(a), widen(b));
        return zero_inf && d.cls != Class::kSnan ? default_nan<F32>(c) : r;
    }
    const bool sign = x.sign != y.sign;
    const bool inf = x.inf() || y.inf();
    if (zero_inf || (inf && d.inf() && d.sign != sign)) return default_nan<F32>(c);
    if (inf) return (sign ? kSign<F32> : 0) | kInf<F32>;
    if (d.inf()) return addend;
    if (x.zero() || y.zero()) {
        if (!d.zero()) return round_pack<F32>(d.sign, d.exp, d.sig, c);
        return (d.sign == sign ? sign : c.round == Round::kDown) ? kSign<F32> : 0;
    }
    return pack_wide<F32>(mul_add(x, y, d), c);
}

uint32_t bf16_dot(uint32_t acc, uint32_t a, uint32_t b) noexcept {
    const uint32_t products = bf_add(bf_mul(a & 0xffff, b & 0xffff), bf_mul(a >> 16, b >> 16));
    return bf_add(acc, products);
}

#define MYNA_SOFTFP_FORMAT(F)                                   \
    template Bits<F> recip_estimate<F>(Bits<F>, Context&);      \
    template Bits<F> rsqrt_estimate<F>(Bits<F>, Context&);      \
    template Bits<F> recip_exponent<F>(Bits<F>, Context&);      \
    template Bits<F> recip_step<F>(Bits<F>, Bits<F>, Context&); \
    template Bits<F> rsqrt_step<F>(Bits<F>, Bits<F>, Context&); \
    template Bits<F> mulx<F>(Bits<F>, Bits<F>, Context&);
MYNA_SOFTFP_FORMAT(F16)
MYNA_SOFTFP_FORMAT(F32)
MYNA_SOFTFP_FORMAT(F64)
#undef MYNA_SOFTFP_FORMAT

}  // namespace myna::softfp
