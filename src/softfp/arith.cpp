// Addition, multiplication, division, square root, fused multiply-add, minimum, maximum, comparison.
#include "softfp/unpack.h"

namespace myna::softfp {

namespace {

template <class F> Bits<F> signed_zero(bool sign) { return sign ? kSign<F> : Bits<F>{0}; }
template <class F> Bits<F> signed_inf(bool sign) { return static_cast<Bits<F>>(signed_zero<F>(sign) | kInf<F>); }

template <class F> Bits<F> add_signed(Bits<F> a, Bits<F> b, bool negate_b, Context& c) {
    const Number x = unpack<F>(a, c);
    Number y = unpack<F>(b, c);
    if (x.nan() || y.nan()) return propagate<F>(c, a, b);
    y.sign ^= negate_b;
    if (x.inf()) return y.inf() && x.sign != y.sign ? default_nan<F>(c) : signed_inf<F>(x.sign);
    if (y.inf()) return signed_inf<F>(y.sign);
    if (x.zero() && y.zero()) {
        if (x.sign == y.sign) return signed_zero<F>(x.sign);
        return signed_zero<F>(c.round == Round::kDown);
    }
    if (x.zero()) return round_pack<F>(y.sign, y.exp, y.sig, c);
    return pack_wide<F>(mul_add(x, kNumberOne, y), c);
}

/// The 64-bit integer square root of v (2^126 <= v), jammed.
uint64_t root(u128 v) {
    uint64_t r = 0;
    u128 rest = 0;
    for (int i = 0; i < 64; ++i) {
        rest = (rest << 2) | (v >> 126);
        v <<= 2;
        const u128 trial = (static_cast<u128>(r) << 2) | 1;
        r <<= 1;
        if (rest >= trial) {
            rest -= trial;
            r |= 1;
        }
    }
    return r | (rest != 0);
}

template <class F> Bits<F> min_max(Bits<F> a, Bits<F> b, bool max, MinMax kind, Context& c) {
    Number x = unpack<F>(a, c);
    Number y = unpack<F>(b, c);
    if (x.nan() || y.nan()) {
        const bool one = x.nan() != y.nan();
        const bool quiet = x.cls != Class::kSnan && y.cls != Class::kSnan;
        if (one && ((kind == MinMax::kNumber && quiet) || kind == MinMax::kNumber19)) {
            if (!quiet) c.flags |= Flag::kInvalid;
            const Number& n = x.nan() ? y : x;
            return n.zero() ? signed_zero<F>(n.sign) : x.nan() ? b : a;  // zero: perhaps a flushed denormal
        }
        return propagate<F>(c, a, b);
    }
    if (x.zero()) a = signed_zero<F>(x.sign);
    if (y.zero()) b = signed_zero<F>(y.sign);
    // Sign-magnitude order, -0 below +0.
    const auto key = [](Bits<F> v) {
        const int64_t m = static_cast<int64_t>(abs<F>(v));
        return (v & kSign<F>) ? -m - 1 : m;
    };
    const bool a_less = key(a) < key(b);
    return a_less != max ? a : b;
}

}  // namespace

template <class F> Bits<F> add(Bits<F> a, Bits<F> b, Context& c) { return add_signed<F>(a, b, false, c); }
template <class F> Bits<F> sub(Bits<F> a, Bits<F> b, Context& c) { return add_signed<F>(a, b, true, c); }

template <class F> Bits<F> mul(Bits<F> a, Bits<F> b, Context& c) {
    const Number x = unpack<F>(a, c);
    const Number y = unpack<F>(b, c);
    if (x.nan() || y.nan()) return propagate<F>(c, a, b);
    const bool sign = x.sign != y.sign;
    if ((x.inf() && y.zero()) || (x.zero() && y.inf())) return default_nan<F>(c);
    if (x.inf() || y.inf()) return signed_inf<F>(sign);
    if (x.zero() || y.zero()) return signed_zero<F>(sign);
    return round_pack128<F>(sign, x.exp + y.exp + 1, static_cast<u128>(x.sig) * y.sig, c);
}

template <class F> Bits<F> div(Bits<F> a, Bits<F> b, Context& c) {
    const Number x = unpack<F>(a, c);
    const Number y = unpack<F>(b, c);
    if (x.nan() || y.nan()) return propagate<F>(c, a, b);
    const bool sign = x.sign != y.sign;
    if ((x.inf() && y.inf()) || (x.zero() && y.zero())) return default_nan<F>(c);
    if (x.inf()) return signed_inf<F>(sign);
    if (y.zero()) {
        c.flags |= Flag::kDivZero;
        return signed_inf<F>(sign);
    }
    if (x.zero() || y.inf()) return signed_zero<F>(sign);
    const u128 n = static_cast<u128>(x.sig) << 63;
    u128 q = n / y.sig;  // in (2^62, 2^64)
    const bool rest = n % y.sig != 0;
    q = (q << 32) | rest;
    return round_pack128<F>(sign, x.exp - y.exp + 32, q, c);
}

template <class F> Bits<F> sqrt(Bits<F> a, Context& c) {
    const Number x = unpack<F>(a, c);
    if (x.nan()) return propagate<F>(c, a);
    if (x.zero()) return signed_zero<F>(x.sign);
    if (x.sign) return default_nan<F>(c);
    if (x.inf()) return kInf<F>;
    const bool odd = x.exp & 1;
    return round_pack<F>(false, (x.exp - odd) / 2, root(static_cast<u128>(x.sig) << (63 + odd)), c);
}

template <class F> Bits<F> fma(Bits<F> a, Bits<F> b, Bits<F> addend, Context& c) {
    const Number d = unpack<F>(addend, c);
    const Number x = unpack<F>(a, c);
    const Number y = unpack<F>(b, c);
    const bool zero_inf = (x.inf() && y.zero()) || (x.zero() && y.inf());
    if (d.nan() || x.nan() || y.nan()) {
        const Bits<F> r = propagate<F>(c, addend, a, b);
        return zero_inf && d.cls != Class::kSnan ? default_nan<F>(c) : r;  // Arm: a signalling addend goes first
    }
    const bool sign = x.sign != y.sign;
    const bool inf = x.inf() || y.inf();
    if (zero_inf || (inf && d.inf() && d.sign != sign)) return default_nan<F>(c);
    if (inf) return signed_inf<F>(sign);
    if (d.inf()) return signed_inf<F>(d.sign);
    if (x.zero() || y.zero()) {
        if (!d.zero()) return round_pack<F>(d.sign, d.exp, d.sig, c);
        return signed_zero<F>(d.sign == sign ? sign : c.round == Round::kDown);
    }
    return pack_wide<F>(mul_add(x, y, d), c);
}

template <class F> Bits<F> min(Bits<F> a, Bits<F> b, MinMax kind, Context& c) { return min_max<F>(a, b, false, kind, c); }
template <class F> Bits<F> max(Bits<F> a, Bits<F> b, MinMax kind, Context& c) { return min_max<F>(a, b, true, kind, c); }

template <class F> Order compare(Bits<F> a, Bits<F> b, bool signal, Context& c) {
    const Number x = unpack<F>(a, c);
    const Number y = unpack<F>(b, c);
    if (x.nan() || y.nan()) {
        if (signal || x.cls == Class::kSnan || y.cls == Class::kSnan) c.flags |= Flag::kInvalid;
        return Order::kUnordered;
    }
    const auto key = [](const Number& n, Bits<F> v) {
        const int64_t m = n.zero() ? 0 : static_cast<int64_t>(abs<F>(v));
        return n.sign ? -m : m;
    };
    const int64_t p = key(x, a), q = key(y, b);
    return p < q ? Order::kLess : p > q ? Order::kGreater : Order::kEqual;
}

#define MYNA_SOFTFP_FORMAT(F)                                        \
    template Bits<F> add<F>(Bits<F>, Bits<F>, Context&);             \
    template Bits<F> sub<F>(Bits<F>, Bits<F>, Context&);             \
    template Bits<F> mul<F>(Bits<F>, Bits<F>, Context&);             \
    template Bits<F> div<F>(Bits<F>, Bits<F>, Context&);             \
    template Bits<F> sqrt<F>(Bits<F>, Context&);                     \
    template Bits<F> fma<F>(Bits<F>, Bits<F>, Bits<F>, Context&);    \
    template Bits<F> min<F>(Bits<F>, Bits<F>, MinMax, Context&);     \
    template Bits<F> max<F>(Bits<F>, Bits<F>, MinMax, Context&);     \
    template Order compare<F>(Bits<F>, Bits<F>, bool, Context&);
MYNA_SOFTFP_FORMAT(F16)
MYNA_SOFTFP_FORMAT(F32)
MYNA_SOFTFP_FORMAT(F64)
#undef MYNA_SOFTFP_FORMAT

}  // namespace myna::softfp
