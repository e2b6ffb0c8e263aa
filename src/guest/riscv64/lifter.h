// Lifter: RISC-V instructions to IR, one function a handler of insn.decode, grouped by topic in lift_*.cpp.
//
//   lift_block (lift_block.cpp) ── fetch ─▶ decode16/decode32 ──▶ Lifter::<handler>(fields) ──▶ Builder
//
// A handler returns false, with nothing emitted, when the encoding is undefined here. A handler that leaves the block
// sets done_.
//
// Single and half precision values are NaN boxed in 64-bit registers: wr_f boxes, f() unboxes, and the Builder folds one
// into the other inside a block. frm is part of the block key: an operation with the dynamic mode, or a static mode equal
// to it, is an ordinary IR operation; any other static mode goes to the helper fp_static.
#pragma once

#include <cstdint>

#include "guest/riscv64/decode.inc.h"
#include "guest/riscv64/helpers.h"
#include "guest/riscv64/state.h"
#include "ir/builder.h"

namespace myna::guest::riscv64 {

using ir::Cmp;
using ir::ExitReason;
using ir::kNoRef;
using ir::MemAttr;
using ir::Op;
using ir::Ref;
using ir::Type;

class Lifter {
  public:
    Lifter(ir::Builder& b, CodeFetcher& fetcher, const CpuConfig& cpu, const LiftLimits& limits)
        : ir(b), fetcher_(fetcher), cpu_(cpu), limits_(limits), frm_(b.function().mode & Mode::kFrmMask) {}

    /// Lifts the block at the Builder's pc.
    void block();

    // ---- what the generated decoder calls
    [[nodiscard]] bool enabled(InsnId id) const noexcept { return row_enabled(id, cpu_); }
#define RV_DECLARE(handler, Fields) bool handler(const Fields& i);
    RISCV64_HANDLERS(RV_DECLARE)
#undef RV_DECLARE

  private:
    // ---- integer registers; 32-bit values are sign extended when written
    Ref x(unsigned n) { return n ? ir.get(kX0 + n) : ir.imm(0); }
    Ref w(unsigned n) { return n ? ir.trunc(ir.get(kX0 + n)) : ir.imm32(0); }
    bool wr(unsigned rd, Ref v) {
        if (rd == 0) return true;
        if (skipped_left_ != 0) note_conditional_write(rd);
        ir.set(kX0 + rd, v);
        return true;
    }
    bool wr_w(unsigned rd, Ref v) { return rd ? wr(rd, ir.sext(v)) : true; }
    Ref imm(int64_t v) { return ir.imm(static_cast<uint64_t>(v)); }
    Ref imm_w(int64_t v) { return ir.imm32(static_cast<uint32_t>(v)); }
    Ref flag(Ref boolean) { return ir.zext(boolean); }

    // ---- floating point; fmt: 0 S, 1 D, 2 H
    static Type type_of_fmt(unsigned fmt) { return fmt == 0 ? Type::kF32 : fmt == 1 ? Type::kF64 : Type::kF16; }
    Ref f(unsigned n, unsigned fmt);
    /// The register's low bits as a value of the format, boxed or not (stores and FMV.X do not look at the box).
    Ref f_raw(unsigned n, unsigned fmt);
    bool wr_f(unsigned rd, unsigned fmt, Ref v);
    /// Resolves a row's rm field: false when reserved.
    bool rounding(unsigned rm, unsigned& mode) const noexcept {
        mode = rm == kDyn ? frm_ : rm;
        return mode <= kRmm;
    }
    static ir::Round round_of(unsigned rm) noexcept;
    /// The result as type_of_fmt(c.fmt), or kF64 bits for kCvtmod.
    Ref fp_call(FpCall c, Ref a, Ref b = kNoRef, Ref d = kNoRef);
    bool fp_binary(Op op, FpCall::Op call, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2, unsigned rm);
    bool fp_fma(unsigned negate, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2, unsigned rs3, unsigned rm);
    bool fp_minmax(Op op, ir::MinMax kind, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2);
    bool fp_compare(uint8_t cmp, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2);
    bool fp_sign(unsigned kind, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2);

    // ---- atomics
    bool amo(Op op, unsigned size, unsigned rd, unsigned rs1, unsigned rs2);
    static uint8_t amo_attr(unsigned size) {
        return static_cast<uint8_t>(size | MemAttr::kAcquire | MemAttr::kRelease | (size < 2 ? MemAttr::kSigned : 0));
    }
    bool div_rem(Op op, bool wide, bool is_rem, unsigned rd, unsigned rs1, unsigned rs2);
    Ref min_max(Cmp cc, Ref a, Ref b) { return ir.select(ir.cmp(cc, a, b), a, b); }

    // ---- cryptography
    Ref vector_of(Ref low, Ref high);
    bool wr_low(unsigned rd, Ref vector);
    Ref aes_round(Op op, unsigned rs1, unsigned rs2);
    Ref sha(Ref v, unsigned r1, unsigned r2, unsigned r3, bool shift_last);
    Ref sm3(Ref v, unsigned left1, unsigned left2);

    // ---- branches over plain instructions (lift_branch.cpp)
    /// Makes a branch with the condition `taken` a matter of selects, when it skips, or goes away for, so few and so plain
    /// instructions that doing them is cheaper than a wrong prediction.
    bool if_convert(Ref taken, uint64_t target);
    [[nodiscard]] static bool is_plain(uint32_t raw) noexcept;
    void note_conditional_write(unsigned rd);
    /// All conditional instructions are lifted: what they wrote becomes old or new by the condition.
    void end_conditional();
    /// The instruction at pc_, one of them, is undefined: it must be reached only when the branch goes there.
    void abandon_conditional();
    /// The block may go round once more, back to its first instruction.
    [[nodiscard]] bool may_repeat() const noexcept;
    /// The block may go on at the target of the unconditional jump at pc_.
    [[nodiscard]] bool may_follow(uint64_t target) noexcept;

    // ---- leaving the block
    bool end_direct(uint64_t target) {
        ir.exit(target);
        return done_ = true;
    }
    bool end_trap(ExitReason reason, uint64_t at, uint32_t arg = 0) {
        ir.exit_trap(reason, at, arg);
        return done_ = true;
    }
    /// System mode: an instruction that is all done by a helper. False in user mode.
    bool system_call(HelperId helper, uint32_t arg);
    [[nodiscard]] uint64_t next_pc() const noexcept { return pc_ + length_; }

    /// Fetches the instruction at pc_; its length in bytes, or what could be fetched of it (0, 2) with `ok` false.
    unsigned fetch(uint32_t& raw, bool& ok);

    ir::Builder& ir;
    CodeFetcher& fetcher_;
    const CpuConfig& cpu_;
    const LiftLimits& limits_;
    const unsigned frm_;       // of the block key
    uint64_t pc_ = 0;          // of the instruction being lifted
    uint64_t next_ = 0;        // of the one to lift after it
    unsigned length_ = 0;
    unsigned count_ = 0;       // instructions so far
    unsigned rounds_ = 1;      // times the block's first instruction is in it
    unsigned round_length_ = 0;  // instructions of the first round, once it is known
    unsigned side_exits_ = 0;
    unsigned follows_ = 0;     // the last round in which a backward jump was followed
    unsigned follow_end_ = ~0u;  // where the first round ends, if it has not come back to its start by then
    // Conditional instructions: lifted unconditionally, and undone by select.
    unsigned skipped_left_ = 0;  // of them to lift
    bool skip_when_taken_ = false;
    Ref taken_ = kNoRef;
    uint64_t resume_ = 0;      // where control goes on behind them
    unsigned written_count_ = 0;
    struct { unsigned rd; Ref old; } written_[4] = {};
    bool done_ = false;
};

}  // namespace myna::guest::riscv64
