// Lifter: what every A64 instruction's lift function works with: registers, flags, memory operands, leaving the block.
//
//   Lifter (this file) ◀── SimdLifter (lift_simd.h: Advanced SIMD and FP) ◀── InsnLifter (lift_insn.h: the rest, and
//                                                                                 the visitor of decode32)
//
// A lift function is `bool name(const Name& insn)`; it returns false, with nothing emitted, for an unallocated encoding.
//
// NZCV: set_flags only remembers the value; `set nzcv` is emitted where the flags can be seen from outside of the block:
// at exits whose target does not overwrite them first (nzcv_dead_at), before traps and state helpers, and before a memory
// access that stands between the flags and their reader. So access memory through load/store/rmw… of this class, or
// call `before_fault()` first, and call `sync_flags()` before call_state.
#pragma once

#include <cstdint>

#include "guest/aarch64/features.h"
#include "guest/aarch64/helpers.h"
#include "guest/aarch64/state.h"
#include "guest/common/arch.h"
#include "ir/builder.h"

namespace myna::guest::aarch64 {

using ir::Cmp;
using ir::Cond;
using ir::ExitReason;
using ir::kNoRef;
using ir::MemAttr;
using ir::Op;
using ir::Ref;
using ir::Type;

class Lifter {
  public:
    Lifter(ir::Builder& b, CodeFetcher& fetcher, const CpuConfig& cpu, const LiftLimits& limits)
        : b_(b), fetcher_(fetcher), cpu_(cpu), limits_(limits) {}

    // ---- general registers; n = 31 is XZR/WZR but in the _or_sp forms
    Ref x(unsigned n) { return n == 31 ? b_.imm(0) : b_.get(kX0 + n); }
    Ref w(unsigned n) { return n == 31 ? b_.imm32(0) : b_.trunc(b_.get(kX0 + n)); }
    Ref r(bool sf, unsigned n) { return sf ? x(n) : w(n); }
    Ref x_or_sp(unsigned n) { return b_.get(n == 31 ? unsigned{kSp} : kX0 + n); }
    Ref w_or_sp(unsigned n) { return b_.trunc(x_or_sp(n)); }
    Ref r_or_sp(bool sf, unsigned n) { return sf ? x_or_sp(n) : w_or_sp(n); }
    void set_x(unsigned n, Ref v) { if (n != 31) b_.set(kX0 + n, v); }
    /// `v` is kI32; bits 63..32 become zero.
    void set_w(unsigned n, Ref v) { if (n != 31) b_.set(kX0 + n, b_.zext(v)); }
    void set_r(bool sf, unsigned n, Ref v) { sf ? set_x(n, v) : set_w(n, v); }
    void set_x_or_sp(unsigned n, Ref v) { b_.set(n == 31 ? unsigned{kSp} : kX0 + n, v); }
    void set_r_or_sp(bool sf, unsigned n, Ref v) { set_x_or_sp(n, sf ? v : b_.zext(v)); }

    // ---- vector registers
    Ref v(unsigned n) { return b_.get(kV0 + n); }
    void set_v(unsigned n, Ref value) { b_.set(kV0 + n, value); }
    /// The low lane as a scalar of type `t` (kF16, kF32, kF64).
    Ref fp(Type t, unsigned n) { return b_.emit(Op::kVLow, t, 0, v(n)); }
    Ref d(unsigned n) { return fp(Type::kF64, n); }
    Ref s(unsigned n) { return fp(Type::kF32, n); }
    Ref h(unsigned n) { return fp(Type::kF16, n); }
    /// Writes a scalar; the rest of the vector register becomes zero.
    void set_fp(unsigned n, Ref value) { set_v(n, b_.emit(Op::kVZext, Type::kV128, 0, value)); }
    void set_d(unsigned n, Ref value) { set_fp(n, value); }
    void set_s(unsigned n, Ref value) { set_fp(n, value); }
    void set_h(unsigned n, Ref value) { set_fp(n, value); }
    /// Bits 127..64 of `value` cleared: the result of a 64-bit vector operation (Q = 0).
    Ref low_half(Ref value) {
        return b_.emit(Op::kVZext, Type::kV128, 0, b_.emit(Op::kVLow, Type::kF64, 0, value));
    }
    /// Writes the result of a vector operation; with q = 0 the upper half becomes zero.
    void set_vq(bool q, unsigned n, Ref value) { set_v(n, q ? value : low_half(value)); }

    // ---- NZCV
    Ref flags() { return pending_ != kNoRef ? pending_ : b_.get(kNzcv); }
    void set_flags(Ref f) { pending_ = f; }
    Ref cond(unsigned cc) { return cc >= 14 ? b_.imm32(1) : b_.cond(static_cast<Cond>(cc), flags()); }
    /// Makes the nzcv slot right: before call_state, traps, and where the flags stay visible.
    void sync_flags();
    /// Call before an operation that may fault.
    void before_fault() { if (pending_ != kNoRef) sync_flags_if_read_later(); }
    /// True when straight-line code at `pc` overwrites NZCV before anything can read it.
    bool nzcv_dead_at(uint64_t pc, unsigned budget = kLookahead);

    // ---- memory (size: log2 of the bytes; attr: further MemAttr bits)
    Ref load(Type t, unsigned attr, Ref addr, int64_t disp = 0) {
        before_fault();
        drop_tag(addr, disp);
        return b_.load(t, static_cast<uint8_t>(attr), addr, disp);
    }
    void store(unsigned attr, Ref addr, Ref value, int64_t disp = 0) {
        before_fault();
        drop_tag(addr, disp);
        b_.store(static_cast<uint8_t>(attr), addr, value, disp);
    }
    /// Top byte ignored (D8.8): only where the program was seen to use it (Mode::kTbi), so that others pay nothing.
    void drop_tag(Ref& addr, int64_t& disp) {
        if ((b_.function().mode & Mode::kTbi) == 0) [[likely]] return;
        addr = b_.sbfx(b_.add_imm(addr, disp), 0, 56);
        disp = 0;
    }
    /// The address in Xn or SP for an atomic operation.
    Ref atomic_address(unsigned n) {
        Ref addr = x_or_sp(n);
        int64_t disp = 0;
        drop_tag(addr, disp);
        return addr;
    }

    // ---- leaving the block; each of these ends it
    void end_direct(uint64_t target);
    void end_indirect(Ref target, ir::Builder::Branch kind, uint64_t return_pc = 0);
    void end_trap(ExitReason reason, uint64_t pc, uint32_t arg = 0);
    /// The mode bits changed (FPCR was written): the next instruction is looked up again.
    void end_mode() { end_trap(ExitReason::kMode, next_pc()); }
    /// A conditional branch to `target`; the block goes on behind it while limits allow.
    void branch_if(Ref condition, uint64_t target);

    [[nodiscard]] bool has(Feature f) const noexcept { return aarch64::has(cpu_, f); }
    [[nodiscard]] uint64_t pc() const noexcept { return pc_; }
    [[nodiscard]] uint64_t next_pc() const noexcept { return pc_ + 4; }
    ir::Builder& ir() noexcept { return b_; }

  protected:
    static constexpr unsigned kLookahead = 24;  // a prologue and its first comparison

    void sync_flags_if_read_later();
    bool fetch(uint64_t pc, uint32_t& raw) { return fetcher_.fetch(pc, &raw, 4) == 4; }

    ir::Builder& b_;
    CodeFetcher& fetcher_;
    const CpuConfig& cpu_;
    const LiftLimits& limits_;
    uint64_t pc_ = 0;          // of the instruction being lifted
    unsigned side_exits_ = 0;
    bool done_ = false;
    Ref pending_ = kNoRef;     // NZCV's value where `set nzcv` is not emitted yet
};

}  // namespace myna::guest::aarch64
