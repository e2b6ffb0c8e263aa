// Lanes: floating point, scalar and vector, and moves between register files.
#include <bit>

#include "ir/lanes_internal.h"

namespace myna::ir {

namespace {

using softfp::BF16;
using softfp::Bits;
using softfp::Context;
using softfp::F16;
using softfp::F32;
using softfp::F64;
using softfp::Order;

/// Calls fn with the format of a scalar type.
template <class Fn> auto with_format(Type t, Fn fn) {
    switch (t) {
        case Type::kF16: return fn.template operator()<F16>();
        case Type::kF32: return fn.template operator()<F32>();
        default: return fn.template operator()<F64>();
    }
}
Type type_of_elem(Elem e) noexcept {
    switch (e) {
        case Elem::kF16: case Elem::k16: return Type::kF16;
        case Elem::kF32: case Elem::k32: return Type::kF32;
        default: return Type::kF64;
    }
}

bool holds(FCmp cc, Order o) noexcept {
    switch (cc) {
        case FCmp::kEq: return o == Order::kEqual;
        case FCmp::kLt: return o == Order::kLess;
        case FCmp::kLe: return o == Order::kLess || o == Order::kEqual;
        case FCmp::kUnord: return o == Order::kUnordered;
    }
    return false;
}

template <class F> bool compares(unsigned cc, Bits<F> a, Bits<F> b, Context& c) {
    return holds(static_cast<FCmp>(cc & 0xf), softfp::compare<F>(a, b, (cc & kFcmpSignal) != 0, c));
}

uint64_t flags_of(Order o) noexcept {
    constexpr uint32_t kNzcv[] = {0x80000000, 0x60000000, 0x20000000, 0x30000000};
    return kNzcv[static_cast<unsigned>(o)];
}

/// The context with rounding `r` (kCur: unchanged).
Context with_round(const Context& c, unsigned r) noexcept {
    Context k = c;
    if (static_cast<Round>(r) != Round::kCur) k.round = static_cast<Round>(r);
    return k;
}

template <class F> Bits<F> fused(Bits<F> a, Bits<F> b, Bits<F> c, unsigned negate, Context& k) {
    return softfp::fma<F>((negate & 1) ? softfp::neg<F>(a) : a, b, (negate & 2) ? softfp::neg<F>(c) : c, k);
}

template <class To, class From> uint64_t convert_one(Bits<From> a, Context& c) {
    if constexpr (std::is_same_v<To, From>) return a;
    else return softfp::convert<To, From>(a, c);
}

template <class F> uint64_t arithmetic(const LaneOp& op, uint64_t a64, uint64_t b64, uint64_t c64, Context& k) {
    const auto a = static_cast<Bits<F>>(a64), b = static_cast<Bits<F>>(b64), c = static_cast<Bits<F>>(c64);
    switch (static_cast<Op>(op.op)) {
        case Op::kFAdd: return softfp::add<F>(a, b, k);
        case Op::kFSub: return softfp::sub<F>(a, b, k);
        case Op::kFMul: return softfp::mul<F>(a, b, k);
        case Op::kFDiv: return softfp::div<F>(a, b, k);
        case Op::kFSqrt: return softfp::sqrt<F>(a, k);
        case Op::kFMa: return fused<F>(a, b, c, op.sub, k);
        case Op::kFMin: return softfp::min<F>(a, b, static_cast<MinMax>(op.sub), k);
        case Op::kFMax: return softfp::max<F>(a, b, static_cast<MinMax>(op.sub), k);
        case Op::kFNeg: return softfp::neg<F>(a);
        case Op::kFAbs: return softfp::abs<F>(a);
        case Op::kFSgnj: {
            const auto s = static_cast<Bits<F>>((op.sub == 0 ? b : op.sub == 1 ? ~b : a ^ b) & softfp::kSign<F>);
            return static_cast<Bits<F>>(softfp::abs<F>(a) | s);
        }
        case Op::kFCmp: return compares<F>(op.sub, a, b, k);
        case Op::kFlFcmp: return flags_of(softfp::compare<F>(a, b, (op.sub & kFcmpSignal) != 0, k));
        case Op::kFRound: {
            Context r = with_round(k, op.sub & 0xf);
            const Bits<F> v = softfp::round_to_int<F>(a, (op.sub & kRoundInexact) != 0, r);
            k.flags |= r.flags;
            return v;
        }
        default: return 0;
    }
}

uint64_t box(uint64_t v, Type src) noexcept { return src == Type::kF16 ? v | ~uint64_t{0xffff} : v | ~uint64_t{0xffffffff}; }
uint64_t unbox(uint64_t v, Type t) noexcept {
    if (t == Type::kF16) return v >> 16 == 0xffffffffffff ? v & 0xffff : softfp::kDefaultNan<F16>;
    return v >> 32 == 0xffffffff ? v & 0xffffffff : softfp::kDefaultNan<F32>;
}
uint64_t cut_to(uint64_t v, Type t) noexcept {
    return t == Type::kF16 ? v & 0xffff : t == Type::kI32 || t == Type::kF32 ? v & 0xffffffff : v;
}

/// to_signed / to_unsigned of one value into `width` bits.
template <class F> uint64_t to_integer(bool is_signed, uint64_t a, unsigned width, unsigned round, unsigned frac, Context& k) {
    Context r = with_round(k, round);
    const auto x = static_cast<Bits<F>>(a);
    const uint64_t v = is_signed ? softfp::to_signed<F>(x, width, frac, r) : softfp::to_unsigned<F>(x, width, frac, r);
    k.flags |= r.flags;
    return v;
}

template <class F> V128 widen(const V128& a, bool high, Context& k) {
    using Wide = std::conditional_t<std::is_same_v<F, F16>, F32, F64>;
    const auto x = lanes<Bits<F>>(a);
    Array<Bits<Wide>> out;
    for (size_t i = 0; i < out.size(); ++i) out[i] = softfp::convert<Wide, F>(x[i + (high ? out.size() : 0)], k);
    return pack<Bits<Wide>>(out);
}
template <class F> V128 narrow(const V128& a, Context& k) {
    using Wide = std::conditional_t<std::is_same_v<F, F16>, F32, F64>;
    const auto x = lanes<Bits<Wide>>(a);
    Array<Bits<F>> out{};
    for (size_t i = 0; i < x.size(); ++i) out[i] = softfp::convert<F, Wide>(x[i], k);
    return pack<Bits<F>>(out);
}

template <class F> V128 vector_fp(const LaneOp& op, const V128& a, const V128& b, const V128& c, Context& k) {
    using T = Bits<F>;
    const auto binary = [&](auto fn) { return map2<T>(a, b, [&](T x, T y) { return fn(x, y, k); }); };
    const unsigned round = op.imm & 0xf, frac = op.imm >> 8 & 0xff;
    switch (static_cast<Op>(op.op)) {
        case Op::kVFAdd: return binary(softfp::add<F>);
        case Op::kVFSub: return binary(softfp::sub<F>);
        case Op::kVFMul: return binary(softfp::mul<F>);
        case Op::kVFDiv: return binary(softfp::div<F>);
        case Op::kVFSqrt: return map1<T>(a, [&](T x) { return softfp::sqrt<F>(x, k); });
        case Op::kVFMa: return map3<T>(a, b, c, [&](T x, T y, T z) { return fused<F>(x, y, z, static_cast<unsigned>(op.imm), k); });
        case Op::kVFMin: return map2<T>(a, b, [&](T x, T y) { return softfp::min<F>(x, y, static_cast<MinMax>(op.imm), k); });
        case Op::kVFMax: return map2<T>(a, b, [&](T x, T y) { return softfp::max<F>(x, y, static_cast<MinMax>(op.imm), k); });
        case Op::kVFAddp: {
            const auto x = lanes<T>(a), y = lanes<T>(b);
            Array<T> out;
            const size_t half = out.size() / 2;
            for (size_t i = 0; i < half; ++i) {
                out[i] = softfp::add<F>(x[2 * i], x[2 * i + 1], k);
                out[half + i] = softfp::add<F>(y[2 * i], y[2 * i + 1], k);
            }
            return pack<T>(out);
        }
        case Op::kVFCmp: return map2<T>(a, b, [&](T x, T y) { return compares<F>(static_cast<unsigned>(op.imm), x, y, k) ? ~T{0} : T{0}; });
        case Op::kVFToS: return map1<T>(a, [&](T x) { return to_integer<F>(true, x, sizeof(T) * 8, round, frac, k); });
        case Op::kVFToU: return map1<T>(a, [&](T x) { return to_integer<F>(false, x, sizeof(T) * 8, round, frac, k); });
        case Op::kVSToF: return map1<T>(a, [&](T x) { return softfp::from_signed<F>(static_cast<std::make_signed_t<T>>(x), frac, k); });
        case Op::kVUToF: return map1<T>(a, [&](T x) { return softfp::from_unsigned<F>(x, frac, k); });
        case Op::kVFRound: {
            Context r = with_round(k, round);
            const V128 v = map1<T>(a, [&](T x) { return softfp::round_to_int<F>(x, (op.imm & kRoundInexact) != 0, r); });
            k.flags |= r.flags;
            return v;
        }
        default: break;
    }
    if constexpr (!std::is_same_v<F, F64>) {
        if (static_cast<Op>(op.op) == Op::kVFCvtL) return widen<F>(a, op.imm & 1, k);
        if (static_cast<Op>(op.op) == Op::kVFCvtN) return narrow<F>(a, k);
    }
    return {};
}

}  // namespace

V128 evaluate_scalar_fp(const LaneOp& op, const V128& av, const V128& bv, const V128& cv, Context& k) noexcept {
    const uint64_t a = av.u64[0], b = bv.u64[0], c = cv.u64[0];
    switch (static_cast<Op>(op.op)) {
        case Op::kBitcast: return scalar(cut_to(cut_to(a, op.src), op.type));
        case Op::kVZext: return scalar(cut_to(a, op.src));
        case Op::kVLow: return scalar(cut_to(a, op.type));
        case Op::kBox32: return scalar(box(cut_to(a, op.src), op.src));
        case Op::kUnbox32: return scalar(unbox(a, op.type));
        case Op::kFCvt:
            return scalar(with_format(op.type, [&]<class To>() {
                return with_format(op.src, [&]<class From>() { return convert_one<To, From>(static_cast<Bits<From>>(a), k); });
            }));
        case Op::kFToS:
        case Op::kFToU: {
            const unsigned width = op.type == Type::kI32 ? 32 : 64;
            const bool is_signed = static_cast<Op>(op.op) == Op::kFToS;
            return scalar(with_format(op.src, [&]<class F>() {
                return to_integer<F>(is_signed, a, width, op.sub, static_cast<unsigned>(op.imm), k);
            }));
        }
        case Op::kSToF: {
            const int64_t v = op.src == Type::kI32 ? static_cast<int32_t>(a) : static_cast<int64_t>(a);
            return scalar(with_format(op.type, [&]<class F>() {
                return uint64_t{softfp::from_signed<F>(v, static_cast<unsigned>(op.imm), k)};
            }));
        }
        case Op::kUToF: {
            const uint64_t v = op.src == Type::kI32 ? static_cast<uint32_t>(a) : a;
            return scalar(with_format(op.type, [&]<class F>() {
                return uint64_t{softfp::from_unsigned<F>(v, static_cast<unsigned>(op.imm), k)};
            }));
        }
        default: return scalar(with_format(op.type, [&]<class F>() { return arithmetic<F>(op, a, b, c, k); }));
    }
}

V128 evaluate_vector_fp(const LaneOp& op, const V128& a, const V128& b, const V128& c, Context& k) noexcept {
    return with_format(type_of_elem(static_cast<Elem>(op.sub)), [&]<class F>() { return vector_fp<F>(op, a, b, c, k); });
}

LaneOp lane_op(const Function& f, const Inst& i, Type src) noexcept {
    const unsigned mode = (f.fp_mode.flush ? 1u : 0) | (f.fp_mode.flush16 ? 2u : 0) | (f.fp_mode.round_away ? 4u : 0);
    return {.op = static_cast<uint16_t>(i.op), .type = i.type, .src = src, .sub = i.sub, .nan_rule = static_cast<uint8_t>(f.nan_rule),
            .fp_mode = static_cast<uint8_t>(mode), .reserved = 0, .imm = i.imm};
}

bool is_lane_op(Op op) noexcept { return op == Op::kFlFcmp || (op >= Op::kBitcast && op <= Op::kVSha256Su); }

V128 evaluate_lanes(const LaneOp& op, const V128& a, const V128& b, const V128& c, uint32_t& mxcsr) noexcept {
    const Op o = static_cast<Op>(op.op);
    if (o >= Op::kVAesE) return evaluate_crypto(op, a, b, c);
    if (o >= Op::kVAnd && o < Op::kVFAdd) return evaluate_vector(op, a, b, c);
    softfp::Context k = softfp::context(mxcsr, static_cast<NanRule>(op.nan_rule),
                                        {.flush = (op.fp_mode & 1) != 0, .flush16 = (op.fp_mode & 2) != 0, .round_away = (op.fp_mode & 4) != 0});
    const V128 r = o >= Op::kVFAdd ? evaluate_vector_fp(op, a, b, c, k) : evaluate_scalar_fp(op, a, b, c, k);
    mxcsr |= k.flags;
    return r;
}

V128 eval_fp(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx) {
    const Type src = i.a == kNoRef ? Type::kVoid : ctx.type_of(i.a);
    return evaluate_lanes(lane_op(ctx.f, i, src), a, b, c, ctx.hdr.mxcsr);
}
V128 eval_vector(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx) { return eval_fp(i, a, b, c, ctx); }

}  // namespace myna::ir
