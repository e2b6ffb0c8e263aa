// Barriers, PSTATE, system registers, cache maintenance (Arm ARM C5). What EL0 may not do is undefined, as under Linux.
#include "guest/aarch64/lift_insn.h"
#include "guest/aarch64/sysreg.h"

namespace myna::guest::aarch64 {

// ---- barriers: on a TSO host only store-load order costs anything

bool InsnLifter::dmb(const Dmb& i) {
    // CRm<1:0>: 1 loads before loads and stores, 2 stores before stores, 3 (and 0) everything
    b_.emit(Op::kFence, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, (i.crm & 3) == 1 || (i.crm & 3) == 2 ? 0 : 1);
    return true;
}

bool InsnLifter::dsb(const Dsb& i) {
    b_.emit(Op::kFence, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, (i.crm & 3) == 1 || (i.crm & 3) == 2 ? 0 : 1);
    return true;
}

bool InsnLifter::isb(const Isb&) {
    end_direct(next_pc());  // what was fetched before is forgotten
    return true;
}

bool InsnLifter::sb(const Sb&) { return true; }

bool InsnLifter::clrex(const Clrex&) {
    sync_flags();
    b_.call_state(kHelper_clear_exclusive, Type::kI64);
    return true;
}

// ---- PSTATE

bool InsnLifter::cfinv(const Cfinv&) {
    const Ref old = b_.emit(Op::kFlUnpack, Type::kI32, 0, flags());
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, b_.xor_(old, b_.imm32(1u << 29))));
    return true;
}

bool InsnLifter::xaflag(const Xaflag&) {
    // N = !C & !Z, Z = Z & C, C = C | Z, V = !C & Z
    const Ref z = b_.cond(Cond::kEq, flags()), c = b_.cond(Cond::kCs, flags());
    const Ref one = b_.imm32(1);
    const Ref not_c = b_.xor_(c, one);
    const Ref n2 = b_.shl_imm(b_.and_(not_c, b_.xor_(z, one)), 31);
    const Ref z2 = b_.shl_imm(b_.and_(z, c), 30);
    const Ref c2 = b_.shl_imm(b_.or_(c, z), 29);
    const Ref v2 = b_.shl_imm(b_.and_(not_c, z), 28);
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, b_.or_(b_.or_(n2, z2), b_.or_(c2, v2))));
    return true;
}

bool InsnLifter::axflag(const Axflag&) {
    // Z = Z | V, C = C & !V, N = V = 0
    const Ref z = b_.cond(Cond::kEq, flags()), c = b_.cond(Cond::kCs, flags()), o = b_.cond(Cond::kVs, flags());
    const Ref z2 = b_.shl_imm(b_.or_(z, o), 30);
    const Ref c2 = b_.shl_imm(b_.and_(c, b_.xor_(o, b_.imm32(1))), 29);
    set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, b_.or_(z2, c2)));
    return true;
}

bool InsnLifter::msr_ssbs_imm(const MsrSsbsImm& i) {
    const Ref old = b_.get(kDitSsbs);
    const uint64_t bit = uint64_t{1} << 12;
    b_.set(kDitSsbs, (i.crm & 1) != 0 ? b_.or_(old, b_.imm(bit)) : b_.and_(old, b_.imm(~bit)));
    return true;
}

bool InsnLifter::msr_dit_imm(const MsrDitImm& i) {
    const Ref old = b_.get(kDitSsbs);
    const uint64_t bit = uint64_t{1} << 24;
    b_.set(kDitSsbs, (i.crm & 1) != 0 ? b_.or_(old, b_.imm(bit)) : b_.and_(old, b_.imm(~bit)));
    return true;
}

// ---- system registers

bool InsnLifter::mrs(const Mrs& i) {
    const uint32_t reg = sysreg(2u + i.o0, i.op1, i.crn, i.crm, i.op2);
    uint64_t known = 0;
    if (id_register(cpu_, reg, &known)) {
        set_x(i.rt, b_.imm(known));
        return true;
    }
    const auto state_call = [&](HelperId h, uint32_t arg = 0) {
        sync_flags();
        set_x(i.rt, b_.call_state(h, Type::kI64, arg));
    };
    switch (reg) {
        case kNzcvReg: set_x(i.rt, b_.zext(b_.emit(Op::kFlUnpack, Type::kI32, 0, flags()))); return true;
        case kFpcrReg: set_x(i.rt, b_.zext(b_.get(kFpcr))); return true;
        case kFpsrReg: state_call(kHelper_read_fpsr, i.rt); return true;
        case kTpidrEl0: set_x(i.rt, b_.get(kTpidr)); return true;
        case kTpidrroEl0: set_x(i.rt, b_.get(kTpidrro)); return true;
        case kCtrEl0: set_x(i.rt, b_.imm(kCtrValue)); return true;
        case kDczidEl0: set_x(i.rt, b_.imm(kDczidValue)); return true;
        case kCntfrqEl0: set_x(i.rt, b_.imm(kCounterHz)); return true;
        case kCntvctEl0: state_call(kHelper_counter); return true;
        case kDit:
            if (!has(Feature::dit)) return false;
            set_x(i.rt, b_.and_(b_.get(kDitSsbs), b_.imm(1 << 24)));
            return true;
        case kSsbs:
            if (!has(Feature::ssbs)) return false;
            set_x(i.rt, b_.and_(b_.get(kDitSsbs), b_.imm(1 << 12)));
            return true;
        case kRndr:
        case kRndrrs:
            if (!has(Feature::rng)) return false;
            state_call(kHelper_random);
            return true;
        default: return read_el1(i.rt, reg);
    }
}

bool InsnLifter::msr_reg(const MsrReg& i) {
    const auto state_call = [&](HelperId h) {
        sync_flags();
        b_.call_state(h, Type::kI64, 0, x(i.rt));
    };
    const auto set_bit = [&](uint64_t bit) {
        b_.set(kDitSsbs, b_.or_(b_.and_(b_.get(kDitSsbs), b_.imm(~bit)), b_.and_(x(i.rt), b_.imm(bit))));
    };
    const uint32_t reg = sysreg(2u + i.o0, i.op1, i.crn, i.crm, i.op2);
    switch (reg) {
        case kNzcvReg: set_flags(b_.emit(Op::kFlPack, Type::kFlags, 0, w(i.rt))); return true;
        case kFpcrReg:
            state_call(kHelper_write_fpcr);
            end_direct(next_pc());
            return true;
        case kFpsrReg: state_call(kHelper_write_fpsr); return true;
        case kTpidrEl0: b_.set(kTpidr, x(i.rt)); return true;
        case kDit:
            if (!has(Feature::dit)) return false;
            set_bit(1 << 24);
            return true;
        case kSsbs:
            if (!has(Feature::ssbs)) return false;
            set_bit(1 << 12);
            return true;
        default: return write_el1(i.rt, reg);
    }
}

// ---- SYS: cache maintenance

bool InsnLifter::sys(const Sys& i) {
    if (i.op1 != 3 || i.crn != 7) return sys_el1(i.op1, i.crn, i.crm);
    switch (i.crm << 3 | i.op2) {
        case 4 << 3 | 1: {  // DC ZVA
            const Ref block = b_.and_(x(i.rt), b_.imm(~uint64_t{63}));
            const Ref zero = b_.vimm(0, 0);
            for (int64_t at = 0; at < 64; at += 16) store(4, block, zero, at);
            return true;
        }
        case 5 << 3 | 1:  // IC IVAU
            sync_flags();
            b_.call_state(kHelper_ic_ivau, Type::kI64, 0, x(i.rt));
            end_direct(next_pc());
            return true;
        case 10 << 3 | 1: case 11 << 3 | 1: case 14 << 3 | 1: return true;  // DC CVAC, CVAU, CIVAC
        case 12 << 3 | 1: return has(Feature::dpb);                         // DC CVAP
        case 13 << 3 | 1: return has(Feature::dpb2);                        // DC CVADP
        default: return false;
    }
}

bool InsnLifter::sysl(const Sysl&) { return false; }

}  // namespace myna::guest::aarch64
