// Vector helpers for integer operations that no host does in a few instructions. io[0..2] are the operands, the result
// goes to io[0]; arg is made of simd_arg's bits.
#include <algorithm>
#include <cstring>
#include <limits>

#include "guest/aarch64/helpers.h"
#include "guest/aarch64/simd_args.h"
#include "softfp/softfp.h"

namespace myna::guest::aarch64::helper {

namespace {

using namespace simd_arg;
using Int128 = __int128;

template <class T>
struct Lanes {
    T at[16 / sizeof(T)];
    explicit Lanes(const V128& v) noexcept { std::memcpy(at, &v, 16); }
    Lanes() noexcept : at{} {}
    void store(V128& v) const noexcept { std::memcpy(&v, at, 16); }
    static constexpr unsigned kCount = 16 / sizeof(T);
};

/// Calls fn with a signed integer type of 1 << size bytes.
template <class Fn>
void with_size(uint32_t arg, Fn fn) {
    switch (arg & kSizeMask) {
        case 0: fn(int8_t{}); break;
        case 1: fn(int16_t{}); break;
        case 2: fn(int32_t{}); break;
        default: fn(int64_t{});
    }
}

/// `value` as T, or the limit it is beyond; with kWantSaturated all ones where it was beyond, else 0.
template <class T>
T saturated(Int128 value, uint32_t arg) noexcept {
    constexpr Int128 lo = std::numeric_limits<T>::min(), hi = std::numeric_limits<T>::max();
    const bool beyond = value < lo || value > hi;
    if (arg & kWantSaturated) return beyond ? static_cast<T>(~uint64_t{0}) : T{0};
    return static_cast<T>(std::clamp(value, lo, hi));
}

/// Shift of one lane by the signed low byte of `by`; negative is to the right.
template <class T>
T shift_lane(T x, int8_t by, uint32_t arg) noexcept {
    Int128 value = x;
    if (by >= 64) {
        value = x == 0 ? 0 : Int128{x < T{0} ? -1 : 1} << 100;  // beyond any limit
    } else if (by >= 0) {
        value *= Int128{1} << by;
    } else {
        const int n = std::min<int>(-by, 66);
        if (arg & kRound) value += Int128{1} << (n - 1);
        value >>= n;
    }
    return arg & kSaturate ? saturated<T>(value, arg) : static_cast<T>(value);
}

template <class T>
void shift_lanes(V128* io, uint32_t arg) noexcept {
    const Lanes<T> a(io[0]), b(io[1]);
    Lanes<T> out;
    for (unsigned i = 0; i < out.kCount; ++i) out.at[i] = shift_lane<T>(a.at[i], static_cast<int8_t>(b.at[i]), arg);
    out.store(io[0]);
}

uint16_t carryless8(uint8_t a, uint8_t b) noexcept {
    unsigned r = 0;
    for (unsigned i = 0; i < 8; ++i)
        if (b >> i & 1) r ^= unsigned{a} << i;
    return static_cast<uint16_t>(r);
}

}  // namespace

void simd_shift(VcpuHeader*, V128* io, uint32_t arg) {
    with_size(arg, [&](auto t) {
        using S = decltype(t);
        if (arg & kUnsigned) shift_lanes<std::make_unsigned_t<S>>(io, arg);
        else shift_lanes<S>(io, arg);
    });
}

/// (d << bits) ± 2 * a * b, rounded, its upper half saturated.
void sqrdmlah(VcpuHeader*, V128* io, uint32_t arg) {
    with_size(arg, [&](auto t) {
        using S = decltype(t);
        constexpr int kBits = sizeof(S) * 8;
        const Lanes<S> a(io[0]), b(io[1]), d(io[2]);
        Lanes<S> out;
        for (unsigned i = 0; i < out.kCount; ++i) {
            const Int128 product = Int128{a.at[i]} * b.at[i] * (arg & kSubtract ? -2 : 2);
            const Int128 sum = Int128{d.at[i]} * (Int128{1} << kBits) + product + (Int128{1} << (kBits - 1));
            out.at[i] = saturated<S>(sum >> kBits, arg);
        }
        out.store(io[0]);
    });
}

/// io[1] + io[0]: SUQADD signed plus unsigned, with kUnsigned USQADD unsigned plus signed.
void suqadd(VcpuHeader*, V128* io, uint32_t arg) {
    with_size(arg, [&](auto t) {
        using S = decltype(t);
        using U = std::make_unsigned_t<S>;
        const Lanes<S> ns(io[0]), ds(io[1]);
        const Lanes<U> nu(io[0]), du(io[1]);
        Lanes<U> out;
        for (unsigned i = 0; i < out.kCount; ++i)
            out.at[i] = arg & kUnsigned ? saturated<U>(Int128{du.at[i]} + ns.at[i], arg)
                                        : static_cast<U>(saturated<S>(Int128{ds.at[i]} + nu.at[i], arg));
        out.store(io[0]);
    });
}

void pmul8(VcpuHeader*, V128* io, uint32_t) {
    Lanes<uint8_t> a(io[0]);
    const Lanes<uint8_t> b(io[1]);
    for (unsigned i = 0; i < 16; ++i) a.at[i] = static_cast<uint8_t>(carryless8(a.at[i], b.at[i]));
    a.store(io[0]);
}

/// arg 1: the upper halves.
void pmull8(VcpuHeader*, V128* io, uint32_t arg) {
    const Lanes<uint8_t> a(io[0]), b(io[1]);
    Lanes<uint16_t> out;
    for (unsigned i = 0; i < 8; ++i) out.at[i] = carryless8(a.at[i + 8 * arg], b.at[i + 8 * arg]);
    out.store(io[0]);
}

/// arg 0: URECPE, 1: URSQRTE.
void int_estimate(VcpuHeader*, V128* io, uint32_t arg) {
    Lanes<uint32_t> a(io[0]);
    for (uint32_t& x : a.at) x = arg ? softfp::ursqrt_estimate(x) : softfp::urecip_estimate(x);
    a.store(io[0]);
}

}  // namespace myna::guest::aarch64::helper
