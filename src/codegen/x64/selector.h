// The Selector: walks a Function once, forwards, and emits host code for each instruction.
//
//   begin ─▶ sweep() ─▶ for each instruction: select_*() ─▶ cold paths ─▶ literals
//
// One class in several files by topic: select_int, select_mem, select_flags, select_exit, select_fp, select_vec. Each
// select_* gets the instruction's Ref. EFLAGS may hold a guest flags value (select_flags.cpp): before anything that
// changes EFLAGS, clobber_flags() must have been called; the driver does so before every instruction that is not on its
// list of those that take care themselves (all FP and vector ones are taken to change EFLAGS).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "codegen/x64/compiler.h"
#include "codegen/x64/emitter.h"
#include "codegen/x64/regalloc.h"
#include "codegen/x64/runtime.h"
#include "guest/common/state.h"
#include "ir/function.h"

namespace myna::x64 {

using ir::Cmp;
using ir::Cond;
using ir::Elem;
using ir::Inst;
using ir::Op;

/// The header field at byte offset `off` as a memory operand.
constexpr Mem header_mem(size_t off) { return Mem::at(Gpr::rbp, static_cast<int32_t>(off) - kStateBias); }
#define MYNA_HDR(field) (::myna::x64::header_mem(offsetof(::myna::guest::VcpuHeader, field)))

class Selector;

/// Code behind the block's hot part. `emit` runs when all hot code is out; the registers are as they were at `field`.
struct Cold {
    using Emit = void (*)(Selector&, const Cold&);
    Emit emit;
    uint32_t field;      // rel32 of the jump that leads here (bound before emit runs)
    uint32_t back;       // hot offset to return to, set by the caller after the hot instructions
    uint64_t data[4];    // whatever `emit` needs: registers, opcodes, immediates
    Ref inst;
};

class Selector {
  public:
    Selector(const guest::GuestArch& arch, const Options& opt, const Layout& layout);

    bool compile(const ir::Function& f, std::span<uint8_t> write, uint64_t exec, const Stubs& stubs, CompiledBlock& out);

    void set_fuse(bool on) { opt_.fuse = on; }

    Emitter e;
    RegAlloc ra;

    [[nodiscard]] const Inst& inst(Ref r) const { return (*f_)[r]; }
    [[nodiscard]] const ir::Function& function() const { return *f_; }
    [[nodiscard]] const HostFeatures& host() const { return opt_.host; }

    /// Jumps to cold code when `c` holds. Set Cold::back (normally e.offset() after the hot path) and data through the
    /// reference before the next call.
    Cold& cold_if(Cc c, Cold::Emit emit) { return add_cold(emit, e.jcc32(c)); }
    Cold& add_cold(Cold::Emit emit, uint32_t field);
    /// In cold code: calls runtime helper `h` (VcpuHeader*, V128* io, arg) with io = hdr.vscratch. All registers and the
    /// stack are kept, EFLAGS are not. Store operands to vscratch_mem(i) before, load the result from vscratch_mem(0).
    void soft_call(RtHelper h, uint32_t arg);
    static constexpr Mem vscratch_mem(unsigned i) {
        return Mem::at(Gpr::rbp, static_cast<int32_t>(offsetof(guest::VcpuHeader, vscratch) + 16 * i) - kStateBias);
    }
    /// In hot code: calls a runtime helper as a vector helper; operands are in vscratch, scratch registers are lost
    /// (call ra.save_for_call(false) before storing operands, ra.forget_scratch(false) after), pinned ones kept.
    void hot_soft_call(RtHelper h, uint32_t arg);

    // ---- by topic; `i` is the instruction
    void select_int(Ref i);
    void select_mem(Ref i);
    void select_flags(Ref i);
    void select_exit(Ref i);
    void select_fp(Ref i);   // bitcast … fround (scalar FP and moves between files)
    void select_vec(Ref i);  // vand … vsha256su
    /// True for FP and vector operations whose code leaves EFLAGS alone.
    bool keeps_eflags(const Inst& n) const;
    /// The sweep's knowledge of a value.
    const Value& value(Ref r) const { return values_[r]; }

    // ---- flags (select_flags.cpp)
    /// What is in EFLAGS is about to be lost: it is kept elsewhere if it is still needed. Before operands are asked for.
    void clobber_flags();
    /// EFLAGS hold a guest flags value that is needed after this instruction: prefer lea and mov to add and xor.
    bool flags_wanted() const { return eflags_ != kNoRef && values_[eflags_].last_use > ra.current(); }
    /// Sets EFLAGS for a condition (a fused cond or cmp, or any boolean value); the Cc that is true when it holds. The
    /// caller must have called prepare_condition() before asking for operands.
    Cc condition(Ref cond);
    /// Keeps other flags and frees the registers that condition(cond) will need.
    void prepare_condition(Ref cond);
    /// `set` of a flags slot.
    void set_flags_slot(unsigned slot, Ref flags);

    // ---- memory (select_mem.cpp)
    /// The operand for guest address a + disp; may use fused adds and shifts.
    Mem address(Ref a, uint64_t disp);
    /// … for an atomic operation; system mode: the host address.
    Mem atomic_address(const Inst& n);
    /// The next host instruction may fault.
    void fault_point();

    // ---- exits and calls (select_exit.cpp)
    void select_call(Ref i);
    /// Moves up to three integer operands into rbx-, rdx- or rdi-like argument registers at once.
    void move_args(const Gpr* to, const Ref* from, unsigned count);

    /// The instruction's result register is zero above bit 31 when it is selected as a 32-bit operation.
    static bool produces_zext(const Inst& i);

  private:
    friend class Sweep;
    /// What kind of operation left EFLAGS, thus how conditions read them.
    enum class Form : uint8_t {
        kSub,        // CF is the inverse of C
        kAdd,        // CF is C (also logical operations: CF = OF = 0)
        kFcmp,       // ucomis a, b
        kFcmpSwapped,// ucomis b, a
        kFcmpOrdered,// ucomis a, b, then unordered turned into CF = ZF = 0, OF = 1
    };

    void sweep();
    void select(Ref i);
    void emit_tail();

    // select_int.cpp
    void add(Ref i);
    void sub(Ref i);
    void logic(Ref i, Alu op);
    void shift(Ref i);
    void bit_field(Ref i);
    void bfi(Ref i);
    void count_bits_int(Ref i);
    void reverse(Ref i);
    void mul_high(Ref i);
    void divide(Ref i);
    void compare_value(Ref i);
    void select_value(Ref i);
    void carry_less(Ref i);
    void crc(Ref i);
    bool imm32_of(Ref r, bool w, int32_t* v) const;
    /// Emits `op d, operand` with the operand as immediate, memory or register.
    void alu_with(Alu op, bool w, Gpr d, Ref operand);

    // select_flags.cpp
    Cc compare_for(const Inst& n);
    void compare_operands(bool w, Ref a, Ref b);
    void test_operand(bool w, Ref a, bool zero_only);
    Cc cond_of(Ref flags, Cond cc);
    void ensure_eflags(Ref flags);
    void emit_flags(Ref flags);
    void to_sub_form();
    void ordered_form();
    void raw_to_rax();
    Gpr raw_gpr(Ref flags);
    void set_eflags(Ref flags, Form form) { eflags_ = flags, eflags_form_ = form; }
    void flags_changed() { eflags_ = eflags_of_ = kNoRef; }
    /// A copy of the flags in EFLAGS, when they are needed later and cannot be made again.
    void keep_flags();
    bool uses_eflags(Ref condition) const;
    void prepare_flags(Ref flags);
    /// EFLAGS reflect the result of instruction i (and of its pair).
    void result_flags(Ref i, Form form);
    bool lazy(Ref flags) const;
    void ccmp(Ref i);
    void fcmp_flags(Ref i);
    void flag_select(Ref i);
    void pack_nzcv(Ref i);
    void unpack_nzcv(Ref i);
    void save_raw();

    // select_mem.cpp
    void load(Ref i);
    void store(Ref i);
    void rmw(Ref i);
    void cas(Ref i);
    void cas16(Ref i);
    void load_link(Ref i);
    void store_conditional(Ref i);
    void load_from(Ref i, Mem m);
    void store_to(Ref i, Mem m);
    void swap_bytes(Gpr r, unsigned size);
    void swap_bytes(Xmm d, Xmm s);
    void widen(Gpr d, Gpr s, unsigned size, bool sign);
    Mem one_register(Mem m);
    Mem address_beside_quads(const Inst& n);

    // select_softmmu.cpp
    void softmmu_load(Ref i);
    void softmmu_store(Ref i);
    Mem probe(Mem m, const Inst& n, bool write, size_t* cold, Reg keep = kNoReg);
    void emit_slow_access(const Cold& c);
    void extend_loaded(Ref i, Gpr d, Gpr s, unsigned size, bool sign);

    // select_exit.cpp
    void exit_direct(Ref i);
    void exit_if(Ref i);
    void exit_indirect(Ref i);
    void exit_trap(Ref i);
    void call_pure(Ref i);
    void call_vector(Ref i);
    void call_state(Ref i);
    void exit_jump(uint64_t target);
    void poll(uint64_t target);
    void poll_here(uint64_t target);
    void call_stub(uint64_t stub) { rel_to(e.call32(), stub); }
    void rel_to(uint32_t field, uint64_t stub) {
        if (out_->keep_stub_fields) [[unlikely]] out_->stub_fields.push_back(field);
        e.set_rel32(field, static_cast<uint32_t>(stub - exec_));
    }
    void store_pc(uint64_t pc);

    const guest::GuestArch& arch_;
    Options opt_;
    const Layout& layout_;
    const ir::Function* f_ = nullptr;
    Stubs stubs_{};
    uint64_t exec_ = 0;
    CompiledBlock* out_ = nullptr;
    std::vector<Value> values_;
    std::array<uint32_t, 32> first_set_{};  // by pinned register: the set that is the first use of its slot, 0: it is none
    std::vector<Cold> cold_;
    Ref eflags_ = kNoRef;             // the guest flags value in EFLAGS
    Form eflags_form_ = Form::kSub;
    Ref eflags_of_ = kNoRef;          // the integer value whose sign and zero EFLAGS show
    bool eflags_logic_ = false;       // … and CF = OF = 0
    uint64_t pc_ = 0;                 // of the current guest instruction
};

}  // namespace myna::x64
