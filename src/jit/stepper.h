// Stepper: guest code in the evaluator, on a state that a translating engine's vCPU owns: one instruction (debuggers), or
// one block that may never run again (EngineOptions::interpret_once).
#pragma once

#include <csetjmp>
#include <mutex>

#include "ir/builder.h"
#include "ir/eval.h"
#include "jit/engine.h"
#include "jit/fetcher.h"

namespace myna::jit {

/// One a vCPU, used by its thread. Needs no translated code and leaves none.
class Stepper {
  public:
    /// VcpuHeader::in_code while the evaluator runs: a fault then goes to on_host_fault of this class.
    static constexpr uint32_t kInEvaluator = 2;

    /// `lock`: the engine's, under which GuestMemory is asked. All arguments outlive the stepper.
    Stepper(const guest::GuestArch& arch, const guest::CpuConfig& cpu, GuestMemory& memory, uint64_t guest_base, std::mutex& lock)
        : arch_(arch), cpu_(cpu), lock_(lock), fetcher_(memory, guest_base),
          // Runs once: the Builder's passes would cost more than they save.
          builder_(function_, arch, {.fold = false, .share = false, .forward = false}), evaluator_(arch), base_(guest_base) {}

    /// Runs the instruction at header().pc. kNone: it was executed; kMode and kIcache are the caller's to handle, anything
    /// else is for the owner, as from Vcpu::run. `watched` sees its accesses; nullptr: nobody does.
    ir::ExitReason step(void* state, ir::EvalMemory* watched);
    /// The same for the block at header().pc, as far as it goes straight on. Stops count: kNoExec there.
    ir::ExitReason run_block(void* state);
    /// From the signal handler, with in_code == kInEvaluator: step() or run_block() returns kFault.
    void on_host_fault(void* ucontext) noexcept;

  private:
    void lift(uint64_t pc, uint32_t mode, const guest::LiftLimits& limits);
    ir::ExitReason run(void* state, ir::EvalMemory& memory);
    [[noreturn]] static void resume_after_fault(Stepper* s) { longjmp(s->fault_, 1); }

    const guest::GuestArch& arch_;
    const guest::CpuConfig& cpu_;
    std::mutex& lock_;
    GuestFetcher fetcher_;
    ir::Function function_;
    ir::Builder builder_;
    ir::Evaluator evaluator_;
    uint64_t base_;
    jmp_buf fault_;
};

}  // namespace myna::jit
