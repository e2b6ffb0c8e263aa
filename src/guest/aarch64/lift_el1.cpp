// What EL1 may do and EL0 may not: system registers, ERET, TLBI, DAIF and SPSel. Only in system mode.
#include "guest/aarch64/lift_insn.h"
#include "guest/aarch64/sysreg.h"
#include "guest/aarch64/system.h"

namespace myna::guest::aarch64 {
namespace {

bool is_el1_register(uint32_t reg) {
    switch (reg) {
        case kSctlrEl1: case kCpacrEl1: case kTtbr0El1: case kTtbr1El1: case kTcrEl1: case kMairEl1: case kVbarEl1:
        case kEsrEl1: case kFarEl1: case kElrEl1: case kSpsrEl1: case kTpidrEl1: case kContextidrEl1: case kDaif:
        case kSpEl0: case kSpSel: return true;
        default: return false;
    }
}

}  // namespace

bool InsnLifter::read_el1(unsigned rt, uint32_t reg) {
    if (!in_el1() || !(is_el1_register(reg) || reg == kCurrentEl)) return false;
    sync_flags();
    set_x(rt, b_.call_state(kHelper_sys_read, Type::kI64, reg));
    return true;
}

bool InsnLifter::write_el1(unsigned rt, uint32_t reg) {
    if (!in_el1() || !is_el1_register(reg)) return false;
    sync_flags();
    b_.call_state(kHelper_sys_write, Type::kI64, reg, x(rt));
    end_direct(next_pc());
    return true;
}

/// SYS at EL1: TLBI (CRn 8), IC IALLU and IALLUIS, DC by set and way or address; AT is not there.
bool InsnLifter::sys_el1(unsigned op1, unsigned crn, unsigned crm) {
    if (!in_el1() || op1 != 0) return false;
    if (crn == 8) {
        sync_flags();
        b_.call_state(kHelper_tlb_invalidate, Type::kI64);
        end_direct(next_pc());
        return true;
    }
    if (crn == 7 && (crm == 1 || crm == 5)) {
        end_trap(ExitReason::kIcache, next_pc());
        return true;
    }
    return crn == 7 && (crm == 6 || crm == 10 || crm == 14);
}

bool InsnLifter::msr_imm(const MsrImm& i) {
    if (!in_el1()) return false;
    const unsigned op = i.op1 << 3 | i.op2;
    if (op != 5 && op != (3 << 3 | 6) && op != (3 << 3 | 7)) return false;
    sync_flags();
    if (op == 5) {
        b_.call_state(kHelper_sys_write, Type::kI64, kSpSel, b_.imm(i.crm & 1u));
        return true;
    }
    const Ref old = b_.call_state(kHelper_sys_read, Type::kI64, kDaif);
    const Ref bits = b_.imm(uint64_t{i.crm} << 6);
    b_.call_state(kHelper_sys_write, Type::kI64, kDaif, i.op2 == 6 ? b_.or_(old, bits) : b_.andn(old, bits));
    return true;
}

bool InsnLifter::eret(const Eret&) {
    if (!in_el1()) return false;
    sync_flags();
    const Ref spsr = b_.call_state(kHelper_sys_read, Type::kI64, kSpsrEl1);
    b_.set(kNzcv, b_.emit(Op::kFlPack, Type::kFlags, 0, b_.trunc(spsr)));
    b_.call_state(kHelper_exception_return, Type::kI64);
    end_direct(next_pc());
    return true;
}

void InsnLifter::undefined() {
    if (limits_.system_mode) end_trap(ExitReason::kException, pc_, syndrome(ExceptionClass::kUnknown, 0));
    else end_trap(ExitReason::kIllegal, pc_);
}

}  // namespace myna::guest::aarch64
