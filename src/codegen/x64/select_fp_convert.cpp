// Selection of scalar conversions and of rounding to integral values.
//
// The exception flags must come out exactly: a conversion that is out of range raises invalid and not inexact. So with a
// rounding that is not the conversion's own, the value is first rounded with inexact suppressed, and rounded again for
// its flag once the range is known.
#include "codegen/x64/lane_call.h"
#include "codegen/x64/select_fp.h"
#include "softfp/softfp.h"

namespace myna::x64 {

namespace {

using ir::NanRule;
using ir::Round;

constexpr uint8_t kNoInexact = 8;  // ROUNDSD and ROUNDPS immediate

/// The immediate of ROUNDSD for a mode (kNearestAway has none).
uint8_t round_imm(Round r) {
    switch (r) {
        case Round::kNearestEven: return 0;
        case Round::kDown: return 1;
        case Round::kUp: return 2;
        case Round::kZero: return 3;
        default: return 4;
    }
}

bool canonical(const Selector& s) { return s.function().nan_rule != NanRule::kArm; }
SseOp pick(Type t, SseOp ss, SseOp sd) { return t == Type::kF64 ? sd : ss; }

void truncate_to_gpr(Selector& s, Type from, bool wide, Gpr d, Xmm a) {
    from == Type::kF64 ? s.e.cvttsd2si(wide, d, a) : s.e.cvttss2si(wide, d, a);
}
void round_to_gpr(Selector& s, Type from, bool wide, Gpr d, Xmm a) {
    from == Type::kF64 ? s.e.cvtsd2si(wide, d, a) : s.e.cvtss2si(wide, d, a);
}
void round_scalar(Selector& s, Type t, Xmm d, Xmm a, uint8_t imm) { s.e.vop_i(pick(t, SseOp::roundss, SseOp::roundsd), d, a, a, imm); }

/// d = a rounded to nearest, ties away, without flags. Leaves for cold code (the caller's LaneCall) when |a| is so large
/// that it is integral, or a NaN. Uses two temporaries.
void round_away(Selector& s, Type t, Xmm d, Xmm a, const LaneCall& call, Cold** cold) {
    const bool wide = t == Type::kF64;
    const Xmm x = s.ra.temp_x(), y = s.ra.temp_x();
    const uint64_t sign = wide ? uint64_t{1} << 63 : 0x80000000;
    const uint64_t integral = wide ? 0x4330000000000000 : 0x4b000000;  // 2^52, 2^23
    const uint64_t half = wide ? 0x3fe0000000000000 : 0x3f000000;
    const uint64_t one = wide ? 0x3ff0000000000000 : 0x3f800000;
    s.e.vop(SseOp::andps, x, a, s.e.literal_mem(sign - 1, 0));
    s.e.load128a(y, s.e.literal_mem(integral, 0));
    s.e.vop(pick(t, SseOp::ucomiss, SseOp::ucomisd), y, x);
    *cold = &exact_if(s, Cc::be, call);
    // |a| - trunc|a| is exact; where it is at least a half, one is added to the truncated magnitude: exact as well.
    round_scalar(s, t, y, x, 3 | kNoInexact);
    s.e.vop(pick(t, SseOp::subss, SseOp::subsd), x, x, y);
    s.e.vop_i(pick(t, SseOp::cmpss, SseOp::cmpsd), x, x, s.e.literal_mem(half, 0), 5);  // not less than
    s.e.vop(SseOp::andps, x, x, s.e.literal_mem(one, 0));
    s.e.vop(pick(t, SseOp::addss, SseOp::addsd), y, y, x);
    s.e.vop(SseOp::andps, x, a, s.e.literal_mem(sign, 0));
    s.e.vop(SseOp::orps, d, y, x);
}

void to_signed(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Type from = operand_type(s, in.a);
    const bool wide = in.type == Type::kI64;
    const auto round = static_cast<Round>(in.sub & 15);
    if (in.imm != 0 || from == Type::kF16) return exact_inline(s, i);
    const Xmm a = s.ra.use_x(in.a);
    const Gpr d = s.ra.def(i);
    const LaneCall call{i, {reg_of(a)}, reg_of(d)};
    if (!wide) s.ra.mark_zext(i);
    const auto check = [&]() -> Cold& {  // d - 1 overflows for the indefinite value alone
        s.e.alu_ri(Alu::cmp, wide, d, 1);
        return exact_if(s, Cc::o, call);
    };
    if (round == Round::kZero || round == Round::kCur) {
        round == Round::kZero ? truncate_to_gpr(s, from, wide, d, a) : round_to_gpr(s, from, wide, d, a);
        check();
        return;
    }
    const Xmm t = s.ra.temp_x();
    Cold* large = nullptr;
    if (round == Round::kNearestAway) round_away(s, from, t, a, call, &large);
    else round_scalar(s, from, t, a, round_imm(round) | kNoInexact);
    truncate_to_gpr(s, from, wide, d, t);
    Cold& range = check();
    round_scalar(s, from, t, a, 3);  // inexact exactly when `a` is not integral
    range.back = s.e.offset();
    if (large) (&range)[-1].back = s.e.offset();  // the one before in the list; `large` may have moved
}

void to_unsigned(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Type from = operand_type(s, in.a);
    const bool wide = in.type == Type::kI64;
    const auto round = static_cast<Round>(in.sub & 15);
    if (in.imm != 0 || from == Type::kF16 || round == Round::kNearestAway) return exact_inline(s, i);
    // Sign and exponent as an integer: negative numbers, large ones and NaNs go to the exact implementation, the rest
    // converts as a signed 64-bit integer.
    const bool truncates = round == Round::kZero;
    const Xmm a = s.ra.use_x(in.a), t = truncates ? a : s.ra.temp_x();
    const Gpr d = s.ra.def(i);
    const unsigned limit = wide ? 63 : 32;
    if (!truncates) round_scalar(s, from, t, a, round_imm(round) | kNoInexact);
    s.e.mov_gx(from == Type::kF64, d, t);
    s.e.shift_ri(Shift::shr, from == Type::kF64, d, from == Type::kF64 ? 52 : 23);
    s.e.alu_ri(Alu::cmp, false, d, static_cast<int32_t>((from == Type::kF64 ? 1023 : 127) + limit));
    Cold& cold = exact_if(s, Cc::ae, {i, {reg_of(a)}, reg_of(d)});
    truncate_to_gpr(s, from, true, d, t);
    if (!truncates) round_scalar(s, from, t, a, 3);
    cold.back = s.e.offset();
    if (!wide) s.ra.mark_zext(i);
}

/// 2^-n as a literal; exact for every integer source.
Mem scale_down(Selector& s, Type t, uint64_t n) {
    const uint64_t bits = t == Type::kF64 ? (1023 - n) << 52 : (127 - n) << 23;
    return s.e.literal_mem(bits, 0);
}

void from_integer(Selector& s, Ref i, bool is_signed) {
    const Inst& in = s.inst(i);
    const Type from = operand_type(s, in.a);
    if (in.type == Type::kF16) return exact_inline(s, i);
    const bool to64 = in.type == Type::kF64;
    Gpr a = s.ra.use(in.a);
    const Xmm d = s.ra.def_x(i);
    Cold* cold = nullptr;
    bool wide = from == Type::kI64;
    if (!is_signed && wide) {
        s.e.test_rr(true, a, a);
        cold = &exact_if(s, Cc::s, {i, {reg_of(a)}, reg_of(d)});
    } else if (!is_signed) {
        wide = true;
        if (!s.ra.is_zext(in.a)) {
            const Gpr t = s.ra.temp();
            s.e.mov_rr(false, t, a);
            a = t;
        }
    }
    s.ra.mark_zero_from(i, bits_of(in.type));
    s.e.vzero(d);  // the conversion keeps the rest of its register: no false dependency
    to64 ? s.e.cvtsi2sd(wide, d, d, a) : s.e.cvtsi2ss(wide, d, d, a);
    if (in.imm) s.e.vop(pick(in.type, SseOp::mulss, SseOp::mulsd), d, d, scale_down(s, in.type, in.imm));
    if (cold) cold->back = s.e.offset();
}

/// Between formats. The host keeps sign and payload of a NaN as Arm does.
void convert(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Type from = operand_type(s, in.a), to = in.type;
    if (from == to) return s.ra.alias(i, in.a);
    if ((from == Type::kF16 || to == Type::kF16) && !s.host().f16c) return exact_inline(s, i);
    const bool watched = watches_underflow(s) && to != Type::kF64 && from != Type::kF16;
    if (watched && to == Type::kF16) return exact_inline(s, i);
    if (from == Type::kF64 && to == Type::kF16) return exact_inline(s, i);  // by way of f32 it would round twice
    const Xmm a = s.ra.use_x(in.a);
    if (to == Type::kF16 || from == Type::kF16) s.ra.mark_zero_from(i, bits_of(to));
    if (to == Type::kF16) {
        const Xmm d = s.ra.def_x(i);
        if (canonical(s)) {  // checked before: the result cannot be compared
            s.e.vop(SseOp::ucomiss, a, a);
            Cold& cold = exact_if(s, Cc::p, {i, {reg_of(a)}, reg_of(d)});
            s.e.vop_i(SseOp::insertps, d, a, a, 0x0e);
            s.e.vcvtps2ph(d, d, 4);
            cold.back = s.e.offset();
            return;
        }
        s.e.vop_i(SseOp::insertps, d, a, a, 0x0e);  // what is above would raise flags
        s.e.vcvtps2ph(d, d, 4);
        return;
    }
    if (from == Type::kF16) {
        const Xmm d = s.ra.def_x(i);
        widen_half(s, d, a);
        if (to == Type::kF64) s.e.vop(SseOp::cvtss2sd, d, d, d);
        if (canonical(s)) canonical_if_nan(s, to, d);
        return;
    }
    if (watched) {
        const Xmm d = s.ra.def_x(i), t = s.ra.temp_x();
        s.e.vop(SseOp::cvtsd2ss, d, a, a);
        compare_with_min_normal(s, to, d, t);
        exact_if(s, Cc::e, {i, {reg_of(a)}, reg_of(d)});
        return;
    }
    const Xmm d = s.ra.def_over_x(i);
    if (to == Type::kF64) inherit_upper(s, i, in.a);
    s.e.vop(to == Type::kF64 ? SseOp::cvtss2sd : SseOp::cvtsd2ss, d, a, a);
    if (canonical(s)) canonical_if_nan(s, to, d);
}

void round_integral(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const auto round = static_cast<Round>(in.sub & 15);
    const bool inexact = in.sub & ir::kRoundInexact;
    if (in.type == Type::kF16) return exact_inline(s, i);
    const Xmm a = s.ra.use_x(in.a);
    if (round == Round::kNearestAway) {
        const Xmm d = s.ra.def_x(i), t = inexact ? s.ra.temp_x() : d;
        s.ra.mark_zero_from(i, bits_of(in.type));
        Cold* cold = nullptr;
        round_away(s, in.type, d, a, {i, {reg_of(a)}, reg_of(d)}, &cold);
        if (inexact) round_scalar(s, in.type, t, a, 3);
        cold->back = s.e.offset();
        return;
    }
    const Xmm d = s.ra.def_over_x(i);
    inherit_upper(s, i, in.a);
    round_scalar(s, in.type, d, a, static_cast<uint8_t>(round_imm(round) | (inexact ? 0 : kNoInexact)));
    if (canonical(s)) canonical_if_nan(s, in.type, d, s.ra.is_boxed(i));
}

}  // namespace

void select_fp_convert(Selector& s, Ref i) {
    switch (s.inst(i).op) {
        case Op::kFToS: return to_signed(s, i);
        case Op::kFToU: return to_unsigned(s, i);
        case Op::kSToF: return from_integer(s, i, true);
        case Op::kUToF: return from_integer(s, i, false);
        case Op::kFCvt: return convert(s, i);
        default: return round_integral(s, i);
    }
}

}  // namespace myna::x64
