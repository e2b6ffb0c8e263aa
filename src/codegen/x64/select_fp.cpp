// Selection of scalar floating point and of moves between the register files.
//
// A scalar is in the low bits of an XMM register; what is above them is unspecified. Each operation is the host's, then
// a check of what only the guest's rules can answer, which leaves the hot path for ir/lanes.h:
//   arithmetic           result unordered with itself: NaN by the guest's rule
//   minimum, maximum     operands unordered
//   to integer           the host's "indefinite" value: saturate, NaN
// The checks cost two instructions. With Function::fp_exact everything goes to ir/lanes.h at once.
#include "codegen/x64/lane_call.h"
#include "codegen/x64/select_fp.h"
#include "softfp/softfp.h"

namespace myna::x64 {

namespace {

using ir::MinMax;
using ir::NanRule;
using softfp::F16;
using softfp::F32;
using softfp::F64;

struct Both {
    SseOp ss, sd;
    [[nodiscard]] SseOp of(Type t) const { return t == Type::kF64 ? sd : ss; }
};

/// NaN results of this block are one constant (RISC-V; Arm with FPCR.DN).
bool canonical(const Selector& s) { return s.function().nan_rule != NanRule::kArm; }

void arithmetic(Selector& s, Ref i, Both op, bool commutes) {
    const Inst& in = s.inst(i);
    const bool watched = watches_underflow(s) && (in.op == Op::kFMul || in.op == Op::kFDiv);  // tiny sums are exact
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b);
    const Xmm d = canonical(s) && !watched ? s.ra.def_over_x(i) : s.ra.def_x(i);
    const Xmm t = watched ? s.ra.temp_x() : d;
    // The first operand's upper lanes stay: zeroes, or a NaN box, are wanted there; else the shorter or (without VEX)
    // two-operand form.
    bool swap = false;
    if (commutes) {
        const auto wanted = [&](Ref r) { return canonical(s) ? s.ra.is_boxed(r) : s.ra.is_zero_from(r, bits_of(in.type)); };
        const bool za = wanted(in.a), zb = wanted(in.b);
        swap = za != zb ? zb : s.e.avx() ? num(b) >= 8 && num(a) < 8 : d == b;
    }
    s.e.vop(op.of(in.type), d, swap ? b : a, swap ? a : b);
    inherit_upper(s, i, swap ? in.b : in.a);
    if (watched) {
        compare_with_min_normal(s, in.type, d, t);
        exact_if(s, Cc::e, {i, {reg_of(a), reg_of(b)}, reg_of(d)});
        return;
    }
    if (canonical(s)) return canonical_if_nan(s, in.type, d, s.ra.is_boxed(i));
    s.e.vop(ucomi(in.type), d, d);
    exact_if(s, Cc::p, {i, {reg_of(a), reg_of(b)}, reg_of(d)});
}

void square_root(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const SseOp op = Both{SseOp::sqrtss, SseOp::sqrtsd}.of(in.type);
    const Xmm a = s.ra.use_x(in.a);
    const Xmm d = canonical(s) ? s.ra.def_over_x(i) : s.ra.def_x(i);
    s.e.vop(op, d, a, a);
    inherit_upper(s, i, in.a);
    if (canonical(s)) return canonical_if_nan(s, in.type, d, s.ra.is_boxed(i));
    s.e.vop(ucomi(in.type), d, d);
    exact_if(s, Cc::p, {i, {reg_of(a)}, reg_of(d)});
}

/// a * b + c by FMA3, in the form that ends in the addend's register.
void fused(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    if (!s.host().fma) return exact_inline(s, i);
    constexpr Both kOps[] = {{SseOp::vfmadd231ss, SseOp::vfmadd231sd}, {SseOp::vfnmadd231ss, SseOp::vfnmadd231sd},
                             {SseOp::vfmsub231ss, SseOp::vfmsub231sd}, {SseOp::vfnmsub231ss, SseOp::vfnmsub231sd}};
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b);
    // With one NaN for all the exact path only asks whether invalid is to be raised, which for a lost addend was done
    // already unless it was a quiet NaN: the result, a quiet NaN, stands in for it.
    const bool watched = watches_underflow(s);
    const FusedAddend c = fused_addend(s, i, in.c, watched || !canonical(s));
    const Xmm t = watched ? s.ra.temp_x() : c.result;
    s.e.vop(kOps[in.sub & 3].of(in.type), c.result, a, b);
    inherit_upper(s, i, in.c);
    if (watched) {
        compare_with_min_normal(s, in.type, c.result, t);
        exact_if(s, Cc::e, {i, {reg_of(c.whole(a)), reg_of(c.whole(b)), reg_of(c.kept)}, reg_of(c.result)});
        return;
    }
    s.e.vop(ucomi(in.type), c.result, c.result);
    exact_if(s, Cc::p, {i, {reg_of(c.whole(a)), reg_of(c.whole(b)), reg_of(c.kept)}, reg_of(c.result)});
}

/// The host gives the second operand for two zeroes: both orders, or-ed (minimum: -0 wins) or and-ed.
void min_max(Selector& s, Ref i, bool max) {
    const Inst& in = s.inst(i);
    const SseOp op = (max ? Both{SseOp::maxss, SseOp::maxsd} : Both{SseOp::minss, SseOp::minsd}).of(in.type);
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b);
    const Xmm d = s.ra.def_x(i), t = s.ra.temp_x();
    s.e.vop(ucomi(in.type), a, b);
    Cold& cold = exact_if(s, Cc::p, {i, {reg_of(a), reg_of(b)}, reg_of(d)});
    s.e.vop(op, d, a, b);
    s.e.vop(op, t, b, a);
    s.e.vop(max ? SseOp::andps : SseOp::orps, d, d, t);
    cold.back = s.e.offset();
    if (s.ra.is_zero_from(in.b, bits_of(in.type)) && s.ra.is_zero_from(in.a, bits_of(in.type))) inherit_upper(s, i, in.a);
}

uint64_t sign_bit(Type t) { return t == Type::kF16 ? 0x8000 : t == Type::kF32 ? 0x80000000 : uint64_t{1} << 63; }
uint64_t all_bits(Type t) { return sign_bit(t) * 2 - 1; }

void bitwise(Selector& s, Ref i, SseOp op, uint64_t mask) {
    const Inst& in = s.inst(i);
    const bool boxed = in.type == Type::kF32 && s.ra.is_boxed(in.a);
    const Xmm a = s.ra.use_x(in.a);
    s.e.vop(op, s.ra.def_over_x(i), a, s.e.literal_mem(op == SseOp::andps && boxed ? mask | kBox : mask, 0));
    if (op == SseOp::andps && !boxed) s.ra.mark_zero_from(i, bits_of(in.type));
    else inherit_upper(s, i, in.a);
}

void sign_inject(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const uint64_t sign = sign_bit(in.type);
    if (in.a == in.b) {  // FMV, FNEG, FABS
        if (in.sub == 0) return s.ra.alias(i, in.a);
        return in.sub == 1 ? bitwise(s, i, SseOp::xorps, sign) : bitwise(s, i, SseOp::andps, all_bits(in.type) & ~sign);
    }
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b), t = s.ra.temp_x();
    if (in.sub == 2) {
        s.e.vop(SseOp::andps, t, b, s.e.literal_mem(sign, 0));
        s.e.vop(SseOp::xorps, s.ra.def_over_x(i), a, t);
        if (in.type == Type::kF32) inherit_upper(s, i, in.a);
        return;
    }
    const Xmm d = s.ra.def_x(i);
    if (in.sub == 1) {
        s.e.vop(SseOp::xorps, t, b, s.e.literal_mem(sign, 0));
        s.e.vop(SseOp::andps, t, t, s.e.literal_mem(sign, 0));
    } else {
        s.e.vop(SseOp::andps, t, b, s.e.literal_mem(sign, 0));
    }
    const bool boxed = in.type == Type::kF32 && s.ra.is_boxed(in.a);
    s.e.vop(SseOp::andps, d, a, s.e.literal_mem((all_bits(in.type) & ~sign) | (boxed ? kBox : 0), 0));
    s.e.vop(SseOp::orps, d, d, t);
    if (boxed) s.ra.mark_boxed(i);
}

void compare_scalars(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const bool signal = in.sub & ir::kFcmpSignal;
    const SseOp comi = signal ? Both{SseOp::comiss, SseOp::comisd}.of(in.type) : ucomi(in.type);
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b);
    const auto cc = static_cast<ir::FCmp>(in.sub & 15);
    if (cc == ir::FCmp::kEq && !signal) {  // EQ_OQ; as an integer mask
        const Xmm t = s.ra.temp_x();
        s.e.vop_i(Both{SseOp::cmpss, SseOp::cmpsd}.of(in.type), t, a, b, 0);
        const Gpr d = s.ra.def(i);
        s.e.mov_gx(false, d, t);
        s.e.alu_ri(Alu::and_, false, d, 1);
        s.ra.mark_zext(i);
        return;
    }
    const Gpr d = s.ra.def(i);
    s.e.zero(d);
    switch (cc) {
        case ir::FCmp::kLt: s.e.vop(comi, b, a), s.e.setcc(Cc::a, d); break;   // unordered sets CF
        case ir::FCmp::kLe: s.e.vop(comi, b, a), s.e.setcc(Cc::ae, d); break;
        case ir::FCmp::kUnord: s.e.vop(comi, a, b), s.e.setcc(Cc::p, d); break;
        case ir::FCmp::kEq: {
            const Gpr t = s.ra.temp();
            s.e.vop(comi, a, b);
            s.e.setcc(Cc::np, d);
            s.e.mov_ri(t, 0);
            s.e.cmov(Cc::ne, false, d, t);
            break;
        }
    }
    s.ra.mark_zext(i);
}

void box(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const bool half = operand_type(s, in.a) == Type::kF16;
    if (!half && s.ra.is_boxed(in.a)) {
        if (s.ra.may_widen(i, in.a)) s.ra.widen(i, in.a);
        else s.ra.def_from_x(i, in.a);
        return s.ra.mark_boxed(i);
    }
    const Mem ones = s.e.literal_mem(half ? ~uint64_t{0xffff} : kBox, 0);
    const Xmm a = s.ra.use_x(in.a);
    if (s.ra.may_widen(i, in.a)) {
        s.e.vop(SseOp::orps, a, a, ones);
        s.ra.widen(i, in.a);
        if (!half) s.ra.mark_boxed(i);
        return;
    }
    s.e.vop(SseOp::orps, s.ra.def_over_x(i), a, ones);
}

/// PTEST sets CF when all bits of the mask are set.
void unbox(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const bool half = in.type == Type::kF16;
    const Xmm a = s.ra.use_x(in.a);
    const Xmm d = s.ra.def_from_x(i, in.a);
    s.e.vop(SseOp::ptest, d == a ? d : a, s.e.literal_mem(half ? ~uint64_t{0xffff} : kBox, 0));
    literal_if(s, Cc::ae, d, half ? softfp::kDefaultNan<F16> : softfp::kDefaultNan<F32> | kBox);
    if (!half) s.ra.mark_boxed(i);
}

void bitcast(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Type from = operand_type(s, in.a), to = in.type;
    const bool wide = to == Type::kI64 || to == Type::kF64;
    if (in_xmm(from) == in_xmm(to)) return s.ra.alias(i, in.a);
    if (in_xmm(to)) {
        const Gpr a = s.ra.use(in.a);
        const Xmm d = s.ra.def_x(i);
        s.e.mov_xg(wide, d, a);
        if (to == Type::kF16) s.e.vop(SseOp::pand, d, d, s.e.literal_mem(0xffff, 0));
        s.ra.mark_zero_from(i, bits_of(to));
        return;
    }
    const Xmm a = s.ra.use_x(in.a);
    const Gpr d = s.ra.def(i);
    if (from == Type::kF16) s.e.pextrw(d, a, 0);
    else s.e.mov_gx(wide, d, a);
    if (!wide) s.ra.mark_zext(i);
}

void zero_above(Selector& s, Type from, Xmm d, Xmm a) {
    if (from == Type::kF64) s.e.vop(SseOp::movq, d, a);
    else if (from == Type::kF32) s.e.vop_i(SseOp::insertps, d, a, a, 0x0e);
    else s.e.vop(SseOp::pand, d, a, s.e.literal_mem(0xffff, 0));
}
void zero_extend(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Type from = operand_type(s, in.a);
    const unsigned bits = bits_of(from);
    const bool zero = s.ra.is_zero_from(in.a, bits);
    if (zero && s.inst(in.a).op == Op::kConst) return s.ra.alias(i, in.a);
    const Xmm a = s.ra.use_x(in.a);
    if (s.ra.may_widen(i, in.a)) {
        if (!zero) zero_above(s, from, a, a);
        s.ra.widen(i, in.a);
    } else if (zero) {
        s.e.mov_xx(s.ra.def_over_x(i), a);
    } else {
        zero_above(s, from, s.ra.def_over_x(i), a);
    }
    s.ra.mark_zero_from(i, bits);
}

/// Half precision in single: exact before the last rounding (24 >= 2 * 11 + 2 bits), so rounding twice is rounding once.
void half_arithmetic(Selector& s, Ref i, Both op) {
    const Inst& in = s.inst(i);
    if (!s.host().f16c || watches_underflow(s)) return exact_inline(s, i);
    const bool unary = ir::info(in.op).arg_count == 1;
    const Xmm a = s.ra.use_x(in.a), b = unary ? a : s.ra.use_x(in.b);
    const Xmm d = s.ra.def_x(i), t = s.ra.temp_x();
    s.ra.mark_zero_from(i, 16);
    widen_half(s, d, a);
    if (unary) {
        s.e.vop(op.ss, d, d, d);
    } else {
        widen_half(s, t, b);
        s.e.vop(op.ss, d, d, t);
    }
    s.e.vop(SseOp::ucomiss, d, d);
    Cold& cold = unary ? exact_if(s, Cc::p, {i, {reg_of(a)}, reg_of(d)}) : exact_if(s, Cc::p, {i, {reg_of(a), reg_of(b)}, reg_of(d)});
    s.e.vcvtps2ph(d, d, 4);
    cold.back = s.e.offset();
}

}  // namespace

void inherit_upper(Selector& s, Ref i, Ref a) {
    const unsigned n = bits_of(s.inst(i).type);
    if (s.ra.is_zero_from(a, n)) s.ra.mark_zero_from(i, n);
    else if (n == 32 && s.ra.is_boxed(a)) s.ra.mark_boxed(i);
}

FusedAddend fused_addend(Selector& s, Ref i, Ref c, bool needed) {
    const Xmm old = s.ra.use_x(c);
    if (!needed) {
        const Xmm d = s.ra.def_from_x(i, c);
        return {d, d};
    }
    if (!s.ra.in_place(i, c)) return {s.ra.def_from_x(i, c), old};
    const Xmm kept = s.ra.temp_x();
    s.e.mov_xx(kept, old);
    return {s.ra.def_from_x(i, c), kept};
}

bool watches_underflow(const Selector& s) { return s.function().exact_underflow && s.function().nan_rule != NanRule::kRiscv; }

void compare_with_min_normal(Selector& s, Type type, Xmm d, Xmm t) {
    const bool wide = type == Type::kF64;
    s.e.vop(SseOp::andps, t, d, s.e.literal_mem(wide ? softfp::kSign<F64> - 1 : softfp::kSign<F32> - 1, 0));
    s.e.vop(ucomi(type), t, s.e.literal_mem(wide ? softfp::kMinNormal<F64> : softfp::kMinNormal<F32>, 0));
}

SseOp ucomi(Type t) { return t == Type::kF64 ? SseOp::ucomisd : SseOp::ucomiss; }

void canonical_if_nan(Selector& s, Type t, Xmm d, bool boxed) {
    s.e.vop(ucomi(t), d, d);
    literal_if(s, Cc::p, d, t == Type::kF64 ? softfp::kDefaultNan<F64> : softfp::kDefaultNan<F32> | (boxed ? kBox : 0));
}

void widen_half(Selector& s, Xmm d, Xmm a) {
    s.e.vop(SseOp::pand, d, a, s.e.literal_mem(0xffff, 0));  // what is above could be a signalling NaN
    s.e.vop(SseOp::cvtph2ps, d, d);
}

bool Selector::keeps_eflags(const Inst& n) const {
    switch (n.op) {
        case Op::kBitcast: case Op::kVZext: case Op::kVLow: case Op::kBox32:
        case Op::kFNeg: case Op::kFAbs: case Op::kFSgnj:
        case Op::kVAnd: case Op::kVOr: case Op::kVXor: case Op::kVAndN: case Op::kVNot: case Op::kVBsl:
        case Op::kVAdd: case Op::kVSub: case Op::kVMul: case Op::kVNeg: case Op::kVAbs:
        case Op::kVShlI: case Op::kVShrI: case Op::kVSarI:
        case Op::kVCmpEq: case Op::kVCmpGt: case Op::kVCmpGe: case Op::kVCmpHi: case Op::kVCmpHs: case Op::kVTst:
        case Op::kVSmin: case Op::kVSmax: case Op::kVUmin: case Op::kVUmax:
        case Op::kVSxtl: case Op::kVUxtl: case Op::kVXtn: case Op::kVSmull: case Op::kVUmull:
        case Op::kVSdot: case Op::kVUdot: case Op::kVUsdot: case Op::kVAddp:
        case Op::kVZip1: case Op::kVZip2: case Op::kVUzp1: case Op::kVUzp2: case Op::kVTrn1: case Op::kVTrn2:
        case Op::kVExt: case Op::kVRev: case Op::kVTbl: case Op::kVDup: case Op::kVDupL: case Op::kVIns: case Op::kVInsL:
        case Op::kVGet: case Op::kVCnt: return true;
        default: return false;
    }
}

void Selector::select_fp(Ref i) {
    const Inst& in = inst(i);
    const Type t = in.type;
    // Moves and bit operations: no rounding, no flags, any mode.
    switch (in.op) {
        case Op::kBitcast: return bitcast(*this, i);
        case Op::kVZext: return zero_extend(*this, i);
        case Op::kVLow: return ra.alias(i, in.a);
        case Op::kBox32: return box(*this, i);
        case Op::kUnbox32: return unbox(*this, i);
        case Op::kFNeg: return bitwise(*this, i, SseOp::xorps, sign_bit(t));
        case Op::kFAbs: return bitwise(*this, i, SseOp::andps, all_bits(t) & ~sign_bit(t));
        case Op::kFSgnj: return sign_inject(*this, i);
        default: break;
    }
    if (f_->fp_exact) return exact_inline(*this, i);
    const auto binary = [&](Both op, bool commutes) {
        return t == Type::kF16 ? half_arithmetic(*this, i, op) : arithmetic(*this, i, op, commutes);
    };
    switch (in.op) {
        case Op::kFAdd: return binary({SseOp::addss, SseOp::addsd}, true);
        case Op::kFSub: return binary({SseOp::subss, SseOp::subsd}, false);
        case Op::kFMul: return binary({SseOp::mulss, SseOp::mulsd}, true);
        case Op::kFDiv: return binary({SseOp::divss, SseOp::divsd}, false);
        case Op::kFSqrt: return t == Type::kF16 ? half_arithmetic(*this, i, {SseOp::sqrtss, SseOp::sqrtsd}) : square_root(*this, i);
        case Op::kFToS:
        case Op::kFToU:
        case Op::kSToF:
        case Op::kUToF:
        case Op::kFCvt:
        case Op::kFRound: return select_fp_convert(*this, i);
        default: break;
    }
    if (t == Type::kF16) return exact_inline(*this, i);
    switch (in.op) {
        case Op::kFMa: return fused(*this, i);
        case Op::kFMin: return min_max(*this, i, false);
        case Op::kFMax: return min_max(*this, i, true);
        case Op::kFCmp: return compare_scalars(*this, i);
        default: return exact_inline(*this, i);
    }
}

}  // namespace myna::x64
