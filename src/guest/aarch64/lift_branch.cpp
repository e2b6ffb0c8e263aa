// Branches, exception-generating instructions and hints (Arm ARM C4.1.93), and the loop that makes a block.
#include "guest/aarch64/lift_insn.h"
#include "guest/aarch64/system.h"

namespace myna::guest::aarch64 {

using Branch = ir::Builder::Branch;

void InsnLifter::run() {
    const unsigned limit = limits_.single_insn ? 1 : limits_.max_insns;
    pc_ = b_.function().pc;
    for (unsigned count = 0; !done_; pc_ += 4) {
        const bool off_page = limits_.system_mode && (pc_ ^ b_.function().pc) >> 12 != 0;
        if (count++ == limit || off_page) {
            end_direct(pc_);
            break;
        }
        uint32_t raw = 0;
        if ((pc_ & 3) != 0 || !fetch(pc_, raw)) {
            // A block that ends before the missing page leaves the fault to the block that begins there.
            if (count > 1) end_direct(pc_);
            else end_trap(ExitReason::kNoExec, pc_);
            break;
        }
        b_.insn(pc_, 4);
        if (!decode32(raw, *this)) undefined();
    }
}

bool InsnLifter::b_cond(const BCond& i) {
    const uint64_t target = pc_ + static_cast<uint64_t>(int64_t{i.off});
    if (i.cond >= 14) end_direct(target);
    else branch_if(cond(i.cond), target);
    return true;
}

bool InsnLifter::b(const B& i) {
    end_direct(pc_ + static_cast<uint64_t>(int64_t{i.off}));
    return true;
}

bool InsnLifter::bl(const Bl& i) {
    set_x(30, b_.imm(next_pc()));
    end_direct(pc_ + static_cast<uint64_t>(int64_t{i.off}));
    return true;
}

bool InsnLifter::cbz(const Cbz& i) {
    branch_if(b_.cmp(Cmp::kEq, r(i.sf, i.rt), imm(i.sf, 0)), pc_ + static_cast<uint64_t>(int64_t{i.off}));
    return true;
}

bool InsnLifter::cbnz(const Cbnz& i) {
    branch_if(b_.cmp(Cmp::kNe, r(i.sf, i.rt), imm(i.sf, 0)), pc_ + static_cast<uint64_t>(int64_t{i.off}));
    return true;
}

bool InsnLifter::tbz(const Tbz& i) {
    const bool wide = i.bit >= 32;
    const Ref masked = b_.and_(r(wide, i.rt), imm(wide, uint64_t{1} << i.bit));
    branch_if(b_.cmp(Cmp::kEq, masked, imm(wide, 0)), pc_ + static_cast<uint64_t>(int64_t{i.off}));
    return true;
}

bool InsnLifter::tbnz(const Tbnz& i) {
    const bool wide = i.bit >= 32;
    const Ref masked = b_.and_(r(wide, i.rt), imm(wide, uint64_t{1} << i.bit));
    branch_if(b_.cmp(Cmp::kNe, masked, imm(wide, 0)), pc_ + static_cast<uint64_t>(int64_t{i.off}));
    return true;
}

bool InsnLifter::br(const Br& i) {
    end_indirect(x(i.rn), Branch::kJump);
    return true;
}

bool InsnLifter::blr(const Blr& i) {
    const Ref target = x(i.rn);
    set_x(30, b_.imm(next_pc()));
    end_indirect(target, Branch::kCall, next_pc());
    return true;
}

bool InsnLifter::ret(const Ret& i) {
    end_indirect(x(i.rn), Branch::kReturn);
    return true;
}

// ---- exceptions

bool InsnLifter::udf(const Udf&) { return false; }

bool InsnLifter::svc(const Svc& i) {
    if (limits_.system_mode) end_trap(ExitReason::kException, next_pc(), syndrome(ExceptionClass::kSvc, i.imm16));
    else end_trap(ExitReason::kSyscall, next_pc(), i.imm16);
    return true;
}

bool InsnLifter::brk(const Brk& i) {
    if (limits_.system_mode) end_trap(ExitReason::kException, pc_, syndrome(ExceptionClass::kBrk, i.imm16));
    else end_trap(ExitReason::kBreakpoint, pc_, i.imm16);
    return true;
}

bool InsnLifter::hvc(const Hvc&) { return false; }   // no EL2
bool InsnLifter::smc(const Smc&) { return false; }   // no EL3
bool InsnLifter::hlt(const Hlt&) { return false; }   // halting debug is off

// ---- hints

bool InsnLifter::nop(const Nop&) { return true; }
bool InsnLifter::hint(const Hint&) { return true; }

bool InsnLifter::yield_(const Yield&) {
    end_trap(ExitReason::kYield, next_pc());
    return true;
}
bool InsnLifter::wfe(const Wfe&) {
    end_trap(ExitReason::kYield, next_pc());
    return true;
}
bool InsnLifter::wfi(const Wfi&) {
    end_trap(ExitReason::kYield, next_pc());
    return true;
}
bool InsnLifter::wfet(const Wfet&) {
    end_trap(ExitReason::kYield, next_pc());
    return true;
}
bool InsnLifter::wfit(const Wfit&) {
    end_trap(ExitReason::kYield, next_pc());
    return true;
}

}  // namespace myna::guest::aarch64
