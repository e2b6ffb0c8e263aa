// The backward sweep: one pass from the last instruction to the first that finds what is dead: what
// logs and tests print. (The back end finds the same in the sweep in which it finds much else: codegen/x64/sweep.cpp.)
//
//   set x0, %3      ◀─ dead: x0 is written again, and nothing between could see it
//   set x0, %5
//
// What can see a guest register: a get of it, an operation that may fault or call, an exit. Flags are the exception
// (docs/jit.md, invariant 2): at an operation that may fault they need not be kept if the block overwrites them later.
#pragma once

#include <cstdint>
#include <vector>

#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

/// Results, by Ref. Reused from block to block.
struct Sweep {
    std::vector<uint8_t> live;  // 0: emit nothing for it

    /// Without `dead_sets` only values go that nobody uses.
    void run(const Function& f, const guest::GuestArch& arch, bool dead_sets = true);

  private:
    std::vector<uint8_t> used_;  // by a live instruction
    // By slot: set again before anything can see it, when equal to the current epoch. Seeing all registers is a new epoch.
    std::vector<uint32_t> overwritten_;
};

/// Removes what the sweep found dead and renumbers.
void remove_dead(Function& f, const Sweep& s);

}  // namespace myna::ir
