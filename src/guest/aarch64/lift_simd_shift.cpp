// Shifts by immediate: Arm ARM C4.1.96 "Advanced SIMD shift by immediate" and "scalar shift by immediate". The element
// size is the highest set bit of immh; a right shift is by 2 * esize - immh:immb, a left shift by immh:immb - esize.
#include <bit>

#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

namespace {

constexpr unsigned size_of(unsigned immhb) { return static_cast<unsigned>(std::bit_width(immhb >> 3)) - 1; }
constexpr unsigned right_shift(unsigned immhb) { return (16u << size_of(immhb)) - immhb; }
constexpr unsigned left_shift(unsigned immhb) { return immhb - (8u << size_of(immhb)); }

}  // namespace

/// a >> n of each lane. Rounding adds the last bit shifted out, which cannot overflow.
Ref SimdLifter::shift_right(bool is_unsigned, bool rounding, unsigned size, unsigned n, Ref a) {
    const Op op = is_unsigned ? Op::kVShrI : Op::kVSarI;
    const Ref shifted = vop(op, size, a, kNoRef, kNoRef, n);
    if (!rounding) return shifted;
    const Ref last_bit = vand(vop(Op::kVShrI, size, a, kNoRef, kNoRef, n - 1), vsplat(size, 1));
    return vop(Op::kVAdd, size, shifted, last_bit);
}

Ref SimdLifter::shift_imm(unsigned u_op, unsigned immhb, unsigned bytes, Ref a, unsigned rd) {
    const unsigned size = size_of(immhb), bits = 8u << size;
    const uint64_t ones = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    const unsigned right = right_shift(immhb), left = left_shift(immhb);
    const bool u = u_op & 0x20;
    const auto imm = [&](Op op, Ref x, unsigned n) { return vop(op, size, x, kNoRef, kNoRef, n); };
    switch (u_op & 0x1f) {
        case 0x00: return shift_right(u, false, size, right, a);                                 // SSHR, USHR
        case 0x02: return vop(Op::kVAdd, size, v(rd), shift_right(u, false, size, right, a));    // SSRA, USRA
        case 0x04: return shift_right(u, true, size, right, a);                                  // SRSHR, URSHR
        case 0x06: return vop(Op::kVAdd, size, v(rd), shift_right(u, true, size, right, a));     // SRSRA, URSRA
        case 0x08: {                                                                             // SRI
            if (right == bits) return v(rd);
            return vor(imm(Op::kVShrI, a, right), vand(v(rd), vsplat(size, ~(ones >> right))));
        }
        case 0x0a: {
            const Ref shifted = imm(Op::kVShlI, a, left);
            if (!u || left == 0) return shifted;                                                 // SHL
            return vor(shifted, vand(v(rd), vsplat(size, (uint64_t{1} << left) - 1)));           // SLI
        }
        case 0x0c: {  // SQSHLU: negative gives 0, too big all ones
            const Ref shifted = imm(Op::kVShlI, a, left);
            const Ref fits = vop(Op::kVCmpEq, size, imm(Op::kVShrI, shifted, left), a);
            const Ref negative = vop(Op::kVCmpGt, size, vzero(), a);
            set_qc(bytes, vor(vop(Op::kVNot, 0, fits), negative));
            return vop(Op::kVAndN, 0, vor(shifted, vop(Op::kVNot, 0, fits)), negative);
        }
        default: {  // SQSHL, UQSHL
            const Ref shifted = imm(Op::kVShlI, a, left);
            if (left == 0) return shifted;
            const Ref fits = vop(Op::kVCmpEq, size, imm(u ? Op::kVShrI : Op::kVSarI, shifted, left), a);
            const Ref overflow = vop(Op::kVNot, 0, fits);
            set_qc(bytes, overflow);
            if (u) return vor(shifted, overflow);
            const Ref limit = vxor(imm(Op::kVSarI, a, bits - 1), vsplat(size, ones >> 1));
            return select_lanes(fits, shifted, limit);
        }
    }
}

bool SimdLifter::v_shift(const VShift& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, shift_imm(unsigned{i.u} << 5 | i.op, i.immhb, bytes, v(i.rn), i.rd));
    return true;
}

bool SimdLifter::s_shift(const SShift& i) {
    const unsigned bytes = 1u << size_of(i.immhb);
    set_low(bytes, i.rd, shift_imm(unsigned{i.u} << 5 | i.op, i.immhb, bytes, v(i.rn), i.rd));
    return true;
}

/// SHRN, RSHRN and the saturating ones; `bytes` of the source count. Gives the shifted wide lanes' narrowing key too.
Ref SimdLifter::shift_narrow(unsigned u_op, unsigned immhb, unsigned bytes, Ref a) {
    const unsigned size = size_of(immhb) + 1, n = right_shift(immhb);
    const bool logical = u_op == 0x10 || u_op == 0x11 || (u_op & 0x32) == 0x32;
    return shift_right(logical, u_op & 1, size, n, a);
}

namespace {

/// The narrowing (XTN, SQXTN, UQXTN, SQXTUN by U:opcode) behind a narrowing shift's U:opcode.
constexpr unsigned narrowing_of(unsigned u_op) {
    switch (u_op & 0x3e) {
        case 0x10: return 0x12;   // SHRN, RSHRN
        case 0x12: return 0x14;   // SQSHRN, SQRSHRN
        case 0x32: return 0x34;   // UQSHRN, UQRSHRN
        default: return 0x32;     // SQSHRUN, SQRSHRUN
    }
}

}  // namespace

bool SimdLifter::v_shift_narrow(const VShiftNarrow& i) {
    const unsigned u_op = unsigned{i.u} << 5 | i.op;
    const Ref shifted = shift_narrow(u_op, i.immhb, kAllBytes, v(i.rn));
    const bool fits = u_op == 0x10 && right_shift(i.immhb) == 8u << size_of(i.immhb);
    set_v(i.rd, narrow(narrowing_of(u_op), size_of(i.immhb), kAllBytes, shifted, i.q ? v(i.rd) : kNoRef, fits));
    return true;
}

bool SimdLifter::s_shift_narrow(const SShiftNarrow& i) {
    const unsigned u_op = unsigned{i.u} << 5 | i.op, size = size_of(i.immhb);
    const Ref shifted = shift_narrow(u_op, i.immhb, 2u << size, v(i.rn));
    set_low(1u << size, i.rd, narrow(narrowing_of(u_op), size, 2u << size, shifted));
    return true;
}

bool SimdLifter::v_shift_long(const VShiftLong& i) {
    const unsigned size = size_of(i.immhb);
    const Ref wide = vop(i.u ? Op::kVUxtl : Op::kVSxtl, size, v(i.rn), kNoRef, kNoRef, i.q);
    const unsigned n = left_shift(i.immhb);
    set_v(i.rd, n ? vop(Op::kVShlI, size + 1, wide, kNoRef, kNoRef, n) : wide);
    return true;
}

bool SimdLifter::vf_fixed(const VfFixed& i) {
    const unsigned bytes = i.q ? 16 : 8;
    set_low(bytes, i.rd, fp_convert_int(i.u, i.op == 0x1c, size_of(i.immhb), bytes, right_shift(i.immhb), fp_operand(bytes, i.rn)));
    return true;
}

bool SimdLifter::sf_fixed(const SfFixed& i) {
    const unsigned bytes = 1u << size_of(i.immhb);
    set_low(bytes, i.rd, fp_convert_int(i.u, i.op == 0x1c, size_of(i.immhb), bytes, right_shift(i.immhb), fp_operand(bytes, i.rn)));
    return true;
}

}  // namespace myna::guest::aarch64
