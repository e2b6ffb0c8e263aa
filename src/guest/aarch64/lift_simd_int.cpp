// Integer vectors: Arm ARM C4.1.96 "Advanced SIMD three same", "two-register miscellaneous", "across lanes", "three
// different", "vector x indexed element" and their scalar forms.
//
// The lift functions of a class differ in operands only; the table from opcode to IR is in three_same, two_reg, narrow,
// mul_long. A key is U:opcode, as the manual's tables have it.
#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

// ---- what all SIMD files use

SimdLifter::Element SimdLifter::element(unsigned size, unsigned hlm, unsigned rm5) {
    switch (size) {
        case 1: return {rm5 & 15, hlm};
        case 2: return {rm5, hlm >> 1};
        default: return {rm5, hlm >> 2};
    }
}

Ref SimdLifter::vsplat(unsigned size, uint64_t value) {
    for (unsigned bits = 8u << size; bits < 64; bits *= 2) value = (value & ((uint64_t{1} << bits) - 1)) | value << bits;
    return b_.vimm(value, value);
}

Ref SimdLifter::low_bytes(unsigned bytes, Ref a) {
    switch (bytes) {
        case 1: return vand(a, b_.vimm(0xff, 0));
        case 2: return vand(a, b_.vimm(0xffff, 0));
        case 4: return zext_fp(b_.emit(Op::kVLow, Type::kF32, 0, a));
        case 8: return low_half(a);
        default: return a;
    }
}

void SimdLifter::set_half(bool hi, unsigned n, Ref narrow) {
    set_v(n, hi ? low_halves(v(n), narrow) : narrow);
}

void SimdLifter::set_qc(unsigned bytes, Ref changed) {
    b_.set(kQc, vor(b_.get(kQc), low_bytes(bytes, changed)));
}

Ref SimdLifter::saturate(unsigned bytes, Ref saturated, Ref wrapped) {
    set_qc(bytes, vxor(saturated, wrapped));
    return saturated;
}

/// A helper that computes a saturating operation; called again (arg bit 31) for the lanes that saturated.
Ref SimdLifter::helper_qc(unsigned helper, unsigned size, unsigned bytes, uint32_t arg, Ref a, Ref b, Ref c) {
    arg |= size;
    set_qc(bytes, b_.vcall(helper, arg | simd_arg::kWantSaturated, a, b, c));
    return b_.vcall(helper, arg, a, b, c);
}

/// Minimum or maximum of neighbours. Bytes and halves: each lane meets its neighbour within a wider lane, which then
/// holds the result with nothing around it, so that hosts narrow it by saturation in one instruction.
Ref SimdLifter::pairwise(Op op, unsigned e, unsigned bytes, Ref a, Ref b, uint64_t imm) {
    if (bytes == 8) a = b = low_halves(a, b);
    const bool narrow_int = e < 2;
    if (!narrow_int) {
        const unsigned lanes = e > 3 ? e - 3 : e;
        return vop(op, e, vop(Op::kVUzp1, lanes, a, b), vop(Op::kVUzp2, lanes, a, b), kNoRef, imm);
    }
    const unsigned bits = 8u << e, wide = e + 1;
    const auto meet = [&](Ref x) {
        if (op == Op::kVUmin) return vop(op, e, x, vop(Op::kVShrI, wide, x, kNoRef, kNoRef, bits));  // zeroes win above
        const Ref upper = vop(op, e, x, vop(Op::kVShlI, wide, x, kNoRef, kNoRef, bits));
        return vop(op == Op::kVUmax ? Op::kVShrI : Op::kVSarI, wide, upper, kNoRef, kNoRef, bits);
    };
    const bool is_unsigned = op == Op::kVUmin || op == Op::kVUmax;
    return vop(is_unsigned ? Op::kVSqxtun : Op::kVSqxtn, e, meet(a), meet(b));
}

// ---- three same

Ref SimdLifter::sqd_mul(unsigned size, unsigned bytes, Ref a, Ref b) {
    // Only MIN * MIN saturates.
    const Ref min = vsplat(size, uint64_t{1} << ((8u << size) - 1));
    set_qc(bytes, vand(vop(Op::kVCmpEq, size, a, min), vop(Op::kVCmpEq, size, b, min)));
    return vop(Op::kVSqdmulh, size, a, b);
}

/// SSHL, USHL, SRSHL, URSHL. Halves are shifted as words: hosts lack the shift of 16 bits. Rounding adds the last bit that a
/// shift to the right drops.
Ref SimdLifter::shift_by_lanes(bool is_unsigned, bool rounding, unsigned size, Ref a, Ref b) {
    const Op op = is_unsigned ? Op::kVUshl : Op::kVSshl;
    if (size == 1) {
        const auto part = [&](bool hi) {
            const Ref wide = vop(is_unsigned ? Op::kVUxtl : Op::kVSxtl, 1, a, kNoRef, kNoRef, hi);
            return shift_by_lanes(is_unsigned, rounding, 2, wide, vop(Op::kVSxtl, 1, b, kNoRef, kNoRef, hi));
        };
        return vop(Op::kVXtn, 1, part(false), part(true));
    }
    const Ref shifted = vop(op, size, a, b);
    if (!rounding) return shifted;
    const Ref one = vsplat(size, 1);
    const Ref dropped = vand(vop(op, size, a, vop(Op::kVAdd, size, b, one)), one);
    const Ref to_right = vop(Op::kVCmpGt, size, vzero(), vop(Op::kVShlI, size, b, kNoRef, kNoRef, (8u << size) - 8));
    return vop(Op::kVAdd, size, shifted, vand(dropped, to_right));
}

Ref SimdLifter::three_same(unsigned u_op, unsigned size, unsigned bytes, Ref a, Ref b, unsigned rd) {
    const auto op = [&](Op o, uint64_t imm = 0) { return vop(o, size, a, b, kNoRef, imm); };
    const auto shift = [&](uint32_t kind) { return b_.vcall(kHelper_simd_shift, size | kind, a, b); };
    const auto shift_sat = [&](uint32_t kind) { return helper_qc(kHelper_simd_shift, size, bytes, kind, a, b); };
    constexpr unsigned kU = 0x20;
    using namespace simd_arg;
    switch (u_op) {
        case 0x00: return op(Op::kVShadd);
        case kU | 0x00: return op(Op::kVUhadd);
        case 0x01: return saturate(bytes, op(Op::kVSqadd), op(Op::kVAdd));
        case kU | 0x01: return saturate(bytes, op(Op::kVUqadd), op(Op::kVAdd));
        case 0x02: return op(Op::kVShadd, 1);
        case kU | 0x02: return op(Op::kVUhadd, 1);
        case 0x04: return op(Op::kVShsub);
        case kU | 0x04: return op(Op::kVUhsub);
        case 0x05: return saturate(bytes, op(Op::kVSqsub), op(Op::kVSub));
        case kU | 0x05: return saturate(bytes, op(Op::kVUqsub), op(Op::kVSub));
        case 0x06: return op(Op::kVCmpGt);
        case kU | 0x06: return op(Op::kVCmpHi);
        case 0x07: return op(Op::kVCmpGe);
        case kU | 0x07: return op(Op::kVCmpHs);
        case 0x08: return shift_by_lanes(false, false, size, a, b);
        case kU | 0x08: return shift_by_lanes(true, false, size, a, b);
        case 0x09: return shift_sat(kSaturate);
        case kU | 0x09: return shift_sat(kSaturate | kUnsigned);
        case 0x0a: return size == 0 ? shift(kRound) : shift_by_lanes(false, true, size, a, b);
        case kU | 0x0a: return size == 0 ? shift(kRound | kUnsigned) : shift_by_lanes(true, true, size, a, b);
        case 0x0b: return shift_sat(kSaturate | kRound);
        case kU | 0x0b: return shift_sat(kSaturate | kRound | kUnsigned);
        case 0x0c: return op(Op::kVSmax);
        case kU | 0x0c: return op(Op::kVUmax);
        case 0x0d: return op(Op::kVSmin);
        case kU | 0x0d: return op(Op::kVUmin);
        case 0x0e: return op(Op::kVSabd);
        case kU | 0x0e: return op(Op::kVUabd);
        case 0x0f: return vop(Op::kVAdd, size, v(rd), op(Op::kVSabd));
        case kU | 0x0f: return vop(Op::kVAdd, size, v(rd), op(Op::kVUabd));
        case 0x10: return op(Op::kVAdd);
        case kU | 0x10: return op(Op::kVSub);
        case 0x11: return op(Op::kVTst);
        case kU | 0x11: return op(Op::kVCmpEq);
        case 0x12: return vop(Op::kVAdd, size, v(rd), op(Op::kVMul));
        case kU | 0x12: return vop(Op::kVSub, size, v(rd), op(Op::kVMul));
        case 0x13: return op(Op::kVMul);
        case kU | 0x13: return b_.vcall(kHelper_pmul8, 0, a, b);
        case 0x14: return pairwise(Op::kVSmax, size, bytes, a, b);
        case kU | 0x14: return pairwise(Op::kVUmax, size, bytes, a, b);
        case 0x15: return pairwise(Op::kVSmin, size, bytes, a, b);
        case kU | 0x15: return pairwise(Op::kVUmin, size, bytes, a, b);
        case 0x16: return sqd_mul(size, bytes, a, b);
        case kU | 0x16: sqd_mul(size, bytes, a, b); return op(Op::kVSqdmulh, 1);
        default: {  // ADDP
            if (bytes == 8) a = b = low_halves(a, b);
            return vop(Op::kVAddp, size, a, b);
        }
    }
}

bool SimdLifter::v3(const V3& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, three_same(unsigned{i.u} << 5 | i.op, i.size, bytes, v(i.rn), v(i.rm), i.rd));
    return true;
}

bool SimdLifter::s3(const S3& i) {
    const unsigned bytes = 1u << i.size;
    set_low(bytes, i.rd, three_same(unsigned{i.u} << 5 | i.op, i.size, bytes, v(i.rn), v(i.rm), i.rd));
    return true;
}

bool SimdLifter::v3_logic(const V3Logic& i) {
    const Ref n = v(i.rn), m = v(i.rm);
    Ref result;
    switch (i.u << 2 | i.op) {
        case 0: result = vand(n, m); break;
        case 1: result = vop(Op::kVAndN, 0, n, m); break;
        case 2: result = i.rn == i.rm ? n : vor(n, m); break;
        case 3: result = vor(n, vop(Op::kVNot, 0, m)); break;
        case 4: result = i.rn == i.rm ? vzero() : vxor(n, m); break;
        case 5: result = select_lanes(v(i.rd), n, m); break;  // BSL
        case 6: result = select_lanes(m, n, v(i.rd)); break;  // BIT
        default: result = select_lanes(m, v(i.rd), n);        // BIF
    }
    set_vq(i.q, i.rd, result);
    return true;
}

/// SQRDMLAH, SQRDMLSH: one rounding and one saturation over the whole, so not a sum of two operations.
Ref SimdLifter::sq_rdmulh_acc(bool subtract, unsigned size, unsigned bytes, Ref a, Ref b, unsigned rd) {
    return helper_qc(kHelper_sqrdmlah, size, bytes, subtract ? simd_arg::kSubtract : 0, a, b, v(rd));
}

bool SimdLifter::v3_rdm(const V3Rdm& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, sq_rdmulh_acc(i.s, i.size, bytes, v(i.rn), v(i.rm), i.rd));
    return true;
}

bool SimdLifter::s3_rdm(const S3Rdm& i) {
    const unsigned bytes = 1u << i.size;
    set_low(bytes, i.rd, sq_rdmulh_acc(i.s, i.size, bytes, v(i.rn), v(i.rm), i.rd));
    return true;
}

bool SimdLifter::v3_dot(const V3Dot& i) {
    const Op op = i.op == 3 ? Op::kVUsdot : i.u ? Op::kVUdot : Op::kVSdot;
    set_vq(i.q, i.rd, vop(op, 0, v(i.rd), v(i.rn), v(i.rm)));
    return true;
}

bool SimdLifter::vx_dot(const VxDot& i) {
    const Ref e = dup_element(2, element(2, i.hlm, i.rm5)), d = v(i.rd), n = v(i.rn);
    Ref result;
    if (i.op == 0xf) result = i.size ? vop(Op::kVUsdot, 0, d, n, e) : vop(Op::kVUsdot, 0, d, e, n);  // USDOT, SUDOT
    else result = vop(i.u ? Op::kVUdot : Op::kVSdot, 0, d, n, e);
    set_vq(i.q, i.rd, result);
    return true;
}

/// SMMLA, UMMLA, USMMLA: d[2x2] += n[2x8] * transposed m[2x8].
bool SimdLifter::v3_mmla(const V3Mmla& i) {
    const Op op = i.op == 5 ? Op::kVUsdot : i.u ? Op::kVUdot : Op::kVSdot;
    const Ref n = v(i.rn), m = v(i.rm);
    const Ref row0 = vop(op, 0, vzero(), vop(Op::kVDupL, 3, n, kNoRef, kNoRef, 0), m);
    const Ref row1 = vop(op, 0, vzero(), vop(Op::kVDupL, 3, n, kNoRef, kNoRef, 1), m);
    set_v(i.rd, vop(Op::kVAdd, 2, v(i.rd), vop(Op::kVAddp, 2, row0, row1)));
    return true;
}

// ---- two-register miscellaneous

/// SADDLP, UADDLP: sums of neighbouring lanes in double width.
Ref SimdLifter::add_pairs_long(bool is_unsigned, unsigned size, Ref a) {
    const unsigned bits = 8u << size, wide = size + 1;
    if (is_unsigned) {
        return vop(Op::kVAdd, wide, vand(a, vsplat(wide, (uint64_t{1} << bits) - 1)), vop(Op::kVShrI, wide, a, kNoRef, kNoRef, bits));
    }
    if (size == 2) {  // hosts lack an arithmetic 64-bit shift
        return vop(Op::kVAdd, wide, vop(Op::kVSxtl, size, vop(Op::kVUzp1, size, a, a)), vop(Op::kVSxtl, size, vop(Op::kVUzp2, size, a, a)));
    }
    const Ref even = vop(Op::kVSarI, wide, vop(Op::kVShlI, wide, a, kNoRef, kNoRef, bits), kNoRef, kNoRef, bits);
    return vop(Op::kVAdd, wide, even, vop(Op::kVSarI, wide, a, kNoRef, kNoRef, bits));
}

/// RBIT: bits of each byte reversed, by two nibble tables.
Ref SimdLifter::reverse_bits(Ref a) {
    const Ref nibble = vsplat(0, 0x0f);
    const Ref to_high = b_.vimm(0xe060a020c0408000, 0xf070b030d0509010);
    const Ref to_low = b_.vimm(0x0e060a020c040800, 0x0f070b030d050901);
    const Ref low = vand(a, nibble), high = vand(vop(Op::kVShrI, 1, a, kNoRef, kNoRef, 4), nibble);
    return vor(vop(Op::kVTbl, 0, to_high, low), vop(Op::kVTbl, 0, to_low, high));
}

/// CLZ: by a table of nibbles, then from halves to wholes: the lower half counts where the upper one is all zeroes.
Ref SimdLifter::leading_zeroes(unsigned size, Ref a) {
    const Ref nibble = vsplat(0, 0x0f), table = b_.vimm(0x0101010102020304, 0);
    const Ref high = vand(vop(Op::kVShrI, 1, a, kNoRef, kNoRef, 4), nibble);
    const Ref low_count = vand(vop(Op::kVTbl, 0, table, vand(a, nibble)), vop(Op::kVCmpEq, 0, high, vzero()));
    Ref count = vop(Op::kVAdd, 0, vop(Op::kVTbl, 0, table, high), low_count);
    for (unsigned s = 1; s <= size; ++s) {
        const unsigned half = 4u << s;
        const Ref upper = vop(Op::kVShrI, s, count, kNoRef, kNoRef, half);
        const Ref lower = vand(count, vsplat(s, (uint64_t{1} << half) - 1));
        count = vop(Op::kVAdd, s, upper, vand(lower, vop(Op::kVCmpEq, s, upper, vsplat(s, half))));
    }
    return count;
}

Ref SimdLifter::two_reg(unsigned u_op, unsigned size, unsigned bytes, Ref a, unsigned rd) {
    const auto op = [&](Op o, Ref x, Ref y) { return vop(o, size, x, y); };
    const auto rev = [&](unsigned container) { return vop(Op::kVRev, size, a, kNoRef, kNoRef, container); };
    const unsigned bits = 8u << size;
    constexpr unsigned kU = 0x20;
    switch (u_op) {
        case 0x00: return rev(8);
        case kU | 0x00: return rev(4);
        case 0x01: return rev(2);
        case 0x02: return add_pairs_long(false, size, a);
        case kU | 0x02: return add_pairs_long(true, size, a);
        case 0x06: return vop(Op::kVAdd, size + 1, v(rd), add_pairs_long(false, size, a));
        case kU | 0x06: return vop(Op::kVAdd, size + 1, v(rd), add_pairs_long(true, size, a));
        case 0x03: return helper_qc(kHelper_suqadd, size, bytes, 0, a, v(rd));
        case kU | 0x03: return helper_qc(kHelper_suqadd, size, bytes, simd_arg::kUnsigned, a, v(rd));
        case 0x04: {  // CLS
            const Ref sign = vop(Op::kVSarI, size, a, kNoRef, kNoRef, bits - 1);
            return op(Op::kVAdd, leading_zeroes(size, vxor(a, sign)), vsplat(size, ~uint64_t{0}));
        }
        case kU | 0x04: return leading_zeroes(size, a);
        case 0x05: return vop(Op::kVCnt, 0, a);
        case kU | 0x05: return size ? reverse_bits(a) : vop(Op::kVNot, 0, a);
        case 0x07: {  // SQABS
            const Ref wrapped = vop(Op::kVAbs, size, a);
            const Ref min = vsplat(size, uint64_t{1} << (bits - 1));
            return saturate(bytes, vxor(wrapped, op(Op::kVCmpEq, wrapped, min)), wrapped);
        }
        case kU | 0x07: return saturate(bytes, op(Op::kVSqsub, vzero(), a), vop(Op::kVNeg, size, a));
        case 0x08: return op(Op::kVCmpGt, a, vzero());
        case kU | 0x08: return op(Op::kVCmpGe, a, vzero());
        case 0x09: return op(Op::kVCmpEq, a, vzero());
        case kU | 0x09: return op(Op::kVCmpGe, vzero(), a);
        case 0x0a: return op(Op::kVCmpGt, vzero(), a);
        case 0x0b: return vop(Op::kVAbs, size, a);
        default: return vop(Op::kVNeg, size, a);
    }
}

bool SimdLifter::v2(const V2& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, two_reg(unsigned{i.u} << 5 | i.op, i.size, bytes, v(i.rn), i.rd));
    return true;
}

bool SimdLifter::s2(const S2& i) {
    const unsigned bytes = 1u << i.size;
    set_low(bytes, i.rd, two_reg(unsigned{i.u} << 5 | i.op, i.size, bytes, v(i.rn), i.rd));
    return true;
}

/// XTN, SQXTN, UQXTN, SQXTUN of `a`'s lanes to `size`; the result's upper half is zero. With `before`, a narrowed vector
/// by the same operation, one instruction makes both halves. `fits`: the lanes have zeroes above the narrow size.
Ref SimdLifter::narrow(unsigned u_op, unsigned size, unsigned bytes, Ref a, Ref before, bool fits) {
    Op op;
    switch (u_op) {
        case 0x12: op = fits && size < 2 ? Op::kVSqxtun : Op::kVXtn; break;  // saturating is one host instruction, truncating two
        case 0x14: op = Op::kVSqxtn; break;
        case 0x34: op = Op::kVUqxtn; break;
        default: op = Op::kVSqxtun;
    }
    const Ref result = vop(op, size, a, vzero());
    if (u_op != 0x12) {
        const Ref back = vop(op == Op::kVSqxtn ? Op::kVSxtl : Op::kVUxtl, size, result);
        set_qc(bytes, vxor(back, a));
    }
    if (before == kNoRef) return result;
    const ir::Inst low = b_.inst(before);
    if (low.op == op && low.sub == size && low.b == vzero()) return vop(op, size, low.a, a);
    return low_halves(before, result);
}

bool SimdLifter::v2_narrow(const V2Narrow& i) {
    set_v(i.rd, narrow(unsigned{i.u} << 5 | i.op, i.size, kAllBytes, v(i.rn), i.q ? v(i.rd) : kNoRef));
    return true;
}

bool SimdLifter::s2_narrow(const S2Narrow& i) {
    set_low(1u << i.size, i.rd, narrow(unsigned{i.u} << 5 | i.op, i.size, 2u << i.size, v(i.rn)));
    return true;
}

bool SimdLifter::shll_v(const ShllV& i) {
    const Ref wide = vop(Op::kVUxtl, i.size, v(i.rn), kNoRef, kNoRef, i.q);
    set_v(i.rd, vop(Op::kVShlI, i.size + 1u, wide, kNoRef, kNoRef, 8u << i.size));
    return true;
}

/// URECPE, URSQRTE.
bool SimdLifter::v2_est(const V2Est& i) {
    set_vq(i.q, i.rd, b_.vcall(kHelper_int_estimate, i.u, v(i.rn)));
    return true;
}

// ---- across lanes

bool SimdLifter::v_across(const VAcross& i) {
    const unsigned bytes = i.q ? 16 : 8;
    Ref a = v(i.rn);
    unsigned size = i.size;
    Op op;
    switch (unsigned{i.u} << 5 | i.op) {
        case 0x03: case 0x23: op = Op::kVAdd; break;  // SADDLV, UADDLV
        case 0x0a: op = Op::kVSmax; break;
        case 0x2a: op = Op::kVUmax; break;
        case 0x1a: op = Op::kVSmin; break;
        case 0x3a: op = Op::kVUmin; break;
        default: op = Op::kVAdd;
    }
    const ir::Inst& source = b_.inst(a);
    const bool adds = op == Op::kVAdd && (i.u || i.op == 0x1b);
    if (adds && size == 0 && !i.q && source.op == Op::kVZext && b_.inst(source.a).op == Op::kVLow &&
        b_.inst(b_.inst(source.a).a).op == Op::kVCnt) {
        // CNT and ADDV of 8 bytes: how compilers count the bits of a general register.
        const Ref bits = lane(Type::kI64, b_.inst(b_.inst(source.a).a).a, 3, 0);
        set_fp(i.rd, b_.bitcast(Type::kF64, b_.un(Op::kPopcnt, bits)));
        return true;
    }
    if (i.op == 0x03) {
        a = add_pairs_long(i.u, size, a);
        ++size;
    }
    for (unsigned n = bytes / 2; n >= 1u << size; n /= 2) a = vop(op, size, a, vop(Op::kVExt, 0, a, a, kNoRef, n));
    set_low(1u << size, i.rd, a);
    return true;
}

bool SimdLifter::addp_s(const AddpS& i) {
    const Ref a = v(i.rn);
    set_low(8, i.rd, vop(Op::kVAdd, 3, a, vop(Op::kVExt, 0, a, a, kNoRef, 8)));
    return true;
}

// ---- three different

/// SQDMULL (0xd), SQDMLAL (0x9), SQDMLSL (0xb); rd is the accumulator.
Ref SimdLifter::sqd_mull(unsigned op, unsigned size, unsigned bytes, bool hi, Ref a, Ref b, unsigned rd) {
    const unsigned wide = size + 1;
    const Ref half = vop(Op::kVSmull, size, a, b, kNoRef, hi);
    const Ref product = saturate(bytes, vop(Op::kVSqadd, wide, half, half), vop(Op::kVAdd, wide, half, half));
    if (op == 0xd) return product;
    const bool subtract = op == 0xb;
    return saturate(bytes, vop(subtract ? Op::kVSqsub : Op::kVSqadd, wide, v(rd), product),
                    vop(subtract ? Op::kVSub : Op::kVAdd, wide, v(rd), product));
}

/// MULL, MLAL, MLSL by U:opcode of "three different".
Ref SimdLifter::mul_long(unsigned u_op, unsigned size, bool hi, Ref a, Ref b, unsigned rd) {
    const Ref product = vop(u_op & 0x10 ? Op::kVUmull : Op::kVSmull, size, a, b, kNoRef, hi);
    switch (u_op & 15) {
        case 0x8: return vop(Op::kVAdd, size + 1, v(rd), product);
        case 0xa: return vop(Op::kVSub, size + 1, v(rd), product);
        default: return product;
    }
}

bool SimdLifter::v3_long(const V3Long& i) {
    const Ref a = v(i.rn), b = v(i.rm);
    const unsigned wide = i.size + 1u;
    const auto extend = [&](Ref x) { return vop(i.u ? Op::kVUxtl : Op::kVSxtl, i.size, x, kNoRef, kNoRef, i.q); };
    const auto distance = [&] {
        return vop(Op::kVUxtl, i.size, vop(i.u ? Op::kVUabd : Op::kVSabd, i.size, a, b), kNoRef, kNoRef, i.q);
    };
    Ref result;
    switch (i.op) {
        case 0x0: result = vop(Op::kVAdd, wide, extend(a), extend(b)); break;
        case 0x2: result = vop(Op::kVSub, wide, extend(a), extend(b)); break;
        case 0x5: result = vop(Op::kVAdd, wide, v(i.rd), distance()); break;
        case 0x7: result = distance(); break;
        case 0x9: case 0xb: case 0xd: result = sqd_mull(i.op, i.size, kAllBytes, i.q, a, b, i.rd); break;
        default: result = mul_long(unsigned{i.u} << 4 | i.op, i.size, i.q, a, b, i.rd);
    }
    set_v(i.rd, result);
    return true;
}

bool SimdLifter::s3_long(const S3Long& i) {
    const unsigned bytes = 2u << i.size;
    set_low(bytes, i.rd, sqd_mull(i.op, i.size, bytes, false, v(i.rn), v(i.rm), i.rd));
    return true;
}

bool SimdLifter::v3_wide(const V3Wide& i) {
    const Ref b = vop(i.u ? Op::kVUxtl : Op::kVSxtl, i.size, v(i.rm), kNoRef, kNoRef, i.q);
    set_v(i.rd, vop(i.op == 1 ? Op::kVAdd : Op::kVSub, i.size + 1u, v(i.rn), b));
    return true;
}

/// ADDHN, SUBHN and, with U, their rounding forms.
bool SimdLifter::v3_narrow(const V3Narrow& i) {
    const unsigned wide = i.size + 1u, bits = 8u << i.size;
    Ref sum = vop(i.op == 4 ? Op::kVAdd : Op::kVSub, wide, v(i.rn), v(i.rm));
    if (i.u) sum = vop(Op::kVAdd, wide, sum, vsplat(wide, uint64_t{1} << (bits - 1)));
    const Ref high = vop(Op::kVShrI, wide, sum, kNoRef, kNoRef, bits);
    set_v(i.rd, narrow(0x12, i.size, kAllBytes, high, i.q ? v(i.rd) : kNoRef, true));
    return true;
}

bool SimdLifter::v_pmull(const VPmull& i) {
    const Ref a = v(i.rn), b = v(i.rm);
    set_v(i.rd, i.size == 3 ? vop(Op::kVPmull64, 3, a, b, kNoRef, i.q) : b_.vcall(kHelper_pmull8, i.q, a, b));
    return true;
}

// ---- by element

bool SimdLifter::vx(const Vx& i) {
    const unsigned bytes = i.q ? 16 : 8;
    const Ref a = v(i.rn), e = dup_element(i.size, element(i.size, i.hlm, i.rm5));
    Ref result;
    switch (unsigned{i.u} << 4 | i.op) {
        case 0x08: result = three_same(0x13, i.size, bytes, a, e, i.rd); break;               // MUL
        case 0x10: result = three_same(0x12, i.size, bytes, a, e, i.rd); break;               // MLA
        case 0x14: result = three_same(0x32, i.size, bytes, a, e, i.rd); break;               // MLS
        case 0x0c: result = three_same(0x16, i.size, bytes, a, e, i.rd); break;               // SQDMULH
        case 0x0d: result = three_same(0x36, i.size, bytes, a, e, i.rd); break;               // SQRDMULH
        default: result = sq_rdmulh_acc(i.op == 0xf, i.size, bytes, a, e, i.rd);              // SQRDMLAH, SQRDMLSH
    }
    set_low(bytes, i.rd, result);
    return true;
}

bool SimdLifter::sx(const Sx& i) {
    const unsigned bytes = 1u << i.size;
    const Ref a = v(i.rn), e = dup_element(i.size, element(i.size, i.hlm, i.rm5));
    Ref result;
    switch (unsigned{i.u} << 4 | i.op) {
        case 0x0c: result = three_same(0x16, i.size, bytes, a, e, i.rd); break;
        case 0x0d: result = three_same(0x36, i.size, bytes, a, e, i.rd); break;
        default: result = sq_rdmulh_acc(i.op == 0xf, i.size, bytes, a, e, i.rd);
    }
    set_low(bytes, i.rd, result);
    return true;
}

bool SimdLifter::vx_long(const VxLong& i) {
    const Ref a = v(i.rn), e = dup_element(i.size, element(i.size, i.hlm, i.rm5));
    Ref result;
    switch (i.op) {
        case 0x3: result = sqd_mull(0x9, i.size, kAllBytes, i.q, a, e, i.rd); break;
        case 0x7: result = sqd_mull(0xb, i.size, kAllBytes, i.q, a, e, i.rd); break;
        case 0xb: result = sqd_mull(0xd, i.size, kAllBytes, i.q, a, e, i.rd); break;
        case 0x2: result = mul_long(unsigned{i.u} << 4 | 0x8, i.size, i.q, a, e, i.rd); break;
        case 0x6: result = mul_long(unsigned{i.u} << 4 | 0xa, i.size, i.q, a, e, i.rd); break;
        default: result = mul_long(unsigned{i.u} << 4 | 0xc, i.size, i.q, a, e, i.rd);
    }
    set_v(i.rd, result);
    return true;
}

bool SimdLifter::sx_long(const SxLong& i) {
    const unsigned bytes = 2u << i.size;
    const Ref a = v(i.rn), e = dup_element(i.size, element(i.size, i.hlm, i.rm5));
    set_low(bytes, i.rd, sqd_mull(i.op == 0x3 ? 0x9 : i.op == 0x7 ? 0xb : 0xd, i.size, bytes, false, a, e, i.rd));
    return true;
}

}  // namespace myna::guest::aarch64
