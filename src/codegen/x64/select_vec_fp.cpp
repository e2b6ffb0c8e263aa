// Selection of vector floating point.
//
// As for scalars, the host's operation and a check: all results compared with themselves, the mask tested, out of line
// when a NaN is among them, where every lane is done again by ir/lanes.h (flags are sticky, so raising one twice is
// raising it once). Half precision works on two halves of four lanes in single precision.
#include "codegen/x64/lane_call.h"
#include "codegen/x64/select_fp.h"

namespace myna::x64 {

namespace {

using ir::NanRule;
using ir::Round;

constexpr uint8_t kNoInexact = 8, kUnordered = 3;

struct Packed {
    SseOp ps, pd;
};

struct VecFp {
    Selector& s;
    Ref i;
    const Inst& in = s.inst(i);
    Emitter& e = s.e;
    RegAlloc& ra = s.ra;
    Elem w = static_cast<Elem>(in.sub);
    bool wide = w == Elem::kF64 || w == Elem::k64;

    Xmm a() { return ra.use_x(in.a); }
    Xmm b() { return ra.use_x(in.b); }
    Xmm temp() { return ra.temp_x(); }
    Xmm def() { return ra.def_x(i); }
    Mem lit(uint64_t v) { return e.literal_mem(v, v); }
    Mem lit32(uint32_t v) { return lit(v | uint64_t{v} << 32); }
    [[nodiscard]] SseOp op(Packed p) const { return wide ? p.pd : p.ps; }
    [[nodiscard]] bool arm_default() const { return s.function().nan_rule != NanRule::kArm; }

    /// Sets ZF when no lane of the mask has its top bit set.
    void test_mask(Xmm mask) {
        const Gpr g = ra.temp();
        wide ? e.movmskpd(g, mask) : e.movmskps(g, mask);
        e.test_rr(false, g, g);
        ra.release(g);
    }
    /// To the exact implementation when a lane of x or y is a NaN.
    Cold& exact_if_nan(Xmm x, Xmm y, Xmm scratch, const LaneCall& call) {
        e.vop_i(op({SseOp::cmpps, SseOp::cmppd}), scratch, x, y, kUnordered);
        test_mask(scratch);
        return exact_if(s, Cc::ne, call);
    }
    /// The same when a lane of `x` is a NaN or, where underflow is watched, the smallest normal number of either sign.
    Cold& exact_if_odd(Xmm x, const LaneCall& call) {
        if (!watches_underflow(s)) return exact_if_nan(x, x, call);
        constexpr uint8_t kEqual = 0, kEqualOrUnordered = 8;
        const Xmm t = temp();
        const Mem magnitude = wide ? lit(~uint64_t{0} >> 1) : lit32(0x7fffffff);
        const Mem min_normal = wide ? lit(uint64_t{1} << 52) : lit32(1u << 23);
        const SseOp compare = op({SseOp::cmpps, SseOp::cmppd});
        e.vop(SseOp::andps, t, x, magnitude);
        if (e.avx()) {
            e.vop_i(compare, t, t, min_normal, kEqualOrUnordered);
        } else {
            const Xmm u = temp();
            e.vop_i(compare, t, t, min_normal, kEqual);
            e.vop_i(compare, u, x, x, kUnordered);
            e.vop(SseOp::orps, t, t, u);
            ra.release(u);
        }
        test_mask(t);
        ra.release(t);
        return exact_if(s, Cc::ne, call);
    }
    Cold& exact_if_nan(Xmm x, Xmm y, const LaneCall& call) {
        const Xmm t = temp();
        Cold& cold = exact_if_nan(x, y, t, call);
        ra.release(t);
        return cold;
    }
};

void binary(VecFp v, Packed op) {
    const Xmm a = v.a(), b = v.b(), d = v.def();
    v.e.vop(v.op(op), d, a, b);
    const LaneCall call{v.i, {reg_of(a), reg_of(b)}, reg_of(d)};
    if (v.in.op == Op::kVFMul || v.in.op == Op::kVFDiv) v.exact_if_odd(d, call);
    else v.exact_if_nan(d, d, call);  // tiny sums are exact
}
void square_root(VecFp v) {
    const Xmm a = v.a(), d = v.def();
    v.e.vop(v.op({SseOp::sqrtps, SseOp::sqrtpd}), d, a);
    v.exact_if_nan(d, d, {v.i, {reg_of(a)}, reg_of(d)});
}
void fused(VecFp v) {
    if (!v.s.host().fma) return exact_inline(v.s, v.i);
    constexpr Packed kOps[] = {{SseOp::vfmadd231ps, SseOp::vfmadd231pd}, {SseOp::vfnmadd231ps, SseOp::vfnmadd231pd},
                               {SseOp::vfmsub231ps, SseOp::vfmsub231pd}, {SseOp::vfnmsub231ps, SseOp::vfnmsub231pd}};
    const Xmm a = v.a(), b = v.b();
    const FusedAddend c = fused_addend(v.s, v.i, v.in.c, true);
    v.e.vop(v.op(kOps[v.in.imm & 3]), c.result, a, b);
    v.exact_if_odd(c.result, {v.i, {reg_of(c.whole(a)), reg_of(c.whole(b)), reg_of(c.kept)}, reg_of(c.result)});
}
void min_max(VecFp v, bool max) {
    const SseOp op = v.op(max ? Packed{SseOp::maxps, SseOp::maxpd} : Packed{SseOp::minps, SseOp::minpd});
    const Xmm a = v.a(), b = v.b(), d = v.def(), t = v.temp();
    Cold& cold = v.exact_if_nan(a, b, t, {v.i, {reg_of(a), reg_of(b)}, reg_of(d)});
    v.e.vop(op, d, a, b);
    v.e.vop(op, t, b, a);
    v.e.vop(max ? SseOp::andps : SseOp::orps, d, d, t);
    cold.back = v.e.offset();
}
void pairwise_add(VecFp v) {
    const Xmm a = v.a(), b = v.b(), t = v.temp(), d = v.def();
    if (v.wide) {
        v.e.vop(SseOp::unpcklpd, d, a, b);
        v.e.vop(SseOp::unpckhpd, t, a, b);
        v.e.vop(SseOp::addpd, d, d, t);
    } else {
        v.e.vop_i(SseOp::shufps, d, a, b, 0x88);
        v.e.vop_i(SseOp::shufps, t, a, b, 0xdd);
        v.e.vop(SseOp::addps, d, d, t);
    }
    v.ra.release(t);
    v.exact_if_nan(d, d, {v.i, {reg_of(a), reg_of(b)}, reg_of(d)});
}

void compare(VecFp v) {
    const bool signal = v.in.imm & ir::kFcmpSignal;
    const auto cc = static_cast<ir::FCmp>(v.in.imm & 15);
    const SseOp op = v.op({SseOp::cmpps, SseOp::cmppd});
    // EQ_OQ, LT_OS, LE_OS, UNORD_Q; the other signalling forms with VEX alone.
    constexpr uint8_t kSignalling[] = {0x10, 1, 2, 0x13}, kQuiet[] = {0, 0x11, 0x12, 3};
    const uint8_t imm = (signal ? kSignalling : kQuiet)[static_cast<unsigned>(cc)];
    if (imm > 7 && !v.e.avx()) return exact_inline(v.s, v.i);
    const Xmm a = v.a(), b = v.b();
    v.e.vop_i(op, v.ra.def_over_x(v.i), a, b, imm);
}

uint8_t round_imm(Round r) {
    switch (r) {
        case Round::kNearestEven: return 0;
        case Round::kDown: return 1;
        case Round::kUp: return 2;
        case Round::kZero: return 3;
        default: return 4;
    }
}

/// Two 64-bit lanes, each through a general register. The flag for inexact is raised by `flag` alone when set.
void to_integer64(VecFp v, bool is_signed, Round round) {
    const Xmm a = v.a(), t = v.temp(), d = v.def();
    const Gpr g = v.ra.temp(), h = v.ra.temp();
    // First all lanes rounded quietly, then converted exactly, so that flags come from the lanes that fit.
    v.e.vop_i(SseOp::roundpd, t, a, static_cast<uint8_t>(round_imm(round) | kNoInexact));
    const LaneCall call{v.i, {reg_of(a)}, reg_of(d)};
    Cold* second;
    if (is_signed) {
        v.e.cvttsd2si(true, g, t);
        v.e.vop_i(SseOp::pshufd, t, t, 0xee);
        v.e.cvttsd2si(true, h, t);
        v.e.alu_ri(Alu::cmp, true, g, 1);
        exact_if(v.s, Cc::o, call);
        v.e.alu_ri(Alu::cmp, true, h, 1);
        second = &exact_if(v.s, Cc::o, call);
    } else {  // sign and exponent say whether a signed conversion does
        v.e.mov_gx(true, g, t);
        v.e.pextrq(h, t, 1);
        v.e.shift_ri(Shift::shr, true, g, 52);
        v.e.shift_ri(Shift::shr, true, h, 52);
        v.e.alu_ri(Alu::cmp, false, g, 1023 + 63);
        exact_if(v.s, Cc::ae, call);
        v.e.alu_ri(Alu::cmp, false, h, 1023 + 63);
        second = &exact_if(v.s, Cc::ae, call);
        v.e.cvttsd2si(true, g, t);
        v.e.vop_i(SseOp::pshufd, t, t, 0xee);
        v.e.cvttsd2si(true, h, t);
    }
    v.e.vop_i(SseOp::roundpd, t, a, 3);
    v.e.mov_xg(true, d, g);
    v.e.pinsrq(d, d, h, 1);
    second->back = second[-1].back = v.e.offset();
}
void to_integer(VecFp v, bool is_signed) {
    const auto round = static_cast<Round>(v.in.imm & 15);
    if ((v.in.imm >> 8) != 0 || round == Round::kNearestAway) return exact_inline(v.s, v.i);
    if (v.wide) return to_integer64(v, is_signed, round);
    const Xmm a = v.a(), d = v.def(), t = v.temp();
    const LaneCall call{v.i, {reg_of(a)}, reg_of(d)};
    if (is_signed && (round == Round::kZero || round == Round::kCur)) {
        v.e.vop(round == Round::kZero ? SseOp::cvttps2dq : SseOp::cvtps2dq, d, a);
        v.e.vop(SseOp::pcmpeqd, t, d, v.lit32(0x80000000));
        v.test_mask(t);
        exact_if(v.s, Cc::ne, call);
        return;
    }
    v.e.vop_i(SseOp::roundps, t, a, static_cast<uint8_t>(round_imm(round) | kNoInexact));
    if (is_signed) {
        v.e.vop(SseOp::cvttps2dq, d, t);
        v.e.vop(SseOp::pcmpeqd, t, d, v.lit32(0x80000000));
        v.test_mask(t);
    } else {  // negative, or 2^31 and above, by the bits
        v.e.vop(SseOp::pcmpgtd, d, t, v.lit32(0x4effffff));
        v.e.vop(SseOp::por, d, d, t);
        v.test_mask(d);
    }
    Cold& cold = exact_if(v.s, Cc::ne, call);
    if (!is_signed) v.e.vop(SseOp::cvttps2dq, d, t);
    v.e.vop_i(SseOp::roundps, t, a, 3);
    cold.back = v.e.offset();
}

void from_integer(VecFp v, bool is_signed) {
    const uint64_t frac = v.in.imm >> 8;
    const Xmm a = v.a();
    const auto scale = [&](Xmm d) {
        if (!frac) return;
        if (v.wide) v.e.vop(SseOp::mulpd, d, d, v.lit((1023 - frac) << 52));
        else v.e.vop(SseOp::mulps, d, d, v.lit32(static_cast<uint32_t>(127 - frac) << 23));
    };
    if (!v.wide) {
        if (is_signed) {
            const Xmm d = v.ra.def_over_x(v.i);
            v.e.vop(SseOp::cvtdq2ps, d, a);
            return scale(d);
        }
        // Two halves of 16 bits, each exact; their sum rounds once.
        const Xmm t = v.temp(), d = v.def();
        v.e.vshift_i(2, 2, t, a, 16);
        v.e.vop(SseOp::cvtdq2ps, t, t);
        v.e.vop(SseOp::mulps, t, t, v.lit32(0x47800000));
        v.e.vop(SseOp::pand, d, a, v.lit32(0xffff));
        v.e.vop(SseOp::cvtdq2ps, d, d);
        v.e.vop(SseOp::addps, d, d, t);
        return scale(d);
    }
    const Xmm t = v.temp(), d = v.def();
    const Gpr g = v.ra.temp(), h = v.ra.temp();
    v.e.mov_gx(true, g, a);
    v.e.pextrq(h, a, 1);
    Cold* cold = nullptr;
    if (!is_signed) {
        const Gpr both = v.ra.temp();
        v.e.mov_rr(true, both, g);
        v.e.alu_rr(Alu::or_, true, both, h);
        v.ra.release(both);
        cold = &exact_if(v.s, Cc::s, {v.i, {reg_of(a)}, reg_of(d)});
    }
    v.e.vzero(d);
    v.e.vzero(t);
    v.e.cvtsi2sd(true, d, d, g);
    v.e.cvtsi2sd(true, t, t, h);
    v.e.vop(SseOp::unpcklpd, d, d, t);
    scale(d);
    if (cold) cold->back = v.e.offset();
}

void round_integral(VecFp v) {
    const auto round = static_cast<Round>(v.in.imm & 15);
    if (round == Round::kNearestAway) return exact_inline(v.s, v.i);
    const bool inexact = v.in.imm & ir::kRoundInexact;
    const Xmm a = v.a(), d = v.arm_default() ? v.def() : v.ra.def_over_x(v.i);
    v.e.vop_i(v.op({SseOp::roundps, SseOp::roundpd}), d, a, static_cast<uint8_t>(round_imm(round) | (inexact ? 0 : kNoInexact)));
    if (v.arm_default()) v.exact_if_nan(d, d, {v.i, {reg_of(a)}, reg_of(d)});  // else: NaN as Arm has it
}

void widen(VecFp v) {
    const bool half = v.w == Elem::kF16;
    if (half && !v.s.host().f16c) return exact_inline(v.s, v.i);
    const Xmm a = v.a(), d = v.def();
    if (v.in.imm & 1) v.e.vop_i(SseOp::pshufd, d, a, 0xee);
    v.e.vop(half ? SseOp::cvtph2ps : SseOp::cvtps2pd, d, (v.in.imm & 1) ? d : a);
    if (!v.arm_default()) return;
    VecFp result = v;
    result.wide = !half;
    result.exact_if_nan(d, d, {v.i, {reg_of(a)}, reg_of(d)});
}
void narrow(VecFp v) {
    const bool half = v.w == Elem::kF16;
    if (half && (!v.s.host().f16c || watches_underflow(v.s))) return exact_inline(v.s, v.i);
    const Xmm a = v.a(), d = v.def();
    if (watches_underflow(v.s)) {
        v.wide = false;
        v.e.vop(SseOp::cvtpd2ps, d, a);
        v.exact_if_odd(d, {v.i, {reg_of(a)}, reg_of(d)});
        return;
    }
    const auto convert = [&] { half ? v.e.vcvtps2ph(d, a, 4) : v.e.vop(SseOp::cvtpd2ps, d, a); };
    if (!v.arm_default()) return convert();
    VecFp source = v;
    source.wide = !half;
    Cold& cold = source.exact_if_nan(a, a, {v.i, {reg_of(a)}, reg_of(d)});
    convert();
    cold.back = v.e.offset();
}

/// + - * / and square root of eight half-precision lanes.
void half_lanes(VecFp v, SseOp op) {
    if (!v.s.host().f16c || watches_underflow(v.s)) return exact_inline(v.s, v.i);
    const bool unary = ir::info(v.in.op).arg_count == 1;
    const Xmm a = v.a(), b = unary ? a : v.b();
    const Xmm d = v.def(), t = v.temp();
    const auto part = [&](Xmm to, bool high) {
        const Xmm y = to;
        if (unary) {
            if (high) v.e.vop_i(SseOp::pshufd, y, a, 0xee);
            v.e.vop(SseOp::cvtph2ps, y, high ? y : a);
            v.e.vop(op, y, y);
            return;
        }
        const Xmm x = v.temp();
        if (high) v.e.vop_i(SseOp::pshufd, x, a, 0xee), v.e.vop_i(SseOp::pshufd, y, b, 0xee);
        v.e.vop(SseOp::cvtph2ps, x, high ? x : a);
        v.e.vop(SseOp::cvtph2ps, y, high ? y : b);
        v.e.vop(op, y, x, y);
        v.ra.release(x);
    };
    part(d, false);
    part(t, true);
    v.wide = false;
    Cold& cold = v.exact_if_nan(d, t, unary ? LaneCall{v.i, {reg_of(a)}, reg_of(d)} : LaneCall{v.i, {reg_of(a), reg_of(b)}, reg_of(d)});
    v.e.vcvtps2ph(d, d, 4);
    v.e.vcvtps2ph(t, t, 4);
    v.e.vop(SseOp::punpcklqdq, d, d, t);
    cold.back = v.e.offset();
}

}  // namespace

void select_vec_fp(Selector& s, Ref i) {
    VecFp v{s, i};
    if (s.function().fp_exact) return exact_inline(s, i);
    const Op op = v.in.op;
    if (op == Op::kVFCvtL) return widen(v);
    if (op == Op::kVFCvtN) return narrow(v);
    if (v.w == Elem::kF16 || v.w == Elem::k16) {
        switch (op) {
            case Op::kVFAdd: return half_lanes(v, SseOp::addps);
            case Op::kVFSub: return half_lanes(v, SseOp::subps);
            case Op::kVFMul: return half_lanes(v, SseOp::mulps);
            case Op::kVFDiv: return half_lanes(v, SseOp::divps);
            case Op::kVFSqrt: return half_lanes(v, SseOp::sqrtps);
            default: return exact_inline(s, i);
        }
    }
    switch (op) {
        case Op::kVFAdd: return binary(v, {SseOp::addps, SseOp::addpd});
        case Op::kVFSub: return binary(v, {SseOp::subps, SseOp::subpd});
        case Op::kVFMul: return binary(v, {SseOp::mulps, SseOp::mulpd});
        case Op::kVFDiv: return binary(v, {SseOp::divps, SseOp::divpd});
        case Op::kVFSqrt: return square_root(v);
        case Op::kVFMa: return fused(v);
        case Op::kVFMin: return min_max(v, false);
        case Op::kVFMax: return min_max(v, true);
        case Op::kVFAddp: return pairwise_add(v);
        case Op::kVFCmp: return compare(v);
        case Op::kVFToS: return to_integer(v, true);
        case Op::kVFToU: return to_integer(v, false);
        case Op::kVSToF: return from_integer(v, true);
        case Op::kVUToF: return from_integer(v, false);
        case Op::kVFRound: return round_integral(v);
        default: return exact_inline(s, i);
    }
}

}  // namespace myna::x64
