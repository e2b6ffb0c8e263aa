// Data processing, register (Arm ARM C4.1.95).
#include "guest/aarch64/lift_insn.h"

namespace myna::guest::aarch64 {

Ref InsnLifter::shifted(bool sf, unsigned rm, unsigned shift, unsigned amount) {
    const Ref v = r(sf, rm);
    if (amount == 0) return v;
    static constexpr Op kShift[] = {Op::kShl, Op::kShr, Op::kSar, Op::kRor};
    return b_.bin(kShift[shift], v, imm(sf, amount));
}

Ref InsnLifter::extended(bool sf, unsigned rm, unsigned option, unsigned amount) {
    Ref v = kNoRef;
    if (sf) {
        switch (option) {
            case 0: v = b_.un(Op::kZext8, x(rm)); break;
            case 1: v = b_.un(Op::kZext16, x(rm)); break;
            case 2: v = b_.zext(w(rm)); break;
            case 4: v = b_.un(Op::kSext8, x(rm)); break;
            case 5: v = b_.un(Op::kSext16, x(rm)); break;
            case 6: v = b_.sext(w(rm)); break;
            default: v = x(rm); break;
        }
    } else {
        switch (option) {
            case 0: v = b_.un(Op::kZext8, w(rm)); break;
            case 1: v = b_.un(Op::kZext16, w(rm)); break;
            case 4: v = b_.un(Op::kSext8, w(rm)); break;
            case 5: v = b_.un(Op::kSext16, w(rm)); break;
            default: v = w(rm); break;
        }
    }
    return amount == 0 ? v : b_.shl_imm(v, amount);
}

// ---- division, variable shifts, CRC

bool InsnLifter::udiv(const Udiv& i) {
    set_r(i.sf, i.rd, b_.bin(Op::kDivU, r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::sdiv(const Sdiv& i) {
    set_r(i.sf, i.rd, b_.bin(Op::kDivS, r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::lslv(const Lslv& i) {
    set_r(i.sf, i.rd, b_.shl(r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::lsrv(const Lsrv& i) {
    set_r(i.sf, i.rd, b_.shr(r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::asrv(const Asrv& i) {
    set_r(i.sf, i.rd, b_.sar(r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::rorv(const Rorv& i) {
    set_r(i.sf, i.rd, b_.ror(r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::crc32_(const Crc32& i) {
    set_w(i.rd, b_.emit(Op::kCrc32, Type::kI32, i.sz, w(i.rn), x(i.rm), kNoRef, i.c));
    return true;
}

bool InsnLifter::smax_reg(const SmaxReg& i) {
    const Ref a = r(i.sf, i.rn), b = r(i.sf, i.rm);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kSgt, a, b), a, b));
    return true;
}
bool InsnLifter::umax_reg(const UmaxReg& i) {
    const Ref a = r(i.sf, i.rn), b = r(i.sf, i.rm);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kUgt, a, b), a, b));
    return true;
}
bool InsnLifter::smin_reg(const SminReg& i) {
    const Ref a = r(i.sf, i.rn), b = r(i.sf, i.rm);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kSlt, a, b), a, b));
    return true;
}
bool InsnLifter::umin_reg(const UminReg& i) {
    const Ref a = r(i.sf, i.rn), b = r(i.sf, i.rm);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kUlt, a, b), a, b));
    return true;
}

// ---- one source

bool InsnLifter::rbit(const Rbit& i) {
    set_r(i.sf, i.rd, b_.un(Op::kBitrev, r(i.sf, i.rn)));
    return true;
}
bool InsnLifter::rev16(const Rev16& i) {
    set_r(i.sf, i.rd, b_.un(Op::kBswap16, r(i.sf, i.rn)));
    return true;
}
bool InsnLifter::rev_w(const RevW& i) {
    set_w(i.rd, b_.un(Op::kBswap, w(i.rn)));
    return true;
}
bool InsnLifter::rev32(const Rev32& i) {
    set_x(i.rd, b_.un(Op::kBswap32, x(i.rn)));
    return true;
}
bool InsnLifter::rev_x(const RevX& i) {
    set_x(i.rd, b_.un(Op::kBswap, x(i.rn)));
    return true;
}
bool InsnLifter::clz(const Clz& i) {
    set_r(i.sf, i.rd, b_.un(Op::kClz, r(i.sf, i.rn)));
    return true;
}
bool InsnLifter::cls(const Cls& i) {
    set_r(i.sf, i.rd, b_.un(Op::kCls, r(i.sf, i.rn)));
    return true;
}
bool InsnLifter::ctz(const Ctz& i) {
    set_r(i.sf, i.rd, b_.un(Op::kCtz, r(i.sf, i.rn)));
    return true;
}
bool InsnLifter::cnt(const Cnt& i) {
    set_r(i.sf, i.rd, b_.un(Op::kPopcnt, r(i.sf, i.rn)));
    return true;
}
bool InsnLifter::abs_(const Abs& i) {
    const Ref a = r(i.sf, i.rn);
    set_r(i.sf, i.rd, b_.select(b_.cmp(Cmp::kSlt, a, imm(i.sf, 0)), b_.neg(a), a));
    return true;
}

// ---- logical, shifted register

bool InsnLifter::and_sr(const AndSr& i) {
    set_r(i.sf, i.rd, b_.and_(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6)));
    return true;
}
bool InsnLifter::bic_sr(const BicSr& i) {
    set_r(i.sf, i.rd, b_.andn(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6)));
    return true;
}
bool InsnLifter::orr_sr(const OrrSr& i) {
    const Ref b = shifted(i.sf, i.rm, i.shift, i.imm6);
    set_r(i.sf, i.rd, i.rn == 31 ? b : b_.or_(r(i.sf, i.rn), b));  // MOV (register)
    return true;
}
bool InsnLifter::orn_sr(const OrnSr& i) {
    const Ref b = b_.not_(shifted(i.sf, i.rm, i.shift, i.imm6));
    set_r(i.sf, i.rd, i.rn == 31 ? b : b_.or_(r(i.sf, i.rn), b));  // MVN
    return true;
}
bool InsnLifter::eor_sr(const EorSr& i) {
    set_r(i.sf, i.rd, b_.xor_(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6)));
    return true;
}
bool InsnLifter::eon_sr(const EonSr& i) {
    set_r(i.sf, i.rd, b_.not_(b_.xor_(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6))));
    return true;
}
bool InsnLifter::ands_sr(const AndsSr& i) {
    const Ref result = b_.and_(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6));
    logic_flags(i.sf, result);
    set_r(i.sf, i.rd, result);
    return true;
}
bool InsnLifter::bics_sr(const BicsSr& i) {
    const Ref result = b_.andn(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6));
    logic_flags(i.sf, result);
    set_r(i.sf, i.rd, result);
    return true;
}

// ---- add and subtract: shifted and extended register

bool InsnLifter::add_sr(const AddSr& i) {
    set_r(i.sf, i.rd, b_.add(r(i.sf, i.rn), shifted(i.sf, i.rm, i.shift, i.imm6)));
    return true;
}
bool InsnLifter::adds_sr(const AddsSr& i) {
    const Ref a = r(i.sf, i.rn), b = shifted(i.sf, i.rm, i.shift, i.imm6);
    set_add_result(i.sf, i.rd, a, b);
    return true;
}
bool InsnLifter::sub_sr(const SubSr& i) {
    const Ref b = shifted(i.sf, i.rm, i.shift, i.imm6);
    set_r(i.sf, i.rd, i.rn == 31 ? b_.neg(b) : b_.sub(r(i.sf, i.rn), b));
    return true;
}
bool InsnLifter::subs_sr(const SubsSr& i) {
    const Ref a = r(i.sf, i.rn), b = shifted(i.sf, i.rm, i.shift, i.imm6);
    set_sub_result(i.sf, i.rd, a, b);
    return true;
}
bool InsnLifter::add_ext(const AddExt& i) {
    set_r_or_sp(i.sf, i.rd, b_.add(r_or_sp(i.sf, i.rn), extended(i.sf, i.rm, i.option, i.imm3)));
    return true;
}
bool InsnLifter::adds_ext(const AddsExt& i) {
    const Ref a = r_or_sp(i.sf, i.rn), b = extended(i.sf, i.rm, i.option, i.imm3);
    set_add_result(i.sf, i.rd, a, b);
    return true;
}
bool InsnLifter::sub_ext(const SubExt& i) {
    set_r_or_sp(i.sf, i.rd, b_.sub(r_or_sp(i.sf, i.rn), extended(i.sf, i.rm, i.option, i.imm3)));
    return true;
}
bool InsnLifter::subs_ext(const SubsExt& i) {
    const Ref a = r_or_sp(i.sf, i.rn), b = extended(i.sf, i.rm, i.option, i.imm3);
    set_sub_result(i.sf, i.rd, a, b);
    return true;
}

// ---- with carry

bool InsnLifter::adc(const Adc& i) {
    set_r(i.sf, i.rd, flag_op(Op::kAdc, i.sf, r(i.sf, i.rn), r(i.sf, i.rm), carry()));
    return true;
}
bool InsnLifter::adcs(const Adcs& i) {
    const Ref a = r(i.sf, i.rn), b = r(i.sf, i.rm), c = carry();
    const Ref sum = i.rd != 31 ? flag_op(Op::kAdc, i.sf, a, b, c) : kNoRef;
    set_flags(flag_op(Op::kFlAdc, i.sf, a, b, c));
    if (i.rd != 31) set_r(i.sf, i.rd, sum);
    return true;
}
bool InsnLifter::sbc(const Sbc& i) {
    set_r(i.sf, i.rd, flag_op(Op::kAdc, i.sf, r(i.sf, i.rn), b_.not_(r(i.sf, i.rm)), carry()));
    return true;
}
bool InsnLifter::sbcs(const Sbcs& i) {
    const Ref a = r(i.sf, i.rn), b = b_.not_(r(i.sf, i.rm)), c = carry();
    const Ref sum = i.rd != 31 ? flag_op(Op::kAdc, i.sf, a, b, c) : kNoRef;
    set_flags(flag_op(Op::kFlAdc, i.sf, a, b, c));
    if (i.rd != 31) set_r(i.sf, i.rd, sum);
    return true;
}

// ---- flag manipulation (FEAT_FlagM)

bool InsnLifter::rmif(const Rmif& i) {
    const Ref moved = b_.trunc(b_.ror(x(i.rn), b_.imm(i.imm6)));
    const Ref bits = b_.shl_imm(moved, 28);
    const uint32_t mask = uint32_t{i.mask} << 28;
    if (i.mask == 15) {
        set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, bits));
        return true;
    }
    const Ref old = b_.emit(Op::kFlUnpack, Type::kI32, 0, flags());
    const Ref joined = b_.or_(b_.and_(bits, b_.imm32(mask)), b_.and_(old, b_.imm32(0xf0000000 & ~mask)));
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, joined));
    return true;
}

bool InsnLifter::setf8(const Setf8& i) {
    // N and Z of the byte, V = bit 8 ^ bit 7; C stays.
    const Ref v = w(i.rn);
    const Ref old = b_.emit(Op::kFlUnpack, Type::kI32, 0, flags());
    const Ref n = b_.and_(b_.shl_imm(v, 24), b_.imm32(1u << 31));
    const Ref z = b_.shl_imm(b_.cmp(Cmp::kEq, b_.un(Op::kZext8, v), b_.imm32(0)), 30);
    const Ref o = b_.shl_imm(b_.ubfx(b_.xor_(v, b_.shr_imm(v, 1)), 7, 1), 28);
    const Ref joined = b_.or_(b_.or_(n, z), b_.or_(o, b_.and_(old, b_.imm32(1u << 29))));
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, joined));
    return true;
}

bool InsnLifter::setf16(const Setf16& i) {
    const Ref v = w(i.rn);
    const Ref old = b_.emit(Op::kFlUnpack, Type::kI32, 0, flags());
    const Ref n = b_.and_(b_.shl_imm(v, 16), b_.imm32(1u << 31));
    const Ref z = b_.shl_imm(b_.cmp(Cmp::kEq, b_.un(Op::kZext16, v), b_.imm32(0)), 30);
    const Ref o = b_.shl_imm(b_.ubfx(b_.xor_(v, b_.shr_imm(v, 1)), 15, 1), 28);
    const Ref joined = b_.or_(b_.or_(n, z), b_.or_(o, b_.and_(old, b_.imm32(1u << 29))));
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, joined));
    return true;
}

// ---- conditional compare and select

void InsnLifter::conditional_compare(bool sf, unsigned cc, Ref a, Ref b, unsigned nzcv, bool negated) {
    if (cc >= 14) {
        negated ? add_flags(sf, a, b) : sub_flags(sf, a, b);
        return;
    }
    set_flags(b_.emit(Op::kFlCcmp, int_type(sf), static_cast<uint8_t>(cc), flags(), a, b, nzcv | (negated ? 16u : 0u)));
}

bool InsnLifter::ccmn_reg(const CcmnReg& i) {
    conditional_compare(i.sf, i.cond, r(i.sf, i.rn), r(i.sf, i.rm), i.nzcv, true);
    return true;
}
bool InsnLifter::ccmp_reg(const CcmpReg& i) {
    conditional_compare(i.sf, i.cond, r(i.sf, i.rn), r(i.sf, i.rm), i.nzcv, false);
    return true;
}
bool InsnLifter::ccmn_imm(const CcmnImm& i) {
    conditional_compare(i.sf, i.cond, r(i.sf, i.rn), imm(i.sf, i.imm5), i.nzcv, true);
    return true;
}
bool InsnLifter::ccmp_imm(const CcmpImm& i) {
    conditional_compare(i.sf, i.cond, r(i.sf, i.rn), imm(i.sf, i.imm5), i.nzcv, false);
    return true;
}

bool InsnLifter::csel(const Csel& i) {
    if (i.cond >= 14) set_r(i.sf, i.rd, r(i.sf, i.rn));
    else set_r(i.sf, i.rd, b_.select(cond(i.cond), r(i.sf, i.rn), r(i.sf, i.rm)));
    return true;
}
bool InsnLifter::csinc(const Csinc& i) {
    if (i.cond >= 14) set_r(i.sf, i.rd, r(i.sf, i.rn));
    else if (i.rn == 31 && i.rm == 31) set_w(i.rd, cond(i.cond ^ 1u));  // CSET
    else set_r(i.sf, i.rd, b_.select(cond(i.cond), r(i.sf, i.rn), b_.add_imm(r(i.sf, i.rm), 1)));
    return true;
}
bool InsnLifter::csinv(const Csinv& i) {
    if (i.cond >= 14) set_r(i.sf, i.rd, r(i.sf, i.rn));
    else if (i.rn == 31 && i.rm == 31) {  // CSETM
        const Ref truth = cond(i.cond ^ 1u);
        set_r(i.sf, i.rd, b_.neg(i.sf ? b_.zext(truth) : truth));
    } else set_r(i.sf, i.rd, b_.select(cond(i.cond), r(i.sf, i.rn), b_.not_(r(i.sf, i.rm))));
    return true;
}
bool InsnLifter::csneg(const Csneg& i) {
    if (i.cond >= 14) set_r(i.sf, i.rd, r(i.sf, i.rn));
    else set_r(i.sf, i.rd, b_.select(cond(i.cond), r(i.sf, i.rn), b_.neg(r(i.sf, i.rm))));
    return true;
}

// ---- multiply

bool InsnLifter::madd(const Madd& i) {
    const Ref product = b_.mul(r(i.sf, i.rn), r(i.sf, i.rm));
    set_r(i.sf, i.rd, i.ra == 31 ? product : b_.add(r(i.sf, i.ra), product));
    return true;
}
bool InsnLifter::msub(const Msub& i) {
    const Ref product = b_.mul(r(i.sf, i.rn), r(i.sf, i.rm));
    set_r(i.sf, i.rd, i.ra == 31 ? b_.neg(product) : b_.sub(r(i.sf, i.ra), product));
    return true;
}
bool InsnLifter::smaddl(const Smaddl& i) {
    const Ref product = b_.mul(b_.sext(w(i.rn)), b_.sext(w(i.rm)));
    set_x(i.rd, i.ra == 31 ? product : b_.add(x(i.ra), product));
    return true;
}
bool InsnLifter::smsubl(const Smsubl& i) {
    const Ref product = b_.mul(b_.sext(w(i.rn)), b_.sext(w(i.rm)));
    set_x(i.rd, i.ra == 31 ? b_.neg(product) : b_.sub(x(i.ra), product));
    return true;
}
bool InsnLifter::umaddl(const Umaddl& i) {
    const Ref product = b_.mul(b_.zext(w(i.rn)), b_.zext(w(i.rm)));
    set_x(i.rd, i.ra == 31 ? product : b_.add(x(i.ra), product));
    return true;
}
bool InsnLifter::umsubl(const Umsubl& i) {
    const Ref product = b_.mul(b_.zext(w(i.rn)), b_.zext(w(i.rm)));
    set_x(i.rd, i.ra == 31 ? b_.neg(product) : b_.sub(x(i.ra), product));
    return true;
}
bool InsnLifter::smulh(const Smulh& i) {
    set_x(i.rd, b_.bin(Op::kMulHS, x(i.rn), x(i.rm)));
    return true;
}
bool InsnLifter::umulh(const Umulh& i) {
    set_x(i.rd, b_.bin(Op::kMulHU, x(i.rn), x(i.rm)));
    return true;
}

}  // namespace myna::guest::aarch64
