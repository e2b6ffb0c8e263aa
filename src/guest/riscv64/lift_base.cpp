// RV64I, M, Zicond, Zicsr and the hints: integers, control flow, loads and stores, environment.
#include "guest/riscv64/lifter.h"
#include "guest/riscv64/system.h"

namespace myna::guest::riscv64 {

using Jump = ir::Builder::Branch;

// ---- upper immediates, jumps, branches

bool Lifter::lui(const Lui& i) { return wr(i.rd, imm(i.imm)); }
bool Lifter::auipc(const Auipc& i) { return wr(i.rd, ir.imm(pc_ + static_cast<uint64_t>(int64_t{i.imm}))); }

bool Lifter::jal(const Jal& i) {
    wr(i.rd, ir.imm(next_pc()));
    const uint64_t target = pc_ + static_cast<uint64_t>(int64_t{i.imm});
    if (i.rd == 0 && may_follow(target)) {
        next_ = target;
        return true;
    }
    return end_direct(target);
}

bool Lifter::jalr(const Jalr& i) {
    const auto is_link = [](unsigned r) { return r == 1 || r == 5; };
    const Ref target = ir.and_(ir.add_imm(x(i.rs1), i.imm), imm(-2));
    wr(i.rd, ir.imm(next_pc()));
    const Jump kind = is_link(i.rd) ? Jump::kCall : is_link(i.rs1) ? Jump::kReturn : Jump::kJump;
    ir.exit_ind(target, kind, kind == Jump::kCall ? next_pc() : 0);
    return done_ = true;
}

bool Lifter::branch(const Branch& i) {
    constexpr Cmp kConditions[8] = {Cmp::kEq, Cmp::kNe, Cmp::kEq, Cmp::kEq, Cmp::kSlt, Cmp::kSge, Cmp::kUlt, Cmp::kUge};
    constexpr Cmp kOpposites[8] = {Cmp::kNe, Cmp::kEq, Cmp::kNe, Cmp::kNe, Cmp::kSge, Cmp::kSlt, Cmp::kUge, Cmp::kUlt};
    const uint64_t target = pc_ + static_cast<uint64_t>(int64_t{i.imm});
    const Ref a = x(i.rs1), b = x(i.rs2);
    const Ref taken = ir.cmp(kConditions[i.cc], a, b);
    if (if_convert(taken, target)) return true;
    if (target == ir.function().pc && may_repeat()) {
        ir.exit_if(ir.cmp(kOpposites[i.cc], a, b), next_pc());
        next_ = target;
        return true;
    }
    ir.exit_if(taken, target);
    // Behind a loop's closing branch control seldom goes on: what follows is a block of its own.
    if (target <= pc_ || target == ir.function().pc || ++side_exits_ >= limits_.max_side_exits * rounds_) return end_direct(next_pc());
    return true;
}

// ---- loads and stores

bool Lifter::load(const Load& i) {
    const auto attr = static_cast<uint8_t>(i.size | (i.uns ? 0 : MemAttr::kSigned));
    return wr(i.rd, ir.load(Type::kI64, attr, x(i.rs1), i.imm));
}

bool Lifter::store(const Store& i) {
    ir.store(i.size, x(i.rs1), x(i.rs2), i.imm);
    return true;
}

// ---- register-immediate

bool Lifter::addi(const Addi& i) { return wr(i.rd, ir.add_imm(x(i.rs1), i.imm)); }
bool Lifter::slti(const Slti& i) { return wr(i.rd, flag(ir.cmp(Cmp::kSlt, x(i.rs1), imm(i.imm)))); }
bool Lifter::sltiu(const Sltiu& i) { return wr(i.rd, flag(ir.cmp(Cmp::kUlt, x(i.rs1), imm(i.imm)))); }
bool Lifter::xori(const Xori& i) { return wr(i.rd, ir.xor_(x(i.rs1), imm(i.imm))); }
bool Lifter::ori(const Ori& i) { return wr(i.rd, ir.or_(x(i.rs1), imm(i.imm))); }
bool Lifter::andi(const Andi& i) { return wr(i.rd, ir.and_(x(i.rs1), imm(i.imm))); }
bool Lifter::slli(const Slli& i) { return wr(i.rd, ir.shl_imm(x(i.rs1), i.shamt)); }
bool Lifter::srli(const Srli& i) { return wr(i.rd, ir.shr_imm(x(i.rs1), i.shamt)); }
bool Lifter::srai(const Srai& i) { return wr(i.rd, ir.sar_imm(x(i.rs1), i.shamt)); }
bool Lifter::addiw(const Addiw& i) { return wr_w(i.rd, ir.add_imm(w(i.rs1), i.imm)); }
bool Lifter::slliw(const Slliw& i) { return wr_w(i.rd, ir.shl_imm(w(i.rs1), i.shamt)); }
bool Lifter::srliw(const Srliw& i) { return wr_w(i.rd, ir.shr_imm(w(i.rs1), i.shamt)); }
bool Lifter::sraiw(const Sraiw& i) { return wr_w(i.rd, ir.sar_imm(w(i.rs1), i.shamt)); }

// ---- register-register; IR shifts take their count modulo the width, as RISC-V does

bool Lifter::add(const Add& i) { return wr(i.rd, ir.add(x(i.rs1), x(i.rs2))); }
bool Lifter::sub(const Sub& i) { return wr(i.rd, ir.sub(x(i.rs1), x(i.rs2))); }
bool Lifter::sll(const Sll& i) { return wr(i.rd, ir.shl(x(i.rs1), x(i.rs2))); }
bool Lifter::slt(const Slt& i) { return wr(i.rd, flag(ir.cmp(Cmp::kSlt, x(i.rs1), x(i.rs2)))); }
bool Lifter::sltu(const Sltu& i) { return wr(i.rd, flag(ir.cmp(Cmp::kUlt, x(i.rs1), x(i.rs2)))); }
bool Lifter::xor_(const Xor& i) { return wr(i.rd, ir.xor_(x(i.rs1), x(i.rs2))); }
bool Lifter::srl(const Srl& i) { return wr(i.rd, ir.shr(x(i.rs1), x(i.rs2))); }
bool Lifter::sra(const Sra& i) { return wr(i.rd, ir.sar(x(i.rs1), x(i.rs2))); }
bool Lifter::or_(const Or& i) { return wr(i.rd, ir.or_(x(i.rs1), x(i.rs2))); }
bool Lifter::and_(const And& i) { return wr(i.rd, ir.and_(x(i.rs1), x(i.rs2))); }
bool Lifter::addw(const Addw& i) { return wr_w(i.rd, ir.add(w(i.rs1), w(i.rs2))); }
bool Lifter::subw(const Subw& i) { return wr_w(i.rd, ir.sub(w(i.rs1), w(i.rs2))); }
bool Lifter::sllw(const Sllw& i) { return wr_w(i.rd, ir.shl(w(i.rs1), w(i.rs2))); }
bool Lifter::srlw(const Srlw& i) { return wr_w(i.rd, ir.shr(w(i.rs1), w(i.rs2))); }
bool Lifter::sraw(const Sraw& i) { return wr_w(i.rd, ir.sar(w(i.rs1), w(i.rs2))); }

// ---- M

bool Lifter::mul(const Mul& i) { return wr(i.rd, ir.mul(x(i.rs1), x(i.rs2))); }
bool Lifter::mulw(const Mulw& i) { return wr_w(i.rd, ir.mul(w(i.rs1), w(i.rs2))); }
bool Lifter::mulh(const Mulh& i) { return wr(i.rd, ir.bin(Op::kMulHS, x(i.rs1), x(i.rs2))); }
bool Lifter::mulhu(const Mulhu& i) { return wr(i.rd, ir.bin(Op::kMulHU, x(i.rs1), x(i.rs2))); }
bool Lifter::mulhsu(const Mulhsu& i) {
    // Read as unsigned, a negative rs1 is 2^64 too large: the product's high half is rs2 too large.
    const Ref a = x(i.rs1), b = x(i.rs2);
    return wr(i.rd, ir.sub(ir.bin(Op::kMulHU, a, b), ir.and_(ir.sar_imm(a, 63), b)));
}

bool Lifter::div_rem(Op op, bool wide, bool is_rem, unsigned rd, unsigned rs1, unsigned rs2) {
    if (rd == 0) return true;
    const Ref a = wide ? x(rs1) : w(rs1), b = wide ? x(rs2) : w(rs2);
    Ref v = ir.bin(op, a, b);
    if (!is_rem) {  // a quotient by zero is all ones
        const Type t = wide ? Type::kI64 : Type::kI32;
        v = ir.select(ir.cmp(Cmp::kEq, b, ir.imm(0, t)), ir.imm(~uint64_t{0}, t), v);
    }
    return wide ? wr(rd, v) : wr_w(rd, v);
}
bool Lifter::div(const Div& i) { return div_rem(Op::kDivS, true, false, i.rd, i.rs1, i.rs2); }
bool Lifter::divu(const Divu& i) { return div_rem(Op::kDivU, true, false, i.rd, i.rs1, i.rs2); }
bool Lifter::rem(const Rem& i) { return div_rem(Op::kRemS, true, true, i.rd, i.rs1, i.rs2); }
bool Lifter::remu(const Remu& i) { return div_rem(Op::kRemU, true, true, i.rd, i.rs1, i.rs2); }
bool Lifter::divw(const Divw& i) { return div_rem(Op::kDivS, false, false, i.rd, i.rs1, i.rs2); }
bool Lifter::divuw(const Divuw& i) { return div_rem(Op::kDivU, false, false, i.rd, i.rs1, i.rs2); }
bool Lifter::remw(const Remw& i) { return div_rem(Op::kRemS, false, true, i.rd, i.rs1, i.rs2); }
bool Lifter::remuw(const Remuw& i) { return div_rem(Op::kRemU, false, true, i.rd, i.rs1, i.rs2); }

// ---- Zicond

bool Lifter::czero_eqz(const CzeroEqz& i) {
    return wr(i.rd, ir.select(ir.cmp(Cmp::kEq, x(i.rs2), imm(0)), imm(0), x(i.rs1)));
}
bool Lifter::czero_nez(const CzeroNez& i) {
    return wr(i.rd, ir.select(ir.cmp(Cmp::kNe, x(i.rs2), imm(0)), imm(0), x(i.rs1)));
}

// ---- ordering, hints, environment

bool Lifter::fence(const Fence& i) {
    // The host reorders only a store with a later load. Device accesses order like memory.
    constexpr unsigned kWrites = 0b0101, kReads = 0b1010;
    if (!i.tso && (i.pred & kWrites) && (i.succ & kReads)) ir.fence();
    return true;
}
bool Lifter::fence_i(const FenceI&) { return end_trap(ExitReason::kIcache, next_pc()); }
bool Lifter::pause(const Pause&) { return end_trap(ExitReason::kYield, next_pc()); }
bool Lifter::wrs(const Wrs&) { return end_trap(ExitReason::kYield, next_pc()); }
bool Lifter::nop(const Nop&) { return true; }
bool Lifter::mop(const Mop& i) { return wr(i.rd, imm(0)); }
bool Lifter::ecall(const Ecall&) {
    if (!limits_.system_mode) return end_trap(ExitReason::kSyscall, next_pc());
    return end_trap(ExitReason::kException, pc_, Cause::kEcallU + ((ir.function().mode & Mode::kPrivMask) >> Mode::kPrivShift));
}
bool Lifter::ebreak(const Ebreak&) {
    return limits_.system_mode ? end_trap(ExitReason::kException, pc_, Cause::kBreakpoint) : end_trap(ExitReason::kBreakpoint, pc_);
}
bool Lifter::system_call(HelperId helper, uint32_t arg) {
    if (!limits_.system_mode) return false;
    ir.call_state(helper, Type::kI64, arg);
    return end_direct(next_pc());  // the helper leaves the block itself, but for a trap
}
bool Lifter::sret(const Sret&) { return system_call(kHelper_trap_return, kSupervisor); }
bool Lifter::mret(const Mret&) { return system_call(kHelper_trap_return, kMachine); }
bool Lifter::wfi(const Wfi&) { return limits_.system_mode && end_trap(ExitReason::kYield, next_pc()); }
bool Lifter::sfence_vma(const SfenceVma&) { return system_call(kHelper_fence_vma, 0); }

// ---- Zicsr: the unprivileged registers

bool Lifter::csr(const Csr& i) {
    constexpr unsigned kFflags = 0x001, kFrm = 0x002, kFcsr = 0x003, kCycle = 0xc00, kInstret = 0xc02;
    constexpr unsigned kWrite = 1, kSet = 2;
    const bool writes = i.op == kWrite || i.src != 0;
    if (i.csr >= kCycle && i.csr <= kInstret) {
        if (writes || !has(cpu_, Feature::zicntr)) return false;
        return wr(i.rd, ir.call_state(kHelper_read_counter, Type::kI64, i.csr - kCycle));
    }
    if (limits_.system_mode && (i.csr < kFflags || i.csr > kFcsr)) {
        const Ref source = i.imm ? imm(i.src) : x(i.src);
        ir.call_state(kHelper_csr_access, Type::kI64, i.csr | i.rd << 12 | static_cast<uint32_t>(i.op) << 17 | (writes ? 1u << 19 : 0), source);
        return end_direct(next_pc());
    }
    if (i.csr < kFflags || i.csr > kFcsr || !has(cpu_, Feature::f)) return false;
    const unsigned lo = i.csr == kFrm ? 5 : 0;
    const unsigned len = i.csr == kFflags ? 5 : i.csr == kFrm ? 3 : 8;

    const Ref source = i.imm ? imm(i.src) : x(i.src);  // before rd is written: they may be the same register
    const Ref whole = ir.call_state(kHelper_read_fcsr, Type::kI64);
    const Ref old = ir.ubfx(whole, lo, len);
    if (writes) {
        const Ref value = i.op == kWrite ? source : i.op == kSet ? ir.or_(old, source) : ir.andn(old, source);
        const Ref merged = ir.bfi(whole, value, lo, len);
        wr(i.rd, old);
        // The helper leaves the block when frm changes.
        ir.call_state(kHelper_write_fcsr, Type::kI64, length_, merged);
        return true;
    }
    return wr(i.rd, old);
}

}  // namespace myna::guest::riscv64
