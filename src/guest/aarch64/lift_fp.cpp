// Scalar floating point: the classes of Arm ARM C4.1.96 from "Conversion between floating-point and fixed-point" to
// "Floating-point data-processing (3 source)". Each operation is one scalar IR operation; the result's upper bits are
// zeroed by kVZext, which costs nothing within a chain because vlow of vzext is the scalar itself.
#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

using ir::MinMax;
using ir::Round;

namespace {

/// Rounding of the FCVT{N,P,M,Z} rmode field.
constexpr Round kRmode[4] = {Round::kNearestEven, Round::kUp, Round::kDown, Round::kZero};

constexpr uint64_t kDoubleOne = uint64_t{1023} << 52, kTwoTo64 = uint64_t{1023 + 64} << 52;

constexpr uint8_t sub(Round r) { return static_cast<uint8_t>(r); }

/// VFPExpandImm (Arm ARM shared pseudocode): sign, 3 bits of exponent, 4 of fraction.
constexpr uint64_t expand_fp_imm(unsigned fs, unsigned imm8) {
    const unsigned exp_bits = fs == 1 ? 5 : fs == 2 ? 8 : 11;
    const unsigned width = 8u << fs;
    const uint64_t sign = imm8 >> 7;
    const bool b = (imm8 >> 6) & 1;
    const uint64_t exp = (b ? 0 : uint64_t{1} << (exp_bits - 1)) |
                         (b ? ((uint64_t{1} << (exp_bits - 3)) - 1) << 2 : 0) | ((imm8 >> 4) & 3);
    const uint64_t frac = uint64_t{imm8 & 15} << (width - exp_bits - 5);
    return sign << (width - 1) | exp << (width - 1 - exp_bits) | frac;
}

}  // namespace

bool SimdLifter::fp_fixed(const FpFixed& i) {
    const unsigned fs = fs_of(i.ftype), fbits = 64 - i.scale;
    const bool is_unsigned = i.op & 1;
    if (i.rmode == 0) {
        set_fp(i.rd, b_.emit(is_unsigned ? Op::kUToF : Op::kSToF, fp_type(fs), 0, r(i.sf, i.rn), kNoRef, kNoRef, fbits));
    } else {
        set_r(i.sf, i.rd, fp_to_fixed(is_unsigned, i.sf ? Type::kI64 : Type::kI32, fs, fbits, fp(fp_type(fs), i.rn)));
    }
    return true;
}

/// Towards zero, after scaling by 2^fbits. Hosts have no such instruction, but the scaling is exact and cannot overflow
/// when it is done in double precision, or only to values that fit when unscaled.
Ref SimdLifter::fp_to_fixed(bool is_unsigned, Type to, unsigned fs, unsigned fbits, Ref a) {
    const Op op = is_unsigned ? Op::kFToU : Op::kFToS;
    if (fs == 1 || fbits == 0) return b_.emit(op, to, sub(Round::kZero), a, kNoRef, kNoRef, fbits);
    const Ref scale = b_.imm(uint64_t{1023 + fbits} << 52, Type::kF64);
    if (fs == 2) {
        a = b_.emit(Op::kFMul, Type::kF64, 0, b_.emit(Op::kFCvt, Type::kF64, 0, a), scale);
    } else {
        const Ref magnitude = b_.shl_imm(b_.bitcast(Type::kI64, a), 1);
        const Ref too_big = b_.cmp(Cmp::kUge, magnitude, b_.imm(kTwoTo64 << 1));
        a = b_.emit(Op::kFMul, Type::kF64, 0, a, b_.select(too_big, b_.imm(kDoubleOne, Type::kF64), scale));
    }
    return b_.emit(op, to, sub(Round::kZero), a);
}

bool SimdLifter::fp_int(const FpInt& i) {
    const Type t = fp_type(fs_of(i.ftype));
    const bool is_unsigned = i.op & 1;
    if (i.op == 2 || i.op == 3) {
        set_fp(i.rd, b_.emit(is_unsigned ? Op::kUToF : Op::kSToF, t, 0, r(i.sf, i.rn)));
        return true;
    }
    const Round rounding = i.op >= 4 ? Round::kNearestAway : kRmode[i.rmode];
    set_r(i.sf, i.rd, b_.emit(is_unsigned ? Op::kFToU : Op::kFToS, i.sf ? Type::kI64 : Type::kI32, sub(rounding), fp(t, i.rn)));
    return true;
}

bool SimdLifter::fp_mov_gpr(const FpMovGpr& i) {
    const bool to_fp = i.op & 1;
    if (i.ftype == 2) {  // the upper half
        if (to_fp) set_v(i.rd, b_.emit(Op::kVIns, Type::kV128, int_elem(3), v(i.rd), x(i.rn), kNoRef, 1));
        else set_x(i.rd, lane(Type::kI64, v(i.rn), 3, 1));
        return true;
    }
    const Type t = fp_type(fs_of(i.ftype));
    if (to_fp) {
        set_fp(i.rd, b_.bitcast(t, t == Type::kF64 ? x(i.rn) : w(i.rn)));
    } else {
        const Ref value = b_.bitcast(t == Type::kF64 ? Type::kI64 : Type::kI32, fp(t, i.rn));
        if (t == Type::kF64) set_x(i.rd, value);
        else set_w(i.rd, value);
    }
    return true;
}

bool SimdLifter::fjcvtzs(const Fjcvtzs& i) {
    const Ref result = b_.vcall(kHelper_fjcvtzs, 0, fp_operand(8, i.rn));  // the integer, then NZCV
    set_w(i.rd, lane(Type::kI32, result, 2, 0));
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, lane(Type::kI32, result, 2, 1)));
    return true;
}

bool SimdLifter::fp_1src(const Fp1src& i) {
    const unsigned fs = fs_of(i.ftype);
    const Type t = fp_type(fs);
    const Ref a = fp(t, i.rn);
    const auto round = [&](unsigned mode) { return b_.emit(Op::kFRound, t, static_cast<uint8_t>(mode), a); };
    switch (i.op) {
        case 0: set_fp(i.rd, a); break;
        case 1: set_fp(i.rd, b_.un(Op::kFAbs, a)); break;
        case 2: set_fp(i.rd, b_.un(Op::kFNeg, a)); break;
        case 3: set_fp(i.rd, b_.un(Op::kFSqrt, a)); break;
        case 8: case 9: case 10: case 11: set_fp(i.rd, round(sub(kRmode[i.op & 3]))); break;
        case 12: set_fp(i.rd, round(sub(Round::kNearestAway))); break;
        case 14: set_fp(i.rd, round(sub(Round::kCur) | ir::kRoundInexact)); break;
        case 15: set_fp(i.rd, round(sub(Round::kCur))); break;
        default:  // FRINT32Z, FRINT32X, FRINT64Z, FRINT64X
            set_v(i.rd, b_.vcall(kHelper_fp_special, fs | simd_arg::lanes(1) | simd_arg::operation(simd_arg::kRint32Z + (i.op & 3u)), zext_fp(a)));
    }
    return true;
}

bool SimdLifter::fp_cvt(const FpCvt& i) {
    set_fp(i.rd, b_.emit(Op::kFCvt, fp_type(fs_of(i.to)), 0, fp(fp_type(fs_of(i.from)), i.rn)));
    return true;
}

bool SimdLifter::bfcvt(const Bfcvt& i) {
    set_v(i.rd, b_.vcall(kHelper_bfcvt, 1, fp_operand(4, i.rn)));
    return true;
}

bool SimdLifter::fp_cmp(const FpCmp& i) {
    const Type t = fp_type(fs_of(i.ftype));
    set_flags(b_.emit(Op::kFlFcmp, t, i.e ? ir::kFcmpSignal : uint8_t{0}, fp(t, i.rn), i.zero ? b_.imm(0, t) : fp(t, i.rm)));
    return true;
}

bool SimdLifter::fp_ccmp(const FpCcmp& i) {
    const Type t = fp_type(fs_of(i.ftype));
    const Ref holds = cond(i.cond);
    Ref a = fp(t, i.rn), b = fp(t, i.rm);
    if (i.cond < 14) {  // where the condition fails nothing is compared: no exception flags
        const Ref zero = b_.imm(0, t);
        a = b_.select(holds, a, zero);
        b = b_.select(holds, b, zero);
    }
    const Ref compared = b_.emit(Op::kFlFcmp, t, i.e ? ir::kFcmpSignal : uint8_t{0}, a, b);
    if (i.cond >= 14) {
        set_flags(compared);
        return true;
    }
    const Ref other = b_.emit(Op::kFlPack, Type::kFlags, 0, b_.imm32(uint32_t{i.nzcv} << 28));
    set_flags(b_.emit(Op::kFlSel, Type::kFlags, 0, holds, compared, other));
    return true;
}

bool SimdLifter::fp_csel(const FpCsel& i) {
    const Type t = fp_type(fs_of(i.ftype));
    set_fp(i.rd, i.cond >= 14 ? fp(t, i.rn) : b_.select(cond(i.cond), fp(t, i.rn), fp(t, i.rm)));
    return true;
}

bool SimdLifter::fp_mov_imm(const FpMovImm& i) {
    const unsigned fs = fs_of(i.ftype);
    set_v(i.rd, b_.vimm(expand_fp_imm(fs, i.imm8), 0));
    return true;
}

bool SimdLifter::fp_2src(const Fp2src& i) {
    const unsigned fs = fs_of(i.ftype);
    const Type t = fp_type(fs);
    const Ref a = fp(t, i.rn), b = fp(t, i.rm);
    constexpr auto kArm = static_cast<uint8_t>(MinMax::kArm), kNumber = static_cast<uint8_t>(MinMax::kNumber);
    const auto two = [&](Op op, uint8_t how = 0) { return b_.emit(op, t, how, a, b); };
    switch (i.op) {
        case 0: set_fp(i.rd, two(Op::kFMul)); break;
        case 1: set_fp(i.rd, two(Op::kFDiv)); break;
        case 2: set_fp(i.rd, two(Op::kFAdd)); break;
        case 3: set_fp(i.rd, two(Op::kFSub)); break;
        case 4: set_fp(i.rd, two(Op::kFMax, kArm)); break;
        case 5: set_fp(i.rd, two(Op::kFMin, kArm)); break;
        case 6: set_fp(i.rd, two(Op::kFMax, kNumber)); break;
        case 7: set_fp(i.rd, two(Op::kFMin, kNumber)); break;
        default: set_fp(i.rd, b_.un(Op::kFNeg, two(Op::kFMul)));  // FNMUL
    }
    return true;
}

/// FMADD a + n*m, FMSUB a - n*m, FNMADD -a - n*m, FNMSUB -a + n*m: kFMa negates n (1) and a (2).
bool SimdLifter::fp_3src(const Fp3src& i) {
    const Type t = fp_type(fs_of(i.ftype));
    const bool negate_product = i.o1 != i.o0, negate_addend = i.o1;
    set_fp(i.rd, b_.emit(Op::kFMa, t, static_cast<uint8_t>(negate_product | negate_addend << 1), fp(t, i.rn), fp(t, i.rm),
                         fp(t, i.ra)));
    return true;
}

}  // namespace myna::guest::aarch64
