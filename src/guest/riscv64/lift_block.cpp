// One block: straight-line code, past conditional branches, up to the limits or an instruction that always leaves.
#include "guest/riscv64/lifter.h"
#include "guest/riscv64/system.h"

namespace myna::guest::riscv64 {

namespace {
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t page_of(uint64_t pc) noexcept { return pc / kPageBytes; }
}  // namespace

unsigned Lifter::fetch(uint32_t& raw, bool& ok) {
    raw = 0;
    // The second half of an instruction at the end of a page is asked for only when there is one: the next page may
    // not be executable, and a block should not depend on bytes it does not use.
    const bool page_end = page_of(pc_) != page_of(pc_ + 3);
    unsigned got = fetcher_.fetch(pc_, &raw, page_end ? 2 : 4);
    const bool wide = (raw & 3) == 3;
    if (got == 2 && wide && page_end) {
        uint16_t high = 0;
        got += fetcher_.fetch(pc_ + 2, &high, 2);
        raw |= static_cast<uint32_t>(high) << 16;
    }
    const unsigned length = wide ? 4 : 2;
    ok = got >= length;
    if (!wide) raw &= 0xffff;
    return ok ? length : got & ~1u;
}

void Lifter::block() {
    ir::Function& fn = ir.function();
    if (frm_ == kRmm) {  // no host mode rounds like this
        fn.fp_mode.round_away = true;
        fn.fp_exact = true;
    }
    const uint64_t first_page = page_of(fn.pc);
    pc_ = fn.pc;
    for (count_ = 0; !done_; ++count_) {
        const bool off_page = limits_.system_mode && page_of(pc_) != first_page;
        if (count_ != 0 && (count_ >= limits_.max_insns || off_page || (count_ > follow_end_ && rounds_ == 1 && skipped_left_ == 0))) {
            end_direct(pc_);
            break;
        }
        if (count_ != 0 && pc_ == fn.pc) {
            if (!may_repeat()) {
                end_direct(pc_);
                break;
            }
            if (rounds_++ == 1) round_length_ = count_;
        }
        uint32_t raw;
        bool ok;
        length_ = fetch(raw, ok);
        // Never, unless somebody writes here through another mapping meanwhile.
        if (skipped_left_ != 0 && (!ok || !is_plain(raw))) [[unlikely]] abandon_conditional();
        if (!ok) {
            // Reached only when the code before it really comes here; the fault address is pc + trap_arg.
            if (count_ != 0) end_direct(pc_);
            else end_trap(ExitReason::kNoExec, pc_, length_);
            break;
        }
        ir.insn(pc_, length_);
        next_ = pc_ + length_;
        const unsigned conditional = skipped_left_;
        if (!(length_ == 4 ? decode32(raw, *this) : decode16(raw, *this))) {
            if (conditional != 0) abandon_conditional();
            // In system mode the exception's handler reads the instruction itself.
            if (limits_.system_mode) end_trap(ExitReason::kException, pc_, Cause::kIllegal);
            else end_trap(ExitReason::kIllegal, pc_, raw);
            break;
        }
        if (conditional != 0 && --skipped_left_ == 0) end_conditional();
        pc_ = next_;
    }
}

}  // namespace myna::guest::riscv64
