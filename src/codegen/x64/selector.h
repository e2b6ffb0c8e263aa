// The Selector: walks a Function once, forwards, and emits host code for each instruction.
//
//   begin ─▶ sweep() ─▶ for each instruction: select_*() ─▶ cold paths ─▶ literals
//
// One class in several files by topic: select_int, select_mem, select_flags, select_exit, select_fp, select_vec. Each
// select_* gets the instruction's Ref. EFLAGS may hold a guest flags value (select_flags.cpp): before anything that
// changes EFLAGS, clobber_flags() must have been called; the driver does so before every instruction that is not on its
// list of those that take care themselves (all FP and vector ones are taken to change EFLAGS).
#pragma once

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

    // ---- flags (select_flags.cpp)
    /// What is in EFLAGS is about to be lost: it is kept elsewhere if it is still needed.
    void clobber_flags();
    /// Sets EFLAGS for a condition (a fused cond or cmp, or any boolean value); the Cc that is true when it holds.
    Cc condition(Ref cond);

    // ---- calls (select_exit.cpp)
    void select_call(Ref i);

  private:
    friend class Sweep;
    void sweep();

    const guest::GuestArch& arch_;
    Options opt_;
    const Layout& layout_;
    const ir::Function* f_ = nullptr;
    Stubs stubs_{};
    uint64_t exec_ = 0;
    CompiledBlock* out_ = nullptr;
    std::vector<Value> values_;
    std::vector<Cold> cold_;
};

}  // namespace myna::x64
