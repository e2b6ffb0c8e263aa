#include "jit/stepper.h"

#include <ucontext.h>
#include <xmmintrin.h>

#include "base/bits.h"

namespace myna::jit {

using ir::ExitReason;

void Stepper::lift(uint64_t pc, uint32_t mode, const guest::LiftLimits& limits) {
    builder_.begin(pc, mode);
    arch_.lift_block(builder_, fetcher_, cpu_, limits);
}

ExitReason Stepper::step(void* state, ir::EvalMemory* watched) {
    const auto& h = *static_cast<guest::VcpuHeader*>(state);
    {
        const std::lock_guard lock(lock_);
        fetcher_.begin_unstopped();
        guest::LiftLimits limits;
        limits.max_insns = 1;
        lift(h.pc, h.mode, limits);
    }
    ir::DirectMemory memory(base_);
    return run(state, watched != nullptr ? *watched : memory);
}

ExitReason Stepper::run_block(void* state) {
    const auto& h = *static_cast<guest::VcpuHeader*>(state);
    {
        const std::lock_guard lock(lock_);
        fetcher_.begin();
        guest::LiftLimits limits;
        limits.max_side_exits = 0;
        limits.if_convert = limits.unroll = limits.look_ahead = false;
        lift(h.pc, h.mode, limits);
    }
    ir::DirectMemory memory(base_);
    return run(state, memory);
}

ExitReason Stepper::run(void* state, ir::EvalMemory& memory) {
    auto& h = *static_cast<guest::VcpuHeader*>(state);
    h.exit_reason = 0;
    h.host_mxcsr = _mm_getcsr();
    if (setjmp(fault_) != 0) {
        h.in_code = 0;
        _mm_setcsr(h.host_mxcsr);
        return ExitReason::kFault;
    }
    h.in_code = kInEvaluator;
    const ir::EvalResult r = evaluator_.run(function_, state, memory);
    h.in_code = 0;
    h.pc = r.next_pc;
    return r.reason == ExitReason::kLookup || r.reason == ExitReason::kLink ? ExitReason::kNone : r.reason;
}

void Stepper::on_host_fault(void* ucontext) noexcept {
    auto& g = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
    g[REG_RSP] = static_cast<greg_t>(align_down(static_cast<uint64_t>(g[REG_RSP]) - 256, 16) - 8);
    g[REG_RDI] = static_cast<greg_t>(reinterpret_cast<uint64_t>(this));
    g[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uint64_t>(&Stepper::resume_after_fault));
}

}  // namespace myna::jit
