// Floating-point vectors: Arm ARM C4.1.96 "Advanced SIMD three same", "three same (FP16)", "two-register miscellaneous",
// "across lanes", "vector x indexed element", "three-register extension" and their scalar forms.
//
// Operands are cleared above the lanes that count, so that nothing there raises an exception. What SSE has no like of
// (FMULX, estimates and steps, FRINT32/64, FMLAL, round to odd) goes to helpers over softfp.
#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

using ir::FCmp;
using ir::MinMax;
using ir::Round;

namespace {

constexpr uint64_t imm(Round r) { return static_cast<uint64_t>(r); }
constexpr uint64_t kArmMinMax = static_cast<uint64_t>(MinMax::kArm), kNumberMinMax = static_cast<uint64_t>(MinMax::kNumber);
constexpr uint64_t kEqual = static_cast<uint64_t>(FCmp::kEq);
constexpr uint64_t kLess = static_cast<uint64_t>(FCmp::kLt) | ir::kFcmpSignal;
constexpr uint64_t kLessEqual = static_cast<uint64_t>(FCmp::kLe) | ir::kFcmpSignal;
constexpr uint64_t kOneBits[4] = {0, 0x3c00, 0x3f800000, 0x3ff0000000000000};

/// U:a:opcode<2:0> of "three same", floating point.
constexpr unsigned key(unsigned u, unsigned a, unsigned op) { return u << 4 | a << 3 | op; }

}  // namespace

Ref SimdLifter::fp_three_same(unsigned k, unsigned fs, unsigned bytes, Ref a, Ref b, unsigned rd) {
    const unsigned e = fp_elem(fs);
    const auto op = [&](Op o, Ref x, Ref y, uint64_t imm = 0) { return vop(o, e, x, y, kNoRef, imm); };
    const auto special = [&](unsigned which) {
        return b_.vcall(kHelper_fp_special, fs | simd_arg::lanes(bytes >> fs) | simd_arg::operation(which), a, b);
    };
    switch (k) {
        case key(0, 0, 0): return op(Op::kVFMax, a, b, kNumberMinMax);
        case key(0, 1, 0): return op(Op::kVFMin, a, b, kNumberMinMax);
        case key(0, 0, 1): return vop(Op::kVFMa, e, a, b, fp_operand(bytes, rd));
        case key(0, 1, 1): return vop(Op::kVFMa, e, a, b, fp_operand(bytes, rd), 1);
        case key(0, 0, 2): return op(Op::kVFAdd, a, b);
        case key(0, 1, 2): return op(Op::kVFSub, a, b);
        case key(0, 0, 3): return special(simd_arg::kMulx);
        case key(0, 0, 4): return op(Op::kVFCmp, a, b, kEqual);
        case key(0, 0, 6): return op(Op::kVFMax, a, b, kArmMinMax);
        case key(0, 1, 6): return op(Op::kVFMin, a, b, kArmMinMax);
        case key(0, 0, 7): return fs == 1 || b_.function().fp_exact ? special(simd_arg::kRecpS) : recip_step(false, fs, a, b);
        case key(0, 1, 7): return fs == 1 || b_.function().fp_exact ? special(simd_arg::kRsqrtS) : recip_step(true, fs, a, b);
        case key(1, 0, 0): return pairwise(Op::kVFMax, e, bytes, a, b, kNumberMinMax);
        case key(1, 1, 0): return pairwise(Op::kVFMin, e, bytes, a, b, kNumberMinMax);
        case key(1, 0, 2): {
            if (bytes == 8) a = b = low_halves(a, b);
            return op(Op::kVFAddp, a, b);
        }
        case key(1, 1, 2): return fp_abs(fs, op(Op::kVFSub, a, b));
        case key(1, 0, 3): return op(Op::kVFMul, a, b);
        case key(1, 0, 4): return op(Op::kVFCmp, b, a, kLessEqual);
        case key(1, 1, 4): return op(Op::kVFCmp, b, a, kLess);
        case key(1, 0, 5): return op(Op::kVFCmp, fp_abs(fs, b), fp_abs(fs, a), kLessEqual);
        case key(1, 1, 5): return op(Op::kVFCmp, fp_abs(fs, b), fp_abs(fs, a), kLess);
        case key(1, 0, 6): return pairwise(Op::kVFMax, e, bytes, a, b, kArmMinMax);
        case key(1, 1, 6): return pairwise(Op::kVFMin, e, bytes, a, b, kArmMinMax);
        default:  // FDIV; the lanes that do not count divide 0 by 1
            return op(Op::kVFDiv, a, bytes == 8 ? low_halves(b, vsplat(fs, kOneBits[fs])) : b);
    }
}

/// FRECPS 2 - a * b, FRSQRTS (3 - a * b) / 2, rounded once; infinity times zero counts as 0. FRSQRTS halves the greater
/// factor beforehand, in its exponent, unless both are tiny (then it does not matter) or one is infinite or a NaN.
Ref SimdLifter::recip_step(bool sqrt, unsigned fs, Ref a, Ref b) {
    const unsigned fraction = fs == 2 ? 23 : 52;
    const uint64_t infinity = (fs == 2 ? uint64_t{0xff} : uint64_t{0x7ff}) << fraction;
    const auto op = [&](Op o, Ref x, Ref y) { return vop(o, fs, x, y); };
    const Ref abs_a = fp_abs(fs, a), abs_b = fp_abs(fs, b);
    const Ref a_greater = op(Op::kVCmpGt, abs_a, abs_b);
    const Ref greater = select_lanes(a_greater, abs_a, abs_b), lesser = select_lanes(a_greater, abs_b, abs_a);
    const Ref inf_by_zero = vand(op(Op::kVCmpEq, greater, vsplat(fs, infinity)), op(Op::kVCmpEq, lesser, vzero()));
    if (sqrt) {
        const Ref halvable = vand(op(Op::kVCmpGt, greater, vsplat(fs, (uint64_t{2} << fraction) - 1)),
                                  op(Op::kVCmpGt, vsplat(fs, infinity), greater));
        const Ref one = vand(halvable, vsplat(fs, uint64_t{1} << fraction));
        a = op(Op::kVSub, a, vand(one, a_greater));
        b = op(Op::kVSub, b, vop(Op::kVAndN, 0, one, a_greater));
    }
    a = vop(Op::kVAndN, 0, a, inf_by_zero);
    b = vop(Op::kVAndN, 0, b, inf_by_zero);
    const uint64_t two = kOneBits[fs] + (uint64_t{1} << fraction), one_and_half = kOneBits[fs] | uint64_t{1} << (fraction - 1);
    return vop(Op::kVFMa, fp_elem(fs), a, b, vsplat(fs, sqrt ? one_and_half : two), 1);
}

/// FRINTA, and FCVTAS before its conversion: to nearest, ties away from zero. Values of 2^fraction bits and more (infinities
/// and NaNs too) are integral; below, the part cut off is exact and decides.
Ref SimdLifter::round_away(unsigned fs, bool inexact, Ref a) {
    const unsigned fraction = fs == 2 ? 23 : 52, bias = fs == 2 ? 127 : 1023, e = fp_elem(fs);
    const Ref sign = fp_sign(fs);
    const Ref integral = vop(Op::kVCmpGt, fs, fp_abs(fs, a), vsplat(fs, (uint64_t{bias + fraction} << fraction) - 1));
    const Ref cut = vop(Op::kVFRound, e, a, kNoRef, kNoRef, imm(Round::kZero) | (inexact ? ir::kRoundInexact : 0));
    const Ref small_cut = vop(Op::kVAndN, 0, cut, integral);
    const Ref rest = vop(Op::kVFSub, e, vop(Op::kVAndN, 0, a, integral), small_cut);
    const Ref at_least_half = vop(Op::kVCmpGt, fs, fp_abs(fs, rest), vsplat(fs, (uint64_t{bias - 1} << fraction) - 1));
    const Ref away = vop(Op::kVFAdd, e, small_cut, vor(vsplat(fs, kOneBits[fs]), vand(a, sign)));
    return select_lanes(at_least_half, away, cut);
}

bool SimdLifter::v3f(const V3f& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, fp_three_same(key(i.u, i.a, i.op), i.fs, bytes, fp_operand(bytes, i.rn), fp_operand(bytes, i.rm), i.rd));
    return true;
}

bool SimdLifter::s3f(const S3f& i) {
    const unsigned bytes = 1u << i.fs;
    set_low(bytes, i.rd, fp_three_same(key(i.u, i.a, i.op), i.fs, bytes, fp_operand(bytes, i.rn), fp_operand(bytes, i.rm), i.rd));
    return true;
}

bool SimdLifter::vxf(const Vxf& i) {
    const unsigned bytes = i.q ? 16 : 8;
    const Ref a = fp_operand(bytes, i.rn), e = low_bytes(bytes, dup_element(i.fs, element(i.fs, i.hlm, i.rm5)));
    const unsigned k = i.op == 1 ? key(0, 0, 1) : i.op == 5 ? key(0, 1, 1) : i.u ? key(0, 0, 3) : key(1, 0, 3);
    set_low(bytes, i.rd, fp_three_same(k, i.fs, bytes, a, e, i.rd));
    return true;
}

bool SimdLifter::sxf(const Sxf& i) {
    const Type t = fp_type(i.fs);
    const Element m = element(i.fs, i.hlm, i.rm5);
    const Ref a = fp(t, i.rn), e = m.lane ? fp_lane(i.fs, v(m.reg), m.lane) : fp(t, m.reg);
    if (i.op == 9 && i.u) {
        set_low(1u << i.fs, i.rd, fp_three_same(key(0, 0, 3), i.fs, 1u << i.fs, zext_fp(a), zext_fp(e), i.rd));
    } else if (i.op == 9) {
        set_fp(i.rd, fp_scalar_two(Op::kFMul, i.fs, a, e));
    } else {
        set_fp(i.rd, b_.emit(Op::kFMa, t, i.op == 5, a, e, fp(t, i.rd)));
    }
    return true;
}

// ---- two-register miscellaneous

/// Conversion between integers and FP of the same width; to integers towards zero. fbits: fraction bits.
Ref SimdLifter::fp_convert_int(bool is_unsigned, bool to_fp, unsigned fs, unsigned bytes, unsigned fbits, Ref a) {
    const uint64_t scale = uint64_t{fbits} << 8;
    if (bytes == 8 && fs == 3) {  // one lane: hosts convert 64-bit integers in general registers
        if (to_fp) {
            const Ref from = lane(Type::kI64, a, 3, 0);
            return zext_fp(b_.emit(is_unsigned ? Op::kUToF : Op::kSToF, Type::kF64, 0, from, kNoRef, kNoRef, fbits));
        }
        const Ref value = fp_to_fixed(is_unsigned, Type::kI64, fs, fbits, b_.emit(Op::kVLow, Type::kF64, 0, a));
        return zext_fp(b_.bitcast(Type::kF64, value));
    }
    if (to_fp) return vop(is_unsigned ? Op::kVUToF : Op::kVSToF, fp_elem(fs), a, kNoRef, kNoRef, scale);
    const Op op = is_unsigned ? Op::kVFToU : Op::kVFToS;
    if (fbits == 0 || fs == 1) return vop(op, fp_elem(fs), a, kNoRef, kNoRef, imm(Round::kZero) | scale);
    // Scaled first, but for lanes that are out of range already: those could overflow.
    const unsigned bits = 8u << fs, fraction = fs == 2 ? 23 : 52, bias = fs == 2 ? 127 : 1023;
    const auto power = [&](unsigned exponent) { return vsplat(fs, uint64_t{bias + exponent} << fraction); };
    const Ref too_big = vop(Op::kVCmpGt, fs, fp_abs(fs, a), power(bits));
    return vop(op, fp_elem(fs), vop(Op::kVFMul, fp_elem(fs), a, select_lanes(too_big, power(0), power(fbits))), kNoRef, kNoRef,
               imm(Round::kZero));
}

/// key: U:a:opcode (5 bits).
Ref SimdLifter::fp_two_reg(unsigned k, unsigned fs, unsigned bytes, Ref a) {
    const unsigned e = fp_elem(fs);
    constexpr unsigned kU = 0x40, kA = 0x20;
    const auto op = [&](Op o, uint64_t im = 0) { return vop(o, e, a, kNoRef, kNoRef, im); };
    const auto compare = [&](Ref x, Ref y, uint64_t how) { return vop(Op::kVFCmp, e, x, y, kNoRef, how); };
    const auto special = [&](unsigned which) {
        return b_.vcall(kHelper_fp_special, fs | simd_arg::lanes(bytes >> fs) | simd_arg::operation(which), a);
    };
    const auto to_int = [&](Round r) { return op(k & kU ? Op::kVFToU : Op::kVFToS, imm(r)); };
    switch (k) {
        case 0x18: return op(Op::kVFRound, imm(Round::kNearestEven));
        case kA | 0x18: return op(Op::kVFRound, imm(Round::kUp));
        case 0x19: return op(Op::kVFRound, imm(Round::kDown));
        case kA | 0x19: return op(Op::kVFRound, imm(Round::kZero));
        case kU | 0x18: return fs == 1 || b_.function().fp_exact ? op(Op::kVFRound, imm(Round::kNearestAway)) : round_away(fs, false, a);
        case kU | 0x19: return op(Op::kVFRound, imm(Round::kCur) | ir::kRoundInexact);
        case kU | kA | 0x19: return op(Op::kVFRound, imm(Round::kCur));
        case 0x1a: case kU | 0x1a: return to_int(Round::kNearestEven);
        case kA | 0x1a: case kU | kA | 0x1a: return to_int(Round::kUp);
        case 0x1b: case kU | 0x1b: return to_int(Round::kDown);
        case kA | 0x1b: case kU | kA | 0x1b: return fp_convert_int(k & kU, false, fs, bytes, 0, a);
        case kU | 0x1c: return to_int(Round::kNearestAway);
        case 0x1c:
            if (fs == 1 || b_.function().fp_exact) return to_int(Round::kNearestAway);
            return vop(Op::kVFToS, e, round_away(fs, true, a), kNoRef, kNoRef, imm(Round::kZero));
        case 0x1d: case kU | 0x1d: return fp_convert_int(k & kU, true, fs, bytes, 0, a);
        case kA | 0x0c: return compare(vzero(), a, kLess);                // FCMGT 0
        case kA | 0x0d: return compare(a, vzero(), kEqual);               // FCMEQ 0
        case kA | 0x0e: return compare(a, vzero(), kLess);                // FCMLT 0
        case kU | kA | 0x0c: return compare(vzero(), a, kLessEqual);      // FCMGE 0
        case kU | kA | 0x0d: return compare(a, vzero(), kLessEqual);      // FCMLE 0
        case kA | 0x0f: return fp_abs(fs, a);
        case kU | kA | 0x0f: return fp_neg(fs, a);
        case kU | kA | 0x1f: return op(Op::kVFSqrt);
        case kA | 0x1d: return special(simd_arg::kRecpE);
        case kU | kA | 0x1d: return special(simd_arg::kRsqrtE);
        case kA | 0x1f: return special(simd_arg::kRecpX);
        case 0x1e: return special(simd_arg::kRint32Z);
        case kU | 0x1e: return special(simd_arg::kRint32X);
        case 0x1f: return special(simd_arg::kRint64Z);
        default: return special(simd_arg::kRint64X);
    }
}

bool SimdLifter::v2f(const V2f& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, fp_two_reg(unsigned{i.u} << 6 | unsigned{i.a} << 5 | i.op, i.fs, bytes, fp_operand(bytes, i.rn)));
    return true;
}

bool SimdLifter::s2f(const S2f& i) {
    const unsigned bytes = 1u << i.fs;
    set_low(bytes, i.rd, fp_two_reg(unsigned{i.u} << 6 | unsigned{i.a} << 5 | i.op, i.fs, bytes, fp_operand(bytes, i.rn)));
    return true;
}

bool SimdLifter::fcvtl_v(const FcvtlV& i) {
    set_v(i.rd, vop(Op::kVFCvtL, fp_elem(i.sz + 1u), v(i.rn), kNoRef, kNoRef, i.q));
    return true;
}

bool SimdLifter::fcvtn_v(const FcvtnV& i) {
    set_half(i.q, i.rd, vop(Op::kVFCvtN, fp_elem(i.sz + 1u), v(i.rn)));
    return true;
}

bool SimdLifter::fcvtxn_v(const FcvtxnV& i) {
    set_half(i.q, i.rd, b_.vcall(kHelper_fcvtxn, 2, v(i.rn)));
    return true;
}

bool SimdLifter::fcvtxn_s(const FcvtxnS& i) {
    set_v(i.rd, b_.vcall(kHelper_fcvtxn, 1, v(i.rn)));
    return true;
}

bool SimdLifter::bfcvtn_v(const BfcvtnV& i) {
    set_half(i.q, i.rd, b_.vcall(kHelper_bfcvt, 4, v(i.rn)));
    return true;
}

// ---- across lanes and pairs; the order is the manual's tree, which decides between several NaNs

bool SimdLifter::vf_across(const VfAcross& i) {
    const Op vector_op = i.a ? Op::kVFMin : Op::kVFMax, scalar_op = i.a ? Op::kFMin : Op::kFMax;
    const uint64_t how = i.op == 0x0c ? kNumberMinMax : kArmMinMax;
    Ref a = v(i.rn);
    unsigned lanes = (i.q ? 16u : 8u) >> i.fs;
    for (; lanes > 2; lanes /= 2) {
        const Ref even = vop(Op::kVUzp1, i.fs, a, a), odd = vop(Op::kVUzp2, i.fs, a, a);
        a = vop(vector_op, fp_elem(i.fs), low_bytes(lanes << i.fs >> 1, even), low_bytes(lanes << i.fs >> 1, odd), kNoRef, how);
    }
    const Ref first = b_.emit(Op::kVLow, fp_type(i.fs), 0, a), second = fp_lane(i.fs, a, 1);
    set_fp(i.rd, fp_scalar_two(scalar_op, i.fs, first, second, static_cast<uint8_t>(how)));
    return true;
}

bool SimdLifter::s_pairwise(const SPairwise& i) {
    const Ref first = fp(fp_type(i.fs), i.rn), second = fp_lane(i.fs, v(i.rn), 1);
    switch (i.op) {
        case 0x0d: set_fp(i.rd, fp_scalar_two(Op::kFAdd, i.fs, first, second)); break;
        case 0x0c: set_fp(i.rd, fp_scalar_two(i.a ? Op::kFMin : Op::kFMax, i.fs, first, second, kNumberMinMax)); break;
        default: set_fp(i.rd, fp_scalar_two(i.a ? Op::kFMin : Op::kFMax, i.fs, first, second, kArmMinMax));
    }
    return true;
}

// ---- half precision and BFloat16 multiply-add, complex arithmetic

bool SimdLifter::v3_fmlal(const V3Fmlal& i) {
    const unsigned shift = i.hi ? (i.q ? 8 : 4) : 0;
    const auto half = [&](unsigned n) { return shift ? vop(Op::kVExt, 0, v(n), vzero(), kNoRef, shift) : v(n); };
    set_vq(i.q, i.rd, b_.vcall(kHelper_fmlal, simd_arg::lanes(i.q ? 4 : 2) | (i.s ? simd_arg::operation(1) : 0), half(i.rn),
                               half(i.rm), v(i.rd)));
    return true;
}

bool SimdLifter::vx_fmlal(const VxFmlal& i) {
    const unsigned shift = i.hi ? (i.q ? 8 : 4) : 0;
    const Ref n = shift ? vop(Op::kVExt, 0, v(i.rn), vzero(), kNoRef, shift) : v(i.rn);
    set_vq(i.q, i.rd, b_.vcall(kHelper_fmlal, simd_arg::lanes(i.q ? 4 : 2) | (i.s ? simd_arg::operation(1) : 0), n,
                               dup_element(1, element(1, i.hlm, i.rm5)), v(i.rd)));
    return true;
}

/// d + n' * m', where n' takes one half of each complex number twice, and m' is m, swapped and sign-changed by rot * 90.
Ref SimdLifter::fcmla(unsigned fs, unsigned bytes, unsigned rot, unsigned rn, Ref m, unsigned rd) {
    const unsigned e = fp_elem(fs);
    const Ref n = v(rn);
    const Ref factor = vop(rot & 1 ? Op::kVTrn2 : Op::kVTrn1, fs, n, n);
    if (rot & 1) m = vop(Op::kVRev, fs, m, kNoRef, kNoRef, 2u << fs);
    const uint64_t sign = uint64_t{1} << ((8u << fs) - 1);
    if (rot) {
        const bool even = rot == 1 || rot == 2, odd = rot == 2 || rot == 3;  // which lanes change sign
        uint64_t lo = 0, hi = 0;
        if (fs == 3) {
            lo = even ? sign : 0;
            hi = odd ? sign : 0;
        } else {
            const unsigned w = 8u << fs;
            lo = (even ? sign : 0) | (odd ? sign << w : 0);
            if (w == 16) lo |= lo << 32;
            hi = lo;
        }
        m = vxor(m, b_.vimm(lo, hi));
    }
    return vop(Op::kVFMa, e, low_bytes(bytes, factor), low_bytes(bytes, m), fp_operand(bytes, rd));
}

bool SimdLifter::v3_fcmla(const V3Fcmla& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, fcmla(i.size, bytes, i.rot, i.rn, v(i.rm), i.rd));
    return true;
}

bool SimdLifter::vx_fcmla(const VxFcmla& i) {
    const unsigned bytes = i.q ? 16 : 8;
    const unsigned index = i.size == 1 ? i.h << 1 | i.l : i.h;  // of a pair
    const Ref m = vop(Op::kVDupL, i.size + 1u, v(i.rm5), kNoRef, kNoRef, index);
    set_low(bytes, i.rd, fcmla(i.size, bytes, i.rot, i.rn, m, i.rd));
    return true;
}

/// rot 0: add m rotated by 90 degrees, 1: by 270.
bool SimdLifter::v3_fcadd(const V3Fcadd& i) {
    const unsigned bytes = i.q ? 16 : 8, w = 8u << i.size;
    Ref m = vop(Op::kVRev, i.size, v(i.rm), kNoRef, kNoRef, 2u << i.size);
    const uint64_t sign = uint64_t{1} << (w - 1);
    if (i.size == 3) {
        m = vxor(m, i.rot ? b_.vimm(0, sign) : b_.vimm(sign, 0));
    } else {
        const uint64_t pair = i.rot ? sign << w : sign, lo = w == 16 ? pair | pair << 32 : pair;
        m = vxor(m, b_.vimm(lo, lo));
    }
    set_low(bytes, i.rd, vop(Op::kVFAdd, fp_elem(i.size), fp_operand(bytes, i.rn), low_bytes(bytes, m)));
    return true;
}

bool SimdLifter::bfdot_v(const BfdotV& i) {
    set_vq(i.q, i.rd, b_.vcall(kHelper_bfdot, 0, v(i.rn), v(i.rm), v(i.rd)));
    return true;
}

bool SimdLifter::bfdot_x(const BfdotX& i) {
    set_vq(i.q, i.rd, b_.vcall(kHelper_bfdot, 0, v(i.rn), dup_element(2, element(2, i.hlm, i.rm5)), v(i.rd)));
    return true;
}

bool SimdLifter::bfmmla_v(const BfmmlaV& i) {
    set_v(i.rd, b_.vcall(kHelper_bfmmla, 0, v(i.rn), v(i.rm), v(i.rd)));
    return true;
}

/// BFMLALB, BFMLALT: a BFloat16 is the upper half of a single.
void SimdLifter::bfmlal(bool top, unsigned rd, unsigned rn, Ref m) {
    const Ref upper = vsplat(2, 0xffff0000);
    const auto widen = [&](Ref a) { return top ? vand(a, upper) : vop(Op::kVShlI, 2, a, kNoRef, kNoRef, 16); };
    set_v(rd, vop(Op::kVFMa, fp_elem(2), widen(v(rn)), m, v(rd)));
}

bool SimdLifter::bfmlal_v(const BfmlalV& i) {
    const Ref m = i.t ? vand(v(i.rm), vsplat(2, 0xffff0000)) : vop(Op::kVShlI, 2, v(i.rm), kNoRef, kNoRef, 16);
    bfmlal(i.t, i.rd, i.rn, m);
    return true;
}

bool SimdLifter::bfmlal_x(const BfmlalX& i) {
    const Ref m = vop(Op::kVShlI, 2, dup_element(1, element(1, i.hlm, i.rm5)), kNoRef, kNoRef, 16);
    bfmlal(i.t, i.rd, i.rn, m);
    return true;
}

}  // namespace myna::guest::aarch64
