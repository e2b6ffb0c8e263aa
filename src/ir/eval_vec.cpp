// Lanes: integer vectors.
#include <bit>
#include <limits>

#include "ir/lanes_internal.h"

namespace myna::ir {

namespace {

template <class Fn> V128 with_elem(uint8_t sub, Fn fn) {
    switch (static_cast<Elem>(sub)) {
        case Elem::k8: return fn.template operator()<uint8_t>();
        case Elem::k16: case Elem::kF16: return fn.template operator()<uint16_t>();
        case Elem::k32: case Elem::kF32: return fn.template operator()<uint32_t>();
        default: return fn.template operator()<uint64_t>();
    }
}

template <class T> using Signed = std::make_signed_t<T>;
__extension__ using i128 = __int128;
template <class T> constexpr i128 wide_s(T v) { return static_cast<Signed<T>>(v); }
template <class T> constexpr i128 wide_u(T v) { return v; }

/// `v` limited to the range of T (an integer type).
template <class T> constexpr T clamp(i128 v) {
    constexpr i128 kMin = std::numeric_limits<T>::min(), kMax = std::numeric_limits<T>::max();
    return static_cast<T>(v < kMin ? kMin : v > kMax ? kMax : v);
}

template <class T> T shifted(T v, T count_lane, bool is_signed) {
    const int n = static_cast<int8_t>(count_lane);
    constexpr int kWidth = sizeof(T) * 8;
    if (n >= kWidth) return 0;
    if (n >= 0) return static_cast<T>(v << n);
    if (is_signed) return static_cast<T>(static_cast<Signed<T>>(v) >> (-n >= kWidth ? kWidth - 1 : -n));
    return -n >= kWidth ? T{0} : static_cast<T>(v >> -n);
}

template <class T> struct WiderOf;
template <> struct WiderOf<uint8_t> { using type = uint16_t; };
template <> struct WiderOf<uint16_t> { using type = uint32_t; };
template <> struct WiderOf<uint32_t> { using type = uint64_t; };
template <> struct WiderOf<uint64_t> { using type = uint64_t; };  // not meaningful, never asked for
template <class T> using Wider = typename WiderOf<T>::type;

/// Half of a's (and b's) lanes into lanes twice as wide.
template <class T, class Fn> V128 widening(const V128& a, const V128& b, bool high, Fn fn) {
    using W = Wider<T>;
    const auto x = lanes<T>(a), y = lanes<T>(b);
    Array<W> out{};
    const size_t from = high ? x.size() / 2 : 0;
    for (size_t i = 0; i < out.size() && from + i < x.size(); ++i) out[i] = static_cast<W>(fn(x[from + i], y[from + i]));
    return pack<W>(out);
}
/// All lanes of a, then of b, into lanes of T, half as wide.
template <class T, class Fn> V128 narrowing(const V128& a, const V128& b, Fn fn) {
    using W = Wider<T>;
    const auto x = lanes<W>(a), y = lanes<W>(b);
    Array<T> out{};
    for (size_t i = 0; i < x.size(); ++i) {
        out[i] = static_cast<T>(fn(x[i]));
        if (x.size() + i < out.size()) out[x.size() + i] = static_cast<T>(fn(y[i]));
    }
    return pack<T>(out);
}

/// Lane i of the result is lane pick(i) of a:b (a's lanes first).
template <class T, class Pick> V128 permuted(const V128& a, const V128& b, Pick pick) {
    const auto x = lanes<T>(a), y = lanes<T>(b);
    Array<T> out;
    for (size_t i = 0; i < out.size(); ++i) {
        const size_t p = pick(i);
        out[i] = p < x.size() ? x[p] : y[p - x.size()];
    }
    return pack<T>(out);
}

V128 dot(const V128& a, const V128& b, const V128& c, bool b_signed, bool c_signed) {
    auto out = lanes<uint32_t>(a);
    const auto x = lanes<uint8_t>(b), y = lanes<uint8_t>(c);
    for (size_t i = 0; i < 16; ++i) {
        const int p = b_signed ? static_cast<int8_t>(x[i]) : x[i];
        const int q = c_signed ? static_cast<int8_t>(y[i]) : y[i];
        out[i / 4] += static_cast<uint32_t>(p * q);
    }
    return pack<uint32_t>(out);
}

V128 pmull64(uint64_t a, uint64_t b) {
    V128 r{};
    for (unsigned i = 0; i < 64; ++i)
        if (b >> i & 1) {
            r.u64[0] ^= a << i;
            if (i) r.u64[1] ^= a >> (64 - i);
        }
    return r;
}

template <class T> V128 integer_op(const LaneOp& op, const V128& a, const V128& b) {
    using S = Signed<T>;
    constexpr unsigned kWidth = sizeof(T) * 8;
    constexpr size_t kLanes = 16 / sizeof(T);
    const uint64_t imm = op.imm;
    const auto each = [&](auto fn) { return map2<T>(a, b, fn); };
    const auto one = [&](auto fn) { return map1<T>(a, fn); };
    const auto mask = [](bool v) { return v ? ~T{0} : T{0}; };
    switch (static_cast<Op>(op.op)) {
        case Op::kVAdd: return each([](T x, T y) { return x + y; });
        case Op::kVSub: return each([](T x, T y) { return x - y; });
        case Op::kVMul: return each([](T x, T y) { return uint64_t{x} * y; });
        case Op::kVNeg: return one([](T x) { return T{0} - x; });
        case Op::kVAbs: return one([](T x) { return static_cast<S>(x) < 0 ? T{0} - x : x; });
        case Op::kVShlI: return one([&](T x) { return imm >= kWidth ? T{0} : static_cast<T>(x << imm); });
        case Op::kVShrI: return one([&](T x) { return imm >= kWidth ? T{0} : static_cast<T>(x >> imm); });
        case Op::kVSarI: return one([&](T x) { return static_cast<S>(x) >> (imm >= kWidth ? kWidth - 1 : imm); });
        case Op::kVUshl: return each([](T x, T y) { return shifted<T>(x, y, false); });
        case Op::kVSshl: return each([](T x, T y) { return shifted<T>(x, y, true); });
        case Op::kVCmpEq: return each([&](T x, T y) { return mask(x == y); });
        case Op::kVCmpGt: return each([&](T x, T y) { return mask(static_cast<S>(x) > static_cast<S>(y)); });
        case Op::kVCmpGe: return each([&](T x, T y) { return mask(static_cast<S>(x) >= static_cast<S>(y)); });
        case Op::kVCmpHi: return each([&](T x, T y) { return mask(x > y); });
        case Op::kVCmpHs: return each([&](T x, T y) { return mask(x >= y); });
        case Op::kVTst: return each([&](T x, T y) { return mask((x & y) != 0); });
        case Op::kVSmin: return each([](T x, T y) { return static_cast<S>(x) < static_cast<S>(y) ? x : y; });
        case Op::kVSmax: return each([](T x, T y) { return static_cast<S>(x) > static_cast<S>(y) ? x : y; });
        case Op::kVUmin: return each([](T x, T y) { return x < y ? x : y; });
        case Op::kVUmax: return each([](T x, T y) { return x > y ? x : y; });
        case Op::kVSqadd: return each([](T x, T y) { return clamp<S>(wide_s(x) + wide_s(y)); });
        case Op::kVUqadd: return each([](T x, T y) { return clamp<T>(wide_u(x) + wide_u(y)); });
        case Op::kVSqsub: return each([](T x, T y) { return clamp<S>(wide_s(x) - wide_s(y)); });
        case Op::kVUqsub: return each([](T x, T y) { return clamp<T>(wide_u(x) - wide_u(y)); });
        case Op::kVShadd: return each([&](T x, T y) { return (wide_s(x) + wide_s(y) + (imm & 1)) >> 1; });
        case Op::kVUhadd: return each([&](T x, T y) { return (wide_u(x) + wide_u(y) + (imm & 1)) >> 1; });
        case Op::kVShsub: return each([](T x, T y) { return (wide_s(x) - wide_s(y)) >> 1; });
        case Op::kVUhsub: return each([](T x, T y) { return (wide_u(x) - wide_u(y)) >> 1; });
        case Op::kVSabd: return each([](T x, T y) { return static_cast<S>(x) > static_cast<S>(y) ? x - y : y - x; });
        case Op::kVUabd: return each([](T x, T y) { return x > y ? x - y : y - x; });
        case Op::kVSxtl: return widening<T>(a, a, imm & 1, [](T x, T) { return static_cast<S>(x); });
        case Op::kVUxtl: return widening<T>(a, a, imm & 1, [](T x, T) { return x; });
        case Op::kVXtn: return narrowing<T>(a, b, [](auto x) { return x; });
        case Op::kVSqxtn: return narrowing<T>(a, b, [](auto x) { return clamp<S>(wide_s(x)); });
        case Op::kVUqxtn: return narrowing<T>(a, b, [](auto x) { return clamp<T>(wide_u(x)); });
        case Op::kVSqxtun: return narrowing<T>(a, b, [](auto x) { return clamp<T>(wide_s(x)); });
        case Op::kVSmull: return widening<T>(a, b, imm & 1, [](T x, T y) { return wide_s(x) * wide_s(y); });
        case Op::kVUmull: return widening<T>(a, b, imm & 1, [](T x, T y) { return wide_u(x) * wide_u(y); });
        case Op::kVSqdmulh:
            return each([&](T x, T y) {
                const i128 p = 2 * wide_s(x) * wide_s(y) + ((imm & 1) ? i128{1} << (kWidth - 1) : 0);
                return clamp<S>(p >> kWidth);
            });
        case Op::kVAddp: {
            const auto x = lanes<T>(a), y = lanes<T>(b);
            Array<T> out;
            for (size_t i = 0; i < kLanes / 2; ++i) {
                out[i] = static_cast<T>(x[2 * i] + x[2 * i + 1]);
                out[kLanes / 2 + i] = static_cast<T>(y[2 * i] + y[2 * i + 1]);
            }
            return pack<T>(out);
        }
        case Op::kVZip1: return permuted<T>(a, b, [](size_t i) { return i / 2 + (i & 1) * kLanes; });
        case Op::kVZip2: return permuted<T>(a, b, [](size_t i) { return kLanes / 2 + i / 2 + (i & 1) * kLanes; });
        case Op::kVUzp1: return permuted<T>(a, b, [](size_t i) { return 2 * i; });
        case Op::kVUzp2: return permuted<T>(a, b, [](size_t i) { return 2 * i + 1; });
        case Op::kVTrn1: return permuted<T>(a, b, [](size_t i) { return (i & ~size_t{1}) + (i & 1) * kLanes; });
        case Op::kVTrn2: return permuted<T>(a, b, [](size_t i) { return (i | 1) + (i & 1) * kLanes; });
        case Op::kVRev: {
            const size_t per = imm / sizeof(T);
            return permuted<T>(a, a, [&](size_t i) { return i / per * per + (per - 1 - i % per); });
        }
        case Op::kVDup: return one([&](T) { return a.u64[0]; });
        case Op::kVDupL: return permuted<T>(a, a, [&](size_t) { return imm % kLanes; });
        case Op::kVIns: {
            auto x = lanes<T>(a);
            x[imm % kLanes] = static_cast<T>(b.u64[0]);
            return pack<T>(x);
        }
        case Op::kVInsL: {
            auto x = lanes<T>(a);
            x[(imm & 0xff) % kLanes] = lanes<T>(b)[(imm >> 8) % kLanes];
            return pack<T>(x);
        }
        case Op::kVGet: {
            const T v = lanes<T>(a)[(imm & 0xff) % kLanes];
            const uint64_t w = (imm & 0x100) ? static_cast<uint64_t>(int64_t{static_cast<S>(v)}) : v;
            return scalar(op.type == Type::kI32 || op.type == Type::kF32 ? w & 0xffffffff : w);
        }
        case Op::kVClz: return one([](T x) { return std::countl_zero(x); });
        default: return {};
    }
}

}  // namespace

V128 evaluate_vector(const LaneOp& op, const V128& a, const V128& b, const V128& c) noexcept {
    const auto bitwise = [&](auto fn) { return map3<uint64_t>(a, b, c, fn); };
    switch (static_cast<Op>(op.op)) {
        case Op::kVAnd: return bitwise([](uint64_t x, uint64_t y, uint64_t) { return x & y; });
        case Op::kVOr: return bitwise([](uint64_t x, uint64_t y, uint64_t) { return x | y; });
        case Op::kVXor: return bitwise([](uint64_t x, uint64_t y, uint64_t) { return x ^ y; });
        case Op::kVAndN: return bitwise([](uint64_t x, uint64_t y, uint64_t) { return x & ~y; });
        case Op::kVNot: return bitwise([](uint64_t x, uint64_t, uint64_t) { return ~x; });
        case Op::kVBsl: return bitwise([](uint64_t x, uint64_t y, uint64_t z) { return (x & y) | (~x & z); });
        case Op::kVPmull64: return pmull64(a.u64[op.imm & 1], b.u64[op.imm & 1]);
        case Op::kVSdot: return dot(a, b, c, true, true);
        case Op::kVUdot: return dot(a, b, c, false, false);
        case Op::kVUsdot: return dot(a, b, c, false, true);
        case Op::kVExt: return permuted<uint8_t>(a, b, [&](size_t i) { return i + op.imm; });
        case Op::kVTbl: {
            const auto table = lanes<uint8_t>(a);
            return map1<uint8_t>(b, [&](uint8_t i) { return i < 16 ? table[i] : uint8_t{0}; });
        }
        case Op::kVCnt: return map1<uint8_t>(a, [](uint8_t x) { return std::popcount(x); });
        default: return with_elem(op.sub, [&]<class T>() { return integer_op<T>(op, a, b); });
    }
}

}  // namespace myna::ir
