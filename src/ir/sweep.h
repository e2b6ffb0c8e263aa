// The backward sweep: one pass from the last instruction to the first that finds what is dead and what can be fused.
//
//   set x0, %3      ◀─ dead: x0 is written again, and nothing between could see it
//   set x0, %5
//   %6 = cmp …      ◀─ fused: its one use is the exit_if below; no code of its own
//   exit_if %6
//
// What can see a guest register: a get of it, an operation that may fault or call, an exit. Flags are the exception
// (docs/jit.md, invariant 2): at an operation that may fault they need not be kept if the block overwrites them later.
#pragma once

#include <cstdint>
#include <vector>

#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

/// What a back end may do with a value that has one use.
enum class Fuse : uint8_t {
    kNone,
    kAddress,    // add, or shift left by a constant up to 3: into the address of the one memory operation that uses it
    kCondition,  // cmp, cond, fcmp: into the one exit_if or select that tests it
};

struct SweepOptions {
    bool dead_sets = true;
    bool fuse = true;
};

/// Results, by Ref. Reused from block to block.
struct Sweep {
    std::vector<uint8_t> live;       // 0: emit nothing for it
    std::vector<uint8_t> uses;       // by live instructions; saturates at 255
    std::vector<Fuse> fuse;          // not kNone: emit it as part of its user
    std::vector<uint32_t> last_use;  // the last instruction that needs its value (fused ones count at their user); 0: none

    void run(const Function& f, const guest::GuestArch& arch, SweepOptions opt = {});

  private:
    void use(Ref r, uint32_t at);
    // By slot: set again before anything can see it, when equal to the current epoch. Seeing all registers is a new epoch.
    std::vector<uint32_t> overwritten_;
};

/// Removes what the sweep found dead and renumbers (logs and tests; back ends skip dead instructions instead).
void remove_dead(Function& f, const Sweep& s);

}  // namespace myna::ir
