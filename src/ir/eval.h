// The evaluator: runs one Function over a guest state and memory, an instruction at a time, by the words of ops.inc.
//
//   Function + state struct + EvalMemory ─▶ Evaluator::run ─▶ EvalResult, changed state
//
// It is the oracle for the Builder, the passes and the back ends, and the engine of `-accel interp`. It is slow and
// always right: no operation is done in two places.
//
// Faults: header.pc is the current guest instruction's whenever memory is touched and guest registers are written in
// program order, so a signal handler may leave `run` by siglongjmp (nothing is owned by its frame).
#pragma once

#include <cstdint>
#include <vector>

#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

/// Guest memory as the evaluator sees it. Values are raw bytes in memory order, zero extended to 128 bits; `size` is
/// log2 of the bytes (0..4).
class EvalMemory {
  public:
    virtual ~EvalMemory() = default;
    virtual V128 load(uint64_t addr, unsigned size) = 0;
    virtual void store(uint64_t addr, const V128& value, unsigned size) = 0;
    /// Atomic: when the bytes equal `expected`, they become `desired`. Gives the old bytes.
    virtual V128 cas(uint64_t addr, const V128& expected, const V128& desired, unsigned size) = 0;
};

/// User mode: guest address + guest_base is a host address.
class DirectMemory final : public EvalMemory {
  public:
    explicit DirectMemory(uint64_t guest_base) : base_(guest_base) {}
    V128 load(uint64_t addr, unsigned size) override;
    void store(uint64_t addr, const V128& value, unsigned size) override;
    V128 cas(uint64_t addr, const V128& expected, const V128& desired, unsigned size) override;

  private:
    uint64_t base_;
};

struct EvalResult {
    ExitReason reason = ExitReason::kNone;  // kNone: an exit or branch to next_pc
    uint64_t next_pc = 0;                   // also in header.pc
};

class Evaluator {
  public:
    explicit Evaluator(const guest::GuestArch& arch) : arch_(arch) {}

    /// Runs `f` to its first taken exit. `state` is the architecture's state struct. Traps and state helpers leave
    /// exit_reason and trap_arg in the header as translated code does.
    EvalResult run(const Function& f, void* state, EvalMemory& mem);

    /// The value of `r` after run (tests). Scalars are in u64[0], zero extended; flags as NZCV in bits 31..28.
    [[nodiscard]] const V128& value(Ref r) const noexcept { return values_[r]; }

  private:
    const guest::GuestArch& arch_;
    std::vector<V128> values_;
};

}  // namespace myna::ir
