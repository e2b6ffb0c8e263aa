// Where FP and vector selection meets the exact implementation (ir/lanes.h): slow paths and rare operations.
//
//   hot:   vaddsd d, a, b              cold:  operands ─▶ vscratch[0..2]
//          vucomisd d, d                      soft_call(lanes, packed operation)
//          jp cold ──────────────────▶        vscratch[0] ─▶ d
//   back:  ...            ◀───────────        jmp back
//
// The call keeps all registers, so the allocator knows nothing of it; operands must still be whole at the jump: the
// result's register is different from theirs (RegAlloc::def_x, not def_over_x). Between the jump and `back` nothing may
// be asked of the allocator: what it emits there (spills) would be skipped.
#pragma once

#include <initializer_list>

#include "codegen/x64/selector.h"
#include "ir/lanes.h"

namespace myna::x64 {

/// An operation and the host registers around it.
struct LaneCall {
    Ref inst;
    std::initializer_list<Reg> operands;
    Reg result;
};

/// Jumps to the exact implementation when `cc` holds; it comes back here, or where the caller sets Cold::back.
Cold& exact_if(Selector& s, Cc cc, const LaneCall& call);
/// The same at a jump that was emitted already (its rel32 field).
Cold& exact_at(Selector& s, uint32_t field, const LaneCall& call);
/// Loads the 16 bytes (lo, 0) into `result` when `cc` holds: the canonical NaN.
Cold& literal_if(Selector& s, Cc cc, Xmm result, uint64_t lo, uint64_t hi = 0);
/// The whole instruction by the exact implementation, in line: block-wide exact mode and rare operations.
void exact_inline(Selector& s, Ref i);

/// The type of an operand.
inline Type operand_type(const Selector& s, Ref r) { return ir::result_type(s.inst(r)); }

}  // namespace myna::x64
