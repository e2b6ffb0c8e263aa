// What the register allocator decided, for a checker that trusts none of its tables (tests/codegen/alloc_check).
//
//   RegAlloc ──▶ AllocLog: one event a decision, in the order of the code, with the code offset it was made at
//
// Moves, spills and reloads are not events: the checker reads them from the code itself. Without a log nothing is kept.
#pragma once

#include <cstdint>
#include <vector>

namespace myna::x64 {

enum class AllocNote : uint8_t {
    kInst,     // selection of IR instruction `value` begins
    kUse,      // an operand: the code that follows reads `value` in `reg`, which must not be written
    kCopy,     // `reg` holds `value` now, and belongs to the instruction
    kOwn,      // `reg` belongs to the instruction: it may be written
    kMove,     // the allocator itself writes `reg` next
    kRelease,  // `reg` is not an operand any more
    kUnlock,   // no register is
    kDef,      // the result `value` will be in `reg` when the instruction ends
    kDefFrom,  // the same; `reg` holds `other` now
    kDefIn,    // the result `value` is in `reg` now
    kAlias,    // `value` is another name for `other`
    kWiden,    // the register of `other` was made to hold `value`, whose low part is `other`
    kMem,      // an operand: `value` is read from memory `mem` (Value::mem)
    kStored,   // flags `value` were stored to the guest slot `mem`
    kForget,   // the scratch registers belong to the instruction (a call)
    kTail,     // the hot code ends
};

struct AllocEvent {
    AllocNote note;
    uint8_t reg;      // RegAlloc's numbering: 0..15 GPRs, 16..31 XMMs
    int16_t mem;      // >= 0: spill slot, < -1: guest slot -2 - mem
    uint32_t offset;  // in the block's code
    uint32_t value, other;
};
using AllocLog = std::vector<AllocEvent>;

}  // namespace myna::x64
