// An independent checker of register allocation: it proves for one block that the host code finds each IR value where
// the back end says it is.
//
//   IR Function ───────┐
//   AllocLog (claims) ─┼─▶ abstract execution of the host code: which IR value is in each register, spill slot, guest slot
//   host code ─────────┘
//
// The log only claims ("operand 7 is in rcx", "result 9 will be in rdx"). What really is there follows from the code:
// moves, spills, reloads and constants are executed, everything else that an instruction writes (fixed and implied
// registers too, as the disassembler knows them) becomes a temporary of the current IR instruction. Checked are
//
// - every operand claim, when it is made, and that nothing overwrites the operand before the instruction ends
// - that a register is written only by an IR instruction that owns it
// - that a claimed result was written, and that no general register is read whose content is of no use
// - the guest state (pinned registers and the state struct) against what the IR says: at every exit, poll, look-up, state
//   helper and every operation that may fault
// - what calls destroy, and that slow paths come back with everything in place
//
// Not checked: that an instruction computes what its IR operation means (the evaluator does that), the bits above a
// scalar in an XMM register, and loops inside one operation beyond their first turn.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "codegen/x64/alloc_log.h"
#include "codegen/x64/compiler.h"
#include "ir/function.h"

namespace myna::testing {

struct AllocUnderTest {
    const guest::GuestArch& arch;
    const ir::Function& function;
    const x64::Layout& layout;
    const x64::CompiledBlock& block;
    const x64::AllocLog& log;
    const x64::Stubs& stubs;
    std::span<const uint8_t> code;  // block.code_bytes
    uint64_t exec;                  // where it runs
    bool system_mode = false;
};

/// "" when all holds, else what does not, one line each, at most a few.
std::string check_allocation(const AllocUnderTest& t);

}  // namespace myna::testing
