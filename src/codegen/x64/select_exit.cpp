// Selection of exits and of calls to helpers.
//
// A direct exit is a jump whose displacement is within eight aligned bytes, so that linking is one atomic store. Until
// then it leads to a stub behind the block: call link, then ExitStubData.
//
//   exit       [poll if backward]  jmp ▶                    exit_if   jcc ▶                (forward)
//   exit_ind   probe of header.indirect, jmp [entry]                  poll; jcc ▶          (backward)
//                                                                     jcc !c; poll; jmp ▶  (backward, EFLAGS in use)
//                                                                     jcc cold ─▶ poll; jmp ▶  (backward, more behind it)
//
// A poll before the condition makes the comparison in its cold code once more and leaves with where the branch goes: flags
// that both ways overwrite were never stored, so the branch itself could not be run again.
//
// Only backward exits poll, those not above the block's first instruction: the blocks of a cycle cannot all lead to
// higher addresses. Indirect branches see an empty cache instead.
#include "codegen/x64/selector.h"

namespace myna::x64 {

namespace {
/// How many no-ops put the rel32 behind `opcode_bytes` of opcode within eight aligned bytes.
unsigned rel32_padding(const Emitter& e, unsigned opcode_bytes) {
    const uint32_t at = (e.offset() + opcode_bytes) & 7;
    return at > 4 ? 8 - at : 0;
}
}  // namespace

void Selector::select_exit(Ref i) {
    switch (inst(i).op) {
        case Op::kExit: exit_direct(i); return;
        case Op::kExitIf: exit_if(i); return;
        case Op::kExitInd: exit_indirect(i); return;
        default: exit_trap(i); return;
    }
}

void Selector::store_pc(uint64_t pc) {
    if (fits_i32(static_cast<int64_t>(pc))) {
        e.mov_mi(true, MYNA_HDR(pc), static_cast<int32_t>(pc));
    } else {
        e.mov_ri(Gpr::rax, pc);
        e.mov_mr(true, MYNA_HDR(pc), Gpr::rax);
    }
}

/// Leaves with kPoll and pc = target when an exit request is pending.
void Selector::poll(uint64_t target) {
    e.alu_mi(Alu::cmp, false, MYNA_HDR(poll), 0);
    Cold& c = cold_if(Cc::ne, [](Selector& s, const Cold& self) {
        s.call_stub(s.stubs_.poll);
        s.e.put64(self.data[0]);
    });
    c.data[0] = target;
}

/// The same in cold code.
void Selector::poll_here(uint64_t target) {
    e.alu_mi(Alu::cmp, false, MYNA_HDR(poll), 0);
    const uint32_t none = e.jcc8(Cc::e);
    call_stub(stubs_.poll);
    e.put64(target);
    e.bind8(none);
}

void Selector::exit_jump(uint64_t target) {
    e.nop(rel32_padding(e, 1));
    out_->exits.push_back({e.jmp32(), 0, target});
}

void Selector::exit_direct(Ref i) {
    const uint64_t target = inst(i).imm;
    if (target <= f_->pc) poll(target);
    exit_jump(target);
}

void Selector::exit_if(Ref i) {
    const Inst& n = inst(i);
    uint64_t k = 0;
    if (ra.is_const(n.a, &k)) {
        if (k != 0) exit_jump(n.imm);  // what follows is dead but valid
        return;
    }
    prepare_condition(n.a);
    keep_flags();
    const bool backward = n.imm <= f_->pc;
    // … when it is the way round a loop: the way out is polled for only when it is taken.
    const bool last = i + 1 == f_->insts.size() || inst(i + 1).op == Op::kExit;
    const bool early = backward && last && i + 1 != f_->insts.size() && !uses_eflags(n.a);
    const size_t cold_poll = cold_.size();
    if (early) {
        flags_changed();
        e.alu_mi(Alu::cmp, false, MYNA_HDR(poll), 0);
        cold_if(Cc::ne, [](Selector& s, const Cold& self) {
            s.e.repeat(static_cast<uint32_t>(self.data[2] >> 32), static_cast<uint32_t>(self.data[2]));
            const uint32_t taken = s.e.jcc8(static_cast<Cc>(self.data[3]));
            s.call_stub(s.stubs_.poll);
            s.e.put64(self.data[1]);
            s.e.bind8(taken);
            s.call_stub(s.stubs_.poll);
            s.e.put64(self.data[0]);
        });
    }
    const uint32_t compare = e.offset();
    const size_t compare_log = ra.log_mark();
    const Cc cc = condition(n.a);
    const uint32_t compare_bytes = e.offset() - compare;
    if (!backward || early) {
        // The comparison stays with its jump: the host makes one operation of the two.
        const unsigned padding = rel32_padding(e, 2);
        const bool in_front = inst(n.a).op == Op::kCmp;
        if (in_front) {
            e.nop_at(compare, padding);
            ra.code_moved(compare_log, padding);
        } else {
            e.nop(padding);
        }
        if (early) {
            Cold& c = cold_[cold_poll];
            c.data[0] = n.imm;
            c.data[1] = inst(i + 1).imm;
            c.data[2] = uint64_t{compare + (in_front ? padding : 0)} << 32 | compare_bytes;
            c.data[3] = static_cast<uint64_t>(cc);
        }
        out_->exits.push_back({e.jcc32(cc), 0, n.imm});
        return;
    }
    if (!last) {
        cold_if(cc, [](Selector& s, const Cold& self) {
            s.poll_here(self.data[0]);
            s.exit_jump(self.data[0]);
        }).data[0] = n.imm;
        return;
    }
    const uint32_t stay = e.jcc8(invert(cc));
    poll(n.imm);
    exit_jump(n.imm);
    e.bind8(stay);
}

void Selector::exit_indirect(Ref i) {
    const Inst& n = inst(i);
    Gpr pc = ra.use(n.a);
    if (pc == Gpr::rcx || pc == Gpr::rdx) {
        e.mov_rr(true, Gpr::rax, pc);
        pc = Gpr::rax;
    }
    // entry = indirect + ((pc >> align) & mask) * 16; the two shifts are one scale where it fits.
    const unsigned align = arch_.insn_align_log2;
    e.mov_rm(true, Gpr::rcx, MYNA_HDR(indirect));
    e.mov_rr(false, Gpr::rdx, pc);
    e.alu_ri(Alu::and_, false, Gpr::rdx, static_cast<int32_t>((guest::kIndirectEntries - 1) << align));
    unsigned scale = 4 - align;
    if (scale > 3) {
        e.shift_ri(Shift::shl, false, Gpr::rdx, 1);
        scale = 3;
    }
    const Mem entry = Mem::at(Gpr::rcx, Gpr::rdx, scale);
    e.alu_rm(Alu::cmp, true, pc, entry);
    if (pc == Gpr::rax) {
        rel_to(e.jcc32(Cc::ne), stubs_.lookup);
    } else {
        Cold& c = cold_if(Cc::ne, [](Selector& s, const Cold& self) {
            s.e.mov_rr(true, Gpr::rax, static_cast<Gpr>(self.data[0]));
            s.rel_to(s.e.jmp32(), s.stubs_.lookup);
        });
        c.data[0] = num(pc);
    }
    e.jmp_m(entry.plus(8));
}

void Selector::exit_trap(Ref i) {
    const Inst& n = inst(i);
    store_pc(n.imm);
    if (n.b != kNoRef) {
        e.mov_ri(Gpr::rax, n.b);
        e.mov_mr(true, MYNA_HDR(trap_arg), Gpr::rax);
    }
    e.mov_ri(Gpr::rax, n.sub);
    rel_to(e.jmp32(), stubs_.exit);
}

void Selector::select_call(Ref i) {
    clobber_flags();
    switch (inst(i).op) {
        case Op::kCall: call_pure(i); return;
        case Op::kVCall: call_vector(i); return;
        default: call_state(i); return;
    }
}

/// Moves operands to argument registers, all at once: a register may be the source of one and the target of another.
void Selector::move_args(const Gpr* to, const Ref* from, unsigned count) {
    struct Move {
        Gpr to;
        Reg from;
        Ref value;
    };
    Move todo[3];
    unsigned left = 0;
    for (unsigned k = 0; k < count; ++k)
        if (from[k] != kNoRef) todo[left++] = {to[k], ra.where(from[k]), from[k]};
    while (left != 0) {
        bool moved = false;
        for (unsigned k = 0; k < left && !moved; ++k) {
            bool blocked = false;
            for (unsigned j = 0; j < left; ++j) blocked |= j != k && todo[j].from == reg_of(todo[k].to);
            if (blocked) continue;
            if (todo[k].from == kNoReg)
                ra.copy_to(todo[k].to, todo[k].value);
            else if (todo[k].from != reg_of(todo[k].to))
                e.mov_rr(true, todo[k].to, static_cast<Gpr>(todo[k].from));
            todo[k] = todo[--left];
            moved = true;
        }
        if (moved) continue;
        // A cycle: exchange, after which the first is in place.
        const Gpr a = todo[0].to, b = static_cast<Gpr>(todo[0].from);
        e.xchg_rr(true, a, b);
        for (unsigned j = 1; j < left; ++j) {
            if (todo[j].from == reg_of(a))
                todo[j].from = reg_of(b);
            else if (todo[j].from == reg_of(b))
                todo[j].from = reg_of(a);
        }
        todo[0] = todo[--left];
    }
}

void Selector::call_pure(Ref i) {
    const Inst& n = inst(i);
    constexpr Gpr kArgs[] = {Gpr::rdi, Gpr::rbx, Gpr::rdx};
    const Ref args[] = {n.a, n.b, n.c};
    ra.save_for_call(false);
    move_args(kArgs, args, 3);
    ra.forget_scratch(false);
    e.mov_rm(true, Gpr::rax, MYNA_HDR(helpers));
    e.mov_rm(true, Gpr::rax, Mem::at(Gpr::rax, static_cast<int32_t>(n.imm * 8)));
    call_stub(stubs_.call_pure);
    ra.def_in(i, Gpr::rax);
}

void Selector::call_vector(Ref i) {
    const Inst& n = inst(i);
    const Ref args[] = {n.a, n.b, n.c};
    ra.save_for_call(false);
    for (unsigned k = 0; k < 3; ++k)
        if (args[k] != kNoRef) e.store128a(vscratch_mem(k), ra.use_x(args[k]));
    ra.forget_scratch(false);
    e.mov_rm(true, Gpr::rax, MYNA_HDR(helpers));
    e.mov_rm(true, Gpr::rax, Mem::at(Gpr::rax, static_cast<int32_t>((n.imm & 0xffff) * 8)));
    e.mov_ri(Gpr::rdx, n.imm >> 16);
    call_stub(stubs_.call_vector);
    ra.start(i);  // the operands' locks are void
    e.load128a(ra.def_x(i), vscratch_mem(0));
}

void Selector::call_state(Ref i) {
    const Inst& n = inst(i);
    constexpr Gpr kArgs[] = {Gpr::rbx, Gpr::rdx, Gpr::rcx};
    const Ref args[] = {n.a, n.b, n.c};
    ra.save_for_call(true);
    move_args(kArgs, args, 3);
    store_pc(pc_);
    ra.forget_scratch(true);
    e.mov_rm(true, Gpr::rax, MYNA_HDR(helpers));
    e.mov_rm(true, Gpr::rax, Mem::at(Gpr::rax, static_cast<int32_t>((n.imm & 0xffff) * 8)));
    e.mov_ri(Gpr::rdi, n.imm >> 16);
    call_stub(stubs_.call_state);
    fault_point();  // the return address: a fault in the helper is this instruction's
    if (n.type != Type::kVoid) ra.def_in(i, Gpr::rax);
}

}  // namespace myna::x64
