// Compiler: the public face; and the driver that takes a Function through sweep, selection, cold paths and literals.
//
//   hot code                                     | cold paths | exit stubs | literals
//   ─────────────────────────────────────────────┼────────────┼────────────┼─────────
//   jcc ──▶ cold path, jmp back                  |            |            |
//   jmp [aligned rel32] ──▶ exit stub ──▶ link; later patched ──▶ another block
#include "codegen/x64/compiler.h"

#include <cstring>

#include "codegen/x64/selector.h"
#include "codegen/x64/stubs.h"

namespace myna::x64 {

namespace {
constexpr size_t kRoomPerInst = 768;   // more than any instruction's hot code
constexpr size_t kRoomPerCold = 256;
constexpr size_t kExitStubBytes = kExitStubCall + sizeof(ExitStubData);
}  // namespace

void CompiledBlock::clear() {
    code_bytes = 0;
    exits.clear();
    faults.clear();
    guest_pcs.clear();
    stub_fields.clear();
}

Selector::Selector(const guest::GuestArch& arch, const Options& opt, const Layout& layout)
    : ra(e, arch, layout), arch_(arch), opt_(opt), layout_(layout) {}

Cold& Selector::add_cold(Cold::Emit emit, uint32_t field) {
    cold_.push_back({emit, field, 0, {}, ra.current()});
    return cold_.back();
}

void Selector::soft_call(RtHelper h, uint32_t arg) {
    e.put8(0x68), e.put32(arg);                        // push imm32
    e.put8(0x68), e.put32(static_cast<uint32_t>(h));
    call_stub(stubs_.soft);
    e.lea(true, Gpr::rsp, Mem::at(Gpr::rsp, 16));
}

void Selector::hot_soft_call(RtHelper h, uint32_t arg) {
    e.mov_rm(true, Gpr::rax, MYNA_HDR(rt_helpers));
    e.mov_rm(true, Gpr::rax, Mem::at(Gpr::rax, static_cast<int32_t>(h) * 8));
    e.mov_ri(Gpr::rdx, arg);
    call_stub(stubs_.call_vector);
}

bool Selector::compile(const ir::Function& f, std::span<uint8_t> write, uint64_t exec, const Stubs& stubs, CompiledBlock& out) {
    f_ = &f;
    exec_ = exec;
    stubs_ = stubs;
    out_ = &out;
    out.clear();
    cold_.clear();
    flags_changed();
    pc_ = f.pc;
    e.begin(write.data(), write.data() + write.size(), opt_.host.avx);
    sweep();
    ra.begin(f, values_.data(), first_set_);
    const auto n = static_cast<Ref>(f.insts.size());
    for (Ref i = 0; i < n; ++i) {
        if (values_[i].marks & (Value::kDead | Value::kFused)) continue;
        if (!e.room(kRoomPerInst)) return false;
        ra.start(i);
        select(i);
    }
    if (!e.room(cold_.size() * kRoomPerCold + out.exits.size() * kExitStubBytes + e.literal_bytes() + 64)) return false;
    emit_tail();
    out.code_bytes = e.offset();
    return !ra.failed();
}

/// Cold paths, the stubs of exits that are not linked yet, literals.
void Selector::emit_tail() {
    ra.end_of_hot();
    for (size_t k = 0; k < cold_.size(); ++k) {
        const Cold c = cold_[k];
        if (c.field != 0) e.bind32(c.field);
        c.emit(*this, c);
    }
    for (ExitSite& x : out_->exits) {
        x.stub_offset = e.offset();
        e.set_rel32(x.disp_offset, x.stub_offset);
        call_stub(stubs_.link);
        e.put64(x.target_pc);
    }
    e.resolve_literals();
}

void Selector::select(Ref i) {
    const Inst& n = inst(i);
    switch (n.op) {
        case Op::kInsn:
            pc_ = n.imm;
            out_->guest_pcs.push_back(pc_);
            return;
        case Op::kConst:
        case Op::kVConst: return;
        case Op::kGet: ra.get_slot(i, static_cast<unsigned>(n.imm)); return;
        case Op::kSet:
            if (arch_.slots[n.imm].type == Type::kFlags)
                set_flags_slot(static_cast<unsigned>(n.imm), n.a);
            else
                ra.set_slot(static_cast<unsigned>(n.imm), n.a);
            return;
        case Op::kTrunc: ra.alias(i, n.a); return;
        case Op::kZext:
            if (values_[i].marks & Value::kNarrow) {
                ra.alias(i, n.a);
                return;
            }
            if (ra.is_zext(n.a)) {
                ra.alias(i, n.a);
            } else {
                const Gpr s = ra.use(n.a);
                e.mov_rr(false, ra.def_over(i), s);
            }
            ra.mark_zext(i);
            return;
        case Op::kSext: {
            Mem m;
            if (values_[i].marks & Value::kNarrow) {
                ra.alias(i, n.a);
            } else if (ra.mem_operand(n.a, &m)) {
                e.movsxd_rm(ra.def_over(i), m);
            } else {
                const Gpr s = ra.use(n.a);
                e.movsxd_rr(ra.def_over(i), s);
            }
            return;
        }
        default: break;
    }
    if (n.op < Op::kFlSub)
        select_int(i);
    else if (n.op <= Op::kCond)
        select_flags(i);
    else if (n.op <= Op::kFence)
        select_mem(i);
    else if (n.op <= Op::kCallState)
        select_call(i);
    else if (n.op <= Op::kExitTrap)
        select_exit(i);
    else {
        if (!keeps_eflags(n)) clobber_flags();
        n.op <= Op::kFRound ? select_fp(i) : select_vec(i);
    }
    if (n.op == Op::kLoad && in_xmm(n.type)) ra.mark_zero_from(i, n.type == Type::kF64 ? 64 : n.type == Type::kF32 ? 32 : n.type == Type::kF16 ? 16 : 128);
    if (produces_zext(n)) ra.mark_zext(i);
}

struct Compiler::Impl {
    const guest::GuestArch& arch;
    Options opt;
    Layout layout;
    Selector selector;
    Stubs stubs;

    Impl(const guest::GuestArch& a, const Options& o) : arch(a), opt(o), layout(a, o.pin), selector(a, o, layout) {}
};

Compiler::Compiler(const guest::GuestArch& arch, const Options& opt) : impl_(new Impl(arch, opt)) {}
Compiler::~Compiler() { delete impl_; }

Result<Stubs> Compiler::emit_stubs(std::span<uint8_t> write, uint64_t exec) {
    return write_stubs(impl_->arch, impl_->layout, impl_->opt, write, exec);
}

void Compiler::log_allocation(AllocLog* log) { impl_->selector.ra.set_log(log); }

void Compiler::use_stubs(const Stubs& s) { impl_->stubs = s; }

bool Compiler::compile(const ir::Function& f, std::span<uint8_t> write, uint64_t exec, CompiledBlock& out) {
    Selector& s = impl_->selector;
    if (s.compile(f, write, exec, impl_->stubs, out)) return true;
    if (!s.ra.failed()) return false;
    // Fused operands live longer and meet in one instruction: without that there is room for all.
    s.set_fuse(false);
    const bool done = s.compile(f, write, exec, impl_->stubs, out);
    s.set_fuse(impl_->opt.fuse);
    return done;
}

}  // namespace myna::x64
