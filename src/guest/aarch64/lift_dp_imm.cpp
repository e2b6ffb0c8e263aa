// Data processing, immediate (Arm ARM C4.1.92).
#include "base/bits.h"
#include "guest/aarch64/bitmask.h"
#include "guest/aarch64/lift_insn.h"

namespace myna::guest::aarch64 {

bool InsnLifter::adr(const Adr& i) {
    set_x(i.rd, b_.imm(pc_ + static_cast<uint64_t>(int64_t{i.off})));
    return true;
}

bool InsnLifter::adrp(const Adrp& i) {
    set_x(i.rd, b_.imm((pc_ & ~uint64_t{0xfff}) + (static_cast<uint64_t>(int64_t{i.off}) << 12)));
    return true;
}

bool InsnLifter::add_imm(const AddImm& i) {
    set_r_or_sp(i.sf, i.rd, b_.add(r_or_sp(i.sf, i.rn), imm(i.sf, uint64_t{i.imm12} << (12 * i.sh))));
    return true;
}

bool InsnLifter::adds_imm(const AddsImm& i) {
    const Ref a = r_or_sp(i.sf, i.rn);
    const Ref b = imm(i.sf, uint64_t{i.imm12} << (12 * i.sh));
    set_add_result(i.sf, i.rd, a, b);
    return true;
}

bool InsnLifter::sub_imm(const SubImm& i) {
    set_r_or_sp(i.sf, i.rd, b_.sub(r_or_sp(i.sf, i.rn), imm(i.sf, uint64_t{i.imm12} << (12 * i.sh))));
    return true;
}

bool InsnLifter::subs_imm(const SubsImm& i) {
    const Ref a = r_or_sp(i.sf, i.rn);
    const Ref b = imm(i.sf, uint64_t{i.imm12} << (12 * i.sh));
    set_sub_result(i.sf, i.rd, a, b);
    return true;
}

// ---- CSSC minimum and maximum (C6.2: SMAX, UMAX, SMIN, UMIN (immediate))

bool InsnLifter::smax_imm(const SmaxImm& i) {
    const Ref a = r(i.sf, i.rn);
    const Ref b = imm(i.sf, static_cast<uint64_t>(sign_extend(i.imm8, 8)));
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kSgt, a, b), a, b));
    return true;
}

bool InsnLifter::umax_imm(const UmaxImm& i) {
    const Ref a = r(i.sf, i.rn);
    const Ref b = imm(i.sf, i.imm8);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kUgt, a, b), a, b));
    return true;
}

bool InsnLifter::smin_imm(const SminImm& i) {
    const Ref a = r(i.sf, i.rn);
    const Ref b = imm(i.sf, static_cast<uint64_t>(sign_extend(i.imm8, 8)));
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kSlt, a, b), a, b));
    return true;
}

bool InsnLifter::umin_imm(const UminImm& i) {
    const Ref a = r(i.sf, i.rn);
    const Ref b = imm(i.sf, i.imm8);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kUlt, a, b), a, b));
    return true;
}

// ---- logical; imms == all ones of its element size is unallocated

bool InsnLifter::and_imm(const AndImm& i) {
    const auto mask = decode_bitmask(i.n, i.imms, i.immr);
    if (!mask) return false;
    set_r_or_sp(i.sf, i.rd, b_.and_(r(i.sf, i.rn), imm(i.sf, *mask)));
    return true;
}

bool InsnLifter::orr_imm(const OrrImm& i) {
    const auto mask = decode_bitmask(i.n, i.imms, i.immr);
    if (!mask) return false;
    set_r_or_sp(i.sf, i.rd, b_.or_(r(i.sf, i.rn), imm(i.sf, *mask)));
    return true;
}

bool InsnLifter::eor_imm(const EorImm& i) {
    const auto mask = decode_bitmask(i.n, i.imms, i.immr);
    if (!mask) return false;
    set_r_or_sp(i.sf, i.rd, b_.xor_(r(i.sf, i.rn), imm(i.sf, *mask)));
    return true;
}

bool InsnLifter::ands_imm(const AndsImm& i) {
    const auto mask = decode_bitmask(i.n, i.imms, i.immr);
    if (!mask) return false;
    const Ref result = b_.and_(r(i.sf, i.rn), imm(i.sf, *mask));
    logic_flags(i.sf, result);
    set_r(i.sf, i.rd, result);
    return true;
}

// ---- move wide

bool InsnLifter::movn(const Movn& i) {
    const uint64_t value = ~(uint64_t{i.imm16} << (16 * i.hw));
    set_x(i.rd, b_.imm(i.sf ? value : static_cast<uint32_t>(value)));
    return true;
}

bool InsnLifter::movz(const Movz& i) {
    set_x(i.rd, b_.imm(uint64_t{i.imm16} << (16 * i.hw)));
    return true;
}

bool InsnLifter::movk(const Movk& i) {
    if (i.rd == 31) return true;
    uint64_t old = 0;
    if (b_.is_const(x(i.rd), &old)) {
        const uint64_t value = (old & ~(uint64_t{0xffff} << (16 * i.hw))) | uint64_t{i.imm16} << (16 * i.hw);
        set_x(i.rd, b_.imm(i.sf ? value : static_cast<uint32_t>(value)));
        return true;
    }
    set_r(i.sf, i.rd, b_.bfi(r(i.sf, i.rd), imm(i.sf, i.imm16), 16 * i.hw, 16));
    return true;
}

// ---- bit fields

Ref InsnLifter::unsigned_field(bool sf, Ref v, unsigned lo, unsigned len) {
    const unsigned width = sf ? 64 : 32;
    if (lo == 0) {
        if (len == width) return v;
        if (len == 8) return b_.un(Op::kZext8, v);
        if (len == 16) return b_.un(Op::kZext16, v);
        if (len == 32) return b_.zext(b_.trunc(v));
    }
    return lo + len == width ? b_.shr_imm(v, lo) : b_.ubfx(v, lo, len);
}

Ref InsnLifter::signed_field(bool sf, Ref v, unsigned lo, unsigned len) {
    const unsigned width = sf ? 64 : 32;
    if (lo == 0) {
        if (len == width) return v;
        if (len == 8) return b_.un(Op::kSext8, v);
        if (len == 16) return b_.un(Op::kSext16, v);
        if (len == 32) return b_.sext(b_.trunc(v));
    }
    return lo + len == width ? b_.sar_imm(v, lo) : b_.sbfx(v, lo, len);
}

bool InsnLifter::ubfm(const Ubfm& i) {
    const unsigned width = i.sf ? 64 : 32;
    const Ref v = r(i.sf, i.rn);
    if (i.imms >= i.immr) {
        set_r(i.sf, i.rd, unsigned_field(i.sf, v, i.immr, i.imms - i.immr + 1u));
        return true;
    }
    const unsigned shift = width - i.immr;  // UBFIZ; LSL when nothing is cut off
    set_r(i.sf, i.rd, b_.shl_imm(i.imms + 1u + shift == width ? v : unsigned_field(i.sf, v, 0, i.imms + 1u), shift));
    return true;
}

bool InsnLifter::sbfm(const Sbfm& i) {
    const unsigned width = i.sf ? 64 : 32;
    const Ref v = r(i.sf, i.rn);
    if (i.imms >= i.immr) {
        set_r(i.sf, i.rd, signed_field(i.sf, v, i.immr, i.imms - i.immr + 1u));
        return true;
    }
    const unsigned shift = width - i.immr;
    set_r(i.sf, i.rd, b_.shl_imm(i.imms + 1u + shift == width ? v : signed_field(i.sf, v, 0, i.imms + 1u), shift));
    return true;
}

bool InsnLifter::bfm(const Bfm& i) {
    const unsigned width = i.sf ? 64 : 32;
    const Ref v = r(i.sf, i.rn);
    const Ref old = r(i.sf, i.rd);
    if (i.imms >= i.immr) {  // BFXIL
        const unsigned len = i.imms - i.immr + 1u;
        if (len == width) set_r(i.sf, i.rd, v);
        else set_r(i.sf, i.rd, b_.bfi(old, i.immr == 0 ? v : b_.shr_imm(v, i.immr), 0, len));
        return true;
    }
    const unsigned lo = width - i.immr;  // BFI, BFC
    const unsigned len = i.imms + 1u;
    if (i.rn == 31) set_r(i.sf, i.rd, b_.and_(old, imm(i.sf, ~(low_mask(len) << lo))));
    else set_r(i.sf, i.rd, b_.bfi(old, v, lo, len));
    return true;
}

bool InsnLifter::extr(const Extr& i) {
    if (i.rn == i.rm) set_r(i.sf, i.rd, b_.ror(r(i.sf, i.rn), imm(i.sf, i.imms)));
    else set_r(i.sf, i.rd, b_.emit(Op::kExtr, int_type(i.sf), 0, r(i.sf, i.rn), r(i.sf, i.rm), kNoRef, i.imms));
    return true;
}

}  // namespace myna::guest::aarch64
